/* SPDX-License-Identifier: MIT
 *
 * Shared access signatures: the specification's vectors, tokens as each known
 * client makes them (section 2.2), and the relay's verdicts (R4 to R14).
 */
#include "hc/hc_token.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/crypt.h"
#include "util/err.h"
#include "util/mem.h"
#include "util/text.h"

#define KEY "c29tZUJhc2U2NEtleQ=="
#define SIG_UPPER "FUvYDkvNqOMgCa1awyhIN1hVP70Ma9vshPU9ckXmAys%3D"
#define SIG_LOWER "sA7k712wvhcdiXnTjUQfNwoQtJFnBJFSIvTH0IDY9m4%3d"
#define SR_UPPER "http%3A%2F%2Fns%2Fp"
#define SR_LOWER "http%3a%2f%2fcontoso.servicebus.windows.net%2fhyco%2f"
#define TOKEN_UPPER                                                            \
	"SharedAccessSignature sr=" SR_UPPER "&sig=" SIG_UPPER                 \
	"&se=1700000000&skn=rule"

static enum hc_token_outcome
judge(const char *text, const char *key, const char *host, const char *path,
    int64_t now_s)
{
	const struct hc_token_demand d = {
	    .key = key, .host = host, .path = path, .now_s = now_s};
	enum hc_token_outcome outcome;
	struct hc_token t;
	struct err e;

	if (!hc_token_parse(&t, text, &e)) {
		assert_int_equal(e.code, ERR_AUTH);
		return HC_TOKEN_MALFORMED;
	}
	outcome = hc_token_judge(&t, &d, NULL);
	hc_token_fini(&t);
	return outcome;
}

/* Signs a raw sr text, whatever its encoding, as a client would. */
static char *
sign_raw(const char *sr, const char *se, const char *key)
{
	char *text = mem_printf("%s\n%s", sr, se);
	uint8_t mac[CRYPT_SHA256_SIZE];
	char base64[64], sig[256];
	size_t n = 0;
	char *token;

	crypt_hmac_sha256(key, strlen(key), text, strlen(text), mac);
	text_base64_encode(mac, sizeof mac, base64);
	for (const char *c = base64; *c; c++)
		n += (size_t)snprintf(sig + n, sizeof sig - n,
		    strchr("+/=", *c) ? "%%%02x" : "%c", *c);
	token = mem_printf(
	    "SharedAccessSignature sr=%s&sig=%s&se=%s&skn=rule", sr, sig, se);
	free(text);
	return token;
}

static void
test_make(void **state)
{
	char *token = hc_token_make("http://ns/p", "rule", KEY, 1700000000);
	char *audience;

	(void)state;
	assert_string_equal(token, TOKEN_UPPER);
	mem_free_secret(token);
	audience = hc_token_audience("NS.Example", "a/B c");
	assert_string_equal(audience, "http://ns.example/a/B%20c/");
	free(audience);
	audience = hc_token_audience("::1", "p");
	assert_string_equal(audience, "http://[::1]/p/");
	free(audience);
	audience = hc_token_audience("ns", "");
	assert_string_equal(audience, "http://ns/");
	free(audience);
}

static void
test_parse(void **state)
{
	struct hc_token t;
	struct err e;

	(void)state;
	assert_true(hc_token_parse(&t, TOKEN_UPPER, &e));
	assert_int_equal(t.kind, HC_TOKEN_SAS);
	assert_string_equal(t.audience_raw, SR_UPPER);
	assert_string_equal(t.audience, "http://ns/p");
	assert_string_equal(t.expiry_raw, "1700000000");
	assert_int_equal(t.expiry_s, 1700000000);
	assert_string_equal(t.key_name, "rule");
	assert_true(hc_token_is_signed_by(&t, KEY));
	/* R14: the key's text is the key; it is never decoded. */
	assert_false(hc_token_is_signed_by(&t, "someBase64Key"));
	assert_false(hc_token_is_signed_by(&t, ""));
	hc_token_fini(&t);
	/* Order, case, blanks, unknown fields. */
	assert_true(hc_token_parse(&t,
	    " sharedaccesssignature  SKN=rule+a%2b&x=y&Se=1700000000&"
	    "SIG=" SIG_UPPER "&sr=" SR_UPPER " ",
	    &e));
	assert_string_equal(t.key_name, "rule a+");
	assert_true(hc_token_is_signed_by(&t, KEY));
	hc_token_fini(&t);
	/* The Node client does not encode the name. */
	assert_true(hc_token_parse(&t,
	    "SharedAccessSignature sr=" SR_UPPER "&sig=" SIG_UPPER
	    "&se=1&skn=100%",
	    &e));
	assert_string_equal(t.key_name, "100%");
	hc_token_fini(&t);
}

static void
test_lower_case_hex(void **state)
{
	(void)state;
	/* R8 */
	assert_int_equal(
	    judge("SharedAccessSignature sr=" SR_LOWER "&sig=" SIG_LOWER
	          "&se=1471633754&skn=rule",
	        KEY, "contoso.servicebus.windows.net", "hyco", 1471633754),
	    HC_TOKEN_GOOD);
}

static void
test_malformed(void **state)
{
	static const char *const bad[] = {"", " ", "x", "SharedAccessSignature",
	    "SharedAccessSignature ", "SharedAccessSignature sr=a",
	    "SharedAccessSignature sr=" SR_UPPER "&sig=" SIG_UPPER "&skn=r",
	    "SharedAccessSignature sr=" SR_UPPER "&sig=" SIG_UPPER "&se=1",
	    "SharedAccessSignature sr=&sig=" SIG_UPPER "&se=1&skn=r",
	    "SharedAccessSignature sr=" SR_UPPER "&sig=" SIG_UPPER
	    "&se=1&skn=r&se=2",
	    "SharedAccessSignature sr=" SR_UPPER "&sig=" SIG_UPPER
	    "&se=-1&skn=r",
	    "SharedAccessSignature sr=" SR_UPPER "&sig=" SIG_UPPER
	    "&se=1e9&skn=r",
	    "SharedAccessSignature sr=" SR_UPPER "&sig=" SIG_UPPER
	    "&se=99999999999999999999&skn=r",
	    "SharedAccessSignature sr=" SR_UPPER "&sig=AAAA&se=1&skn=r",
	    "SharedAccessSignature sr=" SR_UPPER "&sig=%zz&se=1&skn=r",
	    "SharedAccessSignature sr=http%&sig=" SIG_UPPER "&se=1&skn=r",
	    "SharedAccessSignature sr=a\nb&sig=" SIG_UPPER "&se=1&skn=r",
	    /* What the Java client sends as a renewal (2.7). */
	    "com.microsoft.azure.relay.SharedAccessSignatureToken@1b2c3d",
	    "a.b", "a..c", ".b.c", "a.b.", "a.b.c.d", "a.b.c~",
	    "Basic dXNlcjpwYXNz"};
	struct hc_token t;
	struct err e;
	char *longer;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		if (hc_token_parse(&t, bad[i], &e))
			fail_msg("taken: %s", bad[i]);
		assert_int_equal(e.code, ERR_AUTH);
	}
	longer = malloc(HC_TOKEN_MAX + 2);
	memset(longer, 'a', HC_TOKEN_MAX + 1);
	longer[HC_TOKEN_MAX + 1] = '\0';
	assert_false(hc_token_parse(&t, longer, &e));
	free(longer);
}

/* 2.6: told by the absence of the word. */
static void
test_jwt(void **state)
{
	struct hc_token t;
	struct err e;

	(void)state;
	assert_true(hc_token_parse(&t, "eyJh.eyJi.s-_g", &e));
	assert_int_equal(t.kind, HC_TOKEN_JWT);
	assert_string_equal(t.jwt, "eyJh.eyJi.s-_g");
	assert_false(hc_token_is_signed_by(&t, KEY));
	assert_false(hc_token_is_for(&t, "ns", "p"));
	hc_token_fini(&t);
	assert_true(hc_token_parse(&t, "Bearer eyJh.eyJi.sig", &e));
	assert_string_equal(t.jwt, "eyJh.eyJi.sig");
	hc_token_fini(&t);
	assert_int_equal(judge("a.b.c", KEY, "ns", "p", 0), HC_TOKEN_MALFORMED);
}

/* R10: each byte of the signature, of sr and of se. */
static void
test_every_byte_counts(void **state)
{
	char text[] = TOKEN_UPPER;
	const char *const parts[] = {"sig=", "sr=", "se="};

	(void)state;
	assert_int_equal(
	    judge(text, KEY, "ns", "p", 1700000000), HC_TOKEN_GOOD);
	for (size_t p = 0; p < 3; p++) {
		char *at = strstr(text, parts[p]) + strlen(parts[p]);

		for (; *at && *at != '&'; at++) {
			const char saved = *at;
			enum hc_token_outcome outcome;

			*at = saved == '1' ? '2' : '1';
			outcome = judge(text, KEY, "ns", "p", 1700000000);
			assert_true(outcome == HC_TOKEN_BAD_SIGNATURE ||
			            outcome == HC_TOKEN_MALFORMED);
			*at = saved;
		}
	}
	/* Re-encoding sr with the other case of hex breaks it as well. */
	text[strlen("SharedAccessSignature sr=http%3")] = 'a';
	assert_int_equal(
	    judge(text, KEY, "ns", "p", 1700000000), HC_TOKEN_BAD_SIGNATURE);
}

/* Every bit of the signature's bytes. */
static void
test_every_bit_counts(void **state)
{
	struct hc_token t;

	(void)state;
	assert_true(hc_token_parse(&t, TOKEN_UPPER, NULL));
	for (size_t bit = 0; bit < 8 * sizeof t.signature; bit++) {
		t.signature[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_false(hc_token_is_signed_by(&t, KEY));
		t.signature[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	assert_true(hc_token_is_signed_by(&t, KEY));
	hc_token_fini(&t);
}

/* 2.2 and 2.3: what each client signs for entity p on host ns, and what not. */
static void
test_audiences(void **state)
{
	static const struct {
		const char *sr;
		const char *path;
		bool is_good;
	} rows[] = {
	    {"http%3A%2F%2Fns%3A443%2Fp", "p", true}, /* R4 Node */
	    {"http%3A%2F%2Fns%2Fp", "p", true},       /* Node https */
	    {"http%3A%2F%2Fns%2F", "p", true},        /* bare, .NET raw */
	    {"http%3A%2F%2Fns%2Fp%2F", "p", true},    /* R5 .NET */
	    {"sb%3A%2F%2FNS%3A8443%2Fp", "p", true},  /* Java listener */
	    {"sb%3A%2F%2Fns", "p", true},             /* R6 Java sender */
	    {"https%3A%2F%2Fns%2Fp%2Fextra%3Fx%3D1", "p/extra", true}, /* R7 */
	    {"https%3A%2F%2Fns%2Fp%2Fextra%3Fx%3D1%2F", "/p/extra/", true},
	    {"https%3A%2F%2Fns%2Fp%2F%2F", "p", true},
	    {"https%3A%2F%2Fns%2Fp%2Fa%2520b", "p/a b", true},
	    {"https%3A%2F%2Fns%2Fp%2Fa+b", "p/a b", true},
	    {"wss%3A%2F%2Fns%2F%24hc%2Fp", "p", true},
	    {"ws%3A%2F%2Fns%2Fp%23x", "p", true},
	    {"http%3A%2F%2Fu%3Aq%40ns%2Fp", "p", true},
	    {"http%3A%2F%2Fns%2FP", "p/rest", true},
	    {"http%3a%2f%2fns%2fp", "P", true},
	    {"http%3A%2F%2Fns%2Fp2", "p", false}, /* R9 */
	    {"http%3A%2F%2Fns%2Fpp", "p", false},
	    {"http%3A%2F%2Fns%2Fp", "pp", false},
	    {"http%3A%2F%2Fns%2Fp%2Fx", "p", false},
	    {"http%3A%2F%2Fns%2Fq", "p", false},
	    {"http%3A%2F%2Fns2%2Fp", "p", false},
	    {"http%3A%2F%2Fns.evil%2Fp", "p", false},
	    {"http%3A%2F%2Fns%40evil%2Fp", "p", false},
	    {"ftp%3A%2F%2Fns%2Fp", "p", false},
	    {"ns%2Fp", "p", false},
	    {"http%3A%2F%2F", "p", false},
	    {"http%3A%2F%2F%5B%3A%3A1%5D%3A80%2Fp", "p", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		char *text = sign_raw(rows[i].sr, "2000000000", KEY);

		if (judge(text, KEY, "ns", rows[i].path, 1) !=
		    (rows[i].is_good ? HC_TOKEN_GOOD : HC_TOKEN_WRONG_AUDIENCE))
			fail_msg("%s for %s", rows[i].sr, rows[i].path);
		assert_int_equal(judge(text, KEY "x", "ns", rows[i].path, 1),
		    HC_TOKEN_BAD_SIGNATURE);
		free(text);
	}
}

/* Ours must pass the rule as well, on any kind of host. */
static void
test_own_audience(void **state)
{
	static const char *const hosts[] = {"NS.example", "::1", "127.0.0.1"};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		char *audience = hc_token_audience(hosts[i], "a/b");
		char *text = hc_token_make(audience, "r", KEY, 100);

		assert_int_equal(
		    judge(text, KEY, hosts[i], "A/b/rest", 100), HC_TOKEN_GOOD);
		assert_int_equal(judge(text, KEY, hosts[i], "a/bc", 100),
		    HC_TOKEN_WRONG_AUDIENCE);
		mem_free_secret(text);
		free(audience);
	}
	assert_int_equal(
	    judge(TOKEN_UPPER, KEY, "ns:8443", "p", 1), HC_TOKEN_GOOD);
}

static void
test_expiry_and_order(void **state)
{
	struct hc_token_demand d = {.key = "wrong",
	    .other_key = KEY,
	    .host = "ns",
	    .path = "other",
	    .now_s = 1700000301,
	    .grace_s = 300};
	int64_t late_s = 0;
	struct hc_token t;

	(void)state;
	assert_true(hc_token_parse(&t, TOKEN_UPPER, NULL));
	assert_int_equal(hc_token_judge(&t, &d, &late_s), HC_TOKEN_EXPIRED);
	assert_int_equal(late_s, 301);
	d.now_s = 1700000300;
	assert_int_equal(hc_token_judge(&t, &d, NULL), HC_TOKEN_WRONG_AUDIENCE);
	d.path = "p";
	assert_int_equal(hc_token_judge(&t, &d, NULL), HC_TOKEN_GOOD);
	d.other_key = NULL;
	d.now_s = 2000000000;
	assert_int_equal(hc_token_judge(&t, &d, NULL), HC_TOKEN_BAD_SIGNATURE);
	hc_token_fini(&t);
}

static void
test_words(void **state)
{
	(void)state;
	assert_string_equal(hc_token_reason(HC_TOKEN_BAD_SIGNATURE),
	    "token has an invalid signature"); /* DTr:498 */
	assert_int_equal(hc_token_http_status(HC_TOKEN_GOOD), 200);
	for (int i = HC_TOKEN_MISSING; i < HC_TOKEN_OUTCOME_COUNT; i++) {
		const int status = hc_token_http_status(i);

		assert_non_null(strstr(hc_token_reason(i), "token"));
		assert_int_equal(status,
		    i == HC_TOKEN_WRONG_AUDIENCE || i == HC_TOKEN_NO_RIGHT
		        ? 403
		        : 401);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_make),
	    cmocka_unit_test(test_parse),
	    cmocka_unit_test(test_lower_case_hex),
	    cmocka_unit_test(test_malformed),
	    cmocka_unit_test(test_jwt),
	    cmocka_unit_test(test_every_byte_counts),
	    cmocka_unit_test(test_every_bit_counts),
	    cmocka_unit_test(test_audiences),
	    cmocka_unit_test(test_own_audience),
	    cmocka_unit_test(test_expiry_and_order),
	    cmocka_unit_test(test_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

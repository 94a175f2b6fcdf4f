/* SPDX-License-Identifier: MIT
 *
 * Targets: connection strings by the rules of specification 2.8, precedence of
 * sources, what is missing, and that no error text tells a secret.
 */
#include "hc/hc_target.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "hc/hc_token.h"
#include "util/err.h"
#include "util/mem.h"

#define SECRET "c2VjcmV0IGtleQ=="
#define TOKEN                                                                  \
	"SharedAccessSignature sr=http%3A%2F%2Fns%2Fp&sig="                    \
	"FUvYDkvNqOMgCa1awyhIN1hVP70Ma9vshPU9ckXmAys%3D&se=1700000000&skn=r"

static void
test_connection_string(void **state)
{
	struct hc_target t;
	struct hostport at;
	char text[HC_TARGET_TEXT_MAX];
	char *again, *token;
	struct err e;

	(void)state;
	hc_target_init(&t);
	assert_true(hc_target_parse_connection_string(&t,
	    " Endpoint=sb://Contoso.net:8443/;;sharedaccesskeyname=r;\n"
	    "SharedAccessKey=" SECRET ";EntityPath=/a/b/;OperationTimeout="
	    "00:01:30;\n",
	    &e));
	assert_string_equal(t.host, "contoso.net");
	assert_int_equal(t.port, 8443);
	assert_string_equal(t.path, "a/b");
	assert_string_equal(t.key_name, "r");
	assert_string_equal(t.key, SECRET);
	assert_null(t.token);
	assert_true(hc_target_check(&t, HC_TARGET_LISTEN, &e));
	assert_string_equal(hc_target_print(&t, text), "contoso.net:8443/a/b");
	assert_string_equal(
	    hc_target_host_header(&t, text), "contoso.net:8443");
	hc_target_address(&t, &at);
	assert_int_equal(at.port, 8443);
	again = hc_target_connection_string(&t);
	assert_string_equal(again,
	    "Endpoint=sb://contoso.net:8443/;SharedAccessKeyName=r;"
	    "SharedAccessKey=" SECRET ";EntityPath=a/b");
	mem_free_secret(again);
	token = hc_target_make_token(&t, 1700000000);
	assert_memory_equal(token,
	    "SharedAccessSignature sr=http%3A%2F%2Fcontoso.net%2Fa%2Fb%2F&",
	    61);
	mem_free_secret(token);
	hc_target_fini(&t);
	assert_null(t.host);
}

static void
test_signature_in_connection_string(void **state)
{
	struct hc_target t, other;
	char text[HC_TARGET_TEXT_MAX];
	char *token;
	struct err e;

	(void)state;
	hc_target_init(&t);
	assert_true(hc_target_parse_connection_string(&t,
	    "Endpoint=sb://ns;SharedAccessSignature=" TOKEN ";EntityPath=p",
	    &e));
	assert_string_equal(t.token, TOKEN);
	assert_string_equal(hc_target_host_header(&t, text), "ns");
	hc_target_copy(&other, &t);
	hc_target_fini(&t);
	token = hc_target_make_token(&other, 5);
	assert_string_equal(token, TOKEN);
	mem_free_secret(token);
	hc_target_fini(&other);
}

static void
test_refused(void **state)
{
	static const char *const bad[] = {
	    "", /* nothing at all */
	    SECRET,
	    "Endpoint=sb://ns/;" SECRET,
	    "Endpoint=sb://ns/;SharedAccesKey=" SECRET,
	    "Endpoint=sb://ns/;" SECRET ";EntityPath=p",
	    "Endpoint=sb://ns/;SharedAccessKey=" SECRET,
	    "Endpoint=sb://ns/;SharedAccessKeyName=r",
	    "Endpoint=sb://ns/;SharedAccessKeyName=r;SharedAccessKey=",
	    "Endpoint=sb://ns/;SharedAccessKeyName=r;SharedAccessKey=" SECRET
	    ";SharedAccessSignature=" TOKEN,
	    "Endpoint=sb://ns/;EntityPath=p;EntityPath=" SECRET,
	    "Endpoint=ns;EntityPath=p",
	    "Endpoint=http://ns;EntityPath=p",
	    "Endpoint=sb://;EntityPath=p",
	    "Endpoint=sb://nsSharedAccessKey=" SECRET,
	    "Endpoint=sb://ns/path/;EntityPath=p",
	    "Endpoint=sb://u:" SECRET "@ns/;EntityPath=p",
	    "EntityPath=p",
	    "Endpoint=sb://ns/;EntityPath=a b",
	    "Endpoint=sb://ns/;EntityPath=a//b",
	    "Endpoint=sb://ns/;EntityPath=../b",
	    "Endpoint=sb://ns/;EntityPath=a?" SECRET,
	    "Endpoint=sb://ns/;EntityPath=/",
	    "Endpoint=sb://ns/;Authentication=Managed Identity",
	    "Endpoint=sb://ns/;SharedAccessSignature=" SECRET,
	    "Endpoint=sb://ns/;SharedAccessKeyName=r;SharedAccessKey=a\x01"
	    "b",
	};
	struct hc_target t;
	struct err e;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		hc_target_init(&t);
		if (hc_target_parse_connection_string(&t, bad[i], &e))
			fail_msg("taken: %s", bad[i]);
		assert_int_equal(e.code, ERR_USAGE);
		assert_null(strstr(e.text, "c2Vj"));
		assert_null(strstr(e.text, "FUvY"));
		assert_null(t.host);
		assert_null(t.key);
	}
	assert_false(hc_target_parse_connection_string(
	    &t, "Endpoint=sb://ns/;SharedAccesKey=" SECRET, &e));
	assert_non_null(strstr(e.text, "is SharedAccessKey meant?"));
}

/* Every way to cut a good string short, or to lose one of its bytes, ends in
 * success or in an error without the secret. */
static void
test_cut_everywhere(void **state)
{
	const char *whole = "Endpoint=sb://ns/;SharedAccessKeyName=r;"
	                    "SharedAccessKey=" SECRET ";EntityPath=p";
	const size_t n = strlen(whole);

	(void)state;
	for (size_t cut = 0; cut < n; cut++) {
		for (int whole_tail = 0; whole_tail < 2; whole_tail++) {
			char *text = mem_printf("%.*s%s", (int)cut, whole,
			    whole_tail ? whole + cut + 1 : "");
			struct hc_target t;
			struct err e = {0};

			hc_target_init(&t);
			if (!hc_target_parse_connection_string(&t, text, &e))
				assert_null(strstr(e.text, "2VjcmV0IGtle"));
			hc_target_fini(&t);
			free(text);
		}
	}
}

static void
test_items(void **state)
{
	char longer[HC_TARGET_KEY_MAX + 2];
	struct hc_target t;
	struct err e;

	(void)state;
	hc_target_init(&t);
	assert_true(hc_target_set_namespace(&t, "Ns.example", &e));
	assert_string_equal(t.host, "ns.example");
	assert_int_equal(t.port, 443);
	assert_true(hc_target_set_namespace(&t, "https://[::1]:99/", &e));
	assert_string_equal(t.host, "::1");
	assert_false(hc_target_set_namespace(&t, "a b", &e));
	assert_false(hc_target_set_namespace(&t, "a/b", &e));
	assert_false(hc_target_set_namespace(&t, "a:0", &e));
	assert_false(hc_target_set_namespace(&t, "", &e));
	assert_string_equal(t.host, "::1");
	assert_true(hc_target_set_key(&t, SECRET "\n", &e));
	assert_string_equal(t.key, SECRET);
	assert_true(hc_target_set_key_name(&t, "r", &e));
	assert_true(hc_target_set_token(&t, TOKEN, &e));
	assert_null(t.key);
	assert_null(t.key_name);
	assert_false(hc_target_set_token(&t, SECRET, &e));
	assert_null(strstr(e.text, SECRET));
	assert_true(hc_target_set_key(&t, "k", &e));
	assert_null(t.token);
	memset(longer, 'k', sizeof longer);
	longer[sizeof longer - 1] = '\0';
	assert_false(hc_target_set_key(&t, longer, &e));
	longer[HC_TARGET_KEY_MAX] = '\0';
	assert_true(hc_target_set_key(&t, longer, &e));
	hc_target_fini(&t);
}

static void
test_fill(void **state)
{
	struct hc_target first, second;

	(void)state;
	hc_target_init(&first);
	hc_target_init(&second);
	hc_target_set_namespace(&first, "one:1", NULL);
	hc_target_set_key_name(&first, "r1", NULL);
	hc_target_set_namespace(&second, "two:2", NULL);
	hc_target_set_path(&second, "p2", NULL);
	hc_target_set_key_name(&second, "r2", NULL);
	hc_target_set_key(&second, "k2", NULL);
	hc_target_fill(&first, &second);
	assert_string_equal(first.host, "one");
	assert_int_equal(first.port, 1);
	assert_string_equal(first.path, "p2");
	assert_string_equal(first.key_name, "r1");
	assert_string_equal(first.key, "k2");
	/* A token does not come into a target that has a key, nor a key into
	 * one that has a token. */
	hc_target_set_token(&second, TOKEN, NULL);
	hc_target_fill(&first, &second);
	assert_null(first.token);
	hc_target_fini(&first);
	hc_target_fill(&first, &second);
	assert_string_equal(first.token, TOKEN);
	assert_int_equal(first.port, 2);
	hc_target_set_key(&second, "k2", NULL);
	hc_target_fill(&first, &second);
	assert_null(first.key);
	hc_target_fini(&first);
	hc_target_fini(&second);
}

static void
test_check(void **state)
{
	struct hc_target t;
	struct err e;
	char *token;

	(void)state;
	hc_target_init(&t);
	assert_false(hc_target_check(&t, HC_TARGET_SEND, &e));
	assert_int_equal(e.code, ERR_USAGE);
	assert_non_null(strstr(e.text, "HYCO_NAMESPACE"));
	hc_target_set_namespace(&t, "ns", NULL);
	assert_false(hc_target_check(&t, HC_TARGET_SEND, &e));
	assert_non_null(strstr(e.text, "HYCO_PATH"));
	hc_target_set_path(&t, "p", NULL);
	assert_true(hc_target_check(&t, HC_TARGET_SEND, &e)); /* S2 */
	token = hc_target_make_token(&t, 1);
	assert_null(token);
	assert_false(hc_target_check(&t, HC_TARGET_LISTEN, &e));
	assert_non_null(strstr(e.text, "HYCO_KEY"));
	hc_target_set_key_name(&t, "r", NULL);
	assert_false(hc_target_check(&t, HC_TARGET_SEND, &e));
	assert_non_null(strstr(e.text, "HYCO_KEY"));
	hc_target_set_key(&t, SECRET, NULL);
	assert_true(hc_target_check(&t, HC_TARGET_LISTEN, &e));
	hc_target_fini(&t);
	hc_target_set_namespace(&t, "ns", NULL);
	hc_target_set_path(&t, "p", NULL);
	hc_target_set_key(&t, SECRET, NULL);
	assert_false(hc_target_check(&t, HC_TARGET_SEND, &e));
	assert_non_null(strstr(e.text, "HYCO_KEY_NAME"));
	assert_null(strstr(e.text, SECRET));
	hc_target_fini(&t);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_connection_string),
	    cmocka_unit_test(test_signature_in_connection_string),
	    cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_cut_everywhere),
	    cmocka_unit_test(test_items),
	    cmocka_unit_test(test_fill),
	    cmocka_unit_test(test_check),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

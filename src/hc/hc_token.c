/* SPDX-License-Identifier: MIT
 *
 * Shared access signatures. The one idea: the signature covers the text of sr
 * and se as written, so a verifier decodes copies and never encodes again.
 */
#include "hc/hc_token.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "hc/hc_url.h"
#include "util/buf.h"
#include "util/err.h"
#include "util/mem.h"
#include "util/text.h"

#define SCHEME_WORD "SharedAccessSignature"
#define EXPIRY_MAX ((uint64_t)1000000000000) /* sums cannot overflow */
#define SIGNATURE_TEXT_SIZE 45               /* base64 of 32 bytes and a NUL */

/* --- making --- */

char *
hc_token_audience(const char *host, const char *path)
{
	const bool is_v6 = strchr(host, ':') && host[0] != '[';
	char *lower = mem_strdup(host);
	struct buf b;

	hc_url_lower(lower);
	buf_init(&b, strlen(host) + 3 * strlen(path) + 16);
	buf_printf(&b, is_v6 ? "http://[%s]/" : "http://%s/", lower);
	free(lower);
	if (*path) {
		hc_url_clean(&b, path, strlen(path));
		buf_append_text(&b, "/");
	}
	return buf_take_text(&b);
}

static char *
encode(const char *text)
{
	struct buf b;

	buf_init(&b, 3 * strlen(text) + 1);
	text_percent_encode(&b, text, strlen(text));
	return buf_take_text(&b);
}

static void
sign(const char *audience_raw, const char *expiry_raw, const char *key,
    uint8_t out[CRYPT_SHA256_SIZE])
{
	char *text = mem_printf("%s\n%s", audience_raw, expiry_raw);

	crypt_hmac_sha256(key, strlen(key), text, strlen(text), out);
	free(text);
}

char *
hc_token_make(const char *audience, const char *key_name, const char *key,
    int64_t expiry_s)
{
	uint8_t signature[CRYPT_SHA256_SIZE];
	char base64[SIGNATURE_TEXT_SIZE];
	char expiry[24];
	char *sr = encode(audience);
	char *skn = encode(key_name);
	char *sig, *token;

	snprintf(expiry, sizeof expiry, "%" PRId64, expiry_s);
	sign(sr, expiry, key, signature);
	text_base64_encode(signature, sizeof signature, base64);
	sig = encode(base64);
	token = mem_printf(
	    SCHEME_WORD " sr=%s&sig=%s&se=%s&skn=%s", sr, sig, expiry, skn);
	mem_wipe(signature, sizeof signature);
	mem_wipe(base64, sizeof base64);
	mem_free_secret(sig);
	free(sr);
	free(skn);
	return token;
}

/* --- parsing --- */

static bool
malformed(struct err *e, const char *why)
{
	return err_set(
	    e, ERR_AUTH, "%s: %s", hc_token_reason(HC_TOKEN_MALFORMED), why);
}

enum field { SR, SIG, SE, SKN, FIELD_COUNT };

static const char *const field_names[FIELD_COUNT] = {"sr", "sig", "se", "skn"};

/* Splits name=value&name=value into copies; false for a field given twice. */
static bool
take_fields(const char *s, char *raw[FIELD_COUNT])
{
	struct hc_url_view rest = {s, strlen(s)};
	struct hc_url_item item;

	while (hc_url_next(&rest, &item)) {
		for (int i = 0; i < FIELD_COUNT; i++) {
			if (!item.value.at ||
			    item.name.len != strlen(field_names[i]) ||
			    !text_is_equal_nocase_n(
			        item.name.at, field_names[i], item.name.len))
				continue;
			if (raw[i])
				return false;
			raw[i] = mem_strndup(item.value.at, item.value.len);
		}
	}
	return true;
}

static char *
decode(const char *text, bool form)
{
	return hc_url_decode((struct hc_url_view){text, strlen(text)}, form);
}

static bool
decode_signature(const char *raw, uint8_t out[CRYPT_SHA256_SIZE])
{
	uint8_t bytes[SIGNATURE_TEXT_SIZE];
	char *text = decode(raw, false);
	size_t len = 0;
	bool is_good;

	is_good = text && strlen(text) == SIGNATURE_TEXT_SIZE - 1 &&
	          text_base64_decode(text, strlen(text), bytes, &len) &&
	          len == CRYPT_SHA256_SIZE;
	if (is_good)
		memcpy(out, bytes, CRYPT_SHA256_SIZE);
	mem_wipe(bytes, sizeof bytes);
	mem_free_secret(text);
	return is_good;
}

/* Takes raw[SR] and raw[SE] over. */
static bool
fill_signature(struct hc_token *t, char *raw[FIELD_COUNT], struct err *e)
{
	uint64_t expiry;

	for (int i = 0; i < FIELD_COUNT; i++) {
		if (!raw[i] || !*raw[i])
			return malformed(e, "sr, sig, se and skn are needed");
	}
	if (!text_parse_u64(raw[SE], 0, EXPIRY_MAX, &expiry))
		return malformed(e, "se is not a time");
	if (!decode_signature(raw[SIG], t->signature))
		return malformed(e, "sig is not a signature");
	t->audience = decode(raw[SR], true);
	if (!t->audience)
		return malformed(e, "sr has broken escapes");
	t->expiry_s = (int64_t)expiry;
	/* The Node client does not encode the name: a percent sign that begins
	 * no escape is meant as it is. */
	t->key_name = decode(raw[SKN], true);
	if (!t->key_name)
		t->key_name = mem_strdup(raw[SKN]);
	t->audience_raw = raw[SR];
	t->expiry_raw = raw[SE];
	raw[SR] = raw[SE] = NULL;
	return true;
}

static bool
parse_signature(struct hc_token *t, const char *text, struct err *e)
{
	char *raw[FIELD_COUNT] = {NULL};
	bool is_good;

	is_good = take_fields(text, raw)
	              ? fill_signature(t, raw, e)
	              : malformed(e, "a field is given twice");
	for (int i = 0; i < FIELD_COUNT; i++)
		mem_free_secret(raw[i]);
	return is_good;
}

/* Three parts of base64url, each with something in it. */
static bool
is_jwt(const char *s)
{
	for (int part = 1;; part++) {
		const size_t n = strcspn(s, ".");

		/* The tilde is no letter of base64url. */
		if (n == 0 || strspn(s, HC_URL_UNRESERVED) < n ||
		    memchr(s, '~', n))
			return false;
		if (part == 3)
			return s[n] == '\0';
		if (s[n] == '\0')
			return false;
		s += n + 1;
	}
}

static bool
parse_text(struct hc_token *t, char *text, struct err *e)
{
	const size_t word = strlen(SCHEME_WORD);

	for (const char *c = text; *c; c++) {
		if ((uint8_t)*c < ' ' || *c == 0x7f)
			return malformed(e, "it holds control bytes");
	}
	if (text_has_prefix_nocase(text, SCHEME_WORD " ")) {
		t->kind = HC_TOKEN_SAS;
		return parse_signature(t, text_trim(text + word), e);
	}
	if (text_has_prefix_nocase(text, "Bearer "))
		text = text_trim(text + strlen("Bearer "));
	if (!is_jwt(text))
		return malformed(e, "neither a " SCHEME_WORD " nor a JWT");
	t->kind = HC_TOKEN_JWT;
	t->jwt = mem_strdup(text);
	return true;
}

bool
hc_token_parse(struct hc_token *t, const char *text, struct err *e)
{
	char *copy;
	bool is_good;

	memset(t, 0, sizeof *t);
	if (strnlen(text, HC_TOKEN_MAX + 1) > HC_TOKEN_MAX)
		return malformed(e, "it is too long");
	copy = mem_strdup(text);
	is_good = parse_text(t, text_trim(copy), e);
	mem_free_secret(copy);
	if (!is_good)
		hc_token_fini(t);
	return is_good;
}

void
hc_token_fini(struct hc_token *t)
{
	free(t->audience_raw);
	free(t->expiry_raw);
	free(t->audience);
	free(t->key_name);
	mem_free_secret(t->jwt);
	mem_wipe(t, sizeof *t);
}

/* --- judging --- */

bool
hc_token_is_signed_by(const struct hc_token *t, const char *key)
{
	uint8_t wanted[CRYPT_SHA256_SIZE];
	bool is_equal;

	if (t->kind != HC_TOKEN_SAS)
		return false;
	sign(t->audience_raw, t->expiry_raw, key, wanted);
	is_equal = crypt_is_equal(wanted, t->signature, sizeof wanted);
	mem_wipe(wanted, sizeof wanted);
	return is_equal;
}

/* The host of an authority or of a host with or without port, without the
 * brackets of IPv6. */
static struct hc_url_view
bare_host(struct hc_url_view v)
{
	const char *at = memrchr(v.at, '@', v.len);
	const char *colon, *end;

	if (at) {
		v.len -= (size_t)(at + 1 - v.at);
		v.at = at + 1;
	}
	if (v.len > 0 && v.at[0] == '[') {
		end = memchr(v.at, ']', v.len);
		v.at++;
		v.len = end ? (size_t)(end - v.at) : v.len - 1;
		return v;
	}
	colon = memchr(v.at, ':', v.len);
	if (colon && colon == memrchr(v.at, ':', v.len))
		v.len = (size_t)(colon - v.at);
	return v;
}

static bool
view_is_equal(struct hc_url_view a, struct hc_url_view b)
{
	return a.len == b.len && text_is_equal_nocase_n(a.at, b.at, a.len);
}

/* Without slashes around it and without the service's "$hc/". */
static struct hc_url_view
bare_path(const char *path)
{
	static const char hc[] = "$hc/";
	size_t n;

	while (*path == '/')
		path++;
	if (text_has_prefix_nocase(path, hc))
		path += strlen(hc);
	while (*path == '/')
		path++;
	n = strlen(path);
	while (n > 0 && path[n - 1] == '/')
		n--;
	return (struct hc_url_view){path, n};
}

/* By whole segments, ignoring case. */
static bool
covers(struct hc_url_view prefix, struct hc_url_view path)
{
	if (prefix.len == 0)
		return true;
	if (prefix.len > path.len ||
	    !text_is_equal_nocase_n(prefix.at, path.at, prefix.len))
		return false;
	return prefix.len == path.len || path.at[prefix.len] == '/';
}

/* The text behind "scheme://"; NULL for a scheme that is none of ours. */
static const char *
behind_scheme(const char *audience)
{
	static const char *const schemes[] = {
	    "http://", "https://", "sb://", "ws://", "wss://"};

	for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
		if (text_has_prefix_nocase(audience, schemes[i]))
			return audience + strlen(schemes[i]);
	}
	return NULL;
}

bool
hc_token_is_for(const struct hc_token *t, const char *host, const char *path)
{
	struct hc_url_view wanted = {host, strlen(host)};
	struct hc_url_view authority;
	const char *at;
	char *raw, *decoded;
	bool is_covered;

	at = t->audience ? behind_scheme(t->audience) : NULL;
	if (!at)
		return false;
	authority = (struct hc_url_view){at, strcspn(at, "/?#")};
	if (!view_is_equal(bare_host(authority), bare_host(wanted)))
		return false;
	at += authority.len;
	raw = mem_strndup(at, strcspn(at, "?#"));
	/* Some sign the path as typed, some as it stands in a URL. */
	decoded = decode(raw, false);
	is_covered =
	    covers(bare_path(decoded ? decoded : raw), bare_path(path));
	free(decoded);
	free(raw);
	return is_covered;
}

enum hc_token_outcome
hc_token_judge(const struct hc_token *t, const struct hc_token_demand *d,
    int64_t *expired_s)
{
	if (t->kind != HC_TOKEN_SAS)
		return HC_TOKEN_MALFORMED;
	if (!hc_token_is_signed_by(t, d->key) &&
	    !(d->other_key && hc_token_is_signed_by(t, d->other_key)))
		return HC_TOKEN_BAD_SIGNATURE;
	if (d->now_s > t->expiry_s + d->grace_s) {
		if (expired_s)
			*expired_s = d->now_s - t->expiry_s;
		return HC_TOKEN_EXPIRED;
	}
	if (!hc_token_is_for(t, d->host, d->path))
		return HC_TOKEN_WRONG_AUDIENCE;
	return HC_TOKEN_GOOD;
}

struct outcome_row {
	const char *reason;
	int http_status;
};

static const struct outcome_row outcomes[HC_TOKEN_OUTCOME_COUNT] = {
    [HC_TOKEN_GOOD] = {"token is good", 200},
    [HC_TOKEN_MISSING] = {"token is missing", 401},
    [HC_TOKEN_MALFORMED] = {"token is malformed", 401},
    [HC_TOKEN_NO_RULE] = {"token names no such rule", 401},
    [HC_TOKEN_BAD_SIGNATURE] = {"token has an invalid signature", 401},
    [HC_TOKEN_EXPIRED] = {"token is expired", 401},
    [HC_TOKEN_WRONG_AUDIENCE] = {"token is for another audience", 403},
    [HC_TOKEN_NO_RIGHT] = {"token lacks the right", 403},
};

const char *
hc_token_reason(enum hc_token_outcome outcome)
{
	assert((unsigned)outcome < HC_TOKEN_OUTCOME_COUNT);
	return outcomes[outcome].reason;
}

int
hc_token_http_status(enum hc_token_outcome outcome)
{
	assert((unsigned)outcome < HC_TOKEN_OUTCOME_COUNT);
	return outcomes[outcome].http_status;
}

/* SPDX-License-Identifier: MIT
 *
 * Shared access signatures (specification 2): made by clients, judged by the
 * relay. What is signed is the text of sr and se exactly as it stands in the
 * token, so both are kept raw. Pure: the clock is an argument.
 *
 * Which rules exist and what they may do is the relay's knowledge: it parses a
 * token, looks up hc_token.key_name, and calls hc_token_judge with the rule's
 * key. A token without the word SharedAccessSignature is a JWT.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/crypt.h"

struct err;

/* Longest token text: a JWT may hold a few thousand bytes. */
#define HC_TOKEN_MAX ((size_t)16 * 1024)

/* Lives of tokens when nobody says otherwise, in seconds. */
#define HC_TOKEN_TTL_S 3600

enum hc_token_outcome {
	HC_TOKEN_GOOD,
	HC_TOKEN_MISSING,       /* none was presented */
	HC_TOKEN_MALFORMED,     /* not a token at all */
	HC_TOKEN_NO_RULE,       /* its key name is unknown (relay's lookup) */
	HC_TOKEN_BAD_SIGNATURE, /* made with another key, or changed */
	HC_TOKEN_EXPIRED,
	HC_TOKEN_WRONG_AUDIENCE, /* good, but for another place */
	HC_TOKEN_NO_RIGHT,       /* good, but its rule lacks the right */
	HC_TOKEN_OUTCOME_COUNT
};

enum hc_token_kind { HC_TOKEN_SAS, HC_TOKEN_JWT };

/* --- making --- */

/* "http://host/path/" as the .NET client signs it: lower-case host, no port,
 * bytes of the path that a URL cannot hold are escaped. free(). */
char *hc_token_audience(const char *host, const char *path);

/* The whole "SharedAccessSignature sr=..&sig=..&se=..&skn=.." for an audience
 * as above (percent-encoded here). mem_free_secret. */
char *hc_token_make(const char *audience, const char *key_name, const char *key,
    int64_t expiry_s);

/* --- judging --- */

struct hc_token {
	enum hc_token_kind kind;
	char *audience_raw; /* sr as it stands in the token */
	char *expiry_raw;   /* se as it stands in the token */
	char *audience;     /* sr decoded */
	char *key_name;     /* skn decoded */
	int64_t expiry_s;   /* Unix seconds */
	uint8_t signature[CRYPT_SHA256_SIZE];
	char *jwt; /* HC_TOKEN_JWT: the bare token, nothing else is set */
};

/* Field order does not matter, names and the scheme word ignore case, unknown
 * fields are ignored, a field given twice is malformed. A word Bearer in front
 * of a JWT is dropped. On failure (ERR_AUTH) there is nothing to free. The
 * text is what a header held; for sb-hc-token decode it as form data first. */
bool hc_token_parse(struct hc_token *t, const char *text, struct err *e);
void hc_token_fini(struct hc_token *t);

/* Whether the signature was made with this key; in constant time. */
bool hc_token_is_signed_by(const struct hc_token *t, const char *key);

/* Whether the audience covers `path` ("entity/rest" of the request, decoded,
 * slashes around it do not matter) on `host` (a port in it does not matter):
 * the rule of specification 2.3. */
bool hc_token_is_for(
    const struct hc_token *t, const char *host, const char *path);

struct hc_token_demand {
	const char *key;       /* of the rule that key_name names */
	const char *other_key; /* the rule's second key, or NULL */
	const char *host;
	const char *path;
	int64_t now_s;
	int64_t grace_s; /* how long after its end a token still counts */
};

/* Signature first, then expiry, then audience, so that a stranger learns
 * nothing. *expired_s (may be NULL): seconds since the end, for EXPIRED. Only
 * for HC_TOKEN_SAS: a JWT is HC_TOKEN_MALFORMED here. */
enum hc_token_outcome hc_token_judge(const struct hc_token *t,
    const struct hc_token_demand *d, int64_t *expired_s);

/* The words a relay puts into its reason phrase and our clients recognise:
 * "token has an invalid signature", "token is expired" ... */
const char *hc_token_reason(enum hc_token_outcome outcome);

/* 401 or 403 (200 for GOOD): specification 2.3. */
int hc_token_http_status(enum hc_token_outcome outcome);

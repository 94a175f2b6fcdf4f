/* SPDX-License-Identifier: MIT
 *
 * The relay and the listener behind it refuse with the same HTTP statuses. The
 * relay's own reasons are known words or carry a tracking id; anything else was
 * written by the listener. Then one row of advice for each fault.
 */
#include "hc/hc_refusal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "net/http1.h"
#include "util/err.h"
#include "util/text.h"

#define SKEW_MAX_S 300 /* Azure's own tolerance */

static bool
has(const struct hc_refusal *r, const char *words)
{
	return strcasestr(r->reason, words) != NULL;
}

/* Nothing but the standard phrase: says no more than the status. */
static bool
is_mute(const struct hc_refusal *r)
{
	return !*r->reason ||
	       text_is_equal_nocase(r->reason, http1_reason(r->status));
}

bool
hc_refusal_is_from_listener(const struct hc_refusal *r)
{
	static const char *const relays_words[] = {"TrackingId",
	    "Endpoint does not exist", "no listener", "connected listeners",
	    "InvalidAudience", "token is ", "token has ", "token lacks ",
	    "token names "};

	if (r->use == HC_TARGET_LISTEN || is_mute(r))
		return false;
	for (size_t i = 0; i < sizeof relays_words / sizeof relays_words[0];
	     i++) {
		if (has(r, relays_words[i]))
			return false;
	}
	return true;
}

/* A path that is there but has no listener now may have one soon; a path that
 * does not exist stays so. */
static enum err_code
code_of(const struct hc_refusal *r)
{
	switch (r->status) {
	case 401:
		return ERR_AUTH;
	case 403:
		return ERR_DENIED;
	case 404:
		return r->use == HC_TARGET_LISTEN ||
		               has(r, "Endpoint does not exist")
		           ? ERR_NOT_FOUND
		           : ERR_UNREACHABLE;
	case 408:
	case 504:
		return ERR_TIMEOUT;
	default:
		return ERR_REFUSED;
	}
}

/* "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110, section 5.6.7). */
static bool
parse_date(const char *text, int64_t *out_s)
{
	struct tm tm = {0};

	/* The program never leaves the C locale for dates. */
	if (strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &tm) == NULL)
		return false;
	*out_s = (int64_t)timegm(&tm);
	return true;
}

/* "; this machine's clock is 2 h ahead of the relay's: set it", or "". */
static void
print_skew(const struct hc_refusal *r, char *out, size_t size)
{
	char duration[48];
	int64_t theirs, ahead;

	*out = '\0';
	if (!r->date || !parse_date(r->date, &theirs))
		return;
	ahead = r->now_s - theirs;
	if (llabs(ahead) <= SKEW_MAX_S)
		return;
	text_print_duration(
	    (uint64_t)llabs(ahead) * 1000, duration, sizeof duration);
	snprintf(out, size,
	    "; this machine's clock is %s %s the relay's: set the clock",
	    duration, ahead > 0 ? "ahead of" : "behind");
}

/* What to do about a token that was not taken. */
static void
print_token_remedy(const struct hc_refusal *r, char *out, size_t size)
{
	const struct hc_target *t = r->target;
	const char *key_name = t->key_name ? t->key_name : "";

	if (!t->token && !t->key)
		snprintf(out, size,
		    "the path needs a token: give -K NAME and -k @FILE, or a "
		    "connection string (-x)");
	else if (t->token && has(r, "expired"))
		snprintf(out, size,
		    "the ready-made token has expired: make a new one (hyco "
		    "token)");
	else if (t->token)
		snprintf(out, size,
		    "make a new token for this path (hyco "
		    "token)");
	else if (has(r, "expired"))
		snprintf(out, size,
		    "it was made just now: one of the two "
		    "clocks is wrong");
	else if (has(r, "signature"))
		snprintf(out, size,
		    "the key is not the one of rule \"%s\": check the key "
		    "(-k)",
		    key_name);
	else if (has(r, "no such rule"))
		snprintf(out, size,
		    "neither the path nor the namespace has a rule \"%s\": "
		    "check the key's name (-K)",
		    key_name);
	else
		snprintf(out, size,
		    "check the name (-K \"%s\") and the key (-k)", key_name);
}

static void
print_right_remedy(const struct hc_refusal *r, char *out, size_t size)
{
	const char *right = r->use == HC_TARGET_LISTEN ? "Listen" : "Send";

	if (has(r, "audience"))
		snprintf(out, size, "the token is for another path or host");
	else if (r->target->key_name)
		snprintf(out, size,
		    "the rule \"%s\" needs the right %s for this path",
		    r->target->key_name, right);
	else
		snprintf(out, size, "the token needs the right %s", right);
}

static void
print_missing_remedy(const struct hc_refusal *r, char *out, size_t size)
{
	if (has(r, "Endpoint does not exist") || r->use == HC_TARGET_LISTEN)
		snprintf(out, size,
		    "the relay has no such hybrid connection: check the "
		    "namespace and the path");
	else if (is_mute(r))
		snprintf(out, size,
		    "no listener is connected (start hyco listen there), or "
		    "the path does not exist");
	else
		snprintf(out, size,
		    "no listener is connected: start hyco listen there");
}

static void
print_remedy(const struct hc_refusal *r, char *out, size_t size)
{
	*out = '\0';
	if (r->status == 401)
		print_token_remedy(r, out, size);
	else if (r->status == 403)
		print_right_remedy(r, out, size);
	else if (r->status == 404)
		print_missing_remedy(r, out, size);
	else if (r->status == 408 || r->status == 504)
		snprintf(out, size,
		    "the listener did not answer in time: is it alive and can "
		    "it reach the relay?");
	else if (r->status >= 500)
		snprintf(out, size,
		    "a fault of the relay or of a proxy "
		    "before it: try again later");
	else
		snprintf(out, size, "is this the address of a relay?");
}

/* The reason's words without the tracking id behind them, and the id alone: it
 * helps the relay's people, so it comes last and may be cut. */
static void
split_reason(const struct hc_refusal *r, char *words, size_t size, char *id,
    size_t id_size)
{
	const char *text = is_mute(r) ? http1_reason(r->status) : r->reason;
	const char *tracking = strcasestr(text, "TrackingId");
	size_t n = tracking ? (size_t)(tracking - text) : strlen(text);

	while (n > 0 && strchr(" .,;:", text[n - 1]))
		n--;
	text_escape(text, n, words, size);
	*id = '\0';
	if (tracking && id_size > 3) {
		memcpy(id, " (", 3);
		text_escape(
		    tracking, strcspn(tracking, ", "), id + 2, id_size - 3);
		strcat(id, ")");
	}
}

void
hc_refusal_explain(const struct hc_refusal *r, struct err *e)
{
	char name[HC_TARGET_TEXT_MAX];
	char words[160];
	char id[80];
	char remedy[160];
	char skew[128] = "";

	hc_target_print(r->target, name);
	split_reason(r, words, sizeof words, id, sizeof id);
	if (hc_refusal_is_from_listener(r)) {
		err_set(e, code_of(r), "the listener of %.200s refused: %d %s",
		    name, r->status, words);
	} else {
		print_remedy(r, remedy, sizeof remedy);
		if (r->status == 401)
			print_skew(r, skew, sizeof skew);
		err_set(e, code_of(r),
		    "relay refused to %s %.120s: %d %s: %s%s%s",
		    r->use == HC_TARGET_LISTEN ? "listen on" : "connect to",
		    name, r->status, words, remedy, skew, id);
	}
	e->http_status = r->status;
}

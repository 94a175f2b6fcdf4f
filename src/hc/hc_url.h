/* SPDX-License-Identifier: MIT
 *
 * The URLs of the service (specification 1): reading an accept address or the
 * target of a request, and building the addresses for listening, connecting,
 * accepting and rejecting. Names of query items are compared as they are
 * written, ignoring case, and never decoded first, so that what one function
 * drops no other function finds. Pure; views point into the caller's text.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/addr.h"

struct buf;
struct err;

/* An accept address carries the sender's whole target. */
#define HC_URL_MAX ((size_t)48 * 1024)
#define HC_URL_REASON_MAX 256 /* of a reject, decoded */

/* What never needs an escape (RFC 3986, section 2.3). */
#define HC_URL_UNRESERVED                                                      \
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~"

/* A piece of somebody's text. */
struct hc_url_view {
	const char *at;
	size_t len;
};

/* --- reading --- */

/* A copy without escapes; `form`: a plus sign is a space. NULL when an escape
 * is broken. free(). */
char *hc_url_decode(struct hc_url_view v, bool form);

/* Host names are compared and signed in lower case; ASCII only, in place. */
void hc_url_lower(char *host);

/* A URL of the service: "wss://host[:port]/path?query". */
struct hc_url {
	struct hostport at; /* lower case; 443 if no port was given */
	char *target;       /* path and query as written; at least "/" */
};

/* ERR_PROTOCOL for another scheme, user info, blanks, control bytes or bytes
 * above 0x7e; a fragment is cut off. Nothing to free on failure. */
bool hc_url_parse(struct hc_url *u, const char *text, struct err *e);
void hc_url_fini(struct hc_url *u);

/* The Host field for it: the port is left out when it is 443. Returns out. */
const char *hc_url_host_header(
    const struct hostport *at, char out[HOSTPORT_TEXT_MAX]);

/* A target split at the first question mark; the query is without it (at ==
 * NULL when there is no question mark at all). */
void hc_url_split(
    const char *target, struct hc_url_view *path, struct hc_url_view *query);

/* Takes "/$hc/" from the front of a path and leaves the rest ("entity/rest");
 * false, with nothing changed, when it is not there. */
bool hc_url_take_hc(struct hc_url_view *path);

struct hc_url_item {
	struct hc_url_view raw; /* all of it */
	struct hc_url_view name;
	struct hc_url_view value; /* at == NULL: no equals sign */
};

/* The next item of a query, also an empty one; false behind the last. A query
 * with at == NULL has none, an empty one has one empty item. */
bool hc_url_next(struct hc_url_view *query, struct hc_url_item *item);

/* The value of the first item of that name, decoded as form data; NULL if there
 * is none, it has no equals sign, or its escapes are broken. free(). */
char *hc_url_get(struct hc_url_view query, const char *name);

/* Whether the item belongs to the service: "sb-hc-..." with an equals sign. */
bool hc_url_is_service_item(const struct hc_url_item *item);

/* Appends the query without the service's items, with a "?" in front if
 * something is left (specification 1.5). False beyond the buf's limit. */
bool hc_url_filter_query(struct buf *out, struct hc_url_view query);

/* Appends a sender's target so that every client can parse it (RFC 2396):
 * bytes that may not stand in a URL are percent-encoded, also a percent sign
 * that begins no escape; all else stays. */
bool hc_url_clean(struct buf *out, const char *target, size_t n);

/* The path of an accept address behind "/$hc/" and the entity (compared
 * decoded, ignoring case, by whole segments), decoded: "" or "/tunnel". When
 * the entity is not there: all of the path. free(). */
char *hc_url_suffix(const char *target, const char *entity);

struct hc_url_reject {
	int status;                     /* 300..599 */
	char reason[HC_URL_REASON_MAX]; /* clean: no control bytes; may be "" */
};

/* Whether an accept request is a reject, in either spelling (1.4), and which.
 */
bool hc_url_get_reject(struct hc_url_view query, struct hc_url_reject *r);

/* --- building: all false only beyond the buf's limit --- */

/* Appends "name=value" encoded, with "&" in front unless out is empty: for a
 * sender's own query. */
bool hc_url_add_item(struct buf *out, const char *name, const char *value);

/* "/$hc/path?sb-hc-action=listen&sb-hc-id=id": a request target. The path is
 * escaped where needed. */
bool hc_url_build_listen(struct buf *out, const char *path, const char *id);

/* "/$hc/path/suffix?query&sb-hc-action=connect&sb-hc-id=id". suffix and query
 * are as in a URL (cleaned here), NULL or "" for none; a suffix without a slash
 * in front gets one, a query loses "?" or "&" at its ends. */
bool hc_url_build_connect(struct buf *out, const char *path, const char *suffix,
    const char *query, const char *id);

/* For the relay: "wss://authority/$hc/...?user-query&sb-hc-action=accept&
 * sb-hc-id=id&sb-hc-key=key" from a sender's target; cleaned, without the
 * sender's own sb-hc items. id and key: [A-Za-z0-9._~-] only. */
bool hc_url_build_accept(struct buf *out, const char *authority,
    const char *target, const char *id, const char *key);

/* An accept address (or its target) with the two items of a reject behind. */
bool hc_url_build_reject(
    struct buf *out, const char *address, int status, const char *reason);

/* SPDX-License-Identifier: MIT
 *
 * A URL is text that is cut and glued here, not normalised: what a sender
 * wrote must reach the listener as it was, but for the service's own items and
 * for bytes that would make some client's parser throw.
 */
#include "hc/hc_url.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/buf.h"
#include "util/err.h"
#include "util/mem.h"
#include "util/text.h"

#define SERVICE_PREFIX "sb-hc-"
#define HC_PREFIX "/$hc/"

static bool
view_has_prefix(struct hc_url_view v, const char *prefix)
{
	const size_t n = strlen(prefix);

	return v.len >= n && text_is_equal_nocase_n(v.at, prefix, n);
}

static bool
view_is(struct hc_url_view v, const char *text)
{
	return v.len == strlen(text) && view_has_prefix(v, text);
}

char *
hc_url_decode(struct hc_url_view v, bool form)
{
	struct buf b;

	buf_init(&b, v.len + 1);
	if (!text_percent_decode(&b, v.at, v.len, form)) {
		buf_fini(&b);
		return NULL;
	}
	return buf_take_text(&b);
}

void
hc_url_lower(char *host)
{
	for (; *host; host++) {
		if (*host >= 'A' && *host <= 'Z')
			*host = (char)(*host - 'A' + 'a');
	}
}

/* --- reading --- */

static bool
is_printable(const char *s)
{
	for (; *s; s++) {
		if (*s <= ' ' || *s > '~')
			return false;
	}
	return true;
}

bool
hc_url_parse(struct hc_url *u, const char *text, struct err *e)
{
	static const char scheme[] = "wss://";
	const char *authority = text + strlen(scheme);
	size_t n, target_len;
	char *host;
	bool is_good;

	if (strlen(text) > HC_URL_MAX)
		return err_set(e, ERR_PROTOCOL, "address is too long");
	if (!text_has_prefix_nocase(text, scheme))
		return err_set(e, ERR_PROTOCOL, "address is no wss:// URL");
	if (!is_printable(text))
		return err_set(e, ERR_PROTOCOL,
		    "address holds bytes that no URL may hold");
	n = strcspn(authority, "/?#");
	if (n > HOST_MAX + 8 || memchr(authority, '@', n))
		return err_set(e, ERR_PROTOCOL, "address has no valid host");
	host = mem_strndup(authority, n);
	is_good = hostport_parse(&u->at, host, 443, NULL) && u->at.port != 0;
	free(host);
	if (!is_good)
		return err_set(e, ERR_PROTOCOL, "address has no valid host");
	hc_url_lower(u->at.host);
	target_len = strcspn(authority + n, "#");
	u->target = mem_printf("%s%.*s", authority[n] == '/' ? "" : "/",
	    (int)target_len, authority + n);
	return true;
}

void
hc_url_fini(struct hc_url *u)
{
	free(u->target);
	u->target = NULL;
}

const char *
hc_url_host_header(const struct hostport *at, char out[HOSTPORT_TEXT_MAX])
{
	const bool is_v6 = strchr(at->host, ':') != NULL;

	if (at->port != 443)
		return hostport_print(at, out);
	snprintf(out, HOSTPORT_TEXT_MAX, is_v6 ? "[%s]" : "%s", at->host);
	return out;
}

void
hc_url_split(
    const char *target, struct hc_url_view *path, struct hc_url_view *query)
{
	const size_t n = strcspn(target, "?");

	*path = (struct hc_url_view){target, n};
	*query = (struct hc_url_view){NULL, 0};
	if (target[n] == '?')
		*query = (struct hc_url_view){
		    target + n + 1, strlen(target + n + 1)};
}

bool
hc_url_take_hc(struct hc_url_view *path)
{
	const size_t n = strlen(HC_PREFIX);

	if (!view_has_prefix(*path, HC_PREFIX))
		return false;
	path->at += n;
	path->len -= n;
	return true;
}

bool
hc_url_next(struct hc_url_view *query, struct hc_url_item *item)
{
	const char *end, *equals;

	if (!query->at)
		return false;
	end = memchr(query->at, '&', query->len);
	item->raw.at = query->at;
	item->raw.len = end ? (size_t)(end - query->at) : query->len;
	query->len -= item->raw.len + (end ? 1 : 0);
	query->at = end ? end + 1 : NULL;
	equals = memchr(item->raw.at, '=', item->raw.len);
	item->name = item->raw;
	item->value = (struct hc_url_view){NULL, 0};
	if (equals) {
		item->name.len = (size_t)(equals - item->raw.at);
		item->value.at = equals + 1;
		item->value.len = item->raw.len - item->name.len - 1;
	}
	return true;
}

char *
hc_url_get(struct hc_url_view query, const char *name)
{
	struct hc_url_item item;

	while (hc_url_next(&query, &item)) {
		if (view_is(item.name, name))
			return item.value.at ? hc_url_decode(item.value, true)
			                     : NULL;
	}
	return NULL;
}

bool
hc_url_is_service_item(const struct hc_url_item *item)
{
	return item->value.at && view_has_prefix(item->name, SERVICE_PREFIX);
}

bool
hc_url_filter_query(struct buf *out, struct hc_url_view query)
{
	const size_t before = buf_len(out);
	struct hc_url_view look = query;
	struct hc_url_item item;
	bool is_first = true, is_empty = true;

	while (hc_url_next(&look, &item)) {
		if (hc_url_is_service_item(&item))
			continue;
		is_empty = is_empty && is_first && item.raw.len == 0;
		is_first = false;
	}
	if (is_empty)
		return true;
	is_first = true;
	while (hc_url_next(&query, &item)) {
		if (hc_url_is_service_item(&item))
			continue;
		if (!buf_append_text(out, is_first ? "?" : "&") ||
		    !buf_append(out, item.raw.at, item.raw.len))
			return false;
		is_first = false;
	}
	assert(buf_len(out) > before);
	return true;
}

/* RFC 2396 as java.net.URI reads it: brackets are for queries only. */
static bool
is_clean(char c, bool is_query)
{
	return c != '\0' && (strchr(HC_URL_UNRESERVED "!*'();/:@&=+$,", c) ||
	                        (is_query && strchr("?[]", c)));
}

static bool
is_escape(const char *s, size_t n)
{
	uint8_t byte;

	return n >= 3 && s[0] == '%' && text_unhex(s + 1, 2, &byte);
}

static bool
clean_piece(struct buf *out, const char *s, size_t n, bool is_query)
{
	for (size_t i = 0; i < n; i++) {
		if (is_clean(s[i], is_query) || is_escape(s + i, n - i)) {
			if (!buf_append(out, s + i, 1))
				return false;
		} else if (!buf_printf(out, "%%%02X", (uint8_t)s[i])) {
			return false;
		}
	}
	return true;
}

bool
hc_url_clean(struct buf *out, const char *target, size_t n)
{
	const char *mark = memchr(target, '?', n);
	const size_t path = mark ? (size_t)(mark - target) : n;

	return clean_piece(out, target, path, false) &&
	       clean_piece(out, target + path, n - path, true);
}

char *
hc_url_suffix(const char *target, const char *entity)
{
	const size_t n = strlen(entity);
	struct hc_url_view path, query;
	char *text, *rest;

	hc_url_split(target, &path, &query);
	if (!hc_url_take_hc(&path) && path.len > 0 && path.at[0] == '/') {
		path.at++;
		path.len--;
	}
	text = hc_url_decode(path, false);
	if (!text)
		text = mem_strndup(path.at, path.len);
	if (!text_has_prefix_nocase(text, entity) ||
	    (text[n] != '\0' && text[n] != '/'))
		rest = mem_printf("%s%s", *text ? "/" : "", text);
	else
		rest = mem_strdup(text + n);
	free(text);
	return rest;
}

static char *
get_either(struct hc_url_view query, const char *name, const char *other)
{
	char *text = hc_url_get(query, name);

	return text ? text : hc_url_get(query, other);
}

bool
hc_url_get_reject(struct hc_url_view query, struct hc_url_reject *r)
{
	char *status = get_either(query, "sb-hc-statusCode", "statusCode");
	char *reason =
	    get_either(query, "sb-hc-statusDescription", "statusDescription");
	uint64_t number;

	if (!status) {
		free(reason);
		return false;
	}
	r->status =
	    text_parse_u64(status, 300, 599, &number) ? (int)number : 400;
	snprintf(r->reason, sizeof r->reason, "%s", reason ? reason : "");
	for (char *c = r->reason; *c; c++) {
		if ((uint8_t)*c < ' ' || *c == 0x7f)
			*c = ' ';
		else if ((uint8_t)*c > '~')
			*c = '?';
	}
	free(status);
	free(reason);
	return true;
}

/* --- building --- */

bool
hc_url_add_item(struct buf *out, const char *name, const char *value)
{
	return (buf_len(out) == 0 || buf_append_text(out, "&")) &&
	       text_percent_encode(out, name, strlen(name)) &&
	       buf_append_text(out, "=") &&
	       text_percent_encode(out, value, strlen(value));
}

static bool
append_path(struct buf *out, const char *path)
{
	return buf_append_text(out, HC_PREFIX) &&
	       clean_piece(out, path, strlen(path), false);
}

bool
hc_url_build_listen(struct buf *out, const char *path, const char *id)
{
	return append_path(out, path) &&
	       buf_printf(out, "?sb-hc-action=listen&sb-hc-id=%s", id);
}

/* The query with its question mark, cleaned and without the service's items,
 * and then what separates the service's items from it. */
static bool
append_user_query(struct buf *out, struct hc_url_view query)
{
	const size_t limit = query.len + 2;
	struct buf kept;
	bool is_done;

	buf_init(&kept, limit);
	is_done = hc_url_filter_query(&kept, query);
	assert(is_done);
	is_done = clean_piece(out, (const char *)buf_data(&kept),
	              buf_len(&kept), true) &&
	          buf_append_text(out, buf_len(&kept) ? "&" : "?");
	buf_fini(&kept);
	return is_done;
}

bool
hc_url_build_connect(struct buf *out, const char *path, const char *suffix,
    const char *query, const char *id)
{
	struct hc_url_view user = {query, query ? strlen(query) : 0};

	while (user.len > 0 && (user.at[0] == '?' || user.at[0] == '&')) {
		user.at++;
		user.len--;
	}
	while (user.len > 0 && user.at[user.len - 1] == '&')
		user.len--;
	if (!append_path(out, path))
		return false;
	if (suffix && *suffix &&
	    ((*suffix != '/' && !buf_append_text(out, "/")) ||
	        !clean_piece(out, suffix, strlen(suffix), false)))
		return false;
	return append_user_query(out, user) &&
	       buf_printf(out, "sb-hc-action=connect&sb-hc-id=%s", id);
}

bool
hc_url_build_accept(struct buf *out, const char *authority, const char *target,
    const char *id, const char *key)
{
	struct hc_url_view path, query;

	hc_url_split(target, &path, &query);
	return buf_printf(out, "wss://%s", authority) &&
	       clean_piece(out, path.at, path.len, false) &&
	       append_user_query(out, query) &&
	       buf_printf(out, "sb-hc-action=accept&sb-hc-id=%s&sb-hc-key=%s",
	           id, key);
}

static bool
append_form(struct buf *out, const char *text)
{
	for (; *text; text++) {
		if (*text == ' ' ? !buf_append_text(out, "+")
		                 : !text_percent_encode(out, text, 1))
			return false;
	}
	return true;
}

bool
hc_url_build_reject(
    struct buf *out, const char *address, int status, const char *reason)
{
	const size_t n = strlen(address);
	const bool is_open =
	    n > 0 && (address[n - 1] == '?' || address[n - 1] == '&');
	const char *glue = strchr(address, '?') ? "&" : "?";

	return buf_append(out, address, n) &&
	       buf_append_text(out, is_open ? "" : glue) &&
	       buf_printf(out, "sb-hc-statusCode=%d", status) &&
	       buf_append_text(out, "&sb-hc-statusDescription=") &&
	       append_form(out, reason);
}

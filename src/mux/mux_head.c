/* SPDX-License-Identifier: MIT
 *
 * One table ties each refusal to its Proxy-Status type (RFC 9209), status and
 * error code. Targets travel in :authority or in :path, where every byte that
 * is not plain is escaped, the slash of a Unix path included: so a path has
 * exactly the slashes of its form.
 */
#include "mux/mux_head.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/addr.h"
#include "util/err.h"
#include "util/mem.h"
#include "util/text.h"

#define UDP_PREFIX "/.well-known/masque/udp/"
#define TCP_PREFIX "/tcp/"
#define FETCH_ID_MAX 16

struct refusal {
	const char *type;
	const char *words;
	int status;
	enum err_code code;
};

static const struct refusal refusals[] = {
    [MUX_REFUSED_NAME] = {"destination_not_found",
        "the name is not known there", 502, ERR_UNREACHABLE},
    [MUX_REFUSED_CONNECTION] = {"connection_refused", "connection refused", 502,
        ERR_REFUSED},
    [MUX_REFUSED_UNROUTABLE] = {"destination_ip_unroutable",
        "no route from there", 502, ERR_UNREACHABLE},
    [MUX_REFUSED_TIMEOUT] = {"connection_timeout",
        "the destination does not answer", 504, ERR_TIMEOUT},
    [MUX_REFUSED_POLICY] = {"destination_ip_prohibited",
        "not allowed by the listener's policy", 403, ERR_DENIED},
    [MUX_REFUSED_INTERNAL] = {"proxy_internal_error", "the listener failed",
        500, ERR_SYSTEM},
    [MUX_REFUSED_LIMIT] = {"connection_limit_reached",
        "too many connections at the listener", 503, ERR_TOO_BIG},
    [MUX_REFUSED_REQUEST] = {"http_request_error",
        "the listener does not understand the request", 400, ERR_PROTOCOL},
};

#define REFUSALS (sizeof refusals / sizeof refusals[0])

enum mux_refusal
mux_refusal_of(const struct err *err)
{
	switch (err->code) {
	case ERR_NOT_FOUND:
		return MUX_REFUSED_NAME;
	case ERR_REFUSED:
	case ERR_RESET:
		return MUX_REFUSED_CONNECTION;
	case ERR_UNREACHABLE:
		return MUX_REFUSED_UNROUTABLE;
	case ERR_TIMEOUT:
		return MUX_REFUSED_TIMEOUT;
	case ERR_DENIED:
	case ERR_AUTH:
		return MUX_REFUSED_POLICY;
	case ERR_TOO_BIG:
		return MUX_REFUSED_LIMIT;
	case ERR_USAGE:
		return MUX_REFUSED_REQUEST;
	default:
		return MUX_REFUSED_INTERNAL;
	}
}

/* --- building --- */

void
mux_head_list_init(struct mux_head_list *l)
{
	l->count = 0;
	buf_init(&l->text, MUX_HEADERS_MAX);
}

void
mux_head_list_fini(struct mux_head_list *l)
{
	mem_wipe(buf_data(&l->text), buf_len(&l->text));
	buf_fini(&l->text);
	l->count = 0;
}

const char *
mux_head_list_value(const struct mux_head_list *l, size_t i)
{
	assert(i < l->count);
	return (const char *)buf_data(&l->text) + l->fields[i].value;
}

/* A field whose value the caller appends next; close_value ends it. */
static void
open_value(struct mux_head_list *l, const char *name)
{
	assert(l->count < MUX_HEAD_FIELDS_MAX);
	l->fields[l->count++] =
	    (struct mux_head_field){.name = name, .value = buf_len(&l->text)};
}

static void
close_value(struct mux_head_list *l)
{
	buf_append(&l->text, "", 1);
}

static void
put(struct mux_head_list *l, const char *name, const char *value)
{
	open_value(l, name);
	buf_append_text(&l->text, value);
	close_value(l);
}

static void
put_extended(struct mux_head_list *l, const char *protocol)
{
	put(l, ":method", "CONNECT");
	put(l, ":protocol", protocol);
	put(l, ":scheme", "https");
	put(l, ":authority", "hyco");
}

static bool
is_fetch_id(const char *id)
{
	const size_t n = strspn(id, "0123456789");

	return n > 0 && n <= FETCH_ID_MAX && id[n] == '\0';
}

/* A host in a path of two escaped parts and a port. "*" is for listening. */
static void
put_host_path(
    struct mux_head_list *l, const char *prefix, const struct mux_target *t)
{
	open_value(l, ":path");
	buf_append_text(&l->text, prefix);
	if (strcmp(t->host, "*") == 0)
		buf_append_text(&l->text, "*");
	else
		text_percent_encode(&l->text, t->host, strlen(t->host));
	buf_printf(&l->text, "/%u", (unsigned)t->port);
}

static bool
build_unix(struct mux_head_list *l, const char *path, struct err *e)
{
	const size_t n = strlen(path);

	if (n == 0 || n > MUX_HEAD_PATH_MAX)
		return err_set(e, ERR_USAGE,
		    "a Unix socket's path has 1 to %d bytes",
		    MUX_HEAD_PATH_MAX);
	put_extended(l, "hyco-unix");
	open_value(l, ":path");
	buf_append_text(&l->text, "/");
	text_percent_encode(&l->text, path, n);
	close_value(l);
	return true;
}

static bool
build_tcp(struct mux_head_list *l, const struct mux_target *t)
{
	struct hostport h = {.port = t->port};
	char text[HOSTPORT_TEXT_MAX];

	snprintf(h.host, sizeof h.host, "%s", t->host);
	put(l, ":method", "CONNECT");
	put(l, ":authority", hostport_print(&h, text));
	return true;
}

bool
mux_head_build_connect(
    struct mux_head_list *l, const struct mux_target *t, struct err *e)
{
	if (t->kind == MUX_UNIX)
		return build_unix(l, t->host, e);
	if (t->kind == MUX_FETCH) {
		if (!is_fetch_id(t->host))
			return err_set(
			    e, ERR_USAGE, "not the id of a connection");
		put_extended(l, "hyco-fetch");
		open_value(l, ":path");
		buf_printf(&l->text, "/%s", t->host);
		close_value(l);
		return true;
	}
	if (!host_is_valid(t->host) &&
	    !(t->kind == MUX_LISTEN && strcmp(t->host, "*") == 0))
		return err_set(e, ERR_USAGE, "not the name of a host");
	if (t->port == 0 && t->kind != MUX_LISTEN)
		return err_set(e, ERR_USAGE, "port 0 cannot be connected to");
	if (t->kind == MUX_TCP)
		return build_tcp(l, t);
	if (t->kind == MUX_UDP) {
		put_extended(l, "connect-udp");
		put_host_path(l, UDP_PREFIX, t);
		buf_append_text(&l->text, "/");
		close_value(l);
		put(l, "capsule-protocol", "?1");
		return true;
	}
	put_extended(l, "hyco-listen");
	put_host_path(l, TCP_PREFIX, t);
	close_value(l);
	return true;
}

bool
mux_head_build_login(struct mux_head_list *l, const char *user,
    const char *password, struct err *e)
{
	char plain[MUX_HEAD_USER_MAX + MUX_HEAD_PASSWORD_MAX + 2];
	char coded[sizeof plain * 4 / 3 + 8];

	if (user && (strlen(user) > MUX_HEAD_USER_MAX || strchr(user, ':')))
		return err_set(e, ERR_USAGE,
		    "a user's name has at most %d bytes and no colon",
		    MUX_HEAD_USER_MAX);
	if (user && password && strlen(password) > MUX_HEAD_PASSWORD_MAX)
		return err_set(e, ERR_USAGE, "a password has at most %d bytes",
		    MUX_HEAD_PASSWORD_MAX);
	put(l, ":method", "GET");
	put(l, ":scheme", "https");
	put(l, ":authority", "hyco");
	put(l, ":path", "/login");
	if (!user)
		return true;
	snprintf(plain, sizeof plain, "%s:%s", user, password ? password : "");
	text_base64_encode(plain, strlen(plain), coded);
	open_value(l, "authorization");
	l->fields[l->count - 1].is_secret = true;
	buf_append_text(&l->text, "Basic ");
	buf_append_text(&l->text, coded);
	close_value(l);
	mem_wipe(plain, sizeof plain);
	mem_wipe(coded, sizeof coded);
	return true;
}

/* Whether a text can be a field value; addresses are ours, but a fault of ours
 * must not break the session. */
static bool
is_value(const char *s)
{
	for (; *s; s++)
		if (*s <= 0x20 || *s > 0x7e)
			return false;
	return true;
}

void
mux_head_build_accept(
    struct mux_head_list *l, enum mux_kind kind, const char *address)
{
	put(l, ":status", "200");
	if (kind == MUX_UDP)
		put(l, "capsule-protocol", "?1");
	if (address && *address && is_value(address) &&
	    strlen(address) <= HOSTPORT_TEXT_MAX)
		put(l, "hyco-address", address);
}

/* A string of RFC 8941, section 3.3.3: printable ASCII; other bytes become a
 * question mark. */
static void
append_quoted(struct buf *b, const char *s)
{
	size_t n = 0;

	buf_append_text(b, "\"");
	for (; *s && n < MUX_HEAD_DETAILS_MAX; s++, n++) {
		const char c = *s >= 0x20 && *s < 0x7f ? *s : '?';

		if (c == '"' || c == '\\')
			buf_append_text(b, "\\");
		buf_append(b, &c, 1);
	}
	buf_append_text(b, "\"");
}

void
mux_head_build_refusal(
    struct mux_head_list *l, enum mux_refusal why, const char *details)
{
	char status[12];

	assert((size_t)why < REFUSALS);
	snprintf(status, sizeof status, "%d", refusals[why].status);
	put(l, ":status", status);
	open_value(l, "proxy-status");
	buf_printf(&l->text, "hyco; error=%s", refusals[why].type);
	if (details && *details) {
		buf_append_text(&l->text, "; details=");
		append_quoted(&l->text, details);
	}
	close_value(l);
}

void
mux_head_build_login_answer(struct mux_head_list *l, bool good)
{
	put(l, ":status", good ? "200" : "401");
	if (!good)
		put(l, "content-type", "text/plain");
}

/* --- collecting --- */

void
mux_head_init(struct mux_head *h)
{
	*h = (struct mux_head){0};
}

void
mux_head_fini(struct mux_head *h)
{
	free(h->method);
	free(h->protocol);
	free(h->scheme);
	free(h->authority);
	free(h->path);
	mem_free_secret(h->authorization);
	free(h->proxy_status);
	free(h->address);
	*h = (struct mux_head){0};
}

static void
add_status(struct mux_head *h, const char *value, size_t len)
{
	if (len != 3 || strspn(value, "0123456789") < 3)
		return;
	h->status =
	    (value[0] - '0') * 100 + (value[1] - '0') * 10 + (value[2] - '0');
}

/* A list in several fields is the same as one with commas (RFC 9110, 5.3). */
static void
add_more(char **to, const char *value)
{
	char *all = mem_printf("%s, %s", *to, value);

	free(*to);
	*to = all;
}

void
mux_head_add(struct mux_head *h, const void *name, size_t name_len,
    const void *value, size_t value_len)
{
	const struct {
		const char *name;
		char **to;
	} kept[] = {
	    {":method", &h->method},
	    {":protocol", &h->protocol},
	    {":scheme", &h->scheme},
	    {":authority", &h->authority},
	    {":path", &h->path},
	    {"authorization", &h->authorization},
	    {"proxy-status", &h->proxy_status},
	    {"hyco-address", &h->address},
	};
	char *text;

	/* 32 for each field: RFC 9113, section 10.5.1. */
	h->bytes += name_len + value_len + 32;
	if (h->bytes > MUX_HEADERS_MAX) {
		h->too_big = true;
		return;
	}
	text = mem_strndup(value, value_len);
	if (name_len == 7 && memcmp(name, ":status", 7) == 0)
		add_status(h, text, value_len);
	for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++) {
		if (strlen(kept[i].name) != name_len ||
		    memcmp(kept[i].name, name, name_len) != 0)
			continue;
		if (!*kept[i].to) {
			*kept[i].to = text;
			return;
		}
		if (kept[i].to == &h->proxy_status)
			add_more(kept[i].to, text);
		else
			h->repeated = true;
		break;
	}
	mem_free_secret(text);
}

/* --- judging requests --- */

static bool
is_equal(const char *a, const char *b)
{
	return a && strcmp(a, b) == 0;
}

static bool
bad_target(struct err *e)
{
	return err_set(e, ERR_USAGE, "the target is malformed");
}

static bool
judge_tcp(const struct mux_head *h, struct mux_target *t, struct err *e)
{
	struct hostport to;

	if (h->path || h->scheme || !h->authority ||
	    !hostport_parse(&to, h->authority, 0, NULL) || to.port == 0)
		return bad_target(e);
	*t = (struct mux_target){
	    .kind = MUX_TCP, .host = mem_strdup(to.host), .port = to.port};
	return true;
}

/* An escaped part of a path as a fresh text; NULL when malformed, empty or
 * longer than max. */
static char *
unescape(const char *s, size_t n, size_t max)
{
	struct buf b;

	if (memchr(s, '/', n))
		return NULL;
	buf_init(&b, max + 1);
	if (!text_percent_decode(&b, s, n, false) || buf_len(&b) == 0 ||
	    buf_len(&b) > max || memchr(buf_data(&b), 0, buf_len(&b))) {
		buf_fini(&b);
		return NULL;
	}
	return buf_take_text(&b);
}

static bool
judge_unix(const char *path, struct mux_target *t)
{
	char *host;

	if (path[0] != '/' ||
	    !(host = unescape(path + 1, strlen(path + 1), MUX_HEAD_PATH_MAX)))
		return false;
	*t = (struct mux_target){.kind = MUX_UNIX, .host = host};
	return true;
}

/* prefix HOST "/" PORT suffix */
static bool
judge_host_path(const char *path, enum mux_kind kind, struct mux_target *t)
{
	const char *prefix = kind == MUX_UDP ? UDP_PREFIX : TCP_PREFIX;
	const size_t skip = strlen(prefix);
	const bool any_host = kind == MUX_LISTEN;
	const char *slash, *end;
	char port[6] = "";
	uint64_t number;
	char *host;

	if (strncmp(path, prefix, skip) != 0 ||
	    !(slash = strchr(path + skip, '/')))
		return false;
	end = slash + 1 + strspn(slash + 1, "0123456789");
	if ((size_t)(end - slash - 1) >= sizeof port ||
	    strcmp(end, kind == MUX_UDP ? "/" : "") != 0)
		return false;
	memcpy(port, slash + 1, (size_t)(end - slash - 1));
	if (!text_parse_u64(port, any_host ? 0 : 1, 65535, &number))
		return false;
	host = unescape(path + skip, (size_t)(slash - path) - skip, HOST_MAX);
	if (!host)
		return false;
	if (!host_is_valid(host) && !(any_host && strcmp(host, "*") == 0)) {
		free(host);
		return false;
	}
	*t = (struct mux_target){
	    .kind = kind, .host = host, .port = (uint16_t)number};
	return true;
}

static bool
judge_fetch(const char *path, struct mux_target *t)
{
	if (path[0] != '/' || !is_fetch_id(path + 1))
		return false;
	*t = (struct mux_target){
	    .kind = MUX_FETCH, .host = mem_strdup(path + 1)};
	return true;
}

static bool
judge_extended(const struct mux_head *h, struct mux_target *t, struct err *e)
{
	bool ok = false;

	if (!is_equal(h->scheme, "https") || !h->path)
		return bad_target(e);
	if (is_equal(h->protocol, "hyco-unix"))
		ok = judge_unix(h->path, t);
	else if (is_equal(h->protocol, "connect-udp"))
		ok = judge_host_path(h->path, MUX_UDP, t);
	else if (is_equal(h->protocol, "hyco-listen"))
		ok = judge_host_path(h->path, MUX_LISTEN, t);
	else if (is_equal(h->protocol, "hyco-fetch"))
		ok = judge_fetch(h->path, t);
	else
		return err_set(e, ERR_USAGE, "the protocol is not known");
	return ok || bad_target(e);
}

enum mux_head_verdict
mux_head_judge_request(
    const struct mux_head *h, struct mux_target *t, struct err *e)
{
	bool ok;

	if (h->too_big || h->repeated) {
		err_set(e, ERR_USAGE,
		    h->too_big ? "the header list is too long"
		               : "a field came twice");
		return MUX_HEAD_BAD;
	}
	if (is_equal(h->method, "GET") && is_equal(h->path, "/login"))
		return MUX_HEAD_LOGIN;
	if (!is_equal(h->method, "CONNECT")) {
		err_set(e, ERR_USAGE, "only CONNECT is served");
		return MUX_HEAD_BAD;
	}
	ok = h->protocol ? judge_extended(h, t, e) : judge_tcp(h, t, e);
	return ok ? MUX_HEAD_CHANNEL : MUX_HEAD_BAD;
}

/* "user:password" in place; false if there is no colon or a NUL is inside. */
static bool
split_credentials(char *plain, size_t n, char **user, char **password)
{
	char *colon = memchr(plain, ':', n);

	plain[n] = '\0';
	if (!colon || strlen(plain) != n)
		return false;
	*user = mem_strndup(plain, (size_t)(colon - plain));
	*password = mem_strdup(colon + 1);
	return true;
}

bool
mux_head_judge_login(const struct mux_head *h, char **user, char **password)
{
	const size_t most = MUX_HEAD_USER_MAX + MUX_HEAD_PASSWORD_MAX + 1;
	const char *coded;
	char *plain;
	size_t n, coded_len;
	bool ok;

	*user = *password = NULL;
	if (!h->authorization)
		return true;
	if (!text_has_prefix_nocase(h->authorization, "Basic "))
		return false;
	coded = h->authorization + strlen("Basic ");
	coded += strspn(coded, " ");
	coded_len = strlen(coded);
	if (coded_len > (most + 2) / 3 * 4)
		return false;
	plain = mem_alloc(coded_len * 3 / 4 + 4);
	ok = text_base64_decode(coded, coded_len, (uint8_t *)plain, &n) &&
	     split_credentials(plain, n, user, password);
	mem_wipe(plain, coded_len * 3 / 4 + 4);
	free(plain);
	return ok;
}

/* --- judging answers: Proxy-Status --- */

static const char *
skip_blanks(const char *s)
{
	return s + strspn(s, " \t");
}

/* Reads one bare item or string from s into out (cut to size); returns what is
 * behind it. */
static const char *
read_item(const char *s, char *out, size_t size)
{
	size_t n = 0;

	if (*s != '"') {
		for (; *s && !strchr(",; \t=", *s); s++)
			if (n + 1 < size)
				out[n++] = *s;
		out[n] = '\0';
		return s;
	}
	for (s++; *s && *s != '"'; s++) {
		if (*s == '\\' && s[1])
			s++;
		if (n + 1 < size)
			out[n++] = *s;
	}
	out[n] = '\0';
	return *s ? s + 1 : s;
}

/* The first error and details that stand in the list, whoever said it: our
 * listener is the only proxy of the chain. */
static void
parse_proxy_status(
    const char *s, char *type, size_t type_size, char *details, size_t size)
{
	char name[32], value[MUX_HEAD_DETAILS_MAX + 1];

	type[0] = details[0] = '\0';
	while (*s) {
		const char *before = s;

		s = read_item(skip_blanks(s), name, sizeof name);
		s = skip_blanks(s);
		value[0] = '\0';
		if (*s == '=')
			s = skip_blanks(read_item(s + 1, value, sizeof value));
		if (strcmp(name, "error") == 0 && !type[0])
			snprintf(type, type_size, "%.63s", value);
		else if (strcmp(name, "details") == 0 && !details[0])
			text_escape(value, strlen(value), details, size);
		if (*s == ',' && type[0])
			return;
		if (*s == ',' || *s == ';' || s == before)
			s++;
	}
}

static const struct refusal *
find_refusal(const char *type)
{
	if (strcmp(type, "dns_error") == 0)
		return &refusals[MUX_REFUSED_NAME];
	for (size_t i = 0; i < REFUSALS; i++)
		if (strcmp(refusals[i].type, type) == 0)
			return &refusals[i];
	return NULL;
}

bool
mux_head_judge_answer(const struct mux_head *h, struct err *e)
{
	const struct refusal *why;
	char type[64], details[MUX_HEAD_DETAILS_MAX * 4 + 1];

	if (h->status == 200 && !h->too_big)
		return true;
	parse_proxy_status(h->proxy_status ? h->proxy_status : "", type,
	    sizeof type, details, MUX_HEAD_DETAILS_MAX);
	why = find_refusal(type);
	if (h->too_big)
		err_set(e, ERR_PROTOCOL,
		    "the listener's answer has too long a header list");
	else if (why)
		err_set(e, why->code, "%s%s%s", why->words,
		    details[0] ? ": " : "", details);
	else
		err_set(e,
		    h->status == 403   ? ERR_DENIED
		    : h->status == 504 ? ERR_TIMEOUT
		    : h->status == 502 ? ERR_UNREACHABLE
		                       : ERR_REFUSED,
		    "the listener answered %d%s%s", h->status,
		    details[0] ? ": " : "", details);
	if (e)
		e->http_status = h->status;
	return false;
}

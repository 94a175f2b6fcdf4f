/* SPDX-License-Identifier: MIT
 *
 * JSON in and out. What arrives is bounded before jansson sees it: by length,
 * and by depth, since its own limit is thousands deep.
 */
#include "hc/hc_message.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hc/hc_token.h"
#include "hc/hc_url.h"
#include "net/http1.h"
#include "util/buf.h"
#include "util/err.h"
#include "util/mem.h"
#include "util/text.h"

#define NAME_MAX_SHOWN 64

/* --- reading --- */

/* Whether brackets nest within the limit; a scan that knows strings only. */
static bool
is_shallow(const char *s, size_t n)
{
	bool in_string = false;
	int depth = 0;

	for (size_t i = 0; i < n; i++) {
		if (in_string) {
			if (s[i] == '\\')
				i++;
			else if (s[i] == '"')
				in_string = false;
		} else if (s[i] == '"') {
			in_string = true;
		} else if (s[i] == '{' || s[i] == '[') {
			if (++depth > HC_MESSAGE_DEPTH_MAX)
				return false;
		} else if (s[i] == '}' || s[i] == ']') {
			depth--;
		}
	}
	return true;
}

static bool
is_clean(const char *s)
{
	for (; *s; s++) {
		if (((uint8_t)*s < ' ' && *s != '\t') || *s == 0x7f)
			return false;
	}
	return true;
}

/* The text of a header value; NULL for what cannot be one. */
static char *
value_text(const json_t *value)
{
	switch (json_typeof(value)) {
	case JSON_STRING:
		return mem_strdup(json_string_value(value));
	case JSON_INTEGER:
		return mem_printf(
		    "%" JSON_INTEGER_FORMAT, json_integer_value(value));
	case JSON_REAL:
		return mem_printf("%.15g", json_real_value(value));
	case JSON_TRUE:
		return mem_strdup("true");
	case JSON_FALSE:
		return mem_strdup("false");
	default:
		return NULL;
	}
}

static bool
read_fields(const json_t *headers, struct hc_message_accept *m, struct err *e)
{
	const size_t n = json_object_size(headers);
	const char *name;
	json_t *value;

	if (n > HC_MESSAGE_FIELDS_MAX)
		return err_set(e, ERR_TOO_BIG,
		    "accept has more than %d header fields",
		    HC_MESSAGE_FIELDS_MAX);
	m->fields = mem_zalloc(n * sizeof *m->fields);
	json_object_foreach((json_t *)headers, name, value)
	{
		char *text = value_text(value);

		if (!text || !*name || !is_clean(name) || !is_clean(text)) {
			free(text);
			continue;
		}
		m->fields[m->n_fields].name = mem_strdup(name);
		m->fields[m->n_fields++].value = text;
	}
	return true;
}

/* The member's text, or a copy of "". */
static char *
take_text(const json_t *object, const char *name, size_t max)
{
	const char *text = json_string_value(json_object_get(object, name));

	if (!text || strlen(text) > max || !is_clean(text))
		text = "";
	return mem_strdup(text);
}

static bool
read_accept(const json_t *body, struct hc_message_accept *m, struct err *e)
{
	const json_t *remote = json_object_get(body, "remoteEndpoint");
	json_int_t port = json_integer_value(json_object_get(remote, "port"));

	m->address = take_text(body, "address", HC_URL_MAX);
	m->id = take_text(body, "id", HC_MESSAGE_ID_MAX);
	m->remote_address = take_text(remote, "address", 64);
	m->remote_port = port > 0 && port < 65536 ? (uint16_t)port : 0;
	if (!*m->address)
		return err_set(e, ERR_PROTOCOL, "accept has no address");
	return read_fields(json_object_get(body, "connectHeaders"), m, e);
}

static bool
read_renew_token(
    const json_t *body, struct hc_message_renew_token *m, struct err *e)
{
	m->token = take_text(body, "token", HC_TOKEN_MAX);
	if (!*m->token)
		return err_set(e, ERR_PROTOCOL, "renewToken has no token");
	return true;
}

static bool
read_command(const json_t *root, struct hc_message *m, struct err *e)
{
	const json_t *body;
	const char *name = "";
	char shown[NAME_MAX_SHOWN];

	body = json_object_get(root, "accept");
	if (json_is_object(body)) {
		m->kind = HC_MESSAGE_ACCEPT;
		return read_accept(body, &m->accept, e);
	}
	body = json_object_get(root, "renewToken");
	if (json_is_object(body)) {
		m->kind = HC_MESSAGE_RENEW_TOKEN;
		return read_renew_token(body, &m->renew_token, e);
	}
	m->kind = HC_MESSAGE_UNKNOWN;
	if (json_object_size(root) > 0)
		name = json_object_iter_key(json_object_iter((json_t *)root));
	text_escape(name, strlen(name), shown, sizeof shown);
	m->unknown.name = mem_strdup(shown);
	return true;
}

bool
hc_message_parse(
    struct hc_message *m, const void *data, size_t len, struct err *e)
{
	json_error_t why;
	json_t *root;
	bool is_good;

	memset(m, 0, sizeof *m);
	m->kind = HC_MESSAGE_UNKNOWN;
	if (len > HC_MESSAGE_MAX)
		return err_set(e, ERR_TOO_BIG,
		    "message is longer than %zu bytes", HC_MESSAGE_MAX);
	if (!is_shallow(data, len))
		return err_set(e, ERR_TOO_BIG, "message is nested too deeply");
	root = json_loadb(data, len, 0, &why);
	if (!root)
		return err_set(e, ERR_PROTOCOL,
		    "message is no JSON (line %d, column %d)", why.line,
		    why.column);
	is_good = json_is_object(root)
	              ? read_command(root, m, e)
	              : err_set(e, ERR_PROTOCOL, "message is no JSON object");
	json_decref(root);
	if (!is_good)
		hc_message_fini(m);
	return is_good;
}

static void
fini_accept(struct hc_message_accept *m)
{
	for (size_t i = 0; i < m->n_fields; i++) {
		free(m->fields[i].name);
		/* A sender's Authorization lies among them. */
		mem_free_secret(m->fields[i].value);
	}
	free(m->fields);
	mem_free_secret(m->address);
	free(m->id);
	free(m->remote_address);
}

void
hc_message_fini(struct hc_message *m)
{
	switch (m->kind) {
	case HC_MESSAGE_ACCEPT:
		fini_accept(&m->accept);
		break;
	case HC_MESSAGE_RENEW_TOKEN:
		mem_free_secret(m->renew_token.token);
		break;
	case HC_MESSAGE_UNKNOWN:
		free(m->unknown.name);
		break;
	}
	memset(m, 0, sizeof *m);
	m->kind = HC_MESSAGE_UNKNOWN;
}

/* --- writing --- */

/* A JSON text; bytes that are no UTF-8 are read as Latin-1, which is what HTTP
 * fields once were. */
static json_t *
make_text(const char *s)
{
	const size_t n = strlen(s);
	struct buf b;
	char *wide;
	json_t *text;

	if (text_is_utf8((const uint8_t *)s, n))
		return json_stringn(s, n);
	buf_init(&b, 2 * n + 1);
	for (; *s; s++) {
		const uint8_t c = (uint8_t)*s;
		const uint8_t pair[2] = {
		    (uint8_t)(0xc0 | c >> 6), (uint8_t)(0x80 | (c & 0x3f))};

		if (c < 0x80)
			buf_append(&b, s, 1);
		else
			buf_append(&b, pair, 2);
	}
	wide = buf_take_text(&b);
	text = json_string(wide);
	free(wide);
	return text;
}

static const char *
find_key(json_t *object, const char *name)
{
	const char *key;
	json_t *value;

	json_object_foreach(object, key, value)
	{
		if (text_is_equal_nocase(key, name))
			return key;
	}
	return NULL;
}

static void
add_field(json_t *headers, const struct http1_field *field)
{
	const char *key = find_key(headers, field->name);
	json_t *value = make_text(field->value);
	char *joined;

	if (!key) {
		json_object_set_new(headers, field->name, value);
		return;
	}
	joined = mem_printf("%s, %s",
	    json_string_value(json_object_get(headers, key)),
	    json_string_value(value));
	json_decref(value);
	json_object_set_new(headers, key, json_string(joined));
	mem_free_secret(joined);
}

static json_t *
make_headers(const struct hc_message_accept *m)
{
	json_t *headers = json_object();

	for (size_t i = 0; i < m->n_fields; i++) {
		if (!text_is_equal_nocase(
		        m->fields[i].name, "ServiceBusAuthorization"))
			add_field(headers, &m->fields[i]);
	}
	return headers;
}

/* Appends {"name":body}; takes body. */
static bool
append(struct buf *out, const char *name, json_t *body, struct err *e)
{
	json_t *root = json_object();
	char *text;
	size_t n;
	bool is_done;

	json_object_set_new(root, name, body);
	text = json_dumps(root, JSON_COMPACT);
	json_decref(root);
	n = text ? strlen(text) : HC_MESSAGE_MAX + 1;
	is_done = n <= HC_MESSAGE_MAX && buf_append(out, text, n);
	mem_free_secret(text);
	if (!is_done) {
		err_set(e, ERR_TOO_BIG,
		    "the %s message is longer than %zu bytes", name,
		    HC_MESSAGE_MAX);
		if (e)
			e->http_status = 431;
	}
	return is_done;
}

bool
hc_message_build_accept(
    struct buf *out, const struct hc_message_accept *m, struct err *e)
{
	const char *ip = m->remote_address && *m->remote_address
	                     ? m->remote_address
	                     : "0.0.0.0";
	json_t *remote = json_object();
	json_t *body = json_object();

	json_object_set_new(body, "address", make_text(m->address));
	json_object_set_new(body, "id", make_text(m->id));
	json_object_set_new(body, "connectHeaders", make_headers(m));
	json_object_set_new(remote, "address", make_text(ip));
	json_object_set_new(remote, "port", json_integer(m->remote_port));
	json_object_set_new(body, "remoteEndpoint", remote);
	return append(out, "accept", body, e);
}

bool
hc_message_build_renew_token(struct buf *out, const char *token, struct err *e)
{
	json_t *body = json_object();

	json_object_set_new(body, "token", make_text(token));
	return append(out, "renewToken", body, e);
}

/* --- statuses --- */

static const char *const status_words[] = {
    [HC_MESSAGE_STATUS_READY] = "ready",
    [HC_MESSAGE_STATUS_ERROR] = "error",
};

static bool
read_status(struct hc_message_status *s, const json_t *root, struct err *e)
{
	const char *word = json_string_value(json_object_get(root, "status"));
	const char *details =
	    json_string_value(json_object_get(root, "details"));

	if (!word)
		return err_set(e, ERR_PROTOCOL, "status has no \"status\"");
	s->kind = HC_MESSAGE_STATUS_OTHER;
	for (size_t i = 0; i < sizeof status_words / sizeof *status_words; i++)
		if (strcmp(word, status_words[i]) == 0)
			s->kind = (enum hc_message_status_kind)i;
	s->half_close = json_is_true(json_object_get(root, "halfClose"));
	if (details)
		text_escape(
		    details, strlen(details), s->details, sizeof s->details);
	return true;
}

bool
hc_message_parse_status(
    struct hc_message_status *s, const void *data, size_t len, struct err *e)
{
	json_error_t why;
	json_t *root;
	bool is_good;

	memset(s, 0, sizeof *s);
	if (len > HC_MESSAGE_STATUS_MAX || !is_shallow(data, len))
		return err_set(e, ERR_TOO_BIG,
		    "status is longer than %zu bytes or nested too deeply",
		    HC_MESSAGE_STATUS_MAX);
	root = json_loadb(data, len, JSON_REJECT_DUPLICATES, &why);
	if (!root)
		return err_set(e, ERR_PROTOCOL,
		    "status is no JSON (line %d, column %d)", why.line,
		    why.column);
	is_good = read_status(s, root, e);
	json_decref(root);
	return is_good;
}

void
hc_message_build_status(struct buf *out, const struct hc_message_status *s)
{
	json_t *root = json_object();
	char *text;

	json_object_set_new(root, "status", json_string(status_words[s->kind]));
	json_object_set_new(root, "details", make_text(s->details));
	if (s->half_close)
		json_object_set_new(root, "halfClose", json_true());
	text = json_dumps(root, JSON_COMPACT);
	json_decref(root);
	buf_append_text(out, text);
	free(text);
}

/* SPDX-License-Identifier: MIT
 *
 * What a sender may say is small: two numbers' worth of query and one header.
 * The original took any of it for anything (a port that is a path, a user that
 * is a property of every object); so each value here has one spelling, and an
 * item that comes twice is refused, since two readers could take two different
 * ones.
 */
#include "tunnel/way_sample_wire.h"

#include <stdlib.h>
#include <string.h>

#include "util/buf.h"
#include "util/err.h"
#include "util/mem.h"
#include "util/text.h"

#define VALUE_MAX ((size_t)1024)
#define BASIC_MAX (WAY_SAMPLE_WIRE_USER_MAX + 1 + WAY_SAMPLE_WIRE_PASSWORD_MAX)

enum item { ITEM_PORT, ITEM_HOST, ITEM_CHECK, ITEM_COUNT };

static const char *const item_names[ITEM_COUNT] = {
    [ITEM_PORT] = "port",
    [ITEM_HOST] = "host",
    [ITEM_CHECK] = "check",
};

static bool
refuse(struct err *e, int status, const char *what, const char *why)
{
	err_set(e, ERR_USAGE, "%s %s", what, why);
	if (e != NULL)
		e->http_status = status;
	return false;
}

static int
find_item(const struct hc_url_item *item)
{
	for (int i = 0; i < ITEM_COUNT; i++)
		if (item->name.len == strlen(item_names[i]) &&
		    text_is_equal_nocase_n(
		        item->name.at, item_names[i], item->name.len))
			return i;
	return ITEM_COUNT;
}

/* The values of our items, decoded; the caller frees them also on failure. */
static bool
read_items(char *values[ITEM_COUNT], struct hc_url_view query, struct err *e)
{
	struct hc_url_item item;

	while (hc_url_next(&query, &item)) {
		int i = find_item(&item);
		struct buf value;

		if (i == ITEM_COUNT)
			continue;
		if (values[i] != NULL)
			return refuse(
			    e, 400, item_names[i], "was given more than once");
		if (item.value.at == NULL)
			return refuse(e, 400, item_names[i], "has no value");
		buf_init(&value, VALUE_MAX);
		if (!text_percent_decode(
		        &value, item.value.at, item.value.len, true)) {
			buf_fini(&value);
			return refuse(e, 400, item_names[i], "is malformed");
		}
		values[i] = buf_take_text(&value);
	}
	return true;
}

static bool
read_host(struct hostport *h, const char *text, struct err *e)
{
	size_t n = strlen(text);
	struct addr ip;

	if (n >= 2 && text[0] == '[' && text[n - 1] == ']') {
		text++;
		n -= 2;
	}
	if (n == 0 || n > HOST_MAX)
		return refuse(
		    e, 400, "host", n == 0 ? "is empty" : "is too long");
	memcpy(h->host, text, n);
	h->host[n] = '\0';
	if (strchr(h->host, ':') != NULL ? !addr_from_ip(&ip, h->host, 1)
	                                 : !host_is_valid(h->host))
		return refuse(e, 400, "host", "is no host name or address");
	return true;
}

static bool
read_destination(
    struct way_sample_wire_query *q, char *const *values, struct err *e)
{
	const char *port = values[ITEM_PORT];
	const char *host = values[ITEM_HOST];

	if (port == NULL && host == NULL)
		return true;
	if (port == NULL)
		return refuse(e, 400, "host", "was given without a port");
	if (!text_parse_port(port, &q->destination.port))
		return refuse(
		    e, 400, "port", "is not a number from 1 to 65535");
	q->has_destination = true;
	return read_host(&q->destination, host != NULL ? host : "127.0.0.1", e);
}

static bool
judge_items(struct way_sample_wire_query *q, char *const *values, struct err *e)
{
	if (values[ITEM_CHECK] == NULL)
		return read_destination(q, values, e);
	if (strcmp(values[ITEM_CHECK], "login") != 0)
		return refuse(e, 400, "check", "asks for what is not known");
	q->is_login = true;
	return true;
}

bool
way_sample_wire_parse_query(struct way_sample_wire_query *q, const char *suffix,
    struct hc_url_view query, struct err *e)
{
	char *values[ITEM_COUNT] = {NULL};
	bool ok;

	memset(q, 0, sizeof(*q));
	if (suffix[0] != '\0' && strcmp(suffix, "/") != 0 &&
	    strcmp(suffix, "/tunnel") != 0)
		return refuse(e, 404, "the path behind the hybrid connection",
		    "must be /tunnel or nothing");
	ok = read_items(values, query, e) && judge_items(q, values, e);
	for (int i = 0; i < ITEM_COUNT; i++)
		free(values[i]);
	return ok;
}

/* port=0 keeps the original server alive: an absent port kills it, and this one
 * fails after it has checked the password. */
void
way_sample_wire_build_query(struct buf *out, const struct hostport *destination)
{
	if (destination == NULL) {
		buf_append_text(out, "port=0&check=login");
		return;
	}
	buf_printf(out, "port=%u&host=", (unsigned)destination->port);
	text_percent_encode(out, destination->host, strlen(destination->host));
}

static bool
has_control(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
			return true;
	return false;
}

static bool
split_login(struct way_sample_wire_login *login, const char *text, size_t n,
    struct err *e)
{
	const char *colon = memchr(text, ':', n);
	size_t user_len, password_len;

	if (colon == NULL)
		return refuse(e, 400, "Authorization", "has no colon");
	user_len = (size_t)(colon - text);
	password_len = n - user_len - 1;
	if (user_len > WAY_SAMPLE_WIRE_USER_MAX ||
	    password_len > WAY_SAMPLE_WIRE_PASSWORD_MAX)
		return refuse(e, 400, "Authorization", "is too long");
	if (has_control(text, n))
		return refuse(e, 400, "Authorization", "holds control bytes");
	memcpy(login->user, text, user_len);
	memcpy(login->password, colon + 1, password_len);
	return true;
}

bool
way_sample_wire_parse_basic(
    struct way_sample_wire_login *login, const char *field, struct err *e)
{
	uint8_t text[BASIC_MAX + 8];
	size_t encoded, n = 0;
	bool ok;

	memset(login, 0, sizeof(*login));
	if (!text_has_prefix_nocase(field, "Basic "))
		return refuse(e, 400, "Authorization", "is not Basic");
	field += strlen("Basic ");
	field += strspn(field, " ");
	encoded = strlen(field);
	if (encoded > text_base64_size(BASIC_MAX))
		return refuse(e, 400, "Authorization", "is too long");
	if (!text_base64_decode(field, encoded, text, &n)) {
		mem_wipe(text, sizeof(text));
		return refuse(e, 400, "Authorization", "is not base64");
	}
	ok = split_login(login, (char *)text, n, e);
	mem_wipe(text, sizeof(text));
	return ok;
}

static bool
check_login(const char *user, const char *password, struct err *e)
{
	if (strchr(user, ':') != NULL)
		return err_set(e, ERR_USAGE, "a user name cannot hold a colon");
	if (has_control(user, strlen(user)) ||
	    has_control(password, strlen(password)))
		return err_set(e, ERR_USAGE,
		    "user name and password cannot hold control bytes");
	if (strlen(user) > WAY_SAMPLE_WIRE_USER_MAX)
		return err_set(e, ERR_USAGE,
		    "the user name is longer than %d bytes",
		    WAY_SAMPLE_WIRE_USER_MAX);
	if (strlen(password) > WAY_SAMPLE_WIRE_PASSWORD_MAX)
		return err_set(e, ERR_USAGE,
		    "the password is longer than %d bytes",
		    WAY_SAMPLE_WIRE_PASSWORD_MAX);
	return true;
}

char *
way_sample_wire_build_basic(
    const char *user, const char *password, struct err *e)
{
	char *text, *field;
	size_t n;

	if (!check_login(user, password, e))
		return NULL;
	text = mem_printf("%s:%s", user, password);
	n = strlen(text);
	field = mem_alloc(strlen("Basic ") + text_base64_size(n));
	/* NOLINTNEXTLINE(bugprone-not-null-terminated-result): more follows */
	memcpy(field, "Basic ", strlen("Basic "));
	text_base64_encode(text, n, field + strlen("Basic "));
	mem_free_secret(text);
	return field;
}

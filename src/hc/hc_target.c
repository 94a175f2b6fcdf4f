/* SPDX-License-Identifier: MIT
 *
 * What people type about a relay, checked once and early. Error texts name the
 * item and never quote a value: a slip of the hand can put the key where a name
 * belongs, and the texts reach logs.
 */
#include "hc/hc_target.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hc/hc_token.h"
#include "hc/hc_url.h"
#include "util/buf.h"
#include "util/err.h"
#include "util/mem.h"
#include "util/text.h"

#define CONNECTION_STRING_MAX (HC_TOKEN_MAX + 4096)

void
hc_target_init(struct hc_target *t)
{
	memset(t, 0, sizeof *t);
}

void
hc_target_fini(struct hc_target *t)
{
	free(t->host);
	free(t->path);
	free(t->key_name);
	mem_free_secret(t->key);
	mem_free_secret(t->token);
	hc_target_init(t);
}

static char *
copy(const char *s)
{
	return s ? mem_strdup(s) : NULL;
}

void
hc_target_copy(struct hc_target *dst, const struct hc_target *src)
{
	*dst = (struct hc_target){
	    .host = copy(src->host),
	    .port = src->port,
	    .path = copy(src->path),
	    .key_name = copy(src->key_name),
	    .key = copy(src->key),
	    .token = copy(src->token),
	};
}

/* --- single items --- */

/* A trimmed copy; NULL when it is empty, too long, or holds control bytes. */
static char *
take_item(const char *text, size_t max)
{
	char *whole, *item, *at;

	/* What is trimmed may be as long again. */
	if (strnlen(text, 2 * max + 1) > 2 * max)
		return NULL;
	whole = mem_strdup(text);
	at = text_trim(whole);
	item = *at && strlen(at) <= max ? mem_strdup(at) : NULL;
	mem_free_secret(whole);
	for (at = item; at && *at; at++) {
		if ((uint8_t)*at < ' ' || *at == 0x7f) {
			mem_free_secret(item);
			return NULL;
		}
	}
	return item;
}

/* The host and port in a URL-like text; changes it. */
static bool
parse_namespace(char *text, struct hostport *at)
{
	static const char *const schemes[] = {"sb://", "https://", "wss://"};
	size_t n;

	for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
		if (text_has_prefix_nocase(text, schemes[i])) {
			text += strlen(schemes[i]);
			break;
		}
	}
	for (n = strlen(text); n > 0 && text[n - 1] == '/'; n--)
		text[n - 1] = '\0';
	return hostport_parse(at, text, HC_TARGET_PORT, NULL) && at->port != 0;
}

bool
hc_target_set_namespace(struct hc_target *t, const char *text, struct err *e)
{
	char *item = take_item(text, HOST_MAX + 32);
	struct hostport at;
	bool is_good = item && parse_namespace(item, &at);

	free(item);
	if (!is_good)
		return err_set(e, ERR_USAGE,
		    "the namespace is not a host or host:port, such as "
		    "contoso.servicebus.windows.net");
	hc_url_lower(at.host);
	free(t->host);
	t->host = mem_strdup(at.host);
	t->port = at.port;
	return true;
}

/* Segments of harmless characters with something in each, none of them "." or
 * "..", which a proxy would resolve. */
static bool
is_path(const char *s)
{
	for (;;) {
		const size_t n = strspn(s, HC_URL_UNRESERVED);

		if (n == 0 || (n <= 2 && strspn(s, ".") == n))
			return false;
		if (s[n] != '/')
			return s[n] == '\0';
		s += n + 1;
	}
}

bool
hc_target_set_path(struct hc_target *t, const char *text, struct err *e)
{
	char *item = take_item(text, HC_TARGET_PATH_MAX + 2);
	char *at = item;
	size_t n;

	while (at && *at == '/')
		at++;
	for (n = at ? strlen(at) : 0; n > 0 && at[n - 1] == '/'; n--)
		at[n - 1] = '\0';
	if (!at || n > HC_TARGET_PATH_MAX || !is_path(at)) {
		free(item);
		return err_set(e, ERR_USAGE,
		    "the path is not the name of a hybrid connection: "
		    "letters, digits and . _ - ~ / only, at most %d "
		    "characters",
		    HC_TARGET_PATH_MAX);
	}
	free(t->path);
	t->path = mem_strdup(at);
	free(item);
	return true;
}

static void
drop_token(struct hc_target *t)
{
	mem_free_secret(t->token);
	t->token = NULL;
}

bool
hc_target_set_key_name(struct hc_target *t, const char *text, struct err *e)
{
	char *item = take_item(text, HC_TARGET_KEY_NAME_MAX);

	if (!item)
		return err_set(e, ERR_USAGE,
		    "the key name is empty or longer than %d characters",
		    HC_TARGET_KEY_NAME_MAX);
	free(t->key_name);
	t->key_name = item;
	drop_token(t);
	return true;
}

bool
hc_target_set_key(struct hc_target *t, const char *text, struct err *e)
{
	char *item = take_item(text, HC_TARGET_KEY_MAX);

	if (!item)
		return err_set(e, ERR_USAGE,
		    "the key is empty or longer than %d characters",
		    HC_TARGET_KEY_MAX);
	mem_free_secret(t->key);
	t->key = item;
	drop_token(t);
	return true;
}

bool
hc_target_set_token(struct hc_target *t, const char *text, struct err *e)
{
	char *item = take_item(text, HC_TOKEN_MAX);
	struct hc_token token;
	struct err why;

	if (!item)
		return err_set(e, ERR_USAGE, "the token is empty or too long");
	if (!hc_token_parse(&token, item, &why)) {
		mem_free_secret(item);
		return err_set(e, ERR_USAGE, "%s", why.text);
	}
	hc_token_fini(&token);
	drop_token(t);
	t->token = item;
	free(t->key_name);
	mem_free_secret(t->key);
	t->key_name = t->key = NULL;
	return true;
}

/* --- connection strings --- */

enum part_kind {
	ENDPOINT,
	KEY_NAME,
	KEY,
	SIGNATURE,
	ENTITY_PATH,
	OPERATION_TIMEOUT,
	AUTHENTICATION,
	PART_COUNT
};

static const char *const part_names[PART_COUNT] = {
    [ENDPOINT] = "Endpoint",
    [KEY_NAME] = "SharedAccessKeyName",
    [KEY] = "SharedAccessKey",
    [SIGNATURE] = "SharedAccessSignature",
    [ENTITY_PATH] = "EntityPath",
    [OPERATION_TIMEOUT] = "OperationTimeout",
    [AUTHENTICATION] = "Authentication",
};

/* Whether one slip (a letter wrong, missing, too many) lies between a and b. */
static bool
is_nearly(const char *a, const char *b)
{
	const size_t na = strlen(a), nb = strlen(b);
	size_t front = 0;

	if (na > nb + 1 || nb > na + 1)
		return false;
	while (a[front] && b[front] &&
	       text_is_equal_nocase_n(a + front, b + front, 1))
		front++;
	if (na > nb)
		return text_is_equal_nocase(a + front + 1, b + front);
	if (nb > na)
		return text_is_equal_nocase(a + front, b + front + 1);
	return text_is_equal_nocase(a + front + 1, b + front + 1);
}

/* The name as written might be a key that lost its own name: it is not quoted,
 * only its place is told. */
static bool
unknown_part(int number, const char *name, struct err *e)
{
	for (int i = 0; i < PART_COUNT; i++) {
		if (is_nearly(name, part_names[i]))
			return err_set(e, ERR_USAGE,
			    "the name of part %d is not "
			    "known; is %s meant?",
			    number, part_names[i]);
	}
	return err_set(e, ERR_USAGE,
	    "the name of part %d is not known; known are "
	    "Endpoint, EntityPath, SharedAccessKeyName, SharedAccessKey and "
	    "SharedAccessSignature",
	    number);
}

static bool
take_part(char *part, int number, const char *values[PART_COUNT], struct err *e)
{
	char *value = strchr(part, '=');

	if (!value)
		return err_set(
		    e, ERR_USAGE, "part %d is not Name=value", number);
	*value++ = '\0';
	part = text_trim(part);
	for (int i = 0; i < PART_COUNT; i++) {
		if (!text_is_equal_nocase(part, part_names[i]))
			continue;
		if (values[i])
			return err_set(
			    e, ERR_USAGE, "%s is given twice", part_names[i]);
		values[i] = text_trim(value);
		return true;
	}
	return unknown_part(number, part, e);
}

static bool
split_parts(char *text, const char *values[PART_COUNT], struct err *e)
{
	int number = 0;

	for (char *next, *part = text; part; part = next) {
		next = strchr(part, ';');
		if (next)
			*next++ = '\0';
		part = text_trim(part);
		if (!*part)
			continue;
		number++;
		if (!take_part(part, number, values, e))
			return false;
	}
	return true;
}

static bool
check_parts(const char *const values[PART_COUNT], struct err *e)
{
	const char *why = NULL;

	if (values[SIGNATURE] && (values[KEY_NAME] || values[KEY]))
		why = "SharedAccessSignature excludes SharedAccessKeyName and "
		      "SharedAccessKey";
	else if (!values[KEY_NAME] != !values[KEY])
		why = "SharedAccessKeyName and SharedAccessKey belong together";
	else if (values[AUTHENTICATION])
		why = "Authentication is not supported here; give a key or a "
		      "SharedAccessSignature";
	else if (!values[ENDPOINT])
		why = "Endpoint=sb://host/ is missing";
	else if (!text_has_prefix_nocase(values[ENDPOINT], "sb://") &&
	         !text_has_prefix_nocase(values[ENDPOINT], "https://") &&
	         !text_has_prefix_nocase(values[ENDPOINT], "wss://"))
		why = "Endpoint is no URL such as sb://host/";
	return why ? err_set(e, ERR_USAGE, "%s", why) : true;
}

static bool
set_parts(
    struct hc_target *t, const char *const values[PART_COUNT], struct err *e)
{
	return hc_target_set_namespace(t, values[ENDPOINT], e) &&
	       (!values[ENTITY_PATH] ||
	           hc_target_set_path(t, values[ENTITY_PATH], e)) &&
	       (!values[KEY_NAME] ||
	           hc_target_set_key_name(t, values[KEY_NAME], e)) &&
	       (!values[KEY] || hc_target_set_key(t, values[KEY], e)) &&
	       (!values[SIGNATURE] ||
	           hc_target_set_token(t, values[SIGNATURE], e));
}

bool
hc_target_parse_connection_string(
    struct hc_target *t, const char *text, struct err *e)
{
	const char *values[PART_COUNT] = {NULL};
	char *copied;
	size_t n;
	bool is_good;

	n = strnlen(text, CONNECTION_STRING_MAX + 1);
	if (n > CONNECTION_STRING_MAX)
		return err_set(
		    e, ERR_USAGE, "the connection string is too long");
	copied = mem_strdup(text);
	is_good = split_parts(copied, values, e) && check_parts(values, e);
	if (is_good && !set_parts(t, values, e)) {
		is_good = false;
		hc_target_fini(t);
	}
	/* It was cut into pieces by NULs: wipe all of it. */
	mem_wipe(copied, n);
	free(copied);
	return is_good;
}

char *
hc_target_connection_string(const struct hc_target *t)
{
	char host[HOSTPORT_TEXT_MAX];
	char *secret, *text;

	if (t->token)
		secret = mem_printf(";SharedAccessSignature=%s", t->token);
	else if (t->key_name && t->key)
		secret =
		    mem_printf(";SharedAccessKeyName=%s;SharedAccessKey=%s",
		        t->key_name, t->key);
	else
		secret = mem_strdup("");
	text = mem_printf("Endpoint=sb://%s/%s%s%s",
	    hc_target_host_header(t, host), secret,
	    t->path ? ";EntityPath=" : "", t->path ? t->path : "");
	mem_free_secret(secret);
	return text;
}

/* --- together --- */

void
hc_target_fill(struct hc_target *t, const struct hc_target *from)
{
	const bool had_part = t->key_name || t->key;

	if (!t->host && from->host) {
		t->host = copy(from->host);
		t->port = from->port;
	}
	if (!t->path)
		t->path = copy(from->path);
	if (t->token)
		return;
	if (!t->key_name)
		t->key_name = copy(from->key_name);
	if (!t->key)
		t->key = copy(from->key);
	if (!had_part)
		t->token = copy(from->token);
}

static bool
missing(struct err *e, const char *what, const char *remedy)
{
	return err_set(e, ERR_USAGE,
	    "%s is missing: give %s, or a connection "
	    "string (-x or HYCO_CONNECTION_STRING)",
	    what, remedy);
}

bool
hc_target_check(
    const struct hc_target *t, enum hc_target_use use, struct err *e)
{
	if (!t->host)
		return missing(e, "the relay's namespace",
		    "-n HOST[:PORT] or HYCO_NAMESPACE");
	if (!t->path)
		return missing(e, "the path of the hybrid connection",
		    "-p PATH or HYCO_PATH");
	if (t->token)
		return true;
	if (t->key_name && !t->key)
		return missing(
		    e, "the key", "-k KEY, -k @FILE or HYCO_KEY, or --token");
	if (t->key && !t->key_name)
		return missing(e, "the key's name", "-K NAME or HYCO_KEY_NAME");
	if (!t->key && use == HC_TARGET_LISTEN)
		return missing(e, "the key to listen with",
		    "-K NAME and -k @FILE (HYCO_KEY_NAME and HYCO_KEY), or "
		    "--token");
	return true;
}

void
hc_target_address(const struct hc_target *t, struct hostport *out)
{
	snprintf(out->host, sizeof out->host, "%s", t->host);
	out->port = t->port ? t->port : HC_TARGET_PORT;
}

const char *
hc_target_host_header(const struct hc_target *t, char out[HOSTPORT_TEXT_MAX])
{
	struct hostport at;

	hc_target_address(t, &at);
	return hc_url_host_header(&at, out);
}

const char *
hc_target_print(const struct hc_target *t, char out[HC_TARGET_TEXT_MAX])
{
	char host[HOSTPORT_TEXT_MAX];

	snprintf(out, HC_TARGET_TEXT_MAX, "%s/%s",
	    hc_target_host_header(t, host), t->path);
	return out;
}

char *
hc_target_make_token(const struct hc_target *t, int64_t expiry_s)
{
	char *audience, *token;

	if (t->token)
		return mem_strdup(t->token);
	if (!t->key || !t->key_name)
		return NULL;
	audience = hc_token_audience(t->host, t->path);
	token = hc_token_make(audience, t->key_name, t->key, expiry_s);
	free(audience);
	return token;
}

/* SPDX-License-Identifier: MIT
 *
 * Both sides of the opening handshake as questions about a parsed head. The
 * 101 is kept to the few fields that the strictest clients accept: one of them
 * compares the whole Connection value and refuses any entity field.
 */
#include "ws/ws_handshake.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "net/http1.h"
#include "util/buf.h"
#include "util/crypt.h"
#include "util/err.h"
#include "util/mem.h"
#include "util/text.h"

#define WS_GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
#define WS_VERSION "13"
#define KEY_BYTES 16
/* Host, Upgrade, Connection, key, version, subprotocols. */
#define OWN_FIELDS_MAX 6

/* Text from a peer in an error: this much of it, escaped. */
#define SAFE_MAX 200

static struct http1_field
field(const char *name, const char *value)
{
	/* Building only reads them; the struct serves the parser too. */
	return (struct http1_field){
	    (char *)(uintptr_t)name, (char *)(uintptr_t)value};
}

static bool
is_own_field(const char *name)
{
	static const char *const own[] = {"Host", "Upgrade", "Connection",
	    "Content-Length", "Transfer-Encoding"};

	for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) {
		if (text_is_equal_nocase(name, own[i]))
			return true;
	}
	return text_has_prefix_nocase(name, "Sec-WebSocket-");
}

bool
ws_handshake_build_request(struct buf *out, const struct ws_request *r,
    char key[WS_KEY_SIZE], struct err *e)
{
	struct http1_field *fields;
	uint8_t nonce[KEY_BYTES];
	size_t n = 0;
	bool is_built;

	for (size_t i = 0; i < r->n_fields; i++) {
		if (is_own_field(r->fields[i].name))
			return err_set(e, ERR_USAGE,
			    "the field %s belongs to the WebSocket handshake "
			    "and cannot be set",
			    r->fields[i].name);
	}
	crypt_random(nonce, sizeof nonce);
	text_base64_encode(nonce, sizeof nonce, key);
	fields = mem_alloc((OWN_FIELDS_MAX + r->n_fields) * sizeof *fields);
	fields[n++] = field("Host", r->host);
	fields[n++] = field("Upgrade", "websocket");
	fields[n++] = field("Connection", "Upgrade");
	fields[n++] = field("Sec-WebSocket-Key", key);
	fields[n++] = field("Sec-WebSocket-Version", WS_VERSION);
	if (r->protocol)
		fields[n++] = field("Sec-WebSocket-Protocol", r->protocol);
	if (r->n_fields > 0)
		memcpy(fields + n, r->fields, r->n_fields * sizeof *fields);
	is_built = http1_build_request(
	    out, "GET", r->target, fields, n + r->n_fields, e);
	free(fields);
	return is_built;
}

static enum err_code
code_of_status(int status)
{
	switch (status) {
	case 401:
		return ERR_AUTH;
	case 403:
		return ERR_DENIED;
	case 404:
		return ERR_NOT_FOUND;
	case 408:
	case 504:
		return ERR_TIMEOUT;
	default:
		return ERR_REFUSED;
	}
}

static bool
refused(const struct http1_head *h, struct err *e)
{
	char safe[SAFE_MAX];

	text_escape(h->reason, strlen(h->reason), safe, sizeof safe);
	err_set(e, code_of_status(h->status), "answered %d%s%s", h->status,
	    *safe ? " " : "", safe);
	if (e)
		e->http_status = h->status;
	return false;
}

static bool
broken(struct err *e, const char *why)
{
	err_set(e, ERR_PROTOCOL, "answered 101, but %s", why);
	if (e)
		e->http_status = 101;
	return false;
}

/* Whether one of all fields of this name has the token in its list. */
static bool
has_token(const struct http1_head *h, const char *name, const char *token)
{
	for (size_t i = 0; i < h->n_fields; i++) {
		if (text_is_equal_nocase(h->fields[i].name, name) &&
		    text_list_has(h->fields[i].value, token))
			return true;
	}
	return false;
}

/* Subprotocols are compared exactly, and what comes back is one of them. */
static bool
is_offered(const char *offered, const char *chosen)
{
	size_t n;

	for (offered = text_list_first(offered, &n); n > 0;
	     offered = text_list_first(offered + n, &n)) {
		if (n == strlen(chosen) && memcmp(offered, chosen, n) == 0)
			return true;
	}
	return false;
}

static bool
check_protocol(const struct http1_head *h, const char *offered, struct err *e)
{
	static const char name[] = "Sec-WebSocket-Protocol";
	const char *chosen = http1_get(h, name);

	if (!chosen)
		return !offered ||
		       broken(e,
		           "without the subprotocol that was asked for; the "
		           "other side does not know it");
	if (!offered || http1_count(h, name) != 1 ||
	    !is_offered(offered, chosen))
		return broken(e, "with a subprotocol that was not offered");
	return true;
}

bool
ws_handshake_check_response(const struct http1_head *h, const char *key,
    const char *protocol, struct err *e)
{
	const char *accept = http1_get(h, "Sec-WebSocket-Accept");
	char expected[WS_ACCEPT_SIZE];

	if (h->status != 101)
		return refused(h, e);
	if (!has_token(h, "Upgrade", "websocket") ||
	    !has_token(h, "Connection", "upgrade"))
		return broken(e, "without the upgrade to a WebSocket");
	ws_handshake_accept(key, expected);
	if (!accept || http1_count(h, "Sec-WebSocket-Accept") != 1 ||
	    strcmp(accept, expected) != 0)
		return broken(e,
		    "with a wrong Sec-WebSocket-Accept; perhaps a cache or "
		    "proxy answered");
	if (http1_get(h, "Sec-WebSocket-Extensions"))
		return broken(e, "with an extension that was not offered");
	return check_protocol(h, protocol, e);
}

static bool
bad_request(struct err *e, int status, const char *why)
{
	err_set(e, ERR_PROTOCOL, "not a WebSocket request: %s", why);
	if (e)
		e->http_status = status;
	return false;
}

static bool
is_key(const char *key)
{
	uint8_t nonce[WS_KEY_SIZE];
	size_t n;

	return strlen(key) == WS_KEY_SIZE - 1 &&
	       text_base64_decode(key, WS_KEY_SIZE - 1, nonce, &n) &&
	       n == KEY_BYTES;
}

bool
ws_handshake_check_request(const struct http1_head *h, struct err *e)
{
	const char *key = http1_get(h, "Sec-WebSocket-Key");
	const char *version = http1_get(h, "Sec-WebSocket-Version");

	if (strcmp(h->method, "GET") != 0)
		return bad_request(e, 405, "the method must be GET");
	if (h->minor < 1)
		return bad_request(e, 400, "HTTP/1.1 is needed");
	if (http1_count(h, "Host") != 1)
		return bad_request(e, 400, "one Host field is needed");
	if (h->chunked || h->length > 0)
		return bad_request(e, 400, "a body is not allowed");
	if (!has_token(h, "Upgrade", "websocket"))
		return bad_request(e, 426, "Upgrade: websocket is missing");
	if (!has_token(h, "Connection", "upgrade"))
		return bad_request(e, 400, "Connection: Upgrade is missing");
	if (!version || http1_count(h, "Sec-WebSocket-Version") != 1 ||
	    strcmp(version, WS_VERSION) != 0)
		return bad_request(
		    e, 426, "Sec-WebSocket-Version must be " WS_VERSION);
	if (!key || http1_count(h, "Sec-WebSocket-Key") != 1 || !is_key(key))
		return bad_request(
		    e, 400, "Sec-WebSocket-Key must be 16 bytes in base64");
	return true;
}

void
ws_handshake_accept(const char *key, char out[WS_ACCEPT_SIZE])
{
	char text[WS_KEY_SIZE + sizeof WS_GUID];
	uint8_t hash[CRYPT_SHA1_SIZE];
	const size_t n = strlen(key);

	assert(n < WS_KEY_SIZE);
	/* NOLINTNEXTLINE(bugprone-not-null-terminated-result): more follows */
	memcpy(text, key, n);
	memcpy(text + n, WS_GUID, sizeof WS_GUID);
	crypt_sha1(text, n + sizeof WS_GUID - 1, hash);
	text_base64_encode(hash, sizeof hash, out);
}

bool
ws_handshake_build_response(
    struct buf *out, const char *key, const char *protocol, struct err *e)
{
	struct http1_field fields[4];
	char accept[WS_ACCEPT_SIZE];
	size_t n = 0;

	if (protocol && !http1_is_token(protocol))
		return err_set(e, ERR_USAGE, "a subprotocol must be one token");
	ws_handshake_accept(key, accept);
	fields[n++] = field("Upgrade", "websocket");
	fields[n++] = field("Connection", "Upgrade");
	fields[n++] = field("Sec-WebSocket-Accept", accept);
	if (protocol)
		fields[n++] = field("Sec-WebSocket-Protocol", protocol);
	return http1_build_response(
	    out, 101, "Switching Protocols", fields, n, e);
}

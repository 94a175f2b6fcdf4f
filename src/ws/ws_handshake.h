/* SPDX-License-Identifier: MIT
 *
 * The WebSocket opening handshake (RFC 6455, section 4) on both sides, over
 * parsed HTTP heads. Pure. No extension is ever offered or accepted
 * (specification 6.2).
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct buf;
struct err;
struct http1_field;
struct http1_head;

#define WS_KEY_SIZE 25    /* base64 of 16 bytes and a NUL */
#define WS_ACCEPT_SIZE 29 /* base64 of a SHA-1 and a NUL */

struct ws_request {
	const char *host; /* the Host field: "relay.example" or "[::1]:8443" */
	const char *target;               /* "/$hc/path?sb-hc-action=..." */
	const char *protocol;             /* offered subprotocols, or NULL */
	const struct http1_field *fields; /* further fields */
	size_t n_fields;
};

/* Appends the client's request with a fresh key. */
bool ws_handshake_build_request(struct buf *out, const struct ws_request *r,
    char key[WS_KEY_SIZE], struct err *e);

/* Judges the server's answer. Not 101: false with err.http_status, the reason
 * phrase in the text, and the code that fits (401 ERR_AUTH, 403 ERR_DENIED,
 * 404 ERR_NOT_FOUND, 408 and 504 ERR_TIMEOUT, else ERR_REFUSED). A 101 that
 * breaks the rules (wrong accept value, an extension, a subprotocol that was
 * not offered, none when `protocol` was): ERR_PROTOCOL. */
bool ws_handshake_check_response(const struct http1_head *h, const char *key,
    const char *protocol, struct err *e);

/* Judges a client's request: GET, HTTP/1.1, Host, Upgrade, Connection, key of
 * 16 bytes, version 13. err.http_status: 400, 405 or 426. */
bool ws_handshake_check_request(const struct http1_head *h, struct err *e);

void ws_handshake_accept(const char *key, char out[WS_ACCEPT_SIZE]);

/* Appends the server's 101 (exactly Connection, Upgrade, Sec-WebSocket-Accept
 * and, when not NULL, Sec-WebSocket-Protocol). */
bool ws_handshake_build_response(
    struct buf *out, const char *key, const char *protocol, struct err *e);

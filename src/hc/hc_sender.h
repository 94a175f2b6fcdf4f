/* SPDX-License-Identifier: MIT
 *
 * One sender's way to a listener: dials the relay, asks for the hybrid
 * connection with a fresh token, and gives the WebSocket that the relay joins
 * to the listener's. One call, one result.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dialer;
struct err;
struct hc_sender;
struct hc_target;
struct http1_field;
struct loop;
struct ws;
struct ws_options;

#define HC_SENDER_TIMEOUT_MS 70000 /* as .NET and Java have it */

struct hc_sender_options {
	const char *suffix;   /* path behind the entity, as in a URL; NULL */
	const char *query;    /* the user's query, as in a URL; NULL: none */
	const char *protocol; /* offered subprotocols; NULL: none */
	const struct http1_field *fields; /* to reach the listener */
	size_t n_fields;
	uint64_t timeout_ms;  /* for everything; 0: HC_SENDER_TIMEOUT_MS */
	uint64_t token_ttl_s; /* 0: 3600 */
	/* How the WebSocket shall be (client is implied); NULL: no answer to a
	 * Close, texts up to 64 KiB. */
	const struct ws_options *ws;
};

struct hc_sender_events {
	/* The owner gets the WebSocket (stopped, no events yet).
	 * hc_sender_close is still due. */
	void (*on_open)(void *owner, struct ws *w);
	/* err.http_status is the status of the refusal, from the relay or from
	 * the listener (0: no answer at all); the text keeps the reason and
	 * names hop and remedy. ERR_AUTH: 401; ERR_DENIED: 403; ERR_NOT_FOUND:
	 * 404, no listener or no such path; ERR_TIMEOUT: 408, 504 or no answer
	 * in time; ERR_USAGE: fields that may not be sent. */
	void (*on_error)(void *owner, const struct err *err);
};

/* The target has passed hc_target_check. Everything is copied; the dialer must
 * live longer. `o` may be NULL. */
struct hc_sender *hc_sender_open(struct loop *l, struct dialer *d,
    const struct hc_target *t, const struct hc_sender_options *o,
    const struct hc_sender_events *events, void *owner);

/* Whether the listener took a subprotocol that was offered; from on_open on. */
bool hc_sender_has_protocol(const struct hc_sender *s);

/* Gives up, or acknowledges the result. Always due, once. */
void hc_sender_close(struct hc_sender *s);

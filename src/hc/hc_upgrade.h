/* SPDX-License-Identifier: MIT
 *
 * Dialling and the WebSocket handshake in one step with one deadline: what a
 * listener, an accept, a reject and a sender have in common. One call, one
 * result.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/addr.h"

struct dialer;
struct err;
struct hc_upgrade;
struct http1_field;
struct http1_head;
struct loop;
struct ws;
struct ws_options;

struct hc_upgrade_request {
	struct hostport at;
	const char *target;
	const char *protocol; /* NULL: none */
	const struct http1_field *fields;
	size_t n_fields;
	const struct ws_options *ws; /* NULL: see hc_accept.h */
	uint64_t timeout_ms;         /* for everything */
};

struct hc_upgrade_events {
	/* The owner gets the WebSocket. */
	void (*on_open)(void *owner, struct ws *w);
	/* head: the answer that was a refusal, or NULL; valid in the call. */
	void (*on_error)(
	    void *owner, const struct err *err, const struct http1_head *head);
};

/* Everything in r is copied. */
struct hc_upgrade *hc_upgrade_open(struct loop *l, struct dialer *d,
    const struct hc_upgrade_request *r, const struct hc_upgrade_events *events,
    void *owner);

/* Whether the answer took the offered subprotocol; from on_open on. */
bool hc_upgrade_has_protocol(const struct hc_upgrade *u);

/* Gives up, or acknowledges the result. Always due, once. */
void hc_upgrade_close(struct hc_upgrade *u);

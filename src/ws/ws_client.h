/* SPDX-License-Identifier: MIT
 *
 * Opening a WebSocket as a client on a dialled stream: sends the request,
 * judges the answer, gives the WebSocket or an error with the server's status
 * and words.
 */
#pragma once
#include <stdint.h>

#include "ws/ws.h"
#include "ws/ws_handshake.h"

struct http1_head;
struct ws_client;

struct ws_client_events {
	/* The owner gets the WebSocket (stopped, owner not set, events NULL
	 * until ws_set_owner). `head` is the 101, valid during the call. */
	void (*on_open)(
	    void *owner, struct ws *w, const struct http1_head *head);
	/* See ws_handshake_check_response; also ERR_TIMEOUT, ERR_RESET. */
	void (*on_error)(void *owner, const struct err *err);
};

/* Takes `below`. Everything in `r` is copied. `o` tells how the WebSocket shall
 * be (client is implied). NULL, with `below` closed, only when the request
 * itself is not allowed (ERR_USAGE). */
struct ws_client *ws_client_open(struct stream *below,
    const struct ws_request *r, const struct ws_options *o, uint64_t timeout_ms,
    const struct ws_client_events *events, void *owner, struct err *e);

/* The answer's head when the server refused (not 101), for its Date and the
 * like: within on_error and until ws_client_close; NULL when there was none. */
const struct http1_head *ws_client_head(const struct ws_client *c);

/* Gives up, or acknowledges the result. Always due, once. */
void ws_client_close(struct ws_client *c);

/* SPDX-License-Identifier: MIT
 *
 * One sender that waits for a listener. Whoever gets it from hc_listener's
 * on_accept owns it and does exactly one of: hc_accept_open (and
 * hc_accept_close after the result), hc_accept_reject, hc_accept_close (the
 * sender then waits until the relay gives up). It may outlive the listener, but
 * not the dialer. Opening goes to the address the relay gave, as it is: TLS is
 * verified against that host, no token is sent, the one-time address is the
 * right.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hc/hc_url.h"

struct err;
struct hc_accept;
struct hc_accept_room;
struct hc_message_accept;
struct ws;
struct ws_options;

/* The relay keeps an address for 30 s. */
#define HC_ACCEPT_TIMEOUT_MS 20000

/* --- what the sender said; texts live as long as the accept --- */

const char *hc_accept_id(const struct hc_accept *a);

/* The path behind the entity, decoded: "" or "/tunnel". */
const char *hc_accept_suffix(const struct hc_accept *a);

/* A field of the sender's handshake, ignoring case; NULL if absent. */
const char *hc_accept_field(const struct hc_accept *a, const char *name);

/* The value of an item of the sender's query, decoded; NULL if absent. */
const char *hc_accept_query(const struct hc_accept *a, const char *name);

/* The whole query of the accept address, as written, with the service's items:
 * for hc_url_next. Lives as long as the accept. */
struct hc_url_view hc_accept_raw_query(const struct hc_accept *a);

/* The sender's IP as the relay sees it, "" if unknown; its port or 0. */
const char *hc_accept_remote_address(const struct hc_accept *a);
uint16_t hc_accept_remote_port(const struct hc_accept *a);

/* Whether the sender offered this subprotocol. */
bool hc_accept_has_protocol(const struct hc_accept *a, const char *protocol);

/* --- the answer --- */

struct hc_accept_options {
	/* The subprotocol to take. NULL: the first that the sender offered;
	 * "": none. */
	const char *protocol;
	/* How the WebSocket shall be (client is implied); NULL: no answer to a
	 * Close, texts up to 64 KiB. Borrowed for the call. */
	const struct ws_options *ws;
};

struct hc_accept_events {
	/* The owner gets the WebSocket (stopped, no events yet). The accept is
	 * still to be closed. */
	void (*on_open)(void *owner, struct ws *w);
	/* The text names the rendezvous' host. */
	void (*on_error)(void *owner, const struct err *err);
};

/* Joins the sender. Once. */
void hc_accept_open(struct hc_accept *a, const struct hc_accept_options *o,
    const struct hc_accept_events *events, void *owner);

/* Tells the relay to refuse the sender with this status (300..599; 400 if not)
 * and text (may be NULL), and closes the accept: it is dead to the caller. The
 * rest happens in the background; whether it worked nobody cares. After the
 * listener was closed it only closes. Not after hc_accept_open. */
void hc_accept_reject(struct hc_accept *a, int status, const char *text);

/* In any state, once; never after hc_accept_reject. */
void hc_accept_close(struct hc_accept *a);

/* --- for hc_listener --- */

struct dialer;
struct loop;

/* What the accepts of a listener share. The path is copied. */
struct hc_accept_room *hc_accept_room_new(
    struct loop *l, struct dialer *d, const char *path, uint64_t timeout_ms);
/* Drops rejects on their way; accepts in other hands live on. */
void hc_accept_room_close(struct hc_accept_room *room);
/* Calls on_idle(owner) when the last reject on its way is done; false, with no
 * call to come, when none is. */
bool hc_accept_room_wait(
    struct hc_accept_room *room, void (*on_idle)(void *owner), void *owner);

/* Takes the contents of m, also on failure (then m is freed: the address is
 * none, ERR_PROTOCOL). */
struct hc_accept *hc_accept_new(
    struct hc_accept_room *room, struct hc_message_accept *m, struct err *e);

/* SPDX-License-Identifier: MIT
 *
 * One session of a sender with its listener: asks the relay for carriers, lets
 * the listener prove who it is, logs in, and opens channels. It begins when it
 * is opened and ends once, by on_over; it never begins again.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tunnel/way.h"

struct dialer;
struct err;
struct hc_target;
struct loop;
struct mux_budget;
struct mux_target;
struct stream;
struct way_hyco_link;

/* The subprotocol of a carrier. */
#define WAY_HYCO_LINK_PROTOCOL "hyco.tunnel.v1"

/* All is borrowed as long as the link lives, user and password for the call. */
struct way_hyco_link_options {
	struct loop *loop;
	struct dialer *dialer;
	const struct hc_target *target;
	const char *place;             /* NAMESPACE/PATH */
	const struct way_trust *trust; /* NULL: no end-to-end TLS */
	const char *user;              /* NULL: nameless */
	const char *password;
	struct mux_budget *budget;
	uint16_t window_s;
	uint64_t timeout_ms; /* until it is ready */
};

struct way_hyco_link_events {
	/* Logged in: channels can be opened. */
	void (*on_ready)(void *owner);
	/* It is over: by the first failure before it was ready, or later by the
	 * loss of the session; err NULL: in good order. All channels have been
	 * told. */
	void (*on_over)(
	    void *owner, const struct err *err, enum way_refusal refusal);
};

struct way_hyco_link *way_hyco_link_open(const struct way_hyco_link_options *o,
    const struct way_hyco_link_events *events, void *owner);

/* Ready, the listener does not drain, and is not gone: a session that only it
 * knows may have died with it, so new channels are better off in another one.
 */
bool way_hyco_link_is_usable(const struct way_hyco_link *k);
size_t way_hyco_link_channels(const struct way_hyco_link *k);

/* See mux_connect. */
struct stream *way_hyco_link_connect(
    struct way_hyco_link *k, const struct mux_target *t, struct err *e);

/* Takes no more channels; on_over follows when the last one ended. */
void way_hyco_link_retire(struct way_hyco_link *k);

/* Adds what this link has to the sums. */
void way_hyco_link_add_status(
    const struct way_hyco_link *k, struct client_sessions *status);

/* "" before it was shown, or without end-to-end TLS. */
const char *way_hyco_link_identity(const struct way_hyco_link *k);
/* The identity was refused only for not being known. */
bool way_hyco_link_is_unknown(const struct way_hyco_link *k);

void way_hyco_link_close(struct way_hyco_link *k);

/* SPDX-License-Identifier: MIT
 *
 * The joined WebSocket of the sample way as a stream (doc/PROTOCOL-sample.md,
 * sections 3 and 4): says or awaits `ready`, turns Close frames into ends as
 * far as the other side can half-close, a reset into `error` and the reverse,
 * and keeps the connection alive.
 *
 * The listener's is born open: `ready` is on its way when the call returns. The
 * sender's reports on_open when `ready` came, stopped; until then on_error may
 * come: ERR_REFUSED for the listener's `error`, ERR_PROTOCOL, ERR_RESET. Its
 * owner limits the time.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct stream;
struct stream_events;
struct ws;

struct way_sample_stream_options {
	bool is_listener;
	/* Listener: what `ready` says. */
	const char *details;
	/* Listener: the sender can half-close. A sender always offers it, and
	 * hears in `ready` whether it is taken. */
	bool half_close;
	uint64_t ping_ms;      /* see agent.h and client.h */
	uint64_t half_idle_ms; /* sender only: see client.h */
};

/* Takes `w` (open, stopped, opened with way_sample_stream_ws). */
struct stream *way_sample_stream_open(struct ws *w,
    const struct way_sample_stream_options *o,
    const struct stream_events *events, void *owner);

/* How hc shall make the WebSocket. */
extern const struct ws_options way_sample_stream_ws;

/* Whether both sides can half-close; valid once open. */
bool way_sample_stream_has_half_close(const struct stream *s);

/* SPDX-License-Identifier: MIT
 *
 * A session on the loop: the core (session_core.h) bound to carriers and
 * timers, with one byte stream above that outlives its carriers. A carrier is
 * any stream that was opened for it; the session owns it from then on.
 *
 * Sender: session_open, then on_want_carrier asks for a carrier whenever one is
 * needed, and the owner answers each request once, by session_give_carrier or
 * session_give_error; back-off lies here. Listener: a session_host takes every
 * carrier that comes, reads its first frame, makes a session of a HELLO and
 * hands a RESUME to the session it names.
 *
 * The stream above (session_stream) is open at once on the listener's side and
 * on the sender's after WELCOME; what is written before waits. It is stopped
 * for its writer (stream_write returns false) while the send limit is full. It
 * does not end with a carrier: an orderly CLOSE of the other side is on_end,
 * for both directions; all else (window passed, violation, refusal) is on_error
 * ERR_RESET with the reason (http_status is the code of a REFUSE).
 * stream_shutdown sends CLOSE 0 when what was written is acknowledged, over
 * more carriers if need be, and on_drain follows; it ends both directions.
 * stream_close ends the session at once: CLOSE 3 unless it is over already, as
 * far as the kernel takes it.
 *
 * It is best written in pieces of SESSION_PIECE: then each is one frame, and
 * one frame of the carrier.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "session/session_core.h"

#include "net/stream.h"

struct err;
struct loop;
struct session;
struct session_host;
struct stream;

#define SESSION_PIECE ((size_t)(STREAM_TURN - SESSION_PREFIX_MAX))

struct session_options {
	/* Times, limits, window, options; id and random are made here. */
	struct session_core_options core;
};

struct session_events {
	/* Sender: dial a carrier now. `attempt` counts from 0 since the last
	 * one that worked; `misdirected` tells that the last one met another
	 * listener (421). */
	void (*on_want_carrier)(
	    void *owner, unsigned attempt, bool misdirected);
	/* The request is void: the session is over (but not when its owner
	 * closes it: then no callback comes). Dialling is to be given up. */
	void (*on_drop_want)(void *owner);
	/* A carrier works (greeted or resumed), or the one that worked was
	 * lost with the reason. For logs and status; may be NULL. */
	void (*on_carrier)(void *owner, bool up, const struct err *why);
};

/* Sender. The first on_want_carrier comes by a deferred call. */
struct session *session_open(struct loop *l, const struct session_options *o,
    const struct session_events *events, void *owner);

/* Takes the carrier (open, stopped). One that is not wanted any more is closed.
 */
void session_give_carrier(struct session *s, struct stream *carrier);

/* The carrier could not be had. `final`: it makes no sense to go on (key
 * refused, path gone): the session ends with this error, unless a carrier still
 * works. Else asked again after the back-off, at first for as long as the
 * resume window. */
void session_give_error(struct session *s, const struct err *err, bool final);

/* The network has changed or the machine woke up: make a new carrier now
 * without waiting for the old one to die; that stays until the new one works.
 * Without effect before the secret is there, and on the listener's side. */
void session_renew_carrier(struct session *s);

/* The stream above; belongs to the caller, and closing it closes the session:
 * then `s` is dead. */
struct stream *session_stream(struct session *s);

/* The session whose stream this is. */
struct session *session_of(struct stream *stream);

void session_set_owner(
    struct session *s, const struct session_events *events, void *owner);

/* What proves a resume: after the end-to-end handshake. */
void session_set_secret(
    struct session *s, const uint8_t secret[SESSION_SECRET_SIZE]);

/* Ends it for both with a code (not DONE: that is stream_shutdown) and the
 * words of `err`; the stream above then reports `err` unless it is closed
 * first. */
void session_end(
    struct session *s, enum session_close_code code, const struct err *err);

const uint8_t *session_id(const struct session *s);
bool session_has_carrier(const struct session *s);
/* The carrier, to be compared only; NULL without one. */
const struct stream *session_carrier(const struct session *s);
void session_stats(const struct session *s, struct session_stats *stats);

/* --- the listener's side --- */

struct session_host_events {
	/* A sender has greeted. The receiver sets owner and takes the stream
	 * (session_stream), which keeps the session. */
	void (*on_session)(void *owner, struct session *s);
};

struct session_host_options {
	struct session_core_options core; /* as offered to every sender */
	unsigned max_sessions;            /* 0: 1,000; beyond it REFUSE 503 */
	uint32_t greeting_ms; /* from a carrier to its first frame; 0: 10,000 */
};

struct session_host *session_host_open(struct loop *l,
    const struct session_host_options *o,
    const struct session_host_events *events, void *owner);

/* Takes a carrier (open, stopped). */
void session_host_take(struct session_host *h, struct stream *carrier);

/* New sessions are refused (503) from now on; resumes go on. */
void session_host_drain(struct session_host *h);

unsigned session_host_count(const struct session_host *h);

/* Carriers without a session are closed; sessions live on (they belong to
 * whoever took their streams) but cannot be resumed any more. */
void session_host_close(struct session_host *h);

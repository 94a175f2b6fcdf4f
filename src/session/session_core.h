/* SPDX-License-Identifier: MIT
 *
 * A session without its carrier: offsets, acknowledgements, the queue of what
 * may have to be sent again, what a resume means, and when to give up
 * (doc/PROTOCOL-hyco.md, sections 2 to 5). Pure: the clock is an argument,
 * bytes and events go in and out. The queue that holds unacknowledged bytes is
 * the output queue itself.
 *
 *   new --attach--> greeting --WELCOME--> live --detach--> parted
 *                                          ^                 | attach (sender)
 *                       RESUMED, or resume |                 v
 *                             (listener)   +------------- resuming
 *   a close, a fault or the end of the window: over
 *
 * A sender may also resume while it is live (renewal): the old carrier stays
 * until RESUMED came on the new one.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "session/session_wire.h"

struct session_core;

/* A greeting or resume that is not answered by then counts as a dead carrier.
 */
#define SESSION_ANSWER_MS 10000u

/* Violations in a row, without a byte of progress, that end a session. */
#define SESSION_VIOLATIONS_MAX 3u

struct session_core_options {
	bool is_listener;
	uint8_t options;        /* SESSION_OPTION_TLS or 0 */
	uint16_t window_s;      /* the resume window we offer */
	uint32_t receive_limit; /* unacknowledged bytes we let the other send */
	size_t send_limit;      /* the most we mean to keep for the other; the
	                           smaller of this and its limit holds */
	uint32_t idle_ms;       /* without input until a PING: 15,000 */
	uint32_t dead_ms;       /* after the PING until it is dead: 10,000 */
	uint32_t ack_ms;        /* the longest delay of an ACK: 20 */
	uint8_t id[SESSION_ID_SIZE]; /* sender: fresh; listener: HELLO's */
	uint8_t random[SESSION_RANDOM_SIZE]; /* for HELLO or WELCOME */
};

/* The times above, 120 s window, 16 MiB limits. */
void session_core_options_init(struct session_core_options *o);

enum session_phase {
	SESSION_NEW,
	SESSION_GREETING, /* sender: HELLO is out */
	SESSION_LIVE,
	SESSION_PARTED,   /* no carrier; the window runs */
	SESSION_RESUMING, /* sender: RESUME is out */
	SESSION_OVER,
};

enum session_event_kind {
	SESSION_EVENT_NONE,    /* all input used, or the rest is held */
	SESSION_EVENT_DATA,    /* bytes of the stream, in the input */
	SESSION_EVENT_OPEN,    /* greeted: the stream can be used */
	SESSION_EVENT_RESUMED, /* it goes on */
	SESSION_EVENT_ACKED,   /* room was made for writing */
	SESSION_EVENT_CLOSED,  /* CLOSE came: over; code and text */
	SESSION_EVENT_REFUSED, /* REFUSE came; code and text */
	SESSION_EVENT_BAD,     /* violation: the carrier is to be dropped */
};

struct session_event {
	enum session_event_kind kind;
	uint8_t *data;
	size_t len;
	uint16_t code;
	const char *text; /* CLOSED, REFUSED: valid until the next call; BAD:
	                     static */
};

struct session_core *session_core_new(
    const struct session_core_options *o, uint64_t now_ms);
void session_core_free(struct session_core *c);

/* --- carriers --- */

/* Sender: a fresh carrier is there; HELLO or RESUME becomes output. `random` is
 * used up by a RESUME. */
void session_core_attach(struct session_core *c,
    const uint8_t random[SESSION_RANDOM_SIZE], uint64_t now_ms);

/* Listener: takes the sender's HELLO (once, right after session_core_new with
 * its id); WELCOME becomes output. The session is live. */
void session_core_greet(
    struct session_core *c, const struct session_hello *h, uint64_t now_ms);

/* Listener: judges a RESUME that names this session. 0: taken; RESUMED becomes
 * output, and the carrier before, if any, is to be dropped. Else the code to
 * refuse with; the session is as it was. */
int session_core_resume(
    struct session_core *c, const struct session_resume *r, uint64_t now_ms);

/* The carrier is gone. A session that was not greeted or has no secret yet is
 * over, but for a HELLO that was refused: that may be said again. During a
 * renewal the new carrier takes the place of the old one. */
void session_core_detach(struct session_core *c, uint64_t now_ms);

/* Sender, live, with a secret, not renewing: a second carrier is there, which
 * is to be sent what is written to `out`. Until the answer nothing is taken
 * from the old one (session_core_next gives NONE), but output goes on. Returns
 * the size. */
size_t session_core_renew(struct session_core *c,
    const uint8_t random[SESSION_RANDOM_SIZE], uint8_t out[SESSION_CONTROL_MAX],
    uint64_t now_ms);

/* What came on the second carrier. RESUMED: it is the only one from now on, the
 * rest of its input goes to session_core_next. REFUSED, BAD: it failed. */
void session_core_renew_next(struct session_core *c, uint8_t **data,
    size_t *len, struct session_event *ev, uint64_t now_ms);

/* The second carrier is given up; the old one goes on. */
void session_core_renew_failed(struct session_core *c, uint64_t now_ms);
bool session_core_can_renew(const struct session_core *c);
bool session_core_is_renewing(const struct session_core *c);

/* What proves a resume; needed before the first one. Sessions without TLS make
 * it by themselves. */
void session_core_set_secret(
    struct session_core *c, const uint8_t secret[SESSION_SECRET_SIZE]);

/* --- in --- */

/* Takes from *data, *len what makes the next event. After BAD the caller drops
 * the carrier and calls session_core_detach; the session may be over then. */
void session_core_next(struct session_core *c, uint8_t **data, size_t *len,
    struct session_event *ev, uint64_t now_ms);

/* While the layer above takes nothing DATA is left in the input, and silence
 * is no sign of death. */
void session_core_set_stopped(
    struct session_core *c, bool stopped, uint64_t now_ms);

/* --- out --- */

/* Bytes that may be written before the limit. It is the writer's to keep: more
 * is kept as well, but sent only as the other side acknowledges. */
size_t session_core_room(const struct session_core *c);
size_t session_core_limit(const struct session_core *c);

/* Bytes that were written and not yet made output, and bytes that are kept at
 * all. */
size_t session_core_unsent(const struct session_core *c);
size_t session_core_kept(const struct session_core *c);

/* Appends to the stream (a copy is kept until acknowledged). */
void session_core_write(
    struct session_core *c, const uint8_t *data, size_t len);

/* An ACK and the head of DATA. */
#define SESSION_PREFIX_MAX ((size_t)2 * SESSION_HEAD_SIZE + 8)

/* The same, when nothing else waits for output: the bytes count as sent, and
 * the caller sends `prefix` and then them. Returns the size of the prefix, 0
 * when something waits, the other's limit is reached or no carrier is live:
 * use session_core_write and session_core_output. len at most
 * SESSION_DATA_MAX. */
size_t session_core_write_through(struct session_core *c, const uint8_t *data,
    size_t len, uint8_t prefix[SESSION_PREFIX_MAX]);

/* The most that session_core_output can do with: below this it may give 0
 * although something waits. */
#define SESSION_OUTPUT_MIN (SESSION_CONTROL_MAX + 512u)

/* Writes frames for the carrier into out: control frames first. Returns the
 * size, 0 when nothing waits. */
size_t session_core_output(
    struct session_core *c, uint8_t *out, size_t room, uint64_t now_ms);

bool session_core_has_output(const struct session_core *c, uint64_t now_ms);

/* Ends the session. DONE: CLOSE follows when what was written is acknowledged,
 * over more carriers if need be. Other codes: CLOSE is the next output, and
 * without a live carrier it is over at once. */
void session_core_close(
    struct session_core *c, enum session_close_code code, const char *text);

/* --- time --- */

enum session_tick {
	SESSION_TICK_NONE,
	SESSION_TICK_OUTPUT, /* something is to be sent: an ACK, a PING */
	SESSION_TICK_DEAD,   /* the carrier is dead: drop it, then detach */
	SESSION_TICK_RENEW,  /* the second carrier is: drop it, renew_failed */
	SESSION_TICK_OVER,   /* the resume window has passed */
};

/* When session_core_tick is to be called next; UINT64_MAX: never. Changes with
 * every other call. */
uint64_t session_core_deadline(const struct session_core *c);
enum session_tick session_core_tick(struct session_core *c, uint64_t now_ms);

/* --- looking --- */

enum session_phase session_core_phase(const struct session_core *c);
bool session_core_had_secret(const struct session_core *c);
const uint8_t *session_core_id(const struct session_core *c);

struct session_stats {
	uint64_t bytes_in;  /* of the stream */
	uint64_t bytes_out; /* of the stream, acknowledged */
	size_t unacked;     /* bytes kept */
	uint32_t resumes;
	uint32_t rtt_ms; /* of the last PING; 0: not measured */
};
void session_core_stats(const struct session_core *c, struct session_stats *s);

/* SPDX-License-Identifier: MIT
 *
 * The core says what to do; this room does it: bytes between the carrier and
 * the core, one timer for the core's deadline, one for the next dial. What the
 * owner is told that does not come straight from input is told by `wake`, a
 * deferred call; so is output that nobody's write takes along.
 *
 * `carrier` is the one that the core knows; `second` is there during a renewal
 * only. `in` holds what was read from the carrier while the layer above was
 * stopped (at most one turn): while it holds something the carrier is stopped.
 */
#include "session/session.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "net/loop.h"
#include "net/stream.h"
#include "session/session_inside.h"
#include "util/buf.h"
#include "util/crypt.h"
#include "util/err.h"
#include "util/mem.h"
#include "util/text.h"

/* Small pieces of payload are moved together up to this size; above it, one
 * more call costs less than moving the bytes. */
#define GATHER ((size_t)16 * 1024)

/* One write of output that had to wait. */
#define OUTPUT_ROOM ((size_t)4 * STREAM_TURN)

/* A source may write so much more after it was told to stop. */
#define SLACK ((size_t)4 * STREAM_TURN)

/* So often in a row the relay is asked for another listener at once. */
#define MISDIRECTED_MAX 25u

/* So often a RESUME whose epoch was used up is said again. */
#define EPOCHS_MAX 2u

/* A renewal that does not succeed is given up: the old carrier is good enough.
 */
#define RENEWALS_MAX 10u

/* A carrier that lasted so long was a good one. */
#define GOOD_MS 1000u

/* The last CLOSE has this long to reach the kernel. */
#define LEAVE_MS 3000u

/* While the carrier takes nothing, time is looked at so often at most. */
#define BLOCKED_MS 50u

struct session {
	struct stream face;
	struct loop *loop;
	struct session_core *core;
	const struct session_events *events;
	void *owner;
	void (*on_over)(void *host);
	void *host;

	struct stream *carrier;
	struct stream *second;
	struct buf in;
	uint64_t worked_ms; /* when the carrier was greeted or resumed */
	bool works;
	bool progress; /* DATA or an ACK came on it */
	bool blocked;  /* it is above its mark */

	/* The sender's search for a carrier. */
	bool is_sender;
	bool wants;    /* asked for, not answered */
	bool renewing; /* a carrier is looked for although one works */
	bool misdirected;
	unsigned misdirected_count;
	unsigned epochs_count;
	unsigned tries;
	uint64_t give_up_ms; /* before the first carrier */
	struct err last;     /* why the last carrier was lost or not had */

	struct timer tick;
	uint64_t tick_at_ms;
	struct timer retry; /* next dial; while leaving: its limit */
	struct deferred wake;

	/* What wake has to do. */
	bool ask_due;
	bool in_due;
	bool up_due;
	bool end_due;
	bool drain_due; /* the one after stream_shutdown */

	bool reading;
	bool writer_waits;
	bool leaving; /* our CLOSE 0 is out */
	bool ended;   /* theirs came */
	bool failed;
	bool told;
	struct err fault;
	bool closing;
};

/* A run of payload, gathered from several frames of one turn. */
struct run {
	uint8_t *at;
	size_t len;
};

static const struct stream_ops face_ops;
static const struct stream_events carrier_events;
static const struct stream_events second_events;

static struct session *
session_of_face(const struct stream *s)
{
	assert(s->ops == &face_ops);
	return (struct session *)(void *)s;
}

static uint64_t
now_ms(const struct session *s)
{
	return loop_now_ms(s->loop);
}

/* Nothing more is said to the owner but what wake owes him. */
static bool
is_dead(const struct session *s)
{
	return s->closing || s->failed || s->ended || s->leaving;
}

static bool
is_over(const struct session *s)
{
	return session_core_phase(s->core) == SESSION_OVER;
}

/* --- carriers: letting go --- */

static void
drop(struct stream **slot)
{
	struct stream *c = *slot;

	*slot = NULL;
	if (c != NULL)
		stream_reset(c);
}

/* What was written still goes out. */
static void
part(struct stream **slot)
{
	struct stream *c = *slot;

	*slot = NULL;
	if (c == NULL)
		return;
	if (!c->is_shut)
		stream_shutdown(c);
	stream_close(c);
}

static void
tell_host(struct session *s)
{
	void (*on_over)(void *host) = s->on_over;

	s->on_over = NULL;
	if (on_over != NULL)
		on_over(s->host);
}

static void
quiet(struct session *s)
{
	timer_clear(&s->tick);
	timer_clear(&s->retry);
	buf_fini(&s->in);
	s->ask_due = s->in_due = s->up_due = s->works = false;
	tell_host(s);
}

/* The end by trouble; the owner hears of it from wake. */
static void
fail(struct session *s, const struct err *e)
{
	if (is_dead(s))
		return;
	s->failed = true;
	s->fault = *e;
	s->drain_due = s->writer_waits = false;
	drop(&s->carrier);
	drop(&s->second);
	if (!is_over(s)) {
		session_core_detach(s->core, now_ms(s));
		session_core_close(s->core, SESSION_CLOSE_FAULT, "");
	}
	quiet(s);
	deferred_set(&s->wake);
}

static void
fail_lost(struct session *s, const char *why)
{
	struct err e;

	err_set(&e, ERR_RESET, "%s: %s", why,
	    s->last.code != ERR_NONE ? s->last.text : "no carrier");
	e.http_status = s->last.http_status;
	fail(s, &e);
}

/* --- time --- */

static void
arm(struct session *s)
{
	const uint64_t now = now_ms(s);
	uint64_t due = session_core_deadline(s->core);

	if (is_dead(s) || due == UINT64_MAX)
		return;
	if (due < now + BLOCKED_MS && s->blocked)
		due = now + BLOCKED_MS;
	if (timer_is_set(&s->tick) && s->tick_at_ms <= due)
		return;
	s->tick_at_ms = due;
	timer_set(&s->tick, due > now ? due - now : 0);
}

/* --- looking for a carrier --- */

static void
ask_in(struct session *s, uint64_t delay_ms)
{
	if (s->wants)
		return;
	if (delay_ms > 0) {
		/* A fifth more or less, so that many do not come at once. */
		delay_ms = delay_ms * (80 + crypt_random_below(41)) / 100;
		timer_set(&s->retry, delay_ms);
		return;
	}
	timer_clear(&s->retry);
	s->ask_due = true;
	deferred_set(&s->wake);
}

static void
ask_again(struct session *s)
{
	static const uint16_t delays[] = {0, 100, 250, 500, 1000, 2000, 5000};
	const size_t most = sizeof(delays) / sizeof(*delays) - 1;

	ask_in(s, delays[s->tries < most ? s->tries : most]);
}

static void
seek_renewal(struct session *s)
{
	if (s->renewing && s->tries >= RENEWALS_MAX)
		s->renewing = false;
	if (s->renewing)
		ask_again(s);
}

static void
ask(struct session *s)
{
	enum session_phase phase = session_core_phase(s->core);

	s->ask_due = false;
	if (is_dead(s) || s->wants)
		return;
	if (phase == SESSION_LIVE
	        ? !s->renewing || s->second != NULL
	        : phase != SESSION_NEW && phase != SESSION_PARTED)
		return;
	s->wants = true;
	s->events->on_want_carrier(s->owner, s->tries++, s->misdirected);
}

static void
on_retry(void *owner)
{
	struct session *s = owner;

	if (!s->leaving) {
		ask(s);
		return;
	}
	part(&s->carrier);
	deferred_set(&s->wake);
}

/* --- output --- */

/* Our CLOSE 0 is out: what remains is to see it off. */
static void
leave(struct session *s)
{
	drop(&s->second);
	quiet(s);
	s->leaving = true;
	deferred_set(&s->wake);
	if (s->carrier == NULL)
		return;
	stream_shutdown(s->carrier);
	timer_set(&s->retry, LEAVE_MS);
}

/* `urgent`: even above the carrier's mark, and one write only. */
static void
flush(struct session *s, bool urgent)
{
	while (s->carrier != NULL && (urgent || !s->blocked) &&
	       session_core_has_output(s->core, now_ms(s))) {
		uint8_t *block = loop_block_take(s->loop);
		size_t n = session_core_output(
		    s->core, block + STREAM_HEADROOM, OUTPUT_ROOM, now_ms(s));

		if (n > 0 &&
		    !stream_write(s->carrier, block + STREAM_HEADROOM, n))
			s->blocked = true;
		loop_block_give(s->loop, block);
		if (n == 0 || urgent)
			break;
	}
	/* An urgent CLOSE is never the orderly one. */
	if (is_over(s) && !is_dead(s) && !urgent)
		leave(s);
}

static size_t
slack(const struct session *s)
{
	size_t quarter = session_core_limit(s->core) / 4;

	return quarter < SLACK ? quarter : SLACK;
}

/* May a source go on? `few`: how little must lie here for that. */
static bool
is_roomy(const struct session *s, size_t few, size_t room)
{
	return !s->blocked && session_core_unsent(s->core) <= few &&
	       session_core_room(s->core) >= room;
}

static bool
is_drained(const struct session *s)
{
	return is_roomy(s, STREAM_QUEUE_MARK / 4, 2 * slack(s));
}

/* After anything that the core has digested. */
static void
settle(struct session *s)
{
	if (is_dead(s))
		return;
	arm(s);
	if ((!s->blocked && session_core_has_output(s->core, now_ms(s))) ||
	    (s->writer_waits && is_drained(s)))
		deferred_set(&s->wake);
}

static void
write_piece(struct session *s, uint8_t *data, size_t len)
{
	uint8_t prefix[SESSION_PREFIX_MAX];
	size_t n = 0;

	if (s->carrier != NULL && !s->blocked)
		n = session_core_write_through(s->core, data, len, prefix);
	if (n == 0) {
		session_core_write(s->core, data, len);
		return;
	}
	memcpy(data - n, prefix, n);
	if (!stream_write(s->carrier, data - n, n + len))
		s->blocked = true;
}

/* --- carriers: taking and losing --- */

static void
take_carrier(struct session *s, struct stream *carrier)
{
	s->carrier = carrier;
	s->blocked = false;
	s->works = s->progress = false;
	buf_fini(&s->in);
	stream_set_owner(carrier, &carrier_events, s);
}

/* It was greeted or resumed. */
static void
note_up(struct session *s)
{
	s->works = true;
	s->worked_ms = now_ms(s);
	s->misdirected = s->renewing = false;
	s->misdirected_count = s->epochs_count = 0;
}

static void
tell_carrier(struct session *s, bool up, const struct err *why)
{
	if (s->closing || s->events == NULL || s->events->on_carrier == NULL)
		return;
	s->events->on_carrier(s->owner, up, why);
}

/* The core has no carrier now, or the second one is it. */
static void
after_loss(struct session *s, bool violation)
{
	bool was_good = s->works && !violation &&
	                (s->progress || now_ms(s) - s->worked_ms >= GOOD_MS);

	buf_fini(&s->in);
	s->blocked = s->works = s->in_due = false;
	session_core_detach(s->core, now_ms(s));
	if (is_over(s)) {
		fail_lost(s, session_core_had_secret(s->core)
		                 ? "the session was ended"
		                 : "the carrier was lost before the session "
		                   "could be resumed");
		return;
	}
	if (s->second != NULL) {
		struct stream *c = s->second;

		s->second = NULL;
		take_carrier(s, c);
	} else if (s->is_sender) {
		s->renewing = false;
		if (was_good)
			s->tries = 0;
		else if (s->tries == 0)
			s->tries = 1;
		ask_again(s);
	}
	settle(s);
}

/* May call the owner: the last thing to do. */
static void
lose(struct session *s, const struct err *why, bool violation)
{
	bool worked = s->works;
	struct err e = *why;

	s->last = e;
	drop(&s->carrier);
	after_loss(s, violation);
	if (worked)
		tell_carrier(s, false, &e);
}

static void
fail_second(struct session *s, const struct err *why)
{
	s->last = *why;
	drop(&s->second);
	session_core_renew_failed(s->core, now_ms(s));
	s->in_due = buf_len(&s->in) > 0;
	if (s->in_due)
		deferred_set(&s->wake);
	seek_renewal(s);
	settle(s);
}

/* --- refusals --- */

static void
set_refusal(struct err *e, int code, const char *text)
{
	char safe[SESSION_TEXT_MAX * 4 + 1];

	text_escape(text, strlen(text), safe, sizeof(safe));
	err_set(e, ERR_RESET, "the listener refused the session (%d)%s%.300s",
	    code, *safe ? ": " : "", safe);
	e->http_status = code;
}

/* Whether it makes sense to ask again, and how soon. */
static bool
can_ask_again(struct session *s, int code, bool was_hello, bool *at_once)
{
	*at_once = false;
	switch (code) {
	case SESSION_REFUSE_MISDIRECTED:
		s->misdirected = true;
		*at_once = ++s->misdirected_count <= MISDIRECTED_MAX;
		if (*at_once)
			s->tries = 0;
		return !was_hello;
	case SESSION_REFUSE_EPOCH:
		*at_once = true;
		return !was_hello && ++s->epochs_count <= EPOCHS_MAX;
	case SESSION_REFUSE_BUSY:
		return true;
	default:
		return false;
	}
}

static void
on_refused(struct session *s, int code, const char *text)
{
	bool was_hello = session_core_phase(s->core) == SESSION_NEW;
	bool at_once;

	set_refusal(&s->last, code, text);
	part(&s->carrier);
	buf_fini(&s->in);
	session_core_detach(s->core, now_ms(s));
	if (!can_ask_again(s, code, was_hello, &at_once)) {
		fail(s, &s->last);
		return;
	}
	if (was_hello && now_ms(s) >= s->give_up_ms) {
		fail(s, &s->last);
		return;
	}
	if (at_once)
		ask_in(s, 0);
	else
		ask_again(s);
	settle(s);
}

static void
on_second_refused(struct session *s, int code, const char *text)
{
	struct err e;
	bool at_once;

	set_refusal(&e, code, text);
	s->renewing = can_ask_again(s, code, false, &at_once);
	fail_second(s, &e);
}

/* --- input --- */

static void
gather(struct run *run, const struct session_event *ev)
{
	if (run->len == 0)
		run->at = ev->data;
	else
		memmove(run->at + run->len, ev->data, ev->len);
	run->len += ev->len;
}

static void
deliver(struct session *s, struct run *run)
{
	const size_t len = run->len;

	run->len = 0;
	if (len == 0 || is_dead(s) || s->face.events == NULL)
		return;
	s->face.bytes_in += len;
	s->face.events->on_data(s->face.owner, run->at, len);
}

static void
on_open(struct session *s)
{
	note_up(s);
	if (s->face.events != NULL && s->face.events->on_open != NULL)
		s->face.events->on_open(s->face.owner);
	tell_carrier(s, true, NULL);
}

static void
on_closed(struct session *s, int code, const char *text)
{
	char safe[SESSION_TEXT_MAX * 4 + 1];
	struct err e;

	part(&s->carrier);
	if (code == SESSION_CLOSE_DONE) {
		s->ended = s->end_due = true;
		s->writer_waits = false;
		drop(&s->second);
		quiet(s);
		deferred_set(&s->wake);
		return;
	}
	text_escape(text, strlen(text), safe, sizeof(safe));
	err_set(&e, ERR_RESET, "the other side ended the session (%d)%s%.300s",
	    code, *safe ? ": " : "", safe);
	fail(s, &e);
}

static void
take_event(struct session *s, const struct session_event *ev)
{
	struct err e;

	switch (ev->kind) {
	case SESSION_EVENT_OPEN:
		on_open(s);
		break;
	case SESSION_EVENT_RESUMED:
		note_up(s);
		tell_carrier(s, true, NULL);
		break;
	case SESSION_EVENT_CLOSED:
		on_closed(s, ev->code, ev->text);
		break;
	case SESSION_EVENT_REFUSED:
		on_refused(s, ev->code, ev->text);
		break;
	case SESSION_EVENT_BAD:
		err_set(&e, ERR_PROTOCOL,
		    "the other side broke the session protocol: %s", ev->text);
		lose(s, &e, true);
		break;
	case SESSION_EVENT_NONE:
	case SESSION_EVENT_DATA:
	case SESSION_EVENT_ACKED:
	default:
		break;
	}
}

/* Feeds what came on the carrier. What was gathered counts as received, so it
 * is handed over whatever becomes of the carrier. Returns how many bytes were
 * used; the carrier may be another one then. */
static size_t
take_input(struct session *s, uint8_t *data, size_t len)
{
	struct stream *const carrier = s->carrier;
	const size_t all = len;
	struct run run = {0};
	struct session_event ev;

	while (!is_dead(s) && s->carrier == carrier) {
		session_core_next(s->core, &data, &len, &ev, now_ms(s));
		if (ev.kind == SESSION_EVENT_NONE)
			break;
		if (ev.kind == SESSION_EVENT_DATA ||
		    ev.kind == SESSION_EVENT_ACKED)
			s->progress = true;
		if (ev.kind == SESSION_EVENT_DATA) {
			gather(&run, &ev);
			if (run.len >= GATHER)
				deliver(s, &run);
		} else if (ev.kind != SESSION_EVENT_ACKED) {
			deliver(s, &run);
			if (!is_dead(s) && s->carrier == carrier)
				take_event(s, &ev);
		}
	}
	deliver(s, &run);
	return all - len;
}

static void
on_carrier_data(void *owner, uint8_t *data, size_t len)
{
	struct session *s = owner;
	struct stream *const carrier = s->carrier;
	size_t used;

	if (is_dead(s))
		return;
	used = take_input(s, data, len);
	if (is_dead(s) || s->carrier != carrier)
		return;
	if (used < len) {
		buf_append(&s->in, data + used, len - used);
		/* The layer above may have started again meanwhile. */
		s->in_due = s->reading;
		stream_stop(carrier);
		if (s->in_due)
			deferred_set(&s->wake);
	}
	settle(s);
}

/* Feeds what waits in `in`, by way of scratch memory. */
static void
take_waiting(struct session *s)
{
	struct stream *const carrier = s->carrier;
	size_t n = buf_len(&s->in);
	uint8_t *block;

	s->in_due = false;
	if (n == 0 || carrier == NULL)
		return;
	if (n > LOOP_BLOCK_SIZE - STREAM_HEADROOM)
		n = LOOP_BLOCK_SIZE - STREAM_HEADROOM;
	block = loop_block_take(s->loop);
	memcpy(block + STREAM_HEADROOM, buf_data(&s->in), n);
	n = take_input(s, block + STREAM_HEADROOM, n);
	loop_block_give(s->loop, block);
	if (is_dead(s) || s->carrier != carrier)
		return;
	buf_consume(&s->in, n);
	if (buf_len(&s->in) == 0) {
		stream_start(carrier);
	} else if (n > 0 && s->reading) {
		s->in_due = true;
		deferred_set(&s->wake);
	}
	settle(s);
}

/* --- events of the carrier --- */

static void
on_carrier_gone(struct session *s, const struct err *why)
{
	if (s->leaving) {
		part(&s->carrier);
		timer_clear(&s->retry);
		deferred_set(&s->wake);
		return;
	}
	if (!is_dead(s))
		lose(s, why, false);
}

static void
on_carrier_end(void *owner)
{
	struct session *s = owner;
	struct err e;

	if (s->leaving)
		return;
	err_set(&e, ERR_RESET, "the carrier was closed by the other side");
	on_carrier_gone(s, &e);
}

static void
on_carrier_drain(void *owner)
{
	struct session *s = owner;

	if (s->leaving) {
		on_carrier_gone(s, NULL);
		return;
	}
	if (is_dead(s))
		return;
	s->blocked = false;
	flush(s, false);
	settle(s);
}

static void
on_carrier_error(void *owner, const struct err *e)
{
	on_carrier_gone(owner, e);
}

static const struct stream_events carrier_events = {
    .on_data = on_carrier_data,
    .on_end = on_carrier_end,
    .on_drain = on_carrier_drain,
    .on_error = on_carrier_error,
};

/* --- events of the second carrier --- */

/* It is the only one from now on. */
static void
promote(struct session *s, uint8_t *data, size_t len)
{
	struct stream *c = s->second;

	drop(&s->carrier);
	s->second = NULL;
	take_carrier(s, c);
	note_up(s);
	on_carrier_data(s, data, len);
	if (!is_dead(s))
		tell_carrier(s, true, NULL);
}

static void
on_second_data(void *owner, uint8_t *data, size_t len)
{
	struct session *s = owner;
	struct session_event ev;
	struct err e;

	if (is_dead(s))
		return;
	session_core_renew_next(s->core, &data, &len, &ev, now_ms(s));
	if (ev.kind == SESSION_EVENT_RESUMED) {
		promote(s, data, len);
	} else if (ev.kind == SESSION_EVENT_REFUSED) {
		on_second_refused(s, ev.code, ev.text);
	} else if (ev.kind == SESSION_EVENT_BAD) {
		err_set(&e, ERR_PROTOCOL,
		    "the other side broke the session protocol: %s", ev.text);
		fail_second(s, &e);
	}
}

static void
on_second_end(void *owner)
{
	struct session *s = owner;
	struct err e;

	err_set(&e, ERR_RESET, "the new carrier was closed by the other side");
	if (!is_dead(s))
		fail_second(s, &e);
}

static void
on_second_drain(void *owner)
{
	(void)owner;
}

static void
on_second_error(void *owner, const struct err *e)
{
	struct session *s = owner;

	if (!is_dead(s))
		fail_second(s, e);
}

static const struct stream_events second_events = {
    .on_data = on_second_data,
    .on_end = on_second_end,
    .on_drain = on_second_drain,
    .on_error = on_second_error,
};

/* --- deferred --- */

static void
tell_fault(struct session *s)
{
	if (s->told || s->face.events == NULL)
		return;
	s->told = true;
	if (s->wants) {
		s->wants = false;
		s->events->on_drop_want(s->owner);
		if (s->closing)
			return;
	}
	s->face.events->on_error(s->face.owner, &s->fault);
}

/* The owner is told one thing at a time; true when it was. */
static bool
tell_end(struct session *s)
{
	if (s->wants && (s->ended || s->leaving)) {
		s->wants = false;
		s->events->on_drop_want(s->owner);
		return true;
	}
	if (s->face.events == NULL)
		return false;
	if (s->end_due && s->reading) {
		s->end_due = false;
		s->face.events->on_end(s->face.owner);
		return true;
	}
	if (s->drain_due && !s->end_due &&
	    (s->ended || (s->leaving && s->carrier == NULL))) {
		s->drain_due = false;
		s->face.events->on_drain(s->face.owner);
		return true;
	}
	return false;
}

static void
tell_room(struct session *s)
{
	if (!s->writer_waits || is_dead(s) || !is_drained(s))
		return;
	s->writer_waits = false;
	if (s->face.events != NULL && !s->face.is_shut)
		s->face.events->on_drain(s->face.owner);
}

static void
on_wake(void *owner)
{
	struct session *s = owner;

	if (s->failed) {
		tell_fault(s);
		return;
	}
	if (s->ended || s->leaving) {
		if (tell_end(s) && !s->closing)
			deferred_set(&s->wake);
		return;
	}
	if (s->up_due) {
		s->up_due = false;
		tell_carrier(s, true, NULL);
	}
	if (!is_dead(s) && s->in_due)
		take_waiting(s);
	if (!is_dead(s))
		flush(s, false);
	if (!is_dead(s) && s->ask_due)
		ask(s);
	tell_room(s);
	if (!is_dead(s))
		arm(s);
}

static void
on_tick(void *owner)
{
	struct session *s = owner;
	struct err e;

	switch (session_core_tick(s->core, now_ms(s))) {
	case SESSION_TICK_OUTPUT:
		flush(s, false);
		break;
	case SESSION_TICK_DEAD:
		err_set(&e, ERR_TIMEOUT, "the carrier is dead: nothing came");
		lose(s, &e, false);
		return;
	case SESSION_TICK_RENEW:
		err_set(&e, ERR_TIMEOUT, "the new carrier gave no answer");
		fail_second(s, &e);
		break;
	case SESSION_TICK_OVER:
		fail_lost(
		    s, "the session could not be resumed before its time");
		return;
	case SESSION_TICK_NONE:
	default:
		break;
	}
	if (!is_dead(s))
		arm(s);
}

/* --- the face --- */

static void
face_start(struct stream *stream)
{
	struct session *s = session_of_face(stream);

	s->reading = true;
	session_core_set_stopped(s->core, false, now_ms(s));
	s->in_due = buf_len(&s->in) > 0;
	if (s->in_due || s->end_due || s->failed)
		deferred_set(&s->wake);
}

static void
face_stop(struct stream *stream)
{
	struct session *s = session_of_face(stream);

	s->reading = false;
	session_core_set_stopped(s->core, true, now_ms(s));
}

/* The head of each piece but the first lies over the end of the one before,
 * which has been taken by then. */
static bool
face_write(struct stream *stream, uint8_t *data, size_t len)
{
	struct session *s = session_of_face(stream);
	struct err e;

	if (is_dead(s) || is_over(s))
		return true;
	if (session_core_kept(s->core) + len >
	    session_core_limit(s->core) + STREAM_QUEUE_MAX) {
		err_set(&e, ERR_TOO_BIG,
		    "more is queued in the session than its limit");
		fail(s, &e);
		return false;
	}
	while (len > 0) {
		size_t n = len < SESSION_PIECE ? len : SESSION_PIECE;

		write_piece(s, data, n);
		data += n;
		len -= n;
	}
	settle(s);
	s->writer_waits = !is_roomy(s, STREAM_QUEUE_MARK, slack(s));
	return !s->writer_waits;
}

static void
face_shutdown(struct stream *stream)
{
	struct session *s = session_of_face(stream);

	s->writer_waits = false;
	if (s->failed)
		return;
	s->drain_due = true;
	session_core_close(s->core, SESSION_CLOSE_DONE, "");
	if (is_over(s) && !is_dead(s))
		leave(s);
	deferred_set(&s->wake);
}

static void
free_session(void *object)
{
	struct session *s = object;

	session_core_free(s->core);
	free(s);
}

/* A last word, as far as the kernel takes it. */
static void
say_close(struct session *s, enum session_close_code code, const char *text)
{
	if (is_over(s) || s->carrier == NULL)
		return;
	flush(s, false);
	session_core_close(s->core, code, text);
	flush(s, true);
}

static void
face_close(struct stream *stream, bool reset)
{
	struct session *s = session_of_face(stream);

	(void)reset;
	assert(!s->closing);
	s->closing = true;
	say_close(s, SESSION_CLOSE_SHUTDOWN, "closed");
	part(&s->carrier);
	drop(&s->second);
	deferred_clear(&s->wake);
	quiet(s);
	loop_bury(s->loop, s, free_session);
}

static size_t
face_queued(const struct stream *stream)
{
	const struct session *s = session_of_face(stream);

	return session_core_unsent(s->core) +
	       (s->carrier != NULL ? stream_queued(s->carrier) : 0);
}

static const struct stream_ops face_ops = {
    .start = face_start,
    .stop = face_stop,
    .write = face_write,
    .shutdown = face_shutdown,
    .close = face_close,
    .queued = face_queued,
};

/* --- life --- */

static struct session *
session_new(struct loop *l, const struct session_core_options *o)
{
	struct session *s = mem_zalloc(sizeof(*s));

	s->loop = l;
	s->core = session_core_new(o, loop_now_ms(l));
	session_core_set_stopped(s->core, true, loop_now_ms(l));
	stream_init(&s->face, &face_ops, l);
	/* Held input is bounded by a turn of the carrier. */
	buf_init(&s->in, SIZE_MAX);
	timer_init(&s->tick, l, on_tick, s);
	timer_init(&s->retry, l, on_retry, s);
	deferred_init(&s->wake, l, on_wake, s);
	return s;
}

struct session *
session_open(struct loop *l, const struct session_options *o,
    const struct session_events *events, void *owner)
{
	struct session_core_options core = o->core;
	struct session *s;

	core.is_listener = false;
	crypt_random(core.id, sizeof(core.id));
	crypt_random(core.random, sizeof(core.random));
	s = session_new(l, &core);
	s->is_sender = true;
	s->events = events;
	s->owner = owner;
	s->give_up_ms = loop_now_ms(l) + (uint64_t)core.window_s * 1000;
	ask_in(s, 0);
	return s;
}

void
session_give_carrier(struct session *s, struct stream *carrier)
{
	enum session_phase phase = session_core_phase(s->core);
	uint8_t random[SESSION_RANDOM_SIZE];
	uint8_t frame[SESSION_CONTROL_MAX];
	bool wanted = s->wants && !is_dead(s);

	s->wants = false;
	crypt_random(random, sizeof(random));
	if (wanted && (phase == SESSION_NEW || phase == SESSION_PARTED)) {
		take_carrier(s, carrier);
		session_core_attach(s->core, random, now_ms(s));
		flush(s, false);
	} else if (wanted && s->renewing && session_core_can_renew(s->core)) {
		s->second = carrier;
		stream_set_owner(carrier, &second_events, s);
		stream_put(carrier, frame,
		    session_core_renew(s->core, random, frame, now_ms(s)));
	} else {
		stream_close(carrier);
		return;
	}
	stream_start(carrier);
	settle(s);
}

void
session_give_error(struct session *s, const struct err *err, bool final)
{
	bool wanted = s->wants && !is_dead(s);

	s->wants = false;
	if (!wanted)
		return;
	s->last = *err;
	if (s->works) {
		s->renewing = s->renewing && !final;
		seek_renewal(s);
		return;
	}
	if (final || (session_core_phase(s->core) == SESSION_NEW &&
	                 now_ms(s) >= s->give_up_ms))
		fail(s, err);
	else
		ask_again(s);
}

void
session_renew_carrier(struct session *s)
{
	if (!s->is_sender || is_dead(s) || s->wants || s->second != NULL)
		return;
	if (session_core_can_renew(s->core))
		s->renewing = true;
	else if (session_core_phase(s->core) != SESSION_PARTED)
		return;
	s->tries = 0;
	ask_in(s, 0);
}

void
session_end(
    struct session *s, enum session_close_code code, const struct err *err)
{
	assert(code != SESSION_CLOSE_DONE);
	if (is_dead(s))
		return;
	say_close(s, code, err->text);
	if (s->leaving)
		return;
	part(&s->carrier);
	fail(s, err);
}

/* --- the listener's side --- */

struct session *
session_accept(struct loop *l, const struct session_core_options *o,
    const struct session_hello *h, void (*on_over)(void *host), void *host)
{
	struct session *s = session_new(l, o);

	s->on_over = on_over;
	s->host = host;
	session_core_greet(s->core, h, loop_now_ms(l));
	return s;
}

void
session_forget_host(struct session *s)
{
	s->on_over = NULL;
}

void
session_begin(
    struct session *s, struct stream *carrier, const uint8_t *rest, size_t len)
{
	take_carrier(s, carrier);
	note_up(s);
	s->up_due = true;
	if (len > 0)
		buf_append(&s->in, rest, len);
	s->in_due = len > 0;
	deferred_set(&s->wake);
	flush(s, false);
	if (!s->in_due && !is_dead(s))
		stream_start(carrier);
	settle(s);
}

int
session_resume(struct session *s, const struct session_resume *r,
    struct stream *carrier, const uint8_t *rest, size_t len)
{
	int code;

	if (is_dead(s))
		return SESSION_REFUSE_GONE;
	code = session_core_resume(s->core, r, now_ms(s));
	if (code != 0)
		return code;
	drop(&s->carrier);
	session_begin(s, carrier, rest, len);
	return 0;
}

/* --- looking --- */

struct stream *
session_stream(struct session *s)
{
	return &s->face;
}

struct session *
session_of(struct stream *stream)
{
	return session_of_face(stream);
}

void
session_set_owner(
    struct session *s, const struct session_events *events, void *owner)
{
	s->events = events;
	s->owner = owner;
}

void
session_set_secret(struct session *s, const uint8_t secret[SESSION_SECRET_SIZE])
{
	session_core_set_secret(s->core, secret);
}

const uint8_t *
session_id(const struct session *s)
{
	return session_core_id(s->core);
}

bool
session_has_carrier(const struct session *s)
{
	return s->works;
}

const struct stream *
session_carrier(const struct session *s)
{
	return s->carrier;
}

void
session_stats(const struct session *s, struct session_stats *stats)
{
	session_core_stats(s->core, stats);
}

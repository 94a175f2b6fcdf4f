/* SPDX-License-Identifier: MIT
 *
 * A link is one carrier: two queues of bytes, and what each end of it is to
 * its side. An end that is gone takes nothing more, but its last bytes may
 * still arrive at the other one, then its end is noticed. Who is current is
 * decided as the face over the core does it: by the link, never by the bytes.
 */
#include "session_model.h"

#include <stdlib.h>
#include <string.h>

#include "session/session_core.h"
#include "util/buf.h"
#include "util/mem.h"

#define LINKS 6
#define KEPT_RESUMES 4
#define WIRE_MAX ((size_t)400 * 1024)
#define SENDER 0
#define LISTENER 1

enum end_kind {
	END_GONE,
	END_FIRST, /* listener: the first frame is awaited */
	END_MAIN,
	END_SECOND, /* sender: of a renewal */
};

struct link {
	enum end_kind end[2];
	struct buf to[2]; /* bytes under way to that side */
	bool swallows;    /* nothing arrives any more, no end either */
	bool is_replay;
	bool answered;  /* the listener made a RESUMED on it */
	bool no_secret; /* the listener had none when it refused */
	bool was_used;  /* a replay had brought its RESUME before */
	struct session_decoder first;
};

struct side {
	struct session_core *core;
	struct link *link; /* main */
	uint64_t written;
	uint64_t got;
	uint64_t parted_ms;
	uint64_t heard_ms;
	bool stopped;
	bool closing;
	bool closing_done;
	bool has_secret;
};

struct frame {
	uint8_t bytes[SESSION_CONTROL_MAX];
	size_t len;
};

struct model {
	const struct session_model_options *o;
	struct session_model_counts *n;
	const char *fault;
	uint64_t now_ms;
	struct link links[LINKS];
	struct side side[2];
	struct session_core_options options[2];
	struct frame resumes[KEPT_RESUMES];
	unsigned resumes_at;
	uint8_t secret[SESSION_SECRET_SIZE];
	uint64_t window_ms;
	uint32_t asked_epoch;  /* of the RESUME that is judged */
	uint32_t replay_epoch; /* the last that a replay brought in */
	uint32_t taken_epoch;
	size_t write_max;
	bool may_end; /* there is a reason for an end */
	bool heals;
};

static uint32_t
draw(struct model *m, uint32_t bound)
{
	return m->o->draw(m->o->owner, bound);
}

static void
demand(struct model *m, bool is_true, const char *what)
{
	if (!is_true && m->fault == NULL)
		m->fault = what;
}

static uint8_t
pattern(int from, uint64_t at)
{
	return (uint8_t)((at * 31) ^ (at >> 8) ^ (at >> 16) ^
	                 (from == SENDER ? 0 : 0x5a));
}

static bool
is_over(const struct side *s)
{
	return s->core != NULL && session_core_phase(s->core) == SESSION_OVER;
}

/* --- links --- */

static struct link *
link_new(struct model *m)
{
	for (size_t i = 0; i < LINKS; i++) {
		struct link *k = &m->links[i];

		if (k->end[0] != END_GONE || k->end[1] != END_GONE)
			continue;
		buf_fini(&k->to[0]);
		buf_fini(&k->to[1]);
		*k = (struct link){.end = {END_GONE, END_FIRST}};
		buf_init(&k->to[0], WIRE_MAX);
		buf_init(&k->to[1], WIRE_MAX);
		session_decoder_init(&k->first);
		m->n->carriers++;
		return k;
	}
	return NULL;
}

static void
put(struct model *m, struct link *k, int to, const uint8_t *bytes, size_t len)
{
	demand(m, buf_append(&k->to[to], bytes, len), "the wire overflows");
}

/* The side's carrier is lost to it. */
static void
part(struct model *m, int at)
{
	struct side *s = &m->side[at];
	enum session_phase before = session_core_phase(s->core);

	s->link->end[at] = END_GONE;
	if (before == SESSION_LIVE)
		s->parted_ms = m->now_ms;
	if (before == SESSION_GREETING ||
	    (!s->has_secret && before != SESSION_NEW)) {
		m->may_end = true;
		if (before != SESSION_OVER)
			m->n->lost_greetings++;
	}
	s->link = NULL;
	if (session_core_is_renewing(s->core)) {
		m->n->promotions++;
		for (size_t i = 0; i < LINKS; i++)
			if (m->links[i].end[at] == END_SECOND) {
				m->links[i].end[at] = END_MAIN;
				s->link = &m->links[i];
			}
	}
	session_core_detach(s->core, m->now_ms);
	if (is_over(s) && s->link != NULL) {
		s->link->end[at] = END_GONE;
		s->link = NULL;
	}
}

static struct link *
second_link(struct model *m)
{
	for (size_t i = 0; i < LINKS; i++)
		if (m->links[i].end[SENDER] == END_SECOND)
			return &m->links[i];
	return NULL;
}

static void
drop_second(struct model *m)
{
	struct link *k = second_link(m);

	if (k == NULL)
		return;
	k->end[SENDER] = END_GONE;
	if (session_core_is_renewing(m->side[SENDER].core))
		m->n->renewals_bad++;
	session_core_renew_failed(m->side[SENDER].core, m->now_ms);
}

/* --- making output --- */

static void
keep_resume(struct model *m, const uint8_t *bytes, size_t len)
{
	struct frame *f = &m->resumes[m->resumes_at++ % KEPT_RESUMES];

	if (len > sizeof(f->bytes) || len == 0 || bytes[0] != SESSION_RESUME)
		return;
	memcpy(f->bytes, bytes, len);
	f->len = len;
}

static void
output(struct model *m, int at, size_t room)
{
	static uint8_t out[70000];
	struct side *s = &m->side[at];
	bool resumes, had;
	size_t n;

	if (s->core == NULL || s->link == NULL ||
	    buf_len(&s->link->to[!at]) > WIRE_MAX - sizeof(out))
		return;
	resumes = session_core_phase(s->core) == SESSION_RESUMING;
	had = session_core_has_output(s->core, m->now_ms);
	n = session_core_output(s->core, out, room, m->now_ms);
	demand(m, n <= room, "more output than room");
	demand(m, had == (n > 0), "has_output is wrong");
	if (n == 0)
		return;
	if (resumes)
		keep_resume(m, out, n);
	put(m, s->link, !at, out, n);
	if (is_over(s)) {
		s->link->end[at] = END_GONE;
		s->link = NULL;
	}
}

static size_t
size_to_write(struct model *m)
{
	switch (draw(m, 16)) {
	case 0:
		return 1 + draw(m, (uint32_t)m->write_max);
	case 1:
	case 2:
	case 3:
		return 1 + draw(m, 5000);
	default:
		return 1 + draw(m, 300);
	}
}

static void
write_some(struct model *m, int at)
{
	static uint8_t data[70000];
	uint8_t frame[SESSION_PREFIX_MAX];
	struct side *s = &m->side[at];
	size_t n, head = 0;

	if (s->core == NULL || is_over(s) || s->closing ||
	    session_core_room(s->core) == 0)
		return;
	n = size_to_write(m);
	for (size_t i = 0; i < n; i++)
		data[i] = pattern(at, s->written + i);
	s->written += n;
	if (s->link != NULL && n <= SESSION_DATA_MAX && draw(m, 2) == 0 &&
	    buf_len(&s->link->to[!at]) < WIRE_MAX - sizeof(data) - 64)
		head = session_core_write_through(s->core, data, n, frame);
	demand(m, head <= sizeof(frame), "a prefix too long");
	if (head == 0) {
		session_core_write(s->core, data, n);
		return;
	}
	put(m, s->link, !at, frame, head);
	put(m, s->link, !at, data, n);
}

/* --- the sender's moves --- */

static void
draw_bytes(struct model *m, uint8_t *out, size_t n)
{
	for (size_t i = 0; i < n; i++)
		out[i] = (uint8_t)draw(m, 256);
}

static void
dial(struct model *m)
{
	struct side *s = &m->side[SENDER];
	enum session_phase phase = session_core_phase(s->core);
	uint8_t random[SESSION_RANDOM_SIZE] = {0};
	struct link *k;

	if (phase != SESSION_NEW && phase != SESSION_PARTED)
		return;
	k = link_new(m);
	if (k == NULL)
		return;
	draw_bytes(m, random, 4);
	k->end[SENDER] = END_MAIN;
	s->link = k;
	session_core_attach(s->core, random, m->now_ms);
}

static void
renew(struct model *m)
{
	struct side *s = &m->side[SENDER];
	uint8_t random[SESSION_RANDOM_SIZE] = {0};
	uint8_t out[SESSION_CONTROL_MAX];
	struct link *k;
	size_t n;

	if (!session_core_can_renew(s->core))
		return;
	k = link_new(m);
	if (k == NULL)
		return;
	draw_bytes(m, random, 4);
	k->end[SENDER] = END_SECOND;
	n = session_core_renew(s->core, random, out, m->now_ms);
	keep_resume(m, out, n);
	put(m, k, LISTENER, out, n);
}

/* Somebody who has kept an old RESUME says it again. */
static void
replay(struct model *m)
{
	const struct frame *f = &m->resumes[draw(m, KEPT_RESUMES)];
	struct link *k;

	if (f->len == 0)
		return;
	k = link_new(m);
	if (k == NULL)
		return;
	k->is_replay = true;
	put(m, k, LISTENER, f->bytes, f->len);
}

/* --- what arrives --- */

static void
take_data(struct model *m, int at, const struct session_event *ev)
{
	struct side *s = &m->side[at];

	demand(m, !s->stopped, "DATA in spite of a stop");
	for (size_t i = 0; i < ev->len; i++)
		if (ev->data[i] != pattern(!at, s->got + i)) {
			demand(m, false, "a wrong byte");
			break;
		}
	s->got += ev->len;
	m->n->bytes += ev->len;
	demand(m, s->got <= m->side[!at].written, "bytes out of nothing");
}

/* Whether the listener had a reason. */
static void
judge_refusal(struct model *m, const struct link *k, int code)
{
	if (code == SESSION_REFUSE_GONE)
		demand(m, is_over(&m->side[LISTENER]), "alive, and gone");
	else if (code == SESSION_REFUSE_PROOF)
		demand(m, k->no_secret, "a good proof was refused");
	else
		demand(m, code == SESSION_REFUSE_EPOCH && k->was_used,
		    "refused for no reason");
}

static void
refused(struct model *m, const struct link *k, int code)
{
	judge_refusal(m, k, code);
	part(m, SENDER);
	/* A copy of the RESUME came first: the next epoch is a new one. */
	if (code == SESSION_REFUSE_EPOCH)
		return;
	m->may_end = true;
	session_core_close(
	    m->side[SENDER].core, SESSION_CLOSE_FAULT, "refused");
}

static void
take_event(struct model *m, int at, const struct session_event *ev)
{
	struct side *s = &m->side[at];

	switch (ev->kind) {
	case SESSION_EVENT_DATA:
		take_data(m, at, ev);
		break;
	case SESSION_EVENT_OPEN:
		if (m->options[0].options == 0)
			s->has_secret = true;
		break;
	case SESSION_EVENT_RESUMED:
		m->n->resumes++;
		break;
	case SESSION_EVENT_ACKED:
		break;
	case SESSION_EVENT_CLOSED:
		demand(m, m->side[!at].closing, "closed by nobody");
		demand(m,
		    ev->code == SESSION_CLOSE_FAULT ||
		        s->got == m->side[!at].written,
		    "an orderly end before the last byte");
		s->link->end[at] = END_GONE;
		s->link = NULL;
		break;
	case SESSION_EVENT_REFUSED:
		refused(m, s->link, ev->code);
		break;
	case SESSION_EVENT_BAD:
		demand(m, false, ev->text);
		part(m, at);
		break;
	case SESSION_EVENT_NONE:
	default:
		break;
	}
}

/* Feeds the main link's bytes; returns how many were taken. */
static size_t
feed_main(struct model *m, int at, uint8_t *data, size_t len)
{
	struct side *s = &m->side[at];
	struct link *k = s->link;
	size_t all = len;
	struct session_event ev;

	if (!session_core_is_renewing(s->core))
		s->heard_ms = m->now_ms;
	do {
		session_core_next(s->core, &data, &len, &ev, m->now_ms);
		take_event(m, at, &ev);
	} while (
	    ev.kind != SESSION_EVENT_NONE && s->link == k && m->fault == NULL);
	if (s->link == k && len > 0) {
		demand(m, s->stopped || session_core_is_renewing(s->core),
		    "input was left");
		m->n->held++;
	}
	return all - len;
}

static size_t
feed_second(struct model *m, struct link *k, uint8_t *data, size_t len)
{
	struct side *s = &m->side[SENDER];
	size_t all = len;
	struct session_event ev;

	session_core_renew_next(s->core, &data, &len, &ev, m->now_ms);
	if (ev.kind == SESSION_EVENT_RESUMED) {
		m->n->resumes++;
		m->n->renewals++;
		s->link->end[SENDER] = END_GONE;
		s->link = k;
		k->end[SENDER] = END_MAIN;
	} else if (ev.kind != SESSION_EVENT_NONE) {
		demand(m, ev.kind == SESSION_EVENT_REFUSED, ev.text);
		judge_refusal(m, k, ev.code);
		drop_second(m);
	}
	return all - len;
}

/* --- the listener's host --- */

static void
refuse(struct model *m, struct link *k, int code)
{
	uint8_t out[SESSION_CONTROL_MAX];
	size_t n =
	    session_build_notice(out, SESSION_REFUSE, (uint16_t)code, "no");

	put(m, k, SENDER, out, n);
	k->no_secret = !m->side[LISTENER].has_secret;
	k->was_used = m->replay_epoch >= m->asked_epoch;
	k->end[LISTENER] = END_GONE;
}

static void
host_hello(struct model *m, struct link *k, const struct session_item *item)
{
	struct side *l = &m->side[LISTENER];
	struct session_hello h;
	bool bad_version;

	demand(m, session_parse_hello(&h, item->data, item->len, &bad_version),
	    "a HELLO that cannot be read");
	demand(m, l->core == NULL, "a second HELLO");
	if (m->fault != NULL)
		return;
	memcpy(m->options[LISTENER].id, h.id, sizeof(h.id));
	l->core = session_core_new(&m->options[LISTENER], m->now_ms);
	session_core_greet(l->core, &h, m->now_ms);
	l->has_secret = m->options[LISTENER].options == 0;
	l->link = k;
	k->end[LISTENER] = END_MAIN;
}

static void
host_resume(struct model *m, struct link *k, const struct session_item *item)
{
	struct side *l = &m->side[LISTENER];
	struct session_resume r;
	struct session_stats before, after;
	bool bad_version;
	int code;

	demand(m, session_parse_resume(&r, item->data, item->len, &bad_version),
	    "a RESUME that cannot be read");
	demand(m, l->core != NULL, "a RESUME before HELLO");
	if (m->fault != NULL)
		return;
	m->asked_epoch = r.epoch;
	session_core_stats(l->core, &before);
	code = session_core_resume(l->core, &r, m->now_ms);
	session_core_stats(l->core, &after);
	if (code != 0) {
		demand(m, memcmp(&before, &after, sizeof(before)) == 0,
		    "a refusal that changed something");
		if (k->is_replay)
			m->n->replays_refused++;
		refuse(m, k, code);
		return;
	}
	demand(m, r.epoch > m->taken_epoch, "a RESUME was good twice");
	m->taken_epoch = r.epoch;
	if (k->is_replay)
		m->replay_epoch = r.epoch;
	if (after.unacked > 0)
		m->n->resent++;
	if (k->is_replay || k->end[SENDER] == END_GONE)
		m->n->late++;
	if (l->link != NULL) {
		if (l->link->answered)
			m->n->lost_answers++;
		l->link->end[LISTENER] = END_GONE;
	}
	k->answered = true;
	k->end[LISTENER] = END_MAIN;
	l->link = k;
}

static size_t
feed_first(struct model *m, struct link *k, uint8_t *data, size_t len)
{
	size_t all = len;
	struct session_item item;

	session_decoder_next(&k->first, &data, &len, &item);
	if (item.kind == SESSION_ITEM_NONE)
		return all;
	demand(m, item.kind == SESSION_ITEM_FRAME, "a strange first frame");
	if (item.type == SESSION_HELLO)
		host_hello(m, k, &item);
	else if (item.type == SESSION_RESUME)
		host_resume(m, k, &item);
	else
		demand(m, false, "a first frame of the wrong type");
	return all - len;
}

/* --- the network --- */

/* The end of the other side arrives. */
static void
notice_end(struct model *m, struct link *k, int at)
{
	if (k->end[at] == END_MAIN)
		part(m, at);
	else if (k->end[at] == END_SECOND)
		drop_second(m);
	else
		k->end[at] = END_GONE;
}

static void
deliver(struct model *m, struct link *k, int at, size_t most)
{
	struct buf *b = &k->to[at];
	size_t n = buf_len(b) < most ? buf_len(b) : most;
	size_t used = 0;
	uint8_t *piece;

	if (k->end[at] == END_GONE || k->swallows)
		return;
	if (buf_len(b) == 0) {
		if (k->end[!at] == END_GONE)
			notice_end(m, k, at);
		return;
	}
	/* In memory of its own, so that a sanitizer sees its borders. */
	piece = mem_alloc(n);
	memcpy(piece, buf_data(b), n);
	if (k->end[at] == END_FIRST)
		used = feed_first(m, k, piece, n);
	if (k->end[at] == END_SECOND)
		used = feed_second(m, k, piece, n);
	if (k->end[at] == END_MAIN && used < n)
		used += feed_main(m, at, piece + used, n - used);
	free(piece);
	buf_consume(b, k->end[at] == END_GONE ? buf_len(b) : used);
}

/* One side learns of a loss; the last bytes that it sent are lost or not. */
static void
cut(struct model *m, struct link *k, int at)
{
	struct buf *b = &k->to[!at];

	if (k->end[at] == END_GONE)
		return;
	if (draw(m, 2) == 0)
		b->end -= draw(m, (uint32_t)buf_len(b) + 1);
	notice_end(m, k, at);
}

/* --- time --- */

static void
tick(struct model *m, int at)
{
	struct side *s = &m->side[at];
	enum session_tick t;

	if (s->core == NULL || session_core_deadline(s->core) > m->now_ms)
		return;
	t = session_core_tick(s->core, m->now_ms);
	if (t == SESSION_TICK_DEAD) {
		demand(m, s->link != NULL, "dead without a carrier");
		demand(m,
		    session_core_phase(s->core) != SESSION_LIVE ||
		        m->now_ms - s->heard_ms >= 10000,
		    "dead too soon");
		m->n->dead++;
		if (s->link != NULL)
			part(m, at);
	} else if (t == SESSION_TICK_RENEW) {
		drop_second(m);
	} else if (t == SESSION_TICK_OVER) {
		demand(m, m->now_ms - s->parted_ms >= m->window_ms,
		    "over before the window passed");
		m->may_end = true;
		m->n->windows++;
		if (s->link != NULL)
			s->link->end[at] = END_GONE;
		s->link = NULL;
	} else if (t == SESSION_TICK_OUTPUT) {
		demand(m, session_core_has_output(s->core, m->now_ms),
		    "a tick for output that is none");
	}
}

static void
pass_time(struct model *m, uint64_t ms)
{
	m->now_ms += ms;
	/* As a timer does: again while something is due. */
	for (int at = 0; at < 2; at++)
		for (int i = 0; i < 4; i++) {
			tick(m, at);
			output(m, at, 70000);
		}
}

static uint64_t
draw_time(struct model *m)
{
	switch (draw(m, 64)) {
	case 0:
		return draw(m, 16000);
	case 1:
	case 2:
	case 3:
		return draw(m, 2000);
	default:
		return draw(m, 40);
	}
}

/* --- steps --- */

static void
set_stopped(struct model *m, int at, bool stopped)
{
	struct side *s = &m->side[at];

	if (s->core == NULL)
		return;
	s->stopped = stopped;
	session_core_set_stopped(s->core, stopped, m->now_ms);
}

static void
close_side(struct model *m, int at, enum session_close_code code)
{
	struct side *s = &m->side[at];

	if (s->core == NULL || is_over(s))
		return;
	s->closing = true;
	s->closing_done = code == SESSION_CLOSE_DONE;
	if (code == SESSION_CLOSE_DONE)
		m->n->orderly++;
	else
		m->n->hard++;
	m->may_end = true;
	session_core_close(s->core, code, "the end");
	if (is_over(s) && s->link != NULL) {
		s->link->end[at] = END_GONE;
		s->link = NULL;
	}
	if (is_over(s))
		drop_second(m);
}

static void
learn_secret(struct model *m, int at)
{
	struct side *s = &m->side[at];

	if (s->core == NULL || s->has_secret ||
	    session_core_phase(s->core) != SESSION_LIVE)
		return;
	/* The listener is done with the handshake behind the sender. */
	if (at == LISTENER && !m->side[SENDER].has_secret)
		return;
	session_core_set_secret(s->core, m->secret);
	s->has_secret = true;
}

static void
step(struct model *m)
{
	struct link *k = &m->links[draw(m, LINKS)];
	int at = (int)draw(m, 2);
	uint32_t what = draw(m, 128);

	if (what < 24)
		write_some(m, at);
	else if (what < 48)
		output(m, at, SESSION_OUTPUT_MIN + draw(m, 4000));
	else if (what < 84)
		deliver(m, k, at, 1 + draw(m, draw(m, 4) ? 8000 : 40));
	else if (what < 96)
		pass_time(m, draw_time(m));
	else if (what < 104)
		dial(m);
	else if (what < 108)
		cut(m, k, at);
	else if (what < 109)
		k->swallows = true;
	else if (what < 111)
		renew(m);
	else if (what < 113)
		replay(m);
	else if (what < 116)
		set_stopped(m, at, true);
	else if (what < 121)
		set_stopped(m, at, false);
	else if (what < 127)
		learn_secret(m, at);
	else if (draw(m, 6) == 0)
		close_side(m, at,
		    draw(m, 2) ? SESSION_CLOSE_DONE : SESSION_CLOSE_FAULT);
}

static void
check(struct model *m)
{
	for (int at = 0; at < 2; at++) {
		const struct side *s = &m->side[at];

		if (s->core == NULL)
			continue;
		demand(m,
		    session_core_kept(s->core) <=
		        m->options[at].send_limit + m->write_max,
		    "more is kept than the limit");
		demand(m, !is_over(s) || m->may_end, "over for no reason");
		demand(m, s->link == NULL || !is_over(s), "over with a link");
	}
}

/* --- after the storm --- */

static void
calm(struct model *m, uint64_t ms)
{
	for (int at = 0; at < 2; at++) {
		set_stopped(m, at, false);
		learn_secret(m, at);
		output(m, at, 70000);
	}
	dial(m);
	for (size_t i = 0; i < LINKS; i++)
		for (int at = 0; at < 2; at++)
			deliver(m, &m->links[i], at, WIRE_MAX);
	pass_time(m, ms);
	check(m);
}

static bool
is_settled(const struct model *m)
{
	const struct side *s = &m->side[SENDER], *l = &m->side[LISTENER];

	return l->core != NULL && s->got == l->written &&
	       l->got == s->written &&
	       session_core_phase(s->core) == SESSION_LIVE &&
	       session_core_phase(l->core) == SESSION_LIVE &&
	       session_core_kept(s->core) == 0 &&
	       session_core_kept(l->core) == 0 &&
	       !session_core_is_renewing(s->core);
}

/* An orderly end that was asked for and is over has lost nothing, unless the
 * other side ended hard or the window passed. */
static void
check_end(struct model *m)
{
	const struct side *s = &m->side[SENDER], *l = &m->side[LISTENER];

	demand(m, is_over(s), "the sender does not end");
	demand(m, l->core == NULL || is_over(l), "the listener does not end");
}

static void
heal(struct model *m)
{
	const struct side *s = m->side;
	int i;

	/* A late RESUME could still take the last CLOSE's carrier away. */
	for (i = 0; i < LINKS; i++)
		if (m->links[i].swallows ||
		    (m->links[i].end[SENDER] == END_GONE &&
		        m->links[i].end[LISTENER] == END_FIRST))
			for (int at = 0; at < 2; at++)
				notice_end(m, &m->links[i], at);
	for (i = 0; i < 600 && m->fault == NULL; i++) {
		if (is_settled(m) || is_over(&s[0]) || is_over(&s[1]))
			break;
		calm(m, 5);
	}
	if (!is_over(&s[0]) && !is_over(&s[1])) {
		demand(m, is_settled(m), "it does not heal");
		close_side(m, (int)draw(m, 2), SESSION_CLOSE_DONE);
		for (i = 0; i < 20 && m->fault == NULL; i++)
			calm(m, 5);
		check_end(m);
		demand(m, s[0].got == s[1].written && s[1].got == s[0].written,
		    "lost at the end");
		return;
	}
	/* One is over: the other learns of it, or the window tells it. */
	for (i = 0; i < 200 && m->fault == NULL; i++)
		calm(m, 1000);
	check_end(m);
}

/* --- a run --- */

static void
begin(struct model *m)
{
	static const uint16_t windows[] = {1, 2, 5, 30, 120};
	static const uint32_t limits[] = {65536, 65536, 70000, 200000};
	uint8_t options = draw(m, 3) == 0 ? SESSION_OPTION_TLS : 0;
	uint16_t window = 0xffff;

	m->now_ms = 1000;
	m->write_max = draw(m, 16) == 0 ? 66000 : 6000;
	for (int at = 0; at < 2; at++) {
		struct session_core_options *o = &m->options[at];

		session_core_options_init(o);
		o->is_listener = at == LISTENER;
		o->options = options;
		o->window_s = windows[draw(m, 5)];
		o->receive_limit = limits[draw(m, 4)];
		o->send_limit = 2000 + draw(m, 100000);
		memset(o->random, at + 1, sizeof(o->random));
		memset(o->id, 7, sizeof(o->id));
		if (o->window_s < window)
			window = o->window_s;
	}
	m->window_ms = (uint64_t)window * 1000;
	memset(m->secret, 9, sizeof(m->secret));
	m->side[SENDER].core = session_core_new(&m->options[SENDER], m->now_ms);
}

const char *
session_model_run(
    const struct session_model_options *o, struct session_model_counts *n)
{
	struct model *m = mem_zalloc(sizeof(*m));
	const char *fault;

	m->o = o;
	m->n = n;
	begin(m);
	/* Most runs are about what comes after the greeting. */
	if (draw(m, 8) != 0)
		for (int i = 0; i < 4; i++)
			calm(m, 1);
	for (unsigned i = 0; i < o->steps && m->fault == NULL; i++) {
		step(m);
		check(m);
	}
	if (m->fault == NULL)
		heal(m);
	fault = m->fault;
	for (int i = 0; i < LINKS; i++) {
		buf_fini(&m->links[i].to[0]);
		buf_fini(&m->links[i].to[1]);
	}
	session_core_free(m->side[SENDER].core);
	session_core_free(m->side[LISTENER].core);
	free(m);
	return fault;
}

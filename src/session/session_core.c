/* SPDX-License-Identifier: MIT
 *
 * The one idea: `acked` <= `sent` <= `end` are offsets into the outgoing
 * stream, and the replay queue holds acked..end. Sending moves `sent`,
 * acknowledging frees up to `acked`, a resume sets `sent` back to what the
 * other side has received. Nothing else changes when a carrier does.
 */
#include "session/session_core.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "util/crypt.h"
#include "util/mem.h"

/* One chunk takes a write of a full turn; small writes share one. */
#define CHUNK_MIN ((size_t)4 * 1024)
#define CHUNK_MAX ((size_t)64 * 1024)

/* Large chunks that became free are kept for the next ones, or the system would
 * give and take each page of a bulk transfer anew. Not for long: an idle
 * session holds no memory. */
#define SPARES_MAX 32u
#define SPARES_MS 1000u

/* So much is acknowledged at once, unless the limit asks for more or less. */
#define ACK_EACH 65536u

/* The frames that wait before DATA: of each kind at most one, so nothing that
 * the other side does can pile them up. */
#define NUMBER_SIZE ((size_t)SESSION_HEAD_SIZE + 8)
#define CONTROL_ROOM (SESSION_CONTROL_MAX + 3 * NUMBER_SIZE)

_Static_assert(CONTROL_ROOM <= SESSION_OUTPUT_MIN, "control frames must fit");

struct chunk {
	struct chunk *next;
	size_t len;
	size_t room;
	uint8_t bytes[];
};

struct session_core {
	struct session_core_options o;
	enum session_phase phase;
	struct session_decoder decoder;
	struct session_notice notice; /* of CLOSE or REFUSE, for the event */

	/* The outgoing stream. */
	struct chunk *head; /* starts at head_offset */
	struct chunk *tail;
	struct chunk *cursor; /* holds `sent`, or NULL at the end */
	struct chunk *spares;
	unsigned spare_count;
	uint64_t spares_due_ms; /* when they are to go; counts while empty */
	uint64_t head_offset;
	uint64_t cursor_offset; /* of the cursor's first byte */
	uint64_t acked;
	uint64_t sent;
	uint64_t sent_most; /* over all carriers */
	uint64_t end;
	size_t limit;      /* to keep */
	size_t peer_limit; /* to have under way */

	/* The incoming stream. */
	uint64_t received;
	uint64_t ack_told; /* the last ACK we made */
	uint64_t ack_due_ms;
	uint64_t ack_each; /* bytes */
	bool stopped;
	bool held; /* input waits because of it */
	uint64_t beat_ms;

	/* Resuming. */
	uint8_t secret[SESSION_SECRET_SIZE];
	bool has_secret;
	uint32_t epoch;
	uint8_t random[SESSION_RANDOM_SIZE]; /* of the RESUME that is out */
	uint64_t window_ms;
	uint64_t window_end_ms;
	unsigned violations;
	uint32_t resumes;
	bool renewing;
	struct session_decoder candidate; /* of the second carrier */

	/* Liveness. */
	uint64_t last_in_ms;
	uint64_t answer_due_ms; /* greeting or resuming */
	uint64_t ping_ms;       /* when the PING that is out was sent */
	bool ping_out;
	uint32_t rtt_ms;

	/* What waits for output besides DATA. */
	bool closing;
	struct session_notice goodbye;
	bool ping_waits;
	bool pong_waits;
	uint64_t pong;
	size_t answer_len; /* HELLO, WELCOME, RESUME, RESUMED */
	uint8_t answer[SESSION_CONTROL_MAX];
};

void
session_core_options_init(struct session_core_options *o)
{
	*o = (struct session_core_options){
	    .options = SESSION_OPTION_TLS,
	    .window_s = 120,
	    .receive_limit = 16u * 1024 * 1024,
	    .send_limit = (size_t)16 * 1024 * 1024,
	    .idle_ms = 15000,
	    .dead_ms = 10000,
	    .ack_ms = 20,
	};
}

struct session_core *
session_core_new(const struct session_core_options *o, uint64_t now_ms)
{
	struct session_core *c = mem_zalloc(sizeof(*c));

	c->o = *o;
	c->phase = SESSION_NEW;
	c->limit = o->send_limit;
	c->peer_limit = SESSION_LIMIT_MIN;
	c->ack_each =
	    o->receive_limit / 16 > ACK_EACH ? o->receive_limit / 16 : ACK_EACH;
	if (c->ack_each > o->receive_limit / 2)
		c->ack_each = o->receive_limit / 2;
	c->window_ms = (uint64_t)o->window_s * 1000;
	c->ack_due_ms = UINT64_MAX;
	c->last_in_ms = now_ms;
	session_decoder_init(&c->decoder);
	return c;
}

/* --- the replay queue --- */

static void
queue_clear(struct session_core *c)
{
	while (c->head != NULL) {
		struct chunk *next = c->head->next;

		free(c->head);
		c->head = next;
	}
	c->tail = c->cursor = NULL;
}

static void
spares_clear(struct session_core *c)
{
	while (c->spares != NULL) {
		struct chunk *next = c->spares->next;

		free(c->spares);
		c->spares = next;
	}
	c->spare_count = 0;
}

static void
chunk_free(struct session_core *c, struct chunk *k)
{
	if (k->room < CHUNK_MAX || c->spare_count >= SPARES_MAX) {
		free(k);
		return;
	}
	k->next = c->spares;
	c->spares = k;
	c->spare_count++;
}

/* Small writes get small chunks, so that quiet channels cost little. */
static struct chunk *
chunk_new(struct session_core *c, size_t want)
{
	struct chunk *k = c->spares;
	size_t room = CHUNK_MIN;

	if (want > CHUNK_MIN && k != NULL) {
		c->spares = k->next;
		c->spare_count--;
		return k;
	}
	if (want > CHUNK_MIN)
		room = CHUNK_MAX;
	k = mem_alloc(sizeof(*k) + room);
	k->room = room;
	return k;
}

void
session_core_free(struct session_core *c)
{
	if (c == NULL)
		return;
	queue_clear(c);
	spares_clear(c);
	mem_wipe(c->secret, sizeof(c->secret));
	free(c);
}

static struct chunk *
chunk_add(struct session_core *c, size_t want)
{
	struct chunk *k = chunk_new(c, want);

	k->next = NULL;
	k->len = 0;
	if (c->tail != NULL) {
		c->tail->next = k;
	} else {
		c->head = k;
		c->head_offset = c->end;
	}
	c->tail = k;
	return k;
}

static void
queue_append(struct session_core *c, const uint8_t *data, size_t len)
{
	while (len > 0) {
		struct chunk *k = c->tail;
		size_t n;

		if (k == NULL || k->len == k->room)
			k = chunk_add(c, (size_t)(c->end - c->acked) + len);
		if (c->cursor == NULL && c->sent == c->end) {
			c->cursor = k;
			c->cursor_offset = c->end - k->len;
		}
		n = k->room - k->len < len ? k->room - k->len : len;
		memcpy(k->bytes + k->len, data, n);
		k->len += n;
		c->end += n;
		data += n;
		len -= n;
	}
}

/* Frees the chunks that lie wholly before `acked`. The cursor is never before
 * it, since acked <= sent. */
static void
queue_drop(struct session_core *c, uint64_t now_ms)
{
	c->spares_due_ms = now_ms + SPARES_MS;
	while (c->head != NULL && c->head_offset + c->head->len <= c->acked) {
		struct chunk *k = c->head;

		if (k == c->cursor) {
			/* All of it is sent: the cursor stands behind it. */
			c->cursor = k->next;
			c->cursor_offset += k->len;
		}
		c->head_offset += k->len;
		c->head = k->next;
		if (c->head == NULL)
			c->tail = NULL;
		chunk_free(c, k);
	}
}

/* Sets `sent` to an offset within acked..end. */
static void
queue_seek(struct session_core *c, uint64_t offset)
{
	c->sent = offset;
	c->cursor = c->head;
	c->cursor_offset = c->head_offset;
	while (
	    c->cursor != NULL && c->cursor_offset + c->cursor->len <= offset) {
		c->cursor_offset += c->cursor->len;
		c->cursor = c->cursor->next;
	}
}

/* The next bytes to send that lie together. */
static size_t
queue_peek(struct session_core *c, const uint8_t **data)
{
	size_t at;

	while (c->cursor != NULL &&
	       c->cursor_offset + c->cursor->len <= c->sent &&
	       c->cursor->next != NULL) {
		c->cursor_offset += c->cursor->len;
		c->cursor = c->cursor->next;
	}
	if (c->cursor == NULL)
		return 0;
	at = (size_t)(c->sent - c->cursor_offset);
	*data = c->cursor->bytes + at;
	return c->cursor->len - at;
}

static void
count_sent(struct session_core *c, size_t n)
{
	c->sent += n;
	if (c->sent > c->sent_most)
		c->sent_most = c->sent;
}

/* Takes the next n bytes to send, all of which are there. */
static void
queue_copy(struct session_core *c, uint8_t *out, size_t n)
{
	while (n > 0) {
		const uint8_t *data = NULL;
		size_t k = queue_peek(c, &data);

		if (k > n)
			k = n;
		memcpy(out, data, k);
		count_sent(c, k);
		out += k;
		n -= k;
	}
}

/* --- control frames --- */

static size_t
put_ack(struct session_core *c, uint8_t *out)
{
	c->ack_due_ms = UINT64_MAX;
	c->ack_told = c->received;
	return session_build_number(out, SESSION_ACK, c->received);
}

static void
ask_ping(struct session_core *c, uint64_t now_ms)
{
	c->ping_out = true;
	c->ping_waits = true;
	c->ping_ms = now_ms;
}

/* --- carriers --- */

/* A fresh carrier: what was half said on the old one is void. */
static void
begin_carrier(struct session_core *c, uint64_t now_ms)
{
	session_decoder_init(&c->decoder);
	c->decoder.holds_data = c->stopped;
	c->held = false;
	c->renewing = false;
	c->answer_len = 0;
	c->ping_waits = c->pong_waits = c->ping_out = false;
	c->last_in_ms = now_ms;
	c->ack_due_ms = UINT64_MAX;
}

static void
go_live(struct session_core *c, uint64_t now_ms)
{
	c->phase = SESSION_LIVE;
	ask_ping(c, now_ms);
}

static void
say_hello(struct session_core *c)
{
	struct session_hello h = {.options = c->o.options,
	    .window_s = c->o.window_s,
	    .limit = c->o.receive_limit};

	memcpy(h.id, c->o.id, sizeof(h.id));
	memcpy(h.random, c->o.random, sizeof(h.random));
	c->answer_len = session_build_hello(c->answer, &h);
}

static size_t
build_resume(struct session_core *c, const uint8_t random[SESSION_RANDOM_SIZE],
    uint8_t *out)
{
	struct session_resume r = {
	    .epoch = ++c->epoch, .received = c->received};

	memcpy(r.id, c->o.id, sizeof(r.id));
	memcpy(r.random, random, sizeof(r.random));
	memcpy(c->random, random, sizeof(c->random));
	c->ack_told = c->received;
	return session_build_resume(out, &r, c->secret);
}

void
session_core_attach(struct session_core *c,
    const uint8_t random[SESSION_RANDOM_SIZE], uint64_t now_ms)
{
	assert(!c->o.is_listener);
	assert(c->phase == SESSION_NEW || c->phase == SESSION_PARTED);
	begin_carrier(c, now_ms);
	c->answer_due_ms = now_ms + SESSION_ANSWER_MS;
	if (c->phase == SESSION_NEW) {
		c->phase = SESSION_GREETING;
		say_hello(c);
	} else {
		c->phase = SESSION_RESUMING;
		c->answer_len = build_resume(c, random, c->answer);
	}
}

/* The smaller offers hold. */
static void
agree(struct session_core *c, const struct session_hello *theirs)
{
	c->peer_limit = theirs->limit;
	if (theirs->limit < c->limit)
		c->limit = theirs->limit;
	if ((uint64_t)theirs->window_s * 1000 < c->window_ms)
		c->window_ms = (uint64_t)theirs->window_s * 1000;
}

void
session_core_greet(
    struct session_core *c, const struct session_hello *h, uint64_t now_ms)
{
	struct session_hello w = {.options = c->o.options,
	    .window_s = c->o.window_s,
	    .limit = c->o.receive_limit};

	assert(c->o.is_listener && c->phase == SESSION_NEW);
	begin_carrier(c, now_ms);
	agree(c, h);
	memcpy(w.random, c->o.random, sizeof(w.random));
	c->answer_len = session_build_welcome(c->answer, &w);
	if ((c->o.options & SESSION_OPTION_TLS) == 0) {
		session_make_secret(h->random, c->o.random, c->o.id, c->secret);
		c->has_secret = true;
	}
	go_live(c, now_ms);
}

/* Whether the other side may say that it has received so much. */
static bool
is_received_possible(const struct session_core *c, uint64_t received)
{
	return received >= c->acked && received <= c->sent_most;
}

static void
go_on_from(struct session_core *c, uint64_t received, uint64_t now_ms)
{
	c->acked = received;
	queue_seek(c, received);
	queue_drop(c, now_ms);
	c->resumes++;
}

int
session_core_resume(
    struct session_core *c, const struct session_resume *r, uint64_t now_ms)
{
	struct session_resumed answer = {.epoch = r->epoch};

	assert(c->o.is_listener);
	if (c->phase == SESSION_OVER)
		return SESSION_REFUSE_GONE;
	if (!c->has_secret || !session_check_resume(r, c->secret))
		return SESSION_REFUSE_PROOF;
	if (r->epoch <= c->epoch)
		return SESSION_REFUSE_EPOCH;
	if (!is_received_possible(c, r->received))
		return SESSION_REFUSE_PROOF;
	c->epoch = r->epoch;
	begin_carrier(c, now_ms);
	go_on_from(c, r->received, now_ms);
	answer.received = c->received;
	c->ack_told = c->received;
	c->answer_len =
	    session_build_resumed(c->answer, &answer, r->random, c->secret);
	go_live(c, now_ms);
	return 0;
}

static void
finish(struct session_core *c)
{
	c->phase = SESSION_OVER;
	c->renewing = false;
	c->answer_len = 0;
	c->ping_waits = c->pong_waits = false;
	queue_clear(c);
	spares_clear(c);
	c->acked = c->sent = c->end;
}

static bool
is_hard(const struct session_core *c)
{
	return c->closing && c->goodbye.code != SESSION_CLOSE_DONE;
}

/* The new carrier of a renewal becomes the only one; its RESUME is out. */
static void
promote(struct session_core *c)
{
	c->phase = SESSION_RESUMING;
	c->renewing = false;
	c->decoder = c->candidate;
	c->decoder.holds_data = c->stopped;
}

void
session_core_detach(struct session_core *c, uint64_t now_ms)
{
	bool was_renewing = c->renewing;

	if (c->phase == SESSION_OVER || c->phase == SESSION_NEW)
		return;
	if (c->phase == SESSION_GREETING || !c->has_secret || is_hard(c) ||
	    c->violations >= SESSION_VIOLATIONS_MAX) {
		finish(c);
		return;
	}
	if (c->phase == SESSION_LIVE)
		c->window_end_ms = now_ms + c->window_ms;
	begin_carrier(c, now_ms);
	c->phase = SESSION_PARTED;
	if (was_renewing)
		promote(c);
}

size_t
session_core_renew(struct session_core *c,
    const uint8_t random[SESSION_RANDOM_SIZE], uint8_t out[SESSION_CONTROL_MAX],
    uint64_t now_ms)
{
	assert(session_core_can_renew(c));
	c->renewing = true;
	c->answer_due_ms = now_ms + SESSION_ANSWER_MS;
	session_decoder_init(&c->candidate);
	return build_resume(c, random, out);
}

void
session_core_renew_failed(struct session_core *c, uint64_t now_ms)
{
	if (!c->renewing)
		return;
	c->renewing = false;
	/* The old carrier was not listened to for a while. */
	c->last_in_ms = now_ms;
	c->ping_out = false;
}

bool
session_core_can_renew(const struct session_core *c)
{
	return !c->o.is_listener && c->phase == SESSION_LIVE && c->has_secret &&
	       !c->renewing && !is_hard(c);
}

bool
session_core_is_renewing(const struct session_core *c)
{
	return c->renewing;
}

void
session_core_set_secret(
    struct session_core *c, const uint8_t secret[SESSION_SECRET_SIZE])
{
	memcpy(c->secret, secret, sizeof(c->secret));
	c->has_secret = true;
}

/* --- in --- */

static void
violation(struct session_core *c, struct session_event *ev, const char *why)
{
	c->violations++;
	*ev = (struct session_event){.kind = SESSION_EVENT_BAD, .text = why};
}

static void
on_welcome(struct session_core *c, const struct session_item *item,
    struct session_event *ev, uint64_t now_ms)
{
	struct session_hello w;

	if (c->phase != SESSION_GREETING ||
	    !session_parse_welcome(&w, item->data, item->len) ||
	    w.options != c->o.options) {
		violation(c, ev, "a WELCOME that does not fit");
		return;
	}
	agree(c, &w);
	if ((c->o.options & SESSION_OPTION_TLS) == 0) {
		session_make_secret(c->o.random, w.random, c->o.id, c->secret);
		c->has_secret = true;
	}
	go_live(c, now_ms);
	ev->kind = SESSION_EVENT_OPEN;
}

/* A proof that is wrong is no fault of the session's other side: somebody else
 * has answered. */
static void
on_resumed(struct session_core *c, const struct session_item *item,
    struct session_event *ev, uint64_t now_ms)
{
	struct session_resumed r;

	if ((c->phase != SESSION_RESUMING && !c->renewing) ||
	    !session_parse_resumed(&r, item->data, item->len)) {
		violation(c, ev, "a RESUMED out of place");
		return;
	}
	if (r.epoch != c->epoch ||
	    !session_check_resumed(&r, c->random, c->secret)) {
		*ev = (struct session_event){.kind = SESSION_EVENT_BAD,
		    .text = "a RESUMED without the session's proof"};
		return;
	}
	if (!is_received_possible(c, r.received)) {
		violation(c, ev, "a RESUMED from where nothing was sent");
		return;
	}
	begin_carrier(c, now_ms);
	go_on_from(c, r.received, now_ms);
	go_live(c, now_ms);
	ev->kind = SESSION_EVENT_RESUMED;
}

static void
on_refuse(struct session_core *c, const struct session_item *item,
    struct session_event *ev)
{
	if ((c->phase != SESSION_GREETING && c->phase != SESSION_RESUMING &&
	        !c->renewing) ||
	    !session_parse_notice(&c->notice, item->data, item->len)) {
		violation(c, ev, "a REFUSE out of place");
		return;
	}
	/* Nothing of it was taken: another HELLO begins anew. */
	if (c->phase == SESSION_GREETING) {
		c->phase = SESSION_NEW;
		c->answer_len = 0;
		queue_seek(c, 0);
	}
	*ev = (struct session_event){.kind = SESSION_EVENT_REFUSED,
	    .code = c->notice.code,
	    .text = c->notice.text};
}

static void
on_close(struct session_core *c, const struct session_item *item,
    struct session_event *ev)
{
	if (c->phase != SESSION_LIVE ||
	    !session_parse_notice(&c->notice, item->data, item->len)) {
		violation(c, ev, "a CLOSE out of place");
		return;
	}
	*ev = (struct session_event){.kind = SESSION_EVENT_CLOSED,
	    .code = c->notice.code,
	    .text = c->notice.text};
	finish(c);
}

static void
on_ack(struct session_core *c, uint64_t received, struct session_event *ev,
    uint64_t now_ms)
{
	if (received < c->acked || received > c->sent) {
		violation(c, ev, "an ACK of bytes that were not sent");
		return;
	}
	if (received == c->acked)
		return;
	c->acked = received;
	queue_drop(c, now_ms);
	c->violations = 0;
	ev->kind = SESSION_EVENT_ACKED;
}

static void
on_pong(struct session_core *c, uint64_t number, uint64_t now_ms)
{
	if (!c->ping_out || number != c->ping_ms)
		return;
	c->ping_out = false;
	c->rtt_ms = (uint32_t)(now_ms - c->ping_ms);
}

static void
on_number(struct session_core *c, const struct session_item *item,
    struct session_event *ev, uint64_t now_ms)
{
	uint64_t number;

	if (c->phase != SESSION_LIVE ||
	    !session_parse_number(&number, item->data, item->len)) {
		violation(c, ev, "a frame before the session was open");
		return;
	}
	if (item->type == SESSION_ACK)
		on_ack(c, number, ev, now_ms);
	else if (item->type == SESSION_PONG)
		on_pong(c, number, now_ms);
	else {
		/* Of PINGs that come faster than answers go out the last one
		 * is answered. */
		c->pong_waits = true;
		c->pong = number;
	}
}

static void
on_data(struct session_core *c, const struct session_item *item,
    struct session_event *ev, uint64_t now_ms)
{
	uint64_t unacked;

	if (c->phase != SESSION_LIVE) {
		violation(c, ev, "DATA before the session was open");
		return;
	}
	c->received += item->len;
	unacked = c->received - c->ack_told;
	if (unacked > c->o.receive_limit) {
		c->received -= item->len;
		violation(c, ev, "more DATA than the limit allows");
		return;
	}
	c->violations = 0;
	*ev = (struct session_event){
	    .kind = SESSION_EVENT_DATA, .data = item->data, .len = item->len};
	if (unacked >= c->ack_each)
		c->ack_due_ms = now_ms;
	else if (c->ack_due_ms == UINT64_MAX)
		c->ack_due_ms = now_ms + c->o.ack_ms;
}

static void
on_frame(struct session_core *c, const struct session_item *item,
    struct session_event *ev, uint64_t now_ms)
{
	switch (item->type) {
	case SESSION_WELCOME:
		on_welcome(c, item, ev, now_ms);
		break;
	case SESSION_RESUMED:
		on_resumed(c, item, ev, now_ms);
		break;
	case SESSION_REFUSE:
		on_refuse(c, item, ev);
		break;
	case SESSION_CLOSE:
		on_close(c, item, ev);
		break;
	case SESSION_ACK:
	case SESSION_PING:
	case SESSION_PONG:
		on_number(c, item, ev, now_ms);
		break;
	default:
		violation(c, ev, "a second HELLO or RESUME");
	}
}

void
session_core_next(struct session_core *c, uint8_t **data, size_t *len,
    struct session_event *ev, uint64_t now_ms)
{
	struct session_item item;

	*ev = (struct session_event){.kind = SESSION_EVENT_NONE};
	if (*len > 0 && !c->renewing)
		c->last_in_ms = now_ms;
	while (ev->kind == SESSION_EVENT_NONE && c->phase != SESSION_OVER &&
	       !c->renewing) {
		session_decoder_next(&c->decoder, data, len, &item);
		if (item.kind == SESSION_ITEM_BAD)
			violation(c, ev, item.why);
		else if (item.kind == SESSION_ITEM_DATA)
			on_data(c, &item, ev, now_ms);
		else if (item.kind == SESSION_ITEM_FRAME)
			on_frame(c, &item, ev, now_ms);
		else
			break;
	}
	if (ev->kind != SESSION_EVENT_NONE || *len == 0 || !c->stopped ||
	    c->held)
		return;
	c->held = true;
	c->beat_ms = now_ms;
	c->ping_out = false;
}

void
session_core_renew_next(struct session_core *c, uint8_t **data, size_t *len,
    struct session_event *ev, uint64_t now_ms)
{
	struct session_item item;

	*ev = (struct session_event){.kind = SESSION_EVENT_NONE};
	if (!c->renewing)
		return;
	session_decoder_next(&c->candidate, data, len, &item);
	if (item.kind == SESSION_ITEM_NONE)
		return;
	if (item.kind == SESSION_ITEM_FRAME && item.type == SESSION_RESUMED)
		on_resumed(c, &item, ev, now_ms);
	else if (item.kind == SESSION_ITEM_FRAME && item.type == SESSION_REFUSE)
		on_refuse(c, &item, ev);
	else
		*ev = (struct session_event){
		    .kind = SESSION_EVENT_BAD, .text = "no answer to a RESUME"};
}

void
session_core_set_stopped(struct session_core *c, bool stopped, uint64_t now_ms)
{
	c->stopped = stopped;
	c->decoder.holds_data = stopped;
	if (stopped || !c->held)
		return;
	c->held = false;
	c->last_in_ms = now_ms;
}

/* --- out --- */

static uint64_t
least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

size_t
session_core_kept(const struct session_core *c)
{
	return (size_t)(c->end - c->acked);
}

size_t
session_core_unsent(const struct session_core *c)
{
	return (size_t)(c->end - c->sent);
}

size_t
session_core_limit(const struct session_core *c)
{
	return c->limit;
}

size_t
session_core_room(const struct session_core *c)
{
	size_t kept = session_core_kept(c);

	return kept < c->limit ? c->limit - kept : 0;
}

void
session_core_write(struct session_core *c, const uint8_t *data, size_t len)
{
	if (c->phase == SESSION_OVER)
		return;
	assert(!c->closing);
	queue_append(c, data, len);
}

static bool
is_control_waiting(const struct session_core *c)
{
	return c->answer_len > 0 || c->ping_waits || c->pong_waits;
}

size_t
session_core_write_through(struct session_core *c, const uint8_t *data,
    size_t len, uint8_t prefix[SESSION_PREFIX_MAX])
{
	size_t n = 0;

	if (c->phase != SESSION_LIVE || c->sent != c->end || c->closing ||
	    is_control_waiting(c) || c->end - c->acked + len > c->peer_limit)
		return 0;
	queue_append(c, data, len);
	count_sent(c, len);
	if (c->ack_due_ms != UINT64_MAX)
		n = put_ack(c, prefix);
	session_build_data_head(prefix + n, len);
	return n + SESSION_HEAD_SIZE;
}

/* What may be sent now. Before WELCOME the sender may send as well (TLS's first
 * flight), but after RESUME it must wait for RESUMED. */
static uint64_t
sendable(const struct session_core *c)
{
	uint64_t most = least(c->end, c->acked + c->peer_limit);

	if ((c->phase != SESSION_LIVE && c->phase != SESSION_GREETING) ||
	    is_hard(c) || most < c->sent)
		return 0;
	return most - c->sent;
}

/* An ACK goes along with DATA before it is due by itself. */
static bool
is_ack_wanted(const struct session_core *c, uint64_t now_ms)
{
	if (c->phase != SESSION_LIVE || c->ack_due_ms == UINT64_MAX)
		return false;
	return c->ack_due_ms <= now_ms || sendable(c) > 0;
}

static size_t
output_control(struct session_core *c, uint8_t *out, uint64_t now_ms)
{
	size_t n = c->answer_len;

	memcpy(out, c->answer, n);
	c->answer_len = 0;
	if (c->pong_waits)
		n += session_build_number(out + n, SESSION_PONG, c->pong);
	if (c->ping_waits)
		n += session_build_number(out + n, SESSION_PING, c->ping_ms);
	c->pong_waits = c->ping_waits = false;
	if (is_ack_wanted(c, now_ms))
		n += put_ack(c, out + n);
	return n;
}

/* DATA frames that fill the room. */
static size_t
output_data(struct session_core *c, uint8_t *out, size_t room)
{
	size_t used = 0;
	uint64_t left = sendable(c);

	while (left > 0 && room - used > SESSION_HEAD_SIZE) {
		size_t n = room - used - SESSION_HEAD_SIZE;

		if (n > SESSION_DATA_MAX)
			n = SESSION_DATA_MAX;
		if (n > left)
			n = (size_t)left;
		session_build_data_head(out + used, n);
		queue_copy(c, out + used + SESSION_HEAD_SIZE, n);
		used += SESSION_HEAD_SIZE + n;
		left -= n;
	}
	return used;
}

/* Whether all is done that comes before CLOSE. */
static bool
is_goodbye_due(const struct session_core *c)
{
	if (!c->closing)
		return false;
	if (is_hard(c))
		return c->phase == SESSION_LIVE || c->phase == SESSION_GREETING;
	return c->phase == SESSION_LIVE && !c->renewing && c->acked == c->end;
}

static size_t
output_goodbye(struct session_core *c, uint8_t *out, size_t room)
{
	size_t n;

	if (room < SESSION_CONTROL_MAX || !is_goodbye_due(c))
		return 0;
	n = session_build_notice(
	    out, SESSION_CLOSE, c->goodbye.code, c->goodbye.text);
	finish(c);
	return n;
}

size_t
session_core_output(
    struct session_core *c, uint8_t *out, size_t room, uint64_t now_ms)
{
	size_t used;

	if (room < SESSION_OUTPUT_MIN)
		return 0;
	used = output_control(c, out, now_ms);
	used += output_data(c, out + used, room - used);
	used += output_goodbye(c, out + used, room - used);
	return used;
}

bool
session_core_has_output(const struct session_core *c, uint64_t now_ms)
{
	return is_control_waiting(c) || sendable(c) > 0 ||
	       is_ack_wanted(c, now_ms) || is_goodbye_due(c);
}

void
session_core_close(
    struct session_core *c, enum session_close_code code, const char *text)
{
	size_t n = session_fit_text(text);

	if (c->phase == SESSION_OVER || is_hard(c) ||
	    (c->closing && code == SESSION_CLOSE_DONE))
		return;
	c->goodbye.code = (uint16_t)code;
	memcpy(c->goodbye.text, text, n);
	c->goodbye.text[n] = '\0';
	c->closing = true;
	if (code == SESSION_CLOSE_DONE
	        ? c->phase == SESSION_NEW && c->end == 0
	        : c->phase != SESSION_LIVE && c->phase != SESSION_GREETING)
		finish(c);
}

/* --- time --- */

/* Until when silence is taken for life. */
static uint64_t
silence_deadline(const struct session_core *c)
{
	if (c->renewing)
		return c->answer_due_ms;
	if (c->held)
		return c->beat_ms + c->o.idle_ms;
	if (c->ping_out)
		return c->ping_ms + c->o.dead_ms;
	return c->last_in_ms + c->o.idle_ms;
}

static uint64_t
spares_deadline(const struct session_core *c)
{
	return c->spare_count > 0 && c->head == NULL ? c->spares_due_ms
	                                             : UINT64_MAX;
}

static uint64_t
phase_deadline(const struct session_core *c)
{
	switch (c->phase) {
	case SESSION_GREETING:
		return c->answer_due_ms;
	case SESSION_RESUMING:
		return least(c->answer_due_ms, c->window_end_ms);
	case SESSION_PARTED:
		return c->window_end_ms;
	case SESSION_LIVE:
		return least(c->ack_due_ms, silence_deadline(c));
	case SESSION_NEW:
	case SESSION_OVER:
	default:
		return UINT64_MAX;
	}
}

uint64_t
session_core_deadline(const struct session_core *c)
{
	return least(phase_deadline(c), spares_deadline(c));
}

/* A PING that was answered by anything but its PONG shows life, too; only
 * silence since the PING is death. */
static enum session_tick
tick_silence(struct session_core *c, uint64_t now_ms)
{
	if (c->renewing)
		return SESSION_TICK_RENEW;
	if (c->held) {
		c->beat_ms = now_ms;
		c->ack_due_ms = now_ms;
		return SESSION_TICK_OUTPUT;
	}
	if (c->ping_out && c->last_in_ms <= c->ping_ms)
		return SESSION_TICK_DEAD;
	c->ping_out = false;
	if (now_ms < c->last_in_ms + c->o.idle_ms)
		return SESSION_TICK_NONE;
	ask_ping(c, now_ms);
	return SESSION_TICK_OUTPUT;
}

static enum session_tick
tick_live(struct session_core *c, uint64_t now_ms)
{
	enum session_tick t = SESSION_TICK_NONE;

	if (now_ms >= silence_deadline(c))
		t = tick_silence(c, now_ms);
	if (t == SESSION_TICK_NONE && c->ack_due_ms <= now_ms)
		t = SESSION_TICK_OUTPUT;
	return t;
}

enum session_tick
session_core_tick(struct session_core *c, uint64_t now_ms)
{
	if (spares_deadline(c) <= now_ms)
		spares_clear(c);
	switch (c->phase) {
	case SESSION_LIVE:
		return tick_live(c, now_ms);
	case SESSION_GREETING:
		return now_ms >= c->answer_due_ms ? SESSION_TICK_DEAD
		                                  : SESSION_TICK_NONE;
	case SESSION_RESUMING:
		if (now_ms >= c->window_end_ms)
			break;
		return now_ms >= c->answer_due_ms ? SESSION_TICK_DEAD
		                                  : SESSION_TICK_NONE;
	case SESSION_PARTED:
		if (now_ms >= c->window_end_ms)
			break;
		return SESSION_TICK_NONE;
	case SESSION_NEW:
	case SESSION_OVER:
	default:
		return SESSION_TICK_NONE;
	}
	finish(c);
	return SESSION_TICK_OVER;
}

/* --- looking --- */

enum session_phase
session_core_phase(const struct session_core *c)
{
	return c->phase;
}

bool
session_core_had_secret(const struct session_core *c)
{
	return c->has_secret;
}

const uint8_t *
session_core_id(const struct session_core *c)
{
	return c->o.id;
}

void
session_core_stats(const struct session_core *c, struct session_stats *s)
{
	*s = (struct session_stats){.bytes_in = c->received,
	    .bytes_out = c->acked,
	    .unacked = session_core_kept(c),
	    .resumes = c->resumes,
	    .rtt_ms = c->rtt_ms};
}

/* SPDX-License-Identifier: MIT
 *
 * The listener's table of sessions, and the carriers of which nobody knows yet
 * whose they are (guests): a guest's first frame decides. A guest is refused
 * by a REFUSE and an orderly end, or dropped when it says something else.
 *
 * Ids of sessions that are over are remembered for a while, so that a sender
 * that comes back is told so (410) instead of looking for another listener.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "net/loop.h"
#include "net/stream.h"
#include "session/session.h"
#include "session/session_inside.h"
#include "util/crypt.h"
#include "util/list.h"
#include "util/mem.h"

#define SESSIONS_MAX 1000u
#define GUESTS_MAX 1000u
#define GREETING_MS 10000u
#define LEAVE_MS 3000u
#define BUCKETS 256u
#define GONE_MAX 1024u

/* A session of the table; the session itself belongs to whoever took it. */
struct entry {
	struct list link;
	struct session_host *host;
	struct session *session;
};

struct guest {
	struct list link;
	struct session_host *host;
	struct stream *carrier; /* NULL: handed over or closed */
	struct session_decoder decoder;
	struct timer timer;
	bool leaving;
};

struct session_host {
	struct loop *loop;
	struct session_core_options core;
	const struct session_host_events *events;
	void *owner;
	unsigned max_sessions;
	uint32_t greeting_ms;
	bool draining;
	unsigned count;
	struct list buckets[BUCKETS];
	struct list guests;
	unsigned guest_count;
	/* The ids that were over last, in a circle. */
	uint8_t (*gone)[SESSION_ID_SIZE];
	unsigned gone_count;
	unsigned gone_at;
};

/* --- the table --- */

/* Ids come from senders: one that likes long chains finds them here, and the
 * number of sessions bounds their length. */
static struct list *
bucket_of(struct session_host *h, const uint8_t *id)
{
	return &h->buckets[(id[0] ^ id[7] ^ id[15]) % BUCKETS];
}

static struct session *
find(struct session_host *h, const uint8_t *id)
{
	struct list *bucket = bucket_of(h, id);
	struct list *at;

	LIST_EACH (at, bucket) {
		struct session *s = LIST_OF(at, struct entry, link)->session;

		if (memcmp(session_id(s), id, SESSION_ID_SIZE) == 0)
			return s;
	}
	return NULL;
}

static bool
is_gone(const struct session_host *h, const uint8_t *id)
{
	for (unsigned i = 0; i < h->gone_count; i++)
		if (memcmp(h->gone[i], id, SESSION_ID_SIZE) == 0)
			return true;
	return false;
}

static void
remember(struct session_host *h, const uint8_t *id)
{
	if (h->gone == NULL)
		h->gone = mem_alloc(sizeof(*h->gone) * GONE_MAX);
	memcpy(h->gone[h->gone_at], id, SESSION_ID_SIZE);
	h->gone_at = (h->gone_at + 1) % GONE_MAX;
	if (h->gone_count < GONE_MAX)
		h->gone_count++;
}

static void
on_session_over(void *owner)
{
	struct entry *e = owner;

	remember(e->host, session_id(e->session));
	e->host->count--;
	list_remove(&e->link);
	free(e);
}

/* --- guests --- */

/* The guest dies; the carrier is no longer its own. */
static struct stream *
bury(struct guest *g)
{
	struct stream *c = g->carrier;

	g->carrier = NULL;
	timer_clear(&g->timer);
	list_remove(&g->link);
	g->host->guest_count--;
	loop_bury(g->host->loop, g, free);
	return c;
}

static void
refuse(struct guest *g, int code, const char *text)
{
	uint8_t frame[SESSION_CONTROL_MAX];
	size_t n =
	    session_build_notice(frame, SESSION_REFUSE, (uint16_t)code, text);

	g->leaving = true;
	stream_put(g->carrier, frame, n);
	stream_shutdown(g->carrier);
	timer_set(&g->timer, LEAVE_MS);
}

static void
admit(struct guest *g, const struct session_hello *hello, const uint8_t *rest,
    size_t len)
{
	struct session_host *h = g->host;
	struct session_core_options o = h->core;
	struct entry *e = mem_zalloc(sizeof(*e));

	o.is_listener = true;
	memcpy(o.id, hello->id, sizeof(o.id));
	crypt_random(o.random, sizeof(o.random));
	e->host = h;
	e->session = session_accept(h->loop, &o, hello, on_session_over, e);
	list_append(bucket_of(h, o.id), &e->link);
	h->count++;
	session_begin(e->session, bury(g), rest, len);
	h->events->on_session(h->owner, e->session);
}

/* False: it broke the protocol. */
static bool
on_hello(struct guest *g, const struct session_item *item, const uint8_t *rest,
    size_t len)
{
	struct session_host *h = g->host;
	struct session_hello hello;
	bool bad_version;

	if (!session_parse_hello(&hello, item->data, item->len, &bad_version)) {
		if (bad_version)
			refuse(g, SESSION_REFUSE_VERSION,
			    "this version is not spoken here");
		return bad_version;
	}
	if (hello.options != h->core.options)
		refuse(g, SESSION_REFUSE_VERSION,
		    (h->core.options & SESSION_OPTION_TLS) != 0
		        ? "end-to-end encryption is required here"
		        : "end-to-end encryption is switched off here");
	else if (find(h, hello.id) != NULL || is_gone(h, hello.id))
		refuse(g, SESSION_REFUSE_EPOCH, "this session was here before");
	else if (h->draining)
		refuse(g, SESSION_REFUSE_BUSY, "the listener is ending");
	else if (h->count >= h->max_sessions)
		refuse(g, SESSION_REFUSE_BUSY, "too many sessions");
	else
		admit(g, &hello, rest, len);
	return true;
}

static const char *
refusal_text(int code)
{
	switch (code) {
	case SESSION_REFUSE_PROOF:
		return "the proof is wrong";
	case SESSION_REFUSE_EPOCH:
		return "this was said before";
	default:
		return "the session is over";
	}
}

static bool
on_resume(struct guest *g, const struct session_item *item, const uint8_t *rest,
    size_t len)
{
	struct session_host *h = g->host;
	struct session_resume r;
	struct session *s;
	bool bad_version;
	int code;

	if (!session_parse_resume(&r, item->data, item->len, &bad_version)) {
		if (bad_version)
			refuse(g, SESSION_REFUSE_VERSION,
			    "this version is not spoken here");
		return bad_version;
	}
	s = find(h, r.id);
	if (s == NULL && is_gone(h, r.id)) {
		refuse(g, SESSION_REFUSE_GONE, "the session is over");
		return true;
	}
	if (s == NULL) {
		refuse(g, SESSION_REFUSE_MISDIRECTED, "no such session here");
		return true;
	}
	code = session_resume(s, &r, g->carrier, rest, len);
	if (code == 0)
		bury(g);
	else
		refuse(g, code, refusal_text(code));
	return true;
}

static void
on_guest_data(void *owner, uint8_t *data, size_t len)
{
	struct guest *g = owner;
	struct session_item item;
	bool ok = false;

	if (g->carrier == NULL || g->leaving)
		return;
	session_decoder_next(&g->decoder, &data, &len, &item);
	if (item.kind == SESSION_ITEM_NONE) {
		/* DATA without payload yet is no first frame either. */
		if (!g->decoder.in_frame || g->decoder.type == SESSION_HELLO ||
		    g->decoder.type == SESSION_RESUME)
			return;
	} else if (item.kind == SESSION_ITEM_FRAME) {
		if (item.type == SESSION_HELLO)
			ok = on_hello(g, &item, data, len);
		else if (item.type == SESSION_RESUME)
			ok = on_resume(g, &item, data, len);
	}
	if (!ok)
		stream_reset(bury(g));
}

static void
on_guest_end(void *owner)
{
	struct guest *g = owner;

	if (g->carrier != NULL && !g->leaving)
		stream_close(bury(g));
}

static void
on_guest_drain(void *owner)
{
	struct guest *g = owner;

	if (g->carrier != NULL && g->leaving)
		stream_close(bury(g));
}

static void
on_guest_error(void *owner, const struct err *e)
{
	struct guest *g = owner;

	(void)e;
	if (g->carrier != NULL)
		stream_close(bury(g));
}

static void
on_guest_due(void *owner)
{
	struct guest *g = owner;

	if (g->leaving)
		stream_close(bury(g));
	else
		stream_reset(bury(g));
}

static const struct stream_events guest_events = {
    .on_data = on_guest_data,
    .on_end = on_guest_end,
    .on_drain = on_guest_drain,
    .on_error = on_guest_error,
};

/* --- life --- */

struct session_host *
session_host_open(struct loop *l, const struct session_host_options *o,
    const struct session_host_events *events, void *owner)
{
	struct session_host *h = mem_zalloc(sizeof(*h));

	h->loop = l;
	h->core = o->core;
	h->events = events;
	h->owner = owner;
	h->max_sessions = o->max_sessions > 0 ? o->max_sessions : SESSIONS_MAX;
	h->greeting_ms = o->greeting_ms > 0 ? o->greeting_ms : GREETING_MS;
	for (unsigned i = 0; i < BUCKETS; i++)
		list_init(&h->buckets[i]);
	list_init(&h->guests);
	return h;
}

void
session_host_take(struct session_host *h, struct stream *carrier)
{
	struct guest *g;

	if (h->guest_count >= GUESTS_MAX) {
		stream_reset(carrier);
		return;
	}
	g = mem_zalloc(sizeof(*g));
	g->host = h;
	g->carrier = carrier;
	session_decoder_init(&g->decoder);
	timer_init(&g->timer, h->loop, on_guest_due, g);
	timer_set(&g->timer, h->greeting_ms);
	list_append(&h->guests, &g->link);
	h->guest_count++;
	stream_set_owner(carrier, &guest_events, g);
	stream_start(carrier);
}

void
session_host_drain(struct session_host *h)
{
	h->draining = true;
}

unsigned
session_host_count(const struct session_host *h)
{
	return h->count;
}

static void
free_host(void *object)
{
	struct session_host *h = object;

	free(h->gone);
	free(h);
}

void
session_host_close(struct session_host *h)
{
	struct list *at, *after;

	LIST_EACH_SAFE (at, after, &h->guests)
		stream_close(bury(LIST_OF(at, struct guest, link)));
	for (unsigned i = 0; i < BUCKETS; i++)
		LIST_EACH_SAFE (at, after, &h->buckets[i]) {
			struct entry *e = LIST_OF(at, struct entry, link);

			session_forget_host(e->session);
			list_remove(&e->link);
			free(e);
		}
	loop_bury(h->loop, h, free_host);
}

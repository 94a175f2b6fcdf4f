/* SPDX-License-Identifier: MIT
 *
 * Each half holds what its owner wrote and the "kernel" has not taken (out)
 * and what is under way to it (in). One deferred call does one step, reports
 * at most one event, and asks for the next call when there is more to do.
 */
#include "memstream.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "net/loop.h"
#include "net/stream.h"
#include "util/buf.h"
#include "util/mem.h"

/* What the headers of one layer above leave of the headroom. */
#define SPARE_HEADROOM (STREAM_HEADROOM - 16)

struct half {
	struct stream base;
	struct half *peer; /* NULL: closed */
	struct deferred work;
	struct buf in;
	struct buf out;
	const size_t *sizes;
	size_t sizes_count;
	size_t sizes_at;
	struct err fault;
	bool told;
	bool reading;
	bool stalled;
	bool cut;
	bool above;
	bool fin_comes; /* the peer's end is behind what is in `in` */
	bool ended;
	bool drained;
};

static const struct stream_ops ops;

static struct half *
half_of(const struct stream *s)
{
	assert(s->ops == &ops);
	return (struct half *)(void *)s;
}

static void
fault(struct half *h, enum err_code code, const char *text)
{
	if (h->fault.code != ERR_NONE)
		return;
	err_set(&h->fault, code, "%s", text);
	buf_fini(&h->in);
	buf_fini(&h->out);
	deferred_set(&h->work);
}

/* --- the network --- */

static void
carry(struct half *h)
{
	struct half *to = h->peer;
	size_t n = buf_len(&h->out);

	if (h->cut || to == NULL || to->stalled || to->fault.code != ERR_NONE)
		return;
	if (n > MEMSTREAM_ROOM - buf_len(&to->in))
		n = MEMSTREAM_ROOM - buf_len(&to->in);
	if (n > 0) {
		(void)buf_append(&to->in, buf_data(&h->out), n);
		buf_consume(&h->out, n);
		deferred_set(&to->work);
	}
	if (h->base.is_shut && !to->fin_comes && buf_len(&h->out) == 0) {
		to->fin_comes = true;
		deferred_set(&to->work);
	}
}

static bool
is_drain_due(struct half *h)
{
	if (h->base.is_shut) {
		bool gone = h->peer == NULL || h->peer->fin_comes;

		if (h->drained || buf_len(&h->out) > 0 || !gone)
			return false;
		h->drained = true;
		return true;
	}
	if (!h->above || buf_len(&h->out) > STREAM_QUEUE_MARK / 4)
		return false;
	h->above = false;
	return true;
}

static size_t
piece(struct half *h)
{
	size_t n = buf_len(&h->in);
	size_t most = n;

	if (h->sizes_count > 0) {
		most = h->sizes[h->sizes_at];
		h->sizes_at = (h->sizes_at + 1) % h->sizes_count;
	}
	return n < most ? n : most;
}

static void
deliver(struct half *h)
{
	struct loop *l = h->base.loop;
	uint8_t *block = loop_block_take(l);
	size_t n = piece(h);

	memcpy(block + STREAM_HEADROOM, buf_data(&h->in), n);
	buf_consume(&h->in, n);
	if (h->peer != NULL)
		deferred_set(&h->peer->work);
	deferred_set(&h->work);
	h->base.bytes_in += n;
	h->base.events->on_data(h->base.owner, block + STREAM_HEADROOM, n);
	loop_block_give(l, block);
}

static void
step(void *owner)
{
	struct half *h = owner;

	if (h->base.events == NULL)
		return;
	if (h->fault.code != ERR_NONE) {
		if (!h->told) {
			h->told = true;
			h->base.events->on_error(h->base.owner, &h->fault);
		}
		return;
	}
	carry(h);
	if (is_drain_due(h)) {
		deferred_set(&h->work);
		h->base.events->on_drain(h->base.owner);
	} else if (h->reading && !h->cut && buf_len(&h->in) > 0) {
		deliver(h);
	} else if (h->reading && !h->cut && h->fin_comes && !h->ended) {
		h->ended = true;
		h->base.events->on_end(h->base.owner);
	}
}

/* --- the stream --- */

static void
half_start(struct stream *s)
{
	half_of(s)->reading = true;
	deferred_set(&half_of(s)->work);
}

static void
half_stop(struct stream *s)
{
	half_of(s)->reading = false;
}

static bool
half_write(struct stream *s, uint8_t *data, size_t len)
{
	struct half *h = half_of(s);

	if (h->fault.code != ERR_NONE)
		return false;
	if (h->peer == NULL && !h->cut)
		fault(h, ERR_RESET, "the other half is closed");
	else if (!buf_append(&h->out, data, len))
		fault(h, ERR_TOO_BIG, "too much is queued");
	/* The contract allows this; who relies on the bytes must notice. A
	 * WebSocket above has used up its part of the headroom. */
	memset(data - SPARE_HEADROOM, 0x5a, SPARE_HEADROOM);
	memset(data, 0xa5, len);
	if (h->fault.code != ERR_NONE)
		return false;
	carry(h);
	if (buf_len(&h->out) > STREAM_QUEUE_MARK)
		h->above = true;
	return !h->above;
}

static void
half_shutdown(struct stream *s)
{
	half_of(s)->above = false;
	deferred_set(&half_of(s)->work);
}

static size_t
half_queued(const struct stream *s)
{
	return buf_len(&half_of(s)->out);
}

static void
half_free(void *object)
{
	struct half *h = object;

	buf_fini(&h->in);
	buf_fini(&h->out);
	free(h);
}

static void
half_close(struct stream *s, bool reset)
{
	struct half *h = half_of(s);
	struct half *to = h->peer;

	if (!reset && h->fault.code == ERR_NONE)
		carry(h);
	if (to != NULL && !h->cut) {
		if (reset)
			fault(to, ERR_RESET, "the other half was reset");
		to->fin_comes = true;
		deferred_set(&to->work);
	}
	if (to != NULL)
		to->peer = NULL;
	deferred_clear(&h->work);
	loop_bury(s->loop, h, half_free);
}

static const struct stream_ops ops = {
    .start = half_start,
    .stop = half_stop,
    .write = half_write,
    .shutdown = half_shutdown,
    .close = half_close,
    .queued = half_queued,
};

static struct half *
half_new(struct loop *l)
{
	struct half *h = mem_zalloc(sizeof(*h));

	stream_init(&h->base, &ops, l);
	deferred_init(&h->work, l, step, h);
	buf_init(&h->in, MEMSTREAM_ROOM);
	buf_init(&h->out, STREAM_QUEUE_MAX);
	return h;
}

void
memstream_pair(struct loop *l, struct stream **a, struct stream **b)
{
	struct half *x = half_new(l);
	struct half *y = half_new(l);

	x->peer = y;
	y->peer = x;
	*a = &x->base;
	*b = &y->base;
}

void
memstream_set_split(struct stream *s, const size_t *sizes, size_t count)
{
	struct half *h = half_of(s);

	h->sizes = sizes;
	h->sizes_count = count;
	h->sizes_at = 0;
}

void
memstream_stall(struct stream *s, bool stalled)
{
	struct half *h = half_of(s);

	h->stalled = stalled;
	if (!stalled && h->peer != NULL)
		deferred_set(&h->peer->work);
}

void
memstream_cut(struct stream *s)
{
	struct half *h = half_of(s);

	h->cut = true;
	if (h->peer != NULL)
		h->peer->cut = true;
}

void
memstream_break(struct stream *s, enum err_code code)
{
	fault(half_of(s), code, "broken by the test");
}

/* --- test data --- */

uint64_t
memstream_hash(uint64_t hash, const void *data, size_t len)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ p[i]) * 0x100000001b3ull;
	return hash;
}

void
memstream_fill(void *data, size_t len, size_t at)
{
	uint8_t *p = data;

	for (size_t i = 0; i < len; i++, at++)
		p[i] = (uint8_t)((at * 31) ^ (at >> 8) ^ (at >> 16));
}

uint64_t
memstream_fill_hash(size_t len)
{
	uint8_t part[4096];
	uint64_t hash = MEMSTREAM_HASH;

	for (size_t at = 0; at < len; at += sizeof(part)) {
		size_t n = len - at < sizeof(part) ? len - at : sizeof(part);

		memstream_fill(part, n, at);
		hash = memstream_hash(hash, part, n);
	}
	return hash;
}

/* --- the recorder --- */

static void
on_open(void *owner)
{
	((struct recorder *)owner)->opens++;
}

static void
on_data(void *owner, uint8_t *data, size_t len)
{
	struct recorder *r = owner;
	size_t room = sizeof(r->text) - 1;

	if (r->bytes < room) {
		size_t n = len < room - r->bytes ? len : room - r->bytes;

		memcpy(r->text + r->bytes, data, n);
	}
	r->bytes += len;
	r->pieces++;
	if (len > r->largest)
		r->largest = len;
	r->hash = memstream_hash(r->hash, data, len);
	/* Scratch may be overwritten, headroom included. */
	memset(data - STREAM_HEADROOM, 0xee, STREAM_HEADROOM + len);
	if (r->stop_each)
		stream_stop(r->stream);
}

static void
on_end(void *owner)
{
	((struct recorder *)owner)->ends++;
}

static void
on_drain(void *owner)
{
	((struct recorder *)owner)->drains++;
}

static void
on_error(void *owner, const struct err *err)
{
	struct recorder *r = owner;

	r->errors++;
	r->err = *err;
}

static const struct stream_events events = {
    .on_open = on_open,
    .on_data = on_data,
    .on_end = on_end,
    .on_drain = on_drain,
    .on_error = on_error,
};

void
recorder_own(struct recorder *r, struct stream *s)
{
	*r = (struct recorder){.stream = s, .hash = MEMSTREAM_HASH};
	stream_set_owner(s, &events, r);
}

void
recorder_close(struct recorder *r)
{
	if (r->stream != NULL)
		stream_close(r->stream);
	r->stream = NULL;
}

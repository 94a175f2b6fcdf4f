/* SPDX-License-Identifier: MIT
 *
 * Two sides, each with a stream; what one side reads the other one writes, in
 * the same scratch memory. A direction is done when its end was read, passed
 * on, and the sink has handed all of it to the kernel (the last on_drain).
 */
#include "net/pump.h"

#include <assert.h>
#include <stdlib.h>

#include "net/loop.h"
#include "net/stream.h"
#include "util/mem.h"

struct side {
	struct pump *pump;
	struct stream *stream; /* NULL: closed */
	uint64_t bytes;        /* read here and given to the other side */
	bool ended;            /* its on_end was passed on */
	bool drained;          /* all that was written, and the end, went out */
};

struct pump {
	struct side a;
	struct side b;
	struct loop *loop;
	const struct pump_events *events;
	void *owner;
	bool closing;
};

static struct side *
other_of(struct side *from)
{
	struct pump *p = from->pump;

	return from == &p->a ? &p->b : &p->a;
}

static void
end_streams(struct pump *p, bool reset)
{
	struct side *sides[] = {&p->a, &p->b};

	for (size_t i = 0; i < 2; i++) {
		struct stream *s = sides[i]->stream;

		sides[i]->stream = NULL;
		if (s != NULL && reset)
			stream_reset(s);
		else if (s != NULL)
			stream_close(s);
	}
}

static bool
is_done(const struct side *s)
{
	return s->ended && s->drained;
}

static void
finish_if_done(struct pump *p)
{
	if (!is_done(&p->a) || !is_done(&p->b))
		return;
	end_streams(p, false);
	p->events->on_done(p->owner, NULL, false);
}

static void
on_open(void *owner)
{
	struct side *side = owner;
	struct pump *p = side->pump;

	if (p->events->on_open != NULL)
		p->events->on_open(p->owner);
}

static void
on_data(void *owner, uint8_t *data, size_t len)
{
	struct side *from = owner;

	from->bytes += len;
	if (!stream_write(other_of(from)->stream, data, len))
		stream_stop(from->stream);
}

static void
on_end(void *owner)
{
	struct side *from = owner;

	from->ended = true;
	stream_shutdown(other_of(from)->stream);
}

static void
on_drain(void *owner)
{
	struct side *to = owner;
	struct side *from = other_of(to);

	if (from->ended) {
		to->drained = true;
		finish_if_done(to->pump);
	} else {
		stream_start(from->stream);
	}
}

/* A side that has given and taken everything has nothing left to break. */
static void
on_error(void *owner, const struct err *err)
{
	struct side *from = owner;
	struct pump *p = from->pump;

	if (is_done(from))
		return;
	end_streams(p, true);
	p->events->on_done(p->owner, err, from == &p->a);
}

static const struct stream_events events = {
    .on_open = on_open,
    .on_data = on_data,
    .on_end = on_end,
    .on_drain = on_drain,
    .on_error = on_error,
};

static void
take_side(struct side *side, struct pump *p, struct stream *s)
{
	side->pump = p;
	side->stream = s;
	stream_set_owner(s, &events, side);
	stream_start(s);
}

struct pump *
pump_open(struct stream *a, struct stream *b, const struct pump_events *ev,
    void *owner)
{
	struct pump *p = mem_zalloc(sizeof(*p));

	assert(a->loop == b->loop);
	p->loop = a->loop;
	p->events = ev;
	p->owner = owner;
	take_side(&p->a, p, a);
	take_side(&p->b, p, b);
	return p;
}

void
pump_bytes(const struct pump *p, uint64_t *a_to_b, uint64_t *b_to_a)
{
	*a_to_b = p->a.bytes;
	*b_to_a = p->b.bytes;
}

void
pump_close(struct pump *p)
{
	assert(!p->closing);
	p->closing = true;
	end_streams(p, true);
	loop_bury(p->loop, p, free);
}

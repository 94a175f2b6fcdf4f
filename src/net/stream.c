/* SPDX-License-Identifier: MIT
 *
 * The thin part that all kinds of streams share: the contract's own faults
 * (use after close, writing after the end) are caught here, once for all
 * kinds, and bytes are counted on their way out.
 */
#include "net/stream.h"

#include <assert.h>
#include <string.h>

#include "net/loop.h"

#define STREAM_MAGIC_DEAD 0xdeadbe57u

void
stream_init(struct stream *s, const struct stream_ops *ops, struct loop *l)
{
	*s = (struct stream){.ops = ops, .loop = l, .magic = STREAM_MAGIC};
}

void
stream_set_owner(
    struct stream *s, const struct stream_events *events, void *owner)
{
	assert(s->magic == STREAM_MAGIC);
	s->events = events;
	s->owner = owner;
}

void
stream_start(struct stream *s)
{
	assert(s->magic == STREAM_MAGIC);
	s->ops->start(s);
}

void
stream_stop(struct stream *s)
{
	assert(s->magic == STREAM_MAGIC);
	s->ops->stop(s);
}

bool
stream_write(struct stream *s, uint8_t *data, size_t len)
{
	assert(s->magic == STREAM_MAGIC);
	assert(!s->is_shut && len > 0);
	s->bytes_out += len;
	return s->ops->write(s, data, len);
}

bool
stream_put(struct stream *s, const void *data, size_t len)
{
	uint8_t *block = loop_block_take(s->loop);
	const uint8_t *from = data;
	bool ok = true;

	assert(len > 0);
	while (len > 0) {
		size_t n = len < STREAM_TURN ? len : STREAM_TURN;

		memcpy(block + STREAM_HEADROOM, from, n);
		ok = stream_write(s, block + STREAM_HEADROOM, n);
		from += n;
		len -= n;
	}
	loop_block_give(s->loop, block);
	return ok;
}

void
stream_shutdown(struct stream *s)
{
	assert(s->magic == STREAM_MAGIC);
	assert(!s->is_shut);
	s->is_shut = true;
	s->ops->shutdown(s);
}

static void
end(struct stream *s, bool reset)
{
	assert(s->magic == STREAM_MAGIC);
	s->magic = STREAM_MAGIC_DEAD;
	s->events = NULL;
	s->ops->close(s, reset);
}

void
stream_close(struct stream *s)
{
	end(s, false);
}

void
stream_reset(struct stream *s)
{
	end(s, true);
}

size_t
stream_queued(const struct stream *s)
{
	assert(s->magic == STREAM_MAGIC);
	return s->ops->queued(s);
}

void
stream_set_turn(struct stream *s, size_t bytes)
{
	assert(s->magic == STREAM_MAGIC);
	if (s->ops->set_turn != NULL)
		s->ops->set_turn(s, bytes);
}

struct stream *
stream_bottom(struct stream *s)
{
	for (;;) {
		struct stream *below;

		assert(s->magic == STREAM_MAGIC);
		below = s->ops->below != NULL ? s->ops->below(s) : NULL;
		if (below == NULL)
			return s;
		s = below;
	}
}

/* SPDX-License-Identifier: MIT
 *
 * A capsule's head is written in front of the payload, into its headroom; so a
 * datagram is copied by nobody but the stream.
 */
#include "tunnel/datagrams.h"

#include <assert.h>
#include <stdlib.h>

#include "mux/capsule.h"
#include "net/loop.h"
#include "net/stream.h"
#include "util/err.h"
#include "util/mem.h"

struct datagrams {
	struct stream *stream; /* NULL: over */
	struct loop *loop;
	struct capsule_reader reader;
	const struct datagrams_events *events;
	void *owner;
	uint64_t sent, received;
	bool is_full;
	bool closing;
};

static void
finish(struct datagrams *d, const struct err *err, bool reset)
{
	struct stream *s = d->stream;

	d->stream = NULL;
	if (reset)
		stream_reset(s);
	else
		stream_close(s);
	d->events->on_done(d->owner, err);
}

static void
on_open(void *owner)
{
	struct datagrams *d = owner;

	if (d->events->on_open != NULL)
		d->events->on_open(d->owner);
}

static void
on_data(void *owner, uint8_t *data, size_t len)
{
	struct datagrams *d = owner;
	enum capsule_result result;
	uint8_t *payload;
	size_t n;
	struct err err;

	do {
		result =
		    capsule_next(&d->reader, &data, &len, &payload, &n, &err);
		if (result != CAPSULE_DATAGRAM)
			break;
		d->received += n;
		d->events->on_datagram(d->owner, payload, n);
	} while (d->stream != NULL);
	if (result == CAPSULE_BAD && d->stream != NULL)
		finish(d, &err, true);
}

static void
on_end(void *owner)
{
	struct datagrams *d = owner;
	struct err err;

	if (capsule_is_between(&d->reader)) {
		finish(d, NULL, false);
		return;
	}
	err_set(&err, ERR_PROTOCOL, "a datagram was cut short");
	finish(d, &err, true);
}

static void
on_drain(void *owner)
{
	struct datagrams *d = owner;

	if (!d->is_full)
		return;
	d->is_full = false;
	d->events->on_pause(d->owner, false);
}

static void
on_error(void *owner, const struct err *err)
{
	struct err copy = *err;

	finish(owner, &copy, true);
}

static const struct stream_events events = {
    .on_open = on_open,
    .on_data = on_data,
    .on_end = on_end,
    .on_drain = on_drain,
    .on_error = on_error,
};

struct datagrams *
datagrams_open(struct stream *s, const struct datagrams_events *ev, void *owner)
{
	struct datagrams *d = mem_zalloc(sizeof(*d));

	d->stream = s;
	d->loop = s->loop;
	d->events = ev;
	d->owner = owner;
	capsule_reader_init(&d->reader);
	stream_set_owner(s, &events, d);
	stream_start(s);
	return d;
}

bool
datagrams_send(struct datagrams *d, uint8_t *data, size_t len)
{
	uint8_t head[CAPSULE_HEAD_MAX];
	size_t n;

	if (d->stream == NULL || d->is_full || len > CAPSULE_PAYLOAD_MAX)
		return false;
	n = capsule_build_head(head, len);
	for (size_t i = 0; i < n; i++)
		(data - n)[i] = head[i];
	d->sent += len;
	if (!stream_write(d->stream, data - n, n + len)) {
		d->is_full = true;
		d->events->on_pause(d->owner, true);
	}
	return true;
}

void
datagrams_bytes(const struct datagrams *d, uint64_t *sent, uint64_t *received)
{
	*sent = d->sent;
	*received = d->received;
}

static void
free_datagrams(void *object)
{
	struct datagrams *d = object;

	capsule_reader_fini(&d->reader);
	free(d);
}

void
datagrams_close(struct datagrams *d)
{
	assert(!d->closing);
	d->closing = true;
	if (d->stream != NULL)
		stream_reset(d->stream);
	d->stream = NULL;
	loop_bury(d->loop, d, free_datagrams);
}

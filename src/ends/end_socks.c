/* SPDX-License-Identifier: MIT
 *
 * A thin face of socks_wire over accepted streams. A request owns its stream
 * from the accept to the answer; a refused one lingers until its last words are
 * with the kernel, so that the application reads why before it sees the end.
 *
 *   reading --request--> asked --accept--> (the stream is the caller's)
 *        \                  \--refuse--> leaving --both ended, too slow--> dead
 *         \--bad------------------------/
 */
#include "ends/end_socks.h"

#include <assert.h>
#include <stdlib.h>

#include "ends/end.h"
#include "ends/end_udp.h"
#include "net/loop.h"
#include "net/sock.h"
#include "net/stream.h"
#include "util/buf.h"
#include "util/err.h"
#include "util/list.h"
#include "util/mem.h"

/* What lies behind the request: what one read brought, and the request's own
 * bytes that came before. */
#define EARLY_MAX (STREAM_TURN + SOCKS_WIRE_STEP_MAX)

/* For the last words of a refused request. */
#define LEAVE_MS 5000

struct end_socks {
	struct loop *loop;
	const struct end_socks_events *events;
	void *owner;
	struct end_listener *listener;
	uint64_t deadline_ms;
	struct list requests; /* reading, asked or leaving */
	unsigned n_reading;
};

enum state { READING, ASKED, LEAVING, DEAD };

struct end_socks_request {
	struct list link;
	struct end_socks *of;
	struct loop *loop;
	void *owner;
	struct stream *stream;
	struct addr peer;
	struct socks_wire wire;
	struct buf in;
	struct timer deadline;
	enum state state;
	bool drained; /* leaving: all is said */
	bool ended;   /* leaving: and the application has ended, too */
};

/* --- the end of a request --- */

static void
request_free(void *object)
{
	struct end_socks_request *r = object;

	buf_fini(&r->in);
	free(r);
}

/* The stream has been closed or handed over. */
static void
request_end(struct end_socks_request *r)
{
	if (r->state == READING)
		r->of->n_reading--;
	r->state = DEAD;
	timer_clear(&r->deadline);
	list_remove(&r->link);
	loop_bury(r->loop, r, request_free);
}

static void
request_close(struct end_socks_request *r)
{
	stream_close(r->stream);
	request_end(r);
}

static void
request_reset(struct end_socks_request *r)
{
	stream_reset(r->stream);
	request_end(r);
}

/* Says what is in the reply and ends in good order. Closing at once, with bytes
 * of the application unread, would be a reset that overtakes the reply. */
static void
leave(struct end_socks_request *r)
{
	if (r->state == READING)
		r->of->n_reading--;
	r->state = LEAVING;
	buf_fini(&r->in);
	if (r->wire.reply_len > 0)
		stream_put(r->stream, r->wire.reply, r->wire.reply_len);
	stream_shutdown(r->stream);
	stream_start(r->stream);
	timer_set(&r->deadline, LEAVE_MS);
}

/* --- reading it --- */

static void
tell_bad(struct end_socks *s, const struct err *err)
{
	if (s->events->on_bad != NULL)
		s->events->on_bad(s->owner, err);
}

/* Steps as far as the bytes reach. */
static void
read_steps(struct end_socks_request *r)
{
	for (;;) {
		struct err e;
		size_t used;
		enum socks_wire_result result = socks_wire_read(
		    &r->wire, buf_data(&r->in), buf_len(&r->in), &used, &e);

		if (used > 0)
			buf_consume(&r->in, used);
		switch (result) {
		case SOCKS_WIRE_MORE:
			return;
		case SOCKS_WIRE_STEP:
			if (r->wire.reply_len > 0)
				stream_put(r->stream, r->wire.reply,
				    r->wire.reply_len);
			break;
		case SOCKS_WIRE_DONE:
			stream_stop(r->stream);
			timer_clear(&r->deadline);
			r->of->n_reading--;
			r->state = ASKED;
			r->of->events->on_request(r->of->owner, r);
			return;
		case SOCKS_WIRE_BAD:
			leave(r);
			tell_bad(r->of, &e);
			return;
		}
	}
}

static void
on_data(void *owner, uint8_t *data, size_t len)
{
	struct end_socks_request *r = owner;

	if (r->state != READING)
		return; /* leaving: what it still sends is of no use */
	if (!buf_append(&r->in, data, len)) {
		request_reset(r); /* cannot be: a step is much shorter */
		return;
	}
	read_steps(r);
}

static void
on_end(void *owner)
{
	struct end_socks_request *r = owner;

	r->ended = true;
	if (r->state == READING)
		request_reset(r);
	else if (r->drained)
		request_close(r);
}

/* Leaving: the last words and the end are with the kernel. */
static void
on_drain(void *owner)
{
	struct end_socks_request *r = owner;

	if (r->state != LEAVING)
		return;
	r->drained = true;
	if (r->ended)
		request_close(r);
}

static void
on_error(void *owner, const struct err *err)
{
	struct end_socks_request *r = owner;
	bool was_asked = r->state == ASKED;
	struct end_socks *s = r->of;

	(void)err;
	stream_close(r->stream);
	request_end(r);
	if (was_asked)
		s->events->on_cancel(s->owner, r);
}

static const struct stream_events stream_events = {
    .on_data = on_data,
    .on_end = on_end,
    .on_drain = on_drain,
    .on_error = on_error,
};

static void
on_deadline(void *owner)
{
	struct end_socks_request *r = owner;
	struct end_socks *s = r->of;
	bool was_reading = r->state == READING;
	struct err e;

	request_reset(r);
	if (!was_reading)
		return;
	err_set(&e, ERR_TIMEOUT,
	    "an application connected and asked for nothing within %llu ms",
	    (unsigned long long)s->deadline_ms);
	tell_bad(s, &e);
}

/* --- accepting --- */

static void
on_accept(void *owner, struct stream *stream, const struct addr *peer)
{
	struct end_socks *s = owner;
	struct end_socks_request *r;

	if (s->n_reading >= END_SOCKS_READING_MAX) {
		stream_reset(stream);
		return;
	}
	r = mem_zalloc(sizeof(*r));
	r->of = s;
	r->loop = s->loop;
	r->stream = stream;
	if (!addr_is_unix(peer))
		r->peer = *peer;
	r->state = READING;
	s->n_reading++;
	socks_wire_init(&r->wire);
	buf_init(&r->in, EARLY_MAX);
	list_init(&r->link);
	list_append(&s->requests, &r->link);
	timer_init(&r->deadline, s->loop, on_deadline, r);
	timer_set(&r->deadline, s->deadline_ms);
	stream_set_owner(stream, &stream_events, r);
	stream_start(stream);
}

static void
on_pause(void *owner, bool paused, const struct err *err)
{
	struct end_socks *s = owner;

	if (s->events->on_pause != NULL)
		s->events->on_pause(s->owner, paused, err);
}

static const struct end_listener_events listener_events = {
    .on_accept = on_accept,
    .on_pause = on_pause,
};

struct end_socks *
end_socks_open(struct loop *l, const struct end *x,
    const struct end_socks_options *options,
    const struct end_socks_events *events, void *owner, struct err *e)
{
	struct end_socks *s = mem_zalloc(sizeof(*s));

	s->loop = l;
	s->events = events;
	s->owner = owner;
	s->deadline_ms = options != NULL && options->deadline_ms != 0
	                     ? options->deadline_ms
	                     : END_SOCKS_DEADLINE_MS;
	list_init(&s->requests);
	s->listener = end_listen(l, x, &listener_events, s, e);
	if (s->listener != NULL)
		return s;
	free(s);
	return NULL;
}

size_t
end_socks_count(const struct end_socks *s)
{
	return end_listener_count(s->listener);
}

const struct addr *
end_socks_addr(const struct end_socks *s, size_t i)
{
	return end_listener_addr(s->listener, i);
}

void
end_socks_close(struct end_socks *s)
{
	assert(s->events != NULL);
	s->events = NULL;
	end_listener_close(s->listener);
	while (!list_is_empty(&s->requests))
		request_reset(
		    LIST_OF(s->requests.next, struct end_socks_request, link));
	loop_bury(s->loop, s, free);
}

/* --- answering --- */

enum socks_wire_command
end_socks_command(const struct end_socks_request *r)
{
	return r->wire.command;
}

const struct hostport *
end_socks_target(const struct end_socks_request *r)
{
	return &r->wire.target;
}

const struct addr *
end_socks_peer(const struct end_socks_request *r)
{
	return &r->peer;
}

const uint8_t *
end_socks_early(const struct end_socks_request *r, size_t *len)
{
	*len = buf_len(&r->in);
	return buf_data(&r->in);
}

void
end_socks_request_set_owner(struct end_socks_request *r, void *owner)
{
	r->owner = owner;
}

void *
end_socks_request_owner(const struct end_socks_request *r)
{
	return r->owner;
}

struct stream *
end_socks_accept(struct end_socks_request *r)
{
	struct stream *s = r->stream;

	assert(r->state == ASKED && r->wire.command == SOCKS_WIRE_CONNECT);
	socks_wire_answer(&r->wire, NULL, NULL);
	stream_set_owner(s, NULL, NULL);
	stream_put(s, r->wire.reply, r->wire.reply_len);
	request_end(r);
	return s;
}

/* The datagrams are heard at the address that the application came to. */
static bool
local_of(const struct end_socks_request *r, struct addr *local, struct err *e)
{
	if (r->peer.len == 0 || !sock_local_addr(r->stream, local))
		return err_set(e, ERR_USAGE,
		    "SOCKS 5 with UDP needs an end with an IP address");
	addr_unmap(local);
	addr_set_port(local, 0);
	return true;
}

struct end_udp *
end_socks_associate(struct end_socks_request *r,
    const struct end_udp_options *o, const struct end_udp_events *events,
    void *owner, struct err *e)
{
	struct addr local, from = r->peer;
	struct end_udp *u = NULL;
	struct err fault = {0};

	assert(r->state == ASKED && r->wire.command == SOCKS_WIRE_UDP);
	addr_set_port(&from, r->wire.target.port);
	if (local_of(r, &local, &fault))
		u = end_udp_open_socks(r->loop, &local, &from, r->stream, o,
		    events, owner, &fault);
	if (u == NULL) {
		end_socks_refuse(r, &fault);
		if (e != NULL)
			*e = fault;
		return NULL;
	}
	socks_wire_answer(&r->wire, NULL, end_udp_addr(u, 0));
	stream_put(r->stream, r->wire.reply, r->wire.reply_len);
	request_end(r);
	return u;
}

void
end_socks_refuse(struct end_socks_request *r, const struct err *err)
{
	assert(r->state == ASKED);
	socks_wire_answer(&r->wire, err, NULL);
	leave(r);
}

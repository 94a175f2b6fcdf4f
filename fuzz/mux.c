/* SPDX-License-Identifier: MIT
 *
 * A server mux fed with bytes. The first byte chooses what its owner does: bit
 * 0 sends the client's preface and SETTINGS first, bit 1 a login too, bit 2
 * leaves requests open, bit 3 leaves channels stopped, bit 4 resets each; bit
 * 5 makes it a client with two channels instead.
 */
#include "mux/mux.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "net/loop.h"
#include "net/stream.h"
#include "util/err.h"
#include "util/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define KEPT 64

/* --- the stream below: what is written vanishes --- */

struct pipe {
	struct stream base;
	bool reading;
};

static void
pipe_start(struct stream *s)
{
	((struct pipe *)(void *)s)->reading = true;
}

static void
pipe_stop(struct stream *s)
{
	((struct pipe *)(void *)s)->reading = false;
}

static bool
pipe_write(struct stream *s, uint8_t *data, size_t len)
{
	(void)s;
	memset(data, 0xa5, len);
	return true;
}

static void
pipe_shutdown(struct stream *s)
{
	(void)s;
}

static void
pipe_close(struct stream *s, bool reset)
{
	(void)reset;
	loop_bury(s->loop, s, free);
}

static size_t
pipe_queued(const struct stream *s)
{
	(void)s;
	return 0;
}

static const struct stream_ops pipe_ops = {
    .start = pipe_start,
    .stop = pipe_stop,
    .write = pipe_write,
    .shutdown = pipe_shutdown,
    .close = pipe_close,
    .queued = pipe_queued,
};

/* --- the owner --- */

struct owner {
	struct mux *mux;
	struct stream *kept[KEPT];
	size_t count;
	uint8_t mode;
	bool over;
};

static void
on_data(void *owner, uint8_t *data, size_t len)
{
	(void)owner;
	memset(data - STREAM_HEADROOM, 0xee, STREAM_HEADROOM + len);
}

static void
on_nothing(void *owner)
{
	(void)owner;
}

static void
on_error(void *owner, const struct err *e)
{
	(void)owner;
	(void)e;
}

static const struct stream_events channel_events = {
    .on_open = on_nothing,
    .on_data = on_data,
    .on_end = on_nothing,
    .on_drain = on_nothing,
    .on_error = on_error,
};

static void
keep(struct owner *o, struct stream *s)
{
	if (o->count == KEPT || (o->mode & 16)) {
		stream_reset(s);
		return;
	}
	o->kept[o->count++] = s;
	stream_set_owner(s, &channel_events, o);
	if (!(o->mode & 8))
		stream_start(s);
	stream_put(s, "hello", 5);
	if (o->count % 2)
		stream_shutdown(s);
}

static void
on_login(void *owner, const char *user, const char *password)
{
	struct owner *o = owner;

	mux_login_answer(o->mux, !user || strcmp(user, password) == 0);
}

static void
on_request(void *owner, struct mux_request *r)
{
	struct owner *o = owner;

	if (o->mode & 4)
		return;
	if (mux_request_target(r)->kind == MUX_UNIX)
		mux_refuse(r, MUX_REFUSED_POLICY, mux_request_target(r)->host);
	else
		keep(o, mux_accept(r, NULL));
}

static void
on_cancel(void *owner, struct mux_request *r)
{
	(void)owner;
	(void)r;
}

static void
on_login_done(void *owner, const struct err *e)
{
	(void)owner;
	(void)e;
}

static void
on_end(void *owner, const struct err *e)
{
	struct owner *o = owner;

	(void)e;
	if (o->over)
		abort();
	o->over = true;
}

static const struct mux_events events = {
    .on_login = on_login,
    .on_request = on_request,
    .on_cancel = on_cancel,
    .on_login_done = on_login_done,
    .on_end = on_end,
};

/* --- feeding --- */

static void
feed(struct loop *l, struct stream *below, const void *data, size_t len)
{
	const uint8_t *from = data;

	while (len > 0) {
		uint8_t *block = loop_block_take(l);
		size_t n = len < 4096 ? len : 4096;

		memcpy(block + STREAM_HEADROOM, from, n);
		below->events->on_data(
		    below->owner, block + STREAM_HEADROOM, n);
		loop_block_give(l, block);
		loop_turn(l, false);
		from += n;
		len -= n;
	}
}

static void
greet(struct loop *l, struct stream *below, uint8_t mode)
{
	static const char preface[] =
	    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
	static const char login[] = "\0\0\x10\1\5\0\0\0\1"
	                            "\x82\x87\x41\4hyco\x04\6/login";

	if (mode & 1)
		feed(l, below, preface, sizeof preface - 1);
	if ((mode & 3) == 3)
		feed(l, below, login, sizeof login - 1);
}

static void
open_channels(struct owner *o)
{
	static const struct mux_target t = {MUX_TCP, "h", 1};

	for (int i = 0; i < 2; i++)
		keep(o, mux_connect(o->mux, &t, NULL));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct owner o = {0};
	struct pipe *below;
	struct loop *l;

	if (size < 1 || !(l = loop_new(NULL)))
		return 0;
	o.mode = data[0];
	below = mem_zalloc(sizeof *below);
	stream_init(&below->base, &pipe_ops, l);
	o.mux = o.mode & 32 ? mux_client(&below->base, NULL, &events, &o)
	                    : mux_server(&below->base, NULL, &events, &o);
	if (o.mode & 32)
		open_channels(&o);
	else
		greet(l, &below->base, o.mode);
	feed(l, &below->base, data + 1, size - 1);
	loop_turn(l, false);
	while (o.count > 0)
		stream_close(o.kept[--o.count]);
	mux_close(o.mux);
	if (!loop_close(l))
		abort();
	return 0;
}

/* SPDX-License-Identifier: MIT
 *
 * Standard input and output as a stream. Two things are unlike a socket. A
 * descriptor may be shared with other processes, whose reads would fail if it
 * became non-blocking: so pipes and terminals are opened anew by way of /proc,
 * which gives a state of our own (where that fails the state is put back at the
 * end), and sockets are asked by MSG_DONTWAIT. And files cannot be polled:
 * they are always ready, and are read a turn at a time by a deferred call.
 */
#include "net/stdio.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "net/loop.h"
#include "net/stream.h"
#include "util/buf.h"
#include "util/err.h"
#include "util/mem.h"

/* Stands for ERR_TOO_BIG among the errno values of `fault`. */
#define FAULT_QUEUE (-1)

#define LAST_STANDARD 2

struct side {
	uv_poll_t poll;
	int given; /* the number we were given; -1: done with it */
	int fd;    /* ours; -1: closed */
	int flags; /* to put back at the end; -1: nothing to put back */
	int mask;
	bool is_socket;
	bool has_poll; /* false: always ready */
};

struct stdio {
	struct stream base;
	struct side in;
	struct side out;
	struct deferred later; /* reports `fault` or the drain after shutdown */
	struct timer ready;    /* reads a file, once a turn */
	struct buf queue;
	unsigned pins; /* poll handles that are not closed yet */
	int fault;
	bool reading;
	bool in_ended;
	bool above;
	bool drain_owed;
	bool hung_up; /* the output's other side, without an error */
	bool told;
	bool closing;
};

static const struct stream_ops ops;

static struct stdio *
stdio_of(const struct stream *s)
{
	assert(s->ops == &ops);
	return (struct stdio *)(void *)s;
}

/* --- what is waited for --- */

static void on_in(uv_poll_t *handle, int status, int events);
static void on_out(uv_poll_t *handle, int status, int events);

static void
set_mask(struct side *d, int mask, uv_poll_cb on_event)
{
	if (!d->has_poll || mask == d->mask)
		return;
	d->mask = mask;
	if (mask == 0)
		uv_poll_stop(&d->poll);
	else
		uv_poll_start(&d->poll, mask, on_event);
}

static bool
is_receiving(const struct stdio *k)
{
	return k->reading && !k->in_ended && k->fault == 0 &&
	       k->base.events != NULL;
}

/* The output waits for UV_PRIORITIZED, which does not come, so that epoll tells
 * that its reader has gone. */
static void
update(struct stdio *k)
{
	bool receives = is_receiving(k);
	bool sends = buf_len(&k->queue) > 0;

	set_mask(&k->in, receives ? UV_READABLE : 0, on_in);
	if (k->fault != 0 || k->hung_up)
		set_mask(&k->out, 0, on_out);
	else
		set_mask(&k->out, sends ? UV_WRITABLE : UV_PRIORITIZED, on_out);
	if ((receives && !k->in.has_poll) || (sends && !k->out.has_poll))
		timer_set(&k->ready, 0);
	else
		timer_clear(&k->ready);
}

/* --- trouble --- */

static void
tell(struct stdio *k)
{
	struct err e;

	if (k->told || k->base.events == NULL)
		return;
	k->told = true;
	if (k->fault == FAULT_QUEUE)
		err_set(&e, ERR_TOO_BIG,
		    "standard output does not take its data and more than %zu "
		    "bytes wait",
		    STREAM_QUEUE_MAX);
	else
		err_set_errno(
		    &e, ERR_SYSTEM, k->fault, "standard input or output broke");
	k->base.events->on_error(k->base.owner, &e);
}

static void
break_off(struct stdio *k, int fault)
{
	k->fault = fault;
	k->above = k->drain_owed = false;
	buf_fini(&k->queue);
	update(k);
}

static void
fail_now(struct stdio *k, int fault)
{
	break_off(k, fault);
	tell(k);
}

static void
fail_later(struct stdio *k, int fault)
{
	break_off(k, fault);
	deferred_set(&k->later);
}

static void
on_later(void *owner)
{
	struct stdio *k = owner;

	if (k->fault != 0) {
		tell(k);
	} else if (k->drain_owed && k->base.events != NULL) {
		k->drain_owed = false;
		k->base.events->on_drain(k->base.owner);
	}
}

/* --- closing a side --- */

static void
on_closed(uv_handle_t *handle)
{
	struct stdio *k = handle->data;

	if (--k->pins == 0 && k->closing)
		loop_bury(k->base.loop, k, free);
}

/* Another file that is opened later must not get a standard number. */
static void
give_up_number(int fd)
{
	int null;

	if (fd > LAST_STANDARD) {
		(void)close(fd);
		return;
	}
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null >= 0) {
		(void)dup2(null, fd);
		(void)close(null);
	}
}

/* The other side may be the same socket, which only shutdown ends. */
static void
side_finish(struct side *d)
{
	if (d->fd < 0)
		return;
	if (d->has_poll)
		uv_close((uv_handle_t *)&d->poll, on_closed);
	d->has_poll = false;
	if (d->flags >= 0)
		(void)fcntl(d->fd, F_SETFL, d->flags);
	(void)close(d->fd);
	d->fd = -1;
	if (d->given >= 0)
		give_up_number(d->given);
}

/* --- bytes out --- */

static bool
send_some(struct side *d, const uint8_t *data, size_t len, size_t *sent)
{
	ssize_t n;

	do {
		n = d->is_socket
		        ? send(d->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT)
		        : write(d->fd, data, len);
	} while (n < 0 && errno == EINTR);
	*sent = n > 0 ? (size_t)n : 0;
	return n >= 0 || errno == EAGAIN || errno == EWOULDBLOCK;
}

static void
end_output(struct stdio *k)
{
	k->drain_owed = true;
	k->above = false;
	if (k->out.is_socket)
		(void)shutdown(k->out.fd, SHUT_WR);
	side_finish(&k->out);
}

static bool
stdio_write(struct stream *s, uint8_t *data, size_t len)
{
	struct stdio *k = stdio_of(s);
	size_t sent = 0;

	if (k->fault != 0) {
		deferred_set(&k->later);
		return false;
	}
	if (buf_len(&k->queue) == 0) {
		if (!send_some(&k->out, data, len, &sent)) {
			fail_later(k, errno);
			return false;
		}
		if (sent == len)
			return true;
	}
	if (!buf_append(&k->queue, data + sent, len - sent)) {
		fail_later(k, FAULT_QUEUE);
		return false;
	}
	update(k);
	if (buf_len(&k->queue) > STREAM_QUEUE_MARK)
		k->above = true;
	return !k->above;
}

static void
stdio_shutdown(struct stream *s)
{
	struct stdio *k = stdio_of(s);

	if (k->fault == 0 && buf_len(&k->queue) == 0)
		end_output(k);
	if (k->fault != 0 || k->drain_owed)
		deferred_set(&k->later);
}

/* As in sock.c: below a quarter of the mark, or the end that was asked for. */
static bool
take_drain(struct stdio *k)
{
	bool due = k->drain_owed;

	if (!k->base.is_shut && k->above &&
	    buf_len(&k->queue) <= STREAM_QUEUE_MARK / 4) {
		k->above = false;
		due = true;
	}
	k->drain_owed = false;
	return due;
}

static void
flush(struct stdio *k)
{
	size_t sent;

	if (!send_some(
	        &k->out, buf_data(&k->queue), buf_len(&k->queue), &sent)) {
		fail_now(k, errno);
		return;
	}
	buf_consume(&k->queue, sent);
	if (buf_len(&k->queue) == 0 && k->base.is_shut)
		end_output(k);
	if (k->base.events != NULL && take_drain(k))
		k->base.events->on_drain(k->base.owner);
}

/* Nothing is queued, and the reader of the output has gone. Only a socket knows
 * a hang-up that is no trouble: both have said that they send no more. */
static void
on_reader_gone(struct stdio *k)
{
	int error = EPIPE;
	socklen_t len = sizeof(error);

	if (k->out.is_socket) {
		if (getsockopt(k->out.fd, SOL_SOCKET, SO_ERROR, &error, &len) !=
		    0)
			error = errno;
		if (error == 0) {
			k->hung_up = true;
			return;
		}
	}
	fail_now(k, error);
}

static void
on_out(uv_poll_t *handle, int status, int events)
{
	struct stdio *k = handle->data;

	(void)events;
	if (k->closing || k->fault != 0)
		return;
	if (status < 0)
		k->out.mask = 0;
	if (buf_len(&k->queue) > 0)
		flush(k);
	else
		on_reader_gone(k);
	if (!k->closing)
		update(k);
}

/* --- bytes in --- */

static ssize_t
receive(struct side *d, uint8_t *data, size_t len)
{
	ssize_t n;

	do {
		n = d->is_socket ? recv(d->fd, data, len, MSG_DONTWAIT)
		                 : read(d->fd, data, len);
	} while (n < 0 && errno == EINTR);
	return n;
}

static void
read_some(struct stdio *k)
{
	uint8_t *block = loop_block_take(k->base.loop);
	uint8_t *data = block + STREAM_HEADROOM;
	ssize_t n = receive(&k->in, data, STREAM_TURN);

	if (n > 0) {
		k->base.bytes_in += (uint64_t)n;
		k->base.events->on_data(k->base.owner, data, (size_t)n);
	} else if (n == 0) {
		k->in_ended = true;
		k->base.events->on_end(k->base.owner);
	} else if (errno != EAGAIN && errno != EWOULDBLOCK) {
		fail_now(k, errno);
	}
	loop_block_give(k->base.loop, block);
}

static void
on_in(uv_poll_t *handle, int status, int events)
{
	struct stdio *k = handle->data;

	(void)events;
	if (k->closing)
		return;
	if (status < 0)
		k->in.mask = 0;
	if (is_receiving(k))
		read_some(k);
	if (!k->closing)
		update(k);
}

/* The turn of whatever cannot be polled. */
static void
on_ready(void *owner)
{
	struct stdio *k = owner;

	if (!k->out.has_poll && buf_len(&k->queue) > 0)
		flush(k);
	if (!k->closing && !k->in.has_poll && is_receiving(k))
		read_some(k);
	if (k->closing)
		return;
	update(k);
}

static void
stdio_start(struct stream *s)
{
	struct stdio *k = stdio_of(s);

	k->reading = true;
	if (k->fault != 0)
		deferred_set(&k->later);
	update(k);
}

static void
stdio_stop(struct stream *s)
{
	struct stdio *k = stdio_of(s);

	k->reading = false;
	update(k);
}

static size_t
stdio_queued(const struct stream *s)
{
	return buf_len(&stdio_of(s)->queue);
}

/* --- life --- */

static void
stdio_close(struct stream *s, bool reset)
{
	struct stdio *k = stdio_of(s);
	size_t sent;

	assert(!k->closing);
	k->closing = true;
	deferred_clear(&k->later);
	timer_clear(&k->ready);
	if (!reset && k->out.fd >= 0 && buf_len(&k->queue) > 0)
		(void)send_some(
		    &k->out, buf_data(&k->queue), buf_len(&k->queue), &sent);
	buf_fini(&k->queue);
	side_finish(&k->in);
	side_finish(&k->out);
	if (k->pins == 0)
		loop_bury(s->loop, k, free);
}

static const struct stream_ops ops = {
    .start = stdio_start,
    .stop = stdio_stop,
    .write = stdio_write,
    .shutdown = stdio_shutdown,
    .close = stdio_close,
    .queued = stdio_queued,
};

/* A descriptor whose state is nobody else's, if there can be one. Opening a
 * file anew would lose its position. */
static int
open_anew(int given, const struct stat *st, int mode)
{
	char path[32];

	if (!S_ISFIFO(st->st_mode) && !isatty(given))
		return -1;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", given);
	return open(path, mode | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
}

/* errno tells why it failed. */
static bool
side_open(struct stdio *k, struct side *d, int given, int mode)
{
	struct stat st;
	int rc, flags;

	d->given = given;
	d->flags = d->fd = -1;
	if (fstat(given, &st) != 0)
		return false;
	d->is_socket = S_ISSOCK(st.st_mode);
	d->fd = open_anew(given, &st, mode);
	if (d->fd < 0)
		d->fd = fcntl(given, F_DUPFD_CLOEXEC, LAST_STANDARD + 1);
	if (d->fd < 0)
		return false;
	/* libuv makes what it polls non-blocking. */
	flags = fcntl(d->fd, F_GETFL);
	rc = uv_poll_init(loop_uv(k->base.loop), &d->poll, d->fd);
	if (rc == UV_EPERM)
		return true;
	if (rc != 0) {
		errno = -rc;
		return false;
	}
	d->poll.data = k;
	d->has_poll = true;
	k->pins++;
	if (d->is_socket)
		(void)fcntl(d->fd, F_SETFL, flags);
	else
		d->flags = flags;
	return true;
}

/* What was opened is closed again; the given descriptors stay. */
static void
undo(struct stdio *k)
{
	k->in.given = k->out.given = -1;
	stream_reset(&k->base);
}

struct stream *
stdio_open(struct loop *l, int in, int out, struct err *e)
{
	struct stdio *k = mem_zalloc(sizeof(*k));

	stream_init(&k->base, &ops, l);
	deferred_init(&k->later, l, on_later, k);
	timer_init(&k->ready, l, on_ready, k);
	buf_init(&k->queue, STREAM_QUEUE_MAX);
	k->in.fd = k->out.fd = -1;
	if (side_open(k, &k->in, in, O_RDONLY) &&
	    side_open(k, &k->out, out, O_WRONLY)) {
		if (in == out)
			k->out.given = -1; /* goes with the input */
		update(k);
		return &k->base;
	}
	err_set_errno(e, errno == EBADF ? ERR_USAGE : ERR_SYSTEM, errno,
	    "standard input and output cannot be used");
	undo(k);
	return NULL;
}

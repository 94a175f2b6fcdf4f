/* SPDX-License-Identifier: MIT
 *
 * A socket as a stream. Writing is tried at once; only what the kernel does
 * not take is queued, so an idle or well-fed socket holds no buffer. Changing
 * what epoll waits for costs two system calls, so it is put off: a bit that is
 * no longer wanted goes when an event shows that it is in the way.
 *
 * A socket that neither reads nor writes still waits for UV_PRIORITIZED. That
 * asks for nothing that comes in practice, but it lets the kernel report an
 * error or hang-up, so that a stopped reader learns of a reset.
 */
#include "net/sock.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "net/loop.h"
#include "util/buf.h"
#include "util/err.h"
#include "util/mem.h"

/* Bulk may grow a turn to this many STREAM_TURNs: what fits into a block. */
#define TURN_GROWTH 4
#define TURN_MAX ((size_t)TURN_GROWTH * STREAM_TURN)

/* Stands for ERR_TOO_BIG among the errno values of `fault`. */
#define FAULT_QUEUE (-1)

struct sock {
	struct stream base;
	uv_poll_t poll;
	struct deferred later; /* reports `fault` or the drain after shutdown */
	struct buf out;
	int fd;
	int fault;         /* errno that broke the stream; 0: none */
	int lost;          /* errno that broke writing, while reading goes on */
	uint32_t turn;     /* bytes of the next read */
	uint32_t turn_max; /* what the owner allows */
	uint8_t mask;      /* what libuv waits for */
	bool reading;
	bool in_ended;   /* the peer's FIN was read */
	bool out_ended;  /* our FIN is with the kernel */
	bool above;      /* over the mark: on_drain is owed */
	bool full_read;  /* the last read filled the turn */
	bool hung_up;    /* a hang-up without error: nothing to wait for */
	bool drain_owed; /* the one on_drain after the end */
	bool told;       /* on_error was called */
	bool closing;
};

static const struct stream_ops ops;

static struct sock *
sock_of(const struct stream *s)
{
	assert(s->ops == &ops);
	return (struct sock *)(void *)s;
}

/* --- what epoll waits for --- */

static void on_poll(uv_poll_t *handle, int status, int events);

static bool
is_receiving(const struct sock *k)
{
	return k->reading && !k->in_ended && k->base.events != NULL;
}

static int
wanted(const struct sock *k)
{
	int mask = 0;

	if (k->fault != 0)
		return 0;
	if (is_receiving(k))
		mask |= UV_READABLE;
	if (buf_len(&k->out) > 0)
		mask |= UV_WRITABLE;
	if (mask == 0 && !k->hung_up && k->base.events != NULL &&
	    !(k->in_ended && k->out_ended))
		mask = UV_PRIORITIZED;
	return mask;
}

static void
set_mask(struct sock *k, int mask)
{
	if (mask == k->mask)
		return;
	k->mask = (uint8_t)mask;
	if (mask == 0)
		uv_poll_stop(&k->poll);
	else
		uv_poll_start(&k->poll, mask, on_poll);
}

/* Adds what is missing; superfluous bits may stay until they fire. */
static void
want_more(struct sock *k)
{
	int mask = wanted(k);

	if (mask == UV_PRIORITIZED && k->mask != 0)
		return;
	if ((k->mask & mask) != mask)
		set_mask(k, mask);
}

/* --- trouble --- */

static void
describe(const struct sock *k, struct err *e)
{
	struct addr peer;
	char text[ADDR_TEXT_MAX];
	bool named = sock_peer_addr(&k->base, &peer);

	if (k->fault == FAULT_QUEUE)
		err_set(e, ERR_TOO_BIG,
		    "connection%s%s: the peer does not take its data and more "
		    "than %zu bytes wait",
		    named ? " with " : "", named ? addr_print(&peer, text) : "",
		    STREAM_QUEUE_MAX);
	else
		err_set_errno(e, ERR_SYSTEM, k->fault, "connection%s%s broke",
		    named ? " with " : "",
		    named ? addr_print(&peer, text) : "");
}

/* From here on the socket is silent but for the one report. */
static void
break_off(struct sock *k, int fault)
{
	k->fault = fault;
	k->above = false;
	k->drain_owed = false;
	buf_fini(&k->out);
	set_mask(k, 0);
}

/* Without an owner the report waits until there is one who starts. */
static void
tell(struct sock *k)
{
	struct err e;

	if (k->told || k->base.events == NULL)
		return;
	k->told = true;
	describe(k, &e);
	k->base.events->on_error(k->base.owner, &e);
}

static void
fail_now(struct sock *k, int fault)
{
	break_off(k, fault);
	tell(k);
}

static void
fail_later(struct sock *k, int fault)
{
	break_off(k, fault);
	deferred_set(&k->later);
}

/* Writing met an error. What the peer had sent before (say, why it refuses the
 * rest) may still wait to be read: an owner who reads gets that first. */
static void
lose_output(struct sock *k, int error)
{
	if (!is_receiving(k)) {
		fail_later(k, error);
		return;
	}
	k->lost = error;
	k->above = false;
	buf_fini(&k->out);
	want_more(k);
}

static void
on_later(void *owner)
{
	struct sock *k = owner;

	if (k->fault != 0) {
		tell(k);
	} else if (k->drain_owed && k->base.events != NULL) {
		k->drain_owed = false;
		k->base.events->on_drain(k->base.owner);
	}
}

/* --- bytes out --- */

/* What the kernel takes now; 0 also when it takes none. False when the socket
 * is broken, with errno set. */
static bool
send_some(int fd, const uint8_t *data, size_t len, size_t *sent)
{
	ssize_t n;

	do {
		n = send(fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	*sent = n > 0 ? (size_t)n : 0;
	return n >= 0 || errno == EAGAIN || errno == EWOULDBLOCK ||
	       errno == ENOBUFS;
}

static bool
sock_write(struct stream *s, uint8_t *data, size_t len)
{
	struct sock *k = sock_of(s);
	size_t sent = 0;

	if (k->fault != 0 || k->lost != 0) {
		deferred_set(&k->later);
		return false;
	}
	if (buf_len(&k->out) == 0) {
		if (!send_some(k->fd, data, len, &sent)) {
			lose_output(k, errno);
			return false;
		}
		if (sent == len)
			return true;
	}
	if (!buf_append(&k->out, data + sent, len - sent)) {
		fail_later(k, FAULT_QUEUE);
		return false;
	}
	want_more(k);
	if (buf_len(&k->out) > STREAM_QUEUE_MARK)
		k->above = true;
	return !k->above;
}

/* ENOTCONN: the peer reset meanwhile; reading tells that better. */
static void
end_output(struct sock *k)
{
	(void)shutdown(k->fd, SHUT_WR);
	k->out_ended = true;
	k->drain_owed = true;
	k->above = false;
}

static void
sock_shutdown(struct stream *s)
{
	struct sock *k = sock_of(s);

	if (k->fault == 0 && k->lost == 0 && buf_len(&k->out) == 0)
		end_output(k);
	if (k->fault != 0 || k->drain_owed)
		deferred_set(&k->later);
}

/* False when the socket broke. */
static bool
flush(struct sock *k)
{
	size_t sent;

	if (!send_some(k->fd, buf_data(&k->out), buf_len(&k->out), &sent)) {
		lose_output(k, errno);
		return false;
	}
	buf_consume(&k->out, sent);
	if (buf_len(&k->out) == 0 && k->base.is_shut)
		end_output(k);
	return true;
}

/* Whether on_drain is due now: below a quarter of the mark, or the end that
 * follows shutdown, which is told once and swallows the other. */
static bool
take_drain(struct sock *k)
{
	bool due = k->drain_owed;

	if (!k->base.is_shut && k->above &&
	    buf_len(&k->out) <= STREAM_QUEUE_MARK / 4) {
		k->above = false;
		due = true;
	}
	k->drain_owed = false;
	return due;
}

static void
on_writable(struct sock *k)
{
	if (flush(k) && k->base.events != NULL && take_drain(k))
		k->base.events->on_drain(k->base.owner);
}

/* --- bytes in --- */

/* Bulk shows by reads that fill the turn: after two of them the turn doubles,
 * as far as the owner allows; a read that does not fill it ends that. */
static void
adapt_turn(struct sock *k, size_t got)
{
	bool is_full = got == k->turn;

	if (!is_full)
		k->turn = k->turn_max < STREAM_TURN ? k->turn_max : STREAM_TURN;
	else if (k->full_read && k->turn < k->turn_max)
		k->turn = k->turn * 2 < k->turn_max ? k->turn * 2 : k->turn_max;
	else {
		k->full_read = true;
		return;
	}
	k->full_read = false;
}

static void
deliver(struct sock *k, uint8_t *data, ssize_t got, int error)
{
	if (got > 0) {
		adapt_turn(k, (size_t)got);
		k->base.bytes_in += (uint64_t)got;
		k->base.events->on_data(k->base.owner, data, (size_t)got);
	} else if (k->lost != 0) {
		fail_now(k, k->lost);
	} else if (got == 0) {
		k->in_ended = true;
		k->base.events->on_end(k->base.owner);
	} else if (error != EAGAIN && error != EWOULDBLOCK) {
		fail_now(k, error);
	}
}

static void
on_readable(struct sock *k)
{
	struct loop *l = k->base.loop;
	uint8_t *block = loop_block_take(l);
	uint8_t *data = block + STREAM_HEADROOM;
	ssize_t got;

	do {
		got = recv(k->fd, data, k->turn, MSG_DONTWAIT);
	} while (got < 0 && errno == EINTR);
	deliver(k, data, got, errno);
	loop_block_give(l, block);
}

/* An error or hang-up on a socket that neither reads nor writes. A hang-up
 * without an error (the peer of a unix socket closed, both FINs are out) stays
 * as it is, and epoll would tell it for ever: the watch ends until something
 * is wanted again. */
static void
on_hangup(struct sock *k)
{
	int error = 0;
	socklen_t len = sizeof(error);

	if (getsockopt(k->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
		error = errno;
	if (error != 0)
		fail_now(k, error);
	else
		k->hung_up = true;
}

static bool
is_over(const struct sock *k)
{
	return k->closing || k->fault != 0;
}

/* libuv reports errors by a negative status and has stopped waiting then. The
 * socket itself tells more, and there may be bytes in front of the error: so
 * whatever is going on is tried. */
static void
on_poll(uv_poll_t *handle, int status, int events)
{
	struct sock *k = handle->data;
	bool tried = false;

	if (is_over(k))
		return;
	if (status < 0) {
		k->mask = 0;
		events = UV_READABLE | UV_WRITABLE | UV_PRIORITIZED;
	}
	if ((events & UV_WRITABLE) && buf_len(&k->out) > 0) {
		tried = true;
		on_writable(k);
	}
	if (!is_over(k) && (events & UV_READABLE) && is_receiving(k)) {
		tried = true;
		on_readable(k);
	}
	if (!is_over(k) && !tried && (events & UV_PRIORITIZED))
		on_hangup(k);
	if (is_over(k))
		return;
	if (events & ~wanted(k))
		set_mask(k, wanted(k));
	else
		want_more(k);
}

static void
sock_start(struct stream *s)
{
	struct sock *k = sock_of(s);

	k->reading = true;
	k->hung_up = false;
	if (k->fault != 0)
		deferred_set(&k->later);
	else
		want_more(k);
}

static void
sock_stop(struct stream *s)
{
	struct sock *k = sock_of(s);

	k->reading = false;
	if (k->lost != 0 && k->fault == 0)
		fail_later(k, k->lost);
	else if (k->mask == 0)
		want_more(k);
}

static void
sock_set_turn(struct stream *s, size_t bytes)
{
	struct sock *k = sock_of(s);

	k->turn_max = (uint32_t)(bytes < TURN_MAX ? bytes : TURN_MAX);
	if (k->turn_max == 0)
		k->turn_max = 1;
	k->turn = k->turn_max < STREAM_TURN ? k->turn_max : STREAM_TURN;
	k->full_read = false;
}

static size_t
sock_queued(const struct stream *s)
{
	return buf_len(&sock_of(s)->out);
}

/* --- life --- */

static void
on_closed(uv_handle_t *handle)
{
	struct sock *k = handle->data;

	loop_bury(k->base.loop, k, free);
}

static void
let_go(struct sock *k)
{
	k->closing = true;
	deferred_clear(&k->later);
	buf_fini(&k->out);
	uv_close((uv_handle_t *)&k->poll, on_closed);
}

static void
sock_close(struct stream *s, bool reset)
{
	struct sock *k = sock_of(s);
	struct linger rst = {.l_onoff = 1, .l_linger = 0};
	size_t sent;

	assert(!k->closing);
	if (reset)
		(void)setsockopt(
		    k->fd, SOL_SOCKET, SO_LINGER, &rst, sizeof(rst));
	else if (buf_len(&k->out) > 0)
		(void)send_some(
		    k->fd, buf_data(&k->out), buf_len(&k->out), &sent);
	let_go(k);
	(void)close(k->fd);
	k->fd = -1;
}

static const struct stream_ops ops = {
    .start = sock_start,
    .stop = sock_stop,
    .write = sock_write,
    .shutdown = sock_shutdown,
    .close = sock_close,
    .queued = sock_queued,
    .set_turn = sock_set_turn,
};

/* A byte sent as urgent stays in its place in the stream instead of getting
 * lost. Unix sockets refuse the first option and do not need it. */
static void
prepare_tcp(int fd)
{
	int on = 1;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	(void)setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &on, sizeof(on));
}

struct stream *
sock_open(struct loop *l, int fd, struct err *e)
{
	struct sock *k = mem_zalloc(sizeof(*k));
	int rc = uv_poll_init_socket(loop_uv(l), &k->poll, fd);

	if (rc != 0) {
		(void)close(fd);
		free(k);
		err_set_errno(e, ERR_SYSTEM, -rc, "cannot use a socket");
		return NULL;
	}
	k->poll.data = k;
	stream_init(&k->base, &ops, l);
	deferred_init(&k->later, l, on_later, k);
	buf_init(&k->out, STREAM_QUEUE_MAX);
	k->fd = fd;
	k->turn = k->turn_max = STREAM_TURN;
	prepare_tcp(fd);
	return &k->base;
}

bool
sock_is(const struct stream *s)
{
	return s->ops == &ops;
}

static bool
is_nameless(const struct addr *a)
{
	return a->sa.ss_family == AF_UNIX && addr_unix_path(a)[0] == '\0';
}

bool
sock_peer_addr(const struct stream *s, struct addr *a)
{
	socklen_t len = sizeof(a->sa);

	*a = (struct addr){0};
	if (getpeername(sock_of(s)->fd, (struct sockaddr *)&a->sa, &len) != 0)
		return false;
	a->len = len;
	return !is_nameless(a);
}

bool
sock_local_addr(const struct stream *s, struct addr *a)
{
	socklen_t len = sizeof(a->sa);

	*a = (struct addr){0};
	if (getsockname(sock_of(s)->fd, (struct sockaddr *)&a->sa, &len) != 0)
		return false;
	a->len = len;
	return !is_nameless(a);
}

/* The system refuses none of these values but 0. */
void
sock_set_keepalive(struct stream *s, unsigned idle_s)
{
	int fd = sock_of(s)->fd;
	int on = 1;
	int idle = idle_s < 1 ? 1 : idle_s > 32767 ? 32767 : (int)idle_s;
	int between = idle / 3 > 0 ? idle / 3 : 1;
	int probes = 3;
	unsigned patience_ms = (unsigned)(idle + probes * between) * 1000;

	if (setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes)) !=
	    0)
		return;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	(void)setsockopt(
	    fd, IPPROTO_TCP, TCP_KEEPINTVL, &between, sizeof(between));
	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &patience_ms,
	    sizeof(patience_ms));
}

int
sock_take_fd(struct stream *s)
{
	struct sock *k = sock_of(s);
	int fd = k->fd;

	assert(!k->closing);
	if (buf_len(&k->out) > 0 || k->fault != 0)
		return -1;
	s->magic = 0;
	s->events = NULL;
	let_go(k);
	k->fd = -1;
	return fd;
}

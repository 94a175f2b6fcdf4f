/* SPDX-License-Identifier: MIT
 *
 * Datagrams over uv_poll. On a machine with several addresses the answer to a
 * datagram must leave from the address that the question came to, else its
 * sender does not know it: so a bound socket asks for IP_PKTINFO and gives it
 * back. ICMP errors appear as the errno of whatever call comes next.
 */
#include "net/udp.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>
#include <uv.h>

#include "net/loop.h"
#include "net/stream.h"
#include "util/err.h"
#include "util/mem.h"

/* One socket's part of a turn. */
#define DATAGRAMS_A_TURN 32

/* Bursts wait in the kernel while the loop does something else. It grants what
 * net.core.rmem_max allows. */
#define KERNEL_BYTES (1024 * 1024)

struct udp {
	struct loop *loop;
	const struct udp_events *events;
	void *owner;
	uv_poll_t poll;
	struct deferred later; /* reports `fault` */
	struct addr addr;
	struct addr peer; /* len 0: not connected */
	int fd;
	int fault; /* errno of a send that is not told yet */
	bool reading;
	bool polling;
	bool closing;
};

static bool
is_connected(const struct udp *u)
{
	return u->peer.len != 0;
}

static int
family_of(const struct udp *u)
{
	return u->addr.sa.ss_family;
}

/* --- trouble --- */

/* No room now, or nothing there: not worth a word. */
static bool
is_transient(int error)
{
	return error == EAGAIN || error == EWOULDBLOCK || error == ENOBUFS ||
	       error == EINTR || error == ENOMEM;
}

static void
tell(struct udp *u, int error)
{
	char text[ADDR_TEXT_MAX];
	struct err e;

	if (u->events == NULL || u->events->on_error == NULL ||
	    is_transient(error))
		return;
	addr_print(is_connected(u) ? &u->peer : &u->addr, text);
	if (error == EMSGSIZE)
		err_set(&e, ERR_TOO_BIG,
		    "a datagram is too large for the way to %s", text);
	else if (error == EPERM || error == EACCES)
		err_set_errno(&e, ERR_DENIED, error,
		    "sending datagrams by %s is not permitted", text);
	else
		err_set_errno(&e, ERR_SYSTEM, error, "datagrams with %s", text);
	u->events->on_error(u->owner, &e);
}

static void
on_later(void *owner)
{
	struct udp *u = owner;
	int error = u->fault;

	u->fault = 0;
	if (error != 0)
		tell(u, error);
}

/* --- which of our addresses --- */

union control {
	struct cmsghdr head; /* for the alignment */
	char room[CMSG_SPACE(sizeof(struct in6_pktinfo)) +
	          CMSG_SPACE(sizeof(struct in_pktinfo))];
};

static void
read_local(struct msghdr *m, struct addr *local)
{
	struct sockaddr_in in = {.sin_family = AF_INET};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};

	local->len = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c != NULL;
	     c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			struct in_pktinfo info;

			memcpy(&info, CMSG_DATA(c), sizeof(info));
			in.sin_addr = info.ipi_spec_dst;
			addr_from_sockaddr(
			    local, (struct sockaddr *)&in, sizeof(in));
		} else if (c->cmsg_level == IPPROTO_IPV6 &&
		           c->cmsg_type == IPV6_PKTINFO) {
			struct in6_pktinfo info;

			memcpy(&info, CMSG_DATA(c), sizeof(info));
			in6.sin6_addr = info.ipi6_addr;
			in6.sin6_scope_id =
			    IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr)
			        ? info.ipi6_ifindex
			        : 0;
			addr_from_sockaddr(
			    local, (struct sockaddr *)&in6, sizeof(in6));
		}
	}
	if (local->len != 0)
		addr_unmap(local);
}

static struct in6_addr
mapped(const struct sockaddr_in *in)
{
	struct in6_addr a = {0};

	a.s6_addr[10] = a.s6_addr[11] = 0xff;
	memcpy(&a.s6_addr[12], &in->sin_addr, 4);
	return a;
}

/* An address as a socket of this family wants it. */
static void
suit_family(struct addr *out, const struct addr *a, int family)
{
	const struct sockaddr_in *in = (const void *)&a->sa;
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};

	*out = *a;
	if (family != AF_INET6 || a->sa.ss_family != AF_INET)
		return;
	in6.sin6_port = in->sin_port;
	in6.sin6_addr = mapped(in);
	addr_from_sockaddr(out, (struct sockaddr *)&in6, sizeof(in6));
}

static void
write_local(struct msghdr *m, union control *room, const struct addr *local)
{
	struct cmsghdr *c = &room->head;

	if (local->len == 0)
		return;
	memset(room, 0, sizeof(*room));
	m->msg_control = room;
	if (local->sa.ss_family == AF_INET) {
		struct in_pktinfo info = {
		    .ipi_spec_dst =
		        ((const struct sockaddr_in *)(const void *)&local->sa)
		            ->sin_addr};

		c->cmsg_level = IPPROTO_IP;
		c->cmsg_type = IP_PKTINFO;
		c->cmsg_len = CMSG_LEN(sizeof(info));
		memcpy(CMSG_DATA(c), &info, sizeof(info));
		m->msg_controllen = CMSG_SPACE(sizeof(info));
	} else {
		const struct sockaddr_in6 *in6 = (const void *)&local->sa;
		struct in6_pktinfo info = {.ipi6_addr = in6->sin6_addr,
		    .ipi6_ifindex = in6->sin6_scope_id};

		c->cmsg_level = IPPROTO_IPV6;
		c->cmsg_type = IPV6_PKTINFO;
		c->cmsg_len = CMSG_LEN(sizeof(info));
		memcpy(CMSG_DATA(c), &info, sizeof(info));
		m->msg_controllen = CMSG_SPACE(sizeof(info));
	}
}

/* --- datagrams in --- */

/* False when there is nothing more to read now, or the socket was closed. */
static bool
read_one(struct udp *u, uint8_t *data)
{
	struct udp_way way = {0};
	union control room;
	struct iovec v = {.iov_base = data, .iov_len = UDP_DATAGRAM_MAX};
	struct msghdr m = {.msg_name = &way.peer.sa,
	    .msg_namelen = sizeof(way.peer.sa),
	    .msg_iov = &v,
	    .msg_iovlen = 1,
	    .msg_control = &room,
	    .msg_controllen = sizeof(room)};
	ssize_t n = recvmsg(u->fd, &m, MSG_DONTWAIT);

	if (n < 0) {
		int error = errno;

		if (error == EINTR)
			return true;
		if (is_transient(error))
			return false;
		tell(u, error);
		return !u->closing && u->reading;
	}
	if (m.msg_flags & MSG_TRUNC)
		return true;
	if (is_connected(u)) {
		way.peer = u->peer;
	} else {
		way.peer.len = m.msg_namelen;
		addr_unmap(&way.peer);
		read_local(&m, &way.local);
	}
	u->events->on_datagram(u->owner, data, (size_t)n, &way);
	return !u->closing && u->reading;
}

static void set_poll(struct udp *u);

/* libuv reports an ICMP error by a negative status and stops waiting; the
 * socket tells which it was and is as good as before. */
static void
on_poll(uv_poll_t *handle, int status, int events)
{
	struct udp *u = handle->data;
	uint8_t *block;

	(void)events;
	if (u->closing || !u->reading)
		return;
	if (status < 0)
		u->polling = false;
	block = loop_block_take(u->loop);
	for (int i = 0; i < DATAGRAMS_A_TURN; i++)
		if (!read_one(u, block + STREAM_HEADROOM))
			break;
	loop_block_give(u->loop, block);
	if (!u->closing)
		set_poll(u);
}

static void
set_poll(struct udp *u)
{
	if (u->polling == u->reading)
		return;
	u->polling = u->reading;
	if (u->reading)
		uv_poll_start(&u->poll, UV_READABLE, on_poll);
	else
		uv_poll_stop(&u->poll);
}

void
udp_start(struct udp *u)
{
	assert(!u->closing);
	u->reading = true;
	set_poll(u);
}

void
udp_stop(struct udp *u)
{
	assert(!u->closing);
	u->reading = false;
	set_poll(u);
}

/* --- datagrams out --- */

/* The errno of an earlier datagram is told by this call, which then has sent
 * nothing: it is tried once more. */
static ssize_t
send_message(struct udp *u, const struct msghdr *m)
{
	ssize_t n = sendmsg(u->fd, m, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n >= 0 || is_transient(errno) || errno == EMSGSIZE)
		return n;
	u->fault = errno;
	deferred_set(&u->later);
	return sendmsg(u->fd, m, MSG_DONTWAIT | MSG_NOSIGNAL);
}

bool
udp_send_two(struct udp *u, const struct udp_way *way, const void *head,
    size_t head_len, const void *data, size_t len)
{
	struct iovec v[2] = {
	    {.iov_base = (void *)(uintptr_t)head, .iov_len = head_len},
	    {.iov_base = (void *)(uintptr_t)data, .iov_len = len}};
	struct msghdr m = {.msg_iov = v, .msg_iovlen = 2};
	union control room;
	struct addr to, from;

	assert(!u->closing && is_connected(u) == (way == NULL));
	if (way != NULL) {
		suit_family(&to, &way->peer, family_of(u));
		m.msg_name = &to.sa;
		m.msg_namelen = to.len;
		from = (struct addr){0};
		if (way->local.len != 0)
			suit_family(&from, &way->local, family_of(u));
		write_local(&m, &room, &from);
	}
	if (send_message(u, &m) >= 0)
		return true;
	if (!is_transient(errno)) {
		u->fault = errno;
		deferred_set(&u->later);
	}
	return false;
}

bool
udp_send(struct udp *u, const struct udp_way *way, const void *data, size_t len)
{
	return udp_send_two(u, way, NULL, 0, data, len);
}

/* --- life --- */

static bool
open_error(struct err *e, const struct addr *a, int error)
{
	char text[ADDR_TEXT_MAX];

	addr_print(a, text);
	switch (error) {
	case EADDRINUSE:
		return err_set(e, ERR_USAGE,
		    "cannot listen on %s/udp: the address is in use; stop the "
		    "program that holds it (`ss -lunp` shows it) or choose "
		    "another port",
		    text);
	case EADDRNOTAVAIL:
		return err_set(e, ERR_USAGE,
		    "cannot listen on %s/udp: this host does not have that "
		    "address (`ip address` shows those it has)",
		    text);
	case EACCES:
	case EPERM:
		return err_set(e, ERR_DENIED,
		    "cannot listen on %s/udp: not permitted; ports below 1024 "
		    "need root or CAP_NET_BIND_SERVICE",
		    text);
	default:
		return err_set_errno(
		    e, ERR_SYSTEM, error, "cannot listen on %s/udp", text);
	}
}

/* No SO_REUSEADDR: with datagrams it would let a second program take over what
 * the first one hears. */
static bool
do_bind(struct udp *u, const struct addr *a)
{
	int on = 1;
	int v6only = !addr_is_unspecified(a);

	if (a->sa.ss_family == AF_INET6) {
		(void)setsockopt(
		    u->fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof(v6only));
		(void)setsockopt(
		    u->fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on));
	} else {
		(void)setsockopt(
		    u->fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on));
	}
	return bind(u->fd, (const struct sockaddr *)&a->sa, a->len) == 0;
}

static void
set_buffers(const struct udp *u)
{
	int bytes = KERNEL_BYTES;

	(void)setsockopt(u->fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	(void)setsockopt(u->fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
}

/* errno tells why it failed. */
static bool
make_socket(struct udp *u, const struct addr *a, bool connected)
{
	socklen_t len = sizeof(u->addr.sa);

	u->fd = socket(
	    a->sa.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (u->fd < 0)
		return false;
	set_buffers(u);
	if (!connected) {
		if (!do_bind(u, a))
			return false;
	} else if (connect(u->fd, (const struct sockaddr *)&a->sa, a->len) !=
	           0) {
		return false;
	} else {
		u->peer = *a;
	}
	if (getsockname(u->fd, (struct sockaddr *)&u->addr.sa, &len) != 0)
		return false;
	u->addr.len = len;
	return true;
}

static struct udp *
open_one(struct loop *l, const struct addr *a, bool connected,
    const struct udp_events *events, void *owner, int *error)
{
	struct udp *u = mem_zalloc(sizeof(*u));
	int rc;

	assert(!addr_is_unix(a));
	u->loop = l;
	u->events = events;
	u->owner = owner;
	deferred_init(&u->later, l, on_later, u);
	if (!make_socket(u, a, connected)) {
		*error = errno;
		goto fail;
	}
	rc = uv_poll_init_socket(loop_uv(l), &u->poll, u->fd);
	if (rc != 0) {
		*error = -rc;
		goto fail;
	}
	u->poll.data = u;
	return u;
fail:
	if (u->fd >= 0)
		(void)close(u->fd);
	free(u);
	return NULL;
}

struct udp *
udp_open(struct loop *l, const struct addr *a, const struct udp_events *events,
    void *owner, struct err *e)
{
	int error;
	struct udp *u = open_one(l, a, false, events, owner, &error);

	if (u == NULL)
		open_error(e, a, error);
	return u;
}

struct udp *
udp_connect(struct loop *l, const struct addr *peer,
    const struct udp_events *events, void *owner, struct err *e)
{
	char text[ADDR_TEXT_MAX];
	int error;
	struct udp *u = open_one(l, peer, true, events, owner, &error);

	if (u == NULL)
		err_set_errno(e,
		    error == EACCES || error == EPERM ? ERR_DENIED : ERR_SYSTEM,
		    error, "cannot send to %s/udp", addr_print(peer, text));
	return u;
}

struct udp *
udp_take(struct loop *l, int fd, struct err *e)
{
	struct udp *u = mem_zalloc(sizeof(*u));
	int error = 0, rc;

	u->addr.len = u->peer.len = sizeof(u->peer.sa);
	if (getsockname(fd, (struct sockaddr *)&u->addr.sa, &u->addr.len) !=
	        0 ||
	    getpeername(fd, (struct sockaddr *)&u->peer.sa, &u->peer.len) != 0)
		error = errno;
	else if ((rc = uv_poll_init_socket(loop_uv(l), &u->poll, fd)) != 0)
		error = -rc;
	if (error != 0) {
		err_set_errno(
		    e, ERR_SYSTEM, error, "cannot use a datagram socket");
		(void)close(fd);
		free(u);
		return NULL;
	}
	u->loop = l;
	u->fd = fd;
	u->poll.data = u;
	deferred_init(&u->later, l, on_later, u);
	set_buffers(u);
	return u;
}

const struct addr *
udp_addr(const struct udp *u)
{
	return &u->addr;
}

void
udp_set_owner(struct udp *u, const struct udp_events *events, void *owner)
{
	u->events = events;
	u->owner = owner;
}

static void
on_closed(uv_handle_t *handle)
{
	struct udp *u = handle->data;

	loop_bury(u->loop, u, free);
}

void
udp_close(struct udp *u)
{
	assert(!u->closing);
	u->closing = true;
	deferred_clear(&u->later);
	uv_close((uv_handle_t *)&u->poll, on_closed);
	(void)close(u->fd);
}

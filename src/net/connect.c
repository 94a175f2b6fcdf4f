/* SPDX-License-Identifier: MIT
 *
 * Dialling a destination. The candidates are asked about and tried one after
 * the other; each attempt is an object of its own with its descriptor and poll
 * handle, several may be on their way, and the first that succeeds ends the
 * others. The address that was allowed is the very bytes given to connect(2):
 * no second look-up can slip in another one.
 */
#include "net/connect.h"

#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "net/loop.h"
#include "net/sock.h"
#include "net/udp.h"
#include "util/err.h"
#include "util/list.h"
#include "util/mem.h"

/* A name may have any number of addresses; more than these are not tried. */
#define CANDIDATES_MAX 16
#define NEXT_AFTER_MS 250 /* RFC 8305 */
/* A unix listener with a full backlog answers EAGAIN; there is no event to
 * wait for. */
#define BUSY_RETRY_MS 20

struct connecting {
	struct loop *loop;
	const struct connect_events *events;
	void *owner;
	struct timer deadline;
	struct timer next;
	uint64_t timeout_ms;
	uv_getaddrinfo_t lookup;
	struct list attempts; /* those on their way */
	struct addr candidates[CANDIDATES_MAX];
	size_t count;
	size_t at;        /* the next candidate */
	struct err error; /* of the last connect, else of the first denial */
	char name[HOSTPORT_TEXT_MAX];
	bool datagrams;
	bool looking_up;
	bool over;
	bool closing;
};

struct attempt {
	struct list link;
	struct connecting *of;
	struct loop *loop;
	uv_poll_t poll;
	struct addr addr;
	int fd; /* -1: taken */
};

/* --- the end --- */

static void
on_attempt_closed(uv_handle_t *handle)
{
	struct attempt *t = handle->data;

	loop_bury(t->loop, t, free);
}

/* The poll handle goes first: epoll must forget the descriptor while it is
 * still ours. */
static void
attempt_close(struct attempt *t)
{
	list_remove(&t->link);
	uv_close((uv_handle_t *)&t->poll, on_attempt_closed);
	if (t->fd >= 0)
		(void)close(t->fd);
}

static void
stop_all(struct connecting *c)
{
	bool was_over = c->over;

	c->over = true;
	timer_clear(&c->deadline);
	timer_clear(&c->next);
	while (!list_is_empty(&c->attempts))
		attempt_close(LIST_OF(c->attempts.next, struct attempt, link));
	if (c->looking_up && !was_over)
		(void)uv_cancel((uv_req_t *)&c->lookup);
}

static void
fail(struct connecting *c)
{
	stop_all(c);
	c->events->on_error(c->owner, &c->error);
}

static void
succeed(struct connecting *c, int fd, const struct addr *a)
{
	struct addr reached = *a;
	struct stream *s = NULL;
	struct udp *u = NULL;

	stop_all(c);
	if (c->datagrams)
		u = udp_take(c->loop, fd, &c->error);
	else
		s = sock_open(c->loop, fd, &c->error);
	if (u != NULL) {
		c->events->on_udp(c->owner, u, &reached);
	} else if (s != NULL) {
		c->events->on_open(c->owner, s, &reached);
	} else {
		err_prefix(&c->error, "connect to %s", c->name);
		c->events->on_error(c->owner, &c->error);
	}
}

static void
on_deadline(void *owner)
{
	struct connecting *c = owner;

	err_set(&c->error, ERR_TIMEOUT, "connect to %s: %s within %.3g s",
	    c->name, c->looking_up ? "the name was not resolved" : "no answer",
	    (double)c->timeout_ms / 1000);
	fail(c);
}

/* --- attempts --- */

static void
note_failure(struct connecting *c, const struct addr *a, int error)
{
	char text[ADDR_TEXT_MAX];

	addr_print(a, text);
	if (strcmp(text, c->name) == 0)
		err_set_errno(
		    &c->error, ERR_SYSTEM, error, "connect to %s", c->name);
	else
		err_set_errno(&c->error, ERR_SYSTEM, error,
		    "connect to %s at %s", c->name, text);
}

/* A connection to a free port of this very host may meet itself, when the
 * kernel picks that port for its near end: nobody is there. */
static bool
is_to_itself(int fd)
{
	struct addr near = {0};
	struct addr far = {0};

	near.len = far.len = sizeof(near.sa);
	return getsockname(fd, (struct sockaddr *)&near.sa, &near.len) == 0 &&
	       getpeername(fd, (struct sockaddr *)&far.sa, &far.len) == 0 &&
	       !addr_is_unix(&near) && addr_is_equal(&near, &far);
}

static void try_next(struct connecting *c);

static void
on_poll(uv_poll_t *handle, int status, int events)
{
	struct attempt *t = handle->data;
	struct connecting *c = t->of;
	int error = 0;
	socklen_t len = sizeof(error);
	int fd = t->fd;

	(void)events;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
		error = errno;
	if (error == 0 && status < 0)
		error = -status;
	if (error == 0 && is_to_itself(fd))
		error = ECONNREFUSED;
	if (error != 0) {
		note_failure(c, &t->addr, error);
		attempt_close(t);
		try_next(c);
		return;
	}
	t->fd = -1;
	attempt_close(t);
	succeed(c, fd, &t->addr);
}

static bool
watch_attempt(struct connecting *c, int fd, const struct addr *a)
{
	struct attempt *t = mem_zalloc(sizeof(*t));
	int rc = uv_poll_init_socket(loop_uv(c->loop), &t->poll, fd);

	if (rc != 0) {
		free(t);
		errno = -rc;
		return false;
	}
	t->poll.data = t;
	t->of = c;
	t->loop = c->loop;
	t->addr = *a;
	t->fd = fd;
	list_append(&c->attempts, &t->link);
	uv_poll_start(&t->poll, UV_WRITABLE, on_poll);
	return true;
}

enum start { START_FAILED, START_WAITS, START_BUSY, START_DONE };

/* On START_DONE *fd is connected and the caller's. */
static enum start
start_attempt(struct connecting *c, const struct addr *a, int *fd)
{
	int type = c->datagrams ? SOCK_DGRAM : SOCK_STREAM;
	int rc;

	*fd = socket(a->sa.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (*fd < 0)
		return START_FAILED;
	rc = connect(*fd, (const struct sockaddr *)&a->sa, a->len);
	if (rc == 0 && c->datagrams && is_to_itself(*fd)) {
		errno = ECONNREFUSED;
		rc = -1;
	}
	if (rc == 0)
		return START_DONE;
	if ((errno == EINPROGRESS || errno == EINTR) &&
	    watch_attempt(c, *fd, a))
		return START_WAITS;
	rc = errno;
	(void)close(*fd);
	errno = rc;
	return rc == EAGAIN && addr_is_unix(a) ? START_BUSY : START_FAILED;
}

static bool
is_allowed(struct connecting *c, const struct addr *a)
{
	struct err denial;

	if (c->events->allow == NULL)
		return true;
	err_set(&denial, ERR_DENIED, "connect to %s: not allowed", c->name);
	if (c->events->allow(c->owner, a, &denial))
		return true;
	if (!c->closing && c->error.code == ERR_NONE)
		c->error = denial;
	return false;
}

/* Goes on to the next candidate that can be waited for. Called from the loop
 * only, so the owner's callbacks may run from here. */
static void
try_next(struct connecting *c)
{
	while (c->at < c->count) {
		struct addr a = c->candidates[c->at++];
		enum start start;
		int fd;

		if (!is_allowed(c, &a)) {
			if (c->closing)
				return;
			continue;
		}
		if (c->closing)
			return;
		start = start_attempt(c, &a, &fd);
		if (start == START_DONE) {
			succeed(c, fd, &a);
			return;
		}
		if (start == START_FAILED) {
			note_failure(c, &a, errno);
			continue;
		}
		if (start == START_BUSY)
			c->at--;
		if (c->at < c->count)
			timer_set(&c->next, start == START_BUSY
			                        ? BUSY_RETRY_MS
			                        : NEXT_AFTER_MS);
		return;
	}
	if (list_is_empty(&c->attempts))
		fail(c);
}

static void
on_next(void *owner)
{
	try_next(owner);
}

/* --- names --- */

/* The first family goes first, then they alternate; within a family the order
 * of the resolver (RFC 6724) is kept. */
static void
take_candidates(struct connecting *c, const struct addrinfo *list)
{
	const struct addrinfo *same = list;
	const struct addrinfo *rest = list;
	int first = list != NULL ? list->ai_family : AF_UNSPEC;

	while (c->count < CANDIDATES_MAX) {
		const struct addrinfo **from =
		    c->count % 2 == 0 ? &same : &rest;

		while (same != NULL && same->ai_family != first)
			same = same->ai_next;
		while (rest != NULL && rest->ai_family == first)
			rest = rest->ai_next;
		if (same == NULL && rest == NULL)
			return;
		if (*from == NULL)
			from = same != NULL ? &same : &rest;
		addr_from_sockaddr(&c->candidates[c->count], (*from)->ai_addr,
		    (*from)->ai_addrlen);
		addr_unmap(&c->candidates[c->count++]);
		*from = (*from)->ai_next;
	}
}

static void
note_no_name(struct connecting *c, int status)
{
	const char *why;

	switch (status) {
	case UV_EAI_NONAME:
	case UV_EAI_NODATA:
	case UV_EAI_ADDRFAMILY:
		why = "no such name; check how it is spelled";
		break;
	case UV_EAI_AGAIN:
		why = "the name service does not answer; check the network";
		break;
	default:
		why = status == 0 ? "it has no address" : uv_strerror(status);
	}
	err_set(&c->error, ERR_UNREACHABLE,
	    "connect to %s: the name cannot be resolved: %s", c->name, why);
}

static void
bury(struct connecting *c)
{
	loop_bury(c->loop, c, free);
}

static void
on_lookup(uv_getaddrinfo_t *req, int status, struct addrinfo *list)
{
	struct connecting *c = req->data;

	c->looking_up = false;
	if (status == 0 && !c->over)
		take_candidates(c, list);
	if (list != NULL)
		uv_freeaddrinfo(list);
	if (c->closing)
		bury(c);
	if (c->over)
		return;
	if (c->count == 0) {
		note_no_name(c, status);
		fail(c);
		return;
	}
	try_next(c);
}

static bool
look_up(struct connecting *c, const struct hostport *target)
{
	struct addrinfo hints = {
	    .ai_family = AF_UNSPEC,
	    .ai_socktype = SOCK_STREAM,
	    .ai_flags = AI_NUMERICSERV,
	};
	char port[8];
	int rc;

	(void)snprintf(port, sizeof(port), "%u", target->port);
	rc = uv_getaddrinfo(loop_uv(c->loop), &c->lookup, on_lookup,
	    target->host, port, &hints);
	c->looking_up = rc == 0;
	if (rc != 0)
		note_no_name(c, rc);
	return rc == 0;
}

/* --- life --- */

static struct connecting *
make(struct loop *l, uint64_t timeout_ms, const struct connect_events *events,
    void *owner)
{
	struct connecting *c = mem_zalloc(sizeof(*c));

	c->loop = l;
	c->events = events;
	c->owner = owner;
	c->timeout_ms = timeout_ms;
	c->lookup.data = c;
	list_init(&c->attempts);
	timer_init(&c->deadline, l, on_deadline, c);
	timer_init(&c->next, l, on_next, c);
	if (timeout_ms > 0)
		timer_set(&c->deadline, timeout_ms);
	return c;
}

/* Even the first attempt is made from the loop: the owner must not be asked
 * or told before the open has returned. */
static struct connecting *
open_target(struct connecting *c, const struct hostport *target)
{
	hostport_print(target, c->name);
	if (addr_from_ip(&c->candidates[0], target->host, target->port)) {
		addr_unmap(&c->candidates[0]);
		c->count = 1;
	}
	if (c->count == 1 || !look_up(c, target))
		timer_set(&c->next, 0);
	return c;
}

struct connecting *
connect_open(struct loop *l, const struct hostport *target, uint64_t timeout_ms,
    const struct connect_events *events, void *owner)
{
	return open_target(make(l, timeout_ms, events, owner), target);
}

struct connecting *
connect_open_udp(struct loop *l, const struct hostport *target,
    uint64_t timeout_ms, const struct connect_events *events, void *owner)
{
	struct connecting *c = make(l, timeout_ms, events, owner);

	c->datagrams = true;
	return open_target(c, target);
}

struct connecting *
connect_open_addr(struct loop *l, const struct addr *a, uint64_t timeout_ms,
    const struct connect_events *events, void *owner)
{
	struct connecting *c = make(l, timeout_ms, events, owner);

	addr_print(a, c->name);
	c->candidates[0] = *a;
	addr_unmap(&c->candidates[0]);
	c->count = 1;
	timer_set(&c->next, 0);
	return c;
}

void
connect_close(struct connecting *c)
{
	assert(!c->closing);
	c->closing = true;
	stop_all(c);
	if (!c->looking_up)
		bury(c);
}

/* SPDX-License-Identifier: MIT
 *
 * Listening at ends and dialling them, over net/listen.h and net/connect.h.
 * What is added: one end may be two addresses, and the policy is asked about
 * each address a dial would connect to.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "ends/end.h"
#include "net/connect.h"
#include "net/listen.h"
#include "net/loop.h"
#include "util/err.h"
#include "util/mem.h"

#define DIAL_TIMEOUT_MS 15000

struct end_listener {
	struct loop *loop;
	size_t count;
	struct listener *each[END_BIND_MAX];
	const struct end_listener_events *events;
	void *owner;
};

struct end_dial {
	struct loop *loop;
	struct end end;
	struct policy *policy;
	char *user; /* NULL: anonymous */
	bool is_trusted;
	struct connecting *connecting;
	struct deferred fail; /* what fails before it starts */
	struct err error;
	const struct end_dial_events *events;
	void *owner;
};

/* --- listening --- */

static void
on_accept(void *owner, struct stream *s, const struct addr *peer)
{
	struct end_listener *ln = owner;

	ln->events->on_accept(ln->owner, s, peer);
}

static void
on_pause(void *owner, bool paused, const struct err *err)
{
	struct end_listener *ln = owner;

	if (ln->events->on_pause)
		ln->events->on_pause(ln->owner, paused, err);
}

static const struct listener_events listener_events = {
    .on_accept = on_accept,
    .on_pause = on_pause,
};

static const struct listener_options listener_options = {
    .unlink_stale = true,
};

/* Whether this machine can listen on the address at all, be it on another
 * port: tells "no IPv6 here" from "port in use". */
static bool
is_usable(struct loop *l, const struct addr *a)
{
	struct addr any = *a;
	struct listener *probe;

	addr_set_port(&any, 0);
	probe = listener_open(
	    l, &any, &listener_options, &listener_events, NULL, NULL);
	if (probe)
		listener_close(probe);
	return probe != NULL;
}

/* One of the addresses; true when the end can go on without it, too. */
static bool
listen_one(
    struct end_listener *ln, const struct addr *a, bool is_only, struct err *e)
{
	struct listener *one = listener_open(
	    ln->loop, a, &listener_options, &listener_events, ln, e);

	if (one)
		ln->each[ln->count++] = one;
	return one || (!is_only && !is_usable(ln->loop, a));
}

/* [::] takes IPv4 as well, so that 0.0.0.0 is for machines without IPv6; of
 * localhost's two addresses both are taken where there are both, else another
 * program could answer on the one that an application tries first. */
static bool
listen_all(struct end_listener *ln, const struct end *x, struct err *e)
{
	bool is_wildcard = strcmp(x->at.host, "*") == 0;
	struct addr addrs[END_BIND_MAX];
	size_t n = end_bind_addrs(x, addrs, e), i;
	struct err fault;

	if (n == 0)
		return false;
	for (i = 0; i < n && !(is_wildcard && ln->count > 0); i++) {
		if (ln->count > 0)
			addr_set_port(
			    &addrs[i], addr_port(listener_addr(ln->each[0])));
		if (!listen_one(ln, &addrs[i], n == 1, &fault))
			break;
	}
	if (ln->count > 0 && (i == n || is_wildcard))
		return true;
	if (e)
		*e = fault;
	return false;
}

struct end_listener *
end_listen(struct loop *l, const struct end *x,
    const struct end_listener_events *events, void *owner, struct err *e)
{
	struct end_listener *ln;

	if (x->kind->has_datagrams) {
		err_set(e, ERR_USAGE,
		    "port %u/udp carries datagrams, not connections",
		    x->at.port);
		return NULL;
	}
	ln = mem_zalloc(sizeof *ln);
	ln->loop = l;
	ln->events = events;
	ln->owner = owner;
	if (listen_all(ln, x, e))
		return ln;
	end_listener_close(ln);
	return NULL;
}

size_t
end_listener_count(const struct end_listener *ln)
{
	return ln->count;
}

const struct addr *
end_listener_addr(const struct end_listener *ln, size_t i)
{
	assert(i < ln->count);
	return listener_addr(ln->each[i]);
}

void
end_listener_close(struct end_listener *ln)
{
	size_t i;

	assert(ln->events);
	ln->events = NULL;
	for (i = 0; i < ln->count; i++)
		listener_close(ln->each[i]);
	loop_bury(ln->loop, ln, free);
}

/* --- dialling --- */

static bool
on_allow(void *owner, const struct addr *a, struct err *e)
{
	const struct end_dial *d = owner;
	const struct policy_request request = {
	    .user = d->user,
	    .kind = d->end.kind->policy,
	    .host = d->end.kind->has_path ? NULL : d->end.at.host,
	    .addr = a,
	    .port = addr_port(a),
	};

	return d->is_trusted || policy_decide(d->policy, &request, e);
}

static void
on_open(void *owner, struct stream *s, const struct addr *a)
{
	struct end_dial *d = owner;

	d->events->on_open(d->owner, s, a);
}

static void
on_udp(void *owner, struct udp *u, const struct addr *a)
{
	struct end_dial *d = owner;

	d->events->on_udp(d->owner, u, a);
}

static void
on_error(void *owner, const struct err *err)
{
	struct end_dial *d = owner;

	d->events->on_error(d->owner, err);
}

static const struct connect_events connect_events = {
    .allow = on_allow,
    .on_open = on_open,
    .on_error = on_error,
    .on_udp = on_udp,
};

static void
on_fail(void *owner)
{
	struct end_dial *d = owner;

	d->events->on_error(d->owner, &d->error);
}

static void
dial_free(void *object)
{
	struct end_dial *d = object;

	policy_unref(d->policy);
	free(d->user);
	free(d);
}

/* Starts the connecting, or sets what on_fail will report. */
static void
dial_start(struct end_dial *d, uint64_t timeout_ms)
{
	struct addr unix_addr[END_BIND_MAX];

	if (d->end.kind->has_datagrams && d->events->on_udp)
		d->connecting = connect_open_udp(
		    d->loop, &d->end.at, timeout_ms, &connect_events, d);
	else if (d->end.kind->has_datagrams)
		err_set(&d->error, ERR_USAGE,
		    "port %u/udp carries datagrams, not connections",
		    d->end.at.port);
	else if (!d->end.kind->has_path)
		d->connecting = connect_open(
		    d->loop, &d->end.at, timeout_ms, &connect_events, d);
	else if (end_bind_addrs(&d->end, unix_addr, &d->error) == 1)
		d->connecting = connect_open_addr(
		    d->loop, &unix_addr[0], timeout_ms, &connect_events, d);
	if (!d->connecting)
		deferred_set(&d->fail);
}

struct end_dial *
end_dial_open(struct loop *l, const struct end *x,
    const struct end_dial_options *options,
    const struct end_dial_events *events, void *owner)
{
	static const struct end_dial_options none;
	struct end_dial *d = mem_zalloc(sizeof *d);

	if (!options)
		options = &none;
	d->loop = l;
	d->end = *x;
	d->policy = policy_ref(options->policy);
	d->user = options->user ? mem_strdup(options->user) : NULL;
	d->is_trusted = options->is_trusted;
	d->events = events;
	d->owner = owner;
	deferred_init(&d->fail, l, on_fail, d);
	dial_start(
	    d, options->timeout_ms ? options->timeout_ms : DIAL_TIMEOUT_MS);
	return d;
}

void
end_dial_close(struct end_dial *d)
{
	assert(d->events);
	d->events = NULL;
	deferred_clear(&d->fail);
	if (d->connecting)
		connect_close(d->connecting);
	d->connecting = NULL;
	loop_bury(d->loop, d, dial_free);
}

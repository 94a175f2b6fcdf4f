/* SPDX-License-Identifier: MIT
 *
 * Flows over datagram sockets. They stand in a hash table by what tells them
 * apart, and in a list by the time of their last datagram, so that one timer
 * serves them all: the head of the list is the next to expire.
 */
#include "ends/end_udp.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "ends/end.h"
#include "ends/socks_wire.h"
#include "net/loop.h"
#include "net/stream.h"
#include "net/udp.h"
#include "util/crypt.h"
#include "util/err.h"
#include "util/list.h"
#include "util/mem.h"

#define BUCKETS 256 /* a power of two */

/* A flow that was busy within this time is not closed to make room. */
#define BUSY_MS 1000

struct end_udp {
	struct loop *loop;
	const struct end_udp_events *events;
	void *owner;
	struct socket {
		struct end_udp *of;
		struct udp *udp;
	} sockets[END_BIND_MAX];
	size_t count;
	uint64_t idle_ms;
	unsigned max_flows;
	unsigned n_flows;
	size_t waiting_bytes; /* of all flows */
	uint64_t seed;        /* peers must not choose their buckets */
	struct list buckets[BUCKETS];
	struct list by_age; /* the longest idle first */
	struct timer expiry;
	/* SOCKS 5: */
	struct stream *control;
	struct addr from;
	bool is_socks;
	bool over; /* the control stream has ended */
};

struct waiting {
	struct list link;
	size_t len;
	uint8_t data[];
};

struct end_udp_flow {
	struct list bucket;
	struct list age;
	struct end_udp *of; /* NULL: expired, or that was closed */
	struct loop *loop;
	const struct end_udp_flow_events *events;
	void *owner;
	struct udp *udp;
	struct udp_way way;
	struct hostport target; /* SOCKS 5 */
	uint64_t used_ms;
	uint64_t dropped;
	struct list waiting; /* the oldest first */
	size_t n_waiting;
	size_t waiting_bytes;
	struct deferred later; /* delivers what waits, or tells the expiry */
	bool is_socks;
	bool reading;
	bool told;
	bool closing;
};

/* --- what waits --- */

static void
drop_oldest(struct end_udp_flow *f)
{
	struct waiting *w = LIST_OF(f->waiting.next, struct waiting, link);

	list_remove(&w->link);
	f->n_waiting--;
	f->waiting_bytes -= w->len;
	if (f->of != NULL)
		f->of->waiting_bytes -= w->len;
	free(w);
}

static void
drop_all(struct end_udp_flow *f)
{
	while (f->n_waiting > 0)
		drop_oldest(f);
}

static void
wait_in_line(struct end_udp_flow *f, const uint8_t *data, size_t len)
{
	struct end_udp *u = f->of;
	struct waiting *w;

	while (f->n_waiting > 0 &&
	       (f->n_waiting >= END_UDP_WAITING_MAX ||
	           f->waiting_bytes + len > END_UDP_BYTES_MAX ||
	           u->waiting_bytes + len > END_UDP_TOTAL_MAX)) {
		drop_oldest(f);
		f->dropped++;
	}
	if (u->waiting_bytes + len > END_UDP_TOTAL_MAX) {
		f->dropped++;
		return;
	}
	w = mem_alloc(sizeof(*w) + len);
	list_init(&w->link);
	w->len = len;
	memcpy(w->data, data, len);
	list_append(&f->waiting, &w->link);
	f->n_waiting++;
	f->waiting_bytes += len;
	u->waiting_bytes += len;
}

static bool
can_deliver(const struct end_udp_flow *f)
{
	return f->reading && !f->closing && f->of != NULL && f->events != NULL;
}

static void
deliver_waiting(struct end_udp_flow *f)
{
	uint8_t *block = loop_block_take(f->loop);

	while (can_deliver(f) && f->n_waiting > 0) {
		struct waiting *w =
		    LIST_OF(f->waiting.next, struct waiting, link);
		size_t len = w->len;

		memcpy(block + STREAM_HEADROOM, w->data, len);
		drop_oldest(f);
		f->events->on_datagram(f->owner, block + STREAM_HEADROOM, len);
	}
	loop_block_give(f->loop, block);
}

static void
on_later(void *owner)
{
	struct end_udp_flow *f = owner;

	if (f->of != NULL) {
		deliver_waiting(f);
	} else if (!f->told && f->events != NULL) {
		f->told = true;
		f->events->on_expire(f->owner);
	}
}

/* --- the table --- */

static uint64_t
hash_bytes(uint64_t hash, const void *data, size_t n)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < n; i++)
		hash = (hash ^ p[i]) * 0x100000001b3u;
	return hash ^ hash >> 29;
}

static uint64_t
hash_addr(uint64_t hash, const struct addr *a)
{
	char text[ADDR_TEXT_MAX];

	addr_print(a, text);
	return hash_bytes(hash, text, strlen(text));
}

static struct list *
bucket_of(
    struct end_udp *u, const struct udp_way *way, const struct hostport *target)
{
	uint64_t hash = u->seed;

	if (target != NULL) {
		hash = hash_bytes(hash, target->host, strlen(target->host));
		hash = hash_bytes(hash, &target->port, sizeof(target->port));
	} else {
		hash = hash_addr(hash, &way->peer);
	}
	return &u->buckets[hash % BUCKETS];
}

static bool
is_same_local(const struct addr *a, const struct addr *b)
{
	return a->len == b->len && (a->len == 0 || addr_is_equal(a, b));
}

static struct end_udp_flow *
find(struct end_udp *u, struct udp *udp, const struct udp_way *way,
    const struct hostport *target)
{
	struct list *bucket = bucket_of(u, way, target), *at;

	LIST_EACH (at, bucket) {
		struct end_udp_flow *f =
		    LIST_OF(at, struct end_udp_flow, bucket);

		if (target != NULL) {
			if (f->target.port == target->port &&
			    strcmp(f->target.host, target->host) == 0)
				return f;
		} else if (f->udp == udp &&
		           addr_is_equal(&f->way.peer, &way->peer) &&
		           is_same_local(&f->way.local, &way->local)) {
			return f;
		}
	}
	return NULL;
}

static void
watch_oldest(struct end_udp *u)
{
	struct end_udp_flow *f;
	uint64_t now = loop_now_ms(u->loop), due;

	if (list_is_empty(&u->by_age)) {
		timer_clear(&u->expiry);
		return;
	}
	f = LIST_OF(u->by_age.next, struct end_udp_flow, age);
	due = f->used_ms + u->idle_ms;
	timer_set(&u->expiry, due > now ? due - now : 0);
}

/* The timer is left as it is: when it fires too early it is set again. */
static void
touch(struct end_udp_flow *f)
{
	f->used_ms = loop_now_ms(f->loop);
	list_remove(&f->age);
	list_append(&f->of->by_age, &f->age);
}

/* Out of the table; the flow itself belongs to its owner. */
static void
cut_loose(struct end_udp_flow *f)
{
	drop_all(f);
	list_remove(&f->bucket);
	list_remove(&f->age);
	f->of->n_flows--;
	f->of = NULL;
	deferred_set(&f->later);
}

static void
on_expiry(void *owner)
{
	struct end_udp *u = owner;
	uint64_t now = loop_now_ms(u->loop);

	while (!list_is_empty(&u->by_age)) {
		struct end_udp_flow *f =
		    LIST_OF(u->by_age.next, struct end_udp_flow, age);

		if (f->used_ms + u->idle_ms > now)
			break;
		cut_loose(f);
	}
	watch_oldest(u);
}

static bool
make_room(struct end_udp *u)
{
	struct end_udp_flow *f;

	if (u->n_flows < u->max_flows)
		return true;
	f = LIST_OF(u->by_age.next, struct end_udp_flow, age);
	if (f->used_ms + BUSY_MS > loop_now_ms(u->loop))
		return false;
	cut_loose(f);
	return true;
}

/* --- datagrams from peers --- */

static struct end_udp_flow *
flow_new(struct end_udp *u, struct udp *udp, const struct udp_way *way,
    const struct hostport *target)
{
	struct end_udp_flow *f = mem_zalloc(sizeof(*f));

	f->of = u;
	f->loop = u->loop;
	f->udp = udp;
	f->way = *way;
	f->is_socks = target != NULL;
	if (target != NULL)
		f->target = *target;
	list_init(&f->bucket);
	list_init(&f->age);
	list_init(&f->waiting);
	deferred_init(&f->later, u->loop, on_later, f);
	list_append(bucket_of(u, way, target), &f->bucket);
	list_append(&u->by_age, &f->age);
	f->used_ms = loop_now_ms(u->loop);
	u->n_flows++;
	if (!timer_is_set(&u->expiry))
		watch_oldest(u);
	return f;
}

static void
take_datagram(struct end_udp *u, struct udp *udp, const struct udp_way *way,
    const struct hostport *target, uint8_t *data, size_t len)
{
	struct end_udp_flow *f = find(u, udp, way, target);

	if (f != NULL) {
		touch(f);
		f->way = *way;
		if (can_deliver(f) && f->n_waiting == 0)
			f->events->on_datagram(f->owner, data, len);
		else
			wait_in_line(f, data, len);
	} else if (make_room(u)) {
		f = flow_new(u, udp, way, target);
		wait_in_line(f, data, len);
		u->events->on_flow(u->owner, f);
	}
}

/* RFC 1928, section 7: datagrams of others than the client are dropped. */
static bool
is_from_client(struct end_udp *u, const struct addr *peer)
{
	struct addr expected = *peer;

	if (addr_port(&u->from) == 0) {
		addr_set_port(&expected, 0);
		if (!addr_is_equal(&expected, &u->from))
			return false;
		u->from = *peer;
		return true;
	}
	return addr_is_equal(peer, &u->from);
}

static void
on_datagram(void *owner, uint8_t *data, size_t len, const struct udp_way *way)
{
	struct socket *s = owner;
	struct end_udp *u = s->of;
	struct hostport target;
	size_t head;

	if (!u->is_socks)
		take_datagram(u, s->udp, way, NULL, data, len);
	else if (socks_wire_parse_udp(data, len, &target, &head) &&
	         is_from_client(u, &way->peer))
		take_datagram(u, s->udp, way, &target, data + head, len - head);
}

static const struct udp_events udp_events = {.on_datagram = on_datagram};

/* --- the stream that keeps an association --- */

static void
on_control_data(void *owner, uint8_t *data, size_t len)
{
	(void)owner, (void)data, (void)len; /* nothing is to be said there */
}

static void
tell_over(struct end_udp *u)
{
	if (u->over)
		return;
	u->over = true;
	if (u->events->on_over != NULL)
		u->events->on_over(u->owner);
}

static void
on_control_end(void *owner)
{
	tell_over(owner);
}

static void
on_control_drain(void *owner)
{
	(void)owner;
}

static void
on_control_error(void *owner, const struct err *err)
{
	(void)err;
	tell_over(owner);
}

static const struct stream_events control_events = {
    .on_data = on_control_data,
    .on_end = on_control_end,
    .on_drain = on_control_drain,
    .on_error = on_control_error,
};

/* --- life --- */

static struct end_udp *
new_end(struct loop *l, const struct end_udp_options *o,
    const struct end_udp_events *events, void *owner)
{
	static const struct end_udp_options none;
	struct end_udp *u = mem_zalloc(sizeof(*u));

	if (o == NULL)
		o = &none;
	u->loop = l;
	u->events = events;
	u->owner = owner;
	u->idle_ms = o->idle_ms != 0 ? o->idle_ms : END_UDP_IDLE_MS;
	u->max_flows = o->max_flows != 0 ? o->max_flows : END_UDP_FLOWS_MAX;
	crypt_random(&u->seed, sizeof(u->seed));
	for (size_t i = 0; i < BUCKETS; i++)
		list_init(&u->buckets[i]);
	list_init(&u->by_age);
	timer_init(&u->expiry, l, on_expiry, u);
	return u;
}

static bool
bind_one(struct end_udp *u, const struct addr *a, struct err *e)
{
	struct socket *s = &u->sockets[u->count];

	s->of = u;
	s->udp = udp_open(u->loop, a, &udp_events, s, e);
	if (s->udp == NULL)
		return false;
	u->count++;
	udp_start(s->udp);
	return true;
}

/* Tells "no IPv6 here" from "port in use". */
static bool
is_usable(struct end_udp *u, const struct addr *a)
{
	struct addr any = *a;
	struct udp *probe;

	addr_set_port(&any, 0);
	probe = udp_open(u->loop, &any, &udp_events, NULL, NULL);
	if (probe != NULL)
		udp_close(probe);
	return probe != NULL;
}

/* As end_listen: of `*` the second address is for machines without IPv6, of
 * localhost both are wanted where both are there. */
static bool
bind_all(struct end_udp *u, const struct end *x, struct err *e)
{
	bool is_wildcard = strcmp(x->at.host, "*") == 0;
	struct addr addrs[END_BIND_MAX];
	size_t n = end_bind_addrs(x, addrs, e), i;
	struct err fault = {0};

	if (n == 0)
		return false;
	for (i = 0; i < n && !(is_wildcard && u->count > 0); i++) {
		if (u->count > 0)
			addr_set_port(
			    &addrs[i], addr_port(udp_addr(u->sockets[0].udp)));
		if (!bind_one(u, &addrs[i], &fault) &&
		    (n == 1 || is_usable(u, &addrs[i])))
			break;
	}
	if (u->count > 0 && (i == n || is_wildcard))
		return true;
	if (e != NULL)
		*e = fault;
	return false;
}

struct end_udp *
end_udp_open(struct loop *l, const struct end *x,
    const struct end_udp_options *o, const struct end_udp_events *events,
    void *owner, struct err *e)
{
	struct end_udp *u;

	if (!x->kind->has_datagrams) {
		err_set(e, ERR_USAGE, "only an end with /udp takes datagrams");
		return NULL;
	}
	u = new_end(l, o, events, owner);
	if (bind_all(u, x, e))
		return u;
	end_udp_close(u);
	return NULL;
}

struct end_udp *
end_udp_open_socks(struct loop *l, const struct addr *bind,
    const struct addr *from, struct stream *control,
    const struct end_udp_options *o, const struct end_udp_events *events,
    void *owner, struct err *e)
{
	struct end_udp *u = new_end(l, o, events, owner);

	u->is_socks = true;
	u->from = *from;
	if (!bind_one(u, bind, e)) {
		end_udp_close(u);
		return NULL;
	}
	u->control = control;
	stream_set_owner(control, &control_events, u);
	stream_start(control);
	return u;
}

size_t
end_udp_count(const struct end_udp *u)
{
	return u->count;
}

const struct addr *
end_udp_addr(const struct end_udp *u, size_t i)
{
	assert(i < u->count);
	return udp_addr(u->sockets[i].udp);
}

size_t
end_udp_flows(const struct end_udp *u)
{
	return u->n_flows;
}

void
end_udp_close(struct end_udp *u)
{
	assert(u->events != NULL);
	u->events = NULL;
	timer_clear(&u->expiry);
	while (!list_is_empty(&u->by_age))
		cut_loose(LIST_OF(u->by_age.next, struct end_udp_flow, age));
	for (size_t i = 0; i < u->count; i++)
		udp_close(u->sockets[i].udp);
	if (u->control != NULL)
		stream_close(u->control);
	loop_bury(u->loop, u, free);
}

/* --- flows --- */

void
end_udp_flow_set_owner(struct end_udp_flow *f,
    const struct end_udp_flow_events *events, void *owner)
{
	f->events = events;
	f->owner = owner;
	if (f->of == NULL && !f->told)
		deferred_set(&f->later);
}

void
end_udp_flow_start(struct end_udp_flow *f)
{
	assert(!f->closing);
	f->reading = true;
	if (f->n_waiting > 0)
		deferred_set(&f->later);
}

void
end_udp_flow_stop(struct end_udp_flow *f)
{
	assert(!f->closing);
	f->reading = false;
}

bool
end_udp_flow_send(struct end_udp_flow *f, const void *data, size_t len)
{
	uint8_t head[SOCKS_WIRE_UDP_HEAD_MAX];

	assert(!f->closing);
	if (f->of == NULL)
		return false;
	touch(f);
	if (!f->is_socks)
		return udp_send(f->udp, &f->way, data, len);
	return udp_send_two(f->udp, &f->way, head,
	    socks_wire_build_udp(&f->target, head), data, len);
}

const struct addr *
end_udp_flow_peer(const struct end_udp_flow *f)
{
	return &f->way.peer;
}

const struct hostport *
end_udp_flow_target(const struct end_udp_flow *f)
{
	return f->is_socks ? &f->target : NULL;
}

uint64_t
end_udp_flow_dropped(const struct end_udp_flow *f)
{
	return f->dropped;
}

void
end_udp_flow_close(struct end_udp_flow *f)
{
	assert(!f->closing);
	if (f->of != NULL)
		cut_loose(f);
	f->closing = true;
	f->events = NULL;
	deferred_clear(&f->later);
	loop_bury(f->loop, f, free);
}

/* SPDX-License-Identifier: MIT
 *
 * A tunnel is a listening end with its connections; a connection waits for its
 * turn, dials in the way of the client, and is pumped. Which pointer is set
 * says how far it is:
 *
 *     accepted -> [waiting] -> dial (timer: again later) -> pump -> over
 *
 * Its local stream stays stopped until the dial is over, so nothing that the
 * application sends is read, kept or lost before. In an early way the
 * destination is reached later (is_reached): what the application sends at once
 * travels with the question.
 *
 * Two kinds of tunnels are not as -L: behind SOCKS each connection brings its
 * own destination, and is told (request) when that is reached; and one stream
 * that the caller brought (client_join) is a tunnel without a listener.
 *
 * A flow of datagrams is a connection, too, with capsules in place of the pump.
 * Its port belongs to its tunnel: one at /udp, one for each UDP ASSOCIATE.
 */
#include "tunnel/client.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ends/end.h"
#include "ends/end_socks.h"
#include "ends/end_udp.h"
#include "hc/hc_target.h"
#include "net/addr.h"
#include "net/loop.h"
#include "net/pump.h"
#include "net/stream.h"
#include "tunnel/datagrams.h"
#include "tunnel/way.h"
#include "tunnel/way_hyco_trust.h"
#include "util/err.h"
#include "util/list.h"
#include "util/log.h"
#include "util/mem.h"

#define RETRY_FIRST_MS ((uint64_t)250)

struct client {
	struct loop *loop;
	struct client_options o;
	struct hc_target target;
	const struct way *way;
	struct way_room *room; /* NULL: the way has none */
	char *user;
	char *credentials; /* secret */
	struct list tunnels;
	struct list waiting; /* conns, the oldest first */
	size_t n_waiting;
	size_t n_connecting;
	size_t n_live;
	unsigned last_tunnel;
	uint64_t last_conn;
	uint64_t opened, failed;
	uint64_t bytes_up, bytes_down; /* of connections that are over */
	bool was_online;               /* the listener was reached once */
	struct err last_error;
	uint64_t last_error_ms;
	struct way_dial *login;
	const struct way *login_way;
	void (*login_done)(void *owner, bool verified, const struct err *err);
	void *login_owner;
	char relay[HOSTPORT_TEXT_MAX];
	const struct client_events *events;
	void *owner;
	bool closing;
};

struct tunnel {
	struct list link;
	struct client *client;
	unsigned id;
	struct end_listener *listener;
	struct end_socks *socks; /* instead */
	bool has_datagrams;      /* instead; none of the three: closed */
	struct list ports;
	void (*done)(void *owner, const struct err *err); /* of client_join */
	void *done_owner;
	struct tunnel_spec spec;
	struct list conns;
	size_t live;
	uint64_t opened, failed;
	uint64_t bytes_up, bytes_down; /* of connections that are over */
	char listen[END_BIND_MAX * (ADDR_TEXT_MAX + 2)];
	char destination[END_TEXT_MAX];
};

/* Where datagrams come in. */
struct port {
	struct list link;
	struct tunnel *tunnel;
	struct end_udp *udp;
};

struct conn {
	struct list link;  /* in its tunnel */
	struct list queue; /* in client.waiting */
	struct tunnel *tunnel;
	uint64_t id;
	struct stream *local;              /* until the pump has it */
	struct end_socks_request *request; /* instead of it */
	struct end_udp_flow *flow;         /* instead of both */
	struct stream *remote;             /* of a request, until it is open */
	struct end *to;    /* of a request; NULL: the tunnel's */
	char *destination; /* the same in words */
	uint64_t early;    /* bytes that came with the request */
	struct way_dial *dial;
	const struct way *way; /* of the dial */
	struct timer retry;    /* the next dial; then: the answer is late */
	struct pump *pump;
	struct datagrams *datagrams; /* of a flow: instead */
	bool
	    is_connecting; /* counted so: not reached, or to be dialled again */
	bool is_reached;   /* counted as live */
	uint64_t accepted_ms;
	uint64_t started_ms;
	uint64_t wait_ms; /* before the next try */
	char *peer;
};

static void start_waiting(struct client *c);
static void dial(void *owner);

/* --- trouble --- */

static void
tell_error(struct client *c, unsigned tunnel_id, const struct err *err)
{
	c->last_error = *err;
	c->last_error_ms = loop_now_ms(c->loop);
	if (c->events->on_connection_error != NULL)
		c->events->on_connection_error(c->owner, tunnel_id, err);
}

/* --- the end of a connection --- */

static void
free_conn(void *object)
{
	struct conn *x = object;

	free(x->peer);
	free(x->to);
	free(x->destination);
	free(x);
}

static void
free_tunnel(void *object)
{
	free(object);
}

static bool
is_open(const struct tunnel *t)
{
	return t->listener != NULL || t->socks != NULL || t->has_datagrams;
}

static void
look_if_over(struct tunnel *t)
{
	if (is_open(t) || !list_is_empty(&t->conns))
		return;
	list_remove(&t->link);
	loop_bury(t->client->loop, t, free_tunnel);
}

static const char *
destination_of(const struct conn *x)
{
	return x->destination != NULL ? x->destination : x->tunnel->destination;
}

static bool
is_carrying(const struct conn *x)
{
	return x->pump != NULL || x->datagrams != NULL;
}

static void
get_bytes(const struct conn *x, uint64_t *up, uint64_t *down)
{
	if (x->datagrams != NULL) {
		datagrams_bytes(x->datagrams, up, down);
		return;
	}
	pump_bytes(x->pump, up, down);
	*up += x->early;
}

static void
log_end(const struct conn *x, uint64_t up, uint64_t down, const char *why)
{
	const struct tunnel *t = x->tunnel;
	uint64_t now = loop_now_ms(t->client->loop);

	log_info("connection closed",
	    "id=%llu tunnel=%u peer=%s destination=%s up=%llu down=%llu "
	    "ms=%llu reason=%s",
	    (unsigned long long)x->id, t->id, x->peer, destination_of(x),
	    (unsigned long long)up, (unsigned long long)down,
	    (unsigned long long)(now - x->accepted_ms), why);
}

static void
stop_pump(struct conn *x, const char *why)
{
	struct tunnel *t = x->tunnel;
	struct client *c = t->client;
	uint64_t up, down;

	get_bytes(x, &up, &down);
	t->bytes_up += up;
	t->bytes_down += down;
	c->bytes_up += up;
	c->bytes_down += down;
	if (x->is_reached) {
		t->live--;
		c->n_live--;
	}
	x->is_reached = false;
	log_end(x, up, down, why);
	if (x->pump != NULL)
		pump_close(x->pump);
	if (x->datagrams != NULL)
		datagrams_close(x->datagrams);
	x->pump = NULL;
	x->datagrams = NULL;
}

static void
leave_queue(struct conn *x)
{
	if (!list_is_linked(&x->queue))
		return;
	list_remove(&x->queue);
	x->tunnel->client->n_waiting--;
}

static void
close_dial(struct conn *x)
{
	if (x->dial != NULL)
		x->way->close_dial(x->dial);
	x->dial = NULL;
}

static void
stop_connecting(struct conn *x)
{
	struct client *c = x->tunnel->client;

	timer_clear(&x->retry);
	close_dial(x);
	if (x->is_connecting)
		c->n_connecting--;
	x->is_connecting = false;
}

/* The application of a request is told; without one it sees a reset. */
static void
end_local(struct conn *x, const struct err *err)
{
	struct end_socks_request *r = x->request;

	x->request = NULL;
	if (r != NULL)
		end_socks_refuse(r, err);
	if (x->local != NULL)
		stream_reset(x->local);
	x->local = NULL;
	if (x->flow != NULL)
		end_udp_flow_close(x->flow);
	x->flow = NULL;
}

/* Ends a connection in whatever state; its tunnel may end with it. */
static void
drop(struct conn *x, const char *why)
{
	struct tunnel *t = x->tunnel;
	struct err err;

	leave_queue(x);
	stop_connecting(x);
	if (is_carrying(x))
		stop_pump(x, why);
	if (x->remote != NULL)
		stream_reset(x->remote);
	x->remote = NULL;
	err_set(&err, ERR_CLOSED, "%.200s", why);
	end_local(x, &err);
	list_remove(&x->link);
	loop_bury(t->client->loop, x, free_conn);
	look_if_over(t);
}

/* The one stream of client_join is over. */
static void
tell_done(struct tunnel *t, const struct err *err)
{
	void (*done)(void *owner, const struct err *err) = t->done;

	t->done = NULL;
	if (done != NULL)
		done(t->done_owner, err);
}

/* The destination was not reached: the application sees a reset. */
static void
give_up(struct conn *x, const struct err *err)
{
	struct tunnel *t = x->tunnel;
	struct client *c = t->client;
	unsigned id = t->id;

	log_debug("connection failed", "id=%llu tunnel=%u reason=%s",
	    (unsigned long long)x->id, id, err->text);
	t->failed++;
	c->failed++;
	end_local(x, err);
	drop(x, err->text);
	start_waiting(c);
	tell_error(c, id, err);
	tell_done(t, err);
}

/* --- carrying --- */

static void
reach(struct conn *x)
{
	struct tunnel *t = x->tunnel;
	struct client *c = t->client;

	stop_connecting(x);
	x->is_reached = true;
	c->was_online = true;
	c->opened++;
	t->opened++;
	c->n_live++;
	t->live++;
}

static void
on_pump_open(void *owner)
{
	struct conn *x = owner;

	reach(x);
	start_waiting(x->tunnel->client);
}

static void
on_pump_done(void *owner, const struct err *err, bool from_local)
{
	struct conn *x = owner;
	struct tunnel *t = x->tunnel;
	struct client *c = t->client;
	unsigned id = t->id;
	struct err why;

	if (err == NULL) {
		drop(x, "end");
		tell_done(t, NULL);
		return;
	}
	why = *err;
	if (!x->is_reached && !from_local) {
		if (why.http_status != 0)
			err_prefix(
			    &why, "the listener of %s refused", c->target.path);
		give_up(x, &why);
		return;
	}
	err_prefix(&why, from_local ? "local" : "remote");
	drop(x, why.text);
	start_waiting(c);
	if (!from_local)
		tell_error(c, id, &why);
	tell_done(t, &why);
}

static const struct pump_events pump_events = {
    .on_open = on_pump_open,
    .on_done = on_pump_done,
};

/* Early ways: no answer came. */
static void
on_late(void *owner)
{
	struct conn *x = owner;
	struct client *c = x->tunnel->client;
	struct err err;

	err_set(&err, ERR_TIMEOUT,
	    "destination %.200s: no answer within %u s%s", destination_of(x),
	    (unsigned)(c->o.ready_ms / 1000),
	    c->room != NULL ? " (the session may be without a carrier)" : "");
	give_up(x, &err);
}

/* The application hears that its destination is reached. */
static void
answer(struct conn *x, struct stream *s)
{
	struct stream *local = end_socks_accept(x->request);

	x->request = NULL;
	x->remote = NULL;
	if (x->way->turn > 0)
		stream_set_turn(local, x->way->turn);
	x->pump = pump_open(local, s, &pump_events, x);
}

static void
on_remote_open(void *owner)
{
	struct conn *x = owner;

	reach(x);
	answer(x, x->remote);
	start_waiting(x->tunnel->client);
}

static void
on_remote_error(void *owner, const struct err *err)
{
	struct conn *x = owner;
	struct err why = *err;

	if (why.http_status != 0)
		err_prefix(&why, "the listener of %s refused",
		    x->tunnel->client->target.path);
	give_up(x, &why);
}

static void
on_remote_drain(void *owner)
{
	(void)owner;
}

static const struct stream_events remote_events = {
    .on_open = on_remote_open,
    .on_drain = on_remote_drain,
    .on_error = on_remote_error,
};

/* What the application sent behind its request goes first. */
static void
take_remote(struct conn *x, struct stream *s)
{
	size_t len;
	const uint8_t *early = end_socks_early(x->request, &len);

	if (len > 0)
		stream_put(s, early, len);
	x->early = len;
	if (!x->way->is_early) {
		answer(x, s);
		return;
	}
	x->remote = s;
	stream_set_owner(s, &remote_events, x);
}

/* --- carrying datagrams --- */

static void
on_flow_datagram(void *owner, uint8_t *data, size_t len)
{
	struct conn *x = owner;

	datagrams_send(x->datagrams, data, len);
}

static void
on_flow_expire(void *owner)
{
	struct conn *x = owner;
	struct client *c = x->tunnel->client;

	drop(x, "idle, or its port is closed");
	start_waiting(c);
}

static const struct end_udp_flow_events flow_events = {
    .on_datagram = on_flow_datagram,
    .on_expire = on_flow_expire,
};

static void
on_capsule(void *owner, const uint8_t *data, size_t len)
{
	struct conn *x = owner;

	end_udp_flow_send(x->flow, data, len);
}

static void
on_capsules_pause(void *owner, bool paused)
{
	struct conn *x = owner;

	if (paused)
		end_udp_flow_stop(x->flow);
	else
		end_udp_flow_start(x->flow);
}

static void
on_capsules_done(void *owner, const struct err *err)
{
	on_pump_done(owner, err, false);
}

static const struct datagrams_events datagrams_events = {
    .on_open = on_pump_open,
    .on_datagram = on_capsule,
    .on_pause = on_capsules_pause,
    .on_done = on_capsules_done,
};

static void
on_dial_open(void *owner, struct stream *s)
{
	struct conn *x = owner;
	struct client *c = x->tunnel->client;
	struct stream *local = x->local;

	if (x->way->is_early) {
		close_dial(x);
		timer_init(&x->retry, c->loop, on_late, x);
		timer_set(&x->retry, c->o.ready_ms);
	} else {
		reach(x);
	}
	if (x->flow != NULL) {
		x->datagrams = datagrams_open(s, &datagrams_events, x);
		end_udp_flow_start(x->flow);
		start_waiting(c);
		return;
	}
	if (x->request != NULL) {
		take_remote(x, s);
		start_waiting(c);
		return;
	}
	if (x->way->turn > 0)
		stream_set_turn(local, x->way->turn);
	x->local = NULL;
	x->pump = pump_open(local, s, &pump_events, x);
	start_waiting(c);
}

/* --- reaching the destination --- */

/* Listeners and relays come back; what else was said stays said. */
static bool
can_heal(
    const struct client *c, const struct err *err, enum way_refusal refusal)
{
	if (err->http_status == 503)
		return true;
	if (refusal == WAY_REFUSAL_RELAY)
		return err->http_status == 404 && err->code == ERR_UNREACHABLE;
	return refusal == WAY_REFUSAL_NONE && c->was_online &&
	       (err->code == ERR_REFUSED || err->code == ERR_UNREACHABLE ||
	           err->code == ERR_RESET);
}

/* The listener speaks another way: so does this client from now on. False:
 * the mode allows none. */
static bool
fall_back(struct client *c)
{
	struct way_room *room = c->room;

	if (c->o.mode != CLIENT_AUTO)
		return false;
	if (room == NULL)
		return true;
	log_warn("the listener does not speak the hyco way; connections go in "
	         "the sample way, where the relay could read them",
	    "path=%s", c->target.path);
	c->room = NULL;
	c->way->close_room(room);
	c->way = way_for_mode(CLIENT_SAMPLE);
	return true;
}

static void
on_dial_error(void *owner, const struct err *err, enum way_refusal refusal)
{
	struct conn *x = owner;
	struct client *c = x->tunnel->client;
	uint64_t age = loop_now_ms(c->loop) - x->started_ms;

	close_dial(x);
	if (refusal == WAY_REFUSAL_WAY && fall_back(c)) {
		dial(x);
		return;
	}
	if (!can_heal(c, err, refusal) || age + x->wait_ms > c->o.retry_ms) {
		give_up(x, err);
		return;
	}
	timer_set(&x->retry, x->wait_ms);
	x->wait_ms *= 2;
}

static const struct way_dial_events dial_events = {
    .on_open = on_dial_open,
    .on_error = on_dial_error,
};

static struct way_dial_options
dial_options(const struct client *c)
{
	return (struct way_dial_options){
	    .loop = c->loop,
	    .dialer = c->o.dialer,
	    .target = &c->target,
	    .room = c->room,
	    .credentials = c->credentials,
	    .timeout_ms = c->o.ready_ms,
	    .ping_ms = c->o.ping_ms,
	    .half_idle_ms = c->o.half_idle_ms,
	};
}

/* The ends that only sessions carry. */
static bool
check_sessions(const struct client *c, const char *what, struct err *e)
{
	return c->room != NULL ||
	       err_set(e, ERR_USAGE,
	           "%s needs the hyco way, and this client speaks the %s way "
	           "(--mode, or all that the listener knows)",
	           what, c->way->name);
}

static bool
check_destination(const struct client *c, const struct end *to, struct err *e)
{
	char text[END_TEXT_MAX];

	if (to->kind->has_path && !c->way->has_paths)
		return err_set(e, ERR_USAGE,
		    "the %s way cannot name %s: give it to the listener as "
		    "its --default-target",
		    c->way->name, end_print(to, text));
	if (to->kind->has_datagrams && !check_sessions(c, "/udp", e))
		return false;
	if (!to->kind->has_path && to->at.port == 0)
		return err_set(
		    e, ERR_USAGE, "the destination needs a port that is not 0");
	return true;
}

static void
dial(void *owner)
{
	struct conn *x = owner;
	struct client *c = x->tunnel->client;
	const struct end *to = x->to != NULL ? x->to : &x->tunnel->spec.remote;
	struct way_dial_options o = dial_options(c);
	struct err err;

	/* Tunnels are there before it is known what the listener speaks. */
	if (!check_destination(c, to, &err)) {
		give_up(x, &err);
		return;
	}
	if (to->kind->has_path)
		o.path = to->path;
	else
		o.destination = &to->at;
	o.has_datagrams = to->kind->has_datagrams;
	x->way = c->way;
	x->dial = c->way->open_dial(&o, &dial_events, x);
}

static void
start_waiting(struct client *c)
{
	while (!c->closing && c->n_connecting < c->o.connecting_max &&
	       !list_is_empty(&c->waiting)) {
		struct conn *x = LIST_OF(c->waiting.next, struct conn, queue);

		leave_queue(x);
		x->is_connecting = true;
		c->n_connecting++;
		x->started_ms = loop_now_ms(c->loop);
		dial(x);
	}
}

static char *
print_peer(const struct addr *peer)
{
	char text[ADDR_TEXT_MAX];

	if (peer == NULL || peer->len == 0)
		return mem_strdup("-");
	return mem_strdup(addr_print(peer, text));
}

/* Whether one more fits in. */
static bool
has_room(struct tunnel *t, struct err *e)
{
	struct client *c = t->client;

	if (c->n_live + c->n_connecting + c->n_waiting < c->o.connections_max)
		return true;
	t->failed++;
	c->failed++;
	return err_set(e, ERR_TOO_BIG, "more than %zu connections at once",
	    c->o.connections_max);
}

static struct conn *
make_conn(struct tunnel *t, const struct addr *peer)
{
	struct client *c = t->client;
	struct conn *x = mem_zalloc(sizeof(*x));

	x->tunnel = t;
	x->id = ++c->last_conn;
	x->peer = print_peer(peer);
	x->accepted_ms = loop_now_ms(c->loop);
	x->wait_ms = RETRY_FIRST_MS;
	timer_init(&x->retry, c->loop, dial, x);
	list_append(&t->conns, &x->link);
	list_init(&x->queue);
	list_append(&c->waiting, &x->queue);
	c->n_waiting++;
	return x;
}

static void
set_destination(
    struct conn *x, const struct end_kind *kind, const struct hostport *target)
{
	char text[END_TEXT_MAX];

	x->to = mem_zalloc(sizeof(*x->to));
	x->to->kind = kind;
	x->to->at = *target;
	x->destination = mem_strdup(end_print(x->to, text));
}

static void
on_accept(void *owner, struct stream *s, const struct addr *peer)
{
	struct tunnel *t = owner;
	struct client *c = t->client;
	struct err err;

	if (!has_room(t, &err)) {
		stream_reset(s);
		tell_error(c, t->id, &err);
		return;
	}
	make_conn(t, peer)->local = s;
	start_waiting(c);
}

/* --- flows --- */

static void
on_flow(void *owner, struct end_udp_flow *f)
{
	struct port *p = owner;
	struct tunnel *t = p->tunnel;
	const struct hostport *target = end_udp_flow_target(f);
	struct conn *x;
	struct err err;

	if (!has_room(t, &err)) {
		end_udp_flow_close(f);
		tell_error(t->client, t->id, &err);
		return;
	}
	x = make_conn(t, end_udp_flow_peer(f));
	x->flow = f;
	end_udp_flow_set_owner(f, &flow_events, x);
	if (target != NULL)
		set_destination(x, &end_kind_udp, target);
	start_waiting(t->client);
}

static void
close_port(struct port *p)
{
	list_remove(&p->link);
	end_udp_close(p->udp);
	loop_bury(p->tunnel->client->loop, p, free);
}

/* An association of SOCKS 5 ends with its connection. */
static void
on_port_over(void *owner)
{
	struct port *p = owner;
	struct tunnel *t = p->tunnel;

	close_port(p);
	look_if_over(t);
}

static const struct end_udp_events port_events = {
    .on_flow = on_flow,
    .on_over = on_port_over,
};

static struct port *
make_port(struct tunnel *t)
{
	struct port *p = mem_zalloc(sizeof(*p));

	p->tunnel = t;
	list_init(&p->link);
	return p;
}

static void
associate(struct tunnel *t, struct end_socks_request *r)
{
	struct port *p = make_port(t);
	struct err err;

	p->udp = end_socks_associate(r, NULL, &port_events, p, &err);
	if (p->udp == NULL) {
		free(p);
		tell_error(t->client, t->id, &err);
		return;
	}
	list_append(&t->ports, &p->link);
}

/* --- requests of -D --- */

static void
on_socks_request(void *owner, struct end_socks_request *r)
{
	struct tunnel *t = owner;
	struct client *c = t->client;
	struct conn *x;
	struct err err;

	if (end_socks_command(r) == SOCKS_WIRE_UDP) {
		associate(t, r);
		return;
	}
	if (!has_room(t, &err)) {
		end_socks_refuse(r, &err);
		tell_error(c, t->id, &err);
		return;
	}
	x = make_conn(t, end_socks_peer(r));
	x->request = r;
	end_socks_request_set_owner(r, x);
	set_destination(x, &end_kind_tcp, end_socks_target(r));
	start_waiting(c);
}

static void
on_socks_cancel(void *owner, struct end_socks_request *r)
{
	struct tunnel *t = owner;
	struct client *c = t->client;
	struct conn *x = end_socks_request_owner(r);

	if (x == NULL)
		return;
	x->request = NULL;
	drop(x, "given up by the application");
	start_waiting(c);
}

static void
on_socks_bad(void *owner, const struct err *err)
{
	struct tunnel *t = owner;

	tell_error(t->client, t->id, err);
}

/* --- tunnels --- */

static void
on_pause(void *owner, bool paused, const struct err *err)
{
	struct tunnel *t = owner;
	struct client *c = t->client;

	if (c->events->on_tunnel_pause != NULL)
		c->events->on_tunnel_pause(c->owner, t->id, paused, err);
}

static const struct end_listener_events listener_events = {
    .on_accept = on_accept,
    .on_pause = on_pause,
};

static const struct end_socks_events socks_events = {
    .on_request = on_socks_request,
    .on_cancel = on_socks_cancel,
    .on_bad = on_socks_bad,
    .on_pause = on_pause,
};

static bool
check_spec(
    const struct client *c, const struct tunnel_spec *spec, struct err *e)
{
	return check_destination(c, &spec->remote, e);
}

static const struct addr *
get_address(const struct tunnel *t, size_t i)
{
	if (t->listener != NULL)
		return end_listener_addr(t->listener, i);
	if (t->socks != NULL)
		return end_socks_addr(t->socks, i);
	return end_udp_addr(LIST_OF(t->ports.next, struct port, link)->udp, i);
}

static size_t
count_addresses(const struct tunnel *t)
{
	if (t->listener != NULL)
		return end_listener_count(t->listener);
	if (t->socks != NULL)
		return end_socks_count(t->socks);
	return end_udp_count(LIST_OF(t->ports.next, struct port, link)->udp);
}

static void
print_listen(struct tunnel *t)
{
	size_t n = count_addresses(t);
	char text[ADDR_TEXT_MAX];
	size_t at = 0;

	for (size_t i = 0; i < n && at < sizeof(t->listen); i++)
		at += (size_t)snprintf(t->listen + at, sizeof(t->listen) - at,
		    "%s%s", i > 0 ? ", " : "",
		    addr_print(get_address(t, i), text));
	if (t->has_datagrams && at < sizeof(t->listen))
		snprintf(t->listen + at, sizeof(t->listen) - at, "/udp");
}

static struct tunnel *
make_tunnel(struct client *c)
{
	struct tunnel *t = mem_zalloc(sizeof(*t));

	t->client = c;
	list_init(&t->conns);
	list_init(&t->ports);
	return t;
}

static unsigned
add_tunnel(struct tunnel *t)
{
	t->id = ++t->client->last_tunnel;
	list_append(&t->client->tunnels, &t->link);
	return t->id;
}

static bool
listen_for_flows(struct tunnel *t, struct err *e)
{
	struct port *p = make_port(t);

	p->udp = end_udp_open(
	    t->client->loop, &t->spec.local, NULL, &port_events, p, e);
	if (p->udp == NULL) {
		free(p);
		return false;
	}
	list_append(&t->ports, &p->link);
	t->has_datagrams = true;
	return true;
}

static bool
listen_at(struct tunnel *t, struct err *e)
{
	if (t->spec.local.kind->has_datagrams)
		return listen_for_flows(t, e);
	t->listener =
	    end_listen(t->client->loop, &t->spec.local, &listener_events, t, e);
	return t->listener != NULL;
}

unsigned
client_tunnel_open(
    struct client *c, const struct tunnel_spec *spec, struct err *e)
{
	struct tunnel *t;

	if (!check_spec(c, spec, e))
		return 0;
	t = make_tunnel(c);
	t->spec = *spec;
	if (!listen_at(t, e)) {
		free(t);
		return 0;
	}
	print_listen(t);
	end_print(&spec->remote, t->destination);
	return add_tunnel(t);
}

unsigned
client_socks_open(struct client *c, const struct end *local, struct err *e)
{
	struct tunnel *t;

	if (!check_sessions(c, "a SOCKS port", e))
		return 0;
	t = make_tunnel(c);
	t->socks = end_socks_open(c->loop, local, NULL, &socks_events, t, e);
	if (t->socks == NULL) {
		free(t);
		return 0;
	}
	print_listen(t);
	strcpy(t->destination, "by SOCKS or HTTP CONNECT");
	return add_tunnel(t);
}

bool
client_join(struct client *c, struct stream *local, const struct end *to,
    void (*done)(void *owner, const struct err *err), void *owner,
    struct err *e)
{
	struct tunnel *t;

	if (!check_sessions(c, "-W", e) || !check_destination(c, to, e))
		return false;
	t = make_tunnel(c);
	t->spec.remote = *to;
	t->done = done;
	t->done_owner = owner;
	strcpy(t->listen, "-");
	end_print(to, t->destination);
	add_tunnel(t);
	make_conn(t, NULL)->local = local;
	start_waiting(c);
	return true;
}

static struct tunnel *
find_tunnel(const struct client *c, unsigned id)
{
	struct list *at;

	LIST_EACH (at, &c->tunnels) {
		struct tunnel *t = LIST_OF(at, struct tunnel, link);

		if (t->id == id)
			return t;
	}
	return NULL;
}

/* Requests that are not answered, and flows, end with it. */
static void
close_ports(struct tunnel *t, const char *why)
{
	struct end_socks *socks = t->socks;
	struct list *at, *after;

	LIST_EACH_SAFE (at, after, &t->conns) {
		struct conn *x = LIST_OF(at, struct conn, link);

		if (x->request != NULL || x->flow != NULL)
			drop(x, why);
	}
	LIST_EACH_SAFE (at, after, &t->ports)
		close_port(LIST_OF(at, struct port, link));
	t->has_datagrams = false;
	t->socks = NULL;
	if (socks != NULL)
		end_socks_close(socks);
}

/* The last of its connections takes the tunnel along. */
static void
close_tunnel(struct tunnel *t, bool end_live, const char *why)
{
	struct list *at, *after;

	if (t->listener != NULL)
		end_listener_close(t->listener);
	t->listener = NULL;
	if (t->socks != NULL || t->has_datagrams)
		close_ports(t, why);
	if (list_is_empty(&t->conns)) {
		look_if_over(t);
		return;
	}
	if (!end_live)
		return;
	LIST_EACH_SAFE (at, after, &t->conns)
		drop(LIST_OF(at, struct conn, link), why);
}

bool
client_tunnel_close(struct client *c, unsigned id, bool end_live, size_t *live)
{
	struct tunnel *t = find_tunnel(c, id);

	if (t == NULL || !is_open(t))
		return false;
	if (live != NULL)
		*live = t->live;
	close_tunnel(t, end_live, "tunnel closed");
	start_waiting(c);
	return true;
}

/* --- showing --- */

static void
add_live_bytes(const struct tunnel *t, uint64_t *up, uint64_t *down)
{
	struct list *at;

	LIST_EACH (at, &t->conns) {
		const struct conn *x = LIST_OF(at, struct conn, link);
		uint64_t more_up, more_down;

		if (!is_carrying(x))
			continue;
		get_bytes(x, &more_up, &more_down);
		*up += more_up;
		*down += more_down;
	}
}

static void
fill_tunnel(const struct tunnel *t, struct client_tunnel_info *info)
{
	*info = (struct client_tunnel_info){
	    .id = t->id,
	    .listen = t->listen,
	    .destination = t->destination,
	    .is_closed = !is_open(t),
	    .live = t->live,
	    .opened = t->opened,
	    .failed = t->failed,
	    .bytes_up = t->bytes_up,
	    .bytes_down = t->bytes_down,
	};
	add_live_bytes(t, &info->bytes_up, &info->bytes_down);
}

bool
client_tunnel_info(
    const struct client *c, unsigned id, struct client_tunnel_info *info)
{
	const struct tunnel *t = find_tunnel(c, id);

	if (t == NULL)
		return false;
	fill_tunnel(t, info);
	return true;
}

void
client_each_tunnel(const struct client *c,
    void (*each)(void *arg, const struct client_tunnel_info *info), void *arg)
{
	struct client_tunnel_info info;
	struct list *at;

	LIST_EACH (at, &c->tunnels) {
		fill_tunnel(LIST_OF(at, struct tunnel, link), &info);
		each(arg, &info);
	}
}

static void
fill_conn(const struct conn *x, struct client_connection_info *info)
{
	const struct tunnel *t = x->tunnel;

	*info = (struct client_connection_info){
	    .id = x->id,
	    .tunnel_id = t->id,
	    .peer = x->peer,
	    .destination = destination_of(x),
	    .state = x->is_reached      ? "open"
	             : x->is_connecting ? "connecting"
	                                : "waiting",
	    .age_ms = loop_now_ms(t->client->loop) - x->accepted_ms,
	};
	if (is_carrying(x))
		get_bytes(x, &info->bytes_up, &info->bytes_down);
}

void
client_each_connection(const struct client *c, unsigned tunnel_id,
    void (*each)(void *arg, const struct client_connection_info *info),
    void *arg)
{
	struct client_connection_info info;
	struct list *at, *in;

	LIST_EACH (at, &c->tunnels) {
		const struct tunnel *t = LIST_OF(at, struct tunnel, link);

		if (tunnel_id != 0 && t->id != tunnel_id)
			continue;
		LIST_EACH (in, &t->conns) {
			fill_conn(LIST_OF(in, struct conn, link), &info);
			each(arg, &info);
		}
	}
}

void
client_status(const struct client *c, struct client_status *status)
{
	struct list *at;

	*status = (struct client_status){
	    .relay = c->relay,
	    .path = c->target.path,
	    .user = c->user,
	    .mode = c->o.mode,
	    .way = c->way->name,
	    .waiting = c->n_waiting,
	    .connecting = c->n_connecting,
	    .live = c->n_live,
	    .opened = c->opened,
	    .failed = c->failed,
	    .bytes_up = c->bytes_up,
	    .bytes_down = c->bytes_down,
	};
	LIST_EACH (at, &c->tunnels) {
		const struct tunnel *t = LIST_OF(at, struct tunnel, link);

		status->tunnels += is_open(t);
		add_live_bytes(t, &status->bytes_up, &status->bytes_down);
	}
	status->has_sessions = c->room != NULL;
	if (c->room != NULL)
		c->way->get_status(c->room, &status->sessions);
	if (c->last_error.code == ERR_NONE)
		return;
	status->last_error = &c->last_error;
	status->last_error_age_ms = loop_now_ms(c->loop) - c->last_error_ms;
}

/* --- login --- */

static void
drop_login(struct client *c)
{
	struct way_dial *d = c->login;

	c->login = NULL;
	if (d != NULL)
		c->login_way->close_dial(d);
}

static void
on_login_open(void *owner, struct stream *s)
{
	struct client *c = owner;

	drop_login(c);
	if (s != NULL) {
		stream_shutdown(s);
		stream_close(s);
	}
	c->was_online = true;
	c->login_done(c->login_owner, true, NULL);
}

static void open_login(struct client *c);

/* What a listener answers that does not know the check. The original checks the
 * password, then fails to reach port 0. */
static void
on_login_error(void *owner, const struct err *given, enum way_refusal refusal)
{
	struct client *c = owner;
	struct err err = *given;

	drop_login(c);
	if (refusal == WAY_REFUSAL_WAY && fall_back(c)) {
		open_login(c);
		return;
	}
	if (refusal == WAY_REFUSAL_OTHER && c->room == NULL) {
		c->was_online = true;
		c->login_done(c->login_owner,
		    err.http_status == 0 && err.code == ERR_REFUSED, NULL);
		return;
	}
	if (refusal == WAY_REFUSAL_LOGIN) {
		c->was_online = true;
		if (err.code == ERR_AUTH)
			err.http_status = 403;
	}
	c->login_done(c->login_owner, false, &err);
}

static const struct way_dial_events login_events = {
    .on_open = on_login_open,
    .on_error = on_login_error,
};

static void
open_login(struct client *c)
{
	struct way_dial_options o = dial_options(c);

	c->login_way = c->way;
	c->login = c->way->open_dial(&o, &login_events, c);
}

void
client_login(struct client *c,
    void (*done)(void *owner, bool verified, const struct err *err),
    void *owner)
{
	drop_login(c);
	c->login_done = done;
	c->login_owner = owner;
	open_login(c);
}

const char *
client_unknown_identity(const struct client *c)
{
	return c->room != NULL ? c->way->get_unknown(c->room) : NULL;
}

bool
client_accept_identity(struct client *c, struct err *e)
{
	if (c->room == NULL)
		return err_set(e, ERR_USAGE, "no listener waits for a yes");
	return c->way->accept_unknown(c->room, e);
}

bool
client_set_login(
    struct client *c, const char *user, const char *password, struct err *e)
{
	char *credentials = NULL;

	if (user != NULL) {
		credentials = c->way->credentials(
		    user, password != NULL ? password : "", e);
		if (credentials == NULL)
			return false;
	}
	mem_free_secret(c->credentials);
	c->credentials = credentials;
	free(c->user);
	c->user = user != NULL ? mem_strdup(user) : NULL;
	if (c->room != NULL)
		c->way->set_login(c->room, user, password);
	return true;
}

/* --- life --- */

static void
take_options(struct client *c, const struct client_options *o)
{
	struct hostport at;

	c->o = *o;
	c->o.target = NULL;
	c->o.user = NULL;
	c->o.password = NULL;
	c->o.trust = NULL;
	if (c->o.connecting_max == 0)
		c->o.connecting_max = 64;
	if (c->o.connections_max == 0)
		c->o.connections_max = 10000;
	if (c->o.ready_ms == 0)
		c->o.ready_ms = 40000; /* the relay gives up first */
	if (c->o.retry_ms == 0)
		c->o.retry_ms = 5000;
	if (c->o.ping_ms == 0)
		c->o.ping_ms = 30000;
	if (c->o.half_idle_ms == 0)
		c->o.half_idle_ms = 120000;
	hc_target_copy(&c->target, o->target);
	hc_target_address(&c->target, &at);
	hostport_print(&at, c->relay);
}

static void
free_client(void *object)
{
	struct client *c = object;

	hc_target_fini(&c->target);
	mem_free_secret(c->credentials);
	free(c->user);
	free(c);
}

static bool
check_options(struct client *c, const struct client_options *o, struct err *e)
{
	if (!hc_target_check(o->target, HC_TARGET_SEND, e))
		return false;
	c->way = way_for_mode(o->mode);
	if (c->way == NULL)
		return err_set(e, ERR_USAGE,
		    "mode %s is not known to this build; use auto, hyco or "
		    "sample",
		    client_mode_name(o->mode));
	return client_set_login(c, o->user, o->password, e);
}

static void
open_room(struct client *c, const struct client_options *o)
{
	static const struct way_trust nobody;
	struct way_room_options room = {
	    .loop = c->loop,
	    .dialer = o->dialer,
	    .target = o->target,
	    .trust = o->trust != NULL ? o->trust : &nobody,
	    .sessions = o->carriers,
	    .window_s = o->window_s,
	    .memory = o->memory,
	    .timeout_ms = c->o.ready_ms,
	};

	if (c->way->open_room == NULL)
		return;
	if (o->no_e2e)
		room.trust = NULL;
	c->room = c->way->open_room(&room);
	c->way->set_login(c->room, o->user, o->password);
}

struct client *
client_open(struct loop *l, const struct client_options *o,
    const struct client_events *events, void *owner, struct err *e)
{
	struct client *c = mem_zalloc(sizeof(*c));

	hc_target_init(&c->target);
	if (!check_options(c, o, e)) {
		free_client(c);
		return NULL;
	}
	c->loop = l;
	c->events = events;
	c->owner = owner;
	list_init(&c->tunnels);
	list_init(&c->waiting);
	take_options(c, o);
	open_room(c, o);
	return c;
}

void
client_close(struct client *c)
{
	struct list *at, *after;

	assert(!c->closing);
	c->closing = true;
	drop_login(c);
	LIST_EACH_SAFE (at, after, &c->tunnels)
		close_tunnel(
		    LIST_OF(at, struct tunnel, link), true, "client ends");
	if (c->room != NULL)
		c->way->close_room(c->room);
	loop_bury(c->loop, c, free_client);
}

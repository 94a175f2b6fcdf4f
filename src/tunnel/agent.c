/* SPDX-License-Identifier: MIT
 *
 * Each accept becomes a struct conn, which holds a pointer for every step that
 * is under way; which of them is set is its state. All steps before the
 * rendezvous end in at most one place: refuse().
 *
 *     accept -> way reads it -> password -> destination (policy inside)
 *            -> rendezvous -> pump -> over
 *
 * A login check goes from the password straight to the rendezvous and ends
 * there. In a way that is hosted an accept is only a carrier: it goes straight
 * to the rendezvous, and then belongs to the host.
 */
#include "tunnel/agent.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ends/end.h"
#include "ends/policy.h"
#include "ends/users.h"
#include "hc/hc_accept.h"
#include "hc/hc_listener.h"
#include "hc/hc_target.h"
#include "net/addr.h"
#include "net/loop.h"
#include "net/pump.h"
#include "net/sock.h"
#include "net/stream.h"
#include "tunnel/way.h"
#include "tunnel/way_hyco_host.h"
#include "util/err.h"
#include "util/list.h"
#include "util/log.h"
#include "util/mem.h"

#define DETAILS_CONNECTED "Upstream socket connected"
#define DETAILS_LOGIN "authenticated"
#define WRONG_LOGIN "user or password wrong"
#define KEEPALIVE_S 120

/* How long a full store of password checks is tried again. */
#define BUSY_RETRY_MS ((uint64_t)100)
/* How long a login check waits for the sender to close. */
#define LOGIN_CLOSE_MS ((uint64_t)5000)

struct agent {
	struct loop *loop;
	struct hc_listener *hc;
	struct way_hyco_host *host; /* NULL: the way is not spoken */
	struct users_store *users;  /* NULL: none */
	struct policy *policy;
	struct agent_options o;
	struct end default_target;
	bool has_default;
	struct list conns;
	uint64_t last_id;
	unsigned generation; /* of users and policy */
	struct agent_counts counts;
	char place[HC_TARGET_TEXT_MAX];
	const struct agent_events *events;
	void *owner;
	struct deferred drained;
	bool is_draining;
	bool is_listener_gone; /* its on_closed came */
	bool closing;
};

struct conn {
	struct list link;
	struct agent *agent;
	uint64_t id;
	const struct way *way;
	struct way_ask ask;

	struct hc_accept *accept;  /* not yet answered, or being joined */
	struct users_check *check; /* password */
	struct end_dial *dial;     /* destination */
	struct stream *upstream;   /* reached, while the rendezvous is opened */
	struct stream *face;       /* login check: the sender */
	struct pump *pump;         /* carrying */
	struct timer timer;        /* the deadline, a retry, or the farewell */

	uint64_t due_ms; /* loop time: everything before the rendezvous */
	uint64_t started_ms;
	unsigned generation;
	bool is_counted_live;
	char accept_id[40];
	struct addr addr; /* the destination's, as connected */
	char *destination;
	char *source; /* the sender as the relay sees it */
};

static void on_check_due(void *owner);

/* A connection waits for one thing at a time. */
static void
await(struct conn *c, void (*on_due)(void *owner), uint64_t ms)
{
	timer_clear(&c->timer);
	timer_init(&c->timer, c->agent->loop, on_due, c);
	timer_set(&c->timer, ms);
}

static uint64_t
rest_ms(const struct conn *c)
{
	uint64_t now = loop_now_ms(c->agent->loop);

	return c->due_ms > now ? c->due_ms - now : 0;
}

/* --- the end of a connection --- */

static void
report_drained(void *owner)
{
	struct agent *a = owner;

	if (a->events->on_drained != NULL)
		a->events->on_drained(a->owner);
}

static void
look_if_drained(struct agent *a)
{
	if (a->is_draining && a->is_listener_gone && list_is_empty(&a->conns) &&
	    (a->host == NULL || way_hyco_host_sessions(a->host) == 0))
		deferred_set(&a->drained);
}

static void
free_conn(void *object)
{
	struct conn *c = object;

	way_ask_fini(&c->ask);
	free(c->destination);
	free(c->source);
	free(c);
}

/* Closes whatever is under way: the accept without an answer, streams by
 * reset. */
static void
drop_steps(struct conn *c)
{
	timer_clear(&c->timer);
	if (c->check != NULL)
		users_check_close(c->check);
	if (c->dial != NULL)
		end_dial_close(c->dial);
	if (c->upstream != NULL)
		stream_reset(c->upstream);
	if (c->accept != NULL)
		hc_accept_close(c->accept);
	if (c->face != NULL)
		stream_close(c->face);
	if (c->pump != NULL)
		pump_close(c->pump);
	c->check = NULL;
	c->dial = NULL;
	c->upstream = NULL;
	c->accept = NULL;
	c->face = NULL;
	c->pump = NULL;
}

static void
drop(struct conn *c)
{
	struct agent *a = c->agent;

	drop_steps(c);
	if (c->is_counted_live)
		a->counts.live--;
	else
		a->counts.pending--;
	list_remove(&c->link);
	loop_bury(a->loop, c, free_conn);
	look_if_drained(a);
}

static const char *
user_of(const struct conn *c)
{
	return c->ask.user != NULL ? c->ask.user : "-";
}

static const char *
destination_of(const struct conn *c)
{
	if (c->destination != NULL)
		return c->destination;
	return c->ask.is_login ? "(login check)" : "-";
}

static void
log_refusal(const struct conn *c, int status, const char *why)
{
	struct agent *a = c->agent;

	log_info("connection refused",
	    "id=%llu user=%s from=%s destination=%s ms=%llu status=%d "
	    "reason=%s accept=%s",
	    (unsigned long long)c->id, user_of(c), c->source, destination_of(c),
	    (unsigned long long)(loop_now_ms(a->loop) - c->started_ms), status,
	    why, c->accept_id);
}

/* The one end of everything before the rendezvous: `say` is for the sender,
 * `why` for the log. */
static void
refuse_quietly(struct conn *c, int status, const char *say, const char *why)
{
	struct hc_accept *accept = c->accept;

	c->agent->counts.refused++;
	log_refusal(c, status, why);
	c->accept = NULL;
	hc_accept_reject(accept, status, say);
	drop(c);
}

static void
refuse(struct conn *c, int status, const char *why)
{
	refuse_quietly(c, status, why, why);
}

static void
log_end(const struct conn *c, uint64_t up, uint64_t down, const char *why)
{
	struct agent *a = c->agent;

	log_info("connection closed",
	    "id=%llu user=%s from=%s destination=%s up=%llu down=%llu "
	    "ms=%llu reason=%s accept=%s",
	    (unsigned long long)c->id, user_of(c), c->source, destination_of(c),
	    (unsigned long long)up, (unsigned long long)down,
	    (unsigned long long)(loop_now_ms(a->loop) - c->started_ms), why,
	    c->accept_id);
}

/* A connection that was carried is over. */
static void
finish(struct conn *c, const char *why)
{
	struct agent *a = c->agent;
	uint64_t up = 0, down = 0;

	pump_bytes(c->pump, &down, &up);
	a->counts.bytes_up += up;
	a->counts.bytes_down += down;
	log_end(c, up, down, why);
	drop(c);
}

/* --- carrying --- */

static void
on_pump_done(void *owner, const struct err *err, bool from_a)
{
	struct conn *c = owner;
	struct err why;

	if (err == NULL) {
		finish(c, "end");
		return;
	}
	why = *err;
	err_prefix(&why, from_a ? "destination" : "sender");
	finish(c, why.text);
}

static const struct pump_events pump_events = {.on_done = on_pump_done};

/* Whether users and policy of now still let the connection be. */
static bool
is_allowed(const struct conn *c, struct err *why)
{
	const struct agent *a = c->agent;
	struct policy_request r = {
	    .user = c->ask.user,
	    .kind = addr_is_unix(&c->addr) ? POLICY_UNIX : POLICY_TCP,
	    .addr = &c->addr,
	    .port = addr_port(&c->addr),
	};

	if (c->ask.user != NULL && a->users != NULL &&
	    !users_has(users_store_users(a->users), c->ask.user))
		return err_set(why, ERR_DENIED, "the user was removed");
	if (c->ask.is_login)
		return true;
	if (r.kind == POLICY_TCP)
		r.host = c->ask.destination.host;
	return policy_decide(a->policy, &r, why);
}

static void
start_pump(struct conn *c, struct ws *w)
{
	struct agent *a = c->agent;
	const struct way_serve_options o = {
	    .details = DETAILS_CONNECTED,
	    .half_close = c->ask.half_close,
	    .ping_ms = a->o.ping_ms,
	};
	struct stream *upstream = c->upstream;
	struct stream *face = c->way->serve(w, &o, NULL, NULL);
	struct err why;

	c->upstream = NULL;
	c->is_counted_live = true;
	a->counts.pending--;
	a->counts.live++;
	a->counts.served++;
	c->pump = pump_open(upstream, face, &pump_events, c);
	if (c->generation != a->generation && !is_allowed(c, &why))
		finish(c, why.text);
}

/* --- the login check --- */

static void
end_login(struct conn *c, const char *why)
{
	log_end(c, 0, 0, why);
	drop(c);
}

static void
on_login_end(void *owner)
{
	end_login(owner, "password right");
}

static void
on_login_error(void *owner, const struct err *err)
{
	(void)err;
	end_login(owner, "password right");
}

static void
on_login_drain(void *owner)
{
	(void)owner;
}

static void
on_login_data(void *owner, uint8_t *data, size_t len)
{
	(void)owner;
	(void)data;
	(void)len;
}

static const struct stream_events login_events = {
    .on_data = on_login_data,
    .on_end = on_login_end,
    .on_drain = on_login_drain,
    .on_error = on_login_error,
};

/* Says yes, ends, and waits for the sender's own end. */
static void
say_login(struct conn *c, struct ws *w)
{
	struct agent *a = c->agent;
	const struct way_serve_options o = {
	    .details = DETAILS_LOGIN,
	    .half_close = true,
	    .ping_ms = a->o.ping_ms,
	};

	c->face = c->way->serve(w, &o, &login_events, c);
	stream_start(c->face);
	stream_shutdown(c->face);
	await(c, on_login_end, LOGIN_CLOSE_MS);
}

/* --- the rendezvous --- */

static void
close_accept(struct conn *c)
{
	struct hc_accept *accept = c->accept;

	c->accept = NULL;
	hc_accept_close(accept);
}

/* The sender's address is the brake's, without the port. */
static void
hand_over(struct conn *c, struct ws *w)
{
	char ip[64];

	snprintf(ip, sizeof(ip), "%s", hc_accept_remote_address(c->accept));
	close_accept(c);
	way_hyco_host_take(c->agent->host, w, ip);
	drop(c);
}

static void
on_joined(void *owner, struct ws *w)
{
	struct conn *c = owner;

	if (c->way->is_hosted) {
		hand_over(c, w);
		return;
	}
	close_accept(c);
	if (c->ask.is_login)
		say_login(c, w);
	else
		start_pump(c, w);
}

static void
on_join_error(void *owner, const struct err *err)
{
	struct conn *c = owner;

	c->agent->counts.refused++;
	log_refusal(c, 0, err->text);
	drop(c);
}

static const struct hc_accept_events accept_events = {
    .on_open = on_joined,
    .on_error = on_join_error,
};

static void
join(struct conn *c)
{
	const struct hc_accept_options o = {
	    .protocol = c->way->get_protocol(c->accept),
	    .ws = c->way->ws,
	};

	timer_clear(&c->timer);
	hc_accept_open(c->accept, &o, &accept_events, c);
}

/* --- the destination --- */

static void
on_reached(void *owner, struct stream *s, const struct addr *addr)
{
	struct conn *c = owner;
	struct end_dial *dial = c->dial;

	c->dial = NULL;
	end_dial_close(dial);
	c->upstream = s;
	c->addr = *addr;
	if (sock_is(s))
		sock_set_keepalive(s, KEEPALIVE_S);
	join(c);
}

static int
status_for(enum err_code code)
{
	switch (code) {
	case ERR_TIMEOUT:
		return 504;
	case ERR_USAGE:
		return 400;
	default:
		return 502;
	}
}

/* The rule and the resolved address are nobody's business but ours. */
static void
refuse_by_policy(struct conn *c, const struct err *err)
{
	char say[END_TEXT_MAX + 128];

	snprintf(say, sizeof(say),
	    "policy: %s%s may not connect to %s; whoever runs the listener can "
	    "allow it",
	    c->ask.user != NULL ? "user " : "anonymous users",
	    c->ask.user != NULL ? c->ask.user : "", c->destination);
	refuse_quietly(c, 403, say, err->text);
}

static const char *
remedy_for(enum err_code code)
{
	switch (code) {
	case ERR_REFUSED:
		return "; does the service run there?";
	case ERR_TIMEOUT:
		return "; is the address right, or does a firewall drop it?";
	default:
		return "";
	}
}

static void
on_not_reached(void *owner, const struct err *err)
{
	static const char verb[] = "connect to ";
	struct conn *c = owner;
	struct end_dial *dial = c->dial;
	const char *rest = err->text;
	char say[ERR_TEXT_MAX + 80];

	c->dial = NULL;
	end_dial_close(dial);
	if (err->code == ERR_DENIED) {
		refuse_by_policy(c, err);
		return;
	}
	if (strncmp(rest, verb, sizeof(verb) - 1) == 0)
		rest += sizeof(verb) - 1;
	snprintf(
	    say, sizeof(say), "destination %s%s", rest, remedy_for(err->code));
	refuse(c, status_for(err->code), say);
}

static const struct end_dial_events dial_events = {
    .on_open = on_reached,
    .on_error = on_not_reached,
};

static void
dial(struct conn *c)
{
	struct agent *a = c->agent;
	struct end to = {.kind = &end_kind_tcp, .at = c->ask.destination};
	const struct end_dial_options o = {
	    .policy = a->policy,
	    .user = c->ask.user,
	    .timeout_ms = a->o.connect_ms,
	};

	c->dial = end_dial_open(a->loop,
	    c->ask.has_destination ? &to : &a->default_target, &o, &dial_events,
	    c);
}

static void
go_to_destination(struct conn *c)
{
	struct agent *a = c->agent;
	struct end to = {.kind = &end_kind_tcp, .at = c->ask.destination};
	char text[END_TEXT_MAX];

	if (c->ask.is_login) {
		join(c);
	} else if (c->ask.has_destination) {
		c->destination = mem_strdup(end_print(&to, text));
		dial(c);
	} else if (a->has_default) {
		c->destination =
		    mem_strdup(end_print(&a->default_target, text));
		c->ask.destination = a->default_target.at;
		dial(c);
	} else {
		refuse(c, 400,
		    "request: no destination (port and host in the query), "
		    "and this listener has no default");
	}
}

/* --- who it is --- */

static void
on_deadline(void *owner)
{
	struct conn *c = owner;

	char say[END_TEXT_MAX + 64];

	if (c->dial == NULL) {
		refuse(c, 503, "listener busy: too many password checks");
		return;
	}
	snprintf(say, sizeof(say), "destination %s: no answer in time",
	    c->destination);
	refuse(c, 504, say);
}

static void
on_verdict(void *owner, enum users_verdict verdict)
{
	struct conn *c = owner;
	struct users_check *check = c->check;

	c->check = NULL;
	users_check_close(check);
	if (verdict == USERS_RIGHT) {
		mem_free_secret(c->ask.password);
		c->ask.password = NULL;
		await(c, on_deadline, rest_ms(c));
		go_to_destination(c);
	} else if (verdict == USERS_WRONG) {
		refuse(c, 403, WRONG_LOGIN);
	} else {
		await(c, on_check_due, BUSY_RETRY_MS);
	}
}

/* Asks the store; again when it was full, until the deadline. Connections that
 * come at once with one password find it remembered then. */
static void
on_check_due(void *owner)
{
	struct conn *c = owner;
	struct agent *a = c->agent;

	if (rest_ms(c) == 0) {
		on_deadline(c);
		return;
	}
	await(c, on_deadline, rest_ms(c));
	c->check = users_check_open(a->users, c->ask.user, c->ask.password,
	    hc_accept_remote_address(c->accept), on_verdict, c);
}

static void
identify(struct conn *c)
{
	struct agent *a = c->agent;

	if (c->ask.user != NULL && a->users != NULL) {
		on_check_due(c);
	} else if (!a->o.allow_anonymous) {
		refuse(c, 403, WRONG_LOGIN ": none was given");
	} else {
		/* Nobody can check the name, so it says nothing. */
		way_ask_forget_login(&c->ask);
		await(c, on_deadline, rest_ms(c));
		go_to_destination(c);
	}
}

/* --- accepts --- */

static struct conn *
make_conn(struct agent *a, struct hc_accept *accept)
{
	struct conn *c = mem_zalloc(sizeof(*c));
	const char *ip = hc_accept_remote_address(accept);

	c->agent = a;
	c->id = ++a->last_id;
	c->generation = a->generation;
	c->accept = accept;
	c->started_ms = loop_now_ms(a->loop);
	/* A quarter is left for the rendezvous. */
	c->due_ms = c->started_ms + a->o.accept_ms / 4 * 3;
	timer_init(&c->timer, a->loop, on_deadline, c);
	strncpy(c->accept_id, hc_accept_id(accept), sizeof(c->accept_id) - 1);
	c->source =
	    ip[0] != '\0'
	        ? mem_printf(strchr(ip, ':') != NULL ? "[%s]:%u" : "%s:%u", ip,
	              (unsigned)hc_accept_remote_port(accept))
	        : mem_strdup("-");
	a->counts.pending++;
	list_append(&a->conns, &c->link);
	return c;
}

static void
on_accept(void *owner, struct hc_accept *accept)
{
	struct agent *a = owner;
	struct conn *c = make_conn(a, accept);
	struct err err;

	c->way = way_for_accept(accept, a->host != NULL);
	if (a->counts.pending > a->o.pending_max)
		refuse(c, 503, "listener busy: too many senders at once");
	else if (c->way == NULL)
		refuse(
		    c, 400, "request: this listener does not speak that way");
	else if (c->way->is_hosted)
		/* Sessions must find back also to a listener that is full. */
		join(c);
	else if (a->counts.live + a->counts.pending > a->o.connections_max)
		refuse(c, 503, "listener busy: too many connections");
	else if (!c->way->read(accept, &c->ask, &err))
		refuse(c, err.http_status, err.text);
	else
		identify(c);
}

/* --- the control channel --- */

static void
on_online(void *owner)
{
	struct agent *a = owner;

	a->counts.is_online = true;
	if (a->events->on_online != NULL)
		a->events->on_online(a->owner, a->place);
}

static void
on_offline(void *owner, const struct err *err, uint64_t retry_ms)
{
	struct agent *a = owner;

	a->counts.is_online = false;
	if (a->events->on_offline != NULL)
		a->events->on_offline(a->owner, err, retry_ms);
}

static void
on_failed(void *owner, const struct err *err)
{
	struct agent *a = owner;

	a->counts.is_online = false;
	if (a->events->on_failed != NULL)
		a->events->on_failed(a->owner, err);
}

static void
on_listener_closed(void *owner)
{
	struct agent *a = owner;

	a->is_listener_gone = true;
	a->counts.is_online = false;
	look_if_drained(a);
}

static const struct hc_listener_events listener_events = {
    .on_online = on_online,
    .on_offline = on_offline,
    .on_failed = on_failed,
    .on_accept = on_accept,
    .on_closed = on_listener_closed,
};

/* --- life --- */

static bool
read_options(struct agent *a, const struct agent_options *o, struct err *e)
{
	if (o->users == NULL && !o->allow_anonymous)
		return err_set(e, ERR_USAGE,
		    "a listener needs users (--users FILE, made by hyco "
		    "passwd), or --allow-anonymous");
	if (o->default_target != NULL &&
	    !end_parse(&a->default_target, o->default_target, 0, e))
		return err_prefix(e, "default target");
	a->has_default = o->default_target != NULL;
	if (a->has_default && a->default_target.kind->has_datagrams)
		return err_set(e, ERR_USAGE,
		    "default target: must be a TCP port or a Unix socket");
	return hc_target_check(o->target, HC_TARGET_LISTEN, e);
}

static void
on_host_idle(void *owner)
{
	look_if_drained(owner);
}

static const struct way_hyco_host_events host_events = {
    .on_idle = on_host_idle,
};

static void
open_host(struct agent *a, const struct agent_options *o)
{
	const struct way_hyco_host_options host = {
	    .loop = a->loop,
	    .identity = o->no_e2e ? NULL : o->identity,
	    .allow_anonymous = o->allow_anonymous,
	    .sessions_max = o->sessions_max,
	    .connections_max = a->o.connections_max,
	    .window_s = o->window_s,
	    .memory = o->memory,
	    .connect_ms = a->o.connect_ms,
	    .login_ms = o->login_ms,
	    .counts = &a->counts,
	    .last_id = &a->last_id,
	};

	if (o->identity == NULL && !o->no_e2e)
		return;
	a->host = way_hyco_host_open(&host, &host_events, a);
	way_hyco_host_set_rules(a->host, a->users, a->policy);
}

static void
take_options(struct agent *a, const struct agent_options *o)
{
	a->o = *o;
	a->o.users = NULL;
	a->o.policy = NULL;
	a->o.default_target = NULL;
	a->o.target = NULL;
	a->o.identity = NULL;
	if (a->o.connections_max == 0)
		a->o.connections_max = 10000;
	if (a->o.pending_max == 0)
		a->o.pending_max = 256;
	if (a->o.connect_ms == 0)
		a->o.connect_ms = 12000;
	if (a->o.accept_ms == 0)
		a->o.accept_ms = HC_ACCEPT_TIMEOUT_MS;
	if (a->o.ping_ms == 0)
		a->o.ping_ms = 30000;
	a->policy = policy_ref(o->policy);
	if (o->users != NULL)
		a->users = users_store_open(a->loop, o->users, NULL);
	hc_target_print(o->target, a->place);
	open_host(a, o);
}

struct agent *
agent_open(struct loop *l, const struct agent_options *o,
    const struct agent_events *events, void *owner, struct err *e)
{
	struct agent *a = mem_zalloc(sizeof(*a));
	struct hc_listener_options listener = {.retry_first = o->retry_first};

	if (!read_options(a, o, e)) {
		free(a);
		return NULL;
	}
	a->loop = l;
	a->events = events;
	a->owner = owner;
	list_init(&a->conns);
	deferred_init(&a->drained, l, report_drained, a);
	take_options(a, o);
	listener.accept_timeout_ms = a->o.accept_ms;
	a->hc = hc_listener_open(
	    l, o->dialer, o->target, &listener, &listener_events, a);
	return a;
}

static void
set_users(struct agent *a, struct users *users)
{
	if (a->users != NULL && users != NULL) {
		users_store_set(a->users, users);
	} else if (users != NULL) {
		a->users = users_store_open(a->loop, users, NULL);
	}
}

size_t
agent_reload(struct agent *a, struct users *users, struct policy *policy)
{
	struct policy *old = a->policy;
	struct list *at, *after;
	size_t n = 0;

	set_users(a, users);
	a->policy = policy_ref(policy);
	policy_unref(old);
	a->generation++;
	LIST_EACH_SAFE (at, after, &a->conns) {
		struct conn *c = LIST_OF(at, struct conn, link);
		struct err why;

		if (c->pump == NULL || is_allowed(c, &why))
			continue;
		err_prefix(&why, "ended by new rules");
		finish(c, why.text);
		n++;
	}
	if (a->host != NULL)
		n += way_hyco_host_set_rules(a->host, a->users, a->policy);
	return n;
}

void
agent_counts(const struct agent *a, struct agent_counts *counts)
{
	struct list *at;

	*counts = a->counts;
	LIST_EACH (at, &a->conns) {
		const struct conn *c = LIST_OF(at, struct conn, link);
		uint64_t up, down;

		if (c->pump == NULL)
			continue;
		pump_bytes(c->pump, &down, &up);
		counts->bytes_up += up;
		counts->bytes_down += down;
	}
	if (a->host == NULL)
		return;
	counts->sessions = way_hyco_host_sessions(a->host);
	way_hyco_host_add_bytes(
	    a->host, &counts->bytes_up, &counts->bytes_down);
}

void
agent_drain(struct agent *a)
{
	if (a->is_draining)
		return;
	a->is_draining = true;
	if (a->host != NULL)
		way_hyco_host_drain(a->host);
	hc_listener_shutdown(a->hc);
}

static void
free_agent(void *object)
{
	free(object);
}

void
agent_close(struct agent *a)
{
	struct list *at, *after;

	assert(!a->closing);
	a->closing = true;
	LIST_EACH_SAFE (at, after, &a->conns) {
		struct conn *c = LIST_OF(at, struct conn, link);

		if (c->pump != NULL)
			finish(c, "the listener ends");
		else
			drop(c);
	}
	if (a->host != NULL)
		way_hyco_host_close(a->host);
	hc_listener_close(a->hc);
	if (a->users != NULL)
		users_store_close(a->users);
	policy_unref(a->policy);
	deferred_clear(&a->drained);
	loop_bury(a->loop, a, free_agent);
}

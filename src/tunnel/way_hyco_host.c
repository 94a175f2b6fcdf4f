/* SPDX-License-Identifier: MIT
 *
 * A guest is a sender's session, a visit one of its channels:
 *
 *     carrier -> session -> [TLS] -> mux -> login -> visits
 *     visit:  request -> destination (policy inside) -> pump -> over
 *
 * Which pointer of a visit is set says how far it is. All that a sender can ask
 * for is bounded: sessions, channels of one and of all, the time to log in.
 */
#include "tunnel/way_hyco_host.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ends/end.h"
#include "ends/policy.h"
#include "ends/users.h"
#include "mux/mux.h"
#include "net/addr.h"
#include "net/loop.h"
#include "net/pump.h"
#include "net/sock.h"
#include "net/stream.h"
#include "net/tls.h"
#include "net/udp.h"
#include "session/session.h"
#include "tunnel/datagrams.h"
#include "util/err.h"
#include "util/list.h"
#include "util/log.h"
#include "util/mem.h"
#include "ws/ws.h"

#define EXPORTER "EXPORTER-hyco-session"
#define KEEPALIVE_S 120
#define MEMORY_USUAL ((size_t)256 * 1024 * 1024)
/* How long a full store of password checks is tried again. */
#define BUSY_RETRY_MS ((uint64_t)100)
/* Carriers whose sender's address is remembered until they greet. */
#define CARRIERS 256

struct carrier {
	const struct stream *stream; /* only compared */
	char source[64];
};

struct way_hyco_host {
	struct way_hyco_host_options o;
	const struct way_hyco_host_events *events;
	void *owner;
	struct session_host *sessions;
	struct mux_budget *budget;
	struct users_store *users; /* NULL: none */
	struct policy *policy;
	struct list guests;
	size_t n_guests;
	size_t n_pending; /* visits on their way */
	uint64_t last_guest;
	unsigned generation; /* of the rules */
	struct carrier carriers[CARRIERS];
	size_t next_carrier;
	struct deferred idle;
	bool is_draining;
	bool closing;
};

struct guest {
	struct list link;
	struct way_hyco_host *host;
	uint64_t id;
	struct session *session; /* lives as long as face or mux */
	struct stream *face;     /* while TLS shakes hands */
	struct mux *mux;
	struct users_check *check;
	struct timer timer; /* to the good login, or a retry of the check */
	uint64_t due_ms;
	uint64_t started_ms;
	char *user;     /* NULL: nameless, or not known yet */
	char *password; /* secret; while the check is on */
	bool is_in;     /* logged in */
	bool is_parted; /* without a carrier */
	bool is_ending; /* its end is on the way */
	struct list visits;
	size_t n_visits;
	uint64_t served;
	uint64_t up, down; /* of visits that are over */
	char source[64];
};

struct visit {
	struct list link;
	struct guest *guest;
	uint64_t id;
	uint32_t channel;
	struct mux_request *request; /* not answered */
	struct end_dial *dial;       /* destination */
	struct pump *pump;           /* carrying */
	struct datagrams *datagrams; /* carrying, with udp */
	struct udp *udp;
	struct addr addr; /* the destination's, as connected */
	struct end to;
	unsigned generation;
	uint64_t started_ms;
};

static void on_check_due(void *owner);

/* --- visits: their end --- */

static const char *
user_of(const struct guest *g)
{
	return g->user != NULL ? g->user : "-";
}

static uint64_t
age_ms(const struct guest *g, uint64_t since_ms)
{
	return loop_now_ms(g->host->o.loop) - since_ms;
}

static bool
is_carrying(const struct visit *v)
{
	return v->pump != NULL || v->datagrams != NULL;
}

static void
get_bytes(const struct visit *v, uint64_t *up, uint64_t *down)
{
	if (v->pump != NULL)
		pump_bytes(v->pump, down, up);
	else
		datagrams_bytes(v->datagrams, down, up);
}

static void
stop_carrying(struct visit *v)
{
	if (v->pump != NULL) {
		pump_close(v->pump);
		return;
	}
	datagrams_close(v->datagrams);
	udp_close(v->udp);
}

static void
drop_visit(struct visit *v)
{
	struct guest *g = v->guest;
	struct way_hyco_host *h = g->host;

	if (v->dial != NULL)
		end_dial_close(v->dial);
	if (v->request != NULL)
		mux_request_set_owner(v->request, NULL);
	if (is_carrying(v)) {
		stop_carrying(v);
		h->o.counts->live--;
	} else {
		h->n_pending--;
	}
	g->n_visits--;
	list_remove(&v->link);
	loop_bury(h->o.loop, v, free);
}

static void
log_refusal(const struct visit *v, int status, const char *why)
{
	const struct guest *g = v->guest;
	char text[END_TEXT_MAX];

	g->host->o.counts->refused++;
	log_info("connection refused",
	    "id=%llu user=%s from=%s destination=%s ms=%llu status=%d "
	    "reason=%s session=%llu",
	    (unsigned long long)v->id, user_of(g), g->source,
	    end_print(&v->to, text),
	    (unsigned long long)age_ms(g, v->started_ms), status, why,
	    (unsigned long long)g->id);
}

/* `say` is for the sender, `why` for the log. */
static void
refuse(struct visit *v, enum mux_refusal refusal, int status, const char *say,
    const char *why)
{
	struct mux_request *r = v->request;

	log_refusal(v, status, why);
	v->request = NULL;
	mux_refuse(r, refusal, say);
	drop_visit(v);
}

static void
finish(struct visit *v, const char *why)
{
	struct guest *g = v->guest;
	struct agent_counts *counts = g->host->o.counts;
	uint64_t up = 0, down = 0;
	char text[END_TEXT_MAX];

	get_bytes(v, &up, &down);
	counts->bytes_up += up;
	counts->bytes_down += down;
	g->up += up;
	g->down += down;
	log_info("connection closed",
	    "id=%llu user=%s from=%s destination=%s up=%llu down=%llu "
	    "ms=%llu reason=%s session=%llu",
	    (unsigned long long)v->id, user_of(g), g->source,
	    end_print(&v->to, text), (unsigned long long)up,
	    (unsigned long long)down,
	    (unsigned long long)age_ms(g, v->started_ms), why,
	    (unsigned long long)g->id);
	drop_visit(v);
}

static void
on_pump_done(void *owner, const struct err *err, bool from_a)
{
	struct visit *v = owner;
	struct err why;

	if (err == NULL) {
		finish(v, "end");
		return;
	}
	why = *err;
	err_prefix(&why, from_a ? "destination" : "sender");
	finish(v, why.text);
}

static const struct pump_events pump_events = {.on_done = on_pump_done};

/* --- visits: the destination --- */

static bool
is_user_gone(const struct guest *g)
{
	const struct way_hyco_host *h = g->host;

	return g->user != NULL && h->users != NULL &&
	       !users_has(users_store_users(h->users), g->user);
}

static bool
is_allowed(const struct visit *v, struct err *why)
{
	const struct guest *g = v->guest;
	const struct policy_request r = {
	    .user = g->user,
	    .kind = v->to.kind->policy,
	    .host = v->to.kind->has_path ? NULL : v->to.at.host,
	    .addr = &v->addr,
	    .port = addr_port(&v->addr),
	};

	if (is_user_gone(g))
		return err_set(why, ERR_DENIED, "the user was removed");
	return policy_decide(g->host->policy, &r, why);
}

/* The destination is there; the answer goes out. */
static struct stream *
accept_request(struct visit *v, const struct addr *addr)
{
	struct way_hyco_host *h = v->guest->host;
	struct mux_request *r = v->request;

	end_dial_close(v->dial);
	v->dial = NULL;
	v->request = NULL;
	v->addr = *addr;
	h->n_pending--;
	h->o.counts->live++;
	h->o.counts->served++;
	v->guest->served++;
	return mux_accept(r, NULL);
}

/* The rules may be others than those it was dialled by. */
static void
judge_again(struct visit *v)
{
	struct err why;

	if (v->generation != v->guest->host->generation && !is_allowed(v, &why))
		finish(v, why.text);
}

static void
on_reached(void *owner, struct stream *s, const struct addr *addr)
{
	struct visit *v = owner;

	if (sock_is(s))
		sock_set_keepalive(s, KEEPALIVE_S);
	stream_set_turn(s, MUX_TURN);
	v->pump = pump_open(s, accept_request(v, addr), &pump_events, v);
	judge_again(v);
}

/* --- visits: datagrams --- */

static void
on_capsule(void *owner, const uint8_t *data, size_t len)
{
	struct visit *v = owner;

	udp_send(v->udp, NULL, data, len);
}

static void
on_capsules_pause(void *owner, bool paused)
{
	struct visit *v = owner;

	if (paused)
		udp_stop(v->udp);
	else
		udp_start(v->udp);
}

static void
on_capsules_done(void *owner, const struct err *err)
{
	struct err why;

	if (err == NULL) {
		finish(owner, "end");
		return;
	}
	why = *err;
	err_prefix(&why, "sender");
	finish(owner, why.text);
}

static const struct datagrams_events datagrams_events = {
    .on_datagram = on_capsule,
    .on_pause = on_capsules_pause,
    .on_done = on_capsules_done,
};

static void
on_datagram(void *owner, uint8_t *data, size_t len, const struct udp_way *way)
{
	struct visit *v = owner;

	(void)way;
	datagrams_send(v->datagrams, data, len);
}

static const struct udp_events udp_events = {.on_datagram = on_datagram};

static void
on_udp_reached(void *owner, struct udp *u, const struct addr *addr)
{
	struct visit *v = owner;

	v->udp = u;
	v->datagrams =
	    datagrams_open(accept_request(v, addr), &datagrams_events, v);
	udp_set_owner(u, &udp_events, v);
	udp_start(u);
	judge_again(v);
}

/* --- visits: no destination --- */

/* The rule and the resolved address are nobody's business but ours. */
static void
refuse_by_policy(struct visit *v, const struct err *err)
{
	const struct guest *g = v->guest;
	char say[END_TEXT_MAX + USERS_NAME_MAX + 64], text[END_TEXT_MAX];

	snprintf(say, sizeof(say), "policy: %s%s may not connect to %s",
	    g->user != NULL ? "user " : "anonymous users",
	    g->user != NULL ? g->user : "", end_print(&v->to, text));
	refuse(v, MUX_REFUSED_POLICY, 403, say, err->text);
}

static void
on_not_reached(void *owner, const struct err *given)
{
	static const char verb[] = "connect to ";
	struct visit *v = owner;
	struct err err = *given;
	const char *rest = err.text;
	char say[ERR_TEXT_MAX + 16];

	end_dial_close(v->dial);
	v->dial = NULL;
	if (err.code == ERR_DENIED) {
		refuse_by_policy(v, &err);
		return;
	}
	if (strncmp(rest, verb, sizeof(verb) - 1) == 0)
		rest += sizeof(verb) - 1;
	snprintf(say, sizeof(say), "destination %s", rest);
	refuse(v, mux_refusal_of(&err), err.code == ERR_TIMEOUT ? 504 : 502,
	    say, say);
}

static const struct end_dial_events dial_events = {
    .on_open = on_reached,
    .on_error = on_not_reached,
    .on_udp = on_udp_reached,
};

static void
dial(struct visit *v)
{
	struct guest *g = v->guest;
	struct way_hyco_host *h = g->host;
	const struct end_dial_options o = {
	    .policy = h->policy,
	    .user = g->user,
	    .timeout_ms = h->o.connect_ms,
	};

	v->generation = h->generation;
	v->dial = end_dial_open(h->o.loop, &v->to, &o, &dial_events, v);
}

/* What is asked for as an end; *say tells why it is none. */
static bool
read_target(struct end *to, const struct mux_target *t, const char **say)
{
	memset(to, 0, sizeof(*to));
	to->kind = t->kind == MUX_UDP ? &end_kind_udp : &end_kind_tcp;
	if (t->kind == MUX_TCP || t->kind == MUX_UDP) {
		*say = "the destination is none";
		if (strlen(t->host) > HOST_MAX || !host_is_valid(t->host) ||
		    t->port == 0)
			return false;
		strcpy(to->at.host, t->host);
		to->at.port = t->port;
		return true;
	}
	*say = "this listener does not carry that";
	if (t->kind != MUX_UNIX)
		return false;
	*say = "the path of the socket is none";
	to->kind = &end_kind_unix;
	if (t->host[0] != '/' || strlen(t->host) > END_PATH_MAX)
		return false;
	strcpy(to->path, t->host);
	return true;
}

static struct visit *
make_visit(struct guest *g, struct mux_request *r)
{
	struct visit *v = mem_zalloc(sizeof(*v));

	v->guest = g;
	v->id = ++*g->host->o.last_id;
	v->request = r;
	v->started_ms = loop_now_ms(g->host->o.loop);
	v->to.kind = &end_kind_tcp;
	mux_request_set_owner(r, v);
	list_append(&g->visits, &v->link);
	g->n_visits++;
	g->host->n_pending++;
	return v;
}

static void
on_request(void *owner, struct mux_request *r)
{
	struct guest *g = owner;
	struct way_hyco_host *h = g->host;
	struct visit *v = make_visit(g, r);
	const char *say;

	if (g->is_ending)
		refuse(v, MUX_REFUSED_LIMIT, 503, "the session ends",
		    "the session ends");
	else if (!read_target(&v->to, mux_request_target(r), &say))
		refuse(v, MUX_REFUSED_REQUEST, 400, say, say);
	else if (g->n_visits > h->o.session_channels_max)
		refuse(v, MUX_REFUSED_LIMIT, 503,
		    "listener busy: too many connections in this session",
		    "too many connections in this session");
	else if (h->o.counts->live + h->n_pending > h->o.connections_max)
		refuse(v, MUX_REFUSED_LIMIT, 503,
		    "listener busy: too many connections",
		    "too many connections");
	else
		dial(v);
}

static void
on_cancel(void *owner, struct mux_request *r)
{
	struct visit *v = mux_request_owner(r);

	(void)owner;
	if (v == NULL)
		return;
	v->request = NULL;
	log_refusal(v, 0, "given up by the sender");
	drop_visit(v);
}

/* --- guests: their end --- */

static void
report_idle(void *owner)
{
	struct way_hyco_host *h = owner;

	h->events->on_idle(h->owner);
}

static void
look_if_idle(struct way_hyco_host *h)
{
	if (h->is_draining && !h->closing && list_is_empty(&h->guests))
		deferred_set(&h->idle);
}

static void
stop_check(struct guest *g)
{
	if (g->check != NULL)
		users_check_close(g->check);
	g->check = NULL;
	mem_free_secret(g->password);
	g->password = NULL;
}

static void
free_guest(void *object)
{
	struct guest *g = object;

	free(g->user);
	free(g);
}

/* Resets what it carries. Returns how many channels that were. */
static size_t
end_visits(struct guest *g, const char *why)
{
	struct list *at, *after;
	size_t n = 0;

	LIST_EACH_SAFE (at, after, &g->visits) {
		struct visit *v = LIST_OF(at, struct visit, link);

		if (is_carrying(v)) {
			finish(v, why);
			n++;
		} else {
			log_refusal(v, 0, why);
			drop_visit(v);
		}
	}
	return n;
}

static void
end_guest(struct guest *g, const char *why)
{
	struct way_hyco_host *h = g->host;
	struct session_stats st = {0};

	timer_clear(&g->timer);
	stop_check(g);
	end_visits(g, why);
	session_stats(g->session, &st);
	log_info("session closed",
	    "session=%llu user=%s from=%s connections=%llu up=%llu "
	    "down=%llu resumes=%u ms=%llu reason=%s",
	    (unsigned long long)g->id, user_of(g), g->source,
	    (unsigned long long)g->served, (unsigned long long)g->up,
	    (unsigned long long)g->down, (unsigned)st.resumes,
	    (unsigned long long)age_ms(g, g->started_ms), why);
	if (g->mux != NULL)
		mux_close(g->mux);
	if (g->face != NULL)
		stream_close(g->face);
	list_remove(&g->link);
	h->n_guests--;
	loop_bury(h->o.loop, g, free_guest);
	look_if_idle(h);
}

/* Tells the sender why; the end comes through the layers. */
static size_t
dismiss(struct guest *g, enum session_close_code code, const char *why)
{
	struct err err;

	if (g->is_ending)
		return 0;
	g->is_ending = true;
	timer_clear(&g->timer);
	stop_check(g);
	err_set(&err, ERR_DENIED, "%s", why);
	session_end(g->session, code, &err);
	return end_visits(g, why);
}

/* --- guests: who it is --- */

static void
on_login_due(void *owner)
{
	struct guest *g = owner;

	dismiss(g, SESSION_CLOSE_FAULT, "no login in time");
}

static uint64_t
rest_ms(const struct guest *g)
{
	uint64_t now = loop_now_ms(g->host->o.loop);

	return g->due_ms > now ? g->due_ms - now : 0;
}

static void
await(struct guest *g, void (*on_due)(void *owner), uint64_t ms)
{
	timer_clear(&g->timer);
	timer_init(&g->timer, g->host->o.loop, on_due, g);
	timer_set(&g->timer, ms);
}

static void
let_in(struct guest *g)
{
	timer_clear(&g->timer);
	stop_check(g);
	g->is_in = true;
	log_info("session opened", "session=%llu user=%s from=%s",
	    (unsigned long long)g->id, user_of(g), g->source);
	mux_login_answer(g->mux, true);
	if (g->host->is_draining)
		mux_drain(g->mux);
}

static void
keep_out(struct guest *g)
{
	stop_check(g);
	g->host->o.counts->refused++;
	log_info("login refused", "session=%llu user=%s from=%s reason=%s",
	    (unsigned long long)g->id, user_of(g), g->source,
	    "user or password wrong");
	free(g->user);
	g->user = NULL;
	await(g, on_login_due, rest_ms(g));
	mux_login_answer(g->mux, false);
}

static void
on_verdict(void *owner, enum users_verdict verdict)
{
	struct guest *g = owner;

	users_check_close(g->check);
	g->check = NULL;
	if (verdict == USERS_BUSY)
		await(g, on_check_due, BUSY_RETRY_MS);
	else if (verdict == USERS_RIGHT && !is_user_gone(g))
		let_in(g);
	else
		keep_out(g);
}

/* Asks the store; again when it was full, until the time for the login is over.
 */
static void
on_check_due(void *owner)
{
	struct guest *g = owner;

	if (rest_ms(g) == 0 || g->host->users == NULL) {
		on_login_due(g);
		return;
	}
	await(g, on_login_due, rest_ms(g));
	g->check = users_check_open(g->host->users, g->user, g->password,
	    strcmp(g->source, "-") != 0 ? g->source : NULL, on_verdict, g);
}

static void
on_login(void *owner, const char *user, const char *password)
{
	struct guest *g = owner;

	if (g->is_ending)
		return;
	stop_check(g);
	if (user != NULL && g->host->users != NULL) {
		free(g->user);
		g->user = mem_strdup(user);
		g->password = mem_strdup(password);
		on_check_due(g);
	} else if (g->host->o.allow_anonymous) {
		/* Nobody can check the name, so it says nothing. */
		let_in(g);
	} else {
		keep_out(g);
	}
}

/* --- guests: the layers --- */

static void
on_end(void *owner, const struct err *err)
{
	struct guest *g = owner;

	if (err != NULL &&
	    (err->code == ERR_PROTOCOL || err->code == ERR_TOO_BIG))
		session_end(g->session, SESSION_CLOSE_FAULT, err);
	end_guest(g, err != NULL ? err->text : "end");
}

static const struct mux_events mux_events = {
    .on_login = on_login,
    .on_request = on_request,
    .on_cancel = on_cancel,
    .on_end = on_end,
};

static void
open_mux(struct guest *g, struct stream *below)
{
	const struct mux_options o = {.budget = g->host->budget};

	g->mux = mux_server(below, &o, &mux_events, g);
}

static void
on_face_open(void *owner)
{
	struct guest *g = owner;
	struct stream *face = g->face;
	uint8_t secret[SESSION_SECRET_SIZE];

	g->face = NULL;
	tls_export(face, EXPORTER, session_id(g->session), SESSION_ID_SIZE,
	    secret, sizeof(secret));
	session_set_secret(g->session, secret);
	mem_wipe(secret, sizeof(secret));
	open_mux(g, face);
}

static void
on_face_error(void *owner, const struct err *err)
{
	end_guest(owner, err->text);
}

static const struct stream_events face_events = {
    .on_open = on_face_open,
    .on_error = on_face_error,
};

static void
on_carrier(void *owner, bool up, const struct err *why)
{
	struct guest *g = owner;

	if (up && g->is_parted)
		log_info("resumed", "session=%llu user=%s connections=%zu",
		    (unsigned long long)g->id, user_of(g), g->n_visits);
	else if (!up && !g->is_ending)
		log_info("carrier lost",
		    "session=%llu user=%s from=%s connections=%zu reason=%s",
		    (unsigned long long)g->id, user_of(g), g->source,
		    g->n_visits, why != NULL ? why->text : "-");
	g->is_parted = !up;
}

static const struct session_events session_events = {.on_carrier = on_carrier};

/* The sender's address that came with the carrier. */
static void
find_source(const struct way_hyco_host *h, const struct stream *s, char out[64])
{
	for (size_t i = 1; i <= CARRIERS; i++) {
		const struct carrier *c =
		    &h->carriers[(h->next_carrier + CARRIERS - i) % CARRIERS];

		if (c->stream == s && s != NULL) {
			strcpy(out, c->source);
			return;
		}
	}
	strcpy(out, "-");
}

static void
on_session(void *owner, struct session *s)
{
	struct way_hyco_host *h = owner;
	struct guest *g = mem_zalloc(sizeof(*g));

	g->host = h;
	g->id = ++h->last_guest;
	g->session = s;
	g->started_ms = loop_now_ms(h->o.loop);
	g->due_ms = g->started_ms + h->o.login_ms;
	list_init(&g->visits);
	list_append(&h->guests, &g->link);
	h->n_guests++;
	find_source(h, session_carrier(s), g->source);
	session_set_owner(s, &session_events, g);
	timer_init(&g->timer, h->o.loop, on_login_due, g);
	timer_set(&g->timer, h->o.login_ms);
	if (h->o.identity == NULL) {
		open_mux(g, session_stream(s));
		return;
	}
	g->face = tls_server(h->o.identity, session_stream(s));
	stream_set_owner(g->face, &face_events, g);
}

static const struct session_host_events host_events = {
    .on_session = on_session,
};

/* --- life --- */

static void
take_options(struct way_hyco_host *h, const struct way_hyco_host_options *o)
{
	h->o = *o;
	if (o->identity != NULL)
		tls_context_ref(o->identity);
	if (h->o.sessions_max == 0)
		h->o.sessions_max = 1000;
	if (h->o.session_channels_max == 0)
		h->o.session_channels_max = 4096;
	if (h->o.login_ms == 0)
		h->o.login_ms = 60000;
	if (h->o.memory == 0)
		h->o.memory = MEMORY_USUAL;
}

struct way_hyco_host *
way_hyco_host_open(const struct way_hyco_host_options *o,
    const struct way_hyco_host_events *events, void *owner)
{
	struct way_hyco_host *h = mem_zalloc(sizeof(*h));
	struct session_host_options so;

	take_options(h, o);
	h->events = events;
	h->owner = owner;
	list_init(&h->guests);
	deferred_init(&h->idle, o->loop, report_idle, h);
	h->budget = mux_budget_new(h->o.memory);
	memset(&so, 0, sizeof(so));
	session_core_options_init(&so.core);
	so.core.is_listener = true;
	so.core.options = o->identity != NULL ? SESSION_OPTION_TLS : 0;
	if (o->window_s != 0)
		so.core.window_s = o->window_s;
	so.max_sessions = (unsigned)h->o.sessions_max;
	h->sessions = session_host_open(o->loop, &so, &host_events, h);
	return h;
}

static size_t
judge_visits(struct guest *g)
{
	struct list *at, *after;
	size_t n = 0;

	LIST_EACH_SAFE (at, after, &g->visits) {
		struct visit *v = LIST_OF(at, struct visit, link);
		struct err why;

		if (!is_carrying(v) || is_allowed(v, &why))
			continue;
		err_prefix(&why, "ended by new rules");
		finish(v, why.text);
		n++;
	}
	return n;
}

size_t
way_hyco_host_set_rules(
    struct way_hyco_host *h, struct users_store *users, struct policy *policy)
{
	struct policy *old = h->policy;
	struct list *at, *after;
	size_t n = 0;

	h->users = users;
	h->policy = policy_ref(policy);
	policy_unref(old);
	h->generation++;
	LIST_EACH_SAFE (at, after, &h->guests) {
		struct guest *g = LIST_OF(at, struct guest, link);

		if (g->is_in && is_user_gone(g))
			n += dismiss(g, SESSION_CLOSE_POLICY,
			    "ended by new rules: the user was removed");
		else
			n += judge_visits(g);
	}
	return n;
}

void
way_hyco_host_take(
    struct way_hyco_host *h, struct ws *carrier, const char *source)
{
	struct carrier *c = &h->carriers[h->next_carrier++ % CARRIERS];
	struct stream *s = ws_stream(carrier);

	h->next_carrier %= CARRIERS;
	c->stream = s;
	snprintf(c->source, sizeof(c->source), "%s",
	    source[0] != '\0' ? source : "-");
	session_host_take(h->sessions, s);
}

size_t
way_hyco_host_sessions(const struct way_hyco_host *h)
{
	return h->n_guests;
}

void
way_hyco_host_add_bytes(
    const struct way_hyco_host *h, uint64_t *up, uint64_t *down)
{
	struct list *at, *in;

	LIST_EACH (at, &h->guests) {
		const struct guest *g = LIST_OF(at, struct guest, link);

		LIST_EACH (in, &g->visits) {
			const struct visit *v = LIST_OF(in, struct visit, link);
			uint64_t more_up, more_down;

			if (!is_carrying(v))
				continue;
			get_bytes(v, &more_up, &more_down);
			*up += more_up;
			*down += more_down;
		}
	}
}

void
way_hyco_host_drain(struct way_hyco_host *h)
{
	struct list *at, *after;

	if (h->is_draining)
		return;
	h->is_draining = true;
	session_host_drain(h->sessions);
	LIST_EACH_SAFE (at, after, &h->guests) {
		struct guest *g = LIST_OF(at, struct guest, link);

		if (g->is_in)
			mux_drain(g->mux);
	}
	look_if_idle(h);
}

static void
free_host(void *object)
{
	struct way_hyco_host *h = object;

	mux_budget_unref(h->budget);
	policy_unref(h->policy);
	if (h->o.identity != NULL)
		tls_context_unref(h->o.identity);
	free(h);
}

void
way_hyco_host_close(struct way_hyco_host *h)
{
	struct list *at, *after;

	assert(!h->closing);
	h->closing = true;
	deferred_clear(&h->idle);
	LIST_EACH_SAFE (at, after, &h->guests)
		end_guest(LIST_OF(at, struct guest, link), "the listener ends");
	session_host_close(h->sessions);
	loop_bury(h->o.loop, h, free_host);
}

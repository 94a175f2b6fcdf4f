/* SPDX-License-Identifier: MIT
 *
 * The hyco way from application to destination, over a real relay: logins,
 * channels with their ends, carriers that are cut, listeners that are not who
 * they should be, and the way back to the sample.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "ends/policy.h"
#include "ends/users.h"
#include "hc/hc_sender.h"
#include "net/listen.h"
#include "net/loop.h"
#include "net/stream.h"
#include "net/tls_identity.h"
#include "session/session.h"
#include "tunnel/known_listeners.h"
#include "tunnel_room.h"
#include "util/log.h"
#include "util/mem.h"
#include "ws/ws.h"

#define MUCH ((size_t)8 * 1024 * 1024)

static void
open_both(struct room *r)
{
	struct client_options o;

	room_open(r);
	room_open_hyco_agent(r);
	o = room_hyco_options(r);
	room_open_client(r, &o);
}

/* With the proxy, so that carriers can be cut. */
static void
open_cut(struct room *r, uint16_t window_s)
{
	struct client_options o;

	room_open(r);
	room_open_hyco_agent(r);
	room_open_proxy(r);
	o = room_hyco_options(r);
	o.window_s = window_s;
	room_open_client(r, &o);
	assert_true(room_login(r));
}

static struct client_status
status_of(struct room *r)
{
	struct client_status st;

	client_status(r->client, &st);
	return st;
}

static struct agent_counts
counts_of(struct room *r)
{
	struct agent_counts counts;

	agent_counts(r->agent, &counts);
	return counts;
}

/* --- logins --- */

static void
test_login(void **state)
{
	struct client_status st;
	struct room r;
	struct err e;

	(void)state;
	open_both(&r);
	assert_true(room_login(&r));
	assert_int_equal(r.login_err.code, ERR_NONE);
	st = status_of(&r);
	assert_string_equal(st.way, "hyco");
	assert_true(st.has_sessions);
	assert_int_equal(st.sessions.open, 1);
	assert_int_equal(st.sessions.carriers, 1);
	assert_true(st.sessions.is_encrypted);
	assert_true(tls_identity_is_name(st.sessions.identity));
	assert_int_equal(counts_of(&r).sessions, 1);
	assert_true(client_set_login(r.client, "alice", "wander", &e));
	assert_false(room_login(&r));
	assert_int_equal(r.login_err.code, ERR_AUTH);
	assert_int_equal(r.login_err.http_status, 403);
	assert_non_null(strstr(r.login_err.text, "user or password wrong"));
	assert_false(client_set_login(r.client, "a:b", "x", &e));
	assert_true(client_set_login(r.client, "bob", "wonder", &e));
	assert_true(room_login(&r));
	assert_true(client_set_login(r.client, NULL, NULL, &e));
	assert_false(room_login(&r));
	assert_int_equal(r.login_err.code, ERR_AUTH);
	RUN_UNTIL(r.loop, counts_of(&r).sessions == 0);
	room_close(&r);
}

static void
test_anonymous(void **state)
{
	struct agent_options ao;
	struct client_options co;
	struct room r;

	(void)state;
	room_open(&r);
	room_open_identity(&r);
	ao = room_agent_options(&r);
	ao.allow_anonymous = true;
	ao.identity = r.identity;
	room_open_agent(&r, &ao);
	co = room_hyco_options(&r);
	co.user = NULL;
	co.password = NULL;
	room_open_client(&r, &co);
	assert_true(room_login(&r));
	room_close(&r);
}

static void
test_login_without_listener(void **state)
{
	struct client_options o;
	struct room r;

	(void)state;
	room_open(&r);
	room_open_identity(&r);
	o = room_hyco_options(&r);
	room_open_client(&r, &o);
	assert_false(room_login(&r));
	assert_int_equal(r.login_err.code, ERR_UNREACHABLE);
	room_close(&r);
}

static void
test_login_wrong_key(void **state)
{
	struct client_options o;
	struct room r;
	struct err e;

	(void)state;
	room_open(&r);
	assert_true(hc_target_set_key(&r.send, "other", &e));
	room_open_hyco_agent(&r);
	o = room_hyco_options(&r);
	room_open_client(&r, &o);
	assert_false(room_login(&r));
	assert_int_equal(r.login_err.code, ERR_AUTH);
	assert_int_equal(r.login_err.http_status, 401);
	room_close(&r);
}

/* --- channels --- */

static void
test_half_close(void **state)
{
	struct party *app;
	struct addr at;
	struct room r;

	(void)state;
	open_both(&r);
	r.manner.answers_end = true;
	room_open_tunnel(&r, r.port, &at);
	for (unsigned i = 0; i < 20; i++) {
		app = party_connect(&r, &at);
		party_send(app, "request", 7);
		party_shutdown(app);
		RUN_UNTIL(r.loop, app->ends + app->errors > 0);
		assert_int_equal(app->errors, 0);
		assert_string_equal(app->text, "request");
		assert_int_equal(r.there[i]->ends, 1);
		party_free(app);
	}
	assert_int_equal(r.errors, 0);
	RUN_UNTIL(r.loop, counts_of(&r).live == 0);
	assert_int_equal(status_of(&r).opened, 20);
	assert_int_equal(counts_of(&r).served, 20);
	assert_int_equal(counts_of(&r).bytes_up, 20 * 7);
	assert_int_equal(counts_of(&r).bytes_down, 20 * 7);
	assert_int_equal(counts_of(&r).sessions, 1);
	room_close(&r);
}

static void
test_destination_ends_first(void **state)
{
	struct party *app;
	struct addr at;
	struct room r;

	(void)state;
	open_both(&r);
	r.manner.to_send = 100000;
	r.manner.shuts = true;
	room_open_tunnel(&r, r.port, &at);
	app = party_connect(&r, &at);
	RUN_UNTIL(r.loop, app->ends == 1);
	assert_int_equal(app->hash, memstream_fill_hash(100000));
	party_send(app, "after", 5);
	party_shutdown(app);
	RUN_UNTIL(r.loop, r.there[0]->ends == 1);
	assert_string_equal(r.there[0]->text, "after");
	party_free(app);
	room_close(&r);
}

static void
test_bulk_both_ways(void **state)
{
	struct party *apps[4];
	struct addr at;
	struct room r;

	(void)state;
	open_both(&r);
	r.manner.to_send = MUCH;
	room_open_tunnel(&r, r.port, &at);
	for (size_t i = 0; i < 4; i++) {
		apps[i] = party_connect(&r, &at);
		party_send_much(apps[i], MUCH);
	}
	for (size_t i = 0; i < 4; i++) {
		RUN_UNTIL(r.loop, apps[i]->bytes == MUCH);
		assert_int_equal(apps[i]->hash, memstream_fill_hash(MUCH));
		RUN_UNTIL(r.loop, r.n_there > i && r.there[i]->bytes == MUCH);
		assert_int_equal(r.there[i]->hash, memstream_fill_hash(MUCH));
		party_free(apps[i]);
	}
	assert_int_equal(r.errors, 0);
	room_close(&r);
}

/* Who does not read stops his own channel and no other. */
static void
test_stalled_reader(void **state)
{
	struct party *slow, *quick;
	struct addr at;
	struct room r;

	(void)state;
	open_both(&r);
	r.manner.to_send = MUCH;
	room_open_tunnel(&r, r.port, &at);
	slow = party_connect(&r, &at);
	slow->stalls = true;
	stream_stop(slow->stream);
	quick = party_connect(&r, &at);
	RUN_UNTIL(r.loop, quick->bytes == MUCH);
	assert_int_equal(quick->hash, memstream_fill_hash(MUCH));
	assert_true(slow->bytes < MUCH);
	party_read(slow);
	RUN_UNTIL(r.loop, slow->bytes == MUCH);
	assert_int_equal(slow->hash, memstream_fill_hash(MUCH));
	party_free(slow);
	party_free(quick);
	room_close(&r);
}

static void
test_reset_from_destination(void **state)
{
	struct party *app;
	struct addr at;
	struct room r;

	(void)state;
	open_both(&r);
	r.manner.resets = true;
	room_open_tunnel(&r, r.port, &at);
	app = party_connect(&r, &at);
	party_send(app, "x", 1);
	RUN_UNTIL(r.loop, app->errors == 1);
	assert_int_equal(app->err.code, ERR_RESET);
	assert_int_equal(app->ends, 0);
	party_free(app);
	room_close(&r);
}

static void
test_reset_from_application(void **state)
{
	struct party *app;
	struct addr at;
	struct room r;

	(void)state;
	open_both(&r);
	room_open_tunnel(&r, r.port, &at);
	app = party_connect(&r, &at);
	party_send(app, "x", 1);
	RUN_UNTIL(r.loop, r.n_there == 1 && r.there[0]->bytes == 1);
	party_reset(app);
	RUN_UNTIL(r.loop, r.there[0]->errors == 1);
	assert_int_equal(r.there[0]->err.code, ERR_RESET);
	RUN_UNTIL(r.loop, counts_of(&r).live == 0);
	party_free(app);
	room_close(&r);
}

static void
test_refused(void **state)
{
	struct party *app;
	struct addr at;
	struct room r;
	uint16_t port;

	(void)state;
	open_both(&r);
	port = r.port;
	listener_close(r.server);
	r.server = NULL;
	room_open_tunnel(&r, port, &at);
	app = party_connect(&r, &at);
	party_send(app, "early", 5);
	RUN_UNTIL(r.loop, app->errors == 1 && r.errors == 1);
	assert_int_equal(app->err.code, ERR_RESET);
	assert_non_null(strstr(r.err.text, "listener of demo refused"));
	assert_non_null(strstr(r.err.text, "destination 127.0.0.1:"));
	assert_int_equal(status_of(&r).failed, 1);
	assert_int_equal(status_of(&r).opened, 0);
	assert_int_equal(status_of(&r).live, 0);
	assert_int_equal(counts_of(&r).refused, 1);
	party_free(app);
	room_close(&r);
}

static struct policy *
parse_policy(const char *text)
{
	struct policy *p;
	struct err e;

	p = policy_parse(text, strlen(text), "policy", &e);
	if (p == NULL)
		fail_msg("%s", e.text);
	return p;
}

static void
test_policy(void **state)
{
	struct agent_options o;
	struct client_options co;
	struct party *app;
	struct addr at;
	struct room r;
	struct err e;

	(void)state;
	room_open(&r);
	room_open_identity(&r);
	o = room_agent_options(&r);
	o.identity = r.identity;
	o.users = users_parse(room_users, strlen(room_users), "users", &e);
	o.policy = parse_policy("user bob\nallow tcp * *\n");
	room_open_agent(&r, &o);
	users_unref(o.users);
	policy_unref(o.policy);
	co = room_hyco_options(&r);
	room_open_client(&r, &co);
	room_open_tunnel(&r, r.port, &at);
	app = party_connect(&r, &at);
	RUN_UNTIL(r.loop, app->errors == 1 && r.errors == 1);
	assert_non_null(
	    strstr(r.err.text, "policy: user alice may not connect"));
	assert_null(strstr(r.err.text, "policy:1"));
	assert_int_equal(r.n_there, 0);
	party_free(app);
	assert_true(client_set_login(r.client, "bob", "wonder", &e));
	app = party_connect(&r, &at);
	RUN_UNTIL(r.loop, r.n_there == 1);
	party_free(app);
	room_close(&r);
}

static void
test_reload(void **state)
{
	struct users *users;
	struct policy *policy;
	struct party *app, *other;
	struct addr at;
	struct room r;
	struct err e;

	(void)state;
	open_both(&r);
	room_open_tunnel(&r, r.port, &at);
	app = party_connect(&r, &at);
	party_send(app, "x", 1);
	RUN_UNTIL(r.loop, r.n_there == 1 && r.there[0]->bytes == 1);
	users = users_parse(room_users, strlen(room_users), "users", &e);
	policy = parse_policy("user *\nallow tcp 127.0.0.1 *\n");
	assert_int_equal(agent_reload(r.agent, users, policy), 0);
	policy_unref(policy);
	policy = parse_policy("user *\nallow tcp 127.0.0.2 *\n");
	assert_int_equal(agent_reload(r.agent, users, policy), 1);
	RUN_UNTIL(r.loop, app->errors == 1 && r.there[0]->errors == 1);
	assert_int_equal(counts_of(&r).sessions, 1);
	party_free(app);
	assert_int_equal(agent_reload(r.agent, users, NULL), 0);
	users_unref(users);
	policy_unref(policy);

	other = party_connect(&r, &at);
	party_send(other, "x", 1);
	RUN_UNTIL(r.loop, r.n_there == 2 && r.there[1]->bytes == 1);
	users =
	    users_parse(room_users, strcspn(room_users, "\n") + 1, "users", &e);
	assert_int_equal(agent_reload(r.agent, users, NULL), 0);
	users_unref(users);
	users = users_parse(strchr(room_users, '\n') + 1,
	    strlen(strchr(room_users, '\n') + 1), "users", &e);
	assert_int_equal(agent_reload(r.agent, users, NULL), 1);
	users_unref(users);
	RUN_UNTIL(r.loop, other->errors == 1 && r.there[1]->errors == 1);
	RUN_UNTIL(r.loop, counts_of(&r).sessions == 0);
	RUN_UNTIL(r.loop, status_of(&r).sessions.open == 0);
	party_free(other);
	/* Whoever is gone stays out. */
	other = party_connect(&r, &at);
	RUN_UNTIL(r.loop, other->errors == 1);
	assert_non_null(strstr(r.err.text, "user or password wrong"));
	party_free(other);
	room_close(&r);
}

static void
test_unix_destination(void **state)
{
	char path[] = "/tmp/hyco-way-XXXXXX";
	struct client_tunnel_info info;
	struct tunnel_spec spec;
	struct party *app;
	struct addr at;
	struct room r;
	struct err e;
	char *text;
	unsigned id;
	int fd;

	(void)state;
	open_both(&r);
	assert_non_null(mkdtemp(path));
	text = mem_printf("unix:%s/s", path);
	assert_true(addr_parse(&at, text, 0, &e));
	free(text);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&at.sa, at.len), 0);
	assert_int_equal(listen(fd, 5), 0);
	text = mem_printf("127.0.0.1:0=unix:%s/s", path);
	assert_true(end_parse_tunnel(&spec, text, &e));
	free(text);
	id = client_tunnel_open(r.client, &spec, &e);
	assert_int_not_equal(id, 0);
	assert_true(client_tunnel_info(r.client, id, &info));
	assert_true(addr_parse(&at, info.listen, 0, &e));
	app = party_connect(&r, &at);
	RUN_UNTIL(r.loop, status_of(&r).live == 1);
	close(fd);
	RUN_UNTIL(r.loop, app->errors + app->ends > 0);
	party_free(app);
	text = mem_printf("%s/s", path);
	unlink(text);
	free(text);
	rmdir(path);
	room_close(&r);
}

/* --- carriers --- */

/* Bytes both ways, the carrier cut again and again in the midst. */
static void
test_cut(void **state)
{
	struct party *apps[3];
	struct addr at;
	struct room r;
	size_t next = 300000;
	unsigned cuts = 0;

	(void)state;
	open_cut(&r, 0);
	r.manner.to_send = MUCH;
	room_open_tunnel(&r, r.port, &at);
	for (size_t i = 0; i < 3; i++) {
		apps[i] = party_connect(&r, &at);
		party_send_much(apps[i], MUCH);
	}
	while (apps[0]->bytes < MUCH || r.there[0]->bytes < MUCH) {
		RUN_UNTIL(r.loop, apps[0]->bytes == MUCH ||
		                      apps[0]->bytes + apps[1]->bytes > next);
		if (apps[0]->bytes < MUCH) {
			room_cut(&r);
			cuts++;
			next = apps[0]->bytes + apps[1]->bytes + 1500000;
		} else {
			RUN_UNTIL(r.loop, r.there[0]->bytes == MUCH);
		}
	}
	for (size_t i = 0; i < 3; i++) {
		RUN_UNTIL(r.loop, apps[i]->bytes == MUCH);
		RUN_UNTIL(r.loop, r.there[i]->bytes == MUCH);
		assert_int_equal(apps[i]->hash, memstream_fill_hash(MUCH));
		assert_int_equal(r.there[i]->hash, memstream_fill_hash(MUCH));
		assert_int_equal(apps[i]->errors, 0);
		party_free(apps[i]);
	}
	assert_true(cuts > 3);
	assert_int_equal(r.errors, 0);
	assert_true(status_of(&r).sessions.resumes >= 3);
	assert_int_equal(counts_of(&r).sessions, 1);
	room_close(&r);
}

/* Idle while it happens; a connection made without a carrier waits for it. */
static void
test_connect_without_carrier(void **state)
{
	struct party *app;
	struct addr at;
	struct room r;
	unsigned before;

	(void)state;
	open_cut(&r, 0);
	r.manner.echo = true;
	room_open_tunnel(&r, r.port, &at);
	r.proxy_refuses = true;
	before = r.n_proxied;
	room_cut(&r);
	RUN_UNTIL(r.loop, status_of(&r).sessions.carriers == 0);
	app = party_connect(&r, &at);
	party_send(app, "hello", 5);
	RUN_UNTIL(r.loop, r.n_proxied > before + 2);
	assert_int_equal(app->errors, 0);
	r.proxy_refuses = false;
	RUN_UNTIL(r.loop, app->bytes == 5);
	assert_string_equal(app->text, "hello");
	assert_int_equal(status_of(&r).sessions.resumes, 1);
	party_free(app);
	room_close(&r);
}

/* The relay gone for longer than both sides are willing to wait. */
static void
test_window_passes(void **state)
{
	struct party *app;
	struct addr at;
	struct room r;

	(void)state;
	open_cut(&r, 1);
	r.manner.echo = true;
	room_open_tunnel(&r, r.port, &at);
	app = party_connect(&r, &at);
	party_send(app, "x", 1);
	RUN_UNTIL(r.loop, app->bytes == 1);
	r.proxy_refuses = true;
	room_cut(&r);
	RUN_UNTIL(r.loop, app->errors == 1 && r.there[0]->errors == 1);
	assert_int_equal(app->err.code, ERR_RESET);
	assert_int_equal(app->ends, 0);
	assert_int_equal(r.there[0]->err.code, ERR_RESET);
	assert_int_equal(r.there[0]->ends, 0);
	RUN_UNTIL(r.loop, counts_of(&r).sessions == 0);
	assert_int_equal(status_of(&r).sessions.open, 0);
	party_free(app);
	/* And it begins anew when it is back. */
	r.proxy_refuses = false;
	app = party_connect(&r, &at);
	party_send(app, "y", 1);
	RUN_UNTIL(r.loop, app->bytes == 1);
	party_free(app);
	room_close(&r);
}

/* Two listeners of one path: what comes to the wrong one is sent on until it
 * meets its own. */
static void
test_two_listeners(void **state)
{
	struct client_options co;
	struct agent_options o;
	struct party *apps[2];
	struct agent *first;
	struct addr at;
	struct room r;
	struct err e;

	(void)state;
	room_open(&r);
	room_open_hyco_agent(&r);
	first = r.agent;
	o = room_agent_options(&r);
	o.users = users_parse(room_users, strlen(room_users), "users", &e);
	o.identity = r.identity;
	r.onlines = 0;
	room_open_agent(&r, &o);
	users_unref(o.users);
	room_open_proxy(&r);
	co = room_hyco_options(&r);
	room_open_client(&r, &co);
	assert_true(room_login(&r));
	r.manner.echo = true;
	room_open_tunnel(&r, r.port, &at);
	for (size_t i = 0; i < 2; i++) {
		apps[i] = party_connect(&r, &at);
		party_send(apps[i], "x", 1);
		RUN_UNTIL(r.loop, apps[i]->bytes == 1);
	}
	for (unsigned i = 0; i < 8; i++) {
		room_cut(&r);
		RUN_UNTIL(r.loop, status_of(&r).sessions.resumes == i + 1);
		party_send(apps[i % 2], "x", 1);
		RUN_UNTIL(r.loop, apps[i % 2]->bytes == 2 + i / 2);
	}
	assert_int_equal(r.errors, 0);
	for (size_t i = 0; i < 2; i++)
		party_free(apps[i]);
	agent_close(first);
	room_close(&r);
}

static void
test_several_sessions(void **state)
{
	struct client_options o;
	struct party *apps[6];
	struct addr at;
	struct room r;

	(void)state;
	room_open(&r);
	room_open_hyco_agent(&r);
	o = room_hyco_options(&r);
	o.carriers = 3;
	room_open_client(&r, &o);
	r.manner.echo = true;
	assert_true(room_login(&r));
	room_open_tunnel(&r, r.port, &at);
	for (size_t i = 0; i < 6; i++) {
		apps[i] = party_connect(&r, &at);
		party_send(apps[i], "x", 1);
		RUN_UNTIL(r.loop, apps[i]->bytes == 1);
		/* One more is opened when all that are there are in use. */
		if (i == 1 || i == 3)
			RUN_UNTIL(
			    r.loop, status_of(&r).sessions.open == (i + 3) / 2);
	}
	assert_int_equal(counts_of(&r).sessions, 3);
	assert_int_equal(status_of(&r).sessions.carriers, 3);
	for (size_t i = 0; i < 6; i++)
		party_free(apps[i]);
	room_close(&r);
}

static void
test_drain(void **state)
{
	struct party *app;
	struct addr at;
	struct room r;

	(void)state;
	open_both(&r);
	r.manner.echo = true;
	room_open_tunnel(&r, r.port, &at);
	app = party_connect(&r, &at);
	party_send(app, "x", 1);
	RUN_UNTIL(r.loop, app->bytes == 1);
	agent_drain(r.agent);
	party_send(app, "y", 1);
	RUN_UNTIL(r.loop, app->bytes == 2);
	assert_int_equal(r.draineds, 0);
	party_shutdown(app);
	RUN_UNTIL(r.loop, app->ends == 1);
	party_free(app);
	RUN_UNTIL(r.loop, r.draineds == 1);
	assert_int_equal(counts_of(&r).sessions, 0);
	room_close(&r);
}

/* --- senders that do not keep the rules --- */

/* A session that is made by hand: it greets, and its stream is the test's. */
struct rogue {
	struct room *room;
	struct hc_sender *hc;
	struct session *session;
	struct recorder recorder;
};

static void
on_rogue_open(void *owner, struct ws *w)
{
	struct rogue *x = owner;

	assert_true(hc_sender_has_protocol(x->hc));
	hc_sender_close(x->hc);
	x->hc = NULL;
	session_give_carrier(x->session, ws_stream(w));
}

static void
on_rogue_error(void *owner, const struct err *err)
{
	(void)owner;
	fail_msg("%s", err->text);
}

static const struct hc_sender_events rogue_hc_events = {
    .on_open = on_rogue_open,
    .on_error = on_rogue_error,
};

static void
on_rogue_want(void *owner, unsigned attempt, bool misdirected)
{
	const struct hc_sender_options o = {.protocol = "hyco.tunnel.v1"};
	struct rogue *x = owner;

	(void)attempt;
	(void)misdirected;
	x->hc = hc_sender_open(x->room->loop, x->room->dialer, &x->room->send,
	    &o, &rogue_hc_events, x);
}

static void
on_rogue_drop(void *owner)
{
	struct rogue *x = owner;

	if (x->hc != NULL)
		hc_sender_close(x->hc);
	x->hc = NULL;
}

static const struct session_events rogue_events = {
    .on_want_carrier = on_rogue_want,
    .on_drop_want = on_rogue_drop,
};

static void
rogue_open(struct rogue *x, struct room *r, uint8_t options)
{
	struct session_options o;

	memset(x, 0, sizeof(*x));
	memset(&o, 0, sizeof(o));
	session_core_options_init(&o.core);
	o.core.options = options;
	x->room = r;
	x->session = session_open(r->loop, &o, &rogue_events, x);
	recorder_own(&x->recorder, session_stream(x->session));
}

static void
rogue_close(struct rogue *x)
{
	on_rogue_drop(x);
	recorder_close(&x->recorder);
}

/* The agent, with limits of the test's. */
static void
open_strict(struct room *r, struct agent_options *o)
{
	struct client_options co;
	struct err e;

	room_open(r);
	room_open_identity(r);
	o->dialer = r->dialer;
	o->target = &r->listen;
	o->identity = r->identity;
	o->users = users_parse(room_users, strlen(room_users), "users", &e);
	room_open_agent(r, o);
	users_unref(o->users);
	co = room_hyco_options(r);
	room_open_client(r, &co);
}

/* Greets and says nothing more: it is sent away, others do not notice. */
static void
test_no_login(void **state)
{
	struct agent_options o = {.login_ms = 300};
	struct rogue x;
	struct room r;

	(void)state;
	open_strict(&r, &o);
	rogue_open(&x, &r, SESSION_OPTION_TLS);
	RUN_UNTIL(r.loop, counts_of(&r).sessions == 1);
	assert_true(room_login(&r));
	RUN_UNTIL(r.loop, x.recorder.errors == 1);
	RUN_UNTIL(r.loop, counts_of(&r).sessions == 1);
	assert_non_null(strstr(x.recorder.err.text, "no login in time"));
	assert_int_equal(status_of(&r).sessions.open, 1);
	rogue_close(&x);
	room_close(&r);
}

/* Rubbish where TLS should be. */
static void
test_rubbish(void **state)
{
	struct agent_options o = {0};
	uint8_t rubbish[4000];
	struct rogue x;
	struct room r;

	(void)state;
	open_strict(&r, &o);
	assert_true(room_login(&r));
	memstream_fill(rubbish, sizeof(rubbish), 7);
	rogue_open(&x, &r, SESSION_OPTION_TLS);
	stream_put(x.recorder.stream, rubbish, sizeof(rubbish));
	RUN_UNTIL(r.loop, x.recorder.errors + x.recorder.ends > 0);
	RUN_UNTIL(r.loop, counts_of(&r).sessions == 1);
	assert_int_equal(status_of(&r).sessions.open, 1);
	rogue_close(&x);
	room_close(&r);
}

static void
test_limits(void **state)
{
	struct agent_options o = {.connections_max = 2, .sessions_max = 1};
	struct party *apps[3];
	struct addr at;
	struct rogue x;
	struct room r;

	(void)state;
	open_strict(&r, &o);
	r.manner.echo = true;
	room_open_tunnel(&r, r.port, &at);
	for (size_t i = 0; i < 2; i++) {
		apps[i] = party_connect(&r, &at);
		party_send(apps[i], "x", 1);
		RUN_UNTIL(r.loop, apps[i]->bytes == 1);
	}
	apps[2] = party_connect(&r, &at);
	RUN_UNTIL(r.loop, apps[2]->errors == 1 && r.errors == 1);
	assert_non_null(strstr(r.err.text, "too many connections"));
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(apps[i]->errors, 0);
		party_send(apps[i], "y", 1);
		RUN_UNTIL(r.loop, apps[i]->bytes == 2);
	}
	/* A second session is told to come later. */
	rogue_open(&x, &r, SESSION_OPTION_TLS);
	RUN_UNTIL(r.loop, x.hc != NULL);
	RUN_UNTIL(r.loop, x.hc == NULL);
	RUN_UNTIL(r.loop, x.hc != NULL);
	assert_int_equal(counts_of(&r).sessions, 1);
	rogue_close(&x);
	for (size_t i = 0; i < 3; i++)
		party_free(apps[i]);
	room_close(&r);
}

/* --- who the listener is --- */

static void
test_unknown_identity(void **state)
{
	struct way_trust trust = {0};
	struct client_options o;
	struct room r;
	struct err e;

	(void)state;
	room_open(&r);
	room_open_hyco_agent(&r);
	trust.known_file = room_known_file(&r);
	o = room_hyco_options(&r);
	o.trust = &trust;
	room_open_client(&r, &o);
	assert_null(client_unknown_identity(r.client));
	assert_false(client_accept_identity(r.client, &e));
	assert_false(room_login(&r));
	assert_int_equal(r.login_err.code, ERR_DENIED);
	assert_non_null(strstr(r.login_err.text, "not known yet"));
	assert_non_null(strstr(r.login_err.text, "--accept-new"));
	assert_non_null(client_unknown_identity(r.client));
	assert_true(client_accept_identity(r.client, &e));
	assert_true(room_login(&r));
	assert_null(client_unknown_identity(r.client));
	room_close(&r);
}

static void
test_changed_identity(void **state)
{
	struct client_options o;
	struct party *app;
	struct addr at;
	struct room r;

	(void)state;
	open_both(&r);
	assert_true(room_login(&r));
	agent_close(r.agent);
	r.agent = NULL;
	r.onlines = 0;
	room_change_identity(&r);
	room_open_hyco_agent(&r);
	client_close(r.client);
	o = room_hyco_options(&r);
	room_open_client(&r, &o);
	assert_false(room_login(&r));
	assert_int_not_equal(r.login_err.code, ERR_AUTH);
	assert_null(client_unknown_identity(r.client));
	assert_non_null(strstr(r.login_err.text, "known_listeners"));
	room_open_tunnel(&r, r.port, &at);
	app = party_connect(&r, &at);
	RUN_UNTIL(r.loop, app->errors == 1);
	assert_int_equal(r.n_there, 0);
	party_free(app);
	room_close(&r);
}

static void
test_pin(void **state)
{
	struct way_trust trust = {0};
	char name[TLS_IDENTITY_NAME_SIZE];
	struct client_options o;
	struct room r;

	(void)state;
	room_open(&r);
	room_open_hyco_agent(&r);
	trust.pin = tls_identity_name(r.identity, name);
	o = room_hyco_options(&r);
	o.trust = &trust;
	room_open_client(&r, &o);
	assert_true(room_login(&r));
	client_close(r.client);
	name[12] = name[12] == 'A' ? 'B' : 'A';
	room_open_client(&r, &o);
	assert_false(room_login(&r));
	assert_non_null(strstr(r.login_err.text, "--pin"));
	assert_int_not_equal(r.login_err.code, ERR_AUTH);
	room_close(&r);
}

/* --- agreement --- */

static void
open_plain(
    struct room *r, bool agent_plain, bool client_plain, enum client_mode mode)
{
	struct agent_options ao;
	struct client_options co;
	struct err e;

	room_open(r);
	room_open_identity(r);
	ao = room_agent_options(r);
	ao.users = users_parse(room_users, strlen(room_users), "users", &e);
	ao.identity = agent_plain ? NULL : r->identity;
	ao.no_e2e = agent_plain;
	room_open_agent(r, &ao);
	users_unref(ao.users);
	co = room_hyco_options(r);
	co.no_e2e = client_plain;
	co.mode = mode;
	room_open_client(r, &co);
}

static void
test_no_e2e(void **state)
{
	struct party *app;
	struct addr at;
	struct room r;

	(void)state;
	open_plain(&r, true, true, CLIENT_HYCO);
	r.manner.echo = true;
	assert_true(room_login(&r));
	assert_false(status_of(&r).sessions.is_encrypted);
	assert_string_equal(status_of(&r).sessions.identity, "");
	room_open_tunnel(&r, r.port, &at);
	app = party_connect(&r, &at);
	party_send(app, "x", 1);
	RUN_UNTIL(r.loop, app->bytes == 1);
	party_free(app);
	room_close(&r);
}

static void
test_no_e2e_mismatch(void **state)
{
	struct room r;

	(void)state;
	open_plain(&r, true, false, CLIENT_HYCO);
	assert_false(room_login(&r));
	assert_non_null(strstr(r.login_err.text, "--no-e2e"));
	room_close(&r);
	open_plain(&r, false, true, CLIENT_HYCO);
	assert_false(room_login(&r));
	assert_non_null(strstr(r.login_err.text, "--no-e2e"));
	room_close(&r);
}

/* A listener that knows only the sample way. */
static void
open_sample(
    struct room *r, const struct way_trust *trust, enum client_mode mode)
{
	struct client_options o;

	room_open(r);
	room_open_identity(r);
	room_open_agent(r, NULL);
	o = room_hyco_options(r);
	o.mode = mode;
	if (trust != NULL)
		o.trust = trust;
	room_open_client(r, &o);
}

static void
test_fall_back(void **state)
{
	struct party *app;
	struct addr at;
	struct room r;
	struct err e;

	(void)state;
	open_sample(&r, NULL, CLIENT_AUTO);
	r.manner.echo = true;
	assert_true(room_login(&r));
	assert_string_equal(status_of(&r).way, "sample");
	assert_false(status_of(&r).has_sessions);
	room_open_tunnel(&r, r.port, &at);
	app = party_connect(&r, &at);
	party_send(app, "x", 1);
	RUN_UNTIL(r.loop, app->bytes == 1);
	party_free(app);
	assert_true(client_set_login(r.client, "bob", "wander", &e));
	assert_false(room_login(&r));
	assert_int_equal(r.login_err.http_status, 403);
	room_close(&r);
	/* Without a login before. */
	open_sample(&r, NULL, CLIENT_AUTO);
	r.manner.echo = true;
	room_open_tunnel(&r, r.port, &at);
	app = party_connect(&r, &at);
	party_send(app, "x", 1);
	RUN_UNTIL(r.loop, app->bytes == 1);
	party_free(app);
	room_close(&r);
}

static void
test_no_fall_back(void **state)
{
	struct way_trust trust = {
	    .pin = "sha256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"};
	struct room r;

	(void)state;
	open_sample(&r, NULL, CLIENT_HYCO);
	assert_false(room_login(&r));
	assert_non_null(strstr(r.login_err.text, "does not speak the hyco"));
	room_close(&r);
	open_sample(&r, &trust, CLIENT_AUTO);
	assert_false(room_login(&r));
	assert_non_null(strstr(r.login_err.text, "--mode sample"));
	room_close(&r);
}

/* A listener that has shown an identity once does not come without. */
static void
test_no_downgrade(void **state)
{
	struct client_options o;
	struct room r;

	(void)state;
	open_both(&r);
	assert_true(room_login(&r));
	client_close(r.client);
	agent_close(r.agent);
	r.onlines = 0;
	room_open_agent(&r, NULL);
	o = room_hyco_options(&r);
	o.mode = CLIENT_AUTO;
	room_open_client(&r, &o);
	assert_false(room_login(&r));
	assert_non_null(strstr(r.login_err.text, "--mode sample"));
	assert_int_not_equal(r.login_err.code, ERR_AUTH);
	room_close(&r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_login),
	    cmocka_unit_test(test_anonymous),
	    cmocka_unit_test(test_login_without_listener),
	    cmocka_unit_test(test_login_wrong_key),
	    cmocka_unit_test(test_half_close),
	    cmocka_unit_test(test_destination_ends_first),
	    cmocka_unit_test(test_bulk_both_ways),
	    cmocka_unit_test(test_stalled_reader),
	    cmocka_unit_test(test_reset_from_destination),
	    cmocka_unit_test(test_reset_from_application),
	    cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_policy),
	    cmocka_unit_test(test_reload),
	    cmocka_unit_test(test_unix_destination),
	    cmocka_unit_test(test_cut),
	    cmocka_unit_test(test_connect_without_carrier),
	    cmocka_unit_test(test_window_passes),
	    cmocka_unit_test(test_two_listeners),
	    cmocka_unit_test(test_several_sessions),
	    cmocka_unit_test(test_drain),
	    cmocka_unit_test(test_no_login),
	    cmocka_unit_test(test_rubbish),
	    cmocka_unit_test(test_limits),
	    cmocka_unit_test(test_unknown_identity),
	    cmocka_unit_test(test_changed_identity),
	    cmocka_unit_test(test_pin),
	    cmocka_unit_test(test_no_e2e),
	    cmocka_unit_test(test_no_e2e_mismatch),
	    cmocka_unit_test(test_fall_back),
	    cmocka_unit_test(test_no_fall_back),
	    cmocka_unit_test(test_no_downgrade),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

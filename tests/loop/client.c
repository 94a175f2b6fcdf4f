/* SPDX-License-Identifier: MIT
 *
 * The client with an agent on the other side (nothing is lost, ends stay ends,
 * resets stay resets), and with listeners made by hand that behave as the
 * sample's server.js does, or worse.
 */
#include "tunnel/client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ends/users.h"
#include "hc/hc_accept.h"
#include "hc/hc_listener.h"
#include "net/listen.h"
#include "net/loop.h"
#include "net/stream.h"
#include "tunnel_room.h"
#include "util/mem.h"
#include "ws/ws.h"
#include "ws/ws_frame.h"

#define MUCH ((size_t)8 * 1024 * 1024)

static void
open_both(struct room *r)
{
	room_open(r);
	room_open_agent(r, NULL);
	room_open_client(r, NULL);
}

/* --- with an agent --- */

static void
test_login(void **state)
{
	struct room r;
	struct err e;

	(void)state;
	open_both(&r);
	assert_true(room_login(&r));
	assert_int_equal(r.login_err.code, ERR_NONE);
	assert_true(client_set_login(r.client, "alice", "wander", &e));
	assert_false(room_login(&r));
	assert_int_equal(r.login_err.code, ERR_AUTH);
	assert_int_equal(r.login_err.http_status, 403);
	assert_non_null(strstr(r.login_err.text, "user or password wrong"));
	assert_false(client_set_login(r.client, "a:b", "x", &e));
	assert_int_equal(e.code, ERR_USAGE);
	assert_true(client_set_login(r.client, "bob", "wonder", &e));
	assert_true(room_login(&r));
	assert_true(client_set_login(r.client, NULL, NULL, &e));
	assert_false(room_login(&r));
	assert_int_equal(r.login_err.code, ERR_AUTH);
	room_close(&r);
}

static void
test_login_without_listener(void **state)
{
	struct room r;

	(void)state;
	room_open(&r);
	room_open_client(&r, NULL);
	assert_false(room_login(&r));
	assert_int_equal(r.login_err.code, ERR_UNREACHABLE);
	room_close(&r);
}

static void
test_login_wrong_key(void **state)
{
	struct room r;
	struct err e;

	(void)state;
	room_open(&r);
	assert_true(hc_target_set_key(&r.send, "other", &e));
	room_open_agent(&r, NULL);
	room_open_client(&r, NULL);
	assert_false(room_login(&r));
	assert_int_equal(r.login_err.code, ERR_AUTH);
	assert_int_equal(r.login_err.http_status, 401);
	room_close(&r);
}

/* Bytes sent at once, long before ready, arrive; the end comes through while
 * the other direction goes on: request, end, answer. */
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
	room_close(&r);
}

/* The destination speaks first and ends first. */
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

struct tally {
	size_t n;
	uint64_t up, down;
	size_t live;
};

static void
count_connection(void *arg, const struct client_connection_info *info)
{
	struct tally *t = arg;

	t->n++;
	t->up += info->bytes_up;
	t->down += info->bytes_down;
	assert_string_equal(info->state, "open");
	assert_non_null(strstr(info->peer, "127.0.0.1:"));
}

static void
count_tunnel(void *arg, const struct client_tunnel_info *info)
{
	struct tally *t = arg;

	t->n++;
	t->up += info->bytes_up;
	t->down += info->bytes_down;
	t->live += info->live;
}

/* Much both ways at once, echoed: the same comes back, in bounded memory. */
static void
test_much(void **state)
{
	struct client_status status;
	struct agent_counts counts;
	struct tally t = {0};
	struct party *app;
	struct addr at;
	struct room r;

	(void)state;
	open_both(&r);
	r.manner.echo = true;
	room_open_tunnel(&r, r.port, &at);
	app = party_connect(&r, &at);
	party_send_much(app, MUCH);
	RUN_UNTIL(r.loop, app->bytes == MUCH);
	assert_int_equal(app->hash, memstream_fill_hash(MUCH));
	client_each_connection(r.client, 1, count_connection, &t);
	assert_int_equal(t.n, 1);
	assert_int_equal(t.up, MUCH);
	assert_int_equal(t.down, MUCH);
	party_shutdown(app);
	RUN_UNTIL(r.loop, app->ends == 1);
	RUN_UNTIL(r.loop,
	    (client_status(r.client, &status), agent_counts(r.agent, &counts),
	        status.live + counts.live == 0));
	assert_int_equal(status.bytes_up, MUCH);
	assert_int_equal(status.bytes_down, MUCH);
	assert_int_equal(counts.bytes_up, MUCH);
	assert_int_equal(counts.bytes_down, MUCH);
	assert_int_equal(counts.served, 1);
	party_free(app);
	room_close(&r);
}

/* A reader that stands still stops its own sender and loses nothing. */
static void
test_back_pressure(void **state)
{
	struct party *app, *other;
	struct addr at;
	struct room r;

	(void)state;
	open_both(&r);
	r.manner.to_send = 4 * MUCH;
	r.manner.shuts = true;
	room_open_tunnel(&r, r.port, &at);
	app = party_connect(&r, &at);
	stream_stop(app->stream);
	RUN_UNTIL(r.loop, r.n_there == 1);
	/* Somebody else is not held up, and meanwhile the first one's source
	 * comes to a stop. */
	r.manner = (struct party){.echo = true};
	other = party_connect(&r, &at);
	party_send_much(other, MUCH);
	RUN_UNTIL(r.loop, other->bytes == MUCH);
	assert_true(r.there[0]->sent < 4 * MUCH);
	party_read(app);
	RUN_UNTIL(r.loop, app->ends == 1);
	assert_int_equal(app->bytes, 4 * MUCH);
	assert_int_equal(app->hash, memstream_fill_hash(4 * MUCH));
	party_free(app);
	party_free(other);
	room_close(&r);
}

static void
test_resets(void **state)
{
	struct party *app;
	struct addr at;
	struct room r;

	(void)state;
	open_both(&r);
	room_open_tunnel(&r, r.port, &at);
	app = party_connect(&r, &at);
	RUN_UNTIL(r.loop, r.n_there == 1);
	party_send(app, "x", 1);
	RUN_UNTIL(r.loop, r.there[0]->bytes == 1);
	party_reset(app);
	RUN_UNTIL(r.loop, r.there[0]->errors + r.there[0]->ends == 1);
	assert_int_equal(r.there[0]->errors, 1);
	assert_int_equal(r.errors, 0);
	party_free(app);

	r.manner.resets = true;
	app = party_connect(&r, &at);
	party_send(app, "x", 1);
	RUN_UNTIL(r.loop, app->errors + app->ends == 1);
	assert_int_equal(app->errors, 1);
	RUN_UNTIL(r.loop, r.errors == 1);
	assert_non_null(strstr(r.err.text, "Upstream socket error"));
	party_free(app);
	room_close(&r);
}

/* A reset after our side has ended its direction is still a reset. */
static void
test_reset_after_end(void **state)
{
	struct party *app;
	struct addr at;
	struct room r;

	(void)state;
	open_both(&r);
	room_open_tunnel(&r, r.port, &at);
	app = party_connect(&r, &at);
	party_send(app, "x", 1);
	party_shutdown(app);
	RUN_UNTIL(r.loop, r.n_there == 1 && r.there[0]->ends == 1);
	party_reset(r.there[0]);
	RUN_UNTIL(r.loop, app->errors + app->ends == 1);
	assert_int_equal(app->errors, 1);
	party_free(app);
	room_close(&r);
}

static void
expect_reset(struct room *r, const struct addr *at, const char *words)
{
	struct party *app = party_connect(r, at);
	unsigned errors = r->errors;

	RUN_UNTIL(
	    r->loop, app->errors + app->ends == 1 && r->errors == errors + 1);
	assert_int_equal(app->errors, 1);
	if (strstr(r->err.text, words) == NULL)
		fail_msg("%s, expected %s", r->err.text, words);
	party_free(app);
}

static void
test_refusals_reset(void **state)
{
	char words[64];
	struct addr at;
	struct room r;
	struct err e;
	uint16_t port;
	unsigned id;

	(void)state;
	open_both(&r);
	port = r.port;
	id = room_open_tunnel(&r, port, &at);
	listener_close(r.server);
	r.server = NULL;
	snprintf(words, sizeof(words), "destination 127.0.0.1:%u: ", port);
	expect_reset(&r, &at, words);
	assert_int_equal(r.error_tunnel, id);
	assert_true(client_set_login(r.client, "alice", "x", &e));
	expect_reset(&r, &at, "user or password wrong");
	assert_int_equal(r.err.code, ERR_AUTH);
	room_close(&r);
}

/* More at once than are let on their way: the rest waits its turn. */
static void
test_many_at_once(void **state)
{
	enum { N = 100 };
	struct party *apps[N];
	struct client_options o;
	struct client_status status;
	size_t most = 0;
	struct addr at;
	struct room r;

	(void)state;
	room_open(&r);
	room_open_agent(&r, NULL);
	o = room_client_options(&r);
	o.connecting_max = 8;
	room_open_client(&r, &o);
	r.manner.answers_end = true;
	room_open_tunnel(&r, r.port, &at);
	for (size_t i = 0; i < N; i++) {
		apps[i] = party_connect(&r, &at);
		party_send(apps[i], "hello", 5);
		party_shutdown(apps[i]);
	}
	for (size_t i = 0; i < N; i++) {
		RUN_UNTIL(r.loop, (client_status(r.client, &status),
		                      apps[i]->ends + apps[i]->errors > 0));
		if (status.connecting > most)
			most = status.connecting;
		assert_int_equal(apps[i]->errors, 0);
		assert_string_equal(apps[i]->text, "hello");
		party_free(apps[i]);
	}
	assert_true(most <= 8);
	assert_int_equal(status.opened, N);
	assert_int_equal(r.errors, 0);
	room_close(&r);
}

/* A listener that comes a little late is waited for. */
static void
test_late_listener(void **state)
{
	struct party *app;
	struct addr at;
	struct room r;

	(void)state;
	room_open(&r);
	room_open_client(&r, NULL);
	r.manner.echo = true;
	room_open_tunnel(&r, r.port, &at);
	app = party_connect(&r, &at);
	party_send(app, "early", 5);
	for (unsigned i = 0; i < 10; i++)
		loop_turn(r.loop, true);
	room_open_agent(&r, NULL);
	RUN_UNTIL(r.loop, app->bytes == 5);
	assert_int_equal(r.errors, 0);
	party_free(app);
	room_close(&r);
}

/* A listener that is full is asked again, since somebody may leave. */
static void
test_busy_listener(void **state)
{
	struct agent_options o;
	struct agent_counts counts;
	struct party *first, *second;
	struct addr at;
	struct room r;
	struct err e;

	(void)state;
	room_open(&r);
	o = room_agent_options(&r);
	o.users = users_parse(room_users, strlen(room_users), "users", &e);
	o.connections_max = 1;
	room_open_agent(&r, &o);
	users_unref(o.users);
	room_open_client(&r, NULL);
	r.manner.echo = true;
	room_open_tunnel(&r, r.port, &at);
	first = party_connect(&r, &at);
	party_send(first, "1", 1);
	RUN_UNTIL(r.loop, first->bytes == 1);
	second = party_connect(&r, &at);
	party_send(second, "2", 1);
	RUN_UNTIL(
	    r.loop, (agent_counts(r.agent, &counts), counts.refused == 1));
	party_shutdown(first);
	RUN_UNTIL(r.loop, second->bytes == 1);
	assert_int_equal(r.errors, 0);
	party_free(first);
	party_free(second);
	room_close(&r);
}

static void
test_no_listener(void **state)
{
	struct client_options o;
	struct addr at;
	struct room r;

	(void)state;
	room_open(&r);
	o = room_client_options(&r);
	o.retry_ms = 300;
	room_open_client(&r, &o);
	room_open_tunnel(&r, r.port, &at);
	expect_reset(&r, &at, "no listener");
	assert_int_equal(r.err.code, ERR_UNREACHABLE);
	room_close(&r);
}

static void
test_close_tunnel(void **state)
{
	struct client_tunnel_info info;
	struct party *kept, *ended;
	struct tally t = {0};
	struct addr one, two;
	struct room r;
	size_t live;

	(void)state;
	open_both(&r);
	r.manner.echo = true;
	assert_int_equal(room_open_tunnel(&r, r.port, &one), 1);
	assert_int_equal(room_open_tunnel(&r, r.port, &two), 2);
	kept = party_connect(&r, &one);
	ended = party_connect(&r, &two);
	party_send(kept, "a", 1);
	party_send(ended, "b", 1);
	RUN_UNTIL(r.loop, kept->bytes == 1 && ended->bytes == 1);
	client_each_tunnel(r.client, count_tunnel, &t);
	assert_int_equal(t.n, 2);
	assert_int_equal(t.live, 2);
	assert_int_equal(t.up, 2);

	assert_true(client_tunnel_close(r.client, 1, false, &live));
	assert_int_equal(live, 1);
	assert_false(client_tunnel_close(r.client, 1, false, NULL));
	assert_true(client_tunnel_close(r.client, 2, true, &live));
	assert_false(client_tunnel_close(r.client, 3, true, NULL));
	RUN_UNTIL(r.loop, ended->errors == 1);
	assert_false(client_tunnel_info(r.client, 2, &info));
	assert_true(client_tunnel_info(r.client, 1, &info));
	assert_true(info.is_closed);

	party_send(kept, "c", 1);
	RUN_UNTIL(r.loop, kept->bytes == 2);
	party_shutdown(kept);
	RUN_UNTIL(r.loop, kept->ends == 1);
	RUN_UNTIL(r.loop, !client_tunnel_info(r.client, 1, &info));
	assert_int_equal(room_open_tunnel(&r, r.port, &one), 3);
	party_free(kept);
	party_free(ended);
	room_close(&r);
}

/* Both ways to close a client whose closed tunnel still carries. */
static void
test_close_with_kept(void **state)
{
	struct party *app;
	struct addr at;
	struct room r;

	(void)state;
	open_both(&r);
	r.manner.echo = true;
	room_open_tunnel(&r, r.port, &at);
	app = party_connect(&r, &at);
	party_send(app, "a", 1);
	RUN_UNTIL(r.loop, app->bytes == 1);
	assert_true(client_tunnel_close(r.client, 1, false, NULL));
	client_close(r.client);
	r.client = NULL;
	RUN_UNTIL(r.loop, app->errors == 1);
	RUN_UNTIL(r.loop, r.there[0]->errors == 1);
	party_free(app);
	room_close(&r);
}

static void
test_specs(void **state)
{
	static const char *const rows[] = {"127.0.0.1:0:unix:/run/x",
	    "127.0.0.1:0:127.0.0.1:53/udp", "127.0.0.1:0"};
	struct client_options o;
	struct tunnel_spec spec;
	enum client_mode mode;
	struct room r;
	struct err e;

	(void)state;
	room_open(&r);
	room_open_client(&r, NULL);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		if (!end_parse_tunnel(&spec, rows[i], &e))
			continue;
		assert_int_equal(client_tunnel_open(r.client, &spec, &e), 0);
		assert_int_equal(e.code, ERR_USAGE);
	}
	assert_true(client_mode_parse("sample", &mode));
	assert_int_equal(mode, CLIENT_SAMPLE);
	assert_false(client_mode_parse("Sample", &mode));
	o = room_client_options(&r);
	o.mode = CLIENT_BRIDGE;
	assert_null(client_open(r.loop, &o, NULL, NULL, &e));
	assert_int_equal(e.code, ERR_USAGE);
	room_close(&r);
}

/* Closed in every turn of a connection's life. */
static void
test_close_at_every_step(void **state)
{
	bool is_served = false;

	(void)state;
	for (unsigned turns = 0; !is_served; turns++) {
		struct party *app;
		struct addr at;
		struct room r;

		open_both(&r);
		r.manner.echo = true;
		room_open_tunnel(&r, r.port, &at);
		app = party_connect(&r, &at);
		party_send(app, "x", 1);
		for (unsigned i = 0; i < turns && app->bytes == 0; i++)
			loop_turn(r.loop, true);
		is_served = app->bytes > 0;
		client_close(r.client);
		r.client = NULL;
		party_free(app);
		room_close(&r);
	}
}

/* --- with listeners made by hand --- */

enum act {
	ACT_READY,        /* as the original: ready, and then the test's will */
	ACT_BINARY_FIRST, /* bytes before ready */
	ACT_ERROR,        /* could not reach the destination */
	ACT_RUBBISH,      /* text that is no JSON */
	ACT_CLOSE,        /* Close at once */
	ACT_ABORT,        /* ends without a word */
	ACT_SILENT,
	ACT_REJECT_LOGIN, /* as the original: 403 "undefined" */
	ACT_REJECT_CHECK, /* a listener that knows no login check */
};

struct original {
	struct room *room;
	struct hc_listener *hc;
	struct hc_accept *accept;
	struct ws *ws;
	enum act act;
	bool online;
	size_t bytes;
	char text[32];
	int close_code;
	unsigned lost;
};

static void
say(struct original *o, const char *text)
{
	ws_send_text(o->ws, text, strlen(text));
}

static void
send_bytes(struct original *o, const char *text)
{
	uint8_t data[STREAM_HEADROOM + 64];

	memcpy(data + STREAM_HEADROOM, text, strlen(text));
	ws_send_binary(o->ws, data + STREAM_HEADROOM, strlen(text));
}

static void
on_binary(void *owner, uint8_t *data, size_t len, bool start, bool end)
{
	struct original *o = owner;

	(void)start;
	(void)end;
	assert_true(o->bytes + len < sizeof(o->text));
	memcpy(o->text + o->bytes, data, len);
	o->bytes += len;
}

static void
on_close(void *owner, int code, const char *reason)
{
	struct original *o = owner;

	(void)reason;
	o->close_code = code;
	ws_shutdown(o->ws, WS_CODE_NORMAL, NULL);
}

static void
on_lost(void *owner, const struct err *err)
{
	struct original *o = owner;

	(void)err;
	o->lost++;
}

static const struct ws_events ws_events = {
    .on_binary = on_binary,
    .on_close = on_close,
    .on_error = on_lost,
};

static void
on_joined(void *owner, struct ws *w)
{
	static const char ready[] =
	    "{\"status\":\"ready\",\"details\":\"Upstream socket connected\"}";
	static const char error[] =
	    "{\"status\":\"error\",\"details\":\"Upstream socket error; "
	    "Error: connect ECONNREFUSED\"}";
	struct original *o = owner;

	hc_accept_close(o->accept);
	o->accept = NULL;
	o->ws = w;
	ws_set_owner(w, &ws_events, o);
	ws_start(w);
	if (o->act == ACT_READY)
		say(o, ready);
	else if (o->act == ACT_BINARY_FIRST)
		send_bytes(o, "early");
	else if (o->act == ACT_ERROR)
		say(o, error);
	else if (o->act == ACT_RUBBISH)
		say(o, "rubbish");
	if (o->act == ACT_ERROR || o->act == ACT_CLOSE)
		ws_shutdown(w, WS_CODE_NORMAL, NULL);
	if (o->act == ACT_ABORT) {
		ws_close(w, true);
		o->ws = NULL;
	}
}

static void
on_join_error(void *owner, const struct err *err)
{
	(void)owner;
	fail_msg("%s", err->text);
}

static const struct hc_accept_events accept_events = {
    .on_open = on_joined,
    .on_error = on_join_error,
};

static void
on_accept(void *owner, struct hc_accept *a)
{
	struct original *o = owner;

	if (o->ws != NULL)
		ws_close(o->ws, true);
	o->ws = NULL;
	if (o->act == ACT_REJECT_LOGIN) {
		hc_accept_reject(a, 403, "undefined");
	} else if (o->act == ACT_REJECT_CHECK) {
		hc_accept_reject(a, 400, "what?");
	} else {
		o->accept = a;
		hc_accept_open(a, NULL, &accept_events, o);
	}
}

static void
on_online(void *owner)
{
	((struct original *)owner)->online = true;
}

static void
on_trouble(void *owner, const struct err *err)
{
	(void)owner;
	fail_msg("%s", err->text);
}

static const struct hc_listener_events listener_events = {
    .on_online = on_online,
    .on_failed = on_trouble,
    .on_accept = on_accept,
};

static void
open_original(
    struct room *r, struct original *o, const struct client_options *options)
{
	memset(o, 0, sizeof(*o));
	room_open(r);
	o->room = r;
	o->hc = hc_listener_open(
	    r->loop, r->dialer, &r->listen, NULL, &listener_events, o);
	RUN_UNTIL(r->loop, o->online);
	room_open_client(r, options);
}

static void
close_original(struct original *o)
{
	hc_listener_close(o->hc);
	if (o->accept != NULL)
		hc_accept_close(o->accept);
	if (o->ws != NULL)
		ws_close(o->ws, true);
	room_close(o->room);
}

static void
test_bad_listeners(void **state)
{
	static const struct {
		enum act act;
		const char *words;
	} rows[] = {
	    {ACT_BINARY_FIRST, "before it was ready"},
	    {ACT_ERROR, "ECONNREFUSED"},
	    {ACT_RUBBISH, "status"},
	    {ACT_CLOSE, "ended before it was ready"},
	    {ACT_ABORT, "before the listener was ready"},
	    {ACT_SILENT, "not ready within"},
	    {ACT_REJECT_LOGIN, "403"},
	    {ACT_REJECT_CHECK, "what?"},
	};
	struct original o;
	struct addr at;
	struct room r;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct client_options options;

		memset(&o, 0, sizeof(o));
		room_open(&r);
		o.room = &r;
		o.hc = hc_listener_open(
		    r.loop, r.dialer, &r.listen, NULL, &listener_events, &o);
		RUN_UNTIL(r.loop, o.online);
		options = room_client_options(&r);
		options.ready_ms = 500;
		room_open_client(&r, &options);
		o.act = rows[i].act;
		room_open_tunnel(&r, r.port, &at);
		expect_reset(&r, &at, rows[i].words);
		if (o.act == ACT_REJECT_LOGIN)
			assert_int_equal(r.err.code, ERR_AUTH);
		close_original(&o);
	}
}

/* What is learnt about the password from a listener that has no login check. */
static void
test_login_at_originals(void **state)
{
	static const struct {
		enum act act;
		bool verified;
		enum err_code code;
	} rows[] = {
	    {ACT_ERROR, true, ERR_NONE},
	    {ACT_REJECT_LOGIN, false, ERR_AUTH},
	    {ACT_REJECT_CHECK, false, ERR_NONE},
	};
	struct original o;
	struct room r;

	(void)state;
	open_original(&r, &o, NULL);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		o.act = rows[i].act;
		assert_int_equal(room_login(&r), rows[i].verified);
		assert_int_equal(r.login_err.code, rows[i].code);
	}
	close_original(&o);
}

/* An original cannot be told of our end: it stays, its answer comes through,
 * and its own end ends all. */
static void
test_original_after_our_end(void **state)
{
	struct party *app;
	struct original o;
	struct addr at;
	struct room r;

	(void)state;
	open_original(&r, &o, NULL);
	room_open_tunnel(&r, r.port, &at);
	app = party_connect(&r, &at);
	party_send(app, "request", 7);
	party_shutdown(app);
	RUN_UNTIL(r.loop, o.bytes == 7);
	for (unsigned i = 0; i < 5; i++)
		loop_turn(r.loop, false);
	assert_int_equal(o.close_code, 0);
	send_bytes(&o, "answer");
	ws_shutdown(o.ws, WS_CODE_NORMAL, NULL);
	RUN_UNTIL(r.loop, app->ends == 1);
	assert_string_equal(app->text, "answer");
	RUN_UNTIL(r.loop, o.close_code == 1000);
	assert_int_equal(app->errors, 0);
	party_free(app);
	close_original(&o);
}

/* ... or, without a byte for long enough, is closed. */
static void
test_original_idles(void **state)
{
	struct client_options options;
	struct party *app;
	struct original o = {0};
	struct addr at;
	struct room r;

	(void)state;
	room_open(&r);
	o.room = &r;
	o.hc = hc_listener_open(
	    r.loop, r.dialer, &r.listen, NULL, &listener_events, &o);
	RUN_UNTIL(r.loop, o.online);
	options = room_client_options(&r);
	options.half_idle_ms = 200;
	room_open_client(&r, &options);
	room_open_tunnel(&r, r.port, &at);
	app = party_connect(&r, &at);
	party_shutdown(app);
	RUN_UNTIL(r.loop, o.close_code == 1000);
	RUN_UNTIL(r.loop, app->ends == 1);
	assert_int_equal(app->errors, 0);
	party_free(app);
	close_original(&o);
}

/* An original's Close ends what it said; a text error resets. */
static void
test_original_errors_later(void **state)
{
	struct party *app;
	struct original o;
	struct addr at;
	struct room r;

	(void)state;
	open_original(&r, &o, NULL);
	room_open_tunnel(&r, r.port, &at);
	app = party_connect(&r, &at);
	RUN_UNTIL(r.loop, o.ws != NULL);
	send_bytes(&o, "half of");
	say(&o, "{\"status\":\"error\",\"details\":\"gone\\u001b[2J\"}");
	ws_shutdown(o.ws, WS_CODE_NORMAL, NULL);
	RUN_UNTIL(r.loop, app->errors + app->ends == 1 && r.errors == 1);
	assert_int_equal(app->errors, 1);
	assert_non_null(strstr(r.err.text, "gone\\x1b[2J"));
	party_free(app);
	close_original(&o);
}

/* Pings keep the connection; one that is not answered any more ends. */
static void
test_pings(void **state)
{
	struct client_options options;
	struct agent_options agent;
	struct party *app;
	struct addr at;
	struct room r;
	struct err e;

	(void)state;
	room_open(&r);
	agent = room_agent_options(&r);
	agent.users = users_parse(room_users, strlen(room_users), "u", &e);
	agent.ping_ms = 20;
	room_open_agent(&r, &agent);
	users_unref(agent.users);
	options = room_client_options(&r);
	options.ping_ms = 20;
	room_open_client(&r, &options);
	r.manner.echo = true;
	room_open_tunnel(&r, r.port, &at);
	app = party_connect(&r, &at);
	party_send(app, "a", 1);
	RUN_UNTIL(r.loop, app->bytes == 1);
	for (unsigned i = 0; i < 100; i++)
		loop_turn(r.loop, true);
	party_send(app, "b", 1);
	RUN_UNTIL(r.loop, app->bytes == 2);
	assert_int_equal(app->errors + r.errors, 0);
	party_free(app);
	room_close(&r);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_login),
	    cmocka_unit_test(test_login_without_listener),
	    cmocka_unit_test(test_login_wrong_key),
	    cmocka_unit_test(test_half_close),
	    cmocka_unit_test(test_destination_ends_first),
	    cmocka_unit_test(test_much),
	    cmocka_unit_test(test_back_pressure),
	    cmocka_unit_test(test_resets),
	    cmocka_unit_test(test_reset_after_end),
	    cmocka_unit_test(test_refusals_reset),
	    cmocka_unit_test(test_many_at_once),
	    cmocka_unit_test(test_late_listener),
	    cmocka_unit_test(test_busy_listener),
	    cmocka_unit_test(test_no_listener),
	    cmocka_unit_test(test_close_tunnel),
	    cmocka_unit_test(test_close_with_kept),
	    cmocka_unit_test(test_specs),
	    cmocka_unit_test(test_close_at_every_step),
	    cmocka_unit_test(test_bad_listeners),
	    cmocka_unit_test(test_login_at_originals),
	    cmocka_unit_test(test_original_after_our_end),
	    cmocka_unit_test(test_original_idles),
	    cmocka_unit_test(test_original_errors_later),
	    cmocka_unit_test(test_pings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

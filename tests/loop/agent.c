/* SPDX-License-Identifier: MIT
 *
 * The agent against senders that are made by hand: what it refuses and in which
 * words, every trick that passed the original (specification of the sample,
 * 5.3), and how it serves an original sender, which answers a Close at once.
 */
#include "tunnel/agent.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ends/policy.h"
#include "ends/users.h"
#include "hc/hc_sender.h"
#include "net/http1.h"
#include "net/listen.h"
#include "net/loop.h"
#include "net/stream.h"
#include "tunnel_room.h"
#include "util/mem.h"
#include "util/text.h"
#include "ws/ws.h"
#include "ws/ws_frame.h"

/* A sender as connect.js is one, but for what the test wants else. */
struct caller {
	struct hc_sender *hc;
	struct ws *ws;
	struct err err;
	unsigned errors; /* refusals, and breaks of the WebSocket */
	char texts[4][256];
	size_t n_texts;
	size_t bytes;
	uint64_t hash;
	int close_code; /* 0: none came */
	bool is_half;   /* does not answer a Close */
	unsigned lost;
};

static void
on_text(void *owner, uint8_t *data, size_t len)
{
	struct caller *c = owner;

	assert_true(len < sizeof(c->texts[0]) && c->n_texts < 4);
	memcpy(c->texts[c->n_texts], data, len);
	c->texts[c->n_texts++][len] = '\0';
}

static void
on_binary(void *owner, uint8_t *data, size_t len, bool start, bool end)
{
	struct caller *c = owner;

	(void)start;
	(void)end;
	assert_int_equal(c->n_texts, 1);
	c->hash = memstream_hash(c->hash, data, len);
	c->bytes += len;
}

static void
on_close(void *owner, int code, const char *reason)
{
	struct caller *c = owner;

	(void)reason;
	c->close_code = code;
	if (!c->is_half)
		ws_shutdown(c->ws, WS_CODE_NORMAL, NULL);
}

static void
on_lost(void *owner, const struct err *err)
{
	struct caller *c = owner;

	c->lost++;
	c->err = *err;
}

static const struct ws_events ws_events = {
    .on_text = on_text,
    .on_binary = on_binary,
    .on_close = on_close,
    .on_error = on_lost,
};

static void
on_open(void *owner, struct ws *w)
{
	struct caller *c = owner;

	hc_sender_close(c->hc);
	c->hc = NULL;
	c->ws = w;
	ws_set_owner(w, &ws_events, c);
	ws_start(w);
}

static void
on_error(void *owner, const struct err *err)
{
	struct caller *c = owner;

	hc_sender_close(c->hc);
	c->hc = NULL;
	c->errors++;
	c->err = *err;
}

static const struct hc_sender_events sender_events = {
    .on_open = on_open,
    .on_error = on_error,
};

struct call {
	const char *suffix;
	const char *query;
	const char *authorization; /* as it is; NULL: none */
	const char *login;         /* user:password, encoded here */
	const char *second;        /* one more Authorization */
	bool is_half;
};

static void
call(struct room *r, struct caller *c, const struct call *how)
{
	char field[1024] = "Basic ", name[] = "Authorization";
	char half[] = "hyco-half-close", one[] = "1", second[256] = "";
	struct http1_field fields[3];
	struct hc_sender_options o = {
	    .suffix = how->suffix, .query = how->query, .fields = fields};

	memset(c, 0, sizeof(*c));
	c->hash = MEMSTREAM_HASH;
	c->is_half = how->is_half;
	if (how->login != NULL)
		text_base64_encode(
		    how->login, strlen(how->login), field + strlen(field));
	if (how->authorization != NULL)
		strcpy(field, how->authorization);
	if (how->login != NULL || how->authorization != NULL)
		fields[o.n_fields++] = (struct http1_field){name, field};
	if (how->second != NULL) {
		strcpy(second, how->second);
		fields[o.n_fields++] = (struct http1_field){name, second};
	}
	if (how->is_half)
		fields[o.n_fields++] = (struct http1_field){half, one};
	c->hc =
	    hc_sender_open(r->loop, r->dialer, &r->send, &o, &sender_events, c);
	RUN_UNTIL(r->loop, c->ws != NULL || c->errors > 0);
}

static void
hang_up(struct caller *c)
{
	if (c->hc != NULL)
		hc_sender_close(c->hc);
	if (c->ws != NULL)
		ws_close(c->ws, true);
	c->hc = NULL;
	c->ws = NULL;
}

static void
expect_refusal(
    struct room *r, const struct call *how, int status, const char *words)
{
	struct caller c;

	call(r, &c, how);
	if (c.ws != NULL)
		fail_msg("let in: %s %s", how->query, words);
	if (c.err.http_status != status || strstr(c.err.text, words) == NULL)
		fail_msg("%d %s, expected %d %s", c.err.http_status, c.err.text,
		    status, words);
}

static void
query_to(const struct room *r, char out[64])
{
	snprintf(out, 64, "port=%u&host=127.0.0.1", r->port);
}

static void
test_refusals(void **state)
{
	static const struct {
		struct call how;
		int status;
		const char *words;
	} rows[] = {
	    {{.query = "port=0"}, 400, "port"},
	    {{.query = "port=80&port=81"}, 400, "more than once"},
	    {{.query = "port=/run/x.sock"}, 400, "port"},
	    {{.query = "host=127.0.0.1"}, 400, "without a port"},
	    {{.query = "port=80&host=unix%3A/run/x"}, 400, "host"},
	    {{.query = NULL}, 400, "no destination"},
	    {{.suffix = "/tunnel"}, 400, "no destination"},
	    {{.suffix = "/shell", .query = "port=80"}, 404, "/tunnel"},
	    {{.query = "port=80&host=169.254.169.254"}, 403, "policy: "},
	    {{.query = "port=80&host=nowhere.invalid"}, 502,
	        "destination nowhere.invalid:80"},
	};
	struct room r;

	(void)state;
	room_open(&r);
	room_open_agent(&r, NULL);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct call how = rows[i].how;

		how.login = "alice:wonder";
		expect_refusal(&r, &how, rows[i].status, rows[i].words);
	}
	assert_int_equal(r.n_there, 0);
	room_close(&r);
}

/* All of these passed the original: no header, no colon, another scheme, names
 * and texts of its own objects. */
static void
test_bypasses(void **state)
{
	static const struct {
		struct call how;
		int status;
	} rows[] = {
	    {{.login = NULL}, 403},
	    {{.login = "alice"}, 400},
	    {{.login = "nobody"}, 400},
	    {{.authorization = "Bearer x"}, 400},
	    {{.authorization = "Basic"}, 400},
	    {{.authorization = "Basic "}, 400},
	    {{.authorization = "undefined"}, 400},
	    {{.login = "alice:"}, 403},
	    {{.login = ":"}, 403},
	    {{.login = ":wonder"}, 403},
	    {{.login = "alice:wonder "}, 403},
	    {{.login = "alice:wonder:more"}, 403},
	    {{.login = "Alice:wonder"}, 403},
	    {{.login = "alice:undefined"}, 403},
	    {{.login = "__proto__:[object Object]"}, 403},
	    {{.login = "constructor:function Object() { [native code] }"}, 403},
	    {{.login = "toString:undefined"}, 403},
	    {{.login = "alice:wonder", .second = "Basic eDp5"}, 400},
	    {{.authorization = "Basic YWxpY2U6d29uZGVy="}, 400},
	    {{.authorization = "Basic YWxpY2U6d29uZGVy!"}, 400},
	};
	char query[64];
	struct room r;

	(void)state;
	room_open(&r);
	room_open_agent(&r, NULL);
	query_to(&r, query);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct call how = rows[i].how;

		how.query = query;
		expect_refusal(&r, &how, rows[i].status,
		    rows[i].status == 403 ? "user or password wrong"
		                          : "request: Authorization");
	}
	assert_int_equal(r.n_there, 0);
	room_close(&r);
}

static void
test_refused_destination(void **state)
{
	struct call how = {.login = "alice:wonder"};
	char query[64], words[64];
	struct room r;

	(void)state;
	room_open(&r);
	room_open_agent(&r, NULL);
	query_to(&r, query);
	snprintf(words, sizeof(words), "destination 127.0.0.1:%u: ", r.port);
	how.query = query;
	listener_close(r.server);
	expect_refusal(&r, &how, 502, words);
	r.server = NULL;
	room_close(&r);
}

/* The ready message is the original's to the byte, all bytes come before the
 * Close, and a sender that answers the Close at once loses none of them. */
static void
test_original_sender(void **state)
{
	struct call how = {.login = "alice:wonder", .suffix = "/tunnel"};
	char query[64], bytes[STREAM_HEADROOM + 5];
	struct caller c;
	struct room r;

	(void)state;
	room_open(&r);
	room_open_agent(&r, NULL);
	query_to(&r, query);
	how.query = query;
	r.manner.to_send = 3000000;
	r.manner.shuts = true;
	call(&r, &c, &how);
	RUN_UNTIL(r.loop, c.n_texts == 1);
	assert_string_equal(c.texts[0],
	    "{\"status\":\"ready\",\"details\":\"Upstream socket "
	    "connected\"}");
	memcpy(bytes + STREAM_HEADROOM, "hello", 5);
	ws_send_binary(c.ws, (uint8_t *)bytes + STREAM_HEADROOM, 5);
	RUN_UNTIL(r.loop, c.close_code != 0);
	assert_int_equal(c.close_code, 1000);
	assert_int_equal(c.bytes, 3000000);
	assert_int_equal(c.hash, memstream_fill_hash(3000000));
	RUN_UNTIL(r.loop, r.there[0]->ends == 1);
	assert_string_equal(r.there[0]->text, "hello");
	assert_int_equal(r.there[0]->errors, 0);
	hang_up(&c);
	room_close(&r);
}

/* What was sent before the sender's Close reaches the destination, then FIN;
 * the Close is answered. */
static void
test_original_sender_leaves(void **state)
{
	struct call how = {.login = "alice:wonder"};
	char query[64], *bytes = mem_zalloc(STREAM_HEADROOM + 50000);
	struct caller c;
	struct room r;

	(void)state;
	room_open(&r);
	room_open_agent(&r, NULL);
	query_to(&r, query);
	how.query = query;
	r.manner.echo = true;
	r.manner.stalls = true;
	call(&r, &c, &how);
	RUN_UNTIL(r.loop, c.n_texts == 1 && r.n_there == 1);
	memstream_fill(bytes + STREAM_HEADROOM, 50000, 0);
	ws_send_binary(c.ws, (uint8_t *)bytes + STREAM_HEADROOM, 50000);
	ws_shutdown(c.ws, WS_CODE_NORMAL, NULL);
	RUN_UNTIL(r.loop, c.close_code == 1000);
	party_read(r.there[0]);
	RUN_UNTIL(r.loop, r.there[0]->ends == 1);
	assert_int_equal(r.there[0]->hash, memstream_fill_hash(50000));
	free(bytes);
	hang_up(&c);
	room_close(&r);
}

/* An upstream that breaks is told as error, and the Close is an original's. */
static void
test_upstream_reset(void **state)
{
	struct call how = {.login = "alice:wonder"};
	char query[64], bytes[STREAM_HEADROOM + 1] = {0};
	struct caller c;
	struct room r;

	(void)state;
	room_open(&r);
	room_open_agent(&r, NULL);
	query_to(&r, query);
	how.query = query;
	r.manner.resets = true;
	for (int half = 0; half < 2; half++) {
		how.is_half = half == 1;
		call(&r, &c, &how);
		RUN_UNTIL(r.loop, c.n_texts == 1);
		assert_true((strstr(c.texts[0], "\"halfClose\":true") !=
		                NULL) == how.is_half);
		ws_send_binary(c.ws, (uint8_t *)bytes + STREAM_HEADROOM, 1);
		RUN_UNTIL(r.loop, c.close_code != 0);
		assert_int_equal(c.n_texts, 2);
		assert_non_null(strstr(c.texts[1], "\"status\":\"error\""));
		assert_int_equal(c.close_code, half ? 1011 : 1000);
		hang_up(&c);
	}
	room_close(&r);
}

/* A sender that breaks resets the destination. */
static void
test_sender_breaks(void **state)
{
	struct call how = {.login = "alice:wonder"};
	static const char error[] = "{\"status\":\"error\",\"details\":\"x\"}";
	char query[64];
	struct caller c;
	struct room r;

	(void)state;
	room_open(&r);
	room_open_agent(&r, NULL);
	query_to(&r, query);
	how.query = query;
	for (unsigned i = 0; i < 3; i++) {
		call(&r, &c, &how);
		RUN_UNTIL(r.loop, c.n_texts == 1 && r.n_there == i + 1);
		if (i == 1)
			ws_shutdown(c.ws, WS_CODE_GOING_AWAY, "bye");
		else if (i == 2)
			ws_send_text(c.ws, error, strlen(error));
		else
			hang_up(&c);
		RUN_UNTIL(r.loop, r.there[i]->errors + r.there[i]->ends == 1);
		assert_int_equal(r.there[i]->errors, 1);
		hang_up(&c);
	}
	room_close(&r);
}

static void
test_text_is_skipped(void **state)
{
	static const char *const texts[] = {
	    "{}", "rubbish", "", "{\"status\":\"ready\"}", "{\"status\":3}"};
	struct call how = {.login = "alice:wonder"};
	char query[64], bytes[STREAM_HEADROOM + 2] = {0};
	struct caller c;
	struct room r;

	(void)state;
	room_open(&r);
	room_open_agent(&r, NULL);
	query_to(&r, query);
	how.query = query;
	r.manner.echo = true;
	call(&r, &c, &how);
	RUN_UNTIL(r.loop, c.n_texts == 1);
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		ws_send_text(c.ws, texts[i], strlen(texts[i]));
	ws_send_binary(c.ws, (uint8_t *)bytes + STREAM_HEADROOM, 2);
	RUN_UNTIL(r.loop, c.bytes == 2);
	hang_up(&c);
	room_close(&r);
}

static void
test_login_check(void **state)
{
	struct call how = {
	    .query = "port=0&check=login", .login = "bob:wonder"};
	struct caller c;
	struct room r;

	(void)state;
	room_open(&r);
	room_open_agent(&r, NULL);
	call(&r, &c, &how);
	RUN_UNTIL(r.loop, c.close_code == 1000);
	assert_non_null(strstr(c.texts[0], "\"status\":\"ready\""));
	assert_non_null(strstr(c.texts[0], "authenticated"));
	hang_up(&c);
	how.login = "bob:wander";
	expect_refusal(&r, &how, 403, "user or password wrong");
	how.login = NULL;
	expect_refusal(&r, &how, 403, "user or password wrong");
	room_close(&r);
}

static void
test_anonymous_and_default(void **state)
{
	struct room r;
	struct agent_options o;
	struct call how = {0};
	struct caller c;
	char target[64];

	(void)state;
	room_open(&r);
	o = room_agent_options(&r);
	o.allow_anonymous = true;
	snprintf(target, sizeof(target), "127.0.0.1:%u", r.port);
	o.default_target = target;
	room_open_agent(&r, &o);
	call(&r, &c, &how);
	RUN_UNTIL(r.loop, r.n_there == 1 && c.n_texts == 1);
	hang_up(&c);
	how.login = "who:ever";
	call(&r, &c, &how);
	RUN_UNTIL(r.loop, r.n_there == 2 && c.n_texts == 1);
	hang_up(&c);
	room_close(&r);
}

static void
test_limits(void **state)
{
	struct call how = {.login = "alice:wonder"};
	struct agent_options o;
	struct agent_counts counts;
	struct caller c;
	char query[64];
	struct room r;
	struct err e;

	(void)state;
	room_open(&r);
	o = room_agent_options(&r);
	o.users = users_parse(room_users, strlen(room_users), "users", &e);
	o.connections_max = 1;
	room_open_agent(&r, &o);
	users_unref(o.users);
	query_to(&r, query);
	how.query = query;
	call(&r, &c, &how);
	RUN_UNTIL(r.loop, c.n_texts == 1);
	expect_refusal(&r, &how, 503, "listener busy");
	agent_counts(r.agent, &counts);
	assert_int_equal(counts.live, 1);
	assert_int_equal(counts.pending, 0);
	assert_int_equal(counts.refused, 1);
	hang_up(&c);
	RUN_UNTIL(r.loop, (agent_counts(r.agent, &counts), counts.live == 0));
	call(&r, &c, &how);
	RUN_UNTIL(r.loop, c.n_texts == 1);
	hang_up(&c);
	room_close(&r);
}

/* Only what the new rules forbid is ended. */
static void
test_reload(void **state)
{
	static const char only_bob[] = "user bob\nallow tcp 127.0.0.1 *\n";
	struct call alice = {.login = "alice:wonder"};
	struct call bob = {.login = "bob:wonder"};
	struct policy *policy;
	struct users *users;
	struct caller a, b;
	char query[64];
	struct room r;
	struct err e;

	(void)state;
	room_open(&r);
	room_open_agent(&r, NULL);
	query_to(&r, query);
	alice.query = bob.query = query;
	call(&r, &a, &alice);
	RUN_UNTIL(r.loop, a.n_texts == 1 && r.n_there == 1);
	call(&r, &b, &bob);
	RUN_UNTIL(r.loop, b.n_texts == 1 && r.n_there == 2);

	policy = policy_parse(only_bob, strlen(only_bob), "policy", &e);
	users = users_parse(room_users, strlen(room_users), "users", &e);
	assert_int_equal(agent_reload(r.agent, users, policy), 1);
	RUN_UNTIL(r.loop, r.there[0]->errors == 1 && a.close_code != 0);
	assert_int_equal(r.there[1]->errors + r.there[1]->ends, 0);
	hang_up(&a);
	expect_refusal(&r, &alice, 403, "policy: user alice");
	users_unref(users);

	users = users_parse("", 0, "users", &e);
	assert_int_equal(agent_reload(r.agent, users, policy), 1);
	RUN_UNTIL(r.loop, r.there[1]->errors == 1);
	expect_refusal(&r, &bob, 403, "user or password wrong");
	users_unref(users);
	policy_unref(policy);
	hang_up(&b);
	room_close(&r);
}

static void
test_drain(void **state)
{
	struct call how = {.login = "alice:wonder"};
	struct caller c;
	char query[64];
	struct room r;

	(void)state;
	room_open(&r);
	room_open_agent(&r, NULL);
	query_to(&r, query);
	how.query = query;
	call(&r, &c, &how);
	RUN_UNTIL(r.loop, c.n_texts == 1 && r.n_there == 1);
	agent_drain(r.agent);
	expect_refusal(&r, &how, 404, "no listener");
	assert_int_equal(r.draineds, 0);
	ws_shutdown(c.ws, WS_CODE_NORMAL, NULL);
	RUN_UNTIL(r.loop, r.there[0]->ends == 1);
	party_shutdown(r.there[0]);
	RUN_UNTIL(r.loop, r.draineds == 1);
	hang_up(&c);
	room_close(&r);
}

static void
test_options(void **state)
{
	struct agent_options o;
	struct room r;
	struct err e;

	(void)state;
	room_open(&r);
	o = room_agent_options(&r);
	assert_null(agent_open(r.loop, &o, NULL, NULL, &e));
	assert_int_equal(e.code, ERR_USAGE);
	o.allow_anonymous = true;
	o.default_target = "53/udp";
	assert_null(agent_open(r.loop, &o, NULL, NULL, &e));
	assert_int_equal(e.code, ERR_USAGE);
	o.default_target = "a b";
	assert_null(agent_open(r.loop, &o, NULL, NULL, &e));
	room_close(&r);
}

static void
test_wrong_key(void **state)
{
	struct agent_options o;
	struct room r;
	struct err e;

	(void)state;
	room_open(&r);
	assert_true(hc_target_set_key(&r.listen, "other", &e));
	o = room_agent_options(&r);
	o.allow_anonymous = true;
	room_open_agent(&r, &o);
	assert_int_equal(r.faileds, 1);
	assert_int_equal(r.err.code, ERR_AUTH);
	room_close(&r);
}

/* Closed in every turn of a connection's life, until it is served. */
static void
test_close_at_every_step(void **state)
{
	char query[64], login[64], field[128] = "Basic ";
	char name[] = "Authorization";
	struct http1_field fields[1] = {{name, field}};
	struct hc_sender_options o = {
	    .query = query, .fields = fields, .n_fields = 1};
	bool is_served = false;

	(void)state;
	text_base64_encode("alice:wonder", 12, login);
	strcat(field, login);
	for (unsigned turns = 0; !is_served; turns++) {
		struct caller c = {.hash = MEMSTREAM_HASH};
		struct room r;

		room_open(&r);
		room_open_agent(&r, NULL);
		query_to(&r, query);
		c.hc = hc_sender_open(
		    r.loop, r.dialer, &r.send, &o, &sender_events, &c);
		for (unsigned i = 0; i < turns && c.n_texts == 0; i++)
			loop_turn(r.loop, true);
		is_served = c.n_texts > 0;
		agent_close(r.agent);
		r.agent = NULL;
		hang_up(&c);
		room_close(&r);
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_refusals),
	    cmocka_unit_test(test_bypasses),
	    cmocka_unit_test(test_refused_destination),
	    cmocka_unit_test(test_original_sender),
	    cmocka_unit_test(test_original_sender_leaves),
	    cmocka_unit_test(test_upstream_reset),
	    cmocka_unit_test(test_sender_breaks),
	    cmocka_unit_test(test_text_is_skipped),
	    cmocka_unit_test(test_login_check),
	    cmocka_unit_test(test_anonymous_and_default),
	    cmocka_unit_test(test_limits),
	    cmocka_unit_test(test_reload),
	    cmocka_unit_test(test_drain),
	    cmocka_unit_test(test_options),
	    cmocka_unit_test(test_wrong_key),
	    cmocka_unit_test(test_close_at_every_step),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

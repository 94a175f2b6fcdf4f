/* SPDX-License-Identifier: MIT
 *
 * The control channel and its accepts against a relay that is driven by hand:
 * cases L1 to L9 and L17 to L22 of the specification. Waits are options, so all
 * of it takes milliseconds.
 */
#include "hc/hc_listener.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "fake_relay.h"
#include "hc/hc_accept.h"
#include "hc/hc_message.h"
#include "hc/hc_target.h"
#include "hc/hc_token.h"
#include "net/dial.h"
#include "net/http1.h"
#include "net/stream.h"
#include "util/buf.h"
#include "util/crypt.h"
#include "util/err.h"
#include "util/mem.h"
#include "util/text.h"
#include "ws/ws.h"

#define ACCEPTS 16
#define ID "f7e3a1b2-0000-4000-8000-1234567890ab"

static const uint64_t quick[] = {0, 5, 10, 20};

/* One accept in the test's hands, and the WebSocket made of it. */
struct hand {
	struct world *world;
	struct hc_accept *accept;
	struct ws *ws;
	struct stream *stream;
	int n_errors;
	int n_ends;
	size_t bytes;
	struct err err;
};

struct world {
	struct loop *loop;
	struct dialer *dialer;
	struct fake_relay relay;
	struct hc_target target;
	struct hc_listener *listener;
	struct hc_listener_options o;
	int n_online, n_offline, n_failed, n_closed;
	uint64_t waits[32];
	struct err err;
	struct hand hands[ACCEPTS];
	int n_accepts;
	bool close_on_online;
	bool close_on_accept;
};

static void
on_online(void *owner)
{
	struct world *w = owner;

	w->n_online++;
	if (w->close_on_online) {
		hc_listener_close(w->listener);
		w->listener = NULL;
	}
}

static void
on_offline(void *owner, const struct err *err, uint64_t retry_in_ms)
{
	struct world *w = owner;

	assert_true(w->n_offline < 32);
	w->waits[w->n_offline++] = retry_in_ms;
	w->err = *err;
}

static void
on_failed(void *owner, const struct err *err)
{
	struct world *w = owner;

	w->n_failed++;
	w->err = *err;
}

static void
on_accept(void *owner, struct hc_accept *a)
{
	struct world *w = owner;

	assert_true(w->n_accepts < ACCEPTS);
	w->hands[w->n_accepts].world = w;
	w->hands[w->n_accepts++].accept = a;
	if (w->close_on_accept) {
		hc_listener_close(w->listener);
		w->listener = NULL;
	}
}

static void
on_closed(void *owner)
{
	struct world *w = owner;

	w->n_closed++;
}

static const struct hc_listener_events listener_events = {
    .on_online = on_online,
    .on_offline = on_offline,
    .on_failed = on_failed,
    .on_accept = on_accept,
    .on_closed = on_closed,
};

static int
setup(void **state)
{
	static const struct dialer_options plain = {.proxy = ""};
	struct world *w = mem_zalloc(sizeof *w);
	struct err e;

	w->loop = loop_new(&e);
	w->dialer = dialer_new(w->loop, &plain, &e);
	assert_non_null(w->dialer);
	fake_relay_open(&w->relay, w->loop);
	w->target = (struct hc_target){
	    .host = mem_strdup("127.0.0.1"),
	    .port = w->relay.port,
	    .path = mem_strdup("p"),
	    .key_name = mem_strdup("rule"),
	    .key = mem_strdup("key"),
	};
	w->o.retry_ms = quick;
	w->o.n_retry = sizeof quick / sizeof quick[0];
	*state = w;
	return 0;
}

static void
listen_now(struct world *w)
{
	w->listener = hc_listener_open(
	    w->loop, w->dialer, &w->target, &w->o, &listener_events, w);
}

static struct fake_visit *
wait_visit(struct world *w, int number)
{
	FAKE_WAIT(w->loop, w->relay.n_visits > number);
	return w->relay.visits[number];
}

/* Listens and is online; the control channel is visit 0. */
static struct fake_visit *
go_online(struct world *w)
{
	struct fake_visit *v;

	listen_now(w);
	v = wait_visit(w, 0);
	fake_visit_accept(v, NULL);
	FAKE_WAIT(w->loop, w->n_online == 1);
	return v;
}

/* Ends everything: the loop must be dry then. */
static int
teardown(void **state)
{
	struct world *w = *state;
	bool is_dry;

	if (w->listener)
		hc_listener_close(w->listener);
	for (int i = 0; i < w->n_accepts; i++) {
		if (w->hands[i].accept)
			hc_accept_close(w->hands[i].accept);
		if (w->hands[i].stream)
			stream_close(w->hands[i].stream);
		else if (w->hands[i].ws)
			ws_close(w->hands[i].ws, true);
	}
	fake_relay_close(&w->relay);
	dialer_close(w->dialer);
	hc_target_fini(&w->target);
	is_dry = loop_close(w->loop);
	free(w);
	assert_true(is_dry);
	return 0;
}

/* Sends an accept that leads back to `port`. */
static void
send_accept(struct fake_visit *v, uint16_t port, const char *protocol)
{
	char address[256];
	struct http1_field fields[] = {
	    {(char *)"X-Custom", (char *)"v"},
	    {(char *)"Sec-WebSocket-Protocol", (char *)protocol},
	};
	const struct hc_message_accept m = {
	    .address = address,
	    .id = (char *)ID,
	    .fields = fields,
	    .n_fields = protocol ? 2 : 1,
	    .remote_address = (char *)"192.0.2.7",
	    .remote_port = 777,
	};
	struct buf b;
	char *text;

	snprintf(address, sizeof address,
	    "wss://127.0.0.1:%u/$hc/p/tunnel?port=22&host=a+b"
	    "&sb-hc-action=accept&sb-hc-id=" ID "&sb-hc-key=Zz",
	    port);
	buf_init(&b, HC_MESSAGE_MAX);
	assert_true(hc_message_build_accept(&b, &m, NULL));
	text = buf_take_text(&b);
	fake_visit_text(v, text);
	free(text);
}

static void
on_accept_open(void *owner, struct ws *ws)
{
	struct hand *h = owner;

	h->ws = ws;
	hc_accept_close(h->accept);
	h->accept = NULL;
}

static void
on_accept_error(void *owner, const struct err *err)
{
	struct hand *h = owner;

	h->n_errors++;
	h->err = *err;
	hc_accept_close(h->accept);
	h->accept = NULL;
}

static const struct hc_accept_events accept_events = {
    .on_open = on_accept_open,
    .on_error = on_accept_error,
};

static void
assert_token(const char *token)
{
	struct hc_token_demand d = {.key = "key",
	    .host = "127.0.0.1",
	    .path = "p",
	    .now_s = (int64_t)time(NULL)};
	struct hc_token t;

	assert_non_null(token);
	assert_true(hc_token_parse(&t, token, NULL));
	assert_string_equal(t.key_name, "rule");
	assert_int_equal(hc_token_judge(&t, &d, NULL), HC_TOKEN_GOOD);
	d.now_s += 3500;
	assert_int_equal(hc_token_judge(&t, &d, NULL), HC_TOKEN_GOOD);
	d.now_s += 200;
	assert_int_equal(hc_token_judge(&t, &d, NULL), HC_TOKEN_EXPIRED);
	hc_token_fini(&t);
}

static void
test_L1_open(void **state)
{
	struct world *w = *state;
	struct fake_visit *v;
	char host[64];
	char *id;

	listen_now(w);
	assert_int_equal(w->n_online, 0);
	v = wait_visit(w, 0);
	id = fake_visit_query(v, "sb-hc-id");
	assert_int_equal(strlen(id), 36);
	assert_true(crypt_is_uuid(id));
	free(id);
	assert_memory_equal(
	    v->target, "/$hc/p?sb-hc-action=listen&sb-hc-id=", 36);
	assert_token(fake_visit_field(v, "ServiceBusAuthorization"));
	snprintf(host, sizeof host, "127.0.0.1:%u", w->relay.port);
	assert_string_equal(fake_visit_field(v, "Host"), host);
	assert_null(fake_visit_field(v, "Sec-WebSocket-Extensions"));
	/* "listening" waits for the 101. */
	assert_int_equal(w->n_online, 0);
	assert_false(hc_listener_is_online(w->listener));
	fake_visit_accept(v, NULL);
	FAKE_WAIT(w->loop, w->n_online == 1);
	assert_true(hc_listener_is_online(w->listener));
}

static void
test_L2_first_open_refused(void **state)
{
	static const struct {
		int status;
		const char *reason;
		enum err_code code;
	} rows[] = {
	    {401, "token has an invalid signature", ERR_AUTH},
	    {403, "token lacks the right", ERR_DENIED},
	    {404, "Endpoint does not exist", ERR_NOT_FOUND},
	    {500, "oops", ERR_REFUSED},
	};
	struct world *w = *state;

	for (int i = 0; i < 4; i++) {
		listen_now(w);
		fake_visit_refuse(
		    wait_visit(w, i), rows[i].status, rows[i].reason, NULL);
		FAKE_WAIT(w->loop, w->n_failed == i + 1);
		assert_int_equal(w->err.code, rows[i].code);
		assert_int_equal(w->err.http_status, rows[i].status);
		assert_non_null(strstr(w->err.text, rows[i].reason));
		hc_listener_close(w->listener);
		w->listener = NULL;
	}
	assert_int_equal(w->n_offline, 0);
	assert_int_equal(w->relay.n_visits, 4);
}

/* The status of a 401 on a wrong clock names the clock. */
static void
test_L2_wrong_clock(void **state)
{
	struct http1_field date = {
	    (char *)"Date", (char *)"Sun, 06 Nov 1994 08:49:37 GMT"};
	struct world *w = *state;

	listen_now(w);
	fake_visit_refuse(wait_visit(w, 0), 401, "token is expired", &date);
	FAKE_WAIT(w->loop, w->n_failed == 1);
	assert_non_null(strstr(w->err.text, "ahead of the relay's"));
}

static void
test_L2_network_fault(void **state)
{
	struct world *w = *state;
	struct fake_relay gone;

	fake_relay_open(&gone, w->loop);
	w->target.port = gone.port;
	fake_relay_close(&gone);
	listen_now(w);
	FAKE_WAIT(w->loop, w->n_failed == 1);
	assert_int_equal(w->err.code, ERR_REFUSED);
	assert_int_equal(w->err.http_status, 0);
	hc_listener_close(w->listener);
	/* With retry_first it goes on. */
	w->o.retry_first = true;
	listen_now(w);
	FAKE_WAIT(w->loop, w->n_offline == 3);
	assert_int_equal(w->n_failed, 1);
	hc_listener_close(w->listener);
	w->target.port = w->relay.port;
	listen_now(w);
	fake_visit_refuse(wait_visit(w, 0), 503, "later", NULL);
	fake_visit_refuse(wait_visit(w, 1), 401, "token is expired", NULL);
	FAKE_WAIT(w->loop, w->n_failed == 2);
	assert_int_equal(w->n_offline, 4);
}

static bool
is_near(uint64_t wait_ms, uint64_t wanted_ms)
{
	return wait_ms >= wanted_ms && wait_ms <= wanted_ms + wanted_ms / 5;
}

static void
test_L3_reconnect(void **state)
{
	struct world *w = *state;
	struct fake_visit *v = go_online(w);
	char *first = fake_visit_query(v, "sb-hc-id");
	char *id;

	fake_visit_drop(v, true);
	/* The first comes back at once, then the waits grow. */
	for (int i = 1; i <= 5; i++)
		fake_visit_refuse(wait_visit(w, i), 503, "later", NULL);
	v = wait_visit(w, 6);
	assert_int_equal(w->n_offline, 6);
	assert_true(is_near(w->waits[0], 0));
	assert_true(is_near(w->waits[1], 5));
	assert_true(is_near(w->waits[2], 10));
	assert_true(is_near(w->waits[3], 20));
	assert_true(is_near(w->waits[4], 20));
	assert_true(is_near(w->waits[5], 20));
	id = fake_visit_query(v, "sb-hc-id");
	assert_string_equal(id, first);
	assert_token(fake_visit_field(v, "ServiceBusAuthorization"));
	free(id);
	free(first);
	assert_int_equal(w->n_failed, 0);
}

/* Success begins anew, once the channel has lived as long as the wait. */
static void
test_L3_reset_on_success(void **state)
{
	struct world *w = *state;
	struct fake_visit *v;
	uint64_t start;

	w->o.keepalive_ms = 5;
	v = go_online(w);
	fake_visit_drop(v, true);
	fake_visit_refuse(wait_visit(w, 1), 503, "later", NULL);
	fake_visit_refuse(wait_visit(w, 2), 503, "later", NULL);
	v = wait_visit(w, 3);
	fake_visit_accept(v, NULL);
	FAKE_WAIT(w->loop, w->n_online == 2);
	start = loop_now_ms(w->loop);
	/* The Pongs keep the loop turning. */
	FAKE_WAIT(w->loop, loop_now_ms(w->loop) - start > 25);
	fake_visit_drop(v, true);
	FAKE_WAIT(w->loop, w->n_offline == 4);
	assert_int_equal(w->waits[3], 0);
}

/* A relay that lets in and throws out at once must not be hammered. */
static void
test_L3_no_hot_loop(void **state)
{
	static const uint64_t waits[] = {0, 60000};
	struct world *w = *state;

	w->o.retry_ms = waits;
	w->o.n_retry = 2;
	fake_visit_close(go_online(w), 1011, "oops");
	fake_visit_accept(wait_visit(w, 1), NULL);
	FAKE_WAIT(w->loop, w->n_online == 2);
	fake_visit_close(w->relay.visits[1], 1011, "oops");
	FAKE_WAIT(w->loop, w->n_offline == 2);
	assert_true(is_near(w->waits[1], 60000));
}

static void
test_L4_gone_on_reconnect(void **state)
{
	struct world *w = *state;

	fake_visit_drop(go_online(w), false);
	/* 401 and 403 may heal, 404 does not. */
	fake_visit_refuse(wait_visit(w, 1), 401, "token is expired", NULL);
	fake_visit_refuse(wait_visit(w, 2), 403, "x", NULL);
	fake_visit_refuse(wait_visit(w, 3), 404, "gone", NULL);
	FAKE_WAIT(w->loop, w->n_failed == 1);
	assert_int_equal(w->err.code, ERR_NOT_FOUND);
	assert_int_equal(w->n_offline, 3);
}

static void
test_L4_spent_token(void **state)
{
	struct world *w = *state;

	free(w->target.key_name);
	mem_free_secret(w->target.key);
	w->target.key_name = w->target.key = NULL;
	w->target.token = hc_token_make(
	    "http://127.0.0.1/p/", "rule", "key", (int64_t)time(NULL) - 10);
	fake_visit_drop(go_online(w), true);
	fake_visit_refuse(wait_visit(w, 1), 401, "token is expired", NULL);
	FAKE_WAIT(w->loop, w->n_failed == 1);
	assert_int_equal(w->err.code, ERR_AUTH);
	assert_non_null(strstr(w->err.text, "ready-made token"));
}

static void
test_L5_other_host(void **state)
{
	struct world *w = *state;
	struct fake_visit *control = go_online(w);
	struct fake_relay other;
	struct hc_accept *a;

	fake_relay_open(&other, w->loop);
	send_accept(control, other.port, NULL);
	FAKE_WAIT(w->loop, w->n_accepts == 1);
	a = w->hands[0].accept;
	assert_string_equal(hc_accept_id(a), ID);
	assert_string_equal(hc_accept_suffix(a), "/tunnel");
	assert_string_equal(hc_accept_query(a, "port"), "22");
	assert_string_equal(hc_accept_query(a, "HOST"), "a b");
	assert_string_equal(hc_accept_query(a, "host"), "a b");
	assert_null(hc_accept_query(a, "x"));
	assert_string_equal(hc_accept_field(a, "x-custom"), "v");
	assert_null(hc_accept_field(a, "y"));
	assert_string_equal(hc_accept_remote_address(a), "192.0.2.7");
	assert_int_equal(hc_accept_remote_port(a), 777);
	hc_accept_open(a, NULL, &accept_events, &w->hands[0]);
	FAKE_WAIT(w->loop, other.n_visits == 1);
	assert_string_equal(other.visits[0]->target,
	    "/$hc/p/tunnel?port=22&host=a+b&sb-hc-action=accept&sb-hc-id=" ID
	    "&sb-hc-key=Zz");
	assert_null(
	    fake_visit_field(other.visits[0], "ServiceBusAuthorization"));
	assert_null(
	    fake_visit_field(other.visits[0], "Sec-WebSocket-Protocol"));
	fake_visit_accept(other.visits[0], NULL);
	FAKE_WAIT(w->loop, w->hands[0].ws);
	fake_relay_close(&other);
}

static void
test_L6_subprotocol(void **state)
{
	static const struct {
		const char *offered;
		const char *chosen;
		const char *requested;
	} rows[] = {
	    {"a, b", NULL, "a"},
	    {"a, b", "b", "b"},
	    {"a, b", "", NULL},
	    {NULL, NULL, NULL},
	};
	struct world *w = *state;
	struct fake_visit *control = go_online(w);

	for (int i = 0; i < 4; i++) {
		const struct hc_accept_options o = {.protocol = rows[i].chosen};
		struct fake_visit *v;
		const char *sent;

		send_accept(control, w->relay.port, rows[i].offered);
		FAKE_WAIT(w->loop, w->n_accepts == i + 1);
		assert_int_equal(
		    hc_accept_has_protocol(w->hands[i].accept, "b"),
		    rows[i].offered != NULL);
		hc_accept_open(
		    w->hands[i].accept, &o, &accept_events, &w->hands[i]);
		v = wait_visit(w, 1 + i);
		sent = fake_visit_field(v, "Sec-WebSocket-Protocol");
		if (rows[i].requested)
			assert_string_equal(sent, rows[i].requested);
		else
			assert_null(sent);
		fake_visit_accept(v, rows[i].requested);
		FAKE_WAIT(w->loop, w->hands[i].ws);
	}
}

static void
test_L7_many_at_once(void **state)
{
	struct world *w = *state;
	struct fake_visit *control = go_online(w);

	for (int i = 0; i < 10; i++)
		send_accept(control, w->relay.port, NULL);
	FAKE_WAIT(w->loop, w->n_accepts == 10);
	for (int i = 0; i < 10; i++)
		hc_accept_open(
		    w->hands[i].accept, NULL, &accept_events, &w->hands[i]);
	wait_visit(w, 10);
	/* None waits for another: the last is answered first. */
	for (int i = 10; i > 0; i--) {
		int joined = 0;

		fake_visit_accept(w->relay.visits[i], NULL);
		for (int h = 0; h < 10; h++)
			joined += w->hands[h].ws != NULL;
		assert_int_equal(joined, 10 - i);
		FAKE_WAIT(w->loop, ({
			int now = 0;
			for (int h = 0; h < 10; h++)
				now += w->hands[h].ws != NULL;
			now == 10 - i + 1;
		}));
	}
	/* The channel still reads. */
	send_accept(control, w->relay.port, NULL);
	FAKE_WAIT(w->loop, w->n_accepts == 11);
}

static void
test_L8_reject(void **state)
{
	struct world *w = *state;
	struct fake_visit *control = go_online(w);
	struct fake_visit *v;

	send_accept(control, w->relay.port, "a");
	FAKE_WAIT(w->loop, w->n_accepts == 1);
	hc_accept_reject(w->hands[0].accept, 401, "Status X");
	w->hands[0].accept = NULL;
	v = wait_visit(w, 1);
	assert_string_equal(v->target,
	    "/$hc/p/tunnel?port=22&host=a+b&sb-hc-action=accept&sb-hc-id=" ID
	    "&sb-hc-key=Zz&sb-hc-statusCode=401"
	    "&sb-hc-statusDescription=Status+X");
	assert_null(fake_visit_field(v, "ServiceBusAuthorization"));
	fake_visit_refuse(v, 410, NULL, NULL);
	/* Whatever else the relay does is as good: join, break. */
	for (int i = 1; i <= 2; i++) {
		send_accept(control, w->relay.port, NULL);
		FAKE_WAIT(w->loop, w->n_accepts == i + 1);
		hc_accept_reject(w->hands[i].accept, 1, NULL);
		w->hands[i].accept = NULL;
		v = wait_visit(w, i + 1);
		assert_non_null(strstr(v->target, "sb-hc-statusCode=400&"));
		if (i == 1) {
			fake_visit_accept(v, NULL);
			FAKE_WAIT(w->loop, v->ended || v->broken);
		} else {
			fake_visit_drop(v, true);
		}
	}
	/* One on its way when all ends is dropped by the teardown. */
	send_accept(control, w->relay.port, NULL);
	FAKE_WAIT(w->loop, w->n_accepts == 4);
	hc_accept_reject(w->hands[3].accept, 403, "no");
	w->hands[3].accept = NULL;
	assert_int_equal(w->n_offline, 0);
}

static void
test_L9_rendezvous_fails(void **state)
{
	struct world *w = *state;
	struct fake_visit *control;
	struct fake_relay gone;

	w->o.accept_timeout_ms = 30;
	control = go_online(w);
	fake_relay_open(&gone, w->loop);
	fake_relay_close(&gone);
	send_accept(control, w->relay.port, NULL); /* refused */
	send_accept(control, gone.port, NULL);     /* nobody there */
	send_accept(control, w->relay.port, NULL); /* silent */
	FAKE_WAIT(w->loop, w->n_accepts == 3);
	hc_accept_open(w->hands[0].accept, NULL, &accept_events, &w->hands[0]);
	fake_visit_refuse(wait_visit(w, 1), 403, "used", NULL);
	hc_accept_open(w->hands[1].accept, NULL, &accept_events, &w->hands[1]);
	hc_accept_open(w->hands[2].accept, NULL, &accept_events, &w->hands[2]);
	FAKE_WAIT(w->loop, w->hands[0].n_errors && w->hands[1].n_errors &&
	                       w->hands[2].n_errors);
	assert_int_equal(w->hands[0].err.http_status, 403);
	assert_int_equal(w->hands[1].err.code, ERR_REFUSED);
	assert_int_equal(w->hands[2].err.code, ERR_TIMEOUT);
	for (int i = 0; i < 3; i++)
		assert_memory_equal(
		    w->hands[i].err.text, "rendezvous at 127.0.0.1:", 24);
	send_accept(control, w->relay.port, NULL);
	FAKE_WAIT(w->loop, w->n_accepts == 4);
	assert_true(hc_listener_is_online(w->listener));
}

static void
test_L17_renewal(void **state)
{
	struct world *w = *state;
	struct fake_visit *control;
	struct hc_message m;
	struct err e;

	w->o.renew_ms = 5;
	control = go_online(w);
	FAKE_WAIT(w->loop, control->n_texts == 3);
	for (int i = 0; i < 3; i++) {
		assert_true(hc_message_parse(
		    &m, control->texts[i], strlen(control->texts[i]), &e));
		assert_int_equal(m.kind, HC_MESSAGE_RENEW_TOKEN);
		assert_token(m.renew_token.token);
		hc_message_fini(&m);
	}
	assert_int_equal(w->n_offline, 0);
	assert_int_equal(w->n_online, 1);
}

/* What was made elsewhere cannot be renewed. */
static void
test_L17_no_renewal_of_ready_made(void **state)
{
	struct world *w = *state;
	struct fake_visit *control;

	free(w->target.key_name);
	mem_free_secret(w->target.key);
	w->target.key_name = w->target.key = NULL;
	w->target.token = hc_token_make(
	    "http://127.0.0.1/p/", "rule", "key", (int64_t)time(NULL) + 99);
	w->o.renew_ms = 1;
	w->o.keepalive_ms = 10;
	control = go_online(w);
	assert_string_equal(
	    fake_visit_field(control, "ServiceBusAuthorization"),
	    w->target.token);
	FAKE_WAIT(w->loop, control->n_pongs == 3);
	assert_int_equal(control->n_texts, 0);
}

static void
test_L18_policy_close(void **state)
{
	struct world *w = *state;
	struct fake_visit *control = go_online(w);

	fake_visit_close(control, 1008, "token expired. TrackingId:x");
	FAKE_WAIT(w->loop, w->n_offline == 1);
	assert_int_equal(w->err.code, ERR_AUTH);
	assert_non_null(strstr(w->err.text, "token expired"));
	assert_token(
	    fake_visit_field(wait_visit(w, 1), "ServiceBusAuthorization"));
	fake_visit_accept(wait_visit(w, 1), NULL);
	FAKE_WAIT(w->loop, w->n_online == 2);
	FAKE_WAIT(w->loop, control->n_closes == 1);
	assert_int_equal(control->close_code, 1008);
}

static void
test_L19_tolerance(void **state)
{
	static const char *const odd[] = {"{\"new\":{}}", "{}", "x", "[]", "",
	    "{\"accept\":{}}", "{\"accept\":{\"address\":\"http://h/\"}}",
	    "{\"accept\":{\"address\":\"wss://a b/\"}}",
	    "{\"request\":{\"address\":\"wss://h/\",\"id\":\"1\"}}"};
	struct world *w = *state;
	struct fake_visit *control = go_online(w);
	struct hc_listener_stats stats;
	char text[128];
	char *longer;

	for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++)
		fake_visit_text(control, odd[i]);
	longer = mem_alloc(HC_MESSAGE_MAX + 1);
	memset(longer, ' ', HC_MESSAGE_MAX + 1);
	fake_visit_send(control, WS_TEXT, longer, HC_MESSAGE_MAX + 1);
	free(longer);
	fake_visit_send(control, WS_BINARY, "body", 4);
	fake_visit_send(control, WS_BINARY, "", 0);
	snprintf(text, sizeof text,
	    "{\"accept\":{\"address\":\"wss://127.0.0.1:%u/x\",\"z\":1}}",
	    w->relay.port);
	fake_visit_text(control, text);
	FAKE_WAIT(w->loop, w->n_accepts == 1);
	assert_string_equal(hc_accept_remote_address(w->hands[0].accept), "");
	assert_int_equal(w->n_offline, 0);
	hc_listener_get_stats(w->listener, &stats);
	assert_int_equal(stats.ignored, 10);
	assert_int_equal(stats.accepts, 1);
}

static void
test_L20_keepalive(void **state)
{
	struct world *w = *state;
	struct fake_visit *control;

	w->o.keepalive_ms = 5;
	control = go_online(w);
	FAKE_WAIT(w->loop, control->n_pongs == 3);
	assert_string_equal(control->last_pong, "");
	fake_visit_send(control, WS_PING, "hello", 5);
	FAKE_WAIT(w->loop,
	    strcmp(control->last_pong, "hello") == 0 || control->n_pongs > 50);
	assert_true(control->n_pongs <= 50);
	assert_int_equal(w->n_offline, 0);
}

static void
test_L20_silence(void **state)
{
	struct world *w = *state;

	w->o.silence_ms = 30;
	go_online(w);
	FAKE_WAIT(w->loop, w->n_offline == 1);
	assert_int_equal(w->err.code, ERR_TIMEOUT);
	fake_visit_accept(wait_visit(w, 1), NULL);
	FAKE_WAIT(w->loop, w->n_online == 2);
}

/* A relay that says something now and then is alive. */
static void
test_L20_pings_break_silence(void **state)
{
	struct world *w = *state;
	struct fake_visit *control;
	uint64_t start;

	w->o.silence_ms = 400;
	w->o.keepalive_ms = 10;
	control = go_online(w);
	start = loop_now_ms(w->loop);
	for (int n = 0; loop_now_ms(w->loop) - start < 1000; n++) {
		const int before = control->n_pongs;

		fake_visit_send(control, WS_PING, "x", 1);
		FAKE_WAIT(w->loop, control->n_pongs > before + 1);
	}
	assert_int_equal(w->n_offline, 0);
}

static void
on_stream_data(void *owner, uint8_t *data, size_t len)
{
	struct hand *h = owner;

	(void)data;
	h->bytes += len;
}

static void
on_stream_end(void *owner)
{
	struct hand *h = owner;

	h->n_ends++;
}

static void
on_stream_drain(void *owner)
{
	(void)owner;
}

static void
on_stream_error(void *owner, const struct err *err)
{
	struct hand *h = owner;

	h->n_errors++;
	h->err = *err;
}

static const struct stream_events stream_events = {
    .on_data = on_stream_data,
    .on_end = on_stream_end,
    .on_drain = on_stream_drain,
    .on_error = on_stream_error,
};

/* Accepts and joins number `i`; the rendezvous is visit `visit`. */
static struct fake_visit *
join(struct world *w, struct fake_visit *control, int i, int visit)
{
	struct hand *h = &w->hands[i];
	struct fake_visit *v;

	send_accept(control, w->relay.port, NULL);
	FAKE_WAIT(w->loop, w->n_accepts == i + 1);
	hc_accept_open(h->accept, NULL, &accept_events, h);
	v = wait_visit(w, visit);
	fake_visit_accept(v, NULL);
	FAKE_WAIT(w->loop, h->ws);
	h->stream = ws_stream(h->ws);
	stream_set_owner(h->stream, &stream_events, h);
	stream_start(h->stream);
	return v;
}

static void
test_L21_shutdown(void **state)
{
	struct world *w = *state;
	struct fake_visit *control = go_online(w);
	struct fake_visit *v = join(w, control, 0, 1);

	/* One accept is pending, one reject is on its way. */
	send_accept(control, w->relay.port, NULL);
	send_accept(control, w->relay.port, NULL);
	FAKE_WAIT(w->loop, w->n_accepts == 3);
	hc_accept_reject(w->hands[1].accept, 403, "no");
	w->hands[1].accept = NULL;
	hc_listener_shutdown(w->listener);
	hc_listener_shutdown(w->listener);
	FAKE_WAIT(w->loop, control->n_closes == 1);
	assert_int_equal(control->close_code, 1000);
	send_accept(control, w->relay.port, NULL); /* crossed it */
	fake_visit_close(control, 1000, "");
	wait_visit(w, 2);
	fake_visit_send(v, WS_BINARY, "abc", 3);
	FAKE_WAIT(w->loop, w->hands[0].bytes == 3);
	assert_int_equal(w->n_closed, 0); /* waits for the reject */
	fake_visit_refuse(w->relay.visits[2], 410, NULL, NULL);
	FAKE_WAIT(w->loop, w->n_closed == 1);
	assert_int_equal(w->n_accepts, 3);
	hc_listener_close(w->listener);
	w->listener = NULL;
	/* The joined stream lives without the listener; a reject now only
	 * closes. */
	fake_visit_send(v, WS_BINARY, "de", 2);
	FAKE_WAIT(w->loop, w->hands[0].bytes == 5);
	stream_put(w->hands[0].stream, "xyz", 3);
	FAKE_WAIT(w->loop, v->bytes == 3);
	hc_accept_reject(w->hands[2].accept, 403, "no");
	w->hands[2].accept = NULL;
	assert_int_equal(w->n_offline, 0);
	assert_int_equal(w->hands[0].n_errors, 0);
}

static void
test_L21_shutdown_without_echo(void **state)
{
	struct world *w = *state;

	w->o.close_timeout_ms = 10;
	go_online(w);
	hc_listener_shutdown(w->listener);
	FAKE_WAIT(w->loop, w->n_closed == 1);
}

static void
test_L21_shutdown_while_offline(void **state)
{
	struct world *w = *state;

	listen_now(w);
	hc_listener_shutdown(w->listener);
	assert_int_equal(w->n_closed, 0);
	FAKE_WAIT(w->loop, w->n_closed == 1);
	hc_listener_close(w->listener);
	/* While it waits to come back. */
	w->o.retry_ms = (const uint64_t[]){60000};
	w->o.n_retry = 1;
	listen_now(w);
	fake_visit_accept(wait_visit(w, 0), NULL);
	FAKE_WAIT(w->loop, w->n_online == 1);
	fake_visit_drop(w->relay.visits[0], true);
	FAKE_WAIT(w->loop, w->n_offline == 1);
	hc_listener_shutdown(w->listener);
	FAKE_WAIT(w->loop, w->n_closed == 2);
}

static void
test_L22_half_close(void **state)
{
	struct world *w = *state;
	struct fake_visit *v = join(w, go_online(w), 0, 1);
	struct hand *h = &w->hands[0];

	fake_visit_send(v, WS_BINARY, "abc", 3);
	fake_visit_close(v, 1000, "Shutdown");
	FAKE_WAIT(w->loop, h->n_ends == 1);
	assert_int_equal(h->bytes, 3);
	stream_put(h->stream, "answer", 6);
	FAKE_WAIT(w->loop, v->bytes == 6);
	assert_int_equal(v->n_closes, 0);
	stream_shutdown(h->stream);
	FAKE_WAIT(w->loop, v->n_closes == 1);
	assert_int_equal(v->close_code, 1000);
	assert_int_equal(h->n_ends, 1);
	assert_int_equal(h->n_errors, 0);
}

/* What the old channel still says when a new one is up disturbs nobody. */
static void
test_late_events_of_the_old_channel(void **state)
{
	struct world *w = *state;
	struct fake_visit *old = go_online(w);
	struct fake_visit *fresh;

	/* All of this may arrive in one read. */
	fake_visit_close(old, 1001, "bye");
	send_accept(old, w->relay.port, NULL);
	fake_visit_close(old, 1008, "again");
	fresh = wait_visit(w, 1);
	fake_visit_accept(fresh, NULL);
	FAKE_WAIT(w->loop, w->n_online == 2);
	fake_visit_drop(old, true);
	send_accept(fresh, w->relay.port, NULL);
	FAKE_WAIT(w->loop, w->n_accepts == 1);
	assert_int_equal(w->n_offline, 1);
	assert_true(hc_listener_is_online(w->listener));
}

/* Closing in each state leaves nothing behind (the teardown demands it). */
static void
test_close_at_every_step(void **state)
{
	struct world *w = *state;
	struct fake_visit *control;
	int n = 0;

	listen_now(w); /* dialling */
	hc_listener_close(w->listener);
	listen_now(w); /* handshake sent */
	control = wait_visit(w, n++);
	hc_listener_close(w->listener);
	w->close_on_online = true;
	listen_now(w);
	fake_visit_accept(wait_visit(w, n++), NULL);
	FAKE_WAIT(w->loop, w->n_online == 1);
	w->close_on_online = false;
	listen_now(w);
	control = wait_visit(w, n++);
	fake_visit_accept(control, NULL);
	w->close_on_accept = true;
	send_accept(control, w->relay.port, NULL);
	send_accept(control, w->relay.port, NULL);
	FAKE_WAIT(w->loop, w->n_accepts == 1);
	assert_null(w->listener);
	/* The accept outlives it, at each of its own steps. */
	hc_accept_open(w->hands[0].accept, NULL, &accept_events, &w->hands[0]);
	fake_visit_accept(wait_visit(w, n++), NULL);
	FAKE_WAIT(w->loop, w->hands[0].ws);
	w->close_on_accept = false;
	listen_now(w);
	control = wait_visit(w, n++);
	fake_visit_accept(control, NULL);
	for (int i = 1; i <= 3; i++)
		send_accept(control, w->relay.port, NULL);
	FAKE_WAIT(w->loop, w->n_accepts == 4);
	hc_accept_close(w->hands[1].accept);
	w->hands[1].accept = NULL;
	hc_accept_open(w->hands[2].accept, NULL, &accept_events, &w->hands[2]);
	wait_visit(w, n++);
	hc_accept_close(w->hands[2].accept);
	w->hands[2].accept = NULL;
	hc_accept_open(w->hands[3].accept, NULL, &accept_events, &w->hands[3]);
	hc_listener_shutdown(w->listener);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_L1_open),
	    TEST(test_L2_first_open_refused),
	    TEST(test_L2_wrong_clock),
	    TEST(test_L2_network_fault),
	    TEST(test_L3_reconnect),
	    TEST(test_L3_reset_on_success),
	    TEST(test_L3_no_hot_loop),
	    TEST(test_L4_gone_on_reconnect),
	    TEST(test_L4_spent_token),
	    TEST(test_L5_other_host),
	    TEST(test_L6_subprotocol),
	    TEST(test_L7_many_at_once),
	    TEST(test_L8_reject),
	    TEST(test_L9_rendezvous_fails),
	    TEST(test_L17_renewal),
	    TEST(test_L17_no_renewal_of_ready_made),
	    TEST(test_L18_policy_close),
	    TEST(test_L19_tolerance),
	    TEST(test_L20_keepalive),
	    TEST(test_L20_silence),
	    TEST(test_L20_pings_break_silence),
	    TEST(test_L21_shutdown),
	    TEST(test_L21_shutdown_without_echo),
	    TEST(test_L21_shutdown_while_offline),
	    TEST(test_L22_half_close),
	    TEST(test_late_events_of_the_old_channel),
	    TEST(test_close_at_every_step),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

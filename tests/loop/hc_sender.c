/* SPDX-License-Identifier: MIT
 *
 * Senders against a relay that is driven by hand: cases S1 to S13 of the
 * specification.
 */
#include "hc/hc_sender.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "fake_relay.h"
#include "hc/hc_target.h"
#include "hc/hc_token.h"
#include "net/dial.h"
#include "net/http1.h"
#include "net/stream.h"
#include "util/crypt.h"
#include "util/err.h"
#include "util/mem.h"
#include "ws/ws.h"

struct world {
	struct loop *loop;
	struct dialer *dialer;
	struct fake_relay relay;
	struct hc_target target;
	struct hc_sender *sender;
	struct ws *ws;
	struct stream *stream;
	int n_errors;
	int n_ends;
	size_t bytes;
	struct err err;
};

static void
on_open(void *owner, struct ws *ws)
{
	struct world *w = owner;

	w->ws = ws;
	hc_sender_close(w->sender);
	w->sender = NULL;
}

static void
on_error(void *owner, const struct err *err)
{
	struct world *w = owner;

	w->n_errors++;
	w->err = *err;
	hc_sender_close(w->sender);
	w->sender = NULL;
}

static const struct hc_sender_events sender_events = {
    .on_open = on_open,
    .on_error = on_error,
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
	*state = w;
	return 0;
}

static int
teardown(void **state)
{
	struct world *w = *state;
	bool is_dry;

	if (w->sender)
		hc_sender_close(w->sender);
	if (w->stream)
		stream_close(w->stream);
	else if (w->ws)
		ws_close(w->ws, true);
	fake_relay_close(&w->relay);
	dialer_close(w->dialer);
	hc_target_fini(&w->target);
	is_dry = loop_close(w->loop);
	free(w);
	assert_true(is_dry);
	return 0;
}

static void
send_now(struct world *w, const struct hc_sender_options *o)
{
	const int n = w->n_errors;

	w->sender = hc_sender_open(
	    w->loop, w->dialer, &w->target, o, &sender_events, w);
	assert_int_equal(w->n_errors, n);
}

static struct fake_visit *
wait_visit(struct world *w, int number)
{
	FAKE_WAIT(w->loop, w->relay.n_visits > number);
	return w->relay.visits[number];
}

static void
test_S1_connect(void **state)
{
	static const struct hc_sender_options o = {
	    .suffix = "tunnel",
	    .query = "?port=22&host=a%20b",
	};
	struct world *w = *state;
	struct hc_token_demand d = {.key = "key",
	    .host = "127.0.0.1",
	    .path = "p/tunnel",
	    .now_s = (int64_t)time(NULL) + 3500};
	struct fake_visit *v;
	struct hc_token t;
	char *id, *action;

	send_now(w, &o);
	v = wait_visit(w, 0);
	assert_memory_equal(v->target,
	    "/$hc/p/tunnel?port=22&host=a%20b&sb-hc-action=connect&sb-hc-id=",
	    63);
	id = fake_visit_query(v, "sb-hc-id");
	assert_int_equal(strlen(id), 36);
	assert_true(crypt_is_uuid(id));
	action = fake_visit_query(v, "sb-hc-action");
	assert_string_equal(action, "connect");
	free(id);
	free(action);
	assert_true(hc_token_parse(
	    &t, fake_visit_field(v, "ServiceBusAuthorization"), NULL));
	assert_int_equal(hc_token_judge(&t, &d, NULL), HC_TOKEN_GOOD);
	hc_token_fini(&t);
	assert_null(w->ws);
	fake_visit_accept(v, NULL);
	FAKE_WAIT(w->loop, w->ws);
	assert_int_equal(w->n_errors, 0);
}

static void
test_S2_anonymous(void **state)
{
	struct world *w = *state;
	struct fake_visit *v;

	free(w->target.key_name);
	mem_free_secret(w->target.key);
	w->target.key_name = w->target.key = NULL;
	send_now(w, NULL);
	v = wait_visit(w, 0);
	assert_null(fake_visit_field(v, "ServiceBusAuthorization"));
	assert_null(strstr(v->target, "sb-hc-token"));
	fake_visit_accept(v, NULL);
	FAKE_WAIT(w->loop, w->ws);
}

static void
test_S3_fields(void **state)
{
	struct http1_field fields[] = {
	    {(char *)"X-Custom", (char *)"v"},
	    {(char *)"Authorization", (char *)"Basic dTpw"},
	};
	const struct hc_sender_options good = {.fields = fields, .n_fields = 2};
	static const char *const bad[][2] = {{"X\r\nY", "v"}, {"X:", "v"},
	    {"", "v"}, {"X", "a\r\nY: b"}, {"X", "a\nb"}};
	struct world *w = *state;
	struct fake_visit *v;

	send_now(w, &good);
	v = wait_visit(w, 0);
	assert_string_equal(fake_visit_field(v, "X-Custom"), "v");
	assert_string_equal(fake_visit_field(v, "Authorization"), "Basic dTpw");
	fake_visit_accept(v, NULL);
	FAKE_WAIT(w->loop, w->ws);
	for (int i = 0; i < 5; i++) {
		fields[1].name = (char *)bad[i][0];
		fields[1].value = (char *)bad[i][1];
		send_now(w, &good);
		FAKE_WAIT(w->loop, w->n_errors == i + 1);
		assert_int_equal(w->err.code, ERR_USAGE);
	}
	assert_int_equal(w->relay.n_open, 1);
}

static void
refuse(struct world *w, int number, int status, const char *reason)
{
	send_now(w, NULL);
	fake_visit_refuse(wait_visit(w, number), status, reason, NULL);
	FAKE_WAIT(w->loop, w->n_errors == number + 1);
	assert_int_equal(w->err.http_status, status);
	if (reason)
		assert_non_null(strstr(w->err.text, reason));
}

static void
test_S4_unauthorised(void **state)
{
	struct http1_field date = {
	    (char *)"Date", (char *)"Sun, 06 Nov 1994 08:49:37 GMT"};
	struct world *w = *state;

	refuse(w, 0, 401, "token has an invalid signature");
	assert_int_equal(w->err.code, ERR_AUTH);
	assert_non_null(strstr(w->err.text, "check the key"));
	assert_null(strstr(w->err.text, "clock"));
	send_now(w, NULL);
	fake_visit_refuse(wait_visit(w, 1), 401, "token is expired", &date);
	FAKE_WAIT(w->loop, w->n_errors == 2);
	assert_non_null(strstr(w->err.text, "set the clock"));
	refuse(w, 2, 403, "token is for another audience");
	assert_int_equal(w->err.code, ERR_DENIED);
}

static void
test_S5_not_found(void **state)
{
	struct world *w = *state;

	refuse(w, 0, 404, "Endpoint does not exist");
	assert_int_equal(w->err.code, ERR_NOT_FOUND);
	assert_non_null(strstr(w->err.text, "check the namespace"));
	refuse(w, 1, 404, "no listener is connected");
	assert_int_equal(w->err.code, ERR_UNREACHABLE);
	assert_non_null(strstr(w->err.text, "start hyco listen"));
}

static void
test_S6_timeouts(void **state)
{
	static const struct hc_sender_options hasty = {.timeout_ms = 20};
	struct world *w = *state;

	refuse(w, 0, 504, NULL);
	assert_int_equal(w->err.code, ERR_TIMEOUT);
	refuse(w, 1, 408, NULL);
	assert_int_equal(w->err.code, ERR_TIMEOUT);
	send_now(w, &hasty);
	FAKE_WAIT(w->loop, w->n_errors == 3);
	assert_int_equal(w->err.code, ERR_TIMEOUT);
	assert_int_equal(w->err.http_status, 0);
	assert_non_null(strstr(w->err.text, "20 ms"));
	/* How far it came in that time is the machine's matter. */
	assert_true(strstr(w->err.text, "no connection within") ||
	            strstr(w->err.text, "no answer to the request within"));
}

static void
test_S7_listener_rejects(void **state)
{
	struct world *w = *state;

	refuse(w, 0, 401, "user unknown");
	assert_int_equal(w->err.code, ERR_AUTH);
	assert_memory_equal(w->err.text, "the listener", 12);
	refuse(w, 1, 403, "policy: 10.0.0.1:22 is not allowed");
	assert_int_equal(w->err.code, ERR_DENIED);
	refuse(w, 2, 502, "127.0.0.1:9 refused the connection");
	assert_int_equal(w->err.code, ERR_REFUSED);
	assert_memory_equal(w->err.text, "the listener", 12);
}

static void
test_S8_network_faults(void **state)
{
	struct world *w = *state;

	free(w->target.host);
	w->target.host = mem_strdup("no-such-relay.invalid");
	send_now(w, NULL);
	FAKE_WAIT(w->loop, w->n_errors == 1);
	assert_true(err_is_transient(w->err.code));
	assert_non_null(strstr(w->err.text, "no-such-relay.invalid"));
	assert_int_equal(w->err.http_status, 0);
	/* A relay that hangs up, and one that talks nonsense. */
	free(w->target.host);
	w->target.host = mem_strdup("127.0.0.1");
	send_now(w, NULL);
	fake_visit_drop(wait_visit(w, 0), true);
	FAKE_WAIT(w->loop, w->n_errors == 2);
	assert_int_equal(w->err.code, ERR_RESET);
	send_now(w, NULL);
	wait_visit(w, 1);
	stream_put(w->relay.visits[1]->s, "SSH-2.0-x\r\n\r\n", 13);
	FAKE_WAIT(w->loop, w->n_errors == 3);
	assert_int_equal(w->err.code, ERR_PROTOCOL);
	assert_int_equal(w->err.http_status, 0);
	assert_memory_equal(w->err.text, "relay 127.0.0.1:", 16);
}

static void
on_stream_data(void *owner, uint8_t *data, size_t len)
{
	struct world *w = owner;

	(void)data;
	w->bytes += len;
}

static void
on_stream_end(void *owner)
{
	struct world *w = owner;

	w->n_ends++;
}

static void
on_stream_drain(void *owner)
{
	(void)owner;
}

static void
on_stream_error(void *owner, const struct err *err)
{
	struct world *w = owner;

	w->n_errors++;
	w->err = *err;
}

static const struct stream_events stream_events = {
    .on_data = on_stream_data,
    .on_end = on_stream_end,
    .on_drain = on_stream_drain,
    .on_error = on_stream_error,
};

static struct fake_visit *
join(struct world *w)
{
	struct fake_visit *v;

	send_now(w, NULL);
	v = wait_visit(w, 0);
	fake_visit_accept(v, NULL);
	FAKE_WAIT(w->loop, w->ws);
	w->stream = ws_stream(w->ws);
	stream_set_owner(w->stream, &stream_events, w);
	stream_start(w->stream);
	return v;
}

static void
test_S9_orderly_end(void **state)
{
	struct world *w = *state;
	struct fake_visit *v = join(w);

	stream_put(w->stream, "request", 7);
	stream_shutdown(w->stream);
	FAKE_WAIT(w->loop, v->n_closes == 1);
	assert_int_equal(v->bytes, 7);
	assert_int_equal(v->close_code, 1000);
	assert_int_equal(w->n_ends, 0);
	fake_visit_send(v, WS_BINARY, "answer", 6);
	fake_visit_close(v, 1000, "NormalClosure");
	FAKE_WAIT(w->loop, w->n_ends == 1);
	assert_int_equal(w->bytes, 6);
	stream_close(w->stream);
	w->stream = NULL;
	w->ws = NULL;
	FAKE_WAIT(w->loop, v->ended || v->broken);
	assert_int_equal(v->n_closes, 1);
	assert_int_equal(w->n_errors, 0);
}

static void
test_S10_abort(void **state)
{
	struct world *w = *state;
	struct fake_visit *v = join(w);

	fake_visit_send(v, WS_BINARY, "abc", 3);
	FAKE_WAIT(w->loop, w->bytes == 3);
	fake_visit_drop(v, true);
	FAKE_WAIT(w->loop, w->n_errors == 1);
	assert_int_equal(w->err.code, ERR_RESET);
	assert_int_equal(w->n_ends, 0);
}

/* A TCP end without Close is no end either. */
static void
test_S10_end_without_close(void **state)
{
	struct world *w = *state;

	fake_visit_drop(join(w), false);
	FAKE_WAIT(w->loop, w->n_errors == 1);
	assert_int_equal(w->n_ends, 0);
}

static void
test_S11_S12_frames(void **state)
{
	enum { SIZE = 200000 };
	struct world *w = *state;
	struct fake_visit *v = join(w);
	uint8_t *data = mem_alloc(SIZE);
	uint8_t sum = 0;

	for (size_t i = 0; i < SIZE; i++) {
		data[i] = (uint8_t)(i * 7 + i / 256);
		sum ^= data[i];
	}
	stream_put(w->stream, data, SIZE);
	stream_put(w->stream, "x", 1);
	stream_shutdown(w->stream);
	FAKE_WAIT(w->loop, v->n_closes == 1);
	assert_int_equal(v->bytes, SIZE + 1);
	assert_int_equal(v->sum, sum ^ 'x');
	assert_true(v->largest <= 65536);
	assert_int_equal(v->n_empty, 0);
	free(data);
}

static void
test_S13_subprotocol(void **state)
{
	static const struct hc_sender_options o = {.protocol = "p1"};
	struct world *w = *state;
	struct fake_visit *v;

	send_now(w, &o);
	v = wait_visit(w, 0);
	assert_string_equal(
	    fake_visit_field(v, "Sec-WebSocket-Protocol"), "p1");
	fake_visit_accept(v, NULL);
	FAKE_WAIT(w->loop, w->n_errors == 1);
	assert_int_equal(w->err.code, ERR_PROTOCOL);
	send_now(w, &o);
	fake_visit_accept(wait_visit(w, 1), "p1");
	FAKE_WAIT(w->loop, w->ws);
	assert_int_equal(w->n_errors, 1);
}

static void
test_close_at_every_step(void **state)
{
	struct http1_field bad = {(char *)"X", (char *)"\n"};
	const struct hc_sender_options o = {.fields = &bad, .n_fields = 1};
	struct world *w = *state;

	send_now(w, &o); /* refused, not yet told */
	hc_sender_close(w->sender);
	send_now(w, NULL); /* dialling */
	hc_sender_close(w->sender);
	send_now(w, NULL); /* handshake sent */
	wait_visit(w, 0);
	hc_sender_close(w->sender);
	w->sender = NULL;
	FAKE_WAIT(
	    w->loop, w->relay.visits[0]->ended || w->relay.visits[0]->broken);
	assert_int_equal(w->n_errors, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_S1_connect),
	    TEST(test_S2_anonymous),
	    TEST(test_S3_fields),
	    TEST(test_S4_unauthorised),
	    TEST(test_S5_not_found),
	    TEST(test_S6_timeouts),
	    TEST(test_S7_listener_rejects),
	    TEST(test_S8_network_faults),
	    TEST(test_S9_orderly_end),
	    TEST(test_S10_abort),
	    TEST(test_S10_end_without_close),
	    TEST(test_S11_S12_frames),
	    TEST(test_S13_subprotocol),
	    TEST(test_close_at_every_step),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

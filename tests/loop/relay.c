/* SPDX-License-Identifier: MIT
 *
 * The relay on a real loop, met by scripted clients over loopback TCP. The
 * names of the tests tell the conformance case (specification 7.1). The
 * clients live on the same loop, so a test waits for what it wants to see by
 * turning the loop; one guard timer ends a wait that is in vain.
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "hc/hc_message.h"
#include "hc/hc_token.h"
#include "net/addr.h"
#include "net/http1.h"
#include "net/loop.h"
#include "relay/relay.h"
#include "util/err.h"
#include "util/log.h"
#include "util/mem.h"
#include "util/text.h"
#include "ws/ws_frame.h"

#define GUARD_MS 20000
#define NS "relay.test"
#define KEY "c29tZUJhc2U2NEtleQ=="
#define ID1 "11111111-1111-4111-8111-111111111111"
#define ID2 "22222222-2222-4222-8222-222222222222"
#define ID3 "33333333-3333-4333-8333-333333333333"
#define ID_NONE "44444444-4444-4444-8444-444444444444"

/* --- the relay and its clients --- */

struct fixture {
	struct loop *loop;
	struct relay *relay;
	struct relay_config config;
	struct timer guard;
	bool is_late;
	struct list clients;
	unsigned listeners; /* as told last */
};

struct client {
	struct list link;
	struct fixture *f;
	int fd;
	struct watch *watch;
	uint8_t *in;
	size_t in_at;
	size_t in_len;
	uint8_t *out;
	size_t out_at;
	size_t out_len;
	bool is_paused;
	bool is_ended; /* FIN */
	bool is_reset; /* RST */
};

static const struct relay_rule ns_rules[] = {
    {"listen", KEY, RELAY_LISTEN},
    {"send", KEY, RELAY_SEND},
    {"manage", KEY, RELAY_MANAGE},
};
static const struct relay_rule own_rules[] = {
    {"own", "another key", RELAY_LISTEN | RELAY_SEND},
};
static const char *const aliases[] = {"127.0.0.1", "::1"};

static const struct relay_hybrid_connection paths[] = {
    {"p", true, 25, false, own_rules, 1},
    {"p2", true, 25, false, NULL, 0},
    {"anonymous", false, 25, false, NULL, 0},
    {"p/deep/er", true, 25, false, NULL, 0},
    {"sample", true, 25, true, NULL, 0},
};
static const struct relay_namespace namespaces[] = {
    {NS, aliases, 2, paths, 5, ns_rules, 3},
};
/* Without p. */
static const struct relay_namespace fewer_namespaces[] = {
    {NS, aliases, 2, paths + 1, 4, ns_rules, 3},
};

static void
on_guard(void *owner)
{
	struct fixture *f = owner;

	f->is_late = true;
}

static void
on_listeners(void *owner, const char *namespace_name, const char *path,
    unsigned listeners)
{
	struct fixture *f = owner;

	assert_string_equal(namespace_name, NS);
	assert_non_null(path);
	f->listeners = listeners;
}

static const struct relay_events relay_events = {.on_listeners = on_listeners};

static void
start(struct fixture *f)
{
	struct addr a;
	struct err e;

	assert_true(addr_parse(&a, "127.0.0.1:0", 0, &e));
	f->relay =
	    relay_open(f->loop, &f->config, NULL, &a, &relay_events, f, &e);
	assert_non_null(f->relay);
}

static int
setup(void **state)
{
	struct fixture *f = mem_zalloc(sizeof *f);
	struct err e;

	log_set_level(LOG_ERROR);
	f->loop = loop_new(&e);
	assert_non_null(f->loop);
	list_init(&f->clients);
	timer_init(&f->guard, f->loop, on_guard, f);
	timer_set(&f->guard, GUARD_MS);
	relay_config_init(&f->config);
	f->config.namespaces = namespaces;
	f->config.n_namespaces = 1;
	f->config.limits.brake_first_ms = 0;
	*state = f;
	return 0;
}

static void
flush_clients(struct fixture *f)
{
	struct list *at;

	LIST_EACH (at, &f->clients) {
		struct client *c = LIST_OF(at, struct client, link);
		ssize_t n;

		if (c->out_at == c->out_len)
			continue;
		n = send(c->fd, c->out + c->out_at, c->out_len - c->out_at,
		    MSG_NOSIGNAL);
		if (n > 0)
			c->out_at += (size_t)n;
		else if (errno != EAGAIN)
			c->out_at = c->out_len;
	}
}

static void
turn(struct fixture *f)
{
	flush_clients(f);
	loop_turn(f->loop, true);
}

#define WAIT(f, condition)                                                     \
	do {                                                                   \
		while (!(condition)) {                                         \
			if ((f)->is_late)                                      \
				fail_msg("in vain: %s", #condition);           \
			turn(f);                                               \
		}                                                              \
	} while (0)

/* Lets some loop time pass in which nothing is expected. */
static void
on_pass(void *owner)
{
	*(bool *)owner = true;
}

static void
pass(struct fixture *f, uint64_t ms)
{
	struct timer t;
	bool is_due = false;

	timer_init(&t, f->loop, on_pass, &is_due);
	timer_set(&t, ms);
	WAIT(f, is_due);
}

/* Until there is no more: the watch does not fire again after an error. */
static void
on_readable(void *owner)
{
	struct client *c = owner;
	uint8_t data[16384];
	ssize_t n;

	while ((n = recv(c->fd, data, sizeof data, 0)) > 0) {
		c->in = mem_grow(c->in, c->in_len + (size_t)n);
		memcpy(c->in + c->in_len, data, (size_t)n);
		c->in_len += (size_t)n;
	}
	if (n < 0 && errno == EAGAIN)
		return;
	c->is_ended = n == 0;
	c->is_reset = n < 0;
	watch_set_active(c->watch, false);
}

/* Small buffers, so that a test of pressure needs little to fill them. */
static struct client *
client_open(struct fixture *f)
{
	const int size = 64 * 1024;
	struct client *c = mem_zalloc(sizeof *c);
	struct err e;

	c->f = f;
	c->fd = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
	setsockopt(c->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
	assert_int_equal(
	    connect(c->fd, (const struct sockaddr *)&relay_addr(f->relay)->sa,
	        relay_addr(f->relay)->len),
	    0);
	fcntl(c->fd, F_SETFL, O_NONBLOCK);
	c->watch = watch_open(f->loop, c->fd, on_readable, c, &e);
	assert_non_null(c->watch);
	list_init(&c->link);
	list_append(&f->clients, &c->link);
	return c;
}

static void
client_close(struct client *c)
{
	list_remove(&c->link);
	watch_close(c->watch);
	close(c->fd);
	free(c->in);
	free(c->out);
	free(c);
}

static void
client_abort(struct client *c)
{
	const struct linger now = {.l_onoff = 1};

	setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
	client_close(c);
}

static void
client_pause(struct client *c, bool is_paused)
{
	watch_set_active(c->watch, !is_paused);
}

static int
teardown(void **state)
{
	struct fixture *f = *state;
	struct list *at, *after;

	if (f->relay)
		relay_close(f->relay);
	LIST_EACH_SAFE (at, after, &f->clients)
		client_close(LIST_OF(at, struct client, link));
	timer_clear(&f->guard);
	assert_true(loop_close(f->loop));
	free(f);
	return 0;
}

static void
put(struct client *c, const void *data, size_t len)
{
	c->out = mem_grow(c->out, c->out_len + len);
	memcpy(c->out + c->out_len, data, len);
	c->out_len += len;
	flush_clients(c->f);
}

static void
put_text(struct client *c, const char *text)
{
	put(c, text, strlen(text));
}

static void
take(struct client *c, size_t n)
{
	c->in_at += n;
}

static size_t
have(const struct client *c)
{
	return c->in_len - c->in_at;
}

/* --- HTTP --- */

/* Waits for a head and takes it: the text is static. */
static const char *
head(struct client *c)
{
	static char text[20000];
	const uint8_t *end = NULL;
	size_t n;

	WAIT(c->f, (have(c) > 0 && (end = memmem(c->in + c->in_at, have(c),
	                                "\r\n\r\n", 4))) ||
	               c->is_ended || c->is_reset);
	if (!end)
		fail_msg("the connection ended without an answer");
	n = (size_t)(end - (c->in + c->in_at)) + 4;
	assert_true(n < sizeof text);
	memcpy(text, c->in + c->in_at, n);
	text[n] = '\0';
	take(c, n);
	return text;
}

static int
status_of(const char *text)
{
	assert_memory_equal(text, "HTTP/1.1 ", 9);
	return atoi(text + 9);
}

/* The token field of a request: made with key name, key and audience. */
static char *
make_token(
    const char *audience, const char *name, const char *key, int64_t in_s)
{
	return hc_token_make(audience, name, key, (int64_t)time(NULL) + in_s);
}

static struct client *
request(struct fixture *f, const char *target, const char *fields)
{
	struct client *c = client_open(f);
	char *text =
	    mem_printf("GET %s HTTP/1.1\r\n"
	               "Host: " NS ":%u\r\n"
	               "Connection: Upgrade\r\n"
	               "Upgrade: websocket\r\n"
	               "Sec-WebSocket-Version: 13\r\n"
	               "Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA==\r\n"
	               "%s\r\n",
	        target, addr_port(relay_addr(f->relay)), fields);

	put_text(c, text);
	free(text);
	return c;
}

static char *
token_field(const char *name)
{
	char *token = make_token("http://" NS "/", name, KEY, 60);
	char *field = mem_printf("ServiceBusAuthorization: %s\r\n", token);

	free(token);
	return field;
}

static struct client *
request_as(
    struct fixture *f, const char *name, const char *target, const char *fields)
{
	char *field = token_field(name);
	char *all = mem_printf("%s%s", field, fields);
	struct client *c = request(f, target, all);

	free(field);
	free(all);
	return c;
}

/* With a token of this audience for the path p. */
static int
listen_status(struct fixture *f, const char *audience)
{
	char *token = make_token(audience, "listen", KEY, 60);
	char *field = mem_printf("ServiceBusAuthorization: %s\r\n", token);
	struct client *c = request(f, "/$hc/p?sb-hc-action=listen", field);
	int status = status_of(head(c));

	free(token);
	free(field);
	client_close(c);
	return status;
}

static struct client *
listen_as(struct fixture *f, const char *path, const char *id)
{
	char *target = mem_printf("/$hc/%s?sb-hc-action=listen%s%s", path,
	    id ? "&sb-hc-id=" : "", id ? id : "");
	struct client *c = request_as(f, "listen", target, "");

	free(target);
	assert_int_equal(status_of(head(c)), 101);
	return c;
}

static struct client *
connect_to(struct fixture *f, const char *target)
{
	return request_as(f, "send", target, "");
}

#define CONNECT "/$hc/p?sb-hc-action=connect"
#define LISTEN "/$hc/p?sb-hc-action=listen"

static uint64_t
counter(struct fixture *f, size_t offset)
{
	struct relay_counters counters;

	relay_get_counters(f->relay, &counters);
	return *(
	    const uint64_t *)(const void *)((const char *)&counters + offset);
}
#define COUNTER(f, name) counter(f, offsetof(struct relay_counters, name))

/* --- frames --- */

struct frame {
	int opcode;
	bool fin;
	const uint8_t *data;
	size_t len;
};

static bool
peek_frame(struct client *c, struct frame *fr, size_t *size)
{
	const uint8_t *p = c->in + c->in_at;
	size_t n = have(c);
	size_t head_len = 2;

	if (n < 2)
		return false;
	assert_int_equal(p[1] & 0x80, 0);
	fr->opcode = p[0] & 0x0f;
	assert_int_equal(p[0] & 0x70, 0);
	fr->fin = p[0] & 0x80;
	fr->len = p[1];
	if (p[1] == 126) {
		head_len = 4;
		if (n < 4)
			return false;
		fr->len = (size_t)p[2] << 8 | p[3];
	} else if (p[1] == 127) {
		head_len = 10;
		if (n < 10)
			return false;
		fr->len = 0;
		for (size_t i = 2; i < 10; i++)
			fr->len = fr->len << 8 | p[i];
	}
	if (n < head_len + fr->len)
		return false;
	fr->data = p + head_len;
	*size = head_len + fr->len;
	return true;
}

/* Waits for the next frame; its data is good until the next wait. */
static struct frame
next_frame(struct client *c)
{
	struct frame fr;
	size_t size = 0;

	WAIT(c->f, peek_frame(c, &fr, &size) || c->is_ended || c->is_reset);
	if (!peek_frame(c, &fr, &size))
		fail_msg("the connection ended without a frame");
	take(c, size);
	return fr;
}

static bool
has_frame(struct client *c)
{
	struct frame fr;
	size_t size;

	return peek_frame(c, &fr, &size);
}

static void
put_frame(struct client *c, int opcode, bool fin, const void *data, size_t len)
{
	static const uint8_t mask[4] = {0x12, 0x34, 0x56, 0x78};
	uint8_t *out = mem_alloc(len + WS_FRAME_HEAD_MAX);
	size_t n = ws_frame_build(out, (enum ws_opcode)opcode, fin, len, mask);

	ws_frame_mask(out + n, data, len, mask, 0);
	put(c, out, n + len);
	free(out);
}

static void
put_close(struct client *c, int code, const char *reason)
{
	uint8_t payload[WS_CONTROL_MAX];

	put_frame(c, WS_CLOSE, true, payload,
	    ws_frame_build_close(payload, code, reason));
}

static void
expect_close(struct client *c, int code, const char *reason)
{
	struct frame fr = next_frame(c);
	char text[124];
	int got;

	while (fr.opcode == WS_PING)
		fr = next_frame(c);
	assert_int_equal(fr.opcode, WS_CLOSE);
	assert_true(ws_frame_parse_close(fr.data, fr.len, &got, text));
	assert_int_equal(got, code);
	if (reason)
		assert_non_null(strstr(text, reason));
}

static void
expect_binary(struct client *c, const char *text)
{
	struct frame fr = next_frame(c);

	assert_int_equal(fr.opcode, WS_BINARY);
	assert_true(fr.fin);
	assert_int_equal(fr.len, strlen(text));
	assert_memory_equal(fr.data, text, fr.len);
}

static void
say(struct client *c, const char *text)
{
	put_frame(c, WS_BINARY, true, text, strlen(text));
}

/* Payload by position, so that a shift shows. */
static uint8_t *
make_payload(size_t len)
{
	uint8_t *data = mem_alloc(len);

	for (size_t i = 0; i < len; i++)
		data[i] = (uint8_t)(i * 7 + i / 251);
	return data;
}

/* Reads frames until a whole message has come, compares, counts frames. */
static size_t
expect_message(struct client *c, int opcode, const uint8_t *data, size_t len)
{
	size_t at = 0;
	size_t frames = 0;

	for (;;) {
		struct frame fr = next_frame(c);

		assert_int_equal(
		    fr.opcode, frames == 0 ? opcode : WS_CONTINUATION);
		assert_true(fr.len <= WS_FRAME_MAX);
		assert_true(fr.len > 0 || len == 0);
		assert_true(fr.len <= len - at);
		assert_memory_equal(fr.data, data + at, fr.len);
		at += fr.len;
		frames++;
		if (fr.fin)
			break;
	}
	assert_int_equal(at, len);
	return frames;
}

/* --- joining --- */

static struct hc_message
next_accept(struct client *listener)
{
	struct frame fr = next_frame(listener);
	struct hc_message m;
	struct err e;

	assert_int_equal(fr.opcode, WS_TEXT);
	assert_true(fr.fin);
	if (!hc_message_parse(&m, fr.data, fr.len, &e))
		fail_msg("%s", e.text);
	assert_int_equal(m.kind, HC_MESSAGE_ACCEPT);
	return m;
}

/* The target in an address. */
static const char *
target_of(const char *address)
{
	const char *at = strstr(address, "://");

	assert_non_null(at);
	return strchr(at + 3, '/');
}

static char *
next_target(struct client *listener)
{
	struct hc_message m = next_accept(listener);
	char *target = mem_strdup(target_of(m.accept.address));

	hc_message_fini(&m);
	return target;
}

static const char *
field_of(const struct hc_message *m, const char *name)
{
	for (size_t i = 0; i < m->accept.n_fields; i++) {
		if (strcmp(m->accept.fields[i].name, name) == 0)
			return m->accept.fields[i].value;
	}
	return NULL;
}

/* Answers the next accept; both have their 101 behind them. */
static struct client *
accept_next(struct client *listener, struct client *sender)
{
	char *target = next_target(listener);
	struct client *c = request(listener->f, target, "");

	free(target);
	assert_int_equal(status_of(head(c)), 101);
	if (sender)
		assert_int_equal(status_of(head(sender)), 101);
	return c;
}

struct joined {
	struct client *control;
	struct client *sender;
	struct client *listener;
};

static struct joined
join(struct fixture *f)
{
	struct joined j;

	j.control = listen_as(f, "p", NULL);
	j.sender = connect_to(f, CONNECT);
	j.listener = accept_next(j.control, j.sender);
	return j;
}

/* --- listening, tokens --- */

static void
r01_listen_with_header(void **state)
{
	struct fixture *f = *state;
	struct client *c;
	const char *text;

	start(f);
	c = request_as(f, "listen", LISTEN, "");
	text = head(c);
	assert_int_equal(status_of(text), 101);
	assert_null(strstr(text, "Content-"));
	assert_null(strstr(text, "Extensions"));
	assert_non_null(strstr(text, "\r\nConnection: Upgrade\r\n"));
	assert_int_equal(COUNTER(f, listeners), 1);
	assert_int_equal(f->listeners, 1);
	assert_int_equal(COUNTER(f, half_open), 0);
}

static void
with_query_token(struct fixture *f, const char *name, const char *action,
    const char *space, struct client **out)
{
	char *token = make_token("http://" NS "/p/", name, KEY, 60);
	char *blank = strchr(token, ' ');
	char *target;

	*blank = '\0';
	target = mem_alloc(4096);
	snprintf(target, 4096, "/$hc/p?sb-hc-action=%s&sb-hc-token=%s%s",
	    action, token, space);
	/* The rest percent-encoded, as a query item must be. */
	for (const char *at = blank + 1; *at; at++) {
		size_t n = strlen(target);

		if (strchr("=&%", *at))
			snprintf(target + n, 4096 - n, "%%%02X",
			    (unsigned)(unsigned char)*at);
		else
			snprintf(target + n, 4096 - n, "%c", *at);
	}
	*out = request(f, target, "");
	free(token);
	free(target);
}

static void
r02_listen_with_query_token(void **state)
{
	struct fixture *f = *state;
	struct client *c;

	start(f);
	with_query_token(f, "listen", "listen", "%20", &c);
	assert_int_equal(status_of(head(c)), 101);
}

static void
r03_connect_with_plus_token(void **state)
{
	struct fixture *f = *state;
	struct client *control, *sender;
	struct hc_message m;

	start(f);
	control = listen_as(f, "p", NULL);
	with_query_token(f, "send", "connect", "+", &sender);
	m = next_accept(control);
	assert_null(strstr(m.accept.address, "sb-hc-token"));
	client_close(request(f, target_of(m.accept.address), ""));
	hc_message_fini(&m);
	assert_int_equal(status_of(head(sender)), 101);
}

static void
r04_audience_of_node(void **state)
{
	start(*state);
	assert_int_equal(listen_status(*state, "http://" NS ":443/p"), 101);
}

static void
r05_audience_of_dotnet(void **state)
{
	start(*state);
	assert_int_equal(listen_status(*state, "http://" NS "/p/"), 101);
}

static void
r06_audience_of_java_sender(void **state)
{
	start(*state);
	assert_int_equal(listen_status(*state, "sb://" NS), 101);
}

static void
r07_audience_longer_than_the_entity(void **state)
{
	struct fixture *f = *state;
	struct client *control;
	char *token = make_token("https://" NS "/p/extra?x=1", "send", KEY, 60);
	char *field = mem_printf("ServiceBusAuthorization: %s\r\n", token);

	start(f);
	control = listen_as(f, "p", NULL);
	request(f, "/$hc/p/extra?x=1", field);
	free(next_target(control));
	/* But it does not cover the entity itself. */
	assert_int_equal(status_of(head(request(f, CONNECT, field))), 403);
	free(token);
	free(field);
}

static void
r08_audience_in_lower_case_hex(void **state)
{
	struct fixture *f = *state;
	/* Signed over the lower-case text: hex decides, not the meaning. */
	const char *sr = "http%3a%2f%2frelay.test%2fp%2f";
	uint8_t mac[CRYPT_SHA256_SIZE];
	char sig[64];
	char *expiry = mem_printf("%lld", (long long)time(NULL) + 60);
	char *text = mem_printf("%s\n%s", sr, expiry);
	char *field;

	start(f);
	crypt_hmac_sha256(KEY, strlen(KEY), text, strlen(text), mac);
	text_base64_encode(mac, sizeof mac, sig);
	/* Base64 signs that a form field cannot hold are encoded by hand. */
	field = mem_alloc(1024);
	snprintf(field, 1024,
	    "ServiceBusAuthorization: SharedAccessSignature sr=%s&sig=", sr);
	for (const char *at = sig; *at; at++) {
		size_t n = strlen(field);

		snprintf(field + n, 1024 - n,
		    strchr("+/=", *at) ? "%%%02x" : "%c", *at);
	}
	snprintf(field + strlen(field), 1024 - strlen(field),
	    "&se=%s&skn=listen\r\n", expiry);
	assert_int_equal(status_of(head(request(f, LISTEN, field))), 101);
	free(field);
	free(text);
	free(expiry);
}

static void
r09_audience_of_another_entity(void **state)
{
	start(*state);
	assert_int_equal(listen_status(*state, "http://" NS "/p2"), 403);
	assert_int_equal(listen_status(*state, "http://" NS "/pp"), 403);
	assert_int_equal(listen_status(*state, "http://other.test/p"), 403);
	/* An alias is the namespace itself. */
	assert_int_equal(listen_status(*state, "http://127.0.0.1/p"), 101);
}

static void
r10_changed_signature(void **state)
{
	struct fixture *f = *state;
	char *field = token_field("listen");
	char *sig = strstr(field, "&sig=") + 5;
	const char *text;

	start(f);
	*sig = *sig == 'A' ? 'B' : 'A';
	text = head(request(f, LISTEN, field));
	assert_int_equal(status_of(text), 401);
	assert_non_null(strstr(text, "token has an invalid signature"));
	assert_non_null(strstr(text, "sb://" NS "/p,"));
	assert_non_null(strstr(text, "TrackingId:"));
	assert_non_null(strstr(text, "_G0, SystemTracker:"));
	assert_non_null(strstr(text, "Timestamp:"));
	assert_non_null(strstr(text, "\r\nDate: "));
	assert_non_null(strstr(text, "\r\nConnection: close\r\n"));
	assert_non_null(strstr(text, "\r\nContent-Length: "));
	assert_null(strstr(text, "Via"));
	free(field);
}

static void
r11_no_token(void **state)
{
	struct fixture *f = *state;
	const char *text;

	start(f);
	text = head(request(f, CONNECT, ""));
	assert_int_equal(status_of(text), 401);
	assert_non_null(strstr(text, "token"));
	assert_int_equal(status_of(head(request(f, LISTEN, ""))), 401);
}

static void
r12_listen_with_send_right(void **state)
{
	struct fixture *f = *state;

	start(f);
	assert_int_equal(
	    status_of(head(request_as(f, "send", LISTEN, ""))), 403);
	assert_int_equal(
	    status_of(head(request_as(f, "manage", LISTEN, ""))), 101);
}

static void
r13_connect_with_listen_right(void **state)
{
	struct fixture *f = *state;

	start(f);
	listen_as(f, "p", NULL);
	assert_int_equal(
	    status_of(head(request_as(f, "listen", CONNECT, ""))), 403);
}

static void
r14_key_taken_as_base64(void **state)
{
	struct fixture *f = *state;
	char *token =
	    make_token("http://" NS "/", "listen", "someBase64Key", 60);
	char *field = mem_printf("ServiceBusAuthorization: %s\r\n", token);

	start(f);
	assert_int_equal(status_of(head(request(f, LISTEN, field))), 401);
	free(token);
	free(field);
}

static void
r14b_unknown_rule_and_expired(void **state)
{
	struct fixture *f = *state;
	char *token = make_token("http://" NS "/", "listen", KEY, -10);
	char *field = mem_printf("ServiceBusAuthorization: %s\r\n", token);
	const char *text;

	start(f);
	text = head(request(f, LISTEN, field));
	assert_int_equal(status_of(text), 401);
	assert_non_null(strstr(text, "token is expired"));
	text = head(request_as(f, "stranger", LISTEN, ""));
	assert_int_equal(status_of(text), 401);
	assert_non_null(strstr(text, "no such rule"));
	text = head(request(f, LISTEN, "ServiceBusAuthorization: a.b.c\r\n"));
	assert_int_equal(status_of(text), 401);
	free(token);
	free(field);
}

static void
r15_unknown_entity(void **state)
{
	struct fixture *f = *state;
	const char *text;

	start(f);
	text =
	    head(request_as(f, "send", "/$hc/nobody?sb-hc-action=connect", ""));
	assert_int_equal(status_of(text), 404);
	assert_non_null(strstr(text, "Endpoint does not exist"));
	assert_non_null(strstr(text, "nobody"));
	text = head(
	    request_as(f, "listen", "/$hc/nobody?sb-hc-action=listen", ""));
	assert_int_equal(status_of(text), 404);
	assert_non_null(strstr(text, "Endpoint does not exist"));
	/* A listener names the entity itself, nothing behind it. */
	text =
	    head(request_as(f, "listen", "/$hc/p/x?sb-hc-action=listen", ""));
	assert_int_equal(status_of(text), 404);
	text = head(request_as(f, "listen", "/$hc/p/?sb-hc-action=listen", ""));
	assert_int_equal(status_of(text), 101);
}

static void
r16_anonymous_sender(void **state)
{
	struct fixture *f = *state;
	struct client *control, *sender;

	start(f);
	control = listen_as(f, "anonymous", NULL);
	sender = request(f, "/$hc/anonymous?sb-hc-action=connect", "");
	accept_next(control, sender);
}

static void
r17_anonymous_listener(void **state)
{
	struct fixture *f = *state;

	start(f);
	assert_int_equal(status_of(head(request(
	                     f, "/$hc/anonymous?sb-hc-action=listen", ""))),
	    401);
}

/* --- accept messages --- */

static void
r18_no_action(void **state)
{
	struct fixture *f = *state;
	struct client *control;

	start(f);
	control = listen_as(f, "p", NULL);
	accept_next(control, connect_to(f, "/$hc/p"));
	assert_int_equal(
	    status_of(head(connect_to(f, "/$hc/p?sb-hc-action=other"))), 400);
}

static void
r19_suffix_and_query(void **state)
{
	struct fixture *f = *state;
	struct client *control;
	char *target;

	start(f);
	control = listen_as(f, "p", NULL);
	connect_to(f, "/$hc/p/suf%20fix?a=1&b=2&sb-hc-action=connect");
	target = next_target(control);
	assert_memory_equal(target,
	    "/$hc/p/suf%20fix?a=1&b=2&sb-hc-action="
	    "accept&sb-hc-id=",
	    53);
	free(target);
	/* The longest path wins, whatever its case. */
	control = listen_as(f, "p/deep/er", NULL);
	connect_to(f, "/$hc/P/Deep/ER/x");
	target = next_target(control);
	assert_memory_equal(target, "/$hc/P/Deep/ER/x?", 17);
	free(target);
}

static void
r20_accept_message(void **state)
{
	struct fixture *f = *state;
	struct client *control;
	struct hc_message m;
	char want[64];

	start(f);
	control = listen_as(f, "p", NULL);
	connect_to(f, "/$hc/p?sb-hc-action=connect&sb-hc-id=" ID1 "_G3");
	m = next_accept(control);
	snprintf(want, sizeof want, "ws://" NS ":%u/$hc/p?",
	    addr_port(relay_addr(f->relay)));
	assert_memory_equal(m.accept.address, want, strlen(want));
	assert_string_equal(m.accept.id, ID1);
	assert_non_null(strstr(m.accept.address, "sb-hc-id=" ID1 "&"));
	assert_non_null(field_of(&m, "Sec-WebSocket-Key"));
	assert_string_equal(field_of(&m, "Sec-WebSocket-Version"), "13");
	assert_non_null(field_of(&m, "Host"));
	assert_string_equal(m.accept.remote_address, "127.0.0.1");
	assert_int_not_equal(m.accept.remote_port, 0);
	hc_message_fini(&m);
	/* An id that is none is not passed on. */
	connect_to(f, "/$hc/p?sb-hc-id=abc");
	m = next_accept(control);
	assert_int_equal(strlen(m.accept.id), 36);
	hc_message_fini(&m);
}

static void
r21_headers(void **state)
{
	struct fixture *f = *state;
	struct client *control;
	struct hc_message m;

	start(f);
	control = listen_as(f, "p", NULL);
	request_as(
	    f, "send", CONNECT, "X-Custom: v\r\nX-Two: a\r\nX-Two: b\r\n");
	m = next_accept(control);
	assert_string_equal(field_of(&m, "X-Custom"), "v");
	assert_string_equal(field_of(&m, "X-Two"), "a, b");
	assert_null(field_of(&m, "ServiceBusAuthorization"));
	hc_message_fini(&m);
}

static void
r22_join(void **state)
{
	struct fixture *f = *state;
	struct joined j;
	struct client *control, *sender;

	start(f);
	/* No 101 for the sender before the listener is there. */
	control = listen_as(f, "p", NULL);
	sender = connect_to(f, CONNECT);
	WAIT(f, has_frame(control));
	pass(f, 20);
	assert_int_equal(have(sender), 0);
	j.sender = sender;
	j.listener = accept_next(control, sender);
	say(j.sender, "hello");
	expect_binary(j.listener, "hello");
	say(j.listener, "world");
	expect_binary(j.sender, "world");
	put_frame(j.sender, WS_TEXT, true, "text", 4);
	assert_int_equal(next_frame(j.listener).opcode, WS_TEXT);
	/* An empty message that was meant is passed on. */
	put_frame(j.sender, WS_BINARY, true, "", 0);
	expect_binary(j.listener, "");
	assert_int_equal(COUNTER(f, joined), 1);
	assert_int_equal(COUNTER(f, bytes_to_listeners), 9);
	assert_int_equal(COUNTER(f, bytes_to_senders), 5);
}

static void
r22b_early_bytes(void **state)
{
	struct fixture *f = *state;
	struct client *control, *sender, *listener;
	char *target;
	uint8_t *data = make_payload(300000);

	start(f);
	control = listen_as(f, "p", NULL);
	/* Both speak before they were answered, the sender a lot. */
	sender = connect_to(f, CONNECT);
	say(sender, "early");
	put_frame(sender, WS_BINARY, true, data, 300000);
	target = next_target(control);
	pass(f, 30);
	listener = request(f, target, "");
	say(listener, "first");
	assert_int_equal(status_of(head(listener)), 101);
	assert_int_equal(status_of(head(sender)), 101);
	expect_binary(sender, "first");
	expect_binary(listener, "early");
	expect_message(listener, WS_BINARY, data, 300000);
	free(target);
	free(data);
}

static void
r23_one_use(void **state)
{
	struct fixture *f = *state;
	struct client *control;
	char *target;

	start(f);
	control = listen_as(f, "p", NULL);
	connect_to(f, CONNECT);
	target = next_target(control);
	assert_int_equal(status_of(head(request(f, target, ""))), 101);
	assert_int_equal(status_of(head(request(f, target, ""))), 403);
	free(target);
	assert_int_equal(
	    status_of(head(request(f, "/$hc/p?sb-hc-action=accept", ""))), 403);
}

static void
r24_no_accept_in_time(void **state)
{
	struct fixture *f = *state;
	struct client *control, *sender;
	char *target;

	f->config.limits.accept_ms = 30;
	start(f);
	control = listen_as(f, "p", NULL);
	sender = connect_to(f, CONNECT);
	target = next_target(control);
	assert_int_equal(status_of(head(sender)), 504);
	assert_int_equal(status_of(head(request(f, target, ""))), 403);
	assert_int_equal(COUNTER(f, waiting), 0);
	assert_int_equal(COUNTER(f, timeouts), 1);
	free(target);
}

static void
r24b_sender_leaves(void **state)
{
	struct fixture *f = *state;
	struct client *control, *sender;
	char *target;

	start(f);
	control = listen_as(f, "p", NULL);
	sender = connect_to(f, CONNECT);
	target = next_target(control);
	client_close(sender);
	WAIT(f, COUNTER(f, waiting) == 0);
	assert_int_equal(status_of(head(request(f, target, ""))), 403);
	free(target);
}

static void
r25_no_listener(void **state)
{
	struct fixture *f = *state;
	const char *text;

	start(f);
	text = head(connect_to(f, CONNECT));
	assert_int_equal(status_of(text), 404);
	assert_non_null(strstr(text, "no listeners"));
	assert_null(strstr(text, "does not exist"));
}

static void
protocols(struct fixture *f, const char *offered, const char *asked,
    const char *to_sender, const char *to_listener)
{
	struct client *control = listen_as(f, "p", NULL);
	struct client *sender = request_as(f, "send", CONNECT, offered);
	char *target = next_target(control);
	struct client *listener = request(f, target, asked);

	if (to_sender)
		assert_non_null(strstr(head(sender), to_sender));
	else
		assert_null(strstr(head(sender), "-Protocol"));
	if (to_listener)
		assert_non_null(strstr(head(listener), to_listener));
	else
		assert_null(strstr(head(listener), "-Protocol"));
	free(target);
	client_close(control);
	WAIT(f, COUNTER(f, listeners) == 0);
}

#define PROTOCOL "Sec-WebSocket-Protocol: "

static void
r26_subprotocol(void **state)
{
	start(*state);
	protocols(*state, PROTOCOL "p1, p2\r\n", PROTOCOL "p1\r\n",
	    PROTOCOL "p1\r\n", PROTOCOL "p1\r\n");
	protocols(*state, PROTOCOL "p1\r\n" PROTOCOL "P2\r\n",
	    PROTOCOL "p2, p1\r\n", PROTOCOL "P2\r\n", PROTOCOL "p2\r\n");
	/* Never one that was not offered. */
	protocols(*state, PROTOCOL "p1\r\n", PROTOCOL "p3\r\n", NULL, NULL);
	protocols(*state, "", PROTOCOL "p1\r\n", NULL, NULL);
}

static void
r27_listener_without_subprotocol(void **state)
{
	start(*state);
	protocols(*state, PROTOCOL "p1\r\n", "", NULL, NULL);
}

static void
r28_no_extensions(void **state)
{
	struct fixture *f = *state;
	static const char extension[] =
	    "Sec-WebSocket-Extensions: permessage-deflate\r\n";
	struct client *control, *sender, *listener;
	char *target;

	start(f);
	control = request_as(f, "listen", LISTEN, extension);
	assert_null(strstr(head(control), "Extensions"));
	sender = request_as(f, "send", CONNECT, extension);
	target = next_target(control);
	listener = request(
	    f, target, "0: Sec-WebSocket-Extensions: permessage-deflate\r\n");
	assert_null(strstr(head(sender), "Extensions"));
	assert_null(strstr(head(listener), "Extensions"));
	free(target);
}

/* --- reject --- */

static void
rejected(struct fixture *f, const char *items, int status, const char *text)
{
	struct client *control = listen_as(f, "p", NULL);
	struct client *sender = connect_to(f, CONNECT);
	char *target = next_target(control);
	char *refusal = mem_printf("%s&%s", target, items);
	const char *answer;
	char want[300];

	assert_int_equal(status_of(head(request(f, refusal, ""))), 410);
	answer = head(sender);
	snprintf(want, sizeof want, "HTTP/1.1 %d %s\r\n", status, text);
	assert_memory_equal(answer, want, strlen(want));
	assert_int_equal(status_of(head(request(f, target, ""))), 403);
	free(target);
	free(refusal);
	client_close(control);
	WAIT(f, COUNTER(f, listeners) == 0);
}

static void
r29_reject(void **state)
{
	start(*state);
	rejected(*state,
	    "sb-hc-statusCode=401&sb-hc-statusDescription=Status+X", 401,
	    "Status X");
}

static void
r30_reject_in_short_spelling(void **state)
{
	start(*state);
	rejected(
	    *state, "statusCode=403&statusDescription=No%20way", 403, "No way");
}

static void
r31_reject_default_and_nonsense(void **state)
{
	start(*state);
	rejected(*state,
	    "sb-hc-statusCode=400&sb-hc-statusDescription=Rejected+by+user+"
	    "code",
	    400, "Rejected by user code");
	rejected(
	    *state, "sb-hc-statusCode=101&sb-hc-statusDescription=x", 400, "x");
	rejected(*state,
	    "sb-hc-statusCode=450&sb-hc-statusDescription=a%0D%0AX:%20b", 450,
	    "a  X: b");
}

/* --- frames --- */

static void
r32_long_frame_is_split(void **state)
{
	struct fixture *f = *state;
	struct joined j;
	uint8_t *data = make_payload(65537);

	start(f);
	j = join(f);
	put_frame(j.sender, WS_BINARY, true, data, 65537);
	assert_true(expect_message(j.listener, WS_BINARY, data, 65537) >= 2);
	free(data);
}

static void
r33_mebibyte_each_way(void **state)
{
	struct fixture *f = *state;
	const size_t len = 1024 * 1024;
	struct joined j;
	uint8_t *data = make_payload(len);

	start(f);
	j = join(f);
	put_frame(j.sender, WS_BINARY, true, data, len);
	for (size_t at = 0; at < len; at += 16384)
		put_frame(j.listener, at ? WS_CONTINUATION : WS_BINARY,
		    at + 16384 == len, data + at, 16384);
	expect_message(j.listener, WS_BINARY, data, len);
	expect_message(j.sender, WS_BINARY, data, len);
	free(data);
}

static void
r34_text_message(void **state)
{
	struct fixture *f = *state;
	struct joined j;
	char *text = mem_alloc(65536);

	start(f);
	memset(text, 'a', 65536);
	j = join(f);
	put_frame(j.sender, WS_TEXT, true, text, 65536);
	expect_message(j.listener, WS_TEXT, (const uint8_t *)text, 65536);
	free(text);
}

static void
r35_close_with_reason(void **state)
{
	struct fixture *f = *state;
	struct joined j;

	start(f);
	j = join(f);
	put_close(j.sender, 1001, "From Test Code");
	expect_close(j.listener, 1001, "From Test Code");
	/* The relay does not answer by itself. */
	pass(f, 20);
	assert_int_equal(have(j.sender), 0);
	put_close(j.listener, 1000, "");
	expect_close(j.sender, 1000, "");
	/* It ends TCP first. */
	WAIT(f, j.sender->is_ended && j.listener->is_ended);
	client_close(j.sender);
	client_close(j.listener);
	WAIT(f, COUNTER(f, joined) == 0);
	assert_int_equal(COUNTER(f, aborted), 0);
}

static void
r35b_close_without_code(void **state)
{
	struct fixture *f = *state;
	struct joined j;
	struct frame fr;

	start(f);
	j = join(f);
	put_frame(j.listener, WS_CLOSE, true, "", 0);
	fr = next_frame(j.sender);
	assert_int_equal(fr.opcode, WS_CLOSE);
	assert_int_equal(fr.len, 0);
}

static void
r36_half_close(void **state)
{
	struct fixture *f = *state;
	const size_t len = 1024 * 1024;
	uint8_t *data = make_payload(len);

	start(f);
	for (int i = 0; i < 2; i++) {
		struct joined j = join(f);
		struct client *a = i ? j.sender : j.listener;
		struct client *b = i ? j.listener : j.sender;

		put_close(a, 1000, "Shutdown");
		expect_close(b, 1000, "Shutdown");
		put_frame(b, WS_BINARY, true, data, len);
		put_close(b, 1000, "done");
		expect_message(a, WS_BINARY, data, len);
		expect_close(a, 1000, "done");
		client_close(j.control);
		WAIT(f, COUNTER(f, listeners) == 0);
	}
	free(data);
}

static void
r37_shutdown_and_dispose(void **state)
{
	struct fixture *f = *state;
	struct joined j;

	start(f);
	j = join(f);
	put_close(j.sender, 1000, "Shutdown");
	expect_close(j.listener, 1000, "Shutdown");
	/* The listener shuts down and leaves without waiting. */
	put_close(j.listener, 1000, "Shutdown");
	client_close(j.listener);
	expect_close(j.sender, 1000, "Shutdown");
	WAIT(f, j.sender->is_ended);
	assert_false(j.sender->is_reset);
	/* One that leaves right after its Close lets the other answer. */
	client_close(j.control);
	WAIT(f, COUNTER(f, listeners) == 0);
	j = join(f);
	put_close(j.sender, 1000, "bye");
	flush_clients(f);
	client_close(j.sender);
	expect_close(j.listener, 1000, "bye");
	put_close(j.listener, 1000, "bye");
	WAIT(f, j.listener->is_ended);
	assert_false(j.listener->is_reset);
}

static void
r38_abort(void **state)
{
	struct fixture *f = *state;

	start(f);
	for (int i = 0; i < 4; i++) {
		struct joined j = join(f);
		struct client *a = i & 1 ? j.sender : j.listener;
		struct client *b = i & 1 ? j.listener : j.sender;

		/* By RST, and by FIN without Close: both break it. */
		if (i & 2)
			client_abort(a);
		else
			client_close(a);
		WAIT(f, b->is_ended || b->is_reset);
		assert_true(b->is_reset);
		assert_int_equal(have(b), 0);
		client_close(j.control);
		WAIT(f, COUNTER(f, listeners) == 0);
	}
	assert_int_equal(COUNTER(f, aborted), 4);
	assert_int_equal(COUNTER(f, joined), 0);
}

static void
r38b_broken_protocol(void **state)
{
	struct fixture *f = *state;
	static const struct {
		uint8_t bytes[8];
		size_t len;
		int code;
	} table[] = {
	    {{0x82, 0x01, 'x'}, 3, 1002},             /* unmasked */
	    {{0xc2, 0x81, 0, 0, 0, 0, 'x'}, 7, 1002}, /* RSV1 */
	    {{0x83, 0x81, 0, 0, 0, 0, 'x'}, 7, 1002}, /* opcode 3 */
	    {{0x80, 0x81, 0, 0, 0, 0, 'x'}, 7, 1002}, /* no message */
	    {{0x88, 0x81, 0, 0, 0, 0, 'x'}, 7, 1002}, /* half a code */
	};

	start(f);
	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
		struct joined j = join(f);

		put(j.sender, table[i].bytes, table[i].len);
		expect_close(j.sender, table[i].code, NULL);
		WAIT(f, j.listener->is_reset);
		client_close(j.control);
		client_close(j.sender);
		WAIT(f, COUNTER(f, listeners) + COUNTER(f, joined) == 0);
	}
}

static void
r39_close_is_quick(void **state)
{
	struct fixture *f = *state;
	struct joined j;

	/* Far below any timer of the relay: it cannot have waited for one. */
	start(f);
	j = join(f);
	put_close(j.listener, 1000, "a");
	expect_close(j.sender, 1000, "a");
	put_close(j.sender, 1000, "a");
	expect_close(j.listener, 1000, "a");
	WAIT(f, j.sender->is_ended && j.listener->is_ended);
}

static void
r40_no_empty_last_frame(void **state)
{
	struct fixture *f = *state;
	struct joined j;

	start(f);
	j = join(f);
	put_frame(j.listener, WS_BINARY, false, "data", 4);
	pass(f, 10);
	put_frame(j.listener, WS_CONTINUATION, true, "", 0);
	expect_message(j.sender, WS_BINARY, (const uint8_t *)"data", 4);
	/* Closed in the middle of a message: all of it came before. */
	put_frame(j.listener, WS_BINARY, false, "tail", 4);
	put_close(j.listener, 1000, "");
	for (size_t got = 0; got < 4;) {
		struct frame fr = next_frame(j.sender);

		assert_memory_equal(fr.data, &"tail"[got], fr.len);
		assert_true(fr.len > 0 && !fr.fin);
		got += fr.len;
	}
	expect_close(j.sender, 1000, "");
}

static void
r41_control_lost_while_joined(void **state)
{
	struct fixture *f = *state;
	struct joined j;

	start(f);
	j = join(f);
	client_abort(j.control);
	WAIT(f, COUNTER(f, listeners) == 0);
	say(j.sender, "still");
	expect_binary(j.listener, "still");
}

#define MANY 100

static void
r42_hundred_senders(void **state)
{
	struct fixture *f = *state;
	struct client *control;
	struct client *senders[MANY];
	struct client *listeners[MANY];

	start(f);
	control = listen_as(f, "p", NULL);
	for (int i = 0; i < MANY; i++) {
		char *target = mem_printf("/$hc/p?n=%03d", i);

		senders[i] = connect_to(f, target);
		free(target);
	}
	for (int i = 0; i < MANY; i++) {
		char *target = next_target(control);

		listeners[atoi(strstr(target, "?n=") + 3)] =
		    request(f, target, "");
		free(target);
	}
	for (int i = 0; i < MANY; i++) {
		char text[16];

		snprintf(text, sizeof text, "echo %d", i);
		assert_int_equal(status_of(head(senders[i])), 101);
		assert_int_equal(status_of(head(listeners[i])), 101);
		say(senders[i], text);
		expect_binary(listeners[i], text);
		say(listeners[i], text);
		expect_binary(senders[i], text);
	}
	assert_int_equal(COUNTER(f, joined), MANY);
}

/* --- several listeners --- */

static void
r43_two_listeners(void **state)
{
	struct fixture *f = *state;
	struct client *a, *b;
	int at_a = 0;
	int at_b = 0;

	start(f);
	a = listen_as(f, "p", NULL);
	b = listen_as(f, "p", NULL);
	for (int i = 0; i < 100; i++) {
		struct client *sender = connect_to(f, CONNECT);
		bool is_a;

		WAIT(f, has_frame(a) || has_frame(b));
		is_a = has_frame(a);
		at_a += is_a;
		at_b += !is_a;
		free(next_target(is_a ? a : b));
		client_close(sender);
	}
	assert_int_equal(at_a + at_b, 100);
	/* Fails by chance once in 2^99. */
	assert_true(at_a > 0 && at_b > 0);
}

static const char not_met[] = "None of the connected listeners meet the "
                              "AllowedListeners/DisallowedListeners criteria";

static void
r44_allowed_listeners(void **state)
{
	struct fixture *f = *state;
	struct client *two, *three;
	const char *text;

	start(f);
	listen_as(f, "p", ID1);
	two = listen_as(f, "p", ID2 "_G7");
	three = listen_as(f, "p", ID3);
	for (int i = 0; i < 10; i++) {
		request_as(f, "send", CONNECT,
		    "Microsoft-Relay-AllowedListeners: " ID2 "\r\n");
		free(next_target(two));
	}
	request_as(f, "send", CONNECT,
	    "Microsoft-Relay-AllowedListeners: " ID_NONE "," ID3 "\r\n");
	free(next_target(three));
	text = head(request_as(f, "send", CONNECT,
	    "Microsoft-Relay-AllowedListeners: " ID_NONE "\r\n"));
	assert_int_equal(status_of(text), 404);
	assert_non_null(strstr(text, not_met));
}

static void
r45_disallowed_listeners(void **state)
{
	struct fixture *f = *state;
	struct client *three;
	const char *text;

	start(f);
	listen_as(f, "p", ID1);
	listen_as(f, "p", ID2);
	three = listen_as(f, "p", ID3);
	for (int i = 0; i < 10; i++) {
		request_as(f, "send", CONNECT,
		    "Microsoft-Relay-DisallowedListeners: " ID1 ", " ID2
		    "\r\n");
		free(next_target(three));
	}
	text = head(request_as(f, "send", CONNECT,
	    "Microsoft-Relay-DisallowedListeners: " ID1 "," ID2 "," ID3
	    "\r\n"));
	assert_int_equal(status_of(text), 404);
	assert_non_null(strstr(text, not_met));
}

static void
r46_quota(void **state)
{
	struct fixture *f = *state;
	struct client *first;
	const char *text;

	start(f);
	first = listen_as(f, "p", ID1);
	for (int i = 1; i < RELAY_LISTENERS_DEFAULT; i++)
		listen_as(f, "p", NULL);
	text = head(request_as(f, "listen", LISTEN, ""));
	assert_int_equal(status_of(text), 403);
	assert_non_null(strstr(text, "quota"));
	/* One that returns takes its own place. */
	listen_as(f, "p", ID1);
	client_close(first);
	WAIT(f, COUNTER(f, listeners) == RELAY_LISTENERS_DEFAULT);
	assert_int_equal(
	    status_of(head(request_as(f, "listen", LISTEN, ""))), 403);
}

static void
r46b_lost_listener_hands_on(void **state)
{
	struct fixture *f = *state;
	struct client *lost, *sender;

	start(f);
	lost = listen_as(f, "p", NULL);
	sender = connect_to(f, CONNECT);
	free(next_target(lost));
	client_abort(lost);
	WAIT(f, COUNTER(f, listeners) == 0);
	/* Nobody is there at the moment: the next to come is asked. */
	accept_next(listen_as(f, "p", NULL), sender);
	/* A sender that comes while nobody is there is told at once (r25). */
}

static void
r46c_returned_listener_is_asked(void **state)
{
	struct fixture *f = *state;
	struct client *dead, *alive;

	start(f);
	/* The relay does not know yet that the first one is dead. */
	dead = listen_as(f, "p", ID1);
	alive = listen_as(f, "p", ID1);
	for (int i = 0; i < 20; i++)
		accept_next(alive, connect_to(f, CONNECT));
	assert_int_equal(have(dead), 0);
	assert_int_equal(COUNTER(f, listeners), 1);
	/* And if the second one goes, the first may have been alive. */
	client_abort(alive);
	pass(f, 10);
	accept_next(dead, connect_to(f, CONNECT));
}

/* --- tokens and time --- */

static void
put_renewal(struct client *control, const char *token)
{
	char *text = mem_printf("{\"renewToken\":{\"token\":\"%s\"}}", token);

	put_frame(control, WS_TEXT, true, text, strlen(text));
	free(text);
}

static struct client *
listen_for(struct fixture *f, int64_t in_s)
{
	char *token = make_token("http://" NS "/p/", "listen", KEY, in_s);
	char *field = mem_printf("ServiceBusAuthorization: %s\r\n", token);
	struct client *c = request(f, LISTEN, field);

	assert_int_equal(status_of(head(c)), 101);
	free(token);
	free(field);
	return c;
}

/* Answers what is pending of the relay's Pings; the number of them. */
static unsigned
answer_pings(struct client *c)
{
	unsigned n = 0;

	while (has_frame(c)) {
		struct frame fr = next_frame(c);

		assert_int_equal(fr.opcode, WS_PING);
		put_frame(c, WS_PONG, true, fr.data, fr.len);
		n++;
	}
	return n;
}

static void
r74_renewal_within_grace(void **state)
{
	struct fixture *f = *state;
	struct client *control;
	char *token;

	f->config.limits.token_grace_ms = 1500;
	start(f);
	/* It ends within the second; the renewal comes behind that. */
	control = listen_for(f, 1);
	pass(f, 1200);
	/* Nothing but the first Ping, which comes after a second. */
	assert_true(answer_pings(control) <= 1);
	token = make_token("http://" NS "/p/", "listen", KEY, 60);
	put_renewal(control, token);
	free(token);
	/* Beyond the first token's grace. */
	pass(f, 1500);
	accept_next(control, connect_to(f, CONNECT));
}

static void
r75_expired_without_renewal(void **state)
{
	struct fixture *f = *state;
	struct joined j;

	f->config.limits.token_grace_ms = 50;
	start(f);
	j.control = listen_for(f, 1);
	j.sender = connect_to(f, CONNECT);
	j.listener = accept_next(j.control, j.sender);
	expect_close(j.control, 1008, "expired");
	assert_int_equal(COUNTER(f, listeners), 0);
	put_close(j.control, 1008, "");
	WAIT(f, j.control->is_ended);
	/* It never touches what is joined. */
	say(j.sender, "on");
	expect_binary(j.listener, "on");
}

static void
r76_renewal_with_garbage(void **state)
{
	struct fixture *f = *state;
	struct client *control;

	start(f);
	control = listen_as(f, "p", NULL);
	put_renewal(control, "com.microsoft.azure.relay.SecurityToken@1f");
	expect_close(control, 1008, "token");
	WAIT(f, COUNTER(f, listeners) == 0);
	/* A token without the right is no better. */
	control = listen_as(f, "p", NULL);
	{
		char *token = make_token("http://" NS "/p", "send", KEY, 60);

		put_renewal(control, token);
		free(token);
	}
	expect_close(control, 1008, "token");
}

static void
r76b_other_messages_are_ignored(void **state)
{
	struct fixture *f = *state;
	struct client *control;

	start(f);
	control = listen_as(f, "p", NULL);
	put_frame(
	    control, WS_TEXT, true, "{\"injectFault\":{\"delay\":1}}", 27);
	put_frame(control, WS_TEXT, true, "not JSON", 8);
	put_frame(control, WS_BINARY, true, "", 0);
	put_frame(control, WS_BINARY, true, "stray", 5);
	accept_next(control, connect_to(f, CONNECT));
}

static void
expect_pong(struct client *c, const char *text)
{
	struct frame fr;

	put_frame(c, WS_PING, true, text, strlen(text));
	fr = next_frame(c);
	assert_int_equal(fr.opcode, WS_PONG);
	assert_int_equal(fr.len, strlen(text));
	assert_memory_equal(fr.data, text, fr.len);
}

static void
r77_ping_and_pong(void **state)
{
	struct fixture *f = *state;
	struct joined j;

	start(f);
	j = join(f);
	put_frame(j.control, WS_PONG, true, "x", 1);
	put_frame(j.sender, WS_PONG, true, "x", 1);
	put_frame(j.listener, WS_PONG, true, "", 0);
	expect_pong(j.control, "one");
	expect_pong(j.sender, "two");
	expect_pong(j.listener, "");
	/* Between the fragments of a message as well. */
	put_frame(j.sender, WS_BINARY, false, "ab", 2);
	expect_pong(j.sender, "three");
	put_frame(j.sender, WS_CONTINUATION, true, "cd", 2);
	expect_message(j.listener, WS_BINARY, (const uint8_t *)"abcd", 4);
	assert_int_equal(have(j.listener), 0);
}

static void
r77b_ping_within_bulk(void **state)
{
	struct fixture *f = *state;
	const size_t len = 65536;
	uint8_t *data = make_payload(len);
	struct joined j;
	uint8_t raw[4 + 4 + 1];
	struct frame fr;
	size_t frames = 0;

	start(f);
	j = join(f);
	/* Half a frame is on its way to the listener when it pings. */
	raw[0] = 0x82;
	raw[1] = 0x80 | 126;
	raw[2] = 0x40;
	raw[3] = 0;
	memset(raw + 4, 0, 5);
	put(j.sender, raw, 9);
	WAIT(f, have(j.listener) > 0);
	put_frame(j.listener, WS_PING, true, "mid", 3);
	pass(f, 20);
	assert_false(has_frame(j.listener));
	/* The rest of it, and more behind it in the same breath. */
	{
		uint8_t *rest = mem_zalloc(0x3fff + 10);

		rest[0x3fff] = 0x82;
		rest[0x4000] = 0x82;
		rest[0x4005] = 'a';
		rest[0x4006] = 'b';
		put(j.sender, rest, 0x3fff + 8);
		free(rest);
	}
	fr = next_frame(j.listener);
	assert_int_equal(fr.opcode, WS_BINARY);
	assert_int_equal(fr.len, 0x4000);
	fr = next_frame(j.listener);
	assert_int_equal(fr.opcode, WS_PONG);
	assert_memory_equal(fr.data, "mid", 3);
	expect_binary(j.listener, "ab");
	/* A stream whose turns never end with a frame. */
	for (int i = 0; i < 20; i++)
		put_frame(j.sender, WS_BINARY, true, data, len);
	put_frame(j.listener, WS_PING, true, "bulk", 4);
	for (bool has_pong = false; frames < 20 || !has_pong;) {
		fr = next_frame(j.listener);
		if (fr.opcode == WS_PONG) {
			assert_memory_equal(fr.data, "bulk", 4);
			has_pong = true;
			continue;
		}
		assert_int_equal(fr.len, len);
		assert_memory_equal(fr.data, data, len);
		frames++;
	}
	free(data);
}

static void
r78_relay_pings(void **state)
{
	struct fixture *f = *state;
	struct joined j;
	unsigned pings = 0;

	f->config.limits.ping_ms = 20;
	f->config.limits.silence_ms = 200;
	start(f);
	j = join(f);
	/* All that is idle lives as long as it answers. */
	for (int i = 0; i < 25; i++) {
		pass(f, 20);
		pings += answer_pings(j.control);
		answer_pings(j.sender);
		answer_pings(j.listener);
	}
	assert_true(pings > 5);
	assert_int_equal(COUNTER(f, listeners), 1);
	assert_int_equal(COUNTER(f, joined), 1);
	/* Then no more: the listener is forgotten, the pair dropped. */
	WAIT(f, COUNTER(f, listeners) + COUNTER(f, joined) == 0);
	WAIT(f, j.sender->is_reset && j.listener->is_reset);
}

static void
r79_brake(void **state)
{
	struct fixture *f = *state;
	struct client *c[5];
	uint64_t began, first, last;

	f->config.limits.brake_first_ms = 5;
	f->config.limits.brake_most_ms = 100;
	start(f);
	began = loop_now_ms(f->loop);
	c[0] = request(f, LISTEN, "");
	assert_int_equal(status_of(head(c[0])), 401);
	first = loop_now_ms(f->loop) - began;
	assert_true(first >= 4);
	for (int i = 1; i < 5; i++)
		c[i] = request(f, LISTEN, "");
	/* Meanwhile others are served. */
	began = loop_now_ms(f->loop);
	assert_int_equal(status_of(head(request(f, CONNECT, ""))), 401);
	for (int i = 1; i < 5; i++)
		assert_int_equal(status_of(head(c[i])), 401);
	last = loop_now_ms(f->loop) - began;
	assert_true(last >= 50);
	/* A success wipes the slate. */
	listen_as(f, "p", NULL);
	assert_int_equal(status_of(head(request(f, LISTEN, ""))), 401);
}

static void
r82_entity_deleted(void **state)
{
	struct fixture *f = *state;
	struct relay_config fewer = f->config;
	struct joined j;
	struct client *waiting, *other;
	struct err e;

	start(f);
	j = join(f);
	other = listen_as(f, "p2", NULL);
	waiting = connect_to(f, CONNECT);
	free(next_target(j.control));
	fewer.namespaces = fewer_namespaces;
	assert_true(relay_set_config(f->relay, &fewer, &e));
	expect_close(j.control, 1001, "does not exist");
	expect_close(j.sender, 1001, "does not exist");
	expect_close(j.listener, 1001, "does not exist");
	assert_int_equal(status_of(head(waiting)), 404);
	put_close(j.control, 1001, "");
	put_close(j.sender, 1001, "");
	put_close(j.listener, 1001, "");
	WAIT(f,
	    j.control->is_ended && j.sender->is_ended && j.listener->is_ended);
	client_close(j.sender);
	client_close(j.listener);
	WAIT(f, COUNTER(f, joined) == 0);
	/* What is still configured does not notice. */
	assert_int_equal(COUNTER(f, listeners), 1);
	assert_int_equal(have(other), 0);
	accept_next(other, connect_to(f, "/$hc/p2"));
	assert_int_equal(status_of(head(connect_to(f, CONNECT))), 404);
	/* A configuration that cannot be changes nothing. */
	fewer.limits.ping_ms = 0;
	assert_false(relay_set_config(f->relay, &fewer, &e));
	assert_int_equal(e.code, ERR_USAGE);
	assert_int_equal(COUNTER(f, listeners), 1);
}

static void
r83_listener_closes(void **state)
{
	struct fixture *f = *state;
	struct client *control;

	start(f);
	control = listen_as(f, "p", NULL);
	put_close(control, 1000, "bye");
	expect_close(control, 1000, NULL);
	WAIT(f, control->is_ended);
	assert_int_equal(COUNTER(f, listeners), 0);
	assert_int_equal(status_of(head(connect_to(f, CONNECT))), 404);
}

/* --- the door --- */

static void
door_malformed_requests(void **state)
{
	struct fixture *f = *state;
	static const struct {
		const char *text;
		int status;
	} table[] = {
	    {"nonsense\r\n\r\n", 400},
	    {"GET / HTTP/1.1\r\n\r\n", 400},
	    {"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400},
	    {"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
	    {"GET /p HTTP/1.1\r\nHost: other.test\r\n\r\n", 404},
	    {"GET /p HTTP/1.1\r\nHost: " NS "\r\n\r\n", 501},
	    {"POST /p/x HTTP/1.1\r\nHost: " NS
	     "\r\nContent-Length: 3\r\n\r\nabc",
	        501},
	    {"HEAD /p HTTP/1.1\r\nHost: " NS "\r\n\r\n", 501},
	    {"GET /other HTTP/1.1\r\nHost: " NS "\r\n\r\n", 404},
	    {"GET /$hc/p HTTP/1.1\r\nHost: " NS "\r\n\r\n", 426},
	    {"GET /$hc/%zz HTTP/1.1\r\nHost: " NS "\r\n\r\n", 400},
	    {"GET /$hc/p HTTP/1.1\r\nHost: " NS "\r\n"
	     "Connection: Upgrade\r\nUpgrade: websocket\r\n"
	     "Sec-WebSocket-Version: 8\r\n"
	     "Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA==\r\n\r\n",
	        426},
	    {"GET /$hc/p HTTP/1.1\r\nHost: " NS "\r\n"
	     "Connection: Upgrade\r\nUpgrade: websocket\r\n"
	     "Sec-WebSocket-Version: 13\r\n"
	     "Sec-WebSocket-Key: short\r\n\r\n",
	        400},
	};

	start(f);
	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
		struct client *c = client_open(f);
		const char *text;

		put_text(c, table[i].text);
		text = head(c);
		if (status_of(text) != table[i].status)
			fail_msg("%s: %s", table[i].text, text);
		assert_non_null(strstr(text, "TrackingId:"));
		assert_null(strstr(text, "Via:"));
		WAIT(f, c->is_ended);
		client_close(c);
	}
	WAIT(f, COUNTER(f, half_open) == 0);
}

static void
door_head_in_pieces_and_too_long(void **state)
{
	struct fixture *f = *state;
	char *field = token_field("listen");
	char *text = mem_printf("GET " LISTEN " HTTP/1.1\r\nHost: " NS
	                        "\r\nConnection: keep-alive, upgrade\r\n"
	                        "Upgrade: WebSocket\r\n"
	                        "Sec-WebSocket-Version: 13\r\n"
	                        "Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA=="
	                        "\r\n%s\r\n",
	    field);
	struct client *c;

	f->config.limits.max_head_bytes = 2048;
	start(f);
	c = client_open(f);
	for (size_t i = 0; text[i]; i++) {
		put(c, text + i, 1);
		loop_turn(f->loop, false);
	}
	assert_int_equal(status_of(head(c)), 101);
	c = client_open(f);
	put_text(c, "GET / HTTP/1.1\r\nX: ");
	for (int i = 0; i < 100; i++)
		put_text(
		    c, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
	assert_int_equal(status_of(head(c)), 431);
	free(text);
	free(field);
}

static void
door_deadline(void **state)
{
	struct fixture *f = *state;
	struct client *c;

	f->config.limits.handshake_ms = 30;
	start(f);
	c = client_open(f);
	put_text(c, "GET / HTTP/1.1\r\n");
	WAIT(f, c->is_ended || c->is_reset);
	assert_int_equal(have(c), 0);
	WAIT(f, COUNTER(f, half_open) == 0);
}

static void
door_too_many_half_open(void **state)
{
	struct fixture *f = *state;
	struct client *first, *control;

	f->config.limits.max_half_open = 3;
	start(f);
	first = client_open(f);
	WAIT(f, COUNTER(f, connections) == 1);
	client_open(f);
	client_open(f);
	WAIT(f, COUNTER(f, connections) == 3);
	assert_int_equal(COUNTER(f, evicted), 0);
	control = listen_as(f, "p", NULL);
	WAIT(f, first->is_ended || first->is_reset);
	assert_int_equal(COUNTER(f, evicted), 1);
	accept_next(control, connect_to(f, CONNECT));
}

static void
door_too_many_waiting(void **state)
{
	struct fixture *f = *state;

	f->config.limits.max_waiting = 2;
	start(f);
	listen_as(f, "p", NULL);
	connect_to(f, CONNECT);
	connect_to(f, CONNECT);
	WAIT(f, COUNTER(f, waiting) == 2);
	assert_int_equal(status_of(head(connect_to(f, CONNECT))), 503);
}

static void
door_aliases(void **state)
{
	struct fixture *f = *state;
	static const char *const hosts[] = {"127.0.0.1", "127.0.0.1:8443",
	    "[::1]:8443", "RELAY.TEST", "relay.test:443"};

	start(f);
	for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
		struct client *c = client_open(f);
		char *field = token_field("listen");
		char *text =
		    mem_printf("GET " LISTEN " HTTP/1.1\r\n"
		               "Host: %s\r\n"
		               "Connection: Upgrade\r\nUpgrade: websocket\r\n"
		               "Sec-WebSocket-Version: 13\r\n"
		               "Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA==\r\n"
		               "%s\r\n",
		        hosts[i], field);
		struct hc_message m;
		const char *authority;
		size_t n = strlen(hosts[i]);

		put_text(c, text);
		assert_int_equal(status_of(head(c)), 101);
		connect_to(f, CONNECT);
		m = next_accept(c);
		authority = strstr(m.accept.address, "://") + 3;
		if (i == 4)
			n -= 4;
		assert_true(text_is_equal_nocase_n(authority, hosts[i], n));
		assert_int_equal(authority[n], '/');
		hc_message_fini(&m);
		client_close(c);
		free(text);
		free(field);
		WAIT(f, COUNTER(f, listeners) == 0);
	}
}

static void
door_tunnel_address(void **state)
{
	struct fixture *f = *state;
	struct client *control, *sender, *listener;
	char *target;

	start(f);
	control = listen_as(f, "sample", NULL);
	sender = connect_to(f, "/$hc/sample?port=22&host=h");
	target = next_target(control);
	assert_memory_equal(
	    target, "/tunnel?port=22&host=h&sb-hc-action=accept", 42);
	listener = request(f, target, "");
	assert_int_equal(status_of(head(listener)), 101);
	assert_int_equal(status_of(head(sender)), 101);
	free(target);
}

/* --- back-pressure, memory, ends --- */

static void
pressure_is_bounded(void **state)
{
	struct fixture *f = *state;
	/* More than the kernel holds for the relay's two sockets. */
	const size_t len = 16 * 1024 * 1024;
	uint8_t *data = make_payload(len);
	struct joined j;
	struct mallinfo2 before, after;
	size_t stuck;

	start(f);
	j = join(f);
	client_pause(j.listener, true);
	put_frame(j.sender, WS_BINARY, true, data, len);
	before = mallinfo2();
	/* Until nothing moves any more. */
	do {
		stuck = j.sender->out_at;
		pass(f, 50);
	} while (j.sender->out_at != stuck);
	assert_true(stuck < j.sender->out_len);
	after = mallinfo2();
	assert_true(after.uordblks + after.hblkhd <
	            before.uordblks + before.hblkhd + 1024 * 1024);
	/* The other direction is not touched by it. */
	say(j.listener, "free");
	expect_binary(j.sender, "free");
	client_pause(j.listener, false);
	expect_message(j.listener, WS_BINARY, data, len);
	free(data);
}

static void
stalled_reader_is_dropped(void **state)
{
	struct fixture *f = *state;
	const size_t len = 16 * 1024 * 1024;
	uint8_t *data = make_payload(len);
	struct joined j;

	f->config.limits.ping_ms = 20;
	f->config.limits.silence_ms = 300;
	f->config.limits.stall_ms = 900;
	start(f);
	j = join(f);
	client_pause(j.listener, true);
	put_frame(j.sender, WS_BINARY, true, data, len);
	/* Longer than silence: it is not silent, it only does not read. */
	pass(f, 500);
	assert_int_equal(COUNTER(f, joined), 1);
	WAIT(f, COUNTER(f, joined) == 0);
	assert_int_equal(COUNTER(f, aborted), 1);
	free(data);
}

static void
slow_reader_gets_all_before_close(void **state)
{
	struct fixture *f = *state;
	const size_t len = 3 * 1024 * 1024;
	uint8_t *data = make_payload(len);
	struct joined j;

	f->config.limits.close_ms = 20;
	start(f);
	j = join(f);
	put_close(j.listener, 1000, "");
	client_pause(j.listener, true);
	put_frame(j.sender, WS_BINARY, true, data, len);
	put_close(j.sender, 1000, "end");
	pass(f, 200);
	client_pause(j.listener, false);
	expect_message(j.listener, WS_BINARY, data, len);
	expect_close(j.listener, 1000, "end");
	free(data);
}

static void
relay_close_at_every_step(void **state)
{
	struct fixture *f = *state;

	for (int step = 0; step < 8; step++) {
		struct client *control, *sender, *listener;
		struct list *at, *after;
		char *target = NULL;

		start(f);
		control = step > 0 ? listen_as(f, "p", NULL) : client_open(f);
		sender = step > 1 ? connect_to(f, CONNECT) : NULL;
		if (step > 2)
			target = next_target(control);
		listener = step > 3 ? request(f, target, "") : NULL;
		if (step > 4)
			assert_int_equal(status_of(head(sender)), 101);
		if (step > 5)
			put_close(sender, 1000, "");
		if (step > 6)
			put_close(listener, 1000, "");
		for (int i = 0; i < step % 3; i++)
			loop_turn(f->loop, false);
		relay_close(f->relay);
		f->relay = NULL;
		LIST_EACH_SAFE (at, after, &f->clients) {
			struct client *c = LIST_OF(at, struct client, link);

			WAIT(f, c->is_ended || c->is_reset);
			client_close(c);
		}
		free(target);
	}
}

static void
relay_close_tells_everybody(void **state)
{
	struct fixture *f = *state;
	struct joined j;
	struct client *waiting;

	start(f);
	j = join(f);
	waiting = connect_to(f, CONNECT);
	free(next_target(j.control));
	relay_close(f->relay);
	f->relay = NULL;
	expect_close(j.control, 1001, "stops");
	expect_close(j.sender, 1001, "stops");
	expect_close(j.listener, 1001, "stops");
	assert_int_equal(status_of(head(waiting)), 503);
}

static void
pair_is_small(void **state)
{
	struct fixture *f = *state;
	struct client *control;
	struct mallinfo2 before, after;
	size_t each;

	start(f);
	control = listen_as(f, "p", NULL);
	accept_next(control, connect_to(f, CONNECT));
	pass(f, 10);
	before = mallinfo2();
	for (int i = 0; i < 50; i++)
		accept_next(control, connect_to(f, CONNECT));
	pass(f, 10);
	after = mallinfo2();
	each = (after.uordblks - before.uordblks) / 50;
	/* With the buffers of our own two clients; TLS would come on top. */
	print_message("a joined pair with its clients: %zu bytes\n", each);
	assert_true(each < 8 * 1024);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    T(r01_listen_with_header),
	    T(r02_listen_with_query_token),
	    T(r03_connect_with_plus_token),
	    T(r04_audience_of_node),
	    T(r05_audience_of_dotnet),
	    T(r06_audience_of_java_sender),
	    T(r07_audience_longer_than_the_entity),
	    T(r08_audience_in_lower_case_hex),
	    T(r09_audience_of_another_entity),
	    T(r10_changed_signature),
	    T(r11_no_token),
	    T(r12_listen_with_send_right),
	    T(r13_connect_with_listen_right),
	    T(r14_key_taken_as_base64),
	    T(r14b_unknown_rule_and_expired),
	    T(r15_unknown_entity),
	    T(r16_anonymous_sender),
	    T(r17_anonymous_listener),
	    T(r18_no_action),
	    T(r19_suffix_and_query),
	    T(r20_accept_message),
	    T(r21_headers),
	    T(r22_join),
	    T(r22b_early_bytes),
	    T(r23_one_use),
	    T(r24_no_accept_in_time),
	    T(r24b_sender_leaves),
	    T(r25_no_listener),
	    T(r26_subprotocol),
	    T(r27_listener_without_subprotocol),
	    T(r28_no_extensions),
	    T(r29_reject),
	    T(r30_reject_in_short_spelling),
	    T(r31_reject_default_and_nonsense),
	    T(r32_long_frame_is_split),
	    T(r33_mebibyte_each_way),
	    T(r34_text_message),
	    T(r35_close_with_reason),
	    T(r35b_close_without_code),
	    T(r36_half_close),
	    T(r37_shutdown_and_dispose),
	    T(r38_abort),
	    T(r38b_broken_protocol),
	    T(r39_close_is_quick),
	    T(r40_no_empty_last_frame),
	    T(r41_control_lost_while_joined),
	    T(r42_hundred_senders),
	    T(r43_two_listeners),
	    T(r44_allowed_listeners),
	    T(r45_disallowed_listeners),
	    T(r46_quota),
	    T(r46b_lost_listener_hands_on),
	    T(r46c_returned_listener_is_asked),
	    T(r74_renewal_within_grace),
	    T(r75_expired_without_renewal),
	    T(r76_renewal_with_garbage),
	    T(r76b_other_messages_are_ignored),
	    T(r77_ping_and_pong),
	    T(r77b_ping_within_bulk),
	    T(r78_relay_pings),
	    T(r79_brake),
	    T(r82_entity_deleted),
	    T(r83_listener_closes),
	    T(door_malformed_requests),
	    T(door_head_in_pieces_and_too_long),
	    T(door_deadline),
	    T(door_too_many_half_open),
	    T(door_too_many_waiting),
	    T(door_aliases),
	    T(door_tunnel_address),
	    T(pressure_is_bounded),
	    T(stalled_reader_is_dropped),
	    T(slow_reader_gets_all_before_close),
	    T(relay_close_at_every_step),
	    T(relay_close_tells_everybody),
	    T(pair_is_small),
	};

	return cmocka_run_group_tests_name("relay", tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT
 *
 * See the header. The delaying stream is a third owner between two pairs: what
 * it reads it writes to the other pair when its time has come.
 */
#include "mux_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "net/loop.h"
#include "net/pump.h"
#include "net/sock.h"
#include "net/stream.h"
#include "util/buf.h"
#include "util/list.h"
#include "util/mem.h"

size_t bench_budget;

/* --- delay --- */

struct parcel {
	struct list link;
	uint64_t due_ms;
	size_t len;
	uint8_t data[];
};

struct way {
	struct stream *from;
	struct stream *to;
	struct list parcels;
	struct timer timer;
	struct loop *loop;
	unsigned ms;
};

struct delay {
	struct way a, b;
};

static void
way_arm(struct way *w)
{
	const uint64_t now = loop_now_ms(w->loop);
	const struct parcel *p;

	if (list_is_empty(&w->parcels) || timer_is_set(&w->timer))
		return;
	p = LIST_OF(w->parcels.next, struct parcel, link);
	timer_set(&w->timer, p->due_ms > now ? p->due_ms - now : 0);
}

static void
way_on_due(void *owner)
{
	struct way *w = owner;

	while (!list_is_empty(&w->parcels)) {
		struct parcel *p =
		    LIST_OF(w->parcels.next, struct parcel, link);

		if (p->due_ms > loop_now_ms(w->loop))
			break;
		list_remove(&p->link);
		stream_put(w->to, p->data, p->len);
		free(p);
	}
	way_arm(w);
}

static void
way_on_data(void *owner, uint8_t *data, size_t len)
{
	struct way *w = owner;
	struct parcel *p = mem_alloc(sizeof *p + len);

	list_init(&p->link);
	p->due_ms = loop_now_ms(w->loop) + w->ms;
	p->len = len;
	memcpy(p->data, data, len);
	list_append(&w->parcels, &p->link);
	way_arm(w);
}

static void
way_ignore(void *owner)
{
	(void)owner;
}

static void
way_on_error(void *owner, const struct err *e)
{
	(void)owner;
	(void)e;
}

static const struct stream_events way_events = {
    .on_data = way_on_data,
    .on_end = way_ignore,
    .on_drain = way_ignore,
    .on_error = way_on_error,
};

static void
way_init(struct way *w, struct stream *from, struct stream *to, unsigned ms)
{
	w->from = from;
	w->to = to;
	w->loop = from->loop;
	w->ms = ms;
	list_init(&w->parcels);
	timer_init(&w->timer, w->loop, way_on_due, w);
	stream_set_owner(from, &way_events, w);
	stream_start(from);
}

static void
way_fini(struct way *w)
{
	timer_clear(&w->timer);
	while (!list_is_empty(&w->parcels)) {
		struct parcel *p =
		    LIST_OF(w->parcels.next, struct parcel, link);

		list_remove(&p->link);
		free(p);
	}
	stream_close(w->from);
}

/* --- the muxes' owner --- */

static bool
close_here(struct bench *b, enum step step)
{
	if (b->close_at != step || b->closed_at_step)
		return false;
	b->closed_at_step = true;
	mux_close(b->client);
	b->client = NULL;
	mux_close(b->server);
	b->server = NULL;
	return true;
}

static void
on_login(void *owner, const char *user, const char *password)
{
	struct bench *b = owner;

	b->asked++;
	snprintf(
	    b->asked_user, sizeof b->asked_user, "%s", user ? user : "(none)");
	snprintf(b->asked_password, sizeof b->asked_password, "%s",
	    password ? password : "");
	if (close_here(b, STEP_LOGIN))
		return;
	if (strcmp(b->asked_password, "later") != 0)
		mux_login_answer(
		    b->server, !user || strcmp(b->asked_password, "good") == 0);
}

/* Recorders that close everything in the chosen callback. */
static void
on_open(void *owner)
{
	struct bench *b = owner;

	close_here(b, STEP_OPEN);
}

static void
on_near_data(void *owner, uint8_t *data, size_t len)
{
	(void)data;
	(void)len;
	close_here(owner, STEP_DATA);
}

static void
on_far_data(void *owner, uint8_t *data, size_t len)
{
	(void)data;
	(void)len;
	close_here(owner, STEP_FAR_DATA);
}

static void
on_far_end(void *owner)
{
	close_here(owner, STEP_FAR_END);
}

static void
on_nothing(void *owner)
{
	(void)owner;
}

static void
on_error(void *owner, const struct err *e)
{
	(void)e;
	close_here(owner, STEP_ERROR);
}

static const struct stream_events closing_near = {
    .on_open = on_open,
    .on_data = on_near_data,
    .on_end = on_nothing,
    .on_drain = on_nothing,
    .on_error = on_error,
};

static const struct stream_events closing_far = {
    .on_data = on_far_data,
    .on_end = on_far_end,
    .on_drain = on_nothing,
    .on_error = on_error,
};

static bool
is_closer(const struct bench *b)
{
	return b->close_at >= STEP_OPEN && b->close_at < STEP_COUNT;
}

static void
own_near(struct bench *b, struct recorder *r, struct stream *s)
{
	recorder_own(r, s);
	if (is_closer(b))
		stream_set_owner(s, &closing_near, b);
	stream_start(s);
}

static void
accept_request(struct bench *b, struct mux_request *q)
{
	const bool is_listen = mux_request_target(q)->kind == MUX_LISTEN;
	struct stream *s = mux_accept(q, is_listen ? "127.0.0.1:4711" : NULL);
	struct recorder *r = &b->far[b->accepts++];

	recorder_own(r, s);
	if (is_closer(b))
		stream_set_owner(s, &closing_far, b);
	stream_start(s);
}

static void
on_request(void *owner, struct mux_request *q)
{
	struct bench *b = owner;

	b->target = *mux_request_target(q);
	snprintf(b->target_host, sizeof b->target_host, "%s", b->target.host);
	mux_request_set_owner(q, b);
	assert_ptr_equal(mux_request_owner(q), b);
	b->requests++;
	if (close_here(b, STEP_REQUEST))
		return;
	if (b->refuses)
		mux_refuse(q, b->refusal,
		    b->details ? b->details : mux_request_target(q)->host);
	else if (!b->hesitates && b->close_at != STEP_CANCEL)
		accept_request(b, q);
}

static void
on_cancel(void *owner, struct mux_request *q)
{
	struct bench *b = owner;

	assert_ptr_equal(mux_request_owner(q), b);
	b->cancels++;
	close_here(b, STEP_CANCEL);
}

static void
on_login_done(void *owner, const struct err *e)
{
	struct bench *b = owner;

	b->logins++;
	b->login_err = e ? *e : (struct err){0};
	close_here(b, STEP_LOGIN_DONE);
}

static void
on_drain(void *owner)
{
	struct bench *b = owner;

	b->client_drains++;
	close_here(b, STEP_DRAIN);
}

static void
on_client_end(void *owner, const struct err *e)
{
	struct bench *b = owner;

	b->client_ends++;
	b->client_err = e ? *e : (struct err){0};
	close_here(b, STEP_CLIENT_END);
}

static void
on_server_end(void *owner, const struct err *e)
{
	struct bench *b = owner;

	b->server_ends++;
	b->server_err = e ? *e : (struct err){0};
	close_here(b, STEP_SERVER_END);
}

static const struct mux_events client_events = {
    .on_login_done = on_login_done,
    .on_drain = on_drain,
    .on_end = on_client_end,
};

static const struct mux_events server_events = {
    .on_login = on_login,
    .on_request = on_request,
    .on_cancel = on_cancel,
    .on_end = on_server_end,
};

static void
open_over(struct bench *b, struct stream *below_client,
    struct stream *below_server, const char *user, const char *password)
{
	struct mux_options o;

	b->close_at = STEP_NONE;
	b->below_client = below_client;
	b->below_server = below_server;
	b->budget =
	    mux_budget_new(bench_budget ? bench_budget : (size_t)1 << 28);
	o = (struct mux_options){
	    .budget = b->budget, .user = user, .password = password};
	b->server = mux_server(below_server, &o, &server_events, b);
	o.budget = NULL;
	b->client = mux_client(below_client, &o, &client_events, b);
}

void
bench_open(struct bench *b, const char *user, const char *password)
{
	struct stream *x, *y;
	struct err e;

	memset(b, 0, sizeof *b);
	b->loop = loop_new(&e);
	assert_non_null(b->loop);
	memstream_pair(b->loop, &x, &y);
	open_over(b, x, y, user, password);
}

void
bench_open_delayed(struct bench *b, unsigned ms)
{
	struct stream *x, *y, *x2, *y2;
	struct err e;

	memset(b, 0, sizeof *b);
	b->loop = loop_new(&e);
	assert_non_null(b->loop);
	memstream_pair(b->loop, &x, &x2);
	memstream_pair(b->loop, &y2, &y);
	b->delay = mem_zalloc(sizeof *b->delay);
	way_init(&b->delay->a, x2, y2, ms);
	way_init(&b->delay->b, y2, x2, ms);
	open_over(b, x, y, NULL, NULL);
}

struct stream *
bench_connect(struct bench *b, const struct mux_target *t)
{
	struct err e;
	struct stream *s = mux_connect(b->client, t, &e);

	assert_non_null(s);
	assert_true(b->connects < BENCH_CHANNELS);
	own_near(b, &b->near[b->connects++], s);
	return s;
}

size_t
bench_far_bytes(const struct bench *b, int channels)
{
	size_t n = 0;

	for (int i = 0; i < channels; i++)
		n += b->far[i].bytes;
	return n;
}

void
bench_close(struct bench *b)
{
	for (int i = 0; i < b->connects; i++)
		recorder_close(&b->near[i]);
	for (int i = 0; i < b->accepts; i++)
		recorder_close(&b->far[i]);
	if (b->client)
		mux_close(b->client);
	if (b->server)
		mux_close(b->server);
	if (b->delay) {
		way_fini(&b->delay->a);
		way_fini(&b->delay->b);
	}
	assert_true(loop_close(b->loop));
	free(b->delay);
	assert_int_equal(mux_budget_used(b->budget), 0);
	assert_int_equal(mux_budget_held(b->budget), 0);
	mux_budget_unref(b->budget);
}

/* --- the feeder --- */

static void
feed(struct feeder *f)
{
	uint8_t *block = loop_block_take(f->stream->loop);
	bool more = true;

	while (more && !f->failed && f->at < f->to) {
		size_t n = f->to - f->at;

		if (n > f->piece)
			n = f->piece;
		memstream_fill(block + STREAM_HEADROOM, n, f->at);
		f->at += n;
		more = stream_write(f->stream, block + STREAM_HEADROOM, n);
	}
	loop_block_give(f->stream->loop, block);
	if (f->all > 0 && f->at == f->all && !f->is_shut && !f->failed) {
		f->is_shut = true;
		stream_shutdown(f->stream);
	}
}

static void
feeder_on_drain(void *owner)
{
	struct feeder *f = owner;

	if (f->is_shut)
		f->is_done = true;
	else
		feed(f);
}

static void
feeder_on_data(void *owner, uint8_t *data, size_t len)
{
	(void)owner;
	(void)data;
	(void)len;
}

static void
feeder_on_error(void *owner, const struct err *e)
{
	struct feeder *f = owner;

	(void)e;
	f->failed = true;
}

static const struct stream_events feeder_events = {
    .on_open = on_nothing,
    .on_data = feeder_on_data,
    .on_end = on_nothing,
    .on_drain = feeder_on_drain,
    .on_error = feeder_on_error,
};

void
feeder_own(struct feeder *f, struct stream *s, size_t all, size_t piece)
{
	*f =
	    (struct feeder){.stream = s, .all = all, .to = all, .piece = piece};
	stream_set_owner(s, &feeder_events, f);
	feed(f);
}

void
feeder_go(struct feeder *f, size_t to)
{
	f->to = to;
	feed(f);
}

/* --- the whole way --- */

struct chain {
	struct bench b;
	struct stream *client_app, *server_app;
	struct pump *near_pump, *far_pump;
	int done;
};

static void
on_pump_done(void *owner, const struct err *e, bool from_a)
{
	struct chain *c = owner;

	(void)from_a;
	assert_null(e);
	c->done++;
}

static const struct pump_events pump_events = {.on_done = on_pump_done};

static void
sock_pair(struct loop *l, struct stream **a, struct stream **b)
{
	int fd[2];
	struct err e;

	assert_int_equal(socketpair(AF_UNIX,
	                     SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd),
	    0);
	*a = sock_open(l, fd[0], &e);
	*b = sock_open(l, fd[1], &e);
	assert_non_null(*a);
	assert_non_null(*b);
}

void
bench_pumps(size_t bytes)
{
	static const struct mux_target t = {
	    .kind = MUX_TCP, .host = "h", .port = 1};
	struct chain *c = mem_zalloc(sizeof *c);
	struct stream *x, *y, *near_end, *far_end;
	struct recorder client, server;
	struct feeder up, down;
	struct err e;

	c->b.loop = loop_new(&e);
	sock_pair(c->b.loop, &x, &y);
	open_over(&c->b, x, y, NULL, NULL);
	sock_pair(c->b.loop, &c->client_app, &near_end);
	sock_pair(c->b.loop, &far_end, &c->server_app);
	bench_connect(&c->b, &t);
	c->near_pump =
	    pump_open(near_end, c->b.near[0].stream, &pump_events, c);
	c->b.near[0].stream = NULL;
	RUN_UNTIL(c->b.loop, c->b.accepts == 1);
	c->far_pump = pump_open(c->b.far[0].stream, far_end, &pump_events, c);
	c->b.far[0].stream = NULL;

	feeder_own(&up, c->client_app, bytes, 65000);
	recorder_own(&server, c->server_app);
	stream_start(c->server_app);
	RUN_UNTIL(c->b.loop, server.ends == 1 && up.is_done);
	assert_true(server.hash == memstream_fill_hash(bytes));
	feeder_own(&down, c->server_app, bytes, 65000);
	recorder_own(&client, c->client_app);
	stream_start(c->client_app);
	RUN_UNTIL(c->b.loop, client.ends == 1 && c->done == 2);
	assert_true(client.hash == memstream_fill_hash(bytes));
	pump_close(c->near_pump);
	pump_close(c->far_pump);
	stream_close(c->client_app);
	stream_close(c->server_app);
	bench_close(&c->b);
	free(c);
}

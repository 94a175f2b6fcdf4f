/* SPDX-License-Identifier: MIT
 *
 * The control channel. Which pointer or timer is set is the state:
 *
 *   upgrade  registering           -> ws, or retry, or failed
 *   ws       online                -> retry (lost), or leaving
 *   retry    waiting to come back  -> upgrade
 *   leaving  Close sent, waiting for the echo and for rejects -> closed
 *
 * A channel that is replaced is closed first, so its late events cannot come.
 * One timer serves everything that is due while online: the Pong, the renewal
 * and the watch for silence.
 */
#include "hc/hc_listener.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "hc/hc_accept.h"
#include "hc/hc_message.h"
#include "hc/hc_refusal.h"
#include "hc/hc_target.h"
#include "hc/hc_token.h"
#include "hc/hc_upgrade.h"
#include "hc/hc_url.h"
#include "net/http1.h"
#include "net/loop.h"
#include "net/sock.h"
#include "util/buf.h"
#include "util/crypt.h"
#include "util/err.h"
#include "util/mem.h"
#include "util/text.h"
#include "ws/ws.h"
#include "ws/ws_frame.h"

#define KEEPALIVE_MS 30000
#define SILENCE_MS 90000
#define OPEN_TIMEOUT_MS 30000
#define CLOSE_TIMEOUT_MS 3000
#define TCP_KEEPALIVE_S 30

/* A message that is too long is ignored as others that make no sense are; only
 * beyond this the channel ends. */
#define TEXT_MAX ((size_t)256 * 1024)

/* A channel that lived at least as long as the wait before it, or as this, was
 * a success: the waits begin anew. Shorter lives must not make a hot loop. */
#define STABLE_MS 5000

static const uint64_t default_retry_ms[] = {0, 1000, 2000, 5000, 10000, 30000};

struct hc_listener {
	struct loop *loop;
	struct dialer *dialer;
	struct hc_target target;
	struct hc_listener_options o; /* zeros replaced by defaults */
	const struct hc_listener_events *events;
	void *owner;
	char id[CRYPT_UUID_SIZE]; /* the same for all registrations */
	struct hc_accept_room *room;
	struct hc_upgrade *upgrade;
	struct ws *ws;
	struct timer retry;
	struct timer due;    /* pong, renewal, silence */
	struct timer linger; /* while leaving */
	struct deferred closed;
	struct hc_listener_stats stats;
	size_t attempt;       /* index of the next wait */
	bool was_online;      /* ever */
	uint64_t online_ms;   /* loop time of the 101 */
	uint64_t pong_due_ms; /* loop time */
	int64_t renew_due_ms; /* wall clock; 0: never */
	bool leaving;
	bool silent; /* on_failed or on_closed was told */
	bool closing;
};

static void connect_now(void *owner);

static int64_t
wall_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void
drop_channel(struct hc_listener *h)
{
	timer_clear(&h->due);
	if (h->upgrade)
		hc_upgrade_close(h->upgrade);
	h->upgrade = NULL;
	if (h->ws)
		ws_close(h->ws, false);
	h->ws = NULL;
}

/* --- leaving --- */

static void
on_closed_due(void *owner)
{
	struct hc_listener *h = owner;

	h->silent = true;
	if (h->events->on_closed)
		h->events->on_closed(h->owner);
}

static void
leave_if_done(void *owner)
{
	struct hc_listener *h = owner;

	if (h->silent || h->ws ||
	    hc_accept_room_wait(h->room, leave_if_done, h))
		return;
	timer_clear(&h->linger);
	deferred_set(&h->closed);
}

static void
on_linger_over(void *owner)
{
	struct hc_listener *h = owner;

	drop_channel(h);
	deferred_set(&h->closed);
}

void
hc_listener_shutdown(struct hc_listener *h)
{
	if (h->leaving || h->silent)
		return;
	h->leaving = true;
	timer_clear(&h->retry);
	timer_clear(&h->due);
	if (h->ws)
		ws_shutdown(h->ws, WS_CODE_NORMAL, "listener is leaving");
	else
		drop_channel(h);
	timer_set(&h->linger, h->o.close_timeout_ms);
	leave_if_done(h);
}

/* --- losing and coming back --- */

static void
fail(struct hc_listener *h, const struct err *err)
{
	drop_channel(h);
	h->silent = true;
	h->events->on_failed(h->owner, err);
}

static void
come_back_later(struct hc_listener *h, const struct err *err)
{
	const size_t last = h->o.n_retry - 1;
	uint64_t wait_ms = h->o.retry_ms[h->attempt < last ? h->attempt : last];

	wait_ms += crypt_random_below((uint32_t)(wait_ms / 5 + 1));
	h->attempt++;
	timer_set(&h->retry, wait_ms);
	if (h->events->on_offline)
		h->events->on_offline(h->owner, err, wait_ms);
}

/* The channel is gone. */
static void
lose(struct hc_listener *h, const struct err *err)
{
	const uint64_t lived_ms = loop_now_ms(h->loop) - h->online_ms;
	const size_t last = h->o.n_retry - 1;
	const uint64_t wait_ms =
	    h->o.retry_ms[h->attempt < last ? h->attempt : last];

	drop_channel(h);
	if (h->leaving) {
		leave_if_done(h);
		return;
	}
	if (lived_ms >= STABLE_MS || lived_ms >= wait_ms)
		h->attempt = 0;
	come_back_later(h, err);
}

/* --- keeping it --- */

/* A fresh token, and when the next one is due. One that was made elsewhere
 * cannot be renewed. */
static char *
make_token(struct hc_listener *h)
{
	const int64_t now_ms = wall_ms();

	h->renew_due_ms = h->target.token ? 0 : now_ms + (int64_t)h->o.renew_ms;
	return hc_target_make_token(
	    &h->target, now_ms / 1000 + (int64_t)h->o.token_ttl_s);
}

static void
send_renewal(struct hc_listener *h)
{
	char *token = make_token(h);
	struct buf b;
	char *text;

	buf_init(&b, HC_MESSAGE_MAX);
	if (hc_message_build_renew_token(&b, token, NULL)) {
		text = buf_take_text(&b);
		ws_send_text(h->ws, text, strlen(text));
		mem_free_secret(text);
		h->stats.renewals++;
	}
	mem_free_secret(token);
}

/* Loop time of the relay's last sign of life. */
static uint64_t
last_in_ms(const struct hc_listener *h)
{
	const uint64_t ms = ws_last_in_ms(h->ws);

	return ms > h->online_ms ? ms : h->online_ms;
}

/* 0: no limit. */
static uint64_t
silence_limit(const struct hc_listener *h)
{
	if (h->o.silence_ms)
		return h->o.silence_ms;
	return ws_was_pinged(h->ws) ? SILENCE_MS : 0;
}

static uint64_t
min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void
set_due(struct hc_listener *h)
{
	const uint64_t now = loop_now_ms(h->loop);
	const uint64_t limit = silence_limit(h);
	uint64_t wait_ms = h->pong_due_ms > now ? h->pong_due_ms - now : 0;

	if (h->renew_due_ms) {
		const int64_t left = h->renew_due_ms - wall_ms();

		wait_ms = min_u64(wait_ms, left > 0 ? (uint64_t)left : 0);
	}
	if (limit) {
		const uint64_t end = last_in_ms(h) + limit;

		wait_ms = min_u64(wait_ms, end > now ? end - now : 0);
	}
	timer_set(&h->due, wait_ms);
}

static void
on_due(void *owner)
{
	struct hc_listener *h = owner;
	const uint64_t now = loop_now_ms(h->loop);
	uint64_t limit;

	limit = silence_limit(h);
	if (limit && now - last_in_ms(h) >= limit) {
		struct err err;

		err_set(&err, ERR_TIMEOUT,
		    "control channel: the relay was silent for %llu s",
		    (unsigned long long)(limit + 999) / 1000);
		lose(h, &err);
		return;
	}
	if (h->renew_due_ms && wall_ms() >= h->renew_due_ms)
		send_renewal(h);
	if (now >= h->pong_due_ms) {
		/* Unasked: keeps proxies from cutting the channel, and finds
		 * out when it is dead. A Ping might get us cut (spec 4.4). */
		ws_send_pong(h->ws, NULL, 0);
		h->pong_due_ms = now + h->o.keepalive_ms;
	}
	set_due(h);
}

/* --- the channel's events --- */

static void
on_text(void *owner, uint8_t *data, size_t len)
{
	struct hc_listener *h = owner;
	struct hc_message m;
	struct hc_accept *a;

	if (h->leaving)
		return;
	/* What makes no sense is ignored: the channel is worth more (L19). */
	if (!hc_message_parse(&m, data, len, NULL)) {
		h->stats.ignored++;
		return;
	}
	a = m.kind == HC_MESSAGE_ACCEPT
	        ? hc_accept_new(h->room, &m.accept, NULL)
	        : NULL;
	if (m.kind != HC_MESSAGE_ACCEPT)
		hc_message_fini(&m);
	if (!a) {
		h->stats.ignored++;
		return;
	}
	h->stats.accepts++;
	h->events->on_accept(h->owner, a);
}

static void
on_close(void *owner, int code, const char *reason)
{
	struct hc_listener *h = owner;
	char shown[160];
	struct err err;

	text_escape(reason, strlen(reason), shown, sizeof shown);
	if (code == WS_CODE_POLICY)
		err_set(&err, ERR_AUTH,
		    "control channel: the relay no longer takes the token: %s",
		    shown);
	else if (code == WS_CODE_GOING_AWAY)
		err_set(&err, ERR_CLOSED,
		    "control channel: the relay is going away, or the hybrid "
		    "connection was deleted: %s",
		    shown);
	else
		err_set(&err, ERR_CLOSED,
		    "control channel: closed by the relay (%d %s)", code,
		    shown);
	lose(h, &err);
}

static void
on_ws_error(void *owner, const struct err *err)
{
	struct err told = *err;

	err_prefix(&told, "control channel");
	lose(owner, &told);
}

static const struct ws_events channel_events = {
    .on_text = on_text,
    .on_close = on_close,
    .on_error = on_ws_error,
};

/* --- registering --- */

static void
on_upgrade_open(void *owner, struct ws *w)
{
	struct hc_listener *h = owner;
	struct stream *bottom = stream_bottom(ws_below(w));

	hc_upgrade_close(h->upgrade);
	h->upgrade = NULL;
	h->ws = w;
	ws_set_owner(w, &channel_events, h);
	if (sock_is(bottom))
		sock_set_keepalive(bottom, TCP_KEEPALIVE_S);
	h->stats.connects++;
	h->was_online = true;
	h->online_ms = loop_now_ms(h->loop);
	h->pong_due_ms = h->online_ms + h->o.keepalive_ms;
	set_due(h);
	ws_start(w);
	if (h->events->on_online)
		h->events->on_online(h->owner);
}

/* A token that was made elsewhere has run out: coming back cannot help. */
static bool
is_token_spent(const struct hc_listener *h)
{
	struct hc_token token;
	bool is_spent;

	if (!h->target.token || !hc_token_parse(&token, h->target.token, NULL))
		return false;
	is_spent =
	    token.kind == HC_TOKEN_SAS && (int64_t)time(NULL) > token.expiry_s;
	hc_token_fini(&token);
	return is_spent;
}

static bool
is_final(const struct hc_listener *h, const struct err *err)
{
	if (err->http_status == 404 || err->code == ERR_USAGE)
		return true;
	if (err->http_status == 401 && is_token_spent(h))
		return true;
	if (h->was_online)
		return false;
	/* What is neither a refusal nor a wrong certificate may pass. */
	return !h->o.retry_first || !err_is_transient(err->code);
}

static void
on_upgrade_error(
    void *owner, const struct err *err, const struct http1_head *head)
{
	struct hc_listener *h = owner;
	struct err told = *err;

	if (head) {
		const struct hc_refusal refusal = {
		    .use = HC_TARGET_LISTEN,
		    .target = &h->target,
		    .status = head->status,
		    .reason = head->reason,
		    .date = http1_get(head, "Date"),
		    .now_s = (int64_t)time(NULL),
		};

		hc_refusal_explain(&refusal, &told);
	}
	drop_channel(h);
	if (is_final(h, &told))
		fail(h, &told);
	else
		come_back_later(h, &told);
}

static const struct hc_upgrade_events upgrade_events = {
    .on_open = on_upgrade_open,
    .on_error = on_upgrade_error,
};

static void
connect_now(void *owner)
{
	struct hc_listener *h = owner;
	const struct ws_options ws = {
	    .answer_close = true,
	    .text_max = TEXT_MAX,
	};
	struct http1_field field = {.name = (char *)"ServiceBusAuthorization"};
	struct hc_upgrade_request request = {
	    .fields = &field,
	    .n_fields = 1,
	    .ws = &ws,
	    .timeout_ms = h->o.open_timeout_ms,
	};
	struct buf b;
	char *target;

	buf_init(&b, HC_URL_MAX);
	hc_url_build_listen(&b, h->target.path, h->id);
	target = buf_take_text(&b);
	field.value = make_token(h);
	request.target = target;
	hc_target_address(&h->target, &request.at);
	h->upgrade =
	    hc_upgrade_open(h->loop, h->dialer, &request, &upgrade_events, h);
	mem_free_secret(field.value);
	free(target);
}

/* --- life --- */

static uint64_t
or_default(uint64_t value, uint64_t otherwise)
{
	return value ? value : otherwise;
}

static void
set_options(struct hc_listener *h, const struct hc_listener_options *o)
{
	if (o)
		h->o = *o;
	o = &h->o;
	h->o.token_ttl_s = or_default(o->token_ttl_s, HC_TOKEN_TTL_S);
	h->o.renew_ms = or_default(o->renew_ms, o->token_ttl_s * 750);
	h->o.keepalive_ms = or_default(o->keepalive_ms, KEEPALIVE_MS);
	h->o.open_timeout_ms = or_default(o->open_timeout_ms, OPEN_TIMEOUT_MS);
	h->o.close_timeout_ms =
	    or_default(o->close_timeout_ms, CLOSE_TIMEOUT_MS);
	if (!o->retry_ms || o->n_retry == 0) {
		h->o.retry_ms = default_retry_ms;
		h->o.n_retry =
		    sizeof default_retry_ms / sizeof default_retry_ms[0];
	}
}

struct hc_listener *
hc_listener_open(struct loop *l, struct dialer *d, const struct hc_target *t,
    const struct hc_listener_options *o,
    const struct hc_listener_events *events, void *owner)
{
	struct hc_listener *h = mem_zalloc(sizeof *h);

	assert(t->host && t->path && (t->token || (t->key && t->key_name)));
	h->loop = l;
	h->dialer = d;
	hc_target_copy(&h->target, t);
	set_options(h, o);
	h->events = events;
	h->owner = owner;
	crypt_uuid(h->id);
	h->room =
	    hc_accept_room_new(l, d, h->target.path, h->o.accept_timeout_ms);
	timer_init(&h->retry, l, connect_now, h);
	timer_init(&h->due, l, on_due, h);
	timer_init(&h->linger, l, on_linger_over, h);
	deferred_init(&h->closed, l, on_closed_due, h);
	connect_now(h);
	return h;
}

static void
listener_free(void *object)
{
	struct hc_listener *h = object;

	hc_target_fini(&h->target);
	free(h);
}

void
hc_listener_close(struct hc_listener *h)
{
	assert(!h->closing);
	h->closing = true;
	timer_clear(&h->retry);
	timer_clear(&h->linger);
	deferred_clear(&h->closed);
	drop_channel(h);
	hc_accept_room_close(h->room);
	loop_bury(h->loop, h, listener_free);
}

bool
hc_listener_is_online(const struct hc_listener *h)
{
	return h->ws != NULL && !h->leaving;
}

void
hc_listener_get_stats(
    const struct hc_listener *h, struct hc_listener_stats *out)
{
	*out = h->stats;
}

/* SPDX-License-Identifier: MIT
 *
 * A listener is told of its senders over this WebSocket and says little
 * itself. One timer serves it all: our Pings, its silence, and the end of its
 * token, which counts only when the grace is over, for the service's clients
 * renew at or just behind the expiry (specification 2.7).
 *
 *   OPEN --its Close (answered), token over, control_shutdown--> CLOSING
 *     \--lost, silent--------------------------------\---> ENDED
 */
#include "relay/control.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "hc/hc_message.h"
#include "net/loop.h"
#include "net/sock.h"
#include "net/stream.h"
#include "relay/relay.h"
#include "util/err.h"
#include "util/log.h"
#include "util/mem.h"
#include "ws/ws.h"
#include "ws/ws_frame.h"

#define TEXT_MAX ((size_t)64 * 1024)
/* Until the first Ping: behind what the handshake itself sets off. */
#define FIRST_PING_MS 1000u

#define KEEPALIVE_S 60

/* A listener that reads none of its accepts is as good as lost. */
#define QUEUE_MAX ((size_t)1024 * 1024)

enum phase { OPEN, CLOSING, ENDED };

struct control {
	struct control_info info;
	struct loop *loop;
	struct ws *ws;
	const struct relay_limits *limits;
	const struct control_events *events;
	void *owner;
	enum phase phase;
	struct timer timer;
	struct deferred end;
	uint64_t token_end_ms; /* loop time: expiry and grace */
	bool is_closing;
};

static void
set_token_end(struct control *c, int64_t expiry_s)
{
	int64_t left_s = expiry_s - (int64_t)time(NULL);
	uint64_t now = loop_now_ms(c->loop);
	uint64_t grace = c->limits->token_grace_ms;

	/* A century is for ever, and does not overflow. */
	if (left_s > INT64_C(3155760000))
		left_s = INT64_C(3155760000);
	if (left_s >= 0)
		c->token_end_ms = now + (uint64_t)left_s * 1000 + grace;
	else if ((uint64_t)-left_s * 1000 < grace)
		c->token_end_ms = now + grace - (uint64_t)-left_s * 1000;
	else
		c->token_end_ms = now;
}

static void
set_timer(struct control *c, uint64_t ping_ms)
{
	uint64_t now = loop_now_ms(c->loop);
	uint64_t left = c->token_end_ms > now ? c->token_end_ms - now : 0;

	timer_set(&c->timer, left < ping_ms ? left : ping_ms);
}

/* --- ending --- */

static void
end(struct control *c)
{
	if (c->phase == ENDED)
		return;
	c->phase = ENDED;
	timer_clear(&c->timer);
	ws_stop(c->ws);
	deferred_set(&c->end);
}

static void
on_end_due(void *owner)
{
	struct control *c = owner;

	c->events->on_end(c->owner, c);
}

/* Waits for the peer's Close, so that ours is read. */
static void
begin_closing(struct control *c)
{
	c->phase = CLOSING;
	timer_set(&c->timer, c->limits->close_ms);
}

/* Our own ending: a Close to the listener, on_gone to the owner. */
static void
expel(struct control *c, int code, const char *reason)
{
	ws_shutdown(c->ws, code, reason);
	begin_closing(c);
	c->events->on_gone(c->owner, c, reason);
}

static void
lose(struct control *c, const char *reason)
{
	bool was_open = c->phase == OPEN;

	end(c);
	if (was_open)
		c->events->on_gone(c->owner, c, reason);
}

/* --- from the listener --- */

static void
renew(struct control *c, const char *token)
{
	int64_t expiry_s;
	struct err err;

	if (!c->events->on_renew(c->owner, c, token, &expiry_s, &err)) {
		expel(c, WS_CODE_POLICY, err.text);
		return;
	}
	c->info.renewals++;
	set_token_end(c, expiry_s);
	set_timer(c, c->limits->ping_ms);
	log_debug("token renewed", "id=%s", c->info.id);
}

static void
on_text(void *owner, uint8_t *data, size_t len)
{
	struct control *c = owner;
	struct hc_message m;
	struct err err;

	if (c->phase != OPEN)
		return;
	/* Whatever is not understood is ignored: clients differ. */
	if (!hc_message_parse(&m, data, len, &err)) {
		log_debug(
		    "message ignored", "id=%s reason=%s", c->info.id, err.text);
		return;
	}
	if (m.kind == HC_MESSAGE_RENEW_TOKEN)
		renew(c, m.renew_token.token);
	else
		log_debug("message ignored", "id=%s", c->info.id);
	hc_message_fini(&m);
}

static void
on_close(void *owner, int code, const char *reason)
{
	struct control *c = owner;

	(void)code;
	(void)reason;
	/* The answer to ours, or answered by ws: either way all is said, and
	 * the server ends TCP first. */
	lose(c, "closed by the listener");
}

static void
on_error(void *owner, const struct err *err)
{
	lose(owner, err->text);
}

static const struct ws_events control_ws_events = {
    .on_text = on_text,
    .on_close = on_close,
    .on_error = on_error,
};

/* --- time --- */

static void
on_due(void *owner)
{
	struct control *c = owner;
	uint64_t now = loop_now_ms(c->loop);
	uint64_t idle = now - ws_last_in_ms(c->ws);

	if (c->phase == CLOSING) {
		end(c);
	} else if (now >= c->token_end_ms) {
		expel(c, WS_CODE_POLICY, "token is expired");
	} else if (idle >= c->limits->silence_ms) {
		lose(c, "silent");
	} else {
		/* Always, also when the listener has just spoken: it takes a
		 * relay that pings and then does not for lost. */
		ws_send_ping(c->ws, NULL, 0);
		set_timer(c, c->limits->ping_ms);
	}
}

/* --- life --- */

struct control *
control_open(struct loop *l, const struct control_options *o,
    const struct relay_limits *limits, const struct control_events *events,
    void *owner)
{
	struct stream *bottom = stream_bottom(o->stream);
	struct control *c = mem_zalloc(sizeof *c);
	const struct ws_options options = {
	    .answer_close = true,
	    .text_max = TEXT_MAX,
	    .early = o->early,
	    .early_len = o->early_len,
	};

	list_init(&c->info.link);
	list_init(&c->info.registered.link);
	c->info.peer = o->peer;
	c->info.start_ms = loop_now_ms(l);
	memcpy(c->info.id, o->id, CRYPT_UUID_SIZE);
	c->info.authority = mem_strdup(o->authority);
	c->info.is_secure = o->is_secure;
	c->loop = l;
	c->limits = limits;
	c->events = events;
	c->owner = owner;
	timer_init(&c->timer, l, on_due, c);
	deferred_init(&c->end, l, on_end_due, c);
	set_token_end(c, o->expiry_s);
	if (sock_is(bottom))
		sock_set_keepalive(bottom, KEEPALIVE_S);
	c->ws = ws_open(o->stream, &options, &control_ws_events, c);
	free(o->early);
	ws_start(c->ws);
	/* The first one soon: from then on the listener knows that we ping. */
	set_timer(c,
	    FIRST_PING_MS < limits->ping_ms ? FIRST_PING_MS : limits->ping_ms);
	return c;
}

struct control_info *
control_info(struct control *c)
{
	return &c->info;
}

struct control *
control_of(struct registry_listener *l)
{
	return (struct control *)(void *)((char *)l -
	                                  offsetof(struct control, info) -
	                                  offsetof(
	                                      struct control_info, registered));
}

void
control_send(struct control *c, const char *text, size_t len)
{
	if (c->phase != OPEN)
		return;
	c->info.accepts++;
	/* Beyond this it is silent and will be found so. */
	if (ws_queued(c->ws) < QUEUE_MAX)
		ws_send_text(c->ws, text, len);
}

void
control_shutdown(struct control *c, int code, const char *reason)
{
	if (c->phase != OPEN)
		return;
	ws_shutdown(c->ws, code, reason);
	begin_closing(c);
}

static void
free_control(void *object)
{
	struct control *c = object;

	free(c->info.authority);
	free(c);
}

void
control_close(struct control *c)
{
	assert(!c->is_closing);
	assert(!c->info.registered.entity);
	c->is_closing = true;
	c->phase = ENDED;
	timer_clear(&c->timer);
	deferred_clear(&c->end);
	ws_close(c->ws, false);
	loop_bury(c->loop, c, free_control);
}

/* SPDX-License-Identifier: MIT
 *
 * The sample way as a row of the table: the listener's side reads an accept by
 * way_sample_wire, the sender's side is one hc_sender whose WebSocket becomes
 * a way_sample_stream; the dial is over when that is open.
 *
 *     hc (dialling) --on_open--> stream (awaits ready) --on_open--> done
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "hc/hc_accept.h"
#include "hc/hc_sender.h"
#include "net/http1.h"
#include "net/loop.h"
#include "net/stream.h"
#include "tunnel/way.h"
#include "tunnel/way_sample_stream.h"
#include "tunnel/way_sample_wire.h"
#include "util/buf.h"
#include "util/err.h"
#include "util/mem.h"
#include "ws/ws.h"

/* The subprotocol of another way. */
#define OTHER_PROTOCOL "hyco.tunnel.v1"
#define QUERY_MAX ((size_t)2048)

/* --- the listener's side --- */

static bool
is_asked(const struct hc_accept *a)
{
	(void)a;
	return true;
}

static const char *
get_protocol(const struct hc_accept *a)
{
	return hc_accept_has_protocol(a, OTHER_PROTOCOL) ? "" : NULL;
}

static bool
read_login(struct way_ask *ask, const char *field, struct err *e)
{
	struct way_sample_wire_login login;

	if (field == NULL)
		return true;
	if (!way_sample_wire_parse_basic(&login, field, e))
		return false;
	ask->user = mem_strdup(login.user);
	ask->password = mem_strdup(login.password);
	mem_wipe(&login, sizeof(login));
	return true;
}

static bool
read_ask(const struct hc_accept *a, struct way_ask *ask, struct err *e)
{
	const char *half_close = hc_accept_field(a, WAY_SAMPLE_WIRE_HALF_CLOSE);
	struct way_sample_wire_query query;

	memset(ask, 0, sizeof(*ask));
	if (!way_sample_wire_parse_query(
	        &query, hc_accept_suffix(a), hc_accept_raw_query(a), e) ||
	    !read_login(ask, hc_accept_field(a, "Authorization"), e)) {
		err_prefix(e, "request");
		return false;
	}
	ask->is_login = query.is_login;
	ask->has_destination = query.has_destination;
	ask->destination = query.destination;
	ask->half_close = half_close != NULL && strcmp(half_close, "1") == 0;
	return true;
}

static struct stream *
serve(struct ws *w, const struct way_serve_options *o,
    const struct stream_events *events, void *owner)
{
	const struct way_sample_stream_options options = {
	    .is_listener = true,
	    .details = o->details,
	    .half_close = o->half_close,
	    .ping_ms = o->ping_ms,
	};

	return way_sample_stream_open(w, &options, events, owner);
}

/* --- the sender's side --- */

struct way_dial {
	struct loop *loop;
	struct hc_sender *hc;  /* while the relay is asked */
	struct stream *stream; /* while ready is awaited */
	struct timer deadline;
	const struct way_dial_events *events;
	void *owner;
	uint64_t due_ms; /* loop time */
	uint64_t timeout_ms;
	uint64_t ping_ms;
	uint64_t half_idle_ms;
	bool closing;
};

static void
drop_hc(struct way_dial *d)
{
	struct hc_sender *hc = d->hc;

	d->hc = NULL;
	if (hc != NULL)
		hc_sender_close(hc);
}

static void
drop_stream(struct way_dial *d)
{
	struct stream *s = d->stream;

	d->stream = NULL;
	if (s != NULL)
		stream_reset(s);
}

/* Whose word it was, by the words of hc_refusal. A 403 of a listener without a
 * word that is ours comes from an original, whose only reason to say so is the
 * password. */
static enum way_refusal
judge_refusal(struct err *err)
{
	if (err->http_status == 0)
		return WAY_REFUSAL_NONE;
	if (strstr(err->text, "user or password") != NULL)
		return WAY_REFUSAL_LOGIN;
	if (strstr(err->text, "TrackingId") != NULL || err->http_status == 401)
		return WAY_REFUSAL_RELAY;
	if (err->http_status != 403 || strstr(err->text, "policy") != NULL)
		return WAY_REFUSAL_OTHER;
	return WAY_REFUSAL_LOGIN;
}

static void
on_hc_error(void *owner, const struct err *given)
{
	struct way_dial *d = owner;
	struct err err = *given;
	enum way_refusal refusal = judge_refusal(&err);

	drop_hc(d);
	if (refusal == WAY_REFUSAL_LOGIN)
		err.code = ERR_AUTH;
	d->events->on_error(d->owner, &err, refusal);
}

static void
on_stream_open(void *owner)
{
	struct way_dial *d = owner;
	struct stream *s = d->stream;

	d->stream = NULL;
	timer_clear(&d->deadline);
	stream_set_owner(s, NULL, NULL);
	d->events->on_open(d->owner, s);
}

static void
on_stream_error(void *owner, const struct err *err)
{
	struct way_dial *d = owner;

	drop_stream(d);
	timer_clear(&d->deadline);
	d->events->on_error(d->owner, err,
	    err->code == ERR_REFUSED ? WAY_REFUSAL_OTHER : WAY_REFUSAL_NONE);
}

static const struct stream_events stream_events = {
    .on_open = on_stream_open,
    .on_error = on_stream_error,
};

static void
on_hc_open(void *owner, struct ws *w)
{
	struct way_dial *d = owner;
	const struct way_sample_stream_options o = {
	    .ping_ms = d->ping_ms,
	    .half_idle_ms = d->half_idle_ms,
	};

	uint64_t now = loop_now_ms(d->loop);

	drop_hc(d);
	timer_set(&d->deadline, d->due_ms > now ? d->due_ms - now : 1);
	d->stream = way_sample_stream_open(w, &o, &stream_events, d);
}

static const struct hc_sender_events hc_events = {
    .on_open = on_hc_open,
    .on_error = on_hc_error,
};

static void
on_deadline(void *owner)
{
	struct way_dial *d = owner;
	struct err err;

	err_set(&err, ERR_TIMEOUT,
	    "listener: not ready within %u s (the sample's server.js stays "
	    "silent when user or password is wrong)",
	    (unsigned)(d->timeout_ms / 1000));
	drop_stream(d);
	d->events->on_error(d->owner, &err, WAY_REFUSAL_NONE);
}

static struct hc_sender *
ask_relay(struct way_dial *d, const struct way_dial_options *o)
{
	char name[] = "Authorization",
	     half_close[] = WAY_SAMPLE_WIRE_HALF_CLOSE;
	char one[] = "1";
	struct http1_field fields[2] = {{half_close, one}};
	struct buf query;
	struct hc_sender_options options = {
	    .fields = fields,
	    .n_fields = 1,
	    .timeout_ms = o->timeout_ms,
	    .ws = &way_sample_stream_ws,
	};
	char *credentials = NULL, *text;
	struct hc_sender *hc;

	if (o->credentials != NULL) {
		credentials = mem_strdup(o->credentials);
		fields[options.n_fields++] =
		    (struct http1_field){name, credentials};
	}
	buf_init(&query, QUERY_MAX);
	way_sample_wire_build_query(&query, o->destination);
	text = buf_take_text(&query);
	options.query = text;
	hc = hc_sender_open(
	    o->loop, o->dialer, o->target, &options, &hc_events, d);
	free(text);
	mem_free_secret(credentials);
	return hc;
}

static struct way_dial *
open_dial(const struct way_dial_options *o,
    const struct way_dial_events *events, void *owner)
{
	struct way_dial *d = mem_zalloc(sizeof(*d));

	d->loop = o->loop;
	d->events = events;
	d->owner = owner;
	d->timeout_ms = o->timeout_ms;
	d->ping_ms = o->ping_ms;
	d->half_idle_ms = o->half_idle_ms;
	timer_init(&d->deadline, o->loop, on_deadline, d);
	d->due_ms = loop_now_ms(o->loop) + o->timeout_ms;
	d->hc = ask_relay(d, o);
	return d;
}

static void
close_dial(struct way_dial *d)
{
	assert(!d->closing);
	d->closing = true;
	timer_clear(&d->deadline);
	drop_hc(d);
	drop_stream(d);
	loop_bury(d->loop, d, free);
}

const struct way way_sample = {
    .name = "sample",
    .mode = CLIENT_SAMPLE,
    .is_asked = is_asked,
    .get_protocol = get_protocol,
    .ws = &way_sample_stream_ws,
    .read = read_ask,
    .serve = serve,
    .credentials = way_sample_wire_build_basic,
    .open_dial = open_dial,
    .close_dial = close_dial,
};

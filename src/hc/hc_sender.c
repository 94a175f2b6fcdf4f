/* SPDX-License-Identifier: MIT
 *
 * A sender is an upgrade with the right URL and token; what is of its own is
 * telling people why it was refused.
 */
#include "hc/hc_sender.h"

#include <assert.h>
#include <stdlib.h>
#include <time.h>

#include "hc/hc_refusal.h"
#include "hc/hc_target.h"
#include "hc/hc_token.h"
#include "hc/hc_upgrade.h"
#include "hc/hc_url.h"
#include "net/http1.h"
#include "net/loop.h"
#include "util/buf.h"
#include "util/crypt.h"
#include "util/err.h"
#include "util/mem.h"

struct hc_sender {
	struct loop *loop;
	struct hc_target target;
	const struct hc_sender_events *events;
	void *owner;
	struct hc_upgrade *upgrade;
	struct deferred failure; /* what failed before anything was dialled */
	struct err err;
	bool closing;
};

static void
on_upgrade_open(void *owner, struct ws *w)
{
	struct hc_sender *s = owner;

	s->events->on_open(s->owner, w);
}

static void
on_upgrade_error(
    void *owner, const struct err *err, const struct http1_head *head)
{
	struct hc_sender *s = owner;
	struct err told = *err;

	if (head) {
		const struct hc_refusal refusal = {
		    .use = HC_TARGET_SEND,
		    .target = &s->target,
		    .status = head->status,
		    .reason = head->reason,
		    .date = http1_get(head, "Date"),
		    .now_s = (int64_t)time(NULL),
		};

		hc_refusal_explain(&refusal, &told);
	}
	s->events->on_error(s->owner, &told);
}

static const struct hc_upgrade_events upgrade_events = {
    .on_open = on_upgrade_open,
    .on_error = on_upgrade_error,
};

static void
on_failure(void *owner)
{
	struct hc_sender *s = owner;

	s->events->on_error(s->owner, &s->err);
}

/* The user's fields, and the token behind them (NULL: anonymous). */
static void
start(struct hc_sender *s, struct dialer *d, const struct hc_sender_options *o,
    const char *target, char *token)
{
	struct http1_field *fields =
	    mem_zalloc((o->n_fields + 1) * sizeof *fields);
	struct hc_upgrade_request request = {
	    .target = target,
	    .protocol = o->protocol,
	    .fields = fields,
	    .n_fields = o->n_fields,
	    .ws = o->ws,
	    .timeout_ms = o->timeout_ms ? o->timeout_ms : HC_SENDER_TIMEOUT_MS,
	};

	for (size_t i = 0; i < o->n_fields; i++)
		fields[i] = o->fields[i];
	if (token)
		fields[request.n_fields++] = (struct http1_field){
		    .name = (char *)"ServiceBusAuthorization",
		    .value = token,
		};
	hc_target_address(&s->target, &request.at);
	s->upgrade = hc_upgrade_open(s->loop, d, &request, &upgrade_events, s);
	free(fields);
}

/* Refused here, before anything is dialled (S3). */
static bool
check_fields(const struct hc_sender_options *o, struct err *e)
{
	struct buf b;
	bool is_good;

	buf_init(&b, HTTP1_HEAD_MAX);
	is_good =
	    http1_build_request(&b, "GET", "/", o->fields, o->n_fields, e);
	buf_fini(&b);
	return is_good;
}

static bool
build_target(struct hc_sender *s, const struct hc_sender_options *o,
    struct buf *out, struct err *e)
{
	char id[CRYPT_UUID_SIZE];

	crypt_uuid(id);
	buf_init(out, HC_URL_MAX);
	if (hc_url_build_connect(out, s->target.path, o->suffix, o->query, id))
		return true;
	buf_fini(out);
	return err_set(e, ERR_USAGE, "the path and query are too long");
}

struct hc_sender *
hc_sender_open(struct loop *l, struct dialer *d, const struct hc_target *t,
    const struct hc_sender_options *o, const struct hc_sender_events *events,
    void *owner)
{
	static const struct hc_sender_options none;
	struct hc_sender *s = mem_zalloc(sizeof *s);
	char *token, *text;
	struct buf target;

	o = o ? o : &none;
	s->loop = l;
	s->events = events;
	s->owner = owner;
	hc_target_copy(&s->target, t);
	deferred_init(&s->failure, l, on_failure, s);
	if (!check_fields(o, &s->err) ||
	    !build_target(s, o, &target, &s->err)) {
		deferred_set(&s->failure);
		return s;
	}
	token = hc_target_make_token(
	    t, (int64_t)time(NULL) +
	           (int64_t)(o->token_ttl_s ? o->token_ttl_s : HC_TOKEN_TTL_S));
	text = buf_take_text(&target);
	start(s, d, o, text, token);
	mem_free_secret(token);
	free(text);
	return s;
}

static void
sender_free(void *object)
{
	struct hc_sender *s = object;

	hc_target_fini(&s->target);
	free(s);
}

bool
hc_sender_has_protocol(const struct hc_sender *s)
{
	return s->upgrade && hc_upgrade_has_protocol(s->upgrade);
}

void
hc_sender_close(struct hc_sender *s)
{
	assert(!s->closing);
	s->closing = true;
	deferred_clear(&s->failure);
	if (s->upgrade)
		hc_upgrade_close(s->upgrade);
	loop_bury(s->loop, s, sender_free);
}

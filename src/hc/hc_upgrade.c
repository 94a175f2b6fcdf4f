/* SPDX-License-Identifier: MIT
 *
 * Which pointer is set is the state: dial while the way to the relay is built,
 * client while the handshake is under way, none when the result was told.
 */
#include "hc/hc_upgrade.h"

#include <assert.h>
#include <stdlib.h>

#include "hc/hc_url.h"
#include "net/dial.h"
#include "net/http1.h"
#include "net/loop.h"
#include "util/err.h"
#include "util/mem.h"
#include "util/text.h"
#include "ws/ws_client.h"

#define TEXT_MAX ((size_t)64 * 1024)

struct hc_upgrade {
	struct loop *loop;
	const struct hc_upgrade_events *events;
	void *owner;
	struct hostport at;
	char *target;
	char *protocol;
	struct http1_field *fields;
	size_t n_fields;
	struct ws_options ws;
	struct timer deadline; /* of the dial; then the client keeps it */
	uint64_t timeout_ms;
	uint64_t start_ms;
	struct dial *dial;
	struct ws_client *client;
	bool has_protocol;
	bool closing;
};

static void
upgrade_free(void *object)
{
	struct hc_upgrade *u = object;

	for (size_t i = 0; i < u->n_fields; i++) {
		free(u->fields[i].name);
		mem_free_secret(u->fields[i].value);
	}
	free(u->fields);
	/* An accept address is a secret as long as nobody used it. */
	mem_free_secret(u->target);
	free(u->protocol);
	free(u);
}

static void
fail(struct hc_upgrade *u, struct err *err, const struct http1_head *head)
{
	timer_clear(&u->deadline);
	u->events->on_error(u->owner, err, head);
}

/* `what` did not come in time. */
static void
set_timeout(struct hc_upgrade *u, const char *what, struct err *err)
{
	char host[HOSTPORT_TEXT_MAX];
	char duration[48];

	text_print_duration(u->timeout_ms, duration, sizeof duration);
	err_set(err, ERR_TIMEOUT, "relay %s: %s within %s",
	    hostport_print(&u->at, host), what, duration);
}

static void
on_deadline(void *owner)
{
	struct hc_upgrade *u = owner;
	struct err err;

	set_timeout(u, "no connection", &err);
	dial_close(u->dial);
	u->dial = NULL;
	fail(u, &err, NULL);
}

static void
on_client_open(void *owner, struct ws *w, const struct http1_head *head)
{
	struct hc_upgrade *u = owner;

	u->has_protocol = http1_get(head, "Sec-WebSocket-Protocol") != NULL;
	u->events->on_open(u->owner, w);
}

static void
on_client_error(void *owner, const struct err *err)
{
	struct hc_upgrade *u = owner;
	char host[HOSTPORT_TEXT_MAX];
	struct err told = *err;

	if (!ws_client_head(u->client) && err->code == ERR_TIMEOUT)
		set_timeout(u,
		    "it was reached, but there was no answer to the request",
		    &told);
	else
		err_prefix(&told, "relay %s", hostport_print(&u->at, host));
	/* A parser's own verdict is no answer of the peer. */
	if (!ws_client_head(u->client))
		told.http_status = 0;
	fail(u, &told, ws_client_head(u->client));
}

static const struct ws_client_events client_events = {
    .on_open = on_client_open,
    .on_error = on_client_error,
};

static void
on_dial_open(void *owner, struct stream *s)
{
	struct hc_upgrade *u = owner;
	const uint64_t spent_ms = loop_now_ms(u->loop) - u->start_ms;
	char host[HOSTPORT_TEXT_MAX];
	struct ws_request request = {
	    .target = u->target,
	    .protocol = u->protocol,
	    .fields = u->fields,
	    .n_fields = u->n_fields,
	};
	struct err err;

	dial_close(u->dial);
	u->dial = NULL;
	timer_clear(&u->deadline);
	request.host = hc_url_host_header(&u->at, host);
	u->client = ws_client_open(s, &request, &u->ws,
	    spent_ms < u->timeout_ms ? u->timeout_ms - spent_ms : 1,
	    &client_events, u, &err);
	if (!u->client)
		fail(u, &err, NULL);
}

static void
on_dial_error(void *owner, const struct err *err)
{
	struct hc_upgrade *u = owner;
	struct err told = *err;

	dial_close(u->dial);
	u->dial = NULL;
	fail(u, &told, NULL);
}

static const struct dial_events dial_events = {
    .on_open = on_dial_open,
    .on_error = on_dial_error,
};

static void
copy_fields(struct hc_upgrade *u, const struct hc_upgrade_request *r)
{
	u->fields = mem_zalloc(r->n_fields * sizeof *u->fields);
	u->n_fields = r->n_fields;
	for (size_t i = 0; i < r->n_fields; i++) {
		u->fields[i].name = mem_strdup(r->fields[i].name);
		u->fields[i].value = mem_strdup(r->fields[i].value);
	}
}

struct hc_upgrade *
hc_upgrade_open(struct loop *l, struct dialer *d,
    const struct hc_upgrade_request *r, const struct hc_upgrade_events *events,
    void *owner)
{
	struct hc_upgrade *u = mem_zalloc(sizeof *u);

	u->loop = l;
	u->events = events;
	u->owner = owner;
	u->at = r->at;
	u->target = mem_strdup(r->target);
	u->protocol = r->protocol ? mem_strdup(r->protocol) : NULL;
	copy_fields(u, r);
	if (r->ws)
		u->ws = *r->ws;
	else
		u->ws.text_max = TEXT_MAX;
	u->ws.client = true;
	u->ws.early = NULL;
	u->ws.early_len = 0;
	u->timeout_ms = r->timeout_ms;
	u->start_ms = loop_now_ms(l);
	timer_init(&u->deadline, l, on_deadline, u);
	timer_set(&u->deadline, u->timeout_ms);
	u->dial = dial_open(d, &u->at, &dial_events, u);
	return u;
}

bool
hc_upgrade_has_protocol(const struct hc_upgrade *u)
{
	return u->has_protocol;
}

void
hc_upgrade_close(struct hc_upgrade *u)
{
	assert(!u->closing);
	u->closing = true;
	timer_clear(&u->deadline);
	if (u->dial)
		dial_close(u->dial);
	if (u->client)
		ws_client_close(u->client);
	loop_bury(u->loop, u, upgrade_free);
}

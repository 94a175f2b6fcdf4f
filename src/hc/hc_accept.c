/* SPDX-License-Identifier: MIT
 *
 * An accept is in one of three hands: the receiver's (room->held), its own
 * while a reject is on its way (room->rejects), or the graveyard's. The room is
 * what lets the listener wait for rejects and drop them when it goes.
 */
#include "hc/hc_accept.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "hc/hc_message.h"
#include "hc/hc_upgrade.h"
#include "hc/hc_url.h"
#include "net/http1.h"
#include "net/loop.h"
#include "util/buf.h"
#include "util/err.h"
#include "util/list.h"
#include "util/mem.h"
#include "util/text.h"
#include "ws/ws.h"

struct hc_accept_room {
	struct loop *loop;
	struct dialer *dialer;
	char *path;
	uint64_t timeout_ms;
	struct list held;
	struct list rejects;
	void (*on_idle)(void *owner);
	void *owner;
};

/* A decoded query value that was asked for: kept for the accept's life. */
struct answer {
	struct list link;
	char *name;
	char *value;
};

struct hc_accept {
	struct list link;            /* in the room, while there is one */
	struct hc_accept_room *room; /* NULL: the listener is gone */
	struct loop *loop;
	struct dialer *dialer;
	uint64_t timeout_ms;
	struct hc_message message;
	struct hc_url url;
	char *suffix;
	char rendezvous[HOSTPORT_TEXT_MAX];
	struct list answers;
	struct hc_upgrade *upgrade; /* opening, or rejecting */
	const struct hc_accept_events *events;
	void *owner;
	bool closing;
};

/* --- the room --- */

struct hc_accept_room *
hc_accept_room_new(
    struct loop *l, struct dialer *d, const char *path, uint64_t timeout_ms)
{
	struct hc_accept_room *room = mem_zalloc(sizeof *room);

	room->loop = l;
	room->dialer = d;
	room->path = mem_strdup(path);
	room->timeout_ms = timeout_ms ? timeout_ms : HC_ACCEPT_TIMEOUT_MS;
	list_init(&room->held);
	list_init(&room->rejects);
	return room;
}

static void
room_free(void *object)
{
	struct hc_accept_room *room = object;

	free(room->path);
	free(room);
}

void
hc_accept_room_close(struct hc_accept_room *room)
{
	struct list *at, *after;

	room->on_idle = NULL;
	LIST_EACH_SAFE (at, after, &room->rejects)
		hc_accept_close(LIST_OF(at, struct hc_accept, link));
	LIST_EACH_SAFE (at, after, &room->held) {
		LIST_OF(at, struct hc_accept, link)->room = NULL;
		list_remove(at);
	}
	loop_bury(room->loop, room, room_free);
}

bool
hc_accept_room_wait(
    struct hc_accept_room *room, void (*on_idle)(void *owner), void *owner)
{
	if (list_is_empty(&room->rejects))
		return false;
	room->on_idle = on_idle;
	room->owner = owner;
	return true;
}

/* --- life --- */

struct hc_accept *
hc_accept_new(
    struct hc_accept_room *room, struct hc_message_accept *m, struct err *e)
{
	struct hc_message message = {.kind = HC_MESSAGE_ACCEPT, .accept = *m};
	struct hc_accept *a;
	struct hc_url url;

	memset(m, 0, sizeof *m);
	if (!hc_url_parse(&url, message.accept.address, e)) {
		hc_message_fini(&message);
		return NULL;
	}
	a = mem_zalloc(sizeof *a);
	a->room = room;
	a->loop = room->loop;
	a->dialer = room->dialer;
	a->timeout_ms = room->timeout_ms;
	a->message = message;
	a->url = url;
	a->suffix = hc_url_suffix(url.target, room->path);
	hostport_print(&url.at, a->rendezvous);
	list_init(&a->answers);
	list_append(&room->held, &a->link);
	return a;
}

static void
accept_free(void *object)
{
	struct hc_accept *a = object;
	struct list *at, *after;

	LIST_EACH_SAFE (at, after, &a->answers) {
		struct answer *answer = LIST_OF(at, struct answer, link);

		free(answer->name);
		mem_free_secret(answer->value);
		free(answer);
	}
	hc_message_fini(&a->message);
	hc_url_fini(&a->url);
	free(a->suffix);
	free(a);
}

void
hc_accept_close(struct hc_accept *a)
{
	assert(!a->closing);
	a->closing = true;
	a->events = NULL;
	list_remove(&a->link);
	a->room = NULL;
	if (a->upgrade)
		hc_upgrade_close(a->upgrade);
	a->upgrade = NULL;
	loop_bury(a->loop, a, accept_free);
}

/* --- what the sender said --- */

const char *
hc_accept_id(const struct hc_accept *a)
{
	return a->message.accept.id;
}

const char *
hc_accept_suffix(const struct hc_accept *a)
{
	return a->suffix;
}

const char *
hc_accept_field(const struct hc_accept *a, const char *name)
{
	const struct hc_message_accept *m = &a->message.accept;

	for (size_t i = 0; i < m->n_fields; i++) {
		if (text_is_equal_nocase(m->fields[i].name, name))
			return m->fields[i].value;
	}
	return NULL;
}

struct hc_url_view
hc_accept_raw_query(const struct hc_accept *a)
{
	struct hc_url_view path, query;

	hc_url_split(a->url.target, &path, &query);
	return query;
}

const char *
hc_accept_query(const struct hc_accept *a, const char *name)
{
	struct hc_url_view path, query;
	struct answer *answer;
	struct list *at;
	char *value;

	LIST_EACH (at, &a->answers) {
		answer = LIST_OF(at, struct answer, link);
		if (text_is_equal_nocase(answer->name, name))
			return answer->value;
	}
	hc_url_split(a->url.target, &path, &query);
	value = hc_url_get(query, name);
	if (!value)
		return NULL;
	answer = mem_zalloc(sizeof *answer);
	answer->name = mem_strdup(name);
	answer->value = value;
	/* A cache: the accept looks the same before and after. */
	list_append((struct list *)&a->answers, &answer->link);
	return value;
}

const char *
hc_accept_remote_address(const struct hc_accept *a)
{
	return a->message.accept.remote_address;
}

uint16_t
hc_accept_remote_port(const struct hc_accept *a)
{
	return a->message.accept.remote_port;
}

bool
hc_accept_has_protocol(const struct hc_accept *a, const char *protocol)
{
	const char *offered = hc_accept_field(a, "Sec-WebSocket-Protocol");

	return offered && text_list_has(offered, protocol);
}

/* --- joining --- */

static void
on_join_open(void *owner, struct ws *w)
{
	struct hc_accept *a = owner;

	a->events->on_open(a->owner, w);
}

static void
on_join_error(void *owner, const struct err *err, const struct http1_head *head)
{
	struct hc_accept *a = owner;
	struct err told = *err;

	if (head) {
		err_set(&told, err->code,
		    "the relay gave the sender away before it was joined, or "
		    "the sender left (status %d)",
		    err->http_status);
		told.http_status = err->http_status;
	}
	err_prefix(&told, "rendezvous at %s", a->rendezvous);
	a->events->on_error(a->owner, &told);
}

static const struct hc_upgrade_events join_events = {
    .on_open = on_join_open,
    .on_error = on_join_error,
};

/* The first subprotocol that the sender offered; NULL: none. */
static char *
first_protocol(const struct hc_accept *a)
{
	const char *offered = hc_accept_field(a, "Sec-WebSocket-Protocol");
	size_t n;

	if (!offered)
		return NULL;
	offered = text_list_first(offered, &n);
	return n > 0 ? mem_strndup(offered, n) : NULL;
}

void
hc_accept_open(struct hc_accept *a, const struct hc_accept_options *o,
    const struct hc_accept_events *events, void *owner)
{
	const char *wanted = o ? o->protocol : NULL;
	char *protocol = wanted ? mem_strdup(wanted) : first_protocol(a);
	const struct hc_upgrade_request request = {
	    .at = a->url.at,
	    .target = a->url.target,
	    .protocol = protocol && *protocol ? protocol : NULL,
	    .ws = o ? o->ws : NULL,
	    .timeout_ms = a->timeout_ms,
	};

	assert(!a->closing && !a->upgrade);
	a->events = events;
	a->owner = owner;
	a->upgrade =
	    hc_upgrade_open(a->loop, a->dialer, &request, &join_events, a);
	free(protocol);
}

/* --- rejecting --- */

static void
reject_end(struct hc_accept *a)
{
	struct hc_accept_room *room = a->room;
	void (*on_idle)(void *owner);

	hc_accept_close(a);
	if (room && room->on_idle && list_is_empty(&room->rejects)) {
		on_idle = room->on_idle;
		room->on_idle = NULL;
		on_idle(room->owner);
	}
}

/* A relay that does not know the reject has joined the pair. */
static void
on_reject_open(void *owner, struct ws *w)
{
	ws_close(w, true);
	reject_end(owner);
}

static void
on_reject_error(
    void *owner, const struct err *err, const struct http1_head *head)
{
	(void)err;
	(void)head;
	reject_end(owner);
}

static const struct hc_upgrade_events reject_events = {
    .on_open = on_reject_open,
    .on_error = on_reject_error,
};

void
hc_accept_reject(struct hc_accept *a, int status, const char *text)
{
	struct hc_upgrade_request request = {
	    .at = a->url.at,
	    .timeout_ms = a->timeout_ms,
	};
	struct buf target;
	char *whole;

	assert(!a->closing && !a->upgrade);
	if (!a->room) {
		hc_accept_close(a);
		return;
	}
	if (status < 300 || status > 599)
		status = 400;
	buf_init(&target, HC_URL_MAX + 4096);
	if (!hc_url_build_reject(&target, a->url.target, status,
	        text ? text : "Rejected by the listener")) {
		buf_fini(&target);
		hc_accept_close(a);
		return;
	}
	whole = buf_take_text(&target);
	request.target = whole;
	list_remove(&a->link);
	list_append(&a->room->rejects, &a->link);
	a->upgrade =
	    hc_upgrade_open(a->loop, a->dialer, &request, &reject_events, a);
	mem_free_secret(whole);
}

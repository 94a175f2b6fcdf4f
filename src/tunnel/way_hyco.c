/* SPDX-License-Identifier: MIT
 *
 * The hyco way as a row of the table, and its room: a few links (sessions with
 * the listener), opened when they are needed, over which the dials are spread.
 * A dial waits until a link is ready, then is a channel of the one with the
 * fewest; its stream goes to the owner before the destination is reached.
 *
 *     dial (in room.waiting) --link ready--> start --> on_open
 *     link lost: forgotten, the next dial opens another
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "hc/hc_accept.h"
#include "hc/hc_target.h"
#include "mux/mux.h"
#include "net/loop.h"
#include "tunnel/way.h"
#include "tunnel/way_hyco_link.h"
#include "tunnel/way_hyco_trust.h"
#include "tunnel/way_sample_wire.h"
#include "util/err.h"
#include "util/list.h"
#include "util/log.h"
#include "util/mem.h"
#include "ws/ws.h"

#define MEMORY_USUAL ((size_t)256 * 1024 * 1024)

struct way_room {
	struct loop *loop;
	struct dialer *dialer;
	struct hc_target target;
	struct way_trust trust;
	bool has_trust;
	unsigned sessions;
	uint16_t window_s;
	uint64_t timeout_ms;
	struct mux_budget *budget;
	char place[HC_TARGET_TEXT_MAX];
	char *user;
	char *password; /* secret */
	struct list seats;
	struct list waiting; /* dials */
	char identity[64];   /* of the listener met last */
	char unknown[64];    /* refused for being unknown, or "" */
	bool closing;
};

/* A place for a link. A retired one takes no more dials. */
struct seat {
	struct list link;
	struct way_room *room;
	struct way_hyco_link *hyco;
	bool is_ready;
	bool is_retired;
};

struct way_dial {
	struct list link; /* in room.waiting, or in none */
	struct loop *loop;
	struct way_room *room; /* NULL: failed */
	bool is_login;
	struct mux_target target;
	char *host;
	struct deferred start;
	struct err err;
	enum way_refusal refusal;
	const struct way_dial_events *events;
	void *owner;
	bool closing;
};

/* --- links --- */

static void
fail_dial(struct way_dial *d, const struct err *err, enum way_refusal refusal)
{
	list_remove(&d->link);
	d->room = NULL;
	d->err = *err;
	d->refusal = refusal;
	deferred_set(&d->start);
}

static void
remove_seat(struct seat *s)
{
	struct way_room *r = s->room;

	list_remove(&s->link);
	way_hyco_link_close(s->hyco);
	loop_bury(r->loop, s, free);
}

static void
start_waiting(struct way_room *r)
{
	struct list *at;

	LIST_EACH (at, &r->waiting)
		deferred_set(&LIST_OF(at, struct way_dial, link)->start);
}

static void
on_link_ready(void *owner)
{
	struct seat *s = owner;
	struct way_room *r = s->room;

	s->is_ready = true;
	strncpy(r->identity, way_hyco_link_identity(s->hyco),
	    sizeof(r->identity) - 1);
	log_info("session opened", "path=%s identity=%s", r->place,
	    r->identity[0] != '\0' ? r->identity : "-");
	start_waiting(r);
}

/* Whether somebody is there, or will be, for whom dials can wait. */
static bool
has_hope(const struct way_room *r)
{
	struct list *at;

	LIST_EACH (at, &r->seats) {
		const struct seat *s = LIST_OF(at, struct seat, link);

		if (!s->is_retired &&
		    (!s->is_ready || way_hyco_link_is_usable(s->hyco)))
			return true;
	}
	return false;
}

static void
on_link_over(void *owner, const struct err *err, enum way_refusal refusal)
{
	struct seat *s = owner;
	struct way_room *r = s->room;
	struct list *at, *after;

	if (err != NULL && s->is_ready && !s->is_retired)
		log_warn(
		    "session lost", "path=%s reason=%s", r->place, err->text);
	if (way_hyco_link_is_unknown(s->hyco) && !s->is_retired)
		strncpy(r->unknown, way_hyco_link_identity(s->hyco),
		    sizeof(r->unknown) - 1);
	remove_seat(s);
	if (err == NULL || has_hope(r)) {
		start_waiting(r);
		return;
	}
	LIST_EACH_SAFE (at, after, &r->waiting)
		fail_dial(LIST_OF(at, struct way_dial, link), err, refusal);
}

static const struct way_hyco_link_events link_events = {
    .on_ready = on_link_ready,
    .on_over = on_link_over,
};

static void
open_seat(struct way_room *r)
{
	struct seat *s = mem_zalloc(sizeof(*s));
	const struct way_hyco_link_options o = {
	    .loop = r->loop,
	    .dialer = r->dialer,
	    .target = &r->target,
	    .place = r->place,
	    .trust = r->has_trust ? &r->trust : NULL,
	    .user = r->user,
	    .password = r->password,
	    .budget = r->budget,
	    .window_s = r->window_s,
	    .timeout_ms = r->timeout_ms,
	};

	s->room = r;
	r->unknown[0] = '\0';
	list_append(&r->seats, &s->link);
	s->hyco = way_hyco_link_open(&o, &link_events, s);
}

/* The ready link with the fewest channels, or NULL. Opens links as long as the
 * room has fewer than it may have and those there are in use. */
static struct way_hyco_link *
pick_link(struct way_room *r)
{
	struct way_hyco_link *best = NULL;
	struct list *at;
	bool is_opening = false;
	unsigned n = 0;

	LIST_EACH (at, &r->seats) {
		const struct seat *s = LIST_OF(at, struct seat, link);

		if (s->is_retired ||
		    (s->is_ready && !way_hyco_link_is_usable(s->hyco)))
			continue;
		n++;
		if (!s->is_ready)
			is_opening = true;
		else if (best == NULL || way_hyco_link_channels(s->hyco) <
		                             way_hyco_link_channels(best))
			best = s->hyco;
	}
	if (!is_opening && n < r->sessions &&
	    (best == NULL || way_hyco_link_channels(best) > 0))
		open_seat(r);
	return best;
}

/* --- the room --- */

static struct way_room *
open_room(const struct way_room_options *o)
{
	struct way_room *r = mem_zalloc(sizeof(*r));

	r->loop = o->loop;
	r->dialer = o->dialer;
	hc_target_init(&r->target);
	hc_target_copy(&r->target, o->target);
	hc_target_print(o->target, r->place);
	way_trust_copy(&r->trust, o->trust);
	r->has_trust = o->trust != NULL;
	r->sessions = o->sessions > 0 ? o->sessions : 1;
	r->window_s = o->window_s;
	r->timeout_ms = o->timeout_ms;
	r->budget = mux_budget_new(o->memory != 0 ? o->memory : MEMORY_USUAL);
	list_init(&r->seats);
	list_init(&r->waiting);
	return r;
}

static void
set_login(struct way_room *r, const char *user, const char *password)
{
	struct list *at, *after;

	free(r->user);
	mem_free_secret(r->password);
	r->user = user != NULL ? mem_strdup(user) : NULL;
	r->password = user != NULL && password != NULL ? mem_strdup(password)
	              : user != NULL                   ? mem_strdup("")
	                                               : NULL;
	LIST_EACH_SAFE (at, after, &r->seats) {
		struct seat *s = LIST_OF(at, struct seat, link);

		s->is_retired = true;
		if (s->is_ready)
			way_hyco_link_retire(s->hyco);
		else
			remove_seat(s);
	}
	start_waiting(r);
}

static void
get_status(const struct way_room *r, struct client_sessions *status)
{
	struct list *at;

	memset(status, 0, sizeof(*status));
	LIST_EACH (at, &r->seats) {
		const struct seat *s = LIST_OF(at, struct seat, link);

		if (s->is_ready)
			way_hyco_link_add_status(s->hyco, status);
	}
	status->is_encrypted = r->has_trust;
	status->identity = r->identity;
}

static const char *
get_unknown(const struct way_room *r)
{
	return r->unknown[0] != '\0' ? r->unknown : NULL;
}

static bool
accept_unknown(struct way_room *r, struct err *e)
{
	if (r->unknown[0] == '\0')
		return err_set(e, ERR_USAGE, "no listener waits for a yes");
	if (!way_trust_accept(&r->trust, r->place, r->unknown, e))
		return false;
	r->unknown[0] = '\0';
	return true;
}

static void
free_room(void *object)
{
	struct way_room *r = object;

	hc_target_fini(&r->target);
	way_trust_fini(&r->trust);
	mux_budget_unref(r->budget);
	free(r->user);
	mem_free_secret(r->password);
	free(r);
}

static void
close_room(struct way_room *r)
{
	struct list *at, *after;
	struct err err;

	assert(!r->closing);
	r->closing = true;
	err_set(&err, ERR_CLOSED, "the hyco way is given up");
	LIST_EACH_SAFE (at, after, &r->waiting)
		fail_dial(
		    LIST_OF(at, struct way_dial, link), &err, WAY_REFUSAL_WAY);
	LIST_EACH_SAFE (at, after, &r->seats)
		remove_seat(LIST_OF(at, struct seat, link));
	loop_bury(r->loop, r, free_room);
}

/* --- dials --- */

static void
on_start(void *owner)
{
	struct way_dial *d = owner;
	struct way_hyco_link *link;
	struct stream *s = NULL;
	struct err err;

	if (d->room == NULL) {
		d->events->on_error(d->owner, &d->err, d->refusal);
		return;
	}
	link = pick_link(d->room);
	if (link == NULL)
		return;
	list_remove(&d->link);
	if (!d->is_login) {
		s = way_hyco_link_connect(link, &d->target, &err);
		if (s == NULL) {
			d->events->on_error(d->owner, &err, WAY_REFUSAL_OTHER);
			return;
		}
	}
	d->events->on_open(d->owner, s);
}

static struct way_dial *
open_dial(const struct way_dial_options *o,
    const struct way_dial_events *events, void *owner)
{
	struct way_dial *d = mem_zalloc(sizeof(*d));

	d->loop = o->loop;
	d->room = o->room;
	d->events = events;
	d->owner = owner;
	d->is_login = o->destination == NULL && o->path == NULL;
	if (o->path != NULL) {
		d->host = mem_strdup(o->path);
		d->target.kind = MUX_UNIX;
	} else if (o->destination != NULL) {
		d->host = mem_strdup(o->destination->host);
		d->target.kind = o->has_datagrams ? MUX_UDP : MUX_TCP;
		d->target.port = o->destination->port;
	}
	d->target.host = d->host;
	deferred_init(&d->start, o->loop, on_start, d);
	list_init(&d->link);
	list_append(&o->room->waiting, &d->link);
	deferred_set(&d->start);
	return d;
}

static void
free_dial(void *object)
{
	struct way_dial *d = object;

	free(d->host);
	free(d);
}

static void
close_dial(struct way_dial *d)
{
	assert(!d->closing);
	d->closing = true;
	deferred_clear(&d->start);
	list_remove(&d->link);
	loop_bury(d->loop, d, free_dial);
}

/* --- the listener's side --- */

static bool
is_asked(const struct hc_accept *a)
{
	return hc_accept_has_protocol(a, WAY_HYCO_LINK_PROTOCOL);
}

static const char *
get_protocol(const struct hc_accept *a)
{
	(void)a;
	return WAY_HYCO_LINK_PROTOCOL;
}

static const struct ws_options carrier_ws = {.text_max = 0};

const struct way way_hyco = {
    .name = "hyco",
    .mode = CLIENT_HYCO,
    .is_early = true,
    .has_paths = true,
    .turn = MUX_TURN,
    .is_hosted = true,
    .is_asked = is_asked,
    .get_protocol = get_protocol,
    .ws = &carrier_ws,
    /* The login of HTTP/2 is the sample's: what one can say, both can. */
    .credentials = way_sample_wire_build_basic,
    .open_dial = open_dial,
    .close_dial = close_dial,
    .open_room = open_room,
    .set_login = set_login,
    .get_status = get_status,
    .get_unknown = get_unknown,
    .accept_unknown = accept_unknown,
    .close_room = close_room,
};

/* SPDX-License-Identifier: MIT
 *
 * The layers of a link, from the bottom; what is above owns what is below:
 *
 *     hc_sender -> carrier -> session -> [TLS, judged] -> mux -> channels
 *
 * The listener has been reached once the first carrier was greeted. What fails
 * before ends the link at once, so that a person or a retry hears of it; later
 * the session asks again until its window has passed.
 */
#include "tunnel/way_hyco_link.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "hc/hc_sender.h"
#include "hc/hc_target.h"
#include "mux/mux.h"
#include "net/loop.h"
#include "net/stream.h"
#include "net/tls.h"
#include "net/tls_identity.h"
#include "session/session.h"
#include "tunnel/way_hyco_trust.h"
#include "util/err.h"
#include "util/log.h"
#include "util/mem.h"
#include "ws/ws.h"

#define EXPORTER "EXPORTER-hyco-session"

struct way_hyco_link {
	struct way_hyco_link_options o;
	const struct way_hyco_link_events *events;
	void *owner;
	struct hc_sender *hc;    /* a carrier is being dialled */
	struct session *session; /* lives as long as the mux */
	struct mux *mux;
	struct timer deadline;
	struct err verdict; /* of the judge, if it was no */
	struct err refusal; /* of the login */
	char identity[TLS_IDENTITY_NAME_SIZE];
	unsigned carriers; /* that worked so far */
	bool is_up;
	bool is_unknown;
	bool is_ready;
	bool is_draining; /* no new channels */
	bool is_astray;   /* nobody is found who knows the session */
	bool is_over;
	bool closing;
};

/* --- the end --- */

static void
drop_hc(struct way_hyco_link *k)
{
	struct hc_sender *hc = k->hc;

	k->hc = NULL;
	if (hc != NULL)
		hc_sender_close(hc);
}

static void
drop_all(struct way_hyco_link *k)
{
	struct mux *m = k->mux;

	timer_clear(&k->deadline);
	drop_hc(k);
	k->mux = NULL;
	k->session = NULL;
	if (m != NULL)
		mux_close(m);
}

static void
finish(struct way_hyco_link *k, const struct err *err, enum way_refusal refusal)
{
	struct err copy;

	if (k->is_over)
		return;
	if (err != NULL)
		copy = *err;
	k->is_over = true;
	k->is_ready = false;
	drop_all(k);
	k->events->on_over(k->owner, err != NULL ? &copy : NULL, refusal);
}

/* --- carriers --- */

/* The listener answered, but not in this way. `why` may be NULL. */
static void
miss_way(struct way_hyco_link *k, const char *why)
{
	struct err err;

	if (k->o.trust != NULL &&
	    !way_trust_may_fall_back(k->o.trust, k->o.place, &err)) {
		finish(k, &err, WAY_REFUSAL_LOGIN);
		return;
	}
	err_set(&err, ERR_PROTOCOL,
	    "the listener of %.200s does not speak the hyco way%s%s",
	    k->o.place, why != NULL ? " as we do: " : "",
	    why != NULL ? why : "");
	finish(k, &err, WAY_REFUSAL_WAY);
}

/* The relay waited for the listener in vain: what an original does that is not
 * told a password. */
static bool
is_silence(const struct err *err)
{
	return err->http_status == 408 || err->http_status == 504;
}

/* Whose word it was: the relay's has a tracking id. */
static bool
is_from_listener(const struct err *err)
{
	return err->http_status != 0 && err->http_status != 401 &&
	       strstr(err->text, "TrackingId") == NULL;
}

static void
on_hc_error(void *owner, const struct err *given)
{
	struct way_hyco_link *k = owner;
	struct err err = *given;

	drop_hc(k);
	if (k->carriers > 0) {
		k->is_astray = k->is_astray || err.http_status == 404;
		log_debug("carrier not had", "path=%s reason=%s", k->o.place,
		    err.text);
		session_give_error(k->session, &err, err.code == ERR_AUTH);
	} else if (is_from_listener(&err) && err.http_status != 503) {
		miss_way(k, NULL);
	} else if (is_silence(&err) &&
	           (k->o.trust == NULL ||
	               way_trust_may_fall_back(k->o.trust, k->o.place, NULL))) {
		finish(k, &err, WAY_REFUSAL_WAY);
	} else {
		finish(k, &err,
		    err.http_status == 0     ? WAY_REFUSAL_NONE
		    : is_from_listener(&err) ? WAY_REFUSAL_OTHER
		                             : WAY_REFUSAL_RELAY);
	}
}

static void
on_hc_open(void *owner, struct ws *w)
{
	struct way_hyco_link *k = owner;
	bool is_ours = hc_sender_has_protocol(k->hc);
	struct err err;

	drop_hc(k);
	if (is_ours) {
		session_give_carrier(k->session, ws_stream(w));
		return;
	}
	ws_close(w, true);
	if (k->carriers == 0) {
		miss_way(k, NULL);
		return;
	}
	err_set(&err, ERR_REFUSED, "another listener answered");
	session_give_error(k->session, &err, false);
}

static const struct hc_sender_events hc_events = {
    .on_open = on_hc_open,
    .on_error = on_hc_error,
};

/* A carrier knows no text: any breaks it. */
static const struct ws_options carrier_ws = {.text_max = 0};

static void
on_want_carrier(void *owner, unsigned attempt, bool misdirected)
{
	struct way_hyco_link *k = owner;
	const struct hc_sender_options o = {
	    .protocol = WAY_HYCO_LINK_PROTOCOL,
	    .timeout_ms = k->o.timeout_ms,
	    .ws = &carrier_ws,
	};

	log_debug("carrier wanted", "path=%s attempt=%u misdirected=%d",
	    k->o.place, attempt, (int)misdirected);
	k->is_astray = k->is_astray || misdirected;
	drop_hc(k);
	k->hc = hc_sender_open(
	    k->o.loop, k->o.dialer, k->o.target, &o, &hc_events, k);
}

static void
on_drop_want(void *owner)
{
	drop_hc(owner);
}

static void
on_carrier(void *owner, bool up, const struct err *why)
{
	struct way_hyco_link *k = owner;
	const char *reason = why != NULL ? why->text : "-";

	if (k->is_up == up)
		return;
	k->is_up = up;
	if (up)
		k->is_astray = false;
	if (!up) {
		log_warn("carrier lost", "path=%s channels=%zu reason=%s",
		    k->o.place, way_hyco_link_channels(k), reason);
		return;
	}
	if (k->carriers++ > 0)
		log_warn("resumed", "path=%s channels=%zu", k->o.place,
		    way_hyco_link_channels(k));
	else
		log_debug("carrier up", "path=%s", k->o.place);
}

static const struct session_events session_events = {
    .on_want_carrier = on_want_carrier,
    .on_drop_want = on_drop_want,
    .on_carrier = on_carrier,
};

/* --- who is there --- */

static enum tls_verdict
judge(void *owner, struct stream *s, struct err *e)
{
	struct way_hyco_link *k = owner;
	uint8_t secret[SESSION_SECRET_SIZE];
	enum way_trust_verdict verdict;

	tls_identity_peer(s, k->identity);
	verdict = way_trust_judge(
	    k->o.trust, k->o.place, k->o.target->path, s, &k->verdict);
	if (verdict != WAY_TRUST_YES) {
		k->is_unknown = verdict == WAY_TRUST_UNKNOWN;
		*e = k->verdict;
		return TLS_NO;
	}
	tls_export(s, EXPORTER, session_id(k->session), SESSION_ID_SIZE, secret,
	    sizeof(secret));
	session_set_secret(k->session, secret);
	mem_wipe(secret, sizeof(secret));
	return TLS_YES;
}

/* --- the mux --- */

static void
on_login_done(void *owner, const struct err *err)
{
	struct way_hyco_link *k = owner;

	timer_clear(&k->deadline);
	if (err == NULL) {
		k->is_ready = true;
		k->events->on_ready(k->owner);
		return;
	}
	k->refusal = *err;
	err_set(&k->refusal, ERR_AUTH,
	    "the listener of %.200s refused: user or password wrong",
	    k->o.place);
	k->refusal.http_status = 403;
	finish(k, &k->refusal, WAY_REFUSAL_LOGIN);
}

static void
on_drain(void *owner)
{
	struct way_hyco_link *k = owner;

	k->is_draining = true;
}

static void
on_end(void *owner, const struct err *err)
{
	struct way_hyco_link *k = owner;
	struct err copy;

	if (k->verdict.code != ERR_NONE) {
		finish(k, &k->verdict, WAY_REFUSAL_LOGIN);
		return;
	}
	if (err != NULL)
		copy = *err;
	else
		err_set(&copy, ERR_RESET,
		    "the listener of %.200s ended the session before the login",
		    k->o.place);
	if (copy.code == ERR_PROTOCOL || copy.code == ERR_TOO_BIG)
		session_end(k->session, SESSION_CLOSE_FAULT, &copy);
	if (k->carriers == 0 && copy.http_status == SESSION_REFUSE_VERSION)
		miss_way(k,
		    "another version, or --no-e2e on one side only (both sides "
		    "need it, or neither)");
	else if (k->is_ready && err == NULL)
		finish(k, NULL, WAY_REFUSAL_NONE);
	else
		finish(k, &copy, WAY_REFUSAL_NONE);
}

static const struct mux_events mux_events = {
    .on_login_done = on_login_done,
    .on_drain = on_drain,
    .on_end = on_end,
};

/* --- life --- */

static void
on_deadline(void *owner)
{
	struct way_hyco_link *k = owner;
	struct err err;

	err_set(&err, ERR_TIMEOUT,
	    "the listener of %.200s did not answer within %u s", k->o.place,
	    (unsigned)(k->o.timeout_ms / 1000));
	finish(k, &err, WAY_REFUSAL_NONE);
}

static void
open_layers(struct way_hyco_link *k)
{
	const struct mux_options mux = {
	    .budget = k->o.budget,
	    .user = k->o.user,
	    .password = k->o.password,
	};
	struct session_options o;
	struct stream *below;

	memset(&o, 0, sizeof(o));
	session_core_options_init(&o.core);
	o.core.options = k->o.trust != NULL ? SESSION_OPTION_TLS : 0;
	if (k->o.window_s != 0)
		o.core.window_s = k->o.window_s;
	k->session = session_open(k->o.loop, &o, &session_events, k);
	below = session_stream(k->session);
	if (k->o.trust != NULL) {
		struct tls_context *tls = tls_identity_client_context();

		below = tls_client_judged(tls, below, k->o.place, judge, k);
		tls_context_unref(tls);
	}
	k->mux = mux_client(below, &mux, &mux_events, k);
}

struct way_hyco_link *
way_hyco_link_open(const struct way_hyco_link_options *o,
    const struct way_hyco_link_events *events, void *owner)
{
	struct way_hyco_link *k = mem_zalloc(sizeof(*k));

	k->o = *o;
	k->events = events;
	k->owner = owner;
	timer_init(&k->deadline, o->loop, on_deadline, k);
	timer_set(&k->deadline, o->timeout_ms);
	open_layers(k);
	k->o.user = NULL;
	k->o.password = NULL;
	return k;
}

bool
way_hyco_link_is_usable(const struct way_hyco_link *k)
{
	return k->is_ready && !k->is_draining && !k->is_astray;
}

size_t
way_hyco_link_channels(const struct way_hyco_link *k)
{
	return k->mux != NULL ? mux_channels(k->mux) : 0;
}

struct stream *
way_hyco_link_connect(
    struct way_hyco_link *k, const struct mux_target *t, struct err *e)
{
	assert(k->is_ready);
	return mux_connect(k->mux, t, e);
}

void
way_hyco_link_retire(struct way_hyco_link *k)
{
	k->is_draining = true;
	if (k->mux != NULL)
		mux_drain(k->mux);
}

void
way_hyco_link_add_status(
    const struct way_hyco_link *k, struct client_sessions *status)
{
	struct session_stats st;
	uint32_t rtt_us;

	if (k->mux == NULL)
		return;
	session_stats(k->session, &st);
	rtt_us = mux_rtt_us(k->mux);
	if (rtt_us == 0)
		rtt_us = st.rtt_ms * 1000;
	status->open++;
	status->carriers += k->is_up;
	status->bytes_in += st.bytes_in;
	status->bytes_out += st.bytes_out;
	status->resumes += st.resumes;
	status->queued += st.unacked;
	if (rtt_us > status->rtt_us)
		status->rtt_us = rtt_us;
}

const char *
way_hyco_link_identity(const struct way_hyco_link *k)
{
	return k->identity;
}

bool
way_hyco_link_is_unknown(const struct way_hyco_link *k)
{
	return k->is_unknown;
}

void
way_hyco_link_close(struct way_hyco_link *k)
{
	assert(!k->closing);
	k->closing = true;
	k->is_over = true;
	drop_all(k);
	loop_bury(k->o.loop, k, free);
}

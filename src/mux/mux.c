/* SPDX-License-Identifier: MIT
 *
 * The life of a mux: what it is made of, what a turn of it is (on_wake), and
 * how it ends. Whoever finds a reason to end, wherever, calls mux_doom, which
 * only marks; the end itself happens at the top of a turn, where owners may be
 * told: first the channels, then on_end.
 */
#include "mux/mux.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mux/mux_budget.h"
#include "mux/mux_core.h"
#include "util/mem.h"

#define BUDGET_DEFAULT ((size_t)256 * 1024 * 1024)
#define CONNECTION_WINDOW 0x7fffffff

/* --- the end --- */

void
mux_doom(struct mux *m, enum err_code code, const char *format, ...)
{
	char text[ERR_TEXT_MAX];
	va_list ap;

	if (m->end || m->is_over)
		return;
	va_start(ap, format);
	vsnprintf(text, sizeof text, format, ap);
	va_end(ap);
	m->end = mem_zalloc(sizeof *m->end);
	err_set(m->end, code, "%s", text);
	deferred_set(&m->wake);
}

static bool
is_finished(const struct mux_channel *ch)
{
	return ch->got_end && ch->sent_end && !list_is_linked(&ch->drain_link);
}

static void
cut_loose(struct mux_channel *ch, const struct err *why)
{
	const bool was_finished = is_finished(ch);

	mux_channel_detach(ch);
	ch->is_gone = true;
	if (!was_finished)
		mux_channel_fail(ch, why);
}

static bool
is_unowned(const struct mux_channel *ch)
{
	return ch->mux->is_server && (ch->request || !ch->is_open);
}

static void
stop_timers(struct mux *m)
{
	timer_clear(&m->last_timer);
	timer_clear(&m->shrink_timer);
}

static void
finish(struct mux *m)
{
	struct err why, channel;

	why = *m->end;
	err_set(&channel, ERR_RESET, "the session ended%s%s",
	    why.text[0] ? ": " : "", why.text);
	m->is_over = true;
	stop_timers(m);
	while (!list_is_empty(&m->channels)) {
		struct mux_channel *ch =
		    LIST_OF(m->channels.next, struct mux_channel, link);

		if (is_unowned(ch)) {
			mux_request_cancel(ch);
		} else {
			cut_loose(ch, &channel);
			mux_channel_tell(ch);
		}
		if (m->closing)
			return;
	}
	m->events->on_end(m->owner, why.code == ERR_NONE ? NULL : &why);
}

/* HTTP/2 has nothing more to say or hear, and no channel is left. */
static bool
is_done(const struct mux *m)
{
	return m->count == 0 && !nghttp2_session_want_read(m->ng) &&
	       !nghttp2_session_want_write(m->ng);
}

static void
on_wake(void *owner)
{
	struct mux *m = owner;

	if (m->is_over)
		return;
	if (!m->end)
		mux_request_release_waiting(m);
	if (m->closing)
		return;
	mux_output_flush(m);
	if (m->end) {
		finish(m);
		return;
	}
	mux_channel_tell_drains(m);
	if (!m->closing)
		mux_channel_check_lasts(m);
	if (!m->closing && is_done(m))
		mux_doom(m, ERR_NONE, "%s", "");
}

/* --- events of the stream below --- */

static void
on_open(void *owner)
{
	(void)owner;
}

static void
on_data(void *owner, uint8_t *data, size_t len)
{
	mux_input_take(owner, data, len);
}

static size_t
count_unfinished(const struct mux *m)
{
	const struct list *at;
	size_t n = 0;

	LIST_EACH (at, &m->channels)
		n += !is_finished(LIST_OF(at, struct mux_channel, link));
	return n;
}

/* The other side may have closed right behind the last channel, whose owner
 * here has yet to hear that all is said. */
static void
on_end(void *owner)
{
	struct mux *m = owner;
	size_t n;

	mux_channel_check_lasts(m);
	if (m->closing)
		return;
	n = count_unfinished(m);
	if (n == 0 && m->login != MUX_LOGIN_ASKED)
		mux_doom(m, ERR_NONE, "%s", "");
	else
		mux_doom(m, ERR_RESET,
		    "the connection ended with %zu channels open", n);
}

static void
on_drain(void *owner)
{
	struct mux *m = owner;

	m->is_full = false;
	deferred_set(&m->wake);
}

static void
on_error(void *owner, const struct err *e)
{
	struct mux *m = owner;

	m->below_broken = true;
	if (m->end == NULL)
		mux_doom(m, e->code, "%s", e->text);
	if (m->end != NULL && m->end->code == e->code)
		m->end->http_status = e->http_status;
}

static const struct stream_events below_events = {
    .on_open = on_open,
    .on_data = on_data,
    .on_end = on_end,
    .on_drain = on_drain,
    .on_error = on_error,
};

/* --- making it --- */

static nghttp2_session *
new_session(struct mux *m)
{
	nghttp2_session_callbacks *callbacks;
	nghttp2_option *option;
	nghttp2_session *ng;
	int result;

	if (nghttp2_session_callbacks_new(&callbacks) != 0 ||
	    nghttp2_option_new(&option) != 0)
		abort(); /* out of memory, as mem_alloc does */
	mux_input_set_callbacks(callbacks);
	mux_output_set_callbacks(callbacks);
	nghttp2_option_set_no_auto_window_update(option, 1);
	nghttp2_option_set_no_closed_streams(option, 1);
#ifdef HYCO_NGHTTP2_LIMITS
	nghttp2_option_set_max_continuations(option, 8);
	/* Ours in mux_input.c says ENHANCE_YOUR_CALM and knows more. */
	nghttp2_option_set_stream_reset_rate_limit(option, 100000, 10000);
#endif
	result = m->is_server
	             ? nghttp2_session_server_new2(&ng, callbacks, m, option)
	             : nghttp2_session_client_new2(&ng, callbacks, m, option);
	if (result != 0)
		abort();
	nghttp2_option_del(option);
	nghttp2_session_callbacks_del(callbacks);
	return ng;
}

static void
send_settings(struct mux *m)
{
	const nghttp2_settings_entry entries[] = {
	    {m->is_server ? NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL
	                  : NGHTTP2_SETTINGS_ENABLE_PUSH,
	        m->is_server},
	    {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, MUX_CHANNELS_MAX},
	    {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, MUX_WINDOW_MIN},
	    {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, MUX_FRAME_MAX},
	    {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, MUX_HEADERS_MAX},
	};

	nghttp2_submit_settings(m->ng, NGHTTP2_FLAG_NONE, entries,
	    sizeof entries / sizeof entries[0]);
	nghttp2_session_set_local_window_size(
	    m->ng, NGHTTP2_FLAG_NONE, 0, CONNECTION_WINDOW);
}

static struct mux *
open_mux(struct stream *below, const struct mux_options *o,
    const struct mux_events *events, void *owner, bool is_server)
{
	struct mux *m = mem_zalloc(sizeof *m);

	m->loop = below->loop;
	m->below = below;
	m->events = events;
	m->owner = owner;
	m->is_server = is_server;
	m->budget = o && o->budget ? mux_budget_ref(o->budget)
	                           : mux_budget_new(BUDGET_DEFAULT);
	list_init(&m->channels);
	list_init(&m->waiting);
	list_init(&m->above);
	list_init(&m->lasts);
	list_init(&m->probed);
	list_init(&m->grown);
	deferred_init(&m->wake, m->loop, on_wake, m);
	timer_init(&m->last_timer, m->loop, mux_channel_on_last_timer, m);
	timer_init(&m->shrink_timer, m->loop, mux_channel_on_shrink_timer, m);
	m->ng = new_session(m);
	send_settings(m);
	stream_set_owner(below, &below_events, m);
	stream_start(below);
	deferred_set(&m->wake);
	return m;
}

struct mux *
mux_client(struct stream *below, const struct mux_options *o,
    const struct mux_events *events, void *owner)
{
	struct mux *m = open_mux(below, o, events, owner, false);

	mux_request_send_login(m, o ? o->user : NULL, o ? o->password : NULL);
	return m;
}

struct mux *
mux_server(struct stream *below, const struct mux_options *o,
    const struct mux_events *events, void *owner)
{
	return open_mux(below, o, events, owner, true);
}

/* --- use --- */

void
mux_login(struct mux *m, const char *user, const char *password)
{
	assert(!m->is_server && m->login == MUX_LOGIN_NONE && !m->closing);
	if (!m->is_over)
		mux_request_send_login(m, user, password);
}

void
mux_drain(struct mux *m)
{
	assert(!m->closing);
	if (m->is_drained || m->is_over)
		return;
	m->is_drained = true;
	nghttp2_submit_goaway(m->ng, NGHTTP2_FLAG_NONE,
	    nghttp2_session_get_last_proc_stream_id(m->ng), NGHTTP2_NO_ERROR,
	    NULL, 0);
	deferred_set(&m->wake);
}

size_t
mux_channels(const struct mux *m)
{
	return m->count;
}

size_t
mux_queued(const struct mux *m)
{
	return m->queued + stream_queued(m->below);
}

struct stream *
mux_below(struct mux *m)
{
	return m->below;
}

uint32_t
mux_rtt_us(const struct mux *m)
{
	return mux_pace_best_us(&m->pace);
}

/* --- closing --- */

static void
free_mux(void *object)
{
	struct mux *m = object;

	nghttp2_session_del(m->ng);
	mux_budget_unref(m->budget);
	if (m->login_head) {
		mux_head_fini(m->login_head);
		free(m->login_head);
	}
	free(m->queue);
	free(m->end);
	free(m->goaway_text);
	free(m);
}

static void
say_goodbye(struct mux *m)
{
	if (m->is_over || m->end)
		return;
	nghttp2_session_terminate_session(m->ng, NGHTTP2_NO_ERROR);
	mux_output_flush(m);
}

void
mux_close(struct mux *m)
{
	struct err why;

	assert(!m->closing);
	say_goodbye(m);
	m->closing = true;
	stop_timers(m);
	err_set(&why, ERR_RESET, "the session was closed");
	while (!list_is_empty(&m->channels)) {
		struct mux_channel *ch =
		    LIST_OF(m->channels.next, struct mux_channel, link);

		if (is_unowned(ch))
			mux_channel_drop(ch);
		else
			cut_loose(ch, &why);
	}
	deferred_clear(&m->wake);
	stream_close(m->below);
	loop_bury(m->loop, m, free_mux);
}

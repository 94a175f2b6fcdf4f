/* SPDX-License-Identifier: MIT
 *
 * A channel as a stream. Going out, bulk is framed in the same turn from the
 * scratch memory it lies in (`direct`); what cannot go waits in `out`, and
 * nghttp2 asks for it when windows and the stream below allow. Coming in, data
 * goes from the input block straight to the owner; what he does not take waits
 * in `in`, whose size the window bounds: window is given back only for bytes
 * that an owner took.
 *
 * Each direction ends by itself: got_end, then told_end when all before it was
 * taken; is_shut, then sent_end when the frame with END_STREAM is in the stream
 * below, then the last on_drain when that has gone out. is_gone: HTTP/2 has
 * forgotten the stream. A channel that was cut loose (mux NULL) only waits for
 * its owner's close.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "mux/mux_budget.h"
#include "mux/mux_core.h"
#include "util/mem.h"

/* From this size on a write goes out in the same call; smaller ones are
 * gathered until the end of the turn. */
#define DIRECT_MIN 4096

/* How often to look whether our end has left the stream below. */
#define LAST_CHECK_MS 10

/* How often to look for windows that nobody uses. */
#define SHRINK_MS 1000

struct mux_channel *
mux_channel_of(const struct stream *s)
{
	return (struct mux_channel *)(void *)s;
}

/* --- what it holds --- */

static void
drop_in(struct mux_channel *ch, size_t n)
{
	if (ch->mux) {
		ch->mux->held -= n;
		mux_budget_release(ch->mux->budget, n);
	}
	buf_consume(&ch->in, n);
}

static void
set_busy(struct mux_channel *ch)
{
	const bool is_busy = buf_len(&ch->out) > 0;

	if (is_busy == ch->is_busy || !ch->mux)
		return;
	ch->is_busy = is_busy;
	if (is_busy)
		ch->mux->busy++;
	else
		ch->mux->busy--;
}

static void
drop_out(struct mux_channel *ch, size_t n)
{
	if (ch->mux) {
		ch->mux->queued -= n;
		mux_budget_release(ch->mux->budget, n);
	}
	buf_consume(&ch->out, n);
	set_busy(ch);
}

static void
give_window(struct mux_channel *ch)
{
	if (ch->window > MUX_WINDOW_MIN)
		mux_budget_give(ch->mux->budget, ch->window - MUX_WINDOW_MIN);
	ch->window = MUX_WINDOW_MIN;
	list_remove(&ch->grown_link);
}

void
mux_channel_detach(struct mux_channel *ch)
{
	struct mux *m = ch->mux;

	if (!m)
		return;
	drop_out(ch, buf_len(&ch->out));
	give_window(ch);
	m->held -= buf_len(&ch->in);
	mux_budget_release(m->budget, buf_len(&ch->in));
	list_remove(&ch->link);
	list_remove(&ch->wait_link);
	list_remove(&ch->drain_link);
	list_remove(&ch->probe_link);
	m->count--;
	deferred_set(&m->wake);
	if (ch->id > 0)
		nghttp2_session_set_stream_user_data(m->ng, ch->id, NULL);
	ch->mux = NULL;
}

/* --- windows --- */

/* nghttp2 must not be left to give windows back: it knows half a window as the
 * only part, and would grow a window again that we have shrunk. So `owed` is
 * counted here, and is never more than what nghttp2 counts as received. */
static void
give_back(struct mux_channel *ch, size_t len)
{
	struct mux *m = ch->mux;

	ch->owed += (int32_t)len;
	if (ch->got_end || ch->owed < (int32_t)mux_pace_part(ch->window))
		return;
	nghttp2_submit_window_update(
	    m->ng, NGHTTP2_FLAG_NONE, ch->id, ch->owed);
	ch->owed = 0;
	deferred_set(&m->wake);
}

static bool
grow(struct mux_channel *ch, size_t next)
{
	const uint32_t more = (uint32_t)next - ch->window;
	const uint32_t back = more < ch->reduced ? more : ch->reduced;

	if (!mux_budget_take(ch->mux->budget, more))
		return false;
	ch->window = (uint32_t)next;
	ch->reduced -= back;
	ch->owed += (int32_t)back;
	nghttp2_session_set_local_window_size(
	    ch->mux->ng, NGHTTP2_FLAG_NONE, ch->id, (int32_t)next);
	return true;
}

/* What was granted cannot be taken back, but is not granted again. */
static void
shrink(struct mux_channel *ch)
{
	const uint32_t less = ch->window - MUX_WINDOW_MIN;

	give_window(ch);
	if (ch->is_gone)
		return;
	ch->reduced += less;
	ch->owed -= (int32_t)less;
	nghttp2_session_set_local_window_size(
	    ch->mux->ng, NGHTTP2_FLAG_NONE, ch->id, MUX_WINDOW_MIN);
}

/* --- telling the owner --- */

void
mux_channel_fail(struct mux_channel *ch, const struct err *e)
{
	if (ch->failed || ch->closing)
		return;
	ch->failed = true;
	ch->trouble = mem_alloc(sizeof *ch->trouble);
	*ch->trouble = *e;
	drop_out(ch, buf_len(&ch->out));
	list_remove(&ch->drain_link);
	deferred_set(&ch->wake);
}

/* Trouble waits only for what came complete before it: then nothing that the
 * other side said is lost. */
static bool
is_trouble_due(const struct mux_channel *ch)
{
	return ch->trouble && (!ch->got_end || ch->told_end);
}

static void
tell_trouble(struct mux_channel *ch)
{
	struct err e = *ch->trouble;

	free(ch->trouble);
	ch->trouble = NULL;
	ch->reading = false;
	if (buf_len(&ch->in) > 0)
		drop_in(ch, buf_len(&ch->in));
	ch->base.events->on_error(ch->base.owner, &e);
}

static void
hand_over(struct mux_channel *ch, uint8_t *data, size_t len)
{
	ch->base.bytes_in += len;
	ch->base.events->on_data(ch->base.owner, data, len);
	if (ch->closing || !ch->mux || ch->is_gone)
		return;
	give_back(ch, len);
}

static void
hand_over_waiting(struct mux_channel *ch)
{
	struct loop *l = ch->base.loop;
	uint8_t *block = loop_block_take(l);
	size_t n = buf_len(&ch->in);

	if (n > STREAM_TURN)
		n = STREAM_TURN;
	memcpy(block + STREAM_HEADROOM, buf_data(&ch->in), n);
	drop_in(ch, n);
	hand_over(ch, block + STREAM_HEADROOM, n);
	loop_block_give(l, block);
}

/* At most one event a call; asks to be called again if there is more. */
void
mux_channel_tell(struct mux_channel *ch)
{
	/* Given up before its owner has it, by the other side or by nghttp2. */
	if (ch->failed && !ch->closing && ch->mux && ch->mux->is_server &&
	    !ch->is_open) {
		mux_request_cancel(ch);
		return;
	}
	if (ch->closing || !ch->base.events)
		return;
	if (is_trouble_due(ch)) {
		tell_trouble(ch);
		return;
	}
	deferred_set(&ch->wake);
	if (ch->open_due) {
		ch->open_due = false;
		if (ch->base.events->on_open)
			ch->base.events->on_open(ch->base.owner);
	} else if (ch->reading && ch->is_open && buf_len(&ch->in) > 0) {
		hand_over_waiting(ch);
	} else if (ch->reading && ch->is_open && ch->got_end && !ch->told_end) {
		ch->told_end = true;
		ch->base.events->on_end(ch->base.owner);
	} else {
		deferred_clear(&ch->wake);
	}
}

static void
on_wake(void *owner)
{
	mux_channel_tell(owner);
}

/* --- what comes --- */

static void
abort_stream(struct mux_channel *ch, uint32_t code)
{
	if (!ch->mux || ch->is_gone || ch->id == 0)
		return;
	nghttp2_submit_rst_stream(ch->mux->ng, NGHTTP2_FLAG_NONE, ch->id, code);
	deferred_set(&ch->mux->wake);
}

static bool
may_hold(struct mux_channel *ch, size_t len)
{
	struct mux *m = ch->mux;

	if (m->is_server && m->login != MUX_LOGIN_GOOD &&
	    len > MUX_HELD_BYTES - m->held)
		return false;
	if (!mux_budget_hold(m->budget, len))
		return false;
	m->held += len;
	return true;
}

static void
hold(struct mux_channel *ch, const uint8_t *data, size_t len)
{
	struct err e;

	if (may_hold(ch, len)) {
		buf_append(&ch->in, data, len);
		return;
	}
	err_set(&e, ERR_TOO_BIG,
	    "too much is held for channels that are not read: raise the "
	    "memory budget or have fewer of them");
	abort_stream(ch, NGHTTP2_ENHANCE_YOUR_CALM);
	mux_channel_fail(ch, &e);
	/* At once, so that the next channel need not fail, too. */
	if (buf_len(&ch->in) > 0)
		drop_in(ch, buf_len(&ch->in));
}

static void
count_for_window(struct mux_channel *ch, size_t len)
{
	ch->is_idle = false;
	if (!list_is_linked(&ch->probe_link)) {
		list_append(&ch->mux->probed, &ch->probe_link);
		ch->probe_bytes = 0;
	}
	ch->probe_bytes += (uint32_t)len;
}

void
mux_channel_take_data(struct mux_channel *ch, uint8_t *data, size_t len)
{
	if (ch->closing || ch->failed || !ch->mux)
		return;
	count_for_window(ch, len);
	if (ch->reading && ch->is_open && !ch->open_due &&
	    buf_len(&ch->in) == 0 && ch->base.events)
		hand_over(ch, data, len);
	else
		hold(ch, data, len);
}

void
mux_channel_take_end(struct mux_channel *ch)
{
	if (ch->closing || ch->failed || ch->got_end)
		return;
	ch->got_end = true;
	if (!ch->open_due && buf_len(&ch->in) == 0)
		mux_channel_tell(ch);
	else
		deferred_set(&ch->wake);
}

void
mux_channel_take_open(struct mux_channel *ch)
{
	ch->is_open = true;
	ch->open_due = true;
	mux_channel_tell(ch);
}

static void
describe_gone(const struct mux_channel *ch, uint32_t code, struct err *e)
{
	if (code == NGHTTP2_REFUSED_STREAM)
		err_set(e, ERR_CLOSED,
		    "the other side takes no new channels: try again");
	else if (code == NGHTTP2_ENHANCE_YOUR_CALM)
		err_set(e, ERR_TOO_BIG,
		    "the other side's limits do not allow this channel");
	else if (!ch->is_open)
		err_set(e, ERR_RESET,
		    "the other side gave the channel up before it answered "
		    "(%s)",
		    nghttp2_http2_strerror(code));
	else
		err_set(e, ERR_RESET, "the other side reset the channel (%s)",
		    nghttp2_http2_strerror(code));
}

void
mux_channel_take_gone(struct mux_channel *ch, uint32_t code)
{
	struct err e;

	ch->is_gone = true;
	if (ch->closing || ch->failed)
		return;
	if (code == NGHTTP2_NO_ERROR && ch->got_end && ch->sent_end)
		return;
	describe_gone(ch, code, &e);
	mux_channel_fail(ch, &e);
}

/* The probe was answered: whoever filled its window gets a larger one. */
void
mux_channel_grow(struct mux *m)
{
	const bool is_alone = m->probed.next == m->probed.prev;
	struct list *at, *after;

	LIST_EACH_SAFE (at, after, &m->probed) {
		struct mux_channel *ch =
		    LIST_OF(at, struct mux_channel, probe_link);
		size_t next = mux_pace_window(
		    &m->pace, ch->probe_bytes, ch->window, MUX_WINDOW_MAX);

		list_remove(&ch->probe_link);
		if (is_alone && next == ch->window)
			next =
			    mux_pace_window_alone(ch->probe_bytes, ch->window);
		if (next == ch->window || ch->is_gone || ch->got_end ||
		    !grow(ch, next))
			continue;
		if (!list_is_linked(&ch->grown_link))
			list_append(&m->grown, &ch->grown_link);
		if (!timer_is_set(&m->shrink_timer))
			timer_set(&m->shrink_timer, SHRINK_MS);
	}
	deferred_set(&m->wake);
}

void
mux_channel_on_shrink_timer(void *owner)
{
	struct mux *m = owner;
	struct list *at, *after;

	LIST_EACH_SAFE (at, after, &m->grown) {
		struct mux_channel *ch =
		    LIST_OF(at, struct mux_channel, grown_link);

		if (!ch->is_idle && !ch->is_gone && !ch->got_end) {
			ch->is_idle = true;
			continue;
		}
		shrink(ch);
	}
	if (!list_is_empty(&m->grown))
		timer_set(&m->shrink_timer, SHRINK_MS);
	deferred_set(&m->wake);
}

/* --- what goes --- */

void
mux_channel_resume(struct mux_channel *ch)
{
	if (!ch->is_deferred || ch->is_gone)
		return;
	ch->is_deferred = false;
	nghttp2_session_resume_data(ch->mux->ng, ch->id);
}

static size_t
available(const struct mux_channel *ch)
{
	const struct mux *m = ch->mux;
	size_t n = buf_len(&ch->out) > 0 ? buf_len(&ch->out) : ch->direct_len;

	if (!m->is_server && m->login != MUX_LOGIN_GOOD &&
	    n > MUX_EARLY - ch->early)
		n = MUX_EARLY - ch->early;
	return n;
}

/* How many bytes the next frame gets; mux_output.c takes them from us right
 * after, by mux_channel_consume. */
ssize_t
mux_channel_read(nghttp2_session *ng, int32_t id, uint8_t *buf, size_t length,
    uint32_t *flags, nghttp2_data_source *source, void *owner)
{
	struct mux *m = owner;
	struct mux_channel *ch = nghttp2_session_get_stream_user_data(ng, id);
	size_t all, n, most;

	(void)buf;
	(void)source;
	if (!ch)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	if (m->used >= m->most) {
		m->is_paused = true;
		return NGHTTP2_ERR_PAUSE;
	}
	all = buf_len(&ch->out) + ch->direct_len;
	n = available(ch);
	if (n > length)
		n = length;
	most = m->most - m->used;
	if (most < MUX_FRAME || m->busy > ch->is_busy)
		most = MUX_FRAME;
	if (n > most)
		n = most;
	if (n == 0 && (all > 0 || !ch->base.is_shut)) {
		ch->is_deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	*flags |= NGHTTP2_DATA_FLAG_NO_COPY;
	if (n == all && ch->base.is_shut)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)n;
}

void
mux_channel_consume(struct mux_channel *ch, uint8_t *to, size_t len)
{
	if (!ch->mux->is_server && ch->mux->login != MUX_LOGIN_GOOD)
		ch->early += (uint32_t)len;
	if (buf_len(&ch->out) > 0) {
		memcpy(to, buf_data(&ch->out), len);
		drop_out(ch, len);
	} else if (len > 0) {
		memcpy(to, ch->direct, len);
		ch->direct += len;
		ch->direct_len -= len;
	}
}

static void
fail_too_big(struct mux_channel *ch)
{
	struct err e;

	err_set(&e, ERR_TOO_BIG, "too much is queued for a channel");
	abort_stream(ch, NGHTTP2_CANCEL);
	mux_channel_fail(ch, &e);
}

static void
queue_rest(struct mux_channel *ch, const uint8_t *data, size_t len)
{
	if (!mux_budget_hold(ch->mux->budget, len)) {
		fail_too_big(ch);
		return;
	}
	if (!buf_append(&ch->out, data, len)) {
		mux_budget_release(ch->mux->budget, len);
		fail_too_big(ch);
		return;
	}
	ch->mux->queued += len;
	set_busy(ch);
	mux_channel_resume(ch);
	deferred_set(&ch->mux->wake);
}

static bool
may_go_at_once(const struct mux_channel *ch, size_t len)
{
	const struct mux *m = ch->mux;

	return len >= DIRECT_MIN && ch->is_deferred && !m->is_full &&
	       !m->receiving && !m->sending && buf_len(&ch->out) == 0;
}

static bool
channel_write(struct stream *s, uint8_t *data, size_t len)
{
	struct mux_channel *ch = mux_channel_of(s);
	struct mux *m = ch->mux;
	size_t rest = len;

	if (!m || ch->failed || ch->is_gone)
		return true;
	if (may_go_at_once(ch, len)) {
		ch->direct = data;
		ch->direct_len = len;
		mux_channel_resume(ch);
		mux_output_flush(m);
		rest = ch->direct_len;
		ch->direct = NULL;
		ch->direct_len = 0;
	}
	if (rest > 0)
		queue_rest(ch, data + len - rest, rest);
	if (ch->failed ||
	    (!m->is_full && buf_len(&ch->out) <= STREAM_QUEUE_MARK))
		return true;
	if (!list_is_linked(&ch->drain_link))
		list_append(&m->above, &ch->drain_link);
	return false;
}

static void
channel_shutdown(struct stream *s)
{
	struct mux_channel *ch = mux_channel_of(s);

	if (!ch->mux || ch->failed)
		return;
	list_remove(&ch->drain_link);
	list_append(&ch->mux->lasts, &ch->drain_link);
	mux_channel_resume(ch);
	deferred_set(&ch->mux->wake);
}

/* Callbacks may close any channel, or the mux: what waits is therefore on a
 * list that they can take it off. */
void
mux_channel_tell_drains(struct mux *m)
{
	struct list batch;

	if (m->is_full || list_is_empty(&m->above))
		return;
	batch = m->above;
	batch.next->prev = &batch;
	batch.prev->next = &batch;
	list_init(&m->above);
	while (!list_is_empty(&batch)) {
		struct mux_channel *ch =
		    LIST_OF(batch.next, struct mux_channel, drain_link);

		list_remove(&ch->drain_link);
		if (m->is_full || buf_len(&ch->out) > STREAM_QUEUE_MARK / 4)
			list_append(&m->above, &ch->drain_link);
		else if (ch->base.events)
			ch->base.events->on_drain(ch->base.owner);
	}
}

static bool
has_gone_out(const struct mux_channel *ch)
{
	const struct stream *below = ch->mux->below;

	return ch->sent_end &&
	       below->bytes_out - stream_queued(below) >= ch->end_at;
}

void
mux_channel_check_lasts(struct mux *m)
{
	struct list batch;
	bool is_near = false;

	if (list_is_empty(&m->lasts))
		return;
	batch = m->lasts;
	batch.next->prev = &batch;
	batch.prev->next = &batch;
	list_init(&m->lasts);
	while (!list_is_empty(&batch)) {
		struct mux_channel *ch =
		    LIST_OF(batch.next, struct mux_channel, drain_link);

		list_remove(&ch->drain_link);
		if (!has_gone_out(ch) || !ch->base.events) {
			is_near = is_near || ch->sent_end;
			list_append(&m->lasts, &ch->drain_link);
		} else {
			ch->base.events->on_drain(ch->base.owner);
		}
	}
	if (is_near && !m->closing && !timer_is_set(&m->last_timer))
		timer_set(&m->last_timer, LAST_CHECK_MS);
}

void
mux_channel_on_last_timer(void *owner)
{
	mux_channel_check_lasts(owner);
}

/* --- the stream --- */

static void
channel_start(struct stream *s)
{
	struct mux_channel *ch = mux_channel_of(s);

	ch->reading = true;
	deferred_set(&ch->wake);
}

static void
channel_stop(struct stream *s)
{
	mux_channel_of(s)->reading = false;
}

static size_t
channel_queued(const struct stream *s)
{
	const struct mux_channel *ch = mux_channel_of(s);

	if (!ch->mux)
		return 0;
	return buf_len(&ch->out) + stream_queued(ch->mux->below);
}

static struct stream *
channel_below(const struct stream *s)
{
	const struct mux_channel *ch = mux_channel_of(s);

	return ch->mux ? ch->mux->below : NULL;
}

static void
free_channel(void *object)
{
	struct mux_channel *ch = object;

	if (ch->head) {
		mux_head_fini(ch->head);
		free(ch->head);
	}
	mux_request_free(ch->request);
	buf_fini(&ch->in);
	buf_fini(&ch->out);
	free(ch->trouble);
	free(ch->address);
	free(ch);
}

void
mux_channel_drop(struct mux_channel *ch)
{
	ch->closing = true;
	deferred_clear(&ch->wake);
	mux_channel_detach(ch);
	loop_bury(ch->base.loop, ch, free_channel);
}

static void
channel_close(struct stream *s, bool reset)
{
	struct mux_channel *ch = mux_channel_of(s);
	struct mux *m = ch->mux;

	if (!m || ch->is_gone || ch->failed || ch->id == 0) {
		mux_channel_drop(ch);
		return;
	}
	/* What was written goes as far as that needs no waiting. */
	if (!reset && ch->is_open && (buf_len(&ch->out) > 0 || s->is_shut))
		mux_output_flush(m);
	if (!ch->is_gone)
		abort_stream(
		    ch, reset ? NGHTTP2_CONNECT_ERROR : NGHTTP2_CANCEL);
	mux_channel_drop(ch);
}

static const struct stream_ops ops = {
    .start = channel_start,
    .stop = channel_stop,
    .write = channel_write,
    .shutdown = channel_shutdown,
    .close = channel_close,
    .queued = channel_queued,
    .below = channel_below,
};

struct mux_channel *
mux_channel_new(struct mux *m, int32_t id)
{
	struct mux_channel *ch = mem_zalloc(sizeof *ch);

	stream_init(&ch->base, &ops, m->loop);
	ch->mux = m;
	ch->id = id;
	ch->window = MUX_WINDOW_MIN;
	ch->opened_s = (uint32_t)(loop_now_ms(m->loop) / 1000);
	buf_init(&ch->in, SIZE_MAX);
	buf_init(&ch->out, STREAM_QUEUE_MAX);
	deferred_init(&ch->wake, m->loop, on_wake, ch);
	list_init(&ch->wait_link);
	list_init(&ch->drain_link);
	list_init(&ch->probe_link);
	list_init(&ch->grown_link);
	list_append(&m->channels, &ch->link);
	m->count++;
	return ch;
}

/* --- facts --- */

const char *
mux_address(const struct stream *channel)
{
	return mux_channel_of(channel)->address;
}

uint32_t
mux_channel_id(const struct stream *channel)
{
	return (uint32_t)mux_channel_of(channel)->id;
}

size_t
mux_channel_window(const struct stream *channel)
{
	return mux_channel_of(channel)->window;
}

/* SPDX-License-Identifier: MIT
 *
 * Frames on their way out. One flush gathers frames in a block of the loop's
 * scratch memory, payload copied once from where it lies, and hands the block
 * to the stream below in one write. A write of bulk that is one frame is not
 * copied: its head goes into the headroom. nghttp2 chooses the channel of each
 * frame: in turn, who sent least first, so that a small message goes before the
 * next frame of bulk. While several channels have something to say a block is
 * small; while the stream below is above its mark there is none.
 */
#include <assert.h>
#include <string.h>

#include "mux/mux_core.h"

/* What a flush gathers at most, beside others and alone: whole turns. */
#define GATHER_SHARED ((size_t)4 * (9 + MUX_FRAME))
#define GATHER_ALONE ((size_t)16 * (9 + MUX_FRAME))

/* A stream below that is not open yet keeps little. */
#define GATHER_EARLY ((size_t)16384)

#define BLOCK_ROOM (LOOP_BLOCK_SIZE - STREAM_HEADROOM)

_Static_assert(GATHER_ALONE + 9 + MUX_FRAME <= BLOCK_ROOM,
    "the last frame of a block must fit");

static bool
is_early(const struct mux *m)
{
	return !m->is_server && m->login != MUX_LOGIN_GOOD;
}

/* nghttp2 means 16 KiB if it is not asked for more; it keeps to windows and to
 * what the other side takes. mux_channel_read has the last word. */
static ssize_t
on_read_length(nghttp2_session *ng, uint8_t type, int32_t id,
    int32_t session_window, int32_t window, uint32_t frame_max, void *owner)
{
	(void)ng;
	(void)type;
	(void)id;
	(void)session_window;
	(void)window;
	(void)frame_max;
	(void)owner;
	return MUX_TURN;
}

/* The write that is under way, whole, as one frame. */
static void
send_in_place(struct mux_channel *ch, const uint8_t *head)
{
	struct mux *m = ch->mux;
	uint8_t *at = ch->direct - 9;
	const size_t n = 9 + ch->direct_len;

	memcpy(at, head, 9);
	ch->direct_len = 0;
	if (!stream_write(m->below, at, n))
		m->is_full = true;
}

static int
on_send_data(nghttp2_session *ng, nghttp2_frame *frame, const uint8_t *head,
    size_t length, nghttp2_data_source *source, void *owner)
{
	struct mux *m = owner;
	struct mux_channel *ch =
	    nghttp2_session_get_stream_user_data(ng, frame->hd.stream_id);
	uint8_t *to = m->block + STREAM_HEADROOM + m->used;

	(void)source;
	assert(ch && m->used + 9 + length <= BLOCK_ROOM);
	if (m->used == 0 && length > 0 && length == ch->direct_len &&
	    buf_len(&ch->out) == 0 && !is_early(m)) {
		send_in_place(ch, head);
	} else {
		memcpy(to, head, 9);
		mux_channel_consume(ch, to + 9, length);
		m->used += 9 + length;
	}
	if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) {
		ch->sent_end = true;
		ch->end_at = m->below->bytes_out + m->used;
	}
	return 0;
}

static bool
is_answered_in_full(const struct mux *m, const nghttp2_frame *frame)
{
	return m->is_server && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) &&
	       (frame->hd.type == NGHTTP2_HEADERS ||
	           frame->hd.type == NGHTTP2_DATA);
}

/* A refused request is over: what the client still sends is of no use (RFC
 * 9113, section 8.1). A third wrong login is the last. */
static int
on_frame_send(nghttp2_session *ng, const nghttp2_frame *frame, void *owner)
{
	struct mux *m = owner;
	const int32_t id = frame->hd.stream_id;

	if (frame->hd.type == NGHTTP2_GOAWAY &&
	    frame->goaway.error_code != NGHTTP2_NO_ERROR)
		mux_doom(m, ERR_PROTOCOL, "the other side broke HTTP/2: %s",
		    nghttp2_http2_strerror(frame->goaway.error_code));
	if (!is_answered_in_full(m, frame))
		return 0;
	if (!nghttp2_session_get_stream_user_data(ng, id) &&
	    nghttp2_session_get_stream_remote_close(ng, id) == 0)
		nghttp2_submit_rst_stream(
		    ng, NGHTTP2_FLAG_NONE, id, NGHTTP2_NO_ERROR);
	if (id == m->login_id && m->bad_logins >= 3) {
		nghttp2_submit_goaway(ng, NGHTTP2_FLAG_NONE,
		    nghttp2_session_get_last_proc_stream_id(ng),
		    NGHTTP2_NO_ERROR, NULL, 0);
		mux_doom(m, ERR_AUTH, "three wrong logins");
	}
	return 0;
}

void
mux_output_set_callbacks(nghttp2_session_callbacks *c)
{
	nghttp2_session_callbacks_set_data_source_read_length_callback(
	    c, on_read_length);
	nghttp2_session_callbacks_set_send_data_callback(c, on_send_data);
	nghttp2_session_callbacks_set_on_frame_send_callback(c, on_frame_send);
}

static void
write_block(struct mux *m)
{
	const size_t n = m->used;

	m->used = 0;
	if (n > 0 && !stream_write(m->below, m->block + STREAM_HEADROOM, n))
		m->is_full = true;
}

/* Fills the block. False when nghttp2 failed. */
static bool
gather(struct mux *m)
{
	for (;;) {
		const uint8_t *frame;
		ssize_t n;

		m->is_paused = false;
		n = nghttp2_session_mem_send(m->ng, &frame);
		if (n < 0) {
			mux_doom(m, ERR_PROTOCOL, "HTTP/2: %s",
			    nghttp2_strerror((int)n));
			return false;
		}
		if (n == 0)
			return true;
		if ((size_t)n > BLOCK_ROOM - m->used)
			write_block(m);
		assert((size_t)n <= BLOCK_ROOM - m->used);
		memcpy(m->block + STREAM_HEADROOM + m->used, frame, (size_t)n);
		m->used += (size_t)n;
		/* Control frames alone do not pause; the next turn comes. */
		if (m->used >= m->most) {
			m->is_paused = true;
			return true;
		}
	}
}

void
mux_output_flush(struct mux *m)
{
	if (m->is_full || m->below_broken || m->sending || m->receiving ||
	    m->is_over || m->closing || !nghttp2_session_want_write(m->ng))
		return;
	m->sending = true;
	m->block = loop_block_take(m->loop);
	m->used = 0;
	m->most = is_early(m)   ? GATHER_EARLY
	          : m->busy > 1 ? GATHER_SHARED
	                        : GATHER_ALONE;
	if (gather(m))
		write_block(m);
	loop_block_give(m->loop, m->block);
	m->block = NULL;
	m->sending = false;
	if (m->is_paused && !m->is_full)
		deferred_set(&m->wake);
}

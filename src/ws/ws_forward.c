/* SPDX-License-Identifier: MIT
 *
 * A frame of the output is begun with room for its header; the header is
 * written when the frame's length is settled: when it is full, when its
 * message ends, when the next fragment shall not join it, or when the input is
 * used up. In the last case the rest of the fragment that is being read is
 * promised in the header (out_left), and later calls only pass it on. So
 * nothing waits here but the one byte held back, and payload is touched once:
 * unmasked on its way from the input to the output.
 */
#include "ws/ws_forward.h"

#include <assert.h>
#include <string.h>

/* A frame that others may still join has room for a header of this size,
 * which lets it grow to this length. */
#define FORWARD_JOIN_HEAD 4
#define FORWARD_JOIN_MAX 0xffffu

/* The output of one call. */
struct forward_out {
	uint8_t *at;      /* behind the last byte written */
	uint8_t *head;    /* the frame begun in this call, or NULL */
	size_t head_room; /* bytes kept free for its header */
	size_t payload;   /* its payload so far */
	uint64_t due;     /* what the fragment being read still brings */
	bool fin;         /* that fragment ends its message */
};

void
ws_forward_init(struct ws_forward *f)
{
	memset(f, 0, sizeof *f);
	ws_decoder_init(&f->decoder, true);
	f->decoder.keep_masked = true;
}

/* Each fragment brings a larger header than we write for it, but for the one
 * whose header came with an earlier call, and the frames made by splitting. */
size_t
ws_forward_bound(size_t n)
{
	return n + (n / WS_FRAME_MAX + 2) * WS_FRAME_HEAD_MAX + 1;
}

static size_t
put_head(struct ws_forward *f, uint8_t *out, bool fin, uint64_t len)
{
	const enum ws_opcode opcode = f->out_open ? WS_CONTINUATION : f->kind;

	f->out_open = !fin;
	return ws_frame_build(out, opcode, fin, len, NULL);
}

static void
begin_frame(struct forward_out *o)
{
	if (o->due >= WS_FRAME_MAX)
		o->head_room = ws_frame_head_size(WS_FRAME_MAX, false);
	else if (o->fin)
		o->head_room = ws_frame_head_size(o->due, false);
	else
		o->head_room = FORWARD_JOIN_HEAD;
	o->head = o->at;
	o->at += o->head_room;
	o->payload = 0;
}

/* Writes the header of the frame begun, if there is one. */
static void
settle_frame(struct ws_forward *f, struct forward_out *o)
{
	const uint64_t whole = o->payload + o->due;
	const uint64_t len = whole < WS_FRAME_MAX ? whole : WS_FRAME_MAX;
	uint8_t head[WS_FRAME_HEAD_MAX];
	size_t size;

	if (!o->head)
		return;
	size = put_head(f, head, o->fin && len == whole, len);
	assert(size <= o->head_room);
	/* Only a frame of less than 126 bytes ever has to move. */
	if (size < o->head_room)
		memmove(o->head + size, o->head + o->head_room, o->payload);
	memcpy(o->head, head, size);
	o->at -= o->head_room - size;
	o->head = NULL;
	f->out_left = len - o->payload;
}

/* How many of n bytes fit into the frame at hand; begins one if need be. */
static size_t
take_room(struct ws_forward *f, struct forward_out *o, size_t n)
{
	uint64_t room = f->out_left;

	if (room == 0) {
		if (!o->head)
			begin_frame(o);
		room = WS_FRAME_MAX - o->payload;
	}
	return n < room ? n : (size_t)room;
}

/* n bytes of the fragment were written. */
static void
count_written(struct ws_forward *f, struct forward_out *o, size_t n)
{
	o->at += n;
	o->due -= n;
	f->bytes += n;
	if (!o->head) {
		f->out_left -= n;
		return;
	}
	o->payload += n;
	if (o->payload == WS_FRAME_MAX)
		settle_frame(f, o);
}

static void
pass_payload(struct ws_forward *f, struct forward_out *o, const uint8_t *data,
    size_t len, uint64_t offset)
{
	while (len > 0) {
		const size_t n = take_room(f, o, len);

		ws_frame_mask(o->at, data, n, f->decoder.mask, offset);
		count_written(f, o, n);
		data += n;
		len -= n;
		offset += n;
	}
}

static void
pass_held(struct ws_forward *f, struct forward_out *o)
{
	f->has_held = false;
	take_room(f, o, 1);
	*o->at = f->held;
	count_written(f, o, 1);
}

/* What a fragment brings to the output, of which `left` payload bytes were not
 * seen yet: its last byte is kept unless it ends the message, and the byte
 * kept before goes out unless it brings nothing at all. */
static void
set_due(const struct ws_forward *f, struct forward_out *o, uint64_t left)
{
	o->fin = f->decoder.fin;
	o->due = left;
	if (left > 0 || o->fin)
		o->due += f->has_held;
	if (left > 0 && !o->fin)
		o->due--;
}

/* Whether the fragment that starts with this piece stays out of the frame that
 * was begun for those before it. */
static bool
is_apart(const struct forward_out *o, const struct ws_event *ev)
{
	return !ev->frame_end || ev->len + 1 > FORWARD_JOIN_MAX - o->payload;
}

static void
forward_piece(
    struct ws_forward *f, struct forward_out *o, const struct ws_event *ev)
{
	const uint64_t offset = f->decoder.frame_at - ev->len;
	const bool is_kept = ev->frame_end && !ev->message_end && ev->len > 0;
	const bool is_empty = ev->message_end && ev->len == 0 && !f->has_held &&
	                      !f->out_open && offset == 0;

	if (ev->message_start)
		f->kind = (uint8_t)ev->opcode;
	if (o->head && ev->frame_start && is_apart(o, ev))
		settle_frame(f, o);
	set_due(f, o, ev->frame_len - offset);
	if (is_empty) {
		o->at += put_head(f, o->at, true, 0);
		return;
	}
	if (f->has_held && o->due > 0)
		pass_held(f, o);
	pass_payload(f, o, ev->data, ev->len - is_kept, offset);
	if (is_kept) {
		f->held = ev->data[ev->len - 1] ^
		          f->decoder.mask[(offset + ev->len - 1) & 3];
		f->has_held = true;
	}
	if (ev->message_end)
		settle_frame(f, o);
}

enum ws_event_kind
ws_forward_feed(struct ws_forward *f, uint8_t **data, size_t *len, uint8_t *out,
    size_t *out_len, struct ws_event *ev)
{
	struct forward_out o = {.at = out};

	for (;;) {
		ws_decoder_next(&f->decoder, data, len, ev);
		if (ev->kind != WS_EVENT_DATA)
			break;
		forward_piece(f, &o, ev);
	}
	settle_frame(f, &o);
	*out_len = (size_t)(o.at - out);
	return ev->kind;
}

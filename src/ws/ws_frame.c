/* SPDX-License-Identifier: MIT
 *
 * The decoder has three states: gathering a header (in_frame is false),
 * passing payload of a data frame through, gathering the payload of a control
 * frame. A violation is seen in the header only, at the first byte that shows
 * it, and leaves the state as it is: asking again gives the same answer.
 */
#include "ws/ws_frame.h"

#include <assert.h>
#include <string.h>

#include "util/text.h"

/* Close reasons: what is left of a control frame behind the code. */
#define WS_REASON_MAX (WS_CONTROL_MAX - 2)

/* The widest vector registers of the machine at hand, chosen once at start. */
#if defined(__x86_64__) && defined(__GLIBC__)
#define WS_VECTORISED                                                          \
	__attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define WS_VECTORISED
#endif

static uint64_t
get_be(const uint8_t *s, size_t n)
{
	uint64_t number = 0;

	while (n-- > 0)
		number = number << 8 | *s++;
	return number;
}

static void
put_be(uint8_t *out, size_t n, uint64_t number)
{
	while (n-- > 0) {
		out[n] = (uint8_t)number;
		number >>= 8;
	}
}

size_t
ws_frame_head_size(uint64_t len, bool masked)
{
	size_t size = masked ? 6 : 2;

	if (len > 0xffff)
		size += 8;
	else if (len > WS_CONTROL_MAX)
		size += 2;
	return size;
}

size_t
ws_frame_build(uint8_t *out, enum ws_opcode opcode, bool fin, uint64_t len,
    const uint8_t mask[4])
{
	const uint8_t mask_bit = mask ? 0x80 : 0;
	size_t size = 2;

	out[0] = (uint8_t)((fin ? 0x80 : 0) | opcode);
	if (len > 0xffff) {
		out[1] = mask_bit | 127;
		put_be(out + 2, 8, len);
		size += 8;
	} else if (len > WS_CONTROL_MAX) {
		out[1] = mask_bit | 126;
		put_be(out + 2, 2, len);
		size += 2;
	} else {
		out[1] = (uint8_t)(mask_bit | len);
	}
	if (mask) {
		memcpy(out + size, mask, 4);
		size += 4;
	}
	return size;
}

/* Two functions with one body each: told that nothing overlaps, or that there
 * is only one block, the compiler makes vectors of the loop. */
WS_VECTORISED static void
xor_over(
    uint8_t *restrict dst, const uint8_t *restrict src, size_t n, uint64_t mask)
{
	uint64_t eight;

	for (; n >= 8; n -= 8, src += 8, dst += 8) {
		memcpy(&eight, src, 8);
		eight ^= mask;
		memcpy(dst, &eight, 8);
	}
	for (size_t i = 0; i < n; i++)
		dst[i] = src[i] ^ ((const uint8_t *)&mask)[i];
}

WS_VECTORISED static void
xor_in_place(uint8_t *data, size_t n, uint64_t mask)
{
	uint64_t eight;

	for (; n >= 8; n -= 8, data += 8) {
		memcpy(&eight, data, 8);
		eight ^= mask;
		memcpy(data, &eight, 8);
	}
	for (size_t i = 0; i < n; i++)
		data[i] ^= ((const uint8_t *)&mask)[i];
}

void
ws_frame_mask(uint8_t *dst, const uint8_t *src, size_t n, const uint8_t mask[4],
    uint64_t offset)
{
	uint8_t turned[8];
	uint64_t eight;

	for (size_t i = 0; i < sizeof turned; i++)
		turned[i] = mask[(offset + i) & 3];
	memcpy(&eight, turned, sizeof eight);
	if (dst == src)
		xor_in_place(dst, n, eight);
	else
		xor_over(dst, src, n, eight);
}

size_t
ws_frame_build_control(uint8_t *out, enum ws_opcode opcode, const void *payload,
    size_t len, const uint8_t mask[4])
{
	size_t size;

	assert(opcode >= WS_CLOSE && len <= WS_CONTROL_MAX);
	size = ws_frame_build(out, opcode, true, len, mask);
	if (len == 0)
		return size;
	memcpy(out + size, payload, len);
	if (mask)
		ws_frame_mask(out + size, out + size, len, mask, 0);
	return size + len;
}

size_t
ws_frame_build_close(uint8_t *out, int code, const char *reason)
{
	size_t n = reason ? strlen(reason) : 0;

	if (code == 0 || code == WS_CODE_NONE)
		return 0;
	if (n > WS_REASON_MAX) {
		n = WS_REASON_MAX;
		while (n > 0 && ((uint8_t)reason[n] & 0xc0) == 0x80)
			n--;
	}
	put_be(out, 2, (uint64_t)code);
	if (n > 0)
		/* NOLINTNEXTLINE(bugprone-not-null-terminated-result): wire */
		memcpy(out + 2, reason, n);
	return n + 2;
}

/* RFC 6455, section 7.4, and the codes registered since. */
static bool
is_wire_code(int code)
{
	if (code >= 3000)
		return code < 5000;
	return code >= 1000 && code <= 1014 && (code < 1004 || code > 1006);
}

bool
ws_frame_parse_close(const uint8_t *payload, size_t len, int *code,
    char reason[WS_REASON_MAX + 1])
{
	reason[0] = '\0';
	*code = WS_CODE_NONE;
	if (len == 0)
		return true;
	*code = WS_CODE_PROTOCOL;
	if (len < 2 || len > WS_CONTROL_MAX ||
	    !is_wire_code((int)get_be(payload, 2)))
		return false;
	*code = WS_CODE_INVALID_TEXT;
	if (!text_is_utf8(payload + 2, len - 2))
		return false;
	*code = (int)get_be(payload, 2);
	memcpy(reason, payload + 2, len - 2);
	reason[len - 2] = '\0';
	return true;
}

void
ws_decoder_init(struct ws_decoder *d, bool expect_mask)
{
	memset(d, 0, sizeof *d);
	d->expect_mask = expect_mask;
}

static bool
is_control(uint8_t opcode)
{
	return opcode >= WS_CLOSE;
}

/* What is wrong with the first two bytes of a header; NULL: nothing. */
static const char *
start_fault(const struct ws_decoder *d)
{
	const uint8_t opcode = d->head[0] & 15;
	const bool is_masked = d->head[1] & 0x80;

	if (d->head[0] & 0x70)
		return "a reserved bit is set, but no extension was agreed";
	if ((opcode > WS_BINARY && opcode < WS_CLOSE) || opcode > WS_PONG)
		return "an unknown kind of frame";
	if (is_masked != d->expect_mask)
		return is_masked ? "a masked frame from a server"
		                 : "an unmasked frame from a client";
	if (is_control(opcode)) {
		if (!(d->head[0] & 0x80))
			return "a control frame in fragments";
		if ((d->head[1] & 0x7f) > WS_CONTROL_MAX)
			return "a control frame longer than 125 bytes";
		return NULL;
	}
	if (opcode == WS_CONTINUATION && !d->in_message)
		return "a continuation without a message before it";
	if (opcode != WS_CONTINUATION && d->in_message)
		return "a new message inside another one";
	return NULL;
}

/* The same for the length, once all its bytes are there. */
static const char *
length_fault(const struct ws_decoder *d)
{
	const uint8_t form = d->head[1] & 0x7f;

	if (form == 126 && get_be(d->head + 2, 2) < 126)
		return "a length that is not in its shortest form";
	if (form == 127 && d->head[2] & 0x80)
		return "a length with its top bit set";
	if (form == 127 && get_be(d->head + 2, 8) <= 0xffff)
		return "a length that is not in its shortest form";
	return NULL;
}

static size_t
length_end(const struct ws_decoder *d)
{
	const uint8_t form = d->head[1] & 0x7f;

	return form == 127 ? 10 : form == 126 ? 4 : 2;
}

/* Gathers header bytes until there are `want`. */
static bool
gather_head(struct ws_decoder *d, size_t want, uint8_t **data, size_t *len)
{
	size_t n;

	if (d->head_len >= want)
		return true;
	n = want - d->head_len;
	if (n > *len)
		n = *len;
	memcpy(d->head + d->head_len, *data, n);
	d->head_len = (uint8_t)(d->head_len + n);
	*data += n;
	*len -= n;
	return d->head_len == want;
}

static void
enter_frame(struct ws_decoder *d)
{
	const uint8_t form = d->head[1] & 0x7f;

	d->fin = d->head[0] & 0x80;
	d->opcode = d->head[0] & 15;
	d->frame_at = 0;
	d->control_len = 0;
	d->frame_len = form == 127   ? get_be(d->head + 2, 8)
	               : form == 126 ? get_be(d->head + 2, 2)
	                             : form;
	if (d->expect_mask)
		memcpy(d->mask, d->head + length_end(d), 4);
	if (d->opcode == WS_TEXT || d->opcode == WS_BINARY) {
		d->message = d->opcode;
		d->in_message = true;
	}
	d->in_frame = true;
}

static void
leave_frame(struct ws_decoder *d)
{
	d->in_frame = false;
	d->head_len = 0;
	if (!is_control(d->opcode) && d->fin)
		d->in_message = false;
}

/* Reads the header; false: *ev says that more is needed or what is wrong. */
static bool
read_head(
    struct ws_decoder *d, uint8_t **data, size_t *len, struct ws_event *ev)
{
	const char *why;

	if (!gather_head(d, 2, data, len))
		return false;
	why = start_fault(d);
	if (!why) {
		if (!gather_head(d, length_end(d), data, len))
			return false;
		why = length_fault(d);
	}
	if (why) {
		ev->kind = WS_EVENT_BAD;
		ev->code = WS_CODE_PROTOCOL;
		ev->why = why;
		return false;
	}
	if (d->expect_mask && !gather_head(d, length_end(d) + 4, data, len))
		return false;
	enter_frame(d);
	return true;
}

static void
read_control(
    struct ws_decoder *d, uint8_t **data, size_t *len, struct ws_event *ev)
{
	size_t n = (size_t)d->frame_len - d->control_len;

	if (n > *len)
		n = *len;
	memcpy(d->control + d->control_len, *data, n);
	d->control_len = (uint8_t)(d->control_len + n);
	*data += n;
	*len -= n;
	if (d->control_len < d->frame_len)
		return;
	if (d->expect_mask)
		ws_frame_mask(
		    d->control, d->control, d->control_len, d->mask, 0);
	ev->kind = WS_EVENT_CONTROL;
	ev->opcode = d->opcode;
	ev->data = d->control;
	ev->len = d->control_len;
	leave_frame(d);
}

static void
read_data(
    struct ws_decoder *d, uint8_t **data, size_t *len, struct ws_event *ev)
{
	const uint64_t left = d->frame_len - d->frame_at;
	const size_t n = *len < left ? *len : (size_t)left;

	if (n == 0 && left > 0)
		return;
	if (d->expect_mask && !d->keep_masked)
		ws_frame_mask(*data, *data, n, d->mask, d->frame_at);
	ev->kind = WS_EVENT_DATA;
	ev->opcode = d->message;
	ev->data = *data;
	ev->len = n;
	ev->frame_len = d->frame_len;
	ev->frame_start = d->frame_at == 0;
	ev->message_start = ev->frame_start && d->opcode != WS_CONTINUATION;
	d->frame_at += n;
	*data += n;
	*len -= n;
	ev->frame_end = d->frame_at == d->frame_len;
	ev->message_end = ev->frame_end && d->fin;
	if (ev->frame_end)
		leave_frame(d);
}

void
ws_decoder_next(
    struct ws_decoder *d, uint8_t **data, size_t *len, struct ws_event *ev)
{
	*ev = (struct ws_event){.kind = WS_EVENT_NONE};
	if (!d->in_frame && !read_head(d, data, len, ev))
		return;
	if (is_control(d->opcode))
		read_control(d, data, len, ev);
	else
		read_data(d, data, len, ev);
}

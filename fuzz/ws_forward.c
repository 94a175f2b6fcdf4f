/* SPDX-License-Identifier: MIT
 *
 * Forwards frames of a client. The first byte chooses how the rest is cut into
 * pieces. What comes out must decode without fault, with no empty frame inside
 * a message, and with all payload that a plain decoder finds, but for a byte
 * held back.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "util/mem.h"
#include "ws/ws_forward.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
demand(bool is_true)
{
	if (!is_true)
		abort();
}

/* What a plain decoder makes of the same piece; false after a violation. */
static bool
decode(struct ws_decoder *d, uint8_t *piece, size_t n, uint64_t *payload)
{
	struct ws_event ev;

	do {
		ws_decoder_next(d, &piece, &n, &ev);
		if (ev.kind == WS_EVENT_DATA)
			*payload += ev.len;
	} while (ev.kind == WS_EVENT_DATA || ev.kind == WS_EVENT_CONTROL);
	return ev.kind != WS_EVENT_BAD;
}

static void
read_forwarded(struct ws_decoder *d, uint8_t *out, size_t n, uint64_t *payload)
{
	struct ws_event ev;

	for (;;) {
		ws_decoder_next(d, &out, &n, &ev);
		if (ev.kind == WS_EVENT_NONE)
			return;
		demand(ev.kind == WS_EVENT_DATA);
		demand(ev.frame_len <= WS_FRAME_MAX);
		demand(
		    ev.frame_len > 0 || (ev.message_start && ev.message_end));
		*payload += ev.len;
	}
}

static bool
forward(struct ws_forward *f, struct ws_decoder *reader, uint8_t *piece,
    size_t n, uint64_t *payload)
{
	enum ws_event_kind kind;
	struct ws_event ev;

	do {
		uint8_t *out = mem_alloc(ws_forward_bound(n));
		size_t out_len;

		kind = ws_forward_feed(f, &piece, &n, out, &out_len, &ev);
		read_forwarded(reader, out, out_len, payload);
		free(out);
	} while (kind == WS_EVENT_CONTROL);
	return kind != WS_EVENT_BAD;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ws_decoder decoder, reader;
	struct ws_forward forwarding;
	uint64_t in = 0, out = 0;
	bool is_good = true;
	size_t step;

	if (size == 0)
		return 0;
	step = (size_t)data[0] + 1;
	ws_decoder_init(&decoder, true);
	ws_decoder_init(&reader, false);
	ws_forward_init(&forwarding);
	for (size_t at = 1; at < size && is_good; at += step) {
		const size_t n = size - at < step ? size - at : step;
		uint8_t *piece = mem_alloc(n);

		memcpy(piece, data + at, n);
		is_good = decode(&decoder, piece, n, &in);
		memcpy(piece, data + at, n);
		demand(
		    is_good == forward(&forwarding, &reader, piece, n, &out));
		free(piece);
	}
	demand(in == out + forwarding.has_held);
	return 0;
}

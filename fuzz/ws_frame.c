/* SPDX-License-Identifier: MIT
 *
 * Feeds frames to the decoder. The first byte chooses the side and how the
 * rest is cut into pieces.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "util/mem.h"
#include "ws/ws_frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
demand(bool is_true)
{
	if (!is_true)
		abort();
}

static void
decode_close(const struct ws_event *ev)
{
	uint8_t again[WS_CONTROL_MAX];
	char reason[WS_CONTROL_MAX - 1];
	int code;

	if (!ws_frame_parse_close(ev->data, ev->len, &code, reason))
		return;
	/* A reason with a NUL inside is shorter as a text. */
	demand(ws_frame_build_close(again, code, reason) <= ev->len);
}

/* Decodes one piece; false after a violation. */
static bool
decode(struct ws_decoder *d, uint8_t *piece, size_t n)
{
	const uint8_t *const end = piece + n;
	struct ws_event ev;

	for (;;) {
		ws_decoder_next(d, &piece, &n, &ev);
		demand(piece + n == end);
		if (ev.kind == WS_EVENT_BAD)
			return false;
		if (ev.kind == WS_EVENT_NONE) {
			demand(n == 0);
			return true;
		}
		if (ev.kind == WS_EVENT_DATA)
			demand(ev.data + ev.len == piece);
		else if (ev.opcode == WS_CLOSE)
			decode_close(&ev);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ws_decoder decoder;
	bool is_good = true;
	size_t step;

	if (size == 0)
		return 0;
	step = (size_t)(data[0] >> 1) + 1;
	ws_decoder_init(&decoder, data[0] & 1);
	for (size_t at = 1; at < size && is_good; at += step) {
		const size_t n = size - at < step ? size - at : step;
		uint8_t *piece = mem_alloc(n);

		memcpy(piece, data + at, n);
		is_good = decode(&decoder, piece, n);
		free(piece);
	}
	return 0;
}

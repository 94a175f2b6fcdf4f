/* SPDX-License-Identifier: MIT
 *
 * Feeds session frames to the decoder and their payloads to the parsers; what
 * was read is built again and must be the same bytes. The first byte says how
 * the rest is cut into pieces.
 */
#include "session/session_wire.h"

#include <stdlib.h>
#include <string.h>

#include "util/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
demand(bool is_true)
{
	if (!is_true)
		abort();
}

static void
is_same(const struct session_item *item, const uint8_t *frame, size_t n)
{
	demand(n == item->len + SESSION_HEAD_SIZE);
	demand(memcmp(frame + SESSION_HEAD_SIZE, item->data, item->len) == 0);
	demand(frame[0] == item->type);
}

/* The proof at the end is made anew from a secret, so it is left out. */
static void
is_same_but_proof(struct session_item item, const uint8_t *frame, size_t n)
{
	item.len -= SESSION_PROOF_SIZE;
	is_same(&item, frame, n - SESSION_PROOF_SIZE);
}

static void
check_resumes(const struct session_item *item)
{
	static const uint8_t zeros[SESSION_SECRET_SIZE];
	uint8_t again[SESSION_CONTROL_MAX];
	struct session_resume r;
	struct session_resumed d;
	bool bad;

	if (item->type == SESSION_RESUME &&
	    session_parse_resume(&r, item->data, item->len, &bad)) {
		demand(!session_check_resume(&r, zeros) || item->len == 94);
		is_same_but_proof(
		    *item, again, session_build_resume(again, &r, zeros));
	}
	if (item->type == SESSION_RESUMED &&
	    session_parse_resumed(&d, item->data, item->len))
		is_same_but_proof(*item, again,
		    session_build_resumed(again, &d, zeros, zeros));
}

static void
check(const struct session_item *item)
{
	uint8_t again[SESSION_CONTROL_MAX];
	struct session_hello h;
	struct session_notice n;
	uint64_t number;
	bool bad;

	if (item->type == SESSION_HELLO &&
	    session_parse_hello(&h, item->data, item->len, &bad))
		is_same(item, again, session_build_hello(again, &h));
	if (item->type == SESSION_WELCOME &&
	    session_parse_welcome(&h, item->data, item->len))
		is_same(item, again, session_build_welcome(again, &h));
	if ((item->type == SESSION_REFUSE || item->type == SESSION_CLOSE) &&
	    session_parse_notice(&n, item->data, item->len))
		is_same(item, again,
		    session_build_notice(again, item->type, n.code, n.text));
	if (item->type >= SESSION_ACK && item->type <= SESSION_PONG) {
		demand(session_parse_number(&number, item->data, item->len));
		is_same(item, again,
		    session_build_number(again, item->type, number));
	}
	check_resumes(item);
}

/* Decodes one piece; false after a violation. */
static bool
decode(struct session_decoder *d, uint8_t *piece, size_t n)
{
	const uint8_t *const end = piece + n;
	struct session_item item;

	for (;;) {
		session_decoder_next(d, &piece, &n, &item);
		demand(piece + n == end);
		if (item.kind == SESSION_ITEM_BAD) {
			demand(item.why != NULL);
			return false;
		}
		if (item.kind == SESSION_ITEM_NONE) {
			demand(n == 0);
			return true;
		}
		if (item.kind == SESSION_ITEM_DATA)
			demand(item.len > 0 && item.data + item.len == piece);
		else
			check(&item);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct session_decoder d;
	bool is_good = true;
	size_t step;

	if (size == 0)
		return 0;
	step = (size_t)data[0] + 1;
	session_decoder_init(&d);
	for (size_t at = 1; at < size && is_good; at += step) {
		size_t n = size - at < step ? size - at : step;
		uint8_t *piece = mem_alloc(n);

		memcpy(piece, data + at, n);
		is_good = decode(&d, piece, n);
		free(piece);
	}
	return 0;
}

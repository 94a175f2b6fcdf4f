/* SPDX-License-Identifier: MIT
 *
 * The queue is one block with the content somewhere in it. Content moves to
 * the front only when at least as many bytes were consumed as are left, and
 * the block doubles otherwise, so each byte is moved a bounded number of times.
 * An empty queue gives its block back: an idle connection costs nothing.
 */
#include "util/buf.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/mem.h"

#define BUF_ROOM_MIN 256

void
buf_init(struct buf *b, size_t limit)
{
	*b = (struct buf){.limit = limit};
}

void
buf_fini(struct buf *b)
{
	free(b->base);
	buf_init(b, b->limit);
}

static void
buf_grow(struct buf *b, size_t wanted)
{
	const size_t len = buf_len(b);
	size_t room = b->room < BUF_ROOM_MIN / 2 ? BUF_ROOM_MIN : b->room * 2;
	uint8_t *base;

	if (room > b->limit)
		room = b->limit;
	if (room < wanted)
		room = wanted;
	if (b->start == 0) {
		b->base = mem_grow(b->base, room);
	} else {
		base = mem_alloc(room);
		memcpy(base, b->base + b->start, len);
		free(b->base);
		b->base = base;
	}
	b->start = 0;
	b->end = len;
	b->room = room;
}

uint8_t *
buf_reserve(struct buf *b, size_t n)
{
	const size_t len = buf_len(b);

	if (len > b->limit || n > b->limit - len)
		return NULL;
	if (b->base && n <= b->room - b->end)
		return b->base + b->end;
	if (b->base && len + n <= b->room && b->start >= len) {
		memcpy(b->base, b->base + b->start, len);
		b->start = 0;
		b->end = len;
	} else {
		buf_grow(b, len + n);
	}
	return b->base + b->end;
}

void
buf_commit(struct buf *b, size_t n)
{
	assert(n <= b->room - b->end);
	b->end += n;
	if (b->end == b->start)
		buf_fini(b);
}

bool
buf_append(struct buf *b, const void *data, size_t n)
{
	uint8_t *at;

	if (n == 0)
		return true;
	at = buf_reserve(b, n);
	if (!at)
		return false;
	memcpy(at, data, n);
	buf_commit(b, n);
	return true;
}

bool
buf_append_text(struct buf *b, const char *text)
{
	return buf_append(b, text, strlen(text));
}

bool
buf_printf(struct buf *b, const char *format, ...)
{
	char small[256];
	char *text = small;
	va_list args, again;
	int n;
	bool is_added;

	va_start(args, format);
	va_copy(again, args);
	n = vsnprintf(small, sizeof small, format, args);
	va_end(args);
	assert(n >= 0);
	if ((size_t)n >= sizeof small) {
		text = mem_alloc((size_t)n + 1);
		vsnprintf(text, (size_t)n + 1, format, again);
	}
	va_end(again);
	is_added = buf_append(b, text, (size_t)n);
	if (text != small)
		free(text);
	return is_added;
}

void
buf_consume(struct buf *b, size_t n)
{
	assert(n <= buf_len(b));
	b->start += n;
	if (b->start == b->end)
		buf_fini(b);
}

char *
buf_take_text(struct buf *b)
{
	const size_t len = buf_len(b);
	char *text;

	if (len == 0) {
		buf_fini(b);
		return mem_strdup("");
	}
	memmove(b->base, b->base + b->start, len);
	text = mem_grow(b->base, len + 1);
	text[len] = '\0';
	buf_init(b, b->limit);
	return text;
}

/* SPDX-License-Identifier: MIT
 *
 * A growable queue of bytes with a ceiling: bytes are added at the end and
 * consumed at the front. It holds no memory while empty. Passing the ceiling
 * is refused, never fatal: the owner decides what ends.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
	uint8_t *base; /* NULL while empty */
	size_t start;  /* first byte not consumed */
	size_t end;    /* behind the last byte */
	size_t room;   /* size of base */
	size_t limit;  /* most bytes it may hold */
};

void buf_init(struct buf *b, size_t limit);

/* Frees the memory; the buf is empty and usable again. */
void buf_fini(struct buf *b);

static inline size_t
buf_len(const struct buf *b)
{
	return b->end - b->start;
}

/* The first byte; NULL when empty. Valid until the next call that adds or
 * consumes. */
static inline uint8_t *
buf_data(const struct buf *b)
{
	return b->base ? b->base + b->start : NULL;
}

/* Adds a copy of n bytes. False, with nothing added, beyond the limit. */
bool buf_append(struct buf *b, const void *data, size_t n);
bool buf_append_text(struct buf *b, const char *text);
bool buf_printf(struct buf *b, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Room for n bytes at the end to be filled by the caller, then committed
 * (fewer may be). NULL beyond the limit. */
uint8_t *buf_reserve(struct buf *b, size_t n);
void buf_commit(struct buf *b, size_t n);

/* Drops the first n (at most buf_len) bytes. When it becomes empty its memory
 * is freed. */
void buf_consume(struct buf *b, size_t n);

/* The content as a NUL-terminated text that the caller frees; b is emptied. */
char *buf_take_text(struct buf *b);

/* SPDX-License-Identifier: MIT
 *
 * A pair of streams in memory for tests: what is written to one is read from
 * the other. Between them lies a bounded "kernel" of MEMSTREAM_ROOM bytes each
 * way; what does not fit counts as queued, as with a socket. Each event is a
 * deferred call of its own, so everything is repeatable. The network between
 * can be stalled, cut and broken, and data can be split at chosen sizes.
 *
 * All functions take either stream of a pair. They do not keep the loop alive:
 * run it with RUN_UNTIL.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/err.h"

struct loop;
struct stream;

#define MEMSTREAM_ROOM ((size_t)32 * 1024)

void memstream_pair(struct loop *l, struct stream **a, struct stream **b);

/* s gets its bytes in pieces of at most sizes[0], sizes[1], ..., in a circle.
 * The array must live as long as s. count 0: as they come. */
void memstream_set_split(struct stream *s, const size_t *sizes, size_t count);

/* While stalled nothing reaches s; its peer's bytes queue up. */
void memstream_stall(struct stream *s, bool stalled);

/* The cable is pulled: nothing passes any more, and nobody is told. */
void memstream_cut(struct stream *s);

/* s (and nobody else) learns of trouble. */
void memstream_break(struct stream *s, enum err_code code);

/* --- an owner that writes down what it hears --- */

struct recorder {
	struct stream *stream; /* NULL after recorder_close */
	unsigned opens;
	unsigned ends;
	unsigned drains;
	unsigned errors;
	struct err err; /* the last */
	size_t bytes;
	size_t largest; /* piece */
	unsigned pieces;
	uint64_t hash;  /* of all bytes; MEMSTREAM_HASH at first */
	char text[256]; /* the first bytes, terminated */
	bool stop_each; /* stops the stream in each on_data */
};

#define MEMSTREAM_HASH 0xcbf29ce484222325ull

uint64_t memstream_hash(uint64_t hash, const void *data, size_t len);

/* Byte number `at` of the endless test data, and len bytes from there. */
void memstream_fill(void *data, size_t len, size_t at);
/* The hash of the first len bytes of it. */
uint64_t memstream_fill_hash(size_t len);

void recorder_own(struct recorder *r, struct stream *s);
void recorder_close(struct recorder *r);

/* Turns the loop until the condition holds; fails when nothing is left that
 * could make it true. */
#define RUN_UNTIL(loop, condition)                                             \
	while (!(condition))                                                   \
		if (!loop_turn((loop), true) && !(condition))                  \
			fail_msg("the loop is dry before: %s", #condition);

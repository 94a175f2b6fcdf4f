/* SPDX-License-Identifier: MIT
 *
 * Lines of commands from a file or from standard input that is no terminal,
 * one at a time, while the loop goes on.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct batch;
struct err;
struct loop;

struct batch_events {
	/* A line without its end; number counts from 1. It may be longer than
	 * the console takes: that is for its parser to refuse. */
	void (*on_line)(
	    void *owner, const char *text, size_t n, unsigned number);
	/* No more lines. Once. */
	void (*on_end)(void *owner);
};

/* file NULL: standard input. NULL and *e as secret_read_text. */
struct batch *batch_open(struct loop *l, const char *file,
    const struct batch_events *events, void *owner, struct err *e);

/* "FILE" or "standard input", for messages. */
const char *batch_name(const struct batch *b);

/* Pauses and resumes; a paused batch reads on but reports nothing. */
void batch_set_active(struct batch *b, bool active);

void batch_close(struct batch *b);

/* SPDX-License-Identifier: MIT
 *
 * Joins two streams and owns both until it is closed: bytes each way, with
 * back-pressure (a source is stopped while its sink is above the mark),
 * half-close (FIN is passed on after the bytes before it) and reset (trouble
 * on one side resets the other).
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct err;
struct pump;
struct stream;

struct pump_events {
	/* A stream that was not open yet when the pump took it is now; what
	 * came from the other side meanwhile was written to it. NULL: nobody
	 * cares. */
	void (*on_open)(void *owner);
	/* Both directions ended. err is NULL when both ended by FIN, else why
	 * it ended; `from_a` tells whose side failed. Both streams are
	 * already closed (or reset); the pump waits for pump_close. */
	void (*on_done)(void *owner, const struct err *err, bool from_a);
};

/* Takes both streams and starts them. */
struct pump *pump_open(struct stream *a, struct stream *b,
    const struct pump_events *events, void *owner);

/* Payload bytes a -> b and b -> a so far; valid until pump_close. */
void pump_bytes(const struct pump *p, uint64_t *a_to_b, uint64_t *b_to_a);

/* Ends both streams now (by reset if they still live) and frees the pump. */
void pump_close(struct pump *p);

/* SPDX-License-Identifier: MIT
 *
 * The brake on failing listens: remembers how often each source address has
 * failed lately and tells how long its next refusal is held back. Some clients
 * reconnect at once and without end after a refusal (specification 4.3); a
 * late answer is the only thing that slows them down. Pure: the clock is an
 * argument. The table is of fixed size; the address that failed longest ago
 * makes room.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct addr;
struct brake;

#define BRAKE_SLOTS 1024

struct brake_options {
	uint32_t first_ms; /* delay of the first refusal; 0: never any */
	uint32_t most_ms;
	uint32_t forget_ms; /* without a failure for so long: forgotten */
};

struct brake *brake_new(void);
void brake_free(struct brake *b);

/* Counts a failure from this address (its port does not matter; IPv6
 * addresses count by their /64) and returns the delay before the answer. */
uint32_t brake_fail(struct brake *b, const struct brake_options *o,
    const struct addr *from, uint64_t now_ms);

/* A success wipes the slate. */
void brake_forgive(struct brake *b, const struct addr *from);

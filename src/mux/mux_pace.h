/* SPDX-License-Identifier: MIT
 *
 * The two things a mux measures of its other side. Pure; the clock is an
 * argument. Pace: the round trip by PING, at most one each 200 ms while data
 * flows, and from it how large a channel's window should be. Guard: how often
 * the other side did something that is cheap for it and not for us.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MUX_PACE_PROBE_US 200000u
/* The shortest round trip is remembered for one to two of these. */
#define MUX_PACE_MEMORY_US 5000000u

struct mux_pace {
	uint64_t sent_us;    /* of the last probe */
	uint64_t since_us;   /* start of best_us[0] */
	uint32_t best_us[2]; /* this period's and the last one's; 0: none */
	uint32_t rtt_us;     /* the last one measured; 0: none */
	bool is_out;         /* a probe is under way */
	bool is_started;
};

/* Whether a probe is due now that data came; then it counts as sent. */
bool mux_pace_probe(struct mux_pace *p, uint64_t now_us);

/* The answer to the probe came. */
void mux_pace_answer(struct mux_pace *p, uint64_t now_us);

/* The shortest round trip of late; 0: not measured. */
uint32_t mux_pace_best_us(const struct mux_pace *p);

/* A window is given back in parts of this many bytes: half of a small one,
 * since each part costs a frame the other way, and a quarter of a large one. */
#define MUX_PACE_SMALL ((size_t)1024 * 1024)
size_t mux_pace_part(size_t window);

/* The window (doubled or as it was, at most `most`) for a channel that got
 * `bytes` during the last probe. */
size_t mux_pace_window(
    const struct mux_pace *p, uint64_t bytes, size_t window, size_t most);

/* The same for the only channel that got any: a small window grows, too, when
 * the queues on the way are what fills it. On a fast link its few turns are
 * soon used up, and stopping and waking the source for each costs much; nobody
 * else waits behind them. */
size_t mux_pace_window_alone(uint64_t bytes, size_t window);

#define MUX_GUARD_PERIOD_MS 10000u

/* Counts in periods that follow each other; init by zeros. */
struct mux_guard {
	uint64_t since_ms;
	unsigned count;
};

/* Counts one; false when there were more than `most` in the period. */
bool mux_guard_take(struct mux_guard *g, uint64_t now_ms, unsigned most);

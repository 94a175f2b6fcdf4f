/* SPDX-License-Identifier: MIT
 *
 * Two session cores joined by a network that cuts, delays, swallows and
 * replays, driven by whoever draws the numbers: a generator with a seed (the
 * model test) or a fuzzer. Every byte that comes out is compared with the byte
 * that went in at that offset; an end without a reason is a fault, too.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct session_model_options {
	/* A number below bound (> 0). */
	uint32_t (*draw)(void *owner, uint32_t bound);
	void *owner;
	unsigned steps;
};

/* What happened, added up over runs: a test looks whether each did. */
struct session_model_counts {
	uint64_t bytes; /* delivered */
	uint64_t carriers;
	uint64_t resumes;      /* RESUMED that were taken */
	uint64_t resent;       /* resumes that set the output back */
	uint64_t renewals;     /* that worked */
	uint64_t renewals_bad; /* given up while the old carrier lived */
	uint64_t promotions;   /* the old carrier died meanwhile */
	uint64_t lost_answers; /* RESUMED made and never taken */
	uint64_t late;         /* an old RESUME was the first to arrive */
	uint64_t replays_refused;
	uint64_t dead; /* carriers that silence has ended */
	uint64_t held; /* DATA was left for want of a reader */
	uint64_t windows;
	uint64_t orderly;
	uint64_t hard;
	uint64_t lost_greetings;
};

/* One schedule. NULL, or what went wrong. */
const char *session_model_run(
    const struct session_model_options *o, struct session_model_counts *n);

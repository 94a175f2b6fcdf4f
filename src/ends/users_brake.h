/* SPDX-License-Identifier: MIT
 *
 * The brake on guessing passwords, for users_store.c. A brake stands for a
 * name or a source: one trial of it runs at a time, a few wait, and after each
 * wrong answer the next one starts a little later. Pure: the clock is an
 * argument. Names and sources are kept as keyed hashes.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "util/crypt.h"
#include "util/list.h"

/* Brakes that are kept. An attacker who wants one of them forgotten must pay
 * for this many hashes first. */
#define USERS_BRAKES_MAX 1024
#define USERS_BRAKE_KEY_SIZE 16
/* A wrong answer counts no more after so much quiet. */
#define USERS_BRAKE_QUIET_MS 10000

struct users_brake {
	struct list link; /* last used first */
	uint8_t key[USERS_BRAKE_KEY_SIZE];
	unsigned trials; /* waiting and running: kept by the user of the brake,
	                    who thereby keeps the brake */
	bool is_running;
	unsigned wrong; /* what the pause grows by */
	uint64_t wrong_ms;
	uint64_t ready_ms; /* no trial starts before */
};

struct users_brakes {
	struct list list;
	unsigned count;
	uint64_t pause_ms;
	uint64_t pause_max_ms;
	uint8_t secret[CRYPT_SHA256_SIZE];
};

void users_brakes_init(
    struct users_brakes *all, uint64_t pause_ms, uint64_t pause_max_ms);
void users_brakes_fini(struct users_brakes *all);

/* The brake of a word; kind tells names from sources. At the ceiling the one
 * that was not used for the longest time and has no trials gives way: fewer
 * than USERS_BRAKES_MAX may have trials. */
struct users_brake *users_brake_get(
    struct users_brakes *all, char kind, const char *word);

/* After a wrong answer. */
void users_brake_pull(
    struct users_brakes *all, struct users_brake *b, uint64_t now_ms);

/* 0: a trial may start; else the time at which to look again (UINT64_MAX: when
 * the one that runs is done). b may be NULL: no brake. */
uint64_t users_brake_wait(const struct users_brake *b, uint64_t now_ms);

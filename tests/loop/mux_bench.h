/* SPDX-License-Identifier: MIT
 *
 * Two muxes joined by a pair of streams in memory (or a delaying one), with a
 * server that accepts, refuses or hesitates, and channels whose two ends are
 * recorders: near[i] is the client's i-th, far[i] the i-th accepted.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memstream.h"
#include "mux/mux.h"
#include "util/err.h"

struct loop;
struct stream;

#define BENCH_CHANNELS 600

/* Callbacks in which the bench can close its muxes. */
enum step {
	STEP_LOGIN,
	STEP_REQUEST,
	STEP_CANCEL,
	STEP_LOGIN_DONE,
	STEP_DRAIN,
	STEP_CLIENT_END,
	STEP_SERVER_END,
	STEP_OPEN,
	STEP_DATA,
	STEP_FAR_DATA,
	STEP_FAR_END,
	STEP_ERROR,
	STEP_COUNT,
	STEP_NONE = STEP_COUNT,
};

struct bench {
	struct loop *loop;
	struct mux *client;
	struct mux *server;
	struct stream *below_client;
	struct stream *below_server;
	struct mux_budget *budget; /* the server's */
	struct delay *delay;
	struct recorder near[BENCH_CHANNELS];
	struct recorder far[BENCH_CHANNELS];
	struct mux_request *pending[BENCH_CHANNELS];
	int connects;
	int requests;
	int accepts;
	int cancels;
	int asked;  /* logins that came */
	int logins; /* answers */
	int client_drains;
	int client_ends;
	int server_ends;
	struct err login_err;
	struct err client_err;
	struct err server_err;
	char asked_user[64];
	char asked_password[64];
	struct mux_target target; /* of the last request */
	char target_host[256];
	bool refuses;
	bool hesitates;
	enum mux_refusal refusal;
	const char *details; /* NULL: the target's host */
	enum step close_at;
	bool closed_at_step;
};

/* The budget of the next bench; 0: ample. */
extern size_t bench_budget;

/* Password "good": welcome at once; "later": by the test; else refused. */
void bench_open(struct bench *b, const char *user, const char *password);
/* One way takes that long. Nameless. */
void bench_open_delayed(struct bench *b, unsigned ms);
struct stream *bench_connect(struct bench *b, const struct mux_target *t);
size_t bench_far_bytes(const struct bench *b, int channels);
/* Closes what is open and demands a dry loop. */
void bench_close(struct bench *b);

/* --- an owner that writes test data as fast as it may, then shuts --- */

struct feeder {
	struct stream *stream;
	size_t at;
	size_t all; /* then it shuts; SIZE_MAX: without end; 0: see below */
	size_t to;  /* stops there until feeder_go */
	size_t piece;
	bool is_shut;
	bool is_done;
	bool failed;
};

void feeder_own(struct feeder *f, struct stream *s, size_t all, size_t piece);

/* all 0: up to there, and no end. */
void feeder_go(struct feeder *f, size_t to);

/* The whole way: socket, pump, channel, channel, pump, socket, both ways. */
void bench_pumps(size_t bytes);

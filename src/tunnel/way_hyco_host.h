/* SPDX-License-Identifier: MIT
 *
 * The listener's side of the hyco way: takes carriers, holds the sessions that
 * senders make of them, lets each log in once, and joins every channel that is
 * asked for with its destination, as far as policy allows. One log line for
 * each channel and each session, when its fate is known.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tunnel/agent.h"

struct loop;
struct policy;
struct tls_context;
struct users_store;
struct way_hyco_host;
struct ws;

struct way_hyco_host_options {
	struct loop *loop;
	/* Who we are; a reference is taken. NULL: no end-to-end TLS. */
	struct tls_context *identity;
	bool allow_anonymous;
	size_t sessions_max;         /* 0: 1,000 */
	size_t connections_max;      /* channels of all sessions */
	size_t session_channels_max; /* of one session; 0: 4,096 */
	uint16_t window_s;           /* 0: 120 */
	size_t memory;               /* of windows; 0: 256 MiB */
	uint64_t connect_ms;         /* to the destination */
	uint64_t login_ms; /* from the greeting to a good login; 0: 60,000 */
	/* The agent's: channels count as connections. Both outlive the host. */
	struct agent_counts *counts;
	uint64_t *last_id;
};

struct way_hyco_host_events {
	/* Draining, and the last session ended. */
	void (*on_idle)(void *owner);
};

struct way_hyco_host *way_hyco_host_open(const struct way_hyco_host_options *o,
    const struct way_hyco_host_events *events, void *owner);

/* Who may come and where they may go, from now on: store (may be NULL) is
 * borrowed until the next call, of policy a reference is taken. Sessions whose
 * user is gone and channels that the policy forbids are reset before this
 * returns. Returns how many channels that were. */
size_t way_hyco_host_set_rules(
    struct way_hyco_host *h, struct users_store *users, struct policy *policy);

/* Takes a carrier. `source` is the sender's address as the relay told it; the
 * text is copied. */
void way_hyco_host_take(
    struct way_hyco_host *h, struct ws *carrier, const char *source);

size_t way_hyco_host_sessions(const struct way_hyco_host *h);

/* Adds the bytes of live channels. */
void way_hyco_host_add_bytes(
    const struct way_hyco_host *h, uint64_t *up, uint64_t *down);

/* No new sessions, and no new channels in those that are there. */
void way_hyco_host_drain(struct way_hyco_host *h);

/* Ends everything: channels are reset, sessions closed. */
void way_hyco_host_close(struct way_hyco_host *h);

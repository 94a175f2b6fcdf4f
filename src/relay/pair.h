/* SPDX-License-Identifier: MIT
 *
 * A joined pair: the sender's WebSocket and the listener's, frames forwarded
 * both ways (specification 6). Owns both streams, which have their handshakes
 * behind them. It never holds a message; idle it holds no buffer. It answers
 * Pings, sends its own, passes a Close on in its direction only, and ends TCP
 * when both Closes have passed. A side that is lost without Close takes the
 * other one with it by a reset.
 *
 * on_end comes once, when both streams are gone; then pair_close is due.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;
struct pair;
struct relay_limits;
struct stream;

enum pair_end_kind {
	PAIR_CLOSED,  /* both Closes have passed */
	PAIR_ABORTED, /* one side was lost, silent, or broke the protocol */
	PAIR_ENDED,   /* by pair_end */
};

struct pair_result {
	enum pair_end_kind kind;
	const char *reason;         /* for people and logs */
	uint64_t bytes_to_listener; /* payload */
	uint64_t bytes_to_sender;
};

struct pair_events {
	void (*on_end)(void *owner, const struct pair_result *result);
};

/* One of the two; `early` was read behind the handshake, taken, may be NULL. */
struct pair_side {
	struct stream *stream;
	uint8_t *early;
	size_t early_len;
};

/* Takes the streams. The limits are borrowed for the pair's life. */
struct pair *pair_open(struct loop *l, const struct pair_side *sender,
    const struct pair_side *listener, const struct relay_limits *limits,
    const struct pair_events *events, void *owner);

/* Ends it in good order with a Close to both; on_end follows. */
void pair_end(struct pair *p, int code, const char *reason);

/* Payload forwarded so far. */
uint64_t pair_bytes_to_listener(const struct pair *p);
uint64_t pair_bytes_to_sender(const struct pair *p);

/* Closes it in any state; without on_end before, both sides see the end of TCP
 * at once, behind what was written. */
void pair_close(struct pair *p);

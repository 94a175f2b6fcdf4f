/* SPDX-License-Identifier: MIT
 *
 * The control channel of a listener: registers at the relay, keeps itself
 * alive, renews the token, comes back after every loss, and hands over each
 * sender that waits as a struct hc_accept. Never blocks on an accept: many may
 * be open at once, and joined WebSockets live on without the channel.
 *
 * Order of events: on_online when the relay has answered 101; then on_accept,
 * any number; on_offline when the channel is lost and after each attempt to
 * come back that failed; on_online again. on_failed ends it: the first attempt
 * failed (unless retry_first lets network faults pass), the path is gone, or a
 * ready-made token has expired. After on_failed it is silent and awaits its
 * close.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dialer;
struct err;
struct hc_accept;
struct hc_listener;
struct hc_target;
struct loop;

struct hc_listener_options {
	uint64_t token_ttl_s;  /* 0: 3600 */
	uint64_t renew_ms;     /* 0: after 75 % of the token's life */
	uint64_t keepalive_ms; /* unasked Pongs; 0: 30,000 */
	/* A channel without a byte from the relay for so long is dead. 0:
	 * 90,000 once the relay has sent a Ping (ours does after a second and
	 * every 30 s), else no limit (Azure may never ping; then a failed
	 * write or TCP keep-alive tells). */
	uint64_t silence_ms;
	uint64_t open_timeout_ms;   /* for each attempt; 0: 30,000 */
	uint64_t accept_timeout_ms; /* 0: HC_ACCEPT_TIMEOUT_MS */
	uint64_t close_timeout_ms;  /* for the echo of our Close; 0: 3,000 */
	/* Waits before attempts to come back; the last one for ever after.
	 * NULL: 0, 1, 2, 5, 10, 30 s. Up to a fifth is added at random.
	 * Borrowed for the listener's life. */
	const uint64_t *retry_ms;
	size_t n_retry;
	bool retry_first; /* network faults of the first attempt: try again */
};

struct hc_listener_events {
	void (*on_online)(void *owner);
	void (*on_offline)(
	    void *owner, const struct err *err, uint64_t retry_in_ms);
	/* The code tells: ERR_AUTH, ERR_DENIED, ERR_NOT_FOUND, or the
	 * network's. The text names the hop and the remedy. */
	void (*on_failed)(void *owner, const struct err *err);
	/* The receiver owns it. */
	void (*on_accept)(void *owner, struct hc_accept *a);
	/* hc_listener_shutdown is done; hc_listener_close is still due. */
	void (*on_closed)(void *owner);
};

/* Starts. The target (which has passed hc_target_check) and the options are
 * copied; the dialer must live longer. `o` may be NULL. */
struct hc_listener *hc_listener_open(struct loop *l, struct dialer *d,
    const struct hc_target *t, const struct hc_listener_options *o,
    const struct hc_listener_events *events, void *owner);

/* Leaves in good order: no on_accept from now on, Close 1000, waits for the
 * echo and for rejects on their way, at most close_timeout_ms, then on_closed
 * (always, and nothing after it). Joined WebSockets live on. Once more does
 * nothing. */
void hc_listener_shutdown(struct hc_listener *h);

/* At once. Accepts and WebSockets in other hands live on. */
void hc_listener_close(struct hc_listener *h);

bool hc_listener_is_online(const struct hc_listener *h);

/* Facts for status displays. */
struct hc_listener_stats {
	uint64_t connects; /* successful registrations */
	uint64_t accepts;
	uint64_t ignored; /* messages that were no accept */
	uint64_t renewals;
};
void hc_listener_get_stats(
    const struct hc_listener *h, struct hc_listener_stats *out);

/* SPDX-License-Identifier: MIT
 *
 * The listener's agent: holds the control channel of one hybrid connection and
 * serves what senders ask for. Each accept goes the same road: which way it
 * speaks, who the user is, what the policy says, the destination, and only
 * then the rendezvous; so every refusal is an HTTP status with words, and
 * nothing a sender may see happens before it is allowed to.
 *
 * The agent logs one line when a connection's fate is known. Its owner hears
 * only about the control channel.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct agent;
struct dialer;
struct err;
struct hc_target;
struct loop;
struct policy;
struct tls_context;
struct users;

struct agent_options {
	struct dialer *dialer; /* borrowed: outlives the agent */
	/* Relay, path and key (or token): copied. */
	const struct hc_target *target;

	/* Who may come (a reference is taken). NULL is refused unless
	 * allow_anonymous is set; with both, senders who give a name need its
	 * password and nameless ones come in without. */
	struct users *users;
	bool allow_anonymous;

	/* Where they may go (a reference is taken). NULL: the rules without a
	 * file (ends/policy.h). */
	struct policy *policy;

	/* Destination of senders that name none: "host:port", "[v6]:port" or
	 * "unix:/path"; NULL: they are refused. Copied. */
	const char *default_target;

	/* The hyco way. With an identity (net/tls_identity.h; a reference is
	 * taken) sessions are encrypted from end to end; without one and with
	 * no_e2e set they are not; with neither, the way is not spoken. */
	struct tls_context *identity;
	bool no_e2e;
	uint16_t window_s;   /* a session without a carrier; 0: 120 */
	size_t memory;       /* for windows of channels; 0: 256 MiB */
	size_t sessions_max; /* 0: 1,000 */
	uint64_t login_ms; /* from a session's start to its login; 0: 60,000 */

	/* Network faults of the first attempt are tried again, as later ones
	 * are; else they end in on_failed. */
	bool retry_first;

	size_t connections_max; /* served at once; 0: 10,000 */
	size_t pending_max;     /* accepts not yet answered; 0: 256 */
	uint64_t connect_ms;    /* to the destination; 0: 12,000 */
	uint64_t accept_ms;     /* from the accept to its answer; 0: 20,000 */
	uint64_t ping_ms;       /* between pings on a data socket; 0: 30,000 */
};

struct agent_events {
	/* The control channel is up; place is "namespace/path". Comes again
	 * after each on_offline that healed. */
	void (*on_online)(void *owner, const char *place);
	/* It was lost, or could not be opened, for a reason that may pass:
	 * tried again in retry_ms. Connections live on. */
	void (*on_offline)(
	    void *owner, const struct err *err, uint64_t retry_ms);
	/* It cannot be opened: the relay refuses our key or knows no such path.
	 * The control channel stays down; connections live on. */
	void (*on_failed)(void *owner, const struct err *err);
	/* After agent_drain: the last connection is over. */
	void (*on_drained)(void *owner);
};

struct agent_counts {
	size_t pending;      /* accepts under way */
	size_t live;         /* connections being served */
	size_t sessions;     /* of the hyco way */
	uint64_t served;     /* connections that reached their destination */
	uint64_t refused;    /* answered with a status */
	uint64_t bytes_up;   /* from senders to destinations, all time */
	uint64_t bytes_down; /* from destinations to senders */
	bool is_online;
};

/* Starts. NULL and *e (ERR_USAGE) when the options do not fit together. */
struct agent *agent_open(struct loop *l, const struct agent_options *o,
    const struct agent_events *events, void *owner, struct err *e);

/* New users and policy (references are taken; NULL as in agent_open, and users
 * may be NULL only where allow_anonymous was set), both at once and from now
 * on. Live connections whose user is gone or whose destination the new policy
 * forbids are reset before this returns. Returns how many that were. */
size_t agent_reload(
    struct agent *a, struct users *users, struct policy *policy);

void agent_counts(const struct agent *a, struct agent_counts *counts);

/* Takes no more connections: the control channel is closed, and sessions take
 * no new channels; what is under way goes on. on_drained follows when the last
 * one ended. */
void agent_drain(struct agent *a);

/* Ends everything: live connections are reset. */
void agent_close(struct agent *a);

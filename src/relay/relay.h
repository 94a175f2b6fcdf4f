/* SPDX-License-Identifier: MIT
 *
 * The relay: a TLS port where listeners hold control channels, senders ask for
 * a hybrid connection, and the two are joined. It speaks the protocol of Azure
 * Relay Hybrid Connections (specification, sections 1 to 6), so that clients
 * of either work with it.
 *
 * The configuration is plain data that the caller fills and keeps: every
 * function here copies what it needs. Start with relay_config_init and
 * relay_hybrid_connection_init, which set the defaults; relay_config_check
 * tells a person what is wrong and where. relay_set_config swaps it while
 * running: what is no longer configured ends (Close 1001), the rest stays.
 *
 * A relay logs one line for the fate of every connection and never reports to
 * its owner but through the events below. relay_close tells everybody (Close
 * 1001) and ends it.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct addr;
struct err;
struct loop;
struct relay;
struct tls_context;

/* --- configuration --- */

/* Rights of a rule, joined by |. Manage implies both others. */
#define RELAY_LISTEN 1u
#define RELAY_SEND 2u
#define RELAY_MANAGE 4u

#define RELAY_LISTENERS_DEFAULT 25 /* the service's own limit */
#define RELAY_PATH_MAX 260         /* of a hybrid connection's path */
#define RELAY_KEY_MAX 256          /* of a rule's name and of its key */

struct relay_rule {
	const char *name;
	const char *key; /* its text is the key: never base64-decoded */
	unsigned rights; /* RELAY_LISTEN | ... */
};

struct relay_hybrid_connection {
	const char *path; /* "demo" or "site/db": [0-9A-Za-z/_.-]+ */
	bool requires_client_authorization; /* senders need a token too */
	unsigned max_listeners;
	/* Accept addresses are spelled /tunnel?... instead of /$hc/path?...,
	 * for the unmodified server.js of the tunnel sample, which looks at
	 * the path. */
	bool tunnel_address;
	const struct relay_rule *rules; /* besides the namespace's */
	size_t n_rules;
};

struct relay_namespace {
	const char *name; /* the host in clients' addresses, without port */
	/* Other hosts that mean this namespace: "127.0.0.1", "::1". They are
	 * good in tokens as well. */
	const char *const *aliases;
	size_t n_aliases;
	const struct relay_hybrid_connection *hybrid_connections;
	size_t n_hybrid_connections;
	const struct relay_rule *rules; /* for all its hybrid connections */
	size_t n_rules;
};

struct relay_limits {
	uint32_t handshake_ms;   /* TLS and the request's head: 15 s */
	uint32_t accept_ms;      /* life of an accept address: 30 s */
	uint32_t token_grace_ms; /* a control channel's life after its token
	                            expired: 300 s */
	uint32_t ping_ms;        /* between our pings: 30 s */
	uint32_t silence_ms;     /* nothing came in: dead: 90 s */
	uint32_t stall_ms;       /* it does not take its bytes: 15 min */
	uint32_t close_ms;       /* waiting for the other side's end: 10 s */
	unsigned max_half_open;  /* connections before their head is read, or
	                            awaiting a slow refusal: 1024; beyond it
	                            the oldest is dropped */
	unsigned max_waiting;    /* senders waiting for a listener: 4096;
	                            beyond it 503 */
	size_t max_head_bytes;   /* of a request: 40 KiB; more is 431 */
	/* Statuses that nothing public settles (specification, 9). */
	int status_no_listener;    /* sender, nobody listens: 404 */
	int status_accept_timeout; /* sender, listener silent: 504 */
	int status_over_quota;     /* one listener too many: 403 */
	/* The brake on failing listens, for each source address: the refusal
	 * is delayed, doubling from first to most, forgotten after a while
	 * without failure. */
	uint32_t brake_first_ms;  /* 100 ms; 0: no brake */
	uint32_t brake_most_ms;   /* 5 s */
	uint32_t brake_forget_ms; /* 60 s */
};

struct relay_config {
	const struct relay_namespace *namespaces;
	size_t n_namespaces;
	struct relay_limits limits;
};

/* No namespaces; all limits at their defaults. */
void relay_config_init(struct relay_config *c);

/* No path; authorisation required, RELAY_LISTENERS_DEFAULT listeners. */
void relay_hybrid_connection_init(struct relay_hybrid_connection *h);

/* False and ERR_USAGE with the place ("namespace localhost, hybrid connection
 * demo, rule 2: ...") for what cannot work: bad or double names, paths and
 * rules, a rule without key or rights, a limit of 0 where there must be one. */
bool relay_config_check(const struct relay_config *c, struct err *e);

/* --- the relay --- */

struct relay_events {
	/* The number of listeners on a hybrid connection has changed. May be
	 * NULL. */
	void (*on_listeners)(void *owner, const char *namespace_name,
	    const char *path, unsigned listeners);
};

/* Binds and serves. `tls` NULL: plain TCP (tests, or behind something that ends
 * TLS); else a reference is taken. `events` may be NULL. NULL and *e when the
 * configuration is wrong (as relay_config_check) or the address cannot be
 * bound. */
struct relay *relay_open(struct loop *l, const struct relay_config *c,
    struct tls_context *tls, const struct addr *a,
    const struct relay_events *events, void *owner, struct err *e);

/* The address really bound (port 0 resolved). */
const struct addr *relay_addr(const struct relay *r);

/* Swaps the configuration. What is gone from it ends with Close 1001 (case
 * R82); new limits hold for what begins from now on. On false nothing has
 * changed. */
bool relay_set_config(
    struct relay *r, const struct relay_config *c, struct err *e);

/* New connections use this certificate from now on. */
void relay_set_tls(struct relay *r, struct tls_context *tls);

struct relay_counters {
	uint64_t connections; /* accepted from the port */
	uint64_t half_open;   /* now: head not read, or refusal delayed */
	uint64_t evicted;     /* half-open ones dropped for newer ones */
	uint64_t listeners;   /* now */
	uint64_t listens;     /* accepted so far */
	uint64_t waiting;     /* now: senders without their listener */
	uint64_t joined;      /* now: pairs */
	uint64_t joins;       /* so far */
	uint64_t refused;     /* answered with an error status */
	uint64_t rejected;    /* senders that the listener rejected */
	uint64_t timeouts;    /* senders whose listener did not come */
	uint64_t aborted;     /* pairs that ended without both Closes */
	uint64_t bytes_to_listeners; /* payload forwarded */
	uint64_t bytes_to_senders;
};

void relay_get_counters(const struct relay *r, struct relay_counters *out);

/* Stops accepting, sends Close 1001 to listeners and joined pairs, answers
 * waiting senders 503, closes everything. */
void relay_close(struct relay *r);

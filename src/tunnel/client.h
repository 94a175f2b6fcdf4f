/* SPDX-License-Identifier: MIT
 *
 * The sender's side: tunnels, which are local listening addresses with a
 * destination each, and the connections that come in on them. Every accepted
 * connection is joined to its destination through the relay in the way that
 * was asked for; what arrives before the destination is reached waits in the
 * local socket, and a refusal resets it.
 *
 * The client neither prints nor asks: events tell, the owner shows.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct client;
struct dialer;
struct end;
struct err;
struct hc_target;
struct loop;
struct stream;
struct tunnel_spec;
struct way_trust;

/* How to speak with the listener. AUTO takes the best that this build and the
 * listener both know. */
enum client_mode {
	CLIENT_AUTO,
	CLIENT_HYCO,
	CLIENT_SAMPLE,
	CLIENT_BRIDGE,
};

/* "auto", "hyco", "sample", "bridge". False for other words. */
bool client_mode_parse(const char *word, enum client_mode *mode);
const char *client_mode_name(enum client_mode mode);

struct client_options {
	struct dialer *dialer; /* borrowed: outlives the client */
	/* Relay, path and key (or token): copied. */
	const struct hc_target *target;

	/* The listener's user; both copied, the password is wiped at the end.
	 * NULL user: comes without a name (for --allow-anonymous). */
	const char *user;
	const char *password;

	enum client_mode mode;

	/* The hyco way: who the listener has to be (way_hyco_trust.h; copied;
	 * NULL: nobody is known); or no end-to-end TLS at all, as the listener
	 * must be told, too. */
	const struct way_trust *trust;
	bool no_e2e;
	unsigned carriers; /* sessions at once; 0: 1 */
	uint16_t window_s; /* a session without a carrier; 0: 120 */
	size_t memory;     /* for windows of channels; 0: 256 MiB */

	size_t connecting_max;  /* under way at once, more wait; 0: 64 */
	size_t connections_max; /* at once, more are reset; 0: 10,000 */
	/* From dialling to ready; 0: 40,000, for a relay gives up on a
	 * listener after 30 s, and its word says more than our own. */
	uint64_t ready_ms;
	/* How long a connect is tried again while the relay cannot be reached
	 * or says that no listener is there, or the listener that it is busy;
	 * 0: 5,000. */
	uint64_t retry_ms;
	uint64_t ping_ms; /* between pings on a data socket; 0: 30,000 */
	/* A local end of stream cannot be told to the original server.js;
	 * after this long without a byte the connection ends. 0: 120,000 */
	uint64_t half_idle_ms;
};

struct client_events {
	/* A connection of the tunnel could not be made, or broke. The text
	 * names the hop. Repeated faults come one by one. May be NULL. */
	void (*on_connection_error)(
	    void *owner, unsigned tunnel_id, const struct err *err);
	/* The tunnel's socket ran out of descriptors (true), or is well again
	 * (false, err NULL). May be NULL. */
	void (*on_tunnel_pause)(void *owner, unsigned tunnel_id, bool paused,
	    const struct err *err);
};

/* NULL and *e (ERR_USAGE) for a mode this build does not speak, or a user name
 * or password that cannot be sent (a colon in the name, control bytes). */
struct client *client_open(struct loop *l, const struct client_options *o,
    const struct client_events *events, void *owner, struct err *e);

/* Another user for what is opened from now on. ERR_USAGE as client_open. */
bool client_set_login(
    struct client *c, const char *user, const char *password, struct err *e);

/* Asks the listener whether it takes our user and password, and thereby
 * whether relay, path, key and listener are right. Calls done once, later.
 * err NULL and verified: yes. err NULL and not verified: all else is right,
 * but the listener has no such check (the original server.js). ERR_AUTH with
 * http_status 403: user or password wrong; ERR_AUTH without it: the relay
 * refused our key. One at a time: asking again drops the one before, whose
 * done is then not called. */
void client_login(struct client *c,
    void (*done)(void *owner, bool verified, const struct err *err),
    void *owner);

/* After a login that failed because nobody knows the listener: its identity
 * ("sha256:..."), for a person to say yes or no to; else NULL. Valid until the
 * next login. */
const char *client_unknown_identity(const struct client *c);

/* Yes: it is remembered, and the next login takes it. */
bool client_accept_identity(struct client *c, struct err *e);

/* --- tunnels --- */

/* Listens on the tunnel's local address (the spec is copied) and carries what
 * comes in. Returns the id (1, 2, ... never used again), or 0 and *e:
 * ERR_USAGE (address in use, destination that the way cannot name), ERR_DENIED
 * (privileged port). Ready for connections when it returns. */
unsigned client_tunnel_open(
    struct client *c, const struct tunnel_spec *spec, struct err *e);

/* Listens for applications that say by SOCKS or HTTP CONNECT where they want to
 * go; names are resolved by the listener. A tunnel like others, as above. */
unsigned client_socks_open(
    struct client *c, const struct end *local, struct err *e);

/* Joins the stream (stopped; taken unless it fails) to a destination. done
 * comes once, later, unless the client is closed before: err NULL when both
 * sides have ended, else why it broke or could not be made. */
bool client_join(struct client *c, struct stream *local, const struct end *to,
    void (*done)(void *owner, const struct err *err), void *owner,
    struct err *e);

/* The tunnel stops listening. Its live connections are reset when end_live is
 * set; else they go on, still listed, and the tunnel is listed as closed until
 * the last one ended. False: no open tunnel has this id. *live (may be NULL):
 * how many connections it had. */
bool client_tunnel_close(
    struct client *c, unsigned id, bool end_live, size_t *live);

struct client_tunnel_info {
	unsigned id;
	const char *listen; /* the address really bound: "127.0.0.1:8080" */
	const char *destination; /* "127.0.0.1:5432", on the listener's side */
	bool is_closed;          /* accepts no more */
	size_t live;             /* connections now */
	uint64_t opened;         /* connections that reached the destination */
	uint64_t failed;         /* connections that did not */
	uint64_t bytes_up;       /* to the destination, all time */
	uint64_t bytes_down;
};

struct client_connection_info {
	uint64_t id; /* the number that debug lines carry */
	unsigned tunnel_id;
	const char *peer; /* the local application's address */
	const char *destination;
	const char *state; /* "waiting", "connecting", "open" */
	uint64_t bytes_up;
	uint64_t bytes_down;
	uint64_t age_ms;
};

/* False: no such tunnel. The texts are valid until the tunnel changes. */
bool client_tunnel_info(
    const struct client *c, unsigned id, struct client_tunnel_info *info);

/* Calls each for every tunnel, in order of id; or for every connection of a
 * tunnel (0: of all), oldest first. `each` must not change the client. */
void client_each_tunnel(const struct client *c,
    void (*each)(void *arg, const struct client_tunnel_info *info), void *arg);
void client_each_connection(const struct client *c, unsigned tunnel_id,
    void (*each)(void *arg, const struct client_connection_info *info),
    void *arg);

/* The sessions of the hyco way, in sum. */
struct client_sessions {
	size_t open;
	size_t carriers; /* that work now */
	uint64_t resumes;
	uint64_t bytes_in;
	uint64_t bytes_out;
	size_t queued;        /* bytes not yet acknowledged */
	uint32_t rtt_us;      /* 0: not measured */
	bool is_encrypted;    /* from end to end */
	const char *identity; /* of the listener; "" */
};

struct client_status {
	const char *relay; /* "host" or "host:port" */
	const char *path;
	const char *user; /* NULL: none */
	enum client_mode mode;
	const char *way;   /* what is spoken: "hyco", "sample" */
	bool has_sessions; /* the next field counts */
	struct client_sessions sessions;
	size_t tunnels;    /* open */
	size_t waiting;    /* connections queued for their turn */
	size_t connecting; /* under way */
	size_t live;       /* open */
	uint64_t opened;   /* since the start */
	uint64_t failed;
	uint64_t bytes_up;
	uint64_t bytes_down;
	const struct err *last_error; /* of a connection; NULL: none so far */
	uint64_t last_error_age_ms;
};

void client_status(const struct client *c, struct client_status *status);

/* Ends tunnels and connections; live ones are reset. */
void client_close(struct client *c);

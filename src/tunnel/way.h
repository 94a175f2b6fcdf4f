/* SPDX-License-Identifier: MIT
 *
 * A way is how a sender and a listener speak over a joined pair of WebSockets.
 * The agent and the client pick one from the table below and know nothing of
 * its wire: the listener's side reads what a sender asks for and turns the
 * joined WebSocket into a stream, the sender's side opens such a stream.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/addr.h"
#include "tunnel/client.h"

struct dialer;
struct err;
struct hc_accept;
struct hc_target;
struct loop;
struct stream;
struct stream_events;
struct way_dial;
struct way_room;
struct way_trust;
struct ws;
struct ws_options;

/* What a sender asks of the listener. */
struct way_ask {
	bool is_login;        /* only whether the password is right */
	bool has_destination; /* false: the listener's default */
	bool half_close;      /* the sender knows Close as half-close */
	struct hostport destination;
	char *user;     /* NULL: it gave none */
	char *password; /* secret; NULL if user is */
};

void way_ask_fini(struct way_ask *ask);
/* Drops user and password. */
void way_ask_forget_login(struct way_ask *ask);

struct way_serve_options {
	const char *details; /* what the sender is told */
	bool half_close;
	uint64_t ping_ms;
};

/* What one dial needs; all is borrowed for the call, but the dialer, which
 * lives longer. */
struct way_dial_options {
	struct loop *loop;
	struct dialer *dialer;
	const struct hc_target *target;
	const char *credentials; /* from `credentials`, or NULL; secret */
	struct way_room *room;   /* of this client; NULL: the way has none */
	/* Where to: host and port, or the path of a Unix socket; both NULL: the
	 * login check. */
	const struct hostport *destination;
	const char *path;
	bool has_datagrams;  /* capsules to a UDP port; ways with rooms */
	uint64_t timeout_ms; /* until the destination is reached */
	uint64_t ping_ms;
	uint64_t half_idle_ms;
};

/* Whose word ended a dial. */
enum way_refusal {
	WAY_REFUSAL_NONE,  /* none: the network, or a broken protocol */
	WAY_REFUSAL_RELAY, /* the relay answered with a status */
	WAY_REFUSAL_LOGIN, /* the listener: user or password */
	WAY_REFUSAL_OTHER, /* the listener: policy, destination, request */
	WAY_REFUSAL_WAY,   /* the listener does not speak this way, and nothing
	                      forbids to try another */
};

struct way_dial_events {
	/* The destination is reached (or the login was right): the owner gets
	 * the stream (stopped; NULL for the login check of a way with rooms).
	 * If the way is early the stream is not open yet, and may be written
	 * to: on_open or on_error of it tell. close_dial is still due. */
	void (*on_open)(void *owner, struct stream *s);
	void (*on_error)(
	    void *owner, const struct err *err, enum way_refusal refusal);
};

/* A room: what the dials of one client share, in ways whose connections are
 * channels of sessions. Everything is copied but the dialer, which lives
 * longer. */
struct way_room_options {
	struct loop *loop;
	struct dialer *dialer;
	const struct hc_target *target;
	const struct way_trust *trust; /* NULL: no end-to-end TLS */
	unsigned sessions;             /* at once, at least 1 */
	uint16_t window_s;             /* 0: 120 */
	size_t memory;                 /* of windows; 0: 256 MiB */
	uint64_t timeout_ms;           /* until a session can be used */
};

struct way {
	const char *name;
	enum client_mode mode;
	bool is_early;  /* see on_open above */
	bool has_paths; /* the destination may be a Unix socket */
	size_t turn;    /* best size of one read of bulk; 0: the usual */

	/* --- the listener's side --- */

	/* Many connections in one accept: it is taken by the host of
	 * way_hyco_host.h, and read and serve are NULL. */
	bool is_hosted;

	/* Whether the sender speaks this way. */
	bool (*is_asked)(const struct hc_accept *a);
	/* The subprotocol to take (see hc_accept.h). */
	const char *(*get_protocol)(const struct hc_accept *a);
	const struct ws_options *ws;
	/* Reads what the sender asks for. On failure *e with the status in
	 * http_status; the text is for the sender. */
	bool (*read)(
	    const struct hc_accept *a, struct way_ask *ask, struct err *e);
	/* Takes the joined WebSocket and tells the sender that the
	 * destination is reached. */
	struct stream *(*serve)(struct ws *w, const struct way_serve_options *o,
	    const struct stream_events *events, void *owner);

	/* --- the sender's side --- */

	/* User and password as they are sent (mem_free_secret), or NULL and
	 * ERR_USAGE. */
	char *(*credentials)(
	    const char *user, const char *password, struct err *e);
	struct way_dial *(*open_dial)(const struct way_dial_options *o,
	    const struct way_dial_events *events, void *owner);
	/* Gives up, or acknowledges the result. Always due, once. */
	void (*close_dial)(struct way_dial *d);

	/* NULL in ways without rooms. */
	struct way_room *(*open_room)(const struct way_room_options *o);
	/* Who logs in with sessions opened from now on; those that are open
	 * take no more connections. Copied; user may be NULL. */
	void (*set_login)(
	    struct way_room *r, const char *user, const char *password);
	void (*get_status)(
	    const struct way_room *r, struct client_sessions *status);
	/* As client_unknown_identity and client_accept_identity. */
	const char *(*get_unknown)(const struct way_room *r);
	bool (*accept_unknown)(struct way_room *r, struct err *e);
	/* Dials that wait report WAY_REFUSAL_WAY; streams are reset. */
	void (*close_room)(struct way_room *r);
};

extern const struct way way_hyco;
extern const struct way way_sample;

/* The first way that the sender asks for; NULL: none. has_host: hosted ways
 * count. */
const struct way *way_for_accept(const struct hc_accept *a, bool has_host);

/* The way for a mode; NULL: this build does not speak it. */
const struct way *way_for_mode(enum client_mode mode);

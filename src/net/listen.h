/* SPDX-License-Identifier: MIT
 *
 * Accepting connections on a TCP or unix address. When the process runs out of
 * descriptors (EMFILE, ENFILE) accepting pauses for a short while, the
 * connections wait in the backlog, on_pause tells it once, and service goes on.
 */
#pragma once
#include <stdbool.h>

#include "net/addr.h"

struct err;
struct listener;
struct loop;
struct stream;

struct listener_events {
	/* A new connection: the receiver owns the stream (stopped, no owner).
	 */
	void (*on_accept)(
	    void *owner, struct stream *s, const struct addr *peer);
	/* Out of descriptors (true), and again well (false). May be NULL. */
	void (*on_pause)(void *owner, bool paused, const struct err *err);
};

struct listener_options {
	int backlog;        /* 0: 1024 */
	bool reuse_port;    /* several workers on one port */
	unsigned unix_mode; /* permission bits of a unix socket; 0: 0600 */
	bool unlink_stale;  /* remove a unix socket file nobody listens on */
};

/* Binds and listens. ERR_USAGE when the address is in use (the text says so)
 * or not ours; ERR_DENIED for privileged ports. `options` may be NULL. [::]
 * accepts IPv4 as well; `peer` is unmapped then. */
struct listener *listener_open(struct loop *l, const struct addr *a,
    const struct listener_options *options,
    const struct listener_events *events, void *owner, struct err *e);

/* The address really bound (port 0 resolved). */
const struct addr *listener_addr(const struct listener *ln);

/* Stops accepting; accepted streams live on. A unix socket file is removed. */
void listener_close(struct listener *ln);

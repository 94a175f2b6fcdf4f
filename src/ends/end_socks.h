/* SPDX-License-Identifier: MIT
 *
 * The dynamic end (-D): applications say on each connection where it is to go,
 * by SOCKS 4, 4a, 5 or HTTP CONNECT, all on one port. A request that was read
 * is handed up; its receiver answers when it knows whether the destination is
 * connected. Requests must come within a deadline, and what was sent right
 * behind one is kept for the channel.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ends/socks_wire.h"
#include "net/addr.h"

struct end;
struct end_socks;
struct end_socks_request;
struct end_udp_events;
struct end_udp_options;
struct end_udp;
struct err;
struct loop;
struct stream;

#define END_SOCKS_DEADLINE_MS 10000
/* Connections whose request is not read yet; beyond it new ones are reset. */
#define END_SOCKS_READING_MAX 1024

struct end_socks_events {
	/* The receiver answers once: end_socks_accept, end_socks_associate or
	 * end_socks_refuse, now or later. */
	void (*on_request)(void *owner, struct end_socks_request *r);
	/* The application left before the answer: `r` is dead. */
	void (*on_cancel)(void *owner, struct end_socks_request *r);
	/* A connection asked for nothing that can be understood, or was too
	 * slow. May be NULL. */
	void (*on_bad)(void *owner, const struct err *err);
	/* See net/listen.h; may be NULL. */
	void (*on_pause)(void *owner, bool paused, const struct err *err);
};

struct end_socks_options {
	uint64_t deadline_ms; /* from the accept to the request; 0:
	                         END_SOCKS_DEADLINE_MS */
};

/* Listens as end_listen does, at a TCP or Unix end. `options` may be NULL. */
struct end_socks *end_socks_open(struct loop *l, const struct end *x,
    const struct end_socks_options *options,
    const struct end_socks_events *events, void *owner, struct err *e);

size_t end_socks_count(const struct end_socks *s);
const struct addr *end_socks_addr(const struct end_socks *s, size_t i);

/* Requests that are not answered yet are reset and dead. What was accepted
 * lives on. */
void end_socks_close(struct end_socks *s);

/* --- a request; valid until it is answered --- */

enum socks_wire_command end_socks_command(const struct end_socks_request *r);
const struct hostport *end_socks_target(const struct end_socks_request *r);
/* Who asks; len 0 for a Unix socket. */
const struct addr *end_socks_peer(const struct end_socks_request *r);
/* What the application sent behind its request: to be written first into the
 * channel. Valid until the answer; *len may be 0. */
const uint8_t *end_socks_early(const struct end_socks_request *r, size_t *len);

void end_socks_request_set_owner(struct end_socks_request *r, void *owner);
void *end_socks_request_owner(const struct end_socks_request *r);

/* The destination is connected: the application is told, and the stream is the
 * caller's (stopped, no owner). */
struct stream *end_socks_accept(struct end_socks_request *r);

/* The answer to SOCKS_WIRE_UDP: its datagrams are flows, one a destination.
 * NULL and *e when no port could be had; then the application was refused. */
struct end_udp *end_socks_associate(struct end_socks_request *r,
    const struct end_udp_options *o, const struct end_udp_events *events,
    void *owner, struct err *e);

/* The application is told what fits `err` best, and its connection ends. */
void end_socks_refuse(struct end_socks_request *r, const struct err *err);

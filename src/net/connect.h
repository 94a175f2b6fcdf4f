/* SPDX-License-Identifier: MIT
 *
 * Connecting to a destination: resolve (on the thread pool), ask the owner
 * about each address, connect to exactly the address that was allowed. Several
 * addresses are tried in order, IPv6 and IPv4 alternating, the next one 250 ms
 * after the one before or at once when that failed (RFC 8305).
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "net/addr.h"

struct connecting;
struct err;
struct loop;
struct stream;
struct udp;

struct connect_events {
	/* Whether this resolved address may be connected to; asked right
	 * before connect(2), with v4-mapped addresses already unmapped. When
	 * it says no it fills *e (code ERR_DENIED). NULL: all may. */
	bool (*allow)(void *owner, const struct addr *a, struct err *e);
	/* The owner gets the stream (stopped, no owner). The connecting is
	 * over; it is still to be closed by connect_close. */
	void (*on_open)(void *owner, struct stream *s, const struct addr *a);
	/* All addresses failed or the deadline passed. When any address was
	 * allowed the error is that of the last connect, else the denial.
	 * ERR_UNREACHABLE (name unknown or no route), ERR_REFUSED,
	 * ERR_TIMEOUT, ERR_DENIED, ERR_SYSTEM. Names the destination. */
	void (*on_error)(void *owner, const struct err *err);
	/* Instead of on_open for connect_open_udp: the owner gets a socket
	 * connected to the address (stopped, no owner). */
	void (*on_udp)(void *owner, struct udp *u, const struct addr *a);
};

/* Starts. target: a host name or IP and a port. timeout_ms covers the look-up
 * and all attempts; 0: none. */
struct connecting *connect_open(struct loop *l, const struct hostport *target,
    uint64_t timeout_ms, const struct connect_events *events, void *owner);

/* The same for a numeric or unix address. */
struct connecting *connect_open_addr(struct loop *l, const struct addr *a,
    uint64_t timeout_ms, const struct connect_events *events, void *owner);

/* The same for datagrams. No packet is sent, so the first address that is
 * allowed and has a route is taken: whether anybody is there shows later. */
struct connecting *connect_open_udp(struct loop *l,
    const struct hostport *target, uint64_t timeout_ms,
    const struct connect_events *events, void *owner);

/* Gives up, or acknowledges the end. Always due, once. */
void connect_close(struct connecting *c);

/* SPDX-License-Identifier: MIT
 *
 * Datagram sockets. A bound one hears everybody and tells with each datagram
 * where it came from and to which of this machine's addresses, so that the
 * answer leaves from there. A connected one hears its peer alone. Nothing is
 * queued here: what the kernel does not take is lost, as the network may lose
 * it, too. Trouble never breaks a socket: on_error tells (a port unreachable is
 * ERR_REFUSED) and the socket goes on. A new one is stopped.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/addr.h"

struct err;
struct loop;
struct udp;

#define UDP_DATAGRAM_MAX 65507 /* what fits into a packet of IPv4 */

/* The two ends of a datagram. IPv4-mapped addresses are unmapped. */
struct udp_way {
	struct addr peer;
	struct addr local; /* its port is 0; len 0: the kernel chooses */
};

struct udp_events {
	/* Scratch memory with STREAM_HEADROOM in front, as of a stream; len may
	 * be 0. Not more than UDP_DATAGRAM_MAX: larger ones are dropped. */
	void (*on_datagram)(
	    void *owner, uint8_t *data, size_t len, const struct udp_way *way);
	/* Soft: ERR_REFUSED, ERR_UNREACHABLE, ERR_TOO_BIG (for the path),
	 * ERR_SYSTEM. May be NULL. */
	void (*on_error)(void *owner, const struct err *err);
};

/* Binds. [::] takes IPv4 as well. Errors as listener_open. */
struct udp *udp_open(struct loop *l, const struct addr *a,
    const struct udp_events *events, void *owner, struct err *e);

/* A socket for one peer. ERR_UNREACHABLE, ERR_DENIED, ERR_SYSTEM. */
struct udp *udp_connect(struct loop *l, const struct addr *peer,
    const struct udp_events *events, void *owner, struct err *e);

/* Takes a connected descriptor (also on failure: then it is closed). The socket
 * has no owner yet. */
struct udp *udp_take(struct loop *l, int fd, struct err *e);

/* The address really bound. */
const struct addr *udp_addr(const struct udp *u);

void udp_set_owner(struct udp *u, const struct udp_events *events, void *owner);

void udp_start(struct udp *u);
void udp_stop(struct udp *u);

/* Sends one datagram (len may be 0); `way` NULL on a connected socket. False:
 * it is lost; on_error follows if there is more to say than that the kernel
 * had no room. */
bool udp_send(
    struct udp *u, const struct udp_way *way, const void *data, size_t len);
/* The same for a datagram with something in front of it. */
bool udp_send_two(struct udp *u, const struct udp_way *way, const void *head,
    size_t head_len, const void *data, size_t len);

void udp_close(struct udp *u);

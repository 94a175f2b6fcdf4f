/* SPDX-License-Identifier: MIT
 *
 * Where datagrams come from: a UDP port of this side. Each peer that sends to
 * it is a flow, which its owner joins to a channel; behind SOCKS 5 (see
 * end_socks.h) a flow is a destination instead. A flow without a datagram in
 * either direction for a while expires. When there are too many, the one that
 * was idle longest makes room, unless it was busy a moment ago.
 *
 * A flow is born stopped. While it is stopped its datagrams wait, at most
 * END_UDP_WAITING_MAX of them and END_UDP_BYTES_MAX bytes; then the oldest is
 * dropped for the newest, which is worth more to those who talk by datagrams.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/addr.h"

struct end;
struct end_udp;
struct end_udp_flow;
struct err;
struct loop;
struct stream;

#define END_UDP_WAITING_MAX 64         /* datagrams, of one flow */
#define END_UDP_BYTES_MAX (256 * 1024) /* of one flow */
#define END_UDP_TOTAL_MAX ((size_t)16 * 1024 * 1024) /* of all its flows */
#define END_UDP_IDLE_MS 60000
#define END_UDP_FLOWS_MAX 1024

struct end_udp_events {
	/* A new flow, which the receiver owns: it calls end_udp_flow_set_owner
	 * and end_udp_flow_start, or closes it. */
	void (*on_flow)(void *owner, struct end_udp_flow *f);
	/* The stream that keeps a SOCKS 5 association ended. Not called for
	 * others; may be NULL then. */
	void (*on_over)(void *owner);
};

struct end_udp_flow_events {
	/* Scratch memory with headroom; len may be 0. */
	void (*on_datagram)(void *owner, uint8_t *data, size_t len);
	/* It was idle, had to make room, or its end_udp was closed: it is
	 * silent now and awaits its close. */
	void (*on_expire)(void *owner);
};

struct end_udp_options {
	uint64_t idle_ms;   /* 0: END_UDP_IDLE_MS */
	unsigned max_flows; /* 0: END_UDP_FLOWS_MAX */
};

/* Listens on all addresses of a UDP end, as end_listen does. */
struct end_udp *end_udp_open(struct loop *l, const struct end *x,
    const struct end_udp_options *o, const struct end_udp_events *events,
    void *owner, struct err *e);

/* For end_socks: an association of SOCKS 5. Takes `control` unless it fails,
 * and hears only the host `from` (port 0: the port of the first datagram
 * counts).
 */
struct end_udp *end_udp_open_socks(struct loop *l, const struct addr *bind,
    const struct addr *from, struct stream *control,
    const struct end_udp_options *o, const struct end_udp_events *events,
    void *owner, struct err *e);

size_t end_udp_count(const struct end_udp *u);
const struct addr *end_udp_addr(const struct end_udp *u, size_t i);
size_t end_udp_flows(const struct end_udp *u);

/* Flows that are not closed yet are told on_expire. */
void end_udp_close(struct end_udp *u);

/* --- flows --- */

void end_udp_flow_set_owner(struct end_udp_flow *f,
    const struct end_udp_flow_events *events, void *owner);

/* What waits comes by a deferred call. */
void end_udp_flow_start(struct end_udp_flow *f);
void end_udp_flow_stop(struct end_udp_flow *f);

/* To the peer. False: it is lost. Nothing happens once it has expired. */
bool end_udp_flow_send(struct end_udp_flow *f, const void *data, size_t len);

const struct addr *end_udp_flow_peer(const struct end_udp_flow *f);
/* The destination its datagrams named; NULL but behind SOCKS 5. */
const struct hostport *end_udp_flow_target(const struct end_udp_flow *f);
/* Datagrams dropped because nobody took them. */
uint64_t end_udp_flow_dropped(const struct end_udp_flow *f);

void end_udp_flow_close(struct end_udp_flow *f);

/* SPDX-License-Identifier: MIT
 *
 * A TCP or unix socket as a stream: uv_poll with our own read and writev. It
 * owns the descriptor. One readable event is one read of at most a turn, so
 * connections take turns. TCP_NODELAY is set. A reset is reported also while
 * reading is stopped; while it goes on, what the peer sent before comes first.
 * The peer of a unix socket sees stream_reset as an orderly end, since these
 * know no reset. stream_set_turn may allow up to 4 * STREAM_TURN: bulk grows
 * into it. on_error codes: ERR_RESET, ERR_TIMEOUT, ERR_UNREACHABLE, ERR_SYSTEM,
 * ERR_TOO_BIG.
 */
#pragma once
#include <stdbool.h>

#include "net/addr.h"
#include "net/stream.h"

/* Takes a connected descriptor (also on failure: then it is closed). The
 * stream is stopped and has no owner yet. */
struct stream *sock_open(struct loop *l, int fd, struct err *e);

/* Whether a stream is one of ours (stream_bottom finds it). */
bool sock_is(const struct stream *s);

/* Both ends' addresses; false for a socketpair or when the peer is gone. */
bool sock_peer_addr(const struct stream *s, struct addr *a);
bool sock_local_addr(const struct stream *s, struct addr *a);

/* Turns on TCP keep-alive with this idle time (and a third of it between
 * probes, three probes); what is sent and not acknowledged for as long as all
 * that takes breaks it, too. Nothing for unix sockets. */
void sock_set_keepalive(struct stream *s, unsigned idle_s);

/* Pauses both ways and takes the descriptor out, for handing the connection
 * to another thread: the stream must be idle (nothing queued) and is closed by
 * this call. The caller owns the descriptor. -1 when something is queued. */
int sock_take_fd(struct stream *s);

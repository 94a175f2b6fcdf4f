/* SPDX-License-Identifier: MIT
 *
 * Many channels over one stream: HTTP/2 by nghttp2 (doc/PROTOCOL-hyco.md,
 * sections 7 to 9; RFC 9113, 8441, 9298). The mux owns the stream beneath; each
 * channel is a struct stream of its own with half-close, reset and
 * back-pressure, and belongs to whoever opened or accepted it. The only door to
 * nghttp2.
 *
 * Channels: on_open when the other side answered 200 (a sender's channel; what
 * is written before travels with the request); on_error with the code and words
 * of Proxy-Status when it was refused (http_status is set), ERR_RESET when it
 * was reset. The window of a channel is given back only for bytes that its
 * owner's on_data took while not stopped; it starts at MUX_WINDOW_MIN and grows
 * with the bandwidth-delay product up to MUX_WINDOW_MAX under the budget. When
 * the mux breaks every channel reports ERR_RESET.
 *
 * Fairness: frames of at most MUX_FRAME bytes (MUX_TURN while no other channel
 * waits), round robin among channels that have something to send; while the
 * stream beneath holds more than a mark the mux hands over nothing, so that a
 * small message waits behind little.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/stream.h"

struct err;
struct mux;
struct mux_budget;
struct mux_request;

/* The best size of one write of bulk (stream_set_turn of the source): one frame
 * for a channel that is alone, else whole frames. With its headers and those of
 * the end-to-end TLS it fits one piece of the session, hence one message and
 * four TLS records of the carrier; a few bytes more would make a small message
 * of their own. */
#define MUX_FRAME 16345
#define MUX_TURN (4 * MUX_FRAME)
/* What we take, and say so. */
#define MUX_FRAME_MAX 65536
#define MUX_WINDOW_MIN (256 * 1024)
#define MUX_WINDOW_MAX (16 * 1024 * 1024)
#define MUX_CHANNELS_MAX 16384
#define MUX_HEADERS_MAX 16384

/* Before the login is decided: requests that are held, and their early data in
 * all; a client sends no more than MUX_EARLY bytes of a channel, and no more
 * than MUX_EARLY_CHANNELS requests, which fits in. */
#define MUX_HELD_REQUESTS 256
#define MUX_HELD_BYTES (4 * 1024 * 1024)
#define MUX_EARLY (16 * 1024)
#define MUX_EARLY_CHANNELS 100

/* A budget that several muxes share. It bounds two sums, each by itself: the
 * windows granted beyond their start (none grows any more), and the bytes held
 * both ways for channels whose owners or other sides do not take them (the
 * channel that would hold more is reset, ERR_TOO_BIG). NULL in the options: 256
 * MiB for this mux alone. */
struct mux_budget *mux_budget_new(size_t bytes);
struct mux_budget *mux_budget_ref(struct mux_budget *b);
void mux_budget_unref(struct mux_budget *b);
size_t mux_budget_used(const struct mux_budget *b);
size_t mux_budget_held(const struct mux_budget *b);

enum mux_kind {
	MUX_TCP,    /* CONNECT host:port */
	MUX_UNIX,   /* :protocol hyco-unix */
	MUX_UDP,    /* :protocol connect-udp */
	MUX_LISTEN, /* :protocol hyco-listen */
	MUX_FETCH,  /* :protocol hyco-fetch */
};

/* What a channel is for. */
struct mux_target {
	enum mux_kind kind;
	const char *host; /* name or IP without brackets; UNIX: the path;
	                     LISTEN: address; FETCH: the id */
	uint16_t port;    /* TCP, UDP, LISTEN */
};

/* Why a channel was not opened: Proxy-Status error types of RFC 9209. */
enum mux_refusal {
	MUX_REFUSED_NAME,       /* destination_not_found, 502 */
	MUX_REFUSED_CONNECTION, /* connection_refused, 502 */
	MUX_REFUSED_UNROUTABLE, /* destination_ip_unroutable, 502 */
	MUX_REFUSED_TIMEOUT,    /* connection_timeout, 504 */
	MUX_REFUSED_POLICY,     /* destination_ip_prohibited, 403 */
	MUX_REFUSED_INTERNAL,   /* proxy_internal_error, 500 */
	MUX_REFUSED_LIMIT,      /* connection_limit_reached, 503 */
	MUX_REFUSED_REQUEST,    /* http_request_error, 400 */
};

/* The refusal that stands for an error of connecting. */
enum mux_refusal mux_refusal_of(const struct err *err);

struct mux_events {
	/* Server: a login. Answer it once with mux_login_answer. user NULL: a
	 * nameless one. Both texts are valid during the call. */
	void (*on_login)(void *owner, const char *user, const char *password);
	/* Server, after a good login: somebody wants a channel. Answer once
	 * with mux_accept or mux_refuse, now or later. */
	void (*on_request)(void *owner, struct mux_request *r);
	/* Server: a request that was not answered yet was given up by the other
	 * side: `r` is dead. */
	void (*on_cancel)(void *owner, struct mux_request *r);
	/* Client: the answer to the login. err NULL: welcome. ERR_AUTH. */
	void (*on_login_done)(void *owner, const struct err *err);
	/* The other side drains (GOAWAY): no new channels; those there go on.
	 * May be NULL. */
	void (*on_drain)(void *owner);
	/* It is over: err NULL when the stream beneath ended in good order, or
	 * one side drained, and no channel was open. All channels have been
	 * told, and on_cancel came for requests that were not answered. */
	void (*on_end)(void *owner, const struct err *err);
};

struct mux_options {
	struct mux_budget *budget;
	/* Client: the login is sent at once. user NULL: nameless. */
	const char *user;
	const char *password;
};

/* Take `below` (open or opening; what is sent before it is open waits there).
 */
struct mux *mux_client(struct stream *below, const struct mux_options *o,
    const struct mux_events *events, void *owner);
struct mux *mux_server(struct stream *below, const struct mux_options *o,
    const struct mux_events *events, void *owner);

/* Another try after a refused login. */
void mux_login(struct mux *m, const char *user, const char *password);
/* Server: true: the session may ask for channels. */
void mux_login_answer(struct mux *m, bool good);

/* Client: opens a channel. The stream is the caller's, stopped, not yet open;
 * it may be written to at once. NULL and *e: draining, too many channels, a
 * target that cannot be said. */
struct stream *mux_connect(
    struct mux *m, const struct mux_target *t, struct err *e);

/* Server: what is asked; valid until answered. */
const struct mux_target *mux_request_target(const struct mux_request *r);
void mux_request_set_owner(struct mux_request *r, void *owner);
void *mux_request_owner(const struct mux_request *r);

/* Answers 200; the stream is the caller's (open, stopped). address: the value
 * of hyco-address for LISTEN, else NULL. */
struct stream *mux_accept(struct mux_request *r, const char *address);
void mux_refuse(
    struct mux_request *r, enum mux_refusal why, const char *details);

/* What the other side answered as hyco-address (LISTEN), from on_open on; NULL
 * if nothing. Valid until the channel's close. */
const char *mux_address(const struct stream *channel);

/* The number of the channel's HTTP/2 stream, for logs; 0 before it has one. */
uint32_t mux_channel_id(const struct stream *channel);
/* The receive window granted to the other side now. */
size_t mux_channel_window(const struct stream *channel);

/* The shortest round trip of late in microseconds; 0 if not measured: it is
 * while data flows. */
uint32_t mux_rtt_us(const struct mux *m);

/* Sends GOAWAY: new channels of the other side are refused. */
void mux_drain(struct mux *m);

size_t mux_channels(const struct mux *m);
size_t mux_queued(const struct mux *m);
struct stream *mux_below(struct mux *m);

/* Ends it: open channels are cut loose, report ERR_RESET once and wait for
 * their owners' close; requests that were not answered are dead. The stream
 * beneath is closed (after a GOAWAY). */
void mux_close(struct mux *m);

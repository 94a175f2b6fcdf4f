/* SPDX-License-Identifier: MIT
 *
 * Reaching the relay: names, happy eyeballs, HTTP and SOCKS proxies (by
 * libcurl, connect-only), then TLS on top. One call, one result: a stream that
 * is ready for HTTP, or an error that names the hop that failed.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "net/addr.h"

struct dial;
struct dialer;
struct err;
struct loop;
struct stream;
struct tls_context;

struct dialer_options {
	/* Borrowed reference is taken by the dialer itself. NULL: no TLS at
	 * all, plain TCP (tests). */
	struct tls_context *tls;
	/* "http://[user:password@]host:port", "socks5h://...", "" for none;
	 * NULL: HTTPS_PROXY, ALL_PROXY and NO_PROXY of the environment (and
	 * their lower-case forms) decide. */
	const char *proxy;
	uint64_t timeout_ms; /* for all steps together; 0: 20,000 */
};

struct dial_events {
	/* Ready; the owner gets the stream (stopped). dial_close is still
	 * due. */
	void (*on_open)(void *owner, struct stream *s);
	/* Text: "relay name relay.example unknown: ..." / "relay
	 * host:port: connection refused ..." / "proxy ...: ..." / "relay TLS
	 * ..."; codes ERR_UNREACHABLE, ERR_REFUSED, ERR_TIMEOUT, ERR_TLS,
	 * ERR_AUTH (the proxy wants a login), ERR_SYSTEM. */
	void (*on_error)(void *owner, const struct err *err);
};

/* A dialer belongs to one loop and keeps name and session caches for it. */
struct dialer *dialer_new(
    struct loop *l, const struct dialer_options *o, struct err *e);
/* All its dials must be closed before. */
void dialer_close(struct dialer *d);

struct dial *dial_open(struct dialer *d, const struct hostport *to,
    const struct dial_events *events, void *owner);
/* Gives up, or acknowledges the result. Always due, once. */
void dial_close(struct dial *d);

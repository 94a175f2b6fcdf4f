/* SPDX-License-Identifier: MIT
 *
 * Ends: the words people use for them, listening at one, dialling one.
 *
 * The forms, for -L, -R and the configuration file (brackets around IPv6):
 *
 *     [bind:]port                     destination 127.0.0.1 and the same port
 *     [bind:]port:host:port           as in ssh
 *     [bind:]port:unix:/path          (socket: means unix: everywhere)
 *     LOCAL=DESTINATION               LOCAL: [bind:]port or unix:/path,
 *                                     DESTINATION: [host:]port or unix:/path
 *     any of them with /udp (or /tcp) behind, where both ends have ports
 *
 * The console's: tunnel [bind:]port [host:]port, where each word may also be
 * unix:/path, and either may end in /udp; a host without a port keeps the port.
 *
 * bind is an IP, localhost (127.0.0.1 and ::1), or * (all addresses of this
 * machine); without it 127.0.0.1. A local path holds no equals sign.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ends/end_kind.h"
#include "net/addr.h"

struct end_dial;
struct end_listener;
struct err;
struct loop;
struct stream;
struct udp;

#define END_PATH_MAX 107 /* sun_path without its NUL */
#define END_TEXT_MAX (HOST_MAX + 16)
#define END_BIND_MAX 2 /* localhost and * are two addresses */

struct end {
	const struct end_kind *kind;
	struct hostport at;          /* kinds with ports; a local host may
	                                be "*" */
	char path[END_PATH_MAX + 1]; /* kinds with a path; absolute */
};

struct tunnel_spec {
	struct end local;  /* where this side listens (for -R: the other) */
	struct end remote; /* where the connections go */
	bool remote_given; /* false: remote is the default, 127.0.0.1 and the
	                      same port */
};

/* --- words (pure) --- */

/* Kinds in the order of the help; NULL ends. */
const struct end_kind *end_kind_at(size_t i);

/* One end: "[host:]port", "unix:/path", with /udp. default_port 0: a port is
 * required. ERR_USAGE names the faulty part. */
bool end_parse(
    struct end *x, const char *text, uint16_t default_port, struct err *e);

/* A local end alone, as of -D: "[bind:]port" or "unix:/path". Port 0: any that
 * is free. */
bool end_parse_local(struct end *x, const char *text, struct err *e);

/* A tunnel in one word (the argument of -L and -R). */
bool end_parse_tunnel(
    struct tunnel_spec *spec, const char *text, struct err *e);

/* A tunnel in the console's two words; destination may be NULL. */
bool end_parse_console(struct tunnel_spec *spec, const char *local,
    const char *destination, struct err *e);

/* "host:port", "[v6]:port", "unix:/path", with "/udp" where it is. */
const char *end_print(const struct end *x, char out[END_TEXT_MAX]);

/* The addresses a local end binds to: 1 or 2 of them (of those for * the second
 * is for machines without IPv6), 0 when its host is a name (ERR_USAGE). */
size_t end_bind_addrs(
    const struct end *x, struct addr out[END_BIND_MAX], struct err *e);

/* --- listening --- */

struct end_listener_events {
	/* The receiver owns the stream (stopped, no owner). */
	void (*on_accept)(
	    void *owner, struct stream *s, const struct addr *peer);
	/* See net/listen.h; may be NULL. */
	void (*on_pause)(void *owner, bool paused, const struct err *err);
};

/* Listens on all addresses of the end. Two addresses share one port, also when
 * the port is 0. Where this machine has no IPv6 (or no IPv4), `*` and localhost
 * do with the other. ERR_USAGE (address in use, or a UDP end), ERR_DENIED. */
struct end_listener *end_listen(struct loop *l, const struct end *x,
    const struct end_listener_events *events, void *owner, struct err *e);

/* How many addresses, and each as it was bound. */
size_t end_listener_count(const struct end_listener *ln);
const struct addr *end_listener_addr(const struct end_listener *ln, size_t i);

void end_listener_close(struct end_listener *ln);

/* --- dialling --- */

struct end_dial_options {
	/* Who asks and by which rules; both are kept (a reference, a copy). A
	 * NULL policy means the rules without a file, a NULL user anonymous. */
	struct policy *policy;
	const char *user;
	/* The destination was given by the person who runs this process:
	 * no policy is asked. */
	bool is_trusted;
	uint64_t timeout_ms; /* 0: 15,000 */
};

struct end_dial_events {
	/* The owner gets the stream (stopped, no owner); end_dial_close is
	 * still due. */
	void (*on_open)(void *owner, struct stream *s, const struct addr *a);
	/* As connect_events.on_error: ERR_DENIED is the policy's word. */
	void (*on_error)(void *owner, const struct err *err);
	/* Instead of on_open for UDP ends: a socket connected to the allowed
	 * address (stopped, no owner). NULL: UDP ends are refused. */
	void (*on_udp)(void *owner, struct udp *u, const struct addr *a);
};

/* Resolves, asks the policy about each address, connects to what it allowed.
 * `options` may be NULL. Without on_udp UDP ends report ERR_USAGE. */
struct end_dial *end_dial_open(struct loop *l, const struct end *x,
    const struct end_dial_options *options,
    const struct end_dial_events *events, void *owner);

/* Gives up, or acknowledges the end. Always due, once. */
void end_dial_close(struct end_dial *d);

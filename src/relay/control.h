/* SPDX-License-Identifier: MIT
 *
 * The control channel of one listener (specification 3), from its 101 to its
 * end: accepts go out, renewToken comes in, Pings keep it alive, and the token
 * it listens with must stay good. Owns the stream.
 *
 * on_gone comes once, when nothing can be sent to the listener any more: from
 * then on it must not be picked. on_end follows (or is the first) when the
 * connection is gone; then control_close is due.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/addr.h"
#include "relay/registry.h"
#include "util/crypt.h"
#include "util/list.h"

struct control;
struct err;
struct http1_head;
struct loop;
struct relay_limits;
struct stream;

/* What an owner may read, and its own fields in it. */
struct control_info {
	struct list link;                    /* the owner's */
	struct registry_listener registered; /* the owner's */
	struct addr peer;
	uint64_t start_ms;
	char id[CRYPT_UUID_SIZE]; /* tracking id */
	char *authority;          /* the Host it dialled */
	bool is_secure;           /* it dialled TLS */
	uint64_t accepts;         /* sent to it */
	uint64_t renewals;
};

struct control_options {
	struct stream *stream; /* taken */
	uint8_t *early;        /* behind the handshake: taken, may be NULL */
	size_t early_len;
	struct addr peer;
	const char *id;
	const char *authority;
	bool is_secure;
	int64_t expiry_s; /* of its token */
};

struct control_events {
	/* Judges a new token: its expiry, or a reason in *e. */
	bool (*on_renew)(void *owner, struct control *c, const char *token,
	    int64_t *expiry_s, struct err *e);
	void (*on_gone)(void *owner, struct control *c, const char *reason);
	void (*on_end)(void *owner, struct control *c);
};

/* The limits are borrowed for its life. */
struct control *control_open(struct loop *l, const struct control_options *o,
    const struct relay_limits *limits, const struct control_events *events,
    void *owner);

struct control_info *control_info(struct control *c);
/* The control whose info holds this registration. */
struct control *control_of(struct registry_listener *l);

/* Sends an accept message. */
void control_send(struct control *c, const char *text, size_t len);

/* Ends it with a Close; on_gone does not come any more, on_end does. */
void control_shutdown(struct control *c, int code, const char *reason);

/* In any state, once. */
void control_close(struct control *c);

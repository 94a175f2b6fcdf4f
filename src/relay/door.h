/* SPDX-License-Identifier: MIT
 *
 * A connection from its acceptance until it is known what it is: TLS, the
 * request's head with a deadline, and the refusal if it comes to that. The
 * owner gets on_request once and then does one of: door_refuse (now or
 * later), door_wait and later one of the others, door_take.
 *
 * on_end comes once when the connection is lost, too late, or done with its
 * refusal; then door_close is due. After door_take the door is dead.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/addr.h"
#include "util/crypt.h"
#include "util/list.h"

struct door;
struct err;
struct http1_head;
struct loop;
struct relay_limits;
struct stream;
struct tls_context;

#define DOOR_SYSTEM_MAX 600 /* "sb://namespace/entity" */

/* What an owner may read, and its own fields in it. */
struct door_info {
	struct list link; /* the owner's */
	void *user;       /* the owner's */
	struct addr peer;
	uint64_t start_ms;
	char id[CRYPT_UUID_SIZE]; /* tracking id; the owner may change it */
};

struct door_refusal {
	int status;
	const char *text; /* cleaned and cut here */
	/* What it was about, for the reason phrase: "sb://ns/entity"; NULL: a
	 * phrase that is somebody else's word and stays as it is. */
	const char *system;
	const char *method; /* of the request; NULL: not known */
	uint32_t delay_ms;  /* hold the answer back so long */
};

struct door_events {
	/* `head` is valid until the door is closed, taken or refused. */
	void (*on_request)(
	    void *owner, struct door *d, const struct http1_head *head);
	/* err: what happened; ERR_CLOSED when the owner's refusal was sent. */
	void (*on_end)(void *owner, struct door *d, const struct err *err);
};

/* Takes the stream of an accepted connection; tls NULL: plain. The limits are
 * borrowed for the door's life. */
struct door *door_open(struct loop *l, struct stream *s,
    const struct addr *peer, struct tls_context *tls,
    const struct relay_limits *limits, const struct door_events *events,
    void *owner);

struct door_info *door_info(struct door *d);
struct door *door_of(struct door_info *info);
const struct http1_head *door_head(const struct door *d);

/* The request waits for its answer: the deadline is off, the head stays, the
 * end of the connection is noticed. */
void door_wait(struct door *d);

/* Answers with an error status in the service's form and ends the connection.
 * on_end follows. Once. */
void door_refuse(struct door *d, const struct door_refusal *r);

/* Hands the stream over, and what was read behind the head (*early NULL if
 * nothing; free()). The door is dead to the caller. */
struct stream *door_take(struct door *d, uint8_t **early, size_t *early_len);

/* In any state, once; never after door_take. */
void door_close(struct door *d);

/* Appends ". TrackingId:.., SystemTracker:.., Timestamp:.." as the service
 * does. Pure; for close reasons too. */
void door_print_reason(char *out, size_t size, const char *text, const char *id,
    const char *system, int64_t now_s);

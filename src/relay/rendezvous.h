/* SPDX-License-Identifier: MIT
 *
 * The senders that wait for a listener's answer, by the one-time secret in
 * their accept addresses: 128 random bits, good once and for a short while
 * (specification 3.2). It holds who waits for whom; the sender's connection
 * itself stays with its door.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/loop.h"
#include "util/list.h"

struct buf;
struct door;
struct err;
struct registry_entity;
struct registry_listener;
struct rendezvous;
struct rendezvous_table;

#define RENDEZVOUS_SECRET_SIZE 33 /* hex of 16 bytes and a NUL */

struct rendezvous_table *rendezvous_table_new(struct loop *l,
    void (*on_timeout)(void *owner, struct rendezvous *r), void *owner);
/* All must be closed. */
void rendezvous_table_free(struct rendezvous_table *t);
size_t rendezvous_table_count(const struct rendezvous_table *t);

struct rendezvous {
	struct list link;    /* in the table */
	struct list waiting; /* in entity->waiting */
	struct rendezvous_table *table;
	struct registry_entity *entity;
	struct registry_listener *asked; /* NULL: nobody at present */
	struct door *sender;
	char secret[RENDEZVOUS_SECRET_SIZE];
	unsigned offers; /* how often a listener was asked */
	struct timer timer;
};

/* A sender waits on `entity` from now on, at most life_ms. */
struct rendezvous *rendezvous_open(struct rendezvous_table *t,
    struct registry_entity *entity, struct door *sender, uint32_t life_ms);

/* NULL for a secret that is unknown, used or too old. */
struct rendezvous *rendezvous_find(
    const struct rendezvous_table *t, const char *secret);

/* Asks this listener from now on. Appends the accept message for it. The
 * sender's door must have its head. ERR_TOO_BIG when the head is too long for
 * a message. */
bool rendezvous_offer(struct rendezvous *r, struct registry_listener *listener,
    struct buf *out, struct err *e);

/* Answered, given up or too late: the secret is dead. The door stays with its
 * owner. */
void rendezvous_close(struct rendezvous *r);

/* SPDX-License-Identifier: MIT
 *
 * Who listens on which path: the namespaces and hybrid connections of the
 * configuration as living things, and the listeners on each. Pure: no loop, no
 * socket. Entities and namespaces keep their address when the configuration is
 * swapped, so others may point at them until on_gone has been called for them.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "util/list.h"

struct err;
struct registry;
struct relay_config;
struct relay_hybrid_connection;
struct relay_namespace;

#define REGISTRY_ID_SIZE 37 /* a UUID and a NUL */

struct registry_namespace {
	struct list link;
	const struct relay_namespace *config; /* the current one */
	struct list entities;
	bool is_kept; /* while a configuration is being swapped */
};

/* A hybrid connection. */
struct registry_entity {
	struct list link;
	struct registry_namespace *ns;
	const struct relay_hybrid_connection *config;
	struct list listeners; /* struct registry_listener, oldest first */
	unsigned n_listeners;  /* those that can be picked */
	/* For the owner's use: what hangs on this entity. */
	struct list waiting;
	struct list pairs;
	bool is_kept;
};

/* Embedded in whoever is a listener's control channel. */
struct registry_listener {
	struct list link;
	struct registry_entity *entity; /* NULL: not registered */
	char id[REGISTRY_ID_SIZE];      /* lower case; "" if it gave none */
	/* A younger control channel of the same id is here: this one is most
	 * likely dead without knowing it and is not picked. */
	bool is_superseded;
};

struct registry *registry_new(void);

/* Nobody may be registered any more. */
void registry_free(struct registry *r);

/* Takes over a checked configuration, which must stay valid until the next
 * one. on_gone is called for each entity that is no longer in it, before it is
 * freed: the owner ends what hangs on it. It may be NULL. */
void registry_set_config(struct registry *r, const struct relay_config *c,
    void (*on_gone)(void *owner, struct registry_entity *entity), void *owner);

/* The namespace by a host without port (brackets around IPv6 are fine), by
 * name or alias, ignoring case; NULL if none. */
struct registry_namespace *registry_find_namespace(
    const struct registry *r, const char *host);

/* The entity whose path is the longest prefix in whole segments of `path`
 * (percent-decoded, leading slashes ignored), ignoring case. NULL if none. */
struct registry_entity *registry_find(
    const struct registry_namespace *ns, const char *path);

/* The next entity of all: NULL starts and ends. For walking over all. */
struct registry_entity *registry_next(
    const struct registry *r, struct registry_entity *after);

/* Whether a listener of this id ("" if none) finds room: ERR_DENIED when the
 * entity has its number of listeners already. */
bool registry_has_room(
    const struct registry_entity *entity, const char *id, struct err *e);

/* Adds a listener, whose id is set and for whom there is room. */
void registry_add(struct registry_entity *entity, struct registry_listener *l);

/* Does nothing for one that is not registered. */
void registry_remove(struct registry_listener *l);

/* Picks one of the listeners at random. allowed and disallowed: lists of
 * listener ids separated by commas, or NULL (the fields
 * Microsoft-Relay-AllowedListeners and -DisallowedListeners). NULL: none. */
struct registry_listener *registry_pick(const struct registry_entity *entity,
    const char *allowed, const char *disallowed);

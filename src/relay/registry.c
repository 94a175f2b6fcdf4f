/* SPDX-License-Identifier: MIT
 *
 * The configuration made alive. A swap marks and sweeps: what the new
 * configuration names is kept and pointed at its new description, the rest is
 * told to the owner and freed.
 */
#include "relay/registry.h"

#include <stdlib.h>
#include <string.h>

#include "relay/relay.h"
#include "util/crypt.h"
#include "util/err.h"
#include "util/mem.h"
#include "util/text.h"

struct registry {
	struct list namespaces;
};

static struct registry_namespace *
to_namespace(struct list *link)
{
	return LIST_OF(link, struct registry_namespace, link);
}

static struct registry_entity *
to_entity(struct list *link)
{
	return LIST_OF(link, struct registry_entity, link);
}

static struct registry_listener *
to_listener(struct list *link)
{
	return LIST_OF(link, struct registry_listener, link);
}

struct registry *
registry_new(void)
{
	struct registry *r = mem_zalloc(sizeof *r);

	list_init(&r->namespaces);
	return r;
}

static void
free_entity(struct registry_entity *entity)
{
	list_remove(&entity->link);
	free(entity);
}

static void
free_namespace(struct registry_namespace *ns)
{
	struct list *at, *after;

	LIST_EACH_SAFE (at, after, &ns->entities)
		free_entity(to_entity(at));
	list_remove(&ns->link);
	free(ns);
}

void
registry_free(struct registry *r)
{
	struct list *at, *after;

	LIST_EACH_SAFE (at, after, &r->namespaces)
		free_namespace(to_namespace(at));
	free(r);
}

/* --- the configuration --- */

static struct registry_namespace *
find_by_name(const struct registry *r, const char *name)
{
	struct list *at;

	LIST_EACH (at, &r->namespaces) {
		if (text_is_equal_nocase(to_namespace(at)->config->name, name))
			return to_namespace(at);
	}
	return NULL;
}

static struct registry_entity *
find_by_path(const struct registry_namespace *ns, const char *path)
{
	struct list *at;

	LIST_EACH (at, &ns->entities) {
		if (text_is_equal_nocase(to_entity(at)->config->path, path))
			return to_entity(at);
	}
	return NULL;
}

static void
keep_entity(
    struct registry_namespace *ns, const struct relay_hybrid_connection *config)
{
	struct registry_entity *entity = find_by_path(ns, config->path);

	if (!entity) {
		entity = mem_zalloc(sizeof *entity);
		entity->ns = ns;
		list_init(&entity->listeners);
		list_init(&entity->waiting);
		list_init(&entity->pairs);
		list_init(&entity->link);
		list_append(&ns->entities, &entity->link);
	}
	entity->config = config;
	entity->is_kept = true;
}

static void
keep_namespace(struct registry *r, const struct relay_namespace *config)
{
	struct registry_namespace *ns = find_by_name(r, config->name);

	if (!ns) {
		ns = mem_zalloc(sizeof *ns);
		list_init(&ns->entities);
		list_init(&ns->link);
		list_append(&r->namespaces, &ns->link);
	}
	ns->config = config;
	ns->is_kept = true;
	for (size_t i = 0; i < config->n_hybrid_connections; i++)
		keep_entity(ns, &config->hybrid_connections[i]);
}

static void
sweep_entities(struct registry_namespace *ns,
    void (*on_gone)(void *owner, struct registry_entity *entity), void *owner)
{
	struct list *at, *after;

	LIST_EACH_SAFE (at, after, &ns->entities) {
		struct registry_entity *entity = to_entity(at);

		if (entity->is_kept) {
			entity->is_kept = false;
			continue;
		}
		if (on_gone)
			on_gone(owner, entity);
		free_entity(entity);
	}
}

void
registry_set_config(struct registry *r, const struct relay_config *c,
    void (*on_gone)(void *owner, struct registry_entity *entity), void *owner)
{
	struct list *at, *after;

	for (size_t i = 0; i < c->n_namespaces; i++)
		keep_namespace(r, &c->namespaces[i]);
	LIST_EACH_SAFE (at, after, &r->namespaces) {
		struct registry_namespace *ns = to_namespace(at);
		bool is_kept = ns->is_kept;

		ns->is_kept = false;
		sweep_entities(ns, on_gone, owner);
		if (!is_kept)
			free_namespace(ns);
	}
}

/* --- finding --- */

static bool
is_host(const char *name, const char *host, size_t len)
{
	return strlen(name) == len && text_is_equal_nocase_n(name, host, len);
}

struct registry_namespace *
registry_find_namespace(const struct registry *r, const char *host)
{
	size_t len = strlen(host);
	struct list *at;

	if (len > 2 && host[0] == '[' && host[len - 1] == ']') {
		host++;
		len -= 2;
	}
	LIST_EACH (at, &r->namespaces) {
		const struct relay_namespace *c = to_namespace(at)->config;

		if (is_host(c->name, host, len))
			return to_namespace(at);
		for (size_t i = 0; i < c->n_aliases; i++) {
			if (is_host(c->aliases[i], host, len))
				return to_namespace(at);
		}
	}
	return NULL;
}

struct registry_entity *
registry_find(const struct registry_namespace *ns, const char *path)
{
	struct registry_entity *best = NULL;
	size_t best_len = 0;
	struct list *at;

	path += strspn(path, "/");
	LIST_EACH (at, &ns->entities) {
		struct registry_entity *entity = to_entity(at);
		size_t len = strlen(entity->config->path);

		if (len <= best_len ||
		    !text_has_prefix_nocase(path, entity->config->path))
			continue;
		if (path[len] != '\0' && path[len] != '/')
			continue;
		best = entity;
		best_len = len;
	}
	return best;
}

struct registry_entity *
registry_next(const struct registry *r, struct registry_entity *after)
{
	const struct list *ns_link;

	if (after && after->link.next != &after->ns->entities)
		return to_entity(after->link.next);
	ns_link = after ? after->ns->link.next : r->namespaces.next;
	for (; ns_link != &r->namespaces; ns_link = ns_link->next) {
		struct registry_namespace *ns =
		    to_namespace((struct list *)ns_link);

		if (!list_is_empty(&ns->entities))
			return to_entity(ns->entities.next);
	}
	return NULL;
}

/* --- listeners --- */

/* The youngest one of this id that is not superseded, or NULL. */
static struct registry_listener *
find_by_id(
    const struct registry_entity *entity, const char *id, bool is_superseded)
{
	struct list *at;

	if (!*id)
		return NULL;
	for (at = entity->listeners.prev; at != &entity->listeners;
	     at = at->prev) {
		struct registry_listener *l = to_listener(at);

		if (l->is_superseded == is_superseded &&
		    text_is_equal_nocase(l->id, id))
			return l;
	}
	return NULL;
}

bool
registry_has_room(
    const struct registry_entity *entity, const char *id, struct err *e)
{
	unsigned most = entity->config->max_listeners;

	/* One that returns under its id takes its own place, but not again
	 * and again while the old connections are not yet found dead. */
	if (find_by_id(entity, id, false) ? !find_by_id(entity, id, true)
	                                  : entity->n_listeners < most)
		return true;
	return err_set(e, ERR_DENIED,
	    "The quota of %u listeners for %s is used up", most,
	    entity->config->path);
}

void
registry_add(struct registry_entity *entity, struct registry_listener *l)
{
	struct registry_listener *older = find_by_id(entity, l->id, false);

	if (older) {
		older->is_superseded = true;
		entity->n_listeners--;
	}
	l->is_superseded = false;
	l->entity = entity;
	list_init(&l->link);
	list_append(&entity->listeners, &l->link);
	entity->n_listeners++;
}

void
registry_remove(struct registry_listener *l)
{
	struct registry_entity *entity = l->entity;
	struct registry_listener *older;

	if (!entity)
		return;
	list_remove(&l->link);
	l->entity = NULL;
	if (l->is_superseded)
		return;
	entity->n_listeners--;
	older = find_by_id(entity, l->id, true);
	if (older) {
		older->is_superseded = false;
		entity->n_listeners++;
	}
}

/* Whether the list names the id. An entry may carry the suffix of a tracking
 * id behind its UUID, and braces around it. */
static bool
list_names(const char *list, const char *id)
{
	size_t len = strlen(id);

	while (*list) {
		list += strspn(list, ", \t{");
		if (len > 0 && text_is_equal_nocase_n(list, id, len) &&
		    (list[len] == '\0' || strchr(", \t}_", list[len])))
			return true;
		list += strcspn(list, ",");
	}
	return false;
}

static bool
is_pickable(const struct registry_listener *l, const char *allowed,
    const char *disallowed)
{
	if (l->is_superseded)
		return false;
	if (allowed && !list_names(allowed, l->id))
		return false;
	return !disallowed || !list_names(disallowed, l->id);
}

struct registry_listener *
registry_pick(const struct registry_entity *entity, const char *allowed,
    const char *disallowed)
{
	struct registry_listener *picked = NULL;
	uint32_t seen = 0;
	struct list *at;

	LIST_EACH (at, &entity->listeners) {
		struct registry_listener *l = to_listener(at);

		if (!is_pickable(l, allowed, disallowed))
			continue;
		/* Each of the n seen so far is the choice with 1 / n. */
		if (crypt_random_below(++seen) == 0)
			picked = l;
	}
	return picked;
}

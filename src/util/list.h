/* SPDX-License-Identifier: MIT
 *
 * An intrusive two-way list. The links live inside the members, so adding and
 * removing allocate nothing and take constant time. A member knows whether it
 * is in a list (list_is_linked), provided it was initialised.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct list {
	struct list *prev;
	struct list *next;
};

/* The struct that holds `link` as its field `field`. */
#define LIST_OF(link, type, field)                                             \
	((type *)(void *)((char *)(link)-offsetof(type, field)))

/* Walks a list whose members may be removed while walking (the current one
 * only): `at` and `after` are struct list pointers. */
#define LIST_EACH_SAFE(at, after, list)                                        \
	for ((at) = (list)->next, (after) = (at)->next; (at) != (list);        \
	     (at) = (after), (after) = (at)->next)

#define LIST_EACH(at, list)                                                    \
	for ((at) = (list)->next; (at) != (list); (at) = (at)->next)

/* An empty list, or a member that is in none. */
static inline void
list_init(struct list *l)
{
	l->prev = l->next = l;
}

static inline bool
list_is_empty(const struct list *l)
{
	return l->next == l;
}

static inline bool
list_is_linked(const struct list *l)
{
	return l->next != l;
}

/* The member must be in no list. */
static inline void
list_append(struct list *l, struct list *member)
{
	member->prev = l->prev;
	member->next = l;
	l->prev->next = member;
	l->prev = member;
}

static inline void
list_prepend(struct list *l, struct list *member)
{
	list_append(l->next, member);
}

/* Taking out a member that is in no list does nothing. */
static inline void
list_remove(struct list *member)
{
	member->prev->next = member->next;
	member->next->prev = member->prev;
	list_init(member);
}

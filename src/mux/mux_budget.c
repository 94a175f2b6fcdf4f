/* SPDX-License-Identifier: MIT
 *
 * Two sums with one limit each; muxes share it by reference. On one loop, so
 * without locks.
 */
#include "mux/mux_budget.h"

#include <assert.h>
#include <stdlib.h>

#include "util/mem.h"

struct mux_budget {
	size_t limit;
	size_t used;
	size_t held;
	unsigned refs;
};

struct mux_budget *
mux_budget_new(size_t bytes)
{
	struct mux_budget *b = mem_zalloc(sizeof *b);

	b->limit = bytes;
	b->refs = 1;
	return b;
}

struct mux_budget *
mux_budget_ref(struct mux_budget *b)
{
	b->refs++;
	return b;
}

void
mux_budget_unref(struct mux_budget *b)
{
	assert(b->refs > 0);
	if (--b->refs > 0)
		return;
	assert(b->used == 0 && b->held == 0);
	free(b);
}

size_t
mux_budget_used(const struct mux_budget *b)
{
	return b->used;
}

size_t
mux_budget_held(const struct mux_budget *b)
{
	return b->held;
}

bool
mux_budget_take(struct mux_budget *b, size_t bytes)
{
	if (bytes > b->limit - b->used)
		return false;
	b->used += bytes;
	return true;
}

void
mux_budget_give(struct mux_budget *b, size_t bytes)
{
	assert(bytes <= b->used);
	b->used -= bytes;
}

bool
mux_budget_hold(struct mux_budget *b, size_t bytes)
{
	if (bytes > b->limit - b->held)
		return false;
	b->held += bytes;
	return true;
}

void
mux_budget_release(struct mux_budget *b, size_t bytes)
{
	assert(bytes <= b->held);
	b->held -= bytes;
}

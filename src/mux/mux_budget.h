/* SPDX-License-Identifier: MIT
 *
 * The inner side of the budget of mux.h: what the muxes take from it. Each
 * taking is refused beyond the limit and must be given back.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "mux/mux.h"

/* Windows beyond their start. */
bool mux_budget_take(struct mux_budget *b, size_t bytes);
void mux_budget_give(struct mux_budget *b, size_t bytes);

/* Bytes held for owners who do not take them. */
bool mux_budget_hold(struct mux_budget *b, size_t bytes);
void mux_budget_release(struct mux_budget *b, size_t bytes);

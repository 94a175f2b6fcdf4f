/* SPDX-License-Identifier: MIT
 *
 * "Did you mean": the known word nearest to a mistyped one.
 */
#pragma once
#include <stddef.h>

/* The nearest of `n` names within a third of the word's length (at least one,
 * at most three edits), or NULL when none is near. Names may be NULL. */
const char *suggest_nearest(
    const char *word, const char *const *names, size_t n);

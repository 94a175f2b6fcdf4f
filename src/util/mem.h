/* SPDX-License-Identifier: MIT
 *
 * Memory that is always there: each function aborts the process when the
 * system has none left, so callers never check. Therefore a size that a peer
 * chooses must be bounded before it comes here. Everything is freed by free().
 */
#pragma once
#include <stddef.h>

/* n bytes, contents undefined; n may be 0 (a unique pointer is returned). */
void *mem_alloc(size_t n);

/* n bytes of zeros. */
void *mem_zalloc(size_t n);

/* realloc: takes p (may be NULL), gives the block with n bytes (n > 0). */
void *mem_grow(void *p, size_t n);

/* A copy of a text, and of its first n bytes with a NUL added. */
char *mem_strdup(const char *s);
char *mem_strndup(const char *s, size_t n);

/* printf into fresh memory. */
char *mem_printf(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Overwrites secrets in a way the compiler may not drop. p may be NULL. */
void mem_wipe(void *p, size_t n);

/* Wipes a NUL-terminated secret, then frees it. s may be NULL. */
void mem_free_secret(char *s);

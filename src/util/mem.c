/* SPDX-License-Identifier: MIT
 *
 * Allocation that cannot fail: a program that carries other people's
 * connections has nothing sensible to do without memory, so it stops at once
 * and loudly, instead of limping along paths nobody ever tested.
 */
#include "util/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *
mem_demand(void *p)
{
	if (p)
		return p;
	fputs("hyco: out of memory\n", stderr);
	abort();
}

void *
mem_alloc(size_t n)
{
	return mem_demand(malloc(n ? n : 1));
}

void *
mem_zalloc(size_t n)
{
	return mem_demand(calloc(1, n ? n : 1));
}

void *
mem_grow(void *p, size_t n)
{
	return mem_demand(realloc(p, n ? n : 1));
}

char *
mem_strdup(const char *s)
{
	return mem_demand(strdup(s));
}

char *
mem_strndup(const char *s, size_t n)
{
	return mem_demand(strndup(s, n));
}

char *
mem_printf(const char *format, ...)
{
	va_list args;
	char *text = NULL;

	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	va_end(args);
	return mem_demand(text);
}

void
mem_wipe(void *p, size_t n)
{
	if (p)
		explicit_bzero(p, n);
}

void
mem_free_secret(char *s)
{
	if (s)
		mem_wipe(s, strlen(s));
	free(s);
}

/* SPDX-License-Identifier: MIT
 *
 * Edit distance (insert, delete, replace, swap of neighbours) between short
 * words; used for mistyped subcommands, options, keys and console commands.
 */
#include "cli/suggest.h"

#include <string.h>

#define WORD_MAX 40

static unsigned
min3(unsigned a, unsigned b, unsigned c)
{
	const unsigned ab = a < b ? a : b;

	return ab < c ? ab : c;
}

/* Both texts are at most WORD_MAX long. */
static unsigned
distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
	unsigned d[WORD_MAX + 1][WORD_MAX + 1];

	for (size_t i = 0; i <= a_len; i++)
		d[i][0] = (unsigned)i;
	for (size_t j = 0; j <= b_len; j++)
		d[0][j] = (unsigned)j;
	for (size_t i = 1; i <= a_len; i++) {
		for (size_t j = 1; j <= b_len; j++) {
			const unsigned cost = a[i - 1] != b[j - 1];

			d[i][j] = min3(d[i - 1][j] + 1, d[i][j - 1] + 1,
			    d[i - 1][j - 1] + cost);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] &&
			    a[i - 2] == b[j - 1] &&
			    d[i - 2][j - 2] + 1 < d[i][j])
				d[i][j] = d[i - 2][j - 2] + 1;
		}
	}
	return d[a_len][b_len];
}

const char *
suggest_nearest(const char *word, const char *const *names, size_t n)
{
	const size_t len = strlen(word);
	const char *best = NULL;
	unsigned limit = (unsigned)(len / 3);

	if (len == 0 || len > WORD_MAX)
		return NULL;
	limit = limit < 1 ? 1 : limit > 3 ? 3 : limit;
	for (size_t i = 0; i < n; i++) {
		const size_t name_len = names[i] ? strlen(names[i]) : 0;

		if (name_len == 0 || name_len > WORD_MAX)
			continue;
		const unsigned d = distance(word, len, names[i], name_len);
		if (d > limit || (best && d == limit))
			continue;
		best = names[i];
		limit = d;
	}
	return best;
}

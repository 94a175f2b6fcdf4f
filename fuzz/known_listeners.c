/* SPDX-License-Identifier: MIT
 *
 * Any bytes as the file of known listeners: whoever is found there stands
 * there, word for word, and nobody is both the same and changed.
 */
#include "tunnel/known_listeners.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "util/err.h"

#define A "sha256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define B "sha256:BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum known_listeners_answer
ask(const uint8_t *data, size_t size, const char *name)
{
	struct err e = {0};
	enum known_listeners_answer answer = known_listeners_search(
	    (const char *)data, size, "known", "ns.example/path", name, &e);
	bool is_bad = answer == KNOWN_LISTENERS_FAULT ||
	              answer == KNOWN_LISTENERS_CHANGED;

	if (is_bad != (e.code != ERR_NONE))
		abort();
	if (answer == KNOWN_LISTENERS_SAME &&
	    memmem(data, size, name, strlen(name)) == NULL)
		abort();
	return answer;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum known_listeners_answer a = ask(data, size, A);
	enum known_listeners_answer b = ask(data, size, B);

	if ((a == KNOWN_LISTENERS_FAULT) != (b == KNOWN_LISTENERS_FAULT) ||
	    (a == KNOWN_LISTENERS_UNKNOWN) != (b == KNOWN_LISTENERS_UNKNOWN))
		abort();
	return 0;
}

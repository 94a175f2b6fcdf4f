/* SPDX-License-Identifier: MIT
 *
 * Reads capsules whole and in pieces (the first byte chooses how long): both
 * must give the same payloads.
 */
#include "mux/capsule.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "util/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A hash of all payloads and the result. */
static uint64_t
run(const uint8_t *data, size_t size, size_t piece)
{
	struct capsule_reader r;
	uint64_t hash = 1;
	bool bad = false;

	capsule_reader_init(&r);
	for (size_t at = 0; at < size && !bad; at += piece) {
		size_t n = size - at < piece ? size - at : piece;
		uint8_t *copy = mem_alloc(n), *p = copy, *payload;
		size_t len;

		memcpy(copy, data + at, n);
		for (;;) {
			enum capsule_result result =
			    capsule_next(&r, &p, &n, &payload, &len, NULL);

			if (result == CAPSULE_MORE && n > 0)
				abort();
			bad = result == CAPSULE_BAD;
			if (result != CAPSULE_DATAGRAM)
				break;
			if (len > CAPSULE_PAYLOAD_MAX)
				abort();
			hash = hash * 31 + len;
			for (size_t i = 0; i < len; i++)
				hash = hash * 31 + payload[i];
		}
		free(copy);
	}
	hash = hash * 31 + bad;
	if (!bad)
		hash = hash * 31 + capsule_is_between(&r);
	capsule_reader_fini(&r);
	return hash;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	if (run(data + 1, size - 1, size) !=
	    run(data + 1, size - 1, (size_t)data[0] % 32 + 1))
		abort();
	return 0;
}

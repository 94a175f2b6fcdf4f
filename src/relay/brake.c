/* SPDX-License-Identifier: MIT
 *
 * A small set-associative cache: an address can live in any of the few slots
 * that its hash names, and takes the oldest of them. A flood of addresses can
 * thus push a culprit out and give it one quick answer, and costs no memory.
 * The hash is keyed with random bits, so nobody outside can aim at a slot.
 */
#include "relay/brake.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "net/addr.h"
#include "util/crypt.h"
#include "util/mem.h"

#define WAYS 4
#define KEY_SIZE 9 /* family and at most 64 bits */

struct slot {
	uint8_t key[KEY_SIZE];
	uint8_t failures; /* 0: free */
	uint64_t last_ms;
};

struct brake {
	uint64_t seed;
	struct slot slots[BRAKE_SLOTS];
};

struct brake *
brake_new(void)
{
	struct brake *b = mem_zalloc(sizeof *b);

	crypt_random(&b->seed, sizeof b->seed);
	return b;
}

void
brake_free(struct brake *b)
{
	free(b);
}

static void
make_key(const struct addr *from, uint8_t key[KEY_SIZE])
{
	struct addr a = *from;

	memset(key, 0, KEY_SIZE);
	addr_unmap(&a);
	if (a.sa.ss_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)&a.sa;

		key[0] = 4;
		memcpy(key + 1, &in->sin_addr, 4);
	} else if (a.sa.ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const void *)&a.sa;

		key[0] = 6;
		memcpy(key + 1, &in6->sin6_addr, 8);
	}
}

static struct slot *
find_set(struct brake *b, const uint8_t key[KEY_SIZE])
{
	uint64_t hash = b->seed;

	for (size_t i = 0; i < KEY_SIZE; i++) {
		hash = (hash ^ key[i]) * 0x9e3779b97f4a7c15u;
		hash ^= hash >> 29;
	}
	return &b->slots[hash % (BRAKE_SLOTS / WAYS) * WAYS];
}

static struct slot *
find_slot(struct slot *set, const uint8_t key[KEY_SIZE])
{
	for (size_t i = 0; i < WAYS; i++) {
		if (set[i].failures > 0 &&
		    memcmp(set[i].key, key, KEY_SIZE) == 0)
			return &set[i];
	}
	return NULL;
}

static struct slot *
take_slot(struct slot *set, const uint8_t key[KEY_SIZE])
{
	struct slot *oldest = &set[0];

	for (size_t i = 0; i < WAYS; i++) {
		if (set[i].failures == 0) {
			oldest = &set[i];
			break;
		}
		if (set[i].last_ms < oldest->last_ms)
			oldest = &set[i];
	}
	memcpy(oldest->key, key, KEY_SIZE);
	oldest->failures = 0;
	return oldest;
}

uint32_t
brake_fail(struct brake *b, const struct brake_options *o,
    const struct addr *from, uint64_t now_ms)
{
	uint8_t key[KEY_SIZE];
	struct slot *set;
	struct slot *slot;
	uint64_t delay;

	make_key(from, key);
	set = find_set(b, key);
	slot = find_slot(set, key);
	if (!slot)
		slot = take_slot(set, key);
	else if (now_ms - slot->last_ms > o->forget_ms)
		slot->failures = 0;
	slot->last_ms = now_ms;
	if (slot->failures < 31)
		slot->failures++;
	delay = (uint64_t)o->first_ms << (slot->failures - 1);
	return delay < o->most_ms ? (uint32_t)delay : o->most_ms;
}

void
brake_forgive(struct brake *b, const struct addr *from)
{
	uint8_t key[KEY_SIZE];
	struct slot *slot;

	make_key(from, key);
	slot = find_slot(find_set(b, key), key);
	if (slot)
		slot->failures = 0;
}

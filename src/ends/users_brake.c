/* SPDX-License-Identifier: MIT
 *
 * A list in the order of last use; a walk over a thousand short keys is
 * nothing beside the password hash it stands in front of.
 */
#include "ends/users_brake.h"

#include <stdlib.h>
#include <string.h>

#include "util/mem.h"

#define WORD_MAX 255

void
users_brakes_init(
    struct users_brakes *all, uint64_t pause_ms, uint64_t pause_max_ms)
{
	list_init(&all->list);
	all->count = 0;
	all->pause_ms = pause_ms;
	all->pause_max_ms = pause_max_ms;
	crypt_random(all->secret, sizeof all->secret);
}

static void
drop(struct users_brakes *all, struct users_brake *b)
{
	list_remove(&b->link);
	all->count--;
	free(b);
}

void
users_brakes_fini(struct users_brakes *all)
{
	struct list *at, *after;

	LIST_EACH_SAFE (at, after, &all->list)
		drop(all, LIST_OF(at, struct users_brake, link));
}

static void
make_room(struct users_brakes *all)
{
	struct list *at;
	struct users_brake *b;

	if (all->count < USERS_BRAKES_MAX)
		return;
	for (at = all->list.prev; at != &all->list; at = at->prev) {
		b = LIST_OF(at, struct users_brake, link);
		if (b->trials > 0)
			continue;
		drop(all, b);
		return;
	}
}

static void
make_key(const struct users_brakes *all, char kind, const char *word,
    uint8_t key[USERS_BRAKE_KEY_SIZE])
{
	uint8_t text[WORD_MAX + 1], mac[CRYPT_SHA256_SIZE];
	size_t n = strnlen(word, WORD_MAX);

	text[0] = (uint8_t)kind;
	memcpy(text + 1, word, n);
	crypt_hmac_sha256(all->secret, sizeof all->secret, text, n + 1, mac);
	memcpy(key, mac, USERS_BRAKE_KEY_SIZE);
}

static struct users_brake *
find(struct users_brakes *all, const uint8_t *key)
{
	struct users_brake *b;
	struct list *at;

	LIST_EACH (at, &all->list) {
		b = LIST_OF(at, struct users_brake, link);
		if (memcmp(b->key, key, USERS_BRAKE_KEY_SIZE) == 0)
			return b;
	}
	return NULL;
}

struct users_brake *
users_brake_get(struct users_brakes *all, char kind, const char *word)
{
	uint8_t key[USERS_BRAKE_KEY_SIZE];
	struct users_brake *b;

	make_key(all, kind, word, key);
	b = find(all, key);
	if (b) {
		list_remove(&b->link);
	} else {
		make_room(all);
		b = mem_zalloc(sizeof *b);
		memcpy(b->key, key, sizeof key);
		list_init(&b->link);
		all->count++;
	}
	list_prepend(&all->list, &b->link);
	return b;
}

void
users_brake_pull(
    struct users_brakes *all, struct users_brake *b, uint64_t now_ms)
{
	uint64_t quiet = (now_ms - b->wrong_ms) / USERS_BRAKE_QUIET_MS, pause;

	b->wrong -= quiet > b->wrong ? b->wrong : (unsigned)quiet;
	pause = all->pause_ms << (b->wrong < 20 ? b->wrong : 20);
	if (pause > all->pause_max_ms)
		pause = all->pause_max_ms;
	else
		b->wrong++;
	b->wrong_ms = now_ms;
	b->ready_ms = now_ms + pause;
}

uint64_t
users_brake_wait(const struct users_brake *b, uint64_t now_ms)
{
	if (!b)
		return 0;
	if (b->is_running)
		return UINT64_MAX;
	return b->ready_ms > now_ms ? b->ready_ms : 0;
}

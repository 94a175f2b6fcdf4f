/* SPDX-License-Identifier: MIT
 *
 * Runs a fuzz target without a fuzzer: each seed whole and cut short, nothing
 * at all, and mutated copies by a generator with a fixed start, so that every
 * run is the same. When the target aborts, the input is printed in hex.
 */
#include <dirent.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/mem.h"

#define SEEDS_MAX 256
#define SEED_SIZE_MAX ((size_t)64 * 1024)
#define CUTS_MAX 512 /* of one seed */
#define MUTANTS 1500 /* of one seed */
#define MUTANTS_ALL 20000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv) __attribute__((weak));

struct seed {
	uint8_t *data;
	size_t n;
};

static struct seed seeds[SEEDS_MAX];
static size_t seed_count;
static unsigned long inputs;
static uint64_t state = 0x9e3779b97f4a7c15u;

/* What runs now, for on_abort. */
static const uint8_t *now_data;
static size_t now_n;

static void
on_abort(int signum)
{
	static const char digits[] = "0123456789abcdef";
	char out[2];
	size_t i;

	(void)!write(STDERR_FILENO, "the input was: ", 15);
	for (i = 0; i < now_n; i++) {
		out[0] = digits[now_data[i] >> 4];
		out[1] = digits[now_data[i] & 15];
		(void)!write(STDERR_FILENO, out, 2);
	}
	(void)!write(STDERR_FILENO, "\n", 1);
	signal(signum, SIG_DFL);
	raise(signum);
}

static uint32_t
draw(uint32_t bound)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 32) % bound;
}

/* In a block of exactly its size, so that a sanitizer sees a byte too far. */
static void
run(const uint8_t *data, size_t n)
{
	uint8_t *copy = mem_alloc(n);

	if (n > 0)
		memcpy(copy, data, n);
	now_data = copy;
	now_n = n;
	(void)LLVMFuzzerTestOneInput(copy, n);
	now_n = 0;
	free(copy);
	inputs++;
}

static void
load(const char *folder, const char *name)
{
	char *path = mem_printf("%s/%s", folder, name);
	FILE *f = fopen(path, "rb");
	struct seed *s = &seeds[seed_count++];

	if (!f) {
		perror(path);
		exit(1);
	}
	s->data = mem_alloc(SEED_SIZE_MAX);
	s->n = fread(s->data, 1, SEED_SIZE_MAX, f);
	fclose(f);
	free(path);
}

static int
by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static void
load_all(const char *folder)
{
	struct dirent **names;
	int n = scandir(folder, &names, NULL, by_name), i;

	if (n < 0) {
		perror(folder);
		exit(1);
	}
	for (i = 0; i < n; i++) {
		if (names[i]->d_name[0] != '.' && seed_count < SEEDS_MAX)
			load(folder, names[i]->d_name);
		free(names[i]);
	}
	free(names);
}

static void
run_cut(const struct seed *s)
{
	size_t step = s->n / CUTS_MAX + 1, n;

	for (n = 0; n < s->n; n += step)
		run(s->data, n);
	run(s->data, s->n);
}

/* One change in place; the new length. room is at least twice n. */
static size_t
change(uint8_t *data, size_t n, size_t room)
{
	static const uint8_t telling[] = {0, 1, 0x7f, 0x80, 0xff, '\n', '\r',
	    ' ', '"', ':', '/', '*', '%', '0', '9', '[', ']', '{', '='};
	const struct seed *other = &seeds[draw((uint32_t)seed_count)];
	size_t at = n ? draw((uint32_t)n) : 0, len = n - at;

	if (len > 32)
		len = 1 + draw(32);
	switch (draw(6)) {
	case 0: /* a bit */
		if (n > 0)
			data[at] ^= (uint8_t)(1u << draw(8));
		return n;
	case 1: /* a byte with a meaning */
		if (n > 0)
			data[at] = telling[draw(sizeof telling)];
		return n;
	case 2: /* left out */
		memmove(data + at, data + at + len, n - at - len);
		return n - len;
	case 3: /* twice */
		if (n + len > room)
			return n;
		memmove(data + at + len, data + at, n - at);
		return n + len;
	case 4: /* one more byte */
		if (n + 1 > room)
			return n;
		memmove(data + at + 1, data + at, n - at);
		data[at] = telling[draw(sizeof telling)];
		return n + 1;
	default: /* the end of another seed */
		if (other->n <= at || other->n > room)
			return n;
		memcpy(data + at, other->data + at, other->n - at);
		return other->n;
	}
}

static void
run_mutants(const struct seed *s)
{
	size_t room = 2 * SEED_SIZE_MAX, n, i;
	uint32_t count = MUTANTS, changes;
	uint8_t *data = mem_alloc(room);

	if (count > MUTANTS_ALL / seed_count)
		count = (uint32_t)(MUTANTS_ALL / seed_count);
	for (i = 0; i < count; i++) {
		memcpy(data, s->data, s->n);
		n = s->n;
		for (changes = 1 + draw(6); changes > 0; changes--)
			n = change(data, n, room);
		run(data, n);
	}
	free(data);
}

int
main(int argc, char **argv)
{
	size_t i;

	if (argc != 2) {
		fprintf(stderr, "usage: %s FOLDER-OF-SEEDS\n", argv[0]);
		return 2;
	}
	signal(SIGABRT, on_abort);
	if (LLVMFuzzerInitialize)
		LLVMFuzzerInitialize(&argc, &argv);
	load_all(argv[1]);
	if (seed_count == 0) {
		fprintf(stderr, "%s: no seeds\n", argv[1]);
		return 1;
	}
	printf("[==========] Running %zu seed(s).\n", seed_count);
	run(NULL, 0);
	for (i = 0; i < seed_count; i++)
		run_cut(&seeds[i]);
	for (i = 0; i < seed_count; i++)
		run_mutants(&seeds[i]);
	printf("[==========] %lu input(s) run.\n", inputs);
	printf("[  PASSED  ] %zu seed(s).\n", seed_count);
	for (i = 0; i < seed_count; i++)
		free(seeds[i].data);
	return 0;
}

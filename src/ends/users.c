/* SPDX-License-Identifier: MIT
 *
 * The users file as a sorted table of names and hashes. Everything here is
 * done once at a load; looking a name up is a binary search. What is living
 * (the store) is in users_store.c.
 */
#include "ends/users.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ends/lines.h"
#include "ends/users_table.h"
#include "util/err.h"
#include "util/mem.h"
#include "util/text.h"

/* The costs a file may ask for. On a machine of 2024 each is below one second,
 * and none takes more than 128 MiB while it runs. */
#define BCRYPT_COST_MAX 14
#define SHA_ROUNDS_MIN 1000
#define SHA_ROUNDS_MAX 500000

/* Kinds that people have in old files, to be told apart from clear text. */
static const char *const foreign_prefixes[] = {
    "{SHA}", "{SSHA}", "{MD5}", "{CRYPT}", "{PBKDF2}", NULL};

/* yescrypt's costs 1 to 8, as crypt_gensalt writes them. */
static const char *const yescrypt_costs[] = {
    "j75", "j85", "j7T", "j8T", "j9T", "jAT", "jBT", "jCT", NULL};

static const char crypt64[] =
    "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/* --- hashes --- */

/* Steps over min to max characters of crypt's base 64 that end at `stop`. */
static const char *
skip64(const char *s, size_t min, size_t max, char stop)
{
	size_t n = strspn(s, crypt64);

	return n >= min && n <= max && s[n] == stop ? s + n : NULL;
}

static bool
broken(struct err *e, const char *kind)
{
	return err_set(
	    e, ERR_USAGE, "the %s hash is broken or cut short", kind);
}

static bool
judge_yescrypt(const char *s, struct err *e)
{
	const char *at;
	size_t i;

	for (i = 0; yescrypt_costs[i]; i++)
		if (strncmp(s + 3, yescrypt_costs[i], 3) == 0 && s[6] == '$')
			break;
	if (!yescrypt_costs[i])
		return err_set(e, ERR_USAGE,
		    "the yescrypt hash has unusual or too costly parameters "
		    "(cost 8 at most)");
	at = skip64(s + 7, 1, 86, '$');
	if (!at || !skip64(at + 1, 43, 43, '\0'))
		return broken(e, "yescrypt");
	return true;
}

static bool
judge_bcrypt(const char *s, struct err *e)
{
	int cost;

	if (strlen(s) != 60 || s[6] != '$' || s[4] < '0' || s[4] > '9' ||
	    s[5] < '0' || s[5] > '9' || !skip64(s + 7, 53, 53, '\0'))
		return broken(e, "bcrypt");
	cost = (s[4] - '0') * 10 + (s[5] - '0');
	if (cost < 4 || cost > BCRYPT_COST_MAX)
		return err_set(e, ERR_USAGE,
		    "the bcrypt hash has cost %d; 4 to %d are taken", cost,
		    BCRYPT_COST_MAX);
	return true;
}

static bool
judge_sha(const char *s, const char *kind, size_t digest, struct err *e)
{
	const char *at = s + 3;
	char number[16];
	uint64_t rounds;
	size_t n;

	if (strncmp(at, "rounds=", 7) == 0) {
		at += 7;
		n = strcspn(at, "$");
		if (n >= sizeof number || at[n] != '$')
			return broken(e, kind);
		memcpy(number, at, n);
		number[n] = '\0';
		if (!text_parse_u64(
		        number, SHA_ROUNDS_MIN, SHA_ROUNDS_MAX, &rounds))
			return err_set(e, ERR_USAGE,
			    "the %s hash asks for rounds=%s; %d to %d are "
			    "taken",
			    kind,
			    strspn(number, "0123456789") == n ? number : "?",
			    SHA_ROUNDS_MIN, SHA_ROUNDS_MAX);
		at += n + 1;
	}
	at = skip64(at, 0, 16, '$');
	if (!at || !skip64(at + 1, digest, digest, '\0'))
		return broken(e, kind);
	return true;
}

/* "$id$...": made by some crypt(3), whether we know it or not. */
static bool
has_crypt_form(const char *s)
{
	size_t n = 0;

	if (s[0] != '$')
		return false;
	for (n = 1; n < 10 && s[n] && s[n] != '$'; n++)
		if (!strchr("abcdefghijklmnopqrstuvwxyz0123456789-", s[n]))
			return false;
	return n > 1 && s[n] == '$';
}

static bool
is_foreign(const char *s)
{
	size_t i;

	for (i = 0; foreign_prefixes[i]; i++)
		if (text_has_prefix_nocase(s, foreign_prefixes[i]))
			return true;
	return has_crypt_form(s);
}

enum users_hash
users_hash_judge(const char *s, struct err *e)
{
	bool good;

	if (strncmp(s, "$y$", 3) == 0)
		good = judge_yescrypt(s, e);
	else if (strncmp(s, "$2a$", 4) == 0 || strncmp(s, "$2b$", 4) == 0 ||
	         strncmp(s, "$2y$", 4) == 0)
		good = judge_bcrypt(s, e);
	else if (strncmp(s, "$6$", 3) == 0)
		good = judge_sha(s, "sha512-crypt", 86, e);
	else if (strncmp(s, "$5$", 3) == 0)
		good = judge_sha(s, "sha256-crypt", 43, e);
	else if (is_foreign(s))
		good = err_set(e, ERR_USAGE,
		    "a hash of a kind that is not supported (yescrypt, bcrypt, "
		    "sha512-crypt, sha256-crypt are)");
	else {
		err_set(e, ERR_USAGE, "clear-text password");
		return USERS_HASH_CLEAR;
	}
	return good ? USERS_HASH_GOOD : USERS_HASH_BAD;
}

/* --- names --- */

bool
users_is_name(const char *name, struct err *e)
{
	size_t n = strlen(name), i;

	if (n == 0)
		return err_set(e, ERR_USAGE, "the user name is empty");
	if (n > USERS_NAME_MAX)
		return err_set(e, ERR_USAGE,
		    "the user name is longer than %d bytes", USERS_NAME_MAX);
	for (i = 0; i < n; i++)
		if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f)
			return err_set(
			    e, ERR_USAGE, "the user name holds a control byte");
	if (strchr(name, ':'))
		return err_set(e, ERR_USAGE, "the user name holds a colon");
	if (name[0] == ' ' || name[n - 1] == ' ')
		return err_set(
		    e, ERR_USAGE, "the user name begins or ends with a blank");
	if (name[0] == '#')
		return err_set(e, ERR_USAGE,
		    "the user name begins with #, which makes a comment");
	if (!text_is_utf8((const uint8_t *)name, n))
		return err_set(e, ERR_USAGE, "the user name is not UTF-8");
	return true;
}

/* --- the table --- */

static int
compare(const void *a, const void *b)
{
	const struct users_entry *x = a, *y = b;
	int order = strcmp(x->name, y->name);

	return order ? order : (x->line > y->line) - (x->line < y->line);
}

static bool
add_line(struct users *u, const struct lines *l, char *line, struct err *e)
{
	struct users_entry *entry;
	struct err why;
	char *colon = strchr(line, ':');

	if (!colon)
		return lines_fault(l, e, "no colon; a line is name:hash");
	*colon = '\0';
	if (!users_is_name(line, &why))
		return lines_fault(l, e, "%s", why.text);
	if (strchr(colon + 1, ':'))
		return lines_fault(l, e,
		    "user %s: more than one colon; a line is name:hash", line);
	switch (users_hash_judge(colon + 1, &why)) {
	case USERS_HASH_GOOD:
		break;
	case USERS_HASH_CLEAR:
		return lines_fault(l, e,
		    "user %s: clear-text password; convert the file with: "
		    "hyco passwd --import %s",
		    line, l->file);
	case USERS_HASH_BAD:
		return lines_fault(l, e,
		    "user %s: %s; set it anew with: hyco passwd %s %s", line,
		    why.text, l->file, line);
	}
	if ((u->count & (u->count - 1)) == 0)
		u->entries = mem_grow(u->entries,
		    (u->count ? 2 * u->count : 1) * sizeof *u->entries);
	entry = &u->entries[u->count++];
	entry->name = mem_strdup(line);
	entry->hash = mem_strdup(colon + 1);
	entry->line = l->number;
	return true;
}

static bool
check_twice(const struct users *u, struct lines *l, struct err *e)
{
	const struct users_entry *x;
	size_t i;

	for (i = 1; i < u->count; i++) {
		x = &u->entries[i];
		if (strcmp(x->name, x[-1].name) != 0)
			continue;
		l->number = x->line;
		return lines_fault(
		    l, e, "user %s is in line %u already", x->name, x[-1].line);
	}
	return true;
}

/* The part of a hash that tells its kind and cost: up to the salt. */
static size_t
setting_len(const char *hash)
{
	const char *at = strchr(hash + 1, '$') + 1;

	if (hash[1] == 'y' || hash[1] == '2' || strncmp(at, "rounds=", 7) == 0)
		at = strchr(at, '$') + 1;
	return (size_t)(at - hash);
}

/* The first entry of the most common kind and cost; what an unknown user is
 * checked against, so that he costs what most others do. */
static const char *
find_typical(const struct users *u)
{
	struct {
		const char *hash;
		size_t count;
	} seen[32];
	size_t n = 0, best = 0, i, k;
	const char *hash;

	for (i = 0; i < u->count; i++) {
		hash = u->entries[i].hash;
		for (k = 0; k < n; k++)
			if (setting_len(hash) == setting_len(seen[k].hash) &&
			    memcmp(hash, seen[k].hash, setting_len(hash)) == 0)
				break;
		if (k == n && n == sizeof seen / sizeof seen[0])
			continue;
		if (k == n) {
			seen[n].hash = hash;
			seen[n++].count = 0;
		}
		if (++seen[k].count > seen[best].count)
			best = k;
	}
	return n ? seen[best].hash : NULL;
}

struct users *
users_parse(const char *text, size_t n, const char *name, struct err *e)
{
	struct users *u = mem_zalloc(sizeof *u);
	struct err fault = {.code = ERR_NONE};
	char line[USERS_LINE_MAX + 1];
	struct lines l;
	const char *at;

	u->refs = 1;
	if (n > USERS_FILE_MAX) {
		err_set(e, ERR_TOO_BIG,
		    "users file %s is larger than %zu bytes", name,
		    USERS_FILE_MAX);
		goto fail;
	}
	lines_init(&l, text, n, name, USERS_LINE_MAX);
	while (lines_next(&l, line, &fault)) {
		at = line + strspn(line, " \t");
		if (*at == '\0' || *at == '#')
			continue;
		if (!add_line(u, &l, line, &fault))
			break;
	}
	mem_wipe(line, sizeof line);
	if (fault.code != ERR_NONE) {
		if (e)
			*e = fault;
		goto fail;
	}
	if (u->count > 0)
		qsort(u->entries, u->count, sizeof *u->entries, compare);
	if (!check_twice(u, &l, e))
		goto fail;
	u->typical = find_typical(u);
	return u;
fail:
	users_unref(u);
	return NULL;
}

struct users *
users_load(const char *path, struct err *e)
{
	struct users *u;
	char *text;
	size_t n;

	/* Its hashes are for the owner and a group, never for everybody. */
	if (!lines_load(path, "users file", USERS_FILE_MAX, 07, &text, &n, e))
		return NULL;
	u = users_parse(text, n, path, e);
	mem_wipe(text, n);
	free(text);
	return u;
}

struct users *
users_ref(struct users *u)
{
	u->refs++;
	return u;
}

void
users_unref(struct users *u)
{
	size_t i;

	if (!u || --u->refs > 0)
		return;
	for (i = 0; i < u->count; i++) {
		free(u->entries[i].name);
		mem_free_secret(u->entries[i].hash);
	}
	free(u->entries);
	free(u);
}

size_t
users_count(const struct users *u)
{
	return u->count;
}

const char *
users_hash_of(const struct users *u, const char *name)
{
	size_t low = 0, high = u->count, middle;
	int order;

	while (low < high) {
		middle = low + (high - low) / 2;
		order = strcmp(name, u->entries[middle].name);
		if (order == 0)
			return u->entries[middle].hash;
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

bool
users_has(const struct users *u, const char *name)
{
	return users_hash_of(u, name) != NULL;
}

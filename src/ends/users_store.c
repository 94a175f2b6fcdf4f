/* SPDX-License-Identifier: MIT
 *
 * Checking names and passwords without letting anyone learn or take more than
 * he should. Three ideas:
 *
 * A trial is one name and password (and the hash they are held against) on its
 * way through the pool. Checks of the same three join it, so fifty connections
 * that open at once cost one hash.
 *
 * Each trial is held by the brakes of its name and its source (users_brake.h);
 * a name that does not exist is braked like one that does. A trial runs to its
 * end even when nobody waits for it any more, else hanging up early would save
 * a guesser the pause.
 *
 * The memory holds keyed hashes of what was right within the last minute. Its
 * key dies with the process, and the user's hash is part of what is hashed.
 *
 *     check: open -> [memory hit, busy] ----------------> answering -> done
 *                 -> joins a trial: waiting -> running -> answering -> done
 */
#include "ends/users.h"

#include <assert.h>
#include <crypt.h>
#include <stdlib.h>
#include <string.h>

#include "ends/users_brake.h"
#include "ends/users_table.h"
#include "net/loop.h"
#include "util/crypt.h"
#include "util/err.h"
#include "util/list.h"
#include "util/mem.h"

/* Remembered credentials: sets of a few, the oldest of a set gives way. */
#define MEMORY_SETS 256
#define MEMORY_WAYS 4

/* Checks that may hang on trials in all; each is a connection that waits. */
#define JOINED_MAX 4096

#define HASH_MAX 192 /* the longest crypt hash taken: yescrypt, 86 of salt */

struct memory {
	uint8_t mac[CRYPT_SHA256_SIZE];
	uint64_t until_ms; /* 0: free */
};

struct users_store {
	struct loop *loop;
	struct users *users;
	struct users_store_options options;
	uint8_t key[CRYPT_SHA256_SIZE];
	struct list trials; /* in order of arrival */
	unsigned waiting;
	unsigned running;
	unsigned joined;
	struct list answering; /* checks whose verdict is on its way */
	struct users_brakes brakes;
	struct timer pause;
	struct deferred next;
	struct memory memory[MEMORY_SETS][MEMORY_WAYS];
};

struct job {
	struct trial *trial; /* NULL: nobody wants the result */
	char hash[HASH_MAX];
	char password[USERS_PASSWORD_MAX + 1];
	bool is_known; /* false: the work is done for its duration only */
	bool is_right;
	struct crypt_data data;
};

struct trial {
	struct list link;
	struct users_store *store;
	uint8_t mac[CRYPT_SHA256_SIZE];
	char name[USERS_NAME_MAX + 1];
	char password[USERS_PASSWORD_MAX + 1];
	struct users_brake *by_name;
	struct users_brake *by_source; /* NULL: unknown */
	struct list checks;
	struct job *job; /* NULL: waiting */
	bool is_stale;   /* the users changed while it ran */
};

struct users_check {
	struct list link; /* of a trial or of store->answering */
	struct loop *loop;
	struct users_store *store; /* NULL when the store is gone or the
	                              verdict was given */
	struct trial *trial;
	struct deferred answer;
	enum users_verdict verdict;
	void (*on_done)(void *owner, enum users_verdict verdict);
	void *owner;
};

/* --- keyed hashes --- */

static void
credential_mac(const struct users_store *st, const char *name,
    const char *password, uint8_t mac[CRYPT_SHA256_SIZE])
{
	uint8_t text[USERS_NAME_MAX + USERS_PASSWORD_MAX + HASH_MAX + 3];
	const char *hash = users_hash_of(st->users, name);
	const char *parts[] = {name, password, hash ? hash : ""};
	size_t n = 0, len, i;

	for (i = 0; i < 3; i++) {
		len = strlen(parts[i]) + 1;
		assert(n + len <= sizeof text);
		memcpy(text + n, parts[i], len);
		n += len;
	}
	crypt_hmac_sha256(st->key, sizeof st->key, text, n, mac);
	mem_wipe(text, n);
}

/* --- the memory of what was right --- */

static struct memory *
memory_set(struct users_store *st, const uint8_t *mac)
{
	return st->memory[mac[0] % MEMORY_SETS];
}

static bool
is_remembered(struct users_store *st, const uint8_t *mac)
{
	struct memory *set = memory_set(st, mac);
	uint64_t now = loop_now_ms(st->loop);
	int i;

	for (i = 0; i < MEMORY_WAYS; i++)
		if (set[i].until_ms > now &&
		    crypt_is_equal(set[i].mac, mac, CRYPT_SHA256_SIZE))
			return true;
	return false;
}

static void
remember(struct users_store *st, const uint8_t *mac)
{
	struct memory *set = memory_set(st, mac), *oldest = set;
	int i;

	if (st->options.remember_nothing)
		return;
	for (i = 1; i < MEMORY_WAYS; i++)
		if (set[i].until_ms < oldest->until_ms)
			oldest = &set[i];
	memcpy(oldest->mac, mac, CRYPT_SHA256_SIZE);
	oldest->until_ms = loop_now_ms(st->loop) + st->options.remember_ms;
}

static bool
is_full(const struct users_store *st, const struct users_brake *b)
{
	return b && b->trials >= st->options.waiting_each_max;
}

/* --- verdicts --- */

static void
on_answer(void *owner)
{
	struct users_check *c = owner;

	list_remove(&c->link);
	c->store = NULL;
	c->on_done(c->owner, c->verdict);
}

static void
answer(struct users_check *c, enum users_verdict verdict)
{
	list_remove(&c->link);
	list_append(&c->store->answering, &c->link);
	c->trial = NULL;
	c->verdict = verdict;
	deferred_set(&c->answer);
}

static void
trial_free(void *object)
{
	struct trial *t = object;

	mem_wipe(t, sizeof *t);
	free(t);
}

/* Takes the trial out of all counts. */
static void
trial_drop(struct trial *t)
{
	struct users_store *st = t->store;

	list_remove(&t->link);
	t->by_name->trials--;
	if (t->by_source)
		t->by_source->trials--;
	if (t->job)
		st->running--;
	else
		st->waiting--;
	loop_bury(st->loop, t, trial_free);
}

/* --- work on the pool --- */

static void
job_run(void *object)
{
	struct job *j = object;
	const char *made;
	size_t n = strlen(j->hash);

	if (n > 0) {
		made = crypt_r(j->password, j->hash, &j->data);
		j->is_right = made && strlen(made) == n &&
		              crypt_is_equal(made, j->hash, n) && j->is_known;
	}
	mem_wipe(&j->data, sizeof j->data);
	mem_wipe(j->password, sizeof j->password);
}

/* Back from the pool. */
static void
trial_rest(struct trial *t)
{
	t->job = NULL;
	t->store->running--;
	t->store->waiting++;
	t->by_name->is_running = false;
	if (t->by_source)
		t->by_source->is_running = false;
}

/* The users changed while the hash was made: it says nothing about the new
 * ones. The trial goes first in the queue again. */
static void
trial_again(struct trial *t)
{
	struct users_store *st = t->store;

	trial_rest(t);
	t->is_stale = false;
	credential_mac(st, t->name, t->password, t->mac);
	list_remove(&t->link);
	list_prepend(&st->trials, &t->link);
	deferred_set(&st->next);
}

static void
trial_end(struct trial *t, bool is_right)
{
	struct users_store *st = t->store;
	uint64_t now = loop_now_ms(st->loop);
	struct list *at, *after;

	if (is_right) {
		remember(st, t->mac);
	} else {
		users_brake_pull(&st->brakes, t->by_name, now);
		if (t->by_source)
			users_brake_pull(&st->brakes, t->by_source, now);
	}
	LIST_EACH_SAFE (at, after, &t->checks) {
		st->joined--;
		answer(LIST_OF(at, struct users_check, link),
		    is_right ? USERS_RIGHT : USERS_WRONG);
	}
	trial_rest(t);
	trial_drop(t);
	deferred_set(&st->next);
}

static void
job_done(void *object)
{
	struct job *j = object;
	struct trial *t = j->trial;
	bool is_right = j->is_right;

	mem_wipe(j, sizeof *j);
	free(j);
	if (!t)
		return;
	if (t->is_stale)
		trial_again(t);
	else
		trial_end(t, is_right);
}

static void
trial_start(struct trial *t)
{
	struct users_store *st = t->store;
	struct job *j = mem_zalloc(sizeof *j);
	const char *hash = users_hash_of(st->users, t->name);

	j->is_known = hash != NULL;
	if (!hash)
		hash = st->users->typical ? st->users->typical : "";
	assert(strlen(hash) < sizeof j->hash);
	memcpy(j->hash, hash, strlen(hash) + 1);
	memcpy(j->password, t->password, sizeof j->password);
	j->trial = t;
	t->job = j;
	st->waiting--;
	st->running++;
	t->by_name->is_running = true;
	if (t->by_source)
		t->by_source->is_running = true;
	loop_work(st->loop, job_run, job_done, j);
}

/* --- the queue --- */

static uint64_t
trial_wait(const struct trial *t)
{
	uint64_t now = loop_now_ms(t->store->loop);
	uint64_t a = users_brake_wait(t->by_name, now);
	uint64_t b = users_brake_wait(t->by_source, now);

	return a > b ? a : b;
}

/* Starts what may start, in order; sleeps until the first pause ends. */
static void
on_next(void *owner)
{
	struct users_store *st = owner;
	uint64_t soonest = UINT64_MAX, wait;
	struct list *at, *after;
	struct trial *t;

	timer_clear(&st->pause);
	LIST_EACH_SAFE (at, after, &st->trials) {
		if (st->running >= st->options.running_max)
			return;
		t = LIST_OF(at, struct trial, link);
		if (t->job)
			continue;
		wait = trial_wait(t);
		if (wait == 0)
			trial_start(t);
		else if (wait < soonest)
			soonest = wait;
	}
	if (soonest != UINT64_MAX)
		timer_set(&st->pause, soonest - loop_now_ms(st->loop));
}

static struct trial *
trial_find(struct users_store *st, const uint8_t *mac)
{
	struct list *at;
	struct trial *t;

	LIST_EACH (at, &st->trials) {
		t = LIST_OF(at, struct trial, link);
		if (!t->is_stale && memcmp(t->mac, mac, CRYPT_SHA256_SIZE) == 0)
			return t;
	}
	return NULL;
}

/* NULL: too many wait. */
static struct trial *
trial_new(struct users_store *st, const char *name, const char *password,
    const char *source, const uint8_t *mac)
{
	struct users_brake *by_name, *by_source = NULL;
	struct trial *t;

	if (st->waiting >= st->options.waiting_max)
		return NULL;
	by_name = users_brake_get(&st->brakes, 'n', name);
	by_name->trials++; /* making the other must not take it away */
	if (source && source[0])
		by_source = users_brake_get(&st->brakes, 's', source);
	by_name->trials--;
	if (is_full(st, by_name) || is_full(st, by_source))
		return NULL;
	t = mem_zalloc(sizeof *t);
	t->store = st;
	t->by_name = by_name;
	t->by_source = by_source;
	by_name->trials++;
	if (by_source)
		by_source->trials++;
	memcpy(t->mac, mac, CRYPT_SHA256_SIZE);
	strcpy(t->name, name);
	strcpy(t->password, password);
	list_init(&t->checks);
	list_init(&t->link);
	list_append(&st->trials, &t->link);
	st->waiting++;
	deferred_set(&st->next);
	return t;
}

/* --- checks --- */

/* Joins or makes a trial; false when the queue is full. */
static bool
check_queue(struct users_check *c, const char *name, const char *password,
    const char *source, const uint8_t *mac)
{
	struct users_store *st = c->store;

	if (st->joined >= JOINED_MAX)
		return false;
	c->trial = trial_find(st, mac);
	if (!c->trial)
		c->trial = trial_new(st, name, password, source, mac);
	if (!c->trial)
		return false;
	list_append(&c->trial->checks, &c->link);
	st->joined++;
	return true;
}

struct users_check *
users_check_open(struct users_store *st, const char *name, const char *password,
    const char *source,
    void (*on_done)(void *owner, enum users_verdict verdict), void *owner)
{
	struct users_check *c = mem_zalloc(sizeof *c);
	uint8_t mac[CRYPT_SHA256_SIZE];

	c->loop = st->loop;
	c->store = st;
	c->on_done = on_done;
	c->owner = owner;
	list_init(&c->link);
	deferred_init(&c->answer, st->loop, on_answer, c);
	/* What cannot be in a file needs no hash to be known as wrong, and
	 * tells nothing about the file. */
	if (strlen(name) > USERS_NAME_MAX ||
	    strlen(password) > USERS_PASSWORD_MAX) {
		answer(c, USERS_WRONG);
		return c;
	}
	credential_mac(st, name, password, mac);
	if (is_remembered(st, mac))
		answer(c, USERS_RIGHT);
	else if (!check_queue(c, name, password, source, mac))
		answer(c, USERS_BUSY);
	return c;
}

void
users_check_close(struct users_check *c)
{
	struct trial *t = c->trial;

	assert(c->on_done);
	c->on_done = NULL;
	deferred_clear(&c->answer);
	list_remove(&c->link);
	if (t) {
		t->store->joined--;
		if (!t->job && list_is_empty(&t->checks))
			trial_drop(t);
	}
	loop_bury(c->loop, c, free);
}

/* --- the store --- */

static void
set_defaults(struct users_store_options *o)
{
	if (o->remember_ms == 0)
		o->remember_ms = 60000;
	if (o->running_max == 0)
		o->running_max = 2;
	if (o->waiting_max == 0)
		o->waiting_max = 64;
	if (o->waiting_max > USERS_BRAKES_MAX / 4)
		o->waiting_max = USERS_BRAKES_MAX / 4;
	if (o->waiting_each_max == 0)
		o->waiting_each_max = 8;
	if (o->pause_ms == 0)
		o->pause_ms = 100;
	if (o->pause_max_ms == 0)
		o->pause_max_ms = 2000;
}

struct users_store *
users_store_open(
    struct loop *l, struct users *u, const struct users_store_options *options)
{
	struct users_store *st = mem_zalloc(sizeof *st);

	st->loop = l;
	st->users = users_ref(u);
	if (options)
		st->options = *options;
	set_defaults(&st->options);
	crypt_random(st->key, sizeof st->key);
	list_init(&st->trials);
	list_init(&st->answering);
	users_brakes_init(
	    &st->brakes, st->options.pause_ms, st->options.pause_max_ms);
	timer_init(&st->pause, l, on_next, st);
	deferred_init(&st->next, l, on_next, st);
	return st;
}

void
users_store_set(struct users_store *st, struct users *u)
{
	struct list *at;
	struct trial *t;

	users_ref(u);
	users_unref(st->users);
	st->users = u;
	mem_wipe(st->memory, sizeof st->memory);
	LIST_EACH (at, &st->trials) {
		t = LIST_OF(at, struct trial, link);
		if (t->job)
			t->is_stale = true;
		else
			credential_mac(st, t->name, t->password, t->mac);
	}
}

bool
users_store_reload(struct users_store *st, const char *path, struct err *e)
{
	struct users *u = users_load(path, e);

	if (!u)
		return false;
	users_store_set(st, u);
	users_unref(u);
	return true;
}

const struct users *
users_store_users(const struct users_store *st)
{
	return st->users;
}

static void
store_free(void *object)
{
	struct users_store *st = object;

	users_unref(st->users);
	mem_wipe(st, sizeof *st);
	free(st);
}

static void
cut_loose(struct list *checks)
{
	struct list *at, *after;
	struct users_check *c;

	LIST_EACH_SAFE (at, after, checks) {
		c = LIST_OF(at, struct users_check, link);
		list_remove(&c->link);
		deferred_clear(&c->answer);
		c->store = NULL;
		c->trial = NULL;
	}
}

void
users_store_close(struct users_store *st)
{
	struct list *at, *after;
	struct trial *t;

	LIST_EACH_SAFE (at, after, &st->trials) {
		t = LIST_OF(at, struct trial, link);
		cut_loose(&t->checks);
		if (t->job)
			t->job->trial = NULL;
		trial_drop(t);
	}
	cut_loose(&st->answering);
	users_brakes_fini(&st->brakes);
	timer_clear(&st->pause);
	deferred_clear(&st->next);
	loop_bury(st->loop, st, store_free);
}

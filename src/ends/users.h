/* SPDX-License-Identifier: MIT
 *
 * Who may use a listener: a users file in htpasswd format, and the checking of
 * a name and password against it.
 *
 * The file: one `name:hash` a line; blank lines and lines that begin with #
 * are skipped; CR LF and a UTF-8 byte order mark are tolerated. Hashes are
 * those of crypt(5): yescrypt ($y$), bcrypt ($2a$ $2b$ $2y$), sha512-crypt
 * ($6$), sha256-crypt ($5$), each with a bounded cost, so that no file can
 * stall the thread pool (yescrypt cost 8, bcrypt 14, 500,000 rounds). Anything
 * else is refused with file:line: a clear-text
 * password, a name twice, an empty name, control bytes, a line or file too
 * long. A file that everybody on the machine may read or write is refused.
 *
 * struct users is one reading of the file: immutable and counted. A struct
 * users_store is the living part: it holds the users that count now, the
 * memory of passwords that were right a short while ago, and the brake on
 * guessing. It belongs to one loop.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct loop;
struct users;
struct users_check;
struct users_store;

#define USERS_FILE_MAX ((size_t)4 * 1024 * 1024)
#define USERS_LINE_MAX 1024
#define USERS_NAME_MAX 255
/* libxcrypt hashes at most this many bytes of a password. */
#define USERS_PASSWORD_MAX 511

/* --- one reading of the file --- */

/* Reads, checks and parses the file. ERR_NOT_FOUND, ERR_DENIED (unreadable, or
 * readable by everybody: the text has the chmod), ERR_TOO_BIG, ERR_USAGE
 * (file:line: reason). The caller owns one reference. */
struct users *users_load(const char *path, struct err *e);

/* The same from memory; `name` stands for the file in errors. Pure. */
struct users *users_parse(
    const char *text, size_t n, const char *name, struct err *e);

struct users *users_ref(struct users *u);
/* u may be NULL. */
void users_unref(struct users *u);

size_t users_count(const struct users *u);
bool users_has(const struct users *u, const char *name);

enum users_hash {
	USERS_HASH_GOOD,
	USERS_HASH_CLEAR, /* no hash at all: a clear-text password */
	USERS_HASH_BAD,   /* a hash of another kind, broken, or too costly */
};

/* What the second part of a line is. If not good, *e says why (ERR_USAGE),
 * without showing it. */
enum users_hash users_hash_judge(const char *text, struct err *e);

/* Whether a name may stand in a users file (not empty, no colon, no control
 * bytes, no blanks at its ends, UTF-8, not beginning with #). */
bool users_is_name(const char *name, struct err *e);

/* --- the store --- */

/* Zero in a field takes the value behind it. */
struct users_store_options {
	uint64_t remember_ms;      /* 60,000: how long a right password is
	                              known without hashing it again */
	bool remember_nothing;     /* every check hashes */
	unsigned running_max;      /* 2: checks on the pool at once; the pool
	                              also resolves names */
	unsigned waiting_max;      /* 64: checks that wait in all */
	unsigned waiting_each_max; /* 8: checks that wait or run for one name,
	                            and for one source */
	uint64_t pause_ms;     /* 100: the pause a name and a source get after
	                          a wrong password; doubled by each further
	                          one, to at most pause_max_ms; halved by 10
	                          quiet seconds */
	uint64_t pause_max_ms; /* 2,000 */
};

enum users_verdict {
	USERS_RIGHT,
	USERS_WRONG, /* no such user, or not that password: never told which */
	USERS_BUSY,  /* not looked at: too many checks wait */
};

/* u: a reference is taken. `options` may be NULL. */
struct users_store *users_store_open(
    struct loop *l, struct users *u, const struct users_store_options *options);

/* From now on these users count (a reference is taken); what was remembered is
 * forgotten, and checks under way are judged by the new users. For a reload:
 * users_load first; when that fails, keep what there is. */
void users_store_set(struct users_store *st, struct users *u);

/* users_load and, only when the file is good, users_store_set. */
bool users_store_reload(
    struct users_store *st, const char *path, struct err *e);

/* The users that count now; valid until the next set. */
const struct users *users_store_users(const struct users_store *st);

/* Its open checks are cut loose: they never report and still await their own
 * users_check_close. Hashes under way end unseen (loop_close waits for them).
 */
void users_store_close(struct users_store *st);

/* Starts a check of name and password (copied, and wiped when done; any bytes
 * are allowed, both are bounded). `source` is who asks, e.g. the sender's
 * address as the relay tells it; NULL or "" when unknown: then only the name
 * is braked. Calls on_done(owner, verdict) once, never before this returns.
 * An unknown name costs the same work as a known one. */
struct users_check *users_check_open(struct users_store *st, const char *name,
    const char *password, const char *source,
    void (*on_done)(void *owner, enum users_verdict verdict), void *owner);

/* Gives up, or acknowledges the verdict. Always due, once. */
void users_check_close(struct users_check *c);

/* SPDX-License-Identifier: MIT
 *
 * Every change has the same shape: lock the folder, read the whole file, build
 * the new content in memory, look at it as a listener would, write it beside
 * the old file and rename it into place. Lines that are not meant stay as they
 * are, byte for byte.
 */
#include "ends/users_file.h"

#include <crypt.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ends/users.h"
#include "util/buf.h"
#include "util/err.h"
#include "util/file.h"
#include "util/mem.h"

/* An open change: the folder's lock is held until change_end. */
struct change {
	const char *path; /* as it was given, for people */
	char real[PATH_MAX];
	char folder[PATH_MAX];
	int folder_fd;
	bool is_new;
	struct stat st;
	char *text; /* the old content, without a byte order mark */
	size_t n;
	struct buf out;
};

/* One line of the old content, with and without its end. */
struct line {
	unsigned number;
	const char *start;
	size_t n;    /* without its end */
	size_t full; /* with its end */
};

/* --- reading --- */

/* Links are followed, so that the file behind them is replaced. */
static bool
find_real(struct change *c, struct err *e)
{
	char copy[PATH_MAX];

	if (strlen(c->path) >= sizeof copy)
		return err_set(
		    e, ERR_USAGE, "%s: the path is too long", c->path);
	if (!realpath(c->path, c->real)) {
		if (errno != ENOENT)
			return err_set_errno(
			    e, ERR_SYSTEM, errno, "users file %s", c->path);
		if (lstat(c->path, &c->st) == 0)
			return err_set(e, ERR_NOT_FOUND,
			    "users file %s is a link to nothing", c->path);
		c->is_new = true;
		strcpy(c->real, c->path);
	}
	strcpy(copy, c->real);
	strcpy(c->folder, dirname(copy));
	return true;
}

static bool
lock_folder(struct change *c, struct err *e)
{
	c->folder_fd = open(c->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (c->folder_fd < 0)
		return err_set_errno(e,
		    errno == ENOENT ? ERR_NOT_FOUND : ERR_SYSTEM, errno,
		    "folder %s of users file %s", c->folder, c->path);
	while (flock(c->folder_fd, LOCK_EX) != 0)
		if (errno != EINTR)
			return err_set_errno(e, ERR_SYSTEM, errno,
			    "cannot lock folder %s", c->folder);
	return true;
}

static bool
read_fd(struct change *c, int fd, struct err *e)
{
	ssize_t got;

	if (fstat(fd, &c->st) != 0)
		return err_set_errno(
		    e, ERR_SYSTEM, errno, "users file %s", c->path);
	if (!S_ISREG(c->st.st_mode))
		return err_set(
		    e, ERR_USAGE, "users file %s is not a plain file", c->path);
	c->text = mem_alloc(USERS_FILE_MAX + 1);
	while (c->n <= USERS_FILE_MAX) {
		got = read(fd, c->text + c->n, USERS_FILE_MAX + 1 - c->n);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_set_errno(e, ERR_SYSTEM, errno,
			    "cannot read users file %s", c->path);
		if (got == 0)
			break;
		c->n += (size_t)got;
	}
	if (c->n > USERS_FILE_MAX)
		return err_set(e, ERR_TOO_BIG,
		    "users file %s is larger than %zu bytes", c->path,
		    USERS_FILE_MAX);
	if (c->n >= 3 && memcmp(c->text, "\xef\xbb\xbf", 3) == 0) {
		memmove(c->text, c->text + 3, c->n - 3);
		c->n -= 3;
	}
	return true;
}

static bool
read_old(struct change *c, struct err *e)
{
	int fd = open(c->real, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	bool good;

	if (fd < 0 && errno == ENOENT) {
		c->is_new = true;
		return true;
	}
	if (fd < 0)
		return err_set_errno(e,
		    errno == EACCES ? ERR_DENIED : ERR_SYSTEM, errno,
		    "cannot read users file %s", c->path);
	c->is_new = false;
	good = read_fd(c, fd, e);
	close(fd);
	return good;
}

static bool
change_begin(struct change *c, const char *path, struct err *e)
{
	memset(c, 0, sizeof *c);
	c->path = path;
	c->folder_fd = -1;
	buf_init(&c->out, 2 * USERS_FILE_MAX);
	return find_real(c, e) && lock_folder(c, e) && read_old(c, e);
}

static void
change_end(struct change *c)
{
	if (c->text)
		mem_wipe(c->text, c->n);
	free(c->text);
	if (buf_len(&c->out) > 0)
		mem_wipe(buf_data(&c->out), buf_len(&c->out));
	buf_fini(&c->out);
	if (c->folder_fd >= 0)
		close(c->folder_fd);
}

/* --- writing --- */

/* The old file's mode without the rights of everybody, and its owner; where
 * the group cannot be kept its rights go, too. */
static bool
take_rights(const struct change *c, int fd)
{
	mode_t mode = c->is_new ? 0600 : c->st.st_mode & 0770;

	if (!c->is_new && fchown(fd, c->st.st_uid, c->st.st_gid) != 0 &&
	    fchown(fd, (uid_t)-1, c->st.st_gid) != 0)
		mode &= 0700;
	return fchmod(fd, mode) == 0;
}

static bool
change_write(struct change *c, struct err *e)
{
	char temp[PATH_MAX + 32];
	int fd, number;
	bool good;

	snprintf(temp, sizeof temp, "%s/.hyco-users.XXXXXX", c->folder);
	fd = mkostemp(temp, O_CLOEXEC);
	if (fd < 0)
		return err_set_errno(e,
		    errno == EACCES ? ERR_DENIED : ERR_SYSTEM, errno,
		    "cannot write in folder %s", c->folder);
	good = take_rights(c, fd) &&
	       file_write_all(fd, buf_data(&c->out), buf_len(&c->out));
	number = errno;
	if (close(fd) != 0 && good) {
		number = errno;
		good = false;
	}
	if (good && rename(temp, c->real) != 0) {
		number = errno;
		good = false;
	}
	if (!good) {
		(void)unlink(temp);
		return err_set_errno(e, ERR_SYSTEM, number,
		    "cannot write users file %s", c->path);
	}
	(void)fsync(c->folder_fd);
	return true;
}

/* --- lines --- */

static void
put(struct change *c, const char *text, size_t n)
{
	/* The limit is twice what a file may hold; a larger result is refused
	 * when it is looked at. */
	(void)buf_append(&c->out, text, n);
}

/* Lines end at LF, CR LF or a lone CR. */
static bool
next_line(const struct change *c, struct line *l)
{
	const char *end = c->text + c->n;

	l->start = l->number++ ? l->start + l->full : c->text;
	if (!l->start || l->start == end)
		return false;
	for (l->n = 0; l->start + l->n < end; l->n++)
		if (l->start[l->n] == '\n' || l->start[l->n] == '\r')
			break;
	l->full = l->n;
	if (l->start + l->full < end && l->start[l->full] == '\r')
		l->full++;
	if (l->start + l->full < end && l->start[l->full] == '\n' &&
	    l->full <= l->n + 1)
		l->full++;
	return true;
}

static bool
is_comment(const struct line *l)
{
	size_t i = 0;

	while (i < l->n && (l->start[i] == ' ' || l->start[i] == '\t'))
		i++;
	return i == l->n || l->start[i] == '#';
}

static bool
is_of(const struct line *l, const char *name)
{
	size_t n = strlen(name);

	return !is_comment(l) && l->n > n && l->start[n] == ':' &&
	       memcmp(l->start, name, n) == 0;
}

static bool
make_hash(const char *password, struct crypt_data *data, struct err *e)
{
	char setting[CRYPT_GENSALT_OUTPUT_SIZE];

	if (!crypt_gensalt_rn("$y$", 0, NULL, 0, setting, sizeof setting))
		return err_set_errno(
		    e, ERR_SYSTEM, errno, "crypt(3) makes no yescrypt hashes");
	memset(data, 0, sizeof *data);
	if (!crypt_r(password, setting, data) || data->output[0] == '*')
		return err_set(
		    e, ERR_SYSTEM, "crypt(3) refused to hash the password");
	return true;
}

/* Appends "name:hash". */
static bool
put_user(
    struct change *c, const char *name, const char *password, struct err *e)
{
	struct crypt_data *data = mem_alloc(sizeof *data);
	bool good = make_hash(password, data, e);

	if (good) {
		put(c, name, strlen(name));
		put(c, ":", 1);
		put(c, data->output, strlen(data->output));
	}
	mem_wipe(data, sizeof *data);
	free(data);
	return good;
}

/* The new content must be one that a listener takes. */
static bool
check_result(struct change *c, struct err *e)
{
	struct users *u = users_parse(
	    (const char *)buf_data(&c->out), buf_len(&c->out), c->path, e);

	users_unref(u);
	return u != NULL;
}

/* --- set and remove --- */

static bool
is_password(const char *password, struct err *e)
{
	size_t n = strlen(password);

	if (n == 0)
		return err_set(e, ERR_USAGE, "the password is empty");
	if (n > USERS_PASSWORD_MAX)
		return err_set(e, ERR_USAGE,
		    "the password is longer than %d bytes", USERS_PASSWORD_MAX);
	return true;
}

/* False when hashing failed. */
static bool
put_changed(struct change *c, const char *name, const char *password,
    bool *found, struct err *e)
{
	struct line l = {.number = 0};

	*found = false;
	while (next_line(c, &l)) {
		if (!is_of(&l, name)) {
			put(c, l.start, l.full);
			continue;
		}
		*found = true;
		if (!put_user(c, name, password, e))
			return false;
		put(c, l.start + l.n, l.full - l.n);
	}
	if (*found)
		return true;
	if (c->n > 0 && c->text[c->n - 1] != '\n')
		put(c, "\n", 1);
	if (!put_user(c, name, password, e))
		return false;
	put(c, "\n", 1);
	return true;
}

enum users_file_set_result
users_file_set(
    const char *path, const char *name, const char *password, struct err *e)
{
	struct change c;
	bool found = false, good;

	if (!users_is_name(name, e) || !is_password(password, e))
		return USERS_FILE_FAILED;
	good = change_begin(&c, path, e) &&
	       put_changed(&c, name, password, &found, e) &&
	       check_result(&c, e) && change_write(&c, e);
	change_end(&c);
	if (!good)
		return USERS_FILE_FAILED;
	return found ? USERS_FILE_CHANGED : USERS_FILE_ADDED;
}

static bool
put_without(struct change *c, const char *name, struct err *e)
{
	struct line l = {.number = 0};
	bool found = false;

	if (c->is_new)
		return err_set(
		    e, ERR_NOT_FOUND, "there is no users file %s", c->path);
	while (next_line(c, &l)) {
		if (is_of(&l, name))
			found = true;
		else
			put(c, l.start, l.full);
	}
	return found || err_set(e, ERR_NOT_FOUND,
	                    "users file %s has no user %s", c->path, name);
}

bool
users_file_remove(const char *path, const char *name, struct err *e)
{
	struct change c;
	bool good;

	if (!users_is_name(name, e))
		return false;
	good = change_begin(&c, path, e) && put_without(&c, name, e) &&
	       change_write(&c, e);
	change_end(&c);
	return good;
}

/* --- import --- */

/* What a line of a clear-text file is worth. NULL: it counts, and *name and
 * *secret are its parts; else the reason why not. They are cut out of `copy`.
 */
static const char *
judge_line(const struct line *l, char copy[USERS_LINE_MAX + 1], char **name,
    char **secret, struct err *why)
{
	char *colon;

	if (l->n > USERS_LINE_MAX)
		return "the line is too long";
	memcpy(copy, l->start, l->n);
	copy[l->n] = '\0';
	if (strlen(copy) != l->n)
		return "the line holds a NUL byte";
	colon = strchr(copy, ':');
	if (!colon)
		return "there is no colon; a line is name:password";
	if (strchr(colon + 1, ':'))
		return "there is more than one colon; set this user with "
		       "hyco passwd FILE NAME";
	*colon = '\0';
	*name = copy;
	*secret = colon + 1;
	if (!users_is_name(*name, why))
		return why->text;
	if (users_hash_judge(*secret, why) == USERS_HASH_BAD)
		return why->text;
	if (!is_password(*secret, why))
		return why->text;
	return NULL;
}

/* The number of the last line that counts for the name, from line l on. */
static unsigned
last_line_of(const struct change *c, const struct line *from, const char *name)
{
	char copy[USERS_LINE_MAX + 1], *other, *secret;
	struct line l = *from;
	unsigned last = l.number;
	struct err why;

	while (next_line(c, &l))
		if (is_of(&l, name) &&
		    !judge_line(&l, copy, &other, &secret, &why))
			last = l.number;
	mem_wipe(copy, sizeof copy);
	return last;
}

struct import {
	struct change *change;
	struct users_file_import *result;
	void (*on_skip)(void *owner, unsigned line, const char *reason);
	void *owner;
};

static void
skip_line(struct import *im, const struct line *l, const char *reason)
{
	char text[ERR_TEXT_MAX + 80];

	snprintf(text, sizeof text, "# line %u left out by import: %s",
	    l->number, reason);
	put(im->change, text, strlen(text));
	im->result->skipped++;
	if (im->on_skip)
		im->on_skip(im->owner, l->number, reason);
}

static bool
import_line(struct import *im, const struct line *l, struct err *e)
{
	char copy[USERS_LINE_MAX + 1], *name, *secret, again[80];
	const char *reason;
	struct err why;
	unsigned last;
	bool good = true;

	reason = judge_line(l, copy, &name, &secret, &why);
	if (!reason) {
		last = last_line_of(im->change, l, name);
		snprintf(again, sizeof again,
		    "the user is named again in line %u, which counts", last);
		if (last != l->number)
			reason = again;
	}
	if (reason) {
		skip_line(im, l, reason);
	} else if (users_hash_judge(secret, NULL) == USERS_HASH_GOOD) {
		put(im->change, l->start, l->n);
		im->result->kept++;
	} else {
		good = put_user(im->change, name, secret, e);
		im->result->converted++;
	}
	mem_wipe(copy, sizeof copy);
	return good;
}

static bool
import_all(struct import *im, struct err *e)
{
	struct change *c = im->change;
	struct line l = {.number = 0};

	if (c->is_new)
		return err_set(
		    e, ERR_NOT_FOUND, "there is no users file %s", c->path);
	while (next_line(c, &l)) {
		if (is_comment(&l))
			put(c, l.start, l.n);
		else if (!import_line(im, &l, e))
			return false;
		/* A lone CR separates lines only in the old format. */
		if (l.full == l.n + 1 && l.start[l.n] == '\r')
			put(c, "\n", 1);
		else
			put(c, l.start + l.n, l.full - l.n);
	}
	return true;
}

bool
users_file_import(const char *path, struct users_file_import *result,
    void (*on_skip)(void *owner, unsigned line, const char *reason),
    void *owner, struct err *e)
{
	struct change c;
	struct import im = {&c, result, on_skip, owner};
	bool good;

	memset(result, 0, sizeof *result);
	good = change_begin(&c, path, e) && import_all(&im, e) &&
	       check_result(&c, e);
	if (good && result->converted + result->skipped > 0)
		good = change_write(&c, e);
	change_end(&c);
	return good;
}

/* SPDX-License-Identifier: MIT
 *
 * A file is opened without blocking and looked at before it is read, so that
 * a FIFO or a device given by mistake cannot hang a reload.
 */
#include "ends/lines.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/err.h"
#include "util/mem.h"

static bool
judge_file(int fd, const char *path, const char *what, unsigned forbidden,
    struct err *e)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return err_set_errno(e, ERR_SYSTEM, errno, "%s %s", what, path);
	if (!S_ISREG(st.st_mode))
		return err_set(
		    e, ERR_USAGE, "%s %s is not a plain file", what, path);
	if (st.st_mode & forbidden & 04)
		return err_set(e, ERR_DENIED,
		    "%s %s can be read by everybody on this machine; "
		    "mend it with: chmod o-rwx %s",
		    what, path, path);
	if (st.st_mode & forbidden)
		return err_set(e, ERR_DENIED,
		    "%s %s can be changed by everybody on this machine; "
		    "mend it with: chmod o-w %s",
		    what, path, path);
	return true;
}

static bool
read_all(int fd, char *text, size_t room, size_t *n)
{
	ssize_t got;

	for (*n = 0; *n < room; *n += (size_t)got) {
		do
			got = read(fd, text + *n, room - *n);
		while (got < 0 && errno == EINTR);
		if (got < 0)
			return false;
		if (got == 0)
			break;
	}
	return true;
}

static enum err_code
open_code(int number)
{
	if (number == ENOENT || number == ENOTDIR)
		return ERR_NOT_FOUND;
	if (number == EACCES || number == EPERM)
		return ERR_DENIED;
	return ERR_SYSTEM;
}

bool
lines_load(const char *path, const char *what, size_t max, unsigned forbidden,
    char **text, size_t *n, struct err *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	char *room;

	if (fd < 0)
		return err_set_errno(e, open_code(errno), errno,
		    "cannot read %s %s", what, path);
	if (!judge_file(fd, path, what, forbidden, e)) {
		close(fd);
		return false;
	}
	room = mem_alloc(max + 1);
	if (!read_all(fd, room, max + 1, n)) {
		err_set_errno(
		    e, ERR_SYSTEM, errno, "cannot read %s %s", what, path);
		goto fail;
	}
	if (*n > max) {
		err_set(e, ERR_TOO_BIG, "%s %s is larger than %zu bytes", what,
		    path, max);
		goto fail;
	}
	close(fd);
	room[*n] = '\0';
	*text = mem_alloc(*n + 1);
	memcpy(*text, room, *n + 1);
	mem_wipe(room, *n);
	free(room);
	return true;
fail:
	close(fd);
	mem_wipe(room, *n);
	free(room);
	return false;
}

void
lines_init(
    struct lines *l, const char *text, size_t n, const char *file, size_t max)
{
	if (n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
		text += 3;
		n -= 3;
	}
	*l = (struct lines){
	    .at = text, .end = text + n, .file = file, .max = max};
}

bool
lines_next(struct lines *l, char *out, struct err *e)
{
	const char *stop;
	size_t n;

	if (l->at == l->end)
		return false;
	l->number++;
	stop = memchr(l->at, '\n', (size_t)(l->end - l->at));
	n = (size_t)((stop ? stop : l->end) - l->at);
	if (n > 0 && l->at[n - 1] == '\r')
		n--;
	if (n > l->max)
		return lines_fault(
		    l, e, "the line is longer than %zu bytes", l->max);
	if (memchr(l->at, '\0', n))
		return lines_fault(l, e, "the line holds a NUL byte");
	memcpy(out, l->at, n);
	out[n] = '\0';
	l->at = stop ? stop + 1 : l->end;
	return true;
}

bool
lines_fault(const struct lines *l, struct err *e, const char *format, ...)
{
	char text[ERR_TEXT_MAX];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof text, format, args);
	va_end(args);
	return err_set(e, ERR_USAGE, "%s:%u: %s", l->file, l->number, text);
}

/* SPDX-License-Identifier: MIT
 *
 * Small files read whole, and what is asked of a file that holds a secret. The
 * check is made on the opened descriptor, so that what was checked is what is
 * read.
 */
#include "cli/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/err.h"
#include "util/file.h"
#include "util/mem.h"

bool
secret_check_mode(const char *path, mode_t mode, struct err *e)
{
	if (!S_ISREG(mode) || !(mode & (S_IROTH | S_IWOTH)))
		return true;
	return err_set(e, ERR_DENIED,
	    "%s holds a secret and everybody on this machine may %s it; run: "
	    "chmod 600 %s",
	    path, mode & S_IROTH ? "read" : "change", path);
}

static bool
open_failed(const char *path, struct err *e)
{
	const int number = errno;

	if (number == ENOENT)
		return err_set(e, ERR_NOT_FOUND, "%s: no such file", path);
	if (number == EACCES)
		return err_set(e, ERR_SYSTEM,
		    "%s: permission denied; may this user read it?", path);
	return err_set_errno(e, ERR_SYSTEM, number, "%s", path);
}

/* Reads to the end into text, which has room for most + 1 bytes. */
static bool
read_all(int fd, const char *path, char *text, size_t most, struct err *e)
{
	size_t used = 0;

	for (;;) {
		const ssize_t n = read(fd, text + used, most + 1 - used);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_set_errno(e, ERR_SYSTEM, errno, "%s", path);
		if (n == 0)
			break;
		used += (size_t)n;
		if (used > most)
			return err_set(e, ERR_TOO_BIG,
			    "%s is longer than %zu bytes", path, most);
	}
	text[used] = '\0';
	if (strlen(text) != used)
		return err_set(e, ERR_USAGE,
		    "%s holds a NUL byte; is it the right file?", path);
	return true;
}

char *
secret_read_text(const char *path, size_t most, mode_t *mode, struct err *e)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	char *text;
	bool ok;

	if (fd < 0) {
		open_failed(path, e);
		return NULL;
	}
	if (fstat(fd, &st) < 0) {
		err_set_errno(e, ERR_SYSTEM, errno, "%s", path);
		close(fd);
		return NULL;
	}
	if (mode)
		*mode = st.st_mode;
	text = mem_zalloc(most + 2);
	ok = read_all(fd, path, text, most, e);
	close(fd);
	if (ok)
		return text;
	mem_wipe(text, most + 2);
	free(text);
	return NULL;
}

char *
secret_read_line(const char *path, struct err *e)
{
	mode_t mode = 0;
	char *text = secret_read_text(path, SECRET_FILE_MAX, &mode, e);
	size_t n;

	if (!text)
		return NULL;
	if (!secret_check_mode(path, mode, e)) {
		mem_free_secret(text);
		return NULL;
	}
	n = strcspn(text, "\r\n");
	if (text[n + strspn(text + n, " \t\r\n")]) {
		err_set(e, ERR_USAGE,
		    "%s has more than one line; it should hold the secret "
		    "alone",
		    path);
		mem_free_secret(text);
		return NULL;
	}
	if (n == 0) {
		err_set(e, ERR_USAGE, "%s is empty", path);
		mem_free_secret(text);
		return NULL;
	}
	text[n] = '\0';
	return text;
}

char *
secret_resolve(const char *text, const char *folder, struct err *e)
{
	char *path;
	char *line;

	if (text[0] != '@')
		return mem_strdup(text);
	if (!text[1]) {
		err_set(e, ERR_USAGE, "a file name is missing behind @");
		return NULL;
	}
	if (folder && text[1] != '/')
		path = mem_printf("%s/%s", folder, text + 1);
	else
		path = mem_strdup(text + 1);
	line = secret_read_line(path, e);
	free(path);
	return line;
}

bool
secret_write(const char *path, const char *text, struct err *e)
{
	char *temporary = mem_printf("%s.new-%ld", path, (long)getpid());
	int fd;
	bool ok;

	unlink(temporary);
	fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	ok = fd >= 0 && file_write_all(fd, text, strlen(text));
	if (fd >= 0)
		ok = close(fd) == 0 && ok;
	ok = ok && rename(temporary, path) == 0;
	if (!ok) {
		err_set_errno(e, ERR_SYSTEM, errno, "cannot write %s", path);
		if (fd >= 0)
			unlink(temporary);
	}
	free(temporary);
	return ok;
}

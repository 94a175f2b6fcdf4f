/* SPDX-License-Identifier: MIT
 *
 * Pid files. A process id is reused by the system sooner or later, so a signal
 * goes only to a process whose program file is named as ours; it is sent
 * through a pidfd that was opened before the check, so that the process which
 * was checked is the one that gets it.
 */
#include "cli/pidfile.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cli/secret.h"
#include "util/err.h"
#include "util/mem.h"
#include "util/text.h"

#define KILL_WAIT_MS 10000
#define COMM_MAX 15 /* the kernel cuts the name of a process */

char *
pidfile_path(const char *name)
{
	const size_t n = strlen(name);

	if (n >= 4 && text_is_equal_nocase(name + n - 4, ".pid"))
		return mem_strdup(name);
	return mem_printf("%s.pid", name);
}

static bool
read_pid(const char *path, long *pid, struct err *e)
{
	char *text = secret_read_text(path, 64, NULL, e);
	uint64_t number;
	bool ok;

	if (!text)
		return false;
	ok = text_parse_u64(text_trim(text), 1, 0x7fffffff, &number);
	free(text);
	if (!ok)
		return err_set(e, ERR_USAGE, "%s holds no process id", path);
	*pid = (long)number;
	return true;
}

/* The name by which a process was started, cut at 15 bytes: all that is told
 * of a process in its sandbox to others than root. */
static void
name_of(long pid, char out[256])
{
	char path[64];
	FILE *f;

	out[0] = '\0';
	snprintf(path, sizeof path, "/proc/%ld/comm", pid);
	f = fopen(path, "re");
	if (!f)
		return;
	if (!fgets(out, 256, f))
		out[0] = '\0';
	out[strcspn(out, "\n")] = '\0';
	fclose(f);
}

/* The name of the program file a process runs; "" when it cannot be told. */
static void
program_of(long pid, char out[256])
{
	char link[64];
	char path[4096];
	const char *base;
	char *deleted;
	ssize_t n;

	snprintf(link, sizeof link, "/proc/%ld/exe", pid);
	n = readlink(link, path, sizeof path - 1);
	if (n < 0 && (errno == EACCES || errno == EPERM)) {
		name_of(pid, out);
		return;
	}
	path[n > 0 ? n : 0] = '\0';
	/* An upgraded program's file is gone, but it is still ours. */
	deleted = strstr(path, " (deleted)");
	if (deleted)
		*deleted = '\0';
	base = strrchr(path, '/');
	snprintf(out, 256, "%.255s", base ? base + 1 : path);
}

static bool
is_hyco(long pid)
{
	char theirs[256];
	char ours[256];

	program_of(pid, theirs);
	program_of((long)getpid(), ours);
	return theirs[0] && (strncmp(theirs, ours, COMM_MAX) == 0 ||
	                        strcmp(theirs, "hyco") == 0);
}

bool
pidfile_write(const char *name, struct err *e)
{
	char *path = pidfile_path(name);
	struct err ignored;
	long pid = 0;
	bool ok;

	if (read_pid(path, &pid, &ignored) && pid != (long)getpid() &&
	    is_hyco(pid)) {
		err_set(e, ERR_USAGE,
		    "%s: hyco is running already as process %ld; end it with "
		    "--kill %s",
		    path, pid, name);
		free(path);
		return false;
	}
	char *text = mem_printf("%ld\n", (long)getpid());
	ok = secret_write(path, text, e);
	free(text);
	free(path);
	return ok;
}

void
pidfile_remove(const char *name)
{
	char *path = pidfile_path(name);
	long pid = 0;

	if (read_pid(path, &pid, NULL) && pid == (long)getpid())
		unlink(path);
	free(path);
}

/* Ends the process behind pidfd and waits for it. */
static bool
end_process(int fd, long pid, struct err *e)
{
	struct pollfd gone = {.fd = fd, .events = POLLIN};
	int n;

	if (syscall(SYS_pidfd_send_signal, fd, SIGTERM, NULL, 0) < 0) {
		if (errno == ESRCH)
			return true;
		if (errno == EPERM)
			return err_set(e, ERR_DENIED,
			    "process %ld belongs to another user", pid);
		return err_set_errno(
		    e, ERR_SYSTEM, errno, "cannot end process %ld", pid);
	}
	do {
		n = poll(&gone, 1, KILL_WAIT_MS);
	} while (n < 0 && errno == EINTR);
	if (n > 0)
		return true;
	return err_set(e, ERR_SYSTEM,
	    "process %ld is still there %d s after SIGTERM", pid,
	    KILL_WAIT_MS / 1000);
}

static bool
kill_pid(const char *path, long pid, struct err *e)
{
	const int fd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
	bool ok;

	if (fd < 0 && errno == ESRCH) {
		unlink(path);
		return err_set(e, ERR_NOT_FOUND,
		    "process %ld of %s has ended already; the file is removed",
		    pid, path);
	}
	if (fd < 0)
		return err_set_errno(
		    e, ERR_SYSTEM, errno, "cannot find process %ld", pid);
	if (!is_hyco(pid)) {
		close(fd);
		return err_set(e, ERR_SYSTEM,
		    "process %ld of %s is not hyco; the file is stale: remove "
		    "it",
		    pid, path);
	}
	ok = end_process(fd, pid, e);
	close(fd);
	if (ok)
		unlink(path);
	return ok;
}

bool
pidfile_kill(const char *name, long *pid, struct err *e)
{
	char *path = pidfile_path(name);
	const bool ok = read_pid(path, pid, e) && kill_pid(path, *pid, e);

	free(path);
	return ok;
}

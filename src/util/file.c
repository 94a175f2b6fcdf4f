/* SPDX-License-Identifier: MIT
 *
 * write(2) may take less than it was given, and a signal may come between.
 */
#include "util/file.h"

#include <errno.h>
#include <unistd.h>

bool
file_write_all(int fd, const void *data, size_t n)
{
	const char *at = data;

	while (n > 0) {
		ssize_t put = write(fd, at, n);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return false;
		at += put;
		n -= (size_t)put;
	}
	return fsync(fd) == 0;
}

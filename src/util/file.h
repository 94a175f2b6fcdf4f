/* SPDX-License-Identifier: MIT
 *
 * Writing files so that they are whole: the part that every writer shares.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

/* Writes all n bytes, however many calls it takes, and brings them to the disk
 * (fsync). False with errno set; the descriptor stays the caller's. */
bool file_write_all(int fd, const void *data, size_t n);

/* SPDX-License-Identifier: MIT
 *
 * Questions on the terminal that standard input is. Blocking: for the command
 * line before and between runs of the loop. The terminal is given back as it
 * was on every way out, signals included.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct err;

/* Prints the text to the terminal and reads a line (without its end) into out.
 * is_hidden: typing is not shown. ERR_SYSTEM: end of input, or a signal that
 * ends programs came (`*signal_number`, else 0): the caller cleans up.
 * ERR_TOO_BIG: the line does not fit. */
bool prompt_line(const char *text, bool is_hidden, char *out, size_t size,
    int *signal_number, struct err *e);

/* Whether there is somebody to ask. */
bool prompt_is_possible(void);

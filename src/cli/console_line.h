/* SPDX-License-Identifier: MIT
 *
 * A line of the console split into words, as a shell does: blanks part words,
 * '...' keeps everything, "..." keeps all but \" and \\, a backslash keeps the
 * next character, # at the start of a word begins a comment. Pure.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct err;

#define CONSOLE_LINE_MAX 1024
#define CONSOLE_LINE_WORDS 16

struct console_line {
	size_t n;
	char *words[CONSOLE_LINE_WORDS + 1]; /* into text; NULL behind them */
	char text[CONSOLE_LINE_MAX + 1];
};

/* Without the line's end. An empty line has no words. ERR_USAGE: too long, too
 * many words, a quote that is not closed, control bytes; with the column. */
bool console_line_parse(
    struct console_line *line, const char *text, size_t n, struct err *e);

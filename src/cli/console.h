/* SPDX-License-Identifier: MIT
 *
 * A line on the terminal that is edited while the loop goes on: prompt,
 * history, completion, by libedit. What others print meanwhile (the log) does
 * not garble it. The terminal is as it was when the console is closed. There
 * can be one console at a time.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct console;
struct err;
struct loop;

struct console_events {
	/* A line was entered, without its end. The prompt is away during the
	 * call. */
	void (*on_line)(void *owner, const char *text, size_t n);
	/* Ctrl-D at an empty line, or the terminal is gone. */
	void (*on_end)(void *owner);
	/* Calls add(arg, candidate) for every word that may stand behind
	 * text[0..n); those that do not fit what is typed are dropped. */
	void (*complete)(void *owner, const char *text, size_t n,
	    void (*add)(void *arg, const char *candidate), void *arg);
};

/* Standard input and output must be a terminal. history_file is copied; NULL:
 * none is kept. NULL and *e (ERR_SYSTEM). */
struct console *console_open(struct loop *l, const char *history_file,
    const struct console_events *events, void *owner, struct err *e);

/* From the next line on; inside on_line for the line that follows. */
void console_set_prompt(struct console *c, const char *prompt);

/* Takes the prompt and what is typed away (true) and puts it back, for
 * printing in between. */
void console_hide(struct console *c, bool hide);

/* Ctrl-C: drops what is typed. False when nothing was. */
bool console_interrupt(struct console *c);

/* The window has another size; the process goes on after a stop. */
void console_resize(struct console *c);
void console_continue(struct console *c);

void console_close(struct console *c);

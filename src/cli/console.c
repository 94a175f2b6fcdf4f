/* SPDX-License-Identifier: MIT
 *
 * The terminal's side of the console. libedit runs unbuffered: each time the
 * terminal has input it digests what is there and returns, and when the line
 * ends in a newline it is complete. Leaving and entering that mode resets the
 * line and gives the terminal back in between, so it is left around every
 * command.
 */
#include "cli/console.h"

#include <histedit.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "net/loop.h"
#include "util/err.h"
#include "util/log.h"
#include "util/mem.h"

#define HISTORY_LINES 1000
#define CANDIDATES_MAX 64
#define CANDIDATE_SIZE 64

struct console {
	struct loop *loop;
	const struct console_events *events;
	void *owner;
	struct watch *watch;
	EditLine *editor;
	History *history;
	char *history_file;
	char prompt[64];
	struct termios before; /* as we found the terminal */
	struct termios editing;
	bool is_editing; /* libedit has the terminal */
	bool is_hidden;
	bool can_clear; /* the terminal knows the escape sequence for it */
	bool at_end;
	bool closing;
};

/* The log's hook takes no argument. */
static struct console *current;

/* Made once for the process and kept: el_end forgets the names of the keys'
 * functions without freeing them. */
static EditLine *kept_editor;

static void
around_log(bool before)
{
	if (current)
		console_hide(current, before);
}

static char *
prompt_text(EditLine *editor)
{
	struct console *c = NULL;

	el_get(editor, EL_CLIENTDATA, &c);
	return c->prompt;
}

static void
start_editing(struct console *c)
{
	if (c->is_editing)
		return;
	c->is_editing = true;
	c->is_hidden = false;
	el_set(c->editor, EL_UNBUFFERED, 1);
	tcgetattr(STDIN_FILENO, &c->editing);
}

static void
stop_editing(struct console *c)
{
	if (!c->is_editing)
		return;
	c->is_editing = false;
	el_set(c->editor, EL_UNBUFFERED, 0);
}

void
console_hide(struct console *c, bool hide)
{
	if (!c->is_editing || c->is_hidden == hide)
		return;
	c->is_hidden = hide;
	if (hide) {
		fputs(c->can_clear ? "\r\033[J" : "\n", stdout);
		fflush(stdout);
	} else {
		el_set(c->editor, EL_REFRESH);
	}
}

/* --- keys of our own --- */

static unsigned char
on_key_end(EditLine *editor, int key)
{
	const LineInfo *line = el_line(editor);
	struct console *c = NULL;

	(void)key;
	el_get(editor, EL_CLIENTDATA, &c);
	if (line->buffer == line->lastchar) {
		c->at_end = true;
		return CC_NORM;
	}
	if (line->cursor == line->lastchar)
		return CC_ERROR;
	/* Inside a line: deletes the character under the cursor. */
	el_cursor(editor, 1);
	el_deletestr(editor, 1);
	return CC_REFRESH;
}

struct candidates {
	const char *prefix;
	size_t prefix_len;
	size_t n;
	char words[CANDIDATES_MAX][CANDIDATE_SIZE];
};

static void
add_candidate(void *arg, const char *word)
{
	struct candidates *k = arg;

	if (k->n == CANDIDATES_MAX || strlen(word) >= CANDIDATE_SIZE ||
	    strncmp(word, k->prefix, k->prefix_len) != 0)
		return;
	snprintf(k->words[k->n++], CANDIDATE_SIZE, "%s", word);
}

/* How much all candidates have in common. */
static size_t
common_length(const struct candidates *k)
{
	size_t n = strlen(k->words[0]);

	for (size_t i = 1; i < k->n; i++)
		for (size_t j = 0; j < n; j++)
			if (k->words[i][j] != k->words[0][j])
				n = j;
	return n;
}

static unsigned char
complete(struct console *c, struct candidates *k)
{
	char more[CANDIDATE_SIZE + 1];
	size_t common;

	if (k->n == 0)
		return CC_REFRESH_BEEP;
	common = common_length(k);
	if (common > k->prefix_len || k->n == 1) {
		snprintf(more, sizeof more, "%.*s%s",
		    (int)(common - k->prefix_len), k->words[0] + k->prefix_len,
		    k->n == 1 ? " " : "");
		return el_insertstr(c->editor, more) < 0 ? CC_ERROR
		                                         : CC_REFRESH;
	}
	fputc('\n', stdout);
	for (size_t i = 0; i < k->n; i++)
		printf("%s%s", k->words[i], i + 1 < k->n ? "  " : "\n");
	fflush(stdout);
	return CC_REDISPLAY;
}

static unsigned char
on_key_complete(EditLine *editor, int key)
{
	const LineInfo *line = el_line(editor);
	const char *word = line->cursor;
	struct candidates k = {0};
	struct console *c = NULL;

	(void)key;
	el_get(editor, EL_CLIENTDATA, &c);
	while (word > line->buffer && word[-1] != ' ')
		word--;
	k.prefix = word;
	k.prefix_len = (size_t)(line->cursor - word);
	c->events->complete(c->owner, line->buffer,
	    (size_t)(word - line->buffer), add_candidate, &k);
	return complete(c, &k);
}

/* --- lines --- */

/* Ready without a byte to read: the terminal is gone. */
static bool
is_gone(void)
{
	int n = 0;

	return ioctl(STDIN_FILENO, FIONREAD, &n) < 0 || n == 0;
}

static void
enter(struct console *c, const char *line, size_t n)
{
	char *text = mem_strndup(line, n);
	HistEvent event;

	stop_editing(c);
	if (text[strspn(text, " \t")])
		history(c->history, &event, H_ENTER, text);
	c->events->on_line(c->owner, text, n);
	free(text);
	if (!c->closing)
		start_editing(c);
}

static void
on_ready(void *owner)
{
	struct console *c = owner;
	const char *line;
	int n = 0;

	if (is_gone())
		c->at_end = true;
	line = c->at_end ? NULL : el_gets(c->editor, &n);
	if (c->at_end) {
		watch_set_active(c->watch, false);
		stop_editing(c);
		fputc('\n', stdout);
		fflush(stdout);
		c->events->on_end(c->owner);
		return;
	}
	if (line && n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r'))
		enter(c, line, (size_t)n - 1);
}

bool
console_interrupt(struct console *c)
{
	const LineInfo *line;
	bool had_text;

	if (!c->is_editing)
		return false;
	line = el_line(c->editor);
	had_text = line->buffer != line->lastchar;
	stop_editing(c);
	fputs("^C\n", stdout);
	fflush(stdout);
	start_editing(c);
	return had_text;
}

void
console_resize(struct console *c)
{
	el_resize(c->editor);
}

void
console_continue(struct console *c)
{
	if (!c->is_editing)
		return;
	tcsetattr(STDIN_FILENO, TCSADRAIN, &c->editing);
	el_set(c->editor, EL_REFRESH);
}

void
console_set_prompt(struct console *c, const char *prompt)
{
	snprintf(c->prompt, sizeof c->prompt, "%s", prompt);
}

/* --- life --- */

static bool
open_editor(struct console *c, struct err *e)
{
	HistEvent event;

	if (!kept_editor)
		kept_editor = el_init("hyco", stdin, stdout, stderr);
	c->editor = kept_editor;
	c->history = history_init();
	if (!c->editor || !c->history)
		return err_set(e, ERR_SYSTEM,
		    "the terminal cannot be edited on; is TERM set right?");
	history(c->history, &event, H_SETSIZE, HISTORY_LINES);
	history(c->history, &event, H_SETUNIQUE, 1);
	if (c->history_file)
		history(c->history, &event, H_LOAD, c->history_file);
	el_set(c->editor, EL_CLIENTDATA, c);
	el_set(c->editor, EL_EDITOR, "emacs");
	el_set(c->editor, EL_SIGNAL, 0);
	el_set(c->editor, EL_PROMPT, prompt_text);
	el_set(c->editor, EL_HIST, history, c->history);
	el_set(c->editor, EL_ADDFN, "hyco-end", "End the console", on_key_end);
	el_set(c->editor, EL_ADDFN, "hyco-complete", "Complete the word",
	    on_key_complete);
	el_source(c->editor, NULL);
	el_set(c->editor, EL_BIND, "^D", "hyco-end", NULL);
	el_set(c->editor, EL_BIND, "^I", "hyco-complete", NULL);
	return true;
}

static void
close_editor(struct console *c)
{
	HistEvent event;

	if (c->history && c->history_file)
		history(c->history, &event, H_SAVE, c->history_file);
	if (c->history)
		history_end(c->history);
}

static void
console_free(void *object)
{
	struct console *c = object;

	free(c->history_file);
	free(c);
}

struct console *
console_open(struct loop *l, const char *history_file,
    const struct console_events *events, void *owner, struct err *e)
{
	const char *term = getenv("TERM");
	struct console *c = mem_zalloc(sizeof *c);

	c->loop = l;
	c->events = events;
	c->owner = owner;
	c->history_file = history_file ? mem_strdup(history_file) : NULL;
	c->can_clear = term && strcmp(term, "dumb") != 0;
	console_set_prompt(c, "> ");
	/* Characters of several bytes are edited as one. */
	setlocale(LC_CTYPE, "");
	tcgetattr(STDIN_FILENO, &c->before);
	c->watch = watch_open(l, STDIN_FILENO, on_ready, c, e);
	if (!c->watch || !open_editor(c, e)) {
		if (c->watch)
			watch_close(c->watch);
		free(c->history_file);
		c->history_file = NULL;
		close_editor(c);
		free(c);
		return NULL;
	}
	current = c;
	log_set_around(around_log);
	start_editing(c);
	return c;
}

void
console_close(struct console *c)
{
	c->closing = true;
	log_set_around(NULL);
	current = NULL;
	watch_close(c->watch);
	console_hide(c, true);
	stop_editing(c);
	close_editor(c);
	tcsetattr(STDIN_FILENO, TCSADRAIN, &c->before);
	loop_bury(c->loop, c, console_free);
}

/* SPDX-License-Identifier: MIT
 *
 * Asking on the terminal, after the manner of readpassphrase(3): for the time
 * of the question the signals that end or stop a program only interrupt the
 * read; the terminal is restored first, then the signal has its effect. A stop
 * (Ctrl-Z) asks again when the program continues.
 */
#include "cli/prompt.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "util/err.h"
#include "util/mem.h"

static const int signals[] = {
    SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGTTIN, SIGTTOU};

#define SIGNALS (sizeof signals / sizeof signals[0])

static volatile sig_atomic_t caught;

static void
on_caught(int number)
{
	caught = number;
}

static bool
is_stop(int number)
{
	return number == SIGTSTP || number == SIGTTIN || number == SIGTTOU;
}

enum result { LINE, END, INTERRUPTED, TOO_LONG };

/* Waits for input. The signals are blocked but in here, so that none can slip
 * in between the look at `caught` and the wait. */
static bool
wait_readable(const sigset_t *open_mask)
{
	struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};

	while (ppoll(&in, 1, NULL, open_mask) < 0)
		if (errno != EINTR || caught)
			return false;
	return true;
}

/* Byte by byte: what comes behind the line belongs to somebody else. */
static enum result
read_line(char *out, size_t size, const sigset_t *open_mask)
{
	size_t used = 0;
	bool fits = true;

	for (;;) {
		char c;
		ssize_t n;

		if (!wait_readable(open_mask))
			return caught ? INTERRUPTED : END;
		n = read(STDIN_FILENO, &c, 1);
		if (n <= 0 && used == 0)
			return END;
		if (n <= 0 || c == '\n' || c == '\r')
			break;
		if (used + 1 < size)
			out[used++] = c;
		else
			fits = false;
	}
	out[used] = '\0';
	return fits ? LINE : TOO_LONG;
}

static enum result
ask_once(const char *text, bool is_hidden, char *out, size_t size)
{
	struct sigaction old[SIGNALS];
	struct sigaction act = {.sa_handler = on_caught};
	sigset_t blocked;
	sigset_t open_mask;
	struct termios before;
	const bool is_terminal = tcgetattr(STDIN_FILENO, &before) == 0;
	enum result r;

	sigemptyset(&act.sa_mask);
	sigemptyset(&blocked);
	for (size_t i = 0; i < SIGNALS; i++)
		sigaddset(&blocked, signals[i]);
	sigprocmask(SIG_BLOCK, &blocked, &open_mask);
	caught = 0;
	for (size_t i = 0; i < SIGNALS; i++)
		sigaction(signals[i], &act, &old[i]);
	if (is_terminal && is_hidden) {
		struct termios hidden = before;

		hidden.c_lflag &= ~(tcflag_t)(ECHO | ECHONL);
		tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden);
	}
	fputs(text, stderr);
	fflush(stderr);
	r = read_line(out, size, &open_mask);
	if (is_terminal && is_hidden)
		tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
	if (is_hidden || r != LINE)
		fputc('\n', stderr);
	for (size_t i = 0; i < SIGNALS; i++)
		sigaction(signals[i], &old[i], NULL);
	sigprocmask(SIG_SETMASK, &open_mask, NULL);
	return r;
}

bool
prompt_line(const char *text, bool is_hidden, char *out, size_t size,
    int *signal_number, struct err *e)
{
	enum result r;

	do {
		r = ask_once(text, is_hidden, out, size);
		/* Restored by now: the stop may have its way. */
		if (r == INTERRUPTED && is_stop(caught))
			kill(getpid(), caught);
	} while (r == INTERRUPTED && is_stop(caught));
	*signal_number = r == INTERRUPTED ? caught : 0;
	if (r == LINE)
		return true;
	mem_wipe(out, size);
	if (r == TOO_LONG)
		return err_set(e, ERR_TOO_BIG,
		    "the answer is longer than %zu bytes", size - 1);
	return err_set(e, ERR_SYSTEM, "%s",
	    r == INTERRUPTED ? "interrupted" : "no answer was given");
}

bool
prompt_is_possible(void)
{
	return isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
}

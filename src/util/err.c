/* SPDX-License-Identifier: MIT
 *
 * One table says everything the program knows about an error code: its name
 * in logs, whether a retry can help, and what it becomes at the two borders
 * of the program, the exit status and the HTTP status.
 */
#include "util/err.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct err_row {
	const char *name;
	bool is_transient;
	enum err_exit exit;
	int http_status;
};

static const struct err_row err_table[ERR_COUNT] = {
    [ERR_NONE] = {"none", false, ERR_EXIT_DONE, 200},
    [ERR_CLOSED] = {"closed", true, ERR_EXIT_NETWORK, 502},
    [ERR_TIMEOUT] = {"timeout", true, ERR_EXIT_NETWORK, 504},
    [ERR_UNREACHABLE] = {"unreachable", true, ERR_EXIT_NETWORK, 502},
    [ERR_REFUSED] = {"refused", true, ERR_EXIT_NETWORK, 502},
    [ERR_RESET] = {"reset", true, ERR_EXIT_NETWORK, 502},
    [ERR_AUTH] = {"auth", false, ERR_EXIT_AUTH, 401},
    [ERR_DENIED] = {"denied", false, ERR_EXIT_AUTH, 403},
    [ERR_NOT_FOUND] = {"not-found", false, ERR_EXIT_FAILURE, 404},
    [ERR_PROTOCOL] = {"protocol", false, ERR_EXIT_NETWORK, 502},
    [ERR_TOO_BIG] = {"too-big", false, ERR_EXIT_FAILURE, 413},
    [ERR_TLS] = {"tls", false, ERR_EXIT_NETWORK, 502},
    /* Out of descriptors or ports heals; a missing right never does, but
     * it shows at the start, where nobody retries. */
    [ERR_SYSTEM] = {"system", true, ERR_EXIT_FAILURE, 500},
    [ERR_USAGE] = {"usage", false, ERR_EXIT_USAGE, 400},
};

/* The text is made aside first, since e->text may be among the arguments. */
static void
err_fill(struct err *e, enum err_code code, const char *text)
{
	e->code = code;
	e->http_status = 0;
	snprintf(e->text, sizeof e->text, "%s", text);
}

/* Puts ": " and more behind text, as far as it fits. */
static void
err_join(char text[ERR_TEXT_MAX], const char *more)
{
	size_t used = strlen(text);

	for (const char *s = ": "; *s && used < ERR_TEXT_MAX - 1; s++)
		text[used++] = *s;
	while (*more && used < ERR_TEXT_MAX - 1)
		text[used++] = *more++;
	text[used] = '\0';
}

bool
err_set(struct err *e, enum err_code code, const char *format, ...)
{
	char text[ERR_TEXT_MAX];
	va_list args;

	if (!e)
		return false;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	err_fill(e, code, text);
	return false;
}

static enum err_code
err_code_of(int number)
{
	switch (number) {
	case ECONNREFUSED:
		return ERR_REFUSED;
	case ENETUNREACH:
	case EHOSTUNREACH:
	case ENETDOWN:
	case EHOSTDOWN:
	case EADDRNOTAVAIL:
	case EAFNOSUPPORT:
		return ERR_UNREACHABLE;
	case ETIMEDOUT:
		return ERR_TIMEOUT;
	case ECONNRESET:
	case ECONNABORTED:
	case ENETRESET:
	case ENOTCONN:
	case EPIPE:
		return ERR_RESET;
	default:
		return ERR_SYSTEM;
	}
}

bool
err_set_errno(
    struct err *e, enum err_code code, int number, const char *format, ...)
{
	char text[ERR_TEXT_MAX];
	char reason[128];
	va_list args;

	if (!e)
		return false;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	err_join(text, strerror_r(number, reason, sizeof reason));
	err_fill(e, code == ERR_SYSTEM ? err_code_of(number) : code, text);
	return false;
}

bool
err_prefix(struct err *e, const char *format, ...)
{
	char text[ERR_TEXT_MAX];
	va_list args;

	if (!e)
		return false;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	err_join(text, e->text);
	memcpy(e->text, text, sizeof text);
	return false;
}

static const struct err_row *
err_row(enum err_code code)
{
	assert((unsigned)code < ERR_COUNT);
	return &err_table[code];
}

const char *
err_name(enum err_code code)
{
	return err_row(code)->name;
}

bool
err_is_transient(enum err_code code)
{
	return err_row(code)->is_transient;
}

enum err_exit
err_exit_status(enum err_code code)
{
	return err_row(code)->exit;
}

int
err_http_status(enum err_code code)
{
	return err_row(code)->http_status;
}

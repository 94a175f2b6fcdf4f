/* SPDX-License-Identifier: MIT
 *
 * The one error value. The code says what the caller can do about it, the text
 * says what a person needs to know: which hop, what is wrong, what to do. It
 * is copied by value and never allocated. A function that can fail takes
 * `struct err *` last, returns false or NULL, and fills it; on success it
 * leaves it alone. The pointer may be NULL where nobody wants to know.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

/* Long enough for a file name, a host and a remedy; longer text is cut. */
#define ERR_TEXT_MAX 512

enum err_code {
	ERR_NONE,
	ERR_CLOSED,      /* the other side ended in good order */
	ERR_TIMEOUT,     /* a deadline passed */
	ERR_UNREACHABLE, /* no route, name unknown, network down */
	ERR_REFUSED,     /* something is there and said no to the connection */
	ERR_RESET,       /* the connection broke */
	ERR_AUTH,      /* who we are was not accepted: token, user, password */
	ERR_DENIED,    /* who we are is known, and may not do this */
	ERR_NOT_FOUND, /* no such path, file, listener */
	ERR_PROTOCOL,  /* the other side broke the protocol */
	ERR_TOO_BIG,   /* a limit of ours was passed */
	ERR_TLS,       /* certificate or handshake */
	ERR_SYSTEM,    /* the operating system failed us */
	ERR_USAGE,     /* the caller's or user's words are wrong */
	ERR_COUNT
};

struct err {
	enum err_code code;
	int http_status; /* the status a peer answered with; 0 when none */
	char text[ERR_TEXT_MAX];
};

/* The process's exit statuses. */
enum err_exit {
	ERR_EXIT_DONE = 0,
	ERR_EXIT_FAILURE = 1,
	ERR_EXIT_USAGE = 2,
	ERR_EXIT_AUTH = 3,
	ERR_EXIT_NETWORK = 4,
};

/* Fills *e (NULL: does nothing) and returns false, so that a function may say
 * `return err_set(...)`. http_status becomes 0. */
bool err_set(struct err *e, enum err_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same, with ": " and the system's text for errno value `number` behind.
 * The code is chosen from the number when `code` is ERR_SYSTEM and the number
 * is about the network (ECONNREFUSED -> ERR_REFUSED, ENETUNREACH ->
 * ERR_UNREACHABLE, ETIMEDOUT -> ERR_TIMEOUT, ECONNRESET and EPIPE ->
 * ERR_RESET ...). */
bool err_set_errno(struct err *e, enum err_code code, int number,
    const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Puts one phrase and ": " in front of the text; code and status stay.
 * Returns false. */
bool err_prefix(struct err *e, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* "timeout", "refused", ...: a stable name for logs. */
const char *err_name(enum err_code code);

/* Whether trying the same again later can help. */
bool err_is_transient(enum err_code code);

/* The exit status that stands for the code. */
enum err_exit err_exit_status(enum err_code code);

/* The HTTP status a server answers with for the code (502, 403, ...). */
int err_http_status(enum err_code code);

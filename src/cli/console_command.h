/* SPDX-License-Identifier: MIT
 *
 * The console's commands: one table of name, arguments, help and function, used
 * by the terminal, by --batch and by a pipe alike. What they show goes to
 * standard output; what went wrong is in the error. They act on a client and
 * block nothing.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct client;
struct end;
struct err;
struct tunnel_spec;

#define CONSOLE_COMMAND_PROMPT "> "

struct console_command_state {
	struct client *client;
	bool can_ask;      /* somebody is there to answer a question */
	unsigned asked_id; /* close asks about this tunnel; 0: no question */
	uint64_t wait_ms;  /* after CONSOLE_COMMAND_WAIT */
	unsigned run;      /* commands so far, without blank lines */
};

enum console_command_result {
	CONSOLE_COMMAND_DONE,
	CONSOLE_COMMAND_FAILED, /* *e says why */
	CONSOLE_COMMAND_WAIT,   /* go on with the next line in wait_ms */
	CONSOLE_COMMAND_EXIT,
};

/* Runs one line. */
enum console_command_result console_command_run(
    struct console_command_state *s, const char *line, size_t n, struct err *e);

/* "> ", or the question that is open. */
const char *console_command_prompt(const struct console_command_state *s);

/* Completion: see console_events. */
void console_command_complete(const struct console_command_state *s,
    const char *text, size_t n, void (*add)(void *arg, const char *candidate),
    void *arg);

/* Opens a tunnel and prints "tunnel N: ADDRESS -> DESTINATION" to standard
 * error. */
bool console_command_open_tunnel(
    struct client *client, const struct tunnel_spec *spec, struct err *e);

/* A SOCKS port: "[bind:]port" or "unix:/path". */
bool console_command_parse_socks(
    struct end *local, const char *text, struct err *e);
bool console_command_open_socks(
    struct client *client, const char *text, struct err *e);

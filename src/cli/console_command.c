/* SPDX-License-Identifier: MIT
 *
 * The commands. Each gets its words, checked for their number by the table. A
 * close of a tunnel that is in use may take two lines: the command, and the
 * answer to its question.
 */
#include "cli/console_command.h"

#include <stdio.h>
#include <string.h>

#include "cli/console_line.h"
#include "cli/sandbox.h"
#include "cli/suggest.h"
#include "ends/end.h"
#include "tunnel/client.h"
#include "util/err.h"
#include "util/log.h"
#include "util/text.h"

#define INVALID "Invalid command. Type `help` for more information."
#define WAIT_MAX_S 86400

typedef enum console_command_result command_function(
    struct console_command_state *s, char **words, size_t n, struct err *e);

struct command {
	const char *name;
	const char *arguments;
	const char *help;
	size_t min, max; /* words behind the name */
	command_function *run;
	bool is_alias; /* not listed */
};

static const struct command *find(const char *name);
static void print_help(const char *name);

static enum console_command_result
failed(bool ok)
{
	return ok ? CONSOLE_COMMAND_DONE : CONSOLE_COMMAND_FAILED;
}

static bool
parse_id(const char *word, unsigned *id, struct err *e)
{
	uint64_t n;

	if (!text_parse_u64(word, 1, UINT32_MAX, &n))
		return err_set(e, ERR_USAGE,
		    "\"%.40s\" is not the number of a tunnel", word);
	*id = (unsigned)n;
	return true;
}

/* --- tunnel --- */

static void
print_opened(const struct client *client, unsigned id)
{
	struct client_tunnel_info info;

	client_tunnel_info(client, id, &info);
	fflush(stdout);
	fprintf(
	    stderr, "tunnel %u: %s -> %s\n", id, info.listen, info.destination);
}

bool
console_command_open_tunnel(
    struct client *client, const struct tunnel_spec *spec, struct err *e)
{
	const unsigned id = client_tunnel_open(client, spec, e);

	if (id == 0) {
		if (e && spec->local.kind->has_path)
			sandbox_explain(e, spec->local.path);
		return false;
	}
	print_opened(client, id);
	return true;
}

bool
console_command_parse_socks(struct end *local, const char *text, struct err *e)
{
	return end_parse_local(local, text, e) &&
	       (!local->kind->has_datagrams ||
	           err_set(e, ERR_USAGE,
	               "a SOCKS port is [BIND:]PORT, without /udp"));
}

bool
console_command_open_socks(
    struct client *client, const char *text, struct err *e)
{
	struct end local;
	unsigned id;

	if (!console_command_parse_socks(&local, text, e))
		return false;
	id = client_socks_open(client, &local, e);
	if (id == 0 && e && local.kind->has_path)
		sandbox_explain(e, local.path);
	if (id > 0)
		print_opened(client, id);
	return id > 0;
}

static enum console_command_result
run_tunnel(
    struct console_command_state *s, char **words, size_t n, struct err *e)
{
	struct tunnel_spec spec;

	return failed(
	    end_parse_console(&spec, words[0], n > 1 ? words[1] : NULL, e) &&
	    console_command_open_tunnel(s->client, &spec, e));
}

static enum console_command_result
run_socks(
    struct console_command_state *s, char **words, size_t n, struct err *e)
{
	(void)n;
	return failed(console_command_open_socks(s->client, words[0], e));
}

/* --- list --- */

struct table {
	int listen, destination; /* widths */
	size_t rows;
};

static int
wider(int width, const char *text)
{
	const int n = (int)strlen(text);

	return n > width ? n : width;
}

static void
measure_tunnel(void *arg, const struct client_tunnel_info *info)
{
	struct table *t = arg;

	t->listen = wider(t->listen, info->listen);
	t->destination = wider(t->destination, info->destination);
	t->rows++;
}

static void
print_tunnel(void *arg, const struct client_tunnel_info *info)
{
	const struct table *t = arg;
	char up[32];
	char down[32];

	text_print_bytes(info->bytes_up, up, sizeof up);
	text_print_bytes(info->bytes_down, down, sizeof down);
	printf("%4u  %-*s  %-*s  %5zu  %7llu  %6llu  %10s  %10s%s\n", info->id,
	    t->listen, info->listen, t->destination, info->destination,
	    info->live, (unsigned long long)info->opened,
	    (unsigned long long)info->failed, up, down,
	    info->is_closed ? "  closed" : "");
}

static void
measure_connection(void *arg, const struct client_connection_info *info)
{
	struct table *t = arg;

	t->listen = wider(t->listen, info->peer);
	t->destination = wider(t->destination, info->destination);
	t->rows++;
}

static void
print_connection(void *arg, const struct client_connection_info *info)
{
	const struct table *t = arg;
	char up[32];
	char down[32];
	char age[32];

	text_print_bytes(info->bytes_up, up, sizeof up);
	text_print_bytes(info->bytes_down, down, sizeof down);
	text_print_duration(info->age_ms, age, sizeof age);
	printf("%6llu  %-*s  %-*s  %-11s  %10s  %10s  %s\n",
	    (unsigned long long)info->id, t->listen, info->peer, t->destination,
	    info->destination, info->state, up, down, age);
}

static size_t
list_connections(const struct client *client, unsigned id)
{
	struct table t = {.listen = 4, .destination = 11};

	client_each_connection(client, id, measure_connection, &t);
	if (t.rows == 0)
		return 0;
	printf("%6s  %-*s  %-*s  %-11s  %10s  %10s  %s\n", "ID", t.listen,
	    "FROM", t.destination, "DESTINATION", "STATE", "UP", "DOWN", "AGE");
	client_each_connection(client, id, print_connection, &t);
	return t.rows;
}

static void
list_tunnels(const struct client *client)
{
	struct table t = {.listen = 6, .destination = 11};

	client_each_tunnel(client, measure_tunnel, &t);
	if (t.rows == 0) {
		puts("No tunnels. `tunnel PORT HOST:PORT` opens one.");
		return;
	}
	printf("%4s  %-*s  %-*s  %5s  %7s  %6s  %10s  %10s\n", "ID", t.listen,
	    "LISTEN", t.destination, "DESTINATION", "LIVE", "OPENED", "FAILED",
	    "UP", "DOWN");
	client_each_tunnel(client, print_tunnel, &t);
}

static bool
no_tunnel(unsigned id, struct err *e)
{
	return err_set(e, ERR_NOT_FOUND,
	    "there is no tunnel %u; `list` shows those there are", id);
}

static enum console_command_result
run_list(struct console_command_state *s, char **words, size_t n, struct err *e)
{
	struct client_tunnel_info info;
	unsigned id = 0;

	if (n == 0) {
		list_tunnels(s->client);
		return CONSOLE_COMMAND_DONE;
	}
	if (!parse_id(words[0], &id, e))
		return CONSOLE_COMMAND_FAILED;
	if (!client_tunnel_info(s->client, id, &info))
		return failed(no_tunnel(id, e));
	printf("tunnel %u: %s -> %s%s\n", id, info.listen, info.destination,
	    info.is_closed ? " (closed)" : "");
	if (list_connections(s->client, id) == 0)
		puts("No connections.");
	return CONSOLE_COMMAND_DONE;
}

/* --- close --- */

static bool
close_tunnel(
    struct console_command_state *s, unsigned id, bool end, struct err *e)
{
	size_t live = 0;

	if (!client_tunnel_close(s->client, id, end, &live))
		return no_tunnel(id, e);
	if (live == 0)
		printf("Tunnel %u closed.\n", id);
	else
		printf("Tunnel %u closed; %zu live connection%s %s.\n", id,
		    live, live == 1 ? "" : "s", end ? "ended" : "kept");
	return true;
}

static enum console_command_result
run_close(
    struct console_command_state *s, char **words, size_t n, struct err *e)
{
	struct client_tunnel_info info;
	const bool keep = n > 1 && strcmp(words[1], "--keep") == 0;
	const bool end = n > 1 && strcmp(words[1], "--end") == 0;
	unsigned id = 0;

	if (!parse_id(words[0], &id, e))
		return CONSOLE_COMMAND_FAILED;
	if (n > 1 && !keep && !end)
		return failed(err_set(e, ERR_USAGE,
		    "\"%.40s\": only --keep or --end can follow", words[1]));
	if (!client_tunnel_info(s->client, id, &info) || info.is_closed)
		return failed(no_tunnel(id, e));
	if (info.live > 0)
		list_connections(s->client, id);
	if (info.live > 0 && n == 1 && s->can_ask) {
		s->asked_id = id;
		return CONSOLE_COMMAND_DONE;
	}
	return failed(close_tunnel(s, id, !keep, e));
}

/* The line behind a close that asked. False: it is no answer; the question is
 * dropped and the line is a command. */
static bool
answer(struct console_command_state *s, const char *line, size_t n,
    enum console_command_result *result, struct err *e)
{
	const unsigned id = s->asked_id;
	char word[8];
	const char *w;

	snprintf(word, sizeof word, "%.*s", (int)(n < 7 ? n : 7), line);
	w = text_trim(word);
	s->asked_id = 0;
	if (!*w || text_is_equal_nocase(w, "y") ||
	    text_is_equal_nocase(w, "yes")) {
		*result = failed(close_tunnel(s, id, true, e));
		return true;
	}
	if (text_is_equal_nocase(w, "n") || text_is_equal_nocase(w, "no")) {
		*result = failed(close_tunnel(s, id, false, e));
		return true;
	}
	printf("Tunnel %u stays open.\n", id);
	*result = CONSOLE_COMMAND_DONE;
	return text_is_equal_nocase(w, "c") ||
	       text_is_equal_nocase(w, "cancel");
}

/* --- status, log, wait, help, exit --- */

static void
print_sessions(const struct client_sessions *x)
{
	char queued[32];
	char in[32];
	char out[32];

	text_print_bytes(x->queued, queued, sizeof queued);
	text_print_bytes(x->bytes_in, in, sizeof in);
	text_print_bytes(x->bytes_out, out, sizeof out);
	if (x->open == 0)
		printf("sessions     none open\n");
	else if (x->carriers < x->open)
		printf("sessions     %zu open, %zu without a carrier; %llu "
		       "resumes\n",
		    x->open, x->open - x->carriers,
		    (unsigned long long)x->resumes);
	else
		printf("sessions     %zu open, carrier up; %llu resumes\n",
		    x->open, (unsigned long long)x->resumes);
	if (x->open > 0 && x->rtt_us > 0)
		printf("round trip   %u.%u ms\n", x->rtt_us / 1000,
		    x->rtt_us / 100 % 10);
	if (x->open > 0)
		printf(
		    "carried      %s out, %s in, %s queued\n", out, in, queued);
	if (!x->is_encrypted)
		printf("listener     not encrypted from end to end\n");
	else if (x->identity[0])
		printf("listener     %s\n", x->identity);
}

static enum console_command_result
run_status(
    struct console_command_state *s, char **words, size_t n, struct err *e)
{
	struct client_status st;
	char up[32];
	char down[32];
	char age[32];

	(void)words;
	(void)n;
	(void)e;
	client_status(s->client, &st);
	text_print_bytes(st.bytes_up, up, sizeof up);
	text_print_bytes(st.bytes_down, down, sizeof down);
	printf("relay        %s\n", st.relay);
	printf("path         %s\n", st.path);
	printf("user         %s\n", st.user ? st.user : "(anonymous)");
	printf("mode         %s (speaking %s)\n", client_mode_name(st.mode),
	    st.way);
	if (st.has_sessions)
		print_sessions(&st.sessions);
	printf("tunnels      %zu open\n", st.tunnels);
	printf("connections  %zu live, %zu connecting, %zu waiting; %llu "
	       "opened, %llu failed\n",
	    st.live, st.connecting, st.waiting, (unsigned long long)st.opened,
	    (unsigned long long)st.failed);
	printf("bytes        %s up, %s down\n", up, down);
	if (st.last_error) {
		text_print_duration(st.last_error_age_ms, age, sizeof age);
		printf("last fault   %s (%s ago)\n", st.last_error->text, age);
	}
	return CONSOLE_COMMAND_DONE;
}

static const char *const levels[] = {
    [LOG_ERROR] = "error",
    [LOG_WARN] = "warn",
    [LOG_INFO] = "info",
    [LOG_DEBUG] = "debug",
};

#define LEVELS (sizeof levels / sizeof levels[0])

static enum console_command_result
run_log(struct console_command_state *s, char **words, size_t n, struct err *e)
{
	(void)s;
	if (n == 0) {
		printf("log level: %s\n", levels[log_get_level()]);
		return CONSOLE_COMMAND_DONE;
	}
	for (size_t i = 0; i < LEVELS; i++) {
		if (strcmp(words[0], levels[i]) != 0)
			continue;
		log_set_level((enum log_level)i);
		return CONSOLE_COMMAND_DONE;
	}
	return failed(err_set(e, ERR_USAGE,
	    "\"%.40s\" is no level; there are error, warn, info and debug",
	    words[0]));
}

static enum console_command_result
run_wait(struct console_command_state *s, char **words, size_t n, struct err *e)
{
	uint64_t seconds;

	(void)n;
	if (s->can_ask)
		return failed(err_set(
		    e, ERR_USAGE, "wait is for --batch files and pipes"));
	if (!text_parse_u64(words[0], 0, WAIT_MAX_S, &seconds))
		return failed(err_set(e, ERR_USAGE,
		    "\"%.40s\" is not a number of seconds up to %d", words[0],
		    WAIT_MAX_S));
	s->wait_ms = seconds * 1000;
	return CONSOLE_COMMAND_WAIT;
}

static enum console_command_result
run_help(struct console_command_state *s, char **words, size_t n, struct err *e)
{
	(void)s;
	if (n > 0 && !find(words[0]))
		return failed(err_set(
		    e, ERR_USAGE, "there is no command %.40s", words[0]));
	print_help(n > 0 ? words[0] : NULL);
	return CONSOLE_COMMAND_DONE;
}

static enum console_command_result
run_exit(struct console_command_state *s, char **words, size_t n, struct err *e)
{
	(void)s;
	(void)words;
	(void)n;
	(void)e;
	return CONSOLE_COMMAND_EXIT;
}

static const struct command commands[] = {
    {"tunnel", "[BIND:]PORT [[HOST:]PORT]",
        "open a tunnel: listen here, carry to HOST:PORT as the listener sees "
        "it",
        1, 2, run_tunnel, false},
    {"socks", "[BIND:]PORT",
        "listen here for SOCKS and HTTP CONNECT: applications say where to", 1,
        1, run_socks, false},
    {"close", "ID [--keep|--end]",
        "close a tunnel; its live connections go on, or are ended", 1, 2,
        run_close, false},
    {"list", "[ID]", "show the tunnels, or the connections of one", 0, 1,
        run_list, false},
    {"status", "", "show relay, user, and what has been carried", 0, 0,
        run_status, false},
    {"log", "[error|warn|info|debug]", "show or change what is logged", 0, 1,
        run_log, false},
    {"wait", "SECONDS", "go on with the next command after a while", 1, 1,
        run_wait, false},
    {"help", "[COMMAND]", "show the commands", 0, 1, run_help, false},
    {"exit", "", "close all tunnels and leave (also: quit, Ctrl-D)", 0, 0,
        run_exit, false},
    {"quit", "", "the same as exit", 0, 0, run_exit, true},
};

#define COMMANDS (sizeof commands / sizeof commands[0])

static const struct command *
find(const char *name)
{
	for (size_t i = 0; i < COMMANDS; i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

static void
print_help(const char *name)
{
	for (size_t i = 0; i < COMMANDS; i++) {
		const struct command *c = &commands[i];
		char usage[64];

		if (name ? strcmp(name, c->name) != 0 : c->is_alias)
			continue;
		snprintf(usage, sizeof usage, "%s %s", c->name, c->arguments);
		printf("  %-34s%s\n", usage, c->help);
	}
	if (name && strcmp(name, "tunnel") == 0)
		puts("  PORT alone carries to the same port on the listener's "
		     "own machine.\n"
		     "  BIND is an address of this machine (127.0.0.1 if not "
		     "given; * for all);\n"
		     "  IPv6 stands in brackets; unix:/PATH names a socket "
		     "file on either side;\n"
		     "  /udp behind a port means datagrams.\n"
		     "  Example: tunnel 15432 db.internal:5432");
	else if (!name)
		puts("Arrow keys bring lines back, Tab completes.");
}

/* --- running --- */

static enum console_command_result
unknown(const char *word, struct err *e)
{
	const char *names[COMMANDS];
	const char *near;

	for (size_t i = 0; i < COMMANDS; i++)
		names[i] = commands[i].name;
	near = suggest_nearest(word, names, COMMANDS);
	if (near)
		err_set(e, ERR_USAGE, INVALID " Did you mean `%s`?", near);
	else
		err_set(e, ERR_USAGE, INVALID);
	return CONSOLE_COMMAND_FAILED;
}

enum console_command_result
console_command_run(
    struct console_command_state *s, const char *text, size_t n, struct err *e)
{
	enum console_command_result result;
	struct console_line line;
	const struct command *c;

	if (s->asked_id && answer(s, text, n, &result, e))
		return result;
	if (!console_line_parse(&line, text, n, e))
		return CONSOLE_COMMAND_FAILED;
	if (line.n == 0)
		return CONSOLE_COMMAND_DONE;
	s->run++;
	c = find(line.words[0]);
	if (!c)
		return unknown(line.words[0], e);
	if (line.n - 1 < c->min || line.n - 1 > c->max)
		return failed(err_set(e, ERR_USAGE, "usage: %s%s%s", c->name,
		    *c->arguments ? " " : "", c->arguments));
	return c->run(s, line.words + 1, line.n - 1, e);
}

const char *
console_command_prompt(const struct console_command_state *s)
{
	return s->asked_id ? "End these connections? [Y/n/cancel] "
	                   : CONSOLE_COMMAND_PROMPT;
}

/* --- completion --- */

struct adder {
	void (*add)(void *arg, const char *candidate);
	void *arg;
};

static void
add_id(void *arg, const struct client_tunnel_info *info)
{
	const struct adder *a = arg;
	char id[16];

	snprintf(id, sizeof id, "%u", info->id);
	a->add(a->arg, id);
}

static void
complete_argument(const struct console_command_state *s,
    const struct console_line *line, struct adder *a)
{
	const char *const name = line->words[0];

	if (line->n == 1 &&
	    (strcmp(name, "close") == 0 || strcmp(name, "list") == 0))
		client_each_tunnel(s->client, add_id, a);
	if (line->n == 2 && strcmp(name, "close") == 0) {
		a->add(a->arg, "--keep");
		a->add(a->arg, "--end");
	}
	for (size_t i = 0; line->n == 1 && i < LEVELS; i++)
		if (strcmp(name, "log") == 0)
			a->add(a->arg, levels[i]);
	for (size_t i = 0; line->n == 1 && i < COMMANDS; i++)
		if (strcmp(name, "help") == 0)
			a->add(a->arg, commands[i].name);
}

void
console_command_complete(const struct console_command_state *s,
    const char *text, size_t n, void (*add)(void *arg, const char *candidate),
    void *arg)
{
	struct adder a = {.add = add, .arg = arg};
	struct console_line line;

	if (s->asked_id || !console_line_parse(&line, text, n, NULL))
		return;
	if (line.n > 0) {
		complete_argument(s, &line, &a);
		return;
	}
	for (size_t i = 0; i < COMMANDS; i++)
		add(arg, commands[i].name);
}

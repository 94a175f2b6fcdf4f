/* SPDX-License-Identifier: MIT
 *
 * hyco connect: logs in, opens the tunnels that were asked for, then takes
 * commands from the console or a batch, or just serves until a signal.
 *
 *     options -> password -> log in -> tunnels -> console | batch | nothing
 *                    ^----------'  wrong, and somebody to ask: three times
 *
 * The loop runs once for each login and once for all the rest.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/batch.h"
#include "cli/cmd.h"
#include "cli/command_line.h"
#include "cli/console.h"
#include "cli/console_command.h"
#include "cli/notify.h"
#include "cli/option.h"
#include "cli/prompt.h"
#include "cli/sandbox.h"
#include "cli/secret.h"
#include "cli/state.h"
#include "ends/end.h"
#include "hc/hc_target.h"
#include "net/dial.h"
#include "net/loop.h"
#include "net/stdio.h"
#include "net/stream.h"
#include "net/tls_identity.h"
#include "tunnel/client.h"
#include "tunnel/way_hyco_trust.h"
#include "util/mem.h"

#define LOGIN_TRIES 3
#define NAME_SIZE 257
#define PASSWORD_SIZE 1025
/* The same fault of the same tunnel is told once in this time. */
#define REPEAT_MS 10000

struct connect_command {
	const struct option_set *options;
	struct loop *loop;
	struct dialer *dialer;
	struct client *client;
	struct console *console;
	struct batch *batch;
	struct console_command_state commands;
	struct timer wait;
	char *folder;     /* our state; NULL: none can be kept */
	char *known_file; /* listeners; NULL as well */

	bool has_user;
	bool has_password;
	char user[NAME_SIZE];
	char password[PASSWORD_SIZE];

	bool logged_in;
	bool is_verified;
	struct err login_error;

	int status;
	bool is_ending;
	bool is_interrupted; /* Ctrl-C came at an empty line just before */

	/* The fault told last. */
	struct err fault;
	unsigned fault_tunnel;
	uint64_t fault_ms;
	unsigned fault_repeats;
};

/* --- the end --- */

static void
end(struct connect_command *c, int status)
{
	if (c->is_ending)
		return;
	c->is_ending = true;
	if (c->status == ERR_EXIT_DONE)
		c->status = status;
	notify_stopping();
	timer_clear(&c->wait);
	if (c->console)
		console_close(c->console);
	c->console = NULL;
	if (c->batch)
		batch_close(c->batch);
	c->batch = NULL;
	if (c->client)
		client_close(c->client);
	c->client = NULL;
	loop_stop(c->loop);
}

/* Ctrl-C at the console drops what is typed; at an empty line it takes two. */
static bool
interrupt_console(struct connect_command *c)
{
	bool was_asked;
	bool had_text;

	if (!c->console)
		return false;
	was_asked = c->commands.asked_id != 0;
	c->commands.asked_id = 0;
	console_set_prompt(c->console, CONSOLE_COMMAND_PROMPT);
	had_text = console_interrupt(c->console);
	if (had_text || was_asked) {
		c->is_interrupted = false;
		return true;
	}
	if (c->is_interrupted)
		return false;
	c->is_interrupted = true;
	console_hide(c->console, true);
	puts("Ctrl-C once more, or `exit`, closes all tunnels and leaves.");
	console_hide(c->console, false);
	return true;
}

static void
on_signal(void *owner, int number)
{
	struct connect_command *c = owner;

	if (number == SIGWINCH || number == SIGCONT) {
		if (c->console && number == SIGWINCH)
			console_resize(c->console);
		else if (c->console)
			console_continue(c->console);
		return;
	}
	if (c->is_ending)
		command_line_leave(c->options);
	if (number == SIGINT && interrupt_console(c))
		return;
	end(c, c->logged_in ? ERR_EXIT_DONE : ERR_EXIT_FAILURE);
}

/* --- the client's events --- */

static void
tell_repeats(struct connect_command *c)
{
	if (c->fault_repeats > 0)
		log_warn("the last fault came again", "tunnel=%u times=%u",
		    c->fault_tunnel, c->fault_repeats);
	c->fault_repeats = 0;
}

static void
on_connection_error(void *owner, unsigned tunnel_id, const struct err *err)
{
	struct connect_command *c = owner;
	const uint64_t now = loop_now_ms(c->loop);

	if (c->fault_tunnel == tunnel_id && now - c->fault_ms < REPEAT_MS &&
	    strcmp(c->fault.text, err->text) == 0) {
		c->fault_repeats++;
		return;
	}
	tell_repeats(c);
	c->fault = *err;
	c->fault_tunnel = tunnel_id;
	c->fault_ms = now;
	log_warn(
	    "connection failed", "tunnel=%u reason=%s", tunnel_id, err->text);
}

static void
on_tunnel_pause(
    void *owner, unsigned tunnel_id, bool paused, const struct err *err)
{
	(void)owner;
	if (paused)
		log_warn("tunnel takes no connections for a moment",
		    "tunnel=%u reason=%s", tunnel_id, err->text);
	else
		log_info(
		    "tunnel takes connections again", "tunnel=%u", tunnel_id);
}

static const struct client_events client_events = {
    .on_connection_error = on_connection_error,
    .on_tunnel_pause = on_tunnel_pause};

/* --- who we are --- */

static bool
read_password(struct connect_command *c, struct err *e)
{
	const struct option_set *s = c->options;
	const char *file = option_get(s, OPTION_PASSWORD_FILE);
	const char *given = option_get(s, OPTION_PASSWORD);
	char *text;
	bool fits;

	if (!file && !given)
		return true;
	text = file ? secret_read_line(file, e) : mem_strdup(given);
	if (!text)
		return err_prefix(e, "--password-file");
	fits = strlen(text) < PASSWORD_SIZE;
	if (fits)
		strcpy(c->password, text);
	mem_free_secret(text);
	c->has_password = true;
	return fits ||
	       err_set(e, ERR_USAGE, "the password is longer than %d bytes",
	           PASSWORD_SIZE - 1);
}

static bool
has_tunnels(const struct option_set *s)
{
	return option_get_count(s, OPTION_TUNNEL) > 0 ||
	       option_get_count(s, OPTION_SOCKS) > 0;
}

static bool
is_console_wanted(const struct connect_command *c)
{
	const struct option_set *s = c->options;

	if (option_get(s, OPTION_BATCH) || option_get(s, OPTION_STDIO))
		return false;
	if (option_get_count(s, OPTION_CONSOLE) > 0)
		return true;
	return !has_tunnels(s) && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
}

/* What the options and the environment say, without asking. */
static bool
read_login(struct connect_command *c, struct err *e)
{
	const char *user = option_get(c->options, OPTION_USER);

	if (user && strlen(user) >= NAME_SIZE)
		return err_set(e, ERR_USAGE,
		    "the user name is longer than %d bytes", NAME_SIZE - 1);
	if (user)
		strcpy(c->user, user);
	c->has_user = user != NULL;
	if (!read_password(c, e))
		return false;
	if (c->has_user && !c->has_password && !prompt_is_possible())
		return err_set(e, ERR_USAGE,
		    "no password for %s: give --password-file FILE or set "
		    "HYCO_PASSWORD; there is no terminal to ask on",
		    c->user);
	if (c->has_password && !c->has_user && !is_console_wanted(c))
		return err_set(e, ERR_USAGE,
		    "a password without a user: give --user NAME or set "
		    "HYCO_USER");
	return true;
}

/* Asks for what is missing. */
static bool
ask_login(struct connect_command *c, struct err *e)
{
	int number = 0;

	if (!c->has_user && is_console_wanted(c) && prompt_is_possible() &&
	    !prompt_line("Username: ", false, c->user, NAME_SIZE, &number, e))
		return false;
	if (!c->has_user && !c->user[0])
		return true;
	return c->has_password || prompt_line("Password: ", true, c->password,
	                              PASSWORD_SIZE, &number, e);
}

static void
on_login(void *owner, bool verified, const struct err *err)
{
	struct connect_command *c = owner;

	c->logged_in = !err;
	c->is_verified = verified;
	if (err)
		c->login_error = *err;
	loop_stop(c->loop);
}

static enum client_mode
mode_of(const struct option_set *s)
{
	const char *word = option_get(s, OPTION_MODE);
	enum client_mode mode = CLIENT_AUTO;

	if (word)
		client_mode_parse(word, &mode);
	return mode;
}

/* Who the listener has to be. */
static bool
check_trust(const struct option_set *s, struct err *e)
{
	const char *pin = option_get(s, OPTION_PIN);
	const bool has_proof = pin || option_get(s, OPTION_E2E_CA);

	if (pin && !tls_identity_is_name(pin))
		return err_set(e, ERR_USAGE,
		    "--pin: an identity is sha256: and 43 letters, as the "
		    "listener logs it at its start");
	if (has_proof && option_get_count(s, OPTION_NO_E2E) > 0)
		return err_set(e, ERR_USAGE,
		    "--no-e2e leaves no proof of who the listener is, so it "
		    "does not go with --pin or --e2e-ca");
	if (has_proof && mode_of(s) == CLIENT_SAMPLE)
		return err_set(e, ERR_USAGE,
		    "listeners cannot prove who they are in the sample way, "
		    "so it does not go with --pin or --e2e-ca");
	return true;
}

static bool
set_login(
    struct connect_command *c, const struct hc_target *target, struct err *e)
{
	const struct option_set *s = c->options;
	const bool is_named = c->user[0] != '\0';
	const struct way_trust trust = {.pin = option_get(s, OPTION_PIN),
	    .ca_file = option_get(s, OPTION_E2E_CA),
	    .known_file = c->known_file,
	    .accept_new = option_get_count(s, OPTION_ACCEPT_NEW) > 0};
	const struct client_options o = {.dialer = c->dialer,
	    .target = target,
	    .user = is_named ? c->user : NULL,
	    .password = is_named ? c->password : NULL,
	    .mode = mode_of(s),
	    .trust = &trust,
	    .no_e2e = option_get_count(s, OPTION_NO_E2E) > 0,
	    .carriers = (unsigned)option_get_number(s, OPTION_CARRIERS, 1),
	    .window_s = (uint16_t)option_get_number(s, OPTION_RESUME_WINDOW, 0),
	    .memory = (size_t)option_get_number(s, OPTION_MEMORY, 0) << 20};
	bool ok = true;

	if (c->client)
		ok = client_set_login(c->client, o.user, o.password, e);
	else
		c->client = client_open(c->loop, &o, &client_events, c, e);
	if (c->client && !c->has_password)
		mem_wipe(c->password, sizeof c->password);
	return ok && c->client;
}

/* Whether asking for another name and password can help. */
static bool
is_login_refused(const struct connect_command *c)
{
	return c->login_error.code == ERR_AUTH &&
	       c->login_error.http_status == 403 && !c->has_password &&
	       prompt_is_possible();
}

static void
take_login_error(const struct connect_command *c, struct err *e)
{
	const enum err_code code = c->login_error.code;

	*e = c->login_error;
	if (code != ERR_AUTH || e->http_status != 403)
		return;
	err_set(e, code, "%s: %s", c->login_error.text,
	    c->user[0] ? "check the name and the password (--user, "
	                 "--password-file), or ask whoever runs the listener"
	               : "give --user NAME and --password-file FILE");
	e->http_status = 403;
}

/* The question about a listener that nobody knows. */
static bool
ask_identity(struct connect_command *c, const struct hc_target *target)
{
	const char *name = client_unknown_identity(c->client);
	char place[HC_TARGET_TEXT_MAX];
	char answer[16];
	int number = 0;
	struct err e;

	if (!name || !c->known_file || !prompt_is_possible())
		return false;
	fprintf(stderr,
	    "The listener of %s is not known yet.\nIts identity is %s.\n"
	    "Compare it with what the listener logs at its start.\n",
	    hc_target_print(target, place), name);
	if (!prompt_line("Trust it from now on? (yes/no) ", false, answer,
	        sizeof answer, &number, &e))
		return false;
	if (strcmp(answer, "yes") != 0)
		return false;
	if (client_accept_identity(c->client, &c->login_error))
		return true;
	return false;
}

/* One login, and once more when a person says who the listener is. */
static void
try_login(struct connect_command *c, const struct hc_target *target)
{
	do {
		client_login(c->client, on_login, c);
		loop_run(c->loop);
	} while (!c->logged_in && !c->is_ending && ask_identity(c, target));
}

static bool
log_in(struct connect_command *c, const struct hc_target *target, struct err *e)
{
	for (int i = 0; i < LOGIN_TRIES; i++) {
		if (!ask_login(c, e) || !set_login(c, target, e))
			return false;
		try_login(c, target);
		if (c->logged_in || c->is_ending)
			break;
		take_login_error(c, e);
		if (!is_login_refused(c))
			return false;
		if (i + 1 < LOGIN_TRIES)
			fputs("Wrong user name or password.\n", stderr);
	}
	if (c->logged_in && c->user[0] && !c->is_verified)
		log_warn("this listener does not check passwords at login; "
		         "each connection will tell",
		    NULL);
	return c->logged_in || c->is_ending;
}

/* --- commands --- */

static void
on_console_line(void *owner, const char *text, size_t n)
{
	struct connect_command *c = owner;
	enum console_command_result result;
	struct err e;

	c->is_interrupted = false;
	result = console_command_run(&c->commands, text, n, &e);
	fflush(stdout);
	if (result == CONSOLE_COMMAND_EXIT) {
		end(c, ERR_EXIT_DONE);
		return;
	}
	if (result == CONSOLE_COMMAND_FAILED)
		fprintf(stderr, "%s\n", e.text);
	console_set_prompt(c->console, console_command_prompt(&c->commands));
}

static void
on_console_end(void *owner)
{
	end(owner, ERR_EXIT_DONE);
}

static void
on_console_complete(void *owner, const char *text, size_t n,
    void (*add)(void *arg, const char *candidate), void *arg)
{
	struct connect_command *c = owner;

	console_command_complete(&c->commands, text, n, add, arg);
}

static const struct console_events console_events = {.on_line = on_console_line,
    .on_end = on_console_end,
    .complete = on_console_complete};

static void
on_batch_line(void *owner, const char *text, size_t n, unsigned number)
{
	struct connect_command *c = owner;
	enum console_command_result result;
	struct err e;

	result = console_command_run(&c->commands, text, n, &e);
	fflush(stdout);
	if (result == CONSOLE_COMMAND_FAILED) {
		fprintf(stderr, "hyco connect: %s:%u: %s\n",
		    batch_name(c->batch), number, e.text);
		c->status = ERR_EXIT_FAILURE;
	} else if (result == CONSOLE_COMMAND_WAIT) {
		batch_set_active(c->batch, false);
		timer_set(&c->wait, c->commands.wait_ms);
	} else if (result == CONSOLE_COMMAND_EXIT) {
		end(c, ERR_EXIT_DONE);
	}
}

static void
on_wait_over(void *owner)
{
	struct connect_command *c = owner;

	batch_set_active(c->batch, true);
}

/* The last command was read: open tunnels go on until a signal. */
static void
on_batch_end(void *owner)
{
	struct connect_command *c = owner;
	struct client_status st;

	client_status(c->client, &st);
	if (st.tunnels > 0)
		return;
	if (c->commands.run == 0) {
		struct err e;

		err_set(&e, ERR_USAGE,
		    "nothing to do: give -L, -D, -W, --batch FILE, or commands "
		    "on "
		    "standard input");
		c->status = command_line_fail(c->options, &e);
	}
	end(c, ERR_EXIT_DONE);
}

static const struct batch_events batch_events = {
    .on_line = on_batch_line, .on_end = on_batch_end};

static bool
open_console(struct connect_command *c, struct err *e)
{
	char *history = NULL;

	if (c->folder)
		history = mem_printf("%s/history", c->folder);
	c->commands.can_ask = true;
	puts("Type `help` for the commands.");
	c->console = console_open(c->loop, history, &console_events, c, e);
	free(history);
	return c->console != NULL;
}

/* The connection of -W is over, and so are we. */
static void
on_stdio_done(void *owner, const struct err *err)
{
	end(owner, err ? (int)err_exit_status(err->code) : ERR_EXIT_DONE);
}

static bool
open_stdio(struct connect_command *c, struct err *e)
{
	const char *text = option_get(c->options, OPTION_STDIO);
	struct stream *s;
	struct end to;

	if (!end_parse(&to, text, 0, e))
		return false;
	s = stdio_open(c->loop, STDIN_FILENO, STDOUT_FILENO, e);
	if (!s)
		return false;
	if (client_join(c->client, s, &to, on_stdio_done, c, e))
		return true;
	stream_close(s);
	return false;
}

static bool
open_commands(struct connect_command *c, struct err *e)
{
	const char *file = option_get(c->options, OPTION_BATCH);

	if (is_console_wanted(c))
		return open_console(c, e);
	if (option_get(c->options, OPTION_STDIO))
		return open_stdio(c, e);
	if (!file && has_tunnels(c->options))
		return true;
	c->batch = batch_open(c->loop, file, &batch_events, c, e);
	return c->batch != NULL;
}

/* --- the whole --- */

/* Where the commands will come from, before anybody is asked for a password. */
static bool
check_terminal(const struct option_set *s, struct err *e)
{
	const bool is_in = isatty(STDIN_FILENO);
	const bool is_out = isatty(STDOUT_FILENO);
	const bool is_joined = option_get(s, OPTION_STDIO) != NULL;
	const bool is_alone =
	    !has_tunnels(s) && !option_get(s, OPTION_BATCH) && !is_joined;

	if (option_get(s, OPTION_BATCH) &&
	    option_get_count(s, OPTION_CONSOLE) > 0)
		return err_set(
		    e, ERR_USAGE, "--batch and --console do not go together");
	if (is_joined && (option_get(s, OPTION_BATCH) ||
	                     option_get_count(s, OPTION_CONSOLE) > 0))
		return err_set(e, ERR_USAGE,
		    "-W has standard input and output for itself: no --batch, "
		    "no --console");
	if ((option_get_count(s, OPTION_CONSOLE) > 0 && !(is_in && is_out)) ||
	    (is_alone && is_in && !is_out))
		return err_set(e, ERR_USAGE,
		    "the console needs a terminal for input and output; "
		    "without one give -L or --batch FILE");
	return true;
}

/* What only the hyco way carries. */
static bool
check_ends(const struct option_set *s, struct err *e)
{
	const struct option_value *socks = &s->at[OPTION_SOCKS];
	const char *joined = option_get(s, OPTION_STDIO);
	struct end to;

	if ((joined || socks->count > 0) && mode_of(s) == CLIENT_SAMPLE)
		return err_set(e, ERR_USAGE,
		    "%s needs the hyco way, so it does not go with --mode "
		    "sample",
		    joined ? "-W" : "-D");
	for (unsigned i = 0; i < socks->count; i++)
		if (!console_command_parse_socks(&to, socks->list[i], e))
			return err_prefix(e, "-D %.80s", socks->list[i]);
	if (joined && !end_parse(&to, joined, 0, e))
		return err_prefix(e, "-W %.80s", joined);
	return true;
}

static bool
check_tunnels(const struct option_set *s, struct err *e)
{
	const struct option_value *v = &s->at[OPTION_TUNNEL];
	struct tunnel_spec spec;

	for (unsigned i = 0; i < v->count; i++) {
		if (!end_parse_tunnel(&spec, v->list[i], e))
			return err_prefix(e, "-L %.80s", v->list[i]);
		if (spec.local.kind->has_datagrams &&
		    mode_of(s) == CLIENT_SAMPLE)
			return err_set(e, ERR_USAGE,
			    "-L %.80s: /udp needs the hyco way, so it does "
			    "not go with --mode sample",
			    v->list[i]);
	}
	return check_ends(s, e);
}

static bool
open_tunnels(struct connect_command *c, struct err *e)
{
	const struct option_value *v = &c->options->at[OPTION_TUNNEL];
	struct tunnel_spec spec;

	for (unsigned i = 0; i < v->count; i++)
		if (!end_parse_tunnel(&spec, v->list[i], e) ||
		    !console_command_open_tunnel(c->client, &spec, e))
			return err_prefix(e, "-L %.80s", v->list[i]);
	v = &c->options->at[OPTION_SOCKS];
	for (unsigned i = 0; i < v->count; i++)
		if (!console_command_open_socks(c->client, v->list[i], e))
			return err_prefix(e, "-D %.80s", v->list[i]);
	return true;
}

static bool
on_signals(struct connect_command *c, struct err *e)
{
	static const int numbers[] = {
	    SIGINT, SIGTERM, SIGHUP, SIGWINCH, SIGCONT};

	for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
		if (!loop_on_signal(c->loop, numbers[i], on_signal, c, e))
			return false;
	return true;
}

/* Tunnels on sockets, and those that commands may open yet. */
static void
allow_sockets(const struct option_set *s, struct sandbox *b)
{
	const struct option_value *v = &s->at[OPTION_TUNNEL];
	struct tunnel_spec spec;
	struct end local;

	for (unsigned i = 0; i < v->count; i++)
		if (end_parse_tunnel(&spec, v->list[i], NULL) &&
		    spec.local.kind->has_path)
			sandbox_allow_socket(b, spec.local.path);
	v = &s->at[OPTION_SOCKS];
	for (unsigned i = 0; i < v->count; i++)
		if (end_parse_local(&local, v->list[i], NULL) &&
		    local.kind->has_path)
			sandbox_allow_socket(b, local.path);
	sandbox_allow(b, SANDBOX_SOCKETS, "/tmp");
	sandbox_allow(b, SANDBOX_SOCKETS, getenv("XDG_RUNTIME_DIR"));
}

/* Where history and known listeners are. */
static void
open_folder(struct connect_command *c)
{
	struct err reason;

	if (!is_console_wanted(c) && mode_of(c->options) == CLIENT_SAMPLE)
		return;
	c->folder = state_open(NULL, &reason);
	if (c->folder)
		c->known_file = mem_printf("%s/known_listeners", c->folder);
	else
		log_info("nothing can be remembered: no history, no listeners",
		    "reason=%s", reason.text);
}

static void
close_sandbox(struct connect_command *c)
{
	const struct option_set *s = c->options;
	struct sandbox *b = sandbox_new(s);

	sandbox_allow(b, SANDBOX_WRITE, c->folder);
	sandbox_allow_again(b, option_get(s, OPTION_E2E_CA));
	sandbox_allow(b, SANDBOX_READ, option_get(s, OPTION_BATCH));
	allow_sockets(s, b);
	sandbox_allow_network(b);
	sandbox_allow_terminal(b);
	sandbox_enter(b);
}

static bool
serve(struct connect_command *c, const struct hc_target *target, struct err *e)
{
	if (!check_terminal(c->options, e) || !check_tunnels(c->options, e) ||
	    !check_trust(c->options, e) || !read_login(c, e) ||
	    !on_signals(c, e))
		return false;
	open_folder(c);
	c->dialer = command_line_dialer(c->options, c->loop, e);
	if (!c->dialer)
		return false;
	close_sandbox(c);
	if (!log_in(c, target, e))
		return false;
	if (c->is_ending)
		return true;
	c->commands.client = c->client;
	if (!open_tunnels(c, e) || !open_commands(c, e))
		return false;
	notify_ready("tunnels are open");
	loop_run(c->loop);
	return true;
}

int
cmd_connect(const struct option_set *s)
{
	struct connect_command c = {.options = s};
	struct hc_target target;
	struct err e;
	bool ok;

	command_line_set_log(s, LOG_WARN);
	c.loop = loop_new(&e);
	if (!c.loop)
		return command_line_fail(s, &e);
	timer_init(&c.wait, c.loop, on_wait_over, &c);
	ok = command_line_target(s, HC_TARGET_SEND, &target, &e) &&
	     serve(&c, &target, &e);
	hc_target_fini(&target);
	mem_wipe(c.password, sizeof c.password);
	if (!ok)
		end(&c, command_line_fail(s, &e));
	tell_repeats(&c);
	if (c.client)
		end(&c, ERR_EXIT_DONE);
	free(c.folder);
	free(c.known_file);
	if (c.dialer)
		dialer_close(c.dialer);
	if (!loop_close(c.loop))
		log_error("the loop did not end dry", NULL);
	return c.status;
}

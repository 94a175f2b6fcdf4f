/* SPDX-License-Identifier: MIT
 *
 * The option table and what is made of it: the parser, the help texts and the
 * shell completion. A new option is a row in the table and a name in the enum;
 * the manual page is by hand, and a test compares it with the help.
 */
#include "cli/option.h"

#include <assert.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "cli/suggest.h"
#include "util/err.h"
#include "util/mem.h"
#include "util/text.h"

#define RELAY (1u << OPTION_COMMAND_RELAY)
#define LISTEN (1u << OPTION_COMMAND_LISTEN)
#define CONNECT (1u << OPTION_COMMAND_CONNECT)
#define PASSWD (1u << OPTION_COMMAND_PASSWD)
#define TOKEN (1u << OPTION_COMMAND_TOKEN)
#define COMPLETION (1u << OPTION_COMMAND_COMPLETION)
#define ENDS (LISTEN | CONNECT)
#define ALL (RELAY | ENDS | PASSWD | TOKEN | COMPLETION)

const struct option option_table[OPTION_COUNT] = {
    [OPTION_CONNECTION_STRING] = {.name = "connection-string",
        .letter = 'x',
        .type = OPTION_TYPE_SECRET,
        .is_in_file = true,
        .commands = ENDS | TOKEN,
        .argument = "STR|@FILE",
        .environment = "HYCO_CONNECTION_STRING",
        .help = "relay, path and key in one text: Endpoint=sb://HOST[:PORT]/;"
                "SharedAccessKeyName=..;SharedAccessKey=..;EntityPath=.."},
    [OPTION_NAMESPACE] = {.name = "namespace",
        .letter = 'n',
        .type = OPTION_TYPE_TEXT,
        .is_in_file = true,
        .commands = ENDS | TOKEN,
        .argument = "HOST[:PORT]",
        .environment = "HYCO_NAMESPACE",
        .help = "the relay (port 443 if not given)"},
    [OPTION_PATH] = {.name = "path",
        .letter = 'p',
        .type = OPTION_TYPE_TEXT,
        .is_in_file = true,
        .commands = ENDS | TOKEN,
        .argument = "PATH",
        .environment = "HYCO_PATH",
        .help = "the hybrid connection's path"},
    [OPTION_KEY_NAME] = {.name = "key-name",
        .letter = 'K',
        .type = OPTION_TYPE_TEXT,
        .is_in_file = true,
        .commands = ENDS | TOKEN,
        .argument = "NAME",
        .environment = "HYCO_KEY_NAME",
        .help = "name of the shared access rule"},
    [OPTION_KEY] = {.name = "key",
        .letter = 'k',
        .type = OPTION_TYPE_SECRET,
        .is_in_file = true,
        .commands = ENDS | TOKEN,
        .argument = "STR|@FILE",
        .environment = "HYCO_KEY",
        .help = "the rule's key"},
    [OPTION_TOKEN] = {.name = "token",
        .type = OPTION_TYPE_SECRET,
        .is_in_file = true,
        .commands = ENDS,
        .argument = "STR|@FILE",
        .environment = "HYCO_TOKEN",
        .help = "a ready shared access signature in place of a key; it is "
                "not renewed"},
    [OPTION_CA] = {.name = "ca",
        .type = OPTION_TYPE_FILE,
        .is_in_file = true,
        .commands = ENDS,
        .argument = "FILE",
        .environment = "HYCO_CA",
        .help = "also trust the authorities in this PEM file for the relay's "
                "TLS"},
    [OPTION_PROXY] = {.name = "proxy",
        .type = OPTION_TYPE_SECRET,
        .is_in_file = true,
        .commands = ENDS,
        .argument = "URL|@FILE",
        .help = "reach the relay through this proxy (http://, https://, "
                "socks5h://); \"\" for none. Without it HTTPS_PROXY, "
                "ALL_PROXY and NO_PROXY decide"},
    [OPTION_USERS] = {.name = "users",
        .letter = 'u',
        .type = OPTION_TYPE_FILE,
        .is_in_file = true,
        .commands = LISTEN,
        .argument = "FILE",
        .help = "who may come in: lines of name:hash, made by hyco passwd"},
    [OPTION_POLICY] = {.name = "policy",
        .type = OPTION_TYPE_FILE,
        .is_in_file = true,
        .commands = LISTEN,
        .argument = "FILE",
        .help = "where each user may go; without it everywhere but "
                "link-local and metadata addresses"},
    [OPTION_ALLOW_ANONYMOUS] = {.name = "allow-anonymous",
        .type = OPTION_TYPE_FLAG,
        .is_in_file = true,
        .commands = LISTEN,
        .help = "serve senders without user and password: whoever holds a "
                "Send key comes in"},
    [OPTION_DEFAULT_TARGET] = {.name = "default-target",
        .type = OPTION_TYPE_TEXT,
        .is_in_file = true,
        .commands = LISTEN,
        .argument = "HOST:PORT",
        .help = "destination of senders that name none"},
    [OPTION_TUNNEL] = {.name = "tunnel",
        .letter = 'L',
        .type = OPTION_TYPE_LIST,
        .is_in_file = true,
        .commands = CONNECT,
        .argument = "[BIND:]PORT[:HOST:PORT]",
        .help = "open this tunnel: listen here on PORT (on loopback unless "
                "BIND says otherwise, or on socket:/FILE=) and carry to "
                "HOST:PORT as the listener sees it (default: the same port "
                "on its own machine); with /udp behind, datagrams. May be "
                "given several times"},
    [OPTION_SOCKS] = {.name = "socks",
        .letter = 'D',
        .type = OPTION_TYPE_LIST,
        .is_in_file = true,
        .commands = CONNECT,
        .argument = "[BIND:]PORT",
        .help = "listen here on PORT for applications that say by SOCKS 4, "
                "4a, 5 or HTTP CONNECT where they want to go; the listener "
                "resolves the names. May be given several times"},
    [OPTION_STDIO] = {.name = "stdio",
        .letter = 'W',
        .type = OPTION_TYPE_TEXT,
        .commands = CONNECT,
        .argument = "HOST:PORT",
        .help = "join standard input and output to HOST:PORT as the listener "
                "sees it, and end with that connection (for ssh's "
                "ProxyCommand)"},
    [OPTION_USER] = {.name = "user",
        .letter = 'u',
        .type = OPTION_TYPE_TEXT,
        .is_in_file = true,
        .commands = CONNECT,
        .argument = "NAME",
        .environment = "HYCO_USER",
        .help = "log in to the listener as NAME"},
    [OPTION_PASSWORD_FILE] = {.name = "password-file",
        .type = OPTION_TYPE_FILE,
        .is_in_file = true,
        .commands = CONNECT,
        .argument = "FILE",
        .help = "read the password from the first line of FILE"},
    [OPTION_PASSWORD] = {.name = NULL,
        .type = OPTION_TYPE_TEXT,
        .commands = CONNECT,
        .environment = "HYCO_PASSWORD",
        .help = "the password"},
    [OPTION_MODE] = {.name = "mode",
        .type = OPTION_TYPE_CHOICE,
        .is_in_file = true,
        .commands = CONNECT,
        .argument = "MODE",
        .choices = "auto|hyco|sample",
        .help = "how to speak to the listener; hyco: sessions that survive "
                "their carriers, encrypted from end to end; sample: as the "
                "sample hyco-websocket-tunnel does, one WebSocket for each "
                "connection; auto (default): hyco, and sample with listeners "
                "that do not know it"},
    [OPTION_PIN] = {.name = "pin",
        .type = OPTION_TYPE_TEXT,
        .is_in_file = true,
        .commands = CONNECT,
        .argument = "sha256:...",
        .help = "the listener's identity, as it logs it at its start; no "
                "other is taken"},
    [OPTION_ACCEPT_NEW] = {.name = "accept-new",
        .type = OPTION_TYPE_FLAG,
        .is_in_file = true,
        .commands = CONNECT,
        .help = "trust and remember a listener that is not known yet, "
                "without asking"},
    [OPTION_E2E_CA] = {.name = "e2e-ca",
        .type = OPTION_TYPE_FILE,
        .is_in_file = true,
        .commands = CONNECT,
        .argument = "FILE",
        .help = "take the listener whose certificate one of the authorities "
                "in this PEM file issued for the path"},
    [OPTION_NO_E2E] = {.name = "no-e2e",
        .type = OPTION_TYPE_FLAG,
        .is_in_file = true,
        .commands = ENDS,
        .help = "no encryption from end to end: the relay can read and "
                "change everything; goes on both sides or on none"},
    [OPTION_IDENTITY] = {.name = "identity",
        .type = OPTION_TYPE_FILE,
        .is_in_file = true,
        .commands = LISTEN,
        .argument = "DIR",
        .help = "folder of the listener's identity, made at the first start "
                "(default $XDG_STATE_HOME/hyco or ~/.local/state/hyco)"},
    [OPTION_CARRIERS] = {.name = "carriers",
        .type = OPTION_TYPE_NUMBER,
        .is_in_file = true,
        .commands = CONNECT,
        .argument = "N",
        .min = 1,
        .max = 16,
        .help = "spread the connections over up to N sessions (default 1)"},
    [OPTION_RESUME_WINDOW] = {.name = "resume-window",
        .type = OPTION_TYPE_NUMBER,
        .is_in_file = true,
        .commands = ENDS,
        .argument = "SECONDS",
        .min = 1,
        .max = 65535,
        .help = "how long connections live on while the relay cannot be "
                "reached (default 120; the smaller one of both sides counts)"},
    [OPTION_MEMORY] = {.name = "memory",
        .type = OPTION_TYPE_NUMBER,
        .is_in_file = true,
        .commands = ENDS,
        .argument = "MIB",
        .min = 16,
        .max = 65536,
        .help = "most memory for what fast connections have on their way, in "
                "MiB (default 256)"},
    [OPTION_BATCH] = {.name = "batch",
        .type = OPTION_TYPE_FILE,
        .commands = CONNECT,
        .argument = "FILE",
        .help = "run the console's commands from FILE, then go on until a "
                "signal while tunnels are open"},
    [OPTION_CONSOLE] = {.name = "console",
        .letter = 'i',
        .type = OPTION_TYPE_FLAG,
        .commands = CONNECT,
        .help = "open the console as well when tunnels are given"},
    [OPTION_DEV] = {.name = "dev",
        .type = OPTION_TYPE_FLAG,
        .commands = RELAY,
        .help = "make certificate, keys and connection strings for trying "
                "things out, and serve the path \"demo\""},
    [OPTION_LISTEN] = {.name = "listen",
        .letter = 'l',
        .type = OPTION_TYPE_TEXT,
        .commands = RELAY,
        .argument = "ADDR:PORT",
        .help = "address to serve with --dev (default 127.0.0.1:9443; port 0: "
                "any free one)"},
    [OPTION_STATE] = {.name = "state",
        .type = OPTION_TYPE_FILE,
        .commands = RELAY,
        .argument = "DIR",
        .help = "folder for what --dev makes (default "
                "$XDG_STATE_HOME/hyco or ~/.local/state/hyco)"},
    [OPTION_STDIN] = {.name = "stdin",
        .type = OPTION_TYPE_FLAG,
        .commands = PASSWD,
        .help = "read the password from one line of standard input"},
    [OPTION_DELETE] = {.name = "delete",
        .letter = 'D',
        .type = OPTION_TYPE_FLAG,
        .commands = PASSWD,
        .help = "remove the user"},
    [OPTION_IMPORT] = {.name = "import",
        .type = OPTION_TYPE_FLAG,
        .commands = PASSWD,
        .help = "convert a users.txt with clear passwords in place"},
    [OPTION_TTL] = {.name = "ttl",
        .type = OPTION_TYPE_NUMBER,
        .commands = TOKEN,
        .argument = "SECONDS",
        .min = 1,
        .max = 31536000,
        .help = "how long the token is good for (default 3600)"},
    [OPTION_CURL] = {.name = "curl",
        .type = OPTION_TYPE_FLAG,
        .commands = TOKEN,
        .help = "print a URL with the token in it, ready for use"},
    [OPTION_CONFIG] = {.name = "config",
        .letter = 'c',
        .type = OPTION_TYPE_FILE,
        .commands = RELAY | ENDS | TOKEN,
        .argument = "FILE",
        .help = "read settings from this YAML file"},
    [OPTION_PIDFILE] = {.name = "pidfile",
        .type = OPTION_TYPE_FILE,
        .commands = RELAY | ENDS,
        .argument = "FILE",
        .help = "write the process id to FILE (.pid is added if missing), "
                "removed at the end"},
    [OPTION_KILL] = {.name = "kill",
        .type = OPTION_TYPE_FILE,
        .commands = RELAY | ENDS,
        .argument = "FILE",
        .help = "end the hyco process of this pid file, wait until it is "
                "gone, and do nothing else"},
    [OPTION_NO_SANDBOX] = {.name = "no-sandbox",
        .type = OPTION_TYPE_FLAG,
        .is_in_file = true,
        .commands = RELAY | ENDS,
        .help = "keep all files and system calls open (for debuggers, or "
                "where the sandbox is in the way)"},
    [OPTION_VERBOSE] = {.name = "verbose",
        .letter = 'v',
        .type = OPTION_TYPE_COUNT,
        .commands = RELAY | ENDS,
        .help = "log more; twice: still more"},
    [OPTION_QUIET] = {.name = "quiet",
        .letter = 'q',
        .type = OPTION_TYPE_COUNT,
        .commands = RELAY | ENDS,
        .help = "log less; twice: still less"},
    [OPTION_LOG_FORMAT] = {.name = "log-format",
        .type = OPTION_TYPE_CHOICE,
        .is_in_file = true,
        .commands = RELAY | ENDS,
        .argument = "FORMAT",
        .choices = "text|json",
        .help = "how log lines on standard error look: text (default) or "
                "json"},
    [OPTION_HELP] = {.name = "help",
        .letter = 'h',
        .type = OPTION_TYPE_FLAG,
        .commands = ALL,
        .help = "show this help"},
    [OPTION_VERSION] = {.name = "version",
        .letter = 'V',
        .type = OPTION_TYPE_FLAG,
        .commands = ALL,
        .help = "show the version"},
};

#define TARGET_OPERANDS "[OPTION ...] [NAMESPACE PATH RULE KEY]\n"

const struct option_command_info option_commands[OPTION_COMMAND_COUNT] = {
    [OPTION_COMMAND_RELAY] = {.name = "relay",
        .summary = "be the relay in the middle",
        .synopsis = "--dev [--listen ADDR:PORT] [--state DIR] [OPTION ...]\n"
                    "--config FILE [OPTION ...]\n"},
    [OPTION_COMMAND_LISTEN] = {.name = "listen",
        .summary = "serve tunnels into the network this machine is in",
        .synopsis = TARGET_OPERANDS,
        .notes = "Either --users or --allow-anonymous is needed. SIGHUP reads "
                 "the users and policy files again.\n",
        .max_operands = 4,
        .secret_operand = 4},
    [OPTION_COMMAND_CONNECT] = {.name = "connect",
        .summary = "open tunnels to a listener's network",
        .synopsis = TARGET_OPERANDS,
        .notes = "Without --tunnel and --batch, on a terminal: asks who you "
                 "are, then opens the console (its command help lists what it "
                 "can do). If standard input is no terminal, the console's "
                 "commands are read from it.\n",
        .max_operands = 4,
        .secret_operand = 4},
    [OPTION_COMMAND_PASSWD] = {.name = "passwd",
        .summary = "change the users file of a listener",
        .synopsis = "FILE USER [--stdin]\n"
                    "FILE USER --delete\n"
                    "FILE --import\n",
        .notes = "A running listener takes the change up with SIGHUP.\n",
        .max_operands = 2},
    [OPTION_COMMAND_TOKEN] = {.name = "token",
        .summary = "print a shared access signature",
        .synopsis = TARGET_OPERANDS,
        .max_operands = 4,
        .secret_operand = 4},
    [OPTION_COMMAND_COMPLETION] = {.name = "completion",
        .summary = "print a script for the shell's completion",
        .synopsis = "bash\n",
        .notes = "Use it with: source <(hyco completion bash)\n",
        .min_operands = 1,
        .max_operands = 1},
};

bool
option_is_for(enum option_id id, enum option_command command)
{
	return option_table[id].commands & (1u << command);
}

enum option_command
option_find_command(const char *name)
{
	enum option_command c = 0;

	while (c < OPTION_COMMAND_COUNT &&
	       strcmp(option_commands[c].name, name) != 0)
		c++;
	return c;
}

const char *
option_spelling(enum option_id id, enum option_source source, char out[64])
{
	const struct option *o = &option_table[id];

	if (source == OPTION_SOURCE_ENVIRONMENT)
		snprintf(out, 64, "%s", o->environment);
	else if (source == OPTION_SOURCE_FILE)
		snprintf(out, 64, "%s", o->name);
	else
		snprintf(out, 64, "--%s", o->name);
	return out;
}

const char *
option_get(const struct option_set *s, enum option_id id)
{
	return s->at[id].text;
}

uint64_t
option_get_number(
    const struct option_set *s, enum option_id id, uint64_t fallback)
{
	uint64_t n = fallback;

	if (s->at[id].text)
		text_parse_u64(s->at[id].text, option_table[id].min,
		    option_table[id].max, &n);
	return n;
}

unsigned
option_get_count(const struct option_set *s, enum option_id id)
{
	return s->at[id].count;
}

static void
value_clear(struct option_value *v)
{
	mem_free_secret(v->text);
	for (unsigned i = 0; v->list && i < v->count; i++)
		mem_free_secret(v->list[i]);
	free(v->list);
	*v = (struct option_value){0};
}

void
option_fini(struct option_set *s)
{
	for (size_t i = 0; i < OPTION_COUNT; i++)
		value_clear(&s->at[i]);
	for (unsigned i = 0; i < s->n_operands; i++)
		mem_free_secret(s->operands[i]);
	s->n_operands = 0;
}

/* --- setting values --- */

static bool
choice_has(const char *choices, const char *word)
{
	const size_t n = strlen(word);
	const char *at = choices;

	while (n > 0 && at) {
		if (strncmp(at, word, n) == 0 && (!at[n] || at[n] == '|'))
			return true;
		at = strchr(at, '|');
		at = at ? at + 1 : NULL;
	}
	return false;
}

static bool
check(enum option_id id, const char *text, const char *spelling, struct err *e)
{
	const struct option *o = &option_table[id];
	uint64_t n;

	if (strlen(text) > OPTION_TEXT_MAX)
		return err_set(
		    e, ERR_USAGE, "%s: the value is too long", spelling);
	if (o->type == OPTION_TYPE_NUMBER &&
	    !text_parse_u64(text, o->min, o->max, &n))
		return err_set(e, ERR_USAGE,
		    "%s: \"%.60s\" is not a number from %llu to %llu", spelling,
		    text, (unsigned long long)o->min,
		    (unsigned long long)o->max);
	if (o->type == OPTION_TYPE_CHOICE && !choice_has(o->choices, text))
		return err_set(e, ERR_USAGE, "%s: \"%.60s\" is not one of %s",
		    spelling, text, o->choices);
	/* An empty proxy means: none. All else needs a text. */
	if (!*text && id != OPTION_PROXY && id != OPTION_PASSWORD)
		return err_set(
		    e, ERR_USAGE, "%s: the value is empty", spelling);
	return true;
}

static bool
flag_text(const char *text, bool *on)
{
	if (strcmp(text, "true") == 0 || strcmp(text, "yes") == 0)
		*on = true;
	else if (strcmp(text, "false") == 0 || strcmp(text, "no") == 0)
		*on = false;
	else
		return false;
	return true;
}

static void
list_add(struct option_value *v, const char *text)
{
	v->list = mem_grow(v->list, (v->count + 1) * sizeof *v->list);
	v->list[v->count++] = mem_strdup(text);
}

bool
option_set_value(struct option_set *s, enum option_id id, const char *text,
    enum option_source source, struct err *e)
{
	const struct option *o = &option_table[id];
	struct option_value *v = &s->at[id];
	char spelling[64];

	if (v->source > source)
		return true;
	option_spelling(id, source, spelling);
	if (o->type == OPTION_TYPE_FLAG || o->type == OPTION_TYPE_COUNT) {
		bool on = true;

		if (text && !flag_text(text, &on))
			return err_set(e, ERR_USAGE,
			    "%s: \"%.60s\" is neither true nor false", spelling,
			    text);
		v->count += on;
		v->source = source;
		return true;
	}
	if (!check(id, text, spelling, e))
		return false;
	if (v->source < source)
		value_clear(v);
	v->source = source;
	if (o->type == OPTION_TYPE_LIST) {
		if (v->count == OPTION_LIST_MAX)
			return err_set(e, ERR_USAGE,
			    "%s: given more than %d times", spelling,
			    OPTION_LIST_MAX);
		list_add(v, text);
		return true;
	}
	if (v->text && strcmp(v->text, text) != 0)
		return err_set(e, ERR_USAGE,
		    "%s is given twice with different values", spelling);
	mem_free_secret(v->text);
	v->text = mem_strdup(text);
	return true;
}

bool
option_parse_environment(struct option_set *s, struct err *e)
{
	for (enum option_id id = 0; id < OPTION_COUNT; id++) {
		const char *name = option_table[id].environment;
		const char *text;

		if (!name || !option_is_for(id, s->command))
			continue;
		text = getenv(name);
		/* An empty variable is as good as none. */
		if (!text || !*text)
			continue;
		if (!option_set_value(
		        s, id, text, OPTION_SOURCE_ENVIRONMENT, e))
			return false;
	}
	return true;
}

/* --- the command line --- */

struct parser {
	struct option_set *set;
	int argc;
	char **argv;
	int at; /* the next argument */
};

/* What may be a secret does not stay where ps(1) shows it. */
static void
wipe_argument(char *text)
{
	mem_wipe(text, strlen(text));
}

static bool
unknown(struct parser *p, const char *word, size_t n, struct err *e)
{
	const char *const command = option_commands[p->set->command].name;
	const char *names[OPTION_COUNT] = {0};
	char *copy = mem_strndup(word, n < 60 ? n : 60);
	const char *near;

	for (enum option_id id = 0; id < OPTION_COUNT; id++)
		if (option_is_for(id, p->set->command))
			names[id] = option_table[id].name;
	near = suggest_nearest(copy, names, OPTION_COUNT);
	if (near)
		err_set(e, ERR_USAGE, "unknown option --%s; did you mean --%s?",
		    copy, near);
	else
		err_set(e, ERR_USAGE,
		    "unknown option --%s; `hyco %s --help` lists all", copy,
		    command);
	free(copy);
	return false;
}

/* The option whose name is `word` or begins with it, if only one does. */
static bool
find_long(struct parser *p, const char *word, size_t n, enum option_id *found,
    struct err *e)
{
	unsigned matches = 0;

	for (enum option_id id = 0; id < OPTION_COUNT; id++) {
		const char *name = option_table[id].name;

		if (!name || !option_is_for(id, p->set->command) ||
		    strncmp(name, word, n) != 0)
			continue;
		*found = id;
		if (!name[n])
			return true;
		matches++;
	}
	if (matches == 1)
		return true;
	if (matches == 0 || n == 0)
		return unknown(p, word, n, e);
	return err_set(e, ERR_USAGE,
	    "--%.*s can mean several options; write the name in full", (int)n,
	    word);
}

/* Takes the value of an option: `inside` (behind = or the letter), or the next
 * argument. */
static bool
take(struct parser *p, enum option_id id, char *inside, struct err *e)
{
	const struct option *o = &option_table[id];
	const bool is_secret = o->type == OPTION_TYPE_SECRET;
	char *text = inside;
	bool ok;

	if (!text) {
		if (p->at == p->argc)
			return err_set(e, ERR_USAGE, "--%s needs a value: %s",
			    o->name, o->argument);
		text = p->argv[p->at++];
	}
	ok = option_set_value(p->set, id, text, OPTION_SOURCE_LINE, e);
	if (is_secret)
		wipe_argument(text);
	return ok;
}

static bool
has_argument(enum option_id id)
{
	return option_table[id].argument != NULL;
}

static bool
parse_long(struct parser *p, char *word, struct err *e)
{
	char *equals = strchr(word, '=');
	const size_t n = equals ? (size_t)(equals - word) : strlen(word);
	enum option_id id = OPTION_COUNT;

	if (!find_long(p, word, n, &id, e))
		return false;
	if (has_argument(id))
		return take(p, id, equals ? equals + 1 : NULL, e);
	if (equals)
		return err_set(
		    e, ERR_USAGE, "--%s takes no value", option_table[id].name);
	return option_set_value(p->set, id, NULL, OPTION_SOURCE_LINE, e);
}

static bool
parse_letters(struct parser *p, char *letters, struct err *e)
{
	for (; *letters; letters++) {
		enum option_id id = 0;

		while (id < OPTION_COUNT &&
		       (option_table[id].letter != *letters ||
		           !option_is_for(id, p->set->command)))
			id++;
		if (id == OPTION_COUNT)
			return err_set(e, ERR_USAGE,
			    "unknown option -%c; `hyco %s --help` lists all",
			    isprint((unsigned char)*letters) ? *letters : '?',
			    option_commands[p->set->command].name);
		if (has_argument(id))
			return take(p, id, letters[1] ? letters + 1 : NULL, e);
		if (!option_set_value(p->set, id, NULL, OPTION_SOURCE_LINE, e))
			return false;
	}
	return true;
}

static bool
parse_operand(struct parser *p, char *text, struct err *e)
{
	struct option_set *s = p->set;
	const struct option_command_info *info = &option_commands[s->command];

	if (s->n_operands == info->max_operands)
		return err_set(e, ERR_USAGE,
		    "\"%.60s\" is one word too many; `hyco %s --help` tells",
		    text, info->name);
	if (strlen(text) > OPTION_TEXT_MAX)
		return err_set(e, ERR_USAGE, "an argument is too long");
	s->operands[s->n_operands++] = mem_strdup(text);
	if (s->n_operands == info->secret_operand)
		wipe_argument(text);
	return true;
}

bool
option_parse(struct option_set *s, enum option_command command, int argc,
    char **argv, struct err *e)
{
	struct parser p = {.set = s, .argc = argc, .argv = argv};
	bool only_operands = false;
	bool ok = true;

	*s = (struct option_set){.command = command};
	while (ok && p.at < p.argc) {
		char *word = p.argv[p.at++];

		if (only_operands || word[0] != '-' || !word[1])
			ok = parse_operand(&p, word, e);
		else if (strcmp(word, "--") == 0)
			only_operands = true;
		else if (word[1] == '-')
			ok = parse_long(&p, word + 2, e);
		else
			ok = parse_letters(&p, word + 1, e);
	}
	if (!ok || s->at[OPTION_HELP].count || s->at[OPTION_VERSION].count)
		return ok;
	if (s->n_operands < option_commands[command].min_operands)
		return err_set(e, ERR_USAGE,
		    "too few words; `hyco %s --help` tells",
		    option_commands[command].name);
	return true;
}

/* --- help --- */

#define HELP_COLUMN 26
#define HELP_WIDTH 79

/* Prints words from `column` on, wrapped, further lines at `indent`. */
static void
print_wrapped(FILE *out, const char *text, size_t column, size_t indent)
{
	size_t at = column;
	bool is_first = true;

	while (*text) {
		const size_t n = strcspn(text, " \n");

		if (!is_first && at + 1 + n > HELP_WIDTH) {
			fprintf(out, "\n%*s", (int)indent, "");
			at = indent;
			is_first = true;
		}
		fprintf(out, "%s%.*s", is_first ? "" : " ", (int)n, text);
		at += n + !is_first;
		is_first = false;
		text += n;
		while (*text == ' ' || *text == '\n')
			text++;
	}
	fputc('\n', out);
}

static void
print_option(FILE *out, const struct option *o)
{
	char left[80];
	char right[640];
	int n;

	n = snprintf(left, sizeof left,
	    o->letter ? "  -%c, --%s%s%s" : "  %c   --%s%s%s",
	    o->letter ? o->letter : ' ', o->name, o->argument ? " " : "",
	    o->argument ? o->argument : "");
	fputs(left, out);
	if (n > HELP_COLUMN - 2)
		fprintf(out, "\n%*s", HELP_COLUMN, "");
	else
		fprintf(out, "%*s", HELP_COLUMN - n, "");
	if (o->environment)
		snprintf(right, sizeof right, "%s [environment: %s]", o->help,
		    o->environment);
	else
		snprintf(right, sizeof right, "%s", o->help);
	print_wrapped(out, right, HELP_COLUMN, HELP_COLUMN);
}

static void
print_synopsis(FILE *out, const struct option_command_info *info)
{
	const char *line = info->synopsis;
	const char *label = "Usage:";

	while (*line) {
		const size_t n = strcspn(line, "\n");

		fprintf(out, "%-6s hyco %s %.*s\n", label, info->name, (int)n,
		    line);
		label = "";
		line += n + 1;
	}
}

void
option_print_help(FILE *out, enum option_command command)
{
	const struct option_command_info *info = &option_commands[command];
	bool has_environment_only = false;

	print_synopsis(out, info);
	fprintf(out, "\n%c%s.\n\nOptions:\n", toupper(info->summary[0]),
	    info->summary + 1);
	for (enum option_id id = 0; id < OPTION_COUNT; id++) {
		const struct option *o = &option_table[id];

		if (!option_is_for(id, command))
			continue;
		if (o->name)
			print_option(out, o);
		else
			has_environment_only = true;
	}
	if (has_environment_only)
		fputs("\nEnvironment:\n", out);
	for (enum option_id id = 0; id < OPTION_COUNT; id++) {
		const struct option *o = &option_table[id];

		if (!o->name && option_is_for(id, command)) {
			fprintf(out, "  %-*s", HELP_COLUMN - 2, o->environment);
			print_wrapped(out, o->help, HELP_COLUMN, HELP_COLUMN);
		}
	}
	if (info->notes) {
		fputc('\n', out);
		print_wrapped(out, info->notes, 0, 0);
	}
	if (command == OPTION_COMMAND_COMPLETION)
		fputs("\nManual: man hyco\n", out);
	else
		fprintf(out, "\nManual: man hyco-%s\n", info->name);
}

void
option_print_overview(FILE *out)
{
	fputs("Usage:  hyco COMMAND [OPTION ...]\n"
	      "\nTunnels over a relay, between two networks that cannot reach "
	      "each other.\n\nCommands:\n",
	    out);
	for (size_t i = 0; i < OPTION_COMMAND_COUNT; i++)
		fprintf(out, "  %-12s%s\n", option_commands[i].name,
		    option_commands[i].summary);
	fputs("  help        show this help, or that of a command\n"
	      "\n`hyco COMMAND --help` lists a command's options; `hyco "
	      "--version` tells the\nversion. To try it on one machine: `hyco "
	      "relay --dev`.\n",
	    out);
}

/* --- completion --- */

static void
completion_command(FILE *out, enum option_command command)
{
	fprintf(out, "\t%s) words=\"", option_commands[command].name);
	for (enum option_id id = 0; id < OPTION_COUNT; id++) {
		const struct option *o = &option_table[id];

		if (!o->name || !option_is_for(id, command))
			continue;
		fprintf(out, "--%s ", o->name);
		if (o->letter)
			fprintf(out, "-%c ", o->letter);
	}
	fputs("\" ;;\n", out);
}

/* The pattern of options that are followed by something of this type. Letters
 * whose meaning depends on the subcommand are qualified by it. */
static void
completion_pattern(FILE *out, enum option_type type)
{
	const char *bar = "";

	for (enum option_id id = 0; id < OPTION_COUNT; id++) {
		const struct option *o = &option_table[id];

		if (!o->name || o->type != type)
			continue;
		for (size_t c = 0; c < OPTION_COMMAND_COUNT; c++) {
			if (!option_is_for(id, (enum option_command)c))
				continue;
			fprintf(out, "%s%s:--%s", bar, option_commands[c].name,
			    o->name);
			bar = "|";
			if (o->letter)
				fprintf(out, "|%s:-%c", option_commands[c].name,
				    o->letter);
		}
	}
}

static void
completion_choices(FILE *out)
{
	for (enum option_id id = 0; id < OPTION_COUNT; id++) {
		const struct option *o = &option_table[id];

		if (o->type != OPTION_TYPE_CHOICE)
			continue;
		fprintf(out, "\t*:--%s) COMPREPLY=($(compgen -W \"", o->name);
		for (const char *c = o->choices; *c; c++)
			fputc(*c == '|' ? ' ' : *c, out);
		fputs("\" -- \"$word\")); return ;;\n", out);
	}
}

void
option_print_completion(FILE *out)
{
	fputs("# bash completion for hyco; made by: hyco completion bash\n"
	      "_hyco() {\n"
	      "\tlocal word=\"${COMP_WORDS[COMP_CWORD]}\"\n"
	      "\tlocal before=\"${COMP_WORDS[COMP_CWORD-1]}\"\n"
	      "\tlocal command=\"${COMP_WORDS[1]}\" words=\"\"\n"
	      "\tif [ \"$COMP_CWORD\" -eq 1 ]; then\n"
	      "\t\tCOMPREPLY=($(compgen -W \"",
	    out);
	for (size_t i = 0; i < OPTION_COMMAND_COUNT; i++)
		fprintf(out, "%s ", option_commands[i].name);
	fputs("help --help --version\" -- \"$word\"))\n"
	      "\t\treturn\n"
	      "\tfi\n"
	      "\tcase \"$command:$before\" in\n\t",
	    out);
	completion_pattern(out, OPTION_TYPE_FILE);
	fputs(") COMPREPLY=($(compgen -f -- \"$word\")); return ;;\n", out);
	completion_choices(out);
	fputs("\tesac\n"
	      "\tif [[ \"$word\" == @* ]]; then\n"
	      "\t\tCOMPREPLY=($(compgen -P @ -f -- \"${word#@}\"))\n"
	      "\t\treturn\n"
	      "\tfi\n"
	      "\tcase \"$command\" in\n",
	    out);
	for (enum option_command c = 0; c < OPTION_COMMAND_COUNT; c++)
		completion_command(out, c);
	fputs("\tesac\n"
	      "\tcase \"$command:$word\" in\n"
	      "\tcompletion:*) words=\"$words bash\" ;;\n"
	      "\tpasswd:[!-]*|passwd:) COMPREPLY=($(compgen -f -- \"$word\")); "
	      "return ;;\n"
	      "\tesac\n"
	      "\tCOMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n"
	      "}\n"
	      "complete -o filenames -F _hyco hyco\n",
	    out);
}

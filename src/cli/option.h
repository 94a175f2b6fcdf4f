/* SPDX-License-Identifier: MIT
 *
 * Every option of every subcommand, in one table. Parsing, --help, the shell
 * completion, the keys of the configuration file and the environment variables
 * all derive from it, so they cannot drift apart.
 *
 * Option values are texts that belong to the struct; numbers and choices were
 * checked when they were set. Whatever may be a secret is copied from argv and
 * then overwritten there.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct err;

enum option_command {
	OPTION_COMMAND_RELAY,
	OPTION_COMMAND_LISTEN,
	OPTION_COMMAND_CONNECT,
	OPTION_COMMAND_PASSWD,
	OPTION_COMMAND_TOKEN,
	OPTION_COMMAND_COMPLETION,
	OPTION_COMMAND_COUNT
};

enum option_id {
	OPTION_CONNECTION_STRING,
	OPTION_NAMESPACE,
	OPTION_PATH,
	OPTION_KEY_NAME,
	OPTION_KEY,
	OPTION_TOKEN,
	OPTION_CA,
	OPTION_PROXY,
	OPTION_USERS,
	OPTION_POLICY,
	OPTION_ALLOW_ANONYMOUS,
	OPTION_DEFAULT_TARGET,
	OPTION_TUNNEL,
	OPTION_SOCKS,
	OPTION_STDIO,
	OPTION_USER,
	OPTION_PASSWORD_FILE,
	OPTION_PASSWORD,
	OPTION_MODE,
	OPTION_PIN,
	OPTION_ACCEPT_NEW,
	OPTION_E2E_CA,
	OPTION_NO_E2E,
	OPTION_IDENTITY,
	OPTION_CARRIERS,
	OPTION_RESUME_WINDOW,
	OPTION_MEMORY,
	OPTION_BATCH,
	OPTION_CONSOLE,
	OPTION_DEV,
	OPTION_LISTEN,
	OPTION_STATE,
	OPTION_STDIN,
	OPTION_DELETE,
	OPTION_IMPORT,
	OPTION_TTL,
	OPTION_CURL,
	OPTION_CONFIG,
	OPTION_PIDFILE,
	OPTION_KILL,
	OPTION_NO_SANDBOX,
	OPTION_VERBOSE,
	OPTION_QUIET,
	OPTION_LOG_FORMAT,
	OPTION_HELP,
	OPTION_VERSION,
	OPTION_COUNT
};

enum option_type {
	OPTION_TYPE_FLAG,  /* no argument */
	OPTION_TYPE_COUNT, /* no argument, may be given several times */
	OPTION_TYPE_TEXT,
	OPTION_TYPE_NUMBER, /* within min and max */
	OPTION_TYPE_CHOICE, /* one of `choices` */
	OPTION_TYPE_FILE,   /* a file name */
	OPTION_TYPE_SECRET, /* the text itself, or @FILE that holds it */
	OPTION_TYPE_LIST,   /* may be given several times, all count */
};

struct option {
	const char *name; /* long name; NULL: by environment only */
	char letter;      /* 0: none */
	enum option_type type;
	bool is_in_file;         /* the long name is a key of the config file */
	unsigned commands;       /* bits 1 << enum option_command */
	const char *argument;    /* "FILE"; NULL for flags */
	const char *environment; /* "HYCO_KEY", or NULL */
	const char *choices;     /* "text|json" */
	uint64_t min, max;
	const char *help;
};

extern const struct option option_table[OPTION_COUNT];

struct option_command_info {
	const char *name;
	const char *summary;  /* one line */
	const char *synopsis; /* lines behind "hyco NAME ", each ended by \n */
	const char *notes;    /* paragraphs below the options; may be NULL */
	unsigned min_operands, max_operands;
	unsigned secret_operand; /* 1-based place of a secret; 0: none */
};

extern const struct option_command_info option_commands[OPTION_COMMAND_COUNT];

/* Where a value came from; a higher one wins. */
enum option_source {
	OPTION_SOURCE_NONE,
	OPTION_SOURCE_FILE,
	OPTION_SOURCE_ENVIRONMENT,
	OPTION_SOURCE_LINE,
};

struct option_value {
	enum option_source source;
	unsigned count; /* flags and counts: how often; lists: how many */
	char *text;     /* NULL when not given, and for flags and lists */
	char **list;
};

#define OPTION_OPERANDS_MAX 4
/* Arguments longer than this are refused. */
#define OPTION_TEXT_MAX ((size_t)64 * 1024)
#define OPTION_LIST_MAX 256

struct option_set {
	enum option_command command;
	struct option_value at[OPTION_COUNT];
	char *operands[OPTION_OPERANDS_MAX];
	unsigned n_operands;
};

/* Whether the subcommand knows the option. */
bool option_is_for(enum option_id id, enum option_command command);

/* Reads argv behind the subcommand's name, in the manner of getopt_long:
 * options and operands in any order, "--" ends the options, --name=VALUE or
 * --name VALUE, unambiguous beginnings of names, letters together. ERR_USAGE.
 * The set is initialised here and due to option_fini also on failure. */
bool option_parse(struct option_set *s, enum option_command command, int argc,
    char **argv, struct err *e);

/* Fills from the environment what the command line did not give. */
bool option_parse_environment(struct option_set *s, struct err *e);

/* Sets a value from `source`, checked against the table. Nothing happens when
 * a higher source has given one. ERR_USAGE, naming the option the way that
 * source spells it. */
bool option_set_value(struct option_set *s, enum option_id id, const char *text,
    enum option_source source, struct err *e);

/* Wipes and frees everything. */
void option_fini(struct option_set *s);

/* The text, or NULL; the number, or `fallback`; whether and how often a flag
 * was given. */
const char *option_get(const struct option_set *s, enum option_id id);
uint64_t option_get_number(
    const struct option_set *s, enum option_id id, uint64_t fallback);
unsigned option_get_count(const struct option_set *s, enum option_id id);

/* The option's name as the source of its value spells it: "--key", "HYCO_KEY",
 * "key". */
const char *option_spelling(
    enum option_id id, enum option_source source, char out[64]);

/* --help of a subcommand, of the program, and the completion script. */
void option_print_help(FILE *out, enum option_command command);
void option_print_overview(FILE *out);
void option_print_completion(FILE *out);

/* The subcommand of this name, or OPTION_COMMAND_COUNT. */
enum option_command option_find_command(const char *name);

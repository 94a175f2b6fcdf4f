/* SPDX-License-Identifier: MIT
 *
 * Configuration files over libcyaml, which is driven by schemas: one written
 * out below for the relay, one made from the option table for the other
 * subcommands. What libcyaml logs about a fault is turned into one sentence
 * with file and line; values are never repeated in it, for they may be keys.
 */
#include "cli/config.h"

#include <cyaml/cyaml.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/option.h"
#include "cli/secret.h"
#include "cli/suggest.h"
#include "util/err.h"
#include "util/list.h"
#include "util/mem.h"

#define TEXT_MAX 4096
#define ITEMS_MAX 100000

/* --- what libcyaml says about a fault --- */

struct fault {
	char message[400]; /* the first message */
	char field[64];    /* where, from the first line of the backtrace */
	unsigned line;     /* 0: not told */
};

static void
on_log(cyaml_log_t level, void *context, const char *format, va_list args)
{
	struct fault *f = context;
	char text[400];
	char *at;

	(void)level;
	vsnprintf(text, sizeof text, format, args);
	text[strcspn(text, "\n")] = '\0';
	at = strstr(text, "(line: ");
	if (at && f->line == 0) {
		f->line = (unsigned)strtoul(at + 7, NULL, 10);
		sscanf(text, "%*[ ]in mapping field '%63[^']'", f->field);
	} else if (!at && !f->message[0] && !strstr(text, "Backtrace")) {
		at = strncmp(text, "Load: ", 6) == 0 ? text + 6 : text;
		snprintf(f->message, sizeof f->message, "%s", at);
	}
}

/* libcyaml tells the place before an unknown key: its line is the first one
 * from there on that has it. */
static unsigned
line_of_key(const char *text, size_t n, const char *key, unsigned from)
{
	const char *const end = text + n;
	const size_t len = strlen(key);
	unsigned line = 1;

	for (const char *at = text; at < end; line++) {
		const char *const stop = memchr(at, '\n', (size_t)(end - at));
		const char *const next = stop ? stop + 1 : end;

		while (at < next && strchr(" \t-{,\"'", *at) && *at)
			at++;
		if (line >= from && (size_t)(next - at) > len &&
		    memcmp(at, key, len) == 0 && strchr(" :\"'", at[len]))
			return line;
		at = next;
	}
	return from;
}

struct reading {
	const char *path;
	const char *text;
	size_t n;
	const char *const *keys; /* every key there is, for suggestions */
	size_t n_keys;
};

/* The rest of `text` behind `prefix`, or NULL. */
static const char *
behind(const char *text, const char *prefix)
{
	const size_t n = strlen(prefix);

	return strncmp(text, prefix, n) == 0 ? text + n : NULL;
}

static bool
unknown_key(const struct reading *r, const struct fault *f, const char *key,
    struct err *e)
{
	const unsigned line = line_of_key(r->text, r->n, key, f->line);
	const char *near = suggest_nearest(key, r->keys, r->n_keys);

	if (near && strcmp(near, key) != 0)
		return err_set(e, ERR_USAGE,
		    "%s:%u: unknown key \"%s\"; did you mean \"%s\"?", r->path,
		    line, key, near);
	return err_set(
	    e, ERR_USAGE, "%s:%u: unknown key \"%s\" here", r->path, line, key);
}

static bool
explain(const struct reading *r, const struct fault *f, cyaml_err_t code,
    struct err *e)
{
	const unsigned line = f->line ? f->line : 1;
	const char *const where = f->field[0] ? f->field : "the file";
	const char *rest;

	rest = behind(f->message, "Unexpected key: ");
	if (rest)
		return unknown_key(r, f, rest, e);
	rest = behind(f->message, "Missing required mapping field: ");
	if (rest)
		return err_set(e, ERR_USAGE, "%s:%u: \"%s\" is missing here",
		    r->path, line, rest);
	rest = behind(f->message, "Mapping field already seen: ");
	if (rest)
		return err_set(e, ERR_USAGE, "%s:%u: \"%s\" is given twice",
		    r->path, line, rest);
	rest = behind(f->message, "Expecting ");
	if (rest)
		return err_set(e, ERR_USAGE, "%s:%u: %s: a %s is expected here",
		    r->path, line, where,
		    behind(rest, "MAPPING") ? "mapping (key: value)"
		    : behind(rest, "SEQUENCE") || behind(rest, "FLAGS")
		        ? "list (- item)"
		        : "single value");
	rest = behind(f->message, "libyaml: ");
	if (rest)
		return err_set(e, ERR_USAGE, "%s:%u: this is no YAML: %s",
		    r->path, line, rest);
	if (strstr(f->message, "INT value: ") ||
	    strstr(f->message, "int64_t value: "))
		return err_set(e, ERR_USAGE,
		    "%s:%u: %s: a number that fits is expected", r->path, line,
		    where);
	if (behind(f->message, "STRING length > "))
		return err_set(e, ERR_USAGE, "%s:%u: %s: the text is too long",
		    r->path, line, where);
	if (behind(f->message, "STRING length < "))
		return err_set(e, ERR_USAGE, "%s:%u: %s: the text is empty",
		    r->path, line, where);
	if (code == CYAML_ERR_SEQUENCE_ENTRIES_MIN)
		return err_set(e, ERR_USAGE,
		    "%s:%u: %s: at least one item is needed", r->path, line,
		    where);
	if (code == CYAML_ERR_UNEXPECTED_EVENT ||
	    code == CYAML_ERR_INTERNAL_ERROR)
		return err_set(e, ERR_USAGE,
		    "%s:%u: %s: what comes next makes no sense here", r->path,
		    line, where);
	if (code == CYAML_ERR_INVALID_VALUE)
		return err_set(e, ERR_USAGE,
		    "%s:%u: %s: not one of the words allowed here", r->path,
		    line, where);
	return err_set(e, ERR_USAGE, "%s:%u: %s: %s", r->path, line, where,
	    cyaml_strerror(code));
}

static cyaml_config_t
reader(struct fault *f)
{
	return (cyaml_config_t){
	    .log_fn = on_log,
	    .log_ctx = f,
	    .mem_fn = cyaml_mem,
	    .log_level = CYAML_LOG_ERROR,
	    /* Aliases could make a small file a huge one. */
	    .flags = CYAML_CFG_NO_ALIAS,
	};
}

/* Into a fresh struct described by the schema; NULL and *e on failure. */
static void *
load(const struct reading *r, const cyaml_schema_value_t *schema, struct err *e)
{
	struct fault f = {.line = 0};
	const cyaml_config_t config = reader(&f);
	cyaml_data_t *data = NULL;
	const cyaml_err_t code = cyaml_load_data(
	    (const uint8_t *)r->text, r->n, &config, schema, &data, NULL);

	if (code != CYAML_OK) {
		explain(r, &f, code, e);
		return NULL;
	}
	if (!data)
		err_set(e, ERR_USAGE, "%s:1: the file is empty", r->path);
	return data;
}

static void
unload(const cyaml_schema_value_t *schema, void *data)
{
	struct fault f = {.line = 0};
	const cyaml_config_t config = reader(&f);

	if (data)
		cyaml_free(&config, schema, data, 0);
}

char *
config_folder(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		return mem_strdup(".");
	return mem_strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

/* A name in a file means a place beside that file. */
static char *
beside(const char *path, const char *name)
{
	char *folder;
	char *full;

	if (name[0] == '/')
		return mem_strdup(name);
	folder = config_folder(path);
	full = mem_printf("%s/%s", folder, name);
	free(folder);
	return full;
}

/* --- the relay's file --- */

struct yaml_rule {
	char *name;
	char *key;
	char *key_file;
	unsigned rights;
};

struct yaml_hybrid_connection {
	char *path;
	unsigned *requires_client_authorization;
	unsigned *max_listeners;
	unsigned *tunnel_address;
	struct yaml_rule *rules;
	unsigned n_rules;
};

struct yaml_namespace {
	char *name;
	char **aliases;
	unsigned n_aliases;
	struct yaml_hybrid_connection *hybrid_connections;
	unsigned n_hybrid_connections;
	struct yaml_rule *rules;
	unsigned n_rules;
};

struct yaml_tls {
	char *cert;
	char *key;
};

/* NULL: not given. */
struct yaml_limits {
	uint32_t *handshake_ms;
	uint32_t *accept_ms;
	uint32_t *token_grace_ms;
	uint32_t *ping_ms;
	uint32_t *silence_ms;
	uint32_t *stall_ms;
	uint32_t *close_ms;
	uint32_t *max_half_open;
	uint32_t *max_waiting;
	uint32_t *max_head_bytes;
	uint32_t *status_no_listener;
	uint32_t *status_accept_timeout;
	uint32_t *status_over_quota;
	uint32_t *brake_first_ms;
	uint32_t *brake_most_ms;
	uint32_t *brake_forget_ms;
};

struct yaml_relay {
	char *listen;
	struct yaml_tls tls;
	struct yaml_namespace *namespaces;
	unsigned n_namespaces;
	struct yaml_limits limits;
};

#define OPTIONAL CYAML_FLAG_OPTIONAL
#define POINTER CYAML_FLAG_POINTER
#define TEXT(key, type, field, flags)                                          \
	CYAML_FIELD_STRING_PTR(key, POINTER | (flags), type, field, 1, TEXT_MAX)
/* libcyaml's own booleans take any word for true. */
#define BOOL(key, type, field)                                                 \
	CYAML_FIELD_ENUM_PTR(key, POINTER | OPTIONAL | CYAML_FLAG_STRICT,      \
	    type, field, bool_words, CYAML_ARRAY_LEN(bool_words))
#define LIMIT(key, field)                                                      \
	CYAML_FIELD_UINT_PTR(key, POINTER | OPTIONAL, struct yaml_limits, field)

static const cyaml_strval_t bool_words[] = {
    {"false", 0}, {"no", 0}, {"true", 1}, {"yes", 1}};

static const cyaml_strval_t right_words[] = {
    {"listen", RELAY_LISTEN}, {"send", RELAY_SEND}, {"manage", RELAY_MANAGE}};

static const cyaml_schema_field_t rule_fields[] = {
    TEXT("name", struct yaml_rule, name, 0),
    TEXT("key", struct yaml_rule, key, OPTIONAL),
    TEXT("key-file", struct yaml_rule, key_file, OPTIONAL),
    CYAML_FIELD_FLAGS("rights", CYAML_FLAG_STRICT, struct yaml_rule, rights,
        right_words, CYAML_ARRAY_LEN(right_words)),
    CYAML_FIELD_END};

static const cyaml_schema_value_t rule_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct yaml_rule, rule_fields)};

static const cyaml_schema_value_t text_schema = {
    CYAML_VALUE_STRING(POINTER, char, 1, TEXT_MAX)};

static const cyaml_schema_field_t hybrid_connection_fields[] = {
    TEXT("path", struct yaml_hybrid_connection, path, 0),
    BOOL("requires-client-authorization", struct yaml_hybrid_connection,
        requires_client_authorization),
    CYAML_FIELD_UINT_PTR("max-listeners", POINTER | OPTIONAL,
        struct yaml_hybrid_connection, max_listeners),
    BOOL("tunnel-address", struct yaml_hybrid_connection, tunnel_address),
    CYAML_FIELD_SEQUENCE_COUNT("rules", POINTER | OPTIONAL,
        struct yaml_hybrid_connection, rules, n_rules, &rule_schema, 0,
        ITEMS_MAX),
    CYAML_FIELD_END};

static const cyaml_schema_value_t hybrid_connection_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct yaml_hybrid_connection,
        hybrid_connection_fields)};

static const cyaml_schema_field_t namespace_fields[] = {
    TEXT("name", struct yaml_namespace, name, 0),
    CYAML_FIELD_SEQUENCE_COUNT("aliases", POINTER | OPTIONAL,
        struct yaml_namespace, aliases, n_aliases, &text_schema, 0, ITEMS_MAX),
    CYAML_FIELD_SEQUENCE_COUNT("hybrid-connections", POINTER,
        struct yaml_namespace, hybrid_connections, n_hybrid_connections,
        &hybrid_connection_schema, 1, ITEMS_MAX),
    CYAML_FIELD_SEQUENCE_COUNT("rules", POINTER | OPTIONAL,
        struct yaml_namespace, rules, n_rules, &rule_schema, 0, ITEMS_MAX),
    CYAML_FIELD_END};

static const cyaml_schema_value_t namespace_schema = {CYAML_VALUE_MAPPING(
    CYAML_FLAG_DEFAULT, struct yaml_namespace, namespace_fields)};

static const cyaml_schema_field_t tls_fields[] = {
    TEXT("cert", struct yaml_tls, cert, 0),
    TEXT("key", struct yaml_tls, key, 0), CYAML_FIELD_END};

static const cyaml_schema_field_t limits_fields[] = {
    LIMIT("handshake-ms", handshake_ms), LIMIT("accept-ms", accept_ms),
    LIMIT("token-grace-ms", token_grace_ms), LIMIT("ping-ms", ping_ms),
    LIMIT("silence-ms", silence_ms), LIMIT("stall-ms", stall_ms),
    LIMIT("close-ms", close_ms), LIMIT("max-half-open", max_half_open),
    LIMIT("max-waiting", max_waiting), LIMIT("max-head-bytes", max_head_bytes),
    LIMIT("status-no-listener", status_no_listener),
    LIMIT("status-accept-timeout", status_accept_timeout),
    LIMIT("status-over-quota", status_over_quota),
    LIMIT("brake-first-ms", brake_first_ms),
    LIMIT("brake-most-ms", brake_most_ms),
    LIMIT("brake-forget-ms", brake_forget_ms), CYAML_FIELD_END};

static const cyaml_schema_field_t relay_fields[] = {
    TEXT("listen", struct yaml_relay, listen, 0),
    CYAML_FIELD_MAPPING(
        "tls", CYAML_FLAG_DEFAULT, struct yaml_relay, tls, tls_fields),
    CYAML_FIELD_SEQUENCE_COUNT("namespaces", POINTER, struct yaml_relay,
        namespaces, n_namespaces, &namespace_schema, 1, ITEMS_MAX),
    CYAML_FIELD_MAPPING(
        "limits", OPTIONAL, struct yaml_relay, limits, limits_fields),
    CYAML_FIELD_END};

static const cyaml_schema_value_t relay_schema = {
    CYAML_VALUE_MAPPING(POINTER, struct yaml_relay, relay_fields)};

static const cyaml_schema_field_t *const relay_mappings[] = {relay_fields,
    tls_fields, limits_fields, namespace_fields, hybrid_connection_fields,
    rule_fields};

/* What was read, and everything that was made from it. */
struct config_relay_memory {
	struct yaml_relay *yaml;
	void **blocks;
	size_t n_blocks;
	const char **key_files;
};

/* Zeroed memory that lives as long as the configuration. */
static void *
keep(struct config_relay_memory *m, void *block)
{
	m->blocks = mem_grow(m->blocks, (m->n_blocks + 1) * sizeof *m->blocks);
	m->blocks[m->n_blocks++] = block;
	return block;
}

struct maker {
	struct config_relay *c;
	const char *path;
	bool has_secrets; /* a key stands in the file itself */
};

static void
keep_key_file(struct config_relay *c, char *file)
{
	struct config_relay_memory *m = c->memory;

	m->key_files =
	    mem_grow(m->key_files, (c->n_key_files + 1) * sizeof *m->key_files);
	m->key_files[c->n_key_files++] = keep(m, file);
	c->key_files = m->key_files;
}

static bool
make_rules(struct maker *k, const struct yaml_rule *from, size_t n,
    const struct relay_rule **out, struct err *e)
{
	struct config_relay_memory *m = k->c->memory;
	struct relay_rule *rules = keep(m, mem_zalloc((n + 1) * sizeof *rules));

	for (size_t i = 0; i < n; i++) {
		const struct yaml_rule *y = &from[i];

		if (!y->key == !y->key_file)
			return err_set(e, ERR_USAGE,
			    "%s: rule \"%s\" needs either \"key\" or "
			    "\"key-file\"",
			    k->path, y->name);
		rules[i] = (struct relay_rule){
		    .name = y->name, .key = y->key, .rights = y->rights};
		k->has_secrets = k->has_secrets || y->key;
		if (y->key_file) {
			char *file = beside(k->path, y->key_file);
			char *key = secret_read_line(file, e);

			keep_key_file(k->c, file);
			if (!key)
				return false;
			rules[i].key = keep(m, key);
		}
	}
	*out = rules;
	return true;
}

static bool
make_hybrid_connections(struct maker *k, const struct yaml_namespace *from,
    struct relay_namespace *out, struct err *e)
{
	const size_t n = from->n_hybrid_connections;
	struct relay_hybrid_connection *all =
	    keep(k->c->memory, mem_zalloc((n + 1) * sizeof *all));

	for (size_t i = 0; i < n; i++) {
		const struct yaml_hybrid_connection *y =
		    &from->hybrid_connections[i];
		struct relay_hybrid_connection *h = &all[i];

		relay_hybrid_connection_init(h);
		h->path = y->path;
		if (y->requires_client_authorization)
			h->requires_client_authorization =
			    *y->requires_client_authorization;
		if (y->max_listeners)
			h->max_listeners = *y->max_listeners;
		if (y->tunnel_address)
			h->tunnel_address = *y->tunnel_address;
		h->n_rules = y->n_rules;
		if (!make_rules(k, y->rules, y->n_rules, &h->rules, e))
			return false;
	}
	out->hybrid_connections = all;
	out->n_hybrid_connections = n;
	return true;
}

static bool
make_namespaces(struct maker *k, const struct yaml_relay *y, struct err *e)
{
	const size_t n = y->n_namespaces;
	struct relay_namespace *all =
	    keep(k->c->memory, mem_zalloc((n + 1) * sizeof *all));

	for (size_t i = 0; i < n; i++) {
		const struct yaml_namespace *from = &y->namespaces[i];

		all[i].name = from->name;
		all[i].aliases = (const char *const *)from->aliases;
		all[i].n_aliases = from->n_aliases;
		all[i].n_rules = from->n_rules;
		if (!make_rules(
		        k, from->rules, from->n_rules, &all[i].rules, e) ||
		    !make_hybrid_connections(k, from, &all[i], e))
			return false;
	}
	k->c->relay.namespaces = all;
	k->c->relay.n_namespaces = n;
	return true;
}

static void
make_limits(struct relay_limits *l, const struct yaml_limits *y)
{
#define TAKE(field, type)                                                      \
	if (y->field)                                                          \
	l->field = (type)*y->field
	TAKE(handshake_ms, uint32_t);
	TAKE(accept_ms, uint32_t);
	TAKE(token_grace_ms, uint32_t);
	TAKE(ping_ms, uint32_t);
	TAKE(silence_ms, uint32_t);
	TAKE(stall_ms, uint32_t);
	TAKE(close_ms, uint32_t);
	TAKE(max_half_open, unsigned);
	TAKE(max_waiting, unsigned);
	TAKE(max_head_bytes, size_t);
	TAKE(status_no_listener, int);
	TAKE(status_accept_timeout, int);
	TAKE(status_over_quota, int);
	TAKE(brake_first_ms, uint32_t);
	TAKE(brake_most_ms, uint32_t);
	TAKE(brake_forget_ms, uint32_t);
#undef TAKE
}

void
config_relay_fini(struct config_relay *c)
{
	struct config_relay_memory *m = c->memory;

	if (!m)
		return;
	for (size_t i = 0; i < m->n_blocks; i++)
		free(m->blocks[i]);
	free(m->blocks);
	free(m->key_files);
	unload(&relay_schema, m->yaml);
	free(m);
	*c = (struct config_relay){0};
}

/* The keys of all mappings, for suggestions. */
static size_t
relay_keys(const char *keys[], size_t room)
{
	size_t n = 0;

	for (size_t i = 0; i < CYAML_ARRAY_LEN(relay_mappings); i++)
		for (const cyaml_schema_field_t *f = relay_mappings[i];
		     f->key && n < room; f++)
			keys[n++] = f->key;
	return n;
}

static bool
make(struct maker *k, const struct yaml_relay *y, struct err *e)
{
	struct config_relay *c = k->c;

	c->listen = y->listen;
	c->cert_file = keep(c->memory, beside(k->path, y->tls.cert));
	c->key_file = keep(c->memory, beside(k->path, y->tls.key));
	relay_config_init(&c->relay);
	make_limits(&c->relay.limits, &y->limits);
	if (!make_namespaces(k, y, e))
		return false;
	if (!relay_config_check(&c->relay, e))
		return err_prefix(e, "%s", k->path);
	return true;
}

static bool
parse_relay(struct config_relay *c, const char *path, const char *text,
    size_t n, bool *has_secrets, struct err *e)
{
	const char *keys[64];
	const struct reading r = {.path = path,
	    .text = text,
	    .n = n,
	    .keys = keys,
	    .n_keys = relay_keys(keys, 64)};
	struct maker k = {.c = c, .path = path};
	struct yaml_relay *yaml = load(&r, &relay_schema, e);

	*c = (struct config_relay){0};
	if (!yaml)
		return false;
	c->memory = mem_zalloc(sizeof *c->memory);
	c->memory->yaml = yaml;
	if (!make(&k, yaml, e)) {
		config_relay_fini(c);
		return false;
	}
	*has_secrets = k.has_secrets;
	return true;
}

bool
config_parse_relay(struct config_relay *c, const char *path, const char *text,
    size_t n, struct err *e)
{
	bool has_secrets;

	return parse_relay(c, path, text, n, &has_secrets, e);
}

bool
config_load_relay(struct config_relay *c, const char *path, struct err *e)
{
	mode_t mode = 0;
	char *text = secret_read_text(path, CONFIG_FILE_MAX, &mode, e);
	bool has_secrets = false;
	bool ok;

	if (!text)
		return false;
	ok = parse_relay(c, path, text, strlen(text), &has_secrets, e);
	mem_free_secret(text);
	if (ok && has_secrets && !secret_check_mode(path, mode, e)) {
		config_relay_fini(c);
		return false;
	}
	return ok;
}

/* --- the options' file --- */

struct yaml_options {
	char *text[OPTION_COUNT];
	char **list[OPTION_COUNT];
	unsigned n_list[OPTION_COUNT];
};

struct option_schema {
	cyaml_schema_field_t fields[OPTION_COUNT + 1];
	cyaml_schema_value_t top;
	const char *keys[OPTION_COUNT];
	size_t n;
};

static const cyaml_schema_value_t option_text_schema = {
    CYAML_VALUE_STRING(POINTER, char, 0, (uint32_t)OPTION_TEXT_MAX)};

/* Keys of all subcommands: one file may serve listen and connect alike. */
static void
option_schema_init(struct option_schema *schema)
{
	schema->n = 0;
	for (enum option_id id = 0; id < OPTION_COUNT; id++) {
		const struct option *o = &option_table[id];
		cyaml_schema_field_t f = {.key = o->name,
		    .data_offset =
		        (uint32_t)(offsetof(struct yaml_options, text) +
		                   id * sizeof(char *)),
		    .value = option_text_schema};

		if (!o->is_in_file)
			continue;
		if (o->type == OPTION_TYPE_LIST) {
			f.data_offset =
			    (uint32_t)(offsetof(struct yaml_options, list) +
			               id * sizeof(char **));
			f.count_offset =
			    (uint32_t)(offsetof(struct yaml_options, n_list) +
			               id * sizeof(unsigned));
			f.count_size = sizeof(unsigned);
			f.value.type = CYAML_SEQUENCE;
			f.value.data_size = sizeof(char *);
			f.value.sequence.min = 0;
			f.value.sequence.max = OPTION_LIST_MAX;
			f.value.sequence.entry = &option_text_schema;
		}
		f.value.flags = POINTER | OPTIONAL;
		schema->keys[schema->n] = o->name;
		schema->fields[schema->n++] = f;
	}
	schema->fields[schema->n] = (cyaml_schema_field_t){.key = NULL};
	schema->top = (cyaml_schema_value_t){
	    CYAML_VALUE_MAPPING(POINTER, struct yaml_options, schema->fields)};
}

static bool
set_option(struct option_set *s, enum option_id id, const char *text,
    const struct reading *r, struct err *e)
{
	const bool is_file = option_table[id].type == OPTION_TYPE_FILE;
	char *full = is_file && *text ? beside(r->path, text) : NULL;
	const bool ok =
	    option_set_value(s, id, full ? full : text, OPTION_SOURCE_FILE, e);

	free(full);
	if (!ok)
		err_prefix(e, "%s:%u", r->path,
		    line_of_key(r->text, r->n, option_table[id].name, 1));
	return ok;
}

/* Takes what the subcommand knows; a key of another one is no fault. */
static bool
set_options(struct option_set *s, const struct yaml_options *y,
    const struct reading *r, struct err *e)
{
	for (enum option_id id = 0; id < OPTION_COUNT; id++) {
		if (!option_is_for(id, s->command))
			continue;
		if (y->text[id] && !set_option(s, id, y->text[id], r, e))
			return false;
		for (unsigned i = 0; i < y->n_list[id]; i++)
			if (!set_option(s, id, y->list[id][i], r, e))
				return false;
	}
	return true;
}

static bool
holds_secret(const struct yaml_options *y)
{
	for (enum option_id id = 0; id < OPTION_COUNT; id++)
		if (option_table[id].type == OPTION_TYPE_SECRET &&
		    id != OPTION_PROXY && y->text[id] && y->text[id][0] != '@')
			return true;
	return false;
}

static bool
parse_options(struct option_set *s, const struct reading *reading,
    bool *has_secrets, struct err *e)
{
	struct option_schema schema;
	struct reading r = *reading;
	struct yaml_options *y;
	bool ok;

	option_schema_init(&schema);
	r.keys = schema.keys;
	r.n_keys = schema.n;
	y = load(&r, &schema.top, e);
	if (!y)
		return false;
	*has_secrets = holds_secret(y);
	ok = set_options(s, y, &r, e);
	unload(&schema.top, y);
	return ok;
}

bool
config_parse_options(struct option_set *s, const char *path, const char *text,
    size_t n, struct err *e)
{
	const struct reading r = {.path = path, .text = text, .n = n};
	bool has_secrets;

	return parse_options(s, &r, &has_secrets, e);
}

bool
config_load_options(struct option_set *s, const char *path, struct err *e)
{
	mode_t mode = 0;
	char *text = secret_read_text(path, CONFIG_FILE_MAX, &mode, e);
	struct reading r = {.path = path, .text = text};
	bool has_secrets = false;
	bool ok;

	if (!text)
		return false;
	r.n = strlen(text);
	ok = parse_options(s, &r, &has_secrets, e);
	mem_free_secret(text);
	return ok && (!has_secrets || secret_check_mode(path, mode, e));
}

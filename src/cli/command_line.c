/* SPDX-License-Identifier: MIT
 *
 * The order of precedence is a list of layers, the most important first; each
 * layer is a target of its own, and hc_target_fill takes from the next layer
 * only what those before it left open.
 */
#include "cli/command_line.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/config.h"
#include "cli/option.h"
#include "cli/pidfile.h"
#include "cli/secret.h"
#include "net/dial.h"
#include "net/tls.h"
#include "util/mem.h"

bool
command_line_read(struct option_set *s, unsigned command, int argc, char **argv,
    struct err *e)
{
	const char *config;

	if (!option_parse(s, command, argc, argv, e))
		return false;
	if (option_get_count(s, OPTION_HELP) > 0 ||
	    option_get_count(s, OPTION_VERSION) > 0)
		return true;
	if (!option_parse_environment(s, e))
		return false;
	config = option_get(s, OPTION_CONFIG);
	if (!config || command == OPTION_COMMAND_RELAY)
		return true;
	return config_load_options(s, config, e);
}

char *
command_line_secret(
    const struct option_set *s, enum option_id id, struct err *e)
{
	const struct option_value *v = &s->at[id];
	const char *config = option_get(s, OPTION_CONFIG);
	char spelling[64];
	char *folder = NULL;
	char *secret;

	err_set(e, ERR_NONE, "not given");
	if (!v->text)
		return NULL;
	if (v->source == OPTION_SOURCE_FILE && config)
		folder = config_folder(config);
	secret = secret_resolve(v->text, folder, e);
	free(folder);
	if (!secret)
		err_prefix(e, "%s", option_spelling(id, v->source, spelling));
	return secret;
}

typedef bool set_function(struct hc_target *t, const char *text, struct err *e);

/* What one source says about one item. */
static bool
take_item(const struct option_set *s, enum option_id id,
    enum option_source source, set_function *set, struct hc_target *t,
    struct err *e)
{
	const bool is_secret = option_table[id].type == OPTION_TYPE_SECRET;
	char spelling[64];
	char *text;
	bool ok;

	if (s->at[id].source != source)
		return true;
	text = is_secret ? command_line_secret(s, id, e)
	                 : mem_strdup(s->at[id].text);
	if (!text)
		return false;
	ok = set(t, text, e);
	mem_free_secret(text);
	if (!ok)
		err_prefix(e, "%s", option_spelling(id, source, spelling));
	return ok;
}

static bool
take_single(const struct option_set *s, enum option_source source,
    struct hc_target *t, struct err *e)
{
	if (s->at[OPTION_KEY].source == source &&
	    s->at[OPTION_TOKEN].source == source)
		return err_set(e, ERR_USAGE,
		    "a key and a token are given; only one of them can be "
		    "used");
	return take_item(s, OPTION_NAMESPACE, source, hc_target_set_namespace,
	           t, e) &&
	       take_item(s, OPTION_PATH, source, hc_target_set_path, t, e) &&
	       take_item(
	           s, OPTION_KEY_NAME, source, hc_target_set_key_name, t, e) &&
	       take_item(s, OPTION_KEY, source, hc_target_set_key, t, e) &&
	       take_item(s, OPTION_TOKEN, source, hc_target_set_token, t, e);
}

static bool
take_string(const struct option_set *s, enum option_source source,
    struct hc_target *t, struct err *e)
{
	return take_item(s, OPTION_CONNECTION_STRING, source,
	    hc_target_parse_connection_string, t, e);
}

static bool
take_operands(const struct option_set *s, enum option_source source,
    struct hc_target *t, struct err *e)
{
	static set_function *const setters[OPTION_OPERANDS_MAX] = {
	    hc_target_set_namespace, hc_target_set_path, hc_target_set_key_name,
	    hc_target_set_key};
	bool ok = true;

	(void)source;
	for (unsigned i = 0; ok && i < s->n_operands; i++) {
		char *text = secret_resolve(s->operands[i], NULL, e);

		ok = text && setters[i](t, text, e);
		mem_free_secret(text);
	}
	return ok;
}

struct layer {
	bool (*take)(const struct option_set *s, enum option_source source,
	    struct hc_target *t, struct err *e);
	enum option_source source;
};

static const struct layer layers[] = {
    {take_operands, OPTION_SOURCE_LINE},
    {take_string, OPTION_SOURCE_LINE},
    {take_single, OPTION_SOURCE_LINE},
    {take_string, OPTION_SOURCE_ENVIRONMENT},
    {take_single, OPTION_SOURCE_ENVIRONMENT},
    {take_string, OPTION_SOURCE_FILE},
    {take_single, OPTION_SOURCE_FILE},
};

bool
command_line_target(const struct option_set *s, enum hc_target_use use,
    struct hc_target *t, struct err *e)
{
	hc_target_init(t);
	for (size_t i = 0; i < sizeof layers / sizeof layers[0]; i++) {
		struct hc_target layer;
		bool ok;

		hc_target_init(&layer);
		ok = layers[i].take(s, layers[i].source, &layer, e);
		if (ok)
			hc_target_fill(t, &layer);
		hc_target_fini(&layer);
		if (!ok)
			return false;
	}
	return hc_target_check(t, use, e);
}

struct dialer *
command_line_dialer(const struct option_set *s, struct loop *l, struct err *e)
{
	const struct tls_client_options trust = {
	    .ca_file = option_get(s, OPTION_CA)};
	struct dialer_options o = {0};
	struct dialer *d;
	struct err reason = {0};
	char *proxy = command_line_secret(s, OPTION_PROXY, &reason);

	if (!proxy && reason.code != ERR_NONE) {
		err_set(e, reason.code, "%s", reason.text);
		return NULL;
	}
	o.proxy = proxy;
	o.tls = tls_context_client(&trust, e);
	d = o.tls ? dialer_new(l, &o, e) : NULL;
	if (o.tls)
		tls_context_unref(o.tls);
	mem_free_secret(proxy);
	/* Nobody was spoken to yet: a file is wrong, not the network. */
	if (!d && e->code == ERR_TLS)
		e->code = ERR_USAGE;
	return d;
}

void
command_line_set_log(const struct option_set *s, enum log_level level)
{
	const char *format = option_get(s, OPTION_LOG_FORMAT);
	int wanted = (int)level;

	wanted += (int)option_get_count(s, OPTION_VERBOSE);
	wanted -= (int)option_get_count(s, OPTION_QUIET);
	if (wanted < LOG_ERROR)
		wanted = LOG_ERROR;
	if (wanted > LOG_DEBUG)
		wanted = LOG_DEBUG;
	log_set_level((enum log_level)wanted);
	log_set_format(format && format[0] == 'j' ? LOG_JSON : LOG_TEXT);
}

int
command_line_fail(const struct option_set *s, const struct err *err)
{
	fflush(stdout);
	fprintf(stderr, "hyco %s: %s\n", option_commands[s->command].name,
	    err->text);
	return (int)err_exit_status(err->code);
}

_Noreturn void
command_line_leave(const struct option_set *s)
{
	const char *pidfile = option_get(s, OPTION_PIDFILE);

	if (pidfile)
		pidfile_remove(pidfile);
	_exit(ERR_EXIT_FAILURE);
}

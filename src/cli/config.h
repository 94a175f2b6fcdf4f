/* SPDX-License-Identifier: MIT
 *
 * The configuration files, in YAML: what a relay serves (hyco-relay.yaml(5)),
 * and the options of listen, connect and token, whose keys are the long names
 * of the options. Unknown keys are refused; errors name file and line. A file
 * with secrets in it that everybody may read is refused.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "relay/relay.h"

struct err;
struct option_set;

#define CONFIG_FILE_MAX ((size_t)4 * 1024 * 1024)

struct config_relay {
	const char *listen;    /* "0.0.0.0:443" */
	const char *cert_file; /* relative names are resolved already */
	const char *key_file;
	struct relay_config relay;    /* checked by relay_config_check */
	const char *const *key_files; /* those that rules were read from */
	size_t n_key_files;
	struct config_relay_memory *memory;
};

/* ERR_NOT_FOUND, ERR_SYSTEM, ERR_DENIED (readable by everybody), ERR_USAGE. On
 * failure there is nothing to free. */
bool config_load_relay(struct config_relay *c, const char *path, struct err *e);

/* The same from memory; `path` stands for the file in errors, and relative
 * names in the text are beside it. */
bool config_parse_relay(struct config_relay *c, const char *path,
    const char *text, size_t n, struct err *e);

void config_relay_fini(struct config_relay *c);

/* Fills options that neither the command line nor the environment gave. */
bool config_load_options(struct option_set *s, const char *path, struct err *e);

bool config_parse_options(struct option_set *s, const char *path,
    const char *text, size_t n, struct err *e);

/* The folder a file is in ("." if its name has none); free(). */
char *config_folder(const char *path);

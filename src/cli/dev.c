/* SPDX-License-Identifier: MIT
 *
 * The state folder of a relay for trying things out. The connection strings
 * are at the same time the memory of the keys: a key is read back from its
 * file, and only where that fails a new one is made.
 */
#include "cli/dev.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "cli/secret.h"
#include "cli/state.h"
#include "hc/hc_target.h"
#include "net/tls.h"
#include "util/crypt.h"
#include "util/err.h"
#include "util/mem.h"
#include "util/text.h"

#define DEV_HOST "localhost"
#define DEV_PATH "demo"
#define DEV_DAYS 3650
#define DEV_KEY_BYTES 32

struct dev_rule {
	const char *name;
	const char *file;
	unsigned rights;
};

static const struct dev_rule dev_rules[DEV_RULES] = {
    {"listen", "listen.conn", RELAY_LISTEN},
    {"send", "send.conn", RELAY_SEND},
    {"manage", "manage.conn", RELAY_LISTEN | RELAY_SEND | RELAY_MANAGE},
};

static const char *const dev_names[] = {DEV_HOST, "127.0.0.1", "::1", NULL};

static bool
is_there(const char *path)
{
	return access(path, R_OK) == 0;
}

static bool
make_certificate(const struct dev *d, struct err *e)
{
	const struct tls_make_options o = {.ca_file = d->ca_file,
	    .cert_file = d->cert_file,
	    .key_file = d->key_file,
	    .names = dev_names,
	    .days = DEV_DAYS};

	if (is_there(d->ca_file) && is_there(d->cert_file) &&
	    is_there(d->key_file))
		return true;
	/* A part of a set is of no use. */
	unlink(d->ca_file);
	unlink(d->cert_file);
	unlink(d->key_file);
	return tls_make_certificate(&o, e);
}

/* The key in a connection string, or NULL. */
static char *
read_key(const char *path)
{
	char *text = secret_read_line(path, NULL);
	struct hc_target t;
	char *key = NULL;

	hc_target_init(&t);
	if (text && hc_target_parse_connection_string(&t, text, NULL) && t.key)
		key = mem_strdup(t.key);
	hc_target_fini(&t);
	mem_free_secret(text);
	return key;
}

static char *
make_key(void)
{
	uint8_t bytes[DEV_KEY_BYTES];
	char *key = mem_alloc(text_base64_size(sizeof bytes));

	crypt_random(bytes, sizeof bytes);
	text_base64_encode(bytes, sizeof bytes, key);
	mem_wipe(bytes, sizeof bytes);
	return key;
}

static void
read_keys(struct dev *d)
{
	for (size_t i = 0; i < DEV_RULES; i++) {
		char *path = mem_printf("%s/%s", d->folder, dev_rules[i].file);

		d->keys[i] = read_key(path);
		if (!d->keys[i])
			d->keys[i] = make_key();
		free(path);
		d->rules[i] = (struct relay_rule){.name = dev_rules[i].name,
		    .key = d->keys[i],
		    .rights = dev_rules[i].rights};
	}
}

static void
configure(struct dev *d)
{
	relay_hybrid_connection_init(&d->demo);
	d->demo.path = DEV_PATH;
	d->demo.rules = d->rules;
	d->demo.n_rules = DEV_RULES;
	d->localhost.name = DEV_HOST;
	d->localhost.aliases = dev_names + 1;
	d->localhost.n_aliases = 2;
	d->localhost.hybrid_connections = &d->demo;
	d->localhost.n_hybrid_connections = 1;
	relay_config_init(&d->config);
	d->config.namespaces = &d->localhost;
	d->config.n_namespaces = 1;
}

static bool
lock(struct dev *d, struct err *e)
{
	d->lock = open(d->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (d->lock < 0)
		return err_set_errno(e, ERR_SYSTEM, errno, "%s", d->folder);
	if (flock(d->lock, LOCK_EX | LOCK_NB) == 0)
		return true;
	if (errno == EWOULDBLOCK)
		return err_set(e, ERR_USAGE,
		    "another relay runs with %s; give this one a folder of its "
		    "own with --state",
		    d->folder);
	return err_set_errno(e, ERR_SYSTEM, errno, "%s", d->folder);
}

bool
dev_open(struct dev *d, const char *folder, struct err *e)
{
	char absolute[PATH_MAX];
	char *path = state_open(folder, e);

	*d = (struct dev){.lock = -1};
	if (!path)
		return false;
	/* The commands that are printed shall work from any folder. */
	d->folder = mem_strdup(realpath(path, absolute) ? absolute : path);
	free(path);
	d->ca_file = mem_printf("%s/ca.pem", d->folder);
	d->cert_file = mem_printf("%s/relay.pem", d->folder);
	d->key_file = mem_printf("%s/relay.key", d->folder);
	if (!lock(d, e) || !make_certificate(d, e)) {
		dev_close(d);
		return false;
	}
	read_keys(d);
	configure(d);
	return true;
}

static bool
write_one(const struct dev *d, size_t i, uint16_t port, struct err *e)
{
	char *path = mem_printf("%s/%s", d->folder, dev_rules[i].file);
	struct hc_target t;
	char *text;
	char *line;
	bool ok;

	hc_target_init(&t);
	t.host = mem_strdup(DEV_HOST);
	t.port = port;
	t.path = mem_strdup(DEV_PATH);
	t.key_name = mem_strdup(dev_rules[i].name);
	t.key = mem_strdup(d->keys[i]);
	text = hc_target_connection_string(&t);
	hc_target_fini(&t);
	line = mem_printf("%s\n", text);
	mem_free_secret(text);
	ok = secret_write(path, line, e);
	mem_free_secret(line);
	free(path);
	return ok;
}

bool
dev_write(const struct dev *d, uint16_t port, struct err *e)
{
	for (size_t i = 0; i < DEV_RULES; i++)
		if (!write_one(d, i, port, e))
			return false;
	return true;
}

void
dev_close(struct dev *d)
{
	for (size_t i = 0; i < DEV_RULES; i++)
		mem_free_secret(d->keys[i]);
	if (d->lock >= 0)
		close(d->lock);
	free(d->folder);
	free(d->ca_file);
	free(d->cert_file);
	free(d->key_file);
	*d = (struct dev){.lock = -1};
}

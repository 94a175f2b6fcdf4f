/* SPDX-License-Identifier: MIT
 *
 * Configuration files: what a good one means, and that each fault is told with
 * file, line and a reason, without a secret in it.
 */
#include "cli/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/option.h"
#include "util/err.h"
#include "util/mem.h"

#define GOOD                                                                   \
	"listen: 0.0.0.0:443\n"                                                \
	"tls:\n"                                                               \
	"  cert: relay.pem\n"                                                  \
	"  key: /etc/relay.key\n"                                              \
	"namespaces:\n"                                                        \
	"  - name: relay.example\n"                                            \
	"    aliases: [127.0.0.1]\n"                                           \
	"    rules:\n"                                                         \
	"      - name: root\n"                                                 \
	"        key: s3cret\n"                                                \
	"        rights: [listen, send, manage]\n"                             \
	"    hybrid-connections:\n"                                            \
	"      - path: demo\n"                                                 \
	"      - path: open/house\n"                                           \
	"        requires-client-authorization: false\n"                       \
	"        max-listeners: 3\n"                                           \
	"        tunnel-address: yes\n"                                        \
	"        rules:\n"                                                     \
	"          - name: l\n"                                                \
	"            key: k\n"                                                 \
	"            rights: [listen]\n"

static void
test_good(void **state)
{
	static const char text[] = GOOD "limits:\n  ping-ms: 5000\n"
	                                "  brake-first-ms: 0\n";
	struct config_relay c;
	struct err e = {0};
	const struct relay_namespace *n;
	const struct relay_hybrid_connection *h;

	(void)state;
	if (!config_parse_relay(
	        &c, "/etc/hyco/relay.yaml", text, sizeof text - 1, &e))
		fail_msg("%s", e.text);
	assert_string_equal(c.listen, "0.0.0.0:443");
	assert_string_equal(c.cert_file, "/etc/hyco/relay.pem");
	assert_string_equal(c.key_file, "/etc/relay.key");
	assert_int_equal(c.relay.n_namespaces, 1);
	n = c.relay.namespaces;
	assert_string_equal(n->name, "relay.example");
	assert_int_equal(n->n_aliases, 1);
	assert_string_equal(n->aliases[0], "127.0.0.1");
	assert_int_equal(n->n_rules, 1);
	assert_string_equal(n->rules[0].key, "s3cret");
	assert_int_equal(
	    n->rules[0].rights, RELAY_LISTEN | RELAY_SEND | RELAY_MANAGE);
	assert_int_equal(n->n_hybrid_connections, 2);
	h = n->hybrid_connections;
	assert_string_equal(h[0].path, "demo");
	assert_true(h[0].requires_client_authorization);
	assert_int_equal(h[0].max_listeners, RELAY_LISTENERS_DEFAULT);
	assert_false(h[0].tunnel_address);
	assert_false(h[1].requires_client_authorization);
	assert_int_equal(h[1].max_listeners, 3);
	assert_true(h[1].tunnel_address);
	assert_int_equal(h[1].n_rules, 1);
	assert_int_equal(h[1].rules[0].rights, RELAY_LISTEN);
	assert_int_equal(c.relay.limits.ping_ms, 5000);
	assert_int_equal(c.relay.limits.brake_first_ms, 0);
	assert_int_equal(c.relay.limits.accept_ms, 30000);
	config_relay_fini(&c);
}

struct fault {
	const char *text;
	const char *reason;
};

#define HEAD                                                                   \
	"listen: 127.0.0.1:0\n"                                                \
	"tls: {cert: c, key: k}\n"                                             \
	"namespaces:\n"                                                        \
	"  - name: h\n"

static const struct fault faults[] = {
    {"", "r.yaml:1"},
    {"- a\n", "r.yaml:1"},
    {"listen: [1]\n", "r.yaml:1: listen: a single value is expected"},
    {"listen: 127.0.0.1:0\nnamespaces:\n  - nme: x\n",
        "r.yaml:3: unknown key \"nme\"; did you mean \"name\"?"},
    {"listen: 127.0.0.1:0\n\nlimit: {}\n",
        "r.yaml:3: unknown key \"limit\"; did you mean \"limits\"?"},
    {"listen: a\nlisten: b\n", "\"listen\" is given twice"},
    {"listen: 127.0.0.1:0\n", "\"tls\" is missing"},
    {HEAD, "\"hybrid-connections\" is missing"},
    {HEAD "    hybrid-connections:\n      - path: a\n"
          "        max-listeners: many\n",
        "r.yaml:7: max-listeners: a number"},
    {HEAD "    hybrid-connections:\n      - path: a\n"
          "        tunnel-address: maybe\n",
        "r.yaml:7: tunnel-address: not one of the words"},
    {HEAD "    hybrid-connections:\n      - path: a\n        rules:\n"
          "          - {name: r, key: s3cret, rights: [all]}\n",
        "r.yaml:8: rights: not one of the words"},
    {HEAD "    hybrid-connections:\n      - path: a\n        rules:\n"
          "          - {name: r, rights: [send]}\n",
        "rule \"r\" needs either \"key\" or \"key-file\""},
    {HEAD "    hybrid-connections:\n      - path: a\n      - path: a\n",
        "r.yaml: namespace h"},
    {"listen: \"\n", "r.yaml:1: this is no YAML"},
    {"listen: &a x\ntls: *a\n", "r.yaml:2"},
    {"limits: {ping-ms: -1}\n", "r.yaml:1: ping-ms: a number"},
    {HEAD "    hybrid-connections:\n      - path: a\n        rules:\n"
          "          - {name: r, key: s3cret, rights: send}\n",
        "r.yaml:8: rights: a list"},
    {HEAD "    hybrid-connections:\n      - path: a\n        rules:\n"
          "          - {name: r, key: s3cret, rights: [[send]]}\n",
        "r.yaml:8: rights: what comes next makes no sense"},
    {HEAD "    hybrid-connections: []\n", "at least one item"},
    {"listen: [a\n", "r.yaml:1"},
    {"[listen]: a\n", "r.yaml:1: listen: what comes next makes no sense"},
};

static void
test_faults(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
		const struct fault *f = &faults[i];
		struct config_relay c;
		struct err e = {0};

		assert_false(config_parse_relay(
		    &c, "r.yaml", f->text, strlen(f->text), &e));
		assert_int_equal(e.code, ERR_USAGE);
		if (!strstr(e.text, f->reason))
			fail_msg("wanted: %s\ngot:    %s", f->reason, e.text);
		assert_null(strstr(e.text, "s3cret"));
	}
}

/* A good file cut at every byte is refused or read, never worse. */
static void
test_cut(void **state)
{
	static const char text[] = GOOD;

	(void)state;
	for (size_t n = 0; n < sizeof text; n++) {
		char *piece = mem_strndup(text, n);
		struct config_relay c;
		struct err e = {0};

		if (config_parse_relay(&c, "r.yaml", piece, n, &e))
			config_relay_fini(&c);
		else
			assert_int_equal(e.code, ERR_USAGE);
		free(piece);
	}
}

static void
write_file(const char *path, const char *text, mode_t mode)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	assert_int_equal(chmod(path, mode), 0);
}

/* Keys in a file that everybody may read are refused, a key-file likewise. */
static void
test_permissions(void **state)
{
	char folder[] = "/tmp/hyco-config-XXXXXX";
	char *path, *key, *text;
	struct config_relay c;
	struct err e = {0};

	(void)state;
	assert_non_null(mkdtemp(folder));
	path = mem_printf("%s/relay.yaml", folder);
	key = mem_printf("%s/root.key", folder);
	write_file(path, GOOD, 0644);
	assert_false(config_load_relay(&c, path, &e));
	assert_int_equal(e.code, ERR_DENIED);
	assert_non_null(strstr(e.text, "chmod 600"));
	write_file(path, GOOD, 0600);
	assert_true(config_load_relay(&c, path, &e));
	config_relay_fini(&c);
	text = mem_strdup(HEAD "    rules:\n      - {name: r, key-file: "
	                       "root.key, rights: [send]}\n"
	                       "    hybrid-connections: [{path: a}]\n");
	write_file(path, text, 0644);
	write_file(key, "s3cret\n", 0644);
	assert_false(config_load_relay(&c, path, &e));
	assert_int_equal(e.code, ERR_DENIED);
	assert_non_null(strstr(e.text, "root.key"));
	write_file(key, "s3cret\n", 0600);
	assert_true(config_load_relay(&c, path, &e));
	assert_string_equal(c.relay.namespaces[0].rules[0].key, "s3cret");
	config_relay_fini(&c);
	unlink(path);
	unlink(key);
	rmdir(folder);
	assert_false(config_load_relay(&c, path, &e));
	assert_int_equal(e.code, ERR_NOT_FOUND);
	free(text);
	free(path);
	free(key);
}

/* --- options --- */

static bool
parse_options(struct option_set *s, enum option_command command,
    const char *text, struct err *e)
{
	*s = (struct option_set){.command = command};
	return config_parse_options(
	    s, "/etc/hyco/c.yaml", text, strlen(text), e);
}

static void
test_options(void **state)
{
	static const char text[] = "namespace: relay.example:444\n"
	                           "path: demo\n"
	                           "key: \"@send.key\"\n"
	                           "users: users\n"
	                           "ca: /etc/ca.pem\n"
	                           "allow-anonymous: true\n"
	                           "tunnel: [\"8080\", \"9090:db:5432\"]\n"
	                           "mode: sample\n";
	struct option_set s;
	struct err e = {0};

	(void)state;
	/* One file serves both subcommands: each takes what it knows. */
	if (!parse_options(&s, OPTION_COMMAND_CONNECT, text, &e))
		fail_msg("%s", e.text);
	assert_string_equal(
	    option_get(&s, OPTION_NAMESPACE), "relay.example:444");
	assert_string_equal(option_get(&s, OPTION_KEY), "@send.key");
	assert_string_equal(option_get(&s, OPTION_CA), "/etc/ca.pem");
	assert_int_equal(option_get_count(&s, OPTION_TUNNEL), 2);
	assert_string_equal(s.at[OPTION_TUNNEL].list[1], "9090:db:5432");
	assert_null(option_get(&s, OPTION_USERS));
	option_fini(&s);
	assert_true(parse_options(&s, OPTION_COMMAND_LISTEN, text, &e));
	assert_string_equal(option_get(&s, OPTION_USERS), "/etc/hyco/users");
	assert_int_equal(option_get_count(&s, OPTION_ALLOW_ANONYMOUS), 1);
	assert_int_equal(option_get_count(&s, OPTION_TUNNEL), 0);
	option_fini(&s);
}

static const struct fault option_faults[] = {
    {"pathh: x\n", "c.yaml:1: unknown key \"pathh\"; did you mean \"path\"?"},
    {"path: x\n\nverbose: 1\n", "c.yaml:3: unknown key \"verbose\""},
    {"path: x\nmode: tcp\n", "c.yaml:2: mode: \"tcp\" is not one of"},
    {"path: \"\"\n", "c.yaml:1: path: the value is empty"},
    {"path: {a: b}\n", "c.yaml:1: path: a single value is expected"},
    {"tunnel: 8080\n", "c.yaml:1: tunnel: a list"},
    {"path: x\nallow-anonymous: perhaps\n",
        "c.yaml:2: allow-anonymous: \"perhaps\" is neither true nor false"},
};

static void
test_option_faults(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof option_faults / sizeof option_faults[0];
	     i++) {
		const struct fault *f = &option_faults[i];
		const enum option_command command =
		    strstr(f->text, "anonymous") ? OPTION_COMMAND_LISTEN
		                                 : OPTION_COMMAND_CONNECT;
		struct option_set s;
		struct err e = {0};

		assert_false(parse_options(&s, command, f->text, &e));
		assert_int_equal(e.code, ERR_USAGE);
		if (!strstr(e.text, f->reason))
			fail_msg("wanted: %s\ngot:    %s", f->reason, e.text);
		option_fini(&s);
	}
}

/* Every key that the table says is one is taken from a file. */
static void
test_every_key(void **state)
{
	(void)state;
	for (enum option_id id = 0; id < OPTION_COUNT; id++) {
		const struct option *o = &option_table[id];
		struct option_set s;
		struct err e = {0};
		const char *value;
		char *text;

		if (!o->is_in_file)
			continue;
		value = o->choices                      ? o->choices
		        : o->type == OPTION_TYPE_NUMBER ? "16"
		                                        : "true";
		text = mem_printf(
		    o->type == OPTION_TYPE_LIST ? "%s: [%.*s]\n" : "%s: %.*s\n",
		    o->name, (int)strcspn(value, "|"), value);
		for (int c = 0; c < OPTION_COMMAND_COUNT; c++) {
			if (!option_is_for(id, (enum option_command)c) ||
			    c == OPTION_COMMAND_RELAY)
				continue;
			if (!parse_options(
			        &s, (enum option_command)c, text, &e))
				fail_msg("%s", e.text);
			assert_int_equal(s.at[id].source, OPTION_SOURCE_FILE);
			option_fini(&s);
		}
		free(text);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_good),
	    cmocka_unit_test(test_faults),
	    cmocka_unit_test(test_cut),
	    cmocka_unit_test(test_permissions),
	    cmocka_unit_test(test_options),
	    cmocka_unit_test(test_option_faults),
	    cmocka_unit_test(test_every_key),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

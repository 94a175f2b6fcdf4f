/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "relay/relay.h"
#include "relay/relay_config.h"
#include "util/err.h"

struct sample {
	struct relay_rule rules[2];
	struct relay_hybrid_connection paths[2];
	const char *aliases[1];
	struct relay_namespace namespaces[2];
	struct relay_config config;
};

static void
make(struct sample *s)
{
	*s = (struct sample){
	    .rules = {{"one", "key one", RELAY_LISTEN},
	        {"two", "key two", RELAY_SEND | RELAY_MANAGE}},
	    .aliases = {"127.0.0.1"},
	};
	for (int i = 0; i < 2; i++)
		relay_hybrid_connection_init(&s->paths[i]);
	s->paths[0].path = "demo";
	s->paths[0].rules = s->rules;
	s->paths[0].n_rules = 2;
	s->paths[1].path = "site-1/x_y.z";
	s->namespaces[0] = (struct relay_namespace){
	    "localhost", s->aliases, 1, s->paths, 2, s->rules, 2};
	s->namespaces[1] = (struct relay_namespace){.name = "::1"};
	relay_config_init(&s->config);
	s->config.namespaces = s->namespaces;
	s->config.n_namespaces = 2;
}

static void
defaults_are_good(void **state)
{
	struct relay_config c;
	struct sample s;
	struct err e;

	(void)state;
	relay_config_init(&c);
	assert_true(relay_config_check(&c, &e));
	make(&s);
	assert_true(relay_config_check(&s.config, &e));
	assert_true(s.paths[1].requires_client_authorization);
	assert_int_equal(s.paths[1].max_listeners, 25);
}

static void
expect(struct sample *s, const char *words)
{
	struct err e;

	assert_false(relay_config_check(&s->config, &e));
	assert_int_equal(e.code, ERR_USAGE);
	if (!strstr(e.text, words))
		fail_msg("%s, not %s", e.text, words);
	/* A key never shows. */
	assert_null(strstr(e.text, "key one"));
	make(s);
}

static void
faults_are_placed(void **state)
{
	static const char *const bad_paths[] = {"", "/a", "a/", "a//b", "a b",
	    "..", "a/./b", "$hc", "a?b", "a%20b"};
	struct sample s;

	(void)state;
	make(&s);
	for (size_t i = 0; i < sizeof bad_paths / sizeof bad_paths[0]; i++) {
		s.paths[1].path = bad_paths[i];
		expect(&s, "namespace localhost: hybrid connection");
	}
	s.paths[1].path = NULL;
	expect(&s, "hybrid connection ?: the path is missing");
	s.paths[1].path = "DEMO";
	expect(&s, "hybrid connection DEMO is given twice");
	s.paths[1].max_listeners = 0;
	expect(&s, "at least 1");
	s.rules[1].name = "one";
	expect(&s, "hybrid connection demo: rule 2: the name one is given");
	s.rules[0].key = "";
	expect(&s, "rule 1: the key is missing");
	s.rules[0].key = "key one\n";
	expect(&s, "rule 1: the key has a control");
	s.rules[0].name = NULL;
	expect(&s, "rule 1: the name is missing");
	s.rules[0].rights = 0;
	expect(&s, "rule 1: rights must be");
	s.rules[0].rights = 8;
	expect(&s, "rule 1: rights must be");
	s.namespaces[0].name = "a b";
	expect(&s, "namespace a b: the name");
	s.namespaces[0].name = "localhost:8443";
	expect(&s, "without port");
	s.namespaces[1].name = "127.0.0.1";
	expect(&s, "namespace 127.0.0.1: the host 127.0.0.1 is given twice");
	s.aliases[0] = "";
	expect(&s, "the alias must be");
	s.config.limits.ping_ms = 0;
	expect(&s, "limits: the ping interval");
	s.config.limits.silence_ms = 1;
	expect(&s, "limits: the silence limit");
	s.config.limits.max_head_bytes = 10;
	expect(&s, "limits: the size of a head");
	s.config.limits.status_no_listener = 200;
	expect(&s, "limits: the status without listener");
}

static void
copies_stand_alone(void **state)
{
	struct relay_config *copy;
	struct sample s;
	struct err e;

	(void)state;
	make(&s);
	copy = relay_config_copy(&s.config);
	memset(&s, 0, sizeof s);
	assert_true(relay_config_check(copy, &e));
	assert_string_equal(copy->namespaces[0].name, "localhost");
	assert_string_equal(copy->namespaces[0].aliases[0], "127.0.0.1");
	assert_string_equal(
	    copy->namespaces[0].hybrid_connections[1].path, "site-1/x_y.z");
	assert_string_equal(
	    copy->namespaces[0].hybrid_connections[0].rules[1].key, "key two");
	assert_int_equal(
	    copy->namespaces[0].rules[1].rights, RELAY_SEND | RELAY_MANAGE);
	assert_int_equal(copy->limits.accept_ms, 30000);
	relay_config_free(copy);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(defaults_are_good),
	    cmocka_unit_test(faults_are_placed),
	    cmocka_unit_test(copies_stand_alone),
	};

	return cmocka_run_group_tests_name("relay_config", tests, NULL, NULL);
}

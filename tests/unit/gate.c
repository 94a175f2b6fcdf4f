/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "hc/hc_token.h"
#include "relay/gate.h"
#include "relay/registry.h"
#include "relay/relay.h"
#include "util/mem.h"

#define NOW 1700000000

static const struct relay_rule ns_rules[] = {
    {"listen", "key of listen", RELAY_LISTEN},
    {"manage", "key of manage", RELAY_MANAGE},
    {"both", "key of the namespace", RELAY_LISTEN},
};
static const struct relay_rule own_rules[] = {
    {"send", "key of send", RELAY_SEND},
    {"both", "key of the entity", RELAY_SEND},
};
static const char *const aliases[] = {"127.0.0.1", "::1"};
static const struct relay_hybrid_connection path = {
    .path = "p",
    .rules = own_rules,
    .n_rules = 2,
};
static const struct relay_namespace ns_config = {
    .name = "relay.test",
    .aliases = aliases,
    .n_aliases = 2,
    .rules = ns_rules,
    .n_rules = 3,
};
static struct registry_namespace ns = {.config = &ns_config};
static struct registry_entity entity = {.ns = &ns, .config = &path};

struct vector {
	const char *audience;
	const char *name;
	const char *key;
	int64_t expiry_s;
	unsigned right;
	int status;
	const char *words;
};

static void
judge(const struct vector *v)
{
	const struct gate_demand d = {
	    .entity = &entity,
	    .path = "p/rest",
	    .right = v->right,
	    .now_s = NOW,
	    .grace_s = 10,
	};
	char *token = hc_token_make(v->audience, v->name, v->key, v->expiry_s);
	struct gate_verdict verdict;
	bool is_good = gate_check(&d, token, &verdict);

	assert_int_equal(verdict.status, v->status);
	assert_int_equal(is_good, v->status == 200);
	if (is_good) {
		assert_int_equal(verdict.expiry_s, v->expiry_s);
	} else {
		assert_non_null(strstr(verdict.text, v->words));
		assert_non_null(strstr(verdict.text, "sb://relay.test/p"));
		assert_null(strstr(verdict.text, "key of"));
	}
	mem_free_secret(token);
}

#define GOOD NOW + 60

static void
vectors(void **state)
{
	static const struct vector table[] = {
	    {"http://relay.test/p/", "listen", "key of listen", GOOD,
	        RELAY_LISTEN, 200, NULL},
	    {"sb://relay.test", "send", "key of send", GOOD, RELAY_SEND, 200,
	        NULL},
	    {"http://127.0.0.1/p", "send", "key of send", GOOD, RELAY_SEND, 200,
	        NULL},
	    {"http://[::1]:8443/p", "send", "key of send", GOOD, RELAY_SEND,
	        200, NULL},
	    {"http://relay.test/p/rest", "manage", "key of manage", GOOD,
	        RELAY_SEND, 200, NULL},
	    {"http://relay.test/p", "manage", "key of manage", GOOD,
	        RELAY_LISTEN, 200, NULL},
	    /* The entity's rule hides the namespace's of that name. */
	    {"http://relay.test/p", "both", "key of the entity", GOOD,
	        RELAY_SEND, 200, NULL},
	    {"http://relay.test/p", "both", "key of the namespace", GOOD,
	        RELAY_LISTEN, 401, "invalid signature"},
	    {"http://relay.test/p", "listen", "key of listen", NOW - 5,
	        RELAY_LISTEN, 200, NULL},
	    {"http://relay.test/p", "listen", "key of listen", NOW - 11,
	        RELAY_LISTEN, 401, "expired"},
	    {"http://relay.test/p", "nobody", "key of listen", GOOD,
	        RELAY_LISTEN, 401, "no such rule"},
	    {"http://relay.test/p", "LISTEN", "key of listen", GOOD,
	        RELAY_LISTEN, 401, "no such rule"},
	    {"http://relay.test/p", "listen", "key of send", GOOD, RELAY_LISTEN,
	        401, "token has an invalid signature"},
	    {"http://relay.test/q", "listen", "key of listen", GOOD,
	        RELAY_LISTEN, 403, "audience"},
	    {"http://other.test/p", "listen", "key of listen", GOOD,
	        RELAY_LISTEN, 403, "audience"},
	    {"http://relay.test/p", "listen", "key of listen", GOOD, RELAY_SEND,
	        403, "right"},
	    {"http://relay.test/p", "send", "key of send", GOOD, RELAY_MANAGE,
	        403, "right"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
		judge(&table[i]);
}

static void
no_token_at_all(void **state)
{
	static const char *const bad[] = {NULL, "", "nonsense", "a.b.c",
	    "SharedAccessSignature ", "SharedAccessSignature sr=a&sig=b"};
	const struct gate_demand d = {
	    .entity = &entity,
	    .path = "p",
	    .right = RELAY_LISTEN,
	    .now_s = NOW,
	};
	struct gate_verdict verdict;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		assert_false(gate_check(&d, bad[i], &verdict));
		assert_int_equal(verdict.status, 401);
		assert_non_null(strstr(verdict.text, "token"));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(vectors),
	    cmocka_unit_test(no_token_at_all),
	};

	return cmocka_run_group_tests_name("gate", tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "relay/registry.h"
#include "relay/relay.h"
#include "util/err.h"

#define ID1 "11111111-1111-4111-8111-111111111111"
#define ID2 "22222222-2222-4222-8222-222222222222"

static const struct relay_hybrid_connection some_paths[] = {
    {.path = "a", .max_listeners = 3},
    {.path = "a/b", .max_listeners = 3},
    {.path = "Site.One/db", .max_listeners = 3},
};
static const struct relay_hybrid_connection other_paths[] = {
    {.path = "A", .max_listeners = 5},
    {.path = "new", .max_listeners = 3},
};
static const char *const hosts[] = {"127.0.0.1", "::1"};
static const struct relay_namespace some[] = {
    {.name = "localhost",
        .aliases = hosts,
        .n_aliases = 2,
        .hybrid_connections = some_paths,
        .n_hybrid_connections = 3},
    {.name = "empty.test"},
    {.name = "two.test",
        .hybrid_connections = some_paths,
        .n_hybrid_connections = 1},
};
static const struct relay_namespace others[] = {
    {.name = "LOCALHOST",
        .hybrid_connections = other_paths,
        .n_hybrid_connections = 2},
};

static struct registry *
make(const struct relay_namespace *namespaces, size_t n)
{
	const struct relay_config c = {
	    .namespaces = namespaces, .n_namespaces = n};
	struct registry *r = registry_new();

	registry_set_config(r, &c, NULL, NULL);
	return r;
}

static void
hosts_are_found(void **state)
{
	struct registry *r = make(some, 3);
	struct registry_namespace *ns = registry_find_namespace(r, "localhost");

	(void)state;
	assert_non_null(ns);
	assert_ptr_equal(registry_find_namespace(r, "LocalHost"), ns);
	assert_ptr_equal(registry_find_namespace(r, "127.0.0.1"), ns);
	assert_ptr_equal(registry_find_namespace(r, "::1"), ns);
	assert_ptr_equal(registry_find_namespace(r, "[::1]"), ns);
	assert_null(registry_find_namespace(r, "localhos"));
	assert_null(registry_find_namespace(r, "localhostx"));
	assert_null(registry_find_namespace(r, ""));
	registry_free(r);
}

static const char *
found(struct registry *r, const char *path)
{
	const struct registry_entity *entity =
	    registry_find(registry_find_namespace(r, "localhost"), path);

	return entity ? entity->config->path : "-";
}

static void
longest_whole_segments(void **state)
{
	struct registry *r = make(some, 3);

	(void)state;
	assert_string_equal(found(r, "a"), "a");
	assert_string_equal(found(r, "/a"), "a");
	assert_string_equal(found(r, "//A/"), "a");
	assert_string_equal(found(r, "a/x/b"), "a");
	assert_string_equal(found(r, "a/b"), "a/b");
	assert_string_equal(found(r, "a/B/c"), "a/b");
	assert_string_equal(found(r, "a/bb"), "a");
	assert_string_equal(found(r, "ab"), "-");
	assert_string_equal(found(r, "site.one/DB/x"), "Site.One/db");
	assert_string_equal(found(r, "Site.One"), "-");
	assert_string_equal(found(r, ""), "-");
	assert_string_equal(found(r, "/"), "-");
	registry_free(r);
}

static void
walks_over_all(void **state)
{
	struct registry *r = make(some, 3);
	struct registry_entity *entity = NULL;
	unsigned n = 0;

	(void)state;
	while ((entity = registry_next(r, entity)))
		n++;
	assert_int_equal(n, 4);
	registry_free(r);
	r = make(some + 1, 1);
	assert_null(registry_next(r, NULL));
	registry_free(r);
}

static struct registry_entity *
entity_a(struct registry *r)
{
	return registry_find(registry_find_namespace(r, "localhost"), "a");
}

static void
quota_and_superseding(void **state)
{
	struct registry *r = make(some, 1);
	struct registry_entity *a = entity_a(r);
	struct registry_listener l[5] = {
	    {.id = ID1}, {.id = ""}, {.id = ""}, {.id = ID1}, {.id = ID1}};
	struct err e;

	(void)state;
	for (int i = 0; i < 3; i++) {
		assert_true(registry_has_room(a, l[i].id, &e));
		registry_add(a, &l[i]);
	}
	assert_false(registry_has_room(a, "", &e));
	assert_int_equal(e.code, ERR_DENIED);
	assert_non_null(strstr(e.text, "quota of 3"));
	assert_false(registry_has_room(a, ID2, &e));
	/* Its own place, once. */
	assert_true(registry_has_room(a, ID1, &e));
	registry_add(a, &l[3]);
	assert_int_equal(a->n_listeners, 3);
	assert_true(l[0].is_superseded);
	assert_false(registry_has_room(a, ID1, &e));
	for (int i = 0; i < 100; i++)
		assert_ptr_not_equal(registry_pick(a, NULL, NULL), &l[0]);
	/* The younger one goes: the elder may be alive after all. */
	registry_remove(&l[3]);
	assert_false(l[0].is_superseded);
	assert_int_equal(a->n_listeners, 3);
	registry_add(a, &l[4]);
	registry_remove(&l[0]);
	assert_int_equal(a->n_listeners, 3);
	for (int i = 0; i < 5; i++)
		registry_remove(&l[i]);
	assert_int_equal(a->n_listeners, 0);
	assert_null(registry_pick(a, NULL, NULL));
	registry_free(r);
}

static void
picks_at_random(void **state)
{
	struct registry *r = make(some, 1);
	struct registry_entity *a = entity_a(r);
	struct registry_listener l[3] = {{.id = ID1}, {.id = ID2}, {.id = ""}};
	unsigned n[3] = {0};

	(void)state;
	for (int i = 0; i < 3; i++)
		registry_add(a, &l[i]);
	for (int i = 0; i < 3000; i++)
		n[registry_pick(a, NULL, NULL) - l]++;
	/* Ten standard deviations around 1000. */
	for (int i = 0; i < 3; i++)
		assert_in_range(n[i], 740, 1260);
	for (int i = 0; i < 20; i++) {
		assert_ptr_equal(registry_pick(a, ID2, NULL), &l[1]);
		assert_ptr_equal(
		    registry_pick(a, " x , " ID1 "_G3", NULL), &l[0]);
		assert_ptr_equal(registry_pick(a, "{" ID1 "}", NULL), &l[0]);
		assert_ptr_equal(registry_pick(a, NULL, ID1 "," ID2), &l[2]);
		assert_ptr_equal(registry_pick(a, ID1 "," ID2, ID1), &l[1]);
	}
	assert_null(registry_pick(a, "", NULL));
	assert_null(registry_pick(a, ID1 "x", NULL));
	assert_null(registry_pick(a, "11111111", NULL));
	assert_null(registry_pick(a, ID1, ID1));
	for (int i = 0; i < 3; i++)
		registry_remove(&l[i]);
	registry_free(r);
}

static void
on_gone(void *owner, struct registry_entity *entity)
{
	char *text = owner;

	snprintf(text + strlen(text), 64, "%s ", entity->config->path);
	while (!list_is_empty(&entity->listeners))
		registry_remove(LIST_OF(
		    entity->listeners.next, struct registry_listener, link));
}

static void
configuration_is_swapped(void **state)
{
	const struct relay_config c = {.namespaces = others, .n_namespaces = 1};
	struct registry *r = make(some, 3);
	struct registry_entity *a = entity_a(r);
	struct registry_listener stays = {.id = ID1};
	struct registry_listener goes = {.id = ID1};
	char gone[256] = "";

	(void)state;
	registry_add(a, &stays);
	registry_add(
	    registry_find(registry_find_namespace(r, "localhost"), "a/b"),
	    &goes);
	registry_set_config(r, &c, on_gone, gone);
	assert_string_equal(gone, "a/b Site.One/db a ");
	assert_ptr_equal(entity_a(r), a);
	assert_ptr_equal(stays.entity, a);
	assert_int_equal(a->config->max_listeners, 5);
	assert_null(goes.entity);
	assert_non_null(registry_find(a->ns, "new"));
	assert_null(registry_find_namespace(r, "two.test"));
	assert_null(registry_find_namespace(r, "127.0.0.1"));
	registry_remove(&stays);
	registry_free(r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(hosts_are_found),
	    cmocka_unit_test(longest_whole_segments),
	    cmocka_unit_test(walks_over_all),
	    cmocka_unit_test(quota_and_superseding),
	    cmocka_unit_test(picks_at_random),
	    cmocka_unit_test(configuration_is_swapped),
	};

	return cmocka_run_group_tests_name("registry", tests, NULL, NULL);
}

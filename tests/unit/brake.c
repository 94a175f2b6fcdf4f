/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "net/addr.h"
#include "relay/brake.h"

static const struct brake_options options = {
    .first_ms = 100,
    .most_ms = 5000,
    .forget_ms = 60000,
};

static struct addr
at(const char *ip)
{
	struct addr a;

	assert_true(addr_from_ip(&a, ip, 1));
	return a;
}

static void
grows_and_is_bounded(void **state)
{
	static const uint32_t want[] = {
	    100, 200, 400, 800, 1600, 3200, 5000, 5000};
	struct brake *b = brake_new();
	struct addr a = at("192.0.2.1");
	struct addr other = at("192.0.2.2");

	(void)state;
	for (size_t i = 0; i < sizeof want / sizeof want[0]; i++)
		assert_int_equal(
		    brake_fail(b, &options, &a, 1000 + i), want[i]);
	for (int i = 0; i < 100; i++)
		assert_int_equal(brake_fail(b, &options, &a, 2000), 5000);
	assert_int_equal(brake_fail(b, &options, &other, 2000), 100);
	brake_free(b);
}

static void
forgives_and_forgets(void **state)
{
	struct brake *b = brake_new();
	struct addr a = at("192.0.2.1");

	(void)state;
	brake_fail(b, &options, &a, 0);
	assert_int_equal(brake_fail(b, &options, &a, 60000), 200);
	assert_int_equal(brake_fail(b, &options, &a, 120001), 100);
	brake_fail(b, &options, &a, 120001);
	brake_forgive(b, &a);
	assert_int_equal(brake_fail(b, &options, &a, 120002), 100);
	brake_free(b);
}

static void
counts_sources(void **state)
{
	struct brake *b = brake_new();
	struct addr a = at("2001:db8::1");
	struct addr same = at("2001:db8::2");
	struct addr other = at("2001:db8:0:1::1");
	struct addr plain = at("192.0.2.1");
	struct addr mapped = at("::ffff:192.0.2.1");

	(void)state;
	assert_int_equal(brake_fail(b, &options, &a, 0), 100);
	assert_int_equal(brake_fail(b, &options, &same, 0), 200);
	assert_int_equal(brake_fail(b, &options, &other, 0), 100);
	assert_int_equal(brake_fail(b, &options, &plain, 0), 100);
	assert_int_equal(brake_fail(b, &options, &mapped, 0), 200);
	brake_free(b);
}

static void
no_brake(void **state)
{
	const struct brake_options none = {.most_ms = 5000};
	struct brake *b = brake_new();
	struct addr a = at("192.0.2.1");

	(void)state;
	for (int i = 0; i < 10; i++)
		assert_int_equal(brake_fail(b, &none, &a, 0), 0);
	brake_free(b);
}

/* More sources than slots: the table stays as it is and still works. */
static void
many_sources(void **state)
{
	struct brake *b = brake_new();

	(void)state;
	for (unsigned i = 0; i < 4 * BRAKE_SLOTS; i++) {
		char ip[32];
		struct addr a;

		snprintf(ip, sizeof ip, "10.%u.%u.1", i >> 8, i & 255);
		a = at(ip);
		assert_int_equal(brake_fail(b, &options, &a, i), 100);
		assert_int_equal(brake_fail(b, &options, &a, i), 200);
	}
	brake_free(b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(grows_and_is_bounded),
	    cmocka_unit_test(forgives_and_forgets),
	    cmocka_unit_test(counts_sources),
	    cmocka_unit_test(no_brake),
	    cmocka_unit_test(many_sources),
	};

	return cmocka_run_group_tests_name("brake", tests, NULL, NULL);
}

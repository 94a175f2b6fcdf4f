/* SPDX-License-Identifier: MIT
 *
 * Memory: what comes back is usable, zeroed where promised, and secrets are
 * wiped. Exhaustion is tried in a child, which must abort.
 */
#include "util/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void
test_alloc(void **state)
{
	char *a = mem_alloc(10);
	char *none = mem_alloc(0);
	char *zeros = mem_zalloc(100);

	(void)state;
	assert_non_null(none);
	assert_ptr_not_equal(none, a);
	memcpy(a, "123456789", 10);
	a = mem_grow(a, 10000);
	assert_string_equal(a, "123456789");
	for (int i = 0; i < 100; i++)
		assert_int_equal(zeros[i], 0);
	free(mem_grow(NULL, 5));
	free(a);
	free(none);
	free(zeros);
}

static void
test_text(void **state)
{
	char *a = mem_strdup("listener");
	char *b = mem_strndup("listener", 4);
	char *c = mem_strndup("ab", 4);
	char *d = mem_printf("%s:%d", "host", 443);

	(void)state;
	assert_string_equal(a, "listener");
	assert_string_equal(b, "list");
	assert_string_equal(c, "ab");
	assert_string_equal(d, "host:443");
	free(a);
	free(b);
	free(c);
	free(d);
}

static void
test_wipe(void **state)
{
	char secret[] = "password";
	static const char zeros[sizeof secret];

	(void)state;
	mem_wipe(secret, sizeof secret);
	assert_memory_equal(secret, zeros, sizeof secret);
	mem_wipe(NULL, 0);
	mem_free_secret(NULL);
	mem_free_secret(mem_strdup("password"));
}

/* The child must not live on. (A sanitizer's own allocator ends it before we
 * can abort.) */
static void
test_exhaustion_aborts(void **state)
{
	/* Volatile: the compiler knows that this can never be satisfied. */
	volatile size_t huge = SIZE_MAX / 2;
	int status;
	pid_t child;

	(void)state;
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		const struct rlimit none = {0, 0};

		setrlimit(RLIMIT_CORE, &none);
		signal(SIGABRT, SIG_DFL);
		dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), STDERR_FILENO);
		free(mem_alloc(huge));
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_alloc),
	    cmocka_unit_test(test_text),
	    cmocka_unit_test(test_wipe),
	    cmocka_unit_test(test_exhaustion_aborts),
	};

	return cmocka_run_group_tests_name("mem", tests, NULL, NULL);
}

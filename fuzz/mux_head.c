/* SPDX-License-Identifier: MIT
 *
 * Lines "name=value" as a header list, judged as a request, a login and an
 * answer. What is taken as a target must build and judge to itself.
 */
#include "mux/mux_head.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "util/err.h"
#include "util/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_round_trip(const struct mux_target *t)
{
	struct mux_head_list l;
	struct mux_head h;
	struct mux_target again;
	struct err e;

	mux_head_list_init(&l);
	if (!mux_head_build_connect(&l, t, &e))
		abort();
	mux_head_init(&h);
	for (size_t i = 0; i < l.count; i++) {
		const char *value = mux_head_list_value(&l, i);

		mux_head_add(&h, l.fields[i].name, strlen(l.fields[i].name),
		    value, strlen(value));
	}
	if (mux_head_judge_request(&h, &again, &e) != MUX_HEAD_CHANNEL ||
	    again.kind != t->kind || again.port != t->port ||
	    strcmp(again.host, t->host) != 0)
		abort();
	free((char *)(uintptr_t)again.host);
	mux_head_fini(&h);
	mux_head_list_fini(&l);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mux_head h;
	struct mux_target t;
	struct err e;
	char *user, *password;

	mux_head_init(&h);
	while (size > 0) {
		const uint8_t *end = memchr(data, '\n', size);
		const size_t n = end ? (size_t)(end - data) : size;
		const uint8_t *mid = memchr(data, '=', n);

		if (mid)
			mux_head_add(&h, data, (size_t)(mid - data), mid + 1,
			    n - (size_t)(mid - data) - 1);
		data += end ? n + 1 : n;
		size -= end ? n + 1 : n;
	}
	if (mux_head_judge_request(&h, &t, &e) == MUX_HEAD_CHANNEL) {
		check_round_trip(&t);
		free((char *)(uintptr_t)t.host);
	}
	mux_head_judge_login(&h, &user, &password);
	mem_free_secret(user);
	mem_free_secret(password);
	mux_head_judge_answer(&h, &e);
	mux_head_fini(&h);
	return 0;
}

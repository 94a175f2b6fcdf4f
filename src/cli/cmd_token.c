/* SPDX-License-Identifier: MIT
 *
 * hyco token: prints a shared access signature for a hybrid connection, or a
 * URL that holds one.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli/cmd.h"
#include "cli/command_line.h"
#include "cli/option.h"
#include "hc/hc_target.h"
#include "hc/hc_token.h"
#include "util/buf.h"
#include "util/mem.h"
#include "util/text.h"

static void
print_url(const struct hc_target *t, const char *token)
{
	char host[HOSTPORT_TEXT_MAX];
	struct buf encoded;
	char *text;

	buf_init(&encoded, 4 * HC_TOKEN_MAX);
	text_percent_encode(&encoded, token, strlen(token));
	text = buf_take_text(&encoded);
	printf("https://%s/%s?sb-hc-token=%s\n", hc_target_host_header(t, host),
	    t->path, text);
	mem_free_secret(text);
}

int
cmd_token(const struct option_set *s)
{
	const uint64_t ttl = option_get_number(s, OPTION_TTL, HC_TOKEN_TTL_S);
	struct hc_target t;
	struct err e;
	char *token;

	/* A token cannot be made of nothing: the demands are a listener's. */
	if (!command_line_target(s, HC_TARGET_LISTEN, &t, &e)) {
		hc_target_fini(&t);
		return command_line_fail(s, &e);
	}
	if (t.token) {
		err_set(&e, ERR_USAGE,
		    "this is a signature already; a token is made from a key "
		    "name and a key");
		hc_target_fini(&t);
		return command_line_fail(s, &e);
	}
	token = hc_target_make_token(&t, (int64_t)time(NULL) + (int64_t)ttl);
	if (option_get_count(s, OPTION_CURL) > 0)
		print_url(&t, token);
	else
		puts(token);
	mem_free_secret(token);
	hc_target_fini(&t);
	return ERR_EXIT_DONE;
}

/* SPDX-License-Identifier: MIT
 *
 * Feeds the reader of tokens: the first line is the host, the second the path,
 * the rest the token.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "hc/hc_token.h"
#include "util/err.h"
#include "util/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = mem_strndup((const char *)data, size);
	char *path = strchr(text, '\n');
	char *token = path ? strchr(path + 1, '\n') : NULL;
	struct hc_token_demand d = {.key = "key", .host = text, .now_s = 1};
	struct hc_token t;
	struct err e;

	if (token) {
		*path++ = '\0';
		*token++ = '\0';
		d.path = path;
		if (hc_token_parse(&t, token, &e)) {
			hc_token_is_for(&t, text, path);
			/* Nobody can guess the signature of "key". */
			if (hc_token_judge(&t, &d, NULL) == HC_TOKEN_GOOD)
				abort();
			hc_token_fini(&t);
		} else if (e.code != ERR_AUTH) {
			abort();
		}
	}
	free(text);
	return 0;
}

/* SPDX-License-Identifier: MIT
 *
 * Feeds the reader of control messages; an accept that was read must survive
 * being written and read again.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "hc/hc_message.h"
#include "util/buf.h"
#include "util/err.h"
#include "util/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
write_again(const struct hc_message_accept *m)
{
	struct hc_message again;
	struct buf b;
	struct err e;
	char *text;

	buf_init(&b, HC_MESSAGE_MAX);
	if (hc_message_build_accept(&b, m, &e)) {
		text = buf_take_text(&b);
		if (!hc_message_parse(&again, text, strlen(text), &e) ||
		    strcmp(again.accept.address, m->address) != 0 ||
		    strcmp(again.accept.id, m->id) != 0)
			abort();
		hc_message_fini(&again);
		free(text);
	}
	buf_fini(&b);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *exact = mem_alloc(size);
	struct hc_message m;
	struct err e;

	if (size > 0)
		memcpy(exact, data, size);
	if (hc_message_parse(&m, exact, size, &e)) {
		if (m.kind == HC_MESSAGE_ACCEPT)
			write_again(&m.accept);
		hc_message_fini(&m);
	}
	free(exact);
	return 0;
}

/* SPDX-License-Identifier: MIT
 *
 * Any bytes as what an application says to the dynamic end, and as a datagram
 * of SOCKS 5: steps are bounded, replies fit, destinations can be said again,
 * and what was fed in two parts ends as it does whole.
 */
#include "ends/socks_wire.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "util/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(bool ok)
{
	if (!ok)
		abort();
}

/* Feeds as far as it goes; *used: bytes of the finished steps. */
static enum socks_wire_result
feed(struct socks_wire *w, const uint8_t *data, size_t size, size_t *used)
{
	enum socks_wire_result r;

	do {
		struct err e = {0};
		size_t n;
		uint8_t *view = malloc(size - *used + 1);

		check(view != NULL);
		memcpy(view, data + *used, size - *used);
		r = socks_wire_read(w, view, size - *used, &n, &e);
		free(view);
		check(n <= size - *used && w->reply_len <= sizeof w->reply);
		check((r == SOCKS_WIRE_BAD) == (e.code != ERR_NONE));
		check(r != SOCKS_WIRE_STEP || n > 0);
		check(r != SOCKS_WIRE_MORE ||
		      (n == 0 && size - *used < SOCKS_WIRE_STEP_MAX));
		*used += n;
	} while (r == SOCKS_WIRE_STEP);
	return r;
}

static void
check_answer(struct socks_wire *w)
{
	struct err e;
	struct hostport again;
	char text[HOSTPORT_TEXT_MAX];

	if (w->command == SOCKS_WIRE_CONNECT) {
		hostport_print(&w->target, text);
		check(hostport_parse(&again, text, 0, NULL));
	}
	check(host_is_valid(w->target.host));
	err_set(&e, ERR_REFUSED, "%s refused", w->target.host);
	socks_wire_answer(w, &e, NULL);
	check(w->reply_len > 0 && w->reply_len <= sizeof w->reply);
}

static void
check_udp(const uint8_t *data, size_t size)
{
	uint8_t head[SOCKS_WIRE_UDP_HEAD_MAX];
	struct hostport target, again;
	size_t len, built;

	if (!socks_wire_parse_udp(data, size, &target, &len))
		return;
	check(len <= size && len <= SOCKS_WIRE_UDP_HEAD_MAX);
	built = socks_wire_build_udp(&target, head);
	check(socks_wire_parse_udp(head, built, &again, &len));
	check(len == built && again.port == target.port);
	check(strcmp(again.host, target.host) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct socks_wire whole, cut;
	size_t used = 0, used_cut = 0;
	enum socks_wire_result r, r_cut;

	check_udp(data, size);
	socks_wire_init(&whole);
	r = feed(&whole, data, size, &used);
	socks_wire_init(&cut);
	r_cut = feed(&cut, data, size / 2, &used_cut);
	if (r_cut == SOCKS_WIRE_MORE)
		r_cut = feed(&cut, data, size, &used_cut);
	check(r == r_cut && used == used_cut);
	if (r == SOCKS_WIRE_DONE) {
		check(strcmp(whole.target.host, cut.target.host) == 0);
		check(whole.target.port == cut.target.port);
		check_answer(&whole);
	}
	return 0;
}

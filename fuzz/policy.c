/* SPDX-License-Identifier: MIT
 *
 * Policy files, and decisions by whatever was read: a mapped address is judged
 * as the IPv4 address, no rule but one for the very range opens metadata, and
 * a file without allow opens nothing.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ends/policy.h"
#include "net/addr.h"
#include "util/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool
decide(const struct policy *p, const char *host, const char *ip, uint16_t port)
{
	struct policy_request r = {
	    .user = "alice", .kind = POLICY_TCP, .host = host, .port = port};
	struct err why = {.code = ERR_NONE};
	struct addr a;
	bool is_allowed;

	if (!addr_from_ip(&a, ip, port))
		abort();
	r.addr = &a;
	is_allowed = policy_decide(p, &r, &why);
	if (is_allowed != (why.code == ERR_NONE))
		abort();
	if (policy_decide(p, &r, NULL) != is_allowed)
		abort();
	return is_allowed;
}

static void
decide_unix(const struct policy *p, const char *text)
{
	struct policy_request r = {.kind = POLICY_UNIX};
	struct addr a;

	if (!addr_parse(&a, text, 0, NULL))
		abort();
	r.addr = &a;
	(void)policy_decide(p, &r, NULL);
	if (strstr(text, "/../") && policy_decide(p, &r, NULL))
		abort();
}

static bool
holds(const uint8_t *data, size_t size, const char *word)
{
	return memmem(data, size, word, strlen(word)) != NULL;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err e = {.code = ERR_NONE};
	struct policy *p;
	bool plain, mapped;

	p = policy_parse((const char *)data, size, "fuzz", &e);
	if (!p) {
		if (e.code != ERR_USAGE || strncmp(e.text, "fuzz:", 5) != 0)
			abort();
		return 0;
	}
	plain = decide(p, NULL, "10.0.0.1", 80);
	mapped = decide(p, NULL, "::ffff:10.0.0.1", 80);
	if (plain != mapped)
		abort();
	if (plain && !holds(data, size, "allow"))
		abort();
	if (decide(p, "a.example.com", "169.254.169.254", 80) &&
	    !holds(data, size, "169.254.169.254"))
		abort();
	(void)decide(p, "a.example.com", "127.0.0.1", 443);
	(void)decide(p, "localhost", "::1", 8080);
	(void)decide(p, NULL, "64:ff9b::a00:1", 80);
	(void)decide(p, NULL, "2001:db8::1", 53);
	decide_unix(p, "unix:/run/x");
	decide_unix(p, "unix:/run/app/x");
	decide_unix(p, "unix:/run/app/../x");
	policy_unref(p);
	return 0;
}

/* SPDX-License-Identifier: MIT
 *
 * A decision is one walk over the rules in the order of the file: any deny
 * that matches ends it, an allow is noted. The care is in what counts as a
 * match: an address may have two forms, and some ranges are opened only by a
 * rule that means exactly them.
 */
#include "ends/policy.h"

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "ends/policy_table.h"
#include "net/addr.h"
#include "util/err.h"
#include "util/text.h"

/* The narrower before the wider that holds it. */
static const struct special {
	const char *ip;
	unsigned bits;
} specials[] = {
    {"169.254.169.254", 32}, /* most clouds' metadata */
    {"169.254.170.2", 32},   /* credentials of containers */
    {"169.254.0.0", 16},
    {"100.100.100.200", 32},
    {"168.63.129.16", 32},
    {"192.0.0.192", 32},
    {"224.0.0.0", 4},
    {"255.255.255.255", 32},
    {"fd00:ec2::254", 128},
    {"fd20:ce::254", 128},
    {"fe80::", 10},
    {"ff00::", 8},
};
#define SPECIAL_COUNT ((int)(sizeof specials / sizeof specials[0]))
#define SPECIAL_WITHIN (-2) /* only the IPv4 address within is special */
#define USER_TEXT_MAX 256

const char *const policy_kind_names[3] = {"tcp", "udp", "unix"};

/* --- addresses --- */

unsigned
policy_addr_bits(const struct addr *a)
{
	return a->sa.ss_family == AF_INET6 ? 128 : 32;
}

int
policy_special_of(const struct addr *a, unsigned bits)
{
	struct addr net;
	int i;

	for (i = 0; i < SPECIAL_COUNT; i++)
		if (bits >= specials[i].bits &&
		    addr_from_ip(&net, specials[i].ip, 0) &&
		    addr_is_in(a, &net, specials[i].bits))
			return i;
	return -1;
}

/* The IPv4 address that NAT64 or 6to4 would send this one to. */
static bool
addr_within(const struct addr *a, struct addr *out)
{
	struct sockaddr_in in = {.sin_family = AF_INET};
	const uint8_t *bytes;
	struct addr net;
	size_t at;

	if (a->sa.ss_family != AF_INET6)
		return false;
	bytes = ((const struct sockaddr_in6 *)(const void *)&a->sa)
	            ->sin6_addr.s6_addr;
	if (addr_from_ip(&net, "64:ff9b::", 0) && addr_is_in(a, &net, 96))
		at = 12;
	else if (addr_from_ip(&net, "2002::", 0) && addr_is_in(a, &net, 16))
		at = 2;
	else
		return false;
	memcpy(&in.sin_addr, bytes + at, 4);
	addr_from_sockaddr(
	    out, (const struct sockaddr *)(const void *)&in, sizeof in);
	return true;
}

/* What connect(2) makes of it. */
static void
addr_settle(struct addr *a, bool listen)
{
	addr_unmap(a);
	if (listen || !addr_is_unspecified(a))
		return;
	(void)addr_from_ip(
	    a, a->sa.ss_family == AF_INET6 ? "::1" : "127.0.0.1", 0);
}

bool
policy_is_special(const struct addr *a)
{
	struct addr plain = *a, within;

	if (addr_is_unix(a))
		return false;
	addr_unmap(&plain);
	if (policy_special_of(&plain, policy_addr_bits(&plain)) >= 0)
		return true;
	return addr_within(&plain, &within) &&
	       policy_special_of(&within, 32) >= 0;
}

/* --- the decision --- */

bool
policy_is_plain_path(const char *path)
{
	const char *at = path;
	size_t n;

	if (*at != '/' || at[1] == '\0')
		return false;
	while (*at) {
		n = strcspn(++at, "/");
		if (n == 0)
			return *at == '\0';
		if (strncmp(at, "..", n) == 0 && n <= 2)
			return false;
		at += n;
	}
	return true;
}

static bool
ports_have(const struct rule *r, uint16_t port)
{
	size_t i;

	if (r->ports_count == 0)
		return true;
	for (i = 0; i < r->ports_count; i++)
		if (port >= r->ports[i].first && port <= r->ports[i].last)
			return true;
	return false;
}

/* A request in the form that rules are held against. */
struct subject {
	const struct policy_request *request;
	char name[HOST_MAX + 1]; /* "": the host was numeric */
	struct addr addr;
	struct addr within; /* len 0: none */
	const char *path;
	int special;
	bool is_loopback;
};

static bool
group_has(const struct group *g, const char *user)
{
	size_t i;

	if (g->is_everybody)
		return true;
	for (i = 0; user && i < g->count; i++)
		if (strcmp(g->names[i], user) == 0)
			return true;
	return false;
}

static bool
is_below(const char *name, const char *suffix)
{
	size_t n = strlen(name), k = strlen(suffix);

	return n > k && text_is_equal_nocase(name + n - k, suffix);
}

static bool
is_in_folder(const char *path, const char *folder)
{
	size_t n = strlen(folder);

	return strncmp(path, folder, n) == 0 && path[n] != '\0' &&
	       !strchr(path + n, '/');
}

static bool
rule_is_about(const struct rule *r, const struct subject *s)
{
	switch (r->target) {
	case TARGET_ANY:
		return true;
	case TARGET_NAME:
		return text_is_equal_nocase(s->name, r->text);
	case TARGET_SUFFIX:
		return is_below(s->name, r->text);
	case TARGET_BLOCK:
		if (addr_is_in(&s->addr, &r->net, r->bits))
			return true;
		return r->deny && s->within.len > 0 &&
		       addr_is_in(&s->within, &r->net, r->bits);
	case TARGET_PATH:
		return strcmp(s->path, r->text) == 0;
	case TARGET_FOLDER:
		return is_in_folder(s->path, r->text);
	}
	return false;
}

static bool
rule_matches(
    const struct policy *p, const struct rule *r, const struct subject *s)
{
	return r->kinds[s->request->kind] && r->listen == s->request->listen &&
	       (s->path || ports_have(r, s->request->port)) &&
	       rule_is_about(r, s) &&
	       group_has(&p->groups[r->group], s->request->user);
}

/* Whether an allow that matches is strong enough for this address. */
static bool
rule_opens(const struct rule *r, const struct subject *s)
{
	if (s->path || s->request->listen)
		return true;
	if (s->special >= 0)
		return r->target == TARGET_BLOCK && r->special == s->special;
	if (s->special == SPECIAL_WITHIN)
		return r->target == TARGET_BLOCK && r->bits == 128;
	return r->target != TARGET_SUFFIX || !s->is_loopback;
}

static bool
deny(const struct policy_request *r, struct err *why, const char *reason,
    const char *file, unsigned line)
{
	char at[HOSTPORT_TEXT_MAX + ADDR_TEXT_MAX], ip[ADDR_TEXT_MAX];
	char user[USER_TEXT_MAX], host[HOST_MAX + 1], place[160] = "";

	if (!why)
		return false;
	host[0] = ip[0] = '\0';
	if (r->host)
		text_escape(r->host, strlen(r->host), host, sizeof host);
	if (r->addr)
		addr_print(r->addr, ip);
	if (r->kind == POLICY_UNIX || !r->host)
		snprintf(at, sizeof at, "%s", ip);
	else
		snprintf(at, sizeof at, "%s port %u (%s)", host, r->port, ip);
	text_escape(r->user ? r->user : "", r->user ? strlen(r->user) : 0, user,
	    sizeof user);
	if (file)
		snprintf(place, sizeof place, " (%s:%u)", file, line);
	err_set(why, ERR_DENIED, "policy refuses %s%s%s %s %s: %s%s",
	    r->user ? "user " : "anonymous users", user,
	    r->listen ? " listening on" : "",
	    (unsigned)r->kind < 3 ? policy_kind_names[r->kind] : "?", at,
	    reason, place);
	return false;
}

/* False when the request makes no sense. */
static bool
subject_init(struct subject *s, const struct policy_request *r)
{
	struct addr ip;
	size_t n;

	memset(s, 0, sizeof *s);
	s->request = r;
	s->special = -1;
	if ((unsigned)r->kind > POLICY_UNIX || !r->addr || r->addr->len == 0)
		return false;
	if (addr_is_unix(r->addr) != (r->kind == POLICY_UNIX))
		return false;
	s->addr = *r->addr;
	if (r->kind == POLICY_UNIX) {
		s->path = addr_unix_path(r->addr);
		return s->path && policy_is_plain_path(s->path);
	}
	addr_settle(&s->addr, r->listen);
	s->is_loopback = addr_is_loopback(&s->addr);
	s->special = policy_special_of(&s->addr, policy_addr_bits(&s->addr));
	if (addr_within(&s->addr, &s->within)) {
		addr_settle(&s->within, r->listen);
		s->is_loopback |= addr_is_loopback(&s->within);
		if (s->special < 0 && policy_special_of(&s->within, 32) >= 0)
			s->special = SPECIAL_WITHIN;
	}
	n = r->host ? strlen(r->host) : 0;
	if (n == 0 || n > HOST_MAX || addr_from_ip(&ip, r->host, 0))
		return n <= HOST_MAX;
	memcpy(s->name, r->host, n);
	if (s->name[n - 1] == '.')
		s->name[n - 1] = '\0';
	return true;
}

static const char special_reason[] =
    "link-local, multicast and metadata addresses are open only where a rule "
    "of the policy file names them";

static bool
decide_without_file(const struct subject *s, struct err *why)
{
	if (s->request->listen)
		return deny(s->request, why,
		    "listening needs a policy file that allows it", NULL, 0);
	if (s->special != -1)
		return deny(s->request, why, special_reason, NULL, 0);
	return true;
}

bool
policy_decide(
    const struct policy *p, const struct policy_request *r, struct err *why)
{
	bool is_allowed = false, is_weak = false;
	const struct rule *rule;
	struct subject s;
	size_t i;

	if (!subject_init(&s, r))
		return deny(
		    r, why, "the destination cannot be judged", NULL, 0);
	if (!p)
		return decide_without_file(&s, why);
	for (i = 0; i < p->rule_count; i++) {
		rule = &p->rules[i];
		if (!rule_matches(p, rule, &s))
			continue;
		if (rule->deny)
			return deny(
			    r, why, "denied by a rule", p->file, rule->line);
		if (rule_opens(rule, &s))
			is_allowed = true;
		else
			is_weak = true;
	}
	if (is_allowed)
		return true;
	if (is_weak && s.special != -1)
		return deny(r, why, special_reason, NULL, 0);
	if (is_weak)
		return deny(r, why,
		    "a *.suffix rule does not open loopback addresses", NULL,
		    0);
	return deny(r, why, "no rule allows it", NULL, 0);
}

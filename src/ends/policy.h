/* SPDX-License-Identifier: MIT
 *
 * Which user may reach which destination. One function decides every open, for
 * every kind and every way, at the point of connect(2). Pure.
 *
 * The file, line by line (words apart by blanks, "..." around a word that
 * holds blanks, # to the end of the line is a comment):
 *
 *     user alice bob              # the rules that follow are for these
 *     allow tcp db.example.com 5432
 *     allow tcp *.example.com 80,443
 *     allow tcp 10.1.0.0/16 1024-65535
 *     deny  tcp 10.1.9.9 *
 *     allow udp [2001:db8::]/32 53
 *     allow unix /run/postgresql/.s.PGSQL.5432
 *     allow unix /run/app/         # files in the folder, not below
 *     user *                      # for everybody, named or anonymous
 *     deny * * 25                 # all kinds with ports, all hosts
 *     allow listen tcp 127.0.0.1 8000-8999   # to be listened on here
 *
 * A rule: allow|deny, `listen` when it is about listening, a kind (tcp, udp,
 * unix, or * for tcp and udp), a target, then for tcp and udp the ports:
 * numbers, ranges, lists of them, or *. A target is a host name, *.suffix (the
 * names below it, not the suffix itself), an IP, a CIDR block, or *; for unix a
 * path, a folder with a slash at its end, or *.
 *
 * The decision:
 * - All rules for the user and for * count, in any order; deny wins; what no
 *   rule allows is denied.
 * - Addresses and blocks are compared with the resolved address, names with
 *   the name that was asked for (case-blind, a trailing dot dropped). A name
 *   rule never matches a numeric host. So a name that is allowed still fails
 *   when it resolves into a block that is denied.
 * - v4-mapped addresses are judged as IPv4; 0.0.0.0 and :: as loopback, which
 *   is where connect(2) takes them. NAT64 (64:ff9b::/96) and 6to4 addresses are
 *   denied also by what is said of the IPv4 address within.
 * - Link-local, multicast, broadcast and metadata addresses (169.254.0.0/16 and
 *   in it 169.254.169.254 and 169.254.170.2, fe80::/10, fd00:ec2::254,
 *   fd20:ce::254, 100.100.100.200, 168.63.129.16, 192.0.0.192, 224.0.0.0/4,
 *   255.255.255.255, ff00::/8) are opened only by a rule on an address or block
 *   that lies within that range (of two ranges the narrower: 169.254.169.254 is
 *   not opened by 169.254.0.0/16); neither * nor a wider block nor a name does.
 * - Unix paths are compared as they are written; one that is not absolute or
 *   holds an empty, . or .. part is denied. Links are not looked through: allow
 *   the few that are meant rather than deny the others.
 * - A *.suffix rule does not open loopback addresses: who runs one name below
 *   the suffix must not reach this machine by pointing it here. An exact name
 *   such as localhost does.
 * - For listening the addresses stand as they are: 0.0.0.0 is all of IPv4, and
 *   no range is special.
 * - Without a policy file (p == NULL) everybody may connect to everything but
 *   those ranges, and nobody may listen.
 * - What cannot be judged (no address, a kind unknown) is denied.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct addr;
struct err;
struct policy;

#define POLICY_FILE_MAX ((size_t)4 * 1024 * 1024)
#define POLICY_LINE_MAX 1024
#define POLICY_RULES_MAX 20000
#define POLICY_PORTS_MAX 32 /* numbers and ranges in one rule */

enum policy_kind {
	POLICY_TCP,
	POLICY_UDP,
	POLICY_UNIX,
};

/* What is to be decided. */
struct policy_request {
	const char *user; /* NULL: anonymous */
	enum policy_kind kind;
	bool listen;      /* listen there rather than connect to it */
	const char *host; /* as it was asked for; NULL: addr says all */
	const struct addr
	    *addr;     /* the resolved address; for unix: the socket */
	uint16_t port; /* not for unix */
};

/* ERR_NOT_FOUND, ERR_DENIED (unreadable, or writable by everybody),
 * ERR_TOO_BIG, ERR_USAGE (file:line: reason). The caller owns one reference. */
struct policy *policy_load(const char *path, struct err *e);

/* The same from memory; `name` stands for the file in errors. */
struct policy *policy_parse(
    const char *text, size_t n, const char *name, struct err *e);

/* p may be NULL in both: nothing happens. */
struct policy *policy_ref(struct policy *p);
void policy_unref(struct policy *p);

size_t policy_rules(const struct policy *p);

/* Whether it may be. If not, *why (may be NULL) is ERR_DENIED and names the
 * user, the destination and what denies it (file:line of the rule). */
bool policy_decide(
    const struct policy *p, const struct policy_request *r, struct err *why);

/* Whether the address is one that only a rule for exactly that range opens. */
bool policy_is_special(const struct addr *a);

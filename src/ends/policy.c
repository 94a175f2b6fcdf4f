/* SPDX-License-Identifier: MIT
 *
 * A policy is a list of rules in the order of the file, and a decision is one
 * walk over it: any deny that matches ends it, an allow is noted. The care is
 * in what counts as a match: an address may have two forms, and some ranges
 * are opened only by a rule that means exactly them.
 */
#include "ends/policy.h"

#include <assert.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "ends/lines.h"
#include "net/addr.h"
#include "util/err.h"
#include "util/mem.h"
#include "util/text.h"

enum target {
	TARGET_ANY,
	TARGET_NAME,
	TARGET_SUFFIX, /* text is ".example.com" */
	TARGET_BLOCK,
	TARGET_PATH,
	TARGET_FOLDER, /* text ends in a slash */
};

struct ports {
	uint16_t first;
	uint16_t last;
};

struct group {
	bool is_everybody;
	size_t count;
	char **names;
};

struct rule {
	unsigned line;
	size_t group;
	bool deny;
	bool listen;
	bool kinds[3]; /* by enum policy_kind */
	enum target target;
	char *text;
	struct addr net;
	unsigned bits;
	int special;        /* the special range the block lies in, or -1 */
	size_t ports_count; /* 0: all */
	struct ports *ports;
};

struct policy {
	unsigned refs;
	char *file;
	size_t group_count;
	struct group *groups;
	size_t rule_count;
	struct rule *rules;
};

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

static const char *const kind_names[] = {"tcp", "udp", "unix"};

/* --- addresses --- */

/* The special range that holds the whole block, or -1. */
static int
special_of(const struct addr *a, unsigned bits)
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

static unsigned
addr_bits(const struct addr *a)
{
	return a->sa.ss_family == AF_INET6 ? 128 : 32;
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
	if (special_of(&plain, addr_bits(&plain)) >= 0)
		return true;
	return addr_within(&plain, &within) && special_of(&within, 32) >= 0;
}

/* --- words --- */

/* The next word of a line, in place: 1, 0 at the end (or at a comment), -1
 * when a quote stays open. */
static int
next_word(char **at, char **word, bool *is_quoted)
{
	char *s = *at + strspn(*at, " \t");
	size_t n;

	*is_quoted = *s == '"';
	if (*s == '\0' || *s == '#')
		return 0;
	if (*is_quoted)
		s++;
	n = strcspn(s, *is_quoted ? "\"" : " \t");
	if (*is_quoted && s[n] == '\0')
		return -1;
	*word = s;
	*at = s[n] ? s + n + 1 : s + n;
	s[n] = '\0';
	return 1;
}

/* A word that must be there. */
static bool
need_word(const struct lines *l, char **at, char **word, const char *what,
    struct err *e)
{
	bool is_quoted;

	switch (next_word(at, word, &is_quoted)) {
	case 1:
		return true;
	case 0:
		return lines_fault(l, e, "%s is missing", what);
	default:
		return lines_fault(l, e, "a quote is not closed");
	}
}

static bool
need_end(const struct lines *l, char **at, struct err *e)
{
	bool is_quoted;
	char *word;

	if (next_word(at, &word, &is_quoted) == 0)
		return true;
	return lines_fault(l, e, "too many words");
}

/* For complaints: a word of the file, short and clean. */
static const char *
show(const char *word, char out[64])
{
	text_escape(word, strlen(word), out, 64);
	return out;
}

/* --- ports --- */

static bool
parse_range(const char *s, struct ports *out)
{
	char number[6];
	const char *dash = strchr(s, '-');
	size_t n = dash ? (size_t)(dash - s) : strlen(s);

	if (n == 0 || n >= sizeof number)
		return false;
	memcpy(number, s, n);
	number[n] = '\0';
	if (!text_parse_port(number, &out->first))
		return false;
	out->last = out->first;
	return !dash || (text_parse_port(dash + 1, &out->last) &&
	                    out->last >= out->first);
}

static bool
parse_ports(const struct lines *l, struct rule *r, char *word, struct err *e)
{
	char *at = word, *item, shown[64];

	if (strcmp(word, "*") == 0)
		return true;
	r->ports = mem_alloc(POLICY_PORTS_MAX * sizeof *r->ports);
	while ((item = strsep(&at, ","))) {
		if (r->ports_count == POLICY_PORTS_MAX)
			return lines_fault(
			    l, e, "more than %d ports", POLICY_PORTS_MAX);
		if (!parse_range(item, &r->ports[r->ports_count++]))
			return lines_fault(l, e,
			    "\"%s\" is no port (1-65535), range (1000-2000) "
			    "or *",
			    show(item, shown));
	}
	r->ports = mem_grow(r->ports, r->ports_count * sizeof *r->ports);
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

/* --- targets --- */

/* Whether all bits behind the prefix are zero. */
static bool
is_block(const struct addr *a, unsigned bits)
{
	const uint8_t *p;
	unsigned i, all = addr_bits(a);

	if (all == 128)
		p = ((const struct sockaddr_in6 *)(const void *)&a->sa)
		        ->sin6_addr.s6_addr;
	else
		p = (const uint8_t *)&(
		    (const struct sockaddr_in *)(const void *)&a->sa)
		        ->sin_addr;
	for (i = bits; i < all; i++)
		if (p[i / 8] & (0x80 >> i % 8))
			return false;
	return true;
}

static bool
parse_block(const struct lines *l, struct rule *r, const char *word,
    const char *bits, struct err *e)
{
	char shown[64];
	struct addr plain = r->net;
	uint64_t n = addr_bits(&r->net);

	if (bits && !text_parse_u64(bits, 0, n, &n))
		return lines_fault(l, e,
		    "\"%s\" behind the slash is no prefix length",
		    show(bits, shown));
	r->target = TARGET_BLOCK;
	r->bits = (unsigned)n;
	if (!is_block(&r->net, r->bits))
		return lines_fault(l, e, "%s/%u has bits set behind its prefix",
		    show(word, shown), r->bits);
	addr_unmap(&plain);
	if (plain.sa.ss_family != r->net.sa.ss_family)
		return lines_fault(l, e,
		    "%s is judged as IPv4; write the IPv4 address",
		    show(word, shown));
	if (!r->listen && !bits && addr_is_unspecified(&r->net))
		return lines_fault(l, e,
		    "%s is judged as loopback; write 127.0.0.1 or ::1",
		    show(word, shown));
	r->special = special_of(&r->net, r->bits);
	return true;
}

/* A name whose last label is a number would be read as an address by the
 * resolver (127.1, 0x7f.1): people mean an address and got it wrong. */
static bool
is_numeric_name(const char *name)
{
	const char *dot = strrchr(name, '.');
	const char *last = dot ? dot + 1 : name;

	return strspn(last, "0123456789") == strlen(last) ||
	       strncasecmp(last, "0x", 2) == 0;
}

static bool
parse_name(const struct lines *l, struct rule *r, char *word, struct err *e)
{
	char *name = word, shown[64];
	size_t n = strlen(word);

	r->target = TARGET_NAME;
	if (strncmp(word, "*.", 2) == 0) {
		r->target = TARGET_SUFFIX;
		name = word + 2;
		n -= 2;
	}
	if (n > 1 && name[n - 1] == '.')
		name[n - 1] = '\0';
	if (!host_is_valid(name) || name[0] == '.' || strchr(name, ':') ||
	    is_numeric_name(name))
		return lines_fault(l, e,
		    "\"%s\" is no host name, *.suffix, IP address, block "
		    "(10.0.0.0/8) or *",
		    show(word, shown));
	/* The suffix keeps its dot. */
	r->text = mem_strdup(r->target == TARGET_SUFFIX ? name - 1 : name);
	return true;
}

static bool
parse_host(const struct lines *l, struct rule *r, char *word, struct err *e)
{
	char ip[64], *slash = strchr(word, '/'), *close;
	size_t n;

	if (strcmp(word, "*") == 0)
		return true;
	n = slash ? (size_t)(slash - word) : strlen(word);
	if (n < sizeof ip) {
		memcpy(ip, word, n);
		ip[n] = '\0';
		close = n > 2 && ip[0] == '[' && ip[n - 1] == ']' ? ip + n - 1
		                                                  : NULL;
		if (close)
			*close = '\0';
		if (addr_from_ip(&r->net, close ? ip + 1 : ip, 0) &&
		    (!close || addr_bits(&r->net) == 128))
			return parse_block(l, r, close ? ip + 1 : ip,
			    slash ? slash + 1 : NULL, e);
	}
	return parse_name(l, r, word, e);
}

/* Absolute, and without empty, . and .. parts. A slash at the end is fine
 * where a folder is meant. */
static bool
is_plain_path(const char *path)
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
parse_path(const struct lines *l, struct rule *r, char *word, struct err *e)
{
	char shown[64];

	if (strcmp(word, "*") == 0)
		return true;
	if (strncmp(word, "unix:", 5) == 0)
		word += 5;
	if (!is_plain_path(word))
		return lines_fault(l, e,
		    "\"%s\" is no absolute path without . and .. parts",
		    show(word, shown));
	r->target = word[strlen(word) - 1] == '/' ? TARGET_FOLDER : TARGET_PATH;
	r->text = mem_strdup(word);
	return true;
}

/* --- lines --- */

static bool
parse_kind(
    const struct lines *l, struct rule *r, const char *word, struct err *e)
{
	char shown[64];
	int i;

	if (strcmp(word, "*") == 0) {
		r->kinds[POLICY_TCP] = r->kinds[POLICY_UDP] = true;
		return true;
	}
	for (i = 0; i < 3; i++)
		if (strcmp(word, kind_names[i]) == 0) {
			r->kinds[i] = true;
			return true;
		}
	return lines_fault(
	    l, e, "\"%s\" is no kind (tcp, udp, unix, *)", show(word, shown));
}

static struct rule *
add_rule(struct policy *p)
{
	struct rule *r;

	if ((p->rule_count & (p->rule_count - 1)) == 0)
		p->rules = mem_grow(p->rules,
		    (p->rule_count ? 2 * p->rule_count : 1) * sizeof *p->rules);
	r = &p->rules[p->rule_count++];
	memset(r, 0, sizeof *r);
	r->special = -1;
	return r;
}

static bool
parse_rule(
    struct policy *p, const struct lines *l, bool deny, char *at, struct err *e)
{
	struct rule *r;
	char *word;

	if (p->group_count == 0)
		return lines_fault(
		    l, e, "a rule before the first \"user\" line");
	if (p->rule_count == POLICY_RULES_MAX)
		return lines_fault(
		    l, e, "more than %d rules", POLICY_RULES_MAX);
	r = add_rule(p);
	r->line = l->number;
	r->group = p->group_count - 1;
	r->deny = deny;
	if (!need_word(l, &at, &word, "the kind (tcp, udp, unix, *)", e))
		return false;
	if (strcmp(word, "listen") == 0) {
		r->listen = true;
		if (!need_word(
		        l, &at, &word, "the kind (tcp, udp, unix, *)", e))
			return false;
	}
	if (!parse_kind(l, r, word, e))
		return false;
	if (!need_word(l, &at, &word, "the destination", e))
		return false;
	if (r->kinds[POLICY_UNIX])
		return parse_path(l, r, word, e) && need_end(l, &at, e);
	return parse_host(l, r, word, e) &&
	       need_word(
	           l, &at, &word, "the port (a number, 1000-2000, *)", e) &&
	       parse_ports(l, r, word, e) && need_end(l, &at, e);
}

static bool
parse_users(struct policy *p, const struct lines *l, char *at, struct err *e)
{
	struct group *g;
	bool is_quoted;
	char *word;
	int got;

	if ((p->group_count & (p->group_count - 1)) == 0)
		p->groups = mem_grow(
		    p->groups, (p->group_count ? 2 * p->group_count : 1) *
		                   sizeof *p->groups);
	g = &p->groups[p->group_count++];
	memset(g, 0, sizeof *g);
	while ((got = next_word(&at, &word, &is_quoted)) > 0) {
		if (strcmp(word, "*") == 0 && !is_quoted) {
			g->is_everybody = true;
			continue;
		}
		if (*word == '\0')
			return lines_fault(l, e, "a user name is empty");
		g->names =
		    mem_grow(g->names, (g->count + 1) * sizeof *g->names);
		g->names[g->count++] = mem_strdup(word);
	}
	if (got < 0)
		return lines_fault(l, e, "a quote is not closed");
	if (g->count == 0 && !g->is_everybody)
		return lines_fault(l, e, "the user names are missing");
	return true;
}

static bool
has_control(const char *s)
{
	for (; *s; s++)
		if (((unsigned char)*s < 0x20 && *s != '\t') || *s == 0x7f)
			return true;
	return false;
}

static bool
parse_line(struct policy *p, const struct lines *l, char *line, struct err *e)
{
	char *at = line, *word, shown[64];
	bool is_quoted;

	if (has_control(line))
		return lines_fault(l, e, "the line holds a control byte");
	switch (next_word(&at, &word, &is_quoted)) {
	case 0:
		return true;
	case -1:
		return lines_fault(l, e, "a quote is not closed");
	}
	if (strcmp(word, "user") == 0)
		return parse_users(p, l, at, e);
	if (strcmp(word, "allow") == 0)
		return parse_rule(p, l, false, at, e);
	if (strcmp(word, "deny") == 0)
		return parse_rule(p, l, true, at, e);
	return lines_fault(l, e,
	    "\"%s\" is not known here; lines begin with user, allow or deny",
	    show(word, shown));
}

struct policy *
policy_parse(const char *text, size_t n, const char *name, struct err *e)
{
	struct policy *p;
	struct err fault = {.code = ERR_NONE};
	char line[POLICY_LINE_MAX + 1];
	struct lines l;

	if (n > POLICY_FILE_MAX) {
		err_set(e, ERR_TOO_BIG,
		    "policy file %s is larger than %zu bytes", name,
		    POLICY_FILE_MAX);
		return NULL;
	}
	p = mem_zalloc(sizeof *p);
	p->refs = 1;
	p->file = mem_strdup(name);
	lines_init(&l, text, n, name, POLICY_LINE_MAX);
	while (lines_next(&l, line, &fault))
		if (!parse_line(p, &l, line, &fault))
			break;
	if (fault.code == ERR_NONE)
		return p;
	if (e)
		*e = fault;
	policy_unref(p);
	return NULL;
}

struct policy *
policy_load(const char *path, struct err *e)
{
	struct policy *p;
	char *text;
	size_t n;

	/* Who may write it decides who may reach what. */
	if (!lines_load(path, "policy file", POLICY_FILE_MAX, 02, &text, &n, e))
		return NULL;
	p = policy_parse(text, n, path, e);
	free(text);
	return p;
}

struct policy *
policy_ref(struct policy *p)
{
	if (p)
		p->refs++;
	return p;
}

void
policy_unref(struct policy *p)
{
	size_t i, k;

	if (!p || --p->refs > 0)
		return;
	for (i = 0; i < p->rule_count; i++) {
		free(p->rules[i].text);
		free(p->rules[i].ports);
	}
	for (i = 0; i < p->group_count; i++) {
		for (k = 0; k < p->groups[i].count; k++)
			free(p->groups[i].names[k]);
		free(p->groups[i].names);
	}
	free(p->rules);
	free(p->groups);
	free(p->file);
	free(p);
}

size_t
policy_rules(const struct policy *p)
{
	return p->rule_count;
}

/* --- the decision --- */

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
	    (unsigned)r->kind < 3 ? kind_names[r->kind] : "?", at, reason,
	    place);
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
		return s->path && is_plain_path(s->path);
	}
	addr_settle(&s->addr, r->listen);
	s->is_loopback = addr_is_loopback(&s->addr);
	s->special = special_of(&s->addr, addr_bits(&s->addr));
	if (addr_within(&s->addr, &s->within)) {
		addr_settle(&s->within, r->listen);
		s->is_loopback |= addr_is_loopback(&s->within);
		if (s->special < 0 && special_of(&s->within, 32) >= 0)
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

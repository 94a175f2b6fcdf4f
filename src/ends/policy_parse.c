/* SPDX-License-Identifier: MIT
 *
 * Reading a policy file: each line is cut into words in place, and each word
 * has one function that reads it and says what is wrong with it.
 */
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "ends/lines.h"
#include "ends/policy.h"
#include "ends/policy_table.h"
#include "net/addr.h"
#include "util/err.h"
#include "util/mem.h"
#include "util/text.h"

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

/* --- targets --- */

/* Whether all bits behind the prefix are zero. */
static bool
is_block(const struct addr *a, unsigned bits)
{
	const uint8_t *p;
	unsigned i, all = policy_addr_bits(a);

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
	uint64_t n = policy_addr_bits(&r->net);

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
	r->special = policy_special_of(&r->net, r->bits);
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
		    (!close || policy_addr_bits(&r->net) == 128))
			return parse_block(l, r, close ? ip + 1 : ip,
			    slash ? slash + 1 : NULL, e);
	}
	return parse_name(l, r, word, e);
}

static bool
parse_path(const struct lines *l, struct rule *r, char *word, struct err *e)
{
	char shown[64];

	if (strcmp(word, "*") == 0)
		return true;
	if (strncmp(word, "unix:", 5) == 0)
		word += 5;
	if (!policy_is_plain_path(word))
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
		if (strcmp(word, policy_kind_names[i]) == 0) {
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

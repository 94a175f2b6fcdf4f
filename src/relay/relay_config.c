/* SPDX-License-Identifier: MIT
 *
 * Configuration as plain data: defaults, the check that names the place, and
 * copies. Everything later may rely on what is checked here: names are hosts,
 * paths are clean, no limit is 0 that may not be.
 */
#include "relay/relay_config.h"

#include <stdlib.h>
#include <string.h>

#include "net/addr.h"
#include "net/http1.h"
#include "relay/relay.h"
#include "util/err.h"
#include "util/mem.h"
#include "util/text.h"

void
relay_config_init(struct relay_config *c)
{
	*c = (struct relay_config){
	    .limits =
	        {
	            .handshake_ms = 15 * 1000,
	            .accept_ms = 30 * 1000,
	            .token_grace_ms = 300 * 1000,
	            .ping_ms = 30 * 1000,
	            .silence_ms = 90 * 1000,
	            .stall_ms = 15 * 60 * 1000,
	            .close_ms = 10 * 1000,
	            .max_half_open = 1024,
	            .max_waiting = 4096,
	            .max_head_bytes = HTTP1_HEAD_MAX,
	            .status_no_listener = 404,
	            .status_accept_timeout = 504,
	            .status_over_quota = 403,
	            .brake_first_ms = 100,
	            .brake_most_ms = 5 * 1000,
	            .brake_forget_ms = 60 * 1000,
	        },
	};
}

void
relay_hybrid_connection_init(struct relay_hybrid_connection *h)
{
	*h = (struct relay_hybrid_connection){
	    .requires_client_authorization = true,
	    .max_listeners = RELAY_LISTENERS_DEFAULT,
	};
}

/* --- the check --- */

static bool
check_text(const char *text, const char *what, struct err *e)
{
	size_t n = text ? strlen(text) : 0;

	if (n == 0)
		return err_set(e, ERR_USAGE, "the %s is missing", what);
	if (n > RELAY_KEY_MAX)
		return err_set(e, ERR_USAGE,
		    "the %s is longer than %d characters", what, RELAY_KEY_MAX);
	for (size_t i = 0; i < n; i++) {
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			return err_set(e, ERR_USAGE,
			    "the %s has a control character", what);
	}
	return true;
}

static bool
check_rule(const struct relay_rule *r, struct err *e)
{
	const unsigned all = RELAY_LISTEN | RELAY_SEND | RELAY_MANAGE;

	if (!check_text(r->name, "name", e) || !check_text(r->key, "key", e))
		return false;
	if (r->rights == 0 || (r->rights & ~all))
		return err_set(e, ERR_USAGE,
		    "rights must be some of Listen, Send, Manage");
	return true;
}

static bool
check_rules(const struct relay_rule *rules, size_t n, struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		if (!check_rule(&rules[i], e))
			return err_prefix(e, "rule %zu", i + 1);
		for (size_t k = 0; k < i; k++) {
			if (strcmp(rules[k].name, rules[i].name) == 0)
				return err_set(e, ERR_USAGE,
				    "rule %zu: the name %s is given twice",
				    i + 1, rules[i].name);
		}
	}
	return true;
}

static bool
is_path_char(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
	       (c >= 'a' && c <= 'z') || c == '_' || c == '.' || c == '-';
}

/* One segment of a path; "." and ".." are dropped by URL parsers. */
static bool
is_segment(const char *s, size_t n)
{
	if (n == 0 || (n == 1 && s[0] == '.') ||
	    (n == 2 && s[0] == '.' && s[1] == '.'))
		return false;
	for (size_t i = 0; i < n; i++) {
		if (!is_path_char(s[i]))
			return false;
	}
	return true;
}

static bool
check_path(const char *path, struct err *e)
{
	const char *at = path;

	if (!path || !*path)
		return err_set(e, ERR_USAGE, "the path is missing");
	if (strlen(path) > RELAY_PATH_MAX)
		return err_set(e, ERR_USAGE,
		    "the path is longer than %d characters", RELAY_PATH_MAX);
	for (;;) {
		size_t n = strcspn(at, "/");

		if (!is_segment(at, n))
			return err_set(e, ERR_USAGE,
			    "the path may have letters, digits, _ . - and "
			    "single slashes between");
		if (at[n] == '\0')
			return true;
		at += n + 1;
	}
}

static bool
check_hybrid_connection(const struct relay_hybrid_connection *h, struct err *e)
{
	if (!check_path(h->path, e))
		return false;
	if (h->max_listeners == 0)
		return err_set(
		    e, ERR_USAGE, "the number of listeners must be at least 1");
	return check_rules(h->rules, h->n_rules, e);
}

static bool
check_hybrid_connections(const struct relay_namespace *ns, struct err *e)
{
	const struct relay_hybrid_connection *all = ns->hybrid_connections;

	for (size_t i = 0; i < ns->n_hybrid_connections; i++) {
		if (!check_hybrid_connection(&all[i], e))
			return err_prefix(e, "hybrid connection %s",
			    all[i].path && *all[i].path ? all[i].path : "?");
		for (size_t k = 0; k < i; k++) {
			if (text_is_equal_nocase(all[k].path, all[i].path))
				return err_set(e, ERR_USAGE,
				    "hybrid connection %s is given twice",
				    all[i].path);
		}
	}
	return true;
}

static bool
check_host(const char *host, const char *what, struct err *e)
{
	struct addr ip;

	if (host && (host_is_valid(host) || addr_from_ip(&ip, host, 0)))
		return true;
	return err_set(e, ERR_USAGE,
	    "the %s must be a host name or an IP address without port", what);
}

static bool
check_namespace(const struct relay_namespace *ns, struct err *e)
{
	if (!check_host(ns->name, "name", e))
		return false;
	for (size_t i = 0; i < ns->n_aliases; i++) {
		if (!check_host(ns->aliases[i], "alias", e))
			return false;
	}
	return check_hybrid_connections(ns, e) &&
	       check_rules(ns->rules, ns->n_rules, e);
}

static bool
has_host(const struct relay_namespace *ns, const char *host)
{
	if (text_is_equal_nocase(ns->name, host))
		return true;
	for (size_t i = 0; i < ns->n_aliases; i++) {
		if (text_is_equal_nocase(ns->aliases[i], host))
			return true;
	}
	return false;
}

/* Whether a host of `b` means `a` already. */
static const char *
find_clash(const struct relay_namespace *a, const struct relay_namespace *b)
{
	if (has_host(a, b->name))
		return b->name;
	for (size_t i = 0; i < b->n_aliases; i++) {
		if (has_host(a, b->aliases[i]))
			return b->aliases[i];
	}
	return NULL;
}

static bool
check_namespaces(const struct relay_config *c, struct err *e)
{
	for (size_t i = 0; i < c->n_namespaces; i++) {
		const struct relay_namespace *ns = &c->namespaces[i];

		if (!check_namespace(ns, e))
			return err_prefix(e, "namespace %s",
			    ns->name && *ns->name ? ns->name : "?");
		for (size_t k = 0; k < i; k++) {
			const char *host = find_clash(&c->namespaces[k], ns);

			if (host)
				return err_set(e, ERR_USAGE,
				    "namespace %s: the host %s is given twice",
				    ns->name, host);
		}
	}
	return true;
}

static bool
check_number(
    uint64_t value, uint64_t min, uint64_t max, const char *what, struct err *e)
{
	if (value >= min && value <= max)
		return true;
	return err_set(e, ERR_USAGE,
	    "limits: %s must be from %llu to %llu, not %llu", what,
	    (unsigned long long)min, (unsigned long long)max,
	    (unsigned long long)value);
}

static bool
check_limits(const struct relay_limits *l, struct err *e)
{
	const struct {
		const char *what;
		uint64_t value;
		uint64_t min;
		uint64_t max;
	} table[] = {
	    {"the handshake deadline", l->handshake_ms, 1, UINT32_MAX},
	    {"the accept deadline", l->accept_ms, 1, UINT32_MAX},
	    {"the ping interval", l->ping_ms, 1, UINT32_MAX},
	    {"the silence limit", l->silence_ms, l->ping_ms, UINT32_MAX},
	    {"the stall limit", l->stall_ms, 1, UINT32_MAX},
	    {"the close deadline", l->close_ms, 1, UINT32_MAX},
	    {"half-open connections", l->max_half_open, 1, 1000000},
	    {"waiting senders", l->max_waiting, 1, 1000000},
	    {"the size of a head", l->max_head_bytes, 1024, HTTP1_HEAD_MAX},
	    {"the status without listener", l->status_no_listener, 400, 599},
	    {"the status of an accept timeout", l->status_accept_timeout, 400,
	        599},
	    {"the status over quota", l->status_over_quota, 400, 599},
	};

	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
		if (!check_number(table[i].value, table[i].min, table[i].max,
		        table[i].what, e))
			return false;
	}
	return true;
}

bool
relay_config_check(const struct relay_config *c, struct err *e)
{
	return check_limits(&c->limits, e) && check_namespaces(c, e);
}

/* --- copies --- */

static const struct relay_rule *
copy_rules(const struct relay_rule *rules, size_t n)
{
	struct relay_rule *copy = mem_alloc(n * sizeof *copy);

	for (size_t i = 0; i < n; i++) {
		copy[i] = rules[i];
		copy[i].name = mem_strdup(rules[i].name);
		copy[i].key = mem_strdup(rules[i].key);
	}
	return copy;
}

static void
free_rules(const struct relay_rule *rules, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free((char *)rules[i].name);
		mem_free_secret((char *)rules[i].key);
	}
	free((struct relay_rule *)rules);
}

static const struct relay_hybrid_connection *
copy_hybrid_connections(const struct relay_hybrid_connection *all, size_t n)
{
	struct relay_hybrid_connection *copy = mem_alloc(n * sizeof *copy);

	for (size_t i = 0; i < n; i++) {
		copy[i] = all[i];
		copy[i].path = mem_strdup(all[i].path);
		copy[i].rules = copy_rules(all[i].rules, all[i].n_rules);
	}
	return copy;
}

static const char *const *
copy_texts(const char *const *texts, size_t n)
{
	const char **copy = mem_alloc(n * sizeof *copy);

	for (size_t i = 0; i < n; i++)
		copy[i] = mem_strdup(texts[i]);
	return copy;
}

static void
copy_namespace(struct relay_namespace *copy, const struct relay_namespace *ns)
{
	*copy = *ns;
	copy->name = mem_strdup(ns->name);
	copy->aliases = copy_texts(ns->aliases, ns->n_aliases);
	copy->hybrid_connections = copy_hybrid_connections(
	    ns->hybrid_connections, ns->n_hybrid_connections);
	copy->rules = copy_rules(ns->rules, ns->n_rules);
}

struct relay_config *
relay_config_copy(const struct relay_config *c)
{
	struct relay_config *copy = mem_alloc(sizeof *copy);
	struct relay_namespace *all = mem_alloc(c->n_namespaces * sizeof *all);

	*copy = *c;
	copy->namespaces = all;
	for (size_t i = 0; i < c->n_namespaces; i++)
		copy_namespace(&all[i], &c->namespaces[i]);
	return copy;
}

static void
free_namespace(const struct relay_namespace *ns)
{
	for (size_t i = 0; i < ns->n_hybrid_connections; i++) {
		const struct relay_hybrid_connection *h =
		    &ns->hybrid_connections[i];

		free((char *)h->path);
		free_rules(h->rules, h->n_rules);
	}
	free((struct relay_hybrid_connection *)ns->hybrid_connections);
	for (size_t i = 0; i < ns->n_aliases; i++)
		free((char *)ns->aliases[i]);
	free((char **)ns->aliases);
	free_rules(ns->rules, ns->n_rules);
	free((char *)ns->name);
}

void
relay_config_free(struct relay_config *c)
{
	for (size_t i = 0; i < c->n_namespaces; i++)
		free_namespace(&c->namespaces[i]);
	free((struct relay_namespace *)c->namespaces);
	free(c);
}

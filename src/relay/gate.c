/* SPDX-License-Identifier: MIT
 *
 * The key name in a token picks the rule, the rule's key proves the token, and
 * only then do audience and rights count: a stranger learns no more than that
 * the name is unknown or the signature is wrong.
 */
#include "relay/gate.h"

#include <stdio.h>
#include <string.h>

#include "hc/hc_token.h"
#include "relay/registry.h"
#include "relay/relay.h"
#include "util/err.h"
#include "util/text.h"

static const struct relay_rule *
find_in(const struct relay_rule *rules, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(rules[i].name, name) == 0)
			return &rules[i];
	}
	return NULL;
}

static const struct relay_rule *
find_rule(const struct registry_entity *entity, const char *name)
{
	const struct relay_rule *rule =
	    find_in(entity->config->rules, entity->config->n_rules, name);
	const struct relay_namespace *ns = entity->ns->config;

	return rule ? rule : find_in(ns->rules, ns->n_rules, name);
}

static bool
has_right(const struct relay_rule *rule, unsigned right)
{
	return (rule->rights & (right | RELAY_MANAGE)) != 0;
}

/* The token may name any host that means the namespace. */
static enum hc_token_outcome
judge_hosts(
    const struct hc_token *t, const struct gate_demand *d, const char *key)
{
	const struct relay_namespace *ns = d->entity->ns->config;
	struct hc_token_demand demand = {
	    .key = key,
	    .host = ns->name,
	    .path = d->path,
	    .now_s = d->now_s,
	    .grace_s = d->grace_s,
	};
	enum hc_token_outcome outcome = hc_token_judge(t, &demand, NULL);

	for (size_t i = 0;
	     i < ns->n_aliases && outcome == HC_TOKEN_WRONG_AUDIENCE; i++) {
		demand.host = ns->aliases[i];
		outcome = hc_token_judge(t, &demand, NULL);
	}
	return outcome;
}

static enum hc_token_outcome
judge(const struct hc_token *t, const struct gate_demand *d)
{
	const struct relay_rule *rule;
	enum hc_token_outcome outcome;

	if (t->kind == HC_TOKEN_JWT)
		return HC_TOKEN_MALFORMED;
	rule = find_rule(d->entity, t->key_name);
	if (!rule)
		return HC_TOKEN_NO_RULE;
	outcome = judge_hosts(t, d, rule->key);
	if (outcome == HC_TOKEN_GOOD && !has_right(rule, d->right))
		return HC_TOKEN_NO_RIGHT;
	return outcome;
}

static bool
refuse(struct gate_verdict *v, const struct gate_demand *d,
    enum hc_token_outcome outcome)
{
	v->status = hc_token_http_status(outcome);
	snprintf(v->text, sizeof v->text, "%s for sb://%s/%s",
	    hc_token_reason(outcome), d->entity->ns->config->name,
	    d->entity->config->path);
	return false;
}

bool
gate_check(
    const struct gate_demand *d, const char *token, struct gate_verdict *v)
{
	enum hc_token_outcome outcome;
	struct hc_token t;

	*v = (struct gate_verdict){.status = 200};
	if (!token || !*token)
		return refuse(v, d, HC_TOKEN_MISSING);
	if (!hc_token_parse(&t, token, NULL))
		return refuse(v, d, HC_TOKEN_MALFORMED);
	outcome = judge(&t, d);
	v->expiry_s = t.expiry_s;
	hc_token_fini(&t);
	return outcome == HC_TOKEN_GOOD || refuse(v, d, outcome);
}

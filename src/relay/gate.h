/* SPDX-License-Identifier: MIT
 *
 * Whether a token opens a hybrid connection: the rules of the entity, then
 * those of its namespace, judged by hc_token. Pure: the clock is an argument.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct registry_entity;

struct gate_demand {
	const struct registry_entity *entity;
	const char *path; /* of the request, decoded: "entity/rest" */
	unsigned right;   /* RELAY_LISTEN, RELAY_SEND or RELAY_MANAGE */
	int64_t now_s;    /* Unix seconds */
	int64_t grace_s;  /* how long after its end a token still counts */
};

struct gate_verdict {
	int status;       /* 200: good; 401 or 403 */
	int64_t expiry_s; /* good: when the token ends */
	char text[400];   /* not good: why, with the place; never a secret */
};

/* token NULL or "": none was presented. True when it is good. */
bool gate_check(
    const struct gate_demand *d, const char *token, struct gate_verdict *v);

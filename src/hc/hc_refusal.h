/* SPDX-License-Identifier: MIT
 *
 * What a refused handshake means: turns the relay's status and reason into an
 * error that names the hop (token, path, no listener, listener) and the remedy.
 * Pure.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "hc/hc_target.h"

struct err;

struct hc_refusal {
	enum hc_target_use use;
	const struct hc_target *target;
	int status;
	const char *reason; /* as it came; may be "" */
	const char *date;   /* the answer's Date field, or NULL */
	int64_t now_s;      /* our clock, Unix seconds */
};

/* Fills *e: code by status, http_status, text. */
void hc_refusal_explain(const struct hc_refusal *r, struct err *e);

/* Whether it is the listener's own word (a reject) rather than the relay's. */
bool hc_refusal_is_from_listener(const struct hc_refusal *r);

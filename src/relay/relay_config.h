/* SPDX-License-Identifier: MIT
 *
 * The relay's own copy of its configuration. (Defaults and the check are in
 * relay.h, for everybody.) Keys are wiped when it is freed.
 */
#pragma once

struct relay_config;

/* A deep copy of a checked configuration. */
struct relay_config *relay_config_copy(const struct relay_config *c);
void relay_config_free(struct relay_config *c);

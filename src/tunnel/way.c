/* SPDX-License-Identifier: MIT
 *
 * The table of ways, in the order in which a listener asks whether an accept
 * is theirs; the sample way is the last, since a sender that says nothing at
 * all speaks it.
 */
#include "tunnel/way.h"

#include <stdlib.h>
#include <string.h>

#include "util/mem.h"

static const struct way *const ways[] = {
    &way_hyco,
    &way_sample,
};

#define WAY_COUNT (sizeof(ways) / sizeof(ways[0]))

static const char *const mode_names[] = {
    [CLIENT_AUTO] = "auto",
    [CLIENT_HYCO] = "hyco",
    [CLIENT_SAMPLE] = "sample",
    [CLIENT_BRIDGE] = "bridge",
};

const struct way *
way_for_accept(const struct hc_accept *a, bool has_host)
{
	for (size_t i = 0; i < WAY_COUNT; i++)
		if ((has_host || !ways[i]->is_hosted) && ways[i]->is_asked(a))
			return ways[i];
	return NULL;
}

const struct way *
way_for_mode(enum client_mode mode)
{
	for (size_t i = 0; i < WAY_COUNT; i++)
		if (mode == CLIENT_AUTO || ways[i]->mode == mode)
			return ways[i];
	return NULL;
}

void
way_ask_forget_login(struct way_ask *ask)
{
	free(ask->user);
	mem_free_secret(ask->password);
	ask->user = NULL;
	ask->password = NULL;
}

void
way_ask_fini(struct way_ask *ask)
{
	way_ask_forget_login(ask);
	memset(ask, 0, sizeof(*ask));
}

bool
client_mode_parse(const char *word, enum client_mode *mode)
{
	for (size_t i = 0; i < sizeof(mode_names) / sizeof(*mode_names); i++)
		if (strcmp(word, mode_names[i]) == 0) {
			*mode = (enum client_mode)i;
			return true;
		}
	return false;
}

const char *
client_mode_name(enum client_mode mode)
{
	return mode_names[mode];
}

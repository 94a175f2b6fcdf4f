/* SPDX-License-Identifier: MIT
 *
 * The order of section 6, and the words for each refusal.
 */
#include "tunnel/way_hyco_trust.h"

#include <stdlib.h>
#include <string.h>

#include "net/tls_identity.h"
#include "tunnel/known_listeners.h"
#include "util/err.h"
#include "util/log.h"
#include "util/mem.h"

static char *
copy(const char *text)
{
	return text != NULL ? mem_strdup(text) : NULL;
}

void
way_trust_copy(struct way_trust *to, const struct way_trust *from)
{
	memset(to, 0, sizeof(*to));
	if (from == NULL)
		return;
	to->pin = copy(from->pin);
	to->ca_file = copy(from->ca_file);
	to->known_file = copy(from->known_file);
	to->accept_new = from->accept_new;
}

void
way_trust_fini(struct way_trust *t)
{
	free((char *)(uintptr_t)t->pin);
	free((char *)(uintptr_t)t->ca_file);
	free((char *)(uintptr_t)t->known_file);
	memset(t, 0, sizeof(*t));
}

static enum way_trust_verdict
judge_pin(const struct way_trust *t, const char *place, const char *name,
    struct err *e)
{
	if (strcmp(t->pin, name) == 0)
		return WAY_TRUST_YES;
	err_set(e, ERR_DENIED,
	    "the listener of %.200s shows the identity %s, not the one of "
	    "--pin; somebody between may pose as it, or its identity was made "
	    "anew",
	    place, name);
	return WAY_TRUST_NO;
}

static enum way_trust_verdict
judge_unknown(const struct way_trust *t, const char *place, const char *name,
    struct err *e)
{
	if (t->accept_new && t->known_file != NULL) {
		if (!known_listeners_add(t->known_file, place, name, e))
			return WAY_TRUST_NO;
		log_warn("a new listener is trusted from now on",
		    "path=%s identity=%s", place, name);
		return WAY_TRUST_YES;
	}
	err_set(e, ERR_DENIED,
	    "the listener of %.200s is not known yet; its identity is %s. "
	    "Compare it with what the listener logs at its start, then give "
	    "--pin with it, or --accept-new to trust it from now on",
	    place, name);
	return WAY_TRUST_UNKNOWN;
}

static enum way_trust_verdict
judge_known(const struct way_trust *t, const char *place, const char *name,
    struct err *e)
{
	if (t->known_file == NULL)
		return judge_unknown(t, place, name, e);
	switch (known_listeners_find(t->known_file, place, name, e)) {
	case KNOWN_LISTENERS_SAME:
		return WAY_TRUST_YES;
	case KNOWN_LISTENERS_UNKNOWN:
		return judge_unknown(t, place, name, e);
	case KNOWN_LISTENERS_CHANGED:
	case KNOWN_LISTENERS_FAULT:
		break;
	}
	return WAY_TRUST_NO;
}

enum way_trust_verdict
way_trust_judge(const struct way_trust *t, const char *place, const char *path,
    const struct stream *s, struct err *e)
{
	char name[TLS_IDENTITY_NAME_SIZE];

	tls_identity_peer(s, name);
	if (t->pin != NULL)
		return judge_pin(t, place, name, e);
	if (t->ca_file == NULL)
		return judge_known(t, place, name, e);
	return tls_identity_is_issued(s, t->ca_file, path, e) ? WAY_TRUST_YES
	                                                      : WAY_TRUST_NO;
}

bool
way_trust_accept(const struct way_trust *t, const char *place,
    const char *identity, struct err *e)
{
	if (t->known_file == NULL)
		return err_set(
		    e, ERR_USAGE, "there is no file to remember listeners in");
	return known_listeners_add(t->known_file, place, identity, e);
}

/* No key has this name. */
static const char nobody[] =
    "sha256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

bool
way_trust_may_fall_back(
    const struct way_trust *t, const char *place, struct err *e)
{
	if (t->pin == NULL && t->ca_file == NULL) {
		if (t->known_file == NULL)
			return true;
		switch (known_listeners_find(t->known_file, place, nobody, e)) {
		case KNOWN_LISTENERS_UNKNOWN:
			return true;
		case KNOWN_LISTENERS_FAULT:
			return false;
		default:
			break;
		}
	}
	return err_set(e, ERR_DENIED,
	    "the listener of %.200s does not speak the hyco way, so it cannot "
	    "prove who it is, and its identity is known; somebody between may "
	    "be in its place. To speak to it without such a proof give --mode "
	    "sample",
	    place);
}

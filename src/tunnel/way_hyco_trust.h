/* SPDX-License-Identifier: MIT
 *
 * Whether the listener at the other end is the one that is meant: a pin, a CA,
 * or the file of known listeners, in this order (doc/PROTOCOL-hyco.md, section
 * 6). Also decides whether a listener that does not speak the hyco way may be
 * spoken to in another one: not when it is known to be able to prove itself,
 * for then somebody between could have taken its place.
 */
#pragma once
#include <stdbool.h>

#include "net/tls.h"

struct err;
struct stream;

struct way_trust {
	const char *pin;        /* the identity's name; NULL: none */
	const char *ca_file;    /* NULL: none */
	const char *known_file; /* NULL: no listener is known */
	bool accept_new;        /* unknown ones are remembered unasked */
};

/* A copy of all texts; to be ended by way_trust_fini. `from` may be NULL. */
void way_trust_copy(struct way_trust *to, const struct way_trust *from);
void way_trust_fini(struct way_trust *t);

enum way_trust_verdict {
	WAY_TRUST_YES,
	WAY_TRUST_NO,
	WAY_TRUST_UNKNOWN, /* no, but a person may say yes */
};

/* place: NAMESPACE/PATH; path: PATH. `s` is the client's stream in the judge's
 * call (net/tls.h). Unless yes *e names the remedy. */
enum way_trust_verdict way_trust_judge(const struct way_trust *t,
    const char *place, const char *path, const struct stream *s, struct err *e);

/* Remembers a listener that a person has said yes to. */
bool way_trust_accept(const struct way_trust *t, const char *place,
    const char *identity, struct err *e);

/* Whether the listener of `place` may do without proof. */
bool way_trust_may_fall_back(
    const struct way_trust *t, const char *place, struct err *e);

/* SPDX-License-Identifier: MIT
 *
 * The words of the sample way (doc/PROTOCOL-sample.md): the query that names
 * the destination and the Authorization field that names the user. Reading is
 * strict: what is given twice, half, or in another spelling is refused, never
 * guessed. Pure.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "hc/hc_url.h"
#include "net/addr.h"

struct buf;
struct err;

/* The fields and items of ours. */
#define WAY_SAMPLE_WIRE_HALF_CLOSE "Hyco-Half-Close"

/* Longest user and password that are sent or taken, in bytes. */
#define WAY_SAMPLE_WIRE_USER_MAX 255
#define WAY_SAMPLE_WIRE_PASSWORD_MAX 511

struct way_sample_wire_query {
	bool is_login;        /* the login check: no destination */
	bool has_destination; /* else: the listener's default */
	struct hostport destination;
};

/* Reads suffix and query of an accept. Items of the service and unknown ones
 * are skipped. On failure ERR_USAGE with http_status 400 (404: the suffix). */
bool way_sample_wire_parse_query(struct way_sample_wire_query *q,
    const char *suffix, struct hc_url_view query, struct err *e);

/* Appends the query that names a destination; NULL: the login check. */
void way_sample_wire_build_query(
    struct buf *out, const struct hostport *destination);

struct way_sample_wire_login {
	char user[WAY_SAMPLE_WIRE_USER_MAX + 1];
	char password[WAY_SAMPLE_WIRE_PASSWORD_MAX + 1]; /* secret */
};

/* Reads an Authorization field (RFC 7617): the first colon divides, neither
 * part holds control bytes, base64 is strict. ERR_USAGE with http_status
 * 400; *login is wiped then. The texts never hold a piece of the field. */
bool way_sample_wire_parse_basic(
    struct way_sample_wire_login *login, const char *field, struct err *e);

/* The field for a user and password; free it with mem_free_secret. NULL and
 * ERR_USAGE for a colon in the name, control bytes, or too long a text. */
char *way_sample_wire_build_basic(
    const char *user, const char *password, struct err *e);

/* SPDX-License-Identifier: MIT
 *
 * The header lists of the hyco way (doc/PROTOCOL-hyco.md, sections 7 to 9):
 * building requests and answers, and judging those that come. Pure; knows
 * nothing of HTTP/2 frames. A received list is collected field by field into a
 * struct mux_head, which keeps what matters and refuses more than
 * MUX_HEADERS_MAX bytes.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mux/mux.h"
#include "util/buf.h"

struct err;

#define MUX_HEAD_FIELDS_MAX 8
#define MUX_HEAD_DETAILS_MAX 256 /* of a refusal, shown to people */
#define MUX_HEAD_USER_MAX 255
#define MUX_HEAD_PASSWORD_MAX 1024
#define MUX_HEAD_PATH_MAX 107 /* a Unix socket's path */

/* --- building --- */

struct mux_head_field {
	const char *name; /* a constant */
	size_t value;     /* offset into the list's text */
	bool is_secret;   /* must not be kept in compression tables */
};

/* A list to be sent; init before, fini afterwards. */
struct mux_head_list {
	struct mux_head_field fields[MUX_HEAD_FIELDS_MAX];
	size_t count;
	struct buf text; /* the values, each NUL-terminated */
};

void mux_head_list_init(struct mux_head_list *l);
void mux_head_list_fini(struct mux_head_list *l); /* wipes */
const char *mux_head_list_value(const struct mux_head_list *l, size_t i);

/* False and *e (ERR_USAGE): a target or login that cannot be said. */
bool mux_head_build_connect(
    struct mux_head_list *l, const struct mux_target *t, struct err *e);
/* user NULL: nameless. */
bool mux_head_build_login(struct mux_head_list *l, const char *user,
    const char *password, struct err *e);
/* address NULL: none. */
void mux_head_build_accept(
    struct mux_head_list *l, enum mux_kind kind, const char *address);
void mux_head_build_refusal(
    struct mux_head_list *l, enum mux_refusal why, const char *details);
void mux_head_build_login_answer(struct mux_head_list *l, bool good);

/* --- judging --- */

/* Fields of a received list; NULL: not there. */
struct mux_head {
	char *method;
	char *protocol;
	char *scheme;
	char *authority;
	char *path;
	char *authorization;
	char *proxy_status;
	char *address;
	int status;    /* 0: none */
	size_t bytes;  /* of all names and values so far */
	bool too_big;  /* beyond MUX_HEADERS_MAX: nothing more is kept */
	bool repeated; /* a field came twice that must not */
};

void mux_head_init(struct mux_head *h);
void mux_head_fini(struct mux_head *h); /* wipes the credentials */
void mux_head_add(struct mux_head *h, const void *name, size_t name_len,
    const void *value, size_t value_len);

enum mux_head_verdict {
	MUX_HEAD_LOGIN,
	MUX_HEAD_CHANNEL,
	MUX_HEAD_BAD,
};

/* What a request wants. CHANNEL: *t is filled; its host is a fresh text that
 * the caller frees. BAD: *e says what is wrong. */
enum mux_head_verdict mux_head_judge_request(
    const struct mux_head *h, struct mux_target *t, struct err *e);

/* The credentials of a login: fresh texts that the caller frees by
 * mem_free_secret, both NULL for a nameless one. False: malformed. */
bool mux_head_judge_login(
    const struct mux_head *h, char **user, char **password);

/* An answer to CONNECT: true if it is 200; else *e, with http_status. */
bool mux_head_judge_answer(const struct mux_head *h, struct err *e);

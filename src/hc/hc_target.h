/* SPDX-License-Identifier: MIT
 *
 * Which hybrid connection, and with which credentials: the namespace's host
 * and port, the path, and a rule's name and key, or a token made elsewhere, or
 * nothing (a sender on a path that is open to anonymous senders). A target is
 * filled from several sources, the most important first (hc_target_fill adds
 * what is missing from the next), then checked, then used. It owns its texts;
 * secrets are wiped. No error text of this file ever holds a secret.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/addr.h"

struct err;

#define HC_TARGET_PORT 443
#define HC_TARGET_PATH_MAX 260     /* the service's limit */
#define HC_TARGET_KEY_NAME_MAX 256 /* the .NET and Java clients' limits */
#define HC_TARGET_KEY_MAX 256

/* "host:port/path" */
#define HC_TARGET_TEXT_MAX (HOSTPORT_TEXT_MAX + HC_TARGET_PATH_MAX + 2)

enum hc_target_use {
	HC_TARGET_LISTEN, /* credentials are needed */
	HC_TARGET_SEND,   /* none at all are fine: an anonymous sender */
};

struct hc_target {
	char *host;     /* lower case, IPv6 without brackets; NULL: not given */
	uint16_t port;  /* 0: not given, that is 443 */
	char *path;     /* without slashes at both ends; NULL: not given */
	char *key_name; /* NULL: not given */
	char *key;      /* secret; its bytes are used as they are */
	char *token;    /* secret, made elsewhere: a shared access signature or
	                   a JWT; then key_name and key are NULL */
};

void hc_target_init(struct hc_target *t);
/* Wipes and frees; the target is as after init. */
void hc_target_fini(struct hc_target *t);
/* dst is initialised by this. */
void hc_target_copy(struct hc_target *dst, const struct hc_target *src);

/* Setting one item, checked; what was there before is dropped. ERR_USAGE with
 * the item's name. The namespace is "host" or "host:port"; a scheme (sb://,
 * https://, wss://) in front and a slash behind are tolerated. */
bool hc_target_set_namespace(
    struct hc_target *t, const char *text, struct err *e);
bool hc_target_set_path(struct hc_target *t, const char *text, struct err *e);
bool hc_target_set_key_name(
    struct hc_target *t, const char *text, struct err *e);
/* Drops a token; hc_target_set_token drops key name and key. */
bool hc_target_set_key(struct hc_target *t, const char *text, struct err *e);
bool hc_target_set_token(struct hc_target *t, const char *text, struct err *e);

/* Reads
 * Endpoint=sb://..;SharedAccessKeyName=..;SharedAccessKey=..;EntityPath=.. or
 * ..;SharedAccessSignature=.. into t, which must be as after init and is so
 * again after a failure. Rules of specification 2.8: unknown names, a name
 * given twice, signature and key together, a name without a key are ERR_USAGE;
 * blanks and line ends around the whole and around parts are ignored. */
bool hc_target_parse_connection_string(
    struct hc_target *t, const char *text, struct err *e);

/* The opposite: a connection string the caller frees with mem_free_secret. */
char *hc_target_connection_string(const struct hc_target *t);

/* Takes from `from` (copied) what t lacks. The port comes with the host.
 * Credentials: if t has a token, none; if t has a key name or a key, the other
 * of the two; else all of them. */
void hc_target_fill(struct hc_target *t, const struct hc_target *from);

/* Whether everything is there. ERR_USAGE names what is missing and the options
 * and the environment variable that give it. */
bool hc_target_check(
    const struct hc_target *t, enum hc_target_use use, struct err *e);

/* What follows is for targets that have passed the check. */

/* Where to dial. */
void hc_target_address(const struct hc_target *t, struct hostport *out);

/* The Host field: the port is left out when it is 443. Returns out. */
const char *hc_target_host_header(
    const struct hc_target *t, char out[HOSTPORT_TEXT_MAX]);

/* "relay.example/path" or "relay.example:8443/path", for people. Returns
 * out. */
const char *hc_target_print(
    const struct hc_target *t, char out[HC_TARGET_TEXT_MAX]);

/* The token to present: a fresh one that expires at expiry_s (Unix seconds),
 * or the ready-made one, or NULL without credentials. mem_free_secret. */
char *hc_target_make_token(const struct hc_target *t, int64_t expiry_s);

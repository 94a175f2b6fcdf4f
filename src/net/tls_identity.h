/* SPDX-License-Identifier: MIT
 *
 * Who a listener is, end to end (doc/PROTOCOL-hyco.md, section 6): a key with a
 * certificate, named by the hash of the public key. Here are the two contexts
 * of tls_client_judged and tls_server, and what a judge asks about the other
 * side.
 */
#pragma once
#include <stdbool.h>

struct err;
struct stream;
struct tls_context;
struct tls_server_options;

/* "sha256:", base64url of the SHA-256 of the SubjectPublicKeyInfo, NUL. */
#define TLS_IDENTITY_NAME_SIZE (7 + 43 + 1)

/* Whether a text is such a name. */
bool tls_identity_is_name(const char *text);

/* The listener's context, with the identity in folder `dir`: identity.key (mode
 * 0600) and identity.pem, an Ed25519 key and a certificate it signed itself.
 * What is missing is made; the key decides, and two processes that start at
 * once agree on one. *made (may be NULL): there is a new key. ERR_DENIED for a
 * key that others may read, ERR_TLS, ERR_SYSTEM. */
struct tls_context *tls_identity_open(
    const char *dir, bool *made, struct err *e);

/* The same with a certificate and key of one's own. */
struct tls_context *tls_identity_load(
    const struct tls_server_options *o, struct err *e);

/* The sender's. */
struct tls_context *tls_identity_client_context(void);

/* The name of a listener's own context. Returns out. */
const char *tls_identity_name(
    const struct tls_context *c, char out[TLS_IDENTITY_NAME_SIZE]);

/* The name of the other side of a client's stream, in the judge's call or
 * later. The other side has proved that it holds the key. Returns out. */
const char *tls_identity_peer(
    const struct stream *s, char out[TLS_IDENTITY_NAME_SIZE]);

/* Whether the other side's certificate leads to a CA in the file and was issued
 * for `path` (a DNS name in subjectAltName, compared without wildcards).
 * ERR_TLS, ERR_NOT_FOUND (the file). */
bool tls_identity_is_issued(const struct stream *s, const char *ca_file,
    const char *path, struct err *e);

/* SPDX-License-Identifier: MIT
 *
 * TLS 1.2 and 1.3 as a stream over a stream, by OpenSSL behind a BIO of ours:
 * ciphertext comes from the scratch block the socket read into, and all
 * records of one turn leave in one write. on_open comes when the handshake is
 * done (on the client: when the server is verified as well). What is written
 * before is kept (up to TLS_EARLY_MAX) and sent then. The end of the peer's
 * TCP stream without close_notify is reported as on_error with ERR_RESET.
 *
 * Contexts are shared by many streams and reference counted; a client context
 * remembers sessions by host and port, so that the next handshake resumes.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/stream.h"

struct err;
struct tls_context;

#define TLS_EARLY_MAX ((size_t)64 * 1024)

struct tls_client_options {
	const char *ca_file; /* trusted besides the system's; NULL: none */
	bool no_system_ca;   /* trust ca_file alone */
	bool insecure;       /* no verification: for tests and benches only */
};

struct tls_server_options {
	const char *cert_file; /* PEM chain */
	const char *key_file;  /* PEM; must not be readable by others */
};

/* Contexts: NULL and *e (ERR_NOT_FOUND, ERR_TLS, ERR_DENIED for a key file
 * that others may read) when a file cannot be used. ALPN is "http/1.1". */
struct tls_context *tls_context_client(
    const struct tls_client_options *o, struct err *e);
struct tls_context *tls_context_server(
    const struct tls_server_options *o, struct err *e);
struct tls_context *tls_context_ref(struct tls_context *c);
void tls_context_unref(struct tls_context *c);

/* Starts a handshake; takes `below`. `host` is verified against the
 * certificate (name or IP) and sent as SNI; `port` only tells sessions apart.
 * Starts `below` itself. Errors: ERR_TLS with the reason and what to do about
 * it (an untrusted issuer names --ca). */
struct stream *tls_client(struct tls_context *c, struct stream *below,
    const char *host, uint16_t port);

struct stream *tls_server(struct tls_context *c, struct stream *below);

/* --- end to end (contexts of net/tls_identity.h; servers by tls_server) --- */

enum tls_verdict { TLS_YES, TLS_NO, TLS_WAIT };

/* Asked once, when the handshake is done and before any byte of an application
 * is sent or delivered: tls_identity_peer tells who the other side is. TLS_NO
 * needs *e, which becomes the stream's on_error; with TLS_WAIT all stays as it
 * is until tls_decide. It may close the stream. */
typedef enum tls_verdict (*tls_judge)(
    void *owner, struct stream *s, struct err *e);

/* As tls_client, for a listener that `judge` decides about. `peer` names it to
 * people: NAMESPACE/PATH. on_open comes when the verdict was yes; what is
 * written before waits (up to TLS_EARLY_MAX). */
struct stream *tls_client_judged(struct tls_context *c, struct stream *below,
    const char *peer, tls_judge judge, void *owner);

/* The verdict after TLS_WAIT: no NULL: yes. Nothing when the stream broke
 * meanwhile. */
void tls_decide(struct stream *s, const struct err *no);

/* Keying material of RFC 8446, 7.5, equal on both sides and known to nobody
 * else. From the judge's call, or on_open, on; for end-to-end contexts only. */
void tls_export(const struct stream *s, const char *label, const void *context,
    size_t context_len, void *out, size_t len);

/* Facts for people and tests; valid after on_open. */
const char *tls_version(const struct stream *s); /* "TLSv1.3" */
bool tls_is_resumed(const struct stream *s);
/* The name the client asked for (SNI), on a server; "" if none. */
const char *tls_server_name(const struct stream *s);

/* Makes a certificate authority and a certificate signed by it (ECDSA P-256)
 * for the names and IPs given, as PEM files: ca.pem, cert (mode 0644) and key
 * (mode 0600). An existing CA file pair is not overwritten: it is an error
 * ERR_USAGE. names end with NULL. */
struct tls_make_options {
	const char *ca_file;
	const char *cert_file;
	const char *key_file;
	const char *const *names; /* "localhost", "127.0.0.1", "::1", ... */
	unsigned days;
};
bool tls_make_certificate(const struct tls_make_options *o, struct err *e);

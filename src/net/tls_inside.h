/* SPDX-License-Identifier: MIT
 *
 * What net/tls*.c share among themselves; nobody else includes it.
 */
#pragma once
#include <stdbool.h>

struct err;
struct ssl_ctx_st;
struct ssl_st;
struct stream;
struct tls_context;
struct tls_server_options;

/* An end-to-end context without a certificate: TLS 1.3, ALPN h2, no tickets. A
 * client takes any certificate: its judge decides. */
struct tls_context *tls_context_end_new(bool server);

/* Certificate chain and key from files. */
bool tls_context_use_files(
    struct tls_context *c, const struct tls_server_options *o, struct err *e);

struct ssl_ctx_st *tls_context_ssl(const struct tls_context *c);
struct ssl_st *tls_ssl(const struct stream *s);

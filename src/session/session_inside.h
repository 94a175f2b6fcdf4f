/* SPDX-License-Identifier: MIT
 *
 * What a session_host needs of a session and nobody else: making one from a
 * HELLO, and handing it the carrier of a RESUME. `rest` is what was read behind
 * the first frame; it is copied.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "session/session_core.h"

struct loop;
struct session;
struct stream;

/* A listener's session; `on_over(host)` once when it ends or is closed. */
struct session *session_accept(struct loop *l,
    const struct session_core_options *o, const struct session_hello *h,
    void (*on_over)(void *host), void *host);

/* The host is gone, or no longer cares. */
void session_forget_host(struct session *s);

/* Takes the carrier of the HELLO. */
void session_begin(
    struct session *s, struct stream *carrier, const uint8_t *rest, size_t len);

/* Judges a RESUME. 0: the carrier is taken; else the code to refuse with, and
 * the carrier is still the caller's. */
int session_resume(struct session *s, const struct session_resume *r,
    struct stream *carrier, const uint8_t *rest, size_t len);

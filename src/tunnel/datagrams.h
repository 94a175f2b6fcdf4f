/* SPDX-License-Identifier: MIT
 *
 * The datagrams of one channel: capsules on a stream (mux/capsule.h). Nothing
 * is queued beyond what the stream takes: while it is full the owner is asked
 * to pause, and what he sends nevertheless is dropped.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct datagrams;
struct err;
struct stream;

struct datagrams_events {
	/* The stream is open (of those that were not). May be NULL. */
	void (*on_open)(void *owner);
	/* len may be 0. */
	void (*on_datagram)(void *owner, const uint8_t *data, size_t len);
	/* The stream is full (true), or takes more again. */
	void (*on_pause)(void *owner, bool paused);
	/* Over: err NULL when the other side ended it. */
	void (*on_done)(void *owner, const struct err *err);
};

/* Takes the stream. */
struct datagrams *datagrams_open(
    struct stream *s, const struct datagrams_events *events, void *owner);

/* Scratch memory with headroom, as stream_write. False: dropped. */
bool datagrams_send(struct datagrams *d, uint8_t *data, size_t len);

/* Payload that was sent and that came. */
void datagrams_bytes(
    const struct datagrams *d, uint64_t *sent, uint64_t *received);

/* Resets the stream if it is not over. */
void datagrams_close(struct datagrams *d);

/* SPDX-License-Identifier: MIT
 *
 * A WebSocket over a stream, after its handshake: messages in and out, pings,
 * half-close, and a face as a byte stream for the pump. Owns the stream
 * beneath. Idle it holds no buffer.
 *
 * Close frames are half-closes (specification 6.4): ws_shutdown sends ours,
 * on_close tells of the peer's, and one does not answer the other by itself
 * unless `answer_close` is set. After both have passed the owner closes; the
 * server end may close TCP first. Pings are answered at once.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/stream.h"

struct err;
struct ws;

struct ws_options {
	bool client;       /* mask what we send, expect unmasked frames */
	bool answer_close; /* answer a Close with the same code by itself */
	size_t text_max;   /* longest text message; more ends it with 1009 */
	/* Bytes that were read behind the handshake: copied. */
	const uint8_t *early;
	size_t early_len;
};

struct ws_events {
	/* A whole text message (valid UTF-8), not terminated by NUL. */
	void (*on_text)(void *owner, uint8_t *data, size_t len);
	/* A piece of a binary message, as stream.h's on_data gives bytes; len
	 * 0 only with both start and end (an empty message) or with end.
	 * Not called once ws_stream was taken. */
	void (*on_binary)(
	    void *owner, uint8_t *data, size_t len, bool start, bool end);
	void (*on_pong)(void *owner, const uint8_t *data, size_t len);
	/* The peer's Close: it will send nothing more. code WS_CODE_NONE if it
	 * gave none. */
	void (*on_close)(void *owner, int code, const char *reason);
	void (*on_drain)(void *owner);
	/* Broken: the connection was lost without Close (ERR_RESET), or the
	 * peer broke the protocol (ERR_PROTOCOL; it was told by a Close). */
	void (*on_error)(void *owner, const struct err *err);
};

/* Takes `below` (open, stopped). Reading starts with ws_start. Events that the
 * owner does not care about may be NULL (an unexpected message is dropped). */
struct ws *ws_open(struct stream *below, const struct ws_options *o,
    const struct ws_events *events, void *owner);
void ws_set_owner(struct ws *w, const struct ws_events *events, void *owner);

void ws_start(struct ws *w);
void ws_stop(struct ws *w);

/* One text message. Returns as stream_write does. */
bool ws_send_text(struct ws *w, const char *text, size_t len);

/* Binary data in scratch memory with STREAM_HEADROOM in front, both may be
 * overwritten; len > 0. One message of at most WS_FRAME_MAX bytes, or several.
 */
bool ws_send_binary(struct ws *w, uint8_t *data, size_t len);

/* A fragment of one binary message: `start` opens it, `fin` ends it. */
bool ws_send_fragment(
    struct ws *w, uint8_t *data, size_t len, bool start, bool fin);

void ws_send_ping(struct ws *w, const void *data, size_t len);
void ws_send_pong(struct ws *w, const void *data, size_t len);

/* Sends our Close; nothing may be sent after it. Once more does nothing.
 * code WS_CODE_NONE: a Close without code. */
void ws_shutdown(struct ws *w, int code, const char *reason);
bool ws_is_shutdown(const struct ws *w);

size_t ws_queued(const struct ws *w);
struct stream *ws_below(struct ws *w);

/* Milliseconds of loop time when the last byte came in: for keep-alives. */
uint64_t ws_last_in_ms(const struct ws *w);

/* Whether the peer ever sent a Ping: then its silence means something. */
bool ws_was_pinged(const struct ws *w);

/* Ends it; reset: the peer sees a broken connection, not a Close. Without
 * reset a Close that was sent before still goes out. */
void ws_close(struct ws *w, bool reset);

/* The WebSocket as a byte stream: binary payload of all messages in a row.
 * stream_shutdown sends Close 1000; the peer's Close 1000 or without code is
 * on_end, any other code on_error (ERR_RESET with the reason). The owner of ws
 * still gets on_text, on_pong and on_close (before on_end). From now on
 * stream_close closes the ws, and ws_close must not be called. Once. */
struct stream *ws_stream(struct ws *w);

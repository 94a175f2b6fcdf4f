/* SPDX-License-Identifier: MIT
 *
 * The one shape of everything that carries bytes both ways: sockets, TLS,
 * WebSockets, later sessions and channels. A stream is owned by exactly one
 * object, which gets its events and must close it. A stream that is built on
 * another one owns that one.
 *
 * Bytes in: on_data hands over scratch memory. The receiver may overwrite the
 * bytes and the STREAM_HEADROOM bytes in front of them, and must have used or
 * copied them when it returns: they are gone afterwards. After stream_stop,
 * also from inside on_data, neither on_data nor on_end comes until
 * stream_start; what was already read waits. on_error comes in any case. A new
 * stream is stopped.
 *
 * Bytes out: stream_write takes bytes in such scratch memory and may overwrite
 * them and the headroom in front. It never refuses. It returns false when more
 * is queued than the stream's mark: whoever feeds it stops its source until
 * on_drain. A source that goes on regardless ends the stream with ERR_TOO_BIG
 * at the ceiling (STREAM_QUEUE_MAX).
 *
 * Ends: each direction ends by itself. on_end: the peer will send no more (FIN)
 * and everything before it was delivered; writing goes on. stream_shutdown: we
 * send no more, after what is queued; on_drain then comes exactly once more,
 * when all bytes and the end itself are with the kernel, so that the owner may
 * close without losing any. on_error: the stream is broken in both directions
 * (reset, timeout, protocol); silent afterwards, and what is still written to
 * it is dropped. None of these closes anything: the owner does.
 *
 * No event comes from inside a call of the functions below; what happens at
 * once is reported by a deferred call.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct loop;
struct stream;

/* Room in front of payload that belongs to whoever holds the payload: enough
 * for the headers of all layers stacked on each other. */
#define STREAM_HEADROOM 64

/* Payload of one read: with a WebSocket header of 14 bytes it fills four TLS
 * records exactly. */
#define STREAM_TURN 65522

/* Above this many queued bytes stream_write says stop; at or below a quarter
 * of it on_drain follows. */
#define STREAM_QUEUE_MARK ((size_t)64 * 1024)

/* Nobody who keeps the rule can queue this much: a turn beyond the mark, a few
 * times over for several sources. */
#define STREAM_QUEUE_MAX ((size_t)4 * 1024 * 1024)

struct stream_events {
	/* The stream can be used: connected, handshake done. Streams that are
	 * born open never report it. May be NULL if so. */
	void (*on_open)(void *owner);
	/* Never with len 0. */
	void (*on_data)(void *owner, uint8_t *data, size_t len);
	void (*on_end)(void *owner);
	void (*on_drain)(void *owner);
	void (*on_error)(void *owner, const struct err *err);
};

/* What a kind of stream implements; called only through the functions below. */
struct stream_ops {
	void (*start)(struct stream *s);
	void (*stop)(struct stream *s);
	bool (*write)(struct stream *s, uint8_t *data, size_t len);
	void (*shutdown)(struct stream *s);
	void (*close)(struct stream *s, bool reset);
	size_t (*queued)(const struct stream *s);
	/* Sets the most bytes of one on_data; NULL: the kind does not care. */
	void (*set_turn)(struct stream *s, size_t bytes);
	/* The stream beneath, or NULL. */
	struct stream *(*below)(const struct stream *s);
};

/* Embedded as the first field of each kind. */
struct stream {
	const struct stream_ops *ops;
	const struct stream_events *events; /* NULL: nobody listens */
	void *owner;
	struct loop *loop;
	uint64_t bytes_in;  /* given to on_data so far */
	uint64_t bytes_out; /* taken by write so far */
	uint32_t magic;     /* STREAM_MAGIC from init to close */
	bool is_shut;       /* stream_shutdown was called */
};

#define STREAM_MAGIC 0x57524d21u

/* For kinds of streams: fills the base. */
void stream_init(
    struct stream *s, const struct stream_ops *ops, struct loop *l);

/* Hands the stream to (another) owner. Its events come to the new one from now
 * on; nothing is lost. Usable inside a callback. */
void stream_set_owner(
    struct stream *s, const struct stream_events *events, void *owner);

void stream_start(struct stream *s);
void stream_stop(struct stream *s);

/* len > 0. Data is scratch: see above. */
bool stream_write(struct stream *s, uint8_t *data, size_t len);

/* The same for bytes that must stay as they are: copies them first. For small
 * things such as heads and messages. */
bool stream_put(struct stream *s, const void *data, size_t len);

/* Once. Later writes are a fault. on_drain follows once: see above. */
void stream_shutdown(struct stream *s);

/* Ends the stream and frees it at the end of the turn. What was written and is
 * still queued is sent as far as the kernel takes it without waiting; owners
 * who care shut down and wait for on_drain first. */
void stream_close(struct stream *s);

/* The same, but the peer sees a reset (RST) and queued bytes are dropped. */
void stream_reset(struct stream *s);

/* Bytes written and not yet taken by the kernel, in this stream and those
 * beneath. */
size_t stream_queued(const struct stream *s);

void stream_set_turn(struct stream *s, size_t bytes);

/* The lowest stream beneath (a socket), or s itself. */
struct stream *stream_bottom(struct stream *s);

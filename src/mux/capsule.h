/* SPDX-License-Identifier: MIT
 *
 * UDP payloads as DATAGRAM capsules in a byte stream (RFC 9297, section 3.2;
 * RFC 9298: context id 0). Pure. The reader takes bytes as they come and gives
 * whole payloads, without copying when one lies whole in the input. Unknown
 * capsules of up to CAPSULE_SKIP_MAX bytes and unknown contexts are skipped; a
 * payload longer than UDP can carry, or a broken capsule, ends it.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/buf.h"

struct err;

#define CAPSULE_PAYLOAD_MAX 65527
#define CAPSULE_SKIP_MAX ((uint64_t)1024 * 1024)
/* Type, length and context id in front of a payload: fits the headroom. */
#define CAPSULE_HEAD_MAX 6

/* Writes the head for a payload (at most CAPSULE_PAYLOAD_MAX bytes, may be
 * empty); returns its size. */
size_t capsule_build_head(uint8_t out[CAPSULE_HEAD_MAX], size_t payload_len);
size_t capsule_head_size(size_t payload_len);

struct capsule_reader {
	uint8_t head[16]; /* type and length as far as they came */
	size_t head_len;
	uint64_t left;   /* of the capsule's value */
	bool in_value;   /* the head is complete */
	bool is_skipped; /* not a datagram of ours */
	struct buf part; /* of a value that comes in pieces */
};

enum capsule_result {
	CAPSULE_MORE,     /* the input is used up */
	CAPSULE_DATAGRAM, /* a payload; call again */
	CAPSULE_BAD,      /* *e says why; the reader is of no more use */
};

void capsule_reader_init(struct capsule_reader *r);
void capsule_reader_fini(struct capsule_reader *r);

/* Reads from *data (moved on). DATAGRAM: *payload and *payload_len (may be 0),
 * valid until the next call. */
enum capsule_result capsule_next(struct capsule_reader *r, uint8_t **data,
    size_t *len, uint8_t **payload, size_t *payload_len, struct err *e);

/* Whether the bytes so far end between two capsules: an end of the stream
 * elsewhere is a fault. */
bool capsule_is_between(const struct capsule_reader *r);

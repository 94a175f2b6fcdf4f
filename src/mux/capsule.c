/* SPDX-License-Identifier: MIT
 *
 * A capsule is type, length (both variable-length integers of RFC 9000,
 * section 16) and value. The head is gathered byte by byte in the reader; the
 * value is used in place when it is whole and gathered in `part` otherwise,
 * which holds memory only in the middle of such a value.
 */
#include "mux/capsule.h"

#include <assert.h>
#include <string.h>

#include "util/err.h"

#define TYPE_DATAGRAM 0
/* A context id may be said in up to 8 bytes. */
#define VALUE_MAX ((size_t)CAPSULE_PAYLOAD_MAX + 8)

/* The integer at p, if n bytes hold it: its size, else 0. */
static size_t
read_varint(const uint8_t *p, size_t n, uint64_t *value)
{
	size_t size;

	if (n == 0)
		return 0;
	size = (size_t)1 << (p[0] >> 6);
	if (n < size)
		return 0;
	*value = p[0] & 0x3f;
	for (size_t i = 1; i < size; i++)
		*value = *value << 8 | p[i];
	return size;
}

static size_t
length_size(size_t length)
{
	return length < 64 ? 1 : length < 16384 ? 2 : 4;
}

size_t
capsule_head_size(size_t payload_len)
{
	return 2 + length_size(payload_len + 1);
}

size_t
capsule_build_head(uint8_t out[CAPSULE_HEAD_MAX], size_t payload_len)
{
	const size_t length = payload_len + 1;
	const size_t size = length_size(length);
	uint8_t *p = out;

	assert(payload_len <= CAPSULE_PAYLOAD_MAX);
	*p++ = TYPE_DATAGRAM;
	for (size_t i = size; i-- > 0;)
		*p++ = (uint8_t)(length >> (8 * i));
	out[1] |= (uint8_t)((size == 4 ? 2 : size - 1) << 6);
	*p++ = 0; /* context id */
	return (size_t)(p - out);
}

void
capsule_reader_init(struct capsule_reader *r)
{
	*r = (struct capsule_reader){0};
	buf_init(&r->part, VALUE_MAX);
}

void
capsule_reader_fini(struct capsule_reader *r)
{
	buf_fini(&r->part);
}

bool
capsule_is_between(const struct capsule_reader *r)
{
	return !r->in_value && r->head_len == 0;
}

static enum capsule_result
judge_head(
    struct capsule_reader *r, uint64_t type, uint64_t length, struct err *e)
{
	r->is_skipped = type != TYPE_DATAGRAM;
	if (r->is_skipped && length > CAPSULE_SKIP_MAX) {
		err_set(e, ERR_PROTOCOL, "an unknown capsule is too long");
		return CAPSULE_BAD;
	}
	if (!r->is_skipped && (length == 0 || length > VALUE_MAX)) {
		err_set(e, ERR_PROTOCOL, "a datagram's capsule is too %s",
		    length == 0 ? "short" : "long");
		return CAPSULE_BAD;
	}
	r->left = length;
	r->in_value = true;
	r->head_len = 0;
	return CAPSULE_MORE;
}

static enum capsule_result
read_head(struct capsule_reader *r, uint8_t **data, size_t *len, struct err *e)
{
	while (*len > 0) {
		uint64_t type, length;
		size_t n;

		r->head[r->head_len++] = **data;
		(*data)++;
		(*len)--;
		n = read_varint(r->head, r->head_len, &type);
		if (n > 0 &&
		    read_varint(r->head + n, r->head_len - n, &length) > 0)
			return judge_head(r, type, length, e);
	}
	return CAPSULE_MORE;
}

/* A whole value: context id and payload. MORE: of no use to us. */
static enum capsule_result
judge_value(uint8_t *value, size_t n, uint8_t **payload, size_t *payload_len,
    struct err *e)
{
	uint64_t context;
	const size_t size = read_varint(value, n, &context);

	if (size == 0) {
		err_set(e, ERR_PROTOCOL, "a datagram's capsule is malformed");
		return CAPSULE_BAD;
	}
	if (context != 0)
		return CAPSULE_MORE;
	if (n - size > CAPSULE_PAYLOAD_MAX) {
		err_set(e, ERR_PROTOCOL, "a datagram is too long");
		return CAPSULE_BAD;
	}
	*payload = value + size;
	*payload_len = n - size;
	return CAPSULE_DATAGRAM;
}

static void
skip(struct capsule_reader *r, uint8_t **data, size_t *len)
{
	const size_t n = r->left < *len ? (size_t)r->left : *len;

	*data += n;
	*len -= n;
	r->left -= n;
	if (r->left == 0)
		r->in_value = false;
}

static enum capsule_result
read_value(struct capsule_reader *r, uint8_t **data, size_t *len,
    uint8_t **payload, size_t *payload_len, struct err *e)
{
	const size_t n = r->left < *len ? (size_t)r->left : *len;
	uint8_t *value = *data;

	if (r->is_skipped) {
		skip(r, data, len);
		return CAPSULE_MORE;
	}
	if (n < r->left || buf_len(&r->part) > 0) {
		buf_append(&r->part, *data, n);
		value = buf_data(&r->part);
	}
	skip(r, data, len);
	if (r->in_value)
		return CAPSULE_MORE;
	return judge_value(value, buf_len(&r->part) > 0 ? buf_len(&r->part) : n,
	    payload, payload_len, e);
}

enum capsule_result
capsule_next(struct capsule_reader *r, uint8_t **data, size_t *len,
    uint8_t **payload, size_t *payload_len, struct err *e)
{
	enum capsule_result result;

	/* What was given by the last call. */
	if (!r->in_value)
		buf_consume(&r->part, buf_len(&r->part));
	for (;;) {
		if (!r->in_value) {
			result = read_head(r, data, len, e);
			if (result != CAPSULE_MORE || !r->in_value)
				return result;
		}
		/* A skipped capsule may be empty. */
		if (*len == 0 && r->left > 0)
			return CAPSULE_MORE;
		result = read_value(r, data, len, payload, payload_len, e);
		if (result != CAPSULE_MORE || r->in_value)
			return result;
		buf_consume(&r->part, buf_len(&r->part));
	}
}

/* SPDX-License-Identifier: MIT
 *
 * The wire of a dynamic end: SOCKS 4, 4a and 5 (RFC 1928; CONNECT and UDP
 * ASSOCIATE; a user and password of RFC 1929 are taken and ignored) and HTTP
 * CONNECT, told apart by the first byte. A pure engine: it reads views and
 * consumes nothing before a step is complete. Names are never resolved here.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/addr.h"

struct err;

/* No step of any kind is longer: what waits unparsed is bounded by this. */
#define SOCKS_WIRE_STEP_MAX 8192

/* The longest answer: an HTTP head with the reason as its text. */
#define SOCKS_WIRE_REPLY_MAX 1536

/* In front of a datagram: 3 bytes, a name and its length, a port. */
#define SOCKS_WIRE_UDP_HEAD_MAX (3 + 1 + 1 + 255 + 2)

enum socks_wire_kind {
	SOCKS_WIRE_NONE, /* nothing was read yet */
	SOCKS_WIRE_4,
	SOCKS_WIRE_5,
	SOCKS_WIRE_HTTP,
};

enum socks_wire_command { SOCKS_WIRE_CONNECT, SOCKS_WIRE_UDP };

enum socks_wire_result {
	SOCKS_WIRE_MORE, /* a step is not complete: give the same bytes again,
	                    with more behind */
	SOCKS_WIRE_STEP, /* send the reply (may be empty) and go on behind
	                  *used */
	SOCKS_WIRE_DONE, /* the request is complete: command and target; what
	                    lies behind *used is data already */
	SOCKS_WIRE_BAD,  /* send the reply (may be empty) and end; *e */
};

struct socks_wire {
	enum socks_wire_kind kind;
	enum socks_wire_command command;
	/* DONE. For UDP: from where the client says it will send; often
	 * 0.0.0.0:0. */
	struct hostport target;
	uint8_t reply[SOCKS_WIRE_REPLY_MAX];
	size_t reply_len;
	int stage; /* its own */
};

void socks_wire_init(struct socks_wire *w);

/* Reads data[0..n), the first bytes not used yet. ERR_PROTOCOL, ERR_TOO_BIG. */
enum socks_wire_result socks_wire_read(struct socks_wire *w,
    const uint8_t *data, size_t n, size_t *used, struct err *e);

/* After DONE: the answer that the destination is connected (err NULL) or not,
 * into w->reply. `bound`: for UDP where datagrams are to be sent; else may be
 * NULL. */
void socks_wire_answer(
    struct socks_wire *w, const struct err *err, const struct addr *bound);

/* The codes that stand for an error: SOCKS 5, HTTP. */
uint8_t socks_wire_code(const struct err *err);
int socks_wire_status(const struct err *err);

/* --- datagrams of SOCKS 5 --- */

/* The target of a datagram and the length of its head. False for a fragment
 * and for what is no head at all: to be dropped. */
bool socks_wire_parse_udp(
    const uint8_t *data, size_t n, struct hostport *target, size_t *head_len);

/* The head of a datagram that comes from `from`. Returns its length. */
size_t socks_wire_build_udp(
    const struct hostport *from, uint8_t out[SOCKS_WIRE_UDP_HEAD_MAX]);

/* SPDX-License-Identifier: MIT
 *
 * The messages of the control channel (specification 3): JSON objects with one
 * member, which names the command. Reading is tolerant (unknown commands and
 * fields are no error, L19) and bounded; writing is exact. Pure, over jansson.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct err;
struct http1_field;

#define HC_MESSAGE_MAX ((size_t)65535) /* bytes of one message: 3 */
#define HC_MESSAGE_DEPTH_MAX 8
#define HC_MESSAGE_FIELDS_MAX 200
#define HC_MESSAGE_ID_MAX 128

enum hc_message_kind {
	HC_MESSAGE_ACCEPT,      /* to the listener: a WebSocket sender waits */
	HC_MESSAGE_RENEW_TOKEN, /* to the relay */
	HC_MESSAGE_UNKNOWN,     /* any other command; to be ignored */
};

struct hc_message_accept {
	char *address;              /* as given */
	char *id;                   /* "" if missing */
	struct http1_field *fields; /* of the sender's handshake */
	size_t n_fields;
	char *remote_address; /* an IP; "" if missing */
	uint16_t remote_port; /* 0 if missing */
};

struct hc_message_renew_token {
	char *token; /* secret */
};

struct hc_message_unknown {
	char *name; /* of the command, escaped and cut: safe to log */
};

struct hc_message {
	enum hc_message_kind kind;
	union {
		struct hc_message_accept accept;
		struct hc_message_renew_token renew_token;
		struct hc_message_unknown unknown;
	};
};

/* Reads one message. ERR_TOO_BIG beyond a limit, ERR_PROTOCOL when it is no
 * JSON object or a known command lacks what it needs (accept: address;
 * renewToken: token). Header values that are numbers or truth values become
 * text; header fields with control bytes are dropped. Nothing to free on
 * failure. */
bool hc_message_parse(
    struct hc_message *m, const void *data, size_t len, struct err *e);
void hc_message_fini(struct hc_message *m);

/* Appends the message as JSON. Fields of the same name are joined with ", ",
 * ServiceBusAuthorization is left out, values that are no UTF-8 are read as
 * Latin-1. remote_address "" : 0.0.0.0. ERR_TOO_BIG (status 431) above
 * HC_MESSAGE_MAX, with nothing appended. */
bool hc_message_build_accept(
    struct buf *out, const struct hc_message_accept *m, struct err *e);
bool hc_message_build_renew_token(
    struct buf *out, const char *token, struct err *e);

/* --- statuses on a joined WebSocket (doc/PROTOCOL-sample.md) --- */

#define HC_MESSAGE_STATUS_MAX ((size_t)4096) /* bytes of one status */
#define HC_MESSAGE_DETAILS_MAX 512

enum hc_message_status_kind {
	HC_MESSAGE_STATUS_READY,
	HC_MESSAGE_STATUS_ERROR,
	HC_MESSAGE_STATUS_OTHER, /* any other word; to be ignored */
};

struct hc_message_status {
	enum hc_message_status_kind kind;
	bool half_close;                      /* "halfClose": true */
	char details[HC_MESSAGE_DETAILS_MAX]; /* "" if missing; when read:
	                                         escaped and cut */
};

/* ERR_PROTOCOL when it is no JSON object with a text "status", ERR_TOO_BIG
 * beyond HC_MESSAGE_STATUS_MAX. Details that are no text are left out. */
bool hc_message_parse_status(
    struct hc_message_status *s, const void *data, size_t len, struct err *e);
/* Appends {"status":..,"details":..} and, if set, "halfClose":true. Not for
 * OTHER. Bytes that are no UTF-8 are read as Latin-1. */
void hc_message_build_status(
    struct buf *out, const struct hc_message_status *s);

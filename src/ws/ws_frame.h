/* SPDX-License-Identifier: MIT
 *
 * WebSocket frames (RFC 6455, section 5): headers, masking, and an incremental
 * decoder that unmasks payload where it lies. Pure: no socket, no allocation.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

#define WS_FRAME_HEAD_MAX 14

/* The largest payload of a frame we send: the Java client refuses more in one
 * frame (specification 6.3). */
#define WS_FRAME_MAX ((size_t)65536)

#define WS_CONTROL_MAX 125

enum ws_opcode {
	WS_CONTINUATION = 0,
	WS_TEXT = 1,
	WS_BINARY = 2,
	WS_CLOSE = 8,
	WS_PING = 9,
	WS_PONG = 10,
};

enum ws_code {
	WS_CODE_NORMAL = 1000,
	WS_CODE_GOING_AWAY = 1001,
	WS_CODE_PROTOCOL = 1002,
	WS_CODE_NONE = 1005, /* never on the wire: a Close without a code */
	WS_CODE_INVALID_TEXT = 1007,
	WS_CODE_POLICY = 1008,
	WS_CODE_TOO_BIG = 1009,
	WS_CODE_INTERNAL = 1011,
};

/* Writes a header for a frame of len payload bytes; mask NULL: unmasked.
 * Returns its size, at most WS_FRAME_HEAD_MAX. */
size_t ws_frame_build(uint8_t *out, enum ws_opcode opcode, bool fin,
    uint64_t len, const uint8_t mask[4]);

/* The size ws_frame_build would return. */
size_t ws_frame_head_size(uint64_t len, bool masked);

/* XORs n bytes from src to dst (dst == src, or not overlapping) with the mask,
 * `offset` bytes into the payload. */
void ws_frame_mask(uint8_t *dst, const uint8_t *src, size_t n,
    const uint8_t mask[4], uint64_t offset);

/* Writes a whole control frame (len at most WS_CONTROL_MAX) into out, which
 * has room for WS_FRAME_HEAD_MAX + len. Returns its size. */
size_t ws_frame_build_control(uint8_t *out, enum ws_opcode opcode,
    const void *payload, size_t len, const uint8_t mask[4]);

/* The payload of a Close frame: code 0 or WS_CODE_NONE gives an empty one. The
 * reason is cut to 123 bytes at a character border. out: WS_CONTROL_MAX. */
size_t ws_frame_build_close(uint8_t *out, int code, const char *reason);

/* Reads a Close payload: *code is WS_CODE_NONE when it is empty; reason gets
 * at most 123 bytes and a NUL. False for one byte, a code not allowed on the
 * wire, or a reason that is no UTF-8; *code is then the one to fail with (1002
 * or 1007) and the reason is empty. */
bool ws_frame_parse_close(
    const uint8_t *payload, size_t len, int *code, char reason[124]);

/* --- decoding --- */

struct ws_decoder {
	bool expect_mask; /* we are the server */
	bool
	    keep_masked; /* leave the payload of DATA as it came; `mask` and
	                    `frame_at` (behind the piece) tell how to read it */
	uint8_t head[WS_FRAME_HEAD_MAX];
	uint8_t head_len;
	bool in_frame;   /* payload of a frame is being read */
	bool in_message; /* a data message is open */
	bool fin;
	uint8_t opcode;  /* of the frame */
	uint8_t message; /* opcode of the open message */
	uint8_t mask[4];
	uint64_t frame_len;
	uint64_t frame_at; /* payload bytes of the frame so far */
	uint8_t control_len;
	uint8_t control[WS_CONTROL_MAX];
};

enum ws_event_kind {
	WS_EVENT_NONE,    /* all input used; feed more */
	WS_EVENT_DATA,    /* a piece of a data message */
	WS_EVENT_CONTROL, /* a whole control frame */
	WS_EVENT_BAD,     /* violation: fail with `code` */
};

struct ws_event {
	enum ws_event_kind kind;
	enum ws_opcode opcode; /* DATA: TEXT or BINARY; CONTROL: which */
	uint8_t *data;         /* in the input (DATA) or the decoder */
	size_t len;            /* may be 0 for the empty frames of a peer */
	bool message_start;    /* DATA: first piece of a message */
	bool frame_start;      /* DATA: first piece of a frame */
	bool frame_end;        /* DATA: last piece of its frame */
	bool message_end;      /* DATA: last piece of the message */
	uint64_t frame_len;    /* DATA: payload of the whole frame */
	enum ws_code code;     /* BAD */
	const char *why;       /* BAD: static text */
};

void ws_decoder_init(struct ws_decoder *d, bool expect_mask);

/* Takes from *data, *len what makes the next event. Payload is unmasked in
 * place. Refused: RSV bits, unknown opcodes, wrong masking, fragmented or long
 * control frames, continuation without a message and the reverse, a length
 * with the top bit set or not in its shortest form. */
void ws_decoder_next(
    struct ws_decoder *d, uint8_t **data, size_t *len, struct ws_event *ev);

/* SPDX-License-Identifier: MIT
 *
 * Forwarding the frames of one client to the other, as the relay does: header
 * in, header out, payload streamed; message borders and kinds stay. Pure.
 * Frames longer than WS_FRAME_MAX are split, small fragments that lie together
 * are joined, and no empty frame is made: the last byte of a fragment without
 * FIN is held back until the next one shows what follows (specification 6.3,
 * case R40). An empty message that a peer sent on purpose is passed on. Control
 * frames are not forwarded but told.
 */
#pragma once
#include "ws/ws_frame.h"

struct ws_forward {
	struct ws_decoder decoder;
	uint64_t out_left; /* payload still owed to the frame begun */
	uint8_t held;      /* the byte held back */
	bool has_held;
	bool out_open;  /* a message was begun towards the other side */
	uint8_t kind;   /* its opcode */
	uint64_t bytes; /* payload bytes forwarded */
};

/* Input comes masked (from a client); output goes unmasked (to a client). */
void ws_forward_init(struct ws_forward *f);

/* The most bytes that ws_forward_feed may write for n bytes of input: out
 * must have room for it. */
size_t ws_forward_bound(size_t n);

/* Forwards from *data, *len into out until the input is used up (returns
 * WS_EVENT_NONE), a control frame was met (*ev has it; call again for the rest)
 * or the peer broke the protocol (WS_EVENT_BAD). *out_len: bytes written by
 * this call; out may not overlap the input. */
enum ws_event_kind ws_forward_feed(struct ws_forward *f, uint8_t **data,
    size_t *len, uint8_t *out, size_t *out_len, struct ws_event *ev);

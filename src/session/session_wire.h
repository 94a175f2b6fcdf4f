/* SPDX-License-Identifier: MIT
 *
 * The frames of a session (doc/PROTOCOL-hyco.md, sections 2 and 4): building,
 * reading, the proofs of a resume, and an incremental decoder that hands DATA
 * over where it lies. Pure: no socket, no clock, no allocation.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SESSION_VERSION 1
#define SESSION_ID_SIZE 16
#define SESSION_RANDOM_SIZE 32
#define SESSION_SECRET_SIZE 32
#define SESSION_PROOF_SIZE 32
#define SESSION_HEAD_SIZE 4
#define SESSION_DATA_MAX ((size_t)65535)
#define SESSION_TEXT_MAX 255
#define SESSION_LIMIT_MIN 65536u

/* The largest frame that is not DATA: CLOSE with its text. */
#define SESSION_CONTROL_MAX (SESSION_HEAD_SIZE + 2 + SESSION_TEXT_MAX)

#define SESSION_OPTION_TLS 0x01u

enum session_type {
	SESSION_HELLO = 1,
	SESSION_WELCOME = 2,
	SESSION_RESUME = 3,
	SESSION_RESUMED = 4,
	SESSION_REFUSE = 5,
	SESSION_DATA = 16,
	SESSION_ACK = 17,
	SESSION_PING = 18,
	SESSION_PONG = 19,
	SESSION_CLOSE = 20,
};

enum session_refusal {
	SESSION_REFUSE_PROOF = 401,
	SESSION_REFUSE_EPOCH = 409,
	SESSION_REFUSE_GONE = 410,
	SESSION_REFUSE_MISDIRECTED = 421,
	SESSION_REFUSE_VERSION = 426,
	SESSION_REFUSE_BUSY = 503,
};

enum session_close_code {
	SESSION_CLOSE_DONE = 0,
	SESSION_CLOSE_FAULT = 1,
	SESSION_CLOSE_POLICY = 2,
	SESSION_CLOSE_SHUTDOWN = 3,
};

/* HELLO; WELCOME without the id. */
struct session_hello {
	uint8_t options;
	uint8_t id[SESSION_ID_SIZE];
	uint8_t random[SESSION_RANDOM_SIZE];
	uint16_t window_s;
	uint32_t limit;
};

struct session_resume {
	uint8_t id[SESSION_ID_SIZE];
	uint32_t epoch;
	uint64_t received;
	uint8_t random[SESSION_RANDOM_SIZE];
	uint8_t proof[SESSION_PROOF_SIZE];
};

struct session_resumed {
	uint32_t epoch;
	uint64_t received;
	uint8_t proof[SESSION_PROOF_SIZE];
};

/* REFUSE and CLOSE. The text is NUL-terminated and valid UTF-8. */
struct session_notice {
	uint16_t code;
	char text[SESSION_TEXT_MAX + 1];
};

/* Building: each writes one whole frame into out (SESSION_CONTROL_MAX bytes
 * of room) and returns its size. */
size_t session_build_hello(uint8_t *out, const struct session_hello *h);
size_t session_build_welcome(uint8_t *out, const struct session_hello *h);
/* The proofs are made from the secret; those in the structs are ignored. */
size_t session_build_resume(uint8_t *out, const struct session_resume *r,
    const uint8_t secret[SESSION_SECRET_SIZE]);
size_t session_build_resumed(uint8_t *out, const struct session_resumed *r,
    const uint8_t random[SESSION_RANDOM_SIZE],
    const uint8_t secret[SESSION_SECRET_SIZE]);
/* type: REFUSE or CLOSE. The text is cut at a character border. */
size_t session_build_notice(
    uint8_t *out, enum session_type type, uint16_t code, const char *text);
/* type: ACK, PING or PONG. */
size_t session_build_number(
    uint8_t *out, enum session_type type, uint64_t number);
/* How much of the text a notice holds: cut between characters. */
size_t session_fit_text(const char *text);
/* The head of a DATA frame with len bytes behind it (1 to SESSION_DATA_MAX). */
void session_build_data_head(uint8_t out[SESSION_HEAD_SIZE], size_t len);

/* Reading the payload of a whole frame. False: a violation. Versions: false
 * with *bad_version set for HELLO and RESUME of another version. */
bool session_parse_hello(
    struct session_hello *h, const uint8_t *p, size_t len, bool *bad_version);
bool session_parse_welcome(
    struct session_hello *h, const uint8_t *p, size_t len);
bool session_parse_resume(
    struct session_resume *r, const uint8_t *p, size_t len, bool *bad_version);
bool session_parse_resumed(
    struct session_resumed *r, const uint8_t *p, size_t len);
bool session_parse_notice(
    struct session_notice *n, const uint8_t *p, size_t len);
bool session_parse_number(uint64_t *number, const uint8_t *p, size_t len);

/* Whether the proof in the struct is right; in constant time. */
bool session_check_resume(
    const struct session_resume *r, const uint8_t secret[SESSION_SECRET_SIZE]);
bool session_check_resumed(const struct session_resumed *r,
    const uint8_t random[SESSION_RANDOM_SIZE],
    const uint8_t secret[SESSION_SECRET_SIZE]);

/* The secret of a session without TLS (section 4). */
void session_make_secret(const uint8_t hello_random[SESSION_RANDOM_SIZE],
    const uint8_t welcome_random[SESSION_RANDOM_SIZE],
    const uint8_t id[SESSION_ID_SIZE], uint8_t out[SESSION_SECRET_SIZE]);

/* --- decoding --- */

struct session_decoder {
	uint8_t head[SESSION_HEAD_SIZE];
	uint8_t head_len;
	bool in_frame;
	bool holds_data; /* set by the caller: DATA is left in the input */
	uint8_t type;
	uint32_t left; /* payload still to come */
	uint16_t have; /* bytes in control */
	uint8_t control[SESSION_CONTROL_MAX];
};

enum session_item_kind {
	SESSION_ITEM_NONE,  /* all input used, or DATA is held */
	SESSION_ITEM_DATA,  /* a piece of DATA, in the input */
	SESSION_ITEM_FRAME, /* another frame, whole, in the decoder */
	SESSION_ITEM_BAD,   /* violation */
};

struct session_item {
	enum session_item_kind kind;
	enum session_type type;
	uint8_t *data;
	size_t len;
	const char *why; /* BAD: static text */
};

void session_decoder_init(struct session_decoder *d);

/* Takes from *data, *len what makes the next item. */
void session_decoder_next(struct session_decoder *d, uint8_t **data,
    size_t *len, struct session_item *item);

/* SPDX-License-Identifier: MIT
 *
 * Text without locale: encodings, strict numbers, comparison, and the cleaning
 * of bytes that came from a peer. All functions are pure.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;

/* Base64 of RFC 4648: section 4 (padded) or section 5 (URL alphabet, no
 * padding). Encoding writes a NUL; out needs text_base64_size(n) bytes. */
size_t text_base64_size(size_t n);
void text_base64_encode(const void *data, size_t n, char *out);
void text_base64url_encode(const void *data, size_t n, char *out);

/* Strict: the alphabet, correct padding (section 4) or none (section 5), no
 * other byte. out needs n * 3 / 4 + 3 bytes. False when malformed. */
bool text_base64_decode(const char *s, size_t n, uint8_t *out, size_t *len);
bool text_base64url_decode(const char *s, size_t n, uint8_t *out, size_t *len);

/* Lower-case hex; out needs 2 * n + 1 bytes. */
void text_hex(const void *data, size_t n, char *out);
bool text_unhex(const char *s, size_t n, uint8_t *out);

/* Appends s percent-encoded as encodeURIComponent does for a query component
 * or token field: all but A-Z a-z 0-9 - _ . ~ are encoded, upper-case hex.
 * (The characters ! ' ( ) * are encoded too: always legal.) */
bool text_percent_encode(struct buf *out, const char *s, size_t n);

/* Appends s decoded. `form`: a plus sign is a space. False on a broken escape
 * or an encoded NUL. */
bool text_percent_decode(struct buf *out, const char *s, size_t n, bool form);

/* ASCII case-blind comparison, of NUL-terminated texts and of n bytes. */
bool text_is_equal_nocase(const char *a, const char *b);
bool text_is_equal_nocase_n(const char *a, const char *b, size_t n);
bool text_has_prefix_nocase(const char *s, const char *prefix);

/* Whether the comma-separated list (an HTTP field value) holds the token,
 * ignoring case and blanks. */
bool text_list_has(const char *list, const char *token);

/* The first item of a comma-separated list without blanks around it: its
 * start, and its length in *n. */
const char *text_list_first(const char *list, size_t *n);

/* A decimal number and nothing else: no sign, no blanks, no leading zeros
 * ("0" itself is fine), within [min, max]. */
bool text_parse_u64(const char *s, uint64_t min, uint64_t max, uint64_t *out);

/* 1..65535 by the same rules. */
bool text_parse_port(const char *s, uint16_t *out);

/* RFC 3629: no surrogates, no overlong forms, nothing above U+10FFFF. */
bool text_is_utf8(const uint8_t *s, size_t n);

/* Incremental form for data that arrives in pieces: *state starts as 0. False
 * when the bytes so far cannot be UTF-8; at the end of the text *state must be
 * 0 again. */
bool text_utf8_feed(uint32_t *state, const uint8_t *s, size_t n);

/* Copies bytes from a peer for people's eyes: control bytes and bytes above
 * 0x7e become \xNN, a backslash becomes two; cut to fit, always terminated. */
void text_escape(const void *data, size_t n, char *out, size_t size);

/* Removes blanks (space, tab, CR, LF) at both ends in place; returns s moved
 * to its first character. */
char *text_trim(char *s);

/* A duration or size for people: "1.4 MiB", "3 min 2 s". */
void text_print_bytes(uint64_t n, char *out, size_t size);
void text_print_duration(uint64_t ms, char *out, size_t size);

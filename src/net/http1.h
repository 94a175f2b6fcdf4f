/* SPDX-License-Identifier: MIT
 *
 * HTTP/1.1 messages over llhttp: heads, and bodies with a length or chunked.
 * A pure engine: bytes in, a head and body pieces out; no stream, no clock.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct err;
struct http1_parser;

/* Limits of a head: the specification caps the fields at 32 KiB. */
#define HTTP1_HEAD_MAX ((size_t)40 * 1024)
#define HTTP1_FIELDS_MAX 200

enum http1_kind { HTTP1_REQUEST, HTTP1_RESPONSE };

struct http1_field {
	char *name;  /* as it was spelled */
	char *value; /* without blanks around it; obs-fold is refused */
};

struct http1_head {
	enum http1_kind kind;
	const char *method; /* request: "GET" */
	char *target;       /* request: as sent */
	int status;         /* response */
	char *reason;       /* response: may be "" */
	int minor;          /* HTTP/1.minor */
	struct http1_field *fields;
	size_t n_fields;
	bool keep_alive;
	bool upgrade;   /* Connection: upgrade and an Upgrade field */
	bool chunked;   /* a body in chunks follows */
	int64_t length; /* Content-Length, or -1 */
};

enum http1_result {
	HTTP1_DONE, /* head complete / message complete */
	HTTP1_MORE, /* all bytes were used, more are needed */
	HTTP1_BAD,  /* *e says what and where; the parser is of no more use */
};

struct http1_parser *http1_parser_new(enum http1_kind kind);
void http1_parser_free(struct http1_parser *p);

/* A response to HEAD has no body: call before its head is parsed. */
void http1_parser_set_head_request(struct http1_parser *p);

/* Feeds bytes until the head is complete. *used: how many belong to it.
 * ERR_TOO_BIG (status 431) above HTTP1_HEAD_MAX or HTTP1_FIELDS_MAX, else
 * ERR_PROTOCOL (status 400). */
enum http1_result http1_parse_head(struct http1_parser *p, const uint8_t *data,
    size_t len, size_t *used, struct err *e);

/* The head; valid after HTTP1_DONE until the parser is freed or reset. */
const struct http1_head *http1_head(const struct http1_parser *p);

/* Feeds bytes of the body. Gives at most one piece of payload a call, which
 * points into data: *piece, *piece_len (0: none this time). *used: bytes
 * consumed. DONE: the message is complete (a last piece may come with it). */
enum http1_result http1_parse_body(struct http1_parser *p, uint8_t *data,
    size_t len, size_t *used, uint8_t **piece, size_t *piece_len,
    struct err *e);

/* The peer's stream ended: DONE if the body was delimited by the end. */
enum http1_result http1_parse_end(struct http1_parser *p, struct err *e);

/* Ready for the next message on a kept connection. */
void http1_parser_reset(struct http1_parser *p);

/* The value of a field, ignoring case; NULL if absent. With several of the
 * name the first. */
const char *http1_get(const struct http1_head *h, const char *name);
size_t http1_count(const struct http1_head *h, const char *name);

/* Building. A name or value with CR, LF or NUL, or a name that is no token, is
 * refused (false, ERR_USAGE) with nothing appended. */
bool http1_build_request(struct buf *out, const char *method,
    const char *target, const struct http1_field *fields, size_t n,
    struct err *e);
/* reason NULL: the standard phrase. Control bytes in reason become blanks. */
bool http1_build_response(struct buf *out, int status, const char *reason,
    const struct http1_field *fields, size_t n, struct err *e);

const char *http1_reason(int status); /* "Not Found"; "" if unknown */
bool http1_is_token(const char *s);

/* SPDX-License-Identifier: MIT
 *
 * HTTP/1.1 messages. The idea to understand first: a head is collected whole
 * before llhttp sees it. A scan of our own finds where it ends and refuses
 * what smugglers use (bare CR or LF, folded lines, control bytes), so fields
 * can point into one block of text, and exactly the head is consumed. llhttp
 * then reads the head in one go and afterwards the body as it comes, paused
 * after each piece of payload.
 */
#include "net/http1.h"

#include <assert.h>
#include <llhttp.h>
#include <stdlib.h>
#include <string.h>

#include "util/buf.h"
#include "util/err.h"
#include "util/mem.h"
#include "util/text.h"

/* Longest method any standard knows is 17 characters; a longer first word
 * means that the peer does not speak HTTP. */
#define METHOD_MAX 32

/* Chunk sizes, extensions and trailers between two pieces of payload. */
#define FRAMING_MAX HTTP1_HEAD_MAX

enum stage { STAGE_HEAD, STAGE_BODY, STAGE_COMPLETE, STAGE_BAD };

struct http1_parser {
	llhttp_t ll;
	enum stage stage;
	bool head_request; /* our request was HEAD: the response has no body */

	/* The head while it is collected, then the fields' memory. */
	char *text;
	size_t len;
	size_t room;

	/* The scan: what the bytes so far look like. */
	bool after_cr;   /* the last byte was CR */
	bool line_empty; /* nothing stands on this line yet */
	size_t lines;    /* lines with something on them */

	struct http1_head head;
	struct http1_field *fields;
	size_t *value_len; /* parallel to fields, while llhttp reads */
	size_t *name_len;
	size_t n_fields;
	char *target;
	size_t target_len;
	char *reason;
	size_t reason_len;

	/* The piece of payload that on_body found in this call. */
	const char *piece;
	size_t piece_len;
	size_t framing; /* bytes since the last payload */
};

static const struct {
	int status;
	const char *reason;
} reasons[] = {
    {100, "Continue"},
    {101, "Switching Protocols"},
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {204, "No Content"},
    {206, "Partial Content"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {304, "Not Modified"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {402, "Payment Required"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {407, "Proxy Authentication Required"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {417, "Expectation Failed"},
    {421, "Misdirected Request"},
    {426, "Upgrade Required"},
    {428, "Precondition Required"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
    {507, "Insufficient Storage"},
};

/* --- callbacks of llhttp --- */

static int
on_url(llhttp_t *ll, const char *at, size_t len)
{
	struct http1_parser *p = ll->data;

	/* The text is ours: the cast takes away llhttp's const alone. */
	if (p->target == NULL)
		p->target = p->text + (at - p->text);
	p->target_len = (size_t)(at + len - p->target);
	return 0;
}

static int
on_status(llhttp_t *ll, const char *at, size_t len)
{
	struct http1_parser *p = ll->data;

	if (p->reason == NULL)
		p->reason = p->text + (at - p->text);
	p->reason_len = (size_t)(at + len - p->reason);
	return 0;
}

static int
on_header_field(llhttp_t *ll, const char *at, size_t len)
{
	struct http1_parser *p = ll->data;
	size_t i;

	if (p->stage != STAGE_HEAD) /* a trailer */
		return 0;
	/* The scan counted the lines, so there is room for every field. */
	assert(p->n_fields < p->lines);
	i = p->n_fields++;
	p->fields[i].name = p->text + (at - p->text);
	p->fields[i].value = NULL;
	p->name_len[i] = len;
	p->value_len[i] = 0;
	return 0;
}

static int
on_header_value(llhttp_t *ll, const char *at, size_t len)
{
	struct http1_parser *p = ll->data;
	struct http1_field *f;

	if (p->stage != STAGE_HEAD || p->n_fields == 0)
		return 0;
	f = &p->fields[p->n_fields - 1];
	if (f->value == NULL)
		f->value = p->text + (at - p->text);
	p->value_len[p->n_fields - 1] = (size_t)(at + len - f->value);
	return 0;
}

static int
on_headers_complete(llhttp_t *ll)
{
	struct http1_parser *p = ll->data;
	bool lasting;

	if (p->stage != STAGE_HEAD)
		return 0;
	lasting = ll->http_minor > 0 ? !(ll->flags & F_CONNECTION_CLOSE)
	                             : !!(ll->flags & F_CONNECTION_KEEP_ALIVE);
	p->head.keep_alive =
	    lasting && (p->head_request || !llhttp_message_needs_eof(ll));
	p->head.upgrade =
	    (ll->flags & F_UPGRADE) && (ll->flags & F_CONNECTION_UPGRADE);
	p->head.chunked = !!(ll->flags & F_CHUNKED);
	p->stage = STAGE_BODY;
	return p->head_request ? 1 : 0;
}

static int
on_body(llhttp_t *ll, const char *at, size_t len)
{
	struct http1_parser *p = ll->data;

	if (len == 0)
		return 0;
	p->piece = at;
	p->piece_len = len;
	return HPE_PAUSED;
}

static int
on_message_complete(llhttp_t *ll)
{
	struct http1_parser *p = ll->data;

	p->stage = STAGE_COMPLETE;
	return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_url = on_url,
    .on_status = on_status,
    .on_header_field = on_header_field,
    .on_header_value = on_header_value,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

/* --- life --- */

static void
restart(struct http1_parser *p)
{
	enum http1_kind kind = p->head.kind;

	llhttp_init(&p->ll,
	    kind == HTTP1_REQUEST ? HTTP_REQUEST : HTTP_RESPONSE, &settings);
	p->ll.data = p;
	p->stage = STAGE_HEAD;
	p->line_empty = true;
	p->head.length = -1;
}

struct http1_parser *
http1_parser_new(enum http1_kind kind)
{
	struct http1_parser *p = mem_zalloc(sizeof(*p));

	p->head.kind = kind;
	restart(p);
	return p;
}

static void
drop_memory(struct http1_parser *p)
{
	free(p->text);
	free(p->fields);
	free(p->name_len);
	free(p->value_len);
}

void
http1_parser_free(struct http1_parser *p)
{
	if (p == NULL)
		return;
	drop_memory(p);
	free(p);
}

void
http1_parser_reset(struct http1_parser *p)
{
	enum http1_kind kind = p->head.kind;

	drop_memory(p);
	memset(p, 0, sizeof(*p));
	p->head.kind = kind;
	restart(p);
}

void
http1_parser_set_head_request(struct http1_parser *p)
{
	assert(p->stage == STAGE_HEAD);
	p->head_request = true;
}

const struct http1_head *
http1_head(const struct http1_parser *p)
{
	return &p->head;
}

/* --- the head --- */

static enum http1_result
fail(
    struct http1_parser *p, struct err *e, enum err_code code, const char *what)
{
	p->stage = STAGE_BAD;
	err_set(e, code, "malformed HTTP %s: %s",
	    p->head.kind == HTTP1_REQUEST ? "request" : "response", what);
	if (e != NULL)
		e->http_status = code == ERR_TOO_BIG ? 431 : 400;
	return HTTP1_BAD;
}

/* Looks at one byte of the head. NULL when it is fine; *ended when it was the
 * last one. */
static const char *
scan_byte(struct http1_parser *p, uint8_t c, bool *ended)
{
	if (p->after_cr) {
		if (c != '\n')
			return "a CR without LF";
		p->after_cr = false;
		*ended = p->line_empty && p->lines > 0;
		p->line_empty = true;
		return NULL;
	}
	if (c == '\r') {
		p->after_cr = true;
		return NULL;
	}
	if (c == '\n')
		return "a line that ends without CR";
	if ((c < 0x20 && c != '\t') || c == 0x7f)
		return "a control byte in the head";
	if (p->lines <= 1 && c >= 0x80 && p->head.kind == HTTP1_REQUEST &&
	    (p->lines == 0 || !p->line_empty))
		return "a byte that is not ASCII in the request line";
	if (p->line_empty) {
		if (c == ' ' || c == '\t')
			return "a folded or indented line";
		p->line_empty = false;
		p->lines++;
	}
	return NULL;
}

static void
collect(struct http1_parser *p, const uint8_t *data, size_t n)
{
	if (n > p->room - p->len) {
		size_t room = p->room * 2;

		if (room < p->len + n)
			room = p->len + n;
		p->text = mem_grow(p->text, room);
		p->room = room;
	}
	memcpy(p->text + p->len, data, n);
	p->len += n;
}

/* Whether what has come can still become a start line. A peer that speaks
 * another protocol is told so at once instead of at the deadline. */
static bool
is_plausible(const struct http1_parser *p)
{
	static const char version[] = "HTTP/1.";
	const char *s = p->text;
	size_t n = p->len;
	size_t i;

	while (n > 0 && (*s == '\r' || *s == '\n'))
		s++, n--;
	if (p->head.kind == HTTP1_RESPONSE) {
		if (n > sizeof(version) - 1)
			n = sizeof(version) - 1;
		return n == 0 || memcmp(s, version, n) == 0;
	}
	for (i = 0; i < n && s[i] != ' '; i++)
		if (i == METHOD_MAX || s[i] == '\r' || s[i] == ':')
			return false;
	return true;
}

static void
terminate(char *s, size_t len)
{
	while (len > 0 && (s[len - 1] == ' ' || s[len - 1] == '\t'))
		len--;
	s[len] = '\0';
}

static void
terminate_fields(struct http1_parser *p)
{
	for (size_t i = 0; i < p->n_fields; i++) {
		struct http1_field *f = &p->fields[i];

		terminate(f->name, p->name_len[i]);
		if (f->value == NULL)
			f->value = f->name + p->name_len[i];
		else
			terminate(f->value, p->value_len[i]);
	}
	p->head.fields = p->fields;
	p->head.n_fields = p->n_fields;
	free(p->name_len);
	free(p->value_len);
	p->name_len = p->value_len = NULL;
}

/* The rules about names and body length that llhttp leaves to us or reads more
 * kindly than we do (RFC 9112, sections 5 and 6). */
static const char *
check_fields(struct http1_parser *p)
{
	const struct http1_head *h = &p->head;
	const char *coding = http1_get(h, "transfer-encoding");
	const char *length = http1_get(h, "content-length");
	uint64_t n;

	for (size_t i = 0; i < h->n_fields; i++)
		if (!http1_is_token(h->fields[i].name))
			return "a field name that is no token";
	if (http1_count(h, "content-length") > 1)
		return "several Content-Length fields";
	if (length != NULL) {
		if (coding != NULL)
			return "both Content-Length and Transfer-Encoding";
		if (!text_parse_u64(length, 0, INT64_MAX, &n))
			return "Content-Length is not a number";
		p->head.length = (int64_t)n;
	}
	if (coding != NULL) {
		if (http1_count(h, "transfer-encoding") > 1 ||
		    !text_is_equal_nocase(coding, "chunked") || !h->chunked)
			return "a Transfer-Encoding other than chunked";
		if (h->minor == 0)
			return "Transfer-Encoding in HTTP/1.0";
	}
	if (h->kind == HTTP1_REQUEST && h->minor > 0 &&
	    http1_count(h, "host") != 1)
		return "not exactly one Host field";
	return NULL;
}

/* The first line again, strictly: llhttp also reads RTSP, HTTP/0.9 and 2.0. */
static bool
is_http_version_good(const struct http1_parser *p)
{
	const char *s = p->text;
	const char *end;

	while (*s == '\r' || *s == '\n')
		s++;
	end = memchr(s, '\r', p->len - (size_t)(s - p->text));
	if (end == NULL || end - s < 8)
		return false;
	if (p->head.kind == HTTP1_REQUEST)
		s = end - 8;
	return memcmp(s, "HTTP/1.", 7) == 0 && (s[7] == '0' || s[7] == '1');
}

static enum http1_result
read_head(struct http1_parser *p, struct err *e)
{
	struct http1_head *h = &p->head;
	const char *what;
	enum llhttp_errno r;

	if (!is_http_version_good(p))
		return fail(p, e, ERR_PROTOCOL, "this is not HTTP/1.0 or 1.1");
	p->fields = mem_alloc(p->lines * sizeof(*p->fields));
	p->name_len = mem_alloc(p->lines * sizeof(*p->name_len));
	p->value_len = mem_alloc(p->lines * sizeof(*p->value_len));
	r = llhttp_execute(&p->ll, p->text, p->len);
	if ((r != HPE_OK && r != HPE_PAUSED && r != HPE_PAUSED_UPGRADE) ||
	    p->stage == STAGE_HEAD) {
		what = llhttp_get_error_reason(&p->ll);
		return fail(p, e, ERR_PROTOCOL,
		    what != NULL && *what != '\0' ? what : "bad head");
	}
	h->minor = p->ll.http_minor;
	if (h->kind == HTTP1_REQUEST) {
		h->method = llhttp_method_name(
		    (llhttp_method_t)llhttp_get_method(&p->ll));
		h->target = p->target;
		if (p->target == NULL)
			return fail(p, e, ERR_PROTOCOL, "no target");
		p->target[p->target_len] = '\0';
	} else {
		h->status = llhttp_get_status_code(&p->ll);
		if (h->status < 100)
			return fail(p, e, ERR_PROTOCOL, "bad status");
		h->reason = p->reason;
		if (p->reason == NULL)
			h->reason = p->text + p->len - 1;
		*(h->reason + p->reason_len) = '\0';
	}
	terminate_fields(p);
	what = check_fields(p);
	if (what != NULL)
		return fail(p, e, ERR_PROTOCOL, what);
	return HTTP1_DONE;
}

enum http1_result
http1_parse_head(struct http1_parser *p, const uint8_t *data, size_t len,
    size_t *used, struct err *e)
{
	const char *what = NULL;
	bool ended = false;
	size_t n = 0;

	*used = 0;
	if (p->stage == STAGE_BAD)
		return fail(p, e, ERR_PROTOCOL, "already refused");
	assert(p->stage == STAGE_HEAD);
	while (n < len && !ended && what == NULL) {
		if (p->len + n == HTTP1_HEAD_MAX)
			return fail(p, e, ERR_TOO_BIG, "the head is too long");
		what = scan_byte(p, data[n++], &ended);
		if (p->lines > HTTP1_FIELDS_MAX + 1)
			return fail(p, e, ERR_TOO_BIG, "too many fields");
	}
	if (what != NULL)
		return fail(p, e, ERR_PROTOCOL, what);
	if (n > 0)
		collect(p, data, n);
	*used = n;
	if (!is_plausible(p))
		return fail(p, e, ERR_PROTOCOL, "this is not HTTP/1.0 or 1.1");
	return ended ? read_head(p, e) : HTTP1_MORE;
}

/* --- the body --- */

/* One run of llhttp: stops at a piece of payload, at the message's end, or
 * when the bytes are used up. */
static bool
run(struct http1_parser *p, const char *data, size_t len, size_t *used)
{
	enum llhttp_errno r;

	if (llhttp_get_errno(&p->ll) == HPE_PAUSED)
		llhttp_resume(&p->ll);
	r = llhttp_execute(&p->ll, data, len);
	*used = len;
	if (r == HPE_OK)
		return true;
	if (r != HPE_PAUSED && r != HPE_PAUSED_UPGRADE)
		return false;
	*used = (size_t)(llhttp_get_error_pos(&p->ll) - data);
	return true;
}

enum http1_result
http1_parse_body(struct http1_parser *p, uint8_t *data, size_t len,
    size_t *used, uint8_t **piece, size_t *piece_len, struct err *e)
{
	static const char nothing[1];
	const char *in = len > 0 ? (const char *)data : nothing;
	size_t rest;

	*used = 0;
	*piece = NULL;
	*piece_len = 0;
	if (p->stage == STAGE_COMPLETE)
		return HTTP1_DONE;
	if (p->stage == STAGE_BAD)
		return fail(p, e, ERR_PROTOCOL, "already refused");
	assert(p->stage == STAGE_BODY);
	p->piece = NULL;
	p->piece_len = 0;
	/* The second run, of no bytes, lets llhttp see that a piece was the
	 * last one. */
	if (!run(p, in, len, used) ||
	    (p->piece != NULL && p->stage == STAGE_BODY &&
	        !run(p, in + *used, 0, &rest)))
		return fail(p, e, ERR_PROTOCOL, "bad chunk");
	p->framing = p->piece != NULL ? 0 : p->framing + *used;
	if (p->framing > FRAMING_MAX)
		return fail(p, e, ERR_TOO_BIG, "too much between chunks");
	if (p->piece != NULL) {
		*piece = data + (p->piece - in);
		*piece_len = p->piece_len;
	}
	return p->stage == STAGE_COMPLETE ? HTTP1_DONE : HTTP1_MORE;
}

enum http1_result
http1_parse_end(struct http1_parser *p, struct err *e)
{
	if (p->stage == STAGE_COMPLETE)
		return HTTP1_DONE;
	if (p->stage == STAGE_BODY) {
		if (llhttp_get_errno(&p->ll) == HPE_PAUSED)
			llhttp_resume(&p->ll);
		llhttp_finish(&p->ll);
		if (p->stage == STAGE_COMPLETE)
			return HTTP1_DONE;
	}
	return fail(p, e, ERR_PROTOCOL, "it ends in the middle");
}

/* --- reading and building fields --- */

const char *
http1_get(const struct http1_head *h, const char *name)
{
	for (size_t i = 0; i < h->n_fields; i++)
		if (text_is_equal_nocase(h->fields[i].name, name))
			return h->fields[i].value;
	return NULL;
}

size_t
http1_count(const struct http1_head *h, const char *name)
{
	size_t n = 0;

	for (size_t i = 0; i < h->n_fields; i++)
		n += text_is_equal_nocase(h->fields[i].name, name);
	return n;
}

bool
http1_is_token(const char *s)
{
	static const char others[] = "!#$%&'*+-.^_`|~";

	if (*s == '\0')
		return false;
	for (; *s != '\0'; s++) {
		bool alnum = (*s >= '0' && *s <= '9') ||
		             (*s >= 'A' && *s <= 'Z') ||
		             (*s >= 'a' && *s <= 'z');

		if (!alnum && strchr(others, *s) == NULL)
			return false;
	}
	return true;
}

static bool
is_value(const char *s)
{
	for (; *s != '\0'; s++) {
		unsigned char c = (unsigned char)*s;

		if ((c < 0x20 && c != '\t') || c == 0x7f)
			return false;
	}
	return true;
}

static bool
is_target(const char *s)
{
	if (*s == '\0')
		return false;
	for (; *s != '\0'; s++) {
		unsigned char c = (unsigned char)*s;

		if (c <= 0x20 || c >= 0x7f)
			return false;
	}
	return true;
}

static bool
are_fields_good(
    const struct http1_field *fields, size_t n, size_t *size, struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		if (!http1_is_token(fields[i].name))
			return err_set(
			    e, ERR_USAGE, "an HTTP field has a bad name");
		if (!is_value(fields[i].value))
			return err_set(e, ERR_USAGE,
			    "HTTP field %s has a control byte in its value",
			    fields[i].name);
		*size += strlen(fields[i].name) + strlen(fields[i].value) + 4;
	}
	*size += 2;
	return true;
}

static char *
put(char *at, const char *s)
{
	size_t n = strlen(s);

	/* NOLINTNEXTLINE(bugprone-not-null-terminated-result): more follows */
	memcpy(at, s, n);
	return at + n;
}

static char *
put_fields(char *at, const struct http1_field *fields, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		at = put(at, fields[i].name);
		at = put(at, ": ");
		at = put(at, fields[i].value);
		at = put(at, "\r\n");
	}
	return put(at, "\r\n");
}

static char *
reserve(struct buf *out, size_t size, struct err *e)
{
	char *at = (char *)buf_reserve(out, size);

	if (at == NULL)
		err_set(e, ERR_TOO_BIG, "the HTTP head is too long");
	return at;
}

bool
http1_build_request(struct buf *out, const char *method, const char *target,
    const struct http1_field *fields, size_t n, struct err *e)
{
	static const char version[] = " HTTP/1.1\r\n";
	size_t size = strlen(method) + 1 + strlen(target) + strlen(version);
	char *at;

	if (!http1_is_token(method) || !is_target(target))
		return err_set(
		    e, ERR_USAGE, "an HTTP request has a bad method or target");
	if (!are_fields_good(fields, n, &size, e))
		return false;
	at = reserve(out, size, e);
	if (at == NULL)
		return false;
	at = put(at, method);
	at = put(at, " ");
	at = put(at, target);
	at = put(at, version);
	put_fields(at, fields, n);
	buf_commit(out, size);
	return true;
}

bool
http1_build_response(struct buf *out, int status, const char *reason,
    const struct http1_field *fields, size_t n, struct err *e)
{
	static const char version[] = "HTTP/1.1 ";
	size_t size = strlen(version) + 3 + 1 + 2;
	size_t phrase;
	char *at;

	if (status < 100 || status > 999)
		return err_set(e, ERR_USAGE, "%d is no HTTP status", status);
	if (reason == NULL)
		reason = http1_reason(status);
	phrase = strlen(reason);
	size += phrase;
	if (!are_fields_good(fields, n, &size, e))
		return false;
	at = reserve(out, size, e);
	if (at == NULL)
		return false;
	at = put(at, version);
	*at++ = (char)('0' + status / 100);
	*at++ = (char)('0' + status / 10 % 10);
	*at++ = (char)('0' + status % 10);
	*at++ = ' ';
	for (size_t i = 0; i < phrase; i++) {
		unsigned char c = (unsigned char)reason[i];

		*at++ = c < 0x20 || c == 0x7f ? ' ' : reason[i];
	}
	at = put(at, "\r\n");
	put_fields(at, fields, n);
	buf_commit(out, size);
	return true;
}

const char *
http1_reason(int status)
{
	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
		if (reasons[i].status == status)
			return reasons[i].reason;
	return "";
}

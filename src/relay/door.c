/* SPDX-License-Identifier: MIT
 *
 * The first steps of every connection, where nothing is known about the peer
 * yet: everything is bounded by the head's size and one deadline. An early
 * piece behind the head is kept once, at most a turn, and then the stream is
 * not read any more.
 *
 *   HEAD --door_wait--> WAITING
 *     \------\-------door_refuse--> REFUSING (delayed) --> LINGER --> on_end
 */
#include "relay/door.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "net/http1.h"
#include "net/loop.h"
#include "net/stream.h"
#include "net/tls.h"
#include "relay/relay.h"
#include "util/buf.h"
#include "util/err.h"
#include "util/mem.h"

#define REASON_MAX 1000

/* What a refused client may still send before we stop reading it. */
#define LINGER_BYTES_MAX ((size_t)1024 * 1024)

enum phase { HEAD, WAITING, REFUSING, LINGER };

struct door {
	struct door_info info;
	struct loop *loop;
	struct stream *stream;
	const struct relay_limits *limits;
	const struct door_events *events;
	void *owner;
	enum phase phase;
	struct timer timer;
	struct http1_parser *parser; /* NULL: the head is not needed any more */
	size_t head_bytes;
	uint8_t *early;
	size_t early_len;
	struct buf answer; /* held back */
	size_t linger_bytes;
	bool has_head;
	bool is_malformed;
	bool has_ended; /* on_end was called or is not wanted */
	bool is_closing;
};

static void on_open(void *owner);
static void on_data(void *owner, uint8_t *data, size_t len);
static void on_end(void *owner);
static void on_drain(void *owner);
static void on_error(void *owner, const struct err *err);

static const struct stream_events stream_events = {
    .on_open = on_open,
    .on_data = on_data,
    .on_end = on_end,
    .on_drain = on_drain,
    .on_error = on_error,
};

/* --- the end --- */

static void
report(struct door *d, const struct err *err)
{
	if (d->has_ended)
		return;
	d->has_ended = true;
	timer_clear(&d->timer);
	stream_stop(d->stream);
	d->events->on_end(d->owner, d, err);
}

static void
report_closed(struct door *d)
{
	struct err err;

	if (d->is_malformed)
		err_set(&err, ERR_PROTOCOL, "malformed request");
	else
		err_set(&err, ERR_CLOSED, "refused");
	report(d, &err);
}

static void
start_linger(struct door *d)
{
	d->phase = LINGER;
	timer_set(&d->timer, d->limits->close_ms);
	stream_put(d->stream, buf_data(&d->answer), buf_len(&d->answer));
	buf_fini(&d->answer);
	stream_shutdown(d->stream);
	stream_start(d->stream);
}

static void
on_due(void *owner)
{
	struct door *d = owner;
	struct err err;

	if (d->phase == REFUSING) {
		start_linger(d);
		return;
	}
	if (d->phase == LINGER) {
		report_closed(d);
		return;
	}
	err_set(&err, ERR_TIMEOUT, "no request in time");
	report(d, &err);
}

/* --- the head --- */

static void
refuse_early(struct door *d, const struct err *err)
{
	d->is_malformed = true;
	door_refuse(d, &(struct door_refusal){
	                   .status = err->http_status ? err->http_status : 400,
	                   .text = err->text,
	                   .system = "",
	               });
}

static void
keep_early(struct door *d, const uint8_t *data, size_t len)
{
	stream_stop(d->stream);
	if (len == 0)
		return;
	assert(!d->early);
	d->early = mem_alloc(len);
	memcpy(d->early, data, len);
	d->early_len = len;
}

static void
read_head(struct door *d, uint8_t *data, size_t len)
{
	struct err err;
	size_t used = 0;
	enum http1_result result;

	result = http1_parse_head(d->parser, data, len, &used, &err);
	d->head_bytes += used;
	if (result != HTTP1_BAD && d->head_bytes > d->limits->max_head_bytes) {
		err_set(&err, ERR_TOO_BIG, "the head is longer than %zu bytes",
		    d->limits->max_head_bytes);
		err.http_status = 431;
		result = HTTP1_BAD;
	}
	if (result == HTTP1_MORE)
		return;
	if (result == HTTP1_BAD) {
		refuse_early(d, &err);
		return;
	}
	d->has_head = true;
	keep_early(d, data + used, len - used);
	d->events->on_request(d->owner, d, http1_head(d->parser));
}

static void
on_open(void *owner)
{
	struct door *d = owner;

	stream_start(d->stream);
}

static void
on_data(void *owner, uint8_t *data, size_t len)
{
	struct door *d = owner;

	if (d->phase == HEAD && !d->has_head) {
		read_head(d, data, len);
	} else if (d->phase == WAITING) {
		keep_early(d, data, len);
	} else if (d->phase == LINGER) {
		d->linger_bytes += len;
		if (d->linger_bytes > LINGER_BYTES_MAX)
			report_closed(d);
	}
}

static void
on_end(void *owner)
{
	struct door *d = owner;
	struct err err;

	if (d->phase == LINGER) {
		report_closed(d);
		return;
	}
	err_set(&err, ERR_RESET, "the client has gone");
	report(d, &err);
}

/* What we write is small. */
static void
on_drain(void *owner)
{
	(void)owner;
}

static void
on_error(void *owner, const struct err *err)
{
	struct door *d = owner;

	if (d->phase == LINGER)
		report_closed(d);
	else
		report(d, err);
}

/* --- refusing --- */

static void
print_time(char *out, size_t size, int64_t now_s)
{
	time_t t = (time_t)now_s;
	struct tm tm;

	gmtime_r(&t, &tm);
	snprintf(out, size, "%04d-%02d-%02dT%02d:%02d:%02d", tm.tm_year + 1900,
	    tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

/* RFC 9110, 5.6.7; strftime would speak the user's language. */
static void
print_date(char *out, size_t size, int64_t now_s)
{
	static const char days[] = "SunMonTueWedThuFriSat";
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	time_t t = (time_t)now_s;
	struct tm tm;

	gmtime_r(&t, &tm);
	snprintf(out, size, "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT",
	    days + 3 * tm.tm_wday, tm.tm_mday, months + 3 * tm.tm_mon,
	    tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

void
door_print_reason(char *out, size_t size, const char *text, const char *id,
    const char *system, int64_t now_s)
{
	char when[64];

	print_time(when, sizeof when, now_s);
	snprintf(out, size,
	    "%s. TrackingId:%s_G0, SystemTracker:%s, Timestamp:%s", text, id,
	    system, when);
}

/* One line of ASCII, whatever somebody wrote. */
static void
clean(char *text)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c < 0x20 || c == 0x7f)
			*text = ' ';
		else if (c > 0x7f)
			*text = '?';
	}
}

static struct http1_field
field(const char *name, const char *value)
{
	/* Building only reads them; the struct serves the parser too. */
	return (struct http1_field){
	    (char *)(uintptr_t)name, (char *)(uintptr_t)value};
}

static void
build_answer(struct door *d, const struct door_refusal *r)
{
	int64_t now_s = (int64_t)time(NULL);
	char reason[REASON_MAX];
	char date[64];
	char length[32];
	struct http1_field fields[6] = {
	    field("Date", date),
	    field("Connection", "close"),
	    field("Content-Length", length),
	    field("Content-Type", "text/plain; charset=utf-8"),
	};
	size_t n = 4;

	if (r->system)
		door_print_reason(reason, sizeof reason, r->text, d->info.id,
		    r->system, now_s);
	else
		snprintf(reason, sizeof reason, "%s", r->text);
	clean(reason);
	print_date(date, sizeof date, now_s);
	snprintf(length, sizeof length, "%zu", strlen(reason) + 1);
	if (r->status == 426) {
		fields[n++] = field("Upgrade", "websocket");
		fields[n++] = field("Sec-WebSocket-Version", "13");
	}
	/* Without a word of anybody's the standard phrase is said. */
	http1_build_response(
	    &d->answer, r->status, *reason ? reason : NULL, fields, n, NULL);
	if (!r->method || strcmp(r->method, "HEAD") != 0) {
		buf_append_text(&d->answer, reason);
		buf_append_text(&d->answer, "\n");
	}
}

void
door_refuse(struct door *d, const struct door_refusal *r)
{
	assert(d->phase == HEAD || d->phase == WAITING);
	build_answer(d, r);
	d->phase = REFUSING;
	free(d->early);
	d->early = NULL;
	http1_parser_free(d->parser);
	d->parser = NULL;
	stream_stop(d->stream);
	if (r->delay_ms > 0)
		timer_set(&d->timer, r->delay_ms);
	else
		start_linger(d);
}

/* --- life --- */

struct door *
door_open(struct loop *l, struct stream *s, const struct addr *peer,
    struct tls_context *tls, const struct relay_limits *limits,
    const struct door_events *events, void *owner)
{
	struct door *d = mem_zalloc(sizeof *d);

	list_init(&d->info.link);
	d->info.peer = *peer;
	d->info.start_ms = loop_now_ms(l);
	crypt_uuid(d->info.id);
	d->loop = l;
	d->limits = limits;
	d->events = events;
	d->owner = owner;
	d->parser = http1_parser_new(HTTP1_REQUEST);
	buf_init(&d->answer, 16 * 1024);
	timer_init(&d->timer, l, on_due, d);
	timer_set(&d->timer, limits->handshake_ms);
	d->stream = tls ? tls_server(tls, s) : s;
	stream_set_owner(d->stream, &stream_events, d);
	stream_start(d->stream);
	return d;
}

struct door_info *
door_info(struct door *d)
{
	return &d->info;
}

struct door *
door_of(struct door_info *info)
{
	return LIST_OF(info, struct door, info);
}

const struct http1_head *
door_head(const struct door *d)
{
	return http1_head(d->parser);
}

void
door_wait(struct door *d)
{
	assert(d->phase == HEAD);
	d->phase = WAITING;
	timer_clear(&d->timer);
	if (!d->early)
		stream_start(d->stream);
}

static void
free_door(void *object)
{
	struct door *d = object;

	http1_parser_free(d->parser);
	free(d->early);
	buf_fini(&d->answer);
	free(d);
}

static void
bury(struct door *d)
{
	assert(!d->is_closing);
	d->is_closing = true;
	d->has_ended = true;
	timer_clear(&d->timer);
	loop_bury(d->loop, d, free_door);
}

struct stream *
door_take(struct door *d, uint8_t **early, size_t *early_len)
{
	struct stream *s = d->stream;

	stream_stop(s);
	stream_set_owner(s, NULL, NULL);
	*early = d->early;
	*early_len = d->early_len;
	d->early = NULL;
	bury(d);
	return s;
}

void
door_close(struct door *d)
{
	stream_close(d->stream);
	bury(d);
}

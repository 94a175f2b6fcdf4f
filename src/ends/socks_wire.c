/* SPDX-License-Identifier: MIT
 *
 * SOCKS and HTTP CONNECT as ladders over a view: each rung looks whether its
 * bytes are there and returns MORE if not, so that every step is parsed from
 * its start and nothing needs to be remembered but the stage.
 */
#include "ends/socks_wire.h"

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "net/http1.h"
#include "util/err.h"
#include "util/text.h"

#define V4 4
#define V5 5

/* Lengths are a byte in SOCKS 5; in SOCKS 4 we set the bound. */
#define WORD_MAX 255

enum {
	STAGE_START,
	STAGE_LOGIN,   /* SOCKS 5: user and password */
	STAGE_REQUEST, /* SOCKS 5 */
};

/* RFC 1928, section 6. */
enum {
	REPLY_GOOD,
	REPLY_FAILURE,
	REPLY_DENIED,
	REPLY_NO_NETWORK,
	REPLY_NO_HOST,
	REPLY_REFUSED,
	REPLY_EXPIRED,
	REPLY_COMMAND,
	REPLY_ADDRESS,
};

enum { ADDRESS_IP4 = 1, ADDRESS_NAME = 3, ADDRESS_IP6 = 4 };

enum { METHOD_NONE = 0, METHOD_PASSWORD = 2, METHOD_REFUSED = 0xff };

enum { SOCKS4_GOOD = 90, SOCKS4_FAILED = 91 };

void
socks_wire_init(struct socks_wire *w)
{
	*w = (struct socks_wire){.kind = SOCKS_WIRE_NONE};
}

static enum socks_wire_result
bad(struct err *e, const char *what)
{
	err_set(e, ERR_PROTOCOL, "the application's request: %s", what);
	return SOCKS_WIRE_BAD;
}

static void
put_reply(struct socks_wire *w, const void *bytes, size_t n)
{
	memcpy(w->reply, bytes, n);
	w->reply_len = n;
}

static uint16_t
port_at(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

/* --- SOCKS 4 and 4a --- */

static void
answer_4(struct socks_wire *w, bool good)
{
	const uint8_t reply[8] = {
	    0, good ? SOCKS4_GOOD : SOCKS4_FAILED, 0, 0, 0, 0, 0, 0};

	put_reply(w, reply, sizeof(reply));
}

static enum socks_wire_result
bad_4(struct socks_wire *w, struct err *e, const char *what)
{
	answer_4(w, false);
	return bad(e, what);
}

/* A text that NUL ends, from data[*at] on. */
static enum socks_wire_result
take_text(const uint8_t *data, size_t n, size_t *at, const char **text)
{
	const uint8_t *start = data + *at;
	size_t room = n - *at < WORD_MAX + 1 ? n - *at : WORD_MAX + 1;
	const uint8_t *nul = memchr(start, '\0', room);

	if (nul == NULL)
		return room > WORD_MAX ? SOCKS_WIRE_BAD : SOCKS_WIRE_MORE;
	*text = (const char *)start;
	*at = (size_t)(nul + 1 - data);
	return SOCKS_WIRE_DONE;
}

static enum socks_wire_result
read_4(struct socks_wire *w, const uint8_t *data, size_t n, size_t *used,
    struct err *e)
{
	const char *user, *name;
	enum socks_wire_result r;
	size_t at = 8;

	if (n < at)
		return SOCKS_WIRE_MORE;
	if (data[1] != 1)
		return bad_4(w, e, "SOCKS 4 with another command than CONNECT");
	r = take_text(data, n, &at, &user);
	if (r == SOCKS_WIRE_BAD)
		return bad_4(w, e, "SOCKS 4 with an endless user");
	if (r == SOCKS_WIRE_MORE)
		return r;
	w->target.port = port_at(data + 2);
	/* 4a: 0.0.0.x says that a name follows. */
	if (data[4] == 0 && data[5] == 0 && data[6] == 0 && data[7] != 0) {
		r = take_text(data, n, &at, &name);
		if (r == SOCKS_WIRE_MORE)
			return r;
		if (r == SOCKS_WIRE_BAD || !host_is_valid(name))
			return bad_4(w, e, "SOCKS 4a with a name that is none");
		memcpy(w->target.host, name, strlen(name) + 1);
	} else {
		(void)snprintf(w->target.host, sizeof(w->target.host),
		    "%u.%u.%u.%u", data[4], data[5], data[6], data[7]);
	}
	if (w->target.port == 0)
		return bad_4(w, e, "SOCKS 4 with port 0");
	w->command = SOCKS_WIRE_CONNECT;
	*used = at;
	return SOCKS_WIRE_DONE;
}

/* --- SOCKS 5 --- */

/* A type, an address and a port; *len: how much of data they are. */
static enum socks_wire_result
take_address(const uint8_t *data, size_t n, struct hostport *to, size_t *len)
{
	struct addr a;
	char text[ADDR_TEXT_MAX];
	size_t host_len;

	if (n < 2)
		return SOCKS_WIRE_MORE;
	switch (data[0]) {
	case ADDRESS_IP4:
		host_len = 4;
		break;
	case ADDRESS_IP6:
		host_len = 16;
		break;
	case ADDRESS_NAME:
		host_len = 1 + (size_t)data[1];
		break;
	default:
		return SOCKS_WIRE_BAD;
	}
	*len = 1 + host_len + 2;
	if (n < *len)
		return SOCKS_WIRE_MORE;
	to->port = port_at(data + 1 + host_len);
	if (data[0] == ADDRESS_NAME) {
		if (host_len == 1 || memchr(data + 2, '\0', host_len - 1))
			return SOCKS_WIRE_BAD;
		memcpy(to->host, data + 2, host_len - 1);
		to->host[host_len - 1] = '\0';
		return host_is_valid(to->host) ? SOCKS_WIRE_DONE
		                               : SOCKS_WIRE_BAD;
	}
	if (data[0] == ADDRESS_IP4) {
		struct sockaddr_in in = {.sin_family = AF_INET};

		memcpy(&in.sin_addr, data + 1, 4);
		addr_from_sockaddr(&a, (struct sockaddr *)&in, sizeof(in));
	} else {
		struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};

		memcpy(&in6.sin6_addr, data + 1, 16);
		addr_from_sockaddr(&a, (struct sockaddr *)&in6, sizeof(in6));
	}
	addr_print_ip(&a, text);
	memcpy(to->host, text, strlen(text) + 1);
	return SOCKS_WIRE_DONE;
}

/* Type, address and port of a hostport; returns their length. */
static size_t
put_address(const struct hostport *h, uint8_t *out)
{
	struct addr a;
	size_t n = strlen(h->host);

	if (!addr_from_ip(&a, h->host, 0)) {
		out[0] = ADDRESS_NAME;
		out[1] = (uint8_t)n;
		memcpy(out + 2, h->host, n);
		n += 2;
	} else if (a.sa.ss_family == AF_INET) {
		out[0] = ADDRESS_IP4;
		memcpy(out + 1, &((struct sockaddr_in *)&a.sa)->sin_addr, 4);
		n = 5;
	} else {
		out[0] = ADDRESS_IP6;
		memcpy(out + 1, &((struct sockaddr_in6 *)&a.sa)->sin6_addr, 16);
		n = 17;
	}
	out[n] = (uint8_t)(h->port >> 8);
	out[n + 1] = (uint8_t)h->port;
	return n + 2;
}

static void
answer_5(struct socks_wire *w, uint8_t code, const struct addr *bound)
{
	struct hostport at = {.host = "0.0.0.0"};
	char text[ADDR_TEXT_MAX];

	if (bound != NULL && !addr_is_unix(bound)) {
		addr_print_ip(bound, text);
		memcpy(at.host, text, strlen(text) + 1);
		at.port = addr_port(bound);
	}
	w->reply[0] = V5;
	w->reply[1] = code;
	w->reply[2] = 0;
	w->reply_len = 3 + put_address(&at, w->reply + 3);
}

static enum socks_wire_result
bad_5(struct socks_wire *w, uint8_t code, struct err *e, const char *what)
{
	answer_5(w, code, NULL);
	return bad(e, what);
}

/* Prefers the way without a login. */
static enum socks_wire_result
read_methods(struct socks_wire *w, const uint8_t *data, size_t n, size_t *used,
    struct err *e)
{
	uint8_t reply[2] = {V5, METHOD_REFUSED};
	size_t count;

	if (n < 2 || n < 2 + (size_t)data[1])
		return SOCKS_WIRE_MORE;
	count = data[1];
	if (memchr(data + 2, METHOD_NONE, count) != NULL) {
		reply[1] = METHOD_NONE;
		w->stage = STAGE_REQUEST;
	} else if (memchr(data + 2, METHOD_PASSWORD, count) != NULL) {
		reply[1] = METHOD_PASSWORD;
		w->stage = STAGE_LOGIN;
	}
	put_reply(w, reply, sizeof(reply));
	if (reply[1] == METHOD_REFUSED)
		return bad(e,
		    "SOCKS 5 with a login other than none or user and "
		    "password");
	*used = 2 + count;
	return SOCKS_WIRE_STEP;
}

/* RFC 1929. Everybody who reaches the port may use it, whatever he says. */
static enum socks_wire_result
read_login(struct socks_wire *w, const uint8_t *data, size_t n, size_t *used,
    struct err *e)
{
	static const uint8_t good[2] = {1, 0};
	size_t user, password;

	if (n < 2)
		return SOCKS_WIRE_MORE;
	if (data[0] != 1)
		return bad(e, "SOCKS 5 with an unknown version of login");
	user = data[1];
	if (n < 2 + user + 1)
		return SOCKS_WIRE_MORE;
	password = data[2 + user];
	if (n < 2 + user + 1 + password)
		return SOCKS_WIRE_MORE;
	put_reply(w, good, sizeof(good));
	w->stage = STAGE_REQUEST;
	*used = 2 + user + 1 + password;
	return SOCKS_WIRE_STEP;
}

static enum socks_wire_result
read_request(struct socks_wire *w, const uint8_t *data, size_t n, size_t *used,
    struct err *e)
{
	size_t len;

	if (n < 4)
		return SOCKS_WIRE_MORE;
	if (data[0] != V5)
		return bad_5(
		    w, REPLY_FAILURE, e, "SOCKS 5 that changes its version");
	if (data[1] != 1 && data[1] != 3)
		return bad_5(w, REPLY_COMMAND, e,
		    "SOCKS 5 with another command than CONNECT and UDP "
		    "ASSOCIATE");
	switch (take_address(data + 3, n - 3, &w->target, &len)) {
	case SOCKS_WIRE_MORE:
		return SOCKS_WIRE_MORE;
	case SOCKS_WIRE_BAD:
		return bad_5(w,
		    data[3] == ADDRESS_NAME ? REPLY_FAILURE : REPLY_ADDRESS, e,
		    "SOCKS 5 with a destination that is none");
	default:
		break;
	}
	w->command = data[1] == 1 ? SOCKS_WIRE_CONNECT : SOCKS_WIRE_UDP;
	if (w->command == SOCKS_WIRE_CONNECT && w->target.port == 0)
		return bad_5(w, REPLY_FAILURE, e, "SOCKS 5 with port 0");
	*used = 3 + len;
	return SOCKS_WIRE_DONE;
}

static enum socks_wire_result
read_5(struct socks_wire *w, const uint8_t *data, size_t n, size_t *used,
    struct err *e)
{
	switch (w->stage) {
	case STAGE_START:
		return read_methods(w, data, n, used, e);
	case STAGE_LOGIN:
		return read_login(w, data, n, used, e);
	default:
		return read_request(w, data, n, used, e);
	}
}

/* --- HTTP CONNECT --- */

static void
answer_http(
    struct socks_wire *w, int status, const char *more, const char *text)
{
	int n = snprintf((char *)w->reply, sizeof(w->reply),
	    "HTTP/1.1 %d %s\r\n%s"
	    "Content-Type: text/plain\r\nContent-Length: %zu\r\n"
	    "Connection: close\r\n\r\n%s\n",
	    status, http1_reason(status), more, strlen(text) + 1, text);

	w->reply_len =
	    (size_t)n < sizeof(w->reply) ? (size_t)n : sizeof(w->reply) - 1;
}

static enum socks_wire_result
bad_http(struct socks_wire *w, int status, struct err *e, const char *what)
{
	answer_http(w, status, status == 405 ? "Allow: CONNECT\r\n" : "", what);
	return bad(e, what);
}

static enum socks_wire_result
judge_head(struct socks_wire *w, const struct http1_head *h, struct err *e)
{
	if (strcmp(h->method, "CONNECT") != 0)
		return bad_http(w, 405, e,
		    "HTTP with another method than CONNECT; this is a proxy "
		    "for CONNECT and SOCKS only");
	if (!hostport_parse(&w->target, h->target, 0, NULL) ||
	    w->target.port == 0)
		return bad_http(w, 400, e,
		    "HTTP CONNECT to something that is not HOST:PORT");
	w->command = SOCKS_WIRE_CONNECT;
	return SOCKS_WIRE_DONE;
}

/* The end of the head: behind the first empty line. */
static size_t
head_len(const uint8_t *data, size_t n)
{
	const uint8_t *end = memmem(data, n, "\r\n\r\n", 4);

	return end != NULL ? (size_t)(end + 4 - data) : 0;
}

static enum socks_wire_result
read_http(struct socks_wire *w, const uint8_t *data, size_t n, size_t *used,
    struct err *e)
{
	size_t len = head_len(data, n), parsed;
	struct http1_parser *p;
	enum socks_wire_result r;

	if (len == 0)
		return SOCKS_WIRE_MORE;
	p = http1_parser_new(HTTP1_REQUEST);
	if (http1_parse_head(p, data, len, &parsed, NULL) != HTTP1_DONE ||
	    parsed != len)
		r = bad_http(w, 400, e, "neither SOCKS nor HTTP");
	else
		r = judge_head(w, http1_head(p), e);
	http1_parser_free(p);
	*used = len;
	return r;
}

/* --- all of them --- */

static enum socks_wire_kind
kind_of(uint8_t first)
{
	if (first == V4)
		return SOCKS_WIRE_4;
	if (first == V5)
		return SOCKS_WIRE_5;
	if (first >= 'A' && first <= 'Z')
		return SOCKS_WIRE_HTTP;
	return SOCKS_WIRE_NONE;
}

static enum socks_wire_result
read_step(struct socks_wire *w, const uint8_t *data, size_t n, size_t *used,
    struct err *e)
{
	switch (w->kind) {
	case SOCKS_WIRE_4:
		return read_4(w, data, n, used, e);
	case SOCKS_WIRE_5:
		return read_5(w, data, n, used, e);
	case SOCKS_WIRE_HTTP:
		return read_http(w, data, n, used, e);
	default:
		return bad(e, data[0] == 0x16 ? "TLS; SOCKS and HTTP CONNECT "
		                                "are spoken plainly here"
		                              : "neither SOCKS nor HTTP");
	}
}

enum socks_wire_result
socks_wire_read(struct socks_wire *w, const uint8_t *data, size_t n,
    size_t *used, struct err *e)
{
	enum socks_wire_result r;

	*used = 0;
	w->reply_len = 0;
	if (n == 0)
		return SOCKS_WIRE_MORE;
	if (w->kind == SOCKS_WIRE_NONE)
		w->kind = kind_of(data[0]);
	r = read_step(w, data,
	    n < SOCKS_WIRE_STEP_MAX ? n : SOCKS_WIRE_STEP_MAX, used, e);
	if (r == SOCKS_WIRE_MORE && n >= SOCKS_WIRE_STEP_MAX) {
		answer_http(w, 431, "", "the head is too long");
		err_set(e, ERR_TOO_BIG,
		    "the application's request: more than %d bytes of head",
		    SOCKS_WIRE_STEP_MAX);
		r = SOCKS_WIRE_BAD;
	}
	if (r == SOCKS_WIRE_BAD)
		*used = 0;
	return r;
}

uint8_t
socks_wire_code(const struct err *err)
{
	switch (err->code) {
	case ERR_DENIED:
	case ERR_AUTH:
		return REPLY_DENIED;
	case ERR_UNREACHABLE:
	case ERR_NOT_FOUND:
	case ERR_TIMEOUT:
		return REPLY_NO_HOST;
	case ERR_REFUSED:
		return REPLY_REFUSED;
	default:
		return REPLY_FAILURE;
	}
}

/* A status that the other end gave stays, unless the application would take it
 * for a word about its own request. */
int
socks_wire_status(const struct err *err)
{
	if (err->http_status == 403 ||
	    (err->http_status >= 500 && err->http_status <= 599))
		return err->http_status;
	switch (err->code) {
	case ERR_DENIED:
	case ERR_AUTH:
		return 403;
	case ERR_TIMEOUT:
		return 504;
	case ERR_TOO_BIG:
		return 503;
	default:
		return 502;
	}
}

void
socks_wire_answer(
    struct socks_wire *w, const struct err *err, const struct addr *bound)
{
	static const char good[] =
	    "HTTP/1.1 200 Connection established\r\n\r\n";
	char text[ERR_TEXT_MAX];

	switch (w->kind) {
	case SOCKS_WIRE_4:
		answer_4(w, err == NULL);
		break;
	case SOCKS_WIRE_5:
		answer_5(
		    w, err == NULL ? REPLY_GOOD : socks_wire_code(err), bound);
		break;
	default:
		if (err == NULL) {
			put_reply(w, good, sizeof(good) - 1);
			break;
		}
		text_escape(err->text, strlen(err->text), text, sizeof(text));
		answer_http(w, socks_wire_status(err), "", text);
	}
}

bool
socks_wire_parse_udp(
    const uint8_t *data, size_t n, struct hostport *target, size_t *out_len)
{
	size_t len;

	if (n < 4 || data[0] != 0 || data[1] != 0 || data[2] != 0 ||
	    take_address(data + 3, n - 3, target, &len) != SOCKS_WIRE_DONE ||
	    target->port == 0)
		return false;
	*out_len = 3 + len;
	return true;
}

size_t
socks_wire_build_udp(
    const struct hostport *from, uint8_t out[SOCKS_WIRE_UDP_HEAD_MAX])
{
	memset(out, 0, 3);
	return 3 + put_address(from, out + 3);
}

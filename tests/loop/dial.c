/* SPDX-License-Identifier: MIT
 *
 * Dialling a TLS or plain server on loopback: straight, and through small HTTP
 * and SOCKS5 proxies that run in a thread of their own and connect to
 * 127.0.0.1 whatever name they are asked for.
 */
#include "net/dial.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/loop.h"
#include "net/sock.h"
#include "net/stream.h"
#include "net/tls.h"
#include "util/err.h"
#include "util/mem.h"

#define TURNS_MAX 100000

/* "user:secret" */
#define BASIC "Basic dXNlcjpzZWNyZXQ="

static char dir[] = "/tmp/hyco-dial-XXXXXX";
static char ca_file[64], cert_file[64], key_file[64];
static struct tls_context *server_context, *client_context;

static int
listen_on_loopback(uint16_t *port)
{
	struct sockaddr_in a = {
	    .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
	assert_int_equal(listen(fd, 64), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	*port = ntohs(a.sin_port);
	return fd;
}

static struct hostport
at(const char *host, uint16_t port)
{
	struct hostport h = {.port = port};

	snprintf(h.host, sizeof(h.host), "%s", host);
	return h;
}

/* --- the proxy, in a thread --- */

enum proxy_mode {
	PROXY_HTTP,
	PROXY_HTTP_BASIC,
	PROXY_HTTP_DENY,
	PROXY_HTTP_SILENT,
	PROXY_SOCKS,
	PROXY_SOCKS_REFUSED,
	PROXY_SOCKS_LOGIN,
};

struct proxy {
	enum proxy_mode mode;
	int fd;
	uint16_t port;
	pthread_t thread;
	atomic_int connected; /* how many tunnels it made */
	char asked_for[300];  /* host:port of the last one */
};

static bool
read_exactly(int fd, void *data, size_t len)
{
	uint8_t *to = data;

	while (len > 0) {
		ssize_t n = read(fd, to, len);

		if (n <= 0)
			return false;
		to += n;
		len -= (size_t)n;
	}
	return true;
}

static bool
say(int fd, const void *data, size_t len)
{
	return send(fd, data, len, MSG_NOSIGNAL) == (ssize_t)len;
}

static int
connect_to(uint16_t port)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
	    .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	    .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static void
forward(int a, int b)
{
	struct pollfd fds[2] = {
	    {.fd = a, .events = POLLIN}, {.fd = b, .events = POLLIN}};
	char data[4096];

	while (poll(fds, 2, -1) > 0)
		for (int i = 0; i < 2; i++) {
			ssize_t n;

			if (fds[i].revents == 0)
				continue;
			n = read(fds[i].fd, data, sizeof(data));
			if (n <= 0 || !say(fds[1 - i].fd, data, (size_t)n))
				return;
		}
}

/* Reads a head; false when the client went away. */
static bool
read_http(int fd, char *head, size_t size)
{
	size_t n = 0;

	while (n + 1 < size && read_exactly(fd, head + n, 1)) {
		head[++n] = '\0';
		if (n >= 4 && strcmp(head + n - 4, "\r\n\r\n") == 0)
			return true;
	}
	return false;
}

/* The port asked for, or 0 when there is no tunnel to be made. */
static unsigned
greet_http(struct proxy *p, int fd)
{
	static const char want[] = "HTTP/1.1 407 Login\r\n"
	                           "Proxy-Authenticate: Basic realm=\"x\"\r\n"
	                           "Content-Length: 0\r\n\r\n";
	static const char deny[] = "HTTP/1.1 403 Forbidden\r\n"
	                           "Content-Length: 0\r\n\r\n";
	static const char ok[] = "HTTP/1.1 200 Connected\r\n\r\n";
	char head[4096];
	const char *colon;

	while (read_http(fd, head, sizeof(head))) {
		if (sscanf(head, "CONNECT %255s HTTP/1.1", p->asked_for) != 1)
			return 0;
		colon = strrchr(p->asked_for, ':');
		if (p->mode == PROXY_HTTP_SILENT)
			continue;
		if (p->mode == PROXY_HTTP_DENY) {
			say(fd, deny, sizeof(deny) - 1);
			return 0;
		}
		if (p->mode == PROXY_HTTP_BASIC &&
		    strstr(head, "Proxy-Authorization: " BASIC "\r\n") ==
		        NULL) {
			say(fd, want, sizeof(want) - 1);
			continue;
		}
		say(fd, ok, sizeof(ok) - 1);
		return colon != NULL ? (unsigned)atoi(colon + 1) : 0;
	}
	return 0;
}

static unsigned
greet_socks(struct proxy *p, int fd)
{
	static const uint8_t good[10] = {5, 0, 0, 1};
	static const uint8_t refused[10] = {5, 5, 0, 1};
	uint8_t b[512];

	if (!read_exactly(fd, b, 2) || !read_exactly(fd, b + 2, b[1]))
		return 0;
	if (p->mode == PROXY_SOCKS_LOGIN) {
		if (memchr(b + 2, 2, b[1]) == NULL) {
			say(fd, "\x05\xff", 2);
			return 0;
		}
		say(fd, "\x05\x02", 2);
		if (!read_exactly(fd, b, 2) || !read_exactly(fd, b + 2, b[1]) ||
		    memcmp(b + 2, "user", 4) != 0 || !read_exactly(fd, b, 1) ||
		    !read_exactly(fd, b + 1, b[0]))
			return 0;
		say(fd, memcmp(b + 1, "secret", 6) == 0 ? "\1\0" : "\1\1", 2);
	} else {
		say(fd, "\x05\x00", 2);
	}
	if (!read_exactly(fd, b, 5) || b[3] != 3 ||
	    !read_exactly(fd, b + 5, b[4] + 2u))
		return 0;
	snprintf(p->asked_for, sizeof(p->asked_for), "%.*s:%u", b[4], b + 5,
	    b[5 + b[4]] << 8 | b[6 + b[4]]);
	if (p->mode == PROXY_SOCKS_REFUSED) {
		say(fd, refused, sizeof(refused));
		return 0;
	}
	say(fd, good, sizeof(good));
	return (unsigned)(b[5 + b[4]] << 8 | b[6 + b[4]]);
}

static void *
run_proxy(void *arg)
{
	struct proxy *p = arg;
	int fd;

	while ((fd = accept(p->fd, NULL, NULL)) >= 0) {
		unsigned port = p->mode >= PROXY_SOCKS ? greet_socks(p, fd)
		                                       : greet_http(p, fd);
		int target = port > 0 ? connect_to((uint16_t)port) : -1;

		if (target >= 0) {
			atomic_fetch_add(&p->connected, 1);
			forward(fd, target);
			close(target);
		}
		close(fd);
	}
	return NULL;
}

static void
proxy_start(struct proxy *p, enum proxy_mode mode)
{
	*p = (struct proxy){.mode = mode};
	p->fd = listen_on_loopback(&p->port);
	assert_int_equal(pthread_create(&p->thread, NULL, run_proxy, p), 0);
}

/* Every dial through it must be over. */
static void
proxy_stop(struct proxy *p)
{
	shutdown(p->fd, SHUT_RDWR);
	pthread_join(p->thread, NULL);
	close(p->fd);
}

/* --- the server, on the loop: says hello to everybody --- */

struct server {
	struct loop *loop;
	bool tls;
	int fd;
	uint16_t port;
	struct watch *watch;
	struct stream *streams[256];
	size_t n;
};

static void
on_nothing(void *owner)
{
	(void)owner;
}

static void
on_ignored(void *owner, uint8_t *data, size_t len)
{
	(void)owner, (void)data, (void)len;
}

static void
on_ignored_error(void *owner, const struct err *err)
{
	(void)owner, (void)err;
}

static const struct stream_events server_events = {
    .on_open = on_nothing,
    .on_data = on_ignored,
    .on_end = on_nothing,
    .on_drain = on_nothing,
    .on_error = on_ignored_error,
};

static void
on_connection(void *owner)
{
	struct server *v = owner;
	int fd = accept4(v->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct stream *s;
	struct err e;

	if (fd < 0)
		return;
	s = sock_open(v->loop, fd, &e);
	assert_non_null(s);
	if (v->tls)
		s = tls_server(server_context, s);
	stream_set_owner(s, &server_events, v);
	stream_start(s);
	stream_put(s, "hello", 5);
	assert_true(v->n < 256);
	v->streams[v->n++] = s;
}

static void
server_start(struct server *v, struct loop *l, bool tls)
{
	struct err e;

	*v = (struct server){.loop = l, .tls = tls};
	v->fd = listen_on_loopback(&v->port);
	assert_int_equal(fcntl(v->fd, F_SETFL, O_NONBLOCK), 0);
	v->watch = watch_open(l, v->fd, on_connection, v, &e);
	assert_non_null(v->watch);
}

static void
server_stop(struct server *v)
{
	watch_close(v->watch);
	close(v->fd);
	while (v->n > 0)
		stream_close(v->streams[--v->n]);
}

/* --- the dialling side --- */

struct guest {
	struct dial *dial;
	struct stream *s;
	char heard[16];
	size_t n;
	bool failed;
	bool close_at_once;
	struct err err;
};

static void
on_heard(void *owner, uint8_t *data, size_t len)
{
	struct guest *g = owner;

	assert_true(g->n + len < sizeof(g->heard));
	memcpy(g->heard + g->n, data, len);
	g->n += len;
}

static const struct stream_events guest_events = {
    .on_data = on_heard,
    .on_end = on_nothing,
    .on_drain = on_nothing,
    .on_error = on_ignored_error,
};

static void
on_open(void *owner, struct stream *s)
{
	struct guest *g = owner;

	assert_true(g->s == NULL && !g->failed && g->dial != NULL);
	if (g->close_at_once) {
		dial_close(g->dial);
		g->dial = NULL;
		stream_close(s);
		return;
	}
	g->s = s;
	stream_set_owner(s, &guest_events, g);
	stream_start(s);
}

static void
on_error(void *owner, const struct err *err)
{
	struct guest *g = owner;

	assert_true(g->s == NULL && !g->failed && g->dial != NULL);
	g->failed = true;
	g->err = *err;
	if (g->close_at_once) {
		dial_close(g->dial);
		g->dial = NULL;
	}
}

static const struct dial_events dial_events = {
    .on_open = on_open,
    .on_error = on_error,
};

static void
guest_open(struct guest *g, struct dialer *d, const char *host, uint16_t port)
{
	struct hostport to = at(host, port);

	*g = (struct guest){.n = 0};
	g->dial = dial_open(d, &to, &dial_events, g);
}

static void
guest_close(struct guest *g)
{
	if (g->dial != NULL)
		dial_close(g->dial);
	if (g->s != NULL)
		stream_close(g->s);
	g->dial = NULL;
	g->s = NULL;
}

/* --- the stage --- */

#define RUN_UNTIL(l, condition)                                                \
	do {                                                                   \
		int turns_ = 0;                                                \
		while (!(condition)) {                                         \
			if (turns_++ == TURNS_MAX)                             \
				fail_msg("never: %s", #condition);             \
			loop_turn(l, true);                                    \
		}                                                              \
	} while (0)

static struct loop *
new_loop(void)
{
	struct err e;
	struct loop *l = loop_new(&e);

	assert_non_null(l);
	return l;
}

static struct dialer *
new_dialer(struct loop *l, bool tls, const char *proxy, uint64_t timeout_ms)
{
	struct err e = {0};
	struct dialer *d = dialer_new(l,
	    &(struct dialer_options){.tls = tls ? client_context : NULL,
	        .proxy = proxy,
	        .timeout_ms = timeout_ms},
	    &e);

	if (d == NULL)
		fail_msg("%s", e.text);
	return d;
}

static int
count_fds(void)
{
	DIR *f = opendir("/proc/self/fd");
	int n = 0;

	assert_non_null(f);
	while (readdir(f) != NULL)
		n++;
	closedir(f);
	return n;
}

static void
clear_environment(void)
{
	static const char *const names[] = {"https_proxy", "HTTPS_PROXY",
	    "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy",
	    "NO_PROXY"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unsetenv(names[i]);
}

static int
set_up(void **state)
{
	static const char *const names[] = {
	    "localhost", "relay.example", "127.0.0.1", NULL};
	struct err e = {0};

	(void)state;
	clear_environment();
	if (mkdtemp(dir) == NULL)
		return -1;
	snprintf(ca_file, sizeof(ca_file), "%s/ca", dir);
	snprintf(cert_file, sizeof(cert_file), "%s/cert", dir);
	snprintf(key_file, sizeof(key_file), "%s/key", dir);
	if (!tls_make_certificate(&(struct tls_make_options){ca_file, cert_file,
	                              key_file, names, 2},
	        &e))
		return -1;
	server_context = tls_context_server(
	    &(struct tls_server_options){cert_file, key_file}, &e);
	client_context =
	    tls_context_client(&(struct tls_client_options){.ca_file = ca_file,
	                           .no_system_ca = true},
	        &e);
	return server_context != NULL && client_context != NULL ? 0 : -1;
}

static int
tear_down(void **state)
{
	(void)state;
	tls_context_unref(client_context);
	tls_context_unref(server_context);
	unlink(ca_file);
	unlink(cert_file);
	unlink(key_file);
	return rmdir(dir);
}

/* --- tests --- */

static void
heard_hello(struct loop *l, struct guest *g)
{
	RUN_UNTIL(l, g->n == 5 || g->failed);
	if (g->failed)
		fail_msg("%s", g->err.text);
	assert_memory_equal(g->heard, "hello", 5);
}

static void
test_straight(void **state)
{
	int before = 0;

	(void)state;
	/* The first round warms up what stays open for good. */
	for (int round = 0; round < 2; round++) {
		for (int tls = 0; tls < 2; tls++) {
			struct loop *l = new_loop();
			struct dialer *d = new_dialer(l, tls, NULL, 0);
			struct server v;
			struct guest g;

			server_start(&v, l, tls);
			for (int i = 0; i < 3; i++) {
				guest_open(&g, d, i ? "127.0.0.1" : "localhost",
				    v.port);
				heard_hello(l, &g);
				if (tls)
					assert_int_equal(
					    tls_is_resumed(g.s), i == 2);
				assert_true(sock_is(stream_bottom(g.s)));
				guest_close(&g);
			}
			server_stop(&v);
			dialer_close(d);
			assert_true(loop_close(l));
		}
		if (round == 0)
			before = count_fds();
	}
	assert_int_equal(count_fds(), before);
}

static void
test_many(void **state)
{
	enum { MANY = 60 };
	struct loop *l = new_loop();
	struct dialer *d = new_dialer(l, true, NULL, 0);
	struct guest guests[MANY];
	struct server v;

	(void)state;
	server_start(&v, l, true);
	for (int i = 0; i < MANY; i++) {
		guest_open(&guests[i], d, "127.0.0.1", v.port);
		guests[i].close_at_once = i % 3 == 0;
	}
	for (int i = 0; i < MANY; i++) {
		if (i % 3 == 0)
			RUN_UNTIL(l, guests[i].dial == NULL);
		else
			heard_hello(l, &guests[i]);
		assert_false(guests[i].failed);
		guest_close(&guests[i]);
	}
	server_stop(&v);
	dialer_close(d);
	assert_true(loop_close(l));
}

static void
fails(const char *proxy, uint64_t timeout_ms, bool tls, const char *host,
    uint16_t port, enum err_code code, const char *word, const char *word2)
{
	struct loop *l = new_loop();
	struct dialer *d = new_dialer(l, tls, proxy, timeout_ms);
	struct guest g;

	guest_open(&g, d, host, port);
	assert_false(g.failed); /* not from inside the call */
	RUN_UNTIL(l, g.failed);
	if (g.err.code != code || strstr(g.err.text, word) == NULL ||
	    strstr(g.err.text, word2) == NULL)
		fail_msg("%s: %s", err_name(g.err.code), g.err.text);
	guest_close(&g);
	dialer_close(d);
	assert_true(loop_close(l));
}

/* A port where surely nobody listens. */
static uint16_t
dead_port(void)
{
	uint16_t port;

	close(listen_on_loopback(&port));
	return port;
}

static void
test_failures(void **state)
{
	uint16_t dead = dead_port();
	uint16_t silent;
	int fd = listen_on_loopback(&silent);
	char proxy[64];

	(void)state;
	fails("", 0, true, "127.0.0.1", dead, ERR_REFUSED,
	    "relay 127.0.0.1:", "connection refused");
	fails("", 0, true, "does-not-exist.invalid", 443, ERR_UNREACHABLE,
	    "relay name does-not-exist.invalid unknown", "DNS");
	fails("", 200, true, "127.0.0.1", silent, ERR_TIMEOUT, "relay TLS",
	    "no answer within 0.2 s");
	snprintf(proxy, sizeof(proxy), "http://127.0.0.1:%u", dead);
	fails(proxy, 0, true, "relay.example", 443, ERR_REFUSED,
	    "proxy 127.0.0.1:", "connection refused");
	snprintf(proxy, sizeof(proxy), "http://127.0.0.1:%u", silent);
	fails(proxy, 200, true, "relay.example", 443, ERR_TIMEOUT,
	    "proxy 127.0.0.1:", "relay relay.example:443");
	snprintf(proxy, sizeof(proxy), "socks5h://127.0.0.1:%u", silent);
	fails(proxy, 200, true, "relay.example", 443, ERR_TIMEOUT,
	    "proxy 127.0.0.1:", "within");
	fails("does-not-exist.invalid:3128", 0, true, "relay.example", 443,
	    ERR_UNREACHABLE, "proxy name does-not-exist.invalid unknown",
	    "DNS");
	close(fd);
}

static void
test_untrusted(void **state)
{
	struct loop *l = new_loop();
	struct dialer *d = new_dialer(l, true, "", 0);
	struct server v;
	struct guest g;

	(void)state;
	server_start(&v, l, true);
	guest_open(&g, d, "127.0.0.2", v.port);
	/* 127.0.0.2 reaches nobody who is bound to 127.0.0.1. */
	RUN_UNTIL(l, g.failed);
	assert_int_equal(g.err.code, ERR_REFUSED);
	guest_close(&g);
	server_stop(&v);
	server_start(&v, l, false);
	guest_open(&g, d, "127.0.0.1", v.port);
	RUN_UNTIL(l, g.failed);
	assert_int_equal(g.err.code, ERR_TLS);
	assert_non_null(strstr(g.err.text, "does not speak TLS"));
	guest_close(&g);
	server_stop(&v);
	dialer_close(d);
	assert_true(loop_close(l));
}

/* NULL word: it works, and the proxy saw the name. */
static void
through(enum proxy_mode mode, const char *format, bool tls, enum err_code code,
    const char *word)
{
	struct loop *l = new_loop();
	struct dialer *d;
	struct proxy p;
	struct server v;
	struct guest g;
	char url[128], asked[64];

	proxy_start(&p, mode);
	server_start(&v, l, tls);
	snprintf(url, sizeof(url), "%s127.0.0.1:%u", format, p.port);
	d = new_dialer(l, tls, url, 0);
	for (int i = 0; i < 2; i++) {
		guest_open(&g, d, "relay.example", v.port);
		if (word == NULL) {
			heard_hello(l, &g);
			if (tls)
				assert_int_equal(tls_is_resumed(g.s), i > 0);
			snprintf(
			    asked, sizeof(asked), "relay.example:%u", v.port);
			assert_string_equal(p.asked_for, asked);
		} else {
			RUN_UNTIL(l, g.failed);
			if (g.err.code != code ||
			    strstr(g.err.text, word) == NULL)
				fail_msg(
				    "%s: %s", err_name(g.err.code), g.err.text);
			assert_null(strstr(g.err.text, "secret"));
		}
		guest_close(&g);
	}
	server_stop(&v);
	dialer_close(d);
	assert_true(loop_close(l));
	proxy_stop(&p);
	assert_int_equal(p.connected, word == NULL ? 2 : 0);
}

static void
test_http_proxy(void **state)
{
	(void)state;
	through(PROXY_HTTP, "http://", true, 0, NULL);
	through(PROXY_HTTP, "", false, 0, NULL);
	through(PROXY_HTTP_BASIC, "http://user:secret@", true, 0, NULL);
	through(PROXY_HTTP_BASIC, "http://", true, ERR_AUTH, "wants a login");
	through(PROXY_HTTP_BASIC, "http://user:wrongsecret@", true, ERR_AUTH,
	    "refuses the login");
	through(PROXY_HTTP_DENY, "http://", true, ERR_REFUSED, "403");
}

static void
test_socks_proxy(void **state)
{
	(void)state;
	through(PROXY_SOCKS, "socks5h://", true, 0, NULL);
	through(PROXY_SOCKS_LOGIN, "socks5h://user:secret@", true, 0, NULL);
	through(PROXY_SOCKS_LOGIN, "socks5h://user:wrongsecret@", true,
	    ERR_AUTH, "refuses the login");
	through(
	    PROXY_SOCKS_LOGIN, "socks5h://", true, ERR_AUTH, "wants a login");
	through(PROXY_SOCKS_REFUSED, "socks5h://", true, ERR_REFUSED,
	    "connection refused, says proxy");
}

static void
test_proxy_syntax(void **state)
{
	static const struct {
		const char *url;
		const char *word;
	} rows[] = {
	    {"https://user:secret@proxy.example:443", "https://"},
	    {"ftp://proxy.example", "only http"},
	    {"http://", "address"},
	    {"http://a b", "address"},
	    {"http://proxy.example:99999", "address"},
	};
	struct loop *l = new_loop();

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct err e = {0};

		assert_null(dialer_new(
		    l, &(struct dialer_options){.proxy = rows[i].url}, &e));
		assert_int_equal(e.code, ERR_USAGE);
		if (strstr(e.text, rows[i].word) == NULL)
			fail_msg("%s", e.text);
		assert_null(strstr(e.text, "secret"));
	}
	assert_true(loop_close(l));
}

/* Whether a dial to 127.0.0.1 uses the dead proxy of the environment. */
static void
environment(const char *name, const char *no_proxy, bool used)
{
	struct loop *l = new_loop();
	struct dialer *d;
	struct server v;
	struct guest g;
	char proxy[64];

	snprintf(proxy, sizeof(proxy), "http://127.0.0.1:%u", dead_port());
	setenv(name, proxy, 1);
	if (no_proxy != NULL)
		setenv("NO_PROXY", no_proxy, 1);
	server_start(&v, l, false);
	d = new_dialer(l, false, NULL, 0);
	guest_open(&g, d, "127.0.0.1", v.port);
	RUN_UNTIL(l, g.failed || g.n == 5);
	if (g.failed != used)
		fail_msg("%s %s", name, no_proxy ? no_proxy : "");
	if (used)
		assert_non_null(strstr(g.err.text, "proxy 127.0.0.1"));
	guest_close(&g);
	dialer_close(d);
	/* Given ones win over the environment. */
	d = new_dialer(l, false, "", 0);
	guest_open(&g, d, "127.0.0.1", v.port);
	heard_hello(l, &g);
	guest_close(&g);
	dialer_close(d);
	server_stop(&v);
	assert_true(loop_close(l));
	clear_environment();
}

static void
test_environment(void **state)
{
	(void)state;
	environment("HTTPS_PROXY", NULL, true);
	environment("https_proxy", NULL, true);
	environment("ALL_PROXY", NULL, true);
	environment("all_proxy", NULL, true);
	environment("HTTP_PROXY", NULL, false);
	environment("https_proxy", "*", false);
	environment("https_proxy", "example.com, 127.0.0.1", false);
	environment("https_proxy", "10.0.0.0/8,127.0.0.0/8", false);
	environment("https_proxy", "127.0.0.2,example.com", true);
	environment("https_proxy", ".0.0.1", true);
}

/* Closed right away, and after each turn of a dial that works or fails. */
static void
test_close_anywhere(void **state)
{
	static const char *const hosts[] = {
	    "127.0.0.1", "localhost", "does-not-exist.invalid"};

	(void)state;
	for (int turns = 0; turns < 12; turns++) {
		struct loop *l = new_loop();
		struct dialer *d = new_dialer(l, true, "", 0);
		struct server v;
		struct guest g[3];

		server_start(&v, l, true);
		for (int i = 0; i < 3; i++)
			guest_open(&g[i], d, hosts[i], v.port);
		for (int i = 0; i < turns; i++)
			loop_turn(l, i % 2 == 1 && g[0].n < 5 && !g[0].failed);
		for (int i = 0; i < 3; i++)
			guest_close(&g[i]);
		if (turns % 2)
			loop_turn(l, false);
		dialer_close(d);
		server_stop(&v);
		assert_true(loop_close(l));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_straight),
	    cmocka_unit_test(test_many),
	    cmocka_unit_test(test_failures),
	    cmocka_unit_test(test_untrusted),
	    cmocka_unit_test(test_http_proxy),
	    cmocka_unit_test(test_socks_proxy),
	    cmocka_unit_test(test_proxy_syntax),
	    cmocka_unit_test(test_environment),
	    cmocka_unit_test(test_close_anywhere),
	};

	alarm(100);
	return cmocka_run_group_tests(tests, set_up, tear_down);
}

/* SPDX-License-Identifier: MIT
 *
 * TLS streams over socketpairs: two sides, each a small machine that sends a
 * pattern, checks the pattern it gets, and notes what it is told. Certificates
 * are made on the spot by tls_make_certificate, which is thereby tested too.
 */
#include "net/tls.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/ssl.h>

#include "net/loop.h"
#include "net/sock.h"
#include "util/err.h"
#include "util/mem.h"

/* Turns after which a condition that did not come true never will. */
#define TURNS_MAX 200000

struct side {
	const char *name;
	struct loop *loop;
	struct stream *s;
	size_t to_send; /* bytes of the pattern still to be written */
	size_t sent;
	size_t got;
	unsigned seed;
	bool hesitant; /* stops itself now and then */
	bool shut_when_sent;
	bool shut_on_end;
	bool blocked; /* a write said no */
	bool opened;
	bool ended;
	bool drained; /* after shutdown */
	bool failed;
	bool started;
	struct err err;
	struct deferred go_on;
};

static char dir[] = "/tmp/hyco-tls-XXXXXX";
static char ca_file[64], cert_file[64], key_file[64];
static char other_ca_file[64], other_cert_file[64], other_key_file[64];
static char old_ca_file[64], old_cert_file[64], old_key_file[64];
static struct tls_context *server_context, *client_context;

/* For the test that closes at every step: which callback is the last one. */
static long steps, last_step = -1;
static bool mixed_turns;

static uint8_t
pattern(size_t i)
{
	return (uint8_t)(i * 31 + (i >> 8) * 7 + (i >> 16));
}

/* --- the machine --- */

/* True when the side was closed at this step and must not be used. */
static bool
is_last_step(struct side *d)
{
	if (steps++ != last_step)
		return false;
	deferred_clear(&d->go_on);
	stream_close(d->s);
	d->s = NULL;
	return true;
}

static void
send_more(struct side *d)
{
	uint8_t *block = loop_block_take(d->loop);

	while (d->to_send > 0 && !d->blocked) {
		size_t max = mixed_turns ? 200 * 1024 : STREAM_TURN;
		size_t n = (size_t)rand_r(&d->seed) % max + 1;

		if (n > d->to_send)
			n = d->to_send;
		for (size_t i = 0; i < n; i++)
			block[STREAM_HEADROOM + i] = pattern(d->sent + i);
		d->sent += n;
		d->to_send -= n;
		d->blocked = !stream_write(d->s, block + STREAM_HEADROOM, n);
	}
	loop_block_give(d->loop, block);
	if (d->to_send == 0 && d->shut_when_sent) {
		d->shut_when_sent = false;
		d->blocked = false;
		stream_shutdown(d->s);
	}
}

static void
on_open(void *owner)
{
	struct side *d = owner;

	assert_false(d->opened);
	d->opened = true;
	if (is_last_step(d))
		return;
	send_more(d);
}

static void
on_data(void *owner, uint8_t *data, size_t len)
{
	struct side *d = owner;

	assert_true(len > 0 && d->opened && !d->ended && !d->failed);
	assert_true(d->started);
	for (size_t i = 0; i < len; i++)
		if (data[i] != pattern(d->got + i))
			fail_msg("%s: byte %zu is wrong", d->name, d->got + i);
	d->got += len;
	/* The receiver may use the block and the headroom. */
	memset(data - STREAM_HEADROOM, 0xee, len + STREAM_HEADROOM);
	if (is_last_step(d))
		return;
	if (d->hesitant && rand_r(&d->seed) % 3 == 0) {
		d->started = false;
		stream_stop(d->s);
		deferred_set(&d->go_on);
	}
}

static void
on_end(void *owner)
{
	struct side *d = owner;

	assert_true(!d->ended && !d->failed && d->started);
	d->ended = true;
	if (is_last_step(d))
		return;
	if (d->shut_on_end) {
		d->shut_when_sent = true;
		send_more(d);
	}
}

static void
on_drain(void *owner)
{
	struct side *d = owner;

	assert_false(d->failed);
	assert_true(d->blocked || d->s->is_shut);
	if (d->s->is_shut)
		d->drained = true;
	d->blocked = false;
	if (is_last_step(d))
		return;
	if (!d->s->is_shut)
		send_more(d);
}

static void
on_error(void *owner, const struct err *err)
{
	struct side *d = owner;

	assert_false(d->failed);
	assert_true(err->code != ERR_NONE && err->text[0] != '\0');
	d->failed = true;
	d->err = *err;
	is_last_step(d);
}

static const struct stream_events events = {
    .on_open = on_open,
    .on_data = on_data,
    .on_end = on_end,
    .on_drain = on_drain,
    .on_error = on_error,
};

static void
on_go_on(void *owner)
{
	struct side *d = owner;

	d->started = true;
	stream_start(d->s);
}

static void
side_take(struct side *d, struct loop *l, const char *name, struct stream *s)
{
	*d = (struct side){.name = name, .loop = l, .s = s, .seed = 7};
	deferred_init(&d->go_on, l, on_go_on, d);
	stream_set_owner(s, &events, d);
	d->started = true;
	stream_start(s);
}

static void
side_close(struct side *d)
{
	if (d->s == NULL)
		return;
	deferred_clear(&d->go_on);
	stream_close(d->s);
	d->s = NULL;
}

/* --- the stage --- */

static struct loop *
new_loop(void)
{
	struct err e;
	struct loop *l = loop_new(&e);

	assert_non_null(l);
	return l;
}

#define RUN_UNTIL(l, condition)                                                \
	do {                                                                   \
		int turns_ = 0;                                                \
		while (!(condition)) {                                         \
			if (turns_++ == TURNS_MAX)                             \
				fail_msg("never: %s", #condition);             \
			loop_turn(l, true);                                    \
		}                                                              \
	} while (0)

static void
new_pair(int fds[2])
{
	assert_int_equal(
	    0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
	           0, fds));
}

static struct stream *
new_sock(struct loop *l, int fd)
{
	struct err e;
	struct stream *s = sock_open(l, fd, &e);

	assert_non_null(s);
	return s;
}

static void
open_both(struct loop *l, struct side *client, struct side *server,
    struct tls_context *cc, struct tls_context *sc, const char *host)
{
	int fds[2];

	new_pair(fds);
	side_take(client, l, "client",
	    tls_client(cc, new_sock(l, fds[0]), host, 443));
	side_take(server, l, "server", tls_server(sc, new_sock(l, fds[1])));
}

static struct tls_context *
client_of(const char *ca)
{
	struct err e = {0};
	struct tls_context *c = tls_context_client(
	    &(struct tls_client_options){.ca_file = ca, .no_system_ca = true},
	    &e);

	if (c == NULL)
		fail_msg("%s", e.text);
	return c;
}

static struct tls_context *
server_of(const char *cert, const char *key)
{
	struct err e = {0};
	struct tls_context *c = tls_context_server(
	    &(struct tls_server_options){.cert_file = cert, .key_file = key},
	    &e);

	if (c == NULL)
		fail_msg("%s", e.text);
	return c;
}

static void
path(char out[64], const char *name)
{
	snprintf(out, 64, "%s/%s", dir, name);
}

static bool
make(const char *ca, const char *cert, const char *key, unsigned days,
    struct err *e)
{
	static const char *const names[] = {
	    "localhost", "*.relay.example", "127.0.0.1", "::1", NULL};

	return tls_make_certificate(&(struct tls_make_options){.ca_file = ca,
	                                .cert_file = cert,
	                                .key_file = key,
	                                .names = names,
	                                .days = days},
	    e);
}

static int
set_up(void **state)
{
	struct err e = {0};

	(void)state;
	if (mkdtemp(dir) == NULL)
		return -1;
	path(ca_file, "ca.pem");
	path(cert_file, "relay.pem");
	path(key_file, "relay.key");
	path(other_ca_file, "other-ca.pem");
	path(other_cert_file, "other.pem");
	path(other_key_file, "other.key");
	path(old_ca_file, "old-ca.pem");
	path(old_cert_file, "old.pem");
	path(old_key_file, "old.key");
	if (!make(ca_file, cert_file, key_file, 30, &e) ||
	    !make(other_ca_file, other_cert_file, other_key_file, 30, &e) ||
	    !make(old_ca_file, old_cert_file, old_key_file, 0, &e)) {
		print_error("%s\n", e.text);
		return -1;
	}
	server_context = server_of(cert_file, key_file);
	client_context = client_of(ca_file);
	return 0;
}

static int
tear_down(void **state)
{
	char *const files[] = {ca_file, cert_file, key_file, other_ca_file,
	    other_cert_file, other_key_file, old_ca_file, old_cert_file,
	    old_key_file};

	(void)state;
	tls_context_unref(client_context);
	tls_context_unref(server_context);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		unlink(files[i]);
	return rmdir(dir);
}

/* --- tests --- */

static void
test_make(void **state)
{
	struct err e = {0};
	struct stat st;
	char a[64], b[64];

	(void)state;
	assert_int_equal(stat(key_file, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(stat(cert_file, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0644);
	assert_int_equal(stat(ca_file, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0644);
	path(a, "a");
	path(b, "b");
	assert_false(make(ca_file, a, b, 30, &e));
	assert_int_equal(e.code, ERR_USAGE);
	assert_non_null(strstr(e.text, ca_file));
	assert_false(make("/nonexistent/ca", a, b, 30, &e));
	assert_int_not_equal(stat(ca_file, &st), -1);
	unlink(a);
	unlink(b);
	assert_false(tls_make_certificate(
	    &(struct tls_make_options){.ca_file = "/nonexistent/x",
	        .cert_file = a,
	        .key_file = b,
	        .names = (const char *const[]){"a,DNS:evil", NULL},
	        .days = 1},
	    &e));
	assert_int_equal(e.code, ERR_USAGE);
}

static void
test_contexts(void **state)
{
	struct tls_server_options o = {
	    .cert_file = cert_file, .key_file = key_file};
	struct err e = {0};

	(void)state;
	assert_int_equal(chmod(key_file, 0640), 0);
	assert_null(tls_context_server(&o, &e));
	assert_int_equal(e.code, ERR_DENIED);
	assert_non_null(strstr(e.text, "chmod 600"));
	assert_int_equal(chmod(key_file, 0600), 0);
	o.key_file = other_key_file;
	assert_null(tls_context_server(&o, &e));
	assert_int_equal(e.code, ERR_TLS);
	o.key_file = "/nonexistent";
	assert_null(tls_context_server(&o, &e));
	assert_int_equal(e.code, ERR_NOT_FOUND);
	o = (struct tls_server_options){
	    .cert_file = key_file, .key_file = key_file};
	assert_null(tls_context_server(&o, &e));
	assert_int_equal(e.code, ERR_TLS);
	assert_null(tls_context_client(
	    &(struct tls_client_options){.ca_file = "/nonexistent"}, &e));
	assert_int_equal(e.code, ERR_NOT_FOUND);
	assert_null(tls_context_client(
	    &(struct tls_client_options){.ca_file = key_file}, &e));
	assert_int_equal(e.code, ERR_TLS);
}

static void
test_handshake(void **state)
{
	static const char *const hosts[] = {
	    "localhost", "a.relay.example", "127.0.0.1", "::1"};
	struct loop *l = new_loop();
	struct side client, server;

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		open_both(l, &client, &server, client_context, server_context,
		    hosts[i]);
		/* Written before the handshake, sent after it. */
		client.to_send = 1000;
		send_more(&client);
		server.to_send = 2000;
		RUN_UNTIL(l, server.got == 1000 && client.got == 2000);
		assert_true(client.opened && server.opened);
		assert_string_equal(tls_version(client.s), "TLSv1.3");
		assert_string_equal(
		    tls_server_name(server.s), i < 2 ? hosts[i] : "");
		assert_false(tls_is_resumed(client.s));
		assert_true(stream_bottom(client.s) != client.s);
		assert_int_equal(client.s->bytes_in, 2000);
		assert_int_equal(client.s->bytes_out, 1000);
		side_close(&client);
		/* Closing says goodbye: this is an end, not a cut. */
		RUN_UNTIL(l, server.ended);
		assert_false(server.failed);
		side_close(&server);
	}
	assert_true(loop_close(l));
}

/* Sessions are remembered for one host and port, in one context. */
static void
test_resumption(void **state)
{
	static const struct {
		const char *host;
		uint16_t port;
		bool reset;
		bool resumed;
	} rows[] = {
	    {"localhost", 1, true, false},
	    {"localhost", 1, true, true},
	    {"localhost", 1, false, true},
	    {"localhost", 1, false, true},
	    {"localhost", 2, false, false},
	    {"127.0.0.1", 1, false, false},
	    {"localhost", 2, false, true},
	};
	struct tls_context *cc = client_of(ca_file);
	struct loop *l = new_loop();
	struct side client, server, clients[4], servers[4];
	int fds[2];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		new_pair(fds);
		side_take(&client, l, "client",
		    tls_client(
		        cc, new_sock(l, fds[0]), rows[i].host, rows[i].port));
		side_take(&server, l, "server",
		    tls_server(server_context, new_sock(l, fds[1])));
		server.to_send = 1;
		RUN_UNTIL(l, client.got == 1);
		assert_int_equal(tls_is_resumed(client.s), rows[i].resumed);
		if (rows[i].reset)
			stream_reset(client.s);
		else
			stream_close(client.s);
		RUN_UNTIL(l, server.ended || server.failed);
		assert_int_equal(server.failed, rows[i].reset);
		side_close(&server);
	}
	/* More hosts than are remembered: the oldest is forgotten. */
	for (uint16_t port = 100; port < 180; port++) {
		new_pair(fds);
		side_take(&client, l, "client",
		    tls_client(cc, new_sock(l, fds[0]), "localhost", port));
		side_take(&server, l, "server",
		    tls_server(server_context, new_sock(l, fds[1])));
		server.to_send = 1;
		RUN_UNTIL(l, client.got == 1);
		side_close(&client);
		side_close(&server);
	}
	for (int i = 0; i < 2; i++) {
		new_pair(fds);
		side_take(&client, l, "client",
		    tls_client(cc, new_sock(l, fds[0]), "localhost",
		        i == 0 ? 179 : 1));
		side_take(&server, l, "server",
		    tls_server(server_context, new_sock(l, fds[1])));
		RUN_UNTIL(l, client.opened);
		assert_int_equal(tls_is_resumed(client.s), i == 0);
		side_close(&client);
		side_close(&server);
	}
	/* One ticket serves several handshakes at once. */
	for (size_t i = 0; i < 4; i++) {
		new_pair(fds);
		side_take(&clients[i], l, "client",
		    tls_client(cc, new_sock(l, fds[0]), "localhost", 179));
		side_take(&servers[i], l, "server",
		    tls_server(server_context, new_sock(l, fds[1])));
	}
	for (size_t i = 0; i < 4; i++) {
		RUN_UNTIL(l, clients[i].opened);
		assert_true(tls_is_resumed(clients[i].s));
		side_close(&clients[i]);
		side_close(&servers[i]);
	}
	assert_true(loop_close(l));
	tls_context_unref(cc);
}

static void
bulk(bool hesitant, bool mixed)
{
	enum { BYTES = 3 * 1024 * 1024 + 17 };
	struct loop *l = new_loop();
	struct side client, server;

	mixed_turns = mixed;
	open_both(
	    l, &client, &server, client_context, server_context, "localhost");
	client.to_send = server.to_send = BYTES;
	client.shut_when_sent = server.shut_when_sent = true;
	client.hesitant = server.hesitant = hesitant;
	stream_set_turn(server.s, 4 * STREAM_TURN);
	RUN_UNTIL(l,
	    client.ended && server.ended && client.drained && server.drained);
	assert_int_equal(client.got, BYTES);
	assert_int_equal(server.got, BYTES);
	assert_int_equal(stream_queued(client.s), 0);
	side_close(&client);
	side_close(&server);
	assert_true(loop_close(l));
	mixed_turns = false;
}

static void
test_bulk(void **state)
{
	(void)state;
	bulk(false, false);
	bulk(true, false);
	bulk(true, true);
}

/* The client ends; the server may still send as much as it likes. */
static void
test_half_close(void **state)
{
	struct loop *l = new_loop();
	struct side client, server;

	(void)state;
	open_both(
	    l, &client, &server, client_context, server_context, "localhost");
	client.to_send = 10;
	client.shut_when_sent = true;
	send_more(&client); /* shut before the handshake is done */
	server.shut_on_end = true;
	RUN_UNTIL(l, server.opened);
	server.to_send = 0;
	RUN_UNTIL(l, server.ended);
	assert_int_equal(server.got, 10);
	RUN_UNTIL(l, client.ended && client.drained);
	side_close(&client);
	side_close(&server);

	open_both(
	    l, &client, &server, client_context, server_context, "localhost");
	client.shut_when_sent = true;
	RUN_UNTIL(l, server.ended && client.drained);
	assert_false(client.ended);
	server.to_send = 1000000;
	server.shut_when_sent = true;
	send_more(&server);
	RUN_UNTIL(l, client.ended && server.drained);
	assert_int_equal(client.got, 1000000);
	side_close(&client);
	side_close(&server);
	assert_true(loop_close(l));
}

/* A stopped reader hears neither data nor the end before it starts again. */
static void
test_stopped(void **state)
{
	struct loop *l = new_loop();
	struct side client, server;

	(void)state;
	open_both(
	    l, &client, &server, client_context, server_context, "localhost");
	server.started = false;
	stream_stop(server.s); /* from the very beginning */
	client.to_send = 5000;
	client.shut_when_sent = true;
	send_more(&client);
	RUN_UNTIL(l, client.drained && server.opened);
	for (int i = 0; i < 20; i++)
		loop_turn(l, false);
	assert_true(server.got == 0 && !server.ended);
	server.started = true;
	stream_start(server.s);
	RUN_UNTIL(l, server.ended);
	assert_int_equal(server.got, 5000);
	side_close(&client);
	side_close(&server);
	assert_true(loop_close(l));
}

static void
test_truncation(void **state)
{
	struct loop *l = new_loop();
	struct side client, server;
	int fds[2];

	(void)state;
	open_both(
	    l, &client, &server, client_context, server_context, "localhost");
	client.to_send = 100;
	RUN_UNTIL(l, server.got == 100);
	stream_reset(client.s);
	RUN_UNTIL(l, server.failed);
	assert_int_equal(server.err.code, ERR_RESET);
	assert_false(server.ended);
	side_close(&server);
	/* The same in the middle of the handshake. */
	new_pair(fds);
	side_take(&client, l, "client",
	    tls_client(client_context, new_sock(l, fds[0]), "localhost", 443));
	close(fds[1]);
	RUN_UNTIL(l, client.failed);
	assert_int_equal(client.err.code, ERR_RESET);
	side_close(&client);
	assert_true(loop_close(l));
}

/* A bit flipped on the way: the record is refused. */
static void
test_garbage(void **state)
{
	uint8_t record[] = {0x17, 3, 3, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10,
	    11, 12, 13, 14, 15, 16, 17, 18, 19, 20};
	struct loop *l = new_loop();
	struct side client, server;
	int fds[2], spare;

	(void)state;
	new_pair(fds);
	spare = dup(fds[0]);
	side_take(&client, l, "client",
	    tls_client(client_context, new_sock(l, fds[0]), "localhost", 443));
	side_take(&server, l, "server",
	    tls_server(server_context, new_sock(l, fds[1])));
	RUN_UNTIL(l, client.opened && server.opened);
	assert_int_equal(write(spare, record, sizeof(record)), sizeof(record));
	RUN_UNTIL(l, server.failed);
	assert_int_equal(server.err.code, ERR_TLS);
	/* The alert reaches the client. */
	RUN_UNTIL(l, client.failed);
	assert_int_equal(client.err.code, ERR_TLS);
	close(spare);
	side_close(&client);
	side_close(&server);
	assert_true(loop_close(l));
}

static void
refused(struct tls_context *cc, struct tls_context *sc, const char *host,
    const char *word, const char *other_word)
{
	struct loop *l = new_loop();
	struct side client, server;

	open_both(l, &client, &server, cc, sc, host);
	client.to_send = 10;
	send_more(&client);
	RUN_UNTIL(l, client.failed);
	assert_false(client.opened);
	assert_int_equal(client.err.code, ERR_TLS);
	if (strstr(client.err.text, word) == NULL ||
	    strstr(client.err.text, other_word) == NULL)
		fail_msg("no %s, %s in: %s", word, other_word, client.err.text);
	RUN_UNTIL(l, server.failed);
	assert_int_equal(server.err.code, ERR_TLS);
	assert_int_equal(server.got, 0);
	side_close(&client);
	side_close(&server);
	assert_true(loop_close(l));
}

static void
test_refused(void **state)
{
	struct tls_context *old_s = server_of(old_cert_file, old_key_file);
	struct tls_context *old_c = client_of(old_ca_file);
	struct tls_context *other = client_of(other_ca_file);

	(void)state;
	refused(other, server_context, "localhost", "localhost not trusted",
	    "--ca FILE");
	refused(client_context, server_context, "wrong.example",
	    "issued for localhost, *.relay.example, 127.0.0.1",
	    "wrong.example");
	refused(client_context, server_context, "127.0.0.2", "issued for",
	    "127.0.0.2");
	refused(client_context, server_context, "a.b.relay.example",
	    "issued for", "a.b.relay.example");
	refused(old_c, old_s, "localhost", "expired", "localhost");
	tls_context_unref(old_s);
	tls_context_unref(old_c);
	tls_context_unref(other);
}

static void
test_insecure(void **state)
{
	struct tls_context *cc = tls_context_client(
	    &(struct tls_client_options){.insecure = true}, NULL);
	struct loop *l = new_loop();
	struct side client, server;

	(void)state;
	open_both(l, &client, &server, cc, server_context, "whatever");
	RUN_UNTIL(l, client.opened && server.opened);
	side_close(&client);
	side_close(&server);
	assert_true(loop_close(l));
	tls_context_unref(cc);
}

static void
test_not_tls(void **state)
{
	static const struct {
		const char *bytes;
		const char *word;
	} rows[] = {
	    {"HTTP/1.1 400 Bad Request\r\n\r\n", "plain HTTP"},
	    {"SSH-2.0-OpenSSH_9.2\r\n", "does not speak TLS"},
	};
	static const char get[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
	struct loop *l = new_loop();
	struct side d;
	int fds[2];

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		new_pair(fds);
		side_take(&d, l, "client",
		    tls_client(
		        client_context, new_sock(l, fds[0]), "localhost", 443));
		assert_true(
		    write(fds[1], rows[i].bytes, strlen(rows[i].bytes)) > 0);
		RUN_UNTIL(l, d.failed);
		assert_int_equal(d.err.code, ERR_TLS);
		assert_non_null(strstr(d.err.text, rows[i].word));
		side_close(&d);
		close(fds[1]);
	}
	new_pair(fds);
	side_take(
	    &d, l, "server", tls_server(server_context, new_sock(l, fds[0])));
	assert_true(write(fds[1], get, sizeof(get) - 1) > 0);
	RUN_UNTIL(l, d.failed);
	assert_int_equal(d.err.code, ERR_TLS);
	assert_non_null(strstr(d.err.text, "plain HTTP"));
	side_close(&d);
	close(fds[1]);
	assert_true(loop_close(l));
}

/* What is written before the handshake is bounded. */
static void
test_early_limit(void **state)
{
	uint8_t *bytes = mem_zalloc(TLS_EARLY_MAX);
	struct loop *l = new_loop();
	struct side d;
	int fds[2];

	(void)state;
	new_pair(fds);
	side_take(&d, l, "client",
	    tls_client(client_context, new_sock(l, fds[0]), "localhost", 443));
	assert_false(stream_put(d.s, bytes, TLS_EARLY_MAX));
	assert_int_equal(stream_queued(d.s), TLS_EARLY_MAX);
	loop_turn(l, false);
	assert_false(d.failed);
	assert_false(stream_put(d.s, bytes, 1));
	assert_false(d.failed); /* not from inside the call */
	RUN_UNTIL(l, d.failed);
	assert_int_equal(d.err.code, ERR_TOO_BIG);
	assert_false(stream_put(d.s, bytes, 1)); /* dropped */
	side_close(&d);
	close(fds[1]);
	assert_true(loop_close(l));
	free(bytes);
}

/* Reads what the server sends and checks it, at most `most` bytes. */
static void
foreign_read(struct loop *l, SSL *ssl, size_t *at, size_t most)
{
	uint8_t bytes[3000];
	int turns = 0;

	while (*at < most) {
		size_t n =
		    most - *at < sizeof(bytes) ? most - *at : sizeof(bytes);

		assert_true(turns++ < TURNS_MAX);
		loop_turn(l, false);
		if (SSL_read_ex(ssl, bytes, n, &n) != 1)
			continue;
		for (size_t i = 0; i < n; i++)
			assert_int_equal(bytes[i], pattern((*at)++));
	}
}

/* Another implementation's habits: TLS 1.2, new keys in the middle. */
static void
foreign(int version, bool new_keys)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *ssl = SSL_new(ctx);
	struct loop *l = new_loop();
	struct side server;
	uint8_t bytes[7000];
	size_t read_at = 0, sent = 0, n;
	int fds[2], turns = 0;

	new_pair(fds);
	side_take(&server, l, "server",
	    tls_server(server_context, new_sock(l, fds[1])));
	SSL_set_min_proto_version(ssl, version);
	SSL_set_max_proto_version(ssl, version);
	SSL_set_fd(ssl, fds[0]);
	while (SSL_connect(ssl) != 1) {
		assert_true(turns++ < TURNS_MAX);
		loop_turn(l, false);
	}
	for (int round = 1; round <= 3; round++) {
		for (size_t i = 0; i < sizeof(bytes); i++)
			bytes[i] = pattern(sent + i);
		assert_int_equal(
		    SSL_write_ex(ssl, bytes, sizeof(bytes), &n), 1);
		assert_int_equal(n, sizeof(bytes));
		sent += n;
		RUN_UNTIL(l, server.got == sent);
		server.to_send = 50000;
		send_more(&server);
		foreign_read(l, ssl, &read_at, server.sent);
		if (new_keys && round < 3)
			assert_int_equal(
			    SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED), 1);
	}
	assert_string_equal(tls_version(server.s), SSL_get_version(ssl));
	SSL_shutdown(ssl);
	RUN_UNTIL(l, server.ended);
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	close(fds[0]);
	side_close(&server);
	assert_true(loop_close(l));
}

static void
test_foreign(void **state)
{
	(void)state;
	foreign(TLS1_3_VERSION, false);
	foreign(TLS1_3_VERSION, true);
	foreign(TLS1_2_VERSION, false);
}

/* A server that has dropped its session object is told by a fatal alert that
 * the client cannot go on, or gets something that is no record. */
static void
broken_later(int version, bool by_client)
{
	static const char nonsense[] =
	    "\x17\x03\x03\x00\x14no record, no record";
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *ssl = SSL_new(ctx);
	struct loop *l = new_loop();
	struct side server;
	int fds[2], turns = 0;
	uint8_t byte;
	size_t n, read_at = 0;

	new_pair(fds);
	side_take(&server, l, "server",
	    tls_server(server_context, new_sock(l, fds[1])));
	SSL_set_min_proto_version(ssl, version);
	SSL_set_max_proto_version(ssl, version);
	SSL_set_fd(ssl, fds[0]);
	while (SSL_connect(ssl) != 1) {
		assert_true(turns++ < TURNS_MAX);
		loop_turn(l, false);
	}
	RUN_UNTIL(l, server.opened);
	server.to_send = 10;
	send_more(&server);
	foreign_read(l, ssl, &read_at, 10);
	assert_int_equal(sizeof(nonsense) - 1,
	    write(fds[by_client ? 1 : 0], nonsense, sizeof(nonsense) - 1));
	if (by_client)
		assert_int_not_equal(1, SSL_read_ex(ssl, &byte, 1, &n));
	RUN_UNTIL(l, server.failed);
	assert_int_equal(ERR_TLS, server.err.code);
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	close(fds[0]);
	side_close(&server);
	assert_true(loop_close(l));
}

static void
test_broken_later(void **state)
{
	(void)state;
	broken_later(TLS1_3_VERSION, false);
	broken_later(TLS1_3_VERSION, true);
	broken_later(TLS1_2_VERSION, false);
	broken_later(TLS1_2_VERSION, true);
}

/* Carries what waits on one descriptor to the other, `most` bytes a time. */
static void
carry(int from, int to, size_t most)
{
	uint8_t bytes[64];
	ssize_t n = read(from, bytes, most);

	if (n > 0)
		assert_int_equal(write(to, bytes, (size_t)n), n);
}

/* Ciphertext that drips: records are cut everywhere. */
static void
test_drip(void **state)
{
	struct loop *l = new_loop();
	struct side client, server;
	int a[2], b[2];

	(void)state;
	new_pair(a);
	new_pair(b);
	side_take(&client, l, "client",
	    tls_client(client_context, new_sock(l, a[0]), "localhost", 9));
	side_take(&server, l, "server",
	    tls_server(server_context, new_sock(l, b[0])));
	client.to_send = server.to_send = 2000;
	client.shut_when_sent = server.shut_when_sent = true;
	for (int turns = 0; !(client.ended && server.ended && client.drained &&
	                      server.drained);
	     turns++) {
		assert_true(turns < TURNS_MAX);
		carry(a[1], b[1], 1 + (size_t)turns % 3);
		carry(b[1], a[1], 1 + (size_t)turns % 5);
		loop_turn(l, false);
	}
	assert_int_equal(client.got, 2000);
	assert_int_equal(server.got, 2000);
	side_close(&client);
	side_close(&server);
	close(a[1]);
	close(b[1]);
	assert_true(loop_close(l));
}

/* A side closes inside its n-th callback, for every n there is. */
static void
test_close_anywhere(void **state)
{
	(void)state;
	for (last_step = 0;; last_step++) {
		struct loop *l = new_loop();
		struct side client, server;
		int turns = 0;
		bool all;

		steps = 0;
		open_both(l, &client, &server, client_context, server_context,
		    "localhost");
		client.to_send = 300000;
		client.shut_when_sent = true;
		server.to_send = 200000;
		server.shut_on_end = true;
		client.hesitant = server.hesitant = true;
		while (client.s != NULL && server.s != NULL &&
		       !(client.ended && server.ended && client.drained &&
		           server.drained)) {
			assert_true(turns++ < TURNS_MAX);
			loop_turn(l, true);
		}
		all = client.s != NULL && server.s != NULL;
		if (last_step % 2 == 0)
			loop_turn(l, false);
		side_close(&client);
		side_close(&server);
		assert_true(loop_close(l));
		if (all)
			break;
	}
	assert_true(last_step > 10);
	last_step = -1;
}

/* Closed before the loop ever turns, and in the midst of the handshake. */
static void
test_close_early(void **state)
{
	(void)state;
	for (int turns = 0; turns < 6; turns++) {
		struct loop *l = new_loop();
		struct side client, server;

		open_both(l, &client, &server, client_context, server_context,
		    "localhost");
		client.to_send = 10;
		for (int i = 0; i < turns; i++)
			loop_turn(l, false);
		side_close(turns % 2 ? &client : &server);
		loop_turn(l, false);
		side_close(&client);
		side_close(&server);
		assert_true(loop_close(l));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_make),
	    cmocka_unit_test(test_contexts),
	    cmocka_unit_test(test_handshake),
	    cmocka_unit_test(test_resumption),
	    cmocka_unit_test(test_bulk),
	    cmocka_unit_test(test_half_close),
	    cmocka_unit_test(test_stopped),
	    cmocka_unit_test(test_truncation),
	    cmocka_unit_test(test_garbage),
	    cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_insecure),
	    cmocka_unit_test(test_not_tls),
	    cmocka_unit_test(test_early_limit),
	    cmocka_unit_test(test_foreign),
	    cmocka_unit_test(test_broken_later),
	    cmocka_unit_test(test_drip),
	    cmocka_unit_test(test_close_anywhere),
	    cmocka_unit_test(test_close_early),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, set_up, tear_down);
}

/* SPDX-License-Identifier: MIT
 *
 * End-to-end TLS: identities are made once and kept, the judge decides before
 * any byte passes, now or later, both sides export the same secret, and
 * whoever changes a byte between is found out.
 */
#include "net/tls_identity.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "memstream.h"
#include "net/loop.h"
#include "net/stream.h"
#include "net/tls.h"
#include "util/mem.h"

#define PEER "ns.example/path"

static char dir[32];

/* The two ends, and a man in the middle between two pairs of streams. */
struct wire {
	struct loop *loop;
	struct tls_context *server_context;
	struct tls_context *client_context;
	struct recorder server;
	struct recorder client;
	struct stream *near; /* the middle's stream towards the client */
	struct stream *far;
	uint8_t log[65536]; /* what the middle has seen */
	size_t logged;
	size_t from_server; /* bytes so far */
	size_t flip_at;     /* of those from the server; 0: nothing */
	/* the judge */
	enum tls_verdict verdict;
	bool closes;
	unsigned asked;
	struct stream *asked_about;
	char name[TLS_IDENTITY_NAME_SIZE];
};

static void
note(struct wire *w, const uint8_t *data, size_t len)
{
	if (w->logged + len <= sizeof w->log) {
		memcpy(w->log + w->logged, data, len);
		w->logged += len;
	}
}

static void
on_near_data(void *owner, uint8_t *data, size_t len)
{
	struct wire *w = owner;

	note(w, data, len);
	(void)stream_put(w->far, data, len);
}

static void
on_far_data(void *owner, uint8_t *data, size_t len)
{
	struct wire *w = owner;

	note(w, data, len);
	if (w->flip_at > w->from_server && w->flip_at <= w->from_server + len)
		data[w->flip_at - w->from_server - 1] ^= 0x40;
	w->from_server += len;
	(void)stream_put(w->near, data, len);
}

static void
on_nothing(void *owner)
{
	(void)owner;
}

static void
on_middle_error(void *owner, const struct err *err)
{
	(void)owner, (void)err;
}

static void
on_near_end(void *owner)
{
	struct wire *w = owner;

	if (!w->far->is_shut)
		stream_shutdown(w->far);
}

static void
on_far_end(void *owner)
{
	struct wire *w = owner;

	if (!w->near->is_shut)
		stream_shutdown(w->near);
}

static const struct stream_events near_events = {.on_data = on_near_data,
    .on_end = on_near_end,
    .on_drain = on_nothing,
    .on_error = on_middle_error};
static const struct stream_events far_events = {.on_data = on_far_data,
    .on_end = on_far_end,
    .on_drain = on_nothing,
    .on_error = on_middle_error};

static enum tls_verdict
judge(void *owner, struct stream *s, struct err *e)
{
	struct wire *w = owner;

	w->asked++;
	w->asked_about = s;
	tls_identity_peer(s, w->name);
	if (w->closes)
		recorder_close(&w->client);
	if (w->verdict == TLS_NO)
		err_set(e, ERR_DENIED, "not the one I know");
	return w->verdict;
}

static void
wire_open(struct wire *w, struct tls_context *server)
{
	struct stream *client_side, *server_side, *s;
	struct err e;

	memset(w, 0, sizeof *w);
	w->loop = loop_new(NULL);
	memstream_pair(w->loop, &client_side, &w->near);
	memstream_pair(w->loop, &w->far, &server_side);
	stream_set_owner(w->near, &near_events, w);
	stream_set_owner(w->far, &far_events, w);
	stream_start(w->near);
	stream_start(w->far);
	if (server == NULL) {
		server = tls_identity_open(dir, NULL, &e);
		if (server == NULL)
			fail_msg("%s", e.text);
	}
	w->server_context = server;
	w->client_context = tls_identity_client_context();
	s = tls_server(server, server_side);
	recorder_own(&w->server, s);
	s = tls_client_judged(w->client_context, client_side, PEER, judge, w);
	recorder_own(&w->client, s);
}

static void
wire_start(struct wire *w)
{
	stream_start(w->server.stream);
	stream_start(w->client.stream);
}

static void
wire_close(struct wire *w)
{
	recorder_close(&w->client);
	recorder_close(&w->server);
	stream_close(w->near);
	stream_close(w->far);
	assert_true(loop_close(w->loop));
	tls_context_unref(w->server_context);
	tls_context_unref(w->client_context);
}

static void
turns(struct loop *l, unsigned n)
{
	while (n-- > 0)
		loop_turn(l, false);
}

/* --- identities --- */

static void
name_of_dir(char name[TLS_IDENTITY_NAME_SIZE], bool *made)
{
	struct err e;
	struct tls_context *c = tls_identity_open(dir, made, &e);

	if (c == NULL)
		fail_msg("%s", e.text);
	tls_identity_name(c, name);
	tls_context_unref(c);
}

static char *
file_in_dir(const char *name)
{
	return mem_printf("%s/%s", dir, name);
}

static void
test_made_once(void **state)
{
	char first[TLS_IDENTITY_NAME_SIZE], name[TLS_IDENTITY_NAME_SIZE];
	char *key = file_in_dir("identity.key");
	char *cert = file_in_dir("identity.pem");
	struct stat st;
	struct err e;
	bool made;

	(void)state;
	name_of_dir(first, &made);
	assert_true(made);
	assert_true(tls_identity_is_name(first));
	assert_int_equal(stat(key, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	name_of_dir(name, &made);
	assert_false(made);
	assert_string_equal(name, first);
	/* A lost certificate is made anew from the key: the same name. */
	assert_int_equal(unlink(cert), 0);
	name_of_dir(name, &made);
	assert_false(made);
	assert_string_equal(name, first);
	/* A key that others may read is none. */
	assert_int_equal(chmod(key, 0644), 0);
	assert_null(tls_identity_open(dir, NULL, &e));
	assert_int_equal(e.code, ERR_DENIED);
	assert_non_null(strstr(e.text, "chmod 600"));
	assert_int_equal(chmod(key, 0600), 0);
	/* A lost key is not silently replaced. */
	assert_int_equal(rename(key, "/tmp/hyco-identity-key"), 0);
	assert_null(tls_identity_open(dir, NULL, &e));
	assert_int_equal(e.code, ERR_NOT_FOUND);
	assert_int_equal(rename("/tmp/hyco-identity-key", key), 0);
	name_of_dir(name, &made);
	assert_string_equal(name, first);
	assert_null(tls_identity_open("/nonexistent/dir", NULL, &e));
	free(key);
	free(cert);
}

/* Started several times at once, all are the same listener. */
static void
test_made_at_once(void **state)
{
	char other[] = "/tmp/hyco-identity-XXXXXX";
	char names[4][TLS_IDENTITY_NAME_SIZE];
	int pipes[4][2];
	char *file;

	(void)state;
	assert_non_null(mkdtemp(other));
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(pipe(pipes[i]), 0);
		if (fork() == 0) {
			struct tls_context *c =
			    tls_identity_open(other, NULL, NULL);
			char name[TLS_IDENTITY_NAME_SIZE];

			if (c == NULL)
				_exit(1);
			tls_identity_name(c, name);
			_exit(
			    write(pipes[i][1], name, sizeof name) == sizeof name
			        ? 0
			        : 1);
		}
	}
	for (size_t i = 0; i < 4; i++) {
		int status;

		assert_true(wait(&status) > 0);
		assert_int_equal(status, 0);
	}
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(read(pipes[i][0], names[i], sizeof names[i]),
		    sizeof names[i]);
		assert_string_equal(names[i], names[0]);
		close(pipes[i][0]);
		close(pipes[i][1]);
	}
	file = mem_printf("rm -r %s", other);
	assert_int_equal(system(file), 0);
	free(file);
}

static void
test_is_name(void **state)
{
	(void)state;
	assert_true(tls_identity_is_name(
	    "sha256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"));
	assert_false(tls_identity_is_name(
	    "sha256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"));
	assert_false(tls_identity_is_name(
	    "sha256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"));
	assert_false(tls_identity_is_name(
	    "sha512:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"));
	assert_false(tls_identity_is_name(
	    "sha256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA+A"));
	assert_false(tls_identity_is_name(""));
}

/* --- the judge --- */

static void
test_yes(void **state)
{
	static struct wire w;
	char name[TLS_IDENTITY_NAME_SIZE];
	uint8_t a[32], b[32], c[32];

	(void)state;
	wire_open(&w, NULL);
	wire_start(&w);
	assert_true(stream_put(w.client.stream, "MARKER-up", 9));
	assert_true(stream_put(w.server.stream, "MARKER-down", 11));
	RUN_UNTIL(w.loop, w.server.bytes == 9 && w.client.bytes == 11);
	assert_int_equal(w.asked, 1);
	assert_string_equal(w.name, tls_identity_name(w.server_context, name));
	assert_int_equal(w.client.opens, 1);
	assert_int_equal(w.server.opens, 1);
	assert_string_equal(tls_version(w.client.stream), "TLSv1.3");
	assert_null(memmem(w.log, w.logged, "MARKER", 6));
	tls_export(
	    w.client.stream, "EXPORTER-hyco-session", "id", 2, a, sizeof a);
	tls_export(
	    w.server.stream, "EXPORTER-hyco-session", "id", 2, b, sizeof b);
	assert_memory_equal(a, b, sizeof a);
	tls_export(
	    w.server.stream, "EXPORTER-hyco-session", "jd", 2, c, sizeof c);
	assert_memory_not_equal(a, c, sizeof a);
	stream_shutdown(w.client.stream);
	RUN_UNTIL(w.loop, w.server.ends == 1);
	assert_int_equal(w.client.errors + w.server.errors, 0);
	wire_close(&w);
}

/* Until the person has answered nothing leaves and nothing arrives. */
static void
test_wait(void **state)
{
	static struct wire w;

	(void)state;
	for (int says_yes = 0; says_yes < 2; says_yes++) {
		struct err no;

		wire_open(&w, NULL);
		w.verdict = TLS_WAIT;
		wire_start(&w);
		assert_true(stream_put(w.client.stream, "secret", 6));
		RUN_UNTIL(w.loop, w.asked == 1 && w.server.opens == 1);
		assert_true(stream_put(w.server.stream, "settings", 8));
		turns(w.loop, 30);
		assert_int_equal(w.server.bytes + w.client.bytes, 0);
		assert_int_equal(w.client.opens, 0);
		err_set(&no, ERR_DENIED, "refused by you");
		tls_decide(w.asked_about, says_yes ? NULL : &no);
		assert_int_equal(w.client.opens + w.client.errors, 0);
		if (says_yes) {
			RUN_UNTIL(
			    w.loop, w.server.bytes == 6 && w.client.bytes == 8);
			assert_int_equal(w.client.opens, 1);
			assert_string_equal(w.client.text, "settings");
		} else {
			RUN_UNTIL(w.loop, w.client.errors == 1);
			assert_string_equal(
			    w.client.err.text, "refused by you");
			turns(w.loop, 30);
			assert_int_equal(w.server.bytes + w.client.bytes, 0);
			assert_int_equal(w.client.opens, 0);
		}
		assert_int_equal(w.asked, 1);
		wire_close(&w);
	}
}

/* The person takes long and the line breaks meanwhile: the answer is late. */
static void
test_wait_in_vain(void **state)
{
	static struct wire w;

	(void)state;
	wire_open(&w, NULL);
	w.verdict = TLS_WAIT;
	wire_start(&w);
	RUN_UNTIL(w.loop, w.asked == 1);
	memstream_break(w.near, ERR_RESET);
	stream_reset(w.near);
	memstream_pair(w.loop, &w.near, &w.asked_about);
	stream_close(w.asked_about);
	RUN_UNTIL(w.loop, w.client.errors == 1);
	tls_decide(w.client.stream, NULL);
	turns(w.loop, 10);
	assert_int_equal(w.client.opens, 0);
	assert_int_equal(w.client.errors, 1);
	wire_close(&w);
}

static void
test_no(void **state)
{
	static struct wire w;

	(void)state;
	wire_open(&w, NULL);
	w.verdict = TLS_NO;
	wire_start(&w);
	assert_true(stream_put(w.client.stream, "secret", 6));
	RUN_UNTIL(w.loop, w.client.errors == 1);
	turns(w.loop, 30);
	assert_string_equal(w.client.err.text, "not the one I know");
	assert_int_equal(w.client.err.code, ERR_DENIED);
	assert_int_equal(w.client.opens, 0);
	assert_int_equal(w.server.bytes, 0);
	wire_close(&w);
}

static void
test_close_in_judge(void **state)
{
	static struct wire w;

	(void)state;
	for (int v = TLS_YES; v <= TLS_WAIT; v++) {
		wire_open(&w, NULL);
		w.verdict = (enum tls_verdict)v;
		w.closes = true;
		wire_start(&w);
		RUN_UNTIL(w.loop, w.asked == 1);
		turns(w.loop, 10);
		assert_int_equal(w.client.opens + w.client.errors, 0);
		wire_close(&w);
	}
}

/* --- who else may be there --- */

/* Each byte of the listener's first flights changed in turn: it never opens
 * with somebody else's name, nothing false is delivered, the error says it. */
static void
test_flips(void **state)
{
	static struct wire w;
	size_t total;

	(void)state;
	wire_open(&w, NULL);
	wire_start(&w);
	RUN_UNTIL(w.loop, w.server.opens == 1);
	assert_true(stream_put(w.server.stream, "true", 4));
	RUN_UNTIL(w.loop, w.client.bytes == 4);
	total = w.from_server;
	wire_close(&w);
	for (size_t at = 1; at <= total; at += at + 40 < total ? 7 : 1) {
		wire_open(&w, NULL);
		w.flip_at = at;
		wire_start(&w);
		for (int i = 0; i < 40 && w.client.errors == 0; i++) {
			if (w.server.opens == 1 &&
			    w.server.stream->bytes_out == 0)
				(void)stream_put(w.server.stream, "true", 4);
			loop_turn(w.loop, false);
		}
		/* Some bytes of a record's version mean nothing. */
		assert_true(w.client.bytes == 0 || w.client.errors == 0);
		if (w.client.bytes > 0)
			assert_string_equal(w.client.text, "true");
		if (w.client.errors > 0)
			assert_non_null(strstr(w.client.err.text, PEER));
		else if (w.from_server >= at)
			assert_true(
			    w.client.opens == 1 || w.from_server < total);
		wire_close(&w);
	}
	/* A flip in application data is told for what it is. */
	wire_open(&w, NULL);
	w.flip_at = total;
	wire_start(&w);
	RUN_UNTIL(w.loop, w.server.opens == 1);
	(void)stream_put(w.server.stream, "true", 4);
	RUN_UNTIL(w.loop, w.client.errors == 1);
	assert_int_equal(w.client.bytes, 0);
	assert_int_equal(w.client.err.code, ERR_TLS);
	assert_non_null(strstr(w.client.err.text, "changed"));
	assert_non_null(strstr(w.client.err.text, "listener of " PEER));
	wire_close(&w);
}

/* A server that is no listener: TLS, but not h2. */
static void
test_other_protocol(void **state)
{
	static struct wire w;
	char *ca = file_in_dir("ca.pem"), *cert = file_in_dir("cert.pem");
	char *key = file_in_dir("key.pem");
	const char *names[] = {"localhost", NULL};
	const struct tls_make_options make = {.ca_file = ca,
	    .cert_file = cert,
	    .key_file = key,
	    .names = names,
	    .days = 1};
	const struct tls_server_options files = {
	    .cert_file = cert, .key_file = key};
	struct err e;

	(void)state;
	if (!tls_make_certificate(&make, &e))
		fail_msg("%s", e.text);
	wire_open(&w, tls_context_server(&files, &e));
	wire_start(&w);
	RUN_UNTIL(w.loop, w.client.errors == 1);
	assert_int_equal(w.asked, 0);
	assert_non_null(strstr(w.client.err.text, PEER));
	wire_close(&w);
	unlink(ca);
	unlink(cert);
	unlink(key);
	free(ca);
	free(cert);
	free(key);
}

/* --- a CA --- */

static void
test_issued(void **state)
{
	static struct wire w;
	char *ca = file_in_dir("ca.pem"), *cert = file_in_dir("cert.pem");
	char *key = file_in_dir("key.pem");
	char *other = file_in_dir("other.pem"), *self;
	const char *names[] = {"path", NULL};
	struct tls_make_options make = {.ca_file = ca,
	    .cert_file = cert,
	    .key_file = key,
	    .names = names,
	    .days = 1};
	const struct tls_server_options files = {
	    .cert_file = cert, .key_file = key};
	struct err e;

	(void)state;
	assert_true(tls_make_certificate(&make, &e));
	wire_open(&w, tls_identity_load(&files, &e));
	wire_start(&w);
	RUN_UNTIL(w.loop, w.client.opens == 1);
	assert_true(tls_identity_is_issued(w.client.stream, ca, "path", &e));
	assert_false(tls_identity_is_issued(w.client.stream, ca, "pat", &e));
	assert_int_equal(e.code, ERR_TLS);
	assert_false(tls_identity_is_issued(w.client.stream, ca, "*", &e));
	assert_false(
	    tls_identity_is_issued(w.client.stream, other, "path", &e));
	assert_int_equal(e.code, ERR_NOT_FOUND);
	/* Another CA of the same words. */
	make.ca_file = other;
	make.cert_file = "/tmp/hyco-other-cert.pem";
	make.key_file = "/tmp/hyco-other-key.pem";
	unlink(make.cert_file);
	unlink(make.key_file);
	assert_true(tls_make_certificate(&make, &e));
	assert_false(
	    tls_identity_is_issued(w.client.stream, other, "path", &e));
	assert_int_equal(e.code, ERR_TLS);
	unlink(make.cert_file);
	unlink(make.key_file);
	wire_close(&w);
	/* A self-signed one is issued by nobody. */
	wire_open(&w, NULL);
	wire_start(&w);
	RUN_UNTIL(w.loop, w.client.opens == 1);
	assert_false(tls_identity_is_issued(w.client.stream, ca, "path", &e));
	self = file_in_dir("identity.pem");
	assert_false(tls_identity_is_issued(w.client.stream, self, "path", &e));
	wire_close(&w);
	unlink(ca);
	unlink(cert);
	unlink(key);
	unlink(other);
	free(ca);
	free(cert);
	free(key);
	free(other);
	free(self);
}

static int
set_up(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/hyco-identity-XXXXXX");
	return mkdtemp(dir) != NULL ? 0 : -1;
}

static int
tear_down(void **state)
{
	char *key = file_in_dir("identity.key");
	char *cert = file_in_dir("identity.pem");
	int rc;

	(void)state;
	unlink(key);
	unlink(cert);
	rc = rmdir(dir); /* nothing else was left there */
	free(key);
	free(cert);
	return rc;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_made_once),
	    cmocka_unit_test(test_made_at_once),
	    cmocka_unit_test(test_is_name),
	    cmocka_unit_test(test_yes),
	    cmocka_unit_test(test_wait),
	    cmocka_unit_test(test_wait_in_vain),
	    cmocka_unit_test(test_no),
	    cmocka_unit_test(test_close_in_judge),
	    cmocka_unit_test(test_flips),
	    cmocka_unit_test(test_other_protocol),
	    cmocka_unit_test(test_issued),
	};

	alarm(100);
	return cmocka_run_group_tests(tests, set_up, tear_down);
}

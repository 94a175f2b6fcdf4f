/* SPDX-License-Identifier: MIT
 *
 * TLS over any stream. OpenSSL never meets a socket: its BIO reads from the
 * block of ciphertext at hand (`in`) and writes into a block of the loop
 * (`out`), which leaves as one write when the call that filled it is over. A
 * chunk of ciphertext is always used up at once: what OpenSSL cannot decrypt
 * yet it keeps itself. Only when the owner is stopped with a chunk half read
 * (it can happen at the end of the handshake) is the rest held here.
 *
 *   handshake --open--> reading or stopped --close_notify--> ended
 *        \________________________\______________________failed
 *
 * Where a judge decides about the other side's identity, `undecided` stands
 * between the handshake and open: nothing is read, and what is written waits.
 */
#include "net/tls.h"

#include <assert.h>
#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "net/loop.h"
#include "net/tls_gcm.h"
#include "net/tls_inside.h"
#include "util/buf.h"
#include "util/err.h"
#include "util/list.h"
#include "util/mem.h"
#include "util/text.h"

/* Plaintext of one SSL_write: its records, 16 KiB each with at most 64 bytes
 * around them, fit into one block. */
#define WRITE_MAX ((size_t)256 * 1024)
#define BLOCK_ROOM (LOOP_BLOCK_SIZE - STREAM_HEADROOM)

/* Ciphertext that waits for a stopped owner: not more than one chunk. */
#define HELD_MAX LOOP_BLOCK_SIZE

/* Sessions a client remembers: a process talks to few relays. */
#define SESSIONS_MAX 64

static const char cipher_suites[] = "TLS_AES_128_GCM_SHA256:"
                                    "TLS_AES_256_GCM_SHA384:"
                                    "TLS_CHACHA20_POLY1305_SHA256";
static const char ciphers_12[] = "ECDHE+AESGCM:ECDHE+CHACHA20";
static const unsigned char alpn[] = "\x08http/1.1";
static const unsigned char alpn_end[] = "\x02h2";

/* "end-to-end TLS with the listener of " and NAMESPACE/PATH */
#define WHOM_MAX 400

struct session {
	struct list link; /* the newest first */
	SSL_SESSION *ssl;
	uint16_t port;
	char host[];
};

struct tls_context {
	atomic_uint refs;
	SSL_CTX *ssl;
	SSL_CTX *bare; /* see drop_session */
	BIO_METHOD *bio;
	_Atomic(BIO *) spare; /* serves whoever calls OpenSSL next */
	bool server;
	bool insecure;
	bool end_to_end;      /* listener and sender, not a relay */
	pthread_mutex_t lock; /* of the sessions and `bare` */
	struct list sessions;
	size_t n_sessions;
};

struct tls {
	struct stream base;
	struct stream *below;
	struct tls_context *context;
	SSL *ssl;
	struct deferred later;
	struct buf early;  /* plaintext written before the handshake is done */
	struct buf held;   /* ciphertext that waits for stream_start */
	struct err *fault; /* what broke the stream */
	char *host;        /* client: whom we verify */
	tls_judge judge;   /* NULL: the certificate was verified */
	void *judge_owner;
	const uint8_t *in; /* ciphertext for the BIO, while a call lasts */
	size_t in_len;
	uint8_t *out; /* a block of the loop, while a call lasts */
	size_t out_len;
	uint16_t port;
	bool undecided; /* the handshake is done, the judge is thinking */
	bool open_due;  /* the judge said yes: on_open is due */
	bool open;
	bool reading;
	bool ended;      /* close_notify came */
	bool end_told;   /* on_end was called */
	bool told;       /* on_error was called */
	bool below_shut; /* our close_notify and FIN are on their way */
	bool want_drain; /* a write returned false */
	bool drain_now;  /* early bytes are gone: on_drain is due */
	bool closing;
};

static const struct stream_ops ops;
static const struct stream_events below_events;

static struct tls *
tls_of(const struct stream *s)
{
	assert(s->ops == &ops);
	return (struct tls *)(void *)s;
}

/* --- the BIO --- */

/* Hands the records to the stream below. */
static bool
flush(struct tls *t)
{
	bool ok = true;

	if (t->out == NULL)
		return true;
	if (t->out_len > 0 && !t->below_shut)
		ok = stream_write(
		    t->below, t->out + STREAM_HEADROOM, t->out_len);
	loop_block_give(t->base.loop, t->out);
	t->out = NULL;
	t->out_len = 0;
	return ok;
}

static int
bio_write(BIO *b, const char *data, int len)
{
	struct tls *t = BIO_get_data(b);
	size_t n = (size_t)len;

	BIO_clear_retry_flags(b);
	if (len <= 0)
		return 0;
	if (n > BLOCK_ROOM - t->out_len)
		flush(t);
	assert(n <= BLOCK_ROOM);
	if (t->out == NULL)
		t->out = loop_block_take(t->base.loop);
	memcpy(t->out + STREAM_HEADROOM + t->out_len, data, n);
	t->out_len += n;
	return len;
}

static int
bio_read(BIO *b, char *data, int len)
{
	struct tls *t = BIO_get_data(b);
	size_t n = (size_t)len;

	BIO_clear_retry_flags(b);
	if (t->in_len == 0) {
		BIO_set_retry_read(b);
		return -1;
	}
	if (n > t->in_len)
		n = t->in_len;
	memcpy(data, t->in, n);
	t->in += n;
	t->in_len -= n;
	return (int)n;
}

static long
bio_ctrl(BIO *b, int cmd, long n, void *p)
{
	(void)b, (void)n, (void)p;
	return cmd == BIO_CTRL_FLUSH || cmd == BIO_CTRL_DUP;
}

static int
bio_create(BIO *b)
{
	BIO_set_init(b, 1);
	return 1;
}

static BIO_METHOD *
bio_method(void)
{
	BIO_METHOD *m = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "stream");

	if (m == NULL)
		abort();
	BIO_meth_set_write(m, bio_write);
	BIO_meth_set_read(m, bio_read);
	BIO_meth_set_ctrl(m, bio_ctrl);
	BIO_meth_set_create(m, bio_create);
	return m;
}

/* An open stream has a BIO only while it calls OpenSSL. */
static void
attach(struct tls *t)
{
	BIO *b = atomic_exchange(&t->context->spare, NULL);

	if (b == NULL)
		b = BIO_new(t->context->bio);
	if (b == NULL)
		abort();
	BIO_set_data(b, t);
	SSL_set_bio(t->ssl, b, b);
}

static void
detach(struct tls *t)
{
	BIO *b = SSL_get_rbio(t->ssl);

	BIO_up_ref(b);
	SSL_set_bio(t->ssl, NULL, NULL);
	BIO_free(atomic_exchange(&t->context->spare, b));
}

/* --- sessions of a client --- */

static void
session_free(struct tls_context *c, struct session *s)
{
	list_remove(&s->link);
	c->n_sessions--;
	SSL_SESSION_free(s->ssl);
	free(s);
}

static struct session *
session_find(struct tls_context *c, const char *host, uint16_t port)
{
	struct list *at;

	LIST_EACH (at, &c->sessions) {
		struct session *s = LIST_OF(at, struct session, link);

		if (s->port == port && text_is_equal_nocase(s->host, host))
			return s;
	}
	return NULL;
}

static void
session_forget(struct tls_context *c, const char *host, uint16_t port)
{
	struct session *s;

	pthread_mutex_lock(&c->lock);
	s = session_find(c, host, port);
	if (s != NULL)
		session_free(c, s);
	pthread_mutex_unlock(&c->lock);
}

/* Offers a copy of what we remember: OpenSSL spoils a session once it was used,
 * but several dials may go on at once before a new ticket comes. */
static void
session_use(struct tls *t)
{
	struct tls_context *c = t->context;
	SSL_SESSION *copy = NULL;
	struct session *s;

	pthread_mutex_lock(&c->lock);
	s = session_find(c, t->host, t->port);
	if (s != NULL)
		copy = SSL_SESSION_dup(s->ssl);
	pthread_mutex_unlock(&c->lock);
	if (copy != NULL)
		SSL_set_session(t->ssl, copy);
	SSL_SESSION_free(copy);
}

/* OpenSSL's callback: 1 takes the reference. Only handshakes that were
 * verified for this host come here, so what is kept needs no second look. */
static int
on_new_session(SSL *ssl, SSL_SESSION *session)
{
	struct tls *t = BIO_get_data(SSL_get_rbio(ssl));
	struct tls_context *c = t->context;
	struct session *s;
	size_t n;

	if (!SSL_SESSION_is_resumable(session))
		return 0;
	pthread_mutex_lock(&c->lock);
	s = session_find(c, t->host, t->port);
	if (s != NULL) {
		SSL_SESSION_free(s->ssl);
		list_remove(&s->link);
	} else {
		n = strlen(t->host) + 1;
		if (c->n_sessions == SESSIONS_MAX)
			session_free(
			    c, LIST_OF(c->sessions.prev, struct session, link));
		s = mem_zalloc(sizeof(*s) + n);
		memcpy(s->host, t->host, n);
		s->port = t->port;
		list_init(&s->link);
		c->n_sessions++;
	}
	s->ssl = session;
	list_prepend(&c->sessions, &s->link);
	pthread_mutex_unlock(&c->lock);
	return 1;
}

/* --- what went wrong, in words --- */

/* The oldest entry of OpenSSL's queue: the one nearest to the cause. */
static const char *
reason(void)
{
	const char *text = ERR_reason_error_string(ERR_peek_error());

	return text != NULL ? text : "unknown reason";
}

static void
add_name(char *out, size_t size, const void *name, size_t len)
{
	size_t used = strlen(out);

	if (used > 0 && used + 3 < size) {
		memcpy(out + used, ", ", 3);
		used += 2;
	}
	if (used + 1 < size)
		text_escape(name, len, out + used, size - used);
}

static void
add_ip(char *out, size_t size, const ASN1_OCTET_STRING *ip)
{
	const unsigned char *b = ASN1_STRING_get0_data(ip);
	char text[48] = "";
	size_t used = 0;

	if (ASN1_STRING_length(ip) == 4)
		snprintf(
		    text, sizeof(text), "%u.%u.%u.%u", b[0], b[1], b[2], b[3]);
	else if (ASN1_STRING_length(ip) == 16)
		for (int i = 0; i < 16; i += 2)
			used += (size_t)snprintf(text + used,
			    sizeof(text) - used, "%s%x", i > 0 ? ":" : "",
			    (unsigned)(b[i] << 8 | b[i + 1]));
	add_name(out, size, text, strlen(text));
}

/* With whom, as every text about the handshake begins. */
static const char *
whom(const struct tls *t, char out[WHOM_MAX])
{
	if (t->context->end_to_end && t->context->server)
		snprintf(out, WHOM_MAX, "end-to-end TLS with a sender");
	else if (t->context->end_to_end)
		snprintf(out, WHOM_MAX,
		    "end-to-end TLS with the listener of %s", t->host);
	else if (t->context->server)
		snprintf(out, WHOM_MAX, "TLS handshake with a client");
	else
		snprintf(out, WHOM_MAX, "relay TLS with %s port %u", t->host,
		    t->port);
	return out;
}

/* The names a certificate was issued for. They come from a peer that nobody
 * trusts, therefore escaped and cut. */
static void
list_names(X509 *x, char *out, size_t size)
{
	GENERAL_NAMES *names =
	    X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
	int n = names != NULL ? sk_GENERAL_NAME_num(names) : 0;

	*out = '\0';
	for (int i = 0; i < n; i++) {
		const GENERAL_NAME *g = sk_GENERAL_NAME_value(names, i);

		if (g->type == GEN_DNS)
			add_name(out, size, ASN1_STRING_get0_data(g->d.dNSName),
			    (size_t)ASN1_STRING_length(g->d.dNSName));
		else if (g->type == GEN_IPADD)
			add_ip(out, size, g->d.iPAddress);
	}
	GENERAL_NAMES_free(names);
	if (*out == '\0')
		add_name(out, size, "nobody", 6);
}

static void
print_date(const ASN1_TIME *date, char *out, size_t size)
{
	struct tm tm;

	if (ASN1_TIME_to_tm(date, &tm) != 1 ||
	    strftime(out, size, "%Y-%m-%d %H:%M UTC", &tm) == 0)
		snprintf(out, size, "an unknown date");
}

static void
describe_certificate(struct tls *t, X509 *x, int fault)
{
	struct err *e = t->fault;
	char text[256];

	switch (fault) {
	case X509_V_ERR_HOSTNAME_MISMATCH:
	case X509_V_ERR_IP_ADDRESS_MISMATCH:
		list_names(x, text, sizeof(text));
		err_set(e, ERR_TLS,
		    "relay certificate of %s is for another name: it was "
		    "issued for %s; connect to a name it holds",
		    t->host, text);
		break;
	case X509_V_ERR_CERT_HAS_EXPIRED:
		print_date(X509_get0_notAfter(x), text, sizeof(text));
		err_set(e, ERR_TLS,
		    "relay certificate of %s has expired on %s; it must be "
		    "renewed at the relay (or the clock here is wrong)",
		    t->host, text);
		break;
	case X509_V_ERR_CERT_NOT_YET_VALID:
		print_date(X509_get0_notBefore(x), text, sizeof(text));
		err_set(e, ERR_TLS,
		    "relay certificate of %s is not valid before %s; is the "
		    "clock here right?",
		    t->host, text);
		break;
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
		err_set(e, ERR_TLS,
		    "relay certificate of %s not trusted: %s; give its CA "
		    "with --ca FILE",
		    t->host, X509_verify_cert_error_string(fault));
		break;
	default:
		err_set(e, ERR_TLS, "relay certificate of %s not trusted: %s",
		    t->host, X509_verify_cert_error_string(fault));
	}
}

static void
fault_new(struct tls *t)
{
	if (t->fault == NULL)
		t->fault = mem_zalloc(sizeof(*t->fault));
}

/* OpenSSL's callback for each certificate of the chain: the only place that
 * knows which one is at fault. */
static int
on_verify(int ok, X509_STORE_CTX *store)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(
	    store, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct tls *t = BIO_get_data(SSL_get_rbio(ssl));

	if (!ok && t->fault == NULL) {
		fault_new(t);
		describe_certificate(t, X509_STORE_CTX_get_current_cert(store),
		    X509_STORE_CTX_get_error(store));
	}
	return ok;
}

/* `chunk`: the bytes that the handshake failed on. */
static void
describe_handshake(struct tls *t, const uint8_t *chunk, size_t len)
{
	int code = ERR_GET_REASON(ERR_peek_error());
	char text[WHOM_MAX];
	struct err *e;

	if (t->fault != NULL)
		return; /* on_verify has told it */
	fault_new(t);
	e = t->fault;
	whom(t, text);
	if (t->context->end_to_end)
		err_set(
		    e, ERR_TLS, "%s: the handshake failed: %s", text, reason());
	else if (t->context->server)
		err_set(e, ERR_TLS, "%s: %s", text,
		    code == SSL_R_HTTP_REQUEST ? "it speaks plain HTTP"
		                               : reason());
	else if (len >= 5 && memcmp(chunk, "HTTP/", 5) == 0)
		err_set(e, ERR_TLS,
		    "%s: the other side does not speak "
		    "TLS but plain HTTP; is it the right port?",
		    text);
	else if (code == SSL_R_WRONG_VERSION_NUMBER)
		err_set(e, ERR_TLS,
		    "%s: the other side does not speak "
		    "TLS; is it the right port?",
		    text);
	else
		err_set(e, ERR_TLS, "%s: %s", text, reason());
}

/* End to end a bad record is not the network's fault, which TCP and the
 * relay's TLS would have mended: somebody between has changed it. Alerts of
 * the other side are told as they are. */
static void
describe_broken(struct tls *t, const char *doing)
{
	int code = ERR_GET_REASON(ERR_peek_error());
	char text[WHOM_MAX];

	fault_new(t);
	if (!t->context->end_to_end)
		err_set(t->fault, ERR_TLS, "TLS %s: %s", doing, reason());
	else
		err_set(t->fault, ERR_TLS, "%s: %s%s", whom(t, text), reason(),
		    code < SSL_AD_REASON_OFFSET
		        ? "; what arrived is not what the other side sent, "
		          "something between (the relay?) changed it"
		        : "");
}

/* --- trouble --- */

static void
tell(struct tls *t)
{
	if (t->told || t->closing || t->base.events == NULL)
		return;
	t->told = true;
	t->base.events->on_error(t->base.owner, t->fault);
}

/* t->fault is filled. What is to be said to the peer (an alert) has been
 * flushed. */
static void
break_off(struct tls *t)
{
	t->want_drain = t->drain_now = false;
	buf_fini(&t->early);
	buf_fini(&t->held);
	stream_stop(t->below);
	if (!t->open && t->host != NULL)
		session_forget(t->context, t->host, t->port);
}

static void
fail_now(struct tls *t)
{
	break_off(t);
	tell(t);
}

static void
fail_later(struct tls *t)
{
	break_off(t);
	deferred_set(&t->later);
}

/* --- bytes out --- */

/* False when TLS broke. *ok: what the stream below said. */
static bool
encrypt(struct tls *t, const uint8_t *data, size_t len, bool *ok)
{
	bool is_whole = true;

	*ok = true;
	attach(t);
	while (len > 0 && is_whole) {
		size_t n = len < WRITE_MAX ? len : WRITE_MAX;
		size_t written = 0;

		ERR_clear_error();
		is_whole = SSL_write_ex(t->ssl, data, n, &written) == 1;
		if (!is_whole)
			describe_broken(t, "writing");
		data += written;
		len -= written;
		*ok = flush(t);
	}
	detach(t);
	return is_whole;
}

static bool
tls_write(struct stream *s, uint8_t *data, size_t len)
{
	struct tls *t = tls_of(s);
	bool ok;

	if (t->fault != NULL) {
		deferred_set(&t->later);
		return false;
	}
	if (!t->open) {
		if (!buf_append(&t->early, data, len)) {
			fault_new(t);
			err_set(t->fault, ERR_TOO_BIG,
			    "TLS: more than %zu bytes before the handshake "
			    "was done",
			    TLS_EARLY_MAX);
			fail_later(t);
			return false;
		}
		ok = buf_len(&t->early) <= TLS_EARLY_MAX / 4;
	} else if (!encrypt(t, data, len, &ok)) {
		fail_later(t);
		return false;
	}
	if (!ok)
		t->want_drain = true;
	return ok;
}

static void
say_goodbye(struct tls *t)
{
	attach(t);
	ERR_clear_error();
	SSL_shutdown(t->ssl);
	ERR_clear_error();
	detach(t);
	flush(t);
}

static void
shut_below(struct tls *t)
{
	say_goodbye(t);
	t->below_shut = true;
	stream_shutdown(t->below);
}

static void
tls_shutdown(struct stream *s)
{
	struct tls *t = tls_of(s);

	if (t->fault != NULL)
		deferred_set(&t->later);
	else if (t->open)
		shut_below(t);
}

/* --- bytes in --- */

/* Keeps what the BIO has not read for the time when the owner reads again. */
static bool
hold_rest(struct tls *t)
{
	bool ok = t->in_len == 0 || buf_append(&t->held, t->in, t->in_len);

	t->in = NULL;
	t->in_len = 0;
	return ok;
}

static bool
has_more(const struct tls *t)
{
	return buf_len(&t->held) > 0 || SSL_pending(t->ssl) > 0;
}

/* Decrypts into `data` what there is. False when TLS broke; what came before
 * is good nevertheless. */
static bool
decrypt(struct tls *t, uint8_t *data, size_t room, size_t *len)
{
	*len = 0;
	while (*len < room) {
		size_t n;

		ERR_clear_error();
		if (SSL_read_ex(t->ssl, data + *len, room - *len, &n) == 1) {
			*len += n;
			continue;
		}
		switch (SSL_get_error(t->ssl, 0)) {
		case SSL_ERROR_WANT_READ:
			return true;
		case SSL_ERROR_ZERO_RETURN:
			t->ended = true;
			t->in_len = 0;
			return true;
		default:
			describe_broken(t, "reading");
			return false;
		}
	}
	return true;
}

static void
tell_end(struct tls *t)
{
	if (!t->ended || t->end_told || !t->reading || t->closing ||
	    t->base.events == NULL)
		return;
	t->end_told = true;
	t->base.events->on_end(t->base.owner);
}

/* One chunk: all its plaintext by one on_data, then its end or trouble. */
static void
read_chunk(struct tls *t)
{
	uint8_t *block = loop_block_take(t->base.loop);
	size_t len;
	bool ok;

	attach(t);
	ok = decrypt(t, block + STREAM_HEADROOM, BLOCK_ROOM, &len);
	detach(t);
	flush(t); /* the answer to a KeyUpdate, an alert */
	/* A ticket makes OpenSSL take 16 KiB to write an answer that never
	 * comes. Buffers in use stay. */
	SSL_free_buffers(t->ssl);
	ok = hold_rest(t) && ok;
	if (!ok)
		break_off(t);
	if (len > 0 && t->base.events != NULL) {
		t->base.bytes_in += len;
		t->base.events->on_data(
		    t->base.owner, block + STREAM_HEADROOM, len);
	}
	loop_block_give(t->base.loop, block);
	if (t->closing)
		return;
	if (t->fault != NULL) {
		tell(t);
		return;
	}
	if (has_more(t)) {
		/* New bytes must not pass those that wait. */
		stream_stop(t->below);
		deferred_set(&t->later);
	} else {
		tell_end(t);
	}
}

/* --- the handshake --- */

static void
send_early(struct tls *t)
{
	bool ok = true;

	if (buf_len(&t->early) > 0 &&
	    !encrypt(t, buf_data(&t->early), buf_len(&t->early), &ok)) {
		fail_later(t);
		return;
	}
	buf_fini(&t->early);
	if (t->base.is_shut) {
		shut_below(t);
	} else if (t->want_drain && ok) {
		t->drain_now = true;
		deferred_set(&t->later);
	}
}

/* ALPN is not answered by somebody who does not know it. */
static bool
is_h2(const struct tls *t)
{
	const unsigned char *name;
	unsigned n;

	SSL_get0_alpn_selected(t->ssl, &name, &n);
	return n == 2 && memcmp(name, "h2", 2) == 0;
}

/* The handshake is done: whether bytes may flow. If not, the stream was closed,
 * has a fault or is undecided. */
static void
admit(struct tls *t)
{
	enum tls_verdict verdict = TLS_YES;
	struct err e = {0};

	if (t->context->end_to_end && !is_h2(t)) {
		char text[WHOM_MAX];

		fault_new(t);
		err_set(t->fault, ERR_PROTOCOL,
		    "%s: it does not speak h2; is it another program?",
		    whom(t, text));
		return;
	}
	if (t->judge != NULL)
		verdict = t->judge(t->judge_owner, &t->base, &e);
	if (t->closing)
		return;
	if (verdict == TLS_NO) {
		fault_new(t);
		*t->fault = e;
	}
	t->undecided = verdict == TLS_WAIT;
	t->open = verdict == TLS_YES;
}

/* --- after the handshake: memory --- */

/* Empties a key of the key exchange: it has done its work, and the connection
 * may live for days. */
static void
drop_key(EVP_PKEY *key)
{
	if (key != NULL)
		EVP_PKEY_set_type(key, EVP_PKEY_get_base_id(key));
	EVP_PKEY_free(key);
}

static SSL_CTX *
bare_context(struct tls_context *c, const SSL_METHOD *method)
{
	SSL_CTX *bare;

	pthread_mutex_lock(&c->lock);
	if (c->bare == NULL)
		c->bare = SSL_CTX_new_ex(NULL, tls_gcm_properties(), method);
	bare = c->bare;
	pthread_mutex_unlock(&c->lock);
	return bare != NULL && SSL_CTX_get_ssl_method(bare) == method ? bare
	                                                              : NULL;
}

/* A server keeps its session in the ticket and has no use for the object, but
 * for tls_export, which is for end-to-end connections alone. SSL_set_session
 * wants an SSL to be of the same method as its context, and would start it anew
 * if not. A version that was negotiated has a method of its own; so the SSL
 * first moves to an empty context of that method. Later OpenSSL compares
 * otherwise. */
static void
drop_session(struct tls *t)
{
	SSL_CTX *bare;

	if (OPENSSL_version_major() != 3 || OPENSSL_version_minor() > 1 ||
	    !t->context->server || t->context->end_to_end ||
	    SSL_version(t->ssl) != TLS1_3_VERSION)
		return;
	bare = bare_context(t->context, SSL_get_ssl_method(t->ssl));
	if (bare != NULL && SSL_set_SSL_CTX(t->ssl, bare) == bare)
		SSL_set_session(t->ssl, NULL);
}

/* OpenSSL keeps what the handshake needed until the end. */
static void
shed(struct tls *t)
{
	EVP_PKEY *key = NULL;

	if (SSL_get_tmp_key(t->ssl, &key) == 1)
		drop_key(key);
	key = NULL;
	if (SSL_get_peer_tmp_key(t->ssl, &key) == 1)
		drop_key(key);
	drop_session(t);
	ERR_clear_error();
	detach(t);
}

/* True when it is done. */
static bool
handshake(struct tls *t, const uint8_t *chunk, size_t len)
{
	int r;

	ERR_clear_error();
	r = SSL_do_handshake(t->ssl);
	if (r != 1 && SSL_get_error(t->ssl, r) != SSL_ERROR_WANT_READ)
		describe_handshake(t, chunk, len);
	flush(t);
	if (r == 1)
		shed(t);
	return r == 1;
}

static void
tell_open(struct tls *t)
{
	const struct stream_events *events = t->base.events;

	send_early(t);
	if (events != NULL && events->on_open != NULL)
		events->on_open(t->base.owner);
}

static void
on_below_data(void *owner, uint8_t *data, size_t len)
{
	struct tls *t = owner;

	if (t->ended || t->fault != NULL)
		return;
	t->in = data;
	t->in_len = len;
	if (!t->open) {
		if (handshake(t, data, len))
			admit(t);
		if (!t->closing && t->fault != NULL)
			fail_now(t);
		if (t->open)
			tell_open(t);
		else if (!t->undecided)
			return;
		if (t->closing || t->fault != NULL)
			return;
	}
	if (t->open && t->reading) {
		if (t->in_len > 0)
			read_chunk(t);
		return;
	}
	hold_rest(t);
	stream_stop(t->below);
}

static void
on_below_end(void *owner)
{
	struct tls *t = owner;
	char text[WHOM_MAX];

	if (t->ended || t->fault != NULL)
		return;
	fault_new(t);
	if (t->open)
		err_set(t->fault, ERR_RESET,
		    "the connection was cut: it ended without TLS's own end");
	else if (t->context->server)
		err_set(t->fault, ERR_RESET, "%s: it ended the connection",
		    whom(t, text));
	else
		err_set(t->fault, ERR_RESET,
		    "%s: the other side ended the connection during the "
		    "handshake",
		    whom(t, text));
	fail_now(t);
}

static void
on_below_drain(void *owner)
{
	struct tls *t = owner;

	/* Before the handshake is done only our own bytes drained. */
	if (!t->open || t->fault != NULL || t->base.events == NULL ||
	    (!t->want_drain && !t->below_shut))
		return;
	t->want_drain = false;
	t->base.events->on_drain(t->base.owner);
}

static void
on_below_error(void *owner, const struct err *err)
{
	struct tls *t = owner;
	char text[WHOM_MAX];

	if (t->fault != NULL)
		return;
	fault_new(t);
	*t->fault = *err;
	if (!t->open && t->host != NULL)
		err_prefix(t->fault, "%s", whom(t, text));
	fail_now(t);
}

static const struct stream_events below_events = {
    .on_data = on_below_data,
    .on_end = on_below_end,
    .on_drain = on_below_drain,
    .on_error = on_below_error,
};

/* --- the stream's own calls --- */

static void
on_later(void *owner)
{
	struct tls *t = owner;

	if (t->fault != NULL) {
		tell(t);
		return;
	}
	if (t->open_due) {
		t->open_due = false;
		t->open = true;
		tell_open(t);
		if (t->closing || t->fault != NULL)
			return;
	}
	if (t->drain_now) {
		t->drain_now = t->want_drain = false;
		if (t->base.events != NULL)
			t->base.events->on_drain(t->base.owner);
		if (t->closing || t->fault != NULL)
			return;
	}
	if (!t->open || !t->reading)
		return;
	if (has_more(t)) {
		struct buf chunk = t->held;

		/* What read_chunk does not use it holds anew. */
		buf_init(&t->held, HELD_MAX);
		t->in = buf_data(&chunk);
		t->in_len = buf_len(&chunk);
		read_chunk(t);
		buf_fini(&chunk);
	} else {
		tell_end(t);
	}
	if (!t->closing && t->fault == NULL && t->reading && !has_more(t))
		stream_start(t->below);
}

static void
tls_start(struct stream *s)
{
	struct tls *t = tls_of(s);

	t->reading = true;
	if (t->fault != NULL)
		deferred_set(&t->later);
	else if (t->open && (has_more(t) || t->ended))
		deferred_set(&t->later);
	else if (t->open)
		stream_start(t->below);
}

static void
tls_stop(struct stream *s)
{
	struct tls *t = tls_of(s);

	t->reading = false;
	if (t->open)
		stream_stop(t->below);
}

static size_t
tls_queued(const struct stream *s)
{
	const struct tls *t = tls_of(s);

	return buf_len(&t->early) + stream_queued(t->below);
}

static void
tls_set_turn(struct stream *s, size_t bytes)
{
	stream_set_turn(tls_of(s)->below, bytes);
}

static struct stream *
tls_below(const struct stream *s)
{
	return tls_of(s)->below;
}

static void
tls_free(void *object)
{
	struct tls *t = object;

	/* The session stays good even if nobody said goodbye. */
	SSL_set_shutdown(t->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_free(t->ssl);
	tls_context_unref(t->context);
	buf_fini(&t->early);
	buf_fini(&t->held);
	free(t->fault);
	free(t->host);
	free(t);
}

static void
tls_close(struct stream *s, bool reset)
{
	struct tls *t = tls_of(s);

	assert(!t->closing);
	t->closing = true;
	deferred_clear(&t->later);
	if (!reset && t->open && t->fault == NULL && !t->below_shut)
		say_goodbye(t);
	if (reset)
		stream_reset(t->below);
	else
		stream_close(t->below);
	loop_bury(s->loop, t, tls_free);
}

static const struct stream_ops ops = {
    .start = tls_start,
    .stop = tls_stop,
    .write = tls_write,
    .shutdown = tls_shutdown,
    .close = tls_close,
    .queued = tls_queued,
    .set_turn = tls_set_turn,
    .below = tls_below,
};

static struct tls *
tls_new(struct tls_context *c, struct stream *below)
{
	struct tls *t = mem_zalloc(sizeof(*t));

	t->ssl = SSL_new(c->ssl);
	if (t->ssl == NULL)
		abort();
	stream_init(&t->base, &ops, below->loop);
	t->context = tls_context_ref(c);
	t->below = below;
	deferred_init(&t->later, below->loop, on_later, t);
	buf_init(&t->early, TLS_EARLY_MAX);
	buf_init(&t->held, HELD_MAX);
	attach(t);
	stream_set_owner(below, &below_events, t);
	stream_start(below);
	return t;
}

static void
set_name(struct tls *t, const char *host)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(t->ssl);

	if (X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1)
		return; /* RFC 6066: no SNI for addresses */
	X509_VERIFY_PARAM_set_hostflags(
	    param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	if (X509_VERIFY_PARAM_set1_host(param, host, 0) != 1 ||
	    SSL_set_tlsext_host_name(t->ssl, host) != 1) {
		fault_new(t);
		err_set(t->fault, ERR_USAGE,
		    "relay TLS: the name of the relay cannot be verified");
	}
}

struct stream *
tls_client(struct tls_context *c, struct stream *below, const char *host,
    uint16_t port)
{
	struct tls *t = tls_new(c, below);

	assert(!c->server);
	t->host = mem_strdup(host);
	t->port = port;
	ERR_clear_error();
	set_name(t, host);
	if (t->fault == NULL) {
		SSL_set_connect_state(t->ssl);
		session_use(t);
		handshake(t, NULL, 0);
	}
	if (t->fault != NULL)
		fail_later(t);
	return &t->base;
}

struct stream *
tls_server(struct tls_context *c, struct stream *below)
{
	struct tls *t = tls_new(c, below);

	assert(c->server);
	SSL_set_accept_state(t->ssl);
	return &t->base;
}

/* The handshake starts at once, and what comes of it is not known before the
 * other side has answered. */
struct stream *
tls_client_judged(struct tls_context *c, struct stream *below, const char *peer,
    tls_judge judge, void *owner)
{
	struct tls *t = tls_new(c, below);

	assert(!c->server && c->end_to_end);
	t->host = mem_strdup(peer);
	t->judge = judge;
	t->judge_owner = owner;
	SSL_set_connect_state(t->ssl);
	handshake(t, NULL, 0);
	if (t->fault != NULL)
		fail_later(t);
	return &t->base;
}

void
tls_decide(struct stream *s, const struct err *no)
{
	struct tls *t = tls_of(s);

	if (t->fault != NULL)
		return; /* it broke meanwhile */
	assert(t->undecided);
	t->undecided = false;
	if (no != NULL) {
		fault_new(t);
		*t->fault = *no;
		fail_later(t);
	} else {
		t->open_due = true;
		deferred_set(&t->later);
	}
}

void
tls_export(const struct stream *s, const char *label, const void *context,
    size_t context_len, void *out, size_t len)
{
	assert(tls_of(s)->context->end_to_end);
	ERR_clear_error();
	if (SSL_export_keying_material(tls_of(s)->ssl, out, len, label,
	        strlen(label), context, context_len, 1) != 1)
		abort();
}

struct ssl_st *
tls_ssl(const struct stream *s)
{
	return tls_of(s)->ssl;
}

const char *
tls_version(const struct stream *s)
{
	return SSL_get_version(tls_of(s)->ssl);
}

bool
tls_is_resumed(const struct stream *s)
{
	return SSL_session_reused(tls_of(s)->ssl) == 1;
}

const char *
tls_server_name(const struct stream *s)
{
	const char *name =
	    SSL_get_servername(tls_of(s)->ssl, TLSEXT_NAMETYPE_host_name);

	return name != NULL ? name : "";
}

/* --- contexts --- */

static struct tls_context *
context_new(bool server)
{
	struct tls_context *c = mem_zalloc(sizeof(*c));

	ERR_clear_error();
	c->ssl = SSL_CTX_new_ex(NULL, tls_gcm_properties(),
	    server ? TLS_server_method() : TLS_client_method());
	if (c->ssl == NULL)
		abort();
	c->bio = bio_method();
	c->server = server;
	atomic_init(&c->refs, 1);
	pthread_mutex_init(&c->lock, NULL);
	list_init(&c->sessions);
	SSL_CTX_set_mode(c->ssl, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_options(c->ssl, SSL_OP_NO_RENEGOTIATION |
	                                SSL_OP_NO_COMPRESSION |
	                                SSL_OP_CIPHER_SERVER_PREFERENCE);
	if (SSL_CTX_set_min_proto_version(c->ssl, TLS1_2_VERSION) != 1 ||
	    SSL_CTX_set_ciphersuites(c->ssl, cipher_suites) != 1 ||
	    SSL_CTX_set_cipher_list(c->ssl, ciphers_12) != 1 ||
	    SSL_CTX_set1_groups_list(c->ssl, "X25519:P-256") != 1)
		abort();
	return c;
}

static bool
file_error(struct err *e, const char *what, const char *file)
{
	return err_set(
	    e, ERR_TLS, "%s %s cannot be used: %s", what, file, reason());
}

static bool
is_readable(const char *what, const char *file, struct err *e)
{
	FILE *f = fopen(file, "re");

	if (f == NULL)
		return err_set_errno(e,
		    errno == EACCES ? ERR_DENIED : ERR_NOT_FOUND, errno,
		    "%s %s", what, file);
	fclose(f);
	return true;
}

static bool
set_trust(
    struct tls_context *c, const struct tls_client_options *o, struct err *e)
{
	if (!o->no_system_ca && SSL_CTX_set_default_verify_paths(c->ssl) != 1)
		return err_set(e, ERR_TLS,
		    "the system's trusted certificates cannot be used: %s",
		    reason());
	if (o->ca_file == NULL)
		return true;
	if (!is_readable("CA file", o->ca_file, e))
		return false;
	if (SSL_CTX_load_verify_file(c->ssl, o->ca_file) != 1)
		return file_error(e, "CA file", o->ca_file);
	return true;
}

struct tls_context *
tls_context_client(const struct tls_client_options *o, struct err *e)
{
	struct tls_context *c = context_new(false);

	if (!o->insecure && !set_trust(c, o, e)) {
		tls_context_unref(c);
		return NULL;
	}
	c->insecure = o->insecure;
	SSL_CTX_set_verify(c->ssl,
	    o->insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER,
	    o->insecure ? NULL : on_verify);
	SSL_CTX_set_session_cache_mode(
	    c->ssl, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(c->ssl, on_new_session);
	if (SSL_CTX_set_alpn_protos(c->ssl, alpn, sizeof(alpn) - 1) != 0)
		abort();
	return c;
}

/* A client that offers other protocols only gets no answer about them. */
static int
on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
    const unsigned char *in, unsigned in_len, void *arg)
{
	unsigned at = 0;

	(void)ssl, (void)arg;
	while (at < in_len) {
		unsigned n = in[at] + 1u;

		if (n == sizeof(alpn) - 1 && at + n <= in_len &&
		    memcmp(in + at, alpn, n) == 0) {
			*out = in + at + 1;
			*out_len = in[at];
			return SSL_TLSEXT_ERR_OK;
		}
		at += n;
	}
	return SSL_TLSEXT_ERR_NOACK;
}

static int
on_server_name(SSL *ssl, int *alert, void *arg)
{
	(void)ssl, (void)alert, (void)arg;
	return SSL_TLSEXT_ERR_OK;
}

static bool
is_private(const char *file, struct err *e)
{
	struct stat st;

	if (stat(file, &st) != 0)
		return err_set_errno(
		    e, ERR_NOT_FOUND, errno, "key file %s", file);
	if (S_ISREG(st.st_mode) && (st.st_mode & 077) != 0)
		return err_set(e, ERR_DENIED,
		    "key file %s may be read by others than its owner: "
		    "chmod 600 %s",
		    file, file);
	return true;
}

static bool
set_identity(
    struct tls_context *c, const struct tls_server_options *o, struct err *e)
{
	if (!is_readable("certificate file", o->cert_file, e) ||
	    !is_private(o->key_file, e) ||
	    !is_readable("key file", o->key_file, e))
		return false;
	ERR_clear_error();
	if (SSL_CTX_use_certificate_chain_file(c->ssl, o->cert_file) != 1)
		return file_error(e, "certificate file", o->cert_file);
	if (SSL_CTX_use_PrivateKey_file(
	        c->ssl, o->key_file, SSL_FILETYPE_PEM) != 1)
		return file_error(e, "key file", o->key_file);
	return true;
}

/* How long a ticket is good. A client offers the same one on each dial, so it
 * is also how often a busy client meets with a whole handshake. */
#define TICKET_LIFE_S 7200

/* OpenSSL's callback for a ticket that a client offers. Who has a good one gets
 * no other: making, sending and reading it would be a tenth of the cost of a
 * resumed handshake. */
static SSL_TICKET_RETURN
on_ticket(SSL *ssl, SSL_SESSION *session, const unsigned char *name,
    size_t name_len, SSL_TICKET_STATUS status, void *arg)
{
	(void)session, (void)name, (void)name_len, (void)arg;
	switch (status) {
	case SSL_TICKET_SUCCESS:
		SSL_set_num_tickets(ssl, 0);
		return SSL_TICKET_RETURN_USE;
	case SSL_TICKET_SUCCESS_RENEW:
		return SSL_TICKET_RETURN_USE_RENEW;
	default:
		return SSL_TICKET_RETURN_IGNORE_RENEW;
	}
}

struct tls_context *
tls_context_server(const struct tls_server_options *o, struct err *e)
{
	struct tls_context *c = context_new(true);

	if (!set_identity(c, o, e)) {
		tls_context_unref(c);
		return NULL;
	}
	/* Tickets carry the state: nothing is kept for clients that left. */
	SSL_CTX_set_session_cache_mode(c->ssl, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(c->ssl, 1);
	SSL_CTX_set_timeout(c->ssl, TICKET_LIFE_S);
	if (SSL_CTX_set_session_ticket_cb(c->ssl, NULL, on_ticket, NULL) != 1)
		abort();
	SSL_CTX_set_session_id_context(c->ssl, alpn, sizeof(alpn) - 1);
	SSL_CTX_set_alpn_select_cb(c->ssl, on_alpn, NULL);
	SSL_CTX_set_tlsext_servername_callback(c->ssl, on_server_name);
	return c;
}

/* Who offers something else is not one of ours. */
static int
on_alpn_end(SSL *ssl, const unsigned char **out, unsigned char *out_len,
    const unsigned char *in, unsigned in_len, void *arg)
{
	unsigned char *found;

	(void)ssl, (void)arg;
	if (SSL_select_next_proto(&found, out_len, alpn_end,
	        sizeof(alpn_end) - 1, in, in_len) != OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*out = found;
	return SSL_TLSEXT_ERR_OK;
}

/* The session below already resumes; tickets would only be a second way in. */
struct tls_context *
tls_context_end_new(bool server)
{
	struct tls_context *c = context_new(server);

	c->end_to_end = true;
	SSL_CTX_set_options(c->ssl, SSL_OP_NO_TICKET);
	SSL_CTX_set_session_cache_mode(c->ssl, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(c->ssl, 0);
	SSL_CTX_set_max_early_data(c->ssl, 0);
	if (SSL_CTX_set_min_proto_version(c->ssl, TLS1_3_VERSION) != 1 ||
	    SSL_CTX_set_alpn_protos(c->ssl, alpn_end, sizeof(alpn_end) - 1) !=
	        0)
		abort();
	SSL_CTX_set_alpn_select_cb(c->ssl, on_alpn_end, NULL);
	SSL_CTX_set_verify(c->ssl, SSL_VERIFY_NONE, NULL);
	return c;
}

bool
tls_context_use_files(
    struct tls_context *c, const struct tls_server_options *o, struct err *e)
{
	return set_identity(c, o, e);
}

struct ssl_ctx_st *
tls_context_ssl(const struct tls_context *c)
{
	return c->ssl;
}

struct tls_context *
tls_context_ref(struct tls_context *c)
{
	atomic_fetch_add(&c->refs, 1);
	return c;
}

void
tls_context_unref(struct tls_context *c)
{
	if (c == NULL || atomic_fetch_sub(&c->refs, 1) > 1)
		return;
	while (!list_is_empty(&c->sessions))
		session_free(
		    c, LIST_OF(c->sessions.next, struct session, link));
	SSL_CTX_free(c->ssl);
	SSL_CTX_free(c->bare);
	BIO_free(c->spare);
	BIO_meth_free(c->bio);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

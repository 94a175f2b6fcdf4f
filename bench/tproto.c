/* SPDX-License-Identifier: MIT */
/*
 * tproto: the yardstick, a prototype without features that tells what is
 * reachable. Little error handling on purpose. app -> connect =TLS+WebSocket=>
 * relay <=TLS+WebSocket= listen -> app, one thread each, epoll edge-triggered.
 *
 *   tproto relay   -l PORT -k KEY -c CERT
 *   tproto listen  -r RELAYPORT -t TARGETPORT
 *   tproto connect -l PORT -r RELAYPORT
 *   tproto tlss    -l PORT -t TARGETPORT -k KEY -c CERT     (TLS to TCP, no
 * WebSocket, no relay) tproto tlsc    -l PORT -t TARGETPORT (TCP to TLS) tproto
 * tcp     -l PORT -t TARGETPORT                    (TCP to TCP, the same loop)
 * Set-up is as Azure Relay's: the listener holds a control channel; for each
 * connection the relay sends it an id, the listener dials a rendezvous (TLS +
 * upgrade), dials the app, and only then both get their 101.
 *
 * -i fd|ra|bio|mix  TLS I/O: SSL on the socket; the same with OpenSSL's
 * read-ahead; own buffering BIO both ways (default); read-ahead for reading and
 * own BIO for writing -z N   read size / most plaintext per turn (65536)    -F
 * N  WebSocket payload per frame from an app (0: z less header) -x N ciphertext
 * read size (z + 1 KiB)               -C suite  (TLS_AES_128_GCM_SHA256) -R N /
 * -S N  SO_RCVBUF / SO_SNDBUF (0: the kernel's own tuning) Build: cc -O3
 * -march=x86-64-v3 -std=gnu11 -o tproto tproto.c -lssl -lcrypto -B N  turns of
 * 'z' bytes a connection gets before the loop goes round (8) -1  hand each TLS
 * record to the kernel by itself (no batching)   -s  resume TLS sessions
 * (client)
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum role { R_CONNECT, R_RELAY, R_LISTEN, R_TLSS, R_TLSC, R_TCP };
enum io { IO_FD, IO_RA, IO_BIO, IO_MIX };
#define OWNW (io == IO_BIO || io == IO_MIX)
static enum role role;
static enum io io = IO_BIO;
static int lport, tport, rport, rcvbuf, sndbuf;
static size_t zz = 65536, xx, fpay;
static bool single, resume;
static int budget = 8;
static const char *keyf, *certf, *suite = "TLS_AES_128_GCM_SHA256";
static SSL_CTX *cctx, *sctx;
static SSL_SESSION *sess;
static int ep;

/* ---- buffers, shared through a free list so that an idle connection holds
 * none ---- */
struct buf {
	struct buf *next;
	size_t r, w;
	uint8_t b[];
};
static struct buf *pool;
static size_t bcap;
static struct buf *
bget(void)
{
	struct buf *b = pool;
	if (b)
		pool = b->next;
	else
		b = malloc(sizeof *b + bcap);
	b->r = b->w = 0;
	return b;
}
static void
bput(struct buf **b)
{
	if (*b) {
		(*b)->next = pool;
		pool = *b;
		*b = NULL;
	}
}

struct pair;
struct end {
	int fd;
	bool tls, server, ws, mask, eof, rdy, open, conn_done;
	SSL *ssl;
	struct buf *in, *out; /* ciphertext (own BIO) */
	struct buf *pend;     /* bytes to hand to this end: plaintext, framed */
	struct pair *p;
	/* WebSocket parser */
	uint8_t h[14];
	unsigned hl;
	uint64_t left;
	uint8_t mk[4];
	unsigned mpos;
	bool inmask;
	/* HTTP */
	char *http;
	unsigned httpl;
};
struct pair {
	struct end e[2]; /* 0: who came to us, 1: whom we dialled (relay: the
	                    listener's rendezvous) */
	unsigned id;
	bool dead, again, ctl, paired;
	struct pair *nd, *na;
};
static struct pair *deadl, *againl, *ctl;
static struct pair *waiting[65536];

/* ---- own BIO ---- */
static BIO_METHOD *bm;
static int
b_write(BIO *b, const char *p, int n)
{
	struct end *e = BIO_get_data(b);
	BIO_clear_retry_flags(b);
	if (!e->out)
		e->out = bget();
	if (e->out->w + (size_t)n > bcap) {
		BIO_set_retry_write(b);
		return -1;
	}
	memcpy(e->out->b + e->out->w, p, (size_t)n);
	e->out->w += (size_t)n;
	return n;
}
static int
b_read(BIO *b, char *p, int n)
{
	struct end *e = BIO_get_data(b);
	BIO_clear_retry_flags(b);
	if (!e->in || e->in->r == e->in->w) {
		if (!e->in)
			e->in = bget();
		e->in->r = e->in->w = 0;
		ssize_t k = e->rdy ? read(e->fd, e->in->b, xx) : -1;
		if (k <= 0) {
			if (k == 0)
				e->eof = true;
			else if (!e->rdy || errno == EAGAIN)
				e->rdy = false;
			else
				e->eof = true;
			bput(&e->in);
			if (e->eof)
				return 0;
			BIO_set_retry_read(b);
			return -1;
		}
		if ((size_t)k < xx)
			e->rdy = false; /* drained; the next edge tells */
		e->in->w = (size_t)k;
	}
	size_t k = e->in->w - e->in->r;
	if (k > (size_t)n)
		k = (size_t)n;
	memcpy(p, e->in->b + e->in->r, k);
	e->in->r += k;
	if (e->in->r == e->in->w)
		bput(&e->in);
	return (int)k;
}
static long
b_ctrl(BIO *b, int c, long n, void *p)
{
	(void)b, (void)n, (void)p;
	return c == BIO_CTRL_FLUSH || c == BIO_CTRL_DUP ? 1 : 0;
}
static int
b_new(BIO *b)
{
	BIO_set_init(b, 1);
	return 1;
}

/* ---- XOR ---- */
__attribute__((target_clones("avx512f", "avx2", "default"))) static void
xor8(uint8_t *restrict d, const uint8_t *restrict s, size_t n, uint64_t m)
{
	size_t i = 0;
	for (; i + 8 <= n; i += 8) {
		uint64_t v;
		memcpy(&v, s + i, 8);
		v ^= m;
		memcpy(d + i, &v, 8);
	}
	for (; i < n; i++)
		d[i] = s[i] ^ (uint8_t)(m >> (8 * (i & 7)));
}
__attribute__((target_clones("avx512f", "avx2", "default"))) static void
xor8_in(uint8_t *d, size_t n, uint64_t m)
{
	size_t i = 0;
	for (; i + 8 <= n; i += 8) {
		uint64_t v;
		memcpy(&v, d + i, 8);
		v ^= m;
		memcpy(d + i, &v, 8);
	}
	for (; i < n; i++)
		d[i] ^= (uint8_t)(m >> (8 * (i & 7)));
}
static uint64_t
mask64(const uint8_t k[4], unsigned pos)
{
	uint8_t r[8];
	for (unsigned i = 0; i < 8; i++)
		r[i] = k[(pos + i) & 3];
	uint64_t m;
	memcpy(&m, r, 8);
	return m;
}

/* ---- raw ends ---- */
static void
kill_pair(struct pair *p)
{
	if (!p->dead) {
		p->dead = true;
		p->nd = deadl;
		deadl = p;
	}
}
static bool
oflush(struct end *e) /* ciphertext out; true: all gone */
{
	while (e->out && e->out->r < e->out->w) {
		ssize_t k =
		    write(e->fd, e->out->b + e->out->r, e->out->w - e->out->r);
		if (k < 0) {
			if (errno != EAGAIN)
				kill_pair(e->p);
			return false;
		}
		e->out->r += (size_t)k;
	}
	bput(&e->out);
	return true;
}
/* bytes wanted by this end: true when all are gone */
static bool
flush(struct end *e)
{
	if (!oflush(e))
		return false;
	while (e->pend && e->pend->r < e->pend->w) {
		uint8_t *s = e->pend->b + e->pend->r;
		size_t n = e->pend->w - e->pend->r;
		if (!e->tls) {
			ssize_t k = write(e->fd, s, n);
			if (k < 0) {
				if (errno != EAGAIN)
					kill_pair(e->p);
				return false;
			}
			e->pend->r += (size_t)k;
			continue;
		}
		if (single && n > 16384)
			n = 16384;
		size_t k = 0;
		if (!SSL_write_ex(e->ssl, s, n, &k)) {
			int er = SSL_get_error(e->ssl, 0);
			if (er == SSL_ERROR_WANT_WRITE ||
			    er == SSL_ERROR_WANT_READ) {
				if (OWNW && oflush(e))
					continue;
				return false;
			}
			ERR_clear_error();
			kill_pair(e->p);
			return false;
		}
		e->pend->r += k;
		if (OWNW && (single || (e->out && e->out->w + 17000 > bcap)) &&
		    !oflush(e))
			return false;
	}
	bput(&e->pend);
	return oflush(e);
}
/* up to n bytes from an end; 0: nothing now (or e->eof) */
static size_t
take(struct end *e, uint8_t *b, size_t n)
{
	size_t got = 0;
	if (!e->tls) {
		if (!e->rdy)
			return 0;
		ssize_t k = read(e->fd, b, n);
		if (k > 0) {
			if ((size_t)k < n)
				e->rdy = false;
			return (size_t)k;
		}
		if (k == 0 || errno != EAGAIN)
			e->eof = true;
		e->rdy = false;
		return 0;
	}
	while (got < n) {
		size_t k = 0;
		if (!SSL_read_ex(e->ssl, b + got, n - got, &k)) {
			int er = SSL_get_error(e->ssl, 0);
			if (er == SSL_ERROR_WANT_READ ||
			    er == SSL_ERROR_WANT_WRITE)
				e->rdy = false;
			else {
				ERR_clear_error(); /* or another connection's
				                      SSL_get_error finds it */
				e->eof = true;
			}
			break;
		}
		got += k;
	}
	return got;
}

/* ---- WebSocket ---- */
static unsigned
ws_head(uint8_t *h, uint64_t n, bool mask, uint8_t key[4])
{
	unsigned l = 2;
	h[0] = 0x82;
	if (n < 126)
		h[1] = (uint8_t)n;
	else if (n < 65536) {
		h[1] = 126;
		h[2] = (uint8_t)(n >> 8);
		h[3] = (uint8_t)n;
		l = 4;
	} else {
		h[1] = 127;
		for (int i = 0; i < 8; i++)
			h[2 + i] = (uint8_t)(n >> (56 - 8 * i));
		l = 10;
	}
	if (mask) {
		static uint8_t rnd[4096];
		static size_t at = sizeof rnd;
		if (at == sizeof rnd) {
			RAND_bytes(rnd, sizeof rnd);
			at = 0;
		}
		memcpy(key, rnd + at, 4);
		at += 4;
		h[1] |= 0x80;
		memcpy(h + l, key, 4);
		l += 4;
	}
	return l;
}
/* decode n bytes at s from end e; payload goes to d (XOR-copied, or moved);
 * when rehead, each frame's header is written anew, unmasked */
static size_t
ws_decode(struct end *e, uint8_t *s, size_t n, uint8_t *d, bool rehead)
{
	size_t o = 0;
	while (n) {
		if (!e->left) {
			e->h[e->hl++] = *s++;
			n--;
			if (e->hl < 2)
				continue;
			unsigned l7 = e->h[1] & 127,
			         need = 2 +
			                (l7 == 126      ? 2
			                    : l7 == 127 ? 8
			                                : 0) +
			                (e->h[1] & 0x80 ? 4 : 0);
			if (e->hl < need)
				continue;
			uint64_t len = l7;
			if (l7 == 126)
				len = (uint64_t)e->h[2] << 8 | e->h[3];
			else if (l7 == 127) {
				len = 0;
				for (int i = 0; i < 8; i++)
					len = len << 8 | e->h[2 + i];
			}
			e->inmask = e->h[1] & 0x80;
			if (e->inmask)
				memcpy(e->mk, e->h + need - 4, 4);
			if ((e->h[0] & 15) == 8) {
				e->eof = true;
				return o;
			}
			e->left = len;
			e->mpos = 0;
			e->hl = 0;
			if (rehead)
				o += ws_head(d + o, len, false, NULL);
			continue;
		}
		size_t k = n < e->left ? n : (size_t)e->left;
		if (e->inmask) {
			xor8(d + o, s, k, mask64(e->mk, e->mpos));
			e->mpos = (e->mpos + (unsigned)(k & 3)) & 3;
		} else
			memcpy(d + o, s, k);
		s += k;
		o += k;
		n -= k;
		e->left -= k;
	}
	return o;
}

/* ---- one turn of one direction; true: there may be more at once ---- */
static uint8_t *scratch;
static bool
turn(struct end *a, struct end *b)
{
	if (b->pend || b->out)
		if (!flush(b))
			return false;
	if (a->eof) {
		kill_pair(a->p);
		return false;
	}
	size_t n;
	if (!a->ws && b->ws) { /* app -> WebSocket: frame in place */
		struct buf *q = bget();
		size_t pay = fpay ? fpay : zz - 14;
		n = take(a, q->b + 14, pay);
		if (n) {
			uint8_t h[14], key[4];
			unsigned l = ws_head(h, n, b->mask, key);
			memcpy(q->b + 14 - l, h, l);
			if (b->mask)
				xor8_in(q->b + 14, n, mask64(key, 0));
			q->r = 14 - l;
			q->w = 14 + n;
			b->pend = q;
		} else
			bput(&q);
	} else if (a->ws) {
		n = take(a, scratch, zz);
		if (n) {
			struct buf *q = bget();
			q->w = ws_decode(a, scratch, n, q->b, b->ws);
			b->pend = q;
		}
	} else {
		struct buf *q = bget();
		n = take(a, q->b, zz);
		q->w = n;
		if (n)
			b->pend = q;
		else
			bput(&q);
	}
	if (!n) {
		if (a->eof)
			kill_pair(a->p);
		return false;
	}
	return flush(b);
}

/* ---- set-up ---- */
static void
arm(struct end *e, struct pair *p)
{
	struct epoll_event ev = {
	    .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = p};
	e->p = p;
	epoll_ctl(ep, EPOLL_CTL_ADD, e->fd, &ev);
}
static void
sockopts(int fd)
{
	int one = 1;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (rcvbuf)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &rcvbuf, sizeof rcvbuf);
	if (sndbuf)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &sndbuf, sizeof sndbuf);
}
static void
tls_on(struct end *e, bool server)
{
	e->tls = true;
	e->server = server;
	e->ssl = SSL_new(server ? sctx : cctx);
	if (OWNW) {
		BIO *b = BIO_new(bm);
		BIO_set_data(b, e);
		SSL_set_bio(e->ssl,
		    io == IO_MIX ? BIO_new_socket(e->fd, BIO_NOCLOSE) : b, b);
	} else
		SSL_set_fd(e->ssl, e->fd);
	if (server)
		SSL_set_accept_state(e->ssl);
	else {
		SSL_set_connect_state(e->ssl);
		if (resume && sess) {
			SSL_SESSION *s = sess;
			SSL_set_session(e->ssl, s);
		}
	}
}
static void
dial(struct end *e, struct pair *p, int port)
{
	struct sockaddr_in t = {.sin_family = AF_INET,
	    .sin_port = htons((uint16_t)port),
	    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	e->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	sockopts(e->fd);
	connect(e->fd, (struct sockaddr *)&t, sizeof t);
	arm(e, p);
}
static struct pair *
pnew(void)
{
	struct pair *p = calloc(1, sizeof *p);
	p->e[0].fd = p->e[1].fd = -1;
	p->e[0].p = p->e[1].p = p;
	return p;
}
static void
say(struct end *e, const void *s, size_t n) /* small things, in order */
{
	if (!e->pend)
		e->pend = bget();
	memcpy(e->pend->b + e->pend->w, s, n);
	e->pend->w += n;
}
static void
http_ask(struct end *e, const char *path)
{
	char b[512];
	int n = snprintf(b, sizeof b,
	    "GET %s HTTP/1.1\r\nHost: relay.example:443\r\nUpgrade: "
	    "websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: "
	    "dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: "
	    "13\r\nServiceBusAuthorization: SharedAccessSignature "
	    "sr=http%%3A%%2F%%2Frelay.example%%2Fhc&sig="
	    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA%%3D&se=1700000000&skn="
	    "send\r\n\r\n",
	    path);
	say(e, b, (size_t)n);
}
static const char r101[] =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: "
    "Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

static bool
handshake(struct end *e) /* true: TLS is up */
{
	if (!e->tls || SSL_is_init_finished(e->ssl))
		return true;
	int r = SSL_do_handshake(e->ssl);
	if (OWNW)
		oflush(e);
	if (r == 1)
		return true;
	int er = SSL_get_error(e->ssl, r);
	if (er != SSL_ERROR_WANT_READ && er != SSL_ERROR_WANT_WRITE) {
		ERR_clear_error();
		kill_pair(e->p);
	}
	return false;
}
/* read an HTTP head; true when whole. Never reads past it by more than the peer
 * sends early (the peer waits for us) */
static bool
http_head(struct end *e)
{
	if (!e->http)
		e->http = calloc(1, 2048);
	size_t k = take(e, (uint8_t *)e->http + e->httpl,
	    1); /* byte by byte from the decrypted record: set-up only */
	while (k) {
		e->httpl++;
		if (e->httpl >= 4 &&
		    !memcmp(e->http + e->httpl - 4, "\r\n\r\n", 4))
			return true;
		if (e->httpl >= 2047) {
			kill_pair(e->p);
			return false;
		}
		k = take(e, (uint8_t *)e->http + e->httpl, 1);
	}
	if (e->eof)
		kill_pair(e->p);
	return false;
}
static void run(struct pair *p);
static void
again(struct pair *p)
{
	if (!p->again) {
		p->again = true;
		p->na = againl;
		againl = p;
	}
}
static bool
setup(struct pair *p) /* true: both ends are open, data may flow */
{
	struct end *a = &p->e[0], *b = &p->e[1];
	switch (role) {
	case R_TCP:
		return true;
	case R_TLSS:
		return handshake(a);
	case R_TLSC:
		return handshake(b);
	case R_CONNECT:
		if (b->open)
			return true;
		if (!handshake(b))
			return false;
		if (!b->http && !b->conn_done) {
			b->conn_done = true;
			http_ask(b, "/$hc/hc?sb-hc-action=connect");
		}
		if (!flush(b) || !http_head(b))
			return false;
		free(b->http);
		b->http = NULL;
		b->ws = b->mask = b->open = true;
		return true;
	case R_LISTEN:
		if (b->open)
			return true;
		if (!handshake(b))
			return false;
		if (!b->conn_done) {
			char path[64];
			b->conn_done = true;
			if (p->ctl)
				snprintf(path, sizeof path, "/control");
			else
				snprintf(path, sizeof path, "/rv/%08x", p->id);
			http_ask(b, path);
		}
		if (!flush(b) || !http_head(b))
			return false;
		free(b->http);
		b->http = NULL;
		b->ws = b->mask = b->open = true;
		if (p->ctl)
			fprintf(stderr, "listening\n");
		return true;
	case R_RELAY:
		if (p->paired)
			return true;
		if (!handshake(a) || a->conn_done)
			return false;
		if (!http_head(a))
			return false;
		a->conn_done = true;
		char *h = a->http;
		if (!strncmp(h, "GET /control", 12)) {
			ctl = p;
			p->ctl = true;
			say(a, r101, sizeof r101 - 1);
			a->ws = true;
			flush(a);
			again(p);
		} else if (!strncmp(h, "GET /rv/", 8)) {
			unsigned id = (unsigned)strtoul(h + 8, NULL, 16);
			struct pair *w = waiting[id & 65535];
			if (!w || w->id != id) {
				kill_pair(p);
				return false;
			}
			waiting[id & 65535] = NULL;
			/* move this end into the waiting pair */
			free(a->http);
			a->http = NULL;
			w->e[1] = *a;
			w->e[1].p = w;
			if (OWNW)
				BIO_set_data(SSL_get_wbio(a->ssl), &w->e[1]);
			struct epoll_event ev = {
			    .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
			    .data.ptr = w};
			epoll_ctl(ep, EPOLL_CTL_MOD, a->fd, &ev);
			memset(a, 0, sizeof *a);
			a->fd = -1;
			a->p = p;
			kill_pair(p);
			w->paired = true;
			for (int i = 0; i < 2; i++) {
				w->e[i].ws = true;
				w->e[i].rdy = true;
				say(&w->e[i], r101, sizeof r101 - 1);
				flush(&w->e[i]);
			}
			again(w);
			return false;
		} else if (ctl) {
			static unsigned ids;
			p->id = ++ids;
			waiting[p->id & 65535] = p;
			char m[16];
			uint8_t f[16];
			snprintf(m, sizeof m, "%08x", p->id);
			f[0] = 0x81;
			f[1] = 8;
			memcpy(f + 2, m, 8);
			say(&ctl->e[0], f, 10);
			flush(&ctl->e[0]);
		} else
			kill_pair(p);
		free(a->http);
		a->http = NULL;
		return false;
	}
	return false;
}
static void
run(struct pair *p)
{
	if (p->dead || !setup(p) || p->dead)
		return;
	if (p->ctl) {
		struct end *b = role == R_LISTEN ? &p->e[1] : &p->e[0];
		if (!flush(b) && p->dead)
			return;
		static uint8_t acc[8];
		static unsigned an;
		for (size_t n; (n = take(b, scratch, 4096)) > 0;) {
			uint8_t o[4200];
			size_t k = ws_decode(b, scratch, n, o, false);
			for (size_t i = 0; i < k && role == R_LISTEN; i++) {
				acc[an++] = o[i];
				if (an == 8) {
					char m[9] = {0};
					memcpy(m, acc, 8);
					an = 0;
					struct pair *q = pnew();
					q->id = (unsigned)strtoul(m, NULL, 16);
					dial(&q->e[1], q, rport);
					tls_on(&q->e[1], false);
					dial(&q->e[0], q, tport);
				}
			}
		}
		if (b->eof) {
			fprintf(stderr, "control lost\n");
			exit(1);
		}
		return;
	}
	for (int spin = 0; spin < budget; spin++) {
		bool m0 = !p->dead && turn(&p->e[0], &p->e[1]);
		bool m1 = !p->dead && turn(&p->e[1], &p->e[0]);
		if (p->dead || (!m0 && !m1))
			return;
	}
	again(p);
}
static int
new_sess(SSL *s, SSL_SESSION *ss)
{
	(void)s;
	SSL_SESSION_free(sess);
	sess = ss;
	return 1;
}
static SSL_CTX *
mkctx(bool server)
{
	SSL_CTX *c = SSL_CTX_new_ex(
	    NULL, NULL, server ? TLS_server_method() : TLS_client_method());
	SSL_CTX_set_min_proto_version(c, TLS1_3_VERSION);
	SSL_CTX_set_ciphersuites(c, suite);
	SSL_CTX_set_mode(c, SSL_MODE_ENABLE_PARTIAL_WRITE |
	                        SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
	                        SSL_MODE_RELEASE_BUFFERS);
	if (OWNW)
		SSL_CTX_clear_mode(c, SSL_MODE_ENABLE_PARTIAL_WRITE);
	if (io == IO_RA || io == IO_MIX) {
		SSL_CTX_set_read_ahead(c, 1);
		SSL_CTX_set_default_read_buffer_len(c, xx);
	}
	if (server) {
		if (SSL_CTX_use_certificate_chain_file(c, certf) != 1 ||
		    SSL_CTX_use_PrivateKey_file(c, keyf, SSL_FILETYPE_PEM) !=
		        1) {
			ERR_print_errors_fp(stderr);
			exit(1);
		}
		SSL_CTX_set_session_id_context(
		    c, (const unsigned char *)"t", 1);
	} else {
		SSL_CTX_set_session_cache_mode(
		    c, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
		if (resume)
			SSL_CTX_sess_set_new_cb(c, new_sess);
	}
	return c;
}
int
main(int argc, char **argv)
{
	static const char *names[] = {
	    "connect", "relay", "listen", "tlss", "tlsc", "tcp"};
	unsigned r = 0;
	while (argc > 1 && r < 6 && strcmp(argv[1], names[r]))
		r++;
	if (argc < 2 || r == 6)
		return 2;
	role = r;
	for (int o; (o = getopt(argc - 1, argv + 1,
	                 "l:t:r:k:c:i:z:x:F:C:R:S:B:1s")) != -1;)
		switch (o) {
		case 'l':
			lport = atoi(optarg);
			break;
		case 't':
			tport = atoi(optarg);
			break;
		case 'r':
			rport = atoi(optarg);
			break;
		case 'k':
			keyf = optarg;
			break;
		case 'c':
			certf = optarg;
			break;
		case 'i':
			io = *optarg == 'f'   ? IO_FD
			     : *optarg == 'r' ? IO_RA
			     : *optarg == 'm' ? IO_MIX
			                      : IO_BIO;
			break;
		case 'z':
			zz = (size_t)atol(optarg);
			break;
		case 'x':
			xx = (size_t)atol(optarg);
			break;
		case 'F':
			fpay = (size_t)atol(optarg);
			break;
		case 'C':
			suite = optarg;
			break;
		case 'R':
			rcvbuf = atoi(optarg);
			break;
		case 'S':
			sndbuf = atoi(optarg);
			break;
		case 'B':
			budget = atoi(optarg);
			break;
		case '1':
			single = true;
			break;
		case 's':
			resume = true;
			break;
		default:
			return 2;
		}
	if (!xx)
		xx = zz + 1024;
	bcap = (zz > xx ? zz : xx) + (zz / 16384 + 2) * 64 + 4096;
	scratch = malloc(zz > 65536 ? zz : 65536);
	signal(SIGPIPE, SIG_IGN);
	struct rlimit rl;
	getrlimit(RLIMIT_NOFILE, &rl);
	rl.rlim_cur = rl.rlim_max;
	setrlimit(RLIMIT_NOFILE, &rl);
	bm = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "own");
	BIO_meth_set_write(bm, b_write);
	BIO_meth_set_read(bm, b_read);
	BIO_meth_set_ctrl(bm, b_ctrl);
	BIO_meth_set_create(bm, b_new);
	ep = epoll_create1(0);
	if (role == R_RELAY || role == R_TLSS)
		sctx = mkctx(true);
	if (role == R_CONNECT || role == R_LISTEN || role == R_TLSC)
		cctx = mkctx(false);
	int ls = -1, one = 1;
	struct epoll_event ev = {.events = EPOLLIN}, evs[256];
	if (lport) {
		struct sockaddr_in a = {.sin_family = AF_INET,
		    .sin_port = htons((uint16_t)lport),
		    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
		ls = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		setsockopt(ls, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
		if (rcvbuf)
			setsockopt(
			    ls, SOL_SOCKET, SO_RCVBUF, &rcvbuf, sizeof rcvbuf);
		if (bind(ls, (struct sockaddr *)&a, sizeof a) ||
		    listen(ls, 4096)) {
			perror("bind");
			return 1;
		}
		epoll_ctl(ep, EPOLL_CTL_ADD, ls, &ev);
	}
	if (role == R_LISTEN) {
		struct pair *p = pnew();
		p->ctl = true;
		dial(&p->e[1], p, rport);
		tls_on(&p->e[1], false);
	}
	for (;;) {
		int n = epoll_wait(ep, evs, 256, againl ? 0 : -1);
		for (int i = 0; i < n; i++) {
			struct pair *p = evs[i].data.ptr;
			if (!p) {
				for (int fd; (fd = accept4(ls, NULL, NULL,
				                  SOCK_NONBLOCK |
				                      SOCK_CLOEXEC)) >= 0;) {
					p = pnew();
					sockopts(fd);
					p->e[0].fd = fd;
					if (role == R_RELAY || role == R_TLSS)
						tls_on(&p->e[0], true);
					if (role == R_TLSS || role == R_TCP ||
					    role == R_TLSC)
						dial(&p->e[1], p, tport);
					if (role == R_CONNECT)
						dial(&p->e[1], p, rport);
					if (role == R_CONNECT || role == R_TLSC)
						tls_on(&p->e[1], false);
					arm(&p->e[0], p);
				}
				continue;
			}
			if (p->dead)
				continue;
			if (evs[i].events & EPOLLERR) {
				kill_pair(p);
				continue;
			}
			if (evs[i].events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP))
				p->e[0].rdy = p->e[1].rdy =
				    true; /* one pointer for both ends: at worst
				             one read for nothing */
			run(p);
		}
		struct pair *l = againl;
		againl = NULL;
		while (l) {
			struct pair *p = l;
			l = p->na;
			p->again = false;
			run(p);
		}
		/* a pair in the again list must not be freed under it */
		struct pair **pp = &deadl;
		while (*pp) {
			struct pair *p = *pp;
			if (p->again) {
				pp = &p->nd;
				continue;
			}
			*pp = p->nd;
			for (int k = 0; k < 2; k++) {
				struct end *e = &p->e[k];
				if (e->ssl) {
					SSL_set_shutdown(e->ssl,
					    SSL_SENT_SHUTDOWN |
					        SSL_RECEIVED_SHUTDOWN); /* the
					                                   session
					                                   stays
					                                   resumable
					                                 */
					SSL_free(e->ssl);
				}
				if (e->fd >= 0)
					close(e->fd);
				bput(&e->in);
				bput(&e->out);
				bput(&e->pend);
				free(e->http);
			}
			if (waiting[p->id & 65535] == p)
				waiting[p->id & 65535] = NULL;
			free(p);
		}
	}
}

/* SPDX-License-Identifier: MIT */
/*
 * tload: load generator and verifying server for TCP tunnels. One file, no
 * libraries.
 *
 *   tload serve        -p PORT                      serves every mode below,
 * until killed tload bulk-up      -p PORT -b BYTES [-c N]      client sends,
 * server verifies every byte and acknowledges tload bulk-down    -p PORT -b
 * BYTES [-c N]      server sends, client verifies every byte tload bulk-both -p
 * PORT -b BYTES [-c N]      both at once on each connection (BYTES each way)
 *   tload pingpong     -p PORT [-s 1024] [-d SECS | -n COUNT] [-c N]
 * request/response, echo verified tload connect-rate -p PORT [-n COUNT | -d
 * SECS] [-c N]   connect, send 1 byte, receive 1 byte, close tload idle -p PORT
 * -n COUNT [-d SECS]   open COUNT connections, hold, check all alive, memory
 *
 * Common: -H host (127.0.0.1), -T hard limit in seconds (120), -l label, -w
 * write size, -P name=pid  (repeatable) a tunnel process whose CPU and memory,
 * with its descendants', is charged -A name=pid  (repeatable) a process of the
 * load itself (the server), reported apart "other_s" is the machine's busy time
 * that none of the named processes used: noise from outside the run. Each
 * client run prints one JSON line; "ok":true only if every byte and every reply
 * was right. Data: a 256 KiB pseudo-random period with an 8-byte block counter
 * stamped every 4 KiB, so a lost, doubled, moved or altered byte anywhere is
 * seen.
 *
 * Build: cc -O2 -std=gnu11 -Wall -Wextra -o tload tload.c -lpthread
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PERIOD (256u * 1024u)
#define BLK 4096u
#define MAXP 16

static unsigned char pat[PERIOD];

static double
now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}
static void
die(const char *what)
{
	fprintf(stderr, "tload: %s: %s\n", what, strerror(errno));
	exit(2);
}

/* ---- data ---- */
static void
pat_init(void)
{
	uint64_t x = 0x9E3779B97F4A7C15ull;
	for (size_t i = 0; i < PERIOD; i += 8) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		memcpy(pat + i, &x, 8);
	}
}
static uint64_t
stamp(uint64_t blk, uint64_t seed)
{
	return (blk + 1) * 0xD6E8FEB86659FD93ull ^ seed;
}
/* buf holds one whole period; make it the period that starts at stream offset
 * off (off % PERIOD == 0) */
static void
restamp(unsigned char *buf, uint64_t off, uint64_t seed)
{
	for (size_t i = 0; i < PERIOD; i += BLK) {
		uint64_t s = stamp((off + i) / BLK, seed);
		memcpy(buf + i, &s, 8);
	}
}
static bool
verify(const unsigned char *p, size_t n, uint64_t off, uint64_t seed)
{
	while (n) {
		size_t in = off % BLK, k = BLK - in;
		if (k > n)
			k = n;
		size_t done = 0;
		if (in < 8) {
			uint64_t s = stamp(off / BLK, seed);
			const unsigned char *sb = (const unsigned char *)&s;
			done = 8 - in < k ? 8 - in : k;
			if (memcmp(p, sb + in, done))
				return false;
		}
		if (k > done &&
		    memcmp(p + done, pat + (off + done) % PERIOD, k - done))
			return false;
		p += k;
		n -= k;
		off += k;
	}
	return true;
}

/* ---- options ---- */
static const char *host = "127.0.0.1", *label = "";
static int port, conc = 1, hard = 120;
static uint64_t bytes = 1ull << 30, count;
static double dur;
static size_t msgsz = 1024, wsize = 128 * 1024;
static struct proc {
	const char *name;
	int pid;
	bool app;
	double u0, s0, u1, s1;
	long rss0, rss1, pss0, pss1;
} procs[MAXP];
static int nprocs;

static uint64_t
num(const char *s)
{
	char *e;
	double v = strtod(s, &e);
	switch (*e) {
	case 'k':
	case 'K':
		v *= 1024;
		break;
	case 'm':
	case 'M':
		v *= 1024. * 1024;
		break;
	case 'g':
	case 'G':
		v *= 1024. * 1024 * 1024;
		break;
	default:
		break;
	}
	return (uint64_t)v;
}

/* ---- CPU and memory of process trees ---- */
struct pinfo {
	int pid, ppid;
	double u, s;
};
static struct pinfo *
snap(size_t *n)
{
	DIR *d = opendir("/proc");
	struct pinfo *v = NULL;
	size_t k = 0, cap = 0;
	double hz = (double)sysconf(_SC_CLK_TCK);
	for (struct dirent *e; d && (e = readdir(d));) {
		if (e->d_name[0] < '0' || e->d_name[0] > '9')
			continue;
		char path[300], line[2048];
		snprintf(path, sizeof path, "/proc/%s/stat", e->d_name);
		int f = open(path, O_RDONLY);
		if (f < 0)
			continue;
		ssize_t r = read(f, line, sizeof line - 1);
		close(f);
		if (r <= 0)
			continue;
		line[r] = 0;
		char *p = strrchr(line, ')');
		long pp;
		unsigned long ut, st;
		long cu, cs;
		if (!p || sscanf(p + 1,
		              " %*c %ld %*d %*d %*d %*d %*u %*u %*u %*u %*u "
		              "%lu %lu %ld %ld",
		              &pp, &ut, &st, &cu, &cs) != 5)
			continue;
		if (k == cap)
			v = realloc(v, (cap = cap ? cap * 2 : 256) * sizeof *v);
		v[k++] = (struct pinfo){atoi(e->d_name), (int)pp,
		    (double)(ut + (unsigned long)cu) / hz,
		    (double)(st + (unsigned long)cs) / hz};
	}
	if (d)
		closedir(d);
	*n = k;
	return v;
}
static bool
under(const struct pinfo *v, size_t n, int pid, int root)
{
	for (int hop = 0; hop < 64 && pid > 1; hop++) {
		if (pid == root)
			return true;
		int up = 0;
		for (size_t i = 0; i < n; i++)
			if (v[i].pid == pid)
				up = v[i].ppid;
		pid = up;
	}
	return false;
}
static void
mem_of(int pid, long *rss, long *pss)
{
	char path[64], line[256];
	snprintf(path, sizeof path, "/proc/%d/smaps_rollup", pid);
	FILE *f = fopen(path, "r");
	long k;
	while (f && fgets(line, sizeof line, f)) {
		if (sscanf(line, "Rss: %ld", &k) == 1)
			*rss += k;
		else if (sscanf(line, "Pss: %ld", &k) == 1)
			*pss += k;
	}
	if (f)
		fclose(f);
}
static void
procs_read(bool end, bool mem)
{
	if (!nprocs)
		return;
	size_t n;
	struct pinfo *v = snap(&n);
	for (int i = 0; i < nprocs; i++) {
		double u = 0, s = 0;
		long rss = 0, pss = 0;
		for (size_t j = 0; j < n; j++)
			if (under(v, n, v[j].pid, procs[i].pid)) {
				u += v[j].u;
				s += v[j].s;
				if (mem)
					mem_of(v[j].pid, &rss, &pss);
			}
		if (end)
			procs[i].u1 = u, procs[i].s1 = s, procs[i].rss1 = rss,
			procs[i].pss1 = pss;
		else
			procs[i].u0 = u, procs[i].s0 = s, procs[i].rss0 = rss,
			procs[i].pss0 = pss;
	}
	free(v);
}
struct sysstat {
	double busy, softirq, steal, t;
};
static struct sysstat
sys_read(void)
{
	struct sysstat s = {0, 0, 0, now()};
	unsigned long long a[8] = {0};
	FILE *f = fopen("/proc/stat", "r");
	if (f && fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", a,
	             a + 1, a + 2, a + 3, a + 4, a + 5, a + 6, a + 7) == 8) {
		double hz = (double)sysconf(_SC_CLK_TCK);
		s.busy = (double)(a[0] + a[1] + a[2] + a[5] + a[6]) / hz;
		s.softirq = (double)(a[5] + a[6]) / hz;
		s.steal = (double)a[7] / hz;
	}
	if (f)
		fclose(f);
	return s;
}
static struct sysstat sys0;
static struct rusage ru0;
static void
meter_start(bool mem)
{
	procs_read(false, mem);
	sys0 = sys_read();
	getrusage(RUSAGE_SELF, &ru0);
}
static double
tv(struct timeval a)
{
	return (double)a.tv_sec + (double)a.tv_usec * 1e-6;
}
/* the JSON line: what the caller has printed so far in head, then the meters */
static void
meter_print(const char *mode, bool ok, const char *head, double gib, double per,
    const char *pername, bool mem)
{
	struct rusage ru1;
	getrusage(RUSAGE_SELF, &ru1);
	struct sysstat s1 = sys_read();
	procs_read(true, mem);
	double tun = 0, app = 0,
	       self = tv(ru1.ru_utime) - tv(ru0.ru_utime) + tv(ru1.ru_stime) -
	              tv(ru0.ru_stime);
	for (int i = 0; i < nprocs; i++)
		*(procs[i].app ? &app : &tun) +=
		    procs[i].u1 - procs[i].u0 + procs[i].s1 - procs[i].s0;
	printf("{\"label\":\"%s\",\"mode\":\"%s\",\"ok\":%s,%s", label, mode,
	    ok ? "true" : "false", head);
	printf(",\"tunnel_cpu_s\":%.3f", tun);
	if (gib > 0)
		printf(",\"cpu_s_per_gib\":%.4f", tun / gib);
	if (per > 0)
		printf(",\"cpu_us_per_%s\":%.3f", pername, tun * 1e6 / per);
	printf(",\"self_cpu_s\":%.3f,\"sys_busy_s\":%.3f,\"sys_softirq_s\":%."
	       "3f,\"steal_s\":%.3f,\"other_s\":%.3f,\"procs\":[",
	    self, s1.busy - sys0.busy, s1.softirq - sys0.softirq,
	    s1.steal - sys0.steal, s1.busy - sys0.busy - self - app - tun);
	for (int i = 0; i < nprocs; i++) {
		struct proc *p = &procs[i];
		printf(
		    "%s{\"name\":\"%s\",\"app\":%s,\"user\":%.2f,\"sys\":%.2f",
		    i ? "," : "", p->name, p->app ? "true" : "false",
		    p->u1 - p->u0, p->s1 - p->s0);
		if (mem)
			printf(",\"rss0_k\":%ld,\"rss1_k\":%ld,\"pss0_k\":%ld,"
			       "\"pss1_k\":%ld,\"pss_k_per_conn\":%.2f",
			    p->rss0, p->rss1, p->pss0, p->pss1,
			    per > 0 ? (double)(p->pss1 - p->pss0) / per : 0);
		printf("}");
	}
	printf("]}\n");
	fflush(stdout);
}

/* ---- sockets ---- */
static struct sockaddr_in
addr_of(void)
{
	struct sockaddr_in a = {
	    .sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	if (inet_pton(AF_INET, host, &a.sin_addr) != 1)
		die("bad -H");
	return a;
}
static void
nodelay(int fd)
{
	int one = 1;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}
static int
dial(void)
{
	struct sockaddr_in a = addr_of();
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		die("socket");
	if (connect(fd, (struct sockaddr *)&a, sizeof a))
		die("connect");
	nodelay(fd);
	return fd;
}
static bool
wr(int fd, const void *b, size_t n)
{
	const char *p = b;
	while (n) {
		ssize_t k = write(fd, p, n);
		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return false;
		p += k;
		n -= (size_t)k;
	}
	return true;
}
static bool
rd(int fd, void *b, size_t n)
{
	char *p = b;
	while (n) {
		ssize_t k = read(fd, p, n);
		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return false;
		p += k;
		n -= (size_t)k;
	}
	return true;
}
struct hdr {
	char mode, pad[7];
	uint64_t len, seed;
};

/* ---- server: one epoll loop ---- */
struct conn {
	int fd;
	char mode; /* 0: not known yet */
	bool bad, want_out;
	unsigned hgot;
	struct hdr h;
	uint64_t in, out; /* bytes of data received / sent */
	unsigned char *sbuf;
	unsigned char *ebuf; /* echo backlog */
	size_t elen, eoff, ecap;
	uint64_t ack[2];
	unsigned ackoff, acklen;
};
static unsigned char rbuf[PERIOD];

static void
conn_free(struct conn *c)
{
	close(c->fd);
	free(c->sbuf);
	free(c->ebuf);
	free(c);
}
static bool
conn_flush(struct conn *c) /* false: dead */
{
	for (int spin = 0; spin < 16; spin++) {
		ssize_t k;
		if (c->eoff < c->elen) {
			k = write(c->fd, c->ebuf + c->eoff, c->elen - c->eoff);
			if (k > 0 && (c->eoff += (size_t)k) == c->elen)
				c->eoff = c->elen = 0;
		} else if (c->sbuf && c->out < c->h.len) {
			size_t o = c->out % PERIOD, n = PERIOD - o;
			if (!o)
				restamp(c->sbuf, c->out, c->h.seed);
			if (n > c->h.len - c->out)
				n = c->h.len - c->out;
			if (n > wsize)
				n = wsize;
			k = write(c->fd, c->sbuf + o, n);
			if (k > 0)
				c->out += (uint64_t)k;
		} else if (c->ackoff < c->acklen) {
			k = write(c->fd, (char *)c->ack + c->ackoff,
			    c->acklen - c->ackoff);
			if (k > 0)
				c->ackoff += (unsigned)k;
		} else {
			c->want_out = false;
			return true;
		}
		if (k < 0) {
			if (errno == EAGAIN) {
				c->want_out = true;
				return true;
			}
			return false;
		}
	}
	c->want_out = true;
	return true;
}
static bool
conn_data(struct conn *c, const unsigned char *p, size_t n)
{
	if (!c->mode && n) {
		c->mode = (char)p[0];
		c->hgot = 0;
	}
	if (c->mode == 'C' || c->mode == 'I' ||
	    (c->mode == 'E' && c->hgot == sizeof c->h)) {
	echo:
		if (c->eoff == c->elen) { /* try at once, without the copy */
			ssize_t k = write(c->fd, p, n);
			if (k < 0 && errno != EAGAIN)
				return false;
			if (k > 0) {
				p += k;
				n -= (size_t)k;
			}
		}
		if (n) {
			if (c->elen + n > c->ecap)
				c->ebuf = realloc(
				    c->ebuf, c->ecap = (c->elen + n) * 2);
			memcpy(c->ebuf + c->elen, p, n);
			c->elen += n;
			c->want_out = true;
		}
		return true;
	}
	if (c->hgot < sizeof c->h) {
		size_t k = sizeof c->h - c->hgot;
		if (k > n)
			k = n;
		memcpy((char *)&c->h + c->hgot, p, k);
		c->hgot += (unsigned)k;
		p += k;
		n -= k;
		if (c->hgot == sizeof c->h &&
		    (c->mode == 'D' || c->mode == 'B')) {
			c->sbuf = malloc(PERIOD);
			memcpy(c->sbuf, pat, PERIOD);
			c->want_out = true;
		}
		if (c->mode == 'E' && n)
			goto echo;
	}
	if ((c->mode == 'U' || c->mode == 'B') && n) {
		if (!c->bad && !verify(p, n, c->in, ~c->h.seed))
			c->bad = true;
		c->in += n;
		if (c->in >= c->h.len) {
			c->ack[0] = c->in;
			c->ack[1] = c->bad ? 0 : 0x4B4F4B4Full;
			c->acklen = sizeof c->ack;
			c->want_out = true;
		}
	}
	return true;
}
static _Noreturn void
serve(void)
{
	struct sockaddr_in a = addr_of();
	int one = 1,
	    ls = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0),
	    ep = epoll_create1(EPOLL_CLOEXEC);
	setsockopt(ls, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(ls, (struct sockaddr *)&a, sizeof a) || listen(ls, 4096))
		die("bind/listen");
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL}, evs[256];
	epoll_ctl(ep, EPOLL_CTL_ADD, ls, &ev);
	for (;;) {
		int n = epoll_wait(ep, evs, 256, -1);
		for (int i = 0; i < n; i++) {
			struct conn *c = evs[i].data.ptr;
			if (!c) {
				int fd;
				while (
				    (fd = accept4(ls, NULL, NULL,
				         SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
					nodelay(fd);
					c = calloc(1, sizeof *c);
					c->fd = fd;
					ev = (struct epoll_event){
					    .events = EPOLLIN, .data.ptr = c};
					epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
				}
				continue;
			}
			bool alive = true, had = c->want_out;
			if (evs[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
				for (int spin = 0; spin < 8 && alive; spin++) {
					ssize_t k =
					    read(c->fd, rbuf, sizeof rbuf);
					if (k > 0)
						alive = conn_data(
						    c, rbuf, (size_t)k);
					else if (k == 0 || errno != EAGAIN)
						alive = false;
					if (k < (ssize_t)sizeof rbuf)
						break;
				}
			}
			if (alive && c->want_out)
				alive = conn_flush(c);
			if (!alive) {
				conn_free(c);
				continue;
			}
			if (c->want_out != had) {
				ev = (struct epoll_event){
				    .events =
				        EPOLLIN |
				        (c->want_out ? (unsigned)EPOLLOUT : 0u),
				    .data.ptr = c};
				epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &ev);
			}
		}
	}
}

/* ---- bulk ---- */
struct bulk {
	pthread_t t, t2;
	char mode;
	int fd;
	uint64_t seed, got;
	bool ok, ok2;
	double t_first;
};
static void *
bulk_tx(void *arg)
{
	struct bulk *b = arg;
	unsigned char *buf = malloc(PERIOD);
	memcpy(buf, pat, PERIOD);
	b->ok2 = true;
	for (uint64_t off = 0; off < bytes;) {
		size_t o = off % PERIOD, n = PERIOD - o;
		if (!o)
			restamp(buf, off, ~b->seed);
		if (n > bytes - off)
			n = bytes - off;
		if (n > wsize)
			n = wsize;
		if (!wr(b->fd, buf + o, n)) {
			b->ok2 = false;
			break;
		}
		off += n;
	}
	free(buf);
	return NULL;
}
static void *
bulk_one(void *arg)
{
	struct bulk *b = arg;
	struct hdr h = {.mode = b->mode, .len = bytes, .seed = b->seed};
	b->ok = wr(b->fd, &h, sizeof h);
	b->ok2 = true;
	if (b->mode == 'B')
		pthread_create(&b->t2, NULL, bulk_tx, b);
	if (b->mode == 'U')
		bulk_tx(b);
	if (b->mode != 'U') {
		unsigned char *buf = malloc(PERIOD);
		while (b->ok && b->got < bytes) {
			uint64_t left = bytes - b->got;
			ssize_t k =
			    read(b->fd, buf, left < PERIOD ? left : PERIOD);
			if (k < 0 && errno == EINTR)
				continue;
			if (k <= 0 ||
			    !verify(buf, (size_t)k, b->got, b->seed)) {
				fprintf(stderr, "tload: %s at byte %llu\n",
				    k <= 0 ? "short" : "WRONG DATA",
				    (unsigned long long)b->got);
				b->ok = false;
				break;
			}
			if (!b->got)
				b->t_first = now();
			b->got += (uint64_t)k;
		}
		free(buf);
	}
	if (b->mode == 'B')
		pthread_join(b->t2, NULL);
	if (b->mode != 'D') {
		uint64_t ack[2] = {0, 0};
		b->ok = b->ok && b->ok2 && rd(b->fd, ack, sizeof ack) &&
		        ack[0] == bytes && ack[1] == 0x4B4F4B4Full;
	}
	return NULL;
}
static int
bulk(const char *name, char mode)
{
	struct bulk *b = calloc((size_t)conc, sizeof *b);
	double c0 = now();
	for (int i = 0; i < conc; i++) {
		b[i].mode = mode;
		b[i].seed = 0xA5A5F00D12345678ull * (uint64_t)(i + 1) ^
		            (uint64_t)getpid();
		b[i].fd = dial();
	}
	double c1 = now();
	meter_start(false);
	double t0 = now();
	for (int i = 0; i < conc; i++)
		pthread_create(&b[i].t, NULL, bulk_one, &b[i]);
	bool ok = true;
	for (int i = 0; i < conc; i++) {
		pthread_join(b[i].t, NULL);
		ok = ok && b[i].ok;
	}
	double t = now() - t0;
	double total = (double)bytes * conc * (mode == 'B' ? 2 : 1),
	       gib = total / (double)(1ull << 30);
	char head[512];
	snprintf(head, sizeof head,
	    "\"conns\":%d,\"bytes\":%.0f,\"secs\":%.4f,\"gbit_s\":%.3f,\"mib_"
	    "s\":%.1f,\"connect_ms\":%.2f",
	    conc, total, t, total * 8 / t / 1e9, total / t / 1048576.0,
	    (c1 - c0) * 1e3);
	meter_print(name, ok, head, gib, 0, NULL, false);
	return ok ? 0 : 1;
}

/* ---- percentiles ---- */
static int
cmpd(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return x < y ? -1 : x > y;
}
static double
pct(const double *v, size_t n, double p)
{
	if (!n)
		return 0;
	size_t i = (size_t)(p * (double)(n - 1) + 0.5);
	return v[i];
}
static double
mean(const double *v, size_t n)
{
	double s = 0;
	for (size_t i = 0; i < n; i++)
		s += v[i];
	return n ? s / (double)n : 0;
}

/* ---- ping-pong: one blocking thread per connection ---- */
struct ping {
	pthread_t t;
	int fd;
	double *lat;
	size_t n, cap;
	bool ok;
	double until;
};
static void *
ping_one(void *arg)
{
	struct ping *p = arg;
	struct hdr h = {.mode = 'E'};
	unsigned char *a = malloc(msgsz + 8), *b = malloc(msgsz + 8);
	p->ok = wr(p->fd, &h, sizeof h);
	for (size_t i = 0; i < msgsz; i++)
		a[i] = pat[i % PERIOD];
	double begun = now();
	for (int w = -100; p->ok; w++) { /* to warm up: 100, or 0.3 s */
		if (w < 0 && now() - begun > 0.3)
			w = 0;
		if (w >= 0 && (count ? p->n >= count : now() >= p->until))
			break;
		uint64_t s = stamp((uint64_t)(unsigned)w, (uint64_t)p->fd);
		memcpy(a, &s, msgsz < 8 ? msgsz : 8);
		double t0 = now();
		if (!wr(p->fd, a, msgsz) || !rd(p->fd, b, msgsz) ||
		    memcmp(a, b, msgsz)) {
			p->ok = false;
			break;
		}
		if (w >= 0) {
			if (p->n == p->cap)
				p->lat = realloc(p->lat,
				    (p->cap = p->cap ? p->cap * 2 : 65536) *
				        sizeof *p->lat);
			p->lat[p->n++] = (now() - t0) * 1e6;
		}
	}
	free(a);
	free(b);
	return NULL;
}
static int
pingpong(void)
{
	struct ping *p = calloc((size_t)conc, sizeof *p);
	if (dur <= 0)
		dur = 3;
	for (int i = 0; i < conc; i++)
		p[i].fd = dial();
	meter_start(false);
	double t0 = now();
	for (int i = 0; i < conc; i++) {
		p[i].until = t0 + dur;
		pthread_create(&p[i].t, NULL, ping_one, &p[i]);
	}
	size_t n = 0;
	bool ok = true;
	for (int i = 0; i < conc; i++) {
		pthread_join(p[i].t, NULL);
		n += p[i].n;
		ok = ok && p[i].ok && p[i].n > 0;
	}
	double t = now() - t0;
	double *v = malloc((n + 1) * sizeof *v);
	size_t k = 0;
	for (int i = 0; i < conc; i++) {
		memcpy(v + k, p[i].lat, p[i].n * sizeof *v);
		k += p[i].n;
	}
	qsort(v, n, sizeof *v, cmpd);
	char head[512];
	snprintf(head, sizeof head,
	    "\"conns\":%d,\"size\":%zu,\"n\":%zu,\"secs\":%.3f,\"per_s\":%.0f,"
	    "\"mean_us\":%.1f,\"p50_us\":%.1f,\"p90_us\":%.1f,\"p99_us\":%.1f,"
	    "\"p999_us\":%.1f,\"max_us\":%.1f",
	    conc, msgsz, n, t, (double)n / t, mean(v, n), pct(v, n, .5),
	    pct(v, n, .9), pct(v, n, .99), pct(v, n, .999), pct(v, n, 1));
	meter_print("pingpong", ok, head, 0, (double)n, "req", false);
	return ok ? 0 : 1;
}

/* ---- connection set-up rate ---- */
struct slot {
	int fd;
	bool sent;
	double t0;
};
static int
connect_rate(void)
{
	if (!count && dur <= 0)
		dur = 3;
	struct sockaddr_in a = addr_of();
	struct slot *s = calloc((size_t)conc, sizeof *s);
	int ep = epoll_create1(EPOLL_CLOEXEC);
	size_t started = 0, done = 0, failed = 0, cap = 65536, live = 0;
	double *lat = malloc(cap * sizeof *lat);
	meter_start(false);
	double t0 = now(), until = dur > 0 ? t0 + dur : t0 + 1e9;
	for (int i = 0; i < conc; i++)
		s[i].fd = -1;
	for (;;) {
		for (int i = 0; i < conc; i++) {
			if (s[i].fd >= 0 || (count && started >= count) ||
			    now() >= until)
				continue;
			int fd = socket(AF_INET,
			    SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
			if (fd < 0)
				die("socket");
			nodelay(fd);
			s[i] = (struct slot){fd, false, now()};
			started++;
			live++;
			if (connect(fd, (struct sockaddr *)&a, sizeof a) &&
			    errno != EINPROGRESS) {
				failed++;
				live--;
				close(fd);
				s[i].fd = -1;
				continue;
			}
			struct epoll_event ev = {
			    .events = EPOLLOUT, .data.ptr = &s[i]};
			epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
		}
		if (!live)
			break;
		struct epoll_event evs[128];
		int n = epoll_wait(ep, evs, 128, 1000);
		for (int i = 0; i < n; i++) {
			struct slot *q = evs[i].data.ptr;
			bool fin = false, bad = false;
			if (!q->sent) {
				if (send(q->fd, "C", 1, MSG_NOSIGNAL) == 1) {
					q->sent = true;
					struct epoll_event ev = {
					    .events = EPOLLIN, .data.ptr = q};
					epoll_ctl(
					    ep, EPOLL_CTL_MOD, q->fd, &ev);
				} else
					fin = bad = true;
			} else {
				char b[2];
				ssize_t k = recv(q->fd, b, sizeof b, 0);
				if (k < 0 && errno == EAGAIN)
					continue;
				fin = true;
				bad = k != 1 || b[0] != 'C';
			}
			if (fin) {
				close(q->fd);
				q->fd = -1;
				live--;
				if (bad)
					failed++;
				else {
					if (done == cap)
						lat = realloc(lat,
						    (cap *= 2) * sizeof *lat);
					lat[done++] = (now() - q->t0) * 1e6;
				}
			}
		}
	}
	double t = now() - t0;
	qsort(lat, done, sizeof *lat, cmpd);
	char head[512];
	snprintf(head, sizeof head,
	    "\"conc\":%d,\"n\":%zu,\"failed\":%zu,\"secs\":%.3f,\"per_s\":%.0f,"
	    "\"p50_us\":%.0f,\"p99_us\":%.0f,\"max_us\":%.0f",
	    conc, done, failed, t, (double)done / t, pct(lat, done, .5),
	    pct(lat, done, .99), pct(lat, done, 1));
	bool ok = done > 0 && !failed;
	meter_print("connect-rate", ok, head, 0, (double)done, "conn", false);
	return ok ? 0 : 1;
}

/* ---- idle connections ---- */
static bool
idle_touch(int *fd, size_t n, char c)
{
	for (size_t i = 0; i < n; i++) {
		char b = 0;
		if (!wr(fd[i], &c, 1) || !rd(fd[i], &b, 1) || b != c)
			return false;
	}
	return true;
}
static int
idle(void)
{
	size_t n = count ? count : 1000;
	int *fd = calloc(n, sizeof *fd);
	if (dur <= 0)
		dur = 2;
	/* one connection opened and closed first, so that one-time costs are
	 * not charged to the idle ones */
	int w = dial();
	bool ok = idle_touch(&w, 1, 'I');
	close(w);
	usleep(500000);
	meter_start(true);
	double t0 = now();
	for (size_t i = 0; i < n && ok; i++) {
		fd[i] = dial();
		ok = idle_touch(fd + i, 1, 'I');
	}
	double t1 = now() - t0;
	if (ok)
		usleep((useconds_t)(dur * 1e6));
	char head[256];
	/* memory is read while they are held; then each is checked to be alive
	 */
	procs_read(true, true);
	struct proc keep[MAXP];
	memcpy(keep, procs, sizeof keep);
	ok = ok && idle_touch(fd, n, 'I');
	long pss = 0;
	for (int i = 0; i < nprocs; i++)
		if (!keep[i].app)
			pss += keep[i].pss1 - keep[i].pss0;
	snprintf(head, sizeof head,
	    "\"n\":%zu,\"open_secs\":%.3f,\"tunnel_pss_kib_per_conn\":%.2f", n,
	    t1, (double)pss / (double)n);
	meter_print("idle", ok, head, 0, (double)n, "conn", true);
	return ok ? 0 : 1;
}

int
main(int argc, char **argv)
{
	if (argc < 2) {
		fprintf(stderr,
		    "usage: tload "
		    "serve|bulk-up|bulk-down|bulk-both|pingpong|connect-rate|"
		    "idle -p PORT [options] (see the top of tload.c)\n");
		return 2;
	}
	const char *m = argv[1];
	for (int o; (o = getopt(argc - 1, argv + 1,
	                 "H:p:b:n:s:c:d:T:l:w:P:A:")) != -1;)
		switch (o) {
		case 'H':
			host = optarg;
			break;
		case 'p':
			port = atoi(optarg);
			break;
		case 'b':
			bytes = num(optarg);
			break;
		case 'n':
			count = num(optarg);
			break;
		case 's':
			msgsz = num(optarg);
			break;
		case 'c':
			conc = atoi(optarg);
			break;
		case 'd':
			dur = atof(optarg);
			break;
		case 'T':
			hard = atoi(optarg);
			break;
		case 'l':
			label = optarg;
			break;
		case 'w':
			wsize = num(optarg);
			break;
		case 'P':
		case 'A': {
			char *eq = strchr(optarg, '=');
			if (!eq || nprocs == MAXP)
				die("-P/-A name=pid");
			*eq = 0;
			procs[nprocs++] = (struct proc){.name = optarg,
			    .pid = atoi(eq + 1),
			    .app = o == 'A'};
			break;
		}
		default:
			return 2;
		}
	signal(SIGPIPE, SIG_IGN);
	struct rlimit rl;
	if (!getrlimit(RLIMIT_NOFILE, &rl)) {
		rl.rlim_cur = rl.rlim_max;
		setrlimit(RLIMIT_NOFILE, &rl);
	}
	pat_init();
	if (!strcmp(m, "serve"))
		serve();
	alarm((unsigned)hard);
	if (!strcmp(m, "bulk-up"))
		return bulk(m, 'U');
	if (!strcmp(m, "bulk-down"))
		return bulk(m, 'D');
	if (!strcmp(m, "bulk-both"))
		return bulk(m, 'B');
	if (!strcmp(m, "pingpong"))
		return pingpong();
	if (!strcmp(m, "connect-rate"))
		return connect_rate();
	if (!strcmp(m, "idle"))
		return idle();
	fprintf(stderr, "tload: unknown mode %s\n", m);
	return 2;
}

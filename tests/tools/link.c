/* SPDX-License-Identifier: MIT
 *
 * A link on one machine: a TCP proxy that stands between hyco's ends and the
 * relay. Each direction has a delay, a rate and a queue; connections are cut
 * by RST, by FIN or by silence, at once, after a time or after a number of
 * bytes. Commands come as lines on standard input; each is answered by one line
 * on standard output. The end of standard input ends the link.
 *
 * Bytes that are read take their turn on the wire (the rate is shared by all
 * connections of a direction) and leave it the delay later, one by one rather
 * than in lumps. Reading stops while more than the queue waits for the wire, so
 * nothing is dropped: the sender feels it as back-pressure.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000ULL
#define MILLISECOND 1000000ULL
#define READ_MAX ((size_t)256 * 1024)
#define QUEUE_BYTES ((uint64_t)32 * 1024 * 1024)
#define QUEUE_SHAPED_BYTES ((uint64_t)1024 * 1024)
#define LINE_MAX_BYTES 256
#define NEVER UINT64_MAX

static const char usage[] =
    "usage: link HOST:PORT [COMMAND ...]\n"
    "Listens on a free loopback port and carries connections to HOST:PORT\n"
    "(IPv4). Commands, here or as lines on standard input:\n"
    "  delay MS [up|down]       one way, from now on\n"
    "  rate MBIT [up|down]      for all connections together; 0: no limit\n"
    "  queue BYTES [up|down]    that wait for the wire before reading stops\n"
    "  rst|fin|hole|lose [all|oldest|newest|ID]\n"
    "                           cut: reset, end, hold until resume, hold for\n"
    "                           ever; hole all holds new ones, too\n"
    "  resume                   what hole held goes on\n"
    "  refuse | admit           stop listening, listen again\n"
    "  after BYTES COMMAND      when that many more have passed, both ways\n"
    "  in MS COMMAND            when this time has passed\n"
    "  forget                   the commands of after and in that still wait\n"
    "  stats | list | help\n"
    "`up` is from those who connect towards HOST:PORT.\n";

enum mark { MARK_DATA, MARK_FIN, MARK_RST };

/* Bytes on the wire, or an end that travels behind them. */
struct block {
	struct block *next;
	uint64_t first_ns; /* when its first byte arrives */
	uint64_t span_ns;  /* until the last one does */
	size_t len;
	size_t at;
	enum mark mark;
	uint8_t data[];
};

struct side;

/* One direction of one connection. */
struct flow {
	struct block *head;
	struct block *tail;
	size_t queued;
	bool is_stuck; /* the receiver takes nothing now */
	bool is_ended; /* no more is read: a mark was queued */
	bool is_done;  /* the mark has arrived */
};

struct conn {
	struct conn *next;
	struct conn *prev;
	uint64_t id;
	struct side {
		struct conn *conn;
		int fd;
		uint32_t mask;   /* what epoll waits for; NONE: not there */
		struct flow out; /* from this side to the other */
	} side[2];
	bool is_connecting;
	bool is_draining; /* after fin: reads and throws away */
	bool is_held;
	bool is_lost;
	bool is_dead;
};
#define NONE UINT32_MAX

/* What all connections of a direction share. */
struct lane {
	uint64_t delay_ns;
	uint64_t rate; /* bytes a second; 0: no limit */
	uint64_t queue;
	bool is_queue_set;
	uint64_t free_ns; /* when the wire is free for the next byte */
	uint64_t last_ns; /* the latest arrival: order is kept */
	uint64_t bytes;   /* all that passed */
};

struct trigger {
	struct trigger *next;
	uint64_t at_bytes;
	uint64_t at_ns;
	char command[LINE_MAX_BYTES];
};

static struct lane lanes[2];
static struct conn *conns; /* newest first */
static struct trigger *triggers;
static uint64_t next_id = 1;
static uint64_t now_ns;
static uint64_t n_cut;
static size_t buffered;
static size_t buffered_peak;
static int epoll_fd;
static int listen_fd = -1;
static bool is_hole;
static struct sockaddr_in target;
static struct sockaddr_in own;
static uint8_t scratch[READ_MAX];

static void
die(const char *what)
{
	fprintf(stderr, "link: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void
read_clock(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	now_ns = (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

/* --- the wire --- */

static struct lane *
lane_of(const struct side *s)
{
	return &lanes[s - s->conn->side];
}

static struct side *
other(struct side *s)
{
	return &s->conn->side[s == s->conn->side ? 1 : 0];
}

static uint64_t
time_on_wire(const struct lane *l, uint64_t bytes)
{
	if (l->rate == 0)
		return 0;
	return (uint64_t)((double)bytes * (double)SECOND / (double)l->rate);
}

static uint64_t
queue_of(const struct lane *l)
{
	if (l->is_queue_set)
		return l->queue;
	return l->rate > 0 ? QUEUE_SHAPED_BYTES : QUEUE_BYTES;
}

/* Whether the wire takes more, else when it will. */
static bool
has_room(const struct lane *l, uint64_t *when)
{
	uint64_t full = time_on_wire(l, queue_of(l));

	if (l->rate == 0 || l->free_ns < now_ns + full)
		return true;
	*when = l->free_ns - full + 1;
	return false;
}

/* What a flow may hold: the queue and what is on its way. */
static uint64_t
flow_limit(const struct lane *l)
{
	return queue_of(l) + (uint64_t)((double)l->rate *
	                                ((double)l->delay_ns / (double)SECOND));
}

static void
append(struct flow *f, struct block *b)
{
	b->next = NULL;
	if (f->tail != NULL)
		f->tail->next = b;
	else
		f->head = b;
	f->tail = b;
	f->queued += b->len;
	buffered += b->len;
	if (buffered > buffered_peak)
		buffered_peak = buffered;
}

static void
take_head(struct flow *f)
{
	struct block *b = f->head;

	f->head = b->next;
	if (f->head == NULL)
		f->tail = NULL;
	free(b);
}

static void
clear(struct flow *f)
{
	while (f->head != NULL)
		take_head(f);
	buffered -= f->queued;
	f->queued = 0;
}

static struct block *
make_block(struct side *from, enum mark mark, const uint8_t *data, size_t len)
{
	struct lane *l = lane_of(from);
	struct block *b = malloc(sizeof *b + len);

	if (b == NULL)
		die("malloc");
	*b = (struct block){.mark = mark, .len = len};
	if (len > 0)
		memcpy(b->data, data, len);
	if (l->free_ns < now_ns)
		l->free_ns = now_ns;
	b->first_ns = l->free_ns + l->delay_ns;
	if (b->first_ns < l->last_ns)
		b->first_ns = l->last_ns;
	b->span_ns = time_on_wire(l, len);
	l->free_ns += b->span_ns;
	l->last_ns = b->first_ns + b->span_ns;
	return b;
}

/* --- connections --- */

static void
watch(struct side *s, uint32_t mask)
{
	/* Errors and hang-ups are told without being asked for: to a side that
	 * waits for nothing else, once. */
	struct epoll_event e = {
	    .events = mask != 0 ? mask : EPOLLET, .data.ptr = s};

	if (s->fd < 0 || mask == s->mask)
		return;
	if (mask == NONE)
		epoll_ctl(epoll_fd, EPOLL_CTL_DEL, s->fd, NULL);
	else if (epoll_ctl(epoll_fd,
	             s->mask == NONE ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, s->fd,
	             &e) != 0)
		die("epoll_ctl");
	s->mask = mask;
}

static bool
is_quiet(const struct conn *c)
{
	return c->is_held || c->is_lost || c->is_dead;
}

/* Says what each side waits for, as things are now. */
static void
rewatch(struct conn *c)
{
	for (int i = 0; i < 2; i++) {
		struct side *s = &c->side[i];
		uint32_t mask = 0;
		uint64_t when;

		if (is_quiet(c)) {
			watch(s, NONE);
			continue;
		}
		if (c->is_connecting)
			mask = i == 1 ? EPOLLOUT : 0;
		else if (c->is_draining)
			mask = s->out.is_ended ? 0 : EPOLLIN;
		else if (!s->out.is_ended &&
		         s->out.queued < flow_limit(lane_of(s)) &&
		         has_room(lane_of(s), &when))
			mask = EPOLLIN;
		if (other(s)->out.is_stuck)
			mask |= EPOLLOUT;
		watch(s, mask);
	}
}

static void
close_side(struct side *s, bool by_reset)
{
	struct linger l = {.l_onoff = 1, .l_linger = 0};

	if (s->fd < 0)
		return;
	if (by_reset)
		setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &l, sizeof l);
	close(s->fd);
	s->fd = -1;
	s->mask = NONE;
}

/* Freed at the end of the turn: events of this turn may still name it. */
static void
end_conn(struct conn *c, bool by_reset)
{
	for (int i = 0; i < 2; i++) {
		clear(&c->side[i].out);
		close_side(&c->side[i], by_reset);
	}
	c->is_dead = true;
}

/* A side broke: behind what it had sent, the other side hears of it. */
static void
on_broken(struct side *s)
{
	ssize_t n;

	if (s->conn->is_draining) {
		end_conn(s->conn, true);
		return;
	}
	clear(&other(s)->out);
	other(s)->out.is_ended = other(s)->out.is_done = true;
	if (!s->out.is_ended) {
		while ((n = recv(
		            s->fd, scratch, sizeof scratch, MSG_DONTWAIT)) > 0)
			append(&s->out,
			    make_block(s, MARK_DATA, scratch, (size_t)n));
		append(&s->out, make_block(s, MARK_RST, NULL, 0));
	}
	s->out.is_ended = true;
	close_side(s, true);
	if (s->out.is_done)
		end_conn(s->conn, true);
}

static void
on_mark(struct side *from, enum mark mark)
{
	struct conn *c = from->conn;

	from->out.is_done = true;
	if (mark == MARK_RST || from->fd < 0) {
		end_conn(c, true);
		return;
	}
	shutdown(other(from)->fd, SHUT_WR);
	if (other(from)->out.is_done)
		end_conn(c, false);
}

/* The bytes of a block that have arrived by now. */
static size_t
arrived(const struct block *b)
{
	if (now_ns < b->first_ns)
		return 0;
	if (now_ns - b->first_ns >= b->span_ns)
		return b->len;
	return (size_t)((double)b->len * (double)(now_ns - b->first_ns) /
	                (double)b->span_ns);
}

/* Hands over up to `end` of the first block. False: stop for now. */
static bool
hand_over(struct side *from, struct block *b, size_t end)
{
	struct flow *f = &from->out;
	ssize_t n = send(other(from)->fd, b->data + b->at, end - b->at,
	    MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0) {
		f->is_stuck = errno == EAGAIN;
		if (!f->is_stuck)
			on_broken(other(from));
		return false;
	}
	b->at += (size_t)n;
	f->queued -= (size_t)n;
	buffered -= (size_t)n;
	lane_of(from)->bytes += (uint64_t)n;
	if (b->at < end)
		f->is_stuck = true;
	return b->at == b->len;
}

static void
deliver(struct side *from)
{
	struct flow *f = &from->out;

	while (f->head != NULL && !f->is_stuck && !from->conn->is_dead) {
		struct block *b = f->head;
		size_t end = arrived(b);

		if (now_ns < b->first_ns)
			return;
		if (b->mark != MARK_DATA) {
			enum mark mark = b->mark;

			take_head(f);
			on_mark(from, mark);
			return;
		}
		if (end == b->at || !hand_over(from, b, end))
			return;
		take_head(f);
	}
}

static void
on_readable(struct side *s)
{
	ssize_t n = recv(s->fd, scratch, sizeof scratch, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (s->conn->is_draining) {
		if (n > 0)
			return;
		s->out.is_ended = true;
		if (other(s)->out.is_ended || n < 0)
			end_conn(s->conn, n < 0);
	} else if (n < 0) {
		on_broken(s);
	} else {
		append(&s->out, make_block(s, n > 0 ? MARK_DATA : MARK_FIN,
		                    scratch, (size_t)n));
		s->out.is_ended = n == 0;
		deliver(s);
	}
}

static void
on_connected(struct conn *c)
{
	int error = 0;
	socklen_t len = sizeof error;

	getsockopt(c->side[1].fd, SOL_SOCKET, SO_ERROR, &error, &len);
	if (error != 0)
		end_conn(c, true);
	c->is_connecting = false;
}

static void
on_side(struct side *s, uint32_t events)
{
	struct conn *c = s->conn;

	if (is_quiet(c) || s->fd < 0)
		return;
	if (c->is_connecting) {
		if (s == &c->side[1])
			on_connected(c);
		else if (events & EPOLLERR)
			end_conn(c, true);
	} else {
		if (events & EPOLLOUT) {
			other(s)->out.is_stuck = false;
			deliver(other(s));
		}
		if (s->fd >= 0 && (s->mask & EPOLLIN) &&
		    (events & (EPOLLIN | EPOLLERR | EPOLLHUP)))
			on_readable(s);
		else if (s->fd >= 0 && (events & EPOLLERR))
			on_broken(s);
	}
}

static void
tune(int fd)
{
	int on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static void
on_accept(void)
{
	int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
	int far =
	    socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct conn *c;

	if (fd < 0 || far < 0) {
		if (fd < 0 && (errno == EAGAIN || errno == ECONNABORTED)) {
			close(far);
			return;
		}
		die("accept");
	}
	tune(fd);
	tune(far);
	if (connect(far, (struct sockaddr *)&target, sizeof target) != 0 &&
	    errno != EINPROGRESS)
		die("connect");
	c = calloc(1, sizeof *c);
	if (c == NULL)
		die("calloc");
	c->id = next_id++;
	c->is_connecting = true;
	for (int i = 0; i < 2; i++) {
		c->side[i].conn = c;
		c->side[i].mask = NONE;
		c->side[i].fd = i == 0 ? fd : far;
	}
	c->next = conns;
	if (conns != NULL)
		conns->prev = c;
	conns = c;
}

/* --- listening --- */

static void
start_listening(void)
{
	int on = 1;
	socklen_t len = sizeof own;
	struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};

	if (listen_fd >= 0)
		return;
	listen_fd =
	    socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	setsockopt(listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (bind(listen_fd, (struct sockaddr *)&own, sizeof own) != 0 ||
	    listen(listen_fd, 1024) != 0 ||
	    getsockname(listen_fd, (struct sockaddr *)&own, &len) != 0)
		die("listen");
	if (!is_hole && epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listen_fd, &e) != 0)
		die("epoll_ctl");
}

static void
stop_listening(void)
{
	if (listen_fd >= 0)
		close(listen_fd);
	listen_fd = -1;
}

static void
set_hole(bool to)
{
	struct epoll_event e = {.events = to ? 0 : EPOLLIN, .data.ptr = NULL};

	if (to == is_hole)
		return;
	is_hole = to;
	if (listen_fd < 0)
		return;
	if (epoll_ctl(epoll_fd, to ? EPOLL_CTL_DEL : EPOLL_CTL_ADD, listen_fd,
	        &e) != 0)
		die("epoll_ctl");
}

/* --- commands --- */

static bool
is_alive(const struct conn *c)
{
	return !c->is_dead && !c->is_lost && !c->is_draining;
}

static bool
is_chosen(const struct conn *c, const char *which)
{
	const struct conn *at;

	if (!is_alive(c))
		return false;
	if (strcmp(which, "all") == 0)
		return true;
	if (strcmp(which, "newest") == 0) {
		for (at = c->prev; at != NULL; at = at->prev)
			if (is_alive(at))
				return false;
		return true;
	}
	if (strcmp(which, "oldest") == 0) {
		for (at = c->next; at != NULL; at = at->next)
			if (is_alive(at))
				return false;
		return true;
	}
	return strtoull(which, NULL, 10) == c->id;
}

static void
cut_by_fin(struct conn *c)
{
	for (int i = 0; i < 2; i++) {
		clear(&c->side[i].out);
		c->side[i].out = (struct flow){0};
		if (c->side[i].fd < 0 || c->is_connecting) {
			end_conn(c, true);
			return;
		}
		shutdown(c->side[i].fd, SHUT_WR);
	}
	c->is_held = false;
	c->is_draining = true;
}

static void
cut_one(struct conn *c, const char *how)
{
	if (strcmp(how, "rst") == 0)
		end_conn(c, true);
	else if (strcmp(how, "fin") == 0)
		cut_by_fin(c);
	else if (strcmp(how, "hole") == 0)
		c->is_held = true;
	else
		c->is_lost = true;
}

/* Chosen first, cut afterwards: the first cut must not change who is oldest. */
static void
cut(const char *how, const char *which, char *answer)
{
	struct conn *one = NULL;
	bool is_all = strcmp(which, "all") == 0;
	int n = 0;

	for (struct conn *c = conns; c != NULL; c = c->next) {
		if (!is_chosen(c, which))
			continue;
		one = c;
		n++;
		if (is_all)
			cut_one(c, how);
	}
	if (one != NULL && !is_all)
		cut_one(one, how);
	if (strcmp(how, "hole") == 0 && is_all)
		set_hole(true);
	n_cut += (uint64_t)n;
	snprintf(answer, LINE_MAX_BYTES, "ok %d", n);
}

static void
resume(void)
{
	set_hole(false);
	for (struct conn *c = conns; c != NULL; c = c->next)
		c->is_held = false;
}

static void
shape(const char *what, const char *number, const char *direction)
{
	for (int i = 0; i < 2; i++) {
		struct lane *l = &lanes[i];

		if (*direction != '\0' &&
		    strcmp(direction, i == 0 ? "up" : "down") != 0)
			continue;
		if (strcmp(what, "delay") == 0) {
			l->delay_ns =
			    (uint64_t)(strtod(number, NULL) * MILLISECOND);
		} else if (strcmp(what, "rate") == 0) {
			l->rate = (uint64_t)(strtod(number, NULL) * 1e6 / 8);
			l->free_ns = 0;
		} else {
			l->queue = strtoull(number, NULL, 10);
			l->is_queue_set = true;
		}
	}
}

static void
print_stats(char *answer)
{
	size_t live = 0;

	for (struct conn *c = conns; c != NULL; c = c->next)
		live += is_alive(c);
	snprintf(answer, LINE_MAX_BYTES,
	    "ok {\"live\": %zu, \"accepted\": %llu, \"cut\": %llu, "
	    "\"up\": %llu, \"down\": %llu, \"buffered\": %zu, "
	    "\"buffered_peak\": %zu}",
	    live, (unsigned long long)(next_id - 1), (unsigned long long)n_cut,
	    (unsigned long long)lanes[0].bytes,
	    (unsigned long long)lanes[1].bytes, buffered, buffered_peak);
}

static void
print_list(char *answer)
{
	size_t at = (size_t)snprintf(answer, LINE_MAX_BYTES, "ok");

	for (struct conn *c = conns; c != NULL; c = c->next)
		if (is_alive(c) && at < LINE_MAX_BYTES - 24)
			at += (size_t)snprintf(answer + at, LINE_MAX_BYTES - at,
			    " %llu", (unsigned long long)c->id);
}

static void
add_trigger(const char *kind, const char *number, const char *command)
{
	struct trigger *t = calloc(1, sizeof *t);

	if (t == NULL)
		die("calloc");
	t->at_bytes = t->at_ns = NEVER;
	if (strcmp(kind, "after") == 0)
		t->at_bytes = lanes[0].bytes + lanes[1].bytes +
		              strtoull(number, NULL, 10);
	else
		t->at_ns =
		    now_ns + (uint64_t)(strtod(number, NULL) * MILLISECOND);
	snprintf(t->command, sizeof t->command, "%s", command);
	t->next = triggers;
	triggers = t;
}

static void
forget(void)
{
	while (triggers != NULL) {
		struct trigger *t = triggers;

		triggers = t->next;
		free(t);
	}
}

static bool
is_one_of(const char *word, const char *const *list)
{
	for (; *list != NULL; list++)
		if (strcmp(word, *list) == 0)
			return true;
	return false;
}

/* The words that need no number; false: none of them. */
static bool
run_plain(const char *word, const char *rest, char *answer)
{
	static const char *const cuts[] = {"rst", "fin", "hole", "lose", NULL};

	if (is_one_of(word, cuts))
		cut(word, *rest != '\0' ? rest : "all", answer);
	else if (strcmp(word, "resume") == 0)
		resume();
	else if (strcmp(word, "refuse") == 0)
		stop_listening();
	else if (strcmp(word, "admit") == 0)
		start_listening();
	else if (strcmp(word, "forget") == 0)
		forget();
	else if (strcmp(word, "stats") == 0)
		print_stats(answer);
	else if (strcmp(word, "list") == 0)
		print_list(answer);
	else
		return false;
	return true;
}

/* Runs one line; the answer is a line, too. */
static void
run(const char *line, char *answer)
{
	static const char *const shapes[] = {"delay", "rate", "queue", NULL};
	static const char *const later[] = {"after", "in", NULL};
	char word[16] = "", rest[LINE_MAX_BYTES] = "", number[32] = "";
	char more[LINE_MAX_BYTES] = "";

	snprintf(answer, LINE_MAX_BYTES, "ok");
	sscanf(line, "%15s %255[^\n]", word, rest);
	if (run_plain(word, rest, answer))
		return;
	sscanf(rest, "%31s %255[^\n]", number, more);
	if (*number == '\0')
		snprintf(answer, LINE_MAX_BYTES, "error: %.200s", line);
	else if (is_one_of(word, shapes))
		shape(word, number, more);
	else if (is_one_of(word, later) && *more != '\0')
		add_trigger(word, number, more);
	else
		snprintf(answer, LINE_MAX_BYTES, "error: %.200s", line);
}

static void
say(const char *text)
{
	if (puts(text) == EOF || fflush(stdout) == EOF)
		exit(0);
}

/* One of what is due, taken out of the list; NULL: none is. */
static struct trigger *
take_due(void)
{
	uint64_t bytes = lanes[0].bytes + lanes[1].bytes;

	for (struct trigger **at = &triggers; *at != NULL; at = &(*at)->next) {
		struct trigger *t = *at;

		if (t->at_ns <= now_ns || t->at_bytes <= bytes) {
			*at = t->next;
			return t;
		}
	}
	return NULL;
}

static void
fire(void)
{
	char answer[LINE_MAX_BYTES], text[2 * LINE_MAX_BYTES + 16];
	struct trigger *t;

	while ((t = take_due()) != NULL) {
		run(t->command, answer);
		snprintf(text, sizeof text, "fired %s: %s", t->command, answer);
		say(text);
		free(t);
	}
}

static void
on_input(void)
{
	static char line[LINE_MAX_BYTES];
	static size_t len;
	char got[LINE_MAX_BYTES], answer[LINE_MAX_BYTES];
	ssize_t n = read(STDIN_FILENO, got, sizeof got);

	if (n <= 0)
		exit(0);
	for (ssize_t i = 0; i < n; i++) {
		if (got[i] != '\n') {
			if (len < sizeof line - 1)
				line[len++] = got[i];
			continue;
		}
		line[len] = '\0';
		len = 0;
		run(line, answer);
		say(answer);
	}
}

/* --- the loop --- */

/* Delivers what is due and frees what is dead; returns when to look again. */
static uint64_t
turn(void)
{
	uint64_t due = NEVER;
	struct conn *next;

	for (struct conn *c = conns; c != NULL; c = next) {
		next = c->next;
		for (int i = 0; i < 2 && !is_quiet(c) && !c->is_connecting; i++)
			deliver(&c->side[i]);
		if (!c->is_dead) {
			rewatch(c);
			continue;
		}
		if (c->prev != NULL)
			c->prev->next = next;
		else
			conns = next;
		if (next != NULL)
			next->prev = c->prev;
		free(c);
	}
	for (const struct trigger *t = triggers; t != NULL; t = t->next)
		if (t->at_ns < due)
			due = t->at_ns;
	return due;
}

/* The next moment at which a flow has something to do. Within a block the link
 * looks every tenth of a millisecond. */
static uint64_t
next_of(struct side *s)
{
	const struct block *b = s->out.head;
	uint64_t due = NEVER, when = NEVER;

	if (b != NULL && !s->out.is_stuck)
		due = b->first_ns > now_ns ? b->first_ns
		                           : now_ns + MILLISECOND / 10;
	if (!s->out.is_ended && !has_room(lane_of(s), &when) && when < due)
		due = when;
	return due;
}

static void
wait_for(struct epoll_event *events, int *n, uint64_t due)
{
	struct timespec t;

	for (struct conn *c = conns; c != NULL; c = c->next)
		for (int i = 0; i < 2 && !is_quiet(c); i++) {
			uint64_t at = next_of(&c->side[i]);

			if (at < due)
				due = at;
		}
	read_clock();
	due = due > now_ns ? due - now_ns : 0;
	t.tv_sec = (time_t)(due > 3600 * SECOND ? 3600 : due / SECOND);
	t.tv_nsec = (long)(due % SECOND);
	*n = epoll_pwait2(epoll_fd, events, 64, &t, NULL);
	if (*n < 0 && errno != EINTR)
		die("epoll_pwait2");
	read_clock();
}

static void
serve(void)
{
	static char input_mark;
	struct epoll_event events[64];
	struct epoll_event e = {.events = EPOLLIN, .data.ptr = &input_mark};
	int n;

	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, STDIN_FILENO, &e) != 0)
		die("standard input");
	for (;;) {
		fire();
		wait_for(events, &n, turn());
		for (int i = 0; i < n; i++) {
			if (events[i].data.ptr == &input_mark)
				on_input();
			else if (events[i].data.ptr != NULL)
				on_side(events[i].data.ptr, events[i].events);
			else if (listen_fd >= 0 && !is_hole)
				on_accept();
		}
	}
}

static bool
parse_target(const char *text)
{
	char host[64];
	unsigned port;

	if (sscanf(text, "%63[^:]:%u", host, &port) != 2 || port == 0 ||
	    port > UINT16_MAX)
		return false;
	target.sin_family = AF_INET;
	target.sin_port = htons((uint16_t)port);
	return inet_pton(AF_INET, host, &target.sin_addr) == 1;
}

int
main(int argc, char **argv)
{
	char answer[LINE_MAX_BYTES];

	if (argc < 2 || !parse_target(argv[1])) {
		fputs(usage, stderr);
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_fd < 0)
		die("epoll_create1");
	read_clock();
	for (int i = 2; i < argc; i++) {
		run(argv[i], answer);
		if (strncmp(answer, "ok", 2) != 0) {
			fprintf(stderr, "link: %s\n%s", answer, usage);
			return 2;
		}
	}
	own.sin_family = AF_INET;
	own.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	start_listening();
	snprintf(answer, sizeof answer, "link ready on 127.0.0.1:%u",
	    ntohs(own.sin_port));
	say(answer);
	serve();
	return 0;
}

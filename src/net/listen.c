/* SPDX-License-Identifier: MIT
 *
 * The accept loop. Two manners: a burst of connections takes only a bounded
 * part of a turn, and when descriptors run out it waits with growing pauses
 * instead of spinning on a socket that stays readable.
 */
#include "net/listen.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "net/loop.h"
#include "net/sock.h"
#include "util/err.h"
#include "util/mem.h"

#define BACKLOG 1024
#define ACCEPTS_A_TURN 64
#define PAUSE_MIN_MS 100
#define PAUSE_MAX_MS 1000
#define UNIX_MODE 0600

struct listener {
	struct loop *loop;
	const struct listener_events *events;
	void *owner;
	uv_poll_t poll;
	struct timer pause;
	uint64_t pause_ms; /* of the next pause */
	struct addr addr;
	int fd;
	bool paused;
	bool closing;
	bool has_file; /* of a unix socket: the file below is ours */
	dev_t file_dev;
	ino_t file_ino;
};

/* --- accepting --- */

static void on_poll(uv_poll_t *handle, int status, int events);

static const char *
remedy(int error)
{
	switch (error) {
	case EMFILE:
		return "raise the limit of open files (`ulimit -n`)";
	case ENFILE:
		return "raise the system's limit of open files (fs.file-max)";
	default:
		return "the system is short of memory";
	}
}

/* What accept reports about a connection that is gone already, which Linux
 * passes on from the network below. */
static bool
is_of_one_connection(int error)
{
	switch (error) {
	case EINTR:
	case ECONNABORTED:
	case EPROTO:
	case ENETDOWN:
	case ENOPROTOOPT:
	case EHOSTDOWN:
	case ENONET:
	case EHOSTUNREACH:
	case EOPNOTSUPP:
	case ENETUNREACH:
	case EPERM:
		return true;
	default:
		return false;
	}
}

static void
pause_for(struct listener *ln, int error)
{
	struct err e;
	bool is_news = !ln->paused;

	ln->paused = true;
	uv_poll_stop(&ln->poll);
	timer_set(&ln->pause, ln->pause_ms);
	ln->pause_ms *= 2;
	if (ln->pause_ms > PAUSE_MAX_MS)
		ln->pause_ms = PAUSE_MAX_MS;
	if (!is_news || ln->events->on_pause == NULL)
		return;
	err_set_errno(&e, ERR_SYSTEM, error,
	    "cannot accept connections now, they wait; %s", remedy(error));
	ln->events->on_pause(ln->owner, true, &e);
}

static void
end_pause(struct listener *ln)
{
	if (!ln->paused)
		return;
	ln->paused = false;
	ln->pause_ms = PAUSE_MIN_MS;
	uv_poll_start(&ln->poll, UV_READABLE, on_poll);
	if (ln->events->on_pause != NULL)
		ln->events->on_pause(ln->owner, false, NULL);
}

static void
give(struct listener *ln, int fd, struct addr *peer)
{
	struct stream *s = sock_open(ln->loop, fd, NULL);

	addr_unmap(peer);
	if (s != NULL)
		ln->events->on_accept(ln->owner, s, peer);
}

/* False when there is no more to accept now. A pause ends when all that
 * waited is accepted, not with the first descriptor that gets free: else a
 * full house would report it over and over. */
static bool
accept_one(struct listener *ln)
{
	struct addr peer = {0};
	socklen_t len = sizeof(peer.sa);
	int fd = accept4(ln->fd, (struct sockaddr *)&peer.sa, &len,
	    SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd >= 0) {
		peer.len = len;
		ln->pause_ms = PAUSE_MIN_MS;
		give(ln, fd, &peer);
		return true;
	}
	if (is_of_one_connection(errno))
		return true;
	if (errno == EAGAIN || errno == EWOULDBLOCK)
		end_pause(ln);
	else
		pause_for(ln, errno);
	return false;
}

/* What is left after a full part stays readable for the next turn. */
static void
accept_some(struct listener *ln)
{
	for (int i = 0; i < ACCEPTS_A_TURN; i++)
		if (!accept_one(ln) || ln->closing)
			return;
	end_pause(ln);
}

static void
on_poll(uv_poll_t *handle, int status, int events)
{
	struct listener *ln = handle->data;

	(void)events;
	if (status < 0)
		pause_for(ln, -status);
	else
		accept_some(ln);
}

static void
on_pause_over(void *owner)
{
	accept_some(owner);
}

/* --- opening --- */

static bool
bind_error(struct err *e, const struct addr *a, int error)
{
	char text[ADDR_TEXT_MAX];

	addr_print(a, text);
	switch (error) {
	case EADDRINUSE:
		return err_set(e, ERR_USAGE,
		    "cannot listen on %s: the address is in use; %s", text,
		    addr_is_unix(a)
		        ? "if no other program serves it, remove the file"
		        : "stop the program that holds it (`ss -ltnp` shows "
		          "it) or choose another port");
	case EADDRNOTAVAIL:
		return err_set(e, ERR_USAGE,
		    "cannot listen on %s: this host does not have that "
		    "address (`ip address` shows those it has)",
		    text);
	case EACCES:
	case EPERM:
		return err_set(e, ERR_DENIED,
		    "cannot listen on %s: not permitted; %s", text,
		    addr_is_unix(a) ? "the folder must be writable"
		                    : "ports below 1024 need root or "
		                      "CAP_NET_BIND_SERVICE");
	case ENOENT:
	case ENOTDIR:
		return err_set(e, ERR_USAGE,
		    "cannot listen on %s: the folder does not exist", text);
	default:
		return err_set_errno(
		    e, ERR_SYSTEM, error, "cannot listen on %s", text);
	}
}

/* A socket file that refuses connections was left behind by a process that
 * died. Anything else than a socket is never removed. */
static bool
remove_stale(const struct addr *a)
{
	const char *path = addr_unix_path(a);
	struct stat st;
	int fd;
	bool is_stale;

	if (lstat(path, &st) != 0 || !S_ISSOCK(st.st_mode))
		return false;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	is_stale = connect(fd, (const struct sockaddr *)&a->sa, a->len) != 0 &&
	           errno == ECONNREFUSED;
	(void)close(fd);
	return is_stale && unlink(path) == 0;
}

/* The mode is set on the socket before the file exists, so that it is never
 * wider than asked for; the umask may have taken bits, which are given back. */
static bool
bind_unix(struct listener *ln, const struct listener_options *o)
{
	const struct addr *a = &ln->addr;
	const struct sockaddr *sa = (const struct sockaddr *)&a->sa;
	mode_t mode = o->unix_mode != 0 ? (mode_t)o->unix_mode : UNIX_MODE;
	struct stat st;

	(void)fchmod(ln->fd, mode);
	if (bind(ln->fd, sa, a->len) != 0 &&
	    (errno != EADDRINUSE || !o->unlink_stale || !remove_stale(a) ||
	        bind(ln->fd, sa, a->len) != 0))
		return false;
	if (lstat(addr_unix_path(a), &st) != 0)
		return false;
	ln->has_file = true;
	ln->file_dev = st.st_dev;
	ln->file_ino = st.st_ino;
	return (st.st_mode & 07777) == mode ||
	       chmod(addr_unix_path(a), mode) == 0;
}

/* Listening on [::] serves IPv4 as well, whatever the system's default is. */
static bool
bind_ip(struct listener *ln, const struct listener_options *o)
{
	const struct addr *a = &ln->addr;
	int on = 1;
	int v6only = !addr_is_unspecified(a);

	(void)setsockopt(ln->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (a->sa.ss_family == AF_INET6)
		(void)setsockopt(
		    ln->fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof(v6only));
	if (o->reuse_port &&
	    setsockopt(ln->fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) != 0)
		return false;
	return bind(ln->fd, (const struct sockaddr *)&a->sa, a->len) == 0;
}

/* errno tells why it failed. */
static bool
make_socket(struct listener *ln, const struct listener_options *o)
{
	socklen_t len = sizeof(ln->addr.sa);

	ln->fd = socket(ln->addr.sa.ss_family,
	    SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (ln->fd < 0)
		return false;
	if (!(addr_is_unix(&ln->addr) ? bind_unix(ln, o) : bind_ip(ln, o)))
		return false;
	if (listen(ln->fd, o->backlog > 0 ? o->backlog : BACKLOG) != 0)
		return false;
	if (addr_is_unix(&ln->addr))
		return true;
	if (getsockname(ln->fd, (struct sockaddr *)&ln->addr.sa, &len) != 0)
		return false;
	ln->addr.len = len;
	return true;
}

/* The file may have been replaced by another process's meanwhile. */
static void
remove_file(const struct listener *ln)
{
	struct stat st;

	if (ln->has_file && lstat(addr_unix_path(&ln->addr), &st) == 0 &&
	    st.st_dev == ln->file_dev && st.st_ino == ln->file_ino)
		(void)unlink(addr_unix_path(&ln->addr));
}

struct listener *
listener_open(struct loop *l, const struct addr *a,
    const struct listener_options *options,
    const struct listener_events *events, void *owner, struct err *e)
{
	static const struct listener_options defaults;
	struct listener *ln = mem_zalloc(sizeof(*ln));
	int rc;

	ln->loop = l;
	ln->events = events;
	ln->owner = owner;
	ln->addr = *a;
	ln->fd = -1;
	ln->pause_ms = PAUSE_MIN_MS;
	timer_init(&ln->pause, l, on_pause_over, ln);
	if (!make_socket(ln, options != NULL ? options : &defaults)) {
		bind_error(e, a, errno);
		goto fail;
	}
	rc = uv_poll_init_socket(loop_uv(l), &ln->poll, ln->fd);
	if (rc != 0) {
		bind_error(e, a, -rc);
		goto fail;
	}
	ln->poll.data = ln;
	uv_poll_start(&ln->poll, UV_READABLE, on_poll);
	return ln;
fail:
	remove_file(ln);
	if (ln->fd >= 0)
		(void)close(ln->fd);
	free(ln);
	return NULL;
}

const struct addr *
listener_addr(const struct listener *ln)
{
	return &ln->addr;
}

static void
on_closed(uv_handle_t *handle)
{
	struct listener *ln = handle->data;

	loop_bury(ln->loop, ln, free);
}

void
listener_close(struct listener *ln)
{
	assert(!ln->closing);
	ln->closing = true;
	timer_clear(&ln->pause);
	uv_close((uv_handle_t *)&ln->poll, on_closed);
	remove_file(ln);
	(void)close(ln->fd);
}

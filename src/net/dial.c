/* SPDX-License-Identifier: MIT
 *
 * Dialling. libcurl does what it is best at, names, happy eyeballs and
 * proxies, as connect-only transfers of one multi handle (so that names are
 * cached); we watch its sockets and its one timer. When it reports a
 * connection, the descriptor is duplicated, curl forgets its own, and TLS goes
 * on top.
 *
 * Owners are called only after curl has returned, so they may open and close
 * dials as they like: nothing of curl is on the stack then.
 */
#include "net/dial.h"

#include <assert.h>
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "net/loop.h"
#include "net/sock.h"
#include "net/tls.h"
#include "util/err.h"
#include "util/list.h"
#include "util/mem.h"
#include "util/text.h"

#define DIAL_TIMEOUT_MS 20000

/* Transfers kept for the next dials; each is a few KiB. */
#define SPARE_MAX 32

struct dialer {
	struct loop *loop;
	CURLM *multi;
	struct tls_context *tls;
	struct timer timer; /* curl's */
	struct list polls;
	struct list dials;
	CURL *spare[SPARE_MAX];
	size_t n_spare;
	char *proxy;    /* URL with its login; NULL: straight */
	char *no_proxy; /* list; NULL: none */
	struct hostport proxy_at;
	bool proxy_login; /* the URL has a user */
	bool proxy_socks;
	uint64_t timeout_ms;
	bool closing;
};

/* A socket of curl's that the loop watches. */
struct poll {
	uv_poll_t uv;
	struct list link;
	struct dialer *dialer; /* may be gone before the close callback */
	struct loop *loop;
	curl_socket_t fd;
};

/* Which of the pointers is set tells how far it is: easy (curl is
 * connecting), tls (handshake), neither (the owner knows the result). */
struct dial {
	struct list link;
	struct dialer *dialer;
	const struct dial_events *events;
	void *owner;
	struct hostport to;
	CURL *easy;
	struct stream *tls;
	struct timer deadline;
	struct err err;
	bool via_proxy;
	char text[CURL_ERROR_SIZE]; /* curl's own words */
};

static void check_done(struct dialer *d);

/* --- curl's sockets and timer --- */

static void
on_poll_closed(uv_handle_t *handle)
{
	struct poll *p = handle->data;

	loop_bury(p->loop, p, free);
}

static void
poll_close(struct poll *p)
{
	list_remove(&p->link);
	uv_poll_stop(&p->uv);
	uv_close((uv_handle_t *)&p->uv, on_poll_closed);
}

static void
on_poll(uv_poll_t *handle, int status, int events)
{
	struct poll *p = handle->data;
	struct dialer *d = p->dialer;
	int flags = 0;
	int running;

	if (status < 0)
		flags = CURL_CSELECT_ERR;
	if (events & UV_READABLE)
		flags |= CURL_CSELECT_IN;
	if (events & UV_WRITABLE)
		flags |= CURL_CSELECT_OUT;
	curl_multi_socket_action(d->multi, p->fd, flags, &running);
	check_done(d);
}

static struct poll *
poll_new(struct dialer *d, curl_socket_t fd)
{
	struct poll *p = mem_zalloc(sizeof(*p));

	if (uv_poll_init_socket(loop_uv(d->loop), &p->uv, fd) != 0) {
		free(p);
		return NULL;
	}
	p->uv.data = p;
	p->dialer = d;
	p->loop = d->loop;
	p->fd = fd;
	list_init(&p->link);
	list_append(&d->polls, &p->link);
	curl_multi_assign(d->multi, fd, p);
	return p;
}

static int
on_socket(CURL *easy, curl_socket_t fd, int what, void *owner, void *of_socket)
{
	struct dialer *d = owner;
	struct poll *p = of_socket;
	int mask = 0;

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		curl_multi_assign(d->multi, fd, NULL);
		if (p != NULL)
			poll_close(p);
		return 0;
	}
	if (p == NULL)
		p = poll_new(d, fd);
	if (p == NULL)
		return -1;
	if (what & CURL_POLL_IN)
		mask |= UV_READABLE;
	if (what & CURL_POLL_OUT)
		mask |= UV_WRITABLE;
	uv_poll_start(&p->uv, mask, on_poll);
	return 0;
}

static int
on_curl_timer(CURLM *multi, long timeout_ms, void *owner)
{
	struct dialer *d = owner;

	(void)multi;
	if (timeout_ms < 0)
		timer_clear(&d->timer);
	else
		timer_set(&d->timer, (uint64_t)timeout_ms);
	return 0;
}

static void
on_timer(void *owner)
{
	struct dialer *d = owner;
	int running;

	curl_multi_socket_action(d->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	check_done(d);
}

/* --- which proxy --- */

/* "example.com" and ".example.com" stand for the domain and all below it. */
static bool
is_domain_of(const char *domain, size_t n, const char *host)
{
	size_t len = strlen(host);

	if (n > 0 && *domain == '.')
		domain++, n--;
	if (n == 0 || n > len ||
	    !text_is_equal_nocase_n(host + len - n, domain, n))
		return false;
	return n == len || host[len - n - 1] == '.';
}

/* An address, or a range as 10.0.0.0/8. */
static bool
is_range_of(const char *item, size_t n, const struct addr *host)
{
	char text[ADDR_TEXT_MAX];
	struct addr net;
	uint64_t bits;
	char *slash;

	if (n >= 2 && item[0] == '[' && item[n - 1] == ']')
		item++, n -= 2;
	if (n >= sizeof(text))
		return false;
	memcpy(text, item, n);
	text[n] = '\0';
	slash = strchr(text, '/');
	if (slash != NULL)
		*slash++ = '\0';
	if (!addr_from_ip(&net, text, 0))
		return false;
	bits = net.sa.ss_family == AF_INET ? 32 : 128;
	if (slash != NULL && !text_parse_u64(slash, 0, bits, &bits))
		return false;
	return addr_is_in(host, &net, (unsigned)bits);
}

static bool
is_straight(const struct dialer *d, const char *host)
{
	const char *at = d->no_proxy;
	struct addr a;
	bool is_ip = addr_from_ip(&a, host, 0);

	if (d->proxy == NULL)
		return true;
	while (at != NULL && *at != '\0') {
		size_t n;

		at += strspn(at, ", \t");
		n = strcspn(at, ", \t");
		if (n == 1 && *at == '*')
			return true;
		if (is_ip ? is_range_of(at, n, &a) : is_domain_of(at, n, host))
			return true;
		at += n;
	}
	return false;
}

static const char *
first_env(const char *const *names)
{
	for (; *names != NULL; names++) {
		const char *value = getenv(*names);

		if (value != NULL && *value != '\0')
			return value;
	}
	return NULL;
}

static bool
get_part(CURLU *u, CURLUPart part, char **out)
{
	*out = NULL;
	return curl_url_get(u, part, out, CURLU_DEFAULT_PORT) == CURLUE_OK;
}

/* Only what follows the last @ of a proxy's URL may be shown. */
static bool
bad_proxy(struct err *e, const char *url, const char *why)
{
	const char *at = strrchr(url, '@');
	char text[128];

	if (at != NULL)
		url = at + 1;
	text_escape(url, strlen(url), text, sizeof(text));
	return err_set(e, ERR_USAGE, "proxy %s: %s", text, why);
}

static bool
set_proxy_at(struct dialer *d, CURLU *u, const char *url, struct err *e)
{
	static const char *const schemes[] = {
	    "http", "socks4", "socks4a", "socks5", "socks5h"};
	char *scheme, *host, *port, *user;
	bool known = false;
	bool ok;
	size_t n;

	get_part(u, CURLUPART_SCHEME, &scheme);
	get_part(u, CURLUPART_USER, &user);
	ok = get_part(u, CURLUPART_HOST, &host);
	/* As curl has it: proxies without a port listen on 1080. */
	if (curl_url_get(u, CURLUPART_PORT, &port, 0) != CURLUE_OK)
		port = NULL;
	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++)
		known = known || text_is_equal_nocase(scheme, schemes[i]);
	if (!known) {
		ok = bad_proxy(e, url,
		    text_is_equal_nocase(scheme, "https")
		        ? "TLS to the proxy itself (https://) is not "
		          "supported; give its http:// or socks5h:// address"
		        : "only http, socks4, socks4a, socks5 and socks5h "
		          "proxies are known");
	} else if (ok) {
		n = strlen(host);
		if (n > 2 && host[0] == '[')
			snprintf(d->proxy_at.host, sizeof(d->proxy_at.host),
			    "%.*s", (int)n - 2, host + 1);
		else
			snprintf(d->proxy_at.host, sizeof(d->proxy_at.host),
			    "%s", host);
		d->proxy_at.port = 1080;
		ok = port == NULL || text_parse_port(port, &d->proxy_at.port);
		ok = ok && host_is_valid(d->proxy_at.host);
		if (!ok)
			bad_proxy(e, url, "not a proxy's address");
	} else {
		bad_proxy(e, url, "not a proxy's address");
	}
	d->proxy_login = user != NULL;
	d->proxy_socks = text_has_prefix_nocase(scheme, "socks");
	curl_free(scheme);
	curl_free(host);
	curl_free(port);
	curl_free(user);
	return ok;
}

static bool
set_proxy(struct dialer *d, const char *given, struct err *e)
{
	static const char *const proxies[] = {
	    "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", NULL};
	static const char *const exceptions[] = {"no_proxy", "NO_PROXY", NULL};
	const char *url = given != NULL ? given : first_env(proxies);
	CURLU *u;
	bool ok;

	if (url == NULL || *url == '\0')
		return true;
	u = curl_url();
	if (u == NULL)
		abort();
	d->proxy = strstr(url, "://") != NULL ? mem_strdup(url)
	                                      : mem_printf("http://%s", url);
	ok = curl_url_set(u, CURLUPART_URL, d->proxy,
	         CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK;
	if (ok)
		ok = set_proxy_at(d, u, d->proxy, e);
	else
		bad_proxy(e, d->proxy, "not a proxy's address");
	curl_url_cleanup(u);
	if (ok && given == NULL && first_env(exceptions) != NULL)
		d->no_proxy = mem_strdup(first_env(exceptions));
	return ok;
}

/* --- the dialer --- */

static void
dialer_free(void *object)
{
	struct dialer *d = object;

	tls_context_unref(d->tls);
	mem_free_secret(d->proxy);
	free(d->no_proxy);
	free(d);
}

struct dialer *
dialer_new(struct loop *l, const struct dialer_options *o, struct err *e)
{
	struct dialer *d = mem_zalloc(sizeof(*d));

	curl_global_init(CURL_GLOBAL_DEFAULT);
	d->loop = l;
	list_init(&d->polls);
	list_init(&d->dials);
	d->timeout_ms = o->timeout_ms > 0 ? o->timeout_ms : DIAL_TIMEOUT_MS;
	if (o->tls != NULL)
		d->tls = tls_context_ref(o->tls);
	if (!set_proxy(d, o->proxy, e)) {
		dialer_free(d);
		curl_global_cleanup();
		return NULL;
	}
	timer_init(&d->timer, l, on_timer, d);
	d->multi = curl_multi_init();
	if (d->multi == NULL)
		abort();
	curl_multi_setopt(d->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(d->multi, CURLMOPT_SOCKETDATA, d);
	curl_multi_setopt(d->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
	curl_multi_setopt(d->multi, CURLMOPT_TIMERDATA, d);
	curl_multi_setopt(d->multi, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
	return d;
}

void
dialer_close(struct dialer *d)
{
	assert(!d->closing && list_is_empty(&d->dials));
	d->closing = true;
	while (d->n_spare > 0)
		curl_easy_cleanup(d->spare[--d->n_spare]);
	curl_multi_cleanup(d->multi);
	while (!list_is_empty(&d->polls))
		poll_close(LIST_OF(d->polls.next, struct poll, link));
	timer_clear(&d->timer);
	curl_global_cleanup();
	loop_bury(d->loop, d, dialer_free);
}

/* --- one transfer --- */

/* What is the same for all dials is set once; the handle goes round. */
static CURL *
easy_new(struct dialer *d)
{
	CURL *c = curl_easy_init();

	if (c == NULL)
		abort();
	curl_easy_setopt(c, CURLOPT_CONNECT_ONLY, 1L);
	curl_easy_setopt(c, CURLOPT_FRESH_CONNECT, 1L);
	curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(c, CURLOPT_TCP_NODELAY, 1L);
	curl_easy_setopt(c, CURLOPT_NOPROXY, "");
	/* Our deadline is the one that counts. */
	curl_easy_setopt(
	    c, CURLOPT_CONNECTTIMEOUT_MS, (long)d->timeout_ms + 1000L);
#if CURL_AT_LEAST_VERSION(7, 87, 0)
	/* A name that is still being looked up must not hold the loop. */
	curl_easy_setopt(c, CURLOPT_QUICK_EXIT, 1L);
#endif
	return c;
}

static void
easy_set_proxy(CURL *c, const struct dialer *d, bool straight)
{
	curl_easy_setopt(c, CURLOPT_PROXY, straight ? "" : d->proxy);
	curl_easy_setopt(
	    c, CURLOPT_HTTPPROXYTUNNEL, straight || d->proxy_socks ? 0L : 1L);
	if (straight || d->proxy_socks)
		return;
	/* Without a login of its own a process may still be known to the
	 * proxy by its Kerberos ticket. */
	if (d->proxy_login) {
		curl_easy_setopt(c, CURLOPT_PROXYAUTH,
		    (long)(CURLAUTH_ANY & ~CURLAUTH_NEGOTIATE));
	} else {
		curl_easy_setopt(
		    c, CURLOPT_PROXYAUTH, (long)CURLAUTH_NEGOTIATE);
		curl_easy_setopt(c, CURLOPT_PROXYUSERPWD, ":");
	}
}

/* After this curl knows the dial no more. */
static void
drop_easy(struct dial *c)
{
	struct dialer *d = c->dialer;
	CURL *easy = c->easy;

	if (easy == NULL)
		return;
	c->easy = NULL;
	curl_multi_remove_handle(d->multi, easy);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, NULL);
	curl_easy_setopt(easy, CURLOPT_PRIVATE, NULL);
	if (d->n_spare < SPARE_MAX)
		d->spare[d->n_spare++] = easy;
	else
		curl_easy_cleanup(easy);
}

static void
start_easy(struct dial *c)
{
	struct dialer *d = c->dialer;
	char at[HOSTPORT_TEXT_MAX];
	char url[HOSTPORT_TEXT_MAX + 16];

	hostport_print(&c->to, at);
	snprintf(url, sizeof(url), "http://%s/", at);
	c->easy = d->n_spare > 0 ? d->spare[--d->n_spare] : easy_new(d);
	easy_set_proxy(c->easy, d, !c->via_proxy);
	curl_easy_setopt(c->easy, CURLOPT_URL, url);
	curl_easy_setopt(c->easy, CURLOPT_ERRORBUFFER, c->text);
	curl_easy_setopt(c->easy, CURLOPT_PRIVATE, c);
	if (curl_multi_add_handle(d->multi, c->easy) != CURLM_OK)
		abort(); /* out of memory, or a fault of ours */
}

/* --- what went wrong, in words --- */

static long
info_long(struct dial *c, CURLINFO what)
{
	long value = 0;

	curl_easy_getinfo(c->easy, what, &value);
	return value;
}

/* The hop we talk to while curl is at work. */
static void
name_hop(struct dial *c, char *out, size_t size)
{
	char at[HOSTPORT_TEXT_MAX];

	snprintf(out, size, "%s %s", c->via_proxy ? "proxy" : "relay",
	    hostport_print(c->via_proxy ? &c->dialer->proxy_at : &c->to, at));
}

static void
describe_refusal(struct dial *c)
{
	int number = (int)info_long(c, CURLINFO_OS_ERRNO);
	char hop[HOSTPORT_TEXT_MAX + 8];

	name_hop(c, hop, sizeof(hop));
	if (number == ECONNREFUSED)
		err_set(&c->err, ERR_REFUSED,
		    "%s: connection refused; nothing listens there (is host "
		    "and port right, does it run?)",
		    hop);
	else if (number != 0)
		err_set_errno(&c->err, ERR_SYSTEM, number, "%s", hop);
	else
		err_set(&c->err, ERR_UNREACHABLE, "%s: %s", hop, c->text);
	if (c->err.code == ERR_SYSTEM && number == EACCES)
		c->err.code = ERR_UNREACHABLE;
}

/* The proxy is there and answered no. */
static void
describe_proxy(struct dial *c)
{
	int status = (int)info_long(c, CURLINFO_HTTP_CONNECTCODE);
	int reply = (int)info_long(c, CURLINFO_PROXY_ERROR);
	char hop[HOSTPORT_TEXT_MAX + 8], to[HOSTPORT_TEXT_MAX];

	name_hop(c, hop, sizeof(hop));
	hostport_print(&c->to, to);
	if (status == 407 || reply == CURLPX_USER_REJECTED ||
	    reply == CURLPX_NO_AUTH || reply == CURLPX_IDENTD_DIFFER)
		err_set(&c->err, ERR_AUTH,
		    c->dialer->proxy_login
		        ? "%s refuses the login; check user and password in "
		          "the proxy's URL"
		        : "%s wants a login; give it in the proxy's URL: "
		          "http://user:password@host:port",
		    hop);
	else if (status >= 400)
		err_set(&c->err,
		    status == 502 || status == 503 || status == 504
		        ? ERR_UNREACHABLE
		        : ERR_REFUSED,
		    "%s does not connect to relay %s: status %d", hop, to,
		    status);
	else if (reply == CURLPX_REPLY_CONNECTION_REFUSED)
		err_set(&c->err, ERR_REFUSED,
		    "relay %s: connection refused, says %s", to, hop);
	else if (reply == CURLPX_RESOLVE_HOST)
		err_set(&c->err, ERR_UNREACHABLE,
		    "relay name %s unknown: check the name and the DNS",
		    c->to.host);
	else
		err_set(&c->err, ERR_UNREACHABLE,
		    "%s does not connect to relay %s: %s", hop, to, c->text);
	if (status >= 400)
		c->err.http_status = status;
}

static void
describe(struct dial *c, CURLcode code)
{
	char hop[HOSTPORT_TEXT_MAX + 8];

	if (c->text[0] == '\0')
		snprintf(
		    c->text, sizeof(c->text), "%s", curl_easy_strerror(code));
	name_hop(c, hop, sizeof(hop));
	switch (code) {
	case CURLE_COULDNT_RESOLVE_HOST:
		err_set(&c->err, ERR_UNREACHABLE,
		    "relay name %s unknown: check the name and the DNS",
		    c->to.host);
		break;
	case CURLE_COULDNT_RESOLVE_PROXY:
		err_set(&c->err, ERR_UNREACHABLE,
		    "proxy name %s unknown: check the proxy's URL and the DNS",
		    c->dialer->proxy_at.host);
		break;
	case CURLE_COULDNT_CONNECT:
		describe_refusal(c);
		break;
	case CURLE_OPERATION_TIMEDOUT:
		err_set(&c->err, ERR_TIMEOUT, "%s: no answer", hop);
		break;
	default:
		if (c->via_proxy)
			describe_proxy(c);
		else
			err_set(
			    &c->err, ERR_UNREACHABLE, "%s: %s", hop, c->text);
	}
}

static void
describe_timeout(struct dial *c)
{
	double s = (double)c->dialer->timeout_ms / 1000;
	char hop[HOSTPORT_TEXT_MAX + 8], to[HOSTPORT_TEXT_MAX];

	name_hop(c, hop, sizeof(hop));
	hostport_print(&c->to, to);
	if (c->easy == NULL)
		err_set(&c->err, ERR_TIMEOUT,
		    "relay TLS with %s: no answer within %g s; is it the "
		    "right port?",
		    to, s);
	else if (c->via_proxy)
		err_set(&c->err, ERR_TIMEOUT,
		    "%s: no connection to relay %s within %g s; is the proxy "
		    "there, and may it connect to that port?",
		    hop, to, s);
	else
		err_set(&c->err, ERR_TIMEOUT,
		    "%s: no answer within %g s; is host and port right, does "
		    "a firewall want a proxy?",
		    hop, s);
}

/* --- one dial --- */

/* All ends of a dial come here; c->err is filled. */
static void
report(struct dial *c)
{
	timer_clear(&c->deadline);
	drop_easy(c);
	if (c->tls != NULL) {
		struct stream *s = c->tls;

		c->tls = NULL;
		stream_close(s);
	}
	c->events->on_error(c->owner, &c->err);
}

static void
on_deadline(void *owner)
{
	struct dial *c = owner;

	describe_timeout(c);
	report(c);
}

static void
hand_over(struct dial *c, struct stream *s)
{
	timer_clear(&c->deadline);
	stream_set_owner(s, NULL, NULL);
	c->events->on_open(c->owner, s);
}

static void
on_tls_open(void *owner)
{
	struct dial *c = owner;
	struct stream *s = c->tls;

	c->tls = NULL;
	hand_over(c, s);
}

static void
on_tls_error(void *owner, const struct err *err)
{
	struct dial *c = owner;

	c->err = *err;
	report(c);
}

/* It is stopped and writes nothing, so none of these can come. */
static void
on_tls_data(void *owner, uint8_t *data, size_t len)
{
	(void)owner, (void)data, (void)len;
	abort();
}

static void
on_tls_other(void *owner)
{
	(void)owner;
	abort();
}

static const struct stream_events tls_events = {
    .on_open = on_tls_open,
    .on_data = on_tls_data,
    .on_end = on_tls_other,
    .on_drain = on_tls_other,
    .on_error = on_tls_error,
};

/* Takes the socket out of curl's hands. */
static struct stream *
take_socket(struct dial *c)
{
	curl_socket_t fd = CURL_SOCKET_BAD;
	int own = -1;

	curl_easy_getinfo(c->easy, CURLINFO_ACTIVESOCKET, &fd);
	if (fd != CURL_SOCKET_BAD)
		own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (own < 0) {
		err_set_errno(&c->err, ERR_SYSTEM,
		    fd == CURL_SOCKET_BAD ? EBADF : errno,
		    "cannot take over the relay's connection");
		return NULL;
	}
	drop_easy(c);
	return sock_open(c->dialer->loop, own, &c->err);
}

static void
on_connected(struct dial *c)
{
	struct stream *s = take_socket(c);

	if (s == NULL) {
		report(c);
		return;
	}
	if (c->dialer->tls == NULL) {
		hand_over(c, s);
		return;
	}
	c->tls = tls_client(c->dialer->tls, s, c->to.host, c->to.port);
	stream_set_owner(c->tls, &tls_events, c);
}

/* One message at a time: the owner may close any dial, or the dialer. */
static void
check_done(struct dialer *d)
{
	CURLMsg *m;
	int left;

	while (!d->closing &&
	       (m = curl_multi_info_read(d->multi, &left)) != NULL) {
		struct dial *c = NULL;
		CURLcode code = m->data.result;

		if (m->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &c);
		if (c == NULL)
			continue;
		if (code == CURLE_OK) {
			on_connected(c);
			continue;
		}
		describe(c, code);
		report(c);
	}
}

struct dial *
dial_open(struct dialer *d, const struct hostport *to,
    const struct dial_events *events, void *owner)
{
	struct dial *c = mem_zalloc(sizeof(*c));

	assert(!d->closing);
	c->dialer = d;
	c->events = events;
	c->owner = owner;
	c->to = *to;
	c->via_proxy = !is_straight(d, to->host);
	list_init(&c->link);
	list_append(&d->dials, &c->link);
	timer_init(&c->deadline, d->loop, on_deadline, c);
	timer_set(&c->deadline, d->timeout_ms);
	start_easy(c);
	return c;
}

void
dial_close(struct dial *c)
{
	struct dialer *d = c->dialer;

	assert(list_is_linked(&c->link));
	list_remove(&c->link);
	timer_clear(&c->deadline);
	drop_easy(c);
	if (c->tls != NULL)
		stream_reset(c->tls);
	c->tls = NULL;
	loop_bury(d->loop, c, free);
}

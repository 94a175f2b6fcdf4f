/* SPDX-License-Identifier: MIT
 *
 * Addresses as text and back. Reading is strict on purpose: what the C library
 * would take as a short, octal or hexadecimal form of an IPv4 address is
 * refused, so that a rule and the kernel never read one text in two ways.
 */
#include "net/addr.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "util/err.h"

#define LABEL_MAX 63 /* RFC 1035 */

static const struct sockaddr_in *
in4(const struct addr *a)
{
	return (const struct sockaddr_in *)&a->sa;
}

static const struct sockaddr_in6 *
in6(const struct addr *a)
{
	return (const struct sockaddr_in6 *)&a->sa;
}

static int
family(const struct addr *a)
{
	return a->len == 0 ? AF_UNSPEC : a->sa.ss_family;
}

/* --- reading --- */

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Decimal, no sign, no leading zero. */
static bool
parse_port(const char *text, uint16_t *port)
{
	unsigned value = 0;
	size_t n = 0;

	for (; is_digit(text[n]) && n < 6; n++)
		value = value * 10 + (unsigned)(text[n] - '0');
	if (n == 0 || n > 5 || text[n] != '\0' || value > 65535 ||
	    (n > 1 && text[0] == '0'))
		return false;
	*port = (uint16_t)value;
	return true;
}

/* A text cut into host and port. */
struct parts {
	char host[HOST_MAX + 1];
	uint16_t port;
	bool bracketed;
};

static bool
copy_host(struct parts *p, const char *from, size_t len)
{
	if (len == 0 || len > HOST_MAX)
		return false;
	memcpy(p->host, from, len);
	p->host[len] = '\0';
	return true;
}

static bool
take_port(struct parts *p, const char *rest, uint16_t default_port)
{
	p->port = default_port;
	if (*rest == '\0')
		return default_port != 0;
	return *rest == ':' && parse_port(rest + 1, &p->port);
}

/* "[host]", "[host]:port", "host", "host:port". */
static bool
split(struct parts *p, const char *text, uint16_t default_port)
{
	const char *end;

	p->bracketed = *text == '[';
	if (p->bracketed)
		text++;
	end = text + strcspn(text, p->bracketed ? "]" : ":");
	if (!copy_host(p, text, (size_t)(end - text)))
		return false;
	if (p->bracketed && *end++ != ']')
		return false;
	return take_port(p, end, default_port);
}

static bool
parse_scope(const char *text, uint32_t *scope)
{
	uint16_t number;

	if (*text == '\0' || strlen(text) >= IF_NAMESIZE)
		return false;
	*scope = if_nametoindex(text);
	if (*scope == 0 && parse_port(text, &number))
		*scope = number;
	return *scope != 0;
}

static bool
from_ip6(struct addr *a, const char *ip, uint16_t port)
{
	struct sockaddr_in6 *sin6 = (struct sockaddr_in6 *)&a->sa;
	char bare[INET6_ADDRSTRLEN];
	size_t len = strcspn(ip, "%");

	if (len >= sizeof(bare))
		return false;
	memcpy(bare, ip, len);
	bare[len] = '\0';
	if (inet_pton(AF_INET6, bare, &sin6->sin6_addr) != 1)
		return false;
	if (ip[len] == '%' && !parse_scope(ip + len + 1, &sin6->sin6_scope_id))
		return false;
	sin6->sin6_family = AF_INET6;
	sin6->sin6_port = htons(port);
	a->len = sizeof(*sin6);
	return true;
}

bool
addr_from_ip(struct addr *a, const char *ip, uint16_t port)
{
	struct sockaddr_in *sin = (struct sockaddr_in *)&a->sa;

	memset(a, 0, sizeof(*a));
	if (inet_pton(AF_INET, ip, &sin->sin_addr) == 1) {
		sin->sin_family = AF_INET;
		sin->sin_port = htons(port);
		a->len = sizeof(*sin);
		return true;
	}
	if (from_ip6(a, ip, port))
		return true;
	memset(a, 0, sizeof(*a));
	return false;
}

static bool
parse_unix(struct addr *a, const char *path, struct err *e)
{
	struct sockaddr_un *sun = (struct sockaddr_un *)&a->sa;
	size_t len = strlen(path);

	if (len == 0)
		return err_set(e, ERR_USAGE,
		    "the path of a unix socket is missing: write unix:/path");
	if (len >= sizeof(sun->sun_path))
		return err_set(e, ERR_USAGE,
		    "the path of the unix socket is too long: it has %zu "
		    "bytes, at most %zu are possible",
		    len, sizeof(sun->sun_path) - 1);
	memset(a, 0, sizeof(*a));
	sun->sun_family = AF_UNIX;
	memcpy(sun->sun_path, path, len + 1);
	a->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1);
	return true;
}

static const char *
after_prefix(const char *text, const char *prefix)
{
	size_t len = strlen(prefix);

	return strncmp(text, prefix, len) == 0 ? text + len : NULL;
}

/* A text of the user's for an error: cut, and without control bytes. */
struct quoted {
	char text[HOST_MAX + 1];
};

static const char *
quote(struct quoted *q, const char *text)
{
	size_t n = 0;

	for (; text[n] != '\0' && n < sizeof(q->text) - 1; n++) {
		unsigned char c = (unsigned char)text[n];

		q->text[n] = c < 0x20 || c >= 0x7f ? '?' : (char)c;
	}
	q->text[n] = '\0';
	return q->text;
}

bool
addr_parse(
    struct addr *a, const char *text, uint16_t default_port, struct err *e)
{
	const char *path = after_prefix(text, "unix:");
	struct parts p;
	struct quoted q;

	if (path == NULL)
		path = after_prefix(text, "socket:");
	if (path != NULL)
		return parse_unix(a, path, e);
	if (!split(&p, text, default_port))
		return err_set(e, ERR_USAGE,
		    "\"%s\" is not an address: write 127.0.0.1:8080, "
		    "[::1]:8080 or unix:/path",
		    quote(&q, text));
	if (!addr_from_ip(a, p.host, p.port) ||
	    p.bracketed != (family(a) == AF_INET6)) {
		memset(a, 0, sizeof(*a));
		return err_set(e, ERR_USAGE,
		    "\"%s\" is not an address: \"%s\" is not an IP in its "
		    "usual form",
		    quote(&q, text), quote(&(struct quoted){0}, p.host));
	}
	return true;
}

void
addr_from_sockaddr(struct addr *a, const struct sockaddr *sa, socklen_t len)
{
	memset(a, 0, sizeof(*a));
	if (len > sizeof(a->sa))
		len = sizeof(a->sa);
	memcpy(&a->sa, sa, len);
	a->len = len;
}

/* --- printing --- */

const char *
addr_print_ip(const struct addr *a, char out[ADDR_TEXT_MAX])
{
	const void *ip = NULL;

	out[0] = '\0';
	if (family(a) == AF_INET)
		ip = &in4(a)->sin_addr;
	else if (family(a) == AF_INET6)
		ip = &in6(a)->sin6_addr;
	if (ip != NULL)
		(void)inet_ntop(family(a), ip, out, ADDR_TEXT_MAX);
	return out;
}

static void
print_scope(const struct addr *a, char out[IF_NAMESIZE + 1])
{
	uint32_t scope = in6(a)->sin6_scope_id;

	out[0] = '\0';
	if (scope == 0)
		return;
	out[0] = '%';
	if (if_indextoname(scope, out + 1) == NULL)
		(void)snprintf(out + 1, IF_NAMESIZE, "%u", (unsigned)scope);
}

const char *
addr_print(const struct addr *a, char out[ADDR_TEXT_MAX])
{
	char ip[ADDR_TEXT_MAX];
	char scope[IF_NAMESIZE + 1];

	addr_print_ip(a, ip);
	switch (family(a)) {
	case AF_INET:
		(void)snprintf(
		    out, ADDR_TEXT_MAX, "%.64s:%u", ip, addr_port(a));
		break;
	case AF_INET6:
		print_scope(a, scope);
		(void)snprintf(out, ADDR_TEXT_MAX, "[%.64s%s]:%u", ip, scope,
		    addr_port(a));
		break;
	case AF_UNIX:
		(void)snprintf(
		    out, ADDR_TEXT_MAX, "unix:%.108s", addr_unix_path(a));
		break;
	default:
		(void)snprintf(out, ADDR_TEXT_MAX, "no address");
	}
	return out;
}

/* --- looking and changing --- */

uint16_t
addr_port(const struct addr *a)
{
	if (family(a) == AF_INET)
		return ntohs(in4(a)->sin_port);
	if (family(a) == AF_INET6)
		return ntohs(in6(a)->sin6_port);
	return 0;
}

void
addr_set_port(struct addr *a, uint16_t port)
{
	if (family(a) == AF_INET)
		((struct sockaddr_in *)&a->sa)->sin_port = htons(port);
	else if (family(a) == AF_INET6)
		((struct sockaddr_in6 *)&a->sa)->sin6_port = htons(port);
}

bool
addr_is_unix(const struct addr *a)
{
	return family(a) == AF_UNIX;
}

/* The storage is longer than any sun_path and zeroed behind it. */
const char *
addr_unix_path(const struct addr *a)
{
	if (!addr_is_unix(a))
		return NULL;
	if (a->len <= offsetof(struct sockaddr_un, sun_path))
		return "";
	return ((const struct sockaddr_un *)&a->sa)->sun_path;
}

static bool
is_mapped(const struct addr *a)
{
	return family(a) == AF_INET6 &&
	       IN6_IS_ADDR_V4MAPPED(&in6(a)->sin6_addr);
}

void
addr_unmap(struct addr *a)
{
	struct sockaddr_in sin = {.sin_family = AF_INET};

	if (!is_mapped(a))
		return;
	sin.sin_port = in6(a)->sin6_port;
	memcpy(&sin.sin_addr, &in6(a)->sin6_addr.s6_addr[12], 4);
	addr_from_sockaddr(a, (const struct sockaddr *)&sin, sizeof(sin));
}

static size_t
ip_bytes(const struct addr *a, const uint8_t **bytes)
{
	if (family(a) == AF_INET) {
		*bytes = (const uint8_t *)&in4(a)->sin_addr;
		return 4;
	}
	if (family(a) == AF_INET6) {
		*bytes = in6(a)->sin6_addr.s6_addr;
		return 16;
	}
	return 0;
}

bool
addr_is_in(const struct addr *a, const struct addr *net, unsigned bits)
{
	const uint8_t *x;
	const uint8_t *y;
	size_t size = ip_bytes(a, &x);
	unsigned whole = bits / 8;
	uint8_t mask = (uint8_t)(0xff00u >> (bits % 8));

	if (size == 0 || ip_bytes(net, &y) != size || bits > size * 8)
		return false;
	return memcmp(x, y, whole) == 0 &&
	       (mask == 0 || ((x[whole] ^ y[whole]) & mask) == 0);
}

bool
addr_is_equal(const struct addr *a, const struct addr *b)
{
	if (family(a) != family(b))
		return false;
	if (family(a) == AF_INET)
		return addr_is_in(a, b, 32) && addr_port(a) == addr_port(b);
	if (family(a) == AF_INET6)
		return addr_is_in(a, b, 128) && addr_port(a) == addr_port(b) &&
		       in6(a)->sin6_scope_id == in6(b)->sin6_scope_id;
	if (addr_is_unix(a))
		return strcmp(addr_unix_path(a), addr_unix_path(b)) == 0;
	return true;
}

static bool
is_in_text(const struct addr *a, const char *net4, unsigned bits4,
    const char *net6, unsigned bits6)
{
	struct addr plain = *a;
	struct addr net;

	addr_unmap(&plain);
	if (family(&plain) == AF_INET)
		return addr_from_ip(&net, net4, 0) &&
		       addr_is_in(&plain, &net, bits4);
	return addr_from_ip(&net, net6, 0) && addr_is_in(&plain, &net, bits6);
}

bool
addr_is_loopback(const struct addr *a)
{
	return is_in_text(a, "127.0.0.0", 8, "::1", 128);
}

bool
addr_is_link_local(const struct addr *a)
{
	return is_in_text(a, "169.254.0.0", 16, "fe80::", 10);
}

bool
addr_is_unspecified(const struct addr *a)
{
	return is_in_text(a, "0.0.0.0", 32, "::", 128);
}

/* --- hosts --- */

static bool
is_host_char(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z') ||
	       (c >= 'A' && c <= 'Z') || c == '-' || c == '_';
}

/* The C library reads a name whose last label is a number (127.1, 0x7f000001)
 * as an IPv4 address; only the usual form may be one. */
static bool
is_number(const char *label, size_t len)
{
	if (len > 1 && label[0] == '0' && (label[1] == 'x' || label[1] == 'X'))
		return strspn(label + 2, "0123456789abcdefABCDEF") >= len - 2;
	return strspn(label, "0123456789") >= len;
}

static bool
is_name(const char *host)
{
	const char *label = host;
	size_t len = 0;

	if (*host == '-' || strlen(host) > HOST_MAX)
		return false;
	for (;;) {
		len = 0;
		while (is_host_char(label[len]))
			len++;
		if (len == 0 || len > LABEL_MAX)
			return false;
		if (label[len] == '\0' ||
		    (label[len] == '.' && label[len + 1] == '\0'))
			return !is_number(label, len);
		if (label[len] != '.')
			return false;
		label += len + 1;
	}
}

bool
host_is_valid(const char *host)
{
	struct addr a;

	if (strchr(host, '%') != NULL)
		return false;
	return addr_from_ip(&a, host, 0) || is_name(host);
}

static bool
is_bare_ip6(const char *text)
{
	struct addr a;

	return addr_from_ip(&a, text, 0) && family(&a) == AF_INET6;
}

bool
hostport_parse(
    struct hostport *h, const char *text, uint16_t default_port, struct err *e)
{
	struct parts p;
	struct quoted q;

	if (default_port != 0 && is_bare_ip6(text)) {
		p = (struct parts){.port = default_port};
		copy_host(&p, text, strlen(text));
	} else if (!split(&p, text, default_port) ||
	           p.bracketed != is_bare_ip6(p.host)) {
		return err_set(e, ERR_USAGE,
		    "\"%s\" is not a host and port: write name:port, "
		    "1.2.3.4:port or [::1]:port",
		    quote(&q, text));
	}
	if (!host_is_valid(p.host))
		return err_set(e, ERR_USAGE, "\"%s\" is not the name of a host",
		    quote(&q, p.host));
	memcpy(h->host, p.host, sizeof(h->host));
	h->port = p.port;
	return true;
}

const char *
hostport_print(const struct hostport *h, char out[HOSTPORT_TEXT_MAX])
{
	bool is_ip6 = strchr(h->host, ':') != NULL;

	(void)snprintf(out, HOSTPORT_TEXT_MAX, is_ip6 ? "[%s]:%u" : "%s:%u",
	    h->host, h->port);
	return out;
}

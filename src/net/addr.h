/* SPDX-License-Identifier: MIT
 *
 * Addresses: a numeric socket address (struct addr), and a host and port as
 * people write them (struct hostport). Parsing is pure; nothing is resolved.
 * IPv6 stands in brackets wherever a port may follow.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct err;

#define ADDR_TEXT_MAX 128 /* "unix:" + sun_path, or [v6%scope]:port */
#define HOST_MAX 255      /* RFC 1035 */

struct addr {
	struct sockaddr_storage sa;
	socklen_t len; /* 0: no address */
};

struct hostport {
	char host[HOST_MAX + 1]; /* a name, an IPv4 address, or IPv6 without
	                            brackets; never empty after a parse */
	uint16_t port;
};

/* "1.2.3.4:80", "[::1]:80", "unix:/path" (also "socket:/path"). Without a port
 * default_port is taken; 0 means that a port is required (port "0" itself is
 * allowed: the kernel picks). Only the canonical dotted form is an IPv4
 * address here: 0x7f.1 and 127.1 are refused. ERR_USAGE. */
bool addr_parse(
    struct addr *a, const char *text, uint16_t default_port, struct err *e);

/* From an IP literal without brackets or port. */
bool addr_from_ip(struct addr *a, const char *ip, uint16_t port);

void addr_from_sockaddr(
    struct addr *a, const struct sockaddr *sa, socklen_t len);

/* As addr_parse reads it; always terminated. Returns out. */
const char *addr_print(const struct addr *a, char out[ADDR_TEXT_MAX]);
/* The IP alone, without brackets or scope; "" for unix. */
const char *addr_print_ip(const struct addr *a, char out[ADDR_TEXT_MAX]);

uint16_t addr_port(const struct addr *a); /* 0 for unix */
void addr_set_port(struct addr *a, uint16_t port);
bool addr_is_unix(const struct addr *a);
/* The path of a unix address; NULL for others. */
const char *addr_unix_path(const struct addr *a);

/* ::ffff:1.2.3.4 (and the NAT64 and 6to4 forms are left alone) becomes
 * 1.2.3.4, so that a rule for the IPv4 range meets it. */
void addr_unmap(struct addr *a);

bool addr_is_equal(const struct addr *a, const struct addr *b);
bool addr_is_loopback(const struct addr *a);
bool addr_is_link_local(const struct addr *a);
/* 0.0.0.0 or ::, which connect(2) takes as this host. */
bool addr_is_unspecified(const struct addr *a);

/* Whether the first `bits` bits of both IPs agree (and the families do). */
bool addr_is_in(const struct addr *a, const struct addr *net, unsigned bits);

/* "host:port", "[v6]:port", "host" or a bare v6 when default_port is not 0.
 * Host names: letters, digits, - _ and dots, at most 255; anything else is
 * refused (no blanks, no control bytes, no %). ERR_USAGE. */
bool hostport_parse(
    struct hostport *h, const char *text, uint16_t default_port, struct err *e);

#define HOSTPORT_TEXT_MAX (HOST_MAX + 10)
const char *hostport_print(
    const struct hostport *h, char out[HOSTPORT_TEXT_MAX]);

/* Whether a text is allowed as the host of a struct hostport. */
bool host_is_valid(const char *host);

/* SPDX-License-Identifier: MIT
 *
 * The words for ends. A tunnel's text is cut into a local and a remote part
 * first, by the one mark that belongs to neither (=, or the colon before the
 * remote), and each part is then read by the same function.
 */
#include "ends/end.h"

#include <stdio.h>
#include <string.h>

#include "util/err.h"
#include "util/text.h"

const struct end_kind end_kind_tcp = {
    .name = "tcp",
    .form = "[host:]port",
    .help = "a TCP port",
    .policy = POLICY_TCP,
};

const struct end_kind end_kind_udp = {
    .name = "udp",
    .form = "[host:]port/udp",
    .help = "a UDP port",
    .policy = POLICY_UDP,
    .has_datagrams = true,
};

const struct end_kind end_kind_unix = {
    .name = "unix",
    .form = "unix:/path",
    .help = "a Unix socket (also written socket:/path)",
    .policy = POLICY_UNIX,
    .has_path = true,
};

static const struct end_kind *const kinds[] = {
    &end_kind_tcp, &end_kind_udp, &end_kind_unix};

/* Words longer than this are refused before they are looked at. */
#define WORD_MAX 512

const struct end_kind *
end_kind_at(size_t i)
{
	return i < sizeof kinds / sizeof kinds[0] ? kinds[i] : NULL;
}

/* --- small readers --- */

struct shown {
	char text[96];
};

/* A faulty word as an error may show it. */
static const char *
show(struct shown *s, const char *word)
{
	text_escape(word, strlen(word), s->text, sizeof s->text);
	return s->text;
}

/* The path behind unix: or socket:, or NULL. */
static const char *
path_of(const char *word)
{
	if (strncmp(word, "unix:", 5) == 0)
		return word + 5;
	if (strncmp(word, "socket:", 7) == 0)
		return word + 7;
	return NULL;
}

static bool
parse_path(struct end *x, const char *path, struct err *e)
{
	struct shown s;
	const char *at;

	if (path[0] != '/' || path[1] == '\0')
		return err_set(e, ERR_USAGE,
		    "socket path \"%s\": it must begin with /, as in "
		    "unix:/run/app.sock",
		    show(&s, path));
	if (strlen(path) > END_PATH_MAX)
		return err_set(e, ERR_USAGE,
		    "socket path \"%s\": longer than %d bytes, which is all "
		    "the system takes",
		    show(&s, path), END_PATH_MAX);
	for (at = path; *at; at++)
		if ((unsigned char)*at < 0x20 || *at == 0x7f)
			return err_set(e, ERR_USAGE,
			    "socket path \"%s\": control bytes are refused",
			    show(&s, path));
	x->kind = &end_kind_unix;
	strcpy(x->path, path);
	return true;
}

static bool
parse_port(uint16_t *out, const char *word, bool may_be_zero, struct err *e)
{
	struct shown s;

	if (may_be_zero && strcmp(word, "0") == 0) {
		*out = 0;
		return true;
	}
	if (text_parse_port(word, out))
		return true;
	if (word[0] == '\0')
		return err_set(e, ERR_USAGE, "a port is missing");
	return err_set(e, ERR_USAGE,
	    "port \"%s\": it must be a number from 1 to 65535", show(&s, word));
}

/* Copies a host without its brackets. what: "bind address", "destination". */
static bool
parse_host(
    char out[HOST_MAX + 1], const char *word, const char *what, struct err *e)
{
	char bare[HOST_MAX + 1];
	const char *start = word;
	size_t n = strlen(word);
	struct shown s;
	bool has_brackets = n >= 2 && word[0] == '[' && word[n - 1] == ']';

	if (has_brackets) {
		start++;
		n -= 2;
	}
	if (n == 0)
		return err_set(e, ERR_USAGE, "%s: the host is missing", what);
	if (n <= HOST_MAX) {
		memcpy(bare, start, n);
		bare[n] = '\0';
		/* Only IPv6 holds colons; a host named unix would print as a
		 * path. */
		if (host_is_valid(bare) && strcmp(bare, "unix") != 0 &&
		    strcmp(bare, "socket") != 0 &&
		    (!has_brackets || strchr(bare, ':'))) {
			strcpy(out, bare);
			return true;
		}
	}
	return err_set(e, ERR_USAGE,
	    "%s \"%s\": not a host name or IP address (IPv6 stands in "
	    "brackets)",
	    what, show(&s, word));
}

static bool
is_bind_host(const char *host)
{
	struct addr ip;

	return strcmp(host, "*") == 0 || addr_from_ip(&ip, host, 0) ||
	       text_is_equal_nocase(host, "localhost");
}

static bool
parse_bind(char out[HOST_MAX + 1], const char *word, struct err *e)
{
	struct shown s;

	if (strcmp(word, "*") == 0) {
		strcpy(out, word);
		return true;
	}
	if (!parse_host(out, word, "bind address", e))
		return false;
	if (is_bind_host(out))
		return true;
	return err_set(e, ERR_USAGE,
	    "bind address \"%s\": it must be an IP address of this machine, "
	    "localhost or *",
	    show(&s, word));
}

/* The length of the first part of s: up to a colon outside brackets. */
static size_t
part_len(const char *s)
{
	size_t n = 0;

	if (s[0] == '[')
		n = strcspn(s, "]");
	return n + strcspn(s + n, ":");
}

/* Cuts s into at most max parts at colons outside brackets; each must fit. The
 * number of parts, or 0 when there are more or one is too long. */
static size_t
cut(const char *s, char parts[][HOST_MAX + 3], size_t max)
{
	size_t count = 0, n;

	for (;;) {
		n = part_len(s);
		if (count == max || n >= HOST_MAX + 3)
			return 0;
		memcpy(parts[count], s, n);
		parts[count++][n] = '\0';
		if (s[n] == '\0')
			return count;
		s += n + 1;
	}
}

/* Whether one of a text's ends is a path; then a slash at its end is not the
 * mark of a suffix. */
static bool
has_path(const char *word)
{
	return path_of(word) || strstr(word, "=unix:") ||
	       strstr(word, "=socket:") || strstr(word, ":unix:/") ||
	       strstr(word, ":socket:/");
}

/* Takes "/udp" or "/tcp" off the end of a copy of the text. The kind, or NULL
 * after *e. */
static const struct end_kind *
take_suffix(char word[WORD_MAX + 1], const char *text, struct err *e)
{
	struct shown s;
	size_t n = strlen(text);
	char *slash;

	if (n == 0) {
		err_set(e, ERR_USAGE,
		    "the tunnel is empty; write "
		    "[bind:]port[:host:port]");
		return NULL;
	}
	if (n > WORD_MAX) {
		err_set(e, ERR_USAGE, "\"%s\" is too long", show(&s, text));
		return NULL;
	}
	strcpy(word, text);
	if (has_path(word))
		return &end_kind_tcp;
	slash = strchr(word, '/');
	if (!slash)
		return &end_kind_tcp;
	*slash = '\0';
	if (strcmp(slash + 1, "udp") == 0)
		return &end_kind_udp;
	if (strcmp(slash + 1, "tcp") == 0)
		return &end_kind_tcp;
	err_set(e, ERR_USAGE,
	    "\"/%s\": only /udp and /tcp may stand behind the port",
	    show(&s, slash + 1));
	return NULL;
}

/* --- one end --- */

/* "[bind:]port" or a path. */
static bool
parse_local(
    struct end *x, const char *word, const struct end_kind *kind, struct err *e)
{
	char parts[2][HOST_MAX + 3];
	const char *path = path_of(word);
	struct shown s;
	size_t n;

	if (path)
		return parse_path(x, path, e);
	n = cut(word, parts, 2);
	if (n == 0)
		return err_set(e, ERR_USAGE,
		    "local end \"%s\": write [bind:]port, with IPv6 in "
		    "brackets",
		    show(&s, word));
	x->kind = kind;
	if (n == 1)
		strcpy(x->at.host, "127.0.0.1");
	else if (!parse_bind(x->at.host, parts[0], e))
		return false;
	return parse_port(&x->at.port, parts[n - 1], true, e);
}

/* "[host:]port", a path, or (where the port is known) a host alone. */
static bool
parse_remote(struct end *x, const char *word, const struct end_kind *kind,
    uint16_t default_port, struct err *e)
{
	char parts[2][HOST_MAX + 3];
	const char *path = path_of(word);
	struct addr ip;
	struct shown s;
	size_t n;

	if (path)
		return parse_path(x, path, e);
	x->kind = kind;
	n = cut(word, parts, 2);
	if (n == 2)
		return parse_host(x->at.host, parts[0], "destination", e) &&
		       parse_port(&x->at.port, parts[1], false, e);
	if (n == 1 && parts[0][strspn(parts[0], "0123456789")] == '\0') {
		strcpy(x->at.host, "127.0.0.1");
		return parse_port(&x->at.port, parts[0], false, e);
	}
	x->at.port = default_port;
	if (n == 1 && default_port != 0)
		return parse_host(x->at.host, parts[0], "destination", e);
	if (n == 0 && default_port != 0 && strlen(word) <= HOST_MAX &&
	    addr_from_ip(&ip, word, 0))
		return parse_host(x->at.host, word, "destination", e);
	return err_set(e, ERR_USAGE,
	    "destination \"%s\": write [host:]port, with IPv6 in brackets, or "
	    "unix:/path",
	    show(&s, word));
}

bool
end_parse(struct end *x, const char *text, uint16_t default_port, struct err *e)
{
	char word[WORD_MAX + 1];
	const struct end_kind *kind;
	struct end got;

	memset(&got, 0, sizeof got);
	kind = take_suffix(word, text, e);
	if (!kind || !parse_remote(&got, word, kind, default_port, e))
		return false;
	*x = got;
	return true;
}

bool
end_parse_local(struct end *x, const char *text, struct err *e)
{
	char word[WORD_MAX + 1];
	const struct end_kind *kind;
	struct end got;

	memset(&got, 0, sizeof got);
	kind = take_suffix(word, text, e);
	if (!kind || !parse_local(&got, word, kind, e))
		return false;
	*x = got;
	return true;
}

/* --- tunnels --- */

static bool
set_default_remote(struct tunnel_spec *spec, struct err *e)
{
	if (spec->local.kind->has_path)
		return err_set(e, ERR_USAGE,
		    "unix:%s: the destination is missing; write "
		    "unix:%s=host:port",
		    spec->local.path, spec->local.path);
	if (spec->local.at.port == 0)
		return err_set(e, ERR_USAGE,
		    "port 0 (any free port) needs a destination, as in "
		    "0:127.0.0.1:5432");
	spec->remote.kind = spec->local.kind;
	strcpy(spec->remote.at.host, "127.0.0.1");
	spec->remote.at.port = spec->local.at.port;
	return true;
}

static bool
check_kinds(const struct tunnel_spec *spec, struct err *e)
{
	if (spec->local.kind->has_datagrams == spec->remote.kind->has_datagrams)
		return true;
	return err_set(e, ERR_USAGE,
	    "/udp needs a port at both ends; a Unix socket carries no "
	    "datagrams here");
}

/* remote == NULL: none was given. */
static bool
parse_both(struct tunnel_spec *spec, const char *local, const char *remote,
    const struct end_kind *kind, struct err *e)
{
	struct tunnel_spec got;

	memset(&got, 0, sizeof got);
	if (!parse_local(&got.local, local, kind, e))
		return false;
	got.remote_given = remote != NULL;
	if (remote &&
	    !parse_remote(&got.remote, remote, kind, got.local.at.port, e))
		return false;
	if (!remote && !set_default_remote(&got, e))
		return false;
	if (!check_kinds(&got, e))
		return false;
	*spec = got;
	return true;
}

/* Finds where the remote begins in a text without =, and cuts before it: the
 * colon before a path, or the one before the last two parts of three or four.
 * *remote NULL: there is none. */
static bool
split_colons(char *word, char **remote, struct err *e)
{
	struct shown s;
	size_t at[4], count = 1, i = 0;
	char *path;

	*remote = NULL;
	path = strstr(word, ":unix:/");
	if (!path)
		path = strstr(word, ":socket:/");
	if (path) {
		*path = '\0';
		*remote = path + 1;
		return true;
	}
	if (path_of(word))
		return true;
	at[0] = 0;
	for (i = part_len(word); word[i]; i += 1 + part_len(word + i + 1)) {
		if (count == 4)
			return err_set(e, ERR_USAGE,
			    "\"%s\": too many parts; write "
			    "[bind:]port[:host:port], with IPv6 in brackets",
			    show(&s, word));
		at[count++] = i + 1;
	}
	if (count < 3)
		return true;
	*remote = word + at[count - 2];
	(*remote)[-1] = '\0';
	return true;
}

bool
end_parse_tunnel(struct tunnel_spec *spec, const char *text, struct err *e)
{
	char word[WORD_MAX + 1], *remote;
	const struct end_kind *kind = take_suffix(word, text, e);

	if (!kind)
		return false;
	remote = strchr(word, '=');
	if (remote)
		*remote++ = '\0';
	else if (!split_colons(word, &remote, e))
		return false;
	if (remote && *remote == '\0')
		return err_set(e, ERR_USAGE, "the destination is missing");
	return parse_both(spec, word, remote, kind, e);
}

bool
end_parse_console(struct tunnel_spec *spec, const char *local,
    const char *destination, struct err *e)
{
	char first[WORD_MAX + 1], second[WORD_MAX + 1];
	const struct end_kind *kind = take_suffix(first, local, e);
	const struct end_kind *other;

	if (!kind)
		return false;
	if (!destination)
		return parse_both(spec, first, NULL, kind, e);
	other = take_suffix(second, destination, e);
	if (!other)
		return false;
	if (other->has_datagrams)
		kind = other;
	return parse_both(spec, first, second, kind, e);
}

const char *
end_print(const struct end *x, char out[END_TEXT_MAX])
{
	char at[HOSTPORT_TEXT_MAX];

	if (x->kind->has_path)
		snprintf(out, END_TEXT_MAX, "unix:%s", x->path);
	else
		snprintf(out, END_TEXT_MAX, "%s%s", hostport_print(&x->at, at),
		    x->kind->has_datagrams ? "/udp" : "");
	return out;
}

size_t
end_bind_addrs(
    const struct end *x, struct addr out[END_BIND_MAX], struct err *e)
{
	const char *host = x->at.host;
	char path[ADDR_TEXT_MAX];

	if (x->kind->has_path) {
		snprintf(path, sizeof path, "unix:%s", x->path);
		return addr_parse(&out[0], path, 0, e) ? 1 : 0;
	}
	if (strcmp(host, "*") == 0)
		return addr_from_ip(&out[0], "::", x->at.port) +
		       addr_from_ip(&out[1], "0.0.0.0", x->at.port);
	if (text_is_equal_nocase(host, "localhost"))
		return addr_from_ip(&out[0], "127.0.0.1", x->at.port) +
		       addr_from_ip(&out[1], "::1", x->at.port);
	if (addr_from_ip(&out[0], host, x->at.port))
		return 1;
	err_set(e, ERR_USAGE,
	    "bind address %s: it must be an IP address of this machine, "
	    "localhost or *",
	    host);
	return 0;
}

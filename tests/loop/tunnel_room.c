/* SPDX-License-Identifier: MIT
 *
 * Everything is on one loop, so a test is a list of things to do and of
 * conditions to wait for.
 */
#include "tunnel_room.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "ends/users.h"
#include "net/connect.h"
#include "net/dial.h"
#include "net/listen.h"
#include "net/loop.h"
#include "net/pump.h"
#include "net/stream.h"
#include "net/tls.h"
#include "net/tls_identity.h"
#include "relay/relay.h"
#include "util/log.h"
#include "util/mem.h"

#define PIECE ((size_t)60000)

/* --- parties --- */

static void
send_more(struct party *p)
{
	while (p->sent < p->to_send) {
		size_t n = p->to_send - p->sent;
		bool room;
		uint8_t *data;

		if (n > PIECE)
			n = PIECE;
		data = mem_alloc(n);
		memstream_fill(data, n, p->sent);
		room = stream_put(p->stream, data, n);
		free(data);
		p->sent += n;
		if (!room)
			return;
	}
	if (p->shuts && !p->stream->is_shut)
		stream_shutdown(p->stream);
}

static void
on_data(void *owner, uint8_t *data, size_t len)
{
	struct party *p = owner;

	if (p->bytes < sizeof(p->text) - 1) {
		size_t room = sizeof(p->text) - 1 - p->bytes;

		memcpy(p->text + p->bytes, data, len < room ? len : room);
	}
	p->hash = memstream_hash(p->hash, data, len);
	p->bytes += len;
	if (p->resets) {
		stream_reset(p->stream);
		p->stream = NULL;
	} else if (p->echo && !stream_write(p->stream, data, len)) {
		stream_stop(p->stream);
	}
}

static void
on_end(void *owner)
{
	struct party *p = owner;

	p->ends++;
	if (p->answers_end)
		stream_put(p->stream, p->text, strlen(p->text));
	if ((p->answers_end || p->echo) && !p->stream->is_shut)
		stream_shutdown(p->stream);
}

static void
on_drain(void *owner)
{
	struct party *p = owner;

	p->drains++;
	if (p->echo && !p->stalls)
		stream_start(p->stream);
	if (p->sent < p->to_send)
		send_more(p);
}

static void
on_error(void *owner, const struct err *err)
{
	struct party *p = owner;

	p->errors++;
	p->err = *err;
}

static const struct stream_events stream_events = {
    .on_data = on_data,
    .on_end = on_end,
    .on_drain = on_drain,
    .on_error = on_error,
};

void
party_own(struct party *p, struct stream *s)
{
	p->stream = s;
	p->hash = MEMSTREAM_HASH;
	stream_set_owner(s, &stream_events, p);
	if (!p->stalls)
		stream_start(s);
	if (p->to_send > 0)
		send_more(p);
}

static void
on_connected(void *owner, struct stream *s, const struct addr *a)
{
	struct party *p = owner;

	(void)a;
	connect_close(p->connecting);
	p->connecting = NULL;
	party_own(p, s);
}

static void
on_not_connected(void *owner, const struct err *err)
{
	struct party *p = owner;

	connect_close(p->connecting);
	p->connecting = NULL;
	p->is_refused = true;
	p->err = *err;
}

static const struct connect_events connect_events = {
    .on_open = on_connected,
    .on_error = on_not_connected,
};

struct party *
party_connect(struct room *r, const struct addr *at)
{
	struct party *p = mem_zalloc(sizeof(*p));

	p->connecting =
	    connect_open_addr(r->loop, at, 10000, &connect_events, p);
	RUN_UNTIL(r->loop, p->stream != NULL || p->is_refused);
	return p;
}

void
party_send(struct party *p, const void *data, size_t len)
{
	stream_put(p->stream, data, len);
}

void
party_send_much(struct party *p, size_t n)
{
	p->to_send = n;
	send_more(p);
}

void
party_shutdown(struct party *p)
{
	stream_shutdown(p->stream);
}

void
party_read(struct party *p)
{
	p->stalls = false;
	stream_start(p->stream);
}

void
party_reset(struct party *p)
{
	stream_reset(p->stream);
	p->stream = NULL;
}

void
party_free(struct party *p)
{
	if (p->connecting != NULL)
		connect_close(p->connecting);
	if (p->stream != NULL)
		stream_close(p->stream);
	free(p);
}

/* --- the destination --- */

static void
on_accept(void *owner, struct stream *s, const struct addr *peer)
{
	struct room *r = owner;
	struct party *p = mem_zalloc(sizeof(*p));

	(void)peer;
	assert_true(r->n_there < ROOM_PARTIES);
	*p = r->manner;
	r->there[r->n_there++] = p;
	party_own(p, s);
}

static const struct listener_events server_events = {
    .on_accept = on_accept,
};

static void
open_server(struct room *r)
{
	struct addr at;
	struct err e;

	assert_true(addr_parse(&at, "127.0.0.1:0", 0, &e));
	r->server = listener_open(r->loop, &at, NULL, &server_events, r, &e);
	assert_non_null(r->server);
	r->port = addr_port(listener_addr(r->server));
}

/* --- the relay --- */

/* One certificate for the whole program, removed at its end. */
static char folder[] = "/tmp/hyco-room-XXXXXX";
static char ca_file[64], cert_file[64], key_file[64];

static void
remove_files(void)
{
	unlink(ca_file);
	unlink(cert_file);
	unlink(key_file);
	rmdir(folder);
}

static void
make_files(void)
{
	static const char *const names[] = {"127.0.0.1", NULL};
	struct tls_make_options o = {.ca_file = ca_file,
	    .cert_file = cert_file,
	    .key_file = key_file,
	    .names = names,
	    .days = 1};
	struct err e;

	if (ca_file[0] != '\0')
		return;
	assert_non_null(mkdtemp(folder));
	snprintf(ca_file, sizeof(ca_file), "%s/ca.pem", folder);
	snprintf(cert_file, sizeof(cert_file), "%s/cert.pem", folder);
	snprintf(key_file, sizeof(key_file), "%s/key.pem", folder);
	atexit(remove_files);
	if (!tls_make_certificate(&o, &e))
		fail_msg("%s", e.text);
}

static void
open_tls(struct room *r)
{
	struct tls_client_options client = {
	    .ca_file = ca_file, .no_system_ca = true};
	struct tls_server_options server = {cert_file, key_file};
	struct err e;

	make_files();
	r->client_tls = tls_context_client(&client, &e);
	r->server_tls = tls_context_server(&server, &e);
	if (r->client_tls == NULL || r->server_tls == NULL)
		fail_msg("%s", e.text);
}

static void
open_relay(struct room *r)
{
	static const struct relay_rule rules[] = {
	    {"listen", "listen-key", RELAY_LISTEN},
	    {"send", "send-key", RELAY_SEND},
	};
	struct relay_hybrid_connection demo;
	struct relay_namespace space = {.name = "127.0.0.1"};
	struct relay_config config;
	struct addr at;
	struct err e;

	relay_hybrid_connection_init(&demo);
	demo.path = "demo";
	demo.rules = rules;
	demo.n_rules = 2;
	space.hybrid_connections = &demo;
	space.n_hybrid_connections = 1;
	relay_config_init(&config);
	config.namespaces = &space;
	config.n_namespaces = 1;
	assert_true(addr_parse(&at, "127.0.0.1:0", 0, &e));
	r->relay =
	    relay_open(r->loop, &config, r->server_tls, &at, NULL, NULL, &e);
	if (r->relay == NULL)
		fail_msg("relay: %s", e.text);
}

static void
fill_target(struct room *r, struct hc_target *t, const char *rule)
{
	char text[ADDR_TEXT_MAX], key[64];
	struct err e;

	hc_target_init(t);
	addr_print(relay_addr(r->relay), text);
	snprintf(key, sizeof(key), "%s-key", rule);
	assert_true(hc_target_set_namespace(t, text, &e));
	assert_true(hc_target_set_path(t, "demo", &e));
	assert_true(hc_target_set_key_name(t, rule, &e));
	assert_true(hc_target_set_key(t, key, &e));
}

void
room_open(struct room *r)
{
	struct dialer_options o = {.proxy = ""};
	struct err e;

	memset(r, 0, sizeof(*r));
	list_init(&r->proxied);
	log_set_level(getenv("ROOM_LOG") != NULL ? LOG_DEBUG : LOG_ERROR);
	r->loop = loop_new(&e);
	open_tls(r);
	open_relay(r);
	open_server(r);
	o.tls = r->client_tls;
	r->dialer = dialer_new(r->loop, &o, &e);
	assert_non_null(r->dialer);
	fill_target(r, &r->listen, "listen");
	fill_target(r, &r->send, "send");
}

/* --- a proxy that can be cut --- */

struct proxied {
	struct list link;
	struct room *room;
	struct connecting *connecting;
	struct stream *from; /* until joined */
	struct pump *pump;
};

static void
drop_proxied(struct proxied *x)
{
	if (x->connecting != NULL)
		connect_close(x->connecting);
	if (x->from != NULL)
		stream_reset(x->from);
	if (x->pump != NULL)
		pump_close(x->pump);
	list_remove(&x->link);
	loop_bury(x->room->loop, x, free);
}

static void
on_proxied_done(void *owner, const struct err *err, bool from_a)
{
	(void)err;
	(void)from_a;
	drop_proxied(owner);
}

static const struct pump_events proxied_pump_events = {
    .on_done = on_proxied_done,
};

static void
on_proxied_open(void *owner, struct stream *s, const struct addr *a)
{
	struct proxied *x = owner;
	struct stream *from = x->from;

	(void)a;
	connect_close(x->connecting);
	x->connecting = NULL;
	x->from = NULL;
	x->pump = pump_open(from, s, &proxied_pump_events, x);
}

static void
on_proxied_error(void *owner, const struct err *err)
{
	(void)err;
	drop_proxied(owner);
}

static const struct connect_events proxied_connect_events = {
    .on_open = on_proxied_open,
    .on_error = on_proxied_error,
};

static void
on_proxy_accept(void *owner, struct stream *s, const struct addr *peer)
{
	struct room *r = owner;
	struct proxied *x;

	(void)peer;
	r->n_proxied++;
	if (r->proxy_refuses) {
		stream_reset(s);
		return;
	}
	x = mem_zalloc(sizeof(*x));
	x->room = r;
	x->from = s;
	list_append(&r->proxied, &x->link);
	if (!r->proxy_holds)
		x->connecting = connect_open_addr(r->loop, relay_addr(r->relay),
		    10000, &proxied_connect_events, x);
}

static const struct listener_events proxy_events = {
    .on_accept = on_proxy_accept,
};

void
room_open_proxy(struct room *r)
{
	char text[ADDR_TEXT_MAX];
	struct addr at;
	struct err e;

	assert_true(addr_parse(&at, "127.0.0.1:0", 0, &e));
	r->proxy = listener_open(r->loop, &at, NULL, &proxy_events, r, &e);
	assert_non_null(r->proxy);
	addr_print(listener_addr(r->proxy), text);
	assert_true(hc_target_set_namespace(&r->send, text, &e));
}

void
room_cut(struct room *r)
{
	struct list *at, *after;

	LIST_EACH_SAFE (at, after, &r->proxied)
		drop_proxied(LIST_OF(at, struct proxied, link));
}

/* --- who the listener is --- */

static void
open_identity(struct room *r)
{
	struct err e;

	r->identity = tls_identity_open(r->folder, NULL, &e);
	if (r->identity == NULL)
		fail_msg("%s", e.text);
}

static void
remove_file(struct room *r, const char *name)
{
	char *file = mem_printf("%s/%s", r->folder, name);

	unlink(file);
	free(file);
}

static void
close_identity(struct room *r)
{
	remove_file(r, "identity.key");
	remove_file(r, "identity.pem");
	tls_context_unref(r->identity);
	r->identity = NULL;
}

void
room_open_identity(struct room *r)
{
	char name[] = "/tmp/hyco-identity-XXXXXX";

	assert_non_null(mkdtemp(name));
	r->folder = mem_strdup(name);
	open_identity(r);
}

void
room_change_identity(struct room *r)
{
	close_identity(r);
	open_identity(r);
}

const char *
room_known_file(struct room *r)
{
	static char file[64];

	snprintf(file, sizeof(file), "%s/known_listeners", r->folder);
	return file;
}

static void
close_folder(struct room *r)
{
	DIR *d;
	struct dirent *entry;

	close_identity(r);
	d = opendir(r->folder);
	while (d != NULL && (entry = readdir(d)) != NULL)
		if (entry->d_name[0] != '.' ||
		    strstr(entry->d_name, "lock") != NULL)
			remove_file(r, entry->d_name);
	if (d != NULL)
		closedir(d);
	assert_int_equal(rmdir(r->folder), 0);
	free(r->folder);
}

/* --- agent and client --- */

static void
on_online(void *owner, const char *place)
{
	struct room *r = owner;

	assert_non_null(strstr(place, "/demo"));
	r->onlines++;
}

static void
on_offline(void *owner, const struct err *err, uint64_t retry_ms)
{
	struct room *r = owner;

	(void)retry_ms;
	r->offlines++;
	r->err = *err;
}

static void
on_failed(void *owner, const struct err *err)
{
	struct room *r = owner;

	r->faileds++;
	r->err = *err;
}

static void
on_drained(void *owner)
{
	struct room *r = owner;

	r->draineds++;
}

static const struct agent_events agent_events = {
    .on_online = on_online,
    .on_offline = on_offline,
    .on_failed = on_failed,
    .on_drained = on_drained,
};

static void
on_connection_error(void *owner, unsigned tunnel_id, const struct err *err)
{
	struct room *r = owner;

	r->errors++;
	r->error_tunnel = tunnel_id;
	r->err = *err;
}

static const struct client_events client_events = {
    .on_connection_error = on_connection_error,
};

const char room_users[] =
    "alice:$5$abcdefgh$LBuRH6O/ZSxqJaWNGryfvf6YBdC687SysEOlA783WA3\n"
    "bob:$5$abcdefgh$LBuRH6O/ZSxqJaWNGryfvf6YBdC687SysEOlA783WA3\n";

struct agent_options
room_agent_options(struct room *r)
{
	return (struct agent_options){
	    .dialer = r->dialer,
	    .target = &r->listen,
	};
}

struct client_options
room_client_options(struct room *r)
{
	return (struct client_options){
	    .dialer = r->dialer,
	    .target = &r->send,
	    .user = "alice",
	    .password = "wonder",
	    .mode = CLIENT_SAMPLE,
	};
}

void
room_open_agent(struct room *r, const struct agent_options *o)
{
	struct agent_options usual = room_agent_options(r);
	struct users *users = NULL;
	struct err e;

	if (o == NULL) {
		users =
		    users_parse(room_users, strlen(room_users), "users", &e);
		if (users == NULL)
			fail_msg("%s", e.text);
		usual.users = users;
		o = &usual;
	}
	r->agent = agent_open(r->loop, o, &agent_events, r, &e);
	users_unref(users);
	if (r->agent == NULL)
		fail_msg("%s", e.text);
	RUN_UNTIL(r->loop, r->onlines + r->faileds > 0);
}

void
room_open_hyco_agent(struct room *r)
{
	struct agent_options o = room_agent_options(r);
	struct err e;

	if (r->identity == NULL)
		room_open_identity(r);
	o.users = users_parse(room_users, strlen(room_users), "users", &e);
	if (o.users == NULL)
		fail_msg("%s", e.text);
	o.identity = r->identity;
	room_open_agent(r, &o);
	users_unref(o.users);
}

struct client_options
room_hyco_options(struct room *r)
{
	static struct way_trust trust;
	struct client_options o = room_client_options(r);

	trust.known_file = room_known_file(r);
	trust.accept_new = true;
	o.mode = CLIENT_HYCO;
	o.trust = &trust;
	return o;
}

void
room_open_client(struct room *r, const struct client_options *o)
{
	struct client_options usual = room_client_options(r);
	struct err e;

	r->client =
	    client_open(r->loop, o != NULL ? o : &usual, &client_events, r, &e);
	if (r->client == NULL)
		fail_msg("%s", e.text);
}

unsigned
room_open_tunnel(struct room *r, uint16_t port, struct addr *at)
{
	struct client_tunnel_info info;
	struct tunnel_spec spec;
	char text[64];
	struct err e;
	unsigned id;

	snprintf(text, sizeof(text), "127.0.0.1:0:127.0.0.1:%u", port);
	if (!end_parse_tunnel(&spec, text, &e))
		fail_msg("%s", e.text);
	id = client_tunnel_open(r->client, &spec, &e);
	if (id == 0)
		fail_msg("%s", e.text);
	assert_true(client_tunnel_info(r->client, id, &info));
	assert_true(addr_parse(at, info.listen, 0, &e));
	return id;
}

static void
on_login(void *owner, bool verified, const struct err *err)
{
	struct room *r = owner;

	r->login_done = true;
	r->login_verified = verified;
	memset(&r->login_err, 0, sizeof(r->login_err));
	if (err != NULL)
		r->login_err = *err;
}

bool
room_login(struct room *r)
{
	r->login_done = false;
	client_login(r->client, on_login, r);
	assert_false(r->login_done);
	RUN_UNTIL(r->loop, r->login_done);
	return r->login_verified;
}

void
room_close(struct room *r)
{
	if (r->client != NULL)
		client_close(r->client);
	if (r->agent != NULL)
		agent_close(r->agent);
	for (size_t i = 0; i < r->n_there; i++)
		party_free(r->there[i]);
	if (r->server != NULL)
		listener_close(r->server);
	room_cut(r);
	if (r->proxy != NULL)
		listener_close(r->proxy);
	relay_close(r->relay);
	/* WebSockets linger until their Close is out. */
	loop_run(r->loop);
	dialer_close(r->dialer);
	tls_context_unref(r->client_tls);
	tls_context_unref(r->server_tls);
	hc_target_fini(&r->listen);
	hc_target_fini(&r->send);
	if (r->folder != NULL)
		close_folder(r);
	assert_true(loop_close(r->loop));
}

/* SPDX-License-Identifier: MIT
 *
 * A room for tests of agent and client: a real relay in the test's own loop,
 * over TLS with a certificate made on the spot, with a hybrid connection
 * "demo"; a destination server; and parties, which are owners of streams that
 * send, echo, answer, stall and write down what they hear.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ends/end.h"
#include "hc/hc_target.h"
#include "memstream.h"
#include "net/addr.h"
#include "tunnel/agent.h"
#include "tunnel/client.h"
#include "tunnel/way_hyco_trust.h"
#include "util/err.h"
#include "util/list.h"

struct connecting;
struct dialer;
struct listener;
struct relay;
struct tls_context;

/* alice:wonder and bob:wonder */
extern const char room_users[];

struct party {
	struct stream *stream; /* NULL: closed */
	struct connecting *connecting;
	bool echo;        /* sends back what comes, and its end */
	bool answers_end; /* at the end: sends what came so far, then ends */
	bool resets;      /* at the first byte: resets */
	bool stalls;      /* does not read until party_read */
	bool shuts;       /* ends after to_send */
	size_t to_send;   /* of the endless test data */
	size_t sent;
	size_t bytes; /* come */
	uint64_t hash;
	char text[64]; /* the first of them */
	unsigned ends;
	unsigned errors;
	unsigned drains;
	struct err err;
	bool is_refused; /* connecting failed */
};

#define ROOM_PARTIES 300

struct room {
	struct loop *loop;
	struct relay *relay;
	struct dialer *dialer;
	struct tls_context *server_tls;
	struct tls_context *client_tls;
	struct hc_target listen;
	struct hc_target send;
	struct agent *agent;
	struct client *client;
	struct listener *server; /* the destination */
	uint16_t port;           /* its port */
	struct party manner;     /* of those it accepts */
	struct listener *proxy;  /* before the relay; NULL: none */
	bool proxy_refuses;      /* resets what comes */
	bool proxy_holds;        /* accepts and stays silent */
	struct list proxied;
	unsigned n_proxied; /* connections in all */
	char *folder;       /* of identity and known listeners */
	struct tls_context *identity;
	struct party *there[ROOM_PARTIES];
	size_t n_there;
	unsigned onlines, offlines, faileds, draineds;
	unsigned errors; /* of the client's connections */
	unsigned error_tunnel;
	struct err err;
	bool login_done, login_verified;
	struct err login_err; /* ERR_NONE: none */
};

/* Relay, dialer, destination; no agent and no client yet. */
void room_open(struct room *r);

/* Options with what the room has filled in. */
struct agent_options room_agent_options(struct room *r);
struct client_options room_client_options(struct room *r);

/* NULL: the options above, with room_users and user alice. Waits until the
 * agent is online. */
void room_open_agent(struct room *r, const struct agent_options *o);
void room_open_client(struct room *r, const struct client_options *o);

/* A proxy between the client and the relay, to be opened before the client:
 * what passes it can be cut. */
void room_open_proxy(struct room *r);
/* Resets what passes now. */
void room_cut(struct room *r);

/* An identity for the agent, and an empty folder. */
void room_open_identity(struct room *r);
/* Another one takes its place; the caller closes the agent before. */
void room_change_identity(struct room *r);
/* A file in the folder; valid until the room is closed. */
const char *room_known_file(struct room *r);

/* Agent and client of the hyco way; the client accepts new listeners. */
void room_open_hyco_agent(struct room *r);
struct client_options room_hyco_options(struct room *r);

/* A tunnel to the room's destination, or to another port. Its address. */
unsigned room_open_tunnel(struct room *r, uint16_t port, struct addr *at);

/* Logs in and gives verified. */
bool room_login(struct room *r);

/* An application that connects there. */
struct party *party_connect(struct room *r, const struct addr *at);
void party_send(struct party *p, const void *data, size_t len);
/* Sends so much of the endless test data from now on. */
void party_send_much(struct party *p, size_t n);
void party_shutdown(struct party *p);
void party_read(struct party *p);
void party_reset(struct party *p);
void party_free(struct party *p);
void party_own(struct party *p, struct stream *s);

/* Ends everything and demands a dry loop. */
void room_close(struct room *r);

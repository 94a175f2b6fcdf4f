/* SPDX-License-Identifier: MIT
 *
 * A relay for tests that does nothing by itself: it takes TCP connections on a
 * loopback port, reads one WebSocket request from each, and writes down what
 * comes. The test answers by hand. Visits are numbered in the order in which
 * their requests were complete.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/loop.h"
#include "ws/ws_frame.h"

struct http1_field;
struct http1_parser;
struct listener;

struct stream;

#define FAKE_VISITS 64
#define FAKE_TEXTS 32

struct fake_relay;

struct fake_visit {
	struct fake_relay *relay;
	struct loop *loop;
	struct stream *s; /* NULL once the visit is over */
	struct http1_parser *parser;
	const char *target;
	bool has_head;
	bool is_open; /* 101 was sent */
	struct ws_decoder decoder;
	char *texts[FAKE_TEXTS];
	int n_texts;
	char *partial; /* of the text that is coming */
	size_t partial_len;
	char last_pong[WS_CONTROL_MAX + 1];
	int n_pongs;
	int n_empty;      /* data frames without payload */
	uint64_t largest; /* data frame */
	uint64_t bytes;   /* binary */
	uint8_t sum;      /* XOR of them */
	int n_closes;
	int close_code;
	char close_reason[124];
	bool ended;  /* FIN */
	bool broken; /* reset */
};

struct fake_relay {
	struct loop *loop;
	struct listener *listener;
	uint16_t port;
	struct fake_visit *open[FAKE_VISITS]; /* as connections come */
	int n_open;
	struct fake_visit *visits[FAKE_VISITS]; /* as requests come */
	int n_visits;
};

void fake_relay_open(struct fake_relay *r, struct loop *l);
/* Ends all visits. */
void fake_relay_close(struct fake_relay *r);

const char *fake_visit_field(const struct fake_visit *v, const char *name);

/* The value of an item of the target's query; free(). */
char *fake_visit_query(const struct fake_visit *v, const char *name);

void fake_visit_accept(struct fake_visit *v, const char *protocol);
/* field may be NULL. The connection is then closed. */
void fake_visit_refuse(struct fake_visit *v, int status, const char *reason,
    const struct http1_field *field);
void fake_visit_send(
    struct fake_visit *v, enum ws_opcode opcode, const void *data, size_t len);
void fake_visit_text(struct fake_visit *v, const char *text);
void fake_visit_close(struct fake_visit *v, int code, const char *reason);
/* TCP ends, in order or by reset. */
void fake_visit_drop(struct fake_visit *v, bool reset);

/* Fails the test after ten seconds without the condition. */
#define FAKE_WAIT(loop, condition)                                             \
	do {                                                                   \
		struct fake_guard guard_;                                      \
		fake_guard_start(&guard_, (loop));                             \
		while (!(condition))                                           \
			fake_guard_turn(&guard_, #condition);                  \
		fake_guard_stop(&guard_);                                      \
	} while (0)

struct fake_guard {
	struct loop *loop;
	struct timer timer;
	bool is_over;
};

void fake_guard_start(struct fake_guard *g, struct loop *l);
void fake_guard_turn(struct fake_guard *g, const char *what);
void fake_guard_stop(struct fake_guard *g);

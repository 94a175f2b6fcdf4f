/* SPDX-License-Identifier: MIT
 *
 * What the files of the mux share, and nobody else sees: the mux, its channels,
 * and the calls between
 *   mux_channel.c  a channel: its stream face, what it holds, what it tells
 *   mux_input.c    nghttp2's callbacks on input: queue what happened; the queue
 *   mux_output.c   nghttp2's output into the stream below
 *   mux_request.c  logins and requests, both sides
 *   mux.c          life
 * Rule of the house: nothing that may call an owner runs inside nghttp2.
 */
#pragma once
#include <nghttp2/nghttp2.h>

#include "mux/mux.h"
#include "mux/mux_head.h"
#include "mux/mux_pace.h"
#include "net/loop.h"
#include "net/stream.h"
#include "util/buf.h"
#include "util/err.h"
#include "util/list.h"

struct mux_channel {
	struct stream base;
	struct mux *mux;        /* NULL: cut loose */
	struct list link;       /* in mux->channels */
	struct list wait_link;  /* in mux->waiting */
	struct list drain_link; /* in mux->above or mux->lasts */
	struct list probe_link; /* in mux->probed */
	struct list grown_link; /* in mux->grown */
	struct deferred wake;
	struct buf in;   /* came, not yet taken by the owner */
	struct buf out;  /* written, not yet in a frame */
	uint8_t *direct; /* scratch of the write that is under way */
	size_t direct_len;
	struct mux_head *head;       /* while a list is being read */
	struct mux_request *request; /* server: not answered yet */
	struct err *trouble;         /* to be told */
	char *address;
	uint64_t end_at; /* where in the stream below our end lies */
	uint32_t window;
	uint32_t reduced; /* granted once, and not again */
	int32_t owed;     /* taken by the owner, not yet granted again */
	uint32_t probe_bytes;
	uint32_t early; /* bytes sent before the login was decided */
	uint32_t opened_s;
	int32_t id;        /* of the HTTP/2 stream; 0: none yet */
	bool is_open : 1;  /* answered with 200 */
	bool open_due : 1; /* on_open is owed */
	bool reading : 1;
	bool got_end : 1;
	bool told_end : 1;
	bool sent_end : 1;
	bool is_deferred : 1; /* nghttp2 was told that there is nothing */
	bool is_busy : 1;     /* counted in mux->busy */
	bool is_gone : 1;     /* the HTTP/2 stream is over */
	bool is_idle : 1;     /* nothing came since the last look */
	bool failed : 1;      /* trouble is told or to be told */
	bool closing : 1;
};

struct mux_request {
	struct mux_channel *channel;
	struct mux_target target;
	void *owner;
	bool is_told; /* on_request was called */
};

enum mux_event_kind {
	MUX_EVENT_HEAD, /* ch->head is complete */
	MUX_EVENT_DATA,
	MUX_EVENT_END,
	MUX_EVENT_GONE,  /* code: why */
	MUX_EVENT_LOGIN, /* client: the answer's list is complete */
	MUX_EVENT_PONG,
	MUX_EVENT_GOAWAY, /* code: why */
};

struct mux_event {
	enum mux_event_kind kind;
	uint32_t code;
	struct mux_channel *channel;
	uint8_t *data;
	size_t len;
};

enum mux_login_state {
	MUX_LOGIN_NONE,
	MUX_LOGIN_ASKED,
	MUX_LOGIN_GOOD,
};

struct mux {
	struct loop *loop;
	struct stream *below;
	const struct mux_events *events;
	void *owner;
	nghttp2_session *ng;
	struct mux_budget *budget;
	struct list channels;
	struct list waiting; /* for the login: client: not sent, server: held */
	struct list above;   /* are owed on_drain */
	struct list lasts;   /* are owed the last on_drain */
	struct list probed;  /* got data since the probe */
	struct list grown;   /* windows beyond the start */
	size_t count;
	size_t busy;   /* channels with bytes in `out` */
	size_t queued; /* in all `out` */
	size_t held;   /* in all `in` */
	size_t early;  /* client: requests sent before the login was good */
	struct deferred wake;
	struct timer last_timer;
	struct timer shrink_timer;
	struct mux_pace pace;
	struct mux_guard resets, settings, pings, empties;

	struct mux_event *queue; /* of one mem_recv */
	size_t queue_len;
	size_t queue_room;

	uint8_t *block; /* during mux_flush: frames are gathered here */
	size_t used;
	size_t most;

	enum mux_login_state login;
	int32_t login_id;
	unsigned bad_logins;
	struct mux_head *login_head;
	struct err *end;   /* why it ends; a code of ERR_NONE: in order */
	const char *flood; /* what the other side overdid */
	char *goaway_text; /* what came with its GOAWAY */
	bool is_server : 1;
	bool receiving : 1; /* inside nghttp2_session_mem_recv */
	bool sending : 1;
	bool is_paused : 1;  /* the block is full */
	bool is_full : 1;    /* the stream below is above its mark */
	bool is_drained : 1; /* we sent GOAWAY */
	bool peer_drains : 1;
	bool below_broken : 1;
	bool is_over : 1; /* on_end was called or must not be */
	bool closing : 1;
};

/* --- mux_channel.c --- */

struct mux_channel *mux_channel_new(struct mux *m, int32_t id);
struct mux_channel *mux_channel_of(const struct stream *s);
/* Gives up a channel that nobody owns. */
void mux_channel_drop(struct mux_channel *ch);
/* Takes it off the mux and all its lists. */
void mux_channel_detach(struct mux_channel *ch);
/* It is broken: the owner hears of it by a deferred call. */
void mux_channel_fail(struct mux_channel *ch, const struct err *e);
/* Tells the next thing that is due, and asks for a turn for the one behind. */
void mux_channel_tell(struct mux_channel *ch);
void mux_channel_take_data(struct mux_channel *ch, uint8_t *data, size_t len);
void mux_channel_take_end(struct mux_channel *ch);
void mux_channel_take_open(struct mux_channel *ch);
void mux_channel_take_gone(struct mux_channel *ch, uint32_t code);
/* nghttp2 may ask it for bytes again. */
void mux_channel_resume(struct mux_channel *ch);
void mux_channel_tell_drains(struct mux *m);
void mux_channel_check_lasts(struct mux *m);
void mux_channel_on_last_timer(void *owner);
void mux_channel_on_shrink_timer(void *owner);
void mux_channel_grow(struct mux *m);
ssize_t mux_channel_read(nghttp2_session *ng, int32_t id, uint8_t *buf,
    size_t length, uint32_t *flags, nghttp2_data_source *source, void *owner);
void mux_channel_consume(struct mux_channel *ch, uint8_t *to, size_t len);

/* --- mux_input.c --- */

void mux_input_set_callbacks(nghttp2_session_callbacks *c);
void mux_input_take(struct mux *m, uint8_t *data, size_t len);

/* --- mux_output.c --- */

void mux_output_set_callbacks(nghttp2_session_callbacks *c);
/* Hands frames to the stream below as far as it takes them, once. */
void mux_output_flush(struct mux *m);

/* --- mux_request.c --- */

void mux_request_judge(struct mux_channel *ch);
void mux_request_answered(struct mux_channel *ch);
void mux_request_login_answered(struct mux *m);
void mux_request_send_login(
    struct mux *m, const char *user, const char *password);
void mux_request_release_waiting(struct mux *m);
void mux_request_free(struct mux_request *r);
/* Server: it is no more; the owner hears if he knew of it. */
void mux_request_cancel(struct mux_channel *ch);

/* --- mux.c --- */

/* Ends it by a deferred call; the first reason counts. */
void mux_doom(struct mux *m, enum err_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

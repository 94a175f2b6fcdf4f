/* SPDX-License-Identifier: MIT
 *
 * The event loop: one for each thread, and everything that happens on it. It
 * gives timers, deferred calls, signals, work on the thread pool, blocks of
 * scratch memory, and the graveyard through which all living objects of all
 * layers are freed. It is the only door to libuv; no uv type leaves src/net.
 *
 * The law of life and death (every layer keeps it):
 * - x_close(x) may be called in any state and from any callback. After it
 *   returns no callback of x runs and the pointer is dead to the caller; the
 *   memory goes by loop_bury at the end of the turn. So inside a callback the
 *   memory is still there: look at your own `closing` and return.
 * - No callback runs before the call that asked for it has returned.
 * - Trouble is reported once, then the object is silent and awaits its close.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/list.h"

struct err;
struct loop;
struct uv_loop_s;

/* A block of scratch memory: one turn of bulk payload (4 frames that fill 16
 * TLS records), headroom, and what TLS adds. */
#define LOOP_BLOCK_SIZE ((size_t)(256 + 32) * 1024)

/* --- life --- */

/* NULL and *e when the system refuses. */
struct loop *loop_new(struct err *e);

/* Runs until nothing is alive on the loop or loop_stop is called. */
void loop_run(struct loop *l);

/* One turn: waits for events at most until the next timer is due, or not at
 * all when `wait` is false. True while something is alive. For tests. */
bool loop_turn(struct loop *l, bool wait);

/* Makes loop_run return after this turn. */
void loop_stop(struct loop *l);

/* Runs what is closing until it is dry, empties the graveyard and frees the
 * loop. Everything must have been closed: returns false (and in tests that is
 * the failure) when a handle is left; the loop is then leaked on purpose. */
bool loop_close(struct loop *l);

/* Monotonic milliseconds, read once a turn. */
uint64_t loop_now_ms(const struct loop *l);

/* For src/net only. */
struct uv_loop_s *loop_uv(struct loop *l);

/* --- timers: intrusive, no close callback --- */

struct timer {
	struct loop *loop;
	void (*on_due)(void *owner);
	void *owner;
	uint64_t due_ms;
	uint64_t order; /* timers due at once fire in the order of setting */
	size_t slot;    /* place in the loop's heap, 1-based; 0: not set */
};

void timer_init(
    struct timer *t, struct loop *l, void (*on_due)(void *owner), void *owner);

/* Due in delay_ms from now, once. Setting a set timer moves it. A timer keeps
 * loop_run from returning. */
void timer_set(struct timer *t, uint64_t delay_ms);

/* At once, no callback later; fine when it is not set. */
void timer_clear(struct timer *t);
bool timer_is_set(const struct timer *t);

/* --- deferred calls: run before the loop next waits, in order --- */

struct deferred {
	struct list link;
	struct loop *loop;
	void (*run)(void *owner);
	void *owner;
};

void deferred_init(
    struct deferred *d, struct loop *l, void (*run)(void *owner), void *owner);
/* Once, however often it is asked for before it runs. */
void deferred_set(struct deferred *d);
void deferred_clear(struct deferred *d);

/* --- the graveyard --- */

/* Calls free_fn(object) at the end of this turn, when no callback is on the
 * stack. Never frees at once. */
void loop_bury(struct loop *l, void *object, void (*free_fn)(void *object));

/* --- remnants --- */

/* For an object that lives on for a moment after its owner closed it, to let
 * its last words out. loop_close does not wait for it: it calls give_up(owner),
 * which must end the object as its own time limit would. */
struct remnant {
	struct list link;
	void (*give_up)(void *owner);
	void *owner;
};

void remnant_set(struct remnant *g, struct loop *l,
    void (*give_up)(void *owner), void *owner);
/* When it ended by itself. */
void remnant_clear(struct remnant *g);

/* --- scratch --- */

/* LOOP_BLOCK_SIZE bytes, to be given back by the same function that took them
 * (a stack of a few blocks is kept and reused; contents are garbage). An
 * object never keeps a block over turns. */
uint8_t *loop_block_take(struct loop *l);
void loop_block_give(struct loop *l, uint8_t *block);

/* --- signals --- */

/* Calls on_signal(owner, signum) on the loop whenever the signal arrives,
 * until loop_close. Does not keep loop_run from returning. One owner a
 * signal: asking again replaces it. */
bool loop_on_signal(struct loop *l, int signum,
    void (*on_signal)(void *owner, int signum), void *owner, struct err *e);

/* --- work on the thread pool --- */

/* Calls run(job) on a pool thread, then done(job) on the loop, always and
 * once. The job is a heap object that belongs to the work until done() is
 * called, which frees it; who no longer wants the result marks its job. */
void loop_work(
    struct loop *l, void (*run)(void *job), void (*done)(void *job), void *job);

/* --- watching a descriptor that somebody else reads (terminal, inotify) --- */

struct watch;

/* on_ready(owner) whenever fd is readable, until watch_close. The descriptor
 * stays the caller's, who closes it after watch_close. NULL and *e when fd
 * cannot be polled (a plain file). */
struct watch *watch_open(struct loop *l, int fd, void (*on_ready)(void *owner),
    void *owner, struct err *e);
/* Pauses and resumes the callbacks. */
void watch_set_active(struct watch *w, bool active);
void watch_close(struct watch *w);

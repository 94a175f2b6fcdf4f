/* SPDX-License-Identifier: MIT
 *
 * The event loop over libuv. A turn is: deferred calls, the graveyard, waiting
 * and events, the graveyard again. An idle handle runs exactly while deferred
 * calls or graves exist; it keeps the loop alive and the poll from waiting.
 * All timers share one uv_timer_t, armed for the first of a binary heap.
 */
#include "net/loop.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "util/err.h"
#include "util/mem.h"

/* Blocks kept for reuse: a read, a copy and a record layer at the same time,
 * and one spare. */
#define BLOCKS_KEPT 4
#define BLOCK_ALIGN 64

struct grave {
	void *object;
	void (*free_fn)(void *object);
};

struct signal {
	uv_signal_t uv;
	struct list link;
	void (*on_signal)(void *owner, int signum);
	void *owner;
};

struct work {
	uv_work_t uv;
	void (*run)(void *job);
	void (*done)(void *job);
	void *job;
};

struct watch {
	uv_poll_t uv;
	struct loop *loop;
	void (*on_ready)(void *owner);
	void *owner;
	bool closing;
};

struct loop {
	uv_loop_t uv;
	uv_timer_t timer;
	uv_prepare_t prepare;
	uv_check_t check;
	uv_idle_t idle;
	struct list deferred;
	struct list remnants;
	struct list signals;
	struct timer **heap; /* heap[1] is due first */
	size_t heap_len;
	size_t heap_room;
	uint64_t timer_order;
	uint64_t armed_ms; /* when the uv_timer_t fires; UINT64_MAX: not */
	struct grave *graves;
	size_t graves_len;
	size_t graves_room;
	uint8_t *blocks[BLOCKS_KEPT];
	size_t blocks_kept;
	size_t blocks_out;
	bool firing;
};

/* --- timers --- */

static bool
is_before(const struct timer *a, const struct timer *b)
{
	if (a->due_ms != b->due_ms)
		return a->due_ms < b->due_ms;
	return a->order < b->order;
}

static void
heap_put(struct loop *l, size_t slot, struct timer *t)
{
	l->heap[slot] = t;
	t->slot = slot;
}

static void
heap_sift(struct loop *l, size_t slot, struct timer *t)
{
	while (slot > 1 && is_before(t, l->heap[slot / 2])) {
		heap_put(l, slot, l->heap[slot / 2]);
		slot /= 2;
	}
	for (;;) {
		size_t child = slot * 2;

		if (child > l->heap_len)
			break;
		if (child < l->heap_len &&
		    is_before(l->heap[child + 1], l->heap[child]))
			child++;
		if (!is_before(l->heap[child], t))
			break;
		heap_put(l, slot, l->heap[child]);
		slot = child;
	}
	heap_put(l, slot, t);
}

static void
heap_insert(struct loop *l, struct timer *t)
{
	if (l->heap_len + 2 > l->heap_room) {
		l->heap_room = l->heap_room ? l->heap_room * 2 : 64;
		l->heap =
		    mem_grow(l->heap, l->heap_room * sizeof(struct timer *));
	}
	l->heap_len++;
	heap_sift(l, l->heap_len, t);
}

static void
heap_remove(struct loop *l, struct timer *t)
{
	struct timer *last = l->heap[l->heap_len];
	size_t slot = t->slot;

	assert(slot > 0 && slot <= l->heap_len && l->heap[slot] == t);
	l->heap_len--;
	if (last != t)
		heap_sift(l, slot, last);
	t->slot = 0;
}

static void on_uv_timer(uv_timer_t *handle);

/* The uv timer may be armed too early, never too late: a timer that is moved
 * further away, as idle timers are with every byte, costs no call. It is
 * stopped when no timer is left, since it keeps the loop alive. */
static void
arm(struct loop *l)
{
	uint64_t due;
	uint64_t now = uv_now(&l->uv);

	if (l->heap_len == 0) {
		if (l->armed_ms != UINT64_MAX)
			uv_timer_stop(&l->timer);
		l->armed_ms = UINT64_MAX;
		return;
	}
	due = l->heap[1]->due_ms;
	if (due >= l->armed_ms)
		return;
	l->armed_ms = due;
	uv_timer_start(&l->timer, on_uv_timer, due > now ? due - now : 0, 0);
}

static void wake(struct loop *l);

/* Timers that are set meanwhile wait for the next turn even when they are due
 * at once, so that nobody can hold the loop here. libuv would run its timer
 * again and again if it were armed with no delay now: that is left to the
 * prepare handle. */
static void
on_uv_timer(uv_timer_t *handle)
{
	struct loop *l = handle->data;
	uint64_t last = l->timer_order;
	uint64_t now = uv_now(&l->uv);

	l->armed_ms = UINT64_MAX;
	l->firing = true;
	while (l->heap_len > 0) {
		struct timer *t = l->heap[1];

		if (t->due_ms > now || t->order > last)
			break;
		heap_remove(l, t);
		t->on_due(t->owner);
	}
	l->firing = false;
	if (l->heap_len > 0 && l->heap[1]->due_ms <= now)
		wake(l);
	else
		arm(l);
}

void
timer_init(
    struct timer *t, struct loop *l, void (*on_due)(void *owner), void *owner)
{
	*t = (struct timer){.loop = l, .on_due = on_due, .owner = owner};
}

void
timer_set(struct timer *t, uint64_t delay_ms)
{
	struct loop *l = t->loop;
	uint64_t now = uv_now(&l->uv);

	t->due_ms =
	    delay_ms > UINT64_MAX / 2 - now ? UINT64_MAX / 2 : now + delay_ms;
	t->order = ++l->timer_order;
	if (t->slot != 0)
		heap_sift(l, t->slot, t);
	else
		heap_insert(l, t);
	if (!l->firing)
		arm(l);
}

void
timer_clear(struct timer *t)
{
	if (t->slot == 0)
		return;
	heap_remove(t->loop, t);
	if (!t->loop->firing && t->loop->heap_len == 0)
		arm(t->loop);
}

bool
timer_is_set(const struct timer *t)
{
	return t->slot != 0;
}

/* --- deferred calls and the graveyard --- */

static void
on_uv_idle(uv_idle_t *handle)
{
	(void)handle;
}

static void
wake(struct loop *l)
{
	uv_idle_start(&l->idle, on_uv_idle);
}

void
deferred_init(
    struct deferred *d, struct loop *l, void (*run)(void *owner), void *owner)
{
	*d = (struct deferred){.loop = l, .run = run, .owner = owner};
	list_init(&d->link);
}

void
deferred_set(struct deferred *d)
{
	if (list_is_linked(&d->link))
		return;
	list_append(&d->loop->deferred, &d->link);
	wake(d->loop);
}

void
deferred_clear(struct deferred *d)
{
	list_remove(&d->link);
}

/* Calls that are deferred meanwhile are for the next turn, which does not wait
 * but looks at the sockets first. */
static void
run_deferred(struct loop *l)
{
	struct list batch;

	if (list_is_empty(&l->deferred))
		return;
	batch = l->deferred;
	batch.next->prev = &batch;
	batch.prev->next = &batch;
	list_init(&l->deferred);
	while (!list_is_empty(&batch)) {
		struct deferred *d = LIST_OF(batch.next, struct deferred, link);

		list_remove(&d->link);
		d->run(d->owner);
	}
}

void
loop_bury(struct loop *l, void *object, void (*free_fn)(void *object))
{
	if (l->graves_len == l->graves_room) {
		l->graves_room = l->graves_room ? l->graves_room * 2 : 64;
		l->graves =
		    mem_grow(l->graves, l->graves_room * sizeof(*l->graves));
	}
	l->graves[l->graves_len++] =
	    (struct grave){.object = object, .free_fn = free_fn};
	wake(l);
}

/* In the order of burial; what is freed may bury more. */
static void
empty_graves(struct loop *l)
{
	for (size_t i = 0; i < l->graves_len; i++) {
		struct grave g = l->graves[i];

		g.free_fn(g.object);
	}
	l->graves_len = 0;
	if (l->graves_room > 4096) {
		free(l->graves);
		l->graves = NULL;
		l->graves_room = 0;
	}
}

static void
rest(struct loop *l)
{
	if (list_is_empty(&l->deferred) && l->graves_len == 0)
		uv_idle_stop(&l->idle);
}

static void
on_uv_prepare(uv_prepare_t *handle)
{
	struct loop *l = handle->data;

	run_deferred(l);
	empty_graves(l);
	arm(l);
	rest(l);
}

static void
on_uv_check(uv_check_t *handle)
{
	struct loop *l = handle->data;

	empty_graves(l);
	rest(l);
}

/* --- scratch --- */

uint8_t *
loop_block_take(struct loop *l)
{
	void *block;

	l->blocks_out++;
	if (l->blocks_kept > 0)
		return l->blocks[--l->blocks_kept];
	if (posix_memalign(&block, BLOCK_ALIGN, LOOP_BLOCK_SIZE) != 0)
		abort();
	return block;
}

void
loop_block_give(struct loop *l, uint8_t *block)
{
	assert(l->blocks_out > 0);
	l->blocks_out--;
	if (l->blocks_kept < BLOCKS_KEPT)
		l->blocks[l->blocks_kept++] = block;
	else
		free(block);
}

/* --- signals --- */

static void
on_uv_signal(uv_signal_t *handle, int signum)
{
	struct signal *s = handle->data;

	s->on_signal(s->owner, signum);
}

static void
on_failed_signal_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static struct signal *
signal_find(struct loop *l, int signum)
{
	struct list *at;

	LIST_EACH (at, &l->signals) {
		struct signal *s = LIST_OF(at, struct signal, link);

		if (s->uv.signum == signum)
			return s;
	}
	return NULL;
}

bool
loop_on_signal(struct loop *l, int signum,
    void (*on_signal)(void *owner, int signum), void *owner, struct err *e)
{
	struct signal *s = signal_find(l, signum);
	int rc;

	if (s != NULL) {
		s->on_signal = on_signal;
		s->owner = owner;
		return true;
	}
	s = mem_zalloc(sizeof(*s));
	s->on_signal = on_signal;
	s->owner = owner;
	list_init(&s->link);
	rc = uv_signal_init(&l->uv, &s->uv);
	if (rc != 0) {
		free(s);
		return err_set_errno(
		    e, ERR_SYSTEM, -rc, "cannot wait for signal %d", signum);
	}
	s->uv.data = s;
	uv_unref((uv_handle_t *)&s->uv);
	rc = uv_signal_start(&s->uv, on_uv_signal, signum);
	if (rc != 0) {
		uv_close((uv_handle_t *)&s->uv, on_failed_signal_closed);
		return err_set_errno(
		    e, ERR_SYSTEM, -rc, "cannot wait for signal %d", signum);
	}
	list_append(&l->signals, &s->link);
	return true;
}

/* --- work --- */

static void
on_uv_work(uv_work_t *req)
{
	struct work *w = req->data;

	w->run(w->job);
}

static void
on_uv_work_done(uv_work_t *req, int status)
{
	struct work *w = req->data;
	void (*done)(void *job) = w->done;
	void *job = w->job;

	(void)status; /* nobody cancels our work */
	free(w);
	done(job);
}

void
loop_work(
    struct loop *l, void (*run)(void *job), void (*done)(void *job), void *job)
{
	struct work *w = mem_zalloc(sizeof(*w));
	int rc;

	w->uv.data = w;
	w->run = run;
	w->done = done;
	w->job = job;
	rc = uv_queue_work(&l->uv, &w->uv, on_uv_work, on_uv_work_done);
	assert(rc == 0); /* fails only without a work function */
	(void)rc;
}

/* --- watching a descriptor --- */

/* The owner reads, so an error on the descriptor is the owner's to find: it is
 * told "readable" too. libuv has stopped watching then. */
static void
on_uv_watch(uv_poll_t *handle, int status, int events)
{
	struct watch *w = handle->data;

	(void)status;
	(void)events;
	if (!w->closing)
		w->on_ready(w->owner);
}

struct watch *
watch_open(struct loop *l, int fd, void (*on_ready)(void *owner), void *owner,
    struct err *e)
{
	struct watch *w = mem_zalloc(sizeof(*w));
	int flags = fcntl(fd, F_GETFL);
	int rc;

	w->loop = l;
	w->on_ready = on_ready;
	w->owner = owner;
	rc = flags == -1 ? -errno : uv_poll_init(&l->uv, &w->uv, fd);
	if (rc != 0) {
		free(w);
		err_set_errno(e, ERR_SYSTEM, -rc,
		    "cannot wait for input on descriptor %d", fd);
		return NULL;
	}
	w->uv.data = w;
	/* libuv has made it non-blocking, which on a terminal would also hit
	 * everybody else who has it open: the mode belongs to the file. */
	(void)fcntl(fd, F_SETFL, flags);
	watch_set_active(w, true);
	return w;
}

void
watch_set_active(struct watch *w, bool active)
{
	assert(!w->closing);
	if (active)
		uv_poll_start(&w->uv, UV_READABLE, on_uv_watch);
	else
		uv_poll_stop(&w->uv);
}

static void
on_watch_closed(uv_handle_t *handle)
{
	struct watch *w = handle->data;

	loop_bury(w->loop, w, free);
}

void
watch_close(struct watch *w)
{
	assert(!w->closing);
	w->closing = true;
	uv_close((uv_handle_t *)&w->uv, on_watch_closed);
}

/* --- life --- */

struct loop *
loop_new(struct err *e)
{
	struct loop *l = mem_zalloc(sizeof(*l));
	int rc;

	list_init(&l->deferred);
	list_init(&l->signals);
	list_init(&l->remnants);
	l->armed_ms = UINT64_MAX;
	rc = uv_loop_init(&l->uv);
	if (rc != 0) {
		free(l);
		err_set_errno(e, ERR_SYSTEM, -rc, "cannot make an event loop");
		return NULL;
	}
	l->uv.data = l;
	uv_timer_init(&l->uv, &l->timer);
	uv_prepare_init(&l->uv, &l->prepare);
	uv_check_init(&l->uv, &l->check);
	uv_idle_init(&l->uv, &l->idle);
	l->timer.data = l->prepare.data = l->check.data = l->idle.data = l;
	uv_prepare_start(&l->prepare, on_uv_prepare);
	uv_check_start(&l->check, on_uv_check);
	uv_unref((uv_handle_t *)&l->prepare);
	uv_unref((uv_handle_t *)&l->check);
	return l;
}

void
loop_run(struct loop *l)
{
	uv_run(&l->uv, UV_RUN_DEFAULT);
}

/* libuv runs timers that are due and then still waits for events: a caller that
 * looks for what those timers did would sleep over it. */
static bool
is_timer_due(struct loop *l)
{
	uv_update_time(&l->uv);
	return l->heap_len > 0 && l->heap[1]->due_ms <= uv_now(&l->uv);
}

bool
loop_turn(struct loop *l, bool wait)
{
	bool may_wait = wait && !is_timer_due(l);

	return uv_run(&l->uv, may_wait ? UV_RUN_ONCE : UV_RUN_NOWAIT) != 0;
}

void
loop_stop(struct loop *l)
{
	uv_stop(&l->uv);
}

uint64_t
loop_now_ms(const struct loop *l)
{
	return uv_now(&l->uv);
}

struct uv_loop_s *
loop_uv(struct loop *l)
{
	return &l->uv;
}

static bool
is_internal(const struct loop *l, const uv_handle_t *h)
{
	return h == (const uv_handle_t *)&l->timer ||
	       h == (const uv_handle_t *)&l->prepare ||
	       h == (const uv_handle_t *)&l->check ||
	       h == (const uv_handle_t *)&l->idle || h->type == UV_SIGNAL;
}

struct census {
	const struct loop *loop;
	size_t open;
};

static void
count_open(uv_handle_t *h, void *arg)
{
	struct census *c = arg;

	if (!is_internal(c->loop, h) && !uv_is_closing(h))
		c->open++;
}

static bool
is_anyone_left(struct loop *l)
{
	struct census c = {.loop = l};

	uv_walk(&l->uv, count_open, &c);
	return c.open > 0 || l->heap_len > 0;
}

static void
close_internals(struct loop *l)
{
	struct list *at;

	uv_close((uv_handle_t *)&l->timer, NULL);
	uv_close((uv_handle_t *)&l->prepare, NULL);
	uv_close((uv_handle_t *)&l->check, NULL);
	uv_close((uv_handle_t *)&l->idle, NULL);
	LIST_EACH (at, &l->signals)
		uv_close(
		    (uv_handle_t *)&LIST_OF(at, struct signal, link)->uv, NULL);
}

static void
free_parts(struct loop *l)
{
	while (!list_is_empty(&l->signals)) {
		struct signal *s =
		    LIST_OF(l->signals.next, struct signal, link);

		list_remove(&s->link);
		free(s);
	}
	while (l->blocks_kept > 0)
		free(l->blocks[--l->blocks_kept]);
	free(l->graves);
	free(l->heap);
	free(l);
}

void
remnant_set(struct remnant *g, struct loop *l, void (*give_up)(void *owner),
    void *owner)
{
	g->give_up = give_up;
	g->owner = owner;
	list_append(&l->remnants, &g->link);
}

void
remnant_clear(struct remnant *g)
{
	list_remove(&g->link);
}

static void
end_remnants(struct loop *l)
{
	while (!list_is_empty(&l->remnants)) {
		struct remnant *g =
		    LIST_OF(l->remnants.next, struct remnant, link);

		list_remove(&g->link);
		g->give_up(g->owner);
	}
}

/* What is alive without an open handle or a set timer (closing handles, work
 * and name look-ups on the pool, deferred calls, graves) comes to an end by
 * itself; running until then cannot hang. */
bool
loop_close(struct loop *l)
{
	do {
		end_remnants(l);
		if (is_anyone_left(l))
			return false;
	} while (loop_turn(l, true));
	if (is_anyone_left(l))
		return false;
	close_internals(l);
	uv_run(&l->uv, UV_RUN_DEFAULT);
	empty_graves(l);
	assert(list_is_empty(&l->deferred) && l->blocks_out == 0);
	if (uv_loop_close(&l->uv) != 0)
		return false;
	free_parts(l);
	return true;
}

/* SPDX-License-Identifier: MIT
 *
 * A queue of bytes from which one line a deferred call is taken, so that a
 * pause between two lines can come at any line. A file fills the queue at
 * once; a pipe fills it as it comes.
 */
#include "cli/batch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/secret.h"
#include "net/loop.h"
#include "util/buf.h"
#include "util/err.h"
#include "util/mem.h"

#define FILE_MAX ((size_t)1024 * 1024)
#define PIPE_CHUNK ((size_t)4096)

struct batch {
	struct loop *loop;
	const struct batch_events *events;
	void *owner;
	char *name;
	struct watch *watch; /* NULL for a file */
	struct deferred step;
	struct buf pending;
	unsigned number; /* lines reported */
	bool at_end;     /* nothing more will come into pending */
	bool is_paused;
	bool is_done;
	bool closing;
};

static void
report(struct batch *b, size_t n, size_t with_end)
{
	char *line = mem_strndup((const char *)buf_data(&b->pending), n);

	buf_consume(&b->pending, with_end);
	if (n > 0 && line[n - 1] == '\r')
		n--;
	deferred_set(&b->step);
	b->events->on_line(b->owner, line, n, ++b->number);
	free(line);
}

static void
on_step(void *owner)
{
	struct batch *b = owner;
	const size_t n = buf_len(&b->pending);
	const uint8_t *data = buf_data(&b->pending);
	const uint8_t *end = n ? memchr(data, '\n', n) : NULL;

	if (b->closing || b->is_paused || b->is_done)
		return;
	if (end) {
		report(b, (size_t)(end - data), (size_t)(end - data) + 1);
	} else if (b->at_end && n > 0) {
		report(b, n, n);
	} else if (b->at_end) {
		b->is_done = true;
		b->events->on_end(b->owner);
	} else if (n > FILE_MAX / 2) {
		/* No line end for so long: reported as it is, for the parser
		 * to refuse. */
		report(b, n, n);
	} else if (b->watch) {
		watch_set_active(b->watch, true);
	}
}

static void
on_ready(void *owner)
{
	struct batch *b = owner;
	uint8_t *room = buf_reserve(&b->pending, PIPE_CHUNK);
	const ssize_t n = room ? read(STDIN_FILENO, room, PIPE_CHUNK) : 0;

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	buf_commit(&b->pending, n > 0 ? (size_t)n : 0);
	if (n <= 0)
		b->at_end = true;
	/* Lines first; the step lets more in. */
	watch_set_active(b->watch, false);
	deferred_set(&b->step);
}

static void
batch_free(void *object)
{
	struct batch *b = object;

	buf_fini(&b->pending);
	free(b->name);
	free(b);
}

static bool
fill(struct batch *b, const char *file, struct err *e)
{
	char *text = secret_read_text(file, FILE_MAX, NULL, e);

	if (!text)
		return false;
	buf_append_text(&b->pending, text);
	free(text);
	b->at_end = true;
	return true;
}

struct batch *
batch_open(struct loop *l, const char *file, const struct batch_events *events,
    void *owner, struct err *e)
{
	struct batch *b = mem_zalloc(sizeof *b);

	b->loop = l;
	b->events = events;
	b->owner = owner;
	b->name = mem_strdup(file ? file : "standard input");
	buf_init(&b->pending, FILE_MAX);
	deferred_init(&b->step, l, on_step, b);
	if (!file)
		b->watch = watch_open(l, STDIN_FILENO, on_ready, b, NULL);
	/* A plain file as standard input cannot be watched; it is read. */
	if (!b->watch && !fill(b, file ? file : "/dev/stdin", e)) {
		batch_free(b);
		return NULL;
	}
	deferred_set(&b->step);
	return b;
}

const char *
batch_name(const struct batch *b)
{
	return b->name;
}

void
batch_set_active(struct batch *b, bool active)
{
	b->is_paused = !active;
	if (active)
		deferred_set(&b->step);
}

void
batch_close(struct batch *b)
{
	b->closing = true;
	deferred_clear(&b->step);
	if (b->watch)
		watch_close(b->watch);
	loop_bury(b->loop, b, batch_free);
}

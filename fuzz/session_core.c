/* SPDX-License-Identifier: MIT
 *
 * Session cores. First byte odd: two of them and a network whose every move
 * the input draws (tests/unit/session_model.h). Even: one core whose other
 * side is the input itself; between its pieces the core writes, sends, is
 * stopped, and time passes.
 */
#include "session/session_core.h"

#include <stdlib.h>
#include <string.h>

#include "session_model.h"
#include "util/mem.h"

#define STEPS_MAX 600

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct source {
	const uint8_t *data;
	size_t left;
};

static void
demand(bool is_true)
{
	if (!is_true)
		abort();
}

static uint32_t
next_byte(struct source *s)
{
	if (s->left == 0)
		return 0;
	s->left--;
	return *s->data++;
}

static uint32_t
draw(void *owner, uint32_t bound)
{
	struct source *s = owner;
	uint32_t n = next_byte(s);

	if (bound > 256)
		n = n << 8 | next_byte(s);
	return n % bound;
}

static void
run_pair(struct source *s)
{
	struct session_model_counts counts = {0};
	struct session_model_options o = {.draw = draw, .owner = s};

	o.steps = s->left < STEPS_MAX ? (unsigned)s->left : STEPS_MAX;
	demand(session_model_run(&o, &counts) == NULL);
}

static const uint8_t random_bytes[SESSION_RANDOM_SIZE] = {5};

static struct session_core *
make(struct source *s, bool is_listener)
{
	struct session_hello h = {.limit = SESSION_LIMIT_MIN, .window_s = 9};
	struct session_core_options o;
	struct session_core *c;

	session_core_options_init(&o);
	o.is_listener = is_listener;
	o.options = 0;
	o.receive_limit = SESSION_LIMIT_MIN;
	o.send_limit = 100 + draw(s, 65000);
	c = session_core_new(&o, 1000);
	if (is_listener)
		session_core_greet(c, &h, 1000);
	else
		session_core_attach(c, random_bytes, 1000);
	return c;
}

/* Feeds a piece; false when the carrier is to be dropped. */
static bool
feed(struct session_core *c, const uint8_t *bytes, size_t n, bool second,
    uint64_t now)
{
	uint8_t *piece = mem_alloc(n), *data = piece;
	struct session_event ev;

	memcpy(piece, bytes, n);
	do {
		if (second && session_core_is_renewing(c))
			session_core_renew_next(c, &data, &n, &ev, now);
		else
			session_core_next(c, &data, &n, &ev, now);
		if (ev.kind == SESSION_EVENT_DATA)
			demand(ev.len > 0 && ev.data + ev.len == data);
	} while (ev.kind != SESSION_EVENT_NONE &&
	         ev.kind != SESSION_EVENT_BAD &&
	         ev.kind != SESSION_EVENT_REFUSED);
	free(piece);
	return ev.kind == SESSION_EVENT_NONE;
}

/* What the core does between two pieces. */
static void
act(struct session_core *c, struct source *s, bool is_listener, uint64_t now)
{
	static uint8_t out[5000];
	uint8_t head[SESSION_PREFIX_MAX], frame[SESSION_CONTROL_MAX];
	enum session_phase phase = session_core_phase(c);

	switch (draw(s, 9)) {
	case 0:
		if (session_core_room(c) > 0)
			session_core_write(c, out, 1 + draw(s, 300));
		break;
	case 1:
		if (session_core_room(c) > 0)
			session_core_write_through(
			    c, out, 1 + draw(s, 300), head);
		break;
	case 2:
		session_core_set_stopped(c, true, now);
		break;
	case 3:
		session_core_set_stopped(c, false, now);
		break;
	case 4:
		session_core_detach(c, now);
		break;
	case 5:
		if (session_core_can_renew(c))
			session_core_renew(c, random_bytes, frame, now);
		else
			session_core_renew_failed(c, now);
		break;
	case 6:
		if (!is_listener &&
		    (phase == SESSION_NEW || phase == SESSION_PARTED))
			session_core_attach(c, random_bytes, now);
		break;
	default:
		demand(session_core_output(c, out, sizeof(out), now) <=
		       sizeof(out));
	}
}

static bool
has_carrier(const struct session_core *c)
{
	enum session_phase phase = session_core_phase(c);

	return phase == SESSION_GREETING || phase == SESSION_LIVE ||
	       phase == SESSION_RESUMING;
}

static void
run_alone(struct source *s)
{
	bool is_listener = draw(s, 2) == 1;
	struct session_core *c = make(s, is_listener);
	uint64_t now = 1000;

	while (s->left > 0 && session_core_phase(c) != SESSION_OVER) {
		size_t n = draw(s, 64);
		bool second = draw(s, 2) == 0;

		if (n > s->left)
			n = s->left;
		if (n > 0 && has_carrier(c) &&
		    !feed(c, s->data, n, second, now)) {
			session_core_renew_failed(c, now);
			session_core_detach(c, now);
		}
		s->data += n;
		s->left -= n;
		act(c, s, is_listener, now);
		now += (uint64_t)draw(s, 256) * draw(s, 40);
		if (session_core_deadline(c) <= now &&
		    session_core_tick(c, now) == SESSION_TICK_DEAD)
			session_core_detach(c, now);
		demand(session_core_kept(c) <= 65100 + 300);
	}
	session_core_free(c);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct source s = {.data = data + 1, .left = size - 1};

	if (size == 0)
		return 0;
	if (data[0] & 1)
		run_pair(&s);
	else
		run_alone(&s);
	return 0;
}

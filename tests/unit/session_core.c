/* SPDX-License-Identifier: MIT
 *
 * The session's core: single rules by hand, and the model (session_model.h)
 * over many random schedules. HYCO_MODEL_SCHEDULES sets how many,
 * HYCO_MODEL_SEED the first seed; each schedule has a seed of its own, which is
 * printed when it fails.
 */
#include "session/session_core.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "session_model.h"

static uint32_t
draw_seeded(void *owner, uint32_t bound)
{
	uint64_t *x = owner;
	uint64_t z = *x += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	z ^= z >> 31;
	return (uint32_t)(((z >> 32) * bound) >> 32);
}

static uint64_t
number_from(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text != NULL ? strtoull(text, NULL, 10) : otherwise;
}

static void
test_model(void **state)
{
	uint64_t count = number_from("HYCO_MODEL_SCHEDULES", 30000);
	uint64_t seed = number_from("HYCO_MODEL_SEED", 1);
	struct session_model_counts n = {0};

	(void)state;
	for (uint64_t i = 0; i < count; i++) {
		uint64_t x = (seed + i) * 0xd1342543de82ef95u;
		struct session_model_options o = {
		    .draw = draw_seeded, .owner = &x};
		const char *fault;

		o.steps = 20 + draw_seeded(&x, 400);
		fault = session_model_run(&o, &n);
		if (fault != NULL)
			fail_msg("seed %llu: %s",
			    (unsigned long long)(seed + i), fault);
	}
#define SHOW(field) printf("  " #field " %llu\n", (unsigned long long)n.field)
	printf("  schedules %llu from seed %llu\n", (unsigned long long)count,
	    (unsigned long long)seed);
	SHOW(bytes);
	SHOW(carriers);
	SHOW(resumes);
	SHOW(resent);
	SHOW(renewals);
	SHOW(renewals_bad);
	SHOW(promotions);
	SHOW(lost_answers);
	SHOW(late);
	SHOW(replays_refused);
	SHOW(dead);
	SHOW(held);
	SHOW(windows);
	SHOW(orderly);
	SHOW(hard);
	SHOW(lost_greetings);
#undef SHOW
	if (count < 20000)
		return;
	assert_true(n.bytes > 0 && n.resumes > 0 && n.resent > 0);
	assert_true(n.renewals > 0 && n.renewals_bad > 0 && n.promotions > 0);
	assert_true(n.lost_answers > 0 && n.late > 0);
	assert_true(n.replays_refused > 0 && n.dead > 0 && n.held > 0);
	assert_true(n.windows > 0 && n.orderly > 0 && n.hard > 0);
	assert_true(n.lost_greetings > 0);
}

/* --- single rules --- */

static const uint8_t random_bytes[SESSION_RANDOM_SIZE] = {3};

struct pair {
	struct session_core *s;
	struct session_core *l;
	uint64_t now;
};

static struct session_core_options
plain(bool is_listener)
{
	struct session_core_options o;

	session_core_options_init(&o);
	o.is_listener = is_listener;
	o.options = 0;
	o.receive_limit = SESSION_LIMIT_MIN;
	return o;
}

static size_t
output(struct session_core *c, uint8_t *out, uint64_t now)
{
	return session_core_output(c, out, 100000, now);
}

/* Feeds all; the last event that was not NONE or DATA. */
static struct session_event
feed(struct session_core *c, const uint8_t *bytes, size_t len, uint64_t now)
{
	static uint8_t copy[200000];
	uint8_t *data = copy;
	struct session_event ev, last = {.kind = SESSION_EVENT_NONE};

	memcpy(copy, bytes, len);
	do {
		session_core_next(c, &data, &len, &ev, now);
		if (ev.kind != SESSION_EVENT_NONE &&
		    ev.kind != SESSION_EVENT_DATA)
			last = ev;
	} while (ev.kind != SESSION_EVENT_NONE && ev.kind != SESSION_EVENT_BAD);
	return last;
}

static void
greet(struct pair *p)
{
	struct session_core_options s = plain(false), l = plain(true);
	static uint8_t wire[100000];
	struct session_hello h;
	bool bad;

	p->now = 1000;
	p->s = session_core_new(&s, p->now);
	p->l = session_core_new(&l, p->now);
	session_core_attach(p->s, random_bytes, p->now);
	assert_int_equal(output(p->s, wire, p->now), 60);
	assert_true(session_parse_hello(&h, wire + 4, 56, &bad));
	session_core_greet(p->l, &h, p->now);
	assert_int_equal(
	    feed(p->s, wire, output(p->l, wire, p->now), p->now).kind,
	    SESSION_EVENT_OPEN);
}

static void
release(struct pair *p)
{
	session_core_free(p->s);
	session_core_free(p->l);
}

/* Before WELCOME the sender does not know what the listener can bear. */
static void
test_early_data_is_bounded(void **state)
{
	struct session_core_options o = plain(false);
	struct session_core *s = session_core_new(&o, 0);
	static uint8_t data[70000], out[200000];

	(void)state;
	session_core_write(s, data, sizeof(data));
	assert_false(session_core_has_output(s, 0));
	session_core_attach(s, random_bytes, 0);
	assert_int_equal(output(s, out, 0), 60 + 2 * SESSION_HEAD_SIZE + 65536);
	assert_false(session_core_has_output(s, 0));
	assert_int_equal(session_core_unsent(s), 70000 - 65536);
	session_core_free(s);
}

static void
test_limit_of_the_other(void **state)
{
	static uint8_t data[70000], out[200000];
	uint8_t prefix[SESSION_PREFIX_MAX];
	struct pair p;

	(void)state;
	greet(&p);
	output(p.s, out, p.now);
	session_core_write_through(p.s, data, 65000, prefix);
	assert_int_equal(session_core_write_through(p.s, data, 600, prefix), 0);
	session_core_write(p.s, data, 600);
	assert_int_equal(output(p.s, out, p.now), 4 + 536);
	assert_false(session_core_has_output(p.s, p.now));
	/* Somebody who sends more than that. */
	session_build_data_head(out, 65535);
	assert_int_equal(
	    feed(p.l, out, 4 + 65535, p.now).kind, SESSION_EVENT_NONE);
	session_build_data_head(out, 2);
	assert_int_equal(feed(p.l, out, 6, p.now).kind, SESSION_EVENT_BAD);
	release(&p);
}

static void
test_ack_when(void **state)
{
	static uint8_t out[70000];
	struct pair p;

	(void)state;
	greet(&p);
	session_build_data_head(out, 1);
	feed(p.l, out, 5, p.now);
	assert_false(session_core_has_output(p.l, p.now));
	assert_int_equal(session_core_deadline(p.l), p.now + 20);
	assert_int_equal(
	    session_core_tick(p.l, p.now + 20), SESSION_TICK_OUTPUT);
	assert_int_equal(output(p.l, out, p.now + 20), 12);
	assert_int_equal(out[0], SESSION_ACK);
	/* Half of the limit makes one due at once. */
	session_build_data_head(out, 32768);
	feed(p.l, out, 4 + 32768, p.now);
	assert_true(session_core_has_output(p.l, p.now));
	assert_int_equal(output(p.l, out, p.now), 12);
	/* It goes along with DATA. */
	session_build_data_head(out, 1);
	feed(p.l, out, 5, p.now);
	assert_int_equal(
	    session_core_write_through(p.l, out, 9, out + 1000), 16);
	assert_int_equal(out[1000], SESSION_ACK);
	assert_int_equal(out[1012], SESSION_DATA);
	assert_false(session_core_has_output(p.l, p.now + 1000));
	release(&p);
}

static void
test_violations_in_a_row(void **state)
{
	uint8_t out[1000];
	struct session_resume r;
	struct pair p;
	bool bad;

	(void)state;
	greet(&p);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(session_core_phase(p.l), SESSION_LIVE);
		assert_int_equal(
		    feed(p.l, (const uint8_t *)"\x63\0\0\1", 4, p.now).kind,
		    SESSION_EVENT_BAD);
		session_core_detach(p.l, p.now);
		session_core_detach(p.s, p.now);
		if (i == 2)
			break;
		session_core_attach(p.s, random_bytes, p.now);
		output(p.s, out, p.now);
		assert_true(session_parse_resume(&r, out + 4, 94, &bad));
		assert_int_equal(session_core_resume(p.l, &r, p.now), 0);
		feed(p.s, out, output(p.l, out, p.now), p.now);
		assert_int_equal(session_core_phase(p.s), SESSION_LIVE);
	}
	assert_int_equal(session_core_phase(p.l), SESSION_OVER);
	release(&p);
}

/* Memory for bulk is kept for a second, no longer. */
static void
test_spares_go(void **state)
{
	static uint8_t data[60000], out[100000];
	uint8_t prefix[SESSION_PREFIX_MAX];
	struct pair p;
	size_t n;

	(void)state;
	greet(&p);
	feed(p.l, out, output(p.s, out, p.now), p.now);
	feed(p.s, out, output(p.l, out, p.now), p.now);
	assert_true(session_core_deadline(p.s) > p.now + 2000);
	n = session_core_write_through(p.s, data, sizeof(data), prefix);
	assert_int_equal(n, 4);
	n = session_build_number(out, SESSION_ACK, sizeof(data));
	feed(p.s, out, n, p.now);
	assert_int_equal(session_core_kept(p.s), 0);
	assert_int_equal(session_core_deadline(p.s), p.now + 1000);
	p.now += 1000;
	assert_int_equal(session_core_tick(p.s, p.now), SESSION_TICK_NONE);
	assert_true(session_core_deadline(p.s) > p.now + 2000);
	release(&p);
}

/* What is out of place, on a live session, on either side. */
static void
test_frames_out_of_place(void **state)
{
	struct session_hello h = {.limit = 65536};
	static const uint8_t zeros[SESSION_SECRET_SIZE];
	uint8_t frames[8][SESSION_CONTROL_MAX];
	size_t sizes[8];
	struct session_resumed d = {.epoch = 1};
	struct session_resume r = {.epoch = 1};

	(void)state;
	sizes[0] = session_build_hello(frames[0], &h);
	sizes[1] = session_build_welcome(frames[1], &h);
	sizes[2] = session_build_resume(frames[2], &r, zeros);
	sizes[3] = session_build_resumed(frames[3], &d, zeros, zeros);
	sizes[4] = session_build_notice(frames[4], SESSION_REFUSE, 401, "");
	sizes[5] = session_build_number(frames[5], SESSION_ACK, 1);
	sizes[6] = session_build_number(frames[6], SESSION_ACK, UINT64_MAX);
	sizes[7] = session_build_notice(frames[7], SESSION_CLOSE, 0, "\xff");
	for (int i = 0; i < 8; i++) {
		struct pair p;

		greet(&p);
		assert_int_equal(feed(p.s, frames[i], sizes[i], p.now).kind,
		    SESSION_EVENT_BAD);
		assert_int_equal(feed(p.l, frames[i], sizes[i], p.now).kind,
		    SESSION_EVENT_BAD);
		release(&p);
	}
}

static void
test_liveness(void **state)
{
	uint8_t out[1000];
	struct session_stats stats;
	struct pair p;

	(void)state;
	greet(&p);
	/* The PING of the greeting is answered and measured. */
	p.now += 30;
	feed(p.l, out, output(p.s, out, p.now), p.now);
	feed(p.s, out, output(p.l, out, p.now), p.now);
	session_core_stats(p.s, &stats);
	assert_int_equal(stats.rtt_ms, 30);
	assert_int_equal(session_core_deadline(p.s), p.now + 15000);
	p.now += 15000;
	assert_int_equal(session_core_tick(p.s, p.now), SESSION_TICK_OUTPUT);
	assert_int_equal(output(p.s, out, p.now), 12);
	assert_int_equal(out[0], SESSION_PING);
	assert_int_equal(session_core_deadline(p.s), p.now + 10000);
	assert_int_equal(
	    session_core_tick(p.s, p.now + 9999), SESSION_TICK_NONE);
	assert_int_equal(
	    session_core_tick(p.s, p.now + 10000), SESSION_TICK_DEAD);
	session_core_detach(p.s, p.now);
	assert_int_equal(session_core_deadline(p.s), p.now + 120000);
	assert_int_equal(
	    session_core_tick(p.s, p.now + 119999), SESSION_TICK_NONE);
	assert_int_equal(
	    session_core_tick(p.s, p.now + 120000), SESSION_TICK_OVER);
	assert_int_equal(session_core_deadline(p.s), UINT64_MAX);
	release(&p);
}

/* A side that does not read says ACK now and then and judges nothing. */
static void
test_held(void **state)
{
	uint8_t out[1000];
	struct pair p;

	(void)state;
	greet(&p);
	output(p.l, out, p.now);
	session_core_set_stopped(p.l, true, p.now);
	session_build_data_head(out, 1);
	feed(p.l, out, 5, p.now);
	for (int i = 0; i < 5; i++) {
		p.now += 15000;
		assert_int_equal(
		    session_core_tick(p.l, p.now), SESSION_TICK_OUTPUT);
		assert_int_equal(output(p.l, out, p.now), 12);
		assert_int_equal(out[0], SESSION_ACK);
		assert_int_equal(out[11], 0);
	}
	session_core_set_stopped(p.l, false, p.now);
	assert_int_equal(session_core_deadline(p.l), p.now + 15000);
	release(&p);
}

/* A long text of ours is cut so that the other side can read it. */
static void
test_close_text(void **state)
{
	char text[300];
	uint8_t out[1000];
	struct session_event ev;
	struct pair p;

	(void)state;
	greet(&p);
	memset(text, 'x', sizeof(text));
	memcpy(text + 254, "\xc3\xa4", 3);
	session_core_close(p.l, SESSION_CLOSE_POLICY, text);
	ev = feed(p.s, out, output(p.l, out, p.now), p.now);
	assert_int_equal(ev.kind, SESSION_EVENT_CLOSED);
	assert_int_equal(ev.code, SESSION_CLOSE_POLICY);
	assert_int_equal(strlen(ev.text), 254);
	assert_int_equal(session_core_phase(p.s), SESSION_OVER);
	assert_int_equal(session_core_phase(p.l), SESSION_OVER);
	release(&p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_early_data_is_bounded),
	    cmocka_unit_test(test_limit_of_the_other),
	    cmocka_unit_test(test_ack_when),
	    cmocka_unit_test(test_violations_in_a_row),
	    cmocka_unit_test(test_spares_go),
	    cmocka_unit_test(test_frames_out_of_place),
	    cmocka_unit_test(test_liveness),
	    cmocka_unit_test(test_held),
	    cmocka_unit_test(test_close_text),
	    cmocka_unit_test(test_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

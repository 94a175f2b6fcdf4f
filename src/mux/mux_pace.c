/* SPDX-License-Identifier: MIT
 *
 * What arrives in one shortest round trip is what the way can hold: the
 * bandwidth-delay product. The time a probe took is not used for it but to find
 * the rate, since it grows with every queue on the way; a window that followed
 * it would only feed the queue.
 */
#include "mux/mux_pace.h"

bool
mux_pace_probe(struct mux_pace *p, uint64_t now_us)
{
	if (p->is_out ||
	    (p->is_started && now_us - p->sent_us < MUX_PACE_PROBE_US))
		return false;
	p->is_out = p->is_started = true;
	p->sent_us = now_us;
	return true;
}

void
mux_pace_answer(struct mux_pace *p, uint64_t now_us)
{
	uint64_t rtt = now_us - p->sent_us;

	if (!p->is_out)
		return;
	p->is_out = false;
	if (rtt == 0)
		rtt = 1;
	if (rtt > UINT32_MAX)
		rtt = UINT32_MAX;
	p->rtt_us = (uint32_t)rtt;
	if (now_us - p->since_us > MUX_PACE_MEMORY_US) {
		p->best_us[1] = now_us - p->since_us > 2 * MUX_PACE_MEMORY_US
		                    ? 0
		                    : p->best_us[0];
		p->best_us[0] = 0;
		p->since_us = now_us;
	}
	if (p->best_us[0] == 0 || p->rtt_us < p->best_us[0])
		p->best_us[0] = p->rtt_us;
}

uint32_t
mux_pace_best_us(const struct mux_pace *p)
{
	if (p->best_us[1] != 0 && p->best_us[1] < p->best_us[0])
		return p->best_us[1];
	return p->best_us[0];
}

size_t
mux_pace_part(size_t window)
{
	return window < MUX_PACE_SMALL ? window / 2 : window / 4;
}

/* With parts of half a window only half of it may be under way: so a small one
 * grows when a third was used in a round trip, a large one at two thirds. */
size_t
mux_pace_window(
    const struct mux_pace *p, uint64_t bytes, size_t window, size_t most)
{
	const uint64_t best = mux_pace_best_us(p);
	size_t next = window * 2;

	if (p->rtt_us == 0)
		return window;
	if (bytes * best / p->rtt_us * 3 <=
	    (uint64_t)window * (window < MUX_PACE_SMALL ? 1 : 2))
		return window;
	if (next > most)
		next = most;
	return next > window ? next : window;
}

size_t
mux_pace_window_alone(uint64_t bytes, size_t window)
{
	return window < MUX_PACE_SMALL && bytes * 3 > window ? window * 2
	                                                     : window;
}

bool
mux_guard_take(struct mux_guard *g, uint64_t now_ms, unsigned most)
{
	if (now_ms - g->since_ms >= MUX_GUARD_PERIOD_MS) {
		g->since_ms = now_ms;
		g->count = 0;
	}
	return ++g->count <= most;
}

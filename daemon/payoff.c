// SPDX-License-Identifier: GPL-2.0-or-later
#include "payoff.h"

#include <stddef.h>

#include "log.h"

static const bool yab_payoff_moves[YAB_PAYOFF_STATES][YAB_PAYOFF_STATES] = {
	[YAB_PAYOFF_PLAIN] = { [YAB_PAYOFF_TRYING_PACKS] = true },
	[YAB_PAYOFF_TRYING_PACKS] = { [YAB_PAYOFF_PLAIN] = true, [YAB_PAYOFF_PACKING] = true },
	[YAB_PAYOFF_PACKING] = { [YAB_PAYOFF_TRYING_PLAIN] = true },
	[YAB_PAYOFF_TRYING_PLAIN] = { [YAB_PAYOFF_PLAIN] = true, [YAB_PAYOFF_PACKING] = true },
};

static void yab_payoff_enter(struct yab_payoff *payoff, enum yab_payoff_state state)
{
	if (!yab_payoff_moves[payoff->state][state])
		yab_log_error(NULL, "bug: payoff moves from state %d to %d", payoff->state,
			      state);
	payoff->state = state;
	payoff->held = 0;
	yab_payoff_disturb(payoff);
}

void yab_payoff_init(struct yab_payoff *payoff)
{
	*payoff = (struct yab_payoff){ .patience = 1 };
	yab_payoff_disturb(payoff);
}

bool yab_payoff_packs(const struct yab_payoff *payoff)
{
	return payoff->state == YAB_PAYOFF_TRYING_PACKS || payoff->state == YAB_PAYOFF_PACKING;
}

void yab_payoff_disturb(struct yab_payoff *payoff)
{
	payoff->skip = YAB_PAYOFF_SKIP;
	payoff->pages = 0;
}

/* Packing was compared with plain pages. */
static void yab_payoff_judge(struct yab_payoff *payoff, uint64_t packed, uint64_t plain)
{
	if (packed >= plain + plain / 8) {
		payoff->patience = YAB_PAYOFF_HOLD;
		yab_payoff_enter(payoff, YAB_PAYOFF_PACKING);
		return;
	}
	if (payoff->patience < YAB_PAYOFF_HOLD)
		payoff->patience = YAB_PAYOFF_HOLD;
	else if (payoff->patience < YAB_PAYOFF_HOLD_MAX)
		payoff->patience *= 2;
	yab_payoff_enter(payoff, YAB_PAYOFF_PLAIN);
}

static void yab_payoff_measured(struct yab_payoff *payoff, uint64_t rate)
{
	payoff->held++;
	switch (payoff->state) {
	case YAB_PAYOFF_PLAIN:
		payoff->rate = rate;
		if (payoff->held >= payoff->patience)
			yab_payoff_enter(payoff, YAB_PAYOFF_TRYING_PACKS);
		break;
	case YAB_PAYOFF_TRYING_PACKS:
		yab_payoff_judge(payoff, rate, payoff->rate);
		break;
	case YAB_PAYOFF_PACKING:
		payoff->rate = rate;
		if (payoff->held >= YAB_PAYOFF_HOLD)
			yab_payoff_enter(payoff, YAB_PAYOFF_TRYING_PLAIN);
		break;
	case YAB_PAYOFF_TRYING_PLAIN:
		yab_payoff_judge(payoff, payoff->rate, rate);
		break;
	case YAB_PAYOFF_STATES:
		break;
	}
}

void yab_payoff_sent(struct yab_payoff *payoff, uint64_t pages, uint64_t now_ns)
{
	uint64_t ns;

	if (payoff->skip) {
		payoff->skip -= pages < payoff->skip ? pages : payoff->skip;
		payoff->start_ns = now_ns;
		return;
	}
	payoff->pages += pages;
	if (payoff->pages < YAB_PAYOFF_PERIOD)
		return;
	ns = now_ns > payoff->start_ns ? now_ns - payoff->start_ns : 1;
	pages = payoff->pages;
	payoff->pages = 0;
	payoff->start_ns = now_ns;
	/* Few enough pages to be multiplied. */
	yab_payoff_measured(payoff, pages * 1000000000 / ns);
}

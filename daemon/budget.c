// SPDX-License-Identifier: GPL-2.0-or-later
#include "budget.h"

#define YAB_BUDGET_MIN	1000
#define YAB_BUDGET_MAX	0x4000000000000ULL

static int64_t yab_budget_burst(const struct yab_budget *budget)
{
	return (int64_t)(budget->rate / 1000 * YAB_BUDGET_BURST_MS + 1);
}

void yab_budget_set(struct yab_budget *budget, uint64_t rate, uint64_t now_ns)
{
	/* Bounds within which nothing below overflows or comes to nothing. */
	if (rate && rate < YAB_BUDGET_MIN)
		rate = YAB_BUDGET_MIN;
	budget->rate = rate < YAB_BUDGET_MAX ? rate : YAB_BUDGET_MAX;
	budget->left = yab_budget_burst(budget);
	budget->time_ns = now_ns;
}

bool yab_budget_allows(struct yab_budget *budget, uint64_t now_ns)
{
	const uint64_t us = (now_ns - budget->time_ns) / 1000;
	const int64_t burst = yab_budget_burst(budget);

	if (!budget->rate)
		return true;
	/* A second's worth is more than the burst, and few enough to be multiplied. */
	budget->left += (int64_t)((us < 1000000 ? us : 1000000) * (budget->rate / 1000) / 1000);
	budget->time_ns += us * 1000;
	if (budget->left > burst)
		budget->left = burst;
	return budget->left > 0;
}

void yab_budget_spend(struct yab_budget *budget, uint64_t bytes)
{
	if (budget->rate)
		budget->left -= (int64_t)bytes;
}

uint64_t yab_budget_wait_ms(const struct yab_budget *budget)
{
	const uint64_t owed = budget->left > 0 ? 0 : (uint64_t)-budget->left;
	const uint64_t per_ms = budget->rate / 1000 ? budget->rate / 1000 : 1;

	return owed / per_ms + 1;
}

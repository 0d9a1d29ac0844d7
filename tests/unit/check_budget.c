// SPDX-License-Identifier: GPL-2.0-or-later
#include "../../daemon/budget.h"
#include "script.h"

#define SECOND	1000000000ULL

/* Bytes that were spent in @seconds, a page at a time, with a look each @step_ns. */
static uint64_t spend(struct yab_budget *budget, uint64_t *now_ns, uint64_t seconds,
		      uint64_t step_ns)
{
	const uint64_t end = *now_ns + seconds * SECOND;
	uint64_t spent = 0;

	for (; *now_ns < end; *now_ns += step_ns) {
		while (yab_budget_allows(budget, *now_ns)) {
			yab_budget_spend(budget, SCRIPT_PAGE);
			spent += SCRIPT_PAGE;
		}
	}
	return spent;
}

/* The rate is kept, over whatever time, however often it is asked. */
START_TEST(rate)
{
	static const uint64_t rates[] = { 1000, 100000, 1 << 20, 125000000, 12500000000ULL };
	static const uint64_t steps[] = { 1000000, 7777777, 100 };
	const uint64_t want = rates[_i % 5] * 10, step = steps[_i / 5];
	struct yab_budget budget;
	uint64_t now = 5 * SECOND, spent;

	if (step == 100 && rates[_i % 5] < 1 << 20)
		return;		/* 10^8 looks */
	yab_budget_set(&budget, rates[_i % 5], now);
	spent = spend(&budget, &now, step == 100 ? 1 : 10, step);
	ck_assert_uint_le(spent, want + want / 100 + 2 * SCRIPT_PAGE);
	ck_assert_uint_ge(spent, (step == 100 ? want / 10 : want) * 95 / 100 - SCRIPT_PAGE);
}
END_TEST

/* A long pause is not made up for. */
START_TEST(no_burst)
{
	struct yab_budget budget;
	uint64_t now = SECOND, spent = 0;

	yab_budget_set(&budget, 1000000, now);
	now += 3600 * SECOND;
	while (yab_budget_allows(&budget, now)) {
		yab_budget_spend(&budget, SCRIPT_PAGE);
		spent += SCRIPT_PAGE;
	}
	ck_assert_uint_le(spent, 1000000 / 1000 * YAB_BUDGET_BURST_MS + 2 * SCRIPT_PAGE);
}
END_TEST

START_TEST(waits_as_long_as_it_takes)
{
	struct yab_budget budget;
	uint64_t now = SECOND;

	yab_budget_set(&budget, 1000000, now);
	yab_budget_spend(&budget, 500000);
	ck_assert(!yab_budget_allows(&budget, now));
	now += yab_budget_wait_ms(&budget) * 1000000;
	ck_assert(yab_budget_allows(&budget, now));
	ck_assert_uint_lt(now, SECOND + SECOND / 2);
}
END_TEST

START_TEST(no_limit)
{
	struct yab_budget budget;

	yab_budget_set(&budget, 0, 1);
	yab_budget_spend(&budget, UINT64_MAX / 2);
	ck_assert(yab_budget_allows(&budget, 1));
	/* The clock may stand still or begin anywhere. */
	yab_budget_set(&budget, UINT64_MAX, UINT64_MAX);
	ck_assert(yab_budget_allows(&budget, UINT64_MAX));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("budget");
	TCase *tcase = tcase_create("budget");

	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(tcase, rate, 0, 15);
	tcase_add_test(tcase, no_burst);
	tcase_add_test(tcase, waits_as_long_as_it_takes);
	tcase_add_test(tcase, no_limit);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* The rule of when to pack, against links, codecs and data that are played, and a clock. */
#include "../../daemon/payoff.h"
#include "script.h"

#define MIB	256	/* pages */

/* Everything in pages a second. */
struct path {
	uint64_t link;		/* plain pages */
	uint64_t plain;		/* how fast this host sends them at most */
	uint64_t codec;		/* how fast it packs */
	unsigned int ratio;	/* in tenths */
};

static struct yab_payoff payoff;
static uint64_t now;

static void setup(void)
{
	yab_payoff_init(&payoff);
	now = 1;
}

/* Sends @pages; returns how many of them packed. */
static uint64_t send_pages(const struct path *path, uint64_t pages)
{
	uint64_t packed = 0, rate;

	for (uint64_t done = 0; done < pages; done += 16) {
		const uint64_t narrow = yab_payoff_packs(&payoff) ? path->link * path->ratio / 10 :
								    path->link;
		const uint64_t own = yab_payoff_packs(&payoff) ? path->codec : path->plain;

		rate = narrow < own ? narrow : own;
		packed += yab_payoff_packs(&payoff) ? 16 : 0;
		now += 16 * 1000000000ULL / rate;
		yab_payoff_sent(&payoff, 16, now);
	}
	return packed;
}

/* 1 Gbit/s and 100 Mbit/s, with data that gets smaller: nearly all of it is packed. */
START_TEST(slow_link)
{
	const struct path path = { _i ? 110 * MIB : 11 * MIB, 2000 * MIB, 330 * MIB, 27 };

	ck_assert_uint_gt(send_pages(&path, 1024 * MIB), 900 * MIB);
}
END_TEST

/* Faster than the codec, or nothing gets smaller, or only little: nearly nothing is. */
START_TEST(does_not_pay)
{
	static const struct path paths[] = {
		{ 1200 * MIB, 2000 * MIB, 330 * MIB, 27 },
		{ 5000 * MIB, 2000 * MIB, 560 * MIB, 21 },
		{ 110 * MIB, 2000 * MIB, 600 * MIB, 10 },
		{ 110 * MIB, 2000 * MIB, 600 * MIB, 11 },
		{ 350 * MIB, 2000 * MIB, 330 * MIB, 100 },
	};
	uint64_t packed = send_pages(&paths[_i], 1024 * MIB);

	ck_assert_uint_gt(packed, 0);
	ck_assert_uint_le(packed, 1024 * MIB / 16);
	/* And ever less. */
	packed = send_pages(&paths[_i], 1024 * MIB);
	packed = send_pages(&paths[_i], 4096 * MIB);
	ck_assert_uint_gt(packed, 0);
	ck_assert_uint_le(packed, 4096 * MIB / 96);
}
END_TEST

/* The data changes, or the link does: it notices, in both directions. */
START_TEST(changes)
{
	const struct path good = { 110 * MIB, 2000 * MIB, 330 * MIB, 27 };
	const struct path bad = { 110 * MIB, 2000 * MIB, 600 * MIB, 10 };

	send_pages(&good, 1024 * MIB);
	ck_assert(yab_payoff_packs(&payoff));
	send_pages(&bad, (YAB_PAYOFF_HOLD + 3) * (YAB_PAYOFF_PERIOD + YAB_PAYOFF_SKIP));
	ck_assert_int_eq(payoff.state, YAB_PAYOFF_PLAIN);
	send_pages(&good, (YAB_PAYOFF_HOLD_MAX + 3) * (YAB_PAYOFF_PERIOD + YAB_PAYOFF_SKIP));
	ck_assert_uint_gt(send_pages(&good, 256 * MIB), 200 * MIB);
}
END_TEST

/* A pause in a period says nothing of the rate. */
START_TEST(disturbed)
{
	const struct path good = { 110 * MIB, 2000 * MIB, 330 * MIB, 27 };

	while (payoff.state != YAB_PAYOFF_TRYING_PACKS)
		send_pages(&good, 16);
	send_pages(&good, YAB_PAYOFF_SKIP + YAB_PAYOFF_PERIOD / 2);
	ck_assert_int_eq(payoff.state, YAB_PAYOFF_TRYING_PACKS);
	now += 3600ULL * 1000000000;
	yab_payoff_disturb(&payoff);
	send_pages(&good, YAB_PAYOFF_SKIP + YAB_PAYOFF_PERIOD);
	ck_assert_int_eq(payoff.state, YAB_PAYOFF_PACKING);
}
END_TEST

/* Whatever the clock does. */
START_TEST(odd_clocks)
{
	for (int i = 0; i < 10000; i++)
		yab_payoff_sent(&payoff, 256, 0);
	for (int i = 0; i < 10000; i++)
		yab_payoff_sent(&payoff, 256, (uint64_t)i << 50);
	for (int i = 0; i < 10000; i++)
		yab_payoff_sent(&payoff, 256, UINT64_MAX - (uint64_t)i);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("payoff");
	TCase *tcase = tcase_create("payoff");

	tcase_add_checked_fixture(tcase, setup, NULL);
	tcase_add_loop_test(tcase, slow_link, 0, 2);
	tcase_add_loop_test(tcase, does_not_pay, 0, 5);
	tcase_add_test(tcase, changes);
	tcase_add_test(tcase, disturbed);
	tcase_add_test(tcase, odd_clocks);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}

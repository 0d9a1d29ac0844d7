/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Does it pay to pack pages? Found by trying, like the window: what counts is how many
 * pages a second get to the other side, whatever stands in the way (a link, this
 * processor, that of the destination, a limit), and packing must bring clearly more, for it
 * costs processor time on both sides.
 *
 * 1. The rate is measured over YAB_PAYOFF_PERIOD pages of data, after YAB_PAYOFF_SKIP that
 *    make room for what was sent in the other way before.
 * 2. It begins plain. After a period it tries a period of packing; if that has brought
 *    an eighth more pages a second than the plain one before, packing stays on, else off.
 * 3. After YAB_PAYOFF_HOLD periods of packing it tries a period without, and judges by the
 *    same eighth.
 * 4. After YAB_PAYOFF_HOLD plain periods it tries packing again, and after twice as
 *    many each time that it does not pay, up to YAB_PAYOFF_HOLD_MAX.
 *
 * So data that cannot be packed and links that are faster than the codec cost one period in
 * 17 at first, and one in 129 later on.
 */
#ifndef YAB_DAEMON_PAYOFF_H
#define YAB_DAEMON_PAYOFF_H

#include <stdbool.h>
#include <stdint.h>

/* Pages: 4 MiB, 35 ms at 1 Gbit/s. */
#define YAB_PAYOFF_PERIOD	1024
#define YAB_PAYOFF_SKIP		256
/* Periods. */
#define YAB_PAYOFF_HOLD		16
#define YAB_PAYOFF_HOLD_MAX	128

enum yab_payoff_state {
	YAB_PAYOFF_PLAIN,
	YAB_PAYOFF_TRYING_PACKS,
	YAB_PAYOFF_PACKING,
	YAB_PAYOFF_TRYING_PLAIN,
	YAB_PAYOFF_STATES,
};

struct yab_payoff {
	enum yab_payoff_state state;
	unsigned int held;	/* periods in this state */
	unsigned int patience;	/* plain periods before packing is tried */
	uint64_t rate;		/* pages a second of the last period before a trial */

	/* The period under way. */
	uint64_t skip;		/* pages to come before it */
	uint64_t pages;
	uint64_t start_ns;
};

void yab_payoff_init(struct yab_payoff *payoff);
/* Are pages to be packed now? */
bool yab_payoff_packs(const struct yab_payoff *payoff);
/* @pages of data were handed over, packed or not. */
void yab_payoff_sent(struct yab_payoff *payoff, uint64_t pages, uint64_t now_ns);
/* Something else has held pages up (a connection was lost): the period begins anew. */
void yab_payoff_disturb(struct yab_payoff *payoff);

#endif /* YAB_DAEMON_PAYOFF_H */

// SPDX-License-Identifier: GPL-2.0
/* YAB_IOC_DECLARE: many ranges, what was fresh, what is refused, and then wholly. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "harness.h"

static struct fixture f;

static int declare_all(struct yab_range *ranges, uint32_t count)
{
	struct yab_declare request = { .ranges = (uintptr_t)ranges, .count = count };

	return ioctl(f.pager, YAB_IOC_DECLARE, &request);
}

static void refused(struct yab_range range, int expected, const char *what)
{
	tap_ok(declare_all(&range, 1) < 0 && errno == expected, "%s: %s", what,
	       strerror(expected));
}

static void check_ranges(void)
{
	struct yab_range ranges[40];
	size_t i;
	bool right = true;

	/* Pages 0-1, 4-5, 8-9, ...: more ranges than the kernel takes in one copy. */
	for (i = 0; i < ARRAY_SIZE(ranges); i++)
		ranges[i] = (struct yab_range){ .page = 4 * i, .count = 2, .fresh = 99 };
	tap_ok(!declare_all(ranges, ARRAY_SIZE(ranges)), "forty ranges in one call");
	for (i = 0; i < ARRAY_SIZE(ranges); i++)
		right = right && ranges[i].fresh == 2;
	tap_ok(right && get_status(&f).present == 80, "each says how many pages were fresh");

	ranges[0] = (struct yab_range){ .page = 0, .count = 200 };
	tap_ok(!declare_all(ranges, 1) && ranges[0].fresh == 120,
	       "a range over present and missing pages counts the missing ones");
	ranges[0] = (struct yab_range){ .page = 200, .count = 10 };
	ranges[1] = (struct yab_range){ .page = 205, .count = 10 };
	tap_ok(!declare_all(ranges, 2) && ranges[0].fresh == 10 && ranges[1].fresh == 5,
	       "ranges that overlap count each page once");
}

static void check_refusals(void)
{
	uint64_t present = get_status(&f).present;
	struct yab_declare request = { 0 };
	struct yab_range ranges[20] = { 0 };
	size_t i;

	refused((struct yab_range){ .page = 500 }, ERANGE, "no pages");
	refused((struct yab_range){ .page = 512, .count = 1 }, ERANGE, "page beyond the end");
	refused((struct yab_range){ .page = 500, .count = 13 }, ERANGE, "range beyond the end");
	refused((struct yab_range){ .page = 500, .count = -1ULL }, ERANGE, "count that overflows");
	refused((struct yab_range){ .page = -1ULL, .count = 2 }, ERANGE, "page that overflows");
	refused((struct yab_range){ .page = 500, .count = 1, .state = 77 }, EINVAL,
		"unknown state");
	refused((struct yab_range){ .page = 500, .count = 1, .reserved = 1 }, EINVAL,
		"reserved field set");
	tap_ok(declare_all(ranges, 0) < 0 && errno == EINVAL, "no ranges: EINVAL");
	tap_ok(declare_all(ranges, YAB_RANGES_MAX + 1) < 0 && errno == EINVAL,
	       "too many ranges: EINVAL");
	tap_ok(declare_all(NULL, 1) < 0 && errno == EFAULT, "ranges at NULL: EFAULT");
	request = (struct yab_declare){ .ranges = (uintptr_t)ranges, .count = 1, .flags = 1 };
	tap_ok(ioctl(f.pager, YAB_IOC_DECLARE, &request) < 0 && errno == EINVAL,
	       "unknown flag: EINVAL");

	for (i = 0; i < ARRAY_SIZE(ranges); i++)
		ranges[i] = (struct yab_range){ .page = 400 + i, .count = 1 };
	ranges[19].count = 1000;
	tap_ok(declare_all(ranges, 20) < 0 && errno == ERANGE && get_status(&f).present == present,
	       "one bad range among twenty: nothing is declared");
}

static void check_state(void)
{
	struct yab_status status = get_status(&f);
	struct toucher t;

	tap_ok(status.state == YAB_STATE_FILLING && status.pages == 512, "state filling");
	toucher_start(&t, f.map + 300 * page_size, false, 0);
	tap_ok(next_fault(&f).page == 300, "a page is still missing");
	declare(f.pager, 0, 512);
	toucher_join(&t);
	status = get_status(&f);
	tap_ok(status.state == YAB_STATE_COMPLETE && status.present == 512 && status.faults == 1,
	       "state complete once every page is present");
}

int main(void)
{
	tap_start(4 + 12 + 3, 60);
	fixture_open(&f, 512);
	check_ranges();
	check_refusals();
	check_state();
	fixture_close(&f);
	return tap_end();
}

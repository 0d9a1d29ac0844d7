// SPDX-License-Identifier: GPL-2.0
/*
 * What it costs to declare pages that nobody waits for: instructions a page, of calls with
 * one range of 1, 16 or 512 pages, and with 16 ranges of a page each.
 */
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "bench.h"

#define PAGES		((size_t)1 << 16)
#define RANGES_MAX	16

/* Ranges of a call lie apart, as the faults of different threads do. */
static void measure(unsigned int ranges, unsigned int count)
{
	size_t calls = PAGES / ((size_t)ranges * count), stretch = PAGES / ranges, call;
	struct yab_range range[RANGES_MAX];
	struct yab_declare request = { .ranges = (uintptr_t)range, .count = ranges };
	struct fixture f;
	unsigned int i;
	uint64_t start;

	fixture_open(&f, PAGES);
	start = now_ns();
	for (call = 0; call < calls; call++) {
		for (i = 0; i < ranges; i++)
			range[i] = (struct yab_range){
				.page = i * stretch + call * count,
				.count = count,
			};
		if (ioctl(f.pager, YAB_IOC_DECLARE, &request))
			tap_bail("YAB_IOC_DECLARE");
	}
	printf("declare-%ux%u %.1f\n", ranges, count, (double)(now_ns() - start) / PAGES);
	if (get_status(&f).present != PAGES)
		tap_bail("not all pages were declared");
	fixture_close(&f);
}

int main(void)
{
	page_size = sysconf(_SC_PAGESIZE);
	measure(1, 1);
	measure(1, 16);
	measure(1, 512);
	measure(16, 1);
	return 0;
}

// SPDX-License-Identifier: GPL-2.0
#include <linux/log2.h>
#include <linux/math64.h>
#include <linux/sysfs.h>

#include "latency.h"

void yab_latency_add(struct yab_latency *latency, u64 waited_ns)
{
	u64 us = div_u64(waited_ns, 1000);
	unsigned int slot = us <= 1 ? 0 : ilog2(us - 1) + 1;

	atomic_long_inc(&latency->slots[min(slot, YAB_LATENCY_SLOTS - 1U)]);
}

ssize_t yab_latency_print(const struct yab_latency *latency, char *buf)
{
	ssize_t length = 0;
	unsigned int i;

	for (i = 0; i < YAB_LATENCY_SLOTS; i++)
		length += sysfs_emit_at(buf, length, "%ld%c", atomic_long_read(&latency->slots[i]),
					i + 1 < YAB_LATENCY_SLOTS ? ' ' : '\n');
	return length;
}

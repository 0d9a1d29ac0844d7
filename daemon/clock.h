/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Time that only goes forward, and how libevent wants to be told of pauses. */
#ifndef YAB_DAEMON_CLOCK_H
#define YAB_DAEMON_CLOCK_H

#include <stdint.h>
#include <sys/time.h>

/* CLOCK_MONOTONIC, as the kernel module's times are. */
uint64_t yab_clock_ns(void);
int64_t yab_clock_us(void);
struct timeval yab_clock_pause(uint64_t ms);

#endif /* YAB_DAEMON_CLOCK_H */

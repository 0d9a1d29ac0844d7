/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a supervisor starts and meets, without a process, a module or a network: the
 * linker puts these in the place of the daemon's functions (--wrap). One worker and one
 * QEMU at a time; a QEMU's monitor is connected at once.
 */
#ifndef YAB_TEST_FAKE_H
#define YAB_TEST_FAKE_H

#include <stdbool.h>
#include <stdint.h>

#include "fuzz.h"
#include "monitor.h"

extern struct monitor fake_monitor;	/* QEMU's end */

/* All tokens are this one. */
extern const uint8_t fake_token[YAB_WIRE_TOKEN_SIZE];
#define FAKE_TOKEN_TEXT	"30313233343536373839616263646566"

/* What attaching to the region fails with; 0: it does not. */
extern int fake_region_errno;

/* libevent's, and what is called in its place. */
int __real_event_add(struct event *event, const struct timeval *timeout);
int __wrap_event_add(struct event *event, const struct timeval *timeout);

void fake_begin(struct event_base *base);
/* Closes what is left. After the supervisor's parts were freed. */
void fake_end(void);

bool fake_qemu_lives(void);
/* It ends by itself. */
void fake_qemu_exit(void);

/* The worker's end of its channel, or -1. */
int fake_worker(void);
void fake_worker_exit(void);

/* The other end of the last connection of a role that the daemon made, or -1. */
int fake_host(enum yab_wire_role role);
void fake_host_close(enum yab_wire_role role);

#endif /* YAB_TEST_FAKE_H */

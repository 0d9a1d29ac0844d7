/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A QEMU without a machine: it answers to its monitor, loads a device state and writes one. What
 * else it is to do is in the environment.
 */
#ifndef YAB_TEST_MACHINE_H
#define YAB_TEST_MACHINE_H

#include <stdint.h>

#define MACHINE_STATE		"device state"	/* with the zero behind it */

/* It does not load its state. */
#define MACHINE_FAILS		"MACHINE_FAILS"
/* When it has written it, it keeps the file open as long as it lives. */
#define MACHINE_HOLDS		"MACHINE_HOLDS"
/* Before it writes it, it closes the monitor, and says to nobody that it is done. */
#define MACHINE_HANGS_UP	"MACHINE_HANGS_UP"

/*
 * The process: ${monitor} and ${memory} are what the description gave it, @pages are those of
 * its memory.
 */
int machine_run(const char *monitor, const char *memory, uint64_t pages);

#endif /* YAB_TEST_MACHINE_H */

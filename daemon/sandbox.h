/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a worker gives up once all that it needs is open: it parses what another host
 * sends, and whoever takes it over that way must find nothing but the guest's memory and
 * the connections of one migration.
 *
 * It may then read and write what it has open, take descriptors from its channel, and
 * have memory. No other file, socket, process or program; no code that was not there.
 * A system call that is not on the list ends the process (SIGSYS).
 *
 * Libraries that open files when they are first used must have been used before: for
 * OpenSSL that is rehearsal.h.
 */
#ifndef YAB_DAEMON_SANDBOX_H
#define YAB_DAEMON_SANDBOX_H

#include <stddef.h>
#include <sys/types.h>

/* The account of workers that the supervisor starts as root; without it nobody's. */
#define YAB_SANDBOX_ACCOUNT	"yabusame"

struct yab_sandbox_needs {
	/*
	 * The process whose memory is read by process_vm_readv(), or 0. A worker of root keeps
	 * CAP_SYS_PTRACE for it. A descriptor of /proc/PID/mem that the supervisor opened
	 * needs none of this: its access was checked at open().
	 */
	pid_t process;
};

/*
 * 0, or -1 with one line in @error. After a failure a part may be given up already: the
 * process is of no use.
 */
int yab_sandbox_enter(const struct yab_sandbox_needs *needs, char *error, size_t error_size);

#endif /* YAB_DAEMON_SANDBOX_H */

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A process that may not be ours to wait for, named so that another one which has its
 * number by now is never taken for it.
 */
#ifndef YAB_DAEMON_PROCESS_H
#define YAB_DAEMON_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct yab_process {
	pid_t pid;		/* 0: none */
	uint64_t start;		/* ticks from the system's start to its own, as in /proc/PID/stat */
};

/* A text that each start of the system has another of: pids mean nothing beyond it. */
#define YAB_PROCESS_BOOT_SIZE	40

/* Empty where the kernel does not tell. */
void yab_process_boot(char boot[YAB_PROCESS_BOOT_SIZE]);
/* As /etc/machine-id has it: copies of a host are given another one. */
#define YAB_PROCESS_MACHINE_SIZE	40

/* "-" where there is none. */
void yab_process_machine(char machine[YAB_PROCESS_MACHINE_SIZE]);
/* The process @pid as it is now; all zero if there is none or it has ended. */
struct yab_process yab_process_of(pid_t pid);
/* A pidfd; -1 with errno, which is ESRCH where the process has ended. */
int yab_process_open(const struct yab_process *process);
/* Has it not ended? */
bool yab_process_lives(const struct yab_process *process);
/*
 * Is it proved that it has begun to end, or has ended? The kernel takes its files and its other
 * threads away only then; no instruction of a guest runs any more once they are gone.
 */
bool yab_process_ends(const struct yab_process *process);
/* SIGKILL, and only to that process. 0, or -1 with errno. */
int yab_process_kill(const struct yab_process *process);
/*
 * A process with an argument that contains @text, which must be unlike any other's. All
 * zero if there is none.
 */
struct yab_process yab_process_find(const char *text);

#endif /* YAB_DAEMON_PROCESS_H */

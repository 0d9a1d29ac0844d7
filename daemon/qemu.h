/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One QEMU process: started, watched, reaped, and the connection to its monitor.
 * It leads a session of its own and survives the daemon.
 */
#ifndef YAB_DAEMON_QEMU_H
#define YAB_DAEMON_QEMU_H

#include <event2/event.h>
#include <jansson.h>
#include <stddef.h>
#include <sys/types.h>

#include "process.h"
#include "qmp.h"

/* The memory file is this file descriptor of QEMU. */
#define YAB_QEMU_MEMORY_FD	3

struct yab_qemu;

struct yab_qemu_ops {
	/* The monitor answers. Called again if its connection was lost in between. */
	void (*ready)(void *arg);
	void (*event)(const char *name, json_t *data, void *arg);
	/*
	 * The monitor's connection was lost, and not because the process ends: what QEMU does
	 * until ready() comes again nobody is told. May be NULL.
	 */
	void (*unheard)(void *arg);
	/*
	 * The process ended and was reaped; @why is one line. Every event that it had
	 * written was reported before, unless unheard() came. The object is gone after this.
	 */
	void (*exited)(const char *why, void *arg);
};

/*
 * @monitor is the path of the QMP socket, @log that of the file for what QEMU
 * prints. @memory_fd (or -1) is inherited. NULL with one line in @error.
 */
struct yab_qemu *yab_qemu_spawn(struct event_base *base, const char *vm, char *const *command,
				const char *monitor, const char *log, int memory_fd,
				const struct yab_qemu_ops *ops, void *arg, char *error,
				size_t error_size);
/*
 * One that an earlier supervisor has started: as above, but it is not ours to reap. errno is
 * ESRCH where it has ended.
 */
struct yab_qemu *yab_qemu_adopt(struct event_base *base, const char *vm,
				const struct yab_process *process, const char *monitor,
				const char *log, const struct yab_qemu_ops *ops, void *arg,
				char *error, size_t error_size);
const struct yab_process *yab_qemu_process(const struct yab_qemu *qemu);
/* NULL while there is no connection. */
struct yab_qmp *yab_qemu_qmp(struct yab_qemu *qemu);
/* SIGKILL, at once or, if it is about to end by itself, soon; exited() follows. */
void yab_qemu_kill(struct yab_qemu *qemu);
/* The process goes on without us (the daemon ends). */
void yab_qemu_leave(struct yab_qemu *qemu);

#endif /* YAB_DAEMON_QEMU_H */

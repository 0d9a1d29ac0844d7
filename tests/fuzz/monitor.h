/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QEMU's end of a monitor: what was asked, and answers to it, good and bad ones. */
#ifndef YAB_TEST_MONITOR_H
#define YAB_TEST_MONITOR_H

#include <jansson.h>

#include "fuzz.h"

#define MONITOR_COMMANDS	64
/* What the VM's memory file is called, and its bytes. */
#define MONITOR_MEMORY		"/proc/self/fd/3"
#define MONITOR_MEMORY_SIZE	1048576

struct monitor_command {
	char name[64];
	json_int_t id;
};

struct monitor {
	int fd;			/* -1: closed */
	int passed_fd;		/* the last that came along, or -1 */
	char line[65536];	/* received, without its end */
	size_t line_size;
	struct monitor_command commands[MONITOR_COMMANDS];
	unsigned int head, tail;
	unsigned int properties;	/* of objects that were asked for */
	bool running;			/* the guest, as far as it was told */
	/* Called for each command as it comes; may be NULL. */
	void (*asked)(const char *name);
};

void monitor_open(struct monitor *monitor, int fd);
void monitor_close(struct monitor *monitor);
/* Takes in what the client has written. */
void monitor_listen(struct monitor *monitor);
void monitor_say(struct monitor *monitor, const char *text);
void monitor_greet(struct monitor *monitor);

enum monitor_answer {
	MONITOR_GOOD,		/* that of a QEMU whose VM can leave */
	MONITOR_RESULT,		/* any, out of the input */
	MONITOR_ERROR,		/* the same, as an error */
};

/* Answers the oldest command; false if there is none. */
bool monitor_answer(struct monitor *monitor, struct fuzz_input *input, enum monitor_answer how);

#endif /* YAB_TEST_MONITOR_H */

// SPDX-License-Identifier: GPL-2.0-or-later
#include "process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <unistd.h>

/* More than any command line of ours: what is behind it is not looked at. */
#define YAB_PROCESS_ARGUMENTS_MAX	(128 * 1024)
/* PF_EXITING of the kernel's flags, see proc_pid_stat(5): set before its files are closed. */
#define YAB_PROCESS_EXITING	0x4

/* Up to @size - 1 bytes and a NUL. How many, or -1 with errno. */
static ssize_t yab_process_read(const char *path, char *text, size_t size)
{
	size_t length = 0;
	ssize_t n = 0;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	while (length < size - 1) {
		n = read(fd, text + length, size - 1 - length);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		length += (size_t)n;
	}
	close(fd);
	text[length] = '\0';
	return n < 0 ? -1 : (ssize_t)length;
}

void yab_process_boot(char boot[YAB_PROCESS_BOOT_SIZE])
{
	if (yab_process_read("/proc/sys/kernel/random/boot_id", boot, YAB_PROCESS_BOOT_SIZE) < 0)
		boot[0] = '\0';
	boot[strcspn(boot, "\n")] = '\0';
}

void yab_process_machine(char machine[YAB_PROCESS_MACHINE_SIZE])
{
	if (yab_process_read("/etc/machine-id", machine, YAB_PROCESS_MACHINE_SIZE) < 0)
		machine[0] = '\0';
	machine[strcspn(machine, "\n")] = '\0';
	if (!machine[0])
		snprintf(machine, YAB_PROCESS_MACHINE_SIZE, "-");
}

/*
 * The process @pid and its flags as they are now; all zero, with errno, if there is none or it
 * has ended.
 */
static struct yab_process yab_process_look(pid_t pid, unsigned int *flags)
{
	const struct yab_process none = { .pid = 0 };
	struct yab_process process = { .pid = pid };
	char path[64], text[1024], *end;
	unsigned long long start;
	char state;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (pid <= 0 || yab_process_read(path, text, sizeof(text)) < 0)
		return none;
	/* The second field, the name in parentheses, may contain anything. */
	end = strrchr(text, ')');
	if (!end || sscanf(end + 1,
			   " %c %*d %*d %*d %*d %*d %u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
			   &state, flags, &start) != 3 || state == 'Z' || state == 'X')
		return none;
	process.start = start;
	return process;
}

struct yab_process yab_process_of(pid_t pid)
{
	unsigned int flags;

	return yab_process_look(pid, &flags);
}

/* For want of a descriptor or of memory nobody is dead. */
static bool yab_process_is_hidden(const struct yab_process *process)
{
	return process->pid > 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM);
}

bool yab_process_lives(const struct yab_process *process)
{
	struct yab_process now;

	errno = 0;
	now = yab_process_of(process->pid);
	if (now.pid)
		return now.start == process->start;
	return yab_process_is_hidden(process);
}

bool yab_process_ends(const struct yab_process *process)
{
	struct yab_process now;
	unsigned int flags;

	errno = 0;
	now = yab_process_look(process->pid, &flags);
	if (now.pid)
		return now.start != process->start || flags & YAB_PROCESS_EXITING;
	return process->pid > 0 && !yab_process_is_hidden(process);
}

int yab_process_open(const struct yab_process *process)
{
	int fd = -1;

	if (process->pid > 0)
		fd = pidfd_open(process->pid, 0);
	else
		errno = ESRCH;
	if (fd < 0)
		return -1;
	/* Looked at only now: from here on the number cannot become another's unseen. */
	if (yab_process_lives(process))
		return fd;
	close(fd);
	errno = ESRCH;
	return -1;
}

int yab_process_kill(const struct yab_process *process)
{
	const int fd = yab_process_open(process);
	int result, error;

	if (fd < 0)
		return -1;
	result = pidfd_send_signal(fd, SIGKILL, NULL, 0);
	error = errno;
	close(fd);
	errno = error;
	return result;
}

/* Arguments are ended by a NUL each. */
static bool yab_process_has_argument(const char *arguments, size_t length, const char *text)
{
	for (size_t at = 0; at < length; at += strlen(arguments + at) + 1)
		if (strstr(arguments + at, text))
			return true;
	return false;
}

struct yab_process yab_process_find(const char *text)
{
	char *arguments = malloc(YAB_PROCESS_ARGUMENTS_MAX);
	struct yab_process found = { .pid = 0 };
	DIR *folder = opendir("/proc");
	struct dirent *entry;
	struct stat owner;
	char path[300];
	ssize_t length;

	while (arguments && folder && !found.pid && (entry = readdir(folder))) {
		if (entry->d_name[0] < '1' || entry->d_name[0] > '9')
			continue;
		/* Anybody may start something that is called like ours. */
		if (fstatat(dirfd(folder), entry->d_name, &owner, 0) < 0 ||
		    owner.st_uid != geteuid())
			continue;
		snprintf(path, sizeof(path), "/proc/%s/cmdline", entry->d_name);
		length = yab_process_read(path, arguments, YAB_PROCESS_ARGUMENTS_MAX);
		if (length > 0 && yab_process_has_argument(arguments, (size_t)length, text))
			found = yab_process_of((pid_t)strtol(entry->d_name, NULL, 10));
	}
	if (folder)
		closedir(folder);
	free(arguments);
	return found;
}

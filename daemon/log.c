// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include <event2/event.h>

#include "log.h"

/*
 * A line is one write(), so that lines of several processes do not mix. A pipe takes up
 * to PIPE_BUF bytes as a whole or not at all.
 */
#define YAB_LOG_LINE_MAX	1024

#if YAB_LOG_LINE_MAX > PIPE_BUF
#error "a line does not go into a pipe as a whole"
#endif

/* What writing must look out for. */
enum yab_log_kind {
	YAB_LOG_PLAIN,		/* a file: takes what it is given, or fails */
	YAB_LOG_NONBLOCK,	/* an open file of our own, with O_NONBLOCK */
	YAB_LOG_SOCKET,
	YAB_LOG_POLLED,		/* shared with others, for whom O_NONBLOCK must not be set */
	YAB_LOG_CLOSED,
};

static const char * const yab_log_levels[] = {
	[LOG_ERR] = "error",
	[LOG_WARNING] = "warning",
	[LOG_INFO] = "info",
	[LOG_DEBUG] = "debug",
};

static struct {
	const char *program;
	int fd;
	enum yab_log_kind kind;
	bool journal;
	bool debugging;
	bool torn;		/* the last line went out in part */
	uint64_t lost;
	uint64_t lost_told;
	LIST_HEAD(, yab_log_session) sessions;
} yab_log = {
	.program = "yabusamed",
	.fd = STDERR_FILENO,
	.kind = YAB_LOG_POLLED,
};

/*
 * Part of what is logged comes from the other host (an ERROR's text): it must
 * neither start a line of its own nor drive a terminal.
 */
static void yab_log_tame(char *text, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
			text[i] = '?';
}

/* Writes it now or not at all. False: it is lost. */
static bool yab_log_put(const char *text, size_t length)
{
	struct pollfd room = { .fd = yab_log.fd, .events = POLLOUT };
	ssize_t n = -1;

	switch (yab_log.kind) {
	case YAB_LOG_PLAIN:
	case YAB_LOG_NONBLOCK:
		n = write(yab_log.fd, text, length);
		break;
	case YAB_LOG_SOCKET:
		n = send(yab_log.fd, text, length, MSG_DONTWAIT | MSG_NOSIGNAL);
		break;
	case YAB_LOG_POLLED:
		/* Another process may take the room meanwhile: the best there is. */
		if (poll(&room, 1, 0) == 1)
			n = write(yab_log.fd, text, length);
		break;
	case YAB_LOG_CLOSED:
		break;
	}
	if (n < 0)
		return false;
	/* A stream that is nearly full: the rest of the line is gone. */
	yab_log.torn = (size_t)n < length;
	return !yab_log.torn;
}

static size_t yab_log_begin(char line[YAB_LOG_LINE_MAX], int level, const char *vm)
{
	const char *session = yab_log_session_of(vm);
	char priority[8] = "";
	int n;

	if (yab_log.journal)
		snprintf(priority, sizeof(priority), "<%d>", level);
	n = snprintf(line, YAB_LOG_LINE_MAX, "%s%s%s[%ld] %s%s%s%s%s: ", yab_log.torn ? "\n" : "",
		     priority, yab_log.program, (long)getpid(), yab_log_levels[level],
		     vm ? " " : "", vm ? vm : "", session ? " " : "", session ? session : "");
	if (n < 0)
		n = 0;
	return n < YAB_LOG_LINE_MAX ? (size_t)n : YAB_LOG_LINE_MAX - 1;
}

static bool yab_log_line(int level, const char *vm, const char *format, va_list args)
{
	char line[YAB_LOG_LINE_MAX];
	const bool torn = yab_log.torn;
	size_t length = yab_log_begin(line, level, vm);
	int n;

	n = vsnprintf(line + length, sizeof(line) - length, format, args);
	if (n > 0)
		length += (size_t)n;
	if (length > sizeof(line) - 1)
		length = sizeof(line) - 1;
	yab_log_tame(line + torn, length - torn);
	line[length++] = '\n';
	return yab_log_put(line, length);
}

static bool __attribute__((format(printf, 2, 3))) yab_log_note(int level, const char *format, ...)
{
	va_list args;
	bool taken;

	va_start(args, format);
	taken = yab_log_line(level, NULL, format, args);
	va_end(args);
	return taken;
}

static void yab_log_write(int level, const char *vm, const char *format, va_list args)
{
	const uint64_t lost = yab_log.lost - yab_log.lost_told;
	const int error = errno;	/* callers log first and look at errno later */

	if (lost && yab_log_note(LOG_WARNING, "%llu lines of this log were lost: nobody took them",
				 (unsigned long long)lost))
		yab_log.lost_told = yab_log.lost;
	if (!yab_log_line(level, vm, format, args))
		yab_log.lost++;
	errno = error;
}

static void yab_log_libevent(int severity, const char *message)
{
	switch (severity) {
	case EVENT_LOG_DEBUG:
		yab_log_debug(NULL, "libevent: %s", message);
		break;
	case EVENT_LOG_MSG:
		yab_log_info(NULL, "libevent: %s", message);
		break;
	case EVENT_LOG_WARN:
		yab_log_warn(NULL, "libevent: %s", message);
		break;
	default:
		yab_log_error(NULL, "libevent: %s", message);
		break;
	}
}

/* As systemd.exec(5) says: its device and inode, if stderr is the journal's. */
static bool yab_log_is_journal(const struct stat *st)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	char end;

	return stream && sscanf(stream, "%llu:%llu%c", &device, &inode, &end) == 2 &&
	       device == st->st_dev && inode == st->st_ino;
}

void yab_log_open(const char *program)
{
	struct stat st;
	int fd;

	yab_log.program = program;
	event_set_log_callback(yab_log_libevent);
	yab_log.kind = YAB_LOG_CLOSED;
	/* The number may be another file's soon. */
	if (fstat(STDERR_FILENO, &st) < 0)
		return;
	yab_log.journal = yab_log_is_journal(&st);
	if (S_ISSOCK(st.st_mode)) {
		yab_log.kind = YAB_LOG_SOCKET;
	} else if (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode)) {
		/*
		 * The flags of stderr belong to everybody who has it from the same
		 * parent, so it is opened once more. (Sockets cannot be.)
		 */
		fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
		yab_log.kind = fd < 0 ? YAB_LOG_POLLED : YAB_LOG_NONBLOCK;
		yab_log.fd = fd < 0 ? STDERR_FILENO : fd;
	} else {
		yab_log.kind = YAB_LOG_PLAIN;
	}
}

void yab_log_set_debug(bool debug)
{
	yab_log.debugging = debug;
}

bool yab_log_is_debug(void)
{
	return yab_log.debugging;
}

uint64_t yab_log_lost(void)
{
	return yab_log.lost;
}

void yab_log_session_name(char name[YAB_LOG_SESSION_SIZE])
{
	uint32_t number;

	name[0] = '\0';
	if (getrandom(&number, sizeof(number), 0) == sizeof(number))
		snprintf(name, YAB_LOG_SESSION_SIZE, "%08x", number);
}

void yab_log_session_begin(struct yab_log_session *session, const char *vm, const char *name)
{
	if (session->vm || !vm || !name || strlen(name) != sizeof(session->name) - 1 ||
	    strspn(name, "0123456789abcdef") != sizeof(session->name) - 1)
		return;
	session->vm = vm;
	memcpy(session->name, name, sizeof(session->name));
	LIST_INSERT_HEAD(&yab_log.sessions, session, link);
}

void yab_log_session_end(struct yab_log_session *session)
{
	if (!session->vm)
		return;
	LIST_REMOVE(session, link);
	session->vm = NULL;
}

const char *yab_log_session_of(const char *vm)
{
	const struct yab_log_session *session;

	LIST_FOREACH(session, &yab_log.sessions, link)
		if (vm && !strcmp(session->vm, vm))
			return session->name;
	return NULL;
}

void yab_log_error(const char *vm, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	yab_log_write(LOG_ERR, vm, format, args);
	va_end(args);
}

void yab_log_warn(const char *vm, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	yab_log_write(LOG_WARNING, vm, format, args);
	va_end(args);
}

void yab_log_info(const char *vm, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	yab_log_write(LOG_INFO, vm, format, args);
	va_end(args);
}

void yab_log_debug(const char *vm, const char *format, ...)
{
	va_list args;

	if (!yab_log.debugging)
		return;
	va_start(args, format);
	yab_log_write(LOG_DEBUG, vm, format, args);
	va_end(args);
}

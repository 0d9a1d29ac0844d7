// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "log.h"

/* A line is one write(), so that lines of several processes do not mix. */
#define YAB_LOG_LINE_MAX	1024

static bool yab_log_debugging;
static const char *yab_log_program = "yabusamed";

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

static void yab_log_write(const char *level, const char *vm, const char *format, va_list args)
{
	const int error = errno;	/* callers log first and look at errno later */
	char line[YAB_LOG_LINE_MAX];
	size_t length;
	int n;

	n = snprintf(line, sizeof(line), "%s[%ld] %s%s%s: ", yab_log_program, (long)getpid(), level,
		     vm ? " " : "", vm ? vm : "");
	if (n < 0)
		n = 0;
	length = (size_t)n;
	if (length < sizeof(line)) {
		n = vsnprintf(line + length, sizeof(line) - length, format, args);
		if (n > 0)
			length += (size_t)n;
	}
	if (length > sizeof(line) - 1)
		length = sizeof(line) - 1;
	yab_log_tame(line, length);
	line[length++] = '\n';
	/* A log that nobody takes is no reason to stop serving pages. */
	if (write(STDERR_FILENO, line, length) < 0)
		errno = error;
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

void yab_log_set_debug(bool debug)
{
	yab_log_debugging = debug;
}

void yab_log_open(const char *program)
{
	yab_log_program = program;
	event_set_log_callback(yab_log_libevent);
}

void yab_log_error(const char *vm, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	yab_log_write("error", vm, format, args);
	va_end(args);
}

void yab_log_warn(const char *vm, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	yab_log_write("warning", vm, format, args);
	va_end(args);
}

void yab_log_info(const char *vm, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	yab_log_write("info", vm, format, args);
	va_end(args);
}

void yab_log_debug(const char *vm, const char *format, ...)
{
	va_list args;

	if (!yab_log_debugging)
		return;
	va_start(args, format);
	yab_log_write("debug", vm, format, args);
	va_end(args);
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* The log: what a line has, and that none ever waits. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../daemon/log.h"
#include "script.h"

/* What stderr may be. */
enum kind {
	PIPE,
	SOCKET,
	TERMINAL,
	PIPE_OF_OTHERS,		/* before yab_log_open(), or where that cannot open it anew */
	KINDS,
};

static int reader;
static char text[1 << 20];
static size_t text_size;

/* Makes stderr of @kind; what goes there comes out of the reader. */
static void redirect(enum kind kind)
{
	int ends[2];

	if (kind == SOCKET) {
		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	} else if (kind == TERMINAL) {
		ends[0] = posix_openpt(O_RDWR | O_NOCTTY);
		ck_assert_int_ge(ends[0], 0);
		ck_assert_int_eq(grantpt(ends[0]), 0);
		ck_assert_int_eq(unlockpt(ends[0]), 0);
		ends[1] = open(ptsname(ends[0]), O_RDWR | O_NOCTTY);
		ck_assert_int_ge(ends[1], 0);
	} else {
		ck_assert_int_eq(pipe(ends), 0);
	}
	reader = ends[0];
	ck_assert_int_eq(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
	close(ends[1]);
	ck_assert_int_eq(fcntl(reader, F_SETFL, O_NONBLOCK), 0);
}

/* All that there is to read now. */
static void drain(void)
{
	ssize_t n;

	text_size = 0;
	while ((n = read(reader, text + text_size, sizeof(text) - 1 - text_size)) > 0)
		text_size += (size_t)n;
	ck_assert_int_eq(errno, EAGAIN);
	text[text_size] = '\0';
}

/* Takes the next line off. */
static char *next_line(char **rest)
{
	char *line = strsep(rest, "\n");

	if (line && *line && line[strlen(line) - 1] == '\r')
		line[strlen(line) - 1] = '\0';
	return line;
}

static void expect(const char *want)
{
	char line[2048];

	drain();
	snprintf(line, sizeof(line), "%s\n", want);
	ck_assert_str_eq(text, line);
}

START_TEST(never_waits)
{
	const enum kind kind = _i;
	uint64_t lost, lines = 0;
	char want[128], *rest = text, *line;
	bool torn;

	redirect(kind);
	if (kind != PIPE_OF_OTHERS)
		yab_log_open("yabusamed");
	/* Whoever has stderr from the same parent is not to find it non-blocking. */
	ck_assert_int_eq(fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK, 0);
	while (yab_log_lost() < 3) {
		errno = EXDEV;
		yab_log_info("vm1", "line %llu of many, and some more text to fill the room with",
			     (unsigned long long)lines++);
		ck_assert_int_eq(errno, EXDEV);
	}
	lost = yab_log_lost();
	drain();
	ck_assert_uint_gt(text_size, 1000);
	torn = text[text_size - 1] != '\n';
	ck_assert(kind == TERMINAL || !torn);

	/* Room again: how many are missing comes first, once. */
	yab_log_warn("vm1", "there is room");
	yab_log_warn("vm1", "still");
	drain();
	line = next_line(&rest);
	/* One that went out in part is ended first. */
	ck_assert_int_eq(!*line, torn);
	if (torn)
		line = next_line(&rest);
	snprintf(want, sizeof(want),
		 "yabusamed[%ld] warning: %llu lines of this log were lost: nobody took them",
		 (long)getpid(), (unsigned long long)lost);
	ck_assert_str_eq(line, want);
	snprintf(want, sizeof(want), "yabusamed[%ld] warning vm1: there is room", (long)getpid());
	ck_assert_str_eq(next_line(&rest), want);
	snprintf(want, sizeof(want), "yabusamed[%ld] warning vm1: still", (long)getpid());
	ck_assert_str_eq(next_line(&rest), want);
	ck_assert_str_eq(rest, "");
	ck_assert_uint_eq(yab_log_lost(), lost);
}
END_TEST

START_TEST(nobody_reads)
{
	redirect(_i);
	yab_log_open("yabusamed");
	close(reader);
	yab_log_error(NULL, "lost");
	if (_i != TERMINAL)
		ck_assert_uint_eq(yab_log_lost(), 1);
}
END_TEST

/* Its number may be another file's later. */
START_TEST(no_stderr)
{
	int ends[2];

	close(STDERR_FILENO);
	yab_log_open("yabusamed");
	ck_assert_int_eq(pipe(ends), 0);
	if (ends[1] != STDERR_FILENO)
		ck_assert_int_eq(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
	yab_log_error(NULL, "lost");
	ck_assert_int_eq(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
	ck_assert_int_eq(read(ends[0], text, sizeof(text)), -1);
	ck_assert_uint_eq(yab_log_lost(), 1);
}
END_TEST

START_TEST(journal)
{
	char stream[64], want[64];
	struct stat st;

	redirect(PIPE);
	ck_assert_int_eq(fstat(STDERR_FILENO, &st), 0);
	snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev,
		 (unsigned long long)st.st_ino + (_i == 1));
	setenv("JOURNAL_STREAM", _i == 2 ? "nonsense" : stream, 1);
	yab_log_open("yabusamed");
	yab_log_error("vm1", "one");
	snprintf(want, sizeof(want), "%syabusamed[%ld] error vm1: one", _i ? "" : "<3>",
		 (long)getpid());
	expect(want);
	yab_log_set_debug(true);
	yab_log_debug(NULL, "two\nlines\033[0m");
	snprintf(want, sizeof(want), "%syabusamed[%ld] debug: two?lines?[0m", _i ? "" : "<7>",
		 (long)getpid());
	expect(want);
}
END_TEST

START_TEST(sessions)
{
	struct yab_log_session first = { .vm = NULL }, second = first, bad = first;
	char want[64], name[YAB_LOG_SESSION_SIZE];

	redirect(PIPE);
	yab_log_open("yabusamed");
	yab_log_session_name(name);
	yab_log_session_begin(&first, "vm1", name);
	ck_assert_str_eq(yab_log_session_of("vm1"), name);
	yab_log_session_begin(&bad, "vm1", "0123456789abcdef");
	yab_log_session_begin(&bad, "vm1", "0123456");
	yab_log_session_begin(&bad, "vm1", "0123456X");
	yab_log_session_begin(&bad, "vm1", "0123456\n");
	yab_log_session_begin(&bad, "vm1", NULL);
	yab_log_session_begin(&bad, NULL, name);
	yab_log_session_end(&bad);
	ck_assert_str_eq(yab_log_session_of("vm1"), name);
	ck_assert_ptr_null(yab_log_session_of("vm2"));
	ck_assert_ptr_null(yab_log_session_of(NULL));

	yab_log_session_begin(&second, "vm1", "0123abcd");
	yab_log_info("vm1", "text");
	snprintf(want, sizeof(want), "yabusamed[%ld] info vm1 0123abcd: text", (long)getpid());
	expect(want);
	yab_log_session_end(&second);
	yab_log_session_end(&second);
	ck_assert_str_eq(yab_log_session_of("vm1"), name);
	yab_log_session_end(&first);
	yab_log_info("vm1", "text");
	snprintf(want, sizeof(want), "yabusamed[%ld] info vm1: text", (long)getpid());
	expect(want);
}
END_TEST

/* A line is bounded, whatever goes into it. */
START_TEST(long_lines)
{
	static char much[5000];

	memset(much, 'x', sizeof(much) - 1);
	redirect(PIPE);
	yab_log_open("yabusamed");
	yab_log_info("vm1", "%s", much);
	drain();
	ck_assert_uint_le(text_size, 1024);
	ck_assert_uint_gt(text_size, 1000);
	ck_assert_int_eq(text[text_size - 1], '\n');
	yab_log_info(much, "x");
	drain();
	ck_assert_uint_le(text_size, 1024);
	ck_assert_ptr_eq(strchr(text, '\n'), text + text_size - 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("log");
	TCase *tcase = tcase_create("log");

	signal(SIGPIPE, SIG_IGN);
	tcase_add_loop_test(tcase, never_waits, 0, KINDS);
	tcase_add_loop_test(tcase, nobody_reads, 0, PIPE_OF_OTHERS);
	tcase_add_test(tcase, no_stderr);
	tcase_add_loop_test(tcase, journal, 0, 3);
	tcase_add_test(tcase, sessions);
	tcase_add_test(tcase, long_lines);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* The QMP client against a QEMU that is played line by line. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../daemon/log.h"
#include "../../daemon/qmp.h"
#include "script.h"

#define GREETING	"{\"QMP\": {\"version\": {}, \"capabilities\": [\"oob\"]}}\r\n"

/* What the client told its owner, in order, as words. */
struct monitor {
	struct event_base *base;
	struct yab_qmp *qmp;
	int qemu;		/* QEMU's end */
	char said[1024];
	bool free_on_answer;
};

static void say(struct monitor *monitor, const char *word, const char *more)
{
	size_t used = strlen(monitor->said);

	snprintf(monitor->said + used, sizeof(monitor->said) - used, "%s%s%s;", word,
		 more ? ":" : "", more ? more : "");
}

static void on_ready(void *arg)
{
	say(arg, "ready", NULL);
}

static void on_event(const char *name, json_t *data, void *arg)
{
	(void)data;
	say(arg, "event", name);
}

static void on_lost(const char *error, void *arg)
{
	struct monitor *monitor = arg;

	say(monitor, "lost", error);
	yab_qmp_free(monitor->qmp);
	monitor->qmp = NULL;
}

static const struct yab_qmp_ops ops = {
	.ready = on_ready,
	.event = on_event,
	.lost = on_lost,
};

static void on_answer(json_t *result, const char *error, void *arg)
{
	struct monitor *monitor = arg;
	char *text = result ? json_dumps(result, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;

	say(monitor, error ? "error" : "answer", error ? error : text);
	free(text);
	if (monitor->free_on_answer) {
		yab_qmp_free(monitor->qmp);
		monitor->qmp = NULL;
	}
}

static void play(struct monitor *monitor, const char *line)
{
	size_t length = strlen(line), done = 0;

	/* More than a socket's buffer: the client reads in between. */
	while (done < length) {
		ssize_t sent = send(monitor->qemu, line + done, length - done,
				    MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent > 0)
			done += (size_t)sent;
		else if (!monitor->qmp)
			return;
		script_settle(monitor->base);
	}
}

/* What the client wrote; the descriptor that came along, if any, in @fd. */
static const char *heard(struct monitor *monitor, int *fd)
{
	static char text[4096];
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec part = { text, sizeof(text) - 1 };
	struct msghdr header = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control),
	};
	ssize_t got;

	script_settle(monitor->base);
	got = recvmsg(monitor->qemu, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	text[got > 0 ? got : 0] = '\0';
	if (fd)
		*fd = -1;
	if (fd && got > 0 && CMSG_FIRSTHDR(&header))
		memcpy(fd, CMSG_DATA(CMSG_FIRSTHDR(&header)), sizeof(int));
	return text;
}

static void start(struct monitor *monitor, bool negotiate)
{
	int pair[2];

	memset(monitor, 0, sizeof(*monitor));
	monitor->base = script_base();
	script_pair(&pair[0], &pair[1]);
	monitor->qemu = pair[0];
	monitor->qmp = yab_qmp_new(monitor->base, pair[1], "vm1", &ops, monitor);
	ck_assert_ptr_nonnull(monitor->qmp);
	if (!negotiate)
		return;
	play(monitor, GREETING);
	ck_assert(strstr(heard(monitor, NULL), "\"qmp_capabilities\""));
	play(monitor, "{\"return\": {}, \"id\": 0}\r\n");
	script_settle(monitor->base);
	ck_assert_str_eq(monitor->said, "ready;");
	monitor->said[0] = '\0';
}

static void stop(struct monitor *monitor)
{
	yab_qmp_free(monitor->qmp);
	close(monitor->qemu);
	event_base_free(monitor->base);
}

static void ask(struct monitor *monitor, const char *command)
{
	ck_assert_int_eq(yab_qmp_call(monitor->qmp, command, NULL, -1, on_answer, monitor), 0);
}

START_TEST(not_before_ready)
{
	struct monitor monitor;

	start(&monitor, false);
	ck_assert_int_eq(yab_qmp_call(monitor.qmp, "stop", NULL, -1, on_answer, &monitor), -1);
	play(&monitor, GREETING);
	ck_assert_int_eq(yab_qmp_call(monitor.qmp, "stop", NULL, -1, on_answer, &monitor), -1);
	stop(&monitor);
}
END_TEST

START_TEST(answers_and_events)
{
	struct monitor monitor;

	start(&monitor, true);
	ask(&monitor, "query-status");
	ask(&monitor, "query-uuid");
	ck_assert_str_eq(heard(&monitor, NULL),
			 "{\"execute\":\"query-status\",\"id\":1}\n"
			 "{\"execute\":\"query-uuid\",\"id\":2}\n");
	/* In pieces, with events between and answers out of order. */
	play(&monitor, "{\"event\": \"STOP\", \"timest");
	play(&monitor, "amp\": {}}\r\n{\"return\": 2, \"id\": 2}\r\n");
	play(&monitor, "{\"event\": \"RESUME\"}\r\n{\"return\": {\"a\": 1}, \"id\": 1}\r\n");
	ck_assert_str_eq(monitor.said, "event:STOP;answer:2;event:RESUME;answer:{\"a\":1};");
	/* What nobody waits for is no answer to anything. */
	play(&monitor, "{\"return\": {}, \"id\": 1}\r\n{\"return\": {}}\r\n\r\n");
	ck_assert_str_eq(monitor.said, "event:STOP;answer:2;event:RESUME;answer:{\"a\":1};");
	stop(&monitor);
}
END_TEST

START_TEST(refusals)
{
	struct monitor monitor;

	start(&monitor, true);
	ask(&monitor, "migrate");
	play(&monitor, "{\"error\": {\"class\": \"X\", \"desc\": \"no\\nway\\u001b\"}, \"id\": 1}\r\n");
	ck_assert_str_eq(monitor.said, "error:QEMU refused migrate: no way?;");
	stop(&monitor);
}
END_TEST

START_TEST(descriptors)
{
	struct monitor monitor;
	int pair[2], fd;
	char byte = 0;

	start(&monitor, true);
	script_pair(&pair[0], &pair[1]);
	ask(&monitor, "query-status");
	ck_assert_int_eq(yab_qmp_call(monitor.qmp, "getfd", NULL, pair[1], on_answer, &monitor), 0);
	close(pair[1]);
	/* A receive stops where a message with descriptors begins, or takes it in. */
	heard(&monitor, &fd);
	if (fd < 0)
		ck_assert(strstr(heard(&monitor, &fd), "getfd"));
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, "x", 1), 1);
	ck_assert_int_eq(read(pair[0], &byte, 1), 1);
	ck_assert_int_eq(byte, 'x');
	close(fd);
	close(pair[0]);
	stop(&monitor);
}
END_TEST

static const struct yab_qmp_step steps[] = {
	{ .command = "one", .fd = -1 }, { .command = "two", .fd = -1 },
	{ .command = "three", .fd = -1 },
};

START_TEST(sequence)
{
	struct monitor monitor;

	start(&monitor, true);
	ck_assert_int_eq(yab_qmp_run(monitor.qmp, steps, 3, on_answer, &monitor), 0);
	ck_assert(strstr(heard(&monitor, NULL), "\"one\""));
	ck_assert_str_eq(heard(&monitor, NULL), "");
	play(&monitor, "{\"return\": 1, \"id\": 1}\r\n");
	ck_assert(strstr(heard(&monitor, NULL), "\"two\""));
	play(&monitor, "{\"return\": 2, \"id\": 2}\r\n");
	ck_assert(strstr(heard(&monitor, NULL), "\"three\""));
	ck_assert_str_eq(monitor.said, "");
	play(&monitor, "{\"return\": 3, \"id\": 3}\r\n");
	ck_assert_str_eq(monitor.said, "answer:[1,2,3];");
	stop(&monitor);
}
END_TEST

START_TEST(sequence_refused)
{
	struct monitor monitor;

	start(&monitor, true);
	ck_assert_int_eq(yab_qmp_run(monitor.qmp, steps, 3, on_answer, &monitor), 0);
	play(&monitor, "{\"return\": 1, \"id\": 1}\r\n");
	play(&monitor, "{\"error\": {\"desc\": \"bad\"}, \"id\": 2}\r\n");
	ck_assert_str_eq(monitor.said, "error:QEMU refused two: bad;");
	ck_assert_ptr_null(strstr(heard(&monitor, NULL), "\"three\""));
	stop(&monitor);
}
END_TEST

/* Whoever is called at the end of one knows that nothing from before it is under way. */
START_TEST(sequences_do_not_mix)
{
	struct monitor monitor;

	start(&monitor, true);
	ck_assert_int_eq(yab_qmp_run(monitor.qmp, steps, 2, on_answer, &monitor), 0);
	ck_assert_int_eq(yab_qmp_run(monitor.qmp, steps + 2, 1, on_answer, &monitor), 0);
	ck_assert_ptr_null(strstr(heard(&monitor, NULL), "\"three\""));
	play(&monitor, "{\"return\": 1, \"id\": 1}\r\n");
	ck_assert_ptr_null(strstr(heard(&monitor, NULL), "\"three\""));
	play(&monitor, "{\"return\": 2, \"id\": 2}\r\n");
	ck_assert_str_eq(monitor.said, "answer:[1,2];");
	ck_assert(strstr(heard(&monitor, NULL), "\"three\""));
	play(&monitor, "{\"return\": 3, \"id\": 3}\r\n");
	ck_assert_str_eq(monitor.said, "answer:[1,2];answer:[3];");
	stop(&monitor);
}
END_TEST

/* The connection ends: every pending call fails, then the owner hears of it. */
START_TEST(lost)
{
	struct monitor monitor;

	start(&monitor, true);
	ask(&monitor, "a");
	ask(&monitor, "b");
	ck_assert_int_eq(yab_qmp_run(monitor.qmp, steps, 3, on_answer, &monitor), 0);
	heard(&monitor, NULL);
	play(&monitor, "{\"event\": \"SHUTDOWN\"}\r\n");
	shutdown(monitor.qemu, SHUT_RDWR);
	script_settle(monitor.base);
	ck_assert_str_eq(monitor.said,
			 "event:SHUTDOWN;error:QEMU's monitor closed;error:QEMU's monitor closed;"
			 "error:QEMU's monitor closed;lost:QEMU's monitor closed;");
	ck_assert_ptr_null(monitor.qmp);
	stop(&monitor);
}
END_TEST

/* What was written before the end counts. */
START_TEST(drained)
{
	struct monitor monitor;
	static const char last[] = "{\"event\": \"RESUME\"}\r\n{\"return\": 1, \"id\": 1}\r\n";

	start(&monitor, true);
	ask(&monitor, "cont");
	heard(&monitor, NULL);
	ck_assert_int_eq(write(monitor.qemu, last, strlen(last)), (int)strlen(last));
	shutdown(monitor.qemu, SHUT_WR);
	yab_qmp_drain(monitor.qmp);
	ck_assert_str_eq(monitor.said, "event:RESUME;answer:1;lost:QEMU's monitor closed;");
	stop(&monitor);
}
END_TEST

START_TEST(freed_in_callback)
{
	struct monitor monitor;

	start(&monitor, true);
	ask(&monitor, "a");
	ask(&monitor, "b");
	heard(&monitor, NULL);
	monitor.free_on_answer = true;
	play(&monitor, "{\"return\": 1, \"id\": 1}\r\n{\"return\": 2, \"id\": 2}\r\n");
	ck_assert_str_eq(monitor.said, "answer:1;");
	stop(&monitor);
}
END_TEST

static const char *const garbage[] = {
	"SSH-2.0-x\r\n", "{}\r\n", "[]\r\n", "{\"QMP\"\r\n", "\xff\xfe\r\n",
};

START_TEST(not_qmp)
{
	struct monitor monitor;

	start(&monitor, false);
	play(&monitor, garbage[_i]);
	script_settle(monitor.base);
	ck_assert_str_eq(monitor.said, "lost:QEMU's monitor does not speak QMP;");
	stop(&monitor);
}
END_TEST

START_TEST(garbage_later)
{
	struct monitor monitor;

	start(&monitor, true);
	ask(&monitor, "a");
	play(&monitor, "null\r\n");
	ck_assert_str_eq(monitor.said, "error:QEMU's monitor does not speak QMP;"
			 "lost:QEMU's monitor does not speak QMP;");
	stop(&monitor);
}
END_TEST

START_TEST(long_lines)
{
	char *line = malloc(YAB_QMP_LINE_MAX + 200000);
	struct monitor monitor;

	/* One that is allowed. */
	start(&monitor, true);
	memset(line, ' ', YAB_QMP_LINE_MAX);
	snprintf(line + YAB_QMP_LINE_MAX - 100, 100, "{\"event\": \"LONG\"}\r\n");
	play(&monitor, line);
	ck_assert_str_eq(monitor.said, "event:LONG;");
	/* One that never ends. */
	monitor.said[0] = '\0';
	memset(line, ' ', YAB_QMP_LINE_MAX + 199999);
	line[YAB_QMP_LINE_MAX + 199999] = '\0';
	play(&monitor, line);
	ck_assert_str_eq(monitor.said, "lost:QEMU's monitor sent a line that is too long;");
	stop(&monitor);
	free(line);
}
END_TEST

/* The loop waits for the timer alone: nothing else can come. */
START_TEST(no_answer)
{
	struct monitor monitor;

	start(&monitor, true);
	yab_qmp_set_timeout(monitor.qmp, 1);
	ask(&monitor, "stop");
	while (!monitor.said[0])
		event_base_loop(monitor.base, EVLOOP_ONCE);
	ck_assert_str_eq(monitor.said, "error:QEMU gave no answer to stop for 0 seconds;");
	/* Too late, and then things go on. */
	play(&monitor, "{\"return\": {}, \"id\": 1}\r\n");
	yab_qmp_set_timeout(monitor.qmp, 60000);
	ask(&monitor, "cont");
	play(&monitor, "{\"return\": {}, \"id\": 2}\r\n");
	ck_assert_str_eq(monitor.said,
			 "error:QEMU gave no answer to stop for 0 seconds;answer:{};");
	stop(&monitor);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("qmp");
	TCase *tcase = tcase_create("qmp");

	tcase_add_test(tcase, not_before_ready);
	tcase_add_test(tcase, answers_and_events);
	tcase_add_test(tcase, refusals);
	tcase_add_test(tcase, descriptors);
	tcase_add_test(tcase, sequence);
	tcase_add_test(tcase, sequence_refused);
	tcase_add_test(tcase, sequences_do_not_mix);
	tcase_add_test(tcase, lost);
	tcase_add_test(tcase, drained);
	tcase_add_test(tcase, freed_in_callback);
	tcase_add_loop_test(tcase, not_qmp, 0, 5);
	tcase_add_test(tcase, garbage_later);
	tcase_add_test(tcase, long_lines);
	tcase_add_test(tcase, no_answer);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}

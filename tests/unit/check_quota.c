// SPDX-License-Identifier: GPL-2.0-or-later
/* Hosts by their addresses, who makes room for whom, and how much is logged. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../daemon/calls.h"
#include "../../daemon/complaint.h"
#include "../../daemon/listener.h"
#include "../../daemon/quota.h"
#include "script.h"

static struct yab_origin origin_of(const char *host, uint16_t port)
{
	struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	struct sockaddr_in four = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct yab_origin origin;

	if (inet_pton(AF_INET, host, &four.sin_addr) == 1) {
		yab_origin_init(&origin, (struct sockaddr *)&four, sizeof(four));
	} else {
		ck_assert_int_eq(inet_pton(AF_INET6, host, &six.sin6_addr), 1);
		yab_origin_init(&origin, (struct sockaddr *)&six, sizeof(six));
	}
	return origin;
}

static bool is_same(const char *a, const char *b)
{
	const struct yab_origin one = origin_of(a, 1), other = origin_of(b, 2);

	return yab_origin_is_same(&one, &other);
}

START_TEST(hosts)
{
	ck_assert(is_same("192.0.2.1", "192.0.2.1"));
	ck_assert(!is_same("192.0.2.1", "192.0.2.2"));
	ck_assert(is_same("::ffff:192.0.2.1", "192.0.2.1"));
	ck_assert(!is_same("::ffff:192.0.2.1", "::ffff:192.0.2.2"));
	ck_assert(is_same("2001:db8:1:2:3::1", "2001:db8:1:2:4::2"));
	ck_assert(!is_same("2001:db8:1:2::1", "2001:db8:1:3::1"));
	/* Those bytes as IPv6. */
	ck_assert(!is_same("c000:201::", "192.0.2.1"));
	ck_assert_str_eq(origin_of("192.0.2.1", 7).name, "192.0.2.1:7");
	ck_assert_str_eq(origin_of("2001:db8::1", 7).name, "[2001:db8::1]:7");
}
END_TEST

/* As many as there are, and none of them for another one. */
START_TEST(inside)
{
	const struct yab_origin here = { .is_inside = true }, there = origin_of("192.0.2.1", 1);
	struct yab_quota_member members[8], host;
	struct yab_quota quota;

	yab_quota_init(&quota, 4, 2);
	ck_assert(!yab_origin_is_same(&here, &here));
	for (int i = 0; i < 8; i++) {
		ck_assert_ptr_null(yab_quota_excess(&quota, &here));
		yab_quota_add(&quota, &members[i], &here, NULL);
	}
	ck_assert_ptr_null(yab_quota_excess(&quota, &there));
	yab_quota_add(&quota, &host, &there, NULL);
	ck_assert_uint_eq(quota.count, 1);
	for (int i = 0; i < 8; i++)
		yab_quota_remove(&quota, &members[i]);
	ck_assert_uint_eq(quota.count, 1);
	yab_quota_remove(&quota, &host);
	ck_assert_uint_eq(quota.count, 0);
}
END_TEST

START_TEST(oldest_of_the_same_host)
{
	const struct yab_origin here = origin_of("192.0.2.1", 1), there = origin_of("192.0.2.2", 1);
	struct yab_quota_member members[4];
	struct yab_quota quota;

	yab_quota_init(&quota, 10, 3);
	for (int i = 0; i < 3; i++) {
		ck_assert_ptr_null(yab_quota_excess(&quota, &here));
		yab_quota_add(&quota, &members[i], &here, NULL);
	}
	ck_assert_ptr_eq(yab_quota_excess(&quota, &here), &members[0]);
	ck_assert_ptr_null(yab_quota_excess(&quota, &there));
	yab_quota_remove(&quota, &members[1]);
	ck_assert_ptr_null(yab_quota_excess(&quota, &here));
	yab_quota_add(&quota, &members[3], &here, NULL);
	yab_quota_remove(&quota, &members[0]);
	yab_quota_add(&quota, &members[0], &here, NULL);
	ck_assert_ptr_eq(yab_quota_excess(&quota, &here), &members[2]);
	ck_assert_uint_eq(quota.count, 3);
}
END_TEST

/* One host with many makes room before hosts with few. */
START_TEST(oldest_of_the_greediest)
{
	const struct yab_origin few = origin_of("192.0.2.1", 1), many = origin_of("192.0.2.2", 1);
	const struct yab_origin other = origin_of("192.0.2.3", 1);
	const struct yab_origin another = origin_of("192.0.2.4", 1);
	const struct yab_origin last = origin_of("192.0.2.5", 1);
	struct yab_quota_member members[5];
	struct yab_quota quota;

	yab_quota_init(&quota, 4, 4);
	yab_quota_add(&quota, &members[0], &few, NULL);
	for (int i = 1; i < 4; i++)
		yab_quota_add(&quota, &members[i], &many, NULL);
	ck_assert_ptr_eq(yab_quota_excess(&quota, &other), &members[1]);
	ck_assert_ptr_eq(yab_quota_excess(&quota, &few), &members[1]);
	yab_quota_remove(&quota, &members[1]);
	yab_quota_remove(&quota, &members[2]);
	yab_quota_add(&quota, &members[1], &other, NULL);
	yab_quota_add(&quota, &members[2], &another, NULL);
	/* All have one: the oldest. */
	ck_assert_ptr_eq(yab_quota_excess(&quota, &last), &members[0]);
}
END_TEST

static int lines_of(const char *text)
{
	int lines = 0;

	for (; *text; text++)
		lines += *text == '\n';
	return lines;
}

static void complain_much(void *arg)
{
	struct event_base *base = script_base();
	struct yab_complaints *complaints = yab_complaints_new(base);
	struct yab_origin origin;
	char host[32];

	(void)arg;
	for (int i = 0; i < 1000; i++) {
		origin = origin_of("192.0.2.1", (uint16_t)i);
		yab_complain(complaints, &origin, "first %d", i);
	}
	origin = origin_of("192.0.2.2", 1);
	yab_complain(complaints, &origin, "second");
	/* More hosts than there is room for. */
	for (int i = 0; i < 1000; i++) {
		snprintf(host, sizeof(host), "198.51.%d.%d", i / 200, i % 200);
		origin = origin_of(host, 1);
		yab_complain(complaints, &origin, "third");
	}
	yab_complaints_free(complaints);
	event_base_free(base);
}

START_TEST(one_line_a_host)
{
	char *text = script_logged(complain_much, NULL);

	/* 64 hosts, one line for the rest, and what was counted of one and of the rest. */
	ck_assert_int_eq(lines_of(text), 64 + 1 + 2);
	ck_assert_ptr_nonnull(strstr(text, "first 0\n"));
	ck_assert_ptr_null(strstr(text, "first 1\n"));
	ck_assert_ptr_nonnull(strstr(text,
				     " 999 more complaints like that about the host of 192.0.2.1"));
	ck_assert_ptr_nonnull(strstr(text, "second\n"));
	free(text);
}
END_TEST

#define CROWD	50

/* What a source says first, and is answered. */
static void open_control(struct event_base *base, int fd)
{
	const struct yab_wire_hello hello = {
		.version = YAB_WIRE_VERSION, .role = YAB_WIRE_CONTROL,
	};
	uint8_t bytes[YAB_WIRE_HELLO_SIZE];

	yab_wire_hello_encode(bytes, &hello);
	script_send(fd, bytes, sizeof(bytes));
	script_settle(base);
	ck_assert_int_eq(recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT), sizeof(bytes));
}

/* @arg: the crowd says a hello, too, before it goes silent. */
static void crowd_of_callers(void *arg)
{
	struct yab_supervisor supervisor = { .base = script_base() };
	const struct yab_origin crowd = origin_of("192.0.2.1", 1);
	const struct yab_origin other = origin_of("192.0.2.2", 1);
	const bool talks = arg;
	char byte, error[512];
	int ours[CROWD], one, theirs;

	yab_callers_init(&supervisor);
	script_pair(&one, &theirs);
	ck_assert_int_eq(yab_caller_new(&supervisor, theirs, false, &other, &yab_calls, error,
					sizeof(error)), 0);
	open_control(supervisor.base, one);
	for (int i = 0; i < CROWD; i++) {
		script_pair(&ours[i], &theirs);
		ck_assert_int_eq(yab_caller_new(&supervisor, theirs, false, &crowd, &yab_calls,
						error, sizeof(error)), 0);
		if (talks)
			open_control(supervisor.base, ours[i]);
	}
	ck_assert_uint_eq(supervisor.callers.count, 1 + 8);
	script_settle(supervisor.base);
	/* The first ones were closed, the last ones and the other host's were not. */
	for (int i = 0; i < CROWD - 8; i++)
		ck_assert_int_eq(recv(ours[i], &byte, 1, MSG_DONTWAIT), 0);
	for (int i = CROWD - 8; i < CROWD; i++)
		script_expect_silence(ours[i]);
	script_expect_silence(one);
	/* Who breaks the protocol is told and counts until it is gone. */
	script_send_header(one, YAB_WIRE_STATE_END, 0, 0, 0);
	script_settle(supervisor.base);
	ck_assert_uint_eq(supervisor.callers.count, 1 + 8);
	ck_assert_int_gt(recv(one, &byte, 1, MSG_DONTWAIT), 0);
	close(one);
	for (int i = 0; i < CROWD - 1; i++)
		close(ours[i]);
	script_settle(supervisor.base);
	ck_assert_uint_eq(supervisor.callers.count, 1);
	yab_callers_free(&supervisor);
	ck_assert_uint_eq(supervisor.callers.count, 0);
	close(ours[CROWD - 1]);
	event_base_free(supervisor.base);
}

START_TEST(callers)
{
	char *text = script_logged(crowd_of_callers, _i ? "talks" : NULL);

	ck_assert_int_ge(lines_of(text), 1);
	free(text);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("quota");
	TCase *tcase = tcase_create("quota");

	tcase_add_test(tcase, hosts);
	tcase_add_test(tcase, inside);
	tcase_add_test(tcase, oldest_of_the_same_host);
	tcase_add_test(tcase, oldest_of_the_greediest);
	tcase_add_test(tcase, one_line_a_host);
	tcase_add_loop_test(tcase, callers, 0, 2);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}

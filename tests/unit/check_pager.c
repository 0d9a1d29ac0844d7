// SPDX-License-Identifier: GPL-2.0-or-later
/* What the destination worker asks for, of a source that is played, and for whom. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "pull.h"

/* Before the commit the bulk connection only helps out. */
START_TEST(sweeps_when_told)
{
	yab_pager_sweep(pull.pager, false);
	pull_connect(YAB_WIRE_BULK);
	script_expect_silence(pull.bulk);
	script_send(pull.kernel, &(struct yab_fault){ .page = 7, .time_ns = 1 },
		    sizeof(struct yab_fault));
	script_settle(pull.base);
	script_expect_request(pull.bulk, 7, 1);
	script_expect_silence(pull.bulk);
	script_send_pages(pull.bulk, 7, 1, SEED);
	script_settle(pull.base);
	yab_pager_sweep(pull.pager, true);
	script_settle(pull.base);
	pull_expect_window(8);
}
END_TEST

START_TEST(urgent_while_bulk_is_stuck)
{
	pull_connect(YAB_WIRE_URGENT);
	pull_connect(YAB_WIRE_BULK);
	pull_expect_window(0);
	script_expect_silence(pull.urgent);
	pull_fault(1000);
	script_settle(pull.base);
	script_expect_request(pull.urgent, 1000, 1);
	script_send_pages(pull.urgent, 1000, 1, SEED);
	script_settle(pull.base);
	pull_expect_declared(1000, 1);
	pull_expect_filled(1000, 1);
	ck_assert_uint_eq(pull.statistics->faults, 1);
	ck_assert_uint_eq(pull.statistics->urgent_pages, 1);
	ck_assert_uint_eq(pull.statistics->present, 1);
	ck_assert_uint_eq(yab_pager_latency(pull.pager, YAB_WAIT_FAULT)->count, 1);
	script_expect_silence(pull.bulk);
}
END_TEST

/* A page that is on its way in bulk is asked for again, once. */
START_TEST(asked_in_bulk_is_asked_again)
{
	pull_connect(YAB_WIRE_URGENT);
	pull_connect(YAB_WIRE_BULK);
	pull_expect_window(0);
	pull_fault(70);
	script_settle(pull.base);
	script_expect_request(pull.urgent, 70, 1);
	pull_fault(70);
	script_settle(pull.base);
	script_expect_silence(pull.urgent);
	ck_assert_uint_eq(pull.statistics->faults, 2);
	/* When it is here, it is not asked for at all. */
	script_send_pages(pull.urgent, 70, 1, SEED);
	script_settle(pull.base);
	pull_fault(70);
	script_settle(pull.base);
	script_expect_silence(pull.urgent);
}
END_TEST

START_TEST(window_moves_on)
{
	pull_connect(YAB_WIRE_BULK);
	pull_expect_window(0);
	/* Requests of one page for answers of one page would be wasteful. */
	script_send_pages(pull.bulk, 0, 32, SEED);
	script_settle(pull.base);
	script_expect_silence(pull.bulk);
	script_send_pages(pull.bulk, 32, 31, SEED);
	script_settle(pull.base);
	script_expect_silence(pull.bulk);
	script_send_pages(pull.bulk, 63, 1, SEED);
	script_settle(pull.base);
	script_expect_request(pull.bulk, WINDOW, RUN);
	script_expect_silence(pull.bulk);
}
END_TEST

START_TEST(sweep_follows_faults)
{
	pull_connect(YAB_WIRE_URGENT);
	pull_connect(YAB_WIRE_BULK);
	pull_expect_window(0);
	pull_fault(1000);
	pull_fault(PAGES - 10);
	script_settle(pull.base);
	script_expect_request(pull.urgent, 1000, 1);
	script_expect_request(pull.urgent, PAGES - 10, 1);
	for (uint64_t i = 0; i < 3; i++)
		script_send_header(pull.bulk, YAB_WIRE_ZERO, 0, i * RUN, RUN);
	script_settle(pull.base);
	/* Behind the last fault to the end, then round to what is missing first. */
	script_expect_request(pull.bulk, PAGES - 9, 9);
	script_expect_request(pull.bulk, WINDOW, RUN);
	pull_fault(990);
	script_settle(pull.base);
	script_expect_request(pull.urgent, 990, 1);
	script_send_header(pull.bulk, YAB_WIRE_ZERO, 0, 3 * RUN, RUN);
	script_settle(pull.base);
	/* Up to the page that is asked for already. */
	script_expect_request(pull.bulk, WINDOW + RUN, RUN);
	script_expect_request(pull.bulk, 991, 9);
}
END_TEST

/* The default policy: around the page touched, ahead of who walks, and counted. */
START_TEST(prefetch_is_counted)
{
	pull_replace(NULL);
	ck_assert_int_eq(yab_pager_start(pull.pager), 0);
	pull_fault(1000);
	pull_fault(1001);
	script_settle(pull.base);
	ck_assert_uint_eq(pull.statistics->prefetched_pages, 0);
	pull_connect(YAB_WIRE_BULK);
	/* What is waited for first, then what is behind. */
	script_expect_request(pull.bulk, 1000, 2);
	pull_expect_survey(pull.bulk, 0);
	script_expect_request(pull.bulk, 1002, 8);
	ck_assert_uint_eq(pull.statistics->prefetched_pages, 8);
	ck_assert_uint_eq(pull.statistics->wasted_pages, 0);
}
END_TEST

/* The best first, also if they come while others are under way; and counted. */
START_TEST(hints_come_first)
{
	const struct yab_hints hints = {
		.ranges = { { 1200, 5 }, { 1100, 8 }, { 1202, 4 } }, .count = 3,
	};

	yab_pager_hint(pull.pager, &hints);
	ck_assert_uint_eq(pull.statistics->hinted_pages, 0);
	pull_connect(YAB_WIRE_BULK);
	pull_expect_survey(pull.bulk, 0);
	script_expect_request(pull.bulk, 1200, 5);
	script_expect_request(pull.bulk, 1100, 8);
	script_expect_request(pull.bulk, 1205, 1);
	script_expect_request(pull.bulk, 0, RUN);
	ck_assert_uint_eq(pull.statistics->hinted_pages, 14);
	ck_assert_uint_eq(pull.statistics->prefetched_pages, 0);
}
END_TEST

START_TEST(neighbours_are_asked_together)
{
	struct yab_fault faults[4] = {
		{ .page = 10, .time_ns = 1 },
		{ .page = 11, .time_ns = 1 },
		{ .page = 12, .time_ns = 1 },
		{ .page = 9, .time_ns = 1 },
	};

	pull_connect(YAB_WIRE_URGENT);
	script_send(pull.kernel, faults, sizeof(faults));
	script_settle(pull.base);
	script_expect_request(pull.urgent, 10, 3);
	script_expect_request(pull.urgent, 9, 1);
	script_expect_silence(pull.urgent);
}
END_TEST

START_TEST(faults_before_connections)
{
	for (uint64_t page = 100; page < 500; page += 2)
		pull_fault(page);
	script_settle(pull.base);
	ck_assert_uint_eq(pull.statistics->faults, 200);
	pull_connect(YAB_WIRE_URGENT);
	for (uint64_t page = 100; page < 500; page += 2)
		script_expect_request(pull.urgent, page, 1);
	script_expect_silence(pull.urgent);
	/* Lost, and all that is not here comes again. */
	for (uint64_t page = 100; page < 400; page += 2)
		script_send_header(pull.urgent, YAB_WIRE_ZERO, 0, page, 1);
	script_settle(pull.base);
	pull_disconnect(&pull.urgent);
	ck_assert_int_eq(pull.lost[YAB_WIRE_URGENT], 1);
	pull_connect(YAB_WIRE_URGENT);
	for (uint64_t page = 400; page < 500; page += 2)
		script_expect_request(pull.urgent, page, 1);
	script_expect_silence(pull.urgent);
}
END_TEST

/* More faults than requests may be under way: the others follow, none is forgotten. */
START_TEST(more_faults_than_requests)
{
	static uint8_t bytes[1024 * YAB_WIRE_HEADER_SIZE];
	uint64_t asked = 0, answered = 0;

	pull_connect(YAB_WIRE_URGENT);
	for (uint64_t page = 0; page < PAGES; page += 2) {
		pull_fault(page);
		if (page % 256 == 0)
			script_settle(pull.base);
	}
	script_settle(pull.base);
	while (answered < PAGES / 2) {
		const size_t waiting = script_waiting(pull.urgent);

		ck_assert_uint_gt(waiting, 0);
		ck_assert_uint_eq(waiting % YAB_WIRE_HEADER_SIZE, 0);
		script_receive(pull.urgent, bytes, waiting);
		asked += waiting / YAB_WIRE_HEADER_SIZE;
		ck_assert_uint_le(asked - answered, 256);
		for (size_t i = 0; i < waiting; i += YAB_WIRE_HEADER_SIZE, answered++) {
			struct yab_wire_header header;

			ck_assert_int_eq(yab_wire_header_decode(bytes + i, YAB_WIRE_URGENT, PAGES,
								&header), YAB_WIRE_OK);
			ck_assert_uint_eq(header.count, 1);
			ck_assert_uint_eq(header.page % 2, 0);
			script_send_header(pull.urgent, YAB_WIRE_ZERO, 0, header.page, 1);
			script_settle(pull.base);
		}
	}
	ck_assert_uint_eq(pull.statistics->present, PAGES / 2);
	ck_assert_uint_eq(pull.statistics->duplicate_pages, 0);
	script_expect_silence(pull.urgent);
}
END_TEST

START_TEST(without_urgent_faults_go_in_bulk)
{
	pull_connect(YAB_WIRE_BULK);
	pull_expect_window(0);
	/* On its way already, and not. */
	pull_fault(5);
	pull_fault(1500);
	script_settle(pull.base);
	script_expect_request(pull.bulk, 1500, 1);
	script_expect_silence(pull.bulk);
	/* Both are asked for when there is an urgent connection. */
	pull_connect(YAB_WIRE_URGENT);
	script_expect_request(pull.urgent, 5, 1);
	script_expect_request(pull.urgent, 1500, 1);
	pull_fault(1700);
	script_settle(pull.base);
	script_expect_request(pull.urgent, 1700, 1);
	/* It is lost: only what is not on its way in bulk is asked for there. */
	pull_disconnect(&pull.urgent);
	ck_assert_int_eq(pull.lost[YAB_WIRE_URGENT], 1);
	script_expect_request(pull.bulk, 1700, 1);
	script_expect_silence(pull.bulk);
}
END_TEST

START_TEST(torn_faults)
{
	script_send(pull.kernel, "torn", 4);
	script_settle(pull.base);
	ck_assert_int_eq(pull.failures, 1);
}
END_TEST

START_TEST(absurd_fault)
{
	pull_connect(YAB_WIRE_URGENT);
	pull_fault(PAGES);
	pull_fault(UINT64_MAX);
	pull_fault(3);
	script_settle(pull.base);
	script_expect_request(pull.urgent, 3, 1);
	script_expect_silence(pull.urgent);
	ck_assert_int_eq(pull.failures, 0);
}
END_TEST

/* The answer to a survey are holes; what was not looked at yet is asked about next. */
START_TEST(survey)
{
	pull_connect(YAB_WIRE_BULK);
	pull_expect_survey(pull.bulk, 0);
	for (uint64_t i = 0; i < WINDOW / RUN; i++)
		script_expect_request(pull.bulk, i * RUN, RUN);
	script_send_header(pull.bulk, YAB_WIRE_ZERO, 0, 10, 20);
	script_send_header(pull.bulk, YAB_WIRE_ZERO, 0, 300, 200);
	script_settle(pull.base);
	ck_assert_uint_eq(pull.statistics->present, 220);
	script_expect_silence(pull.bulk);
	script_send_header(pull.bulk, YAB_WIRE_SURVEYED, 0, 0, 600);
	script_settle(pull.base);
	pull_expect_survey(pull.bulk, 600);
	/* The pages that were on order come as ever; those that are holes are skipped. */
	script_send_pages(pull.bulk, 0, 32, SEED);
	script_settle(pull.base);
	script_send_pages(pull.bulk, 32, 32, SEED);
	script_settle(pull.base);
	ck_assert_uint_eq(pull.statistics->duplicate_pages, 20);
	pull_expect_bytes(10, 0);
	script_expect_request(pull.bulk, WINDOW, 300 - WINDOW);
	/* A lost connection takes the survey along. */
	pull_disconnect(&pull.bulk);
	pull_connect(YAB_WIRE_BULK);
	pull_expect_survey(pull.bulk, 600);
}
END_TEST

/* A worker before this one brought pages: they are not asked for again. */
START_TEST(goes_on_with_what_is_missing)
{
	pull.present = PAGES - 10;
	pull_replace("sweep");
	ck_assert_int_eq(yab_pager_start(pull.pager), 0);
	ck_assert_uint_eq(pull.statistics->present, PAGES - 10);
	pull_connect(YAB_WIRE_URGENT);
	pull_connect(YAB_WIRE_BULK);
	pull_expect_survey(pull.bulk, 0);
	script_expect_request(pull.bulk, PAGES - 10, 10);
	script_expect_silence(pull.bulk);
	pull_fault(5);
	script_settle(pull.base);
	script_expect_silence(pull.urgent);
	script_send_header(pull.bulk, YAB_WIRE_SURVEYED, 0, 0, PAGES);
	script_send_pages(pull.bulk, PAGES - 10, 10, SEED);
	script_settle(pull.base);
	ck_assert_int_eq(pull.completions, 1);
}
END_TEST

/* All of them, even: it is complete at once, and says so. */
START_TEST(has_nothing_left_to_do)
{
	pull.present = PAGES;
	pull_replace("sweep");
	ck_assert_int_eq(pull.completions, 0);
	ck_assert_int_eq(yab_pager_start(pull.pager), 0);
	ck_assert_int_eq(pull.completions, 1);
	ck_assert_uint_eq(pull.statistics->present, PAGES);
}
END_TEST

/* Several bulk connections share the window, and what one loses another one asks for. */
START_TEST(several_bulk_connections)
{
	int ours[3], theirs;

	for (unsigned int i = 0; i < 3; i++) {
		script_pair(&ours[i], &theirs);
		ck_assert_int_eq(yab_pager_connect(pull.pager, YAB_WIRE_BULK, 13 + i, theirs,
						   NULL), 0);
	}
	script_settle(pull.base);
	/* The first took all of the window; now the others have their turns. */
	pull_expect_survey(ours[0], 0);
	for (uint64_t i = 0; i < WINDOW / RUN; i++)
		script_expect_request(ours[0], i * RUN, RUN);
	script_expect_silence(ours[1]);
	script_send_header(ours[0], YAB_WIRE_SURVEYED, 0, 0, PAGES);
	script_send_pages(ours[0], 0, 32, SEED);
	script_settle(pull.base);
	script_send_pages(ours[0], 32, 32, SEED);
	script_settle(pull.base);
	script_expect_request(ours[1], WINDOW, RUN);
	script_expect_silence(ours[2]);
	close(ours[0]);
	script_settle(pull.base);
	ck_assert_int_eq(pull.lost[YAB_WIRE_BULK], 1);
	script_expect_request(ours[2], WINDOW + RUN, RUN);
	script_expect_request(ours[1], WINDOW + 2 * RUN, RUN);
	script_expect_request(ours[2], WINDOW + 3 * RUN, RUN);
	script_expect_silence(ours[1]);
	script_expect_silence(ours[2]);
	close(ours[1]);
	close(ours[2]);
	script_settle(pull.base);
	ck_assert_int_eq(pull.lost[YAB_WIRE_BULK], 3);
	/* They come round again, and none is forgotten. */
	pull_connect(YAB_WIRE_BULK);
	while (pull.statistics->present < PAGES) {
		struct yab_wire_header header;

		script_receive_header(pull.bulk, YAB_WIRE_BULK, PAGES, &header);
		script_send_header(pull.bulk, YAB_WIRE_ZERO, 0, header.page, header.count);
		script_settle(pull.base);
	}
	ck_assert_uint_eq(pull.statistics->duplicate_pages, 0);
	ck_assert_int_eq(yab_pager_connect(pull.pager, YAB_WIRE_BULK, YAB_WIRE_BULKS_MAX,
					   dup(pull.kernel), NULL), -1);
}
END_TEST

/* A limit stops the sweep and nobody who waits; without it the sweep goes on. */
START_TEST(bandwidth)
{
	yab_pager_limit(pull.pager, 1);
	pull_connect(YAB_WIRE_URGENT);
	pull_connect(YAB_WIRE_BULK);
	/* The first window goes out before anything has been spent. */
	pull_expect_window(0);
	script_send_pages(pull.bulk, 0, 32, SEED);
	script_settle(pull.base);
	script_send_pages(pull.bulk, 32, 32, SEED);
	script_settle(pull.base);
	script_expect_silence(pull.bulk);
	pull_fault(1000);
	script_settle(pull.base);
	script_expect_request(pull.urgent, 1000, 1);
	script_send_pages(pull.urgent, 1000, 1, SEED);
	script_settle(pull.base);
	ck_assert_uint_eq(pull.statistics->urgent_pages, 1);
	yab_pager_limit(pull.pager, 0);
	script_expect_request(pull.bulk, 1001, RUN);
}
END_TEST

START_TEST(completion)
{
	pull_connect(YAB_WIRE_URGENT);
	pull_connect(YAB_WIRE_BULK);
	pull_fault(3);
	script_settle(pull.base);
	script_expect_request(pull.urgent, 3, 1);
	while (pull.statistics->present < PAGES) {
		struct yab_wire_header header;

		ck_assert_int_eq(pull.completions, 0);
		script_receive_header(pull.bulk, YAB_WIRE_BULK, PAGES, &header);
		script_send_header(pull.bulk, YAB_WIRE_ZERO, 0, header.page, header.count);
		script_settle(pull.base);
	}
	ck_assert_int_eq(pull.completions, 1);
	ck_assert(yab_pager_is_complete(pull.pager));
	/* The late copy is taken and thrown away, and the end is no loss. */
	memset(script_at(&pull.memory, 3), GUEST, SCRIPT_PAGE);
	script_send_pages(pull.urgent, 3, 1, SEED);
	script_settle(pull.base);
	ck_assert_uint_eq(script_at(&pull.memory, 3)[0], GUEST);
	ck_assert_uint_eq(pull.statistics->duplicate_pages, 1);
	pull_disconnect(&pull.urgent);
	pull_disconnect(&pull.bulk);
	ck_assert_int_eq(pull.lost[YAB_WIRE_URGENT] + pull.lost[YAB_WIRE_BULK], 0);
	ck_assert_int_eq(pull.completions, 1);
	ck_assert_uint_eq(pull.statistics->urgent_pages + pull.statistics->bulk_pages,
			  pull.statistics->present + pull.statistics->duplicate_pages);
}
END_TEST

START_TEST(memory_not_writable)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", pull.memory.fd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	ck_assert_ptr_null(yab_pager_new(pull.base, "test", fd, -1, PAGES, NULL, &pull_ops, &pull));
	ck_assert_int_eq(errno, EACCES);
	close(fd);
}
END_TEST

START_TEST(memory_too_short)
{
	ck_assert_ptr_null(yab_pager_new(pull.base, "test", pull.memory.fd, -1, PAGES + 1, NULL,
					 &pull_ops, &pull));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_ptr_null(yab_pager_new(pull.base, "test", pull.memory.fd, -1, UINT64_MAX, NULL,
					 &pull_ops, &pull));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_ptr_null(yab_pager_new(pull.base, "test", pull.memory.fd, -1, PAGES, "no",
					 &pull_ops, &pull));
	ck_assert_int_eq(errno, EINVAL);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pager");
	TCase *tcase = tcase_create("pager");

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, pull_setup, pull_teardown);
	tcase_add_test(tcase, sweeps_when_told);
	tcase_add_test(tcase, urgent_while_bulk_is_stuck);
	tcase_add_test(tcase, asked_in_bulk_is_asked_again);
	tcase_add_test(tcase, window_moves_on);
	tcase_add_test(tcase, sweep_follows_faults);
	tcase_add_test(tcase, prefetch_is_counted);
	tcase_add_test(tcase, hints_come_first);
	tcase_add_test(tcase, neighbours_are_asked_together);
	tcase_add_test(tcase, faults_before_connections);
	tcase_add_test(tcase, more_faults_than_requests);
	tcase_add_test(tcase, without_urgent_faults_go_in_bulk);
	tcase_add_test(tcase, torn_faults);
	tcase_add_test(tcase, absurd_fault);
	tcase_add_test(tcase, survey);
	tcase_add_test(tcase, goes_on_with_what_is_missing);
	tcase_add_test(tcase, has_nothing_left_to_do);
	tcase_add_test(tcase, several_bulk_connections);
	tcase_add_test(tcase, bandwidth);
	tcase_add_test(tcase, completion);
	tcase_add_test(tcase, memory_not_writable);
	tcase_add_test(tcase, memory_too_short);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}

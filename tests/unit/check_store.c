// SPDX-License-Identifier: GPL-2.0-or-later
/* Where the destination worker puts the pages that come, and when it declares them. */
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "pull.h"

/* Pages in the frame that comes late: less than a socket pair holds. */
#define LATE		32

/*
 * The heart of it: the bulk copy of a page stands still anywhere in the page, the
 * urgent copy overtakes it, the guest writes, the rest of the bulk copy comes.
 */
START_TEST(late_copy_does_not_clobber)
{
	static const size_t offsets[] = { 0, 1, 2048, 4095, 4096 };
	static uint8_t frame[YAB_WIRE_HEADER_SIZE + LATE * SCRIPT_PAGE];
	const uint64_t page = (uint64_t)(_i / 5) * 5;	/* 0, 5, 10 */
	const size_t first = YAB_WIRE_HEADER_SIZE + page * SCRIPT_PAGE + offsets[_i % 5];
	size_t size;

	pull_connect(YAB_WIRE_URGENT);
	pull_connect(YAB_WIRE_BULK);
	pull_expect_window(0);
	size = pull_frame(frame, 0, LATE);
	script_send(pull.bulk, frame, first);
	script_settle(pull.base);
	/* Whole pages are declared, the half one is not. */
	if (page + offsets[_i % 5] / SCRIPT_PAGE)
		pull_expect_declared(0, page + offsets[_i % 5] / SCRIPT_PAGE);
	ck_assert_uint_eq(pull.declared_count, 0);
	pull_fault(page);
	script_settle(pull.base);
	if (offsets[_i % 5] < SCRIPT_PAGE) {
		script_expect_request(pull.urgent, page, 1);
		script_send_pages(pull.urgent, page, 1, SEED);
		script_settle(pull.base);
		pull_expect_declared(page, 1);
	}
	script_expect_silence(pull.urgent);
	pull_expect_filled(page, 1);
	memset(script_at(&pull.memory, page), GUEST, SCRIPT_PAGE);
	script_send(pull.bulk, frame + first, size - first);
	script_settle(pull.base);
	pull_expect_bytes(page, GUEST);
	pull_expect_filled(0, page);
	pull_expect_filled(page + 1, LATE - page - 1);
	ck_assert_uint_eq(pull.statistics->present, LATE);
	ck_assert_uint_eq(pull.statistics->duplicate_pages, offsets[_i % 5] < SCRIPT_PAGE);
	ck_assert_uint_eq(pull.statistics->bulk_pages, LATE);
}
END_TEST

/* The other way round: the urgent copy is the late one. */
START_TEST(late_urgent_copy_does_not_clobber)
{
	uint8_t frame[YAB_WIRE_HEADER_SIZE + SCRIPT_PAGE];
	const size_t first = YAB_WIRE_HEADER_SIZE + 1000;
	size_t size;

	pull_connect(YAB_WIRE_URGENT);
	pull_connect(YAB_WIRE_BULK);
	pull_expect_window(0);
	pull_fault(7);
	script_settle(pull.base);
	script_expect_request(pull.urgent, 7, 1);
	size = pull_frame(frame, 7, 1);
	script_send(pull.urgent, frame, first);
	script_settle(pull.base);
	ck_assert_uint_eq(pull.declared_count, 0);
	script_send_pages(pull.bulk, 0, 32, SEED);
	script_settle(pull.base);
	pull_expect_declared(0, 32);
	memset(script_at(&pull.memory, 7), GUEST, SCRIPT_PAGE);
	script_send(pull.urgent, frame + first, size - first);
	script_settle(pull.base);
	pull_expect_bytes(7, GUEST);
	ck_assert_uint_eq(pull.declared_count, 0);
	ck_assert_uint_eq(pull.statistics->duplicate_pages, 1);
}
END_TEST

/* Late zero pages do not clear what the guest wrote either. */
START_TEST(late_zero_does_not_clobber)
{
	pull_connect(YAB_WIRE_URGENT);
	pull_connect(YAB_WIRE_BULK);
	pull_expect_window(0);
	pull_fault(7);
	script_settle(pull.base);
	script_expect_request(pull.urgent, 7, 1);
	script_send_header(pull.urgent, YAB_WIRE_ZERO, 0, 7, 1);
	script_settle(pull.base);
	pull_expect_declared(7, 1);
	memset(script_at(&pull.memory, 7), GUEST, SCRIPT_PAGE);
	script_send_header(pull.bulk, YAB_WIRE_ZERO, 0, 0, RUN);
	script_settle(pull.base);
	ck_assert_uint_eq(pull.declared_count, 2);
	ck_assert_uint_eq(script_at(&pull.memory, 7)[0], GUEST);
	ck_assert_uint_eq(script_at(&pull.memory, 7)[SCRIPT_PAGE - 1], GUEST);
	ck_assert_uint_eq(pull.statistics->zero_pages, RUN + 1);
	ck_assert_uint_eq(pull.statistics->duplicate_pages, 1);
	/* Every second page of a frame is here already: ranges for the others. */
	for (uint64_t page = 64; page < 128; page += 2) {
		pull_fault(page);
		script_settle(pull.base);
		script_expect_request(pull.urgent, page, 1);
		script_send_header(pull.urgent, YAB_WIRE_ZERO, 0, page, 1);
	}
	script_settle(pull.base);
	pull.declared_count = 0;
	script_send_header(pull.bulk, YAB_WIRE_ZERO, 0, 64, 64);
	script_settle(pull.base);
	ck_assert_uint_eq(pull.declared_count, 32);
	ck_assert_uint_eq(pull.statistics->present, 128);
}
END_TEST

/* A frame in pieces of any size: pages are declared as they become whole, in order. */
START_TEST(declared_when_whole)
{
	static const size_t pieces[] = { 1000, 4095, 4096, 4097, 8193, 30000 };
	static uint8_t frames[2 * YAB_WIRE_HEADER_SIZE + 12 * SCRIPT_PAGE];
	const size_t piece = pieces[_i];
	size_t size, sent = 0;

	pull_connect(YAB_WIRE_BULK);
	pull_expect_window(0);
	size = pull_frame(frames, 0, 5);
	size += pull_frame(frames + size, 5, 7);
	while (sent < size) {
		const size_t n = piece < size - sent ? piece : size - sent;
		uint64_t whole, count = 0;

		script_send(pull.bulk, frames + sent, n);
		script_settle(pull.base);
		sent += n;
		/* The headers are before pages 0 and 5. */
		whole = (sent - YAB_WIRE_HEADER_SIZE) / SCRIPT_PAGE;
		if (whole > 5)
			whole = (sent - 2 * YAB_WIRE_HEADER_SIZE) / SCRIPT_PAGE;
		for (size_t i = 0; i < pull.declared_count; i++) {
			ck_assert_uint_eq(pull.declared[i].page, count);
			count += pull.declared[i].count;
		}
		ck_assert_uint_eq(count, whole);
		pull_expect_filled(0, whole);
	}
}
END_TEST

/* What comes together in bulk is declared together. */
START_TEST(declared_in_batches)
{
	pull_connect(YAB_WIRE_BULK);
	pull_expect_window(0);
	script_send_pages(pull.bulk, 0, 10, SEED);
	script_send_header(pull.bulk, YAB_WIRE_ZERO, 0, 10, 20);
	script_settle(pull.base);
	pull_expect_declared(0, 30);
	ck_assert_int_eq(pull.declare_calls, 1);
	ck_assert_uint_eq(pull.statistics->data_pages, 10);
	ck_assert_uint_eq(pull.statistics->zero_pages, 20);
	ck_assert_uint_eq(pull.statistics->bytes, 10 * SCRIPT_PAGE);
	ck_assert(script_is_hole(&pull.memory, 10));
}
END_TEST

/* Half a page in bulk, then the same page as zero on the urgent connection. */
START_TEST(zero_over_half_a_page)
{
	uint8_t frame[YAB_WIRE_HEADER_SIZE + SCRIPT_PAGE];
	const size_t first = YAB_WIRE_HEADER_SIZE + 100;

	pull_connect(YAB_WIRE_URGENT);
	pull_connect(YAB_WIRE_BULK);
	pull_expect_window(0);
	pull_frame(frame, 0, 1);
	script_send(pull.bulk, frame, first);
	script_settle(pull.base);
	pull_fault(0);
	script_settle(pull.base);
	script_expect_request(pull.urgent, 0, 1);
	script_send_header(pull.urgent, YAB_WIRE_ZERO, 0, 0, 1);
	script_settle(pull.base);
	pull_expect_declared(0, 1);
	script_send(pull.bulk, frame + first, sizeof(frame) - first);
	script_settle(pull.base);
	pull_expect_bytes(0, 0);
}
END_TEST

/* While the kernel has no memory for a declaration, everything waits; then it goes on. */
START_TEST(declaring_is_tried_again)
{
	static const int errors[] = { ENOMEM, EAGAIN, EINTR };

	pull_connect(YAB_WIRE_URGENT);
	pull_connect(YAB_WIRE_BULK);
	pull_expect_window(0);
	pull.declare_error = errors[_i];
	pull_fault(1000);
	script_settle(pull.base);
	script_expect_request(pull.urgent, 1000, 1);
	script_send_pages(pull.urgent, 1000, 1, SEED);
	script_settle(pull.base);
	ck_assert_uint_eq(pull.statistics->present, 0);
	/* Nothing is received any more, so nothing piles up. */
	script_send_header(pull.bulk, YAB_WIRE_ZERO, 0, 0, RUN);
	script_settle(pull.base);
	ck_assert_uint_eq(pull.statistics->zero_pages, 0);
	while (pull.declare_calls < 3)
		event_base_loop(pull.base, EVLOOP_ONCE);
	ck_assert_int_eq(pull.failures, 0);
	/* A new connection has to wait, too. What is here already is not asked for again. */
	pull_connect(YAB_WIRE_URGENT);
	script_expect_silence(pull.urgent);
	pull_fault(1002);
	script_settle(pull.base);
	script_expect_request(pull.urgent, 1002, 1);
	script_send_pages(pull.urgent, 1002, 1, SEED);
	script_settle(pull.base);
	ck_assert_uint_eq(pull.statistics->data_pages, 1);
	pull.declare_error = 0;
	while (!pull.statistics->present)
		event_base_loop(pull.base, EVLOOP_ONCE);
	script_settle(pull.base);
	ck_assert_uint_eq(pull.statistics->present, 2 + RUN);
	ck_assert_uint_eq(pull.statistics->duplicate_pages, 0);
	ck_assert_uint_eq(pull.declared[0].page, 1000);
	pull_expect_filled(1000, 1);
	ck_assert_int_eq(pull.lost[YAB_WIRE_URGENT] + pull.lost[YAB_WIRE_BULK], 0);
}
END_TEST

START_TEST(declaring_fails)
{
	pull_connect(YAB_WIRE_URGENT);
	pull_connect(YAB_WIRE_BULK);
	pull_expect_window(0);
	pull.declare_error = ENODEV;
	script_send_pages(pull.bulk, 0, 10, SEED);
	script_settle(pull.base);
	ck_assert_int_eq(pull.failures, 1);
	ck_assert_str_eq(pull.lost_text, "declaring pages: No such device");
	ck_assert(!yab_pager_has_connections(pull.pager));
	ck_assert_uint_eq(pull.statistics->present, 0);
	pull_fault(5);
	script_settle(pull.base);
	ck_assert_int_eq(pull.failures, 1);
	ck_assert_int_eq(pull.completions, 0);
}
END_TEST

/* As when there is no memory for a page: nothing of the frame is declared. */
START_TEST(memory_refuses_content)
{
	pull_connect(YAB_WIRE_BULK);
	pull_expect_window(0);
	script_send_pages(pull.bulk, 0, 4, SEED);
	script_settle(pull.base);
	ck_assert_uint_eq(pull.statistics->present, 4);
	ck_assert_int_eq(fcntl(pull.memory.fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), 0);
	script_send_pages(pull.bulk, 4, 4, SEED);
	script_settle(pull.base);
	ck_assert_int_eq(pull.lost[YAB_WIRE_BULK], 1);
	ck_assert_str_eq(pull.lost_text, "Operation not permitted");
	ck_assert_int_eq(pull.failures, 0);
	ck_assert_uint_eq(pull.statistics->present, 4);
	ck_assert_uint_eq(pull.declared_count, 1);
	ck_assert_uint_eq(pull.declared[0].count, 4);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store");
	TCase *tcase = tcase_create("store");

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, pull_setup, pull_teardown);
	tcase_add_loop_test(tcase, late_copy_does_not_clobber, 0, 15);
	tcase_add_test(tcase, late_urgent_copy_does_not_clobber);
	tcase_add_test(tcase, late_zero_does_not_clobber);
	tcase_add_loop_test(tcase, declared_when_whole, 0, 6);
	tcase_add_test(tcase, declared_in_batches);
	tcase_add_test(tcase, zero_over_half_a_page);
	tcase_add_loop_test(tcase, declaring_is_tried_again, 0, 3);
	tcase_add_test(tcase, declaring_fails);
	tcase_add_test(tcase, memory_refuses_content);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* The source's answers to the question for sums: a destination that is played word for word. */
#include <endian.h>
#include <string.h>
#include <unistd.h>

#include "../../daemon/backing_file.h"
#include "../../daemon/checksum.h"
#include "../../daemon/source.h"
#include "script.h"

#define CHUNK		((uint64_t)YAB_WIRE_CHUNK_PAGES)
/* Eight chunks and a short one. */
#define PAGES		(8 * CHUNK + 100)

static struct script_memory here;
static struct event_base *base;
static struct yab_source *source;
static int bulk = -1, urgent = -1;

static void on_lost(enum yab_wire_role role, unsigned int index, const char *error, void *arg)
{
	(void)role;
	(void)index;
	(void)error;
	(void)arg;
}

/* Of eight pages, five have content, one is zeros, and two are holes. */
static void setup(void)
{
	script_memory_make(&here, PAGES);
	for (uint64_t page = 0; page < PAGES; page++) {
		if (page % 8 < 5)
			script_fill(script_at(&here, page), page, 1);
		else if (page % 8 == 5)
			memset(script_at(&here, page), 0, SCRIPT_PAGE);
	}
	base = script_base();
	source = yab_source_new(base, "test", yab_backing_memory(here.fd, PAGES), on_lost, NULL);
	ck_assert_ptr_nonnull(source);
}

static void teardown(void)
{
	yab_source_free(source);
	event_base_free(base);
	script_memory_drop(&here);
	close(bulk);
	if (urgent >= 0)
		close(urgent);
}

static int connect_source(enum yab_wire_role role)
{
	int ours, theirs;

	script_pair(&ours, &theirs);
	ck_assert_int_eq(yab_source_connect(source, role, 0, theirs, NULL), 0);
	return ours;
}

static void expect_frame(int fd, enum yab_wire_type type, uint64_t page, uint64_t count)
{
	struct yab_wire_header header;

	script_receive_header(fd, YAB_WIRE_BULK, PAGES, &header);
	ck_assert_uint_eq(header.type, type);
	ck_assert_uint_eq(header.page, page);
	ck_assert_uint_eq(header.count, count);
}

static void expect_sums(int fd, uint64_t page, uint64_t count)
{
	uint64_t sums[YAB_WIRE_SUMS_MAX] = { 0 }, got[YAB_WIRE_SUMS_MAX];

	expect_frame(fd, YAB_WIRE_SUMMED, page, count);
	for (uint64_t i = page; i < page + count; i++)
		sums[(i - page) / CHUNK] += yab_checksum_page(i, script_at(&here, i));
	script_receive(fd, got, yab_wire_chunks(count) * YAB_WIRE_SUM_SIZE);
	for (uint64_t i = 0; i < yab_wire_chunks(count); i++)
		ck_assert_uint_eq(le64toh(got[i]), sums[i]);
}

/* Sums in their turn among pages, on either connection, once the guest is stopped. */
START_TEST(tells_sums)
{
	bulk = connect_source(_i ? YAB_WIRE_BULK : YAB_WIRE_URGENT);
	script_send_header(bulk, YAB_WIRE_REQUEST, 0, 5, 1);
	script_send_header(bulk, YAB_WIRE_SUM, 0, 0, PAGES);
	script_send_header(bulk, YAB_WIRE_SUM, 0, CHUNK, CHUNK);
	script_send_header(bulk, YAB_WIRE_REQUEST, 0, 6, 1);
	script_send_header(bulk, YAB_WIRE_SUM, 0, 8 * CHUNK, 100);
	script_settle(base);
	script_expect_silence(bulk);
	yab_source_serve(source);
	script_settle(base);
	expect_frame(bulk, YAB_WIRE_ZERO, 5, 1);
	expect_sums(bulk, 0, PAGES);
	expect_sums(bulk, CHUNK, CHUNK);
	expect_frame(bulk, YAB_WIRE_ZERO, 6, 1);
	expect_sums(bulk, 8 * CHUNK, 100);
	script_expect_silence(bulk);
	ck_assert_uint_eq(yab_source_statistics(source)->bytes, 0);
	ck_assert_uint_eq(yab_source_service(source)->count, _i ? 0 : 2);
}
END_TEST

/* A page that somebody waits for does not wait for sums. */
START_TEST(sums_take_turns)
{
	bulk = connect_source(YAB_WIRE_BULK);
	urgent = connect_source(YAB_WIRE_URGENT);
	yab_source_serve(source);
	script_send_header(bulk, YAB_WIRE_SUM, 0, 0, PAGES);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK), 0);
		script_send_header(urgent, YAB_WIRE_REQUEST, 0, 5, 1);
		ck_assert_int_eq(event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK), 0);
		expect_frame(urgent, YAB_WIRE_ZERO, 5, 1);
		script_expect_silence(bulk);
	}
	script_settle(base);
	expect_sums(bulk, 0, PAGES);
}
END_TEST

START_TEST(bad_questions)
{
	static const struct {
		uint16_t type;
		uint32_t length;
		uint64_t page, count;
	} cases[] = {
		{ YAB_WIRE_SUM, 0, 0, CHUNK - 1 },
		{ YAB_WIRE_SUM, 0, 1, CHUNK },
		{ YAB_WIRE_SUM, 0, 0, PAGES - 1 },
		{ YAB_WIRE_SUM, 0, 0, 9 * CHUNK },
		{ YAB_WIRE_SUM, 0, CHUNK, UINT64_MAX - CHUNK + 1 },
		{ YAB_WIRE_SUM, 8, 0, CHUNK },
		{ YAB_WIRE_SUMMED, 8, 0, CHUNK },
	};

	bulk = connect_source(YAB_WIRE_BULK);
	yab_source_serve(source);
	script_send_header(bulk, cases[_i].type, cases[_i].length, cases[_i].page,
			   cases[_i].count);
	script_settle(base);
	script_expect_refusal(bulk);
}
END_TEST

/* Memory that went is no sum. */
START_TEST(memory_that_went)
{
	bulk = connect_source(YAB_WIRE_BULK);
	yab_source_serve(source);
	ck_assert_int_eq(ftruncate(here.fd, 4 * CHUNK * SCRIPT_PAGE), 0);
	script_send_header(bulk, YAB_WIRE_SUM, 0, 0, PAGES);
	script_settle(base);
	script_expect_refusal(bulk);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("summation");
	TCase *tcase = tcase_create("summation");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_loop_test(tcase, tells_sums, 0, 2);
	tcase_add_test(tcase, sums_take_turns);
	tcase_add_loop_test(tcase, bad_questions, 0, 7);
	tcase_add_test(tcase, memory_that_went);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}

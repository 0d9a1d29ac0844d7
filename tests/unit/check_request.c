// SPDX-License-Identifier: GPL-2.0-or-later
#include <string.h>

#include "../../daemon/request.h"
#include "script.h"

static struct yab_requests requests;

static void expect_bytes(const uint8_t *bytes, uint64_t page, uint64_t count)
{
	struct yab_wire_header header;

	ck_assert_int_eq(yab_wire_header_decode(bytes, YAB_WIRE_BULK, UINT64_MAX, &header),
			 YAB_WIRE_OK);
	ck_assert_uint_eq(header.type, YAB_WIRE_REQUEST);
	ck_assert_uint_eq(header.page, page);
	ck_assert_uint_eq(header.count, count);
}

/* PAGES of these may come next. */
static bool expect(uint64_t page, uint64_t count)
{
	const struct yab_wire_header frame = {
		.type = YAB_WIRE_PAGES,
		.page = page,
		.count = count,
	};

	return yab_requests_expect(&requests, &frame);
}

/* The next @count pages come. */
static void answer(uint64_t count)
{
	const struct yab_request *head = &requests.ring[requests.head % YAB_REQUESTS_MAX];
	const struct yab_wire_header frame = {
		.type = YAB_WIRE_PAGES,
		.page = head->page + requests.answered,
		.count = count,
	};

	ck_assert_uint_eq(yab_requests_answer(&requests, &frame), count);
}

static bool survey_expects(enum yab_wire_type type, uint64_t page, uint64_t count)
{
	const struct yab_wire_header frame = { .type = type, .page = page, .count = count };

	return yab_requests_expect(&requests, &frame);
}

static void survey_answer(enum yab_wire_type type, uint64_t page, uint64_t count)
{
	const struct yab_wire_header frame = { .type = type, .page = page, .count = count };

	ck_assert(yab_requests_expect(&requests, &frame));
	ck_assert_uint_eq(yab_requests_answer(&requests, &frame), 0);
}

/* Holes in ascending order within the survey, then how far it got, and nothing else. */
START_TEST(survey)
{
	uint64_t page, count;

	yab_requests_reset(&requests);
	yab_requests_add_question(&requests, YAB_WIRE_SURVEY, 100, 1000);
	yab_requests_add(&requests, 1100, 1, 64);
	ck_assert_uint_eq(requests.pages, 1);
	ck_assert(!survey_expects(YAB_WIRE_ZERO, 100, 1));
	yab_requests_wrote(&requests, 2 * YAB_WIRE_HEADER_SIZE);
	ck_assert(!survey_expects(YAB_WIRE_PAGES, 100, 1));
	ck_assert(!survey_expects(YAB_WIRE_ZERO, 99, 1));
	ck_assert(!survey_expects(YAB_WIRE_ZERO, 100, 1001));
	ck_assert(!survey_expects(YAB_WIRE_ZERO, 1100, 1));
	ck_assert(!survey_expects(YAB_WIRE_ZERO, 1099, UINT64_MAX));
	survey_answer(YAB_WIRE_ZERO, 200, 50);
	ck_assert(!survey_expects(YAB_WIRE_ZERO, 249, 1));
	survey_answer(YAB_WIRE_ZERO, 250, 1);
	ck_assert(!survey_expects(YAB_WIRE_SURVEYED, 100, 150));
	ck_assert(!survey_expects(YAB_WIRE_SURVEYED, 101, 500));
	ck_assert(!survey_expects(YAB_WIRE_SURVEYED, 100, 1001));
	survey_answer(YAB_WIRE_SURVEYED, 100, 151);
	ck_assert(!survey_expects(YAB_WIRE_SURVEYED, 100, 151));
	ck_assert(!survey_expects(YAB_WIRE_SURVEYED, 1100, 1));
	ck_assert(expect(1100, 1));
	/* Pages that are lost are told, surveys are not. */
	yab_requests_add_question(&requests, YAB_WIRE_SURVEY, 300, 1);
	yab_requests_add(&requests, 400, 2, 64);
	ck_assert(yab_requests_drop(&requests, &page, &count));
	ck_assert(page == 1100 && count == 1);
	ck_assert(yab_requests_drop(&requests, &page, &count));
	ck_assert(page == 400 && count == 2);
	ck_assert(!yab_requests_drop(&requests, &page, &count));
	ck_assert_uint_eq(requests.pages, 0);
}
END_TEST

/* A survey is no neighbour. */
START_TEST(survey_does_not_join)
{
	uint8_t bytes[1024];
	struct yab_wire_header header;

	yab_requests_reset(&requests);
	yab_requests_add_question(&requests, YAB_WIRE_SURVEY, 10, 1);
	yab_requests_add(&requests, 11, 1, 64);
	ck_assert_uint_eq(yab_requests_encode(&requests, bytes, sizeof(bytes)),
			  2 * YAB_WIRE_HEADER_SIZE);
	ck_assert_int_eq(yab_wire_header_decode(bytes, YAB_WIRE_BULK, UINT64_MAX, &header),
			 YAB_WIRE_OK);
	ck_assert_uint_eq(header.type, YAB_WIRE_SURVEY);
	expect_bytes(bytes + YAB_WIRE_HEADER_SIZE, 11, 1);
}
END_TEST

/* The rest of what is half answered is what is lost. */
START_TEST(drop)
{
	uint64_t page, count;

	yab_requests_reset(&requests);
	yab_requests_add(&requests, 10, 4, 64);
	yab_requests_wrote(&requests, YAB_WIRE_HEADER_SIZE);
	answer(3);
	yab_requests_add(&requests, 20, 4, 64);
	ck_assert(yab_requests_drop(&requests, &page, &count));
	ck_assert(page == 13 && count == 1);
	ck_assert(yab_requests_drop(&requests, &page, &count));
	ck_assert(page == 20 && count == 4);
	ck_assert(!yab_requests_drop(&requests, &page, &count));
}
END_TEST

START_TEST(neighbours_join)
{
	uint8_t bytes[1024];

	yab_requests_reset(&requests);
	yab_requests_add(&requests, 10, 1, 64);
	yab_requests_add(&requests, 11, 2, 64);
	yab_requests_add(&requests, 14, 1, 64);
	yab_requests_add(&requests, 13, 1, 64);
	ck_assert_uint_eq(requests.pages, 5);
	ck_assert_uint_eq(yab_requests_encode(&requests, bytes, sizeof(bytes)),
			  3 * YAB_WIRE_HEADER_SIZE);
	expect_bytes(bytes, 10, 3);
	expect_bytes(bytes + YAB_WIRE_HEADER_SIZE, 14, 1);
	expect_bytes(bytes + 2 * YAB_WIRE_HEADER_SIZE, 13, 1);
}
END_TEST

/* What is on its way, if only with one byte, cannot grow any more. */
START_TEST(sent_ones_stay)
{
	uint8_t bytes[1024];
	const size_t written = (size_t)_i;

	yab_requests_reset(&requests);
	yab_requests_add(&requests, 10, 1, 64);
	ck_assert_uint_eq(yab_requests_encode(&requests, bytes, sizeof(bytes)),
			  YAB_WIRE_HEADER_SIZE);
	yab_requests_wrote(&requests, written);
	yab_requests_add(&requests, 11, 1, 64);
	if (!written) {
		yab_requests_encode(&requests, bytes, sizeof(bytes));
		expect_bytes(bytes, 10, 2);
		return;
	}
	yab_requests_encode(&requests, bytes + written, sizeof(bytes) - written);
	expect_bytes(bytes, 10, 1);
	expect_bytes(bytes + YAB_WIRE_HEADER_SIZE, 11, 1);
}
END_TEST

START_TEST(joined_ones_are_bounded)
{
	uint8_t bytes[1024];

	yab_requests_reset(&requests);
	for (uint64_t page = 0; page < YAB_WIRE_PAGES_MAX + 1; page++)
		yab_requests_add(&requests, page, 1, YAB_WIRE_PAGES_MAX);
	ck_assert_uint_eq(yab_requests_encode(&requests, bytes, sizeof(bytes)),
			  2 * YAB_WIRE_HEADER_SIZE);
	expect_bytes(bytes, 0, YAB_WIRE_PAGES_MAX);
	expect_bytes(bytes + YAB_WIRE_HEADER_SIZE, YAB_WIRE_PAGES_MAX, 1);
}
END_TEST

START_TEST(only_the_next_is_expected)
{
	yab_requests_reset(&requests);
	ck_assert(!expect(0, 1));
	yab_requests_add(&requests, 10, 4, 64);
	yab_requests_add(&requests, 20, 1, 64);
	/* Not sent yet. */
	ck_assert(!expect(10, 1));
	yab_requests_wrote(&requests, 2 * YAB_WIRE_HEADER_SIZE);
	ck_assert(expect(10, 1));
	ck_assert(expect(10, 4));
	ck_assert(!expect(10, 5));
	ck_assert(!expect(11, 1));
	ck_assert(!expect(20, 1));
	ck_assert(!expect(10, UINT64_MAX));
	answer(3);
	ck_assert(!expect(10, 1));
	ck_assert(expect(13, 1));
	ck_assert(!expect(13, 2));
	answer(1);
	ck_assert(expect(20, 1));
	answer(1);
	ck_assert(!expect(20, 1));
	ck_assert_uint_eq(requests.pages, 0);
}
END_TEST

/* Round and round the ring with writes of all sizes: nothing is lost or torn. */
START_TEST(ring)
{
	uint64_t state = 3, asked = 0, read = 0, answered = 0;
	uint8_t stream[4096];
	size_t waiting = 0;

	yab_requests_reset(&requests);
	while (answered < 5000) {
		size_t n;

		while (asked < 5000 && !yab_requests_is_full(&requests) &&
		       script_random(&state) % 8) {
			yab_requests_add(&requests, asked * 1000, 1 + asked % 7, 64);
			asked++;
		}
		n = yab_requests_encode(&requests, stream + waiting, sizeof(stream) - waiting);
		n = n ? script_random(&state) % (n + 1) : 0;
		yab_requests_wrote(&requests, n);
		waiting += n;
		for (n = 0; waiting - n >= YAB_WIRE_HEADER_SIZE; n += YAB_WIRE_HEADER_SIZE, read++)
			expect_bytes(stream + n, read * 1000, 1 + read % 7);
		waiting -= n;
		memmove(stream, stream + n, waiting);
		while (answered < read && script_random(&state) % 4) {
			const uint64_t count = 1 + answered % 7;

			ck_assert(expect(answered * 1000, count));
			answer(count);
			answered++;
		}
	}
	ck_assert_uint_eq(requests.pages, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("request");
	TCase *tcase = tcase_create("request");

	tcase_add_test(tcase, neighbours_join);
	tcase_add_loop_test(tcase, sent_ones_stay, 0, YAB_WIRE_HEADER_SIZE + 1);
	tcase_add_test(tcase, joined_ones_are_bounded);
	tcase_add_test(tcase, only_the_next_is_expected);
	tcase_add_test(tcase, ring);
	tcase_add_test(tcase, survey);
	tcase_add_test(tcase, survey_does_not_join);
	tcase_add_test(tcase, drop);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}

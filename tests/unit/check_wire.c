// SPDX-License-Identifier: GPL-2.0-or-later
#include <string.h>

#include "script.h"

#define PAGES	1000ULL

static const struct yab_wire_hello hello = {
	.version = YAB_WIRE_VERSION,
	.role = YAB_WIRE_BULK,
	.index = 15,
	.features = 0x80000001U,
	.number = 0x04030201U,
	.token = "0123456789abcde",
};

START_TEST(hello_round_trip)
{
	uint8_t bytes[YAB_WIRE_HELLO_SIZE];
	struct yab_wire_hello in;

	yab_wire_hello_encode(bytes, &hello);
	ck_assert_int_eq(yab_wire_hello_decode(bytes, &in), YAB_WIRE_OK);
	ck_assert_uint_eq(in.version, hello.version);
	ck_assert_uint_eq(in.role, hello.role);
	ck_assert_uint_eq(in.index, hello.index);
	ck_assert_uint_eq(in.features, hello.features);
	ck_assert_uint_eq(in.number, hello.number);
	ck_assert_mem_eq(in.token, hello.token, YAB_WIRE_TOKEN_SIZE);
}
END_TEST

/* The layout is the protocol: it must not move with a compiler or a struct. */
START_TEST(hello_layout)
{
	uint8_t bytes[YAB_WIRE_HELLO_SIZE];
	const uint8_t start[] = {
		'Y', 'A', 'B', 'U', 'S', 'A', 'M', 'E', 2, 0, 3, 0, 15, 0, 0, 0,
		1, 0, 0, 0x80, 1, 2, 3, 4, '0', '1',
	};

	yab_wire_hello_encode(bytes, &hello);
	ck_assert_mem_eq(bytes, start, sizeof(start));
}
END_TEST

START_TEST(hello_hostile)
{
	static const struct {
		int at;		/* this byte is changed */
		uint8_t to;
		enum yab_wire_verdict verdict;
	} cases[] = {
		{ 0, 'y', YAB_WIRE_NOT_YABUSAME },
		{ 7, 0, YAB_WIRE_NOT_YABUSAME },
		{ 8, 1, YAB_WIRE_OTHER_VERSION },
		{ 8, 0, YAB_WIRE_OTHER_VERSION },
		{ 9, 1, YAB_WIRE_OTHER_VERSION },
		{ 10, 0, YAB_WIRE_MALFORMED },
		{ 10, 4, YAB_WIRE_MALFORMED },
		{ 11, 1, YAB_WIRE_MALFORMED },
		/* only bulk connections are several */
		{ 10, 2, YAB_WIRE_MALFORMED },
		{ 10, 1, YAB_WIRE_MALFORMED },
		{ 12, 16, YAB_WIRE_MALFORMED },
		{ 15, 0x80, YAB_WIRE_MALFORMED },
	};
	uint8_t bytes[YAB_WIRE_HELLO_SIZE];
	struct yab_wire_hello in;

	yab_wire_hello_encode(bytes, &hello);
	bytes[cases[_i].at] = cases[_i].to;
	ck_assert_int_eq(yab_wire_hello_decode(bytes, &in), cases[_i].verdict);
	if (cases[_i].verdict == YAB_WIRE_OTHER_VERSION)
		ck_assert_uint_eq(in.version, (unsigned int)bytes[8] | (unsigned int)bytes[9] << 8);
}
END_TEST

#define FRAME(t, l, p, c)	{ .type = (t), .length = (l), .page = (p), .count = (c) }

START_TEST(header_good)
{
	static const struct {
		enum yab_wire_role role;
		struct yab_wire_header header;
	} cases[] = {
		{ YAB_WIRE_CONTROL, FRAME(YAB_WIRE_CALL, 1, 0, 0) },
		{ YAB_WIRE_CONTROL, FRAME(YAB_WIRE_REPLY, YAB_WIRE_JSON_MAX, 0, 0) },
		{ YAB_WIRE_CONTROL, FRAME(YAB_WIRE_EVENT, 2, 0, 0) },
		{ YAB_WIRE_CONTROL, FRAME(YAB_WIRE_STATE, YAB_WIRE_STATE_MAX, 0, 0) },
		{ YAB_WIRE_CONTROL, FRAME(YAB_WIRE_STATE_END, 0, 0, 0) },
		{ YAB_WIRE_CONTROL, FRAME(YAB_WIRE_ERROR, YAB_WIRE_ERROR_MAX, 0, 0) },
		{ YAB_WIRE_URGENT, FRAME(YAB_WIRE_ERROR, 0, 0, 0) },
		{ YAB_WIRE_URGENT, FRAME(YAB_WIRE_REQUEST, 0, 999, 1) },
		{ YAB_WIRE_BULK, FRAME(YAB_WIRE_REQUEST, 0, 744, 256) },
		{ YAB_WIRE_BULK, FRAME(YAB_WIRE_PAGES, 1048576, 0, 256) },
		{ YAB_WIRE_URGENT, FRAME(YAB_WIRE_PAGES, 4096, 999, 1) },
		{ YAB_WIRE_BULK, FRAME(YAB_WIRE_ZERO, 0, 0, 1000) },
		{ YAB_WIRE_BULK, FRAME(YAB_WIRE_SURVEY, 0, 0, 1000) },
		{ YAB_WIRE_BULK, FRAME(YAB_WIRE_SURVEYED, 0, 999, 1) },
		{ YAB_WIRE_BULK, FRAME(YAB_WIRE_PACKED, 1, 999, 1) },
		{ YAB_WIRE_BULK, FRAME(YAB_WIRE_PACKED, 65535, 0, 16) },
		{ YAB_WIRE_BULK, FRAME(YAB_WIRE_SUM, 0, 0, 1000) },
		{ YAB_WIRE_URGENT, FRAME(YAB_WIRE_SUM, 0, 512, 488) },
		{ YAB_WIRE_BULK, FRAME(YAB_WIRE_SUMMED, 16, 0, 1000) },
		{ YAB_WIRE_URGENT, FRAME(YAB_WIRE_SUMMED, 8, 0, 512) },
	};
	uint8_t bytes[YAB_WIRE_HEADER_SIZE];
	struct yab_wire_header in;

	yab_wire_header_encode(bytes, &cases[_i].header);
	ck_assert_int_eq(yab_wire_header_decode(bytes, cases[_i].role, PAGES, &in), YAB_WIRE_OK);
	ck_assert_uint_eq(in.type, cases[_i].header.type);
	ck_assert_uint_eq(in.flags, 0);
	ck_assert_uint_eq(in.length, cases[_i].header.length);
	ck_assert_uint_eq(in.page, cases[_i].header.page);
	ck_assert_uint_eq(in.count, cases[_i].header.count);
}
END_TEST

START_TEST(header_layout)
{
	const struct yab_wire_header header = {
		.type = YAB_WIRE_PAGES,
		.length = 0x00102000,
		.page = 0x0102030405060708ULL,
		.count = 0x0102,
	};
	const uint8_t want[YAB_WIRE_HEADER_SIZE] = {
		17, 0, 0, 0, 0x00, 0x20, 0x10, 0x00, 8, 7, 6, 5, 4, 3, 2, 1, 2, 1,
	};
	uint8_t bytes[YAB_WIRE_HEADER_SIZE];

	yab_wire_header_encode(bytes, &header);
	ck_assert_mem_eq(bytes, want, sizeof(want));
}
END_TEST

START_TEST(header_hostile)
{
	static const struct {
		enum yab_wire_role role;
		struct yab_wire_header header;
	} cases[] = {
		/* unknown types */
		{ YAB_WIRE_CONTROL, FRAME(0, 0, 0, 0) },
		{ YAB_WIRE_CONTROL, FRAME(6, 0, 0, 0) },
		{ YAB_WIRE_BULK, FRAME(24, 0, 0, 1) },
		{ YAB_WIRE_BULK, FRAME(0xffff, 0, 0, 1) },
		/* the wrong connection */
		{ YAB_WIRE_CONTROL, FRAME(YAB_WIRE_REQUEST, 0, 0, 1) },
		{ YAB_WIRE_CONTROL, FRAME(YAB_WIRE_PAGES, 4096, 0, 1) },
		{ YAB_WIRE_CONTROL, FRAME(YAB_WIRE_ZERO, 0, 0, 1) },
		{ YAB_WIRE_URGENT, FRAME(YAB_WIRE_CALL, 1, 0, 0) },
		{ YAB_WIRE_BULK, FRAME(YAB_WIRE_STATE, 1, 0, 0) },
		{ YAB_WIRE_BULK, FRAME(YAB_WIRE_STATE_END, 0, 0, 0) },
		/* reserved bits */
		{ YAB_WIRE_BULK, { YAB_WIRE_ZERO, 1, 0, 0, 1 } },
		{ YAB_WIRE_CONTROL, { YAB_WIRE_CALL, 0x8000, 1, 0, 0 } },
		{ YAB_WIRE_CONTROL, FRAME(YAB_WIRE_CALL, 1, 1, 0) },
		{ YAB_WIRE_CONTROL, FRAME(YAB_WIRE_STATE, 1, 0, 1) },
		{ YAB_WIRE_BULK, FRAME(YAB_WIRE_ERROR, 1, 1, 1) },
		/* lengths */
		{ YAB_WIRE_CONTROL, FRAME(YAB_WIRE_CALL, 0, 0, 0) },
		{ YAB_WIRE_CONTROL, FRAME(YAB_WIRE_CALL, YAB_WIRE_JSON_MAX + 1, 0, 0) },
		{ YAB_WIRE_CONTROL, FRAME(YAB_WIRE_STATE, 0, 0, 0) },
		{ YAB_WIRE_CONTROL, FRAME(YAB_WIRE_STATE, YAB_WIRE_STATE_MAX + 1, 0, 0) },
		{ YAB_WIRE_CONTROL, FRAME(YAB_WIRE_STATE_END, 1, 0, 0) },
		{ YAB_WIRE_CONTROL, FRAME(YAB_WIRE_ERROR, YAB_WIRE_ERROR_MAX + 1, 0, 0) },
		{ YAB_WIRE_CONTROL, FRAME(YAB_WIRE_EVENT, 0xffffffff, 0, 0) },
		{ YAB_WIRE_BULK, FRAME(YAB_WIRE_REQUEST, 1, 0, 1) },
		{ YAB_WIRE_BULK, FRAME(YAB_WIRE_ZERO, 4096, 0, 1) },
		{ YAB_WIRE_BULK, FRAME(YAB_WIRE_PAGES, 4095, 0, 1) },
		{ YAB_WIRE_BULK, FRAME(YAB_WIRE_PAGES, 4096, 0, 2) },
		{ YAB_WIRE_BULK, FRAME(YAB_WIRE_PAGES, 8192, 0, 1) },
		{ YAB_WIRE_BULK, FRAME(YAB_WIRE_PAGES, 0, 0, 0) },
		{ YAB_WIRE_BULK, FRAME(YAB_WIRE_PAGES, 257 * 4096, 0, 257) },
		/* 2^20 + 1 pages are 4096 bytes modulo 2^32 */
		{ YAB_WIRE_BULK, FRAME(YAB_WIRE_PAGES, 4096, 0, 0x100001) },
		/* pages */
		{ YAB_WIRE_BULK, FRAME(YAB_WIRE_REQUEST, 0, 0, 0) },
		{ YAB_WIRE_BULK, FRAME(YAB_WIRE_REQUEST, 0, 0, 257) },
		{ YAB_WIRE_BULK, FRAME(YAB_WIRE_REQUEST, 0, 1000, 1) },
		{ YAB_WIRE_BULK, FRAME(YAB_WIRE_REQUEST, 0, 999, 2) },
		{ YAB_WIRE_BULK, FRAME(YAB_WIRE_REQUEST, 0, UINT64_MAX, 2) },
		{ YAB_WIRE_BULK, FRAME(YAB_WIRE_ZERO, 0, 1, 1000) },
		{ YAB_WIRE_BULK, FRAME(YAB_WIRE_ZERO, 0, 2, UINT64_MAX) },
		{ YAB_WIRE_BULK, FRAME(YAB_WIRE_ZERO, 0, 999, UINT64_MAX - 998) },
		{ YAB_WIRE_URGENT, FRAME(YAB_WIRE_PAGES, 4096, 1000, 1) },
		{ YAB_WIRE_BULK, FRAME(YAB_WIRE_SURVEY, 0, 0, 1001) },
		{ YAB_WIRE_BULK, FRAME(YAB_WIRE_SURVEYED, 0, 1, 0) },
		{ YAB_WIRE_CONTROL, FRAME(YAB_WIRE_SURVEY, 0, 0, 1) },
		/* packs */
		{ YAB_WIRE_URGENT, FRAME(YAB_WIRE_PACKED, 100, 0, 1) },
		{ YAB_WIRE_CONTROL, FRAME(YAB_WIRE_PACKED, 100, 0, 1) },
		{ YAB_WIRE_BULK, FRAME(YAB_WIRE_PACKED, 0, 0, 1) },
		{ YAB_WIRE_BULK, FRAME(YAB_WIRE_PACKED, 4096, 0, 1) },
		{ YAB_WIRE_BULK, FRAME(YAB_WIRE_PACKED, 65536, 0, 16) },
		{ YAB_WIRE_BULK, FRAME(YAB_WIRE_PACKED, 100, 0, 17) },
		{ YAB_WIRE_BULK, FRAME(YAB_WIRE_PACKED, 100, 0, 0) },
		{ YAB_WIRE_BULK, FRAME(YAB_WIRE_PACKED, 100, 1000, 1) },
		/* sums */
		{ YAB_WIRE_CONTROL, FRAME(YAB_WIRE_SUM, 0, 0, 512) },
		{ YAB_WIRE_BULK, FRAME(YAB_WIRE_SUM, 0, 0, 511) },
		{ YAB_WIRE_BULK, FRAME(YAB_WIRE_SUM, 0, 0, 513) },
		{ YAB_WIRE_BULK, FRAME(YAB_WIRE_SUM, 0, 1, 511) },
		{ YAB_WIRE_BULK, FRAME(YAB_WIRE_SUM, 0, 512, 487) },
		{ YAB_WIRE_BULK, FRAME(YAB_WIRE_SUM, 0, 512, 512) },
		{ YAB_WIRE_BULK, FRAME(YAB_WIRE_SUM, 8, 0, 512) },
		{ YAB_WIRE_BULK, FRAME(YAB_WIRE_SUM, 0, 0, 0) },
		{ YAB_WIRE_BULK, FRAME(YAB_WIRE_SUMMED, 0, 0, 512) },
		{ YAB_WIRE_BULK, FRAME(YAB_WIRE_SUMMED, 7, 0, 512) },
		{ YAB_WIRE_BULK, FRAME(YAB_WIRE_SUMMED, 16, 0, 512) },
		{ YAB_WIRE_BULK, FRAME(YAB_WIRE_SUMMED, 8, 0, 1000) },
		{ YAB_WIRE_BULK, FRAME(YAB_WIRE_SUMMED, 0xffffffff, 0, 1000) },
		{ YAB_WIRE_CONTROL, FRAME(YAB_WIRE_SUMMED, 8, 0, 512) },
	};
	uint8_t bytes[YAB_WIRE_HEADER_SIZE];
	struct yab_wire_header in;

	yab_wire_header_encode(bytes, &cases[_i].header);
	ck_assert_int_eq(yab_wire_header_decode(bytes, cases[_i].role, PAGES, &in),
			 YAB_WIRE_MALFORMED);
}
END_TEST

/* Whatever the bytes are, what is accepted keeps the promises of the header. */
START_TEST(header_random)
{
	static const uint16_t types[] = { 1, 2, 3, 4, 5, 16, 17, 18, 32, 21 };
	uint64_t state = 1;

	for (int i = 0; i < 200000; i++) {
		struct yab_wire_header header = {
			.type = types[script_random(&state) % 10],
			.flags = script_random(&state) % 8 ? 0 : 1,
			.page = script_random(&state) % 4 ? script_random(&state) % 1200 :
							    script_random(&state),
			.count = script_random(&state) % 4 ? script_random(&state) % 300 :
							     script_random(&state),
		};
		const enum yab_wire_role role = 1 + script_random(&state) % 3;
		uint8_t bytes[YAB_WIRE_HEADER_SIZE];
		struct yab_wire_header in;

		header.length = (uint32_t)(script_random(&state) % 2 ? header.count * 4096 :
								       script_random(&state));
		yab_wire_header_encode(bytes, &header);
		if (yab_wire_header_decode(bytes, role, PAGES, &in) != YAB_WIRE_OK)
			continue;
		ck_assert_uint_le(in.length, YAB_WIRE_PAGES_MAX * YAB_WIRE_PAGE_SIZE);
		ck_assert_uint_le(in.page, PAGES);
		ck_assert_uint_le(in.count, PAGES - in.page);
		if (in.type == YAB_WIRE_PAGES)
			ck_assert_uint_eq(in.length, in.count * YAB_WIRE_PAGE_SIZE);
		else if (in.type == YAB_WIRE_PACKED)
			ck_assert_uint_lt(in.length, in.count * YAB_WIRE_PAGE_SIZE);
		else if (role != YAB_WIRE_CONTROL && in.type != YAB_WIRE_ERROR)
			ck_assert_uint_eq(in.length, 0);
	}
}
END_TEST

START_TEST(role_names)
{
	ck_assert_str_eq(yab_wire_role_name(YAB_WIRE_CONTROL), "control");
	ck_assert_str_eq(yab_wire_role_name(YAB_WIRE_URGENT), "urgent");
	ck_assert_str_eq(yab_wire_role_name(YAB_WIRE_BULK), "bulk");
	ck_assert_str_eq(yab_wire_role_name(99), "unknown");
}
END_TEST

/* How many chunks a question and an answer may have. */
START_TEST(sums_of_many_chunks)
{
	const uint64_t most = (uint64_t)YAB_WIRE_SUMS_MAX * YAB_WIRE_CHUNK_PAGES;
	struct yab_wire_header header = FRAME(YAB_WIRE_SUM, 0, most, most), in;
	uint8_t bytes[YAB_WIRE_HEADER_SIZE];

	for (int type = 0; type < 2; type++) {
		yab_wire_header_encode(bytes, &header);
		ck_assert_int_eq(yab_wire_header_decode(bytes, YAB_WIRE_BULK, 8 * most, &in),
				 YAB_WIRE_OK);
		header.count += YAB_WIRE_CHUNK_PAGES;
		header.length += type * YAB_WIRE_SUM_SIZE;
		yab_wire_header_encode(bytes, &header);
		ck_assert_int_eq(yab_wire_header_decode(bytes, YAB_WIRE_BULK, 8 * most, &in),
				 YAB_WIRE_MALFORMED);
		header = (struct yab_wire_header)FRAME(YAB_WIRE_SUMMED, YAB_WIRE_SUMS_MAX *
						       YAB_WIRE_SUM_SIZE, 0, most);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("wire");
	TCase *tcase = tcase_create("wire");

	tcase_add_test(tcase, hello_round_trip);
	tcase_add_test(tcase, hello_layout);
	tcase_add_loop_test(tcase, hello_hostile, 0, 12);
	tcase_add_loop_test(tcase, header_good, 0, 20);
	tcase_add_test(tcase, header_layout);
	tcase_add_loop_test(tcase, header_hostile, 0, 64);
	tcase_add_test(tcase, sums_of_many_chunks);
	tcase_add_test(tcase, header_random);
	tcase_add_test(tcase, role_names);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* What comes on the destination worker's connections: good frames, bad ones, and their ends. */
#include <string.h>
#include <sys/stat.h>

#include "pull.h"

/* A source that sends what it was not asked for places nothing. */
START_TEST(hostile_source)
{
	static const struct {
		enum yab_wire_role role;
		struct yab_wire_header header;
	} cases[] = {
		/* asked for on the other connection only, or not at all */
		{ YAB_WIRE_URGENT, { YAB_WIRE_ZERO, 0, 0, 0, 1 } },
		{ YAB_WIRE_BULK, { YAB_WIRE_PAGES, 0, 4096, 1000, 1 } },
		{ YAB_WIRE_BULK, { YAB_WIRE_ZERO, 0, 0, 1500, 1 } },
		/* too long */
		{ YAB_WIRE_URGENT, { YAB_WIRE_PAGES, 0, 8192, 1000, 2 } },
		{ YAB_WIRE_URGENT, { YAB_WIRE_ZERO, 0, 0, 1000, 2 } },
		{ YAB_WIRE_BULK, { YAB_WIRE_ZERO, 0, 0, 0, 65 } },
		{ YAB_WIRE_BULK, { YAB_WIRE_ZERO, 0, 0, 0, PAGES } },
		{ YAB_WIRE_BULK, { YAB_WIRE_PAGES, 0, 256 * 4096, 0, 256 } },
		/* the wrong order */
		{ YAB_WIRE_URGENT, { YAB_WIRE_ZERO, 0, 0, 1002, 1 } },
		{ YAB_WIRE_BULK, { YAB_WIRE_ZERO, 0, 0, 64, 64 } },
		{ YAB_WIRE_BULK, { YAB_WIRE_PAGES, 0, 4096, 1, 1 } },
		/* malformed */
		{ YAB_WIRE_BULK, { YAB_WIRE_PAGES, 0, 4095, 0, 1 } },
		{ YAB_WIRE_BULK, { YAB_WIRE_ZERO, 1, 0, 0, 1 } },
		{ YAB_WIRE_BULK, { YAB_WIRE_ZERO, 0, 0, 0, UINT64_MAX } },
		{ YAB_WIRE_BULK, { YAB_WIRE_ZERO, 0, 0, UINT64_MAX, 2 } },
		{ YAB_WIRE_BULK, { YAB_WIRE_REQUEST, 0, 0, 0, 1 } },
		{ YAB_WIRE_URGENT, { YAB_WIRE_STATE, 0, 100, 0, 0 } },
		{ YAB_WIRE_URGENT, { YAB_WIRE_ERROR, 0, 513, 0, 0 } },
	};
	static uint8_t bytes[YAB_WIRE_HEADER_SIZE + 2 * SCRIPT_PAGE];
	struct stat st;
	int fd;

	pull_connect(YAB_WIRE_URGENT);
	pull_connect(YAB_WIRE_BULK);
	pull_expect_window(0);
	pull_fault(1000);
	script_settle(pull.base);
	pull_fault(1002);
	script_settle(pull.base);
	script_expect_request(pull.urgent, 1000, 1);
	script_expect_request(pull.urgent, 1002, 1);
	fd = pull.urgent;
	if (cases[_i].role == YAB_WIRE_BULK)
		fd = pull.bulk;
	memset(bytes, GUEST, sizeof(bytes));
	yab_wire_header_encode(bytes, &cases[_i].header);
	script_send(fd, bytes, sizeof(bytes));
	script_settle(pull.base);
	ck_assert_int_eq(pull.lost[cases[_i].role], 1);
	ck_assert_int_eq(pull.lost[YAB_WIRE_URGENT] + pull.lost[YAB_WIRE_BULK], 1);
	ck_assert_uint_eq(pull.declared_count, 0);
	ck_assert_uint_eq(pull.statistics->present, 0);
	ck_assert_int_eq(fstat(pull.memory.fd, &st), 0);
	ck_assert_int_eq(st.st_blocks, 0);
	script_expect_refusal(fd);
}
END_TEST

/* Pages of a pack, which is at @pack. */
#define PACK		4

static size_t make_pack(enum yab_codec_kind kind, uint8_t *pack, uint64_t page, uint64_t count)
{
	struct yab_codec *codec = yab_codec_new(kind);
	uint8_t plain[YAB_CODEC_PLAIN_MAX];
	size_t size;

	ck_assert_ptr_nonnull(codec);
	for (uint64_t i = 0; i < count; i++)
		script_fill(plain + i * SCRIPT_PAGE, page + i, SEED);
	size = yab_codec_pack(codec, pack, plain, count * SCRIPT_PAGE);
	yab_codec_free(codec);
	ck_assert_uint_gt(size, 0);
	return size;
}

/*
 * A pack in two pieces. Between them one of its pages comes on the urgent connection and
 * is written to: the pack brings the others.
 */
START_TEST(pack)
{
	static uint8_t bytes[YAB_CODEC_PLAIN_MAX];
	const enum yab_codec_kind kind = YAB_CODEC_LZ4 + _i % 2;
	const size_t size = make_pack(kind, bytes, 0, PACK);
	const size_t cut = _i / 2 ? size - 1 : 1;

	ck_assert_int_eq(yab_pager_unpack(pull.pager, kind), 0);
	pull_connect(YAB_WIRE_URGENT);
	pull_connect(YAB_WIRE_BULK);
	pull_expect_window(0);
	script_send_header(pull.bulk, YAB_WIRE_PACKED, (uint32_t)size, 0, PACK);
	script_send(pull.bulk, bytes, cut);
	script_settle(pull.base);
	ck_assert_uint_eq(pull.declared_count, 0);
	pull_fault(1);
	script_settle(pull.base);
	script_expect_request(pull.urgent, 1, 1);
	script_send_pages(pull.urgent, 1, 1, SEED);
	script_settle(pull.base);
	pull_expect_declared(1, 1);
	memset(script_at(&pull.memory, 1), GUEST, SCRIPT_PAGE);
	/* With what comes behind it. */
	script_send(pull.bulk, bytes + cut, size - cut);
	script_send_header(pull.bulk, YAB_WIRE_ZERO, 0, PACK, 2);
	script_settle(pull.base);
	ck_assert_uint_eq(script_at(&pull.memory, 1)[0], GUEST);
	ck_assert_uint_eq(script_at(&pull.memory, 1)[SCRIPT_PAGE - 1], GUEST);
	pull_expect_filled(0, 1);
	pull_expect_filled(2, PACK - 2);
	ck_assert_uint_eq(pull.statistics->present, PACK + 2);
	ck_assert_uint_eq(pull.statistics->duplicate_pages, 1);
	ck_assert_uint_eq(pull.statistics->packed_pages, PACK);
	ck_assert_uint_eq(pull.statistics->packed_bytes, size);
	ck_assert_uint_eq(pull.statistics->bytes, size + SCRIPT_PAGE);
	ck_assert_uint_eq(pull.statistics->data_pages, PACK + 1);
	ck_assert_int_eq(pull.lost[YAB_WIRE_BULK], 0);
}
END_TEST

/* Packs that are none, or hold other than they should: nothing of them is declared or kept. */
START_TEST(hostile_pack)
{
	static uint8_t bytes[YAB_CODEC_PLAIN_MAX + SCRIPT_PAGE];
	const enum yab_codec_kind kind = YAB_CODEC_LZ4 + _i % 2;
	enum yab_wire_role role = YAB_WIRE_BULK;
	uint64_t page = 0, count = PACK;
	bool agreed = true;
	struct stat st;
	size_t size;
	int fd;

	size = make_pack(kind, bytes, 0, PACK);
	switch (_i / 2) {
	case 0:
		memset(bytes, 0xff, size);
		break;
	case 1:
		size--;
		break;
	case 2:
		size++;
		break;
	case 3:
		count++;
		break;
	case 4:
		/* A bomb: much more than it should. */
		size = make_pack(kind, bytes, 0, YAB_WIRE_PACK_PAGES);
		count = size / SCRIPT_PAGE + 1;
		break;
	case 5:
		agreed = false;
		break;
	case 6:
		role = YAB_WIRE_URGENT;
		page = 1000;
		break;
	case 7:
		page = 1;
		break;
	case 8:
		count = RUN + 1;
		break;
	case 9:
		size = PACK * SCRIPT_PAGE;
		break;
	}
	if (agreed)
		ck_assert_int_eq(yab_pager_unpack(pull.pager, kind), 0);
	pull_connect(YAB_WIRE_URGENT);
	pull_connect(YAB_WIRE_BULK);
	pull_expect_window(0);
	pull_fault(1000);
	script_settle(pull.base);
	script_expect_request(pull.urgent, 1000, 1);
	fd = role == YAB_WIRE_BULK ? pull.bulk : pull.urgent;
	script_send_header(fd, YAB_WIRE_PACKED, (uint32_t)size, page, count);
	script_send(fd, bytes, size);
	script_settle(pull.base);
	ck_assert_int_eq(pull.lost[role], 1);
	ck_assert_int_eq(pull.lost[YAB_WIRE_URGENT] + pull.lost[YAB_WIRE_BULK], 1);
	ck_assert_uint_eq(pull.declared_count, 0);
	ck_assert_uint_eq(pull.statistics->present, 0);
	ck_assert_uint_eq(pull.statistics->packed_pages, 0);
	ck_assert_int_eq(fstat(pull.memory.fd, &st), 0);
	ck_assert_int_eq(st.st_blocks, 0);
	script_expect_refusal(fd);
}
END_TEST

/* An answer that is right is not a licence for another one. */
START_TEST(hostile_source_repeats)
{
	pull_connect(YAB_WIRE_URGENT);
	pull_fault(5);
	script_settle(pull.base);
	script_expect_request(pull.urgent, 5, 1);
	script_send_pages(pull.urgent, 5, 1, SEED);
	script_send_pages(pull.urgent, 5, 1, SEED + 1);
	script_settle(pull.base);
	pull_expect_declared(5, 1);
	pull_expect_filled(5, 1);
	ck_assert_int_eq(pull.lost[YAB_WIRE_URGENT], 1);
	script_expect_refusal(pull.urgent);
}
END_TEST

START_TEST(error_is_passed_on)
{
	pull_connect(YAB_WIRE_URGENT);
	script_send_header(pull.urgent, YAB_WIRE_ERROR, 4, 0, 0);
	script_send(pull.urgent, "gr\n", 3);
	script_settle(pull.base);
	ck_assert_int_eq(pull.lost[YAB_WIRE_URGENT], 0);
	script_send(pull.urgent, "r", 1);
	script_settle(pull.base);
	ck_assert_int_eq(pull.lost[YAB_WIRE_URGENT], 1);
	ck_assert_str_eq(pull.lost_text, "source says: gr?r");
	pull_connect(YAB_WIRE_URGENT);
	script_send_header(pull.urgent, YAB_WIRE_ERROR, 0, 0, 0);
	script_settle(pull.base);
	ck_assert_int_eq(pull.lost[YAB_WIRE_URGENT], 2);
	ck_assert_str_eq(pull.lost_text, "source says: ");
}
END_TEST

/* Half a page and the connection is gone: the next one brings the page anew. */
START_TEST(lost_in_mid_page)
{
	static uint8_t frame[YAB_WIRE_HEADER_SIZE + 2 * SCRIPT_PAGE];
	const bool zero = _i % 2;
	const bool reported = _i >= 2;

	pull_connect(YAB_WIRE_BULK);
	pull_expect_window(0);
	pull_frame(frame, 0, 2);
	memset(frame + YAB_WIRE_HEADER_SIZE + SCRIPT_PAGE, GUEST, SCRIPT_PAGE);
	script_send(pull.bulk, frame, YAB_WIRE_HEADER_SIZE + SCRIPT_PAGE + 3000);
	script_settle(pull.base);
	pull_expect_declared(0, 1);
	ck_assert(!script_is_hole(&pull.memory, 1));
	if (reported) {
		pull_disconnect(&pull.bulk);
		ck_assert_int_eq(pull.lost[YAB_WIRE_BULK], 1);
	}
	/* Otherwise it is replaced. The sweep goes on, and takes the lost pages up last. */
	pull_connect(YAB_WIRE_BULK);
	ck_assert_int_eq(pull.lost[YAB_WIRE_BULK], reported);
	pull_expect_window(WINDOW);
	pull_fault(1);
	script_settle(pull.base);
	script_expect_request(pull.bulk, 1, 1);
	for (uint64_t i = 0; i < 4; i++)
		script_send_header(pull.bulk, YAB_WIRE_ZERO, 0, 256 + i * RUN, RUN);
	script_settle(pull.base);
	ck_assert_uint_eq(script_at(&pull.memory, 1)[0], GUEST);
	pull.declared_count = 0;
	if (zero)
		script_send_header(pull.bulk, YAB_WIRE_ZERO, 0, 1, 1);
	else
		script_send_pages(pull.bulk, 1, 1, SEED);
	script_settle(pull.base);
	pull_expect_declared(1, 1);
	ck_assert_int_eq(script_is_hole(&pull.memory, 1), zero);
	if (zero)
		pull_expect_bytes(1, 0);
	else
		pull_expect_filled(1, 1);
}
END_TEST

/* More gaps than one declaration has ranges: a ZERO frame is taken in several. */
START_TEST(zero_frame_with_many_gaps)
{
	pull_connect(YAB_WIRE_URGENT);
	for (uint64_t page = 0; page < PAGES; page += 2) {
		pull_fault(page);
		script_settle(pull.base);
		script_expect_request(pull.urgent, page, 1);
		script_send_header(pull.urgent, YAB_WIRE_ZERO, 0, page, 1);
		script_settle(pull.base);
	}
	ck_assert_uint_eq(pull.statistics->present, PAGES / 2);
	pull.declared_count = 0;
	pull.declare_calls = 0;
	pull_connect(YAB_WIRE_BULK);
	pull_expect_survey(pull.bulk, 0);
	script_send_header(pull.bulk, YAB_WIRE_ZERO, 0, 0, PAGES);
	script_settle(pull.base);
	ck_assert_uint_eq(pull.declared_count, PAGES / 2);
	ck_assert_int_gt(pull.declare_calls, 1);
	ck_assert_int_eq(pull.completions, 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("intake");
	TCase *tcase = tcase_create("intake");

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, pull_setup, pull_teardown);
	tcase_add_loop_test(tcase, hostile_source, 0, 18);
	tcase_add_loop_test(tcase, pack, 0, 4);
	tcase_add_loop_test(tcase, hostile_pack, 0, 20);
	tcase_add_test(tcase, hostile_source_repeats);
	tcase_add_test(tcase, error_is_passed_on);
	tcase_add_loop_test(tcase, lost_in_mid_page, 0, 4);
	tcase_add_test(tcase, zero_frame_with_many_gaps);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}

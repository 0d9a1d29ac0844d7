// SPDX-License-Identifier: GPL-2.0-or-later
#include <string.h>
#include <zstd.h>

#include "../../daemon/codec.h"
#include "script.h"

#define PLAIN	YAB_CODEC_PLAIN_MAX
#define GUARD	64

static struct yab_codec *codec;
static uint8_t plain[PLAIN], pack[PLAIN + 1], out[PLAIN + GUARD];

static void make(int kind)
{
	codec = yab_codec_new(kind);
	ck_assert_ptr_nonnull(codec);
}

static void teardown(void)
{
	yab_codec_free(codec);
	codec = NULL;
}

static void fill_pages(uint64_t pages)
{
	for (uint64_t i = 0; i < pages; i++)
		script_fill(plain + i * SCRIPT_PAGE, i, 1);
}

static void fill_noise(uint64_t *state)
{
	for (size_t i = 0; i < PLAIN; i += 8) {
		const uint64_t word = script_random(state);

		memcpy(plain + i, &word, sizeof(word));
	}
}

/* Nothing behind @size was written to. */
static void expect_guard(size_t size)
{
	for (size_t i = size; i < size + GUARD; i++)
		ck_assert_uint_eq(out[i], 0xa5);
}

static int unpack(size_t size, size_t pack_size)
{
	int result;

	memset(out, 0xa5, sizeof(out));
	result = yab_codec_unpack(codec, out, size, pack, pack_size);
	expect_guard(size);
	return result;
}

START_TEST(round_trip)
{
	make(YAB_CODEC_LZ4 + _i);
	for (uint64_t pages = 1; pages <= YAB_WIRE_PACK_PAGES; pages++) {
		const size_t size = pages * SCRIPT_PAGE;
		size_t n;

		fill_pages(pages);
		n = yab_codec_pack(codec, pack, plain, size);
		ck_assert_uint_gt(n, 0);
		ck_assert_uint_lt(n, size);
		ck_assert_int_eq(unpack(size, n), 0);
		ck_assert_mem_eq(out, plain, size);
		/* It is neither more nor fewer pages. */
		ck_assert_int_eq(unpack(size - SCRIPT_PAGE, n), -1);
		if (pages < YAB_WIRE_PACK_PAGES)
			ck_assert_int_eq(unpack(size + SCRIPT_PAGE, n), -1);
	}
}
END_TEST

/* What does not get smaller is no pack, and nothing is written behind the room for one. */
START_TEST(noise)
{
	uint64_t state = 7;

	make(YAB_CODEC_LZ4 + _i);
	fill_noise(&state);
	for (uint64_t pages = 1; pages <= YAB_WIRE_PACK_PAGES; pages++) {
		pack[pages * SCRIPT_PAGE - 1] = 0xa5;
		ck_assert_uint_eq(yab_codec_pack(codec, pack, plain, pages * SCRIPT_PAGE), 0);
		ck_assert_uint_eq(pack[pages * SCRIPT_PAGE - 1], 0xa5);
	}
}
END_TEST

/* Cut off, with something behind it, with bytes changed: refused, or as many bytes. */
START_TEST(hostile)
{
	uint64_t state = 5;
	size_t n;

	make(YAB_CODEC_LZ4 + _i);
	fill_pages(4);
	n = yab_codec_pack(codec, pack, plain, 4 * SCRIPT_PAGE);
	ck_assert_uint_gt(n, 0);
	for (size_t cut = 0; cut < n; cut++)
		ck_assert_int_eq(unpack(4 * SCRIPT_PAGE, cut), -1);
	pack[n] = 0;
	ck_assert_int_eq(unpack(4 * SCRIPT_PAGE, n + 1), -1);
	for (int i = 0; i < 5000; i++) {
		pack[script_random(&state) % n] = (uint8_t)script_random(&state);
		unpack(4 * SCRIPT_PAGE, n);
	}
	for (int i = 0; i < 1000; i++) {
		fill_noise(&state);
		memcpy(pack, plain, 4096);
		ck_assert_int_eq(unpack(SCRIPT_PAGE, 4096 - 1), -1);
	}
}
END_TEST

/* What a pack says of its own size takes no memory, and is no more than was asked for. */
START_TEST(bomb)
{
	static uint8_t zeros[1 << 22];
	const size_t n = ZSTD_compress(pack, sizeof(pack), zeros, sizeof(zeros), 1);

	ck_assert(!ZSTD_isError(n));
	make(YAB_CODEC_ZSTD);
	for (size_t size = SCRIPT_PAGE; size <= PLAIN; size *= 2)
		ck_assert_int_eq(unpack(size, n), -1);
}
END_TEST

/* Frames that the library knows and the protocol does not: empty ones, several, old ones. */
START_TEST(other_frames)
{
	static const uint8_t skippable[] = { 0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0 };
	static const uint8_t old[] = { 0x27, 0xb5, 0x2f, 0xfd, 0, 0, 0, 0 };
	size_t n, second;

	make(YAB_CODEC_ZSTD);
	fill_pages(2);
	n = yab_codec_pack(codec, pack, plain, SCRIPT_PAGE);
	second = yab_codec_pack(codec, pack + n, plain + SCRIPT_PAGE, SCRIPT_PAGE);
	ck_assert_int_eq(unpack(2 * SCRIPT_PAGE, n + second), -1);
	memcpy(pack + n, skippable, sizeof(skippable));
	ck_assert_int_eq(unpack(SCRIPT_PAGE, n + sizeof(skippable)), -1);
	memcpy(pack, skippable, sizeof(skippable));
	ck_assert_int_eq(unpack(SCRIPT_PAGE, sizeof(skippable)), -1);
	memcpy(pack, old, sizeof(old));
	ck_assert_int_eq(unpack(SCRIPT_PAGE, 1000), -1);
}
END_TEST

START_TEST(names)
{
	ck_assert_int_eq(yab_codec_named("lz4"), YAB_CODEC_LZ4);
	ck_assert_int_eq(yab_codec_named("zstd"), YAB_CODEC_ZSTD);
	ck_assert_int_eq(yab_codec_named("none"), YAB_CODEC_NONE);
	ck_assert_int_eq(yab_codec_named("LZ4"), YAB_CODEC_NONE);
	ck_assert_int_eq(yab_codec_named(""), YAB_CODEC_NONE);
	ck_assert_int_eq(yab_codec_named(NULL), YAB_CODEC_NONE);
	for (int kind = 0; kind < YAB_CODEC_KINDS; kind++)
		ck_assert_int_eq(yab_codec_named(yab_codec_name(kind)), kind);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("codec");
	TCase *tcase = tcase_create("codec");

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, NULL, teardown);
	tcase_add_loop_test(tcase, round_trip, 0, 2);
	tcase_add_loop_test(tcase, noise, 0, 2);
	tcase_add_loop_test(tcase, hostile, 0, 2);
	tcase_add_test(tcase, bomb);
	tcase_add_test(tcase, other_frames);
	tcase_add_test(tcase, names);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}

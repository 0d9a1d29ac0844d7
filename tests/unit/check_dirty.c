// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The map of dirty pages, the log that fills it from a way that is played, and soft-dirty
 * bits from files like those of /proc.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "../../daemon/dirty.h"
#include "../../daemon/dirty_map.h"
#include "../../daemon/soft_dirty.h"
#include "../../daemon/tracking.h"
#include "script.h"

/* --- the map -------------------------------------------------------------------------- */

static struct yab_dirty_map map;
static struct yab_hints hints;

static void dirty(uint64_t page, uint64_t count)
{
	for (; count; page++, count--)
		map.bits[page / 64] |= 1ULL << page % 64;
}

static bool is_dirty(uint64_t page)
{
	return map.bits[page / 64] >> page % 64 & 1;
}

/* In parts of a few words, as a log does it. */
static void find(void)
{
	for (uint64_t page = 0; page < map.pages; page += 128)
		yab_dirty_map_count(&map, page, map.pages - page < 128 ? map.pages - page : 128);
	yab_dirty_map_hints(&map, &hints);
}

static void expect(unsigned int which, uint64_t page, uint64_t count)
{
	ck_assert_uint_gt(hints.count, which);
	ck_assert_uint_eq(hints.ranges[which].page, page);
	ck_assert_uint_eq(hints.ranges[which].count, count);
}

START_TEST(nothing_is_dirty)
{
	ck_assert_int_eq(yab_dirty_map_init(&map, 1000), 0);
	find();
	ck_assert_uint_eq(hints.count, 0);
	yab_dirty_map_release(&map);
}
END_TEST

START_TEST(everything_is_dirty)
{
	ck_assert_int_eq(yab_dirty_map_init(&map, 1001), 0);
	dirty(0, 1001);
	find();
	ck_assert_uint_eq(hints.count, 1);
	expect(0, 0, 1001);
	yab_dirty_map_release(&map);
}
END_TEST

/* Small gaps are closed, clean ends left out, the densest range comes first. */
START_TEST(ranges_are_merged)
{
	ck_assert_int_eq(yab_dirty_map_init(&map, 1000), 0);
	dirty(3, 1);
	dirty(12, 1);		/* blocks 0 and 1: [3, 13) */
	dirty(500, 30);		/* most of their blocks */
	dirty(127, 2);		/* over the end of a word, of a part, and of a block */
	dirty(999, 1);		/* the last one */
	find();
	ck_assert_uint_eq(hints.count, 4);
	expect(0, 500, 30);
	expect(1, 3, 10);
	expect(2, 127, 2);
	expect(3, 999, 1);
	yab_dirty_map_release(&map);
}
END_TEST

/* More single pages than there are hints: they give way to what is dense. */
START_TEST(dense_ranges_win)
{
	ck_assert_int_eq(yab_dirty_map_init(&map, 64 * 4000), 0);
	for (uint64_t i = 0; i < 4000; i++)
		dirty(i * 64, 1);
	dirty(100 * 64 + 8, 3);
	dirty(200 * 64 + 8, 24);
	find();
	ck_assert_uint_eq(hints.count, 2);
	expect(0, 200 * 64 + 8, 24);
	expect(1, 100 * 64 + 8, 3);
	yab_dirty_map_release(&map);
}
END_TEST

/* Even wholly dirty blocks are too many: some of them, from everywhere. */
START_TEST(too_many_dense_ranges)
{
	const uint64_t ranges = 2 * YAB_HINTS_MAX + 1;
	uint64_t highest = 0;

	ck_assert_int_eq(yab_dirty_map_init(&map, ranges * 16), 0);
	for (uint64_t i = 0; i < ranges; i++)
		dirty(i * 16, 8);
	find();
	ck_assert_uint_gt(hints.count, YAB_HINTS_MAX / 2);
	ck_assert_uint_le(hints.count, YAB_HINTS_MAX);
	for (unsigned int i = 0; i < hints.count; i++) {
		ck_assert_uint_eq(hints.ranges[i].count, 8);
		ck_assert_uint_eq(hints.ranges[i].page % 16, 0);
		if (hints.ranges[i].page > highest)
			highest = hints.ranges[i].page;
	}
	ck_assert_uint_gt(highest, ranges * 16 * 9 / 10);
	yab_dirty_map_release(&map);
}
END_TEST

/* Whatever is dirty: ranges are within the region, do not touch, and are dirty at their ends. */
START_TEST(any_map)
{
	uint64_t state = (uint64_t)_i + 1;
	uint8_t *covered;
	const uint64_t pages = 1 + script_random(&state) % 300000;

	ck_assert_int_eq(yab_dirty_map_init(&map, pages), 0);
	for (int i = 0; i < 3000 * (_i % 4); i++) {
		const uint64_t page = script_random(&state) % pages;
		const uint64_t count = 1 + script_random(&state) % (_i % 3 ? 3 : 40);

		dirty(page, count < pages - page ? count : pages - page);
	}
	find();
	ck_assert_uint_le(hints.count, YAB_HINTS_MAX);
	covered = calloc(pages, 1);
	for (unsigned int i = 0; i < hints.count; i++) {
		const struct yab_hint *range = &hints.ranges[i];
		const uint64_t end = range->page + range->count - 1;

		if (end >= pages || !is_dirty(range->page) || !is_dirty(end))
			ck_abort_msg("range %u", i);
		for (uint64_t page = range->page; page <= end; page++)
			if (covered[page]++)
				ck_abort_msg("page %llu twice", (unsigned long long)page);
	}
	free(covered);
	yab_dirty_map_release(&map);
}
END_TEST

/* --- the log, of a way that is played --------------------------------------------------- */

#define PAGES	(3 * YAB_DIRTY_SLICE + 100)

static struct event_base *base;
static struct yab_dirty_log *dirty_log;
static bool refuses, frees;
static int starts, stops, reads, told, fails_at;
static uint64_t read_to;

static void *fake_start(const struct yab_dirty_target *target, char *error, size_t error_size)
{
	ck_assert_uint_eq(target->pages, PAGES);
	starts++;
	if (refuses) {
		snprintf(error, error_size, "not here");
		return NULL;
	}
	return &starts;
}

static int fake_read(void *object, uint64_t page, uint64_t count, uint64_t *bits)
{
	ck_assert_ptr_eq(object, &starts);
	ck_assert_uint_eq(page, read_to);
	ck_assert_uint_le(count, YAB_DIRTY_SLICE);
	ck_assert_uint_le(count, PAGES - page);
	read_to += count;
	memset(bits, 0, (count + 63) / 64 * sizeof(*bits));
	/* The first two pages of each slice. */
	bits[0] = 3;
	errno = EIO;
	return ++reads == fails_at ? -1 : 0;
}

static void fake_stop(void *object)
{
	ck_assert_ptr_eq(object, &starts);
	stops++;
}

static const struct yab_dirty_kind fake = {
	"fake", PAGES, fake_start, fake_read, fake_stop,
};
static const struct yab_dirty_kind too_small = {
	"too small", PAGES - 1, fake_start, fake_read, fake_stop,
};
static const struct yab_dirty_target target = { .vm = "test", .memory_fd = -1, .pages = PAGES };

static void on_hints(const struct yab_hints *all, void *arg)
{
	ck_assert_ptr_eq(arg, &target);
	ck_assert_int_eq(stops, starts);
	ck_assert_uint_eq(all->count, 4);
	for (unsigned int i = 0; i < 4; i++) {
		ck_assert_uint_eq(all->ranges[i].page, i * YAB_DIRTY_SLICE);
		ck_assert_uint_eq(all->ranges[i].count, 2);
	}
	told++;
	if (frees) {
		yab_dirty_log_free(dirty_log);
		dirty_log = NULL;
	}
}

static struct yab_dirty_log *begin(const struct yab_dirty_kind *first,
				   const struct yab_dirty_kind *second)
{
	const struct yab_dirty_kind *const kinds[] = { first, second, NULL };

	return yab_dirty_log_new(base, &target, kinds, on_hints, (void *)&target);
}

static void set_up(void)
{
	base = script_base();
}

static void tear_down(void)
{
	yab_dirty_log_free(dirty_log);
	event_base_free(base);
}

static void on_other(evutil_socket_t fd, short what, void *arg)
{
	int *seen = arg;

	(void)fd;
	(void)what;
	*seen = reads;
}

/* In slices, with other events between them; once; and it has stopped before it tells. */
START_TEST(reads_in_slices)
{
	struct event *other;
	int seen = -1;

	frees = _i;
	dirty_log = begin(&fake, NULL);
	ck_assert_ptr_nonnull(dirty_log);
	ck_assert_int_eq(starts, 1);
	script_settle(base);
	ck_assert_int_eq(reads, 0);
	yab_dirty_log_read(dirty_log);
	yab_dirty_log_read(dirty_log);
	ck_assert_int_eq(reads, 0);
	event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
	ck_assert_int_eq(reads, 1);
	other = event_new(base, STDIN_FILENO, 0, on_other, &seen);
	event_active(other, EV_READ, 0);
	event_base_loop(base, EVLOOP_ONCE);
	ck_assert_int_ge(seen, 1);
	ck_assert_int_le(reads, 2);
	event_free(other);
	while (!told)
		ck_assert_int_eq(event_base_loop(base, EVLOOP_ONCE), 0);
	script_settle(base);
	ck_assert_int_eq(reads, 4);
	ck_assert_int_eq(told, 1);
	ck_assert_int_eq(stops, 1);
	yab_dirty_log_free(dirty_log);
	dirty_log = NULL;
	ck_assert_int_eq(stops, 1);
}
END_TEST

/* The first one that works; what is too large is not even tried. */
START_TEST(first_that_works)
{
	dirty_log = begin(&too_small, &fake);
	ck_assert_ptr_nonnull(dirty_log);
	ck_assert_int_eq(starts, 1);
	yab_dirty_log_free(dirty_log);
	ck_assert_int_eq(stops, 1);
	refuses = true;
	dirty_log = begin(&fake, &fake);
	ck_assert_ptr_null(dirty_log);
	ck_assert_int_eq(starts, 3);
	ck_assert_int_eq(stops, 1);
	dirty_log = begin(NULL, NULL);
	ck_assert_ptr_null(dirty_log);
	yab_dirty_log_read(NULL);
}
END_TEST

/* No hints, and nothing goes on. */
START_TEST(reading_fails)
{
	fails_at = 2;
	dirty_log = begin(&fake, NULL);
	yab_dirty_log_read(dirty_log);
	while (!stops)
		ck_assert_int_eq(event_base_loop(base, EVLOOP_ONCE), 0);
	script_settle(base);
	ck_assert_int_eq(reads, 2);
	ck_assert_int_eq(told, 0);
}
END_TEST

/* A guest that is given back is not held up any longer. */
START_TEST(ends_while_it_reads)
{
	dirty_log = begin(&fake, NULL);
	yab_dirty_log_read(dirty_log);
	event_base_loop(base, EVLOOP_ONCE);
	ck_assert_int_eq(reads, 1);
	yab_dirty_log_free(dirty_log);
	dirty_log = NULL;
	script_settle(base);
	ck_assert_int_eq(reads, 1);
	ck_assert_int_eq(stops, 1);
	ck_assert_int_eq(told, 0);
}
END_TEST

/* --- the two ways that there are --------------------------------------------------------- */

#define SOFT	(1ULL << 55)
#define PRESENT	(1ULL << 63)

static char folder[SCRIPT_FOLDER_SIZE];
static struct script_memory memory;

static void write_file(const char *name, const char *text)
{
	script_file_write(script_path(folder, name), text, strlen(text));
}

/* Of the memory file; @shift makes another inode of it. */
static int print_line(char *line, size_t size, unsigned long start, unsigned long pages,
		      const char *mode, unsigned long first, unsigned int shift)
{
	struct stat st;

	ck_assert_int_eq(fstat(memory.fd, &st), 0);
	return snprintf(line, size, "%lx-%lx %s %08lx %02x:%02x %lu       /memfd:guest (deleted)\n",
			start, start + pages * SCRIPT_PAGE, mode, first * SCRIPT_PAGE,
			major(st.st_dev), minor(st.st_dev), (unsigned long)st.st_ino + shift);
}

static void set_entry(uint64_t address, uint64_t entry)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/pagemap", folder);
	fd = open(path, O_WRONLY);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pwrite(fd, &entry, sizeof(entry), (off_t)(address / SCRIPT_PAGE * 8)), 8);
	close(fd);
}

static void set_up_folder(void)
{
	char maps[2048] = "00400000-00401000 r-xp 00000000 08:01 12   /usr/bin/qemu\nnonsense\n\n";
	size_t n = strlen(maps);

	script_folder_make(folder);
	script_memory_make(&memory, 256);
	n += (size_t)print_line(maps + n, sizeof(maps) - n, 0x100000, 64, "rw-s", 128, 0);
	/* Another file, a private mapping, one that cannot be written, one behind the end. */
	n += (size_t)print_line(maps + n, sizeof(maps) - n, 0x200000, 256, "rw-s", 0, 1);
	n += (size_t)print_line(maps + n, sizeof(maps) - n, 0x300000, 256, "rw-p", 0, 0);
	n += (size_t)print_line(maps + n, sizeof(maps) - n, 0x400000, 256, "r--s", 0, 0);
	n += (size_t)print_line(maps + n, sizeof(maps) - n, 0x500000, 8, "rw-s", 256, 0);
	/* The first half, and more than there is behind the first line's part. */
	n += (size_t)print_line(maps + n, sizeof(maps) - n, 0x600000, 128, "rw-s", 0, 0);
	n += (size_t)print_line(maps + n, sizeof(maps) - n, 0x800000, 999, "rw-s", 250, 0);
	write_file("maps", maps);
	write_file("clear_refs", "");
	write_file("pagemap", "");
	set_entry(0x900000, 0);
	ck_assert_uint_lt(n, sizeof(maps) - 1);
}

static void tear_down_folder(void)
{
	script_folder_drop(folder);
	script_memory_drop(&memory);
}

static struct yab_soft_dirty *new_soft(char error[256])
{
	return yab_soft_dirty_new(folder, memory.fd, memory.pages, error, 256);
}

START_TEST(soft_dirty_pages)
{
	struct yab_soft_dirty *soft;
	uint64_t bits[4] = { ~0ULL, ~0ULL, ~0ULL, ~0ULL };
	char error[256] = "", path[128], text[8] = "";
	int fd;

	soft = new_soft(error);
	ck_assert_msg(soft, "%s", error);
	snprintf(path, sizeof(path), "%s/clear_refs", folder);
	fd = open(path, O_RDONLY);
	ck_assert_int_eq(read(fd, text, sizeof(text)), 1);
	ck_assert_int_eq(text[0], '4');
	close(fd);

	set_entry(0x100000, PRESENT | SOFT);			/* 128 */
	set_entry(0x100000 + 63 * SCRIPT_PAGE, SOFT);		/* 191 */
	set_entry(0x600000 + 5 * SCRIPT_PAGE, PRESENT | SOFT);	/* 5 */
	set_entry(0x600000 + 6 * SCRIPT_PAGE, PRESENT);
	set_entry(0x600000 + 64 * SCRIPT_PAGE, ~0ULL);		/* 64 */
	set_entry(0x800000 + 5 * SCRIPT_PAGE, SOFT);		/* 255 */
	set_entry(0x800000 + 6 * SCRIPT_PAGE, SOFT);		/* none of ours */
	set_entry(0x200000, SOFT);
	set_entry(0x300000, SOFT);
	set_entry(0x400000, SOFT);
	set_entry(0x500000, SOFT);
	ck_assert_int_eq(yab_soft_dirty_read(soft, 0, 256, bits), 0);
	ck_assert_uint_eq(bits[0], 1ULL << 5);
	ck_assert_uint_eq(bits[1], 1);
	ck_assert_uint_eq(bits[2], 1ULL << 63 | 1);
	ck_assert_uint_eq(bits[3], 1ULL << 63);
	/* Parts of it. */
	ck_assert_int_eq(yab_soft_dirty_read(soft, 128, 128, bits), 0);
	ck_assert_uint_eq(bits[0], 1ULL << 63 | 1);
	ck_assert_uint_eq(bits[1], 1ULL << 63);
	ck_assert_int_eq(yab_soft_dirty_read(soft, 64, 10, bits), 0);
	ck_assert_uint_eq(bits[0], 1);
	/* The process is gone: its pagemap has no entries. */
	ck_assert_int_eq(truncate((snprintf(path, sizeof(path), "%s/pagemap", folder), path), 0),
			 0);
	ck_assert_int_eq(yab_soft_dirty_read(soft, 0, 64, bits), -1);
	ck_assert_int_eq(errno, ESRCH);
	yab_soft_dirty_free(soft);
}
END_TEST

/* No such process, not ours, not its memory. */
START_TEST(soft_dirty_is_not_to_be_had)
{
	static const char *const files[] = { "pagemap", "maps", "clear_refs" };
	char error[256] = "", path[128];

	if (_i < 3) {
		ck_assert_int_eq(unlink(script_path(folder, files[_i])), 0);
		ck_assert_ptr_null(new_soft(error));
		snprintf(path, sizeof(path), "%s/%s: No such file or directory", folder,
			 files[_i]);
		ck_assert_str_eq(error, path);
		return;
	}
	write_file("maps", "00400000-00401000 rw-s 00000000 08:01 12   /usr/bin/qemu\n");
	ck_assert_ptr_null(new_soft(error));
	snprintf(path, sizeof(path), "%s does not map the memory", folder);
	ck_assert_str_eq(error, path);
}
END_TEST

/* This process, on kernels that have them; on others it is refused, with a reason. */
START_TEST(soft_dirty_of_this_kernel)
{
	const struct yab_dirty_target own = {
		.vm = "test", .memory_fd = memory.fd, .pages = memory.pages, .pid = getpid(),
	};
	char error[256] = "";
	uint64_t bits[4];
	void *object;

	memset(memory.bytes, 1, memory.pages * SCRIPT_PAGE);
	object = yab_soft_dirty_kind.start(&own, error, sizeof(error));
	if (!yab_soft_dirty_is_there()) {
		ck_assert_ptr_null(object);
		ck_assert_str_eq(error, "this kernel has none (CONFIG_MEM_SOFT_DIRTY)");
		return;
	}
	ck_assert_msg(object, "%s", error);
	memory.bytes[70 * SCRIPT_PAGE] = 2;
	ck_assert_int_eq(yab_soft_dirty_kind.read(object, 0, 256, bits), 0);
	ck_assert_uint_eq(bits[0], 0);
	ck_assert_uint_eq(bits[1], 1ULL << 6);
	ck_assert_uint_eq(bits[2], 0);
	ck_assert_uint_eq(bits[3], 0);
	yab_soft_dirty_kind.stop(object);
}
END_TEST

/* Without a region, and without the module, there is no tracking. */
START_TEST(no_tracking)
{
	struct yab_dirty_target none = { .vm = "check-dirty", .memory_fd = memory.fd, .pages = 1 };
	char error[256] = "";

	ck_assert_ptr_null(yab_tracking_kind.start(&none, error, sizeof(error)));
	ck_assert_str_eq(error, "its memory is no region");
	none.on_region = true;
	ck_assert_ptr_null(yab_tracking_kind.start(&none, error, sizeof(error)));
	ck_assert_str_ne(error, "its memory is no region");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("dirty");
	TCase *tcase = tcase_create("map");

	tcase_add_test(tcase, nothing_is_dirty);
	tcase_add_test(tcase, everything_is_dirty);
	tcase_add_test(tcase, ranges_are_merged);
	tcase_add_test(tcase, dense_ranges_win);
	tcase_add_test(tcase, too_many_dense_ranges);
	tcase_add_loop_test(tcase, any_map, 0, 12);
	suite_add_tcase(suite, tcase);

	tcase = tcase_create("log");
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_loop_test(tcase, reads_in_slices, 0, 2);
	tcase_add_test(tcase, first_that_works);
	tcase_add_test(tcase, reading_fails);
	tcase_add_test(tcase, ends_while_it_reads);
	suite_add_tcase(suite, tcase);

	tcase = tcase_create("kinds");
	tcase_add_checked_fixture(tcase, set_up_folder, tear_down_folder);
	tcase_add_test(tcase, soft_dirty_pages);
	tcase_add_loop_test(tcase, soft_dirty_is_not_to_be_had, 0, 4);
	tcase_add_test(tcase, soft_dirty_of_this_kernel);
	tcase_add_test(tcase, no_tracking);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}

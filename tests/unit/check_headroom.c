// SPDX-License-Identifier: GPL-2.0-or-later
/* How much memory can be had, from files as proc and control groups have them. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "../../daemon/headroom.h"
#include "script.h"

#define MIB	(1024ULL * 1024)
#define HOST	"MemTotal:  8388608 kB\nMemAvailable:    2048 kB\nSwapTotal: 4096 kB\n" \
		"SwapFree:        1024 kB\nSwapCached: 77 kB\n"

static char root[SCRIPT_FOLDER_SIZE];

static void make_root(void)
{
	script_folder_make(root);
}

static void remove_root(void)
{
	script_folder_drop(root);
}

/* The file @name below the root, and the folders above it. */
static void put(const char *name, const char *text)
{
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", root, name);
	for (char *at = path + strlen(root) + 1; (at = strchr(at, '/')); at++) {
		*at = '\0';
		mkdir(path, 0700);
		*at = '/';
	}
	file = fopen(path, "we");
	ck_assert_ptr_nonnull(file);
	ck_assert_int_ge(fputs(text, file), 0);
	fclose(file);
}

static void limit(const char *group, const char *name, const char *text)
{
	char path[200];

	snprintf(path, sizeof(path), "sys/fs/cgroup/%s/%s", group, name);
	put(path, text);
}

static void expect(uint64_t bytes, const char *where)
{
	struct yab_headroom headroom;

	yab_headroom_find(root, &headroom);
	ck_assert_uint_eq(headroom.bytes, bytes);
	ck_assert_str_eq(headroom.where, where);
}

START_TEST(nothing_is_known)
{
	expect(UINT64_MAX, "");
	put("proc/meminfo", "MemFree: 1 kB\n");
	put("proc/self/cgroup", "1:memory:/old\n");
	expect(UINT64_MAX, "");
}
END_TEST

START_TEST(of_the_host)
{
	put("proc/meminfo", HOST);
	expect(3 * MIB, "this host");
	put("proc/self/cgroup", "0::/\n");
	expect(3 * MIB, "this host");
}
END_TEST

START_TEST(no_limits)
{
	put("proc/meminfo", HOST);
	put("proc/self/cgroup", "0::/a/b\n");
	limit("a/b", "memory.max", "max\n");
	limit("a/b", "memory.current", "99999999\n");
	expect(3 * MIB, "this host");
}
END_TEST

START_TEST(the_narrowest_group)
{
	put("proc/meminfo", HOST);
	put("proc/self/cgroup", "2:cpu:/x\n0::/a/b/c\n");
	limit("a/b/c", "memory.max", "2097152\n");
	limit("a/b/c", "memory.current", "1048576\n");
	limit("a/b/c", "memory.swap.max", "0\n");
	expect(1 * MIB, "control group /a/b/c");
	limit("a/b", "memory.max", "2097152\n");
	limit("a/b", "memory.current", "2093056\n");
	limit("a/b", "memory.swap.max", "0\n");
	expect(4096, "control group /a/b");
	limit("a", "memory.max", "4096\n");
	limit("a", "memory.current", "8192\n");
	limit("a", "memory.swap.max", "0\n");
	expect(0, "control group /a");
}
END_TEST

/* Caches go when memory is wanted; swap, as far as both the group and the host have some. */
START_TEST(caches_and_swap)
{
	put("proc/meminfo", HOST);
	put("proc/self/cgroup", "0::/a\n");
	limit("a", "memory.max", "1048576\n");
	limit("a", "memory.current", "1048576\n");
	limit("a", "memory.swap.max", "8192\n");
	limit("a", "memory.swap.current", "4096\n");
	limit("a", "memory.stat", "anon 7\nfile 1048576\ninactive_file 4096\nactive_file 8192\n"
		   "inactive_anon 65536\n");
	expect(16384, "control group /a");
	limit("a", "memory.swap.max", "max\n");
	expect(1 * MIB + 12288, "control group /a");
}
END_TEST

START_TEST(nonsense)
{
	put("proc/meminfo", "MemAvailable: 99999999999999999999999 kB\nSwapFree: x\n\n:\n");
	put("proc/self/cgroup", "0::/a//\n");
	limit("a", "memory.max", "\n");
	limit("a", "memory.current", "");
	expect(UINT64_MAX, "");
}
END_TEST

/* Of this host, which has some memory and not as much as there are numbers. */
START_TEST(check)
{
	char error[512] = "";

	ck_assert_int_eq(yab_headroom_check("vm1", 0, error, sizeof(error)), 0);
	ck_assert_int_eq(yab_headroom_check("vm1", -1, error, sizeof(error)), 0);
	ck_assert_int_eq(yab_headroom_check("vm1", 4096, error, sizeof(error)), 0);
	ck_assert_int_eq(yab_headroom_check("vm1", INT64_MAX, error, sizeof(error)), -1);
	ck_assert_msg(strstr(error, "VM vm1 uses 8796093022207 MiB"), "%s", error);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("headroom");
	TCase *tcase = tcase_create("headroom");

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, make_root, remove_root);
	tcase_add_test(tcase, nothing_is_known);
	tcase_add_test(tcase, of_the_host);
	tcase_add_test(tcase, no_limits);
	tcase_add_test(tcase, the_narrowest_group);
	tcase_add_test(tcase, caches_and_swap);
	tcase_add_test(tcase, nonsense);
	tcase_add_test(tcase, check);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}

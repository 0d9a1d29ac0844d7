// SPDX-License-Identifier: GPL-2.0-or-later
/* What can be said of it without the kernel module; the rest is the kselftests'. */
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../daemon/region.h"
#include "script.h"

START_TEST(memory_is_sealed)
{
	const int fd = yab_region_memory("guest", 8 * SCRIPT_PAGE);
	struct stat st;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_int_eq(st.st_size, 8 * SCRIPT_PAGE);
	ck_assert_int_eq(st.st_blocks, 0);
	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	ck_assert(fcntl(fd, F_GET_SEALS) & F_SEAL_SHRINK);
	ck_assert_int_eq(ftruncate(fd, SCRIPT_PAGE), -1);
	ck_assert_int_eq(errno, EPERM);
	close(fd);
}
END_TEST

START_TEST(memory_of_absurd_size)
{
	ck_assert_int_eq(yab_region_memory("guest", 0), -1);
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_int_eq(yab_region_memory("guest", UINT64_MAX), -1);
	ck_assert_int_eq(errno, EINVAL);
}
END_TEST

START_TEST(module_is_missing)
{
	char error[256];

	if (!access(YAB_REGION_CONTROL, F_OK))
		return;		/* it is not: a machine with the module */
	ck_assert_int_eq(yab_region_create("guest", SCRIPT_PAGE, -1, 0, 0, error, sizeof(error)),
			 -1);
	ck_assert_str_eq(error,
			 "kernel module yabusame is not loaded: run modprobe yabusame, or insmod yabusame.ko");
}
END_TEST

START_TEST(names_are_bounded)
{
	char name[YAB_NAME_SIZE + 1], error[256];

	memset(name, 'a', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	ck_assert_int_eq(yab_region_create(name, SCRIPT_PAGE, -1, 0, 0, error, sizeof(error)), -1);
	ck_assert_str_eq(error, "a region's name has 1 to 63 characters");
	ck_assert_int_eq(yab_region_create("", SCRIPT_PAGE, -1, 0, 0, error, sizeof(error)), -1);
	ck_assert_str_eq(error, "a region's name has 1 to 63 characters");
}
END_TEST

START_TEST(declare_checks_its_count)
{
	static struct yab_range ranges[1];

	ck_assert_int_eq(yab_region_declare(-1, ranges, 0), -1);
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_int_eq(yab_region_declare(-1, ranges, YAB_RANGES_MAX + 1), -1);
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_int_eq(yab_region_declare(-1, ranges, 1), -1);
	ck_assert_int_eq(errno, EBADF);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("region");
	TCase *tcase = tcase_create("region");

	tcase_add_test(tcase, memory_is_sealed);
	tcase_add_test(tcase, memory_of_absurd_size);
	tcase_add_test(tcase, module_is_missing);
	tcase_add_test(tcase, names_are_bounded);
	tcase_add_test(tcase, declare_checks_its_count);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}

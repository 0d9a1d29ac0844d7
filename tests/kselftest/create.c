// SPDX-License-Identifier: GPL-2.0
/* What YAB_IOC_INFO and YAB_IOC_CREATE accept, and the errno of what they refuse. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"

static int control;
static int memory;
static uint64_t size;

static void refused(const struct yab_create *request, int expected, const char *what)
{
	int fd = ioctl(control, YAB_IOC_CREATE, request);
	int error = errno;

	tap_ok(fd < 0 && error == expected, "%s: %s", what, strerror(expected));
	if (fd >= 0)
		close(fd);
}

static void refused_name(const char *name, const char *what)
{
	struct yab_create request = make_request(name, size, memory);

	refused(&request, EINVAL, what);
}

static void check_info(void)
{
	struct yab_info info = { 0 };
	struct {
		struct yab_info known;
		uint64_t unknown;
	} larger = { .unknown = ~0ULL };

	tap_ok(!ioctl(control, YAB_IOC_INFO, &info) && info.version == YAB_ABI_VERSION &&
	       info.page_size == page_size && info.features == YAB_FEATURES,
	       "info tells version, page size and features");
	tap_ok(!ioctl(control, _IOR(YAB_IOC_MAGIC, 0x00, larger), &larger) && !larger.unknown,
	       "info for a newer caller: what the kernel does not know is zero");
	tap_ok(ioctl(control, _IOR(YAB_IOC_MAGIC, 0x00, uint32_t), &info) < 0 && errno == EINVAL,
	       "info into too small a structure: EINVAL");
	tap_ok(ioctl(control, _IO(YAB_IOC_MAGIC, 0x7f)) < 0 && errno == ENOTTY,
	       "unknown call: ENOTTY");
	tap_ok(ioctl(control, YAB_IOC_INFO, NULL) < 0 && errno == EFAULT, "info to NULL: EFAULT");
}

static void check_growth(void)
{
	struct {
		struct yab_create known;
		uint64_t unknown;
	} larger = { .known = make_request("kselftest-growth", size, memory) };
	int fd = ioctl(control, _IOW(YAB_IOC_MAGIC, 0x01, larger), &larger);

	tap_ok(fd >= 0, "create with a longer structure, its end zero");
	close(fd);
	larger.unknown = 1;
	fd = ioctl(control, _IOW(YAB_IOC_MAGIC, 0x01, larger), &larger);
	tap_ok(fd < 0 && errno == E2BIG, "create with a longer structure, its end set: E2BIG");
	fd = ioctl(control, _IOW(YAB_IOC_MAGIC, 0x01, uint64_t), &larger);
	tap_ok(fd < 0 && errno == EINVAL, "create with a shorter structure: EINVAL");
}

static void check_names(void)
{
	char full[YAB_NAME_SIZE + 1];

	refused_name("", "no name");
	refused_name("a/b", "name with a slash");
	refused_name(".hidden", "name with a leading dot");
	refused_name("..", "dot dot");
	refused_name("a b", "name with a space");
	refused_name("a\xff", "name outside ASCII");
	refused_name("control", "the control node's name");
	memset(full, 'x', sizeof(full));
	refused_name(full, "name without a terminating NUL");
}

static void check_arguments(void)
{
	struct yab_create request;

	request = make_request("kselftest-a", 0, memory);
	refused(&request, EINVAL, "size 0");
	request = make_request("kselftest-a", size - 1, memory);
	refused(&request, EINVAL, "size that is no multiple of the page size");
	request = make_request("kselftest-a", size + page_size, memory);
	refused(&request, ERANGE, "size beyond the memory file's");
	request = make_request("kselftest-a", 1ULL << 60, memory);
	refused(&request, EFBIG, "size beyond the limit");
	request = make_request("kselftest-a", size, memory);
	request.flags = YAB_CREATE_KEEP << 1;
	refused(&request, EINVAL, "unknown flag");
	request.flags = 0;
	request.mode = 01600;
	refused(&request, EINVAL, "mode with more than permission bits");
	request.mode = 0;
	refused(&request, EINVAL, "no mode");
	request.mode = 0600;
	request.uid = -1;
	refused(&request, EINVAL, "no uid");
}

static void refused_memory(int fd, int expected, const char *what)
{
	struct yab_create request = make_request("kselftest-m", size, fd);

	refused(&request, expected, what);
	if (fd >= 0)
		close(fd);
}

static void check_memory(void)
{
	char path[64];
	int fd;

	refused_memory(-1, EBADF, "no memory fd");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", memory);
	refused_memory(open(path, O_RDONLY), EBADF, "memory fd that is not writable");
	fd = memfd_create("unsealed", MFD_ALLOW_SEALING);
	if (fd < 0 || ftruncate(fd, size))
		tap_bail("memfd");
	refused_memory(fd, EPERM, "memory that may shrink");
	refused_memory(open("/dev/null", O_RDWR), EMEDIUMTYPE, "memory that is a device");
	refused_memory(open("/proc/self/mem", O_RDWR), EMEDIUMTYPE, "memory that is no shmem");
	fd = memfd_create("huge", MFD_HUGETLB | MFD_ALLOW_SEALING);
	if (fd < 0)
		tap_skip("memory in hugetlbfs: no hugetlbfs here");
	else
		refused_memory(fd, EMEDIUMTYPE, "memory in hugetlbfs");
}

static void check_node(void)
{
	static const char path[] = "/dev/yabusame/kselftest-Node_1.x";
	struct yab_create request = make_request("kselftest-Node_1.x", size, memory);
	struct stat st;
	int fd;

	request.mode = 0640;
	request.uid = 1234;
	request.gid = 4321;
	fd = ioctl(control, YAB_IOC_CREATE, &request);
	tap_ok(fd >= 0, "create");
	tap_ok(fd >= 0 && fcntl(fd, F_GETFD) == FD_CLOEXEC, "the pager fd is closed on exec");
	tap_ok(!stat(path, &st) && S_ISCHR(st.st_mode) && (st.st_mode & 07777) == 0640 &&
	       st.st_uid == 1234 && st.st_gid == 4321, "the node has the mode and owner asked for");
	refused(&request, EEXIST, "name in use");
	close(fd);
	tap_ok(stat(path, &st) && errno == ENOENT, "the node goes with its last user");
	fd = ioctl(control, YAB_IOC_CREATE, &request);
	tap_ok(fd >= 0, "the name can be used again");
	close(fd);
}

int main(void)
{
	tap_start(5 + 3 + 8 + 8 + 6 + 6, 60);
	size = 16 * page_size;
	control = open_control();
	memory = make_memory(size);
	check_info();
	check_growth();
	check_names();
	check_arguments();
	check_memory();
	check_node();
	return tap_end();
}

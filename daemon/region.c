// SPDX-License-Identifier: GPL-2.0-or-later
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "memory.h"
#include "region.h"

/* The kernel's limit on a memfd's name is 249 bytes; names of regions are shorter. */
#define YAB_REGION_MEMFD_NAME	(YAB_NAME_SIZE + 16)

int yab_region_memory(const char *name, uint64_t size)
{
	char label[YAB_REGION_MEMFD_NAME];

	snprintf(label, sizeof(label), YAB_MEMORY_LABEL "%s", name);
	return yab_memory_make(label, size);
}

static void yab_region_explain_open(int number, char *error, size_t error_size)
{
	switch (number) {
	case ENOENT:
	case ENXIO:
	case ENODEV:
		snprintf(error, error_size,
			 "kernel module yabusame is not loaded: run modprobe yabusame, or insmod yabusame.ko");
		break;
	case EACCES:
	case EPERM:
		snprintf(error, error_size,
			 "no permission to open %s: run yabusamed as root or give it access",
			 YAB_REGION_CONTROL);
		break;
	default:
		snprintf(error, error_size, "cannot open %s: %s", YAB_REGION_CONTROL,
			 strerror(number));
		break;
	}
}

static void yab_region_explain_create(int number, const char *name, char *error, size_t error_size)
{
	switch (number) {
	case EEXIST:
		snprintf(error, error_size,
			 "%s/%s exists already: end what uses it or choose another name",
			 YAB_REGION_FOLDER, name);
		break;
	case EINVAL:
		snprintf(error, error_size,
			 "the kernel module refuses region %s: check its name, size and memory",
			 name);
		break;
	case EACCES:
	case EPERM:
		snprintf(error, error_size,
			 "no permission to make %s/%s: run yabusamed as root",
			 YAB_REGION_FOLDER, name);
		break;
	case E2BIG:
		snprintf(error, error_size,
			 "the kernel module is older than yabusamed: install the matching one");
		break;
	case ENOMEM:
		snprintf(error, error_size,
			 "no kernel memory for region %s: free some memory and try again", name);
		break;
	default:
		snprintf(error, error_size, "cannot make %s/%s: %s", YAB_REGION_FOLDER, name,
			 strerror(number));
		break;
	}
}

/* True if the module behind @control is one that this program can use. */
static bool yab_region_check(int control, char *error, size_t error_size)
{
	struct yab_info info = { 0 };
	const long page_size = sysconf(_SC_PAGESIZE);

	if (ioctl(control, YAB_IOC_INFO, &info) < 0) {
		snprintf(error, error_size, "%s is not yabusame's: %s", YAB_REGION_CONTROL,
			 strerror(errno));
		return false;
	}
	if (info.version != YAB_ABI_VERSION) {
		snprintf(error, error_size,
			 "kernel module yabusame has ABI version %u, yabusamed needs %u: install matching versions",
			 info.version, YAB_ABI_VERSION);
		return false;
	}
	if (page_size < 0 || info.page_size != (unsigned long)page_size) {
		snprintf(error, error_size,
			 "kernel module yabusame has pages of %u bytes, this system of %ld",
			 info.page_size, page_size);
		return false;
	}
	return true;
}

/* The control node of a module that fits; -1 with one line in @error. */
static int yab_region_open_control(char *error, size_t error_size)
{
	const int control = open(YAB_REGION_CONTROL, O_RDWR | O_CLOEXEC);

	if (control < 0) {
		yab_region_explain_open(errno, error, error_size);
		return -1;
	}
	if (!yab_region_check(control, error, error_size)) {
		close(control);
		return -1;
	}
	return control;
}

/* Takes @pager over on failure. 0, or -1 with one line in @error. */
static int yab_region_unblock(int pager, char *error, size_t error_size)
{
	const int flags = fcntl(pager, F_GETFL);

	if (flags >= 0 && fcntl(pager, F_SETFL, flags | O_NONBLOCK) == 0)
		return 0;
	snprintf(error, error_size, "cannot make the pager's descriptor non-blocking: %s",
		 strerror(errno));
	close(pager);
	return -1;
}

int yab_region_create(const char *name, uint64_t size, int memory_fd, uid_t uid, gid_t gid,
		      char *error, size_t error_size)
{
	struct yab_create create = {
		.size = size,
		.memory_fd = memory_fd,
		.mode = 0600,
		.uid = uid,
		.gid = gid,
	};
	const size_t length = strlen(name);
	int control, pager;

	if (!length || length >= sizeof(create.name)) {
		snprintf(error, error_size, "a region's name has 1 to %zu characters",
			 sizeof(create.name) - 1);
		return -1;
	}
	memcpy(create.name, name, length);
	control = yab_region_open_control(error, error_size);
	if (control < 0)
		return -1;
	pager = ioctl(control, YAB_IOC_CREATE, &create);
	if (pager < 0)
		yab_region_explain_create(errno, name, error, error_size);
	close(control);
	if (pager < 0 || yab_region_unblock(pager, error, error_size) < 0)
		return -1;
	return pager;
}

int yab_region_attach(const char *name, int *memory_fd, char *error, size_t error_size)
{
	struct yab_target target = { .flags = 0 };
	int control, pager, number;

	snprintf(target.name, sizeof(target.name), "%s", name);
	control = yab_region_open_control(error, error_size);
	if (control < 0) {
		/* Whatever it was, it says nothing of the region. */
		errno = ENODEV;
		return -1;
	}
	pager = ioctl(control, YAB_IOC_ATTACH, &target);
	number = errno;
	if (pager < 0)
		snprintf(error, error_size, "cannot attach to %s/%s: %s", YAB_REGION_FOLDER, name,
			 strerror(number));
	close(control);
	if (pager < 0) {
		errno = number;
		return -1;
	}
	if (yab_region_unblock(pager, error, error_size) < 0) {
		errno = ENODEV;
		return -1;
	}
	*memory_fd = ioctl(pager, YAB_IOC_MEMORY);
	if (*memory_fd < 0) {
		snprintf(error, error_size, "cannot open the memory of %s/%s: %s",
			 YAB_REGION_FOLDER, name, strerror(errno));
		close(pager);
		errno = ENODEV;
		return -1;
	}
	return pager;
}

int yab_region_fail(const char *name, char *error, size_t error_size)
{
	struct yab_target target = { .flags = 0 };
	int control, result;

	snprintf(target.name, sizeof(target.name), "%s", name);
	control = yab_region_open_control(error, error_size);
	if (control < 0)
		return -1;
	result = ioctl(control, YAB_IOC_FAIL, &target);
	if (result < 0 && (errno == ENOENT || errno == EALREADY))
		result = 0;
	if (result < 0)
		snprintf(error, error_size, "cannot fail %s/%s: %s", YAB_REGION_FOLDER, name,
			 strerror(errno));
	close(control);
	return result;
}

int yab_region_declare(int pager_fd, struct yab_range *ranges, size_t count)
{
	struct yab_declare declare = { 0 };

	if (!count || count > YAB_RANGES_MAX) {
		errno = EINVAL;
		return -1;
	}
	declare.ranges = (uintptr_t)ranges;
	declare.count = (uint32_t)count;
	return ioctl(pager_fd, YAB_IOC_DECLARE, &declare) < 0 ? -1 : 0;
}

/* YAB_IOC_PRESENT or YAB_IOC_DIRTY. */
static int yab_region_bits(int pager_fd, unsigned long call, uint64_t page, uint64_t count,
			   uint64_t *bits)
{
	struct yab_bitmap bitmap = {
		.page = page,
		.count = count,
		.bits = (uintptr_t)bits,
	};

	return ioctl(pager_fd, call, &bitmap) < 0 ? -1 : 0;
}

int yab_region_present(int pager_fd, uint64_t page, uint64_t count, uint64_t *bits)
{
	return yab_region_bits(pager_fd, YAB_IOC_PRESENT, page, count, bits);
}

int yab_region_dirty(int pager_fd, uint64_t page, uint64_t count, uint64_t *bits)
{
	return yab_region_bits(pager_fd, YAB_IOC_DIRTY, page, count, bits);
}

int yab_region_track(int pager_fd, bool on)
{
	struct yab_track track = { .flags = on ? YAB_TRACK_ON : 0 };

	return ioctl(pager_fd, YAB_IOC_TRACK, &track) < 0 ? -1 : 0;
}

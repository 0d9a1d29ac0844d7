// SPDX-License-Identifier: GPL-2.0
/* The node: its size, what can be mapped, and what keeps it (and the module) alive. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "harness.h"

static bool map_fails(int fd, size_t pages, size_t from, int expected)
{
	void *map = mmap(NULL, pages * page_size, PROT_READ, MAP_SHARED, fd, from * page_size);

	if (map != MAP_FAILED)
		munmap(map, pages * page_size);
	return map == MAP_FAILED && errno == expected;
}

static bool exists(const struct fixture *f)
{
	struct stat st;

	return !stat(f->path, &st);
}

/* Memory that was sealed against writing cannot be written through the node either. */
static void check_sealed(void)
{
	int memory = make_memory(page_size), control = open_control(), pager, node;
	struct yab_create request = make_request("kselftest-sealed", page_size, memory);

	pager = ioctl(control, YAB_IOC_CREATE, &request);
	node = open("/dev/yabusame/kselftest-sealed", O_RDWR);
	if (pager < 0 || node < 0 || fcntl(memory, F_ADD_SEALS, F_SEAL_FUTURE_WRITE))
		tap_bail("sealed region");
	tap_ok(mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_SHARED, node, 0) == MAP_FAILED &&
	       errno == EPERM, "a writable mapping of memory that is sealed: EPERM");
	close(node);
	close(pager);
	close(memory);
	close(control);
}

int main(void)
{
	struct fixture f;
	int fd;

	tap_start(12, 60);
	fixture_open(&f, 8);
	tap_ok(lseek(f.node, 0, SEEK_END) == (off_t)(8 * page_size), "SEEK_END gives the size");
	tap_ok(lseek(f.node, page_size, SEEK_SET) == (off_t)page_size, "SEEK_SET inside");
	tap_ok(lseek(f.node, 9 * page_size, SEEK_SET) < 0 && errno == EINVAL,
	       "SEEK_SET beyond the end: EINVAL");
	tap_ok(map_fails(f.node, 9, 0, ENXIO), "a mapping longer than the region: ENXIO");
	tap_ok(map_fails(f.node, 2, 7, ENXIO), "a mapping that ends outside: ENXIO");
	tap_ok(map_fails(f.node, 1, 1ULL << 40, ENXIO), "a mapping that starts outside: ENXIO");
	fd = open(f.path, O_RDONLY);
	tap_ok(mmap(NULL, page_size, PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED &&
	       errno == EACCES, "a writable mapping of a node opened for reading: EACCES");
	close(fd);

	tap_ok(syscall(SYS_remap_file_pages, f.map, page_size, 0, 4, 0) < 0,
	       "remap_file_pages() does not get around the trap");

	check_sealed();

	close(f.node);
	declare(f.pager, 0, 8);
	close(f.pager);
	tap_ok(exists(&f), "a mapping alone keeps the node");
	f.map[0] = 7;
	tap_ok(f.map[0] == 7 && f.view[0] == 7, "and works");
	munmap(f.map, 8 * page_size);
	tap_ok(!exists(&f), "the node goes with the last mapping");
	return tap_end();
}

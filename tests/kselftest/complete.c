// SPDX-License-Identifier: GPL-2.0
/* Once a region is complete, what maps it is as good as a mapping of the memory file. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "harness.h"

/* A field of /proc/self/smaps for the mapping at @at, such as ShmemPmdMapped. */
static bool smaps_has(const unsigned char *at, const char *field, const char *what)
{
	char line[256], start[32];
	bool here = false, found = false;
	FILE *file = fopen("/proc/self/smaps", "r");

	if (!file)
		tap_bail("/proc/self/smaps");
	snprintf(start, sizeof(start), "%lx-", (unsigned long)at);
	while (fgets(line, sizeof(line), file)) {
		if (strchr(line, '-') && strchr(line, '-') < strchr(line, ' '))
			here = !strncmp(line, start, strlen(start));
		else if (here && !strncmp(line, field, strlen(field)))
			found = strstr(line, what);
	}
	fclose(file);
	return found;
}

/* VM_DONTEXPAND goes some time after the last page has come, without a call to wait for. */
static void wait_until_free(const unsigned char *at)
{
	while (smaps_has(at, "VmFlags:", " de"))
		sched_yield();
}

static bool is_right(const struct fixture *f)
{
	size_t i;

	for (i = 0; i < f->pages; i++)
		if (!page_is_filled(f->map + i * page_size, i))
			return false;
	return true;
}

static void check_collapse(void)
{
	unsigned char *grown;
	struct fixture f;
	bool collapsed;

	fixture_open_aligned(&f, 2 * HUGE_SIZE / page_size);
	if (fcntl(f.memory, F_ADD_SEALS, F_SEAL_GROW))
		tap_bail("F_SEAL_GROW");
	fill_pages(&f);
	declare(f.pager, 0, f.pages - 1);
	tap_ok(smaps_has(f.map, "VmFlags:", " de"), "incomplete: the mapping is restricted");
	collapsed = madvise(f.map, HUGE_SIZE, MADV_COLLAPSE) == 0;
	tap_ok(!collapsed && !smaps_has(f.map, "ShmemPmdMapped:", " 2048 kB"),
	       "and cannot be collapsed");
	declare(f.pager, f.pages - 1, 1);
	wait_until_free(f.map);
	tap_ok(attribute_is(&f, "state", "complete"), "complete: it is no more");
	tap_ok(is_right(&f), "and has the content");
	if (madvise(f.map, 2 * HUGE_SIZE, MADV_COLLAPSE) && errno == EINVAL)
		tap_skip("no MADV_COLLAPSE of shmem here");
	else
		tap_ok(smaps_has(f.map, "ShmemPmdMapped:", " 4096 kB") && is_right(&f),
		       "it can be collapsed, and is mapped with huge pages");
	munmap(f.map, 2 * HUGE_SIZE);
	f.map = mmap(NULL, f.pages * page_size, PROT_READ | PROT_WRITE, MAP_SHARED, f.node, 0);
	tap_ok(!smaps_has(f.map, "VmFlags:", " de"), "a new mapping is free at once");
	grown = mremap(f.map, f.pages * page_size, (f.pages + 1) * page_size, MREMAP_MAYMOVE);
	tap_ok(grown != MAP_FAILED, "a mapping can grow");
	if (grown != MAP_FAILED)
		f.map = grown;
	tap_ok(is_right(&f), "and keeps its content");
	munmap(f.map + f.pages * page_size, page_size);
	fixture_close(&f);
}

/* What lies behind the region in the memory file is nobody's who maps the node. */
static void check_bounds(void)
{
	struct yab_create request;
	int memory = make_memory(4 * page_size), control = open_control(), pager, node;
	unsigned char *map;

	request = make_request("kselftest-bounds", 2 * page_size, memory);
	pager = ioctl(control, YAB_IOC_CREATE, &request);
	node = open("/dev/yabusame/kselftest-bounds", O_RDWR);
	map = mmap(NULL, 2 * page_size, PROT_READ, MAP_SHARED, node, 0);
	if (pager < 0 || node < 0 || map == MAP_FAILED)
		tap_bail("region in a larger file");
	declare(pager, 0, 2);
	tap_ok(map[0] == 0 && map[page_size] == 0, "a complete region in a larger file works");
	tap_ok(mremap(map, 2 * page_size, 3 * page_size, MREMAP_MAYMOVE) == MAP_FAILED,
	       "but its mapping cannot grow into what lies behind");
	tap_ok(smaps_has(map, "VmFlags:", " de"), "and stays restricted");
	munmap(map, 2 * page_size);
	close(node);
	close(pager);
	close(control);
	close(memory);
}

/* Several mappings, in several processes, made before the region was complete. */
static void check_many(void)
{
	unsigned char *second;
	struct fixture f;
	int fds[2], back[2];
	pid_t pid;
	char answer = 0;

	fixture_open(&f, 8);
	if (fcntl(f.memory, F_ADD_SEALS, F_SEAL_GROW) || pipe(fds) || pipe(back))
		tap_bail("set-up");
	second = mmap(NULL, 4 * page_size, PROT_READ, MAP_SHARED, f.node, 4 * page_size);
	pid = fork();
	if (!pid) {
		char go;

		if (read(fds[0], &go, 1) != 1)
			_exit(1);
		wait_until_free(f.map);
		wait_until_free(second);
		(void)!write(back[1], "y", 1);
		_exit(0);
	}
	fill_pages(&f);
	declare(f.pager, 0, 8);
	wait_until_free(f.map);
	wait_until_free(second);
	tap_ok(true, "every mapping of a process is freed");
	(void)!write(fds[1], "", 1);
	tap_ok(read(back[0], &answer, 1) == 1 && answer == 'y', "and those of another one");
	munmap(second, 4 * page_size);
	fixture_close(&f);
}

int main(void)
{
	tap_start(8 + 3 + 2, 60);
	check_collapse();
	check_bounds();
	check_many();
	return tap_end();
}

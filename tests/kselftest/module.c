// SPDX-License-Identifier: GPL-2.0
/*
 * The module goes when nothing needs it, and not before. It is loaded again from
 * $YAB_KO, from the lab's module file, or from where modprobe would find it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "harness.h"

#define PAGES 16
#define FOLDER "/sys/class/yabusame"

static const char *module_path(void)
{
	static char path[4096];
	FILE *shell = popen("{ [ -z \"$YAB_KO\" ] && . /run/lab.conf; } 2>/dev/null;"
			    "echo \"${YAB_KO:-${LAB_KO:-$(modinfo -n yabusame 2>/dev/null)}}\"", "r");

	if (!shell || !fgets(path, sizeof(path), shell))
		path[0] = '\0';
	if (shell)
		pclose(shell);
	path[strcspn(path, "\n")] = '\0';
	return path;
}

static int module_load(int file)
{
	return syscall(SYS_finit_module, file, "", 0);
}

static int module_unload(void)
{
	return syscall(SYS_delete_module, "yabusame", O_NONBLOCK);
}

static bool is_refused(void)
{
	return module_unload() < 0 && errno == EWOULDBLOCK;
}

static bool is_loaded(void)
{
	return !access("/dev/yabusame/control", F_OK) && !access(FOLDER, F_OK);
}

static void check_refused(void)
{
	struct yab_create kept = { .flags = YAB_CREATE_KEEP, .queues = 2 };
	struct yab_queue_select select = { .index = 1 };
	int control = open_control(), queue;
	struct fixture f;
	pid_t pid;

	tap_ok(is_refused(), "the control node is open: the module stays");
	close(control);

	fixture_open_with(&f, PAGES, &kept);
	munmap(f.map, PAGES * page_size);
	close(f.node);
	tap_ok(is_refused(), "a region has a pager: the module stays");
	queue = ioctl(f.pager, YAB_IOC_QUEUE, &select);
	close(f.pager);
	tap_ok(is_refused(), "one of its queues is open: the module stays");
	close(queue);
	tap_ok(is_refused(), "the region is kept: the module stays");
	f.node = open(f.path, O_RDWR);
	tap_ok(!remove_region(f.name, 0) && is_refused(),
	       "it is removed, but its node is open: the module stays");
	close(f.node);
	close(f.memory);
	munmap(f.view, PAGES * page_size);

	fixture_open(&f, PAGES);
	close(f.pager);
	munmap(f.map, PAGES * page_size);
	tap_ok(is_refused(), "a node is open: the module stays");
	close(f.node);
	close(f.memory);
	munmap(f.view, PAGES * page_size);

	fixture_open(&f, PAGES);
	declare(f.pager, 0, PAGES);
	close(f.node);
	close(f.pager);
	tap_ok(is_refused(), "a region is mapped: the module stays");
	tap_ok(!remove_region(f.name, YAB_REMOVE_FORCE) && is_refused(),
	       "also when it was removed by force");
	f.map[0] = 1;
	tap_ok(f.map[0] == 1 && f.view[0] == 1, "and the mapping works");
	munmap(f.map, PAGES * page_size);
	close(f.memory);
	munmap(f.view, PAGES * page_size);

	fixture_open(&f, PAGES);
	pid = child_reads(&f, 0);
	next_fault(&f);
	munmap(f.map, PAGES * page_size);
	close(f.node);
	close(f.pager);
	tap_ok(is_refused(), "only a task that waits has it: the module stays");
	child_kill(pid);
	close(f.memory);
	munmap(f.view, PAGES * page_size);
}

/* Some of all that a region can leave to be cleared up. */
static void use(void)
{
	struct yab_create wish = { .orphan_limit_ms = 60000, .queues = 3 };
	struct fixture f;

	fixture_open_with(&f, PAGES, &wish);
	declare(f.pager, 0, 4);
	declare_as(f.pager, 4, 2, YAB_RANGE_FAILED);
	f.map[0] = 1;
	track(f.pager, true);
	f.map[page_size] = 1;
	close(f.pager);
	f.pager = -1;
	fixture_close(&f);
}

/* A limit that would come when its region, and the module, are gone. */
static void leave_limit(void)
{
	struct yab_create wish = { .orphan_limit_ms = 200 };
	struct fixture f;

	fixture_open_with(&f, PAGES, &wish);
	close(f.pager);
	f.pager = -1;
	fixture_close(&f);
}

static void let_pass(unsigned int limit)
{
	struct yab_create wish = { .orphan_limit_ms = limit };
	struct fixture f;

	fixture_open_with(&f, PAGES, &wish);
	close(f.pager);
	f.pager = -1;
	wait_until_attribute(&f, "state", "failed");
	fixture_close(&f);
}

static void check_reload(int file)
{
	struct yab_info info;
	unsigned int i;
	int control;

	use();
	tap_ok(!module_unload(), "without users the module goes");
	tap_ok(!is_loaded(), "and what it made in /dev and /sys");
	tap_ok(module_unload() < 0 && errno == ENOENT, "it is not there any more");
	tap_ok(!module_load(file), "it can be loaded again");
	tap_ok(is_loaded(), "and is there");
	control = open_control();
	tap_ok(!ioctl(control, YAB_IOC_INFO, &info) && info.version == YAB_ABI_VERSION,
	       "and answers");
	close(control);
	tap_ok(module_load(file) < 0 && errno == EEXIST, "but not twice");

	for (i = 0; i < 10; i++) {
		use();
		if (module_unload() || module_load(file))
			break;
	}
	tap_ok(i == 10, "ten times more, with regions in between");

	leave_limit();
	tap_ok(!module_unload() && !module_load(file),
	       "a limit that has not come does not hold the module");
	let_pass(400);
	tap_ok(true, "nor comes when it is gone");
}

int main(void)
{
	const char *path;
	unsigned int i;
	int file;

	tap_start(10 + 10, 60);
	path = module_path();
	file = open(path, O_RDONLY | O_CLOEXEC);
	check_refused();
	if (file >= 0)
		check_reload(file);
	else
		for (i = 0; i < 10; i++)
			tap_skip("no module file to load it from again");
	return tap_end();
}

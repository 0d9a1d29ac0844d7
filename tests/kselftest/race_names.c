// SPDX-License-Identifier: GPL-2.0
/*
 * The table of regions: names that are made, opened, mapped and removed by several at once,
 * and somebody who holds up /dev/yabusame itself. In the end nothing is left, and nobody
 * hangs.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"

#define PAGES 4

/* Open all the time: by its path it could not be had while /dev/yabusame is held up. */
static int control, memory;
static char name[YAB_NAME_SIZE];
static atomic_bool racing;

static int call(unsigned long which, const char *whom, uint64_t flags)
{
	struct yab_target target = { .flags = flags };

	memcpy(target.name, whom, strlen(whom));
	return ioctl(control, which, &target);
}

static int create(const char *whom, uint64_t flags)
{
	struct yab_create request = make_request(whom, PAGES * page_size, memory);

	request.flags = flags;
	return ioctl(control, YAB_IOC_CREATE, &request);
}

/* The kernel may let go of a file some time after it was closed. */
static bool users_become(unsigned long wanted)
{
	unsigned int i;

	for (i = 0; module_refcnt() != wanted; i++) {
		if (i == 100000)
			return false;
		sched_yield();
	}
	return true;
}

static unsigned int entries(const char *folder)
{
	DIR *dir = opendir(folder);
	unsigned int count = 0;

	if (!dir)
		tap_bail("%s", folder);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static unsigned int entries_at_first[2];

static void count_entries(unsigned int count[2])
{
	count[0] = entries("/dev/yabusame");
	count[1] = entries("/sys/class/yabusame");
}

static bool nothing_is_left(void)
{
	unsigned int count[2];

	count_entries(count);
	return !memcmp(count, entries_at_first, sizeof(count));
}

/* --- a kept region that is removed as soon as it is there ------------------------------ */

static void *run_remove(void *arg)
{
	unsigned long *removed = arg;

	while (atomic_load(&racing))
		*removed += !call(YAB_IOC_REMOVE, name, YAB_REMOVE_FORCE);
	return NULL;
}

static void check_keep(void)
{
	unsigned long created = 0, removed = 0;
	double end = seconds() + (double)stress_seconds() / 2;
	unsigned long users = module_refcnt();
	bool wrong = false;
	pthread_t remover;

	atomic_store(&racing, true);
	thread_start(&remover, run_remove, &removed);
	do {
		int pager = create(name, YAB_CREATE_KEEP);

		if (pager >= 0) {
			close(pager);
			created++;
		} else {
			wrong = wrong || errno != EEXIST;
		}
	} while (seconds() < end);
	atomic_store(&racing, false);
	pthread_join(remover, NULL);
	removed += !call(YAB_IOC_REMOVE, name, 0);
	tap_ok(!wrong && created == removed,
	       "%lu kept regions are made, %lu are removed as soon as they are there", created,
	       removed);
	tap_ok(nothing_is_left(), "no name is left");
	tap_ok(users_become(users), "nor a region: the module's users are %lu again (%lu)", users,
	       module_refcnt());
}

/* --- everything with one name ------------------------------------------------------------ */

static atomic_ulong done[6], unexpected;
static const char *const done_names[] = {
	"created", "attached", "removed", "failed", "opened", "mapped",
};

/* Counts what has worked, and what has not for another reason than a race. */
static bool note(unsigned int what, long ret, const char *errors)
{
	static const struct {
		int error;
		char letter;
	} letters[] = {
		{ ENOENT, 'n' }, { EEXIST, 'e' }, { EBUSY, 'b' }, { EIO, 'i' }, { ENXIO, 'x' },
		{ EALREADY, 'a' },
	};
	size_t i;

	if (ret >= 0) {
		atomic_fetch_add(&done[what], 1);
		return true;
	}
	for (i = 0; i < ARRAY_SIZE(letters); i++)
		if (errno == letters[i].error && strchr(errors, letters[i].letter))
			return false;
	printf("# not %s: %s\n", done_names[what], strerror(errno));
	atomic_fetch_add(&unexpected, 1);
	return false;
}

static void map(int node)
{
	unsigned char *map = mmap(NULL, PAGES * page_size, PROT_READ | PROT_WRITE, MAP_SHARED,
				  node, 0);

	if (!note(5, map == MAP_FAILED ? -1 : 0, "x"))
		return;
	/* In two parts, which are two mappings in between. */
	munmap(map, page_size);
	munmap(map + page_size, (PAGES - 1) * page_size);
}

static void *run_all(void *arg)
{
	uint64_t random = (uintptr_t)arg + 1;
	char path[YAB_NAME_SIZE + 32];
	int fd;

	snprintf(path, sizeof(path), "/dev/yabusame/%s", name);
	while (atomic_load(&racing)) {
		uint64_t flags;

		random = random * 6364136223846793005ULL + 1442695040888963407ULL;
		flags = random >> 40 & 1;
		fd = -1;
		switch ((random >> 33) % 6) {
		case 0:
		case 1:
			fd = create(name, flags ? YAB_CREATE_KEEP : 0);
			note(0, fd, "e");
			break;
		case 2:
			fd = call(YAB_IOC_ATTACH, name, 0);
			note(1, fd, "nbi");
			break;
		case 3:
			note(2, call(YAB_IOC_REMOVE, name, flags ? YAB_REMOVE_FORCE : 0), "nb");
			break;
		case 4:
			note(3, call(YAB_IOC_FAIL, name, 0), "na");
			break;
		default:
			fd = open(path, O_RDWR | O_CLOEXEC);
			if (note(4, fd, "nx"))
				map(fd);
			break;
		}
		if (fd >= 0)
			close(fd);
	}
	return NULL;
}

static bool all_done(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(done); i++)
		if (!atomic_load(&done[i]))
			return false;
	return true;
}

static void check_all(void)
{
	unsigned long users = module_refcnt();
	pthread_t threads[4];
	uintptr_t i;
	double end;

	atomic_store(&racing, true);
	for (i = 0; i < ARRAY_SIZE(threads); i++)
		thread_start(&threads[i], run_all, (void *)i);
	end = seconds() + (double)stress_seconds() / 2;
	while (seconds() < end || !all_done())
		sched_yield();
	atomic_store(&racing, false);
	for (i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	for (i = 0; i < ARRAY_SIZE(done); i++)
		printf("# %lu %s\n", atomic_load(&done[i]), done_names[i]);
	tap_ok(!atomic_load(&unexpected),
	       "four do everything with one name: all of it works at times, and fails as it should");
	call(YAB_IOC_REMOVE, name, YAB_REMOVE_FORCE);
	tap_ok(nothing_is_left(), "no name is left");
	tap_ok(users_become(users), "nor a region: the module's users are %lu again (%lu)", users,
	       module_refcnt());
}

/* --- /dev/yabusame held up --------------------------------------------------------------- */

struct worker {
	pthread_t thread;
	atomic_int tid;
	void (*work)(struct worker *worker);
	struct fixture *f;
	char name[YAB_NAME_SIZE];
	int error;		/* of what it does; 0 */
};

static void *run_worker(void *arg)
{
	struct worker *worker = arg;

	atomic_store(&worker->tid, gettid());
	worker->work(worker);
	return NULL;
}

static void work(struct worker *worker, void (*what)(struct worker *worker), struct fixture *f,
		 const char *format, unsigned int number)
{
	*worker = (struct worker){ .work = what, .f = f };
	snprintf(worker->name, sizeof(worker->name), format, getpid(), number);
	thread_start(&worker->thread, run_worker, worker);
	while (!atomic_load(&worker->tid))
		sched_yield();
}

static void work_list(struct worker *worker)
{
	int folder = open("/dev/yabusame", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	worker->error = syscall(SYS_getdents64, folder, worker->f->map, page_size) < 0 ? errno : 0;
	close(folder);
}

static void work_create(struct worker *worker)
{
	int pager = create(worker->name, 0);

	worker->error = pager < 0 ? errno : 0;
	if (pager >= 0)
		close(pager);
}

static void work_remove(struct worker *worker)
{
	worker->error = call(YAB_IOC_REMOVE, worker->name, YAB_REMOVE_FORCE) ? errno : 0;
}

static void work_open(struct worker *worker)
{
	char path[YAB_NAME_SIZE + 32];
	int fd;

	snprintf(path, sizeof(path), "/dev/yabusame/%s", worker->name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	worker->error = fd < 0 ? errno : 0;
	if (fd >= 0)
		close(fd);
}

static void work_attach(struct worker *worker)
{
	int pager = call(YAB_IOC_ATTACH, worker->name, 0);

	worker->error = pager < 0 ? errno : 0;
	if (pager >= 0)
		close(pager);
}

static void work_fail(struct worker *worker)
{
	worker->error = call(YAB_IOC_FAIL, worker->f->name, 0) ? errno : 0;
}

static void work_remove_held(struct worker *worker)
{
	worker->error = call(YAB_IOC_REMOVE, worker->f->name, YAB_REMOVE_FORCE) ? errno : 0;
}

#define OTHERS 3

/* Everybody waits for /dev/yabusame, which waits for a page; @help makes it fail. */
static void check_listing(void (*help)(struct worker *worker), const char *what)
{
	struct worker lister, creators[OTHERS], removers[OTHERS], opener, attacher, helper;
	unsigned long users = module_refcnt();
	int pagers[OTHERS];
	struct fixture f;
	bool right = true;
	unsigned int i;

	fixture_open(&f, PAGES);
	for (i = 0; i < OTHERS; i++) {
		char other[YAB_NAME_SIZE];

		snprintf(other, sizeof(other), "old-%d-%u", getpid(), i);
		pagers[i] = create(other, YAB_CREATE_KEEP);
		if (pagers[i] < 0)
			tap_bail("%s", other);
	}
	close(pagers[0]);
	work(&lister, work_list, &f, "lister", 0);
	next_fault(&f);
	wait_until_asleep(atomic_load(&lister.tid));
	for (i = 0; i < OTHERS; i++) {
		work(&creators[i], work_create, &f, "new-%d-%u", i);
		wait_until_asleep(atomic_load(&creators[i].tid));
	}
	/* Attaching needs no node. */
	work(&attacher, work_attach, &f, "old-%d-%u", 0);
	pthread_join(attacher.thread, NULL);
	right = right && !attacher.error;
	for (i = 0; i < OTHERS; i++) {
		work(&removers[i], work_remove, &f, "old-%d-%u", i);
		wait_until_asleep(atomic_load(&removers[i].tid));
	}
	/* Never seen before, so that it must be looked for in the folder. */
	work(&opener, work_open, &f, "none-%d-%u", 0);
	wait_until_asleep(atomic_load(&opener.tid));

	/* In a thread: if it hangs, the alarm comes. */
	work(&helper, help, &f, "helper", 0);
	if (help == work_fail)
		pthread_join(helper.thread, NULL);
	pthread_join(lister.thread, NULL);
	if (help != work_fail)
		pthread_join(helper.thread, NULL);
	right = right && !helper.error && lister.error == EFAULT;
	tap_ok(right, "%s lets a getdents64() go that waits for a page", what);
	right = true;
	for (i = 0; i < OTHERS; i++) {
		pthread_join(creators[i].thread, NULL);
		pthread_join(removers[i].thread, NULL);
		right = right && !creators[i].error && !removers[i].error;
	}
	pthread_join(opener.thread, NULL);
	tap_ok(right && opener.error == ENOENT, "and all who waited for the folder");
	for (i = 1; i < OTHERS; i++)
		close(pagers[i]);
	fixture_close(&f);
	tap_ok(nothing_is_left() && users_become(users), "nothing is left");
}

int main(void)
{
	tap_start(3 + 3 + 2 * 3, 60 + stress_seconds());
	control = open_control();
	count_entries(entries_at_first);
	memory = make_memory(PAGES * page_size);
	snprintf(name, sizeof(name), "race-%d", getpid());
	check_keep();
	check_all();
	check_listing(work_fail, "failing the region");
	check_listing(work_remove_held, "removing it");
	close(memory);
	close(control);
	return tap_end();
}

// SPDX-License-Identifier: GPL-2.0
/*
 * Processes and threads that call everything at once with arguments that are wrong,
 * half right and right, on a few names, and are killed in the middle of it. Nothing may
 * break (the lab watches what the kernel says), and nothing may be left.
 *
 * YAB_FUZZ_SECONDS: for how long (10). YAB_FUZZ_SEED: the arguments are the same again,
 * the order in which processors get there is not.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"

#define PROCESSES 3
#define THREADS 4
#define NAMES 4
#define SLOTS 6			/* files and mappings of each kind in a process */
#define SLOT_PAGES 1024		/* room for one mapping */
#define SLACK 128		/* pages behind the last slot: what runs over ends there */
#define BUFFER_SIZE 16384	/* an ioctl's argument cannot be larger */

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

struct thread {
	pthread_t thread;
	uint64_t random;
	uint64_t *buffer;	/* BUFFER_SIZE bytes, and then a page that is not there */
};

static int controls[SLOTS], memories[SLOTS], pagers[SLOTS], nodes[SLOTS];
static unsigned char *arena;	/* SLOTS mappings of SLOT_PAGES, some there, some not */
static unsigned char *barred;	/* a page without any access */
static atomic_ulong *calls;	/* shared by all processes */
static pthread_barrier_t begin;
static __thread sigjmp_buf escape;
static __thread volatile sig_atomic_t can_escape;

static uint64_t next(struct thread *t)
{
	t->random = t->random * 6364136223846793005ULL + 1442695040888963407ULL;
	return t->random >> 30;
}

static uint64_t below(struct thread *t, uint64_t limit)
{
	return next(t) % limit;
}

static bool one_in(struct thread *t, uint64_t n)
{
	return below(t, n) == 0;
}

/* A number that some code may not have thought of. */
static uint64_t number(struct thread *t)
{
	static const uint64_t edges[] = {
		0, 1, 2, 3, 63, 64, 65, 511, 512, 513, 1023, 1024, 1025, 4096, 0x7fffffff,
		0x80000000, 0xffffffff, 0x100000000, 1ULL << 40, 1ULL << 52, 1ULL << 62,
		1ULL << 63, -1ULL, -2ULL, -4096ULL,
	};

	switch (below(t, 8)) {
	case 0:
		return edges[below(t, ARRAY_SIZE(edges))];
	case 1:
		return next(t) << 30 ^ next(t);
	case 2:
		return below(t, 70) * page_size;
	default:
		return below(t, SLOT_PAGES);
	}
}

static unsigned char *slot_page(struct thread *t)
{
	return arena + below(t, SLOTS * SLOT_PAGES) * page_size;
}

/* Where an argument can be: mostly where it belongs. */
static void *pointer(struct thread *t, void *right)
{
	switch (below(t, 64)) {
	case 0:
		return NULL;
	case 1:
		return barred;
	case 2:
		return (void *)0xffff888000000000ULL;
	case 3:
		return (void *)-1ULL;
	case 4:
		return (void *)0x8000000000000000ULL;
	case 5:
		return slot_page(t);
	case 6:
		/* Its end is not there. */
		return (unsigned char *)t->buffer + BUFFER_SIZE - 8 * below(t, 12);
	default:
		return right;
	}
}

static void set_name(struct thread *t, char name[YAB_NAME_SIZE])
{
	memset(name, 0, YAB_NAME_SIZE);
	snprintf(name, YAB_NAME_SIZE, "fuzz-%u", (unsigned int)below(t, NAMES));
	if (one_in(t, 40))
		name[below(t, YAB_NAME_SIZE)] = next(t);
}

static void store(int *slots, struct thread *t, int fd)
{
	unsigned int slot;

	if (fd < 0)
		return;
	slot = below(t, SLOTS);
	if (slots[slot] >= 0)
		close(slots[slot]);
	slots[slot] = fd;
}

static int any(const int *slots, struct thread *t)
{
	return slots[below(t, SLOTS)];
}

/* The call with its own size, or another one. */
static int call(struct thread *t, int fd, unsigned long cmd, void *arg)
{
	static const unsigned int sizes[] = { 0, 1, 8, 16, 32, 40, 64, 96, 104, 112, 4096, 16383 };
	unsigned int size = _IOC_SIZE(cmd);

	if (one_in(t, 30))
		size = sizes[below(t, ARRAY_SIZE(sizes))];
	if (one_in(t, 60))
		size += 8;
	cmd = _IOC(_IOC_DIR(cmd), _IOC_TYPE(cmd), _IOC_NR(cmd), size);
	if (one_in(t, 100))
		cmd = _IOC(below(t, 4), YAB_IOC_MAGIC, below(t, 256), size);
	return ioctl(fd, cmd, pointer(t, arg));
}

/* --- the control node ------------------------------------------------------------- */

static void do_memory(struct thread *t)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	uint64_t pages = 1 + below(t, SLOT_PAGES);

	if (one_in(t, 100))
		pages = 1ULL << below(t, 29);
	(void)!ftruncate(fd, pages * page_size);
	if (!one_in(t, 20))
		fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | (one_in(t, 10) ? F_SEAL_GROW : 0));
	if (one_in(t, 50))
		fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE);
	store(memories, t, fd);
}

static void do_create(struct thread *t)
{
	struct yab_create *create = (void *)t->buffer;
	int memory = any(memories, t);
	off_t size = lseek(memory, 0, SEEK_END);

	*create = (struct yab_create){
		.size = one_in(t, 10) ? number(t) : (uint64_t)size,
		.flags = one_in(t, 3) ? YAB_CREATE_KEEP : one_in(t, 20) ? number(t) : 0,
		.memory_fd = one_in(t, 20) ? (int)number(t) : memory,
		.mode = one_in(t, 20) ? number(t) : 0600,
		.uid = one_in(t, 20) ? number(t) : 0,
		.orphan_limit_ms = one_in(t, 2) ? 0 : 1 + below(t, 200),
		.queues = one_in(t, 10) ? number(t) : below(t, 5),
	};
	set_name(t, create->name);
	store(pagers, t, call(t, any(controls, t), YAB_IOC_CREATE, create));
}

static void do_target(struct thread *t)
{
	static const unsigned long cmds[] = {
		YAB_IOC_ATTACH, YAB_IOC_ATTACH, YAB_IOC_ATTACH, YAB_IOC_FAIL, YAB_IOC_REMOVE,
	};
	unsigned long cmd = cmds[below(t, ARRAY_SIZE(cmds))];
	struct yab_target *target = (void *)t->buffer;

	target->flags = cmd == YAB_IOC_REMOVE ? below(t, 2) : 0;
	if (one_in(t, 40))
		target->flags = number(t);
	set_name(t, target->name);
	store(pagers, t, call(t, any(controls, t), cmd, target));
}

static void do_info(struct thread *t)
{
	call(t, any(controls, t), YAB_IOC_INFO, t->buffer);
}

static void do_control(struct thread *t)
{
	store(controls, t, open("/dev/yabusame/control", O_RDWR | O_CLOEXEC));
}

/* --- the pager ---------------------------------------------------------------------- */

static void do_declare(struct thread *t)
{
	struct yab_declare *declare = (void *)t->buffer;
	struct yab_range *ranges = (void *)(declare + 1);
	unsigned int count = 1 + below(t, one_in(t, 4) ? 300 : 3), i;

	for (i = 0; i < count; i++)
		ranges[i] = (struct yab_range){
			.page = number(t),
			.count = one_in(t, 3) ? number(t) : 1 + below(t, 20),
			.state = one_in(t, 30) ? number(t) :
				 one_in(t, 20) ? YAB_RANGE_FAILED : below(t, 4) % 3 * 3 / 2,
			.reserved = one_in(t, 200),
		};
	*declare = (struct yab_declare){
		.ranges = (uintptr_t)pointer(t, ranges),
		.count = one_in(t, 30) ? number(t) : count,
		.flags = one_in(t, 100),
	};
	call(t, any(pagers, t), YAB_IOC_DECLARE, declare);
}

static void do_status(struct thread *t)
{
	call(t, any(pagers, t), YAB_IOC_STATUS, t->buffer);
}

static void do_pager_memory(struct thread *t)
{
	int fd = ioctl(any(pagers, t), YAB_IOC_MEMORY, pointer(t, NULL));

	if (one_in(t, 4))
		store(memories, t, fd);
	else if (fd >= 0)
		close(fd);
}

/* A queue's file is as good as a pager's for all calls: some are refused. */
static void do_queue(struct thread *t)
{
	struct yab_queue_select *select = (void *)t->buffer;

	*select = (struct yab_queue_select){
		.index = one_in(t, 10) ? number(t) : below(t, 4),
		.flags = one_in(t, 50) ? number(t) : 0,
	};
	store(pagers, t, call(t, any(pagers, t), YAB_IOC_QUEUE, select));
}

static void do_bitmap(struct thread *t)
{
	struct yab_bitmap *bitmap = (void *)t->buffer;

	*bitmap = (struct yab_bitmap){
		.page = one_in(t, 2) ? 0 : one_in(t, 2) ? below(t, 16) * 64 : number(t),
		.count = number(t),
		.bits = (uintptr_t)pointer(t, bitmap + 1),
		.flags = one_in(t, 50),
		.reserved = one_in(t, 50),
	};
	call(t, any(pagers, t), one_in(t, 2) ? YAB_IOC_PRESENT : YAB_IOC_DIRTY, bitmap);
}

static void do_track(struct thread *t)
{
	struct yab_track *request = (void *)t->buffer;

	*request = (struct yab_track){
		.flags = one_in(t, 30) ? number(t) : below(t, 2),
		.reserved = one_in(t, 50),
	};
	call(t, any(pagers, t), YAB_IOC_TRACK, request);
}

static void do_read(struct thread *t)
{
	int fd = one_in(t, 20) ? any(nodes, t) : any(pagers, t);

	if (one_in(t, 4))
		fcntl(fd, F_SETFL, one_in(t, 10) ? 0 : O_NONBLOCK);
	(void)!read(fd, pointer(t, t->buffer), one_in(t, 10) ? below(t, 64) : BUFFER_SIZE);
}

static void do_poll(struct thread *t)
{
	struct pollfd fds[3] = {
		{ .fd = any(pagers, t), .events = POLLIN },
		{ .fd = any(pagers, t), .events = POLLIN | POLLOUT },
		{ .fd = any(nodes, t), .events = POLLIN },
	};

	poll(fds, 1 + below(t, 3), below(t, 3));
}

/* --- the node ----------------------------------------------------------------------- */

static void do_open(struct thread *t)
{
	static const int modes[] = { O_RDWR, O_RDWR, O_RDWR, O_RDONLY, O_WRONLY, O_PATH };
	char name[YAB_NAME_SIZE], path[YAB_NAME_SIZE + 32];

	set_name(t, name);
	snprintf(path, sizeof(path), "/dev/yabusame/%.*s", YAB_NAME_SIZE, name);
	store(nodes, t, open(path, modes[below(t, ARRAY_SIZE(modes))] | O_CLOEXEC));
}

static void do_map(struct thread *t)
{
	static const int protections[] = {
		PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE, PROT_READ, PROT_WRITE, PROT_NONE,
	};
	unsigned char *slot = arena + below(t, SLOTS) * SLOT_PAGES * page_size;
	int flags = one_in(t, 4) ? MAP_PRIVATE : MAP_SHARED;
	uint64_t first = one_in(t, 3) ? below(t, SLOT_PAGES) : 0;
	int fd = one_in(t, 20) ? any(pagers, t) : one_in(t, 10) ? any(memories, t) : any(nodes, t);
	off_t size = lseek(any(nodes, t), 0, SEEK_END);
	size_t pages = 1 + below(t, SLOT_PAGES);

	if (!one_in(t, 3) && size > 0 && (size_t)size <= SLOT_PAGES * page_size)
		pages = size / page_size;
	if (one_in(t, 30))
		flags |= MAP_POPULATE;
	/* Nothing else of this process maps anything, so what is free here stays free. */
	mmap(slot, pages * page_size, protections[below(t, ARRAY_SIZE(protections))],
	     flags | MAP_FIXED, fd, first * page_size);
}

static void do_unmap(struct thread *t)
{
	unsigned char *at = slot_page(t);
	size_t room = (arena + SLOTS * SLOT_PAGES * page_size - at) / page_size;

	munmap(at, (1 + below(t, one_in(t, 4) ? room : 8) % room) * page_size);
}

static void do_remap(struct thread *t)
{
	unsigned char *from = slot_page(t), *to = slot_page(t);
	unsigned char *end = arena + SLOTS * SLOT_PAGES * page_size;
	size_t pages = 1 + below(t, 16);

	if (from + pages * page_size > end || to + pages * page_size > end)
		return;
	if (one_in(t, 4))
		mremap(from, pages * page_size, (pages + below(t, 4)) * page_size, 0);
	else
		mremap(from, pages * page_size, pages * page_size,
		       MREMAP_MAYMOVE | MREMAP_FIXED, to);
}

static void do_advise(struct thread *t)
{
	static const int advice[] = {
		MADV_DONTNEED, MADV_WILLNEED, MADV_COLD, MADV_PAGEOUT, MADV_COLLAPSE, MADV_REMOVE,
		MADV_HUGEPAGE, MADV_POPULATE_READ, MADV_POPULATE_WRITE, MADV_DONTFORK, MADV_DOFORK,
		MADV_DONTDUMP, MADV_RANDOM,
	};

	madvise(slot_page(t), (1 + below(t, 64)) * page_size,
		advice[below(t, ARRAY_SIZE(advice))]);
}

static void do_protect(struct thread *t)
{
	mprotect(slot_page(t), (1 + below(t, 64)) * page_size,
		 one_in(t, 4) ? PROT_NONE : one_in(t, 3) ? PROT_READ : PROT_READ | PROT_WRITE);
}

static void do_lock(struct thread *t)
{
	unsigned char *at = slot_page(t);

	if (one_in(t, 2))
		munlock(at, 16 * page_size);
	else
		mlock2(at, (1 + below(t, 4)) * page_size, below(t, 2));
}

/* --- touching ----------------------------------------------------------------------- */

/* Leaves the access that cannot be done, or that took too long, by the alarm. */
static void on_signal(int signal)
{
	if (can_escape)
		siglongjmp(escape, 1);
	if (signal != SIGALRM)
		_exit(99);
}

static void do_touch(struct thread *t)
{
	volatile unsigned char *volatile at = slot_page(t);
	volatile bool write = one_in(t, 2);
	volatile unsigned int pages = one_in(t, 4) ? below(t, 64) : 1;

	if (sigsetjmp(escape, 1)) {
		can_escape = false;
		return;
	}
	can_escape = true;
	for (; pages; pages--, at += page_size)
		if (write)
			*at = pages;
		else
			(void)*at;
	can_escape = false;
}

/* The kernel touches, and waits where no mere signal gets it out. */
static void do_copy(struct thread *t)
{
	struct iovec remote = { .iov_base = slot_page(t), .iov_len = 1 + below(t, 9000) };
	struct iovec local = { .iov_base = t->buffer, .iov_len = BUFFER_SIZE };
	int fds[2];

	switch (below(t, 4)) {
	case 0:
		process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
		return;
	case 1:
		process_vm_writev(getpid(), &local, 1, &remote, 1, 0);
		return;
	}
	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK))
		return;
	if (one_in(t, 2)) {
		(void)!write(fds[1], t->buffer, 4096);
		(void)!read(fds[0], remote.iov_base, remote.iov_len);
	} else {
		(void)!vmsplice(fds[1], &remote, 1, 0);
	}
	close(fds[0]);
	close(fds[1]);
}

static void do_fork(struct thread *t)
{
	pid_t parent = getpid();

	if (fork())
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(0);
	while (!one_in(t, 20))
		do_touch(t);
	_exit(0);
}

/* --- the rest ----------------------------------------------------------------------- */

static void do_close(struct thread *t)
{
	int *kinds[] = { controls, memories, pagers, nodes };
	int *slots = kinds[below(t, ARRAY_SIZE(kinds))];
	unsigned int slot = below(t, SLOTS);
	int fd = slots[slot];

	slots[slot] = -1;
	if (fd >= 0)
		close(fd);
}

static void do_sysfs(struct thread *t)
{
	static const char *const names[] = {
		"state", "pages", "present", "failed", "faults", "pager", "mappings", "queues",
		"tracking", "orphan_limit_ms", "latency",
	};
	char path[160];
	int fd;

	snprintf(path, sizeof(path), "/sys/class/yabusame/fuzz-%u/%s",
		 (unsigned int)below(t, NAMES), names[below(t, ARRAY_SIZE(names))]);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		fd = open(path, O_RDONLY | O_CLOEXEC);
	if (one_in(t, 2))
		(void)!read(fd, t->buffer, 4096);
	else
		(void)!write(fd, "50\n", one_in(t, 8) ? 1 : 3);
	if (fd >= 0)
		close(fd);
}

static const struct {
	void (*run)(struct thread *t);
	unsigned int weight;
} actions[] = {
	{ do_memory, 4 }, { do_create, 16 }, { do_target, 12 }, { do_info, 1 }, { do_control, 2 },
	{ do_declare, 24 }, { do_status, 2 }, { do_pager_memory, 3 }, { do_queue, 6 },
	{ do_bitmap, 8 }, { do_track, 8 }, { do_read, 12 }, { do_poll, 4 }, { do_open, 10 },
	{ do_map, 12 }, { do_unmap, 8 }, { do_remap, 4 }, { do_advise, 8 }, { do_protect, 4 },
	{ do_lock, 2 }, { do_touch, 40 }, { do_copy, 8 }, { do_fork, 2 }, { do_close, 5 },
	{ do_sysfs, 4 },
};

static void *thread_run(void *arg)
{
	unsigned int total = 0, pick, i;
	struct thread *t = arg;

	for (i = 0; i < ARRAY_SIZE(actions); i++)
		total += actions[i].weight;
	/* A stack that is made later could get where the arena has a hole. */
	pthread_barrier_wait(&begin);
	for (;;) {
		pick = below(t, total);
		for (i = 0; pick >= actions[i].weight; i++)
			pick -= actions[i].weight;
		actions[i].run(t);
		atomic_fetch_add_explicit(calls, 1, memory_order_relaxed);
	}
	return NULL;
}

static void *map_anonymous(size_t size, int protection)
{
	void *map = mmap(NULL, size, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (map == MAP_FAILED)
		_exit(98);
	return map;
}

/* Ends by a signal. Everything that it maps for itself it maps before the others begin. */
static void process_run(uint64_t seed)
{
	static struct thread threads[THREADS];
	struct itimerval often = { .it_interval.tv_usec = 10000, .it_value.tv_usec = 10000 };
	struct sigaction action = { .sa_handler = on_signal };
	unsigned int i;

	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGCHLD, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	alarm(0);
	arena = map_anonymous((SLOTS * SLOT_PAGES + SLACK) * page_size, PROT_NONE);
	barred = map_anonymous(page_size, PROT_NONE);
	for (i = 0; i < SLOTS; i++) {
		controls[i] = -1;
		memories[i] = -1;
		pagers[i] = -1;
		nodes[i] = -1;
	}
	for (i = 0; i < THREADS; i++) {
		unsigned char *buffer = map_anonymous(BUFFER_SIZE + page_size,
						      PROT_READ | PROT_WRITE);

		mprotect(buffer + BUFFER_SIZE, page_size, PROT_NONE);
		threads[i].buffer = (uint64_t *)buffer;
		threads[i].random = seed * THREADS + i;
		next(&threads[i]);
		do_control(&threads[i]);
		do_memory(&threads[i]);
	}
	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
	sigaction(SIGALRM, &action, NULL);
	pthread_barrier_init(&begin, NULL, THREADS);
	for (i = 1; i < THREADS; i++)
		if (pthread_create(&threads[i].thread, NULL, thread_run, &threads[i]))
			_exit(98);
	setitimer(ITIMER_REAL, &often, NULL);
	thread_run(&threads[0]);
}

static pid_t process_start(uint64_t seed)
{
	pid_t pid = fork();

	if (pid < 0)
		tap_bail("fork");
	if (!pid) {
		process_run(seed);
		_exit(0);
	}
	setpgid(pid, pid);
	return pid;
}

/* --- all of it ---------------------------------------------------------------------- */

static unsigned long environment(const char *name, unsigned long otherwise)
{
	const char *text = getenv(name);

	return text && *text ? strtoul(text, NULL, 0) : otherwise;
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ULL + now.tv_nsec / 1000000;
}

/* Those that are to be kept are: removes them all, and returns how many are left. */
static unsigned int remove_regions(void)
{
	DIR *dir = opendir("/sys/class/yabusame");
	unsigned int left = 0;
	struct dirent *entry;

	if (!dir)
		tap_bail("/sys/class/yabusame");
	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.' && remove_region(entry->d_name, YAB_REMOVE_FORCE) &&
		    errno != ENOENT)
			left++;
	closedir(dir);
	return left;
}

/* Kills a process with all its children; true if it had not ended by itself. */
static bool process_end(pid_t pid)
{
	int status;

	kill(-pid, SIGKILL);
	kill(pid, SIGKILL);
	if (waitpid(pid, &status, 0) != pid)
		return false;
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		return true;
	printf("# a process ended by itself, with %d, signal %d\n",
	       WIFEXITED(status) ? WEXITSTATUS(status) : -1,
	       WIFSIGNALED(status) ? WTERMSIG(status) : 0);
	return false;
}

#define ROUNDS 1000

static void *run_remover(void *arg)
{
	atomic_bool *racing = arg;

	while (atomic_load(racing))
		remove_region("fuzz-race", YAB_REMOVE_FORCE);
	return NULL;
}

/* A region that is to be kept is removed as soon as it has a name. */
static void check_removal(void)
{
	struct yab_create request;
	int memory = make_memory(page_size), control = open_control(), round;
	atomic_bool racing = true;
	pthread_t remover;

	thread_start(&remover, run_remover, &racing);
	request = make_request("fuzz-race", page_size, memory);
	request.flags = YAB_CREATE_KEEP;
	for (round = 0; round < ROUNDS; round++) {
		int pager = ioctl(control, YAB_IOC_CREATE, &request);

		if (pager >= 0)
			close(pager);
		else if (errno != EEXIST)
			tap_bail("YAB_IOC_CREATE");
	}
	atomic_store(&racing, false);
	pthread_join(remover, NULL);
	remove_region("fuzz-race", YAB_REMOVE_FORCE);
	close(memory);
	close(control);
	tap_ok(!module_refcnt(), "regions are removed while they are made: %lu are left over",
	       module_refcnt());
}

int main(void)
{
	unsigned long length = environment("YAB_FUZZ_SECONDS", 10), started = 0, strange = 0;
	uint64_t seed = environment("YAB_FUZZ_SEED", now_ms()), end;
	pid_t pids[PROCESSES];
	uint64_t until[PROCESSES];
	struct thread chance = { .random = seed };
	struct fixture f;
	struct toucher t;
	unsigned int i;

	tap_start(6, 180 + length);
	check_removal();
	printf("# YAB_FUZZ_SEED=%llu\n", (unsigned long long)seed);
	calls = mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	for (i = 0; i < PROCESSES; i++)
		until[i] = 0;
	end = now_ms() + length * 1000;
	while (now_ms() < end) {
		for (i = 0; i < PROCESSES; i++) {
			if (until[i] > now_ms())
				continue;
			if (until[i])
				strange += !process_end(pids[i]);
			pids[i] = process_start(seed + started++);
			until[i] = now_ms() + 100 + below(&chance, 900);
		}
		/* Not synchronisation: whatever happens meanwhile is welcome. */
		usleep(20000);
	}
	for (i = 0; i < PROCESSES; i++)
		strange += !process_end(pids[i]);
	while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
		;
	printf("# %lu calls in %lu processes\n", atomic_load(calls), started);
	tap_ok(!strange, "%lu of %lu processes ended other than by being killed", strange, started);
	tap_ok(atomic_load(calls) > started, "and did something");
	tap_ok(!remove_regions(), "all regions that are left can be removed");
	/* Work that is under way may hold it for a moment. */
	for (end = now_ms() + 30000; module_refcnt() && now_ms() < end;)
		sched_yield();
	tap_ok(!module_refcnt(), "and nobody uses the module (%lu)", module_refcnt());
	fixture_open(&f, 4);
	toucher_start(&t, f.map, false, 0);
	next_fault(&f);
	f.view[0] = 5;
	declare(f.pager, 0, 4);
	toucher_join(&t);
	fixture_close(&f);
	tap_ok(t.value == 5, "which works as ever");
	return tap_end();
}

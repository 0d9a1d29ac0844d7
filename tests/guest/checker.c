// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The guest's whole work: write and check its own memory all the time, and say on
 * the console what it found. README.md of tests/lab tells the output and commands.
 *
 * Every page carries its number, a generation and, in all its other words, a pattern
 * derived from both. The generation that a page should have is also kept apart, with
 * a check of its own: a page that is lost, stale, misplaced, torn or overwritten does
 * not pass, be it of the one array or of the other.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define PAGE_BYTES	4096
#define PAGE_WORDS	(PAGE_BYTES / sizeof(uint64_t))
#define TICK_US		250000
#define WAITS_US	5000000	/* in a final check before it says for whom it waits */
#define THREADS_MAX	64
#define WRONG_LINES	50	/* then only counted: the console is slow */

enum phase { PHASE_FILL, PHASE_RUN, PHASE_FINAL };

/* What the page should hold. */
struct expected {
	uint32_t gen;
	uint32_t check;
};

struct worker {
	pthread_t thread;
	unsigned int nr;
	uint32_t first, count;		/* its pages */
	uint32_t *order;
	uint64_t random;
	_Atomic uint64_t checks, rounds, worst_us;
	_Atomic uint32_t page;		/* the one at work */
	_Atomic enum phase done;	/* the phase it has finished */
};

static struct {
	unsigned int mib, threads, seed;
	bool read, write;
	bool poweroff;			/* we are what the machine is for */
} conf = { .mib = 96, .read = true, .write = true, .seed = 1 };

static uint64_t (*pages)[PAGE_WORDS];
static struct expected *expected;
static uint32_t npages;
static struct worker workers[THREADS_MAX];
static _Atomic uint64_t wrong;
static _Atomic enum phase phase;

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* splitmix64 */
static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
	x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
	return x ^ (x >> 31);
}

static uint64_t pattern_of(uint32_t page, uint32_t gen)
{
	return mix((uint64_t)page << 32 | gen);
}

/* Odd, so that no two words of a page are the same. */
#define PATTERN_STEP	0x9e3779b97f4a7c15

static void fill(uint32_t page, uint32_t gen)
{
	uint64_t *w = pages[page], pattern = pattern_of(page, gen);
	size_t i;

	w[0] = page;
	w[1] = gen;
	for (i = 2; i < PAGE_WORDS; i++)
		w[i] = pattern += PATTERN_STEP;
	expected[page].gen = gen;
	expected[page].check = (uint32_t)pattern_of(~page, gen);
}

static void complain(uint32_t page, const char *what, uint64_t is, uint64_t should)
{
	static _Atomic unsigned int lines;

	atomic_fetch_add(&wrong, 1);
	if (atomic_fetch_add(&lines, 1) < WRONG_LINES)
		printf("guest: WRONG page=%u %s is=%#llx should=%#llx head=%#llx,%#llx\n", page,
		       what, (unsigned long long)is, (unsigned long long)should,
		       (unsigned long long)pages[page][0], (unsigned long long)pages[page][1]);
}

/* Returns the generation; a wrong page has been reported, and is left as it is. */
static uint32_t verify(uint32_t page)
{
	const uint64_t *w = pages[page];
	uint32_t gen = expected[page].gen;
	uint64_t pattern = pattern_of(page, gen), diff;
	char what[16];
	size_t i;

	if (expected[page].check != (uint32_t)pattern_of(~page, gen)) {
		complain(page, "expected", expected[page].check,
			 (uint32_t)pattern_of(~page, gen));
		return gen;
	}
	diff = (w[0] ^ page) | (w[1] ^ gen);
	for (i = 2; i < PAGE_WORDS; i++)
		diff |= w[i] ^ (pattern += PATTERN_STEP);
	if (!diff)
		return gen;

	/* say where */
	pattern = pattern_of(page, gen);
	if (w[0] != page) {
		complain(page, "number", w[0], page);
	} else if (w[1] != gen) {
		complain(page, "generation", w[1], gen);
	} else {
		for (i = 2; i < PAGE_WORDS; i++) {
			pattern += PATTERN_STEP;
			if (w[i] != pattern)
				break;
		}
		if (i == PAGE_WORDS) {
			complain(page, "passing", 0, 0);	/* right when read again */
			return gen;
		}
		snprintf(what, sizeof(what), "word=%zu", i);
		complain(page, what, w[i], pattern);
	}
	return gen;
}

/* A new order of the worker's pages. */
static void shuffle(struct worker *me)
{
	uint32_t i, j, t;

	for (i = me->count; i > 1; i--) {
		me->random = mix(me->random);
		j = (uint32_t)(me->random % i);
		t = me->order[i - 1];
		me->order[i - 1] = me->order[j];
		me->order[j] = t;
	}
}

static void *work(void *arg)
{
	struct worker *me = arg;
	uint64_t before, now;
	uint32_t i, page, gen;

	for (i = 0; i < me->count; i++) {
		me->order[i] = me->first + i;
		fill(me->first + i, 1);
	}
	me->random = mix(conf.seed + ((uint64_t)me->nr << 32));
	me->done = PHASE_FILL;
	while (phase == PHASE_FILL)
		usleep(1000);

	while (phase == PHASE_RUN) {
		shuffle(me);
		before = now_us();
		for (i = 0; i < me->count && phase == PHASE_RUN; i++) {
			page = me->order[i];
			me->page = page;
			gen = conf.read ? verify(page) : expected[page].gen;
			if (conf.write)
				fill(page, gen + 1);
			atomic_fetch_add_explicit(&me->checks, 1, memory_order_relaxed);
			/* from the end of one step to that of the next: nothing escapes */
			now = now_us();
			if (now - before > me->worst_us)
				me->worst_us = now - before;
			before = now;
		}
		if (i == me->count)
			me->rounds++;
	}

	for (i = 0; i < me->count; i++) {
		me->page = me->first + i;
		verify(me->page);
	}
	me->done = PHASE_FINAL;
	return NULL;
}

/* Who has not finished, and where it is: such a page may never have come. */
static void say_waits(void)
{
	unsigned int i;

	for (i = 0; i < conf.threads; i++)
		if (workers[i].done < PHASE_FINAL)
			printf("guest: waits for thread=%u page=%u address=%#llx\n", i,
			       workers[i].page,
			       (unsigned long long)(uintptr_t)pages[workers[i].page]);
}

/* All workers have finished this phase. */
static bool all_done(enum phase which)
{
	unsigned int i;

	for (i = 0; i < conf.threads; i++)
		if (workers[i].done < which)
			return false;
	return true;
}

static void configure(const char *word)
{
	unsigned int value;

	if (sscanf(word, "yab.mib=%u", &value) == 1 && value)
		conf.mib = value;
	else if (sscanf(word, "yab.threads=%u", &value) == 1 && value)
		conf.threads = value < THREADS_MAX ? value : THREADS_MAX;
	else if (sscanf(word, "yab.seed=%u", &value) == 1)
		conf.seed = value;
	else if (!strcmp(word, "yab.touch=r"))
		conf.write = false;
	else if (!strcmp(word, "yab.touch=w"))
		conf.read = false;
}

static void configure_all(char **argv)
{
	char line[4096], *word, *rest;
	FILE *f = fopen("/proc/cmdline", "r");
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	conf.threads = cpus > 0 ? (cpus < THREADS_MAX ? (unsigned int)cpus : THREADS_MAX) : 1;
	if (f && fgets(line, sizeof(line), f))
		for (word = strtok_r(line, " \n", &rest); word;
		     word = strtok_r(NULL, " \n", &rest))
			configure(word);
	if (f)
		fclose(f);
	for (; *argv; argv++) {
		configure(*argv);
		if (!strcmp(*argv, "--poweroff"))
			conf.poweroff = true;
	}
}

static void *allocate(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED || mlock(p, size) < 0) {
		printf("guest: FAILED to get %zu bytes: %s\n", size, strerror(errno));
		exit(1);
	}
	return p;
}

static void start_workers(void)
{
	uint32_t each = npages / conf.threads;
	unsigned int i;

	for (i = 0; i < conf.threads; i++) {
		struct worker *w = &workers[i];

		w->nr = i;
		w->first = i * each;
		w->count = i == conf.threads - 1 ? npages - w->first : each;
		w->order = allocate(w->count * sizeof(*w->order) + 1);
		w->done = (enum phase)-1;
		if (pthread_create(&w->thread, NULL, work, w)) {
			printf("guest: FAILED to start a thread\n");
			exit(1);
		}
	}
}

static void quit(void)
{
	printf("guest: bye\n");
	fflush(stdout);
	tcdrain(1);
	if (conf.poweroff)
		reboot(RB_POWER_OFF);
	exit(0);
}

static struct {
	uint64_t ticks, checks, at, late_us;
} last;

static void tick(uint64_t due)
{
	uint64_t now = now_us(), checks = 0, rounds = UINT64_MAX, worst = 0;
	unsigned int i;

	for (i = 0; i < conf.threads; i++) {
		checks += workers[i].checks;
		if (workers[i].rounds < rounds)
			rounds = workers[i].rounds;
		if (workers[i].worst_us > worst)
			worst = workers[i].worst_us;
	}
	if (now > due && now - due > last.late_us)
		last.late_us = now - due;
	printf("guest: tick=%llu at_us=%llu checks=%llu rounds=%llu wrong=%llu worst_us=%llu rate=%llu late_us=%llu\n",
	       (unsigned long long)last.ticks++, (unsigned long long)now,
	       (unsigned long long)checks, (unsigned long long)rounds,
	       (unsigned long long)wrong, (unsigned long long)worst,
	       (unsigned long long)(now > last.at ?
				    (checks - last.checks) * 1000000 / (now - last.at) : 0),
	       (unsigned long long)last.late_us);
	last.checks = checks;
	last.at = now;
}

static void command(const char *line)
{
	uint64_t since;
	unsigned int i;

	if (!strcmp(line, "reset")) {
		for (i = 0; i < conf.threads; i++)
			workers[i].worst_us = 0;
		last.late_us = 0;
		printf("guest: reset\n");
	} else if (!strcmp(line, "final")) {
		phase = PHASE_FINAL;
		since = now_us();
		while (!all_done(PHASE_FINAL)) {
			usleep(10000);
			if (now_us() - since > WAITS_US) {
				say_waits();
				since = now_us();
			}
		}
		printf("guest: final pages=%u wrong=%llu\n", npages, (unsigned long long)wrong);
	} else if (!strcmp(line, "quit")) {
		quit();
	} else if (*line) {
		printf("guest: no such command: %s\n", line);
	}
}

/* Commands, as they come, until it is time for the next tick. */
static void listen_until(uint64_t due)
{
	static char line[128];
	static size_t len;
	static bool closed;
	struct pollfd in = { .fd = 0, .events = POLLIN };
	uint64_t now;
	char c;

	while ((now = now_us()) < due) {
		int n = poll(&in, closed ? 0 : 1, (int)((due - now + 999) / 1000));

		if (n <= 0)
			continue;
		if (read(0, &c, 1) != 1) {
			closed = true;
		} else if (c == '\n' || c == '\r') {
			line[len] = '\0';
			len = 0;
			command(line);
		} else if (len < sizeof(line) - 1) {
			line[len++] = c;
		}
	}
}

int main(int argc, char **argv)
{
	struct termios tio;
	uint64_t due;

	(void)argc;
	setvbuf(stdout, NULL, _IOLBF, 0);
	/* a command must not be echoed between our lines */
	if (tcgetattr(0, &tio) == 0) {
		tio.c_lflag &= ~(tcflag_t)(ECHO | ICANON);
		tcsetattr(0, TCSANOW, &tio);
	}
	configure_all(argv + 1);
	npages = conf.mib * (1024 * 1024 / PAGE_BYTES);
	pages = allocate((size_t)npages * PAGE_BYTES);
	expected = allocate(npages * sizeof(*expected));
	start_workers();
	while (!all_done(PHASE_FILL))
		usleep(1000);
	printf("guest: ready mib=%u pages=%u threads=%u touch=%s%s\n", conf.mib, npages,
	       conf.threads, conf.read ? "r" : "", conf.write ? "w" : "");
	phase = PHASE_RUN;
	last.at = now_us();
	for (due = last.at;;) {
		tick(due);
		due += TICK_US;
		/* after a stall go on from now, do not catch up in a burst */
		if (due < now_us())
			due = now_us() + TICK_US;
		listen_until(due);
	}
}

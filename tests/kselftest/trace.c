// SPDX-License-Identifier: GPL-2.0
/* Tracepoints and the latency histogram: what they say of what has happened. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"

#define TRACEFS "/sys/kernel/tracing"
#define SLOTS 25

static char instance[64];	/* a trace buffer of our own */

static bool open_trace(void)
{
	if (access(TRACEFS "/instances", F_OK))
		mount("tracefs", TRACEFS, "tracefs", 0, NULL);
	snprintf(instance, sizeof(instance), TRACEFS "/instances/kselftest-%d", getpid());
	return !mkdir(instance, 0755);
}

static void close_trace(void)
{
	write_file(instance, "events/enable", "0");
	rmdir(instance);
}

/*
 * How many lines there are of this event and region that hold @text. They end where
 * @text does, or go on with a space: "page=1" is not "page=12".
 */
static unsigned int traced(const struct fixture *f, const char *event, const char *text)
{
	char path[96], line[512], name[YAB_NAME_SIZE + 16], head[64];
	unsigned int count = 0;
	FILE *file;

	snprintf(path, sizeof(path), "%s/trace", instance);
	snprintf(name, sizeof(name), "region=%s ", f->name);
	snprintf(head, sizeof(head), " %s: ", event);
	file = fopen(path, "r");
	if (!file)
		tap_bail("%s", path);
	while (fgets(line, sizeof(line), file)) {
		const char *found = strstr(line, text);

		if (line[0] == '#' || !strstr(line, head) || !strstr(line, name) || !found)
			continue;
		found += strlen(text);
		count += *found == ' ' || *found == '\n' || *found == '\0';
	}
	fclose(file);
	return count;
}

static void check_events(void)
{
	static const char *const names[] = {
		"yabusame_fault", "yabusame_wake", "yabusame_present", "yabusame_attach",
		"yabusame_state",
	};
	char path[160];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), "%s/events/yabusame/%s/format", instance, names[i]);
		tap_ok(!access(path, R_OK), "there is a tracepoint %s", names[i]);
	}
	tap_ok(write_file(instance, "events/yabusame/enable", "1"), "all are switched on");
}

static void check_fault(void)
{
	struct fixture f, other;
	struct toucher t;
	pid_t pid;

	fixture_open(&f, 128);
	fixture_open(&other, 128);
	toucher_start(&t, f.map + 12 * page_size, false, 0);
	next_fault(&f);
	tap_ok(traced(&f, "yabusame_fault", "page=12") == 1, "a fault is traced with its page");
	tap_ok(!traced(&f, "yabusame_fault", "page=1") && !traced(&f, "yabusame_wake", "page=12"),
	       "and nothing that was not");
	pid = child_touch(f.map + 12 * page_size);
	wait_until_asleep(pid);
	tap_ok(traced(&f, "yabusame_fault", "page=12") == 1, "a second one of the page is none");
	declare(f.pager, 10, 5);
	toucher_join(&t);
	waitpid(pid, NULL, 0);
	tap_ok(traced(&f, "yabusame_present", "page=10 count=5 fresh=5") == 1,
	       "a declaration is traced with its range");
	tap_ok(traced(&f, "yabusame_wake", "page=12") == 2, "each that had waited goes on");
	toucher_start(&t, f.map + 77 * page_size, true, 1);
	next_fault(&f);
	tap_ok(traced(&f, "yabusame_fault", "page=77 flags=write") == 1, "a write is said to be one");
	declare(f.pager, 77, 1);
	toucher_join(&t);
	tap_ok(!traced(&other, "yabusame_fault", "") && !traced(&other, "yabusame_present", ""),
	       "another region is silent");
	fixture_close(&other);
	fixture_close(&f);
}

static void check_states(void)
{
	static const struct yab_create keep = { .flags = YAB_CREATE_KEEP };
	struct fixture f;

	fixture_open_with(&f, 8, &keep);
	fixture_orphan(&f);
	tap_ok(traced(&f, "yabusame_state", "from=filling to=orphaned") == 1,
	       "an orphan's state is traced");
	tap_ok(traced(&f, "yabusame_attach", "attached=0") == 1, "and that its pager went");
	f.pager = attach(f.name);
	tap_ok(traced(&f, "yabusame_attach", "attached=1") >= 1 &&
	       traced(&f, "yabusame_state", "from=orphaned to=filling") == 1,
	       "a new pager and what it makes of the region, too");
	declare(f.pager, 0, 8);
	tap_ok(traced(&f, "yabusame_state", "from=filling to=complete") == 1, "and the last page");
	fixture_close(&f);
	remove_region(f.name, YAB_REMOVE_FORCE);
	fixture_open(&f, 8);
	fail(f.name);
	tap_ok(traced(&f, "yabusame_state", "from=filling to=failed") == 1, "and a failure");
	fixture_close(&f);
}

/* --- the histogram ------------------------------------------------------------------ */

static bool latency(const struct fixture *f, unsigned long slots[SLOTS])
{
	const char *text = attribute(f, "latency");
	unsigned int i;
	char *end;

	for (i = 0; i < SLOTS; i++) {
		slots[i] = strtoul(text, &end, 10);
		if (end == text)
			return false;
		text = end;
	}
	return text[strspn(text, " \n")] == '\0';
}

static unsigned long sum(const unsigned long slots[SLOTS], unsigned int from)
{
	unsigned long total = 0;

	for (; from < SLOTS; from++)
		total += slots[from];
	return total;
}

static void check_latency(void)
{
	const struct timespec long_time = { .tv_nsec = 40000000 };
	unsigned long slots[SLOTS], before;
	struct toucher t[4];
	struct fixture f;
	uint64_t page;
	pid_t pid;
	size_t i;

	fixture_open(&f, 64);
	tap_ok(latency(&f, slots) && !sum(slots, 0), "25 numbers, all zero at first");
	for (page = 0; page < 5; page++) {
		toucher_start(&t[0], f.map + page * page_size, false, 0);
		next_fault(&f);
		declare(f.pager, page, 1);
		toucher_join(&t[0]);
	}
	tap_ok(latency(&f, slots) && sum(slots, 0) == 5, "five faults have waited");
	f.map[0]++;
	declare(f.pager, 20, 10);
	f.map[20 * page_size]++;
	tap_ok(latency(&f, slots) && sum(slots, 0) == 5, "faults of present pages have not");
	for (i = 0; i < ARRAY_SIZE(t); i++)
		toucher_start(&t[i], f.map + 6 * page_size, false, 0);
	next_fault(&f);
	pid = child_touch(f.map + 7 * page_size);
	next_fault(&f);
	wait_until_asleep(pid);
	child_kill(pid);
	latency(&f, slots);
	before = sum(slots, 16);
	/* Not for synchronisation: it is the wait that is measured. 2^15 us are less than 40 ms. */
	nanosleep(&long_time, NULL);
	declare(f.pager, 6, 1);
	for (i = 0; i < ARRAY_SIZE(t); i++)
		toucher_join(&t[i]);
	tap_ok(latency(&f, slots) && sum(slots, 0) >= 6, "several that waited for one page are counted");
	tap_ok(sum(slots, 16) > before, "and those that waited long, as such");
	fixture_close(&f);
}

int main(void)
{
	int i;

	tap_start(6 + 7 + 5 + 5, 120);
	if (open_trace()) {
		check_events();
		check_fault();
		check_states();
		close_trace();
	} else {
		for (i = 0; i < 6 + 7 + 5; i++)
			tap_skip("tracepoints: no tracefs here");
	}
	check_latency();
	return tap_end();
}

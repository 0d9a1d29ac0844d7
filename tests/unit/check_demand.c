// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The destination's page service after its worker was lost, with a kernel that is played
 * (the linker puts its calls in the place of region.c's), and workers that end at once.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../../daemon/demand.h"
#include "../../daemon/region.h"
#include "script.h"

#define PAGES	64

static struct event_base *base;
static struct yab_demand *demand;
/* What the next attaches come to: errno, 0: a pager. */
static const int *attaches;
static int attached, interrupted, gone, ended;
static char reason[512];

static void on_statistics(json_t *statistics, void *arg)
{
	(void)statistics;
	(void)arg;
}

int __wrap_yab_region_attach(const char *name, int *memory_fd, char *error, size_t error_size);
int __wrap_yab_region_attach(const char *name, int *memory_fd, char *error, size_t error_size)
{
	(void)memory_fd;
	snprintf(error, error_size, "cannot attach to %s: %s", name, strerror(*attaches));
	attached++;
	errno = *attaches++;
	return -1;
}

int __wrap_yab_region_create(const char *name, uint64_t size, int memory_fd, uid_t uid, gid_t gid,
			     char *error, size_t error_size);
int __wrap_yab_region_create(const char *name, uint64_t size, int memory_fd, uid_t uid, gid_t gid,
			     char *error, size_t error_size)
{
	(void)name;
	(void)size;
	(void)memory_fd;
	(void)uid;
	(void)gid;
	(void)error;
	(void)error_size;
	return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

static void on_open(enum yab_wire_role role, void *arg)
{
	(void)role;
	(void)arg;
	ck_abort();
}

static void on_lost(enum yab_wire_role role, unsigned int index, uint32_t number,
		    const char *error, void *arg)
{
	(void)role;
	(void)index;
	(void)number;
	(void)arg;
	ck_abort_msg("%s", error);
}

static void on_interrupted(const char *error, void *arg)
{
	(void)arg;
	snprintf(reason, sizeof(reason), "%s", error);
	interrupted++;
}

static void on_gone(const char *error, void *arg)
{
	(void)arg;
	snprintf(reason, sizeof(reason), "%s", error);
	gone++;
}

static void on_complete(void *arg)
{
	(void)arg;
	ck_abort();
}

static void on_ended(void *arg)
{
	(void)arg;
	ended++;
}

/* It goes with the rest. */
static void on_worker(pid_t pid, void *arg)
{
	(void)arg;
	ck_assert_int_gt(pid, 0);
}

static const struct yab_demand_ops ops = {
	.worker = on_worker,
	.statistics = on_statistics,
	.open = on_open,
	.lost = on_lost,
	.interrupted = on_interrupted,
	.gone = on_gone,
	.complete = on_complete,
	.ended = on_ended,
};

/* A region that is no more, or has failed, is final; anything else is tried again. */
START_TEST(region_gone)
{
	static const int cases[][3] = {
		{ ENOENT }, { EIO }, { EBUSY, ENODEV, ENOENT }, { ENOMEM, EBUSY, EIO },
	};
	const int tries = _i < 2 ? 1 : 3;
	char error[512];
	int memory_fd;

	attaches = cases[_i];
	base = script_base();
	demand = yab_demand_new(base, "test", PAGES * SCRIPT_PAGE, NULL, YAB_CODEC_NONE, false,
				&ops, NULL, &memory_fd, error, sizeof(error));
	ck_assert_msg(demand, "%s", error);
	close(memory_fd);
	yab_demand_persist(demand);
	while (!gone)
		ck_assert_int_eq(event_base_loop(base, EVLOOP_ONCE), 0);
	ck_assert_int_eq(attached, tries);
	ck_assert_int_eq(interrupted, tries);
	ck_assert_str_eq(reason, _i % 2 ? "cannot attach to test: Input/output error" :
		       "cannot attach to test: No such file or directory");
	ck_assert(!yab_demand_takes(demand));
	ck_assert(yab_demand_is_gone(demand));
	/* Nothing follows, and nothing more is to be ended. */
	yab_demand_kill(demand);
	script_settle(base);
	ck_assert_int_eq(ended, 0);
	ck_assert_int_eq(gone, 1);
	yab_demand_free(demand, false);
	event_base_free(base);
}
END_TEST

int main(int argc, char **argv)
{
	Suite *suite;
	TCase *tcase;

	/* As a worker, which this program is, too, that crashes. */
	if (argc > 1 && !strcmp(argv[1], "--worker"))
		return 3;
	suite = suite_create("demand");
	tcase = tcase_create("demand");
	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(tcase, region_gone, 0, 4);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}

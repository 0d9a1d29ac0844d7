// SPDX-License-Identifier: GPL-2.0-or-later
/* The window against paths that are played: time is what the test says it is. */
#include "../../daemon/window.h"
#include "script.h"

#define MS	1000000ULL

/* A path of @rate pages a second and @rtt_ns; it carries @pages, as fast as it can. */
struct path {
	uint64_t rate;
	uint64_t rtt_ns;
	uint64_t now_ns;
	uint64_t free_ns;	/* when what was asked for will have passed the narrowest part */
};

static struct window_run {
	uint64_t arrive_ns;
	uint64_t pages;
} runs[YAB_WINDOW_MAX];

static void carry(struct yab_window *window, struct path *path, uint64_t pages)
{
	unsigned int head = 0, tail = 0;

	while (pages) {
		const uint64_t run = yab_window_run(window);
		struct window_run *next;

		while (!window->on_order || window->on_order + run <= window->width) {
			uint64_t start = path->now_ns + path->rtt_ns / 2;

			if (start < path->free_ns)
				start = path->free_ns;
			path->free_ns = start + run * 1000000000 / path->rate;
			runs[tail % YAB_WINDOW_MAX] = (struct window_run){
				.arrive_ns = path->free_ns + path->rtt_ns / 2,
				.pages = run,
			};
			tail++;
			yab_window_asked(window, run);
		}
		next = &runs[head++ % YAB_WINDOW_MAX];
		path->now_ns = next->arrive_ns;
		yab_window_arrived(window, next->pages, path->now_ns);
		pages -= next->pages < pages ? next->pages : pages;
	}
	while (head != tail)
		yab_window_dropped(window, runs[head++ % YAB_WINDOW_MAX].pages);
	ck_assert_uint_eq(window->on_order, 0);
}

/* Pages a second over a path, once the window has found its width. */
static uint64_t settled_rate(struct yab_window *window, struct path *path, uint64_t pages)
{
	const uint64_t start = path->now_ns;

	carry(window, path, pages);
	return pages * 1000000000 / (path->now_ns - start);
}

static const struct {
	uint64_t rate;		/* 30,000 pages a second are 1 Gbit/s */
	uint64_t rtt_us;
} paths[] = {
	{ 3000, 500 },		/* 100 Mbit/s */
	{ 30000, 500 },		/* 1 Gbit/s in a building */
	{ 30000, 20000 },	/* over land */
	{ 300000, 100 },	/* 10 Gbit/s */
	{ 300000, 10000 },
	{ 3000000, 1000 },	/* 100 Gbit/s */
};

/* It fills the path, and what waits in front of it takes no longer than that twice over. */
START_TEST(finds_the_path)
{
	const uint64_t rate = paths[_i].rate, rtt_ns = paths[_i].rtt_us * 1000;
	const uint64_t in_flight = rate * rtt_ns / 1000000000;
	struct path path = { .rate = rate, .rtt_ns = rtt_ns, .now_ns = 1 };
	struct yab_window window;
	uint64_t most;

	yab_window_init(&window);
	carry(&window, &path, 300000 + 40 * in_flight);
	ck_assert_uint_ge(settled_rate(&window, &path, 200000 + 20 * in_flight), rate * 85 / 100);
	most = 3 * in_flight;
	if (most < 2 * YAB_WINDOW_MIN)
		most = 2 * YAB_WINDOW_MIN;
	ck_assert_msg(window.width <= most, "%llu pages for a path of %llu",
		      (unsigned long long)window.width, (unsigned long long)in_flight);
}
END_TEST

/* The path becomes wider, then narrower: it follows. */
START_TEST(follows)
{
	struct path path = { .rate = 30000, .rtt_ns = MS, .now_ns = 1 };
	struct yab_window window;

	yab_window_init(&window);
	carry(&window, &path, 100000);
	ck_assert_uint_le(window.width, 128);
	path.rtt_ns = 20 * MS;
	carry(&window, &path, 1000000);
	ck_assert_uint_ge(settled_rate(&window, &path, 100000), 24000);
	path.rtt_ns = MS;
	carry(&window, &path, 3000000);
	ck_assert_uint_le(window.width, 128);
}
END_TEST

/* Measurements that something else has disturbed decide nothing. */
START_TEST(disturbed)
{
	struct yab_window window;
	uint64_t now = 1;

	yab_window_init(&window);
	for (int i = 0; i < 10000; i++) {
		yab_window_asked(&window, 64);
		now += MS;
		yab_window_arrived(&window, 64, now);
		if (i % 3 == 0)
			yab_window_disturb(&window);
	}
	ck_assert_int_eq(window.state, YAB_WINDOW_STARTING);
	ck_assert_uint_eq(window.width, YAB_WINDOW_FIRST);
}
END_TEST

/* Within its bounds whatever the clock does. */
START_TEST(absurd_clocks)
{
	struct yab_window window;
	uint64_t state = 1 + (uint64_t)_i, now = 1;

	yab_window_init(&window);
	for (int i = 0; i < 100000; i++) {
		const uint64_t run = yab_window_run(&window);

		yab_window_asked(&window, run);
		now += _i == 0 ? 0 : _i == 1 ? 1ULL << 40 : script_random(&state) % (50 * MS);
		yab_window_arrived(&window, run, now);
		ck_assert_uint_ge(window.width, YAB_WINDOW_MIN);
		ck_assert_uint_le(window.width, YAB_WINDOW_MAX);
		ck_assert_uint_ge(run, 1);
		ck_assert_uint_le(run, YAB_WIRE_PAGES_MAX);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("window");
	TCase *tcase = tcase_create("window");

	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(tcase, finds_the_path, 0, 6);
	tcase_add_test(tcase, follows);
	tcase_add_test(tcase, disturbed);
	tcase_add_loop_test(tcase, absurd_clocks, 0, 3);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* The files that a guest is saved to: what is in them, and that they are there or not. */
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../daemon/copy.h"
#include "../../daemon/save_file.h"
#include "script.h"

#define PAGES	300	/* more than a block of the copy's */
#define SEED	3

static char folder[SCRIPT_FOLDER_SIZE];
static struct event_base *base;
static struct script_memory memory;
static struct yab_save_file image = { .fd = -1 }, state = { .fd = -1 };
static int qemu = -1, ours = -1;	/* the ends of the device state's socket */
static char said[512];
static int told;

static const char *path(const char *name)
{
	return script_path(folder, name);
}

/* Pages of data, of zeros, and holes, one by one and many. */
static bool is_data(uint64_t page)
{
	return page < 100 ? page % 5 < 2 : page < 200 || page == PAGES - 1;
}

static void setup(void)
{
	int pair[2];

	script_folder_make(folder);
	base = script_base();
	script_memory_make(&memory, PAGES);
	for (uint64_t i = 0; i < PAGES; i++) {
		if (is_data(i))
			script_fill(script_at(&memory, i), i, SEED);
		else if (i % 2)
			memset(script_at(&memory, i), 0, SCRIPT_PAGE);
	}
	ck_assert(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	qemu = pair[0];
	ours = pair[1];
	ck_assert_msg(!yab_save_file_make(&image, "image", path("image"), "vm1", said,
					  sizeof(said)), "%s", said);
	ck_assert_msg(!yab_save_file_make(&state, "state", path("state"), "vm1", said,
					  sizeof(said)), "%s", said);
	told = 0;
}

static void teardown(void)
{
	yab_save_file_release(&image);
	yab_save_file_release(&state);
	if (qemu >= 0)
		close(qemu);
	if (ours >= 0)
		close(ours);
	script_memory_drop(&memory);
	event_base_dispatch(base);
	event_base_free(base);
	/* Nothing is in it that was not kept. */
	unlink(path("image"));
	unlink(path("state"));
	ck_assert_msg(!rmdir(folder), "%s", strerror(errno));
}

static void on_copied(const char *error, void *arg)
{
	(void)arg;
	snprintf(said, sizeof(said), "%s", error ? error : "");
	told++;
}

static struct yab_copy *copy(void)
{
	const struct yab_copy_files files = {
		.socket = ours,
		.state = state.fd,
		.memory = memory.fd,
		.size = PAGES * SCRIPT_PAGE,
		.image = image.fd,
	};
	struct yab_copy *made = yab_copy_new(base, &files, on_copied, NULL);

	ck_assert_ptr_nonnull(made);
	close(ours);
	ours = -1;
	return made;
}

static void write_state(size_t size)
{
	static uint8_t bytes[1 << 20];

	memset(bytes, 'd', sizeof(bytes));
	while (size) {
		const ssize_t n = write(qemu, bytes, size < sizeof(bytes) ? size : sizeof(bytes));

		/* Who has no room for it does not read it. */
		if (n < 0)
			break;
		size -= (size_t)n;
	}
	close(qemu);
	qemu = -1;
}

static void until_told(void)
{
	while (!told)
		event_base_loop(base, EVLOOP_ONCE);
}

START_TEST(copied)
{
	struct yab_copy *made = copy();
	uint8_t page[SCRIPT_PAGE];
	struct stat status;
	uint64_t data = 0;

	write_state(3 << 20);
	until_told();
	ck_assert_str_eq(said, "");
	yab_copy_free(made);
	ck_assert(!yab_save_file_keep(&image, said, sizeof(said)));
	ck_assert(!yab_save_file_keep(&state, said, sizeof(said)));
	ck_assert(!stat(path("state"), &status));
	ck_assert_int_eq(status.st_size, 3 << 20);
	ck_assert(!stat(path("image"), &status));
	ck_assert_int_eq(status.st_size, PAGES * SCRIPT_PAGE);
	ck_assert_int_eq(status.st_mode & 0777, 0600);
	for (uint64_t i = 0; i < PAGES; i++) {
		ck_assert_int_eq(pread(image.fd, page, sizeof(page), (off_t)(i * SCRIPT_PAGE)),
				 SCRIPT_PAGE);
		ck_assert_mem_eq(page, script_at(&memory, i), SCRIPT_PAGE);
		data += is_data(i);
	}
	/* What is zero takes no room (on a file system that knows holes of one page). */
	ck_assert_int_le(status.st_blocks, (blkcnt_t)(data * SCRIPT_PAGE / 512 + 64));
}
END_TEST

START_TEST(no_state)
{
	struct yab_copy *made = copy();

	write_state(0);
	until_told();
	ck_assert_msg(strstr(said, "the device state cannot be written"), "%s", said);
	yab_copy_free(made);
}
END_TEST

/* Like a full disk, for the device state or for the memory behind it. */
START_TEST(no_room)
{
	const struct rlimit limit = { .rlim_cur = 65536, .rlim_max = RLIM_INFINITY };
	const struct rlimit none = { RLIM_INFINITY, RLIM_INFINITY };
	struct yab_copy *made;

	ck_assert(!setrlimit(RLIMIT_FSIZE, &limit));
	made = copy();
	ck_assert(!setrlimit(RLIMIT_FSIZE, &none));
	write_state(_i ? 1 << 20 : 1 << 12);
	until_told();
	ck_assert_msg(strstr(said, _i ? "the device state cannot be written: File too large" :
			     "the memory cannot be written: File too large"), "%s", said);
	yab_copy_free(made);
}
END_TEST

/* It is ended with us; nobody is told. */
START_TEST(given_up)
{
	struct yab_copy *made = copy();

	yab_copy_free(made);
	event_base_dispatch(base);
	ck_assert_int_eq(told, 0);
}
END_TEST

START_TEST(names)
{
	struct yab_save_file other = { .fd = -1 };
	char text[512];

	/* The one of somebody who was killed is in nobody's way. */
	ck_assert(!access(path("image.vm1.part"), F_OK));
	ck_assert(!yab_save_file_make(&other, "image", path("image"), "vm1", text,
				      sizeof(text)));
	yab_save_file_release(&image);
	ck_assert_int_eq(yab_save_file_make(&other, "image", path("nosuch/image"), "vm1", text,
					    sizeof(text)), -1);
	ck_assert_msg(strstr(text, "No such file"), "%s", text);
	yab_save_file_release(&other);
	ck_assert_int_eq(yab_save_file_make(&other, "image", "image", "vm1", text,
					    sizeof(text)), -1);
	ck_assert_msg(strstr(text, "no absolute path"), "%s", text);
	ck_assert(!yab_save_file_keep(&state, text, sizeof(text)));
	ck_assert_int_eq(yab_save_file_make(&other, "state", path("state"), "vm1", text,
					    sizeof(text)), -1);
	ck_assert_msg(strstr(text, "exists"), "%s", text);
	/* Nor is one replaced that came meanwhile. */
	ck_assert(!yab_save_file_make(&image, "image", path("image"), "vm1", text, sizeof(text)));
	ck_assert_int_eq(symlink("nowhere", path("image")), 0);
	ck_assert_int_eq(yab_save_file_keep(&image, text, sizeof(text)), -1);
	ck_assert_msg(strstr(text, "exists"), "%s", text);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("save");
	TCase *tcase = tcase_create("save");

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, copied);
	tcase_add_test(tcase, no_state);
	tcase_add_loop_test(tcase, no_room, 0, 2);
	tcase_add_test(tcase, given_up);
	tcase_add_test(tcase, names);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}

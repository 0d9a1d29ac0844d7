// SPDX-License-Identifier: GPL-2.0-or-later
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../daemon/socket.h"
#include "script.h"

void script_memory_make(struct script_memory *memory, uint64_t pages)
{
	memory->pages = pages;
	memory->fd = memfd_create("script", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	ck_assert_int_ge(memory->fd, 0);
	ck_assert_int_eq(ftruncate(memory->fd, (off_t)(pages * SCRIPT_PAGE)), 0);
	memory->bytes = mmap(NULL, pages * SCRIPT_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
			     memory->fd, 0);
	ck_assert_ptr_ne(memory->bytes, MAP_FAILED);
}

void script_memory_drop(struct script_memory *memory)
{
	munmap(memory->bytes, memory->pages * SCRIPT_PAGE);
	close(memory->fd);
}

uint8_t *script_at(const struct script_memory *memory, uint64_t page)
{
	return memory->bytes + page * SCRIPT_PAGE;
}

void script_fill(uint8_t *page_bytes, uint64_t page, uint64_t seed)
{
	uint64_t word;

	for (uint64_t i = 0; i < SCRIPT_PAGE / sizeof(word); i++) {
		word = (seed << 48 | page << 16 | i) + 1;
		memcpy(page_bytes + i * sizeof(word), &word, sizeof(word));
	}
}

bool script_is_filled(const uint8_t *page_bytes, uint64_t page, uint64_t seed)
{
	uint8_t want[SCRIPT_PAGE];

	script_fill(want, page, seed);
	return !memcmp(want, page_bytes, SCRIPT_PAGE);
}

bool script_is_hole(const struct script_memory *memory, uint64_t page)
{
	const off_t at = (off_t)(page * SCRIPT_PAGE);
	const off_t data = lseek(memory->fd, at, SEEK_DATA);

	return data < 0 || data >= at + SCRIPT_PAGE;
}

void script_folder_make(char folder[SCRIPT_FOLDER_SIZE])
{
	snprintf(folder, SCRIPT_FOLDER_SIZE, "/tmp/yab-unit.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *at)
{
	(void)status;
	(void)type;
	(void)at;
	return remove(path);
}

void script_folder_drop(const char *folder)
{
	ck_assert_int_eq(nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS), 0);
}

const char *script_path(const char *folder, const char *name)
{
	static char paths[4][128];
	static unsigned int next;
	char *text = paths[next++ % 4];

	ck_assert_int_lt(snprintf(text, sizeof(paths[0]), "%s/%s", folder, name),
			 (int)sizeof(paths[0]));
	return text;
}

void script_file_write(const char *path, const void *bytes, size_t size)
{
	const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, bytes, size), (ssize_t)size);
	close(fd);
}

struct event_base *script_base(void)
{
	struct event_base *base = event_base_new();

	ck_assert_ptr_nonnull(base);
	ck_assert_int_eq(event_base_priority_init(base, YAB_PRIORITIES), 0);
	return base;
}

void script_settle(struct event_base *base)
{
	/* With this flag alone, libevent goes on as long as there was something to run. */
	ck_assert_int_ge(event_base_loop(base, EVLOOP_NONBLOCK), 0);
}

void script_pair(int *ours, int *theirs)
{
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	*ours = pair[0];
	*theirs = pair[1];
}

void script_pair_tcp(int *ours, int *theirs)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t size = sizeof(address);
	const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, size), 0);
	ck_assert_int_eq(listen(listener, 1), 0);
	ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&address, &size), 0);
	*ours = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(connect(*ours, (struct sockaddr *)&address, size), 0);
	*theirs = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	ck_assert_int_ge(*theirs, 0);
	close(listener);
}

void script_send(int fd, const void *bytes, size_t size)
{
	ck_assert_int_eq(send(fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT), (ssize_t)size);
}

void script_send_header(int fd, enum yab_wire_type type, uint32_t length, uint64_t page,
			uint64_t count)
{
	const struct yab_wire_header header = {
		.type = type,
		.length = length,
		.page = page,
		.count = count,
	};
	uint8_t bytes[YAB_WIRE_HEADER_SIZE];

	yab_wire_header_encode(bytes, &header);
	script_send(fd, bytes, sizeof(bytes));
}

void script_send_pages(int fd, uint64_t page, uint64_t count, uint64_t seed)
{
	uint8_t bytes[SCRIPT_PAGE];

	script_send_header(fd, YAB_WIRE_PAGES, (uint32_t)(count * SCRIPT_PAGE), page, count);
	for (; count; count--, page++) {
		script_fill(bytes, page, seed);
		script_send(fd, bytes, sizeof(bytes));
	}
}

void script_receive(int fd, void *bytes, size_t size)
{
	size_t done = 0;

	while (done < size) {
		const ssize_t n = recv(fd, (uint8_t *)bytes + done, size - done, MSG_DONTWAIT);

		ck_assert_msg(n > 0, "%zu of %zu bytes came: %s", done, size,
			      n ? strerror(errno) : "end");
		done += (size_t)n;
	}
}

void script_receive_header(int fd, enum yab_wire_role role, uint64_t pages,
			   struct yab_wire_header *header)
{
	uint8_t bytes[YAB_WIRE_HEADER_SIZE];

	script_receive(fd, bytes, sizeof(bytes));
	ck_assert_int_eq(yab_wire_header_decode(bytes, role, pages, header), YAB_WIRE_OK);
}

void script_expect_request(int fd, uint64_t page, uint64_t count)
{
	struct yab_wire_header header;

	script_receive_header(fd, YAB_WIRE_URGENT, UINT64_MAX, &header);
	ck_assert_uint_eq(header.type, YAB_WIRE_REQUEST);
	ck_assert_uint_eq(header.page, page);
	ck_assert_uint_eq(header.count, count);
}

void script_expect_silence(int fd)
{
	uint8_t byte;

	ck_assert_int_eq(recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK), -1);
	ck_assert_int_eq(errno, EAGAIN);
}

void script_expect_refusal(int fd)
{
	struct yab_wire_header header;
	uint8_t text[YAB_WIRE_ERROR_MAX];
	ssize_t n;

	script_receive_header(fd, YAB_WIRE_URGENT, UINT64_MAX, &header);
	ck_assert_uint_eq(header.type, YAB_WIRE_ERROR);
	script_receive(fd, text, header.length);
	n = recv(fd, text, 1, MSG_DONTWAIT);
	/* Bytes that were sent and not read make it a reset. */
	ck_assert(n == 0 || (n < 0 && errno == ECONNRESET));
}

size_t script_waiting(int fd)
{
	int n;

	ck_assert_int_eq(ioctl(fd, FIONREAD, &n), 0);
	return (size_t)n;
}

void script_expect_keepalive(int fd, int timeout, int idle, int interval, int count)
{
	const struct {
		int level, name, value;
	} options[] = {
		{ SOL_SOCKET, SO_KEEPALIVE, 1 },
		{ IPPROTO_TCP, TCP_USER_TIMEOUT, timeout },
		{ IPPROTO_TCP, TCP_KEEPIDLE, idle },
		{ IPPROTO_TCP, TCP_KEEPINTVL, interval },
		{ IPPROTO_TCP, TCP_KEEPCNT, count },
	};

	for (size_t i = 0; i < sizeof(options) / sizeof(*options); i++) {
		socklen_t size = sizeof(int);
		int value;

		ck_assert_int_eq(getsockopt(fd, options[i].level, options[i].name, &value,
					    &size), 0);
		ck_assert_int_eq(value, options[i].value);
	}
}

uint64_t script_random(uint64_t *state)
{
	/* xorshift64* */
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1dULL;
}

char *script_logged(void (*run)(void *arg), void *arg)
{
	int file = memfd_create("log", MFD_CLOEXEC), saved = dup(STDERR_FILENO);
	off_t size;
	char *text;

	ck_assert_int_ge(file, 0);
	ck_assert_int_eq(dup2(file, STDERR_FILENO), STDERR_FILENO);
	run(arg);
	ck_assert_int_eq(dup2(saved, STDERR_FILENO), STDERR_FILENO);
	close(saved);
	size = lseek(file, 0, SEEK_CUR);
	text = calloc(1, (size_t)size + 1);
	ck_assert_ptr_nonnull(text);
	ck_assert_int_eq(pread(file, text, (size_t)size, 0), size);
	close(file);
	return text;
}

pid_t script_child(const char *name)
{
	char list[128], line[64];
	pid_t pid, found = 0;
	FILE *children;

	snprintf(list, sizeof(list), "/proc/self/task/%d/children", getpid());
	children = fopen(list, "re");
	ck_assert_ptr_nonnull(children);
	while (!found && fscanf(children, "%d", &pid) == 1) {
		FILE *comm;

		snprintf(list, sizeof(list), "/proc/%d/comm", pid);
		comm = fopen(list, "re");
		if (comm && fgets(line, sizeof(line), comm) && !strncmp(line, name, strlen(name)))
			found = pid;
		if (comm)
			fclose(comm);
	}
	fclose(children);
	return found;
}

int script_run(Suite *suite)
{
	SRunner *runner = srunner_create(suite);
	int failed;

	signal(SIGPIPE, SIG_IGN);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

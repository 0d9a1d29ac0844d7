/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What tests share: folders, memory files with known content, and
 * the other side of a connection, played word for word. All is done in one thread over
 * socket pairs, which deliver at once, so that nothing depends on time.
 */
#ifndef YAB_TEST_SCRIPT_H
#define YAB_TEST_SCRIPT_H

#include <check.h>
#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "../../daemon/wire.h"

#define SCRIPT_PAGE	YAB_WIRE_PAGE_SIZE
#define SCRIPT_FOLDER_SIZE	32

/* A memory file that the test sees through a mapping of its own. */
struct script_memory {
	int fd;
	uint8_t *bytes;
	uint64_t pages;
};

void script_memory_make(struct script_memory *memory, uint64_t pages);
void script_memory_drop(struct script_memory *memory);
/* Fills @page with what only this page and @seed have; never zero. */
void script_fill(uint8_t *page_bytes, uint64_t page, uint64_t seed);
bool script_is_filled(const uint8_t *page_bytes, uint64_t page, uint64_t seed);
bool script_is_hole(const struct script_memory *memory, uint64_t page);
uint8_t *script_at(const struct script_memory *memory, uint64_t page);

/* A new one. */
void script_folder_make(char folder[SCRIPT_FOLDER_SIZE]);
/* With all that is in it. */
void script_folder_drop(const char *folder);
/* The path of a file in it; valid for four calls. */
const char *script_path(const char *folder, const char *name);
void script_file_write(const char *path, const void *bytes, size_t size);

/* As a worker makes it. */
struct event_base *script_base(void);
/* Runs what can run without anything new coming in. */
void script_settle(struct event_base *base);
/* @ours is the test's end, @theirs goes to the code under test. */
void script_pair(int *ours, int *theirs);
/* The same over TCP, which the kernel may do TLS on. */
void script_pair_tcp(int *ours, int *theirs);

void script_send(int fd, const void *bytes, size_t size);
void script_send_header(int fd, enum yab_wire_type type, uint32_t length, uint64_t page,
			uint64_t count);
/* A PAGES frame with filled pages. */
void script_send_pages(int fd, uint64_t page, uint64_t count, uint64_t seed);
/* Exactly @size bytes, which must have come already. */
void script_receive(int fd, void *bytes, size_t size);
void script_receive_header(int fd, enum yab_wire_role role, uint64_t pages,
			   struct yab_wire_header *header);
void script_expect_request(int fd, uint64_t page, uint64_t count);
/* Nothing came. */
void script_expect_silence(int fd);
/* An ERROR frame, then the end. */
void script_expect_refusal(int fd);
size_t script_waiting(int fd);
/* When the kernel gives a silent peer up: in ms if bytes are on their way, else in s. */
void script_expect_keepalive(int fd, int timeout, int idle, int interval, int count);

/* Numbers that are the same in every run. */
uint64_t script_random(uint64_t *state);

/* What goes to stderr while @run runs; the caller frees it. */
char *script_logged(void (*run)(void *arg), void *arg);

/* The first process of ours that is called @name; 0: there is none. */
pid_t script_child(const char *name);
/* main() of a test program. */
int script_run(Suite *suite);

#endif /* YAB_TEST_SCRIPT_H */

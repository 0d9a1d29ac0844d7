/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the fuzzers share. An input is a list of things to do: each starts with a byte
 * that says what, and takes the bytes it needs. All of it happens in one thread over
 * socket pairs, so that an input does the same whenever it is run.
 */
#ifndef YAB_TEST_FUZZ_H
#define YAB_TEST_FUZZ_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../../daemon/wire.h"

#define FUZZ_PAGE	YAB_WIRE_PAGE_SIZE
#define ARRAY_SIZE(array)	(sizeof(array) / sizeof((array)[0]))

/* What libFuzzer calls. */
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fuzz_input {
	const uint8_t *at;
	size_t left;
};

/* Zeros behind the end. */
uint8_t fuzz_byte(struct fuzz_input *input);
uint16_t fuzz_short(struct fuzz_input *input);
/* As many of @size bytes as there are; *size becomes their number. */
const uint8_t *fuzz_bytes(struct fuzz_input *input, size_t *size);
/* The same for a length byte and what follows, as a string on the heap. */
char *fuzz_text(struct fuzz_input *input, size_t *size);

/* Ends the program with a line that says what is wrong. */
void fuzz_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
#define fuzz_check(condition, ...) \
	do { \
		if (!(condition)) \
			fuzz_fail(__VA_ARGS__); \
	} while (0)

/* As a worker makes it. */
struct event_base *fuzz_base(void);
/* Runs what can run without anything new coming in. */
void fuzz_settle(struct event_base *base);
/* Both ends non-blocking; @ours is the fuzzer's, @theirs goes to the code under test. */
void fuzz_pair(int type, int *ours, int *theirs);
/* What the socket takes; whatever the other side thinks of it. */
size_t fuzz_send(int fd, const void *bytes, size_t size);
/* Reads and forgets. */
void fuzz_discard(int fd);

/*
 * At the beginning and at the end of each run: it must leave no descriptor open, but for
 * those that the first one makes for all. (Between runs libFuzzer opens some, too.)
 */
void fuzz_note_descriptors(void);
void fuzz_check_descriptors(void);

/* For sockets; with the description of a VM named vm in it. Gone at the program's end. */
const char *fuzz_folder(void);

/* A line for people: printable, in one piece, not empty. */
void fuzz_check_line(const char *line);

/* Content that only this page has, never zero. */
void fuzz_fill(uint8_t *bytes, uint64_t page);
bool fuzz_is_zero(const uint8_t *bytes);

#endif /* YAB_TEST_FUZZ_H */

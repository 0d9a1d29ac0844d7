/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The destination worker while it pulls pages: source, kernel and guest are played. */
#ifndef YAB_TEST_PULL_H
#define YAB_TEST_PULL_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../../daemon/pager.h"
#include "../../daemon/socket.h"
#include "../../daemon/window.h"
#include "script.h"

#define PAGES		4096
#define SEED		1
/* What a guest writes is not what came. */
#define GUEST		0xee
/* What the sweep begins with: so many pages on order, in such requests. */
#define WINDOW		YAB_WINDOW_FIRST
#define RUN		(WINDOW / 4)

struct pull {
	struct event_base *base;
	struct script_memory memory;
	struct yab_pager *pager;
	const struct yab_store_statistics *statistics;
	int urgent, bulk;	/* the source's ends; -1: none */
	bool surveyed;		/* the source was asked where the holes are */

	/* The kernel. */
	int kernel;		/* faults are written here, */
	int pager_fd;		/* and read there */
	uint64_t present;	/* so many pages were there before the pager was made */
	struct yab_range declared[PAGES];
	size_t declared_count;
	int declare_calls;
	int declare_error;	/* the errno that it fails with */

	/* What the pager has told. */
	int lost[4];		/* of a role */
	char lost_text[YAB_SOCKET_TEXT_SIZE];
	int completions;
	int failures;
};

extern struct pull pull;
/* Their argument is &pull. */
extern const struct yab_pager_ops pull_ops;

/* With a pager that is started and sweeps, and no connection. */
void pull_setup(void);
void pull_teardown(void);
/* Another pager in place of the one before, with @policy; it is not started yet. */
void pull_replace(const char *policy);

void pull_connect(enum yab_wire_role role);
void pull_disconnect(int *fd);
void pull_fault(uint64_t page);

void pull_expect_survey(int fd, uint64_t page);
/*
 * The first bulk requests: where the holes are, which is answered with "none", and the
 * window.
 */
void pull_expect_window(uint64_t page);
/* The declarations since the last call are these pages, in one range. */
void pull_expect_declared(uint64_t page, uint64_t count);
void pull_expect_filled(uint64_t page, uint64_t count);
/* Every byte of @page is @byte. */
void pull_expect_bytes(uint64_t page, uint8_t byte);

/* The bytes of a PAGES frame, to be sent in pieces. */
size_t pull_frame(uint8_t *bytes, uint64_t page, uint64_t count);

#endif /* YAB_TEST_PULL_H */

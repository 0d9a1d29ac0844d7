/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The destination side of a worker: asks the source for the pages that somebody
 * waits for, sweeps up all others, and puts what comes into its final place in
 * the region's memory file.
 */
#ifndef YAB_DAEMON_PAGER_H
#define YAB_DAEMON_PAGER_H

#include <event2/event.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/yabusame.h>

#include "histogram.h"
#include "wire.h"

/* Pages in one request: large enough for headers and turns of the loop not to count. */
#define YAB_PAGER_RUN		64
/*
 * Pages on order on the bulk connection. 1 MiB keeps 10 Gbit/s busy over a round
 * trip of 0.8 ms. More would only be more to be sent a second time when
 * somebody touches a page that is on its way.
 */
#define YAB_PAGER_WINDOW	256

struct yab_pager;

struct yab_pager_statistics {
	uint64_t bytes;			/* payload of PAGES frames */
	uint64_t zero_pages;		/* arrived as ZERO */
	uint64_t data_pages;		/* arrived in PAGES */
	uint64_t present;
	uint64_t faults;
	uint64_t urgent_pages;		/* arrived on the urgent connection */
	uint64_t bulk_pages;		/* arrived on the bulk connection */
	uint64_t duplicate_pages;	/* arrived when they were present already */
};

/*
 * What the pager calls. Within these it may be given connections, but must not be
 * freed.
 */
struct yab_pager_ops {
	/*
	 * Declares pages, as yab_region_declare() does. Not called without a pager
	 * fd. After EAGAIN, EINTR or ENOMEM it is tried again; any other error is
	 * the end.
	 */
	int (*declare)(int pager_fd, struct yab_range *ranges, size_t count);
	/* A connection ended while it was still needed. */
	void (*lost)(enum yab_wire_role role, const char *error, void *arg);
	/* Every page is present: called once. */
	void (*complete)(void *arg);
	/* It cannot go on: called once, and nothing happens after it. */
	void (*failed)(const char *error, void *arg);
};

/*
 * @memory_fd is a shmem file of at least @pages pages, @pager_fd the region's pager fd
 * (non-blocking), or -1 where nobody touches the memory before it is complete.
 * Both are borrowed and must stay open. @vm is for the log. NULL with errno.
 */
struct yab_pager *yab_pager_new(struct event_base *base, const char *vm, int memory_fd,
				int pager_fd, uint64_t pages, const struct yab_pager_ops *ops,
				void *arg);
void yab_pager_free(struct yab_pager *pager);

/*
 * A new connection, in place of the role's old one. Takes @fd and its session @ssl (NULL:
 * plain TCP) over; on failure (-1 with errno) the role has no connection.
 */
int yab_pager_connect(struct yab_pager *pager, enum yab_wire_role role, int fd, SSL *ssl);

/*
 * Whether the bulk connection sweeps up what nobody waits for; it does from the start.
 * While the guest is stopped it would only be in the way of its device state.
 */
void yab_pager_sweep(struct yab_pager *pager, bool on);

bool yab_pager_is_complete(const struct yab_pager *pager);
bool yab_pager_has_connections(const struct yab_pager *pager);
const struct yab_pager_statistics *yab_pager_statistics(const struct yab_pager *pager);
/* From the first touch of a page to its declaration. */
const struct yab_histogram *yab_pager_latency(const struct yab_pager *pager);

#endif /* YAB_DAEMON_PAGER_H */

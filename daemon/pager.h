/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The destination side of a worker: asks the source for the pages that somebody
 * waits for, sweeps up all others in a policy's order, and has what comes put into its
 * final place (store.h).
 */
#ifndef YAB_DAEMON_PAGER_H
#define YAB_DAEMON_PAGER_H

#include <event2/event.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec.h"
#include "hints.h"
#include "store.h"
#include "wire.h"

/* Pages in one request of the urgent connection, when many are waited for. */
#define YAB_PAGER_RUN		64

struct yab_pager;

/*
 * What the pager calls. Within these it may be given connections, but must not be
 * freed.
 */
struct yab_pager_ops {
	/*
	 * yab_region_declare() and yab_region_present(). Not called without a pager
	 * fd. After EAGAIN, EINTR or ENOMEM a declaration is tried again; any other
	 * error is the end.
	 */
	yab_store_declare_cb declare;
	yab_store_present_cb present;
	/* A connection ended while it was still needed. */
	void (*lost)(enum yab_wire_role role, unsigned int index, const char *error, void *arg);
	/*
	 * Every page is present, and compared if that was asked for: called once, not before
	 * yab_pager_start().
	 */
	void (*complete)(void *arg);
	/* It cannot go on: called once, and nothing happens after it. */
	void (*failed)(const char *error, void *arg);
};

/*
 * @memory_fd, open for both, is a shmem file of at least @pages pages, @pager_fd the
 * region's pager fd (non-blocking), or -1 where nobody touches the memory before it is
 * complete. Both are borrowed and must stay open. @policy is the order in bulk (policy.h),
 * NULL the default one. @vm is for the log. NULL with errno.
 */
struct yab_pager *yab_pager_new(struct event_base *base, const char *vm, int memory_fd,
				int pager_fd, uint64_t pages, const char *policy,
				const struct yab_pager_ops *ops, void *arg);
/*
 * Packs may come on bulk connections, made by @kind. Before any connection, once. 0, or -1
 * with errno; all memory for it is allocated here.
 */
int yab_pager_unpack(struct yab_pager *pager, enum yab_codec_kind kind);
/*
 * When every page is present they are compared with the source's, by the checksums in @fd
 * (checksum.h), which is borrowed and may be closed after it. Before any connection, once. 0, or -1
 * with errno.
 */
int yab_pager_verify(struct yab_pager *pager, int fd);
/* Listens for faults; the region may be complete already. 0, or -1 with errno. */
int yab_pager_start(struct yab_pager *pager);
void yab_pager_free(struct yab_pager *pager);

/*
 * A new connection, in place of the old one of that role and index (0 for urgent, less
 * than YAB_WIRE_BULKS_MAX for bulk). Takes @fd and its session @ssl (NULL: plain TCP)
 * over; on failure (-1 with errno) there is none.
 */
int yab_pager_connect(struct yab_pager *pager, enum yab_wire_role role, unsigned int index,
		      int fd, SSL *ssl);
/*
 * Whether what nobody waits for is asked for as well; it is from the start. While the
 * guest is stopped it would only be in the way of its device state.
 */
void yab_pager_sweep(struct yab_pager *pager, bool on);
/* Bytes a second that the sweep may bring in from now on; 0: as many as come. */
void yab_pager_limit(struct yab_pager *pager, uint64_t bandwidth);

/*
 * What the guest used of late at the source, by pages of the region: asked for before what
 * nobody touched.
 */
void yab_pager_hint(struct yab_pager *pager, const struct yab_hints *hints);

/* Every page is present; perhaps they are still being compared. */
bool yab_pager_is_complete(const struct yab_pager *pager);
bool yab_pager_has_connections(const struct yab_pager *pager);
const struct yab_store_statistics *yab_pager_statistics(const struct yab_pager *pager);
const struct yab_histogram *yab_pager_latency(const struct yab_pager *pager, enum yab_wait wait);

#endif /* YAB_DAEMON_PAGER_H */

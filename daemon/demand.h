/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The destination's page service as the supervisor sees it: the region, its worker, and
 * the connections that the worker is given. The counterpart of the source's supply.
 *
 * Until yab_demand_persist() the loss of the worker is the end. After it (a guest
 * runs here and waits for its pages) another worker attaches to the region and goes on
 * with what is missing, with back-off, for as long as it takes.
 */
#ifndef YAB_DAEMON_DEMAND_H
#define YAB_DAEMON_DEMAND_H

#include <event2/event.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec.h"
#include "process.h"
#include "security.h"
#include "wire.h"
#include "worker.h"

struct yab_demand;

/*
 * A callback may come from within yab_demand_sweep(), only worker() from another call. The
 * demand may be freed from within interrupted() and ended() only, and from interrupted()
 * only before yab_demand_persist().
 */
struct yab_demand_ops {
	/*
	 * There is this one; it knows nothing yet, and leaves when we end. This may come from
	 * within yab_demand_new().
	 */
	void (*worker)(pid_t pid, void *arg);
	/* As worker.h lists them, over all workers that there were. Borrowed. */
	void (*statistics)(json_t *statistics, void *arg);
	/* A connection is there. */
	void (*open)(enum yab_wire_role role, void *arg);
	/* The connection @number is lost; the source makes a new one. */
	void (*lost)(enum yab_wire_role role, unsigned int index, uint32_t number,
		     const char *error, void *arg);
	/* The worker is lost. If the demand is persistent, another one follows. */
	void (*interrupted)(const char *error, void *arg);
	/*
	 * After yab_demand_persist(): the region is no more, or has failed. No worker can go on,
	 * and nothing follows; until yab_demand_free().
	 */
	void (*gone)(const char *error, void *arg);
	/* Every page is present. Perhaps before yab_demand_persist(). */
	void (*complete)(void *arg);
	/* After yab_demand_kill(): the worker is reaped, and holds nothing any more. */
	void (*ended)(void *arg);
};

/*
 * Makes memory and region NAME and starts the worker. *memory_fd becomes the memory file,
 * which is the caller's. @policy (policy.h) is borrowed; NULL is the default. With @verify all
 * pages are compared with the source's before complete(). NULL with one line in @error.
 */
struct yab_demand *yab_demand_new(struct event_base *base, const char *vm, uint64_t size,
				  const char *policy, enum yab_codec_kind codec, bool verify,
				  const struct yab_demand_ops *ops, void *arg, int *memory_fd,
				  char *error, size_t error_size);
/*
 * Goes on where another supervisor has ended: its @worker (pid 0: not known) is killed, and
 * another one attaches to the region after yab_demand_persist(). The checksums went with that
 * supervisor: nothing is compared. NULL without memory.
 */
struct yab_demand *yab_demand_adopt(struct event_base *base, const char *vm, uint64_t size,
				    const char *policy, enum yab_codec_kind codec,
				    const struct yab_demand_ops *ops, void *arg,
				    const struct yab_process *worker);
/*
 * Without ops. A worker whose region is not complete goes on by itself if @goes_on, as
 * long as it has connections.
 */
void yab_demand_free(struct yab_demand *demand, bool goes_on);
/* ended() follows, from the event loop; nothing else does. */
void yab_demand_kill(struct yab_demand *demand);
/* gone() was called, or it was killed. */
bool yab_demand_is_over(const struct yab_demand *demand);
/* Is there no worker process? */
bool yab_demand_is_gone(const struct yab_demand *demand);

/* The guest may run from now on: a worker that is lost is replaced. */
void yab_demand_persist(struct yab_demand *demand);
/* It is here for good: what nobody waits for is asked for, too. */
void yab_demand_sweep(struct yab_demand *demand);
/* May a page connection come now? */
bool yab_demand_takes(const struct yab_demand *demand);
/*
 * A page connection after its prefaces, while yab_demand_takes(). Borrows @fd. 0, or -1
 * with one line in @error.
 */
int yab_demand_connect(struct yab_demand *demand, const struct yab_worker_connection *connection,
		       int fd, const struct yab_security *security, char *error,
		       size_t error_size);
/* Bytes a second for the sweep; 0: no limit. */
void yab_demand_limit(struct yab_demand *demand, uint64_t bandwidth);

/*
 * Pages that the guest used of late, as checked by yab_hints_parse(). Borrowed; this and
 * every later worker is told. Only the first ones count: false if there were some before.
 */
bool yab_demand_hint(struct yab_demand *demand, json_t *ranges);

#endif /* YAB_DAEMON_DEMAND_H */

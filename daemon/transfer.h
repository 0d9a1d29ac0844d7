/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The source QEMU's own migration, without guest memory: device state that goes
 * to the destination's daemon over the control connection.
 */
#ifndef YAB_DAEMON_TRANSFER_H
#define YAB_DAEMON_TRANSFER_H

#include <event2/event.h>
#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "peer.h"
#include "vm.h"

struct yab_transfer;

/* None comes from within a call. */
struct yab_transfer_ops {
	void (*stopped)(void *arg);	/* the guest stands still */
	/*
	 * The guest is stopped and its disks are drained: its memory is final. QEMU
	 * waits for yab_transfer_go_on().
	 */
	void (*final)(void *arg);
	void (*written)(void *arg);	/* the peer was given all of it, or QEMU has written it */
	void (*failed)(const char *error, void *arg);
};

/*
 * Starts the migration. Must not be freed before QEMU has answered everything
 * (giveback.h) or has ended. NULL with one line in @error.
 */
struct yab_transfer *yab_transfer_new(struct event_base *base, struct yab_vm *vm,
				      struct yab_peer *peer, const struct yab_transfer_ops *ops,
				      void *arg, char *error, size_t error_size);
/* The same into @fd, a socket, instead of a peer; borrowed. It ends where the state does. */
struct yab_transfer *yab_transfer_new_to(struct yab_vm *vm, int fd,
					 const struct yab_transfer_ops *ops, void *arg,
					 char *error, size_t error_size);
void yab_transfer_free(struct yab_transfer *transfer);
/* No callback any more; the device state ends here. QEMU is to be asked by others. */
void yab_transfer_stop(struct yab_transfer *transfer);
/* 0, or -1 with errno. */
int yab_transfer_go_on(struct yab_transfer *transfer);

/* What the VM's QEMU and the peer tell their owner. */
void yab_transfer_event(struct yab_transfer *transfer, const char *name, json_t *data);
void yab_transfer_drained(struct yab_transfer *transfer);
/* Bytes of device state so far. */
uint64_t yab_transfer_bytes(const struct yab_transfer *transfer);

#endif /* YAB_DAEMON_TRANSFER_H */

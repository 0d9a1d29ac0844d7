/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The VMs of this host: their QEMU, their memory file, what they are doing.
 *
 * A VM enters the table when it is started or begins to arrive, and leaves it
 * when its QEMU has ended or, after a migration, when yab_vm_remove() says so.
 */
#ifndef YAB_DAEMON_VM_H
#define YAB_DAEMON_VM_H

#include <event2/event.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "description.h"
#include "journal.h"
#include "qemu.h"

enum yab_vm_state {
	YAB_VM_STARTING,	/* QEMU was started here, its guest not yet seen running */
	YAB_VM_ADOPTED,		/* found at the daemon's start; QEMU has not answered yet */
	YAB_VM_RUNNING,
	YAB_VM_PAUSED,
	YAB_VM_OUTGOING,	/* an outgoing job owns it */
	YAB_VM_INCOMING,	/* an incoming job owns it, before the commit */
	YAB_VM_STOPPING,	/* its QEMU is being ended */
	YAB_VM_GONE,		/* its QEMU has ended */
	YAB_VM_STATES,
};

/*
 * Whoever owns a VM for a while (a migration) is told what its QEMU does. No
 * hooks: the table looks after it.
 */
struct yab_vm_hooks {
	void (*ready)(void *arg);	/* the monitor answers */
	void (*event)(const char *name, json_t *data, void *arg);
	/* The monitor does not answer any more: ready() comes again, or exited(). */
	void (*unheard)(void *arg);
	/* The VM is in state gone; the owner calls yab_vm_remove() when it is done. */
	void (*exited)(const char *why, void *arg);
};

/* @error is NULL on success. */
typedef void (*yab_vm_cb)(const char *error, void *arg);

struct yab_vms;

struct yab_vm {
	TAILQ_ENTRY(yab_vm) link;
	struct yab_vms *vms;
	struct yab_description *description;
	const char *name;	/* the description's */
	enum yab_vm_state state;
	int memory_fd;		/* the pages are here, whether it started or arrived here; or -1 */
	uint64_t pages;
	char memory_path[128];	/* what QEMU was given for ${memory} */
	char monitor[128];
	struct yab_qemu *qemu;	/* NULL before the spawn and after the end */
	const struct yab_vm_hooks *hooks;
	void *hooks_arg;
	yab_vm_cb done;		/* of yab_vms_start() or yab_vm_destroy() */
	void *done_arg;
	struct event *deadline;
	char failure[YAB_WIRE_ERROR_MAX];	/* why we killed it while it was starting; or "" */
};

struct yab_vms *yab_vms_new(struct event_base *base, const char *run_dir, const char *vm_dir);
/* Each VM with a QEMU has a record there from now on; borrowed. */
void yab_vms_set_journal(struct yab_vms *vms, struct yab_journal *journal);
/* The QEMUs go on without us. */
void yab_vms_free(struct yab_vms *vms);
struct yab_vm *yab_vms_find(struct yab_vms *vms, const char *name);
struct yab_vm *yab_vms_first(struct yab_vms *vms);
struct yab_vm *yab_vms_next(struct yab_vm *vm);

/* Bytes of memory that the description of @name gives it; 0 with one line in @error. */
uint64_t yab_vms_memory(struct yab_vms *vms, const char *name, char *error, size_t error_size);
/*
 * Reads the description of @name and puts the VM into the table in @state, without
 * a QEMU and without memory. Refuses a VM that is there, also one that an earlier
 * daemon left running. NULL with one line in @error.
 */
struct yab_vm *yab_vms_add(struct yab_vms *vms, const char *name, enum yab_vm_state state,
			   char *error, size_t error_size);
/*
 * Puts the VM of @record, which a supervisor before us has left, into the table in @state;
 * in state gone and without a QEMU where that has ended. NULL with one line in @error.
 */
struct yab_vm *yab_vms_adopt(struct yab_vms *vms, const struct yab_record *record,
			     enum yab_vm_state state, char *error, size_t error_size);
/* Ends its life in the table; the QEMU must be gone. */
void yab_vm_remove(struct yab_vm *vm);

/*
 * Starts the VM's QEMU on @memory_path. The VM keeps @memory_fd, which QEMU
 * inherits unless it is @incoming. 0, or -1 with one line in @error.
 */
int yab_vm_spawn(struct yab_vm *vm, const char *memory_path, int memory_fd, bool incoming,
		 char *error, size_t error_size);
/* Starts a VM from nothing. -1 with one line in @error and no callback. */
int yab_vms_start(struct yab_vms *vms, const char *name, yab_vm_cb cb, void *arg, char *error,
		  size_t error_size);
/* Ends the VM's QEMU and removes the VM. -1 as above. */
int yab_vm_destroy(struct yab_vm *vm, yab_vm_cb cb, void *arg, char *error, size_t error_size);

bool yab_vm_may_enter(enum yab_vm_state from, enum yab_vm_state to);
/* Asserts that the transition is allowed. */
void yab_vm_enter(struct yab_vm *vm, enum yab_vm_state state);
const char *yab_vm_state_name(enum yab_vm_state state);
/* NULL when the monitor cannot be asked. */
struct yab_qmp *yab_vm_qmp(struct yab_vm *vm);

#endif /* YAB_DAEMON_VM_H */

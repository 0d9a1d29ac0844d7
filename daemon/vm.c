// SPDX-License-Identifier: GPL-2.0-or-later
#include "vm.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "log.h"
#include "memory.h"
#include "ram.h"
#include "region.h"
#include "yabusame/wire.h"

#define YAB_VM_START_SECONDS	30	/* until the guest runs */
#define YAB_VM_QUIT_SECONDS	5	/* until a QEMU that was told to quit is killed */

struct yab_vms {
	TAILQ_HEAD(yab_vm_list, yab_vm) all;
	struct event_base *base;
	const char *run_dir, *vm_dir;
	struct yab_journal *journal;
};

static const char * const yab_vm_state_names[YAB_VM_STATES] = {
	[YAB_VM_STARTING] = "starting",
	[YAB_VM_ADOPTED] = "adopted",
	[YAB_VM_RUNNING] = "running",
	[YAB_VM_PAUSED] = "paused",
	[YAB_VM_OUTGOING] = "outgoing",
	[YAB_VM_INCOMING] = "incoming",
	[YAB_VM_STOPPING] = "stopping",
	[YAB_VM_GONE] = "gone",
};

#define YAB_VM_TO(state)	(1U << YAB_VM_##state)

static const unsigned int yab_vm_allowed[YAB_VM_STATES] = {
	[YAB_VM_STARTING] = YAB_VM_TO(RUNNING) | YAB_VM_TO(PAUSED) | YAB_VM_TO(STOPPING) |
			    YAB_VM_TO(GONE),
	[YAB_VM_ADOPTED] = YAB_VM_TO(RUNNING) | YAB_VM_TO(PAUSED) | YAB_VM_TO(STOPPING) |
			   YAB_VM_TO(GONE),
	[YAB_VM_RUNNING] = YAB_VM_TO(PAUSED) | YAB_VM_TO(OUTGOING) | YAB_VM_TO(STOPPING) |
			   YAB_VM_TO(GONE),
	[YAB_VM_PAUSED] = YAB_VM_TO(RUNNING) | YAB_VM_TO(OUTGOING) | YAB_VM_TO(STOPPING) |
			  YAB_VM_TO(GONE),
	[YAB_VM_OUTGOING] = YAB_VM_TO(RUNNING) | YAB_VM_TO(PAUSED) | YAB_VM_TO(STOPPING) |
			    YAB_VM_TO(GONE),
	[YAB_VM_INCOMING] = YAB_VM_TO(RUNNING) | YAB_VM_TO(PAUSED) | YAB_VM_TO(STOPPING) |
			    YAB_VM_TO(GONE),
	[YAB_VM_STOPPING] = YAB_VM_TO(GONE),
};

bool yab_vm_may_enter(enum yab_vm_state from, enum yab_vm_state to)
{
	return yab_vm_allowed[from] & 1U << to;
}

void yab_vm_enter(struct yab_vm *vm, enum yab_vm_state state)
{
	assert(yab_vm_may_enter(vm->state, state));
	yab_log_debug(vm->name, "%s, was %s", yab_vm_state_names[state],
		      yab_vm_state_names[vm->state]);
	vm->state = state;
}

const char *yab_vm_state_name(enum yab_vm_state state)
{
	return yab_vm_state_names[state];
}

struct yab_vms *yab_vms_new(struct event_base *base, const char *run_dir, const char *vm_dir)
{
	struct yab_vms *vms = calloc(1, sizeof(*vms));

	if (!vms)
		return NULL;
	vms->base = base;
	vms->run_dir = run_dir;
	vms->vm_dir = vm_dir;
	TAILQ_INIT(&vms->all);
	return vms;
}

void yab_vms_set_journal(struct yab_vms *vms, struct yab_journal *journal)
{
	vms->journal = journal;
}

static void yab_vm_free(struct yab_vm *vm)
{
	TAILQ_REMOVE(&vm->vms->all, vm, link);
	event_free(vm->deadline);
	if (vm->memory_fd >= 0)
		close(vm->memory_fd);
	yab_description_free(vm->description);
	free(vm);
}

void yab_vms_free(struct yab_vms *vms)
{
	struct yab_vm *vm;

	if (!vms)
		return;
	while ((vm = TAILQ_FIRST(&vms->all))) {
		if (vm->qemu) {
			yab_log_info(vm->name, "goes on without this daemon (%s)",
				     yab_vm_state_names[vm->state]);
			yab_qemu_leave(vm->qemu);
		}
		yab_vm_free(vm);
	}
	free(vms);
}

struct yab_vm *yab_vms_find(struct yab_vms *vms, const char *name)
{
	struct yab_vm *vm;

	TAILQ_FOREACH(vm, &vms->all, link)
		if (!strcmp(vm->name, name))
			return vm;
	return NULL;
}

struct yab_vm *yab_vms_first(struct yab_vms *vms)
{
	return TAILQ_FIRST(&vms->all);
}

struct yab_vm *yab_vms_next(struct yab_vm *vm)
{
	return TAILQ_NEXT(vm, link);
}

struct yab_qmp *yab_vm_qmp(struct yab_vm *vm)
{
	return yab_qemu_qmp(vm->qemu);
}

/* Tells whoever asked for the start or the end of @vm, once. */
static void yab_vm_done(struct yab_vm *vm, const char *error)
{
	yab_vm_cb done = vm->done;

	vm->done = NULL;
	event_del(vm->deadline);
	if (done)
		done(error, vm->done_arg);
}

/* Its end is told with the reason. */
static void yab_vm_give_up(struct yab_vm *vm, const char *reason)
{
	snprintf(vm->failure, sizeof(vm->failure), "%s", reason);
	yab_qemu_kill(vm->qemu);
}

static void yab_vm_status(json_t *result, const char *error, void *arg)
{
	struct yab_vm *vm = arg;

	if (vm->state != YAB_VM_STARTING && vm->state != YAB_VM_ADOPTED)
		return;
	if (error) {
		yab_log_error(vm->name, "%s", error);
		/* An adopted one may run well; it is asked again when its monitor is back. */
		if (vm->state == YAB_VM_STARTING)
			yab_vm_give_up(vm, error);
		return;
	}
	if (json_is_true(json_object_get(result, "running")))
		yab_vm_enter(vm, YAB_VM_RUNNING);
	else
		yab_vm_enter(vm, YAB_VM_PAUSED);
	yab_log_info(vm->name, "%s", yab_vm_state_names[vm->state]);
	yab_vm_done(vm, NULL);
}

static void yab_vm_ready(void *arg)
{
	struct yab_vm *vm = arg;

	if (vm->hooks) {
		if (vm->hooks->ready)
			vm->hooks->ready(vm->hooks_arg);
	} else if (vm->state == YAB_VM_STARTING || vm->state == YAB_VM_ADOPTED) {
		if (yab_qmp_call(yab_vm_qmp(vm), "query-status", NULL, -1, yab_vm_status, vm) < 0 &&
		    vm->state == YAB_VM_STARTING)
			yab_vm_give_up(vm, YAB_QMP_UNASKED);
	}
}

static void yab_vm_event(const char *name, json_t *data, void *arg)
{
	struct yab_vm *vm = arg;

	if (vm->hooks) {
		if (vm->hooks->event)
			vm->hooks->event(name, data, vm->hooks_arg);
		return;
	}
	if (vm->state == YAB_VM_RUNNING && !strcmp(name, "STOP"))
		yab_vm_enter(vm, YAB_VM_PAUSED);
	else if (vm->state == YAB_VM_PAUSED && !strcmp(name, "RESUME"))
		yab_vm_enter(vm, YAB_VM_RUNNING);
}

static void yab_vm_unheard(void *arg)
{
	struct yab_vm *vm = arg;

	if (vm->hooks && vm->hooks->unheard)
		vm->hooks->unheard(vm->hooks_arg);
}

static void yab_vm_exited(const char *why, void *arg)
{
	char error[YAB_WIRE_ERROR_MAX + 320];
	struct yab_vm *vm = arg;
	enum yab_vm_state state = vm->state;

	vm->qemu = NULL;
	yab_vm_enter(vm, YAB_VM_GONE);
	yab_journal_note_exit(vm->vms->journal, vm->name);
	if (vm->hooks) {
		vm->hooks->exited(why, vm->hooks_arg);
		return;
	}
	yab_log_info(vm->name, "%s", why);
	snprintf(error, sizeof(error), "%s (see %s/%s.log)", vm->failure[0] ? vm->failure : why,
		 vm->vms->run_dir, vm->name);
	yab_vm_done(vm, state == YAB_VM_STARTING ? error : NULL);
	yab_vm_free(vm);
}

static const struct yab_qemu_ops yab_vm_qemu_ops = {
	.ready = yab_vm_ready,
	.event = yab_vm_event,
	.unheard = yab_vm_unheard,
	.exited = yab_vm_exited,
};

/* Too late for a start, a quit or an exit: QEMU is killed and the rest follows. */
static void yab_vm_overdue(evutil_socket_t fd, short what, void *arg)
{
	struct yab_vm *vm = arg;

	(void)fd;
	(void)what;
	if (!vm->qemu)
		return;
	yab_log_warn(vm->name, "QEMU did not %s in time and is killed",
		     vm->state == YAB_VM_STARTING ? "start its guest" : "end");
	if (vm->state == YAB_VM_STARTING)
		yab_vm_give_up(vm, "QEMU did not start its guest in time and was killed");
	else
		yab_qemu_kill(vm->qemu);
}

/* A monitor that answers belongs to a VM that an earlier daemon started. */
static bool yab_vm_monitor_alive(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	bool alive;
	int fd;

	if (snprintf(address.sun_path, sizeof(address.sun_path), "%s", path) >=
	    (int)sizeof(address.sun_path))
		return false;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return false;
	alive = !connect(fd, (struct sockaddr *)&address, sizeof(address)) || errno == EAGAIN;
	close(fd);
	return alive;
}

/*
 * Takes @description over. NULL with one line in @error.
 */
static struct yab_vm *yab_vm_new(struct yab_vms *vms, struct yab_description *description,
				 enum yab_vm_state state, char *error, size_t error_size)
{
	struct yab_vm *vm = calloc(1, sizeof(*vm));

	snprintf(error, error_size, "out of memory");
	if (!vm)
		goto err_description;
	vm->vms = vms;
	vm->state = state;
	vm->memory_fd = -1;
	vm->description = description;
	vm->name = description->name;
	vm->pages = description->memory / YAB_WIRE_PAGE_SIZE;
	vm->deadline = evtimer_new(vms->base, yab_vm_overdue, vm);
	if (!vm->deadline)
		goto err_vm;
	TAILQ_INSERT_TAIL(&vms->all, vm, link);
	return vm;

err_vm:
	free(vm);
err_description:
	yab_description_free(description);
	return NULL;
}

uint64_t yab_vms_memory(struct yab_vms *vms, const char *name, char *error, size_t error_size)
{
	struct yab_description *description;
	uint64_t memory;

	if (yab_description_name_check(name, error, error_size) < 0)
		return 0;
	description = yab_description_load(vms->vm_dir, name, error, error_size);
	if (!description)
		return 0;
	memory = description->memory;
	yab_description_free(description);
	return memory;
}

struct yab_vm *yab_vms_add(struct yab_vms *vms, const char *name, enum yab_vm_state state,
			   char *error, size_t error_size)
{
	char monitor[sizeof(((struct yab_vm *)0)->monitor)];
	struct yab_description *description;
	struct yab_vm *vm;

	if (yab_description_name_check(name, error, error_size) < 0)
		return NULL;
	vm = yab_vms_find(vms, name);
	if (vm) {
		snprintf(error, error_size,
			 "VM %s is on this host already (%s): yabctl list and jobinfo tell more",
			 name, yab_vm_state_names[vm->state]);
		return NULL;
	}
	description = yab_description_load(vms->vm_dir, name, error, error_size);
	if (!description)
		return NULL;
	if (yab_ram_check_description(description, error, error_size) < 0)
		goto err_description;
	if (snprintf(monitor, sizeof(monitor), "%s/%s.qmp", vms->run_dir, name) >=
	    (int)sizeof(monitor)) {
		snprintf(error, error_size,
			 "%s/%s.qmp: too long for a socket: use a shorter --run-dir", vms->run_dir,
			 name);
		goto err_description;
	}
	if (yab_vm_monitor_alive(monitor)) {
		snprintf(error, error_size,
			 "VM %s runs here, and this daemon knows nothing of it: end that QEMU first (its monitor is %s)",
			 name, monitor);
		goto err_description;
	}
	vm = yab_vm_new(vms, description, state, error, error_size);
	if (vm)
		memcpy(vm->monitor, monitor, sizeof(monitor));
	return vm;

err_description:
	yab_description_free(description);
	return NULL;
}

/* That of the file, if it is still the one that the VM was started with. */
static struct yab_description *yab_vm_describe(struct yab_vms *vms,
					       const struct yab_record *record)
{
	struct yab_description *description;
	char error[YAB_WIRE_ERROR_MAX];

	description = yab_description_load(vms->vm_dir, record->vm, error, sizeof(error));
	if (description && description->memory == record->memory &&
	    !strcmp(description->identity, record->qemu.description))
		return description;
	/* A QEMU that has ended has left no identity behind. */
	if (record->qemu.monitor[0])
		yab_log_warn(record->vm, "its description is another one than it was started with%s%s",
			     description ? "" : ": ", description ? "" : error);
	yab_description_free(description);
	return yab_description_known(record->vm, record->memory, record->qemu.description);
}

struct yab_vm *yab_vms_adopt(struct yab_vms *vms, const struct yab_record *record,
			     enum yab_vm_state state, char *error, size_t error_size)
{
	const struct yab_process *process = &record->qemu.process;
	struct yab_description *description;
	char log[4096];
	struct yab_vm *vm;

	if (yab_vms_find(vms, record->vm)) {
		snprintf(error, error_size, "VM %s is there already", record->vm);
		return NULL;
	}
	description = yab_vm_describe(vms, record);
	if (!description) {
		snprintf(error, error_size, "out of memory");
		return NULL;
	}
	vm = yab_vm_new(vms, description, state, error, error_size);
	if (!vm)
		return NULL;
	memcpy(vm->monitor, record->qemu.monitor, sizeof(vm->monitor));
	memcpy(vm->memory_path, record->qemu.memory_path, sizeof(vm->memory_path));
	vm->memory_fd = yab_memory_find(process, vm->name, record->memory);
	if (vm->memory_fd < 0)
		vm->memory_fd = yab_memory_find(&record->migration.worker, vm->name,
						record->memory);
	snprintf(log, sizeof(log), "%s/%s.log", vms->run_dir, vm->name);
	errno = ESRCH;
	if (process->pid)
		vm->qemu = yab_qemu_adopt(vms->base, vm->name, process, vm->monitor, log,
					  &yab_vm_qemu_ops, vm, error, error_size);
	if (!vm->qemu && errno != ESRCH) {
		yab_vm_free(vm);
		return NULL;
	}
	if (!vm->qemu) {
		yab_vm_enter(vm, YAB_VM_GONE);
		yab_journal_note_exit(vms->journal, vm->name);
	}
	return vm;
}

void yab_vm_remove(struct yab_vm *vm)
{
	assert(!vm->qemu);
	yab_vm_done(vm, NULL);
	yab_vm_free(vm);
}

int yab_vm_spawn(struct yab_vm *vm, const char *memory_path, int memory_fd, bool incoming,
		 char *error, size_t error_size)
{
	char monitor[160], log[4096];
	struct yab_record_qemu record = { .process = { .pid = 0 } };
	struct yab_description_values values = {
		.memory = memory_path,
		.monitor = monitor,
		.incoming = incoming,
	};
	char **command;

	snprintf(vm->memory_path, sizeof(vm->memory_path), "%s", memory_path);
	snprintf(monitor, sizeof(monitor), "unix:%s,server=on,wait=off", vm->monitor);
	snprintf(log, sizeof(log), "%s/%s.log", vm->vms->run_dir, vm->name);
	command = yab_description_command(vm->description, &values);
	if (!command) {
		snprintf(error, error_size, "out of memory");
		return -1;
	}
	memcpy(record.monitor, vm->monitor, sizeof(record.monitor));
	memcpy(record.memory_path, vm->memory_path, sizeof(record.memory_path));
	memcpy(record.description, vm->description->identity, sizeof(record.description));
	/* Should we end before its number is known it is found by its command line. */
	if (yab_journal_promise_qemu(vm->vms->journal, vm->name, vm->description->memory, &record,
				     error, error_size) < 0) {
		yab_description_command_free(command);
		return -1;
	}
	unlink(vm->monitor);
	vm->qemu = yab_qemu_spawn(vm->vms->base, vm->name, command, vm->monitor, log,
				  incoming ? -1 : memory_fd, &yab_vm_qemu_ops, vm, error,
				  error_size);
	yab_description_command_free(command);
	if (!vm->qemu) {
		yab_journal_note_exit(vm->vms->journal, vm->name);
		return -1;
	}
	record.process = *yab_qemu_process(vm->qemu);
	yab_journal_note_qemu(vm->vms->journal, vm->name, vm->description->memory, &record);
	vm->memory_fd = memory_fd;
	return 0;
}

int yab_vms_start(struct yab_vms *vms, const char *name, yab_vm_cb cb, void *arg, char *error,
		  size_t error_size)
{
	struct timeval patience = { .tv_sec = YAB_VM_START_SECONDS };
	struct yab_vm *vm;
	char path[32];
	int memory_fd;

	vm = yab_vms_add(vms, name, YAB_VM_STARTING, error, error_size);
	if (!vm)
		return -1;
	memory_fd = yab_region_memory(name, vm->description->memory);
	if (memory_fd < 0) {
		snprintf(error, error_size, "cannot make the memory of VM %s: %s", name,
			 strerror(errno));
		goto err_vm;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", YAB_QEMU_MEMORY_FD);
	if (yab_vm_spawn(vm, path, memory_fd, false, error, error_size) < 0)
		goto err_memory;
	vm->done = cb;
	vm->done_arg = arg;
	evtimer_add(vm->deadline, &patience);
	return 0;

err_memory:
	close(memory_fd);
err_vm:
	yab_vm_free(vm);
	return -1;
}

static void yab_vm_quitting(json_t *result, const char *error, void *arg)
{
	(void)result;
	(void)error;
	(void)arg;	/* its exit or the deadline tells */
}

int yab_vm_destroy(struct yab_vm *vm, yab_vm_cb cb, void *arg, char *error, size_t error_size)
{
	struct timeval grace = { .tv_sec = YAB_VM_QUIT_SECONDS };
	struct yab_qmp *qmp = yab_vm_qmp(vm);

	/* A migration holds on to a VM whose QEMU is gone, for its memory. */
	if (vm->state == YAB_VM_GONE && vm->hooks && !vm->done) {
		vm->done = cb;
		vm->done_arg = arg;
		vm->hooks->exited("destroyed", vm->hooks_arg);
		return 0;
	}
	if (!yab_vm_may_enter(vm->state, YAB_VM_STOPPING)) {
		snprintf(error, error_size, "VM %s is ending already: wait for that", vm->name);
		return -1;
	}
	/* A start that is still under way has failed. */
	yab_vm_done(vm, "the VM was destroyed while it started");
	yab_vm_enter(vm, YAB_VM_STOPPING);
	vm->done = cb;
	vm->done_arg = arg;
	if (!qmp || yab_qmp_call(qmp, "quit", NULL, -1, yab_vm_quitting, NULL) < 0 ||
	    evtimer_add(vm->deadline, &grace) < 0)
		yab_qemu_kill(vm->qemu);
	return 0;
}

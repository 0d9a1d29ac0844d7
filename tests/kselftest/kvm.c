// SPDX-License-Identifier: GPL-2.0
/* A KVM guest touches pages that are missing. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "harness.h"
#include "kvm.h"

#define PAGES 8
#define POINTS 8

static struct fixture f;

static struct vm vm;

static void *run_vm(void *result)
{
	*(int *)result = vm_run(&vm);
	return (void *)(uintptr_t)errno;
}

/* A guest's access to the page, and what has to be answered meanwhile. */
static void check_guest(bool async, bool write)
{
	uint64_t page = fresh_pages(&f, 1);
	struct yab_fault fault;
	pthread_t thread;
	int result = -1;

	if (!vm_open(&vm, f.map, PAGES * page_size, async) ||
	    !vm_prepare(&vm, page * page_size, write, 123))
		tap_bail("KVM");
	thread_start(&thread, run_vm, &result);
	fault = next_fault(&f);
	provide_page(&f, page);
	pthread_join(thread, NULL);
	/* It tries without waiting first, in any case. */
	tap_ok(fault.page == page && !(fault.flags & YAB_FAULT_REPEAT) && no_fault(&f),
	       "KVM asks once for what its guest %s%s", write ? "writes" : "reads",
	       async ? ", asynchronously" : "");
	if (async)
		tap_ok(fault.flags & YAB_FAULT_NOWAIT, "and the report says that nobody waits");
	tap_ok(write ? !result && page_of(&f, page)[0] == 123 : result == page_of(&f, page)[0],
	       "the guest goes on with the content");
	vm_close(&vm);
}

static void on_signal(int signal)
{
	(void)signal;
}

/* From 6.3 on KVM can be called back from its wait. */
static void check_guest_signal(void)
{
	static const char what[] = "a signal ends KVM_RUN while it waits";
	const struct sigaction action = { .sa_handler = on_signal };
	uint64_t page = fresh_pages(&f, 1);
	unsigned int major, minor;
	struct utsname uts;
	pthread_t thread;
	int result = 0;
	void *error;

	if (uname(&uts) || sscanf(uts.release, "%u.%u", &major, &minor) != 2)
		tap_bail("uname");
	if (major < 6 || (major == 6 && minor < 3)) {
		tap_skip("%s: not before 6.3", what);
		return;
	}
	sigaction(SIGUSR1, &action, NULL);
	if (!vm_open(&vm, f.map, PAGES * page_size, false) ||
	    !vm_prepare(&vm, page * page_size, false, 0))
		tap_bail("KVM");
	thread_start(&thread, run_vm, &result);
	next_fault(&f);
	pthread_kill(thread, SIGUSR1);
	pthread_join(thread, &error);
	tap_ok(result == -1 && (uintptr_t)error == EINTR, "%s", what);
	provide_page(&f, page);
	vm_close(&vm);
}

int main(void)
{
	int i;

	tap_start(POINTS, 180);
	if (access("/dev/kvm", R_OK | W_OK)) {
		for (i = 0; i < POINTS; i++)
			tap_skip("a KVM guest: no KVM here");
		return tap_end();
	}
	fixture_open(&f, PAGES);
	check_guest(false, false);
	check_guest(false, true);
	check_guest(true, true);
	check_guest_signal();
	fixture_close(&f);
	if (node_exists(&f))
		tap_bail("%s is left", f.path);
	return tap_end();
}

/* SPDX-License-Identifier: GPL-2.0 */
/* The smallest KVM guest there is: one access to one byte, in real mode. */
#ifndef KVM_H
#define KVM_H

#include <fcntl.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define VM_PORT 0x10
#define VM_DATA 0x10000		/* where the guest sees @memory */

struct vm {
	int kvm;
	int vm;
	int vcpu;
	size_t run_size;
	struct kvm_run *run;
	unsigned char *code;
};

/*
 * A guest with @size bytes at @memory as its data. With an interrupt controller in the
 * kernel (@async) KVM takes pages that have to be waited for asynchronously.
 */
static inline bool vm_open(struct vm *vm, void *memory, size_t size, bool async)
{
	struct kvm_userspace_memory_region slot = { .memory_size = 4096 };

	*vm = (struct vm){ .vm = -1, .vcpu = -1 };
	vm->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (vm->kvm < 0)
		return false;
	vm->vm = ioctl(vm->kvm, KVM_CREATE_VM, 0);
	if (vm->vm < 0 || (async && ioctl(vm->vm, KVM_CREATE_IRQCHIP)))
		return false;
	vm->code = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	slot.userspace_addr = (uintptr_t)vm->code;
	if (vm->code == MAP_FAILED || ioctl(vm->vm, KVM_SET_USER_MEMORY_REGION, &slot))
		return false;
	slot = (struct kvm_userspace_memory_region){
		.slot = 1,
		.guest_phys_addr = VM_DATA,
		.memory_size = size,
		.userspace_addr = (uintptr_t)memory,
	};
	if (ioctl(vm->vm, KVM_SET_USER_MEMORY_REGION, &slot))
		return false;
	vm->vcpu = ioctl(vm->vm, KVM_CREATE_VCPU, 0);
	vm->run_size = ioctl(vm->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	vm->run = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vm->vcpu, 0);
	return vm->vcpu >= 0 && vm->run != MAP_FAILED;
}

/* What KVM has pinned or queued goes with its files. */
static inline void vm_close(struct vm *vm)
{
	if (vm->vcpu >= 0) {
		munmap(vm->run, vm->run_size);
		close(vm->vcpu);
	}
	if (vm->vm >= 0)
		close(vm->vm);
	if (vm->code)
		munmap(vm->code, 4096);
	close(vm->kvm);
}

/* Sets the guest before an access to the byte at @offset of its data. */
static inline bool vm_prepare(struct vm *vm, size_t offset, bool write, uint8_t value)
{
	/* mov al, [0]; out VM_PORT, al */
	static const unsigned char reader[] = { 0xa0, 0, 0, 0xe6, VM_PORT };
	/* mov byte [0], value; out VM_PORT, al */
	const unsigned char writer[] = { 0xc6, 0x06, 0, 0, value, 0xe6, VM_PORT };
	struct kvm_regs regs = { .rflags = 0x202 };	/* interrupts on */
	struct kvm_sregs sregs;

	memcpy(vm->code, write ? writer : reader, write ? sizeof(writer) : sizeof(reader));
	if (ioctl(vm->vcpu, KVM_GET_SREGS, &sregs))
		return false;
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	sregs.ds.base = VM_DATA + offset;
	return !ioctl(vm->vcpu, KVM_SET_SREGS, &sregs) && !ioctl(vm->vcpu, KVM_SET_REGS, &regs);
}

/* Runs it until the access is done: the byte read, 0 for a write, -1 with errno. */
static inline int vm_run(struct vm *vm)
{
	if (ioctl(vm->vcpu, KVM_RUN, 0))
		return -1;
	if (vm->run->exit_reason != KVM_EXIT_IO || vm->run->io.port != VM_PORT)
		return -1;
	return ((uint8_t *)vm->run)[vm->run->io.data_offset];
}

#endif /* KVM_H */

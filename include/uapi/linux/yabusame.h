/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * Kernel ABI of yabusame: a memory region whose missing pages are filled in by
 * a process (the pager) when they are first touched.
 *
 * docs/kernel-abi.md tells the whole story: life of a region, ordering rules,
 * every errno.
 *
 * Structures that a call takes can grow at their end. The kernel accepts a longer one than
 * its own if what it does not know is zero (else E2BIG), and a shorter one down to that
 * of version 1 (else EINVAL), whose missing fields count as zero. What a call only returns
 * is filled up with zeros. Elements of arrays (struct yab_fault, struct yab_range) do not
 * grow: they have reserved fields.
 */
#ifndef _UAPI_LINUX_YABUSAME_H
#define _UAPI_LINUX_YABUSAME_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* Changes only when an old caller would misbehave; additions set feature bits. */
#define YAB_ABI_VERSION		1

/* Length of a region's name in bytes, with the terminating NUL. */
#define YAB_NAME_SIZE		64

/* Ranges in one YAB_IOC_DECLARE. */
#define YAB_RANGES_MAX		1024

/* Request queues of a region. */
#define YAB_QUEUES_MAX		16

/* Pages with this many numbers in a row belong to one request queue. */
#define YAB_QUEUE_STRIPE	512

/* Ranges of failed pages that a region can have (adjacent ones count as one). */
#define YAB_FAILED_MAX		256

/* Feature bits of struct yab_info: none is defined yet. */
#define YAB_FEATURES		0ULL

/**
 * struct yab_info - what this module is (YAB_IOC_INFO on the control node)
 * @version: out, YAB_ABI_VERSION
 * @page_size: out, bytes in a page, the unit of all page numbers
 * @features: out, feature bits
 */
struct yab_info {
	__u32 version;
	__u32 page_size;
	__u64 features;
};

/* Bits of struct yab_create.flags. */
#define YAB_CREATE_KEEP		0x1	/* stays without users, until it is removed */

/**
 * struct yab_create - make a region (YAB_IOC_CREATE on the control node)
 * @size: bytes; a multiple of the page size, not 0, at most the memory file's
 * @flags: YAB_CREATE_*
 * @memory_fd: memfd (shmem, not hugetlb) open for reading and writing, sealed
 *	with F_SEAL_SHRINK (best also F_SEAL_GROW, at exactly @size: see
 *	docs/kernel-abi.md); holds the region's pages
 * @mode: permission bits of the node, 1 to 0777
 * @uid: owner of the node, as seen by the caller
 * @gid: group of the node, as seen by the caller
 * @orphan_limit_ms: milliseconds without a pager after which the region fails
 *	by itself; 0: never. sysfs can change it later
 * @queues: request queues, 1 to YAB_QUEUES_MAX; 0 means 1
 * @name: node name under /dev/yabusame: 1 to 63 letters, digits, '.', '_' or
 *	'-', not starting with '.', not "control", terminated and padded by NULs
 *
 * The ioctl returns the pager's file descriptor (close-on-exec).
 */
struct yab_create {
	__u64 size;
	__u64 flags;
	__s32 memory_fd;
	__u32 mode;
	__u32 uid;
	__u32 gid;
	__u32 orphan_limit_ms;
	__u32 queues;
	char name[YAB_NAME_SIZE];
};

/* Bits of struct yab_target.flags. */
#define YAB_REMOVE_FORCE	0x1	/* YAB_IOC_REMOVE: even if mapped or paged */

/**
 * struct yab_target - a region by name (YAB_IOC_ATTACH, YAB_IOC_FAIL and
 *	YAB_IOC_REMOVE on the control node)
 * @flags: YAB_REMOVE_FORCE or 0 for YAB_IOC_REMOVE, 0 for the others
 * @name: as for YAB_IOC_CREATE
 *
 * YAB_IOC_ATTACH returns a file descriptor for the region's new pager.
 */
struct yab_target {
	__u64 flags;
	char name[YAB_NAME_SIZE];
};

/* Bits of struct yab_fault.flags. */
#define YAB_FAULT_WRITE		0x1	/* the page was touched by a write */
#define YAB_FAULT_NOWAIT	0x2	/* the toucher did not wait (async fault) */
#define YAB_FAULT_REPEAT	0x4	/* may have been reported before */

/**
 * struct yab_fault - one missing page that was touched; read() on the pager fd
 *	returns an array of them
 * @page: page number in the region
 * @time_ns: CLOCK_MONOTONIC of the first touch
 * @flags: YAB_FAULT_*
 * @reserved: 0
 *
 * A page is reported once, however many tasks wait for it. Only when more faults
 * are queued than the kernel has room for (1024 a queue), and to a new pager, may
 * some come again: those carry YAB_FAULT_REPEAT and no other flag, and time_ns is
 * the time of the report.
 */
struct yab_fault {
	__u64 page;
	__u64 time_ns;
	__u32 flags;
	__u32 reserved;
};

/* Values of struct yab_range.state. */
#define YAB_RANGE_PRESENT	0	/* the content is in the memory file */
#define YAB_RANGE_ZERO		1	/* the content is zero */
#define YAB_RANGE_FAILED	2	/* the content is not to be had */
#define YAB_RANGE_DISCARDED	3	/* given back by the VM: dropped, then zero */

/**
 * struct yab_range - pages that are declared alike
 * @page: first page number
 * @count: pages, at least 1
 * @fresh: out, how many of them had not been present (or not failed) before
 * @state: YAB_RANGE_*
 * @reserved: 0
 */
struct yab_range {
	__u64 page;
	__u64 count;
	__u64 fresh;
	__u32 state;
	__u32 reserved;
};

/**
 * struct yab_declare - the state of ranges of pages (YAB_IOC_DECLARE on the
 *	pager fd)
 * @ranges: user pointer to an array of struct yab_range
 * @count: entries in the array, 1 to YAB_RANGES_MAX
 * @flags: 0
 *
 * The array is checked as a whole before any page changes.
 */
struct yab_declare {
	__u64 ranges;
	__u32 count;
	__u32 flags;
};

/* Values of struct yab_status.state. */
#define YAB_STATE_FILLING	0	/* has a pager, pages are missing */
#define YAB_STATE_ORPHANED	1	/* the pager is gone, pages are missing */
#define YAB_STATE_COMPLETE	2	/* every page is present */
#define YAB_STATE_FAILED	3	/* missing pages are SIGBUS, for good */

/* Bits of struct yab_status.flags. */
#define YAB_STATUS_TRACKING	0x1	/* writes are being tracked */

/**
 * struct yab_status - a region's counters (YAB_IOC_STATUS on the pager fd)
 * @pages: out, pages in the region
 * @present: out, pages present
 * @faults: out, pages that were queued for a pager
 * @failed: out, pages that were declared failed
 * @state: out, YAB_STATE_*
 * @flags: out, YAB_STATUS_*
 * @queues: out, request queues
 * @reserved: out, 0
 */
struct yab_status {
	__u64 pages;
	__u64 present;
	__u64 faults;
	__u64 failed;
	__u32 state;
	__u32 flags;
	__u32 queues;
	__u32 reserved;
};

/**
 * struct yab_queue_select - which request queue (YAB_IOC_QUEUE on the pager fd)
 * @index: 0 to the region's queues - 1
 * @flags: 0
 *
 * The ioctl returns a file descriptor (close-on-exec) for read() and poll() of
 * that queue. It counts as the pager's: the region is orphaned when it and all
 * others are closed. The pager fd itself reads queue 0. Page P belongs to queue
 * P / YAB_QUEUE_STRIPE % queues.
 */
struct yab_queue_select {
	__u32 index;
	__u32 flags;
};

/**
 * struct yab_bitmap - one bit a page (YAB_IOC_PRESENT and YAB_IOC_DIRTY on the
 *	pager fd)
 * @page: first page number, a multiple of 64
 * @count: pages, at least 1
 * @bits: user pointer to (@count + 63) / 64 words of 64 bits; page @page + N is
 *	bit N % 64 of word N / 64. Bits beyond @count are written as 0
 * @set: out, bits that are set
 * @flags: 0
 * @reserved: 0
 */
struct yab_bitmap {
	__u64 page;
	__u64 count;
	__u64 bits;
	__u64 set;
	__u32 flags;
	__u32 reserved;
};

/* Bits of struct yab_track.flags. */
#define YAB_TRACK_ON		0x1	/* begin; without it: stop */

/**
 * struct yab_track - dirty tracking (YAB_IOC_TRACK on the pager fd)
 * @flags: YAB_TRACK_*
 * @reserved: 0
 */
struct yab_track {
	__u32 flags;
	__u32 reserved;
};

#define YAB_IOC_MAGIC		0xB5

/* On /dev/yabusame/control. */
#define YAB_IOC_INFO		_IOR(YAB_IOC_MAGIC, 0x00, struct yab_info)
#define YAB_IOC_CREATE		_IOW(YAB_IOC_MAGIC, 0x01, struct yab_create)
#define YAB_IOC_ATTACH		_IOW(YAB_IOC_MAGIC, 0x02, struct yab_target)
#define YAB_IOC_FAIL		_IOW(YAB_IOC_MAGIC, 0x03, struct yab_target)
#define YAB_IOC_REMOVE		_IOW(YAB_IOC_MAGIC, 0x04, struct yab_target)

/* On the pager fd. */
#define YAB_IOC_DECLARE		_IOW(YAB_IOC_MAGIC, 0x20, struct yab_declare)
#define YAB_IOC_STATUS		_IOR(YAB_IOC_MAGIC, 0x21, struct yab_status)
#define YAB_IOC_MEMORY		_IO(YAB_IOC_MAGIC, 0x22)
#define YAB_IOC_QUEUE		_IOW(YAB_IOC_MAGIC, 0x23, struct yab_queue_select)
#define YAB_IOC_PRESENT		_IOWR(YAB_IOC_MAGIC, 0x24, struct yab_bitmap)
#define YAB_IOC_TRACK		_IOW(YAB_IOC_MAGIC, 0x25, struct yab_track)
#define YAB_IOC_DIRTY		_IOWR(YAB_IOC_MAGIC, 0x26, struct yab_bitmap)

#endif /* _UAPI_LINUX_YABUSAME_H */

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is written to a region, as the kernel module tracks it: by QEMU, by KVM for the
 * guest, by other processes that map the region, by the kernel for any of them.
 */
#ifndef YAB_DAEMON_TRACKING_H
#define YAB_DAEMON_TRACKING_H

#include "dirty.h"

extern const struct yab_dirty_kind yab_tracking_kind;

#endif /* YAB_DAEMON_TRACKING_H */

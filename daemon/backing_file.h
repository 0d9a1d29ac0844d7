/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pages in a file: the shared memory of a guest, or a raw image of it. */
#ifndef YAB_DAEMON_BACKING_FILE_H
#define YAB_DAEMON_BACKING_FILE_H

#include "backing.h"

/*
 * @fd, open for reading, has at least @pages pages; it is borrowed and must stay open. NULL
 * with errno: EINVAL if the file is shorter.
 */
struct yab_backing *yab_backing_memory(int fd, uint64_t pages);
/* The same for a file of any file system: byte N is byte N of the guest's memory. */
struct yab_backing *yab_backing_image(int fd, uint64_t pages);

#endif /* YAB_DAEMON_BACKING_FILE_H */

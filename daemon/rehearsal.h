/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A process that cannot open files later does TLS with itself first. OpenSSL reads its
 * configuration when it is first used, and may load modules for it; the C library reads the
 * time zone when the first certificate's dates are looked at; the kernel loads its TLS only
 * for the privileged.
 */
#ifndef YAB_DAEMON_REHEARSAL_H
#define YAB_DAEMON_REHEARSAL_H

#include <stddef.h>

/*
 * Certificates of both sides, as between hosts, on no connection; a few milliseconds. 0, or -1
 * with one line in @error: then TLS cannot be relied on.
 */
int yab_rehearsal_hold(char *error, size_t error_size);

#endif /* YAB_DAEMON_REHEARSAL_H */

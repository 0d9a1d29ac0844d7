/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QEMU's migration capabilities that a migration of ours uses. */
#ifndef YAB_DAEMON_CAPABILITIES_H
#define YAB_DAEMON_CAPABILITIES_H

#include <jansson.h>
#include <stdbool.h>

/*
 * Arguments of migrate-set-capabilities that turn them on or off. The source's
 * also has QEMU wait before the switchover. NULL when out of memory.
 */
json_t *yab_capabilities(bool source, bool on);

#endif /* YAB_DAEMON_CAPABILITIES_H */

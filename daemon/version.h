/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef YAB_DAEMON_VERSION_H
#define YAB_DAEMON_VERSION_H

#define YAB_VERSION	"0.1"

#endif /* YAB_DAEMON_VERSION_H */

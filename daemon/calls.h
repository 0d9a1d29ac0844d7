/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a source may call, and the incoming migration that each call is for. */
#ifndef YAB_DAEMON_CALLS_H
#define YAB_DAEMON_CALLS_H

#include "caller.h"

extern const struct yab_caller_ops yab_calls;

#endif /* YAB_DAEMON_CALLS_H */

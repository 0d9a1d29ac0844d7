/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The socket for yabctl, RUNDIR/control.sock: requests and answers are JSON
 * objects, one a line.
 *
 *   {"command": "start", "vm": NAME[, "image": PATH, "state": PATH[, "paused": true]
 *    [, "connections": N][, "bandwidth": N]]}
 *   {"command": "save", "vm": NAME, "image": PATH, "state": PATH}
 *   {"command": "destroy", "vm": NAME}
 *   {"command": "migrate", "vm": NAME, "destination": HOST[:PORT][, "paused": true]}
 *   {"command": "list"}
 *   {"command": "jobinfo", "vm": NAME}
 *   {"command": "resume", "vm": NAME[, "via": HOST[:PORT]]}
 *   {"command": "abandon", "vm": NAME[, "force": true]}
 *
 * Each request is answered by any number of {"event": "progress", "job": {...}}
 * and one {"ok": true, ...} or {"error": "one line"}. A client that goes away
 * does not end what it asked for.
 */
#ifndef YAB_DAEMON_API_H
#define YAB_DAEMON_API_H

#include <stddef.h>

#include "supervisor.h"

#define YAB_API_SOCKET	"control.sock"

struct yab_api;

/* NULL with one line in @error. */
struct yab_api *yab_api_new(struct yab_supervisor *supervisor, char *error, size_t error_size);
void yab_api_free(struct yab_api *api);

#endif /* YAB_DAEMON_API_H */

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where a connection comes from: for people, and as what counts as one host. That is an
 * IPv4 address or the first 64 bits of an IPv6 address, all of which one host may have.
 */
#ifndef YAB_DAEMON_ORIGIN_H
#define YAB_DAEMON_ORIGIN_H

#include <netdb.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#define YAB_ORIGIN_NETWORK	8

struct yab_origin {
	uint8_t network[YAB_ORIGIN_NETWORK];
	bool is_six;
	bool is_inside;		/* of this process: no host, and nobody's that has too many */
	char name[NI_MAXHOST + NI_MAXSERV + 4];	/* HOST:PORT or [HOST]:PORT */
};

void yab_origin_init(struct yab_origin *origin, const struct sockaddr *from, socklen_t length);
/* Whatever their ports are; from inside none is. */
bool yab_origin_is_same(const struct yab_origin *a, const struct yab_origin *b);

#endif /* YAB_DAEMON_ORIGIN_H */

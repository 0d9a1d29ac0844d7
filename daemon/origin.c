// SPDX-License-Identifier: GPL-2.0-or-later
#include "origin.h"

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

void yab_origin_init(struct yab_origin *origin, const struct sockaddr *from, socklen_t length)
{
	char host[NI_MAXHOST] = "?", port[NI_MAXSERV] = "?";

	memset(origin, 0, sizeof(*origin));
	if (from->sa_family == AF_INET6) {
		struct sockaddr_in6 six;

		memcpy(&six, from, sizeof(six));
		/* What a socket for both families says of IPv4. */
		origin->is_six = !IN6_IS_ADDR_V4MAPPED(&six.sin6_addr);
		memcpy(origin->network, six.sin6_addr.s6_addr + (origin->is_six ? 0 : 12),
		       origin->is_six ? YAB_ORIGIN_NETWORK : 4);
	} else if (from->sa_family == AF_INET) {
		struct sockaddr_in four;

		memcpy(&four, from, sizeof(four));
		memcpy(origin->network, &four.sin_addr, 4);
	}
	getnameinfo(from, length, host, sizeof(host), port, sizeof(port),
		    NI_NUMERICHOST | NI_NUMERICSERV);
	snprintf(origin->name, sizeof(origin->name), strchr(host, ':') ? "[%s]:%s" : "%s:%s", host,
		 port);
}

bool yab_origin_is_same(const struct yab_origin *a, const struct yab_origin *b)
{
	return !a->is_inside && !b->is_inside && a->is_six == b->is_six &&
	       !memcmp(a->network, b->network, sizeof(a->network));
}

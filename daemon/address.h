/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef YAB_DAEMON_ADDRESS_H
#define YAB_DAEMON_ADDRESS_H

struct yab_reception;

/* A host (name or number) and a port, as text. */
struct yab_address {
	char host[256];
	char port[6];
	char text[272];		/* for people: HOST:PORT or [HOST]:PORT */
	/*
	 * Not NULL: it is within this daemon (reception.h), only the text means anything, and
	 * @call is as connect().
	 */
	struct yab_reception *reception;
	int (*call)(struct yab_reception *reception);
};

/*
 * Takes HOST, HOST:PORT, [HOST]:PORT and a bare IPv6 address; without a port it
 * is YAB_WIRE_PORT. 0, or -1 when @text is none of these.
 */
int yab_address_parse(const char *text, struct yab_address *address);

#endif /* YAB_DAEMON_ADDRESS_H */

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Both ends of a connection while it is opened, and the certificates that they have for it. */
#ifndef YAB_TEST_ENDPOINT_H
#define YAB_TEST_ENDPOINT_H

#include <event2/event.h>
#include <stdbool.h>

#include "../../daemon/opening.h"
#include "certificates.h"
#include "script.h"

/* What a test begins with: a loop, and folders with the certificates of two authorities. */
struct endpoints {
	struct event_base *base;
	struct certificates_authority authority, stranger;
	char folder[SCRIPT_FOLDER_SIZE];	/* of @authority: host1's and host2's */
	char foreign[SCRIPT_FOLDER_SIZE];	/* of @stranger: none yet */
};

extern struct endpoints endpoints;

void endpoints_setup(void);
void endpoints_teardown(void);

struct endpoint {
	struct yab_opening_terms terms;
	struct yab_opening *opening;
	bool settled;
	int fd;			/* -1: not opened, and @error says why */
	SSL *ssl;
	char error[512];
};

/* The terms of one that is let in; plain with @credentials NULL. */
void endpoint_init(struct endpoint *endpoint, enum yab_credentials_side side,
		   struct yab_credentials *credentials);
void endpoint_start(struct endpoint *endpoint, int fd);
void endpoint_await(struct endpoint *endpoint);
void endpoint_drop(struct endpoint *endpoint);

/* The good ones of a side. */
struct yab_credentials *endpoints_credentials(enum yab_credentials_side side);
/* Two sockets that are connected: TCP, or a socket pair. */
void endpoints_pair(bool tcp, int *a, int *b);
/* Each with what it has; opened, or not. */
void endpoints_meet(struct endpoint *client, struct endpoint *server, bool tcp);
/* Opened, with the good certificates; @kernel: with its TLS, where it has it. */
void endpoints_open(struct endpoint *client, struct endpoint *server, bool tcp, bool kernel);

#endif /* YAB_TEST_ENDPOINT_H */

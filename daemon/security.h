/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What connections to other hosts must be: TLS, or plain TCP where that was asked for, or
 * stays on this host and there are no certificates. And where the certificates are.
 */
#ifndef YAB_DAEMON_SECURITY_H
#define YAB_DAEMON_SECURITY_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "credentials.h"

/* All zero at first. What it has is freed by yab_security_forget(). */
struct yab_security_cache {
	struct yab_credentials *sides[2];
};

struct yab_security {
	bool plain;		/* --plain */
	const char *folder;	/* --tls-dir; NULL: the default ones */
	json_t *peers;		/* --allow, an array of patterns; NULL: the CA's word is enough */
	struct yab_security_cache *cache;	/* NULL: files are read each time */
};

/*
 * Whether a connection to @to is made with TLS: 1 or 0, or -1 with one line in @error
 * when it must be, but cannot.
 */
int yab_security_outgoing(const struct yab_security *security, const struct sockaddr *to,
			  char *error, size_t error_size);
/* False with one line in @error when what @from wants (@tls or plain) must not be. */
bool yab_security_incoming(const struct yab_security *security, const struct sockaddr *from,
			   bool tls, char *error, size_t error_size);
/* Whether it makes sense to listen on @address. 0, or -1 with one line in @error. */
int yab_security_listen(const struct yab_security *security, const struct sockaddr *address,
			char *error, size_t error_size);

/*
 * The certificates of a side, which the caller frees. Their files are looked at each time, for
 * they may have been renewed, but read only if they were. NULL with one line in @error.
 */
struct yab_credentials *yab_security_credentials(const struct yab_security *security,
						 enum yab_credentials_side side, char *error,
						 size_t error_size);

void yab_security_forget(struct yab_security_cache *cache);

#endif /* YAB_DAEMON_SECURITY_H */

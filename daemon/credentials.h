/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What one side needs to prove who it is and to check who the other is: certificates,
 * its key, and the peers that are allowed. The files have the names that QEMU's
 * tls-creds-x509 expects.
 */
#ifndef YAB_DAEMON_CREDENTIALS_H
#define YAB_DAEMON_CREDENTIALS_H

#include <jansson.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#define YAB_CREDENTIALS_CA	"ca-cert.pem"

enum yab_credentials_side {
	YAB_CREDENTIALS_SERVER,		/* the destination, which is connected to */
	YAB_CREDENTIALS_CLIENT,		/* the source, which connects */
};

struct yab_credentials;

/*
 * Reads the side's files in @folder. @peers is an array of patterns, or NULL. NULL with
 * one line in @error: also when what is in the files cannot work (a key of another
 * certificate, a certificate that has expired, a key that others can read).
 */
struct yab_credentials *yab_credentials_load(const char *folder, enum yab_credentials_side side,
					     json_t *peers, char *error, size_t error_size);
/* One more user; each frees. */
struct yab_credentials *yab_credentials_hold(struct yab_credentials *credentials);
void yab_credentials_free(struct yab_credentials *credentials);
/* Loaded from @folder, its files are the same, and @now the certificate has not expired. */
bool yab_credentials_is_current(const struct yab_credentials *credentials, const char *folder,
				time_t now);

/*
 * As a sealed memory file, for a process that cannot read the folder. The descriptor, or
 * -1 with errno.
 */
int yab_credentials_export(const struct yab_credentials *credentials);
/* Borrows @fd. NULL with errno. */
struct yab_credentials *yab_credentials_import(int fd);

enum yab_credentials_side yab_credentials_side(const struct yab_credentials *credentials);
/*
 * Where tls.c keeps the context that it has made of them, NULL at first; freed with them.
 */
SSL_CTX **yab_credentials_context(struct yab_credentials *credentials, bool kernel);
/* An array of patterns, borrowed; NULL: whoever has a certificate of the CA. */
json_t *yab_credentials_peers(const struct yab_credentials *credentials);
/* Gives them to a context. 0, or -1 with one line in @error. */
int yab_credentials_apply(const struct yab_credentials *credentials, SSL_CTX *context, char *error,
			  size_t error_size);

#endif /* YAB_DAEMON_CREDENTIALS_H */

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * TLS 1.3 with certificates of both sides, as OpenSSL sessions on sockets: how they are
 * made, whom they let in, and what their failures mean.
 */
#ifndef YAB_DAEMON_TLS_H
#define YAB_DAEMON_TLS_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>

#include "credentials.h"

/*
 * A session on the non-blocking @fd, before its handshake. The credentials say which side
 * it is. @name is the other side, for messages; a client also checks that the other's
 * certificate is for the host @host. @kernel: the kernel may encrypt, where it can. The
 * session does not own @fd. NULL with one line in @error.
 */
SSL *yab_tls_new(struct yab_credentials *credentials, int fd, const char *name,
		 const char *host, bool kernel, char *error, size_t error_size);

/*
 * Why an operation on the session failed: @code is SSL_get_error()'s, errno and OpenSSL's
 * error queue are as it left them. One line.
 */
void yab_tls_explain(const SSL *ssl, int code, char *error, size_t error_size);

/*
 * The other side has sent more of what is neither data nor its end (new keys, tickets) than
 * anybody does for a good reason. Its connection was shut down.
 */
bool yab_tls_is_flooded(const SSL *ssl);

/*
 * Whether the kernel has TLS, which root makes it load. The answer is that of the first call,
 * which takes a socket: in a worker before its sandbox.
 */
bool yab_tls_find_kernel(void);

/* What the handshake came to: cipher, and what of it the kernel does and why not. */
void yab_tls_describe(const SSL *ssl, char *text, size_t size);

#endif /* YAB_DAEMON_TLS_H */

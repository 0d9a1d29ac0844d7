/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Certificates for tests: an authority, and what it signs, good and bad, in a folder. */
#ifndef YAB_TEST_CERTIFICATES_H
#define YAB_TEST_CERTIFICATES_H

#include <jansson.h>
#include <openssl/x509.h>

#include "../../daemon/credentials.h"

#define CERTIFICATES_HOUR	3600L

struct certificates_authority {
	X509 *certificate;
	EVP_PKEY *key;
};

struct certificates_wish {
	const char *side;	/* "server" or "client": the files' names */
	const char *name;	/* CN */
	const char *hosts;	/* subjectAltName: "DNS:host2,IP:10.0.0.2" */
	const char *usage;	/* extendedKeyUsage; NULL: the side's */
	long from, until;	/* seconds from now; both 0: good */
};

void certificates_authority_make(struct certificates_authority *authority, const char *name);
void certificates_authority_drop(struct certificates_authority *authority);
/* Writes ca-cert.pem. */
void certificates_trust(const char *folder, const struct certificates_authority *authority);
/* Writes SIDE-cert.pem and SIDE-key.pem. */
void certificates_issue(const char *folder, const struct certificates_authority *authority,
			const struct certificates_wish *wish);
/* Writes ca-crl.pem, which revokes SIDE-cert.pem (NULL: nobody). */
void certificates_revoke(const char *folder, const struct certificates_authority *authority,
			 const char *side);
/* All that two hosts need: host2 (also localhost, 127.0.0.1, ::1), and host1 as client. */
void certificates_make(const char *folder);

/* Which must be good. Drops @peers (may be NULL), those that may connect. */
struct yab_credentials *certificates_load(const char *folder, enum yab_credentials_side side,
					  json_t *peers);

#endif /* YAB_TEST_CERTIFICATES_H */

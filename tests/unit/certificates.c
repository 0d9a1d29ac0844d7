// SPDX-License-Identifier: GPL-2.0-or-later
#define _GNU_SOURCE 1
#include "certificates.h"

#include <check.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static FILE *open_file(const char *folder, const char *side, const char *what)
{
	char path[256];
	FILE *stream;

	snprintf(path, sizeof(path), "%s/%s-%s.pem", folder, side, what);
	unlink(path);
	stream = fopen(path, "we");
	ck_assert_ptr_nonnull(stream);
	ck_assert_int_eq(fchmod(fileno(stream), 0600), 0);
	return stream;
}

static void extend(X509 *certificate, X509 *issuer, int which, const char *value)
{
	X509_EXTENSION *extension;
	X509V3_CTX context;

	X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &context, which, value);
	ck_assert_ptr_nonnull(extension);
	ck_assert_int_eq(X509_add_ext(certificate, extension, -1), 1);
	X509_EXTENSION_free(extension);
}

/* With a name and a time, unsigned. */
static X509 *make(EVP_PKEY *key, const char *name, long from, long until)
{
	static long serial;
	X509 *certificate = X509_new();

	X509_set_version(certificate, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(certificate), ++serial);
	X509_gmtime_adj(X509_getm_notBefore(certificate), from);
	X509_gmtime_adj(X509_getm_notAfter(certificate), until);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "O", MBSTRING_ASC,
				   (const unsigned char *)"yabusame", -1, -1, 0);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
				   (const unsigned char *)name, -1, -1, 0);
	ck_assert_int_eq(X509_set_pubkey(certificate, key), 1);
	return certificate;
}

void certificates_authority_make(struct certificates_authority *authority, const char *name)
{
	authority->key = EVP_EC_gen("P-256");
	ck_assert_ptr_nonnull(authority->key);
	authority->certificate = make(authority->key, name, -CERTIFICATES_HOUR * 48,
				      CERTIFICATES_HOUR * 48);
	X509_set_issuer_name(authority->certificate,
			     X509_get_subject_name(authority->certificate));
	extend(authority->certificate, authority->certificate, NID_basic_constraints,
	       "critical,CA:TRUE");
	extend(authority->certificate, authority->certificate, NID_key_usage,
	       "critical,keyCertSign,cRLSign");
	extend(authority->certificate, authority->certificate, NID_subject_key_identifier, "hash");
	ck_assert_int_gt(X509_sign(authority->certificate, authority->key, EVP_sha256()), 0);
}

void certificates_authority_drop(struct certificates_authority *authority)
{
	X509_free(authority->certificate);
	EVP_PKEY_free(authority->key);
}

void certificates_trust(const char *folder, const struct certificates_authority *authority)
{
	FILE *stream = open_file(folder, "ca", "cert");

	ck_assert_int_eq(PEM_write_X509(stream, authority->certificate), 1);
	fclose(stream);
}

void certificates_issue(const char *folder, const struct certificates_authority *authority,
			const struct certificates_wish *wish)
{
	const char *usage = wish->usage;
	EVP_PKEY *key = EVP_EC_gen("P-256");
	long from = wish->from, until = wish->until;
	X509 *certificate;
	FILE *stream;

	if (!from && !until) {
		from = -CERTIFICATES_HOUR;
		until = CERTIFICATES_HOUR;
	}
	if (!usage)
		usage = wish->side[0] == 's' ? "serverAuth" : "clientAuth";
	certificate = make(key, wish->name, from, until);
	X509_set_issuer_name(certificate, X509_get_subject_name(authority->certificate));
	extend(certificate, authority->certificate, NID_ext_key_usage, usage);
	extend(certificate, authority->certificate, NID_authority_key_identifier, "keyid:always");
	if (wish->hosts)
		extend(certificate, authority->certificate, NID_subject_alt_name, wish->hosts);
	ck_assert_int_gt(X509_sign(certificate, authority->key, EVP_sha256()), 0);
	stream = open_file(folder, wish->side, "cert");
	ck_assert_int_eq(PEM_write_X509(stream, certificate), 1);
	fclose(stream);
	stream = open_file(folder, wish->side, "key");
	ck_assert_int_eq(PEM_write_PrivateKey(stream, key, NULL, NULL, 0, NULL, NULL), 1);
	fclose(stream);
	X509_free(certificate);
	EVP_PKEY_free(key);
}

void certificates_revoke(const char *folder, const struct certificates_authority *authority,
			 const char *side)
{
	ASN1_TIME *now = ASN1_TIME_adj(NULL, time(NULL), 0, -60);
	ASN1_TIME *later = ASN1_TIME_adj(NULL, time(NULL), 1, 0);
	X509_CRL *list = X509_CRL_new();
	X509_REVOKED *entry;
	char path[256];
	FILE *stream;
	X509 *leaf;

	X509_CRL_set_version(list, X509_CRL_VERSION_2);
	X509_CRL_set_issuer_name(list, X509_get_subject_name(authority->certificate));
	X509_CRL_set1_lastUpdate(list, now);
	X509_CRL_set1_nextUpdate(list, later);
	if (side) {
		snprintf(path, sizeof(path), "%s/%s-cert.pem", folder, side);
		stream = fopen(path, "re");
		ck_assert_ptr_nonnull(stream);
		leaf = PEM_read_X509(stream, NULL, NULL, NULL);
		fclose(stream);
		entry = X509_REVOKED_new();
		X509_REVOKED_set_serialNumber(entry, X509_get_serialNumber(leaf));
		X509_REVOKED_set_revocationDate(entry, now);
		X509_CRL_add0_revoked(list, entry);
		X509_free(leaf);
	}
	X509_CRL_sort(list);
	ck_assert_int_gt(X509_CRL_sign(list, authority->key, EVP_sha256()), 0);
	stream = open_file(folder, "ca", "crl");
	ck_assert_int_eq(PEM_write_X509_CRL(stream, list), 1);
	fclose(stream);
	X509_CRL_free(list);
	ASN1_TIME_free(now);
	ASN1_TIME_free(later);
}

void certificates_make(const char *folder)
{
	static const struct certificates_wish server = {
		.side = "server",
		.name = "host2",
		.hosts = "DNS:host2,DNS:localhost,IP:127.0.0.1,IP:::1",
	};
	static const struct certificates_wish client = {
		.side = "client",
		.name = "host1",
		.hosts = "DNS:host1",
	};
	struct certificates_authority authority;

	certificates_authority_make(&authority, "CA of a test");
	certificates_trust(folder, &authority);
	certificates_issue(folder, &authority, &server);
	certificates_issue(folder, &authority, &client);
	certificates_authority_drop(&authority);
}

struct yab_credentials *certificates_load(const char *folder, enum yab_credentials_side side,
					  json_t *peers)
{
	struct yab_credentials *credentials;
	char error[512];

	credentials = yab_credentials_load(folder, side, peers, error, sizeof(error));
	json_decref(peers);
	ck_assert_msg(credentials, "%s", error);
	return credentials;
}

// SPDX-License-Identifier: GPL-2.0-or-later
#include "rehearsal.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "tls.h"

/* TLS 1.3 takes a flight and a half; one that goes on for longer goes nowhere. */
#define YAB_REHEARSAL_ROUNDS	8
#define YAB_REHEARSAL_SECONDS	3600	/* around now, for the certificate's dates */

/* Known to nobody, and gone with the rehearsal. */
struct yab_rehearsal {
	EVP_PKEY *key;
	X509 *certificate;
	SSL *client;
	SSL *server;
};

static bool yab_rehearsal_certify(struct yab_rehearsal *rehearsal)
{
	X509 *certificate = X509_new();
	X509_NAME *name;

	rehearsal->certificate = certificate;
	rehearsal->key = EVP_EC_gen("P-256");
	if (!rehearsal->key || !certificate)
		return false;
	name = X509_get_subject_name(certificate);
	return X509_set_version(certificate, X509_VERSION_3) &&
	       ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1) &&
	       X509_gmtime_adj(X509_getm_notBefore(certificate), -YAB_REHEARSAL_SECONDS) &&
	       X509_gmtime_adj(X509_getm_notAfter(certificate), YAB_REHEARSAL_SECONDS) &&
	       X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
					  (const unsigned char *)"rehearsal", -1, -1, 0) &&
	       X509_set_issuer_name(certificate, name) &&
	       X509_set_pubkey(certificate, rehearsal->key) &&
	       X509_sign(certificate, rehearsal->key, EVP_sha256()) > 0;
}

/* One side, which trusts the other because both have the same certificate. */
static SSL *yab_rehearsal_side(const struct yab_rehearsal *rehearsal, const SSL_METHOD *method)
{
	SSL_CTX *context = SSL_CTX_new(method);
	SSL *ssl = NULL;

	if (!context)
		return NULL;
	SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	if (SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) &&
	    X509_STORE_add_cert(SSL_CTX_get_cert_store(context), rehearsal->certificate) == 1 &&
	    SSL_CTX_use_certificate(context, rehearsal->certificate) == 1 &&
	    SSL_CTX_use_PrivateKey(context, rehearsal->key) == 1)
		ssl = SSL_new(context);
	SSL_CTX_free(context);
	return ssl;
}

static bool yab_rehearsal_connect(struct yab_rehearsal *rehearsal)
{
	BIO *client, *server;

	rehearsal->client = yab_rehearsal_side(rehearsal, TLS_client_method());
	rehearsal->server = yab_rehearsal_side(rehearsal, TLS_server_method());
	if (!rehearsal->client || !rehearsal->server ||
	    !BIO_new_bio_pair(&client, 0, &server, 0))
		return false;
	SSL_set_bio(rehearsal->client, client, client);
	SSL_set_bio(rehearsal->server, server, server);
	SSL_set_connect_state(rehearsal->client);
	SSL_set_accept_state(rehearsal->server);
	return true;
}

/* True if it is done; @going becomes false if it never will be. */
static bool yab_rehearsal_step(SSL *ssl, bool *going)
{
	const int result = SSL_do_handshake(ssl);
	const int code = SSL_get_error(ssl, result);

	*going &= code == SSL_ERROR_NONE || code == SSL_ERROR_WANT_READ ||
		  code == SSL_ERROR_WANT_WRITE;
	return code == SSL_ERROR_NONE;
}

static bool yab_rehearsal_shake(struct yab_rehearsal *rehearsal)
{
	bool client = false, server = false, going = true;

	for (int i = 0; going && !(client && server) && i < YAB_REHEARSAL_ROUNDS; i++) {
		client = yab_rehearsal_step(rehearsal->client, &going);
		server = going && yab_rehearsal_step(rehearsal->server, &going);
	}
	return client && server;
}

/* A byte each way: what is encrypted is decrypted. */
static bool yab_rehearsal_talk(SSL *from, SSL *to)
{
	uint8_t byte = 'x';
	size_t done;

	return SSL_write_ex(from, &byte, sizeof(byte), &done) &&
	       SSL_read_ex(to, &byte, sizeof(byte), &done);
}

int yab_rehearsal_hold(char *error, size_t error_size)
{
	struct yab_rehearsal rehearsal = { .key = NULL };
	const char *why = NULL;
	bool good;

	yab_tls_find_kernel();
	ERR_clear_error();
	good = OPENSSL_init_ssl(OPENSSL_INIT_LOAD_SSL_STRINGS | OPENSSL_INIT_LOAD_CRYPTO_STRINGS,
				NULL) &&
	       yab_rehearsal_certify(&rehearsal) && yab_rehearsal_connect(&rehearsal) &&
	       yab_rehearsal_shake(&rehearsal) &&
	       yab_rehearsal_talk(rehearsal.client, rehearsal.server) &&
	       yab_rehearsal_talk(rehearsal.server, rehearsal.client);
	if (!good) {
		why = ERR_reason_error_string(ERR_peek_last_error());
		snprintf(error, error_size, "OpenSSL cannot do TLS 1.3 (%s): check openssl.cnf",
			 why ? why : "for an unknown reason");
	}
	SSL_free(rehearsal.client);
	SSL_free(rehearsal.server);
	X509_free(rehearsal.certificate);
	EVP_PKEY_free(rehearsal.key);
	ERR_clear_error();
	return good ? 0 : -1;
}

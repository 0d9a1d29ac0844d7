// SPDX-License-Identifier: GPL-2.0-or-later
#define _GNU_SOURCE 1
#include "credentials.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define YAB_CREDENTIALS_CRL		"ca-crl.pem"
/* Bytes of one file: a bundle of a hundred authorities takes 200 KiB. */
#define YAB_CREDENTIALS_FILE_MAX	1048576
/* A key's mode: others may do nothing with it, its group may read it (as QEMU's may). */
#define YAB_CREDENTIALS_TOO_OPEN	0027
#define YAB_CREDENTIALS_SEALS \
	(F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL)

/* The text of the files, not what it says: so it can go to another process. */
struct yab_credentials {
	enum yab_credentials_side side;
	char *ca;
	char *crl;		/* NULL: there is none */
	char *certificate;	/* and those between it and the CA, if any */
	char *key;
	json_t *peers;
};

static const struct {
	const char *name;
	const char *certificate;
	const char *key;
} yab_credentials_files[] = {
	[YAB_CREDENTIALS_SERVER] = { "server", "server-cert.pem", "server-key.pem" },
	[YAB_CREDENTIALS_CLIENT] = { "client", "client-cert.pem", "client-key.pem" },
};

void yab_credentials_free(struct yab_credentials *credentials)
{
	if (!credentials)
		return;
	if (credentials->key)
		OPENSSL_cleanse(credentials->key, strlen(credentials->key));
	free(credentials->key);
	free(credentials->certificate);
	free(credentials->crl);
	free(credentials->ca);
	json_decref(credentials->peers);
	free(credentials);
}

/* The whole file as text, or NULL with errno. */
static char *yab_credentials_read_fd(int fd, off_t size)
{
	char *text;
	ssize_t got;

	if (size > YAB_CREDENTIALS_FILE_MAX) {
		errno = EFBIG;
		return NULL;
	}
	text = calloc(1, (size_t)size + 1);
	if (!text)
		return NULL;
	got = pread(fd, text, (size_t)size, 0);
	if (got == size && strlen(text) == (size_t)size)
		return text;
	if (got >= 0)
		errno = EINVAL;
	free(text);
	return NULL;
}

/* NULL with one line in @error, which stays empty for a file that need not be there. */
static char *yab_credentials_read(const char *folder, const char *name, bool secret,
				  bool optional, char *error, size_t error_size)
{
	char path[4096];
	struct stat st;
	char *text;
	int fd;

	error[0] = '\0';
	if (snprintf(path, sizeof(path), "%s/%s", folder, name) >= (int)sizeof(path)) {
		snprintf(error, error_size, "the path of --tls-dir is too long");
		return NULL;
	}
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 && errno == ENOENT) {
		if (!optional)
			snprintf(error, error_size,
				 "%s does not exist: make it (see yabusamed(8))", path);
		return NULL;
	}
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		snprintf(error, error_size, "%s: %s", path,
			 fd < 0 ? strerror(errno) : "is no file");
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	if (secret && st.st_mode & YAB_CREDENTIALS_TOO_OPEN) {
		snprintf(error, error_size, "%s is open to others: chmod 0600 %s", path, path);
		close(fd);
		return NULL;
	}
	text = yab_credentials_read_fd(fd, st.st_size);
	if (!text)
		snprintf(error, error_size, "%s: %s", path,
			 errno == EINVAL ? "is no PEM" : strerror(errno));
	close(fd);
	return text;
}

/* A key with a passphrase cannot be used: nobody is there to type it. */
static int yab_credentials_passphrase(char *buffer, int size, int writing, void *arg)
{
	(void)buffer;
	(void)size;
	(void)writing;
	(void)arg;
	return -1;
}

static X509 *yab_credentials_leaf(const char *text)
{
	BIO *bio = BIO_new_mem_buf(text, -1);
	X509 *leaf = bio ? PEM_read_bio_X509(bio, NULL, yab_credentials_passphrase, NULL) : NULL;

	BIO_free(bio);
	return leaf;
}

static EVP_PKEY *yab_credentials_private_key(const char *text)
{
	BIO *bio = BIO_new_mem_buf(text, -1);
	EVP_PKEY *key;

	key = bio ? PEM_read_bio_PrivateKey(bio, NULL, yab_credentials_passphrase, NULL) : NULL;
	BIO_free(bio);
	return key;
}

/* A date as people read it: "2026-11-21 13:00:00 UTC". */
static void yab_credentials_date(const ASN1_TIME *time, char *text, size_t size)
{
	struct tm tm;

	if (!ASN1_TIME_to_tm(time, &tm) || !strftime(text, size, "%Y-%m-%d %H:%M:%S UTC", &tm))
		snprintf(text, size, "a date that makes no sense");
}

/* Our own certificate: found wrong here, it says more than found wrong by the other side. */
static int yab_credentials_check(const struct yab_credentials *credentials, const char *folder,
				 char *error, size_t error_size)
{
	const char *name = yab_credentials_files[credentials->side].certificate;
	const char *key_name = yab_credentials_files[credentials->side].key;
	X509 *leaf = yab_credentials_leaf(credentials->certificate);
	EVP_PKEY *key = yab_credentials_private_key(credentials->key);
	char date[64];
	int result = -1;

	if (!leaf) {
		snprintf(error, error_size, "%s/%s has no certificate in it", folder, name);
	} else if (!key) {
		snprintf(error, error_size,
			 "%s/%s has no key in it that can be read: it must be PEM, without a passphrase",
			 folder, key_name);
	} else if (!X509_check_private_key(leaf, key)) {
		snprintf(error, error_size,
			 "%s/%s is not the key of %s: put the two together that belong together",
			 folder, key_name, name);
	} else if (X509_cmp_current_time(X509_get0_notAfter(leaf)) < 0) {
		yab_credentials_date(X509_get0_notAfter(leaf), date, sizeof(date));
		snprintf(error, error_size, "%s/%s has expired (%s): renew it", folder, name, date);
	} else if (X509_cmp_current_time(X509_get0_notBefore(leaf)) > 0) {
		yab_credentials_date(X509_get0_notBefore(leaf), date, sizeof(date));
		snprintf(error, error_size,
			 "%s/%s is not valid before %s: is this host's clock right?", folder, name,
			 date);
	} else {
		result = 0;
	}
	X509_free(leaf);
	EVP_PKEY_free(key);
	ERR_clear_error();
	return result;
}

struct yab_credentials *yab_credentials_load(const char *folder, enum yab_credentials_side side,
					     json_t *peers, char *error, size_t error_size)
{
	struct yab_credentials *credentials = calloc(1, sizeof(*credentials));

	if (!credentials) {
		snprintf(error, error_size, "out of memory");
		return NULL;
	}
	credentials->side = side;
	credentials->peers = json_incref(peers);
	credentials->ca = yab_credentials_read(folder, YAB_CREDENTIALS_CA, false, false, error,
					       error_size);
	if (!credentials->ca)
		goto err;
	credentials->crl = yab_credentials_read(folder, YAB_CREDENTIALS_CRL, false, true, error,
						error_size);
	if (!credentials->crl && error[0])
		goto err;
	credentials->certificate = yab_credentials_read(folder,
							yab_credentials_files[side].certificate,
							false, false, error, error_size);
	if (!credentials->certificate)
		goto err;
	credentials->key = yab_credentials_read(folder, yab_credentials_files[side].key, true,
						false, error, error_size);
	if (!credentials->key ||
	    yab_credentials_check(credentials, folder, error, error_size) < 0)
		goto err;
	return credentials;

err:
	yab_credentials_free(credentials);
	return NULL;
}

int yab_credentials_export(const struct yab_credentials *credentials)
{
	json_t *json;
	int result, fd;

	fd = memfd_create("yabusame:credentials", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -1;
	json = json_pack("{s:s, s:s, s:s*, s:s, s:s, s:O*}", "side",
			 yab_credentials_files[credentials->side].name, "ca", credentials->ca,
			 "crl", credentials->crl, "certificate", credentials->certificate, "key",
			 credentials->key, "peers", credentials->peers);
	result = json ? json_dumpfd(json, fd, JSON_COMPACT) : -1;
	json_decref(json);
	if (result < 0) {
		errno = ENOMEM;
		goto err_fd;
	}
	if (fcntl(fd, F_ADD_SEALS, YAB_CREDENTIALS_SEALS) < 0)
		goto err_fd;
	return fd;

err_fd:
	result = errno;
	close(fd);
	errno = result;
	return -1;
}

/* 0, or -1 when @json is not what yab_credentials_export() writes, or memory is short. */
static int yab_credentials_unpack(struct yab_credentials *credentials, json_t *json)
{
	const char *side, *ca, *crl = NULL, *certificate, *key;
	json_t *peers = NULL;

	if (json_unpack(json, "{s:s, s:s, s?s, s:s, s:s, s?o}", "side", &side, "ca", &ca, "crl",
			&crl, "certificate", &certificate, "key", &key, "peers", &peers) < 0)
		return -1;
	credentials->side = strcmp(side, yab_credentials_files[YAB_CREDENTIALS_CLIENT].name) ?
			    YAB_CREDENTIALS_SERVER : YAB_CREDENTIALS_CLIENT;
	credentials->peers = json_is_array(peers) ? json_incref(peers) : NULL;
	credentials->ca = strdup(ca);
	credentials->crl = crl ? strdup(crl) : NULL;
	credentials->certificate = strdup(certificate);
	credentials->key = strdup(key);
	return credentials->ca && (!crl || credentials->crl) && credentials->certificate &&
	       credentials->key ? 0 : -1;
}

struct yab_credentials *yab_credentials_import(int fd)
{
	struct yab_credentials *credentials;
	json_t *json;

	/* The offset came along with the descriptor. */
	if (lseek(fd, 0, SEEK_SET) < 0)
		return NULL;
	json = json_loadfd(fd, JSON_REJECT_DUPLICATES, NULL);
	credentials = calloc(1, sizeof(*credentials));
	if (json && credentials && !yab_credentials_unpack(credentials, json)) {
		json_decref(json);
		return credentials;
	}
	json_decref(json);
	yab_credentials_free(credentials);
	errno = ENOMEM;
	return NULL;
}

enum yab_credentials_side yab_credentials_side(const struct yab_credentials *credentials)
{
	return credentials->side;
}

json_t *yab_credentials_peers(const struct yab_credentials *credentials)
{
	return credentials->peers;
}

/* Authorities and, where there are any, their revocations. True if there was one. */
static bool yab_credentials_trust(const char *text, X509_STORE *store)
{
	BIO *bio = BIO_new_mem_buf(text, -1);
	STACK_OF(X509_INFO) *found;
	bool any = false;

	found = bio ? PEM_X509_INFO_read_bio(bio, NULL, yab_credentials_passphrase, NULL) : NULL;
	for (int i = 0; i < sk_X509_INFO_num(found); i++) {
		const X509_INFO *info = sk_X509_INFO_value(found, i);

		if (info->x509)
			any |= X509_STORE_add_cert(store, info->x509) == 1;
		if (info->crl)
			any |= X509_STORE_add_crl(store, info->crl) == 1;
	}
	sk_X509_INFO_pop_free(found, X509_INFO_free);
	BIO_free(bio);
	return any;
}

/* The certificate, those after it in its file, and the key. */
static bool yab_credentials_identify(const struct yab_credentials *credentials, SSL_CTX *context)
{
	EVP_PKEY *key = yab_credentials_private_key(credentials->key);
	BIO *bio = BIO_new_mem_buf(credentials->certificate, -1);
	bool first = true, good = key && bio;
	X509 *certificate;

	while (good) {
		certificate = PEM_read_bio_X509(bio, NULL, yab_credentials_passphrase, NULL);
		if (!certificate)
			break;
		good = (first ? SSL_CTX_use_certificate(context, certificate) :
				SSL_CTX_add1_chain_cert(context, certificate)) == 1;
		first = false;
		X509_free(certificate);
	}
	good = good && !first && SSL_CTX_use_PrivateKey(context, key) == 1;
	BIO_free(bio);
	EVP_PKEY_free(key);
	return good;
}

int yab_credentials_apply(const struct yab_credentials *credentials, SSL_CTX *context, char *error,
			  size_t error_size)
{
	X509_STORE *store = SSL_CTX_get_cert_store(context);
	const char *why;

	ERR_clear_error();
	if (!yab_credentials_trust(credentials->ca, store)) {
		snprintf(error, error_size, "%s has no certificate in it", YAB_CREDENTIALS_CA);
		return -1;
	}
	if (credentials->crl) {
		if (!yab_credentials_trust(credentials->crl, store)) {
			snprintf(error, error_size, "%s has no revocation list in it",
				 YAB_CREDENTIALS_CRL);
			return -1;
		}
		X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK);
	}
	if (!yab_credentials_identify(credentials, context)) {
		why = ERR_reason_error_string(ERR_peek_last_error());
		snprintf(error, error_size, "%s cannot be used: %s",
			 yab_credentials_files[credentials->side].certificate,
			 why ? why : "out of memory");
		return -1;
	}
	ERR_clear_error();
	return 0;
}

// SPDX-License-Identifier: GPL-2.0-or-later
#define _GNU_SOURCE 1
#include "credentials.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define YAB_CREDENTIALS_CRL		"ca-crl.pem"
/* Bytes of one file: a bundle of a hundred authorities takes 200 KiB. */
#define YAB_CREDENTIALS_FILE_MAX	1048576
/* A key's mode: others may do nothing with it, its group may read it (as QEMU's may). */
#define YAB_CREDENTIALS_TOO_OPEN	0027
#define YAB_CREDENTIALS_SEALS \
	(F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL)

/* Bytes of the list of peers, as JSON. */
#define YAB_CREDENTIALS_PEERS_MAX	1048576

enum yab_credentials_part {
	YAB_CREDENTIALS_PART_CA,
	YAB_CREDENTIALS_PART_CRL,		/* need not be there */
	YAB_CREDENTIALS_PART_CERTIFICATE,	/* and those between it and the CA, if any */
	YAB_CREDENTIALS_PART_KEY,
	YAB_CREDENTIALS_PARTS,
};

/* What tells a file from the one that was read: changed in place, replaced, or made. */
struct yab_credentials_stamp {
	bool exists;
	dev_t device;
	ino_t inode;
	off_t size;
	struct timespec modified, changed;
};

/*
 * The bytes of the files, not what they say: so they can go to another process. What they
 * say is in the contexts that were made of them.
 */
struct yab_credentials {
	unsigned int users;
	enum yab_credentials_side side;
	struct yab_credentials_blob {
		char *bytes;		/* NULL: there is none; else a NUL follows */
		size_t size;
	} parts[YAB_CREDENTIALS_PARTS];
	json_t *peers;
	SSL_CTX *contexts[2];		/* without and with kernel TLS; NULL: not needed yet */
	/* Of what was read from files. */
	char *folder;
	struct yab_credentials_stamp stamps[YAB_CREDENTIALS_PARTS];
	time_t from, until;		/* the certificate is good, except then */
};

/*
 * How they go to another process of this program: this, then the parts and the peers (as JSON),
 * each of the size that is told here.
 */
struct yab_credentials_header {
	uint32_t side;
	uint32_t has;			/* bit N: there is part N; the bit after these: peers */
	uint32_t sizes[YAB_CREDENTIALS_PARTS + 1];
};

static const struct {
	const char *name;
	const char *certificate;
	const char *key;
} yab_credentials_files[] = {
	[YAB_CREDENTIALS_SERVER] = { "server", "server-cert.pem", "server-key.pem" },
	[YAB_CREDENTIALS_CLIENT] = { "client", "client-cert.pem", "client-key.pem" },
};

static const char *yab_credentials_file(enum yab_credentials_side side,
					enum yab_credentials_part part)
{
	switch (part) {
	case YAB_CREDENTIALS_PART_CA:
		return YAB_CREDENTIALS_CA;
	case YAB_CREDENTIALS_PART_CRL:
		return YAB_CREDENTIALS_CRL;
	case YAB_CREDENTIALS_PART_CERTIFICATE:
		return yab_credentials_files[side].certificate;
	default:
		return yab_credentials_files[side].key;
	}
}

static struct yab_credentials *yab_credentials_new(enum yab_credentials_side side)
{
	struct yab_credentials *credentials = calloc(1, sizeof(*credentials));

	if (!credentials)
		return NULL;
	credentials->users = 1;
	credentials->side = side;
	return credentials;
}

struct yab_credentials *yab_credentials_hold(struct yab_credentials *credentials)
{
	credentials->users++;
	return credentials;
}

void yab_credentials_free(struct yab_credentials *credentials)
{
	if (!credentials || --credentials->users)
		return;
	for (int part = 0; part < YAB_CREDENTIALS_PARTS; part++) {
		struct yab_credentials_blob *blob = &credentials->parts[part];

		if (blob->bytes)
			OPENSSL_cleanse(blob->bytes, blob->size);
		free(blob->bytes);
	}
	SSL_CTX_free(credentials->contexts[false]);
	SSL_CTX_free(credentials->contexts[true]);
	json_decref(credentials->peers);
	free(credentials->folder);
	free(credentials);
}

static void yab_credentials_stamp(struct yab_credentials_stamp *stamp, const struct stat *st)
{
	memset(stamp, 0, sizeof(*stamp));
	stamp->exists = true;
	stamp->device = st->st_dev;
	stamp->inode = st->st_ino;
	stamp->size = st->st_size;
	stamp->modified = st->st_mtim;
	stamp->changed = st->st_ctim;
}

static bool yab_credentials_is_same(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

bool yab_credentials_is_current(const struct yab_credentials *credentials, const char *folder,
				time_t now)
{
	char path[4096];
	struct stat st;

	if (!credentials->folder || strcmp(credentials->folder, folder) ||
	    now < credentials->from || now > credentials->until)
		return false;
	for (int part = 0; part < YAB_CREDENTIALS_PARTS; part++) {
		const struct yab_credentials_stamp *then = &credentials->stamps[part];
		struct yab_credentials_stamp stamp = { .exists = false };

		snprintf(path, sizeof(path), "%s/%s", folder,
			 yab_credentials_file(credentials->side, part));
		if (!stat(path, &st))
			yab_credentials_stamp(&stamp, &st);
		else if (errno != ENOENT)
			return false;
		if (stamp.exists != then->exists || stamp.device != then->device ||
		    stamp.inode != then->inode || stamp.size != then->size ||
		    !yab_credentials_is_same(&stamp.modified, &then->modified) ||
		    !yab_credentials_is_same(&stamp.changed, &then->changed))
			return false;
	}
	return true;
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
	OPENSSL_cleanse(text, (size_t)size);
	free(text);
	return NULL;
}

/*
 * The file as it was read goes to @stamp. NULL with one line in @error, which stays empty for
 * a file that need not be there.
 */
static char *yab_credentials_read(const char *folder, const char *name, bool secret,
				  bool optional, struct yab_credentials_stamp *stamp,
				  char *error, size_t error_size)
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
	yab_credentials_stamp(stamp, &st);
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

static BIO *yab_credentials_open(const struct yab_credentials *credentials,
				 enum yab_credentials_part part)
{
	return BIO_new_mem_buf(credentials->parts[part].bytes, (int)credentials->parts[part].size);
}

static X509 *yab_credentials_leaf(const struct yab_credentials *credentials)
{
	BIO *bio = yab_credentials_open(credentials, YAB_CREDENTIALS_PART_CERTIFICATE);
	X509 *leaf = bio ? PEM_read_bio_X509(bio, NULL, yab_credentials_passphrase, NULL) : NULL;

	BIO_free(bio);
	return leaf;
}

static EVP_PKEY *yab_credentials_private_key(const struct yab_credentials *credentials)
{
	BIO *bio = yab_credentials_open(credentials, YAB_CREDENTIALS_PART_KEY);
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

static time_t yab_credentials_time(const ASN1_TIME *time, time_t fallback)
{
	struct tm tm;

	return ASN1_TIME_to_tm(time, &tm) ? timegm(&tm) : fallback;
}

/* Our own certificate: found wrong here, it says more than found wrong by the other side. */
static int yab_credentials_check(struct yab_credentials *credentials, const char *folder,
				 char *error, size_t error_size)
{
	const char *name = yab_credentials_files[credentials->side].certificate;
	const char *key_name = yab_credentials_files[credentials->side].key;
	X509 *leaf = yab_credentials_leaf(credentials);
	EVP_PKEY *key = yab_credentials_private_key(credentials);
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
		/* A date that makes no sense is looked at each time. */
		credentials->from = yab_credentials_time(X509_get0_notBefore(leaf), 0);
		credentials->until = yab_credentials_time(X509_get0_notAfter(leaf), 0);
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
	struct yab_credentials *credentials = yab_credentials_new(side);

	snprintf(error, error_size, "out of memory");
	if (!credentials)
		return NULL;
	credentials->peers = json_incref(peers);
	credentials->folder = strdup(folder);
	if (!credentials->folder)
		goto err;
	for (int part = 0; part < YAB_CREDENTIALS_PARTS; part++) {
		struct yab_credentials_blob *blob = &credentials->parts[part];

		blob->bytes = yab_credentials_read(folder, yab_credentials_file(side, part),
						   part == YAB_CREDENTIALS_PART_KEY,
						   part == YAB_CREDENTIALS_PART_CRL,
						   &credentials->stamps[part], error, error_size);
		if (!blob->bytes && error[0])
			goto err;
		blob->size = blob->bytes ? strlen(blob->bytes) : 0;
	}
	if (yab_credentials_check(credentials, folder, error, error_size) < 0)
		goto err;
	return credentials;

err:
	yab_credentials_free(credentials);
	return NULL;
}

/* All of it, or -1 with errno. */
static int yab_credentials_write(int fd, const void *bytes, size_t size)
{
	ssize_t n;

	for (const char *at = bytes; size; at += n, size -= (size_t)n) {
		n = write(fd, at, size);
		if (n <= 0) {
			errno = n ? errno : EIO;
			return -1;
		}
	}
	return 0;
}

/* Header, parts and @peers (JSON, may be NULL). */
static int yab_credentials_dump(const struct yab_credentials *credentials, const char *peers,
				int fd)
{
	struct yab_credentials_header header = { .side = credentials->side };

	for (int part = 0; part < YAB_CREDENTIALS_PARTS; part++) {
		header.has |= credentials->parts[part].bytes ? 1U << part : 0;
		header.sizes[part] = (uint32_t)credentials->parts[part].size;
	}
	if (peers) {
		header.has |= 1U << YAB_CREDENTIALS_PARTS;
		header.sizes[YAB_CREDENTIALS_PARTS] = (uint32_t)strlen(peers);
	}
	if (yab_credentials_write(fd, &header, sizeof(header)) < 0)
		return -1;
	for (int part = 0; part < YAB_CREDENTIALS_PARTS; part++)
		if (yab_credentials_write(fd, credentials->parts[part].bytes,
					  credentials->parts[part].size) < 0)
			return -1;
	return peers ? yab_credentials_write(fd, peers, strlen(peers)) : 0;
}

int yab_credentials_export(const struct yab_credentials *credentials)
{
	char *peers = credentials->peers ? json_dumps(credentials->peers, JSON_COMPACT) : NULL;
	int result, fd;

	if (credentials->peers && !peers) {
		errno = ENOMEM;
		return -1;
	}
	fd = memfd_create("yabusame:credentials", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		goto err_peers;
	if (yab_credentials_dump(credentials, peers, fd) < 0 ||
	    fcntl(fd, F_ADD_SEALS, YAB_CREDENTIALS_SEALS) < 0)
		goto err_fd;
	free(peers);
	return fd;

err_fd:
	result = errno;
	close(fd);
	errno = result;
err_peers:
	free(peers);
	return -1;
}

/* Exactly @size bytes, and a NUL. NULL with errno. */
static char *yab_credentials_receive(int fd, size_t size)
{
	char *bytes = malloc(size + 1);
	size_t done = 0;
	ssize_t n;

	if (!bytes)
		return NULL;
	while (done < size) {
		n = read(fd, bytes + done, size - done);
		if (n <= 0) {
			errno = n ? errno : EINVAL;
			OPENSSL_cleanse(bytes, done);
			free(bytes);
			return NULL;
		}
		done += (size_t)n;
	}
	bytes[size] = '\0';
	return bytes;
}

/* What follows the header. 0, or -1 with errno. */
static int yab_credentials_undump(struct yab_credentials *credentials,
				  const struct yab_credentials_header *header, int fd)
{
	const uint32_t needs = (1U << YAB_CREDENTIALS_PARTS) - 1 - (1U << YAB_CREDENTIALS_PART_CRL);
	const size_t peers_size = header->sizes[YAB_CREDENTIALS_PARTS];
	char *peers;

	errno = EINVAL;
	if ((header->has & needs) != needs || peers_size > YAB_CREDENTIALS_PEERS_MAX)
		return -1;
	for (int part = 0; part < YAB_CREDENTIALS_PARTS; part++) {
		struct yab_credentials_blob *blob = &credentials->parts[part];

		errno = EINVAL;
		if (header->sizes[part] > YAB_CREDENTIALS_FILE_MAX)
			return -1;
		if (!(header->has & 1U << part))
			continue;
		blob->bytes = yab_credentials_receive(fd, header->sizes[part]);
		if (!blob->bytes)
			return -1;
		blob->size = header->sizes[part];
	}
	if (!(header->has & 1U << YAB_CREDENTIALS_PARTS))
		return 0;
	peers = yab_credentials_receive(fd, peers_size);
	credentials->peers = peers ? json_loadb(peers, peers_size, 0, NULL) : NULL;
	free(peers);
	/* Without the list everybody would be let in. */
	errno = ENOMEM;
	return json_is_array(credentials->peers) ? 0 : -1;
}

struct yab_credentials *yab_credentials_import(int fd)
{
	struct yab_credentials_header header;
	struct yab_credentials *credentials;
	int number;

	/* The offset came along with the descriptor. */
	if (lseek(fd, 0, SEEK_SET) < 0)
		return NULL;
	if (read(fd, &header, sizeof(header)) != (ssize_t)sizeof(header) ||
	    header.side > YAB_CREDENTIALS_CLIENT) {
		errno = EINVAL;
		return NULL;
	}
	credentials = yab_credentials_new(header.side);
	if (!credentials)
		return NULL;
	if (!yab_credentials_undump(credentials, &header, fd))
		return credentials;
	number = errno;
	yab_credentials_free(credentials);
	errno = number;
	return NULL;
}

enum yab_credentials_side yab_credentials_side(const struct yab_credentials *credentials)
{
	return credentials->side;
}

SSL_CTX **yab_credentials_context(struct yab_credentials *credentials, bool kernel)
{
	return &credentials->contexts[kernel];
}

json_t *yab_credentials_peers(const struct yab_credentials *credentials)
{
	return credentials->peers;
}

/* Authorities and, where there are any, their revocations. True if there was one. */
static bool yab_credentials_trust(const struct yab_credentials *credentials,
				  enum yab_credentials_part part, X509_STORE *store)
{
	BIO *bio = yab_credentials_open(credentials, part);
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
	EVP_PKEY *key = yab_credentials_private_key(credentials);
	BIO *bio = yab_credentials_open(credentials, YAB_CREDENTIALS_PART_CERTIFICATE);
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
	if (!yab_credentials_trust(credentials, YAB_CREDENTIALS_PART_CA, store)) {
		snprintf(error, error_size, "%s has no certificate in it", YAB_CREDENTIALS_CA);
		return -1;
	}
	if (credentials->parts[YAB_CREDENTIALS_PART_CRL].bytes) {
		if (!yab_credentials_trust(credentials, YAB_CREDENTIALS_PART_CRL, store)) {
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

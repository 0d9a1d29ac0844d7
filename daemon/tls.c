// SPDX-License-Identifier: GPL-2.0-or-later
#define _GNU_SOURCE 1
#include "tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fnmatch.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define YAB_TLS_NAME_SIZE	272
/* What a page connection reads at once, if the kernel does not decrypt: four records. */
#define YAB_TLS_READ_SIZE	(4 * (SSL3_RT_MAX_PLAIN_LENGTH + 64))
#define YAB_TLS_SUBJECT_SIZE	200
/*
 * Handshake messages of the other side: a handshake has half a dozen, and after it our own sides
 * send none. Each change of keys costs as much as dozens of records.
 */
#define YAB_TLS_MESSAGES_MAX	32

/* What a session knows beyond OpenSSL's own; freed with it. */
struct yab_tls_note {
	char name[YAB_TLS_NAME_SIZE];
	char host[YAB_TLS_NAME_SIZE];
	json_t *peers;
	unsigned int messages;		/* of a handshake, also behind it */
	/* Of the first certificate that was refused. */
	int refusal;			/* X509_V_*; 0: none was */
	char subject[YAB_TLS_SUBJECT_SIZE];
};

static void yab_tls_note_free(void *parent, void *pointer, CRYPTO_EX_DATA *data, int index,
			      long argl, void *argp)
{
	struct yab_tls_note *note = pointer;

	(void)parent;
	(void)data;
	(void)index;
	(void)argl;
	(void)argp;
	if (!note)
		return;
	json_decref(note->peers);
	free(note);
}

/* The place of the note in a session. */
static int yab_tls_index(void)
{
	static int index = -1;

	if (index < 0)
		index = SSL_get_ex_new_index(0, NULL, NULL, NULL, yab_tls_note_free);
	return index;
}

static struct yab_tls_note *yab_tls_note(const SSL *ssl)
{
	return SSL_get_ex_data(ssl, yab_tls_index());
}

static void yab_tls_subject(X509 *certificate, char *text, size_t size)
{
	BIO *bio = BIO_new(BIO_s_mem());
	int length = -1;

	/* Not ASCII: escaped, so that it is fit for logs. */
	if (bio && X509_NAME_print_ex(bio, X509_get_subject_name(certificate), 0,
				      XN_FLAG_RFC2253) >= 0)
		length = BIO_read(bio, text, (int)size - 1);
	text[length > 0 ? length : 0] = '\0';
	BIO_free(bio);
}

static bool yab_tls_address_matches(const char *pattern, const ASN1_OCTET_STRING *address)
{
	const int length = ASN1_STRING_length(address);
	char text[INET6_ADDRSTRLEN];

	if (length != 4 && length != 16)
		return false;
	return inet_ntop(length == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(address), text,
			 sizeof(text)) && !fnmatch(pattern, text, FNM_NOESCAPE);
}

/* One of the certificate's alternative names: a host's name or its address. */
static bool yab_tls_name_matches(const char *pattern, const GENERAL_NAME *name)
{
	const ASN1_STRING *host = name->d.dNSName;
	const char *text;

	if (name->type == GEN_IPADD)
		return yab_tls_address_matches(pattern, name->d.iPAddress);
	if (name->type != GEN_DNS)
		return false;
	text = (const char *)ASN1_STRING_get0_data(host);
	/* One with a NUL in it would be shorter for us than for the CA. */
	return strlen(text) == (size_t)ASN1_STRING_length(host) &&
	       !fnmatch(pattern, text, FNM_NOESCAPE | FNM_CASEFOLD);
}

/*
 * A pattern with "=" in it is for the whole subject, any other for the alternative names.
 */
static bool yab_tls_matches(const char *pattern, X509 *certificate, const char *subject)
{
	GENERAL_NAMES *names;
	bool matches = false;

	if (strchr(pattern, '='))
		return !fnmatch(pattern, subject, FNM_NOESCAPE);
	names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++)
		matches |= yab_tls_name_matches(pattern, sk_GENERAL_NAME_value(names, i));
	GENERAL_NAMES_free(names);
	return matches;
}

static bool yab_tls_allows(json_t *peers, X509 *certificate, const char *subject)
{
	json_t *pattern;
	size_t i;

	if (!peers)
		return true;
	json_array_foreach(peers, i, pattern)
		if (json_is_string(pattern) &&
		    yab_tls_matches(json_string_value(pattern), certificate, subject))
			return true;
	return false;
}

/*
 * Within the handshake, so that who is not allowed never gets through one, and is told
 * so by an alert.
 */
static int yab_tls_verify(int good, X509_STORE_CTX *store)
{
	const SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	X509 *certificate = X509_STORE_CTX_get_current_cert(store);
	struct yab_tls_note *note = yab_tls_note(ssl);
	char subject[1024] = "";

	if (certificate)
		yab_tls_subject(certificate, subject, sizeof(subject));
	/* What was cut off could match what the whole does not. */
	if (strlen(subject) == sizeof(subject) - 1)
		subject[0] = '\0';
	if (good && !X509_STORE_CTX_get_error_depth(store) &&
	    !yab_tls_allows(note->peers, certificate, subject)) {
		X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
		good = 0;
	}
	if (!good && !note->refusal) {
		note->refusal = X509_STORE_CTX_get_error(store);
		/* Whichever of its chain is wrong: the other side is known by its own. */
		if (X509_STORE_CTX_get0_cert(store))
			yab_tls_subject(X509_STORE_CTX_get0_cert(store), subject, sizeof(subject));
		snprintf(note->subject, sizeof(note->subject), "%.*s",
			 YAB_TLS_SUBJECT_SIZE - 1, subject);
	}
	return good;
}

/* Any message of TLS, either way. OpenSSL goes on whatever we say: its socket does not. */
static void yab_tls_messaged(int sent, int version, int type, const void *bytes, size_t size,
			     SSL *ssl, void *arg)
{
	struct yab_tls_note *note = yab_tls_note(ssl);

	(void)version;
	(void)bytes;
	(void)size;
	(void)arg;
	if (sent || type != SSL3_RT_HANDSHAKE || !note)
		return;
	if (note->messages++ == YAB_TLS_MESSAGES_MAX)
		shutdown(SSL_get_fd(ssl), SHUT_RDWR);
}

bool yab_tls_is_flooded(const SSL *ssl)
{
	return yab_tls_note(ssl)->messages > YAB_TLS_MESSAGES_MAX;
}

static SSL_CTX *yab_tls_context_new(const struct yab_credentials *credentials, bool kernel,
				    char *error, size_t error_size)
{
	const bool server = yab_credentials_side(credentials) == YAB_CREDENTIALS_SERVER;
	SSL_CTX *context = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());

	if (!context || !SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) ||
	    /* Nothing is resumed, and a ticket would only be one more thing to read. */
	    !SSL_CTX_set_num_tickets(context, 0)) {
		snprintf(error, error_size, "out of memory");
		goto err;
	}
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
	if (kernel)
		SSL_CTX_set_default_read_buffer_len(context, YAB_TLS_READ_SIZE);
	SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION |
			    (kernel ? SSL_OP_ENABLE_KTLS : 0));
	SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE |
			 SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	/*
	 * An operation deals with what OpenSSL has read already (a buffer of
	 * YAB_TLS_READ_SIZE), and then comes back, also where that was no data. So nobody can
	 * keep it busy with messages that follow one another.
	 */
	SSL_CTX_clear_mode(context, SSL_MODE_AUTO_RETRY);
	SSL_CTX_set_msg_callback(context, yab_tls_messaged);
	SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
			   yab_tls_verify);
	if (yab_credentials_apply(credentials, context, error, error_size) < 0)
		goto err;
	return context;

err:
	SSL_CTX_free(context);
	return NULL;
}

/* Made once, for all the connections that there will be with these credentials. Borrowed. */
static SSL_CTX *yab_tls_context(struct yab_credentials *credentials, bool kernel,
				char *error, size_t error_size)
{
	SSL_CTX **kept = yab_credentials_context(credentials, kernel);

	if (!*kept)
		*kept = yab_tls_context_new(credentials, kernel, error, error_size);
	return *kept;
}

/* The server's certificate must be for the host that was connected to. */
static bool yab_tls_expect(SSL *ssl, const char *host)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
	char bare[YAB_TLS_NAME_SIZE];

	/* The zone of a link-local address is ours, not the certificate's. */
	snprintf(bare, sizeof(bare), "%.*s", (int)strcspn(host, "%"), host);
	if (X509_VERIFY_PARAM_set1_ip_asc(param, bare))
		return true;
	/* By its alternative names only, as everybody else does by now. */
	X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
	return X509_VERIFY_PARAM_set1_host(param, bare, 0) &&
	       SSL_set_tlsext_host_name(ssl, bare);
}

SSL *yab_tls_new(struct yab_credentials *credentials, int fd, const char *name,
		 const char *host, bool kernel, char *error, size_t error_size)
{
	const bool server = yab_credentials_side(credentials) == YAB_CREDENTIALS_SERVER;
	SSL_CTX *context = yab_tls_context(credentials, kernel, error, error_size);
	struct yab_tls_note *note;
	SSL *ssl;

	if (!context)
		return NULL;
	snprintf(error, error_size, "out of memory");
	ssl = SSL_new(context);
	note = calloc(1, sizeof(*note));
	if (!ssl || !note || !SSL_set_ex_data(ssl, yab_tls_index(), note)) {
		free(note);
		goto err;
	}
	snprintf(note->name, sizeof(note->name), "%s", name);
	snprintf(note->host, sizeof(note->host), "%s", host ? host : "");
	if (server)
		note->peers = json_incref(yab_credentials_peers(credentials));
	if (!SSL_set_fd(ssl, fd) || (host && !yab_tls_expect(ssl, host)))
		goto err;
	if (server)
		SSL_set_accept_state(ssl);
	else
		SSL_set_connect_state(ssl);
	ERR_clear_error();
	return ssl;

err:
	SSL_free(ssl);
	ERR_clear_error();
	return NULL;
}

/* This side has refused the other's certificate. */
static void yab_tls_explain_refusal(const struct yab_tls_note *note, char *error,
				    size_t error_size)
{
	const char *name = note->name, *subject = note->subject;

	switch (note->refusal) {
	case X509_V_ERR_CERT_HAS_EXPIRED:
		snprintf(error, error_size,
			 "the certificate of %s (%s) has expired: renew it there, and check both clocks",
			 name, subject);
		break;
	case X509_V_ERR_CERT_NOT_YET_VALID:
		snprintf(error, error_size,
			 "the certificate of %s (%s) is not valid yet: check both clocks", name,
			 subject);
		break;
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_CERT_SIGNATURE_FAILURE:
		snprintf(error, error_size,
			 "the certificate of %s (%s) is of another CA: both hosts must have certificates of one CA, and its ca-cert.pem",
			 name, subject);
		break;
	case X509_V_ERR_HOSTNAME_MISMATCH:
	case X509_V_ERR_IP_ADDRESS_MISMATCH:
		snprintf(error, error_size,
			 "the certificate of %s (%s) is not for \"%s\": name the host as its certificate does, or make one with this name (subjectAltName)",
			 name, subject, note->host);
		break;
	case X509_V_ERR_APPLICATION_VERIFICATION:
		snprintf(error, error_size,
			 "%s (%s) is not among those that --allow lets in here", name, subject);
		break;
	case X509_V_ERR_CERT_REVOKED:
		snprintf(error, error_size,
			 "the certificate of %s (%s) has been revoked: make a new one",
			 name, subject);
		break;
	case X509_V_ERR_CRL_HAS_EXPIRED:
		snprintf(error, error_size,
			 "the CA's list of revoked certificates (ca-crl.pem) has expired here: fetch the new one");
		break;
	default:
		snprintf(error, error_size, "the certificate of %s (%s) is refused: %s", name,
			 subject, X509_verify_cert_error_string(note->refusal));
		break;
	}
}

/* The other side has told by an alert what it does not like. */
static void yab_tls_explain_alert(const struct yab_tls_note *note, int alert, char *error,
				  size_t error_size)
{
	static const struct {
		int alert;
		const char *text;
	} known[] = {
		{ SSL_AD_CERTIFICATE_EXPIRED,
		  "refuses this host's certificate, which has expired: renew it, and check both clocks"
		},
		{ SSL_AD_CERTIFICATE_REVOKED,
		  "refuses this host's certificate, which was revoked"
		},
		{ SSL_AD_UNKNOWN_CA,
		  "does not know the CA of this host's certificate: both hosts must have certificates of one CA, and its ca-cert.pem"
		},
		{ SSL_AD_BAD_CERTIFICATE,
		  "refuses this host's certificate: the name that it used may not be in it, or clocks differ; its log says more"
		},
		{ SSL_AD_UNSUPPORTED_CERTIFICATE,
		  "refuses this host's certificate: it is not made for this use; its log says more"
		},
		{ SSL_AD_CERTIFICATE_REQUIRED,
		  "wants a certificate of this host"
		},
		{ SSL_AD_HANDSHAKE_FAILURE,
		  "does not let this host in: see its log, and its --allow"
		},
		{ SSL_AD_PROTOCOL_VERSION,
		  "does not speak TLS 1.3"
		},
		{ 0, NULL },
	}, *entry;

	for (entry = known; entry->text; entry++)
		if (entry->alert == alert)
			break;
	if (entry->text)
		snprintf(error, error_size, "%s %s", note->name, entry->text);
	else
		snprintf(error, error_size, "%s ends TLS (alert %d, %s): see its log", note->name,
			 alert, SSL_alert_desc_string_long(alert));
}

void yab_tls_explain(const SSL *ssl, int code, char *error, size_t error_size)
{
	const unsigned long last = ERR_peek_last_error();
	const struct yab_tls_note *note = yab_tls_note(ssl);
	const int number = errno;
	const char *why = ERR_reason_error_string(last);
	int reason = ERR_GET_LIB(last) == ERR_LIB_SSL ? ERR_GET_REASON(last) : 0;

	if (note->refusal) {
		yab_tls_explain_refusal(note, error, error_size);
	} else if (note->messages > YAB_TLS_MESSAGES_MAX) {
		snprintf(error, error_size,
			 "%s changes its keys again and again: it is no yabusamed of this version",
			 note->name);
	} else if (code == SSL_ERROR_ZERO_RETURN || reason == SSL_R_UNEXPECTED_EOF_WHILE_READING ||
		   (code == SSL_ERROR_SYSCALL && !last && !number)) {
		snprintf(error, error_size, "%s closed the connection: see its log", note->name);
	} else if (ERR_SYSTEM_ERROR(last)) {
		snprintf(error, error_size, "lost the connection to %s (%s)", note->name,
			 strerror(ERR_GET_REASON(last)));
	} else if (code == SSL_ERROR_SYSCALL) {
		snprintf(error, error_size, "lost the connection to %s (%s)", note->name,
			 strerror(number));
	} else if (reason > SSL_AD_REASON_OFFSET) {
		yab_tls_explain_alert(note, reason - SSL_AD_REASON_OFFSET, error, error_size);
	} else if (reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE) {
		snprintf(error, error_size,
			 "%s has no certificate: make one there (yabusamed(8))",
			 note->name);
	} else if (reason == SSL_R_UNSUPPORTED_PROTOCOL) {
		snprintf(error, error_size,
			 "%s does not speak TLS 1.3: install the same yabusame on both",
			 note->name);
	} else {
		snprintf(error, error_size, "TLS with %s fails: %s", note->name,
			 why ? why : "for an unknown reason");
	}
	ERR_clear_error();
}

bool yab_tls_find_kernel(void)
{
	static int found = -1;
	int fd;

	if (found >= 0)
		return found;
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	/* The socket is connected to nobody: that is the error of a kernel that has it. */
	found = fd >= 0 && (!setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", sizeof("tls")) ||
			    errno == ENOTCONN);
	if (fd >= 0)
		close(fd);
	return found;
}

void yab_tls_describe(const SSL *ssl, char *text, size_t size)
{
	const bool sends = BIO_get_ktls_send(SSL_get_wbio(ssl));
	const bool receives = BIO_get_ktls_recv(SSL_get_rbio(ssl));
	const char *kernel;

	if (sends && receives)
		kernel = "sends and receives";
	else if (sends)
		kernel = "sends only (receiving takes OpenSSL 3.2)";
	else if (receives)
		kernel = "receives only";
	else if (!(SSL_get_options(ssl) & SSL_OP_ENABLE_KTLS))
		kernel = "off (not wanted here)";
	else if (!yab_tls_find_kernel())
		kernel = "off (the kernel has no module tls loaded: modprobe tls)";
	else
		kernel = "off (not for this cipher or connection)";
	snprintf(text, size, "TLS 1.3, %s, kernel TLS: %s", SSL_get_cipher_name(ssl), kernel);
}

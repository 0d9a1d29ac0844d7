// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Connections with TLS: real handshakes between both sides, good and bad, and what sockets
 * do with sessions. Certificates are made for each test.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../../daemon/opening.h"
#include "../../daemon/peer.h"
#include "../../daemon/security.h"
#include "../../daemon/socket.h"
#include "../../daemon/tls.h"
#include "certificates.h"
#include "script.h"

#define PATIENCE_MS	60000	/* never reached */

static char folder[64], foreign[64];
static struct certificates_authority authority, stranger;
static struct event_base *base;

static const uint8_t token[YAB_WIRE_TOKEN_SIZE] = "0123456789abcde";

static const struct certificates_wish good_server = {
	.side = "server", .name = "host2", .hosts = "DNS:host2,IP:10.0.0.2",
};

static const struct certificates_wish good_client = {
	.side = "client", .name = "host1", .hosts = "DNS:host1.example.org,IP:10.0.0.1",
};

static void setup(void)
{
	base = script_base();
	certificates_folder(folder);
	certificates_folder(foreign);
	certificates_authority_make(&authority, "CA");
	certificates_authority_make(&stranger, "another CA");
	certificates_trust(folder, &authority);
	certificates_trust(foreign, &stranger);
	certificates_issue(folder, &authority, &good_server);
	certificates_issue(folder, &authority, &good_client);
}

static void teardown(void)
{
	event_base_free(base);
	certificates_authority_drop(&authority);
	certificates_authority_drop(&stranger);
	certificates_remove(folder);
	certificates_remove(foreign);
}

static struct yab_credentials *load(const char *from, enum yab_credentials_side side,
				    json_t *peers)
{
	struct yab_credentials *credentials;
	char error[512];

	credentials = yab_credentials_load(from, side, peers, error, sizeof(error));
	json_decref(peers);
	ck_assert_msg(credentials, "%s", error);
	return credentials;
}

static void append_file(int fd, const char *from, const char *side, const char *what,
			uint32_t *length)
{
	char path[256], text[65536];
	FILE *stream;

	snprintf(path, sizeof(path), "%s/%s-%s.pem", from, side, what);
	stream = fopen(path, "re");
	ck_assert_ptr_nonnull(stream);
	*length = (uint32_t)fread(text, 1, sizeof(text), stream);
	fclose(stream);
	ck_assert_int_eq(write(fd, text, *length), (ssize_t)*length);
}

/* As a side has them that does not look at its own certificate first. */
static struct yab_credentials *load_blindly(const char *from, const char *side)
{
	/* As yab_credentials_export() writes it: CA, no CRL, certificate, key, no peers. */
	struct {
		uint32_t side, has, sizes[5];
	} header = { .side = strcmp(side, "server") ? YAB_CREDENTIALS_CLIENT :
						      YAB_CREDENTIALS_SERVER, .has = 0xd };
	const int fd = memfd_create("credentials", MFD_CLOEXEC);
	struct yab_credentials *credentials;

	ck_assert_int_eq(lseek(fd, sizeof(header), SEEK_SET), sizeof(header));
	append_file(fd, from, "ca", "cert", &header.sizes[0]);
	append_file(fd, from, side, "cert", &header.sizes[2]);
	append_file(fd, from, side, "key", &header.sizes[3]);
	ck_assert_int_eq(pwrite(fd, &header, sizeof(header), 0), sizeof(header));
	credentials = yab_credentials_import(fd);
	ck_assert_ptr_nonnull(credentials);
	close(fd);
	return credentials;
}

/* One end of a connection that is opened. */
struct end {
	struct yab_opening_terms terms;
	struct yab_opening *opening;
	bool settled;
	int fd;
	SSL *ssl;
	char error[512];
};

static void on_opened(int fd, SSL *ssl, const char *error, void *arg)
{
	struct end *end = arg;

	ck_assert(!end->settled);
	end->settled = true;
	end->opening = NULL;
	end->fd = fd;
	end->ssl = ssl;
	if (fd < 0)
		snprintf(end->error, sizeof(end->error), "%s", error);
}

static void end_init(struct end *end, enum yab_credentials_side side,
		     struct yab_credentials *credentials)
{
	const bool client = side == YAB_CREDENTIALS_CLIENT;

	*end = (struct end){
		.fd = -1,
		.terms = {
			.role = YAB_WIRE_BULK,
			.side = side,
			.credentials = credentials,
			.host = client ? "host2" : NULL,
			.token = token,
			.kernel = true,
			.name = client ? "host2:7655" : "10.0.0.1:4444",
			.timeout_ms = PATIENCE_MS,
		},
	};
}

static void end_start(struct end *end, int fd)
{
	char error[512];

	end->opening = yab_opening_new(base, fd, &end->terms, on_opened, end, error,
				       sizeof(error));
	ck_assert_msg(end->opening, "%s", error);
	ck_assert(!end->settled);
}

static void end_await(struct end *end)
{
	while (!end->settled)
		ck_assert_int_eq(event_base_loop(base, EVLOOP_ONCE), 0);
}

static void end_drop(struct end *end)
{
	yab_opening_cancel(end->opening);
	SSL_free(end->ssl);
	if (end->fd >= 0)
		close(end->fd);
}

static void pair_over(bool tcp, int *a, int *b)
{
	if (tcp)
		script_pair_tcp(a, b);
	else
		script_pair(a, b);
}

/* Both ends, each with what it has; opened, or not. */
static void meet(struct end *client, struct end *server, bool tcp)
{
	int a, b;

	pair_over(tcp, &a, &b);
	end_start(client, a);
	end_start(server, b);
	end_await(client);
	end_await(server);
}

/* Two that are open. */
static void open_both_with(struct end *client, struct end *server, bool tcp, bool kernel)
{
	struct yab_credentials *ours = load(folder, YAB_CREDENTIALS_CLIENT, NULL);
	struct yab_credentials *theirs = load(folder, YAB_CREDENTIALS_SERVER, NULL);

	end_init(client, YAB_CREDENTIALS_CLIENT, ours);
	end_init(server, YAB_CREDENTIALS_SERVER, theirs);
	client->terms.kernel = kernel;
	server->terms.kernel = kernel;
	meet(client, server, tcp);
	yab_credentials_free(ours);
	yab_credentials_free(theirs);
	ck_assert_msg(client->fd >= 0, "%s", client->error);
	ck_assert_msg(server->fd >= 0, "%s", server->error);
}

static void open_both(struct end *client, struct end *server, bool tcp)
{
	open_both_with(client, server, tcp, true);
}

START_TEST(good)
{
	struct end client, server;
	char text[256], byte;
	size_t n;

	open_both(&client, &server, true);
	ck_assert_int_eq(SSL_version(client.ssl), TLS1_3_VERSION);
	yab_tls_describe(client.ssl, text, sizeof(text));
	ck_assert_msg(strstr(text, "TLS 1.3, TLS_") == text, "%s", text);
	ck_assert(strstr(text, getenv("YAB_TLS_KERNEL") ? "kernel TLS: sends" : "kernel TLS: "));
	/* Nothing is on its way but what is sent now. */
	ck_assert_int_eq(SSL_write_ex(server.ssl, "x", 1, &n), 1);
	while (SSL_read_ex(client.ssl, &byte, 1, &n) != 1)
		;
	ck_assert_int_eq(byte, 'x');
	ck_assert_int_eq(SSL_has_pending(client.ssl), 0);
	end_drop(&client);
	end_drop(&server);
}
END_TEST

/* The same exchange without TLS. */
START_TEST(good_plain)
{
	struct end client, server;

	end_init(&client, YAB_CREDENTIALS_CLIENT, NULL);
	end_init(&server, YAB_CREDENTIALS_SERVER, NULL);
	meet(&client, &server, _i);
	ck_assert_int_ge(client.fd, 0);
	ck_assert_int_ge(server.fd, 0);
	ck_assert_ptr_null(client.ssl);
	ck_assert_ptr_null(server.ssl);
	end_drop(&client);
	end_drop(&server);
}
END_TEST

/* What is wrong with certificates, and what each side says to it. */
static const struct {
	const char *what;
	struct certificates_wish wish;	/* issued in place of the good one */
	bool foreign;			/* by a CA that the other side does not know */
	const char *host;		/* connected to */
	const char *allow;
	const char *client_says, *server_says;
} refusals[] = {
	{ "client expired",
	  { .side = "client", .name = "host1", .from = -7200, .until = -3600 },
	  .client_says = "refuses this host's certificate, which has expired",
	  .server_says = "the certificate of 10.0.0.1:4444 (CN=host1,O=yabusame) has expired" },
	{ "client not yet valid",
	  { .side = "client", .name = "host1", .from = 3600, .until = 7200 },
	  .client_says = "refuses this host's certificate: check both clocks",
	  .server_says = "is not valid yet: check both clocks" },
	{ "server expired",
	  { .side = "server", .name = "host2", .hosts = "DNS:host2", .from = -7200,
	    .until = -3600 },
	  .client_says = "the certificate of host2:7655 (CN=host2,O=yabusame) has expired",
	  .server_says = "refuses this host's certificate, which has expired" },
	{ "server not yet valid",
	  { .side = "server", .name = "host2", .hosts = "DNS:host2", .from = 3600,
	    .until = 7200 },
	  .client_says = "is not valid yet: check both clocks",
	  .server_says = "check both clocks" },
	{ "client of another CA", { .side = "client", .name = "host1" }, .foreign = true,
	  .client_says = "is of another CA", .server_says = "" },
	{ "server of another CA", { .side = "server", .name = "host2", .hosts = "DNS:host2" },
	  .foreign = true,
	  .client_says = "host2:7655 (CN=host2,O=yabusame) is of another CA: both hosts",
	  .server_says = "10.0.0.1:4444 does not know the CA of this host's certificate" },
	{ "another host's", { .side = "server", .name = "host2", .hosts = "DNS:host3" },
	  .client_says = "is not for \"host2\": name the host as its certificate does",
	  .server_says = "refuses this host's certificate" },
	{ "a host's name in CN only", { .side = "server", .name = "host2" },
	  .client_says = "is not for \"host2\"", .server_says = "refuses this host's" },
	{ "another address", { .side = "server", .name = "x", .hosts = "IP:10.0.0.3" },
	  .host = "10.0.0.2", .client_says = "is not for \"10.0.0.2\"",
	  .server_says = "refuses this host's certificate" },
	{ "an address as a name", { .side = "server", .name = "x", .hosts = "DNS:10.0.0.2" },
	  .host = "10.0.0.2", .client_says = "is not for \"10.0.0.2\"",
	  .server_says = "refuses this host's certificate" },
	{ "client's in place of the server's",
	  { .side = "server", .name = "host2", .hosts = "DNS:host2", .usage = "clientAuth" },
	  .client_says = "is refused: un", .server_says = "refuses this host's certificate" },
	{ "server's in place of the client's",
	  { .side = "client", .name = "host1", .usage = "serverAuth" },
	  .client_says = "it is not made for this use", .server_says = "is refused: un" },
	{ "not among those allowed", { .side = "client", .name = "host9", .hosts = "DNS:host9" },
	  .allow = "host[1-8]",
	  .client_says = "host2:7655 does not let this host in: see its log, and its --allow",
	  .server_says = "(CN=host9,O=yabusame) is not among those that --allow lets in" },
};

#define REFUSALS	((int)(sizeof(refusals) / sizeof(*refusals)))

START_TEST(refused)
{
	const struct certificates_wish *wish = &refusals[_i].wish;
	const char *ours_from = folder, *theirs_from = folder;
	struct yab_credentials *ours, *theirs;
	struct end client, server;
	bool is_client = wish->side[0] == 'c';

	if (!refusals[_i].foreign) {
		certificates_issue(folder, &authority, wish);
	} else {
		certificates_issue(foreign, &stranger, wish);
		*(is_client ? &ours_from : &theirs_from) = foreign;
	}
	ours = load_blindly(ours_from, "client");
	if (refusals[_i].allow)
		theirs = load(theirs_from, YAB_CREDENTIALS_SERVER,
			      json_pack("[s, s]", "nobody", refusals[_i].allow));
	else
		theirs = load_blindly(theirs_from, "server");
	end_init(&client, YAB_CREDENTIALS_CLIENT, ours);
	end_init(&server, YAB_CREDENTIALS_SERVER, theirs);
	if (refusals[_i].host)
		client.terms.host = refusals[_i].host;
	meet(&client, &server, true);
	ck_assert_int_eq(server.fd, -1);
	ck_assert_int_eq(client.fd, -1);
	ck_assert_msg(strstr(client.error, refusals[_i].client_says), "%s: client: %s",
		      refusals[_i].what, client.error);
	ck_assert_msg(strstr(server.error, refusals[_i].server_says), "%s: server: %s",
		      refusals[_i].what, server.error);
	yab_credentials_free(ours);
	yab_credentials_free(theirs);
}
END_TEST

/* A CA knows its clients; who was revoked is out. */
START_TEST(revoked)
{
	struct yab_credentials *ours, *theirs;
	struct end client, server;

	certificates_revoke(folder, &authority, _i ? "client" : NULL);
	ours = load(folder, YAB_CREDENTIALS_CLIENT, NULL);
	theirs = load(folder, YAB_CREDENTIALS_SERVER, NULL);
	end_init(&client, YAB_CREDENTIALS_CLIENT, ours);
	end_init(&server, YAB_CREDENTIALS_SERVER, theirs);
	meet(&client, &server, true);
	ck_assert_int_eq(client.fd >= 0, !_i);
	ck_assert_int_eq(server.fd >= 0, !_i);
	if (_i) {
		ck_assert_msg(strstr(server.error, "has been revoked"), "%s", server.error);
		ck_assert_msg(strstr(client.error, "was revoked"), "%s", client.error);
	}
	end_drop(&client);
	end_drop(&server);
	yab_credentials_free(ours);
	yab_credentials_free(theirs);
}
END_TEST

static const struct {
	const char *pattern;
	bool matches;
} patterns[] = {
	{ "host1.example.org", true }, { "HOST1.example.org", true }, { "*.example.org", true },
	{ "host?.example.org", true }, { "10.0.0.1", true }, { "10.0.0.*", true }, { "*", true },
	{ "CN=host1,O=yabusame", true }, { "CN=host*,O=yabusame", true }, { "*O=yabusame", true },
	{ "host1", false }, { "host1.example.or", false }, { "ost1.example.org", false },
	{ "10.0.0.2", false }, { "CN=host1", false }, { "CN=host2,O=yabusame", false },
	{ "cn=host1,o=yabusame", false }, { "yabusame", false }, { "", false },
};

#define PATTERNS	((int)(sizeof(patterns) / sizeof(*patterns)))

START_TEST(allowed)
{
	struct yab_credentials *ours = load(folder, YAB_CREDENTIALS_CLIENT, NULL);
	struct yab_credentials *theirs;
	struct end client, server;

	theirs = load(folder, YAB_CREDENTIALS_SERVER, json_pack("[s]", patterns[_i].pattern));
	end_init(&client, YAB_CREDENTIALS_CLIENT, ours);
	end_init(&server, YAB_CREDENTIALS_SERVER, theirs);
	meet(&client, &server, true);
	ck_assert_msg((server.fd >= 0) == patterns[_i].matches, "%s", patterns[_i].pattern);
	ck_assert_int_eq(client.fd >= 0, patterns[_i].matches);
	end_drop(&client);
	end_drop(&server);
	yab_credentials_free(ours);
	yab_credentials_free(theirs);
}
END_TEST

/* The hellos inside: the token, the role, and whether there is TLS at all. */
START_TEST(wrong_hello)
{
	static const uint8_t other[YAB_WIRE_TOKEN_SIZE] = "0123456789abcdE";
	struct yab_credentials *ours, *theirs;
	const bool tls = _i & 1;
	struct end client, server;

	ours = tls ? load(folder, YAB_CREDENTIALS_CLIENT, NULL) : NULL;
	theirs = tls ? load(folder, YAB_CREDENTIALS_SERVER, NULL) : NULL;
	end_init(&client, YAB_CREDENTIALS_CLIENT, ours);
	end_init(&server, YAB_CREDENTIALS_SERVER, theirs);
	if (_i < 2)
		client.terms.token = other;
	else if (_i < 4)
		client.terms.token = NULL;
	else if (_i < 6)
		client.terms.role = YAB_WIRE_URGENT;
	else
		client.terms.number = 1;
	meet(&client, &server, true);
	ck_assert_int_eq(server.fd, -1);
	ck_assert_int_eq(client.fd, -1);
	ck_assert_msg(strstr(server.error, _i < 4 ? "has a wrong token" : "another hello"), "%s",
		      server.error);
	ck_assert_msg(strstr(client.error, "closed the connection: see its log") ||
		      strstr(client.error, "lost the connection"), "%s", client.error);
	yab_credentials_free(ours);
	yab_credentials_free(theirs);
}
END_TEST

/* Without TLS in the prefaces, but with it in what follows, and the reverse. */
START_TEST(one_side_plain)
{
	struct yab_credentials *ours = NULL, *theirs = NULL;
	struct end client, server;

	if (_i)
		ours = load(folder, YAB_CREDENTIALS_CLIENT, NULL);
	else
		theirs = load(folder, YAB_CREDENTIALS_SERVER, NULL);
	end_init(&client, YAB_CREDENTIALS_CLIENT, ours);
	end_init(&server, YAB_CREDENTIALS_SERVER, theirs);
	meet(&client, &server, true);
	ck_assert_int_eq(server.fd, -1);
	ck_assert_int_eq(client.fd, -1);
	ck_assert(server.error[0] && client.error[0]);
	ck_assert_ptr_null(strchr(server.error, '\n'));
	yab_credentials_free(ours);
	yab_credentials_free(theirs);
}
END_TEST

static const struct {
	const char *bytes;
	size_t size;
	const char *says;
} garbage[] = {
	{ "GET / HTTP/1.1\r\n\r\n", 18, "TLS with 10.0.0.1:4444 fails: http request" },
	{ "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12, "TLS with 10.0.0.1:4444 fails" },
	/* A record of 64 KiB; one of no type; a handshake that never was. */
	{ "\x16\x03\x01\xff\xff xxxxxxxxxxx", 16, "TLS with 10.0.0.1:4444 fails" },
	{ "\x00\x03\x01\x00\x05 xxxxxxxxxxx", 16, "TLS with 10.0.0.1:4444 fails" },
	{ "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", 10, "TLS with 10.0.0.1:4444 fails" },
	/* An alert: somebody does not like us. */
	{ "\x15\x03\x03\x00\x02\x02\x30", 7, "TLS with 10.0.0.1:4444 fails" },
	/* It ends, at once and amid a record. */
	{ "", 0, "10.0.0.1:4444 closed the connection" },
	{ "\x16\x03\x01\x02\x00\x01\x00", 7, "10.0.0.1:4444 closed the connection" },
};

#define GARBAGE	((int)(sizeof(garbage) / sizeof(*garbage)))

START_TEST(no_tls)
{
	struct yab_credentials *theirs = load(folder, YAB_CREDENTIALS_SERVER, NULL);
	struct end server;
	int ours, fd;

	script_pair_tcp(&ours, &fd);
	end_init(&server, YAB_CREDENTIALS_SERVER, theirs);
	end_start(&server, fd);
	if (garbage[_i].size)
		script_send(ours, garbage[_i].bytes, garbage[_i].size);
	shutdown(ours, SHUT_WR);
	end_await(&server);
	ck_assert_int_eq(server.fd, -1);
	ck_assert_msg(strstr(server.error, garbage[_i].says), "%s", server.error);
	close(ours);
	yab_credentials_free(theirs);
}
END_TEST

/* Neither keeps the other waiting: the good one is through before the silent one is over. */
START_TEST(silent)
{
	struct yab_credentials *theirs = load(folder, YAB_CREDENTIALS_SERVER, NULL);
	struct yab_credentials *ours = load(folder, YAB_CREDENTIALS_CLIENT, NULL);
	struct end client, server, quiet;
	int other, fd;

	end_init(&quiet, _i ? YAB_CREDENTIALS_CLIENT : YAB_CREDENTIALS_SERVER, _i ? ours : theirs);
	script_pair_tcp(&other, &fd);
	end_start(&quiet, fd);
	end_init(&client, YAB_CREDENTIALS_CLIENT, ours);
	end_init(&server, YAB_CREDENTIALS_SERVER, theirs);
	meet(&client, &server, true);
	ck_assert_int_ge(server.fd, 0);
	ck_assert(!quiet.settled);
	yab_opening_cancel(quiet.opening);
	/* Its time is up. */
	script_pair_tcp(&fd, &fd);
	quiet.terms.timeout_ms = 1;
	end_start(&quiet, fd);
	end_await(&quiet);
	ck_assert_int_eq(quiet.fd, -1);
	ck_assert_msg(strstr(quiet.error, "goes silent while the connection is opened (1 s)"), "%s",
		      quiet.error);
	end_drop(&client);
	end_drop(&server);
	close(other);
	yab_credentials_free(ours);
	yab_credentials_free(theirs);
}
END_TEST

/* A client of other making, with its first words said, and the server that they are said to. */
struct other_client {
	SSL_CTX *context;
	SSL *ssl;
	int fd;
	struct yab_credentials *theirs;
};

static void other_start(struct other_client *client, struct end *server, int max_version)
{
	int fd;

	client->context = SSL_CTX_new(TLS_client_method());
	client->ssl = SSL_new(client->context);
	client->theirs = load(folder, YAB_CREDENTIALS_SERVER, NULL);
	SSL_set_max_proto_version(client->ssl, max_version);
	script_pair_tcp(&client->fd, &fd);
	evutil_make_socket_nonblocking(client->fd);
	SSL_set_fd(client->ssl, client->fd);
	ck_assert_int_eq(SSL_connect(client->ssl), -1);
	end_init(server, YAB_CREDENTIALS_SERVER, client->theirs);
	end_start(server, fd);
}

static void other_end(struct other_client *client)
{
	SSL_free(client->ssl);
	SSL_CTX_free(client->context);
	close(client->fd);
	yab_credentials_free(client->theirs);
}

START_TEST(older_tls)
{
	struct other_client client;
	struct end server;

	other_start(&client, &server, TLS1_2_VERSION);
	end_await(&server);
	ck_assert_msg(strstr(server.error, "10.0.0.1:4444 does not speak TLS 1.3"), "%s",
		      server.error);
	other_end(&client);
}
END_TEST

/* One that has no certificate. */
START_TEST(anonymous)
{
	struct other_client client;
	struct end server;

	other_start(&client, &server, TLS1_3_VERSION);
	while (!server.settled) {
		event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
		SSL_do_handshake(client.ssl);
	}
	ck_assert_msg(strstr(server.error, "10.0.0.1:4444 has no certificate"), "%s",
		      server.error);
	other_end(&client);
}
END_TEST

/* One that never stops, whether it is being parted from or has run out of time. */
START_TEST(flooding)
{
	struct yab_credentials *theirs = load(folder, YAB_CREDENTIALS_SERVER, NULL);
	static const uint8_t flood[65536];
	struct end server;
	int ours, fd;

	script_pair_tcp(&ours, &fd);
	evutil_make_socket_nonblocking(ours);
	end_init(&server, YAB_CREDENTIALS_SERVER, theirs);
	server.terms.timeout_ms = 1000;
	end_start(&server, fd);
	if (_i) {
		/* The start of a record that never ends: it is waited for. */
		ck_assert_int_eq(write(ours, "\x16\x03\x01\x40\x00", 5), 5);
		while (!server.settled) {
			(void)!write(ours, flood, 1);
			event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
		}
	}
	while (!server.settled) {
		(void)!write(ours, flood, sizeof(flood));
		event_base_loop(base, EVLOOP_ONCE);
	}
	ck_assert_int_eq(server.fd, -1);
	ck_assert(server.error[0]);
	end_drop(&server);
	close(ours);
	yab_credentials_free(theirs);
}
END_TEST

/* Ended anywhere between. */
START_TEST(closed_amid)
{
	struct yab_credentials *theirs = load(folder, YAB_CREDENTIALS_SERVER, NULL);
	struct yab_credentials *ours = load(folder, YAB_CREDENTIALS_CLIENT, NULL);
	struct end client, server;
	int a, b;

	end_init(&client, YAB_CREDENTIALS_CLIENT, ours);
	end_init(&server, YAB_CREDENTIALS_SERVER, theirs);
	script_pair_tcp(&a, &b);
	end_start(&client, a);
	end_start(&server, b);
	for (int turns = _i; turns && !client.settled && !server.settled; turns--)
		event_base_loop(base, EVLOOP_ONCE);
	if (_i & 1) {
		yab_opening_cancel(client.opening);
		client.opening = NULL;
		end_drop(&client);
		end_await(&server);
		ck_assert(server.fd >= 0 || strstr(server.error, "connection"));
		end_drop(&server);
	} else {
		end_drop(&server);
		end_await(&client);
		ck_assert(client.fd >= 0 || strstr(client.error, "connection"));
		end_drop(&client);
	}
	yab_credentials_free(ours);
	yab_credentials_free(theirs);
}
END_TEST

/* What is wrong with the files themselves. */
static void spoil(const char *name, const char *text, mode_t mode)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	if (text) {
		fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		ck_assert_int_ge(fd, 0);
		ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
		close(fd);
	}
	if (mode)
		ck_assert_int_eq(chmod(path, mode), 0);
	else if (!text)
		ck_assert_int_eq(unlink(path), 0);
}

static const struct {
	const char *file, *text;
	mode_t mode;
	const char *says;
} spoiled[] = {
	{ "ca-cert.pem", NULL, 0, "ca-cert.pem does not exist: make it" },
	{ "server-cert.pem", NULL, 0, "server-cert.pem does not exist: make it" },
	{ "server-key.pem", NULL, 0, "server-key.pem does not exist: make it" },
	{ "server-key.pem", NULL, 0644, "is open to others: chmod 0600 /" },
	{ "server-key.pem", NULL, 0660, "is open to others: chmod 0600 /" },
	{ "server-key.pem", "nonsense", 0600, "server-key.pem has no key in it that can be read" },
	{ "server-key.pem", "", 0600, "has no key in it" },
	{ "server-cert.pem", "nonsense", 0600, "server-cert.pem has no certificate in it" },
	{ "client-key.pem", NULL, 0, NULL },
	{ "client-key.pem", NULL, 0644, NULL },
};

#define SPOILED	((int)(sizeof(spoiled) / sizeof(*spoiled)))

START_TEST(spoiled_files)
{
	struct yab_credentials *credentials;
	char error[512] = "";

	spoil(spoiled[_i].file, spoiled[_i].text, spoiled[_i].mode);
	credentials = yab_credentials_load(folder, YAB_CREDENTIALS_SERVER, NULL, error,
					   sizeof(error));
	if (spoiled[_i].says) {
		ck_assert_ptr_null(credentials);
		ck_assert_msg(strstr(error, spoiled[_i].says), "%s", error);
		ck_assert(strstr(error, folder) == error);
	} else {
		ck_assert_msg(credentials, "%s", error);
	}
	yab_credentials_free(credentials);
}
END_TEST

static const struct {
	struct certificates_wish wish;
	const char *says;
} own[] = {
	{ { .side = "server", .name = "x", .from = -7200, .until = -60 },
	  "server-cert.pem has expired (20" },
	{ { .side = "server", .name = "x", .from = 3600, .until = 7200 },
	  "is not valid before 20" },
};

START_TEST(own_certificate)
{
	char error[512];

	certificates_issue(folder, &authority, &own[_i].wish);
	ck_assert_ptr_null(yab_credentials_load(folder, YAB_CREDENTIALS_SERVER, NULL, error,
						sizeof(error)));
	ck_assert_msg(strstr(error, own[_i].says), "%s", error);
}
END_TEST

START_TEST(key_of_another)
{
	char from[256], to[256], error[512];

	snprintf(from, sizeof(from), "%s/client-key.pem", folder);
	snprintf(to, sizeof(to), "%s/server-key.pem", folder);
	ck_assert_int_eq(rename(from, to), 0);
	ck_assert_ptr_null(yab_credentials_load(folder, YAB_CREDENTIALS_SERVER, NULL, error,
						sizeof(error)));
	ck_assert_msg(strstr(error, "server-key.pem is not the key of server-cert.pem"), "%s",
		      error);
}
END_TEST

/* A folder with a CA file that is none fails when it is used, not before. */
START_TEST(no_authority)
{
	struct yab_credentials *credentials;
	char error[512] = "";
	int a, b;

	spoil(_i ? "ca-crl.pem" : "ca-cert.pem", "nonsense", 0600);
	credentials = load(folder, YAB_CREDENTIALS_SERVER, NULL);
	script_pair(&a, &b);
	ck_assert_ptr_null(yab_tls_new(credentials, a, "x", NULL, true, error, sizeof(error)));
	ck_assert_msg(strstr(error, _i ? "ca-crl.pem has no rev" : "ca-cert.pem has no cert"), "%s",
		      error);
	yab_credentials_free(credentials);
	close(a);
	close(b);
}
END_TEST

START_TEST(exported)
{
	struct yab_credentials *credentials, *copy;
	json_t *peers = json_pack("[s]", "host1");
	int fd;

	certificates_revoke(folder, &authority, NULL);
	credentials = load(folder, YAB_CREDENTIALS_SERVER, peers);
	fd = yab_credentials_export(credentials);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, "x", 1), -1);
	ck_assert_int_eq(ftruncate(fd, 0), -1);
	copy = yab_credentials_import(fd);
	ck_assert_ptr_nonnull(copy);
	ck_assert_int_eq(yab_credentials_side(copy), YAB_CREDENTIALS_SERVER);
	ck_assert(json_equal(yab_credentials_peers(copy), yab_credentials_peers(credentials)));
	yab_credentials_free(copy);
	yab_credentials_free(credentials);
	close(fd);
	fd = memfd_create("empty", MFD_CLOEXEC);
	ck_assert_ptr_null(yab_credentials_import(fd));
	close(fd);
}
END_TEST

/* A file in place of another, which is another file then. */
static void replace_file(const char *name, const char *more)
{
	char path[256], next[512], text[65536];
	size_t length;
	FILE *stream;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	snprintf(next, sizeof(next), "%s.next", path);
	stream = fopen(path, "re");
	ck_assert_ptr_nonnull(stream);
	length = fread(text, 1, sizeof(text), stream);
	fclose(stream);
	stream = fopen(next, "we");
	ck_assert_ptr_nonnull(stream);
	fputs(more, stream);
	ck_assert_uint_eq(fwrite(text, 1, length, stream), length);
	ck_assert_int_eq(fclose(stream), 0);
	ck_assert_int_eq(chmod(next, 0600), 0);
	ck_assert_int_eq(rename(next, path), 0);
}

/* Files are read when they are new, and else they are what they were. */
START_TEST(remembered)
{
	static const char * const names[] = { "ca-cert.pem", "server-cert.pem", "server-key.pem" };
	struct yab_security_cache cache = { .sides = { NULL } };
	const struct yab_security kept = { .folder = folder, .cache = &cache };
	struct yab_credentials *first, *second;
	char error[512], path[256];

	first = yab_security_credentials(&kept, YAB_CREDENTIALS_SERVER, error, sizeof(error));
	ck_assert_msg(first, "%s", error);
	second = yab_security_credentials(&kept, YAB_CREDENTIALS_SERVER, error, sizeof(error));
	ck_assert_ptr_eq(first, second);
	yab_credentials_free(second);
	/* A client's are others. */
	second = yab_security_credentials(&kept, YAB_CREDENTIALS_CLIENT, error, sizeof(error));
	ck_assert_ptr_nonnull(second);
	ck_assert_ptr_ne(first, second);
	yab_credentials_free(second);
	for (int i = 0; i < 3; i++) {
		replace_file(names[i], "");
		second = yab_security_credentials(&kept, YAB_CREDENTIALS_SERVER, error,
						  sizeof(error));
		ck_assert_msg(second, "%s", error);
		ck_assert_ptr_ne(first, second);
		yab_credentials_free(first);
		first = second;
	}
	/* One that was not there; one that others may read; one that is gone. */
	certificates_revoke(folder, &authority, NULL);
	second = yab_security_credentials(&kept, YAB_CREDENTIALS_SERVER, error, sizeof(error));
	ck_assert_msg(second, "%s", error);
	ck_assert_ptr_ne(first, second);
	snprintf(path, sizeof(path), "%s/server-key.pem", folder);
	ck_assert_int_eq(chmod(path, 0644), 0);
	ck_assert_ptr_null(yab_security_credentials(&kept, YAB_CREDENTIALS_SERVER, error,
						    sizeof(error)));
	ck_assert_msg(strstr(error, "chmod 0600"), "%s", error);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_ptr_null(yab_security_credentials(&kept, YAB_CREDENTIALS_SERVER, error,
						    sizeof(error)));
	ck_assert_msg(strstr(error, "does not exist"), "%s", error);
	/* Who has them keeps them. */
	ck_assert_int_eq(yab_credentials_side(first), YAB_CREDENTIALS_SERVER);
	yab_credentials_free(first);
	yab_credentials_free(second);
	yab_security_forget(&cache);
}
END_TEST

/* A certificate that expires while it is remembered is not used any more. */
START_TEST(remembered_too_long)
{
	struct yab_credentials *credentials = load(folder, YAB_CREDENTIALS_SERVER, NULL);
	const time_t now = time(NULL);

	ck_assert(yab_credentials_is_current(credentials, folder, now));
	ck_assert(!yab_credentials_is_current(credentials, folder, now + 1000L * 86400));
	ck_assert(!yab_credentials_is_current(credentials, folder, now - 1000L * 86400));
	ck_assert(!yab_credentials_is_current(credentials, foreign, now));
	yab_credentials_free(credentials);
}
END_TEST

/* PEM files have what people like in front of the PEM, in whatever they write. */
START_TEST(odd_comments)
{
	struct yab_credentials *credentials[2];
	struct end client, server;
	int fd;

	replace_file("ca-cert.pem", "Beh\xf6rde\n");
	replace_file("server-cert.pem", "Schl\xfcssel \xff\xfe\n");
	replace_file("client-key.pem", "\xe9\n");
	for (int side = 0; side < 2; side++) {
		struct yab_credentials *ours = load(folder, side, NULL);

		fd = yab_credentials_export(ours);
		ck_assert_int_ge(fd, 0);
		yab_credentials_free(ours);
		credentials[side] = yab_credentials_import(fd);
		ck_assert_ptr_nonnull(credentials[side]);
		close(fd);
	}
	end_init(&client, YAB_CREDENTIALS_CLIENT, credentials[YAB_CREDENTIALS_CLIENT]);
	end_init(&server, YAB_CREDENTIALS_SERVER, credentials[YAB_CREDENTIALS_SERVER]);
	meet(&client, &server, false);
	ck_assert_msg(client.fd >= 0, "%s", client.error);
	ck_assert_msg(server.fd >= 0, "%s", server.error);
	end_drop(&client);
	end_drop(&server);
	yab_credentials_free(credentials[0]);
	yab_credentials_free(credentials[1]);
}
END_TEST

/* Who must have TLS. */
static const struct {
	const char *address;
	bool loopback;
} addresses[] = {
	{ "127.0.0.1:1", true }, { "127.1.2.3:1", true }, { "[::1]:1", true },
	{ "[::ffff:127.0.0.1]:1", true }, { "10.0.0.1:1", false }, { "0.0.0.0:1", false },
	{ "[::]:1", false }, { "[::ffff:10.0.0.1]:1", false }, { "128.0.0.1:1", false },
};

#define ADDRESSES	((int)(sizeof(addresses) / sizeof(*addresses)))

START_TEST(who_must)
{
	const struct yab_security plain = { .plain = true }, tls = { .folder = folder };
	const struct yab_security missing = { .folder = "/nonexistent" }, unset = { 0 };
	const bool loopback = addresses[_i].loopback;
	struct sockaddr_storage storage;
	struct sockaddr *address = (struct sockaddr *)&storage;
	int length = sizeof(storage);
	char error[512];

	ck_assert_int_eq(evutil_parse_sockaddr_port(addresses[_i].address, address, &length), 0);
	ck_assert_int_eq(yab_security_outgoing(&plain, address, error, sizeof(error)), 0);
	ck_assert_int_eq(yab_security_outgoing(&tls, address, error, sizeof(error)), 1);
	/* A folder was named: no way around it, and the files are missed by name. */
	ck_assert_int_eq(yab_security_outgoing(&missing, address, error, sizeof(error)), 1);
	ck_assert(yab_security_incoming(&plain, address, false, error, sizeof(error)));
	ck_assert(yab_security_incoming(&tls, address, true, error, sizeof(error)));
	/* It is known before TLS begins that nothing will come of it. */
	ck_assert(!yab_security_incoming(&missing, address, true, error, sizeof(error)));
	ck_assert_msg(strstr(error, "/nonexistent/ca-cert.pem does not exist"), "%s", error);
	/* Also within the host: a local user needs a certificate as anybody does. */
	ck_assert(!yab_security_incoming(&tls, address, false, error, sizeof(error)));
	ck_assert_msg(strstr(error, "--plain"), "%s", error);
	if (yab_security_outgoing(&unset, address, error, sizeof(error)) <= 0)
		ck_assert_int_eq(yab_security_incoming(&unset, address, false, error,
						       sizeof(error)), loopback);
	ck_assert_int_eq(yab_security_listen(&plain, address, error, sizeof(error)), 0);
	ck_assert_int_eq(yab_security_listen(&tls, address, error, sizeof(error)), 0);
	ck_assert_int_eq(yab_security_listen(&missing, address, error, sizeof(error)), -1);
	ck_assert_msg(strstr(error, "/nonexistent/ca-cert.pem does not exist"), "%s", error);
	ck_assert(strstr(error, "--plain"));
}
END_TEST

/* Sockets: both ends in one loop, each sending and receiving at the same time. */

#define TOTAL	(6 * 1024 * 1024)

struct flow {
	struct yab_socket socket;
	struct flow *other;
	uint64_t random;
	int file;		/* what is sent, as a file */
	const uint8_t *bytes;	/* and mapped */
	size_t sent, received;
	size_t step;		/* received at once; 0: all sorts */
	int ended;		/* the errno that ended it, -1: not yet */
	bool holding;		/* receives nothing */
};

static struct script_memory content;

static void flow_readable(evutil_socket_t fd, short what, void *arg)
{
	uint8_t buffer[3][20000];
	struct flow *flow = arg;
	struct iovec iov[3];
	size_t expected = 0;
	ssize_t n;

	(void)fd;
	(void)what;
	ck_assert(!flow->holding);
	for (int i = 0; i < 3; i++) {
		iov[i].iov_base = buffer[i];
		iov[i].iov_len = flow->step ? flow->step :
				 1 + script_random(&flow->random) % sizeof(buffer[i]);
		expected += iov[i].iov_len;
	}
	n = yab_socket_receive(&flow->socket, iov, 3);
	if (n < 0) {
		flow->ended = errno;
		yab_socket_close(&flow->socket);
		return;
	}
	ck_assert_uint_le((size_t)n, expected);
	for (int i = 0; i < 3 && n; i++) {
		size_t part = iov[i].iov_len < (size_t)n ? iov[i].iov_len : (size_t)n;

		ck_assert_mem_eq(buffer[i], flow->other->bytes + flow->received, part);
		flow->received += part;
		n -= (ssize_t)part;
	}
	if (flow->received == TOTAL && flow->other->received == TOTAL)
		event_base_loopbreak(base);
}

/* Sends a little of everything; what it tries next has nothing to do with what failed. */
static void flow_writable(evutil_socket_t fd, short what, void *arg)
{
	struct flow *flow = arg;
	ssize_t n = 1;

	(void)fd;
	(void)what;
	for (int i = 0; i < 8 && n > 0 && flow->sent < TOTAL; i++) {
		size_t size = 1 + script_random(&flow->random) % 70000;
		const uint8_t *at = flow->bytes + flow->sent;
		uint8_t copy[70000];

		if (size > TOTAL - flow->sent)
			size = TOTAL - flow->sent;
		if (script_random(&flow->random) % 2) {
			n = yab_socket_send_file(&flow->socket, flow->file, (off_t)flow->sent,
						 size);
			if (n < 0 && errno == EOPNOTSUPP)
				n = yab_socket_send(&flow->socket, at, size, false);
		} else {
			/* From a place that is gone when it is tried again. */
			memcpy(copy, at, size);
			n = yab_socket_send(&flow->socket, copy, size,
					    script_random(&flow->random) % 2);
			memset(copy, 0, size);
		}
		if (n < 0) {
			flow->ended = errno;
			yab_socket_close(&flow->socket);
			return;
		}
		flow->sent += (size_t)n;
	}
	ck_assert_int_eq(yab_socket_await_room(&flow->socket, flow->sent < TOTAL), 0);
}

static void flow_open(struct flow *flow, struct flow *other, int fd, SSL *ssl)
{
	memset(flow, 0, sizeof(*flow));
	flow->other = other;
	flow->ended = -1;
	flow->file = content.fd;
	flow->bytes = content.bytes;
	flow->random = ssl ? 7 : 9;
	yab_socket_init(&flow->socket, YAB_WIRE_BULK);
	ck_assert_int_eq(yab_socket_open(&flow->socket, base, fd, ssl, flow_readable,
					 flow_writable, flow), 0);
}

static void flows_open_with(struct flow *a, struct flow *b, bool tls, bool tcp, bool kernel)
{
	/* TCP takes little steps badly, and waits. */
	const int small = tcp ? 65536 : 8192;
	struct end client = { .fd = -1 }, server = { .fd = -1 };

	script_memory_make(&content, TOTAL / SCRIPT_PAGE);
	for (uint64_t page = 0; page < content.pages; page++)
		script_fill(script_at(&content, page), page, 3);
	if (tls)
		open_both_with(&client, &server, tcp, kernel);
	else
		pair_over(tcp, &client.fd, &server.fd);
	/* So that writes end amid a record. */
	setsockopt(client.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	setsockopt(server.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	flow_open(a, b, client.fd, client.ssl);
	flow_open(b, a, server.fd, server.ssl);
	b->random = 11;
}

static void flows_open(struct flow *a, struct flow *b, bool tls, bool tcp)
{
	flows_open_with(a, b, tls, tcp, true);
}

static void flows_close(struct flow *a, struct flow *b)
{
	yab_socket_close(&a->socket);
	yab_socket_close(&b->socket);
	script_memory_drop(&content);
}

START_TEST(both_directions)
{
	struct flow a, b;

	flows_open(&a, &b, _i & 1, _i & 2);
	yab_socket_await_data(&a.socket, true);
	yab_socket_await_data(&b.socket, true);
	yab_socket_await_room(&a.socket, true);
	yab_socket_await_room(&b.socket, true);
	event_base_dispatch(base);
	ck_assert_uint_eq(a.received, TOTAL);
	ck_assert_uint_eq(b.received, TOTAL);
	ck_assert_int_eq(a.ended, -1);
	ck_assert_int_eq(b.ended, -1);
	flows_close(&a, &b);
}
END_TEST

static void receive_all(struct flow *flow, size_t size)
{
	while (flow->received < size) {
		const size_t before = flow->received;

		script_settle(base);
		ck_assert_msg(flow->received > before, "stuck at %zu of %zu", before, size);
	}
}

/*
 * One record, taken a few bytes at a time: after the first look the socket knows nothing of
 * the rest. And again after a time in which nothing was wanted.
 */
START_TEST(pending)
{
	struct flow a, b;

	flows_open(&a, &b, true, true);
	b.step = 8;
	ck_assert_int_eq(yab_socket_send(&a.socket, content.bytes, 4000, false), 4000);
	ck_assert_int_eq(yab_socket_await_data(&b.socket, true), 0);
	while (!b.received)
		event_base_loop(base, EVLOOP_ONCE);
	ck_assert_uint_eq(b.received, 24);
	ck_assert_int_eq(yab_socket_await_data(&b.socket, false), 0);
	b.holding = true;
	script_settle(base);
	ck_assert_uint_eq(b.received, 24);
	b.holding = false;
	ck_assert_int_eq(yab_socket_await_data(&b.socket, true), 0);
	receive_all(&b, 4000);
	ck_assert_uint_eq(b.received, 4000);
	flows_close(&a, &b);
}
END_TEST

/* One message of TLS that is no data, before, amid and behind what is. */
static void change_keys(SSL *ssl)
{
	ck_assert_int_eq(SSL_key_update(ssl, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
	ck_assert_int_eq(SSL_do_handshake(ssl), 1);
}

START_TEST(keys_change)
{
	struct flow a, b;

	/* Kernel TLS changes no keys. */
	flows_open_with(&a, &b, true, true, false);
	b.step = 8;
	for (int i = 0; i < 8; i++) {
		change_keys(a.socket.ssl);
		ck_assert_int_eq(yab_socket_send(&a.socket, content.bytes + i * 500, 500, false),
				 500);
		change_keys(a.socket.ssl);
	}
	ck_assert_int_eq(yab_socket_await_data(&b.socket, true), 0);
	while (b.received < 4000)
		event_base_loop(base, EVLOOP_ONCE);
	ck_assert_int_eq(b.ended, -1);
	flows_close(&a, &b);
}
END_TEST

/* And no end of them: no call gets lost in it, and the connection ends. */
START_TEST(keys_change_for_ever)
{
	struct flow a, b;
	int sent = 0;

	flows_open_with(&a, &b, true, true, false);
	ck_assert_int_eq(yab_socket_await_data(&b.socket, true), 0);
	while (sent < 10000 && SSL_key_update(a.socket.ssl, SSL_KEY_UPDATE_NOT_REQUESTED) == 1 &&
	       SSL_do_handshake(a.socket.ssl) == 1)
		sent++;
	ERR_clear_error();
	ck_assert_int_gt(sent, 100);
	while (b.ended < 0)
		event_base_loop(base, EVLOOP_ONCE);
	ck_assert_int_eq(b.ended, EBADMSG);
	flows_close(&a, &b);
}
END_TEST

/* A host that is gone without a word is noticed on page connections, too. */
START_TEST(silence_has_an_end)
{
	static const struct {
		int level, name, value;
	} options[] = {
		{ SOL_SOCKET, SO_KEEPALIVE, 1 },
		{ IPPROTO_TCP, TCP_USER_TIMEOUT, 10000 },
		{ IPPROTO_TCP, TCP_KEEPIDLE, 4 },
		{ IPPROTO_TCP, TCP_KEEPINTVL, 2 },
		{ IPPROTO_TCP, TCP_KEEPCNT, 3 },
	};
	struct flow a, b;
	socklen_t size;
	int value;

	flows_open(&a, &b, _i, true);
	for (size_t i = 0; i < sizeof(options) / sizeof(*options); i++) {
		size = sizeof(value);
		ck_assert_int_eq(getsockopt(a.socket.fd, options[i].level, options[i].name, &value,
					    &size), 0);
		ck_assert_int_eq(value, options[i].value);
	}
	flows_close(&a, &b);
}
END_TEST

/* What was sent with more to come leaves when nothing more comes, and fits into one record. */
START_TEST(more)
{
	struct flow a, b;

	flows_open(&a, &b, true, true);
	ck_assert_int_eq(yab_socket_await_data(&b.socket, true), 0);
	for (int i = 0; i < 10; i++)
		ck_assert_int_eq(yab_socket_send(&a.socket, content.bytes + i * 24, 24, true), 24);
	script_settle(base);
	ck_assert_uint_eq(b.received, 0);
	ck_assert_int_eq(yab_socket_await_room(&a.socket, false), 0);
	receive_all(&b, 240);
	ck_assert_uint_eq(a.socket.records, 1);
	flows_close(&a, &b);
}
END_TEST

/* What the socket does not take at once leaves by itself, without its owner. */
START_TEST(left_behind)
{
	struct flow a, b;
	size_t sent = 0;
	ssize_t n;

	flows_open(&a, &b, true, true);
	while ((n = yab_socket_send(&a.socket, content.bytes + sent, 16384, false)) > 0)
		sent += (size_t)n;
	ck_assert_int_eq(n, 0);
	ck_assert(a.socket.record_begun);
	ck_assert_int_eq(yab_socket_await_room(&a.socket, false), 0);
	ck_assert_int_eq(yab_socket_await_data(&b.socket, true), 0);
	while (b.received < sent)
		event_base_loop(base, EVLOOP_ONCE);
	ck_assert(!a.socket.record_begun);
	flows_close(&a, &b);
}
END_TEST

/* An end in order, and one that is not. */
START_TEST(ends)
{
	static const char forged[] = "\x17\x03\x03\x00\x20 what comes from somebody in between";
	static const int reasons[] = { 0, ECONNRESET, EBADMSG };
	struct flow a, b;

	flows_open(&a, &b, true, true);
	/* The kernel would encrypt what is forged, too. */
	if (_i == 2 && BIO_get_ktls_send(SSL_get_wbio(a.socket.ssl))) {
		flows_close(&a, &b);
		return;
	}
	ck_assert_int_eq(yab_socket_send(&a.socket, content.bytes, 100, false), 100);
	ck_assert_int_eq(yab_socket_await_data(&b.socket, true), 0);
	if (_i == 0)
		yab_socket_close(&a.socket);
	else if (_i == 1)
		shutdown(a.socket.fd, SHUT_WR);
	else
		script_send(a.socket.fd, forged, sizeof(forged) - 1);
	while (b.ended == -1)
		event_base_loop(base, EVLOOP_ONCE);
	/* What came before it is not lost. */
	ck_assert_uint_eq(b.received, 100);
	ck_assert_int_eq(b.ended, reasons[_i]);
	ck_assert(!yab_socket_is_open(&b.socket));
	flows_close(&a, &b);
}
END_TEST

/* A write fails while nothing is received: the owner is told when it looks. */
START_TEST(write_fails)
{
	struct flow a, b;
	ssize_t n = 1;

	flows_open(&a, &b, true, true);
	yab_socket_close(&b.socket);
	for (int i = 0; i < 1000 && n >= 0; i++)
		n = yab_socket_send(&a.socket, content.bytes, 16384, false);
	ck_assert_int_eq(n, -1);
	ck_assert_int_ne(errno, 0);
	ck_assert_int_eq(yab_socket_await_data(&a.socket, true), 0);
	while (a.ended == -1)
		event_base_loop(base, EVLOOP_ONCE);
	flows_close(&a, &b);
}
END_TEST

START_TEST(keys_wear_out)
{
	struct flow a, b;

	flows_open(&a, &b, true, true);
	a.socket.records = UINT64_C(1) << 24;
	ck_assert_int_eq(yab_socket_send(&a.socket, "x", 1, false), -1);
	ck_assert_int_eq(errno, EKEYEXPIRED);
	ck_assert_int_eq(yab_socket_send_file(&a.socket, a.file, 0, 65536), -1);
	ck_assert_int_eq(errno, EKEYEXPIRED);
	ck_assert(strstr(yab_socket_reason(EKEYEXPIRED), "keys are used up"));
	flows_close(&a, &b);
}
END_TEST

/* Control connections: two peers, device state both ways, messages, an ERROR at the end. */

struct side {
	struct yab_peer *peer;
	size_t sent, received;
	int messages;
	char lost[512];
	bool answered;
};

#define STATE_TOTAL	(3 * 1024 * 1024)

static void side_message(enum yab_wire_type type, json_t *json, void *arg)
{
	struct side *side = arg;

	(void)type;
	(void)json;
	side->messages++;
}

static void side_state(const void *data, size_t length, void *arg)
{
	struct side *side = arg;

	ck_assert_mem_eq(data, content.bytes + side->received, length);
	side->received += length;
	/* Now and then it does not read for a turn. */
	if (side->received % 5 == 0) {
		yab_peer_pause(side->peer, true);
		yab_peer_pause(side->peer, false);
	}
}

static void side_send(void *arg)
{
	struct side *side = arg;
	size_t size;

	while (side->sent < STATE_TOTAL && !yab_peer_congested(side->peer)) {
		size = 1 + side->sent * 7 % YAB_WIRE_STATE_MAX;
		if (size > STATE_TOTAL - side->sent)
			size = STATE_TOTAL - side->sent;
		ck_assert_int_eq(yab_peer_send_state(side->peer, content.bytes + side->sent, size),
				 0);
		side->sent += size;
		if (side->sent == STATE_TOTAL)
			ck_assert_int_eq(yab_peer_send(side->peer, YAB_WIRE_EVENT,
						       json_pack("{s:s}", "event", "end")), 0);
	}
}

static void side_lost(const char *error, bool answered, void *arg)
{
	struct side *side = arg;

	snprintf(side->lost, sizeof(side->lost), "%s", error);
	side->answered = answered;
	yab_peer_free(side->peer);
	side->peer = NULL;
}

static const struct yab_peer_ops side_ops = {
	.message = side_message,
	.state = side_state,
	.drained = side_send,
	.lost = side_lost,
};

/* The same to a control connection. */
START_TEST(control_keys_change_for_ever)
{
	struct side b = { .sent = 0 };
	struct end client, server;
	int sent = 0;

	open_both_with(&client, &server, true, false);
	b.peer = yab_peer_new(base, server.fd, server.ssl, "host1", &side_ops, &b);
	while (sent < 5000 && SSL_key_update(client.ssl, SSL_KEY_UPDATE_NOT_REQUESTED) == 1 &&
	       SSL_do_handshake(client.ssl) == 1)
		sent++;
	ERR_clear_error();
	while (!b.lost[0])
		event_base_loop(base, EVLOOP_ONCE);
	ck_assert_msg(strstr(b.lost, "changes its keys again and again"), "%s", b.lost);
	end_drop(&client);
}
END_TEST

START_TEST(peers)
{
	struct side a = { .sent = 0 }, b = { .sent = 0 };
	const struct linger reset = { .l_onoff = 1 };
	struct end client, server;

	script_memory_make(&content, STATE_TOTAL / SCRIPT_PAGE);
	for (uint64_t page = 0; page < content.pages; page++)
		script_fill(script_at(&content, page), page, 4);
	open_both(&client, &server, true);
	a.peer = yab_peer_new(base, client.fd, client.ssl, "host2", &side_ops, &a);
	b.peer = yab_peer_new(base, server.fd, server.ssl, "host1", &side_ops, &b);
	ck_assert(a.peer && b.peer);
	side_send(&a);
	side_send(&b);
	while (!a.messages || !b.messages)
		ck_assert_int_eq(event_base_loop(base, EVLOOP_ONCE), 0);
	ck_assert_uint_eq(a.received, STATE_TOTAL);
	ck_assert_uint_eq(b.received, STATE_TOTAL);
	ck_assert_str_eq(a.lost, "");
	if (_i == 0) {
		yab_peer_fail(a.peer, "sorry");
		a.peer = NULL;
	} else if (_i == 1) {
		yab_peer_finish(a.peer);
		a.peer = NULL;
	} else {
		/* As when the process dies, or somebody resets the connection. */
		if (_i == 3)
			setsockopt(client.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		yab_peer_free(a.peer);
		a.peer = NULL;
	}
	while (!b.lost[0])
		ck_assert_int_eq(event_base_loop(base, EVLOOP_ONCE), 0);
	ck_assert_int_eq(b.answered, _i == 0);
	if (_i == 0)
		ck_assert_str_eq(b.lost, "sorry");
	else
		ck_assert_msg(strstr(b.lost, "host1") || strstr(b.lost, "10.0.0.1"), "%s", b.lost);
	if (_i == 3)
		ck_assert_msg(strstr(b.lost, "(Connection reset by peer)"), "%s", b.lost);
	ck_assert_ptr_null(strchr(b.lost, '\n'));
	event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
	script_memory_drop(&content);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("tls");
	TCase *tcase = tcase_create("tls");

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, good);
	tcase_add_loop_test(tcase, good_plain, 0, 2);
	tcase_add_loop_test(tcase, refused, 0, REFUSALS);
	tcase_add_loop_test(tcase, revoked, 0, 2);
	tcase_add_loop_test(tcase, allowed, 0, PATTERNS);
	tcase_add_loop_test(tcase, wrong_hello, 0, 8);
	tcase_add_loop_test(tcase, one_side_plain, 0, 2);
	tcase_add_loop_test(tcase, no_tls, 0, GARBAGE);
	tcase_add_loop_test(tcase, silent, 0, 2);
	tcase_add_loop_test(tcase, flooding, 0, 2);
	tcase_add_test(tcase, older_tls);
	tcase_add_test(tcase, anonymous);
	tcase_add_loop_test(tcase, closed_amid, 0, 10);
	tcase_add_loop_test(tcase, spoiled_files, 0, SPOILED);
	tcase_add_loop_test(tcase, own_certificate, 0, 2);
	tcase_add_test(tcase, key_of_another);
	tcase_add_loop_test(tcase, no_authority, 0, 2);
	tcase_add_test(tcase, exported);
	tcase_add_loop_test(tcase, who_must, 0, ADDRESSES);
	tcase_add_loop_test(tcase, both_directions, 0, 4);
	tcase_add_test(tcase, pending);
	tcase_add_test(tcase, keys_change);
	tcase_add_test(tcase, keys_change_for_ever);
	tcase_add_test(tcase, control_keys_change_for_ever);
	tcase_add_loop_test(tcase, silence_has_an_end, 0, 2);
	tcase_add_test(tcase, remembered);
	tcase_add_test(tcase, remembered_too_long);
	tcase_add_test(tcase, odd_comments);
	tcase_add_test(tcase, more);
	tcase_add_test(tcase, left_behind);
	tcase_add_loop_test(tcase, ends, 0, 3);
	tcase_add_test(tcase, write_fails);
	tcase_add_test(tcase, keys_wear_out);
	tcase_add_loop_test(tcase, peers, 0, 4);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}

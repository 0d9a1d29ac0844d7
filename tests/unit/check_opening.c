// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * How connections are opened: real handshakes between both sides, good and bad. Certificates are
 * made for each test.
 */
#define _GNU_SOURCE 1
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../daemon/tls.h"
#include "endpoint.h"

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

START_TEST(good)
{
	struct endpoint client, server;
	char text[256], byte;
	size_t n;

	endpoints_open(&client, &server, true, true);
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
	endpoint_drop(&client);
	endpoint_drop(&server);
}
END_TEST

/* The same exchange without TLS. */
START_TEST(good_plain)
{
	struct endpoint client, server;

	endpoint_init(&client, YAB_CREDENTIALS_CLIENT, NULL);
	endpoint_init(&server, YAB_CREDENTIALS_SERVER, NULL);
	endpoints_meet(&client, &server, _i);
	ck_assert_int_ge(client.fd, 0);
	ck_assert_int_ge(server.fd, 0);
	ck_assert_ptr_null(client.ssl);
	ck_assert_ptr_null(server.ssl);
	endpoint_drop(&client);
	endpoint_drop(&server);
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
	  .client_says = "refuses this host's certificate: the name that it used may not be in it",
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
	  .server_says = "certificate: the name that it used" },
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
	const char *ours_from = endpoints.folder, *theirs_from = endpoints.folder;
	struct yab_credentials *ours, *theirs;
	struct endpoint client, server;
	bool is_client = wish->side[0] == 'c';

	if (!refusals[_i].foreign) {
		certificates_issue(endpoints.folder, &endpoints.authority, wish);
	} else {
		certificates_issue(endpoints.foreign, &endpoints.stranger, wish);
		*(is_client ? &ours_from : &theirs_from) = endpoints.foreign;
	}
	ours = load_blindly(ours_from, "client");
	if (refusals[_i].allow)
		theirs = certificates_load(theirs_from, YAB_CREDENTIALS_SERVER,
					   json_pack("[s, s]", "nobody", refusals[_i].allow));
	else
		theirs = load_blindly(theirs_from, "server");
	endpoint_init(&client, YAB_CREDENTIALS_CLIENT, ours);
	endpoint_init(&server, YAB_CREDENTIALS_SERVER, theirs);
	if (refusals[_i].host)
		client.terms.host = refusals[_i].host;
	endpoints_meet(&client, &server, true);
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
	struct endpoint client, server;

	certificates_revoke(endpoints.folder, &endpoints.authority, _i ? "client" : NULL);
	ours = endpoints_credentials(YAB_CREDENTIALS_CLIENT);
	theirs = endpoints_credentials(YAB_CREDENTIALS_SERVER);
	endpoint_init(&client, YAB_CREDENTIALS_CLIENT, ours);
	endpoint_init(&server, YAB_CREDENTIALS_SERVER, theirs);
	endpoints_meet(&client, &server, true);
	ck_assert_int_eq(client.fd >= 0, !_i);
	ck_assert_int_eq(server.fd >= 0, !_i);
	if (_i) {
		ck_assert_msg(strstr(server.error, "has been revoked"), "%s", server.error);
		ck_assert_msg(strstr(client.error, "was revoked"), "%s", client.error);
	}
	endpoint_drop(&client);
	endpoint_drop(&server);
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
	struct yab_credentials *ours = endpoints_credentials(YAB_CREDENTIALS_CLIENT);
	struct yab_credentials *theirs;
	struct endpoint client, server;

	theirs = certificates_load(endpoints.folder, YAB_CREDENTIALS_SERVER,
				   json_pack("[s]", patterns[_i].pattern));
	endpoint_init(&client, YAB_CREDENTIALS_CLIENT, ours);
	endpoint_init(&server, YAB_CREDENTIALS_SERVER, theirs);
	endpoints_meet(&client, &server, true);
	ck_assert_msg((server.fd >= 0) == patterns[_i].matches, "%s", patterns[_i].pattern);
	ck_assert_int_eq(client.fd >= 0, patterns[_i].matches);
	endpoint_drop(&client);
	endpoint_drop(&server);
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
	struct endpoint client, server;

	ours = tls ? endpoints_credentials(YAB_CREDENTIALS_CLIENT) : NULL;
	theirs = tls ? endpoints_credentials(YAB_CREDENTIALS_SERVER) : NULL;
	endpoint_init(&client, YAB_CREDENTIALS_CLIENT, ours);
	endpoint_init(&server, YAB_CREDENTIALS_SERVER, theirs);
	if (_i < 2)
		client.terms.token = other;
	else if (_i < 4)
		client.terms.token = NULL;
	else if (_i < 6)
		client.terms.role = YAB_WIRE_URGENT;
	else
		client.terms.number = 1;
	endpoints_meet(&client, &server, true);
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
	struct endpoint client, server;

	if (_i)
		ours = endpoints_credentials(YAB_CREDENTIALS_CLIENT);
	else
		theirs = endpoints_credentials(YAB_CREDENTIALS_SERVER);
	endpoint_init(&client, YAB_CREDENTIALS_CLIENT, ours);
	endpoint_init(&server, YAB_CREDENTIALS_SERVER, theirs);
	endpoints_meet(&client, &server, true);
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
	struct yab_credentials *theirs = endpoints_credentials(YAB_CREDENTIALS_SERVER);
	struct endpoint server;
	int ours, fd;

	script_pair_tcp(&ours, &fd);
	endpoint_init(&server, YAB_CREDENTIALS_SERVER, theirs);
	endpoint_start(&server, fd);
	if (garbage[_i].size)
		script_send(ours, garbage[_i].bytes, garbage[_i].size);
	shutdown(ours, SHUT_WR);
	endpoint_await(&server);
	ck_assert_int_eq(server.fd, -1);
	ck_assert_msg(strstr(server.error, garbage[_i].says), "%s", server.error);
	close(ours);
	yab_credentials_free(theirs);
}
END_TEST

/* Neither keeps the other waiting: the good one is through before the silent one is over. */
START_TEST(silent)
{
	struct yab_credentials *theirs = endpoints_credentials(YAB_CREDENTIALS_SERVER);
	struct yab_credentials *ours = endpoints_credentials(YAB_CREDENTIALS_CLIENT);
	struct endpoint client, server, quiet;
	int other, fd;

	endpoint_init(&quiet, _i ? YAB_CREDENTIALS_CLIENT : YAB_CREDENTIALS_SERVER,
		      _i ? ours : theirs);
	script_pair_tcp(&other, &fd);
	endpoint_start(&quiet, fd);
	endpoint_init(&client, YAB_CREDENTIALS_CLIENT, ours);
	endpoint_init(&server, YAB_CREDENTIALS_SERVER, theirs);
	endpoints_meet(&client, &server, true);
	ck_assert_int_ge(server.fd, 0);
	ck_assert(!quiet.settled);
	yab_opening_cancel(quiet.opening);
	/* Its time is up. */
	script_pair_tcp(&fd, &fd);
	quiet.terms.timeout_ms = 1;
	endpoint_start(&quiet, fd);
	endpoint_await(&quiet);
	ck_assert_int_eq(quiet.fd, -1);
	ck_assert_msg(strstr(quiet.error, "goes silent while the connection is opened (1 s)"), "%s",
		      quiet.error);
	endpoint_drop(&client);
	endpoint_drop(&server);
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

static void other_start(struct other_client *client, struct endpoint *server, int max_version)
{
	int fd;

	client->context = SSL_CTX_new(TLS_client_method());
	client->ssl = SSL_new(client->context);
	client->theirs = endpoints_credentials(YAB_CREDENTIALS_SERVER);
	SSL_set_max_proto_version(client->ssl, max_version);
	script_pair_tcp(&client->fd, &fd);
	evutil_make_socket_nonblocking(client->fd);
	SSL_set_fd(client->ssl, client->fd);
	ck_assert_int_eq(SSL_connect(client->ssl), -1);
	endpoint_init(server, YAB_CREDENTIALS_SERVER, client->theirs);
	endpoint_start(server, fd);
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
	struct endpoint server;

	other_start(&client, &server, TLS1_2_VERSION);
	endpoint_await(&server);
	ck_assert_msg(strstr(server.error, "10.0.0.1:4444 does not speak TLS 1.3"), "%s",
		      server.error);
	other_end(&client);
}
END_TEST

/* One that has no certificate. */
START_TEST(anonymous)
{
	struct other_client client;
	struct endpoint server;

	other_start(&client, &server, TLS1_3_VERSION);
	while (!server.settled) {
		event_base_loop(endpoints.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
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
	struct yab_credentials *theirs = endpoints_credentials(YAB_CREDENTIALS_SERVER);
	static const uint8_t flood[65536];
	struct endpoint server;
	int ours, fd;

	script_pair_tcp(&ours, &fd);
	evutil_make_socket_nonblocking(ours);
	endpoint_init(&server, YAB_CREDENTIALS_SERVER, theirs);
	server.terms.timeout_ms = 1000;
	endpoint_start(&server, fd);
	if (_i) {
		/* The start of a record that never ends: it is waited for. */
		ck_assert_int_eq(write(ours, "\x16\x03\x01\x40\x00", 5), 5);
		while (!server.settled) {
			(void)!write(ours, flood, 1);
			event_base_loop(endpoints.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
		}
	}
	while (!server.settled) {
		(void)!write(ours, flood, sizeof(flood));
		event_base_loop(endpoints.base, EVLOOP_ONCE);
	}
	ck_assert_int_eq(server.fd, -1);
	ck_assert(server.error[0]);
	endpoint_drop(&server);
	close(ours);
	yab_credentials_free(theirs);
}
END_TEST

/* Ended anywhere between. */
START_TEST(closed_amid)
{
	struct yab_credentials *theirs = endpoints_credentials(YAB_CREDENTIALS_SERVER);
	struct yab_credentials *ours = endpoints_credentials(YAB_CREDENTIALS_CLIENT);
	struct endpoint client, server;
	int a, b;

	endpoint_init(&client, YAB_CREDENTIALS_CLIENT, ours);
	endpoint_init(&server, YAB_CREDENTIALS_SERVER, theirs);
	script_pair_tcp(&a, &b);
	endpoint_start(&client, a);
	endpoint_start(&server, b);
	for (int turns = _i; turns && !client.settled && !server.settled; turns--)
		event_base_loop(endpoints.base, EVLOOP_ONCE);
	if (_i & 1) {
		yab_opening_cancel(client.opening);
		client.opening = NULL;
		endpoint_drop(&client);
		endpoint_await(&server);
		ck_assert(server.fd >= 0 || strstr(server.error, "connection"));
		endpoint_drop(&server);
	} else {
		endpoint_drop(&server);
		endpoint_await(&client);
		ck_assert(client.fd >= 0 || strstr(client.error, "connection"));
		endpoint_drop(&client);
	}
	yab_credentials_free(ours);
	yab_credentials_free(theirs);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("opening");
	TCase *tcase = tcase_create("opening");

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, endpoints_setup, endpoints_teardown);
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
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}

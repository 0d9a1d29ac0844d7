// SPDX-License-Identifier: GPL-2.0-or-later
/* Certificates and keys in their files, and who must have them. */
#define _GNU_SOURCE 1
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../../daemon/security.h"
#include "../../daemon/tls.h"
#include "endpoint.h"

/* What is wrong with the files themselves. */
static void spoil(const char *name, const char *text, mode_t mode)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", endpoints.folder, name);
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
	credentials = yab_credentials_load(endpoints.folder, YAB_CREDENTIALS_SERVER, NULL, error,
					   sizeof(error));
	if (spoiled[_i].says) {
		ck_assert_ptr_null(credentials);
		ck_assert_msg(strstr(error, spoiled[_i].says), "%s", error);
		ck_assert(strstr(error, endpoints.folder) == error);
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

	certificates_issue(endpoints.folder, &endpoints.authority, &own[_i].wish);
	ck_assert_ptr_null(yab_credentials_load(endpoints.folder, YAB_CREDENTIALS_SERVER, NULL,
						error, sizeof(error)));
	ck_assert_msg(strstr(error, own[_i].says), "%s", error);
}
END_TEST

START_TEST(key_of_another)
{
	char from[256], to[256], error[512];

	snprintf(from, sizeof(from), "%s/client-key.pem", endpoints.folder);
	snprintf(to, sizeof(to), "%s/server-key.pem", endpoints.folder);
	ck_assert_int_eq(rename(from, to), 0);
	ck_assert_ptr_null(yab_credentials_load(endpoints.folder, YAB_CREDENTIALS_SERVER, NULL,
						error, sizeof(error)));
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
	credentials = endpoints_credentials(YAB_CREDENTIALS_SERVER);
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

	certificates_revoke(endpoints.folder, &endpoints.authority, NULL);
	credentials = certificates_load(endpoints.folder, YAB_CREDENTIALS_SERVER, peers);
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

	snprintf(path, sizeof(path), "%s/%s", endpoints.folder, name);
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
	const struct yab_security kept = { .folder = endpoints.folder, .cache = &cache };
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
	certificates_revoke(endpoints.folder, &endpoints.authority, NULL);
	second = yab_security_credentials(&kept, YAB_CREDENTIALS_SERVER, error, sizeof(error));
	ck_assert_msg(second, "%s", error);
	ck_assert_ptr_ne(first, second);
	snprintf(path, sizeof(path), "%s/server-key.pem", endpoints.folder);
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
	struct yab_credentials *credentials = endpoints_credentials(YAB_CREDENTIALS_SERVER);
	const time_t now = time(NULL);

	ck_assert(yab_credentials_is_current(credentials, endpoints.folder, now));
	ck_assert(!yab_credentials_is_current(credentials, endpoints.folder, now + 1000L * 86400));
	ck_assert(!yab_credentials_is_current(credentials, endpoints.folder, now - 1000L * 86400));
	ck_assert(!yab_credentials_is_current(credentials, endpoints.foreign, now));
	yab_credentials_free(credentials);
}
END_TEST

/* PEM files have what people like in front of the PEM, in whatever they write. */
START_TEST(odd_comments)
{
	struct yab_credentials *credentials[2];
	struct endpoint client, server;
	int fd;

	replace_file("ca-cert.pem", "Beh\xf6rde\n");
	replace_file("server-cert.pem", "Schl\xfcssel \xff\xfe\n");
	replace_file("client-key.pem", "\xe9\n");
	for (int side = 0; side < 2; side++) {
		struct yab_credentials *ours = endpoints_credentials(side);

		fd = yab_credentials_export(ours);
		ck_assert_int_ge(fd, 0);
		yab_credentials_free(ours);
		credentials[side] = yab_credentials_import(fd);
		ck_assert_ptr_nonnull(credentials[side]);
		close(fd);
	}
	endpoint_init(&client, YAB_CREDENTIALS_CLIENT, credentials[YAB_CREDENTIALS_CLIENT]);
	endpoint_init(&server, YAB_CREDENTIALS_SERVER, credentials[YAB_CREDENTIALS_SERVER]);
	endpoints_meet(&client, &server, false);
	ck_assert_msg(client.fd >= 0, "%s", client.error);
	ck_assert_msg(server.fd >= 0, "%s", server.error);
	endpoint_drop(&client);
	endpoint_drop(&server);
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
	const struct yab_security plain = { .plain = true }, tls = { .folder = endpoints.folder };
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

int main(void)
{
	Suite *suite = suite_create("credentials");
	TCase *tcase = tcase_create("credentials");

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, endpoints_setup, endpoints_teardown);
	tcase_add_loop_test(tcase, spoiled_files, 0, SPOILED);
	tcase_add_loop_test(tcase, own_certificate, 0, 2);
	tcase_add_test(tcase, key_of_another);
	tcase_add_loop_test(tcase, no_authority, 0, 2);
	tcase_add_test(tcase, exported);
	tcase_add_loop_test(tcase, who_must, 0, ADDRESSES);
	tcase_add_test(tcase, remembered);
	tcase_add_test(tcase, remembered_too_long);
	tcase_add_test(tcase, odd_comments);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The source's page service with a worker of its own and a destination that the test plays:
 * which connection is spoken of, and where the next one goes. This program is its own worker.
 */
#define _GNU_SOURCE 1
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../daemon/handshake.h"
#include "../../daemon/opening.h"
#include "../../daemon/supply.h"
#include "../../daemon/worker.h"
#include "certificates.h"
#include "script.h"

#define PAGES	64

/* A connection of the supply's, as the destination sees it. */
struct link {
	int fd;
	SSL *ssl;
	struct yab_wire_hello hello;
	struct yab_opening *opening;
	bool open;
};

static struct event_base *base;
static struct evdns_base *dns;
static struct script_memory here;
static struct yab_supply *supply;
static struct yab_security security;
static struct yab_credentials *server;
static char folder[SCRIPT_FOLDER_SIZE];
static const uint8_t route[YAB_WIRE_TOKEN_SIZE] = "route", token[YAB_WIRE_TOKEN_SIZE] = "token";
static int linked, failed, found, lost, bulk_found, bulk_lost;
static char reason[512];

static void on_linked(void *arg)
{
	(void)arg;
	linked++;
}

static void on_urgent(const char *error, int64_t next_try_us, void *arg)
{
	(void)arg;
	if (!error) {
		ck_assert_int_eq(next_try_us, 0);
		found++;
		return;
	}
	ck_assert_int_gt(next_try_us, 0);
	snprintf(reason, sizeof(reason), "%s", error);
	lost++;
}

static void on_bulk(const char *error, void *arg)
{
	(void)arg;
	if (error)
		bulk_lost++;
	else
		bulk_found++;
}

static void on_statistics(json_t *statistics, void *arg)
{
	(void)statistics;
	(void)arg;
}

static void on_failed(const char *error, void *arg)
{
	(void)arg;
	snprintf(reason, sizeof(reason), "%s", error);
	failed++;
}

/* It goes with the rest. */
static void on_worker(pid_t pid, void *arg)
{
	(void)arg;
	ck_assert_int_gt(pid, 0);
}

static const struct yab_supply_ops ops = {
	.worker = on_worker,
	.linked = on_linked,
	.urgent = on_urgent,
	.bulk = on_bulk,
	.statistics = on_statistics,
	.failed = on_failed,
};

/* A port of 127.0.0.@last; *address is its name, as @host or as a number. */
static int listen_at(int last, const char *host, struct yab_address *address)
{
	struct sockaddr_in name = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK - 1 + (uint32_t)last),
	};
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	socklen_t size = sizeof(name);
	char text[64];

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&name, size), 0);
	ck_assert_int_eq(listen(fd, 16), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&name, &size), 0);
	snprintf(text, sizeof(text), "%s:%u", host ? host : inet_ntoa(name.sin_addr),
		 ntohs(name.sin_port));
	ck_assert_int_eq(yab_address_parse(text, address), 0);
	return fd;
}

static void setup(void)
{
	base = script_base();
	dns = evdns_base_new(base, EVDNS_BASE_DISABLE_WHEN_INACTIVE);
	evdns_base_load_hosts(dns, "/etc/hosts");
	script_memory_make(&here, PAGES);
	security.plain = true;
}

static void teardown(void)
{
	yab_supply_free(supply, false);
	yab_credentials_free(server);
	evdns_base_free(dns, 0);
	/* Until the worker has left. */
	event_base_dispatch(base);
	event_base_free(base);
	script_memory_drop(&here);
	if (folder[0])
		script_folder_drop(folder);
}

static void begin(const struct yab_address *address)
{
	const struct yab_supply_terms terms = {
		.base = base,
		.dns = dns,
		.vm = "test",
		.memory_fd = here.fd,
		.pages = PAGES,
		.address = address,
		.security = &security,
		.route = route,
		.token = token,
		.bulks = 1,
	};
	char error[512];

	supply = yab_supply_new(&terms, &ops, NULL, error, sizeof(error));
	ck_assert_msg(supply, "%s", error);
}

/* The next connection, up to the prefaces. */
static void take(int listener, struct link *link)
{
	uint8_t bytes[YAB_WIRE_HELLO_SIZE];
	int fd;

	memset(link, 0, sizeof(*link));
	while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) < 0) {
		ck_assert_int_eq(errno, EAGAIN);
		event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
	}
	while (recv(fd, bytes, sizeof(bytes), MSG_PEEK | MSG_DONTWAIT) != sizeof(bytes))
		event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
	script_receive(fd, bytes, sizeof(bytes));
	ck_assert_int_eq(yab_wire_hello_decode(bytes, &link->hello), YAB_WIRE_OK);
	ck_assert_mem_eq(link->hello.token, route, sizeof(route));
	ck_assert_int_eq(yab_handshake_answer(fd, link->hello.role, !!server), 0);
	link->fd = fd;
}

static void on_opened(int fd, SSL *ssl, const char *error, void *arg)
{
	struct link *link = arg;

	ck_assert_msg(fd >= 0, "%s", error);
	link->opening = NULL;
	link->fd = fd;
	link->ssl = ssl;
	link->open = true;
}

/* The hellos; the worker tells the supply in its own time. */
static void let_in(struct link *link)
{
	const struct yab_opening_terms terms = {
		.role = link->hello.role,
		.index = link->hello.index,
		.number = link->hello.number,
		.side = YAB_CREDENTIALS_SERVER,
		.credentials = server,
		.token = token,
		.name = "source",
		.timeout_ms = 60000,
	};
	char error[512];

	link->opening = yab_opening_new(base, link->fd, &terms, on_opened, link, error,
					sizeof(error));
	ck_assert_msg(link->opening, "%s", error);
	while (!link->open)
		event_base_loop(base, EVLOOP_ONCE);
}

static void drop(struct link *link)
{
	SSL_free(link->ssl);
	close(link->fd);
}

/* Both, in whichever order they come: urgent first. */
static void take_both(int listener, struct link links[2])
{
	struct link link;

	for (int i = 0; i < 2; i++) {
		take(listener, &link);
		links[link.hello.role == YAB_WIRE_BULK] = link;
	}
	ck_assert_int_eq(links[0].hello.role, YAB_WIRE_URGENT);
	ck_assert_int_eq(links[1].hello.role, YAB_WIRE_BULK);
	let_in(&links[0]);
	let_in(&links[1]);
}

static void link_up(int listener, struct link links[2])
{
	take_both(listener, links);
	while (!linked)
		event_base_loop(base, EVLOOP_ONCE);
	yab_supply_persist(supply);
	/* From here on it looks at what comes, and so at a connection's end. */
	ck_assert_int_eq(yab_supply_serve(supply), 0);
}

/* What the destination says of a connection that is not there any more is no news. */
START_TEST(loss_of_another)
{
	struct link links[2], next;
	struct yab_address address;
	const int listener = listen_at(1, NULL, &address);

	begin(&address);
	link_up(listener, links);
	ck_assert_uint_eq(links[0].hello.number, 1);
	yab_supply_relink(supply, YAB_WIRE_URGENT, 0, 7);
	yab_supply_relink(supply, YAB_WIRE_URGENT, 5, 1);
	yab_supply_relink(supply, YAB_WIRE_CONTROL, 0, 1);
	ck_assert_int_eq(lost, 0);
	yab_supply_relink(supply, YAB_WIRE_URGENT, 0, _i ? 0 : 1);
	ck_assert_int_eq(lost, 1);
	ck_assert_str_eq(reason, "the destination lost it");
	take(listener, &next);
	ck_assert_int_eq(next.hello.role, YAB_WIRE_URGENT);
	ck_assert_uint_eq(next.hello.number, 2);
	/* The old one's again, late. */
	let_in(&next);
	while (!found)
		event_base_loop(base, EVLOOP_ONCE);
	yab_supply_relink(supply, YAB_WIRE_URGENT, 0, 1);
	ck_assert_int_eq(lost, 1);
	drop(&next);
	drop(&links[0]);
	drop(&links[1]);
	close(listener);
}
END_TEST

/* What was told of a bulk connection is taken back when it is there again. */
START_TEST(bulk_again)
{
	struct link links[2], next;
	struct yab_address address;
	const int listener = listen_at(1, NULL, &address);

	begin(&address);
	link_up(listener, links);
	yab_supply_relink(supply, YAB_WIRE_BULK, 0, 1);
	ck_assert_int_eq(bulk_lost, 1);
	take(listener, &next);
	ck_assert_int_eq(next.hello.role, YAB_WIRE_BULK);
	ck_assert_int_eq(bulk_found, 0);
	let_in(&next);
	while (!bulk_found)
		event_base_loop(base, EVLOOP_ONCE);
	ck_assert_int_eq(bulk_found, 1);
	ck_assert_int_eq(lost, 0);
	drop(&next);
	drop(&links[0]);
	drop(&links[1]);
	close(listener);
}
END_TEST

/* The end of the old connection, while the new one is opened, does not take that down. */
START_TEST(old_news_of_the_worker)
{
	struct link links[2], next;
	struct yab_address address;
	const int listener = listen_at(1, NULL, &address);
	uint8_t byte;

	begin(&address);
	link_up(listener, links);
	yab_supply_relink(supply, YAB_WIRE_URGENT, 0, 1);
	take(listener, &next);
	/* With the worker by now: its hello comes from there. */
	while (recv(next.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) != 1)
		event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
	/* The worker closes its end before it says so. */
	shutdown(links[0].fd, SHUT_WR);
	fcntl(links[0].fd, F_SETFL, 0);
	ck_assert_int_eq(recv(links[0].fd, &byte, 1, MSG_WAITALL), 0);
	let_in(&next);
	while (!found)
		event_base_loop(base, EVLOOP_ONCE);
	ck_assert_int_eq(lost, 1);
	ck_assert_uint_eq(next.hello.number, 2);
	/* But its own end does. */
	drop(&next);
	while (lost < 2)
		event_base_loop(base, EVLOOP_ONCE);
	drop(&links[0]);
	drop(&links[1]);
	close(listener);
}
END_TEST

/* Nobody is there for a while: it is tried again and again, then elsewhere. */
START_TEST(resumed)
{
	struct link links[2], more[2];
	struct yab_address address, other;
	const int listener = listen_at(1, NULL, &address), second = listen_at(2, NULL, &other);

	begin(&address);
	link_up(listener, links);
	close(listener);
	drop(&links[0]);
	while (lost < 3)
		event_base_loop(base, EVLOOP_ONCE);
	ck_assert_msg(strstr(reason, "127.0.0.1"), "%s", reason);
	ck_assert_int_eq(found, 0);
	/* All of them, also the one that stands. */
	yab_supply_resume(supply, &other);
	ck_assert_msg(strstr(reason, "connecting to 127.0.0.2"), "%s", reason);
	take_both(second, more);
	while (!found)
		event_base_loop(base, EVLOOP_ONCE);
	ck_assert_uint_gt(more[0].hello.number, 1);
	ck_assert_uint_eq(more[1].hello.number, 2);
	/* From now on: the next one goes there, too. */
	drop(&more[0]);
	take(second, &more[0]);
	ck_assert_int_eq(more[0].hello.role, YAB_WIRE_URGENT);
	/* One that is on its way is tried anew; one that stands is left alone. */
	yab_supply_resume(supply, NULL);
	drop(&more[0]);
	drop(&more[1]);
	drop(&links[1]);
	close(second);
}
END_TEST

/* Over another address, but the certificate must be that of the host at the first one. */
START_TEST(same_host_elsewhere)
{
	const struct certificates_wish wish = { .side = "server", .name = "host2",
						.hosts = "DNS:localhost" };
	struct certificates_authority authority;
	struct link links[2], more[2];
	struct yab_address address, other;
	const int listener = listen_at(1, "localhost", &address);
	const int second = listen_at(2, NULL, &other);

	script_folder_make(folder);
	certificates_make(folder);
	if (_i) {
		certificates_authority_make(&authority, "one");
		certificates_trust(folder, &authority);
		certificates_issue(folder, &authority, &wish);
		certificates_issue(folder, &authority, &(struct certificates_wish){
				   .side = "client", .name = "host1", .hosts = "DNS:host1" });
		certificates_authority_drop(&authority);
	}
	security = (struct yab_security){ .folder = folder };
	server = certificates_load(folder, YAB_CREDENTIALS_SERVER, NULL);
	begin(&address);
	link_up(listener, links);
	yab_supply_resume(supply, &other);
	take_both(second, more);
	while (!found)
		event_base_loop(base, EVLOOP_ONCE);
	for (int i = 0; i < 2; i++) {
		drop(&links[i]);
		drop(&more[i]);
	}
	close(listener);
	close(second);
}
END_TEST

int main(int argc, char **argv)
{
	Suite *suite;
	TCase *tcase;

	if (argc > 1 && !strcmp(argv[1], "--worker"))
		return yab_worker_main(true);
	suite = suite_create("supply");
	tcase = tcase_create("supply");
	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_loop_test(tcase, loss_of_another, 0, 2);
	tcase_add_test(tcase, bulk_again);
	tcase_add_test(tcase, old_news_of_the_worker);
	tcase_add_test(tcase, resumed);
	tcase_add_loop_test(tcase, same_host_elsewhere, 0, 2);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}

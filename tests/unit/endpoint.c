// SPDX-License-Identifier: GPL-2.0-or-later
#include "endpoint.h"

#include <stdio.h>
#include <unistd.h>

#define PATIENCE_MS	60000	/* never reached */

struct endpoints endpoints;

static const uint8_t token[YAB_WIRE_TOKEN_SIZE] = "0123456789abcde";

static const struct certificates_wish good_server = {
	.side = "server", .name = "host2", .hosts = "DNS:host2,IP:10.0.0.2",
};

static const struct certificates_wish good_client = {
	.side = "client", .name = "host1", .hosts = "DNS:host1.example.org,IP:10.0.0.1",
};

void endpoints_setup(void)
{
	endpoints.base = script_base();
	script_folder_make(endpoints.folder);
	script_folder_make(endpoints.foreign);
	certificates_authority_make(&endpoints.authority, "CA");
	certificates_authority_make(&endpoints.stranger, "another CA");
	certificates_trust(endpoints.folder, &endpoints.authority);
	certificates_trust(endpoints.foreign, &endpoints.stranger);
	certificates_issue(endpoints.folder, &endpoints.authority, &good_server);
	certificates_issue(endpoints.folder, &endpoints.authority, &good_client);
}

void endpoints_teardown(void)
{
	event_base_free(endpoints.base);
	certificates_authority_drop(&endpoints.authority);
	certificates_authority_drop(&endpoints.stranger);
	script_folder_drop(endpoints.folder);
	script_folder_drop(endpoints.foreign);
}

static void on_opened(int fd, SSL *ssl, const char *error, void *arg)
{
	struct endpoint *endpoint = arg;

	ck_assert(!endpoint->settled);
	endpoint->settled = true;
	endpoint->opening = NULL;
	endpoint->fd = fd;
	endpoint->ssl = ssl;
	if (fd < 0)
		snprintf(endpoint->error, sizeof(endpoint->error), "%s", error);
}

void endpoint_init(struct endpoint *endpoint, enum yab_credentials_side side,
		   struct yab_credentials *credentials)
{
	const bool client = side == YAB_CREDENTIALS_CLIENT;

	*endpoint = (struct endpoint){
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

void endpoint_start(struct endpoint *endpoint, int fd)
{
	char error[512];

	endpoint->opening = yab_opening_new(endpoints.base, fd, &endpoint->terms, on_opened,
					    endpoint, error, sizeof(error));
	ck_assert_msg(endpoint->opening, "%s", error);
	ck_assert(!endpoint->settled);
}

void endpoint_await(struct endpoint *endpoint)
{
	while (!endpoint->settled)
		ck_assert_int_eq(event_base_loop(endpoints.base, EVLOOP_ONCE), 0);
}

void endpoint_drop(struct endpoint *endpoint)
{
	yab_opening_cancel(endpoint->opening);
	SSL_free(endpoint->ssl);
	if (endpoint->fd >= 0)
		close(endpoint->fd);
}

void endpoints_pair(bool tcp, int *a, int *b)
{
	if (tcp)
		script_pair_tcp(a, b);
	else
		script_pair(a, b);
}

void endpoints_meet(struct endpoint *client, struct endpoint *server, bool tcp)
{
	int a, b;

	endpoints_pair(tcp, &a, &b);
	endpoint_start(client, a);
	endpoint_start(server, b);
	endpoint_await(client);
	endpoint_await(server);
}

struct yab_credentials *endpoints_credentials(enum yab_credentials_side side)
{
	return certificates_load(endpoints.folder, side, NULL);
}

void endpoints_open(struct endpoint *client, struct endpoint *server, bool tcp, bool kernel)
{
	struct yab_credentials *ours = endpoints_credentials(YAB_CREDENTIALS_CLIENT);
	struct yab_credentials *theirs = endpoints_credentials(YAB_CREDENTIALS_SERVER);

	endpoint_init(client, YAB_CREDENTIALS_CLIENT, ours);
	endpoint_init(server, YAB_CREDENTIALS_SERVER, theirs);
	client->terms.kernel = kernel;
	server->terms.kernel = kernel;
	endpoints_meet(client, server, tcp);
	yab_credentials_free(ours);
	yab_credentials_free(theirs);
	ck_assert_msg(client->fd >= 0, "%s", client->error);
	ck_assert_msg(server->fd >= 0, "%s", server->error);
}

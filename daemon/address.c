// SPDX-License-Identifier: GPL-2.0-or-later
#include "address.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "yabusame/wire.h"

static bool yab_address_port_valid(const char *port)
{
	unsigned long value = 0;
	size_t length = strlen(port);

	if (!length || length > 5 || strspn(port, "0123456789") != length)
		return false;
	for (; *port; port++)
		value = value * 10 + (unsigned long)(*port - '0');
	return value > 0 && value <= 65535;
}

/* Spaces, slashes and control characters are in no host's name. */
static bool yab_address_host_valid(const char *host, size_t length)
{
	if (!length || length >= sizeof(((struct yab_address *)0)->host))
		return false;
	for (size_t i = 0; i < length; i++) {
		unsigned char byte = (unsigned char)host[i];

		if (byte <= ' ' || byte >= 127 || byte == '/' || byte == '[' || byte == ']')
			return false;
	}
	return true;
}

int yab_address_parse(const char *text, struct yab_address *address)
{
	const char *host = text, *end, *port = NULL, *colon;
	bool six;

	if (*text == '[') {
		host = text + 1;
		end = strchr(host, ']');
		if (!end)
			return -1;
		if (end[1] == ':')
			port = end + 2;
		else if (end[1])
			return -1;
	} else {
		colon = strchr(text, ':');
		end = text + strlen(text);
		/* Two colons without brackets: all of it is an IPv6 address. */
		if (colon && !strchr(colon + 1, ':')) {
			end = colon;
			port = colon + 1;
		}
	}
	if (!yab_address_host_valid(host, (size_t)(end - host)))
		return -1;
	if (port && !yab_address_port_valid(port))
		return -1;

	address->reception = NULL;
	memcpy(address->host, host, (size_t)(end - host));
	address->host[end - host] = '\0';
	if (port)
		snprintf(address->port, sizeof(address->port), "%s", port);
	else
		snprintf(address->port, sizeof(address->port), "%d", YAB_WIRE_PORT);
	six = strchr(address->host, ':');
	snprintf(address->text, sizeof(address->text), six ? "[%s]:%s" : "%s:%s", address->host,
		 address->port);
	return 0;
}

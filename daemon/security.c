// SPDX-License-Identifier: GPL-2.0-or-later
#include "security.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define YAB_SECURITY_FOLDER		"/etc/pki/yabusame"
/* Hosts that have certificates for QEMU need no others. */
#define YAB_SECURITY_QEMU_FOLDER	"/etc/pki/qemu"

static const char *yab_security_folder(const struct yab_security *security)
{
	if (security->folder)
		return security->folder;
	if (access(YAB_SECURITY_FOLDER, F_OK) < 0 && !access(YAB_SECURITY_QEMU_FOLDER, F_OK))
		return YAB_SECURITY_QEMU_FOLDER;
	return YAB_SECURITY_FOLDER;
}

/* Nobody has made certificates for this host, or said that there are any. */
static bool yab_security_is_unset(const struct yab_security *security)
{
	char path[4096];

	if (security->folder)
		return false;
	snprintf(path, sizeof(path), "%s/%s", yab_security_folder(security), YAB_CREDENTIALS_CA);
	return access(path, F_OK) < 0 && errno == ENOENT;
}

static bool yab_security_is_loopback(const struct sockaddr *address)
{
	const struct in6_addr *six;

	if (address->sa_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr) >> 24 ==
		       IN_LOOPBACKNET;
	if (address->sa_family != AF_INET6)
		return false;
	six = &((const struct sockaddr_in6 *)address)->sin6_addr;
	return IN6_IS_ADDR_LOOPBACK(six) ||
	       (IN6_IS_ADDR_V4MAPPED(six) && six->s6_addr[12] == IN_LOOPBACKNET);
}

static void yab_security_explain_unset(const struct yab_security *security, char *error,
				       size_t error_size)
{
	snprintf(error, error_size,
		 "no certificates here: %s/%s does not exist: make them (see yabusamed(8)), or give --plain on both hosts",
		 yab_security_folder(security), YAB_CREDENTIALS_CA);
}

int yab_security_outgoing(const struct yab_security *security, const struct sockaddr *to,
			  char *error, size_t error_size)
{
	if (security->plain)
		return 0;
	if (!yab_security_is_unset(security))
		return 1;
	if (yab_security_is_loopback(to))
		return 0;
	yab_security_explain_unset(security, error, error_size);
	return -1;
}

/*
 * Where there are certificates, a local user needs one as anybody else does; and where names are
 * asked for, for plain TCP shows none.
 */
static bool yab_security_may_be_plain(const struct yab_security *security,
				      const struct sockaddr *address)
{
	return security->plain || (!security->peers && yab_security_is_loopback(address) &&
				   yab_security_is_unset(security));
}

bool yab_security_incoming(const struct yab_security *security, const struct sockaddr *from,
			   bool tls, char *error, size_t error_size)
{
	struct yab_credentials *credentials;
	bool good;

	if (!tls && yab_security_may_be_plain(security, from))
		return true;
	if (!tls) {
		snprintf(error, error_size,
			 "it wants plain TCP, but this host takes only TLS: end its --plain, or give --plain here, too");
		return false;
	}
	if (yab_security_is_unset(security)) {
		yab_security_explain_unset(security, error, error_size);
		return false;
	}
	/* Now, while the other side can still be told: without them there is no TLS. */
	credentials = yab_security_credentials(security, YAB_CREDENTIALS_SERVER, error,
					       error_size);
	good = credentials;
	yab_credentials_free(credentials);
	return good;
}

int yab_security_listen(const struct yab_security *security, const struct sockaddr *address,
			char *error, size_t error_size)
{
	struct yab_credentials *credentials;
	char reason[512];

	if (yab_security_may_be_plain(security, address))
		return 0;
	credentials = yab_security_credentials(security, YAB_CREDENTIALS_SERVER, reason,
					       sizeof(reason));
	if (!credentials) {
		snprintf(error, error_size,
			 "cannot listen with TLS: %s (or give --plain, for plain TCP: see yabusamed --help)",
			 reason);
		return -1;
	}
	yab_credentials_free(credentials);
	return 0;
}

struct yab_credentials *yab_security_credentials(const struct yab_security *security,
						 enum yab_credentials_side side, char *error,
						 size_t error_size)
{
	struct yab_credentials **kept = security->cache ? &security->cache->sides[side] : NULL;
	const char *folder = yab_security_folder(security);
	struct yab_credentials *credentials;

	if (kept && *kept && yab_credentials_is_current(*kept, folder, time(NULL)))
		return yab_credentials_hold(*kept);
	credentials = yab_credentials_load(folder, side, security->peers, error, error_size);
	if (kept && credentials) {
		yab_credentials_free(*kept);
		*kept = yab_credentials_hold(credentials);
	}
	return credentials;
}

void yab_security_forget(struct yab_security_cache *cache)
{
	for (int side = 0; side < 2; side++) {
		yab_credentials_free(cache->sides[side]);
		cache->sides[side] = NULL;
	}
}

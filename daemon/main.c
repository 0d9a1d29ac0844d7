// SPDX-License-Identifier: GPL-2.0-or-later
/* yabusamed: the options, and the supervising process from start to end. */
#include <errno.h>
#include <event2/dns.h>
#include <event2/event.h>
#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "address.h"
#include "adoption.h"
#include "api.h"
#include "incoming.h"
#include "listener.h"
#include "log.h"
#include "metrics.h"
#include "outgoing.h"
#include "policy.h"
#include "reception.h"
#include "region.h"
#include "save.h"
#include "supervisor.h"
#include "version.h"
#include "worker.h"

#define YAB_MAIN_RUN_DIR	"/run/yabusame"
#define YAB_MAIN_STATE_DIR	"/var/lib/yabusame"
#define YAB_MAIN_VM_DIR		"/etc/yabusame/vms"
#define YAB_MAIN_LEAVE_MS	100

struct yab_options {
	const char *listen;
	const char *run_dir;
	const char *state_dir;
	const char *vm_dir;
	const char *policy;
	const char *metrics;
	struct yab_security security;
	bool debug;
	bool worker;
	bool no_sandbox;
	const char *group;
};

/* What exists only here: the supervisor and how it is woken to leave. */
struct yab_daemon {
	struct yab_supervisor supervisor;
	struct yab_security_cache certificates;
	struct yab_listener *listener;
	struct yab_api *api;
	struct yab_metrics *metrics;
	struct event *term, *interrupt, *leave;
	bool idle;		/* while leaving: nothing was left the last time */
};

static void yab_main_help(void)
{
	printf("Usage: yabusamed [OPTION]...\n"
	       "Moves running virtual machines between hosts; yabctl tells it what to do.\n"
	       "\n"
	       "  --listen ADDRESS[:PORT]  where other hosts' daemons connect (port %d);\n"
	       "                           without it no VM can arrive\n"
	       "  --tls-dir FOLDER         certificates and keys, named as for QEMU\n"
	       "                           (/etc/pki/yabusame, or else /etc/pki/qemu)\n"
	       "  --allow NAME             which hosts may connect, by what their certificates\n"
	       "                           say (* and ? match anything; may be given again);\n"
	       "                           without it all that have one of the CA\n"
	       "  --plain                  plain TCP with every host, to and from it: the guest's\n"
	       "                           memory can be read and changed by whoever is on the\n"
	       "                           way, and whoever reaches the port can start VMs. Only\n"
	       "                           for a network of its own; give it on both hosts\n"
	       "  --run-dir FOLDER         sockets and logs (%s)\n"
	       "  --state-dir FOLDER       what the daemon must know when it is started again (%s)\n"
	       "  --vm-dir FOLDER          descriptions of VMs, NAME.json (%s)\n"
	       "  --policy SPEC            in which order the memory of arriving VMs is pulled:\n"
	       "                           " YAB_POLICY_SPECS "\n"
	       "                           (" YAB_POLICY_DEFAULT ")\n"
	       "  --group NAME             who may use yabctl besides root\n"
	       "  --no-sandbox             workers keep the privileges of this program\n"
	       "  --metrics ADDRESS:PORT   OpenMetrics at http://ADDRESS:PORT/metrics; a loopback\n"
	       "                           address, for whoever can connect can read\n"
	       "  --debug                  log more\n"
	       "  --version, --help        print and leave\n",
	       YAB_WIRE_PORT, YAB_MAIN_RUN_DIR, YAB_MAIN_STATE_DIR, YAB_MAIN_VM_DIR);
}

/* One more of those that may connect. */
static int yab_main_allow(struct yab_security *security, const char *name)
{
	if (!security->peers)
		security->peers = json_array();
	if (*name && !json_array_append_new(security->peers, json_string(name)))
		return 0;
	fprintf(stderr, "yabusamed: --allow %s: is no name\n", name);
	return -1;
}

/* What is left to do: -1, or the exit status. */
static int yab_main_options(int argc, char **argv, struct yab_options *options)
{
	enum { LISTEN = 256, RUN_DIR, STATE_DIR, VM_DIR, POLICY, TLS_DIR, ALLOW, PLAIN, GROUP,
	       NO_SANDBOX, METRICS, DEBUG, WORKER, VERSION, HELP };
	static const struct option long_options[] = {
		{ "listen", required_argument, NULL, LISTEN },
		{ "run-dir", required_argument, NULL, RUN_DIR },
		{ "state-dir", required_argument, NULL, STATE_DIR },
		{ "vm-dir", required_argument, NULL, VM_DIR },
		{ "policy", required_argument, NULL, POLICY },
		{ "tls-dir", required_argument, NULL, TLS_DIR },
		{ "allow", required_argument, NULL, ALLOW },
		{ "plain", no_argument, NULL, PLAIN },
		{ "group", required_argument, NULL, GROUP },
		{ "no-sandbox", no_argument, NULL, NO_SANDBOX },
		{ "metrics", required_argument, NULL, METRICS },
		{ "debug", no_argument, NULL, DEBUG },
		{ "worker", no_argument, NULL, WORKER },	/* for yab_worker_spawn() */
		{ "version", no_argument, NULL, VERSION },
		{ "help", no_argument, NULL, HELP },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	/* Its own message would be a line of its own. */
	opterr = 0;
	while ((option = getopt_long(argc, argv, ":", long_options, NULL)) != -1) {
		switch (option) {
		case LISTEN:
			options->listen = optarg;
			break;
		case RUN_DIR:
			options->run_dir = optarg;
			break;
		case STATE_DIR:
			options->state_dir = optarg;
			break;
		case VM_DIR:
			options->vm_dir = optarg;
			break;
		case POLICY:
			options->policy = optarg;
			break;
		case TLS_DIR:
			options->security.folder = optarg;
			break;
		case ALLOW:
			if (yab_main_allow(&options->security, optarg) < 0)
				return 2;
			break;
		case PLAIN:
			options->security.plain = true;
			break;
		case GROUP:
			options->group = optarg;
			break;
		case NO_SANDBOX:
			options->no_sandbox = true;
			break;
		case METRICS:
			options->metrics = optarg;
			break;
		case DEBUG:
			options->debug = true;
			break;
		case WORKER:
			options->worker = true;
			break;
		case VERSION:
			printf("yabusamed %s\n", YAB_VERSION);
			return 0;
		case HELP:
			yab_main_help();
			return 0;
		case ':':
			fprintf(stderr, "yabusamed: %s needs a value: see yabusamed --help\n",
				argv[optind - 1]);
			return 2;
		default:
			fprintf(stderr, "yabusamed: unknown option %s: see yabusamed --help\n",
				argv[optind - 1]);
			return 2;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "yabusamed: \"%s\" is no option: see yabusamed --help\n",
			argv[optind]);
		return 2;
	}
	return -1;
}

static int yab_main_group(const char *name, gid_t *gid)
{
	const struct group *group = getgrnam(name);

	if (!group) {
		yab_log_error(NULL,
			      "--group %s: there is no such group: make it, or name another one",
			      name);
		return -1;
	}
	*gid = group->gr_gid;
	return 0;
}

/* The folder, and a lock on it for as long as we live. -1 after a line in the log. */
static int yab_main_lock(const char *option, const char *folder, gid_t group)
{
	char path[4096];
	int fd;

	if (mkdir(folder, 0700) < 0 && errno != EEXIST) {
		yab_log_error(NULL, "%s: %s", folder, strerror(errno));
		return -1;
	}
	/*
	 * Nobody looks in there. A group that may use our socket can reach it by its name;
	 * monitors of QEMU, which have names as well, are made with our umask.
	 */
	if (chown(folder, (uid_t)-1, group) < 0 ||
	    chmod(folder, group == (gid_t)-1 ? 0700 : 0710) < 0) {
		yab_log_error(NULL, "%s: %s", folder, strerror(errno));
		return -1;
	}
	if (snprintf(path, sizeof(path), "%s/lock", folder) >= (int)sizeof(path)) {
		yab_log_error(NULL, "the path of %s is too long", option);
		return -1;
	}
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0) {
		yab_log_error(NULL, "%s: %s", path, strerror(errno));
		return -1;
	}
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno == EWOULDBLOCK)
			yab_log_error(NULL,
				      "another yabusamed uses %s: end it, or give another %s",
				      folder, option);
		else
			yab_log_error(NULL, "%s: %s", path, strerror(errno));
		close(fd);
		return -1;
	}
	return fd;
}

static void yab_main_connection(int fd, const struct yab_wire_hello *hello,
				const struct yab_origin *origin, void *arg)
{
	struct yab_daemon *daemon = arg;

	yab_reception_take(&daemon->supervisor, fd, hello, origin);
}

/* Leaves when nothing is left that would be hurt. */
static void yab_main_leave(evutil_socket_t fd, short what, void *arg)
{
	struct yab_daemon *daemon = arg;
	struct yab_supervisor *supervisor = &daemon->supervisor;
	bool outgoing = yab_outgoings_give_up(supervisor->outgoings);
	bool incoming = yab_incomings_give_up(supervisor->incomings);
	bool saving = yab_saves_give_up(supervisor->saves);

	(void)fd;
	(void)what;
	if (outgoing || incoming || saving)
		return;
	/* Once more around: what was just said still has to go out. */
	if (daemon->idle)
		event_base_loopexit(supervisor->base, NULL);
	daemon->idle = true;
}

static void yab_main_signal(evutil_socket_t number, short what, void *arg)
{
	struct timeval pause = { .tv_usec = YAB_MAIN_LEAVE_MS * 1000 };
	struct yab_daemon *daemon = arg;

	(void)what;
	if (daemon->supervisor.leaving) {
		yab_log_warn(NULL, "ending at once, told twice");
		event_base_loopexit(daemon->supervisor.base, NULL);
		return;
	}
	yab_log_info(NULL,
		     "ending (signal %d): VMs run on; migrations that are not committed give their guests back (a second signal ends it at once, without that), others go on when yabusamed is started again",
		     (int)number);
	daemon->supervisor.leaving = true;
	event_active(daemon->leave, 0, 0);
	event_add(daemon->leave, &pause);
}

static struct evdns_base *yab_main_dns(struct event_base *base)
{
	struct evdns_base *dns;

	dns = evdns_base_new(base, EVDNS_BASE_INITIALIZE_NAMESERVERS |
			     EVDNS_BASE_DISABLE_WHEN_INACTIVE);
	if (dns)
		return dns;
	/* Without name servers there still are addresses and the hosts file. */
	dns = evdns_base_new(base, EVDNS_BASE_DISABLE_WHEN_INACTIVE);
	if (dns)
		evdns_base_load_hosts(dns, "/etc/hosts");
	return dns;
}

static int yab_daemon_signals(struct yab_daemon *daemon)
{
	struct event_base *base = daemon->supervisor.base;

	daemon->term = evsignal_new(base, SIGTERM, yab_main_signal, daemon);
	daemon->interrupt = evsignal_new(base, SIGINT, yab_main_signal, daemon);
	daemon->leave = event_new(base, -1, EV_PERSIST, yab_main_leave, daemon);
	if (!daemon->term || !daemon->interrupt || !daemon->leave)
		return -1;
	return event_add(daemon->term, NULL) < 0 ? -1 : event_add(daemon->interrupt, NULL);
}

static void yab_daemon_release(struct yab_daemon *daemon)
{
	struct yab_supervisor *supervisor = &daemon->supervisor;

	yab_metrics_free(daemon->metrics);
	yab_api_free(daemon->api);
	yab_listener_free(daemon->listener);
	yab_supervisor_close(supervisor);
	yab_security_forget(&daemon->certificates);
	if (daemon->leave)
		event_free(daemon->leave);
	if (daemon->interrupt)
		event_free(daemon->interrupt);
	if (daemon->term)
		event_free(daemon->term);
	if (supervisor->dns)
		evdns_base_free(supervisor->dns, 0);
	if (supervisor->base)
		event_base_free(supervisor->base);
}

static int yab_daemon_init(struct yab_daemon *daemon, const struct yab_options *options,
			   const struct yab_address *address)
{
	struct yab_supervisor *supervisor = &daemon->supervisor;
	char error[YAB_WIRE_ERROR_MAX] = "out of memory";

	supervisor->run_dir = options->run_dir;
	supervisor->policy = options->policy;
	supervisor->security = options->security;
	supervisor->security.cache = &daemon->certificates;
	supervisor->base = event_base_new();
	if (!supervisor->base)
		goto err;
	supervisor->dns = yab_main_dns(supervisor->base);
	if (!supervisor->dns || yab_daemon_signals(daemon) < 0)
		goto err;
	if (yab_supervisor_open(supervisor, options->vm_dir, options->state_dir, error,
				sizeof(error)) < 0)
		goto err;
	/* Before anybody can ask what became of a session, or for a VM. */
	yab_adopt_all(supervisor);
	if (address) {
		daemon->listener = yab_listener_new(supervisor->base, address,
						    &supervisor->security,
						    supervisor->complaints, yab_main_connection,
						    daemon, error, sizeof(error));
		if (!daemon->listener)
			goto err;
	}
	if (options->metrics) {
		daemon->metrics = yab_metrics_new(supervisor->base, supervisor->jobs,
						  options->metrics, error, sizeof(error));
		if (!daemon->metrics)
			goto err;
	}
	daemon->api = yab_api_new(supervisor, error, sizeof(error));
	if (!daemon->api)
		goto err;
	return 0;

err:
	yab_log_error(NULL, "%s", error);
	yab_daemon_release(daemon);
	return -1;
}

/* Options that cannot be. 0, or -1 after a line in the log. */
static int yab_main_check(const struct yab_options *options, struct yab_address *address)
{
	struct yab_metrics_address metrics;
	char error[YAB_WIRE_ERROR_MAX];

	if (options->listen && yab_address_parse(options->listen, address) < 0) {
		yab_log_error(NULL, "--listen %s: is no ADDRESS, ADDRESS:PORT or [IPV6]:PORT",
			      options->listen);
		return -1;
	}
	if (options->security.plain && options->security.peers) {
		yab_log_error(NULL,
			      "--allow needs certificates, for plain TCP shows no names: leave --allow or --plain out");
		return -1;
	}
	if (options->policy && !yab_policy_is_valid(options->policy)) {
		yab_log_error(NULL, "--policy %s: is none of " YAB_POLICY_SPECS " (N up to %d)",
			      options->policy, YAB_POLICY_AROUND_MAX);
		return -1;
	}
	if (options->metrics &&
	    yab_metrics_parse(options->metrics, &metrics, error, sizeof(error)) < 0) {
		yab_log_error(NULL, "%s", error);
		return -1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct yab_options options = {
		.run_dir = YAB_MAIN_RUN_DIR,
		.state_dir = YAB_MAIN_STATE_DIR,
		.vm_dir = YAB_MAIN_VM_DIR,
	};
	struct yab_daemon daemon = { .supervisor = { .leaving = false } };
	struct yab_address address;
	gid_t group = (gid_t)-1;
	int lock_fd, state_fd, result;

	yab_log_open("yabusamed");
	result = yab_main_options(argc, argv, &options);
	if (result >= 0)
		return result;
	signal(SIGPIPE, SIG_IGN);
	/* A file over the limit (ulimit -f), be it a VM's memory or the log, is an error only. */
	signal(SIGXFSZ, SIG_IGN);
	if (options.worker)
		return yab_worker_main(!options.no_sandbox);
	if (options.no_sandbox)
		yab_worker_spawn_unconfined();
	yab_log_set_debug(options.debug);
	umask(077);
	if (yab_main_check(&options, &address) < 0)
		return 2;
	/* Not for ever, where groups come over the network. */
	if (options.group && yab_main_group(options.group, &group) < 0)
		return 1;
	daemon.supervisor.group = group;
	lock_fd = yab_main_lock("--run-dir", options.run_dir, group);
	if (lock_fd < 0)
		return 1;
	state_fd = yab_main_lock("--state-dir", options.state_dir, (gid_t)-1);
	if (state_fd < 0 ||
	    yab_daemon_init(&daemon, &options, options.listen ? &address : NULL) < 0) {
		if (state_fd >= 0)
			close(state_fd);
		close(lock_fd);
		return 1;
	}
	if (options.listen)
		yab_log_info(NULL, "yabusamed %s listening on %s%s", YAB_VERSION, address.text,
			     options.security.plain ? ", plain TCP: whoever comes is let in" : "");
	else
		yab_log_info(NULL, "yabusamed %s sends VMs only (no --listen)", YAB_VERSION);
	if (options.listen && access(YAB_REGION_CONTROL, F_OK) < 0)
		yab_log_warn(NULL,
			     "kernel module yabusame is not loaded: no VM can arrive until it is (modprobe yabusame, or insmod yabusame.ko)");
	result = event_base_dispatch(daemon.supervisor.base) < 0;
	yab_daemon_release(&daemon);
	close(state_fd);
	close(lock_fd);
	yab_log_info(NULL, "ended");
	return result;
}

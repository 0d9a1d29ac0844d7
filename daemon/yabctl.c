// SPDX-License-Identifier: GPL-2.0-or-later
/* yabctl: tells yabusamed what to do, over its local socket. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "figures.h"
#include "version.h"
#include "yabusame/wire.h"

#define YABCTL_SOCKET	"/run/yabusame/control.sock"
#define YABCTL_BAR	30
#define YABCTL_BANDWIDTH_MAX	1073741824L	/* MiB a second */

/* Exit statuses. */
#define YABCTL_FAILED	1
#define YABCTL_USAGE	2

struct yabctl {
	const char *socket;
	long bandwidth;		/* bytes a second for the sweep; 0: no limit */
	long connections;	/* for the sweep */
	const char *codec;	/* by which it is compressed, or "none" */
	bool verify;
	bool json;
	bool paused;
	bool watch;
	bool force;
	const char *via;
	const char *from;	/* the image to start from, and */
	const char *state;	/* the device state */
	const char *operands[3];
	unsigned int given;	/* options, by their bits from SOCKET on */
	FILE *stream;		/* to the daemon */
	bool bar;		/* stderr is a terminal */
	bool drawn;
	char warned[512];	/* the last warning, said once */
	bool paused_said;	/* that the migration is paused now */
};

struct yabctl_command {
	const char *name;
	int operands;
	const char *usage;
	/* The request, without "command"; NULL when the operands are no text, path or number. */
	json_t *(*request)(struct yabctl *ctl);
	void (*show)(struct yabctl *ctl, json_t *answer);
};

static void yabctl_dump(json_t *json)
{
	json_dumpf(json, stdout, JSON_INDENT(2));
	putchar('\n');
}

/* 0, or -1 if @text is no number in these bounds. */
static int yabctl_number_of(const char *text, long least, long most, long *number)
{
	char *end;

	errno = 0;
	*number = strtol(text, &end, 10);
	return errno || end == text || *end || *number < least || *number > most ? -1 : 0;
}

/* @part of @whole, as parts of @most. The counts may be another host's: any numbers. */
static int yabctl_share(json_int_t part, json_int_t whole, int most)
{
	if (part <= 0 || whole <= 0)
		return 0;
	return part >= whole ? most : (int)((double)part / (double)whole * most);
}

static void yabctl_clear_bar(struct yabctl *ctl)
{
	if (ctl->drawn)
		fprintf(stderr, "\r\033[K");
	ctl->drawn = false;
}

static bool yabctl_is_kind(json_t *job, const char *kind)
{
	return !strcmp(yab_figure_text(job, "kind"), kind);
}

static const char *yabctl_work(json_t *job)
{
	return yab_figure_text(job, yabctl_is_kind(job, "save") || yabctl_is_kind(job, "start") ?
			       "kind" : "direction");
}

static void yabctl_draw_bar(struct yabctl *ctl, json_t *job)
{
	json_t *statistics = json_object_get(job, "destination");
	json_int_t pages = yab_figure_number(job, "pages");
	json_int_t present = yab_figure_number(statistics, "present");
	int filled = yabctl_share(present, pages, YABCTL_BAR);
	char bytes[32], bar[YABCTL_BAR + 1];

	ctl->drawn = true;
	/* A guest that is being saved has no other end at which its pages arrive. */
	if (yabctl_is_kind(job, "save")) {
		fprintf(stderr, "\r\033[K%s is being saved, %s", yab_figure_text(job, "vm"),
			yab_figure_text(job, "phase"));
		fflush(stderr);
		return;
	}
	for (int i = 0; i < YABCTL_BAR; i++)
		bar[i] = i < filled ? '#' : '.';
	bar[YABCTL_BAR] = '\0';
	fprintf(stderr, "\r\033[K%s [%s] %3d%% %s, %s, %lld faults",
		yab_figure_text(job, "vm"), bar, yabctl_share(present, pages, 100),
		json_object_get(job, "paused") ? "paused" :
		json_is_true(json_object_get(job, "switched")) ? "switched" :
		yab_figure_text(job, "phase"),
		yab_figure_bytes(yab_figure_number(statistics, "bytes"), bytes, sizeof(bytes)),
		(long long)yab_figure_number(statistics, "faults"));
	fflush(stderr);
}

/* "for 42 s, no urgent connection: ...; next try in 8 s", or "" for one that is not paused. */
static const char *yabctl_pause(json_t *job, char *text, size_t size)
{
	json_t *paused = json_object_get(job, "paused");
	json_t *next = json_object_get(paused, "next_try_us");
	char when[64] = "";

	text[0] = '\0';
	if (!paused)
		return text;
	if (next)
		snprintf(when, sizeof(when), "; next try in %lld s",
			 (long long)(json_integer_value(next) + 999999) / 1000000);
	snprintf(text, size, "for %lld s, %s%s",
		 (long long)yab_figure_number(paused, "us") / 1000000,
		 yab_figure_text(paused, "reason"), when);
	return text;
}

/* Progress: the bar, and what people should know, once. */
static void yabctl_progress(struct yabctl *ctl, json_t *job)
{
	const char *warning = yab_figure_text(job, "warning");

	if (warning[0] && strcmp(warning, ctl->warned)) {
		yabctl_clear_bar(ctl);
		fprintf(stderr, "yabctl: %s\n", warning);
		snprintf(ctl->warned, sizeof(ctl->warned), "%s", warning);
	}
	if (json_object_get(job, "paused") && !ctl->paused_said) {
		yabctl_clear_bar(ctl);
		fprintf(stderr, "yabctl: %s is paused, %s: it goes on by itself, see yabctl(1)\n",
			yab_figure_text(job, "vm"),
			yab_figure_text(json_object_get(job, "paused"), "reason"));
	}
	ctl->paused_said = json_object_get(job, "paused");
	if (ctl->bar)
		yabctl_draw_bar(ctl, job);
}

/* One look of many: a line, or the bar on a terminal. */
static void yabctl_show_look(struct yabctl *ctl, json_t *job)
{
	json_t *statistics = json_object_get(job, "destination");
	char pause[640];

	if (ctl->json) {
		json_dumpf(job, stdout, JSON_COMPACT);
		putchar('\n');
	} else if (ctl->bar) {
		yabctl_progress(ctl, job);
	} else if (yabctl_is_kind(job, "save")) {
		printf("%s: save, phase %s\n", yab_figure_text(job, "vm"),
		       yab_figure_text(job, "phase"));
	} else {
		yabctl_pause(job, pause, sizeof(pause));
		printf("%s: phase %s, %lld of %lld pages there, %lld faults%s%s\n",
		       yab_figure_text(job, "vm"), yab_figure_text(job, "phase"),
		       (long long)yab_figure_number(statistics, "present"),
		       (long long)yab_figure_number(job, "pages"),
		       (long long)yab_figure_number(statistics, "faults"),
		       pause[0] ? ", paused " : "", pause);
	}
	/* Whoever reads a pipe wants it now. */
	fflush(stdout);
}

/* The states in which a migration has not ended. */
static bool yabctl_is_active(json_t *job)
{
	const char *state = yab_figure_text(job, "state");

	return !strcmp(state, "active") || !strcmp(state, "paused");
}

static void yabctl_show_job(struct yabctl *ctl, json_t *answer)
{
	json_t *job = json_object_get(answer, "job");
	json_t *statistics = json_object_get(job, "destination");
	bool outgoing = !strcmp(yab_figure_text(job, "direction"), "outgoing");
	char pause[640];

	if (ctl->json) {
		/* Of many, each has a line of its own. */
		if (ctl->watch)
			yabctl_show_look(ctl, job);
		else
			yabctl_dump(job);
		return;
	}
	printf("%s: %s %s %s%s%s: %s", yab_figure_text(job, "vm"), yabctl_work(job),
	       outgoing ? "to" : "from", yab_figure_text(job, "peer"),
	       yab_figure_text(job, "via")[0] ? " via " : "", yab_figure_text(job, "via"),
	       yab_figure_text(job, "state"));
	if (yabctl_is_active(job))
		printf(", phase %s", yab_figure_text(job, "phase"));
	if (yabctl_is_active(job) && !yabctl_is_kind(job, "save"))
		printf(", %lld of %lld pages there",
		       (long long)yab_figure_number(statistics, "present"),
		       (long long)yab_figure_number(job, "pages"));
	putchar('\n');
	if (yabctl_pause(job, pause, sizeof(pause))[0])
		yab_figure_print("paused", pause);
	if (yab_figure_text(job, "error")[0])
		yab_figure_print("error", yab_figure_text(job, "error"));
	if (yab_figure_text(job, "warning")[0])
		yab_figure_print("warning", yab_figure_text(job, "warning"));
	yab_figures_print(job);
}

static void yabctl_show_list(struct yabctl *ctl, json_t *answer)
{
	json_t *vms = json_object_get(answer, "vms"), *vm, *job;
	char memory[32];
	size_t i;

	if (ctl->json) {
		yabctl_dump(vms);
		return;
	}
	json_array_foreach(vms, i, vm) {
		job = json_object_get(vm, "job");
		printf("%-24s %-10s %12s", yab_figure_text(vm, "vm"), yab_figure_text(vm, "state"),
		       yab_figure_bytes(yab_figure_number(vm, "memory"), memory, sizeof(memory)));
		if (job)
			printf("  %s job, %s%s", yabctl_work(job), yab_figure_text(job, "phase"),
			       json_object_get(job, "paused") ? ", paused" : "");
		putchar('\n');
	}
}

static void yabctl_show_nothing(struct yabctl *ctl, json_t *answer)
{
	(void)ctl;
	(void)answer;
}

/* What was done, in one line. */
static void yabctl_show_message(struct yabctl *ctl, json_t *answer)
{
	(void)ctl;
	printf("%s\n", yab_figure_text(answer, "message"));
}

static json_t *yabctl_request_vm(struct yabctl *ctl)
{
	return json_pack("{s:s}", "vm", ctl->operands[0]);
}

/* The daemon's folder is another one than ours. NULL without one, or without memory. */
static json_t *yabctl_path(const char *path)
{
	char *folder = *path == '/' ? NULL : getcwd(NULL, 0);
	json_t *json;

	if (*path == '/')
		return json_string(path);
	json = folder && *path ? json_sprintf("%s/%s", folder, path) : NULL;
	free(folder);
	return json;
}

static json_t *yabctl_request_start(struct yabctl *ctl)
{
	if (!ctl->from)
		return yabctl_request_vm(ctl);
	return json_pack("{s:s, s:o, s:o, s:b, s:I, s:I}", "vm", ctl->operands[0], "image",
			 yabctl_path(ctl->from), "state", yabctl_path(ctl->state), "paused",
			 ctl->paused, "connections", (json_int_t)ctl->connections, "bandwidth",
			 (json_int_t)ctl->bandwidth);
}

static json_t *yabctl_request_save(struct yabctl *ctl)
{
	return json_pack("{s:s, s:o, s:o}", "vm", ctl->operands[0], "image",
			 yabctl_path(ctl->operands[1]), "state", yabctl_path(ctl->operands[2]));
}

static json_t *yabctl_request_list(struct yabctl *ctl)
{
	(void)ctl;
	return json_object();
}

static json_t *yabctl_request_migrate(struct yabctl *ctl)
{
	return json_pack("{s:s, s:s, s:s, s:b, s:I, s:I, s:b}", "codec", ctl->codec, "vm",
			 ctl->operands[0], "destination", ctl->operands[1], "paused", ctl->paused,
			 "connections", (json_int_t)ctl->connections, "bandwidth",
			 (json_int_t)ctl->bandwidth, "verify", ctl->verify);
}

static json_t *yabctl_request_bandwidth(struct yabctl *ctl)
{
	long mib;

	if (yabctl_number_of(ctl->operands[1], 0, YABCTL_BANDWIDTH_MAX, &mib) < 0)
		return NULL;
	return json_pack("{s:s, s:I}", "vm", ctl->operands[0], "bandwidth",
			 (json_int_t)mib << 20);
}

static json_t *yabctl_request_resume(struct yabctl *ctl)
{
	return json_pack("{s:s, s:s*}", "vm", ctl->operands[0], "via", ctl->via);
}

/* What may lose memory: abandon and destroy. */
static json_t *yabctl_request_force(struct yabctl *ctl)
{
	return json_pack("{s:s, s:b}", "vm", ctl->operands[0], "force", ctl->force);
}

static const struct yabctl_command yabctl_commands[] = {
	{ "start", 1,
	  "start VM [--from IMAGE --state STATE [--postcopy-bandwidth MIB] [--connections N] [--paused]]",
	  yabctl_request_start, yabctl_show_nothing },
	{ "save", 3, "save VM IMAGE STATE", yabctl_request_save, yabctl_show_nothing },
	{ "migrate", 2,
	  "migrate VM DEST[:PORT] [--postcopy] [--postcopy-bandwidth MIB] [--connections N] [--compress CODEC] [--verify] [--paused] [--json]",
	  yabctl_request_migrate, yabctl_show_job },
	{ "bandwidth", 2, "bandwidth VM MIB", yabctl_request_bandwidth, yabctl_show_nothing },
	{ "list", 0, "list [--json]", yabctl_request_list, yabctl_show_list },
	{ "jobinfo", 1, "jobinfo VM [--json] [--watch]", yabctl_request_vm, yabctl_show_job },
	{ "resume", 1, "resume VM [--via ADDRESS[:PORT]]", yabctl_request_resume,
	  yabctl_show_nothing },
	{ "abandon", 1, "abandon VM [--force]", yabctl_request_force, yabctl_show_message },
	{ "destroy", 1, "destroy VM [--force]", yabctl_request_force, yabctl_show_nothing },
	{ NULL, 0, NULL, NULL, NULL },
};

static void yabctl_help(void)
{
	printf("Usage: yabctl [--socket PATH] COMMAND\n"
	       "Moves running virtual machines between hosts.\n\n");
	for (const struct yabctl_command *command = yabctl_commands; command->name; command++)
		printf("  yabctl %s\n", command->usage);
	printf("\n"
	       "  --socket PATH  the daemon's socket (%s)\n"
	       "  --postcopy     switch first, then move memory: the only way there is now\n"
	       "  --postcopy-bandwidth MIB  MiB a second for pages that nobody waits for (0: no\n"
	       "                 limit; \"yabctl bandwidth\" changes it meanwhile)\n"
	       "  --connections N  connections for them, 1 to %d (1)\n"
	       "  --compress CODEC  lz4 or zstd for these pages, where that makes them come sooner\n"
	       "                 (none)\n"
	       "  --verify       compare the memory of both hosts before the source's is given up\n"
	       "  --paused       leave the guest paused on the destination\n"
	       "  --from IMAGE, --state STATE  start from the files that \"yabctl save\" made;\n"
	       "                 memory follows as it is touched, as in a migration\n"
	       "  --json         for machines\n"
	       "  --watch        follow the migration until it ends\n"
	       "  --via ADDRESS  resume over this address of the destination, from now on\n"
	       "  --force        abandon or destroy what is nowhere else\n"
	       "  --version, --help\n"
	       "\n"
	       "DEST is a host that runs yabusamed and has a description of VM, too.\n",
	       YABCTL_SOCKET, YAB_WIRE_BULKS_MAX);
}

static int yabctl_connect(struct yabctl *ctl)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd;

	if (snprintf(address.sun_path, sizeof(address.sun_path), "%s", ctl->socket) >=
	    (int)sizeof(address.sun_path)) {
		fprintf(stderr, "yabctl: %s: too long for a socket's path\n", ctl->socket);
		return -1;
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		fprintf(stderr, "yabctl: cannot make a socket: %s\n", strerror(errno));
		return -1;
	}
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		if (errno == ENOENT || errno == ECONNREFUSED)
			fprintf(stderr,
				"yabctl: no yabusamed listens at %s: start it, or name its socket with --socket\n",
				ctl->socket);
		else if (errno == EACCES || errno == EPERM)
			fprintf(stderr,
				"yabctl: no permission for %s: run yabctl as root, or as a member of yabusamed's --group\n",
				ctl->socket);
		else
			fprintf(stderr, "yabctl: %s: %s\n", ctl->socket, strerror(errno));
		goto err_fd;
	}
	ctl->stream = fdopen(fd, "r+");
	if (!ctl->stream) {
		fprintf(stderr, "yabctl: cannot use a socket: %s\n", strerror(errno));
		goto err_fd;
	}
	return 0;

err_fd:
	close(fd);
	return -1;
}

/* Sends @request and reads answers up to the last; NULL after a line on stderr. */
static json_t *yabctl_ask(struct yabctl *ctl, json_t *request)
{
	json_t *answer = NULL;
	char *line = NULL;
	size_t size = 0;

	if (json_dumpf(request, ctl->stream, JSON_COMPACT) < 0 ||
	    fputc('\n', ctl->stream) == EOF || fflush(ctl->stream) == EOF) {
		fprintf(stderr, "yabctl: yabusamed does not take the request (%s): see its log\n",
			strerror(errno));
		return NULL;
	}
	while (getline(&line, &size, ctl->stream) >= 0) {
		answer = json_loads(line, 0, NULL);
		if (!answer || !json_object_get(answer, "event"))
			break;
		if (!strcmp(yab_figure_text(answer, "event"), "progress"))
			yabctl_progress(ctl, json_object_get(answer, "job"));
		json_decref(answer);
		answer = NULL;
	}
	free(line);
	if (!ctl->watch)
		yabctl_clear_bar(ctl);
	if (!answer)
		fprintf(stderr, "yabctl: yabusamed ended before it answered: see its log\n");
	return answer;
}

/* A request and its answer, which is not an error; NULL after a line on stderr. */
static json_t *yabctl_exchange(struct yabctl *ctl, json_t *request)
{
	json_t *answer;

	if (yabctl_connect(ctl) < 0)
		return NULL;
	answer = yabctl_ask(ctl, request);
	fclose(ctl->stream);
	if (!answer || json_is_true(json_object_get(answer, "ok")))
		return answer;
	yabctl_clear_bar(ctl);
	fprintf(stderr, "yabctl: %s\n", yab_figure_text(answer, "error"));
	json_decref(answer);
	return NULL;
}

/* Looks again and again at a job that is active. The last answer, or NULL. */
static json_t *yabctl_watch(struct yabctl *ctl, json_t *request, json_t *answer)
{
	static const struct timespec pause = { .tv_sec = 1 };

	while (answer) {
		json_t *job = json_object_get(answer, "job");

		if (!yabctl_is_active(job))
			break;
		yabctl_show_look(ctl, job);
		if (ferror(stdout)) {
			json_decref(answer);
			return NULL;
		}
		json_decref(answer);
		nanosleep(&pause, NULL);
		answer = yabctl_exchange(ctl, request);
	}
	yabctl_clear_bar(ctl);
	return answer;
}

static int yabctl_run(struct yabctl *ctl, const struct yabctl_command *command)
{
	json_t *request = command->request(ctl), *answer;
	int result = YABCTL_FAILED;

	if (!request) {
		fprintf(stderr,
			"yabctl: a name is no text, a path empty or a number out of bounds: usage: yabctl %s\n",
			command->usage);
		return YABCTL_USAGE;
	}
	json_object_set_new(request, "command", json_string(command->name));
	answer = yabctl_exchange(ctl, request);
	if (ctl->watch)
		answer = yabctl_watch(ctl, request, answer);
	if (answer) {
		json_t *job = json_object_get(answer, "job");

		command->show(ctl, answer);
		if (fflush(stdout) != EOF)
			result = 0;
		/* Who waited for a migration wants to know how it ended. */
		if (ctl->watch && strcmp(yab_figure_text(job, "state"), "completed")) {
			fprintf(stderr, "yabctl: %s\n", yab_figure_text(job, "error"));
			result = YABCTL_FAILED;
		}
	}
	json_decref(answer);
	json_decref(request);
	return result;
}

enum yabctl_option {
	SOCKET = 256, POSTCOPY, BANDWIDTH, CONNECTIONS, COMPRESS, VERIFY, PAUSED, JSON,
	WATCH, VIA, FORCE, FROM, STATE, VERSION, HELP,
};

static const struct option yabctl_long_options[] = {
	{ "socket", required_argument, NULL, SOCKET },
	{ "postcopy", no_argument, NULL, POSTCOPY },
	{ "postcopy-bandwidth", required_argument, NULL, BANDWIDTH },
	{ "connections", required_argument, NULL, CONNECTIONS },
	{ "compress", required_argument, NULL, COMPRESS },
	{ "verify", no_argument, NULL, VERIFY },
	{ "paused", no_argument, NULL, PAUSED },
	{ "json", no_argument, NULL, JSON },
	{ "watch", no_argument, NULL, WATCH },
	{ "via", required_argument, NULL, VIA },
	{ "force", no_argument, NULL, FORCE },
	{ "from", required_argument, NULL, FROM },
	{ "state", required_argument, NULL, STATE },
	{ "version", no_argument, NULL, VERSION },
	{ "help", no_argument, NULL, HELP },
	{ NULL, 0, NULL, 0 },
};

/*
 * Only what the command's usage names: what would be dropped without a word was meant to have
 * an effect. 0, or the exit status.
 */
static int yabctl_check(const struct yabctl *ctl, const struct yabctl_command *command)
{
	const struct option *option = yabctl_long_options;
	char word[32];

	for (; option->name; option++) {
		const char *found = command->usage;

		if (option->val == SOCKET || !(ctl->given & 1U << (option->val - SOCKET)))
			continue;
		snprintf(word, sizeof(word), "--%s", option->name);
		while ((found = strstr(found, word)) && !strchr(" ]", found[strlen(word)]))
			found++;
		if (found)
			continue;
		fprintf(stderr, "yabctl: --%s does not go with %s: usage: yabctl %s\n",
			option->name, command->name, command->usage);
		return YABCTL_USAGE;
	}
	if (!ctl->from != !ctl->state) {
		fprintf(stderr,
			"yabctl: --from and --state go together: memory is of no use without the device state of the same moment\n");
		return YABCTL_USAGE;
	}
	if (!strcmp(command->name, "start") && !ctl->from && ctl->given & ~1U) {
		fprintf(stderr,
			"yabctl: without --from and --state no other option goes with start\n");
		return YABCTL_USAGE;
	}
	return 0;
}

/* What is left to do: -1, or the exit status. */
static int yabctl_options(struct yabctl *ctl, int argc, char **argv)
{
	long number;
	int option;

	/* Its own message would be a line of its own. */
	opterr = 0;
	while ((option = getopt_long(argc, argv, ":", yabctl_long_options, NULL)) != -1) {
		if (option >= SOCKET)
			ctl->given |= 1U << (option - SOCKET);
		switch (option) {
		case SOCKET:
			ctl->socket = optarg;
			break;
		case POSTCOPY:
			break;
		case BANDWIDTH:
			if (yabctl_number_of(optarg, 0, YABCTL_BANDWIDTH_MAX, &number) < 0) {
				fprintf(stderr,
					"yabctl: --postcopy-bandwidth %s: give MiB a second, 0 for no limit\n",
					optarg);
				return YABCTL_USAGE;
			}
			ctl->bandwidth = number << 20;
			break;
		case CONNECTIONS:
			if (yabctl_number_of(optarg, 1, YAB_WIRE_BULKS_MAX, &number) < 0) {
				fprintf(stderr, "yabctl: --connections %s: give 1 to %d\n", optarg,
					YAB_WIRE_BULKS_MAX);
				return YABCTL_USAGE;
			}
			ctl->connections = number;
			break;
		case COMPRESS:
			if (strcmp(optarg, "lz4") && strcmp(optarg, "zstd") &&
			    strcmp(optarg, "none")) {
				fprintf(stderr, "yabctl: --compress %s: give lz4, zstd or none\n",
					optarg);
				return YABCTL_USAGE;
			}
			ctl->codec = optarg;
			break;
		case VERIFY:
			ctl->verify = true;
			break;
		case PAUSED:
			ctl->paused = true;
			break;
		case JSON:
			ctl->json = true;
			break;
		case WATCH:
			ctl->watch = true;
			break;
		case VIA:
			ctl->via = optarg;
			break;
		case FORCE:
			ctl->force = true;
			break;
		case FROM:
			ctl->from = optarg;
			break;
		case STATE:
			ctl->state = optarg;
			break;
		case VERSION:
			printf("yabctl %s\n", YAB_VERSION);
			return 0;
		case HELP:
			yabctl_help();
			return 0;
		case ':':
			fprintf(stderr, "yabctl: %s needs a value: see yabctl --help\n",
				argv[optind - 1]);
			return YABCTL_USAGE;
		default:
			fprintf(stderr, "yabctl: unknown option %s: see yabctl --help\n",
				argv[optind - 1]);
			return YABCTL_USAGE;
		}
	}
	return -1;
}

int main(int argc, char **argv)
{
	struct yabctl ctl = { .socket = YABCTL_SOCKET, .connections = 1, .codec = "none" };
	const struct yabctl_command *command = yabctl_commands;
	int result, count;

	/* A daemon that closes is an error to be told. */
	signal(SIGPIPE, SIG_IGN);
	result = yabctl_options(&ctl, argc, argv);
	if (result >= 0)
		return result;
	if (optind == argc) {
		fprintf(stderr, "yabctl: no command: see yabctl --help\n");
		return YABCTL_USAGE;
	}
	while (command->name && strcmp(argv[optind], command->name))
		command++;
	if (!command->name) {
		fprintf(stderr, "yabctl: no command \"%s\": see yabctl --help\n", argv[optind]);
		return YABCTL_USAGE;
	}
	result = yabctl_check(&ctl, command);
	if (result)
		return result;
	count = argc - optind - 1;
	if (count != command->operands) {
		fprintf(stderr, "yabctl: usage: yabctl %s\n", command->usage);
		return YABCTL_USAGE;
	}
	for (int i = 0; i < count; i++)
		ctl.operands[i] = argv[optind + 1 + i];
	ctl.bar = isatty(STDERR_FILENO) && !ctl.json;
	return yabctl_run(&ctl, command);
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* Records and their files: what is written is read, what is not whole is not believed. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../daemon/journal.h"
#include "script.h"

#define BOOT	"b"
#define TOKEN	"00112233445566778899aabbccddeeff"
#define ROUTE	"ffeeddccbbaa99887766554433221100"
#define OTHER	"0123456789abcdef0123456789abcdef"

static char folder[SCRIPT_FOLDER_SIZE];
static struct event_base *base;
static struct yab_journal *journal;
static char instance[YAB_TOKEN_TEXT_SIZE];
static char error[512];

static struct yab_record_qemu some_qemu(void)
{
	struct yab_record_qemu qemu = {
		.process = { .pid = 4711, .start = 123456789012 },
		.monitor = "/run/vm1.qmp",
		.memory_path = "/proc/self/fd/3",
		.description = "d",
	};

	return qemu;
}

static struct yab_record_migration some_migration(enum yab_record_state state)
{
	struct yab_record_migration migration = {
		.state = state,
		.token = TOKEN,
		.route = ROUTE,
		.instance = OTHER,
		.session = "01234567",
		.peer = "[2001:db8::1]:7655",
		.running = true,
		.connections = 3,
		.bandwidth = 1 << 20,
		.codec = YAB_CODEC_ZSTD,
		.worker = { .pid = 4712, .start = 7 },
		.finding = { .verified = 1, .unverifiable = 2, .different = 3, .page = 4 },
	};

	return migration;
}

static struct yab_record some_record(enum yab_record_state state)
{
	struct yab_record record = { .vm = "vm1", .memory = 1 << 20, .qemu = some_qemu() };

	if (state != YAB_RECORD_NONE)
		record.migration = some_migration(state);
	return record;
}

/* --- records ----------------------------------------------------------------------- */

static void same_record(const struct yab_record *a, const struct yab_record *b)
{
	ck_assert_str_eq(a->vm, b->vm);
	ck_assert_uint_eq(a->memory, b->memory);
	ck_assert_int_eq(a->qemu.process.pid, b->qemu.process.pid);
	ck_assert_uint_eq(a->qemu.process.start, b->qemu.process.start);
	ck_assert_str_eq(a->qemu.monitor, b->qemu.monitor);
	ck_assert_str_eq(a->qemu.memory_path, b->qemu.memory_path);
	ck_assert_str_eq(a->qemu.description, b->qemu.description);
	ck_assert_int_eq(a->migration.state, b->migration.state);
	ck_assert_str_eq(a->migration.token, b->migration.token);
	ck_assert_str_eq(a->migration.route, b->migration.route);
	ck_assert_mem_eq(&a->migration.finding, &b->migration.finding,
			 sizeof(a->migration.finding));
	ck_assert_str_eq(a->migration.instance, b->migration.instance);
	ck_assert_str_eq(a->migration.session, b->migration.session);
	ck_assert_str_eq(a->migration.peer, b->migration.peer);
	ck_assert_int_eq(a->migration.running, b->migration.running);
	ck_assert_uint_eq(a->migration.connections, b->migration.connections);
	ck_assert_uint_eq(a->migration.bandwidth, b->migration.bandwidth);
	ck_assert_int_eq(a->migration.codec, b->migration.codec);
	ck_assert_int_eq(a->migration.worker.pid, b->migration.worker.pid);
	ck_assert_uint_eq(a->migration.worker.start, b->migration.worker.start);
}

static int parse(const char *text, struct yab_record *record)
{
	error[0] = '\0';
	return yab_record_parse(text, strlen(text), BOOT, record, error, sizeof(error));
}

START_TEST(round_trip)
{
	struct yab_record record = some_record(_i), again;
	char *text;

	for (int without = 0; without < 3; without++) {
		if (without == 1)
			memset(&record.migration.worker, 0, sizeof(record.migration.worker));
		if (without == 2 && _i)
			memset(&record.qemu, 0, sizeof(record.qemu));
		text = yab_record_print(&record, BOOT);
		ck_assert_ptr_nonnull(text);
		ck_assert_msg(!parse(text, &again), "%s: %s", error, text);
		same_record(&record, &again);
		free(text);
	}
}
END_TEST

START_TEST(torn)
{
	struct yab_record record = some_record(YAB_RECORD_ASKED), again;
	char *text = yab_record_print(&record, BOOT);
	const size_t whole = strlen(text) - 1;

	ck_assert_str_eq(text + whole, "\n");
	for (size_t length = 0; length < whole; length++) {
		ck_assert_int_eq(yab_record_parse(text, length, BOOT, &again, error,
						  sizeof(error)), -1);
		ck_assert_msg(strstr(error, "torn"), "%s", error);
	}
	/* What an unlucky disk makes of it. */
	memset(text + whole / 2, 0, whole - whole / 2);
	ck_assert_int_eq(yab_record_parse(text, whole, BOOT, &again, error, sizeof(error)), -1);
	free(text);
}
END_TEST

#define HEAD	"\"boot\": \"b\", \"vm\": \"vm1\", \"memory\": 4096"
#define QEMU(pid, more)	"\"qemu\": {\"pid\": " pid ", \"start\": 1, \"monitor\": \"m\", " \
	"\"memory_path\": \"p\", \"description\": \"d\"" more "}"
#define MIGRATION(state, token, more) "\"migration\": {\"state\": \"" state "\", \"token\": " \
	"\"" token "\", \"route\": \"" ROUTE "\", \"instance\": \"" OTHER "\", \"session\": \"\", " \
	"\"peer\": \"h\", \"running\": true" more "}"
#define REST	", \"connections\": 1, \"bandwidth\": 0, \"codec\": \"none\""

static const struct {
	const char *text, *says;	/* NULL: nothing is wrong */
} texts[] = {
	{ "{\"version\": 1, " HEAD "}", NULL },
	{ "{\"version\": 1, " HEAD ", " QEMU("1", "") "}", NULL },
	{ "{\"version\": 1, " HEAD ", " MIGRATION("left", TOKEN, REST) "}", NULL },
	{ "{\"version\": 2, " HEAD "}", "version 2" },
	{ "{\"version\": 0, " HEAD "}", "version 0" },
	{ "{\"version\": \"1\", " HEAD "}", "version 0" },
	{ "{" HEAD "}", "version 0" },
	{ "[]", "no object" },
	{ "{\"version\": 1, " HEAD ", " HEAD "}", "duplicate" },
	{ "{\"version\": 1, " HEAD ", \"more\": 1}", "not understood" },
	{ "{\"version\": 1, \"boot\": \"b\", \"memory\": 4096}", "not understood" },
	{ "{\"version\": 1, \"boot\": \"b\", \"vm\": \"../vm\", \"memory\": 4096}",
	  "not understood" },
	{ "{\"version\": 1, \"boot\": \"b\", \"vm\": \"vm1\", \"memory\": 4097}",
	  "not understood" },
	{ "{\"version\": 1, \"boot\": \"b\", \"vm\": \"vm1\", \"memory\": -4096}",
	  "not understood" },
	{ "{\"version\": 1, " HEAD ", " QEMU("-1", "") "}", "not understood" },
	{ "{\"version\": 1, " HEAD ", " QEMU("4294967297", "") "}", "not understood" },
	{ "{\"version\": 1, " HEAD ", " QEMU("1", ", \"more\": 1") "}", "not understood" },
	{ "{\"version\": 1, " HEAD ", " MIGRATION("none", TOKEN, REST) "}", "not understood" },
	{ "{\"version\": 1, " HEAD ", " MIGRATION("lost", TOKEN, REST) "}", "not understood" },
	{ "{\"version\": 1, " HEAD ", " MIGRATION("left", "", REST) "}", "not understood" },
	{ "{\"version\": 1, " HEAD ", " MIGRATION("leaving", "", REST) "}", NULL },
	{ "{\"version\": 1, " HEAD ", " MIGRATION("leaving", "0", REST) "}", "not understood" },
	{ "{\"version\": 1, " HEAD ", " MIGRATION("left", TOKEN, "") "}", "not understood" },
	{ "{\"version\": 1, " HEAD ", "
	  MIGRATION("left", TOKEN, ", \"connections\": 17, \"bandwidth\": 0, "
				   "\"codec\": \"none\"") "}", "not understood" },
	{ "{\"version\": 1, " HEAD ", "
	  MIGRATION("left", TOKEN, ", \"connections\": 1, \"bandwidth\": 0, "
				   "\"codec\": \"zip\"") "}", "not understood" },
	{ "{\"version\": 1, " HEAD ", "
	  MIGRATION("left", TOKEN, REST ", \"worker\": {\"pid\": -2, \"start\": 1}") "}",
	  "not understood" },
};

START_TEST(understood)
{
	struct yab_record record;
	const int result = parse(texts[_i].text, &record);

	if (!texts[_i].says) {
		ck_assert_msg(!result, "%s: %s", error, texts[_i].text);
		return;
	}
	ck_assert_msg(result == -1, "accepted: %s", texts[_i].text);
	ck_assert_msg(strstr(error, texts[_i].says), "does not say %s: %s", texts[_i].says, error);
	ck_assert(!strchr(error, '\n'));
}
END_TEST

/* Numbers of processes from before a restart of the system are others' now. */
START_TEST(other_boot)
{
	struct yab_record record = some_record(YAB_RECORD_LEFT), again;
	char *text = yab_record_print(&record, "c");

	ck_assert(!parse(text, &again));
	ck_assert_int_eq(again.qemu.process.pid, 0);
	ck_assert_int_eq(again.migration.worker.pid, 0);
	ck_assert_str_eq(again.qemu.monitor, "");
	/* Where the kernel does not tell which start it is, it is never the same. */
	ck_assert(!yab_record_parse(text, strlen(text), "c", &again, error, sizeof(error)));
	ck_assert_int_ne(again.qemu.process.pid, 0);
	free(text);
	text = yab_record_print(&record, "");
	ck_assert(!yab_record_parse(text, strlen(text), "", &again, error, sizeof(error)));
	ck_assert_int_eq(again.qemu.process.pid, 0);
	free(text);
}
END_TEST

/* --- the folder -------------------------------------------------------------------- */

static void set_up(void)
{
	script_folder_make(folder);
	base = event_base_new();
	journal = yab_journal_open(base, folder, instance, error, sizeof(error));
	ck_assert_msg(journal, "%s", error);
}

static void tear_down(void)
{
	yab_journal_close(journal);
	event_base_free(base);
	script_folder_drop(folder);
}

/* As after a kill -9: what is on the disk counts. The instance of before in @was. */
static void start_again(char was[YAB_TOKEN_TEXT_SIZE])
{
	memcpy(was, instance, sizeof(instance));
	yab_journal_close(journal);
	journal = yab_journal_open(base, folder, instance, error, sizeof(error));
	ck_assert_msg(journal, "%s", error);
}

static bool is_there(const char *file)
{
	return !access(script_path(folder, file), F_OK);
}

static void put(const char *file, const char *text)
{
	script_file_write(script_path(folder, file), text, strlen(text));
}

/* The only record; all zero if there is none. */
static struct yab_record only(void)
{
	struct yab_record *records, record = { .memory = 0 };
	size_t count;

	records = yab_journal_list(journal, &count);
	ck_assert_ptr_nonnull(records);
	ck_assert_uint_le(count, 1);
	if (count)
		record = records[0];
	free(records);
	return record;
}

static int promise_qemu(void)
{
	const struct yab_record_qemu qemu = some_qemu();

	return yab_journal_promise_qemu(journal, "vm1", 1 << 20, &qemu, error, sizeof(error));
}

static int promise(enum yab_record_state state)
{
	const struct yab_record_migration migration = some_migration(state);

	return yab_journal_promise_migration(journal, "vm1", 1 << 20, &migration, error,
					     sizeof(error));
}

static void note(enum yab_record_state state)
{
	const struct yab_record_migration migration = some_migration(state);

	yab_journal_note(journal, "vm1", 1 << 20, &migration);
}

START_TEST(life_of_a_record)
{
	struct yab_record record, expected = some_record(YAB_RECORD_LEFT);
	char was[YAB_TOKEN_TEXT_SIZE];

	ck_assert(!promise_qemu());
	ck_assert(!promise(YAB_RECORD_LEAVING));
	ck_assert(!promise(YAB_RECORD_ASKED));
	note(YAB_RECORD_LEFT);
	start_again(was);
	ck_assert_str_eq(instance, was);
	record = only();
	/* The boot is this one. */
	same_record(&record, &expected);
	yab_journal_note_exit(journal, "vm1");
	start_again(was);
	record = only();
	ck_assert_str_eq(record.qemu.monitor, "");
	ck_assert_int_eq(record.migration.state, YAB_RECORD_LEFT);
	note(YAB_RECORD_NONE);
	ck_assert(!is_there("vm1.json"));
	ck_assert_uint_eq(only().memory, 0);
}
END_TEST

static const enum yab_record_state session_states[] = { YAB_RECORD_COMPLETE, YAB_RECORD_GONE };

START_TEST(sessions)
{
	const struct yab_record_migration over = some_migration(session_states[_i]);
	char was[YAB_TOKEN_TEXT_SIZE];
	struct yab_record record;

	ck_assert(!promise(YAB_RECORD_ARRIVING));
	ck_assert(!promise(YAB_RECORD_COMMITTED));
	note(YAB_RECORD_ARRIVED);
	yab_journal_keep(journal, "vm1", 1 << 20, &over);
	ck_assert(!is_there("vm1.json"));
	ck_assert(is_there(ROUTE ".session"));
	start_again(was);
	record = only();
	ck_assert_int_eq(record.migration.state, session_states[_i]);
	ck_assert_str_eq(record.migration.token, TOKEN);
	/* The VM may leave meanwhile. */
	ck_assert(!promise(YAB_RECORD_LEAVING));
	note(YAB_RECORD_NONE);
	ck_assert(yab_journal_knows(journal, TOKEN));
	ck_assert(!yab_journal_knows(journal, OTHER));
	ck_assert(!yab_journal_knows(journal, NULL));
	yab_journal_forget(journal, ROUTE);
	ck_assert(!yab_journal_knows(journal, TOKEN));
	ck_assert(!is_there(ROUTE ".session"));
	ck_assert_uint_eq(only().memory, 0);
	ck_assert_str_eq(instance, was);
}
END_TEST

/* Whoever loses its journal makes no promises for the supervisor before. */
START_TEST(instances)
{
	char was[YAB_TOKEN_TEXT_SIZE], path[200];

	start_again(was);
	ck_assert_str_eq(instance, was);
	ck_assert(!yab_journal_renew(journal, instance, error, sizeof(error)));
	ck_assert_str_ne(instance, was);
	start_again(was);
	ck_assert_str_eq(instance, was);
	snprintf(path, sizeof(path), "%s/instance", folder);
	ck_assert(!truncate(path, 7));
	start_again(was);
	ck_assert_str_ne(instance, was);
	ck_assert(!unlink(path));
	start_again(was);
	ck_assert_str_ne(instance, was);
}
END_TEST

/* What a host has promised is not for its copy to keep, nor are its guests. */
START_TEST(copied_host)
{
	char was[YAB_TOKEN_TEXT_SIZE], line[200], machine[YAB_PROCESS_MACHINE_SIZE];

	ck_assert(!promise_qemu());
	ck_assert(!promise(YAB_RECORD_LEAVING));
	snprintf(line, sizeof(line), "%s 0123456789abcdef0123456789abcdef\n", instance);
	put("instance", line);
	start_again(was);
	ck_assert_str_ne(instance, was);
	ck_assert_uint_eq(only().memory, 0);
	ck_assert(!is_there("vm1.json"));
	ck_assert(is_there("vm1.json.aside"));
	/* From now on it is this host's. */
	ck_assert(!promise_qemu());
	start_again(was);
	ck_assert_str_eq(instance, was);
	ck_assert_str_eq(only().vm, "vm1");
	yab_process_machine(machine);
	ck_assert(machine[0] && !strpbrk(machine, " \n"));
}
END_TEST

static const char * const strange_instances[] = {
	"", "\n", " \n", OTHER "\n", OTHER " \n", OTHER " x", OTHER "x y\n", "x " OTHER "\n",
};

START_TEST(strange_instance)
{
	char was[YAB_TOKEN_TEXT_SIZE];

	ck_assert(!promise_qemu());
	put("instance", strange_instances[_i]);
	start_again(was);
	ck_assert_str_ne(instance, was);
	ck_assert_str_ne(instance, OTHER);
	ck_assert_str_eq(only().vm, "vm1");
}
END_TEST

static const struct {
	const char *file, *text;
} strange[] = {
	{ "vm1.json", "" },
	{ "vm1.json", "{\"version\": 1, \"boot\":" },
	{ "vm1.json", "{\"version\": 2, " HEAD ", " QEMU("1", "") "}" },
	{ "vm1.json", "{\"version\": 1, " HEAD "}" },
	{ "vm3.json", "{\"version\": 1, " HEAD ", " QEMU("1", "") "}" },
	{ "vm1.json", "{\"version\": 1, " HEAD ", " MIGRATION("complete", TOKEN, REST) "}" },
	{ "x.session", "{\"version\": 1, " HEAD ", " MIGRATION("complete", TOKEN, REST) "}" },
	{ ROUTE ".session", "{\"version\": 1, " HEAD ", " MIGRATION("arrived", TOKEN, REST) "}" },
};

START_TEST(set_aside)
{
	const struct yab_record_qemu qemu = some_qemu();
	char was[YAB_TOKEN_TEXT_SIZE], aside[100];

	ck_assert(!yab_journal_promise_qemu(journal, "vm2", 1 << 20, &qemu, error,
					    sizeof(error)));
	put(strange[_i].file, strange[_i].text);
	start_again(was);
	ck_assert_str_eq(only().vm, "vm2");
	ck_assert(!is_there(strange[_i].file));
	snprintf(aside, sizeof(aside), "%s.aside", strange[_i].file);
	ck_assert(is_there(aside));
	ck_assert_str_ne(instance, was);
	/* Once. */
	start_again(was);
	ck_assert_str_eq(instance, was);
	ck_assert_str_eq(only().vm, "vm2");
}
END_TEST

/* A disk without room: no file can grow. */
static void fill_disk(bool full)
{
	struct rlimit limit;

	signal(SIGXFSZ, SIG_IGN);
	ck_assert(!getrlimit(RLIMIT_FSIZE, &limit));
	limit.rlim_cur = full ? 0 : limit.rlim_max;
	ck_assert(!setrlimit(RLIMIT_FSIZE, &limit));
}

START_TEST(full_disk_before_a_promise)
{
	char was[YAB_TOKEN_TEXT_SIZE];

	fill_disk(true);
	ck_assert_int_eq(promise_qemu(), -1);
	ck_assert_msg(strstr(error, folder) && strstr(error, strerror(EFBIG)), "%s", error);
	ck_assert(!strchr(error, '\n'));
	ck_assert(!is_there("vm1.json") && !is_there(".new"));
	ck_assert_uint_eq(only().memory, 0);
	fill_disk(false);
	ck_assert(!promise_qemu());
	ck_assert(!promise(YAB_RECORD_LEAVING));
	fill_disk(true);
	ck_assert_int_eq(promise(YAB_RECORD_ASKED), -1);
	ck_assert_int_eq(only().migration.state, YAB_RECORD_LEAVING);
	start_again(was);
	ck_assert_int_eq(only().migration.state, YAB_RECORD_LEAVING);
	fill_disk(false);
	ck_assert(!promise(YAB_RECORD_ASKED));
}
END_TEST

START_TEST(full_disk_after_a_promise)
{
	const struct yab_record_migration complete = some_migration(YAB_RECORD_COMPLETE);
	char was[YAB_TOKEN_TEXT_SIZE];

	ck_assert(!promise_qemu());
	ck_assert(!promise(YAB_RECORD_ARRIVING));
	ck_assert(!promise(YAB_RECORD_COMMITTED));
	fill_disk(true);
	note(YAB_RECORD_ARRIVED);
	yab_journal_keep(journal, "vm1", 1 << 20, &complete);
	/* The session is not safe yet, so nothing may take its record's place. */
	ck_assert_int_eq(promise(YAB_RECORD_LEAVING), -1);
	ck_assert_msg(strstr(error, "another migration"), "%s", error);
	ck_assert(!is_there(ROUTE ".session"));
	fill_disk(false);
	/* Tried again, here for the last time. */
	start_again(was);
	ck_assert(is_there(ROUTE ".session"));
	ck_assert(is_there("vm1.json"));
	ck_assert(!promise(YAB_RECORD_LEAVING));
	ck_assert_str_eq(instance, was);
}
END_TEST

/* A guest may wait for what can be done without room. */
START_TEST(full_disk_at_the_start)
{
	char was[YAB_TOKEN_TEXT_SIZE];

	ck_assert(!promise_qemu());
	put("vm2.json", "{");
	fill_disk(true);
	start_again(was);
	ck_assert_str_ne(instance, was);
	ck_assert_str_eq(only().vm, "vm1");
	start_again(was);
	ck_assert_str_ne(instance, was);
	fill_disk(false);
}
END_TEST

/* What the disk has of the only VM. */
static uint64_t bandwidth_on_disk(void)
{
	struct yab_record record;
	char boot[YAB_PROCESS_BOOT_SIZE], path[200], text[4096];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/vm1.json", folder);
	fd = open(path, O_RDONLY);
	n = read(fd, text, sizeof(text));
	close(fd);
	ck_assert_int_gt(n, 0);
	yab_process_boot(boot);
	ck_assert(!yab_record_parse(text, (size_t)n, boot, &record, error, sizeof(error)));
	return record.migration.bandwidth;
}

static void note_bandwidth(uint64_t bandwidth)
{
	struct yab_record_migration migration = some_migration(YAB_RECORD_LEAVING);

	migration.bandwidth = bandwidth;
	yab_journal_note_figures(journal, "vm1", 1 << 20, &migration);
}

/* Many are few writes, and the last one is among them. */
START_TEST(figures)
{
	char was[YAB_TOKEN_TEXT_SIZE];

	ck_assert(!promise(YAB_RECORD_LEAVING));
	note_bandwidth(1);
	ck_assert_uint_eq(bandwidth_on_disk(), 1);
	for (uint64_t i = 2; i < 1000; i++) {
		note_bandwidth(i);
		ck_assert_uint_eq(bandwidth_on_disk(), 1);
		ck_assert_uint_eq(only().migration.bandwidth, i);
	}
	switch (_i) {
	case 0:
		/* After a while. */
		while (bandwidth_on_disk() == 1)
			event_base_loop(base, EVLOOP_ONCE);
		break;
	case 1:
		/* At the end. */
		start_again(was);
		break;
	default:
		/* With whatever else is written. */
		ck_assert(!promise_qemu());
		break;
	}
	ck_assert_uint_eq(bandwidth_on_disk(), 999);
}
END_TEST

START_TEST(without_a_journal)
{
	struct yab_record *records;
	size_t count = 1;

	yab_journal_close(journal);
	journal = NULL;
	ck_assert(!promise_qemu());
	ck_assert(!promise(YAB_RECORD_LEAVING));
	note(YAB_RECORD_NONE);
	note_bandwidth(1);
	yab_journal_note_exit(journal, "vm1");
	yab_journal_forget(journal, ROUTE);
	records = yab_journal_list(journal, &count);
	ck_assert_uint_eq(count, 0);
	free(records);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("journal");
	TCase *records = tcase_create("records"), *files = tcase_create("files");

	tcase_add_loop_test(records, round_trip, 0, YAB_RECORD_STATES);
	tcase_add_test(records, torn);
	tcase_add_loop_test(records, understood, 0, sizeof(texts) / sizeof(*texts));
	tcase_add_test(records, other_boot);
	suite_add_tcase(suite, records);
	tcase_add_checked_fixture(files, set_up, tear_down);
	tcase_add_test(files, life_of_a_record);
	tcase_add_loop_test(files, sessions, 0, 2);
	tcase_add_test(files, instances);
	tcase_add_test(files, copied_host);
	tcase_add_loop_test(files, strange_instance, 0,
			    sizeof(strange_instances) / sizeof(*strange_instances));
	tcase_add_loop_test(files, set_aside, 0, sizeof(strange) / sizeof(*strange));
	tcase_add_test(files, full_disk_before_a_promise);
	tcase_add_test(files, full_disk_after_a_promise);
	tcase_add_test(files, full_disk_at_the_start);
	tcase_add_loop_test(files, figures, 0, 3);
	tcase_add_test(files, without_a_journal);
	suite_add_tcase(suite, files);
	return script_run(suite);
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* Descriptions of VMs, their names, and the states of a VM. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../daemon/description.h"
#include "../../daemon/vm.h"
#include "script.h"

#define COMMAND	"[\"qemu\", \"mem-path=${memory},size=${memory_size}\", \"${incoming}\", " \
		"\"-qmp\", \"${monitor}\"]"
#define GOOD	"{\"name\": \"vm1\", \"memory\": \"256M\", \"qemu\": " COMMAND "}"

static struct yab_description *parse(const char *text, char *error, size_t size)
{
	error[0] = '\0';
	return yab_description_parse(text, strlen(text), "vms/vm1.json", "vm1", error, size);
}

START_TEST(good)
{
	struct yab_description *description;
	char error[512];

	description = parse(GOOD, error, sizeof(error));
	ck_assert_msg(description, "%s", error);
	ck_assert_str_eq(description->name, "vm1");
	ck_assert_uint_eq(description->memory, 256ULL << 20);
	ck_assert_str_eq(description->command[0], "qemu");
	yab_description_free(description);
}
END_TEST

/* What is wrong, and what the one line must name. */
static const struct {
	const char *text, *says;
} wrong[] = {
	{ "", "line 1" },
	{ "{", "line 1" },
	{ "[]", "one JSON object" },
	{ GOOD "x", "line 1" },
	{ "{\"name\": \"vm1\", \"name\": \"vm1\"}", "duplicate" },
	{ "{\"memory\": \"1M\", \"qemu\": " COMMAND "}", "\"name\"" },
	{ "{\"name\": 1, \"memory\": \"1M\", \"qemu\": " COMMAND "}", "\"name\"" },
	{ "{\"name\": \"vm2\", \"memory\": \"1M\", \"qemu\": " COMMAND "}", "\"vm2\"" },
	{ "{\"name\": \"vm1\", \"qemu\": " COMMAND "}", "\"memory\"" },
	{ "{\"name\": \"vm1\", \"memory\": 1048576, \"qemu\": " COMMAND "}", "\"memory\"" },
	{ "{\"name\": \"vm1\", \"memory\": \"1M\"}", "\"qemu\"" },
	{ "{\"name\": \"vm1\", \"memory\": \"1M\", \"qemu\": []}", "\"qemu\"" },
	{ "{\"name\": \"vm1\", \"memory\": \"1M\", \"qemu\": \"qemu ${memory}\"}", "\"qemu\"" },
	{ "{\"name\": \"vm1\", \"memory\": \"1M\", \"qemu\": [\"qemu\", 1]}", "element 2" },
	{ "{\"name\": \"vm1\", \"memory\": \"1M\", \"qemu\": [\"\"]}", "element 1" },
	{ "{\"name\": \"vm1\", \"memory\": \"1M\", \"cpu\": 1, \"qemu\": " COMMAND "}", "\"cpu\"" },
	{ "{\"name\": \"vm1\", \"memory\": \"1M\", \"qemu\": [\"${incoming}\", \"${monitor}\"]}",
	  "${memory}" },
	{ "{\"name\": \"vm1\", \"memory\": \"1M\", \"qemu\": [\"${memory_size}\", "
	  "\"${incoming}\", \"${monitor}\"]}", "${memory}" },
	{ "{\"name\": \"vm1\", \"memory\": \"1M\", \"qemu\": [\"${memory}\", \"${monitor}\"]}",
	  "${incoming}" },
	{ "{\"name\": \"vm1\", \"memory\": \"1M\", \"qemu\": [\"${memory}\", \"${incoming}\"]}",
	  "${monitor}" },
	{ "{\"name\": \"vm1\", \"memory\": \"1M\", \"qemu\": [\"${memory}${monitor}\", "
	  "\"x${incoming}\"]}", "of its own" },
	{ "{\"name\": \"vm1\", \"memory\": \"1M\", \"qemu\": [\"${memory}${home}\"]}", "${home}" },
};

START_TEST(errors)
{
	char error[512];

	ck_assert_ptr_null(parse(wrong[_i].text, error, sizeof(error)));
	ck_assert_msg(strstr(error, "vms/vm1.json") == error, "names no file: %s", error);
	ck_assert_msg(strstr(error, wrong[_i].says), "does not say %s: %s", wrong[_i].says, error);
	ck_assert_msg(!strchr(error, '\n'), "more than one line: %s", error);
}
END_TEST

static const struct {
	const char *text;
	uint64_t bytes;		/* 0: refused */
} sizes[] = {
	{ "4096", 4096 }, { "4K", 4096 }, { "1M", 1ULL << 20 }, { "3G", 3ULL << 30 },
	{ "65536G", 1ULL << 46 }, { "65537G", 0 }, { "0", 0 }, { "0G", 0 }, { "", 0 },
	{ "1", 0 }, { "4097", 0 }, { "2K", 0 }, { "-4K", 0 }, { "+4K", 0 }, { " 4K", 0 },
	{ "4k", 0 }, { "4KB", 0 }, { "4 K", 0 }, { "1T", 0 }, { "0x1000", 0 }, { "1.5G", 0 },
	{ "99999999999999999999", 0 }, { "18446744073709551615K", 0 }, { "M", 0 },
};

START_TEST(memory_sizes)
{
	struct yab_description *description;
	char text[512], error[512];

	snprintf(text, sizeof(text), "{\"name\": \"vm1\", \"memory\": \"%s\", \"qemu\": %s}",
		 sizes[_i].text, COMMAND);
	description = parse(text, error, sizeof(error));
	if (sizes[_i].bytes) {
		ck_assert_msg(description, "%s: %s", sizes[_i].text, error);
		ck_assert_uint_eq(description->memory, sizes[_i].bytes);
	} else {
		ck_assert_msg(!description, "%s was accepted", sizes[_i].text);
		ck_assert(strstr(error, "\"memory\""));
	}
	yab_description_free(description);
}
END_TEST

static void expanded(bool incoming, const char *const *expected)
{
	struct yab_description_values values = {
		.memory = "/proc/self/fd/3",
		.monitor = "unix:/x,server=on",
		.incoming = incoming,
	};
	struct yab_description *description;
	char error[512], **command;
	size_t i;

	description = parse(GOOD, error, sizeof(error));
	ck_assert_ptr_nonnull(description);
	command = yab_description_command(description, &values);
	ck_assert_ptr_nonnull(command);
	for (i = 0; expected[i]; i++) {
		ck_assert_ptr_nonnull(command[i]);
		ck_assert_str_eq(command[i], expected[i]);
	}
	ck_assert_ptr_null(command[i]);
	yab_description_command_free(command);
	yab_description_free(description);
}

START_TEST(placeholders_start)
{
	static const char *const expected[] = {
		"qemu", "mem-path=/proc/self/fd/3,size=268435456", "-qmp", "unix:/x,server=on", NULL
	};

	expanded(false, expected);
}
END_TEST

START_TEST(placeholders_incoming)
{
	static const char *const expected[] = {
		"qemu", "mem-path=/proc/self/fd/3,size=268435456", "-S", "-incoming", "defer",
		"-qmp", "unix:/x,server=on", NULL
	};

	expanded(true, expected);
}
END_TEST

START_TEST(names)
{
	static const char *const good_names[] = { "a", "vm1", "A.b_c-9", "-", "_", "controls" };
	static const char *const bad_names[] = {
		"", ".", "..", ".vm", "control", "a/b", "../x", "a b", "a\n", "\xc3\xa4", "a\\b",
	};
	char name[301], error[512];

	for (size_t i = 0; i < 6; i++)
		ck_assert_msg(yab_description_name_valid(good_names[i]), "%s", good_names[i]);
	for (size_t i = 0; i < 11; i++) {
		ck_assert_msg(!yab_description_name_valid(bad_names[i]), "%s", bad_names[i]);
		ck_assert_int_lt(yab_description_name_check(bad_names[i], error, sizeof(error)),
				 0);
		ck_assert_msg(!strchr(error, '\n'), "more than one line: %s", error);
	}
	memset(name, 'x', 300);
	name[300] = '\0';
	ck_assert(!yab_description_name_valid(name));
	ck_assert_int_eq(yab_description_name_check(name, error, sizeof(error)), -1);
	ck_assert(strlen(error) < 250);
	name[64] = '\0';
	ck_assert(!yab_description_name_valid(name));
	name[63] = '\0';
	ck_assert(yab_description_name_valid(name));
}
END_TEST

/* A file is read, and one that everybody may write is not. */
START_TEST(files)
{
	char folder[SCRIPT_FOLDER_SIZE], path[64], error[512];
	struct yab_description *description;
	FILE *file;

	script_folder_make(folder);
	snprintf(path, sizeof(path), "%s/vm1.json", folder);
	ck_assert_ptr_null(yab_description_load(folder, "vm1", error, sizeof(error)));
	ck_assert(strstr(error, path));
	ck_assert_ptr_null(yab_description_load(folder, "../vm1", error, sizeof(error)));

	file = fopen(path, "w");
	ck_assert_ptr_nonnull(file);
	fputs(GOOD, file);
	ck_assert_int_eq(fclose(file), 0);
	ck_assert_int_eq(chmod(path, 0644), 0);
	description = yab_description_load(folder, "vm1", error, sizeof(error));
	ck_assert_msg(description, "%s", error);
	yab_description_free(description);
	ck_assert_int_eq(chmod(path, 0646), 0);
	ck_assert_ptr_null(yab_description_load(folder, "vm1", error, sizeof(error)));
	ck_assert(strstr(error, "chmod"));

	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	ck_assert_ptr_null(yab_description_load(folder, "vm1", error, sizeof(error)));
	ck_assert(strstr(error, "regular file"));
	script_folder_drop(folder);
}
END_TEST

/* Nothing leads out of gone, into starting or incoming, or from a job to a job. */
START_TEST(states)
{
	for (int from = 0; from < YAB_VM_STATES; from++) {
		ck_assert(!yab_vm_may_enter(from, from));
		ck_assert(!yab_vm_may_enter(from, YAB_VM_STARTING));
		ck_assert(!yab_vm_may_enter(from, YAB_VM_INCOMING));
		ck_assert(!yab_vm_may_enter(YAB_VM_GONE, from));
		ck_assert_int_eq(yab_vm_may_enter(from, YAB_VM_GONE), from != YAB_VM_GONE);
		ck_assert_int_eq(yab_vm_may_enter(from, YAB_VM_OUTGOING),
				 from == YAB_VM_RUNNING || from == YAB_VM_PAUSED);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("vm");
	TCase *tcase = tcase_create("vm");

	tcase_add_test(tcase, good);
	tcase_add_loop_test(tcase, errors, 0, sizeof(wrong) / sizeof(*wrong));
	tcase_add_loop_test(tcase, memory_sizes, 0, sizeof(sizes) / sizeof(*sizes));
	tcase_add_test(tcase, placeholders_start);
	tcase_add_test(tcase, placeholders_incoming);
	tcase_add_test(tcase, names);
	tcase_add_test(tcase, files);
	tcase_add_test(tcase, states);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* What bars a migration can be seen in a description before QEMU is started, and only that. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "../../daemon/ram.h"
#include "../../daemon/vm.h"
#include "script.h"

#define REST	"\"-qmp\", \"${monitor}\", \"${incoming}\", \"-name\", \"${memory}\""
#define MACHINE	"\"-machine\", \"pc,memory-backend=ram0\", "
#define OBJECT(properties)	"\"-object\", \"memory-backend-file,id=ram0," properties "\", "
#define FILE_OF	"size=${memory_size},mem-path=${memory}"

/* Arguments of QEMU, and what the one line must name; NULL: nothing is wrong. */
static const struct {
	const char *arguments, *says;
} commands[] = {
	{ MACHINE OBJECT(FILE_OF ",share=on"), NULL },
	{ OBJECT("share=true," FILE_OF) "\"-M\", \"memory-backend=ram0\", ", NULL },
	{ MACHINE OBJECT(FILE_OF), "memory of VM vm1 is not shared" },
	{ MACHINE OBJECT(FILE_OF ",share=off"), "is not shared" },
	{ MACHINE OBJECT(FILE_OF ",share=off,share=on"), NULL },
	/* Notations of QEMU. */
	{ "\"--machine\", \"pc\", \"-machine\", \"memory-backend=ram0\", "
	  "\"--object\", \"qom-type=memory-backend-file,id=ram0," FILE_OF ",share=no\", ",
	  "is not shared" },
	{ MACHINE "\"-object\", \"{\\\"qom-type\\\": \\\"memory-backend-file\\\", \\\"id\\\": "
	  "\\\"ram0\\\", \\\"mem-path\\\": \\\"${memory}\\\", \\\"share\\\": true, \\\"size\\\": "
	  "1048576}\", ", NULL },
	{ MACHINE "\"-object\", \"{\\\"qom-type\\\": \\\"memory-backend-file\\\", \\\"id\\\": "
	  "\\\"ram0\\\", \\\"mem-path\\\": \\\"${memory}\\\", \\\"share\\\": false}\", ",
	  "is not shared" },
	{ "\"-machine\", \"pc,memory-backend=none\", " MACHINE OBJECT(FILE_OF ",share=on"), NULL },
	{ "\"-machine\", \"pc,memory-backend=a,,b\", \"-object\", "
	  "\"memory-backend-file,id=a,,b," FILE_OF "\", ", "is not shared" },
	{ MACHINE OBJECT(FILE_OF ",share"), NULL },
	{ MACHINE OBJECT("share," FILE_OF), NULL },
	{ "\"-machine\", \"pc,memory_backend=ram0\", " OBJECT(FILE_OF ",share=on"), NULL },
	{ "\"-machine\", \"pc,memory_backend=ram0\", " OBJECT(FILE_OF), "is not shared" },
	/* Another backend than the machine's is nobody's business. */
	{ MACHINE OBJECT(FILE_OF ",share=on") "\"-object\", \"memory-backend-ram,id=x,size=1M\", ",
	  NULL },
	{ MACHINE "\"-object\", \"memory-backend-memfd,id=ram0,size=1M,share=on\", ",
	  "is a memory-backend-memfd" },
	{ MACHINE OBJECT("size=1M,mem-path=/dev/shm/x,share=on"), "is not the file" },
	{ MACHINE OBJECT("size=1M,mem-path=/x${memory},share=on"), "is not the file" },
	/* RAM that the machine makes by itself. */
	{ "\"-machine\", \"pc\", " OBJECT(FILE_OF ",share=on"), "is not shared" },
	{ OBJECT(FILE_OF ",share=on") "\"-numa\", \"node,memdev=ram0\", ", "is not shared" },
	{ "\"-mem-path\", \"${memory}\", \"-mem-prealloc\", ", "is not shared" },
	/* Sizes: those that are understood. */
	{ MACHINE OBJECT("size=1M,mem-path=${memory},share=on"), NULL },
	{ MACHINE OBJECT("size=1024K,mem-path=${memory},share=on"), NULL },
	{ MACHINE OBJECT("size=1m,mem-path=${memory},share=on"), NULL },
	{ MACHINE OBJECT("size=2M,mem-path=${memory},share=on"),
	  "VM vm1 has 2097152 bytes of memory in QEMU and 1048576" },
	{ MACHINE OBJECT("size=4096,mem-path=${memory},share=on"), "has 4096 bytes" },
	/* Unseen: QEMU is asked when the VM moves. */
	{ "", NULL },
	{ "\"-readconfig\", \"/etc/vm1.cfg\", \"-mem-path\", \"x\", ", NULL },
	{ "\"-readconfig\", \"/etc/vm1.cfg\", " MACHINE OBJECT(FILE_OF ",share=off"), NULL },
	{ MACHINE, NULL },
	{ MACHINE "\"-object\", \"rng-random,id=ram0\", ", NULL },
	/* What QEMU refuses is QEMU's to refuse. */
	{ MACHINE "\"-object\", \"{\", ", NULL },
	{ MACHINE "\"-object\", \",\", \"-machine\", \",,,=,\", ", NULL },
	{ MACHINE "\"-object\", \"memory-backend-file,id=\", ", NULL },
	{ "\"-machine\", \"{\\\"memory-backend\\\": 7}\", " OBJECT(FILE_OF), NULL },
};

static struct yab_description *describe(const char *arguments, char *error, size_t size)
{
	char text[2048];

	snprintf(text, sizeof(text),
		 "{\"name\": \"vm1\", \"memory\": \"1M\", \"qemu\": [\"qemu\", %s%s]}", arguments,
		 REST);
	return yab_description_parse(text, strlen(text), "vm1.json", "vm1", error, size);
}

START_TEST(seen_in_commands)
{
	struct yab_description *description;
	char error[512] = "";
	int result;

	description = describe(commands[_i].arguments, error, sizeof(error));
	ck_assert_msg(description, "%s", error);
	result = yab_ram_check_description(description, error, sizeof(error));
	if (commands[_i].says) {
		ck_assert_msg(result == -1, "accepted: %s", commands[_i].arguments);
		ck_assert_msg(strstr(error, commands[_i].says), "%s: %s", commands[_i].arguments,
			      error);
		ck_assert_msg(!strchr(error, '\n'), "more than one line: %s", error);
	} else {
		ck_assert_msg(!result, "%s: %s", commands[_i].arguments, error);
	}
	yab_description_free(description);
}
END_TEST

/* The last word of a command has no value. */
START_TEST(ends)
{
	char qemu[] = "qemu", object[] = "-object", *words[3] = { qemu, object };
	struct yab_description description = { .name = "vm1", .command = words };
	char error[512];

	ck_assert_int_eq(yab_ram_check_description(&description, error, sizeof(error)), 0);
	words[0] = NULL;
	ck_assert_int_eq(yab_ram_check_description(&description, error, sizeof(error)), 0);
}
END_TEST

/* QEMU's answers are judged in the same words. */
START_TEST(same_words)
{
	struct yab_ram ram = { .type = "memory-backend-file", .path = "/x", .memory = "/x",
			       .size = 1 << 20 };
	struct yab_description *description;
	char seen[512], asked[512];

	description = describe(MACHINE OBJECT(FILE_OF), seen, sizeof(seen));
	ck_assert_ptr_nonnull(description);
	ck_assert_int_eq(yab_ram_check_description(description, seen, sizeof(seen)), -1);
	ck_assert_int_eq(yab_ram_check(&ram, "vm1", 1 << 20, asked, sizeof(asked)), -1);
	ck_assert_str_eq(seen, asked);
	ram.shared = true;
	ck_assert_int_eq(yab_ram_check(&ram, "vm1", 1 << 20, asked, sizeof(asked)), 0);
	yab_description_free(description);
}
END_TEST

/* It may name the machine; but what is wrong whatever it adds is wrong. */
START_TEST(wrapper)
{
	static char * const programs[] = { "/usr/local/bin/vm-q35", "sh", "/opt/kvm", NULL };
	struct yab_description *description;
	char error[512];

	for (size_t i = 0; programs[i]; i++) {
		description = describe(OBJECT(FILE_OF ",share=on"), error, sizeof(error));
		ck_assert_ptr_nonnull(description);
		ck_assert_int_eq(yab_ram_check_description(description, error, sizeof(error)), -1);
		free(description->command[0]);
		description->command[0] = strdup(programs[i]);
		ck_assert_int_eq(yab_ram_check_description(description, error, sizeof(error)),
				 programs[i + 1] ? 0 : -1);
		yab_description_free(description);
	}
	description = describe(MACHINE OBJECT(FILE_OF), error, sizeof(error));
	free(description->command[0]);
	description->command[0] = strdup(programs[0]);
	ck_assert_int_eq(yab_ram_check_description(description, error, sizeof(error)), -1);
	yab_description_free(description);
}
END_TEST

/* Nothing is started, and the VM is in no table. */
START_TEST(not_started)
{
	char folder[SCRIPT_FOLDER_SIZE], text[1024], error[512] = "";
	const char *path;
	struct yab_vms *vms;

	script_folder_make(folder);
	path = script_path(folder, "vm1.json");
	snprintf(text, sizeof(text),
		 "{\"name\": \"vm1\", \"memory\": \"1M\", \"qemu\": [\"false\", %s%s]}",
		 MACHINE OBJECT(FILE_OF), REST);
	script_file_write(path, text, strlen(text));
	ck_assert_int_eq(chmod(path, 0600), 0);
	vms = yab_vms_new(NULL, folder, folder);
	ck_assert_ptr_nonnull(vms);
	ck_assert_int_eq(yab_vms_start(vms, "vm1", NULL, NULL, error, sizeof(error)), -1);
	ck_assert_msg(strstr(error, "is not shared"), "%s", error);
	ck_assert_ptr_null(yab_vms_first(vms));
	yab_vms_free(vms);
	script_folder_drop(folder);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("ram");
	TCase *tcase = tcase_create("ram");

	tcase_add_loop_test(tcase, seen_in_commands, 0, sizeof(commands) / sizeof(*commands));
	tcase_add_test(tcase, ends);
	tcase_add_test(tcase, same_words);
	tcase_add_test(tcase, wrapper);
	tcase_add_test(tcase, not_started);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}

// SPDX-License-Identifier: GPL-2.0-or-later
#include "journal.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory.h"

#define YAB_JOURNAL_INSTANCE		"instance"
#define YAB_JOURNAL_VM_SUFFIX		".json"
#define YAB_JOURNAL_SESSION_SUFFIX	".session"
#define YAB_JOURNAL_ASIDE_SUFFIX	".aside"
/* A temporary file, which no record can be named like. */
#define YAB_JOURNAL_TEMPORARY		".new"
#define YAB_JOURNAL_FILE_SIZE		(YAB_NAME_SIZE + 16)
/* Of a note that could not be written. */
#define YAB_JOURNAL_RETRY_SECONDS	5
/* Of figures; each time is two fsync(), and the other host may change them as it likes. */
#define YAB_JOURNAL_FIGURES_SECONDS	1

#define YAB_JOURNAL_UNSETTLED		(-2)

/* Whose folder it is, as its instance tells. */
enum yab_journal_origin {
	YAB_JOURNAL_OURS,	/* of the supervisor before */
	YAB_JOURNAL_UNKNOWN,	/* there is no instance, or none that can be read */
	YAB_JOURNAL_FOREIGN,	/* another host's: one of us is a copy */
};

struct yab_journal_entry {
	TAILQ_ENTRY(yab_journal_entry) link;
	char file[YAB_JOURNAL_FILE_SIZE];
	struct yab_record record;
	bool due;		/* could not be written as it is here */
	bool late;		/* its figures were not written yet */
};

struct yab_journal {
	TAILQ_HEAD(, yab_journal_entry) entries;
	char folder[4096];
	int fd;			/* of the folder */
	char boot[YAB_PROCESS_BOOT_SIZE];
	char machine[YAB_PROCESS_MACHINE_SIZE];
	struct event *retry;
	struct event *figures;	/* pending: some were written of late */
};

/* --- files ------------------------------------------------------------------------- */

/* What was renamed or removed is so after a loss of power, too. 0, or -1 with errno. */
static int yab_journal_settle(struct yab_journal *journal)
{
	return fsync(journal->fd);
}

static int yab_journal_write_temporary(struct yab_journal *journal, const char *text)
{
	int error, fd;

	fd = openat(journal->fd, YAB_JOURNAL_TEMPORARY,
		    O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -1;
	if (yab_memory_write(fd, text, strlen(text), 0) < 0 || fsync(fd) < 0) {
		error = errno;
		close(fd);
		errno = error;
		return -1;
	}
	return close(fd);
}

/*
 * 0, or one line in @error: -1 where the file is as it was, YAB_JOURNAL_UNSETTLED where
 * nobody can tell which of the two a loss of power leaves.
 */
static int yab_journal_replace(struct yab_journal *journal, const char *file, const char *text,
			       char *error, size_t error_size)
{
	int result = -1;

	if (text && !yab_journal_write_temporary(journal, text) &&
	    !renameat(journal->fd, YAB_JOURNAL_TEMPORARY, journal->fd, file)) {
		if (!yab_journal_settle(journal))
			return 0;
		result = YAB_JOURNAL_UNSETTLED;
	}
	snprintf(error, error_size, "cannot write %.300s/%.100s: %s", journal->folder, file,
		 text ? strerror(errno) : "out of memory");
	/* It may be what fills the disk. */
	unlinkat(journal->fd, YAB_JOURNAL_TEMPORARY, 0);
	return result;
}

static int yab_journal_remove(struct yab_journal *journal, const char *file, char *error,
			      size_t error_size)
{
	if ((!unlinkat(journal->fd, file, 0) || errno == ENOENT) && !yab_journal_settle(journal))
		return 0;
	snprintf(error, error_size, "cannot remove %.300s/%.100s: %s", journal->folder, file,
		 strerror(errno));
	return -1;
}

/* All of the file, for free(), with a NUL behind it; NULL with errno. */
static char *yab_journal_read(struct yab_journal *journal, const char *file, size_t *length)
{
	char *text = malloc(YAB_RECORD_FILE_MAX + 1);
	struct stat status;
	int error, fd;
	ssize_t n;

	fd = openat(journal->fd, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (!text || fd < 0)
		goto err;
	errno = EFBIG;
	if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) ||
	    status.st_size > YAB_RECORD_FILE_MAX)
		goto err;
	n = pread(fd, text, YAB_RECORD_FILE_MAX, 0);
	if (n < 0)
		goto err;
	close(fd);
	text[n] = '\0';
	*length = (size_t)n;
	return text;

err:
	error = text ? errno : ENOMEM;
	if (fd >= 0)
		close(fd);
	free(text);
	errno = error;
	return NULL;
}

/* --- the instance ------------------------------------------------------------------ */

int yab_journal_renew(struct yab_journal *journal, char instance[YAB_TOKEN_TEXT_SIZE],
		      char *error, size_t error_size)
{
	char line[YAB_TOKEN_TEXT_SIZE + YAB_PROCESS_MACHINE_SIZE + 1];
	uint8_t token[YAB_WIRE_TOKEN_SIZE];

	if (yab_token_new(token) < 0) {
		snprintf(error, error_size, "no randomness: %s", strerror(errno));
		return -1;
	}
	yab_token_print(token, instance);
	if (!journal)
		return 0;
	snprintf(line, sizeof(line), "%s %s\n", instance, journal->machine);
	return yab_journal_replace(journal, YAB_JOURNAL_INSTANCE, line, error, error_size);
}

/* "INSTANCE MACHINE-ID\n" in @text, of which the newline and the space are taken away. */
static enum yab_journal_origin yab_journal_judge(struct yab_journal *journal, char *text,
						 size_t length)
{
	char *machine = memchr(text, ' ', length);
	uint8_t token[YAB_WIRE_TOKEN_SIZE];

	if (!machine || text[length - 1] != '\n' || strlen(text) != length)
		return YAB_JOURNAL_UNKNOWN;
	text[length - 1] = '\0';
	*machine++ = '\0';
	if (yab_token_parse(text, token) < 0 || !machine[0])
		return YAB_JOURNAL_UNKNOWN;
	return strcmp(machine, journal->machine) ? YAB_JOURNAL_FOREIGN : YAB_JOURNAL_OURS;
}

/* @instance becomes that of the supervisor before, if it is ours. */
static enum yab_journal_origin yab_journal_recall(struct yab_journal *journal,
						  char instance[YAB_TOKEN_TEXT_SIZE])
{
	enum yab_journal_origin origin = YAB_JOURNAL_UNKNOWN;
	size_t length;
	char *text;

	text = yab_journal_read(journal, YAB_JOURNAL_INSTANCE, &length);
	if (text && length)
		origin = yab_journal_judge(journal, text, length);
	if (origin == YAB_JOURNAL_OURS)
		memcpy(instance, text, YAB_TOKEN_TEXT_SIZE);
	else if (origin == YAB_JOURNAL_FOREIGN)
		yab_log_error(NULL,
			      "%s is a copy of another host's, for its machine-id is not the one here: what that host has promised is none of ours",
			      journal->folder);
	else if (text || errno != ENOENT)
		yab_log_error(NULL,
			      "%s/%s: %s: sources that ask about migrations from before will have to be looked after by hand",
			      journal->folder, YAB_JOURNAL_INSTANCE,
			      text ? "is not understood" : strerror(errno));
	free(text);
	return origin;
}

/* --- entries ----------------------------------------------------------------------- */

static struct yab_journal_entry *yab_journal_find(struct yab_journal *journal, const char *file)
{
	struct yab_journal_entry *entry;

	TAILQ_FOREACH(entry, &journal->entries, link)
		if (!strcmp(entry->file, file))
			return entry;
	return NULL;
}

/* NULL without memory. */
static struct yab_journal_entry *yab_journal_add(struct yab_journal *journal, const char *file)
{
	struct yab_journal_entry *entry = calloc(1, sizeof(*entry));

	if (!entry)
		return NULL;
	snprintf(entry->file, sizeof(entry->file), "%s", file);
	TAILQ_INSERT_TAIL(&journal->entries, entry, link);
	return entry;
}

static void yab_journal_drop(struct yab_journal *journal, struct yab_journal_entry *entry)
{
	TAILQ_REMOVE(&journal->entries, entry, link);
	free(entry);
}

/* The name that @record must have its file under. */
static void yab_journal_name(const struct yab_record *record, char *file, size_t size)
{
	if (yab_record_is_session(record->migration.state))
		snprintf(file, size, "%s%s", record->migration.route, YAB_JOURNAL_SESSION_SUFFIX);
	else
		snprintf(file, size, "%s%s", record->vm, YAB_JOURNAL_VM_SUFFIX);
}

/* That of @record, made if there is none and then empty; NULL without memory. */
static struct yab_journal_entry *yab_journal_entry(struct yab_journal *journal,
						   const struct yab_record *record)
{
	char file[YAB_JOURNAL_FILE_SIZE];
	struct yab_journal_entry *entry;

	yab_journal_name(record, file, sizeof(file));
	entry = yab_journal_find(journal, file);
	if (!entry)
		entry = yab_journal_add(journal, file);
	if (entry) {
		memcpy(entry->record.vm, record->vm, sizeof(record->vm));
		entry->record.memory = record->memory;
	}
	return entry;
}

static struct yab_journal_entry *yab_journal_vm_find(struct yab_journal *journal, const char *vm)
{
	struct yab_record record = { .memory = 0 };
	char file[YAB_JOURNAL_FILE_SIZE];

	snprintf(record.vm, sizeof(record.vm), "%s", vm);
	yab_journal_name(&record, file, sizeof(file));
	return yab_journal_find(journal, file);
}

static struct yab_journal_entry *yab_journal_vm(struct yab_journal *journal, const char *vm,
						uint64_t memory)
{
	struct yab_record record = { .memory = memory };

	snprintf(record.vm, sizeof(record.vm), "%s", vm);
	return yab_journal_entry(journal, &record);
}

/*
 * Brings the disk up to the entry, which is gone if nothing is left of it. As
 * yab_journal_replace().
 */
static int yab_journal_store(struct yab_journal *journal, struct yab_journal_entry *entry,
			     char *error, size_t error_size)
{
	int result;
	char *text;

	if (yab_record_is_empty(&entry->record)) {
		result = yab_journal_remove(journal, entry->file, error, error_size);
		if (!result)
			yab_journal_drop(journal, entry);
		return result;
	}
	entry->late = false;
	text = yab_record_print(&entry->record, journal->boot);
	result = yab_journal_replace(journal, entry->file, text, error, error_size);
	free(text);
	if (!result)
		entry->due = false;
	return result;
}

static void yab_journal_later(struct yab_journal *journal)
{
	const struct timeval pause = { .tv_sec = YAB_JOURNAL_RETRY_SECONDS };

	if (!evtimer_pending(journal->retry, NULL))
		evtimer_add(journal->retry, &pause);
}

/* The same, where nobody can be refused any more. */
static void yab_journal_store_note(struct yab_journal *journal, struct yab_journal_entry *entry)
{
	char error[YAB_WIRE_ERROR_MAX], vm[YAB_NAME_SIZE];

	memcpy(vm, entry->record.vm, sizeof(vm));
	if (!yab_journal_store(journal, entry, error, sizeof(error)))
		return;
	if (!entry->due)
		yab_log_error(vm, "%s: it is tried again every %d s", error,
			      YAB_JOURNAL_RETRY_SECONDS);
	entry->due = true;
	yab_journal_later(journal);
}

/* The session's own file is there: from now on it is the one that counts. */
static void yab_journal_kept(struct yab_journal *journal, const struct yab_record *kept)
{
	struct yab_journal_entry *entry = yab_journal_vm_find(journal, kept->vm);

	if (!entry || strcmp(entry->record.migration.route, kept->migration.route))
		return;
	entry->record.migration = (struct yab_record_migration){ .state = YAB_RECORD_NONE };
	yab_journal_store_note(journal, entry);
}

static bool yab_journal_retry_all(struct yab_journal *journal)
{
	struct yab_journal_entry *entry, *next;
	char error[YAB_WIRE_ERROR_MAX];
	struct yab_record record;
	bool left = false;

	for (entry = TAILQ_FIRST(&journal->entries); entry; entry = next) {
		next = TAILQ_NEXT(entry, link);
		if (!entry->due)
			continue;
		record = entry->record;
		if (yab_journal_store(journal, entry, error, sizeof(error)) < 0) {
			left = true;
			continue;
		}
		yab_log_info(record.vm, "its record in %s is up to date again", journal->folder);
		if (!yab_record_is_session(record.migration.state))
			continue;
		/* May free any entry; those that were stored are not due any more. */
		yab_journal_kept(journal, &record);
		next = TAILQ_FIRST(&journal->entries);
	}
	return left;
}

static void yab_journal_on_retry(evutil_socket_t fd, short what, void *arg)
{
	struct yab_journal *journal = arg;

	(void)fd;
	(void)what;
	if (yab_journal_retry_all(journal))
		yab_journal_later(journal);
}

/* Those that have changed since they were written last. */
static bool yab_journal_store_figures(struct yab_journal *journal)
{
	struct yab_journal_entry *entry, *next;
	bool any = false;

	for (entry = TAILQ_FIRST(&journal->entries); entry; entry = next) {
		next = TAILQ_NEXT(entry, link);
		if (!entry->late)
			continue;
		any = true;
		yab_journal_store_note(journal, entry);
	}
	return any;
}

static void yab_journal_calm(struct yab_journal *journal)
{
	const struct timeval pause = { .tv_sec = YAB_JOURNAL_FIGURES_SECONDS };

	evtimer_add(journal->figures, &pause);
}

static void yab_journal_on_figures(evutil_socket_t fd, short what, void *arg)
{
	struct yab_journal *journal = arg;

	(void)fd;
	(void)what;
	if (yab_journal_store_figures(journal))
		yab_journal_calm(journal);
}

/*
 * Puts what is not NULL of @qemu and @migration into the VM's record. Where that fails it is as
 * it was before.
 */
static int yab_journal_promise(struct yab_journal *journal, const char *vm, uint64_t memory,
			       const struct yab_record_qemu *qemu,
			       const struct yab_record_migration *migration, char *error,
			       size_t error_size)
{
	struct yab_journal_entry *entry = yab_journal_vm(journal, vm, memory);
	char reason[YAB_WIRE_ERROR_MAX];
	struct yab_record before;
	int result;

	if (!entry) {
		snprintf(error, error_size, "out of memory");
		return -1;
	}
	before = entry->record;
	/* An arrival whose last note is not on the disk yet, for example. */
	if (migration && !yab_record_may_enter(before.migration.state, migration->state)) {
		snprintf(error, error_size,
			 "the record of VM %s in %.300s still is that of another migration (%s): see the log",
			 vm, journal->folder, yab_record_state_name(before.migration.state));
		return -1;
	}
	if (qemu)
		entry->record.qemu = *qemu;
	if (migration)
		entry->record.migration = *migration;
	result = yab_journal_store(journal, entry, reason, sizeof(reason));
	if (!result)
		return 0;
	snprintf(error, error_size, "%.400s: set that right, then try again", reason);
	entry->record = before;
	/* The disk may say more than is true, which is no promise: as soon as possible. */
	if (result == YAB_JOURNAL_UNSETTLED)
		yab_journal_store_note(journal, entry);
	else if (yab_record_is_empty(&before) && !entry->due)
		yab_journal_drop(journal, entry);
	return -1;
}

int yab_journal_promise_qemu(struct yab_journal *journal, const char *vm, uint64_t memory,
			     const struct yab_record_qemu *qemu, char *error, size_t error_size)
{
	return journal ? yab_journal_promise(journal, vm, memory, qemu, NULL, error, error_size) :
	       0;
}

int yab_journal_promise_migration(struct yab_journal *journal, const char *vm, uint64_t memory,
				  const struct yab_record_migration *migration, char *error,
				  size_t error_size)
{
	return journal ? yab_journal_promise(journal, vm, memory, NULL, migration, error,
					     error_size) : 0;
}

/* NULL after a line in the log. */
static struct yab_journal_entry *yab_journal_note_entry(struct yab_journal *journal,
							const char *vm, uint64_t memory)
{
	struct yab_journal_entry *entry = yab_journal_vm(journal, vm, memory);

	if (!entry)
		yab_log_error(vm, "its record cannot be written: out of memory");
	return entry;
}

void yab_journal_note(struct yab_journal *journal, const char *vm, uint64_t memory,
		      const struct yab_record_migration *migration)
{
	struct yab_journal_entry *entry;

	entry = journal ? yab_journal_note_entry(journal, vm, memory) : NULL;
	if (!entry)
		return;
	assert(yab_record_may_enter(entry->record.migration.state, migration->state));
	entry->record.migration = *migration;
	yab_journal_store_note(journal, entry);
}

void yab_journal_note_figures(struct yab_journal *journal, const char *vm, uint64_t memory,
			      const struct yab_record_migration *migration)
{
	struct yab_journal_entry *entry;

	if (!journal || !evtimer_pending(journal->figures, NULL)) {
		yab_journal_note(journal, vm, memory, migration);
		if (journal)
			yab_journal_calm(journal);
		return;
	}
	entry = yab_journal_note_entry(journal, vm, memory);
	if (!entry)
		return;
	assert(yab_record_may_enter(entry->record.migration.state, migration->state));
	entry->record.migration = *migration;
	entry->late = true;
}

void yab_journal_note_qemu(struct yab_journal *journal, const char *vm, uint64_t memory,
			   const struct yab_record_qemu *qemu)
{
	struct yab_journal_entry *entry;

	entry = journal ? yab_journal_note_entry(journal, vm, memory) : NULL;
	if (!entry)
		return;
	entry->record.qemu = *qemu;
	yab_journal_store_note(journal, entry);
}

void yab_journal_note_exit(struct yab_journal *journal, const char *vm)
{
	struct yab_journal_entry *entry = journal ? yab_journal_vm_find(journal, vm) : NULL;

	if (!entry)
		return;
	memset(&entry->record.qemu, 0, sizeof(entry->record.qemu));
	yab_journal_store_note(journal, entry);
}

void yab_journal_keep(struct yab_journal *journal, const char *vm, uint64_t memory,
		      const struct yab_record_migration *migration)
{
	struct yab_record record = { .memory = memory, .migration = *migration };
	struct yab_journal_entry *entry;

	if (!journal)
		return;
	assert(yab_record_is_session(migration->state));
	snprintf(record.vm, sizeof(record.vm), "%s", vm);
	/* Which process brought the pages tells nobody anything any more. */
	record.migration.worker = (struct yab_process){ .pid = 0 };
	entry = yab_journal_entry(journal, &record);
	if (!entry) {
		yab_log_error(vm, "its record cannot be written: out of memory");
		return;
	}
	entry->record = record;
	/* Until it is written the VM's record says "arrived" or "committed", which is as good. */
	yab_journal_store_note(journal, entry);
	if (!entry->due)
		yab_journal_kept(journal, &record);
}

void yab_journal_forget(struct yab_journal *journal, const char *route)
{
	struct yab_journal_entry *entry, *next;

	if (!journal)
		return;
	for (entry = TAILQ_FIRST(&journal->entries); entry; entry = next) {
		next = TAILQ_NEXT(entry, link);
		if (strcmp(entry->record.migration.route, route))
			continue;
		entry->record.migration = (struct yab_record_migration){ .route = "" };
		yab_journal_store_note(journal, entry);
	}
}

bool yab_journal_knows(struct yab_journal *journal, const char *token)
{
	struct yab_journal_entry *entry;
	uint8_t known[YAB_WIRE_TOKEN_SIZE];

	if (journal)
		TAILQ_FOREACH(entry, &journal->entries, link)
			if (entry->record.migration.state != YAB_RECORD_NONE &&
			    !yab_token_parse(entry->record.migration.token, known) &&
			    yab_token_matches(token, known))
				return true;
	return false;
}

struct yab_record *yab_journal_list(struct yab_journal *journal, size_t *count)
{
	struct yab_journal_entry *entry;
	struct yab_record *records;

	*count = 0;
	if (journal)
		TAILQ_FOREACH(entry, &journal->entries, link)
			(*count)++;
	records = calloc(*count + 1, sizeof(*records));
	*count = 0;
	if (records && journal)
		TAILQ_FOREACH(entry, &journal->entries, link)
			records[(*count)++] = entry->record;
	return records;
}

/* --- at the start ------------------------------------------------------------------- */

static bool yab_journal_ends_with(const char *text, const char *end)
{
	const size_t length = strlen(text), rest = strlen(end);

	return length > rest && !strcmp(text + length - rest, end);
}

/* 0, or -1 with one line in @error. */
static int yab_journal_load(struct yab_journal *journal, const char *file, char *error,
			    size_t error_size)
{
	char expected[YAB_JOURNAL_FILE_SIZE];
	struct yab_journal_entry *entry;
	struct yab_record record;
	size_t length;
	char *text;
	int result;

	text = yab_journal_read(journal, file, &length);
	if (!text) {
		snprintf(error, error_size, "cannot be read (%s)", strerror(errno));
		return -1;
	}
	result = yab_record_parse(text, length, journal->boot, &record, error, error_size);
	free(text);
	if (result < 0)
		return -1;
	yab_journal_name(&record, expected, sizeof(expected));
	if (strcmp(expected, file) || yab_record_is_empty(&record)) {
		snprintf(error, error_size, "belongs under another name");
		return -1;
	}
	entry = yab_journal_add(journal, expected);
	if (!entry) {
		snprintf(error, error_size, "cannot be read (out of memory)");
		return -1;
	}
	entry->record = record;
	return 0;
}

/*
 * First of all the instance goes: this may be the record of a session that is committed,
 * see journal.h, 4. False where the file stays to be found again.
 */
static bool yab_journal_set_aside(struct yab_journal *journal, const char *file,
				  const char *reason)
{
	char aside[300], error[YAB_WIRE_ERROR_MAX];

	snprintf(aside, sizeof(aside), "%s%s", file, YAB_JOURNAL_ASIDE_SUFFIX);
	if (yab_journal_remove(journal, YAB_JOURNAL_INSTANCE, error, sizeof(error)) < 0) {
		yab_log_error(NULL, "%s/%s %s: what it is about is left alone; %s",
			      journal->folder, file, reason, error);
		return false;
	}
	if (renameat(journal->fd, file, journal->fd, aside) < 0 ||
	    yab_journal_settle(journal) < 0) {
		yab_log_error(NULL,
			      "%s/%s %s: what it is about is left alone; it cannot be set aside: %s",
			      journal->folder, file, reason, strerror(errno));
		return false;
	}
	yab_log_error(NULL,
		      "%s/%s %s: it is %s now, and what it is about is left alone: see for yourself",
		      journal->folder, file, reason, aside);
	return true;
}

/*
 * 0 where @file was taken in, 1 where it is none of ours, or was set aside; -1 with one line
 * in @error where it had to be and is not: with a new instance, its next reader would take
 * it for this host's.
 */
static int yab_journal_take(struct yab_journal *journal, enum yab_journal_origin origin,
			    const char *file, char *error, size_t error_size)
{
	char reason[YAB_WIRE_ERROR_MAX] = "is another host's";

	if (origin != YAB_JOURNAL_FOREIGN &&
	    !yab_journal_load(journal, file, reason, sizeof(reason)))
		return 0;
	if (yab_journal_set_aside(journal, file, reason) || origin != YAB_JOURNAL_FOREIGN)
		return 1;
	snprintf(error, error_size,
		 "%.300s/%.100s is another host's and cannot be set aside: move it away",
		 journal->folder, file);
	return -1;
}

/* *@disowned: the instance of before must not be used. 0, or -1 with one line in @error. */
static int yab_journal_load_all(struct yab_journal *journal, enum yab_journal_origin origin,
				bool *disowned, char *error, size_t error_size)
{
	struct dirent *entry;
	int fd, result = 0;
	DIR *folder;

	fd = openat(journal->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	folder = fd < 0 ? NULL : fdopendir(fd);
	if (!folder) {
		snprintf(error, error_size, "%.400s: %s", journal->folder, strerror(errno));
		if (fd >= 0)
			close(fd);
		return -1;
	}
	while (result >= 0 && (entry = readdir(folder))) {
		if (!yab_journal_ends_with(entry->d_name, YAB_JOURNAL_VM_SUFFIX) &&
		    !yab_journal_ends_with(entry->d_name, YAB_JOURNAL_SESSION_SUFFIX))
			continue;
		result = yab_journal_take(journal, origin, entry->d_name, error, error_size);
		*disowned |= result;
	}
	closedir(folder);
	return result < 0 ? -1 : 0;
}

struct yab_journal *yab_journal_open(struct event_base *base, const char *folder,
				     char instance[YAB_TOKEN_TEXT_SIZE], char *error,
				     size_t error_size)
{
	struct yab_journal *journal = calloc(1, sizeof(*journal));
	enum yab_journal_origin origin;
	bool disowned = false;

	instance[0] = '\0';
	if (!journal) {
		snprintf(error, error_size, "out of memory");
		return NULL;
	}
	TAILQ_INIT(&journal->entries);
	yab_process_boot(journal->boot);
	yab_process_machine(journal->machine);
	journal->fd = -1;
	journal->retry = evtimer_new(base, yab_journal_on_retry, journal);
	journal->figures = evtimer_new(base, yab_journal_on_figures, journal);
	if (!journal->retry || !journal->figures) {
		snprintf(error, error_size, "out of memory");
		goto err;
	}
	snprintf(journal->folder, sizeof(journal->folder), "%s", folder);
	journal->fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (journal->fd < 0) {
		snprintf(error, error_size, "%.400s: %s", folder, strerror(errno));
		goto err;
	}
	origin = yab_journal_recall(journal, instance);
	if (yab_journal_load_all(journal, origin, &disowned, error, error_size) < 0)
		goto err;
	if (origin == YAB_JOURNAL_OURS && !disowned)
		return journal;
	instance[0] = '\0';
	if (!yab_journal_renew(journal, instance, error, error_size))
		return journal;
	/* Guests may wait for what can be done without it; the next start finds none, too. */
	yab_log_error(NULL, "%s: no VM can be started, moved or taken until that is set right",
		      error);
	if (instance[0])
		return journal;
err:
	yab_journal_close(journal);
	return NULL;
}

void yab_journal_close(struct yab_journal *journal)
{
	struct yab_journal_entry *entry;

	if (!journal)
		return;
	if (journal->fd >= 0) {
		yab_journal_store_figures(journal);
		yab_journal_retry_all(journal);
	}
	while ((entry = TAILQ_FIRST(&journal->entries)))
		yab_journal_drop(journal, entry);
	if (journal->figures)
		event_free(journal->figures);
	if (journal->retry)
		event_free(journal->retry);
	if (journal->fd >= 0)
		close(journal->fd);
	free(journal);
}

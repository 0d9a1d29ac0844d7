// SPDX-License-Identifier: GPL-2.0-or-later
#define _GNU_SOURCE 1
#include "save_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void yab_save_file_exists(const struct yab_save_file *file, char *error,
				 size_t error_size)
{
	snprintf(error, error_size, "%.260s exists: remove it, or give another name", file->path);
}

static void yab_save_file_name_part(struct yab_save_file *file, const char *vm)
{
	snprintf(file->part, sizeof(file->part), "%s.%s.part", file->path, vm);
}

int yab_save_file_make(struct yab_save_file *file, const char *what, const char *path,
		       const char *vm, char *error, size_t error_size)
{
	struct stat status;

	if (yab_image_path_check(what, path, error, error_size) < 0)
		return -1;
	snprintf(file->path, sizeof(file->path), "%s", path);
	if (!lstat(path, &status)) {
		yab_save_file_exists(file, error, error_size);
		return -1;
	}
	yab_save_file_name_part(file, vm);
	/* Of a daemon that was killed; and nobody else's link is written through. */
	unlink(file->part);
	file->fd = open(file->part, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (file->fd >= 0)
		return 0;
	snprintf(error, error_size, "cannot make %.300s: %s", file->part, strerror(errno));
	file->part[0] = '\0';
	return -1;
}

bool yab_save_file_is_there(const struct yab_save_file *file)
{
	struct stat status;

	return !fstat(file->fd, &status) && status.st_nlink == 1;
}

/* Never over another file, as far as the file system can promise that. */
static int yab_save_file_rename(const char *from, const char *to)
{
	struct stat status;

	if (!renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE))
		return 0;
	/* What it says where it cannot promise that. */
	if (errno != EINVAL)
		return -1;
	if (!lstat(to, &status)) {
		errno = EEXIST;
		return -1;
	}
	return rename(from, to);
}

/* That it has its name is on the disk, too. */
static int yab_save_file_settle(const struct yab_save_file *file)
{
	char folder[YAB_IMAGE_NAME_SIZE];
	int error, fd, result;

	/* The path is absolute: there is a slash, which stays if it is the first. */
	snprintf(folder, sizeof(folder), "%s", file->path);
	strrchr(folder, '/')[strrchr(folder, '/') == folder] = '\0';
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	/* Not every file system has that for folders. */
	result = fsync(fd) < 0 && errno != EINVAL ? -1 : 0;
	error = errno;
	close(fd);
	errno = error;
	return result;
}

int yab_save_file_keep(struct yab_save_file *file, char *error, size_t error_size)
{
	if (yab_save_file_rename(file->part, file->path) < 0) {
		if (errno == EEXIST)
			yab_save_file_exists(file, error, error_size);
		else
			snprintf(error, error_size, "cannot make %.300s: %s", file->path,
				 strerror(errno));
		return -1;
	}
	file->part[0] = '\0';
	if (!yab_save_file_settle(file))
		return 0;
	snprintf(error, error_size, "%.300s may be lost with the next loss of power: %s",
		 file->path, strerror(errno));
	unlink(file->path);
	return -1;
}

void yab_save_file_remove(struct yab_save_file *file)
{
	unlink(file->path);
}

bool yab_save_file_revoke(const char *path, const char *vm, char *text, size_t text_size)
{
	struct yab_save_file file;

	snprintf(file.path, sizeof(file.path), "%s", path);
	yab_save_file_name_part(&file, vm);
	if (!yab_save_file_rename(file.path, file.part)) {
		snprintf(text, text_size, "remove %.300s, which is of no use", file.part);
		return true;
	}
	/* It never had its name, and what may have that name now is somebody else's. */
	if (errno == ENOENT || errno == EEXIST)
		return false;
	snprintf(text, text_size, "remove %.200s, which is of no use and keeps its name: %s",
		 file.path, strerror(errno));
	return true;
}

void yab_save_file_release(struct yab_save_file *file)
{
	if (file->fd >= 0)
		close(file->fd);
	file->fd = -1;
	if (file->part[0])
		unlink(file->part);
	file->part[0] = '\0';
}

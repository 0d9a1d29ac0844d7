// SPDX-License-Identifier: GPL-2.0-or-later
#include "image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* '#', two numbers of 16 hexadecimal digits with a point between them. */
#define YAB_IMAGE_IDENTITY_SIZE	(1 + 16 + 1 + 16)
#define YAB_IMAGE_PATH_MAX	(YAB_IMAGE_NAME_SIZE - 1 - YAB_IMAGE_IDENTITY_SIZE)

bool yab_image_is_name(const char *peer)
{
	return *peer == '/';
}

size_t yab_image_path_length(const char *name)
{
	const char *end = strrchr(name, '#');

	return end ? (size_t)(end - name) : 0;
}

int yab_image_path_check(const char *what, const char *path, char *error, size_t error_size)
{
	const char *reason = NULL;

	if (*path != '/')
		reason = "is no absolute path";
	else if (strlen(path) > YAB_IMAGE_PATH_MAX)
		reason = "is too long a path";
	for (const char *at = path; *at && !reason; at++)
		if ((unsigned char)*at < ' ' || *at == 127)
			reason = "has control characters in its path";
	if (!reason)
		return 0;
	snprintf(error, error_size, "%s %.260s %s", what, path, reason);
	return -1;
}

/* A regular file, for reading. -1 with one line in @error. */
static int yab_image_open_file(const char *what, const char *path, struct stat *status,
			       char *error, size_t error_size)
{
	int fd;

	if (yab_image_path_check(what, path, error, error_size) < 0)
		return -1;
	/* One that is no file must not keep us waiting for its other end. */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0 || fstat(fd, status) < 0)
		snprintf(error, error_size, "%s %.260s: %s", what, path, strerror(errno));
	else if (!S_ISREG(status->st_mode))
		snprintf(error, error_size, "%s %.260s is no regular file", what, path);
	else
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

static void yab_image_identify(const char *path, const struct stat *status,
			       char name[YAB_IMAGE_NAME_SIZE])
{
	const uint64_t modified = (uint64_t)status->st_mtim.tv_sec * 1000000000 +
				  (uint64_t)status->st_mtim.tv_nsec;

	snprintf(name, YAB_IMAGE_NAME_SIZE, "%s#%llx.%llx", path,
		 (unsigned long long)status->st_ino, (unsigned long long)modified);
}

int yab_image_open(const char *path, uint64_t memory, char name[YAB_IMAGE_NAME_SIZE], char *error,
		   size_t error_size)
{
	struct stat status;
	int fd;

	fd = yab_image_open_file("image", path, &status, error, error_size);
	if (fd < 0)
		return -1;
	if ((uint64_t)status.st_size != memory) {
		snprintf(error, error_size,
			 "image %.260s has %lld bytes and the VM %llu of memory: it is the image of another VM, or it and the device state are exchanged",
			 path, (long long)status.st_size, (unsigned long long)memory);
		close(fd);
		return -1;
	}
	yab_image_identify(path, &status, name);
	return fd;
}

int yab_image_open_again(const char *name, uint64_t memory, char *error, size_t error_size)
{
	char path[YAB_IMAGE_NAME_SIZE], found[YAB_IMAGE_NAME_SIZE];
	int fd;

	snprintf(path, sizeof(path), "%.*s", (int)yab_image_path_length(name), name);
	fd = yab_image_open(path, memory, found, error, error_size);
	if (fd < 0 || !strcmp(found, name))
		return fd;
	snprintf(error, error_size,
		 "image %.260s is another file now, or was written to: put back what the VM was started from",
		 path);
	close(fd);
	return -1;
}

int yab_image_open_state(const char *path, char *error, size_t error_size)
{
	struct stat status;
	int fd;

	fd = yab_image_open_file("device state", path, &status, error, error_size);
	if (fd >= 0 && !status.st_size) {
		snprintf(error, error_size,
			 "device state %.260s is empty: give the file that was made with the image",
			 path);
		close(fd);
		return -1;
	}
	return fd;
}

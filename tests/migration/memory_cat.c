// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * memory_cat PATH: writes a guest's memory to stdout. PATH is a memory file or a node of
 * /dev/yabusame, which cannot be read, only mapped.
 */
#include <err.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#define CHUNK (1 << 20)

int main(int argc, char **argv)
{
	const char *memory;
	off_t size, at = 0;
	int fd;

	if (argc != 2)
		errx(2, "usage: memory_cat PATH");
	fd = open(argv[1], O_RDONLY);
	if (fd < 0)
		err(1, "%s", argv[1]);
	size = lseek(fd, 0, SEEK_END);
	if (size <= 0)
		errx(1, "%s: its size is %lld", argv[1], (long long)size);
	memory = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		err(1, "mmap %s", argv[1]);
	while (at < size) {
		ssize_t n = write(STDOUT_FILENO, memory + at,
				  size - at < CHUNK ? size - at : CHUNK);

		if (n < 0)
			err(1, "write");
		at += n;
	}
	return 0;
}

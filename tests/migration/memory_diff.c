// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * memory_diff FILE: compares a guest's memory in FILE with that on stdin, byte by byte, and
 * names every page that differs. Exit 0: the same, but for KVM's wall clock.
 *
 * KVM itself writes that (struct pvclock_wall_clock: 12 bytes, aligned to 4) into the
 * guest's memory when the destination loads the vCPUs' state. So one stretch of 12
 * bytes may differ, and only one.
 */
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096
#define CLOCK 12

int main(int argc, char **argv)
{
	static char other[PAGE];
	off_t size, at, first = -1, last = -1;
	unsigned long bytes = 0;
	const char *memory;
	int fd;

	if (argc != 2)
		errx(2, "usage: memory_diff FILE");
	fd = open(argv[1], O_RDONLY);
	if (fd < 0)
		err(2, "%s", argv[1]);
	size = lseek(fd, 0, SEEK_END);
	memory = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	if (size <= 0 || memory == MAP_FAILED)
		err(2, "%s", argv[1]);
	for (at = 0; at < size; at += PAGE) {
		int i;

		if (fread(other, 1, PAGE, stdin) != PAGE)
			errx(1, "the other memory ends at %lld of %lld", (long long)at,
			     (long long)size);
		if (!memcmp(memory + at, other, PAGE))
			continue;
		printf("# page %lld differs\n", (long long)(at / PAGE));
		for (i = 0; i < PAGE; i++) {
			if (memory[at + i] == other[i])
				continue;
			first = first < 0 ? at + i : first;
			last = at + i;
			bytes++;
		}
	}
	if (fgetc(stdin) != EOF)
		errx(1, "the other memory is longer");
	if (!bytes)
		return 0;
	printf("# %lu bytes differ, from %lld to %lld\n", bytes, (long long)first, (long long)last);
	return last / 4 * 4 + 4 - first / 4 * 4 > CLOCK;
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* hold_region NAME: makes a region of one page, says so, and keeps it until killed. */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/yabusame.h>

int main(int argc, char **argv)
{
	struct yab_create request = { .size = 4096, .mode = 0600 };
	int control;

	if (argc != 2 || strlen(argv[1]) >= sizeof(request.name))
		errx(2, "usage: hold_region NAME");
	memcpy(request.name, argv[1], strlen(argv[1]));
	control = open("/dev/yabusame/control", O_RDWR);
	request.memory_fd = memfd_create("held", MFD_ALLOW_SEALING);
	if (control < 0 || request.memory_fd < 0 || ftruncate(request.memory_fd, 4096) ||
	    fcntl(request.memory_fd, F_ADD_SEALS, F_SEAL_SHRINK) ||
	    ioctl(control, YAB_IOC_CREATE, &request) < 0)
		err(1, "region %s", argv[1]);
	puts("held");
	fflush(stdout);
	pause();
	return 0;
}

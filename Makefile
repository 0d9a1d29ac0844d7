# SPDX-License-Identifier: GPL-2.0-or-later
# make help tells what there is.

KDIR ?= /lib/modules/$(shell uname -r)/build
PREFIX ?= /usr/local
DESTDIR ?=
CFLAGS ?= -O2 -g

BUILD := $(CURDIR)/build
VERSION := 0.1

.DEFAULT_GOAL := all
.PHONY: all modules daemon kselftest lab-tools unit fuzz setup check check-full demo bench bench-policy bench-kernel bench-kernel-programs bench-pages lint install clean help

all: daemon kselftest ## daemons and tools, the module's tests, and the module if it can be built here
	@if [ -e $(KDIR)/Makefile ]; then $(MAKE) modules; else \
		echo "no headers of the running kernel in $(KDIR): the module is not built (apt install linux-headers-$$(uname -r), or give KDIR=)"; fi

modules: ## yabusame.ko for the running kernel (KDIR=... for another)
	@[ -e $(KDIR)/Makefile ] || { echo "make modules: no kernel headers in $(KDIR): install linux-headers-$$(uname -r), or give KDIR=" >&2; exit 1; }
	$(MAKE) -C $(KDIR) M=$(CURDIR)/kmod modules

daemon: ## yabusamed and yabctl into build/bin
	$(MAKE) -C daemon

KSELFTESTS := $(patsubst tests/kselftest/%.c,$(BUILD)/kselftest/%, \
	$(filter-out tests/kselftest/harness.c,$(wildcard tests/kselftest/*.c)))

kselftest: $(KSELFTESTS) ## the module's tests into build/kselftest

$(BUILD)/kselftest/%: tests/kselftest/%.c tests/kselftest/harness.c \
		$(wildcard tests/kselftest/*.h tests/kselftest/*/*.h) include/uapi/linux/yabusame.h
	@mkdir -p $(@D)
	$(CC) -std=gnu11 $(CFLAGS) -Wall -Wextra -Werror -Iinclude/uapi -pthread $(filter %.c,$^) -o $@

lab-tools: $(BUILD)/bin/memory_cat $(BUILD)/bin/memory_diff $(BUILD)/bin/hold_region ## programs that the lab's tests need

$(BUILD)/bin/%: tests/migration/%.c include/uapi/linux/yabusame.h
	@mkdir -p $(@D)
	$(CC) -std=gnu11 $(CFLAGS) -Wall -Wextra -Werror -Iinclude/uapi $< -o $@

BENCHES := $(patsubst tests/bench/kernel/%.c,$(BUILD)/bench/%,$(wildcard tests/bench/kernel/*.c))

bench-kernel-programs: $(BENCHES)

$(BUILD)/bench/%: tests/bench/kernel/%.c tests/bench/kernel/bench.h tests/kselftest/harness.c \
		tests/kselftest/harness.h include/uapi/linux/yabusame.h
	@mkdir -p $(@D)
	$(CC) -std=gnu11 $(CFLAGS) -Wall -Wextra -Werror -Iinclude/uapi -pthread $(filter %.c,$^) -o $@

unit: ## unit tests, with sanitizers
	$(MAKE) -C tests/unit check SANITIZE=1

fuzz: ## fuzzers of the daemon's parsers (YAB_FUZZ_USER_SECONDS=60 each)
	@tests/fuzz/run

setup: ## install what builds and tests need (Debian 12 or 13, root)
	@tests/lab/setup

check: setup ## every test
	@tests/check

check-full: setup ## every test, and long runs of some (about three hours more)
	@tests/check --full

demo: setup ## a real guest moves between two hosts
	@tests/demo/run

bench: setup ## the migration figures of docs/measurements.md
	@tests/bench/run

bench-policy: ## page policies compared in a simulator: the table in docs/measurements.md
	@$(MAKE) --no-print-directory -s -C tests/bench/policy
	@$(BUILD)/bench/policy/simulate
	@echo
	@$(BUILD)/bench/policy/simulate --mbit 1000 --rtt 500 --pages 65536
	@echo
	@$(BUILD)/bench/policy/simulate --mbit 1000 --rtt 500 --pages 65536 tests/bench/policy/resume.trace

bench-kernel: setup ## the instructions in docs/measurements.md: faults, mappings, dirty tracking
	@tests/bench/kernel/run

bench-pages: ## the page service without module and VM: rate beside iperf3's, memory (SIZE= ROUNDS= ...)
	@tests/lab/setup --with iperf3
	@tests/bench/pages/run

lint: ## style and static checks
	@tests/lint

install: daemon ## into $(DESTDIR)$(PREFIX), with a unit of systemd, and the module's source for DKMS
	install -D -m 0755 -t $(DESTDIR)$(PREFIX)/sbin $(BUILD)/bin/yabusamed
	install -d -m 0700 $(DESTDIR)/var/lib/yabusame
	install -D -m 0755 -t $(DESTDIR)$(PREFIX)/bin $(BUILD)/bin/yabctl
	sed 's|@sbindir@|$(PREFIX)/sbin|' daemon/yabusamed.service.in >$(BUILD)/yabusamed.service
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/lib/systemd/system $(BUILD)/yabusamed.service
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/include/linux include/uapi/linux/yabusame.h
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/man/man1 docs/yabctl.1
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/man/man5 docs/yabusame-vm.5
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/man/man8 docs/yabusamed.8
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/doc/yabusame README.md
	install -D -m 0644 -t $(DESTDIR)/usr/src/yabusame-$(VERSION)/kmod $(filter-out %.mod.c,$(wildcard kmod/*.[ch])) kmod/Kbuild
	install -D -m 0644 -t $(DESTDIR)/usr/src/yabusame-$(VERSION)/include/uapi/linux include/uapi/linux/yabusame.h
	install -D -m 0644 kmod/dkms.conf $(DESTDIR)/usr/src/yabusame-$(VERSION)/dkms.conf

clean: ## remove what was built (and the lab's kernels)
	rm -rf $(BUILD)
	rm -f kmod/*.o kmod/*.ko kmod/*.mod kmod/*.mod.c kmod/.*.cmd kmod/modules.order kmod/Module.symvers

help:
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "%-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

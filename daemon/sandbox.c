// SPDX-License-Identifier: GPL-2.0-or-later
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/yabusame.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pwd.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "log.h"

/*
 * Sanitizers read /proc/self/maps for their reports and start a symbolizer. Only programs
 * that are built with one have these holes.
 */
#if defined(__SANITIZE_ADDRESS__)
#define YAB_SANDBOX_SANITIZED	1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define YAB_SANDBOX_SANITIZED	1
#endif
#endif
#ifndef YAB_SANDBOX_SANITIZED
#define YAB_SANDBOX_SANITIZED	0
#endif
#if YAB_SANDBOX_SANITIZED
#include <sanitizer/lsan_interface.h>
#endif

/*
 * The OOM killer ends others first: what the worker holds is little, and a guest waits for
 * it. Not -1000: if it ever grew without bounds, it had better be ended.
 */
#define YAB_SANDBOX_OOM_SCORE	(-900)
/* The account "nobody" of every distribution, also where there is no /etc/passwd. */
#define YAB_SANDBOX_NOBODY	65534
/*
 * 17 connections, 32 that are being opened and may replace them, messages with four
 * descriptors each, its own.
 */
#define YAB_SANDBOX_FILES	128

/* Older headers do not know it. The level of kTLS's own options. */
#ifndef SOL_TLS
#define SOL_TLS			282
#endif

/* Whatever their arguments are. */
static const int yab_sandbox_calls[] = {
	/* files and sockets that are open */
	SCMP_SYS(read), SCMP_SYS(readv), SCMP_SYS(pread64), SCMP_SYS(preadv), SCMP_SYS(write),
	SCMP_SYS(writev), SCMP_SYS(pwrite64), SCMP_SYS(pwritev), SCMP_SYS(lseek),
	SCMP_SYS(fallocate), SCMP_SYS(sendfile), SCMP_SYS(close), SCMP_SYS(close_range),
	SCMP_SYS(recvfrom), SCMP_SYS(recvmsg), SCMP_SYS(sendto), SCMP_SYS(sendmsg),
	SCMP_SYS(shutdown), SCMP_SYS(getsockopt), SCMP_SYS(getsockname), SCMP_SYS(getpeername),
	/* memory; what may become executable is looked at below */
	SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise), SCMP_SYS(mincore),
	/* libevent, in all of its variants */
	SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_pwait2),
	SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(timerfd_settime), SCMP_SYS(timerfd_gettime),
	/* clocks, where the vDSO has none */
	SCMP_SYS(clock_gettime), SCMP_SYS(clock_getres), SCMP_SYS(gettimeofday), SCMP_SYS(time),
	SCMP_SYS(nanosleep), SCMP_SYS(clock_nanosleep),
	/* the C library and OpenSSL */
	SCMP_SYS(getrandom), SCMP_SYS(futex), SCMP_SYS(sched_yield), SCMP_SYS(rseq),
	SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn),
	SCMP_SYS(sigaltstack), SCMP_SYS(restart_syscall), SCMP_SYS(getpid), SCMP_SYS(gettid),
	SCMP_SYS(getppid), SCMP_SYS(getuid), SCMP_SYS(geteuid), SCMP_SYS(getgid),
	SCMP_SYS(getegid), SCMP_SYS(exit), SCMP_SYS(exit_group),
#if YAB_SANDBOX_SANITIZED
	SCMP_SYS(openat), SCMP_SYS(readlink), SCMP_SYS(readlinkat), SCMP_SYS(fstat),
	SCMP_SYS(newfstatat), SCMP_SYS(stat), SCMP_SYS(getdents64), SCMP_SYS(prctl),
	SCMP_SYS(wait4), SCMP_SYS(pipe2), SCMP_SYS(clone), SCMP_SYS(dup2), SCMP_SYS(execve),
	SCMP_SYS(kill), SCMP_SYS(prlimit64), SCMP_SYS(getrlimit), SCMP_SYS(sched_getaffinity),
	SCMP_SYS(set_robust_list), SCMP_SYS(arch_prctl), SCMP_SYS(access), SCMP_SYS(faccessat),
	SCMP_SYS(set_tid_address), SCMP_SYS(uname),
#endif
};

/* Calls by one of their arguments: allowed if it is @value in the bits of @mask. */
struct yab_sandbox_rule {
	int call;
	unsigned int argument;
	uint64_t mask;
	uint64_t value;
};

#define YAB_SANDBOX_INT		0xffffffffULL	/* the kernel looks at no more of an int */

static const struct yab_sandbox_rule yab_sandbox_rules[] = {
	{ SCMP_SYS(mmap), 2, PROT_EXEC, 0 },
	{ SCMP_SYS(mprotect), 2, PROT_EXEC, 0 },
	{ SCMP_SYS(fcntl), 1, YAB_SANDBOX_INT, F_GETFD },
	{ SCMP_SYS(fcntl), 1, YAB_SANDBOX_INT, F_SETFD },
	{ SCMP_SYS(fcntl), 1, YAB_SANDBOX_INT, F_GETFL },
	{ SCMP_SYS(fcntl), 1, YAB_SANDBOX_INT, F_SETFL },
	{ SCMP_SYS(fcntl), 1, YAB_SANDBOX_INT, F_DUPFD_CLOEXEC },
	/* Of a pager's descriptor; the control node's make and end regions. */
	{ SCMP_SYS(ioctl), 1, YAB_SANDBOX_INT, YAB_IOC_DECLARE },
	{ SCMP_SYS(ioctl), 1, YAB_SANDBOX_INT, YAB_IOC_STATUS },
	{ SCMP_SYS(ioctl), 1, YAB_SANDBOX_INT, YAB_IOC_PRESENT },
	{ SCMP_SYS(ioctl), 1, YAB_SANDBOX_INT, YAB_IOC_TRACK },
	{ SCMP_SYS(ioctl), 1, YAB_SANDBOX_INT, YAB_IOC_DIRTY },
};

/* Options that may be set. Others of SOL_SOCKET attach programs, among other things. */
static const struct {
	int level;
	int name;
} yab_sandbox_options[] = {
	{ SOL_SOCKET, SO_KEEPALIVE }, { SOL_SOCKET, SO_PRIORITY }, { SOL_SOCKET, SO_RCVLOWAT },
	{ SOL_SOCKET, SO_SNDBUF }, { SOL_SOCKET, SO_RCVBUF }, { SOL_SOCKET, SO_ZEROCOPY },
	{ IPPROTO_TCP, TCP_NODELAY }, { IPPROTO_TCP, TCP_CORK }, { IPPROTO_TCP, TCP_QUICKACK },
	{ IPPROTO_TCP, TCP_NOTSENT_LOWAT }, { IPPROTO_TCP, TCP_USER_TIMEOUT },
	{ IPPROTO_TCP, TCP_KEEPIDLE }, { IPPROTO_TCP, TCP_KEEPINTVL },
	{ IPPROTO_TCP, TCP_KEEPCNT },
	/* kTLS: its name, then keys and what it may leave out */
	{ IPPROTO_TCP, TCP_ULP }, { SOL_TLS, 1 }, { SOL_TLS, 2 }, { SOL_TLS, 3 }, { SOL_TLS, 4 },
};

#if YAB_SANDBOX_SANITIZED
static bool yab_sandbox_entered;

/* Asked at the end. It would trace its own process, and try that for ever. */
int __lsan_is_turned_off(void)
{
	return yab_sandbox_entered;
}
#endif

#define YAB_SANDBOX_COUNT(array)	(sizeof(array) / sizeof((array)[0]))

static int yab_sandbox_fail(char *error, size_t error_size, const char *what, int number)
{
	snprintf(error, error_size,
		 "the worker cannot enter its sandbox (%s: %s): give it the privilege, or start yabusamed with --no-sandbox",
		 what, strerror(number));
	return -1;
}

static void yab_sandbox_protect_from_oom(void)
{
	char text[16] = "";
	FILE *file = fopen("/proc/self/oom_score_adj", "r+e");
	bool done = false;

	if (!file)
		return;
	/* A service manager may have chosen less. */
	if (fgets(text, sizeof(text), file)) {
		done = strtol(text, NULL, 10) <= YAB_SANDBOX_OOM_SCORE;
		if (!done) {
			rewind(file);
			done = fprintf(file, "%d", YAB_SANDBOX_OOM_SCORE) > 0 && !fflush(file);
		}
	}
	/* Buffered bytes that could not be written make fclose() fail, too. */
	if (fclose(file) == EOF || !done)
		yab_log_debug(NULL, "no protection from the OOM killer");
}

/*
 * Only /etc/passwd is asked: other sources of accounts may need a network, and a guest
 * may be waiting for this worker.
 */
static void yab_sandbox_account(uid_t *uid, gid_t *gid)
{
	FILE *file = fopen("/etc/passwd", "re");
	const struct passwd *account;

	*uid = YAB_SANDBOX_NOBODY;
	*gid = YAB_SANDBOX_NOBODY;
	while (file && (account = fgetpwent(file))) {
		if (strcmp(account->pw_name, YAB_SANDBOX_ACCOUNT))
			continue;
		*uid = account->pw_uid;
		*gid = account->pw_gid;
		break;
	}
	if (file)
		fclose(file);
}

/*
 * An empty root that cannot be written to, mounted nowhere: no other process sees it, and it
 * keeps no mount of the host busy, as a copy of all its mounts would. The filter lets no path
 * through anyway, so a container that may not mount is none the worse.
 */
static void yab_sandbox_leave_files(void)
{
	const int context = fsopen("tmpfs", FSOPEN_CLOEXEC);
	int root = -1;

	if (context >= 0 && !fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		root = fsmount(context, FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID |
			       MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	if (root < 0 || fchdir(root) < 0 || chroot(".") < 0)
		yab_log_warn(NULL, "the worker keeps its root folder: %s", strerror(errno));
	if (root >= 0)
		close(root);
	if (context >= 0)
		close(context);
}

static void yab_sandbox_set_limit(int resource, rlim_t value)
{
	const struct rlimit limit = { value, value };
	struct rlimit now;

	/* Where it is lower already it cannot be raised, nor should it be. */
	if (!getrlimit((__rlimit_resource_t)resource, &now) && now.rlim_max > value)
		setrlimit((__rlimit_resource_t)resource, &limit);
}

static void yab_sandbox_limit(void)
{
	yab_sandbox_set_limit(RLIMIT_CORE, 0);
	yab_sandbox_set_limit(RLIMIT_NOFILE, YAB_SANDBOX_FILES);
	if (!YAB_SANDBOX_SANITIZED)
		yab_sandbox_set_limit(RLIMIT_NPROC, 0);
}

/* All but those of @kept, a mask of the first 32, in all sets. 0, or -1 with errno. */
static int yab_sandbox_set_capabilities(uint32_t kept)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	const struct __user_cap_data_struct data[2] = {
		{ .effective = kept, .permitted = kept },
	};

	return syscall(SYS_capset, &header, data) < 0 ? -1 : 0;
}

/* No program that is run ever gets one of these again: also without no_new_privs. */
static void yab_sandbox_empty_bounding_set(void)
{
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	/* Ends with the kernel's last one, or at once for who is not root. */
	for (unsigned long capability = 0; !prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);)
		capability++;
}

static int yab_sandbox_drop(const struct yab_sandbox_needs *needs, char *error, size_t error_size)
{
	const bool is_root = !geteuid();
	const uint32_t kept = is_root && needs->process ? 1U << CAP_SYS_PTRACE : 0;
	uid_t uid;
	gid_t gid;

	yab_sandbox_account(&uid, &gid);
	/* While there are paths. */
	yab_sandbox_protect_from_oom();
	if (is_root && !YAB_SANDBOX_SANITIZED)
		yab_sandbox_leave_files();
	yab_sandbox_limit();
	yab_sandbox_empty_bounding_set();
	if (is_root) {
		if (kept && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
			return yab_sandbox_fail(error, error_size, "PR_SET_KEEPCAPS", errno);
		if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 ||
		    setresuid(uid, uid, uid) < 0)
			return yab_sandbox_fail(error, error_size, "another account", errno);
	}
	if (yab_sandbox_set_capabilities(kept) < 0)
		return yab_sandbox_fail(error, error_size, "capabilities", errno);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return yab_sandbox_fail(error, error_size, "no_new_privs", errno);
	/*
	 * No core with the guest's memory in it, and no tracing by others of the account. After
	 * the change of account, which sets it anew.
	 */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return yab_sandbox_fail(error, error_size, "PR_SET_DUMPABLE", errno);
	return 0;
}

/* 0, or a negative errno, as libseccomp has it. */
static int yab_sandbox_add(scmp_filter_ctx filter, int call, unsigned int count,
			   const struct scmp_arg_cmp *arguments)
{
	/* A negative number: not in this architecture, or unknown to this libseccomp. */
	if (call < 0)
		return 0;
	return seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, call, count, arguments);
}

static int yab_sandbox_add_rules(scmp_filter_ctx filter)
{
	int result = 0;

	for (size_t i = 0; !result && i < YAB_SANDBOX_COUNT(yab_sandbox_rules); i++) {
		const struct yab_sandbox_rule *rule = &yab_sandbox_rules[i];
		const struct scmp_arg_cmp argument = {
			.arg = rule->argument,
			.op = SCMP_CMP_MASKED_EQ,
			.datum_a = rule->mask,
			.datum_b = rule->value,
		};

		result = yab_sandbox_add(filter, rule->call, 1, &argument);
	}
	for (size_t i = 0; !result && i < YAB_SANDBOX_COUNT(yab_sandbox_options); i++) {
		const struct scmp_arg_cmp arguments[] = {
			SCMP_A1(SCMP_CMP_MASKED_EQ, YAB_SANDBOX_INT,
				(uint64_t)yab_sandbox_options[i].level),
			SCMP_A2(SCMP_CMP_MASKED_EQ, YAB_SANDBOX_INT,
				(uint64_t)yab_sandbox_options[i].name),
		};

		result = yab_sandbox_add(filter, SCMP_SYS(setsockopt), 2, arguments);
	}
	return result;
}

/* What depends on the process: that of a need, and this one, for abort(). */
static int yab_sandbox_add_processes(scmp_filter_ctx filter, const struct yab_sandbox_needs *needs)
{
	struct scmp_arg_cmp argument = SCMP_A0(SCMP_CMP_MASKED_EQ, YAB_SANDBOX_INT,
					       (uint64_t)getpid());
	int result;

	result = yab_sandbox_add(filter, SCMP_SYS(tgkill), 1, &argument);
	if (result || !needs->process)
		return result;
	argument.datum_b = (uint64_t)needs->process;
	return yab_sandbox_add(filter, SCMP_SYS(process_vm_readv), 1, &argument);
}

static int yab_sandbox_filter(const struct yab_sandbox_needs *needs, char *error,
			      size_t error_size)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int result;

	if (!filter)
		return yab_sandbox_fail(error, error_size, "seccomp", ENOMEM);
	/* Another architecture's calls have other numbers. */
	result = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	/* A binary search: every call goes through this. Not all libraries can do it. */
	seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	for (size_t i = 0; !result && i < YAB_SANDBOX_COUNT(yab_sandbox_calls); i++)
		result = yab_sandbox_add(filter, yab_sandbox_calls[i], 0, NULL);
	if (!result)
		result = yab_sandbox_add_rules(filter);
	if (!result)
		result = yab_sandbox_add_processes(filter, needs);
	if (!result)
		result = seccomp_load(filter);
	if (result)
		yab_sandbox_fail(error, error_size, "seccomp", -result);
	seccomp_release(filter);
	return result ? -1 : 0;
}

int yab_sandbox_enter(const struct yab_sandbox_needs *needs, char *error, size_t error_size)
{
#if YAB_SANDBOX_SANITIZED
	yab_sandbox_entered = true;
#endif
	if (yab_sandbox_drop(needs, error, error_size) < 0)
		return -1;
	return yab_sandbox_filter(needs, error, error_size);
}

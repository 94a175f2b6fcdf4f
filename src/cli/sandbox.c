/* SPDX-License-Identifier: MIT
 *
 * Landlock is a list of what is allowed, seccomp a list of what is refused: a
 * list of allowed calls would have to follow every release of six libraries,
 * and a gap in it would be an outage. What is refused fails with EPERM, as it
 * would without the right to it.
 */
#include "cli/sandbox.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cli/config.h"
#include "cli/option.h"
#include "cli/pidfile.h"
#include "util/err.h"
#include "util/log.h"
#include "util/mem.h"

#ifdef HYCO_LANDLOCK
#include <linux/landlock.h>
#endif
#ifdef HYCO_SECCOMP
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#endif

/* The leak checker of the sanitizers forks at the end of the process, traces
 * itself from there and reads /proc, so a build with it leaves that much open:
 * tests of such a build find our faults, they do not defend. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||     \
    __has_feature(memory_sanitizer)
#define IS_SANITIZED true
#endif
#endif
#ifndef IS_SANITIZED
#define IS_SANITIZED false
#endif

struct allowed {
	enum sandbox_access access;
	char *path;
};

struct sandbox {
	struct allowed *allowed;
	size_t n_allowed;
	bool denies_tcp;
};

/* There is one process, and it enters once. */
static bool is_closed;

/* --- what stays open --- */

void
sandbox_allow(struct sandbox *b, enum sandbox_access access, const char *path)
{
	char real[PATH_MAX];

	if (!b || !path || !realpath(path, real) || strcmp(real, "/") == 0)
		return;
	b->allowed =
	    mem_grow(b->allowed, (b->n_allowed + 1) * sizeof *b->allowed);
	b->allowed[b->n_allowed++] =
	    (struct allowed){.access = access, .path = mem_strdup(real)};
}

static void
allow_all(struct sandbox *b, const char *const *paths)
{
	for (; *paths; paths++)
		sandbox_allow(b, SANDBOX_READ, *paths);
}

static void
allow_folder_of(struct sandbox *b, enum sandbox_access access, const char *path)
{
	char *folder = config_folder(path);

	sandbox_allow(b, access, folder);
	free(folder);
}

void
sandbox_allow_again(struct sandbox *b, const char *path)
{
	char real[PATH_MAX];

	if (!b || !path)
		return;
	sandbox_allow(b, SANDBOX_READ, path);
	allow_folder_of(b, SANDBOX_READ, path);
	if (realpath(path, real))
		allow_folder_of(b, SANDBOX_READ, real);
}

void
sandbox_allow_socket(struct sandbox *b, const char *path)
{
	if (b && path)
		allow_folder_of(b, SANDBOX_SOCKETS, path);
}

/* Something in the user's home. */
static void
allow_at_home(struct sandbox *b, const char *name)
{
	const char *home = getenv("HOME");
	char *path;

	if (!home || home[0] != '/')
		return;
	path = mem_printf("%s/%s", home, name);
	sandbox_allow(b, SANDBOX_READ, path);
	free(path);
}

/* Whoever may read the system's password hashes does not get all of /etc. The
 * price: a resolv.conf that is replaced later, rather than rewritten, is not
 * found. */
static void
allow_etc(struct sandbox *b)
{
	static const char *const open_to_all[] = {"/etc/ca-certificates",
	    "/etc/crypto-policies", "/etc/gai.conf", "/etc/group",
	    "/etc/host.conf", "/etc/hostname", "/etc/hosts", "/etc/ld.so.cache",
	    "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime",
	    "/etc/nsswitch.conf", "/etc/passwd", "/etc/pki/ca-trust",
	    "/etc/pki/tls/certs", "/etc/protocols", "/etc/resolv.conf",
	    "/etc/services", "/etc/ssl/certs", "/etc/ssl/cert.pem",
	    "/etc/ssl/openssl.cnf", "/etc/terminfo", NULL};

	if (geteuid() == 0 ||
	    faccessat(AT_FDCWD, "/etc/shadow", R_OK, AT_EACCESS) == 0)
		allow_all(b, open_to_all);
	else
		sandbox_allow(b, SANDBOX_READ, "/etc");
}

void
sandbox_allow_network(struct sandbox *b)
{
	static const char *const paths[] = {"/run/systemd/resolve",
	    "/run/systemd/netif", "/run/NetworkManager/resolv.conf",
	    "/run/resolvconf", "/run/connman", "/run/netconfig", NULL};
	char real[PATH_MAX];

	if (!b)
		return;
	allow_etc(b);
	allow_all(b, paths);
	/* It may be a link to anywhere, and replaced there. */
	if (realpath("/etc/resolv.conf", real) &&
	    strncmp(real, "/etc/", 5) != 0)
		allow_folder_of(b, SANDBOX_READ, real);
	sandbox_allow(b, SANDBOX_READ, getenv("SSL_CERT_FILE"));
	sandbox_allow(b, SANDBOX_READ, getenv("SSL_CERT_DIR"));
}

void
sandbox_allow_terminal(struct sandbox *b)
{
	if (!b)
		return;
	sandbox_allow(b, SANDBOX_DEVICE, "/dev/tty");
	allow_at_home(b, ".editrc");
	allow_at_home(b, ".terminfo");
	sandbox_allow(b, SANDBOX_READ, getenv("EDITRC"));
	sandbox_allow(b, SANDBOX_READ, getenv("TERMINFO"));
	sandbox_allow(b, SANDBOX_READ, "/etc/terminfo");
}

void
sandbox_deny_tcp(struct sandbox *b)
{
	if (b)
		b->denies_tcp = true;
}

static void
allow_pidfile(struct sandbox *b, const char *name)
{
	char *path;

	if (!name)
		return;
	path = pidfile_path(name);
	sandbox_allow(b, SANDBOX_READ, path);
	allow_folder_of(b, SANDBOX_REMOVE, path);
	free(path);
}

struct sandbox *
sandbox_new(const struct option_set *s)
{
	/* Programs and their data, modules of the name service among them. */
	static const char *const paths[] = {"/usr", "/lib", "/lib64",
	    "/dev/urandom", "/sys/devices/system/cpu", NULL};
	static const char *const checker_paths[] = {"/proc", "/sys", NULL};
	struct sandbox *b;

	if (option_get_count(s, OPTION_NO_SANDBOX) > 0) {
		log_info("no sandbox", "reason=%s", "--no-sandbox");
		return NULL;
	}
	b = mem_zalloc(sizeof *b);
	allow_all(b, paths);
	sandbox_allow(b, SANDBOX_DEVICE, "/dev/null");
	/* Standard streams are opened anew where they are a terminal. */
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (isatty(fd))
			sandbox_allow(b, SANDBOX_DEVICE, ttyname(fd));
	if (IS_SANITIZED) {
		allow_all(b, checker_paths);
		sandbox_allow_again(b, "/proc/self/exe");
	}
	allow_pidfile(b, option_get(s, OPTION_PIDFILE));
	return b;
}

/* --- files --- */

#ifdef HYCO_LANDLOCK
/* Newer than some systems' headers. */
#define ACCESS_TRUNCATE (1ull << 14)
#define ACCESS_IOCTL_DEV (1ull << 15)
#define ACCESS_BIND_TCP (1ull << 0)
#define ACCESS_CONNECT_TCP (1ull << 1)
#define SCOPE_SIGNAL (1ull << 1)

struct ruleset {
	uint64_t files;
	uint64_t net;    /* from version 4 */
	uint64_t scoped; /* from version 6 */
};

#define FILE_RIGHTS                                                            \
	(LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE |        \
	    ACCESS_TRUNCATE | ACCESS_IOCTL_DEV)

static const uint64_t rights[] = {
    [SANDBOX_READ] = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR,
    [SANDBOX_WRITE] =
        LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR |
        LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG |
        LANDLOCK_ACCESS_FS_REMOVE_FILE | ACCESS_TRUNCATE,
    [SANDBOX_SOCKETS] =
        LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_REMOVE_FILE,
    [SANDBOX_REMOVE] = LANDLOCK_ACCESS_FS_REMOVE_FILE,
    [SANDBOX_DEVICE] = LANDLOCK_ACCESS_FS_READ_FILE |
                       LANDLOCK_ACCESS_FS_WRITE_FILE | ACCESS_IOCTL_DEV,
};

/* Everything that this version of Landlock can close. */
static struct ruleset
everything(const struct sandbox *b, int version)
{
	/* Version 1 ends with MAKE_SYM; 2 added REFER. */
	struct ruleset r = {.files = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1};

	if (version >= 2)
		r.files |= 1ull << 13;
	if (version >= 3)
		r.files |= ACCESS_TRUNCATE;
	if (version >= 5)
		r.files |= ACCESS_IOCTL_DEV;
	if (version >= 4 && b->denies_tcp)
		r.net = ACCESS_BIND_TCP | ACCESS_CONNECT_TCP;
	if (version >= 6)
		r.scoped = SCOPE_SIGNAL;
	return r;
}

static size_t
size_for(int version)
{
	if (version < 4)
		return sizeof(uint64_t);
	return (version < 6 ? 2 : 3) * sizeof(uint64_t);
}

static void
add_rule(int fd, const struct ruleset *r, const struct allowed *a)
{
	struct landlock_path_beneath_attr rule = {
	    .allowed_access = rights[a->access] & r->files};
	struct stat st;

	rule.parent_fd = open(a->path, O_PATH | O_CLOEXEC);
	if (rule.parent_fd < 0)
		return;
	if (fstat(rule.parent_fd, &st) == 0 && !S_ISDIR(st.st_mode))
		rule.allowed_access &= FILE_RIGHTS;
	/* What is no real file (a pipe) is not closed either. */
	if (rule.allowed_access &&
	    syscall(SYS_landlock_add_rule, fd, LANDLOCK_RULE_PATH_BENEATH,
	        &rule, 0) < 0)
		log_debug("sandbox: no rule", "path=%s", a->path);
	close(rule.parent_fd);
}

/* NULL, or why not. */
static const char *
close_files(const struct sandbox *b)
{
	const int version = (int)syscall(SYS_landlock_create_ruleset, NULL, 0,
	    LANDLOCK_CREATE_RULESET_VERSION);
	struct ruleset r;
	bool ok;
	int fd;

	if (version < 1)
		return "this kernel has no Landlock";
	r = everything(b, version);
	fd =
	    (int)syscall(SYS_landlock_create_ruleset, &r, size_for(version), 0);
	if (fd < 0)
		return strerror(errno);
	for (size_t i = 0; i < b->n_allowed; i++)
		add_rule(fd, &r, &b->allowed[i]);
	ok = syscall(SYS_landlock_restrict_self, fd, 0) == 0;
	close(fd);
	return ok ? NULL : strerror(errno);
}
#else
static const char *
close_files(const struct sandbox *b)
{
	(void)b;
	return "built without Landlock";
}
#endif

/* --- system calls --- */

#ifdef HYCO_SECCOMP
/* Never made by this program nor, after the start, by its libraries. */
static const char *const never[] = {
    /* other programs, other processes */
    "execve", "execveat", "process_vm_readv", "process_vm_writev",
    "process_madvise", "pidfd_getfd", "kcmp",
    /* being somebody else, elsewhere */
    "setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid",
    "setgroups", "setfsuid", "setfsgid", "capset", "unshare", "setns", "chroot",
    "pivot_root", "personality",
    /* mounts and devices */
    "mount", "umount", "umount2", "move_mount", "open_tree", "fsopen",
    "fsconfig", "fsmount", "fspick", "mount_setattr", "mknod", "mknodat",
    "open_by_handle_at", "name_to_handle_at", "quotactl", "quotactl_fd",
    "fanotify_init", "lookup_dcookie",
    /* the machine */
    "init_module", "finit_module", "delete_module", "create_module",
    "kexec_load", "kexec_file_load", "reboot", "swapon", "swapoff", "acct",
    "syslog", "sethostname", "setdomainname", "settimeofday", "stime",
    "clock_settime", "clock_settime64", "clock_adjtime", "clock_adjtime64",
    "adjtimex", "ioperm", "iopl", "modify_ldt", "vm86", "vm86old", "vhangup",
    "nfsservctl", "sysfs", "_sysctl", "uselib", "ustat",
    /* parts of the kernel where its faults were found */
    "bpf", "perf_event_open", "userfaultfd", "io_uring_setup",
    "io_uring_register", "add_key", "request_key", "keyctl", "shmget", "shmat",
    "msgget", "semget", "migrate_pages", "move_pages", "remap_file_pages"};

/* The same, but for the leak checker. */
static const char *const never_outside_tests[] = {"ptrace", "fork", "vfork"};

#ifdef __s390__
#define CLONE_FLAGS_AT 1
#else
#define CLONE_FLAGS_AT 0
#endif
#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

/* The first failure but "this machine has no such call". */
static void
note(int rc, int *failed)
{
	if (rc < 0 && rc != -EDOM && *failed == 0)
		*failed = rc;
}

static void
refuse(scmp_filter_ctx f, const char *const *names, size_t n, int *failed)
{
	for (size_t i = 0; i < n; i++) {
		const int number = seccomp_syscall_resolve_name(names[i]);

		if (number != __NR_SCMP_ERROR)
			note(seccomp_rule_add(
			         f, SCMP_ACT_ERRNO(EPERM), number, 0),
			    failed);
	}
}

/* A call is refused by the bits of one argument. */
static void
refuse_bits(scmp_filter_ctx f, int number, unsigned argument, uint64_t mask,
    uint64_t bits, int *failed)
{
	note(seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), number, 1,
	         SCMP_CMP(argument, SCMP_CMP_MASKED_EQ, mask, bits)),
	    failed);
}

static void
refuse_processes(scmp_filter_ctx f, int *failed)
{
	static const unsigned namespaces[] = {CLONE_NEWNS, CLONE_NEWCGROUP,
	    CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID,
	    CLONE_NEWNET, CLONE_NEWTIME};

	for (size_t i = 0; i < sizeof namespaces / sizeof namespaces[0]; i++)
		refuse_bits(f, SCMP_SYS(clone), CLONE_FLAGS_AT, namespaces[i],
		    namespaces[i], failed);
	if (!IS_SANITIZED)
		refuse_bits(f, SCMP_SYS(clone), CLONE_FLAGS_AT, CLONE_THREAD, 0,
		    failed);
	/* Its flags lie in memory, where a filter cannot look. libc tries the
	 * older call when this one seems to be missing. */
	note(seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0),
	    failed);
}

/* Data does not become code. */
static void
refuse_code(scmp_filter_ctx f, int *failed)
{
	const uint64_t both = PROT_WRITE | PROT_EXEC;

	refuse_bits(f, SCMP_SYS(mmap), 2, both, both, failed);
	refuse_bits(f, SCMP_SYS(mprotect), 2, PROT_EXEC, PROT_EXEC, failed);
	refuse_bits(
	    f, SCMP_SYS(pkey_mprotect), 2, PROT_EXEC, PROT_EXEC, failed);
}

/* Sockets are unix, IP, and netlink's routing, which libc asks for our
 * addresses. */
static void
refuse_sockets(scmp_filter_ctx f, int *failed)
{
	static const int known[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};
	const scmp_datum_t any = 0xffffffff;
	const scmp_datum_t type = 0xf;

	for (int family = 0, i = 0; family <= AF_NETLINK; family++) {
		if (family == known[i])
			i++;
		else
			refuse_bits(f, SCMP_SYS(socket), 0, any,
			    (scmp_datum_t)family, failed);
	}
	note(seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(socket), 1,
	         SCMP_A0(SCMP_CMP_GT, AF_NETLINK, 0)),
	    failed);
	note(seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(socket), 2,
	         SCMP_A0(SCMP_CMP_EQ, AF_NETLINK, 0),
	         SCMP_A2(SCMP_CMP_NE, 0, 0)),
	    failed);
	for (int i = 1; i <= 2; i++)
		note(
		    seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(socket),
		        2, SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)known[i], 0),
		        SCMP_A1(SCMP_CMP_MASKED_EQ, type, SOCK_RAW)),
		    failed);
}

/* Typing for the person at the terminal we share with a shell, and taking back
 * what was done here. */
static void
refuse_escapes(scmp_filter_ctx f, int *failed)
{
	refuse_bits(f, SCMP_SYS(ioctl), 1, 0xffffffff, TIOCSTI, failed);
	refuse_bits(f, SCMP_SYS(ioctl), 1, 0xffffffff, TIOCLINUX, failed);
	if (!IS_SANITIZED)
		refuse_bits(
		    f, SCMP_SYS(prctl), 0, 0xffffffff, PR_SET_DUMPABLE, failed);
}

static void
set_manners(scmp_filter_ctx f, int *failed)
{
	/* Another architecture's calls would pass by the list. */
	note(
	    seccomp_attr_set(f, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS),
	    failed);
	note(seccomp_attr_set(f, SCMP_FLTATR_CTL_TSYNC, 1), failed);
#if SCMP_VER_MAJOR > 2 || (SCMP_VER_MAJOR == 2 && SCMP_VER_MINOR >= 5)
	/* Before Linux 5.16 a filter slowed the processor down, in defence
	 * against code that is not trusted; there is none here. Best effort. */
	(void)seccomp_attr_set(f, SCMP_FLTATR_CTL_SSB, 1);
#endif
}

static const char *
close_calls(bool keeps_ring)
{
	static const char *const ring[] = {"io_uring_enter"};
	scmp_filter_ctx f = seccomp_init(SCMP_ACT_ALLOW);
	int failed = 0;

	if (!f)
		return "libseccomp failed";
	set_manners(f, &failed);
	refuse(f, never, sizeof never / sizeof never[0], &failed);
	if (!IS_SANITIZED)
		refuse(f, never_outside_tests,
		    sizeof never_outside_tests / sizeof never_outside_tests[0],
		    &failed);
	if (!keeps_ring)
		refuse(f, ring, 1, &failed);
	refuse_processes(f, &failed);
	refuse_code(f, &failed);
	refuse_sockets(f, &failed);
	refuse_escapes(f, &failed);
	if (failed == 0)
		failed = seccomp_load(f);
	seccomp_release(f);
	return failed ? strerror(-failed) : NULL;
}
#else
static const char *
close_calls(bool keeps_ring)
{
	(void)keeps_ring;
	return "built without libseccomp";
}
#endif

/* --- the door --- */

/* Keys do not land in core files, and nobody of the same user reads them from
 * our memory. */
static void
close_memory(void)
{
	const struct rlimit none = {0, 0};

	setrlimit(RLIMIT_CORE, &none);
	if (!IS_SANITIZED)
		prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

static void
sandbox_free(struct sandbox *b)
{
	for (size_t i = 0; i < b->n_allowed; i++)
		free(b->allowed[i].path);
	free(b->allowed);
	free(b);
}

/* Some releases of libuv make a ring together with the loop; it has to go on
 * working. Without one there is nothing to enter. */
static bool
has_ring(void)
{
	DIR *all = opendir("/proc/self/fd");
	const struct dirent *one;
	char target[64];
	bool found = !all;

	while (all && (one = readdir(all))) {
		const ssize_t n = readlinkat(
		    dirfd(all), one->d_name, target, sizeof target - 1);

		target[n > 0 ? n : 0] = '\0';
		found = found || strstr(target, "[io_uring]");
	}
	if (all)
		closedir(all);
	return found;
}

void
sandbox_enter(struct sandbox *b)
{
	const bool keeps_ring = b && has_ring();
	const char *files;
	const char *calls;

	if (!b)
		return;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
		log_info("no sandbox", "reason=%s", strerror(errno));
		sandbox_free(b);
		return;
	}
	files = close_files(b);
	close_memory();
	calls = close_calls(keeps_ring);
	is_closed = !files;
	if (files)
		log_info("sandbox leaves files open", "reason=%s", files);
	if (calls)
		log_info(
		    "sandbox leaves system calls open", "reason=%s", calls);
	if (!files && !calls)
		log_debug("sandbox entered", NULL);
	sandbox_free(b);
}

static bool
is_ours(const char *path)
{
	char *folder = config_folder(path);
	const bool ours =
	    faccessat(AT_FDCWD, folder, W_OK | X_OK, AT_EACCESS) == 0;

	free(folder);
	return ours;
}

void
sandbox_explain(struct err *e, const char *path)
{
	const char *remedy = "; the sandbox leaves open only the folders that "
	                     "were named at the start: restart, or give "
	                     "--no-sandbox";
	const size_t n = strlen(e->text);
	const bool is_it = path ? e->code == ERR_DENIED && is_ours(path)
	                        : strcasestr(e->text, strerror(EACCES)) != NULL;

	if (!is_closed || !is_it)
		return;
	if (path)
		remedy = "; inside the sandbox, sockets can be made in the "
		         "folders of those given by -L, in /tmp and in "
		         "$XDG_RUNTIME_DIR: start with -L, or with "
		         "--no-sandbox";
	snprintf(e->text + n, sizeof e->text - n, "%s", remedy);
}

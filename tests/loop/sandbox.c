/* SPDX-License-Identifier: MIT
 *
 * Each case is a child of its own that enters the sandbox, for there is no way
 * back; its exit status is the line that failed, or 0.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <netdb.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/option.h"
#include "cli/sandbox.h"
#include "net/loop.h"
#include "util/err.h"
#include "util/log.h"

#if defined(__SANITIZE_ADDRESS__)
#define IS_SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define IS_SANITIZED true
#endif
#endif
#ifndef IS_SANITIZED
#define IS_SANITIZED false
#endif

/* In a child: the exit status is a byte, so lines are told on standard error.
 */
#define EXPECT(condition)                                                      \
	do {                                                                   \
		if (!(condition)) {                                            \
			fprintf(stderr, "%s:%d: %s (%s)\n", __FILE__,          \
			    __LINE__, #condition, strerror(errno));            \
			_exit(1);                                              \
		}                                                              \
	} while (0)

struct room {
	char folder[64];
	char inside[96];  /* a folder, and files in it */
	char outside[96]; /* another one */
};

static void
write_file(const char *folder, const char *name, const char *text)
{
	char path[160];
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", folder, name);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static int
set_up(void **state)
{
	struct room *r = calloc(1, sizeof *r);

	/* Not beneath /tmp: connect may make sockets there. */
	strcpy(r->folder, "/var/tmp/hyco-sandbox-XXXXXX");
	assert_non_null(mkdtemp(r->folder));
	snprintf(r->inside, sizeof r->inside, "%s/inside", r->folder);
	snprintf(r->outside, sizeof r->outside, "%s/outside", r->folder);
	assert_int_equal(mkdir(r->inside, 0700), 0);
	assert_int_equal(mkdir(r->outside, 0700), 0);
	write_file(r->inside, "users", "one");
	write_file(r->outside, "secret", "two");
	*state = r;
	return 0;
}

static int
tear_down(void **state)
{
	struct room *r = *state;
	char command[128];

	snprintf(command, sizeof command, "rm -r %s", r->folder);
	assert_int_equal(system(command), 0);
	free(r);
	return 0;
}

static const char *
at(const char *folder, const char *name)
{
	static char paths[4][160];
	static unsigned next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof paths[0], "%s/%s", folder, name);
	return path;
}

static void
run(const struct room *r, void (*child)(const struct room *r))
{
	const pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		child(r);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static struct sandbox *
begin(void)
{
	static const struct option_set s = {.command = OPTION_COMMAND_LISTEN};
	struct sandbox *b;

	log_set_level(LOG_WARN);
	b = sandbox_new(&s);
	EXPECT(b);
	return b;
}

/* What the kernel, and the build, can. */
static bool
has_landlock(void)
{
#ifdef HYCO_LANDLOCK
	return syscall(SYS_landlock_create_ruleset, NULL, 0,
	           LANDLOCK_CREATE_RULESET_VERSION) > 0;
#else
	return false;
#endif
}

static int
landlock_version(void)
{
	return (int)syscall(SYS_landlock_create_ruleset, NULL, 0,
	    LANDLOCK_CREATE_RULESET_VERSION);
}

static bool
has_seccomp(void)
{
#ifdef HYCO_SECCOMP
	return prctl(PR_GET_SECCOMP) >= 0;
#else
	return false;
#endif
}

static bool
can_open(const char *path, int flags)
{
	const int fd = open(path, flags | O_CLOEXEC, 0600);

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

static bool
is_refused(long rc)
{
	return rc < 0 && errno == EPERM;
}

/* --- files --- */

static void
child_files(const struct room *r)
{
	struct sandbox *b = begin();
	char text[8] = "";
	int fd;

	sandbox_allow_again(b, at(r->inside, "users"));
	sandbox_allow_network(b);
	sandbox_enter(b);

	EXPECT(!can_open(at(r->outside, "secret"), O_RDONLY));
	EXPECT(errno == EACCES);
	EXPECT(!can_open(at(r->outside, "secret"), O_WRONLY));
	EXPECT(!can_open(at(r->outside, "new"), O_WRONLY | O_CREAT));
	EXPECT(!can_open(r->outside, O_RDONLY | O_DIRECTORY));
	EXPECT(!can_open("/etc/shadow", O_RDONLY));
	EXPECT(!can_open("/proc/1/environ", O_RDONLY) || IS_SANITIZED);
	EXPECT(unlink(at(r->outside, "secret")) < 0);
	EXPECT(rename(at(r->outside, "secret"), at(r->outside, "x")) < 0);
	EXPECT(mkdir(at(r->inside, "x"), 0700) < 0);
	EXPECT(symlink("/etc", at(r->inside, "x")) < 0);
	EXPECT(!can_open(at(r->inside, "new"), O_WRONLY | O_CREAT));
	EXPECT(!can_open(at(r->inside, "users"), O_WRONLY));
	if (landlock_version() >= 3)
		EXPECT(truncate(at(r->inside, "users"), 0) < 0);

	fd = open(at(r->inside, "users"), O_RDONLY);
	EXPECT(fd >= 0);
	EXPECT(read(fd, text, 3) == 3 && strcmp(text, "one") == 0);
	EXPECT(can_open("/etc/hosts", O_RDONLY));
	EXPECT(can_open("/etc/ssl/certs", O_RDONLY | O_DIRECTORY));
	EXPECT(can_open("/dev/null", O_RDWR));
}

static void
test_files(void **state)
{
	if (!has_landlock())
		skip();
	run(*state, child_files);
}

/* The file is replaced from outside while the child is in its sandbox. */
static void
test_replaced_file(void **state)
{
	const struct room *r = *state;
	int ready[2], go[2];
	char folder[96];
	char text[8] = "";
	int status;
	pid_t pid;

	if (!has_landlock())
		skip();
	/* users -> link/users -> really/users: both folders count. */
	snprintf(folder, sizeof folder, "%s/really", r->folder);
	assert_int_equal(mkdir(folder, 0700), 0);
	write_file(folder, "users", "one");
	assert_int_equal(
	    symlink("../really/users", at(r->inside, "linked")), 0);
	assert_int_equal(pipe(ready), 0);
	assert_int_equal(pipe(go), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct sandbox *b = begin();
		int fd;

		sandbox_allow_again(b, at(r->inside, "linked"));
		sandbox_enter(b);
		EXPECT(write(ready[1], "x", 1) == 1);
		EXPECT(read(go[0], text, 1) == 1);
		fd = open(at(r->inside, "linked"), O_RDONLY);
		EXPECT(fd >= 0);
		EXPECT(read(fd, text, 3) == 3 && strcmp(text, "new") == 0);
		EXPECT(can_open(at(r->inside, "users"), O_RDONLY));
		_exit(0);
	}
	assert_int_equal(read(ready[0], text, 1), 1);
	write_file(folder, "temp", "new");
	assert_int_equal(rename(at(folder, "temp"), at(folder, "users")), 0);
	assert_int_equal(write(go[1], "x", 1), 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	for (int i = 0; i < 2; i++) {
		close(ready[i]);
		close(go[i]);
	}
}

static void
child_write(const struct room *r)
{
	struct sandbox *b = begin();
	FILE *f;

	sandbox_allow(b, SANDBOX_WRITE, r->inside);
	sandbox_allow(b, SANDBOX_REMOVE, r->outside);
	/* Never all there is. */
	sandbox_allow(b, SANDBOX_WRITE, "/");
	sandbox_allow_again(b, "/not-there");
	sandbox_enter(b);

	f = fopen(at(r->inside, "history"), "w");
	EXPECT(f && fputs("line\n", f) >= 0 && fclose(f) == 0);
	EXPECT(can_open(at(r->inside, "history"), O_RDWR | O_TRUNC));
	EXPECT(rename(at(r->inside, "history"), at(r->inside, "old")) == 0);
	EXPECT(unlink(at(r->inside, "old")) == 0);
	EXPECT(!can_open(at(r->inside, "../x"), O_WRONLY | O_CREAT));
	EXPECT(!can_open(at(r->outside, "secret"), O_RDONLY));
	EXPECT(unlink(at(r->outside, "secret")) == 0);
	EXPECT(!can_open("/var/tmp/hyco-never", O_WRONLY | O_CREAT));
}

static void
test_write(void **state)
{
	if (!has_landlock())
		skip();
	run(*state, child_write);
}

static int
bind_unix(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	EXPECT(fd >= 0);
	strncpy(a.sun_path, path, sizeof a.sun_path - 1);
	if (bind(fd, (struct sockaddr *)&a, sizeof a) == 0 &&
	    listen(fd, 1) == 0)
		return fd;
	close(fd);
	return -1;
}

static bool
can_connect_unix(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool ok;

	strncpy(a.sun_path, path, sizeof a.sun_path - 1);
	ok = connect(fd, (struct sockaddr *)&a, sizeof a) == 0;
	close(fd);
	return ok;
}

static void
child_unix_sockets(const struct room *r)
{
	struct sandbox *b = begin();
	struct err e;

	EXPECT(bind_unix(at(r->outside, "server")) >= 0);
	sandbox_allow_socket(b, at(r->inside, "ours"));
	sandbox_enter(b);

	EXPECT(bind_unix(at(r->inside, "ours")) >= 0);
	EXPECT(bind_unix(at(r->inside, "other")) >= 0);
	EXPECT(unlink(at(r->inside, "other")) == 0);
	EXPECT(bind_unix(at(r->outside, "ours")) < 0);
	/* Destinations are the policy's matter, not the sandbox's. */
	EXPECT(can_connect_unix(at(r->outside, "server")));

	err_set(&e, ERR_DENIED, "cannot listen");
	sandbox_explain(&e, at(r->outside, "ours"));
	EXPECT(strstr(e.text, "--no-sandbox"));
	err_set(&e, ERR_DENIED, "cannot listen");
	sandbox_explain(&e, "/not-there/ours");
	EXPECT(strcmp(e.text, "cannot listen") == 0);
	err_set_errno(&e, ERR_SYSTEM, EACCES, "cannot open");
	sandbox_explain(&e, NULL);
	EXPECT(strstr(e.text, "restart"));
	err_set_errno(&e, ERR_SYSTEM, EIO, "cannot open");
	sandbox_explain(&e, NULL);
	EXPECT(!strstr(e.text, "restart"));
}

static void
test_unix_sockets(void **state)
{
	if (!has_landlock())
		skip();
	run(*state, child_unix_sockets);
}

/* --- calls --- */

static void
child_calls(const struct room *r)
{
	char name[] = "true";
	char *argv[] = {name, NULL};
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	void *data;
	char c;

	(void)r;
	data = mmap(NULL, page, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	sandbox_enter(begin());
	EXPECT(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);

	EXPECT(is_refused(execve("/bin/true", argv, argv + 1)));
	EXPECT(is_refused(
	    syscall(SYS_execveat, AT_FDCWD, "/bin/true", argv, argv + 1, 0)));
	EXPECT(is_refused(unshare(CLONE_NEWUSER)));
	EXPECT(is_refused(setns(0, 0)));
	EXPECT(is_refused(chroot("/")));
	EXPECT(
	    is_refused(syscall(SYS_mount, "none", "/mnt", "tmpfs", 0, NULL)));
	EXPECT(is_refused(syscall(SYS_io_uring_setup, 1, NULL)));
	EXPECT(is_refused(syscall(SYS_io_uring_enter, -1, 0, 0, 0, NULL, 0)));
	EXPECT(is_refused(syscall(SYS_bpf, 0, NULL, 0)));
	EXPECT(is_refused(syscall(SYS_perf_event_open, NULL, 0, 0, 0, 0)));
	EXPECT(is_refused(syscall(SYS_userfaultfd, 0)));
	EXPECT(is_refused(syscall(SYS_keyctl, 0, 0, 0, 0, 0)));
	EXPECT(
	    is_refused(syscall(SYS_process_vm_readv, 0, NULL, 0, NULL, 0, 0)));
	EXPECT(is_refused(syscall(SYS_setuid, getuid())));
	EXPECT(is_refused(syscall(
	    SYS_clone, CLONE_NEWNET | SIGCHLD, NULL, NULL, NULL, NULL)));
	EXPECT(syscall(SYS_clone3, NULL, 0) < 0 && errno == ENOSYS);
	c = 'x';
	EXPECT(is_refused(ioctl(STDIN_FILENO, TIOCSTI, &c)));
	EXPECT(is_refused(mprotect(data, page, PROT_READ | PROT_EXEC)));
	EXPECT(mmap(NULL, page, PROT_WRITE | PROT_EXEC,
	           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED);
	if (!IS_SANITIZED) {
		EXPECT(is_refused(ptrace(PTRACE_TRACEME, 0, NULL, NULL)));
		EXPECT(is_refused(fork()));
		EXPECT(is_refused(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)));
	}
}

static void
test_calls(void **state)
{
	if (!has_seccomp())
		skip();
	run(*state, child_calls);
}

static void
child_memory(const struct room *r)
{
	struct rlimit core;

	(void)r;
	sandbox_enter(begin());
	EXPECT(getrlimit(RLIMIT_CORE, &core) == 0);
	EXPECT(core.rlim_cur == 0 && core.rlim_max == 0);
	EXPECT(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == IS_SANITIZED);
}

static void
test_memory(void **state)
{
	run(*state, child_memory);
}

/* --- what has to go on --- */

static void *
on_thread(void *arg)
{
	const struct room *r = arg;

	/* The sandbox holds here too. */
	if (has_landlock())
		EXPECT(!can_open(at(r->outside, "secret"), O_RDONLY));
	if (has_seccomp())
		EXPECT(is_refused(unshare(CLONE_NEWUSER)));
	return arg;
}

static int
listen_tcp(struct sockaddr_in *a)
{
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t n = sizeof *a;

	*a = (struct sockaddr_in){
	    .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	EXPECT(fd >= 0);
	if (bind(fd, (struct sockaddr *)a, sizeof *a) < 0 ||
	    listen(fd, 1) < 0) {
		close(fd);
		return -1;
	}
	EXPECT(getsockname(fd, (struct sockaddr *)a, &n) == 0);
	return fd;
}

static bool
can_connect_tcp(const struct sockaddr_in *a)
{
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const bool ok = connect(fd, (const struct sockaddr *)a, sizeof *a) == 0;

	close(fd);
	return ok;
}

static void
child_goes_on(const struct room *r)
{
	const struct addrinfo hints = {
	    .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
	struct sandbox *b = begin();
	struct addrinfo *found = NULL;
	struct sockaddr_in a;
	pthread_t thread;
	void *result = NULL;
	int server;

	sandbox_allow_network(b);
	sandbox_enter(b);
	EXPECT(pthread_create(&thread, NULL, on_thread, (void *)r) == 0);
	EXPECT(pthread_join(thread, &result) == 0 && result == r);
	EXPECT(getaddrinfo("localhost", "80", &hints, &found) == 0 ||
	       getaddrinfo("localhost", "80", NULL, &found) == 0);
	freeaddrinfo(found);
	server = listen_tcp(&a);
	EXPECT(server >= 0);
	EXPECT(can_connect_tcp(&a));
	EXPECT(socket(AF_INET6, SOCK_DGRAM, 0) >= 0 || errno == EAFNOSUPPORT);
	EXPECT(socket(AF_NETLINK, SOCK_RAW, 0) >= 0);
	if (has_seccomp()) {
		EXPECT(is_refused(socket(AF_PACKET, SOCK_RAW, 0)));
		EXPECT(is_refused(socket(AF_VSOCK, SOCK_STREAM, 0)));
		EXPECT(is_refused(socket(AF_ALG, SOCK_SEQPACKET, 0)));
		EXPECT(is_refused(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)));
		EXPECT(is_refused(socket(AF_NETLINK, SOCK_RAW, 12)));
	}
}

static void
test_goes_on(void **state)
{
	run(*state, child_goes_on);
}

static void
child_loop(const struct room *r)
{
	struct loop *l;

	(void)r;
	sandbox_enter(begin());
	/* One that is made inside, as well. */
	l = loop_new(NULL);
	EXPECT(l);
	loop_run(l);
	EXPECT(loop_close(l));
}

static void
test_loop(void **state)
{
	run(*state, child_loop);
}

static void
child_relay(const struct room *r)
{
	struct sandbox *b = begin();
	struct sockaddr_in a, other;
	int server;

	(void)r;
	server = listen_tcp(&a);
	EXPECT(server >= 0);
	sandbox_deny_tcp(b);
	sandbox_enter(b);
	EXPECT(!can_connect_tcp(&a) && errno == EACCES);
	EXPECT(listen_tcp(&other) < 0 && errno == EACCES);
	/* What is bound already serves. */
	EXPECT(fcntl(server, F_SETFL, O_NONBLOCK) == 0);
	EXPECT(accept(server, NULL, NULL) < 0 && errno == EAGAIN);
}

static void
test_relay(void **state)
{
	if (!has_landlock() || landlock_version() < 4)
		skip();
	run(*state, child_relay);
}

/* --- the option --- */

static void
child_without(const struct room *r)
{
	struct option_set s = {.command = OPTION_COMMAND_LISTEN};
	struct sandbox *b;
	struct err e;

	EXPECT(option_set_value(
	    &s, OPTION_NO_SANDBOX, NULL, OPTION_SOURCE_LINE, &e));
	log_set_level(LOG_WARN);
	b = sandbox_new(&s);
	EXPECT(!b);
	sandbox_allow(b, SANDBOX_READ, "/usr");
	sandbox_allow_again(b, "/usr/x");
	sandbox_allow_socket(b, "/usr/x");
	sandbox_allow_network(b);
	sandbox_allow_terminal(b);
	sandbox_deny_tcp(b);
	sandbox_enter(b);
	option_fini(&s);
	EXPECT(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0);
	EXPECT(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 1);
	EXPECT(can_open(at(r->outside, "secret"), O_RDWR));
	err_set_errno(&e, ERR_SYSTEM, EACCES, "cannot open");
	sandbox_explain(&e, NULL);
	EXPECT(!strstr(e.text, "sandbox"));
}

static void
test_without(void **state)
{
	run(*state, child_without);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_files),
	    TEST(test_replaced_file),
	    TEST(test_write),
	    TEST(test_unix_sockets),
	    TEST(test_calls),
	    TEST(test_memory),
	    TEST(test_goes_on),
	    TEST(test_loop),
	    TEST(test_relay),
	    TEST(test_without),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

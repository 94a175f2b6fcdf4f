/* SPDX-License-Identifier: MIT
 *
 * What a role takes from itself before it reads a peer's first byte. It says
 * which files it still needs, then enters: no new privileges, no core files,
 * the rest of the file system closed (Landlock), and the system calls that
 * this program never makes refused (seccomp). There is no way back.
 *
 * Where the kernel or the build lacks one of the two, the other still holds
 * and a log line tells. Landlock binds the calling thread and the threads it
 * starts afterwards, so the sandbox is entered before there are others.
 *
 * Files stay open that were opened before. Sockets and the addresses they
 * connect to, unix sockets too, are not restricted, but for the relay's TCP.
 */
#pragma once
#include <stdbool.h>

struct err;
struct option_set;
struct sandbox;

enum sandbox_access {
	SANDBOX_READ,    /* a file, or all beneath a folder */
	SANDBOX_WRITE,   /* also change, make and remove plain files */
	SANDBOX_SOCKETS, /* make unix sockets beneath, and remove files */
	SANDBOX_REMOVE,  /* remove files beneath */
	SANDBOX_DEVICE,  /* a device: read, write, ioctl */
};

/* What every role needs, its pid file among it. NULL, and a line in the log,
 * when --no-sandbox was given; all that follows takes NULL and does nothing. */
struct sandbox *sandbox_new(const struct option_set *s);

/* path is copied; NULL or a missing one is no fault. "/" is refused. */
void sandbox_allow(
    struct sandbox *b, enum sandbox_access access, const char *path);

/* A file that will be read again: its folder, so that a new file in its place
 * is found, and the one it really is in when it is a symbolic link. A file in
 * "/" is allowed alone. path may be NULL. */
void sandbox_allow_again(struct sandbox *b, const char *path);

/* Sockets in the folder of this one. */
void sandbox_allow_socket(struct sandbox *b, const char *path);

/* What resolving names and verifying certificates read. */
void sandbox_allow_network(struct sandbox *b);

/* What the prompt and the line editor read and open. */
void sandbox_allow_terminal(struct sandbox *b);

/* No new TCP ports and no TCP connections from here. */
void sandbox_deny_tcp(struct sandbox *b);

/* The one-way door. Frees *b. */
void sandbox_enter(struct sandbox *b);

/* When the sandbox is the reason of this failure, adds the remedy to the text:
 * path is the file that was not made; NULL: a file that was not read. */
void sandbox_explain(struct err *e, const char *path);

/* SPDX-License-Identifier: MIT
 *
 * Two descriptors, one to read and one to write, as one stream: standard input
 * and output of a process (-W, ssh's ProxyCommand). Pipes, sockets, terminals,
 * files and devices such as /dev/null all serve. The end of the input is
 * on_end, stream_shutdown closes the output, so that its reader sees the end. A
 * reader of the output that goes away is on_error (ERR_RESET).
 *
 * Whoever shares the descriptors with us (a shell, ssh) finds them in the same
 * state as before: they are not left non-blocking.
 */
#pragma once

struct err;
struct loop;
struct stream;

/* Takes both descriptors, which may be the same; of standard input, output and
 * error the number stays open, on /dev/null, once the stream is done with it.
 * The stream is open and stopped. NULL and *e (ERR_USAGE: a descriptor is not
 * open), with the descriptors left alone. */
struct stream *stdio_open(struct loop *l, int in, int out, struct err *e);

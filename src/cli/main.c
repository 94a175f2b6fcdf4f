/* SPDX-License-Identifier: MIT
 *
 * The program's front: finds the subcommand, sets up what belongs to the whole
 * process (signals, limits, memory), and gives the options to it.
 */
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "cli/cmd.h"
#include "cli/command_line.h"
#include "cli/option.h"
#include "cli/pidfile.h"
#include "cli/suggest.h"
#include "util/err.h"

static int (*const commands[OPTION_COMMAND_COUNT])(
    const struct option_set *s) = {
    [OPTION_COMMAND_RELAY] = cmd_relay,
    [OPTION_COMMAND_LISTEN] = cmd_listen,
    [OPTION_COMMAND_CONNECT] = cmd_connect,
    [OPTION_COMMAND_PASSWD] = cmd_passwd,
    [OPTION_COMMAND_TOKEN] = cmd_token,
    [OPTION_COMMAND_COMPLETION] = cmd_completion,
};

int
cmd_completion(const struct option_set *s)
{
	struct err e;

	if (strcmp(s->operands[0], "bash") != 0) {
		err_set(&e, ERR_USAGE, "there is a script for bash only");
		return command_line_fail(s, &e);
	}
	option_print_completion(stdout);
	return ERR_EXIT_DONE;
}

static void
prepare_process(void)
{
	struct rlimit files;

	signal(SIGPIPE, SIG_IGN);
	/* State, sockets and pid files are this user's alone. */
	umask(077);
	/* Each tunnelled connection is a descriptor or two. */
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	/* Queues of 64 to 300 KiB come and go all the time. With glibc's
	 * defaults each would be mapped and unmapped, at the price of a page
	 * fault for every 4 KiB. */
	mallopt(M_MMAP_THRESHOLD, 1024 * 1024);
	mallopt(M_TRIM_THRESHOLD, 16 * 1024 * 1024);
}

static int
do_kill(const struct option_set *s)
{
	struct err e;
	long pid;

	if (!pidfile_kill(option_get(s, OPTION_KILL), &pid, &e))
		return command_line_fail(s, &e);
	printf("ended process %ld\n", pid);
	return ERR_EXIT_DONE;
}

static int
run(const struct option_set *s)
{
	const char *pidfile = option_get(s, OPTION_PIDFILE);
	struct err e;
	int status;

	if (option_get_count(s, OPTION_HELP) > 0) {
		option_print_help(stdout, s->command);
		return ERR_EXIT_DONE;
	}
	if (option_get_count(s, OPTION_VERSION) > 0) {
		puts("hyco " HYCO_VERSION);
		return ERR_EXIT_DONE;
	}
	if (option_get(s, OPTION_KILL))
		return do_kill(s);
	if (pidfile && !pidfile_write(pidfile, &e))
		return command_line_fail(s, &e);
	status = commands[s->command](s);
	if (pidfile)
		pidfile_remove(pidfile);
	return status;
}

static int
unknown_command(const char *word)
{
	const char *names[OPTION_COMMAND_COUNT];
	const char *near;

	for (size_t i = 0; i < OPTION_COMMAND_COUNT; i++)
		names[i] = option_commands[i].name;
	near = suggest_nearest(word, names, OPTION_COMMAND_COUNT);
	fprintf(stderr, "hyco: unknown command \"%.40s\"; ", word);
	if (near)
		fprintf(stderr, "did you mean `hyco %s`?\n", near);
	else
		fputs("`hyco help` lists all\n", stderr);
	return ERR_EXIT_USAGE;
}

static int
help(int argc, char **argv)
{
	enum option_command command;

	if (argc == 0) {
		option_print_overview(stdout);
		return ERR_EXIT_DONE;
	}
	command = option_find_command(argv[0]);
	if (command == OPTION_COMMAND_COUNT)
		return unknown_command(argv[0]);
	option_print_help(stdout, command);
	return ERR_EXIT_DONE;
}

/* What was printed has to have arrived: a full disk is a failure. */
static int
finish(int status)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	perror("hyco: standard output");
	return status ? status : ERR_EXIT_FAILURE;
}

int
main(int argc, char **argv)
{
	const char *word = argc > 1 ? argv[1] : NULL;
	enum option_command command;
	struct option_set s;
	struct err e;
	int status;

	prepare_process();
	if (!word) {
		option_print_overview(stderr);
		return ERR_EXIT_USAGE;
	}
	if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0) {
		puts("hyco " HYCO_VERSION);
		return finish(ERR_EXIT_DONE);
	}
	if (strcmp(word, "help") == 0)
		return finish(help(argc - 2, argv + 2));
	if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
		return finish(help(0, NULL));
	command = option_find_command(word);
	if (command == OPTION_COMMAND_COUNT)
		return unknown_command(word);
	if (command_line_read(&s, command, argc - 2, argv + 2, &e))
		status = run(&s);
	else
		status = command_line_fail(&s, &e);
	option_fini(&s);
	return finish(status);
}

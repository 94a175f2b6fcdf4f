/* SPDX-License-Identifier: MIT
 *
 * hyco listen: serves tunnels into this network. A failure before the control
 * channel was up for the first time ends the program, for then a person is
 * looking on; later ones only end it when trying again cannot help.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "cli/cmd.h"
#include "cli/command_line.h"
#include "cli/notify.h"
#include "cli/option.h"
#include "cli/sandbox.h"
#include "cli/state.h"
#include "ends/policy.h"
#include "ends/users.h"
#include "net/dial.h"
#include "net/loop.h"
#include "net/tls.h"
#include "net/tls_identity.h"
#include "tunnel/agent.h"
#include "util/err.h"

#define CONNECTIONS_MAX ((size_t)10000)

/* The loop's own, the control channel, name look-ups, refusals under way. */
#define DESCRIPTORS_OWN ((size_t)64)

struct listen_command {
	const struct option_set *options;
	struct loop *loop;
	struct dialer *dialer;
	struct tls_context *identity; /* NULL: none */
	struct agent *agent;
	int status;
	bool was_online;
	bool is_ending;
};

static bool
load_rules(const struct option_set *s, struct users **users,
    struct policy **policy, struct err *e)
{
	const char *users_file = option_get(s, OPTION_USERS);
	const char *policy_file = option_get(s, OPTION_POLICY);

	*users = NULL;
	*policy = NULL;
	if (users_file) {
		*users = users_load(users_file, e);
		if (!*users && e->code == ERR_NOT_FOUND)
			err_set(e, ERR_NOT_FOUND,
			    "there is no users file %s: make one with `hyco "
			    "passwd %s NAME`",
			    users_file, users_file);
		if (!*users)
			return false;
	}
	if (policy_file) {
		*policy = policy_load(policy_file, e);
		if (!*policy) {
			users_unref(*users);
			*users = NULL;
			return false;
		}
	}
	return true;
}

static void
reload(struct listen_command *c)
{
	struct policy *policy;
	struct users *users;
	struct err e;
	size_t ended;

	if (!load_rules(c->options, &users, &policy, &e)) {
		sandbox_explain(&e, NULL);
		log_error(
		    "users and policy kept as they were", "reason=%s", e.text);
		return;
	}
	ended = agent_reload(c->agent, users, policy);
	log_info("users and policy reloaded", "users=%zu rules=%zu ended=%zu",
	    users ? users_count(users) : 0, policy ? policy_rules(policy) : 0,
	    ended);
	users_unref(users);
	policy_unref(policy);
}

static void
end(struct listen_command *c, int status)
{
	if (c->is_ending)
		return;
	c->is_ending = true;
	c->status = status;
	notify_stopping();
	agent_close(c->agent);
	c->agent = NULL;
	loop_stop(c->loop);
}

static void
on_signal(void *owner, int number)
{
	struct listen_command *c = owner;

	if (number == SIGHUP) {
		if (!c->is_ending)
			reload(c);
		return;
	}
	if (c->is_ending)
		command_line_leave(c->options);
	log_info("listener stops", "signal=%d", number);
	end(c, ERR_EXIT_DONE);
}

static void
on_online(void *owner, const char *place)
{
	struct listen_command *c = owner;

	c->was_online = true;
	printf("listening on %s\n", place);
	fflush(stdout);
	notify_ready(place);
}

static void
on_offline(void *owner, const struct err *err, uint64_t retry_ms)
{
	struct listen_command *c = owner;

	if (!c->was_online)
		end(c, command_line_fail(c->options, err));
	else
		log_warn("control channel lost", "retry_ms=%llu reason=%s",
		    (unsigned long long)retry_ms, err->text);
}

static void
on_failed(void *owner, const struct err *err)
{
	struct listen_command *c = owner;

	if (!c->was_online) {
		end(c, command_line_fail(c->options, err));
		return;
	}
	c->status = (int)err_exit_status(err->code);
	log_error("control channel refused; what is connected goes on, then "
	          "the listener ends",
	    "reason=%s", err->text);
	agent_drain(c->agent);
}

static void
on_drained(void *owner)
{
	struct listen_command *c = owner;

	end(c, c->status);
}

static const struct agent_events agent_events = {.on_online = on_online,
    .on_offline = on_offline,
    .on_failed = on_failed,
    .on_drained = on_drained};

/* Who may come in has to be said. */
static bool
check(const struct option_set *s, struct err *e)
{
	if (option_get(s, OPTION_USERS) ||
	    option_get_count(s, OPTION_ALLOW_ANONYMOUS) > 0)
		return true;
	return err_set(e, ERR_USAGE,
	    "nobody could come in: give --users FILE (make one with `hyco "
	    "passwd FILE NAME`), or --allow-anonymous to let in whoever holds "
	    "a Send key");
}

static void
tell_rules(const struct option_set *s, const struct users *users)
{
	if (users && users_count(users) == 0)
		log_warn("the users file names nobody: no password is right",
		    "file=%s", option_get(s, OPTION_USERS));
	if (option_get_count(s, OPTION_ALLOW_ANONYMOUS) > 0)
		log_warn("senders need no user and password", NULL);
	if (!option_get(s, OPTION_POLICY))
		log_info("no policy file: every user may reach every "
		         "destination but link-local and metadata addresses",
		    NULL);
}

/* As many as there are descriptors for, two each, so that there is always one
 * left to tell the next sender that there are none. */
static size_t
count_connections(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) < 0)
		return CONNECTIONS_MAX;
	if (files.rlim_cur >= 2 * CONNECTIONS_MAX + DESCRIPTORS_OWN)
		return CONNECTIONS_MAX;
	if (files.rlim_cur < DESCRIPTORS_OWN + 2)
		return 1;
	return (size_t)(files.rlim_cur - DESCRIPTORS_OWN) / 2;
}

/* Who we are to senders. Without a folder of ours only the sample way can be
 * served, unless one was named. */
static bool
open_identity(struct listen_command *c, struct err *e)
{
	const struct option_set *s = c->options;
	const char *given = option_get(s, OPTION_IDENTITY);
	char name[TLS_IDENTITY_NAME_SIZE];
	bool is_made = false;
	char *folder;

	if (option_get_count(s, OPTION_NO_E2E) > 0)
		return true;
	folder = state_open(given, e);
	if (folder)
		c->identity = tls_identity_open(folder, &is_made, e);
	free(folder);
	if (!c->identity && given)
		return err_prefix(e, "--identity");
	if (c->identity)
		log_info(is_made ? "identity made" : "identity", "name=%s",
		    tls_identity_name(c->identity, name));
	else
		log_warn("no identity can be kept, so senders are served in "
		         "the sample way only; give --identity DIR",
		    "reason=%s", e->text);
	return true;
}

static bool
open_agent(
    struct listen_command *c, const struct hc_target *target, struct err *e)
{
	const struct option_set *s = c->options;
	struct agent_options o = {.connections_max = count_connections(),
	    .dialer = c->dialer,
	    .target = target,
	    .allow_anonymous = option_get_count(s, OPTION_ALLOW_ANONYMOUS) > 0,
	    .default_target = option_get(s, OPTION_DEFAULT_TARGET),
	    .no_e2e = option_get_count(s, OPTION_NO_E2E) > 0,
	    .window_s = (uint16_t)option_get_number(s, OPTION_RESUME_WINDOW, 0),
	    .memory = (size_t)option_get_number(s, OPTION_MEMORY, 0) << 20};

	if (!open_identity(c, e))
		return false;
	o.identity = c->identity;
	if (!load_rules(s, &o.users, &o.policy, e))
		return false;
	tell_rules(s, o.users);
	c->agent = agent_open(c->loop, &o, &agent_events, c, e);
	users_unref(o.users);
	policy_unref(o.policy);
	return c->agent != NULL;
}

static void
close_sandbox(const struct option_set *s)
{
	struct sandbox *b = sandbox_new(s);

	sandbox_allow_again(b, option_get(s, OPTION_USERS));
	sandbox_allow_again(b, option_get(s, OPTION_POLICY));
	sandbox_allow_network(b);
	sandbox_enter(b);
}

static bool
start(struct listen_command *c, struct err *e)
{
	struct hc_target target;
	bool ok;

	ok = command_line_target(c->options, HC_TARGET_LISTEN, &target, e) &&
	     loop_on_signal(c->loop, SIGINT, on_signal, c, e) &&
	     loop_on_signal(c->loop, SIGTERM, on_signal, c, e) &&
	     loop_on_signal(c->loop, SIGHUP, on_signal, c, e);
	if (ok) {
		c->dialer = command_line_dialer(c->options, c->loop, e);
		ok = c->dialer && open_agent(c, &target, e);
	}
	hc_target_fini(&target);
	if (ok)
		close_sandbox(c->options);
	return ok;
}

int
cmd_listen(const struct option_set *s)
{
	struct listen_command c = {.options = s};
	struct err e;

	command_line_set_log(s, LOG_INFO);
	if (!check(s, &e))
		return command_line_fail(s, &e);
	c.loop = loop_new(&e);
	if (!c.loop)
		return command_line_fail(s, &e);
	if (start(&c, &e))
		loop_run(c.loop);
	else
		c.status = command_line_fail(s, &e);
	if (c.identity)
		tls_context_unref(c.identity);
	if (c.dialer)
		dialer_close(c.dialer);
	if (!loop_close(c.loop))
		log_error("the loop did not end dry", NULL);
	return c.status;
}

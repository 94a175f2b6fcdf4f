/* SPDX-License-Identifier: MIT
 *
 * hyco relay: the service in the middle, from a configuration file or, with
 * --dev, from what it makes for itself. SIGHUP reads the file and the
 * certificate again.
 */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "cli/cmd.h"
#include "cli/command_line.h"
#include "cli/config.h"
#include "cli/dev.h"
#include "cli/notify.h"
#include "cli/option.h"
#include "cli/sandbox.h"
#include "net/addr.h"
#include "net/loop.h"
#include "net/tls.h"
#include "relay/relay.h"

struct relay_command {
	const struct option_set *options;
	struct loop *loop;
	struct relay *relay;
	struct dev dev; /* with --dev */
	struct config_relay config;
	bool is_dev;
	bool is_ending;
};

static struct tls_context *
open_tls(const struct relay_command *c, struct err *e)
{
	const struct tls_server_options o = {
	    .cert_file = c->is_dev ? c->dev.cert_file : c->config.cert_file,
	    .key_file = c->is_dev ? c->dev.key_file : c->config.key_file};

	struct tls_context *tls = tls_context_server(&o, e);

	/* Nobody was spoken to yet: a file is wrong, not the network. */
	if (!tls && e->code == ERR_TLS)
		e->code = ERR_USAGE;
	return tls;
}

static bool
open_relay(struct relay_command *c, struct err *e)
{
	const char *listen = option_get(c->options, OPTION_LISTEN);
	const struct relay_config *config =
	    c->is_dev ? &c->dev.config : &c->config.relay;
	struct tls_context *tls;
	struct addr a;

	if (!c->is_dev)
		listen = c->config.listen;
	else if (!listen)
		listen = DEV_ADDRESS;
	if (!addr_parse(&a, listen, 0, e))
		return err_prefix(e, c->is_dev ? "--listen" : "listen");
	if (addr_is_unix(&a))
		return err_set(e, ERR_USAGE,
		    "a relay listens on a TCP port, not on %s", listen);
	tls = open_tls(c, e);
	if (!tls)
		return false;
	c->relay = relay_open(c->loop, config, tls, &a, NULL, NULL, e);
	tls_context_unref(tls);
	return c->relay != NULL;
}

static bool
configure(struct relay_command *c, struct err *e)
{
	const struct option_set *s = c->options;
	const char *file = option_get(s, OPTION_CONFIG);

	c->is_dev = option_get_count(s, OPTION_DEV) > 0;
	if (c->is_dev == (file != NULL))
		return err_set(e, ERR_USAGE,
		    "give either --dev, to try things out, or --config FILE");
	if (!c->is_dev &&
	    (option_get(s, OPTION_LISTEN) || option_get(s, OPTION_STATE)))
		return err_set(e, ERR_USAGE,
		    "--listen and --state go with --dev; the configuration "
		    "file has \"listen\" for this");
	if (c->is_dev)
		return dev_open(&c->dev, option_get(s, OPTION_STATE), e);
	return config_load_relay(&c->config, file, e);
}

static void
print_next_steps(const struct dev *d)
{
	printf("\nTo serve this machine's network (whoever has send.conn may "
	       "come in):\n"
	       "  hyco listen -x @%s/listen.conn --ca %s/ca.pem "
	       "--allow-anonymous\n"
	       "To open a tunnel from here to its port 22:\n"
	       "  hyco connect -x @%s/send.conn --ca %s/ca.pem "
	       "-L 2222:127.0.0.1:22\n\n",
	    d->folder, d->folder, d->folder, d->folder);
}

static void
reload(struct relay_command *c)
{
	const char *file = option_get(c->options, OPTION_CONFIG);
	struct config_relay before = c->config;
	struct tls_context *tls = NULL;
	struct err e;

	if (c->is_dev) {
		log_info("nothing to reload with --dev", NULL);
		return;
	}
	if (!config_load_relay(&c->config, file, &e)) {
		c->config = before;
		sandbox_explain(&e, NULL);
		log_error("configuration kept as it was", "reason=%s", e.text);
		return;
	}
	tls = open_tls(c, &e);
	if (!tls || !relay_set_config(c->relay, &c->config.relay, &e)) {
		if (tls)
			tls_context_unref(tls);
		config_relay_fini(&c->config);
		c->config = before;
		sandbox_explain(&e, NULL);
		log_error("configuration kept as it was", "reason=%s", e.text);
		return;
	}
	relay_set_tls(c->relay, tls);
	tls_context_unref(tls);
	config_relay_fini(&before);
	log_info("configuration reloaded", "file=%s", file);
}

static void
on_signal(void *owner, int number)
{
	struct relay_command *c = owner;

	if (number == SIGHUP) {
		if (!c->is_ending)
			reload(c);
		return;
	}
	if (c->is_ending)
		command_line_leave(c->options);
	c->is_ending = true;
	notify_stopping();
	log_info("relay stops", "signal=%d", number);
	relay_close(c->relay);
	c->relay = NULL;
}

/* What SIGHUP reads again; with --dev that is nothing. */
static void
close_sandbox(const struct relay_command *c)
{
	struct sandbox *b = sandbox_new(c->options);

	sandbox_allow_again(b, option_get(c->options, OPTION_CONFIG));
	sandbox_allow_again(b, c->config.cert_file);
	sandbox_allow_again(b, c->config.key_file);
	for (size_t i = 0; i < c->config.n_key_files; i++)
		sandbox_allow_again(b, c->config.key_files[i]);
	sandbox_deny_tcp(b);
	sandbox_enter(b);
}

static bool
start(struct relay_command *c, struct err *e)
{
	char text[ADDR_TEXT_MAX];

	if (!loop_on_signal(c->loop, SIGINT, on_signal, c, e) ||
	    !loop_on_signal(c->loop, SIGTERM, on_signal, c, e) ||
	    !loop_on_signal(c->loop, SIGHUP, on_signal, c, e))
		return false;
	if (!open_relay(c, e))
		return false;
	if (c->is_dev &&
	    !dev_write(&c->dev, addr_port(relay_addr(c->relay)), e)) {
		relay_close(c->relay);
		return false;
	}
	close_sandbox(c);
	addr_print(relay_addr(c->relay), text);
	printf("relay ready on %s\n", text);
	if (c->is_dev && isatty(STDOUT_FILENO))
		print_next_steps(&c->dev);
	fflush(stdout);
	notify_ready("serving");
	return true;
}

int
cmd_relay(const struct option_set *s)
{
	struct relay_command c = {.options = s, .dev = {.lock = -1}};
	int status = ERR_EXIT_DONE;
	struct err e;

	command_line_set_log(s, LOG_INFO);
	if (!configure(&c, &e))
		return command_line_fail(s, &e);
	c.loop = loop_new(&e);
	if (!c.loop || !start(&c, &e))
		status = command_line_fail(s, &e);
	if (c.loop)
		loop_run(c.loop);
	if (c.loop && !loop_close(c.loop))
		log_error("the loop did not end dry", NULL);
	dev_close(&c.dev);
	config_relay_fini(&c.config);
	return status;
}

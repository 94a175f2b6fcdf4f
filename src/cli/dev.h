/* SPDX-License-Identifier: MIT
 *
 * What `hyco relay --dev` needs and makes in its state folder: a certificate
 * authority and a certificate for localhost (ca.pem, relay.pem, relay.key),
 * three rules on the path "demo" and their connection strings (listen.conn,
 * send.conn, manage.conn, mode 0600). What is there stays as it is, so that
 * both ends go on working after a restart.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "relay/relay.h"

struct err;

#define DEV_RULES 3
#define DEV_ADDRESS "127.0.0.1:9443"

struct dev {
	char *folder; /* absolute */
	char *ca_file;
	char *cert_file;
	char *key_file;
	int lock; /* held while this relay runs */
	char *keys[DEV_RULES];
	struct relay_rule rules[DEV_RULES];
	struct relay_hybrid_connection demo;
	struct relay_namespace localhost;
	struct relay_config config; /* points into this struct */
};

/* `folder` NULL: the user's state folder. ERR_USAGE when another relay uses
 * it; ERR_SYSTEM. On failure there is nothing to free. */
bool dev_open(struct dev *d, const char *folder, struct err *e);

/* Writes the connection strings for the port the relay got. */
bool dev_write(const struct dev *d, uint16_t port, struct err *e);

void dev_close(struct dev *d);

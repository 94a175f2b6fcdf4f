/* SPDX-License-Identifier: MIT
 *
 * A hash table of fixed size keyed by the secret, whose bits are random. A
 * secret is looked up by its bucket and then compared in constant time.
 */
#include "relay/rendezvous.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "hc/hc_message.h"
#include "hc/hc_url.h"
#include "net/addr.h"
#include "net/http1.h"
#include "relay/control.h"
#include "relay/door.h"
#include "relay/registry.h"
#include "relay/relay.h"
#include "util/buf.h"
#include "util/crypt.h"
#include "util/err.h"
#include "util/mem.h"
#include "util/text.h"

#define SECRET_BYTES 16
#define BUCKETS 1024

struct rendezvous_table {
	struct loop *loop;
	void (*on_timeout)(void *owner, struct rendezvous *r);
	void *owner;
	size_t count;
	struct list buckets[BUCKETS];
};

struct rendezvous_table *
rendezvous_table_new(struct loop *l,
    void (*on_timeout)(void *owner, struct rendezvous *r), void *owner)
{
	struct rendezvous_table *t = mem_zalloc(sizeof *t);

	t->loop = l;
	t->on_timeout = on_timeout;
	t->owner = owner;
	for (size_t i = 0; i < BUCKETS; i++)
		list_init(&t->buckets[i]);
	return t;
}

void
rendezvous_table_free(struct rendezvous_table *t)
{
	assert(t->count == 0);
	free(t);
}

size_t
rendezvous_table_count(const struct rendezvous_table *t)
{
	return t->count;
}

static size_t
bucket_of(const uint8_t secret[SECRET_BYTES])
{
	return (secret[0] | (size_t)secret[1] << 8) % BUCKETS;
}

static void
on_due(void *owner)
{
	struct rendezvous *r = owner;

	r->table->on_timeout(r->table->owner, r);
}

struct rendezvous *
rendezvous_open(struct rendezvous_table *t, struct registry_entity *entity,
    struct door *sender, uint32_t life_ms)
{
	struct rendezvous *r = mem_zalloc(sizeof *r);
	uint8_t secret[SECRET_BYTES];

	crypt_random(secret, sizeof secret);
	text_hex(secret, sizeof secret, r->secret);
	r->table = t;
	r->entity = entity;
	r->sender = sender;
	list_init(&r->link);
	list_init(&r->waiting);
	list_append(&t->buckets[bucket_of(secret)], &r->link);
	list_append(&entity->waiting, &r->waiting);
	t->count++;
	timer_init(&r->timer, t->loop, on_due, r);
	timer_set(&r->timer, life_ms);
	return r;
}

struct rendezvous *
rendezvous_find(const struct rendezvous_table *t, const char *secret)
{
	const struct list *bucket;
	uint8_t bytes[SECRET_BYTES];
	char canonical[RENDEZVOUS_SECRET_SIZE];
	struct list *at;

	if (strlen(secret) != RENDEZVOUS_SECRET_SIZE - 1 ||
	    !text_unhex(secret, RENDEZVOUS_SECRET_SIZE - 1, bytes))
		return NULL;
	text_hex(bytes, sizeof bytes, canonical);
	bucket = &t->buckets[bucket_of(bytes)];
	LIST_EACH (at, bucket) {
		struct rendezvous *r = LIST_OF(at, struct rendezvous, link);

		if (crypt_is_equal(r->secret, canonical, sizeof canonical))
			return r;
	}
	return NULL;
}

/* The sender's target with the accept items, under the host that the listener
 * dialled. */
static bool
build_address(const struct rendezvous *r, const struct control_info *listener,
    struct buf *out)
{
	const char *target = door_head(r->sender)->target;
	const char *query = strchr(target, '?');
	char *changed = NULL;
	bool is_done;

	if (r->entity->config->tunnel_address)
		changed = mem_printf("/tunnel%s", query ? query : "");
	is_done = hc_url_build_accept(out, listener->authority,
	    changed ? changed : target, door_info(r->sender)->id, r->secret);
	free(changed);
	return is_done;
}

bool
rendezvous_offer(struct rendezvous *r, struct registry_listener *listener,
    struct buf *out, struct err *e)
{
	const struct control_info *info = control_info(control_of(listener));
	const struct http1_head *head = door_head(r->sender);
	const struct door_info *sender = door_info(r->sender);
	char ip[ADDR_TEXT_MAX];
	struct hc_message_accept m = {
	    .id = (char *)sender->id,
	    .fields = head->fields,
	    .n_fields = head->n_fields,
	    .remote_address = ip,
	    .remote_port = addr_port(&sender->peer),
	};
	struct buf address;
	bool is_done;

	buf_init(&address, HC_URL_MAX);
	addr_print_ip(&sender->peer, ip);
	is_done = build_address(r, info, &address);
	if (is_done) {
		char *text = buf_take_text(&address);

		/* Without TLS of our own, and none in front, it is ws://. */
		m.address = text;
		if (!info->is_secure)
			memmove(text + 2, text + 3, strlen(text + 3) + 1);
		is_done = hc_message_build_accept(out, &m, e);
		free(text);
	} else {
		err_set(e, ERR_TOO_BIG, "The request's address is too long");
	}
	buf_fini(&address);
	if (is_done) {
		r->asked = listener;
		r->offers++;
	}
	return is_done;
}

static void
free_rendezvous(void *object)
{
	mem_wipe(object, sizeof(struct rendezvous));
	free(object);
}

void
rendezvous_close(struct rendezvous *r)
{
	struct rendezvous_table *t = r->table;

	timer_clear(&r->timer);
	list_remove(&r->link);
	list_remove(&r->waiting);
	t->count--;
	loop_bury(t->loop, r, free_rendezvous);
}

/* SPDX-License-Identifier: MIT
 *
 * The front door: what a request asks for, whether it may, and who gets the
 * connection then. Everything hangs on struct relay; the pieces never know
 * each other:
 *
 *   door --listen--> control, registered in an entity
 *     |---connect--> rendezvous (the door waits) --accept--> pair
 *     |---accept---> the rendezvous' other half
 *     \---anything else, anything wrong--> refused
 *
 * The namespace is found by the Host field, the entity by the path, then the
 * token is judged: in this order, so that the status tells what is wrong.
 */
#include "relay/relay.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "hc/hc_url.h"
#include "net/addr.h"
#include "net/http1.h"
#include "net/listen.h"
#include "net/loop.h"
#include "net/stream.h"
#include "net/tls.h"
#include "relay/brake.h"
#include "relay/control.h"
#include "relay/door.h"
#include "relay/gate.h"
#include "relay/pair.h"
#include "relay/registry.h"
#include "relay/relay_config.h"
#include "relay/rendezvous.h"
#include "util/buf.h"
#include "util/crypt.h"
#include "util/err.h"
#include "util/list.h"
#include "util/log.h"
#include "util/mem.h"
#include "util/text.h"
#include "ws/ws_frame.h"
#include "ws/ws_handshake.h"

#define TEXT_MAX 400
#define ANSWER_MAX ((size_t)64 * 1024)

struct relay {
	struct loop *loop;
	struct relay_config *config; /* our copy */
	struct relay_limits limits;  /* stays where it is over swaps */
	struct tls_context *tls;
	struct listener *listener;
	const struct relay_events *events;
	void *owner;
	struct registry *registry;
	struct rendezvous_table *waiting;
	struct brake *brake;
	struct list half_open; /* struct door, oldest first */
	size_t n_half_open;
	struct list controls;
	struct list joins;
	struct relay_counters counters;
	bool is_closing;
};

/* A pair and what its log line will say. */
struct join {
	struct list link;      /* in relay->joins */
	struct list on_entity; /* in entity->pairs */
	struct relay *relay;
	struct pair *pair;
	char *place; /* "namespace/path" */
	struct addr sender;
	struct addr listener;
	uint64_t start_ms;
	char id[CRYPT_UUID_SIZE];
};

/* What a request asks for; lives on the stack while it is routed. */
struct request {
	struct door *door;
	const struct http1_head *head;
	struct hostport host;
	struct hc_url_view query;
	char *path;   /* decoded, without "/$hc/" */
	char *action; /* NULL: none given */
	bool is_hc;   /* the path began with "/$hc/" */
	const struct registry_namespace *ns;
	struct registry_entity *entity;
};

static const char *
print_place(const struct registry_entity *entity, char *out, size_t size)
{
	snprintf(
	    out, size, "%s/%s", entity->ns->config->name, entity->config->path);
	return out;
}

/* --- doors: counting and refusing --- */

static void
forget_door(struct relay *r, struct door *d)
{
	struct door_info *info = door_info(d);

	if (list_is_linked(&info->link)) {
		list_remove(&info->link);
		r->n_half_open--;
	}
}

static void
add_half_open(struct relay *r, struct door *d)
{
	list_append(&r->half_open, &door_info(d)->link);
	r->n_half_open++;
}

static void
refuse_door(struct relay *r, struct door *d, const struct door_refusal *refusal,
    const char *action, const char *place)
{
	char peer[ADDR_TEXT_MAX];

	r->counters.refused++;
	log_info("connection refused",
	    "id=%s from=%s action=%s path=%s status=%d reason=%s",
	    door_info(d)->id, addr_print(&door_info(d)->peer, peer), action,
	    place, refusal->status, refusal->text);
	door_refuse(d, refusal);
}

/* Slows those down who listen in vain again and again. */
static uint32_t
count_failure(struct relay *r, const struct request *q, int status)
{
	const struct brake_options options = {
	    .first_ms = r->limits.brake_first_ms,
	    .most_ms = r->limits.brake_most_ms,
	    .forget_ms = r->limits.brake_forget_ms,
	};

	if (!q->action || !text_is_equal_nocase(q->action, "listen") ||
	    (status != 401 && status != 403 && status != 404))
		return 0;
	return brake_fail(r->brake, &options, &door_info(q->door)->peer,
	    loop_now_ms(r->loop));
}

__attribute__((format(printf, 4, 5))) static void
refuse(struct relay *r, struct request *q, int status, const char *format, ...)
{
	char text[TEXT_MAX];
	char system[DOOR_SYSTEM_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	snprintf(system, sizeof system, "sb://%s/%s",
	    q->ns ? q->ns->config->name : q->host.host,
	    q->entity ? q->entity->config->path
	    : q->path ? q->path
	              : "");
	refuse_door(r, q->door,
	    &(struct door_refusal){
	        .status = status,
	        .text = text,
	        .system = system,
	        .method = q->head->method,
	        .delay_ms = count_failure(r, q, status),
	    },
	    q->action ? q->action : "none", system + strlen("sb://"));
}

/* --- offering a sender to the listeners --- */

enum offer { OFFERED, NOBODY, EXCLUDED, TOO_LONG };

static enum offer
offer(struct rendezvous *v)
{
	const struct http1_head *head = door_head(v->sender);
	const char *allowed =
	    http1_get(head, "Microsoft-Relay-AllowedListeners");
	const char *disallowed =
	    http1_get(head, "Microsoft-Relay-DisallowedListeners");
	struct registry_listener *listener =
	    registry_pick(v->entity, allowed, disallowed);
	enum offer result = OFFERED;
	struct buf message;

	v->asked = NULL;
	if (!listener)
		return v->entity->n_listeners > 0 ? EXCLUDED : NOBODY;
	buf_init(&message, ANSWER_MAX);
	if (rendezvous_offer(v, listener, &message, NULL))
		control_send(control_of(listener),
		    (const char *)buf_data(&message), buf_len(&message));
	else
		result = TOO_LONG;
	buf_fini(&message);
	return result;
}

/* The senders that nobody is asked for at present. */
static void
offer_orphans(struct registry_entity *entity)
{
	struct list *at, *after;

	LIST_EACH_SAFE (at, after, &entity->waiting) {
		struct rendezvous *v = LIST_OF(at, struct rendezvous, waiting);

		if (!v->asked)
			offer(v);
	}
}

static void
orphan(struct registry_entity *entity, const struct registry_listener *gone)
{
	struct list *at;

	LIST_EACH (at, &entity->waiting) {
		struct rendezvous *v = LIST_OF(at, struct rendezvous, waiting);

		if (v->asked == gone)
			v->asked = NULL;
	}
}

/* Ends the wait of a sender with a refusal. */
static void
give_up(struct relay *r, struct rendezvous *v, int status, const char *text)
{
	struct door *d = v->sender;
	char system[DOOR_SYSTEM_MAX] = "sb://";

	print_place(
	    v->entity, system + strlen(system), sizeof system - strlen(system));
	rendezvous_close(v);
	door_info(d)->user = NULL;
	add_half_open(r, d);
	refuse_door(r, d,
	    &(struct door_refusal){
	        .status = status,
	        .text = text,
	        .system = system,
	    },
	    "connect", system + strlen("sb://"));
}

static void
on_accept_timeout(void *owner, struct rendezvous *v)
{
	struct relay *r = owner;

	r->counters.timeouts++;
	give_up(r, v, r->limits.status_accept_timeout,
	    v->asked ? "The listener did not accept the connection in time"
	             : "The listener was lost while the connection waited");
}

/* --- listeners --- */

static void
tell_listeners(struct relay *r, const struct registry_entity *entity)
{
	if (r->events && r->events->on_listeners)
		r->events->on_listeners(r->owner, entity->ns->config->name,
		    entity->config->path, entity->n_listeners);
}

static bool
on_renew(void *owner, struct control *c, const char *token, int64_t *expiry_s,
    struct err *e)
{
	struct relay *r = owner;
	const struct registry_entity *entity =
	    control_info(c)->registered.entity;
	struct gate_verdict verdict;
	const struct gate_demand demand = {
	    .entity = entity,
	    .path = entity->config->path,
	    .right = RELAY_LISTEN,
	    .now_s = (int64_t)time(NULL),
	    /* A token made elsewhere comes again and again. */
	    .grace_s = r->limits.token_grace_ms / 1000,
	};

	if (!gate_check(&demand, token, &verdict))
		return err_set(e, ERR_AUTH, "%s", verdict.text);
	*expiry_s = verdict.expiry_s;
	return true;
}

static void
log_offline(
    const struct relay *r, const struct control_info *info, const char *reason)
{
	char place[DOOR_SYSTEM_MAX];
	char peer[ADDR_TEXT_MAX];

	log_info("listener offline",
	    "id=%s from=%s path=%s listeners=%u accepts=%llu ms=%llu reason=%s",
	    info->id, addr_print(&info->peer, peer),
	    print_place(info->registered.entity, place, sizeof place),
	    info->registered.entity->n_listeners -
	        !info->registered.is_superseded,
	    (unsigned long long)info->accepts,
	    (unsigned long long)(loop_now_ms(r->loop) - info->start_ms),
	    reason);
}

/* No accepts to it any more; those that wait for it go to others. */
static struct registry_entity *
unregister(struct relay *r, struct control *c, const char *reason)
{
	struct control_info *info = control_info(c);
	struct registry_entity *entity = info->registered.entity;

	log_offline(r, info, reason);
	registry_remove(&info->registered);
	orphan(entity, &info->registered);
	return entity;
}

static void
on_control_gone(void *owner, struct control *c, const char *reason)
{
	struct relay *r = owner;
	struct registry_entity *entity = unregister(r, c, reason);

	offer_orphans(entity);
	tell_listeners(r, entity);
}

static void
on_control_end(void *owner, struct control *c)
{
	(void)owner;
	list_remove(&control_info(c)->link);
	control_close(c);
}

static const struct control_events control_events = {
    .on_renew = on_renew,
    .on_gone = on_control_gone,
    .on_end = on_control_end,
};

/* --- pairs --- */

static const char *
end_name(enum pair_end_kind kind)
{
	return kind == PAIR_CLOSED    ? "closed"
	       : kind == PAIR_ABORTED ? "aborted"
	                              : "ended";
}

static void
log_join_end(const struct join *j, const char *outcome, const char *reason)
{
	char sender[ADDR_TEXT_MAX];
	char listener[ADDR_TEXT_MAX];

	log_info("connection closed",
	    "id=%s path=%s sender=%s listener=%s to_listener=%llu "
	    "to_sender=%llu ms=%llu outcome=%s reason=%s",
	    j->id, j->place, addr_print(&j->sender, sender),
	    addr_print(&j->listener, listener),
	    (unsigned long long)pair_bytes_to_listener(j->pair),
	    (unsigned long long)pair_bytes_to_sender(j->pair),
	    (unsigned long long)(loop_now_ms(j->relay->loop) - j->start_ms),
	    outcome, reason);
}

static void
free_join(struct join *j)
{
	list_remove(&j->link);
	list_remove(&j->on_entity);
	pair_close(j->pair);
	free(j->place);
	free(j);
}

static void
on_pair_end(void *owner, const struct pair_result *result)
{
	struct join *j = owner;
	struct relay *r = j->relay;

	if (result->kind == PAIR_ABORTED)
		r->counters.aborted++;
	r->counters.bytes_to_listeners += result->bytes_to_listener;
	r->counters.bytes_to_senders += result->bytes_to_sender;
	r->counters.joined--;
	log_join_end(j, end_name(result->kind), result->reason);
	free_join(j);
}

static const struct pair_events pair_events = {.on_end = on_pair_end};

/* --- requests: upgrading --- */

static bool
check_upgrade(struct relay *r, struct request *q)
{
	struct err err;

	if (ws_handshake_check_request(q->head, &err))
		return true;
	refuse(r, q, err.http_status ? err.http_status : 400, "%s", err.text);
	return false;
}

static void
send_upgrade(struct stream *s, const char *key, const char *protocol)
{
	struct buf out;

	buf_init(&out, ANSWER_MAX);
	if (ws_handshake_build_response(&out, key, protocol, NULL))
		stream_put(s, buf_data(&out), buf_len(&out));
	buf_fini(&out);
}

/* Finds `token` in the subprotocol fields of a head, ignoring case (NULL: the
 * first there is), as it is spelled there; NULL if there is none. free(). */
static char *
find_protocol(const struct http1_head *head, const char *token)
{
	for (size_t i = 0; i < head->n_fields; i++) {
		const char *at = head->fields[i].value;

		if (!text_is_equal_nocase(
		        head->fields[i].name, "Sec-WebSocket-Protocol"))
			continue;
		while (*at) {
			size_t n;
			const char *item = text_list_first(at, &n);

			if (n > 0 && (!token || (strlen(token) == n &&
			                            text_is_equal_nocase_n(
			                                item, token, n))))
				return mem_strndup(item, n);
			at += strcspn(at, ",");
			at += *at == ',';
		}
	}
	return NULL;
}

/* --- requests: listen --- */

static void
set_listener_id(const struct request *q, struct control_info *info)
{
	char *id = hc_url_get(q->query, "sb-hc-id");

	if (id && strlen(id) >= CRYPT_UUID_SIZE - 1 && crypt_is_uuid(id))
		memcpy(info->registered.id, id, CRYPT_UUID_SIZE - 1);
	free(id);
}

/* A tracking id the client chose is kept if it is one. */
static void
adopt_id(const struct request *q)
{
	char *id = hc_url_get(q->query, "sb-hc-id");

	if (id && strlen(id) >= CRYPT_UUID_SIZE - 1 && crypt_is_uuid(id))
		memcpy(door_info(q->door)->id, id, CRYPT_UUID_SIZE - 1);
	free(id);
}

static bool
is_secure(const struct relay *r, const struct request *q)
{
	const char *proto = http1_get(q->head, "X-Forwarded-Proto");

	return r->tls || (proto && text_is_equal_nocase(proto, "https"));
}

static struct control *
open_control(struct relay *r, struct request *q, int64_t expiry_s)
{
	char authority[HOSTPORT_TEXT_MAX];
	struct control_options options = {
	    .peer = door_info(q->door)->peer,
	    .id = door_info(q->door)->id,
	    .authority = hc_url_host_header(&q->host, authority),
	    .is_secure = is_secure(r, q),
	    .expiry_s = expiry_s,
	};

	forget_door(r, q->door);
	options.stream = door_take(q->door, &options.early, &options.early_len);
	send_upgrade(
	    options.stream, http1_get(q->head, "Sec-WebSocket-Key"), NULL);
	return control_open(r->loop, &options, &r->limits, &control_events, r);
}

static void
log_online(const struct control_info *info)
{
	char place[DOOR_SYSTEM_MAX];
	char peer[ADDR_TEXT_MAX];

	log_info("listener online", "id=%s from=%s path=%s listeners=%u",
	    info->id, addr_print(&info->peer, peer),
	    print_place(info->registered.entity, place, sizeof place),
	    info->registered.entity->n_listeners);
}

static void
admit_listener(struct relay *r, struct request *q, int64_t expiry_s)
{
	struct registry_entity *entity = q->entity;
	struct control *c = open_control(r, q, expiry_s);
	struct control_info *info = control_info(c);

	set_listener_id(q, info);
	list_append(&r->controls, &info->link);
	registry_add(entity, &info->registered);
	brake_forgive(r->brake, &info->peer);
	r->counters.listens++;
	log_online(info);
	offer_orphans(entity);
	tell_listeners(r, entity);
}

/* Whether the path names the entity itself and nothing behind it. */
static bool
is_exact(const struct request *q)
{
	const char *rest = q->path + strspn(q->path, "/");

	rest += strlen(q->entity->config->path);
	return rest[strspn(rest, "/")] == '\0';
}

/* --- requests: who may --- */

static char *
get_token(const struct request *q)
{
	const char *field = http1_get(q->head, "ServiceBusAuthorization");

	return field ? mem_strdup(field) : hc_url_get(q->query, "sb-hc-token");
}

static bool
authorise(struct relay *r, struct request *q, unsigned right, int64_t *expiry_s)
{
	const struct gate_demand demand = {
	    .entity = q->entity,
	    .path = q->path,
	    .right = right,
	    .now_s = (int64_t)time(NULL),
	};
	struct gate_verdict verdict;
	char *token = get_token(q);
	bool is_good = gate_check(&demand, token, &verdict);

	mem_free_secret(token);
	*expiry_s = verdict.expiry_s;
	if (!is_good)
		refuse(r, q, verdict.status, "%s", verdict.text);
	return is_good;
}

static bool
has_listener_room(const struct request *q, struct err *e)
{
	struct control_info info = {0};

	set_listener_id(q, &info);
	return registry_has_room(q->entity, info.registered.id, e);
}

static void
refuse_unknown(struct relay *r, struct request *q)
{
	refuse(r, q, 404, "Endpoint does not exist: %.200s/%.160s",
	    q->ns ? q->ns->config->name : q->host.host,
	    q->path + strspn(q->path, "/"));
}

static void
handle_listen(struct relay *r, struct request *q)
{
	int64_t expiry_s;
	struct err err;

	if (q->entity && !is_exact(q))
		q->entity = NULL;
	if (!q->entity)
		refuse_unknown(r, q);
	else if (!authorise(r, q, RELAY_LISTEN, &expiry_s))
		return;
	else if (!has_listener_room(q, &err))
		refuse(r, q, r->limits.status_over_quota, "%s", err.text);
	else
		admit_listener(r, q, expiry_s);
}

/* --- requests: connect --- */

static void
await_listener(struct relay *r, struct request *q)
{
	struct rendezvous *v = rendezvous_open(
	    r->waiting, q->entity, q->door, r->limits.accept_ms);
	enum offer result = offer(v);

	if (result == OFFERED) {
		forget_door(r, q->door);
		door_info(q->door)->user = v;
		door_wait(q->door);
		return;
	}
	rendezvous_close(v);
	if (result == NOBODY)
		refuse(r, q, r->limits.status_no_listener,
		    "There are no listeners connected for the endpoint");
	else if (result == EXCLUDED)
		refuse(r, q, 404,
		    "None of the connected listeners meet the "
		    "AllowedListeners/DisallowedListeners criteria");
	else
		refuse(r, q, 431,
		    "The request's head is too long to be told "
		    "to a listener");
}

static void
handle_connect(struct relay *r, struct request *q)
{
	int64_t expiry_s;

	if (!q->entity) {
		refuse_unknown(r, q);
		return;
	}
	if (q->entity->config->requires_client_authorization &&
	    !authorise(r, q, RELAY_SEND, &expiry_s))
		return;
	if (rendezvous_table_count(r->waiting) >= r->limits.max_waiting)
		refuse(r, q, 503, "Too many senders are waiting");
	else
		await_listener(r, q);
}

/* --- requests: accept and reject --- */

static void
reject(struct relay *r, struct request *q, struct rendezvous *v,
    const struct hc_url_reject *word)
{
	struct door *sender = v->sender;
	char place[DOOR_SYSTEM_MAX];

	print_place(v->entity, place, sizeof place);
	rendezvous_close(v);
	door_info(sender)->user = NULL;
	add_half_open(r, sender);
	r->counters.rejected++;
	refuse_door(r, sender,
	    &(struct door_refusal){
	        .status = word->status,
	        .text = word->reason,
	    },
	    "connect", place);
	door_refuse(q->door, &(struct door_refusal){
	                         .status = 410,
	                         .text = "Gone",
	                         .method = q->head->method,
	                     });
}

static void
log_join(const struct join *j)
{
	char sender[ADDR_TEXT_MAX];
	char listener[ADDR_TEXT_MAX];

	log_debug("connection joined", "id=%s path=%s sender=%s listener=%s",
	    j->id, j->place, addr_print(&j->sender, sender),
	    addr_print(&j->listener, listener));
}

/* Takes the connection out of its door and answers 101. */
static void
upgrade(struct door *d, const char *protocol, struct pair_side *out)
{
	char key[WS_KEY_SIZE];

	snprintf(key, sizeof key, "%s",
	    http1_get(door_head(d), "Sec-WebSocket-Key"));
	out->stream = door_take(d, &out->early, &out->early_len);
	send_upgrade(out->stream, key, protocol);
}

static void
open_join(struct relay *r, struct rendezvous *v, struct door *listener,
    const char *sender_protocol, const char *listener_protocol)
{
	struct join *j = mem_zalloc(sizeof *j);
	struct door_info *info = door_info(v->sender);
	char place[DOOR_SYSTEM_MAX];
	struct pair_side sides[2];

	list_init(&j->link);
	list_init(&j->on_entity);
	list_append(&r->joins, &j->link);
	list_append(&v->entity->pairs, &j->on_entity);
	j->relay = r;
	j->place = mem_strdup(print_place(v->entity, place, sizeof place));
	j->sender = info->peer;
	j->listener = door_info(listener)->peer;
	j->start_ms = loop_now_ms(r->loop);
	memcpy(j->id, info->id, sizeof j->id);
	upgrade(v->sender, sender_protocol, &sides[0]);
	upgrade(listener, listener_protocol, &sides[1]);
	rendezvous_close(v);
	j->pair = pair_open(
	    r->loop, &sides[0], &sides[1], &r->limits, &pair_events, j);
	r->counters.joined++;
	r->counters.joins++;
	log_join(j);
}

/* The subprotocol is the one the listener asks for, if the sender offered it
 * (cases R26 and R27); each side gets it in its own spelling. */
static void
join(struct relay *r, struct request *q, struct rendezvous *v)
{
	char *asked = find_protocol(q->head, NULL);
	char *offered =
	    asked ? find_protocol(door_head(v->sender), asked) : NULL;

	forget_door(r, q->door);
	open_join(r, v, q->door, offered, offered ? asked : NULL);
	free(asked);
	free(offered);
}

static void
handle_accept(struct relay *r, struct request *q)
{
	char *secret = hc_url_get(q->query, "sb-hc-key");
	struct rendezvous *v =
	    secret ? rendezvous_find(r->waiting, secret) : NULL;
	struct hc_url_reject word;

	mem_free_secret(secret);
	if (!v)
		refuse(r, q, 403,
		    "The rendezvous address is unknown, used or too old");
	else if (hc_url_get_reject(q->query, &word))
		reject(r, q, v, &word);
	else if (check_upgrade(r, q))
		join(r, q, v);
}

/* --- requests: routing --- */

static bool
is_action(const struct request *q, const char *name)
{
	return q->action && text_is_equal_nocase(q->action, name);
}

static void
handle_hc(struct relay *r, struct request *q)
{
	if (!check_upgrade(r, q))
		return;
	if (!q->ns)
		refuse_unknown(r, q);
	else if (is_action(q, "listen"))
		handle_listen(r, q);
	else if (!q->action || is_action(q, "connect"))
		handle_connect(r, q);
	else
		refuse(r, q, 400, "Unknown action: %.60s", q->action);
}

static void
handle_plain(struct relay *r, struct request *q)
{
	if (!q->ns || !q->entity)
		refuse_unknown(r, q);
	else if (q->head->upgrade)
		refuse(r, q, 404,
		    "Endpoint does not exist: WebSocket addresses of %s begin "
		    "with /$hc/",
		    q->entity->config->path);
	else
		refuse(r, q, 501,
		    "HTTP requests are not relayed to listeners of %s",
		    q->entity->config->path);
}

static void
route(struct relay *r, struct request *q)
{
	if (is_action(q, "accept"))
		handle_accept(r, q);
	else if (q->is_hc)
		handle_hc(r, q);
	else
		handle_plain(r, q);
}

/* --- requests: reading --- */

static char *
decode_path(struct hc_url_view path)
{
	struct buf out;

	buf_init(&out, HTTP1_HEAD_MAX + 1);
	if (!text_percent_decode(&out, path.at, path.len, false)) {
		buf_fini(&out);
		return NULL;
	}
	return buf_take_text(&out);
}

static bool
read_request(struct relay *r, struct request *q)
{
	const char *host = http1_get(q->head, "Host");
	struct hc_url_view path;
	struct err err;

	if (!host || http1_count(q->head, "Host") != 1 ||
	    !hostport_parse(&q->host, host, 443, &err)) {
		refuse(r, q, 400, "The Host field is missing or malformed");
		return false;
	}
	hc_url_split(q->head->target, &path, &q->query);
	q->is_hc = hc_url_take_hc(&path);
	q->action = hc_url_get(q->query, "sb-hc-action");
	q->path = decode_path(path);
	if (q->head->target[0] != '/' || !q->path) {
		refuse(r, q, 400, "The request's address is malformed");
		return false;
	}
	q->ns = registry_find_namespace(r->registry, q->host.host);
	q->entity = q->ns ? registry_find(q->ns, q->path) : NULL;
	return true;
}

static void
on_request(void *owner, struct door *d, const struct http1_head *head)
{
	struct request q = {.door = d, .head = head};

	if (read_request(owner, &q)) {
		adopt_id(&q);
		route(owner, &q);
	}
	free(q.path);
	free(q.action);
}

static void
on_door_end(void *owner, struct door *d, const struct err *err)
{
	struct relay *r = owner;
	struct rendezvous *v = door_info(d)->user;
	char peer[ADDR_TEXT_MAX];

	if (v || err->code != ERR_CLOSED)
		log_info("connection ended early",
		    "id=%s from=%s waited=%s reason=%s", door_info(d)->id,
		    addr_print(&door_info(d)->peer, peer), v ? "yes" : "no",
		    err->text);
	if (v)
		rendezvous_close(v);
	forget_door(r, d);
	door_close(d);
}

static const struct door_events door_events = {
    .on_request = on_request,
    .on_end = on_door_end,
};

/* --- accepting --- */

static void
evict_oldest(struct relay *r)
{
	struct door *d =
	    door_of(LIST_OF(r->half_open.next, struct door_info, link));

	r->counters.evicted++;
	forget_door(r, d);
	door_close(d);
}

static void
on_accept(void *owner, struct stream *s, const struct addr *peer)
{
	struct relay *r = owner;

	r->counters.connections++;
	if (r->n_half_open >= r->limits.max_half_open)
		evict_oldest(r);
	add_half_open(r,
	    door_open(r->loop, s, peer, r->tls, &r->limits, &door_events, r));
}

static void
on_pause(void *owner, bool paused, const struct err *err)
{
	(void)owner;
	if (paused)
		log_warn("accepting is paused", "reason=%s", err->text);
	else
		log_info("accepting again", NULL);
}

static const struct listener_events listener_events = {
    .on_accept = on_accept,
    .on_pause = on_pause,
};

/* --- the configuration --- */

/* Takes the config. */
static void
use_config(struct relay *r, struct relay_config *config,
    void (*on_gone)(void *owner, struct registry_entity *entity))
{
	struct relay_config *old = r->config;

	r->config = config;
	r->limits = config->limits;
	registry_set_config(r->registry, config, on_gone, r);
	if (old)
		relay_config_free(old);
}

static void
end_entity(struct relay *r, struct registry_entity *entity, int status,
    const char *text)
{
	struct list *at, *after;

	LIST_EACH_SAFE (at, after, &entity->listeners) {
		struct control *c =
		    control_of(LIST_OF(at, struct registry_listener, link));

		unregister(r, c, text);
		control_shutdown(c, WS_CODE_GOING_AWAY, text);
	}
	LIST_EACH_SAFE (at, after, &entity->waiting)
		give_up(
		    r, LIST_OF(at, struct rendezvous, waiting), status, text);
	LIST_EACH_SAFE (at, after, &entity->pairs) {
		struct join *j = LIST_OF(at, struct join, on_entity);

		list_remove(&j->on_entity);
		pair_end(j->pair, WS_CODE_GOING_AWAY, text);
	}
}

static void
on_entity_gone(void *owner, struct registry_entity *entity)
{
	end_entity(owner, entity, 404,
	    "The hybrid connection does not exist any "
	    "more");
}

bool
relay_set_config(struct relay *r, const struct relay_config *c, struct err *e)
{
	assert(!r->is_closing);
	if (!relay_config_check(c, e))
		return false;
	use_config(r, relay_config_copy(c), on_entity_gone);
	log_info("relay configured", "namespaces=%zu", c->n_namespaces);
	return true;
}

void
relay_set_tls(struct relay *r, struct tls_context *tls)
{
	struct tls_context *old = r->tls;

	r->tls = tls ? tls_context_ref(tls) : NULL;
	if (old)
		tls_context_unref(old);
}

/* --- life --- */

static void
free_relay(void *object)
{
	struct relay *r = object;

	rendezvous_table_free(r->waiting);
	registry_free(r->registry);
	brake_free(r->brake);
	relay_config_free(r->config);
	if (r->tls)
		tls_context_unref(r->tls);
	free(r);
}

struct relay *
relay_open(struct loop *l, const struct relay_config *c,
    struct tls_context *tls, const struct addr *a,
    const struct relay_events *events, void *owner, struct err *e)
{
	const struct listener_options options = {.unlink_stale = true};
	struct relay *r;
	char text[ADDR_TEXT_MAX];

	if (!relay_config_check(c, e))
		return NULL;
	r = mem_zalloc(sizeof *r);
	r->loop = l;
	r->events = events;
	r->owner = owner;
	r->tls = tls ? tls_context_ref(tls) : NULL;
	r->registry = registry_new();
	r->waiting = rendezvous_table_new(l, on_accept_timeout, r);
	r->brake = brake_new();
	list_init(&r->half_open);
	list_init(&r->controls);
	list_init(&r->joins);
	use_config(r, relay_config_copy(c), NULL);
	r->listener = listener_open(l, a, &options, &listener_events, r, e);
	if (!r->listener) {
		free_relay(r);
		return NULL;
	}
	log_info("relay started", "addr=%s tls=%s namespaces=%zu",
	    addr_print(listener_addr(r->listener), text), tls ? "yes" : "no",
	    c->n_namespaces);
	return r;
}

const struct addr *
relay_addr(const struct relay *r)
{
	return listener_addr(r->listener);
}

void
relay_get_counters(const struct relay *r, struct relay_counters *out)
{
	struct registry_entity *entity = NULL;
	struct list *at;

	*out = r->counters;
	out->half_open = r->n_half_open;
	out->waiting = rendezvous_table_count(r->waiting);
	while ((entity = registry_next(r->registry, entity)))
		out->listeners += entity->n_listeners;
	LIST_EACH (at, &r->joins) {
		const struct join *j = LIST_OF(at, struct join, link);

		out->bytes_to_listeners += pair_bytes_to_listener(j->pair);
		out->bytes_to_senders += pair_bytes_to_sender(j->pair);
	}
}

static void
close_doors(struct relay *r)
{
	struct list *at, *after;

	LIST_EACH_SAFE (at, after, &r->half_open) {
		struct door *d = door_of(LIST_OF(at, struct door_info, link));

		forget_door(r, d);
		door_close(d);
	}
}

static void
close_controls(struct relay *r)
{
	struct list *at, *after;

	LIST_EACH_SAFE (at, after, &r->controls) {
		list_remove(at);
		control_close(control_of(
		    &LIST_OF(at, struct control_info, link)->registered));
	}
}

static void
close_joins(struct relay *r)
{
	struct list *at, *after;

	LIST_EACH_SAFE (at, after, &r->joins) {
		struct join *j = LIST_OF(at, struct join, link);

		log_join_end(j, "ended", "the relay stops");
		free_join(j);
	}
}

void
relay_close(struct relay *r)
{
	struct registry_entity *entity = NULL;

	assert(!r->is_closing);
	r->is_closing = true;
	r->events = NULL;
	listener_close(r->listener);
	while ((entity = registry_next(r->registry, entity)))
		end_entity(r, entity, 503, "The relay stops");
	close_doors(r);
	close_controls(r);
	close_joins(r);
	log_info("relay stopped", "connections=%llu joins=%llu",
	    (unsigned long long)r->counters.connections,
	    (unsigned long long)r->counters.joins);
	loop_bury(r->loop, r, free_relay);
}

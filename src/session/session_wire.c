/* SPDX-License-Identifier: MIT
 *
 * Session frames are a head of four bytes and a payload of fixed layout, so
 * reading is checking a length and copying fields. Lengths are bounded by type
 * as soon as the head is known, before anything is gathered.
 */
#include "session/session_wire.h"

#include <assert.h>
#include <string.h>

#include "util/crypt.h"
#include "util/text.h"

#define HELLO_SIZE (1 + 1 + SESSION_ID_SIZE + SESSION_RANDOM_SIZE + 2 + 4)
#define WELCOME_SIZE (1 + 1 + SESSION_RANDOM_SIZE + 2 + 4)
#define RESUME_BASE (1 + 1 + SESSION_ID_SIZE + 4 + 8 + SESSION_RANDOM_SIZE)
#define RESUME_SIZE (RESUME_BASE + SESSION_PROOF_SIZE)
#define RESUMED_BASE (4 + 8)
#define RESUMED_SIZE (RESUMED_BASE + SESSION_PROOF_SIZE)

static const char sender_label[] = "hyco resume sender";
static const char listener_label[] = "hyco resume listener";
static const char secret_label[] = "hyco session";

/* --- numbers --- */

static uint8_t *
put(uint8_t *out, uint64_t n, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		out[i] = (uint8_t)(n >> (8 * (bytes - 1 - i)));
	return out + bytes;
}

static const uint8_t *
get(const uint8_t *p, uint64_t *n, size_t bytes)
{
	*n = 0;
	for (size_t i = 0; i < bytes; i++)
		*n = *n << 8 | p[i];
	return p + bytes;
}

static uint8_t *
put_bytes(uint8_t *out, const void *data, size_t n)
{
	memcpy(out, data, n);
	return out + n;
}

static const uint8_t *
get_bytes(const uint8_t *p, void *out, size_t n)
{
	memcpy(out, p, n);
	return p + n;
}

static uint8_t *
put_head(uint8_t *out, enum session_type type, size_t len)
{
	out[0] = (uint8_t)type;
	out[1] = 0;
	return put(out + 2, len, 2);
}

/* --- proofs --- */

/* HMAC over label, payload and, for the listener's proof, the sender's random:
 * the payloads have one length each, so the parts cannot be taken for others.
 */
static void
prove(uint8_t out[SESSION_PROOF_SIZE],
    const uint8_t secret[SESSION_SECRET_SIZE], const char *label,
    const uint8_t *payload, size_t len, const uint8_t *random)
{
	uint8_t
	    text[sizeof(listener_label) + RESUME_BASE + SESSION_RANDOM_SIZE];
	uint8_t *end = put_bytes(text, label, strlen(label));

	end = put_bytes(end, payload, len);
	if (random != NULL)
		end = put_bytes(end, random, SESSION_RANDOM_SIZE);
	crypt_hmac_sha256(
	    secret, SESSION_SECRET_SIZE, text, (size_t)(end - text), out);
}

static uint8_t *
put_resume(uint8_t *out, const struct session_resume *r)
{
	*out++ = SESSION_VERSION;
	*out++ = 0;
	out = put_bytes(out, r->id, SESSION_ID_SIZE);
	out = put(out, r->epoch, 4);
	out = put(out, r->received, 8);
	return put_bytes(out, r->random, SESSION_RANDOM_SIZE);
}

static uint8_t *
put_resumed(uint8_t *out, const struct session_resumed *r)
{
	out = put(out, r->epoch, 4);
	return put(out, r->received, 8);
}

bool
session_check_resume(
    const struct session_resume *r, const uint8_t secret[SESSION_SECRET_SIZE])
{
	uint8_t payload[RESUME_BASE];
	uint8_t proof[SESSION_PROOF_SIZE];

	put_resume(payload, r);
	prove(proof, secret, sender_label, payload, sizeof(payload), NULL);
	return crypt_is_equal(proof, r->proof, sizeof(proof));
}

bool
session_check_resumed(const struct session_resumed *r,
    const uint8_t random[SESSION_RANDOM_SIZE],
    const uint8_t secret[SESSION_SECRET_SIZE])
{
	uint8_t payload[RESUMED_BASE];
	uint8_t proof[SESSION_PROOF_SIZE];

	put_resumed(payload, r);
	prove(proof, secret, listener_label, payload, sizeof(payload), random);
	return crypt_is_equal(proof, r->proof, sizeof(proof));
}

void
session_make_secret(const uint8_t hello_random[SESSION_RANDOM_SIZE],
    const uint8_t welcome_random[SESSION_RANDOM_SIZE],
    const uint8_t id[SESSION_ID_SIZE], uint8_t out[SESSION_SECRET_SIZE])
{
	uint8_t key[2 * SESSION_RANDOM_SIZE];
	uint8_t text[sizeof(secret_label) + SESSION_ID_SIZE];
	uint8_t *end = put_bytes(text, secret_label, strlen(secret_label));

	put_bytes(put_bytes(key, hello_random, SESSION_RANDOM_SIZE),
	    welcome_random, SESSION_RANDOM_SIZE);
	end = put_bytes(end, id, SESSION_ID_SIZE);
	crypt_hmac_sha256(key, sizeof(key), text, (size_t)(end - text), out);
}

/* --- building --- */

size_t
session_build_hello(uint8_t *out, const struct session_hello *h)
{
	uint8_t *p = put_head(out, SESSION_HELLO, HELLO_SIZE);

	*p++ = SESSION_VERSION;
	*p++ = h->options;
	p = put_bytes(p, h->id, SESSION_ID_SIZE);
	p = put_bytes(p, h->random, SESSION_RANDOM_SIZE);
	p = put(p, h->window_s, 2);
	p = put(p, h->limit, 4);
	return (size_t)(p - out);
}

size_t
session_build_welcome(uint8_t *out, const struct session_hello *h)
{
	uint8_t *p = put_head(out, SESSION_WELCOME, WELCOME_SIZE);

	*p++ = SESSION_VERSION;
	*p++ = h->options;
	p = put_bytes(p, h->random, SESSION_RANDOM_SIZE);
	p = put(p, h->window_s, 2);
	p = put(p, h->limit, 4);
	return (size_t)(p - out);
}

size_t
session_build_resume(uint8_t *out, const struct session_resume *r,
    const uint8_t secret[SESSION_SECRET_SIZE])
{
	uint8_t *payload = put_head(out, SESSION_RESUME, RESUME_SIZE);
	uint8_t *p = put_resume(payload, r);

	prove(p, secret, sender_label, payload, RESUME_BASE, NULL);
	return SESSION_HEAD_SIZE + RESUME_SIZE;
}

size_t
session_build_resumed(uint8_t *out, const struct session_resumed *r,
    const uint8_t random[SESSION_RANDOM_SIZE],
    const uint8_t secret[SESSION_SECRET_SIZE])
{
	uint8_t *payload = put_head(out, SESSION_RESUMED, RESUMED_SIZE);
	uint8_t *p = put_resumed(payload, r);

	prove(p, secret, listener_label, payload, RESUMED_BASE, random);
	return SESSION_HEAD_SIZE + RESUMED_SIZE;
}

/* Goes back over continuation bytes. */
size_t
session_fit_text(const char *text)
{
	size_t n = strlen(text);

	if (n <= SESSION_TEXT_MAX)
		return n;
	n = SESSION_TEXT_MAX;
	while (n > 0 && ((uint8_t)text[n] & 0xc0) == 0x80)
		n--;
	return n;
}

size_t
session_build_notice(
    uint8_t *out, enum session_type type, uint16_t code, const char *text)
{
	size_t n = session_fit_text(text);
	uint8_t *p = put_head(out, type, 2 + n);

	p = put(p, code, 2);
	p = put_bytes(p, text, n);
	return (size_t)(p - out);
}

size_t
session_build_number(uint8_t *out, enum session_type type, uint64_t number)
{
	put(put_head(out, type, 8), number, 8);
	return SESSION_HEAD_SIZE + 8;
}

void
session_build_data_head(uint8_t out[SESSION_HEAD_SIZE], size_t len)
{
	assert(len > 0 && len <= SESSION_DATA_MAX);
	put_head(out, SESSION_DATA, len);
}

/* --- reading --- */

static const uint8_t *
get_offer(const uint8_t *p, struct session_hello *h)
{
	uint64_t n;

	p = get_bytes(p, h->random, SESSION_RANDOM_SIZE);
	p = get(p, &n, 2);
	h->window_s = (uint16_t)n;
	p = get(p, &n, 4);
	h->limit = (uint32_t)n;
	return p;
}

static bool
is_offer(const struct session_hello *h)
{
	return (h->options & ~SESSION_OPTION_TLS) == 0 &&
	       h->limit >= SESSION_LIMIT_MIN;
}

bool
session_parse_hello(
    struct session_hello *h, const uint8_t *p, size_t len, bool *bad_version)
{
	*bad_version = len > 0 && p[0] != SESSION_VERSION;
	if (len != HELLO_SIZE || *bad_version)
		return false;
	h->options = p[1];
	p = get_bytes(p + 2, h->id, SESSION_ID_SIZE);
	get_offer(p, h);
	/* An option that only a later version knows asks for that version. */
	*bad_version = (h->options & ~SESSION_OPTION_TLS) != 0;
	return is_offer(h);
}

bool
session_parse_welcome(struct session_hello *h, const uint8_t *p, size_t len)
{
	if (len != WELCOME_SIZE || p[0] != SESSION_VERSION)
		return false;
	*h = (struct session_hello){.options = p[1]};
	get_offer(p + 2, h);
	return is_offer(h);
}

bool
session_parse_resume(
    struct session_resume *r, const uint8_t *p, size_t len, bool *bad_version)
{
	uint64_t n;

	*bad_version = len > 0 && p[0] != SESSION_VERSION;
	if (len != RESUME_SIZE || *bad_version || p[1] != 0)
		return false;
	p = get_bytes(p + 2, r->id, SESSION_ID_SIZE);
	p = get(p, &n, 4);
	r->epoch = (uint32_t)n;
	p = get(p, &r->received, 8);
	p = get_bytes(p, r->random, SESSION_RANDOM_SIZE);
	get_bytes(p, r->proof, SESSION_PROOF_SIZE);
	return true;
}

bool
session_parse_resumed(struct session_resumed *r, const uint8_t *p, size_t len)
{
	uint64_t n;

	if (len != RESUMED_SIZE)
		return false;
	p = get(p, &n, 4);
	r->epoch = (uint32_t)n;
	p = get(p, &r->received, 8);
	get_bytes(p, r->proof, SESSION_PROOF_SIZE);
	return true;
}

bool
session_parse_notice(struct session_notice *n, const uint8_t *p, size_t len)
{
	uint64_t code;

	if (len < 2 || len > 2 + SESSION_TEXT_MAX)
		return false;
	p = get(p, &code, 2);
	n->code = (uint16_t)code;
	memcpy(n->text, p, len - 2);
	n->text[len - 2] = '\0';
	return text_is_utf8(p, len - 2) && memchr(p, 0, len - 2) == NULL;
}

bool
session_parse_number(uint64_t *number, const uint8_t *p, size_t len)
{
	if (len != 8)
		return false;
	get(p, number, 8);
	return true;
}

/* --- decoding --- */

void
session_decoder_init(struct session_decoder *d)
{
	d->head_len = 0;
	d->in_frame = false;
	d->holds_data = false;
	d->left = 0;
	d->have = 0;
}

static bool
is_length_right(uint8_t type, size_t len)
{
	switch (type) {
	case SESSION_HELLO:
		/* Another version may be longer: it is to be refused by its
		 * own code. */
		return len >= 1 && len <= 2 + SESSION_TEXT_MAX;
	case SESSION_WELCOME:
		return len == WELCOME_SIZE;
	case SESSION_RESUME:
		return len >= 1 && len <= 2 + SESSION_TEXT_MAX;
	case SESSION_RESUMED:
		return len == RESUMED_SIZE;
	case SESSION_REFUSE:
	case SESSION_CLOSE:
		return len >= 2 && len <= 2 + SESSION_TEXT_MAX;
	case SESSION_DATA:
		return len > 0;
	case SESSION_ACK:
	case SESSION_PING:
	case SESSION_PONG:
		return len == 8;
	default:
		return false;
	}
}

static void
bad(struct session_item *item, const char *why)
{
	item->kind = SESSION_ITEM_BAD;
	item->why = why;
}

/* False while the head is not whole. */
static bool
take_head(struct session_decoder *d, uint8_t **data, size_t *len,
    struct session_item *item)
{
	while (d->head_len < SESSION_HEAD_SIZE) {
		if (*len == 0)
			return false;
		d->head[d->head_len++] = *(*data)++;
		(*len)--;
	}
	d->head_len = 0;
	d->type = d->head[0];
	d->left = (uint32_t)d->head[2] << 8 | d->head[3];
	d->have = 0;
	if (d->head[1] != 0)
		bad(item, "a session frame with unknown flags");
	else if (!is_length_right(d->type, d->left))
		bad(item, "a session frame of unknown type or wrong length");
	else
		d->in_frame = true;
	return d->in_frame;
}

static void
take_data(struct session_decoder *d, uint8_t **data, size_t *len,
    struct session_item *item)
{
	size_t n = *len < d->left ? *len : d->left;

	*item = (struct session_item){.kind = SESSION_ITEM_DATA,
	    .type = SESSION_DATA,
	    .data = *data,
	    .len = n};
	*data += n;
	*len -= n;
	d->left -= (uint32_t)n;
	if (d->left == 0)
		d->in_frame = false;
}

static void
take_control(struct session_decoder *d, uint8_t **data, size_t *len,
    struct session_item *item)
{
	size_t n = *len < d->left ? *len : d->left;

	memcpy(d->control + d->have, *data, n);
	d->have += (uint16_t)n;
	*data += n;
	*len -= n;
	d->left -= (uint32_t)n;
	if (d->left > 0)
		return;
	d->in_frame = false;
	*item = (struct session_item){.kind = SESSION_ITEM_FRAME,
	    .type = d->type,
	    .data = d->control,
	    .len = d->have};
}

void
session_decoder_next(struct session_decoder *d, uint8_t **data, size_t *len,
    struct session_item *item)
{
	*item = (struct session_item){.kind = SESSION_ITEM_NONE};
	if (!d->in_frame && !take_head(d, data, len, item))
		return;
	if (*len == 0 || (d->type == SESSION_DATA && d->holds_data))
		return;
	if (d->type == SESSION_DATA)
		take_data(d, data, len, item);
	else
		take_control(d, data, len, item);
}

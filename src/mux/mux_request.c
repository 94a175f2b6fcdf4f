/* SPDX-License-Identifier: MIT
 *
 * Logins and requests for channels, both sides. Before the login is decided a
 * server holds requests with their early data, and a client keeps those to
 * itself that a server would not hold. A request that was told to the owner is
 * answered by him once, or cancelled by us once.
 *
 *   server   head complete -> [waiting] -> on_request -> accept | refuse
 *                                   \          \-> on_cancel (gone, mux over)
 *   client   mux_connect -> [waiting] -> sent -> on_open | on_error
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mux/mux_core.h"
#include "util/mem.h"

static const char wrong_login[] = "The user or the password is wrong.\n";

/* --- sending lists --- */

struct fields {
	nghttp2_nv nv[MUX_HEAD_FIELDS_MAX];
	size_t count;
};

static void
fill(struct fields *f, const struct mux_head_list *l)
{
	for (size_t i = 0; i < l->count; i++) {
		const char *name = l->fields[i].name;
		const char *value = mux_head_list_value(l, i);

		/* nghttp2 copies both and writes to neither. */
		f->nv[i] = (nghttp2_nv){
		    .name = (uint8_t *)(uintptr_t)name,
		    .namelen = strlen(name),
		    .value = (uint8_t *)(uintptr_t)value,
		    .valuelen = strlen(value),
		    .flags = l->fields[i].is_secret ? NGHTTP2_NV_FLAG_NO_INDEX
		                                    : NGHTTP2_NV_FLAG_NONE,
		};
	}
	f->count = l->count;
}

static int
respond(struct mux *m, int32_t id, struct mux_head_list *l,
    const nghttp2_data_provider *data)
{
	struct fields f;
	int result;

	fill(&f, l);
	result = nghttp2_submit_response(m->ng, id, f.nv, f.count, data);
	mux_head_list_fini(l);
	deferred_set(&m->wake);
	return result;
}

static int32_t
request(struct mux *m, struct mux_head_list *l,
    const nghttp2_data_provider *data, struct mux_channel *ch)
{
	struct fields f;
	int32_t id;

	fill(&f, l);
	id = nghttp2_submit_request(m->ng, NULL, f.nv, f.count, data, ch);
	mux_head_list_fini(l);
	deferred_set(&m->wake);
	return id;
}

static void
drop_head(struct mux_channel *ch)
{
	if (!ch->head)
		return;
	mux_head_fini(ch->head);
	free(ch->head);
	ch->head = NULL;
}

/* --- server: requests --- */

void
mux_request_free(struct mux_request *r)
{
	if (!r)
		return;
	free((char *)(uintptr_t)r->target.host);
	free(r);
}

static void
refuse(struct mux_channel *ch, enum mux_refusal why, const char *details)
{
	struct mux_head_list l;

	mux_head_list_init(&l);
	mux_head_build_refusal(&l, why, details);
	respond(ch->mux, ch->id, &l, NULL);
	mux_channel_drop(ch);
}

static void
tell_request(struct mux_channel *ch)
{
	struct mux *m = ch->mux;

	ch->request->is_told = true;
	m->events->on_request(m->owner, ch->request);
}

static void
judge_login(struct mux_channel *ch)
{
	struct mux *m = ch->mux;
	char *user, *password;

	if (m->login != MUX_LOGIN_NONE || m->bad_logins >= 3) {
		refuse(ch, MUX_REFUSED_REQUEST, "a login is not due");
		return;
	}
	if (!mux_head_judge_login(ch->head, &user, &password)) {
		refuse(ch, MUX_REFUSED_REQUEST, "the login is malformed");
		return;
	}
	m->login = MUX_LOGIN_ASKED;
	m->login_id = ch->id;
	mux_channel_drop(ch);
	m->events->on_login(m->owner, user, password);
	mem_free_secret(user);
	mem_free_secret(password);
}

void
mux_request_judge(struct mux_channel *ch)
{
	struct mux *m = ch->mux;
	struct mux_target target;
	struct err e;

	switch (mux_head_judge_request(ch->head, &target, &e)) {
	case MUX_HEAD_BAD:
		refuse(ch, MUX_REFUSED_REQUEST, e.text);
		return;
	case MUX_HEAD_LOGIN:
		judge_login(ch);
		return;
	case MUX_HEAD_CHANNEL:
		break;
	}
	drop_head(ch);
	ch->request = mem_zalloc(sizeof *ch->request);
	ch->request->channel = ch;
	ch->request->target = target;
	if (m->login == MUX_LOGIN_GOOD)
		tell_request(ch);
	else
		list_append(&m->waiting, &ch->wait_link);
}

void
mux_request_cancel(struct mux_channel *ch)
{
	struct mux *m = ch->mux;
	struct mux_request *r = ch->request;

	ch->request = NULL;
	mux_channel_drop(ch);
	if (r && r->is_told)
		m->events->on_cancel(m->owner, r);
	mux_request_free(r);
}

const struct mux_target *
mux_request_target(const struct mux_request *r)
{
	return &r->target;
}

void
mux_request_set_owner(struct mux_request *r, void *owner)
{
	r->owner = owner;
}

void *
mux_request_owner(const struct mux_request *r)
{
	return r->owner;
}

/* The stream may have ended meanwhile; then its owner hears so. */
struct stream *
mux_accept(struct mux_request *r, const char *address)
{
	struct mux_channel *ch = r->channel;
	const nghttp2_data_provider data = {
	    .source.ptr = ch, .read_callback = mux_channel_read};
	struct mux_head_list l;
	struct err e;

	assert(ch->mux && r->is_told);
	ch->request = NULL;
	ch->is_open = true;
	mux_head_list_init(&l);
	mux_head_build_accept(&l, r->target.kind, address);
	if (respond(ch->mux, ch->id, &l, &data) != 0) {
		err_set(&e, ERR_RESET,
		    "the other side gave the channel up before it was open");
		mux_channel_fail(ch, &e);
	}
	mux_request_free(r);
	return &ch->base;
}

void
mux_refuse(struct mux_request *r, enum mux_refusal why, const char *details)
{
	struct mux_channel *ch = r->channel;

	assert(ch->mux && r->is_told);
	ch->request = NULL;
	refuse(ch, why, details);
	mux_request_free(r); /* details may lie in it */
}

/* --- server: login --- */

static ssize_t
read_words(nghttp2_session *ng, int32_t id, uint8_t *buf, size_t length,
    uint32_t *flags, nghttp2_data_source *source, void *owner)
{
	const size_t n = sizeof wrong_login - 1;

	(void)ng;
	(void)id;
	(void)source;
	(void)owner;
	*flags |= NGHTTP2_DATA_FLAG_EOF;
	if (n > length)
		return 0;
	memcpy(buf, wrong_login, n);
	return (ssize_t)n;
}

void
mux_login_answer(struct mux *m, bool good)
{
	static const nghttp2_data_provider words = {
	    .read_callback = read_words};
	struct mux_head_list l;

	assert(m->is_server && m->login == MUX_LOGIN_ASKED);
	m->login = good ? MUX_LOGIN_GOOD : MUX_LOGIN_NONE;
	if (!good)
		m->bad_logins++;
	mux_head_list_init(&l);
	mux_head_build_login_answer(&l, good);
	respond(m, m->login_id, &l, good ? NULL : &words);
}

/* --- client --- */

void
mux_request_send_login(struct mux *m, const char *user, const char *password)
{
	struct mux_head_list l;
	struct err e;

	m->login = MUX_LOGIN_ASKED;
	mux_head_list_init(&l);
	if (!mux_head_build_login(&l, user, password, &e)) {
		mux_head_list_fini(&l);
		mux_doom(m, e.code, "%s", e.text);
		return;
	}
	m->login_id = request(m, &l, NULL, NULL);
	if (m->login_id < 0)
		mux_doom(m, ERR_PROTOCOL, "the login cannot be sent: %s",
		    nghttp2_strerror(m->login_id));
}

static void
fail_request(struct mux_channel *ch, int code)
{
	struct err e;

	err_set(&e, ERR_CLOSED, "a channel cannot be opened: %s",
	    nghttp2_strerror(code));
	mux_channel_fail(ch, &e);
}

static void
send_request(struct mux_channel *ch)
{
	const nghttp2_data_provider data = {
	    .source.ptr = ch, .read_callback = mux_channel_read};
	struct mux *m = ch->mux;
	struct mux_head_list l;
	int32_t id;

	mux_head_list_init(&l);
	mux_head_build_connect(&l, &ch->request->target, NULL);
	mux_request_free(ch->request);
	ch->request = NULL;
	id = request(m, &l, &data, ch);
	if (id < 0) {
		fail_request(ch, id);
		return;
	}
	ch->id = id;
	if (m->login != MUX_LOGIN_GOOD)
		m->early++;
}

static bool
may_connect(struct mux *m, const struct mux_target *t, struct err *e)
{
	struct mux_head_list l;
	bool ok;

	if (m->is_over || m->end || m->is_drained || m->peer_drains)
		return err_set(e, ERR_CLOSED,
		    "the session takes no new channels: it is ending");
	if (m->count >= MUX_CHANNELS_MAX)
		return err_set(e, ERR_TOO_BIG,
		    "the session has %d channels already", MUX_CHANNELS_MAX);
	mux_head_list_init(&l);
	ok = mux_head_build_connect(&l, t, e);
	mux_head_list_fini(&l);
	return ok;
}

struct stream *
mux_connect(struct mux *m, const struct mux_target *t, struct err *e)
{
	struct mux_channel *ch;

	assert(!m->is_server && !m->closing);
	if (!may_connect(m, t, e))
		return NULL;
	ch = mux_channel_new(m, 0);
	ch->request = mem_zalloc(sizeof *ch->request);
	ch->request->target = *t;
	ch->request->target.host = mem_strdup(t->host);
	if (m->login == MUX_LOGIN_GOOD || m->early < MUX_EARLY_CHANNELS)
		send_request(ch);
	else
		list_append(&m->waiting, &ch->wait_link);
	return &ch->base;
}

void
mux_request_answered(struct mux_channel *ch)
{
	struct err e;
	bool ok;

	if (ch->head->status >= 100 && ch->head->status < 200) {
		drop_head(ch);
		return;
	}
	ok = mux_head_judge_answer(ch->head, &e);
	ch->address = ok ? ch->head->address : NULL;
	if (ok)
		ch->head->address = NULL;
	drop_head(ch);
	if (ok) {
		mux_channel_take_open(ch);
		return;
	}
	mux_channel_fail(ch, &e);
	if (!ch->is_gone)
		nghttp2_submit_rst_stream(
		    ch->mux->ng, NGHTTP2_FLAG_NONE, ch->id, NGHTTP2_CANCEL);
	mux_channel_tell(ch);
}

void
mux_request_login_answered(struct mux *m)
{
	const int status = m->login_head->status;
	struct list *at;
	struct err e;

	mux_head_fini(m->login_head);
	free(m->login_head);
	m->login_head = NULL;
	if (status < 200 || m->login != MUX_LOGIN_ASKED)
		return;
	if (status == 200) {
		m->login = MUX_LOGIN_GOOD;
		LIST_EACH (at, &m->channels)
			mux_channel_resume(
			    LIST_OF(at, struct mux_channel, link));
		deferred_set(&m->wake);
		m->events->on_login_done(m->owner, NULL);
		return;
	}
	m->login = MUX_LOGIN_NONE;
	if (status == 401)
		err_set(&e, ERR_AUTH, "the user or the password is wrong");
	else
		err_set(
		    &e, ERR_PROTOCOL, "the login was answered with %d", status);
	e.http_status = status;
	m->events->on_login_done(m->owner, &e);
}

/* After a good login. */
void
mux_request_release_waiting(struct mux *m)
{
	while (m->login == MUX_LOGIN_GOOD && !m->closing && !m->is_over &&
	       !list_is_empty(&m->waiting)) {
		struct mux_channel *ch =
		    LIST_OF(m->waiting.next, struct mux_channel, wait_link);

		list_remove(&ch->wait_link);
		if (m->is_server)
			tell_request(ch);
		else
			send_request(ch);
	}
}

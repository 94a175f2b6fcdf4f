/* SPDX-License-Identifier: MIT
 *
 * Messages of the control channel: the guide's example, tolerance (L19),
 * limits, and that what is built is read back the same.
 */
#include "hc/hc_message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/http1.h"
#include "util/buf.h"
#include "util/err.h"
#include "util/mem.h"

#define ID "f7e3a1b2-0000-4000-8000-1234567890ab"
#define ADDRESS "wss://g1.ns:443/$hc/p?sb-hc-action=accept&sb-hc-id=" ID

static bool
parse(struct hc_message *m, const char *text, struct err *e)
{
	return hc_message_parse(m, text, strlen(text), e);
}

static const char *
get(const struct hc_message_accept *m, const char *name)
{
	for (size_t i = 0; i < m->n_fields; i++) {
		if (strcmp(m->fields[i].name, name) == 0)
			return m->fields[i].value;
	}
	return NULL;
}

static void
test_accept(void **state)
{
	struct hc_message m;
	struct err e;

	(void)state;
	assert_true(parse(&m,
	    "{\"accept\":{\"address\":\"" ADDRESS "\",\"id\":\"" ID "\","
	    "\"connectHeaders\":{\"Host\":\"ns\",\"X-N\":5,\"X-R\":1.5,"
	    "\"X-T\":true,\"X-O\":{},\"X-Bad\":\"a\\r\\nb\",\"\":\"x\","
	    "\"Sec-WebSocket-Key\":\"k==\"},"
	    "\"remoteEndpoint\":{\"address\":\"1.2.3.4\",\"port\":1234}}}",
	    &e));
	assert_int_equal(m.kind, HC_MESSAGE_ACCEPT);
	assert_string_equal(m.accept.address, ADDRESS);
	assert_string_equal(m.accept.id, ID);
	assert_int_equal(m.accept.n_fields, 5);
	assert_string_equal(get(&m.accept, "Host"), "ns");
	assert_string_equal(get(&m.accept, "X-N"), "5");
	assert_string_equal(get(&m.accept, "X-R"), "1.5");
	assert_string_equal(get(&m.accept, "X-T"), "true");
	assert_null(get(&m.accept, "X-Bad"));
	assert_string_equal(m.accept.remote_address, "1.2.3.4");
	assert_int_equal(m.accept.remote_port, 1234);
	hc_message_fini(&m);
}

/* L19 */
static void
test_tolerance(void **state)
{
	struct hc_message m;
	struct err e;

	(void)state;
	assert_true(parse(&m,
	    "{\"accept\":{\"new\":[1,{}],\"address\":\"" ADDRESS "\","
	    "\"connectHeaders\":7,\"remoteEndpoint\":{\"port\":70000}}}",
	    &e));
	assert_int_equal(m.kind, HC_MESSAGE_ACCEPT);
	assert_string_equal(m.accept.id, "");
	assert_int_equal(m.accept.n_fields, 0);
	assert_string_equal(m.accept.remote_address, "");
	assert_int_equal(m.accept.remote_port, 0);
	hc_message_fini(&m);
	assert_true(parse(&m, "{\"inject\\nFault\":{\"x\":1}}", &e));
	assert_int_equal(m.kind, HC_MESSAGE_UNKNOWN);
	assert_string_equal(m.unknown.name, "inject\\x0aFault");
	hc_message_fini(&m);
	assert_true(parse(&m, "{\"request\":{\"address\":\"x\"}}", &e));
	assert_int_equal(m.kind, HC_MESSAGE_UNKNOWN);
	assert_string_equal(m.unknown.name, "request");
	hc_message_fini(&m);
	assert_true(parse(&m, "{}", &e));
	assert_int_equal(m.kind, HC_MESSAGE_UNKNOWN);
	hc_message_fini(&m);
	assert_true(
	    parse(&m, "{\"new\":1,\"renewToken\":{\"token\":\"t\"}}", &e));
	assert_int_equal(m.kind, HC_MESSAGE_RENEW_TOKEN);
	assert_string_equal(m.renew_token.token, "t");
	hc_message_fini(&m);
}

static void
test_refused(void **state)
{
	static const char *const bad[] = {"", " ", "x", "[]", "1", "\"a\"",
	    "null", "{", "{\"accept\":", "{\"accept\":{}}", "{\"a\":1}x",
	    "{\"accept\":{\"address\":\"\"}}", "{\"accept\":{\"address\":5}}",
	    "{\"accept\":{\"address\":\"a\\u0000b\"}}",
	    "{\"accept\":{\"address\":\"a\\nb\"}}", "{\"renewToken\":{}}",
	    "{\"renewToken\":{\"token\":null}}", "{\"a\":\"\xff\"}"};
	struct hc_message m;
	struct err e;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		if (parse(&m, bad[i], &e))
			fail_msg("taken: %s", bad[i]);
		assert_int_equal(e.code, ERR_PROTOCOL);
	}
}

static void
test_limits(void **state)
{
	char *text = malloc(HC_MESSAGE_MAX + 2);
	struct hc_message m;
	struct err e;
	size_t n = 0;

	(void)state;
	memset(text, ' ', HC_MESSAGE_MAX + 1);
	memcpy(text, "{}", 2);
	assert_true(hc_message_parse(&m, text, HC_MESSAGE_MAX, &e));
	hc_message_fini(&m);
	assert_false(hc_message_parse(&m, text, HC_MESSAGE_MAX + 1, &e));
	assert_int_equal(e.code, ERR_TOO_BIG);
	/* Brackets in strings do not nest. */
	assert_true(parse(&m, "{\"[[[[[[[[[[\\\"[[\":\"{{{{{{{{{{\"}", &e));
	hc_message_fini(&m);
	assert_true(parse(&m, "{\"a\":[[[[[[[]]]]]]]}", &e));
	hc_message_fini(&m);
	assert_false(parse(&m, "{\"a\":[[[[[[[[]]]]]]]]}", &e));
	assert_int_equal(e.code, ERR_TOO_BIG);
	memset(text, '[', 60000);
	assert_false(hc_message_parse(&m, text, 60000, &e));
	assert_int_equal(e.code, ERR_TOO_BIG);
	n = (size_t)sprintf(
	    text, "{\"accept\":{\"address\":\"wss://h/\",\"connectHeaders\":{");
	for (int i = 0; i <= HC_MESSAGE_FIELDS_MAX; i++)
		n += (size_t)sprintf(
		    text + n, "%s\"x%d\":\"\"", i ? "," : "", i);
	sprintf(text + n, "}}}");
	assert_false(parse(&m, text, &e));
	assert_int_equal(e.code, ERR_TOO_BIG);
	free(text);
}

/* Every cut of a good message is refused, none reads beyond its end. */
static void
test_cut_everywhere(void **state)
{
	const char *whole = "{\"accept\":{\"address\":\"" ADDRESS
	                    "\",\"id\":\"" ID "\",\"connectHeaders\":{"
	                    "\"a\":\"\\u00e4\"}}}";
	struct hc_message m;
	struct err e;

	(void)state;
	for (size_t n = 0; n < strlen(whole); n++) {
		char *exact = malloc(n + !n);

		memcpy(exact, whole, n);
		assert_false(hc_message_parse(&m, exact, n, &e));
		free(exact);
	}
}

static void
test_build_accept(void **state)
{
	struct http1_field fields[] = {
	    {(char *)"Host", (char *)"ns"},
	    {(char *)"X-A", (char *)"1"},
	    {(char *)"ServiceBusAuthorization", (char *)"secret"},
	    {(char *)"x-a", (char *)"2\xe4"},
	    {(char *)"X-U", (char *)"\xc3\xa4"},
	};
	const struct hc_message_accept accept = {
	    .address = (char *)ADDRESS,
	    .id = (char *)ID,
	    .fields = fields,
	    .n_fields = 5,
	    .remote_address = (char *)"::1",
	    .remote_port = 7,
	};
	struct hc_message m;
	struct buf b;
	char *text;

	(void)state;
	buf_init(&b, HC_MESSAGE_MAX);
	assert_true(hc_message_build_accept(&b, &accept, NULL));
	text = buf_take_text(&b);
	assert_null(strstr(text, "secret"));
	assert_true(parse(&m, text, NULL));
	assert_string_equal(m.accept.address, ADDRESS);
	assert_string_equal(m.accept.id, ID);
	assert_int_equal(m.accept.n_fields, 3);
	assert_string_equal(get(&m.accept, "X-A"), "1, 2\xc3\xa4");
	assert_string_equal(get(&m.accept, "X-U"), "\xc3\xa4");
	assert_string_equal(m.accept.remote_address, "::1");
	assert_int_equal(m.accept.remote_port, 7);
	hc_message_fini(&m);
	free(text);
}

static void
test_build_too_big(void **state)
{
	char *value = mem_zalloc(HC_MESSAGE_MAX + 1);
	struct http1_field field = {(char *)"X", value};
	const struct hc_message_accept accept = {
	    .address = (char *)ADDRESS,
	    .id = (char *)ID,
	    .fields = &field,
	    .n_fields = 1,
	};
	struct buf b;
	struct err e;

	(void)state;
	buf_init(&b, HC_MESSAGE_MAX);
	assert_true(hc_message_build_accept(&b, &accept, &e));
	buf_fini(&b);
	memset(value, 'a', HC_MESSAGE_MAX);
	assert_false(hc_message_build_accept(&b, &accept, &e));
	assert_int_equal(e.code, ERR_TOO_BIG);
	assert_int_equal(e.http_status, 431);
	assert_int_equal(buf_len(&b), 0);
	free(value);
}

/* L17, 3.7: plain JSON text, no escapes of & or /. */
static void
test_build_renew_token(void **state)
{
	struct buf b;
	char *text;

	(void)state;
	buf_init(&b, HC_MESSAGE_MAX);
	assert_true(hc_message_build_renew_token(
	    &b, "SharedAccessSignature sr=a%2Fb&sig=c", NULL));
	text = buf_take_text(&b);
	assert_string_equal(text, "{\"renewToken\":{\"token\":"
	                          "\"SharedAccessSignature sr=a%2Fb&sig=c\"}}");
	free(text);
}

/* The text messages of the sample's wire. */
static void
test_status(void **state)
{
	static const char *const bad[] = {"", "x", "[]", "{}", "{\"status\":1}",
	    "{\"status\":\"ready\",\"status\":\"error\"}"};
	struct hc_message_status s = {.kind = HC_MESSAGE_STATUS_ERROR,
	    .half_close = true,
	    .details = "refused \"x\""};
	struct hc_message_status again;
	struct buf b;
	struct err e;
	char *text;

	(void)state;
	buf_init(&b, 1000);
	hc_message_build_status(&b, &s);
	text = buf_take_text(&b);
	assert_string_equal(text, "{\"status\":\"error\",\"details\":"
	                          "\"refused \\\"x\\\"\",\"halfClose\":true}");
	assert_true(hc_message_parse_status(&again, text, strlen(text), &e));
	assert_int_equal(again.kind, HC_MESSAGE_STATUS_ERROR);
	assert_true(again.half_close);
	assert_string_equal(again.details, s.details);
	free(text);
	text = mem_strdup("{\"status\":\"ready\",\"new\":[]}");
	assert_true(hc_message_parse_status(&again, text, strlen(text), &e));
	assert_int_equal(again.kind, HC_MESSAGE_STATUS_READY);
	assert_false(again.half_close);
	assert_string_equal(again.details, "");
	free(text);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_false(hc_message_parse_status(
		    &again, bad[i], strlen(bad[i]), &e));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_accept),
	    cmocka_unit_test(test_tolerance),
	    cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_limits),
	    cmocka_unit_test(test_cut_everywhere),
	    cmocka_unit_test(test_build_accept),
	    cmocka_unit_test(test_build_too_big),
	    cmocka_unit_test(test_build_renew_token),
	    cmocka_unit_test(test_status),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT
 *
 * The locale never matters here: what arrives is bytes, and a letter is an
 * ASCII letter. Decoders are strict, because whatever two programs read
 * differently becomes a hole between them.
 */
#include "util/text.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "util/buf.h"

static const char text_base64_plain[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char text_base64_url[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
static const char text_hex_lower[] = "0123456789abcdef";
static const char text_hex_upper[] = "0123456789ABCDEF";

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool
is_letter(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool
is_space(char c)
{
	return is_blank(c) || c == '\r' || c == '\n';
}

static unsigned char
to_lower(char c)
{
	return (unsigned char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}

static int
hex_value(char c)
{
	if (is_digit(c))
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

size_t
text_base64_size(size_t n)
{
	return (n + 2) / 3 * 4 + 1;
}

static char *
base64_encode(const uint8_t *data, size_t n, const char *alphabet, char *out)
{
	uint32_t bits;

	for (; n >= 3; n -= 3, data += 3) {
		bits =
		    (uint32_t)data[0] << 16 | (uint32_t)data[1] << 8 | data[2];
		*out++ = alphabet[bits >> 18];
		*out++ = alphabet[bits >> 12 & 63];
		*out++ = alphabet[bits >> 6 & 63];
		*out++ = alphabet[bits & 63];
	}
	if (n == 0)
		return out;
	bits = (uint32_t)data[0] << 16;
	if (n == 2)
		bits |= (uint32_t)data[1] << 8;
	*out++ = alphabet[bits >> 18];
	*out++ = alphabet[bits >> 12 & 63];
	if (n == 2)
		*out++ = alphabet[bits >> 6 & 63];
	return out;
}

void
text_base64_encode(const void *data, size_t n, char *out)
{
	char *end = base64_encode(data, n, text_base64_plain, out);

	while ((end - out) % 4 != 0)
		*end++ = '=';
	*end = '\0';
}

void
text_base64url_encode(const void *data, size_t n, char *out)
{
	*base64_encode(data, n, text_base64_url, out) = '\0';
}

static int
base64_value(char c, const char *alphabet)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (is_digit(c))
		return c - '0' + 52;
	if (c == alphabet[62])
		return 62;
	if (c == alphabet[63])
		return 63;
	return -1;
}

/* Without padding. Left-over bits must be zero: otherwise one value would have
 * several spellings. */
static bool
base64_decode(
    const char *s, size_t n, const char *alphabet, uint8_t *out, size_t *len)
{
	uint8_t *const start = out;
	uint32_t bits = 0;
	unsigned count = 0;

	for (size_t i = 0; i < n; i++) {
		const int value = base64_value(s[i], alphabet);

		if (value < 0)
			return false;
		bits = bits << 6 | (uint32_t)value;
		count += 6;
		if (count >= 8) {
			count -= 8;
			*out++ = (uint8_t)(bits >> count);
		}
	}
	*len = (size_t)(out - start);
	return count < 6 && (bits & ((1u << count) - 1)) == 0;
}

bool
text_base64_decode(const char *s, size_t n, uint8_t *out, size_t *len)
{
	if (n % 4 != 0)
		return false;
	if (n > 0 && s[n - 1] == '=')
		n -= s[n - 2] == '=' ? 2 : 1;
	return base64_decode(s, n, text_base64_plain, out, len);
}

bool
text_base64url_decode(const char *s, size_t n, uint8_t *out, size_t *len)
{
	return base64_decode(s, n, text_base64_url, out, len);
}

void
text_hex(const void *data, size_t n, char *out)
{
	const uint8_t *at = data;

	for (size_t i = 0; i < n; i++) {
		*out++ = text_hex_lower[at[i] >> 4];
		*out++ = text_hex_lower[at[i] & 15];
	}
	*out = '\0';
}

bool
text_unhex(const char *s, size_t n, uint8_t *out)
{
	if (n % 2 != 0)
		return false;
	for (size_t i = 0; i < n; i += 2) {
		const int high = hex_value(s[i]);
		const int low = hex_value(s[i + 1]);

		if (high < 0 || low < 0)
			return false;
		*out++ = (uint8_t)(high << 4 | low);
	}
	return true;
}

static bool
is_unreserved(char c)
{
	return is_letter(c) || is_digit(c) || c == '-' || c == '_' ||
	       c == '.' || c == '~';
}

bool
text_percent_encode(struct buf *out, const char *s, size_t n)
{
	size_t needed = 0;
	uint8_t *at;

	for (size_t i = 0; i < n; i++)
		needed += is_unreserved(s[i]) ? 1 : 3;
	if (needed == 0)
		return true;
	at = buf_reserve(out, needed);
	if (!at)
		return false;
	for (size_t i = 0; i < n; i++) {
		const uint8_t c = (uint8_t)s[i];

		if (is_unreserved(s[i])) {
			*at++ = c;
			continue;
		}
		*at++ = '%';
		*at++ = (uint8_t)text_hex_upper[c >> 4];
		*at++ = (uint8_t)text_hex_upper[c & 15];
	}
	buf_commit(out, needed);
	return true;
}

/* One character at s[*i], which is moved behind it; -1 if it is broken. */
static int
percent_value(const char *s, size_t n, size_t *i, bool form)
{
	const char c = s[(*i)++];
	int high, low;

	if (c == '+' && form)
		return ' ';
	if (c != '%')
		return (unsigned char)c;
	if (n - *i < 2)
		return -1;
	high = hex_value(s[*i]);
	low = hex_value(s[*i + 1]);
	*i += 2;
	if (high < 0 || low < 0 || high + low == 0)
		return -1;
	return high << 4 | low;
}

bool
text_percent_decode(struct buf *out, const char *s, size_t n, bool form)
{
	size_t needed = 0;
	uint8_t *at;

	for (size_t i = 0; i < n; needed++) {
		if (percent_value(s, n, &i, form) < 0)
			return false;
	}
	if (needed == 0)
		return true;
	at = buf_reserve(out, needed);
	if (!at)
		return false;
	for (size_t i = 0; i < n;)
		*at++ = (uint8_t)percent_value(s, n, &i, form);
	buf_commit(out, needed);
	return true;
}

bool
text_is_equal_nocase(const char *a, const char *b)
{
	const size_t n = strlen(a);

	return n == strlen(b) && text_is_equal_nocase_n(a, b, n);
}

bool
text_is_equal_nocase_n(const char *a, const char *b, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (to_lower(a[i]) != to_lower(b[i]))
			return false;
	}
	return true;
}

bool
text_has_prefix_nocase(const char *s, const char *prefix)
{
	const size_t n = strlen(prefix);

	return strnlen(s, n) == n && text_is_equal_nocase_n(s, prefix, n);
}

/* Empty items do not count (RFC 9110, section 5.6.1.2). */
const char *
text_list_first(const char *list, size_t *n)
{
	while (is_blank(*list) || *list == ',')
		list++;
	*n = strcspn(list, ",");
	while (*n > 0 && is_blank(list[*n - 1]))
		--*n;
	return list;
}

bool
text_list_has(const char *list, const char *token)
{
	const size_t len = strlen(token);
	size_t n;

	for (list = text_list_first(list, &n); n > 0;
	     list = text_list_first(list + n, &n)) {
		if (n == len && text_is_equal_nocase_n(list, token, n))
			return true;
	}
	return false;
}

bool
text_parse_u64(const char *s, uint64_t min, uint64_t max, uint64_t *out)
{
	uint64_t number = 0;

	if (!is_digit(s[0]) || (s[0] == '0' && s[1] != '\0'))
		return false;
	for (; *s; s++) {
		if (!is_digit(*s) ||
		    __builtin_mul_overflow(number, 10, &number) ||
		    __builtin_add_overflow(
		        number, (unsigned)(*s - '0'), &number))
			return false;
	}
	if (number < min || number > max)
		return false;
	*out = number;
	return true;
}

bool
text_parse_port(const char *s, uint16_t *out)
{
	uint64_t number;

	if (!text_parse_u64(s, 1, 65535, &number))
		return false;
	*out = (uint16_t)number;
	return true;
}

/* The state between two bytes: how many are to come, and the least and
 * greatest value of the next one (RFC 3629, section 4). */
static uint32_t
utf8_state(unsigned left, unsigned least, unsigned most)
{
	return left | least << 8 | most << 16;
}

static bool
utf8_start(uint32_t *state, uint8_t c)
{
	if (c < 0x80)
		*state = 0;
	else if (c >= 0xc2 && c <= 0xdf)
		*state = utf8_state(1, 0x80, 0xbf);
	else if (c == 0xe0)
		*state = utf8_state(2, 0xa0, 0xbf);
	else if (c == 0xed)
		*state = utf8_state(2, 0x80, 0x9f);
	else if (c >= 0xe1 && c <= 0xef)
		*state = utf8_state(2, 0x80, 0xbf);
	else if (c == 0xf0)
		*state = utf8_state(3, 0x90, 0xbf);
	else if (c >= 0xf1 && c <= 0xf3)
		*state = utf8_state(3, 0x80, 0xbf);
	else if (c == 0xf4)
		*state = utf8_state(3, 0x80, 0x8f);
	else
		return false;
	return true;
}

static bool
is_ascii8(const uint8_t *s)
{
	uint64_t eight;

	memcpy(&eight, s, sizeof eight);
	return (eight & 0x8080808080808080u) == 0;
}

bool
text_utf8_feed(uint32_t *state, const uint8_t *s, size_t n)
{
	size_t i = 0;

	while (i < n) {
		if (*state == 0) {
			while (n - i >= 8 && is_ascii8(s + i))
				i += 8;
			if (i < n && !utf8_start(state, s[i++]))
				return false;
			continue;
		}
		if (s[i] < (*state >> 8 & 0xff) || s[i] > (*state >> 16))
			return false;
		i++;
		*state = (*state & 0xff) == 1
		             ? 0
		             : utf8_state((*state & 0xff) - 1, 0x80, 0xbf);
	}
	return true;
}

bool
text_is_utf8(const uint8_t *s, size_t n)
{
	uint32_t state = 0;

	return text_utf8_feed(&state, s, n) && state == 0;
}

void
text_escape(const void *data, size_t n, char *out, size_t size)
{
	const uint8_t *s = data;
	size_t used = 0;

	assert(size > 0);
	for (size_t i = 0; i < n; i++) {
		char piece[5] = {(char)s[i]};
		size_t len = 1;

		if (s[i] == '\\') {
			piece[1] = '\\';
			len = 2;
		} else if (s[i] < 0x20 || s[i] > 0x7e) {
			piece[0] = '\\';
			piece[1] = 'x';
			piece[2] = text_hex_lower[s[i] >> 4];
			piece[3] = text_hex_lower[s[i] & 15];
			len = 4;
		}
		if (len >= size - used)
			break;
		memcpy(out + used, piece, len);
		used += len;
	}
	out[used] = '\0';
}

char *
text_trim(char *s)
{
	size_t n;

	while (is_space(*s))
		s++;
	n = strlen(s);
	while (n > 0 && is_space(s[n - 1]))
		n--;
	s[n] = '\0';
	return s;
}

void
text_print_bytes(uint64_t n, char *out, size_t size)
{
	static const char *const unit[] = {
	    "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double number = (double)n / 1024;
	size_t i = 0;

	if (n < 1024) {
		snprintf(out, size, "%" PRIu64 " B", n);
		return;
	}
	/* 1023.95 would be printed as 1024.0. */
	while (number >= 1023.95 && i + 1 < sizeof unit / sizeof unit[0]) {
		number /= 1024;
		i++;
	}
	snprintf(out, size, "%.1f %s", number, unit[i]);
}

void
text_print_duration(uint64_t ms, char *out, size_t size)
{
	const uint64_t s = ms / 1000;

	if (ms < 1000)
		snprintf(out, size, "%" PRIu64 " ms", ms);
	else if (s < 60)
		snprintf(out, size, "%" PRIu64 " s", s);
	else if (s < 3600)
		snprintf(
		    out, size, "%" PRIu64 " min %" PRIu64 " s", s / 60, s % 60);
	else if (s < 86400)
		snprintf(out, size, "%" PRIu64 " h %" PRIu64 " min", s / 3600,
		    s / 60 % 60);
	else
		snprintf(out, size, "%" PRIu64 " d %" PRIu64 " h", s / 86400,
		    s / 3600 % 24);
}

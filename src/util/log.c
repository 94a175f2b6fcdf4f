/* SPDX-License-Identifier: MIT
 *
 * A line is put together in one block of fixed size and leaves in one write,
 * so lines of several threads never mix. The format text is taken apart at
 * its spaces into pairs; each value is made first and escaped as a whole,
 * whatever conversions it has. A pair that does not fit is left out, and the
 * line says so.
 */
#include "util/log.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "util/text.h"

#define LOG_LINE_MAX 8192
#define LOG_VALUE_MAX 1024
/* What the end of a line may need: the remark that pairs are missing. */
#define LOG_END_MAX 16

struct log_line {
	char text[LOG_LINE_MAX];
	size_t len;
	bool is_cut;
	bool is_json;
};

struct log_value {
	char text[LOG_VALUE_MAX];
	size_t len;
	bool is_number;
};

struct log_args {
	va_list list;
};

static _Atomic(enum log_level) log_level = LOG_INFO;
static _Atomic(enum log_format) log_format = LOG_TEXT;
static _Thread_local void (*log_around)(bool before);

void
log_set_level(enum log_level level)
{
	atomic_store_explicit(&log_level, level, memory_order_relaxed);
}

enum log_level
log_get_level(void)
{
	return atomic_load_explicit(&log_level, memory_order_relaxed);
}

void
log_set_format(enum log_format format)
{
	atomic_store_explicit(&log_format, format, memory_order_relaxed);
}

void
log_set_around(void (*around)(bool before))
{
	log_around = around;
}

static void
line_put(struct log_line *line, const char *text, size_t n)
{
	if (line->is_cut || n > LOG_LINE_MAX - LOG_END_MAX - line->len) {
		line->is_cut = true;
		return;
	}
	memcpy(line->text + line->len, text, n);
	line->len += n;
}

static void
line_text(struct log_line *line, const char *text)
{
	line_put(line, text, strlen(text));
}

static void
line_json_byte(struct log_line *line, uint8_t c)
{
	char piece[8];

	if (c == '"' || c == '\\')
		snprintf(piece, sizeof piece, "\\%c", c);
	else if (c < 0x20 || c == 0x7f)
		snprintf(piece, sizeof piece, "\\u%04x", c);
	else
		snprintf(piece, sizeof piece, "%c", c);
	line_text(line, piece);
}

/* UTF-8 stays as it is, without the control characters U+0080 to U+009F, which
 * drive terminals too; anything else is escaped as in a text line. */
static void
line_json(struct log_line *line, const char *s, size_t n)
{
	char escaped[4 * LOG_VALUE_MAX + 1];

	if (!text_is_utf8((const uint8_t *)s, n)) {
		text_escape(s, n, escaped, sizeof escaped);
		s = escaped;
		n = strlen(s);
	}
	line_text(line, "\"");
	for (size_t i = 0; i < n; i++) {
		if ((uint8_t)s[i] == 0xc2 && (uint8_t)s[i + 1] < 0xa0) {
			line_text(line, "\\u00");
			text_hex(s + ++i, 1, escaped);
			line_text(line, escaped);
		} else {
			line_json_byte(line, (uint8_t)s[i]);
		}
	}
	line_text(line, "\"");
}

static bool
needs_quotes(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (s[i] <= ' ' || s[i] > '~' || strchr("\"=\\", s[i]))
			return true;
	}
	return n == 0;
}

static void
line_value(struct log_line *line, const struct log_value *value)
{
	char escaped[4 * LOG_VALUE_MAX + 1];

	if (line->is_json && !value->is_number) {
		line_json(line, value->text, value->len);
		return;
	}
	if (!needs_quotes(value->text, value->len)) {
		line_put(line, value->text, value->len);
		return;
	}
	text_escape(value->text, value->len, escaped, sizeof escaped);
	line_text(line, "\"");
	for (const char *s = escaped; *s; s++) {
		if (*s == '"')
			line_text(line, "\\");
		line_put(line, s, 1);
	}
	line_text(line, "\"");
}

static void
value_put(struct log_value *value, const char *text, size_t n)
{
	const size_t room = sizeof value->text - value->len;

	if (n > room)
		n = room;
	memcpy(value->text + value->len, text, n);
	value->len += n;
}

/* How an integer conversion reads its argument, by the letters behind the %. */
static void
value_number(
    struct log_value *value, const char *letters, struct log_args *args)
{
	char text[32];

	if (strcmp(letters, "d") == 0)
		snprintf(text, sizeof text, "%d", va_arg(args->list, int));
	else if (strcmp(letters, "u") == 0)
		snprintf(text, sizeof text, "%u", va_arg(args->list, unsigned));
	else if (strcmp(letters, "ld") == 0)
		snprintf(text, sizeof text, "%ld", va_arg(args->list, long));
	else if (strcmp(letters, "lu") == 0)
		snprintf(text, sizeof text, "%lu",
		    va_arg(args->list, unsigned long));
	else if (strcmp(letters, "lld") == 0)
		snprintf(
		    text, sizeof text, "%lld", va_arg(args->list, long long));
	else if (strcmp(letters, "llu") == 0)
		snprintf(text, sizeof text, "%llu",
		    va_arg(args->list, unsigned long long));
	else if (strcmp(letters, "zu") == 0)
		snprintf(text, sizeof text, "%zu", va_arg(args->list, size_t));
	else
		assert(false && "a conversion that log_event knows");
	value_put(value, text, strlen(text));
}

/* One conversion; `s` stands behind its %. Returns what follows it. */
static const char *
value_convert(struct log_value *value, const char *s, struct log_args *args)
{
	char letters[4] = {0};
	const char *text;
	char c;

	for (size_t i = 0; i < sizeof letters - 1; i++) {
		letters[i] = *s;
		if (*s == '\0' || strchr("sduc%", *s++))
			break;
	}
	if (strcmp(letters, "s") == 0) {
		text = va_arg(args->list, const char *);
		text = text ? text : "-";
		value_put(value, text, strnlen(text, LOG_VALUE_MAX));
	} else if (strcmp(letters, "c") == 0) {
		c = (char)va_arg(args->list, int);
		value_put(value, &c, 1);
	} else if (strcmp(letters, "%") == 0) {
		value_put(value, "%", 1);
	} else {
		value->is_number = value->len == 0 && (*s == '\0' || *s == ' ');
		value_number(value, letters, args);
	}
	return s;
}

/* One pair of the format; returns what follows it. */
static const char *
line_pair(struct log_line *line, const char *s, struct log_args *args)
{
	const size_t before = line->len;
	const size_t key_len = strcspn(s, "= ");
	struct log_value value = {.len = 0};

	assert(key_len > 0 && s[key_len] == '=');
	if (line->is_json) {
		line_text(line, ",");
		line_json(line, s, key_len);
		line_text(line, ":");
	} else {
		line_text(line, " ");
		line_put(line, s, key_len + 1);
	}
	s += key_len + 1;
	while (*s && *s != ' ') {
		if (*s == '%')
			s = value_convert(&value, s + 1, args);
		else
			value_put(&value, s++, 1);
	}
	line_value(line, &value);
	if (line->is_cut)
		line->len = before;
	return s;
}

static void
line_start(struct log_line *line, enum log_level level, const char *message)
{
	static const char *const name[] = {
	    [LOG_ERROR] = "error",
	    [LOG_WARN] = "warn",
	    [LOG_INFO] = "info",
	    [LOG_DEBUG] = "debug",
	};
	struct timespec now;
	struct tm utc;
	char time_text[32];
	char head[96];

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	strftime(time_text, sizeof time_text, "%Y-%m-%dT%H:%M:%S", &utc);
	snprintf(head, sizeof head,
	    line->is_json ? "{\"time\":\"%s.%03ldZ\",\"level\":\"%s\","
	                    "\"message\":"
	                  : "%s.%03ldZ %-5s ",
	    time_text, now.tv_nsec / 1000000, name[level]);
	line_text(line, head);
	if (line->is_json)
		line_json(line, message, strnlen(message, LOG_VALUE_MAX));
	else
		line_text(line, message);
}

static void
line_end(struct log_line *line)
{
	const char *end = line->is_json ? "}\n" : "\n";

	if (line->is_cut)
		end = line->is_json ? ",\"cut\":true}\n" : " cut=true\n";
	memcpy(line->text + line->len, end, strlen(end));
	line->len += strlen(end);
}

/* Where the log cannot be written there is nowhere to say so. */
static void
line_write(const struct log_line *line)
{
	ssize_t n;

	do {
		n = write(STDERR_FILENO, line->text, line->len);
	} while (n < 0 && errno == EINTR);
}

void
log_event(enum log_level level, const char *message, const char *format, ...)
{
	const int saved = errno;
	struct log_line line;
	struct log_args args;

	if (level > log_get_level())
		return;
	line.len = 0;
	line.is_cut = false;
	line.is_json =
	    atomic_load_explicit(&log_format, memory_order_relaxed) == LOG_JSON;
	line_start(&line, level, message);
	va_start(args.list, format);
	while (format && *format && !line.is_cut) {
		format += *format == ' ';
		format = line_pair(&line, format, &args);
	}
	va_end(args.list);
	line_end(&line);
	if (log_around)
		log_around(true);
	line_write(&line);
	if (log_around)
		log_around(false);
	errno = saved;
}

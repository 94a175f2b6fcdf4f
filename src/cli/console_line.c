/* SPDX-License-Identifier: MIT
 *
 * Splitting a line into words. Each word is written into the struct's own
 * text, which can only be shorter than the line with a NUL for each blank.
 */
#include "cli/console_line.h"

#include "util/err.h"

struct splitter {
	const char *text;
	size_t n;
	size_t at;
	struct console_line *line;
	size_t used;
};

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static void
put(struct splitter *s, char c)
{
	s->line->text[s->used++] = c;
}

/* Behind the opening quote; stops behind the closing one. */
static bool
take_quoted(struct splitter *s, char quote, struct err *e)
{
	const size_t column = s->at;

	while (s->at < s->n && s->text[s->at] != quote) {
		const char next = s->at + 1 < s->n ? s->text[s->at + 1] : '\0';

		if (quote == '"' && s->text[s->at] == '\\' &&
		    (next == '"' || next == '\\'))
			s->at++;
		put(s, s->text[s->at++]);
	}
	if (s->at == s->n)
		return err_set(e, ERR_USAGE,
		    "the %c at column %zu is not closed", quote, column);
	s->at++;
	return true;
}

static bool
take_word(struct splitter *s, struct err *e)
{
	while (s->at < s->n && !is_blank(s->text[s->at])) {
		const char c = s->text[s->at++];

		if (c == '"' || c == '\'') {
			if (!take_quoted(s, c, e))
				return false;
		} else if (c == '\\') {
			if (s->at == s->n)
				return err_set(e, ERR_USAGE,
				    "nothing follows the backslash at column "
				    "%zu",
				    s->at);
			put(s, s->text[s->at++]);
		} else {
			put(s, c);
		}
	}
	put(s, '\0');
	return true;
}

static bool
check(const char *text, size_t n, struct err *e)
{
	if (n > CONSOLE_LINE_MAX)
		return err_set(e, ERR_USAGE, "the line is longer than %d bytes",
		    CONSOLE_LINE_MAX);
	for (size_t i = 0; i < n; i++) {
		const unsigned char c = (unsigned char)text[i];

		if ((c < 0x20 && c != '\t') || c == 0x7f)
			return err_set(e, ERR_USAGE,
			    "a control byte stands at column %zu", i + 1);
	}
	return true;
}

bool
console_line_parse(
    struct console_line *line, const char *text, size_t n, struct err *e)
{
	struct splitter s = {.text = text, .n = n, .line = line};

	line->n = 0;
	line->words[0] = NULL;
	if (!check(text, n, e))
		return false;
	for (;;) {
		while (s.at < n && is_blank(text[s.at]))
			s.at++;
		if (s.at == n || text[s.at] == '#')
			break;
		if (line->n == CONSOLE_LINE_WORDS)
			return err_set(e, ERR_USAGE,
			    "the line has more than %d words",
			    CONSOLE_LINE_WORDS);
		char *const word = line->text + s.used;
		if (!take_word(&s, e))
			return false;
		line->words[line->n++] = word;
	}
	line->words[line->n] = NULL;
	return true;
}

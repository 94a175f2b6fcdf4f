/* SPDX-License-Identifier: MIT
 *
 * One event, one line, to standard error: time, level, message, then key=value
 * pairs (or the same as one JSON object). Secrets and payload never come here;
 * values are escaped, so bytes from a peer cannot forge a line or drive a
 * terminal. The level and format are the only global state of the program.
 * Thread-safe: each line is one write(2).
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum log_level {
	LOG_ERROR, /* a person must act */
	LOG_WARN,  /* something failed that may heal by itself */
	LOG_INFO,  /* the fate of a connection, starts, stops, state changes */
	LOG_DEBUG, /* what happens inside, each line with an id */
};

enum log_format { LOG_TEXT, LOG_JSON };

/* Default: LOG_INFO, LOG_TEXT. */
void log_set_level(enum log_level level);
enum log_level log_get_level(void);
void log_set_format(enum log_format format);

/* A hook that runs before and after a line is written, so that a console can
 * take its prompt away and put it back; NULL removes it. Called only on the
 * thread that set it. */
void log_set_around(void (*around)(bool before));

/* Writes an event: `message` is a fixed short phrase ("tunnel open"), then
 * pairs of key and value formatted by `format`, each pair "key=%s" separated
 * by one space, e.g.
 *     log_event(LOG_INFO, "connection closed", "id=%s user=%s up=%llu", ...);
 * A value printed by %s is escaped and quoted where needed; the formats allowed
 * are %s %d %u %ld %lu %lld %llu %zu %c. `format` may be NULL: no pairs. */
void log_event(enum log_level level, const char *message, const char *format,
    ...) __attribute__((format(printf, 3, 4)));

#define log_error(...) log_event(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_event(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_event(LOG_INFO, __VA_ARGS__)
#define log_debug(...)                                                         \
	do {                                                                   \
		if (log_get_level() >= LOG_DEBUG)                              \
			log_event(LOG_DEBUG, __VA_ARGS__);                     \
	} while (0)

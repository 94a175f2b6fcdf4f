/* SPDX-License-Identifier: MIT
 *
 * Any bytes as a line of the console: the words lie in the struct, are ended,
 * and are together no longer than the line.
 */
#include "cli/console_line.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct console_line line;
	size_t total = 0;

	if (!console_line_parse(&line, (const char *)data, size, NULL))
		return 0;
	for (size_t i = 0; i < line.n; i++) {
		const size_t room =
		    (size_t)(line.text + sizeof line.text - line.words[i]);

		if (memchr(line.words[i], '\0', room) == NULL)
			abort();
		total += strlen(line.words[i]);
	}
	if (total > size || line.words[line.n] != NULL)
		abort();
	return 0;
}

#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Each header compiles alone: it names or includes all that it uses.
set -u
cd "$(dirname "$0")/../src" || exit 2
bad=0
for header in */*.h; do
	printf '#include "%s"\n' "$header" |
		${CC:-cc} -std=gnu11 -D_GNU_SOURCE -I. -Wall -Wextra -Werror \
			-fsyntax-only -x c - || {
		printf '%s does not compile alone\n' "$header"
		bad=1
	}
done
exit $bad

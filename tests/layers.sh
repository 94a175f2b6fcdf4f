#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The law of the layers: includes go down only, folders on one floor do not
# know each other, each library has one door. Prints each offence.
set -u
cd "$(dirname "$0")/../src" || exit 2
bad=0

offence() {
	printf '%s\n' "$1"
	bad=$((bad + 1))
}

# layer: the layers it may include besides itself
declare -A may=(
	[util]=""
	[net]="util"
	[ws]="net util"
	[hc]="ws net util"
	[session]="net util"
	[mux]="net util"
	[ends]="net util"
	[tunnel]="hc ws session mux ends net util"
	[relay]="ws net util"
	[cli]="tunnel relay hc ws session mux ends net util"
)

for layer in "${!may[@]}"; do
	[ -d "$layer" ] || continue
	while IFS=: read -r file line text; do
		to=${text#*\"}
		to=${to%%\"*}
		folder=${to%%/*}
		[ "$folder" = "$layer" ] && continue
		if [ "$layer" = relay ] && [ "$folder" = hc ]; then
			case $to in
			hc/hc_token.h | hc/hc_message.h | hc/hc_url.h) continue ;;
			esac
		fi
		case " ${may[$layer]} " in
		*" $folder "*) ;;
		*) offence "$file:$line: $layer may not include $to" ;;
		esac
	done < <(grep -rnE '^#include "' "$layer" --include='*.[ch]')
done

# door HEADER-PATTERN ALLOWED-PATTERN: who may open it
door() {
	local hit
	while IFS= read -r hit; do
		[[ ${hit%%:*} =~ $2 ]] || offence "$hit: a door not for this file"
	done < <(grep -rnE "^#include <($1)" . --include='*.[ch]' | sed 's|^\./||')
}
door 'uv\.h' '^net/'
door 'openssl/' '^(net/tls[a-z_]*|util/crypt)\.c$'
door 'intel-ipsec-mb' '^net/tls[a-z_]*\.c$'
door 'nghttp2/' '^mux/'
door 'curl/' '^net/dial\.c$'
door 'llhttp' '^net/http1\.c$'
door 'jansson' '^(hc/hc_message\.c|relay/.*|util/log\.c)$'
door 'cyaml/' '^cli/config\.c$'
door 'nats' '^relay/cluster\.c$'
door 'editline/|histedit' '^cli/console\.c$'
door 'crypt\.h' '^ends/'
door 'systemd/' '^cli/'
door 'seccomp\.h|linux/landlock\.h' '^cli/sandbox\.c$'

# Every file says its licence in its first lines.
while IFS= read -r file; do
	head -n 3 "$file" | grep -q 'SPDX-License-Identifier: MIT' ||
		offence "$file: no SPDX line"
done < <(find . ../tests ../fuzz ../bench ../script ../man -type f \
	\( -name '*.[ch]' -o -name '*.py' -o -name '*.sh' -o -name '*.js' \
	-o -name meson.build -o -name '*.[1-8]' -o -path '../script/*' \) \
	-not -path '*/node_modules/*' -not -path '*/seeds/*')

# No x_close may free at once: living things go through the graveyard, so no
# uv type leaves net.
while IFS= read -r hit; do
	[[ $hit =~ ^net/ ]] || offence "$hit: a uv type outside net"
done < <(grep -rnE '\buv_[a-z_]+_t\b' . --include='*.[ch]' | sed 's|^\./||')

[ $bad = 0 ] || {
	printf '%d offences\n' $bad
	exit 1
}

# SPDX-License-Identifier: MIT
# Shared by the scripts: where things are, and installing what is missing.
# shellcheck shell=bash

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BUILD=${HYCO_BUILD:-$ROOT/build}
export ROOT BUILD

# What a build needs, what the demo needs besides, what the tests need.
BUILD_PACKAGES=(gcc libc6-dev meson ninja-build pkg-config libuv1-dev libssl-dev
	libcurl4-openssl-dev libnghttp2-dev libjansson-dev libcyaml-dev libyaml-dev libcrypt-dev
	libedit-dev libsystemd-dev libseccomp-dev)
# shellcheck disable=SC2034 # used by the scripts that source this file
DEMO_PACKAGES=(postgresql openssl)
# shellcheck disable=SC2034
TEST_PACKAGES=(libcmocka-dev python3 python3-pytest openssh-client
	openssh-server curl netcat-openbsd git mandoc tmux procps iproute2
	openssl redis-server rsync)
# shellcheck disable=SC2034
CHECK_PACKAGES=(clang clang-format clang-tidy shellcheck)

say() {
	printf '%s\n' "$*"
}

die() {
	printf '%s: %s\n' "$(basename "$0")" "$*" >&2
	exit 1
}

have_package() {
	[ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		die "needs root (or sudo) to run: $*"
	fi
}

# Installs those of the Debian packages that are not there.
need() {
	local missing=() p
	for p in "$@"; do
		have_package "$p" || missing+=("$p")
	done
	[ ${#missing[@]} = 0 ] && return 0
	command -v apt-get >/dev/null ||
		die "not a Debian system; install by hand: ${missing[*]}"
	say "installing: ${missing[*]}"
	if [ -z "${APT_UPDATED:-}" ]; then
		as_root apt-get -qq update >/dev/null
		APT_UPDATED=1
	fi
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y \
		--no-install-recommends -o Dpkg::Use-Pty=0 "${missing[@]}" \
		>"${TMPDIR:-/tmp}/hyco-apt.$$" 2>&1 || {
		tail -n 20 "${TMPDIR:-/tmp}/hyco-apt.$$" >&2
		die "could not install: ${missing[*]}"
	}
	rm -f "${TMPDIR:-/tmp}/hyco-apt.$$"
}

# A package that not every release or architecture has.
need_if_known() {
	local p
	for p in "$@"; do
		have_package "$p" || {
			apt-cache show "$p" >/dev/null 2>&1 && need "$p"
		} || true
	done
}

need_build() {
	need "${BUILD_PACKAGES[@]}"
	# llhttp is a library of its own from Debian 13 on; Debian 12 has its
	# sources in node-llhttp.
	pkg-config --exists libllhttp 2>/dev/null || [ -e /usr/share/llhttp/api.c ] || {
		need_if_known libllhttp-dev
		pkg-config --exists libllhttp 2>/dev/null || need node-llhttp
	}
	need_if_known libipsec-mb-dev
}

# Node.js and npm from wherever they are already, else from Debian.
need_node() {
	command -v node >/dev/null || need nodejs
	command -v npm >/dev/null || need npm
}

# build_hyco DIR [meson options]: configures once, builds, quiet when well.
build_hyco() {
	local dir=$1
	shift
	if [ ! -e "$dir/build.ninja" ]; then
		meson setup "$@" "$dir" "$ROOT" >"$dir.log" 2>&1 || {
			tail -n 30 "$dir.log" >&2
			die "could not configure $dir"
		}
		rm -f "$dir.log"
	fi
	ninja -C "$dir" >"$dir/build.log" 2>&1 || {
		tail -n 60 "$dir/build.log" >&2
		die "could not build $dir"
	}
}

# The real clients of tests/interop, by name from npm. hyco-ws depends on a
# placeholder package that cannot be had, so it is unpacked rather than
# installed; what it really loads is in package.json.
HYCO_WS_VERSION=1.0.5
install_interop() {
	local dir=$ROOT/tests/interop
	local archive=$dir/hyco-ws-$HYCO_WS_VERSION.tgz
	local unpacked=$dir/node_modules/hyco-ws

	[ ! -e "$unpacked/index.js" ] || return 0
	npm install --prefix "$dir" --no-audit --no-fund --loglevel=error ||
		die "could not install the real clients from npm"
	npm pack --silent --pack-destination "$dir" \
		"hyco-ws@$HYCO_WS_VERSION" >/dev/null ||
		die "could not fetch hyco-ws from npm"
	mkdir -p "$unpacked"
	tar -xzf "$archive" --strip-components=1 -C "$unpacked"
	rm -f "$archive"
}

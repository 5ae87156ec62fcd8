#!/bin/sh
# deps.sh: installs what the build and its tests need, where that is possible; says it otherwise. Called by make deps.
packages='gcc make libc6-dev libjansson-dev libpcre2-dev libssl-dev libarchive-dev zlib1g-dev libevent-dev libcurl4-openssl-dev
	liburing-dev libedit-dev python3 python3-venv python3-yaml curl jq perl gnuplot-nox valgrind strace'

if ! command -v dpkg-query >/dev/null 2>&1; then
	# Not a Debian system: the compiler itself is the test.
	cc=${CC:-cc}
	for h in jansson.h pcre2.h openssl/sha.h archive.h zlib.h event2/event.h curl/curl.h; do
		echo "#define PCRE2_CODE_UNIT_WIDTH 8
#include <stddef.h>
#include <$h>" | $cc -x c -fsyntax-only - >/dev/null 2>&1 || missing="$missing <$h>"
	done
	test -z "$missing" && exit 0
	echo "ktools: not a Debian system, and these headers are missing:$missing" >&2
	echo "ktools: please install what belongs to the Debian packages" $packages >&2
	exit 1
fi

for p in $packages; do
	case $(dpkg-query -W -f='${Status}' "$p" 2>/dev/null) in
	*' installed') ;;
	*) missing="$missing $p" ;;
	esac
done
test -z "$missing" && exit 0
if test "$(id -u)" = 0; then
	sudo=
elif sudo -n true 2>/dev/null; then
	sudo='sudo -n'
else
	echo "ktools: these packages are missing and this user may not install them: apt-get install$missing" >&2
	# What only the tests want, and what a build may lack, is no reason to stop it.
	for p in $missing; do
		case $p in liburing-dev|libedit-dev) ;; gcc|make|*-dev) exit 1 ;; esac
	done
	exit 0
fi
echo "ktools: installing$missing" >&2
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y --no-install-recommends $missing >&2 && exit 0
$sudo apt-get update >&2 && DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y --no-install-recommends $missing >&2

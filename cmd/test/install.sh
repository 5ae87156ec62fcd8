#!/bin/sh
# install.sh: make install and uninstall, of the tools that are there already, below a folder whose name has a blank; make dist where there is no git;
# flags of a packager that would change results; another C library.
. "$(dirname "$0")/lib.sh"
mkdir -p "$T/b/bin" && cp "$BIN"/k* "$T/b/bin"
tools=$(cd "$T/b/bin" && ls)
# shellcheck disable=SC2046
check "make install" "${MAKE:-make}" -s B="$T/b" -o all $(printf " -o $T/b/bin/%s" $tools) prefix=/usr DESTDIR="$T/to here" install
cd "$T/to here/usr" 2> /dev/null || { fail "make install" "nothing at the place"; finish; }
for t in $tools; do
	for f in bin/$t share/man/man1/$t.1 share/bash-completion/completions/$t share/zsh/site-functions/_$t share/fish/vendor_completions.d/$t.fish; do
		[ -s "$f" ] && ok "$f" || fail "$f" "is not there, or is empty"
	done
	check "$t runs there" "./bin/$t" --version
done
[ -s share/ktools/release.mk ] && [ -s share/ktools/ci/README.md ] && [ -x share/ktools/parts-slurm.sh ] && ok "share/ktools" || fail "share/ktools" "$(ls -lR share/ktools)"
cd "$OLDPWD" || exit
# uninstall leaves no file of install's, and what is not.
mkdir -p "$T/to here/usr/lib/ktools"; touch "$T/to here/usr/lib/ktools/ktools-cuda.so" "$T/to here/usr/bin/other" "$T/to here/usr/share/ktools/ci/mine"
check "make uninstall" "${MAKE:-make}" -s B="$T/none" prefix=/usr DESTDIR="$T/to here" uninstall
left=$(cd "$T/to here/usr" && find . -type f | sort | tr '\n' ' ')
[ "$left" = "./bin/other ./share/ktools/ci/mine " ] && ok "what it leaves" || fail "what it leaves" "$left"
rm "$T/to here/usr/share/ktools/ci/mine"
check "again" "${MAKE:-make}" -s B="$T/none" prefix=/usr DESTDIR="$T/to here" uninstall
[ ! -e "$T/to here/usr/share/ktools" ] && [ ! -e "$T/to here/usr/lib/ktools" ] && ok "its folders" || fail "its folders" "$(find "$T/to here")"
mkdir "$T/src" && cp -r Makefile kernels "$T/src"
exits "make dist without git" 2 "${MAKE:-make}" -s -C "$T/src" B="$T/d" dist
grep -q 'no git checkout' "$T/.err" && [ ! -e "$T/d" ] && ok "says so, and packs nothing" || fail "make dist without git" "$(cat "$T/.err"; ls "$T/d")"
# CC may be two words: ccache gcc.
# shellcheck disable=SC2086
compiles() { echo '#include "libcore/base.h"' | ${CC:-cc} -std=gnu11 -I. "$@" -x c -fsyntax-only -; }
check "-O3" compiles -O3
for f in -ffast-math -Ofast -ffinite-math-only; do
	exits "$f is refused" 1 compiles $f
	grep -q 'build without -ffast-math' "$T/.err" && ok "$f: the sentence" || fail "$f: the sentence" "$(head -n 3 "$T/.err")"
done
# The flags of Debian's packages: a format that is no literal is an error.
sources() { ls libcore/*.c libcore/qtype/*.c libcore/arch/*.c formats/*.c evals/*.c kernels/*.c kernels/cpu/*.c kernels/ref/*.c kernels/cuda/*.c cmd/*.c cmd/*/*.c; }
# shellcheck disable=SC2086
strict() { sources | xargs -P "$(nproc)" -n 16 ${CC:-cc} -std=gnu11 -I. -I"${B:-build}/gen" -Wformat -Werror=format-security -fsyntax-only; }
check "-Werror=format-security" strict
if command -v musl-gcc > /dev/null; then
	printf '#include "libcore/base.h"\n#include <errno.h>\n#include <stdio.h>\n#include "libcore/err.h"\nint main(void) { struct k_err e; errno = ENOENT; return k_err_io(&e, "it") == K_EIO && puts(e.msg) < 0; }\n' > "$T/m.c"
	check "musl" musl-gcc -std=gnu11 -Wall -Wextra -Werror -Wl,--gc-sections -ffunction-sections -I. -static "$T/m.c" libcore/err.c -o "$T/m"
	[ "$("$T/m")" = "it: No such file or directory" ] && ok "musl's texts of errors" || fail "musl's texts of errors" "$("$T/m" 2>&1)"
else
	skip musl "no musl-gcc"
fi
finish

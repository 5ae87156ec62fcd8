#!/bin/bash
# hostile.sh: the list of attacks on readers, where testdata/bad/ has no file: inputs that are too large to keep, made by
# hostile_make.py. Each ends with the right exit status and a sentence, without a signal, without a file, soon, and in little memory
# (data are limited, so that an allocation by a declared size fails). testdata/bad/README.md says which test covers which line.
. "$(dirname "$0")/lib.sh"
set -o pipefail
command -v python3 > /dev/null || { skip hostile "no python3"; finish; }
case ${B:-build} in *asan*|*tsan*|*oom*) limit=unlimited seconds=120 ;; *) limit=524288 seconds=20 ;; esac
export TMPDIR=$T PYTHONDONTWRITEBYTECODE=1
within() { (ulimit -c 0; [ $limit = unlimited ] || ulimit -d $limit; exec timeout $seconds "$@"); }
# judge NAME STATUSES COMMAND...: standard input is the caller's
judge() {
	local name=$1 want=$2; shift 2
	"$@" > "$T/.out" 2> "$T/.err"
	local got=$?
	case " $want " in
	*" $got "*)
		if [ $got -ne 0 ] && ! tail -n 1 "$T/.err" | grep -q '^k[a-z]*: '; then fail "$name" "no sentence"
		elif LC_ALL=C grep -q $'[\x01-\x08\x0b-\x1f\x7f]' "$T/.err" "$T/.out"; then fail "$name" "control characters are printed"
		else ok "$name"; fi ;;
	*) fail "$name" "exit $got, wanted $want: $(tail -n 1 "$T/.err")" ;;
	esac
}
python3 "$(dirname "$0")/hostile_make.py" "$T/in" > "$T/list" || { fail make "no inputs"; finish; }
while IFS=$'\t' read -r name what want item; do
	from=$T/in/$name
	case $name in
	plan/*)         # sound, and larger than any disk: only heads are read
		judge "$item kls: $what" 0 within kls "$from" < /dev/null
		judge "$item kconvert --plan: $what" "$want" within kconvert --plan "$from" < /dev/null
		continue ;;
	tar/*|pack/*) judge "$item pipe: $what" "$want" within kconvert - -o "$T/out" < "$from" ;;
	*) judge "$item kconvert: $what" "$want" within kconvert "$from" -o "$T/out" < /dev/null ;;
	esac
	judge "$item kls: $what" "$want" within kls --verify "$from" < /dev/null
	case " $want " in *' 0 '*) rm -f "$T/out" ;; esac
	for f in "$T"/out*; do if [ -e "$f" ]; then fail "$item $what" "$f is left"; rm -rf "$f"; fi; done
done < "$T/list"
# A decimal comma is nobody's business: numbers are read and written the same under every locale.
if [ -f /usr/share/i18n/locales/de_DE ] && localedef -i de_DE -f UTF-8 "$T/de_DE.UTF-8" > /dev/null 2>&1; then
	german() { env LOCPATH="$T" LC_ALL=de_DE.UTF-8 "$@"; }
	german kconvert testdata/tiny/kimi-linear-tiny > "$T/a" && german kls --head "$T/a" > "$T/b"
	kconvert testdata/tiny/kimi-linear-tiny > "$T/c" && kls --head "$T/c" > "$T/d"
	same "text: locale, container" "$T/a" "$T/c"
	same "text: locale, head" "$T/b" "$T/d"
else
	skip "text: locale" "no de_DE"
fi
finish

#!/bin/sh
# cli.sh: what every tool has in common: version, help in all forms, unknown options, exit statuses, the last line, closed and full
# outputs, signals.
. "$(dirname "$0")/lib.sh"

# last_line NAME TOOL PATTERN: the last line on standard error is the tool's sentence
last_line() { if tail -n 1 "$T/.err" | grep -q "^$2: .*$3"; then ok "$1"; else fail "$1" "$(tail -n 1 "$T/.err")"; fi; }
has() { if grep -q -e "$2" "$3"; then ok "$1"; else fail "$1" "no '$2'"; fi; }

for tool in "$BIN"/k*; do
	t=${tool##*/}
	exits "$t --version" 0 "$t" --version
	if head -n 1 "$T/.out" | grep -Eq "^$t [0-9]+\.[0-9]+\.[0-9]+ \(ktools, [^ ]+\)$" && [ "$(wc -l < "$T/.out")" -eq 2 ]; then
		ok "$t version lines"
	else
		fail "$t version lines" "$(cat "$T/.out")"
	fi
	for part in levels backends jansson PCRE2 OpenSSL; do has "$t version says $part" "$part" "$T/.out"; done

	exits "$t --help=json" 0 "$t" --help=json
	cp "$T/.out" "$T/json"
	names=$(grep -o '{"name": "[^"]*"' "$T/json" | cut -d'"' -f4)
	for o in help version output json table verbose quiet log threads progress cpu max-memory; do
		case " $(echo $names) " in *" $o "*) ok "$t has --$o" ;; *) fail "$t has --$o" "not in its table" ;; esac
	done
	for form in '' =man =bash =zsh =fish; do
		exits "$t --help$form" 0 "$t" "--help$form"
		missing=
		for o in $names; do grep -q -e "$o" "$T/.out" || missing="$missing $o"; done
		if [ -z "$missing" ]; then ok "$t --help$form is complete"; else fail "$t --help$form" "lacks$missing"; fi
		cp "$T/.out" "$T/page"
		case $form in
		=bash) check "$t bash completion parses" bash -n "$T/page" ;;
		=man) if command -v mandoc > /dev/null; then check "$t mdoc" sh -c "mandoc -Tlint -Wwarning < \"$T/page\""; fi ;;
		esac
	done

	exits "$t unknown option" 2 "$t" --outptu x
	last_line "$t nearest name" "$t" "'--outptu'.*'--output'"
	exits "$t bad number" 2 "$t" --threads=many
	last_line "$t bad number said" "$t" "many"
	exits "$t unknown level" 2 "$t" --cpu=nonsense .
	exits "$t environment" 2 env "K_$(echo "$t" | tr a-z A-Z)_THREADS=many" "$t" .
	last_line "$t variable named" "$t" "K_$(echo "$t" | tr a-z A-Z)_THREADS"
	exits "$t --cpu=?" 0 "$t" '--cpu=?'
	has "$t lists levels" '"level"' "$T/.out"
	exits "$t --cpu=? --table" 0 "$t" '--cpu=?' --table
	if [ -c /dev/full ]; then
		"$t" --version > /dev/full 2> "$T/.err"
		if [ $? -eq 5 ]; then ok "$t full output"; else fail "$t full output" "wanted exit 5"; fi
	fi
	"$t" --version >&- 2> "$T/.err"
	if [ $? -eq 5 ]; then ok "$t closed output"; else fail "$t closed output" "wanted exit 5"; fi
	case " $(echo $names) " in
	*' device '*)
		exits "$t --device=?" 0 "$t" '--device=?'
		has "$t lists cpu" '"cpu"' "$T/.out"
		exits "$t unknown device" 6 "$t" --device=abacus .
		case $(cat "$T/.out" "$T/.err") in *"'abacus'"*) ok "$t says which" ;; *) fail "$t unknown device" "$(cat "$T/.err")" ;; esac ;;
	esac
done

# A filter that waits for its pipe ends on the first signal, with its number and without a file.
for t in kconvert kquant; do
	[ -x "$BIN/$t" ] || continue
	mkfifo "$T/fifo.$t"
	"$t" - -o "$T/out.$t" < "$T/fifo.$t" 2> "$T/.err" &
	pid=$!
	exec 9> "$T/fifo.$t"
	sleep 0.5
	kill -TERM "$pid"
	wait "$pid"
	status=$?
	exec 9>&-
	if [ $status -eq 143 ]; then ok "$t SIGTERM"; else fail "$t SIGTERM" "exit $status"; fi
	last_line "$t says that it was stopped" "$t" "signal"
	if ls "$T/out.$t"* > /dev/null 2>&1; then fail "$t leaves a file" "$(ls "$T")"; else ok "$t leaves no file"; fi
done
# What is said about a model must not take its place.
kconvert testdata/tiny/llama-tiny -o "$T/kept.kmf" && cp "$T/kept.kmf" "$T/copy.kmf"
exits 'kls -o onto its input' 2 kls "$T/kept.kmf" -o "$T/kept.kmf"
exits 'a certificate onto the input' 2 kconvert --certificate "$T/kept.kmf" "$T/kept.kmf" -o "$T/x.kmf"
exits 'a ledger onto the input' 2 kquant --rule dense=i8row --ledger "$T/kept.kmf" "$T/kept.kmf" -o "$T/x.kmf"
same 'the input is as it was' "$T/kept.kmf" "$T/copy.kmf"
finish

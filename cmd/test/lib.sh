# lib.sh: sourced by every test script of this folder. BIN: the tools; T: a fresh folder, removed at the end; ok, fail, skip count;
# finish prints "N passed, N failed, N skipped" and ends with 1 when something failed. Scripts run from the root of the tree.
BIN=$(cd "${K_BIN:-build/bin}" && pwd)
PATH=$BIN:$PATH
export PYTHONDONTWRITEBYTECODE=1     # the clients of the tests import each other
PYTHONPATH=$(cd "$(dirname "$0")" && pwd)${PYTHONPATH:+:$PYTHONPATH}  # and what is no file of its own imports them too
export PYTHONPATH
T=$(mktemp -d "${TMPDIR:-/tmp}/ktools-test.XXXXXX")
servers=
trap 'for p in $servers; do { kill -9 $p; wait $p; } 2> /dev/null; done; rm -rf "$T"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
n_ok=0 n_fail=0 n_skip=0
# models: from here on the tools that know models of machines (cudasim, avx512sim), where the build has them
models() { PATH=${BIN%/*}/models:$PATH; }
ok() { n_ok=$((n_ok + 1)); if [ -n "${K_VERBOSE:-}" ]; then echo "ok: $*"; fi; }
fail() { n_fail=$((n_fail + 1)); name=$1; shift; echo "FAIL $(basename "$0"): $name: $*"; }
skip() { n_skip=$((n_skip + 1)); name=$1; shift; echo "skip $(basename "$0"): $name: $*"; }
# check NAME COMMAND...: passes when the command's status is 0
check() { name=$1; shift; if "$@" > "$T/.out" 2> "$T/.err"; then ok "$name"; else fail "$name" "exit $?: $(tail -n 1 "$T/.err")"; fi; }
# exits NAME STATUS COMMAND...: passes when the status is right; standard error is in $T/.err, standard output in $T/.out
exits() {
	name=$1 want=$2; shift 2
	"$@" > "$T/.out" 2> "$T/.err"
	got=$?
	if [ $got -eq "$want" ]; then ok "$name"; else fail "$name" "exit $got, wanted $want: $(tail -n 1 "$T/.err")"; fi
}
# same NAME FILE FILE
same() { if cmp -s "$2" "$3"; then ok "$1"; else fail "$1" "$2 and $3 differ"; fi; }
# start NAME OPTION... MODEL: a kserve; its pid is in $pid, its port (if it has one) in $port, what it says in $T/NAME.err. Killed at the
# end of the script, if it still runs.
start() {
	start_name=$1 start_tries=0; shift
	rm -f "$T/$start_name.port"
	kserve --port-file "$T/$start_name.port" "$@" 2> "$T/$start_name.err" &
	pid=$! servers="$servers $!"
	until [ -s "$T/$start_name.port" ]; do
		start_tries=$((start_tries + 1))
		if [ $start_tries -gt 600 ] || ! kill -0 $pid 2> /dev/null; then
			fail "$start_name" "kserve does not start: $(tail -n 1 "$T/$start_name.err")"; return 1
		fi
		sleep 0.1
	done
	port=$(cat "$T/$start_name.port")
}
# stop NAME: SIGTERM to the last one that was started, and it must end with 0
stop() {
	kill -TERM $pid
	wait $pid
	stop_status=$?
	if [ $stop_status -eq 0 ]; then ok "$1: SIGTERM"; else fail "$1: SIGTERM" "exit $stop_status: $(tail -n 1 "$T/$1.err")"; fi
}
# client NAME COMMAND...: which says "ok WHAT" or what is wrong, a line each ("# ..." is for people); nothing at all is wrong too
client() {
	client_name=$1 client_ok=$n_ok client_fail=$n_fail; shift
	"$@" > "$T/.said" 2>&1
	while read -r client_line; do
		case $client_line in
		"ok "*) ok "$client_name: ${client_line#ok }" ;;
		"#"*) ;;
		*) fail "$client_name" "$client_line" ;;
		esac
	done < "$T/.said"
	[ $n_ok -gt $client_ok ] || [ $n_fail -gt $client_fail ] || fail "$client_name" "says nothing"
}
finish() { echo "$n_ok passed, $n_fail failed, $n_skip skipped"; [ $n_fail -eq 0 ]; exit $?; }

# lib.sh: sourced by every test script of this folder. BIN: the tools; T: a fresh folder, removed at the end; ok, fail, skip count;
# finish prints "N passed, N failed, N skipped" and ends with 1 when something failed. Scripts run from the root of the tree.
BIN=$(cd "${K_BIN:-build/bin}" && pwd)
PATH=$BIN:$PATH
T=$(mktemp -d "${TMPDIR:-/tmp}/ktools-test.XXXXXX")
trap 'rm -rf "$T"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
n_ok=0 n_fail=0 n_skip=0
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
finish() { echo "$n_ok passed, $n_fail failed, $n_skip skipped"; [ $n_fail -eq 0 ]; exit $?; }

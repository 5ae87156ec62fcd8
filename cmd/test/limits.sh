#!/bin/bash
# limits.sh: kserve when there is too little: of slots (who waits, for how long, whose turn it is), of room in the queue, of descriptors.
# What is asked over a connection stands in limits_client.py.
. "$(dirname "$0")/lib.sh"
here=$(dirname "$0")
command -v python3 > /dev/null || { echo "skipped: no python3"; exit 77; }
kconvert -q testdata/nano -o "$T/nano.kmf" || { fail setup "nano does not convert"; finish; }
printf 'many many\nfew few\n' > "$T/keys"
# begin NAME OPTION...; ask NAME CHECK...
begin() { start "$1" --listen 127.0.0.1:0 --ctx 4096 --slots 1 "${@:2}" "$T/nano.kmf"; }
ask() { client "$1" python3 "$here/limits_client.py" "$port" "${@:2}"; }

if begin fair --api-key-file "$T/keys"; then ask fair turns; stop fair; fi
if begin queue --api-key-file "$T/keys" --max-queue 8; then ask queue full; stop queue; fi
if begin wait --queue-timeout 1; then ask wait waits_too_long; stop wait; fi
if begin large; then
	ask large large compiling
	python3 -c 'import http.client, json, sys
c = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=60)
c.request("POST", "/v1/completions", json.dumps({"prompt": "word " * 2000000}), {"Content-Type": "application/json"})
open(sys.argv[2], "w")
print(c.getresponse().status)' $port "$T/sent" > "$T/out" & asks=$!
	until [ -e "$T/sent" ] || ! kill -0 $asks 2> /dev/null; do sleep 0.02; done
	stop large
	wait $asks
	if grep -qE '^(400|503)$' "$T/out"; then ok "a large request is answered before the end"; else fail "a large request at the end" "$(cat "$T/out")"; fi
fi
exits "no time to wait" 2 kserve --queue-timeout 0 "$T/nano.kmf"

# Without a tokenizer only ids are possible, and whoever sends text is told so.
if start ids --listen 127.0.0.1:0 testdata/tiny/kimi-linear-groups-tiny; then
	ask ids no_tokenizer
	stop ids
fi

# A limit on open files below that on connections.
if begin files --slots 2; then
	python3 -c 'import resource, sys; resource.prlimit(int(sys.argv[1]), resource.RLIMIT_NOFILE, (40, 40))' $pid
	ask files descriptors
	if [ "$(grep -c 'connections are turned away: .*open files' "$T/files.err")" = 1 ]; then ok "out of descriptors: said once"
	else fail "out of descriptors" "$(tail -n 2 "$T/files.err")"; fi
	stop files
fi
# Too few to begin with: libevent ended the process, with a status that means another thing.
for n in 6 7 8 9 10; do
	( ulimit -n $n; exec timeout 3 kserve --listen 127.0.0.1:0 "$T/nano.kmf" ) 2> "$T/.err"
	case $? in
	5) tail -n 1 "$T/.err" | grep -q '^kserve: .*Too many open files' && continue ;;
	124|127) continue ;;            # it runs; the loader has too few, too
	esac
	fail "a few descriptors" "$n: $(tail -n 1 "$T/.err")"
done

# What the context is that nobody gave: by the memory that is there, files in memory included, or by a container's limit where that is nearer.
machine() {     # machine KIB LIMIT NOW FILES COMMAND...: KIB of memory are available; LIMIT not empty: a container has NOW of LIMIT bytes
	unshare -m sh -c 'here=$PWD; mount -t tmpfs none /sys/fs/cgroup && cd /sys/fs/cgroup || exit 9
		printf "MemTotal: 90000000 kB\nMemFree: 1000 kB\nMemAvailable: %s kB\n" "$1" > meminfo && mount --bind meminfo /proc/meminfo || exit 9
		if [ -n "$2" ]; then echo "$2" > memory.max; echo "$3" > memory.current; printf "anon 1\ninactive_file 1000\nactive_file %s\n" "$(($4 - 1000))" > memory.stat; fi
		shift 4; cd "$here" && exec "$@"' sh "$@" < /dev/null
}
context() {     # context NAME KIB [LIMIT NOW FILES]
	machine "$2" "$3" "$4" "$5" kserve --stdio "$T/nano.kmf" > "$T/.out" 2> "$T/.err" || fail "$1" "exit $?: $(tail -n 1 "$T/.err")"
	sed -n 's/.* context \([0-9]*\) tokens.*/\1/p' "$T/.err"
}
if grep -q '^0::' /proc/self/cgroup && unshare -m sh -c 'mount -t tmpfs none /sys/fs/cgroup && mount --bind /dev/null /proc/meminfo' 2> /dev/null; then
	much=$(context much 9000000) some=$(context some 156250) less=$(context less 146484)
	if [ "$much" -gt "$some" ] && [ "$some" -gt "$less" ]; then ok "a context for the memory that is there"; else fail "a context for the memory that is there" "$much $some $less"; fi
	all="$(context group 9000000 200000000 50000000 10000000) $(context files 9000000 200000000 50000000 1000) $(context none 9000000 max 50000000 1000) $(context wide 156250 400000000 50000000 1000)"
	exits "a model that does not fit" 6 machine 16000 '' '' '' kserve --stdio testdata/nano
	if tail -n 1 "$T/.err" | grep -q 'weights of 23.* are available; as a KMF file'; then ok "which says why"; else fail "which says why" "$(tail -n 1 "$T/.err")"; fi
	exits "with a ceiling" 0 machine 16000 '' '' '' kserve --max-memory 64M --stdio testdata/nano
	exits "that is mapped" 0 machine 16000 '' '' '' kserve --stdio "$T/nano.kmf"
	if [ "$all" = "$some $less $much $some" ]; then ok "a context for a container's limit"; else fail "a context for a container's limit" "$all, wanted $some $less $much $some"; fi
else
	skip "a context for the memory that is there" "no files of the system can be put in place of others"
fi
finish

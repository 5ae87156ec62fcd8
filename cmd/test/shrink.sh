#!/bin/bash
# shrink.sh: a file that shrinks while a tool has it mapped, or while it is read, ends the tool with exit 5 (or 3: it ends early) and a
# sentence that names the file; never with a signal, never with output left.
. "$(dirname "$0")/lib.sh"
kconvert testdata/nano -o "$T/nano.kmf" || { fail setup "nano does not convert"; finish; }
cp "$T/nano.kmf" "$T/s.kmf"
mkfifo "$T/in"
kserve --stdio "$T/s.kmf" < "$T/in" > "$T/out" 2> "$T/.err" &
pid=$!
exec 9> "$T/in"
printf '{"messages":[{"role":"user","content":"Hello"}],"max_tokens":2,"temperature":0}\n' >&9
for i in $(seq 300); do [ -s "$T/out" ] && break; sleep 0.1; done
[ -s "$T/out" ] && ok "an answer before" || fail "an answer before" "$(cat "$T/.err")"
truncate -s 8192 "$T/s.kmf"
printf '{"messages":[{"role":"user","content":"Define wisdom."}],"max_tokens":8,"temperature":0}\n' >&9
exec 9>&-
wait $pid
status=$?
if [ $status -eq 5 ] && tail -n 1 "$T/.err" | grep -q 's\.kmf'; then ok "a mapped file shrinks"; else fail "a mapped file shrinks" "exit $status: $(tail -n 1 "$T/.err")"; fi
# A source that shrinks while it is converted: the reader is held up by a full pipe.
cp -rL testdata/nano "$T/hf" && chmod -R u+w "$T/hf"
mkfifo "$T/pipe"
kconvert "$T/hf" -o - > "$T/pipe" 2> "$T/.err" &
pid=$!
exec 8< "$T/pipe"
head -c 10000 <&8 > /dev/null
for f in "$T"/hf/*.safetensors; do truncate -s 100 "$f"; done
cat <&8 > /dev/null
exec 8<&-
wait $pid
status=$?
case $status in 3|5) ok "a shard shrinks" ;; *) fail "a shard shrinks" "exit $status: $(tail -n 1 "$T/.err")" ;; esac
finish

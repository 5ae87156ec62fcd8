#!/bin/bash
# http.sh: kserve as an HTTP server: what is refused and how, limits, time limits, clients that leave, SIGTERM in each state, TLS, reloads,
# sockets that are handed over. What is sent over a connection stands in http_client.py. K_LONG=1: 10,000 mutated requests.
. "$(dirname "$0")/lib.sh"
here=$(dirname "$0")
command -v python3 > /dev/null || { echo "skipped: no python3"; exit 77; }
kconvert testdata/nano -o "$T/nano.kmf" || { fail setup "nano does not convert"; finish; }

# begin NAME OPTION...: a server with these options
begin() { start "$1" --listen 127.0.0.1:0 --act f32 --ctx 8192 "${@:2}" "$T/nano.kmf"; }
# ask NAME OPTION... CHECK...
ask() { client "$1" python3 "$here/http_client.py" "$port" "${@:2}"; }

if begin plain --slots 2 --slots-route --access-log "$T/access"; then
	ask plain smuggling chunks sizes bodies pipelining forms metrics counted_before_the_end slots leaving
	for ((i = 0; i < 300; i++)); do grep -q 'the model is verified' "$T/plain.err" && break; sleep 0.1; done
	if [ $i -lt 300 ]; then ok "self-test"; else fail "self-test" "says nothing"; fi
	stop plain
	check "access log" python3 - "$T/access" <<'PY'
import json, sys
lines = [json.loads(l) for l in open(sys.argv[1])]
assert len(lines) > 300, len(lines)
done = [l for l in lines if l['route'] == '/chat/completions' and l['status'] == 200]
assert done and all(l['prompt_tokens'] > 0 and l['completion_tokens'] > 0 and l['ttft_ms'] > 0 and l['total_ms'] >= l['ttft_ms'] and l['finish_reason'] for l in done), done[:2]
assert sum(l['status'] == 499 for l in lines) >= 6 and any(l['status'] == 400 for l in lines)
assert 'Hello' not in open(sys.argv[1]).read()
PY
fi

# Clients that take their time.
if begin slow --timeout 3 --slots 2; then
	ask slow --timeout 3 slow no_slots mutations
	stop slow
fi
if begin crowd --max-connections 16; then ask crowd crowd; stop crowd; fi

# Keys: labels, the environment, CORS.
printf 'one alice\ntwo\n' > "$T/keys"
if KSERVE_API_KEY=three,four begin keys --api-key-file "$T/keys" --cors-origins localhost,https://a.example --access-log "$T/keys.log"; then
	ask keys cors
	for key in one two three four five; do curl -s -o /dev/null -w '%{http_code} ' -H "Authorization: Bearer $key" http://127.0.0.1:$port/v1/models; done > "$T/codes"
	labels=$(python3 -c 'import json, sys; print(*[json.loads(l)["key"] for l in open(sys.argv[1]) if "/models" in l])' "$T/keys.log")
	if [ "$(cat "$T/codes")" = "200 200 200 200 401 " ] && [ "$labels" = "alice key-2 key-3 key-4" ]; then ok "keys and labels"
	else fail "keys and labels" "$(cat "$T/codes"): $labels"; fi
	# A head that has no key is answered before its body comes.
	check "no key: no body" python3 - $port <<'PY'
import socket, sys
s = socket.create_connection(('127.0.0.1', int(sys.argv[1])), 5)
s.sendall(b'POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\n{')
assert s.recv(100).startswith(b'HTTP/1.1 401 ')
PY
	stop keys
fi

# SIGTERM while a request waits, its body comes, its connection idles; a second signal ends at once.
if begin term --slots 1 --drain 300; then
	check "SIGTERM in each state" python3 - $port $pid <<'PY'
import json, os, signal, socket, sys, time
port, pid = int(sys.argv[1]), int(sys.argv[2])
def post(more=b'', **f):
    s = socket.create_connection(('127.0.0.1', port), 30)
    b = json.dumps({'messages': [{'role': 'user', 'content': 'Hello'}], 'temperature': 0, **f}).encode()
    s.sendall(b'POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n' % (len(b) + len(more)) + b)
    return s
def rest(s):
    got = b''
    while part := s.recv(65536):
        got += part
    return got
runs = post(max_tokens=600, min_tokens=600, stream=True)
assert runs.recv(100).startswith(b'HTTP/1.1 200')
whole, waits, comes, idle = post(max_tokens=5, n=2), post(max_tokens=5), post(b'x', max_tokens=5), socket.create_connection(('127.0.0.1', port), 30)
time.sleep(0.3)
# As timeout(1) and npm do it: to the process, and to its group. One wish.
first = time.monotonic()
os.kill(pid, signal.SIGTERM)
time.sleep(0.01)
if time.monotonic() - first < 0.03:     # a busy machine may make two of it
    os.kill(pid, signal.SIGTERM)
for s in (whole, waits, comes):
    r = rest(s)
    assert r.startswith(b'HTTP/1.1 503') and b'shutting_down' in r and b'Retry-After: ' in r and b'Connection: close' in r, r[:200]
assert rest(idle) == b''
r = rest(runs)
assert b'"finish_reason":"length"' in r and r.endswith(b'data: [DONE]\n\n\r\n0\r\n\r\n'), r[-200:]
PY
	wait $pid; status=$?
	if [ $status -eq 0 ]; then ok "exit after a drain"; else fail "exit after a drain" $status; fi
fi
if begin twice --drain 60; then
	curl -sN http://127.0.0.1:$port/v1/completions -H 'Content-Type: application/json' -d '{"prompt":"a","max_tokens":5000,"min_tokens":5000,"stream":true}' > "$T/sse" & asks=$!
	until [ -s "$T/sse" ] || ! kill -0 $asks 2> /dev/null; do sleep 0.02; done
	kill -TERM $pid; sleep 0.3; kill -TERM $pid; wait $pid; status=$?; wait $asks
	if [ $status -eq 143 ]; then ok "a second SIGTERM"; else fail "a second SIGTERM" $status; fi
fi

# TLS: versions, what is read again while connections go on.
if command -v openssl > /dev/null; then
	certificate() { openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$T/$1.key" -out "$T/$1.crt" -days 2 -subj "/CN=$1" -addext 'subjectAltName=DNS:localhost' 2> /dev/null; }
	certificate a; certificate b
	cp "$T/a.crt" "$T/cert"; cp "$T/a.key" "$T/key"
	exits "a certificate without its key" 2 kserve --tls-cert "$T/cert" "$T/nano.kmf"
	exits "another certificate's key" 2 kserve --listen 127.0.0.1:0 --tls-cert "$T/cert" --tls-key "$T/b.key" "$T/nano.kmf"
	if begin tls --tls-cert "$T/cert" --tls-key "$T/key" --timeout 30; then
		if grep -q "listening on https://127.0.0.1:$port\$" "$T/tls.err"; then ok "https in the line"; else fail "https in the line" "$(tail -n 1 "$T/tls.err")"; fi
		ask tls --tls "$T/a.crt" smuggling chunks bodies pipelining
		for v in tls1 tls1_1 tls1_2 tls1_3; do openssl s_client -connect 127.0.0.1:$port -$v -cipher 'DEFAULT:@SECLEVEL=0' < /dev/null > "$T/$v.out" 2>&1; grep -q 'Verify return code' "$T/$v.out" && grep -Eq '^New, TLSv1.[23], Cipher is [A-Z]' "$T/$v.out" && echo -n "$v "; done > "$T/versions"
		if [ "$(cat "$T/versions")" = "tls1_2 tls1_3 " ]; then ok "TLS 1.2 and 1.3 only"; else fail "TLS versions" "$(cat "$T/versions")"; fi
		check "a reload keeps connections" python3 - $port $pid "$T" <<'PY'
import os, shutil, signal, socket, ssl, sys, time
port, pid, T = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
def dial(ca):
    return ssl.create_default_context(cafile=f'{T}/{ca}.crt').wrap_socket(socket.create_connection(('127.0.0.1', port), 10), server_hostname='localhost')
def ask(s):
    s.sendall(b'GET /health HTTP/1.1\r\nHost: x\r\n\r\n')
    assert s.recv(4096).startswith(b'HTTP/1.1 200')
old = dial('a')
ask(old)
open(f'{T}/cert', 'w').write('nonsense')
os.kill(pid, signal.SIGHUP); time.sleep(0.5)
ask(old); ask(dial('a'))
assert 'the certificate stays as it is' in open(f'{T}/tls.err').read()
shutil.copy(f'{T}/b.crt', f'{T}/cert'); shutil.copy(f'{T}/b.key', f'{T}/key')
os.kill(pid, signal.SIGHUP); time.sleep(0.5)
ask(old); ask(dial('b'))
try:
    dial('a')
    raise AssertionError('the old certificate is still served')
except ssl.SSLCertVerificationError:
    pass
PY
		stop tls
	fi
else
	skip TLS "skipped: no openssl"
fi

# A socket that is handed over as descriptor 3.
check "fd:3" python3 - "$T/nano.kmf" <<'PY'
import os, signal, socket, subprocess, sys, urllib.request
s = socket.create_server(('127.0.0.1', 0))
def run(n):
    def hand():
        os.dup2(s.fileno(), 3)
        os.set_inheritable(3, True)
        os.environ['LISTEN_FDS'], os.environ['LISTEN_PID'] = n, str(os.getpid())
    p = os.fork()
    if not p:
        hand()
        os.dup2(os.open('/dev/null', os.O_WRONLY), 2)
        os.execvp('kserve', ['kserve', '--listen', 'fd:3', sys.argv[1]])
    return p
p = run('1')
assert urllib.request.urlopen(f'http://127.0.0.1:{s.getsockname()[1]}/health', timeout=30).status == 200
os.kill(p, signal.SIGTERM)
assert os.waitpid(p, 0)[1] == 0
assert os.waitstatus_to_exitcode(os.waitpid(run('0'), 0)[1]) == 2
PY

# The files of scripts/serve/, where what reads them is there. The unit names a program that need not be installed here.
if command -v systemd-analyze > /dev/null; then
	systemd-analyze verify scripts/serve/kserve.socket scripts/serve/kserve.service > "$T/.out" 2>&1
	if grep -v 'is not executable\|man kserve' "$T/.out" | grep -q kserve; then fail units "$(head -n 1 "$T/.out")"; else ok units; fi
else skip units "skipped: no systemd-analyze"; fi
if command -v nginx > /dev/null && [ "$(id -u)" = 0 ]; then
	check nginx nginx -t -q -c "$PWD/scripts/serve/nginx.conf"
	cp scripts/serve/nginx.conf "$T/nginx.conf"
	# Through a socket: whoever asks there is no address of this machine.
	if begin proxied; then
		sed -i "s,listen 8443,listen unix:$T/nginx.sock,; s,127.0.0.1:8080,127.0.0.1:$port," "$T/nginx.conf"
		nginx -e "$T/nginx.err" -c "$T/nginx.conf" -g "daemon off; user root; pid $T/nginx.pid;" 2> /dev/null &
		proxy=$! servers="$servers $!"
		for ((i = 0; i < 300; i++)); do curl -sf -o /dev/null --unix-socket "$T/nginx.sock" http://localhost/health && break; sleep 0.1; done
		for path in /health /v1/models /metrics /metrics/ /v1/metrics /v1/metrics/ /%6detrics /v1%2fmetrics //metrics /x/../metrics '/metrics?x'; do
			curl -s -o /dev/null --path-as-is -w '%{http_code} ' --unix-socket "$T/nginx.sock" "http://localhost$path"
		done > "$T/codes"
		if [ "$(cat "$T/codes")" = "200 200 403 403 403 403 403 403 403 403 403 " ]; then ok "nginx guards /metrics"; else fail "nginx guards /metrics" "$(cat "$T/codes")"; fi
		kill $proxy; wait $proxy
		stop proxied
	fi
else skip nginx "skipped: no nginx"; fi
if command -v haproxy > /dev/null; then check haproxy haproxy -c -q -f scripts/serve/haproxy.cfg; else skip haproxy "skipped: no haproxy"; fi
# A model that is damaged after the start was checked is found out in the background, or where all of it is read into a device's memory; --check finds it before.
python3 - "$T/nano.kmf" <<'PY'
import os, sys
with open(sys.argv[1], 'r+b') as f:
    f.seek(os.path.getsize(sys.argv[1]) // 2)
    b = f.read(1)
    f.seek(-1, 1)
    f.write(bytes([b[0] ^ 1]))
PY
if [ "${K_KSERVE_DEVICE:-cpu}" != cpu ]; then
	exits "a damaged model" 3 kserve --listen 127.0.0.1:0 "$T/nano.kmf"
elif begin damaged; then
	for ((i = 0; i < 100; i++)); do code=$(curl -s -o "$T/said" -w '%{http_code}' http://127.0.0.1:$port/health); [ "$code" = 200 ] || break; sleep 0.1; done
	if [ "$code" = 503 ] && grep -q 'the model is damaged: .*[a-z_]*\.' "$T/damaged.err"; then ok "a damaged model"; else fail "a damaged model" "$code: $(tail -n 1 "$T/damaged.err")"; fi
	stop damaged
fi
exits "--check" 3 kserve --check "$T/nano.kmf"
finish

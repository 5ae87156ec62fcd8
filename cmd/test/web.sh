#!/bin/bash
# web.sh: the chat page of kserve on nano. Its files and headers with curl's means; what it does in a headless Chromium (web_client.py),
# without one those checks are skipped. K_PICTURES=DIR keeps pictures of the page.
. "$(dirname "$0")/lib.sh"
here=$(dirname "$0") nano=testdata/nano
command -v python3 > /dev/null || { echo "skipped: no python3"; exit 77; }
chromium=$(command -v chromium || command -v chromium-browser || command -v google-chrome)
servers=
trap 'kill $servers 2> /dev/null; wait; rm -rf "$T"' EXIT
kconvert $nano -o "$T/nano.kmf" || { fail setup "nano does not convert"; finish; }

# start NAME OPTION...: the server's address is in $url
start() {
	local name=$1 i=0; shift
	kserve --listen 127.0.0.1:0 --port-file "$T/$name.port" --act f32 "$@" "$T/nano.kmf" 2> "$T/$name.err" &
	servers="$servers $!"
	until [ -s "$T/$name.port" ]; do
		i=$((i + 1))
		if [ $i -gt 600 ]; then fail "$name" "kserve does not start: $(tail -n 1 "$T/$name.err")"; finish; fi
		sleep 0.1
	done
	url=http://127.0.0.1:$(cat "$T/$name.port")
}
# client WHAT ARGUMENT...
client() {
	local line
	while read -r line; do
		case $line in
		"ok "*) ok "${line#ok }" ;;
		*) fail "$1" "$line" ;;
		esac
	done < <(python3 "$here/web_client.py" "$@" 2>&1)
}

echo secret-key > "$T/keys"
start open; open=$url
start keys --api-key-file "$T/keys"; keys=$url
start none --no-web; none=$url
client files "$open" "$keys" cmd/kserve/web
if [ "$(curl -s -o /dev/null -w '%{http_code}' "$none/") $(curl -s -o /dev/null -w '%{http_code}' "$none/app.js")" = "404 404" ]; then ok "--no-web"; else fail "--no-web" "serves a page"; fi
if [ -n "$chromium" ] && [ "${K_BIN#*asan}" = "$K_BIN" ]; then
	client page "$open" "$keys" "$chromium" "${K_PICTURES:-}"
else
	skip page "skipped: no Chromium, or a build of sanitizers"
	if command -v node > /dev/null; then client markdown "$here/../kserve/web/markdown.js"; fi
fi
finish

#!/bin/bash
# web.sh: the chat page of kserve on nano. Its files and headers with curl's means; what it does in a headless Chromium (web_client.py),
# without one those checks are skipped. K_PICTURES=DIR keeps pictures of the page.
. "$(dirname "$0")/lib.sh"
here=$(dirname "$0") nano=testdata/nano
command -v python3 > /dev/null || { echo "skipped: no python3"; exit 77; }
chromium=$(command -v chromium || command -v chromium-browser || command -v google-chrome)
kconvert $nano -o "$T/nano.kmf" || { fail setup "nano does not convert"; finish; }

# begin NAME OPTION...: the server's address is in $url
begin() {
	start "$1" --listen 127.0.0.1:0 --act f32 "${@:2}" "$T/nano.kmf" || finish
	url=http://127.0.0.1:$port
}
# ask WHAT ARGUMENT...
ask() { client "$1" python3 "$here/web_client.py" "$@"; }

echo secret-key > "$T/keys"
begin open; open=$url
begin keys --api-key-file "$T/keys"; keys=$url
begin none --no-web; none=$url
ask files "$open" "$keys" cmd/kserve/web
if [ "$(curl -s -o /dev/null -w '%{http_code}' "$none/") $(curl -s -o /dev/null -w '%{http_code}' "$none/app.js")" = "404 404" ]; then ok "--no-web"; else fail "--no-web" "serves a page"; fi
if [ -n "$chromium" ] && [ "${K_BIN#*asan}" = "$K_BIN" ]; then
	ask page "$open" "$keys" "$chromium" "${K_PICTURES:-}"
else
	skip page "skipped: no Chromium, or a build of sanitizers"
	if command -v node > /dev/null; then ask markdown "$here/../kserve/web/markdown.js"; fi
fi
finish

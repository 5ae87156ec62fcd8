#!/bin/bash
# sign.sh: signatures and manifests, against openssl, coreutils, Python's own reading and, where it can be imported, the model-signing package
# (K_MODEL_SIGNING names a Python that has it).
. "$(dirname "$0")/lib.sh"
ms=${K_MODEL_SIGNING:-python3}
"$ms" -c 'from model_signing import verifying' 2> /dev/null || ms=
model=testdata/tiny/kimi-linear-tiny
kconvert $model -o "$T/m.kmf" || { fail setup "$model does not convert"; finish; }
m=$T/m.kmf
for c in prime256v1 secp384r1 secp521r1 secp256k1; do
	openssl ecparam -name $c -genkey -noout -out "$T/$c.pem" && openssl ec -in "$T/$c.pem" -pubout -out "$T/$c.pub" 2> /dev/null
done
key=$T/prime256v1.pem pub=$T/prime256v1.pub
package() { # NAME PUB SIG MODEL: the Python interface of the package
	if [ -z "$ms" ]; then skip "$1" "no model-signing package"; return; fi
	check "$1" "$ms" -c 'import sys; from model_signing import verifying; verifying.Config().use_elliptic_key_verifier(public_key=sys.argv[1]).verify(sys.argv[3], sys.argv[2])' "$2" "$3" "$4"
}

# A file, all curves: our check, openssl over the bytes that are signed, the package.
for c in prime256v1:256 secp384r1:384 secp521r1:512; do
	n=${c%:*}
	check "--sign $n" kls --sign "$T/$n.pem" -o "$T/m.sig" "$m"
	check "--check-sign $n" kls --check-sign "$T/$n.pub" --sig "$T/m.sig" "$m"
	python3 - "$T" <<'PY' && check "openssl verifies $n" openssl dgst -sha${c#*:} -verify "$T/$n.pub" -signature "$T/sig.der" "$T/pae"
import base64, json, sys
b = json.load(open(sys.argv[1] + '/m.sig'))['dsseEnvelope']
p = base64.b64decode(b['payload'])
open(sys.argv[1] + '/pae', 'wb').write(b'DSSEv1 28 application/vnd.in-toto+json %d ' % len(p) + p)
open(sys.argv[1] + '/sig.der', 'wb').write(base64.b64decode(b['signatures'][0]['sig']))
PY
	package "the package takes $n" "$T/$n.pub" "$T/m.sig" "$m"
	if [ -n "$ms" ]; then check "its command line takes $n" "$ms" -m model_signing verify key --signature "$T/m.sig" --public_key "$T/$n.pub" "$m"; fi
done
kls --sign "$key" -o "$T/m.sig" "$m"
kls --sign "$key" --shards -o "$T/s.sig" "$m"
check "--check-sign by shards" kls --check-sign "$pub" --sig "$T/s.sig" "$m"
package "the package takes shards" "$pub" "$T/s.sig" "$m"
python3 - "$T" <<'PY' && ok "digests by Python" || fail "digests by Python" "other ones"
import base64, hashlib, json, sys
t = sys.argv[1]
d = open(t + '/m.kmf', 'rb').read()
for sig in 'm.sig', 's.sig':
    b = json.load(open(f'{t}/{sig}'))
    assert b['verificationMaterial']['publicKey']['hint'] == hashlib.sha256(open(t + '/prime256v1.pub', 'rb').read()).hexdigest()
    s = json.loads(base64.b64decode(b['dsseEnvelope']['payload']))
    r, own = s['predicate']['resources'], s['predicate']['ktools']
    assert s['subject'] == [{'name': 'm.kmf', 'digest': {'sha256': hashlib.sha256(b''.join(bytes.fromhex(x['digest']) for x in r)).hexdigest()}}]
    if sig == 's.sig':
        n = s['predicate']['serialization']['shard_size']
        assert [x['name'] for x in r] == [f'.:{i}:{min(i + n, len(d))}' for i in range(0, len(d), n)]
        assert all(hashlib.sha256(d[i:i + n]).hexdigest() == x['digest'] for x, i in zip(r, range(0, len(d), n)))
    else:
        f, = own['files']
        assert r == [{'name': '.', 'algorithm': 'sha256', 'digest': hashlib.sha256(d).hexdigest()}]
        assert f['bytes'] == len(d) and f['shards'] == [hashlib.sha256(d[i:i + f['shard_size']]).hexdigest() for i in range(0, len(d), f['shard_size'])]
    e = [x for x in own['container']['entries'] if x['name'] == 'model.embed_tokens.weight'][0]
    print(e['offset'], e['bytes'], file=open(t + '/embed', 'w'))
PY
kls --sign "$key" "$m" | tr -d '\n' > "$T/x.sig"; check "a bundle from standard output" kls --check-sign "$pub" --sig "$T/x.sig" "$m"
kls -j1 --sign "$key" "$m" > "$T/x1.sig"
python3 -c 'import json,sys; a,b=[json.load(open(f))["dsseEnvelope"]["payload"] for f in sys.argv[1:]]; sys.exit(a != b)' "$T/x.sig" "$T/x1.sig" && ok "one thread" || fail "one thread" "other bytes are signed"

# One bit anywhere: refused, with a tensor and an offset; on the way too, and nothing has left then.
read -r off bytes < "$T/embed"
flip() { # FILE OFFSET: one bit, which depends on the place
	b=$(od -An -tu1 -j "$2" -N 1 "$1")
	printf "\\$(printf %o $((b ^ 1 << $2 % 8)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
size=$(stat -c %s "$m")
cp "$m" "$T/f.kmf"
for p in 0 8 20 40 64 1000 $((off - 1)) $off $((off + bytes - 1)) $((size / 2)) $((size * 9 / 10)) $((size - 5000)) $((size - 60)) $((size - 16)) $((size - 1)); do
	flip "$T/f.kmf" $p
	for s in m.sig s.sig; do
		exits "a bit at $p ($s)" 1 kls --check-sign "$pub" --sig "$T/$s" "$T/f.kmf"
		grep -Eq "differs from what was signed in .*, from byte [0-9]+ on" "$T/.err" || fail "a bit at $p ($s)" "$(cat "$T/.err")"
	done
	exits "a bit at $p, in a pipe" 1 kls --check-sign "$pub" --sig "$T/m.sig" - < "$T/f.kmf"
	exits "a bit at $p, to a copy" 1 kls --check-sign "$pub" --sig "$T/m.sig" --copy "$T/copy" - < "$T/f.kmf"
	[ ! -e "$T/copy" ] || fail "a bit at $p, to a copy" "the copy is there"
	flip "$T/f.kmf" $p
done
flip "$T/f.kmf" $((off + bytes / 2))
kls --check-sign "$pub" --sig "$T/m.sig" "$T/f.kmf" 2>&1 | grep -q model.embed_tokens.weight && ok "names the tensor" || fail "names the tensor" "no"
kls --check-sign "$pub" --sig "$T/m.sig" --copy - - < "$T/f.kmf" 2> /dev/null > "$T/part"
[ "$(stat -c %s "$T/part")" -le $((off + bytes / 2)) ] && cmp -s -n "$(stat -c %s "$T/part")" "$m" "$T/part" && ok "nothing unchecked leaves" || fail "nothing unchecked leaves" "it does"
check "a copy" kls --check-sign "$pub" --sig "$T/m.sig" --copy "$T/copy" - < "$m" && same "the copy" "$m" "$T/copy"
head -c 100000 "$m" > "$T/f.kmf"; exits "cut" 1 kls --check-sign "$pub" --sig "$T/m.sig" "$T/f.kmf"
head -c 131072 "$m" > "$T/f.kmf"; exits "cut at a shard" 1 kls --check-sign "$pub" --sig "$T/m.sig" "$T/f.kmf"
(cat "$m"; echo) > "$T/f.kmf"; exits "longer" 1 kls --check-sign "$pub" --sig "$T/m.sig" "$T/f.kmf"

# Keys and bundles that will not do.
exits "another key" 1 kls --check-sign "$T/secp384r1.pub" --sig "$T/m.sig" "$m"
grep -q "another key" "$T/.err" || fail "another key" "$(cat "$T/.err")"
openssl genpkey -algorithm ed25519 -out "$T/ed.pem"
exits "Ed25519" 4 kls --sign "$T/ed.pem" "$m"; grep -q registry "$T/.err" || fail Ed25519 "$(cat "$T/.err")"
exits "secp256k1" 4 kls --sign "$T/secp256k1.pem" "$m"
openssl ec -in "$key" -aes128 -passout pass:abcd -out "$T/locked.pem" 2> /dev/null
exits "an encrypted key" 3 kls --sign "$T/locked.pem" "$m" < /dev/null
exits "a public key to sign" 3 kls --sign "$pub" "$m"
exits "no bundle" 3 kls --check-sign "$pub" --sig "$m" "$m"
exits "no --sig" 2 kls --check-sign "$pub" "$m"
exits "a stream to sign" 2 kls --sign "$key" - < "$m"
cat > "$T/edit.py" <<'PY'
import json, sys
b = json.load(open(sys.argv[1])); v, e = b['verificationMaterial'], b['dsseEnvelope']
exec(sys.argv[3])
json.dump(b, open(sys.argv[2], 'w'))
PY
edit() { # NAME STATUS WORD CODE
	python3 "$T/edit.py" "$T/m.sig" "$T/e.sig" "$4"
	exits "$1" "$2" kls --check-sign "$pub" --sig "$T/e.sig" "$m"
	if [ -n "$3" ]; then grep -q "$3" "$T/.err" || fail "$1" "$(cat "$T/.err")"; fi
}
edit "other spaces" 0 "" "pass"
edit "no hint" 0 "" "del v['publicKey']['hint']"
edit "URL-safe base64" 0 "" "e['payload'] = e['payload'].replace('+', '-').replace('/', '_'); s = e['signatures'][0]; s['sig'] = s['sig'].replace('+', '-').replace('/', '_')"
edit "payload type" 3 "payload of type" "e['payloadType'] = 'text/plain'"
edit "a certificate" 4 "another verifier" "v['x509CertificateChain'] = {}; del v['publicKey']"
edit "a log entry" 4 "another verifier" "v['tlogEntries'] = [{}]"
edit "an older bundle" 4 "version=0.2" "b['mediaType'] = 'application/vnd.dev.sigstore.bundle+json;version=0.2'"
edit "before 1.0" 4 "before version 1.0" "v['publicKey'] = {'rawBytes': ''}; s = e['signatures'][0]; s['sig'] = s['sig'][:20] + ('A' if s['sig'][20] != 'A' else 'B') + s['sig'][21:]"
edit "two signatures" 3 "2 signatures" "e['signatures'] *= 2"
edit "no signature" 3 "" "e['signatures'] = []"
edit "a changed payload" 1 "does not match" "e['payload'] = e['payload'][:400] + ('A' if e['payload'][400] != 'A' else 'B') + e['payload'][401:]"
edit "another's hint" 1 "another key" "v['publicKey']['hint'] = '0' * 64"
# What is signed, but malformed: made with openssl.
cat > "$T/forge.py" <<'PY'
import base64, hashlib, json, subprocess, sys
t, code = sys.argv[1:]
b = json.load(open(t + '/s.sig')); s = json.loads(base64.b64decode(b['dsseEnvelope']['payload'])); p = s['predicate']; r = p['resources']
def root(): s['subject'][0]['digest']['sha256'] = hashlib.sha256(b''.join(bytes.fromhex(x['digest']) for x in p['resources'])).hexdigest()
exec(code)
body = json.dumps(s).encode()
sig = subprocess.run(['openssl', 'dgst', '-sha256', '-sign', t + '/prime256v1.pem'], input=b'DSSEv1 28 application/vnd.in-toto+json %d ' % len(body) + body, stdout=subprocess.PIPE, check=True).stdout
b['dsseEnvelope'].update(payload=base64.b64encode(body).decode(), signatures=[{'sig': base64.b64encode(sig).decode(), 'keyid': ''}])
json.dump(b, open(t + '/e.sig', 'w'))
PY
forge() { # NAME STATUS WORD CODE
	python3 "$T/forge.py" "$T" "$4"
	exits "$1" "$2" kls --check-sign "$pub" --sig "$T/e.sig" "$m"
	if [ -n "$3" ]; then grep -q "$3" "$T/.err" || fail "$1" "$(cat "$T/.err")"; fi
}
forge "nothing of ours" 0 "" "del p['ktools']"
forge "ours of a later format" 0 "" "p['ktools'] = {'format': 2}"
forge "an empty file above the model" 3 "no path" "p['ktools']['empty'] = ['../x']"
forge "an empty file twice" 3 "two resources" "p['ktools']['empty'] = ['x', 'x']"
forge "an empty file without a name" 3 "no name" "p['ktools']['empty'] = [7]"
forge "an empty file beside the one" 1 "several files" "p['ktools']['empty'] = ['x']"
forge "a wrong root" 3 "subject's digest" "s['subject'][0]['digest']['sha256'] = '0' * 64"
forge "a shard twice" 3 "follow each other" "r.insert(1, r[0]); root()"
forge "a shard left out" 3 "follow each other" "del r[1]; root()"
forge "a shard too few at the end" 1 "" "del r[-1]; root()"
forge "no shard" 3 "no file" "p['resources'] = []; root()"
forge "another hash" 4 "blake2" "p['serialization']['hash_type'] = 'blake2'"
forge "another method" 4 "tree" "p['serialization']['method'] = 'tree'"
forge "another statement" 4 "Digests" "s['predicateType'] = 'https://model_signing/Digests/v0.1'"
forge "a name above the model" 3 "no path" "[x.update(name='../' + x['name']) for x in r]"
forge "digits" 3 "SHA-256" "r[0]['digest'] = r[0]['digest'].upper() + 'x'"

# Folders.
mkdir -p "$T/d/sub" && cp $model/*.json $model/*.safetensors "$T/d" && echo x > "$T/d/sub-c" && echo y > "$T/d/sub/b" && : > "$T/d/sub/empty" && mkdir "$T/d/.git" && echo z > "$T/d/.git/HEAD"
for how in "" --shards; do
	check "--sign $how of a folder" kls --sign "$key" $how -o "$T/d/model.sig" "$T/d"
	check "--check-sign $how of a folder" kls --check-sign "$pub" --sig "$T/d/model.sig" "$T/d/"
	if [ -z "$how" ] && [ -n "$ms" ]; then check "the package's command line takes a folder" "$ms" -m model_signing verify key --signature "$T/d/model.sig" --public_key "$pub" "$T/d"; fi
	package "the package takes a folder $how" "$pub" "$T/d/model.sig" "$T/d"
	f=$(ls "$T/d/"*.safetensors | head -n 1)
	flip "$f" $(($(stat -c %s "$f") - 1000))
	exits "a bit in a folder" 1 kls --check-sign "$pub" --sig "$T/d/model.sig" "$T/d"
	grep -q "$(basename "$f")': differs from what was signed in model\." "$T/.err" || fail "a bit in a folder" "$(cat "$T/.err")"
	flip "$f" $(($(stat -c %s "$f") - 1000))
	echo > "$T/d/extra"; exits "a file too many" 1 kls --check-sign "$pub" --sig "$T/d/model.sig" "$T/d"; rm "$T/d/extra"
	: > "$T/d/chat_template.jinja"; exits "an empty file too many" 1 kls --check-sign "$pub" --sig "$T/d/model.sig" "$T/d"; rm "$T/d/chat_template.jinja"
	rm "$T/d/sub/empty"; exits "an empty file too few" 1 kls --check-sign "$pub" --sig "$T/d/model.sig" "$T/d"
	echo > "$T/d/sub/empty"; exits "an empty file that is not" 1 kls --check-sign "$pub" --sig "$T/d/model.sig" "$T/d"; : > "$T/d/sub/empty"
	mv "$T/d/sub-c" "$T/c"; exits "a file too few" 1 kls --check-sign "$pub" --sig "$T/d/model.sig" "$T/d"; mv "$T/c" "$T/d/sub-c"
	exits "a file for a folder" 1 kls --check-sign "$pub" --sig "$T/d/model.sig" "$m"
	exits "a folder for a file" 1 kls --check-sign "$pub" --sig "$T/m.sig" "$T/d"
done
ln -s "$T/m.kmf" "$T/d/link"; check "a link in a folder" kls --sign "$key" -o "$T/l.sig" "$T/d"
check "a link is checked" kls --check-sign "$pub" --sig "$T/l.sig" "$T/d"
rm "$T/d/link"; mkfifo "$T/d/fifo"; exits "a fifo in a folder" 4 kls --sign "$key" -o "$T/l.sig" "$T/d"; rm "$T/d/fifo"
mkdir "$T/none"; exits "an empty folder" 4 kls --sign "$key" "$T/none"
# A container that is damaged is not signed, whichever form it has; one of a later form, which nobody here can compare, neither.
for k in plain packed; do
	[ $k = plain ] && cp "$m" "$T/p.kmf" || kconvert --pack "$m" -o "$T/p.kmf"
	check "$k: --sign" kls --sign "$key" -o "$T/p.sig" "$T/p.kmf" && check "$k: --check-sign" kls --check-sign "$pub" --sig "$T/p.sig" "$T/p.kmf"
	for p in 100000 $(($(stat -c %s "$T/p.kmf") - 20)) 70; do
		flip "$T/p.kmf" $p
		for how in "" --shards; do
			exits "$k: a bit at $p is not signed $how" 3 kls --sign "$key" $how -o "$T/no.sig" "$T/p.kmf"
			[ ! -e "$T/no.sig" ] || fail "$k: a bit at $p $how" "there is a signature"
		done
		exits "$k: a bit at $p" 1 kls --check-sign "$pub" --sig "$T/p.sig" "$T/p.kmf"
		flip "$T/p.kmf" $p
	done
done
flip "$T/p.kmf" 100000; exits "it names the tensor" 3 kls --sign "$key" "$T/p.kmf"; grep -q "model\.[a-z0-9_.]*weight.*damaged" "$T/.err" || fail "it names the tensor" "$(cat "$T/.err")"; flip "$T/p.kmf" 100000
exits "packed: --resign" 4 kls --sign "$key" --resign "$T/m.sig" "$T/p.kmf"
cp "$m" "$T/later.kmf" && printf '\004' | dd of="$T/later.kmf" bs=1 seek=12 conv=notrunc status=none
exits "a later form" 4 kls --sign "$key" "$T/later.kmf"
# A GGUF file has the names of its head.
g=testdata/tiny/llama-tiny-gguf/llama-tiny-Q4_0.gguf
kls --sign "$key" -o "$T/g.sig" $g && cp $g "$T/g.gguf" && chmod u+w "$T/g.gguf" && flip "$T/g.gguf" $(($(stat -c %s $g) - 2000))
exits "a bit in GGUF" 1 kls --check-sign "$pub" --sig "$T/g.sig" "$T/g.gguf"
grep -Eq "differs from what was signed in (blk|output|token_embd)[a-z0-9_.]*, from byte" "$T/.err" || fail "a bit in GGUF" "$(cat "$T/.err")"
# A split GGUF is all of its files, of which the first one is named.
mkdir "$T/split" && kconvert -q testdata/tiny/llama-tiny --to gguf --shard-size 200K -o "$T/split/m.gguf"
one=$T/split/m-00001-of-00004.gguf three=$T/split/m-00003-of-00004.gguf
for how in "" --shards; do
	check "--sign $how of a split GGUF" kls --sign "$key" $how -o "$T/parts.sig" "$one"
	check "--check-sign $how of it" kls --check-sign "$pub" --sig "$T/parts.sig" "$one"
	check "$how as a folder" kls --check-sign "$pub" --sig "$T/parts.sig" "$T/split"
	package "the package takes it $how" "$pub" "$T/parts.sig" "$T/split"
	for p in 10 300 100000; do for f in "$one" "$three"; do
		flip "$f" $p
		exits "$how: a bit at $p of ${f##*/}" 1 kls --check-sign "$pub" --sig "$T/parts.sig" "$one"
		flip "$f" $p
	done; done
	flip "$three" 100000; kls --check-sign "$pub" --sig "$T/parts.sig" "$one" 2>&1 | grep -Eq "m-00003-of-00004.gguf': differs from what was signed in blk\.[a-z0-9_.]*, from byte" && ok "names part and tensor" || fail "names part and tensor" no
	flip "$three" 100000
	mv "$three" "$T/away"
	exits "a missing part" 1 kls --check-sign "$pub" --sig "$T/parts.sig" "$one"; grep -q "m-00003-of-00004.gguf' is missing: part 3 of 4" "$T/.err" || fail "a missing part" "$(cat "$T/.err")"
	exits "a missing part is not signed $how" 3 kls --sign "$key" $how "$one"
	mv "$T/away" "$three"
	exits "part 3 is not signed $how" 4 kls --sign "$key" $how "$three"
	exits "part 3 is not what was signed" 1 kls --check-sign "$pub" --sig "$T/parts.sig" "$three"
	exits "from a pipe" 2 kls --check-sign "$pub" --sig "$T/parts.sig" - < "$one"
	exits "a signature of one file" 1 kls --check-sign "$pub" --sig "$T/g.sig" "$one"
	exits "a split GGUF's for one file" 1 kls --check-sign "$pub" --sig "$T/parts.sig" $g
done
exits "--resign of a split GGUF" 4 kls --sign "$key" --resign "$T/m.sig" "$one"
mkdir "$T/hub" && (cd "$T/split" && for f in *; do cp "$f" "$T/hub/blob.$f"; ln -s "blob.$f" "$T/hub/$f"; done)
check "its parts may be links" kls --check-sign "$pub" --sig "$T/parts.sig" "$T/hub/${one##*/}"
(cd "$T/split" && kls --manifest "${one##*/}") > "$T/sums" && (cd "$T/split" && sha256sum *) > "$T/want"; same "the manifest of a split GGUF" "$T/want" "$T/sums"
# A signature that was made over the first file alone, as other signers do, says nothing of the rest.
cp "$one" "$T/alone.gguf" && printf '\001' | dd of="$T/alone.gguf" bs=1 seek=$(($(grep -abo split.count "$one" | head -n 1 | cut -d: -f1) + 15)) conv=notrunc status=none
kls --sign "$key" -o "$T/alone.sig" "$T/alone.gguf"
exits "a signature of the first file" 1 kls --check-sign "$pub" --sig "$T/alone.sig" "$one"; grep -q "several files" "$T/.err" || fail "a signature of the first file" "$(cat "$T/.err")"

# The package's own.
for s in file file-shards; do check "by the package: $s" kls --check-sign testdata/sign/pub.pem --sig testdata/sign/$s.sig testdata/sign/file.bin; done
for s in model model-shards; do check "by the package: $s" kls --check-sign testdata/sign/pub.pem --sig testdata/sign/$s.sig testdata/sign/model; done
grep -q "model/empty' is empty, of which a signature by shards of another signer tells nothing" "$T/.err" && ok "empty files by the package" || fail "empty files by the package" "$(cat "$T/.err")"
cp testdata/sign/file.bin "$T/file.bin"; flip "$T/file.bin" 1234
for s in file file-shards; do exits "by the package, a bit: $s" 1 kls --check-sign testdata/sign/pub.pem --sig testdata/sign/$s.sig "$T/file.bin"; done

# Signing again. Another byte in one tensor: a container of the same layout.
mkdir "$T/hf" && cp -r $model/. "$T/hf"
python3 - "$T/hf" <<'PY'
import glob, json, struct, sys
for f in glob.glob(sys.argv[1] + '/*.safetensors'):
    s = bytearray(open(f, 'rb').read()); h, = struct.unpack('<Q', s[:8]); t = json.loads(s[8:8 + h]).get('model.layers.3.self_attn.o_proj.weight')
    if t:
        s[8 + h + t['data_offsets'][0]] ^= 1
        open(f, 'wb').write(s)
PY
kconvert "$T/hf" -o "$T/n.kmf"
check "--resign" kls -v --sign "$key" --resign "$T/m.sig" -o "$T/n.sig" "$T/n.kmf"
n=$(sed -n 's/.* \([0-9]*\) of [0-9]* bytes were read.*/\1/p' "$T/.err")
[ -n "$n" ] && [ "$n" -gt 0 ] && [ "$n" -lt $((size / 3)) ] && ok "--resign reads little" || fail "--resign reads little" "'$n' of $size bytes"
check "--resign is a signature" kls --check-sign "$pub" --sig "$T/n.sig" "$T/n.kmf"
package "the package takes --resign" "$pub" "$T/n.sig" "$T/n.kmf"
exits "--resign is of the new model" 1 kls --check-sign "$pub" --sig "$T/n.sig" "$m"
check "--resign of --resign" kls --sign "$key" --resign "$T/n.sig" -o "$T/o.sig" "$m"
check "--resign of --resign checks" kls --check-sign "$pub" --sig "$T/o.sig" "$m"
# In a shard that changed a flipped bit is found, in others it is left to --check-sign.
read -r o_at far < <(python3 - "$T/n.sig" <<'PY'
import base64, json, sys
said = json.loads(base64.b64decode(json.load(open(sys.argv[1]))['dsseEnvelope']['payload']))['predicate']
entries, shard, size = said['ktools']['container']['entries'], said['serialization']['shard_size'], int(said['resources'][-1]['name'].split(':')[2])
changed, = [e for e in entries if e['name'] == 'model.layers.3.self_attn.o_proj.weight']
ends = [(0, entries[0]['offset']), (changed['offset'], changed['offset'] + changed['bytes']), (entries[-1]['offset'] + entries[-1]['bytes'], size)]
far = [e for e in entries if e['bytes'] and all(e['offset'] + e['bytes'] + shard < a or e['offset'] > b + shard for a, b in ends)]
print(changed['offset'] + changed['bytes'] - 1, far[0]['offset'])
PY
)
flip "$T/n.kmf" $o_at
exits "--resign of a damaged tensor" 3 kls --sign "$key" --resign "$T/m.sig" "$T/n.kmf"; grep -q "layers.3.self_attn.o_proj" "$T/.err" || fail "--resign of a damaged tensor" "$(cat "$T/.err")"
flip "$T/n.kmf" $o_at
flip "$T/n.kmf" "$far"
check "--resign reads past a flipped bit" kls --sign "$key" --resign "$T/m.sig" -o "$T/n.sig" "$T/n.kmf"
exits "which is not signed" 1 kls --check-sign "$pub" --sig "$T/n.sig" "$T/n.kmf"
exits "--resign with another key" 1 kls --sign "$T/secp384r1.pem" --resign "$T/m.sig" "$m"
exits "--resign of a folder's" 4 kls --sign "$key" --resign "$T/d/model.sig" "$m"

# Manifests.
kls --manifest "$m" > "$T/sums" && check "sha256sum -c of a file" sha256sum -c "$T/sums"
sha256sum "$m" > "$T/want"; same "as sha256sum writes it" "$T/want" "$T/sums"
kls --manifest $model > "$T/sums" && check "sha256sum -c of a folder" sha256sum -c "$T/sums"
(cd $model && LC_ALL=C sha256sum $(LC_ALL=C ls)) > "$T/want"
(cd $model && kls --manifest .) > "$T/sums"; same "a folder, from within" "$T/want" "$T/sums"
mkdir -p "$T/odd/sub"; echo 1 > "$T/odd/a\\b"; echo 2 > "$T/odd/sub/x
y"; echo 3 > "$T/odd/ c"
(cd "$T/odd" && kls --manifest -o SUMS . && sha256sum -c --quiet SUMS && [ "$(wc -l < SUMS)" = 3 ]) > /dev/null && ok "odd names" || fail "odd names" "$(cat "$T/odd/SUMS")"
kls --manifest - < "$m" > "$T/sums" && sha256sum < "$m" > "$T/want" && same "a stream" "$T/want" "$T/sums"
finish

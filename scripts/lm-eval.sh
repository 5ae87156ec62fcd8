#!/bin/bash
# lm-eval.sh [MODEL]: lm-eval's local-completions against kserve, and keval over HTTP and in the process. On testdata/eval/choice.jsonl the
# log-likelihood of every choice and the scores must agree, on testdata/eval/gen.jsonl what is generated. Run from the root of the tree after make. LM_EVAL: a Python that has the package
# lm-eval[api]; without it a virtual environment is made in build/lm-eval. MODEL: default testdata/nano.
set -eo pipefail
model=${1:-testdata/nano}
PATH=$PWD/build/bin:$PATH
python=${LM_EVAL:-build/lm-eval/bin/python}
if ! "$python" -c 'import lm_eval' 2> /dev/null; then
	test -z "${LM_EVAL:-}" || { echo "lm-eval.sh: $LM_EVAL has no lm-eval" >&2; exit 77; }
	python3 -m venv build/lm-eval && build/lm-eval/bin/pip install -q 'lm-eval[api]' || { echo 'lm-eval.sh: lm-eval cannot be installed' >&2; exit 77; }
fi
T=$(mktemp -d)
trap 'kill $pid 2> /dev/null || :; rm -rf "$T"' EXIT
kconvert "$model" -o "$T/model.kmf"
kserve --listen 127.0.0.1:0 --port-file "$T/port" --name tested --act f32 -q "$T/model.kmf" 2> "$T/server.err" &
pid=$!
for i in $(seq 300); do [ -s "$T/port" ] && break; kill -0 $pid; sleep 0.1; done
url=http://127.0.0.1:$(cat "$T/port")/v1
for task in choice gen; do
	keval $task -m "$T/model.kmf" -f testdata/eval/$task.jsonl --json > "$T/process.$task"
	keval $task -u "$url" -f testdata/eval/$task.jsonl --json > "$T/http.$task"
done
HF_HOME=$T/hf HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 "$python" -m lm_eval run --model local-completions \
	--model_args "model=tested,base_url=$url/completions,tokenizer_backend=remote,num_concurrent=4" --tasks ktools_choice,ktools_gen \
	--include_path testdata/eval/lm-eval --batch_size 4 --log_samples --output_path "$T/lm" > "$T/lm.out" 2>&1 || { tail -n 30 "$T/lm.out" >&2; exit 1; }
"$python" - "$T" <<'PY'
import glob, json, sys
t = sys.argv[1]
def samples_of(task):
    lines = [json.loads(l) for l in open(glob.glob(f'{t}/lm/**/samples_{task}_*.jsonl', recursive=True)[0])]
    return sorted(lines, key=lambda s: s['doc_id'])
samples, texts = samples_of('ktools_choice'), [s['resps'][0][0] for s in samples_of('ktools_gen')]
results = json.load(open(glob.glob(f'{t}/lm/**/results_*.json', recursive=True)[0]))['results']['ktools_choice']
bad = 0
for name in 'process', 'http':
    rows = [json.loads(l) for l in open(f'{t}/{name}.choice') if l.startswith('{')]
    summary, rows = rows[-1], [r for r in rows if r.get('item', '').startswith('item ')]
    assert len(rows) == len(samples), (len(rows), len(samples))
    most = 0
    for r, s in zip(rows, samples):
        theirs = [float(x[0][0]) for x in s['resps']]
        most = max(most, max(abs(a - b) for a, b in zip(r['logprobs'], theirs)))
        bad += (r['right'], r['right_norm'], r['right_bytes']) != (s['acc'] == 1, s['acc_norm'] == 1, s['acc_bytes'] == 1)
    for f in 'acc', 'acc_stderr', 'acc_norm', 'acc_norm_stderr', 'acc_bytes', 'acc_bytes_stderr':
        bad += abs(summary[f] - results[f + ',none']) > 1e-12
    bad += most > 1e-9
    mine = [r['answer'] for r in map(json.loads, open(f'{t}/{name}.gen')) if r.get('item', '').startswith('item ')]
    same = sum(a == b for a, b in zip(mine, texts))
    bad += same != len(texts) or len(mine) != len(texts)
    print(f'{name}: {same} of {len(texts)} generated texts are the same')
    print(f'{name}: {len(rows)} items, largest difference of a log-likelihood {most:.3g}, acc {summary["acc"]} acc_norm {summary["acc_norm"]}; '
          f'lm-eval: acc {results["acc,none"]} acc_norm {results["acc_norm,none"]}')
sys.exit(bad > 0)
PY

#!/bin/bash
# defects.sh: what is wrong with one expert is named by the ledger, and by the sentence of --fail-if, at the right tensor and expert: one
# that is transposed, zero, has another's scales, a scale with its sign bit flipped, scales a row instead of a group;
# or a group of each row that is zero.
. "$(dirname "$0")/lib.sh"
nano=testdata/nano
kquant -q $nano | kconvert -q - --to hf -o "$T/int4" || { fail setup "nano does not become INT4"; finish; }

# defect FROM WHAT LAYER EXPERT MATRIX BAR...: planted, it is the first that the bar names; without it the bar holds
defect() {
	from=$1 what=$2 layer=$3 expert=$4 matrix=$5 bar=$6
	check "$what: planted" python3 cmd/test/plant.py "$from" "$T/$what" "$what" "$layer" "$expert"
	exits "$what: $bar" 1 kquant -q --ledger "$T/$what.jsonl" --fail-if "$bar" "$T/$what" -o "$T/x.kmf"
	grep -q "layers\.$layer\..*experts\.$expert\.$matrix\.weight: ${bar%%[<>]*} is" "$T/.err" && ok "$what: the sentence" || fail "$what: the sentence" "$(cat "$T/.err")"
	[ ! -e "$T/x.kmf" ] && ok "$what: no output" || fail "$what" "left its output"
	check "$what: the ledger" python3 - "$T/$what.jsonl" "${bar%%[<>]*}" "$layer" "$expert" "$matrix" <<'PY'
import json, sys
path, field, layer, expert, matrix = sys.argv[1:]
rows = [r for r in map(json.loads, open(path)) if field in r and 'expert' in r]
worst = max(rows, key=lambda r: r[field])
assert f'.layers.{layer}.' in worst['name'] and worst['name'].endswith(f'.{matrix}.weight') and worst['expert'] == int(expert), worst
assert f'.experts.{expert}.' in worst['source'], worst['source']
PY
	exits "$what: $bar, unharmed" 0 kquant -q --fail-if "$bar" "$from" -o "$T/x.kmf"
	rm -rf "${T:?}/$what" "$T/x.kmf"
}
defect $nano transposed 3 5 w1 'outlier>8'
defect $nano zero 6 15 w2 'zero_groups>0'
defect $nano columns 1 0 w1 'zero_groups>0'
defect "$T/int4" swapped 2 9 w1 'scale_fit>-0.4'
defect "$T/int4" swapped 7 0 w1 'outlier>8'
defect "$T/int4" sign 4 11 w3 'negative_scales>0'
defect "$T/int4" rows 5 3 w1 'short_groups>0'
defect "$T/int4" rows 1 14 w1 'repeated_scales>0.5'
finish

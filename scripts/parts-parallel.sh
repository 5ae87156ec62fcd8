#!/bin/sh
# parts-parallel.sh MODEL OUT N [OPTION...]: one container in N parts by GNU parallel, here or, with PARALLEL='-S host1,host2 --wd .',
# on machines that share the folder. A part that was cut off goes on where it was: run it again.
set -eu
model=$1 out=$2 n=$3
shift 3
seq "$n" | parallel --halt soon,fail=1 kconvert "$@" "$model" --part "{}/$n" --resume -o "$out"
kconvert --seal "$out"

#!/bin/sh
# parts-slurm.sh MODEL OUT N: submits an array of N tasks, each of which makes one part of OUT, and a job that seals it when all are
# there. OUT lies on a file system that all nodes share. A part that was cut off (a node, a time limit) goes on where it was.
set -eu
model=$1 out=$2 n=$3
if [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then
	exec kconvert "$model" --part "$SLURM_ARRAY_TASK_ID/$n" --resume -o "$out"
elif [ "$n" = seal ]; then
	exec kconvert --seal "$out"
fi
array=$(sbatch --parsable --job-name=kconvert --array="1-$n" --cpus-per-task=8 --mem=1G "$0" "$model" "$out" "$n")
sbatch --parsable --job-name=kconvert-seal --dependency="afterok:$array" --mem=1G "$0" "$model" "$out" seal

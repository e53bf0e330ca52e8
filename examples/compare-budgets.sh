#!/bin/sh
# Runs one prompt under two memory budgets and compares: the text is the same, the speed is not.
#   compare-budgets.sh MODEL.gguf SIZE SIZE [PROMPT]
# SIZE is 8G or 512MiB; "umbra inspect MODEL.gguf" tells which budgets keep how many experts in memory.
set -eu
umbra=${UMBRA:-umbra}
[ $# -ge 3 ] || { sed -n '2,4s/^# //p' "$0" >&2; exit 2; }
model=$1 prompt=${4:-The cache holds}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for size in "$2" "$3"; do
    echo "--ram $size"
    "$umbra" run "$model" --ram "$size" -p "$prompt" -n 64 --stats >"$work/$size.txt" 2>"$work/stats"
    sed 's/^/  /' "$work/stats"
done
cmp "$work/$2.txt" "$work/$3.txt"
echo "both wrote the same text:"
cat "$work/$2.txt"

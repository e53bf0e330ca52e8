#!/bin/sh
# The examples run to their end on the embedded model. Usage: test_examples.sh UMBRA EMBED
set -eu
UMBRA=$1
embed=$2
export UMBRA
model=models/tiny-q8_0.gguf
shadow=$(echo models/tiny*.shadow.safetensors)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# check TEXT COMMAND...: it succeeds and its output has the text
check()
{
    text=$1
    shift
    "$@" >"$work/log" 2>&1 || { cat "$work/log"; echo "FAILED: $*"; exit 1; }
    grep -q -e "$text" "$work/log" || { cat "$work/log"; echo "FAILED: no $text: $*"; exit 1; }
    echo "$1 runs"
}

mkdir "$work/documents"
split -l 5 -a 3 docs/architecture.md "$work/documents/part-"
check "both wrote the same text" examples/compare-budgets.sh $model 24M 1GiB
check "gate" examples/judge-shadow.sh $model "$shadow" "$work/report.html" 3000
grep -q "<html" "$work/report.html"
out=$work/trained-here.safetensors
check "trained-here" examples/train-own-text.sh $model "$work/documents" "$out"
[ -s "$out" ]

# The foreign engine computes the same with every policy, memory and backend; without slots for all
# that a layer asks for, experts come one after the other.
same="every bit is as with all experts in memory"
for policy in off previous gate; do
    check "$same" "$embed" "$work/experts" $policy 0.2 sim:2G,20us 64
    check "$same" "$embed" "$work/experts" $policy 0.01 threads 16
done
check "$same" "$embed" "$work/experts" gate 1
"$embed" "$work/experts" gate 0.2 sim:2G,20us 64 >"$work/log"
grep "ahead:" "$work/log" | grep -q " [0-9.]*[1-9][0-9.]* MB \(useful\|late\|wasted\)" ||
    { cat "$work/log"; echo "FAILED: nothing is read ahead"; exit 1; }
code=0
"$embed" "$work/experts" gate 0.001 2>"$work/log" || code=$?
{ [ $code -eq 1 ] && grep -q "UMBRA_E_BUDGET" "$work/log"; } ||
    { cat "$work/log"; echo "FAILED: exit code $code for no memory"; exit 1; }

for script in examples/*.sh; do # without arguments they say how to call them
    code=0
    "$script" 2>"$work/log" || code=$?
    { [ $code -eq 2 ] && grep -q "$(basename "$script") MODEL" "$work/log"; } ||
        { echo "FAILED: $script does not say how to call it"; exit 1; }
done

#!/bin/sh
# The example scripts run to their end on the embedded model. Usage: test_examples.sh UMBRA
set -eu
UMBRA=$1
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

for script in examples/*.sh; do # without arguments they say how to call them
    code=0
    "$script" 2>"$work/log" || code=$?
    { [ $code -eq 2 ] && grep -q "$(basename "$script") MODEL" "$work/log"; } ||
        { echo "FAILED: $script does not say how to call it"; exit 1; }
done

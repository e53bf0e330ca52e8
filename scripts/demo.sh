#!/bin/sh
# The whole way on the embedded model, in under three minutes on two cores: what it is, a run under a
# budget, a shadow model from nothing, and an honest report.
#   scripts/demo.sh UMBRA FOLDER       FOLDER: for traces, shadow file and report; it is emptied
set -eu
umbra=$1
folder=$2
model=models/tiny-q8_0.gguf
start=$(date +%s)

stage()
{
    printf '\n== %s ==\n   %s\n' "$1" "$2"
}

rm -rf "$folder"
mkdir -p "$folder"

stage inspect "what the file holds, and what a budget keeps in memory"
"$umbra" inspect $model

stage run "a quarter of the experts in memory, the same text as with all of them"
"$umbra" run $model --ram 24M -p "The cache holds" -n 48 --stats
"$umbra" run $model --ram 24M -p "The cache holds" -n 48 >"$folder/budget.txt"
"$umbra" run $model -p "The cache holds" -n 48 >"$folder/all.txt"
cmp "$folder/budget.txt" "$folder/all.txt"

stage collect "the model writes its own text; recorded is what its layers see and use"
"$umbra" collect $model -o "$folder/train" --tokens 16000 --seed 1
"$umbra" collect $model -o "$folder/test" --tokens 5000 --seed 2

stage train "a network per layer learns which experts come next"
"$umbra" train "$folder/train" -o "$folder/tiny.shadow.safetensors" --epochs 3 2>"$folder/train.log" ||
    { cat "$folder/train.log"; exit 1; }

stage eval "every predictor on documents that the shadow never saw"
"$umbra" eval "$folder/test" --shadow "$folder/tiny.shadow.safetensors" \
    --report "$folder/report.html"

printf '\ndone in %d s\n' $(($(date +%s) - start))

#!/bin/sh
# Trains a shadow model on your own documents and says what it is worth on those it did not see.
#   train-own-text.sh MODEL.gguf DOCUMENTS OUT.safetensors
# DOCUMENTS is a folder of text files, at least a few dozen. Every tenth is kept for judging. More text
# is better: 300,000 tokens make a usable shadow model, a few million a good one.
set -eu
umbra=${UMBRA:-umbra}
[ $# -eq 3 ] || { sed -n '2,5s/^# //p' "$0" >&2; exit 2; }
model=$1 documents=$2 out=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Documents to train on and documents to judge on must differ: umbra eval refuses a shadow file that
# was trained on what it is to be judged by.
mkdir "$work/read" "$work/unseen"
n=0
find "$(cd "$documents" && pwd)" -type f | sort | while read -r file; do
    n=$((n + 1))
    folder=read
    [ $((n % 10)) -ne 0 ] || folder=unseen
    ln -s "$file" "$work/$folder/$n-$(basename "$file")"
done

"$umbra" collect "$model" -o "$work/train" --text "$work/read"
"$umbra" collect "$model" -o "$work/test" --text "$work/unseen"
"$umbra" train "$work/train" -o "$out"
"$umbra" eval "$work/test" --shadow "$out"

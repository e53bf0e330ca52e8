#!/bin/sh
# llama.cpp itself under Umbra: every logit is the same, bit for bit, at several budgets, policies and
# numbers of threads. Skipped where no llama.cpp was given to CMake (-DUMBRA_LLAMA_DIR=).
# Usage: test_real.sh UMBRA [LOGITS]
set -eu
[ $# -gt 1 ] || { echo "skipped: no llama.cpp; give one with -DUMBRA_LLAMA_DIR=FOLDER"; exit 77; }
umbra=$1
logits=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail()
{
    echo "FAILED: $1"
    cat "$work/err"
    exit 1
}

# same MODEL THREADS OPTION...
same()
{
    model=$1 threads=$2
    shift 2
    "$umbra" under "$@" -- "$logits" "$model" "$threads" repack >"$work/out" 2>"$work/err" ||
        fail "$model $*: exit code $?"
    grep -q "umbra: .*layers of\|umbra: .*are in memory\|left alone" "$work/err" || fail "$model $*: not under Umbra"
    cmp -s "$work/alone" "$work/out" || fail "$model $*: other logits"
}

for model in models/tiny-q8_0.gguf ../shared/models/lab-q4_0.gguf ../shared/arch/*.gguf \
    ../shared/arch2/*.gguf; do
    [ -f "$model" ] || continue
    "$logits" "$model" 1 >"$work/alone" 2>"$work/err" || fail "$model alone"
    "$umbra" under --experts 1 -- "$logits" "$model" 1 >"$work/out" 2>"$work/err" &&
        fail "$model: a budget of nothing"
    smallest=$(grep -o 'at least [0-9]*' "$work/err" | grep -o '[0-9]*')
    same "$model" 1 --experts "$smallest" --prefetch gate
    same "$model" 1 --experts $((smallest * 2)) --prefetch previous
    case $model in *tiny*)
        same "$model" 2 --experts "$smallest" --prefetch off
        same "$model" 2 --experts 5M
        same "$model" 1 --ram 8G
        ;;
    esac
done

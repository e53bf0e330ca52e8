#!/bin/sh
# llama.cpp itself under Umbra: every logit is the same, bit for bit, at several budgets, policies and
# numbers of threads. Skipped where no llama.cpp was given to CMake (-DUMBRA_LLAMA_DIR=).
# Usage: test_real.sh UMBRA [LOGITS [MODEL...]]
set -eu
[ $# -gt 1 ] || { echo "skipped: no llama.cpp; give one with -DUMBRA_LLAMA_DIR=FOLDER"; exit 77; }
umbra=$1
logits=$2
shift 2
[ $# -gt 0 ] || set -- models/tiny-q8_0.gguf ../shared/models/lab-q4_0.gguf ../shared/arch/*.gguf \
    ../shared/arch2/*.gguf
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail()
{
    echo "FAILED: $model $1"
    cat "$work/err"
    exit 1
}

# same EXPECTED THREADS OPTION...: what the program prints under Umbra is what is in the file EXPECTED
same()
{
    expected=$1 threads=$2
    shift 2
    "$umbra" under --stats "$@" -- "$logits" "$model" "$threads" repack >"$work/out" 2>"$work/err" ||
        fail "$*: exit code $?"
    grep -q "umbra: .*layers of\|umbra: .*are in memory\|left alone" "$work/err" ||
        fail "$*: not under Umbra"
    cmp -s "$work/$expected" "$work/out" || fail "$*, $threads threads: other logits"
}

# at PERCENT: that much of the experts' bytes, or the least that works
at()
{
    bytes=$((all / 100 * $1))
    [ $bytes -gt "$least" ] || bytes=$least
    echo $bytes
}

# A shadow model from the texts that the program computes.
make_shadow()
{
    rm -rf "$work/trace"
    same alone 1 --experts "$(at 50)" --collect "$work/trace"
    "$umbra" train "$work/trace" -o "$work/shadow" --epochs 1 >"$work/err" 2>&1
}

check()
{
    for threads in 1 2; do
        "$logits" "$model" $threads >"$work/alone$threads" 2>"$work/err" || fail "alone"
    done
    "$logits" "$model" 1 repack >"$work/repacked" 2>"$work/err" || fail "alone, repacked"
    cp "$work/alone1" "$work/alone"
    "$umbra" under --experts 1 -- "$logits" "$model" 1 >"$work/out" 2>"$work/err" &&
        fail "a budget of nothing"
    least=$(grep -o 'at least [0-9]*' "$work/err" | grep -o '[0-9]*')
    same repacked 1 --experts 100G
    grep -q "left alone" "$work/err" || fail "what fits is not left alone"
    same alone2 2 --ram 100G
    grep -q "are in memory" "$work/err" || fail "not everything is in memory"
    same alone1 1 --experts "$least" --prefetch off
    all=$(sed -n 's/.* experts, \([0-9.]*\) MB; room.*/\1/p' "$work/err" | awk '{ print int($1 * 1e6) }')
    same alone2 2 --experts "$least" --prefetch gate
    same alone2 2 --experts "$(at 25)" --prefetch off
    same alone1 1 --experts "$(at 25)" --prefetch gate
    same alone1 1 --experts "$(at 50)" --prefetch previous
    same alone2 2 --experts "$(at 50)" --prefetch auto
    if make_shadow; then
        same alone1 1 --experts "$least" --prefetch shadow --shadow "$work/shadow"
        same alone2 2 --experts "$(at 25)" --shadow "$work/shadow"
        shadow="with a shadow model"
    else
        shadow="without: $(tail -1 "$work/err")"
    fi
    echo "$model: $least of $all bytes and above: the same, $shadow"
}

for model in "$@"; do
    [ ! -f "$model" ] || check
done

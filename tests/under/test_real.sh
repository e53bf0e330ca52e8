#!/bin/sh
# llama.cpp itself under Umbra: every logit is the same, bit for bit, with all experts in memory, half, a
# quarter and the least, reading ahead by each policy, with one and two threads. Skipped where no llama.cpp
# was given to CMake (-DUMBRA_LLAMA_DIR=).
# Usage: test_real.sh UMBRA [LOGITS [MODEL...]]
# THREADS (1 2); RESULTS: a file that takes a line for each model that passed; those that have one are passed over
set -eu
[ $# -gt 1 ] || { echo "skipped: no llama.cpp; give one with -DUMBRA_LLAMA_DIR=FOLDER"; exit 77; }
umbra=$1
logits=$2
shift 2
[ $# -gt 0 ] || set -- models/tiny-q8_0.gguf ../shared/models/lab-q4_0.gguf ../shared/arch/*.gguf \
    ../shared/arch2/*.gguf
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
numbers=${THREADS:-1 2}
results=${RESULTS:-$work/results}
touch "$results"

# Ends the model's subshell.
fail()
{
    echo "FAILED: $model: $1"
    cat "$work/err"
    exit 1
}

# same THREADS OPTION...: the program prints the same under Umbra; a model that is left alone may be repacked
same()
{
    threads=$1 expected=alone$1
    shift
    "$umbra" under --stats "$@" -- "$logits" "$model" "$threads" repack >"$work/out" 2>"$work/err" ||
        fail "$*, $threads threads: exit code $?"
    grep -q "umbra: .*layers of\|umbra: .*are in memory\|left alone" "$work/err" ||
        fail "$*: not under Umbra"
    ! grep -q "left alone" "$work/err" || expected=repacked$threads
    cmp -s "$work/$expected" "$work/out" || fail "$*, $threads threads: other logits"
    runs=$((runs + 1))
}

# The program without Umbra, and with weights that llama.cpp may repack.
compute_alone()
{
    for threads in $numbers; do
        "$logits" "$model" $threads >"$work/alone$threads" 2>"$work/err" || fail "alone"
        "$logits" "$model" $threads repack >"$work/repacked$threads" 2>"$work/err" ||
            fail "alone, repacked"
    done
}

# The least bytes that work, and a half and a quarter of the experts' where that is more.
list_budgets()
{
    "$umbra" under --experts 1 -- "$logits" "$model" 1 >"$work/out" 2>"$work/err" &&
        fail "a budget of nothing"
    least=$(grep -o 'at least [0-9]*' "$work/err" | grep -o '[0-9]*')
    same ${numbers%% *} --experts "$least" --prefetch off
    all=$(sed -n 's/.* experts, \([0-9.]*\) MB[;,].*/\1/p' "$work/err" |
        awk '{ printf "%d", $1 * 1e6 }')
    budgets=$least
    for percent in 25 50; do
        bytes=$((all / 100 * percent))
        [ $bytes -le "$least" ] || budgets="$budgets $bytes"
    done
}

# A shadow model from the texts that the program computes.
make_shadow()
{
    rm -rf "$work/trace"
    same ${numbers%% *} --experts "$least" --collect "$work/trace"
    "$umbra" train "$work/trace" -o "$work/shadow" --epochs 1 --hidden 16 >"$work/err" 2>&1
}

check()
{
    runs=0
    compute_alone
    list_budgets
    policies="off gate previous auto"
    without=
    if make_shadow; then
        policies="$policies shadow"
    else
        without="; no shadow model: $(tail -1 "$work/err")"
    fi
    for threads in $numbers; do
        for much in "--experts 100G" "--ram 100G"; do
            # shellcheck disable=SC2086 # two words
            same $threads $much
            grep -q "left alone" "$work/err" || fail "what fits is not left alone"
        done
        same $threads --ram 1000M
        grep -q "are in memory" "$work/err" || fail "not everything is in memory"
        for bytes in $budgets; do
            for policy in $policies; do
                option=
                [ $policy != shadow ] || option="--shadow $work/shadow"
                # shellcheck disable=SC2086 # two words
                same $threads --experts "$bytes" --prefetch $policy $option
            done
        done
    done
    echo "$model: $runs runs with $(echo $budgets | tr ' ' ,) of $all bytes and all: the same$without"
}

failed=0
for model in "$@"; do
    [ -f "$model" ] || continue
    ! grep -q "^$model: " "$results" || continue
    if (check >"$work/line"); then
        tee -a "$results" <"$work/line"
    else
        cat "$work/line"
        failed=$((failed + 1))
    fi
done
echo "$(wc -l <"$results") models the same, $failed not"
[ $failed = 0 ]

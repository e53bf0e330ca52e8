#!/bin/sh
# Prompts whose experts are on disk: the time to the first token beside what it cannot be less than,
# the larger of the bytes read at the disk's rate and of computing with everything in memory.
# Usage: prompts.sh BUILD MODEL TOKENS [PERCENT...]
# PERCENT (25 50): budgets, as a share of the way from the smallest to all in memory. TOKENS: length
# of the prompt, at most what the model's context holds less 64. IO (sim:1G,100us): the disk, RATE
# (that of IO): its bytes per second; ROUNDS (3), THREADS (all), OPTIONS of umbra run. PEER, a
# llama-bench (bench/peers/llama.sh): in turns, with mmap, in a memory cgroup of the same size, its
# page cache dropped before; as root, and with IO=auto, so that both read from the machine's disk.
set -eu
[ $# -ge 3 ] || { sed -n '4,9s/^# *//p' "$0" >&2; exit 2; }
build=$1 model=$2 tokens=$3
shift 3
umbra=$build/src/cli/umbra io=${IO:-sim:1G,100us} rounds=${ROUNDS:-3} threads=${THREADS:-$(nproc)}
rate=${RATE:-$(echo "$io" | sed -n 's/^sim:\([^,]*\),.*/\1/p')}
work=$(mktemp -d)
. "$(dirname "$0")/cgroup.sh"
trap 'rm -rf "$work"; remove_group' EXIT

# field NAME: a number of the JSON on stdin
field()
{
    tr -d '\n' | sed "s/.*\"$1\": *\([0-9.]*\).*/\1/"
}

median()
{
    sort -n "$1" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}

run()
{
    # shellcheck disable=SC2086
    "$umbra" run "$model" -f "$work/prompt" -n 1 --ctx $((tokens + 64)) -t "$threads" --json \
        ${OPTIONS:-} "$@" 2>"$work/err" || { cat "$work/err" >&2; return 1; }
}

# The peer's seconds for the same number of tokens, in the group.
run_peer()
{
    sync && echo 3 >/proc/sys/vm/drop_caches
    sh -c 'echo $$ >"$0/cgroup.procs"; exec "$@"' "$group" "$PEER" -m "$model" -t "$threads" \
        -p "$length" -n 0 -r 1 --no-warmup --repack 0 -o csv 2>"$work/peer.err" >"$work/peer.out" ||
        { tail -3 "$work/peer.err" >&2; return 1; }
    awk -F'","' -v n="$length" '
        NR == 1 { m = split($0, name, ","); for (i = 1; i <= m; i++) if (name[i] == "avg_ts") at = i }
        NR > 1 { print n / $at }' "$work/peer.out" >>"$work/peer"
}

# As many lines of a story as are that many tokens, and some words of the next.
write_prompt()
{
    seq 1 "$tokens" | awk '{ printf "In line %d the shadow moves %d steps. ", $1, $1 * $1 % 97 }' \
        >"$work/story"
    words=$tokens
    while :; do
        cut -d ' ' -f "1-$words" "$work/story" >"$work/prompt"
        run --io sim:100G,1us >"$work/json" 2>/dev/null && break
        words=$((words * 9 / 10))
    done
}

write_prompt
length=$(field prompt_tokens <"$work/json")
"$build/bench/bench_threads" "$model" --threads "$threads" --prompt "$length" --tokens 1 \
    --rounds "$rounds" --kernels "$(sed 's/.*"kernels":"\([^"]*\)".*/\1/' "$work/json")" |
    awk -v n="$length" 'END { print n / $3 }' >"$work/computing"
"$umbra" inspect "$model" --json --ctx $((tokens + 64)) >"$work/plan"
least=$(field min_budget_bytes <"$work/plan") most=$(field all_budget_bytes <"$work/plan")
echo "$model: $length tokens, $threads threads, $io; computing alone $(cat "$work/computing") s"
printf '%7s %9s %9s %9s %9s %7s\n' percent 'budget MB' 'read MB' 'disk s' 'first s' ratio
for percent in ${*:-25 50}; do
    budget=$((least + (most - least) / 100 * percent))
    : >"$work/seconds"
    : >"$work/peer"
    [ -z "${PEER:-}" ] || make_group "$budget"
    for round in $(seq "$rounds"); do
        run --ram "$budget" --io "$io" >"$work/json"
        field prefill_tok_s <"$work/json" | awk -v n="$length" '{ print n / $1 }' >>"$work/seconds"
        [ -z "${PEER:-}" ] || run_peer
    done
    remove_group
    field bytes_read <"$work/json" >"$work/bytes"
    awk -v p="$percent" -v b="$budget" -v read="$(cat "$work/bytes")" -v rate="${rate:-0}" \
        -v c="$(cat "$work/computing")" -v s="$(median "$work/seconds")" 'BEGIN {
            unit = rate ~ /G/ ? 1e9 : rate ~ /M/ ? 1e6 : 1
            disk = rate + 0 > 0 ? read / (rate + 0) / unit : 0
            bound = disk > c ? disk : c
            printf "%7d %9.1f %9.1f %9.3f %9.3f %7.2f\n", p, b / 1e6, read / 1e6, disk, s, s / bound
        }'
    [ ! -s "$work/peer" ] || echo "        the peer: $(median "$work/peer") s"
done

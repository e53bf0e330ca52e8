#!/bin/sh
# bench/record.sh writes rows of as many fields as its header has, with what the programs said; it
# appends, and leaves a file of other columns alone. Usage: test_record.sh UMBRA BENCH_ENGINE
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export UMBRA=$1 BENCH_ENGINE=$2 RESULTS=$work/results.csv

fail()
{
    echo "FAILED: $1"
    cat "$RESULTS"
    exit 1
}

# field NAME LINE: a field of a line by its column's name
field()
{
    awk -F , -v name="$1" -v line="$2" 'NR == 1 { for (i = 1; i <= NF; i++) column[$i] = i }
        NR == line { print $column[name] }' "$RESULTS"
}

model=models/tiny-q8_0.gguf
options="--policy gate off --rounds 1 -n 4 --warm 1"
bench/record.sh $model --ram 24M --io sim:2G,20us $options >"$work/said"
[ "$(awk -F , '{ print NF }' "$RESULTS" | sort -u | wc -l)" = 1 ] || fail "fields are not even"
[ "$(wc -l <"$RESULTS")" = 6 ] || fail "not 5 rows" # resident, gate, off; 1 and 2 threads
[ "$(field policy 2)" = resident ] && [ "$(field policy 3)" = gate ] || fail "policies"
[ "$(field policy 4)" = off ] && [ "$(field ratio_to_off 4)" = 1.0000 ] || fail "off is not 1 off"
[ "$(field io 3)" = sim:2G/20us ] && [ "$(field ram_bytes 3)" = 24000000 ] || fail "backend, budget"
[ -z "$(field ratio_to_off 2)" ] || fail "a ratio where nothing was read ahead"
for column in date commit machine model threads tok_s compute_ms io_ms hits bytes_per_token; do
    [ -n "$(field $column 3)" ] || fail "no $column"
done
[ "$(field program 6)" = engine ] && [ "$(field threads 6)" = 2 ] || fail "bench_engine"
[ "$(field model 6)" = "$(field model 2)" ] || fail "two names of a model"
awk -v p="$(field prefill_tok_s 5)" -v t="$(field tok_s 5)" -v s="$(field plain_read_share 5)" \
    'BEGIN { exit !(p > 0 && t > 0 && s > 0 && s < 10) }' || fail "bench_engine's figures"

BENCH_ENGINE=none bench/record.sh $model --ram 24M $options >"$work/said"
[ "$(wc -l <"$RESULTS")" = 9 ] || fail "not appended"
echo "a,b" >"$work/other.csv"
code=0
RESULTS=$work/other.csv BENCH_ENGINE=none bench/record.sh $model --ram 24M $options 2>"$work/said" ||
    code=$?
[ $code -eq 1 ] && grep -q "other columns" "$work/said" || fail "other columns are not refused"
[ "$(cat "$work/other.csv")" = a,b ] || fail "another file was written to"
code=0
bench/record.sh 2>"$work/said" || code=$?
[ $code -eq 2 ] && grep -q "record.sh MODEL" "$work/said" || fail "it does not say how to call it"
[ "$(head -n 1 "$RESULTS")" = "$(head -n 1 bench/results.csv)" ] || fail "bench/results.csv differs"

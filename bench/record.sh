#!/bin/sh
# Measures a model with `umbra bench` and bench_engine and appends what they say to bench/results.csv,
# one row per policy, budget and backend; docs/measuring.md says how to read it. Nothing else should
# run meanwhile: the load of the machine is recorded with each row.
# Usage: bench/record.sh MODEL [OPTION OF umbra bench...]
#        bench/record.sh lab.gguf --ram 90M 60M --io sim:500M,100us --policy off auto
# UMBRA, BENCH_ENGINE: the programs (build/release); BENCH_ENGINE=none leaves that one out.
# RESULTS: the file (bench/results.csv).
set -eu
[ $# -ge 1 ] || { sed -n '5,6s/^# //p' "$0" >&2; exit 2; }
root=$(cd "$(dirname "$0")/.." && pwd)
umbra=${UMBRA:-$root/build/release/src/cli/umbra}
engine=${BENCH_ENGINE:-$root/build/release/bench/bench_engine}
results=${RESULTS:-$root/bench/results.csv}
model=$1
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# first WORDS: what is behind the colon of the first such line of /proc/cpuinfo
first()
{
    sed -n "s/^$1[^:]*: *//p" /proc/cpuinfo 2>/dev/null | head -n 1
}

commit=$(git -C "$root" rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
git -C "$root" diff --quiet HEAD -- src include CMakeLists.txt 2>/dev/null || commit=$commit+
machine="$(first 'model name' | tr -d ',"') x $(getconf _NPROCESSORS_ONLN)"
load=$(cut -d ' ' -f 1 /proc/loadavg 2>/dev/null || echo unknown)
common=$(date -u +%Y-%m-%d),$commit,$machine,$load

"$umbra" bench "$model" "$@" --json >"$work/bench.json"
# The program writes one line without spaces between its parts, so that no reader of JSON is needed.
awk -v common="$common" '
function value(text, key,    at)
{
    at = index(text, "\"" key "\":")
    text = at ? substr(text, at + length(key) + 3) : ""
    sub(/^"/, "", text)
    sub(/[",}].*/, "", text)
    return text == "null" ? "" : text
}
function ms(seconds)
{
    return seconds == "" ? "" : seconds * 1000
}
{
    n = split($0, row, /{"policy":/)
    for (i = 2; i <= n; i++) {
        row[i] = "\"policy\":" row[i]
        place[i] = value(row[i], "io") " " value(row[i], "ram_bytes")
        if (value(row[i], "policy") == "off")
            off[place[i]] = value(row[i], "median")
    }
    for (i = 2; i <= n; i++) {
        r = row[i]
        ratio = off[place[i]] > 0 ? sprintf("%.4f", value(r, "median") / off[place[i]]) : ""
        io = value(r, "io")
        if (match(r, /"io":"[^"]*"/)) # sim:500M,100us has a comma
            io = substr(r, RSTART + 6, RLENGTH - 7)
        gsub(/,/, "/", io)
        print common ",bench," value(row[1], "model") "," value(row[1], "kernels") ","            \
            value(row[1], "threads") "," value(r, "ram_bytes") "," value(r, "residency") "," io "," \
            value(r, "policy") "," value(row[1], "rounds") "," value(row[1], "tokens") ","         \
            value(r, "median") "," value(r, "min") "," value(r, "max") "," ratio ","                \
            ms(value(r, "compute_s")) "," ms(value(r, "io_s")) "," value(r, "bound_share") ","     \
            value(r, "hits") "," value(r, "bytes_per_token") "," value(r, "useful_bytes") ","      \
            value(r, "late_bytes") "," value(r, "wasted_bytes") ","                                \
            ms(value(r, "stall_s_per_token")) ",,"
    }
}' "$work/bench.json" >"$work/rows"

if [ "$engine" != none ]; then
    "$engine" "$model" >"$work/engine"
    # NAME THREADS  prefill N  decode N tok/s  N GB/s of N (N %)
    awk -v common="$common" '
    / prefill +[0-9.]+ +decode / {
        line = $0
        gsub(/[(),%]/, "", line)
        n = split(line, word, / +/)
        name = ""
        for (i = 1; word[i + 1] != "prefill"; i++)
            name = name (i > 1 ? " " : "") word[i]
        print common ",engine," name ",," word[i] ",,1,memory,resident,5,64," word[i + 4] ",,,,,,,,,,,,," \
            word[i + 2] "," word[i + 10] / 100
    }' "$work/engine" >>"$work/rows"
fi

columns=date,commit,machine,load,program,model,kernels,threads,ram_bytes,residency,io,policy
columns=$columns,rounds,tokens,tok_s,tok_s_min,tok_s_max,ratio_to_off,compute_ms,io_ms,bound_share
columns=$columns,hits,bytes_per_token,useful_bytes,late_bytes,wasted_bytes,stall_ms,prefill_tok_s
columns=$columns,plain_read_share
[ -s "$results" ] || echo "$columns" >"$results"
[ "$(head -n 1 "$results")" = "$columns" ] || {
    echo "record.sh: $results has other columns; name another file by RESULTS" >&2
    exit 1
}
cat "$work/rows" >>"$results"
echo "$(wc -l <"$work/rows") rows added to $results"

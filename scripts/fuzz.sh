#!/usr/bin/env bash
# Runs fuzz targets side by side. What they find lies in $OUT/crashes (to be kept as a file of the target's
# corpus once it is mended), what they have learnt in $OUT/corpus, from where the next run goes on.
#   fuzz.sh SECONDS [TARGET]...    all targets, or those named, each for so long
#   fuzz.sh --bundle FOLDER        programs, libraries, corpora and this script (as run.sh) into FOLDER, to be
#                                  run on any x86-64 Linux: OUT=out FOLDER/run.sh SECONDS [TARGET]...
# JOBS: targets at once (default: the processors; in a bundle all); WORKERS: processes of a target (1; in a
# bundle 2). Exit code 1 if anything was found.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
loader=()
if [ -f "$here/targets" ]; then
    OUT=$(realpath -m "${OUT:-$here/out}")
    cd "$here" || exit 1
    [ -d bin ] || tar xzf programs.tar.gz || exit 1
    loader=(lib/ld-linux-x86-64.so.2 --library-path lib)
    list=targets JOBS=${JOBS:-1000} WORKERS=${WORKERS:-2}
else
    cd "$here/.." || exit 1
    OUT=$(realpath -m "${OUT:-build/fuzz-out}")
    list=build/fuzz/fuzz-targets JOBS=${JOBS:-$(nproc)} WORKERS=${WORKERS:-1}
fi
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:allocator_may_return_null=1}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}

# NAME PROGRAM CORPUS [DICTIONARY]
run_worker()
{
    local end=$((SECONDS + $seconds)) log=$OUT/log/$1.$5.log left tries=0
    : >"$log"
    while left=$((end - SECONDS)) && [ $left -gt 0 ] && [ $tries -lt 20 ]; do
        # A finding ends a process; the next one goes on.
        "${loader[@]}" "$2" -max_total_time=$left -timeout=30 -rss_limit_mb=3000 -print_final_stats=1 \
            -close_fd_mask=1 -artifact_prefix="$OUT/crashes/$1-" ${4:+-dict=$4} "$OUT/corpus/$1" "$3" >>"$log" 2>&1 &&
            break
        tries=$((tries + 1))
    done
}

run_target()
{
    local worker
    mkdir -p "$OUT/corpus/$1"
    for worker in $(seq "$WORKERS"); do
        run_worker "$1" "$2" "$3" "$4" "$worker" &
    done
    wait
    report "$1"
}

# What all processes of a target have done.
report()
{
    local runs coverage found
    runs=$(cat "$OUT/log/$1".*.log | sed -n 's/^stat::number_of_executed_units: *//p' | awk '{n += $1} END {print n}')
    coverage=$(cat "$OUT/log/$1".*.log | sed -n 's/.*cov: \([0-9]*\).*/\1/p' | sort -n | tail -1)
    found=$(find "$OUT/crashes" -name "$1-*" ! -name "$1-slow-unit-*" | wc -l)
    printf '%-18s %5d s x %d  %11s runs  %6s edges  %5d inputs kept  %d found\n' "$1" "$seconds" "$WORKERS" \
        "${runs:-0}" "${coverage:-?}" "$(find "$OUT/corpus/$1" -type f | wc -l)" "$found"
}

run_all()
{
    local name program corpus dictionary
    while read -r name program corpus dictionary; do
        [ $# -eq 0 ] || [[ " $* " = *" $name "* ]] || continue
        while [ "$(jobs -rp | wc -l)" -ge "$JOBS" ]; do wait -n; done
        run_target "$name" "$program" "$corpus" "$dictionary" </dev/null &
    done <"$list"
    wait
}

bundle()
{
    local name program corpus dictionary needed
    mkdir -p "$1/bin" "$1/lib" "$1/corpus" "$1/models"
    : >"$1/targets"
    while read -r name program corpus dictionary; do
        strip -o "$1/bin/$name" "$program"
        mkdir -p "$1/corpus/$name"
        cp "$corpus"/* "$1/corpus/$name/"
        [ -n "$dictionary" ] && cp "$dictionary" "$1/corpus/$name.dict" && dictionary=corpus/$name.dict
        for needed in $(ldd "$program" | awk '$2 == "=>" {print $3} /ld-linux/ {print $1}'); do
            cp -n "$needed" "$1/lib/"
        done
        echo "$name bin/$name corpus/$name $dictionary" >>"$1/targets"
    done <"$list"
    tar -C "$1" --remove-files -czf "$1/programs.tar.gz" bin lib
    cp models/tiny-q8_0.gguf "$1/models/"
    cp "$0" "$1/run.sh"
    du -sh "$1"
}

[ -f "$list" ] || { echo "$list is missing: make fuzz builds it" >&2; exit 1; }
case ${1:-} in
--bundle) bundle "$(realpath -m "$2")"; exit ;;
'' | *[!0-9]*) sed -n '2,9p' "$0" >&2; exit 2 ;;
esac
seconds=$1
shift
mkdir -p "$OUT/corpus" "$OUT/crashes" "$OUT/log"
run_all "$@" | tee "$OUT/report"
! find "$OUT/crashes" -type f ! -name '*-slow-unit-*' | grep .

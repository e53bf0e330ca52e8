#!/usr/bin/env bash
# Runs fuzz targets side by side. What they find lies in $OUT/crashes, an input (to be kept as a file of the target's
# corpus once it is mended) and the log of its run; what they have learnt in $OUT/corpus, from where the next run
# goes on.
#   fuzz.sh SECONDS [TARGET]...    all targets, or those named, each for so many seconds of the processor
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

# Seconds of the processor that the ended processes of this subshell have taken; left in $spent. By a file, for another
# subshell would tell of its own.
count_spent()
{
    times >"$1"
    spent=$(awk 'NR == 2 {gsub(/[ms]/, " "); print int($1 * 60 + $2 + $3 * 60 + $4)}' "$1")
    rm -f "$1"
}

# NAME PROGRAM CORPUS DICTIONARY WORKER. Where others have the processor too, a process gets less of it than its
# seconds: the next one takes the rest. A finding ends a process as well.
run_worker()
{
    local log=$OUT/log/$1.$5.log tries=0 spent=0 code
    : >"$log"
    while [ $((seconds - spent)) -gt $((seconds / 50)) ] && [ $tries -lt 20 ]; do
        "${loader[@]}" "$2" -max_total_time=$((seconds - spent)) -timeout=30 -rss_limit_mb=3000 -print_final_stats=1 \
            -close_fd_mask=1 -artifact_prefix="$OUT/crashes/$1-" ${4:+-dict=$4} "$OUT/corpus/$1" "$3" \
            >"$log.part" 2>&1
        code=$?
        [ $code -eq 0 ] || keep_finding "$1" "$2" "$log.part" $code
        [ $code -eq 0 ] || tries=$((tries + 1))
        cat "$log.part" >>"$log"
        rm "$log.part"
        count_spent "$log.times"
    done
    echo "stat::processor_seconds: $spent" >>"$log"
}

# NAME PROGRAM LOG CODE: the log goes beside the input that it names, or stands alone where it names none. An input
# that took too long is run once more, by the processor's seconds: a busy machine is no finding.
keep_finding()
{
    local input
    input=$(sed -n 's/.*Test unit written to //p' "$3" | tail -1)
    if [[ $input = */"$1"-timeout-* ]] && (ulimit -t 60 && "${loader[@]}" "$2" -timeout=0 "$input") >"$3.again" 2>&1; then
        mv "$input" "${input/-timeout-/-slow-unit-}"
        input=${input/-timeout-/-slow-unit-}
    fi
    rm -f "$3.again"
    { echo "exit code $4"; cat "$3"; } >"${input:-$(mktemp "$OUT/crashes/$1-unnamed-XXXXXX")}.log"
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
    local runs coverage found spent
    runs=$(cat "$OUT/log/$1".*.log | sed -n 's/^stat::number_of_executed_units: *//p' | awk '{n += $1} END {print n}')
    coverage=$(cat "$OUT/log/$1".*.log | sed -n 's/.*cov: \([0-9]*\).*/\1/p' | sort -n | tail -1)
    spent=$(cat "$OUT/log/$1".*.log | sed -n 's/^stat::processor_seconds: *//p' | awk '{n += $1} END {print n}')
    found=$(find "$OUT/crashes" -name "$1-*.log" ! -name "$1-slow-unit-*" | wc -l)
    printf '%-18s %6d s of processor  %11s runs  %6s edges  %5d inputs kept  %d found\n' "$1" "$spent" "${runs:-0}" \
        "${coverage:-?}" "$(find "$OUT/corpus/$1" -type f | wc -l)" "$found"
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

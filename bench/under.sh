#!/bin/sh
# llama.cpp with mmap alone and under Umbra, in turns, each in a memory cgroup of a share of the file, and
# with memory for all of it: tokens per second of llama-bench for a prompt and for decoding, medians of
# the rounds. Reads come from the disk: page caches are dropped before every run, and read-ahead is the
# usual 128 KiB. Experts get the cgroup's memory less the other weights and what llama.cpp allocates. No
# weights are repacked: llama.cpp would need the memory of all of them for that, and be killed. With memory
# for all (100) all begin with warm caches: llama.cpp as it is against a budget for all experts (--experts),
# and, as "mapped", without repacking against a budget for the process (--ram).
# Usage: under.sh UMBRA LLAMA_BENCH MODEL [PERCENT...]     as root, with cgroups v1 or v2
# ROUNDS (3), THREADS (all), PROMPT (512), DECODE (64), ONLY (which programs: "mmap umbra off mapped ram"), BASE (what
# llama.cpp allocates, MB: measured before the first round), SIM (a simulated disk as of --io, on which
# reading ahead is compared too), UNTIL (seconds, after which no further run is begun), ARGS (more words for
# llama-bench), KEEP (a folder that the figures stay in: those of a later run join them, so that rounds may be
# run one by one)
set -eu
umbra=$1
bench=$2
model=$3
shift 3
shares=${*:-25 40 60 100}
rounds=${ROUNDS:-3} threads=${THREADS:-$(nproc)} prompt=${PROMPT:-512} decode=${DECODE:-64}
only=${ONLY:-mmap umbra off mapped ram} until=${UNTIL:-36000} begun=$(date +%s)
bytes=$(stat -Lc %s "$model")
work=$(mktemp -d)
figures=${KEEP:-$work}
mkdir -p "$figures"
ahead=
. "$(dirname "$0")/cgroup.sh"

# The disk's read-ahead is 128 KiB while this runs.
set_read_ahead()
{
    device=$(df --output=source "$model" | tail -1)
    device=$(lsblk -no pkname "$device" 2>/dev/null | head -1 | grep . || basename "$device")
    file=/sys/block/$device/queue/read_ahead_kb
    if [ -w "$file" ]; then
        ahead="$(cat "$file") $file"
        echo 128 >"$file"
    else
        echo "read-ahead of the disk below $model is not known: it stays as it is"
    fi
}

leave()
{
    remove_group
    [ -z "$ahead" ] || echo "${ahead%% *}" >"${ahead#* }"
    rm -rf "$work"
}
trap leave EXIT

# run NAME PROGRAM...: with cold caches; adds "PROMPT DECODE", tokens per second, to the file NAME, and what
# Umbra says to NAME.stats
run()
{
    name=$1
    shift
    case " $only sim sim-off " in *" ${name%%.*} "*) ;; *) return 0 ;; esac
    [ $(($(date +%s) - begun)) -lt "$until" ] || return 0
    if [ -n "$group" ]; then
        sync
        echo 1 >/proc/sys/vm/drop_caches
    else
        cat "$model" >/dev/null
    fi
    sh -c '[ -z "$0" ] || echo $$ >"$0/cgroup.procs"; exec "$@"' "$group" "$@" -m "$model" \
        -t "$threads" -p "$prompt" -n "$decode" -r 1 --no-warmup ${ARGS:-} -o csv >"$work/out" 2>"$work/err" ||
        { echo "$name: exit code $?" && tail -3 "$work/err"; }
    awk -F'","' 'NR == 1 { n = split($0, a, ","); for (i = 1; i <= n; i++) if (a[i] == "avg_ts") at = i }
        NR > 1 { printf "%s ", $at } END { print "" }' "$work/out" >>"$figures/$name"
    grep "umbra: \|umbra:  " "$work/err" >>"$figures/$name.stats" || true
}

# median FILE COLUMN
median()
{
    awk -v c="$2" '$c { print $c }' "$1" 2>/dev/null | sort -n |
        awk '{ v[NR] = $1 } END { printf "%.2f", NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}

# row SHARE PROGRAM OTHER: the program's figures, and how many times the other's they are
row()
{
    [ -f "$figures/$2.$1" ] && [ -f "$figures/$3.$1" ] || return 0
    awk -v s="$1" -v p="$2 : $3" -v a="$(median "$figures/$2.$1" 1)" -v b="$(median "$figures/$2.$1" 2)" \
        -v c="$(median "$figures/$3.$1" 1)" -v d="$(median "$figures/$3.$1" 2)" -v n="$(wc -l <"$figures/$2.$1")" \
        'BEGIN { printf "%5s %% %-16s %11.2f %7.2f %11.2f %7.2f %6d\n", s, p, a, c ? a / c : 0, b,
            d ? b / d : 0, n }'
}

other_bytes()
{
    "$umbra" under --ram 1 -- "$bench" -m "$model" -p 1 -n 0 -r 1 ${ARGS:-} --no-warmup 2>&1 |
        sed -n 's/.*(\([0-9]*\) of them weights.*/\1/p'
}

# What the process takes beside experts and the file's other pages (which are in the page cache already, and
# so not the cgroup's), in MB: the most that a run in a large cgroup had, less its experts, and a little more.
measure_base()
{
    cat "$model" >/dev/null
    make_group $((bytes * 2))
    sh -c 'echo $$ >"$0/cgroup.procs"; exec "$@"' "$group" "$umbra" under --experts $((bytes * 6 / 10)) \
        --stats -- "$bench" -m "$model" -t "$threads" -p "$prompt" -n 8 -r 1 --no-warmup ${ARGS:-} \
        >/dev/null 2>"$work/err"
    most=$(cat "$group/memory.peak" 2>/dev/null || cat "$group/memory.max_usage_in_bytes")
    taken=$(sed -n 's/.*experts took at most \([0-9]*\).*/\1/p' "$work/err")
    remove_group
    base=$((most / 1000000 - taken + 6))
}

set_read_ahead
other=$(other_bytes)
[ -n "$other" ] || { echo "llama-bench does not run under Umbra" && exit 1; }
base=${BASE:-}
[ -n "$base" ] || measure_base
echo "$model: $bytes bytes, $other of them in every token's way; $threads threads; $base MB for the rest"
base=$((base * 1000000))
for round in $(seq "$rounds"); do
    for share in $shares; do
        limit=$((bytes / 100 * share)) experts=$((bytes / 100 * share - other - base))
        if [ "$share" -lt 100 ]; then
            make_group $limit
            run mmap.$share "$bench" --repack 0
            run umbra.$share "$umbra" under --stats --experts $experts -- "$bench"
            run off.$share "$umbra" under --stats --experts $experts --prefetch off -- "$bench"
            if [ -n "${SIM:-}" ]; then
                run sim.$share "$umbra" under --stats --experts $experts --io "sim:$SIM" -- "$bench"
                run sim-off.$share "$umbra" under --stats --experts $experts --io "sim:$SIM" --prefetch off \
                    -- "$bench"
            fi
            remove_group
        else
            run mmap.$share "$bench"
            run umbra.$share "$umbra" under --experts 1000G -- "$bench"
            run mapped.$share "$bench" --repack 0
            run ram.$share "$umbra" under --ram 1000G -- "$bench"
        fi
    done
done
printf '%7s %-16s %11s %7s %11s %7s %6s\n' memory program 'prompt tok/s' times 'decode tok/s' times runs
for share in $shares; do
    row "$share" mmap mmap
    row "$share" umbra mmap
    row "$share" off mmap
    row "$share" umbra off
    row "$share" mapped mapped
    row "$share" ram mapped
    row "$share" sim-off mmap
    row "$share" sim sim-off
done

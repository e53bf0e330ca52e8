#!/bin/sh
# llama.cpp with mmap alone and under Umbra, in turns, each in a memory cgroup of a share of the file:
# tokens per second of llama-bench for a prompt and for decoding, medians of the rounds. Reads come from
# the disk: the file leaves the page cache before every run, and read-ahead is the usual 128 KiB. The
# share of the file that is left for experts under Umbra is the cgroup's less what llama.cpp needs.
# Usage: under.sh UMBRA LLAMA_BENCH MODEL [ROUNDS [PERCENT...]]     as root, with cgroups v1 or v2
set -eu
umbra=$1
bench=$2
model=$3
rounds=${4:-5}
[ $# -lt 4 ] && shift 3 || shift 4
shares=${*:-25 40 60}
bytes=$(stat -c %s "$model")
work=$(mktemp -d)
group=

# enter_group BYTES: makes the cgroup that children join
make_group()
{
    if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
        group=/sys/fs/cgroup/umbra-bench-$$
        mkdir "$group" && echo "$1" >"$group/memory.max"
    else
        group=/sys/fs/cgroup/memory/umbra-bench-$$
        mkdir "$group" && echo "$1" >"$group/memory.limit_in_bytes"
    fi
}

remove_group()
{
    [ -z "$group" ] || rmdir "$group" 2>/dev/null || true
    group=
}
trap 'remove_group; rm -rf "$work"' EXIT

# run PROGRAM...: in the cgroup, with a cold page cache; "PROMPT DECODE" tokens per second
run()
{
    dd if="$model" iflag=nocache count=0 2>/dev/null
    sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$group" "$@" -m "$model" -p 512 -n 64 -r 1 \
        -o csv 2>"$work/err" |
        awk -F'","' 'NR == 1 { for (i = 1; i <= NF; i++) if ($i ~ /^"?avg_ts/) at = i }
            NR > 1 { printf "%s ", $at } END { print "" }'
}

# median FILE COLUMN
median()
{
    awk -v c="$2" '{ print $c }' "$1" | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}

printf '%-8s %-22s %12s %12s\n' memory program 'prompt tok/s' 'decode tok/s'
for share in $shares; do
    limit=$((bytes * share / 100))
    make_group $limit
    for round in $(seq "$rounds"); do
        run "$bench" >>"$work/mmap.$share"
        run "$umbra" under --experts $((limit * 7 / 10)) -- "$bench" >>"$work/umbra.$share"
        run "$umbra" under --experts $((limit * 7 / 10)) --prefetch off -- "$bench" \
            >>"$work/off.$share"
    done
    remove_group
    for program in mmap umbra off; do
        printf '%-8s %-22s %12s %12s\n' "$share %" $program "$(median "$work/$program.$share" 1)" \
            "$(median "$work/$program.$share" 2)"
    done
done

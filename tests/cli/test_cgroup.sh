#!/bin/sh
# umbra run with --ram N lives in a memory cgroup of N bytes, v1 or v2, and writes the same text as
# with everything in memory; umbra bench lives there too. A budget above a limit is told, and a
# processor quota decides the threads. Usage: test_cgroup.sh UMBRA
set -eu
umbra=$1
shared=${UMBRA_SHARED:-../shared}
group=umbra-test-$$
v1=/sys/fs/cgroup/memory/$group
v2=/sys/fs/cgroup/$group
cpu=/sys/fs/cgroup/cpu/$group # version 1

skip()
{
    echo "SKIPPED: $1"
    exit 77
}

# Makes the group with a limit in $1; sets $procs, where a process joins it.
make_group()
{
    if [ -d /sys/fs/cgroup/memory ] && mkdir "$v1" 2>/dev/null; then
        procs=$v1/cgroup.procs
        echo "$1" >"$v1/memory.limit_in_bytes" || return 1
        [ ! -e "$v1/memory.swappiness" ] || echo 0 >"$v1/memory.swappiness" || true
    elif mkdir "$v2" 2>/dev/null && [ -e "$v2/memory.max" ]; then
        procs=$v2/cgroup.procs
        echo "$1" >"$v2/memory.max" || return 1
        [ ! -e "$v2/memory.swap.max" ] || echo 0 >"$v2/memory.swap.max" || true
    else
        return 1
    fi
}

remove_group()
{
    for folder in "$v1" "$v2" "$cpu/inner" "$cpu"; do
        [ ! -d "$folder" ] || rmdir "$folder" 2>/dev/null || { sleep 1; rmdir "$folder"; } || true
    done
}
err=$(mktemp)
trap 'remove_group; rm -f "$err"' EXIT

# check MODEL BYTES
check()
{
    free=$("$umbra" run "$1" -p "The cache holds" -n 48 --ignore-eos 2>/dev/null)
    remove_group
    make_group "$2" || skip "memory cgroups cannot be made here"
    out=$(sh -c 'echo $$ >"$0" && exec "$@"' "$procs" \
        "$umbra" run "$1" --ram "$2" -p "The cache holds" -n 48 --ignore-eos --stats \
        2>"$err") ||
        { echo "FAILED: $1 did not survive in a cgroup of $2 bytes"; exit 1; }
    [ "$out" = "$free" ] || { echo "FAILED: $1 wrote another text in $2 bytes"; exit 1; }
    ! grep -q warning "$err" || { echo "FAILED: a budget of the limit: $(cat "$err")"; exit 1; }
    # One engine after the other, each as big as the limit allows.
    sh -c 'echo $$ >"$0" && exec "$@"' "$procs" "$umbra" bench "$1" --ram "$2" --rounds 2 --warm 4 \
        --tokens 8 --policy off oracle >/dev/null ||
        { echo "FAILED: bench of $1 did not survive in a cgroup of $2 bytes"; exit 1; }
    echo "$1 lives in $2 bytes"
}

make_group 100000000 || skip "memory cgroups cannot be made here"
check models/tiny-q8_0.gguf 22000000
if [ -r "$shared/models/lab-q4_0.gguf" ]; then
    check "$shared/models/lab-q4_0.gguf" 65000000
    check "$shared/models/lab-q4_0.gguf" 30000000
else
    echo "SKIPPED: the lab model is not in $shared"
fi

# in_group PROCS COMMAND...
in_group()
{
    sh -c 'echo $$ >"$0" && exec "$@"' "$@"
}

model=models/tiny-q8_0.gguf
remove_group
make_group 60000000 || skip "memory cgroups cannot be made here"
in_group "$procs" "$umbra" run $model -p "The" -n 2 --ram 2G >/dev/null 2>"$err" ||
    { echo "FAILED: a budget above the limit ended a small model"; exit 1; }
grep -q "warning: the budget is 2000.0 MB, but $(dirname "$procs")/memory.* to 60.0 MB" "$err" ||
    { echo "FAILED: a budget above the limit is not told: $(cat "$err")"; exit 1; }
in_group "$procs" "$umbra" inspect $model --ram 2G | grep -q "memory: the budget is 2000.0 MB" ||
    { echo "FAILED: inspect does not tell of a budget above the limit"; exit 1; }
if [ -e "$v2/memory.high" ]; then
    echo 50000000 >"$v2/memory.high"
    in_group "$procs" "$umbra" run $model -p "The" -n 2 --ram 55M 2>"$err" >/dev/null
    grep -q "warning: .*memory.high" "$err" ||
        { echo "FAILED: a budget above memory.high is not told: $(cat "$err")"; exit 1; }
fi
echo "a budget above the limit is told"

# check_quota PROCS: one processor's time
check_quota()
{
    [ "$(in_group "$1" nproc)" -gt 1 ] || return 0
    out=$(in_group "$1" "$umbra" run $model -p "The" -n 2 --json --stats 2>"$err")
    case $out in
    *'"threads":1,'* | *'"threads": 1,'*) ;;
    *) echo "FAILED: a quota of one processor: $out"; exit 1 ;;
    esac
    grep -q "^threads  *1: .*cpu" "$err" ||
        { echo "FAILED: the statistics do not tell of the quota: $(cat "$err")"; exit 1; }
    echo "a quota of one processor gives one thread"
}

if mkdir "$cpu" 2>/dev/null && mkdir "$cpu/inner" && [ -e "$cpu/cpu.cfs_quota_us" ]; then
    echo 100000 >"$cpu/cpu.cfs_quota_us" # of the group above the process's
    check_quota "$cpu/inner/cgroup.procs"
elif [ -e "$v2/cpu.max" ]; then
    echo "100000 100000" >"$v2/cpu.max"
    check_quota "$v2/cgroup.procs"
else
    echo "SKIPPED: processor quotas; they cannot be set here"
fi

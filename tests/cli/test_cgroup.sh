#!/bin/sh
# umbra run with --ram N lives in a memory cgroup of N bytes, v1 or v2, and writes the same text as
# with everything in memory; umbra bench lives there too. Usage: test_cgroup.sh UMBRA
set -eu
umbra=$1
shared=${UMBRA_SHARED:-../shared}
group=umbra-test-$$
v1=/sys/fs/cgroup/memory/$group
v2=/sys/fs/cgroup/$group

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
    for folder in "$v1" "$v2"; do
        [ ! -d "$folder" ] || rmdir "$folder" 2>/dev/null || { sleep 1; rmdir "$folder"; } || true
    done
}
trap remove_group EXIT

# check MODEL BYTES
check()
{
    free=$("$umbra" run "$1" -p "The cache holds" -n 48 --ignore-eos 2>/dev/null)
    remove_group
    make_group "$2" || skip "memory cgroups cannot be made here"
    out=$(sh -c 'echo $$ >"$0" && exec "$@"' "$procs" \
        "$umbra" run "$1" --ram "$2" -p "The cache holds" -n 48 --ignore-eos --stats) ||
        { echo "FAILED: $1 did not survive in a cgroup of $2 bytes"; exit 1; }
    [ "$out" = "$free" ] || { echo "FAILED: $1 wrote another text in $2 bytes"; exit 1; }
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

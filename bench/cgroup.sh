# A memory cgroup, version 1 or 2, for the scripts beside this, which source it. make_group BYTES leaves its folder
# in $group; remove_group takes it away, if there is one, once the processes in it have ended.
group=

make_group()
{
    if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
        group=/sys/fs/cgroup/umbra-bench-$$
        echo +memory >/sys/fs/cgroup/cgroup.subtree_control
        mkdir "$group" && echo "$1" >"$group/memory.max"
        echo 0 2>/dev/null >"$group/memory.swap.max" || true
    else
        group=/sys/fs/cgroup/memory/umbra-bench-$$
        mkdir "$group" && echo "$1" >"$group/memory.limit_in_bytes"
    fi
}

remove_group()
{
    [ -z "$group" ] && return
    for _ in 1 2 3 4 5; do
        rmdir "$group" 2>/dev/null && break
        sleep 0.2
    done
    group=
}

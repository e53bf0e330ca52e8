#!/bin/sh
# A server under eight clients that cancel, send nonsense, huge bodies and half requests, and read
# slowly, in a memory cgroup of 1.3 times its budget where one can be made: answers stay those of
# `umbra run`, memory stays within the budget and does not grow, and it ends well.
# Usage: soak.sh UMBRA CLIENTS [SECONDS [MODEL BUDGET]]
set -eu
umbra=$1
clients=$2
seconds=${3:-10}
model=${4:-models/tiny-q8_0.gguf}
budget=${5:-64000000}
group=umbra-soak-$$
v1=/sys/fs/cgroup/memory/$group
v2=/sys/fs/cgroup/$group
work=$(mktemp -d)
server=
procs=/dev/null
events=/dev/null

cleanup()
{
    [ -z "$server" ] || kill -KILL "$server" 2>/dev/null || true
    for folder in "$v1" "$v2"; do
        [ ! -d "$folder" ] || rmdir "$folder" 2>/dev/null || { sleep 1; rmdir "$folder"; } || true
    done
    rm -rf "$work"
}
trap cleanup EXIT

# The limit; without the right to make one the program's own figures must do.
limit=$((budget / 10 * 13))
if [ -d /sys/fs/cgroup/memory ] && mkdir "$v1" 2>/dev/null; then
    echo "$limit" >"$v1/memory.limit_in_bytes"
    procs=$v1/cgroup.procs
    events=$v1/memory.oom_control
elif mkdir "$v2" 2>/dev/null && [ -e "$v2/memory.max" ]; then
    echo "$limit" >"$v2/memory.max"
    procs=$v2/cgroup.procs
    events=$v2/memory.events
else
    echo "no memory cgroup can be made here: the limit is not tried"
fi

i=0
for prompt in "The cache holds" "A shadow is" "Once upon a time" "int main(void)" \
    "When memory is short, a program that reads its weights from a disk" "1, 2, 3,"; do
    printf '%s' "$prompt" >"$work/prompt.$i"
    "$umbra" run "$model" -p "$prompt" -n 24 --ram "$budget" 2>/dev/null >"$work/answer.$i"
    # The line that ends the output is not the answer's.
    truncate -s -1 "$work/answer.$i"
    i=$((i + 1))
done

cat >"$work/chat.jinja" <<'END'
{# <tool_call> #}{% for m in messages %}{{ m.content }}{% endfor %}
END
mkfifo "$work/address"
sh -c 'echo $$ >"$0" && exec "$@"' "$procs" "$umbra" serve "$model" --port 0 --no-probe \
    --ram "$budget" --ctx 512 --parallel 4 --state "$work/states" --state-size 20M \
    --template "$work/chat.jinja" >"$work/address" 2>"$work/log" &
server=$!
read -r address <"$work/address"
port=${address##*:}
if ! "$clients" "${port%/}" "$server" "$seconds" "$budget" "$work" "$events"; then
    tail -5 "$work/log"
    echo "FAILED"
    exit 1
fi
kill "$server"
wait "$server" || {
    tail -5 "$work/log"
    echo "FAILED: the server did not end well"
    exit 1
}
server=

#!/bin/sh
# Under any limit on address space every command ends, with success or with a message, and SIGTERM
# ends it; also with few threads, few descriptors, odd stacks, and no OpenBLAS.
# Usage: test_ulimit.sh UMBRA
set -eu
umbra=$1
model=models/tiny-q8_0.gguf
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A command that needs a signal to end hangs: 124, or 137 if SIGTERM did not help.
# Ten seconds are enough on a quiet machine; the longest command is shown at the end.
patience="timeout -k 5 ${UMBRA_PATIENCE:-60}"
longest=0

fail()
{
    echo "FAILED: $1"
    cat "$work/err"
    exit 1
}

# ends LIMIT COMMAND...: LIMIT is a line of the shell
ends()
{
    limit=$1
    shift
    rm -rf "$work/new" "$work/new.shadow" "$work/new.shadow.checkpoint"
    code=0
    began=$(date +%s%N)
    $patience sh -c "$limit"' && exec "$@"' sh "$umbra" "$@" >"$work/out" 2>"$work/err" || code=$?
    took=$((($(date +%s%N) - began) / 1000000))
    if [ "$took" -gt "$longest" ]; then
        longest=$took
        longest_command="umbra $* under $limit"
    fi
    [ $code -lt 124 ] || [ $code -eq 127 ] || fail "$limit; umbra $*: exit code $code"
    [ $code -eq 0 ] || [ -s "$work/err" ] || fail "$limit; umbra $*: exit code $code, no message"
}

# Like ends, and it must succeed.
works()
{
    ends "$@"
    [ $code -eq 0 ] || fail "$*: exit code $code"
}

all_commands()
{
    ends "$1" --version
    ends "$1" inspect $model
    ends "$1" run $model -p "The cache holds" -n 4
    ends "$1" run $model -p "The cache holds" -n 4 --ram 22M --io threads
    ends "$1" score $model --text "$work/text"
    ends "$1" collect $model -o "$work/new" --tokens 200 --ctx 64
    ends "$1" train "$work/a" -o "$work/new.shadow" $small
    ends "$1" train "$work/a" -o "$work/new.shadow" $small --scope shared --threads 2
    ends "$1" eval "$work/b" --shadow "$work/shadow"
    ends "$1" quantize-shadow "$work/shadow" "$work/new.shadow"
    ends "$1" bench $model --rounds 1 -n 4 --warm 1 --policy off
    ends "$1" bench predictor --shape 64x16x4x8 --calls 10
    ends "$1" template $model LICENSE
}

small="--epochs 1 --hidden 8"
echo "The cache holds what the layers use." >"$work/text"
: >"$work/err"
"$umbra" collect $model -o "$work/a" --tokens 600 --ctx 64 >"$work/out" 2>"$work/err" ||
    fail "collect"
"$umbra" collect $model -o "$work/b" --tokens 600 --ctx 64 --seed 9 >"$work/out" 2>"$work/err" ||
    fail "collect"
"$umbra" train "$work/a" -o "$work/shadow" $small >"$work/out" 2>"$work/err" || fail "train"

for megabytes in 20 30 50 90 150 200 280 500 2000; do
    all_commands "ulimit -v ${megabytes}000"
done
works "ulimit -v 60000" --version
works "ulimit -v 60000" inspect $model
works "ulimit -v 100000" run $model -p "The cache holds" -n 4
works "ulimit -v 2000000" train "$work/a" -o "$work/new.shadow" $small
echo "every command ends under ulimit -v"

all_commands "ulimit -d 30000"
all_commands "ulimit -n 3"
all_commands "ulimit -n 5"
for stack in 100 1000 unlimited; do
    works "ulimit -s $stack" run $model -p "The cache holds" -n 4
    works "ulimit -s $stack" train "$work/a" -o "$work/new.shadow" $small --scope shared --threads 2
done
works "export OPENBLAS_NUM_THREADS=64" train "$work/a" -o "$work/new.shadow" $small
echo "every command ends under other limits"

# Where OpenBLAS cannot be loaded, only training misses it.
mkdir "$work/lib"
echo "no library" >"$work/lib/libopenblas.so.0"
works "export LD_LIBRARY_PATH=$work/lib" run $model -p "The cache holds" -n 4
works "export LD_LIBRARY_PATH=$work/lib" eval "$work/b" --shadow "$work/shadow"
ends "export LD_LIBRARY_PATH=$work/lib" train "$work/a" -o "$work/new.shadow" $small
{ [ $code -eq 1 ] && grep -q "training needs OpenBLAS" "$work/err"; } ||
    fail "training without OpenBLAS: exit code $code"

# stops LIMIT COMMAND...: it works for longer than a second, and SIGTERM ends it
stops()
{
    limit=$1
    shift
    rm -rf "$work/long" "$work/long.shadow" "$work/long.shadow.checkpoint"
    code=0
    timeout -k 20 1 sh -c "$limit"' && exec "$@"' sh "$umbra" "$@" >"$work/out" 2>"$work/err" ||
        code=$?
    [ $code -eq 124 ] || fail "SIGTERM does not end $1 under $limit: exit code $code"
}

for limit in true "ulimit -v 100000"; do
    stops "$limit" collect $model -o "$work/long" --tokens 200000
done
yes "The cache holds what the layers use." | head -c 1000000 >"$work/long.txt"
stops true score $model --text "$work/long.txt"
stops true train "$work/a" -o "$work/long.shadow" --epochs 100000 --patience 0
stops true bench $model --rounds 1000
stops true bench predictor
stops true demo -o "$work/long"
rm -rf "$work/long"
echo "SIGTERM ends every command"

# Few threads: root is not limited, so another user it must be.
other="setpriv --reuid 65432 --regid 65432 --clear-groups"
if [ "$(id -u)" -eq 0 ] && prlimit --nproc=9 $other "$umbra" --version >/dev/null 2>&1; then
    chmod -R a+rX "$work"
    mkdir -m 777 "$work/open"
    for n in 1 2 3 20; do
        for command in "run $model -p The -n 4 --threads 4" "run $model -p The -n 4 --io threads" \
            "train $work/a -o $work/open/s $small --scope shared --threads 4" \
            "train $work/a -o $work/open/s $small --threads 4"; do
            rm -rf "$work"/open/*
            code=0
            $patience prlimit --nproc=$n $other "$umbra" $command >"$work/out" 2>"$work/err" ||
                code=$?
            [ $code -lt 124 ] || fail "$n threads; umbra $command: exit code $code"
            [ $code -eq 0 ] || grep -q "^umbra.* thread" "$work/err" ||
                fail "$n threads; umbra $command: exit code $code, no message of threads"
        done
    done
    echo "every command ends with few threads"
else
    echo "SKIPPED: few threads; that needs root, and a program that others may run"
fi
echo "the longest took $longest ms: $longest_command"

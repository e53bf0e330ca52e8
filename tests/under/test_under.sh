#!/bin/sh
# `umbra under` around a program that knows nothing of it: what it computes stays the same, at every
# budget and policy, and what cannot be kept is refused.
# Usage: test_under.sh UMBRA HOST HOST_OF_ANOTHER_VERSION
set -eu
umbra=$1
host=$2
other=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
model=models/tiny-q8_0.gguf

fail()
{
    echo "FAILED: $1"
    cat "$work/err"
    exit 1
}

# same WHAT OPTION... -- PROGRAM...: the program's output under Umbra is what it is without
same()
{
    what=$1
    shift
    "$umbra" under "$@" >"$work/out" 2>"$work/err" || fail "$what: exit code $?"
    cmp -s "$work/out" "$work/alone" || fail "$what: another result"
}

# refused WHAT TEXT OPTION... -- PROGRAM...: it ends with a message that has the text
refused()
{
    what=$1 text=$2
    shift 2
    code=0
    "$umbra" under "$@" >"$work/out" 2>"$work/err" || code=$?
    [ $code -ne 0 ] || fail "$what: no refusal"
    grep -q -- "$text" "$work/err" || fail "$what: another message than \"$text\""
}

"$host" $model >"$work/alone" 2>"$work/err"
grep -q "may repack" "$work/err" && grep -q "host: warms up" "$work/err" || fail "the host alone"

refused "a budget of nothing" "give at least [0-9]" --experts 1 -- "$host" $model
smallest=$(grep -o 'at least [0-9]*' "$work/err" | grep -o '[0-9]*')
for policy in off gate previous auto; do
    same "$policy, smallest budget" --experts "$smallest" --prefetch $policy -- "$host" $model
    same "$policy, half" --experts 10M --prefetch $policy --stats -- "$host" $model
done
grep -q "must not repack" "$work/err" || fail "the weights may be repacked"
grep -q "does not warm up" "$work/err" || fail "a warm-up with every expert"
grep -q "many threads sleep" "$work/err" || fail "threads spin while experts are read"
grep -q "few threads spin" "$work/err" || fail "threads that leave a core free do not spin"
grep -q "told threads spin" "$work/err" || fail "threads do not spin as they were told"
grep -q "umbra: tiny-q8_0.gguf: .* layers of .* experts" "$work/err" || fail "no plan"
grep -q "umbra:   experts used: " "$work/err" || fail "no figures"
grep -q "umbra: verdict: " "$work/err" || fail "no verdict"
same "everything" --stats -- "$host" $model
same "room for all" --experts 14M --stats -- "$host" $model
grep -q "the model is left alone" "$work/err" || fail "what fits is not left alone"
grep -q "may repack" "$work/err" && grep -q "host: warms up" "$work/err" || fail "left alone"
grep -q verdict "$work/err" && fail "a verdict on what was left alone"
same "a process with room for two files" --ram 4G -- "$host" $model
grep -q "the model is left alone" "$work/err" || fail "what is given much is not left alone"
same "a budget for the process" --ram 1000M -- "$host" $model
grep -q "many threads spin" "$work/err" || fail "threads sleep where nothing is waited for"
grep -q "are in memory; llama.cpp goes on" "$work/err" || fail "not everything is in memory"
same "threads" --experts 10M --io threads -- "$host" $model
grep -q "reads by threads" "$work/err" || fail "--io"
grep -q "[1-9] cuts behind chosen experts" "$work/err" || fail "chosen experts were not looked at"
same "ids on a device" --experts "$smallest" --stats -- "$host" $model device
grep -q "host: 0 cuts behind chosen experts" "$work/err" || fail "what a card computes as one was cut"
grep -q "times a whole layer was read" "$work/err" && fail "ids on a device were not seen"
same "ids of another name" --experts "$smallest" --stats -- "$host" $model other
grep -q "times a whole layer was read" "$work/err" || fail "ids of another name were known"

less=$((smallest - 1))
refused "a byte too few" "give at least $smallest" --experts $less -- "$host" $model
refused "a process without room" "the process without experts takes" --ram 1M -- "$host" $model
least=$(grep -o 'at least [0-9]*' "$work/err" | grep -o '[0-9]*')
same "the least for a process" --ram $((least + 1000000)) --stats -- "$host" $model
grep -q "umbra: tiny-q8_0.gguf: .* layers of .* experts" "$work/err" || fail "the least is much"
refused "a copy" "is not where the file is mapped" --experts 10M -- "$host" $model copy
same "a copy of what fits" -- "$host" $model copy
refused "another version" "laid out otherwise" --experts 10M -- "$other" $model
refused "no shadow" "name the shadow model's file" --experts 10M --prefetch shadow -- "$host" $model
refused "no port" "65535" --metrics 70000 -- "$host" $model
refused "two budgets" "not both" --ram 1G --experts 1G -- "$host" $model
refused "no program" "name the program behind" --experts 1G
refused "a program that is not there" "there is no program" -- "$work/nothing"
refused "an option that is not there" "unknown option" --budget 1G -- "$host" $model
cp "$host" "$work/host"
chmod -x "$work/host"
[ "$(id -u)" = 0 ] || refused "what cannot be run" "there is no program" -- "$work/host"

same "recording" --experts 10M --collect "$work/trace" -- "$host" $model
grep -q "trace: 69 tokens recorded" "$work/err" || fail "nothing is recorded"
[ -s "$work/trace/manifest.json" ] || fail "no trace"

# Programs without models are left alone.
[ "$("$umbra" under --stats -- echo hello 2>&1)" = hello ] || fail "echo"
"$umbra" under --experts 1 -- sh -c 'exit 7' >"$work/err" 2>&1 && fail "exit code" || [ $? = 7 ]

# Figures at any time: the host waits for a line.
mkfifo "$work/line"
"$umbra" under --experts 10M -- "$host" $model named wait <"$work/line" >"$work/out" 2>"$work/err" &
pid=$!
exec 3>"$work/line"
for try in $(seq 100); do
    grep -q outputs "$work/out" && break
    sleep 0.1
done
grep -q "umbra: verdict" "$work/err" && fail "figures that nobody asked for"
kill -USR1 $pid
for try in $(seq 100); do
    grep -q "umbra: verdict" "$work/err" && break
    sleep 0.1
done
grep -q "umbra: verdict" "$work/err" || fail "no figures on SIGUSR1"
echo >&3
wait $pid || fail "the host ended by the signal"

#!/bin/sh
# llama-server with four slots under Umbra: the texts of four requests and the log-probabilities of the
# likeliest tokens are those of the server alone, one request after the other, each in a slot of its own, and
# all at once. Skipped where there is no llama-server, or no curl.
# Usage: test_server.sh UMBRA [SERVER [MODEL...]]
# THREADS (2), PORT (8399)
set -eu
[ $# -gt 1 ] && [ -x "$2" ] || { echo "skipped: no llama-server"; exit 77; }
command -v curl >/dev/null || { echo "skipped: no curl"; exit 77; }
umbra=$1
server=$2
shift 2
[ $# -gt 0 ] || set -- models/tiny-q8_0.gguf ../shared/models/lab-q4_0.gguf
threads=${THREADS:-2}
address=http://127.0.0.1:${PORT:-8399}
slots="0 1 2 3"
work=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill -KILL $pid 2>/dev/null; rm -rf "$work"' EXIT

fail()
{
    echo "FAILED: $model: $1"
    tail -20 "$work/log"
    exit 1
}

# start [WORD...]: the server, behind those words
start()
{
    "$@" "$server" -m "$model" -np 4 -c 1024 -t "$threads" --port "${address##*:}" --no-repack \
        >"$work/log" 2>&1 &
    pid=$!
    until curl -s "$address/health" | grep -q '"ok"'; do
        kill -0 $pid 2>/dev/null || fail "the server does not start: $*"
        sleep 0.2
    done
}

stop()
{
    kill -INT $pid
    wait $pid || fail "the server ends with $?"
    pid=
}

# ask SLOT FOLDER: one request, of another length and seed in each slot
ask()
{
    set -- "$1" "$2" "Text $1: once upon a time$(yes ' there was a cache' | head -$(($1 * 4 + 1)) | tr -d '\n')"
    curl -s -S "$address/completion" -d "{\"prompt\": \"$3\", \"id_slot\": $1, \"seed\": $1,
        \"n_predict\": 48, \"temperature\": 0, \"n_probs\": 5, \"cache_prompt\": false,
        \"response_fields\": [\"content\", \"completion_probabilities\"]}" >"$work/$2/$1" ||
        fail "no answer"
    grep -q '"logprob"' "$work/$2/$1" || fail "another answer: $(head -c 300 "$work/$2/$1")"
}

# one_by_one FOLDER, at_once FOLDER: the four requests
one_by_one()
{
    mkdir -p "$work/$1"
    for slot in $slots; do ask "$slot" "$1"; done
}

at_once()
{
    mkdir -p "$work/$1"
    asking=
    for slot in $slots; do
        ask "$slot" "$1" &
        asking="$asking $!"
    done
    for job in $asking; do wait "$job" || fail "a request failed"; done
}

same()
{
    diff -r "$work/$1" "$work/$2" >/dev/null
}

check()
{
    start
    one_by_one alone
    at_once together
    at_once again
    stop
    repeats=yes
    same together again && same together alone || repeats=no
    "$umbra" under --experts 1 -- "$server" -m "$model" --no-repack --port "${address##*:}" \
        >"$work/log" 2>&1 && fail "a budget of nothing"
    least=$(grep -o 'at least [0-9]*' "$work/log" | grep -o '[0-9]*')
    for bytes in $least $((least * 3 / 2)); do
        for policy in off gate; do
            start "$umbra" under --stats --experts "$bytes" --prefetch $policy --
            one_by_one under
            same alone under || fail "$bytes, $policy: other answers one by one"
            at_once under_together
            if [ $repeats = yes ]; then
                same together under_together || fail "$bytes, $policy: other answers at once"
            fi
            stop
            grep -q "umbra: .*tokens decoded" "$work/log" || fail "not under Umbra"
        done
    done
    if [ $repeats = yes ]; then
        echo "$model: $least bytes and above: the same, one by one and at once"
    else
        echo "$model: $least bytes and above: the same one by one; at once the server alone differs"
    fi
}

for model in "$@"; do
    [ ! -f "$model" ] || check
done

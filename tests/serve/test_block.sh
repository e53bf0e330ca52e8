#!/bin/sh
# Servers that draft by a model's block for further tokens: several texts at once, a conversation that goes on, and
# one that is read back from disk after a restart have the words that a server without drafts writes. Skipped (77)
# without curl or the models.
# Usage: test_block.sh UMBRA
set -eu
umbra=$1
models=../shared/arch2
command -v curl >/dev/null || { echo "SKIPPED: there is no curl"; exit 77; }
[ -r "$models/glm4moe-iq1_m.gguf" ] || { echo "SKIPPED: there are no models in $models"; exit 77; }
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$work"' EXIT

start() # MODEL DRAFT
{
    rm -f "$work/address"
    mkfifo "$work/address"
    "$umbra" serve "$1" --port 0 --no-probe --threads 1 --parallel 3 --ctx 256 --draft "$2" \
        --state "$work/states-$2" >"$work/address" 2>"$work/log" &
    server=$!
    read -r address <"$work/address" || { cat "$work/log"; exit 1; }
    address=${address#* }
}

stop()
{
    kill "$server"
    wait "$server" || { echo "FAILED: the server did not end well"; exit 1; }
    server=
}

figure() # NAME
{
    curl -sf "${address%/}/metrics" | sed -n "s/^$1 //p"
}

ask() # FILE PROMPT TEMPERATURE
{
    curl -sf "${address%/}/v1/completions" -H 'Content-Type: application/json' \
        -d "{\"prompt\": \"$2\", \"max_tokens\": 40, \"temperature\": $3, \"seed\": 5}" >"$1.json"
    sed 's/.*"text": *"\(\([^"\\]\|\\.\)*\)".*/\1/' "$1.json" >"$1"
}

# Three texts at once, one of them drawn, then the first goes on.
converse() # DRAFT
{
    out=$work/$1
    ask "$out.0" "The cache holds what was read" 0 &
    first=$!
    ask "$out.1" "int main(void) { return a" 0.9 &
    second=$!
    ask "$out.2" "The cache holds 1, 2, 3, 4" 0
    wait "$first" "$second"
    ask "$out.3" "The cache holds what was read$(cat "$out.0") and then" 0
}

go_on() # DRAFT: after a restart
{
    ask "$work/$1.4" "The cache holds what was read$(cat "$work/$1.0") and so" 0
    grep -q '"cached_tokens": *[1-9]' "$work/$1.4.json" || { echo "FAILED: nothing was read back"; exit 1; }
}

for model in glm4moe-iq1_m qwen35moe-iq2_m; do
    rm -rf "$work"/states-*
    for draft in off mtp; do
        start "$models/$model.gguf" $draft
        converse $draft
        drafted=$(figure umbra_drafted_tokens_total)
        stop
        start "$models/$model.gguf" $draft
        go_on $draft
        stop
    done
    for i in 0 1 2 3 4; do
        test -s "$work/off.$i" || { echo "FAILED: $model: there is no text $i"; exit 1; }
        cmp "$work/off.$i" "$work/mtp.$i" || { echo "FAILED: $model: text $i is another one"; exit 1; }
    done
    test "${drafted:-0}" -gt 0 || { echo "FAILED: $model: nothing was drafted"; exit 1; }
    echo "$model: 5 texts are the same, $drafted tokens were drafted"
done

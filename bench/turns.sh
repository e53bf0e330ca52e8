#!/bin/sh
# The second turn of a long conversation with a server: time to the first token of the first turn, of
# a second one, which begins alike, of one after a restart, as soon as the server answers, and of one
# after another restart, when the experts are back in memory; with what of their prompts was held,
# and with the experts that were missed and the bytes read for them.
# Reasons to worry: a later turn that takes more than a tenth of the first one's time.
# Usage: turns.sh UMBRA MODEL [TOKENS [OPTIONS OF umbra serve...]]
# Needs curl, and a model whose context holds TOKENS (2000) and 200 more.
set -eu
umbra=$1
model=$2
tokens=${3:-2000}
[ $# -lt 3 ] && shift 2 || shift 3
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; rm -rf "$work"' EXIT

cat >"$work/chat.jinja" <<'END'
{% for m in messages %}<{{ m.role }}> {{ m.content }}
{% endfor %}{% if add_generation_prompt %}<assistant> {% endif %}
END

start()
{
    rm -f "$work/address"
    mkfifo "$work/address"
    "$umbra" serve "$model" --port 0 --no-probe --ctx $((tokens + 200)) --parallel 1 \
        --state "$work/states" --template "$work/chat.jinja" "$@" \
        >"$work/address" 2>"$work/log" &
    server=$!
    read -r address <"$work/address" || {
        cat "$work/log"
        exit 1
    }
}

stop()
{
    kill "$server"
    wait "$server"
    server=
}

# Lines of a story, from 1 to $1, as the inside of a JSON string.
story()
{
    seq 1 "$1" | awk '{ printf "In line %d the shadow moves %d steps. ", $1, $1 * $1 % 97 }'
}

# count TEXT: its tokens
count()
{
    printf '{"content": "%s"}' "$1" |
        curl -sf "${address}tokenize" -H 'Content-Type: application/json' -d @- |
        tr -cd , | wc -c
}

# figure NAME: one of /metrics
figure()
{
    curl -sf "${address}metrics" | sed -n "s/^umbra_$1 //p"
}

# turn NAME MESSAGES: asks for one token, and says how long it took
turn()
{
    misses=$(figure expert_misses_total)
    bytes=$(figure read_bytes_total)
    printf '{"messages": [%s], "max_tokens": 1, "temperature": 0}' "$2" >"$work/body"
    seconds=$(curl -sf -o "$work/reply" -w '%{time_total}' "${address}v1/chat/completions" \
        -H 'Content-Type: application/json' -d "@$work/body") || {
        cat "$work/log" "$work/reply"
        exit 1
    }
    prompt=$(sed -n 's/.*"prompt_tokens":\([0-9]*\).*/\1/p' "$work/reply")
    held=$(sed -n 's/.*"cached_tokens":\([0-9]*\).*/\1/p' "$work/reply")
    first=${first:-$seconds}
    until [ "$(figure requests_writing)" = 0 ]; do sleep 0.01; done
    awk -v name="$1" -v s="$seconds" -v f="$first" -v p="$prompt" -v h="$held" \
        -v m="$(figure expert_misses_total)" -v m0="$misses" \
        -v b="$(figure read_bytes_total)" -v b0="$bytes" 'BEGIN {
        printf "%-22s %9.4f s  %6d tokens, %6d held  %6d misses %8.1f MB  %6.3f of the first%s\n",
            name, s, p, h, m - m0, (b - b0) / 1e6, s / f,
            (s > f / 10 && s != f) ? "  MORE THAN A TENTH" : "" }'
}

# Until the experts that were in memory before are there again.
await_refill()
{
    until [ "$(figure refill_experts)" = 0 ]; do sleep 0.05; done
    echo "read back: $(figure refill_reads_total) experts"
}

start "$@"
ten=$(count "$(story 10)")
text=$(story $((tokens * 10 / ten)))
one=$(printf '{"role": "user", "content": "%s"}' "$text")
two=$(printf '%s, {"role": "assistant", "content": "So it is."}, {"role": "user", "content": "Why?"}' \
    "$one")
three=$(printf '%s, {"role": "assistant", "content": "It is noon."}, {"role": "user", "content": "And then?"}' \
    "$two")
four=$(printf '%s, {"role": "assistant", "content": "It is dark."}, {"role": "user", "content": "At last?"}' \
    "$three")
echo "$(basename "$model"):"
turn "first turn" "$one"
turn "second turn" "$two"
stop
start "$@"
turn "after a restart" "$three"
stop
start "$@"
await_refill
turn "after it, experts back" "$four"
stop

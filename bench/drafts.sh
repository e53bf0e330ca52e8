#!/bin/sh
# What drafts are worth, by the share that comes true, by how much of the experts memory holds, and by how many
# a step checks; and whether the gate finds the best number. Drafts are the text's own tokens with so many
# errors (umbra bench --draft told:SHARE). Then texts as they are: one that repeats itself and one that does not.
# Nothing else should run meanwhile. Every text is held bit for bit against the one without drafts.
#
# Usage: bench/drafts.sh MODEL...
#        bench/drafts.sh lab.gguf
#        WIDEN=8 bench/drafts.sh lab.gguf      experts eight times as wide (tools/widen_gguf)
#
# UMBRA: the program; IO: backends; RESIDENT: percents of the way from the least budget to all in memory (AHEAD: of
# those for drafts by runahead, which are none where all is);
# AGREE: shares of drafts that come true; WIDTHS; ROUNDS, TOKENS: of a run; THREADS.
set -eu
[ $# -ge 1 ] || { sed -n '7,9s/^# *//p' "$0" >&2; exit 2; }
root=$(cd "$(dirname "$0")/.." && pwd)
umbra=${UMBRA:-$root/build/release/src/cli/umbra}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

number() { # KEY: of the JSON of a plan
    sed "s/.*\"$1\":\([0-9]*\).*/\1/" "$work/plan"
}

budgets() { # MODEL PERCENT...
    "$umbra" inspect "$1" --json | tr -d '\n' >"$work/plan"
    shift
    least=$(number min_budget_bytes) most=$(number all_budget_bytes)
    for percent; do
        # What drafts keep beside the experts must not turn "all" into nearly all.
        test "$percent" = 100 && echo $((most + most / 10 + 64000000)) ||
            echo $((least + (most - least) * percent / 100))
    done
}

bench() { # OPTION...
    # shellcheck disable=SC2046,SC2086 # lists
    "$umbra" bench "$model" --ram $(budgets "$model" ${RESIDENT:-25 50 100}) \
        --io ${IO:-sim:500M,100us sim:2G,100us sim:8G,50us auto} --rounds "${ROUNDS:-5}" \
        --tokens "${TOKENS:-200}" ${THREADS:+--threads "$THREADS"} --json "$@" >"$work/bench.json"
}

# One line of JSON without spaces between its parts, so that no reader of JSON is needed.
rows() { # AWK: what to do at the end, with key[], speed[], hits[], drafted[], accepted[], experts[] by row
    awk '
    function value(text, key,    at) {
        at = index(text, "\"" key "\":")
        text = at ? substr(text, at + length(key) + 3) : ""
        sub(/^"/, "", text)
        sub(/[",}].*/, "", text)
        return text
    }
    function of(text, part) { # "off+told:0.5:3": the part behind the plus, and its pieces
        sub(/^[^+]*\+?/, "", text)
        split(text, piece, ":")
        return part == 0 ? (text == "" ? "off" : text) : piece[part]
    }
    {
        n = split($0, row, /{"policy":/) - 1
        for (i = 1; i <= n; i++) {
            r = "\"policy\":" row[i + 1]
            match(r, /"io":"[^"]*"/) # sim:500M,100us has a comma
            place[i] = sprintf("%-15s %3.0f %%", substr(r, RSTART + 6, RLENGTH - 7),
                               100 * value(r, "residency"))
            policy[i] = value(r, "policy")
            setup[i] = substr(r, RSTART + 6, RLENGTH - 7) " " value(r, "ram_bytes")
            speed[i] = value(r, "median")
            hits[i] = value(r, "hits")
            bytes[i] = value(r, "bytes_per_token")
            drafted[i] = value(r, "drafted")
            accepted[i] = value(r, "accepted")
            step[i] = value(r, "tokens_per_step")
            experts[i] = value(r, "check_experts")
            if (policy[i] == "off")
                off[setup[i]] = speed[i]
        }
    }
    END { '"$1"' }' "$work/bench.json"
}

# shellcheck disable=SC2016 # awk
simulated='
    for (i = 1; i <= n; i++) {
        if (policy[i] !~ /told/)
            continue
        at = place[i] " " of(policy[i], 2)
        gain[at, of(policy[i], 3)] = speed[i] / off[setup[i]]
        if (!(at in seen)) {
            seen[at] = 1
            order[++places] = at
        }
        hit[at] = hits[i]
    }
    printf "%-15s %5s %6s %6s", "disk", "fit", "agree", "hits"
    m = split(widths, width, " ")
    for (w = 1; w <= m; w++)
        printf " %6s", "x" width[w]
    printf " %6s %9s\n", "auto", "of best"
    for (p = 1; p <= places; p++) {
        at = order[p]
        split(at, word, " ")
        best = 1
        printf "%-21s %6s %5.0f%%", substr(at, 1, 21), word[4], 100 * hit[at]
        for (w = 1; w <= m; w++) {
            printf " %6.2f", gain[at, width[w]]
            if (gain[at, width[w]] > best)
                best = gain[at, width[w]]
        }
        printf " %6.2f %8.1f%%\n", gain[at, ""], 100 * gain[at, ""] / best
    }'

# shellcheck disable=SC2016 # awk
true_text='
    printf "%-15s %5s %-18s %8s %6s %9s %9s %9s %9s\n", "disk", "fit", "policy", "tok/s", "gain", "drafted",
        "accepted", "tok/step", "exp/check"
    for (i = 1; i <= n; i++)
        if (policy[i] != "resident")
            printf "%-21s %-18s %8.1f %6.3f %9s %9s %9s %9s\n", place[i], policy[i], speed[i],
                speed[i] / off[setup[i]], drafted[i], accepted[i], step[i], experts[i]'

functions='static int add(int a, int b)
{
    return a + b;
}

static int sub(int a, int b)
{
    return a - b;
}

static int mul(int a, int b)
{
'
for file; do
    model=$file
    if [ -n "${WIDEN:-}" ]; then
        model=$work/wide.gguf
        "$root/build/release/tools/widen_gguf" "$file" "$WIDEN" "$model"
    fi
    words=off
    for share in ${AGREE:-0 0.3 0.6 0.8 0.9 1}; do
        words="$words told:$share"
        for width in ${WIDTHS:-1 2 4 8 12 16}; do
            words="$words told:$share:$width"
        done
    done
    echo "== $file${WIDEN:+, experts $WIDEN times as wide}: gain over no drafts, by drafts of a step"
    # shellcheck disable=SC2086 # lists
    bench --policy off --draft $words
    rows "widths = \"${WIDTHS:-1 2 4 8 12 16}\"; $simulated"
    echo "== $file: a text that repeats itself, greedy"
    bench --policy off runahead --draft off lookup auto --prompt "$functions" --temp 0
    rows "$true_text"
    RESIDENT=${AHEAD:-50} bench --policy off runahead --draft off runahead --prompt "$functions" --temp 0
    rows "$true_text"
    echo "== $file: a tale, drawn at 0.9"
    bench --policy off runahead --draft off lookup auto --temp 0.9 \
        --prompt "Once upon a time there was a little girl who lived"
    rows "$true_text"
done

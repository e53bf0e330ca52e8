#!/bin/sh
# What drafts are worth, by the share that comes true, by how much of the experts memory holds, and by how many
# a step checks; and whether the gate finds the best number. Drafts are the text's own tokens with so many
# errors (umbra bench --draft told:SHARE). Then texts as they are: one that repeats itself and one that does not.
# Nothing else should run meanwhile. Every text is held bit for bit against the one without drafts.
#
# Usage: bench/drafts.sh MODEL...
#        bench/drafts.sh lab.gguf
#        WIDEN=8 bench/drafts.sh lab.gguf              experts eight times as wide (tools/widen_gguf)
#        KEEP=folder timeout 300 bench/drafts.sh ...   in pieces: what stands in the folder is not measured again
#
# UMBRA: the program; IO: backends; RESIDENT: percents of the way from the least budget to all in memory (100 with
# the first backend alone, and without running ahead); PARTS: of table, repeats, tale; AGREE: shares of drafts that
# come true; WIDTHS; TEXT_POLICIES, TEXT_DRAFTS: of the texts; ROUNDS, TOKENS: of a run; THREADS.
set -eu
[ $# -ge 1 ] || { sed -n '7,10s/^# *//p' "$0" >&2; exit 2; }
root=$(cd "$(dirname "$0")/.." && pwd)
umbra=${UMBRA:-$root/build/release/src/cli/umbra}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
keep=${KEEP:-$work/kept}
mkdir -p "$keep"

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

# Every disk and budget is a file of its own, so that a run that was cut short goes on where it was.
bench() { # NAME OPTION...
    name=$1
    shift
    rm -f "$work/bench.json"
    for percent in ${RESIDENT:-25 50 100}; do
        for io in ${IO:-sim:500M,100us sim:2G,100us sim:8G,50us auto}; do
            kept=$keep/$piece-$name-$percent-$io.json
            test "$percent" != 100 || kept=$keep/$piece-$name-100.json
            test -s "$kept" || {
                # shellcheck disable=SC2046,SC2086 # lists
                "$umbra" bench "$model" --ram "$(budgets "$model" "$percent")" --io "$io" \
                    --policy $(policies "$percent") --rounds "${ROUNDS:-5}" --tokens "${TOKENS:-200}" \
                    ${THREADS:+--threads "$THREADS"} --json "$@" >"$work/part"
                mv "$work/part" "$kept"
            }
            cat "$kept" >>"$work/bench.json"
            test "$percent" != 100 || break
        done
    done
}

policies() { # PERCENT
    test "$1" = 100 && echo off || echo "$policies"
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
        m = split($0, row, /{"policy":/) - 1
        for (j = 1; j <= m; j++) {
            i = ++n
            r = "\"policy\":" row[j + 1]
            match(r, /"io":"[^"]*"/) # sim:500M,100us has a comma
            place[i] = sprintf("%-15s %3.0f %%", substr(r, RSTART + 6, RLENGTH - 7),
                               100 * value(r, "residency"))
            policy[i] = value(r, "policy")
            setup[i] = substr(r, RSTART, RLENGTH) value(r, "ram_bytes") policy[i]
            alone = sub(/\+.*/, "", setup[i]) == 0
            speed[i] = value(r, "median")
            hits[i] = value(r, "hits")
            bytes[i] = value(r, "bytes_per_token")
            drafted[i] = value(r, "drafted")
            accepted[i] = value(r, "accepted")
            step[i] = value(r, "tokens_per_step")
            experts[i] = value(r, "check_experts")
            if (alone)
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
    printf "%-15s %5s %-18s %7s %6s %7s %8s %8s %9s %9s\n", "disk", "fit", "policy", "tok/s", "gain",
        "drafted", "accepted", "tok/step", "exp/check", "read/tok"
    for (i = 1; i <= n; i++)
        if (policy[i] != "resident")
            printf "%-21s %-18s %7.1f %6.3f %7s %8s %8.2f %9.0f %6.0f kB\n", place[i], policy[i], speed[i],
                speed[i] / off[setup[i]], drafted[i], accepted[i], step[i], experts[i], bytes[i] / 1000'

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
has() { # PART
    case " ${PARTS:-table repeats tale} " in *" $1 "*) return 0 ;; esac
    return 1
}

text() { # NAME OPTION...
    # shellcheck disable=SC2086 # lists
    bench "$@" --draft ${TEXT_DRAFTS:-off lookup runahead auto}
    rows "$true_text"
}

for file; do
    model=$file
    piece=$(basename "$file" .gguf)${WIDEN:+-x$WIDEN}
    if [ -n "${WIDEN:-}" ]; then
        model=$keep/$piece.gguf
        test -s "$model" || "$root/build/release/tools/widen_gguf" "$file" "$WIDEN" "$model.part"
        test -s "$model" || mv "$model.part" "$model"
    fi
    words=off
    for share in ${AGREE:-0 0.3 0.6 0.8 0.9 1}; do
        words="$words told:$share"
        for width in ${WIDTHS:-1 2 4 8 12 16}; do
            words="$words told:$share:$width"
        done
    done
    policies=off
    if has table; then
        echo "== $piece: gain over no drafts, by drafts of a step"
        # shellcheck disable=SC2086 # lists
        bench table --draft $words
        rows "widths = \"${WIDTHS:-1 2 4 8 12 16}\"; $simulated"
    fi
    policies=${TEXT_POLICIES:-off runahead}
    if has repeats; then
        echo "== $piece: a text that repeats itself, greedy; gain over the same policy without drafts"
        text repeats --prompt "$functions" --temp 0
    fi
    if has tale; then
        echo "== $piece: a tale, drawn at 0.9"
        text tale --temp 0.9 --prompt "Once upon a time there was a little girl who lived"
    fi
done

#!/bin/sh
# Holds texts with drafts against texts without, byte for byte, for every model that is named.
#
#     scripts/check-drafts.sh UMBRA MODEL...
#
# Greedy and drawn, DRAFTS (default: every source; mtp where the file has a block for it), WIDTHS (default: 1 to 8
# and 16), SHARES of the way from the smallest budget to all in memory, in percent (default: 10, 50 and 100),
# POLICIES of reading ahead (default: off and runahead), TOKENS new ones (default: 512, or what the model's context
# has room for), THREADS.
set -eu
umbra=$1
shift
prompt="static int add(int a, int b) { return a + b; } static int sub(int a, int b) { return a"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
checked=0 different=0 small=0

number() { # KEY: of the JSON of a plan
    sed "s/.*\"$1\":\([0-9]*\).*/\1/" "$work/plan"
}

text() { # FILE OPTION...; 1: the budget has no room for drafts
    out=$1
    shift
    "$umbra" run "$model" -p "$prompt" -n "$tokens" --ignore-eos --json ${THREADS:+--threads "$THREADS"} "$@" \
        >"$work/json" 2>"$work/err" || {
        grep -q "is too small; the smallest that works" "$work/err" && return 1
        cat "$work/err" >&2
        exit 1
    }
    sed 's/.*"tokens":\(\[[^]]*\]\).*/\1/' "$work/json" >"$out"
}

for model; do
    "$umbra" inspect "$model" --json | tr -d '\n' >"$work/plan"
    least=$(number min_budget_bytes)
    most=$(number all_budget_bytes)
    context=$(number context)
    block=no
    ! "$umbra" inspect "$model" | grep -q "^  for drafts" || block=yes
    tokens=${TOKENS:-512}
    test "$tokens" -le $((context - 64)) || tokens=$((context - 64))
    for drawn in "" "--temp 0.9 --top-p 0.95 --seed 11"; do
        # shellcheck disable=SC2086 # options are words
        text "$work/alone" --draft off --prefetch off $drawn
        for share in ${SHARES:-10 50 100}; do
            test "$share" = 100 && ram="" || ram="--ram $((least + (most - least) * share / 100))"
            for policy in ${POLICIES:-off runahead}; do
                for draft in ${DRAFTS:-lookup runahead auto mtp}; do
                    test "$draft$policy" != runaheadoff || continue
                    test "$draft$block" != mtpno || continue
                    for width in ${WIDTHS:-1 2 3 4 5 6 7 8 16}; do
                        # shellcheck disable=SC2086
                        text "$work/drafted" --draft $draft --draft-max "$width" \
                            --prefetch "$policy" $ram $drawn || { small=$((small + 1)); continue; }
                        checked=$((checked + 1))
                        cmp -s "$work/alone" "$work/drafted" && continue
                        different=$((different + 1))
                        echo "$model: --draft $draft --draft-max $width --prefetch $policy $ram" \
                            "$drawn: another text"
                    done
                done
            done
        done
    done
done
echo "$checked texts with drafts, $different of them differ; $small budgets had no room for drafts"
test "$different" = 0

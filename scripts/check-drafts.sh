#!/bin/sh
# Holds texts with drafts against texts without, byte for byte, for every model that is named.
#
#     scripts/check-drafts.sh UMBRA MODEL...
#     KEEP=folder SPREAD=1 nice scripts/check-drafts.sh build/release/src/cli/umbra ../shared/*/*.gguf
#
# Greedy and drawn, DRAFTS (default: every source; mtp where the file has a block for it), WIDTHS (default: 1 to 8
# and 16), SHARES of the way from the smallest budget to all in memory, in percent (default: 10, 50 and 100),
# POLICIES of reading ahead (default: off and runahead), TOKENS new ones (default: 512, or what the model's context
# has room for), THREADS, KERNELS.
#
# SPREAD=1: every width with one of the budgets and policies, in turns, in place of all of them. KEEP: a folder in
# which every result is written down, so that a run that was ended goes on where it was; it is for one program.
set -eu
[ $# -ge 2 ] || { sed -n '4,5s/^# *//p' "$0" >&2; exit 2; }
umbra=$1
shift
prompt="static int add(int a, int b) { return a + b; } static int sub(int a, int b) { return a"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
keep=${KEEP:-$work}
results=$keep/results
mkdir -p "$keep"
test -e "$results" || : >"$results"

number() { # KEY: the first of that name in the JSON of a plan, the model's own
    grep -o "\"$1\":[0-9]*" "$work/plan" | head -n 1 | tr -dc 0-9
}

text() { # FILE OPTION...; 1: the budget has no room for drafts
    out=$1
    shift
    "$umbra" run "$model" -p "$prompt" -n "$tokens" --ignore-eos --json ${THREADS:+--threads "$THREADS"} \
        ${KERNELS:+--kernels "$KERNELS"} "$@" >"$work/json" 2>"$work/err" || {
        grep -q "is too small; the smallest that works" "$work/err" && return 1
        cat "$work/err" >&2
        exit 1
    }
    sed 's/.*"tokens":\(\[[^]]*\]\).*/\1/' "$work/json" >"$out"
}

# What was found is a line: same, differs or small, and what was asked.
compare() { # ALONE OPTION...
    alone=$1
    shift
    asked="$model${KERNELS:+ --kernels $KERNELS} -n $tokens $*"
    ! grep -qxF -e "same $asked" -e "differs $asked" -e "small $asked" "$results" || return 0
    found=small
    # shellcheck disable=SC2068 # options are words
    ! text "$work/drafted" $@ || { found=differs && ! cmp -s "$alone" "$work/drafted" || found=same; }
    echo "$found $asked" >>"$results"
    test "$found" != differs || echo "another text: $asked"
}

# Each of these sources and widths with all budgets and policies, or with one of them.
sources() { # ALONE DRAWN
    for draft in ${DRAFTS:-lookup runahead auto mtp}; do
        test "$draft$block" != mtpno || continue
        for width in ${WIDTHS:-1 2 3 4 5 6 7 8 16}; do
            turn=$((turn + 1)) at=0
            for share in ${SHARES:-10 50 100}; do
                test "$share" = 100 && ram="" || ram="--ram $((least + (most - least) * share / 100))"
                for policy in ${POLICIES:-off runahead}; do
                    test "$draft$policy" != runaheadoff || continue
                    at=$((at + 1))
                    test -z "${SPREAD:-}" || test $((turn % $(settings "$draft"))) = $((at - 1)) || continue
                    compare "$1" "--draft $draft --draft-max $width --prefetch $policy $ram $2"
                done
            done
        done
    done
}

settings() { # DRAFT: how many budgets and policies there are for it
    # shellcheck disable=SC2086 # lists
    set -- "$1" ${SHARES:-10 50 100}
    n=$(($# - 1)) policies=0
    for policy in ${POLICIES:-off runahead}; do
        test "$1$policy" = runaheadoff || policies=$((policies + 1))
    done
    echo $((n * policies))
}

turn=0
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
        sources "$work/alone" "$drawn"
    done
done
count() { # RESULT
    grep -c "^$1 " "$results" || :
}
different=$(count differs)
echo "$(($(count same) + different)) texts with drafts, $different of them differ; $(count small) budgets had no" \
    "room for drafts"
test "$different" = 0

#!/bin/sh
# Decode beside other programs on the same cores, everything in memory: tokens per second by number
# of threads and of neighbours, loops that each want a core for themselves, in turns.
# Reasons to worry: more threads that are slower than fewer with as many neighbours.
# Usage: neighbours.sh BUILD MODEL [THREADS...]
# THREADS (1 2); NEIGHBOURS ("0 1 2"), ROUNDS (3), TOKENS (200)
set -eu
[ $# -ge 2 ] || { sed -n '5,6s/^# *//p' "$0" >&2; exit 2; }
build=$1 model=$2
shift 2
busy=
trap '[ -z "$busy" ] || kill $busy' EXIT INT TERM
for round in $(seq "${ROUNDS:-3}"); do
    for neighbours in ${NEIGHBOURS:-0 1 2}; do
        for i in $(seq "$neighbours"); do
            sh -c 'while :; do :; done' &
            busy="$busy $!"
        done
        for threads in ${*:-1 2}; do
            "$build/bench/bench_threads" "$model" --threads "$threads" --prompt "${TOKENS:-200}" \
                --tokens "${TOKENS:-200}" --rounds 1 ${KERNELS:+--kernels "$KERNELS"} |
                awk -v n="$neighbours" 'END { print "neighbours " n ", threads " $1 ": " $NF " tok/s" }'
        done
        [ -z "$busy" ] || kill $busy
        busy=
    done
done | awk -F': ' '{ sub(" tok/s", "", $2); all[$1] = all[$1] " " $2 }
    END { for (name in all) print name ":" all[name] " tok/s" }' | sort

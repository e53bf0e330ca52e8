#!/bin/sh
# What it costs to be the only rank: decoded tokens per second with mpirun -n 1 against without, in turns, which
# begin with the other side each time, and the median of each side.
#   [THREADS=N] one_rank.sh UMBRA MODEL [ROUNDS]      THREADS: default 1, which scatters least
set -eu
umbra=$1 model=$2 rounds=${3:-9}
OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_ALLOW_RUN_AS_ROOT OMPI_ALLOW_RUN_AS_ROOT_CONFIRM
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

speed() # [mpirun -n 1 ...]
{
    "$@" "$umbra" bench "$model" --rounds 3 -n 400 --policy off -t "${THREADS:-1}" --json 2>/dev/null |
        sed 's/.*"tok_s": *{"median": *\([0-9.e+]*\).*/\1/' | head -1
}
mpi="mpirun -n 1 --bind-to none"
for round in $(seq "$rounds"); do
    if [ $((round % 2)) -eq 1 ]; then
        without=$(speed) with=$(speed $mpi)
    else
        with=$(speed $mpi) without=$(speed)
    fi
    echo "$without" >>"$folder/without"
    echo "$with" >>"$folder/with"
    echo "without $without, with $with tokens/s"
done
median()
{
    sort -g "$1" | sed -n "$((rounds / 2 + 1))p"
}
echo "median without $(median "$folder/without"), with $(median "$folder/with"):" \
    "$(echo "$(median "$folder/with") $(median "$folder/without")" | awk '{printf "%+.1f %%", 100 * ($1 / $2 - 1)}')"

#!/bin/sh
# What it costs to be the only rank: decoded tokens per second with mpirun -n 1 against without. Both run at once on
# one and the same core, a thread each, so that the system deals them its time in slices of milliseconds and both
# meet the same moments of the machine; the median of the runs' rounds leaves out where only one of them runs. A
# pair on each of two cores at a time.
#   one_rank.sh UMBRA MODEL [SAMPLES]
set -eu
umbra=$1 model=$2 samples=${3:-12}
OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_ALLOW_RUN_AS_ROOT OMPI_ALLOW_RUN_AS_ROOT_CONFIRM
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

decode() # CORE OUT [mpirun ...]
{
    core=$1 out=$2
    shift 2
    taskset -c "$core" "$@" "$umbra" bench "$model" --rounds 7 -n 150 --policy off -t 1 --json 2>/dev/null |
        sed 's/.*"tok_s": *{"median": *\([0-9.e+]*\).*/\1/' | head -1 >"$out"
}
for sample in $(seq $(((samples + 1) / 2))); do
    for core in 0 1; do
        decode $core "$folder/without.$core" &
        decode $core "$folder/with.$core" mpirun -n 1 --bind-to none &
    done
    wait
    for core in 0 1; do
        echo "$(cat "$folder/without.$core") $(cat "$folder/with.$core")" | tee -a "$folder/all"
    done
done
awk '{ printf "%.4f\n", $2 / $1 }' "$folder/all" | sort -g >"$folder/ratios"
awk '{ r[NR] = $1 } END { printf "with / without: median %.4f, quartiles %.4f %.4f, %d samples\n", r[int((NR + 1) / 2)],
    r[int((NR + 3) / 4)], r[int((3 * NR + 3) / 4)], NR }' "$folder/ratios"

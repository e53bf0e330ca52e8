#!/bin/sh
# Two ranks under valgrind's memcheck: what is not set is not sent, nor
# anything done with it. What valgrind finds in MPI itself is left out (memcheck.supp). Usage: test_memcheck.sh UMBRA
set -eu
umbra=$1
tiny=models/tiny-q8_0.gguf
known=/usr/share/openmpi/openmpi-valgrind.supp

skip()
{
    echo "SKIPPED: $1"
    exit 77
}
command -v valgrind >/dev/null || skip "there is no valgrind"
command -v mpirun >/dev/null || skip "there is no mpirun"
mpirun --version 2>/dev/null | grep -q 'Open MPI' && [ -e $known ] || skip "mpirun is not Open MPI's"
"$umbra" version | grep -q ' mpi ' || skip "this build has no MPI (-DUMBRA_MPI=ON)"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_btl_vader_single_copy_mechanism=none
OMPI_MCA_orte_tmpdir_base=$folder
export OMPI_MCA_orte_tmpdir_base OMPI_ALLOW_RUN_AS_ROOT OMPI_ALLOW_RUN_AS_ROOT_CONFIRM OMPI_MCA_rmaps_base_oversubscribe
export OMPI_MCA_btl_vader_single_copy_mechanism
mpirun -n 2 true >/dev/null 2>&1 || skip "mpirun cannot start processes here"

checked()
{
    btl=$1
    shift
    mpirun -n 2 --mca btl "self,$btl" valgrind -q --error-exitcode=9 --log-file="$folder/found.%p" \
        --suppressions=$known --suppressions=tests/cli/memcheck.supp "$umbra" "$@" \
        >"$folder/out" 2>"$folder/log" </dev/null || {
        cat "$folder/log" "$folder"/found.*
        echo "memcheck, by $btl: $*" >&2
        exit 1
    }
    echo "two ranks, by $btl: umbra $1 is clean"
}
checked vader run $tiny -p x -n 4

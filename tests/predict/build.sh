#!/bin/sh
# Builds check_fast by itself, static, without CMake: for an emulator or another machine.
#   tests/predict/build.sh COMPILER OUTPUT [further compiler flags]
# The compiler's target decides which instruction sets are built, as in src/predict/CMakeLists.txt.
set -eu
cd "$(dirname "$0")/../.."
cc=$1 output=$2
shift 2
objects=$(mktemp -d)
trap 'rm -rf "$objects"' EXIT

compile() {
    file=$1
    shift
    $cc -std=c17 -D_GNU_SOURCE -Iinclude -Isrc -O3 -ffp-contract=off -fno-math-errno "$@" \
        -c "$file" -o "$objects/$(echo "$file" | tr / _).o"
}

files="src/base/memory.c src/base/dtype.c src/base/random.c src/kernels/table.c
       src/kernels/scalar/scalar.c src/kernels/scalar/reference.c src/predict/fast_table.c
       tests/predict/check_fast.c"
fast="-fno-trapping-math"
compile src/predict/fast_scalar.c $fast "$@"
case $($cc -dumpmachine) in
x86_64*)
    avx2="-mavx2 -mfma -mf16c"
    avx512="-mavx512f -mavx512bw -mavx512vl -mavx512dq"
    for file in src/kernels/x86/avx2_*.c; do
        compile "$file" $avx2 "$@"
    done
    for file in src/kernels/x86/avx512_*.c; do
        compile "$file" $avx2 $avx512 "$@"
    done
    compile src/predict/fast_avx2.c $fast -mavx2 "$@"
    compile src/predict/fast_avx512.c $fast $avx512 -mavx512vnni -mprefer-vector-width=512 "$@"
    ;;
aarch64*)
    files="$files $(echo src/kernels/arm/neon_*.c)"
    compile src/predict/fast_neon.c $fast "$@"
    ;;
esac
for file in $files; do
    compile "$file" "$@"
done
$cc -static "$@" "$objects"/*.o -o "$output" -lm -pthread

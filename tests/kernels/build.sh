#!/bin/sh
# Builds check_kernels by itself, static, without CMake: for an emulator or another machine.
#   tests/kernels/build.sh COMPILER OUTPUT [further compiler flags]
# The compiler's target decides which instruction sets are built, as in src/kernels/CMakeLists.txt.
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
        -c "$file" -o "$objects/$(basename "$file" .c).o"
}

files="src/base/memory.c src/base/dtype.c src/kernels/table.c src/kernels/scalar/grids.c
       src/kernels/scalar/scalar.c
       src/kernels/scalar/reference.c"
case $($cc -dumpmachine) in
x86_64*)
    avx2="-mavx2 -mfma -mf16c"
    for file in src/kernels/x86/avx2_*.c; do
        compile "$file" $avx2 "$@"
    done
    for file in src/kernels/x86/avx512_*.c; do
        compile "$file" $avx2 -mavx512f -mavx512bw -mavx512vl -mavx512dq "$@"
    done
    ;;
aarch64*)
    files="$files $(echo src/kernels/arm/neon_*.c)"
    ;;
esac
for file in $files tests/kernels/check*.c; do
    compile "$file" "$@"
done
$cc -static "$@" "$objects"/*.o -o "$output" -lm -pthread

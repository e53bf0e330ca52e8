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

files="src/base/clock.c src/base/memory.c src/base/dtype.c src/base/random.c src/kernels/table.c
       src/kernels/scalar/grids.c src/kernels/scalar/scalar.c src/kernels/scalar/reference.c
       src/kernels/scalar/state.c"
predict=-fno-trapping-math
compile src/kernels/scalar/predict.c $predict "$@"
case $($cc -dumpmachine) in
x86_64*)
    avx2="-mavx2 -mfma -mf16c"
    avx512="-mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni"
    for file in src/kernels/x86/avx2_[!p]*.c src/kernels/x86/avx2_panels.c; do
        compile "$file" $avx2 "$@"
    done
    for file in src/kernels/x86/avx512_[!p]*.c; do
        compile "$file" $avx2 $avx512 "$@"
    done
    compile src/kernels/x86/amx_blocks.c $avx2 $avx512 -mavx512vbmi "$@"
    compile src/kernels/x86/amx_works.c "$@"
    compile tests/kernels/emulated_avx512.c $avx2 "$@"
    compile tests/kernels/emulated_avx512_attend.c $avx2 "$@"
    compile tests/kernels/emulated_amx.c $avx2 "$@"
    compile tests/kernels/trial_amx.c $avx2 "$@"
    compile src/kernels/x86/avx2_predict.c $predict -mavx2 "$@"
    compile src/kernels/x86/avx512_predict.c $predict $avx512 \
        -mprefer-vector-width=512 "$@"
    ;;
aarch64*)
    files="$files $(echo src/kernels/arm/neon_[!p]*.c)"
    compile src/kernels/arm/neon_predict.c $predict "$@"
    ;;
esac
for file in $files tests/kernels/check*.c; do
    compile "$file" "$@"
done
$cc -static "$@" "$objects"/*.o -o "$output" -lm -pthread

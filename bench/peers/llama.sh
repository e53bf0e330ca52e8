#!/bin/sh
# Builds llama.cpp's llama-bench from the sources that PyPI's newest llama-cpp-python has in it, for
# comparisons on another machine than this one: without what only this processor has.
#   bench/peers/llama.sh OUT [avx2|avx512]     OUT: folder; OUT/bin/llama-bench at the end
# SOURCES=DIR takes the sources of llama.cpp from there instead of from PyPI. Needs pip and CMake.
set -eu
out=$1 set=${2:-avx512}
mkdir -p "$out"
out=$(cd "$out" && pwd)

if [ -z "${SOURCES:-}" ]; then
    python3 -m pip download --quiet --no-deps --no-binary :all: -d "$out" llama-cpp-python
    tar -xzf "$out"/llama_cpp_python-*.tar.gz -C "$out"
    SOURCES=$(echo "$out"/llama_cpp_python-*/vendor/llama.cpp)
fi
flags="-DGGML_NATIVE=OFF -DGGML_SSE42=ON -DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON"
if [ "$set" = avx512 ]; then
    flags="$flags -DGGML_AVX512=ON -DGGML_AVX512_VBMI=ON -DGGML_AVX512_VNNI=ON -DGGML_AVX512_BF16=ON"
fi
# shellcheck disable=SC2086
cmake -S "$SOURCES" -B "$out/build" -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF $flags \
    -DGGML_OPENMP=OFF -DLLAMA_CURL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF \
    -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_TOOLS=ON >"$out/cmake.log" 2>&1
cmake --build "$out/build" --target llama-bench -j "${JOBS:-2}" >"$out/build.log" 2>&1
mkdir -p "$out/bin"
cp "$out/build/bin/llama-bench" "$out/bin/"
echo "$out/bin/llama-bench"

#!/bin/sh
# Installs the build into an empty folder and builds a program against it, by pkg-config and by
# CMake. Usage: test_install.sh BUILD_FOLDER
set -eu
build=$1
prefix=$(mktemp -d)
trap 'rm -rf "$prefix"' EXIT
cmake --install "$build" --prefix "$prefix" >"$prefix/install.log"

cat >"$prefix/program.c" <<'END'
#include <stdio.h>
#include <umbra/umbra.h>
int main(int argc, char **argv)
{
    umbra_error err;
    umbra_model *model;
    if (argc != 2 || umbra_model_open(&model, argv[1], &err) != UMBRA_OK)
        return 1;
    printf("%s %d\n", umbra_version(), umbra_model_get_info(model)->experts);
    umbra_model_close(&model);
    return 0;
}
END
pc=$(dirname "$(find "$prefix" -name umbra.pc)")
sed -i "s|^prefix=.*|prefix=$prefix|" "$pc/umbra.pc"
cc -std=c17 "$prefix/program.c" -o "$prefix/by_pkg_config" \
    $(PKG_CONFIG_PATH=$pc pkg-config --static --cflags --libs umbra)
"$prefix/by_pkg_config" models/tiny-q8_0.gguf

cat >"$prefix/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.22)
project(program C)
find_package(umbra REQUIRED)
add_executable(by_cmake program.c)
target_link_libraries(by_cmake PRIVATE umbra::umbra)
END
cmake -S "$prefix" -B "$prefix/build" -DCMAKE_PREFIX_PATH="$prefix" >"$prefix/cmake.log" ||
    { cat "$prefix/cmake.log"; exit 1; }
cmake --build "$prefix/build" >"$prefix/cmake.log" || { cat "$prefix/cmake.log"; exit 1; }
"$prefix/build/by_cmake" models/tiny-q8_0.gguf
"$prefix/bin/umbra" version

#!/bin/sh
# Installs a static and a shared build into empty folders, by DESTDIR and by prefix, and builds the
# example programs against them, by pkg-config and by CMake: one writes what `umbra run` writes, the
# other, an engine of its own, what it writes without Umbra.
# Usage: test_install.sh BUILD_FOLDER (its folder tests/cli/shared keeps the shared build)
set -eu
build=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
model=models/tiny-q8_0.gguf

fail()
{
    echo "FAILED: $1"
    exit 1
}

# quiet COMMAND...: its output only if it fails
quiet()
{
    "$@" >"$work/log" 2>&1 || { cat "$work/log"; fail "$*"; }
}

# The whole tree under DESTDIR, as packagers install it.
check_tree()
{
    quiet env DESTDIR="$1" cmake --install "$2" --prefix /usr
    for file in bin/umbra include/umbra/umbra.h share/man/man1/umbra.1 share/man/man1/umbra-run.1 \
        share/man/man1/umbra-bench-predictor.1 share/bash-completion/completions/umbra \
        share/zsh/site-functions/_umbra share/fish/vendor_completions.d/umbra.fish \
        share/doc/umbra/README.md share/doc/umbra/examples/c/generate.c \
        share/doc/umbra/examples/embed/embed.c; do
        [ -s "$1/usr/$file" ] || fail "$file is not installed"
    done
    [ -x "$1/usr/share/doc/umbra/examples/compare-budgets.sh" ] || fail "examples cannot be run"
    [ "$(ls "$1")" = usr ] || fail "something is installed outside the prefix"
    # Nothing may speak of the folders of the build.
    ! grep -rIl -e "$(pwd)" -e "$1" "$1/usr" || fail "these files name folders of the build"
}

# check_lab KIND STATIC_FLAG: a program of both libraries, by pkg-config and by CMake.
check_lab()
{
    mkdir -p "$work/lab"
    cat >"$work/lab/lab.c" <<'END'
#include <umbra/lab/lab.h>
#include <umbra/umbra.h>
int main(void)
{
    umbra_lab_build lab;
    umbra_lab_get_build(&lab);
    int (*volatile train)(const umbra_train_options *, umbra_train_result *, umbra_error *) =
        umbra_train;
    return !train || !lab.jansson[0] || !umbra_version()[0];
}
END
    cat >"$work/lab/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.22)
project(lab C)
find_package(umbra REQUIRED COMPONENTS lab)
add_executable(lab lab.c)
target_link_libraries(lab PRIVATE umbra::lab)
END
    quiet ${CC:-cc} -std=c11 "$work/lab/lab.c" -o "$work/lab_by_pkg_config_$1" \
        $(PKG_CONFIG_PATH=$pc pkg-config $2 --cflags --libs umbra-lab)
    quiet cmake -S "$work/lab" -B "$work/build_lab_$1" -DCMAKE_PREFIX_PATH="$prefix"
    quiet cmake --build "$work/build_lab_$1"
    for program in "$work/lab_by_pkg_config_$1" "$work/build_lab_$1/lab"; do
        quiet env LD_LIBRARY_PATH="$lib" "$program"
    done
}

# check_programs KIND BUILD STATIC_FLAG
check_programs()
{
    prefix=$work/$1
    quiet cmake --install "$2" --prefix "$prefix"
    pc=$(dirname "$(find "$prefix" -name umbra.pc)")
    lib=$(dirname "$pc")
    flags=$(PKG_CONFIG_PATH=$pc pkg-config $3 --cflags --libs umbra)
    quiet ${CC:-cc} -std=c11 -Wall -Wextra -Werror examples/c/generate.c \
        -o "$work/by_pkg_config_$1" $flags
    quiet ${CC:-cc} -std=c11 -O2 -Wall -Wextra -Werror examples/embed/*.c \
        -o "$work/embed_by_pkg_config_$1" $flags -lm
    for example in c embed; do
        quiet cmake -S examples/$example -B "$work/build_$1" -DCMAKE_PREFIX_PATH="$prefix"
        quiet cmake --build "$work/build_$1"
        mv "$work/build_$1" "$work/build_$1_$example"
    done
    for program in "$work/embed_by_pkg_config_$1" "$work/by_pkg_config_$1" \
        "$work/build_$1_embed/embed" "$work/build_$1_c/generate"; do
        LD_LIBRARY_PATH=$lib ldd "$program" >"$work/log"
        ! grep -E "blas|jansson|umbra_lab" "$work/log" ||
            fail "$program only runs models and needs these"
    done
    check_lab "$1" "$3"
    for program in "$work/embed_by_pkg_config_$1" "$work/build_$1_embed/embed"; do
        LD_LIBRARY_PATH=$lib "$program" "$work/experts" gate 0.2 auto 16 >"$work/log" ||
            { cat "$work/log"; fail "$program"; }
    done
    for program in "$work/by_pkg_config_$1" "$work/build_$1_c/generate"; do
        LD_LIBRARY_PATH=$lib "$program" $model "The cache holds" 24000000 \
            >"$work/text" 2>"$work/log" ||
            { cat "$work/log"; fail "$program"; }
        cmp "$work/text" "$work/expected" || fail "$program writes another text"
    done
    code=0
    LD_LIBRARY_PATH=$lib "$program" README.md x 2>"$work/log" || code=$?
    { [ $code -eq 1 ] && grep -q "not a GGUF.*UMBRA_E_FORMAT" "$work/log"; } ||
        fail "the example's error is: $(cat "$work/log")"
    LD_LIBRARY_PATH=$lib "$prefix/bin/umbra" version
    echo "$1: built and run by pkg-config and by CMake"
}

"$build/src/cli/umbra" run $model -p "The cache holds" -n 32 >"$work/expected"
check_tree "$work/destdir" "$build"
check_programs static "$build" --static

shared=$build/tests/cli/shared
quiet cmake -S . -B "$shared" -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON -DUMBRA_TESTS=OFF \
    -DUMBRA_BENCH=OFF
quiet cmake --build "$shared" -j 2
check_programs shared "$shared" ""
for name in libumbra.so libumbra_lab.so; do
    find "$work/shared" -name $name | grep -q . || fail "there is no $name"
done
# Each symbol is exported once.
twice=$(find "$work/shared" -name 'libumbra*.so' -exec nm -D --defined-only {} + |
    awk 'NF == 3 { print $3 }' | sort | uniq -d)
[ -z "$twice" ] || fail "both libraries export $twice"

# The headers serve C++ too.
if command -v c++ >/dev/null; then
    printf '#include <umbra/lab/lab.h>\n#include <umbra/umbra.h>\n' >"$work/x.cc"
    quiet c++ -std=c++17 -Wall -Wextra -Werror -I"$work/shared/include" -c "$work/x.cc" \
        -o "$work/x.o"
fi

#!/bin/sh
# Each public header compiles alone, as C17 and as C++17, without a warning, and gives no name to C++
# that it would not have without; the program on top of umbra/umbra.h writes what `umbra run` writes.
# Usage: test_headers.sh UMBRA PROGRAM_OF_UMBRA_H
set -eu
umbra=$1
program=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
strict="-pedantic -Wall -Wextra -Werror -Iinclude -c"

# alone COMPILER... EXTENSION: every header by itself, twice, so that its guard is seen to work
alone()
{
    for header in include/umbra/*.h include/umbra/lab/*.h; do
        printf '#include <%s>\n#include <%s>\nextern int other;\n' "${header#include/}" \
            "${header#include/}" \
            >"$work/alone.$extension"
        "$@" $strict "$work/alone.$extension" -o "$work/alone.o" || {
            echo "FAILED: $header does not compile alone: $*"
            exit 1
        }
    done
    echo "alone: $*"
}

extension=c
alone ${CC:-cc} -std=c17
if command -v "${CXX:-c++}" >/dev/null; then
    extension=cc
    alone "${CXX:-c++}" -std=c++17
    # A program of C++ that has names of its own for what the headers use inside.
    cat >"$work/own.cc" <<'END'
#include <umbra/lab/lab.h>
#include <umbra/umbra.h>
namespace atomic_names { int atomic_bool, atomic_load_explicit, memory_order_relaxed; }
using namespace atomic_names;
int main()
{
    std::atomic<bool> stop(true);
    umbra_progress progress = {nullptr, nullptr, &stop};
    atomic_bool = atomic_load_explicit = memory_order_relaxed = 0;
    return umbra_progress_interrupted(&progress) ? atomic_bool : 1;
}
END
    "${CXX:-c++}" -std=c++17 -pedantic -Wall -Wextra -Werror -Iinclude "$work/own.cc" \
        -o "$work/own" && "$work/own" || {
        echo "FAILED: the headers take names that a C++ program may use"
        exit 1
    }
else
    echo "SKIPPED for C++: there is no compiler called ${CXX:-c++}"
fi

model=models/tiny-q8_0.gguf
"$program" $model "The cache holds" 24000000 >"$work/text"
"$umbra" run $model -p "The cache holds" -n 32 >"$work/expected"
printf '\n' >>"$work/text"
cmp "$work/text" "$work/expected" || { echo "FAILED: umbra.h's program writes another text"; exit 1; }
code=0
"$program" README.md x 2>"$work/text" || code=$?
{ [ $code -eq 1 ] && grep -q "UMBRA_E_FORMAT: .*not a GGUF" "$work/text"; } || {
    echo "FAILED: umbra.h's program says of a file that is no model: $(cat "$work/text")"
    exit 1
}

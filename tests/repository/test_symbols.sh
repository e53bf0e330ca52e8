#!/bin/sh
# Each library exports what its headers declare with UMBRA_API and nothing else, and that is the list
# in tests/repository/symbols: whoever adds, renames or removes a symbol says so there, and in
# CHANGELOG.md. UPDATE=1 writes the lists anew.
# Usage: test_symbols.sh LIBUMBRA LIBUMBRA_LAB LIBUMBRA_LLAMA (static or shared)
set -eu
lists=tests/repository/symbols
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
status=0

# exported LIBRARY: the names that a program, or one that links the shared library, can use. Those of
# sanitizers begin with an underscore.
exported()
{
    case $1 in
    *.a) readelf -sW "$1" |
        awk '($5 == "GLOBAL" || $5 == "WEAK") && $6 == "DEFAULT" && $7 != "UND" { print $8 }' ;;
    *) nm -D --defined-only "$1" | awk 'NF == 3 { print $3 }' ;;
    esac | grep -v '^_' | LC_ALL=C sort -u
}

# declared HEADER...: the names behind UMBRA_API
declared()
{
    cat "$@" | tr '\n' ' ' | grep -o 'UMBRA_API [^;(]*(' | sed 's/($//; s/.*[ *]//' | grep '^umbra_' |
        LC_ALL=C sort -u
}

# check NAME LIBRARY HEADER...
check()
{
    name=$1
    exported "$2" | { [ "$name" != umbra_llama ] && cat || grep -Ev "$hooks"; } >"$work/exported"
    shift 2
    declared "$@" >"$work/declared"
    [ -s "$work/exported" ] || { echo "FAILED: lib$name exports nothing"; status=1; }
    if ! diff "$work/declared" "$work/exported" >"$work/diff"; then
        echo "FAILED: lib$name: declared with UMBRA_API and not defined (<), or exported without (>):"
        cat "$work/diff"
        status=1
    fi
    [ "${UPDATE:-0}" = 0 ] || cp "$work/exported" $lists/$name.txt
    if ! diff $lists/$name.txt "$work/exported" >"$work/diff"; then
        echo "FAILED: lib$name no longer exports (<) or newly exports (>); if that is meant, run" \
            "UPDATE=1 ctest --preset release -R symbols, and tell it in CHANGELOG.md:"
        cat "$work/diff"
        status=1
    fi
}

# Of a library that is loaded before others, also the functions that it stands before.
hooks='^(mmap|mmap64|munmap|mlock|posix_madvise|gguf_.*|ggml_.*|llama_.*)$'

check umbra "$1" $(ls include/umbra/*.h | grep -v /under.h)
check umbra_lab "$2" include/umbra/lab/*.h
check umbra_llama "$3" include/umbra/under.h
exit $status

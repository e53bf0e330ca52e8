#!/bin/sh
# Clang reads every file of a build folder's compile_commands.json, with that build's flags and
# warnings as errors. Nothing is compiled: the warnings come before, and cost a tenth.
# Usage: check-clang.sh BUILD [jobs]
set -eu
clang=clang-14
command -v $clang >/dev/null || {
    echo "$clang is missing: scripts/install-deps.sh test"
    exit 1
}
jobs=${2:-$(nproc)}

# One line of shell per file: the compiler replaced, no output, JSON's quotes undone.
sed -n 's/^  "command": "[^ ]* \(.*\)",$/\1/p' "$1/compile_commands.json" |
    sed 's/\\"/"/g; s/\\\\/\\/g; s/ -o [^ ]*//' | sort -u >"$1/clang-commands"
[ -s "$1/clang-commands" ] || {
    echo "$1/compile_commands.json names no file"
    exit 1
}
tr '\n' '\0' <"$1/clang-commands" | CLANG=$clang xargs -0 -n 1 -P "$jobs" \
    sh -c 'eval "$CLANG -fsyntax-only -Werror $0"' >"$1/clang.log" 2>&1 || {
    cat "$1/clang.log"
    exit 1
}
echo "$clang: $(wc -l <"$1/clang-commands") files, no warning"

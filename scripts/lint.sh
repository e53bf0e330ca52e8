#!/bin/sh
# clang-tidy and cppcheck over the sources, with what they may say written down in clang-tidy.yml and
# cppcheck.txt beside this: lint.sh BUILD [FILE]... (default: all of src). Exit code 1 if either says more.
set -u
build=$1 code=0
shift
cd "$(dirname "$0")/.."
jobs=${JOBS:-$(nproc)}
[ $# -gt 0 ] || set -- $(find src -name '*.c' ! -path 'src/kernels/arm/*' | sort)
# Files that this build does not compile (an instruction set, MPI) are not in its list.
for file; do
    grep -q "/$file\"" "$build/compile_commands.json" && echo "$file"
done | xargs -n 4 -P "$jobs" clang-tidy-14 --config-file=scripts/clang-tidy.yml -p "$build" --quiet 2>/dev/null || code=1
cppcheck --version
cppcheck -I include -I src -D_GNU_SOURCE -D__x86_64__ -DUMBRA_VERSION='"0"' --max-configs=1 -j "$jobs" --quiet \
    --enable=warning,performance,portability --inline-suppr --suppressions-list=scripts/cppcheck.txt \
    --error-exitcode=1 "$@" || code=1
exit $code

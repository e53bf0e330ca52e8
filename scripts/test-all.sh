#!/usr/bin/env bash
# Everything that a change must pass, in stages; all of them run, and the last line counts:
# "N passed, N failed". Exit code 1 if anything failed.
#   test-all.sh [format | suite | clang | asan | tsan]...     the stages named; by default all
#
# suite runs every test in an optimised build with warnings as errors and assertions on. Under
# sanitizers run the tests that are worth it there (umbra_label in cmake/UmbraLayers.cmake).
set -uo pipefail
cd "$(dirname "$0")/.."
passed=0 failed=0 summary=""
mkdir -p build
command -v ccache >/dev/null && export CMAKE_C_COMPILER_LAUNCHER=ccache
jobs=-j$(nproc)

# One check that is not a test of CTest's.
count()
{
    local code=0
    "$@" || code=$?
    if [ $code -eq 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
    return $code
}

build()
{
    cmake --preset "$1" >"build/$1.log" 2>&1 || { cat "build/$1.log"; return 1; }
    shift
    cmake --build --preset "$@" "$jobs" >build/build.log 2>&1 || { cat build/build.log; return 1; }
}

# Runs tests of a preset and adds what CTest's summary counts. That none ran is a failure.
run_tests()
{
    local log=build/ctest-$1.log of
    shift
    "$@" 2>&1 | tee "$log"
    of=$(sed -n 's/.* tests passed, \([0-9]*\) tests failed out of \([0-9]*\)$/\1 \2/p' "$log")
    set -- ${of:-1 1}
    failed=$((failed + $1)) passed=$((passed + $2 - $1))
    [ "$1" -eq 0 ]
}

check_format()
{
    find include src tests tools bench examples -name '*.[ch]' -print0 |
        xargs -0 clang-format-14 --dry-run -Werror
}

format() { count check_format; }

suite() { count build ci ci && run_tests suite ctest --preset ci "$jobs"; }

# The suite's build folder lists the files.
clang()
{
    cmake --preset ci >build/ci.log 2>&1 || { cat build/ci.log; return 1; }
    count scripts/check-clang.sh build/ci
}

asan()
{
    export ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1
    count build asan asan && run_tests asan ctest --preset asan "$jobs" -LE 'slow|once'
}

tsan()
{
    # GCC 12's thread sanitizer does not start where addresses are more random than it knows.
    local steady=
    setarch -R true 2>/dev/null && steady="setarch -R"
    count build tsan tsan --target thread_tests &&
        run_tests tsan $steady ctest --preset tsan "$jobs" -L threads -LE slow
}

for stage in ${*:-format suite clang asan tsan}; do
    echo "== $stage =="
    started=$SECONDS verdict=passed
    $stage || verdict=FAILED
    summary+="$(printf '%-7s %s in %d s' "$stage" "$verdict" $((SECONDS - started)))"$'\n'
done
echo
printf '%s' "$summary"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]

#!/bin/sh
# The demo goes its whole way, refuses a folder that is not its own, and ends when it is told to.
# Usage: test_demo.sh UMBRA
set -eu
umbra=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail()
{
    cat "$work/log"
    echo "FAILED: $1"
    exit 1
}

"$umbra" demo --quick -o "$work/demo" >"$work/log" 2>&1 || fail "umbra demo --quick"
for text in "1/7 inspect" "2/7 collect" "3/7 train" "4/7 eval" "5/7 run" "6/7 bench" "7/7 reports" \
    '$ umbra run models/tiny-q8_0.gguf -p "The cache holds"' "All 4 wrote the same text" \
    "against off: gate" "done in"; do
    grep -qF -e "$text" "$work/log" || fail "the demo does not say: $text"
done
for report in eval bench; do
    grep -q "</html>" "$work/demo/$report.html" || fail "no report $report.html"
done

# What an earlier demo left is removed, nothing else.
mkdir "$work/mine"
echo mine >"$work/mine/file"
code=0
"$umbra" demo -o "$work/mine" >"$work/log" 2>&1 || code=$?
[ $code -eq 2 ] || fail "exit code $code for a folder of somebody else"
grep -q "name another folder with -o DIR" "$work/log" || fail "the message"
[ "$(cat "$work/mine/file")" = mine ] || fail "a file is gone"
code=0
"$umbra" demo --model "$work/nowhere.gguf" -o "$work/none" >"$work/log" 2>&1 || code=$?
[ $code -eq 1 ] && [ ! -e "$work/none" ] || fail "exit code $code without a model"
code=0
(cd "$work" && "$umbra" demo) >"$work/log" 2>&1 || code=$?
[ $code -eq 1 ] && grep -q "is not here; run it in" "$work/log" || fail "exit code $code elsewhere"

# interrupt WORDS: the demo, told to end once it has written them, says so and does not go on to
# training. The words stand before the command that they announce begins, which may therefore meet
# the signal before it has a handler.
interrupt()
{
    "$umbra" demo -o "$work/demo" >"$work/log" 2>&1 &
    demo=$!
    until grep -q "$1" "$work/log"; do
        kill -0 $demo 2>/dev/null || fail "the demo ended by itself"
    done
    kill -TERM $demo
    code=0
    wait $demo || code=$?
    [ ! -e "$work/demo/eval.html" ] || fail "the folder was not emptied"
    [ $code -eq 130 ] || fail "exit code $code after a signal"
    [ "$(grep -c "umbra: interrupted" "$work/log")" -eq 1 ] || fail "it does not say so once"
    ! grep -q "3/7" "$work/log" || fail "it went on"
}

# A signal ends the command that runs, and the demo, which also takes the folder of the one before.
interrupt "umbra inspect models"
interrupt "umbra collect models"

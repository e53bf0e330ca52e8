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
    '$ umbra run models/tiny-q8_0.gguf -p "The cache holds"' "All 3 wrote the same text" \
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

# A signal ends the command that runs, and the demo. It also takes the folder of the first one.
"$umbra" demo -o "$work/demo" >"$work/log" 2>&1 &
demo=$!
until grep -q "collect models" "$work/log"; do
    kill -0 $demo || fail "the demo ended by itself"
    sleep 0.1
done
[ ! -e "$work/demo/eval.html" ] || fail "the folder was not emptied"
kill -TERM $demo
code=0
wait $demo || code=$?
[ $code -eq 130 ] || fail "exit code $code after a signal"
grep -q "umbra: interrupted" "$work/log" || fail "the command was not interrupted"
! grep -q "3/7" "$work/log" || fail "it went on"

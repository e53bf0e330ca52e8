#!/bin/sh
# The page by real clicks in a headless Chromium. Skipped (77) without UMBRA_TEST_PYTHON, a Python that
# has the package playwright, or without a chromium in the path.
# Usage: test_page.sh UMBRA
set -eu
umbra=$1
python=${UMBRA_TEST_PYTHON:-}
chromium=$(command -v chromium || true)
if [ -z "$python" ] || [ -z "$chromium" ] || ! "$python" -c 'import playwright' 2>/dev/null; then
    echo "SKIPPED: needs chromium, and UMBRA_TEST_PYTHON set to a Python that has playwright"
    exit 77
fi
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; rm -rf "$work"' EXIT
printf '{%% for m in messages %%}{{ m.content }}\n{%% endfor %%}' >"$work/chat.jinja"
mkfifo "$work/address"
# A slow disk, so that there is time to stop an answer.
"$umbra" serve models/tiny-q8_0.gguf --port 0 --no-probe --template "$work/chat.jinja" --ram 54M \
    --io sim:20M,2ms --prefetch off >"$work/address" 2>"$work/log" &
server=$!
read -r address <"$work/address"
"$python" tests/serve/page.py "$address" "$chromium" || {
    cat "$work/log"
    exit 1
}

#!/bin/sh
# The official Python clients of both APIs against the server. Skipped (77) without
# UMBRA_TEST_PYTHON, a Python that has the packages openai and anthropic.
# Usage: test_clients.sh UMBRA
set -eu
umbra=$1
python=${UMBRA_TEST_PYTHON:-}
if [ -z "$python" ] || ! "$python" -c 'import openai, anthropic' 2>/dev/null; then
    echo "SKIPPED: set UMBRA_TEST_PYTHON to a Python that has the packages openai and anthropic"
    exit 77
fi
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; rm -rf "$work"' EXIT
cat >"$work/chat.jinja" <<'END'
{# <tool_call> #}{% for m in messages %}{{ m.content }}{% endfor %}
END
mkfifo "$work/address"
"$umbra" serve models/tiny-q8_0.gguf --port 0 --no-probe --template "$work/chat.jinja" \
    >"$work/address" 2>"$work/log" &
server=$!
read -r address <"$work/address"
"$python" tests/serve/clients.py "$address" || {
    cat "$work/log"
    exit 1
}
kill "$server"
wait "$server" || {
    echo "FAILED: the server did not end well"
    exit 1
}
server=

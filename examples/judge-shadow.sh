#!/bin/sh
# Judges a shadow file that somebody gave you, on what the model writes on this machine.
#   judge-shadow.sh MODEL.gguf SHADOW.safetensors REPORT.html [TOKENS]
# The table compares it with the oracle, the model's own routers ("gate") and simpler ones. If it
# does not beat "gate", it is of no use. If it was made for another model, it is refused.
set -eu
umbra=${UMBRA:-umbra}
[ $# -ge 3 ] || { sed -n '2,5s/^# //p' "$0" >&2; exit 2; }
model=$1 shadow=$2 report=$3 tokens=${4:-20000}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A seed that nobody else uses gives documents that nobody trained on.
"$umbra" collect "$model" -o "$work/traces" --tokens "$tokens" --seed "$(date +%s)"
"$umbra" eval "$work/traces" --shadow "$shadow" --report "$report"

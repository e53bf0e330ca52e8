#!/usr/bin/env bash
# Runs the soak (tests/soak/soak.c) on a real disk for so many seconds, while a second program takes memory and the
# disk in bursts: soak-disk.sh [SECONDS [MODEL [FOLDER]]]. Default: an hour, the tiny model, a new folder beside this
# one. BURST: MB of a burst (400). Exit code of the soak.
set -uo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-3600} model=${2:-models/tiny-q8_0.gguf} burst=${BURST:-400}
soak=${SOAK:-build/release/tests/soak/soak_engine}
folder=$(mktemp -d "${3:-.}/soak-XXXXXX") || exit 1
trap 'kill $(jobs -p) 2>/dev/null; wait 2>/dev/null; rm -rf "$folder"' EXIT
[ -x "$soak" ] || { echo "$soak is missing: make builds it" >&2; exit 1; }

# Memory that is held for some seconds; writes and reads that pass the page cache by.
hog()
{
    while :; do
        case $((RANDOM % 3)) in
        0) { head -c "$((RANDOM % burst + 1))M" /dev/zero; sleep $((RANDOM % 5)); } | tail -c "${burst}M" | wc -c ;;
        1) dd if=/dev/zero of="$folder/hog" bs=1M count=$((RANDOM % burst + 1)) oflag=direct conv=fsync ;;
        2) [ -f "$folder/hog" ] && dd if="$folder/hog" of=/dev/null bs=1M iflag=direct ;;
        esac >/dev/null 2>&1
        sleep "0.$((RANDOM % 10))"
    done
}

cp "$model" "$folder/model.gguf" && sync
hog &
"$soak" "$folder/model.gguf" --seconds "$seconds" --io auto --seed "$RANDOM"

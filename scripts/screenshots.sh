#!/bin/sh
# Takes the pictures of both reports that the README shows: of a demo on the embedded model, or of
# reports that are there already. Needs Chromium; ImageMagick, if it is there, makes them smaller.
#   scripts/screenshots.sh UMBRA [IMAGES [EVAL.html BENCH.html]]     IMAGES: default docs/images
set -eu
umbra=${1:?UMBRA is missing, see the first lines}
images=${2:-docs/images}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

browser=
for name in chromium chromium-browser google-chrome; do
    command -v $name >/dev/null && { browser=$name; break; }
done
[ -n "$browser" ] || { echo "no Chromium here (Debian: apt-get install chromium)" >&2; exit 1; }

if [ $# -lt 4 ]; then
    "$umbra" demo --output "$work/demo" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
fi

# picture NAME REPORT HEIGHT: the top of a report as a desk shows it, at two thirds of the size
picture()
{
    "$browser" --headless --no-sandbox --disable-gpu --hide-scrollbars \
        --user-data-dir="$work/profile" --force-device-scale-factor=0.67 --window-size=900,"$3" \
        --screenshot="$work/$1.png" "file://$(realpath "$2")" 2>/dev/null
    convert "$work/$1.png" -strip -colors 48 "PNG8:$images/$1.png" 2>/dev/null ||
        cp "$work/$1.png" "$images/$1.png"
    ls -l "$images/$1.png"
}
mkdir -p "$images"
picture eval "${3:-$work/demo/eval.html}" 1100
picture bench "${4:-$work/demo/bench.html}" 1425

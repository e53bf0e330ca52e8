#!/bin/sh
# report_renders.sh MAKE_REPORT TEXT...: renders the report that MAKE_REPORT writes of made-up
# figures with hostile names in headless Chromium, at the width of a phone and of a desk, light and
# dark. A picture must come out that is not blank, the page must hold the texts, say nothing on the
# console, and be no wider than its window. With PICTURES=FOLDER the pictures stay there to be
# looked at. Exit code 77: there is no Chromium.
set -eu

make_report=$1
shift
browser=
for name in chromium chromium-browser google-chrome; do
    if command -v "$name" >/dev/null; then
        browser=$name
        break
    fi
done
if [ -z "$browser" ]; then
    echo "skipped: no Chromium here (Debian: apt-get install chromium)"
    exit 77
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
pictures=${PICTURES:-$work}
mkdir -p "$pictures"
"$make_report" "$work/report.html"
texts=
for text in "$@"; do
    texts="$texts\"$text\","
done

failures=0
complain()
{
    echo "$1" >&2
    failures=$((failures + 1))
}

# Windows of headless Chromium are at least 500 pixels wide, so the page sits in a frame.
frame()
{
    cat >"$work/frame.html" <<EOF
<!DOCTYPE html><html><head><meta charset="utf-8"><title>waiting</title></head>
<body style="margin:0"><iframe id="page" src="report.html" style="border:0;width:$1px;height:4000px">
</iframe><script>
document.getElementById("page").onload = function () {
    var page = this.contentDocument, root = page.documentElement, wide = 0;
    page.querySelectorAll("body *").forEach(function (e) {
        if (!e.closest(".scroll") && !e.closest("svg") && e.getBoundingClientRect().right > $1 + 0.5)
            wide++;
    });
    var missing = [$texts].filter(function (text) {
        return page.body.textContent.indexOf(text) < 0;
    });
    document.title = "width " + root.scrollWidth + " beyond " + wide + " scripts " +
        page.scripts.length + " missing " + missing.join() + " dark " +
        this.contentWindow.matchMedia("(prefers-color-scheme: dark)").matches;
};
</script></body></html>
EOF
}

run()
{
    timeout 120 "$browser" --headless --no-sandbox --enable-logging=stderr --disable-gpu --hide-scrollbars \
        --user-data-dir="$work/profile" --allow-file-access-from-files \
        --virtual-time-budget=5000 "$@" "file://$work/frame.html" 2>"$work/log"
}

for width in 390 1200; do
    for mode in light dark; do
        option=--hide-scrollbars
        dark=false
        if [ "$mode" = dark ]; then
            option=--force-dark-mode
            dark=true
        fi
        frame "$width"
        size=--window-size=$((width < 500 ? 500 : width)),4000
        found=$(run "$option" "$size" --dump-dom | sed -n 's/.*<title>\([^<]*\)<.*/\1/p')
        wanted="width $width beyond 0 scripts 0 missing  dark $dark"
        [ "$found" = "$wanted" ] || complain "$width pixels, $mode: '$found' instead of '$wanted'"
        if grep CONSOLE "$work/log" >&2; then
            complain "$width pixels, $mode: the console is not silent"
        fi
        picture=$pictures/report-$width-$mode.png
        run "$option" "$size" --screenshot="$picture" >/dev/null || true
        if [ ! -s "$picture" ]; then
            complain "$width pixels, $mode: no picture"
            tail -3 "$work/log" >&2
        elif [ "$(wc -c <"$picture")" -lt 50000 ]; then # a blank one of this size has 10 kB
            complain "$width pixels, $mode: the picture is nearly blank"
        fi
    done
done
[ "$failures" -eq 0 ] || exit 1
echo "renders at 390 and 1200 pixels, light and dark"

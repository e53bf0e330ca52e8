#!/bin/sh
# scripts/check-layers.sh passes this tree, and names each violation in a small made-up one.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/tree

# put FILE LINE...: writes a file of the made-up tree
put()
{
    file=$tree/$1
    shift
    mkdir -p "$(dirname "$file")"
    printf '%s\n' "$@" >"$file"
}

# A tree in order.
make_tree()
{
    rm -rf "$tree"
    mkdir -p "$tree/tests" "$tree/bench" "$tree/tools"
    put src/layers.txt '# a comment' '1 base status.h' '2 left left.h' '2 right' '3 lab/top lab/top.h' \
        '4 cli'
    put src/base/base.h '#include <stdio.h>' '#include <umbra/status.h>'
    put src/base/json_writer.h ''
    put src/left/internal.h '#include "base/base.h"'
    put src/left/left.c '#include "left/internal.h"'
    put src/left/deep/deep.c '#include "left/internal.h"'
    put src/right/right.h ''
    put src/lab/top/top.c '#include <umbra/lab/top.h>' '#include "right/right.h"' '#include <a/b.h>'
    put src/cli/cli.h '#include <umbra/left.h>' '#include "base/json_writer.h"'
    put src/cli/main.c '#include "cli/cli.h"'
    put include/umbra/status.h ''
    put include/umbra/left.h '#include <umbra/status.h>'
    put include/umbra/lab/top.h '#include <umbra/left.h>'
}

# refuse WORDS FILE LINE...: with that file the tree is refused, with these words
refuse()
{
    words=$1
    shift
    make_tree
    put "$@"
    if scripts/check-layers.sh "$tree" >"$work/said" 2>&1; then
        echo "FAILED: it passes: $*"
        exit 1
    fi
    grep -qF -e "$words" "$work/said" || {
        echo "FAILED: no \"$words\" in:"
        cat "$work/said"
        exit 1
    }
}

make_tree
scripts/check-layers.sh "$tree"
refuse "includes right/right.h from right, which is not below left" \
    src/left/left.c '#include "right/right.h"'
refuse "includes lab/top/x.h, which is not there" src/left/left.c '#include "lab/top/x.h"'
refuse "includes umbra/left.h from left, which is not below right" \
    src/right/right.h '#include <umbra/left.h>'
refuse "includes umbra/lab/top.h from lab/top, which is not below left" \
    include/umbra/left.h '#include <umbra/lab/top.h>'
refuse "gives to no module" src/left/left.c '#include <umbra/other.h>'
refuse "is internal to src/left" src/lab/top/top.c '#include "left/internal.h"'
refuse "an internal header, in a public one" include/umbra/left.h '#include "base/base.h"'
refuse "an internal header, in the command line" src/cli/cli.h '#include "base/base.h"'
refuse "src/extra/extra.c: its module is not in" src/extra/extra.c ''
refuse "include/umbra/extra.h: its module is not in" include/umbra/extra.h ''
refuse "src/gone is in src/layers.txt, but holds no source" \
    src/layers.txt '1 base status.h' '2 left left.h' '2 right' '2 gone' '3 lab/top lab/top.h' '4 cli'
refuse "include/umbra/gone.h is in src/layers.txt, but is not there" \
    src/layers.txt '1 base status.h' '2 left left.h gone.h' '2 right' '3 lab/top lab/top.h' '4 cli'
refuse "more than 100 columns" src/left/left.c "/* $(printf '%0100d' 0) */"
refuse "lines over 100 columns: tests/x.c:1" tests/x.c "/* $(printf '%0100d' 0) */"
scripts/check-layers.sh

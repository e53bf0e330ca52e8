#!/bin/sh
# Writes the program that stands between @code and @endcode in a header's first comment.
# Usage: header_program.sh HEADER OUT
set -eu
sed -n '/^ \* @code$/,/^ \* @endcode$/{/^ \*     /s/^ \*     //p;/^ \*$/s/.*//p}' "$1" >"$2"
[ -s "$2" ] || { echo "$1 shows no program"; exit 1; }

#!/bin/sh
# Every source opens with a comment that says its job.
set -eu
silent=$(find src tests tools bench examples -name '*.c' |
    while read -r file; do
        head -n 1 "$file" | grep -q '^/\* [A-Za-z]' || echo "$file"
    done)
[ -z "$silent" ] || {
    echo "FAILED: these do not open with a line that says their job: $silent"
    exit 1
}

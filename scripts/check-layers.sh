#!/bin/sh
# The order of knowledge: a file may include headers of its own layer and of those below it (listed
# bottom up; layers on one line do not know each other). The CLI uses the public headers, its own
# and the JSON writer.
set -eu
cd "$(dirname "$0")/.."

order='
base
template gguf safetensors kernels
model trace
predict store
engine
evaluate train
runtime
'

failures=0
complain()
{
    echo "$1" >&2
    failures=$((failures + 1))
}

# rank NAME: the line of the order it stands in, or nothing.
rank()
{
    echo "$order" | awk -v name="$1" '{ for (i = 1; i <= NF; i++) if ($i == name) print NR }'
}

for folder in src/*/; do
    layer=$(basename "$folder")
    [ "$layer" = cli ] && continue
    own=$(rank "$layer")
    if [ -z "$own" ]; then
        complain "src/$layer: not in the order of scripts/check-layers.sh"
        continue
    fi
    for file in "$folder"*.c "$folder"*.h; do
        [ -e "$file" ] || continue
        for used in $(sed -n 's/^#include "\([a-z_]*\)\/.*/\1/p' "$file" | sort -u); do
            [ "$used" = "$layer" ] && continue
            below=$(rank "$used")
            if [ -z "$below" ] || [ "$below" -ge "$own" ]; then
                complain "$file includes from $used, which is not below $layer"
            fi
        done
    done
done

bad=$(grep -nE '^#include "' src/cli/*.c src/cli/*.h | grep -vE '"cli/|"base/json_writer.h"' || true)
[ -z "$bad" ] || complain "the CLI includes internal headers: $bad"
bad=$(grep -nE '^#include "' include/umbra/*.h || true)
[ -z "$bad" ] || complain "a public header includes an internal one: $bad"

long=$(awk 'length > 100 { print FILENAME ":" FNR }' $(find src include tests bench -name '*.[ch]') | head)
[ -z "$long" ] || complain "lines over 100 columns: $long"

if [ "$failures" -gt 0 ]; then
    exit 1
fi
echo "layers are in order"

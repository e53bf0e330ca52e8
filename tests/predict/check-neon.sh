#!/bin/sh
# Builds check_fast for AArch64 and runs it under an emulator, so that the NEON kernels of the fast
# form are checked on any machine. Exit status 77 (skipped) without a cross compiler or emulator.
set -eu
cc=${UMBRA_AARCH64_CC:-aarch64-linux-gnu-gcc}
for tool in "$cc" qemu-aarch64; do
    if ! command -v "$tool" >/dev/null; then
        echo "check-neon: skipped, $tool is missing" \
             "(Debian: apt-get install gcc-aarch64-linux-gnu qemu-user)"
        exit 77
    fi
done
program=$(mktemp)
trap 'rm -f "$program"' EXIT
"$(dirname "$0")/build.sh" "$cc" "$program"
qemu-aarch64 "$program"

#!/bin/sh
# Runs Doxygen; whatever it says is a failure, for the settings keep it quiet. Exit code 77 (skipped)
# without Doxygen. Usage: doxygen.sh DOXYFILE
set -eu
if ! command -v doxygen >/dev/null; then
    echo "SKIPPED: Doxygen is missing (Debian: apt-get install doxygen)"
    exit 77
fi
said=$(doxygen "$1" 2>&1) || { echo "$said"; exit 1; }
[ -z "$said" ] || { echo "$said"; exit 1; }

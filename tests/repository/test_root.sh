#!/bin/sh
# Nothing lies at the root of the repository that is not listed here. Exit code 77 (skipped) outside
# of a git checkout.
set -eu
git rev-parse --git-dir >/dev/null 2>&1 || {
    echo "SKIPPED: not a git checkout"
    exit 77
}
known='
.ci .clang-format .clang-tidy .gitignore
CHANGELOG.md CMakeLists.txt CMakePresets.json CONTRIBUTING.md LICENSE Makefile README.md SECURITY.md
bench cmake docs examples include models scripts src tests tools
'
unknown=$(git ls-files | sed 's#/.*##' | sort -u |
    while read -r name; do
        case " $(echo $known) " in
        *" $name "*) ;;
        *) echo "$name" ;;
        esac
    done)
[ -z "$unknown" ] || {
    echo "FAILED: these do not belong at the root: $unknown"
    exit 1
}

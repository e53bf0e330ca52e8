#!/bin/sh
# Installs what building and testing Umbra needs on Debian 12 (and relatives), and only that.
# Does nothing, and needs no rights, when everything is there.
#   install-deps.sh [build | test | docs | lint | memcheck]
#                                           test adds the browser that renders reports, Doxygen, Clang (with libFuzzer)
#                                           and clang-format, MPI and iproute2; docs adds Doxygen alone. OpenBLAS is
#                                           not built against: training loads it
set -eu

packages="build-essential cmake ninja-build pkg-config libpcre2-dev libjansson-dev liburing-dev
libcmocka-dev libmicrohttpd-dev libxxhash-dev libutf8proc-dev libopenblas0"
case ${1:-build} in
test) packages="$packages chromium doxygen clang-14 libclang-rt-14-dev clang-format-14 libopenmpi-dev openmpi-bin
    iproute2" ;;
docs) packages="$packages doxygen" ;;
lint) packages="$packages clang-tidy-14 cppcheck gcovr" ;;
memcheck) packages="$packages valgrind" ;;
esac

missing=
for package in $packages; do
    # "pkg-config" may be provided by pkgconf; any provider will do.
    if ! dpkg-query -W -f '${Status}\n' "$package" 2>/dev/null | grep -q '^install ok installed$'; then
        missing="$missing $package"
    fi
done
[ -z "$missing" ] && exit 0

if ! command -v apt-get >/dev/null; then
    echo "missing packages:$missing; this system has no apt-get, install them by hand" >&2
    exit 1
fi
as_root=
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "missing packages:$missing; run as root: apt-get install$missing" >&2
        exit 1
    fi
    as_root=sudo
fi
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -q
$as_root apt-get install -y -q --no-install-recommends $missing

#!/bin/sh
# Put ONNX Runtime's C++ headers into FOLDER, unless they are installed: get_headers.sh FOLDER
set -eu
target=$1
if [ -f /usr/include/onnxruntime/onnxruntime_cxx_api.h ] || [ -f "$target/onnxruntime_cxx_api.h" ]; then
    exit 0
fi
# libonnxruntime-dev comes with Debian 13. On an older release its headers alone are taken from there, with lists of
# their own: nothing is installed, and apt's settings stay.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$target"
awk 'BEGIN { RS = "" } NR == 1' /etc/apt/sources.list.d/debian.sources |
    sed 's/^Suites:.*/Suites: trixie/' > "$work/next.sources"
apt="apt-get -qq -o Dir::Etc::sourcelist=$work/next.sources -o Dir::Etc::sourceparts=/dev/null
    -o Dir::State::lists=$work/lists -o Dir::Cache=$work/cache -o APT::Sandbox::User=$(id -un)"
$apt update
(cd "$work" && $apt download libonnxruntime-dev && dpkg-deb -x libonnxruntime-dev_*.deb .)
cp -r "$work/usr/include/onnxruntime/." "$target"

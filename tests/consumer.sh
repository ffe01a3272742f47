#!/bin/sh
# bam in somebody else's CMake project: by install + find_package, and by add_subdirectory.
# Usage: tests/consumer.sh SOURCE_DIR BUILD_DIR
set -eu
source=$1 build=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cmake --install "$build" --prefix "$work/prefix" >"$work/log"
for how in "-DCMAKE_PREFIX_PATH=$work/prefix" "-DBAM_SOURCE=$source"; do
  rm -rf "$work/build"
  cmake -S "$source/tests/consumer" -B "$work/build" "$how" >>"$work/log" || { cat "$work/log"; exit 1; }
  cmake --build "$work/build" -j 2 >>"$work/log" 2>&1 || { tail -n 30 "$work/log"; exit 1; }
  "$work/build/include_only"
  "$work/build/linked"
  if [ -e "$work/build/bam/bam" ] || [ -e "$work/build/bam/tests" ]; then echo "apps or tests were built for a consumer"; exit 1; fi
done

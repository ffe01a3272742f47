#!/bin/sh
# Compiles, include-only, and runs each whole program that a page shows, as it stands.
# Usage: tests/snippets.sh SOURCE_DIR PAGE...
set -eu
root=$1
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$root"
awk -v dir="$work" '/^```cpp$/ { n++; file = dir "/" n ".cpp"; next } /^```$/ { file = ""; next } file { print > file }' "$@"
count=0
for program in "$work"/*.cpp; do
  grep -q 'int main' "$program" || continue
  echo "== program $(basename "$program" .cpp)"
  g++ -std=c++20 -O1 -Wall -Wextra -I. "$program" -o "$work/program"
  "$work/program"
  count=$((count + 1))
done
[ $count -gt 0 ] && echo "$count programs of $* compiled and ran"

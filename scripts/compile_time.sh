#!/usr/bin/env bash
# Seconds to compile a program that includes bam.hpp, include-only and with bam::bam.
set -euo pipefail
cd "$(dirname "$0")/.."
TIMEFORMAT='%R s'
object=$(mktemp)
for compiler in g++ clang++; do
  command -v $compiler > /dev/null || continue
  printf >&2 '%s include-only, -O2: ' $compiler
  time $compiler -std=c++20 -O2 -I. -c apps/examples/mlp.cpp -o "$object"
  printf >&2 '%s with bam::bam, -O2: ' $compiler
  time $compiler -std=c++20 -O2 -I. -DBAM_COMPILED -c apps/examples/mlp.cpp -o "$object"
done
rm -f "$object"

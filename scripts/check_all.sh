#!/usr/bin/env bash
# All that `make test` leaves out: every preset and compiler, the long examples and the large tests.
set -euo pipefail
cd "$(dirname "$0")/.."
jobs=$(nproc)
step() { printf '\n=== %s\n' "$*"; }

# Headers, other projects and pages are compiled without a preset: once is enough.
for preset in ci asan-ubsan tsan; do
  step "$preset"
  cmake --preset $preset -DBAM_SANITIZED_SUBSET=OFF > /dev/null
  cmake --build build/$preset -j "$jobs"
  [ $preset = ci ] && skip=none || skip='headers|consumer|snippets|transformers'
  ctest --test-dir build/$preset --output-on-failure -E "$skip"
done
if command -v clang++ > /dev/null; then
  step "clang"
  cmake --preset clang > /dev/null
  cmake --build build/clang -j "$jobs"
  ctest --test-dir build/clang --output-on-failure
  step "headers with clang"
  tests/headers.sh clang++ .
else
  echo "skipped: there is no clang++"
fi
step "the CUDA kernels in every mode of the emulation"
BAM_TEST_MODES=all build/ci/tests/bam_tests --minimal --source-file='*bf16_test.cpp,*kernel_test.cpp,*ops_test.cpp'
step "bam with emulated CUDA kernels"
make emulated
build/emulated/bam doctor --device cuda
step "races in the CUDA kernels"
scripts/racecheck.sh || [ $? -eq 77 ]
step "200,000 inputs to each reader of files"
scripts/fuzz.sh 200000 || [ $? -eq 77 ]
step "tensors of more than 2^31 elements"
build/ci/tests/bam_tests --no-skip --test-case='large:*'
step "10,000 steps leak nothing"
build/ci/tests/bam_tests --no-skip --test-case='long:*'
step "in-context conjunctions above 0.9"
build/ci/example_conjunctions
step "one hash"
scripts/hash_check.sh build/ci/bam
step "instruction sets"
scripts/isa_ratio.sh build/ci/bam
step "compile times"
scripts/compile_time.sh
step "logits in transformers"
tests/transformers.sh build/ci/bam || [ $? -eq 77 ]
step "the hashes of the README"
for study in bam clt; do
  rm -rf build/ci/preset
  hash=$(build/ci/bam study $study --preset demo --out build/ci/preset --quiet | sed -n 's/^hash //p')
  [ -n "$hash" ] && grep -q "$hash" README.md || { echo "bam study $study --preset demo ends in $hash, which the README does not have"; exit 1; }
done
step "every kernel has a benchmark"
cmake -S . -B build/bench -DCMAKE_BUILD_TYPE=Release -DBAM_BENCH=ON -DBAM_TESTS=OFF > /dev/null
cmake --build build/bench -j "$jobs" --target kernels_bench
build/bench/bench/kernels_bench --benchmark_list_tests > build/bench/cases.txt

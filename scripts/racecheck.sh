#!/usr/bin/env bash
# Races in the CUDA kernels: the emulation under clang's ThreadSanitizer, over the row tables of the ops. Exit code 77 where there is no clang++ with it.
#   scripts/racecheck.sh [doctest flags]      default: all of ops_test, kernel_test and bf16_test
set -euo pipefail
cd "$(dirname "$0")/.."
command -v clang++ > /dev/null || { echo "skipped: there is no clang++"; exit 77; }
out=build/racecheck
mkdir -p $out
tsan=(-std=c++20 -O1 -g1 -fsanitize=thread -I. -Itests -DBAM_CUDA -DBAM_TEST_DATA=\"$PWD/tests\")
echo 'int main() {}' > $out/probe.cpp
clang++ "${tsan[@]}" $out/probe.cpp -o $out/probe 2> /dev/null || { echo "skipped: clang++ has no ThreadSanitizer"; exit 77; }
# The emulator itself is not instrumented, and calls nothing that the sanitizer intercepts.
clang++ -std=c++20 -O1 -g1 -fno-builtin -DBAM_FIBERS_TSAN -I. -c bam/cuda/emulator.cpp -o $out/emulator.o
clang++ -std=c++20 -O1 -g1 -I. -c bam/cuda/emulated_device.cpp -o $out/emulated_device.o
clang++ "${tsan[@]}" -ffp-contract=off -x c++ -c bam/cuda/backend.cu -o $out/backend.o
for test in main ops_test kernel_test emulator_test bf16_test; do clang++ "${tsan[@]}" -c tests/$test.cpp -o $out/$test.o; done
clang++ "${tsan[@]}" $out/*.o -lboost_context -o $out/racecheck
# It must find the planted races, and none in our kernels.
for planted in 'emulator: a missing barrier*' 'race: an exchange*' 'race: a matrix*' 'race: two blocks*'; do
  if $out/racecheck --minimal --no-skip --test-case="$planted" > $out/planted.log 2>&1; then echo "FAILED: not found: $planted"; exit 1; fi
  grep -qE 'ThreadSanitizer: data race.*(emulator_test|device\.cuh)' $out/planted.log || { cat $out/planted.log; echo "FAILED: not found: $planted"; exit 1; }
done
[ $# -gt 0 ] || set -- --minimal --source-file='*ops_test.cpp,*kernel_test.cpp,*bf16_test.cpp'
$out/racecheck "$@"
echo "no race"

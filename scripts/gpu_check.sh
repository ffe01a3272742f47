#!/usr/bin/env bash
# All that only a GPU can tell, in one go: is the backend right there, and how fast. Leaves DIR/gpu.jsonl, one object a line, and DIR/*.log.
#   scripts/gpu_check.sh OUT            build with nvcc and run, results in OUT
#   scripts/gpu_check.sh --pack DIR     build, and put everything that a machine with a driver but nothing installed needs into DIR; there: DIR/gpu_check.sh OUT
# First the tests, then the figures, then compute-sanitizer; then the same for the kernels of compute capability 9.0 (wgmma), for a fault of theirs ends all that shares the process with them. What hangs is ended. PyTorch is compared with where python3 has it; compute-sanitizer runs where it is. Exit code 77 where there is no GPU.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

build() {
  cd "$here/.."
  cmake -S . -B build/gpu -DCMAKE_BUILD_TYPE=Release -DBAM_CUDA=ON -DBAM_BENCH=ON > /dev/null
  cmake --build build/gpu -j "$(nproc)" --target bam_app bam_gpu_tests cuda_step
}
if [ "${1:-}" = --pack ]; then
  [ $# = 2 ] || { echo "usage: scripts/gpu_check.sh --pack DIR"; exit 2; }
  mkdir -p "$2/lib"
  dir=$(cd "$2" && pwd)
  build
  cp build/gpu/bam build/gpu/tests/bam_gpu_tests build/gpu/bench/cuda_step scripts/gpu_check.sh bench/peers/torch_*.py "$dir"
  cp -r bench/configs "$dir"
  mkdir -p "$dir/data" && cp -r tests/golden tests/data "$dir/data"
  # Their libraries, but for the system's own.
  ldd build/gpu/bam build/gpu/tests/bam_gpu_tests build/gpu/bench/cuda_step | awk '/=> \// { print $3 }' | sort -u | grep -vE '/(libc|libm|libpthread|libdl|librt|libcuda)\.so' | xargs -I{} cp -L {} "$dir/lib"
  echo "packed: $(du -sh "$dir" | cut -f1) in $dir"
  exit 0
fi
[ $# = 1 ] || { echo "usage: scripts/gpu_check.sh OUT | --pack DIR"; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
nvidia-smi > "$out/gpu.log" 2>&1 || { echo "skipped: nvidia-smi finds no GPU"; exit 77; }
if [ -x "$here/bam_gpu_tests" ]; then
  root=$here bam=$here/bam tests=$here/bam_gpu_tests step=$here/cuda_step configs=$here/configs peers=$here
  export LD_LIBRARY_PATH=$here/lib:${LD_LIBRARY_PATH:-} BAM_TEST_DATA=$here/data
else
  build
  root=$PWD bam=build/gpu/bam tests=build/gpu/tests/bam_gpu_tests step=build/gpu/bench/cuda_step configs=bench/configs peers=bench/peers
fi
cd "$root"
results=$out/gpu.jsonl
: > "$results"
failed=0
limit=1200  # seconds of one command
note() { printf '%s\n' "$1" | tee -a "$results"; }
# check NAME COMMAND...: its log, and a line that says whether it held
check() {
  local name=$1 start=$SECONDS held=true
  shift
  if [ "$(type -t "$1")" = function ]; then "$@"; else timeout -k 10 $limit "$@"; fi > "$out/$name.log" 2>&1 || { held=false; failed=1; tail -n 20 "$out/$name.log"; }
  note "{\"check\": \"$name\", \"held\": $held, \"seconds\": $((SECONDS - start))}"
}

note "{\"gpu\": \"$(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader | head -n 1)\", \"date\": \"$(date -u +%F)\"}"
check doctor "$bam" doctor --device cuda
# A file of tests is a process; none of wgmma among them, which has its own below.
export BAM_TEST_WGMMA=off
for file in bf16_test golden_test kernel_test laws_test ops_test branch_test device_test memory_test recorded_test train_test; do check "tests-$file" "$tests" --minimal --source-file="*$file.cpp"; done
# The same gradients, to the bit, in 50 repeated steps while another stream loads the GPU.
check repeated "$step" --config "$configs/s-bam.json" --micro-batch 1 --repeat 50

# timed NAME FILE SETTING...: a step of a configuration with what the environment chooses, its line, named by the first setting, and its FILE.json
timed() {
  local name=$1 file=$out/$2
  shift 2
  if timeout -k 10 $limit env "$@" "$step" --config "$configs/$name.json" --json > "$file.json" 2> "$file.log"; then
    { tr -d '\n' < "$file.json" | sed "s/^{/{\"step\": \"$name\", \"with\": \"${1:-}\", /"; echo; } >> "$results"
    echo "$name ${1:-}"
    grep -E '"(tokens_per_second|floor_seconds|step_seconds)"' "$file.json" | head -n 3
  else
    failed=1
    note "{\"step\": \"$name\", \"with\": \"${1:-}\", \"failed\": true}"
  fi
}
# Where cuBLASLt lies, of the version that the program opens: in the toolkit, or beside PyTorch.
soname=$(grep -ao 'libcublasLt\.so\.[0-9]*' "$step" | head -n 1 || true)
library=/usr/local/cuda/lib64/$soname
[ -f "$library" ] || library=$(python3 -c 'import pathlib, sys, torch; print(next(iter(sorted(pathlib.Path(torch.__file__).parents[1].glob("nvidia/**/" + sys.argv[1]))), ""))' "$soname" 2> /dev/null || true)
for config in "$configs"/*.json; do
  name=$(basename "$config" .json)
  timed "$name" "step-$name"
  if [ -n "$library" ]; then timed "$name" "step-$name-cublaslt" BAM_CUDA_LIBRARY=cublaslt LD_LIBRARY_PATH="${LD_LIBRARY_PATH:-}:$(dirname "$library")"; fi
  if python3 -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2> /dev/null; then
    for flag in "" --compile; do
      python3 "$peers/torch_step.py" --config "$config" $flag 2> "$out/torch-$name$flag.log" | sed "s/^{/{\"step\": \"$name\", /" | tee -a "$results" || note "{\"step\": \"$name\", \"peer\": \"PyTorch\", \"failed\": true}"
    done
    # Kernel by kernel, for the model that has them all.
    if [ "$name" = s-bam ] && [ -s "$out/step-$name.json" ]; then
      python3 "$peers/torch_kernels.py" "$out/step-$name.json" 2> "$out/torch-kernels.log" | sed "s/^{/{\"kernels_of\": \"$name\", /" >> "$results" || note '{"kernels_of": "s-bam", "peer": "PyTorch", "failed": true}'
      cat "$out/torch-kernels.log"
    fi
  fi
done
if command -v compute-sanitizer > /dev/null; then
  for tool in memcheck racecheck initcheck synccheck; do check "$tool" compute-sanitizer --tool $tool --error-exitcode 1 "$tests" --minimal --source-file='*device_test.cpp'; done
  # Every kernel of every path, by the row tests: some thousands of small launches. Their operands are the host's, which initcheck does not follow.
  for tool in memcheck racecheck synccheck; do check "$tool-rows" compute-sanitizer --tool $tool --error-exitcode 1 "$tests" --minimal --source-file='*ops_test.cpp,*kernel_test.cpp,*bf16_test.cpp'; done
else
  note '{"check": "compute-sanitizer", "held": null, "why": "not installed"}'
fi
# The kernels of compute capability 9.0: their tests, then their steps.
export BAM_TEST_WGMMA=only
if nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | grep -qx 9.0; then
  for file in bf16_test golden_test train_test; do check "tests-$file-wgmma" "$tests" --minimal --source-file="*$file.cpp"; done
  for config in "$configs"/*.json; do name=$(basename "$config" .json); timed "$name" "step-$name-wgmma" BAM_CUDA_PATH=wgmma; done
  if command -v compute-sanitizer > /dev/null; then
    for tool in memcheck racecheck synccheck; do check "$tool-rows-wgmma" compute-sanitizer --tool $tool --error-exitcode 1 "$tests" --minimal --source-file='*bf16_test.cpp'; done
  fi
else
  note '{"check": "wgmma", "held": null, "why": "the device is not of compute capability 9.0"}'
fi
echo "results: $results"
exit $failed

#!/bin/sh
# Each public header compiles alone, warning-free; and no floor includes a higher one.
# Usage: tests/headers.sh COMPILER SOURCE_DIR [FLAG...]
set -u
compiler=$1 root=$2
shift 2
command -v "$compiler" >/dev/null || { echo "skipped: there is no $compiler"; exit 77; }
cd "$root" || exit 1
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
# BAM_COMPILED: the kernels' definitions are one header among these, bam/cpu/backend.cpp, and not read again by each.
find bam -name '*.hpp' | sort | xargs -P "$(nproc)" -I{} sh -c '
  name=$(echo {} | tr / _)
  printf "#include \"%s\"\nint main() { return 0; }\n" "{}" >"$0/$name.cpp"
  if ! '"$compiler"' -std=c++20 -fsyntax-only -Wall -Wextra -DBAM_COMPILED -I. '"$*"' "$0/$name.cpp" >"$0/$name.log" 2>&1 || [ -s "$0/$name.log" ]; then
    echo "FAILED: {}"; head -n 5 "$0/$name.log"; touch "$0/failed"
  fi' "$work"

# floor FOLDERS: what a header there may include of bam.
floor() {
  folder=$1 allowed=$2
  for header in $(find bam/"$folder" -name '*.hpp' -o -name '*.inl' -o -name '*.cuh' -o -name '*.cu' 2>/dev/null); do
    for included in $(sed -n 's/^#include "\(bam\/\)\{0,1\}\(\.\.\/\)*\([^"]*\)".*/\3/p' "$header"); do
      case $included in */*) top=${included%%/*} ;; kernels.hpp) top=kernels ;; *) continue ;; esac
      case " $folder $allowed " in *" $top "*) ;; *) echo "FAILED: $header includes $included, which is above it"; touch "$work/failed" ;; esac
    done
  done
}
floor core ''
floor cpu 'core kernels'
floor cuda 'core kernels'
floor tensor 'core kernels cpu cuda'
floor ops 'core kernels cpu tensor'
floor nn 'core kernels cpu tensor ops'
floor optim 'core kernels cpu tensor ops nn'
floor io 'core kernels cpu tensor ops nn'
floor text 'core io train'
floor upcycle 'core kernels tensor ops nn optim io'
floor eval 'core kernels tensor ops nn optim io text train'
floor clt 'core kernels tensor ops nn optim io text eval'
floor study 'core kernels tensor ops nn optim io text eval train upcycle clt'
floor train 'core kernels tensor ops nn optim io text eval'
# What is special about a compiler or an architecture is special in one place.
for file in $(find bam/cuda -name '*.cu' -o -name '*.cuh' | grep -v 'cuda/device.cuh\|cuda/device_hopper.cuh\|cuda/runtime.cu'); do
  if grep -nE '__CUDA|__clang__|__GNUC__|#if|<<<|__(syncthreads|shfl|device__|global__|shared__)' "$file"; then echo "FAILED: $file: only bam/cuda/device.cuh and device_hopper.cuh may ask for a compiler or use its words"; touch "$work/failed"; fi
done
[ ! -e "$work/failed" ] || exit 1
echo "$(find bam -name '*.hpp' | wc -l) headers compile alone with $compiler"

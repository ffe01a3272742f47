#!/usr/bin/env bash
# Compiles the CUDA backend for sm_80 and sm_90a and holds what ptxas says of each kernel against scripts/ptxas.txt.
#   scripts/cuda_compile.sh            fails on warnings of ptxas (C75xx), on spills, stack and float atomics, and, with the nvcc of the table, on any other difference to it
#   scripts/cuda_compile.sh --write    writes the table
# Exit code 77 where there is no nvcc.
set -euo pipefail
cd "$(dirname "$0")/.."
nvcc=$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)
[ -x "$nvcc" ] || { echo "skipped: there is no nvcc"; exit 77; }
table=scripts/ptxas.txt
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
version=$("$nvcc" --version | sed -n 's/.*release \([0-9.]*\).*/\1/p')
flags=(-std=c++20 -O3 -fmad=false -ftz=false -prec-div=true -prec-sqrt=true --expt-relaxed-constexpr -diag-suppress 1675 -I.)
# One pass of the front end, both architectures; -fmad=false: contraction is written out, so that the bits are those of the CPU.
"$nvcc" "${flags[@]}" -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90a,code=sm_90a -Xptxas -v -keep -keep-dir "$work" -c bam/cuda/backend.cu -o "$work/backend.o" 2> "$work/log"
for host in runtime cublaslt; do "$nvcc" "${flags[@]}" -gencode arch=compute_80,code=sm_80 -c bam/cuda/$host.cu -o "$work/$host.o"; done
cat "$work"/*.ptx > "$work/all.ptx"
if grep -nE '^\s*(@!?%p[0-9]+\s+)?(atom|red)\..*\.(f16|bf16|f32|f64)' "$work/all.ptx"; then echo "FAILED: float atomics, whose sums have no order"; exit 1; fi
for claimed in ld.global.v4 st.global.v4; do
  grep -q "$claimed" "$work/all.ptx" || { echo "FAILED: no $claimed in the PTX"; exit 1; }
done
# What every instance of a fast kernel is made of: architecture, part of its name, patterns.
while read -r arch kernel claimed; do
  awk -v kernel="$kernel" -v claimed="$claimed" '
    function told(i) { for (i = 1; own && i <= n; ++i) if (!(i in seen)) { print "FAILED: no " wanted[i] " in " name; bad = 1 } delete seen }
    BEGIN { n = split(claimed, wanted, " ") }
    /\.entry / { told(); own = index($0, kernel) > 0; found += own; name = $NF }
    own { for (i = 1; i <= n; ++i) if ($0 ~ wanted[i]) seen[i] = 1 }
    END { told(); if (!found) print "FAILED: no " kernel; exit bad || !found }' "$work/backend.compute_$arch.ptx"
done <<'TABLE'
80 Flash mma[.]sync[.]aligned[.]m16n8k16 ldmatrix[.]sync[.]aligned[.]m8n8[.]x4[.]shared ldmatrix[.]sync[.]aligned[.]m8n8[.]x4[.]trans cp[.]async[.]cg
80 MmaGemmKernel mma[.]sync[.]aligned[.]m16n8k16 ldmatrix[.]sync[.]aligned[.]m8n8[.]x4 cp[.]async[.]cg
80 MmaPairKernel mma[.]sync[.]aligned[.]m16n8k16 ldmatrix[.]sync[.]aligned[.]m8n8[.]x4 cp[.]async[.]cg
80 MmaGroupedKernel mma[.]sync[.]aligned[.]m16n8k16 ldmatrix[.]sync[.]aligned[.]m8n8[.]x4 cp[.]async[.]cg
90a MmaGemmKernel mma[.]sync[.]aligned[.]m16n8k16 ldmatrix[.]sync[.]aligned[.]m8n8[.]x4 cp[.]async[.]cg
90a MmaPairKernel mma[.]sync[.]aligned[.]m16n8k16 ldmatrix[.]sync[.]aligned[.]m8n8[.]x4 cp[.]async[.]cg
90a MmaGroupedKernel mma[.]sync[.]aligned[.]m16n8k16 ldmatrix[.]sync[.]aligned[.]m8n8[.]x4 cp[.]async[.]cg
90a Flash mma[.]sync[.]aligned[.]m16n8k16 ldmatrix[.]sync[.]aligned[.]m8n8[.]x4[.]shared ldmatrix[.]sync[.]aligned[.]m8n8[.]x4[.]trans cp[.]async[.]cg
90a WgmmaForwardKernel wgmma[.]mma_async[.]sync[.]aligned[.]m64n128k16 cp[.]async[.]bulk[.]tensor[.]2d mbarrier[.]try_wait[.]parity setmaxnreg
90a WgmmaQueryGradientKernel wgmma[.]mma_async[.]sync[.]aligned[.]m64n cp[.]async[.]bulk[.]tensor[.]2d mbarrier[.]try_wait[.]parity setmaxnreg
90a WgmmaKeyGradientKernel wgmma[.]mma_async[.]sync[.]aligned[.]m64n cp[.]async[.]bulk[.]tensor[.]2d mbarrier[.]try_wait[.]parity setmaxnreg
90a WgmmaGemmKernel wgmma[.]mma_async[.]sync[.]aligned[.]m64n128k16 cp[.]async[.]bulk[.]tensor[.]2d mbarrier[.]try_wait[.]parity setmaxnreg
90a WgmmaGroupedKernel wgmma[.]mma_async[.]sync[.]aligned[.]m64n128k16 (cp[.]async[.]bulk[.]tensor[.]2d|fence[.]proxy[.]async) mbarrier[.]try_wait[.]parity setmaxnreg
TABLE
if grep -E 'C75[0-9]{2}|warning' "$work/log"; then echo "FAILED: warnings"; exit 1; fi
{
  echo "# nvcc $version: kernel, architecture, registers, bytes of shared memory of a block, bytes of stack, bytes of spills; written by scripts/cuda_compile.sh --write"
  c++filt < "$work/log" | awk '
    /Compiling entry function/ {
      split($0, q, "\x27"); name = q[2]; arch = q[4]
      sub(/^void bam::cuda::(bounded_)?entry</, "", name)
      shared = match(name, /, [0-9]+l>\(/) ? substr(name, RSTART + 2, RLENGTH - 5) : "unknown"
      name = substr(name, 1, RSTART - 1); gsub(/bam::cuda::/, "", name)
    }
    /bytes stack frame/ { stack = $1; spill = $5 + $9 }
    /Used [0-9]+ registers/ { for (i = 1; i < NF; ++i) if ($i == "Used") print name, arch, $(i + 1), shared, stack, spill }' | sort
} > "$work/table"
awk '!/^#/ && $(NF-1) + $NF > 0 { print "FAILED: stack or spills: " $0; bad = 1 } !/^#/ && $(NF-2) == "unknown" { print "FAILED: shared memory unknown: " $0; bad = 1 } END { exit bad }' "$work/table"
echo "$(grep -vc '^#' "$work/table") kernels compile with nvcc $version, none has stack or spills"
if [ "${1:-}" = --write ]; then cp "$work/table" "$table"; exit 0; fi
if [ "$(head -n 1 "$table")" = "$(head -n 1 "$work/table")" ]; then
  diff "$table" "$work/table" || { echo "FAILED: differs from $table; if that is right, scripts/cuda_compile.sh --write"; exit 1; }
else
  echo "the table is of another nvcc: $(head -n 1 "$table" | cut -d: -f1); not compared"
fi

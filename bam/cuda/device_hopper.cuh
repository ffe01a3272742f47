// The part of device.cuh that only compute capability 9.0 has (sm_90a): barriers that count bytes (mbarrier), copies of tiles by the tensor memory accelerator (TMA) and products of warpgroups (wgmma).
// Other architectures compile it to a trap. PTX ISA: "Parallel Synchronization and Communication Instructions: mbarrier", "cp.async.bulk.tensor", "Asynchronous Warpgroup Level Matrix Instructions".
#pragma once
#include "device.cuh"
#include "path.cuh"

namespace bam::cuda {

inline constexpr int warpgroup_threads = 128;

// 64 bits of shared memory: how many arrivals and bytes its phase still waits for. A phase that is complete begins the next, with the other parity; the first has parity 0.
struct Barrier {
  std::uint64_t word;
};

// The 128-byte swizzle: within 1024 bytes, the chunk of 16 bytes takes the number of its line of 128 bytes in addition (exclusive or). TMA writes so, wgmma reads so.
BAM_INLINE constexpr std::uint32_t swizzle_128(std::uint32_t address) { return address ^ (address >> 3 & 0x70); }

// Where wgmma finds an operand in shared memory, swizzled so ("Shared Memory Matrix Layout"). lines_are_k: the matrix was stored with k running over the lines, its rows within them (MN-major), in atoms of
// 64 rows by `depth` lines of 128 bytes; else a line is a row (K-major), with 64 elements of k in its 128 bytes.
template <bool lines_are_k, int depth>
BAM_INLINE constexpr std::uint64_t matrix_descriptor(std::uint32_t address) {
  const std::uint64_t leading = lines_are_k ? depth * 128 : 16, stride = 1024, swizzle = 1;
  return static_cast<std::uint64_t>(address >> 4 & 0x3fff) | leading >> 4 << 16 | stride >> 4 << 32 | swizzle << 62;
}

// Where wgmma reads element (row, k), k below 16, of the operand of a descriptor.
BAM_INLINE constexpr std::uint32_t operand_address(std::uint64_t descriptor, bool lines_are_k, int row, int k) {
  const auto start = static_cast<std::uint32_t>(descriptor & 0x3fff) << 4, leading = static_cast<std::uint32_t>(descriptor >> 16 & 0x3fff) << 4, stride = static_cast<std::uint32_t>(descriptor >> 32 & 0x3fff) << 4;
  const auto line = static_cast<std::uint32_t>(lines_are_k ? k : row), within = static_cast<std::uint32_t>(lines_are_k ? row : k);
  return swizzle_128(start + (lines_are_k ? within / 64 * leading : 0) + line / 8 * stride + line % 8 * 128 + within % 64 * 2);
}

// A matrix of bf16 in global memory as the accelerator knows it, made on the host: rows lines of `columns` elements at a distance of ld, read in boxes of 64 columns (128 bytes) by box_rows lines, swizzled; what is
// beyond the matrix reads as 0. An operand of a kernel, by value.
struct alignas(64) TensorMap {
  unsigned char bytes[128];
};

#if defined(__CUDACC__)

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define BAM_SM90(...) __VA_ARGS__
#else
#define BAM_SM90(...) __trap()
#endif

TensorMap tensor_map(const void* base, std::int64_t rows, std::int64_t columns, std::int64_t ld, int box_rows);  // runtime.cu
bool has_warpgroups();                                                                                            // the device is of compute capability 9.0

BAM_DEVICE std::uint32_t shared_address(const void* p) { return static_cast<std::uint32_t>(__cvta_generic_to_shared(p)); }
// By one thread, for `count` arrivals a phase; seen by all after the next fence_barriers() and sync().
BAM_DEVICE void init_barrier(Barrier* b, int count) { BAM_SM90(asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(b)), "r"(count) : "memory")); }
BAM_DEVICE void fence_barriers() { BAM_SM90(asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory")); }
BAM_DEVICE void arrive(Barrier* b) { BAM_SM90(asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(b)) : "memory")); }
// An arrival that also announces bytes, which copies will bring.
BAM_DEVICE void arrive_expecting(Barrier* b, int bytes) { BAM_SM90(asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(b)), "r"(bytes) : "memory")); }
// Until the phase of this parity is complete.
BAM_DEVICE void wait_barrier([[maybe_unused]] Barrier* b, [[maybe_unused]] unsigned parity) {
  BAM_SM90(std::uint32_t done = 0; while (!done) asm volatile("{\n.reg .pred p;\nmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}" : "=r"(done) : "r"(shared_address(b)), "r"(parity) : "memory"));
}
// Starts the copy of the box of `map` that begins at (row, column) to shared memory aligned to 1024 bytes; its bytes count on b. By one thread.
BAM_DEVICE void copy_tile([[maybe_unused]] void* to, [[maybe_unused]] const TensorMap& map, [[maybe_unused]] std::int64_t row, [[maybe_unused]] std::int64_t column, [[maybe_unused]] Barrier* b) {
  BAM_SM90(asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(shared_address(to)), "l"(&map), "r"(static_cast<std::int32_t>(column)),
                        "r"(static_cast<std::int32_t>(row)), "r"(shared_address(b))
                        : "memory"));
}
// What the caller's copies (copy_async) have brought to shared memory, waited for, is there for products, which look past what threads write ("Async proxy"); before others are told of it.
BAM_DEVICE void fence_copies() { BAM_SM90(asm volatile("fence.proxy.async.shared::cta;" ::: "memory")); }
// By whole warps, whose lanes may have come apart where each waited at a barrier, or chose for itself.
BAM_DEVICE void fence_products() { BAM_SM90(__syncwarp(); asm volatile("wgmma.fence.sync.aligned;" ::: "memory")); }
BAM_DEVICE void commit_products() { BAM_SM90(asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory")); }
// Until at most `left` of the groups of the caller's warp are under way; its part of a product is done then, not that of the warpgroup's other warps.
template <int left>
BAM_DEVICE void wait_products() {
  BAM_SM90(asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(left) : "memory"));
}
// d (64, n) += or, unless it adds, = a (64, 16) b (16, n) by a warpgroup, started and not waited for, n being 128 or 64; thread t holds d[16 (t / 32) + t % 32 / 4 + 8 i, 8 j + 2 (t % 4) + c] in d[4 j + 2 i + c].
#define BAM_PRODUCT(n, add, sums, operands) "{\n.reg .pred p;\nsetp.ne.b32 p, " add ", 0;\nwgmma.mma_async.sync.aligned.m64n" n "k16.f32.bf16.bf16 {" sums "}, " operands ";\n}"
#define BAM_SUMS_32 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define BAM_SUMS_64 BAM_SUMS_32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define BAM_EIGHT(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])
#define BAM_32(i) BAM_EIGHT(i), BAM_EIGHT(i + 8), BAM_EIGHT(i + 16), BAM_EIGHT(i + 24)
template <bool a_lines_are_k, bool b_lines_are_k, bool add = true>
BAM_DEVICE void multiply([[maybe_unused]] float (&d)[64], [[maybe_unused]] std::uint64_t a, [[maybe_unused]] std::uint64_t b) {
  BAM_SM90(asm volatile(BAM_PRODUCT("128", "%68", BAM_SUMS_64, "%64, %65, p, 1, 1, %66, %67") : BAM_32(0), BAM_32(32) : "l"(a), "l"(b), "n"(a_lines_are_k ? 1 : 0), "n"(b_lines_are_k ? 1 : 0), "n"(add ? 1 : 0)));
}
template <bool a_lines_are_k, bool b_lines_are_k, bool add = true>
BAM_DEVICE void multiply([[maybe_unused]] float (&d)[32], [[maybe_unused]] std::uint64_t a, [[maybe_unused]] std::uint64_t b) {
  BAM_SM90(asm volatile(BAM_PRODUCT("64", "%36", BAM_SUMS_32, "%32, %33, p, 1, 1, %34, %35") : BAM_32(0) : "l"(a), "l"(b), "n"(a_lines_are_k ? 1 : 0), "n"(b_lines_are_k ? 1 : 0), "n"(add ? 1 : 0)));
}
// The same, always adding, with a in registers, each warp its 16 rows as mma's left operand.
template <bool b_lines_are_k>
BAM_DEVICE void multiply([[maybe_unused]] float (&d)[64], [[maybe_unused]] const FragmentA& a, [[maybe_unused]] std::uint64_t b) {
  BAM_SM90(asm volatile(BAM_PRODUCT("128", "1", BAM_SUMS_64, "{%64, %65, %66, %67}, %68, p, 1, 1, %69") : BAM_32(0), BAM_32(32) : "r"(a.r[0]), "r"(a.r[1]), "r"(a.r[2]), "r"(a.r[3]), "l"(b), "n"(b_lines_are_k ? 1 : 0)));
}
#undef BAM_PRODUCT
#undef BAM_SUMS_32
#undef BAM_SUMS_64
#undef BAM_EIGHT
#undef BAM_32
// What the compiler may not move past: sums that products under way write, before the first of them and after the wait.
template <int n>
BAM_DEVICE void hold(float (&d)[n]) {
  BAM_UNROLL
  for (int i = 0; i < n; ++i) asm volatile("" : "+f"(d[i])::"memory");
}
BAM_DEVICE void hold(FragmentA& a) {  // a product's operand, before fence_products()
  BAM_UNROLL
  for (int i = 0; i < 4; ++i) asm volatile("" : "+r"(a.r[i])::"memory");
}
// How many registers the threads of the caller's warpgroup have from here on.
template <int n>
BAM_DEVICE void give_registers() {
  BAM_SM90(asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(n)));
}
template <int n>
BAM_DEVICE void take_registers() {
  BAM_SM90(asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(n)));
}
#undef BAM_SM90

#else

inline TensorMap tensor_map(const void* base, std::int64_t rows, std::int64_t columns, std::int64_t ld, int box_rows) {
  TensorMap map{};
  emulation::describe_tile(map.bytes, base, rows, columns, ld, box_rows);
  return map;
}
inline bool has_warpgroups() { return emulation::options().warpgroups; }

BAM_DEVICE std::uint32_t shared_address(const void* p) { return emulation::shared_address(p); }
BAM_DEVICE void init_barrier(Barrier* b, int count) { emulation::init_barrier(&b->word, count); }
BAM_DEVICE void fence_barriers() {}
BAM_DEVICE void arrive(Barrier* b) { emulation::arrive(&b->word, 0); }
BAM_DEVICE void arrive_expecting(Barrier* b, int bytes) { emulation::arrive(&b->word, bytes); }
BAM_DEVICE void wait_barrier(Barrier* b, unsigned parity, int line = __builtin_LINE()) { emulation::wait_barrier(&b->word, parity, line); }
BAM_DEVICE void copy_tile(void* to, const TensorMap& map, std::int64_t row, std::int64_t column, Barrier* b) { emulation::copy_tile(to, map.bytes, row, column, &b->word); }
BAM_DEVICE void fence_copies() { emulation::fence_copies(); }
BAM_DEVICE void fence_products(int line = __builtin_LINE()) { emulation::exchange(nullptr, 0, line); }
BAM_DEVICE void commit_products() { emulation::commit_products(); }
template <int left>
BAM_DEVICE void wait_products(int line = __builtin_LINE()) {
  emulation::wait_products(left);
  emulation::exchange(nullptr, 0, line, true);  // a warp's wait, not a thread's: what all lanes' parts read has been read
}
inline float shared_element(std::uint64_t descriptor, bool lines_are_k, int row, int k) { return to_float(*static_cast<const Bf16*>(emulation::at_shared(operand_address(descriptor, lines_are_k, row, k), 2))); }
// Each thread works out its own part, where the descriptors point: at the start, or as late as at the wait.
template <int n, bool b_lines_are_k, bool add>
void multiply_rows(emulation::Product& p, int t) {
  for (int j = 0; j < n / 8; ++j)
    for (int c = 0; c < 2; ++c) {
      double column[16];
      for (int k = 0; k < 16; ++k) column[k] = static_cast<double>(shared_element(p.b, b_lines_are_k, 8 * j + t % 4 * 2 + c, k));
      for (int i = 0; i < 2; ++i) {
        float& d = p.d[4 * j + 2 * i + c];
        double sum = add ? static_cast<double>(d) : 0.0;
        for (int k = 0; k < 16; ++k) sum += static_cast<double>(p.rows[i][k]) * column[k];
        d = static_cast<float>(sum);
      }
    }
}
template <bool a_lines_are_k, bool b_lines_are_k, bool add = true, int sums>
BAM_DEVICE void multiply(float (&d)[sums], std::uint64_t a, std::uint64_t b, int line = __builtin_LINE()) {
  emulation::exchange(nullptr, 0, line);  // by whole warps
  emulation::Product p{d, a, b, [](emulation::Product& late, int t) {
    for (int i = 0; i < 2; ++i)
      for (int k = 0; k < 16; ++k) late.rows[i][k] = shared_element(late.a, a_lines_are_k, t / 32 * 16 + t % 32 / 4 + 8 * i, k);
    multiply_rows<2 * sums, b_lines_are_k, add>(late, t);
  }};
  emulation::multiply(p);
}
template <bool b_lines_are_k>
BAM_DEVICE void multiply(float (&d)[64], const FragmentA& a, std::uint64_t b, int line = __builtin_LINE()) {
  const auto* all = static_cast<const FragmentA*>(emulation::exchange(&a, sizeof a, line)) + thread() % warp_lanes / 4 * 4;
  emulation::Product p{d, 0, b, multiply_rows<128, b_lines_are_k, true>};
  for (int i = 0; i < 2; ++i)
    for (int k = 0; k < 16; ++k) p.rows[i][k] = to_float(Bf16{static_cast<std::uint16_t>(all[k % 8 / 2].r[i + k / 8 * 2] >> k % 2 * 16)});
  emulation::multiply(p);
}
template <int n>
BAM_DEVICE void hold(float (&)[n]) {}
BAM_DEVICE void hold(FragmentA&) {}
template <int n>
BAM_DEVICE void give_registers() {}
template <int n>
BAM_DEVICE void take_registers() {}

#endif

// Whether BAM_CUDA_PATH asks for the kernels that need all this. Error(usage): the device cannot run them.
inline bool by_warpgroups() {
  if (path() != Path::wgmma) return false;
  if (!has_warpgroups()) fail(ErrorKind::usage, "cuda.path", "BAM_CUDA_PATH: wgmma wants a GPU of compute capability 9.0, this one is of another; leave it out, or say mma");
  return true;
}

}  // namespace bam::cuda

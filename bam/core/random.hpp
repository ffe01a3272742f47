// Counter-based random numbers: Philox 4x32-10 (Salmon et al., SC 2011). A value is a function of
// (seed, stream, step, index), so there is no state to save and none to lose.
#pragma once
#include <cstdint>

namespace bam {

struct Philox4 {
  std::uint32_t v[4];
};

constexpr Philox4 philox(std::uint64_t seed, std::uint32_t stream, std::uint32_t step, std::uint64_t index) {
  std::uint32_t c0 = static_cast<std::uint32_t>(index), c1 = static_cast<std::uint32_t>(index >> 32), c2 = stream, c3 = step;
  std::uint32_t k0 = static_cast<std::uint32_t>(seed), k1 = static_cast<std::uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    std::uint64_t p0 = 0xD2511F53ull * c0, p1 = 0xCD9E8D57ull * c2;
    std::uint32_t n0 = static_cast<std::uint32_t>(p1 >> 32) ^ c1 ^ k0, n2 = static_cast<std::uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<std::uint32_t>(p1);
    c3 = static_cast<std::uint32_t>(p0);
    c0 = n0;
    c2 = n2;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

// A generator for host-side draws: initialisation, shuffling. Copies continue independently from the same point.
class Random {
 public:
  explicit Random(std::uint64_t seed, std::uint32_t stream = 0) : seed_(seed), stream_(stream) {}

  std::uint32_t bits() {
    if (used_ == 4) {
      block_ = philox(seed_, stream_, 0, counter_++);
      used_ = 0;
    }
    return block_.v[used_++];
  }
  std::uint64_t bits64() {
    std::uint64_t high = bits();
    return high << 32 | bits();
  }
  double uniform() { return static_cast<double>(bits64() >> 11) * 0x1p-53; }  // [0, 1)
  // Uniform in [0, n), n > 0, without modulo bias.
  std::uint64_t below(std::uint64_t n) {
    for (std::uint64_t limit = ~std::uint64_t{0} - ~std::uint64_t{0} % n;;)
      if (std::uint64_t x = bits64(); x < limit) return x % n;
  }
  std::uint64_t seed() const { return seed_; }

 private:
  std::uint64_t seed_;
  std::uint32_t stream_;
  std::uint64_t counter_ = 0;
  Philox4 block_{};
  int used_ = 4;
};

}  // namespace bam

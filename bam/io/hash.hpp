// XXH3, 128 bits: the hash of a run's bits.
#pragma once
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <memory>
#include <string>

namespace bam::io {

class Hasher {
 public:
  Hasher() : state_(XXH3_createState(), &XXH3_freeState) { XXH3_128bits_reset(state_.get()); }
  void update(const void* data, std::size_t n) { XXH3_128bits_update(state_.get(), data, n); }
  std::string hex() const {
    XXH128_hash_t h = XXH3_128bits_digest(state_.get());
    static constexpr char digits[] = "0123456789abcdef";
    std::string s;
    for (std::uint64_t part : {h.high64, h.low64})
      for (int i = 60; i >= 0; i -= 4) s += digits[part >> i & 15];
    return s;
  }

 private:
  std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state_;
};

}  // namespace bam::io

// bfloat16: the upper half of a float. Arithmetic is float's; values are rounded once, to nearest, ties to even.
#pragma once
#include "math.hpp"

namespace bam {

struct Bf16 {
  std::uint16_t bits;
};
BAM_INLINE float to_float(Bf16 x) { return std::bit_cast<float>(static_cast<std::uint32_t>(x.bits) << 16); }
BAM_INLINE Bf16 to_bf16(float x) {  // a NaN keeps a bit of its payload
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
  return {static_cast<std::uint16_t>(x != x ? (bits | 0x400000u) >> 16 : (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16)};
}

}  // namespace bam

// Element types. Values are stored little-endian; bf16 is the upper half of an IEEE float.
#pragma once
#include <cstdint>

namespace bam {

enum class DType : std::uint8_t { f32, bf16, f64, i32, i64, u8 };

constexpr std::int64_t size_of(DType d) {
  switch (d) {
    case DType::f32: case DType::i32: return 4;
    case DType::f64: case DType::i64: return 8;
    case DType::bf16: return 2;
    case DType::u8: return 1;
  }
  return 0;
}

constexpr const char* name_of(DType d) {
  switch (d) {
    case DType::f32: return "F32";
    case DType::bf16: return "BF16";
    case DType::f64: return "F64";
    case DType::i32: return "I32";
    case DType::i64: return "I64";
    case DType::u8: return "U8";
  }
  return "?";
}

// Where element i of memory that holds d lies.
inline void* element(void* p, std::int64_t i, DType d) { return static_cast<char*>(p) + i * size_of(d); }
inline const void* element(const void* p, std::int64_t i, DType d) { return static_cast<const char*>(p) + i * size_of(d); }

}  // namespace bam

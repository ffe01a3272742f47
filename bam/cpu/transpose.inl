// Transposes a square of `transpose_width` lines: dst[k * step + x] = line[x][k], the step that turns rows into packed
// panels. Lines of dst are written in order, so a step below transpose_width leaves the right values.
// Read once per instruction set.

#if BAM_LEVEL == 2
inline constexpr int transpose_width = 16;
BAM_INLINE void transpose(const float* const* line, std::int64_t at, float* dst, std::int64_t step) {
  const __mmask16 all = 0xffff;  // the unmasked forms warn of an undefined operand on g++ 12; this compiles to the same
  __m512 r[16], t[16];
#pragma GCC unroll 16
  for (int x = 0; x < 16; ++x) r[x] = _mm512_loadu_ps(line[x] + at);
#pragma GCC unroll 8
  for (int x = 0; x < 16; x += 2) {
    t[x] = _mm512_maskz_unpacklo_ps(all, r[x], r[x + 1]);
    t[x + 1] = _mm512_maskz_unpackhi_ps(all, r[x], r[x + 1]);
  }
  // r[4 g + j]: column j of each quarter, lines 4 g .. 4 g + 3
#pragma GCC unroll 4
  for (int g = 0; g < 16; g += 4) {
    r[g] = _mm512_maskz_shuffle_ps(all, t[g], t[g + 2], 0x44);
    r[g + 1] = _mm512_maskz_shuffle_ps(all, t[g], t[g + 2], 0xee);
    r[g + 2] = _mm512_maskz_shuffle_ps(all, t[g + 1], t[g + 3], 0x44);
    r[g + 3] = _mm512_maskz_shuffle_ps(all, t[g + 1], t[g + 3], 0xee);
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    __m512 a = _mm512_maskz_shuffle_f32x4(all, r[j], r[4 + j], 0x88), b = _mm512_maskz_shuffle_f32x4(all, r[8 + j], r[12 + j], 0x88);
    __m512 c = _mm512_maskz_shuffle_f32x4(all, r[j], r[4 + j], 0xdd), d = _mm512_maskz_shuffle_f32x4(all, r[8 + j], r[12 + j], 0xdd);
    t[j] = _mm512_maskz_shuffle_f32x4(all, a, b, 0x88);
    t[4 + j] = _mm512_maskz_shuffle_f32x4(all, c, d, 0x88);
    t[8 + j] = _mm512_maskz_shuffle_f32x4(all, a, b, 0xdd);
    t[12 + j] = _mm512_maskz_shuffle_f32x4(all, c, d, 0xdd);
  }
#pragma GCC unroll 16
  for (int k = 0; k < 16; ++k) _mm512_storeu_ps(dst + k * step, t[k]);
}

#elif BAM_LEVEL == 1
inline constexpr int transpose_width = 8;
BAM_INLINE void transpose(const float* const* line, std::int64_t at, float* dst, std::int64_t step) {
  __m256 r[8], t[8];
#pragma GCC unroll 8
  for (int x = 0; x < 8; ++x) r[x] = _mm256_loadu_ps(line[x] + at);
#pragma GCC unroll 4
  for (int x = 0; x < 8; x += 2) {
    t[x] = _mm256_unpacklo_ps(r[x], r[x + 1]);
    t[x + 1] = _mm256_unpackhi_ps(r[x], r[x + 1]);
  }
#pragma GCC unroll 2
  for (int g = 0; g < 8; g += 4) {
    r[g] = _mm256_shuffle_ps(t[g], t[g + 2], 0x44);
    r[g + 1] = _mm256_shuffle_ps(t[g], t[g + 2], 0xee);
    r[g + 2] = _mm256_shuffle_ps(t[g + 1], t[g + 3], 0x44);
    r[g + 3] = _mm256_shuffle_ps(t[g + 1], t[g + 3], 0xee);
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) _mm256_storeu_ps(dst + j * step, _mm256_permute2f128_ps(r[j], r[4 + j], 0x20));
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) _mm256_storeu_ps(dst + (4 + j) * step, _mm256_permute2f128_ps(r[j], r[4 + j], 0x31));
}

#else
inline constexpr int transpose_width = 4;
BAM_INLINE void transpose(const float* const* line, std::int64_t at, float* dst, std::int64_t step) {
  for (int k = 0; k < 4; ++k)
    for (int x = 0; x < 4; ++x) dst[k * step + x] = line[x][at + k];
}
#endif

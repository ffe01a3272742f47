// F32x16: sixteen float lanes on every instruction set (one zmm, two ymm, or float[16]). Read once per instruction set,
// inside its namespace and target region. BAM_LEVEL: 0 base, 1 AVX2 + FMA, 2 AVX-512.

#if BAM_LEVEL == 2
struct F32x16 {
  __m512 v;
  F32x16() = default;
  BAM_INLINE F32x16(__m512 x) : v(x) {}
  BAM_INLINE explicit F32x16(float x) : v(_mm512_set1_ps(x)) {}
};
using Mask = __mmask16;
BAM_INLINE F32x16 load(const float* p) { return _mm512_loadu_ps(p); }
BAM_INLINE void store(float* p, F32x16 a) { _mm512_storeu_ps(p, a.v); }
BAM_INLINE F32x16 load_part(const float* p, int n) { return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1u), p); }
BAM_INLINE void store_part(float* p, F32x16 a, int n) { _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1u), a.v); }
BAM_INLINE F32x16 operator+(F32x16 a, F32x16 b) { return _mm512_add_ps(a.v, b.v); }
BAM_INLINE F32x16 operator-(F32x16 a, F32x16 b) { return _mm512_sub_ps(a.v, b.v); }
BAM_INLINE F32x16 operator*(F32x16 a, F32x16 b) { return _mm512_mul_ps(a.v, b.v); }
BAM_INLINE F32x16 operator/(F32x16 a, F32x16 b) { return _mm512_div_ps(a.v, b.v); }
BAM_INLINE F32x16 fma(F32x16 a, F32x16 b, F32x16 c) { return _mm512_fmadd_ps(a.v, b.v, c.v); }
BAM_INLINE Mask operator<(F32x16 a, F32x16 b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ); }
BAM_INLINE Mask operator>(F32x16 a, F32x16 b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ); }
BAM_INLINE Mask operator==(F32x16 a, F32x16 b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ); }
BAM_INLINE F32x16 select(Mask m, F32x16 a, F32x16 b) { return _mm512_mask_blend_ps(m, b.v, a.v); }
BAM_INLINE F32x16 maximum(F32x16 a, F32x16 b) { return _mm512_max_ps(a.v, b.v); }
BAM_INLINE F32x16 minimum(F32x16 a, F32x16 b) { return _mm512_min_ps(a.v, b.v); }
BAM_INLINE F32x16 sqrt(F32x16 a) { return _mm512_sqrt_ps(a.v); }
BAM_INLINE F32x16 abs(F32x16 a) { return _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(a.v), _mm512_set1_epi32(0x7fffffff))); }
BAM_INLINE F32x16 exponent_scale(F32x16 t) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_castps_si512(t.v), _mm512_set1_epi32(127)), 23));
}
BAM_INLINE F32x16 split(F32x16 x, F32x16& m) {
  __m512i b = _mm512_sub_epi32(_mm512_castps_si512(x.v), _mm512_set1_epi32(0x3f3504f3));
  m = _mm512_castsi512_ps(_mm512_add_epi32(_mm512_and_si512(b, _mm512_set1_epi32(0x7fffff)), _mm512_set1_epi32(0x3f3504f3)));
  return _mm512_cvtepi32_ps(_mm512_srai_epi32(b, 23));
}

#elif BAM_LEVEL == 1
struct F32x16 {
  __m256 a, b;
  F32x16() = default;
  BAM_INLINE F32x16(__m256 x, __m256 y) : a(x), b(y) {}
  BAM_INLINE explicit F32x16(float x) : a(_mm256_set1_ps(x)), b(a) {}
};
struct Mask {
  __m256 a, b;
};
BAM_INLINE F32x16 load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
BAM_INLINE void store(float* p, F32x16 x) {
  _mm256_storeu_ps(p, x.a);
  _mm256_storeu_ps(p + 8, x.b);
}
BAM_INLINE __m256i lane_mask(int n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
BAM_INLINE F32x16 load_part(const float* p, int n) {
  return {_mm256_maskload_ps(p, lane_mask(n)), n > 8 ? _mm256_maskload_ps(p + 8, lane_mask(n - 8)) : _mm256_setzero_ps()};
}
BAM_INLINE void store_part(float* p, F32x16 x, int n) {
  _mm256_maskstore_ps(p, lane_mask(n), x.a);
  if (n > 8) _mm256_maskstore_ps(p + 8, lane_mask(n - 8), x.b);
}
BAM_INLINE F32x16 operator+(F32x16 x, F32x16 y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
BAM_INLINE F32x16 operator-(F32x16 x, F32x16 y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
BAM_INLINE F32x16 operator*(F32x16 x, F32x16 y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
BAM_INLINE F32x16 operator/(F32x16 x, F32x16 y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
BAM_INLINE F32x16 fma(F32x16 x, F32x16 y, F32x16 z) { return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)}; }
BAM_INLINE Mask operator<(F32x16 x, F32x16 y) { return {_mm256_cmp_ps(x.a, y.a, _CMP_LT_OQ), _mm256_cmp_ps(x.b, y.b, _CMP_LT_OQ)}; }
BAM_INLINE Mask operator>(F32x16 x, F32x16 y) { return {_mm256_cmp_ps(x.a, y.a, _CMP_GT_OQ), _mm256_cmp_ps(x.b, y.b, _CMP_GT_OQ)}; }
BAM_INLINE Mask operator==(F32x16 x, F32x16 y) { return {_mm256_cmp_ps(x.a, y.a, _CMP_EQ_OQ), _mm256_cmp_ps(x.b, y.b, _CMP_EQ_OQ)}; }
BAM_INLINE F32x16 select(Mask m, F32x16 x, F32x16 y) { return {_mm256_blendv_ps(y.a, x.a, m.a), _mm256_blendv_ps(y.b, x.b, m.b)}; }
BAM_INLINE F32x16 maximum(F32x16 x, F32x16 y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
BAM_INLINE F32x16 minimum(F32x16 x, F32x16 y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
BAM_INLINE F32x16 sqrt(F32x16 x) { return {_mm256_sqrt_ps(x.a), _mm256_sqrt_ps(x.b)}; }
BAM_INLINE F32x16 abs(F32x16 x) {
  const __m256 m = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
  return {_mm256_and_ps(x.a, m), _mm256_and_ps(x.b, m)};
}
BAM_INLINE __m256 exponent_scale(__m256 t) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_castps_si256(t), _mm256_set1_epi32(127)), 23));
}
BAM_INLINE F32x16 exponent_scale(F32x16 t) { return {exponent_scale(t.a), exponent_scale(t.b)}; }
BAM_INLINE __m256 split(__m256 x, __m256& m) {
  __m256i b = _mm256_sub_epi32(_mm256_castps_si256(x), _mm256_set1_epi32(0x3f3504f3));
  m = _mm256_castsi256_ps(_mm256_add_epi32(_mm256_and_si256(b, _mm256_set1_epi32(0x7fffff)), _mm256_set1_epi32(0x3f3504f3)));
  return _mm256_cvtepi32_ps(_mm256_srai_epi32(b, 23));
}
BAM_INLINE F32x16 split(F32x16 x, F32x16& m) {
  __m256 ea = split(x.a, m.a), eb = split(x.b, m.b);
  return {ea, eb};
}

#else
struct F32x16 {
  float v[16];
  F32x16() = default;
  BAM_INLINE explicit F32x16(float x) {
    for (float& l : v) l = x;
  }
};
struct Mask {
  bool v[16];
};
template <class F>
BAM_INLINE F32x16 lanes(F f) {
  F32x16 r;
  for (int i = 0; i < 16; ++i) r.v[i] = f(i);
  return r;
}
template <class F>
BAM_INLINE Mask mask_lanes(F f) {
  Mask r;
  for (int i = 0; i < 16; ++i) r.v[i] = f(i);
  return r;
}
BAM_INLINE F32x16 load(const float* p) { return lanes([&](int i) { return p[i]; }); }
BAM_INLINE void store(float* p, F32x16 a) {
  for (int i = 0; i < 16; ++i) p[i] = a.v[i];
}
BAM_INLINE F32x16 load_part(const float* p, int n) { return lanes([&](int i) { return i < n ? p[i] : 0.0f; }); }
BAM_INLINE void store_part(float* p, F32x16 a, int n) {
  for (int i = 0; i < n; ++i) p[i] = a.v[i];
}
BAM_INLINE F32x16 operator+(F32x16 a, F32x16 b) { return lanes([&](int i) { return a.v[i] + b.v[i]; }); }
BAM_INLINE F32x16 operator-(F32x16 a, F32x16 b) { return lanes([&](int i) { return a.v[i] - b.v[i]; }); }
BAM_INLINE F32x16 operator*(F32x16 a, F32x16 b) { return lanes([&](int i) { return a.v[i] * b.v[i]; }); }
BAM_INLINE F32x16 operator/(F32x16 a, F32x16 b) { return lanes([&](int i) { return a.v[i] / b.v[i]; }); }
BAM_INLINE F32x16 fma(F32x16 a, F32x16 b, F32x16 c) { return lanes([&](int i) { return math::fma(a.v[i], b.v[i], c.v[i]); }); }
BAM_INLINE Mask operator<(F32x16 a, F32x16 b) { return mask_lanes([&](int i) { return a.v[i] < b.v[i]; }); }
BAM_INLINE Mask operator>(F32x16 a, F32x16 b) { return mask_lanes([&](int i) { return a.v[i] > b.v[i]; }); }
BAM_INLINE Mask operator==(F32x16 a, F32x16 b) { return mask_lanes([&](int i) { return a.v[i] == b.v[i]; }); }
BAM_INLINE F32x16 select(Mask m, F32x16 a, F32x16 b) { return lanes([&](int i) { return m.v[i] ? a.v[i] : b.v[i]; }); }
BAM_INLINE F32x16 maximum(F32x16 a, F32x16 b) { return lanes([&](int i) { return math::maximum(a.v[i], b.v[i]); }); }
BAM_INLINE F32x16 minimum(F32x16 a, F32x16 b) { return lanes([&](int i) { return math::minimum(a.v[i], b.v[i]); }); }
BAM_INLINE F32x16 sqrt(F32x16 a) { return lanes([&](int i) { return math::sqrt(a.v[i]); }); }
BAM_INLINE F32x16 abs(F32x16 a) { return lanes([&](int i) { return math::abs(a.v[i]); }); }
BAM_INLINE F32x16 exponent_scale(F32x16 a) { return lanes([&](int i) { return math::exponent_scale(a.v[i]); }); }
BAM_INLINE F32x16 split(F32x16 a, F32x16& m) { return lanes([&](int i) { return math::split(a.v[i], m.v[i]); }); }
#endif

#include "../core/formulas.inl"

// The fixed tree over 16 lanes: halves are added, 8 + 8, 4 + 4, 2 + 2, 1 + 1.
BAM_INLINE float sum(F32x16 x) {
  alignas(64) float l[16];
  store(l, x);
  for (int h = 8; h > 0; h /= 2)
    for (int i = 0; i < h; ++i) l[i] += l[i + h];
  return l[0];
}
BAM_INLINE float max_lane(F32x16 x) {
  alignas(64) float l[16];
  store(l, x);
  for (int h = 8; h > 0; h /= 2)
    for (int i = 0; i < h; ++i) l[i] = math::maximum(l[i + h], l[i]);
  return l[0];
}

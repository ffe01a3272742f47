// Elementary functions, once, for every scalar and vector type V. Read inside namespace bam (V = float, in math.hpp)
// and inside each instruction set's namespace (V = F32x16): the same operations in the same order, so the same bits.
// V supplies + - * /, fma, maximum, minimum, abs, sqrt, select(mask, a, b), comparisons, and on the bits:
// exponent_scale(t) = 2^n for t = n + 1.5 * 2^23, and split(x, m) = exponent of x, m its mantissa in [sqrt(1/2), sqrt(2)).
// maximum(a, b) is a > b ? a : b, so that a NaN in b comes through.

// e^x: Cody-Waite reduction, degree 6 minimax (Cephes); 0 below -87.3, infinite above 88.37. Within 1 ulp.
template <class V>
BAM_INLINE V exp(V x) {
  const V magic(12582912.0f);
  V c = minimum(V(88.5f), maximum(V(-87.33654f), x));
  V t = fma(c, V(1.44269504f), magic);
  V n = t - magic;
  V r = fma(n, V(-0.693359375f), c);
  r = fma(n, V(2.12194440e-4f), r);
  V p = fma(V(1.9875691500e-4f), r, V(1.3981999507e-3f));
  p = fma(p, r, V(8.3334519073e-3f));
  p = fma(p, r, V(4.1665795894e-2f));
  p = fma(p, r, V(1.6666665459e-1f));
  p = fma(p, r, V(5.0000001201e-1f));
  p = fma(p, r * r, r) + V(1.0f);
  return select(x < V(-87.33654f), V(0.0f), p * exponent_scale(t));
}

// Natural logarithm (Cephes): -inf at 0, NaN below.
template <class V>
BAM_INLINE V log(V x) {
  const V tiny(1.17549435e-38f);
  V scaled = select(x < tiny, x * V(8388608.0f), x);
  V m;
  V e = split(scaled, m);
  e = select(x < tiny, e - V(23.0f), e);
  V f = m - V(1.0f), z = f * f;
  V p = fma(V(7.0376836292e-2f), f, V(-1.1514610310e-1f));
  p = fma(p, f, V(1.1676998740e-1f));
  p = fma(p, f, V(-1.2420140846e-1f));
  p = fma(p, f, V(1.4249322787e-1f));
  p = fma(p, f, V(-1.6668057665e-1f));
  p = fma(p, f, V(2.0000714765e-1f));
  p = fma(p, f, V(-2.4999993993e-1f));
  p = fma(p, f, V(3.3333331174e-1f));
  V y = p * f * z;
  y = fma(e, V(-2.12194440e-4f), y);
  y = fma(z, V(-0.5f), y);
  y = fma(e, V(0.693359375f), f + y);
  const V infinity(__builtin_inff());
  y = select(x < infinity, y, x);  // +inf and NaN pass
  y = select(x < V(0.0f), V(__builtin_nanf("")), y);
  return select(x == V(0.0f), V(-__builtin_inff()), y);
}

template <class V>
BAM_INLINE V sigmoid(V x) { return V(1.0f) / (V(1.0f) + exp(V(0.0f) - x)); }

template <class V>
BAM_INLINE V tanh(V x) {
  V a = abs(x), z = x * x;
  V p = fma(V(-5.70498872745e-3f), z, V(2.06390887954e-2f));
  p = fma(p, z, V(-5.37397155531e-2f));
  p = fma(p, z, V(1.33314422036e-1f));
  p = fma(p, z, V(-3.33332819422e-1f));
  V small = fma(p * z, x, x);
  V large = V(1.0f) - V(2.0f) / (exp(a + a) + V(1.0f));
  large = select(x < V(0.0f), V(0.0f) - large, large);
  return select(a < V(0.625f), small, large);
}

template <class V>
BAM_INLINE V silu(V x) { return x * sigmoid(x); }
template <class V>
BAM_INLINE V silu_gradient(V x) {
  V s = sigmoid(x);
  return s * fma(x, V(1.0f) - s, V(1.0f));
}

// log(1 + e^x), without overflow.
template <class V>
BAM_INLINE V softplus(V x) { return maximum(V(0.0f), x) + log(V(1.0f) + exp(V(0.0f) - abs(x))); }

// GELU, tanh form (Hendrycks & Gimpel 2016, equation 2).
template <class V>
BAM_INLINE V gelu(V x) {
  V u = V(0.7978845608f) * fma(V(0.044715f) * x, x * x, x);
  return V(0.5f) * x * (V(1.0f) + tanh(u));
}
template <class V>
BAM_INLINE V gelu_gradient(V x) {
  V z = x * x;
  V t = tanh(V(0.7978845608f) * fma(V(0.044715f) * x, z, x));
  V du = V(0.7978845608f) * fma(V(0.134145f), z, V(1.0f));
  return fma(V(0.5f) * x * (V(1.0f) - t * t), du, V(0.5f) * (V(1.0f) + t));
}

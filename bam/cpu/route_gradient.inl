// Gradient of the gates of the chosen experts, from the row sums of SwiGLU's backward (see RouteGradientArgs).
inline void route_gradient(const Exec& exec, const RouteGradientArgs& a) {
  constexpr std::int64_t block = 1024;
  parallel(exec, ceil_div(a.tokens, block), [&](std::int64_t b, int) {
    std::int64_t end = (b + 1) * block < a.tokens ? (b + 1) * block : a.tokens;
    for (std::int64_t t = b * block; t < end; ++t) {
      float* d = a.dgates + t * a.experts;
      if (a.write == Write::overwrite)
        for (std::int64_t e = 0; e < a.experts; ++e) d[e] = 0.0f;
      for (std::int64_t k = 0; k < a.top_k; ++k) d[a.chosen[t * a.top_k + k]] += a.dscale[a.token_slot[t * a.top_k + k]];
    }
  });
}

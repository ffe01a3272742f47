// Intervals of shares and ratios against known values.
#include "bam/eval/interval.hpp"

#include "support.hpp"

namespace bam::interval_test {

using test::error_of;
using test::has;

TEST_CASE("Wilson: known values") {
  struct Row {
    std::int64_t right, n;
    double low, high;
  };
  // scipy 1.17.1: binomtest(right, n).proportion_ci(method="wilson").
  for (const Row& r : {Row{0, 10, 0.0, 0.27753279986288926}, Row{1, 29, 0.006113214292762667, 0.17175521879320282}, Row{5, 10, 0.236593090512564, 0.7634069094874361},
                       Row{15, 148, 0.06238639953073629, 0.16048724172330803}, Row{81, 263, 0.2552885198782742, 0.36620957698280004}, Row{254, 254, 0.9851014695686875, 1.0}}) {
    CAPTURE(r.right);
    Bounds b = wilson_interval(r.right, r.n);
    CHECK(std::abs(b.low - r.low) < 1e-12);
    CHECK(std::abs(b.high - r.high) < 1e-12);
  }
  // A share between whole numbers: mark and band agree about a level of 0.2 to either side of where they part (0.2 + 1.96 * 0.4 / 7 = 0.3120; 15.4 of 49 is 0.3143, 15.2 is 0.3102; both round to 15).
  CHECK(wilson_of_share(15.4 / 49, 49).low > 0.2);
  CHECK(wilson_of_share(15.2 / 49, 49).low < 0.2);
  CHECK(wilson_of_share(15.0 / 49, 49).low == wilson_interval(15, 49).low);
  CHECK(wilson_of_share(0, 49).low == 0.0);
  CHECK(wilson_of_share(1, 49).high == 1.0);
  CHECK(wilson_interval(0, 0).low == 0.0);
  CHECK(wilson_interval(0, 0).high == 1.0);
  CHECK(has(error_of(ErrorKind::usage, [] { wilson_interval(5, 4); }), "interval.share: wilson_interval: 5 of 4"));
}

TEST_CASE("the tail of a binomial") {
  // scipy.stats.binom.sf(hits - 1, n, p)
  CHECK(binomial_tail(1, 50, 0.00208) == doctest::Approx(1 - std::pow(1 - 0.00208, 50)).epsilon(1e-12));
  CHECK(binomial_tail(3, 4, 0.5) == doctest::Approx(5.0 / 16).epsilon(1e-12));
  CHECK(binomial_tail(5000, 10000, 0.5) == doctest::Approx(0.5 + 0.5 * 0.0079786).epsilon(1e-5));  // half of the middle term above one half
  CHECK(binomial_tail(2.5, 4, 0.5) == doctest::Approx((5.0 / 16 + 11.0 / 16) / 2));
  CHECK(binomial_tail(0, 4, 0.5) == 1);
  CHECK(binomial_tail(5, 4, 0.5) == 0);
  CHECK(binomial_tail(1, 4, 0.0) == 0);
  CHECK(binomial_tail(4, 4, 1.0) == 1);
}

TEST_CASE("the standard error of a ratio") {
  // Equal sizes: that of the mean, s / sqrt(n) = 1 / sqrt(3), over the size.
  CHECK(ratio_stderr({1, 2, 3}, {2, 2, 2}) == doctest::Approx(1 / std::sqrt(3.0) / 2));
  CHECK(ratio_stderr({2, 6, 4}, {1, 3, 2}) == 0.0);  // the same ratio in each
  CHECK(ratio_stderr({1, 0}, {1, 3}) == doctest::Approx(std::sqrt((0.75 * 0.75 + 0.75 * 0.75) * 2) / 4));
  CHECK(ratio_stderr({5}, {2}) == 0.0);
}

}  // namespace bam::interval_test

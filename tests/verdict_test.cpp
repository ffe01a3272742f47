// Verdicts on made-up numbers with known answers.
#include <doctest/doctest.h>

#include "bam/study/verdict.hpp"

namespace bam::verdict_test {

using namespace bam::study;

TEST_CASE("t interval: known values") {
  Interval i = t_interval({1.0, 2.0, 3.0, 4.0, 5.0});  // mean 3, s / sqrt(n) = 0.70711, t(4) = 2.776
  CHECK(i.n == 5);
  CHECK(i.mean == doctest::Approx(3.0));
  CHECK(i.low == doctest::Approx(3.0 - 2.776 * 0.7071068));
  CHECK(i.high == doctest::Approx(3.0 + 2.776 * 0.7071068));
  Interval two = t_interval({0.0, 2.0});  // s / sqrt(2) = 1, t(1) = 12.706
  CHECK(two.low == doctest::Approx(1 - 12.706));
  CHECK(two.high == doctest::Approx(1 + 12.706));
  CHECK(t_quantile(60) == doctest::Approx(2.000).epsilon(0.001));
  CHECK(t_quantile(1000) == doctest::Approx(1.962).epsilon(0.001));
}

TEST_CASE("values that are all equal have no interval") {
  for (const std::vector<double>& same : {std::vector<double>{0.1, 0.1, 0.1}, {0.0, 0.0}, {1.1, 1.1 + 2e-16, 1.1}}) {
    const Interval i = t_interval(same);
    CHECK(i.mean == doctest::Approx(same[0]));
    CHECK(std::isinf(i.low));
    CHECK(std::isinf(i.high));
  }
  CHECK(std::isfinite(t_interval({0.1, 0.1000001}).low));
}

TEST_CASE("shown, refuted, undecided") {
  Interval down = t_interval({-0.030, -0.032, -0.028}), up = t_interval({0.030, 0.032, 0.028}), unclear = t_interval({-0.03, 0.04, 0.01});
  CHECK(below(down) == Verdict::shown);
  CHECK(below(up) == Verdict::refuted);
  CHECK(below(unclear) == Verdict::undecided);
  CHECK(not_above(t_interval({0.0010, 0.0012, 0.0011})) == Verdict::shown);  // worse, but within the tolerance
  CHECK(not_above(t_interval({-0.0010, 0.0012, -0.0001})) == Verdict::undecided);
  CHECK(not_above(t_interval({-0.0002, 0.0002, 0.0001})) == Verdict::shown);
  CHECK(not_below(t_interval({0.0002, -0.0002, 0.0001})) == Verdict::shown);
  CHECK(not_below(down) == Verdict::refuted);
  CHECK(not_below(unclear) == Verdict::undecided);
}

TEST_CASE("one replicate, or a missing arm, decides nothing") {
  for (const auto& values : {std::vector<double>{}, std::vector<double>{-5.0}}) {
    Interval i = t_interval(values);
    CHECK(below(i) == Verdict::undecided);
    CHECK(not_above(i) == Verdict::undecided);
    CHECK(not_below(i) == Verdict::undecided);
    CHECK(close_behind(i, i) == Verdict::undecided);
  }
  CHECK(below(t_interval({-1.0, -1.1})) == Verdict::shown);  // two replicates can, when they agree well
  CHECK(below(t_interval({-1.0, -0.1})) == Verdict::undecided);
}

TEST_CASE("close behind, and claims on every domain") {
  Interval gap = t_interval({0.010, 0.011, 0.009}), beyond = t_interval({-0.020, -0.021, -0.019});
  CHECK(close_behind(gap, beyond) == Verdict::shown);
  CHECK(close_behind(gap, t_interval({0.020, 0.021, 0.019})) == Verdict::refuted);
  CHECK(close_behind(t_interval({-0.010, -0.011, -0.009}), beyond) == Verdict::refuted);
  CHECK(close_behind(gap, t_interval({-0.02, 0.03, 0.0})) == Verdict::undecided);
  using V = Verdict;
  CHECK(all_of({V::shown, V::shown, V::shown, V::shown}) == V::shown);
  CHECK(all_of({V::shown, V::undecided, V::shown, V::shown}) == V::undecided);
  CHECK(all_of({V::shown, V::undecided, V::refuted, V::shown}) == V::refuted);
  CHECK(all_of({}) == V::undecided);
}

}  // namespace bam::verdict_test

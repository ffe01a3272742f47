// Bootstrap and Pearson's r against numpy 2.4.6 and scipy 1.17.1, and on known answers.
#include "bam/eval/bootstrap.hpp"
#include "support.hpp"

namespace bam::bootstrap_test {

using test::error_of;
using test::has;

namespace {
const std::vector<double> a{0.679, 0.87, 0.227, 0.895, 0.872, 0.019, 0.707, 0.001, 0.503, 0.437, 0.203, 0.325, 0.806, 0.316, 0.149, 0.699};
const std::vector<double> b{0.889, 0.731, 0.205, 0.831, 0.934, -0.114, 0.617, -0.011, 0.464, 0.204, 0.322, 0.005, 0.506, 0.0, 0.282, 0.567};
}  // namespace

TEST_CASE("quantiles as numpy's") {
  std::vector<double> x{1, 2, 4, 8, 16};
  CHECK(quantile(x, 0.025) == doctest::Approx(1.1));
  CHECK(quantile(x, 0.3) == doctest::Approx(2.4));
  CHECK(quantile(x, 0.975) == doctest::Approx(15.2));
  CHECK(quantile(x, 0) == 1);
  CHECK(quantile(x, 1) == 16);
  CHECK(has(error_of(ErrorKind::usage, [] { quantile({}, 0.5); }), "bootstrap.quantile"));
}

TEST_CASE("resampled indices are even, in range, and a function of seed and number") {
  std::vector<std::int64_t> count(7, 0);
  std::vector<std::size_t> index(7), again(7);
  for (std::int64_t r = 0; r < 20000; ++r) {
    resample(3, r, index);
    for (std::size_t i : index) {
      REQUIRE(i < 7);
      ++count[i];
    }
  }
  double chi = 0;  // 6 degrees of freedom: 22.5 is the 99.9% point
  for (auto c : count) chi += (static_cast<double>(c) - 20000) * (static_cast<double>(c) - 20000) / 20000;
  CHECK(chi < 22.5);
  resample(3, 5, index);
  resample(3, 5, again);
  CHECK(index == again);
  resample(4, 5, again);
  CHECK(index != again);
}

TEST_CASE("paired bootstrap against a million resamples of numpy") {
  BootstrapResult r = paired_bootstrap(a, b);
  CHECK(r.n == 16);
  CHECK(r.value == doctest::Approx(0.07975).epsilon(1e-12));
  CHECK(std::fabs(r.low - 0.0026875) < 0.003);  // the Monte Carlo error of 10,000 resamples is about 0.001
  CHECK(std::fabs(r.high - 0.156125) < 0.003);
  CHECK(std::fabs(r.p - 0.041328) < 0.006);
  BootstrapResult mirrored = paired_bootstrap(b, a);
  CHECK(mirrored.value == doctest::Approx(-r.value));
  CHECK(mirrored.low == doctest::Approx(-r.high));
  CHECK(mirrored.p == doctest::Approx(r.p));
  BootstrapResult again = paired_bootstrap(a, b);
  CHECK(again.low == r.low);
  CHECK(paired_bootstrap(a, b, {.seed = 2}).low != r.low);
}

TEST_CASE("paired bootstrap: known answers") {
  std::vector<double> ones(20, 1.0), zeros(20, 0.0);
  BootstrapResult certain = paired_bootstrap(ones, zeros, {.resamples = 999});
  CHECK(certain.low == 1);
  CHECK(certain.high == 1);
  CHECK(certain.p == doctest::Approx(0.001));  // 1 / (999 + 1): none lies as far
  BootstrapResult none = paired_bootstrap(a, a, {.resamples = 99});
  CHECK(none.value == 0);
  CHECK(none.p == 1);
  CHECK(has(error_of(ErrorKind::usage, [&] { paired_bootstrap(a, zeros); }), "bootstrap.size"));
  CHECK(has(error_of(ErrorKind::usage, [] { paired_bootstrap({}, {}); }), "bootstrap.options"));
}

TEST_CASE("a statistic of the caller's: coverage of the interval, and resamples without a value") {
  // Normal samples of 40 with mean 0.5: the 95% interval of the mean holds it about 93% of the time at this n.
  Random random(11);
  int held = 0;
  for (int trial = 0; trial < 300; ++trial) {
    std::vector<double> x(40);
    for (double& v : x) v = 0.5 + math::normal(random);
    auto mean = [&](std::span<const std::size_t> index) {
      double sum = 0;
      for (std::size_t i : index) sum += x[i];
      return sum / static_cast<double>(index.size());
    };
    BootstrapResult r = bootstrap(x.size(), mean, {.resamples = 400, .seed = static_cast<std::uint64_t>(trial)});
    held += r.low <= 0.5 && 0.5 <= r.high;
  }
  CHECK(held >= 265);
  CHECK(held <= 296);
  // Two items: a resample of one of them twice has no correlation. Half of them are such.
  std::vector<double> x{1, 2}, y{2, 5};
  BootstrapResult r = bootstrap(2, [&](std::span<const std::size_t> i) {
    auto c = pearson(std::vector<double>{x[i[0]], x[i[1]]}, std::vector<double>{y[i[0]], y[i[1]]});
    return c ? c->r : std::numeric_limits<double>::quiet_NaN();
  }, {.resamples = 1000});
  CHECK(r.value == doctest::Approx(1));
  CHECK(r.undefined > 400);
  CHECK(r.undefined < 600);
  CHECK(r.low == doctest::Approx(1));
}

TEST_CASE("Pearson's r and its interval as scipy's") {
  std::vector<double> x{-0.802, -1.324, -0.248, 0.42, 1.136, 0.11, -0.553, -0.785, 0.749, 1.635, 0.273, -1.233};
  std::vector<double> y{-0.96, 0.006, -0.047, -0.614, 0.64, -0.516, -0.646, -0.715, 0.093, 1.258, 0.132, -1.035};
  auto c = pearson(x, y);
  REQUIRE(c);
  CHECK(c->n == 12);
  CHECK(c->r == doctest::Approx(0.771909816747579).epsilon(1e-12));
  CHECK(c->low == doctest::Approx(0.3554906706392929).epsilon(1e-12));
  CHECK(c->high == doctest::Approx(0.932648067504186).epsilon(1e-12));
  for (double& v : y) v = 3 - 2 * v;
  CHECK(pearson(x, y)->r == doctest::Approx(-0.771909816747579).epsilon(1e-12));
  CHECK(pearson(x, x)->r == doctest::Approx(1));
  CHECK(pearson(std::vector<double>{1, 2, 3}, std::vector<double>{1, 2, 4})->low == -1);
  CHECK_FALSE(pearson(std::vector<double>{1}, std::vector<double>{1}));
  CHECK_FALSE(pearson(std::vector<double>{0.1, 0.1, 0.1}, std::vector<double>{1, 2, 3}));
  CHECK(has(error_of(ErrorKind::usage, [] { pearson(std::vector<double>{1}, std::vector<double>{1, 2}); }), "pearson.size"));
}

}  // namespace bam::bootstrap_test

// Transfer measures, variance shares and directions on made-up tables with known answers.
#include <functional>

#include "bam/clt/measures.hpp"
#include "support.hpp"

namespace bam::measures_test {

using namespace bam::clt;
using test::error_of;
using test::has;

namespace {
// A made-up study: scores from 0 to 1 of 3 replicates that differ by a little.
struct World {
  std::function<double(const Score&)> y;
  std::vector<std::string> tasks{"math", "summary", "instructions"};
  std::vector<std::int64_t> ks{0, 10, 100, 1000};
  std::int64_t replicates = 5;
  std::vector<Score> scores() const {
    std::vector<Score> out;
    Random random(4);
    for (auto& task : tasks)
      for (const char* setting : {"single", "multi"})
        for (std::int64_t size : {std::int64_t{1000000}, std::int64_t{50000000}})
          for (std::int64_t k : ks)
            for (auto [language, split] : {std::pair{"es", Split::seen}, std::pair{"fr", Split::seen}, std::pair{"ar", Split::unseen}, std::pair{"ko", Split::unseen}})
              for (std::int64_t r = 0; r < replicates; ++r) {
                Score s{task, setting, size, k, "mixed", language, split, r, "rank", 0, 500, 0.1};
                s.value = y(s) + 0.0002 * random.uniform();
                out.push_back(s);
              }
    return out;
  }
};
double steps(std::int64_t k) { return k == 0 ? 0 : k == 10 ? 1 : k == 100 ? 2 : 3; }

// All of the paper's directions hold. In the last of five replicates the other tasks reach their plateau at once, since plateaus that are all equal have no interval.
double as_the_paper(const Score& s) {
  bool small = s.size < 10000000, math = s.task == "math", early = s.replicate == 4;
  double rise = math && small ? steps(s.k) / 3 : math ? std::min(steps(s.k), 2.0) / 2 : small && !early ? std::min(steps(s.k), 2.0) / 2 : std::min(steps(s.k), 1.0);  // math: 1000 and 100; others: 100 and 10
  double v = 0.3 + (math ? 0.2 : 0.06) * rise + (small ? 0 : 0.08);
  if (s.split == Split::seen) v += 0.05;
  if (s.setting == "multi" && math && small) v -= 0.04;
  return v;
}
Finding finding_of(const std::vector<Direction>& all, std::string_view part) {
  for (auto& d : all)
    if (has(d.claim, part)) return d.finding;
  FAIL("no such claim");
  return Finding::not_testable;
}
}  // namespace

TEST_CASE("cells that cannot be told from chance") {
  // Chance 0.1, n 100: P(X >= 17) = 0.0206, P(X >= 16) = 0.0399 (scipy.stats.binom.sf); between them the tail is in between, and 2.5% is at 16.77 hits.
  CHECK_FALSE(told_from_chance(0.16, 100, 0.1));
  CHECK(told_from_chance(0.17, 100, 0.1));
  CHECK_FALSE(told_from_chance(0.167, 100, 0.1));
  CHECK(told_from_chance(0.168, 100, 0.1));
  // One hit of 50 at a chance of 0.00208 happens in 9.9% of trials, though Wilson's interval of it lies above chance.
  CHECK_FALSE(told_from_chance(0.02, 50, 0.00208));
  CHECK(wilson_interval(1, 50).low > 0.00208);
  CHECK(told_from_chance(0.04, 50, 0.00208));
  CHECK_FALSE(told_from_chance(0.02, 100, 0.1));
  CHECK(told_from_chance(0.01, 100, 0.0));
  CHECK_FALSE(told_from_chance(0.0, 100, 0.0));
  CHECK(told_from_chance(-3.0, 0, std::nullopt));
  CHECK_FALSE(told_from_chance(0.9, 0, 0.1));
  CHECK_FALSE(told_from_chance(std::numeric_limits<double>::quiet_NaN(), 100, std::nullopt));
  // A mean of other things needs a spread.
  CHECK(told_from_chance(0.5, 2, 0.4, 0.01));
  CHECK_FALSE(told_from_chance(0.5, 1, 0.4, 0.0));
}

TEST_CASE("a pool of cells with unequally many items has the mean of their errors") {
  Pooled equal, unequal;
  for (int i = 0; i < 4; ++i) equal.add(0.4, 49, 0.2, std::nullopt), unequal.add(0.4, i == 0 ? 49 : 4, 0.2, std::nullopt);
  CHECK(equal.items() == 49);
  CHECK(unequal.items() == 5);  // (4 / (1/7 + 3/2))^2 = 5.93
  CHECK(equal.above_chance());
  CHECK_FALSE(unequal.above_chance());
}

TEST_CASE("gain, gap, interference") {
  CHECK(*gain(0.4, 0.5) == doctest::Approx(0.25));
  CHECK_FALSE(gain(0.0, 0.5));
  CHECK_FALSE(gain(-0.1, 0.5));
  CHECK_FALSE(gain(std::nullopt, 0.5));
  std::vector<Cell> zero{0.4, 0.5, std::nullopt}, k{0.5, 0.5, 0.9};
  CHECK(*mean_gain(zero, k) == doctest::Approx(0.125));
  CHECK_FALSE(mean_gain(std::vector<Cell>{std::nullopt}, std::vector<Cell>{0.5}));
  CHECK(*seen_unseen_gap(0.5, 0.3) == doctest::Approx(0.2));
  CHECK(*interference(0.3, 0.4) == doctest::Approx(-0.1));
  CHECK_FALSE(interference(0.3, std::nullopt));
  CHECK(has(error_of(ErrorKind::usage, [&] { mean_gain(zero, std::vector<Cell>{0.1}); }), "clt.size"));
}

TEST_CASE("tracking, plateau, oscillation") {
  std::vector<Cell> seen{0.1, 0.2, std::nullopt, 0.3, 0.5}, unseen{0.2, 0.4, 0.9, 0.6, 1.0};
  auto r = tracking(seen, unseen);
  REQUIRE(r);
  CHECK(r->n == 4);
  CHECK(r->r == doctest::Approx(1));
  CHECK_FALSE(tracking(std::vector<Cell>{0.1, 0.2}, std::vector<Cell>{0.1, 0.2}));
  CHECK_FALSE(tracking(std::vector<Cell>{0.2, 0.2, 0.2}, std::vector<Cell>{0.1, 0.2, 0.3}));
  std::vector<std::int64_t> k{0, 10, 100, 1000};
  // a language without a cell somewhere enters no point
  CHECK(common_mean({{0.1, 0.3, 0.9}, {0.2, 0.4, std::nullopt}}) == std::vector<Cell>{0.2, 0.30000000000000004});
  CHECK(common_mean({{std::nullopt, 1.0}, {1.0, std::nullopt}}) == std::vector<Cell>(2));
  CHECK(data_to_plateau(k, std::vector<Cell>{0.2, 0.5, 0.996, 1.0}) == 100);
  CHECK(data_to_plateau(k, std::vector<Cell>{0.2, 0.5, 0.98, 1.0}) == 1000);
  CHECK(data_to_plateau(k, std::vector<Cell>{0.2, std::nullopt, 1.0, 0.5}) == 100);
  CHECK(data_to_plateau(k, std::vector<Cell>{-2.0, -1.005, -1.5, -1.0}) == 10);
  CHECK_FALSE(data_to_plateau(k, std::vector<Cell>(4)));
  CHECK(*oscillation(std::vector<Cell>{0.0, 1.0, 0.0, 1.0}) == doctest::Approx(2));
  CHECK(*oscillation(std::vector<Cell>{0.1, 0.2, 0.3, 0.4}) == doctest::Approx(0).epsilon(1e-12));
  CHECK(*oscillation(std::vector<Cell>{0.0, 1.0, 0.0, std::nullopt, 5.0}) == doctest::Approx(2));
  CHECK_FALSE(oscillation(std::vector<Cell>{0.0, 1.0}));
}

TEST_CASE("intervals of correlations and of amounts of data stay where values can be") {
  // z of 0.5, 0.8, 0.95: 0.549306, 1.098612, 1.831781; mean 1.159900, t(2) 4.303, standard error 0.371485.
  const Interval r = mean_correlation({0.5, 0.8, 0.95});
  CHECK(r.n == 3);
  CHECK(r.mean == doctest::Approx(0.821007).epsilon(1e-5));
  CHECK(r.low == doctest::Approx(-0.412482).epsilon(1e-4));
  CHECK(r.high == doctest::Approx(0.991995).epsilon(1e-5));
  CHECK(mean_correlation({-0.5, -0.8, -0.95}).mean == doctest::Approx(-r.mean));
  CHECK(t_interval({0.5, 0.8, 0.95}).high > 1);
  const Interval one = mean_correlation({1.0, 0.6});
  CHECK(one.mean == doctest::Approx(0.8));
  CHECK(std::isinf(one.low));
  CHECK(std::isinf(one.high));
  CHECK(mean_correlation({0.7}).mean == doctest::Approx(0.7));
  CHECK(std::isinf(mean_correlation({0.7}).high));
  CHECK(mean_correlation({}).n == 0);
  // log10: 1, 2, 3; mean 2, standard error 0.577350.
  const Interval k = geometric_mean({10, 100, 1000});
  CHECK(k.mean == doctest::Approx(100));
  CHECK(k.low == doctest::Approx(0.327840).epsilon(1e-4));
  CHECK(k.high == doctest::Approx(30502.7).epsilon(1e-4));
  CHECK(t_interval({10, 100, 1000}).low < 0);
}

TEST_CASE("source to target matrix") {
  // English leaves 0.2, 0.1, 0.3; own data brings 0.4, 0.2, nothing.
  std::vector<std::vector<Cell>> y{{0.6, 0.2, 0.5}, {0.4, 0.3, std::nullopt}, {0.1, 0.1, 0.3}};
  auto t = transfer_matrix(y, std::vector<Cell>{0.2, 0.1, 0.3});
  CHECK(*t[0][0] == doctest::Approx(1));
  CHECK(*t[0][1] == doctest::Approx(0.5));
  CHECK(*t[1][0] == doctest::Approx(0.5));
  CHECK(*t[2][0] == doctest::Approx(-0.25));
  CHECK(*t[2][1] == doctest::Approx(0));
  CHECK_FALSE(t[0][2]);
  CHECK_FALSE(t[1][2]);
  CHECK(has(error_of(ErrorKind::usage, [&] { transfer_matrix({{0.1}, {0.1, 0.2}}, std::vector<Cell>{0.1, 0.1}); }), "clt.size"));
}

TEST_CASE("variance shares against numpy 2.4.6 on a grid of 3 x 2 x 2") {
  const std::vector<double> y{-0.34, -0.05, -1.2, -1.11, -0.48, 0.88, -0.35, 0.21, -0.57, 1.48, 0.95, -0.94};
  std::vector<Observation> o;
  for (std::int32_t c = 0; c < 12; ++c) o.push_back({{c / 4, c / 2 % 2, c % 2}, 0, y[static_cast<std::size_t>(c)]});
  auto s = variance_shares(o, {"a", "b", "c"});
  REQUIRE(s);
  const double expected[] = {0.23027995076699403, 0.116573184532906, 0.06248709285708385, 0.031745376145121754, 0.05697316140330593, 0.2519846022947868, 0.24995663199980167};
  const char* names[] = {"a", "b", "c", "a x b", "a x c", "b x c", "higher"};
  REQUIRE(s->effects.size() == 7);
  for (std::size_t e = 0; e < 7; ++e) {
    CHECK(s->effects[e].name == names[e]);
    CHECK(s->effects[e].share == doctest::Approx(expected[e]).epsilon(1e-10));
    CHECK_FALSE(s->effects[e].low);
  }
  CHECK(s->variance == doctest::Approx(0.6725388888888889).epsilon(1e-12));
  CHECK(s->cells == 12);
  // Without one cell, the level with the most missing goes: one of b or c would leave 6 cells, one of a leaves 8.
  o.erase(o.begin() + 5);
  auto partial = variance_shares(o, {"a", "b", "c"});
  REQUIRE(partial);
  CHECK(partial->cells + partial->dropped == 11);
  CHECK(partial->cells == 8);
  // A factor with one level explains nothing and is not listed.
  for (Observation& one : o) one.levels.push_back(0);
  auto flat = variance_shares(o, {"a", "b", "c", "d"});
  REQUIRE(flat);
  REQUIRE(flat->effects.size() == partial->effects.size());
  for (std::size_t e = 0; e < flat->effects.size(); ++e) {
    CHECK(flat->effects[e].name == partial->effects[e].name);
    CHECK(flat->effects[e].share == doctest::Approx(partial->effects[e].share));
  }
  CHECK_FALSE(variance_shares({}, {"a"}));
  CHECK_FALSE(variance_shares({{{0}, 0, 1.0}, {{1}, 0, 1.0}}, {"a"}));
  CHECK(has(error_of(ErrorKind::usage, [] { variance_shares({{{0}, 0, 1.0}, {{0}, 0, 2.0}}, {"a"}); }), "clt.twice"));
}

TEST_CASE("variance shares: additive tables, pure interactions, and intervals over replicates") {
  std::vector<Observation> additive, crossed, noisy;
  Random random(2);
  for (std::int32_t a = 0; a < 2; ++a)
    for (std::int32_t b = 0; b < 2; ++b)
      for (std::int64_t r = 0; r < 6; ++r) {
        additive.push_back({{a, b}, r, 2.0 * a + b});
        crossed.push_back({{a, b}, r, a == b ? 1.0 : 0.0});
        noisy.push_back({{a, b}, r, 2.0 * a + b + 0.2 * math::normal(random)});
      }
  auto s = variance_shares(additive, {"a", "b"}, {.resamples = 200});
  CHECK(s->effects[0].share == doctest::Approx(0.8));  // variances 1 and 0.25
  CHECK(s->effects[1].share == doctest::Approx(0.2));
  CHECK(s->effects[2].share == doctest::Approx(0));
  CHECK_FALSE(s->effects[0].low);  // replicates that are all the same
  CHECK(s->noise == doctest::Approx(0));
  CHECK(variance_shares(crossed, {"a", "b"})->effects[2].share == doctest::Approx(1));
  auto n = variance_shares(noisy, {"a", "b"}, {.resamples = 1000});
  CHECK(*n->effects[0].low < 0.8);
  CHECK(*n->effects[0].high > 0.8);
  CHECK(*n->effects[0].low > 0.6);
  CHECK(n->noise > 0.001);
  CHECK(n->noise < 0.03);
  double sum = 0;
  for (auto& e : n->effects) sum += e.share;
  CHECK(sum == doctest::Approx(1));
}

TEST_CASE("variance shares: the spread of replicates is in no effect, and noise alone shows nothing") {
  // One variable explains all of 2 x 2 x 2 cells, behind noise as large as its effect: over many studies of three replicates the mean of its variance and of the whole is what they are without
  // noise (0.25), and the claim that none explains half is shown no oftener than a 95% interval may.
  Random random(7);
  double whole = 0, effect = 0, shown = 0, of_noise = 0;
  constexpr int studies = 400;
  for (int i = 0; i < studies; ++i)
    for (double size : {1.0, 0.0}) {
      std::vector<Observation> o;
      for (std::int32_t c = 0; c < 8; ++c)
        for (std::int64_t r = 0; r < 3; ++r) o.push_back({{c / 4, c / 2 % 2, c % 2}, r, size * (c / 4) + 0.5 * math::normal(random)});
      const auto s = variance_shares(o, {"a", "b", "c"}, {.resamples = 60});
      if (s && size > 0) whole += s->variance / studies, effect += s->effects[0].share * s->variance / studies;
      (size > 0 ? shown : of_noise) += (no_single_variable(s).finding == Finding::shown) / static_cast<double>(studies);
    }
  CHECK(whole == doctest::Approx(0.25).epsilon(0.1));
  CHECK(effect == doctest::Approx(0.25).epsilon(0.1));
  CHECK(shown < 0.02);
  CHECK(of_noise < 0.05);
}

TEST_CASE("directions: a table made as the paper says shows all of them") {
  auto all = directions(World{.y = as_the_paper}.scores(), {}, {.resamples = 200});
  REQUIRE(all.size() == 6);
  for (auto& d : all) {
    CAPTURE(d.claim);
    CAPTURE(d.note);
    CHECK(d.n == 5);
    CHECK(d.mean);
  }
  CHECK(finding_of(all, "gains most") == Finding::shown);
  CHECK(finding_of(all, "ten times") == Finding::shown);
  CHECK(finding_of(all, "plateau earlier") == Finding::shown);
  CHECK(finding_of(all, "does not close") == Finding::shown);
  CHECK(finding_of(all, "hurts math") == Finding::shown);
  // Gains at 1000: math 0.2 / 0.3, others 0.06 / 0.3. Plateau of math 1000, of the others 100. Interference 0.04.
  CHECK(*all[0].mean == doctest::Approx(0.14 / 0.3).epsilon(0.01));
  CHECK(*all[1].mean == doctest::Approx(1.2).epsilon(1e-9));
  CHECK(*all[2].mean == doctest::Approx((4 + 1.0 / 3) / 5).epsilon(1e-9));
  CHECK(*all[4].mean == doctest::Approx(0.04).epsilon(0.01));
}

TEST_CASE("directions: the contrary is not shown") {
  auto contrary = [](const Score& s) {
    bool small = s.size < 10000000, math = s.task == "math", late = s.replicate == 4;
    double rise = math ? std::min(steps(s.k), 1.0) : small ? std::min(steps(s.k), late ? 2.0 : 1.0) / (late ? 2 : 1) : steps(s.k) / 3;
    double v = 0.3 + (math ? 0.05 : 0.3) * rise;
    if (s.split == Split::seen) v += s.k == 10 ? 0.05 : 0;  // the gap closes
    if (s.setting == "multi" && math) v += 0.04;
    return v;
  };
  auto all = directions(World{.y = contrary}.scores(), {}, {.resamples = 200});
  CHECK(finding_of(all, "gains most") == Finding::not_shown);
  CHECK(finding_of(all, "ten times") == Finding::not_shown);
  CHECK(finding_of(all, "plateau earlier") == Finding::not_shown);
  CHECK(finding_of(all, "does not close") == Finding::not_shown);
  CHECK(finding_of(all, "hurts math") == Finding::not_shown);
  // One variable alone moves the scores; a little noise moves the rest.
  auto only_size = directions(World{.y = [](const Score& s) { return s.k == 0 ? 0.3 : s.size < 10000000 ? 0.4 : 0.6; }}.scores(), {}, {.resamples = 200});
  CHECK(finding_of(only_size, "no single variable") == Finding::not_shown);
}

TEST_CASE("directions: what explains transfer are changes since k = 0, not how hard a task is") {
  auto world = [](const Score& s) {
    const double hard = s.task == "math" ? 0 : s.task == "summary" ? 0.3 : 0.5;
    return 0.2 + hard + steps(s.k) * (0.01 + (s.size < 10000000 ? 0 : 0.02) + (s.setting == "multi" ? 0.02 : 0) + (s.task == "math" ? 0.02 : 0));
  };
  const std::vector<Score> scores = World{.y = world}.scores();
  CHECK(finding_of(directions(scores, {}, {.resamples = 200}), "no single variable") == Finding::shown);
  auto share = [&](Response response, std::string_view effect) {
    const auto shares = variance_shares(observations(scores, Split::unseen, response), factors_of(Design::amounts), {.resamples = 20});
    REQUIRE(shares);
    for (auto& e : shares->effects)
      if (e.name == effect) return e.share;
    return -1.0;
  };
  CHECK(share(Response::score, "task") > 0.9);
  CHECK(share(Response::change, "task") < 0.2);
  CHECK(share(Response::change, "k") > 0.2);
  CHECK(share(Response::change, "size") == doctest::Approx(share(Response::change, "setting")).epsilon(0.02));
  // A cell at chance is left out, and one without a y(0).
  std::vector<Score> few = scores;
  for (Score& s : few)
    if (s.k == 10) s.value = 0.1;
  const auto shares = variance_shares(observations(few, Split::unseen, Response::change), factors_of(Design::amounts), {.resamples = 20});
  REQUIRE(shares);
  CHECK(shares->cells == 3 * 2 * 2 * 2);
  std::erase_if(few, [](const Score& s) { return s.k == 0; });
  CHECK(observations(few, Split::unseen, Response::change).empty());
  CHECK_FALSE(observations(few, Split::unseen, Response::score).empty());
}

TEST_CASE("variance shares: a language of a cell that cannot be told from chance is left out, and all cells mean the same ones") {
  // Of 500 items at chance 0.1, 0.12 is at chance and 0.13 is not; the two languages together would have 1000.
  std::vector<Score> scores = World{.y = [](const Score& s) { return 0.3 + 0.05 * steps(s.k) + (s.size < 10000000 ? 0 : 0.1) + (s.language == "ko" ? 0.1 : 0); }}.scores();
  auto languages = [&](const std::vector<Score>& of) {
    const auto shares = variance_shares(observations(of, Split::unseen, Response::change), factors_of(Design::amounts), {.resamples = 20});
    REQUIRE(shares);
    CHECK(shares->cells == 3 * 2 * 2 * 3);
    CHECK(shares->levels == std::vector<std::size_t>{3, 2, 2, 3});
    return shares->languages;
  };
  CHECK(languages(scores) == 2);
  std::vector<Score> weak = scores;
  for (Score& s : weak)
    if (s.language == "ar" && (s.setting == "multi" || s.size < 10000000)) s.value = 0.12;
  CHECK(languages(weak) == 1);  // ko in all cells, so that none gains by the loss of ar
  for (Score& s : weak)
    if (s.value == 0.12) s.value = s.replicate == 0 ? 0.16 : 0.125;  // 0.132 over the replicates
  CHECK(languages(weak) == 2);
}

TEST_CASE("variance shares: language groups at the largest k") {
  std::vector<Score> scores = World{.y = [](const Score& s) { return 0.3 + 0.05 * steps(s.k) + (s.task == "math" ? 0.1 : 0); }}.scores();
  CHECK(observations(scores, Split::unseen, Response::change, Design::groups).empty());
  // Changes of 0.1, 0.2 and 0.3 in the three groups, 0.1 more of math: variances 1/150 and 2/900.
  const std::vector<Score> all = scores;
  for (const Score& s : all)
    for (auto [group, change] : {std::pair{"latin", 0.1}, {"other", 0.2}, {"both", 0.3}})
      if (s.k == 1000 && s.setting == "single" && s.split == Split::unseen) {
        Score of = s;
        of.languages = group;
        of.value = 0.3 + (s.task == "math" ? 0.2 : 0) + change;
        scores.push_back(of);
      }
  const auto shares = variance_shares(observations(scores, Split::unseen, Response::change, Design::groups), factors_of(Design::groups), {.resamples = 20});
  REQUIRE(shares);
  CHECK(shares->cells == 3 * 2 * 3);
  CHECK(shares->languages == 2);
  for (auto& e : shares->effects) {
    if (e.name == "language group") CHECK(e.share == doctest::Approx(0.75).epsilon(0.01));
    if (e.name == "task") CHECK(e.share == doctest::Approx(0.25).epsilon(0.01));
    if (e.name == "size") CHECK(e.share < 0.01);
  }
  // The main group's decomposition is the same with and without them.
  for (Response response : {Response::change, Response::score}) CHECK(observations(scores, Split::unseen, response).size() == observations(all, Split::unseen, response).size());
}

TEST_CASE("directions: undecided and not testable") {
  // Scores at chance enter nothing.
  auto all = directions(World{.y = [](const Score&) { return 0.1; }}.scores(), {}, {.resamples = 20});
  for (auto& d : all) {
    CAPTURE(d.claim);
    CHECK(d.finding == Finding::not_testable);
    CHECK_FALSE(d.mean);
    CHECK(d.note != "");
  }
  // One replicate decides nothing.
  for (auto& d : directions(World{.y = as_the_paper, .replicates = 1}.scores(), {}, {.resamples = 20})) {
    CAPTURE(d.claim);
    CHECK(d.finding == Finding::undecided);
    CHECK(d.n == 1);
    CHECK_FALSE(d.low);
  }
  // A grid of k below a factor of ten, one task, one size.
  auto narrow = directions(World{.y = as_the_paper, .tasks = {"summary"}, .ks = {0, 10}}.scores(), {}, {.resamples = 20});
  CHECK(finding_of(narrow, "gains most") == Finding::not_testable);
  CHECK(finding_of(narrow, "ten times") == Finding::not_testable);
  CHECK(finding_of(narrow, "does not close") == Finding::not_testable);
  CHECK(finding_of(narrow, "hurts math") == Finding::not_testable);
  auto scores = World{.y = as_the_paper}.scores();
  std::erase_if(scores, [](const Score& s) { return s.size > 10000000; });
  CHECK(finding_of(directions(scores, {}, {.resamples = 20}), "plateau earlier") == Finding::not_testable);
  // Where no k has all tasks (of a folder that lost a run), there is no largest one.
  std::vector<Score> torn;
  for (const Score& s : scores)
    if ((s.task == scores.front().task) == (s.k == 0)) torn.push_back(s);
  for (const Direction& d : directions(torn, {}, {.resamples = 20})) CHECK(d.finding == Finding::not_testable);
  scores.push_back(scores.front());
  CHECK(has(error_of(ErrorKind::input, [&] { directions(scores); }), "clt.twice"));
  scores.back().k = 5;
  scores.back().score = "exact_match";
  CHECK(has(error_of(ErrorKind::input, [&] { directions(scores); }), "clt.scores"));
  CHECK(has(error_of(ErrorKind::input, [] { directions({}); }), "clt.empty"));
  CHECK(std::string(name_of(Finding::not_testable)) == "not testable here");
}

TEST_CASE("what multi-task training costs is measured over the languages that both settings tell from chance") {
  // Multi-task loses ko, the weaker language, to chance; what is left of it would look better than single-task.
  auto scores = World{.y = as_the_paper}.scores();
  for (auto& s : scores)
    if (s.language == "ko" && s.task == "math") s.value = s.setting == "multi" ? 0.1 : 0.2;
  const auto lost = directions(scores, {}, {.resamples = 20})[4];
  CHECK(*lost.mean == doctest::Approx(0.04).epsilon(0.02));
  CHECK(lost.finding == Finding::shown);
}

TEST_CASE("a cell is judged against chance once, its replicates together") {
  // y(0) of ko in summaries varies about 0.14: alone, replicates at 0.11 would go, and they are those that gain most.
  auto scores = World{.y = [](const Score& s) { return s.k == 0 ? 0.2 : 0.3; }}.scores();
  for (auto& s : scores)
    if (s.task == "summary" && s.language == "ko" && s.k == 0) s.value = s.replicate % 2 ? 0.11 : 0.16;
  clt::detail::Table t(scores, {});
  const auto gain_of = [&](std::int64_t r) { return *t.gain_at("summary", "single", 1000000, r, Split::unseen, 1000); };
  CHECK(gain_of(0) == doctest::Approx((0.5 + 0.3 / 0.16 - 1) / 2).epsilon(0.01));
  CHECK(gain_of(1) == doctest::Approx((0.5 + 0.3 / 0.11 - 1) / 2).epsilon(0.01));
}

TEST_CASE("directions: math that starts too high to gain as much as another task cannot be tested") {
  auto world = [](const Score& s) { return (s.task == "math" ? 0.8 : 0.3) + 0.05 * steps(s.k); };
  const Direction d = math_gains_most(World{.y = world}.scores());
  CHECK(d.finding == Finding::not_testable);
  CHECK(has(d.note, "at most 0.25, the other tasks' largest gain is 0.5"));
  CHECK(*d.mean < 0);
}

TEST_CASE("a language that drops out at one k drops out of the whole curve") {
  // Without ko at k = 1000 the curve is that of ar alone, else losing the weaker language would look like a rise.
  auto scores = World{.y = as_the_paper}.scores();
  for (auto& s : scores) {
    if (s.language == "ko") s.value -= 0.1;
    if (s.language == "ko" && s.k == 1000) s.value = 0.1;
  }
  clt::detail::Table t(scores, {});
  auto curve = t.curve("summary", "single", 1000000, 0, Split::unseen, {100, 1000});
  REQUIRE(curve[0]);
  CHECK(*curve[0] == doctest::Approx(0.36).epsilon(0.01));
  CHECK(*curve[1] == doctest::Approx(0.36).epsilon(0.01));
}

}  // namespace bam::measures_test

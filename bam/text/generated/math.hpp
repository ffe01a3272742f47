// Multi-step arithmetic and equations with right answers: each step takes up the result of the one before.
#pragma once
#include <memory>
#include <utility>

#include "grammar.hpp"

namespace bam::text::generated {

class MathDocument {
 public:
  explicit MathDocument(Derivation& d) : d_(d) {}

  void write() {
    for (;;) {
      problem();
      bool enough = d_.enough();
      if (d_.choose({{d_.size() < 1100 || !enough ? 3u : 0u, "\n\n"}, {enough ? 1u : 0u, end_of_text}}) == 1) return;
    }
  }

 private:
  struct Tree {
    char op = 0;  // 0: a number
    std::int64_t value = 0;
    std::unique_ptr<Tree> left, right;
  };

  void problem() {
    if (d_.choose({{1, "Problem: "}, {1, "Remark: "}}) == 1) {
      clause(d_);
      d_.emit(".\nProblem: ");
    }
    switch (d_.choose({{2, "Solve "}, {3, "Compute "}, {1, "Find the greatest common divisor of "}, {1, "The sum of two numbers is "}, {1, "A list begins with "},
                       {1, "Multiply "}, {1, "Add "}, {1, "With x on both sides, solve "}, {7, otherwise}})) {
      case 0: equation(); break;
      case 1: expression(); break;
      case 2: divisor(); break;
      case 3: two_numbers(); break;
      case 4: sequence(); break;
      case 5: product(); break;
      case 6: addition(); break;
      case 7: both_sides(); break;
      default: story();
    }
  }

  void conclude(std::int64_t value) {
    d_.choose({{3, "The answer is "}, {1, "So the answer is "}, {1, "This gives "}});
    d_.answer(value);
    d_.emit(".");
  }
  // "12 + 5 = 17. "
  std::int64_t step(std::int64_t a, char op, std::int64_t b) {
    std::int64_t v = op == '+' ? a + b : op == '-' ? a - b : op == '*' ? a * b : a / b;
    d_.emit(a, " ", op, " ", b, " = ");
    d_.answer(v);
    d_.emit(". ");
    return v;
  }

  void equation() {
    std::int64_t a = d_.number(2, 12);
    d_.emit("x");
    bool minus = d_.choose({{1, " + "}, {1, " - "}}) == 1;
    std::int64_t b = d_.number(1, 60);
    d_.emit(" = ");
    std::int64_t x = 1 + d_.progression(minus ? a - b : a + b, a, 40), c = minus ? a * x - b : a * x + b;
    d_.choose({{2, " for x.\nSolution: "}, {1, " and say what x is.\nSolution: "}});
    d_.emit(minus ? "Add " : "Subtract ", b, minus ? " to both sides: " : " from both sides: ");
    step(c, minus ? '+' : '-', b);
    d_.emit("Now ", a, "x = ", a * x, ". Divide by ", a, ": ");
    step(a * x, '/', a);
    conclude(x);
  }

  void both_sides() {
    std::int64_t a = d_.number(3, 15);
    d_.emit("x + ");
    std::int64_t b = d_.number(1, 50);
    d_.emit(" = ");
    std::int64_t c = d_.number(1, a - 1);
    d_.emit("x + ");
    std::int64_t x = 1 + d_.progression(b + a - c, a - c, 30), e = b + (a - c) * x;
    d_.emit(".\nSolution: Take ", c, "x from both sides: ");
    step(a, '-', c);
    d_.emit("Take ", b, " from both sides: ");
    step(e, '-', b);
    d_.emit("Now ", a - c, "x = ", e - b, ". ");
    step(e - b, '/', a - c);
    conclude(x);
  }

  // A tree of brackets; the bound keeps products small.
  std::unique_ptr<Tree> tree(int depth) {
    auto t = std::make_unique<Tree>();
    std::uint64_t deeper = depth == 0 ? 1 : depth < 4 ? 2 : 0;
    if (d_.choose({{deeper, "("}, {depth == 0 ? 0u : 3u, otherwise}}) == 1) {
      t->value = d_.number(1, depth > 2 ? 12 : 40);
      return t;
    }
    t->left = tree(depth + 1);
    bool small = std::abs(t->left->value) < 200;
    t->op = "+-*"[d_.choose({{3, " + "}, {2, " - "}, {small ? 2u : 0u, " * "}})];
    if (t->op == '*') {
      t->right = std::make_unique<Tree>();
      t->right->value = d_.number(2, 12);
    } else {
      t->right = tree(depth + 1);
    }
    d_.emit(")");
    t->value = t->op == '+' ? t->left->value + t->right->value : t->op == '-' ? t->left->value - t->right->value : t->left->value * t->right->value;
    return t;
  }
  static std::string show(const Tree& t) { return t.op ? str("(", show(*t.left), " ", t.op, " ", show(*t.right), ")") : str(t.value); }
  // The innermost bracket furthest to the left.
  static Tree* next(Tree& t) {
    if (!t.op) return nullptr;
    if (Tree* n = next(*t.left)) return n;
    if (Tree* n = next(*t.right)) return n;
    return &t;
  }

  void expression() {
    std::unique_ptr<Tree> t = tree(0);
    d_.emit(".\nSolution: ");
    while (Tree* n = next(*t)) {
      step(n->left->value, n->op, n->right->value);
      n->op = 0;
      if (t->op) d_.emit("Left is ", show(*t), ". ");
    }
    conclude(t->value);
  }

  void divisor() {
    std::int64_t a = d_.number(20, 400);
    d_.emit(" and ");
    std::int64_t b = d_.number(4, a - 1);
    d_.emit(".\nSolution: ");
    while (b) {
      d_.emit(a, " = ");
      d_.answer(a / b);
      d_.emit(" * ", b, " + ");
      d_.answer(a % b);
      d_.emit(". ");
      a = std::exchange(b, a % b);
    }
    conclude(a);
  }

  void two_numbers() {
    std::int64_t s = d_.number(10, 160);
    d_.emit(" and their difference is ");
    std::int64_t t = s % 2 + 2 * d_.progression(s % 2, 2, (s - s % 2) / 2);
    bool larger = d_.choose({{1, ". What is the larger number?"}, {1, ". What is the smaller number?"}}) == 0;
    d_.emit("\nSolution: ");
    std::int64_t v = step(s, larger ? '+' : '-', t);
    conclude(step(v, '/', 2));
  }

  void sequence() {
    std::int64_t a = d_.number(1, 60), first = a;
    d_.emit(", ");
    std::int64_t k = d_.number(a + 1, a + 25) - a;
    for (int i = 0; i < 2; ++i) {
      a = first + k * (i + 2);
      d_.emit(", ", a);
    }
    d_.emit(". Which numbers are next?\nSolution: ", first + k, " - ", first, " = ");
    d_.answer(k);
    d_.emit(", so each is ", k, " more than the one before. ");
    do a = step(a, '+', k);
    while (d_.maybe(2, 1, "Then "));
    conclude(a);
  }

  void product() {
    std::int64_t a = d_.number(11, 99);
    d_.emit(" by ");
    std::int64_t b = d_.number(11, 99);
    d_.emit(".\nSolution: ", b, " = ", b / 10 * 10, " + ", b % 10, ". ");
    std::int64_t x = step(a, '*', b / 10 * 10), y = step(a, '*', b % 10);
    conclude(step(x, '+', y));
  }

  void addition() {
    std::vector<std::int64_t> list{d_.number(1, 99)};
    do list.push_back((d_.emit(" and "), d_.number(1, 99)));
    while (d_.choose({{list.size() < 6 ? 2u : 0u, ","}, {1, "."}}) == 0);
    d_.emit("\nSolution: ");
    std::int64_t sum = list[0];
    for (std::size_t i = 1; i < list.size(); ++i) sum = step(sum, '+', list[i]);
    conclude(sum);
  }

  // Two kinds of things come and go; the question is about one.
  void story() {
    std::vector<std::string> people, things;
    d_.choose({{1, "In the "}, {1, "Near the "}, {1, "At the "}});
    noun_phrase(d_);
    if (d_.maybe(1, 1, ", where ")) clause(d_);
    d_.emit(", ");
    std::string who = d_.fresh(name, people);
    d_.emit(" has ");
    std::int64_t have[2], start[2];
    have[0] = d_.number(5, 60);
    d_.emit(" ");
    d_.fresh(noun, things, "s");
    d_.emit(" and ");
    have[1] = d_.number(5, 60);
    d_.emit(" ");
    d_.fresh(noun, things, "s");
    d_.emit(". ");
    start[0] = have[0], start[1] = have[1];
    std::vector<std::string> plural{things[0] + "s", things[1] + "s"};
    struct Change {
      char op;
      std::int64_t by, each;  // each: boxes of by things, or 0
    };
    std::vector<Change> changes[2];
    std::size_t events = 0, asked = 0;
    for (;;) {
      std::uint64_t on = events < 6 ? 2 : 0;
      std::size_t kind = d_.choose({{on, "Then "}, {on, "After that "}, {on, "One day "}, {events >= 2 ? 2u : 0u, "How many "}});
      if (kind == 3) break;
      ++events;
      std::string other;
      std::size_t act = d_.choose({{3, "the "}, {2, otherwise}});
      if (act == 0) {
        d_.word(noun);
        std::size_t way = d_.choose({{2, " brings "}, {1, " takes away "}});
        bool take = way == 1;
        change(have, changes, plural, take);
      } else {
        d_.emit(who);
        switch (d_.choose({{2, " buys "}, {2, " gives "}, {2, " finds "}, {1, " loses "}})) {
          case 0: change(have, changes, plural, false); break;
          case 1: {
            change(have, changes, plural, true);
            d_.emit(" to ");
            d_.word(name, "", people);
            break;
          }
          case 2: {
            std::int64_t boxes = d_.number(2, 9);
            d_.choose({{1, " boxes with "}, {1, " bags with "}});
            std::int64_t each = d_.number(2, 12);
            d_.emit(" ");
            std::size_t which = d_.among(plural);
            d_.emit(" in each");
            have[which] += boxes * each;
            changes[which].push_back({'*', boxes, each});
            break;
          }
          default: change(have, changes, plural, true);
        }
      }
      d_.emit(". ");
    }
    asked = d_.among(plural);
    d_.emit(" does ", who, " have now?\nSolution: ", who, " begins with ");
    d_.answer(start[asked]);
    d_.emit(" ", plural[asked], ". ");
    std::int64_t now = start[asked];
    for (const Change& c : changes[asked]) {
      std::int64_t by = c.op == '*' ? step(c.by, '*', c.each) : c.by;
      now = step(now, c.op == '-' ? '-' : '+', by);
    }
    conclude(now);
  }
  template <class Changes>
  void change(std::int64_t (&have)[2], Changes& changes, const std::vector<std::string>& plural, bool take) {
    // The number comes before the thing, so it may not be more than there is of either.
    std::int64_t most = take ? std::min(have[0], have[1]) : 40, by = d_.number(most < 1 ? 0 : 1, std::max<std::int64_t>(most, 0));
    d_.emit(" ");
    d_.choose({{1, "more of the "}, {1, "of the "}, {2, otherwise}});
    std::size_t which = d_.among(plural);
    have[which] += take ? -by : by;
    changes[which].push_back({take ? '-' : '+', by, 0});
  }

  Derivation& d_;
};

}  // namespace bam::text::generated

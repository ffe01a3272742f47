// Typed programs, which Python 3 runs as they are: nested scopes and blocks, and asserts that hold. The walk builds the
// tree of the program, and an interpreter of that tree computes the values of the asserts.
#pragma once
#include <cstdint>
#include <memory>
#include <utility>

#include "grammar.hpp"

namespace bam::text::generated {

class CodeDocument {
 public:
  explicit CodeDocument(Derivation& d) : d_(d) {}

  void write() {
    for (;;) {
      d_.emit("# ");
      d_.choose({{2, "When "}, {2, "If "}, {1, "So that "}, {1, "Here "}});
      clause(d_);
      d_.emit(".\ndef ");
      function(0);
      asserts();
      bool enough = d_.enough();
      if (d_.choose({{d_.size() < 1000 || !enough ? 2u : 0u, "\n"}, {enough ? 1u : 0u, end_of_text}}) == 1) return;
    }
  }

 private:
  enum Type { integer, truth, list };
  struct Value {
    std::int64_t n = 0;
    std::vector<std::int64_t> items;
  };
  struct Expr {
    char op = 'n';  // n number, v variable, [ item, c call, L len, S sum, M max, m min, and the operators
    std::int64_t value = 0;
    std::size_t place = 0;  // slot of a variable, index of a function
    std::vector<Expr> kids;
    std::int64_t bound = 0;  // no value is larger, by its magnitude
  };
  struct Line {
    char kind;  // = assignment, f for over a range, l for over a list, i if, r return
    std::size_t slot;
    Expr value;
    std::vector<Line> body, other;
  };
  struct Parameter {
    Type type;
    std::size_t slot;
  };
  struct Function {
    std::string name;
    std::vector<Parameter> parameters;
    Type returns = integer;
    bool inner = false;  // shares the variables of the function around it
    std::int64_t bound = 0, cost = 0;
    std::size_t slots = 0;
    std::vector<Line> body;
  };
  struct Variable {
    std::string name;
    Type type;
    std::size_t slot;
    std::int64_t bound;
    int level;       // of the function that owns it
    bool can_change;
  };
  static constexpr std::int64_t small = 99, most_items = 6, most_steps = 5000;

  static std::string indent(int depth) { return std::string(static_cast<std::size_t>(depth) * 4, ' '); }
  bool room() const { return d_.size() < std::min<std::size_t>(1150, begun_ + 480); }

  std::vector<std::string> names(Type type, std::int64_t bound = INT64_MAX) const {
    std::vector<std::string> out;
    for (const Variable& v : variables_)
      if (v.type == type && v.bound <= bound) out.push_back(v.name);
    return out;
  }
  const Variable& variable(std::string_view wanted) const {
    return *std::find_if(variables_.begin(), variables_.end(), [&](const Variable& v) { return v.name == wanted; });
  }
  std::size_t declare(std::string named, Type type, std::int64_t bound, bool can_change = false) {
    variables_.push_back({std::move(named), type, slots_, bound, level_, can_change});
    return slots_++;
  }

  // --- declarations

  void parameter(Function& f) {
    std::string named;
    Type type = truth;
    if (d_.maybe(1, 5, "is_")) {
      named = "is_" + d_.fresh(adjective, adjectives_);
      d_.emit(": bool");
    } else {
      named = d_.fresh(noun, nouns_);
      type = d_.choose({{3, ": int"}, {2, ": list[int]"}}) == 0 ? integer : list;
    }
    f.parameters.push_back({type, declare(named, type, small)});
  }

  // After "def ". The indentation of its body is level + 1.
  void function(int level) {
    auto f = std::make_unique<Function>();
    f->inner = level > 0;
    std::size_t outer_variables = variables_.size(), outer_callable = callable_.size();
    std::int64_t outer_times = std::exchange(times_, 1), outer_cost = std::exchange(cost_, 0), outer_bound = std::exchange(bound_, 0);
    int outer_level = std::exchange(level_, level), outer_loops = std::exchange(loops_, 0);
    Type outer_returns = returns_;
    if (level == 0) slots_ = 0, begun_ = d_.size();
    std::string act = d_.word(verb);
    d_.emit("_");
    f->name = act + "_" + d_.fresh(noun, nouns_);
    d_.emit("(");
    do parameter(*f);
    while (d_.choose({{f->parameters.size() < 3 ? 2u : 0u, ", "}, {2, ") -> "}}) == 0);
    f->returns = returns_ = d_.choose({{4, "int:\n"}, {1, "bool:\n"}}) == 0 ? integer : truth;
    f->body = block(level + 1, true);
    f->bound = bound_;
    f->cost = cost_ + 1;
    f->slots = slots_;
    variables_.resize(outer_variables, Variable{});
    callable_.resize(outer_callable);
    times_ = outer_times, cost_ = outer_cost, bound_ = outer_bound, level_ = outer_level, loops_ = outer_loops, returns_ = outer_returns;
    callable_.push_back(functions_.size());
    functions_.push_back(std::move(f));
  }

  // --- statements

  std::vector<Line> block(int depth, bool of_function) {
    std::vector<Line> lines;
    std::size_t visible = variables_.size(), callable = callable_.size();
    d_.emit(indent(depth));
    for (std::size_t count = 0;; ++count) {
      if (room() && d_.maybe(1, 9, "# ")) {
        clause(d_);
        d_.emit("\n", indent(depth));
      }
      cost_ += times_;
      bool deep = room() && depth < 9, loop = deep && loops_ < 4 && times_ * most_items * 5 <= most_steps;
      std::uint64_t returning = of_function ? (count == 0 ? 0 : room() ? 2 * count : 50) : loops_ > 0 || count > 0 ? 1 : 2;
      std::size_t kind = d_.choose({{of_function && count == 0 && level_ < 2 && deep ? 3u : 0u, "def "},
                                    {loop ? 4u : 0u, "for "},
                                    {deep ? 4u : 0u, "if "},
                                    {returning, "return "},
                                    {room() || !of_function || count == 0 ? 8u : 0u, otherwise}});
      if (kind == 0) function(depth);
      else if (kind == 1) lines.push_back(loop_line(depth));
      else if (kind == 2) lines.push_back(if_line(depth));
      else if (kind == 4) lines.push_back(assignment());
      else {
        Expr e = returns_ == integer ? expression(0) : condition();
        d_.emit("\n");
        bound_ = std::max(bound_, e.bound);
        lines.push_back({'r', 0, std::move(e), {}, {}});
        break;
      }
      if (of_function) d_.emit(indent(depth));
      else if (!d_.maybe(room() ? 2 : 0, 3, indent(depth))) break;
    }
    variables_.resize(visible, Variable{});
    callable_.resize(callable);
    return lines;
  }

  Line loop_line(int depth) {
    Line line{'f', 0, {}, {}, {}};
    std::vector<std::string> lists = names(list);
    std::string index(1, "ijkl"[loops_]);
    std::size_t visible = variables_.size();
    std::int64_t times = most_items;
    if (d_.choose({{3, index + " in range("}, {lists.empty() ? 0u : 2u, otherwise}}) == 0) {
      if (d_.maybe(lists.empty() ? 0 : 1, 2, "len(")) {
        line.value = whole_list('L', lists);
        d_.emit(")");
      } else {
        line.value.value = times = d_.number(2, 5);
      }
      d_.emit("):\n");
      line.slot = declare(index, integer, most_items);
    } else {
      std::string named = d_.fresh(noun, nouns_);
      d_.emit(" in ");
      line.kind = 'l';
      line.value = whole_list('v', lists);
      d_.emit(":\n");
      line.slot = declare(named, integer, small);
    }
    times_ *= times;
    ++loops_;
    line.body = block(depth + 1, false);
    --loops_;
    times_ /= times;
    variables_.resize(visible, Variable{});
    return line;
  }

  Line if_line(int depth) {
    Line line{'i', 0, condition(), {}, {}};
    d_.emit(":\n");
    line.body = block(depth + 1, false);
    if (d_.maybe(room() ? 2 : 0, 3, indent(depth) + "else:\n")) line.other = block(depth + 1, false);
    return line;
  }

  Line assignment() {
    Line line{'=', 0, {}, {}, {}};
    std::vector<std::string> changing;
    for (const Variable& v : variables_)
      if (v.can_change && v.level == level_) changing.push_back(v.name);
    std::size_t which = d_.among(changing, loops_ > 0 ? 6 : 2, 4);
    if (which < changing.size()) {
      const Variable v = variable(changing[which]);
      d_.emit(" = (", v.name);
      Expr self{'v', 0, v.slot, {}, v.bound};
      Expr sum = operation(std::move(self), 1);
      d_.emit(" % ");
      Expr modulus;
      modulus.value = d_.number(10, small);
      line.value = Expr{'%', 0, 0, {}, modulus.value - 1};
      line.value.kids = {std::move(sum), std::move(modulus)};
      line.slot = v.slot;
    } else if (d_.maybe(1, 5, "is_")) {
      std::string named = "is_" + d_.fresh(adjective, adjectives_);
      d_.emit(": bool = ");
      line.value = condition();
      line.slot = declare(named, truth, 1);
    } else {
      std::string named = d_.fresh(noun, nouns_);
      if (d_.choose({{5, ": int = "}, {1, ": list[int] = ["}}) == 0) {
        line.value = expression(0);
        // What starts small may change: each change takes a remainder.
        line.slot = declare(named, integer, std::max(line.value.bound, line.value.bound <= small ? small : 0), line.value.bound <= small);
      } else {
        line.value.op = 'l';
        do line.value.kids.push_back(atom());
        while (d_.choose({{line.value.kids.size() < most_items ? 2u : 0u, ", "}, {1, "]"}}) == 0);
        line.slot = declare(named, list, small);
      }
    }
    d_.emit("\n");
    return line;
  }

  // --- expressions

  Expr whole_list(char op, const std::vector<std::string>& lists) {
    const Variable& v = variable(lists[d_.among(lists)]);
    return {op, 0, v.slot, {}, op == 'L' ? most_items : op == 'S' ? most_items * v.bound : v.bound};
  }
  // A small variable or number.
  Expr atom() {
    std::vector<std::string> ints = names(integer, small);
    std::size_t i = d_.among(ints, 2, 2);
    if (i == ints.size()) {
      std::int64_t n = d_.number(0, 20);
      return {'n', n, 0, {}, n};
    }
    const Variable& v = variable(ints[i]);
    return {'v', 0, v.slot, {}, v.bound};
  }

  // After "(" and the left side.
  Expr operation(Expr left, int depth) {
    std::size_t op = d_.choose({{5, " + "}, {3, " - "}, {left.bound <= 1000 ? 2u : 0u, " * "}, {depth > 1 ? 2u : 0u, " % "}});
    Expr e{"+-*%"[op], 0, 0, {}, 0};
    Expr right;
    if (op == 3) right.value = right.bound = d_.number(2, 12);
    else right = op == 2 ? atom() : expression(depth);
    e.bound = op == 2 ? left.bound * right.bound : op == 3 ? right.bound - 1 : left.bound + right.bound;
    e.kids.push_back(std::move(left));
    e.kids.push_back(std::move(right));
    d_.emit(")");
    return e;
  }

  Expr expression(int depth) {
    std::vector<std::string> lists;
    if (depth < 3) lists = names(list);
    std::uint64_t deeper = depth < 4 ? 2 : 0, has_list = lists.empty() ? 0 : 1;
    std::size_t form = d_.choose({{depth == 0 ? 5 : deeper, "("}, {deeper ? 1u : 0u, "max("}, {deeper ? 1u : 0u, "min("}, {has_list, "len("}, {has_list, "sum("}, {9, otherwise}});
    if (form == 0) return operation(expression(depth + 1), depth + 1);
    if (form <= 2) {
      Expr e{form == 1 ? 'M' : 'm', 0, 0, {}, 0};
      e.kids.push_back(expression(depth + 1));
      d_.emit(", ");
      e.kids.push_back(expression(depth + 1));
      d_.emit(")");
      e.bound = std::max(e.kids[0].bound, e.kids[1].bound);
      return e;
    }
    if (form <= 4) {
      Expr e = whole_list(form == 3 ? 'L' : 'S', lists);
      d_.emit(")");
      return e;
    }
    // A variable, an item of a list, a call, or a number.
    std::vector<std::string> options = names(integer);
    std::size_t ints = options.size();
    options.insert(options.end(), lists.begin(), lists.end());
    std::vector<const Function*> calls;
    for (std::size_t i : callable_) {
      const Function& f = *functions_[i];
      if (f.returns != integer || f.bound > 100000 || times_ * f.cost > most_steps || depth > 2) continue;
      calls.push_back(&f);
      options.push_back(f.name);
    }
    std::size_t i = d_.among(options, 2, 2);
    if (i == options.size()) {
      std::int64_t n = d_.number(0, 20);
      return {'n', n, 0, {}, n};
    }
    if (i < ints) {
      const Variable& v = variable(options[i]);
      return {'v', 0, v.slot, {}, v.bound};
    }
    if (i < ints + lists.size()) {
      const Variable v = variable(options[i]);
      Expr e{'[', 0, v.slot, {}, v.bound};
      d_.emit("[");
      e.kids.push_back(expression(std::max(depth + 2, 3)));
      d_.emit(" % len(", v.name, ")]");
      return e;
    }
    const Function& f = *calls[i - ints - lists.size()];
    cost_ += times_ * f.cost;
    Expr e = call(f);
    e.bound = f.bound;
    return e;
  }

  Expr call(const Function& f) {
    Expr e{'c', 0, 0, {}, 0};
    for (e.place = 0; functions_[e.place].get() != &f;) ++e.place;
    for (std::size_t i = 0; i < f.parameters.size(); ++i) {
      d_.emit(i ? ", " : "(");
      e.kids.push_back(argument(f.parameters[i].type));
    }
    d_.emit(")");
    return e;
  }
  Expr argument(Type type) {
    if (type == integer) return atom();
    std::vector<std::string> known = names(type);
    if (type == truth) {
      std::size_t i = d_.choose({{1, "True"}, {1, "False"}, {known.empty() ? 0u : 2u, otherwise}});
      if (i < 2) return {'n', i == 0, 0, {}, 1};
    } else if (d_.maybe(1, known.empty() ? 0 : 2, "[")) {
      Expr e{'l', 0, 0, {}, small};
      do e.kids.push_back(atom());
      while (d_.choose({{e.kids.size() < most_items ? 3u : 0u, ", "}, {1, "]"}}) == 0);
      return e;
    }
    const Variable& v = variable(known[d_.among(known)]);
    return {'v', 0, v.slot, {}, v.bound};
  }

  Expr condition() {
    Expr e = comparison();
    std::size_t join = d_.choose({{1, " and "}, {1, " or "}, {6, otherwise}});
    if (join == 2) return e;
    Expr both{join == 0 ? '&' : '|', 0, 0, {}, 1};
    both.kids.push_back(std::move(e));
    both.kids.push_back(comparison());
    return both;
  }
  Expr comparison() {
    std::vector<std::string> flags = names(truth);
    for (std::string& f : flags) f.erase(0, 3);
    std::size_t form = d_.choose({{1, "not ("}, {flags.empty() ? 0u : 3u, "is_"}, {5, otherwise}});
    if (form == 1) return {'v', 0, variable("is_" + flags[d_.among(flags)]).slot, {}, 1};
    Expr e{0, 0, 0, {}, 1};
    e.kids.push_back(expression(2));
    e.op = "<>=!"[d_.choose({{3, " < "}, {3, " > "}, {1, " == "}, {1, " != "}})];
    e.kids.push_back(expression(2));
    if (form == 2) return e;
    d_.emit(")");
    Expr negated{'~', 0, 0, {}, 1};
    negated.kids.push_back(std::move(e));
    return negated;
  }

  // --- what a program does

  using Frame = std::vector<Value>;

  Value evaluate(const Expr& e, Frame& frame) const {
    auto kid = [&](std::size_t i) { return evaluate(e.kids[i], frame).n; };
    auto number = [](std::int64_t n) { return Value{n, {}}; };
    switch (e.op) {
      case 'n': return number(e.value);
      case 'v': return frame[e.place];
      case 'l': {
        Value v;
        for (const Expr& k : e.kids) v.items.push_back(evaluate(k, frame).n);
        return v;
      }
      case '[': {
        std::int64_t i = kid(0);
        const std::vector<std::int64_t>& items = frame[e.place].items;
        return number(items[static_cast<std::size_t>(remainder(i, static_cast<std::int64_t>(items.size())))]);
      }
      case 'L': return number(static_cast<std::int64_t>(frame[e.place].items.size()));
      case 'S': {
        std::int64_t sum = 0;
        for (std::int64_t x : frame[e.place].items) sum += x;
        return number(sum);
      }
      case 'c': {
        const Function& f = *functions_[e.place];
        std::vector<Value> values;
        for (const Expr& k : e.kids) values.push_back(evaluate(k, frame));
        Frame own;
        if (!f.inner) own.resize(f.slots);
        Frame& used = f.inner ? frame : own;
        for (std::size_t i = 0; i < values.size(); ++i) used[f.parameters[i].slot] = std::move(values[i]);
        return *run(f.body, used);
      }
      case 'M': return number(std::max(kid(0), kid(1)));
      case 'm': return number(std::min(kid(0), kid(1)));
      case '+': return number(kid(0) + kid(1));
      case '-': return number(kid(0) - kid(1));
      case '*': return number(kid(0) * kid(1));
      case '%': return number(remainder(kid(0), kid(1)));
      case '<': return number(kid(0) < kid(1));
      case '>': return number(kid(0) > kid(1));
      case '=': return number(kid(0) == kid(1));
      case '!': return number(kid(0) != kid(1));
      case '&': return number(kid(0) && kid(1));
      case '|': return number(kid(0) || kid(1));
      default: return number(!kid(0));
    }
  }
  // As in Python: of the sign of the divisor, which is positive.
  static std::int64_t remainder(std::int64_t a, std::int64_t b) { return (a % b + b) % b; }

  std::optional<Value> run(const std::vector<Line>& lines, Frame& frame) const {
    for (const Line& line : lines) {
      std::optional<Value> out;
      switch (line.kind) {
        case '=': frame[line.slot] = evaluate(line.value, frame); break;
        case 'r': return evaluate(line.value, frame);
        case 'i': out = run(evaluate(line.value, frame).n ? line.body : line.other, frame); break;
        case 'f': {
          std::int64_t n = evaluate(line.value, frame).n;
          for (std::int64_t i = 0; i < n && !out; ++i) {
            frame[line.slot].n = i;
            out = run(line.body, frame);
          }
          break;
        }
        default: {
          Value over = evaluate(line.value, frame);
          for (std::size_t i = 0; i < over.items.size() && !out; ++i) {
            frame[line.slot].n = over.items[i];
            out = run(line.body, frame);
          }
        }
      }
      if (out) return out;
    }
    return std::nullopt;
  }

  // About the last function.
  void asserts() {
    const Function& f = *functions_.back();
    d_.emit("assert ");
    for (std::uint64_t more = 8;; more /= 2) {
      d_.emit(f.name);
      Frame none;
      Value v = evaluate(call(f), none);
      d_.emit(" == ");
      if (f.returns == truth) d_.answer(v.n ? "True" : "False");
      else d_.answer(v.n);
      d_.emit("\n");
      if (!d_.maybe(more, 3, "assert ")) return;
    }
  }

  Derivation& d_;
  std::vector<std::string> nouns_, adjectives_;  // used as names
  std::vector<Variable> variables_;              // in scope, as are
  std::vector<std::size_t> callable_;            // of
  std::vector<std::unique_ptr<Function>> functions_;
  Type returns_ = integer;
  std::size_t slots_ = 0, begun_ = 0;
  int level_ = 0, loops_ = 0;
  std::int64_t times_ = 1, cost_ = 0, bound_ = 0;  // how often this line runs, what the function costs, what it returns at most
};

}  // namespace bam::text::generated

// JSON values, one bounded reader and one writer. Every JSON file of the project comes through parse_json.
//
// The reader runs on nlohmann's SAX interface and builds our own values: its DOM costs 13 to 38 bytes per byte of
// input and quietly keeps the last of two equal keys. A value here is 16 bytes, short strings live inside, and
// containers have exactly their size, so that a hostile file of n bytes costs at most 16 n + 16 MiB.
// Refused: depth above 64, duplicate keys (compared after unescaping), anything after the value, NaN, comments,
// invalid UTF-8, raw NUL bytes, a byte order mark. Nothing here recurses on the depth of a value.
#pragma once
#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <deque>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <new>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bam/core/error.hpp"
#include "bam/io/kind.hpp"

namespace bam::io {

// Bytes of the valid UTF-8 sequence at the start of text, 0 if it is invalid (overlong, surrogate, cut) or empty.
inline std::size_t utf8_length(std::string_view text) {
  if (text.empty()) return 0;
  auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  unsigned char c = byte(0);
  if (c < 0x80) return 1;
  std::size_t n = c >= 0xf0 && c < 0xf5 ? 4 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xc2 && c < 0xe0 ? 2 : 0;
  if (n == 0 || text.size() < n) return 0;
  for (std::size_t i = 1; i < n; ++i)
    if ((byte(i) & 0xc0) != 0x80) return 0;
  unsigned char d = byte(1);
  if ((c == 0xe0 && d < 0xa0) || (c == 0xed && d > 0x9f) || (c == 0xf0 && d < 0x90) || (c == 0xf4 && d > 0x8f)) return 0;
  return n;
}

class Json {
 public:
  enum class Type : unsigned char { null, boolean, integer, unsigned_integer, number, string, array, object };

  Json() noexcept { reset(); }
  Json(std::nullptr_t) noexcept { reset(); }
  Json(std::same_as<bool> auto b) noexcept { scalar(Type::boolean, std::uint64_t{b}); }
  template <std::integral T>
    requires(!std::same_as<T, bool>)
  Json(T x) noexcept {
    if constexpr (std::is_unsigned_v<T> && sizeof(T) == 8) {
      scalar(x > static_cast<std::uint64_t>(INT64_MAX) ? Type::unsigned_integer : Type::integer, std::uint64_t{x});
    } else {
      scalar(Type::integer, static_cast<std::uint64_t>(static_cast<std::int64_t>(x)));
    }
  }
  template <std::floating_point T>
  Json(T x) noexcept {
    scalar(Type::number, std::bit_cast<std::uint64_t>(static_cast<double>(x)));
  }
  Json(std::string_view text) {
    reset();
    if (text.size() <= inline_capacity) {
      raw_[1] = static_cast<unsigned char>(text.size());
      if (!text.empty()) std::memcpy(raw_ + 2, text.data(), text.size());
    } else {
      if (text.size() > UINT32_MAX) fail(ErrorKind::limit, "json.size", "json: a string of ", text.size(), " bytes");
      char* copy = static_cast<char*>(::operator new(text.size()));
      std::memcpy(copy, text.data(), text.size());
      raw_[1] = long_string;
      set_size(static_cast<std::uint32_t>(text.size()));
      set_payload(copy);
    }
    raw_[0] = static_cast<unsigned char>(Type::string);
  }
  Json(const char* text) : Json(std::string_view(text)) {}
  Json(const std::string& text) : Json(std::string_view(text)) {}

  Json(Json&& other) noexcept {
    std::memcpy(raw_, other.raw_, sizeof raw_);
    other.reset();
  }
  Json(const Json& other) {
    reset();
    copy_from(other);
  }
  Json& operator=(Json other) noexcept {
    swap(other);
    return *this;
  }
  ~Json() { destroy(); }
  void swap(Json& other) noexcept {
    unsigned char t[sizeof raw_];
    std::memcpy(t, raw_, sizeof raw_);
    std::memcpy(raw_, other.raw_, sizeof raw_);
    std::memcpy(other.raw_, t, sizeof raw_);
  }

  static Json array(std::initializer_list<Json> items = {}) {
    Json a;
    a.raw_[0] = static_cast<unsigned char>(Type::array);
    for (const Json& item : items) a.push_back(item);
    return a;
  }
  template <class Range>
  static Json array_of(const Range& items) {
    Json a = array();
    for (const auto& item : items) a.push_back(Json(item));
    return a;
  }
  static Json object(std::initializer_list<std::pair<std::string_view, Json>> members = {}) {
    Json o;
    o.raw_[0] = static_cast<unsigned char>(Type::object);
    for (const auto& [key, value] : members) o.set(key, value);
    return o;
  }

  Type type() const noexcept { return static_cast<Type>(raw_[0]); }
  bool is_null() const noexcept { return type() == Type::null; }
  bool is_bool() const noexcept { return type() == Type::boolean; }
  bool is_integer() const noexcept { return type() == Type::integer || type() == Type::unsigned_integer; }
  bool is_number() const noexcept { return is_integer() || type() == Type::number; }  // integers too
  bool is_string() const noexcept { return type() == Type::string; }
  bool is_array() const noexcept { return type() == Type::array; }
  bool is_object() const noexcept { return type() == Type::object; }
  // What an error message calls this value, e.g. "the string \"32\"".
  std::string describe() const;

  // Typed getters. where says which file and key in the error. They throw kind input.
  bool as_bool(std::string_view where) const {
    if (!is_bool()) wrong(where, "true or false");
    return payload<std::uint64_t>() != 0;
  }
  std::int64_t as_int(std::string_view where, std::int64_t min = INT64_MIN, std::int64_t max = INT64_MAX) const {
    if (!is_integer()) wrong(where, "an integer");
    if (type() == Type::unsigned_integer || payload<std::int64_t>() < min || payload<std::int64_t>() > max)
      fail(ErrorKind::input, "json.range", where, ": wanted an integer from ", min, " to ", max, ", got ", describe());
    return payload<std::int64_t>();
  }
  std::uint64_t as_uint(std::string_view where, std::uint64_t max = UINT64_MAX) const {
    if (!is_integer()) wrong(where, "an integer");
    if ((type() == Type::integer && payload<std::int64_t>() < 0) || payload<std::uint64_t>() > max)
      fail(ErrorKind::input, "json.range", where, ": wanted an integer from 0 to ", max, ", got ", describe());
    return payload<std::uint64_t>();
  }
  double as_double(std::string_view where) const {
    if (type() == Type::integer) return static_cast<double>(payload<std::int64_t>());
    if (type() == Type::unsigned_integer) return static_cast<double>(payload<std::uint64_t>());
    if (type() != Type::number) wrong(where, "a number");
    return payload<double>();
  }
  // Valid while this value lives and is not moved.
  std::string_view as_string(std::string_view where) const {
    if (!is_string()) wrong(where, "a string");
    return text();
  }

  // Elements of an array, members of an object, else 0.
  std::size_t size() const noexcept { return is_array() || is_object() ? stored_size() : 0; }
  bool empty() const noexcept { return size() == 0; }

  // Elements of an array, for range-for.
  struct Items {
    const Json *first, *last;
    const Json* begin() const { return first; }
    const Json* end() const { return last; }
    std::size_t size() const { return static_cast<std::size_t>(last - first); }
    const Json& operator[](std::size_t i) const { return first[i]; }
  };
  Items items(std::string_view where) const {
    if (!is_array()) wrong(where, "an array");
    return {children(), children() + size()};
  }
  template <std::integral I>
  const Json& at(I i, std::string_view where = "json") const {
    if (!is_array()) wrong(where, "an array");
    if (std::cmp_less(i, 0) || std::cmp_greater_equal(i, size())) fail(ErrorKind::input, "json.index", where, ": wanted element ", i, " of ", size());
    return children()[static_cast<std::size_t>(i)];
  }

  // Members of an object in the order of the file: for (auto [key, value] : j.members(where)).
  struct Member {
    std::string_view key;
    const Json& value;
  };
  struct Members {
    struct Iterator {
      const Json* p;
      Member operator*() const { return {p[0].text(), p[1]}; }
      Iterator& operator++() {
        p += 2;
        return *this;
      }
      bool operator==(const Iterator&) const = default;
    };
    Iterator first, last;
    Iterator begin() const { return first; }
    Iterator end() const { return last; }
  };
  Members members(std::string_view where) const {
    if (!is_object()) wrong(where, "an object");
    return {{children()}, {children() + 2 * size()}};
  }
  // The member of that name or nullptr (also when this is no object). A linear search: to read a large object,
  // walk over members().
  const Json* find(std::string_view key) const noexcept {
    if (!is_object()) return nullptr;
    const Json* p = children();
    for (std::size_t i = 0; i < size(); ++i, p += 2)
      if (p->text() == key) return p + 1;
    return nullptr;
  }
  Json* find(std::string_view key) noexcept { return const_cast<Json*>(std::as_const(*this).find(key)); }
  bool contains(std::string_view key) const noexcept { return find(key) != nullptr; }
  const Json& at(std::string_view key, std::string_view where = "json") const {
    if (!is_object()) wrong(where, "an object");
    if (const Json* v = find(key)) return *v;
    fail(ErrorKind::input, "json.key", where, ": wanted the key \"", printable(key), "\", it is not there");
  }
  const Json& at(const char* key, std::string_view where = "json") const { return at(std::string_view(key), where); }

  // Building. A null value becomes an array or an object on first use.
  Json& push_back(Json value) {
    become(Type::array);
    return *new (room(1)) Json(std::move(value));
  }
  // Replaces the value of an existing key in its place.
  Json& set(std::string_view key, Json value) {
    become(Type::object);
    if (Json* old = find(key)) return *old = std::move(value);
    return add(key, std::move(value));
  }
  // Like set without the search; the key must be new. For large objects.
  Json& add(std::string_view key, Json value) {
    become(Type::object);
    Json name(key);
    Json* slot = room(2);
    new (slot) Json(std::move(name));
    return *new (slot + 1) Json(std::move(value));
  }
  bool erase(std::string_view key) {
    Json* v = find(key);
    if (!v) return false;
    Json* end = children() + 2 * size();
    for (Json* p = v - 1; p + 2 < end; ++p) p->swap(p[2]);
    end[-1].~Json();
    end[-2].~Json();
    if (raw_[1] == 0) raw_[1] = capacity_code(size());  // an exact block: its capacity was its size
    set_size(stored_size() - 1);
    return true;
  }

  // Same type and value; objects also in the same order of keys. 1 and 1.0 differ.
  friend bool operator==(const Json& a, const Json& b) {
    std::vector<std::pair<const Json*, const Json*>> todo{{&a, &b}};
    while (!todo.empty()) {
      auto [x, y] = todo.back();
      todo.pop_back();
      if (x->type() != y->type()) return false;
      if (x->is_string()) {
        if (x->text() != y->text()) return false;
      } else if (x->is_array() || x->is_object()) {
        if (x->size() != y->size()) return false;
        for (std::size_t i = 0; i < x->child_count(); ++i) todo.push_back({x->children() + i, y->children() + i});
      } else if (x->type() == Type::number) {
        if (!(x->payload<double>() <= y->payload<double>() && x->payload<double>() >= y->payload<double>())) return false;
      } else if (x->payload<std::uint64_t>() != y->payload<std::uint64_t>()) {
        return false;
      }
    }
    return true;
  }

 private:
  friend class JsonBuilder;
  friend std::string dump(const Json&, int);

  // [0] type, [1] see below, [4..7] size, [8..15] scalar or pointer; a short string has its bytes in [2..15].
  // [1]: of a string its length, or long_string; of a container 0 (capacity == size) or 1 + log2(capacity).
  static constexpr std::size_t inline_capacity = 14;
  static constexpr unsigned char long_string = 255;
  alignas(8) unsigned char raw_[16];

  template <class T>
  T payload() const noexcept {
    static_assert(sizeof(T) == 8);
    T x;
    std::memcpy(&x, raw_ + 8, 8);
    return x;
  }
  template <class T>
  void set_payload(T x) noexcept {
    static_assert(sizeof(T) == 8);
    std::memcpy(raw_ + 8, &x, 8);
  }
  std::uint32_t stored_size() const noexcept {
    std::uint32_t n;
    std::memcpy(&n, raw_ + 4, 4);
    return n;
  }
  void set_size(std::uint32_t n) noexcept { std::memcpy(raw_ + 4, &n, 4); }
  void reset() noexcept { std::memset(raw_, 0, sizeof raw_); }
  void scalar(Type t, std::uint64_t bits) noexcept {
    reset();
    raw_[0] = static_cast<unsigned char>(t);
    set_payload(bits);
  }
  std::string_view text() const noexcept {
    if (raw_[1] == long_string) return {payload<const char*>(), stored_size()};
    return {reinterpret_cast<const char*>(raw_ + 2), raw_[1]};
  }
  bool is_container() const noexcept { return is_array() || is_object(); }
  std::size_t stride() const noexcept { return is_object() ? 2 : 1; }
  std::size_t child_count() const noexcept { return size() * stride(); }
  Json* children() noexcept { return payload<Json*>(); }
  const Json* children() const noexcept { return payload<const Json*>(); }
  std::size_t capacity() const noexcept { return raw_[1] == 0 ? size() : std::size_t{1} << (raw_[1] - 1); }
  // A block may be larger than its code says: blocks are freed without their size.
  static unsigned char capacity_code(std::size_t n) { return static_cast<unsigned char>(std::bit_width(n)); }

  void become(Type t) {
    if (is_null()) raw_[0] = static_cast<unsigned char>(t);
    if (type() != t)
      fail(ErrorKind::internal, "json.build", "json: wanted ", t == Type::array ? "an array" : "an object", ", this is ", describe());
  }
  // Room for one more element (count 1) or member (count 2); the caller constructs there and cannot throw.
  Json* room(std::size_t count) {
    std::size_t n = size();
    if (n == capacity()) {
      std::size_t wanted = std::bit_ceil(std::max<std::size_t>(n + 1, 4));
      if (wanted > (std::size_t{1} << 30)) fail(ErrorKind::limit, "json.size", "json: more than 2^30 elements");
      auto* block = static_cast<Json*>(::operator new(wanted * count * sizeof(Json)));
      if (n) std::memcpy(static_cast<void*>(block), static_cast<const void*>(children()), n * count * sizeof(Json));
      if (children()) ::operator delete(static_cast<void*>(children()));
      set_payload(block);
      raw_[1] = capacity_code(wanted);
    }
    set_size(static_cast<std::uint32_t>(n + 1));
    return children() + n * count;
  }

  void copy_from(const Json& other) {
    std::vector<std::pair<Json*, const Json*>> todo{{this, &other}};
    while (!todo.empty()) {
      auto [to, from] = todo.back();
      todo.pop_back();
      if (from->is_string()) {
        *to = Json(from->text());
      } else if (!from->is_container()) {
        std::memcpy(to->raw_, from->raw_, sizeof raw_);
      } else {
        to->raw_[0] = from->raw_[0];
        std::size_t n = from->child_count();
        if (n == 0) continue;
        to->set_payload(static_cast<Json*>(::operator new(n * sizeof(Json))));
        for (std::size_t i = 0; i < n; ++i) new (to->children() + i) Json();
        to->set_size(from->stored_size());
        for (std::size_t i = 0; i < n; ++i) todo.push_back({to->children() + i, from->children() + i});
      }
    }
  }

  // Frees without recursion and without memory: on the way down a container's last slot holds the way back up.
  void destroy() noexcept {
    if (is_string() && raw_[1] == long_string) ::operator delete(payload<void*>());
    if (!is_container()) return;
    Json *block = children(), *up = nullptr;
    std::size_t left = child_count(), up_left = 0;  // children not yet freed
    for (;;) {
      if (left != 0) {
        Json& last = block[left - 1];
        if (last.is_container() && last.children()) {
          Json* down = last.children();
          std::size_t down_left = last.child_count();
          last.set_payload(up);
          last.set_size(static_cast<std::uint32_t>(up_left));
          up = block;
          up_left = left;
          block = down;
          left = down_left;
        } else {
          if (last.is_string() && last.raw_[1] == long_string) ::operator delete(last.payload<void*>());
          --left;
        }
        continue;
      }
      ::operator delete(static_cast<void*>(block));
      if (!up) return;
      block = up;
      left = up_left;
      up = block[left - 1].children();
      up_left = block[left - 1].stored_size();
      --left;
    }
  }

  [[noreturn]] void wrong(std::string_view where, std::string_view wanted) const {
    fail(ErrorKind::input, "json.type", where, ": wanted ", wanted, ", got ", describe());
  }
};
static_assert(sizeof(Json) == 16);

struct JsonLimits {
  std::size_t bytes = std::size_t{1} << 30;
  std::size_t depth = 64;
};

// Builds values from the events of nlohmann's parser. Unfinished containers share one stack; each gets a block of
// its exact size when it ends.
class JsonBuilder {
 public:
  // position: the byte offset just behind the current token. Without a catch here: errors leave through the parser.
  JsonBuilder(std::string_view text, std::string_view where, JsonLimits limits, const char* const& position)
      : text_(text), where_(where), limits_(limits), position_(position) {}

  bool null() { return push(Json()); }
  bool boolean(bool x) { return push(Json(x)); }
  bool number_integer(std::int64_t x) { return push(Json(x)); }
  bool number_unsigned(std::uint64_t x) { return push(Json(x)); }
  bool number_float(double x, const std::string&) { return push(Json(x)); }
  bool string(std::string& x) { return push(Json(std::string_view(x))); }
  bool binary(nlohmann::json::binary_t&) { return false; }
  bool key(std::string& x) {
    key_offsets_.push_back(static_cast<std::uint32_t>(offset()));
    return push(Json(std::string_view(x)));
  }
  bool start_object(std::size_t) { return open(); }
  bool start_array(std::size_t) { return open(); }
  bool end_array() { return close(Json::Type::array); }
  bool end_object() { return close(Json::Type::object); }
  bool parse_error(std::size_t at, const std::string&, const nlohmann::json::exception& e) {
    std::string_view reason = e.what();
    for (std::string_view cut : {"] ", "column ", ": "})
      if (std::size_t i = reason.find(cut); i != reason.npos) reason.remove_prefix(i + cut.size());
    error("json.syntax", at == 0 ? 0 : at - 1, reason);
    return false;
  }
  [[noreturn]] void error(const char* id, std::size_t at, std::string_view reason) const {
    at = std::min(at, text_.size());
    auto line = 1 + std::count(text_.begin(), text_.begin() + static_cast<std::ptrdiff_t>(at), '\n');
    std::size_t start = text_.substr(0, at).rfind('\n');
    std::size_t column = at - (start == text_.npos ? 0 : start + 1) + 1;
    fail(ErrorKind::input, id, printable(where_, 4096), ": line ", line, ", column ", column, " (byte ", at,
         "): ", printable(reason, 240));
  }
  Json take() { return std::move(stack_.back()); }

 private:
  std::string_view text_, where_;
  JsonLimits limits_;
  const char* const& position_;
  std::deque<Json> stack_;                  // a deque: growing copies nothing and popping gives memory back
  std::deque<std::uint32_t> key_offsets_;   // of the keys on the stack
  std::vector<std::size_t> open_;           // stack heights at which the open containers start

  std::size_t offset() const { return static_cast<std::size_t>(position_ - text_.data()); }
  bool push(Json value) {
    stack_.push_back(std::move(value));
    return true;
  }
  bool open() {
    if (open_.size() >= limits_.depth)
      error("json.depth", offset() - 1, str("nested deeper than ", limits_.depth, " levels; flatten the file"));
    open_.push_back(stack_.size());
    return true;
  }
  bool close(Json::Type type) {
    std::size_t n = stack_.size() - open_.back();
    open_.pop_back();
    Json value;
    value.raw_[0] = static_cast<unsigned char>(type);
    if (n != 0) {
      if (type == Json::Type::object) refuse_duplicates(n / 2);
      auto* block = static_cast<Json*>(::operator new(n * sizeof(Json)));
      for (std::size_t i = n; i-- > 0;) {
        new (block + i) Json(std::move(stack_.back()));
        stack_.pop_back();
      }
      value.set_payload(block);
      value.set_size(static_cast<std::uint32_t>(type == Json::Type::object ? n / 2 : n));
    }
    return push(std::move(value));
  }
  // The last n keys of the stack are those of the object that ends.
  void refuse_duplicates(std::size_t n) {
    std::size_t first = stack_.size() - 2 * n, first_offset = key_offsets_.size() - n;
    auto name = [&](std::size_t i) { return stack_[first + 2 * i].text(); };
    auto refuse = [&](std::size_t a, std::size_t b) {
      error("json.duplicate", key_offsets_[first_offset + std::max(a, b)] - 1,
            str("the key \"", name(a), "\" was there before; keep one of the two"));
    };
    if (n <= 8) {
      for (std::size_t i = 1; i < n; ++i)
        for (std::size_t k = 0; k < i; ++k)
          if (name(i) == name(k)) refuse(k, i);
    } else {
      std::vector<std::uint32_t> order(n);
      for (std::size_t i = 0; i < n; ++i) order[i] = static_cast<std::uint32_t>(i);
      std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) { return name(a) < name(b); });
      for (std::size_t i = 1; i < n; ++i)
        if (name(order[i]) == name(order[i - 1])) refuse(order[i - 1], order[i]);
    }
    key_offsets_.resize(first_offset);
  }
};

namespace detail {
// Walks over the text and lets the builder see where the parser is.
struct JsonCursor {
  using iterator_category = std::forward_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;
  const char** at = nullptr;
  const char* end = nullptr;
  reference operator*() const { return **at; }
  JsonCursor& operator++() {
    ++*at;
    return *this;
  }
  JsonCursor operator++(int) { return ++*this; }
  const char* place() const { return at ? *at : end; }
  friend bool operator==(const JsonCursor& a, const JsonCursor& b) { return a.place() == b.place(); }
  friend bool operator!=(const JsonCursor& a, const JsonCursor& b) { return !(a == b); }
};
}  // namespace detail

// One JSON value that is the whole text. where names the file (and line) in errors, all of kind input.
inline Json parse_json(std::string_view text, std::string_view where, JsonLimits limits = {}) {
  limits.bytes = std::min<std::size_t>(limits.bytes, UINT32_MAX - 1);
  if (text.size() > limits.bytes)
    fail(ErrorKind::input, "json.size", printable(where, 4096), ": at most ", limits.bytes, " bytes of JSON are read here, got ",
         text.size());
  const char* position = text.data();
  JsonBuilder builder(text, where, limits, position);
  if (std::string_view kind = kind_of(text.substr(0, 1024)); !kind.empty())
    fail(ErrorKind::input, "json.kind", printable(where, 4096), ": wanted JSON, this looks like ", kind);
  // nlohmann takes a NUL for the end of the text and would pass over what follows.
  if (std::size_t nul = text.find('\0'); nul != text.npos) builder.error("json.syntax", nul, "a NUL byte");
  if (text.empty()) builder.error("json.syntax", 0, "wanted a JSON value, the text is empty");
  detail::JsonCursor first{&position, nullptr}, last{nullptr, text.data() + text.size()};
  if (!nlohmann::json::sax_parse(first, last, &builder, nlohmann::json::input_format_t::json, true, false))
    builder.error("json.syntax", static_cast<std::size_t>(position - text.data()), "not JSON");
  return builder.take();
}

// One value a line; blank lines are passed over.
inline std::vector<Json> parse_json_lines(std::string_view text, std::string_view where) {
  std::vector<Json> values;
  std::int64_t line = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    ++line;
    if (text.substr(at, end - at).find_first_not_of(" \t\r") != text.npos) values.push_back(parse_json(text.substr(at, end - at), str(where, ":", line)));
    at = end + 1;
  }
  return values;
}

namespace detail {
inline void append_json_string(std::string& out, std::string_view text) {
  static constexpr char hex[] = "0123456789abcdef";
  out += '"';
  for (std::size_t i = 0; i < text.size();) {
    char c = text[i];
    auto u = static_cast<unsigned char>(c);
    if (u >= 0x80) {
      std::size_t n = utf8_length(text.substr(i));
      n ? out.append(text, i, n) : out.append("\xef\xbf\xbd");
      i += n ? n : 1;
      continue;
    }
    ++i;
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      default:
        if (u < 0x20 || u == 0x7f) {
          out += "\\u00";
          out += hex[u >> 4];
          out += hex[u & 15];
        } else {
          out += c;
        }
    }
  }
  out += '"';
}
}  // namespace detail

// JSON text: one line, or with indent > 0 one element a line. Doubles as the shortest text that reads back to the
// same bits, always with a point or an exponent; integers as integers. NaN and infinity are refused (kind
// numerics); bytes of a string that are no UTF-8 become U+FFFD, so that what is written can be read.
inline std::string dump(const Json& json, int indent = 0) {
  std::string out;
  struct Level {
    const Json* container;
    std::size_t next;
  };
  std::vector<Level> levels;
  auto line = [&] {
    if (indent > 0) out.append(1, '\n').append(levels.size() * static_cast<std::size_t>(indent), ' ');
  };
  const Json* value = &json;
  for (;;) {
    switch (value->type()) {
      case Json::Type::null: out += "null"; break;
      case Json::Type::boolean: out += value->payload<std::uint64_t>() ? "true" : "false"; break;
      case Json::Type::integer: out += str(value->payload<std::int64_t>()); break;
      case Json::Type::unsigned_integer: out += str(value->payload<std::uint64_t>()); break;
      case Json::Type::number: {
        double x = value->payload<double>();
        if (!std::isfinite(x))
          fail(ErrorKind::numerics, "json.nan", "json: wanted a finite number, got ", x, "; write null instead");
        std::string digits = str(x);
        out += digits;
        if (digits.find_first_of(".e") == digits.npos) out += ".0";
        break;
      }
      case Json::Type::string: detail::append_json_string(out, value->text()); break;
      case Json::Type::array:
      case Json::Type::object:
        out += value->is_array() ? '[' : '{';
        if (value->size() != 0) {
          levels.push_back({value, 0});
        } else {
          out += value->is_array() ? ']' : '}';
        }
        break;
    }
    for (;;) {
      if (levels.empty()) return out;
      auto& [container, next] = levels.back();
      if (next < container->size()) break;
      char end = container->is_array() ? ']' : '}';
      levels.pop_back();
      line();
      out += end;
    }
    auto& [container, next] = levels.back();
    if (next != 0) out += indent > 0 ? "," : ", ";
    line();
    value = container->children() + next * container->stride();
    if (container->is_object()) {
      detail::append_json_string(out, value->text());
      out += ": ";
      ++value;
    }
    ++next;
  }
}

inline std::string Json::describe() const {
  switch (type()) {
    case Type::null: return "null";
    case Type::boolean: return payload<std::uint64_t>() ? "true" : "false";
    case Type::integer: return str(payload<std::int64_t>());
    case Type::unsigned_integer: return str(payload<std::uint64_t>());
    case Type::number: return str("the number ", payload<double>());
    case Type::string: return str("the string \"", printable(text(), 60), "\"");
    case Type::array: return str("an array of ", size());
    case Type::object: return str("an object of ", size());
  }
  return "?";
}

}  // namespace bam::io

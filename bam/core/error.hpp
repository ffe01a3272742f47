// The one exception type of bam, and the few words that build its messages.
// A message says where, what was wanted, what came and what to do: "norm: w has 512 columns, x has 768".
#pragma once
#include <charconv>
#include <concepts>
#include <exception>
#include <string>
#include <string_view>

namespace bam {

// The value is the exit code of the command line (docs/formats.md, section 5).
enum class ErrorKind {
  internal = 1,  // our own bug
  usage = 2,     // a flag, or an argument of a function
  input = 3,     // a file, data, config or model
  limit = 4,     // memory, an absent device
  io = 5,        // disk full, permission
  numerics = 6,  // NaN, divergence, a failed identity check
  locked = 7,    // output in use by a live run
};

class Error : public std::exception {
 public:
  // id: stable, dotted, lower case, e.g. "safetensors.range"; message: where: what was wanted, what came; what to do.
  Error(ErrorKind kind, std::string id, std::string message)
      : kind_(kind), id_(std::move(id)), message_(std::move(message)) {}
  const char* what() const noexcept override { return message_.c_str(); }
  ErrorKind kind() const noexcept { return kind_; }
  const std::string& id() const noexcept { return id_; }

 private:
  ErrorKind kind_;
  std::string id_, message_;
};

namespace detail {
inline void append(std::string& s, std::string_view x) { s += x; }
inline void append(std::string& s, char x) { s += x; }
template <class T>
  requires std::integral<T> || std::floating_point<T>
void append(std::string& s, T x) {
  if constexpr (std::same_as<T, bool>) {
    s += x ? "true" : "false";
  } else {
    char buffer[64];
    auto r = std::to_chars(buffer, buffer + sizeof buffer, x);
    s.append(buffer, r.ptr);
  }
}
}  // namespace detail

// Text of all arguments in a row. Not fmt: headers that a .cu may reach include none (fmt 9 does not compile there).
template <class... Args>
std::string str(const Args&... args) {
  std::string s;
  (detail::append(s, args), ...);
  return s;
}

// Escapes control bytes and invalid UTF-8, so that text from a file cannot drive a terminal.
inline std::string printable(std::string_view text, std::size_t limit = 200) {
  static constexpr char hex[] = "0123456789abcdef";
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (out.size() >= limit) return out + "...";
    auto c = static_cast<unsigned char>(text[i]);
    if (c >= 0x20 && c < 0x7f && c != '\\') {
      out += static_cast<char>(c);
      continue;
    }
    std::size_t n = c >= 0xf0 && c < 0xf5 ? 4 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xc2 && c < 0xe0 ? 2 : 0;
    bool whole = n != 0 && i + n <= text.size() && !(c == 0xc2 && static_cast<unsigned char>(text[i + 1]) < 0xa0);  // those are control characters
    for (std::size_t k = 1; whole && k < n; ++k) whole = (static_cast<unsigned char>(text[i + k]) & 0xc0) == 0x80;
    if (whole) {
      out.append(text, i, n);
      i += n - 1;
    } else {
      out += "\\x";
      out += hex[c >> 4];
      out += hex[c & 15];
    }
  }
  return out;
}

template <class... Args>
[[noreturn]] void fail(ErrorKind kind, const char* id, const Args&... args) {
  throw Error(kind, id, str(args...));
}

// Always on. For arguments of public functions; the text is built only when the check fails.
template <class... Args>
void check(bool ok, const char* id, const Args&... args) {
  if (!ok) [[unlikely]] fail(ErrorKind::usage, id, args...);
}

}  // namespace bam

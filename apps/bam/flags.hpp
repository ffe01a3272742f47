// Strict flags: a number is the whole text, finite and in range, or the error shows the text.
#pragma once
#include <CLI/CLI.hpp>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bam/core/error.hpp"
#include "bam/io/json.hpp"
#include "verbs.hpp"

namespace bam::app {

template <std::integral T>
T parse_integer(std::string_view flag, std::string_view text, T min, T max) {
  T x{};
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), x);
  if (error != std::errc() || end != text.data() + text.size() || x < min || x > max)
    fail(ErrorKind::usage, "flag.value", flag, ": wanted an integer from ", min, " to ", max, ", got '", printable(text, 100), "'");
  return x;
}

inline double parse_real(std::string_view flag, std::string_view text, double min, double max) {
  double x{};
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), x);
  if (error != std::errc() || end != text.data() + text.size() || !(x >= min && x <= max))
    fail(ErrorKind::usage, "flag.value", flag, ": wanted a number from ", min, " to ", max, ", got '", printable(text, 100), "'");
  return x;
}

// The variable must outlive the parse. Its value stays when the flag is absent.
template <std::integral T>
CLI::Option* integer_flag(CLI::App& app, const std::string& flag, T& value, T min, T max, const std::string& help) {
  return app.add_option_function<std::string>(
      flag, [&value, flag, min, max](const std::string& text) { value = parse_integer<T>(flag, text, min, max); }, help)
      ->type_name("N");
}
template <std::integral T>
CLI::Option* integer_flag(CLI::App& app, const std::string& flag, std::optional<T>& value, T min, T max, const std::string& help) {
  return app.add_option_function<std::string>(
      flag, [&value, flag, min, max](const std::string& text) { value = parse_integer<T>(flag, text, min, max); }, help)
      ->type_name("N");
}
inline CLI::Option* real_flag(CLI::App& app, const std::string& flag, double& value, double min, double max, const std::string& help) {
  return app.add_option_function<std::string>(
      flag, [&value, flag, min, max](const std::string& text) { value = parse_real(flag, text, min, max); }, help)
      ->type_name("X");
}
// One of a few words.
inline CLI::Option* choice_flag(CLI::App& app, const std::string& flag, std::string& value, std::vector<std::string> words,
                                const std::string& help) {
  std::string type;
  for (const std::string& w : words) type += (type.empty() ? "" : "|") + w;
  return app.add_option_function<std::string>(
      flag,
      [&value, flag, words = std::move(words), type](const std::string& text) {
        for (const std::string& w : words)
          if (w == text) return void(value = text);
        fail(ErrorKind::usage, "flag.value", flag, ": wanted ", type, ", got '", printable(text, 100), "'");
      },
      help)->type_name(type);
}

// NAME=PATH, or PATH alone, which is its own name.
inline std::pair<std::string, std::string> named(const std::string& text) {
  auto eq = text.find('=');
  return eq == text.npos || eq == 0 ? std::pair{text, text} : std::pair{text.substr(0, eq), text.substr(eq + 1)};
}

// "key=value" of --set: the value as JSON where it is JSON, else as a string.
inline std::pair<std::string, io::Json> parse_set(std::string_view text) {
  std::size_t eq = text.find('=');
  if (eq == text.npos || eq == 0)
    fail(ErrorKind::usage, "flag.value", "--set: wanted key=value, got '", printable(text, 100), "'");
  std::string_view value = text.substr(eq + 1);
  std::pair<std::string, io::Json> result{text.substr(0, eq), io::Json(value)};
  try {
    result.second = io::parse_json(value, "--set");
  } catch (const Error&) {
  }
  return result;
}

}  // namespace bam::app

// The JSON reader and writer: what is refused, where the error points, round trips, memory.
#include "bam/io/json.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <cstdlib>
#include <malloc.h>
#include <random>

namespace bam::io_json_test {

using bam::Error;
using bam::ErrorKind;
using bam::io::dump;
using bam::io::Json;
using bam::io::JsonLimits;
using bam::io::parse_json;

namespace {
// The message of the error, with its id in front; "" when nothing is thrown.
std::string error_of(std::string_view text, JsonLimits limits = {}) {
  try {
    parse_json(text, "f.json", limits);
  } catch (const Error& e) {
    CHECK(e.kind() == ErrorKind::input);
    return e.id() + "|" + e.what();
  }
  return "";
}
bool has(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }
std::string repeat(std::string_view s, std::size_t n) {
  std::string out;
  for (std::size_t i = 0; i < n; ++i) out += s;
  return out;
}
}  // namespace

TEST_CASE("json: values and getters") {
  Json j = parse_json(R"({"z": 1, "a": [null, true, false, -5, 18446744073709551615, 2.5, "x"], "s": "a string of many bytes"})", "f");
  CHECK(j.size() == 3);
  CHECK(j.at("z").as_int("z") == 1);
  CHECK(j.at("z").as_double("z") == 1.0);
  CHECK(j.at("s").as_string("s") == "a string of many bytes");
  const Json& a = j.at("a");
  CHECK(a.at(0).is_null());
  CHECK(a.at(1).as_bool("x"));
  CHECK_FALSE(a.at(2).as_bool("x"));
  CHECK(a.at(3).as_int("x", -5, -5) == -5);
  CHECK(a.at(4).as_uint("x") == UINT64_MAX);
  CHECK(a.at(5).as_double("x") == 2.5);
  CHECK(a.at(6).as_string("x") == "x");
  std::string keys;
  for (auto [key, value] : j.members("f")) keys += key;
  CHECK(keys == "zas");
  CHECK(j.find("q") == nullptr);
  CHECK(a.find("q") == nullptr);
}

TEST_CASE("json: getters refuse the wrong type and range, and say which") {
  auto message = [](auto f) -> std::string {
    try {
      f();
    } catch (const Error& e) {
      return e.id() + "|" + e.what();
    }
    return "";
  };
  Json j = parse_json(R"({"a": "32", "b": 32.0, "c": true, "d": -32, "e": 9223372036854775808, "f": null, "g": "\u001b[2J"})", "f");
  CHECK(message([&] { j.at("a").as_int("config.json: hidden_size"); }) ==
        "json.type|config.json: hidden_size: wanted an integer, got the string \"32\"");
  CHECK(has(message([&] { j.at("b").as_int("x"); }), "json.type|x"));
  CHECK(has(message([&] { j.at("c").as_int("x"); }), "got true"));
  CHECK(has(message([&] { j.at("d").as_int("x", 1, 10); }), "json.range|x: wanted an integer from 1 to 10, got -32"));
  CHECK(has(message([&] { j.at("d").as_uint("x"); }), "json.range"));
  CHECK(has(message([&] { j.at("e").as_int("x"); }), "json.range"));
  CHECK(has(message([&] { j.at("f").as_string("x"); }), "wanted a string, got null"));
  CHECK(has(message([&] { j.at("f").as_double("x"); }), "wanted a number"));
  CHECK(has(message([&] { j.at("a").as_bool("x"); }), "json.type"));
  CHECK(has(message([&] { j.at("a").at("b", "f.json"); }), "f.json: wanted an object"));
  CHECK(has(message([&] { j.at("no", "f.json"); }), "json.key|f.json: wanted the key \"no\""));
  CHECK(has(message([&] { j.items("x"); }), "wanted an array, got an object of 7"));
  CHECK(has(message([&] { j.at("g").as_int("x"); }), "\\x1b[2J"));
  CHECK(has(message([&] { j.at("a").members("x"); }), "wanted an object"));
  CHECK(has(message([&] { Json::array({1}).at(1); }), "json.index"));
}

TEST_CASE("json: what is not JSON is refused with its place") {
  for (const char* bad : {"", " ", "{", "[", "[1", "[1,", "[1,]", "{\"a\"", "{\"a\":", "{\"a\":1", "{\"a\":1,", "{\"a\":1,}", "{a:1}",
                          "nul", "truee", "NaN", "[NaN]", "Infinity", "-Infinity", "1e400", "01", "+1", "1.", ".5", "0x10", "'a'",
                          "\"a", "\"\\x\"", "\"\\u12\"", "\"\\ud800\"", "\"\\udc00\"", "\"\\ud800\\u0041\"", "\"\t\"", "\"\n\"",
                          "/* c */ 1", "1 // c", "# c\n1", "1 2", "{} x", "[]]", "{}}", "[1}", "{\"a\":1]", "\"\xff\"", "\"\xc0\x80\"",
                          "\"\xed\xa0\x80\"", "\"\xf5\x80\x80\x80\"", "\"\xe2\x82\"", "\xef\xbb\xbf{}", "[1 2]", "{1:2}", ","}) {
    CAPTURE(bad);
    CHECK_FALSE(error_of(bad).empty());
  }
  CHECK(has(error_of("{\n \"a\": NaN}"), "json.syntax|f.json: line 2, column 7"));
  CHECK(has(error_of("[1, 2] x"), "(byte 7)"));
  CHECK(has(error_of(std::string_view("{}\0{}", 5)), "byte 2): a NUL byte"));
  CHECK(has(error_of(std::string_view("\"a\0\"", 4)), "NUL"));
  CHECK(has(error_of("\"" + std::string("\x1b") + "[31m\""), "\\x1b") == false);  // the library shows it as <U+001B>
  CHECK(has(error_of("<!DOCTYPE html>"), "HTML"));
  CHECK(has(error_of("version https://git-lfs.github.com/spec/v1"), "git-lfs"));
  CHECK(has(error_of("\x1f\x8b\x08"), "gzip"));
  CHECK(has(error_of(std::string("PAR1\x15\x04\0", 7)), "Parquet"));
  CHECK(has(error_of(std::string_view("\xff\xfe{\0", 4)), "UTF-16"));
  CHECK(error_of("\"" + std::string(1 << 20, 'a')).size() < 500);
}

TEST_CASE("json: every truncation of a document is refused") {
  std::string text = R"({"a":[1,-2.5e3,true,null],"b":{"c":"\u00e9\n\ud83d\ude00"},"d":"é"})";
  CHECK(error_of(text).empty());
  for (std::size_t n = 0; n < text.size(); ++n) {
    CAPTURE(n);
    CHECK_FALSE(error_of(text.substr(0, n)).empty());
  }
}

TEST_CASE("json: duplicate keys are refused, also when spelt differently") {
  CHECK(has(error_of("{\"a\":1,\n\"b\":2,\n\"a\":3}"), "json.duplicate|f.json: line 3, column 3"));
  CHECK(has(error_of(R"({"ab":1,"\u0061b":2})"), "\"ab\" was there before"));
  CHECK(has(error_of(R"({"x":{"q":[{"a":1,"a":1}]}})"), "json.duplicate"));
  CHECK(has(error_of(R"({"\u001b":1,"\u001b":2})"), "\\x1b"));
  CHECK(error_of(R"({"a":{"a":1},"b":{"a":1}})").empty());
  std::string many = "{";
  for (int i = 0; i < 1000; ++i) many += bam::str("\"key", i, "\":", i, ",\n");
  CHECK(error_of(many + "\"key\":0}").empty());
  CHECK(has(error_of(many + "\"key500\":0}"), "json.duplicate|f.json: line 1001,"));
}

TEST_CASE("json: depth and size have limits") {
  auto nested = [](std::size_t n) { return std::string(n, '[') + std::string(n, ']'); };
  CHECK(error_of(nested(64)).empty());
  CHECK(has(error_of(nested(65)), "json.depth|f.json: line 1, column 65 (byte 64)"));
  CHECK(has(error_of(std::string(1 << 20, '[')), "json.depth"));
  CHECK(has(error_of(repeat("{\"a\":", 100000)), "json.depth"));
  CHECK(has(error_of("[1,2,3]", {.bytes = 6}), "json.size"));
  CHECK(error_of("[1,2,3]", {.bytes = 7}).empty());
}

TEST_CASE("json: a deep value is copied, compared, written and freed without recursion") {
  Json deep;
  for (int i = 0; i < 300000; ++i) {
    Json outer = Json::array({i});
    outer.push_back(std::move(deep));
    outer.push_back("a string that is not stored inside");
    deep = std::move(outer);
  }
  Json copy = deep;
  CHECK(copy == deep);
  CHECK(dump(copy).size() > 300000u * 30);
}

TEST_CASE("json: memory for hostile input stays within 16 n + 16 MiB") {
  const std::size_t n = 4 << 20;
  std::string keys = "{";
  for (std::size_t i = 0; keys.size() < n; ++i) keys += bam::str(i ? "," : "", "\"", i, "\":0");
  keys += "}";
  std::vector<std::string> hostile{
      "[" + repeat("0,", n / 2) + "0]",         "[" + repeat("[],", n / 3) + "0]",   "[" + repeat("[0],", n / 4) + "0]",
      "[" + repeat("{\"\":0},", n / 7) + "0]",  "\"" + std::string(n, 'a') + "\"",   "[" + repeat("\"aaaaaaaaaaaaaaa\",", n / 18) + "0]",
      "[" + repeat("[[0]],", n / 6) + "0]",     "\"" + repeat("\\n", n / 2) + "\"",  std::move(keys)};
  for (const std::string& text : hostile) {
    CAPTURE(text.substr(0, 30));
    malloc_trim(0);
    auto used = [] {
      auto m = mallinfo2();
      return m.uordblks + m.hblkhd;
    };
    std::size_t before = used();
    if (before == 0) return;  // under a sanitizer's allocator, which reports nothing
    Json j = parse_json(text, "f");
    CHECK(used() - before <= 16 * text.size() + (16u << 20));
    CHECK(used() - before > 0);
  }
}

TEST_CASE("json: writing") {
  Json j = Json::object({{"i", 1}, {"d", 1.0}, {"s", "a\"\\\n\x01"}, {"n", nullptr}, {"b", true}, {"u", UINT64_MAX}});
  j.set("list", Json::array({1, 2.5, "x"}));
  j.set("empty", Json::array());
  j.set("none", Json::object());
  CHECK(dump(j) == R"({"i": 1, "d": 1.0, "s": "a\"\\\n\u0001", "n": null, "b": true, "u": 18446744073709551615, )"
                   R"("list": [1, 2.5, "x"], "empty": [], "none": {}})");
  CHECK(dump(Json::object({{"a", Json::array({1, Json::object({{"b", 2}})})}}), 2) ==
        "{\n  \"a\": [\n    1,\n    {\n      \"b\": 2\n    }\n  ]\n}");
  j.set("i", 2);
  CHECK(j.at("i").as_int("i") == 2);
  CHECK(j.size() == 9);
  CHECK(dump(Json("\xff ok \xed\xa0\x80")) == "\"\xef\xbf\xbd ok \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
  CHECK(dump(Json::array_of(std::vector<std::int64_t>{3, 4})) == "[3, 4]");
  CHECK(dump(Json(1e20)) == "1e+20");
  CHECK(dump(Json(-0.0)) == "-0.0");
  CHECK_THROWS_AS(dump(Json(std::nan(""))), Error);
  CHECK_THROWS_AS(dump(Json::array({INFINITY})), Error);
  CHECK_THROWS_AS(Json(1).push_back(2), Error);
  CHECK_THROWS_AS(Json::array().set("a", 2), Error);
}

TEST_CASE("json: erase keeps the other members and their order") {
  Json j = parse_json(R"({"a":1,"b":"a string that is not stored inside","c":3,"d":4})", "f");
  CHECK(j.erase("b"));
  CHECK_FALSE(j.erase("b"));
  CHECK(dump(j) == R"({"a": 1, "c": 3, "d": 4})");
  for (int i = 0; i < 20; ++i) j.add(bam::str("x", i), i);
  CHECK(j.size() == 23);
  CHECK(j.erase("a"));
  CHECK(j.erase("x19"));
  CHECK(j.at("d").as_int("d") == 4);
  CHECK(j.at("x18").as_int("x") == 18);
}

TEST_CASE("json: doubles read back to the same bits") {
  std::mt19937_64 random(1);
  for (int i = 0; i < 20000; ++i) {
    double x = std::bit_cast<double>(random());
    if (!std::isfinite(x)) continue;
    Json back = parse_json(dump(Json(x)), "f");
    REQUIRE(back.type() == Json::Type::number);
    REQUIRE(std::bit_cast<std::uint64_t>(back.as_double("x")) == std::bit_cast<std::uint64_t>(x));
  }
  for (std::int64_t x : {INT64_MIN, INT64_MAX, std::int64_t{0}}) CHECK(parse_json(dump(Json(x)), "f").as_int("x") == x);
}

TEST_CASE("json: random values read back equal") {
  std::mt19937_64 random(2);
  for (int round = 0; round < 300; ++round) {
    Json root = Json::object();
    std::vector<Json*> open{&root};
    for (int i = 0; i < 40; ++i) {
      Json value;
      switch (random() % 6) {
        case 0: value = static_cast<std::int64_t>(random()); break;
        case 1: value = std::string(random() % 40, static_cast<char>(random() % 128)); break;
        case 2: value = 0.5 * static_cast<double>(random() % 1000); break;
        case 3: value = Json::array({1, "two", nullptr}); break;
        case 4: value = Json::object({{"k", 1}}); break;
        default: value = random() % 2 == 0; break;
      }
      if (round % 2) {
        root.set(bam::str("k", random() % 50), std::move(value));
      } else {
        root.set(bam::str("k", i), Json::array({value, root}));
        if (i == 6) break;
      }
    }
    REQUIRE(parse_json(dump(root, round % 3), "f") == root);
  }
}

TEST_CASE("json: one byte wrong never crashes, and a value that is read can be written") {
  const std::string good = R"({"a":[1,-2.5e3,true,null],"b":{"c":"\u00e9\n\ud83d\ude00"},"d":"é"})";
  std::mt19937_64 random(3);
  int refused = 0, read = 0;
  for (int i = 0; i < 20000; ++i) {
    std::string text = good;
    for (int k = 0; k < 2; ++k) text[random() % text.size()] = static_cast<char>(random());
    try {
      Json j = parse_json(text, "f");
      ++read;
      REQUIRE(parse_json(dump(j), "f") == j);
    } catch (const Error&) {
      ++refused;
    }
  }
  CHECK(refused > 1000);
  CHECK(read > 100);
}

TEST_CASE("error: text of a file is printed as it is, but for control characters and what is no UTF-8") {
  CHECK(printable("¿dónde? «a» \u00a0 \u0905 \U0001f600") == "¿dónde? «a» \u00a0 \u0905 \U0001f600");
  CHECK(printable("a\x1b[31m\\\x7f") == "a\\x1b[31m\\x5c\\x7f");
  CHECK(printable("\xc2\x9b[31m \xc2") == "\\xc2\\x9b[31m \\xc2");
  CHECK(printable("abcdef", 3) == "abc...");
}

}  // namespace bam::io_json_test

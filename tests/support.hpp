// What several test files need: a temporary folder, and the error that a call gives.
#pragma once
#include <doctest/doctest.h>
#include <stdlib.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>

#include "bam/core/error.hpp"

namespace bam::test {

struct TemporaryFolder {
  std::string path;
  TemporaryFolder() {
    path = (std::filesystem::temp_directory_path() / "bam_test_XXXXXX").string();
    if (!::mkdtemp(path.data())) std::abort();
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ec;
    std::filesystem::remove_all(path, ec);
  }
  std::string operator/(std::string_view name) const { return path + "/" + std::string(name); }
};

// Where golden/ and data/ are: BAM_TEST_DATA of the environment, for a program that was carried to another machine, or where they were when it was compiled.
inline std::string data() {
  const char* moved = std::getenv("BAM_TEST_DATA");
  return moved ? moved : BAM_TEST_DATA;
}
inline bool has(std::string_view text, std::string_view part) { return text.find(part) != text.npos; }

// "id: message" of the error that f throws, "" when it throws none.
template <class F>
std::string error_of(ErrorKind kind, F&& f) {
  try {
    f();
  } catch (const Error& e) {
    CHECK(static_cast<int>(e.kind()) == static_cast<int>(kind));
    return e.id() + ": " + e.what();
  }
  return "";
}

}  // namespace bam::test

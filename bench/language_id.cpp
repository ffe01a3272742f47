// Which language each text is in, as `bam eval --generate` tells it, for bench/peers/language_id.py, which holds it against public packages.
//   language_id TEXTS < FILE       TEXTS: a folder or file of lines {"text", "lang"}, from which languages are learned; FILE: lines {"text"}
// Prints the languages that were learned, then the guess for each line; an empty one for a text without a letter that is known.
#include <fmt/format.h>

#include <iostream>
#include <iterator>

#include "bam/eval/written.hpp"

int main(int argc, char** argv) {
  using namespace bam;
  if (argc != 2) {
    fmt::print(stderr, "usage: language_id TEXTS < FILE\n");
    return 2;
  }
  try {
    const LanguageIdentifier identifier = read_languages({argv[1]});
    fmt::print("{}\n", fmt::join(identifier.languages(), " "));
    const std::string lines{std::istreambuf_iterator<char>(std::cin), {}};
    for (const io::Json& line : io::parse_json_lines(lines, "stdin")) fmt::print("{}\n", identifier.identify(line.at("text", "stdin").as_string("stdin")).lang);
    return 0;
  } catch (const Error& e) {
    fmt::print(stderr, "{}\n", e.what());
    return static_cast<int>(e.kind());
  }
}

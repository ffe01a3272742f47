// The ten made-up languages: how they differ, one sentence in all of them, and of each a document and an example of every task.
//   example_languages [CODE] [INDEX]     e.g. example_languages gl5 3
#include <bam/text/generated/tasks.hpp>

#include <cstdio>
#include <cstdlib>

namespace lang = bam::text::languages;

int main(int argc, char** argv) try {
  static constexpr const char *scripts[] = {"Latin", "Armenian", "Cyrillic"}, *orders[] = {"SVO", "SOV", "VSO"};
  int only = argc > 1 ? lang::find_language(argv[1]) : -1;
  std::uint64_t index = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 0;
  // Who did what to seven things of some quality, and where.
  lang::Clause clause{.past = true,
                      .verb = lang::first_of(lang::Kind::act),
                      .subject = {.nouns = {lang::first_of(lang::Kind::person)}},
                      .object = {.nouns = {lang::first_of(lang::Kind::thing)}, .adjective = lang::first_of(lang::Kind::quality), .count = 7},
                      .role = lang::words::at,
                      .further = {.nouns = {lang::first_of(lang::Kind::place)}}};
  for (int l = 0; l < lang::language_count; ++l) {
    const lang::Language& language = lang::language(l);
    std::printf("%s  %-8s %s  family %d  adjective %s, number %s, %spositions, %u gender%s  %s\n", language.code, scripts[static_cast<int>(language.script)], orders[static_cast<int>(language.order)],
                language.family, language.adjective_after ? "after" : "before", language.number_after ? "after " : "before", language.postpositions ? "post" : "pre", language.genders,
                language.genders > 1 ? "s" : " ", lang::say(l, clause).c_str());
  }
  for (int l = 0; l < lang::language_count; ++l) {
    if (only >= 0 && l != only) continue;
    std::printf("\n%s, document %llu\n%s\n", lang::language(l).code, static_cast<unsigned long long>(index), lang::language_document(l, 1, index).c_str());
    for (lang::Task task : lang::tasks) {
      lang::Example e = lang::task_example(task, l, lang::Split::test, 1, index);
      std::printf("\n%s\n%s|%s\n", e.id.c_str(), e.prompt.c_str(), e.completion.c_str());
      if (!lang::accepts(e, e.completion)) return 1;
    }
  }
  return 0;
} catch (const bam::Error& e) {
  std::fprintf(stderr, "error[%s]: %s\n", e.id().c_str(), e.what());
  return static_cast<int>(e.kind());
}

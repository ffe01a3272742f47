// What a transfer study is about: languages, text for base models, examples of tasks, test items. The study asks for no more than this, so that the
// generated languages (transfer_generated.hpp) and files of real ones (transfer_files.hpp) are studied alike.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "../clt/mixture.hpp"
#include "../io/json.hpp"

namespace bam::study::transfer {

struct LanguageInfo {
  std::string code, script, family;  // family: empty where nothing is said of it
  bool latin = false;
};

// A set of test items: of a task, taken by the models that were fine-tuned on it, or of none, taken by all.
struct TestInfo {
  std::string name;          // the task's, or that of a further set
  std::string task;          // empty: none
  bool written = true;       // answers are written, not only scored
  bool competes = true;      // each item has rivals
  std::string text_score = "";  // of what is written: "chrf" or "rouge"; empty: it is right or wrong and no more
  bool answered = true;      // each item has a right answer; else what is written is right where it does as it is told
};

struct TestItem {
  std::string prompt, answer;        // answer: a right completion, if there is one
  std::vector<std::string> rivals;   // wrong ones that compete with it
  std::function<bool(const std::string&)> accepts;
};

class TransferCorpus {
 public:
  virtual ~TransferCorpus() = default;
  virtual std::string kind() const = 0;  // "generated" or "files"
  virtual std::string pivot() const = 0;
  virtual const std::vector<LanguageInfo>& languages() const = 0;  // with text for base models; the pivot is one of them
  virtual const std::vector<std::string>& tasks() const = 0;
  virtual std::vector<TestInfo> tests(const std::vector<std::string>& tasks) const = 0;  // those of the tasks first, in their order
  virtual std::string fingerprint(const std::vector<std::string>& languages, const std::vector<std::string>& tasks, std::uint64_t seed) const = 0;

  // Calls f with documents of a language, `limit` of them or all that there are.
  virtual void each_document(const std::string& language, std::uint64_t seed, std::int64_t limit, const std::function<void(const std::string&)>& f) const = 0;

  virtual std::int64_t available(const std::string& task, const std::string& language) const = 0;  // training examples
  virtual std::int64_t dropped(const std::string&) const { return 0; }  // training examples of a task that were left out because validation or test hold them
  // Training examples, n or more of them. shuffled: with each other's completions.
  virtual clt::Pool pool(const std::string& task, const std::string& language, std::int64_t n, std::uint64_t seed, bool shuffled) const = 0;
  virtual std::vector<std::string> validation(const std::string& task, const std::string& language, std::int64_t n, std::uint64_t seed, bool shuffled) const = 0;
  // The same meanings in all languages that share them.
  virtual std::vector<TestItem> items(const std::string& test, const std::string& language, std::int64_t n, std::int64_t rivals, std::uint64_t seed) const = 0;
  // What the best constant answer gets right of a test.
  virtual double constant_answer_rate(const std::string& test, const std::string& language, std::uint64_t seed) const = 0;

  virtual io::Json manifest() const = 0;  // where examples come from, for the manifests of mixtures

  const LanguageInfo& language(const std::string& code) const {
    for (const LanguageInfo& l : languages())
      if (l.code == code) return l;
    fail(ErrorKind::internal, "study.language", "no such language: ", code);
  }
};

}  // namespace bam::study::transfer

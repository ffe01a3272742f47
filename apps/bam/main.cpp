// bam: one program, one file per verb.
#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <new>

#include "bam/core/nearest.hpp"
#include "bam/cpu/backend.hpp"
#include "bam/cpu/parallel.hpp"
#include "bam/tensor/device.hpp"
#include "flags.hpp"
#include "machine.hpp"
#include "output.hpp"
#include "verbs.hpp"

namespace bam::app {
namespace {

std::string version_text() {
#ifdef __clang__
  std::string compiler = "clang " + std::to_string(__clang_major__) + "." + std::to_string(__clang_minor__);
#else
  std::string compiler = "g++ " + std::to_string(__GNUC__) + "." + std::to_string(__GNUC_MINOR__);
#endif
  return str("bam ", version, " (isa ", cpu::name_of(cpu::isa()), ", cuda ", unavailable(Device::cuda).empty() ? "yes" : "no", ", ", compiler, ")");
}

// A verb may have a flag of that name of its own.
void add_common_flags(CLI::App& app, Common& c) {
  auto free = [&](const char* flag) { return app.get_option_no_throw(flag) == nullptr; };
  auto group = [](CLI::Option* o) { o->group("Common"); };
  if (free("--dtype")) group(choice_flag(app, "--dtype", c.dtype, {"fp32", "bf16"}, "Type of the computation (default fp32)"));
  if (free("--config")) group(app.add_option("--config", c.config, "A config file")->type_name("FILE"));
  auto set = [&c](const std::vector<std::string>& more) { c.set.insert(c.set.end(), more.begin(), more.end()); };  // before the verb, then behind it
  if (free("--set")) group(app.add_option_function<std::vector<std::string>>("--set", set, "Overrides one key of the config; may be repeated")->type_name("KEY=VALUE")->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll));
  if (free("--out")) group(app.add_option("--out", c.out, "Where results go")->type_name("PATH"));
  if (free("--seed")) group(integer_flag<std::uint64_t>(app, "--seed", c.seed, 0, UINT64_MAX, "Seed of all randomness"));
  if (free("--threads")) group(integer_flag<std::int64_t>(app, "--threads", c.threads, 1, 1024, "Threads, 1 to 1024 (default: all processors); never changes results"));
  if (free("--device")) group(choice_flag(app, "--device", c.device, {"cpu", "cuda", "auto"}, "Where to compute (default cpu)"));
  if (free("--json")) group(app.add_flag("--json", c.json, "One JSON object on stdout (chat: one a turn), everything else on stderr"));
  if (free("--quiet")) group(app.add_flag("--quiet", c.quiet, "No progress on stderr"));
  if (free("--force")) group(app.add_flag("--force", c.force, "Go on where a check would refuse to overwrite"));
  if (free("--version")) group(app.add_flag_callback("--version", [] { throw CLI::CallForVersion(version_text(), 0); }, "Print the version and exit"));
}
void add_common_flags_to_verbs(CLI::App& app, Common& c) {
  for (CLI::App* verb : app.get_subcommands([](CLI::App*) { return true; })) {
    add_common_flags(*verb, c);
    add_common_flags_to_verbs(*verb, c);
  }
}

// The verb that the command line names, as deep as it goes.
CLI::App* chosen(CLI::App& app) {
  CLI::App* at = &app;
  for (auto subs = at->get_subcommands(); !subs.empty(); subs = at->get_subcommands()) at = subs.front();
  return at;
}
std::string path_of(const CLI::App* app) {
  return app->get_parent() ? path_of(app->get_parent()) + " " + app->get_name() : "bam";
}
std::vector<std::string> verbs_of(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; })) names.push_back(sub->get_name());
  return names;
}
std::string listed(const std::vector<std::string>& words) {
  std::string s;
  for (const std::string& w : words) s += (s.empty() ? "" : ", ") + w;
  return s;
}

// Names the first argument that nothing took, and what was probably meant.
void refuse_extras(CLI::App& app) {
  std::vector<std::string> extras = app.remaining(true);
  if (extras.empty()) return;
  CLI::App* at = chosen(app);
  std::string word = extras.front();
  if (word.size() > 1 && word[0] == '-') {
    word = word.substr(0, word.find('='));
    std::vector<std::string> flags;
    for (const CLI::Option* o : at->get_options())
      for (const std::string& name : o->get_lnames()) flags.push_back("--" + name);
    std::string near = nearest(word, flags);
    fail(ErrorKind::usage, "flag.unknown", path_of(at), ": unknown flag ", printable(word, 100),
         near.empty() ? str("; one of: ", listed(flags)) : str("; did you mean ", near, "?"));
  }
  std::vector<std::string> verbs = verbs_of(*at);
  if (verbs.empty()) fail(ErrorKind::usage, "argument.unknown", path_of(at), ": unexpected argument '", printable(word, 100), "'; see ", path_of(at), " --help");
  std::string near = nearest(word, verbs);
  fail(ErrorKind::usage, "verb.unknown", path_of(at), ": unknown command '", printable(word, 100), "'; ",
       near.empty() ? str("one of: ", listed(verbs)) : str("did you mean ", near, "?"));
}

// A flag before the verb and again behind it would have two values.
void refuse_twice(const CLI::App& app, const CLI::App& verb) {
  if (&app == &verb) return;
  for (const CLI::Option* o : app.get_options())
    if (!o->get_lnames().empty() && o->count() > 0)
      if (const CLI::Option* again = verb.get_option_no_throw("--" + o->get_lnames()[0]); again && again->count() > 0 && o->get_lnames()[0] != "set")
        fail(ErrorKind::usage, "flag.twice", "--", o->get_lnames()[0], ": given twice; keep one");
}

void apply(Common& c, const CLI::App& verb) {
  for (const char* flag : {"--out", "--config"})
    if (const CLI::Option* o = verb.get_option_no_throw(flag); o && o->count() > 0)
      for (const std::string& text : o->results()) {
        if (text.empty()) fail(ErrorKind::usage, "flag.value", flag, ": wanted a path, got ''");
        for (char ch : text)
          if (static_cast<unsigned char>(ch) < 0x20)
            fail(ErrorKind::usage, "flag.value", flag, ": wanted a path without control characters, got '", printable(text, 100), "'");
      }
  const bool estimated = verb.get_name() == "estimate";  // needs no device
  if (std::string missing = c.device == "cuda" && !estimated ? unavailable(Device::cuda) : ""; !missing.empty())
    fail(ErrorKind::limit, "device.absent", "--device cuda: wanted an NVIDIA GPU, ", missing, "; use --device cpu");
  if ((c.device == "cuda" && !estimated) || (c.device == "auto" && unavailable(Device::cuda).empty() && !emulated(Device::cuda))) default_device() = Device::cuda;
  if (c.bf16()) {
    const std::string name = verb.get_name();
    for (const char* fp32 : {"study", "upcycle"})
      if (name == fp32 || (verb.get_parent() && verb.get_parent()->get_name() == fp32)) fail(ErrorKind::usage, "dtype.bf16", "bam ", fp32, ": computes in fp32; leave --dtype bf16 out");
    default_dtype() = DType::bf16;
  }
  if (default_device() == Device::cuda) say(str("device cuda: ", describe(Device::cuda), "\n"));
  cpu::isa();  // a bad BAM_ISA is told before anything else
  if (c.threads != 0) cpu::pool().resize(static_cast<int>(c.threads));
}

void run(int argc, char** argv) {
  Common common;
  CLI::App app{"Dense language models, upcycled to mixtures of attention and FFN experts (BAM), trained on a CPU or a GPU.", "bam"};
  app.get_formatter()->column_width(36);
  app.option_defaults()->always_capture_default(false);
  app.footer("Exit codes: 0 ok, 1 own bug, 2 usage, 3 bad input, 4 over a limit, 5 I/O, 6 numerics, 7 locked, 129/130/143 stopped by a signal, saved.");  // the verbs inherit it
  add_doctor(app, common);
  add_inspect(app, common);
  add_estimate(app, common);
  add_tokenizer(app, common);
  add_data(app, common);
  add_train(app, common);
  add_upcycle(app, common);
  add_eval(app, common);
  add_report(app, common);
  add_study(app, common);
  add_forward(app, common);
  add_generate(app, common);
  add_chat(app, common);
  add_common_flags(app, common);
  add_common_flags_to_verbs(app, common);
  try {
    app.parse(argc, argv);
    refuse_extras(app);
  } catch (const CLI::CallForHelp&) {
    return print(app.help());
  } catch (const CLI::CallForAllHelp&) {
    return print(app.help("", CLI::AppFormatMode::All));
  } catch (const CLI::CallForVersion& e) {
    return print(std::string(e.what()) + "\n");
  } catch (const CLI::ParseError& e) {
    refuse_extras(app);
    fail(ErrorKind::usage, "usage", path_of(chosen(app)), ": ", printable(e.what(), 500), "; see ", path_of(chosen(app)), " --help");
  }
  CLI::App* verb = chosen(app);
  if (!common.run) {
    std::fflush(stdout);
    std::fprintf(stderr, "error[usage]: %s: wanted a command, got none; one of: %s\n\n%s", path_of(verb).c_str(), listed(verbs_of(*verb)).c_str(),
                 app.help().c_str());
    throw ErrorKind::usage;
  }
  refuse_twice(app, *verb);
  apply(common, *verb);
  common.run();
}

// A closed stdin, stdout or stderr must not become the number of a file that we open.
void hold_standard_files() {
  for (int fd : {0, 1, 2})
    if (fcntl(fd, F_GETFD) == -1) {
      int got = open(fd == 1 ? "/dev/full" : "/dev/null", O_RDWR);
      if (got != fd && got >= 0) {
        dup2(got, fd);
        close(got);
      }
    }
}

int report(const char* id, const char* message, ErrorKind kind) {
  std::fprintf(stderr, "error[%s]: %s\n", id, message);
  release_notes();
  return static_cast<int>(kind);
}

}  // namespace
}  // namespace bam::app

int main(int argc, char** argv) {
  using namespace bam::app;
  using bam::ErrorKind;
  hold_standard_files();
  std::signal(SIGPIPE, SIG_IGN);  // a reader that went away is a write error
  std::signal(SIGXFSZ, SIG_IGN);  // and so is a file-size limit
  try {
    run(argc, argv);
    release_notes();
    return 0;
  } catch (const bam::Error& e) {
    return report(e.id().c_str(), e.what(), e.kind());
  } catch (ErrorKind kind) {
    return static_cast<int>(kind);  // already reported
  } catch (const ExitCode& e) {
    release_notes();
    return e.code;
  } catch (const std::bad_alloc&) {
    return report("memory.exhausted", "bam: the system has no more memory; lower the sizes asked for", ErrorKind::limit);
  } catch (const std::exception& e) {
    return report("internal", bam::str("bam: ", bam::printable(e.what(), 500), "; this is a bug in bam, please report it").c_str(), ErrorKind::internal);
  } catch (...) {
    return report("internal", "bam: unknown exception; this is a bug in bam, please report it", ErrorKind::internal);
  }
}

// The verbs of the command line. A new verb is one file with add_<verb>, one line here, and one line in main.cpp.
#pragma once
#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace bam::app {

inline constexpr const char* version = "0.1.0";

// The flags that every verb has (docs/formats.md, section 4), and what to run once all flags are read.
struct Common {
  std::string dtype = "fp32";  // or bf16: of the computation
  std::string config;
  std::vector<std::string> set;  // key=value
  std::string out;
  std::optional<std::uint64_t> seed;
  std::int64_t threads = 0;     // 0: as many as the machine has
  std::string device = "cpu";   // cpu, cuda or auto; the verbs read default_device()
  bool json = false, quiet = false, force = false;
  std::function<void()> run;

  bool bf16() const { return dtype == "bf16"; }
  // --set and --seed as settings of a run file.
  std::vector<std::string> run_settings() const {
    std::vector<std::string> list = set;
    if (seed) list.push_back("train.seed=" + std::to_string(*seed));
    return list;
  }
};

// Ends the program with this code after the verb has reported what there is to report.
struct ExitCode {
  int code;
};

void add_chat(CLI::App& app, Common& common);
void add_data(CLI::App& app, Common& common);
void add_data_sets(CLI::App& data, Common& common);  // verbs of bam data that write a folder
void add_doctor(CLI::App& app, Common& common);
void add_estimate(CLI::App& app, Common& common);
void add_eval(CLI::App& app, Common& common);
void add_forward(CLI::App& app, Common& common);
void add_generate(CLI::App& app, Common& common);
void add_inspect(CLI::App& app, Common& common);
void add_report(CLI::App& app, Common& common);
void add_study(CLI::App& app, Common& common);
void add_tokenizer(CLI::App& app, Common& common);
void add_train(CLI::App& app, Common& common);
void add_upcycle(CLI::App& app, Common& common);

}  // namespace bam::app

// Runs that stop, crash, are told other settings or find damage: what is lost, what goes on, what is on disk.
#include "train_bench.hpp"

namespace bam::train_test {

namespace {
void flip_byte(const std::string& file) {
  std::string bytes = io::read_file(file);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  io::write_file_atomic(file, bytes);
}
}  // namespace

TEST_CASE("training: stop and resume at any step give the uninterrupted run") {
  Bench& b = bench();
  Settings before;
  std::string whole = b.fresh();
  b.run(whole);
  for (std::int64_t k : {0, 1, 7, 19, 20}) {
    CAPTURE(k);
    std::string out = b.fresh();
    RunResult first = b.run(out, {}, false, k);
    CHECK(first.steps == k);
    CHECK(checkpoints_of(out) == Set{train::detail::step_folder(k)});
    set_threads(static_cast<int>(k % 3) + 1);
    RunResult r = b.run(out, {str("train.micro_batch=", k % 8 + 1)}, true);
    CHECK(r.steps == 20);
    CHECK(r.hash == wanted_hash());
    CHECK(losses_of(out) == losses_of(whole));
  }
  // In several parts, with resume asked for from the start.
  std::string out = b.fresh();
  for (std::int64_t k : {3, 4, 11, 20}) CHECK(b.run(out, {}, true, k).steps == k);
  RunResult done = b.run(out, {}, true);  // nothing left to do
  CHECK(done.steps == 20);
  CHECK(done.hash == wanted_hash());
  CHECK(losses_of(out) == losses_of(whole));
}

TEST_CASE("training: a crash loses the steps since the last checkpoint and nothing else") {
  Bench& b = bench();
  for (std::int64_t crash : {3, 10, 14}) {
    CAPTURE(crash);
    std::string out = b.fresh();
    struct Crash {};
    RunEvents events;
    events.step = [&](std::int64_t step, std::int64_t, const StepResult&, double, double) {
      if (step == crash) throw Crash{};
    };
    CHECK_THROWS_AS(b.run(out, {"train.checkpoint_every=5"}, false, {}, events), Crash);
    // A torn line, and a staged checkpoint that was never finished.
    io::write_file_atomic(out + "/metrics.jsonl", io::read_file(out + "/metrics.jsonl") + "{\"step\": ");
    std::filesystem::create_directories(out + "/checkpoints/.step-00000015.tmp-1-2-3");
    std::string notes;
    RunResult r = b.resumed(out, notes, {"train.checkpoint_every=5"});
    CHECK(has(notes, "resuming from") == (crash > 5));
    CHECK(r.hash == wanted_hash());
    CHECK(losses_of(out).size() == 20);
    CHECK_FALSE(io::exists(out + "/checkpoints/.step-00000015.tmp-1-2-3"));
  }
}

TEST_CASE("training: a tokenizer that is gone or another meanwhile is saved as it was read") {
  Bench& b = bench();
  for (bool gone : {true, false}) {
    std::string out = b.fresh(), file = b.f / "moved.json", text = io::read_file(b.f / "tokenizer.json");
    io::write_file_atomic(file, text);
    RunEvents events;
    events.step = [&](std::int64_t, std::int64_t, const StepResult&, double, double) {
      if (gone) std::filesystem::remove(file);
      else io::write_file_atomic(file, "{}");
    };
    b.run(out, {"model.tokenizer=" + file}, false, 1, events);
    CHECK(io::read_file(out + "/checkpoints/step-00000001/tokenizer.json") == text);
  }
}

TEST_CASE("training: a signal saves and stops") {
  Bench& b = bench();
  std::string out = b.fresh();
  RunEvents events;
  int asked = 0;
  events.stop_signal = [&] { return ++asked == 6 ? 15 : 0; };
  RunResult r = b.run(out, {}, false, {}, events);
  CHECK(r.stopped_by == 15);
  CHECK(r.steps == 6);
  CHECK(checkpoints_of(out) == Set{"step-00000006"});
  // Only a run that is complete has ended.
  auto last_event = [&] { return std::string(lines_of(out + "/events.jsonl").back().at("event").as_string("event")); };
  CHECK(last_event() == "stopped");
  b.run(out, {}, true, 7);
  CHECK(last_event() == "stopped");
  CHECK(b.run(out, {}, true).hash == wanted_hash());
  CHECK(last_event() == "end");
}

TEST_CASE("training: settings do not change under a run; its length may, and is recorded") {
  Bench& b = bench();
  std::string out = b.fresh();
  b.run(out, {"train.steps=4", "train.schedule=constant"});
  for (const char* set : {"train.lr=1e-4", "train.seed=6", "train.batch=6", "train.context=8", "train.dropout=0.2", "train.schedule=wsd", "train.moments=bf16"}) {
    std::string message = error_of(ErrorKind::input, [&] { b.run(out, {"train.steps=4", "train.schedule=constant", set}, true); });
    CAPTURE(message);
    CHECK(message.starts_with("run.changed: "));
    CHECK(has(message, std::string(set).substr(0, std::string(set).find('='))));
  }
  CHECK(b.run(out, {"train.steps=6", "train.schedule=constant", "train.micro_batch=2", "train.log_every=2"}, true).steps == 6);
  CHECK(b.run(out, {"train.steps=6", "train.schedule=constant"}, true).hash == b.run(b.fresh(), {"train.steps=6", "train.schedule=constant"}).hash);
  // A cosine has its length from the start.
  std::string cosine = b.fresh();
  b.run(cosine, {"train.steps=6", "train.warmup=0", "train.schedule=cosine"});
  std::string longer = error_of(ErrorKind::input, [&] { b.run(cosine, {"train.steps=9", "train.warmup=0", "train.schedule=cosine"}, true); });
  CAPTURE(longer);
  CHECK(longer.starts_with("run.changed: "));
  CHECK(has(longer, "learning rate"));
  bool recorded = false;
  for (const io::Json& line : lines_of(out + "/events.jsonl")) recorded = recorded || (line.at("event").as_string("event") == "changed" && has(std::string(line.at("detail").as_string("detail")), "train.steps 4 -> 6"));
  CHECK(recorded);
  CHECK(train::load_run_config(out + "/resolved.toml").train.steps == 6);
}

TEST_CASE("training: a run folder that is in use or done is not touched") {
  Bench& b = bench();
  std::string out = b.fresh();
  b.run(out, {}, false, 2);
  std::string metrics = io::read_file(out + "/metrics.jsonl");
  CHECK(has(error_of(ErrorKind::usage, [&] { b.run(out); }), "run.exists: "));
  {
    io::FileLock lock(out);
    std::string message = error_of(ErrorKind::locked, [&] { b.run(out, {}, true); });
    CHECK(has(message, "in use by pid"));
  }
  CHECK(io::read_file(out + "/metrics.jsonl") == metrics);
  CHECK(checkpoints_of(out) == Set{"step-00000002"});
  // The run itself holds the lock, and gives it back.
  RunEvents events;
  int locked = 0;
  events.step = [&](std::int64_t, std::int64_t, const StepResult&, double, double) {
    if (!locked++) CHECK(has(error_of(ErrorKind::locked, [&] { b.run(out, {}, true); }), "in use"));
  };
  CHECK(b.run(out, {}, true, 4, events).steps == 4);
  CHECK(locked == 2);
  // --force starts over.
  RunOptions force{out, false, true, 1, "test"};
  CHECK(Run(b.config(), force, {}).execute().steps == 1);
  CHECK(checkpoints_of(out) == Set{"step-00000001"});
  CHECK(losses_of(out).size() == 1);
}

TEST_CASE("training: --force deletes nothing before all input has been read, and never what the run starts from") {
  Bench& b = bench();
  std::string out = b.fresh();
  b.run(out, {}, false, 1);
  RunOptions force{out, false, true, 1, "test"};
  CHECK(has(error_of(ErrorKind::input, [&] { Run(b.config({"data.0.path=absent.jsonl"}), force, {}).execute(); }), "absent.jsonl"));
  CHECK(checkpoints_of(out) == Set{"step-00000001"});
  RunConfig itself = b.config();
  itself.model = {"", out + "/../" + io::name_of_file(out), b.f / "tokenizer.json"};
  CHECK(has(error_of(ErrorKind::usage, [&] { Run(itself, force, {}).execute(); }), "out.input: " + out + ": model.init_from is a checkpoint of --out"));
  CHECK(checkpoints_of(out) == Set{"step-00000001"});
}

TEST_CASE("training: a loss that is not finite stops the run; what is on disk stays") {
  Bench& b = bench();
  std::string out = b.fresh();
  b.run(out, {}, false, 5);
  std::string folder = out + "/checkpoints/step-00000005", weights = io::sha256_file(folder + "/model.safetensors");
  RunConfig wild = b.config({"train.checkpoint_every=1", "train.warmup=0", "train.keep_checkpoints=9"});
  wild.train.lr = 1e30;
  std::string message = error_of(ErrorKind::numerics, [&] { Run(wild, {out, true, true, {}, "test"}, {}).execute(); });
  CAPTURE(message);
  CHECK(message.starts_with("train.non_finite: step 7: loss "));
  CHECK(has(message, "model."));  // the tensor
  CHECK(has(message, "nothing was updated"));
  CHECK(io::sha256_file(folder + "/model.safetensors") == weights);
  // Step 6 itself was finite and is saved; the step that was not left no checkpoint, and no line but its error.
  CHECK(checkpoints_of(out) == Set{"step-00000005", "step-00000006"});
  CHECK_NOTHROW(io::load_model(folder));
  CHECK_NOTHROW(io::load_model(out));
  CHECK(losses_of(out).size() == 6);
  io::Json last = lines_of(out + "/events.jsonl").back();
  CHECK(last.at("event").as_string("event") == "error");
  // Without the wild step the run goes on as if nothing had been.
  std::filesystem::remove_all(out + "/checkpoints/step-00000006");
  CHECK(Run(b.config(), {out, true, true, {}, "test"}, {}).execute().hash == wanted_hash());
}

TEST_CASE("training: a damaged checkpoint is named and the one before is used") {
  Bench& b = bench();
  for (const std::string file : {"model.safetensors", "optimizer.safetensors", "config.json", "tokenizer.json", "state.json"}) {
    CAPTURE(file);
    std::string out = b.fresh(), newest = out + "/checkpoints/step-00000015";
    b.run(out, {"train.checkpoint_every=5"}, false, 15);
    if (file == "state.json") std::filesystem::resize_file(newest + "/state.json", 40);
    else flip_byte(newest + "/" + file);
    std::string notes;
    RunResult r = b.resumed(out, notes, {"train.checkpoint_every=5"});
    CAPTURE(notes);
    CHECK(has(notes, "warning: " + newest + " cannot be used: "));
    if (file != "state.json") CHECK(has(notes, newest + "/" + file + ": SHA-256 is "));
    CHECK(has(notes, "resuming from " + out + "/checkpoints/step-00000010"));
    CHECK(r.hash == wanted_hash());
    CHECK(io::exists(out + "/checkpoints/damaged-step-00000015/" + file));
    // The step is saved again, whole.
    for (const char* name : {"step-00000015", "step-00000020"}) {
      std::string folder = out + "/checkpoints/" + name;
      io::Json state = io::parse_json(io::read_file(folder + "/state.json"), "state.json");
      for (io::Json::Member entry : state.at("files").members("files")) {
        std::string saved = folder + "/" + std::string(entry.key);
        CAPTURE(saved);
        CHECK(io::sha256_file(saved) == entry.value.as_string("hash"));
      }
    }
  }
  // No other one: an error, not a fresh start over what is there.
  std::string out = b.fresh();
  b.run(out, {}, false, 3);
  flip_byte(out + "/checkpoints/step-00000003/model.safetensors");
  std::string message = error_of(ErrorKind::input, [&] { b.run(out, {}, true); });
  CHECK(has(message, "checkpoint.damaged: "));
  CHECK(has(message, "step-00000003/model.safetensors: SHA-256"));
  CHECK(io::exists(out + "/checkpoints/step-00000003/model.safetensors"));
}

TEST_CASE("training: a checkpoint that is set aside replaces none that was before") {
  Bench& b = bench();
  std::string out = b.fresh(), notes;
  b.run(out, {"train.checkpoint_every=1"}, false, 2);
  for (const char* name : {"damaged-step-00000002", "damaged-step-00000002-2"}) io::make_folder(out + "/checkpoints/" + name);
  flip_byte(out + "/checkpoints/step-00000002/model.safetensors");
  b.resumed(out, notes);
  CHECK(has(notes, "step-00000002 is now " + out + "/checkpoints/damaged-step-00000002-3\n"));
  CHECK(checkpoints_of(out) == Set{"damaged-step-00000002", "damaged-step-00000002-2", "damaged-step-00000002-3", "step-00000001", "step-00000020"});
}

TEST_CASE("training: a folder beside the checkpoints with a name that only begins like theirs is left alone") {
  Bench& b = bench();
  std::string out = b.fresh();
  b.run(out, {}, false, 1);
  std::filesystem::copy(out + "/checkpoints/step-00000001", out + "/checkpoints/step-00000001-kept", std::filesystem::copy_options::recursive);
  io::write_file_atomic(out + "/checkpoints/step-00000001-kept/config.json", "{}");
  CHECK(io::name_of_file(io::resolve_model_folder(out)) == "step-00000001");
  b.run(out, {"train.keep_checkpoints=1"}, true, 2);
  CHECK(checkpoints_of(out) == Set{"step-00000001-kept", "step-00000002"});
}

TEST_CASE("training: a newest checkpoint of a newer format, or one that cannot be read just now, stays the newest") {
  Bench& b = bench();
  std::string out = b.fresh();
  b.run(out, {"train.checkpoint_every=1"}, false, 2);
  const std::string file = out + "/checkpoints/step-00000002/state.json";
  io::Json state = io::parse_json(io::read_file(file), "state.json");
  state.set("format", 2);
  io::write_file_atomic(file, io::dump(state));
  CHECK(has(error_of(ErrorKind::input, [&] { b.run(out, {}, true); }), "step-00000002: has format 2, this program reads 1"));
  std::filesystem::remove(file);
  std::filesystem::create_symlink("/proc/self/mem", file);  // reading it is an error of the device
  CHECK(has(error_of(ErrorKind::io, [&] { b.run(out, {}, true); }), "file.read: "));
  CHECK(checkpoints_of(out) == Set{"step-00000001", "step-00000002"});
}

TEST_CASE("training: a checkpoint whose router counts are not of the model's experts is damaged") {
  Bench& b = bench();
  std::string out = b.fresh(), notes;
  b.run(out, {"train.checkpoint_every=5"}, false, 10);
  const std::string file = out + "/checkpoints/step-00000010/state.json";
  io::Json state = io::parse_json(io::read_file(file), "state.json");
  REQUIRE(state.at("router_counts").size() > 0);
  state.set("router_counts", io::Json::array({io::Json::array({1})}));
  state.erase("sha256");  // as of an older checkpoint
  io::write_file_atomic(file, io::dump(state));
  CHECK(b.resumed(out, notes).hash == wanted_hash());
  CHECK(has(notes, "router_counts has 1 experts for router 0"));
  CHECK(has(notes, "resuming from " + out + "/checkpoints/step-00000005"));
}

TEST_CASE("training: a state.json that was changed is damaged") {
  Bench& b = bench();
  for (const char* key : {"updates", "step", "hash"}) {
    CAPTURE(key);
    std::string out = b.fresh(), notes;
    b.run(out, {"train.checkpoint_every=5"}, false, 10);
    const std::string file = out + "/checkpoints/step-00000010/state.json";
    io::Json state = io::parse_json(io::read_file(file), "state.json");
    if (std::string_view(key) == "hash") state.set(key, "00");
    else state.set(key, 9);
    io::write_file_atomic(file, io::dump(state, 2));
    CHECK(b.resumed(out, notes).hash == wanted_hash());
    CHECK(has(notes, "state.json: SHA-256 of its content is "));
  }
  std::string out = b.fresh(), notes;
  b.run(out, {"train.checkpoint_every=5"}, false, 10);
  std::filesystem::rename(out + "/checkpoints/step-00000010", out + "/checkpoints/step-00000011");
  CHECK(b.resumed(out, notes).hash == wanted_hash());
  CHECK(has(notes, "step is 10, other than the folder's name"));
}

TEST_CASE("training: with one checkpoint kept, a damaged one never outlives a good one") {
  Bench& b = bench();
  std::string out = b.fresh();
  b.run(out, {"train.checkpoint_every=4", "train.keep_checkpoints=2"}, false, 8);
  flip_byte(out + "/checkpoints/step-00000008/model.safetensors");
  b.run(out, {"train.keep_checkpoints=1"}, true, 6);
  std::string notes;
  CHECK(b.resumed(out, notes, {"train.keep_checkpoints=1"}).hash == wanted_hash());
  CHECK(has(notes, "resuming from " + out + "/checkpoints/step-00000006"));
}

TEST_CASE("training: resume with other data, tokenizer or model is refused") {
  Bench& b = bench();
  std::string out = b.fresh();
  b.run(out, {}, false, 4);
  auto refused = [&](const Set& set) { return error_of(ErrorKind::input, [&] { b.run(out, set, true); }); };
  std::string text = io::read_file(b.f / "math.jsonl");
  io::write_file_atomic(b.f / "changed.jsonl", text + "{\"text\": \"one more\"}\n");
  CHECK(has(refused({"data.1.path=" + (b.f / "changed.jsonl")}), "checkpoint.other: " + out + "/checkpoints/step-00000004: was made with another data"));
  io::write_file_atomic(b.f / "math.jsonl", text + "{\"text\": \"one more\"}\n");
  CHECK(has(refused({}), "checkpoint.other: "));
  // --force goes on all the same.
  CHECK(Run(b.config(), {out, true, true, 5, "test"}, {}).execute().steps == 5);
  io::write_file_atomic(b.f / "math.jsonl", text);
  out = b.fresh();
  b.run(out, {}, false, 4);
  CHECK(has(refused({"data.0.weight=3"}), "another data"));
  io::Json tokenizer = io::parse_json(io::read_file(b.f / "tokenizer.json"), "t");
  io::write_file_atomic(b.f / "t2.json", io::dump(tokenizer, 1));
  CHECK(has(refused({"model.tokenizer=" + (b.f / "t2.json")}), "another tokenizer"));
  io::Json config = io::parse_json(io::read_file(b.f / "config.json"), "config.json");
  config.set("num_experts_per_tok", 1);
  io::write_file_atomic(b.f / "top1.json", io::dump(config));
  CHECK(has(refused({"model.config=" + (b.f / "top1.json")}), "checkpoint.other: "));
  CHECK(b.run(out, {}, true).hash == wanted_hash());
}

}  // namespace bam::train_test

// Calibrations that are stopped anywhere and begun again: the same bytes, nothing done twice, and no other run's
// journal.
#include "src/calibrate/journal.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <filesystem>

#include "fathom/calibrate/parts.h"
#include "tests/calibrate/text_files.h"
#include "tests/support/spare_model.h"

namespace fathom {
namespace {

using nlohmann::json;

Result<int> seven() { return 7; }
Result<int> not_made() { return Error{ErrorCode::argument, "made anew"}; }
bool any(int) { return true; }

struct Place {
  testing::TextFiles folder;
  CalibrateJournal at{.path = folder.path("run.fathom.partial")};

  Journal open(const std::string& run = "seed 1\nrisk 2\n") { return Journal::open(at, run).value(); }
};

TEST(Journal, APartThatIsDoneIsNotDoneAgain) {
  Place place;
  EXPECT_EQ(place.open().part<int>("a", seven, any).value(), 7);
  Journal again = place.open();
  EXPECT_EQ(again.part<int>("a", not_made, any).value(), 7);
  EXPECT_EQ(again.part<int>("b", not_made, any).error().message, "made anew") << "b was never done";
}

TEST(Journal, APartStandsInThePlaceOfThePartsInsideIt) {
  Place place;
  const auto outer = [](Journal& journal, auto last) {
    return journal.part<int>(
        "outer",
        [&]() -> Result<int> {
          FATHOM_TRY(const int a, journal.part<int>("inner", seven, any));
          FATHOM_TRY(const int b, last());
          return a + b;
        },
        any);
  };
  Journal first = place.open();
  EXPECT_FALSE(outer(first, not_made).has_value());
  Journal second = place.open();
  EXPECT_EQ(second.part<int>("inner", not_made, any).value(), 7) << "the inner part of an outer one that was stopped";
  Journal third = place.open();
  EXPECT_EQ(outer(third, seven).value(), 14);
  EXPECT_EQ(third.part<int>("behind", seven, any).value(), 7);
  Journal fourth = place.open();
  EXPECT_EQ(outer(fourth, not_made).value(), 14);
  EXPECT_EQ(fourth.part<int>("behind", not_made, any).value(), 7);
}

TEST(Journal, AnotherRunIsRefusedByWhatDiffersAndRestartPassesItOver) {
  Place place;
  ASSERT_TRUE(place.open().part<int>("a", seven, any).has_value());
  const auto refused = Journal::open(place.at, "seed 1\nrisk 3\n");
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::argument);
  EXPECT_NE(refused.error().message.find("there risk 2, here risk 3: "), std::string::npos) << refused.error().message;
  EXPECT_NE(refused.error().message.find("--restart"), std::string::npos);
  place.at.restart = true;
  EXPECT_FALSE(place.open("seed 1\nrisk 3\n").part<int>("a", not_made, any).has_value());
}

TEST(Journal, WhatDoesNotFitIsDamageAndNotRead) {
  Place place;
  ASSERT_TRUE(place.open().part<int>("a", seven, any).has_value());
  EXPECT_EQ(place.open().part<int>("a", seven, [](int) { return false; }).error().code, ErrorCode::format);
  const auto wider = place.open().part<std::vector<int>>(
      "a", []() -> Result<std::vector<int>> { return std::vector<int>{}; }, [](const auto&) { return true; });
  EXPECT_EQ(wider.error().code, ErrorCode::format);
  const std::string bytes = testing::contents(place.at.path);
  for (size_t at = 0; at < bytes.size(); at += 1 + bytes.size() / 40) {
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x20);
    place.folder.write("run.fathom.partial", damaged);
    EXPECT_FALSE(Journal::open(place.at, "seed 1\nrisk 2\n").has_value()) << "byte " << at;
  }
}

TEST(Journal, KeepsTheCallersNote) {
  Place place;
  EXPECT_EQ(journal_note(place.at.path), "");
  place.at.note = "pieces 40";
  ASSERT_TRUE(place.open().part<int>("a", seven, any).has_value());
  EXPECT_EQ(journal_note(place.at.path), "pieces 40");
}

TEST(Journal, ADiskThatIsFullEndsTheRunAndLeavesWhatWasThere) {
  Place place;
  ASSERT_TRUE(place.open().part<int>("a", seven, any).has_value());
  const auto large = []() -> Result<std::vector<char>> { return std::vector<char>(1 << 20); };
  const auto whole = [](const std::vector<char>& kept) { return kept.size() == 1 << 20; };
  struct rlimit before {};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const struct rlimit small { .rlim_cur = 4096, .rlim_max = before.rlim_max };
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  Journal journal = place.open();
  ASSERT_TRUE(journal.part<int>("a", not_made, any).has_value());
  const auto full = journal.part<std::vector<char>>("b", large, whole);
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  ASSERT_FALSE(full.has_value());
  EXPECT_EQ(full.error().code, ErrorCode::file);
  EXPECT_NE(full.error().message.find(place.at.path), std::string::npos) << full.error().message;
  Journal after = place.open();
  EXPECT_EQ(after.part<int>("a", not_made, any).value(), 7);
}

// A small model, its texts, and a calibration that nothing interrupts.
struct Calibrated {
  testing::SpareLanguage language = testing::spare_language();
  testing::Bytes bytes = testing::spare_writer(language).bytes();
  Model model = Model::from_bytes(bytes).value();
  testing::TextFiles files;
  Pieces pieces = sample();
  CalibrateOptions options{.risk = 0.3, .n_exits = 2, .n_settings = 2, .measured_tokens = 8};
  int calls = 0;  // of on_progress
  Calibration whole = run({}, 1 << 30).value();

  Pieces sample() {
    std::vector<GroupData> groups;
    for (const auto& [name, kind] :
         {std::pair{"prose", testing::SpareText::prose}, {"code", testing::SpareText::code}}) {
      groups.push_back({name, {files.write(std::string(name) + ".txt", testing::spare_text(language, kind, 60))}});
    }
    // Some of the pieces are what the model writes.
    std::string lines;
    for (int i = 0; i < 90; ++i) {
      lines += json{{"prompt", testing::spare_text(language, testing::SpareText::mixed, 1).substr(0, 30 + i)}}.dump();
      lines += '\n';
    }
    groups.push_back({"written", {files.write("prompts.jsonl", lines)}});
    return sample_pieces(model.tokenizer(), groups, {.piece_tokens = 16, .n_fit = 9, .n_choose = 12, .n_report = 4})
        .value();
  }

  // Stopped by the given call of on_progress, counted from 1.
  Result<Calibration> run(const std::string& journal, int stopped_by) {
    struct Count {
      int calls = 0, most;
    } count{.most = stopped_by};
    CalibrateOptions with = options;
    with.journal.path = journal;
    with.context = &count;
    with.on_progress = [](void* context, std::string_view, double) {
      Count& c = *static_cast<Count*>(context);
      return ++c.calls < c.most;
    };
    Result<Calibration> found = calibrate(model, pieces, with);
    calls = count.calls;
    return found;
  }
};

// What does not depend on the clock.
json reproducible(const Calibration& found) {
  json report = json::parse(found.report);
  std::vector<std::string> timed;
  for (const auto& [name, value] : report.items()) {
    const std::string text = value.dump();
    if (text.find("ms_per_token") != std::string::npos || name == "promise" || name == "no_go") timed.push_back(name);
  }
  for (const std::string& name : timed) report.erase(name);
  return report;
}

void expect_equal(const Calibration& a, const Calibration& b) {
  EXPECT_EQ(parts_bytes(a.exits), parts_bytes(b.exits));
  EXPECT_EQ(a.passed, b.passed);
  ASSERT_EQ(a.settings.size(), b.settings.size());
  for (size_t s = 0; s < a.settings.size(); ++s) {
    EXPECT_EQ(a.settings[s].policy, b.settings[s].policy);
    EXPECT_EQ(a.settings[s].work, b.settings[s].work);
    EXPECT_EQ(a.settings[s].held_out, b.settings[s].held_out);
  }
  ASSERT_EQ(a.losses.pieces.size(), b.losses.pieces.size());
  for (size_t p = 0; p < a.losses.pieces.size(); ++p) EXPECT_EQ(a.losses.pieces[p].losses, b.losses.pieces[p].losses);
  EXPECT_EQ(reproducible(a), reproducible(b));
}

TEST(Resume, AfterAnInterruptionAnywhereTheSameBytesCome) {
  Calibrated c;
  const int all = c.calls, step = std::max(1, all / 8);
  for (int at = 1; at <= all; at += step) {
    const std::string journal = c.files.path("at" + std::to_string(at));
    const Result<Calibration> stopped = c.run(journal, at);
    ASSERT_FALSE(stopped.has_value()) << "call " << at << " of " << all;
    EXPECT_EQ(stopped.error().code, ErrorCode::cancelled);
    const Result<Calibration> found = c.run(journal, 1 << 30);
    ASSERT_TRUE(found.has_value()) << found.error().message;
    EXPECT_LE(c.calls, all);
    expect_equal(*found, c.whole);
  }
}

TEST(Resume, WhatWasDoneIsNotDoneAgain) {
  Calibrated c;
  const int all = c.calls;
  const std::string journal = c.files.path("run");
  ASSERT_FALSE(c.run(journal, all).has_value());
  ASSERT_TRUE(c.run(journal, 1 << 30).has_value());
  EXPECT_LT(c.calls, all) << "profiles and speeds are made again, and nothing else";
}

TEST(Resume, AnyNumberOfInterruptionsIsAsGoodAsOne) {
  Calibrated c;
  const std::string journal = c.files.path("run");
  int n = 0;
  for (int at = 20;; ++n) {
    const Result<Calibration> found = c.run(journal, at);
    if (!found) {
      ASSERT_LT(n, 40) << found.error().message;
      at += at / 2;  // a part may take more calls than one run is given: the next has more
      continue;
    }
    expect_equal(*found, c.whole);
    break;
  }
  EXPECT_GT(n, 3);
}

TEST(Resume, AJournalOfOtherOptionsTextsOrModelsIsRefused) {
  Calibrated c;
  const std::string journal = c.files.path("run");
  ASSERT_FALSE(c.run(journal, c.calls).has_value());
  const auto message = [&](const Model& model, const Pieces& pieces, CalibrateOptions options) {
    options.journal.path = journal;
    const Result<Calibration> found = calibrate(model, pieces, options);
    return found.has_value() ? std::string() : found.error().message;
  };
  CalibrateOptions other = c.options;
  other.risk = 0.25;
  EXPECT_NE(message(c.model, c.pieces, other).find("risk"), std::string::npos);
  other = c.options;
  other.seed = 9;
  EXPECT_NE(message(c.model, c.pieces, other).find("seed 9"), std::string::npos);
  Pieces fewer = c.pieces;
  fewer.fingerprints[1][0] ^= 1;
  EXPECT_NE(message(c.model, fewer, c.options).find("pieces"), std::string::npos);
  const Model fast = Model::from_bytes(c.bytes, {.numerics = Numerics::fast}).value();
  EXPECT_NE(message(fast, c.pieces, c.options).find("numeric path"), std::string::npos);
  other = c.options;
  other.threads = 2;
  other.journal.path = journal;
  EXPECT_TRUE(calibrate(c.model, c.pieces, other).has_value()) << "threads change no bit";
}

}  // namespace
}  // namespace fathom

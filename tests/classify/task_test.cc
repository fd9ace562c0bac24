// A task from its texts to its labels: what was certified on states that were kept is what runs, whatever runs beside
// it.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "fathom/classify/classifier.h"
#include "fathom/classify/task_file.h"
#include "fathom/classify/train.h"
#include "src/calibrate/random.h"
#include "tests/support/encoders.h"
#include "tests/support/refused.h"
#include "tests/support/tiny_model.h"

namespace fathom {
namespace {

using testing::expect_refused;
using testing::tiny_model;

constexpr OpenOptions kExact{.numerics = Numerics::exact};

Model encoder(uint64_t seed = 1) { return tiny_model({.family = "bert", .seed = seed}, kExact); }

/// Texts of one-letter words: the label is the letter that half of the words are; a fifth of the texts have two in
/// equal parts, whose label is the first.
std::string lines(int n, const char* group = "") {
  fathom::Random random(17);
  std::string all;
  for (int i = 0; i < n; ++i) {
    const int label = static_cast<int>(random.uniform() * 3);
    const bool hard = random.uniform() < 0.2;
    std::string text(1, static_cast<char>('a' + label));
    for (int w = 0; w < 14; ++w) {
      const double kind = random.uniform();
      const char other = static_cast<char>('d' + static_cast<int>(random.uniform() * 20));
      const char rival = static_cast<char>('a' + (label + 1) % 3);
      text += std::string(" ") + (kind < (hard ? 0.3 : 0.5) ? static_cast<char>('a' + label)
                                  : hard && kind < 0.6      ? rival
                                                            : other);
    }
    all += fmt::format("{{\"text\":\"{} {}\",\"label\":\"{}\"{}}}\n", text, i, static_cast<char>('A' + label), group);
  }
  return all;
}

class Task : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    set_ = new LabelledSet(read_labelled(lines(1500), "lines").value());
    trained_ = new TrainedTask(train_task(encoder(), *set_, {.risk = 0.05}).value());
  }
  static void TearDownTestSuite() {
    delete trained_;
    delete set_;
  }
  static std::vector<std::string_view> texts(TaskSplit split) {
    std::vector<std::string_view> views;
    for (const LabelledText& text : set_->texts) {
      if (text.split == split) views.push_back(text.text);
    }
    return views;
  }
  static Classifier classifier(const EncoderOptions& options = {}) {
    const Model model = encoder();
    return Classifier::make(model, LabelHeads::make(model.config(), trained_->labels).value(), options).value();
  }
  static LabelledSet* set_;
  static TrainedTask* trained_;
};
LabelledSet* Task::set_ = nullptr;
TrainedTask* Task::trained_ = nullptr;

TEST_F(Task, a_task_that_words_nearly_tell_is_learnt_and_certified) {
  EXPECT_TRUE(trained_->certified);
  EXPECT_GT(double(trained_->all.right) / double(trained_->all.n), 0.8);
  EXPECT_LT(trained_->all.mean_depth, 4);
  EXPECT_NE(trained_->promise.find("at most 5 % of distinct texts"), std::string::npos) << trained_->promise;
  EXPECT_EQ(trained_->depths.size(), 5u);
  EXPECT_EQ(trained_->depths.back().agreement, 1);
}

TEST_F(Task, what_was_chosen_on_kept_states_is_what_runs) {
  Classifier run = classifier();
  const auto report = texts(TaskSplit::report);
  const auto full = run.classify(report).value(), early = run.classify(report, trained_->policy).value();
  int64_t differing = 0;
  double depth = 0;
  for (size_t i = 0; i < report.size(); ++i) {
    differing += full[i].labels != early[i].labels;
    depth += early[i].depth;
    EXPECT_EQ(full[i].depth, 4);
    EXPECT_EQ(early[i].depth, static_cast<float>(early[i].answered_at));
  }
  EXPECT_EQ(differing, trained_->all.differing);
  EXPECT_NEAR(depth / double(report.size()), trained_->all.mean_depth, 1e-6);
}

TEST_F(Task, every_threshold_runs_as_it_was_counted) {
  Classifier run = classifier();
  const auto choose = texts(TaskSplit::choose);
  const auto full = run.classify(choose).value();
  for (size_t s = 5; s < trained_->settings.size(); s += 13) {
    const TaskSetting& setting = trained_->settings[s];
    const auto threshold = static_cast<float>(setting.agreement_at_least);
    const Policy policy = word_exit{threshold} | exit_when{.agreement_at_least = threshold};
    const auto early = run.classify(choose, policy).value();
    double differing = 0, depth = 0;
    for (size_t i = 0; i < choose.size(); ++i) {
      differing += full[i].labels != early[i].labels;
      depth += early[i].depth;
    }
    EXPECT_NEAR(differing / double(choose.size()), setting.differing, 1e-9) << s;
    EXPECT_NEAR(depth / double(choose.size()), setting.mean_depth, 1e-6) << s;
  }
}

TEST_F(Task, a_text_s_label_hangs_on_the_text_alone) {
  Classifier run = classifier(), narrow = classifier({.max_rows = 40}), wide = classifier({.threads = 2});
  const auto all = texts(TaskSplit::report);
  const auto together = run.classify(all, trained_->policy).value();
  const std::vector<std::string_view> backwards(all.rbegin(), all.rend());
  const auto turned = narrow.classify(backwards, trained_->policy).value();
  const auto threaded = wide.classify(all, trained_->policy).value();
  for (size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(together[i].probability, turned[all.size() - 1 - i].probability) << i;
    EXPECT_EQ(together[i].probability, threaded[i].probability) << i;
    if (i % 23 != 0) continue;
    EXPECT_EQ(together[i].probability, run.classify({&all[i], 1}, trained_->policy).value()[0].probability);
  }
}

TEST_F(Task, a_text_that_words_decide_runs_nothing) {
  Classifier run = classifier();
  const auto said = run.classify(texts(TaskSplit::report), Policy(word_exit{0.0f})).value();
  for (const Classification& c : said) {
    EXPECT_EQ(c.depth, 0);
    EXPECT_EQ(c.work, 0);
    EXPECT_EQ(c.answered_at, 0);
  }
  expect_refused(run.classify(texts(TaskSplit::report), Policy(exit_when{.confidence_at_least = 2})),
                 ErrorCode::argument, {"confidence_at_least"});
}

TEST_F(Task, leaving_saves_the_layers_above) {
  Classifier run = classifier();
  const auto text = texts(TaskSplit::report).front();
  const auto said = run.classify({&text, 1}, Policy(exit_when{.agreement_at_least = 0.0f})).value();
  EXPECT_EQ(said[0].depth, 1);
  EXPECT_GT(said[0].work, 0.2);
  EXPECT_LT(said[0].work, 0.3);  // a quarter, and the head
}

TEST_F(Task, groups_are_promised_each_and_labels_where_that_was_asked) {
  const LabelledSet grouped = read_labelled(lines(700, ",\"group\":\"g\""), "lines").value();
  const TrainedTask by_group = train_task(encoder(), grouped, {.risk = 0.1}).value();
  EXPECT_NE(by_group.promise.find("of each of g"), std::string::npos) << by_group.promise;
  const TrainedTask by_label = train_task(encoder(), grouped, {.risk = 0.1, .by_label = true}).value();
  EXPECT_EQ(by_label.promised, (std::vector<std::string>{"A", "B", "C"}));
  EXPECT_GE(by_label.all.mean_depth, by_group.all.mean_depth);  // what holds for each label holds for all
}

TEST_F(Task, several_labels_are_a_task_too) {
  std::string all;
  fathom::Random random(5);
  for (int i = 0; i < 900; ++i) {
    const bool a = random.uniform() < 0.5, b = random.uniform() < 0.5;
    all += fmt::format("{{\"text\":\"{} {} x y z {}\",\"labels\":[{}{}{}]}}\n", a ? "a a a" : "c d",
                       b ? "b b b" : "e f", i, a ? "\"A\"" : "", a && b ? "," : "", b ? "\"B\"" : "");
  }
  const LabelledSet set = read_labelled(all, "lines").value();
  const TrainedTask trained = train_task(encoder(), set, {.risk = 0.1}).value();
  EXPECT_GT(double(trained.all.right) / double(trained.all.n), 0.8);
  const Model model = encoder();
  Classifier run = Classifier::make(model, LabelHeads::make(model.config(), trained.labels).value()).value();
  const std::string_view both = "a a a b b b x y z 7", none = "c d e f x y z 7";
  EXPECT_EQ(run.classify({&both, 1}).value()[0].labels, (std::vector<int32_t>{0, 1}));
  EXPECT_TRUE(run.classify({&none, 1}).value()[0].labels.empty());
}

TEST_F(Task, too_few_texts_give_heads_and_no_promise) {
  const LabelledSet few = read_labelled(lines(150), "lines").value();
  const TrainedTask trained = train_task(encoder(), few, {.risk = 0.01}).value();
  EXPECT_FALSE(trained.certified);
  EXPECT_TRUE(trained.policy.is_full_depth());
  EXPECT_TRUE(trained.promise.empty());
  EXPECT_EQ(trained.all.differing, 0);
}

TEST_F(Task, heads_of_another_encoder_and_decoders_are_refused) {
  const Model deeper = tiny_model({.family = "bert", .n_layers = 5}, kExact);
  expect_refused(LabelHeads::make(deeper.config(), trained_->labels), ErrorCode::argument, {"full depth, 5 layers"});
  const Model decoder = tiny_model();
  const auto heads = LabelHeads::make(decoder.config(), trained_->labels).value();
  expect_refused(Classifier::make(decoder, heads), ErrorCode::argument, {"predicts tokens"});
}

TEST_F(Task, a_sidecar_holds_for_its_model_and_path_alone) {
  const std::string path = ::testing::TempDir() + "fathom_task_" + std::to_string(getpid()), file = path + ".fathom";
  const testing::TinyOptions tiny{.family = "bert"};
  const testing::Bytes bytes = testing::tiny_gguf(tiny);
  const auto gguf = [&](const testing::Bytes& content, const std::string& name) {
    std::ofstream(name, std::ios::binary)
        .write(reinterpret_cast<const char*>(content.data()), static_cast<std::streamsize>(content.size()));
    return ModelFile::open(name).value();
  };
  const ModelFile model = gguf(bytes, path + ".gguf");
  const SidecarBinding binding = binding_of(path + ".gguf", model, Numerics::exact).value().binding;
  const TrainOptions options{.risk = 0.05};
  const std::string report = task_report_json(*set_, *trained_, options, {.model_name = "tiny"});
  ASSERT_TRUE(write_task(file, *trained_, options, binding, 100, {.library = "0"}, report));
  const TaskFile task = open_task(file, path + ".gguf", model, Numerics::exact).value();
  EXPECT_EQ(task.labels, trained_->labels);
  EXPECT_EQ(task.certified, trained_->policy);
  EXPECT_EQ(task.max_tokens, 100);
  EXPECT_EQ(task.promise, trained_->promise);
  EXPECT_TRUE(task.warning.empty());

  const TaskFile rounded = open_task(file, path + ".gguf", model, Numerics::bf16).value();
  EXPECT_TRUE(rounded.policy.is_full_depth());
  EXPECT_TRUE(rounded.promise.empty());
  EXPECT_NE(rounded.warning.find("nothing is promised"), std::string::npos) << rounded.warning;
  const ModelFile other = gguf(testing::tiny_gguf({.family = "bert", .seed = 2}), path + "_other.gguf");
  expect_refused(open_task(file, path + "_other.gguf", other, Numerics::exact), ErrorCode::argument,
                 {"trained for another model"});
  for (const char* end : {".gguf", "_other.gguf", ".fathom"}) unlink((path + end).c_str());
}

TEST_F(Task, rows_of_a_text_leave_together_or_not_at_all) {
  Classifier run = classifier();
  const auto texts = Task::texts(TaskSplit::report);
  // Raw similarity differs from row to row; without the rule some rows would stay and others leave.
  const auto said = run.classify(texts, Policy(exit_when{.signal = Signal::similarity, .at_least = 0.98f})).value();
  for (const Classification& c : said) EXPECT_EQ(c.depth, static_cast<float>(c.answered_at));
}

TEST_F(Task, heads_of_other_widths_are_refused) {
  const Model wider = tiny_model({.family = "bert", .d_model = 96}, kExact), own = encoder();
  const auto heads = LabelHeads::make(own.config(), trained_->labels).value();
  expect_refused(Classifier::make(wider, heads), ErrorCode::argument, {"states of 64", "96"});
  expect_refused(Classifier::make(own, nullptr), ErrorCode::argument, {"none"});
}

TEST_F(Task, the_report_is_a_page_and_a_damaged_one_is_refused) {
  const std::string json = task_report_json(*set_, *trained_, {.risk = 0.05}, {.model_name = "tiny", .data = "lines"});
  const std::string page = task_report_html(json).value();
  for (const char* part :
       {"Accuracy against cost", "Where texts leave", "By label", "needed full depth", "words alone"}) {
    EXPECT_NE(page.find(part), std::string::npos) << part;
  }
  EXPECT_FALSE(task_report_html("{}"));
  EXPECT_FALSE(task_report_html(json.substr(0, json.size() / 2)));
}

}  // namespace
}  // namespace fathom

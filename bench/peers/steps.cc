// Ours as a peer sees it: opens a model once and evaluates ids, one JSON request a line; _worker.py is the other side
// and answers the same requests. The first line out tells how long opening and the first token's logits took.
// Next: throughput.py, which asks both.
//   bench_steps MODEL THREADS CONTEXT FIRST_TOKEN [--target NAME] [--numerics NAME]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "bench/json_lines.h"
#include "fathom/fathom.h"

namespace fathom {
namespace {

using Json = nlohmann::json;
using Ids = std::vector<int32_t>;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

class Evaluator {
 public:
  explicit Evaluator(Session session) : session_(std::move(session)) {}

  /// Appends ids to the sequence in steps of at most max_rows; logits of the last id, or of all.
  void run(const Ids& ids, RowKind kind, const Policy& policy = {}, bool all_logits = false) {
    const auto chunk = static_cast<size_t>(session_.options().max_rows);
    for (size_t at = 0; at < ids.size(); at += chunk) {
      rows_.clear();
      for (size_t i = at; i < std::min(ids.size(), at + chunk); ++i) {
        const int32_t position = session_.length() + static_cast<int32_t>(i - at);
        rows_.push_back({ids[i], 0, position, kind, all_logits || i + 1 == ids.size()});
      }
      session_.step(rows_, policy.ref()).value();
    }
  }

  /// Seconds to feed ids one by one.
  double feed(const Ids& ids, const Policy& policy = {}) {
    const auto begin = Clock::now();
    for (int32_t id : ids) run({id}, RowKind::generated, policy);
    return seconds_since(begin);
  }

  Json decode(const Json& request) {
    const Policy policy = Policy::parse(request.value("policy", "full_depth")).value();
    session_.truncate(0, 0).value();
    run(request.at("prompt").get<Ids>(), RowKind::prompt, policy);
    return {{"seconds", feed(request.at("ids").get<Ids>(), policy)}};
  }

  Json prefill(const Json& request) {
    const auto ids = request.at("ids").get<Ids>();
    session_.truncate(0, 0).value();
    const auto begin = Clock::now();
    run(ids, RowKind::prompt);
    return {{"seconds", seconds_since(begin)}};
  }

  /// `decode` after what the sequence holds; forgets the ids again.
  Json resume(const Json& request) {
    const int32_t length = session_.length();
    const double seconds = feed(request.at("ids").get<Ids>());
    session_.truncate(0, length).value();
    return {{"seconds", seconds}};
  }

  /// Median seconds of a step of all ids, and of a step of the first, each after what the sequence holds.
  Json rows(const Json& request) {
    const auto ids = request.at("ids").get<Ids>();
    const Ids first = {ids.front()};
    std::vector<double> all, one;
    for (int i = 0; i < request.at("repeats").get<int>(); ++i) {
      all.push_back(step_seconds(ids));
      one.push_back(step_seconds(first));
    }
    return {{"seconds", median(all)}, {"one", median(one)}};
  }

  Json answer(const Json& request) {
    const auto work = request.at("work").get<std::string>();
    if (work == "decode") return decode(request);
    if (work == "prefill") return prefill(request);
    if (work == "resume") return resume(request);
    if (work == "rows") return rows(request);
    throw std::invalid_argument("'" + work + "' is no work: ask for decode, prefill, resume or rows");
  }

 private:
  double step_seconds(const Ids& ids) {
    const int32_t length = session_.length();
    const auto begin = Clock::now();
    run(ids, RowKind::generated, {}, true);
    const double seconds = seconds_since(begin);
    session_.truncate(0, length).value();
    return seconds;
  }

  static double median(std::vector<double>& times) {
    std::sort(times.begin(), times.end());
    return (times[times.size() / 2] + times[(times.size() - 1) / 2]) / 2;
  }

  Session session_;
  std::vector<Row> rows_;
};

int serve(int argc, char** argv) {
  if (argc < 5) throw std::invalid_argument("usage: bench_steps MODEL THREADS CONTEXT FIRST_TOKEN [OPTION VALUE...]");
  const auto begin = Clock::now();
  const bench::ServeOptions options = bench::serve_options(argc, argv, 5);
  const Model model = Model::open(options.path, options.open).value();
  Evaluator side(Session::make(model, {.max_tokens = options.context, .threads = options.open.threads}).value());
  side.run({std::atoi(argv[4])}, RowKind::prompt);
  const double seconds = seconds_since(begin);
  bench::put_line(
      {{"system", model.tables()[0]->name}, {"numerics", model.fingerprint().numeric_path}, {"load_seconds", seconds}});
  bench::answer_lines([&](const Json& request) { return side.answer(request); });
  return 0;
}

}  // namespace
}  // namespace fathom

int main(int argc, char** argv) { return fathom::bench::run("bench_steps", fathom::serve, argc, argv); }

// Ours as a peer sees it: opens an encoder once and embeds texts, one JSON request a line; _worker.py is the other side
// and answers the same requests. Next: throughput.py, which asks all of them.
//   bench_texts MODEL THREADS MAX_TOKENS [--target NAME] [--numerics NAME] [--quantise q8_0]
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "bench/json_lines.h"
#include "bench/roofs.h"
#include "fathom/fathom.h"

namespace fathom {
namespace {

using Json = nlohmann::json;

class Side {
 public:
  explicit Side(Encoder encoder) : encoder_(std::move(encoder)) {}

  Json answer(const Json& request) {
    const auto work = request.at("work").get<std::string>();
    const auto name = request.at("name").get<std::string>();
    if (work == "keep") return keep(name, request.at("texts").get<std::vector<std::string>>());
    const std::vector<std::string>& texts = kept_.at(name);
    if (work == "run") return run(texts, request.at("batch").get<size_t>());
    if (work == "embeddings") return embeddings(texts, request.at("first").get<size_t>());
    throw std::invalid_argument("'" + work + "' is no work: ask for keep, run or embeddings");
  }

 private:
  Json keep(const std::string& name, std::vector<std::string> texts) {
    int64_t tokens = 0;
    for (const Embedding& e : embed(texts)) tokens += e.tokens;
    kept_[name] = std::move(texts);
    return {{"tokens", tokens}};
  }

  std::vector<Embedding> embed(std::span<const std::string> texts) {
    const std::vector<std::string_view> views(texts.begin(), texts.end());
    return encoder_.embed(views).value();
  }

  /// `batch` texts a call; 0: all of them in one.
  Json run(std::span<const std::string> texts, size_t batch) {
    const auto begin = bench::Clock::now();
    const size_t each = batch == 0 ? texts.size() : batch;
    for (size_t at = 0; at < texts.size(); at += each) embed(texts.subspan(at, std::min(each, texts.size() - at)));
    return {{"seconds", bench::seconds_since(begin)}};
  }

  Json embeddings(std::span<const std::string> texts, size_t first) {
    Json all = Json::array();
    for (const Embedding& e : embed(texts.first(std::min(first, texts.size())))) all.push_back(e.values);
    return {{"embeddings", std::move(all)}};
  }

  Encoder encoder_;
  std::map<std::string, std::vector<std::string>> kept_;
};

int serve(int argc, char** argv) {
  if (argc < 4) throw std::invalid_argument("usage: bench_texts MODEL THREADS MAX_TOKENS [OPTION VALUE...]");
  const bench::ServeOptions options = bench::serve_options(argc, argv, 4);
  const Model model = Model::open(options.path, options.open).value();
  Side side(Encoder::make(model, {.max_tokens = options.context, .threads = options.open.threads}).value());
  bench::put_line({{"system", model.tables()[0]->name}, {"numerics", model.fingerprint().numeric_path}});
  bench::answer_lines([&](const Json& request) { return side.answer(request); });
  return 0;
}

}  // namespace
}  // namespace fathom

int main(int argc, char** argv) { return fathom::bench::run("bench_texts", fathom::serve, argc, argv); }

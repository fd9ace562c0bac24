// Reading blocks of texts. Next: embed.cc, classify.cc.
#include "src/cli/text_blocks.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

namespace fathom::cli {
namespace {

// Of one block: enough texts to fill steps however short they are, and a bound on memory however long.
constexpr size_t kBlockTexts = 2048, kBlockBytes = size_t{8} << 20;
constexpr int64_t kBadLinesShown = 5;

}  // namespace

std::vector<std::string_view> TextBlock::texts() const {
  std::vector<std::string_view> views;
  for (const PromptLine& line : lines) views.push_back(line.text);
  return views;
}

TextBlock TextReader::next() {
  TextBlock block;
  while (block.lines.size() < kBlockTexts && block.bytes < kBlockBytes) {
    if (!block.lines.empty() && !source_.ready()) break;
    auto line = source_.next();
    if (line && line->has_value()) {
      block.state = take(**line, block);
      if (block.state) continue;
    } else if (!line) {
      block.state = line.error();
    }
    block.ended = true;
    break;
  }
  return block;
}

Result<void> TextReader::take(const LineSource::Line& line, TextBlock& block) {
  Result<PromptLine> read =
      line.too_long ? Error{ErrorCode::format,
                            fmt::format("longer than {} bytes: give a shorter text", LineSource::kMaxLineBytes)}
                    : read_prompt_line(line.text, {.seed = false, .empty_text = true});
  if (read) {
    block.numbers.push_back(line.number);
    block.bytes += read->text.size();
    block.lines.push_back(*std::move(read));
    return {};
  }
  const std::string fault = fmt::format("{}, line {}: {}", source_.name(), line.number, read.error().message);
  if (!skips_) return Error{read.error().code, fault};
  if (++bad_ <= kBadLinesShown) spdlog::warn("{}; left out", fault);
  return {};
}

}  // namespace fathom::cli

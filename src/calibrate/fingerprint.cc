// binding_of and compare: what a sidecar is bound to, and what breaks the bond. Next in the flow: manifest.cc.
#include "fathom/calibrate/fingerprint.h"

#include <fmt/format.h>

#include <string_view>

#include "src/text/utf8.h"

namespace fathom {
namespace {

constexpr size_t kMostName = 256;  // bytes of a model's name

// The name's beginning, cut between characters, with U+FFFD for what is no UTF-8.
std::string short_name(std::string_view name) {
  std::string storage;
  const std::string_view valid = text::valid_text(name, storage);
  size_t n = 0;
  while (n < valid.size() && n + text::char_bytes(static_cast<unsigned char>(valid[n])) <= kMostName) {
    n += text::char_bytes(static_cast<unsigned char>(valid[n]));
  }
  return std::string(valid.substr(0, n));
}

}  // namespace

Result<BoundModel> binding_of(const std::string& path, const ModelFile& file, const Rounding& rounding,
                              const Sha256Options& options) {
  const std::span<const std::string> files = file.files();
  FATHOM_TRY(FileSha256 digest, files.size() > 1 ? sha256_of_files(files, options) : sha256_of_file(path, options));
  if (digest.bytes != file.bytes()) {
    return Error{ErrorCode::file, fmt::format("file {}: has {} bytes, and had {} when it was opened: open it again",
                                              path, digest.bytes, file.bytes())};
  }
  const ModelConfig& config = file.config();
  const Fingerprint print = file.fingerprint(rounding);
  return BoundModel{.binding = {.name = short_name(config.name),
                                .sha256 = digest.hex,
                                .tokenizer = print.tokenizer,
                                .numeric_path = print.numeric_path,
                                .n_layers = config.n_layers,
                                .d_model = config.d_model,
                                .vocab = config.vocab},
                    .digest = std::move(digest)};
}

std::vector<std::string> compare(const SidecarBinding& sidecar, const SidecarBinding& model) {
  std::vector<std::string> found;
  const auto differ = [&](std::string_view what, const std::string& theirs, const std::string& ours) {
    if (theirs != ours) {
      found.push_back(
          fmt::format("{}: calibrated for {}, here it is {}", what, text::printable(theirs), text::printable(ours)));
    }
  };
  constexpr size_t kShown = 16;  // digits of a digest that people compare
  if (sidecar.sha256 != model.sha256) {
    const auto named = [](const SidecarBinding& b) {
      const std::string prefix = b.sha256.substr(0, kShown);
      return b.name.empty() ? "sha256 " + prefix : b.name + " (sha256 " + prefix + ")";
    };
    differ("model file", named(sidecar), named(model));
    if (found.empty()) found.push_back("model file: calibrated for another one, of the same name and first digits");
  }
  differ("tokenizer", fmt::format("{:016x}", sidecar.tokenizer), fmt::format("{:016x}", model.tokenizer));
  differ("numeric path", sidecar.numeric_path, model.numeric_path);
  differ("layers", fmt::to_string(sidecar.n_layers), fmt::to_string(model.n_layers));
  differ("d_model", fmt::to_string(sidecar.d_model), fmt::to_string(model.d_model));
  differ("vocabulary", fmt::to_string(sidecar.vocab), fmt::to_string(model.vocab));
  return found;
}

}  // namespace fathom

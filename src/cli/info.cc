// `fathom info`: everything known about a model file and who computes what on this machine. Next: tokenize.cc.
#include <fmt/format.h>

#include <memory>

#include "fathom/model/describe.h"
#include "fathom/text/chat.h"
#include "src/cli/command.h"

namespace fathom::cli {
namespace {

struct Args {
  ModelArgs model;
  bool json = false;
};

std::string plain(const Json& value) { return value.is_string() ? value.get<std::string>() : to_line(value); }

std::string megabytes(const Json& bytes) { return fmt::format("{:.1f} MB", bytes.get<double>() / 1e6); }

// One line for each group of equal layers: its numbers, then its switches.
std::string layer_lines(const Json& layers) {
  std::string text;
  for (const Json& group : layers) {
    text += fmt::format("  layers {}:", group.at("layers").get<std::string>());
    const bool rotates = group.at("rope_dim").get<int>() > 0;
    for (const auto& [key, value] : group.items()) {
      if (key == "layers" || (value.is_boolean() && !value.get<bool>())) continue;
      if (!rotates && (key == "pairing" || key.starts_with("rope_"))) continue;
      text += value.is_boolean() ? " " + key : fmt::format(" {}={}", key, plain(value));
    }
    text += "\n";
  }
  return text;
}

// Operations that the same kernel serves stand together.
std::string kernel_lines(const Json& kernels) {
  std::string text;
  for (const Json& k : kernels) {
    const std::string operation =
        k.at("operation").get<std::string>() + (k.contains("layers") ? " " + k.at("layers").get<std::string>() : "");
    text += fmt::format("  {:<44} {}\n", operation,
                        k.at("kernel").is_null() ? "nobody: not served here" : plain(k.at("kernel")));
  }
  return text;
}

// What a model that predicts tokens has beside its layers.
std::string predicting_lines(const Json& j) {
  const Json& memory = j.at("memory");
  return fmt::format("  KV cache {} bytes a token (f16), {} at full context\n\nchat template\n  {}\n",
                     plain(memory.at("kv_bytes_per_token").at("f16")),
                     megabytes(memory.at("kv_bytes_at_context").at("f16")), plain(j.at("chat_template_kind")));
}

std::string encoding_lines(const Json& encoder) {
  return fmt::format("\nembeddings\n  {}{}; texts are cut at {} tokens\n",
                     encoder.at("pooling") == "mean" ? "mean of all tokens" : "that of the first token",
                     encoder.at("unit_length").get<bool>() ? ", of length 1" : "", plain(encoder.at("usual_tokens")));
}

std::string describe(const Json& j) {
  const std::string name = plain(j.at("name")), family = plain(j.at("family"));
  std::string text = fmt::format("{}, {} layers, d_model {}, vocabulary {}, context {}, {:.1f} M parameters\n",
                                 name.empty() ? family : fmt::format("{} ({})", name, family), plain(j.at("n_layers")),
                                 plain(j.at("d_model")), plain(j.at("vocab")), plain(j.at("context")),
                                 j.at("parameters").get<double>() / 1e6);
  text += layer_lines(j.at("layers"));
  const Json& memory = j.at("memory");
  text += fmt::format("\nmemory\n  file {}, packed {}, token table {}\n", megabytes(j.at("file_bytes")),
                      megabytes(memory.at("packed_bytes")), megabytes(memory.at("embedding_bytes")));
  text += j.at("encoder").is_null() ? predicting_lines(j) : encoding_lines(j.at("encoder"));
  text += "\nwhere values come from\n";
  for (const Json& s : j.at("sources")) {
    text += fmt::format("  {:<34} {:<18} {}\n", plain(s.at("name")), plain(s.at("value")), plain(s.at("source")));
  }
  text += "\nkernels on this machine\n" + kernel_lines(j.at("kernels"));
  text += "\ntypes\n";
  for (const auto& [type, sum] : j.at("types").items()) {
    text += fmt::format("  {:<6} {:>4} tensors {:>12}\n", type, plain(sum.at("tensors")), megabytes(sum.at("bytes")));
  }
  text += "\ntensors\n";
  for (const Json& t : j.at("tensors")) {
    text += fmt::format("  {:<32} {:<5} {} x {}\n", plain(t.at("name")), plain(t.at("type")), plain(t.at("rows")),
                        plain(t.at("cols")));
  }
  return text + "\nlimits\n  " + plain(j.at("limits")) + "\nfingerprint\n  " + plain(j.at("fingerprint")) + "\n";
}

Result<int> run(const Args& args) {
  FATHOM_TRY(const ModelFile file, open_file(args.model));
  FATHOM_TRY(const Model model, pack(file, args.model));
  Json json = Json::parse(describe_json(model));
  const auto chat = ChatTemplate::make(model.tokenizer());
  json["chat_template_kind"] = chat ? std::string(name_of(chat->kind())) : chat.error().message;
  if (args.json) {
    if (!chat) json["chat_template_kind"] = nullptr;
    FATHOM_TRY(print_json(json));
  } else {
    FATHOM_TRY(print(describe(json)));
  }
  return kOk;
}

}  // namespace

Command add_info(CLI::App& app) {
  auto args = std::make_shared<Args>();
  CLI::App* verb = app.add_subcommand("info", "Describe a model file and the kernels that serve it here");
  add_model_options(*verb, args->model);
  verb->add_flag("--json", args->json, "One line of JSON, docs/schema/info.json");
  return {verb, [args] { return run(*args); }};
}

}  // namespace fathom::cli

// The text on stdout as it comes, and the line of figures on stderr after it. Next: stream.cc.
#pragma once

#include <string>
#include <string_view>

#include "fathom/core/result.h"
#include "fathom/engine/generate.h"
#include "src/cli/command.h"
#include "src/cli/depth_picture.h"

namespace fathom::cli {

/// Writes text token by token: shaded, harmless to a terminal, or byte for byte where it goes elsewhere.
class Stream {
 public:
  Stream(int32_t n_layers, bool color) : picture_(n_layers), color_(color), terminal_(on_terminal()) {}

  void write(const GeneratedToken& token);
  /// Ends the last line, and says which shade is which depth.
  ///   errors   file: the first failure to write
  Result<void> finish();

 private:
  DepthPicture picture_;
  bool color_;
  bool terminal_;
  bool line_begun_ = false;
  bool drafted_ = false;  // some token was
  Result<void> state_;
};

/// `--color`, as use_color() takes it.
void add_color_option(CLI::App& verb, std::string& color);

/// A generation as `--json` shows it, docs/schema/generate.json.
Json result_of(const Generation& out, const Model& model, const Policy& policy);

/// tokens/s, mean depth, work, why it stopped; one line on stderr.
void summarise(const Generation& out, const Model& model);

}  // namespace fathom::cli

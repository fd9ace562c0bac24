// Journal: the dear parts of a calibration in the order in which they were done, so that the same run, begun again,
// reads them in place of doing them. Next in the flow: src/calibrate/calibrate.cc.
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fathom/calibrate/calibrate.h"
#include "fathom/core/result.h"
#include "src/calibrate/packing.h"

namespace fathom {

/// A calibration asks for its parts in a fixed order, so a part is known by its place and its name. Parts may stand
/// inside parts: when the outer one is done, it stands in their place. The file is written anew, whole, after each.
class Journal {
 public:
  /// Keeps nothing.
  Journal() = default;

  /// Opens the journal of a run, or begins one; nothing is written before a part is done.
  ///   run      what the run is, line by line: the same for the same results
  ///   errors   argument: it is another run's (the first difference is named); file: it cannot be read or is no
  ///            journal; format: it is damaged
  static Result<Journal> open(const CalibrateJournal& place, std::string run);

  /// The value of a part: what was kept, or what make() gives, which is then kept.
  ///   make     Result<T>()
  ///   fits     bool(const T&): whether what was kept is of the size that the run expects
  ///   errors   those of make(); file: the journal cannot be written; format: what was kept is no such value
  template <class T, class F, class G>
  Result<T> part(std::string_view name, F&& make, G&& fits) {
    if (at_ < parts_.size() && parts_[at_].name == name) {
      T value{};
      Unpacker from(parts_[at_++].bytes);
      from(value);
      if (from.at_end() && fits(value)) return value;
      return Error{ErrorCode::format, fmt::format("{}: {} cannot be read: give --restart to begin anew", path_, name)};
    }
    const size_t begin = at_;
    FATHOM_TRY(T value, make());
    if (path_.empty()) return value;
    Packer to;
    to(value);
    parts_.resize(begin);
    parts_.push_back({std::string(name), std::move(to.bytes)});
    at_ = parts_.size();
    FATHOM_TRY(write());
    return value;
  }

 private:
  struct Part {
    std::string name;
    std::vector<std::byte> bytes;
    template <class P>
    friend void pack(P& p, Part& part) {
      p(part.name), p(part.bytes);
    }
  };
  Result<void> write() const;

  std::string path_;  // empty: nothing is kept
  std::string run_, note_;
  std::vector<Part> parts_;
  size_t at_ = 0;  // the coming part
};

/// What results depend on: build, model, numeric path, text, options; not threads and not what is only timed.
std::string identity_of(const Model& model, const Pieces& pieces, const CalibrateOptions& options);

}  // namespace fathom

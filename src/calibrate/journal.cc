// Journal: a sidecar that says what the run is, and what is done of it.
#include "src/calibrate/journal.h"

#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>

#include "fathom/calibrate/sidecar_file.h"
#include "src/calibrate/section_bytes.h"

namespace fathom {
namespace {

constexpr std::string_view kRun = "run", kDone = "done", kNote = "note";  // sections

Result<std::string_view> text_of(const SidecarFile& file, std::string_view section) {
  FATHOM_TRY(const auto bytes, file.section(section));
  return std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

std::string_view first_line(std::string_view text) { return text.substr(0, text.find('\n')); }

// The first lines that are not alike: what the file's run was, and what this one is.
std::string difference(std::string_view there, std::string_view here) {
  while (!there.empty() && !here.empty() && first_line(there) == first_line(here)) {
    there.remove_prefix(std::min(there.size(), first_line(there).size() + 1));
    here.remove_prefix(std::min(here.size(), first_line(here).size() + 1));
  }
  return fmt::format("there {}, here {}", first_line(there), first_line(here));
}

}  // namespace

Result<Journal> Journal::open(const CalibrateJournal& place, std::string run) {
  Journal journal;
  journal.path_ = place.path;
  journal.note_ = place.note;
  journal.run_ = std::move(run);
  if (place.restart || ::access(place.path.c_str(), F_OK) != 0) return journal;
  FATHOM_TRY(const SidecarFile file, SidecarFile::open(place.path));
  FATHOM_TRY(const std::string_view text, text_of(file, kRun));
  if (text != journal.run_) {
    return Error{ErrorCode::argument,
                 fmt::format("{} is of another run: {}: give the command that it is of, or --restart to begin anew",
                             place.path, difference(text, journal.run_))};
  }
  FATHOM_TRY(const auto done, file.section(kDone));
  Unpacker from(done);
  from(journal.parts_);
  if (from.at_end()) return journal;
  return Error{ErrorCode::format, fmt::format("{} is damaged: give --restart to begin anew", place.path)};
}

Result<void> Journal::write() const {
  Packer done;
  done(parts_);
  std::vector<SidecarSection> sections = {{std::string(kRun), bytes_of(run_)}, {std::string(kDone), done.bytes}};
  if (!note_.empty()) sections.push_back({std::string(kNote), bytes_of(note_)});
  return write_sidecar(path_, sections);
}

std::string identity_of(const Model& model, const Pieces& pieces, const CalibrateOptions& options) {
  const Fingerprint& print = model.fingerprint();
  return fmt::format(
      "library {}\nmodel {} {:016x} {:016x}\nnumeric path {}\nkernels {}\npieces {}\ntokens of a piece {}\nrisk {} "
      "{}\ntemperature {}\nconfidence {}\nown settings {}\nexits {}\nsettings {}\nseed {}\n",
      options.origin.library, options.origin.sha256, print.model, print.tokenizer, print.numeric_path,
      model.tables()[0]->name, fmt::join(pieces.fingerprints, " "), pieces.piece_tokens, options.risk,
      fmt::join(options.more_risks, " "), options.temperature, options.confidence, options.own_settings,
      options.n_exits, options.n_settings, options.seed);
}

std::string journal_note(const std::string& path) {
  const Result<SidecarFile> file = SidecarFile::open(path);
  if (!file) return {};
  const Result<std::string_view> note = text_of(*file, kNote);
  return note ? std::string(*note) : std::string();
}

}  // namespace fathom

// `fathom report`: what a calibration found, as one page to read or as numbers. Next:
// policy.cc.
#include "fathom/calibrate/report.h"

#include <fmt/format.h>

#include <memory>
#include <span>
#include <string>

#include "fathom/calibrate/sidecar_file.h"
#include "src/calibrate/whole_file.h"
#include "src/cli/command.h"

namespace fathom::cli {
namespace {

constexpr OutputKind kPage = {.name = "-o", .first = kReportPageStart, .foreign = "exists and is no page of this verb"};

struct Args {
  std::string file;
  std::string page;
  bool json = false;
};

Result<std::string> section_of(const Result<SidecarFile>& sidecar) {
  if (!sidecar) return sidecar.error();
  FATHOM_TRY(const std::string_view json, sidecar->json(section::kReport));
  return std::string(json);
}

// The report's JSON: a sidecar's section, or the file itself.
Result<std::string> read_report(const std::string& path) {
  // A sidecar may be larger than any text: it is opened where it lies.
  if (path != "-" && begins_with(path, kSidecarStart)) return section_of(SidecarFile::open(path));
  FATHOM_TRY(std::string text, read_file(path));
  if (text.empty()) {
    return Error{ErrorCode::format, fmt::format("{} is empty: give a report's JSON or a sidecar", path)};
  }
  if (!text.starts_with(kSidecarStart)) return text;
  return section_of(SidecarFile::from_bytes(std::as_bytes(std::span(text.data(), text.size()))));
}

Result<int> run(const Args& args) {
  if (args.page.empty() && !args.json) {
    return Error{ErrorCode::argument, "-o is missing: give the page's path, such as -o report.html, or --json"};
  }
  if (!args.page.empty()) FATHOM_TRY(check_place(args.page, kPage));  // before the work
  FATHOM_TRY(const std::string json, read_report(args.file));
  if (!args.page.empty()) {
    FATHOM_TRY(const std::string page, report_html(json));
    FATHOM_TRY(write_whole_file(args.page, kPage, page));
  }
  if (args.json) {
    FATHOM_TRY(const std::string line, report_line(json));
    FATHOM_TRY(print(line + "\n"));
  }
  return kOk;
}

}  // namespace

Command add_report(CLI::App& app) {
  auto args = std::make_shared<Args>();
  CLI::App* verb = app.add_subcommand("report", "Write what a calibration found as one page that needs no network");
  verb->add_option("file", args->file, "A sidecar, or a report's JSON; - is standard input")->required();
  verb->add_option("-o,--output", args->page, "The page; replaces nothing but an earlier one");
  verb->add_flag("--json", args->json, "The same numbers as one line of JSON, docs/schema/report.json");
  return {verb, [args] { return run(*args); }};
}

}  // namespace fathom::cli

// `fathom report`: what a calibration found, as one page to read or as numbers. Last of the verbs.
#include "fathom/calibrate/report.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <system_error>

#include "src/cli/command.h"

namespace fathom::cli {
namespace {

struct Args {
  std::string file;
  std::string page;
  bool json = false;
};

// The report's JSON: the file itself.
Result<std::string> read_report(const std::string& path) {
  FATHOM_TRY(std::string text, read_file(path));
  if (text.empty()) {
    return Error{ErrorCode::format, fmt::format("{} is empty: give a report's JSON", path)};
  }
  return text;
}

Error cannot_write(const std::string& path) {
  return {ErrorCode::file,
          fmt::format("-o {}: {}: give a path that can be written", path, std::generic_category().message(errno))};
}

// Whether a page may stand at `path`: nothing is there, or nothing but an earlier page.
Result<void> may_replace(const std::string& path) {
  struct stat s {};
  if (stat(path.c_str(), &s) != 0) return errno == ENOENT ? Result<void>() : cannot_write(path);
  const Error foreign{ErrorCode::file,
                      fmt::format("-o {}: exists and is no page of this verb: give another path", path)};
  if (!S_ISREG(s.st_mode)) return foreign;
  if (s.st_size == 0) return {};
  std::FILE* const file = std::fopen(path.c_str(), "rb");
  if (file == nullptr) return cannot_write(path);
  std::string first(kReportPageStart.size(), '\0');
  const size_t n = std::fread(first.data(), 1, first.size(), file);
  std::fclose(file);
  return n == first.size() && first == kReportPageStart ? Result<void>() : foreign;
}

bool write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = write(fd, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    text.remove_prefix(static_cast<size_t>(n));
  }
  return fsync(fd) == 0;
}

// Written beside its place and moved there whole: whatever fails, what was there stays. A symbolic link is followed.
Result<void> write_page(std::string path, const std::string& page) {
  FATHOM_TRY(may_replace(path));
  if (char* const real = realpath(path.c_str(), nullptr); real != nullptr) {
    path = real;
    std::free(real);
  }
  std::string beside = path + ".XXXXXX";
  const int fd = mkstemp(beside.data());
  if (fd < 0) return cannot_write(path);
  const mode_t mask = umask(0);
  umask(mask);
  const bool written = fchmod(fd, 0666 & ~mask) == 0 && write_all(fd, page);
  if (close(fd) == 0 && written && rename(beside.c_str(), path.c_str()) == 0) return {};
  const Error error = cannot_write(path);
  unlink(beside.c_str());
  return error;
}

Result<int> run(const Args& args) {
  if (args.page.empty() && !args.json) {
    return Error{ErrorCode::argument, "-o is missing: give the page's path, such as -o report.html, or --json"};
  }
  if (!args.page.empty()) FATHOM_TRY(may_replace(args.page));  // before the work
  FATHOM_TRY(const std::string json, read_report(args.file));
  if (!args.page.empty()) {
    FATHOM_TRY(const std::string page, report_html(json));
    FATHOM_TRY(write_page(args.page, page));
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
  verb->add_option("file", args->file, "A report's JSON; - is standard input")->required();
  verb->add_option("-o,--output", args->page, "The page; replaces nothing but an earlier one");
  verb->add_flag("--json", args->json, "The same numbers as one line of JSON, docs/schema/report.json");
  return {verb, [args] { return run(*args); }};
}

}  // namespace fathom::cli

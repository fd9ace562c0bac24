// Lines out of a descriptor. Next: prompt_lines.h, what is in them.
#include "src/cli/line_source.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include "src/cli/interrupt.h"

namespace fathom::cli {
namespace {

constexpr size_t kReadBytes = size_t{1} << 16;

Error failure(const std::string& name) {
  return {ErrorCode::file,
          fmt::format("{}: {}: give a file that can be read", name, std::generic_category().message(errno))};
}

}  // namespace

Result<LineSource> LineSource::open(const std::string& path) {
  if (path == "-") return LineSource("standard input", STDIN_FILENO);
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return failure(path);
  return LineSource(path, fd);
}

LineSource::LineSource(LineSource&& other) noexcept
    : name_(std::move(other.name_)),
      fd_(std::exchange(other.fd_, -1)),
      held_(std::move(other.held_)),
      begin_(other.begin_),
      end_(other.end_),
      number_(other.number_),
      too_long_(other.too_long_),
      ended_(other.ended_) {}

LineSource::~LineSource() {
  if (fd_ > STDIN_FILENO) close(fd_);
}

// Looks at each byte once: `end_` is where it stopped.
bool LineSource::has_line() {
  const size_t found = held_.find('\n', end_);
  end_ = std::min(found, held_.size());
  return found != std::string::npos;
}

// Waits in poll(), which an interrupt ends, and not in read(), which goes on.
Result<void> LineSource::read_more() {
  held_.erase(0, begin_);
  end_ -= begin_;
  begin_ = 0;
  if (held_.size() > kMaxLineBytes) {
    held_.clear();
    end_ = 0;
    too_long_ = true;
  }
  pollfd waits{fd_, POLLIN, 0};
  while (poll(&waits, 1, -1) < 0) {
    if (errno != EINTR) return failure(name_);
    if (interrupted()) {
      ended_ = true;
      return {};
    }
  }
  const size_t old = held_.size();
  held_.resize(old + kReadBytes);
  const ssize_t got = ::read(fd_, held_.data() + old, kReadBytes);
  held_.resize(old + static_cast<size_t>(std::max<ssize_t>(got, 0)));
  if (got < 0 && errno != EINTR) return failure(name_);
  ended_ = got == 0;
  return {};
}

LineSource::Line LineSource::take(size_t end) {
  Line line{.number = ++number_, .too_long = std::exchange(too_long_, false)};
  if (!line.too_long) line.text = held_.substr(begin_, end - begin_);
  begin_ = end_ = std::min(end + 1, held_.size());
  return line;
}

Result<std::optional<LineSource::Line>> LineSource::next() {
  while (!has_line() && !ended_) FATHOM_TRY(read_more());
  if (interrupted() || (end_ == held_.size() && begin_ == end_ && !too_long_)) return std::optional<Line>();
  return std::optional(take(end_));
}

bool LineSource::ready() {
  while (!has_line() && !ended_) {
    pollfd waits{fd_, POLLIN, 0};
    if (poll(&waits, 1, 0) <= 0) return false;
    if (!read_more()) return true;  // next() says why
  }
  return true;
}

}  // namespace fathom::cli

// The reader of traces: records are checked before their events are decoded, and every count before it is believed.
#include "fathom/trace/reader.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <system_error>

#include "src/trace/format.h"

namespace fathom {
namespace tf = trace_format;

namespace {

constexpr size_t kFrameBytes = 8;
constexpr uint32_t kMaxInt = std::numeric_limits<int32_t>::max();

// Where the bytes come from: a file descriptor or memory.
struct Source {
  int fd = -1;
  std::span<const std::byte> bytes;
  uint64_t offset = 0;

  Source() = default;
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;
  ~Source() {
    if (fd >= 0) close(fd);
  }

  // Reads up to n bytes; fewer only at the end. Returns -1 on a failed read, errno set.
  ssize_t read(uint8_t* dst, size_t n) {
    size_t done = 0;
    if (fd < 0) {
      done = std::min(n, bytes.size() - static_cast<size_t>(offset));
      if (done > 0) std::memcpy(dst, bytes.data() + offset, done);
    }
    while (fd >= 0 && done < n) {
      const ssize_t got = ::read(fd, dst + done, n - done);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return -1;
      if (got == 0) break;
      done += static_cast<size_t>(got);
    }
    offset += done;
    return static_cast<ssize_t>(done);
  }
};

uint32_t little_endian(const uint8_t* p) { return p[0] | p[1] << 8 | p[2] << 16 | uint32_t{p[3]} << 24; }

}  // namespace

struct TraceReader::Impl {
  std::string name = "trace";
  Source source;
  TraceHeader header;
  tf::Memory memory{0};
  std::vector<uint8_t> record;
  uint64_t record_offset = 0;
  tf::Input in;
  bool truncated = false;
  std::optional<Error> failure;

  Error bad(uint64_t offset, const char* what) const {
    return {ErrorCode::format, fmt::format("{}: {} at byte {}: record the trace again", name, what, offset)};
  }

  // Reads the next record; false at the end of the file, or in the middle of a record (`truncated`).
  Result<bool> load(uint32_t most) {
    record_offset = source.offset;
    uint8_t frame[kFrameBytes];
    ssize_t got = source.read(frame, kFrameBytes);
    if (got == static_cast<ssize_t>(kFrameBytes)) {
      const uint32_t bytes = little_endian(frame);
      if (bytes == 0 || bytes > most) return bad(record_offset, "an impossible record length");
      record.resize(bytes);
      got = source.read(record.data(), bytes);
      if (got == static_cast<ssize_t>(bytes)) {
        if (tf::checksum(record.data(), bytes, record_offset) != little_endian(frame + 4)) {
          return bad(record_offset, "a record with a wrong checksum");
        }
        in = tf::Input(record.data(), record.data() + bytes);
        return true;
      }
    }
    if (got < 0) {
      return Error{ErrorCode::file, fmt::format("{}: {} at byte {}: check the disk", name,
                                                std::generic_category().message(errno), source.offset)};
    }
    truncated = truncated || source.offset != record_offset;
    return false;
  }

  Result<void> read_header() {
    uint8_t start[sizeof(tf::kMagic) + 4];
    const ssize_t got = source.read(start, sizeof(start));
    if (got < static_cast<ssize_t>(sizeof(start)) || std::memcmp(start, tf::kMagic, sizeof(tf::kMagic)) != 0) {
      return Error{ErrorCode::format, fmt::format("{}: not a trace: give a file that --trace has written", name)};
    }
    if (const uint32_t version = little_endian(start + sizeof(tf::kMagic)); version != tf::kVersion) {
      return Error{ErrorCode::unsupported,
                   fmt::format("{}: trace version {} of {}: record the trace again", name, version, tf::kVersion)};
    }
    FATHOM_TRY(const bool whole, load(tf::kMaxHeaderBytes));
    if (!whole) return bad(record_offset, "a header that is cut off");
    for (uint64_t* fingerprint : {&header.model_fingerprint, &header.tokenizer_fingerprint}) {
      *fingerprint = in.u32();
      *fingerprint |= uint64_t{in.u32()} << 32;
    }
    header.n_layers = static_cast<int32_t>(in.varint(tf::kMaxLayers));
    header.encodes = in.varint(uint32_t{1}) != 0;
    header.numeric_path = in.text();
    header.policy = in.text();
    header.run_json = in.text();
    if (!in.ok || !in.empty() || header.n_layers < 1) return bad(record_offset, "an impossible header");
    memory = tf::Memory(header.n_layers);
    return {};
  }

  int32_t natural() { return static_cast<int32_t>(in.varint(kMaxInt)); }
  int32_t integer() { return tf::unzigzag(in.varint(std::numeric_limits<uint32_t>::max())); }

  // A count of rows, each of which takes at least one byte.
  size_t count() {
    const size_t n = in.varint(static_cast<uint32_t>(tf::kMaxEventRows));
    if (n > in.left()) in.ok = false;
    return in.ok ? n : 0;
  }

  // The position behind the last row's.
  int32_t expected_position() {
    if (memory.position == std::numeric_limits<int32_t>::max()) return in.ok = false, 0;
    return memory.position + 1;
  }

  // The known row that a reference names, or null for one that names itself; moves `next` behind it.
  tf::KnownRow* refer(bool explicitly, size_t& next) {
    const uint32_t behind = explicitly ? in.varint(static_cast<uint32_t>(tf::kMaxStepRows)) : 1;
    if (behind == 0) return nullptr;
    next += behind;
    if (next > memory.rows.size()) return in.ok = false, nullptr;
    return &memory.rows[next - 1];
  }

  void decode_rows(TraceEvent& event) {
    if (event.kind == TraceEvent::Kind::rows) memory.rows.clear();
    event.rows.resize(count());
    for (TraceRow& row : event.rows) {
      const uint8_t flags = in.u8();
      if (flags >= 2 * tf::kSettled || (flags & tf::kDraft && flags & tf::kSettled)) in.ok = false;
      row.kind = flags & tf::kGenerated ? RowKind::generated : RowKind::prompt;
      row.role = flags & tf::kDraft ? RowRole::draft : flags & tf::kSettled ? RowRole::settled : RowRole::certain;
      row.sequence = flags & tf::kOtherSequence ? integer() : memory.sequence;
      row.position = flags & tf::kOtherPosition ? natural() : expected_position();
      row.token = integer();
      if (!in.ok) return;
      memory.enter({.sequence = row.sequence, .position = row.position, .kind = row.kind});
    }
  }

  void decode_step(TraceEvent& event, size_t i, size_t& next) {
    const uint8_t flags = in.u8();
    if (flags & 128) in.ok = false;
    tf::KnownRow* known = refer(flags & tf::kNotNext, next);
    tf::KnownRow self;
    if (known == nullptr && in.ok) {
      self.sequence = integer();
      self.position = natural();
      self.kind = static_cast<RowKind>(in.varint(uint32_t{1}));
    }
    tf::KnownRow& row = known != nullptr ? *known : self;
    tf::Memory::LayerWork& work = memory.layers[static_cast<size_t>(event.layer)];
    if (flags & tf::kCounted) row.generated = natural();
    if (flags & tf::kSpent) row.work_spent = in.f32(), row.work_rows = in.f32();
    const auto mended = [&](float x) { return std::bit_cast<float>(tf::bits_of(x) ^ in.varint(0xffffffffu)); };
    if (flags & tf::kIfExit) work.if_exit = mended(work.if_exit);
    if (flags & tf::kIfRun) work.if_run = mended(work.if_run);

    event.sequences[i] = row.sequence;
    Step& step = event.steps[i] = Step();
    step.layer = event.layer;
    step.n_layers = header.n_layers;
    step.position = row.position;
    step.generated = row.generated;
    step.kind = row.kind;
    step.work_spent = row.work_spent;
    step.work_rows = row.work_rows;
    step.work_if_exit = work.if_exit;
    step.work_if_run = work.if_run;
    const SignalSet computed = event.computed[static_cast<size_t>(row.kind)];
    for (int s = 0; s < kSignals && !(flags & tf::kNoSignals); ++s) {
      if (computed.has(static_cast<Signal>(s))) step.signals[s] = in.f32();
    }
    event.decisions[i] = {};
    if (flags & tf::kDecided) {
      const uint8_t verdict = in.u8();
      if (!is_verdict(verdict)) in.ok = false;
      event.decisions[i] = {static_cast<Verdict>(verdict), static_cast<int8_t>(in.u8())};
    }
  }

  void decode_boundary(TraceEvent& event) {
    for (SignalSet& of_kind : event.computed) of_kind.bits = in.varint((1u << kSignals) - 1);
    event.layer = static_cast<int32_t>(in.varint(static_cast<uint32_t>(header.n_layers - 1)));
    const size_t n = count();
    event.sequences.resize(n);
    event.steps.resize(n);
    event.decisions.resize(n);
    for (size_t i = 0, next = 0; i < n && in.ok; ++i) decode_step(event, i, next);
  }

  void decode_commit(TraceEvent& event) {
    event.commits.resize(count());
    size_t next = 0;
    for (TraceCommit& commit : event.commits) {
      const uint8_t flags = in.u8();
      if (flags > 31) in.ok = false;
      const tf::KnownRow* known = refer(flags & tf::kCommitNotNext, next);
      commit.sequence = known != nullptr ? known->sequence : integer();
      commit.position = known != nullptr ? known->position : natural();
      commit.token = flags & tf::kNoToken ? -1 : natural();
      if (flags & tf::kDepth) memory.depth = in.f32();
      if (flags & tf::kWork) memory.work = std::bit_cast<float>(tf::bits_of(memory.work) ^ in.varint(0xffffffffu));
      if (flags & tf::kHead) memory.head = static_cast<HeadWay>(in.varint(uint32_t{kHeadWays - 1}));
      commit.head = memory.head;
      commit.depth = memory.depth;
      commit.work = memory.work;
      if (!in.ok) return;
    }
  }

  void decode_rollback(TraceEvent& event) {
    event.rollbacks.resize(count());
    for (TraceRollback& rollback : event.rollbacks) {
      rollback.sequence = integer();
      rollback.length = natural();
      if (!in.ok) return;
      memory.expect(rollback.sequence, rollback.length);
    }
  }

  void decode_choice(TraceEvent& event) {
    event.choices.resize(count());
    for (TraceChoice& choice : event.choices) {
      const uint8_t flags = in.u8();
      if (flags >= 2 * tf::kConfidence) in.ok = false;
      choice.sequence = flags & tf::kChosenSequence ? integer() : memory.sequence;
      choice.position = flags & tf::kChosenPosition ? natural() : expected_position();
      choice.own = flags & tf::kOwn ? natural() : 0;
      choice.source = flags & tf::kSource ? natural() : 0;
      choice.proposed = flags & tf::kProposed ? natural() : 0;
      choice.confidence = flags & tf::kConfidence ? natural() : 0;
      if (!in.ok) return;
      memory.expect(choice.sequence, choice.position);
    }
  }

  void decode_fates(TraceEvent& event) {
    event.fates.resize(count());
    TraceFate expected;
    for (TraceFate& fate : event.fates) {
      const uint8_t flags = in.u8();
      if (flags >= 2 * tf::kJoined || (flags & tf::kJoined && !(flags & tf::kRemoved))) in.ok = false;
      fate.sequence = flags & tf::kFateSequence ? integer() : expected.sequence;
      fate.position = flags & tf::kFatePosition ? natural() : expected.position;
      fate.removed_at =
          flags & tf::kRemoved ? static_cast<int32_t>(in.varint(static_cast<uint32_t>(header.n_layers))) : -1;
      fate.joined = flags & tf::kJoined ? natural() : -1;
      fate.share = in.f32();
      if (!std::isfinite(fate.share) || fate.share < 0) in.ok = false;
      if (!in.ok) return;
      expected = {.sequence = fate.sequence, .position = tf::behind(fate.position)};
    }
  }

  void decode(TraceEvent& event) {
    switch (event.kind) {
      case TraceEvent::Kind::rows:
      case TraceEvent::Kind::more_rows:
        return decode_rows(event);
      case TraceEvent::Kind::boundary:
        return decode_boundary(event);
      case TraceEvent::Kind::commit:
        return decode_commit(event);
      case TraceEvent::Kind::rollback:
        return decode_rollback(event);
      case TraceEvent::Kind::choice:
        return decode_choice(event);
      case TraceEvent::Kind::fates:
        return decode_fates(event);
    }
  }

  Result<bool> next(TraceEvent& event) {
    if (in.empty()) {
      FATHOM_TRY(const bool whole, load(tf::kMaxRecordBytes));
      if (!whole) return false;
    }
    event.rows.clear();
    event.sequences.clear();
    event.steps.clear();
    event.decisions.clear();
    event.commits.clear();
    event.rollbacks.clear();
    event.choices.clear();
    event.fates.clear();
    const uint8_t tag = in.u8();
    if (tag < static_cast<uint8_t>(tf::Tag::rows) || tag > static_cast<uint8_t>(tf::Tag::fates))
      return bad(record_offset, "a record with an unknown event");
    event.kind = static_cast<TraceEvent::Kind>(tag - 1);
    decode(event);
    if (!in.ok) return bad(record_offset, "a record with impossible contents");
    return true;
  }
};

TraceReader::TraceReader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TraceReader::TraceReader(TraceReader&&) noexcept = default;
TraceReader& TraceReader::operator=(TraceReader&&) noexcept = default;
TraceReader::~TraceReader() = default;

Result<TraceReader> TraceReader::open(const std::string& path) {
  auto impl = std::make_unique<Impl>();
  impl->name = "trace " + path;
  // Not blocking: a pipe without a writer must not hang us before fstat says what it is.
  impl->source.fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  struct stat status {};
  if (impl->source.fd < 0 || fstat(impl->source.fd, &status) != 0) {
    return Error{ErrorCode::file,
                 fmt::format("{}: {}: give the path of a trace", impl->name, std::generic_category().message(errno))};
  }
  if (!S_ISREG(status.st_mode)) {
    return Error{ErrorCode::file, fmt::format("{}: not a regular file: give the path of a trace", impl->name)};
  }
  FATHOM_TRY(impl->read_header());
  return TraceReader(std::move(impl));
}

Result<TraceReader> TraceReader::from_bytes(std::span<const std::byte> bytes) {
  auto impl = std::make_unique<Impl>();
  impl->source.bytes = bytes;
  FATHOM_TRY(impl->read_header());
  return TraceReader(std::move(impl));
}

const TraceHeader& TraceReader::header() const noexcept { return impl_->header; }
bool TraceReader::truncated() const noexcept { return impl_->truncated; }

Result<bool> TraceReader::next(TraceEvent& event) {
  if (impl_->failure) return *impl_->failure;
  Result<bool> result = impl_->next(event);
  if (!result) impl_->failure = result.error();
  return result;
}

}  // namespace fathom

// The writer of traces: events are encoded into a record, and each step's record goes to the file in one write.
#include "fathom/trace/trace.h"

#include <fmt/format.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <limits>
#include <new>
#include <optional>
#include <system_error>

#include "src/trace/format.h"
#include "src/trace/output_file.h"

namespace fathom {
namespace trace_format {

uint32_t checksum(const void* payload, size_t bytes, uint64_t offset) {
  return static_cast<uint32_t>(XXH3_64bits_withSeed(payload, bytes, offset));
}

}  // namespace trace_format

namespace tf = trace_format;

namespace {

constexpr size_t kFrameBytes = 8;

std::string reason(int error) { return std::generic_category().message(error); }

std::string encode(const TraceHeader& header) {
  tf::Output out;
  for (uint64_t fingerprint : {header.model_fingerprint, header.tokenizer_fingerprint}) {
    out.u32(static_cast<uint32_t>(fingerprint));
    out.u32(static_cast<uint32_t>(fingerprint >> 32));
  }
  out.varint(static_cast<uint32_t>(header.n_layers));
  out.u8(header.encodes);
  out.text(header.numeric_path);
  out.text(header.policy);
  out.text(header.run_json);
  return std::move(out.bytes);
}

bool all_nan(const Step& step, SignalSet computed) {
  for (int s = 0; s < kSignals; ++s) {
    const auto signal = static_cast<Signal>(s);
    if (computed.has(signal) && !tf::same_bits(step[signal], std::numeric_limits<float>::quiet_NaN())) return false;
  }
  return true;
}

}  // namespace

struct Trace::Impl {
  explicit Impl(int32_t n_layers) : memory(n_layers) {}
  ~Impl() {
    if (fd >= 0) close(fd);
  }

  int fd = -1;
  std::string path;
  uint64_t offset = 0;
  tf::Memory memory;
  tf::Output out;
  std::optional<Error> failure;

  void write_all(const std::string& bytes) {
    for (size_t done = 0; done < bytes.size();) {
      const ssize_t n = write(fd, bytes.data() + done, bytes.size() - done);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) {
        failure = Error{ErrorCode::file, fmt::format("trace {}: {} after {} bytes: free space or give another path",
                                                     path, reason(n < 0 ? errno : ENOSPC), offset + done)};
        return;
      }
      done += static_cast<size_t>(n);
    }
    offset += bytes.size();
  }

  void write_record(const std::string& payload) {
    tf::Output frame;
    frame.bytes.reserve(kFrameBytes + payload.size());
    frame.u32(static_cast<uint32_t>(payload.size()));
    frame.u32(tf::checksum(payload.data(), payload.size(), offset));
    frame.bytes += payload;
    write_all(frame.bytes);
  }

  void flush() {
    if (!failure && !out.bytes.empty()) write_record(out.bytes);
    out.bytes.clear();
  }

  // Runs `encode` unless something failed before; memory that the system refuses is a failure like any other.
  template <class F>
  void event(F&& encode) noexcept {
    if (failure || fd < 0) return;
    try {
      encode();
    } catch (const std::bad_alloc&) {
      failure.emplace();
      failure->code = ErrorCode::capacity;
      failure->message = "out of memory";  // short enough to need none
    }
  }

  // True when every step is behind a layer of the model; otherwise that is the trace's failure.
  bool fits(std::span<const Step> steps) {
    for (const Step& step : steps) {
      if (0 <= step.layer && static_cast<size_t>(step.layer) < memory.layers.size()) continue;
      failure = Error{ErrorCode::argument,
                      fmt::format("trace {}: a decision behind layer {} of a model with {}: create it with the header "
                                  "of the model that runs",
                                  path, step.layer, memory.layers.size())};
      return false;
    }
    return true;
  }

  // The known row of (sequence, position, kind), looked for from `next` on; null: the row must name itself.
  tf::KnownRow* find(size_t next, int32_t sequence, int32_t position, const RowKind* kind) {
    for (size_t i = next; i < memory.rows.size(); ++i) {
      tf::KnownRow& row = memory.rows[i];
      if (row.sequence == sequence && row.position == position && (kind == nullptr || row.kind == *kind)) return &row;
    }
    return nullptr;
  }

  // How far `row` stands behind `next`, one more than the distance; 0 for a row that names itself.
  void reference(const tf::KnownRow* row, size_t next) {
    out.varint(row == nullptr ? 0 : static_cast<size_t>(row - memory.rows.data()) - next + 1);
  }

  void encode_rows(std::span<const TraceRow> rows, bool more) {
    out.u8(static_cast<uint8_t>(more ? tf::Tag::more_rows : tf::Tag::rows));
    out.varint(rows.size());
    if (!more) memory.rows.clear();
    for (const TraceRow& row : rows) {
      uint8_t flags = row.kind == RowKind::generated ? tf::kGenerated : 0;
      if (row.sequence != memory.sequence) flags |= tf::kOtherSequence;
      if (!memory.expects(row.position)) flags |= tf::kOtherPosition;
      if (row.role == RowRole::draft) flags |= tf::kDraft;
      if (row.role == RowRole::settled) flags |= tf::kSettled;
      out.u8(flags);
      if (flags & tf::kOtherSequence) out.varint(tf::zigzag(row.sequence));
      if (flags & tf::kOtherPosition) out.varint(static_cast<uint32_t>(row.position));
      out.varint(tf::zigzag(row.token));
      memory.enter({.sequence = row.sequence, .position = row.position, .kind = row.kind});
    }
  }

  size_t encode_step(SignalSet computed, int32_t sequence, const Step& step, Decision decision, size_t next) {
    tf::KnownRow* known = find(next, sequence, step.position, &step.kind);
    tf::KnownRow self{.sequence = sequence, .position = step.position, .kind = step.kind};
    tf::KnownRow& row = known != nullptr ? *known : self;
    tf::Memory::LayerWork& work = memory.layers[static_cast<size_t>(step.layer)];
    uint8_t flags = 0;
    if (decision != Decision{}) flags |= tf::kDecided;
    if (step.generated != row.generated) flags |= tf::kCounted;
    if (!tf::same_bits(step.work_spent, row.work_spent) || !tf::same_bits(step.work_rows, row.work_rows))
      flags |= tf::kSpent;
    if (!tf::same_bits(step.work_if_exit, work.if_exit)) flags |= tf::kIfExit;
    if (!tf::same_bits(step.work_if_run, work.if_run)) flags |= tf::kIfRun;
    if (known == nullptr || known != memory.rows.data() + next) flags |= tf::kNotNext;
    if (!computed.empty() && all_nan(step, computed)) flags |= tf::kNoSignals;

    out.u8(flags);
    if (flags & tf::kNotNext) reference(known, next);
    if (known == nullptr) {
      out.varint(tf::zigzag(sequence));
      out.varint(static_cast<uint32_t>(step.position));
      out.u8(static_cast<uint8_t>(step.kind));
    }
    if (flags & tf::kCounted) out.varint(static_cast<uint32_t>(step.generated));
    if (flags & tf::kSpent) out.f32(step.work_spent), out.f32(step.work_rows);
    if (flags & tf::kIfExit) out.varint(tf::bits_of(step.work_if_exit) ^ tf::bits_of(work.if_exit));
    if (flags & tf::kIfRun) out.varint(tf::bits_of(step.work_if_run) ^ tf::bits_of(work.if_run));
    for (int s = 0; s < kSignals && !(flags & tf::kNoSignals); ++s) {
      if (computed.has(static_cast<Signal>(s))) out.f32(step.signals[s]);
    }
    if (flags & tf::kDecided) {
      out.u8(static_cast<uint8_t>(decision.verdict));
      out.u8(static_cast<uint8_t>(decision.stage));
    }
    row.generated = step.generated;
    row.work_spent = step.work_spent;
    row.work_rows = step.work_rows;
    work = {step.work_if_exit, step.work_if_run};
    return known == nullptr ? next : static_cast<size_t>(known - memory.rows.data()) + 1;
  }

  size_t encode_commit(const TraceCommit& commit, size_t next) {
    const tf::KnownRow* known = find(next, commit.sequence, commit.position, nullptr);
    uint8_t flags = 0;
    if (known == nullptr || known != memory.rows.data() + next) flags |= tf::kCommitNotNext;
    if (commit.token < 0) flags |= tf::kNoToken;
    if (!tf::same_bits(commit.depth, memory.depth)) flags |= tf::kDepth;
    if (!tf::same_bits(commit.work, memory.work)) flags |= tf::kWork;
    if (commit.head != memory.head) flags |= tf::kHead;
    out.u8(flags);
    if (flags & tf::kCommitNotNext) reference(known, next);
    if (known == nullptr) {
      out.varint(tf::zigzag(commit.sequence));
      out.varint(static_cast<uint32_t>(commit.position));
    }
    if (!(flags & tf::kNoToken)) out.varint(static_cast<uint32_t>(commit.token));
    if (flags & tf::kDepth) out.f32(commit.depth);
    if (flags & tf::kWork) out.varint(tf::bits_of(commit.work) ^ tf::bits_of(memory.work));
    if (flags & tf::kHead) out.u8(static_cast<uint8_t>(commit.head));
    memory.head = commit.head;
    memory.depth = commit.depth;
    memory.work = commit.work;
    return known == nullptr ? next : static_cast<size_t>(known - memory.rows.data()) + 1;
  }

  void encode(const TraceRollback& rollback) {
    out.varint(tf::zigzag(rollback.sequence));
    out.varint(static_cast<uint32_t>(rollback.length));
    memory.expect(rollback.sequence, rollback.length);
  }

  void encode(const TraceChoice& choice) {
    const std::pair<uint8_t, int32_t> numbers[] = {{tf::kOwn, choice.own},
                                                   {tf::kSource, choice.source},
                                                   {tf::kProposed, choice.proposed},
                                                   {tf::kConfidence, choice.confidence}};
    uint8_t flags = 0;
    if (choice.sequence != memory.sequence) flags |= tf::kChosenSequence;
    if (!memory.expects(choice.position)) flags |= tf::kChosenPosition;
    for (const auto& [flag, number] : numbers) flags |= number != 0 ? flag : 0;
    out.u8(flags);
    if (flags & tf::kChosenSequence) out.varint(tf::zigzag(choice.sequence));
    if (flags & tf::kChosenPosition) out.varint(static_cast<uint32_t>(choice.position));
    for (const auto& [flag, number] : numbers) {
      if (flags & flag) out.varint(static_cast<uint32_t>(number));
    }
    memory.expect(choice.sequence, choice.position);
  }

  void encode(const TraceFate& fate, const TraceFate& expected) {
    uint8_t flags = 0;
    if (fate.sequence != expected.sequence) flags |= tf::kFateSequence;
    if (fate.position != expected.position) flags |= tf::kFatePosition;
    if (fate.removed_at >= 0) flags |= tf::kRemoved;
    if (fate.removed_at >= 0 && fate.joined >= 0) flags |= tf::kJoined;
    out.u8(flags);
    if (flags & tf::kFateSequence) out.varint(tf::zigzag(fate.sequence));
    if (flags & tf::kFatePosition) out.varint(static_cast<uint32_t>(fate.position));
    if (flags & tf::kRemoved) out.varint(static_cast<uint32_t>(fate.removed_at));
    if (flags & tf::kJoined) out.varint(static_cast<uint32_t>(fate.joined));
    out.f32(fate.share);
  }

  void encode_fates(std::span<const TraceFate> fates) {
    out.u8(static_cast<uint8_t>(tf::Tag::fates));
    out.varint(fates.size());
    TraceFate expected;
    for (const TraceFate& fate : fates) {
      encode(fate, expected);
      expected = {.sequence = fate.sequence, .position = tf::behind(fate.position)};
    }
    if (out.bytes.size() >= tf::kFlushBytes) flush();
  }

  // Events of items that refer to nothing.
  template <class T>
  void encode_all(tf::Tag tag, std::span<const T> items) {
    for (size_t begin = 0; begin < items.size(); begin += tf::kMaxEventRows) {
      const auto part = items.subspan(begin, std::min(tf::kMaxEventRows, items.size() - begin));
      out.u8(static_cast<uint8_t>(tag));
      out.varint(part.size());
      for (const T& item : part) encode(item);
      if (out.bytes.size() >= tf::kFlushBytes) flush();
    }
  }
};

Trace::Trace(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Trace::Trace(Trace&&) noexcept = default;
Trace& Trace::operator=(Trace&&) noexcept = default;

Trace::~Trace() {
  if (impl_ != nullptr) (void)finish();
}

Result<Trace> Trace::create(const std::string& path, const TraceHeader& header) {
  if (header.n_layers < 1 || header.n_layers > tf::kMaxLayers) {
    return Error{ErrorCode::argument,
                 fmt::format("trace of a model with {} layers: give 1 to {}", header.n_layers, tf::kMaxLayers)};
  }
  const std::string payload = encode(header);
  if (payload.size() > tf::kMaxHeaderBytes) {
    return Error{ErrorCode::capacity, fmt::format("trace header of {} bytes: at most {} fit, shorten the prompt",
                                                  payload.size(), tf::kMaxHeaderBytes)};
  }
  auto impl = std::make_unique<Impl>(header.n_layers);
  impl->path = path;
  const OutputKind kind{"trace", {tf::kMagic, sizeof(tf::kMagic)}, "exists and is no trace"};
  FATHOM_TRY(impl->fd, open_output(path, kind));
  tf::Output start;
  start.bytes.assign(tf::kMagic, sizeof(tf::kMagic));
  start.u32(tf::kVersion);
  impl->write_all(start.bytes);
  if (!impl->failure) impl->write_record(payload);
  if (impl->failure) return *impl->failure;
  return Trace(std::move(impl));
}

int32_t Trace::n_layers() const noexcept { return static_cast<int32_t>(impl_->memory.layers.size()); }

void Trace::rows(std::span<const TraceRow> rows) noexcept {
  impl_->event([&] {
    for (size_t begin = 0; begin < rows.size(); begin += tf::kMaxEventRows) {
      impl_->encode_rows(rows.subspan(begin, std::min(tf::kMaxEventRows, rows.size() - begin)), begin > 0);
      if (impl_->out.bytes.size() >= tf::kFlushBytes) impl_->flush();
    }
  });
}

void Trace::boundary(std::span<const SignalSet, 2> computed, std::span<const int32_t> sequences,
                     std::span<const Step> steps, std::span<const Decision> decisions) noexcept {
  impl_->event([&] {
    if (!impl_->fits(steps)) return;
    for (size_t begin = 0, next = 0; begin < steps.size(); begin += tf::kMaxEventRows, next = 0) {
      const size_t end = std::min(begin + tf::kMaxEventRows, steps.size());
      impl_->out.u8(static_cast<uint8_t>(tf::Tag::boundary));
      for (SignalSet of_kind : computed) impl_->out.varint(of_kind.bits);
      impl_->out.varint(static_cast<uint32_t>(steps[begin].layer));
      impl_->out.varint(end - begin);
      for (size_t i = begin; i < end; ++i) {
        const SignalSet seen = computed[static_cast<size_t>(steps[i].kind)];
        next = impl_->encode_step(seen, sequences[i], steps[i], decisions[i], next);
      }
      if (impl_->out.bytes.size() >= tf::kFlushBytes) impl_->flush();
    }
  });
}

void Trace::commit(std::span<const TraceCommit> commits) noexcept {
  impl_->event([&] {
    for (size_t begin = 0, next = 0; begin < commits.size(); begin += tf::kMaxEventRows, next = 0) {
      const auto part = commits.subspan(begin, std::min(tf::kMaxEventRows, commits.size() - begin));
      impl_->out.u8(static_cast<uint8_t>(tf::Tag::commit));
      impl_->out.varint(part.size());
      for (const TraceCommit& commit : part) next = impl_->encode_commit(commit, next);
      if (impl_->out.bytes.size() >= tf::kFlushBytes) impl_->flush();
    }
    impl_->flush();
  });
}

void Trace::fates(std::span<const TraceFate> fates) noexcept {
  impl_->event([&] {
    for (size_t begin = 0; begin < fates.size(); begin += tf::kMaxEventRows) {
      impl_->encode_fates(fates.subspan(begin, std::min(tf::kMaxEventRows, fates.size() - begin)));
    }
  });
}

void Trace::rollback(std::span<const TraceRollback> rollbacks) noexcept {
  impl_->event([&] { impl_->encode_all(tf::Tag::rollback, rollbacks); });
}

void Trace::choice(std::span<const TraceChoice> choices) noexcept {
  impl_->event([&] { impl_->encode_all(tf::Tag::choice, choices); });
}

Result<void> Trace::finish() {
  if (impl_->fd >= 0) {
    impl_->flush();
    if (close(impl_->fd) != 0 && !impl_->failure) {
      impl_->failure = Error{ErrorCode::file,
                             fmt::format("trace {}: {} while closing: give another path", impl_->path, reason(errno))};
    }
    impl_->fd = -1;
  }
  if (impl_->failure) return *impl_->failure;
  return {};
}

}  // namespace fathom

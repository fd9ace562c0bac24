// The entries of the reference table, one function each. Next in the flow: kernels/ref/rowwise.cc.
#pragma once

#include <cstdint>

#include "fathom/ops/kernel_table.h"

namespace fathom::kernels::reference {

void embed(const EmbedArgs& args, int64_t begin, int64_t end) noexcept;
void norm(const NormArgs& args, int64_t begin, int64_t end) noexcept;
void quantize(const QuantizeArgs& args, int64_t begin, int64_t end) noexcept;
void round(const RoundArgs& args, int64_t begin, int64_t end) noexcept;
void gated(const GatedArgs& args, int64_t begin, int64_t end) noexcept;
void add(const AddArgs& args, int64_t begin, int64_t end) noexcept;
void rope(const RopeArgs& args, int64_t begin, int64_t end) noexcept;
void similarity(const SimilarityArgs& args, int64_t begin, int64_t end) noexcept;
void dots(const DotsArgs& args, int64_t begin, int64_t end) noexcept;
void logit_stats(const LogitStatsArgs& args, int64_t begin, int64_t end) noexcept;
void kv_write(const KvWriteArgs& args, int64_t begin, int64_t end) noexcept;

void attention_chunk(const AttentionArgs& args, int64_t row, int64_t n, int64_t kv_head, int64_t chunk,
                     float* partial) noexcept;
void attention_fold(const AttentionArgs& args, float* into, const float* next) noexcept;
void attention_finish(const AttentionArgs& args, int64_t row, int64_t kv_head, const float* partial) noexcept;
void attention_share(const AttentionShareArgs& args, int64_t begin, int64_t end) noexcept;

/// One kernel for each type, for Numerics::fast (left side q8), faithful (q12), exact (f32) and bf16.
extern const LinearKernel linear_fast[kDTypes];
extern const LinearKernel linear_faithful[kDTypes];
extern const LinearKernel linear_exact[kDTypes];
extern const LinearKernel linear_bf16[kDTypes];

}  // namespace fathom::kernels::reference

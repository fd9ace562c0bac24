// StepBuffers: the resident memory of a step, made once for the largest step a session allows.
// Next in the flow: engine/boundary.h.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "fathom/core/result.h"
#include "fathom/core/tensor.h"
#include "fathom/engine/rope.h"
#include "fathom/model/config.h"
#include "fathom/ops/attention.h"
#include "fathom/ops/kernel_table.h"

namespace fathom {

/// One allocation, cut into the arrays below. States stay where they are while rows come and go: what moves is indices.
struct StepBuffers {
  /// Makes room for steps of max_rows rows, max_logit_rows of which predict.
  ///   errors   capacity: memory refused
  static Result<StepBuffers> make(const ModelConfig& config, int32_t max_rows, int32_t max_logit_rows);

  /// Makes `answers`, which only policies with exit checks need.
  ///   errors   capacity: memory refused
  Result<void> make_answers();

  /// Makes `kept` for so many rows, which only policies that leave layers owed need.
  ///   errors   capacity: memory refused
  Result<void> make_kept(const ModelConfig& config, int32_t rows);

  float* x = nullptr;            // [max_rows, d]       states
  float* before = nullptr;       // [max_rows, d]       states before the layer, where a signal compares
  float* before_half = nullptr;  // [max_rows, d]  states before the half
  float* normed = nullptr;       // [max_rows, d]       normalised input of a half
  const float* input = nullptr;  // [rows, d]        what a half reads: `normed`, or the states where nothing norms them
  float* projected = nullptr;    // [max_rows, d]    its output, in the same memory: the input is used up by then
  float* q = nullptr;            // [max_rows, heads * head_dim]
  float* k = nullptr;            // [max_rows, kv_heads * head_dim]
  float* v = nullptr;            // [max_rows, kv_heads * head_dim]
  float* mixed = nullptr;        // [max_rows, heads * head_dim]  attention's result
  float* totals = nullptr;       // [max_rows, heads, 2]  of attention's softmax, where a share of it is asked for
  float* gate = nullptr;         // [max_rows, feed_forward]
  float* up = nullptr;           // [max_rows, feed_forward]
  float* logits = nullptr;       // [max_logit_rows, vocab]
  float* answers = nullptr;      // [max_logit_rows, vocab]  answers that are not in their place yet; null until made
  float* kept = nullptr;         // [owing rows, d]  their last exact states, from step to step; null until made
  float* compared = nullptr;     // [max_rows]
  int32_t* ids = nullptr;        // [max_rows]
  QuantRows quant{};             // [max_rows, widest input]
  uint16_t* bf16 = nullptr;      // [max_rows, widest input]  in the memory of quant.values and .low
  KvCell* cells = nullptr;       // [max_rows]
  AttentionRow* views = nullptr;  // [max_rows]
  LogitStats* stats = nullptr;    // [max_rows]

  AttentionPlan attention;
  RopeTables rope;
  int32_t max_logit_rows = 0;
  int64_t vocab = 0, d_model = 0;

  /// The state of a row.
  std::span<float> state(int64_t row) const { return {x + row * d_model, static_cast<size_t>(d_model)}; }

 private:
  Buffer memory_, answers_memory_, kept_memory_;
};

}  // namespace fathom

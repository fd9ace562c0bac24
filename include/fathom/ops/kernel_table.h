// KernelTable: the line between engine and backend. Plain structs of pointers and sizes, plain function pointers,
// a null entry where a backend has nothing; no std:: type crosses it, so a device compiler can read this file.
// Next in the flow: ops/linear.h and ops/attention.h, which call it.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "fathom/core/dtype.h"

namespace fathom {

inline constexpr uint32_t kKernelTableVersion = 6;

/// How products are rounded; part of every fingerprint. Which product has how many bits depends on nothing but the
/// path: not on rows, machine or instruction set.
enum class Numerics : uint8_t {
  fast,      ///< activations in 8 bits, blocks of 32 inputs with one scale; integer sums inside a block
  faithful,  ///< the same in 12 bits: a second plane of bytes beside the first
  exact,     ///< f32 activations and f32 weights (four bytes a weight): the yardstick; what small encoders run on
  bf16,      ///< both rounded to bf16, sums in f32
};
inline constexpr int kNumerics = 4;

// ---- products ----------------------------------------------------------------------------------------------------

inline constexpr int kQuantBlock = 32;  // inputs that share one activation scale
inline constexpr int kSumBlock = 16;    // inputs that share one precomputed sum of quantised values

/// The width of quantised and rounded rows of so many inputs.
constexpr int64_t padded_cols(int64_t cols) { return (cols + kQuantBlock - 1) / kQuantBlock * kQuantBlock; }

/// What a product reads on its left side.
enum class Activation : uint8_t { f32, q8, q12, bf16 };

inline constexpr int kMaxQ8 = 127, kMaxQ12 = 2039;  // the largest magnitudes; 2039 is 16 * 127 + 7

/// Rows of activations quantised in blocks of 32: x[i] ~ scales[i / 32] * q[i].
///   q8     q = values, |q| <= 127; low is null
///   q12    q = 16 values + low, |q| <= 2039, |values| <= 127, -8 <= low <= 7
struct QuantRows {
  int8_t* values;         // [rows, cols], cols padded to a multiple of 32 with zeros
  float* scales;          // [rows, cols / 32]
  int32_t* sums;          // [rows, cols / 16]  sum of each 16 q, for weights with a zero point
  int64_t cols;           // padded
  int8_t* low = nullptr;  // [rows, cols]
};

/// A weight matrix in the file's layout.
struct MatrixDesc {
  DType type;
  int64_t rows;  // outputs
  int64_t cols;  // inputs
};

/// dst[r, o] = sum_i src[r, i] * weight[o, i] + bias[o]
struct LinearArgs {
  MatrixDesc matrix;
  const void* packed;   // by the same kernel's pack()
  const float* src;     // [n, cols]   when the kernel reads f32
  QuantRows src_quant;  // [n, cols]   when the kernel reads q8 or q12
  int64_t n;            // rows, 1 and up
  const float* bias;    // [rows] or null
  float* dst;           // [n, dst_stride]
  int64_t dst_stride;
  const uint16_t* src_bf16 = nullptr;  // [n, padded_cols(cols)]  when the kernel reads bf16
};

/// One way to store and multiply by a matrix. Work is split over panels of `panel_rows` outputs and never over the
/// reduction; for each output and row the float operations and their order are fixed, whatever n and the split.
struct LinearKernel {
  const char* name;  // backend/target, for example "cpu/avx512vnni"
  Activation activation;
  int32_t panel_rows;
  /// Bytes of the packed matrix; 0 declines it.
  size_t (*packed_bytes)(const MatrixDesc& matrix) noexcept;
  /// Packs panels [begin, end) from the file's rows; panels are independent.
  void (*pack)(const MatrixDesc& matrix, const void* src, void* dst, int64_t begin, int64_t end) noexcept;
  /// Computes panels [begin, end) for all n rows.
  void (*run)(const LinearArgs& args, int64_t begin, int64_t end) noexcept;
};

// ---- the head's screen ------------------------------------------------------------------------------------------

/// Bounds of logits from a part of the weights' bits. A bound of -inf or +inf rules nothing out; no bound is NaN.
///   lower[r, o] <= what HeadKernel::product gives for row r and output o, bias included, in its floats <= upper[r, o],
///   or the product is a NaN and the bounds are -inf and +inf
struct ScreenArgs {
  MatrixDesc matrix;
  const void* packed;     // by HeadKernel::product.pack
  QuantRows src_quant;    // [n, cols]
  const float* prepared;  // [n, prepared_floats]  by prepare(), for the same rows
  int64_t n;              // rows, 1 and up
  const float* bias;      // [rows] or null
  float* lower;           // [n, dst_stride]  from output begin * panel_rows on; whole panels
  float* upper;           // [n, dst_stride]
  int64_t dst_stride;
};

/// A head matrix in two parts, the high bits of all weights before the low ones: a screen reads the first alone.
struct HeadKernel {
  LinearKernel product;  // both parts; the same bits as the table's kernel for the type
  /// The product of one row (args.n is 1) for listed panels, ascending.
  void (*product_of)(const LinearArgs& args, const int32_t* panels, int64_t n_panels) noexcept;
  int64_t (*prepared_floats)(const MatrixDesc& matrix) noexcept;
  /// What screen() wants to know of a row of activations; false where they are not finite, and screens rule nothing
  /// out.
  bool (*prepare)(const MatrixDesc& matrix, const QuantRows& src, int64_t row, float* dst) noexcept;
  /// Bounds for panels [begin, end) of all n rows.
  void (*screen)(const ScreenArgs& args, int64_t begin, int64_t end) noexcept;
};

// ---- rows: every kernel below computes rows [begin, end) and treats each row alone ----------------------------------

/// dst[i] = scale * table[ids[i]]
struct EmbedArgs {
  DType type;
  const void* table;  // [entries, cols] in the file's layout
  int64_t cols;
  const int32_t* ids;  // [n], in range
  float scale;
  float* dst;  // [n, cols]
};

enum class NormKind : uint8_t {
  rms,    ///< over the root of the mean square plus eps
  layer,  ///< less the mean, then over the root of the variance plus eps
};

/// dst[i] = src[index[i]] normalised, times weight, plus bias. index may be null (identity).
struct NormArgs {
  const float* src;      // [*, cols]
  const int32_t* index;  // [n] or null
  int64_t cols;
  const float* weight;  // [cols]
  float eps;
  float* dst;  // [n, cols]; may equal src when index is null
  NormKind kind = NormKind::rms;
  const float* bias = nullptr;  // [cols] or null
};

/// Quantises rows for a product, to q12 where dst has a low plane, else to q8: per block scale = max|x| / max|q|,
/// q = round-half-even(x * (max|q| / max|x|)), in f32, the same bits on every backend. A scale below FLT_MIN gives
/// zeros and the scale 0. A block that holds a NaN or an infinity gives zeros and the scale NaN, so that every product
/// that reads it is NaN.
struct QuantizeArgs {
  const float* src;  // [n, src_cols]
  int64_t src_cols;  // the rest of a padded row becomes zero
  QuantRows dst;
};

/// Rounds rows for a product that reads bf16, to the nearest, ties to even; a NaN stays one, what is larger than the
/// largest finite number becomes infinite.
struct RoundArgs {
  const float* src;  // [n, src_cols]
  int64_t src_cols;
  uint16_t* dst;     // [n, dst_cols]; the rest of a padded row becomes zero
  int64_t dst_cols;  // padded_cols(src_cols)
};

enum class Gate : uint8_t {
  silu,       ///< a / (1 + exp(-a))
  gelu_tanh,  ///< 0.5 a (1 + tanh(sqrt(2 / pi) (a + 0.044715 a^3)))
  gelu,       ///< 0.5 a (1 + erf(a / sqrt(2)))
};

/// dst[i] = gate(a[i]) * b[i]
struct GatedArgs {
  Gate kind;
  const float* a;  // [n, cols]
  const float* b;  // [n, cols] or null: ones
  int64_t cols;
  float* dst;  // [n, cols]; may equal a
};

/// x[index[i]] += y[i]
struct AddArgs {
  const float* y;        // [n, cols]
  const int32_t* index;  // [n] or null
  int64_t cols;
  float* x;  // [*, cols]
};

enum class Pairing : uint8_t {
  adjacent,  ///< rotates (0,1), (2,3), ...: Llama GGUFs
  halves,    ///< rotates (0, dim/2), (1, dim/2 + 1), ...: the other families
};

/// Rotates the first `rope_dim` numbers of every head of every row, in place.
struct RopeArgs {
  float* x;  // [n, heads, head_dim]
  int64_t heads, head_dim, rope_dim;
  Pairing pairing;
  const float* cos_sin;  // [n, rope_dim / 2, 2]
};

/// dst[i] = cosine of a[index[i]] and b[i]; 0 where one of them is all zeros
struct SimilarityArgs {
  const float* a;        // [*, cols]
  const int32_t* index;  // [n] or null, into a
  const float* b;        // [n, cols]
  int64_t cols;
  float* dst;  // [n]
};

/// dst[i, j] = a[i] . b[j]: all pairs of two lists of rows.
struct DotsArgs {
  const float* a;          // [*, cols]
  const int32_t* index;    // [n] into a
  const float* b;          // [*, cols]
  const int32_t* index_b;  // [n_b] into b
  int64_t n_b, cols;
  float* dst;  // [n, n_b]
};

/// What exit checks and the sampler ask of a row of logits. Ties go to the lower id. A NaN is never chosen; a row that
/// holds one has NaN for log_sum and entropy, and argmax 0 when it holds nothing above -inf.
struct LogitStats {
  int32_t argmax;
  float max;      // the largest logit
  float second;   // the second largest
  float log_sum;  // log of the sum of exp(logit)
  float entropy;  // of the softmax, in nats
};

struct LogitStatsArgs {
  const float* logits;  // [n, vocab]
  int64_t vocab;
  LogitStats* dst;  // [n]
};

// ---- cache and attention ----------------------------------------------------------------------------------------

inline constexpr int kPageCells = 64;        // positions of one page; page p holds [64 p, 64 p + 64)
inline constexpr int kAttentionChunk = 256;  // cells of one partial result; chunks start at multiples of it

/// 64 consecutive positions of one layer of one sequence. Keys lie cell-minor, so that vector lanes are cells.
struct KvPage {
  void* k;                      // [kv_heads, head_dim, 64]  f16, bf16 or f32
  void* v;                      // [kv_heads, 64, head_dim]  f16, bf16 or f32
  uint64_t real;                // bit c: cell c holds a value; others are not read
  const float* bias = nullptr;  // [64] added to the scores of its cells; null: nothing is
};

struct KvCell {
  KvPage* page;
  int32_t slot;
};

/// Stores new keys and values; sets no provenance and not `real` (the cache does both). As f16 and bf16 they round
/// half even, and what is larger than the largest finite number becomes that one.
struct KvWriteArgs {
  DType type;      // f16, bf16 or f32
  const float* k;  // [n, kv_heads, head_dim]  rotated
  const float* v;  // [n, kv_heads, head_dim]
  int64_t kv_heads, head_dim;
  const KvCell* cells;  // [n]
};

/// One row's view of the cache: cells [begin, end) of its sequence in this layer.
struct AttentionRow {
  const KvPage* const* pages;  // page p at pages[p]; null where no cell is real
  int32_t begin, end;          // no cell at all: the result is zeros
};

struct AttentionArgs {
  DType type;                // of the cells
  const float* q;            // [n, heads, head_dim]  rotated
  const AttentionRow* rows;  // [n]
  int64_t heads, kv_heads, head_dim;
  float scale;              // of the scores
  float* dst;               // [n, heads, head_dim]
  float* totals = nullptr;  // [n, heads, 2]  largest score, sum of exp(score - largest); null: nobody wants them
};

/// Where attention went: dst[i, c] = the share that row index[i] gave to its cell from[i] + c, mean over heads, for all
/// cells from there to the row's last, at most `stride` of them; 0 for those not real. Scores are computed again, so
/// listed rows and cells cost heads * head_dim multiply-adds a cell, and the others nothing.
struct AttentionShareArgs {
  AttentionArgs attention;  // as they were, with the totals that came of it
  const int32_t* index;     // [n] rows of q, rows and totals
  const int32_t* from;      // [n] within the row's [begin, end)
  float* dst;               // [n, stride]
  int64_t stride;
};

/// A partial attention result of one row and one KV head: for each query head of the group
/// (max score, sum of exp(score - max), sum of exp(score - max) * v): [group, 2 + head_dim].
/// Cells of chunk c, [256 c, 256 c + 256) within the row's [begin, end), are folded in ascending chunk order.
struct AttentionKernels {
  /// Writes the partials of one chunk for rows [row, row + n), which see the same cells of the same pages:
  /// [n, group, 2 + head_dim]. An empty chunk gives max = -inf, sum = 0, zeros.
  void (*chunk)(const AttentionArgs& args, int64_t row, int64_t n, int64_t kv_head, int64_t chunk,
                float* partial) noexcept;
  /// into = into merged with next, both [group, 2 + head_dim].
  void (*fold)(const AttentionArgs& args, float* into, const float* next) noexcept;
  /// dst of one row and KV head = the weighted sum over the sum of weights.
  void (*finish)(const AttentionArgs& args, int64_t row, int64_t kv_head, const float* partial) noexcept;
};

// ---- the table --------------------------------------------------------------------------------------------------

/// A named entry; run == nullptr means the backend does not serve it.
template <class Fn>
struct Kernel {
  const char* name = nullptr;
  Fn run{};
};

template <class Args>
using RowKernel = Kernel<void (*)(const Args& args, int64_t begin, int64_t end) noexcept>;

/// Products of one numeric path in order of preference: the first that accepts a matrix serves it.
struct LinearList {
  const LinearKernel* kernels = nullptr;
  int32_t n = 0;
};

/// Head kernels of one numeric path, the same way.
struct HeadList {
  const HeadKernel* kernels = nullptr;
  int32_t n = 0;
};

/// What one backend (on one instruction set) can do. Tables are static and immutable.
struct KernelTable {
  uint32_t version = kKernelTableVersion;
  const char* name = nullptr;  // "ref", "cpu/avx2", "cpu/avx512vnni"
  LinearList linear[kNumerics];
  HeadList head[kNumerics];
  RowKernel<EmbedArgs> embed;
  RowKernel<NormArgs> norm;
  RowKernel<QuantizeArgs> quantize;
  RowKernel<RoundArgs> round;
  RowKernel<GatedArgs> gated;
  RowKernel<AddArgs> add;
  RowKernel<RopeArgs> rope;
  RowKernel<SimilarityArgs> similarity;
  RowKernel<DotsArgs> dots;
  RowKernel<LogitStatsArgs> logit_stats;
  RowKernel<KvWriteArgs> kv_write;
  Kernel<AttentionKernels> attention;  // name null: not served
  RowKernel<AttentionShareArgs> attention_share;
};

}  // namespace fathom

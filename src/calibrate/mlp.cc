// The translator with a hidden layer: forward, backward, Adam, and the epoch that is kept.
#include "fathom/calibrate/mlp.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "src/calibrate/matrix.h"
#include "src/calibrate/random.h"

namespace fathom {

namespace {

using Eigen::Index;

constexpr float kGelu = 0.7978845608f;  // sqrt(2 / pi)
constexpr float kGeluCube = 0.044715f;
constexpr Index kEvalRows = 256;

void normalise(RowsF& rows, float epsilon) {
  const auto width = static_cast<float>(rows.cols());
  for (Index i = 0; i < rows.rows(); ++i) rows.row(i) *= 1 / std::sqrt(rows.row(i).squaredNorm() / width + epsilon);
}

// u becomes gelu(u); `slope`, where it is wanted, its derivative.
void gelu(RowsF& u, RowsF* slope) {
  const RowsF t = (kGelu * (u.array() + kGeluCube * u.array().cube())).tanh();
  if (slope != nullptr) {
    *slope = 0.5f * (1 + t.array()) +
             0.5f * u.array() * (1 - t.array().square()) * (kGelu * (1 + 3 * kGeluCube * u.array().square()));
  }
  u.array() *= 0.5f * (1 + t.array());
}

Result<int64_t> check_pairs(const char* name, const RowPairs& rows, int64_t d) {
  FATHOM_TRY(check_rows(fmt::format("{} x", name), rows.x, d));
  FATHOM_TRY(check_rows(fmt::format("{} y", name), rows.y, d));
  const auto n = static_cast<int64_t>(rows.x.size()) / d;
  if (rows.x.size() != rows.y.size()) {
    return Error{ErrorCode::shape,
                 fmt::format("{}: {} values of y for {} of x: pass pairs", name, rows.y.size(), rows.x.size())};
  }
  if (n < 1) return Error{ErrorCode::argument, fmt::format("{}: no rows: pass some", name)};
  return n;
}

Result<void> check(const AffineTranslator& base, const MlpOptions& o) {
  const auto d = static_cast<size_t>(std::max(base.width, 0)), r = static_cast<size_t>(std::max(base.rank, 0));
  if (d == 0 || base.bias.size() != d || base.down.size() != d * (r == 0 ? d : r) || base.up.size() != r * d) {
    return Error{ErrorCode::shape,
                 fmt::format("base: not a translator of width {} and rank {}", base.width, base.rank)};
  }
  FATHOM_TRY(check_metric(o.metric, base.width));
  const auto bad = [](const char* name, auto value, const char* remedy) {
    return Error{ErrorCode::argument, fmt::format("MlpOptions::{} {}: pass {}", name, value, remedy)};
  };
  if (o.hidden < 1) return bad("hidden", o.hidden, "1 or more");
  if (o.max_epochs < 0) return bad("max_epochs", o.max_epochs, "0 or more");
  if (o.patience < 1) return bad("patience", o.patience, "1 or more");
  if (o.batch < 1) return bad("batch", o.batch, "1 or more");
  if (!(o.learning_rate > 0 && o.learning_rate < 1)) return bad("learning_rate", o.learning_rate, "a value in (0, 1)");
  if (!(o.weight_decay >= 0 && o.weight_decay < 1)) return bad("weight_decay", o.weight_decay, "a value in [0, 1)");
  return {};
}

// A parameter, its gradient and Adam's two running means.
struct Parameter {
  RowsF value, gradient, mean, square;

  explicit Parameter(RowsF start)
      : value(std::move(start)), gradient(RowsF::Zero(value.rows(), value.cols())), mean(gradient), square(gradient) {}

  void step(float rate, float decay, int64_t steps) {
    constexpr float kMean = 0.9f, kSquare = 0.999f, kEpsilon = 1e-8f;
    const auto mean_scale = static_cast<float>(1 / (1 - std::pow(double{kMean}, static_cast<double>(steps))));
    const auto square_scale = static_cast<float>(1 / (1 - std::pow(double{kSquare}, static_cast<double>(steps))));
    mean = kMean * mean + (1 - kMean) * gradient;
    square = kSquare * square + (1 - kSquare) * gradient.cwiseAbs2();
    value.array() -= rate * (mean_scale * mean.array() / ((square_scale * square.array()).sqrt() + kEpsilon) +
                             decay * value.array());
  }
};

RowsF random_weights(Index rows, Index cols, uint64_t seed) {
  RowsF weights(rows, cols);
  Random random(seed);
  const double scale = 1 / std::sqrt(static_cast<double>(rows));
  for (Index i = 0; i < weights.size(); ++i) weights.data()[i] = static_cast<float>(scale * random.normal());
  return weights;
}

class Trainer {
 public:
  Trainer(const AffineTranslator& base, const RowPairs& rows, const MlpOptions& options)
      : base_(base),
        options_(options),
        x_(as_rows(rows.x, base.width)),
        w1_(random_weights(base.width, options.hidden, options.seed)),
        b1_(RowsF::Zero(1, options.hidden)),
        w2_(RowsF::Zero(options.hidden, base.width)),
        b2_(RowsF::Zero(1, base.width)),
        order_(static_cast<size_t>(x_.rows())) {
    set_targets(rows);
    std::iota(order_.begin(), order_.end(), Index{0});
  }

  // One pass over the rows in a new order; returns the mean error in units of the base's.
  double epoch(int32_t number) {
    Random random(options_.seed + 0x10001u * static_cast<uint64_t>(number));
    for (size_t i = order_.size(); i > 1; --i) std::swap(order_[i - 1], order_[random.below(i)]);
    const auto n = static_cast<Index>(order_.size());
    const Index batch = options_.batch, batches = (n + batch - 1) / batch;
    double error = 0;
    for (Index at = 0; at < n; at += batch) {
      error +=
          backward(std::span(order_).subspan(static_cast<size_t>(at), static_cast<size_t>(std::min(batch, n - at))));
      const double share = static_cast<double>(steps_) / (static_cast<double>(batches) * options_.max_epochs);
      const auto rate = static_cast<float>(0.5 * options_.learning_rate * (1 + std::cos(M_PI * share)));
      ++steps_;
      w1_.step(rate, options_.weight_decay, steps_);
      b1_.step(rate, 0, steps_);
      w2_.step(rate, options_.weight_decay, steps_);
      b2_.step(rate, 0, steps_);
    }
    return error / static_cast<double>(n);
  }

  // What was learned, in the rows' own units.
  MlpTranslator translator() const {
    const auto values = [](const RowsF& m) { return std::vector<float>(m.data(), m.data() + m.size()); };
    const RowsF w2 = w2_.value.array().rowwise() * scale_.array(), b2 = b2_.value.array().rowwise() * scale_.array();
    return {.base = base_,
            .hidden = options_.hidden,
            .epsilon = MlpTranslator().epsilon,
            .w1 = values(w1_.value),
            .b1 = values(b1_.value),
            .w2 = values(w2),
            .b2 = values(b2)};
  }

 private:
  // What the base leaves over, each output in units of its own standard deviation; and each output's share of the loss.
  void set_targets(const RowPairs& rows) {
    const Index n = x_.rows(), d = x_.cols();
    target_.resize(n, d);
    translate(base_, rows.x, {target_.data(), rows.x.size()});
    target_ = as_rows(rows.y, d) - target_;
    RowD square = RowD::Zero(d);
    for (Index i = 0; i < n; ++i) square += target_.row(i).cast<double>().cwiseAbs2();
    const RowD deviation = (square / static_cast<double>(n)).cwiseSqrt();
    const double least = std::max(1e-3 * deviation.maxCoeff(), 1e-30);
    scale_ = deviation.cwiseMax(least).cast<float>();
    for (Index i = 0; i < n; ++i) target_.row(i).array() /= scale_.array();
    RowD weight = scale_.cast<double>().cwiseAbs2();
    if (!options_.metric.empty()) {
      const Eigen::Map<const RowF> metric(options_.metric.data(), d);
      weight = weight.cwiseProduct(metric.cast<double>().cwiseAbs2());
    }
    const RowD target_weight = weight.cwiseProduct(deviation.cwiseQuotient(scale_.cast<double>()).cwiseAbs2());
    weight_ = (weight / std::max(target_weight.sum(), 1e-300)).cast<float>();
  }

  // Gradients of the mean loss of some rows; returns the sum of their losses.
  double backward(std::span<const Index> rows) {
    const auto n = static_cast<Index>(rows.size());
    RowsF z(n, x_.cols()), delta(n, x_.cols());
    for (Index i = 0; i < n; ++i) {
      z.row(i) = x_.row(rows[static_cast<size_t>(i)]);
      delta.row(i) = -target_.row(rows[static_cast<size_t>(i)]);
    }
    normalise(z, MlpTranslator().epsilon);
    RowsF h = z * w1_.value, slope;
    h.rowwise() += RowF(b1_.value.row(0));
    gelu(h, &slope);
    delta.rowwise() += RowF(b2_.value.row(0));
    delta.noalias() += h * w2_.value;
    double error = 0;
    for (Index i = 0; i < n; ++i) {
      error += delta.row(i).cwiseAbs2().cwiseProduct(weight_).sum();
      delta.row(i).array() *= weight_.array() * (2 / static_cast<float>(n));
    }
    w2_.gradient.noalias() = h.transpose() * delta;
    b2_.gradient = delta.colwise().sum();
    RowsF inner = delta * w2_.value.transpose();
    inner.array() *= slope.array();
    w1_.gradient.noalias() = z.transpose() * inner;
    b1_.gradient = inner.colwise().sum();
    return error;
  }

  const AffineTranslator& base_;
  const MlpOptions& options_;
  Eigen::Map<const RowsF> x_;
  Parameter w1_, b1_, w2_, b2_;
  RowsF target_;         // [n, d]
  RowF scale_, weight_;  // [d]
  std::vector<Index> order_;
  int64_t steps_ = 0;
};

}  // namespace

void translate(const MlpTranslator& translator, std::span<const float> x, std::span<float> dst) {
  translate(translator.base, x, dst);
  const Index d = translator.base.width, hidden = translator.hidden;
  RowsF h = as_rows(x, d);
  normalise(h, translator.epsilon);
  h = (h * as_rows(translator.w1, hidden)).eval();
  h.rowwise() += Eigen::Map<const RowF>(translator.b1.data(), hidden);
  gelu(h, nullptr);
  auto out = as_rows(dst, d);
  out.rowwise() += Eigen::Map<const RowF>(translator.b2.data(), d);
  out.noalias() += h * as_rows(translator.w2, d);
}

double mean_squared_error(const MlpTranslator& translator, const RowPairs& rows, std::span<const float> metric) {
  const Index d = translator.base.width;
  const auto x = as_rows(rows.x, d), y = as_rows(rows.y, d);
  FATHOM_ASSERT(x.rows() == y.rows() && x.rows() > 0);
  RowD weight = RowD::Ones(d);
  if (!metric.empty()) weight = Eigen::Map<const RowF>(metric.data(), d).cast<double>().cwiseAbs2();
  double sum = 0;
  RowsF out;
  for (Index at = 0; at < x.rows(); at += kEvalRows) {
    const Index n = std::min(kEvalRows, x.rows() - at);
    out.resize(n, d);
    const auto size = static_cast<size_t>(n * d);
    translate(translator, rows.x.subspan(static_cast<size_t>(at * d), size), {out.data(), size});
    for (Index i = 0; i < n; ++i) {
      sum += (y.row(at + i).cast<double>() - out.row(i).cast<double>()).cwiseAbs2().cwiseProduct(weight).sum();
    }
  }
  return sum / (static_cast<double>(x.rows()) * static_cast<double>(d));
}

Result<MlpFit> fit_mlp(const AffineTranslator& base, const RowPairs& training, const RowPairs& held_out,
                       const MlpOptions& options) {
  FATHOM_TRY(check(base, options));
  FATHOM_TRY(check_pairs("training", training, base.width));
  FATHOM_TRY(check_pairs("held-out", held_out, base.width));
  Trainer trainer(base, training, options);
  MlpFit fit{.translator = trainer.translator(), .base_error = 0, .error = 0, .epochs = 0, .best_epoch = 0};
  fit.base_error = fit.error = mean_squared_error(fit.translator, held_out, options.metric);
  for (int32_t epoch = 1; epoch <= options.max_epochs && epoch - fit.best_epoch <= options.patience; ++epoch) {
    const double training_error = trainer.epoch(epoch);
    MlpTranslator now = trainer.translator();
    const double error = mean_squared_error(now, held_out, options.metric);
    fit.epochs = epoch;
    if (error < fit.error) {
      fit.error = error;
      fit.best_epoch = epoch;
      fit.translator = std::move(now);
    }
    const MlpEpoch report{.epoch = epoch, .training_error = training_error, .held_out_error = error};
    if (!std::isfinite(error)) break;  // it will not come back
    if (options.on_epoch != nullptr && !options.on_epoch(options.context, report)) break;
  }
  return fit;
}

}  // namespace fathom

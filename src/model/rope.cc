#include "model/rope.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numbers>

namespace fedalt {
namespace {

// Longest table that is kept: 8192 positions of 64 pairs are 4 MiB. Longer sequences get a table of their own.
constexpr int64_t kKeptPositions = 8192;

// Llama 3.1: long waves are slowed down by the factor, short ones kept, those between interpolated.
float Llama3Frequency(float frequency, const RopeScaling& s) {
  const double context = static_cast<double>(s.original_max_position_embeddings);
  const double wave = 2 * std::numbers::pi / frequency;
  if (wave < context / s.high_freq_factor) return frequency;
  if (wave > context / s.low_freq_factor) return static_cast<float>(frequency / s.factor);
  const double smooth = (context / wave - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
  return static_cast<float>((1 - smooth) * frequency / s.factor + smooth * frequency);
}

// YaRN (arXiv 2309.00071): pairs that turn often are kept, those that turn rarely are interpolated, a ramp between.
void ScaleYarn(std::vector<float>& frequencies, const RopeScaling& s, double theta, int64_t head_dim) {
  const double dim = static_cast<double>(head_dim), context = static_cast<double>(s.original_max_position_embeddings);
  const auto correction = [&](double rotations) {
    return dim * std::log(context / (rotations * 2 * std::numbers::pi)) / (2 * std::log(theta));
  };
  double low = correction(s.beta_fast), high = correction(s.beta_slow);
  if (s.truncate) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0);
  high = std::min(high, dim - 1);
  if (low == high) high += 0.001;
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const double interpolated = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    frequencies[i] = static_cast<float>(frequencies[i] / s.factor * interpolated + frequencies[i] * (1 - interpolated));
  }
}

}  // namespace

Rope::Rope(const ModelConfig& config, at::ScalarType dtype, at::Device device)
    : scaling_(config.rope_scaling),
      theta_(config.rope_theta),
      head_dim_(config.head_dim),
      max_positions_(config.max_position_embeddings),
      dtype_(dtype),
      device_(device) {
  if (scaling_.original_max_position_embeddings <= 0) scaling_.original_max_position_embeddings = max_positions_;
  frequencies_ = Frequencies(theta_);
  if (scaling_.type == "linear") {
    for (float& f : frequencies_) f = static_cast<float>(f / scaling_.factor);
  } else if (scaling_.type == "llama3") {
    for (float& f : frequencies_) f = Llama3Frequency(f, scaling_);
  } else if (scaling_.type == "yarn") {
    ScaleYarn(frequencies_, scaling_, theta_, head_dim_);
    attention_factor_ = scaling_.attention_factor;
  }
  table_ = Compute(frequencies_, std::clamp<int64_t>(max_positions_, 1, kKeptPositions));
}

std::vector<float> Rope::Frequencies(double theta) const {
  std::vector<float> frequencies(static_cast<size_t>(head_dim_ / 2));
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(head_dim_);
    frequencies[i] = 1.0f / static_cast<float>(std::pow(theta, static_cast<double>(exponent)));
  }
  return frequencies;
}

std::shared_ptr<const RopeTable> Rope::Compute(const std::vector<float>& frequencies, int64_t positions) const {
  auto table = std::make_shared<RopeTable>();
  const int64_t pairs = static_cast<int64_t>(frequencies.size());
  at::Tensor cos = at::empty({positions, pairs}, at::kDouble), sin = at::empty({positions, pairs}, at::kDouble);
  double *c = cos.data_ptr<double>(), *s = sin.data_ptr<double>();
  for (int64_t p = 0; p < positions; ++p)
    for (int64_t i = 0; i < pairs; ++i) {
      const float angle = static_cast<float>(p) * frequencies[static_cast<size_t>(i)];  // rounded to float32, as the original does
      c[p * pairs + i] = attention_factor_ * std::cos(static_cast<double>(angle));
      s[p * pairs + i] = attention_factor_ * std::sin(static_cast<double>(angle));
    }
  table->positions = positions;
  table->cos = cos.to(device_, dtype_);
  table->sin = sin.to(device_, dtype_);
  return table;
}

std::vector<std::shared_ptr<const RopeTable>> Rope::Tables(const std::vector<int64_t>& lengths) const {
  std::vector<std::shared_ptr<const RopeTable>> tables(lengths.size());
  if (scaling_.type != "dynamic") {
    const auto longest = std::max_element(lengths.begin(), lengths.end());
    if (longest != lengths.end()) std::fill(tables.begin(), tables.end(), Table(*longest));
    return tables;
  }
  std::map<int64_t, std::shared_ptr<const RopeTable>> by_length;
  for (size_t i = 0; i < lengths.size(); ++i) {
    auto& table = by_length[lengths[i]];
    if (table == nullptr) table = Table(lengths[i]);
    tables[i] = table;
  }
  return tables;
}

std::shared_ptr<const RopeTable> Rope::Table(int64_t length) const {
  if (scaling_.type == "dynamic" && length > max_positions_) {
    const double dim = static_cast<double>(head_dim_);
    const double stretch =
        scaling_.factor * static_cast<double>(length) / static_cast<double>(max_positions_) - (scaling_.factor - 1);
    return Compute(Frequencies(theta_ * std::pow(stretch, dim / (dim - 2))), length);
  }
  if (length <= table_->positions) return table_;
  return Compute(frequencies_, length);
}

}  // namespace fedalt

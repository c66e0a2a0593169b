// Decoding: greedy generation by the product's generator with a site's adapters, against the bytes that it has to read.
#include <cstdio>
#include <string>

#include "base/check.h"
#include "figures.h"
#include "measure.h"
#include "model/generate.h"
#include "model/tensor_memory.h"
#include "synthetic.h"

namespace fedalt::bench {
namespace {

double DecodeShare(const Geometry& full, bool quick) {
  KeepTensorMemory();
  const Geometry geometry = quick ? kGeometryTiny : full;
  const auto model = RandomModel(geometry, at::kBFloat16);
  const auto adapters = SomeAdapters(*model);
  constexpr int64_t kBatch = 8, kPrompt = 32;
  const int64_t short_run = quick ? 2 : 4, long_run = quick ? 4 : 100;
  std::vector<std::vector<int32_t>> prompts;
  for (const TokenizedExample& example : RandomExamples(geometry, {kBatch, kPrompt - 1})) prompts.push_back(example.tokens);
  const ForwardContext context{.extensions = &adapters->extensions()};
  const auto seconds = [&](int64_t tokens) {
    return SecondsOf([&] {
      const auto texts = Generate(*model, prompts, {.max_new_tokens = tokens, .batch_size = kBatch}, context);
      FEDALT_CHECK(texts.ok() && static_cast<int64_t>((*texts)[0].size()) == tokens, "there is no end-of-text token");
    });
  };
  seconds(short_run);
  // Prompts and set-up fall out of the difference. Keys and values of positions 0 .. n are read in step n.
  const double steps = static_cast<double>(long_run - short_run);
  const double weights = 2.0 * (geometry.LinearParameters() + static_cast<double>(geometry.vocab * geometry.hidden));
  const double mean_length = static_cast<double>(kPrompt) + static_cast<double>(long_run + short_run) / 2.0;
  const double cache = 2.0 * 2.0 * static_cast<double>(kBatch * geometry.layers * geometry.hidden) * mean_length;
  std::vector<double> shares;
  for (int i = 0; i < (quick ? 1 : 9); ++i) {
    const double before = ReadBandwidth();
    const double taken = seconds(long_run) - seconds(short_run);
    const double after = ReadBandwidth();
    const double ours = (weights + cache) * steps / taken;
    std::fprintf(stderr, "read at %.1f GB/s of %.1f and %.1f\n", ours / 1e9, before / 1e9, after / 1e9);
    shares.push_back(ours / ((before + after) / 2));
  }
  return Median(shares);
}

constexpr char kHow[] =
    "batch 8, prompts of 32 tokens, 100 new ones, greedy, FedALT r 8 on q and v; bytes of linears, head and cache per token over "
    "the rate at which all threads read 256 MB just before and after, both in pages of 2 MB where the kernel gives them";

}  // namespace

std::vector<FigureDefinition> DecodingFigures() {
  return {{"decode_share_S_bf16", "share", kHow, true, [](bool quick) { return DecodeShare(kGeometryS, quick); }},
          {"decode_share_M_bf16", "share", kHow, true, [](bool quick) { return DecodeShare(kGeometryM, quick); }}};
}

}  // namespace fedalt::bench

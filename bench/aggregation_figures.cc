// Aggregation: the fixed-point sum of ten thousand contributions, against a copy of the same bytes; and what the rest of world by
// singular values costs the server.
#include <ATen/Parallel.h>

#include <cstring>
#include <string>
#include <utility>

#include "base/check.h"
#include "fed/local_transport.h"
#include "fed/rest_of_world.h"
#include "figures.h"
#include "measure.h"
#include "model/tensor_memory.h"

namespace fedalt::bench {
namespace {

/// A copy by all threads.
void Copy(const float* from, float* to, int64_t count) {
  at::parallel_for(0, count, count / at::get_num_threads(), [&](int64_t begin, int64_t end) {
    std::memcpy(to + begin, from + begin, static_cast<size_t>(end - begin) * sizeof(float));
  });
}

double AggregateShare(bool quick) {
  KeepTensorMemory();
  const int64_t length = quick ? 1000 : 4'200'000, contributions = quick ? 10 : 10'000;
  // A few contributions that come again and again: more bytes than a cache holds, and nothing to make between the sums.
  constexpr int64_t kDifferent = 8;
  const at::Tensor values = at::randn({kDifferent, length});
  at::Tensor copy = at::empty({length});
  LocalTransport transport(LedgerPolicy::kKeepAbsent);  // what `fedalt run` sums with
  double adding = 0.0, copying = 0.0;
  for (int64_t i = 0; i < contributions; ++i) {
    Upload upload{1, i, 1.0, values[i % kDifferent].clone()};
    adding += SecondsOf([&] {
      const Status status = transport.Send(std::move(upload));
      FEDALT_CHECK(status.ok(), std::string(status.message()));
    });
    const float* const other = values.data_ptr<float>() + ((i + kDifferent / 2) % kDifferent) * length;  // not in the cache
    copying += SecondsOf([&] { Copy(other, copy.data_ptr<float>(), length); });
  }
  return copying / adding;
}

/// Seconds per site and adapted linear of `aggregate: svd`, all of the server's work included, for one linear of width d and
/// rank 8. The sites' adapters are drawn apart: the spectrum of their mean falls as slowly as it can. `own` below 1: that share of
/// each adapter is its own, the rest is common.
double SvdSeconds(int64_t sites, double own, bool quick) {
  const int64_t d = quick ? 64 : 512, r = 8;
  RoundUploads round{{}, {{"linear", 0, d, d}}, r};
  const at::Tensor common = at::randn({2 * r * d});
  for (int64_t k = 0; k < sites; ++k) round.uploads.push_back({1, k, 1.0, common * (1.0 - own) + at::randn({2 * r * d}) * own});
  RestOfWorldOptions options;
  options.aggregate = RestOfWorldAggregate::kSvd;
  const auto work = [&](int64_t readers) {
    const auto rest_of_world = RestOfWorldAtServer(round, options);
    for (int64_t k = 0; k < readers; ++k) rest_of_world(k);
  };
  work(1);  // the first decomposition of a process loads and starts what it needs
  const double seconds = SecondsOf([&] { work(sites); });
  return seconds / static_cast<double>(sites);
}

constexpr char kSvdOfStrangers[] =
    "what the server computes for rest_of_world.aggregate: svd, per site and adapted linear (d 512, r 8), for so many sites whose "
    "adapters have nothing in common";
constexpr char kSvdOfRelated[] = "the same where one half of each adapter is common to all";

}  // namespace

std::vector<FigureDefinition> AggregationFigures() {
  return {{"aggregate_share_memcpy", "share",
           "10,000 contributions of 4.2 M float32 each handed to the transport that sums them; time of copying each (memcpy by all "
           "threads) over that of adding it, in turn",
           false, AggregateShare},
          {"svd_rest_of_world_2", "s", kSvdOfStrangers, false, [](bool quick) { return SvdSeconds(2, 1.0, quick); }},
          {"svd_rest_of_world_8", "s", kSvdOfStrangers, false, [](bool quick) { return SvdSeconds(8, 1.0, quick); }},
          {"svd_rest_of_world_50", "s", kSvdOfStrangers, false, [](bool quick) { return SvdSeconds(50, 1.0, quick); }},
          {"svd_rest_of_world_200", "s", kSvdOfStrangers, false, [](bool quick) { return SvdSeconds(200, 1.0, quick); }},
          {"svd_rest_of_world_200_related", "s", kSvdOfRelated, false, [](bool quick) { return SvdSeconds(200, 0.5, quick); }}};
}

}  // namespace fedalt::bench

// Aggregation: the fixed-point sum of ten thousand contributions, against a copy of the same bytes.
#include <ATen/Parallel.h>

#include <cstring>
#include <string>
#include <utility>

#include "base/check.h"
#include "fed/local_transport.h"
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

}  // namespace

std::vector<FigureDefinition> AggregationFigures() {
  return {{"aggregate_share_memcpy", "share",
           "10,000 contributions of 4.2 M float32 each handed to the transport that sums them; time of copying each (memcpy by all "
           "threads) over that of adding it, in turn",
           false, AggregateShare}};
}

}  // namespace fedalt::bench

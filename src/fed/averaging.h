// What the averaging baselines share: some tensors of the individual adapter travel, and every site takes their mean.
#pragma once

#include <string_view>

#include "fed/method.h"

namespace fedalt {

class AveragingMethod : public Method {
 public:
  using Method::Method;
  TransportNeed needs() const override { return TransportNeed::kSum; }
  Deploy deploy() const override { return Deploy::kSwapped; }
  at::Tensor Contribution(int64_t round, const Site& site) const override;
  Status Receive(const Published& published, Site& site) const override;

 protected:
  /// Whether A, or B, of every module travels in `round`.
  virtual bool TravelsA(int64_t) const { return true; }
  virtual bool TravelsB(int64_t) const { return true; }
  /// The tensors of the individual adapter that travel.
  NamedTensors Travelling(int64_t round, const Site& site) const;
};

/// Whether a tensor of an adapter, as SiteAdapters names it, is an A.
bool IsA(std::string_view name);

}  // namespace fedalt

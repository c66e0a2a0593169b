// One site as the round sees it: its data, its adapters, its optimizer, and what it last sent.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "adapter/site_adapters.h"
#include "data/dataset.h"
#include "train/evaluate.h"
#include "train/trainer.h"

namespace fedalt {

/// One site's data, ready for use.
struct SiteData {
  std::string name;
  std::vector<TokenizedExample> train;
  std::vector<TokenizedExample> validation;  ///< may be empty
  EvalSet test;
};

/// Everything that a site keeps from one round to the next. Owned by the federation; used by one thread at a time.
struct Site {
  /// `device`: the model's.
  Site(int64_t site_index, const SiteData* site_data, std::vector<AdaptedModule> modules, const AdapterConfig& config,
       at::Device device)
      : index(site_index), data(site_data), adapters(std::move(modules), config, at::kFloat, device) {}

  int64_t index = 0;
  const SiteData* data = nullptr;  ///< borrowed
  SiteAdapters adapters;
  TrainState train_state;
  std::vector<float> sent;  ///< its entry in the ledger, exactly as transmitted; empty: not in the ledger
  double sent_weight = 0.0;
};

}  // namespace fedalt

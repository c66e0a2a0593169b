// One site as the round sees it: its adapters, its optimizer, and what it last sent; and its data.
//
// Both are in memory only while somebody works on them: the data come from a SiteSource, the state from the RoundJournal. So a
// federation needs memory for the sites at work, however many there are.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "adapter/site_adapters.h"
#include "base/random.h"
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

/// The name under which all sites' data are one site's (Method::pools_data); no site may have it, because of its blank.
inline constexpr char kPooledSite[] = "all sites";

/// What is known of a site without its data.
struct SiteInfo {
  std::string name;
  int64_t train_examples = 0;
};

/// Gives out the data of one site at a time.
class SiteSource {
 public:
  virtual ~SiteSource() = default;
  virtual const std::vector<SiteInfo>& sites() const = 0;
  /// The same data at every call; freed when the last pointer goes. From any thread. Errors: kData.
  virtual StatusOr<std::shared_ptr<const SiteData>> Load(size_t site) const = 0;
};

/// A site's entry in the ledger, exactly as transmitted; values undefined: not in the ledger.
struct LedgerEntry {
  at::Tensor values;  ///< flat, float32 on the CPU
  double weight = 0.0;
  int64_t round = 0;  ///< in which it was sent
};

/// Everything that a site keeps from one round to the next. Used by one thread at a time.
struct Site {
  /// `device`: the model's. `dtype`: float64 in tests of the methods' arithmetic; what the site keeps and sends has it, too.
  Site(int64_t site_index, SiteInfo site_info, std::vector<AdaptedModule> modules, const AdapterConfig& config, at::Device device,
       at::ScalarType dtype = at::kFloat)
      : index(site_index),
        info(std::move(site_info)),
        address(SiteAddress(info.name)),
        adapters(std::move(modules), config, dtype, device) {}

  int64_t index = 0;  ///< its place among the sites here
  SiteInfo info;
  uint64_t address = 0;  ///< of its draws (base/random.h)
  SiteAdapters adapters;
  InitOptions start;  ///< how its adapters were drawn
  TrainState train_state;
  LedgerEntry sent;
  NamedTensors method_state;  ///< what the method keeps beside the adapters, float32
  int64_t read_round = 0;     ///< whose publication it took in last: the version of what it reads of the others
  int64_t refused_round = 0;  ///< whose publication it decided not to take in, last

  /// Undefined if there is none.
  at::Tensor State(std::string_view name) const {
    for (const auto& [key, tensor] : method_state)
      if (key == name) return tensor;
    return {};
  }
  void SetState(std::string_view name, const at::Tensor& value) {
    for (auto& [key, tensor] : method_state)
      if (key == name) {
        tensor = value;
        return;
      }
    method_state.emplace_back(name, value);
  }
};

}  // namespace fedalt

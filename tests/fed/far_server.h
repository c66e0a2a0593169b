// A server elsewhere as one site of it sees it: what other sites sent is made up, and the server outlives the site.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "fed/tiny_federation.h"

namespace fedalt::testing {

/// What the server knows; shared by all lives of the site.
struct FarServerState {
  /// What one other site sends in a round, given as many zeros.
  std::function<at::Tensor(int64_t round, const at::Tensor& zeros)> other = [](int64_t, const at::Tensor& zeros) {
    return zeros + 0.01;
  };
  std::set<int64_t> late;                ///< rounds that are closed without the site
  std::map<int64_t, at::Tensor> counts;  ///< contributions of the site, by round
  std::map<int64_t, Published> published;
  std::map<int64_t, std::string> decisions;  ///< why a publication was refused; empty: adopted
  int64_t values = 0;
};

class FarServer : public Transport {
 public:
  explicit FarServer(FarServerState& state) : state_(state) {}
  bool Offers(TransportNeed) const override { return true; }
  bool Aggregates() const override { return true; }
  Status Send(Upload upload) override {
    state_.values = upload.values.numel();
    if (!state_.published.contains(upload.round) && !state_.late.contains(upload.round))
      state_.counts[upload.round] = upload.values.clone();
    return absl::OkStatus();
  }
  Status Keep(Upload) override { return absl::OkStatus(); }
  StatusOr<Published> CloseRound(int64_t round) override {
    if (const auto known = state_.published.find(round); known != state_.published.end()) return known->second;
    Published sum{round, 1.0, 1, state_.other(round, at::zeros({state_.values})), int64_t{0}};
    if (!state_.counts.empty()) {
      const auto& [own_round, own] = *state_.counts.rbegin();
      sum = {round, 2.0, 2, sum.values + own, own_round};
    }
    state_.published[round] = sum;
    return sum;
  }
  StatusOr<std::vector<Upload>> CloseRoundWithUploads(int64_t) override { return absl::InternalError("the server aggregates"); }
  Status NoteReading(int64_t round, const std::string& refused) override {
    state_.decisions[round] = refused;
    return absl::OkStatus();
  }

 private:
  FarServerState& state_;
};

/// site-0 of three, the others elsewhere.
inline StatusOr<RunSummary> RunFarSite(const Transformer& model, const FederationOptions& options, FarServerState& state,
                                       RoundJournal& journal) {
  const auto sites = TinySites(1, model);
  FarServer server(state);
  return RunFederation({&model, nullptr, sites.get(), nullptr, {"graz", "osaka", "site-0"}, {}}, options, server, journal, {});
}

}  // namespace fedalt::testing

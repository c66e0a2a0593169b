// What a site's model is worth with and without the others: "does federation help this site?"
#pragma once

#include <map>
#include <string>

#include "base/status.h"
#include "fed/federation.h"

namespace fedalt {

/// The site's model on `data` (which is another site's only for pooled models), with the branches as `mode` says.
StatusOr<SiteScores> ScoreSite(const FederationInputs& inputs, Site& model_of, const SiteData& data, const EvalOptions& options,
                               BranchMode mode);

/// The four partial models and the base: rest_of_world_off, individual_off, individual_alone, rest_of_world_alone, base.
StatusOr<std::map<std::string, SiteScores>> ScoreAblations(const FederationInputs& inputs, Site& model_of, const SiteData& data,
                                                           const EvalOptions& options);

}  // namespace fedalt

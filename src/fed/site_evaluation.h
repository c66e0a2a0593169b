// What a site's model is worth with and without the others: "does federation help this site?"
#pragma once

#include <map>
#include <string>

#include "base/status.h"
#include "fed/federation.h"

namespace fedalt {

/// The site's model on `data`, its own or another's, with the branches as `mode` says. Where the method weighs each example by
/// itself, weights are rounded to 1/64, so that examples of one weight are answered together.
StatusOr<SiteScores> ScoreSite(const FederationInputs& inputs, const Method& method, Site& model_of, const SiteData& data,
                               const EvalOptions& options, BranchMode mode);

/// The same, its mean loss on the validation data alone. Precondition: there are some.
StatusOr<double> ScoreValidation(const FederationInputs& inputs, const Method& method, Site& model_of, const SiteData& data,
                                 const EvalOptions& options, BranchMode mode);

/// The four partial models and the base: rest_of_world_off, individual_off, individual_alone, rest_of_world_alone, base.
StatusOr<std::map<std::string, SiteScores>> ScoreAblations(const FederationInputs& inputs, const Method& method, Site& model_of,
                                                           const SiteData& data, const EvalOptions& options);

}  // namespace fedalt

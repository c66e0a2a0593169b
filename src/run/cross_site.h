// Every site's final model on examples of every site: who could use whose model, and what personal means.
#pragma once

#include <filesystem>

#include "base/status.h"
#include "run/results_json.h"
#include "run/run.h"

namespace fedalt {

/// Whether the table says anything: several sites with models of their own, and few enough to be read.
bool HasCrossSite(const LoadedRun& run);

/// {"round", "examples", "models": [names], "tests": [names], "loss": [[row: model, column: test data]]} from the models that the
/// last round left in `directory`, on the first eval.cross_examples test examples of each site. Errors: as LoadSiteModel and
/// evaluation; kInterrupted.
StatusOr<OrderedJson> CrossSiteLosses(const LoadedRun& run, const std::filesystem::path& directory);

}  // namespace fedalt

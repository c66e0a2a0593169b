// Whether adapters have a higher rank than the layers that they adapt can use.
#pragma once

#include <string>

#include "base/status.h"
#include "run/run_config.h"

namespace fedalt {

/// A sentence that names the narrowest adapted layer, its shape and the rank, if the product of the adapter's factors cannot have
/// that rank there: such an adapter is held and sent, and is worth no more than one of the layer's own width. Empty otherwise, and
/// for base. Reads the headers of the model's files. Errors: kModel.
StatusOr<std::string> RankBeyondWidth(const RunConfig& config);

}  // namespace fedalt

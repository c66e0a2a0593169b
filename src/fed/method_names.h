// The methods that there are. Apart from method.h, so that configurations need no libtorch.
#pragma once

#include <string>
#include <vector>

namespace fedalt {

/// Names that MakeMethod knows, in the order of tables.
std::vector<std::string> MethodNames();

}  // namespace fedalt

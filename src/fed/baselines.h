// The methods that every comparison shows beside fedalt. Each has a file of its own, with its source and its rule.
#pragma once

#include <memory>

#include "fed/method.h"

namespace fedalt {

std::unique_ptr<Method> MakeBase(const MethodOptions& options);
std::unique_ptr<Method> MakeLocal(const MethodOptions& options);
std::unique_ptr<Method> MakeFedit(const MethodOptions& options);
std::unique_ptr<Method> MakeFeditFt(const MethodOptions& options);
std::unique_ptr<Method> MakePooled(const MethodOptions& options);

}  // namespace fedalt

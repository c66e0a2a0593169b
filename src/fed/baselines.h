// The methods that every comparison shows beside fedalt. Each has a file of its own, with its source and its rule.
#pragma once

#include <memory>

#include "fed/method.h"

namespace fedalt {

std::unique_ptr<Method> MakeBase(const MethodOptions& options);
std::unique_ptr<Method> MakeLocal(const MethodOptions& options);
std::unique_ptr<Method> MakeFedit(const MethodOptions& options);
std::unique_ptr<Method> MakeFeditFt(const MethodOptions& options);
std::unique_ptr<Method> MakeFfa(const MethodOptions& options);
std::unique_ptr<Method> MakeFedsa(const MethodOptions& options);
std::unique_ptr<Method> MakeFeddpa(const MethodOptions& options);
std::unique_ptr<Method> MakeFdlora(const MethodOptions& options);
std::unique_ptr<Method> MakeFlora(const MethodOptions& options);
std::unique_ptr<Method> MakeFlexlora(const MethodOptions& options);
std::unique_ptr<Method> MakeFedex(const MethodOptions& options);
std::unique_ptr<Method> MakeRolora(const MethodOptions& options);
std::unique_ptr<Method> MakePooled(const MethodOptions& options);

/// The local adapter's weight for each hidden state (N, d) by its likeness to `anchors` (S, d): see feddpa.cc. (N) float64.
at::Tensor FeddpaWeights(const at::Tensor& hidden_nd, const at::Tensor& anchors_sd, double weight);

}  // namespace fedalt

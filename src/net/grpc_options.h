// What both ends of the gRPC connection agree on: limits, codes.
#pragma once

#include <grpcpp/grpcpp.h>

#include <string>

#include "base/status.h"

namespace fedalt {

/// The largest message: a chunk of a tensor and what is around it, or the manifest of a large one.
inline constexpr int kLargestMessage = 4 << 20;

/// The own messages of gRPC and protobuf do not belong on stderr; what matters is in the statuses.
void SilenceGrpc();
grpc::ChannelArguments ClientArguments();
void ConfigureServer(grpc::ServerBuilder& builder);

Status FromGrpc(const grpc::Status& status);
grpc::Status ToGrpc(const Status& status);

}  // namespace fedalt

#include "net/grpc_options.h"

#include <google/protobuf/stubs/logging.h>
#include <grpc/grpc.h>
#include <grpc/support/log.h>

namespace fedalt {
namespace {

constexpr int kMostMetadataBytes = 16 << 10;
constexpr int kFewestMsBetweenPings = 30'000;  // of another client; ours leaves it to TCP (net/tls_pump.h)

void Ignore(gpr_log_func_args*) {}

}  // namespace

void SilenceGrpc() {
  // The library stays open until the process ends: its closing waits for a thread of its own that may sleep for ten seconds.
  static const bool kOpen = (grpc_init(), true);
  (void)kOpen;
  gpr_set_log_function(&Ignore);
  google::protobuf::SetLogHandler(nullptr);  // it writes a line for each message that is no UTF-8, as often as the other end likes
}

grpc::ChannelArguments ClientArguments() {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kLargestMessage);
  arguments.SetMaxSendMessageSize(kLargestMessage);
  arguments.SetInt(GRPC_ARG_MAX_METADATA_SIZE, kMostMetadataBytes);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);  // the session repeats, and says so
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 10'000);
  return arguments;
}

void ConfigureServer(grpc::ServerBuilder& builder) {
  constexpr int kStreamsPerConnection = 8;
  builder.SetMaxReceiveMessageSize(kLargestMessage);
  builder.SetMaxSendMessageSize(kLargestMessage);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kStreamsPerConnection);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMostMetadataBytes);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kFewestMsBetweenPings);
}

// absl's codes and gRPC's are the same numbers.
Status FromGrpc(const grpc::Status& status) {
  return {static_cast<absl::StatusCode>(status.error_code()), status.error_message()};
}

grpc::Status ToGrpc(const Status& status) {
  return {static_cast<grpc::StatusCode>(status.code()), std::string(status.message())};
}

}  // namespace fedalt

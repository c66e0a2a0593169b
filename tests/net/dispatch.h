// A call as it comes off the wire, handed to a server's state machine.
#pragma once

#include <string>

#include "net/server_connection.h"
#include "net/server_core.h"

namespace fedalt::testing {

template <typename Request, typename Work>
StatusOr<std::string> Answer(const std::string& bytes, const Work& work) {
  Request request;
  if (!request.ParseFromString(bytes)) return absl::InvalidArgumentError("no message of this protocol");
  const auto reply = work(request);
  if (!reply.ok()) return reply.status();
  return reply->SerializeAsString();
}

inline StatusOr<std::string> Dispatch(ServerCore& core, int64_t site, Rpc rpc, const std::string& bytes) {
  switch (rpc) {
    case Rpc::kEnrol:
      return Answer<v1::EnrolRequest>(bytes, [&](const auto& request) { return core.Enrol(site, request); });
    case Rpc::kPoll:
      return Answer<v1::PollRequest>(bytes, [&](const auto& request) { return core.State(site, request); });
    case Rpc::kBeginUpload:
      return Answer<v1::UploadManifest>(bytes, [&](const auto& request) { return core.BeginUpload(site, request); });
    case Rpc::kPutChunk:
      return Answer<v1::Chunk>(bytes, [&](const auto& request) { return core.PutChunk(site, request); });
    case Rpc::kCommitUpload:
      return Answer<v1::UploadManifest>(bytes, [&](const auto& request) { return core.CommitUpload(site, request); });
    case Rpc::kGetManifest:
      return Answer<v1::ManifestRequest>(bytes, [&](const auto& request) { return core.GetManifest(site, request); });
    case Rpc::kGetChunk:
      return Answer<v1::ChunkRequest>(bytes, [&](const auto& request) { return core.GetChunk(site, request); });
    case Rpc::kCountersign:
      return Answer<v1::Countersignature>(bytes, [&](const auto& request) { return core.Countersign(site, request); });
    case Rpc::kReport:
      return Answer<v1::Metrics>(bytes, [&](const auto& request) { return core.Report(site, request); });
    case Rpc::kLeave:
      return Answer<v1::LeaveRequest>(bytes, [&](const auto& request) { return core.Leave(site, request); });
  }
  return absl::InvalidArgumentError("no such call");
}

}  // namespace fedalt::testing

// A site's end of a federation, as a Transport: the round code of the single machine runs on it. It waits, repeats and goes on
// until the server has acknowledged an upload or closed the round without it; the server counts what comes twice once.
//
// Legal order: Enrol, then JoinsAfter, once per process, then as Transport says. One thread. A restarted site enrols anew and sends
// what its checkpoint holds; the same bytes have the same key.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/progress.h"
#include "fed/chunks.h"
#include "fed/options.h"
#include "fed/site_record.h"
#include "fed/transport.h"
#include "federation.pb.h"
#include "net/clock.h"
#include "net/server_connection.h"
#include "net/signatures.h"

namespace fedalt {

struct SiteSessionOptions {
  std::string agreement;  ///< what all have in common, one fact per line
  int64_t train_examples = 0;
  int64_t patience_ms = 86'400'000;  ///< without an answer of the server, before the site gives up
  UploadFormat upload = UploadFormat::kFloat32;
  bool reports = false;                    ///< whether Report sends anything
  std::string process;                     ///< a name of this process that no other has
  std::string site;                        ///< its name
  std::vector<std::string> sites;          ///< all names, by place
  SiteRecord* record = nullptr;            ///< borrowed; null: nothing is kept
  Signatures signatures;                   ///< the site's; without `verifies` no signature is looked at
  std::optional<ProgressOutput> progress;  ///< where it shows how far an upload or download of several chunks is; empty: nowhere
};

class SiteSession : public Transport {
 public:
  /// `tell` is given what the session waits for, when it changes. Borrows connection and clock.
  SiteSession(SiteSessionOptions options, ServerConnection& connection, Clock& clock, std::function<void(const std::string&)> tell);

  /// `anew`: there is no state of the run here. Errors (of all calls): kFederation (refused, ended, or no answer for too long; with
  /// the server's reason), kIntegrity (the server shows another history than before, or a signature that is not its own), kOutput
  /// (the record), kInterrupted.
  Status Enrol(bool anew);
  /// From here on the record is kept.
  StatusOr<int64_t> JoinsAfter() override;
  /// Takes part no longer; nothing of this site counts from the next publication on.
  Status Leave(const std::string& cause);

  bool Offers(TransportNeed) const override { return true; }
  bool Aggregates() const override { return true; }
  Status Send(Upload upload) override;
  /// The server has the ledger.
  Status Keep(Upload) override { return absl::OkStatus(); }
  StatusOr<Published> CloseRound(int64_t round) override;
  StatusOr<std::vector<Upload>> CloseRoundWithUploads(int64_t round) override;

  Status NoteReading(int64_t round, const std::string& refused) override;
  void Report(int64_t round, const std::map<std::string, double>& values) override;

  const std::string& run() const { return run_; }
  /// A poll that another thread may send over the same connection while this site trains, so that the server hears of it.
  std::string SignOfLife() const;

 private:
  /// Calls until there is an answer that `parse` takes. An error is the server's own, kInterrupted, or of a patience that ended.
  Status AskUntil(Rpc rpc, const std::string& request, int64_t patience_ms, const std::function<bool(const std::string&)>& parse);
  template <typename Reply, typename Request>
  StatusOr<Reply> Ask(Rpc rpc, const Request& request, int64_t patience_ms) {
    Reply reply;
    RETURN_IF_ERROR(AskUntil(rpc, request.SerializeAsString(), patience_ms,
                             [&](const std::string& bytes) { return reply.ParseFromString(bytes); }));
    return reply;
  }
  template <typename Reply, typename Request>
  StatusOr<Reply> Ask(Rpc rpc, const Request& request) {
    return Ask<Reply>(rpc, request, options_.patience_ms);
  }
  /// The server's own errors as one of ours.
  static Status Final(const Status& status);
  Status Poll();
  /// Polls until `done` holds of the state. Errors: also the run's end.
  Status WaitUntil(const std::function<bool(const v1::RunState&)>& done);
  Status Transmit(const Upload& upload);
  Status PutChunks(const Upload& upload, const v1::UploadManifest& manifest, const v1::MissingChunks& missing);
  /// `what` as in "round 3, upload". Null: there is little to show, or nowhere.
  std::unique_ptr<Progress> Begin(const std::string& what, int64_t chunks, int64_t done) const;
  StatusOr<at::Tensor> Download(int64_t round, const ChunkList& chunks);
  Status Accept(const v1::RunState& state);
  /// The record of a round, after all that this site knows was compared with it; keeps it.
  StatusOr<RoundRecord> Witness(int64_t round, const v1::PublishedManifest& manifest);
  Status CheckOwn(const RoundRecord& record) const;
  /// Whether it continues the records that this site holds.
  Status CheckHistory(const RoundRecord& record, const std::string& bytes);
  /// Says whether what this site sent is used, in its log, and to its operator where it came too late.
  Status TellCounted(const RoundRecord& record);
  Status CheckAdoptions(const RoundRecord& record, const v1::PublishedManifest& manifest);
  Status Countersign(int64_t round, const std::string& refused);
  StatusOr<std::optional<RecordedContribution>> Sent(int64_t round) const;
  Status Note(const std::string& kind, const nlohmann::json& body);
  /// Until `upload_` counts in the open attempt, or its round was closed without it.
  Status Deliver();
  /// The server does not count what this site sent in the open attempt: the site goes on like one that is absent.
  void TellLeftOut(const std::string& why);
  /// Whether the server is before `round`, which this site has reached.
  static bool WentBack(const v1::RunState& state, int64_t round) { return state.round() > 0 && state.round() < round; }
  Status WentBackError(int64_t round) const;

  SiteSessionOptions options_;
  ServerConnection& connection_;
  Clock& clock_;
  std::function<void(const std::string&)> tell_;
  std::string run_, told_, noticed_;
  v1::EnrolReply enrolled_;
  bool anew_ = false;
  v1::RunState state_;
  Upload upload_;             // of the round that is being exchanged
  std::string sent_content_;  // its hash
  int64_t sent_attempt_ = 0;  // in which it was acknowledged or left out; 0: not yet
  bool left_out_told_ = false;
};

}  // namespace fedalt

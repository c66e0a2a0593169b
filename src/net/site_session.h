// A site's end of a federation, as a Transport: the round code of the single machine runs on it. It waits, repeats and goes on
// until the server has acknowledged an upload or closed the round without it; the server counts what comes twice once.
//
// Legal order: Enrol, then JoinsAfter, once per process, then as Transport says. One thread. A restarted site enrols anew and sends
// what its checkpoint holds; the same bytes have the same key.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

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
  bool reports = false;          ///< whether Report sends anything
  std::string process;           ///< a name of this process that no other has
  SiteRecord* record = nullptr;  ///< borrowed; null: nothing is kept
  Signatures signatures;         ///< the site's; without `verifies` nothing that the server signs is looked at
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
  template <typename Reply, typename Request>
  StatusOr<Reply> Ask(Rpc rpc, const Request& request);
  Status Poll();
  /// Polls until `done` holds of the state. Errors: also the run's end.
  Status WaitUntil(const std::function<bool(const v1::RunState&)>& done);
  Status Transmit(const Upload& upload);
  Status Accept(const v1::RunState& state);
  /// Whether the head continues what this site has seen of the server's log; remembers and countersigns it.
  Status Witness(int64_t round, const v1::LogHead& head);
  Status CheckContinues(const TreeHead& before, const TreeHead& now);
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
  std::string content_;  ///< hash of what the last closed round published
  v1::RunState state_;
  Upload upload_;             // of the round that is being exchanged
  int64_t sent_attempt_ = 0;  // in which it was acknowledged or left out; 0: not yet
  bool left_out_told_ = false;
};

}  // namespace fedalt

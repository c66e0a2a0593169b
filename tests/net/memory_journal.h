// A server's journal in memory, which outlives the server that writes it, with a disk that fails when it is told to: before the
// write is stored or after it, and then the server is dead. Pieces and what was published may be read from any thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "fed/server_journal.h"
#include "net/memory_record.h"

namespace fedalt::testing {

/// Mistakes that somebody could make, to see that the simulation finds them. They are put into what surrounds the state machines.
enum class Planted {
  kNone,
  kLosesUpload,              ///< the journal, at a restart
  kForgetsClosing,           ///< the journal: what a round received stays for the next
  kPublishesOldSum,          ///< the journal
  kCountsTwice,              ///< the aggregation
  kAcknowledgesFirst,        ///< the journal says that an upload is recorded, and records it with the next write
  kTakesOldAttempt,          ///< the network: an upload of an attempt that was abandoned passes for one of the open attempt
  kBelowFloor,               ///< the server is started with a lower floor
  kReadsOldSum,              ///< the site closes a round with what the one before published
  kOwnAdapterFromSum,        ///< the site trains on with the others' mean
  kOtherBytesAfterRestart,   ///< the site
  kForgetsRoundAfterRestart  ///< the site: trains a round again that it had trained
};

class MemoryJournal : public ServerJournal {
 public:
  enum class Disk { kGood, kFailsBefore, kFailsAfter };
  std::function<Disk()> disk = [] { return Disk::kGood; };  ///< asked at every write
  Planted planted = Planted::kNone;
  std::vector<std::string> names = {"osaka", "lyon", "quito"};  ///< of sites, by place

  StatusOr<ServerPosition> Recover() override {
    unsaved_.reset();
    ServerPosition position = position_;
    if (planted == Planted::kLosesUpload) position.received.clear();
    return position;
  }
  Status SaveAgreement(const std::string& agreement) override {
    return Write([&] { position_.agreement = agreement; });
  }
  Status SaveEnrolment(int64_t site, int64_t examples, const std::string& name) override {
    return Write([&] {
      position_.enrolled[site] = examples;
      position_.enrolments[site] = name;
    });
  }
  Status OpenAttempt(int64_t, int64_t attempt, int64_t now_ms, const std::vector<int64_t>&) override {
    return Write([&] {
      position_.attempt = attempt;
      position_.opened_ms = now_ms;
    });
  }
  Status SaveContribution(const SiteContribution& contribution) override {
    if (planted == Planted::kAcknowledgesFirst) {
      unsaved_ = contribution;
      return absl::OkStatus();
    }
    return Write([&] {
      if (!position_.received.emplace(contribution.site, contribution).second) ++saved_twice;
    });
  }
  Status SaveLeftOut(int64_t, int64_t, int64_t site, const std::string& why) override {
    return Write([&] {
      position_.left_out.emplace(site, why);
      left_out.push_back(why);
    });
  }
  Status AbandonAttempt(int64_t round, int64_t attempt, const std::string& reason) override {
    return Write([&] {
      ++abandoned_in[round];
      abandoned.push_back(reason);
      position_.attempt = attempt + 1;
      position_.opened_ms = 0;
      position_.received.clear();
      position_.left_out.clear();
    });
  }
  Status CloseRound(const PublishedObject& published, RoundRecord record) override {
    return Write([&] {
      const std::lock_guard<std::mutex> lock(*mutex_);
      received_in[published.round] = position_.received;
      this->published[published.round] = published;
      if (planted == Planted::kPublishesOldSum && this->published.contains(published.round - 1))
        this->published[published.round].chunks = this->published[published.round - 1].chunks;
      for (const auto& [site, contribution] : position_.received)
        if (!published.left_out.contains(site)) position_.ledger[site] = contribution;
      position_.left_out.clear();
      position_.closed_round = published.round;
      if (planted != Planted::kForgetsClosing) position_.received.clear();
      position_.attempt = 1;
      position_.opened_ms = 0;
      if (!records.empty()) {
        record.previous_round = records.rbegin()->first;
        record.previous = RecordDigest(records.rbegin()->second.bytes);
      }
      record.log = {log_.size(), MerkleRoot(log_)};
      const std::string bytes = EncodeRecord(record);
      records[published.round] = SignedRecord{bytes, ToySignatures(Signatures::kServer).sign(bytes)};
    });
  }
  Status SaveDeparture(int64_t site, const std::string& cause) override {
    return Write([&] {
      departed.emplace_back(site, cause);
      position_.departed.insert(site);
      position_.enrolments.erase(site);
      position_.enrolled.erase(site);
      position_.received.erase(site);
      position_.ledger.erase(site);
    });
  }
  Status SavePause(const std::string& cause, bool for_sites) override {
    return Write([&] {
      position_.paused = cause;
      position_.paused_for_sites = for_sites;
    });
  }
  Status SaveResume(int64_t now_ms) override {
    return Write([&] {
      position_.paused.reset();
      position_.paused_for_sites = false;
      if (position_.opened_ms != 0) position_.opened_ms = now_ms;
    });
  }
  StatusOr<int64_t> SaveStart(const ServerStart& start) override {
    RETURN_IF_ERROR(Write([&] {
      ++starts;
      last_start = start;
    }));
    return starts;
  }
  Status SaveMetrics(int64_t site, int64_t round, const std::map<std::string, double>& values) override {
    return Write([&] {
      metrics[{site, round}] = values;
      ++reports;
    });
  }
  StatusOr<std::vector<OperatorRequest>> OperatorRequests() override { return requests; }
  Status FinishRequest(int64_t id, const std::string& outcome) override {
    return Write([&] {
      std::erase_if(requests, [&](const OperatorRequest& request) { return request.id == id; });
      outcomes[id] = outcome;
    });
  }
  StatusOr<SignedRecord> RecordOf(int64_t round) override {
    const auto found = records.find(round);
    return found == records.end() ? StatusOr<SignedRecord>(absl::NotFoundError("no record")) : found->second;
  }
  StatusOr<std::vector<Adoption>> AdoptionsOf(int64_t round) override {
    std::vector<Adoption> found;
    for (const auto& [site, signature] : adopted[round]) found.push_back({names.at(static_cast<size_t>(site)), signature});
    return found;
  }
  Status SaveAdoption(int64_t site, int64_t round, const std::string& signature, const std::string& why) override {
    return Write([&] {
      if (why.empty()) adopted[round].emplace(site, signature);
      if (!why.empty()) refused[{site, round}] = why;
    });
  }
  Status Seal() override { return absl::OkStatus(); }
  Status SaveEnd(const std::string& cause) override {
    return Write([&] { position_.ended = cause; });
  }
  Status NoteRefusal(int64_t, const std::string& what) override {
    // As the audit log does: JSON carries nothing else.
    if (nlohmann::json::parse(nlohmann::json(what).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)) != what)
      return MakeError(ErrorKind::kInternal, "the reason of a refusal is not UTF-8");
    return Write([&] { refusals.push_back(what); });
  }
  StatusOr<std::optional<PublishedObject>> LoadPublished(int64_t round) override {
    const std::lock_guard<std::mutex> lock(*mutex_);
    const auto found = published.find(round);
    return found == published.end() ? std::optional<PublishedObject>() : found->second;
  }
  bool HasChunk(const Sha256Digest& digest) override {
    const std::lock_guard<std::mutex> lock(*mutex_);
    return pieces_.contains(digest);
  }
  Status PutChunk(const Sha256Digest& digest, std::string_view bytes) override {
    const Disk state = disk();
    const std::lock_guard<std::mutex> lock(*mutex_);
    if (state != Disk::kFailsBefore) pieces_[digest] = std::string(bytes);
    return state == Disk::kGood ? absl::OkStatus() : OutputError("the disk failed");
  }
  StatusOr<std::string> GetChunk(const Sha256Digest& digest) override {
    const std::lock_guard<std::mutex> lock(*mutex_);
    const auto found = pieces_.find(digest);
    if (found == pieces_.end() || Sha256(found->second) != digest) return IntegrityError("the chunk is missing or damaged");
    return found->second;
  }
  void Collect(const std::optional<std::set<Sha256Digest>>& among, const std::set<Sha256Digest>& keep) override {
    const std::lock_guard<std::mutex> lock(*mutex_);
    std::set<Sha256Digest> needed = keep;
    const auto need = [&](const ChunkList& chunks) { needed.insert(chunks.digests.begin(), chunks.digests.end()); };
    for (const auto* contributions : {&position_.received, &position_.ledger})
      for (const auto& [site, contribution] : *contributions) need(contribution.chunks);
    for (const auto& [round, object] : published) {
      need(object.chunks);
      for (const auto& [site, chunks] : object.per_site) need(chunks);
    }
    if (unsaved_) need(unsaved_->chunks);
    std::erase_if(pieces_,
                  [&](const auto& piece) { return !needed.contains(piece.first) && (!among || among->contains(piece.first)); });
  }
  /// Bytes of all chunks.
  int64_t stored() {
    const std::lock_guard<std::mutex> lock(*mutex_);
    int64_t bytes = 0;
    for (const auto& [digest, content] : pieces_) bytes += static_cast<int64_t>(content.size());
    return bytes;
  }
  /// One bit of a chunk is another one from now on.
  void Damage(const Sha256Digest& digest) {
    const std::lock_guard<std::mutex> lock(*mutex_);
    const auto found = pieces_.find(digest);
    if (found == pieces_.end()) return;
    backup_.emplace(digest, found->second);
    found->second[0] ^= 1;
  }
  /// Somebody puts what was damaged back from a backup.
  void Restore() {
    const std::lock_guard<std::mutex> lock(*mutex_);
    for (auto& [digest, content] : std::exchange(backup_, {}))
      if (Sha256(content) == digest) pieces_[digest] = content;
  }

  const ServerPosition& position() const { return position_; }
  std::map<int64_t, PublishedObject> published;                        ///< by round
  std::map<int64_t, std::map<int64_t, SiteContribution>> received_in;  ///< by closed round
  std::map<int64_t, int64_t> abandoned_in;                             ///< by round: attempts
  std::vector<std::string> abandoned, refusals, left_out;
  int saved_twice = 0;
  int64_t starts = 0, reports = 0;
  ServerStart last_start;
  std::vector<std::pair<int64_t, std::string>> departed;  ///< site, cause
  std::vector<OperatorRequest> requests;
  std::map<int64_t, std::string> outcomes;                                       ///< of requests
  std::map<std::pair<int64_t, int64_t>, std::map<std::string, double>> metrics;  ///< by site and round
  std::map<int64_t, SignedRecord> records;                                       ///< by round
  std::map<int64_t, std::map<int64_t, std::string>> adopted;                     ///< by round and site: signatures
  std::map<std::pair<int64_t, int64_t>, std::string> refused;                    ///< by site and round: why

 private:
  template <typename Change>
  Status Write(const Change& change) {
    const Disk state = disk();
    if (state != Disk::kFailsBefore && unsaved_) position_.received.emplace(unsaved_->site, *std::exchange(unsaved_, std::nullopt));
    if (state != Disk::kFailsBefore) {
      log_.push_back(MerkleLeaf(absl::StrCat(log_.size(), " by process ", starts)));
      change();
    }
    return state == Disk::kGood ? absl::OkStatus() : OutputError("the disk failed");
  }

  ServerPosition position_;
  std::vector<Sha256Digest> log_;                                       ///< a leaf for every write
  std::optional<SiteContribution> unsaved_;                             ///< kAcknowledgesFirst
  std::shared_ptr<std::mutex> mutex_ = std::make_shared<std::mutex>();  // pieces_ and published
  std::map<Sha256Digest, std::string> pieces_, backup_;
};

}  // namespace fedalt::testing

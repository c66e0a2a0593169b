#include "net/server_core.h"

#include <absl/strings/str_join.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "fed/federation.h"

namespace fedalt {
namespace {

StatusOr<Sha256Digest> DigestOf(const std::string& bytes) {
  Sha256Digest digest{};
  if (bytes.size() != digest.size())
    return absl::InvalidArgumentError(absl::StrCat("a hash has ", bytes.size(), " bytes; expected ", digest.size()));
  std::memcpy(digest.data(), bytes.data(), digest.size());
  return digest;
}

std::string BytesOf(const Sha256Digest& digest) {
  return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}

bool SameContent(const SiteContribution& a, const SiteContribution& b) {
  return a.weight == b.weight && a.chunks.values == b.chunks.values && a.chunks.digests == b.chunks.digests;
}

/// The first line that differs, in words. `them`: whose the other one is.
std::string Difference(const std::string& ours, const std::string& theirs, const char* them) {
  size_t begin = 0;
  for (;;) {
    const size_t our_end = std::min(ours.find('\n', begin), ours.size()),
                 their_end = std::min(theirs.find('\n', begin), theirs.size());
    const std::string our_line = ours.substr(begin, our_end - begin), their_line = theirs.substr(begin, their_end - begin);
    if (our_line != their_line || our_end == ours.size() || their_end == theirs.size())
      return absl::StrCat("the server has \"", our_line.substr(0, 200), "\", ", them, " has \"", their_line.substr(0, 200), "\"");
    begin = our_end + 1;
  }
}

Status CheckFinite(const std::string& bytes, int64_t piece) {
  for (size_t at = 0; at + sizeof(float) <= bytes.size(); at += sizeof(float)) {
    float value = 0.0F;
    std::memcpy(&value, &bytes[at], sizeof(value));
    if (!std::isfinite(value))
      return absl::InvalidArgumentError(absl::StrCat("piece ", piece, " holds ", value, " as value ", at / sizeof(float),
                                                     ", which is not finite; expected finite values"));
  }
  return absl::OkStatus();
}

/// The journal's failures are the disk's: nothing was recorded, and the site may try again.
Status Unrecorded(const Status& status) {
  return absl::UnavailableError(absl::StrCat("the server could not record this (", status.message(), "); try again"));
}

}  // namespace

ServerCore::ServerCore(ServerOptions options, ServerJournal& journal, const Clock& clock)
    : options_(std::move(options)), journal_(journal), clock_(clock) {
  FEDALT_CHECK(!options_.sites.empty() && !options_.exchange_rounds.empty() && options_.values > 0, "a server has something to do");
}

Status ServerCore::Recover() {
  const std::lock_guard<std::mutex> lock(mutex_);
  ASSIGN_OR_RETURN(position_, journal_.Recover());
  if (position_.agreement.empty()) {
    RETURN_IF_ERROR(journal_.SaveAgreement(options_.agreement));
    position_.agreement = options_.agreement;
  } else if (position_.agreement != options_.agreement) {
    return ConfigError(absl::StrCat("this directory belongs to a run with another configuration: ",
                                    Difference(options_.agreement, position_.agreement, "the directory"),
                                    "; put the configuration back, or start a run in a new directory"));
  }
  recovered_ms_ = clock_.NowMs();
  version_ = recovered_ms_;  // another than before the restart, so that whoever waits looks again
  return absl::OkStatus();
}

int64_t ServerCore::OpenRound() const {
  const auto next = std::upper_bound(options_.exchange_rounds.begin(), options_.exchange_rounds.end(), position_.closed_round);
  return next == options_.exchange_rounds.end() ? 0 : *next;
}

/// The sites that are expected in a round: those of its cohort that take part in the run.
std::vector<int64_t> ServerCore::Cohort(int64_t round) const {
  std::vector<int64_t> cohort;
  for (const int64_t site : CohortOf(options_.participation, static_cast<int64_t>(options_.sites.size()), round, options_.seed))
    if (position_.enrolled.contains(site)) cohort.push_back(site);
  return cohort;
}

std::string ServerCore::WaitingFor() const {
  std::vector<std::string> names;
  if (position_.ended) return "nothing";
  if (aggregating_) return "the aggregation";
  const bool enrolling = position_.opened_ms == 0;
  for (size_t k = 0; enrolling && k < options_.sites.size(); ++k)
    if (!position_.enrolled.contains(static_cast<int64_t>(k))) names.push_back(options_.sites[k]);
  if (!enrolling)
    for (const int64_t site : Cohort(OpenRound()))
      if (!position_.received.contains(site)) names.push_back(options_.sites[static_cast<size_t>(site)]);
  if (names.empty()) return "the next step";
  return absl::StrCat(enrolling ? "the enrolment of " : "the contributions of ", absl::StrJoin(names, ", "));
}

v1::RunState ServerCore::StateLocked() const {
  v1::RunState state;
  state.set_version(version_);
  state.set_phase(position_.ended ? v1::PHASE_ENDED : position_.opened_ms == 0 ? v1::PHASE_ENROLLING : v1::PHASE_COLLECTING);
  state.set_round(OpenRound());
  state.set_attempt(position_.attempt);
  state.set_closed_round(position_.closed_round);
  state.set_cause(position_.ended.value_or(""));
  state.set_waiting_for(WaitingFor());
  return state;
}

v1::RunState ServerCore::state() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return StateLocked();
}

bool ServerCore::everybody_has_read() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return position_.closed_round == 0 || have_read_.size() >= position_.enrolled.size();
}

Status ServerCore::CheckRun(const std::string& run) const {
  if (run == options_.run) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("this server runs ", options_.run, ", not \"", run.substr(0, 80), "\"; enrol again, or ask another server"));
}

StatusOr<v1::RunState> ServerCore::State(const std::string& run) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  RETURN_IF_ERROR(CheckRun(run));
  return StateLocked();
}

/// Records a refusal and passes it on. What only says "not yet" or "again" is no refusal.
Status ServerCore::Refuse(int64_t site, const Status& why) {
  if (absl::IsUnavailable(why)) return why;
  const Status noted = journal_.NoteRefusal(site, std::string(why.message()));
  return noted.ok() ? why : Unrecorded(noted);
}

StatusOr<v1::EnrolReply> ServerCore::Enrol(int64_t site, const v1::EnrolRequest& request) {
  v1::EnrolReply reply;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (request.newest_protocol() < kOldestProtocol || request.oldest_protocol() > kNewestProtocol)
      return Refuse(site, absl::FailedPreconditionError(absl::StrCat(
                              "the site speaks protocols ", request.oldest_protocol(), " to ", request.newest_protocol(),
                              ", the server ", kOldestProtocol, " to ", kNewestProtocol, "; install a matching version")));
    if (request.agreement() != options_.agreement)
      return Refuse(site, absl::FailedPreconditionError(absl::StrCat(
                              "the configurations differ: ", Difference(options_.agreement, request.agreement(), "the site"))));
    if (request.train_examples() <= 0)
      return Refuse(site, absl::InvalidArgumentError("the site has no training examples; expected at least 1"));
    if (const auto known = position_.enrolled.find(site); known == position_.enrolled.end()) {
      if (position_.ended) return absl::FailedPreconditionError(absl::StrCat("the run has ended: ", *position_.ended));
      if (const Status saved = journal_.SaveEnrolment(site, request.train_examples()); !saved.ok()) return Unrecorded(saved);
      position_.enrolled[site] = request.train_examples();
      Changed();
    } else if (known->second != request.train_examples()) {
      return Refuse(site, absl::FailedPreconditionError(absl::StrCat("the site enrolled with ", known->second,
                                                                     " training examples and now has ", request.train_examples(),
                                                                     "; put its data back, or begin a new run")));
    }
    reply.set_protocol(std::min(request.newest_protocol(), kNewestProtocol));
    reply.set_run(options_.run);
    *reply.mutable_state() = StateLocked();
  }
  Notify();
  return reply;
}

/// The upload that a manifest announces, if it fits the open attempt.
StatusOr<ServerCore::Upload> ServerCore::Checked(int64_t site, const v1::UploadManifest& manifest) const {
  RETURN_IF_ERROR(CheckRun(manifest.run()));
  if (position_.ended) return absl::FailedPreconditionError(absl::StrCat("the run has ended: ", *position_.ended));
  if (position_.opened_ms == 0 || manifest.round() != OpenRound() || manifest.attempt() != position_.attempt || aggregating_)
    return absl::FailedPreconditionError(absl::StrCat("the upload is for round ", manifest.round(), ", attempt ",
                                                      manifest.attempt(), ", but open is round ", OpenRound(), ", attempt ",
                                                      position_.attempt, aggregating_ ? ", which is being closed" : ""));
  const std::vector<int64_t> cohort = Cohort(manifest.round());
  if (std::find(cohort.begin(), cohort.end(), site) == cohort.end())
    return absl::FailedPreconditionError(absl::StrCat("the site is not in the cohort of round ", manifest.round()));
  if (manifest.values() != options_.values || manifest.chunks_size() != ChunkCount(options_.values))
    return absl::InvalidArgumentError(absl::StrCat("the upload has ", manifest.values(), " values in ", manifest.chunks_size(),
                                                   " pieces; expected ", options_.values, " in ", ChunkCount(options_.values)));
  constexpr double kLargestWeight = 1e12;
  if (!(manifest.weight() > 0.0) || manifest.weight() > kLargestWeight)
    return absl::InvalidArgumentError(
        absl::StrCat("the upload has weight ", manifest.weight(), "; expected more than 0 and at most 1e12"));
  Upload upload;
  upload.contribution = {site, manifest.round(), manifest.attempt(), manifest.weight(), {manifest.values(), {}}};
  for (int64_t i = 0; i < manifest.chunks_size(); ++i) {
    const StatusOr<Sha256Digest> digest = DigestOf(manifest.chunks(static_cast<int>(i)));
    if (!digest.ok()) return absl::InvalidArgumentError(absl::StrCat("piece ", i, ": ", digest.status().message()));
    upload.contribution.chunks.digests.push_back(*digest);
    const auto [known, is_new] = upload.sizes.emplace(*digest, ChunkSize(manifest.values(), i));
    if (!is_new && known->second != ChunkSize(manifest.values(), i))
      return absl::InvalidArgumentError(absl::StrCat("piece ", i, " has the hash of an earlier one of ", known->second,
                                                     " bytes; expected pieces of different sizes to have different hashes"));
  }
  return upload;
}

StatusOr<bool> ServerCore::Counts(int64_t site, const Upload& upload) const {
  const auto received = position_.received.find(site);
  if (received == position_.received.end()) return false;
  if (SameContent(received->second, upload.contribution)) return true;
  return absl::AlreadyExistsError(
      absl::StrCat("another contribution of this site counts in round ", received->second.round, " already; the first one stays"));
}

StatusOr<v1::MissingChunks> ServerCore::BeginUpload(int64_t site, const v1::UploadManifest& manifest) {
  const std::lock_guard<std::mutex> lock(mutex_);
  StatusOr<Upload> upload = Checked(site, manifest);
  if (!upload.ok()) return Refuse(site, upload.status());
  v1::MissingChunks missing;
  const StatusOr<bool> counts = Counts(site, *upload);
  if (!counts.ok()) return Refuse(site, counts.status());
  if (*counts) {
    missing.set_committed(true);
    return missing;
  }
  for (size_t i = 0; i < upload->contribution.chunks.digests.size(); ++i)
    if (!journal_.HasChunk(upload->contribution.chunks.digests[i])) missing.add_chunks(static_cast<int64_t>(i));
  uploads_[site] = *std::move(upload);
  return missing;
}

StatusOr<v1::PutChunkReply> ServerCore::PutChunk(int64_t site, const v1::Chunk& chunk) {
  Sha256Digest digest{};
  int64_t piece = 0;  // its place in the upload
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (const Status run = CheckRun(chunk.run()); !run.ok()) return Refuse(site, run);
    const auto upload = uploads_.find(site);
    if (upload == uploads_.end() || upload->second.contribution.round != chunk.round())
      return Refuse(site, absl::FailedPreconditionError(absl::StrCat("a piece for round ", chunk.round(),
                                                                     " belongs to no upload that was begun, open is round ",
                                                                     OpenRound(), "; begin the upload again")));
    const StatusOr<Sha256Digest> named = DigestOf(chunk.sha256());
    if (!named.ok()) return Refuse(site, named.status());
    const auto size = upload->second.sizes.find(*named);
    if (size == upload->second.sizes.end())
      return Refuse(site, absl::InvalidArgumentError(absl::StrCat("a piece of ", chunk.content().size(), " bytes with hash ",
                                                                  HexOf(*named), " is none of those that the upload announced")));
    const std::vector<Sha256Digest>& digests = upload->second.contribution.chunks.digests;
    piece = std::find(digests.begin(), digests.end(), *named) - digests.begin();
    if (size->second != static_cast<int64_t>(chunk.content().size()))
      return Refuse(site, absl::InvalidArgumentError(
                              absl::StrCat("piece ", piece, " has ", chunk.content().size(), " bytes; expected ", size->second)));
    digest = *named;
  }
  // The work on the content needs no lock: a slow site holds up nobody.
  Status good = CheckFinite(chunk.content(), piece);
  if (good.ok() && Sha256(chunk.content()) != digest)
    good = absl::InvalidArgumentError(absl::StrCat("piece ", piece, " does not have the hash that it names; send it again"));
  if (!good.ok()) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return Refuse(site, good);
  }
  if (const Status put = journal_.PutChunk(digest, chunk.content()); !put.ok()) return Unrecorded(put);
  return v1::PutChunkReply{};
}

StatusOr<v1::CommitReply> ServerCore::CommitUpload(int64_t site, const v1::UploadManifest& manifest) {
  v1::CommitReply reply;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    const StatusOr<Upload> upload = Checked(site, manifest);
    if (!upload.ok()) return Refuse(site, upload.status());
    const StatusOr<bool> counts = Counts(site, *upload);
    if (!counts.ok()) return Refuse(site, counts.status());
    if (*counts) {
      reply.set_duplicate(true);
      return reply;
    }
    for (size_t i = 0; i < upload->contribution.chunks.digests.size(); ++i)
      if (!journal_.HasChunk(upload->contribution.chunks.digests[i]))
        return Refuse(
            site, absl::FailedPreconditionError(absl::StrCat("piece ", i, " of the upload is missing; begin the upload again")));
    if (const Status saved = journal_.SaveContribution(upload->contribution); !saved.ok()) return Unrecorded(saved);
    position_.received[site] = upload->contribution;
    uploads_.erase(site);
    Changed();
  }
  Notify();
  return reply;
}

StatusOr<std::shared_ptr<const PublishedObject>> ServerCore::PublishedIn(int64_t round) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (published_ && published_->round == round) return published_;
    if (round > position_.closed_round || round < 1)
      return absl::NotFoundError(absl::StrCat("round ", round, " is not closed; the last closed one is ", position_.closed_round));
  }
  auto loaded = journal_.LoadPublished(round);
  if (!loaded.ok()) return Unrecorded(loaded.status());
  if (!*loaded) return absl::NotFoundError(absl::StrCat("round ", round, " published nothing that is still kept"));
  auto published = std::make_shared<const PublishedObject>(**std::move(loaded));
  const std::lock_guard<std::mutex> lock(mutex_);
  return published_ = std::move(published);
}

StatusOr<v1::PublishedManifest> ServerCore::GetManifest(int64_t site, const v1::ManifestRequest& request) {
  RETURN_IF_ERROR(CheckRun(request.run()));
  ASSIGN_OR_RETURN(const auto object, PublishedIn(request.round()));
  const ChunkList& chunks = object->ReadBy(site);
  v1::PublishedManifest manifest;
  manifest.set_round(object->round);
  manifest.set_total_weight(object->total_weight);
  manifest.set_contributors(static_cast<int64_t>(object->contributors.size()));
  manifest.set_values(chunks.values);
  for (const Sha256Digest& digest : chunks.digests) manifest.add_chunks(BytesOf(digest));
  if (const auto counted = object->contributors.find(site); counted != object->contributors.end())
    manifest.set_own_round(counted->second);
  return manifest;
}

StatusOr<v1::Chunk> ServerCore::GetChunk(int64_t site, const v1::ChunkRequest& request) {
  RETURN_IF_ERROR(CheckRun(request.run()));
  ASSIGN_OR_RETURN(const Sha256Digest digest, DigestOf(request.sha256()));
  ASSIGN_OR_RETURN(const auto object, PublishedIn(request.round()));
  const std::vector<Sha256Digest>& digests = object->ReadBy(site).digests;
  if (std::find(digests.begin(), digests.end(), digest) == digests.end())
    return Refuse(
        site, absl::NotFoundError(absl::StrCat("round ", request.round(), " published no piece ", HexOf(digest), " to this site")));
  StatusOr<std::string> content = journal_.GetChunk(digest);
  if (!content.ok()) return Unrecorded(content.status());
  if (digest == digests.back()) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (request.round() == position_.closed_round) have_read_.insert(site);
  }
  v1::Chunk chunk;
  chunk.set_run(options_.run);
  chunk.set_round(request.round());
  chunk.set_sha256(request.sha256());
  chunk.set_content(*std::move(content));
  return chunk;
}

}  // namespace fedalt

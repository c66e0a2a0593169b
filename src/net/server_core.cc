#include "net/server_core.h"

#include <absl/strings/str_join.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/quote.h"
#include "fed/cohort.h"
#include "fed/upload_format.h"

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
      return absl::StrCat("the server has \"", Quoted(our_line, 200), "\", ", them, " has \"", Quoted(their_line, 200), "\"");
    begin = our_end + 1;
  }
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
  ASSIGN_OR_RETURN(start_, journal_.SaveStart(options_.instance));
  if (options_.signatures.sign) start_signature_ = options_.signatures.sign(StartMessage(options_.run, start_, options_.instance));
  recovered_ms_ = clock_.NowMs();
  version_ = recovered_ms_;  // another than before the restart, so that whoever waits looks again
  return absl::OkStatus();
}

int64_t ServerCore::OpenRound() const {
  const auto next = std::upper_bound(options_.exchange_rounds.begin(), options_.exchange_rounds.end(), position_.closed_round);
  return next == options_.exchange_rounds.end() ? 0 : *next;
}

/// The sites that are expected in a round: those of its cohort that take part in the run and can come.
std::vector<int64_t> ServerCore::Cohort(int64_t round) const {
  std::vector<int64_t> cohort;
  for (const int64_t site : CohortOf(options_.participation, options_.sites, round, options_.seed))
    if (position_.enrolled.contains(site) && !options_.revoked.contains(site)) cohort.push_back(site);
  return cohort;
}

std::vector<int64_t> ServerCore::AwaitedForEnrolment() const {
  std::vector<int64_t> awaited;
  for (int64_t site = 0; site < static_cast<int64_t>(options_.sites.size()); ++site)
    if (!position_.enrolled.contains(site) && !options_.revoked.contains(site)) awaited.push_back(site);
  return awaited;
}

std::string ServerCore::WaitingFor() const {
  std::vector<std::string> names;
  if (position_.ended) return "nothing";
  if (position_.paused)
    return absl::StrCat("an operator, who paused the run", position_.paused->empty() ? "" : ": ", *position_.paused);
  if (aggregating_) return "the aggregation";
  const bool enrolling = position_.opened_ms == 0;
  if (enrolling)
    for (const int64_t site : AwaitedForEnrolment()) names.push_back(options_.sites[static_cast<size_t>(site)]);
  if (!enrolling)
    for (const int64_t site : Cohort(OpenRound()))
      if (!position_.received.contains(site)) names.push_back(options_.sites[static_cast<size_t>(site)]);
  if (names.empty()) return "the next step";
  constexpr size_t kShown = 10;  // the text goes to every site
  if (const size_t all = names.size(); all > kShown + 1) {
    names.resize(kShown);
    names.push_back(absl::StrCat(all - kShown, " others"));
  }
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
  state.set_start(start_);
  state.set_instance(options_.instance);
  state.set_start_signature(start_signature_);
  return state;
}

v1::RunState ServerCore::state() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return StateLocked();
}

bool ServerCore::everybody_has_read() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return position_.closed_round == 0 ||
         std::all_of(position_.enrolled.begin(), position_.enrolled.end(), [&](const auto& enrolled) {
           const int64_t site = enrolled.first;
           if (options_.revoked.contains(site)) return true;
           return have_read_.contains(site) && (!reporters_.contains(site) || have_reported_.contains(site));
         });
}

Status ServerCore::CheckRun(const std::string& run) const {
  if (run == options_.run) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("this server runs ", options_.run, ", not \"", Quoted(run, 80), "\"; enrol again, or ask another server"));
}

StatusOr<v1::RunState> ServerCore::State(const v1::PollRequest& request) {
  const std::lock_guard<std::mutex> lock(mutex_);
  RETURN_IF_ERROR(CheckRun(request.run()));
  // A server with the same number works on a copy of the directory, or was put back; which is right, only people can say, so the
  // sites stop.
  const bool later = request.known_start() > start_;
  if (later && superseded_.empty() && options_.signatures.verifies &&
      options_.signatures.verifies(Signatures::kServer, StartMessage(options_.run, request.known_start(), request.known_instance()),
                                   request.known_signature()))
    superseded_ = absl::StrCat("another server works on this run (start ", request.known_start(), ", this is start ", start_,
                               "), or this one was put back: put its newest directory back, or begin a new run");
  if (!superseded_.empty()) return absl::FailedPreconditionError(superseded_);
  return StateLocked();
}

/// Records a refusal and passes it on. What only says "not yet" or "again" is no refusal. A site that is refused without end does
/// not fill the log.
Status ServerCore::Refuse(int64_t site, const Status& why) {
  if (absl::IsUnavailable(why)) return why;
  constexpr int64_t kRecorded = 100;  // of a site, per attempt
  if (++refused_[site] > kRecorded) return why;
  const Status noted = journal_.NoteRefusal(site, std::string(why.message()));
  return noted.ok() ? why : Unrecorded(noted);
}

/// Of an enrolment or a challenge: no other of this run has it.
std::string ServerCore::NewName() {
  return absl::StrCat(start_, "-", options_.instance, "-", ++names_);
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
    const bool known = position_.enrolled.contains(site);
    if (known && !request.anew() && position_.enrolled[site] != request.train_examples())
      return Refuse(site, absl::FailedPreconditionError(absl::StrCat("the site enrolled with ", position_.enrolled[site],
                                                                     " training examples and now has ", request.train_examples(),
                                                                     "; put its data back, or begin a new run")));
    if (position_.ended && (!known || request.anew()))
      return absl::FailedPreconditionError(absl::StrCat("the run has ended: ", *position_.ended));
    reply.set_protocol(std::min(request.newest_protocol(), kNewestProtocol));
    reply.set_run(options_.run);
    if (!known || request.anew()) {
      // Only a first enrolment undoes nothing, so that it may be a copy which comes late.
      std::string& challenge = challenges_[site];
      if (challenge.empty()) challenge = NewName();
      if ((known || position_.departed.contains(site)) && request.challenge() != challenge) {
        reply.set_challenge(challenge);
        return reply;
      }
      if (known) RETURN_IF_ERROR(AskedToDepart(site, "it has lost its state and comes anew"));
      const std::string name = NewName();
      if (const Status saved = journal_.SaveEnrolment(site, request.train_examples(), name); !saved.ok()) return Unrecorded(saved);
      position_.enrolled[site] = request.train_examples();
      position_.enrolments[site] = name;
      challenge = NewName();
      Changed();
    }
    if (request.reports()) reporters_.insert(site);
    if (request.anew()) reply.set_join_after(position_.closed_round);
    reply.set_enrolment(position_.enrolments[site]);
    *reply.mutable_state() = StateLocked();
  }
  Notify();
  return reply;
}

/// The upload that a manifest announces, if it fits the open attempt.
StatusOr<SiteContribution> ServerCore::Checked(int64_t site, const v1::UploadManifest& manifest) const {
  RETURN_IF_ERROR(CheckRun(manifest.run()));
  if (position_.ended) return absl::FailedPreconditionError(absl::StrCat("the run has ended: ", *position_.ended));
  if (position_.opened_ms == 0 || manifest.round() != OpenRound() || manifest.attempt() != position_.attempt)
    return absl::FailedPreconditionError(absl::StrCat("the upload is for round ", manifest.round(), ", attempt ",
                                                      manifest.attempt(), ", but open is round ", OpenRound(), ", attempt ",
                                                      position_.attempt));
  if (!position_.enrolled.contains(site))
    return absl::FailedPreconditionError("the site has left the run; start it again to take part in it");
  // Aggregation may take longer than any poll waits, so that a site whose upload is refused could see no change and give up.
  if (aggregating_) return absl::UnavailableError(absl::StrCat("round ", manifest.round(), " is being closed; try again"));
  const std::vector<int64_t> cohort = Cohort(manifest.round());
  if (std::find(cohort.begin(), cohort.end(), site) == cohort.end())
    return absl::FailedPreconditionError(absl::StrCat("the site is not in the cohort of round ", manifest.round()));
  const int64_t words = EncodedWords(options_.upload, options_.values);
  if (manifest.values() != words || manifest.chunks_size() != ChunkCount(words))
    return absl::InvalidArgumentError(absl::StrCat("the upload has ", manifest.values(), " values in ", manifest.chunks_size(),
                                                   " pieces; expected ", words, " in ", ChunkCount(words)));
  constexpr double kLargestWeight = 1e12;
  if (!(manifest.weight() > 0.0) || manifest.weight() > kLargestWeight)
    return absl::InvalidArgumentError(
        absl::StrCat("the upload has weight ", manifest.weight(), "; expected more than 0 and at most 1e12"));
  SiteContribution upload;
  std::map<Sha256Digest, int64_t> sizes;
  upload = {site, manifest.round(), manifest.attempt(), manifest.weight(), {manifest.values(), {}}};
  for (int64_t i = 0; i < manifest.chunks_size(); ++i) {
    const StatusOr<Sha256Digest> digest = DigestOf(manifest.chunks(static_cast<int>(i)));
    if (!digest.ok()) return absl::InvalidArgumentError(absl::StrCat("piece ", i, ": ", digest.status().message()));
    upload.chunks.digests.push_back(*digest);
    const auto [known, is_new] = sizes.emplace(*digest, ChunkSize(manifest.values(), i));
    if (!is_new && known->second != ChunkSize(manifest.values(), i))
      return absl::InvalidArgumentError(absl::StrCat("piece ", i, " has the hash of an earlier one of ", known->second,
                                                     " bytes; expected pieces of different sizes to have different hashes"));
  }
  return upload;
}

StatusOr<bool> ServerCore::Counts(int64_t site, const SiteContribution& upload) const {
  const auto received = position_.received.find(site);
  if (received == position_.received.end()) return false;
  if (SameContent(received->second, upload)) return true;
  return absl::AlreadyExistsError(
      absl::StrCat("another contribution of this site counts in round ", received->second.round, " already; the first one stays"));
}

StatusOr<v1::MissingChunks> ServerCore::BeginUpload(int64_t site, const v1::UploadManifest& manifest) {
  const std::lock_guard<std::mutex> lock(mutex_);
  StatusOr<SiteContribution> upload = Checked(site, manifest);
  if (!upload.ok()) return Refuse(site, upload.status());
  v1::MissingChunks missing;
  const StatusOr<bool> counts = Counts(site, *upload);
  if (!counts.ok()) return Refuse(site, counts.status());
  if (*counts) {
    missing.set_committed(true);
    return missing;
  }
  for (size_t i = 0; i < upload->chunks.digests.size(); ++i)
    if (!journal_.HasChunk(upload->chunks.digests[i])) missing.add_chunks(static_cast<int64_t>(i));
  uploads_[site] = *std::move(upload);
  return missing;
}

/// Where in the upload that the site has begun the piece belongs: its places, ascending, at least one.
StatusOr<std::vector<int64_t>> ServerCore::PlacesOf(int64_t site, const v1::Chunk& chunk) const {
  RETURN_IF_ERROR(CheckRun(chunk.run()));
  const auto begun = uploads_.find(site);
  if (begun == uploads_.end() || begun->second.round != chunk.round())
    return absl::FailedPreconditionError(absl::StrCat("a piece for round ", chunk.round(),
                                                      " belongs to no upload that was begun, open is round ", OpenRound(),
                                                      "; begin the upload again"));
  ASSIGN_OR_RETURN(const Sha256Digest digest, DigestOf(chunk.sha256()));
  const ChunkList& chunks = begun->second.chunks;
  std::vector<int64_t> places;
  for (size_t i = 0; i < chunks.digests.size(); ++i)
    if (chunks.digests[i] == digest) places.push_back(static_cast<int64_t>(i));
  if (places.empty())
    return absl::InvalidArgumentError(absl::StrCat("a piece of ", chunk.content().size(), " bytes with hash ", HexOf(digest),
                                                   " is none of those that the upload announced"));
  const int64_t expected = ChunkSize(chunks.values, places.front());
  if (static_cast<int64_t>(chunk.content().size()) != expected)
    return absl::InvalidArgumentError(
        absl::StrCat("piece ", places.front(), " has ", chunk.content().size(), " bytes; expected ", expected));
  return places;
}

StatusOr<v1::PutChunkReply> ServerCore::PutChunk(int64_t site, const v1::Chunk& chunk) {
  StatusOr<std::vector<int64_t>> places = absl::InternalError("not looked for");
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    places = PlacesOf(site, chunk);
    if (!places.ok()) return Refuse(site, places.status());
  }
  // The work on the content needs no lock: a slow site holds up nobody.
  constexpr int64_t kWords = kChunkBytes / static_cast<int64_t>(sizeof(float));
  const Sha256Digest digest = Sha256(chunk.content());
  Status good;
  for (const int64_t place : *places)
    if (good.ok()) good = CheckFinite(chunk.content(), place * kWords, options_.upload, options_.values);
  if (good.ok() && BytesOf(digest) != chunk.sha256())
    good = absl::InvalidArgumentError("does not have the hash that it names; send it again");
  if (!good.ok()) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return Refuse(site, absl::InvalidArgumentError(absl::StrCat("piece ", places->front(), " ", good.message())));
  }
  if (const Status put = journal_.PutChunk(digest, chunk.content()); !put.ok()) return Unrecorded(put);
  return v1::PutChunkReply{};
}

StatusOr<v1::CommitReply> ServerCore::CommitUpload(int64_t site, const v1::UploadManifest& manifest) {
  v1::CommitReply reply;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    const StatusOr<SiteContribution> upload = Checked(site, manifest);
    if (!upload.ok()) return Refuse(site, upload.status());
    const StatusOr<bool> counts = Counts(site, *upload);
    if (!counts.ok()) return Refuse(site, counts.status());
    if (*counts) {
      reply.set_duplicate(true);
      return reply;
    }
    for (size_t i = 0; i < upload->chunks.digests.size(); ++i)
      if (!journal_.HasChunk(upload->chunks.digests[i]))
        return Refuse(
            site, absl::FailedPreconditionError(absl::StrCat("piece ", i, " of the upload is missing; begin the upload again")));
    if (const Status saved = journal_.SaveContribution(*upload); !saved.ok()) return Unrecorded(saved);
    position_.received[site] = *upload;
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
  const StatusOr<SignedHead> head = journal_.HeadOf(request.round());
  if (!head.ok()) return absl::IsNotFound(head.status()) ? manifest : StatusOr<v1::PublishedManifest>(Unrecorded(head.status()));
  manifest.mutable_head()->set_size(static_cast<int64_t>(head->head.size));
  manifest.mutable_head()->set_root(BytesOf(head->head.root));
  manifest.mutable_head()->set_signature(head->signature);
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

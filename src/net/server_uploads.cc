// Uploads at the server: what a site announces, sends in chunks and commits.
#include <algorithm>
#include <cstring>

#include "fed/cohort.h"
#include "fed/fixed_point_sum.h"
#include "fed/upload_format.h"
#include "net/digest_bytes.h"
#include "net/server_core.h"

namespace fedalt {

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

namespace {

bool SameContent(const SiteContribution& a, const SiteContribution& b) {
  return a.round == b.round && a.attempt == b.attempt && a.chunks.values == b.chunks.values && a.chunks.digests == b.chunks.digests;
}

}  // namespace

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
  const std::vector<int64_t> cohort = Cohort();
  if (std::find(cohort.begin(), cohort.end(), site) == cohort.end())
    return absl::FailedPreconditionError(absl::StrCat("the site is not in the cohort of round ", manifest.round()));
  if (const auto out = position_.left_out.find(site); out != position_.left_out.end())
    return absl::OutOfRangeError(absl::StrCat("the contribution is left out of round ", manifest.round(), ": ", out->second));
  const int64_t words = EncodedWords(options_.upload, options_.values);
  if (manifest.values() != words || manifest.chunks_size() != ChunkCount(words))
    return absl::InvalidArgumentError(absl::StrCat("the upload has ", manifest.values(), " values in ", manifest.chunks_size(),
                                                   " chunks; expected ", words, " in ", ChunkCount(words)));
  const double weight = options_.weight(position_.enrolled.at(site));
  SiteContribution upload{site, manifest.round(), manifest.attempt(), weight, {manifest.values(), {}}};
  std::map<Sha256Digest, int64_t> sizes;
  for (int64_t i = 0; i < manifest.chunks_size(); ++i) {
    const StatusOr<Sha256Digest> digest = DigestOf(manifest.chunks(static_cast<int>(i)));
    if (!digest.ok()) return absl::InvalidArgumentError(absl::StrCat("chunk ", i, ": ", digest.status().message()));
    upload.chunks.digests.push_back(*digest);
    const auto [known, is_new] = sizes.emplace(*digest, ChunkSize(manifest.values(), i));
    if (!is_new && known->second != ChunkSize(manifest.values(), i))
      return absl::InvalidArgumentError(absl::StrCat("chunk ", i, " has the hash of an earlier one of ", known->second,
                                                     " bytes; expected chunks of different sizes to have different hashes"));
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

/// Magnitudes up to this one fit into the sum, whatever the other sites send.
double ServerCore::LargestValue(const SiteContribution& upload) const {
  return kSumReach / static_cast<double>(options_.sites.size()) / upload.weight;
}

/// The upload is the one that the site has begun; what it began before in its place is forgotten. Errors: ResourceExhausted.
Status ServerCore::Announce(int64_t site, const SiteContribution& upload) {
  const auto begun = uploads_.find(site);
  if (begun != uploads_.end() && SameContent(begun->second.upload, upload)) return absl::OkStatus();
  if (++used_[site].manifests > budget::kManifestsPerAttempt)
    return Exhausted(site,
                     absl::ResourceExhaustedError(absl::StrCat("this site has announced ", budget::kManifestsPerAttempt,
                                                               " different contents in this attempt; the next one may take more")));
  std::set<Sha256Digest> replaced;
  if (begun != uploads_.end())
    replaced.insert(begun->second.upload.chunks.digests.begin(), begun->second.upload.chunks.digests.end());
  uploads_[site] = {upload, std::vector<bool>(upload.chunks.digests.size(), false)};
  if (!replaced.empty()) CollectGarbage(replaced);
  return absl::OkStatus();
}

Status ServerCore::CheckChunk(const SiteContribution& upload, int64_t place, const std::string& content) const {
  constexpr int64_t kWords = kChunkBytes / static_cast<int64_t>(sizeof(float));
  const Status bounded = CheckBounded(content, place * kWords, options_.upload, options_.values, LargestValue(upload));
  return bounded.ok() ? bounded : absl::OutOfRangeError(absl::StrCat("chunk ", place, " ", bounded.message()));
}

StatusOr<bool> ServerCore::IsStored(const SiteContribution& upload, int64_t place) {
  const Sha256Digest& digest = upload.chunks.digests[static_cast<size_t>(place)];
  if (!journal_.HasChunk(digest)) return false;
  const StatusOr<std::string> content = journal_.GetChunk(digest);
  if (!content.ok()) return false;  // damaged, or it cannot be read: it is sent again
  // It may have come as something else: in another place, of another site.
  RETURN_IF_ERROR(CheckChunk(upload, place, *content));
  return true;
}

/// Begins an upload, or goes on with it, and looks at those of its chunks that are stored and were not looked at. Returns the
/// places that are missing; empty: the very content counts already.
StatusOr<std::optional<std::vector<int64_t>>> ServerCore::Begin(int64_t site, const v1::UploadManifest& manifest) {
  SiteContribution upload;
  std::vector<int64_t> missing, found;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    StatusOr<SiteContribution> checked = Checked(site, manifest);
    if (!checked.ok()) return Refuse(site, checked.status());
    upload = *std::move(checked);
    const StatusOr<bool> counts = Counts(site, upload);
    if (!counts.ok()) return Refuse(site, counts.status());
    if (*counts) return std::optional<std::vector<int64_t>>();
    RETURN_IF_ERROR(Announce(site, upload));
    const std::vector<bool>& here = uploads_[site].here;
    for (size_t place = 0; place < here.size(); ++place)
      if (!here[place]) missing.push_back(static_cast<int64_t>(place));
  }
  Status bad;
  for (const int64_t place : missing) {
    const StatusOr<bool> stored = IsStored(upload, place);
    if (!stored.ok()) bad = stored.status();
    if (stored.ok() && *stored) found.push_back(place);
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  if (const auto again = Checked(site, manifest); !again.ok()) return Refuse(site, again.status());
  const auto begun = uploads_.find(site);
  if (begun == uploads_.end() || !SameContent(begun->second.upload, upload))
    return absl::UnavailableError("another upload of this site was begun meanwhile; try again");
  if (!bad.ok()) return LeaveOut(site, std::string(bad.message()));
  for (const int64_t place : found) begun->second.here[static_cast<size_t>(place)] = true;
  std::erase_if(missing, [&](int64_t place) { return begun->second.here[static_cast<size_t>(place)]; });
  return std::optional(std::move(missing));
}

StatusOr<v1::MissingChunks> ServerCore::BeginUpload(int64_t site, const v1::UploadManifest& manifest) {
  RETURN_IF_ERROR(Admit(site, Callers::Kind::kFact));
  ASSIGN_OR_RETURN(const auto places, Begin(site, manifest));
  v1::MissingChunks missing;
  missing.set_committed(!places.has_value());
  if (places)
    for (const int64_t place : *places) missing.add_chunks(place);
  return missing;
}

/// Where in the upload that the site has begun the chunk belongs: its places, ascending, at least one.
StatusOr<std::vector<int64_t>> ServerCore::PlacesOf(int64_t site, const v1::Chunk& chunk) const {
  RETURN_IF_ERROR(CheckRun(chunk.run()));
  if (const auto out = position_.left_out.find(site); out != position_.left_out.end())
    return absl::OutOfRangeError(absl::StrCat("the contribution is left out of round ", OpenRound(), ": ", out->second));
  const auto begun = uploads_.find(site);
  if (begun == uploads_.end() || begun->second.upload.round != chunk.round())
    return absl::FailedPreconditionError(absl::StrCat("a chunk for round ", chunk.round(),
                                                      " belongs to no upload that was begun, open is round ", OpenRound(),
                                                      "; begin the upload again"));
  ASSIGN_OR_RETURN(const Sha256Digest digest, DigestOf(chunk.sha256()));
  const ChunkList& chunks = begun->second.upload.chunks;
  std::vector<int64_t> places;
  for (size_t i = 0; i < chunks.digests.size(); ++i)
    if (chunks.digests[i] == digest) places.push_back(static_cast<int64_t>(i));
  if (places.empty())
    return absl::InvalidArgumentError(absl::StrCat("a chunk of ", chunk.content().size(), " bytes with hash ", HexOf(digest),
                                                   " is none of those that the upload announced"));
  const int64_t expected = ChunkSize(chunks.values, places.front());
  if (static_cast<int64_t>(chunk.content().size()) != expected)
    return absl::InvalidArgumentError(
        absl::StrCat("chunk ", places.front(), " has ", chunk.content().size(), " bytes; expected ", expected));
  return places;
}

StatusOr<v1::PutChunkReply> ServerCore::PutChunk(int64_t site, const v1::Chunk& chunk) {
  RETURN_IF_ERROR(Admit(site, Callers::Kind::kChunk));
  StatusOr<std::vector<int64_t>> places = absl::InternalError("not looked for");
  SiteContribution upload;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    places = PlacesOf(site, chunk);
    if (!places.ok()) return Refuse(site, places.status());
    const Begun& begun = uploads_[site];
    if (begun.here[static_cast<size_t>(places->front())]) return v1::PutChunkReply{};
    upload = begun.upload;
    int64_t& bytes = used_[site].bytes;
    bytes += static_cast<int64_t>(chunk.content().size());
    const int64_t most = budget::kUploadCopiesPerAttempt * upload.chunks.values * static_cast<int64_t>(sizeof(float)) + kChunkBytes;
    if (bytes > most)
      return Exhausted(site, absl::ResourceExhaustedError(absl::StrCat("this site has sent more than ", most,
                                                                       " bytes in this attempt; the next one may take more")));
  }
  // The work on the content needs no lock: a slow site holds up nobody.
  const Sha256Digest digest = Sha256(chunk.content());
  if (BytesOf(digest) != chunk.sha256()) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return Refuse(site, absl::InvalidArgumentError(
                            absl::StrCat("chunk ", places->front(), " does not have the hash that it names; send it again")));
  }
  Status good;
  for (const int64_t place : *places)
    if (good.ok()) good = CheckChunk(upload, place, chunk.content());
  if (good.ok())
    if (const Status put = journal_.PutChunk(digest, chunk.content()); !put.ok()) return Unrecorded(site, put);
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto begun = uploads_.find(site);
  if (begun == uploads_.end() || !SameContent(begun->second.upload, upload)) {  // the round has gone on meanwhile
    CollectGarbage(std::set<Sha256Digest>{digest});
    return absl::FailedPreconditionError(
        absl::StrCat("a chunk for round ", chunk.round(), " came when its upload was over, open is round ", OpenRound()));
  }
  if (!good.ok()) return LeaveOut(site, std::string(good.message()));
  for (const int64_t place : *places) begun->second.here[static_cast<size_t>(place)] = true;
  return v1::PutChunkReply{};
}

/// Nothing of the site counts in this attempt, and nobody waits for it. Returns what it is told.
Status ServerCore::LeaveOut(int64_t site, const std::string& why) {
  if (!position_.left_out.contains(site)) {
    if (const Status saved = journal_.SaveLeftOut(OpenRound(), position_.attempt, site, why); !saved.ok())
      return Unrecorded(site, saved);
    position_.left_out[site] = why;
    uploads_.erase(site);
    Warn(absl::StrCat("round ", OpenRound(), ": the contribution of ", NameOf(site), " is left out: ", why));
    CollectGarbage(std::nullopt);
    Changed();
  }
  return absl::OutOfRangeError(absl::StrCat("the contribution is left out of round ", OpenRound(), ": ", why));
}

/// Deletes what no fact names and nobody is about to commit. What cannot be deleted only costs space.
void ServerCore::CollectGarbage(const std::optional<std::set<Sha256Digest>>& among) {
  if (aggregating_) return;  // no fact names yet what is about to be published
  std::set<Sha256Digest> keep;
  for (const auto& [site, begun] : uploads_) keep.insert(begun.upload.chunks.digests.begin(), begun.upload.chunks.digests.end());
  journal_.Collect(among, keep);
}

StatusOr<v1::CommitReply> ServerCore::CommitUpload(int64_t site, const v1::UploadManifest& manifest) {
  RETURN_IF_ERROR(Admit(site, Callers::Kind::kFact));
  v1::CommitReply reply;
  ASSIGN_OR_RETURN(const auto missing, Begin(site, manifest));
  reply.set_duplicate(!missing.has_value());
  if (!missing) return reply;
  if (!missing->empty()) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return Refuse(site, absl::FailedPreconditionError(
                            absl::StrCat("chunk ", missing->front(), " of the upload is missing; begin the upload again")));
  }
  RETURN_IF_ERROR(Commit(site, manifest));
  Notify();
  return reply;
}

/// Precondition: Begin found all of it.
Status ServerCore::Commit(int64_t site, const v1::UploadManifest& manifest) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const StatusOr<SiteContribution> upload = Checked(site, manifest);
  if (!upload.ok()) return Refuse(site, upload.status());
  const auto begun = uploads_.find(site);
  if (begun == uploads_.end() || !SameContent(begun->second.upload, *upload))
    return absl::UnavailableError("another upload of this site was begun meanwhile; try again");
  if (const Status saved = journal_.SaveContribution(*upload); !saved.ok()) return Unrecorded(site, saved);
  position_.received[site] = *upload;
  uploads_.erase(begun);
  Changed();
  return absl::OkStatus();
}

}  // namespace fedalt

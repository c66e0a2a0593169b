// What one round did, in one signed text: what was published, of whose contributions, and the record of the round before. The
// server signs it when it closes the round; each site checks it before it reads, and countersigns it when it adopts the
// publication. Since each record names the one before by its digest, two histories, or two publications for two sites, need two
// records for one round, which the sites find by each other's countersignatures one round later.
//
// Values; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/signed_head.h"
#include "base/status.h"

namespace fedalt {

/// A contribution that is in the publication.
struct RecordedContribution {
  std::string site;
  int64_t round = 0;    ///< in which it was sent
  double weight = 0.0;  ///< as it was when it was sent, before it ages
  std::string content;  ///< ContentHash of the upload
  bool operator==(const RecordedContribution&) const = default;
};

/// What one site reads.
struct RecordedContent {
  std::string site;     ///< empty: every site
  std::string content;  ///< ContentHash of the publication
  bool operator==(const RecordedContent&) const = default;
};

struct RoundRecord {
  std::string run;
  int64_t round = 0;
  int64_t previous_round = 0;                      ///< the exchange round before; 0: none
  Sha256Digest previous = {};                      ///< RecordDigest of its record; zeros: there was none
  double total_weight = 0.0;                       ///< sum of the weights, aged
  std::vector<RecordedContent> contents;           ///< one for everybody, or ascending by site
  std::vector<RecordedContribution> contributors;  ///< ascending by site
  TreeHead log;                                    ///< the server's audit log, up to and with the entry that closes the round

  /// Of this site's contribution, or of what it reads; null: there is none.
  const RecordedContribution* ContributionOf(std::string_view site) const;
  const RecordedContent* ContentFor(std::string_view site) const;
};

/// The bytes that the server signs: lines, each with its newline.
///   "fedalt round record v1"
///   length of the run's name in bytes ":" the name
///   round " " previous round " " hex(previous)
///   bits of the total weight (IEEE 754 binary64, 16 hex digits)
///   size of the log " " hex(root)
///   number of contents, then of each: length ":" site " " content
///   number of contributors, then of each: length ":" site " " round " " bits of the weight " " content
/// Numbers are decimal, hex digits lower case, so that no two records have the same bytes.
std::string EncodeRecord(const RoundRecord& record);

/// The inverse: accepts exactly what EncodeRecord writes, of finite weights above zero and sites in ascending order. Errors:
/// kIntegrity.
StatusOr<RoundRecord> ParseRecord(std::string_view bytes);

/// SHA-256 of the bytes.
inline Sha256Digest RecordDigest(std::string_view bytes) {
  return Sha256(bytes);
}

/// What a site signs when it adopts the publication: "fedalt adopted record v1\n" hex(digest) "\n".
std::string AdoptionMessage(const Sha256Digest& digest);

struct SignedRecord {
  std::string bytes;      ///< EncodeRecord
  std::string signature;  ///< the server's, under the bytes
};

/// A site's signature under AdoptionMessage of a record.
struct Adoption {
  std::string site;
  std::string signature;
};

}  // namespace fedalt

// The exchange at the end of a round: contributions go in, what the round publishes is recorded, and every site finds its part.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "fed/method.h"
#include "fed/round_journal.h"

namespace fedalt {

/// One contribution of a round, by the site's place and name.
struct Contributor {
  int64_t site = 0;
  std::string name;
  bool participated = false;  ///< false: what it sent in an earlier round stays in the ledger
};

/// Ascending by name: nothing that is computed of contributions in this order depends on how the sites were listed.
void SortByName(std::vector<Contributor>& contributors);

/// What the journal has of what `round` published to site `name`. Errors: kOutput (it is not there any more).
StatusOr<Published> RecordedPublication(RoundJournal& journal, int64_t round, const std::string& name);

/// What contributions hold and how they travel.
struct ContributionShape {
  std::vector<AdaptedModule> modules;
  int64_t r = 0;  ///< the largest rank
  UploadFormat format = UploadFormat::kFloat32;
};

/// Used from one thread; ReceivedBy also from several at once while nothing else is called.
class Exchange {
 public:
  /// Borrows all but the shape.
  Exchange(const Method& method, Transport& transport, RoundJournal& journal, ContributionShape shape)
      : method_(method), transport_(transport), journal_(journal), shape_(std::move(shape)) {}

  struct Bytes {
    std::vector<int64_t> up;    ///< per contributor, as encoded; 0 for those that did not participate
    std::vector<int64_t> down;  ///< per reader
  };
  /// Sends what the journal has of every contributor in `round`, computes what comes back and records it for `readers` (names, by
  /// site). A contributor that participated but whose entry is of another round has learned already that the round was closed
  /// without it (fed/reading.h), and sends nothing. Errors: those of transport and journal; kTraining (what was computed is not
  /// finite).
  StatusOr<Bytes> Run(int64_t round, const std::vector<Contributor>& contributors, const std::vector<std::string>& readers);

  /// What site `name` received in `round`. Errors: kOutput (it is not there any more).
  StatusOr<Published> ReceivedBy(int64_t round, const std::string& name) const;
  /// After a restart: whether all that `round` published is there. Errors: kOutput.
  Status Recover(int64_t round, const std::vector<std::string>& readers);
  /// Frees what is kept of the last round.
  void Forget() { common_.reset(); }

  /// Who is in whose rest of world after `round`: shares by reader and contributor (fed/rest_of_world.h). Reads the
  /// contributions from the journal, a few at a time. Sums are made in the order of `contributors`.
  StatusOr<std::vector<std::vector<double>>> Influences(int64_t round, const std::vector<Contributor>& contributors,
                                                        int64_t readers) const;

 private:
  struct Entry {
    Upload upload;
    int64_t sent_round = 0;
  };
  StatusOr<Entry> Recorded(int64_t round, const Contributor& contributor) const;

  const Method& method_;
  Transport& transport_;
  RoundJournal& journal_;
  ContributionShape shape_;
  std::optional<Published> common_;  ///< of the last round, where everybody receives the same
};

}  // namespace fedalt

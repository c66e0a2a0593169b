#include "store/audit_verify.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/interrupt.h"
#include "base/strict_json.h"

namespace fedalt {
namespace {

std::string Name(const AuditEntry& entry) {
  std::string name = absl::StrCat("entry ", entry.sequence, " (", QuoteForMessage(entry.kind));
  if (!entry.subject.empty()) absl::StrAppend(&name, ", ", QuoteForMessage(entry.subject));
  return name + ")";
}

std::string Range(int64_t first, int64_t last) {
  return first == last ? absl::StrCat("entry ", first) : absl::StrCat("entries ", first, " to ", last);
}

class Verifier {
 public:
  Verifier(Database& database, std::string run, const SignatureCheck& check, AuditEvidence evidence)
      : database_(database), run_(std::move(run)), check_signature_(check), evidence_(std::move(evidence)) {}

  StatusOr<AuditReport> Verify() {
    ASSIGN_OR_RETURN(report_.run, RunOfAuditLog(database_));
    if (report_.run != run_)
      Add(0, 0, absl::StrCat("the log is that of run ", QuoteForMessage(report_.run), ", not of ", QuoteForMessage(run_)));
    RETURN_IF_ERROR(TakeHeads());
    CheckHeadsOfPresentSize();  // of nothing
    RETURN_IF_ERROR(ReadEntries(database_, INT64_MIN, "", [this](const AuditEntry& entry) { return Take(entry); }));
    CheckHeadsOfMissingEntries();
    for (AuditFinding& finding : evidence_.findings) report_.findings.push_back(std::move(finding));
    std::stable_sort(report_.findings.begin(), report_.findings.end(),
                     [](const AuditFinding& a, const AuditFinding& b) { return a.first < b.first; });
    return std::move(report_);
  }

 private:
  void Add(int64_t first, int64_t last, std::string text) { report_.findings.push_back({first, last, std::move(text)}); }

  // Only heads with a valid signature count from here on.
  Status TakeHeads() {
    ASSIGN_OR_RETURN(const std::vector<SignedHead> heads, ReadHeads(database_));
    for (const SignedHead& of : heads) {
      announced_.emplace(static_cast<int64_t>(of.head.size), of.signer);
      TakeHead(
          {of.head, of.signer, HeadMessage(run_, of.head), of.signature, absl::StrCat("the head of ", of.head.size, " entries")});
    }
    for (const ClaimedHead& head : evidence_.heads) TakeHead(head);
    return absl::OkStatus();
  }

  void TakeHead(const ClaimedHead& of) {
    const auto size = static_cast<int64_t>(of.head.size);
    if (check_signature_(of.signer, of.message, of.signature)) {
      heads_[size].push_back(of);
    } else {
      Add(size, size,
          absl::StrCat(of.what, ": the signature of ", QuoteForMessage(of.signer),
                       " is not valid; it or what it covers was changed, or this signer is not in the roster"));
    }
  }

  Status Take(const AuditEntry& entry) {
    RETURN_IF_ERROR(CheckInterrupt("the audit log was verified"));
    ++report_.entries;
    const int64_t expected = last_ + 1;
    if (entry.sequence < expected || entry.sequence > kMaxAuditSequence) {
      Add(entry.sequence, entry.sequence, absl::StrCat(Name(entry), " has a number that is taken or cannot be; it was inserted"));
      return absl::OkStatus();
    }
    if (entry.sequence > expected) Skip(expected, entry);
    const bool follows = entry.sequence > expected || entry.previous == last_leaf_;
    if (!follows) {
      Add(last_, entry.sequence,
          absl::StrCat(Name(entry), " was not written after ", last_ == 0 ? "nothing" : absl::StrCat("entry ", last_),
                       " as it is now; one of them was changed together with its hash, or exchanged, inserted or removed"));
    }
    last_ = entry.sequence;
    last_leaf_ = entry.leaf;
    if (!broken_) tree_.Add(entry.leaf);
    CheckHeadsOfPresentSize();
    if (entry.kind == kSignedKind && !announced_.contains({entry.sequence, entry.subject}))
      Add(entry.sequence, entry.sequence, absl::StrCat(Name(entry), ": the head that it announces is missing; it was removed"));
    if (LeafOf(entry) == entry.leaf) return CheckFacts(entry);
    Add(entry.sequence, entry.sequence, absl::StrCat(Name(entry), " does not match its hash; it was changed after it was written"));
    return absl::OkStatus();
  }

  // Entries are missing before this one. The leaf of a single one is known from the chain, so the tree can go on; a wrong one would
  // not fit the heads.
  void Skip(int64_t expected, const AuditEntry& next) {
    const int64_t missing = next.sequence - 1;
    Add(expected, missing, absl::StrCat(Range(expected, missing), expected == missing ? " is" : " are", " missing; removed"));
    if (missing == expected && !broken_) {
      tree_.Add(next.previous);
      last_ = missing;
      CheckHeadsOfPresentSize();
    } else {
      broken_ = true;
    }
  }

  // Compares the heads of as many entries as were read with the tree.
  void CheckHeadsOfPresentSize() {
    const auto heads = heads_.find(last_);
    if (heads == heads_.end() || broken_) return;
    const Sha256Digest root = tree_.Root();
    std::string others;
    for (const ClaimedHead& head : heads->second) {
      if (head.head.root != root) {
        absl::StrAppend(&others, others.empty() ? "" : ", ", QuoteForMessage(head.signer));
        continue;
      }
      report_.signed_entries = head.head.size;
      report_.signed_by[head.signer] = head.head.size;
    }
    if (!others.empty()) {
      const auto first = std::min(static_cast<int64_t>(report_.signed_entries) + 1, last_);
      Add(first, last_,
          absl::StrCat(Range(first, last_), ": not what was signed by ", others,
                       "; something there was changed, exchanged, inserted or removed, and the hashes were computed again"));
    }
    heads_.erase(heads);
  }

  // What is left are heads beyond the end, or after a gap.
  void CheckHeadsOfMissingEntries() {
    for (const auto& [size, heads] : heads_) {
      std::string signers;
      for (const ClaimedHead& head : heads) absl::StrAppend(&signers, signers.empty() ? "" : ", ", QuoteForMessage(head.signer));
      if (size > last_) {
        Add(last_ + 1, size,
            absl::StrCat(Range(last_ + 1, size), last_ + 1 == size ? " is" : " are", " missing at the end; ", signers, " signed ",
                         size, " entries"));
      } else {
        Add(size, size,
            absl::StrCat("the head of ", size, " entries, signed by ", signers, ", cannot be compared, as entries are missing"));
      }
    }
  }

  Status CheckFacts(const AuditEntry& entry) {
    for (const FactCheck& fact : evidence_.checks) {
      if (fact.kind != entry.kind) continue;
      ASSIGN_OR_RETURN(const std::optional<std::string> difference, fact.difference(entry));
      if (difference) Add(entry.sequence, entry.sequence, absl::StrCat(Name(entry), ": ", *difference));
    }
    return absl::OkStatus();
  }

  Database& database_;
  const std::string run_;
  const SignatureCheck& check_signature_;
  AuditEvidence evidence_;
  AuditReport report_;
  std::map<int64_t, std::vector<ClaimedHead>> heads_;    // by size; those not yet compared
  std::set<std::pair<int64_t, std::string>> announced_;  // size and signer of those in the table
  MerkleHead tree_;
  bool broken_ = false;          // too many leaves are missing for the tree
  int64_t last_ = 0;             // number of the last entry read
  Sha256Digest last_leaf_ = {};  // its leaf, as it is stored
};

}  // namespace

StatusOr<AuditReport> VerifyAuditLog(Database& database, std::string_view run, const SignatureCheck& check_signature,
                                     AuditEvidence evidence) {
  std::optional<Transaction> transaction;
  if (!database.InTransaction()) {
    ASSIGN_OR_RETURN(Transaction begun, Transaction::BeginRead(database));
    transaction.emplace(std::move(begun));
  }
  return Verifier(database, std::string(run), check_signature, std::move(evidence)).Verify();
}

}  // namespace fedalt

// links: base deps_sqlite
// sources: src/store/site_store.cc src/store/database.cc src/store/schema.cc src/store/audit_log.cc src/store/audit_verify.cc
// sources: src/store/log_reader.cc src/store/record_facts.cc src/fed/round_record.cc src/run/checkpoint_text.cc
//
// What a site reads from its disk when it starts again, and what an auditor reads there later: any bytes as its database, a good
// database with any bytes in its cells or changed bytes in its file, any bytes as the texts of a checkpoint. All of it is read, or
// refused with a reason; what the site writes behind it can be read again.
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>

#include "base/check.h"
#include "fuzz/script.h"
#include "run/checkpoint_text.h"
#include "store/audit_verify.h"
#include "store/record_facts.h"
#include "store/schema.h"
#include "store/site_store.h"

namespace fedalt::fuzz {
namespace {

namespace fs = std::filesystem;

constexpr char kRun[] = "run-7", kSite[] = "osaka";

std::string Sign(std::string_view signer, std::string_view message) {
  return HexOf(Sha256(absl::StrCat("secret of ", std::string(signer), std::string(message))));
}

SiteStore StoreIn(const fs::path& file) {
  return {file, {kSite, [] { return int64_t{1'700'000'000'000}; }, [](std::string_view message) { return Sign(kSite, message); }}};
}

RoundRecord RecordOf(int64_t round, const std::string& before) {
  RoundRecord record;
  record.run = kRun;
  record.round = round;
  record.previous_round = round - 1;
  if (round > 1) record.previous = RecordDigest(before);
  record.total_weight = 2.0;
  record.contents = {{"", std::string(64, 'a')}};
  record.contributors = {{kSite, round, 1.0, std::string(64, 'b')}};
  record.log.size = static_cast<uint64_t>(10 * round);
  return record;
}

/// What a site writes of a round.
Status WriteRound(SiteStore& store, int64_t round, const SignedRecord& record) {
  RETURN_IF_ERROR(
      store.SaveSent({kSite, round, 1.0, std::string(64, 'b')},
                     {{"round", round}, {"attempt", 1}, {"weight", 1.0}, {"bytes", 8}, {"content_sha256", std::string(64, 'b')}}));
  RETURN_IF_ERROR(store.SaveRecord(round, record));
  RETURN_IF_ERROR(store.Note("contribution", {{"round", round}, {"counted", true}, {"counted_round", round}}));
  RETURN_IF_ERROR(store.Note("rest_of_world", {{"round", round}, {"adopted", true}}));
  return store.Seal();
}

/// A folder in memory, if there is such a place, and in it a site's database after two rounds.
class Place {
 public:
  Place() {
    const fs::path memory = "/dev/shm";
    std::string pattern = ((fs::is_directory(memory) ? memory : fs::temp_directory_path()) / "fedalt-fuzz-XXXXXX").string();
    FEDALT_CHECK(::mkdtemp(pattern.data()) != nullptr, "a folder");
    folder_ = pattern;
    {
      SiteStore store = StoreIn(file());
      FEDALT_CHECK(store.Begin(kRun).ok(), "a new database");
      std::string before;
      for (const int64_t round : {1, 2}) {
        const std::string bytes = EncodeRecord(RecordOf(round, before));
        FEDALT_CHECK(WriteRound(store, round, {bytes, Sign("server", bytes)}).ok(), "a good disk");
        before = bytes;
      }
    }
    std::ifstream in(file(), std::ios::binary);
    good_ = {std::istreambuf_iterator<char>(in), {}};
  }
  ~Place() { fs::remove_all(folder_); }

  fs::path file() const { return folder_ / "store.db"; }
  const std::string& good() const { return good_; }
  void Put(const std::string& bytes) const {
    for (const char* end : {"-wal", "-shm"}) fs::remove(file().string() + end);
    std::ofstream(file(), std::ios::binary | std::ios::trunc) << bytes;
  }

 private:
  fs::path folder_;
  std::string good_;
};

void CheckFailure(const Status& status) {
  const ErrorKind kind = KindOf(status);
  FEDALT_CHECK(kind == ErrorKind::kOutput || kind == ErrorKind::kFederation || kind == ErrorKind::kIntegrity,
               "an error of the kinds that a site's record has");
  FEDALT_CHECK(!status.message().empty() && status.message().find('\n') == absl::string_view::npos, "it says why, in one line");
}

/// As a site does that starts again: what is there, and what it adds. `good`: nothing was changed.
void ReadAsSite(const fs::path& file, bool good) {
  SiteStore store = StoreIn(file);
  const Status begun = store.Begin(kRun);
  FEDALT_CHECK(begun.ok() || !good, "a good database is read");
  if (!begun.ok()) return CheckFailure(begun);
  const auto last = store.LastRound();
  if (!last.ok()) return CheckFailure(last.status());
  for (const int64_t round : {int64_t{1}, int64_t{2}, *last, INT64_MAX}) {
    const auto record = store.RecordOf(round);
    if (!record.ok()) CheckFailure(record.status());
    if (record.ok() && *record) {
      const auto parsed = ParseRecord((**record).bytes);
      FEDALT_CHECK(!parsed.ok() || EncodeRecord(*parsed) == (**record).bytes, "it is written as it was read");
      if (!parsed.ok()) CheckFailure(parsed.status());
    }
    const auto sent = store.SentIn(round);
    if (!sent.ok()) CheckFailure(sent.status());
  }
  constexpr int64_t kNext = 1'000;
  std::string before;
  if (const auto record = store.RecordOf(*last); record.ok() && *record) before = (**record).bytes;
  const SignedRecord next{EncodeRecord(RecordOf(kNext, before)), "signed"};
  const bool free = !store.RecordOf(kNext).ok() || !store.RecordOf(kNext)->has_value();
  const Status written = WriteRound(store, kNext, next);
  FEDALT_CHECK(written.ok() || !good, "a good database takes more");
  if (!written.ok()) return CheckFailure(written);
  const auto again = store.RecordOf(kNext);
  FEDALT_CHECK(!free || (again.ok() && *again && (**again).bytes == next.bytes), "what was written is there");
}

/// As fedalt audit verify does.
void ReadAsAuditor(const fs::path& file, bool good) {
  const auto verified = [&]() -> StatusOr<AuditReport> {
    ASSIGN_OR_RETURN(const auto database, Database::OpenReadOnly(file, SiteMigrations()));
    const SignatureCheck check = [](std::string_view signer, std::string_view message, std::string_view signature) {
      return signature == Sign(signer, message);
    };
    AuditEvidence evidence;
    RETURN_IF_ERROR(AddSiteRecords(*database, kRun, check, evidence));
    return VerifyAuditLog(*database, kRun, check, std::move(evidence));
  }();
  FEDALT_CHECK(verified.ok() || !good, "a good database is verified");
  if (!verified.ok()) return CheckFailure(verified.status());
  FEDALT_CHECK(verified->findings.empty() || !good, "nothing was changed");
  for (const AuditFinding& finding : verified->findings)
    FEDALT_CHECK(!finding.text.empty() && finding.text.find('\n') == std::string::npos, "one line");
}

void Read(const fs::path& file, bool good) {
  ReadAsAuditor(file, good);
  ReadAsSite(file, good);
  if (!good) ReadAsAuditor(file, false);
}

double DoubleOf(uint64_t bits) {
  double value = 0.0;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

int64_t NumberFrom(Script& script) {
  return script.Below(2) == 0 ? static_cast<int64_t>(script.Below(8)) : static_cast<int64_t>(script.Long());
}

std::string BytesFrom(Script& script, const std::string& good) {
  const size_t how = script.Below(3);
  return how == 0 ? good : how == 1 ? script.Mutated(good) : script.Bytes();
}

/// One cell, or row, of any content; what SQLite does not take stays as it was.
Status ChangeRow(Script& script, Database& database) {
  const auto put = [&](const char* sql, const auto& bind) -> Status {
    ASSIGN_OR_RETURN(Statement statement, database.Prepare(sql));
    bind(statement);
    return statement.Run();
  };
  switch (script.Below(7)) {
    case 0: {
      const std::string record = BytesFrom(script, EncodeRecord(RecordOf(1 + static_cast<int64_t>(script.Below(3)), "")));
      return put("INSERT OR REPLACE INTO server_record VALUES (?1, ?2, ?3)", [&](Statement& row) {
        row.BindInt(1, NumberFrom(script)).BindBlob(2, record).BindBlob(3, BytesFrom(script, Sign("server", record)));
      });
    }
    case 1:
      return put("INSERT OR REPLACE INTO sent VALUES (?1, ?2, ?3)", [&](Statement& row) {
        row.BindInt(1, NumberFrom(script))
            .BindDouble(2, DoubleOf(script.Long()))
            .BindText(3, BytesFrom(script, std::string(64, 'b')));
      });
    case 2: {
      constexpr const char* kKinds[] = {"upload", "server.record", "record.first", "log.signed", "contribution"};
      AuditEntry entry;
      entry.sequence = NumberFrom(script);
      entry.time_ms = NumberFrom(script);
      entry.kind = BytesFrom(script, kKinds[script.Below(std::size(kKinds))]);
      entry.subject = BytesFrom(script, kSite);
      entry.body = BytesFrom(script, R"({"record_sha256":"00","round":1,"weight":1.0})");
      const Sha256Digest leaf = LeafOf(entry);
      const std::string good(leaf.begin(), leaf.end());
      return put("INSERT OR REPLACE INTO audit_entry VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)", [&](Statement& row) {
        row.BindInt(1, entry.sequence).BindInt(2, entry.time_ms).BindText(3, entry.kind).BindText(4, entry.subject);
        row.BindText(5, entry.body).BindBlob(6, std::string(32, '\0')).BindBlob(7, BytesFrom(script, good));
      });
    }
    case 3:
      return put("INSERT OR REPLACE INTO audit_head VALUES (?1, ?2, ?3, ?4)", [&](Statement& row) {
        row.BindInt(1, NumberFrom(script))
            .BindText(2, BytesFrom(script, kSite))
            .BindBlob(3, script.Bytes())
            .BindBlob(4, script.Bytes());
      });
    case 4:
      return put("UPDATE audit_run SET run = ?1", [&](Statement& row) { row.BindText(1, BytesFrom(script, kRun)); });
    case 5: {
      constexpr const char* kDeletions[] = {"DELETE FROM server_record WHERE round = ?1", "DELETE FROM sent WHERE round = ?1",
                                            "DELETE FROM audit_entry WHERE sequence = ?1", "DELETE FROM audit_head WHERE size = ?1",
                                            "DELETE FROM audit_run WHERE id = ?1"};
      return put(kDeletions[script.Below(std::size(kDeletions))], [&](Statement& row) { row.BindInt(1, NumberFrom(script)); });
    }
    default:
      return database.Execute(absl::StrCat("PRAGMA user_version = ", script.Below(256)));
  }
}

void ChangeRows(Script& script, const fs::path& file) {
  const auto database = Database::Open(file, SiteMigrations());
  FEDALT_CHECK(database.ok(), "a good database");
  for (const char* trigger : {"audit_entry_stays", "audit_entry_remains", "audit_head_stays", "audit_head_remains"})
    FEDALT_CHECK((**database).Execute(absl::StrCat("DROP TRIGGER ", trigger)).ok(), "whoever has the file can");
  constexpr int kMostChanges = 8;
  for (int i = 0; i < kMostChanges && !script.done(); ++i) (void)ChangeRow(script, **database);
}

void ReadTexts(const std::string& text) {
  const auto reading = ReadingFromText(text, "reading.json");
  if (!reading.ok()) CheckFailure(reading.status());
  if (reading.ok()) {
    FEDALT_CHECK(reading->read >= 0 && reading->refused >= 0, "rounds");
    const auto again = ReadingFromText(ReadingToText(*reading), "reading.json");
    FEDALT_CHECK(again.ok() && again->read == reading->read && again->refused == reading->refused, "it is written as it was read");
  }
  if (const auto count = CountFromText(text, "round"); count.ok()) FEDALT_CHECK(*count >= 0, "a count");
  if (const auto number = NumberFromText(text, "weight"); number.ok()) FEDALT_CHECK(std::isfinite(*number), "a number");
}

}  // namespace
}  // namespace fedalt::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fedalt::fuzz;
  static const Place place;
  Script script(data, size);
  const size_t how = script.Below(4);
  const std::string rest(reinterpret_cast<const char*>(data) + (size > 0 ? 1 : 0), size > 0 ? size - 1 : 0);
  if (how == 3) {
    ReadTexts(rest);
    return 0;
  }
  place.Put(how == 0 ? rest : place.good());
  if (how == 1) ChangeRows(script, place.file());
  if (how == 2 && !script.done()) {
    std::string bytes = place.good();
    while (!script.done()) {  // the first pages hold the schema, the others rows
      const size_t at = (script.Short() << 2 | script.Below(4)) % bytes.size();
      bytes[at] = static_cast<char>(script.Byte());
    }
    place.Put(bytes);
  }
  Read(place.file(), how == 2 && rest.empty());
  return 0;
}

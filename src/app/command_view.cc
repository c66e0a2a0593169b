// fedalt status, list, show, pull: what a federation's server has in its directory. Nothing here changes it.
#include <absl/strings/numbers.h>
#include <absl/strings/str_join.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "app/command.h"
#include "app/status_text.h"
#include "app/text_table.h"
#include "model/safetensors.h"
#include "net/clock.h"
#include "store/run_view.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

constexpr char kStatusExamples[] =
    "Examples:\n"
    "  fedalt status server/run\n"
    "  fedalt status server/run --format json | jq .phase\n"
    "SERVER_DIR is the directory of server.yaml. It is only read, whether the server runs or not.";
constexpr char kListExamples[] =
    "Examples:\n"
    "  fedalt list server/run                       what was published\n"
    "  fedalt list server/run --what contributions\n"
    "  fedalt list server/run --what requests --format json";
constexpr char kShowExamples[] =
    "Examples:\n"
    "  fedalt show server/run latest\n"
    "  fedalt show server/run 12 --format json";
constexpr char kPullExamples[] =
    "Examples:\n"
    "  fedalt pull server/run latest --out sum.safetensors\n"
    "  fedalt pull server/run 12 --site osaka --out osaka.safetensors     where each site reads its own\n"
    "Each piece is checked against its hash, and the hash of all against the audit log.";

struct ViewOptions {
  std::string directory, version, what = "versions", out, site;
  bool json = false;
};

std::string Number(double value) {
  return absl::StrFormat("%.6g", value);
}

// status

Status ShowStatus(const ViewOptions& options) {
  ASSIGN_OR_RETURN(const auto view, RunView::Open(options.directory));
  ASSIGN_OR_RETURN(const RunState state, view->State());
  const int64_t now_ms = SystemClock().NowMs();
  return WriteResult(options.json ? JsonLine(StatusJson(state, now_ms)) : StatusText(state, now_ms));
}

// list

/// A table for people, and the same rows as objects.
struct Listing {
  std::vector<TableRow> rows;
  ordered_json objects = ordered_json::array();
};

std::string HashOf(const PublishedObject& object) {
  return object.per_site.empty() ? ContentHash(object.chunks) : "";
}

StatusOr<Listing> ListVersions(RunView& view) {
  Listing list{
      {{"version", "parent", "published", "contributors", "of this round", "total weight", "values", "adopted by", "content"}}};
  ASSIGN_OR_RETURN(const std::vector<int64_t> rounds, view.Published());
  for (const int64_t round : rounds) {
    ASSIGN_OR_RETURN(const VersionView version, view.Version(round));
    const PublishedObject& object = version.object;
    int64_t fresh = 0;
    for (const auto& [site, of_round] : object.contributors) fresh += of_round == round ? 1 : 0;
    const int64_t values = object.per_site.empty() ? object.chunks.values : object.per_site.begin()->second.values;
    const std::string hash = HashOf(object);
    list.rows.push_back({absl::StrCat(round), absl::StrCat(version.parent), TimeText(version.time_ms),
                         absl::StrCat(object.contributors.size()), absl::StrCat(fresh), Number(object.total_weight),
                         absl::StrCat(values), absl::StrCat(version.adopted.size()),
                         hash.empty() ? "one of each site" : hash.substr(0, 16)});
    list.objects.push_back({{"round", round},
                            {"parent", version.parent},
                            {"time_ms", version.time_ms},
                            {"contributors", object.contributors.size()},
                            {"of_this_round", fresh},
                            {"total_weight", object.total_weight},
                            {"values", values},
                            {"record_sha256", version.record},
                            {"adopted", version.adopted},
                            {"refused", version.refused},
                            {"content_sha256", hash.empty() ? ordered_json() : ordered_json(hash)}});
  }
  return list;
}

StatusOr<Listing> ListRounds(RunView& view) {
  Listing list{{{"round", "attempt", "opened", "contributions", "result"}}};
  ASSIGN_OR_RETURN(const std::vector<AttemptView> attempts, view.Attempts());
  for (const AttemptView& attempt : attempts) {
    const std::string result = attempt.abandoned ? "abandoned" : attempt.published ? "published" : "open";
    list.rows.push_back({absl::StrCat(attempt.round), absl::StrCat(attempt.attempt), TimeText(attempt.opened_ms),
                         absl::StrCat(attempt.contributions),
                         attempt.abandoned ? absl::StrCat(result, ": ", *attempt.abandoned) : result});
    list.objects.push_back({{"round", attempt.round},
                            {"attempt", attempt.attempt},
                            {"opened_ms", attempt.opened_ms},
                            {"contributions", attempt.contributions},
                            {"result", result},
                            {"reason", OrNull(attempt.abandoned)}});
  }
  return list;
}

StatusOr<Listing> ListSites(RunView& view) {
  Listing list{{{"site", "state", "train examples", "last contribution", "weight", "adopted", "last heard"}}};
  ASSIGN_OR_RETURN(const RunState state, view.State());
  const int64_t now_ms = SystemClock().NowMs();
  for (const SiteView& site : state.sites) {
    list.rows.push_back({site.name, StandingOf(site, state), site.enrolled ? absl::StrCat(site.train_examples) : "-",
                         site.last_round > 0 ? absl::StrCat("round ", site.last_round) : "-",
                         site.last_round > 0 ? Number(site.last_weight) : "-",
                         site.adopted_round > 0 ? absl::StrCat("round ", site.adopted_round) : "-", LastHeard(site, now_ms)});
    list.objects.push_back(SiteJson(site, state));
  }
  return list;
}

const char* UseName(ContributionView::Use use) {
  switch (use) {
    case ContributionView::Use::kOpen:
      return "open";
    case ContributionView::Use::kCounts:
      return "counts";
    case ContributionView::Use::kReplaced:
      return "replaced";
    case ContributionView::Use::kAbandoned:
      return "abandoned";
  }
  return "";
}

StatusOr<Listing> ListContributions(RunView& view) {
  Listing list{{{"site", "round", "attempt", "weight", "words", "state", "content"}}};
  ASSIGN_OR_RETURN(const std::vector<ContributionView> contributions, view.Contributions());
  for (const ContributionView& entry : contributions) {
    const SiteContribution& sent = entry.contribution;
    const std::string hash = ContentHash(sent.chunks);
    list.rows.push_back({view.NameOf(sent.site), absl::StrCat(sent.round), absl::StrCat(sent.attempt), Number(sent.weight),
                         absl::StrCat(sent.chunks.values), UseName(entry.use), hash.substr(0, 16)});
    list.objects.push_back({{"site", view.NameOf(sent.site)},
                            {"round", sent.round},
                            {"attempt", sent.attempt},
                            {"weight", sent.weight},
                            {"words", sent.chunks.values},
                            {"state", UseName(entry.use)},
                            {"content_sha256", hash}});
  }
  return list;
}

StatusOr<Listing> ListRequests(RunView& view) {
  Listing list{{{"request", "asked", "what", "site", "cause", "outcome"}}};
  ASSIGN_OR_RETURN(const std::vector<RequestView> requests, view.Requests());
  const auto or_dash = [](const std::string& text) { return text.empty() ? "-" : text; };
  for (const RequestView& request : requests) {
    list.rows.push_back({absl::StrCat(request.id), TimeText(request.time_ms), request.kind, or_dash(request.site),
                         or_dash(request.cause), request.outcome.value_or("not yet")});
    list.objects.push_back({{"request", request.id},
                            {"time_ms", request.time_ms},
                            {"kind", request.kind},
                            {"site", request.site},
                            {"cause", request.cause},
                            {"outcome", OrNull(request.outcome)}});
  }
  return list;
}

StatusOr<Listing> ListMetrics(RunView& view) {
  Listing list{{{"site", "round", "metric", "value"}}};
  ASSIGN_OR_RETURN(const std::vector<MetricView> metrics, view.Metrics());
  for (const MetricView& metric : metrics) {
    list.rows.push_back({view.NameOf(metric.site), absl::StrCat(metric.round), metric.name, Number(metric.value)});
    list.objects.push_back(
        {{"site", view.NameOf(metric.site)}, {"round", metric.round}, {"name", metric.name}, {"value", metric.value}});
  }
  return list;
}

using Lister = StatusOr<Listing> (*)(RunView&);
const std::pair<std::string, Lister> kListers[] = {{"versions", ListVersions}, {"rounds", ListRounds},
                                                   {"sites", ListSites},       {"contributions", ListContributions},
                                                   {"requests", ListRequests}, {"metrics", ListMetrics}};

Status List(const ViewOptions& options) {
  ASSIGN_OR_RETURN(const auto view, RunView::Open(options.directory));
  for (const auto& [what, lister] : kListers) {
    if (what != options.what) continue;
    ASSIGN_OR_RETURN(Listing list, lister(*view));
    if (options.json) return WriteResult(JsonLine({{what, std::move(list.objects)}}));
    for (TableRow& row : list.rows)
      for (std::string& cell : row) cell = Printable(std::move(cell));
    if (list.rows.size() == 1) return WriteResult(absl::StrCat("no ", what, " yet\n"));
    return WriteResult(AlignTable(list.rows));
  }
  return absl::OkStatus();
}

// show, pull

StatusOr<VersionView> FindVersion(RunView& view, const ViewOptions& options) {
  ASSIGN_OR_RETURN(const std::vector<int64_t> rounds, view.Published());
  if (rounds.empty()) return UsageError(absl::StrCat(options.directory, ": nothing was published yet"));
  int64_t round = rounds.back();
  const bool known = options.version == "latest" ||
                     (absl::SimpleAtoi(options.version, &round) && std::find(rounds.begin(), rounds.end(), round) != rounds.end());
  if (!known)
    return UsageError(absl::StrCat(options.directory, ": there is no version \"", options.version.substr(0, 80),
                                   "\"; expected latest or one of ", absl::StrJoin(rounds, ", ")));
  return view.Version(round);
}

Status Show(const ViewOptions& options) {
  ASSIGN_OR_RETURN(const auto view, RunView::Open(options.directory));
  ASSIGN_OR_RETURN(const VersionView version, FindVersion(*view, options));
  const PublishedObject& object = version.object;
  double all = 0.0;
  for (const auto& [site, distance] : object.moved) all += distance;
  std::vector<TableRow> rows = {{"contributor", "of round", "age", "weight", "moved", "share of all", "replaced"}};
  ordered_json contributors = ordered_json::array(), gone = ordered_json::array(), contents = ordered_json::object();
  for (const auto& [site, of_round] : object.contributors) {
    const auto weight = object.weights.find(site), moved = object.moved.find(site);
    const auto before = version.parent_contributors.find(site);
    const bool has_weight = weight != object.weights.end(), has_moved = moved != object.moved.end();
    const bool replaced = before != version.parent_contributors.end() && before->second != of_round;
    const double share = has_moved && all > 0.0 ? moved->second / all : 0.0;
    rows.push_back({Printable(view->NameOf(site)), absl::StrCat(of_round), absl::StrCat(object.round - of_round),
                    has_weight ? Number(weight->second) : "-", has_moved ? Number(moved->second) : "-",
                    has_moved ? absl::StrFormat("%.1f %%", 100.0 * share) : "-",
                    replaced ? absl::StrCat("round ", before->second) : "-"});
    contributors.push_back({{"site", view->NameOf(site)},
                            {"of_round", of_round},
                            {"age_rounds", object.round - of_round},
                            {"weight", has_weight ? ordered_json(weight->second) : ordered_json()},
                            {"moved", has_moved ? ordered_json(moved->second) : ordered_json()},
                            {"moved_share", has_moved ? ordered_json(share) : ordered_json()},
                            {"replaced_round", replaced ? ordered_json(before->second) : ordered_json()}});
  }
  std::vector<std::string> no_longer;
  for (const auto& [site, of_round] : version.parent_contributors)
    if (!object.contributors.contains(site)) no_longer.push_back(view->NameOf(site));
  for (const auto& [site, chunks] : object.per_site) contents[view->NameOf(site)] = ContentHash(chunks);
  if (options.json) {
    const std::string hash = HashOf(object);
    return WriteResult(JsonLine({{"run", version.run},
                                 {"round", object.round},
                                 {"parent", version.parent},
                                 {"time_ms", version.time_ms},
                                 {"total_weight", object.total_weight},
                                 {"values", object.chunks.values},
                                 {"content_sha256", hash.empty() ? ordered_json() : ordered_json(hash)},
                                 {"content_sha256_of_site", std::move(contents)},
                                 {"contributors", std::move(contributors)},
                                 {"no_longer", no_longer},
                                 {"record_sha256", version.record},
                                 {"adopted", version.adopted},
                                 {"refused", version.refused}}));
  }
  std::string text = absl::StrCat("round ", object.round, " of ", Printable(version.run), ", published ", TimeText(version.time_ms),
                                  ", ", version.parent > 0 ? absl::StrCat("after round ", version.parent) : "the first", "\n");
  if (object.per_site.empty()) absl::StrAppend(&text, "content ", HashOf(object), ", ", object.chunks.values, " values\n");
  for (const auto& [site, chunks] : object.per_site)
    absl::StrAppend(&text, "content of ", Printable(view->NameOf(site)), " ", ContentHash(chunks), ", ", chunks.values,
                    " values\n");
  absl::StrAppend(&text, "total weight ", Number(object.total_weight), "\n", AlignTable(rows));
  if (!no_longer.empty()) absl::StrAppend(&text, "no longer in it: ", Printable(absl::StrJoin(no_longer, ", ")), "\n");
  absl::StrAppend(&text, "record ", version.record, ", countersigned by ",
                  Printable(version.adopted.empty() ? "nobody" : absl::StrJoin(version.adopted, ", ")), "\n");
  for (const auto& [site, why] : version.refused)
    absl::StrAppend(&text, Printable(site), " did not adopt it: ", Printable(why), "\n");
  return WriteResult(text);
}

Status Pull(const ViewOptions& options) {
  ASSIGN_OR_RETURN(const auto view, RunView::Open(options.directory));
  ASSIGN_OR_RETURN(const VersionView version, FindVersion(*view, options));
  const PublishedObject& object = version.object;
  std::error_code error;
  if (fs::exists(options.out, error)) return OutputError(absl::StrCat(options.out, ": is there already; choose another --out"));
  const ChunkList* chunks = &object.chunks;
  if (object.per_site.empty() && !options.site.empty())
    return UsageError(absl::StrCat("round ", object.round, " published one sum for all sites; leave --site out"));
  if (!object.per_site.empty()) {
    std::vector<std::string> names;
    chunks = nullptr;
    for (const auto& [site, own] : object.per_site) {
      names.push_back(view->NameOf(site));
      if (names.back() == options.site) chunks = &own;
    }
    if (chunks == nullptr)
      return UsageError(absl::StrCat("round ", object.round,
                                     " published something else to each site; choose one by --site: ", absl::StrJoin(names, ", ")));
  }
  ASSIGN_OR_RETURN(const at::Tensor values, view->Values(version, *chunks, options.site));
  std::vector<std::string> contributors;
  for (const auto& [site, of_round] : object.contributors) contributors.push_back(absl::StrCat(view->NameOf(site), "@", of_round));
  std::map<std::string, std::string> metadata = {{"run", version.run},
                                                 {"round", absl::StrCat(object.round)},
                                                 {"total_weight", absl::StrFormat("%.17g", object.total_weight)},
                                                 {"contributors", absl::StrJoin(contributors, ",")},
                                                 {"content_sha256", ContentHash(*chunks)}};
  if (!options.site.empty()) metadata["site"] = options.site;
  RETURN_IF_ERROR(WriteSafetensors(options.out, {{"values", values}}, metadata));
  if (!options.json)
    return WriteResult(absl::StrCat("round ", object.round, ", ", values.numel(), " values, is in ", options.out, "\n"));
  return WriteResult(JsonLine({{"out", options.out},
                               {"run", version.run},
                               {"round", object.round},
                               {"site", options.site.empty() ? ordered_json() : ordered_json(options.site)},
                               {"values", values.numel()},
                               {"total_weight", object.total_weight},
                               {"contributors", std::move(contributors)},
                               {"content_sha256", ContentHash(*chunks)}}));
}

CLI::App* AddView(CLI::App& program, Command& command, const std::shared_ptr<ViewOptions>& options, const char* name,
                  const char* what, const char* examples, Status (*execute)(const ViewOptions&)) {
  CLI::App* const app = program.add_subcommand(name, what);
  app->add_option("dir", options->directory, "The server's directory, as server.yaml names it")
      ->required()
      ->type_name("SERVER_DIR");
  AddFormatOption(*app, options->json);
  app->footer(examples);
  app->callback([options, execute, &command] { command.run = [options, execute] { return execute(*options); }; });
  return app;
}

}  // namespace

void AddViewCommands(CLI::App& program, Command& command) {
  const auto options = std::make_shared<ViewOptions>();
  AddView(program, command, options, "status", "Where the run of a federation's server is", kStatusExamples, ShowStatus);
  CLI::App* const list =
      AddView(program, command, options, "list", "Tables of what a federation's server has recorded", kListExamples, List);
  std::vector<std::string> whats;
  for (const auto& [what, lister] : kListers) whats.push_back(what);
  list->add_option("--what", options->what, "Which table (default: versions)")
      ->check(CLI::IsMember(whats))
      ->type_name(absl::StrJoin(whats, "|"));
  CLI::App* const show =
      AddView(program, command, options, "show", "One published version: who is in it, and who signed it", kShowExamples, Show);
  CLI::App* const pull =
      AddView(program, command, options, "pull", "Write one published version as a safetensors file", kPullExamples, Pull);
  for (CLI::App* const app : {show, pull})
    app->add_option("version", options->version, "The round that published it, or latest")->required()->type_name("VERSION");
  pull->add_option("--out", options->out, "The file, which must not be there yet")->required()->type_name("FILE");
  pull->add_option("--site", options->site, "Whose, where each site reads its own")->type_name("NAME");
}

}  // namespace fedalt

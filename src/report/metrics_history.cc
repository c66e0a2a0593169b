#include "report/metrics_history.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <system_error>
#include <tuple>
#include <utility>

#include "base/file.h"
#include "base/strict_json.h"
#include "report/run_files.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const json* Find(const json& object, std::string_view name) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(name);
  return found == object.end() ? nullptr : &*found;
}

/// The number at "a" or "a.b"; NaN if there is none.
double NumberAt(const json& line, std::string_view path) {
  const size_t dot = path.find('.');
  const json* value = Find(line, path.substr(0, dot));
  if (value != nullptr && dot != path.npos) value = Find(*value, path.substr(dot + 1));
  return value != nullptr && value->is_number() ? value->get<double>() : kNotMeasured;
}

double NumberOrZero(const json& line, std::string_view name) {
  const double value = NumberAt(line, name);
  return value == value ? value : 0.0;
}

/// A number of a round, or 0; empty where there is something else.
std::optional<int64_t> RoundAt(const json& line, std::string_view name) {
  const json* value = Find(line, name);
  if (value == nullptr || !value->is_number_unsigned() || value->get<uint64_t>() > INT64_MAX) return std::nullopt;
  return value->get<int64_t>();
}

/// Orders adapted linears as a token meets them: by number of the layer ("model.layers.10.x" behind "model.layers.2.x"), then
/// attention before the rest.
std::tuple<std::string, int64_t, size_t, std::string> LayerKey(const std::string& name) {
  constexpr std::string_view kOrder[] = {"q_proj",    "k_proj",  "v_proj",        "query_key_value", "o_proj",       "dense",
                                         "gate_proj", "up_proj", "dense_h_to_4h", "down_proj",       "dense_4h_to_h"};
  constexpr size_t kLongestNumber = 9;
  const size_t begin = std::min(name.find_first_of("0123456789"), name.size());
  const size_t end = std::min(name.find_first_not_of("0123456789", begin), name.size());
  const std::string leaf = name.substr(name.rfind('.') + 1);
  const auto rank = static_cast<size_t>(std::find(std::begin(kOrder), std::end(kOrder), leaf) - std::begin(kOrder));
  int64_t number = 0;
  for (const char digit : name.substr(begin, std::min(end - begin, kLongestNumber))) number = 10 * number + (digit - '0');
  return {name.substr(0, begin), number, rank, name};
}

class Reader {
 public:
  Status Add(const json& line) {
    const json *round = Find(line, "round"), *site = Find(line, "site");
    if (round == nullptr || !round->is_number_integer() || site == nullptr || !site->is_string())
      return OutputError("it has no \"round\" and \"site\"");
    MetricsRound& place = RoundOf(round->get<int64_t>());
    const std::string name = site->get<std::string>();
    MetricsLine* target = &place.mean;
    if (name != "mean") {
      const size_t index = IndexOf(name);
      if (place.sites.size() <= index) place.sites.resize(index + 1);
      target = &place.sites[index];
    }
    Fill(line, *target);
    const double loss = NumberAt(line, "loss");
    place.evaluated = place.evaluated || loss == loss;
    lines_of_round_[name] = line;
    return absl::OkStatus();
  }

  MetricsHistory Finish() {
    EndRound();
    const size_t count = history_.sites.size();
    for (MetricsRound& round : history_.rounds) round.sites.resize(count);
    SortLayers();
    for (const std::string& site : history_.sites) history_.final_lines.push_back(FinalLine(site));
    history_.final_mean = FinalLine("mean");
    return std::move(history_);
  }

 private:
  MetricsRound& RoundOf(int64_t number) {
    if (history_.rounds.empty() || history_.rounds.back().round != number) {
      EndRound();
      history_.rounds.emplace_back();
      history_.rounds.back().round = number;
    }
    return history_.rounds.back();
  }

  /// An evaluated round takes the place of every earlier one; one that is not, only of its like.
  void EndRound() {
    if (history_.rounds.empty()) return;
    const MetricsRound& round = history_.rounds.back();
    if (round.evaluated || !any_evaluated_) {
      finals_ = std::move(lines_of_round_);
      history_.evaluated_round = round.round;
      any_evaluated_ = round.evaluated;
    }
    lines_of_round_.clear();
  }

  size_t IndexOf(const std::string& site) {
    const auto [place, is_new] = site_index_.try_emplace(site, history_.sites.size());
    if (is_new) history_.sites.push_back(site);
    return place->second;
  }

  void Fill(const json& line, MetricsLine& target) {
    for (size_t i = 0; i < kCurveFields.size(); ++i) target.curves[i] = NumberAt(line, kCurveFields[i]);
    target.bytes_up = NumberOrZero(line, "bytes_up");
    target.bytes_down = NumberOrZero(line, "bytes_down");
    const double rate = NumberOrZero(line, "tokens_per_s");
    target.train_seconds = rate > 0.0 ? NumberOrZero(line, "train_tokens") / rate : 0.0;
    const json* participated = Find(line, "participated");
    target.participated = participated != nullptr && *participated == true;
    target.counted_round = RoundAt(line, "counted_round");
    const json* mixer = Find(line, "mixer");
    if (mixer == nullptr || !mixer->is_object()) return;
    for (const auto& [layer, weight] : mixer->items()) {
      const size_t index = layer_index_.try_emplace(layer, layer_index_.size()).first->second;
      if (index == history_.layers.size()) history_.layers.push_back(layer);
      if (target.mixer.size() <= index) target.mixer.resize(index + 1, kNotMeasured);
      target.mixer[index] = weight.is_number() ? weight.get<double>() : kNotMeasured;
    }
  }

  void SortLayers() {
    std::vector<size_t> order(history_.layers.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::sort(order.begin(), order.end(),
              [this](size_t a, size_t b) { return LayerKey(history_.layers[a]) < LayerKey(history_.layers[b]); });
    std::vector<std::string> layers;
    layers.reserve(order.size());
    for (const size_t i : order) layers.push_back(history_.layers[i]);
    history_.layers = std::move(layers);
    const auto reorder = [&order](MetricsLine& line) {
      if (line.mixer.empty()) return;
      line.mixer.resize(order.size(), kNotMeasured);
      std::vector<double> sorted;
      sorted.reserve(order.size());
      for (const size_t i : order) sorted.push_back(line.mixer[i]);
      line.mixer = std::move(sorted);
    };
    for (MetricsRound& round : history_.rounds) {
      std::for_each(round.sites.begin(), round.sites.end(), reorder);
      reorder(round.mean);
    }
  }

  nlohmann::ordered_json FinalLine(const std::string& site) const {
    const auto found = finals_.find(site);
    return found == finals_.end() ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(found->second);
  }

  MetricsHistory history_;
  std::map<std::string, size_t> site_index_, layer_index_;
  std::map<std::string, json> lines_of_round_, finals_;
  bool any_evaluated_ = false;
};

}  // namespace

StatusOr<MetricsHistory> ReadMetrics(const fs::path& path) {
  std::error_code error;
  const std::string nothing =
      absl::StrCat(path.string(), ": no round of this run is recorded yet; let it go on with fedalt run --resume, then report it");
  if (!fs::exists(path, error)) return UsageError(nothing);
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, ErrorKind::kOutput));
  Reader reader;
  int64_t number = 0;
  for (size_t begin = 0, end; (end = text.find('\n', begin)) != text.npos; begin = end + 1) {
    ++number;
    const std::string line = RepairUtf8(std::string_view(text).substr(begin, end - begin));
    const StatusOr<json> parsed = ParseJson(line, {.kind = ErrorKind::kOutput, .first_line = number});
    const Status status = parsed.ok() ? Annotate(reader.Add(*parsed), absl::StrCat("line ", number)) : parsed.status();
    if (!status.ok())
      return OutputError(absl::StrCat(path.string(), ": is damaged (", status.message(), "); put the file of the run back"));
  }
  MetricsHistory history = reader.Finish();
  if (history.sites.empty()) return UsageError(nothing);
  return history;
}

}  // namespace fedalt

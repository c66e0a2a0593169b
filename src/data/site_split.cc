#include "data/site_split.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <utility>

#include "base/check.h"
#include "base/random.h"
#include "data/data_statistics.h"
#include "data/dirichlet.h"

namespace fedalt {
namespace {

using Places = std::vector<size_t>;

// First element of the path of a stream: what is drawn.
enum Draw : uint64_t { kDeal = 1, kShares, kOrder, kLimit, kTestTags, kTestLabels, kTestExamples, kDealTests };

template <typename... Words>
RandomStream Stream(uint64_t seed, Draw draw, Words... path) {
  return RandomStream(seed, RandomPurpose::kSiteSplit, {static_cast<uint64_t>(draw), static_cast<uint64_t>(path)...});
}

Places Shuffled(const Places& places, const RandomStream& stream) {
  const std::vector<int64_t> order = stream.Permutation(static_cast<int64_t>(places.size()));
  Places shuffled;
  shuffled.reserve(places.size());
  for (const int64_t i : order) shuffled.push_back(places[static_cast<size_t>(i)]);
  return shuffled;
}

/// Groups by a text of each example, in the order in which the texts first appear.
template <typename TextOf>
std::vector<std::pair<std::string, Places>> GroupBy(const Places& places, const TextOf& text_of) {
  std::vector<std::pair<std::string, Places>> groups;
  std::map<std::string, size_t, std::less<>> known;
  for (const size_t place : places) {
    const auto [it, is_new] = known.try_emplace(std::string(text_of(place)), groups.size());
    if (is_new) groups.emplace_back(it->first, Places());
    groups[it->second].second.push_back(place);
  }
  return groups;
}

/// In equal parts (sizes differ by one at most), at random.
std::vector<Places> Deal(const Places& places, int64_t parts, const RandomStream& stream) {
  std::vector<Places> dealt(static_cast<size_t>(parts));
  const Places shuffled = Shuffled(places, stream);
  for (size_t i = 0; i < shuffled.size(); ++i) dealt[i % dealt.size()].push_back(shuffled[i]);
  return dealt;
}

int64_t Size(const Places& places) {
  return static_cast<int64_t>(places.size());
}

class Splitter {
 public:
  Splitter(const std::vector<Example>& examples, const SplitOptions& options) : examples_(examples), options_(options) {
    min_examples_ = std::max<int64_t>(options.min_examples, options.test_share > 0.0 ? 2 : 1);
  }

  StatusOr<SiteSplit> Split() {
    if (options_.limit > 0 && options_.limit < min_examples_)
      return UsageError(absl::StrCat("--limit is ", options_.limit, " examples at a site, but each needs at least ", min_examples_,
                                     "; raise it or ask for fewer"));
    Places all(examples_.size());
    std::iota(all.begin(), all.end(), size_t{0});
    if (options_.rule == SplitRule::kTask) {
      RETURN_IF_ERROR(ByTask(all));
    } else {
      RETURN_IF_ERROR(CheckEnough("there are", Size(all), options_.sites));
      if (options_.rule == SplitRule::kLabel) ByLabel(all);
      if (options_.rule == SplitRule::kRandom) sites_ = Deal(all, options_.sites, Stream(options_.seed, kDeal, StableId("")));
    }
    if (options_.rule == SplitRule::kLabel) FillUp();
    split_.sites.resize(sites_.size());
    for (size_t k = 0; k < sites_.size(); ++k) {
      std::sort(sites_[k].begin(), sites_[k].end());
      Limit(k);
      HoldOutTests(k);
    }
    std::sort(split_.left_out.begin(), split_.left_out.end());
    return std::move(split_);
  }

 private:
  Status CheckEnough(const std::string& whose, int64_t there, int64_t sites) const {
    if (there / sites >= min_examples_) return absl::OkStatus();
    return UsageError(absl::StrCat(whose, " ", there, there == 1 ? " example" : " examples", " for ", sites,
                                   sites == 1 ? " site" : " sites", " of at least ", min_examples_,
                                   "; give more examples, or ask for fewer sites or fewer examples at each"));
  }

  Status ByTask(const Places& all) {
    const auto tasks = GroupBy(all, [&](size_t place) { return examples_[place].tag; });
    const int64_t sites = static_cast<int64_t>(tasks.size()) * options_.sites_per_task;
    if (options_.sites > 0 && options_.sites != sites)
      return UsageError(absl::StrCat("--sites is ", options_.sites, ", but ", tasks.size(), tasks.size() == 1 ? " task" : " tasks",
                                     " of ", options_.sites_per_task, options_.sites_per_task == 1 ? " site" : " sites",
                                     " each make ", sites, "; leave --sites out or correct one"));
    for (const auto& [task, places] : tasks) {
      RETURN_IF_ERROR(CheckEnough(absl::StrCat("task \"", task, "\" has"), Size(places), options_.sites_per_task));
      for (Places& part : Deal(places, options_.sites_per_task, Stream(options_.seed, kDeal, StableId(task)))) {
        sites_.push_back(std::move(part));
        split_.sites.emplace_back().task = task;
      }
    }
    return absl::OkStatus();
  }

  void ByLabel(const Places& all) {
    sites_.resize(static_cast<size_t>(options_.sites));
    for (const auto& [label, places] : GroupBy(all, [&](size_t place) { return LabelOf(examples_[place]); })) {
      const uint64_t key = StableId(label);
      std::vector<RandomStream> streams;
      for (size_t k = 0; k < sites_.size(); ++k) streams.push_back(Stream(options_.seed, kShares, key, k));
      const std::vector<int64_t> counts = ApportionShares(DirichletShares(streams, options_.alpha), Size(places));
      const Places shuffled = Shuffled(places, Stream(options_.seed, kOrder, key));
      auto from = shuffled.begin();
      for (size_t k = 0; k < sites_.size(); ++k) {
        sites_[k].insert(sites_[k].end(), from, from + counts[k]);
        from += counts[k];
      }
    }
  }

  /// The draw stands as it fell; what a site lacks comes from the largest site, from the label that it has most of. Drawing again
  /// until every site has enough would be another distribution than the one that is asked for, and may never end.
  void FillUp() {
    std::vector<size_t> labels(examples_.size());  // as numbers
    std::map<std::string, size_t> numbers;
    for (size_t i = 0; i < labels.size(); ++i) labels[i] = numbers.try_emplace(LabelOf(examples_[i]), numbers.size()).first->second;
    for (Places& site : sites_) {
      while (Size(site) < min_examples_) {
        Places& donor =
            *std::max_element(sites_.begin(), sites_.end(), [](const Places& a, const Places& b) { return a.size() < b.size(); });
        std::vector<int64_t> counts(numbers.size(), 0);
        for (const size_t place : donor) ++counts[labels[place]];
        const auto most = static_cast<size_t>(std::max_element(counts.begin(), counts.end()) - counts.begin());
        const auto given = std::find_if(donor.begin(), donor.end(), [&](size_t place) { return labels[place] == most; });
        site.push_back(*given);
        donor.erase(given);
        ++split_.moved;
      }
    }
  }

  void Limit(size_t k) {
    Places& site = sites_[k];
    if (options_.limit == 0 || Size(site) <= options_.limit) return;
    const Places shuffled = Shuffled(site, Stream(options_.seed, kLimit, k));
    site.assign(shuffled.begin(), shuffled.begin() + options_.limit);
    split_.left_out.insert(split_.left_out.end(), shuffled.begin() + options_.limit, shuffled.end());
    std::sort(site.begin(), site.end());
  }

  /// How many of `total` test examples each group gives.
  template <typename Groups>
  std::vector<int64_t> Shares(const Groups& groups, int64_t total, const RandomStream& stream) const {
    std::vector<int64_t> sizes;
    sizes.reserve(groups.size());
    for (const auto& [text, places] : groups) sizes.push_back(Size(places));
    return Apportion(sizes, total, stream.Permutation(static_cast<int64_t>(sizes.size())));
  }

  void HoldOutTests(size_t k) {
    SplitSite& site = split_.sites[k];
    const int64_t n = Size(sites_[k]);
    if (options_.test_share == 0.0) {
      site.train = std::move(sites_[k]);
      return;
    }
    const int64_t wanted = std::clamp<int64_t>(std::llround(options_.test_share * static_cast<double>(n)), 1, n - 1);
    const auto tags = GroupBy(sites_[k], [&](size_t place) { return examples_[place].tag; });
    const std::vector<int64_t> of_tags = Shares(tags, wanted, Stream(options_.seed, kTestTags, k));
    for (size_t t = 0; t < tags.size(); ++t) {
      const uint64_t tag = StableId(tags[t].first);
      const auto labels = GroupBy(tags[t].second, [&](size_t place) { return LabelOf(examples_[place]); });
      const std::vector<int64_t> of_labels = Shares(labels, of_tags[t], Stream(options_.seed, kTestLabels, k, tag));
      for (size_t l = 0; l < labels.size(); ++l) {
        const auto stream = Stream(options_.seed, kTestExamples, k, tag, StableId(labels[l].first));
        const Places shuffled = Shuffled(labels[l].second, stream);
        const auto border = shuffled.begin() + of_labels[l];
        site.test.insert(site.test.end(), shuffled.begin(), border);
        site.train.insert(site.train.end(), border, shuffled.end());
      }
    }
    std::sort(site.train.begin(), site.train.end());
    std::sort(site.test.begin(), site.test.end());
  }

  const std::vector<Example>& examples_;
  const SplitOptions& options_;
  int64_t min_examples_ = 1;
  std::vector<Places> sites_;
  SiteSplit split_;
};

/// Raises the parts with the largest remainders by one each until `total` is reached.
template <typename Remainder>
void GiveTheRest(std::vector<int64_t>& parts, std::vector<int64_t> order, int64_t total, const std::vector<Remainder>& remainders) {
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return remainders[static_cast<size_t>(a)] > remainders[static_cast<size_t>(b)]; });
  int64_t rest = total - std::accumulate(parts.begin(), parts.end(), int64_t{0});
  for (size_t i = 0; rest > 0; i = (i + 1) % order.size(), --rest) ++parts[static_cast<size_t>(order[i])];
}

}  // namespace

StatusOr<SiteSplit> SplitIntoSites(const std::vector<Example>& examples, const SplitOptions& options) {
  FEDALT_CHECK(options.rule == SplitRule::kTask || options.sites >= 1, "the number of sites is checked where it is read");
  FEDALT_CHECK(options.test_share >= 0.0 && options.test_share < 1.0 && options.sites_per_task >= 1 && options.limit >= 0,
               "options are checked where they are read");
  return Splitter(examples, options).Split();
}

Status DealTests(const std::vector<Example>& tests, uint64_t seed, SiteSplit& split) {
  std::map<std::string, std::vector<SplitSite*>> sites;
  for (SplitSite& site : split.sites) {
    site.test.clear();
    sites[site.task].push_back(&site);
  }
  Places all(tests.size());
  std::iota(all.begin(), all.end(), size_t{0});
  for (const auto& [task, places] : GroupBy(all, [&](size_t place) { return tests[place].tag; })) {
    const auto it = sites.find(task);
    if (it == sites.end())
      return DataError(absl::StrCat("task \"", task, "\" has ", places.size(),
                                    " test examples, but no training example; leave them out or add its training data"));
    const std::vector<Places> parts =
        Deal(places, static_cast<int64_t>(it->second.size()), Stream(seed, kDealTests, StableId(task)));
    for (size_t i = 0; i < parts.size(); ++i) {
      it->second[i]->test = parts[i];
      std::sort(it->second[i]->test.begin(), it->second[i]->test.end());
    }
  }
  for (const SplitSite& site : split.sites) {
    if (site.test.empty())
      return DataError(absl::StrCat("task \"", site.task, "\" has fewer test examples than its ", sites[site.task].size(),
                                    " sites; add some, or hold out a share by --test"));
  }
  return absl::OkStatus();
}

std::vector<int64_t> Apportion(const std::vector<int64_t>& sizes, int64_t total, const std::vector<int64_t>& priority) {
  const int64_t sum = std::accumulate(sizes.begin(), sizes.end(), int64_t{0});
  FEDALT_CHECK(total >= 0 && total <= sum && priority.size() == sizes.size(), "a part of the whole");
  std::vector<int64_t> parts, remainders;
  for (const int64_t size : sizes) {
    parts.push_back(sum == 0 ? 0 : size * total / sum);
    remainders.push_back(sum == 0 ? 0 : size * total % sum);
  }
  GiveTheRest(parts, priority, total, remainders);
  return parts;
}

std::vector<int64_t> ApportionShares(const std::vector<double>& shares, int64_t total) {
  std::vector<int64_t> parts, order(shares.size());
  std::vector<double> remainders;
  for (const double share : shares) {
    const double exact = share * static_cast<double>(total);
    parts.push_back(static_cast<int64_t>(std::floor(exact)));
    remainders.push_back(exact - std::floor(exact));
  }
  std::iota(order.begin(), order.end(), int64_t{0});
  GiveTheRest(parts, order, total, remainders);
  return parts;
}

}  // namespace fedalt

#include "run/site_files.h"

#include <utility>

#include "base/hash.h"
#include "base/random.h"
#include "data/remarks.h"

namespace fedalt {
namespace {

/// Takes the remarks on one site's data as notes of the run; without `notes` nobody wants them.
class SiteNotes {
 public:
  SiteNotes(std::string site, std::vector<std::string>* notes) : site_(std::move(site)), notes_(notes) {}

  bool wanted() const { return notes_ != nullptr; }
  void Add(const std::vector<std::string>& remarks) const {
    if (notes_ == nullptr) return;
    for (const std::string& remark : remarks) notes_->push_back(absl::StrCat("site ", site_, ": ", remark));
  }

 private:
  std::string site_;
  std::vector<std::string>* notes_;
};

/// One file's examples; what is to be said of them is added to `notes`.
StatusOr<std::vector<Example>> ReadNoted(const std::filesystem::path& file, const std::string& what, const FieldNames& fields,
                                         const SiteNotes& notes) {
  ReadReport report;
  ASSIGN_OR_RETURN(std::vector<Example> examples, ReadExamples(file, {.fields = fields}, &report));
  if (notes.wanted()) notes.Add(FileRemarks(file, what, examples, report));
  return examples;
}

int64_t BytesOf(const std::vector<TokenizedExample>& examples) {
  int64_t bytes = 0;
  for (const TokenizedExample& example : examples)
    bytes += static_cast<int64_t>(sizeof(example) + example.tokens.size() * sizeof(int32_t));
  return bytes;
}

int64_t BytesOf(const SiteData& site) {
  int64_t bytes = BytesOf(site.train) + BytesOf(site.validation) + 2 * BytesOf(site.test.tokenized);  // the prompts are part of it
  for (const Example& example : site.test.examples) {
    bytes += static_cast<int64_t>(sizeof(example) + example.instruction.size() + example.input.size() + example.output.size());
    for (const std::string& output : example.more_outputs) bytes += static_cast<int64_t>(sizeof(std::string) + output.size());
  }
  return bytes;
}

StatusOr<std::string> HashesOf(const SiteFiles& files) {
  std::string hashes;
  for (const auto& path : {files.train, files.validation, files.test}) {
    if (path.empty()) continue;
    ASSIGN_OR_RETURN(const std::string hash, Sha256OfFile(path));
    hashes += hash;
  }
  return hashes;
}

}  // namespace

StatusOr<std::shared_ptr<const SiteFilesSource>> SiteFilesSource::Open(const RunConfig& config,
                                                                       std::shared_ptr<const Tokenizer> tokenizer,
                                                                       std::vector<std::string>& notes, int64_t resident_bytes) {
  ASSIGN_OR_RETURN(PromptTemplate prompt_template, PromptTemplate::Named(config.prompt_template));
  std::shared_ptr<SiteFilesSource> source(new SiteFilesSource(config, std::move(tokenizer), std::move(prompt_template)));
  WorkMeter meter(config);
  for (size_t k = 0; k < config.sites.size(); ++k) {
    ASSIGN_OR_RETURN(SiteData data, source->Read(k, &notes));
    meter.Add(data);
    source->infos_.push_back({data.name, static_cast<int64_t>(data.train.size())});
    source->resident_.emplace_back();
    source->hashes_.emplace_back();
    if (const int64_t bytes = BytesOf(data); bytes <= resident_bytes) {
      resident_bytes -= bytes;
      source->resident_.back() = std::make_shared<const SiteData>(std::move(data));
    } else {
      ASSIGN_OR_RETURN(source->hashes_.back(), HashesOf(config.sites[k]));
    }
  }
  source->work_ = meter.Sizes();
  return source;
}

StatusOr<std::shared_ptr<const SiteData>> SiteFilesSource::Load(size_t site) const {
  if (resident_[site]) return resident_[site];
  ASSIGN_OR_RETURN(const std::string hashes, HashesOf(config_.sites[site]));
  if (hashes != hashes_[site])
    return DataError(absl::StrCat("the data of site ", infos_[site].name, " (", config_.sites[site].train.string(),
                                  ") have changed since the run began; put the old files back and resume"));
  ASSIGN_OR_RETURN(SiteData data, Read(site, nullptr));
  return std::make_shared<const SiteData>(std::move(data));
}

StatusOr<SiteData> SiteFilesSource::Read(size_t index, std::vector<std::string>* notes) const {
  const SiteFiles& files = config_.sites[index];
  SiteData site;
  site.name = files.name;
  const SiteNotes to(site.name, notes);
  ASSIGN_OR_RETURN(std::vector<Example> examples, ReadNoted(files.train, "training", files.fields, to));
  TrainValidationSplit split;
  if (!files.validation.empty()) {
    ASSIGN_OR_RETURN(split.validation, ReadNoted(files.validation, "validation", files.fields, to));
    split.train = std::move(examples);
  } else {
    split = SplitValidation(std::move(examples), config_.validation, config_.federation.seed, SiteAddress(files.name));
  }
  if (split.train.empty())
    return DataError(
        absl::StrCat(files.train.string(), ": nothing is left to train on after the validation share; lower `validation`"));
  ASSIGN_OR_RETURN(std::vector<Example> test, ReadNoted(files.test, "test", files.fields, to));
  if (to.wanted()) {
    to.Add(OverlapRemarks("validation", split.validation, split.train));
    to.Add(OverlapRemarks("test", test, split.train));
  }
  const TokenizeOptions options{config_.max_length, config_.too_long};
  const auto tokenize = [&](const std::vector<Example>& from, const std::filesystem::path& path,
                            const std::string& what) -> StatusOr<std::vector<TokenizedExample>> {
    TokenizeReport report;
    auto tokenized = TokenizeForTraining(from, *tokenizer_, prompt_template_, options, &report);
    if (!tokenized.ok()) return Annotate(tokenized.status(), path.string());
    to.Add(TokenRemarks(what, report, options));
    if (tokenized->empty() && !from.empty())
      return DataError(absl::StrCat(path.string(), ": every ", what, " answer fills train.max_length ", options.max_length,
                                    ", and train.too_long is skip; raise the one or change the other"));
    return tokenized;
  };
  ASSIGN_OR_RETURN(site.train, tokenize(split.train, files.train, "training"));
  ASSIGN_OR_RETURN(site.validation,
                   tokenize(split.validation, files.validation.empty() ? files.train : files.validation, "validation"));
  EvalOptions eval = config_.federation.eval.options;
  eval.max_length = options.max_length;
  eval.too_long = options.too_long;
  TokenizeReport report;
  auto set = MakeEvalSet(std::move(test), *tokenizer_, prompt_template_, eval, &report);
  if (!set.ok()) return Annotate(set.status(), files.test.string());
  site.test = std::move(set).value();
  to.Add(TokenRemarks("test", report, options));
  return site;
}

}  // namespace fedalt

#include "text/tokenizer.h"

#include <system_error>

#include "base/file.h"
#include "text/loaders.h"

namespace fedalt {
namespace {

constexpr size_t kFileLimitBytes = size_t{256} << 20;

bool Exists(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::is_regular_file(path, error);
}

using Loaded = StatusOr<std::shared_ptr<const Tokenizer>>;

Loaded Named(const std::filesystem::path& path, Loaded loaded) {
  if (!loaded.ok()) return Annotate(loaded.status(), path.string());
  return loaded;
}

Loaded LoadPair(const std::filesystem::path& directory, const SpecialTokens& special) {
  const std::filesystem::path vocab_path = directory / "vocab.json", merges_path = directory / "merges.txt";
  ASSIGN_OR_RETURN(const std::string vocab, ReadFile(vocab_path, ErrorKind::kModel, kFileLimitBytes));
  ASSIGN_OR_RETURN(const std::string merges, ReadFile(merges_path, ErrorKind::kModel, kFileLimitBytes));
  return Named(directory, LoadVocabAndMerges(vocab, merges, special));
}

}  // namespace

StatusOr<std::shared_ptr<const Tokenizer>> Tokenizer::Load(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::path file = path, directory = path;
  if (std::filesystem::is_directory(path, error)) {
    file = path / "tokenizer.json";
    if (!Exists(file)) file = path / "tokenizer.model";
    if (!Exists(file)) file = path / "vocab.json";
    if (!Exists(file)) {
      return ModelError(absl::StrCat(
          path.string(), ": holds no tokenizer; expected tokenizer.json, tokenizer.model, or vocab.json ", "with merges.txt"));
    }
  } else {
    directory = path.parent_path();
  }
  ASSIGN_OR_RETURN(const SpecialTokens special, SpecialTokens::Read(directory));
  if (file.filename() == "vocab.json" || file.filename() == "merges.txt") return LoadPair(directory, special);
  if (file.extension() != ".json" && file.extension() != ".model")
    return ModelError(
        absl::StrCat(file.string(), ": is no kind of tokenizer file that is known; expected a .json or a .model file"));
  ASSIGN_OR_RETURN(const std::string bytes, ReadFile(file, ErrorKind::kModel, kFileLimitBytes));
  return Named(file, file.extension() == ".json" ? LoadTokenizerJson(bytes, special) : LoadSentencePiece(bytes, special));
}

}  // namespace fedalt

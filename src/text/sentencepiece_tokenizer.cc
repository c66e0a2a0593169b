// tokenizer.model of SentencePiece, model type BPE: the pair whose merged piece has the best score is merged first, the leftmost of
// equal ones. Decoding follows SentencePieceProcessor::Decode, which drops control pieces.
#include <absl/strings/str_replace.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <queue>
#include <utility>

#include "text/added_tokens.h"
#include "text/json_reader.h"
#include "text/loaders.h"
#include "text/sentencepiece_model.h"
#include "text/sentencepiece_normalizer.h"
#include "text/token_model.h"
#include "text/utf8.h"

namespace fedalt {
namespace {

constexpr char kSpaceText[] = "\xE2\x96\x81";
constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

struct Symbol {
  std::string_view text;  // empty: merged into the symbol before it
  int previous, next;     // -1 at the ends
  bool frozen;            // a user-defined piece, never merged
};

struct Candidate {
  float score;
  int left, right;
  size_t size;
  bool operator<(const Candidate& other) const {  // the top of the queue is the largest
    return score != other.score ? score < other.score : left > other.left;
  }
};

/// Pairs that made a piece which is not for use in the output.
using UnusedMerges = std::unordered_map<std::string_view, std::pair<std::string_view, std::string_view>>;

class SentencePieceTokenizer : public Tokenizer {
 public:
  static StatusOr<std::shared_ptr<const Tokenizer>> Make(SentencePieceModel model, const SpecialTokens& special);

  StatusOr<std::vector<int32_t>> Encode(std::string_view text, bool add_special_tokens) const override;
  std::string Decode(std::span<const int32_t> ids, bool skip_special_tokens) const override;
  std::vector<int32_t> front_ids() const override { return add_bos_ && bos_id_ ? std::vector{*bos_id_} : std::vector<int32_t>(); }
  int32_t vocab_size() const override { return std::max(base_vocab_size(), added_.largest_id() + 1); }
  int32_t base_vocab_size() const override { return static_cast<int32_t>(pieces_.size()); }
  std::optional<int32_t> IdOf(std::string_view token) const override;
  std::optional<int32_t> bos_id() const override { return bos_id_; }
  std::optional<int32_t> eos_id() const override { return eos_id_; }

 private:
  Status AddPieces(std::vector<SentencePieceEntry> pieces);
  Status CheckPieces(bool byte_fallback) const;
  Status AddTokens(const SentencePieceModel& model, SpecialTokens& special);
  void FindSpecial(const SentencePieceModel& model, const SpecialTokens& special);
  void EncodePart(const Segment& part, std::vector<int32_t>& ids) const;
  std::vector<Symbol> Split(std::string_view normalized) const;
  void MergeAll(std::vector<Symbol>& symbols, UnusedMerges& unused) const;
  void Emit(std::string_view text, const UnusedMerges& unused, bool& after_unknown, std::vector<int32_t>& ids) const;
  PieceType TypeOf(int32_t id) const { return pieces_[static_cast<size_t>(id)].type; }
  std::optional<int32_t> PieceOf(std::string_view token) const;
  int32_t PieceToId(std::string_view text) const { return PieceOf(text).value_or(unknown_id_); }
  static void FlushBytes(std::string& bytes, std::string& text);

  std::vector<SentencePieceEntry> pieces_;
  StringMap<int32_t> mergeable_;  // normal, user-defined and unused pieces
  StringMap<int32_t> reserved_;   // unknown, control and byte pieces
  std::array<int32_t, 256> byte_ids_;
  size_t longest_piece_ = 0;
  int32_t unknown_id_ = -1;
  bool byte_fallback_ = false, strips_first_space_ = true, removes_extra_spaces_ = true;
  std::string unknown_surface_;
  LiteralMatcher user_defined_;
  SentencePieceNormalizer normalizer_;
  AddedTokens added_;
  bool legacy_ = false;
  std::optional<int32_t> bos_id_, eos_id_;
  bool add_bos_ = true, add_eos_ = false;
};

/// The byte of a piece "<0xAB>", or -1.
int ByteOf(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || !text.ends_with('>')) return -1;
  int value = 0;
  for (char c : text.substr(3, 2)) {
    const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

Status SentencePieceTokenizer::AddPieces(std::vector<SentencePieceEntry> pieces) {
  pieces_ = std::move(pieces);
  byte_ids_.fill(-1);
  for (size_t i = 0; i < pieces_.size(); ++i) {
    const SentencePieceEntry& piece = pieces_[i];
    const int32_t id = static_cast<int32_t>(i);
    if (piece.text.empty() || FirstInvalidUtf8(piece.text) || std::isnan(piece.score))
      return ModelError(
          absl::StrCat("piece ", i, " is empty, not valid UTF-8 or without a score; the file is broken, fetch it again"));
    const bool reserved = piece.type == PieceType::kUnknown || piece.type == PieceType::kControl || piece.type == PieceType::kByte;
    if (!(reserved ? reserved_ : mergeable_).emplace(piece.text, id).second)
      return ModelError(absl::StrCat("piece ", i, " '", Shown(piece.text), "' occurs twice; every piece needs a text of its own"));
    if (piece.type == PieceType::kUnknown) {
      if (unknown_id_ >= 0)
        return ModelError(absl::StrCat("pieces ", unknown_id_, " and ", i, " both stand for the unknown; one may"));
      unknown_id_ = id;
    }
    if (piece.type == PieceType::kByte) {
      const int byte = ByteOf(piece.text);
      if (byte < 0)
        return ModelError(absl::StrCat("piece ", i, " '", Shown(piece.text), "' is no byte; expected a text such as <0x0A>"));
      byte_ids_[static_cast<size_t>(byte)] = id;
    }
    if (piece.type == PieceType::kUserDefined) user_defined_.Add(piece.text, id);
    if (!reserved) longest_piece_ = std::max(longest_piece_, piece.text.size());
  }
  user_defined_.Freeze();
  return absl::OkStatus();
}

Status SentencePieceTokenizer::CheckPieces(bool byte_fallback) const {
  if (pieces_.empty() || unknown_id_ < 0)
    return ModelError("is not a SentencePiece model: it has no piece for the unknown; the file may be truncated, fetch it again");
  for (size_t byte = 0; byte < 256; ++byte) {
    if (byte_fallback != (byte_ids_[byte] >= 0)) {
      return ModelError(absl::StrCat("byte_fallback is ", byte_fallback ? "on" : "off", ", but the piece for byte ", byte, " is ",
                                     byte_fallback ? "absent" : "there", "; the file is broken, fetch it again"));
    }
  }
  return absl::OkStatus();
}

/// The tokens of the files beside the model, and its own special pieces where such files speak of tokens at all.
Status SentencePieceTokenizer::AddTokens(const SentencePieceModel& model, SpecialTokens& special) {
  if (!special.has_files) return absl::OkStatus();
  for (const auto& [key, piece] : {std::pair("bos_token", model.bos_piece), std::pair("eos_token", model.eos_piece),
                                   std::pair("unk_token", pieces_[static_cast<size_t>(unknown_id_)].text)})
    if (reserved_.contains(piece)) special.SetDefault(key, piece);
  StringMap<int32_t> ids = mergeable_;
  ids.insert(reserved_.begin(), reserved_.end());
  ASSIGN_OR_RETURN(const std::unique_ptr<Normalizer> none, MakeNormalizer(Json()));
  ASSIGN_OR_RETURN(added_, AddedTokens::Make(special.Joined({}), Vocabulary::Of(std::move(ids)), *none));
  for (std::string& moved : special.MovedIds(added_)) special.notes.push_back(std::move(moved));
  return absl::OkStatus();
}

void SentencePieceTokenizer::FindSpecial(const SentencePieceModel& model, const SpecialTokens& special) {
  const auto in_range = [&](std::optional<int32_t> id) { return id && *id < base_vocab_size() ? id : std::nullopt; };
  const auto find = [&](const std::optional<std::string>& named, std::optional<int32_t> numbered, const std::string& own) {
    std::optional<int32_t> id = named ? IdOf(*named) : std::nullopt;
    if (!id) id = IdOf(own);
    if (id && !named && TypeOf(*id) != PieceType::kControl) id.reset();
    return id ? id : in_range(numbered);
  };
  bos_id_ = find(special.Name("bos_token"), special.bos_id, model.bos_piece);
  eos_id_ = find(special.Name("eos_token"), special.eos_id, model.eos_piece);
  add_bos_ = special.add_bos_token.value_or(true);
  add_eos_ = special.add_eos_token.value_or(false);
}

StatusOr<std::shared_ptr<const Tokenizer>> SentencePieceTokenizer::Make(SentencePieceModel model, const SpecialTokens& special) {
  constexpr std::array<const char*, 5> kTypes = {"of an unknown kind", "unigram", "BPE", "word", "char"};
  if (model.model_type != 2) {
    const size_t type = model.model_type > 0 && model.model_type < 5 ? static_cast<size_t>(model.model_type) : 0;
    return ModelError(absl::StrCat("the SentencePiece model is ", kTypes[type],
                                   ", which is not supported; BPE is (Llama, Mistral). ",
                                   "Use the model's tokenizer.json if it has one of type BPE"));
  }
  if (model.has_denormalizer)
    return ModelError("the SentencePiece model changes decoded text (denormalizer_spec), which is not supported");
  if (model.pieces.size() >= static_cast<size_t>(kIdLimit))
    return ModelError(
        absl::StrCat("the SentencePiece model has ", model.pieces.size(), " pieces, fewer than ", kIdLimit, " are accepted"));
  model.add_dummy_prefix = special.add_prefix_space.value_or(model.add_dummy_prefix);
  auto tokenizer = std::make_shared<SentencePieceTokenizer>();
  RETURN_IF_ERROR(tokenizer->AddPieces(std::move(model.pieces)));
  RETURN_IF_ERROR(tokenizer->CheckPieces(model.byte_fallback));
  ASSIGN_OR_RETURN(tokenizer->normalizer_, SentencePieceNormalizer::Make(model, tokenizer->user_defined_));
  tokenizer->byte_fallback_ = model.byte_fallback;
  tokenizer->strips_first_space_ = model.add_dummy_prefix || model.remove_extra_whitespaces;
  tokenizer->removes_extra_spaces_ = model.remove_extra_whitespaces;
  tokenizer->unknown_surface_ = model.unk_surface;
  SpecialTokens told = special;
  RETURN_IF_ERROR(tokenizer->AddTokens(model, told));
  tokenizer->FindSpecial(model, special);
  tokenizer->legacy_ = special.legacy;
  tokenizer->model_ids_ = special.model_ids;
  tokenizer->notes_ = std::move(told.notes);
  return tokenizer;
}

std::optional<int32_t> SentencePieceTokenizer::IdOf(std::string_view token) const {
  if (const std::optional<int32_t> id = added_.IdOf(token)) return id;
  return PieceOf(token);
}

std::optional<int32_t> SentencePieceTokenizer::PieceOf(std::string_view token) const {
  for (const StringMap<int32_t>* map : {&reserved_, &mergeable_})
    if (const auto found = map->find(token); found != map->end()) return found->second;
  return std::nullopt;
}

std::vector<Symbol> SentencePieceTokenizer::Split(std::string_view normalized) const {
  std::vector<Symbol> symbols;
  symbols.reserve(normalized.size());
  while (!normalized.empty()) {
    const LiteralMatcher::Literal* literal = user_defined_.LongestAt(normalized, 0);
    const size_t length = literal ? literal->text.size() : ReadUtf8(normalized).length;
    const int index = static_cast<int>(symbols.size());
    symbols.push_back({normalized.substr(0, length), index - 1, index + 1, literal != nullptr});
    normalized.remove_prefix(length);
  }
  if (!symbols.empty()) symbols.back().next = -1;
  return symbols;
}

void SentencePieceTokenizer::MergeAll(std::vector<Symbol>& symbols, UnusedMerges& unused) const {
  std::priority_queue<Candidate> queue;
  const auto at = [&](int index) -> Symbol& { return symbols[static_cast<size_t>(index)]; };
  const auto consider = [&](int left, int right) {
    if (left < 0 || right < 0 || at(left).frozen || at(right).frozen) return;
    const size_t size = at(left).text.size() + at(right).text.size();
    if (size > longest_piece_) return;
    const std::string_view merged(at(left).text.data(), size);  // neighbours are adjacent in the text
    const auto found = mergeable_.find(merged);
    if (found == mergeable_.end()) return;
    const SentencePieceEntry& piece = pieces_[static_cast<size_t>(found->second)];
    queue.push({piece.score, left, right, size});
    if (piece.type == PieceType::kUnused) unused[merged] = {at(left).text, at(right).text};
  };
  for (int i = 1; i < static_cast<int>(symbols.size()); ++i) consider(i - 1, i);
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    Symbol &left = at(top.left), &right = at(top.right);
    // The pair may be gone or may have grown since it was queued.
    if (left.text.empty() || right.text.empty() || left.text.size() + right.text.size() != top.size) continue;
    left.text = std::string_view(left.text.data(), top.size);
    left.next = right.next;
    if (right.next >= 0) at(right.next).previous = top.left;
    right.text = std::string_view();
    consider(left.previous, top.left);
    consider(top.left, left.next);
  }
}

/// Appends the ids of a symbol. A piece that is not for use is taken apart into what it was merged from.
void SentencePieceTokenizer::Emit(std::string_view whole, const UnusedMerges& unused, bool& after_unknown,
                                  std::vector<int32_t>& ids) const {
  std::vector<std::string_view> waiting = {whole};
  while (!waiting.empty()) {
    const std::string_view text = waiting.back();
    waiting.pop_back();
    const int32_t id = PieceToId(text);
    if (TypeOf(id) == PieceType::kUnused) {
      if (const auto parts = unused.find(text); parts != unused.end()) {
        waiting.push_back(parts->second.second);
        waiting.push_back(parts->second.first);
        continue;
      }
    }
    const bool is_unknown = id == unknown_id_;
    if (is_unknown && byte_fallback_) {
      for (unsigned char byte : text) ids.push_back(byte_ids_[byte]);
    } else if (!(is_unknown && after_unknown)) {  // a run of unknown pieces is one
      ids.push_back(id);
    }
    after_unknown = is_unknown;
  }
}

StatusOr<std::vector<int32_t>> SentencePieceTokenizer::Encode(std::string_view text, bool add_special_tokens) const {
  if (const std::optional<size_t> at = FirstInvalidUtf8(text))
    return DataError(absl::StrCat("the text to encode is not valid UTF-8 at byte ", *at, "; convert it to UTF-8"));
  if (text.size() > (size_t{1} << 28)) return DataError(absl::StrCat("the text to encode has ", text.size(), " bytes; split it"));
  std::vector<int32_t> ids;
  if (add_special_tokens && add_bos_ && bos_id_) ids.push_back(*bos_id_);
  for (const Segment& raw : added_.Split(text, /*at_start=*/true, /*normalized=*/false)) {
    if (raw.id) {
      ids.push_back(*raw.id);
      continue;
    }
    for (const Segment& part : added_.Split(raw.text, raw.at_start, /*normalized=*/true)) EncodePart(part, ids);
  }
  if (add_special_tokens && add_eos_ && eos_id_) ids.push_back(*eos_id_);
  return ids;
}

void SentencePieceTokenizer::EncodePart(const Segment& part, std::vector<int32_t>& ids) const {
  if (part.id) return ids.push_back(*part.id);
  const std::string normalized = normalizer_.Apply(part.text, part.at_start || legacy_);
  std::vector<Symbol> symbols = Split(normalized);
  UnusedMerges unused;
  MergeAll(symbols, unused);
  bool after_unknown = false;
  for (const Symbol& symbol : symbols)
    if (!symbol.text.empty()) Emit(symbol.text, unused, after_unknown, ids);
}

/// Bytes to text, U+FFFD for every byte that belongs to no character.
void SentencePieceTokenizer::FlushBytes(std::string& bytes, std::string& text) {
  for (size_t i = 0; i < bytes.size();) {
    const Utf8Step step = ReadUtf8(std::string_view(bytes).substr(i));
    if (step.valid) {
      text.append(bytes, i, step.length);
      i += step.length;
    } else {
      text += kReplacement;
      ++i;
    }
  }
  bytes.clear();
}

std::string SentencePieceTokenizer::Decode(std::span<const int32_t> ids, bool skip_special_tokens) const {
  std::string text, bytes;
  bool at_start = true;     // a space symbol here came from the prefix that encoding adds
  bool start_seen = false;  // that symbol was there
  for (int32_t id : ids) {
    if (const AddedToken* token = added_.TokenOf(id)) {
      if (skip_special_tokens && token->special) continue;
      FlushBytes(bytes, text);
      text += token->content;
      continue;
    }
    if (id < 0 || id >= base_vocab_size()) continue;
    const SentencePieceEntry& piece = pieces_[static_cast<size_t>(id)];
    if (skip_special_tokens && (piece.type == PieceType::kControl || piece.type == PieceType::kUnknown)) continue;
    if (piece.type == PieceType::kByte) {
      bytes.push_back(static_cast<char>(static_cast<unsigned char>(ByteOf(piece.text))));
      continue;
    }
    FlushBytes(bytes, text);
    if (start_seen || !text.empty()) at_start = false;
    start_seen = false;
    if (piece.type == PieceType::kControl) continue;
    if (piece.type == PieceType::kUnknown) {
      text += unknown_surface_;
      continue;
    }
    std::string_view rest = piece.text;
    if (at_start && strips_first_space_ && rest.starts_with(kSpaceSymbol)) {
      rest.remove_prefix(kSpaceSymbol.size());
      start_seen = !removes_extra_spaces_;  // all spaces at the start go if encoding removes them
    }
    text += absl::StrReplaceAll(std::string(rest), {{kSpaceText, " "}});
  }
  FlushBytes(bytes, text);
  return text;
}

}  // namespace

StatusOr<std::shared_ptr<const Tokenizer>> LoadSentencePiece(std::string_view bytes, const SpecialTokens& special) {
  ASSIGN_OR_RETURN(SentencePieceModel model, SentencePieceModel::Parse(bytes));
  return SentencePieceTokenizer::Make(std::move(model), special);
}

}  // namespace fedalt

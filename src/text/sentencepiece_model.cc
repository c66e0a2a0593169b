#include "text/sentencepiece_model.h"

#include <bit>
#include <functional>
#include <utility>

#include "text/utf8.h"

namespace fedalt {
namespace {

struct Field {
  uint64_t number = 0;
  uint64_t value = 0;      // of a varint or a fixed number
  std::string_view bytes;  // of a length-delimited field
  int wire_type = 0;
};

constexpr int kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5;

Status Broken(std::string_view what) {
  return ModelError(
      absl::StrCat("is not a SentencePiece model: ", std::string(what), "; the file may be truncated, fetch it again"));
}

class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}
  bool AtEnd() const { return rest_.empty(); }

  StatusOr<Field> Next() {
    ASSIGN_OR_RETURN(const uint64_t key, Varint());
    Field field;
    field.number = key >> 3;
    field.wire_type = static_cast<int>(key & 7);
    if (field.number == 0) return Broken("a field has the number 0");
    switch (field.wire_type) {
      case kVarint: {
        ASSIGN_OR_RETURN(field.value, Varint());
        return field;
      }
      case kFixed64: {
        ASSIGN_OR_RETURN(field.value, Fixed(8));
        return field;
      }
      case kFixed32: {
        ASSIGN_OR_RETURN(field.value, Fixed(4));
        return field;
      }
      case kBytes: {
        ASSIGN_OR_RETURN(const uint64_t length, Varint());
        if (length > rest_.size())
          return Broken(absl::StrCat("field ", field.number, " claims ", length, " bytes where ", rest_.size(), " are left"));
        field.bytes = rest_.substr(0, static_cast<size_t>(length));
        rest_.remove_prefix(static_cast<size_t>(length));
        return field;
      }
      default:
        return Broken(absl::StrCat("field ", field.number, " has the wire type ", field.wire_type));
    }
  }

 private:
  StatusOr<uint64_t> Varint() {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
      if (rest_.empty()) return Broken("it ends within a number");
      const auto byte = static_cast<unsigned char>(rest_[0]);
      rest_.remove_prefix(1);
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    return Broken("a number has more than ten bytes");
  }
  StatusOr<uint64_t> Fixed(size_t size) {
    if (rest_.size() < size) return Broken("it ends within a number");
    uint64_t value = 0;
    for (size_t i = 0; i < size; ++i) value |= static_cast<uint64_t>(static_cast<unsigned char>(rest_[i])) << (8 * i);
    rest_.remove_prefix(size);
    return value;
  }

  std::string_view rest_;
};

/// Calls `take` for every field. A known field of the wrong wire type is an error that `take` reports by Expect.
Status ForEachField(std::string_view bytes, const std::function<Status(const Field&)>& take) {
  Reader reader(bytes);
  while (!reader.AtEnd()) {
    ASSIGN_OR_RETURN(const Field field, reader.Next());
    RETURN_IF_ERROR(take(field));
  }
  return absl::OkStatus();
}

Status Expect(const Field& field, int wire_type) {
  if (field.wire_type == wire_type) return absl::OkStatus();
  return Broken(absl::StrCat("field ", field.number, " has the wire type ", field.wire_type, ", expected ", wire_type));
}

Status Take(const Field& field, std::string& target) {
  RETURN_IF_ERROR(Expect(field, kBytes));
  target = std::string(field.bytes);
  return absl::OkStatus();
}

Status Take(const Field& field, bool& target) {
  RETURN_IF_ERROR(Expect(field, kVarint));
  target = field.value != 0;
  return absl::OkStatus();
}

StatusOr<SentencePieceEntry> ParsePiece(std::string_view bytes) {
  SentencePieceEntry piece;
  const auto take = [&](const Field& field) -> Status {
    switch (field.number) {
      case 1:
        return Take(field, piece.text);
      case 2:
        RETURN_IF_ERROR(Expect(field, kFixed32));
        piece.score = std::bit_cast<float>(static_cast<uint32_t>(field.value));
        return absl::OkStatus();
      case 3:
        RETURN_IF_ERROR(Expect(field, kVarint));
        if (field.value < 1 || field.value > 6)
          return Broken(absl::StrCat("a piece has the type ", field.value, ", expected 1 to 6"));
        piece.type = static_cast<PieceType>(field.value);
        return absl::OkStatus();
      default:
        return absl::OkStatus();
    }
  };
  RETURN_IF_ERROR(ForEachField(bytes, take));
  return piece;
}

Status ParseTrainerSpec(std::string_view bytes, SentencePieceModel& model) {
  return ForEachField(bytes, [&](const Field& field) -> Status {
    switch (field.number) {
      case 3:
        RETURN_IF_ERROR(Expect(field, kVarint));
        model.model_type = static_cast<int64_t>(field.value);
        return absl::OkStatus();
      case 24:
        return Take(field, model.whitespace_as_suffix);
      case 35:
        return Take(field, model.byte_fallback);
      case 44:
        return Take(field, model.unk_surface);
      case 45:
        return Take(field, model.unk_piece);
      case 46:
        return Take(field, model.bos_piece);
      case 47:
        return Take(field, model.eos_piece);
      default:
        return absl::OkStatus();
    }
  });
}

Status ParseNormalizerSpec(std::string_view bytes, SentencePieceModel& model) {
  return ForEachField(bytes, [&](const Field& field) -> Status {
    switch (field.number) {
      case 2:
        return Take(field, model.precompiled_charsmap);
      case 3:
        return Take(field, model.add_dummy_prefix);
      case 4:
        return Take(field, model.remove_extra_whitespaces);
      case 5:
        return Take(field, model.escape_whitespaces);
      default:
        return absl::OkStatus();
    }
  });
}

}  // namespace

StatusOr<SentencePieceModel> SentencePieceModel::Parse(std::string_view bytes) {
  SentencePieceModel model;
  const auto take = [&](const Field& field) -> Status {
    if (field.number < 1 || field.number > 5) return absl::OkStatus();
    RETURN_IF_ERROR(Expect(field, kBytes));
    if (field.number == 1) {
      ASSIGN_OR_RETURN(SentencePieceEntry piece, ParsePiece(field.bytes));
      model.pieces.push_back(std::move(piece));
    } else if (field.number == 2) {
      return ParseTrainerSpec(field.bytes, model);
    } else if (field.number == 3) {
      return ParseNormalizerSpec(field.bytes, model);
    } else if (field.number == 5) {
      SentencePieceModel denormalizer;
      RETURN_IF_ERROR(ParseNormalizerSpec(field.bytes, denormalizer));
      model.has_denormalizer = !denormalizer.precompiled_charsmap.empty();
    }
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(ForEachField(bytes, take));
  if (FirstInvalidUtf8(model.unk_surface)) return Broken("its text for unknown pieces is not valid UTF-8");
  return model;
}

}  // namespace fedalt

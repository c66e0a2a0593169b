#include "model/safetensors_header.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/strict_json.h"

namespace fedalt {
namespace {

using Json = nlohmann::json;

static_assert(std::endian::native == std::endian::little, "safetensors data are little-endian and are used as they lie");

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the limit of the original library
constexpr size_t kMaxDimensions = 64;

Status Error(std::string_view message) {
  return ModelError(absl::StrCat("not a valid safetensors file: ", std::string(message)));
}

struct DtypeName {
  std::string_view name;
  at::ScalarType dtype;
};
constexpr DtypeName kDtypes[] = {{"F64", at::kDouble}, {"F32", at::kFloat}, {"F16", at::kHalf},  {"BF16", at::kBFloat16},
                                 {"I64", at::kLong},   {"I32", at::kInt},   {"I16", at::kShort}, {"I8", at::kChar},
                                 {"U8", at::kByte},    {"BOOL", at::kBool}};

/// Elements of a shape; false if the product of the non-zero sizes does not fit (strides are made from it, also for empty tensors).
bool CountElements(const std::vector<int64_t>& shape, int64_t* elements) {
  int64_t product = 1;
  bool empty = false;
  for (const int64_t size : shape) {
    if (size == 0)
      empty = true;
    else if (__builtin_mul_overflow(product, size, &product))
      return false;
  }
  *elements = empty ? 0 : product;
  return true;
}

Status ParseShape(const Json& value, const std::string& quoted, std::vector<int64_t>* shape) {
  if (!value.is_array()) return Error(absl::StrCat("shape of tensor ", quoted, " is not a list"));
  if (value.size() > kMaxDimensions)
    return Error(absl::StrCat("tensor ", quoted, " has ", value.size(), " dimensions, at most ", kMaxDimensions, " are accepted"));
  for (const Json& size : value) {
    if (!size.is_number_unsigned() || size.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX))
      return Error(absl::StrCat("shape of tensor ", quoted, " contains ", QuoteForMessage(size.dump()),
                                ", expected whole numbers from 0 to 2^63 - 1"));
    shape->push_back(size.get<int64_t>());
  }
  return absl::OkStatus();
}

StatusOr<TensorEntry> ParseEntry(const std::string& name, const Json& value, uint64_t data_size) {
  const std::string quoted = QuoteForMessage(name);
  if (!value.is_object()) return Error(absl::StrCat("entry of tensor ", quoted, " is not a JSON object"));
  for (const char* field : {"dtype", "shape", "data_offsets"})
    if (!value.contains(field)) return Error(absl::StrCat("entry of tensor ", quoted, " has no field \"", field, "\""));
  if (value.size() != 3)
    return Error(absl::StrCat("entry of tensor ", quoted, " has fields other than dtype, shape and data_offsets"));

  TensorEntry entry;
  const Json& dtype = value["dtype"];
  if (!dtype.is_string()) return Error(absl::StrCat("dtype of tensor ", quoted, " is not a string"));
  const auto known = std::find_if(std::begin(kDtypes), std::end(kDtypes), [&](const DtypeName& candidate) {
    return candidate.name == dtype.get_ref<const std::string&>();
  });
  if (known == std::end(kDtypes))
    return ModelError(
        absl::StrCat("tensor ", quoted, " has dtype ", QuoteForMessage(dtype.get_ref<const std::string&>()),
                     ", which is not supported; F64, F32, F16, BF16, I64, I32, I16, I8, U8 and BOOL are: convert the file"));
  entry.dtype = known->dtype;

  RETURN_IF_ERROR(ParseShape(value["shape"], quoted, &entry.shape));
  int64_t bytes = 0;
  if (!CountElements(entry.shape, &bytes) ||
      __builtin_mul_overflow(bytes, static_cast<int64_t>(c10::elementSize(entry.dtype)), &bytes))
    return Error(absl::StrCat("shape of tensor ", quoted, " has more elements than 64 bits can count"));

  const Json& offsets = value["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() || !offsets[1].is_number_unsigned())
    return Error(absl::StrCat("data_offsets of tensor ", quoted, " are not two whole numbers"));
  entry.begin = offsets[0].get<uint64_t>();
  entry.end = offsets[1].get<uint64_t>();
  if (entry.begin > entry.end)
    return Error(absl::StrCat("data of tensor ", quoted, " end (", entry.end, ") before they begin (", entry.begin, ")"));
  if (entry.end > data_size)
    return Error(absl::StrCat("data of tensor ", quoted, " end at byte ", entry.end, " but the file holds ", data_size,
                              " bytes of data: it is cut off; copy or download it again"));
  if (entry.end - entry.begin != static_cast<uint64_t>(bytes))
    return Error(
        absl::StrCat("tensor ", quoted, " has ", entry.end - entry.begin, " bytes of data, its dtype and shape need ", bytes));
  return entry;
}

/// The data must be covered by the tensors exactly: no overlap, no hole, nothing left over (as the original library demands).
Status CheckCoverage(const std::map<std::string, TensorEntry>& tensors, uint64_t data_size) {
  std::vector<const std::pair<const std::string, TensorEntry>*> by_place;
  by_place.reserve(tensors.size());
  for (const auto& tensor : tensors) by_place.push_back(&tensor);
  std::stable_sort(by_place.begin(), by_place.end(), [](const auto* a, const auto* b) {
    return std::pair(a->second.begin, a->second.end) < std::pair(b->second.begin, b->second.end);
  });
  uint64_t covered = 0;
  for (const auto* tensor : by_place) {
    const auto& [name, entry] = *tensor;
    if (entry.begin < covered)
      return Error(absl::StrCat("data of tensor ", QuoteForMessage(name), " begin at byte ", entry.begin,
                                " and overlap another tensor's, which end at ", covered));
    if (entry.begin > covered)
      return Error(
          absl::StrCat("bytes ", covered, " to ", entry.begin, " before tensor ", QuoteForMessage(name), " belong to no tensor"));
    covered = entry.end;
  }
  if (covered != data_size)
    return Error(absl::StrCat("bytes ", covered, " to ", data_size, " after the last tensor belong to no tensor"));
  return absl::OkStatus();
}

}  // namespace

StatusOr<SafetensorsHeader> ParseSafetensorsHeader(const std::byte* data, size_t size) {
  uint64_t header_size = 0;
  if (size < sizeof(header_size))
    return Error(absl::StrCat("it has ", size, " bytes, at least 8 are needed; copy or download it again"));
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (bytes.starts_with("version https://git-lfs"))
    return ModelError("is a Git LFS pointer, not the weights; fetch them with: git lfs pull");
  std::memcpy(&header_size, data, sizeof(header_size));
  if (header_size > kMaxHeaderBytes)
    return Error(
        absl::StrCat("its first 8 bytes give a header of ", header_size, " bytes, at most ", kMaxHeaderBytes, " are accepted"));
  if (header_size > size - sizeof(header_size))
    return Error(absl::StrCat("its header should have ", header_size, " bytes but only ", size - sizeof(header_size),
                              " follow: it is cut off; copy or download it again"));
  const std::string_view text = bytes.substr(sizeof(header_size), header_size);
  if (!text.starts_with('{')) return Error("its header does not begin with '{'");
  StatusOr<Json> json = ParseJson(text, {.kind = ErrorKind::kModel, .max_depth = 4});
  if (!json.ok()) return Annotate(json.status(), "not a valid safetensors file: its header");

  SafetensorsHeader header;
  const uint64_t data_begin = sizeof(header_size) + header_size;
  const uint64_t data_size = size - data_begin;
  for (const auto& [name, value] : json->items()) {
    if (name == "__metadata__") {
      if (!value.is_object()) return Error("__metadata__ is not a JSON object");
      for (const auto& [key, text_value] : value.items()) {
        if (!text_value.is_string()) return Error(absl::StrCat("__metadata__ value of ", QuoteForMessage(key), " is not a string"));
        header.metadata[key] = text_value.get<std::string>();
      }
      continue;
    }
    ASSIGN_OR_RETURN(TensorEntry entry, ParseEntry(name, value, data_size));
    header.tensors.emplace(name, std::move(entry));
  }
  RETURN_IF_ERROR(CheckCoverage(header.tensors, data_size));
  for (auto& [name, entry] : header.tensors) {
    entry.begin += data_begin;
    entry.end += data_begin;
  }
  return header;
}

}  // namespace fedalt

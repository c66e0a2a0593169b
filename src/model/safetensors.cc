#include "model/safetensors.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>
#include <string_view>

#include "base/check.h"
#include "base/interrupt.h"
#include "base/strict_json.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

// A path that cannot be looked at counts as absent; opening it then says why.
bool Exists(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

bool IsDirectory(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

constexpr size_t kMaxIndexBytes = size_t{64} << 20;
constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";

std::string_view DtypeNameOf(at::ScalarType dtype) {
  switch (dtype) {
    case at::kDouble:
      return "F64";
    case at::kFloat:
      return "F32";
    case at::kHalf:
      return "F16";
    case at::kBFloat16:
      return "BF16";
    case at::kLong:
      return "I64";
    case at::kInt:
      return "I32";
    case at::kShort:
      return "I16";
    case at::kChar:
      return "I8";
    case at::kByte:
      return "U8";
    case at::kBool:
      return "BOOL";
    default:
      return "";
  }
}

std::string ShapeText(const std::vector<int64_t>& shape) {
  std::string text = "(";
  for (size_t i = 0; i < shape.size(); ++i) absl::StrAppend(&text, i > 0 ? ", " : "", shape[i]);
  return text + ")";
}

StatusOr<std::pair<std::shared_ptr<MappedFile>, SafetensorsHeader>> OpenOne(const fs::path& path) {
  ASSIGN_OR_RETURN(std::shared_ptr<MappedFile> map, MappedFile::Open(path, ErrorKind::kModel));
  StatusOr<SafetensorsHeader> header = ParseSafetensorsHeader(map->data(), map->size());
  if (!header.ok()) return Annotate(header.status(), path.string());
  return std::pair(std::move(map), std::move(header).value());
}

/// tensor -> file name, from model.safetensors.index.json.
StatusOr<std::map<std::string, std::string>> ReadIndex(const fs::path& path) {
  ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path, ErrorKind::kModel, kMaxIndexBytes));
  const std::string where = absl::StrCat(path.string(), ": ");
  const StatusOr<Json> json = ParseJson(bytes, {.kind = ErrorKind::kModel, .max_depth = 8});
  if (!json.ok()) return Annotate(json.status(), path.string());
  if (!json->is_object() || !json->contains("weight_map") || !(*json)["weight_map"].is_object() || (*json)["weight_map"].empty())
    return ModelError(absl::StrCat(where, "has no \"weight_map\" that names a file for each tensor"));
  std::map<std::string, std::string> places;
  for (const auto& [tensor, file] : (*json)["weight_map"].items()) {
    if (!file.is_string()) return ModelError(absl::StrCat(where, "file of tensor ", QuoteForMessage(tensor), " is not a string"));
    const std::string& name = file.get_ref<const std::string&>();
    // A shard lies beside its index; anything else could reach any file of the machine.
    if (name.empty() || name == "." || name == ".." || name.find_first_of(std::string_view("/\\\0", 3)) != name.npos)
      return ModelError(absl::StrCat(where, "file of tensor ", QuoteForMessage(tensor), " is ", QuoteForMessage(name),
                                     ", expected the plain name of a file in the same directory"));
    places[tensor] = name;
  }
  return places;
}

Status NoWeights(const fs::path& directory) {
  if (!IsDirectory(directory)) return ModelError(absl::StrCat(directory.string(), ": is not a directory; give a model directory"));
  if (Exists(directory / "pytorch_model.bin") || Exists(directory / "pytorch_model.bin.index.json"))
    return ModelError(
        absl::StrCat(directory.string(),
                     ": has its weights only as pytorch_model.bin, a pickle, which can run code and is "
                     "not read; convert it with transformers: from_pretrained(...).save_pretrained(..., safe_serialization=True)"));
  return ModelError(
      absl::StrCat(directory.string(), ": has neither ", kSingleFile, " nor ", kIndexFile, "; give a model directory"));
}

std::string HeaderOf(const NamedTensors& tensors, const std::vector<size_t>& order,
                     const std::map<std::string, std::string>& metadata) {
  const auto quote = [](const std::string& text) { return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace); };
  std::vector<uint64_t> begins(tensors.size());
  uint64_t offset = 0;
  for (const size_t i : order) {
    begins[i] = offset;
    offset += tensors[i].second.nbytes();
  }
  std::string header = "{";
  if (!metadata.empty()) {
    header += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata)
      absl::StrAppend(&header, header.back() == '{' ? "" : ",", quote(key), ":", quote(value));
    header += "}";
  }
  for (const size_t i : order) {
    const auto& [name, tensor] = tensors[i];
    absl::StrAppend(&header, header.size() > 1 ? "," : "", quote(name), ":{\"dtype\":\"",
                    std::string(DtypeNameOf(tensor.scalar_type())), "\",\"shape\":[");
    for (int64_t d = 0; d < tensor.dim(); ++d) absl::StrAppend(&header, d > 0 ? "," : "", tensor.size(d));
    absl::StrAppend(&header, "],\"data_offsets\":[", begins[i], ",", begins[i] + tensor.nbytes(), "]}");
  }
  header += "}";
  header.append((8 - header.size() % 8) % 8, ' ');
  return header;
}

}  // namespace

StatusOr<std::shared_ptr<TensorFiles>> TensorFiles::OpenFile(const fs::path& file) {
  ASSIGN_OR_RETURN(auto opened, OpenOne(file));
  auto files = std::make_shared<TensorFiles>();
  files->maps_.push_back(std::move(opened.first));
  files->paths_.push_back(file);
  for (auto& [name, entry] : opened.second.tensors) files->entries_.emplace(name, Place{0, std::move(entry)});
  files->metadata_ = std::move(opened.second.metadata);
  return files;
}

StatusOr<std::shared_ptr<TensorFiles>> TensorFiles::OpenModelDirectory(const fs::path& directory) {
  if (Exists(directory / kSingleFile)) return OpenFile(directory / kSingleFile);
  if (!Exists(directory / kIndexFile)) return NoWeights(directory);
  ASSIGN_OR_RETURN(const auto places, ReadIndex(directory / kIndexFile));

  auto files = std::make_shared<TensorFiles>();
  std::map<std::string, size_t> number_of;
  std::vector<SafetensorsHeader> headers;
  for (const auto& [tensor, shard] : places) {
    const auto [it, is_new] = number_of.emplace(shard, headers.size());
    if (is_new) {
      if (!Exists(directory / shard))
        return ModelError(absl::StrCat((directory / kIndexFile).string(), ": names the file ", QuoteForMessage(shard),
                                       ", which is not there; copy or download it"));
      ASSIGN_OR_RETURN(auto opened, OpenOne(directory / shard));
      files->maps_.push_back(std::move(opened.first));
      files->paths_.push_back(directory / shard);
      files->metadata_.insert(opened.second.metadata.begin(), opened.second.metadata.end());
      headers.push_back(std::move(opened.second));
    }
    const auto& in_shard = headers[it->second].tensors;
    const auto entry = in_shard.find(tensor);
    if (entry == in_shard.end())
      return ModelError(absl::StrCat((directory / kIndexFile).string(), ": places tensor ", QuoteForMessage(tensor), " in ",
                                     QuoteForMessage(shard), ", which does not contain it; the files do not belong together"));
    files->entries_.emplace(tensor, Place{it->second, entry->second});
  }
  return files;
}

std::vector<std::string> TensorFiles::Names() const {
  std::vector<std::string> names;
  for (const auto& [name, place] : entries_) names.push_back(name);
  return names;
}

StatusOr<TensorEntry> TensorFiles::Describe(const std::string& name) const {
  const auto it = entries_.find(name);
  if (it != entries_.end()) return it->second.entry;
  return ModelError(absl::StrCat(paths_.front().string(), paths_.size() > 1 ? " and its other shards" : "", ": has no tensor ",
                                 QuoteForMessage(name), "; the weights do not fit the configuration"));
}

StatusOr<at::Tensor> TensorFiles::Get(const std::string& name, const std::vector<int64_t>* expected_shape) const {
  RETURN_IF_ERROR(Describe(name).status());
  const Place& place = entries_.at(name);
  const TensorEntry& entry = place.entry;
  if (expected_shape != nullptr && entry.shape != *expected_shape)
    return ModelError(absl::StrCat(paths_[place.file].string(), ": tensor ", QuoteForMessage(name), " has shape ",
                                   ShapeText(entry.shape), ", expected ", ShapeText(*expected_shape)));
  try {
    const at::TensorOptions options = at::TensorOptions(entry.dtype);
    if (entry.begin == entry.end) return at::empty(entry.shape, options);
    const std::shared_ptr<MappedFile> map = maps_[place.file];
    const std::byte* data = map->data() + entry.begin;
    if (entry.dtype == at::kBool) {  // only 0 and 1 may reach a bool
      at::Tensor bytes = at::empty(entry.shape, options.dtype(at::kByte));
      std::memcpy(bytes.data_ptr(), data, entry.end - entry.begin);
      return bytes.ne(0);
    }
    if (reinterpret_cast<uintptr_t>(data) % c10::elementSize(entry.dtype) == 0)
      return at::from_blob(
          const_cast<std::byte*>(data), entry.shape, [map](void*) {}, options);
    at::Tensor copy = at::empty(entry.shape, options);
    std::memcpy(copy.data_ptr(), data, entry.end - entry.begin);
    return copy;
  } catch (const std::exception& error) {
    return ModelError(absl::StrCat(paths_[place.file].string(), ": tensor ", QuoteForMessage(name), " of shape ",
                                   ShapeText(entry.shape), " cannot be made (", error.what(), ")"));
  }
}

void TensorFiles::DropPages() const {
  for (const auto& map : maps_) map->DropPages();
}

Status WriteSafetensors(const fs::path& path, const NamedTensors& tensors, const std::map<std::string, std::string>& metadata) {
  std::set<std::string> names;
  for (const auto& [name, tensor] : tensors) {
    FEDALT_CHECK(tensor.defined() && !DtypeNameOf(tensor.scalar_type()).empty(), name + ": tensor cannot be stored");
    FEDALT_CHECK(name != "__metadata__" && names.insert(name).second, name + ": name cannot be used twice");
  }
  // Wider elements first, so that each lies aligned although the format has no padding; equal widths keep the order given.
  std::vector<size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return tensors[a].second.element_size() > tensors[b].second.element_size(); });
  const std::string header = HeaderOf(tensors, order, metadata);
  return WriteFileAtomic(path, [&](const AppendBytes& append) -> Status {
    const uint64_t header_size = header.size();
    RETURN_IF_ERROR(append(std::string_view(reinterpret_cast<const char*>(&header_size), sizeof(header_size))));
    RETURN_IF_ERROR(append(header));
    constexpr uint64_t kMuch = 256 << 20;  // less is written in a moment, and a checkpoint that is nearly done shall be whole
    uint64_t written = 0;
    for (const size_t i : order) {
      if (written > kMuch) RETURN_IF_ERROR(CheckInterrupt(absl::StrCat(path.string(), " was written")));
      written += tensors[i].second.nbytes();
      try {
        const at::Tensor contiguous = tensors[i].second.detach().cpu().contiguous();
        RETURN_IF_ERROR(append(std::string_view(static_cast<const char*>(contiguous.data_ptr()), contiguous.nbytes())));
      } catch (const std::exception& error) {
        return OutputError(
            absl::StrCat(path.string(), ": tensor ", QuoteForMessage(tensors[i].first), " cannot be copied (", error.what(), ")"));
      }
    }
    return absl::OkStatus();
  });
}

}  // namespace fedalt

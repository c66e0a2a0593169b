// The safetensors format (github.com/huggingface/safetensors, "Format"): reading by memory map with every offset checked, writing
// atomically.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/status.h"
#include "model/safetensors_header.h"

namespace fedalt {

/// All tensors of a directory (model.safetensors, or the shards of model.safetensors.index.json) or of one file. Errors: kModel.
/// Thread-safe after opening. Tensors returned by Get share the map where alignment allows and must not be written; they keep the
/// map alive. The files must not be changed or cut while they are in use.
class TensorFiles {
 public:
  static StatusOr<std::shared_ptr<TensorFiles>> OpenModelDirectory(const std::filesystem::path& directory);
  static StatusOr<std::shared_ptr<TensorFiles>> OpenFile(const std::filesystem::path& file);

  bool Contains(const std::string& name) const { return entries_.count(name) > 0; }
  std::vector<std::string> Names() const;
  /// Shape and dtype without touching the data. Error if absent (kModel, names the tensor).
  StatusOr<TensorEntry> Describe(const std::string& name) const;
  /// The tensor in its stored dtype. Errors: absent, or shape differs from `expected_shape` (if given): the message names both.
  StatusOr<at::Tensor> Get(const std::string& name, const std::vector<int64_t>* expected_shape = nullptr) const;
  /// Gives back the memory of tensors that were copied; what is mapped is read again where it is needed.
  void DropPages() const;
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const std::vector<std::filesystem::path>& files() const { return paths_; }

 private:
  struct Place {
    size_t file = 0;
    TensorEntry entry;
  };
  std::vector<std::shared_ptr<MappedFile>> maps_;
  std::vector<std::filesystem::path> paths_;
  std::map<std::string, Place> entries_;
  std::map<std::string, std::string> metadata_;
};

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

/// Writes tensors, one at a time (a contiguous copy is made as needed), atomically. Same input, same bytes. Elements of wider
/// dtypes come first, so that every tensor lies aligned; within one width the order given is kept. Errors: kOutput. Names must
/// differ, dtypes be those of ParseSafetensorsHeader.
Status WriteSafetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                        const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

}  // namespace fedalt

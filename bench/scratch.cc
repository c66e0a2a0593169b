#include "scratch.h"

#include <stdlib.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>

namespace fedalt::bench {
namespace {

std::filesystem::path& Given() {
  static std::filesystem::path path;
  return path;
}

}  // namespace

StatusOr<ScratchDirectory> ScratchDirectory::Make(const std::filesystem::path& parent) {
  std::error_code error;
  std::string name = (std::filesystem::absolute(parent, error) / "fedalt-bench-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr)
    return OutputError(absl::StrCat(parent.string(), ": no directory can be made in it (", std::strerror(errno), ")"));
  ScratchDirectory scratch;
  scratch.path_ = name;
  return scratch;
}

ScratchDirectory::~ScratchDirectory() {
  if (path_.empty()) return;
  std::error_code error;
  std::filesystem::remove_all(path_, error);
  if (error) std::fprintf(stderr, "fedalt_bench: %s could not be removed: %s\n", path_.c_str(), error.message().c_str());
}

const std::filesystem::path& Scratch() {
  return Given();
}
void SetScratch(const std::filesystem::path& path) {
  Given() = path;
}

}  // namespace fedalt::bench

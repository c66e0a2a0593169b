// A directory of its own for a test, and a second, plain connection that changes a database behind the program's back.
#pragma once

#include <gtest/gtest.h>
#include <sqlite3.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace fedalt::testing {

/// Removed at the end.
class StoreFolder {
 public:
  StoreFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "fedalt-store-XXXXXX").string();
    EXPECT_NE(::mkdtemp(pattern.data()), nullptr);
    path_ = pattern;
  }
  ~StoreFolder() { std::filesystem::remove_all(path_); }
  StoreFolder(const StoreFolder&) = delete;
  StoreFolder& operator=(const StoreFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path store() const { return path_ / "store.db"; }
  std::string Read() const {
    std::ifstream file(store(), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void Write(const std::string& bytes) const { std::ofstream(store(), std::ios::binary) << bytes; }

 private:
  std::filesystem::path path_;
};

/// Runs the SQL; the first column of the first row of its last result, as text.
inline std::string RawSql(const std::filesystem::path& path, const std::string& sql) {
  sqlite3* connection = nullptr;
  EXPECT_EQ(sqlite3_open(path.c_str(), &connection), SQLITE_OK);
  std::string value;
  char* error = nullptr;
  const auto keep = [](void* out, int count, char** values, char**) {
    if (count > 0 && values[0] != nullptr) *static_cast<std::string*>(out) = values[0];
    return 0;
  };
  EXPECT_EQ(sqlite3_exec(connection, sql.c_str(), keep, &value, &error), SQLITE_OK) << sql << ": " << (error ? error : "");
  sqlite3_free(error);
  EXPECT_EQ(sqlite3_close(connection), SQLITE_OK);
  return value;
}

}  // namespace fedalt::testing

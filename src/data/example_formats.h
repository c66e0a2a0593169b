// What the fields of a record mean: the formats of instruction data that are understood, told apart by their fields alone.
//
// Flat records (alpaca, FLAN as FedALT and FedDPA publish it, dolly) stand in a JSON array or one per line; a task of
// natural-instructions is one object that fills its file. docs/data.md has an example of each. All functions are pure.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "data/dataset.h"

namespace fedalt {

/// One flat record; its id stays 0. `report` is added to. Errors (kData, to be put behind the record's place): not an object; a
/// field is missing or of the wrong type; fields of two formats in one record, where options.fields does not choose. They name the
/// fields found and those expected.
StatusOr<Example> ExampleOfRecord(const nlohmann::json& record, const ReadOptions& options, ReadReport& report);

/// Whether `bytes`, which begin with '{', are one object with "Definition" or "Instances" among its fields: a task of
/// natural-instructions. Looks at the first object only.
bool IsTaskFile(std::string_view bytes);

/// The instances of a natural-instructions task as examples: the instruction is the (first) definition, the tag the field "Name",
/// or `task` where there is none. `report` is added to. Errors (kData, with line or index of the instance; the file is for the
/// caller to name).
StatusOr<std::vector<Example>> ParseTaskFile(std::string_view bytes, const std::string& task, const ReadOptions& options,
                                             ReadReport& report);

}  // namespace fedalt

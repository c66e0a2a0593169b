// What the fuzz targets of server and session share. Included by one source of each.
#pragma once

#include <google/protobuf/stubs/logging.h>

/// As the program does (net/grpc_options.cc): protobuf says nothing of messages that are no UTF-8.
extern "C" int LLVMFuzzerInitialize(int*, char***) {
  google::protobuf::SetLogHandler(nullptr);
  return 0;
}

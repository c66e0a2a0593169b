# What talks to other machines: gRPC over TLS, SQLite. With -DFEDALT_NET=OFF nothing of this is looked for.
find_package(OpenSSL REQUIRED)
find_package(SQLite3 REQUIRED)
pkg_check_modules(GRPC REQUIRED IMPORTED_TARGET grpc++)
pkg_check_modules(PROTOBUF REQUIRED IMPORTED_TARGET protobuf)
# Their flags are for Windows (NOMINMAX), and would ask for a precompiled header of their own.
set_target_properties(PkgConfig::GRPC PkgConfig::PROTOBUF PROPERTIES INTERFACE_COMPILE_OPTIONS "")
find_program(FEDALT_PROTOC protoc REQUIRED)
find_program(FEDALT_GRPC_PLUGIN grpc_cpp_plugin REQUIRED)

# proto/federation.proto is the only wire contract; its C++ is generated into the build.
set(FEDALT_PROTO_OUT ${CMAKE_BINARY_DIR}/proto)
file(MAKE_DIRECTORY ${FEDALT_PROTO_OUT})
set(FEDALT_PROTO_SOURCES ${FEDALT_PROTO_OUT}/federation.pb.cc ${FEDALT_PROTO_OUT}/federation.grpc.pb.cc)
add_custom_command(
  OUTPUT ${FEDALT_PROTO_SOURCES} ${FEDALT_PROTO_OUT}/federation.pb.h ${FEDALT_PROTO_OUT}/federation.grpc.pb.h
  COMMAND ${FEDALT_PROTOC} -I ${CMAKE_SOURCE_DIR}/proto --cpp_out=${FEDALT_PROTO_OUT} --grpc_out=${FEDALT_PROTO_OUT}
          --plugin=protoc-gen-grpc=${FEDALT_GRPC_PLUGIN} federation.proto
  DEPENDS ${CMAKE_SOURCE_DIR}/proto/federation.proto
  VERBATIM)
add_library(fedalt_proto STATIC ${FEDALT_PROTO_SOURCES})
target_include_directories(fedalt_proto SYSTEM PUBLIC ${FEDALT_PROTO_OUT})
target_link_libraries(fedalt_proto PUBLIC PkgConfig::GRPC PkgConfig::PROTOBUF)

add_library(fedalt_deps_openssl INTERFACE)
target_link_libraries(fedalt_deps_openssl INTERFACE OpenSSL::Crypto)

add_library(fedalt_deps_sqlite INTERFACE)
target_link_libraries(fedalt_deps_sqlite INTERFACE SQLite::SQLite3)

fedalt_layer(store LINKS fedalt_fed nlohmann_json::nlohmann_json fedalt_deps_sqlite)
fedalt_layer(net LINKS fedalt_fed fedalt_proto nlohmann_json::nlohmann_json OpenSSL::SSL OpenSSL::Crypto)

# fedalt_layer(NAME LINKS libs... [EXCLUDE regex]): the static library fedalt_NAME of all src/NAME/*.cc (main.cc and what EXCLUDE
# matches apart).
function(fedalt_layer name)
  cmake_parse_arguments(LAYER "" "EXCLUDE" "LINKS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${name}/*.cc)
  list(FILTER sources EXCLUDE REGEX "/main\\.cc$")
  if(LAYER_EXCLUDE)
    list(FILTER sources EXCLUDE REGEX "${LAYER_EXCLUDE}")
  endif()
  if(sources)
    add_library(fedalt_${name} STATIC ${sources})
    target_include_directories(fedalt_${name} PUBLIC ${CMAKE_SOURCE_DIR}/src)
    target_compile_options(fedalt_${name} PRIVATE -Wall -Wextra -Wshadow ${FEDALT_WERROR})
    target_link_libraries(fedalt_${name} PUBLIC ${LAYER_LINKS})
  else()
    add_library(fedalt_${name} INTERFACE)
    target_include_directories(fedalt_${name} INTERFACE ${CMAKE_SOURCE_DIR}/src)
    target_link_libraries(fedalt_${name} INTERFACE ${LAYER_LINKS})
  endif()
endfunction()

# The headers of libtorch and of the JSON library are half the time of a file that includes them: these layers, the first of which
# makes it, and their tests share one precompiled form of them. The sources still include what they use.
# CMAKE_DISABLE_PRECOMPILE_HEADERS=ON turns it off.
function(fedalt_precompile_torch first)
  if(CMAKE_CXX_COMPILER_LAUNCHER MATCHES ccache)
    target_compile_options(fedalt_${first} PUBLIC -fpch-preprocess)  # ccache wants to know of the header
  endif()
  target_precompile_headers(fedalt_${first} PRIVATE <ATen/ATen.h> <nlohmann/json.hpp>)
  foreach(layer IN LISTS ARGN)
    get_target_property(type fedalt_${layer} TYPE)
    if(NOT type STREQUAL INTERFACE_LIBRARY)
      target_precompile_headers(fedalt_${layer} REUSE_FROM fedalt_${first})
    endif()
  endforeach()
endfunction()

# fedalt_embed(TARGET HEADER kConstant file... [kConstant file...]): the text files, one after the other, become a constant of the
# target, which the header declares; a change of a file makes it again.
function(fedalt_embed target header)
  set(output ${CMAKE_BINARY_DIR}/embedded/${target}.cc)
  set(constants "")
  set(files "")
  foreach(word IN LISTS ARGN)
    if(word MATCHES "^k[A-Z][A-Za-z]*$")
      list(APPEND constants "${word}=")
      set(separator "")
    else()
      list(POP_BACK constants last)
      list(APPEND constants "${last}${separator}${word}")
      list(APPEND files "${word}")
      set(separator "|")
    endif()
  endforeach()
  add_custom_command(
    OUTPUT ${output}
    COMMAND ${CMAKE_COMMAND} -DOUTPUT=${output} -DHEADER=${header} -DNAMESPACE=fedalt "-DCONSTANTS=${constants}"
            -P ${CMAKE_SOURCE_DIR}/cmake/embed.cmake
    DEPENDS ${files} ${CMAKE_SOURCE_DIR}/cmake/embed.cmake
    COMMENT "Embedding the files of ${target}"
    VERBATIM)
  target_sources(${target} PRIVATE ${output})
endfunction()

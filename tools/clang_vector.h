// Included before everything else where clang compiles or checks our sources (fuzz targets, clang-tidy), never by g++.
//
// libtorch 1.13 uses std::vector<IValue> while IValue is incomplete. In C++20 the members of libstdc++'s vector are constexpr, which
// clang (14 and 16 tried) instantiates at once, and so refuses; g++ does not. Here std::vector's members are not constexpr.
#pragma once

#include <memory>
#include <string>

#pragma push_macro("_GLIBCXX20_CONSTEXPR")
#undef _GLIBCXX20_CONSTEXPR
#define _GLIBCXX20_CONSTEXPR
// std::fill over a vector<bool>: declared constexpr by an earlier header, so this definition may not bear its name. No one calls it.
#define __fill_a1 __fill_a1_of_bits
#include <vector>
#undef __fill_a1
#pragma pop_macro("_GLIBCXX20_CONSTEXPR")

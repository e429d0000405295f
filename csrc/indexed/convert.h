// Token arrays of one type into another, refusing values that the other type cannot hold.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include "files.h"
#include "format.h"

namespace indexed {

// Largest whole number up to which a float type holds every whole number.
template <typename Float>
constexpr int64_t kExact = int64_t{1} << std::numeric_limits<Float>::digits;

template <typename Target, typename Source>
bool fits(Source value) {
  using Limits = std::numeric_limits<Target>;
  if constexpr (std::is_floating_point_v<Source>) {
    return sizeof(Target) >= sizeof(Source) || !(std::abs(value) > Limits::max()) || std::isinf(value);
  } else if constexpr (std::is_floating_point_v<Target>) {
    if constexpr (sizeof(Source) < sizeof(Target)) return true;
    if constexpr (std::is_signed_v<Source>) return value >= -kExact<Target> && value <= kExact<Target>;
    return static_cast<uint64_t>(value) <= static_cast<uint64_t>(kExact<Target>);
  } else if constexpr (std::is_signed_v<Source> == std::is_signed_v<Target>) {
    return value >= Limits::min() && value <= Limits::max();
  } else if constexpr (std::is_signed_v<Source>) {
    return value >= 0 && static_cast<std::make_unsigned_t<Source>>(value) <= Limits::max();
  } else {
    return value <= static_cast<std::make_unsigned_t<Target>>(Limits::max());
  }
}

template <typename Target>
std::string range_of() {
  if constexpr (std::is_same_v<Target, float> || std::is_same_v<Target, double>) {
    return std::to_string(-kExact<Target>) + " to " + std::to_string(kExact<Target>);
  } else {
    return std::to_string(std::numeric_limits<Target>::min()) + " to " +
           std::to_string(std::numeric_limits<Target>::max());
  }
}

constexpr uint64_t kConvertBlock = 1 << 16;  // tokens

// Place of the first value that the target type cannot hold; count if there is none.
template <typename Target, typename Source>
uint64_t first_misfit(const Source* values, uint64_t count) {
  for (uint64_t begin = 0; begin < count; begin += kConvertBlock) {
    const uint64_t end = std::min(count, begin + kConvertBlock);
    bool all = true;
    for (uint64_t i = begin; i < end; ++i) all &= fits<Target>(values[i]);  // without a branch, so it is vectorised
    if (all) continue;
    for (uint64_t i = begin; i < end; ++i) {
      if (!fits<Target>(values[i])) return i;
    }
  }
  return count;
}

template <typename Target, typename Source>
void write_converted(FileWriter& file, const Source* values, uint64_t count) {
  if constexpr (std::is_same_v<Target, Source>) {
    file.write(values, count * sizeof(Target));
  } else {
    std::vector<Target> block;
    for (uint64_t begin = 0; begin < count; begin += kConvertBlock) {
      block.assign(values + begin, values + std::min(count, begin + kConvertBlock));
      file.write(block.data(), block.size() * sizeof(Target));
    }
  }
}

template <typename Target, typename Source>
void check_or_write(FileWriter* file, const Source* values, uint64_t count, const char* name) {
  if (file != nullptr) return write_converted<Target>(*file, values, count);
  const uint64_t place = first_misfit<Target>(values, count);
  if (place == count) return;
  throw FormatError(
      "token id " + std::to_string(values[place]) + " at place " + std::to_string(place) + " does not fit " + name,
      std::string("ids of ") + name + " are within " + range_of<Target>(),
      "write the dataset with a larger type: int32 for vocabularies of 65,500 and more");
}

// Without a file the values are only checked.
template <typename Source>
void check_or_write_as(FileWriter* file, const Source* values, uint64_t count, const DtypeInfo& target) {
  if constexpr (std::is_floating_point_v<Source>) {
    if (target.code == Dtype::kFloat32) return check_or_write<float>(file, values, count, target.name);
    if (target.code == Dtype::kFloat64) return check_or_write<double>(file, values, count, target.name);
    throw FormatError(std::string("fractional values for a dataset of ") + target.name, "token ids are whole numbers",
                      "convert the array, or write the dataset as float32");
  } else {
    switch (target.code) {
      case Dtype::kUint8: return check_or_write<uint8_t>(file, values, count, target.name);
      case Dtype::kInt8: return check_or_write<int8_t>(file, values, count, target.name);
      case Dtype::kInt16: return check_or_write<int16_t>(file, values, count, target.name);
      case Dtype::kInt32: return check_or_write<int32_t>(file, values, count, target.name);
      case Dtype::kInt64: return check_or_write<int64_t>(file, values, count, target.name);
      case Dtype::kFloat64: return check_or_write<double>(file, values, count, target.name);
      case Dtype::kFloat32: return check_or_write<float>(file, values, count, target.name);
      case Dtype::kUint16: return check_or_write<uint16_t>(file, values, count, target.name);
      case Dtype::kUint24:
        if (count == 0) return;
        throw FormatError("documents for a dataset of uint24",
                          "whole datasets of it are joined, and 'tokenize' makes it", "write the dataset as int32");
    }
  }
}

}  // namespace indexed

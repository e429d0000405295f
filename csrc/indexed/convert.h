// Token arrays of one type into another, refusing values that the other type cannot hold.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include "files.h"
#include "format.h"

namespace indexed {

template <typename Target, typename Source>
bool fits(Source value) {
  if constexpr (std::is_floating_point_v<Target>) {
    return true;
  } else if constexpr (std::is_signed_v<Source> == std::is_signed_v<Target>) {
    return value >= std::numeric_limits<Target>::min() && value <= std::numeric_limits<Target>::max();
  } else if constexpr (std::is_signed_v<Source>) {
    return value >= 0 && static_cast<std::make_unsigned_t<Source>>(value) <= std::numeric_limits<Target>::max();
  } else {
    return value <= static_cast<std::make_unsigned_t<Target>>(std::numeric_limits<Target>::max());
  }
}

template <typename Target, typename Source>
void write_converted(FileWriter& file, const Source* values, uint64_t count, const char* name) {
  if constexpr (std::is_same_v<Target, Source>) {
    file.write(values, count * sizeof(Target));
  } else {
    for (uint64_t i = 0; i < count; ++i) {
      if (!fits<Target>(values[i])) {
        throw FormatError("token id " + std::to_string(values[i]) + " at place " + std::to_string(i) +
                              " of the array does not fit " + name,
                          "ids are within " + std::to_string(std::numeric_limits<Target>::min()) + " to " +
                              std::to_string(std::numeric_limits<Target>::max()),
                          "write the dataset with a larger type: int32 for vocabularies of 65,500 and more");
      }
    }
    constexpr uint64_t kBlock = 1 << 16;
    std::vector<Target> block;
    for (uint64_t begin = 0; begin < count; begin += kBlock) {
      const uint64_t end = std::min(count, begin + kBlock);
      block.assign(values + begin, values + end);
      file.write(block.data(), block.size() * sizeof(Target));
    }
  }
}

template <typename Source>
void write_as(FileWriter& file, const Source* values, uint64_t count, const DtypeInfo& target) {
  if constexpr (std::is_floating_point_v<Source>) {
    if (target.code == Dtype::kFloat32) return write_converted<float>(file, values, count, target.name);
    if (target.code == Dtype::kFloat64) return write_converted<double>(file, values, count, target.name);
    throw FormatError(std::string("fractional values for a dataset of ") + target.name,
                      "token ids are whole numbers", "convert the array, or write the dataset as float32");
  } else {
    switch (target.code) {
      case Dtype::kUint8: return write_converted<uint8_t>(file, values, count, target.name);
      case Dtype::kInt8: return write_converted<int8_t>(file, values, count, target.name);
      case Dtype::kInt16: return write_converted<int16_t>(file, values, count, target.name);
      case Dtype::kInt32: return write_converted<int32_t>(file, values, count, target.name);
      case Dtype::kInt64: return write_converted<int64_t>(file, values, count, target.name);
      case Dtype::kFloat64: return write_converted<double>(file, values, count, target.name);
      case Dtype::kFloat32: return write_converted<float>(file, values, count, target.name);
      case Dtype::kUint16: return write_converted<uint16_t>(file, values, count, target.name);
    }
  }
}

}  // namespace indexed

// Megatron's MMapIndexedDataset on disk: constants, token types and the error that tells what is wrong and where.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>

namespace indexed {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the files hold values as a little-endian machine does");

constexpr char kMagic[9] = {'M', 'M', 'I', 'D', 'I', 'D', 'X', '\0', '\0'};
constexpr uint64_t kVersion = 1;

// Byte offsets of the .idx header's fields.
constexpr uint64_t kVersionAt = 9;
constexpr uint64_t kDtypeAt = 17;
constexpr uint64_t kSequenceCountAt = 18;
constexpr uint64_t kDocumentCountAt = 26;
constexpr uint64_t kHeaderBytes = 34;

constexpr uint64_t kLengthBytes = 4;    // int32 tokens of a sequence
constexpr uint64_t kPointerBytes = 8;   // int64 byte offset of a sequence in .bin
constexpr uint64_t kBoundaryBytes = 8;  // int64 sequence number where a document begins

enum class Dtype : uint8_t {
  kUint8 = 1,
  kInt8 = 2,
  kInt16 = 3,
  kInt32 = 4,
  kInt64 = 5,
  kFloat64 = 6,
  kFloat32 = 7,
  kUint16 = 8,
  kUint24 = 24,  // of our own: three bytes, least significant first
};

struct DtypeInfo {
  Dtype code;
  const char* name;  // numpy's
  uint64_t bytes;
};

constexpr std::array<DtypeInfo, 9> kDtypes = {{
    {Dtype::kUint8, "uint8", 1},
    {Dtype::kInt8, "int8", 1},
    {Dtype::kInt16, "int16", 2},
    {Dtype::kInt32, "int32", 4},
    {Dtype::kInt64, "int64", 8},
    {Dtype::kFloat64, "float64", 8},
    {Dtype::kFloat32, "float32", 4},
    {Dtype::kUint16, "uint16", 2},
    {Dtype::kUint24, "uint24", 3},
}};

// Becomes steel_megatron.config.DataError: what was found, the rule it breaks, the fix.
class FormatError : public std::runtime_error {
 public:
  FormatError(const std::string& given, std::string broken_rule = "", std::string remedy = "")
      : std::runtime_error(given), rule(std::move(broken_rule)), fix(std::move(remedy)) {}
  std::string rule;
  std::string fix;
};

inline const DtypeInfo* dtype_by_code(uint8_t code) {
  for (const auto& info : kDtypes) {
    if (static_cast<uint8_t>(info.code) == code) return &info;
  }
  return nullptr;
}

inline const DtypeInfo& dtype_by_name(const std::string& name) {
  for (const auto& info : kDtypes) {
    if (name == info.name) return info;
  }
  throw FormatError("token type " + name,
                    "the format has uint8, int8, int16, int32, int64, float64, float32, uint16 and uint24");
}

// The arrays of an .idx lie at odd addresses, so values are copied out rather than pointed at.
template <typename T>
T load(const char* address) {
  T value;
  std::memcpy(&value, address, sizeof(T));
  return value;
}

}  // namespace indexed

// Number types and the exponential, written so that loops over them become vector instructions.
//
// Included once per instruction set, inside a namespace, so there is no include guard.

struct bf16 {
  uint16_t bits;
};
struct fp16 {
  uint16_t bits;
};

static inline uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  return bits;
}

static inline float float_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

static inline float to_float(float value) { return value; }
static inline float to_float(bf16 value) { return float_of(static_cast<uint32_t>(value.bits) << 16); }

static inline float to_float(fp16 value) {
  const uint32_t magnitude = static_cast<uint32_t>(value.bits & 0x7fff) << 13;
  // The exponent's offset is moved by a multiplication, which makes subnormal numbers right as well.
  const uint32_t scaled = bits_of(float_of(magnitude) * 0x1p112f);
  const uint32_t special = magnitude | 0x7f800000u;  // infinity and NaN keep their fraction
  const uint32_t chosen = magnitude >= 0x0f800000u ? special : scaled;
  return float_of(chosen | static_cast<uint32_t>(value.bits & 0x8000) << 16);
}

// Round to nearest, ties to even.
template <class T>
T from_float(float value);

template <>
inline float from_float<float>(float value) {
  return value;
}

template <>
inline bf16 from_float<bf16>(float value) {
  const uint32_t bits = bits_of(value);
  const uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
  return {static_cast<uint16_t>(value != value ? 0x7fc0u : rounded)};
}

template <>
inline fp16 from_float<fp16>(float value) {
  const uint32_t bits = bits_of(value);
  const uint32_t magnitude = bits & 0x7fffffffu;
  const uint32_t normal = (magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13;
  // Adding a number whose last place is the smallest subnormal lets the processor round.
  const uint32_t subnormal = bits_of(float_of(magnitude) + 0.5f) - 0x3f000000u;
  const uint32_t infinity = magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u;
  const uint32_t finite = magnitude < 0x38800000u ? subnormal : normal;
  const uint32_t chosen = magnitude >= 0x477ff000u ? infinity : finite;
  return {static_cast<uint16_t>(chosen | (bits >> 16 & 0x8000u))};
}

// exp with a relative error below 2e-7 on [-87, 87]; clamped outside, and NaN is taken for one of the ends.
static inline float bounded_exponential(float x) {
  // On the bits: of a clamp by comparing floats, GCC makes separate paths through all that comes after. Numbers below
  // -87 have the greatest bits, and of the others as signed numbers those above 87.
  const uint32_t low = bits_of(x) < 0xc2ae0000u ? bits_of(x) : 0xc2ae0000u;
  const int32_t high = static_cast<int32_t>(low) < 0x42ae0000 ? static_cast<int32_t>(low) : 0x42ae0000;
  x = float_of(static_cast<uint32_t>(high));
  const float shifted = x * 1.44269504f + 12582912.0f;  // 1.5 * 2^23: the integer sits in the low bits
  const float whole = shifted - 12582912.0f;
  const float r = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
  float p = 1.3813159102e-3f;
  p = p * r + 8.3694109589e-3f;
  p = p * r + 4.1668456034e-2f;
  p = p * r + 1.6666514857e-1f;
  p = p * r + 4.9999993055e-1f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  return p * float_of((bits_of(shifted) << 23) + 0x3f800000u);
}

// The same, with NaN for NaN.
static inline float exponential(float x) {
  const uint32_t missing = (bits_of(x) & 0x7fffffffu) > 0x7f800000u ? 0x7fc00000u : 0u;
  return float_of(bits_of(bounded_exponential(x)) | missing);
}

// Calls function(T{}) with the type that dtype names.
template <class Function>
static inline void with_type(int64_t dtype, Function function) {
  if (dtype == 0) function(float{});
  if (dtype == 1) function(bf16{});
  if (dtype == 2) function(fp16{});
}

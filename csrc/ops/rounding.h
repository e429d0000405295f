// Stochastic rounding to bf16: up with the probability that makes the mean right.
//
// The random bits are a pure function of (key, step, row, column), as in steel_megatron/ops/rounding.py. Compiled for
// CPUs (once per instruction set, inside a namespace) and for GPUs, so there is no include guard.
#ifdef __CUDACC__
#define STEEL_INLINE __device__ __forceinline__
#else
#define STEEL_INLINE static inline
#endif

// Stafford's variant 13 of MurmurHash3's finalizer, as in SplitMix64.
STEEL_INLINE uint64_t mixed(uint64_t x) {
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ x >> 27) * 0x94d049bb133111ebull;
  return x ^ x >> 31;
}

// What a step's rows start from.
STEEL_INLINE uint64_t step_key(int64_t key, int64_t step) {
  return mixed(static_cast<uint64_t>(key) + static_cast<uint64_t>(step) * 0x9e3779b97f4a7c15ull);
}

// What the random bits of a row's elements start from.
STEEL_INLINE uint64_t row_key(uint64_t of_step, int64_t row) {
  return mixed(of_step + static_cast<uint64_t>(row) * 0xd1b54a32d192ed03ull);
}

STEEL_INLINE uint32_t random_bits(uint32_t low, uint32_t high, uint32_t column) {
  uint32_t x = low + column;
  x = (x ^ x >> 16) * 0x7feb352du ^ high;
  x = (x ^ x >> 15) * 0x846ca68bu;
  return x ^ x >> 16;
}

// The upper half of the bits of value, after adding the 16 random ones; infinity stays, a NaN stays one.
STEEL_INLINE uint32_t stochastic_half(uint32_t bits, uint32_t noise) {
  return (bits & 0x7fffffffu) > 0x7f800000u ? bits >> 16 | 0x40u : (bits + noise) >> 16;
}
#undef STEEL_INLINE

// 64 bytes of ASCII at once: where pieces begin, computed on masks with a bit for each byte. Included once for each
// instruction set, in a namespace of its own; STEEL_BLOCK says which: 32 (AVX2) or 16 (SSE2) bytes a vector.

struct Masks {
  uint64_t letter = 0, number = 0, blank = 0, space = 0, line = 0, quote = 0, beyond = 0;  // beyond: not ASCII
};

#if STEEL_BLOCK == 32
struct Vector {
  __m256i bytes;
  static Vector load(const uint8_t* at) { return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at))}; }
  static uint64_t mask(__m256i found) { return static_cast<uint32_t>(_mm256_movemask_epi8(found)); }
  uint64_t equal(char byte) const { return mask(_mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(byte))); }
  uint64_t range(char first, char count) const {
    const __m256i from = _mm256_sub_epi8(bytes, _mm256_set1_epi8(first));
    return mask(_mm256_cmpeq_epi8(_mm256_min_epu8(from, _mm256_set1_epi8(static_cast<char>(count - 1))), from));
  }
  Vector lower() const { return {_mm256_or_si256(bytes, _mm256_set1_epi8(0x20))}; }
  uint64_t high() const { return mask(bytes); }
};
#else
struct Vector {
  __m128i bytes;
  static Vector load(const uint8_t* at) { return {_mm_loadu_si128(reinterpret_cast<const __m128i*>(at))}; }
  static uint64_t mask(__m128i found) { return static_cast<uint32_t>(_mm_movemask_epi8(found)); }
  uint64_t equal(char byte) const { return mask(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte))); }
  uint64_t range(char first, char count) const {
    const __m128i from = _mm_sub_epi8(bytes, _mm_set1_epi8(first));
    return mask(_mm_cmpeq_epi8(_mm_min_epu8(from, _mm_set1_epi8(static_cast<char>(count - 1))), from));
  }
  Vector lower() const { return {_mm_or_si128(bytes, _mm_set1_epi8(0x20))}; }
  uint64_t high() const { return mask(bytes); }
};
#endif

inline Masks masks_of(const uint8_t* at) {
  Masks masks;
  for (unsigned i = 0; i < 64; i += STEEL_BLOCK) {
    const Vector block = Vector::load(at + i);
    masks.letter |= block.lower().range('a', 26) << i;
    masks.number |= block.range('0', 10) << i;
    masks.blank |= block.equal(' ') << i;
    masks.space |= block.range('\t', 5) << i;
    masks.line |= (block.equal('\n') | block.equal('\r')) << i;
    masks.quote |= block.equal('\'') << i;
    masks.beyond |= block.high() << i;
  }
  masks.space |= masks.blank;
  return masks;
}

// The places up to one behind the last bit; the first place when there is none.
inline uint64_t through(uint64_t bits) {
  return bits == 0 ? 1 : (uint64_t{2} << (63 - __builtin_clzll(bits)) << 1) - 1;
}

// Where pieces begin in a block whose first byte begins one and whose first `size` bytes are the text's and ASCII. What
// stands beyond the block does not matter to any of them; the last piece may go on there.
template <Pattern kPattern>
inline uint64_t piece_starts(const uint8_t* at, size_t digits, const Masks& masks, unsigned size) {
  const uint64_t valid = size == 64 ? ~uint64_t{0} : (uint64_t{1} << size) - 1;
  const uint64_t letter = masks.letter & valid, number = masks.number & valid, space = masks.space & valid;
  const uint64_t blank = masks.blank & valid, line = masks.line & valid, other = valid & ~(letter | number | space);
  // Of white space, the last one before something else begins a piece: a word takes it along.
  uint64_t starts = 1 | (space & ~(space << 1));
  uint64_t known = ~uint64_t{0};  // places of which enough of the text is here
  if constexpr (kPattern == Pattern::kLines) {
    const uint64_t plain = space & ~line;
    const uint64_t single = other & ~(other << 1) & ~(blank << 1);  // the first of a run of its own
    starts &= ~(line & (other << 1)) | 1;                           // line ends behind signs belong to them
    starts |= (plain & ~(space >> 1) & valid >> 1) | (line << 1 & ~line);
    starts |= letter & ~(letter << 1) & ~((plain | single) << 1);
    starts |= single | (number << 1 & ~number);
    if (digits == 1) {
      starts |= number;
    } else {
      uint64_t group = number & ~(number << 1);
      const uint64_t three = number & number << 1 & number << 2;
      for (; group != 0; group = group << 3 & three) starts |= group;
    }
    // Behind a line end, white space that another line end follows: which is the last one, the slow way finds out.
    const uint64_t first = plain & line << 1;
    const uint64_t lines = line & (first + plain) & ~plain;
    if (lines != 0) {
      const uint64_t below = ~space & ((lines & (~lines + 1)) - 1);
      known = through(below);
    }
  } else {
    starts |= (space & ~(space >> 1) & valid >> 1);
    starts |= ((letter & ~(letter << 1)) | (number & ~(number << 1)) | (other & ~(other << 1))) & ~(blank << 1);
  }
  // White space at the end of the block: only its first place is known.
  known &= through(valid & ~space);
  for (uint64_t quotes = starts & masks.quote & letter >> 1; quotes != 0; quotes &= quotes - 1) {
    const auto place = static_cast<unsigned>(__builtin_ctzll(quotes));
    const unsigned letters = contracted<kPattern>(at + place + 1);
    if (letters == 0) continue;
    if (kPattern == Pattern::kWords) starts &= ~(uint64_t{2} << place);
    if (place + letters < 63) starts |= uint64_t{2} << (place + letters);
  }
  return starts & known & valid;
}

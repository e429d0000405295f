// The activation functions of an MLP with their slopes, for CPUs and GPUs alike: the includer defines STEEL_INLINE,
// which begins a function, and exp_of(float). What NaN gives there does not matter: it comes through x as well.

struct Point {
  float value, slope;
};

struct SiLU {
  STEEL_INLINE Point at(float x) {
    const float sigmoid = 1.0f / (1.0f + exp_of(-x));
    return {x * sigmoid, sigmoid * (1.0f + x * (1.0f - sigmoid))};
  }
};

// x times the normal distribution function. Its lower tail is exp(-x^2 / 2) times a polynomial in 1 / (1 + 0.3 |x|),
// fitted to erfcx / 2 on |x| <= 13.3 with a relative error below 6e-8, so that small values keep their digits.
struct GELU {
  STEEL_INLINE Point at(float x) {
    const float distance = x < 0.0f ? -x : x;
    const float t = 1.0f / (1.0f + 0.3f * distance);
    float p = 3.831236058e-2f;
    p = p * t - 1.688450766e-1f;
    p = p * t + 2.279955886e-1f;
    p = p * t - 7.574482135e-2f;
    p = p * t + 1.420081579e-1f;
    p = p * t + 9.490877748e-2f;
    p = p * t + 1.218625312e-1f;
    p = p * t + 1.194958210e-1f;
    p = p * t + 6.689718869e-6f;
    const float bell = exp_of(-0.5f * x * x);
    const float tail = bell * p;
    const float below = x < 0.0f ? tail : 1.0f - tail;
    return {x * below, below + x * 0.3989422804f * bell};
  }
};

// GELU's approximation by tanh, written with a sigmoid: (1 + tanh(u)) / 2 = sigmoid(2 u).
struct GELUTanh {
  STEEL_INLINE Point at(float x) {
    const float square = x * x;
    const float sigmoid = 1.0f / (1.0f + exp_of(-1.5957691216f * x * (1.0f + 0.044715f * square)));
    const float turn = 1.5957691216f * (1.0f + 0.134145f * square);
    return {x * sigmoid, sigmoid * (1.0f + x * (1.0f - sigmoid) * turn)};
  }
};

struct ReLU {
  STEEL_INLINE Point at(float x) { return {x < 0.0f ? 0.0f : x, x <= 0.0f ? 0.0f : 1.0f}; }
};

struct SquaredReLU {
  STEEL_INLINE Point at(float x) {
    const float positive = x < 0.0f ? 0.0f : x;
    return {positive * positive, 2.0f * positive};
  }
};

// Calls call(Function{}) with the function of a number.
template <class Call>
inline void with_function(int64_t function, Call call) {
  if (function == 0) call(SiLU{});
  if (function == 1) call(GELU{});
  if (function == 2) call(GELUTanh{});
  if (function == 3) call(ReLU{});
  if (function == 4) call(SquaredReLU{});
}

// Products of 8-bit matrices that are added to an fp32 matrix inside the matmul, by cuBLASLt; the arguments are those of
// declarations.h.
//
// Nothing links to cuBLASLt: its functions are looked for at run time, first among those that this process has, so that
// torch's copy serves, of whatever version. What is called has not changed since CUDA 11.8.
#include <dlfcn.h>

#include <array>
#include <map>
#include <mutex>

#include "common.cuh"

#if __has_include(<cublasLt.h>)
#include <cublasLt.h>

namespace {

struct Library {
  decltype(&cublasLtCreate) create;
  decltype(&cublasLtMatmulDescCreate) product_create;
  decltype(&cublasLtMatmulDescSetAttribute) product_set;
  decltype(&cublasLtMatrixLayoutCreate) layout_create;
  decltype(&cublasLtMatmulPreferenceCreate) preference_create;
  decltype(&cublasLtMatmulPreferenceSetAttribute) preference_set;
  decltype(&cublasLtMatmulPreferenceDestroy) preference_destroy;
  decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic;
  decltype(&cublasLtMatmul) matmul;
  bool complete = true;

  explicit Library(void* handle) {
    find(handle, create, "cublasLtCreate");
    find(handle, product_create, "cublasLtMatmulDescCreate");
    find(handle, product_set, "cublasLtMatmulDescSetAttribute");
    find(handle, layout_create, "cublasLtMatrixLayoutCreate");
    find(handle, preference_create, "cublasLtMatmulPreferenceCreate");
    find(handle, preference_set, "cublasLtMatmulPreferenceSetAttribute");
    find(handle, preference_destroy, "cublasLtMatmulPreferenceDestroy");
    find(handle, heuristic, "cublasLtMatmulAlgoGetHeuristic");
    find(handle, matmul, "cublasLtMatmul");
  }

 private:
  template <class Function>
  void find(void* handle, Function& function, const char* name) {
    function = reinterpret_cast<Function>(dlsym(handle, name));
    complete = complete && function != nullptr;
  }
};

// What this process sees everywhere, then a copy that it has loaded, then one that the system finds.
void* handle_of_library() {
  if (dlsym(RTLD_DEFAULT, "cublasLtMatmul") != nullptr) return RTLD_DEFAULT;
  const char* const names[] = {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so.11"};
  for (const int loaded : {RTLD_NOLOAD, 0}) {
    for (const char* name : names) {
      if (void* handle = dlopen(name, RTLD_LAZY | loaded)) return handle;
    }
  }
  return RTLD_DEFAULT;  // which has none of the functions
}

// What is the same for all products of one shape: kept for as long as the process lives.
struct Plan {
  cublasLtMatmulDesc_t product = nullptr;
  cublasLtMatrixLayout_t left = nullptr, right = nullptr, total = nullptr;
  cublasLtMatmulAlgo_t algorithm = {};
};

struct Shape {
  int64_t rows, columns, depth;
  bool a_e5m2, b_e5m2;
};

template <class Value>
bool set(decltype(&cublasLtMatmulDescSetAttribute) function, cublasLtMatmulDesc_t product,
         cublasLtMatmulDescAttributes_t attribute, const Value& value) {
  return function(product, attribute, &value, sizeof(value)) == CUBLAS_STATUS_SUCCESS;
}

// cuBLAS counts by columns. There b, (columns, depth) by rows, is a matrix of `depth` rows that is transposed, a one that
// is not, and the total has `columns` rows: the order of 8-bit products on every card ("TN").
bool make_plan(const Library& library, cublasLtHandle_t handle, const Shape& shape, uint64_t workspace_bytes,
               Plan& plan) {
  const auto type = [](bool e5m2) { return e5m2 ? CUDA_R_8F_E5M2 : CUDA_R_8F_E4M3; };
  const auto layout = [&](cublasLtMatrixLayout_t& made, cudaDataType_t of, int64_t rows, int64_t columns) {
    return library.layout_create(&made, of, static_cast<uint64_t>(rows), static_cast<uint64_t>(columns), rows) ==
           CUBLAS_STATUS_SUCCESS;
  };
  if (library.product_create(&plan.product, CUBLAS_COMPUTE_32F, CUDA_R_32F) != CUBLAS_STATUS_SUCCESS ||
      !set(library.product_set, plan.product, CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T) ||
      !set(library.product_set, plan.product, CUBLASLT_MATMUL_DESC_TRANSB, CUBLAS_OP_N) ||
      !layout(plan.left, type(shape.b_e5m2), shape.depth, shape.columns) ||
      !layout(plan.right, type(shape.a_e5m2), shape.depth, shape.rows) ||
      !layout(plan.total, CUDA_R_32F, shape.columns, shape.rows)) {
    return false;
  }
  cublasLtMatmulPreference_t preference = nullptr;
  if (library.preference_create(&preference) != CUBLAS_STATUS_SUCCESS) return false;
  const uint32_t alignment = 16;
  bool good = library.preference_set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace_bytes,
                                     sizeof(workspace_bytes)) == CUBLAS_STATUS_SUCCESS;
  for (const auto which : {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                           CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
    good = good && library.preference_set(preference, which, &alignment, sizeof(alignment)) == CUBLAS_STATUS_SUCCESS;
  }
  cublasLtMatmulHeuristicResult_t found = {};
  int count = 0;
  good = good &&
         library.heuristic(handle, plan.product, plan.left, plan.right, plan.total, plan.total, preference, 1, &found,
                           &count) == CUBLAS_STATUS_SUCCESS &&
         count == 1 && found.state == CUBLAS_STATUS_SUCCESS;
  plan.algorithm = found.algo;
  library.preference_destroy(preference);
  return good;
}

}  // namespace

extern "C" int scaled_matmul_add(int64_t dtype, const void* a, const void* b, const void* a_scale, const void* b_scale,
                                 void* total, void* workspace, int64_t workspace_bytes, int64_t a_e5m2, int64_t b_e5m2,
                                 int64_t rows, int64_t columns, int64_t depth, int64_t device, cudaStream_t stream) {
  if (dtype != 0 || rows % 16 != 0 || columns % 16 != 0 || depth % 16 != 0) return cudaErrorInvalidValue;
  if (!aligned(a) || !aligned(b) || !aligned(total) || !aligned(workspace)) return cudaErrorMisalignedAddress;
  if (rows == 0 || columns == 0 || depth == 0) return 0;
  static const Library library(handle_of_library());
  if (!library.complete) return cudaErrorNotSupported;
  static std::mutex mutex;  // a plan holds the scales of the call under way
  static std::map<int64_t, cublasLtHandle_t> handles;
  static std::map<std::array<int64_t, 7>, Plan> plans;
  const std::lock_guard<std::mutex> lock(mutex);
  const auto handle = handles.try_emplace(device, nullptr).first;
  if (handle->second == nullptr && library.create(&handle->second) != CUBLAS_STATUS_SUCCESS) {
    return cudaErrorNotSupported;
  }
  const std::array<int64_t, 7> key = {device, rows, columns, depth, a_e5m2, b_e5m2, workspace_bytes};
  auto plan = plans.find(key);
  if (plan == plans.end()) {
    Plan made;
    const Shape shape = {rows, columns, depth, a_e5m2 != 0, b_e5m2 != 0};
    if (!make_plan(library, handle->second, shape, static_cast<uint64_t>(workspace_bytes), made)) {
      return cudaErrorNotSupported;
    }
    plan = plans.emplace(key, made).first;
  }
  const Plan& p = plan->second;
  if (!set(library.product_set, p.product, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, b_scale) ||
      !set(library.product_set, p.product, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, a_scale)) {
    return cudaErrorNotSupported;
  }
  const float one = 1.0f;
  const auto status =
      library.matmul(handle->second, p.product, &one, b, p.left, a, p.right, &one, total, p.total, total, p.total,
                     &p.algorithm, workspace, static_cast<size_t>(workspace_bytes), stream);
  return status == CUBLAS_STATUS_SUCCESS ? 0 : cudaErrorUnknown;
}

#else

extern "C" int scaled_matmul_add(int64_t, const void*, const void*, const void*, const void*, void*, void*, int64_t,
                                 int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, cudaStream_t) {
  return cudaErrorNotSupported;
}

#endif

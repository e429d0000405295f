// A plain loop in the place of cuBLASLt's 8-bit products, which refuses what a card with 8-bit tensor cores refuses: an
// order other than TN, two matrices in E5M2, sizes and addresses that are not multiples of 16, a product without scales,
// a plan that was made for other shapes.
#include "cublasLt.h"

#include <cuda_fp8.h>

#include <cstring>
#include <vector>

struct EmulatedHandle {};
struct EmulatedPreference {
  uint64_t workspace_bytes = 0;
};
struct EmulatedLayout {
  cudaDataType_t type;
  int64_t rows, columns;
};
struct EmulatedProduct {
  int transposed[2] = {CUBLAS_OP_N, CUBLAS_OP_N};
  const float* scales[2] = {nullptr, nullptr};
};

namespace {

float value_of(const void* data, int64_t at, cudaDataType_t type) {
  const auto bits = static_cast<const __nv_fp8_storage_t*>(data)[at];
  const auto format = type == CUDA_R_8F_E5M2 ? __NV_E5M2 : __NV_E4M3;
  return __half2float(static_cast<__half>(__nv_cvt_fp8_to_halfraw(bits, format)));
}

bool multiple(int64_t number) { return number % 16 == 0; }
bool multiple(const void* address) { return multiple(static_cast<int64_t>(reinterpret_cast<uintptr_t>(address))); }
bool eight_bit(cudaDataType_t type) { return type == CUDA_R_8F_E4M3 || type == CUDA_R_8F_E5M2; }

// Whether a card has this product: D (a's columns by b's) = aᵀ b + C.
bool known(const EmulatedProduct& product, const EmulatedLayout& a, const EmulatedLayout& b, const EmulatedLayout& c) {
  const bool types = eight_bit(a.type) && eight_bit(b.type) && c.type == CUDA_R_32F &&
                     !(a.type == CUDA_R_8F_E5M2 && b.type == CUDA_R_8F_E5M2);
  const bool sizes = a.rows == b.rows && c.rows == a.columns && c.columns == b.columns && multiple(a.rows) &&
                     multiple(a.columns) && multiple(b.columns);
  return types && sizes && product.transposed[0] == CUBLAS_OP_T && product.transposed[1] == CUBLAS_OP_N;
}

void describe(cublasLtMatmulAlgo_t& algorithm, const EmulatedLayout& a, const EmulatedLayout& b) {
  const uint64_t shape[8] = {static_cast<uint64_t>(a.type), static_cast<uint64_t>(b.type),
                             static_cast<uint64_t>(a.rows), static_cast<uint64_t>(a.columns),
                             static_cast<uint64_t>(b.columns)};
  std::memcpy(algorithm.data, shape, sizeof(shape));
}

}  // namespace

extern "C" {

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  *handle = new EmulatedHandle;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* product, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
  if (compute != CUBLAS_COMPUTE_32F || scale != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
  *product = new EmulatedProduct;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t product, cublasLtMatmulDescAttributes_t attribute,
                                              const void* value, size_t bytes) {
  const bool second = attribute == CUBLASLT_MATMUL_DESC_TRANSB || attribute == CUBLASLT_MATMUL_DESC_B_SCALE_POINTER;
  const bool pointer =
      attribute == CUBLASLT_MATMUL_DESC_A_SCALE_POINTER || attribute == CUBLASLT_MATMUL_DESC_B_SCALE_POINTER;
  if (bytes != (pointer ? sizeof(void*) : sizeof(int32_t))) return CUBLAS_STATUS_INVALID_VALUE;
  void* place = pointer ? static_cast<void*>(&product->scales[second]) : &product->transposed[second];
  std::memcpy(place, value, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType_t type, uint64_t rows,
                                          uint64_t columns, int64_t leading) {
  if (leading != static_cast<int64_t>(rows)) return CUBLAS_STATUS_INVALID_VALUE;
  *layout = new EmulatedLayout{type, static_cast<int64_t>(rows), static_cast<int64_t>(columns)};
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  *preference = new EmulatedPreference;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute, const void* value,
                                                    size_t bytes) {
  if (attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES) {
    if (bytes != sizeof(uint64_t)) return CUBLAS_STATUS_INVALID_VALUE;
    std::memcpy(&preference->workspace_bytes, value, bytes);
    return CUBLAS_STATUS_SUCCESS;
  }
  return bytes == sizeof(uint32_t) ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  delete preference;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t product, cublasLtMatrixLayout_t a,
                                              cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c,
                                              cublasLtMatrixLayout_t d, cublasLtMatmulPreference_t preference, int most,
                                              cublasLtMatmulHeuristicResult_t found[], int* count) {
  *count = 0;
  if (most < 1 || c != d || !known(*product, *a, *b, *c)) return CUBLAS_STATUS_NOT_SUPPORTED;
  *count = 1;
  describe(found->algo, *a, *b);
  found->workspaceSize = preference->workspace_bytes;
  found->state = CUBLAS_STATUS_SUCCESS;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t product, const void* alpha, const void* a,
                              cublasLtMatrixLayout_t a_layout, const void* b, cublasLtMatrixLayout_t b_layout,
                              const void* beta, const void* c, cublasLtMatrixLayout_t c_layout, void* d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t* algorithm, void* workspace,
                              size_t workspace_bytes, cudaStream_t) {
  cublasLtMatmulAlgo_t wanted = {};
  describe(wanted, *a_layout, *b_layout);
  const bool addresses = multiple(a) && multiple(b) && multiple(c) && multiple(workspace) && c == d;
  if (!addresses || c_layout != d_layout || !known(*product, *a_layout, *b_layout, *c_layout) ||
      product->scales[0] == nullptr || product->scales[1] == nullptr ||
      std::memcmp(&wanted, algorithm, sizeof(wanted)) != 0) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  std::memset(workspace, 0xff, workspace_bytes);  // it belongs to the product while that runs
  const int64_t rows = c_layout->rows, columns = c_layout->columns, depth = a_layout->rows;
  const float factor = *static_cast<const float*>(alpha) * *product->scales[0] * *product->scales[1];
  std::vector<float> left(depth * rows), right(depth * columns);
  for (int64_t i = 0; i < depth * rows; ++i) left[i] = value_of(a, i, a_layout->type);
  for (int64_t i = 0; i < depth * columns; ++i) right[i] = value_of(b, i, b_layout->type);
  for (int64_t j = 0; j < columns; ++j) {
    for (int64_t i = 0; i < rows; ++i) {
      float sum = 0.0f;
      for (int64_t k = 0; k < depth; ++k) sum += left[i * depth + k] * right[j * depth + k];
      float& out = static_cast<float*>(d)[j * rows + i];
      out = factor * sum + *static_cast<const float*>(beta) * out;
    }
  }
  return CUBLAS_STATUS_SUCCESS;
}
}

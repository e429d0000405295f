// The list of all kernels. Declarations, the Python binding and the types of ctypes' arguments come from it: an includer
// defines CPU_KERNEL(name, parameters...) or CUDA_KERNEL(name, parameters...), or both, and gets one of them for each
// kernel there is on such a device. Parameters are int64_t, double, const void* or void*.
//
// Behind these come on a CPU the number of threads, on which no result depends, and on a GPU the stream. Launchers on a
// GPU return the CUDA error code of the launch. dtype: 0 fp32, 1 bf16, 2 fp16. Tensors are contiguous.
#ifndef CPU_KERNEL
#define CPU_KERNEL(...)
#endif
#ifndef CUDA_KERNEL
#define CUDA_KERNEL(...)
#endif
#define KERNEL(...) CPU_KERNEL(__VA_ARGS__) CUDA_KERNEL(__VA_ARGS__)

// RMSNorm, or LayerNorm where there is a mean: y = n * weight (+ bias) with n = (x - mean) * rstd, mean that of the row
// or 0, rstd = 1 / sqrt(mean of (x - mean)^2 + epsilon); mean and rstd are fp32, one per row. With a residual,
// x + residual is rounded to the type, written to sum, and normalised in place of x. A mean comes with a bias.
KERNEL(norm_forward, int64_t dtype, const void* x, const void* residual, const void* weight, const void* bias, void* y,
       void* sum, void* mean, void* rstd, int64_t rows, int64_t hidden, double epsilon)

// grad_x = rstd * (g - mean(g) - n * mean(g * n)) + grad_sum with g = grad * weight; without a mean, mean(g) is left
// out. grad_weight: fp32, sum over rows of grad * n, and behind it with a mean the bias's gradient, that of grad.
// partial: fp32, (row_blocks(rows), size of grad_weight). grad_sum may be null.
KERNEL(norm_backward, int64_t dtype, const void* grad, const void* grad_sum, const void* x, const void* weight,
       const void* mean, const void* rstd, void* grad_x, void* grad_weight, void* partial, int64_t rows, int64_t hidden)

// y = f(x), or with `gated` f(gate) * up, where a row of x holds gate's channels, then up's, 2 * width. function: 0 SiLU,
// 1 GELU, 2 GELU by tanh, 3 ReLU, 4 squared ReLU. y and its gradient: (rows, width).
KERNEL(activation_forward, int64_t dtype, const void* x, void* y, int64_t function, int64_t gated, int64_t rows,
       int64_t width)
KERNEL(activation_backward, int64_t dtype, const void* grad, const void* x, void* grad_x, int64_t function,
       int64_t gated, int64_t rows, int64_t width)

// lse = log of the sum of exp over the first `real` columns of each row (-inf if there are none); target = the logit of
// column label - first, 0 if it is not among them. labels int64; lse, target fp32.
KERNEL(cross_entropy_forward, int64_t dtype, const void* logits, const void* labels, void* lse, void* target,
       int64_t rows, int64_t columns, int64_t first, int64_t real)

// Over the logits: exp(logit - lse) * probability_scale - [column is label - first] * label_scale, 0 from column `real`
// on. The scales (fp32) have an element per row.
KERNEL(cross_entropy_backward, int64_t dtype, void* logits, const void* labels, const void* lse,
       const void* probability_scale, const void* label_scale, int64_t rows, int64_t columns, int64_t first,
       int64_t real)

// AdamW over many tensors. table: int64 (tensors, 11) of addresses and numbers: parameter of `dtype` (0: none), fp32
// master and gradient, exp_avg and exp_avg_sq of their types (fp32 or bf16), number of elements, whether the tensor
// decays; and for moments in bf16, which are rounded stochastically (rounding.h): key, first row, first column, and
// columns of this block. chunks: int64 (chunk_count, 2) of tensor and first element, kChunk elements each. The gradient
// is multiplied by the fp64 number at scale first (on a GPU the host need not know it); if that is not a number, nothing
// changes. correction1 and correction2 are 1 - beta^number, with the number of the step.
KERNEL(adamw, int64_t dtype, int64_t exp_avg_dtype, int64_t exp_avg_sq_dtype, const void* table, const void* chunks,
       int64_t chunk_count, const void* scale, double lr, double beta1, double beta2, double epsilon,
       double weight_decay, double correction1, double correction2, int64_t number)

// partial (fp64, chunk_count) = sum of squares of each chunk; total (fp64) their sum in order. table: int64
// (tensors, 2) of fp32 addresses and numbers of elements; chunks as for adamw.
KERNEL(sum_of_squares, int64_t dtype, const void* table, const void* chunks, int64_t chunk_count, void* partial,
       void* total)

// RoPE on the first 2 * half channels of each head, channel i paired with i + half; the others are copied. x and y have
// the given strides (elements) for batch, position and head, and adjacent channels; they may be the same memory with
// the same strides. cosine and sine: fp32 (tables, length, half), with tables 1 or batch. direction: 1, or -1 to turn
// back.
KERNEL(rope, int64_t dtype, const void* x, const void* cosine, const void* sine, void* y, int64_t batch, int64_t length,
       int64_t heads, int64_t size, int64_t half, int64_t x_batch, int64_t x_position, int64_t x_head, int64_t y_batch,
       int64_t y_position, int64_t y_head, int64_t tables, double direction)

// RMSNorm of each query and key head (weights of size `size`), then RoPE as above, rounded once. x: (batch, length,
// queries + 2 keys, size), the heads of queries, keys and values; y (batch, length, queries + keys, size) and rstd (fp32,
// an element per head of y) leave out the values. half 0: no rotation.
KERNEL(qk_norm_rope_forward, int64_t dtype, const void* x, const void* query_weight, const void* key_weight,
       const void* cosine, const void* sine, void* y, void* rstd, int64_t batch, int64_t length, int64_t queries,
       int64_t keys, int64_t size, int64_t half, int64_t tables, double epsilon)

// grad_x: the whole gradient of x, in which that of values is a copy of grad_value; grad_weights: fp32 (2, size), of
// queries' and keys' norms. The three gradients have the given strides (elements) and adjacent channels. partial: fp32,
// (row_blocks(batch * length), 2, size).
KERNEL(qk_norm_rope_backward, int64_t dtype, const void* grad_query, const void* grad_key, const void* grad_value,
       const void* x, const void* query_weight, const void* key_weight, const void* rstd, const void* cosine,
       const void* sine, void* grad_x, void* grad_weights, void* partial, int64_t batch, int64_t length,
       int64_t queries, int64_t keys, int64_t size, int64_t half, int64_t query_batch, int64_t query_position,
       int64_t query_head, int64_t key_batch, int64_t key_position, int64_t key_head, int64_t value_batch,
       int64_t value_position, int64_t value_head, int64_t tables)

// y = softmax(q k^T * scale) v over each token's past within its document; lse (fp32, (heads, tokens)) = log of the sum
// of exp of the scaled scores. Tokens are numbered through; document d is those from starts[d] to starts[d + 1] (int32,
// documents + 1). Query head n goes with key and value head n / (heads / kv_heads). q, k and v have strides (elements)
// for token and head, and adjacent channels; y and the gradients are contiguous (tokens, heads, size).
CPU_KERNEL(attention_forward, int64_t dtype, const void* q, const void* k, const void* v, void* y, void* lse,
           const void* starts, int64_t documents, int64_t heads, int64_t kv_heads, int64_t size, int64_t q_token,
           int64_t q_head, int64_t k_token, int64_t k_head, int64_t v_token, int64_t v_head, double scale)
CPU_KERNEL(attention_backward, int64_t dtype, const void* grad, const void* q, const void* k, const void* v,
           const void* y, const void* lse, void* grad_q, void* grad_k, void* grad_v, const void* starts,
           int64_t documents, int64_t heads, int64_t kv_heads, int64_t size, int64_t q_token, int64_t q_head,
           int64_t k_token, int64_t k_head, int64_t v_token, int64_t v_head, double scale)

// y (tokens, rows) = x (tokens, features) times weight (rows, features) transposed, plus bias (may be null); summed in
// fp32 and rounded once. For so few tokens that reading the weight is most of the work.
CPU_KERNEL(few_tokens_linear, int64_t dtype, const void* x, const void* weight, const void* bias, void* y,
           int64_t tokens, int64_t rows, int64_t features)

// target (V, hidden) of fp32, or of the gradient's type: row ids[t] += grad[t] (T, hidden) for each t, summed in fp32 in
// a fixed order. ids: int64, sorted; order: int64, the t of each; those outside [0, V) count nowhere. partial is for the
// CUDA kernel.
KERNEL(embedding_gradient, int64_t dtype, int64_t target_dtype, void* target, const void* grad, const void* ids,
       const void* order, void* partial, int64_t tokens, int64_t vocabulary, int64_t hidden)

// amax (fp32, 0 before) = the largest magnitude of x; NaN if there is one.
CUDA_KERNEL(largest_magnitude, int64_t dtype, const void* x, void* amax, int64_t count)

// x (rows, columns) times largest_value / max(amax, smallest_amax), in E4M3 or (e5m2) E5M2: by_row as it is, by_column
// transposed, each of which may be null; scale (fp32) is the inverse of the factor. rows and columns are multiples of 16,
// and x, by_row and by_column begin at multiples of 16 bytes.
CUDA_KERNEL(quantise, int64_t dtype, const void* x, const void* amax, double largest_value, double smallest_amax,
            int64_t e5m2, void* by_row, void* by_column, void* scale, int64_t rows, int64_t columns)

// total (fp32, (rows, columns)) += a (rows, depth) times b (columns, depth) transposed, times both scales (fp32, one
// number each on the device), summed in fp32 by cuBLASLt. a and b are in E4M3, or in E5M2 (not both) where that is said.
// Sizes are multiples of 16 and tensors begin at multiples of 16 bytes; workspace is for cuBLASLt; device is the current
// one's number. Gives cudaErrorNotSupported (801) where there is no cuBLASLt, or none that does this.
CUDA_KERNEL(scaled_matmul_add, int64_t dtype, const void* a, const void* b, const void* a_scale, const void* b_scale,
            void* total, void* workspace, int64_t workspace_bytes, int64_t a_e5m2, int64_t b_e5m2, int64_t rows,
            int64_t columns, int64_t depth, int64_t device)

#undef KERNEL
#undef CPU_KERNEL
#undef CUDA_KERNEL

// The headers that hold them on a CPU, in an order in which each finds what it uses. Those who define CPU_SOURCES get
// all of them, in a namespace for an instruction set.
#ifdef CPU_SOURCES
#include "cpu/scalars.h"
#include "cpu/norm.h"
#include "cpu/activation.h"
#include "cpu/cross_entropy.h"
#include "rounding.h"
#include "cpu/optimizer.h"
#include "cpu/embedding.h"
#include "cpu/rope.h"
#include "cpu/qk_norm_rope.h"
#include "cpu/tiles.h"
#include "cpu/attention_bands.h"
#include "cpu/attention.h"
#include "cpu/few_tokens.h"
#endif

// Sums over rows whose parts blocks have left in global memory: the second step of a sum with a fixed order.
#pragma once
#include "common.cuh"

// total (width) = the sum of `blocks` rows of partial, each of `width`; returns the error code of the launch.
int add_partials(const float* partial, float* total, int64_t blocks, int64_t width, cudaStream_t stream);

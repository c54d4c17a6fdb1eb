// The gradient norm and the update of the adapters' weights.
#include <common.cuh>

/// Sums of squares in double precision, one block for each `block_size` elements.
KERNEL(256) sums_of_squares(const float *x, double *sums, i64 count, i64 block_size) {
  const i64 first = blockIdx.x * block_size, last = min(count, first + block_size);
  double sum = 0.0;
  for (i64 i = first + threadIdx.x; i < last; i += blockDim.x) sum += (double)x[i] * (double)x[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

/// AdamW in the form of torch.optim.AdamW; scalars were rounded once from double precision.
/// Source: Loshchilov & Hutter 2019, arXiv:1711.05101, algorithm 2.
KERNEL(256)
adamw(float *weights, const float *gradients, float *first_moments, float *second_moments,
      i64 count, float gradient_scale, float decay, float step_size, float root_correction,
      float rest1, float beta2, float rest2, float epsilon) {
  for (i64 i = grid_thread(); i < count; i += grid_threads()) {
    const float gradient = gradients[i] * gradient_scale;
    const float first = first_moments[i] + (gradient - first_moments[i]) * rest1;
    const float second = second_moments[i] * beta2 + gradient * gradient * rest2;
    const float denominator = sqrtf(second) / root_correction + epsilon;
    weights[i] = weights[i] * decay - first / denominator * step_size;
    first_moments[i] = first;
    second_moments[i] = second;
  }
}

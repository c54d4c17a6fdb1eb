// What several kernels share. Sums have one fixed order each; there are no atomics.
#pragma once
#include <prims.cuh>

DEVICE bool is_aligned(const void *x) { return ((u64)x & 15) == 0; }
DEVICE i64 grid_thread() { return (i64)blockIdx.x * blockDim.x + threadIdx.x; }
DEVICE i64 grid_threads() { return (i64)gridDim.x * blockDim.x; }
DEVICE int warp_index() { return threadIdx.x / 32; }
DEVICE int lane_index() { return threadIdx.x % 32; }

template <class T>
DEVICE T warp_sum(T x) {
  for (int mask = 16; mask; mask >>= 1) x += shuffle_xor(x, mask);
  return x;
}
DEVICE float warp_max(float x) {
  for (int mask = 16; mask; mask >>= 1) x = fmaxf(x, shuffle_xor(x, mask));
  return x;
}

/// The sum over the threads of a block, for all of them.
template <class T>
DEVICE T block_sum(T x) {
  SHARED_ARRAY(T, parts, 32);
  x = warp_sum(x);
  sync_block();  // An earlier sum may still be read.
  if (lane_index() == 0) parts[warp_index()] = x;
  sync_block();
  T sum = parts[0];
  for (int warp = 1; warp < (int)blockDim.x / 32; warp++) sum += parts[warp];
  return sum;
}
DEVICE float block_max(float x) {
  SHARED_ARRAY(float, parts, 32);
  x = warp_max(x);
  sync_block();
  if (lane_index() == 0) parts[warp_index()] = x;
  sync_block();
  float largest = parts[0];
  for (int warp = 1; warp < (int)blockDim.x / 32; warp++) largest = fmaxf(largest, parts[warp]);
  return largest;
}

/// `out[i] = f(in[i]...)` over the grid, four elements at a time where addresses allow.
template <class F, class... In>
DEVICE void map_floats(i64 count, float *out, F f, In... in) {
  const i64 vectors = (is_aligned(out) && ... && is_aligned(in)) ? count / 4 : 0;
  for (i64 i = grid_thread(); i < vectors; i += grid_threads())
    store4(out + 4 * i, f(load4(in + 4 * i).x...), f(load4(in + 4 * i).y...),
           f(load4(in + 4 * i).z...), f(load4(in + 4 * i).w...));
  for (i64 i = 4 * vectors + grid_thread(); i < count; i += grid_threads()) out[i] = f(in[i]...);
}

// RMS normalization and rotary position embedding.
#include <common.cuh>

/// One block a row: `out = x * reciprocal root mean square * weight`.
/// Source: Zhang & Sennrich 2019, arXiv:1910.07467, equation 4.
KERNEL(256)
rms_norm(const float *x, const float *weight, float *out, float *reciprocals, int columns,
         float epsilon) {
  const float *row = x + (i64)blockIdx.x * columns;
  float *to = out + (i64)blockIdx.x * columns;
  const int vectors = is_aligned(row) && is_aligned(to) && is_aligned(weight) ? columns / 4 : 0;
  float squares = 0.0f;
  for (int i = threadIdx.x; i < vectors; i += blockDim.x) {
    const float4 a = load4(row + 4 * i);
    squares += a.x * a.x + a.y * a.y + a.z * a.z + a.w * a.w;
  }
  for (int i = 4 * vectors + threadIdx.x; i < columns; i += blockDim.x) squares += row[i] * row[i];
  const float reciprocal = 1.0f / sqrtf(block_sum(squares) / columns + epsilon);
  if (threadIdx.x == 0) reciprocals[blockIdx.x] = reciprocal;
  for (int i = threadIdx.x; i < vectors; i += blockDim.x) {
    const float4 a = load4(row + 4 * i), w = load4(weight + 4 * i);
    store4(to + 4 * i, a.x * reciprocal * w.x, a.y * reciprocal * w.y, a.z * reciprocal * w.z,
           a.w * reciprocal * w.w);
  }
  for (int i = 4 * vectors + threadIdx.x; i < columns; i += blockDim.x)
    to[i] = row[i] * reciprocal * weight[i];
}

/// Its gradient, added to `dx`.
KERNEL(256)
rms_norm_backward(const float *dy, const float *x, const float *weight, const float *reciprocals,
                  float *dx, int columns) {
  const i64 offset = (i64)blockIdx.x * columns;
  float products = 0.0f;
  for (int i = threadIdx.x; i < columns; i += blockDim.x)
    products += dy[offset + i] * weight[i] * x[offset + i];
  const float reciprocal = reciprocals[blockIdx.x];
  const float projection =
      block_sum(products) * reciprocal * reciprocal * reciprocal / (float)columns;
  for (int i = threadIdx.x; i < columns; i += blockDim.x)
    dx[offset + i] += dy[offset + i] * weight[i] * reciprocal - x[offset + i] * projection;
}

/// Rotates each head's halves in place; `sign` is -1 for the way back. A thread turns one pair.
/// Source: Su et al. 2021, arXiv:2104.09864.
KERNEL(256)
rotary(float *x, const int *positions, const float *table, int rows, int heads, int half,
       int position_count, float sign) {
  const i64 count = (i64)rows * heads * half;
  for (i64 i = grid_thread(); i < count; i += grid_threads()) {
    const int channel = (int)(i % half);
    const i64 head = i / half;
    const i64 angle = (i64)positions[head / heads] * half + channel;
    float *low = x + head * 2 * half + channel;
    const float cosine = table[angle], sine = table[(i64)position_count * half + angle] * sign;
    const float a = low[0], b = low[half];
    low[0] = a * cosine - b * sine;
    low[half] = b * cosine + a * sine;
  }
}

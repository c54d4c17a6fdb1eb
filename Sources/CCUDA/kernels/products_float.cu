// Matrix products in float32, of any shape: those of the adapters, and of the base without bf16.
#include <common.cuh>

/// The shape of a product `[M, K] [K, N]`, and what becomes of it; as `FloatProduct` in Swift.
struct FloatProduct {
  int M, N, K;
  int lda, ldb;
  /// Elements of K that one block sums; a further block in z continues, in an output of its own.
  int chunk;
  float scaling;
  int accumulates;
};

/// `c = scaling a b + bias`, or `c +=`, in tiles of 64 by 64, 256 threads of 4 by 4 each. Where
/// `transposes_a` a lies as `[K, M]`; where `transposes_b` b lies as `[N, K]`.
template <bool transposes_a, bool transposes_b>
DEVICE void multiply_floats(const float *a, const float *b, const float *bias, float *c,
                            const FloatProduct &shape) {
  const int depth = 16, leading = 68;  // Four more than the tile: rows stay aligned.
  SHARED_ARRAY(float, tile_a, 16 * 68);
  SHARED_ARRAY(float, tile_b, 16 * 68);
  const int m0 = blockIdx.y * 64, n0 = blockIdx.x * 64;
  const int row = threadIdx.x / 16 * 4, column = threadIdx.x % 16 * 4;
  const int last = min(shape.K, ((int)blockIdx.z + 1) * shape.chunk);
  float sums[4][4] = {};

  for (int k0 = blockIdx.z * shape.chunk; k0 < last; k0 += depth) {
    // Neighbouring threads read neighbouring elements, whichever way the matrix lies.
    for (int i = threadIdx.x; i < 64 * depth; i += 256) {
      const int am = transposes_a ? i % 64 : i / depth, ak = transposes_a ? i / 64 : i % depth;
      const int m = m0 + am, k = k0 + ak;
      const bool is_inside = m < shape.M && k < last;
      tile_a[ak * leading + am] =
          is_inside ? a[transposes_a ? (i64)k * shape.lda + m : (i64)m * shape.lda + k] : 0.0f;
    }
    for (int i = threadIdx.x; i < 64 * depth; i += 256) {
      const int bn = transposes_b ? i / depth : i % 64, bk = transposes_b ? i % depth : i / 64;
      const int n = n0 + bn, k = k0 + bk;
      const bool is_inside = n < shape.N && k < last;
      tile_b[bk * leading + bn] =
          is_inside ? b[transposes_b ? (i64)n * shape.ldb + k : (i64)k * shape.ldb + n] : 0.0f;
    }
    sync_block();
    for (int k = 0; k < depth; k++) {
      const float4 x = load4(tile_a + k * leading + row), y = load4(tile_b + k * leading + column);
      const float left[4] = {x.x, x.y, x.z, x.w}, right[4] = {y.x, y.y, y.z, y.w};
      for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) sums[i][j] += left[i] * right[j];
    }
    sync_block();
  }

  c += (i64)blockIdx.z * shape.M * shape.N;
  for (int i = 0; i < 4; i++) {
    for (int j = 0; j < 4; j++) {
      const int m = m0 + row + i, n = n0 + column + j;
      if (m >= shape.M || n >= shape.N) continue;
      float *to = c + (i64)m * shape.N + n;
      const float value = sums[i][j] * shape.scaling + (bias ? bias[n] : 0.0f);
      *to = shape.accumulates ? *to + value : value;
    }
  }
}

/// `[M, K] [N, K]^T`.
KERNEL(256)
product_nt(const float *a, const float *b, const float *bias, float *c, FloatProduct shape) {
  multiply_floats<false, true>(a, b, bias, c, shape);
}
/// `[M, K] [K, N]`.
KERNEL(256)
product_nn(const float *a, const float *b, const float *bias, float *c, FloatProduct shape) {
  multiply_floats<false, false>(a, b, bias, c, shape);
}
/// `[K, M]^T [K, N]`.
KERNEL(256)
product_tn(const float *a, const float *b, const float *bias, float *c, FloatProduct shape) {
  multiply_floats<true, false>(a, b, bias, c, shape);
}

/// `out[i] += ` the partial sums of all chunks, in order.
KERNEL(256) add_chunks(const float *partial, float *out, i64 count, int chunks) {
  for (i64 i = grid_thread(); i < count; i += grid_threads()) {
    float sum = partial[i];
    for (int chunk = 1; chunk < chunks; chunk++) sum += partial[chunk * count + i];
    out[i] += sum;
  }
}

// Matrix products on the tensor cores, where there is no cuBLASLt: bf16 operands, float32 sums.
#include <common.cuh>

/// The shape of a product; as `RoundedProduct` in Swift. Leading dimensions are multiples of 8, and
/// `depth`, a multiple of 32, is the padded length of a row of a, zero beyond the product's own.
struct RoundedProduct {
  int M, N;
  int depth;
  /// Rows of b where it lies as `[K, N]`.
  int b_rows;
  int lda, ldb;
  int accumulates;
};

/// `c = a b + bias`, or `c +=`, in tiles of 128 by 128, eight warps of 64 by 32 each, with three
/// stages of copies in flight. Where `transposes_b` b lies as `[N, depth]`, else as `[b_rows, N]`.
/// Rows in shared memory are 16 bytes longer than the tile, so that the eight rows that one
/// ldmatrix reads lie in different banks.
template <bool transposes_b>
DEVICE void multiply_rounded(const u16 *a, const u16 *b, const float *bias, float *c,
                             const RoundedProduct &shape) {
  const int stages = 3, lead_a = 40, lead_b = transposes_b ? 40 : 136;
  const int size_a = 128 * lead_a, size_b = transposes_b ? 128 * lead_b : 32 * lead_b;
  DYNAMIC_SHARED(memory);
  u16 *tiles_a = (u16 *)memory, *tiles_b = tiles_a + stages * size_a;
  const int m0 = blockIdx.y * 128, n0 = blockIdx.x * 128;
  const int lane = lane_index(), warp_m = warp_index() / 4 * 64, warp_n = warp_index() % 4 * 32;
  const int steps = shape.depth / 32;

  auto load = [&](int step) {
    u16 *to_a = tiles_a + step % stages * size_a, *to_b = tiles_b + step % stages * size_b;
    for (int i = threadIdx.x; i < 512; i += 256) {
      const int row = i / 4, column = i % 4 * 8, m = m0 + row;
      const bool is_inside = m < shape.M;
      copy_async(shared(to_a + row * lead_a + column),
                 a + (is_inside ? (i64)m * shape.lda + step * 32 + column : 0), is_inside);
    }
    for (int i = threadIdx.x; i < 512; i += 256) {
      const int row = transposes_b ? i / 4 : i / 16;
      const int column = transposes_b ? i % 4 * 8 : i % 16 * 8;
      const int n = n0 + (transposes_b ? row : column);
      const int k = step * 32 + (transposes_b ? column : row);
      const bool is_inside = transposes_b ? n < shape.N : k < shape.b_rows && n < shape.ldb;
      copy_async(shared(to_b + row * lead_b + column),
                 b + (is_inside ? transposes_b ? (i64)n * shape.ldb + k : (i64)k * shape.ldb + n
                                : 0),
                 is_inside);
    }
  };

  float sums[4][4][4] = {};
  for (int step = 0; step < stages - 1; step++) {
    if (step < steps) load(step);
    commit_copies();
  }
  for (int step = 0; step < steps; step++) {
    wait_copies<stages - 2>();
    sync_block();
    // Every thread is done with the stage before, which the next copies overwrite.
    if (step + stages - 1 < steps) load(step + stages - 1);
    commit_copies();
    const u16 *from_a = tiles_a + step % stages * size_a;
    const u16 *from_b = tiles_b + step % stages * size_b;
#pragma unroll
    for (int k = 0; k < 32; k += 16) {
      u32 left[4][4], right[2][4];
#pragma unroll
      for (int i = 0; i < 4; i++)
        load_matrices(left[i], shared(from_a + (warp_m + 16 * i + lane % 16) * lead_a + k +
                                      lane / 16 * 8));
#pragma unroll
      for (int j = 0; j < 2; j++) {
        const int n = warp_n + 16 * j;
        if (transposes_b)
          load_matrices(right[j], shared(from_b + (n + lane % 8 + lane / 16 * 8) * lead_b + k +
                                         lane / 8 % 2 * 8));
        else
          load_matrices_transposed(
              right[j], shared(from_b + (k + lane % 16) * lead_b + n + lane / 16 * 8));
      }
#pragma unroll
      for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
          multiply_add(sums[i][j], left[i], right[j / 2][j % 2 * 2], right[j / 2][j % 2 * 2 + 1]);
    }
  }

#pragma unroll
  for (int i = 0; i < 4; i++) {
#pragma unroll
    for (int j = 0; j < 4; j++) {
#pragma unroll
      for (int part = 0; part < 4; part++) {
        const int m = m0 + warp_m + 16 * i + lane / 4 + part / 2 * 8;
        const int n = n0 + warp_n + 8 * j + lane % 4 * 2 + part % 2;
        if (m >= shape.M || n >= shape.N) continue;
        float *to = c + (i64)m * shape.N + n;
        const float value = sums[i][j][part] + (bias ? bias[n] : 0.0f);
        *to = shape.accumulates ? *to + value : value;
      }
    }
  }
}

/// `a b^T`, b as `[N, depth]`.
KERNEL(256)
rounded_product_nt(const u16 *a, const u16 *b, const float *bias, float *c, RoundedProduct shape) {
  multiply_rounded<true>(a, b, bias, c, shape);
}
/// `a b`, b as `[b_rows, N]`.
KERNEL(256)
rounded_product_nn(const u16 *a, const u16 *b, const float *bias, float *c, RoundedProduct shape) {
  multiply_rounded<false>(a, b, bias, c, shape);
}

// Attention on the tensor cores: bf16 operands, float32 softmax and sums.
//
// Source: Dao 2023, arXiv:2307.08691 (FlashAttention-2), algorithms 1 and 2. The backward pass
// makes the scores twice, once for dQ and once for dK and dV, so that every sum has one block and
// one order, and no atomics are needed.
//
// Rows were rounded beforehand and padded with zeros to D channels a head. In shared memory a row
// is 16 bytes longer, so that the eight rows that one ldmatrix reads lie in different banks. Four
// warps take 16 rows each of a tile of 64.
#include <attention.cuh>

static const float log2e = 1.4426950408889634f;

/// Starts the copy of up to `rows` rows of one head; rows from `count` on become zero.
template <int D>
DEVICE void load_tile(u16 *to, const u16 *from, i64 first, int rows, int count, int heads,
                      int head) {
  for (int i = threadIdx.x; i < rows * (D / 8); i += 128) {
    const int row = i / (D / 8), column = i % (D / 8) * 8;
    const bool is_inside = row < count;
    copy_async(shared(to + row * (D + 8) + column),
               from + (is_inside ? ((first + row) * heads + head) * D + column : 0), is_inside);
  }
}

/// `scores[16, 8 * tiles] = a b^T` of one warp; both lie as rows of D channels, a's from `row` on.
template <int D, int tiles>
DEVICE void multiply_rows(float (&scores)[tiles][4], const u16 *a, int row, const u16 *b) {
  const int lane = lane_index();
#pragma unroll
  for (int j = 0; j < tiles; j++)
    for (int part = 0; part < 4; part++) scores[j][part] = 0.0f;
#pragma unroll 2
  for (int k = 0; k < D; k += 16) {
    u32 left[4];
    load_matrices(left, shared(a + (row + lane % 16) * (D + 8) + k + lane / 16 * 8));
#pragma unroll
    for (int j = 0; j < tiles; j += 2) {
      u32 right[4];
      load_matrices(right, shared(b + (8 * j + lane % 8 + lane / 16 * 8) * (D + 8) + k +
                                  lane / 8 % 2 * 8));
      multiply_add(scores[j], left, right[0], right[1]);
      multiply_add(scores[j + 1], left, right[2], right[3]);
    }
  }
}

/// `sums[16, D] += weights b`; the weights lie as scores do, b as rows of D channels.
template <int D, int tiles>
DEVICE void add_weighted_rows(float (&sums)[D / 8][4], const float (&weights)[tiles][4],
                              const u16 *b) {
  const int lane = lane_index();
#pragma unroll
  for (int j = 0; j < tiles; j += 2) {
    // Two tiles of 8 columns of a product are one operand of 16 columns, in the same lanes.
    const u32 left[4] = {pack_bf16(weights[j][0], weights[j][1]),
                         pack_bf16(weights[j][2], weights[j][3]),
                         pack_bf16(weights[j + 1][0], weights[j + 1][1]),
                         pack_bf16(weights[j + 1][2], weights[j + 1][3])};
#pragma unroll
    for (int d = 0; d < D; d += 16) {
      u32 right[4];
      load_matrices_transposed(right,
                               shared(b + (8 * j + lane % 16) * (D + 8) + d + lane / 16 * 8));
      multiply_add(sums[d / 8], left, right[0], right[1]);
      multiply_add(sums[d / 8 + 1], left, right[2], right[3]);
    }
  }
}

/// Writes the warp's 16 rows of a head, times a factor for each half of the rows.
template <int D>
DEVICE void store_rows(const float (&sums)[D / 8][4], float *to, i64 first, int row, int count,
                       int heads, int head, int width, float factor0, float factor1) {
  const int lane = lane_index();
#pragma unroll
  for (int j = 0; j < D / 8; j++) {
#pragma unroll
    for (int part = 0; part < 4; part++) {
      const int r = row + lane / 4 + part / 2 * 8, d = 8 * j + lane % 4 * 2 + part % 2;
      if (r < count && d < width)
        to[((first + r) * heads + head) * width + d] = sums[j][part] * (part < 2 ? factor0 : factor1);
    }
  }
}

/// One block: 64 queries of one head against tiles of 64 keys, the next tile on its way.
template <int D>
DEVICE void forward(const QueryBlock *blocks, const u16 *q, const u16 *k, const u16 *v, float *out,
                    float *log_sums, const AttentionSizes &sizes) {
  const int tile = 64 * (D + 8);
  DYNAMIC_SHARED(memory);
  u16 *queries = (u16 *)memory, *keys = queries + tile, *values = keys + 2 * tile;
  const QueryBlock block = blocks[blockIdx.x];
  const int lane = lane_index(), row = 16 * warp_index(), head = blockIdx.y;
  const int key_head = head / (sizes.heads / sizes.key_heads);
  const int begin = first_key(block, block.first + block.shift, sizes.window);
  const int end = block.first + block.count + block.shift;
  auto load = [&](int step) {
    const int first = begin + 64 * step;
    load_tile<D>(keys + step % 2 * tile, k, first, 64, end - first, sizes.key_heads, key_head);
    load_tile<D>(values + step % 2 * tile, v, first, 64, end - first, sizes.key_heads, key_head);
  };
  load_tile<D>(queries, q, block.first, 64, block.count, sizes.heads, head);
  load(0);
  commit_copies();

  // The keys of the lane's two rows, row + lane / 4 and eight below.
  const int own0 = block.first + row + lane / 4 + block.shift, own1 = own0 + 8;
  const int seen0 = first_key(block, own0, sizes.window);
  const int seen1 = first_key(block, own1, sizes.window);
  float largest0 = minus_infinity(), largest1 = minus_infinity(), sum0 = 0.0f, sum1 = 0.0f;
  float sums[D / 8][4] = {};
  const int steps = (end - begin + 63) / 64;
  for (int step = 0; step < steps; step++) {
    if (step + 1 < steps) load(step + 1);
    commit_copies();
    wait_copies<1>();
    sync_block();
    float scores[8][4];
    multiply_rows<D, 8>(scores, queries, row, keys + step % 2 * tile);
    float next0 = largest0, next1 = largest1;
#pragma unroll
    for (int j = 0; j < 8; j++) {
#pragma unroll
      for (int part = 0; part < 4; part++) {
        const int key = begin + 64 * step + 8 * j + lane % 4 * 2 + part % 2;
        const bool is_seen =
            part < 2 ? key >= seen0 && key <= own0 : key >= seen1 && key <= own1;
        scores[j][part] = is_seen ? scores[j][part] * (sizes.scale * log2e) : minus_infinity();
        if (part < 2)
          next0 = fmaxf(next0, scores[j][part]);
        else
          next1 = fmaxf(next1, scores[j][part]);
      }
    }
    // Four lanes share a row.
    for (int mask = 1; mask < 4; mask *= 2) {
      next0 = fmaxf(next0, shuffle_xor(next0, mask));
      next1 = fmaxf(next1, shuffle_xor(next1, mask));
    }
    // With a window, a row may see nothing of this tile, nor of those before.
    const float base0 = next0 == minus_infinity() ? 0.0f : next0;
    const float base1 = next1 == minus_infinity() ? 0.0f : next1;
    const float correction0 = exp2f(largest0 - base0), correction1 = exp2f(largest1 - base1);
    largest0 = next0;
    largest1 = next1;
    float row0 = 0.0f, row1 = 0.0f;
#pragma unroll
    for (int j = 0; j < 8; j++) {
#pragma unroll
      for (int part = 0; part < 4; part++) {
        scores[j][part] = exp2f(scores[j][part] - (part < 2 ? base0 : base1));
        if (part < 2)
          row0 += scores[j][part];
        else
          row1 += scores[j][part];
      }
    }
    sum0 = sum0 * correction0 + row0;
    sum1 = sum1 * correction1 + row1;
#pragma unroll
    for (int j = 0; j < D / 8; j++) {
      sums[j][0] *= correction0;
      sums[j][1] *= correction0;
      sums[j][2] *= correction1;
      sums[j][3] *= correction1;
    }
    add_weighted_rows<D, 8>(sums, scores, values + step % 2 * tile);
    sync_block();
  }
  for (int mask = 1; mask < 4; mask *= 2) {
    sum0 += shuffle_xor(sum0, mask);
    sum1 += shuffle_xor(sum1, mask);
  }
  store_rows<D>(sums, out, block.first, row, block.count, sizes.heads, head, sizes.width,
                1.0f / sum0, 1.0f / sum1);
  if (lane % 4 == 0) {
    float *to = log_sums + (i64)head * sizes.tokens + block.first;
    const int r = row + lane / 4;
    if (r < block.count) to[r] = largest0 / log2e + logf(sum0);
    if (r + 8 < block.count) to[r + 8] = largest1 / log2e + logf(sum1);
  }
}

/// Gradient of the queries. One block: 64 queries of one head against tiles of 32 keys.
template <int D>
DEVICE void backward_q(const QueryBlock *blocks, const u16 *dout, const u16 *q, const u16 *k,
                       const u16 *v, const float *log_sums, const float *deltas, float *dq,
                       const AttentionSizes &sizes) {
  const int tile = 64 * (D + 8), small = 32 * (D + 8);
  DYNAMIC_SHARED(memory);
  u16 *queries = (u16 *)memory, *gradients = queries + tile;
  u16 *keys = gradients + tile, *values = keys + 2 * small;
  const QueryBlock block = blocks[blockIdx.x];
  const int lane = lane_index(), row = 16 * warp_index(), head = blockIdx.y;
  const int key_head = head / (sizes.heads / sizes.key_heads);
  const int begin = first_key(block, block.first + block.shift, sizes.window);
  const int end = block.first + block.count + block.shift;
  auto load = [&](int step) {
    const int first = begin + 32 * step;
    load_tile<D>(keys + step % 2 * small, k, first, 32, end - first, sizes.key_heads, key_head);
    load_tile<D>(values + step % 2 * small, v, first, 32, end - first, sizes.key_heads, key_head);
  };
  load_tile<D>(queries, q, block.first, 64, block.count, sizes.heads, head);
  load_tile<D>(gradients, dout, block.first, 64, block.count, sizes.heads, head);
  load(0);
  commit_copies();

  const float *log_sum = log_sums + (i64)head * sizes.tokens + block.first;
  const float *delta = deltas + (i64)head * sizes.tokens + block.first;
  const int r = row + lane / 4;
  const float logs[2] = {r < block.count ? log_sum[r] : 0.0f,
                         r + 8 < block.count ? log_sum[r + 8] : 0.0f};
  const float offsets[2] = {r < block.count ? delta[r] : 0.0f,
                            r + 8 < block.count ? delta[r + 8] : 0.0f};
  float sums[D / 8][4] = {};
  const int steps = (end - begin + 31) / 32;
  for (int step = 0; step < steps; step++) {
    if (step + 1 < steps) load(step + 1);
    commit_copies();
    wait_copies<1>();
    sync_block();
    float scores[4][4], products[4][4];
    multiply_rows<D, 4>(scores, queries, row, keys + step % 2 * small);
    multiply_rows<D, 4>(products, gradients, row, values + step % 2 * small);
#pragma unroll
    for (int j = 0; j < 4; j++) {
#pragma unroll
      for (int part = 0; part < 4; part++) {
        const int key = begin + 32 * step + 8 * j + lane % 4 * 2 + part % 2;
        const int own = block.first + r + part / 2 * 8 + block.shift;
        const bool is_seen = key >= first_key(block, own, sizes.window) && key <= own &&
                             r + part / 2 * 8 < block.count;
        const float p = is_seen ? exp2f((scores[j][part] * sizes.scale - logs[part / 2]) * log2e)
                                : 0.0f;
        scores[j][part] = p * (products[j][part] - offsets[part / 2]) * sizes.scale;
      }
    }
    add_weighted_rows<D, 4>(sums, scores, keys + step % 2 * small);
    sync_block();
  }
  store_rows<D>(sums, dq, block.first, row, block.count, sizes.heads, head, sizes.width, 1.0f,
                1.0f);
}

/// Gradients of keys and values. One block: 64 keys of one key/value head against tiles of 32
/// queries, those of all query heads of its group one after the other.
template <int D>
DEVICE void backward_kv(const KeyBlock *blocks, const u16 *dout, const u16 *q, const u16 *k,
                        const u16 *v, const float *log_sums, const float *deltas, float *dk,
                        float *dv, const AttentionSizes &sizes) {
  const int tile = 64 * (D + 8), small = 32 * (D + 8);
  DYNAMIC_SHARED(memory);
  u16 *keys = (u16 *)memory, *values = keys + tile;
  u16 *queries = values + tile, *gradients = queries + 2 * small;
  const KeyBlock block = blocks[blockIdx.x];
  const int lane = lane_index(), row = 16 * warp_index(), key_head = blockIdx.y;
  const int group = sizes.heads / sizes.key_heads;
  const int end = last_query(block, block.first + block.count - 1, sizes.window) + 1;
  const int tiles = (end - block.first + 31) / 32, steps = tiles * group;
  auto load = [&](int step) {
    const int first = block.first + step % tiles * 32, head = key_head * group + step / tiles;
    load_tile<D>(queries + step % 2 * small, q, first, 32, end - first, sizes.heads, head);
    load_tile<D>(gradients + step % 2 * small, dout, first, 32, end - first, sizes.heads, head);
  };
  load_tile<D>(keys, k, block.first, 64, block.count, sizes.key_heads, key_head);
  load_tile<D>(values, v, block.first, 64, block.count, sizes.key_heads, key_head);
  load(0);
  commit_copies();

  float dk_sums[D / 8][4] = {}, dv_sums[D / 8][4] = {};
  for (int step = 0; step < steps; step++) {
    if (step + 1 < steps) load(step + 1);
    commit_copies();
    wait_copies<1>();
    sync_block();
    const int first = block.first + step % tiles * 32, head = key_head * group + step / tiles;
    const float *log_sum = log_sums + (i64)head * sizes.tokens;
    const float *delta = deltas + (i64)head * sizes.tokens;
    // Rows are keys here, columns queries.
    float scores[4][4], products[4][4];
    multiply_rows<D, 4>(scores, keys, row, queries + step % 2 * small);
    multiply_rows<D, 4>(products, values, row, gradients + step % 2 * small);
#pragma unroll
    for (int j = 0; j < 4; j++) {
#pragma unroll
      for (int part = 0; part < 4; part++) {
        const int key_row = row + lane / 4 + part / 2 * 8, key = block.first + key_row;
        const int query = first + 8 * j + lane % 4 * 2 + part % 2;
        const bool is_seen = key_row < block.count && query >= key &&
                             query <= last_query(block, key, sizes.window);
        const float p =
            is_seen ? exp2f((scores[j][part] * sizes.scale - log_sum[query]) * log2e) : 0.0f;
        scores[j][part] = p;
        products[j][part] =
            is_seen ? p * (products[j][part] - delta[query]) * sizes.scale : 0.0f;
      }
    }
    add_weighted_rows<D, 4>(dv_sums, scores, gradients + step % 2 * small);
    add_weighted_rows<D, 4>(dk_sums, products, queries + step % 2 * small);
    sync_block();
  }
  store_rows<D>(dk_sums, dk, block.first, row, block.count, sizes.key_heads, key_head, sizes.width,
                1.0f, 1.0f);
  store_rows<D>(dv_sums, dv, block.first, row, block.count, sizes.key_heads, key_head, sizes.width,
                1.0f, 1.0f);
}

KERNEL(128)
attention_forward_32(const QueryBlock *blocks, const u16 *q, const u16 *k, const u16 *v, float *out,
                     float *log_sums, AttentionSizes sizes) {
  forward<32>(blocks, q, k, v, out, log_sums, sizes);
}
KERNEL(128)
attention_backward_q_32(const QueryBlock *blocks, const u16 *dout, const u16 *q, const u16 *k,
                        const u16 *v, const float *log_sums, const float *deltas, float *dq,
                        AttentionSizes sizes) {
  backward_q<32>(blocks, dout, q, k, v, log_sums, deltas, dq, sizes);
}
KERNEL(128)
attention_backward_kv_32(const KeyBlock *blocks, const u16 *dout, const u16 *q, const u16 *k,
                         const u16 *v, const float *log_sums, const float *deltas, float *dk,
                         float *dv, AttentionSizes sizes) {
  backward_kv<32>(blocks, dout, q, k, v, log_sums, deltas, dk, dv, sizes);
}

KERNEL(128)
attention_forward_64(const QueryBlock *blocks, const u16 *q, const u16 *k, const u16 *v, float *out,
                     float *log_sums, AttentionSizes sizes) {
  forward<64>(blocks, q, k, v, out, log_sums, sizes);
}
KERNEL(128)
attention_backward_q_64(const QueryBlock *blocks, const u16 *dout, const u16 *q, const u16 *k,
                        const u16 *v, const float *log_sums, const float *deltas, float *dq,
                        AttentionSizes sizes) {
  backward_q<64>(blocks, dout, q, k, v, log_sums, deltas, dq, sizes);
}
KERNEL(128)
attention_backward_kv_64(const KeyBlock *blocks, const u16 *dout, const u16 *q, const u16 *k,
                         const u16 *v, const float *log_sums, const float *deltas, float *dk,
                         float *dv, AttentionSizes sizes) {
  backward_kv<64>(blocks, dout, q, k, v, log_sums, deltas, dk, dv, sizes);
}

KERNEL(128)
attention_forward_96(const QueryBlock *blocks, const u16 *q, const u16 *k, const u16 *v, float *out,
                     float *log_sums, AttentionSizes sizes) {
  forward<96>(blocks, q, k, v, out, log_sums, sizes);
}
KERNEL(128)
attention_backward_q_96(const QueryBlock *blocks, const u16 *dout, const u16 *q, const u16 *k,
                        const u16 *v, const float *log_sums, const float *deltas, float *dq,
                        AttentionSizes sizes) {
  backward_q<96>(blocks, dout, q, k, v, log_sums, deltas, dq, sizes);
}
KERNEL(128)
attention_backward_kv_96(const KeyBlock *blocks, const u16 *dout, const u16 *q, const u16 *k,
                         const u16 *v, const float *log_sums, const float *deltas, float *dk,
                         float *dv, AttentionSizes sizes) {
  backward_kv<96>(blocks, dout, q, k, v, log_sums, deltas, dk, dv, sizes);
}

KERNEL(128)
attention_forward_128(const QueryBlock *blocks, const u16 *q, const u16 *k, const u16 *v, float *out,
                      float *log_sums, AttentionSizes sizes) {
  forward<128>(blocks, q, k, v, out, log_sums, sizes);
}
KERNEL(128)
attention_backward_q_128(const QueryBlock *blocks, const u16 *dout, const u16 *q, const u16 *k,
                         const u16 *v, const float *log_sums, const float *deltas, float *dq,
                         AttentionSizes sizes) {
  backward_q<128>(blocks, dout, q, k, v, log_sums, deltas, dq, sizes);
}
KERNEL(128)
attention_backward_kv_128(const KeyBlock *blocks, const u16 *dout, const u16 *q, const u16 *k,
                          const u16 *v, const float *log_sums, const float *deltas, float *dk,
                          float *dv, AttentionSizes sizes) {
  backward_kv<128>(blocks, dout, q, k, v, log_sums, deltas, dk, dv, sizes);
}

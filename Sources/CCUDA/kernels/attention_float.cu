// Attention in float32, for any head width up to 256: one warp a query (or a key), whose lanes
// take a key (or a query) each for the scores and a channel each for the sums.
#include <attention.cuh>

static const int warps = 8;
static const int widest = 256;
static const int parts = widest / 32;

DEVICE float dot(const float *a, const float *b, int width) {
  float sum = 0.0f;
  for (int d = 0; d < width; d++) sum += a[d] * b[d];
  return sum;
}

/// A row of global memory into the warp's own row of shared memory.
DEVICE void load_row(float *to, const float *from, int width) {
  for (int d = lane_index(); d < width; d += 32) to[d] = from[d];
}

/// One block: up to 64 queries of one sample, one head.
KERNEL(256)
attention_forward(const QueryBlock *blocks, const float *q, const float *k, const float *v,
                  float *out, float *log_sums, AttentionSizes sizes) {
  SHARED_ARRAY(float, rows, warps * widest);
  const QueryBlock block = blocks[blockIdx.x];
  const int lane = lane_index(), head = blockIdx.y, width = sizes.width;
  const int key_head = head / (sizes.heads / sizes.key_heads);
  float *row = rows + warp_index() * widest;
  for (int i = warp_index(); i < block.count; i += warps) {
    const int query = block.first + i, own = query + block.shift;
    const i64 place = ((i64)query * sizes.heads + head) * width;
    sync_warp();
    load_row(row, q + place, width);
    sync_warp();
    float largest = minus_infinity(), sum = 0.0f;
    float channels[parts] = {};
    for (int first = first_key(block, own, sizes.window); first <= own; first += 32) {
      const int key = first + lane;
      const bool is_seen = key <= own;
      const float score =
          is_seen ? dot(row, k + ((i64)key * sizes.key_heads + key_head) * width, width) *
                        sizes.scale
                  : minus_infinity();
      const float next = fmaxf(largest, warp_max(score));
      const float correction = largest == minus_infinity() ? 0.0f : expf(largest - next);
      const float p = is_seen ? expf(score - next) : 0.0f;
      sum = sum * correction + warp_sum(p);
      largest = next;
      for (int part = 0; part < parts; part++) channels[part] *= correction;
      for (int j = 0; j < min(32, own - first + 1); j++) {
        const float weight = shuffle(p, j);
        const float *value = v + ((i64)(first + j) * sizes.key_heads + key_head) * width;
        for (int part = 0; part < parts; part++)
          if (32 * part + lane < width) channels[part] += weight * value[32 * part + lane];
      }
    }
    for (int part = 0; part < parts; part++)
      if (32 * part + lane < width) out[place + 32 * part + lane] = channels[part] / sum;
    if (lane == 0) log_sums[(i64)head * sizes.tokens + query] = largest + logf(sum);
  }
}

/// Gradient of the queries; blocks as in the forward pass.
KERNEL(256)
attention_backward_q(const QueryBlock *blocks, const float *dout, const float *q, const float *k,
                     const float *v, const float *log_sums, const float *deltas, float *dq,
                     AttentionSizes sizes) {
  SHARED_ARRAY(float, rows, 2 * warps * widest);
  const QueryBlock block = blocks[blockIdx.x];
  const int lane = lane_index(), head = blockIdx.y, width = sizes.width;
  const int key_head = head / (sizes.heads / sizes.key_heads);
  float *q_row = rows + 2 * warp_index() * widest, *d_row = q_row + widest;
  for (int i = warp_index(); i < block.count; i += warps) {
    const int query = block.first + i, own = query + block.shift;
    const i64 place = ((i64)query * sizes.heads + head) * width;
    sync_warp();
    load_row(q_row, q + place, width);
    load_row(d_row, dout + place, width);
    sync_warp();
    const float log_sum = log_sums[(i64)head * sizes.tokens + query];
    const float delta = deltas[(i64)head * sizes.tokens + query];
    float channels[parts] = {};
    for (int first = first_key(block, own, sizes.window); first <= own; first += 32) {
      const int key = first + lane;
      float dscore = 0.0f;
      if (key <= own) {
        const i64 at = ((i64)key * sizes.key_heads + key_head) * width;
        const float p = expf(dot(q_row, k + at, width) * sizes.scale - log_sum);
        dscore = p * (dot(d_row, v + at, width) - delta) * sizes.scale;
      }
      for (int j = 0; j < min(32, own - first + 1); j++) {
        const float weight = shuffle(dscore, j);
        const float *row = k + ((i64)(first + j) * sizes.key_heads + key_head) * width;
        for (int part = 0; part < parts; part++)
          if (32 * part + lane < width) channels[part] += weight * row[32 * part + lane];
      }
    }
    for (int part = 0; part < parts; part++)
      if (32 * part + lane < width) dq[place + 32 * part + lane] = channels[part];
  }
}

/// Gradients of keys and values. One block: up to 64 keys of one sample, one key/value head; it
/// adds up over the queries that see them and over the query heads of its group.
KERNEL(256)
attention_backward_kv(const KeyBlock *blocks, const float *dout, const float *q, const float *k,
                      const float *v, const float *log_sums, const float *deltas, float *dk,
                      float *dv, AttentionSizes sizes) {
  SHARED_ARRAY(float, rows, 2 * warps * widest);
  const KeyBlock block = blocks[blockIdx.x];
  const int lane = lane_index(), key_head = blockIdx.y, width = sizes.width;
  const int group = sizes.heads / sizes.key_heads;
  float *k_row = rows + 2 * warp_index() * widest, *v_row = k_row + widest;
  for (int i = warp_index(); i < block.count; i += warps) {
    const int key = block.first + i;
    const i64 place = ((i64)key * sizes.key_heads + key_head) * width;
    sync_warp();
    load_row(k_row, k + place, width);
    load_row(v_row, v + place, width);
    sync_warp();
    const int end = last_query(block, key, sizes.window) + 1;
    float dk_channels[parts] = {}, dv_channels[parts] = {};
    for (int head = key_head * group; head < (key_head + 1) * group; head++) {
      for (int first = key; first < end; first += 32) {
        const int query = first + lane;
        float p = 0.0f, dscore = 0.0f;
        if (query < end) {
          const i64 at = ((i64)query * sizes.heads + head) * width;
          const i64 statistics = (i64)head * sizes.tokens + query;
          p = expf(dot(k_row, q + at, width) * sizes.scale - log_sums[statistics]);
          dscore = p * (dot(v_row, dout + at, width) - deltas[statistics]) * sizes.scale;
        }
        for (int j = 0; j < min(32, end - first); j++) {
          const float weight = shuffle(p, j), dweight = shuffle(dscore, j);
          const i64 at = ((i64)(first + j) * sizes.heads + head) * width;
          for (int part = 0; part < parts; part++) {
            if (32 * part + lane >= width) continue;
            dv_channels[part] += weight * dout[at + 32 * part + lane];
            dk_channels[part] += dweight * q[at + 32 * part + lane];
          }
        }
      }
    }
    for (int part = 0; part < parts; part++) {
      if (32 * part + lane >= width) continue;
      dk[place + 32 * part + lane] = dk_channels[part];
      dv[place + 32 * part + lane] = dv_channels[part];
    }
  }
}

/// `deltas[head, t] = dout . out` of each head, one warp each.
KERNEL(256)
attention_deltas(const float *dout, const float *out, float *deltas, int tokens, int heads,
                 int width) {
  const i64 row = grid_thread() / 32;
  if (row >= (i64)tokens * heads) return;  // The whole warp.
  float sum = 0.0f;
  for (int d = lane_index(); d < width; d += 32) sum += dout[row * width + d] * out[row * width + d];
  sum = warp_sum(sum);
  if (lane_index() == 0) deltas[row % heads * tokens + row / heads] = sum;
}

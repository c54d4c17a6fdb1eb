// Mixture of experts: routing, rows sorted by expert, and their way back to tokens.
//
// T tokens, C width, E experts, K experts of a token, P = T * K rows.
#include <common.cuh>

/// Softmax over the experts and the best K of each token, one warp a token. Ties go to the lower
/// expert.
KERNEL(128)
route_tokens(const float *logits, float *probabilities, int *experts, float *weights, int tokens,
             int E, int K, int normalizes) {
  const int token = blockIdx.x * 4 + warp_index();
  if (token >= tokens) return;  // The whole warp; there is no barrier of the block.
  const float *row = logits + (i64)token * E;
  float *p = probabilities + (i64)token * E;
  float largest = row[0];
  for (int e = lane_index(); e < E; e += 32) largest = fmaxf(largest, row[e]);
  largest = warp_max(largest);
  float sum = 0.0f;
  for (int e = lane_index(); e < E; e += 32) {
    p[e] = expf(row[e] - largest);
    sum += p[e];
  }
  sum = warp_sum(sum);
  for (int e = lane_index(); e < E; e += 32) p[e] /= sum;

  float chosen = 0.0f;
  float last_value = 0.0f;
  int last = -1;
  for (int k = 0; k < K; k++) {
    // The best of those after the last one in the order of value, then number.
    float value = -1.0f;
    int best = E;
    for (int e = lane_index(); e < E; e += 32) {
      const bool is_left = last < 0 || p[e] < last_value || (p[e] == last_value && e > last);
      if (is_left && p[e] > value) {
        value = p[e];
        best = e;
      }
    }
    for (int mask = 16; mask; mask >>= 1) {
      const float other_value = shuffle_xor(value, mask);
      const int other = shuffle_xor(best, mask);
      if (other_value > value || (other_value == value && other < best)) {
        value = other_value;
        best = other;
      }
    }
    // Where numbers are no numbers none is best; the loss will say so.
    if (best >= E) best = k;
    last = best;
    last_value = value;
    chosen += value;
    if (lane_index() == 0) {
      experts[token * K + k] = best;
      weights[token * K + k] = value;
    }
  }
  sync_warp();
  if (normalizes)
    for (int k = lane_index(); k < K; k += 32) weights[token * K + k] /= chosen;
}

/// Rows of each expert in chunks of 1024 entries of `experts`: `counts[chunk, e]`. A thread counts
/// for one expert, so that rows keep their order and nothing is added by two threads.
KERNEL(128) count_rows(const int *experts, int *counts, int rows, int E) {
  SHARED_ARRAY(int, chunk, 1024);
  const int first = blockIdx.x * 1024, length = min(1024, rows - first);
  for (int i = threadIdx.x; i < length; i += blockDim.x) chunk[i] = experts[first + i];
  sync_block();
  for (int e = threadIdx.x; e < E; e += blockDim.x) {
    int count = 0;
    for (int i = 0; i < length; i++) count += chunk[i] == e;
    counts[blockIdx.x * E + e] = count;
  }
}

/// Turns counts into the first row of each chunk and expert, and gives the totals; one block.
KERNEL(128) start_rows(int *counts, int *totals, int chunks, int E) {
  for (int e = threadIdx.x; e < E; e += blockDim.x) {
    int total = 0;
    for (int chunk = 0; chunk < chunks; chunk++) {
      const int count = counts[chunk * E + e];
      counts[chunk * E + e] = total;
      total += count;
    }
    totals[e] = total;
  }
  sync_block();
  for (int e = threadIdx.x; e < E; e += blockDim.x) {
    int before = 0;
    for (int other = 0; other < e; other++) before += totals[other];
    for (int chunk = 0; chunk < chunks; chunk++) counts[chunk * E + e] += before;
  }
}

/// Gives every entry its row.
KERNEL(128)
sort_rows(const int *experts, const int *starts, int *token_of_row, int *row_of_token, int rows,
          int E, int K) {
  SHARED_ARRAY(int, chunk, 1024);
  const int first = blockIdx.x * 1024, length = min(1024, rows - first);
  for (int i = threadIdx.x; i < length; i += blockDim.x) chunk[i] = experts[first + i];
  sync_block();
  for (int e = threadIdx.x; e < E; e += blockDim.x) {
    int next = starts[blockIdx.x * E + e];
    for (int i = 0; i < length; i++) {
      if (chunk[i] != e) continue;
      row_of_token[first + i] = next;
      token_of_row[next] = (first + i) / K;
      next++;
    }
  }
}

/// Sums of the probabilities over the tokens, one block an expert.
KERNEL(256) sum_probabilities(const float *probabilities, float *sums, int tokens, int E) {
  double sum = 0.0;
  for (int t = threadIdx.x; t < tokens; t += blockDim.x)
    sum += (double)probabilities[(i64)t * E + blockIdx.x];
  sum = block_sum(sum);
  if (threadIdx.x == 0) sums[blockIdx.x] = (float)sum;
}

/// Gradient of the router's logits, one thread a token.
KERNEL(128)
route_backward(const float *dweights, const float *common, const float *probabilities,
               const int *experts, const float *weights, float *dlogits, int tokens, int E, int K,
               int normalizes) {
  const int token = (int)grid_thread();
  if (token >= tokens) return;
  const float *p = probabilities + (i64)token * E;
  // First the gradient of the probabilities, in the place of the logits'.
  float *dp = dlogits + (i64)token * E;
  for (int e = 0; e < E; e++) dp[e] = common[e];
  float chosen = 1.0f, projection = 0.0f;
  if (normalizes) {
    chosen = 0.0f;
    for (int k = 0; k < K; k++) {
      chosen += p[experts[token * K + k]];
      projection += dweights[token * K + k] * weights[token * K + k];
    }
  }
  for (int k = 0; k < K; k++)
    dp[experts[token * K + k]] += (dweights[token * K + k] - projection) / chosen;
  float mean = 0.0f;
  for (int e = 0; e < E; e++) mean += p[e] * dp[e];
  for (int e = 0; e < E; e++) dp[e] = p[e] * (dp[e] - mean);
}

/// `dx[t] = sum of its K rows of dy`, one block a token.
KERNEL(256) sum_expert_rows(const float *dy, const int *row_of_token, float *dx, int C, int K) {
  const int token = blockIdx.x;
  for (int c = threadIdx.x; c < C; c += blockDim.x) {
    float sum = 0.0f;
    for (int k = 0; k < K; k++) sum += dy[(i64)row_of_token[token * K + k] * C + c];
    dx[(i64)token * C + c] = sum;
  }
}

/// `out[t] += sum of weight * y` over the token's K rows, one block a token.
KERNEL(256)
combine_experts(const float *y, const int *row_of_token, const float *weights, float *out, int C,
                int K) {
  const int token = blockIdx.x;
  for (int c = threadIdx.x; c < C; c += blockDim.x) {
    float sum = out[(i64)token * C + c];
    for (int k = 0; k < K; k++)
      sum += y[(i64)row_of_token[token * K + k] * C + c] * weights[token * K + k];
    out[(i64)token * C + c] = sum;
  }
}

/// Its gradients, one block a token: `dy = weight * dout`, which may be in the place of y, and
/// `dweights = dout . y`.
KERNEL(256)
combine_experts_backward(const float *dout, const float *y, const int *row_of_token,
                         const float *weights, float *dy, float *dweights, int C, int K) {
  const int token = blockIdx.x;
  for (int k = 0; k < K; k++) {
    const i64 row = (i64)row_of_token[token * K + k] * C;
    const float weight = weights[token * K + k];
    float product = 0.0f;
    for (int c = threadIdx.x; c < C; c += blockDim.x) {
      const float d = dout[(i64)token * C + c];
      product += d * y[row + c];
      dy[row + c] = d * weight;
    }
    product = block_sum(product);
    if (threadIdx.x == 0) dweights[token * K + k] = product;
  }
}

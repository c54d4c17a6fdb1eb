// Rows of a matrix by index, cross-entropy and the most likely token.
#include <common.cuh>

/// Copies one row of bytes with a block of threads, in the largest units that both ends allow.
DEVICE void copy_row(const u8 *from, u8 *to, i64 bytes) {
  const u64 places = (u64)from | (u64)to | (u64)bytes;
  if (places % 16 == 0) {
    for (i64 i = 16 * (i64)threadIdx.x; i < bytes; i += 16 * (i64)blockDim.x) {
      const uint4 words = load_words4(from + i);
      store_words4(to + i, words.x, words.y, words.z, words.w);
    }
  } else if (places % 4 == 0) {
    for (i64 i = threadIdx.x; i < bytes / 4; i += blockDim.x) ((u32 *)to)[i] = ((u32 *)from)[i];
  } else {
    for (i64 i = threadIdx.x; i < bytes; i += blockDim.x) to[i] = from[i];
  }
}

/// `out[i] = x[rows[i]]`, one block a row.
KERNEL(128) select_rows(const u8 *x, const int *rows, u8 *out, i64 row_bytes) {
  copy_row(x + rows[blockIdx.x] * row_bytes, out + blockIdx.x * row_bytes, row_bytes);
}

/// `out[rows[i]] = x[i]`.
KERNEL(128) place_rows(const u8 *x, const int *rows, u8 *out, i64 row_bytes) {
  copy_row(x + blockIdx.x * row_bytes, out + rows[blockIdx.x] * row_bytes, row_bytes);
}

/// Softmax cross-entropy of one row a block, loss and gradient in one pass over memory more than
/// the softmax needs. The row becomes `scale (softmax - one-hot)` unless only the loss is wanted.
KERNEL(512)
cross_entropy(float *logits, const int *targets, float *losses, int columns, float scale,
              int has_gradient) {
  float *row = logits + (i64)blockIdx.x * columns;
  const int target = targets[blockIdx.x];
  const float target_logit = row[target];
  float largest = row[0];
  for (int i = threadIdx.x; i < columns; i += blockDim.x) largest = fmaxf(largest, row[i]);
  largest = block_max(largest);
  double sum = 0.0;
  for (int i = threadIdx.x; i < columns; i += blockDim.x) sum += (double)expf(row[i] - largest);
  sum = block_sum(sum);
  if (threadIdx.x == 0)
    losses[blockIdx.x] = (float)(log(sum) + (double)largest - (double)target_logit);
  if (!has_gradient) return;
  // Every thread has read the target's logit: there was a barrier in between.
  const float factor = (float)((double)scale / sum);
  for (int i = threadIdx.x; i < columns; i += blockDim.x)
    row[i] = expf(row[i] - largest) * factor - (i == target ? scale : 0.0f);
}

/// The index of the largest element of each row, the lowest of equals; one block a row.
KERNEL(256) argmax_rows(const float *x, int *out, int columns) {
  SHARED_ARRAY(float, values, 256);
  SHARED_ARRAY(int, places, 256);
  const float *row = x + (i64)blockIdx.x * columns;
  int best = min((int)threadIdx.x, columns - 1);
  for (int i = best + blockDim.x; i < columns; i += blockDim.x)
    if (row[i] > row[best]) best = i;
  values[threadIdx.x] = row[best];
  places[threadIdx.x] = best;
  for (int half = 128; half; half /= 2) {
    sync_block();
    if ((int)threadIdx.x >= half) continue;
    const float mine = values[threadIdx.x], other = values[threadIdx.x + half];
    const int place = places[threadIdx.x], other_place = places[threadIdx.x + half];
    if (other > mine || (other == mine && other_place < place)) {
      values[threadIdx.x] = other;
      places[threadIdx.x] = other_place;
    }
  }
  if (threadIdx.x == 0) out[blockIdx.x] = places[0];
}

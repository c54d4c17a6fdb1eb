// Weights of models that have no files.
#include <common.cuh>
#include <random.cuh>

/// An element of a random tensor from its word; see RandomTensor in Sources/Compute.
DEVICE float random_element(u32 word, float scale) {
  const u32 pairs = (word & 0x00FF00FFu) + (word >> 8 & 0x00FF00FFu);
  const int sum = (int)((pairs & 0xFFFFu) + (pairs >> 16));
  return multiply_exactly((float)(sum - 510), scale);
}

/// Eight elements from `8 * group` on.
DEVICE void random_elements(float (&values)[8], u64 group, u32 stream0, u32 stream1, u32 key0,
                            u32 key1, float scale) {
  for (int half = 0; half < 2; half++) {
    const u64 block = 2 * group + half;
    u32 words[4] = {stream0, stream1, (u32)(block >> 32), (u32)block};
    random_words(words, key0, key1);
#pragma unroll
    for (int j = 0; j < 4; j++) values[4 * half + j] = random_element(words[j], scale);
  }
}

/// Elements of a random tensor, the first of which is `8 * first_group`; a thread makes eight.
KERNEL(256)
random_weights(void *out, int is_bf16, i64 first_group, i64 count, u32 stream0, u32 stream1,
               u32 key0, u32 key1, float scale) {
  const i64 groups = (count + 7) / 8;
  const bool is_vector = is_aligned(out);
  for (i64 group = grid_thread(); group < groups; group += grid_threads()) {
    float x[8];
    random_elements(x, (u64)(first_group + group), stream0, stream1, key0, key1, scale);
    const bool is_whole = is_vector && 8 * group + 8 <= count;
    if (is_bf16) {
      u16 *to = (u16 *)out + 8 * group;
      if (is_whole)
        store_words4(to, pack_bf16(x[0], x[1]), pack_bf16(x[2], x[3]), pack_bf16(x[4], x[5]),
                     pack_bf16(x[6], x[7]));
      else
        for (int j = 0; j < 8; j++)
          if (8 * group + j < count) to[j] = float_to_bf16(x[j]);
    } else {
      float *to = (float *)out + 8 * group;
      if (is_whole) {
        store4(to, x[0], x[1], x[2], x[3]);
        store4(to + 4, x[4], x[5], x[6], x[7]);
      } else {
        for (int j = 0; j < 8; j++)
          if (8 * group + j < count) to[j] = x[j];
      }
    }
  }
}

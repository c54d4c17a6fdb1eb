// Storage formats of base weights: NF4 with plain or nested scales, float32, bf16, half.
#include <common.cuh>

/// Where a base matrix lies; the same fields in the same order as `WeightSource` in Swift. `format`
/// is 0 for float32, 1 for bf16, 2 for half, 3 for NF4 and 4 for NF4 with nested scales.
struct WeightSource {
  const void *values;
  const float *absmax;
  const u8 *scale_codes;
  const float *offset;
  const float *dynamic_code;
  i64 format;
};

/// The 16 values of the NF4 code.
/// Source: Dettmers et al. 2023, arXiv:2305.14314, appendix E.
CONSTANT float nf4_values[16] = {
    -1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f,
    -0.28444138169288635f, -0.18477343022823334f, -0.09105003625154495f, 0.0f,
    0.07958029955625534f, 0.16093020141124725f, 0.24611230194568634f, 0.33791524171829224f,
    0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1.0f};

/// The scale of a block: its absmax, or a code of the second quantization with its own absmax.
DEVICE float block_scale(const WeightSource &source, i64 block) {
  if (source.format == 3) return source.absmax[block];
  const float scaled = multiply_exactly(source.dynamic_code[source.scale_codes[block]],
                                        source.absmax[block / 256]);
  return add_exactly(scaled, source.offset[0]);
}

/// The index of an element's scale; see NF4.scaleIndex in Sources/Compute for rows that are no
/// whole blocks.
DEVICE i64 scale_index(i64 row, int column, int columns) {
  if (columns % 64 == 0 || columns < 64) return (row * columns + column) / 64;
  return row * (columns / 64) + column / 64;
}

/// One element of dense values.
DEVICE float dense_element(const void *values, i64 format, i64 index) {
  if (format == 0) return ((const float *)values)[index];
  const u16 bits = ((const u16 *)values)[index];
  return format == 1 ? bf16_to_float(bits) : half_to_float(bits);
}

/// One element of a base matrix. `table` holds the NF4 values in shared memory.
DEVICE float element(const WeightSource &source, const float *table, i64 row, int column,
                     int columns) {
  const i64 index = row * columns + column;
  if (source.format < 3) return dense_element(source.values, source.format, index);
  const u8 pair = ((const u8 *)source.values)[index / 2];
  return table[index % 2 ? pair & 15 : pair >> 4] *
         block_scale(source, scale_index(row, column, columns));
}

/// Fills the table that `element` reads; every thread of the block calls it.
DEVICE void fill_table(float *table) {
  if (threadIdx.x < 16) table[threadIdx.x] = nf4_values[threadIdx.x];
  sync_block();
}

/// Decodes a matrix to float32.
KERNEL(256) decode_floats(WeightSource source, float *out, i64 rows, int columns) {
  SHARED_ARRAY(float, table, 16);
  fill_table(table);
  const i64 count = rows * columns;
  for (i64 i = grid_thread(); i < count; i += grid_threads())
    out[i] = element(source, table, i / columns, (int)(i % columns), columns);
}

/// Decodes a matrix to the first `width` elements of bf16 rows that begin `leading` elements apart, with
/// zeros beyond `columns`; both are multiples of 8.
///
/// A thread makes eight elements. In the usual case, NF4 whose rows are whole blocks, it reads four
/// bytes of codes and one scale, and neighbouring threads neighbouring addresses.
KERNEL(256)
decode_bf16(WeightSource source, u16 *out, i64 rows, int columns, int width, int leading) {
  SHARED_ARRAY(float, table, 16);
  fill_table(table);
  const int groups = width / 8;
  const i64 count = rows * groups;
  const bool is_simple = source.format >= 3 && columns % 64 == 0;
  for (i64 i = grid_thread(); i < count; i += grid_threads()) {
    const i64 row = i / groups;
    const int first = (int)(i % groups) * 8;
    u32 words[4];
    if (is_simple && first < columns) {
      const i64 index = row * columns + first;
      const u32 codes = ((const u32 *)source.values)[index / 8];
      const float scale = block_scale(source, index / 64);
      for (int byte = 0; byte < 4; byte++) {
        const u32 pair = codes >> (8 * byte) & 255;
        words[byte] = pack_bf16(table[pair >> 4] * scale, table[pair & 15] * scale);
      }
    } else {
      float values[8];
      for (int j = 0; j < 8; j++)
        values[j] = first + j < columns ? element(source, table, row, first + j, columns) : 0.0f;
      for (int pair = 0; pair < 4; pair++)
        words[pair] = pack_bf16(values[2 * pair], values[2 * pair + 1]);
    }
    store_words4(out + row * leading + first, words[0], words[1], words[2], words[3]);
  }
}

/// `out[t] = table[ids[t]]`, one block a token.
KERNEL(256) embedding(const int *ids, WeightSource source, float *out, int columns) {
  SHARED_ARRAY(float, table, 16);
  fill_table(table);
  const i64 row = ids[blockIdx.x];
  float *to = out + (i64)blockIdx.x * columns;
  for (int column = threadIdx.x; column < columns; column += blockDim.x)
    to[column] = element(source, table, row, column, columns);
}

/// Whether a block of threads met an element that is no finite number: 1 or 0 for each block.
KERNEL(256) find_not_finite(const void *x, i64 format, i64 count, int *found) {
  float is_found = 0;
  for (i64 i = grid_thread(); i < count; i += grid_threads()) {
    // The difference of an infinity, or of no number, from itself is no number.
    const float value = dense_element(x, format, i);
    if (!(value - value == 0.0f)) is_found = 1;
  }
  const float any = block_max(is_found);
  if (threadIdx.x == 0) found[blockIdx.x] = any > 0.0f;
}

/// The code whose value is nearest to `scaled`; on a bound the lower one.
DEVICE u32 nearest_code(const float *bounds, float scaled) {
  int code = 0;
  for (int step = 8; step; step /= 2)
    if (scaled > bounds[code + step - 1]) code += step;
  return (u32)code;
}

/// Quantizes to NF4, one warp a block of 64 elements, two elements and one byte a lane. Bits are
/// those of bitsandbytes: whole blocks are multiplied by a reciprocal, the last short one divided.
KERNEL(256) quantize_nf4(const void *x, i64 format, u8 *codes, float *absmax, i64 count) {
  SHARED_ARRAY(float, bounds, 16);
  if (threadIdx.x < 15)
    bounds[threadIdx.x] = (nf4_values[threadIdx.x] + nf4_values[threadIdx.x + 1]) / 2;
  sync_block();
  const i64 blocks = (count + 63) / 64, warps = grid_threads() / 32;
  for (i64 block = grid_thread() / 32; block < blocks; block += warps) {
    const i64 index = 64 * block + 2 * lane_index();
    const bool is_whole = 64 * block + 64 <= count;
    const float first = index < count ? dense_element(x, format, index) : 0.0f;
    const float second = index + 1 < count ? dense_element(x, format, index + 1) : 0.0f;
    const float largest = warp_max(fmaxf(fabsf(first), fabsf(second)));
    const float divisor = fmaxf(largest, 1e-38f), reciprocal = 1.0f / divisor;
    if (lane_index() == 0) absmax[block] = is_whole ? largest : divisor;
    if (index < count) {
      const u32 high = nearest_code(bounds, is_whole ? first * reciprocal : first / divisor);
      const u32 low = nearest_code(bounds, is_whole ? second * reciprocal : second / divisor);
      // An element beyond an odd end is coded as zero.
      codes[index / 2] = (u8)(high << 4 | (index + 1 < count ? low : 7));
    }
  }
}

/// Second quantization, one block of threads for 256 scales: each minus `offset`, over the largest,
/// rounded to a grid of 65536 points, then the nearest of the 256 code values.
KERNEL(256)
quantize_scales(const float *absmax, const float *dynamic_bounds, u8 *codes, float *nested,
                float offset, i64 count) {
  const i64 i = (i64)blockIdx.x * 256 + threadIdx.x;
  const float centered = i < count ? add_exactly(absmax[i], -offset) : 0.0f;
  const float largest = block_max(fabsf(centered));
  if (threadIdx.x == 0) nested[blockIdx.x] = largest;
  if (i >= count) return;
  const float scaled = fminf(1.0f, fmaxf(-1.0f, multiply_exactly(centered, 1.0f / largest)));
  const float half = multiply_exactly(add_exactly(scaled, 1.0f), 0.5f);
  const float point = floorf(add_exactly(multiply_exactly(half, 65535.0f), 0.5f));
  const float rounded = add_exactly(-1.0f, multiply_exactly(2.0f, point) / 65535.0f);
  int low = 0, high = 255;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (dynamic_bounds[middle] < rounded)
      low = middle + 1;
    else
      high = middle;
  }
  codes[i] = largest > 0.0f ? (u8)low : 0;
}
